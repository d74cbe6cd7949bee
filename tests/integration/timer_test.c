/* timer_test.c - weft_timer: armed by a poll, in whatever worker that is, and then fired, moved, handed over or dropped from
 * anywhere. Mostly by the paused clock, where times are exact. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/task_support.h>
#include <support/test.h>
#include <time.h>
#include <weft.h>

#define HOUR (3600 * WEFT_SEC)

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void run_paused(unsigned workers, weft_fn root, void *arg)
{
    weft_options options = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, root, arg, NULL), 0);
}

/* Leaves the clock where it is. */
static void yields(int n)
{
    for (int i = 0; i < n; i++)
        weft_yield();
}

static weft_task *begin(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    return task;
}

static weft_task *begin_pinned(weft_fn fn, void *arg)
{
    weft_spawn_options options = {.pinned = 1};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    return task;
}

static void finish(weft_task *task) { cr_assert_eq(weft_join(task, NULL), 0); }

/* Strands and threads cannot poll by themselves: these futures do, and leave the timer as it is when they are dropped. */
typedef struct borrower {
    weft_future future;
    weft_timer *timer;
    weft_poll verdict;
    int polls;
} borrower;

static weft_poll poll_and_tell(weft_future *f, weft_context *cx, void **result)
{
    borrower *b = WEFT_CONTAINER_OF(f, borrower, future);
    (void)result;
    b->verdict = weft_timer_poll(cx, b->timer);
    return WEFT_READY;
}

static weft_poll poll_and_wait(weft_future *f, weft_context *cx, void **result)
{
    borrower *b = WEFT_CONTAINER_OF(f, borrower, future);
    (void)result;
    b->polls++;
    b->verdict = weft_timer_poll(cx, b->timer);
    return b->verdict;
}

/* One poll, with the caller's waker. */
static weft_poll poll_once(weft_timer *timer)
{
    static const weft_future_ops ops = {.poll = poll_and_tell};
    borrower b = {.future = {&ops}, .timer = timer};
    cr_assert_eq(weft_await(&b.future, NULL), 0);
    return b.verdict;
}

/* Polls until it is ready. Returns how many times. */
static int await_timer(weft_timer *timer)
{
    static const weft_future_ops ops = {.poll = poll_and_wait};
    borrower b = {.future = {&ops}, .timer = timer};
    cr_assert_eq(weft_await(&b.future, NULL), 0);
    return b.polls;
}

/* A stackless sleeper. */
typedef struct nap {
    weft_future future;
    weft_timer timer;
    int64_t when, woke;
    int polls, drops;
} nap;

static weft_poll nap_poll(weft_future *f, weft_context *cx, void **result)
{
    nap *n = WEFT_CONTAINER_OF(f, nap, future);
    (void)result;
    n->polls++;
    weft_poll verdict = weft_timer_poll(cx, &n->timer);
    n->woke = weft_now();
    if (verdict == WEFT_READY)
        cr_assert_eq(weft_timer_poll(cx, &n->timer), WEFT_READY, "it was ready, and is so no more");
    return verdict;
}

static void nap_drop(weft_future *f)
{
    nap *n = WEFT_CONTAINER_OF(f, nap, future);
    n->drops++;
    weft_timer_drop(&n->timer);
    weft_timer_drop(&n->timer);
}

static const weft_future_ops nap_ops = {nap_poll, nap_drop};

static weft_task *begin_nap(nap *n, int64_t when)
{
    weft_task *task;
    *n = (nap){.future = {&nap_ops}, .when = when};
    weft_timer_init(&n->timer, when);
    cr_assert_eq(weft_spawn_future(&task, &n->future), 0);
    return task;
}

/* ---- one task ------------------------------------------------------------------------------------------------ */

