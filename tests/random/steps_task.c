/* steps_task.c - steps that make tasks, and what is done with tasks: join, abort, detach, groups, coroutines; and how a task ends itself. */
#include "world.h"

#include <stdlib.h>
#include <unistd.h>

/* ---- bodies --------------------------------------------------------------------------------------------------------- */

void random_start_drop(void *arg)
{
    start *s = arg;
    world *w = s->w;
    unsigned task = s->task;
    if (!s->copied)
        free(s);
    random_task_gone(w, task);
}

/* On the heap, as deferred calls come after the body's own frame. */
typedef struct life {
    actor actor;
    body body;
    near_group near;
    void *start;
} life;

static actor *begin(void *arg)
{
    start *s = arg;
    life *l = calloc(1, sizeof *l);
    EXPECT(s->w, l);
    random_task_begins(s->w, s->task);
    l->start = arg;
    l->near = (near_group){.group = s->group, .id = s->group_id, .open = true};
    l->actor.w = s->w;
    l->actor.task = s->task;
    l->actor.kind = s->w->task[s->task].kind;
    l->actor.body = &l->body;
    l->actor.groups = s->group ? &l->near : NULL;
    return &l->actor;
}

static void end(void *arg)
{
    life *l = WEFT_CONTAINER_OF(arg, life, actor);
    void *s = l->start;
    free(l);
    random_start_drop(s);
}

static void *finish(actor *a)
{
    if (!a->fails)
        return random_result_make(a->w, a->task);
    a->w->task[a->task].fails = a->fails;
    return weft_fail(a->fails);
}

/* The argument goes with the first deferred call, which is the last to be made, however the task ends. */
void *random_task(void *arg)
{
    const start *s = arg;
    actor *a = begin(arg);
    EXPECT(a->w, weft_defer(end, a) == 0);
    random_run_steps(a, s->from, s->to);
    return finish(a);
}

void *random_thread(void *arg)
{
    const start *s = arg;
    actor *a = begin(arg);
    EXPECT(a->w, weft_runtime_enter(a->w->runtime) == 0);
    random_run_steps(a, s->from, s->to);
    EXPECT(a->w, weft_runtime_leave() == 0);
    end(a);
    return NULL;
}

/* ---- spawning ------------------------------------------------------------------------------------------------------- */

enum { DETACHED = 1, PINNED = 2, GROUPED = 4, COPIED = 8, NAMED = 16, LARGE = 32, STORED = 64 };

/* Where a child would go; NULL: nowhere. */
static near_group *group_for(const actor *a, const step *s)
{
    return (s->a & GROUPED) && a->groups && a->groups->open ? a->groups : NULL;
}

/* Whoever is not in a group can be aborted by name, from now on and at the end. */
static void keep(world *w, const step *s, weft_task *t)
{
    weft_aborter *aborter;
    EXPECT(w, weft_aborter_create(&aborter, t) == 0);
    w->task[s->task].aborter = aborter;
    if (w->ending)
        random_abort(w, s->task);
    if (s->a & DETACHED)
        weft_detach(t);
    else
        w->task[s->task].handle = t;
}

static weft_spawn_options spawn_options(const step *s, const near_group *near)
{
    return (weft_spawn_options){.name = s->a & NAMED ? "random" : NULL,
                                .stack_size = s->a & LARGE ? 512 << 10 : 0,
                                .pinned = (s->a & PINNED) != 0,
                                .drop_result = random_result_drop,
                                .group = near ? near->group : NULL};
}

/* Returns @result of a spawn, judged. */
static int spawned(actor *a, const step *s, const near_group *near, weft_task *t, int result)
{
    world *w = a->w;
    if (result == 0 && !near)
        keep(w, s, t);
    if (result == 0)
        return 0;
    JUDGE(w, result, !t && (near || (w->stopping && result == WEFT_ECANCELED)));
    random_task_not_spawned(w, s->task);
    if (result != WEFT_ECANCELED || !(w->stopping || random_group_cancelled(w, near->id)))
        random_after_any(a, result);
    else if (a->kind == STRAND && random_abortable(w, a->task))
        w->task[a->task].may_have_met = 1;
    EXPECT(w, result == WEFT_ECANCELED || result == WEFT_ETIMEDOUT);
    return result;
}

