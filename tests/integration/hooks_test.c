/* hooks_test.c - what a runtime's hooks are told: each task's life in order, by whom, whatever becomes of it; and what a hook may do.
 *
 * The checker knows tasks by what it is told alone. What it notes of one is plain memory: for a task there is one call at a time, each after the last, or
 * the thread sanitizer says so. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/latch.h>
#include <support/net_support.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>
#include <weft/diag.h>

/* ---- the checker --------------------------------------------------------------------------------------------- */

enum { PLACES = 1 << 16, MOST_WORKERS = 8 };

typedef enum phase { UNKNOWN, BORN, RUNNING, WAITING, YIELDED, WOKEN, LEFT, ENDED } phase;
static const char *const phase_names[] = {"unknown", "born", "running", "waiting", "yielded", "woken", "left", "ended"};

typedef struct life {
    _Atomic uint64_t id; /* 0: a free place */
    phase phase;
    bool job, pinned; /* by its name, which it keeps */
    int status;
} life;

static life lives[PLACES];
static uint64_t running[MOST_WORKERS]; /* by worker: plain, as each is one thread's */
static bool parked[MOST_WORKERS];
static atomic_size_t spawned, woken, polled, left, ended, aborted, panicked, failed, foreign_spawns, foreign_wakes,
    jobs, parks;
static _Thread_local int here = -1; /* which worker this thread is, as far as it was told */
static _Thread_local bool foreign;  /* … and it is none */

static life *place_of(uint64_t id)
{
    cr_assert_gt(id, 0u);
    for (size_t i = id * 0x9e3779b97f4a7c15 >> 48, n = 0; n < PLACES; i = (i + 1) % PLACES, n++) {
        uint64_t found = 0;
        if (atomic_compare_exchange_strong(&lives[i].id, &found, id) || found == id)
            return &lives[i];
    }
    cr_fail("more tasks than places");
    return NULL;
}

/* Whichever hook: nothing waits in it, no task is current, and the number is always the same on one thread. */
static void check_context(int worker)
{
    cr_assert_eq(weft_yield(), WEFT_EDEADLK);
    cr_assert_eq(weft_sleep(0), WEFT_EDEADLK);
    cr_assert_eq(weft_self_id(), 0u);
    cr_assert_lt(worker, MOST_WORKERS);
    if (here < 0 && worker >= 0 && !foreign)
        here = worker;
    cr_assert_eq(worker, here);
}

static life *expect(int worker, const weft_task *task, const char *what, unsigned phases)
{
    check_context(worker);
    life *l = place_of(weft_task_id(task));
    cr_assert(phases & 1u << l->phase, "#%llu \"%s\" %s while it was %s", (unsigned long long)weft_task_id(task),
              weft_task_name(task), what, phase_names[l->phase]);
    if (l->phase != UNKNOWN)
        cr_assert_str_eq(weft_task_name(task), l->job ? "job" : l->pinned ? "pinned" : "");
    return l;
}

static void on_spawn(void *arg, int worker, const weft_task *task)
{
    (void)arg;
    life *l = expect(worker, task, "was born", 1u << UNKNOWN);
    l->phase = BORN;
    l->job = strcmp(weft_task_name(task), "job") == 0;
    l->pinned = strcmp(weft_task_name(task), "pinned") == 0;
    spawned++;
    foreign_spawns += worker < 0;
    jobs += l->job;
}

static void on_wake(void *arg, int worker, const weft_task *task)
{
    (void)arg;
    life *l = expect(worker, task, "was woken", 1u << WAITING | 1u << YIELDED);
    l->phase = WOKEN;
    woken++;
    foreign_wakes += worker < 0;
}

static void on_poll_begin(void *arg, int worker, const weft_task *task)
{
    (void)arg;
    life *l = expect(worker, task, "was polled", 1u << BORN | 1u << WOKEN);
    cr_assert(!l->job && worker >= 0);
    cr_assert_eq(running[worker], 0u);
    running[worker] = weft_task_id(task);
    l->phase = RUNNING;
    polled++;
}