static void *once_root(void *arg)
{
    static const int64_t lengths[] = {WEFT_MS, 63 * WEFT_MS, 64 * WEFT_MS, WEFT_SEC, HOUR, 1000 * 24 * HOUR};
    nap n;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        int64_t when = weft_now() + lengths[i];
        finish(begin_nap(&n, when));
        cr_assert_eq(n.woke, when);
        cr_assert_eq(n.polls, 2);
        cr_assert_eq(n.drops, 1);
    }
    for (int64_t odd = 1; odd < WEFT_SEC; odd = odd * 7 + 1) {
        int64_t when = weft_now() + odd;
        finish(begin_nap(&n, when));
        cr_assert_geq(n.woke, when);
        cr_assert_lt(n.woke, when + WEFT_MS);
        cr_assert_eq(n.polls, 2);
    }
    return arg;
}

WF_TEST_WORKERS(timer, it_is_ready_once_its_time_has_come_and_not_before) { run_paused(workers, once_root, NULL); }

static void check_ready_at_once(int64_t when)
{
    nap n;
    finish(begin_nap(&n, when));
    cr_assert_eq(n.polls, 1, "%lld ns ago", (long long)(weft_now() - when));
    weft_timer t;
    weft_timer_init(&t, when);
    cr_assert_eq(poll_once(&t), WEFT_READY);
    cr_assert_eq(poll_once(&t), WEFT_READY);
    weft_timer_drop(&t);
}

static void *past_root(void *arg)
{
    int64_t idle_until = weft_now() + 30 * WEFT_MS;
    check_ready_at_once(0);
    check_ready_at_once(-1);
    check_ready_at_once(INT64_MIN);
    check_ready_at_once(weft_now());
    check_ready_at_once(weft_now() - 1);
    if (arg)
        cr_assert_eq(weft_clock_advance(30 * WEFT_MS), 0);
    SPIN_UNTIL(weft_now() >= idle_until); /* no wheel has turned meanwhile */
    check_ready_at_once(idle_until - 5 * WEFT_MS);
    check_ready_at_once(weft_now());
    cr_assert_eq(weft_sleep(5 * WEFT_MS), 0);
    check_ready_at_once(weft_now());
    check_ready_at_once(weft_now() - 1);
    return NULL;
}

WF_TEST_WORKERS(timer, of_the_past_it_is_ready_at_the_first_poll)
{
    run(workers, past_root, NULL);
    run_paused(workers, past_root, "paused");
}

static void *forever_root(void *arg)
{
    nap n;
    weft_timer t;
    weft_task *task = begin_nap(&n, WEFT_FOREVER);
    cr_assert_eq(weft_sleep(1000 * 24 * HOUR), 0);
    cr_assert_eq(n.polls, 1);
    cr_assert_eq(weft_task_close(task), 0);
    cr_assert_eq(n.drops, 1);
    weft_timer_init(&t, WEFT_FOREVER);
    cr_assert_eq(poll_once(&t), WEFT_PENDING);
    cr_assert_eq(weft_sleep(HOUR), 0);
    cr_assert_eq(poll_once(&t), WEFT_PENDING);
    weft_timer_drop(&t);
    return arg;
}

WF_TEST_WORKERS(timer, for_ever_is_never) { run_paused(workers, forever_root, NULL); }

static void *unpolled_root(void *arg)
{
    weft_timer t;
    weft_timer_init(&t, weft_now() + WEFT_SEC);
    weft_timer_drop(&t);
    weft_timer_drop(&t);
    weft_timer_init(&t, weft_now() + WEFT_SEC);
    weft_timer_reset(&t, weft_now() + HOUR);
    cr_assert_eq(weft_sleep(HOUR), 0);
    cr_assert_eq(poll_once(&t), WEFT_READY);
    weft_timer_drop(&t);
    weft_timer_drop(&t);
    return arg;
}

Test(timer, never_polled_it_was_never_armed) { run_paused(1, unpolled_root, NULL); }

/* ---- another time -------------------------------------------------------------------------------------------- */

