/* spawn.c - the birth of tasks.
 *
 * A spawn allocates one header (and a side block when options ask for it), writes it with plain stores, and queues it. The steps are inlined into two
 * ways: without options from a task of the same runtime, where most of the questions have answers that the compiler knows, and any other. */
#include <base/clock.h>
#include <runtime/group.h>
#include <runtime/runtime.h>
#include <runtime/storage.h>
#include <runtime/watch.h>
#include <string.h>

enum { SPARE_AT_BIRTH = 64, SMALLEST_STACK = 16 * 1024, LARGEST_STACK = 1 << 30 };

/* Who spawns, and where. */
typedef struct birth {
    weft_runtime *rt;
    wf_worker *worker;   /* the calling thread's, if it is one of rt's */
    const wf_exec *exec; /* the caller's, or NULL */
    weft_waker joiner;   /* set from birth; or empty */
} birth;

/* ---- counting in and out ------------------------------------------------------------------------------------- */

static int refusal(weft_runtime *rt)
{
    switch (wf_runtime_phase(rt)) {
    case WF_RUNNING:
        return 0;
    case WF_FORKED:
        return WEFT_ENOTSUP;
    default:
        return WEFT_ECANCELED;
    }
}

/* An outsider announces itself before it looks at the phase: shutdown changes the phase and then waits for the announced. */
static int enter(birth *b)
{
    if (!b->worker)
        wf_add_seq(&b->rt->entrants, 1);
    int err = refusal(b->rt);
    if (err < 0 && !b->worker)
        wf_sub_seq(&b->rt->entrants, 1);
    return err;
}

static void leave(birth *b)
{
    if (!b->worker)
        wf_sub_seq(&b->rt->entrants, 1);
}

WF_INLINE void count_spawned(const birth *b)
{
    wf_worker *w = b->worker;
    if (!w) {
        wf_add_rlx(&b->rt->foreign_spawned, 1);
        return;
    }
    wf_count(&w->spawned, 1);
    if (w->alone) { /* ends before births, or they may seem to be more */
        uint64_t ended = wf_load_acq(&b->rt->foreign_completed);
        uint64_t active = wf_load_rlx(&b->rt->foreign_spawned) - ended + w->spawned.v - w->completed.v;
        if (active > w->peak.v)
            wf_store_rlx(&w->peak, active);
    }
}

/* The last one ends before it could begin. To take its birth back would be a counter that goes down, which who watches takes for a new start. */
static void count_refused(const birth *b)
{
    wf_worker *w = b->worker;
    if (w) {
        wf_count_rel(&w->completed, 1);
        wf_count_rel(&w->aborted, 1);
    } else {
        wf_add_acqrel(&b->rt->foreign_completed, 1);
        wf_add_acqrel(&b->rt->foreign_aborted, 1);
    }
}

WF_INLINE uint64_t next_id(wf_worker *w)
{
    enum { BLOCK = 1024 };
    if (!w)
        return wf_ids_take(1);
    if (w->next_id == w->last_id) {
        w->next_id = wf_ids_take(BLOCK);
        w->last_id = w->next_id + BLOCK;
    }
    return w->next_id++;
}

/* ---- options ------------------------------------------------------------------------------------------------- */

static int copy_argument(weft_task *task, const weft_spawn_options *o)
{
    wf_extra *extra = task->extra;
    extra->copy = wf_alloc(&extra->allocator, o->copy_arg);
    if (!extra->copy)
        return WEFT_ENOMEM;
    memcpy(extra->copy, task->value.v, o->copy_arg);
    wf_note(&task->value, extra->copy);
    return 0;
}

/* To the worker that was asked for, else to the one that spawns; from outside, to each in turn. */
static bool pin(weft_task *task, const birth *b, unsigned wanted)
{
    const unsigned first = WEFT_PIN_TO(0);
    if (wanted >= first && wanted - first >= b->rt->count)
        return false;
    wf_note(&task->flags, (uint16_t)(task->flags.v | WF_TASK_PINNED));
    unsigned home = b->worker ? b->worker->index : (unsigned)(task->id.v % b->rt->count);
    wf_note(&task->track, wf_track(task->born.v, wanted >= first ? wanted - first : home));
    return true;
}