static void on_poll_end(void *arg, int worker, const weft_task *task, weft_left how)
{
    (void)arg;
    life *l = expect(worker, task, "was left", 1u << RUNNING);
    cr_assert_eq(running[worker], weft_task_id(task));
    running[worker] = 0;
    l->phase = how == WEFT_LEFT_WAITING ? WAITING : how == WEFT_LEFT_READY ? YIELDED : LEFT;
    left++;
}

/* Who was aborted before it began, or between two polls of a future, ends without another. */
static void on_end(void *arg, int worker, const weft_task *task, int status)
{
    (void)arg;
    unsigned without_poll = status == WEFT_EABORTED ? 1u << WOKEN | 1u << BORN : 0;
    bool job = place_of(weft_task_id(task))->job;
    life *l = expect(worker, task, "ended", 1u << LEFT | without_poll | (job ? 1u << BORN : 0));
    l->phase = ENDED;
    l->status = status;
    ended++;
    aborted += status == WEFT_EABORTED;
    panicked += status == WEFT_EPANIC;
    failed += status == WEFT_EFAILED;
    cr_assert_str_eq(weft_task_error(task), status == WEFT_EPANIC ? "boom" : "");
}

static void on_park(void *arg, int worker)
{
    (void)arg;
    check_context(worker);
    cr_assert(worker >= 0 && !parked[worker] && running[worker] == 0);
    parked[worker] = true;
    parks++;
}

static void on_unpark(void *arg, int worker)
{
    (void)arg;
    check_context(worker);
    cr_assert(worker >= 0 && parked[worker]);
    parked[worker] = false;
}

static atomic_int readable;

static void on_ready(void *arg, int worker, int fd, int reads, int writes)
{
    (void)arg;
    check_context(worker);
    cr_assert(fd >= 0);
    cr_assert((reads == 0 || reads == 1) && (writes == 0 || writes == 1));
    readable += reads;
}

static weft_options checked(unsigned workers)
{
    return (weft_options){.workers = workers,
                          .blocking_threads = 1,
                          .hooks = {.spawn = on_spawn,
                                    .wake = on_wake,
                                    .poll_begin = on_poll_begin,
                                    .poll_end = on_poll_end,
                                    .end = on_end,
                                    .park = on_park,
                                    .unpark = on_unpark,
                                    .ready = on_ready}};
}

static void all_have_ended(void)
{
    size_t met = 0;
    for (size_t i = 0; i < PLACES; i++) {
        if (lives[i].id == 0)
            continue;
        met++;
        cr_assert_eq(lives[i].phase, ENDED, "#%llu is %s", (unsigned long long)lives[i].id, phase_names[lives[i].phase]);
    }
    cr_assert_eq(met, spawned);
    cr_assert_eq(ended, spawned);
    cr_assert_eq(left, polled);
}

/* ---- the load: something of everything ----------------------------------------------------------------------- */

enum { MANY = 200 };

static void *one(void *arg) { return arg; }

static void *boom(void *arg)
{
    (void)arg;
    weft_panic("boom");
}

static void *fail(void *arg)
{
    (void)arg;
    return weft_fail(WEFT_EINVAL);
}

static void *for_ever(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

static void *yields(void *arg)
{
    for (int i = 0; i < 10; i++)
        weft_yield();
    return arg;
}

/* Joins what it spawned last: its worker is lent. */
static void *lends(void *arg)
{
    for (int i = 0; i < MANY; i++)
        join(start(i % 10 ? one : yields, NULL));
    return arg;
}

static void *ends_in_any_way(void *arg)
{
    weft_task *task;
    for (int i = 0; i < MANY / 4; i++) {
        cr_assert_eq(weft_join(start(boom, NULL), NULL), WEFT_EPANIC);
        void *code;
        cr_assert_eq(weft_join(start(fail, NULL), &code), WEFT_EFAILED);
        task = start(for_ever, NULL); /* aborted before it began, unless it is stolen */
        cr_assert_eq(weft_task_close(task), 0);
        task = start(for_ever, NULL);
        await_idle(task);
        weft_abort(task);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    }
    return arg;
}

static weft_chan *chan;

static void *sends(void *arg)
{
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_chan_send(chan, &i), 0);
    return arg;
}

