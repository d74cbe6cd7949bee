/* scope_model_test.c - random programs of nested scopes, against a sequential model that predicts each return code.
 *
 * A program is made up as it runs, from a seed that every failure names. Under the paused clock one worker knows to the millisecond what
 * happens when. So that no two things that race fall into the same millisecond, each kind has a residue of its own: deadlines
 * and sleeps end at multiples of 4 ms (of these two, completion wins), children one later, aborts two, tokens three.
 *
 * With several workers and real time only what must hold whoever comes first is checked. */
#include <support/task_support.h>
#include <support/test.h>
#include <weft.h>

/* ---- chance --------------------------------------------------------------------------------------------------- */

/* Source: splitmix64, by Sebastiano Vigna. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* ---- the model ------------------------------------------------------------------------------------------------ */

enum { DEPTH = 6, NESTING = 3, STEPS = 60 };
enum { AT_DEADLINES, AT_CHILDREN, AT_ABORTS, AT_TOKENS };

typedef struct scope {
    int64_t deadline;
    int fired;
    bool bound, told; /* to the token; which has been cancelled, but nobody has looked since */
    bool received;
    unsigned shields;
} scope;

typedef struct body {
    struct body *outer;
    weft_scope *real; /* DEPTH of them, in the frame of the one that runs */
    scope scopes[DEPTH];
    int entered;
    unsigned shields;
} body;

typedef struct program {
    uint64_t seed, chance;
    int step;
    const char *what;
    weft_task *self;
    int64_t now;
    body *inner;
    scope *cause;
    bool marked;         /* the next await looks */
    bool scoped;         /* the timer of the last wait was a scope's, and will mark */
    bool aborted, met;   /* asked to stop; has been told so */
    int64_t abort_at;    /* a helper's plan; WEFT_FOREVER: none */
    weft_task *aborting; /* the helper */
    int64_t cancel_at;
    weft_task *cancelling;
    weft_token *token;
    bool cancelled;
} program;

static unsigned pick(program *p, unsigned n) { return (unsigned)(next_random(&p->chance) % n); }

#define HOLDS(condition) cr_assert(condition, "seed %llu, step %d, %s", (unsigned long long)p->seed, p->step, p->what)
#define SAYS(real, model)                                                                                                    \
    do {                                                                                                                     \
        int64_t real_ = (real), model_ = (model);                                                                            \
        cr_assert_eq(real_, model_, "seed %llu, step %d, %s", (unsigned long long)p->seed, p->step, p->what);                \
        cr_assert_eq(weft_now(), p->now, "the time: seed %llu, step %d, %s", (unsigned long long)p->seed, p->step, p->what); \
    } while (0)

static int64_t whole_ms(int64_t t) { return (t + WEFT_MS - 1) / WEFT_MS * WEFT_MS; }

static bool is_anything_entered(const program *p) { return p->inner->entered > 0 || p->inner->outer; }

static void carry_over_and_fire(program *p, body *b)
{
    for (int i = 0; i < b->entered; i++) {
        scope *s = &b->scopes[i];
        if (!s->fired && s->told)
            s->fired = WEFT_ECANCELED;
        if (!s->fired && s->deadline <= p->now)
            s->fired = WEFT_ETIMEDOUT;
    }
}

/* The outermost that has fired and that nothing hides; p->marked: is there any at all. */
static int look(program *p)
{
    bool hidden = false;
    p->marked = false;
    p->cause = NULL;
    for (body *b = p->inner; b; b = b->outer) {
        carry_over_and_fire(p, b);
        for (int i = b->entered - 1; i >= 0; i--) {
            scope *s = &b->scopes[i];
            p->marked = p->marked || s->fired;
            if (s->fired && !hidden && s->shields >= b->shields)
                p->cause = s;
        }
        hidden = hidden || b->shields > 0;
    }
    return p->cause ? p->cause->fired : 0;
}