static void *reset_root(void *arg)
{
    weft_timer t;
    int64_t begun = weft_now();
    weft_timer_init(&t, begun + HOUR);
    cr_assert_eq(poll_once(&t), WEFT_PENDING);
    weft_timer_reset(&t, begun + WEFT_SEC); /* earlier */
    cr_assert_eq(await_timer(&t), 2);
    cr_assert_eq(weft_now(), begun + WEFT_SEC);
    weft_timer_reset(&t, begun + 2 * WEFT_SEC); /* after it was ready */
    cr_assert_eq(poll_once(&t), WEFT_PENDING);
    weft_timer_reset(&t, begun + HOUR); /* later */
    cr_assert_eq(await_timer(&t), 2);
    cr_assert_eq(weft_now(), begun + HOUR);
    weft_timer_reset(&t, begun); /* into the past */
    cr_assert_eq(poll_once(&t), WEFT_READY);
    weft_timer_reset(&t, begun + 2 * HOUR);
    cr_assert_eq(poll_once(&t), WEFT_PENDING);
    weft_timer_drop(&t);
    weft_timer_init(&t, weft_now() + WEFT_MS); /* the same memory again */
    cr_assert_eq(await_timer(&t), 2);
    weft_timer_drop(&t);
    return arg;
}

WF_TEST_WORKERS(timer, it_may_be_set_to_another_time_whatever_it_was_before) { run_paused(workers, reset_root, NULL); }

/* Resets itself from poll to poll, as a timeout does that is put off by each event. */
typedef struct putting_off {
    weft_future future;
    weft_timer timer;
    int64_t begun;
    int fires;
} putting_off;

static weft_poll put_off(weft_future *f, weft_context *cx, void **result)
{
    putting_off *p = WEFT_CONTAINER_OF(f, putting_off, future);
    (void)result;
    while (weft_timer_poll(cx, &p->timer) == WEFT_READY) {
        cr_assert_eq(weft_now(), p->begun + p->fires * WEFT_SEC);
        if (p->fires++ == 100)
            return WEFT_READY;
        weft_timer_reset(&p->timer, p->begun + HOUR);
        cr_assert_eq(weft_timer_poll(cx, &p->timer), WEFT_PENDING);
        weft_timer_reset(&p->timer, p->begun + p->fires * WEFT_SEC);
    }
    return WEFT_PENDING;
}

static void put_off_drop(weft_future *f) { weft_timer_drop(&WEFT_CONTAINER_OF(f, putting_off, future)->timer); }

static void *put_off_root(void *arg)
{
    static const weft_future_ops ops = {put_off, put_off_drop};
    putting_off p = {.future = {&ops}, .begun = weft_now()};
    weft_task *task;
    weft_timer_init(&p.timer, 0);
    cr_assert_eq(weft_spawn_future(&task, &p.future), 0);
    finish(task);
    cr_assert_eq(p.fires, 101);
    cr_assert_eq(weft_now(), p.begun + 100 * WEFT_SEC);
    return arg;
}

WF_TEST_WORKERS(timer, in_one_poll_it_may_be_ready_and_armed_again) { run_paused(workers, put_off_root, NULL); }

/* ---- several tasks, several workers ---------------------------------------------------------------------------- */

/* A stackless task that polls a timer of somebody else's once, and counts how often it is woken from then on. */
typedef struct armer {
    weft_future future;
    weft_timer *timer;
    atomic_int polls;
} armer;

static weft_poll arm_and_count(weft_future *f, weft_context *cx, void **result)
{
    armer *a = WEFT_CONTAINER_OF(f, armer, future);
    (void)result;
    if (a->polls == 0)
        cr_assert_eq(weft_timer_poll(cx, a->timer), WEFT_PENDING);
    a->polls++;
    return WEFT_PENDING;
}