static start *make_start(actor *a, const step *s, const near_group *near)
{
    start *child = malloc(sizeof *child);
    EXPECT(a->w, child);
    *child = (start){.w = a->w, .from = random_step_index(a, s) + 1, .to = s->end, .task = s->task, .group_id = -1};
    if (near) {
        child->group = near->group;
        child->group_id = near->id;
    }
    return child;
}

static int spawn_block(actor *a, const step *s, task_kind kind)
{
    near_group *near = group_for(a, s);
    weft_spawn_options o = spawn_options(s, near);
    start *child = make_start(a, s, near);
    start copy = *child;
    weft_task *t = NULL;
    copy.copied = true;
    o.drop_arg = random_start_drop;
    o.blocking = kind == JOB;
    o.pinned = o.pinned && kind != JOB;
    o.copy_arg = s->a & COPIED ? sizeof copy : 0;
    random_task_spawning(a->w, s->task, kind, near ? near->id : -1);
    if (s->a & COPIED)
        free(child);
    int result = weft_spawn_with(near ? NULL : &t, &o, random_task, s->a & COPIED ? &copy : child);
    if (result < 0 && !(s->a & COPIED))
        free(child);
    return spawned(a, s, near, t, result);
}

int random_do_SPAWN(actor *a, const step *s) { return spawn_block(a, s, STRAND); }
int random_do_JOB(actor *a, const step *s) { return spawn_block(a, s, JOB); }

typedef struct storage {
    weft_task_storage storage;
    world *world;
} storage;

static void release_storage(weft_task_storage *self)
{
    storage *st = WEFT_CONTAINER_OF(self, storage, storage);
    st->world->storages_gone++;
    free(st);
}

static int spawn_in_storage(actor *a, const step *s, weft_task **t, weft_future *f)
{
    storage *st = malloc(sizeof *st);
    EXPECT(a->w, st);
    st->storage.release = release_storage;
    st->world = a->w;
    a->w->storages++;
    a->w->task[s->task].stored = true;
    int result = weft_spawn_future_in(t, &st->storage, f);
    if (result < 0)
        release_storage(&st->storage);
    return result;
}

int random_do_SPAWN_FUTURE(actor *a, const step *s)
{
    near_group *near = group_for(a, s);
    weft_spawn_options o = spawn_options(s, near);
    weft_task *t = NULL;
    o.stack_size = 0;
    random_task_spawning(a->w, s->task, FUTURE, near ? near->id : -1);
    weft_future *f = random_future(a, s, FUTURE);
    int result = !near && (s->a & STORED) ? spawn_in_storage(a, s, &t, f) : weft_spawn_future_with(near ? NULL : &t, &o, f);
    if (result < 0)
        free(f);
    return spawned(a, s, near, t, result);
}

int random_do_THREAD(actor *a, const step *s)
{
    start *child = make_start(a, s, NULL);
    random_task_spawning(a->w, s->task, THREAD, -1);
    EXPECT(a->w, pthread_create(&a->w->thread[s->task], NULL, random_thread, child) == 0);
    return 0;
}

static void *blocking(void *arg)
{
    usleep(10);
    return arg;
}

int random_do_BLOCKING(actor *a, const step *s)
{
    void *result = NULL;
    before b = random_before(a);
    (void)s;
    int code = weft_blocking(blocking, a, &result);
    JUDGE(a->w, code, code < 0 || result == a);
    return a->kind == STRAND ? random_after(a, &b, code) : code;
}

/* ---- what is done with tasks ---------------------------------------------------------------------------------------- */

static unsigned target(const actor *a, unsigned byte) { return byte % a->w->program->tasks; }

static weft_task *borrow(actor *a, unsigned task) { return atomic_exchange(&a->w->task[task].handle, NULL); }

/* After a join: the handle is gone, or goes back. */
static int judge_join(actor *a, unsigned task, weft_task *t, int code, void *value)
{
    if (code == 0 || code == WEFT_EABORTED || code == WEFT_EPANIC || code == WEFT_EFAILED) {
        random_joined(a->w, (int)task, -1, code, value);
        return code;
    }
    JUDGE(a->w, code, code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT || (code == WEFT_EDEADLK && task == a->task));
    a->w->task[task].handle = t;
    return random_after_any(a, code);
}

int random_do_JOIN(actor *a, const step *s)
{
    unsigned task = target(a, s->a);
    weft_task *t = borrow(a, task);
    void *value = NULL;
    if (!t)
        return NOTHING;
    int code = weft_join(t, &value);
    return judge_join(a, task, t, code, value);
}