static bool is_shielded(const program *p)
{
    for (const body *b = p->inner; b; b = b->outer)
        if (b->shields > 0)
            return true;
    return false;
}

static int interruption(program *p)
{
    int code = p->marked ? look(p) : 0;
    if (!p->aborted || is_shielded(p))
        return code;
    p->cause = NULL;
    return WEFT_ECANCELED;
}

static int receive(program *p, int code)
{
    if (code && p->cause)
        p->cause->received = true;
    else if (code)
        p->met = true;
    return code;
}

static int64_t nearest_deadline(const program *p)
{
    int64_t nearest = WEFT_FOREVER;
    for (const body *b = p->inner; b; b = b->outer)
        for (int i = 0; i < b->entered; i++)
            if (!b->scopes[i].fired && b->scopes[i].deadline < nearest)
                nearest = b->scopes[i].deadline;
    return nearest;
}

static void token_fires(program *p)
{
    p->cancelled = true;
    p->cancel_at = WEFT_FOREVER;
    for (body *b = p->inner; b; b = b->outer)
        for (int i = 0; i < b->entered; i++)
            if (b->scopes[i].bound)
                b->scopes[i].told = p->marked = true;
}

/* Until the timer fires, something else happens at @other, or a helper does what it is there for. */
static void suspend(program *p, int64_t deadline, int64_t other)
{
    int64_t nearest = nearest_deadline(p), until = nearest < deadline ? nearest : deadline;
    if (is_anything_entered(p))
        p->scoped = nearest < deadline;
    int64_t timer = until == WEFT_FOREVER ? until : until > p->now ? whole_ms(until) : p->now, then = timer;
    then = other < then ? other : then;
    then = p->cancel_at < then ? p->cancel_at : then;
    then = p->abort_at < then ? p->abort_at : then;
    p->now = then;
    if (then == timer && p->scoped)
        p->marked = true;
    if (then == p->cancel_at)
        token_fires(p);
    if (then == p->abort_at) {
        p->aborted = true;
        p->abort_at = WEFT_FOREVER;
    }
}

/* An operation with a deadline of its own at which it is done, or that something else completes at @other. */
static int await(program *p, int64_t deadline, int64_t other)
{
    int code = interruption(p);
    while (code == 0) {
        suspend(p, deadline, other);
        if (p->now >= deadline || p->now >= other)
            return 0;
        code = interruption(p);
    }
    return receive(p, code);
}

static void await_shielded(program *p, int64_t other)
{
    while (p->now < other) {
        interruption(p);
        suspend(p, WEFT_FOREVER, other);
    }
}

static int yield(program *p)
{
    int code = interruption(p);
    if (code)
        return receive(p, code);
    if (is_anything_entered(p))
        look(p);
    return 0;
}

static int is_cancelled(program *p)
{
    if (is_anything_entered(p))
        p->marked = true;
    return receive(p, interruption(p)) < 0;
}

static int64_t visible_deadline(const program *p)
{
    int64_t nearest = WEFT_FOREVER;
    bool hidden = false;
    for (const body *b = p->inner; b && !hidden; b = b->outer) {
        for (int i = 0; i < b->entered; i++)
            if (b->scopes[i].shields >= b->shields && b->scopes[i].deadline < nearest)
                nearest = b->scopes[i].deadline;
        hidden = b->shields > 0;
    }
    return nearest;
}

/* ---- the steps, in both worlds ---------------------------------------------------------------------------------- */

/* Some time ahead whose millisecond is congruent to @residue; a part of a millisecond before it at times. */
static int64_t pick_time(program *p, int residue)
{
    int64_t ms = p->now / WEFT_MS / 4 * 4 + 4 * (1 + pick(p, 8)) + residue;
    return ms * WEFT_MS - pick(p, 4) * (WEFT_MS / 4);
}

static void do_look(program *p) { SAYS(weft_is_cancelled() != 0, is_cancelled(p)); }