static int apply_options(weft_task *task, const birth *b, const weft_spawn_options *o)
{
    if (o->pinned && !pin(task, b, o->pinned))
        return WEFT_EINVAL;
    if (!o->blocking && !o->name && !o->stack_size && !o->drop_arg && !o->drop_result && !o->copy_arg)
        return 0;
    wf_extra *extra = wf_task_extra(task);
    if (!extra)
        return WEFT_ENOMEM;
    extra->stack_size = o->stack_size;
    extra->drop_arg = o->drop_arg;
    extra->drop_result = o->drop_result;
    if (o->name)
        wf_task_set_label(task, o->name);
    if (o->blocking)
        wf_blocking_init(task);
    return o->copy_arg && wf_task_is(task, WF_TASK_STRAND) ? copy_argument(task, o) : 0;
}

WF_NOINLINE static int inherit_cells(weft_task *task, const struct wf_cells *from)
{
    bool out_of_memory = false;
    struct wf_cells *cells = wf_cells_inherit(from, &out_of_memory);
    if (out_of_memory)
        return WEFT_ENOMEM;
    if (!cells)
        return 0;
    if (!wf_task_extra(task)) {
        wf_cells_free(cells);
        return WEFT_ENOMEM;
    }
    task->extra->cells = cells;
    return 0;
}

WF_INLINE int inherit_locals(weft_task *task, const wf_exec *exec)
{
    const weft_task *parent = exec && exec->callbacks == 0 ? exec->task : NULL;
    if (wf_likely(!parent || !parent->extra || !parent->extra->cells))
        return 0;
    return inherit_cells(task, parent->extra->cells);
}

/* Never queued: undo without a word to anybody. */
WF_NOINLINE static void unborn(weft_task *task, wf_worker *w)
{
    if (task->extra)
        wf_task_extra_free(task);
    if (!wf_task_is(task, WF_TASK_STORAGE))
        wf_header_put(task, w ? &w->headers : NULL);
}

/* ---- the birth ----------------------------------------------------------------------------------------------- */

static bool in_hook(const wf_exec *exec) { return exec && wf_watch_telling((wf_exec *)exec)->depth > 0; }

WF_INLINE void note_birth(weft_task *task, const birth *b, unsigned flags)
{
    wf_worker *w = b->worker;
    uint64_t track = w ? wf_noted(&w->track) : wf_track(wf_ticks(wf_now_coarse()), WF_TRACK_NOBODY);
    unsigned more = w ? w->born_flags : in_hook(b->exec) ? b->rt->watched & ~WF_TASK_WATCHED : b->rt->watched;
    wf_note(&task->track, track);
    wf_note(&task->born, wf_track_since(track));
    wf_note(&task->flags, (uint16_t)(flags | more));
}

/* Everything but the word: until that is stored, walkers take the place for a free one. */
WF_INLINE void init_header(weft_task *task, const birth *b, uint8_t flags)
{
    task->next = NULL;
    task->rt = b->rt;
    wf_note(&task->strand, NULL);
    wf_note(&task->id, next_id(b->worker));
    wf_note(&task->extra_seen, NULL);
    task->spare = SPARE_AT_BIRTH;
    note_birth(task, b, flags);
}

WF_INLINE int finish_header(weft_task *task, const birth *b, const weft_spawn_options *o)
{
    if (wf_unlikely(o)) {
        int err = apply_options(task, b, o);
        if (err < 0)
            return err;
    }
    return inherit_locals(task, b->exec);
}

/* Told and counted before it has a word: from then on whoever aborts them all makes it end, and that must not be counted first. */
WF_NOINLINE static void announce_job(weft_task *task, const birth *b)
{
    WF_PROBE1(spawn, task->id.v);
    if (wf_task_is(task, WF_TASK_WATCHED))
        wf_watch_spawn(b->worker, task);
    count_spawned(b);
}