static weft_task *begin_armer(armer *a, weft_timer *timer)
{
    static const weft_future_ops ops = {.poll = arm_and_count};
    weft_task *task;
    *a = (armer){.future = {&ops}, .timer = timer};
    cr_assert_eq(weft_spawn_future(&task, &a->future), 0);
    return task;
}

static void *await_anothers(void *arg)
{
    weft_timer *timer = arg;
    cr_assert_eq(await_timer(timer), 2);
    return NULL;
}

static void pass_a_timer_on(weft_task *(*begin_other)(weft_fn, void *))
{
    armer a;
    weft_timer t;
    int64_t when = weft_now() + HOUR;
    weft_timer_init(&t, when);
    weft_task *task = begin_armer(&a, &t);
    while (a.polls == 0)
        weft_yield();
    finish(begin_other(await_anothers, &t));
    cr_assert_eq(weft_now(), when);
    weft_timer_drop(&t);
    cr_assert_eq(weft_sleep(HOUR), 0);
    cr_assert_eq(a.polls, 1, "of the two who polled it, the first was woken");
    cr_assert_eq(weft_task_close(task), 0);
}

static void *pass_on_root(void *arg)
{
    for (int i = 0; i < 50; i++) {
        pass_a_timer_on(begin);
        pass_a_timer_on(begin_pinned);
    }
    return arg;
}

WF_TEST_WORKERS(timer, who_polled_it_last_is_woken) { run_paused(workers, pass_on_root, NULL); }

/* From outside pinned tasks go to one worker after the other: armed on one, awaited and dropped on others. */
enum { HOPS = 64 };

typedef struct hop {
    weft_timer *timer;
    int64_t *when;
} hop;

static void *arm_here(void *arg)
{
    hop *h = arg;
    *h->when = weft_now() + 20 * WEFT_MS;
    weft_timer_reset(h->timer, *h->when);
    poll_once(h->timer); /* pending, if the machine is not slow */
    return NULL;
}

static void *await_here(void *arg)
{
    hop *h = arg;
    int polls = await_timer(h->timer);
    cr_assert_leq(polls, 2);
    cr_assert_geq(weft_now(), *h->when);
    return NULL;
}

static void *drop_here(void *arg)
{
    hop *h = arg;
    weft_timer_drop(h->timer);
    free(h->timer);
    return NULL;
}

static void block_pinned(weft_runtime *rt, weft_fn fn, hop *h)
{
    weft_spawn_options options = {.pinned = 1};
    weft_task *tasks[HOPS];
    cr_assert_eq(weft_runtime_enter(rt), 0);
    for (int i = 0; i < HOPS; i++)
        cr_assert_eq(weft_spawn_with(&tasks[i], &options, fn, &h[i]), 0);
    cr_assert_eq(weft_runtime_leave(), 0);
    for (int i = 0; i < HOPS; i++)
        finish(tasks[i]);
}