static void do_enter(program *p)
{
    static const int64_t special[] = {WEFT_FOREVER, WEFT_FOREVER, WEFT_FOREVER - 1, 0, -1, INT64_MIN};
    body *b = p->inner;
    if (b->entered == DEPTH)
        return;
    unsigned kind = pick(p, 24);
    int64_t timeout = kind < 6 ? special[kind] : pick_time(p, AT_DEADLINES) - p->now;
    scope *s = &b->scopes[b->entered];
    *s = (scope){.deadline = timeout <= 0                  ? p->now
                             : timeout >= WEFT_FOREVER - 1 ? WEFT_FOREVER
                                                           : p->now + timeout,
                 .shields = b->shields};
    SAYS(weft_scope_enter(&b->real[b->entered], timeout), 0);
    b->entered++;
    if (timeout <= 0) {
        s->fired = WEFT_ETIMEDOUT;
        p->marked = true;
    }
}

static void do_leave(program *p)
{
    body *b = p->inner;
    if (b->entered == 0)
        return;
    const scope *s = &b->scopes[b->entered - 1];
    SAYS(weft_scope_leave(&b->real[b->entered - 1]), s->received ? s->fired : 0);
    b->entered--;
    SAYS(weft_scope_leave(&b->real[b->entered]), WEFT_EINVAL);
}

static void do_misuse(program *p)
{
    body *b = p->inner;
    if (b->entered < 2)
        return;
    int i = (int)pick(p, (unsigned)b->entered - 1);
    SAYS(weft_scope_leave(&b->real[i]), WEFT_EINVAL);
    SAYS(weft_scope_enter(&b->real[i], 0), WEFT_EINVAL);
}

static void do_cancel(program *p)
{
    body *b = p->inner;
    if (b->entered == 0)
        return;
    int i = (int)pick(p, (unsigned)b->entered);
    SAYS(weft_scope_cancel(&b->real[i]), 0);
    if (!b->scopes[i].fired)
        b->scopes[i].fired = WEFT_ECANCELED;
    p->marked = true;
}

static void do_bind(program *p)
{
    body *b = p->inner;
    if (b->entered == 0)
        return;
    int i = (int)pick(p, (unsigned)b->entered);
    scope *s = &b->scopes[i];
    SAYS(weft_scope_bind(&b->real[i], p->token), 0);
    s->bound = true;
    if (!p->cancelled)
        return;
    s->fired = s->fired ? s->fired : WEFT_ECANCELED;
    p->marked = true;
}

static void do_shield(program *p)
{
    if (p->inner->shields == 3)
        return;
    SAYS(weft_shield_enter(), 0);
    p->inner->shields++;
}

static void do_unshield(program *p)
{
    body *b = p->inner;
    SAYS(weft_shield_leave(), b->shields ? 0 : WEFT_EINVAL);
    b->shields -= b->shields > 0;
    for (int i = 0; i < b->entered; i++)
        b->scopes[i].shields = b->scopes[i].shields < b->shields ? b->scopes[i].shields : b->shields;
}

static void do_sleep(program *p)
{
    int64_t until = pick_time(p, AT_DEADLINES), ns = until - p->now;
    int code = await(p, until, WEFT_FOREVER);
    SAYS(weft_sleep(ns), code);
}

static void do_yield(program *p)
{
    int code = yield(p);
    SAYS(pick(p, 2) ? weft_yield() : weft_sleep(0), code);
}

static void do_deadline(program *p) { SAYS(weft_deadline(), visible_deadline(p)); }

static void *sleep_until(void *when)
{
    (void)weft_sleep_until(*(int64_t *)when);
    return NULL;
}

static void *sleep_until_shielded(void *when)
{
    weft_shield_enter();
    return sleep_until(when);
}

static weft_task *start(program *p, weft_fn fn, void *arg)
{
    weft_task *task = NULL;
    SAYS(weft_spawn(&task, fn, arg), 0);
    return task;
}