/* The pool may refuse it: then it is as if it had never been born, but that it is counted. Unless somebody who aborts them all has been faster, which makes it a worker's. */
WF_NOINLINE static int give_to_pool(weft_task *task, birth b, weft_task **handle)
{
    int err = wf_pool_submit(b.rt, WF_LANE_USER, &task->extra->job);
    if (wf_likely(err == 0))
        return 0;
    if (!wf_state_leave_pool(&task->state)) {
        wf_task_unref(task); /* the job's */
        return 0;
    }
    if (handle)
        *handle = NULL;
    count_refused(&b);
    if (wf_unlikely(wf_task_is(task, WF_TASK_WATCHED))) {
        wf_task_set_output(task, WEFT_EABORTED, NULL);
        wf_watch_end(b.worker, task);
    }
    unborn(task, b.worker);
    return err;
}

WF_INLINE int give_life(weft_task *task, const birth *b, weft_task **handle, uint8_t flags)
{
    bool blocking = flags & WF_TASK_BLOCKING;
    uint64_t bits = (handle ? WF_S_HANDLE : 0) | (blocking ? WF_S_POOLED : 0);
    if (wf_unlikely(b->joiner.ops != NULL)) {
        task->joiner = b->joiner;
        wf_note(&task->flags, (uint16_t)(task->flags.v | WF_TASK_MEMBER));
        bits |= WF_S_JOIN_WAKER;
    }
    if (wf_unlikely(blocking))
        announce_job(task, b);
    wf_state_init(&task->state, bits, 1 + SPARE_AT_BIRTH + (handle != NULL));
    if (handle)
        *handle = task;
    if (wf_unlikely(blocking))
        return give_to_pool(task, *b, handle);
    count_spawned(b);
    WF_PROBE1(spawn, task->id.v);
    wf_schedule_fresh(b->worker, task);
    return 0;
}

WF_INLINE int bear(weft_task **handle, const birth *b, const weft_spawn_options *o, uint8_t flags, void *body, void *value)
{
    weft_task *task = wf_header_get(b->rt->heap, b->worker ? &b->worker->headers : NULL);
    if (wf_unlikely(!task))
        return WEFT_ENOMEM;
    init_header(task, b, flags);
    task->body.future = body;
    wf_note(&task->value, value);
    int err = finish_header(task, b, o);
    if (wf_likely(err == 0))
        return give_life(task, b, handle, flags);
    unborn(task, b->worker);
    return err;
}

static int check(const weft_spawn_options *o, uint8_t flags)
{
    if (!o)
        return 0;
    if (o->stack_size && (o->stack_size < SMALLEST_STACK || o->stack_size > LARGEST_STACK))
        return WEFT_EINVAL;
    return o->blocking && (o->pinned || !(flags & WF_TASK_STRAND)) ? WEFT_EINVAL : 0;
}

static int find_runtime(birth *b, weft_runtime *wanted)
{
    b->exec = wf_exec_peek();
    b->rt = wanted ? wanted : b->exec ? b->exec->rt : NULL;
    if (!b->rt)
        return WEFT_ENORUNTIME;
    b->worker = b->exec && b->exec->worker && b->exec->worker->rt == b->rt ? b->exec->worker : NULL;
    return 0;
}

/* From anywhere. */
WF_NOINLINE static int spawn(weft_task **handle, weft_waker joiner, const weft_spawn_options *o, uint8_t flags,
                             void *body, void *value)
{
    birth b = {.joiner = joiner};
    int err = check(o, flags);
    if (err < 0 || (err = find_runtime(&b, o ? o->runtime : NULL)) < 0 || (err = enter(&b)) < 0)
        return err;
    if (o && o->blocking)
        flags |= WF_TASK_BLOCKING;
    err = bear(handle, &b, o, flags, body, value);
    leave(&b);
    return err;
}

/* Into the runtime of the task that runs. */
WF_INLINE int spawn_here(weft_task **handle, uint8_t flags, void *body, void *value)
{
    const wf_exec *exec = wf_exec_peek();
    wf_worker *w = exec ? exec->worker : NULL;
    if (wf_unlikely(!w || wf_runtime_phase(w->rt) != WF_RUNNING))
        return spawn(handle, (weft_waker){NULL, NULL}, NULL, flags, body, value);
    const birth b = {.rt = w->rt, .worker = w, .exec = exec};
    return bear(handle, &b, NULL, flags, body, value);
}

/* ---- public -------------------------------------------------------------------------------------------------- */