static void go_round(unsigned workers, bool wait)
{
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    hop h[HOPS];
    int64_t when[HOPS];
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (int i = 0; i < HOPS; i++) {
        h[i] = (hop){.timer = malloc(sizeof(weft_timer)), .when = &when[i]};
        weft_timer_init(h[i].timer, 0);
    }
    block_pinned(rt, arm_here, h);
    hop first = h[0]; /* the others move up: each goes on on another worker */
    memmove(h, h + 1, (HOPS - 1) * sizeof *h);
    h[HOPS - 1] = first;
    if (wait)
        block_pinned(rt, await_here, h);
    first = h[0];
    memmove(h, h + 1, (HOPS - 1) * sizeof *h);
    h[HOPS - 1] = first;
    block_pinned(rt, drop_here, h);
    struct timespec a_while = {.tv_nsec = 40 * WEFT_MS}; /* what was dropped would fire now, into freed memory */
    nanosleep(&a_while, NULL);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

WF_TEST_WORKERS(timer, armed_on_one_worker_it_is_awaited_and_dropped_on_others) { go_round(workers, true); }

WF_TEST_WORKERS(timer, dropped_on_another_worker_it_never_fires) { go_round(workers, false); }

typedef struct dropping {
    armer armer;
    weft_timer *timer;
    atomic_int dropped;
} dropping;

static void *drop_from_outside(void *arg)
{
    dropping *d = arg;
    SPIN_UNTIL(d->armer.polls);
    weft_timer_drop(d->timer);
    memset(d->timer, 0xA5, sizeof *d->timer);
    free(d->timer);
    d->dropped = 1;
    return NULL;
}

static void *drop_from_outside_root(void *arg)
{
    for (int i = 0; i < 20; i++) {
        dropping d = {.timer = malloc(sizeof(weft_timer))};
        pthread_t thread;
        weft_timer_init(d.timer, weft_now() + HOUR);
        weft_task *task = begin_armer(&d.armer, d.timer);
        cr_assert_eq(pthread_create(&thread, NULL, drop_from_outside, &d), 0);
        while (!d.dropped)
            weft_yield();
        pthread_join(thread, NULL);
        cr_assert_eq(weft_sleep(2 * HOUR), 0);
        cr_assert_eq(d.armer.polls, 1, "it fired after it was dropped");
        cr_assert_eq(weft_task_close(task), 0);
    }
    return arg;
}

WF_TEST_WORKERS(timer, dropped_by_an_ordinary_thread_it_never_fires)
{
    run_paused(workers, drop_from_outside_root, NULL);
}

/* Armed, moved, abandoned and awaited about the time at which it fires, by strands that are stolen in between. */
static void *juggle(void *arg)
{
    uint64_t x = (uintptr_t)arg * 0x9E3779B97F4A7C15u + 1;
    for (size_t i = wf_test_scale(300); i > 0; i--) {
        weft_timer *t = malloc(sizeof *t);
        x = x * 6364136223846793005u + 1442695040888963407u;
        int64_t when = weft_now() + (int64_t)(x >> 40) % (2 * WEFT_MS);
        weft_timer_init(t, when);
        poll_once(t);
        yields((int)(x >> 33) % 8);
        if (x >> 62 == 0) {
            when += WEFT_MS / 2;
            weft_timer_reset(t, when);
        }
        if (x >> 63 == 0) {
            await_timer(t);
            cr_assert_geq(weft_now(), when);
        }
        weft_timer_drop(t);
        free(t);
    }
    return NULL;
}

static void *juggle_root(void *arg)
{
    enum { JUGGLERS = 48 };
    weft_task *tasks[JUGGLERS];
    for (uintptr_t i = 0; i < JUGGLERS; i++)
        tasks[i] = begin(juggle, (void *)i);
    for (int i = 0; i < JUGGLERS; i++)
        finish(tasks[i]);
    return arg;
}

WF_TEST_WORKERS(timer, it_may_fire_while_it_is_moved_awaited_or_dropped) { run(workers, juggle_root, NULL); }

/* ---- strands and threads --------------------------------------------------------------------------------------- */

static void *await_some(void *arg)
{
    weft_timer t;
    for (int i = 0; i < 5; i++) {
        int64_t when = weft_now() + 2 * WEFT_MS;
        weft_timer_init(&t, when);
        await_timer(&t);
        cr_assert_geq(weft_now(), when);
        cr_assert_eq(poll_once(&t), WEFT_READY);
        weft_timer_reset(&t, weft_now() + HOUR);
        cr_assert_eq(poll_once(&t), WEFT_PENDING);
        weft_timer_drop(&t);
    }
    return arg;
}

WF_TEST_WORKERS(timer, a_strand_may_await_it) { run(workers, await_some, NULL); }

static void *await_some_inside(void *rt)
{
    cr_assert_eq(weft_runtime_enter(rt), 0);
    await_some(NULL);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

Test(timer, an_ordinary_thread_may_await_it)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    weft_runtime *rt;
    await_some(NULL);
    in_threads(4, await_some, NULL);
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    in_threads(4, await_some_inside, rt);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* Armed by a task, in a worker's wheel, and awaited by a thread. */
static void *arm_for_a_thread(void *arg)
{
    weft_timer *t = arg;
    poll_once(t); /* pending, if the machine is not slow */
    return NULL;
}

WF_TEST_WORKERS(timer, armed_by_a_task_a_thread_may_await_it)
{
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    weft_timer t;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (int i = 0; i < 10; i++) {
        int64_t when = weft_now() + 50 * WEFT_MS;
        weft_timer_init(&t, when);
        cr_assert_eq(weft_block_on(rt, arm_for_a_thread, &t, NULL), 0);
        await_timer(&t);
        cr_assert_geq(weft_now(), when);
        weft_timer_drop(&t);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void *interrupted_root(void *arg)
{
    weft_timer t;
    weft_scope scope;
    static const weft_future_ops ops = {.poll = poll_and_wait};
    borrower b = {.future = {&ops}, .timer = &t};
    int64_t begun = weft_now();
    weft_timer_init(&t, begun + 2 * HOUR);
    cr_assert_eq(weft_scope_enter(&scope, HOUR), 0);
    cr_assert_eq(weft_await(&b.future, NULL), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now(), begun + HOUR);
    await_timer(&t);
    cr_assert_eq(weft_now(), begun + 2 * HOUR);
    weft_timer_drop(&t);
    return arg;
}

WF_TEST_WORKERS(timer, an_interrupted_wait_leaves_it_as_it_was) { run_paused(workers, interrupted_root, NULL); }

/* ---- many ---------------------------------------------------------------------------------------------------- */

/* Distinct milliseconds cost a jump of the clock each, and that all workers look at it. */
static void sleep_many(int64_t range, bool exact)
{
    size_t n = wf_test_scale(100000);
    nap *naps = calloc(n, sizeof *naps);
    weft_task **tasks = calloc(n, sizeof *tasks);
    uint64_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        tasks[i] = begin_nap(&naps[i], weft_now() + (int64_t)(x >> 20) % range);
    }
    for (size_t i = 0; i < n; i++) {
        finish(tasks[i]);
        cr_assert_geq(naps[i].woke, naps[i].when);
        cr_assert(!exact || naps[i].woke < naps[i].when + WEFT_MS);
        cr_assert_leq(naps[i].polls, 2, "woken for nothing");
        cr_assert_eq(naps[i].drops, 1);
    }
    free(naps);
    free(tasks);
}

static void *many_root(void *arg)
{
    sleep_many(2 * WEFT_SEC, true);
    return arg;
}

WF_TEST_WORKERS(timer, of_a_hundred_thousand_each_is_woken_once) { run_paused(workers, many_root, NULL); }

static void *many_really_root(void *arg)
{
    sleep_many(300 * WEFT_MS, false);
    return arg;
}

WF_TEST_WORKERS(timer, of_a_hundred_thousand_each_is_woken_once_in_real_time) { run(workers, many_really_root, NULL); }

static void *leave_many_root(void *arg)
{
    size_t n = wf_test_scale(20000);
    nap *naps = arg;
    for (size_t i = 0; i < n; i++)
        weft_detach(begin_nap(&naps[i], i % 2 ? HOUR : weft_now() + (int64_t)i * WEFT_US));
    yields(10);
    return NULL;
}

WF_TEST_WORKERS(timer, those_who_wait_at_the_end_are_dropped_once)
{
    size_t n = wf_test_scale(20000);
    nap *naps = calloc(n, sizeof *naps);
    run(workers, leave_many_root, naps);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(naps[i].drops, 1);
    run_paused(workers, leave_many_root, naps);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(naps[i].drops, 1);
    free(naps);
}