int random_do_TRY_JOIN(actor *a, const step *s)
{
    unsigned task = target(a, s->a);
    weft_task *t = borrow(a, task);
    void *value = NULL;
    int code = t ? weft_try_join(t, &value) : NOTHING;
    if (code == WEFT_EAGAIN || (code == WEFT_EDEADLK && task == a->task)) {
        a->w->task[task].handle = t;
        return code;
    }
    return t ? judge_join(a, task, t, code, value) : NOTHING;
}

int random_do_WAIT(actor *a, const step *s)
{
    unsigned task = target(a, s->a);
    weft_task *t = borrow(a, task);
    if (!t)
        return NOTHING;
    int code = weft_wait(t);
    JUDGE(a->w, code, code != 0 || weft_is_finished(t));
    JUDGE(a->w, code,
          code == 0 || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT || (code == WEFT_EDEADLK && task == a->task));
    a->w->task[task].handle = t;
    return random_after_any(a, code);
}

int random_do_DETACH(actor *a, const step *s)
{
    weft_task *t = borrow(a, target(a, s->a));
    weft_detach(t);
    return t ? 0 : NOTHING;
}

void random_abort(world *w, unsigned task)
{
    weft_aborter *aborter = w->task[task].aborter;
    if (!aborter)
        return;
    w->task[task].aborted = 1;
    weft_aborter_abort(aborter);
    w->task[task].sure = 1;
}

int random_do_ABORT(actor *a, const step *s)
{
    random_abort(a->w, target(a, s->a));
    return 0;
}

/* Only of later ones, so that no two wait for each other: this is shielded. */
int random_do_CLOSE_TASK(actor *a, const step *s)
{
    unsigned task = target(a, s->a);
    weft_task *t = task > a->task && a->kind != JOB ? borrow(a, task) : NULL;
    if (!t)
        return NOTHING;
    a->w->task[task].aborted = 1;
    EXPECT(a->w, weft_task_close(t) == 0);
    EXPECT(a->w, a->w->task[task].gone);
    return 0;
}

int random_do_LOOK(actor *a, const step *s)
{
    unsigned task = target(a, s->a);
    weft_task *t = borrow(a, task);
    if (a->kind == STRAND && (s->b & 1))
        EXPECT(a->w, weft_set_name("task %u", a->task) == 0);
    if (!t)
        return NOTHING;
    bool finished = weft_is_finished(t);
    weft_task_state_t state = weft_task_state(t);
    EXPECT(a->w, weft_task_id(t) > 0);
    EXPECT(a->w, !finished || (a->w->task[task].gone && (state == WEFT_TASK_COMPLETED || state == WEFT_TASK_CANCELLED)));
    a->w->task[task].handle = t;
    return (int)state;
}

int random_do_METRICS(actor *a, const step *s)
{
    weft_metrics_t m;
    (void)s;
    EXPECT(a->w, weft_metrics(NULL, &m) == 0);
    EXPECT(a->w, m.spawned == m.completed + m.active);
    return (int)m.active;
}

/* ---- about oneself -------------------------------------------------------------------------------------------------- */

int random_do_IS_CANCELLED(actor *a, const step *s)
{
    before b = random_before(a);
    (void)s;
    bool told = weft_is_cancelled();
    random_told(a, &b, told);
    return told;
}

/* A thread has nobody who would hear of it. */
int random_do_PANIC(actor *a, const step *s)
{
    if (a->body->coro)
        random_coro_panics(a);
    else if (a->kind != THREAD)
        a->w->task[a->task].panics = 1;
    else
        return NOTHING;
    random_task_fails(a->w, a->task);
    a->body->frames = NULL; /* the deferred calls are outside of all that */
    a->body->shields = 0;
    weft_panic("step %u", random_step_index(a, s));
}

int random_do_FAIL(actor *a, const step *s)
{
    (void)s;
    a->fails = random_task_fails(a->w, a->task);
    a->leaving = true;
    return 0;
}

int random_do_RETURN(actor *a, const step *s)
{
    (void)s;
    a->leaving = true;
    return 0;
}

/* ---- deferred calls ------------------------------------------------------------------------------------------------- */