/* A function, where a future may be. */
static inline void *as_body(weft_fn fn)
{
    union {
        weft_fn fn;
        void *pointer;
    } body = {.fn = fn};
    return body.pointer;
}

static int spawn_strand(weft_task **handle, const weft_spawn_options *options, weft_fn fn, void *arg)
{
    if (handle)
        *handle = NULL;
    return fn ? spawn(handle, (weft_waker){NULL, NULL}, options, WF_TASK_STRAND, as_body(fn), arg) : WEFT_EINVAL;
}

int wf_spawn_member(weft_task **task, const weft_spawn_options *options, weft_fn fn, void *arg, weft_future *f,
                    weft_waker joiner)
{
    return f ? spawn(task, joiner, options, 0, f, NULL) : spawn(task, joiner, options, WF_TASK_STRAND, as_body(fn), arg);
}

int weft_spawn(weft_task **task, weft_fn fn, void *arg)
{
    if (task)
        *task = NULL;
    return fn ? spawn_here(task, WF_TASK_STRAND, as_body(fn), arg) : WEFT_EINVAL;
}

int weft_spawn_on(weft_runtime *rt, weft_task **task, weft_fn fn, void *arg)
{
    weft_spawn_options options = {.runtime = rt};
    if (!rt) {
        if (task)
            *task = NULL;
        return WEFT_EINVAL;
    }
    return spawn_strand(task, &options, fn, arg);
}

/* A caller built against another version of the struct: what it does not know is zero, what we do not know is ignored. */
static weft_spawn_options sized(const weft_spawn_options *options, size_t size)
{
    weft_spawn_options own = WEFT_SPAWN_OPTIONS_INIT;
    if (options)
        memcpy(&own, options, WF_MIN(size, sizeof own));
    return own;
}

int weft_spawn_sized(weft_task **task, const weft_spawn_options *options, size_t size, weft_fn fn, void *arg)
{
    weft_spawn_options own = sized(options, size);
    if (task)
        *task = NULL;
    if (own.copy_arg && !arg)
        return WEFT_EINVAL;
    if (own.group)
        return task || !fn ? WEFT_EINVAL : wf_group_spawn(own.group, &own, fn, arg, NULL);
    return spawn_strand(task, &own, fn, arg);
}

static int spawn_future(weft_task **handle, const weft_spawn_options *options, weft_future *f)
{
    if (handle)
        *handle = NULL;
    if (!f || !f->ops || !f->ops->poll)
        return WEFT_EINVAL;
    return spawn(handle, (weft_waker){NULL, NULL}, options, 0, f, NULL);
}

int weft_spawn_future(weft_task **task, weft_future *f)
{
    if (task)
        *task = NULL;
    return f && f->ops && f->ops->poll ? spawn_here(task, 0, f, NULL) : WEFT_EINVAL;
}

int weft_spawn_future_sized(weft_task **task, const weft_spawn_options *options, size_t size, weft_future *f)
{
    weft_spawn_options own = sized(options, size);
    if (task)
        *task = NULL;
    if (own.group)
        return task || !f || !f->ops || !f->ops->poll ? WEFT_EINVAL : wf_group_spawn(own.group, &own, NULL, NULL, f);
    return spawn_future(task, &own, f);
}

int weft_spawn_future_in(weft_task **handle, weft_task_storage *storage, weft_future *f)
{
    if (handle)
        *handle = NULL;
    if (!storage || !f || !f->ops || !f->ops->poll)
        return WEFT_EINVAL;
    birth b = {0};
    int err = find_runtime(&b, NULL);
    if (err < 0 || (err = enter(&b)) < 0)
        return err;
    wf_stored_task *stored = (wf_stored_task *)(void *)storage->space_;
    weft_task *task = &stored->task;
    wf_store_rel(&task->state, 0);
    init_header(task, &b, WF_TASK_STORAGE);
    task->body.future = f;
    wf_note(&task->value, NULL);
    err = inherit_locals(task, b.exec);
    if (err == 0) {
        wf_storage_link(task, b.worker ? b.worker->index : (unsigned)task->id.v);
        err = give_life(task, &b, handle, WF_TASK_STORAGE);
    }
    leave(&b);
    return err;
}