/* Until @task has begun and waits: what is planned for it is on the stack here, and in a model that runs ahead. */
static void settle(program *p, weft_task *task)
{
    SAYS(weft_shield_enter(), 0);
    p->inner->shields++;
    while (weft_task_state(task) != WEFT_TASK_IDLE)
        do_yield(p);
    do_unshield(p);
}

/* Wait for a child; if that is interrupted, close it. */
static void do_join(program *p)
{
    int64_t until = pick_time(p, AT_CHILDREN);
    weft_task *child = start(p, sleep_until, &until);
    int code = await(p, WEFT_FOREVER, whole_ms(until));
    SAYS(weft_wait(child), code);
    SAYS(weft_task_close(child), 0);
    if (is_anything_entered(p))
        do_look(p); /* whether its close met a deadline that had passed is nobody's business */
}

/* Close a child that does not mind for a while; nothing interrupts that. */
static void do_close(program *p)
{
    int64_t until = pick_time(p, AT_CHILDREN);
    weft_task *child = start(p, sleep_until_shielded, &until);
    settle(p, child);
    await_shielded(p, whole_ms(until));
    SAYS(weft_task_close(child), 0);
    if (is_anything_entered(p))
        do_look(p);
}

static void *abort_at(void *arg)
{
    program *p = arg;
    if (weft_sleep_until(p->abort_at) == 0)
        weft_abort(p->self);
    return NULL;
}

static void *cancel_at(void *arg)
{
    program *p = arg;
    if (weft_sleep_until(p->cancel_at) == 0)
        weft_token_cancel(p->token);
    return NULL;
}

static void do_plan_abort(program *p)
{
    if (p->aborting || pick(p, 4) > 0)
        return;
    p->abort_at = whole_ms(pick_time(p, AT_ABORTS));
    p->aborting = start(p, abort_at, p);
    settle(p, p->aborting);
}

static void do_plan_cancel(program *p)
{
    if (p->cancelling)
        return;
    p->cancel_at = whole_ms(pick_time(p, AT_TOKENS));
    p->cancelling = start(p, cancel_at, p);
    settle(p, p->cancelling);
}

static void do_abort(program *p)
{
    if (pick(p, 16) > 0)
        return;
    weft_abort(p->self);
    p->aborted = true;
}

static void do_coro(program *p);

static void do_coro_yield(program *p)
{
    if (!p->inner->outer)
        return;
    HOLDS(weft_coro_yield(p) == p);
    if (p->inner->entered > 0)
        p->marked = true; /* whatever fired while it rested */
}

typedef struct step {
    void (*run)(program *p);
    const char *name;
    unsigned weight;
} step;

static const step steps[] = {{do_enter, "enter", 8},
                             {do_leave, "leave", 5},
                             {do_misuse, "misuse", 1},
                             {do_cancel, "cancel", 1},
                             {do_bind, "bind", 2},
                             {do_shield, "shield", 2},
                             {do_unshield, "unshield", 3},
                             {do_sleep, "sleep", 8},
                             {do_yield, "yield", 4},
                             {do_look, "is_cancelled", 1},
                             {do_deadline, "deadline", 3},
                             {do_join, "join", 4},
                             {do_close, "close", 2},
                             {do_abort, "abort", 1},
                             {do_plan_abort, "plan_abort", 1},
                             {do_plan_cancel, "plan_cancel", 2},
                             {do_coro, "coro", 1},
                             {do_coro_yield, "coro_yield", 2}};

static void do_something(program *p)
{
    enum { KINDS = sizeof steps / sizeof *steps };
    unsigned total = 0;
    for (int i = 0; i < KINDS; i++)
        total += steps[i].weight;
    unsigned n = pick(p, total);
    const step *s = steps;
    for (; n >= s->weight; s++)
        n -= s->weight;
    p->what = s->name;
    p->step++;
    s->run(p);
}