static void deferred_call(void *arg)
{
    deferred *d = arg;
    world *w = d->actor->w;
    EXPECT(w, d->body->newest == d);
    EXPECT(w, d->waits-- == 1);
    d->body->newest = d->outer;
    if (d->does == 1)
        random_after_any(d->actor, weft_yield());
}

int random_do_DEFER(actor *a, const step *s)
{
    deferred *d = &a->w->deferred[random_step_index(a, s)];
    *d = (deferred){.outer = a->body->newest, .actor = a, .body = a->body, .does = s->a % 2};
    int code = weft_defer(deferred_call, d);
    JUDGE(a->w, code, code == (a->kind == THREAD && !a->body->coro ? WEFT_EINVAL : 0));
    if (code < 0)
        return code;
    d->waits = 1;
    a->body->newest = d;
    return 0;
}

int random_do_DEFER_POP(actor *a, const step *s)
{
    deferred *d = a->body->newest;
    if (!d)
        return NOTHING;
    if (!(s->a & 1)) {
        a->body->newest = d->outer;
        d->waits = 0;
    }
    EXPECT(a->w, weft_defer_pop(s->a & 1) == 0);
    EXPECT(a->w, d->waits == 0);
    return 0;
}

/* ---- values of a task ----------------------------------------------------------------------------------------------- */

static void drop_local(void *value)
{
    world *w = *(world **)value;
    w->locals_gone++;
    free(value);
}

static const weft_local locals[] = {WEFT_LOCAL_INIT(drop_local, 0), WEFT_LOCAL_INIT(drop_local, 1)};

int random_do_LOCAL_SET(actor *a, const step *s)
{
    world **value = malloc(sizeof *value);
    EXPECT(a->w, value);
    *value = a->w;
    a->w->locals++;
    int code = weft_local_set(&locals[s->a % 2], value);
    JUDGE(a->w, code, code == (a->kind == THREAD ? WEFT_EINVAL : 0));
    if (code < 0)
        drop_local(value);
    else
        EXPECT(a->w, weft_local_get(&locals[s->a % 2]) == value);
    return code;
}

int random_do_LOCAL_GET(actor *a, const step *s)
{
    world **value = weft_local_get(&locals[s->a % 2]);
    EXPECT(a->w, !value || *value == a->w);
    return value != NULL;
}

/* ---- groups --------------------------------------------------------------------------------------------------------- */

static bool has_scopes(const actor *a)
{
    for (const body *b = a->body; b; b = b->outer)
        if (b->frames)
            return true;
    return false;
}

static int close_group(actor *a, near_group *near)
{
    a->w->group[near->id].cancelled = 1;
    int code = weft_group_close(near->group);
    JUDGE(a->w, code, code == (near->own ? 0 : WEFT_EDEADLK));
    JUDGE(a->w, code, code < 0 || a->w->group[near->id].alive == 0);
    near->open = !near->own;
    return code;
}

/* A job has none: the paused clock stands still while it runs, and so it would wait for ever for a child that sleeps. */
int random_do_GROUP(actor *a, const step *s)
{
    near_group near = {.outer = a->groups, .id = (int)random_step_index(a, s), .own = true, .open = true};
    group_state *g = &a->w->group[near.id];
    weft_group_options o = {.limit = s->a % 4, .fail_fast = s->b & 1, .discard = (s->b & 6) == 6};
    if (a->kind == JOB) {
        random_run_steps(a, (unsigned)near.id + 1, s->end);
        return NOTHING;
    }
    g->owner = a->task;
    g->fail_fast = o.fail_fast;
    g->cancelled = has_scopes(a);
    o.drop_result = random_result_drop;
    EXPECT(a->w, weft_group_create_with(&near.group, &o) == 0);
    a->groups = &near;
    random_run_steps(a, (unsigned)near.id + 1, s->end);
    a->groups = near.outer;
    return near.open && (a->kind != STRAND || (s->c & 1)) ? close_group(a, &near) : 0;
}

int random_do_GROUP_NEXT(actor *a, const step *s)
{
    near_group *near = a->groups;
    void *value = NULL;
    if (!near || !near->open)
        return NOTHING;
    int code = weft_group_next(near->group, s->a % 4 ? &value : NULL);
    if (code == WEFT_EOF || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT)
        return random_after_any(a, code);
    if (code != 0 || s->a % 4)
        if (code != WEFT_EFAILED || s->a % 4)
            random_joined(a->w, -1, near->id, code, value);
    return code;
}