static void *receives(void *arg)
{
    int n, got = 0;
    while (got < MANY) {
        weft_case cases[] = {WEFT_RECV(chan, &n), WEFT_AFTER(WEFT_MS)};
        got += weft_select(cases, 2) == 0;
    }
    return arg;
}

static void *ticks(void *arg)
{
    weft_interval interval;
    cr_assert_eq(weft_interval_init(&interval, WEFT_MS, WEFT_MISSED_SKIP), 0);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(weft_interval_tick(&interval, NULL), 0);
    return arg;
}

static void *echoes(void *arg)
{
    char byte;
    while (weft_read(arg, &byte, 1) == 1)
        cr_assert_eq(weft_write(arg, &byte, 1), 1);
    weft_close(arg);
    return NULL;
}

static void *talks(void *arg)
{
    weft_stream *a, *b;
    char byte = 'x';
    pair(&a, &b);
    weft_task *other = start(echoes, b);
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(weft_write(a, &byte, 1), 1);
        cr_assert_eq(weft_read(a, &byte, 1), 1);
    }
    weft_close(a);
    join(other);
    return arg;
}

static void *gathers(void *arg)
{
    weft_group *group;
    cr_assert_eq(weft_group_create(&group), 0);
    for (int i = 0; i < MANY / 4; i++)
        cr_assert_eq(weft_group_spawn(group, i % 2 ? yields : for_ever, NULL), 0);
    cr_assert_eq(weft_group_next(group, NULL), 0);
    weft_group_cancel(group);
    cr_assert_eq(weft_group_close(group), 0);
    return arg;
}

static weft_task *job(weft_fn fn, void *arg)
{
    const weft_spawn_options options = {.blocking = 1, .name = "job"};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    return task;
}

/* One thread: behind the latch others are queued, and one is aborted there. */
static void *blocks(void *arg)
{
    latch gate = LATCH_INIT;
    weft_task *first = job(latch_pass, &gate), *aborted_one = job(one, NULL), *last = job(boom, NULL);
    EVENTUALLY(gate.inside == 1);
    weft_abort(aborted_one);
    cr_assert_eq(weft_join(aborted_one, NULL), WEFT_EABORTED);
    latch_open(&gate);
    join(first);
    cr_assert_eq(weft_join(last, NULL), WEFT_EPANIC);
    cr_assert_eq(weft_blocking(one, NULL, NULL), 0);
    return arg;
}

/* A stackless one: pending until it was woken so often, then it ends as it is told to. */
typedef struct sleeper {
    weft_future future;
    weft_atomic_waker cell;
    atomic_int polls, dropped;
    int enough; /* 0: never */
    bool panics;
} sleeper;

static weft_poll sleeper_poll(weft_future *f, weft_context *cx, void **result)
{
    sleeper *s = WEFT_CONTAINER_OF(f, sleeper, future);
    *result = NULL;
    cr_assert_eq(weft_atomic_waker_register(&s->cell, weft_context_waker(cx)), 0);
    if (++s->polls != s->enough)
        return WEFT_PENDING;
    if (s->panics)
        weft_panic("boom");
    return WEFT_READY;
}

static void sleeper_drop(weft_future *f)
{
    sleeper *s = WEFT_CONTAINER_OF(f, sleeper, future);
    weft_waker mine;
    if (weft_atomic_waker_take(&s->cell, &mine))
        weft_waker_drop(&mine);
    s->dropped++;
}

static const weft_future_ops sleeper_ops = {.poll = sleeper_poll, .drop = sleeper_drop};

static void sleeper_init(sleeper *s, int enough, bool panics)
{
    *s = (sleeper){.future = {&sleeper_ops}, .enough = enough, .panics = panics};
    weft_atomic_waker_init(&s->cell);
}