static void run_body(program *p, int length)
{
    weft_scope real[DEPTH];
    body b = {.outer = p->inner, .real = real};
    p->inner = &b;
    for (int i = 0; i < length; i++)
        do_something(p);
    p->what = "the end";
    while (b.entered > 0)
        do_leave(p);
    while (b.shields > 0)
        do_unshield(p);
    p->inner = b.outer;
}

/* ---- coroutines in it -------------------------------------------------------------------------------------------- */

static void *coro_body(void *arg)
{
    program *p = arg;
    run_body(p, STEPS / 3);
    return p;
}

static int nesting(const program *p)
{
    int n = 0;
    for (const body *b = p->inner; b; b = b->outer)
        n++;
    return n;
}

static void do_coro(program *p)
{
    weft_coro *c;
    void *out = NULL;
    if (nesting(p) == NESTING)
        return;
    HOLDS(weft_coro_create(&c, coro_body, p, 0) == 0);
    body *mine = p->inner;
    int code;
    do
        code = weft_coro_resume(c, p, &out);
    while (code == 1); /* it yielded: it goes on at once */
    SAYS(code, 0);
    HOLDS(out == p && p->inner == mine);
    HOLDS(weft_coro_free(c) == 0);
}

/* ---- whole programs ------------------------------------------------------------------------------------------------ */

static void *program_main(void *arg)
{
    program *p = arg;
    p->now = weft_now();
    run_body(p, STEPS);
    return p;
}

static void *program_root(void *arg)
{
    program *p = arg;
    weft_spawn_options pinned = {.pinned = 1};
    void *result;
    HOLDS(weft_token_create(&p->token, NULL) == 0);
    HOLDS(weft_spawn_with(&p->self, &pinned, program_main, p) == 0);
    int code = weft_join(p->self, &result);
    cr_assert_eq(code, p->met ? WEFT_EABORTED : 0, "seed %llu", (unsigned long long)p->seed);
    HOLDS(weft_task_close(p->aborting) == 0);
    HOLDS(weft_task_close(p->cancelling) == 0);
    HOLDS(weft_token_free(p->token) == 0);
    return NULL;
}

static void run_program(uint64_t seed)
{
    program p = {.seed = seed, .chance = seed, .abort_at = WEFT_FOREVER, .cancel_at = WEFT_FOREVER, .what = "the beginning"};
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED, .seed = 1};
    cr_assert_eq(weft_run_with(&options, program_root, &p, NULL), 0, "seed %llu", (unsigned long long)seed);
}

Test(scope_model, programs_do_what_the_model_says)
{
    size_t programs = wf_test_scale(5000);
    for (uint64_t seed = 1; seed <= programs; seed++)
        run_program(seed);
}

/* ---- real time, several workers ------------------------------------------------------------------------------------- */

enum { TASKS = 60, TOKENS = 4 };

static weft_token *tokens[TOKENS];

typedef struct walker {
    uint64_t seed, chance;
    weft_task *task;
    int timeouts, cancels; /* that awaits have said */
    int told;              /* that scopes have said */
} walker;

static int remember(walker *w, int code)
{
    cr_assert(code == 0 || code == WEFT_ETIMEDOUT || code == WEFT_ECANCELED, "%d, seed %llu", code,
              (unsigned long long)w->seed);
    w->timeouts += code == WEFT_ETIMEDOUT;
    w->cancels += code == WEFT_ECANCELED;
    return code;
}

static void *nap(void *us)
{
    (void)weft_sleep((intptr_t)us * WEFT_US);
    return NULL;
}

static void walk_join(walker *w)
{
    weft_task *child;
    cr_assert_eq(weft_spawn(&child, nap, (void *)(intptr_t)(next_random(&w->chance) % 3000)), 0);
    if (remember(w, weft_wait(child)) < 0)
        cr_assert_eq(weft_task_close(child), 0);
    else
        cr_assert_eq(weft_join(child, NULL), 0);
}