int random_do_GROUP_WAIT(actor *a, const step *s)
{
    near_group *near = a->groups;
    (void)s;
    if (!near || !near->open)
        return NOTHING;
    int code = random_after_any(a, weft_group_wait(near->group));
    JUDGE(a->w, code, near->own || code == WEFT_EDEADLK || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    return code;
}

int random_do_GROUP_CANCEL(actor *a, const step *s)
{
    near_group *near = a->groups;
    (void)s;
    if (!near || !near->open)
        return NOTHING;
    a->w->group[near->id].cancelled = 1;
    weft_group_cancel(near->group);
    return 0;
}

int random_do_GROUP_CLOSE(actor *a, const step *s)
{
    (void)s;
    return a->groups && a->groups->open ? close_group(a, a->groups) : NOTHING;
}

/* ---- coroutines ----------------------------------------------------------------------------------------------------- */

typedef struct coroutine {
    body body;
    actor *actor;
    const step *step;
    near_group *groups; /* while it rests */
    bool panics, begun;
} coroutine;

static coroutine *current(const actor *a) { return WEFT_CONTAINER_OF(a->body, coroutine, body); }

/* Its groups are closed at its end, before anybody else knows. */
static void cancel_groups_in(actor *a, const step *s)
{
    for (unsigned i = random_step_index(a, s) + 1; i < s->end; i++)
        if (a->w->program->step[i].op == OP_GROUP)
            a->w->group[i].cancelled = 1;
}

static void *coro_body(void *arg)
{
    coroutine *c = arg;
    c->begun = true;
    random_run_steps(c->actor, random_step_index(c->actor, c->step) + 1, c->step->end);
    cancel_groups_in(c->actor, c->step);
    return c;
}

void random_coro_panics(actor *a)
{
    current(a)->panics = true;
    cancel_groups_in(a, current(a)->step);
}

void random_coro_pause(actor *a, const step *s)
{
    coroutine *c = current(a);
    if (!(s->c & 64))
        return;
    c->groups = a->groups;
    void *in = weft_coro_yield(c);
    EXPECT(a->w, in == c || (!in && weft_coro_stopping()));
    a->leaving = a->leaving || !in;
}

typedef int (*coro_call)(coroutine *c, weft_coro *coro);

static int resume(coroutine *c, weft_coro *coro)
{
    void *out = NULL;
    int code = weft_coro_resume(coro, c, &out);
    JUDGE(c->actor->w, code, (code >= 0 ? code <= 1 && (out == c || !c->begun) : code == WEFT_EPANIC && c->panics));
    return code;
}

static int stop(coroutine *c, weft_coro *coro)
{
    int code = weft_coro_stop(coro);
    JUDGE(c->actor->w, code, code == 0 || (code == WEFT_EPANIC && c->panics));
    return code;
}

static int release(coroutine *c, weft_coro *coro)
{
    int code = weft_coro_free(coro);
    JUDGE(c->actor->w, code, code == 0);
    return code;
}

/* With the body in place: whatever is called may run it. */
static int inside(coroutine *c, weft_coro *coro, coro_call call)
{
    actor *a = c->actor;
    near_group *groups = a->groups;
    body *outer = a->body;
    const step *at = a->at;
    c->body.outer = outer;
    a->body = &c->body;
    a->groups = c->groups;
    int code = call(c, coro);
    a->body = outer;
    a->groups = groups;
    a->at = at;
    a->leaving = false;
    a->fails = 0;
    return code;
}

static void judge_coro_groups(actor *a, const step *s)
{
    for (unsigned i = random_step_index(a, s) + 1; i < s->end; i++)
        if (a->w->program->step[i].op == OP_GROUP && a->w->group[i].owner == a->task)
            EXPECT(a->w, a->w->group[i].alive == 0);
}

int random_do_CORO(actor *a, const step *s)
{
    coroutine c = {.body.coro = true, .actor = a, .step = s, .groups = a->groups};
    weft_coro *coro;
    int code = 1;
    EXPECT(a->w, weft_coro_create(&coro, coro_body, &c, 0) == 0);
    for (unsigned i = s->a % 8; code == 1 && i > 0; i--) {
        code = inside(&c, coro, resume);
        if (s->b & 2)
            random_after_any(a, weft_yield());
    }
    if (s->b & 1)
        inside(&c, coro, stop);
    inside(&c, coro, release);
    judge_coro_groups(a, s);
    return code;
}