static weft_task *start_sleeper(sleeper *s)
{
    weft_task *task;
    cr_assert_eq(weft_spawn_future(&task, &s->future), 0);
    return task;
}

static void wake_until_ended(sleeper *s, weft_task *task)
{
    while (!weft_is_finished(task)) {
        weft_atomic_waker_wake(&s->cell);
        weft_yield();
    }
}

static void *pins(void *arg)
{
    for (unsigned i = 0; i < 2 * weft_runtime_workers(NULL); i++) {
        const weft_spawn_options options = {.pinned = WEFT_PIN_TO(i % weft_runtime_workers(NULL)), .name = "pinned"};
        weft_task *strand, *future;
        sleeper s;
        sleeper_init(&s, 20, false);
        cr_assert_eq(weft_spawn_with(&strand, &options, i % 2 ? yields : ticks, NULL), 0);
        cr_assert_eq(weft_spawn_future_with(&future, &options, &s.future), 0);
        wake_until_ended(&s, future); /* mostly from another worker */
        join(future);
        join(strand);
    }
    return arg;
}

static void *stackless(void *arg)
{
    for (int i = 0; i < MANY / 4; i++) {
        sleeper woken_one, panics, aborted_one;
        sleeper_init(&woken_one, 3, false);
        sleeper_init(&panics, 2, true);
        sleeper_init(&aborted_one, 0, false);
        weft_task *a = start_sleeper(&woken_one), *b = start_sleeper(&panics), *c = start_sleeper(&aborted_one);
        wake_until_ended(&woken_one, a);
        join(a);
        wake_until_ended(&panics, b);
        cr_assert_eq(weft_join(b, NULL), WEFT_EPANIC);
        if (i % 2)
            EVENTUALLY(aborted_one.polls > 0);
        weft_abort(c);
        cr_assert_eq(weft_join(c, NULL), WEFT_EABORTED);
        cr_assert_eq(woken_one.dropped + panics.dropped + aborted_one.dropped, 3);
    }
    return arg;
}

static void *stored(void *arg)
{
    weft_task_pool *pool;
    weft_task_storage *place;
    weft_task *task;
    cr_assert_eq(weft_task_pool_create(&pool, 1, sizeof(sleeper)), 0);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(weft_task_pool_claim(pool, &place), 0);
        sleeper *s = weft_task_pool_body(place);
        sleeper_init(s, 0, false);
        cr_assert_eq(weft_spawn_future_in(&task, place, &s->future), 0);
        weft_abort(task);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        EVENTUALLY(weft_task_pool_available(pool) == 1);
    }
    cr_assert_eq(weft_task_pool_free(pool), 0);
    return arg;
}

/* An ordinary thread that spawns, and wakes what waits. */
typedef struct outside {
    weft_runtime *rt;
    sleeper sleeper;
    atomic_bool over;
} outside;

static void *outside_thread(void *arg)
{
    outside *o = arg;
    foreign = true;
    for (int i = 0; i < 10; i++)
        cr_assert_eq(weft_spawn_on(o->rt, NULL, yields, NULL), 0);
    while (!o->over) {
        weft_atomic_waker_wake(&o->sleeper.cell);
        sched_yield();
    }
    return NULL;
}

static void *from_outside(void *arg)
{
    outside o = {.rt = weft_runtime_current()};
    pthread_t thread;
    sleeper_init(&o.sleeper, 20, false);
    weft_task *task = start_sleeper(&o.sleeper);
    cr_assert_eq(pthread_create(&thread, NULL, outside_thread, &o), 0);
    join(task);
    o.over = true;
    pthread_join(thread, NULL);
    return arg;
}