static void walk_once(walker *w)
{
    switch (next_random(&w->chance) % 4) {
    case 0:
        remember(w, weft_sleep((int64_t)(next_random(&w->chance) % 3000) * WEFT_US));
        break;
    case 1:
        walk_join(w);
        break;
    case 2:
        weft_token_cancel(tokens[next_random(&w->chance) % TOKENS]);
        break;
    default:
        remember(w, weft_yield());
    }
}

/* What it says on leaving has been said inside, and not early. */
static void leave(walker *w, weft_scope *s, int64_t deadline, int timeouts, int cancels)
{
    int code = weft_scope_leave(s);
    w->told += code < 0;
    if (code == WEFT_ETIMEDOUT)
        cr_assert(w->timeouts > timeouts && weft_now() >= deadline, "seed %llu", (unsigned long long)w->seed);
    else if (code == WEFT_ECANCELED)
        cr_assert_gt(w->cancels, cancels, "seed %llu", (unsigned long long)w->seed);
    else
        cr_assert_eq(code, 0, "seed %llu", (unsigned long long)w->seed);
}

static void walk(walker *w, int depth)
{
    weft_scope s;
    int timeouts = w->timeouts, cancels = w->cancels;
    uint64_t kind = next_random(&w->chance);
    int64_t timeout = kind % 4 == 0 ? WEFT_FOREVER : (int64_t)(kind / 4 % 5000) * WEFT_US;
    int64_t deadline = timeout == WEFT_FOREVER ? WEFT_FOREVER : weft_now() + timeout;
    cr_assert_eq(weft_scope_enter(&s, timeout), 0);
    if (kind >> 32 & 1)
        cr_assert_eq(weft_scope_bind(&s, tokens[(kind >> 40) % TOKENS]), 0);
    bool shield = (kind >> 33 & 3) == 0;
    if (shield)
        weft_shield_enter();
    for (int i = 0; i < 3; i++) {
        walk_once(w);
        if (depth > 1)
            walk(w, depth - 1 - i % 2);
    }
    if (shield)
        weft_shield_leave();
    leave(w, &s, deadline, timeouts, cancels);
}

static void *walker_main(void *arg)
{
    walker *w = arg;
    walk(w, 3);
    int after = weft_yield();
    cr_assert(after == 0 || after == WEFT_ECANCELED, "only an abort is left");
    if (after == 0)
        cr_assert_eq(w->told > 0, w->timeouts + w->cancels > 0, "who said so was a scope: seed %llu",
                     (unsigned long long)w->seed);
    return (void *)(intptr_t)after;
}

static void *crowd_root(void *arg)
{
    walker walkers[TASKS];
    uint64_t chance = (uintptr_t)arg;
    for (int i = 0; i < TOKENS; i++)
        cr_assert_eq(weft_token_create(&tokens[i], i % 2 ? tokens[i - 1] : NULL), 0);
    for (int i = 0; i < TASKS; i++) {
        walkers[i] = (walker){.seed = chance};
        walkers[i].chance = next_random(&chance);
        cr_assert_eq(weft_spawn(&walkers[i].task, walker_main, &walkers[i]), 0);
    }
    for (int i = 0; i < TASKS; i += 7) {
        (void)weft_sleep(WEFT_MS / 2);
        weft_abort(walkers[i].task);
    }
    for (int i = 0; i < TASKS; i++) {
        int code = weft_join(walkers[i].task, NULL);
        cr_assert(code == 0 || (i % 7 == 0 && code == WEFT_EABORTED), "%d", code);
    }
    for (int i = TOKENS - 1; i >= 0; i--)
        cr_assert_eq(weft_token_free(tokens[i]), 0);
    return NULL;
}

WF_TEST_WORKERS(scope_model, in_real_time_what_they_say_is_true)
{
    size_t rounds = wf_test_scale(20);
    for (uintptr_t i = 1; i <= rounds; i++)
        run(workers, crowd_root, (void *)i);
}