static void *everything(void *arg)
{
    static const weft_fn parts[] = {lends,   ends_in_any_way, sends,     receives, ticks,  talks,
                                    gathers, blocks,          stackless, pins,     stored, from_outside};
    weft_task *tasks[sizeof parts / sizeof *parts];
    size_t n = sizeof parts / sizeof *parts;
    cr_assert_eq(weft_chan_create(&chan, sizeof(int), 2), 0);
    for (size_t i = 0; i < n; i++)
        tasks[i] = start(parts[i], NULL);
    for (size_t i = 0; i < n; i++)
        join(tasks[i]);
    EVENTUALLY(parks > 0); /* it sleeps, and there is nothing else to do */
    cr_assert_eq(weft_chan_free(chan), 0);
    return arg;
}

/* What the load made must have been told of. */
static void all_was_played(void)
{
    cr_assert_geq(panicked, (size_t)MANY / 2 + 1);
    cr_assert_geq(failed, (size_t)MANY / 4);
    cr_assert_geq(aborted, (size_t)MANY / 2 + 10 + 1);
    cr_assert_eq(jobs, 3u);
    cr_assert_geq(foreign_spawns, 10u);
    cr_assert_gt(foreign_wakes, 0u);
    cr_assert_gt(readable, 0);
}

/* ---- order and counts ---------------------------------------------------------------------------------------- */

WF_TEST_WORKERS(hooks, each_task_s_life_is_told_in_order_and_the_counts_are_those_of_the_metrics)
{
    weft_options options = checked(workers);
    weft_runtime *rt;
    weft_metrics_t m;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_block_on(rt, everything, NULL, NULL), 0);
    SPIN_UNTIL(weft_metrics(rt, &m) == 0 && m.active == 0); /* those from outside that nobody joined */
    cr_assert_eq(m.spawned, spawned);
    cr_assert_eq(m.completed, ended);
    cr_assert_eq(m.polls, polled);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    all_was_played();
    all_have_ended();
}

static void *leaves_some(void *arg)
{
    everything(NULL);
    for (int i = 0; i < MANY; i++)
        weft_detach(start(for_ever, NULL));
    weft_detach(job(yields, NULL));
    return arg;
}

WF_TEST_WORKERS(hooks, what_the_end_of_a_runtime_aborts_is_told_of_too)
{
    weft_options options = checked(workers);
    cr_assert_eq(weft_run_with(&options, leaves_some, NULL, NULL), 0);
    cr_assert_geq(aborted, (size_t)MANY);
    all_have_ended();
}

Test(hooks, a_runtime_without_threads_tells_the_same)
{
    weft_options options = checked(1);
    weft_runtime *rt;
    options.flags = WEFT_CURRENT_THREAD;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(weft_block_on(rt, everything, NULL, NULL), 0);
    jobs -= 3; /* played twice */
    all_was_played();
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    all_have_ended();
}

/* ---- the ready hook ------------------------------------------------------------------------------------------ */

static atomic_int ready_fd, ready_by = -1;

static void note_ready(void *arg, int worker, int fd, int reads, int writes)
{
    (void)arg, (void)writes;
    if (fd == ready_fd && reads)
        ready_by = worker;
}

static void *stuck(void *arg)
{
    weft_stream **ends = arg;
    char byte = 'x';
    pair(&ends[0], &ends[1]);
    weft_case idle[] = {WEFT_READABLE(ends[0]), WEFT_AFTER(WEFT_MS)}; /* now its reactor has it */
    cr_assert_eq(weft_select(idle, 2), 1);
    ready_fd = weft_stream_fd(ends[0]);
    cr_assert_eq(write(weft_stream_fd(ends[1]), &byte, 1), 1);
    SPIN_UNTIL(ready_by >= 0); /* its worker is held meanwhile */
    weft_close(ends[0]);
    weft_close(ends[1]);
    return NULL;
}

static void *rescue_one(void *arg)
{
    const weft_spawn_options options = {.pinned = WEFT_PIN_TO(1)};
    weft_stream *ends[2];
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, stuck, ends), 0);
    join(task);
    return arg;
}

/* Broken: it was the worker whose reactor it is, which does something else at the same time. */
Test(hooks, whoever_turns_the_reactor_of_a_stuck_worker_is_named_by_its_own_number)
{
    weft_options options = {.workers = 4, .hooks = {.ready = note_ready}};
    cr_assert_eq(weft_run_with(&options, rescue_one, NULL, NULL), 0);
    cr_assert(ready_by == 0 || ready_by == 2 || ready_by == 3, "by %d", (int)ready_by);
}

/* ---- what a hook may do -------------------------------------------------------------------------------------- */

enum { CIRCLE = 8 };
static sleeper circle[CIRCLE];
static atomic_bool armed, told[CIRCLE];
static atomic_int depth_most;
static _Thread_local int depth;

static void wake_all_others(void *arg, int worker, const weft_task *task)
{
    (void)arg, (void)worker;
    int i = weft_task_name(task)[0] - '0';
    if (!armed || i < 0 || i >= CIRCLE || atomic_exchange(&told[i], true))
        return;
    if (++depth > depth_most)
        depth_most = depth;
    for (int k = 0; k < CIRCLE; k++)
        weft_atomic_waker_wake(&circle[k].cell);
    depth--;
}

static void *wake_one_of_the_circle(void *arg)
{
    weft_task *tasks[CIRCLE];
    for (int i = 0; i < CIRCLE; i++) {
        const char name[] = {(char)('0' + i), 0};
        const weft_spawn_options options = {.name = name};
        sleeper_init(&circle[i], 0, false);
        cr_assert_eq(weft_spawn_future_with(&tasks[i], &options, &circle[i].future), 0);
    }
    for (int i = 0; i < CIRCLE; i++)
        await_idle(tasks[i]);
    armed = true;
    weft_atomic_waker_wake(&circle[3].cell);
    for (int i = 0; i < CIRCLE; i++)
        EVENTUALLY(told[i] && circle[i].polls > 1);
    for (int i = 0; i < CIRCLE; i++)
        cr_assert_eq(weft_task_close(tasks[i]), 0);
    return arg;
}

/* An atomic waker that was woken is empty until the next poll. */
WF_TEST_WORKERS(hooks, a_wake_hook_that_wakes_is_told_of_that_and_comes_to_an_end)
{
    weft_options options = {.workers = workers, .hooks = {.wake = wake_all_others}};
    cr_assert_eq(weft_run_with(&options, wake_one_of_the_circle, NULL, NULL), 0);
    cr_assert_gt(depth_most, 1, "one in another");
    cr_assert_leq(depth_most, (int)CIRCLE);
}

static atomic_int unseen;
static weft_runtime *its_runtime;

static void *count_unseen(void *arg)
{
    weft_yield();
    unseen++;
    return arg;
}

static void see(const weft_task *task) { cr_assert_str_neq(weft_task_name(task), "unseen"); }

static void spawn_unseen(void)
{
    const weft_spawn_options options = {.name = "unseen", .runtime = its_runtime},
                             job = {.name = "unseen", .runtime = its_runtime, .blocking = 1};
    cr_assert_eq(weft_spawn_with(NULL, &options, count_unseen, NULL), 0);
    cr_assert_eq(weft_spawn_with(NULL, &job, count_unseen, NULL), 0);
}

static void spawn_at_spawn(void *arg, int worker, const weft_task *task)
{
    (void)arg, (void)worker;
    see(task);
    spawned++;
    spawn_unseen();
}

static void see_wake(void *arg, int worker, const weft_task *task)
{
    (void)arg, (void)worker;
    see(task);
}

static void see_left(void *arg, int worker, const weft_task *task, weft_left how)
{
    (void)arg, (void)worker, (void)how;
    see(task);
}

static void see_end(void *arg, int worker, const weft_task *task, int status)
{
    (void)arg, (void)worker, (void)status;
    see(task);
    ended++;
}

static void *spawns_ten(void *arg)
{
    for (int i = 0; i < 10; i++)
        cr_assert_eq(weft_spawn_on(its_runtime, NULL, one, NULL), 0);
    return arg;
}

/* By a task, and by a thread that has no runtime. */
WF_TEST_WORKERS(hooks, what_is_born_in_a_hook_is_never_told_of)
{
    weft_options options = {
        .workers = workers,
        .hooks = {.spawn = spawn_at_spawn, .wake = see_wake, .poll_begin = see_wake, .poll_end = see_left, .end = see_end}};
    weft_metrics_t m;
    cr_assert_eq(weft_runtime_create(&its_runtime, &options), 0);
    spawns_ten(NULL);
    cr_assert_eq(weft_block_on(its_runtime, spawns_ten, NULL, NULL), 0);
    SPIN_UNTIL(weft_metrics(its_runtime, &m) == 0 && m.active == 0);
    cr_assert_eq(spawned, 21u);
    cr_assert_eq(ended, 21u);
    cr_assert_eq(unseen, 42);
    cr_assert_eq(m.spawned, 63u);
    cr_assert_eq(weft_runtime_destroy(its_runtime), 0);
}

static weft_chan *from_park;
static uint64_t parks_at_spawn, parks_at_unpark;

static uint64_t parks_so_far(void)
{
    weft_metrics_t m;
    cr_assert_eq(weft_metrics(NULL, &m), 0);
    return m.parks;
}

static void *send_one(void *arg)
{
    int n = 1;
    cr_assert_eq(weft_chan_send(from_park, &n), 0);
    return arg;
}

static void spawn_at_park(void *arg, int worker)
{
    (void)arg, (void)worker;
    if (!armed)
        return;
    parks_at_spawn = parks_so_far();
    cr_assert_eq(weft_spawn(NULL, send_one, NULL), 0);
}

static void look_at_unpark(void *arg, int worker)
{
    (void)arg, (void)worker;
    if (atomic_exchange(&armed, false))
        parks_at_unpark = parks_so_far();
}

static void *wait_for_the_park(void *arg)
{
    int n;
    cr_assert_eq(weft_chan_create(&from_park, sizeof n, 1), 0);
    armed = true;
    cr_assert_eq(weft_chan_recv(from_park, &n), 0);
    cr_assert_eq(weft_chan_free(from_park), 0);
    return arg;
}

/* Broken: the worker slept all the same, for as long as nothing else woke it. */
Test(hooks, what_a_park_hook_spawns_runs_before_the_worker_sleeps)
{
    weft_options options = {.workers = 1, .hooks = {.park = spawn_at_park, .unpark = look_at_unpark}};
    cr_assert_eq(weft_run_with(&options, wait_for_the_park, NULL, NULL), 0);
    cr_assert_not(armed);
    cr_assert_eq(parks_at_unpark, parks_at_spawn);
}

/* ---- a panic in a hook --------------------------------------------------------------------------------------- */

static void panic_at_spawn(void *arg, int worker, const weft_task *task)
{
    (void)arg, (void)worker, (void)task;
    if (armed)
        weft_panic("in a hook");
}

static void *spawn_armed(void *arg)
{
    armed = true;
    weft_spawn(NULL, one, NULL);
    return arg;
}

static void run_and_panic(int out)
{
    const struct rlimit no_core = {0, 0};
    weft_options options = {.workers = 1, .hooks = {.spawn = panic_at_spawn}};
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(out, 2);
    weft_run_with(&options, spawn_armed, NULL, NULL);
    _exit(0);
}

/* In a task, too: it stands in the midst of what the scheduler does, which cannot be left there. */
Test(hooks, a_panic_in_one_ends_the_process)
{
    int ends[2], status;
    char text[1024] = "";
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0)
        run_and_panic(ends[1]);
    close(ends[1]);
    for (ssize_t n, at = 0; (n = read(ends[0], text + at, sizeof text - 1 - (size_t)at)) > 0; at += n)
        ;
    close(ends[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%#x: %s", status, text);
    cr_assert_not_null(strstr(text, "weft: panic outside of any task: in a hook"), "%s", text);
}
