/* clock_test.c - the paused clock: it stands while anything can run, and jumps to the next deadline when nothing can.
 *
 * Virtual times are compared exactly, with any number of workers: as nothing jumps before everything that can run has run, a
 * task that waits for a whole millisecond sees that very millisecond. Real times have generous limits only. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/task_support.h>
#include <support/test.h>
#include <time.h>
#include <weft.h>

#define HOUR (3600 * WEFT_SEC)
#define YEAR (365 * 24 * HOUR)

/* ---- help ---------------------------------------------------------------------------------------------------- */

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * WEFT_SEC + t.tv_nsec;
}

static int64_t real_now(void) { return read_clock(CLOCK_MONOTONIC); }

static void real_pause(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / WEFT_SEC, .tv_nsec = ns % WEFT_SEC};
    nanosleep(&t, NULL);
}

/* In a task of a paused runtime: EVENTUALLY() would sleep, and let hours pass. */
#define YIELD_UNTIL(condition)                                            \
    do {                                                                  \
        int64_t until_ = real_now() + PATIENCE;                           \
        while (!(condition)) {                                            \
            cr_assert(real_now() < until_, "it never came: " #condition); \
            weft_yield();                                                 \
        }                                                                 \
    } while (0)

/* What takes no time at all, on a machine that others use, too. */
static int64_t soon(void) { return WF_TEST_SANITIZED ? 20 * WEFT_SEC : 5 * WEFT_SEC; }

static void run_paused(unsigned workers, weft_fn root, void *arg)
{
    weft_options options = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, root, arg, NULL), 0);
}

static weft_runtime *paused_runtime(unsigned workers)
{
    weft_options options = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    return rt;
}

static weft_task *begin(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    return task;
}

static void finish(weft_task *task) { cr_assert_eq(weft_join(task, NULL), 0); }

static bool is_idle(weft_task *task) { return weft_task_state(task) == WEFT_TASK_IDLE; }

/* Opened once, by anybody; a strand waits for it without any deadline of its own. */
typedef struct gate {
    weft_future future;
    weft_atomic_waker waker;
    atomic_int open;
} gate;

static weft_poll gate_poll(weft_future *f, weft_context *cx, void **result)
{
    gate *g = WEFT_CONTAINER_OF(f, gate, future);
    (void)result;
    cr_assert_eq(weft_atomic_waker_register(&g->waker, weft_context_waker(cx)), 0);
    return g->open ? WEFT_READY : WEFT_PENDING;
}

static void gate_drop(weft_future *f)
{
    weft_waker waker;
    if (weft_atomic_waker_take(&WEFT_CONTAINER_OF(f, gate, future)->waker, &waker))
        weft_waker_drop(&waker);
}

static const weft_future_ops gate_ops = {gate_poll, gate_drop};

static void gate_init(gate *g)
{
    memset(g, 0, sizeof *g);
    g->future.ops = &gate_ops;
    weft_atomic_waker_init(&g->waker);
}

static void gate_open(gate *g)
{
    g->open = 1;
    weft_atomic_waker_wake(&g->waker);
}

static int gate_pass(gate *g) { return weft_await(&g->future, NULL); }

static void *never(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

/* ---- jumping ------------------------------------------------------------------------------------------------- */

static void *hour_root(void *arg)
{
    int64_t begun = weft_now(), really = real_now();
    cr_assert_eq(weft_sleep(HOUR), 0);
    cr_assert_eq(weft_now() - begun, HOUR);
    cr_assert_eq(weft_sleep(YEAR), 0);
    cr_assert_eq(weft_now() - begun, HOUR + YEAR);
    cr_assert_lt(real_now() - really, soon());
    return arg;
}

WF_TEST_WORKERS(clock, an_hour_asleep_is_an_hour_by_the_clock_and_no_time_at_all)
{
    run_paused(workers, hour_root, NULL);
}

static void *ticks_root(void *arg)
{
    static const int64_t odd[] = {1, 100 * WEFT_US, WEFT_MS - 1, WEFT_MS + 1, 64 * WEFT_MS + 7, HOUR + 999};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        int64_t begun = weft_now();
        cr_assert_eq(weft_sleep(odd[i]), 0);
        cr_assert_geq(weft_now() - begun, odd[i]);
        cr_assert_lt(weft_now() - begun, odd[i] + WEFT_MS);
    }
    return arg;
}

WF_TEST_WORKERS(clock, what_is_no_whole_millisecond_ends_at_the_next) { run_paused(workers, ticks_root, NULL); }

enum { SLEEPERS = 100 };

typedef struct sleeper {
    int64_t when, woke;
    int place; /* how many had woken before */
    atomic_int *woken;
} sleeper;

static void *sleep_until_when(void *arg)
{
    sleeper *s = arg;
    cr_assert_eq(weft_sleep_until(s->when), 0);
    s->woke = weft_now();
    s->place = atomic_fetch_add(s->woken, 1);
    return NULL;
}

/* Deadlines of a whole @unit each, all different, in no order. */
static void begin_sleepers(sleeper *s, weft_task **tasks, atomic_int *woken, int64_t unit)
{
    int64_t begun = weft_now();
    for (int i = 0; i < SLEEPERS; i++) {
        s[i] = (sleeper){.when = begun + (i * 37 % SLEEPERS + 1) * unit, .woken = woken};
        tasks[i] = begin(sleep_until_when, &s[i]);
    }
}

static void *order_root(void *arg)
{
    static sleeper sleepers[SLEEPERS];
    static weft_task *tasks[SLEEPERS];
    static const int64_t units[] = {WEFT_MS, 61 * WEFT_MS, 10 * WEFT_SEC, 24 * HOUR};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        atomic_int woken = 0;
        begin_sleepers(sleepers, tasks, &woken, units[u]);
        for (int i = 0; i < SLEEPERS; i++) {
            finish(tasks[i]);
            cr_assert_eq(sleepers[i].woke, sleepers[i].when);
            cr_assert_eq(sleepers[i].place, i * 37 % SLEEPERS);
        }
    }
    return arg;
}

WF_TEST_WORKERS(clock, sleepers_wake_at_their_deadlines_and_in_their_order) { run_paused(workers, order_root, NULL); }

static void *scope_root(void *arg)
{
    int64_t begun = weft_now(), really = real_now();
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, HOUR), 0);
    cr_assert_eq(weft_sleep(HOUR - WEFT_MS), 0);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now() - begun, HOUR);
    cr_assert_lt(real_now() - really, soon());
    return arg;
}

WF_TEST_WORKERS(clock, a_scope_of_an_hour_fires_after_an_hour) { run_paused(workers, scope_root, NULL); }

static void *random_naps(void *arg)
{
    uint64_t x = (uintptr_t)arg * 0x9E3779B97F4A7C15u + 1;
    for (int i = 0; i < 3; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        int64_t ns = (int64_t)(x >> 20) % (2 * WEFT_SEC), when = weft_now() + ns;
        cr_assert_eq(weft_sleep(ns), 0);
        cr_assert_geq(weft_now(), when);
        cr_assert_lt(weft_now(), when + WEFT_MS);
    }
    return NULL;
}

static void *crowd_root(void *arg)
{
    size_t n = wf_test_scale(10000);
    weft_task **tasks = calloc(n, sizeof *tasks);
    weft_spawn_options options = {.stack_size = 16 * 1024};
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(weft_spawn_with(&tasks[i], WF_TEST_SANITIZED ? NULL : &options, random_naps, (void *)i), 0);
    for (size_t i = 0; i < n; i++)
        finish(tasks[i]);
    free(tasks);
    return arg;
}

WF_TEST_WORKERS(clock, of_thousands_each_wakes_within_the_tick_of_its_deadline)
{
    run_paused(workers, crowd_root, NULL);
}

/* ---- standing ------------------------------------------------------------------------------------------------ */

typedef struct standing {
    int64_t begun;
    atomic_int woken;
} standing;

static void *wake_after_a_millisecond(void *arg)
{
    standing *s = arg;
    cr_assert_eq(weft_sleep(WEFT_MS), 0);
    cr_assert_eq(weft_now(), s->begun + WEFT_MS);
    s->woken = 1;
    return NULL;
}

static void *yield_much(void *arg)
{
    standing *s = arg;
    for (int i = 0; i < 5000; i++) {
        weft_yield();
        cr_assert_eq(weft_now(), s->begun);
        cr_assert_eq(s->woken, 0);
    }
    return NULL;
}

static void *hog(void *arg)
{
    standing *s = arg;
    for (int64_t until = real_now() + 30 * WEFT_MS; real_now() < until;)
        cr_assert_eq(weft_now(), s->begun);
    return NULL;
}

/* Spawns and joins, which are wakes between tasks that all wait but one. */
static void *climb(void *arg)
{
    standing *s = arg;
    static atomic_int depth;
    if (atomic_fetch_add(&depth, 1) < 200)
        finish(begin(climb, s));
    cr_assert_eq(weft_now(), s->begun);
    return NULL;
}

static void *standing_root(void *arg)
{
    standing s = {.begun = weft_now()};
    weft_task *asleep = begin(wake_after_a_millisecond, &s), *busy[6];
    YIELD_UNTIL(is_idle(asleep));
    for (int i = 0; i < 6; i++)
        busy[i] = begin(i < 2 ? yield_much : i < 4 ? hog : climb, &s);
    for (int i = 0; i < 6; i++)
        finish(busy[i]);
    cr_assert_eq(weft_now(), s.begun);
    finish(asleep);
    cr_assert_eq(weft_now(), s.begun + WEFT_MS);
    return arg;
}

WF_TEST_WORKERS(clock, it_stands_while_anything_runs) { run_paused(workers, standing_root, NULL); }

/* The tasks of a round wait for one another; a clock that jumped in between would let the scope fire. */
typedef struct relay {
    gate *in, *out;
    int64_t begun;
} relay;

static void *pass_on(void *arg)
{
    relay *r = arg;
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, WEFT_MS), 0);
    cr_assert_eq(gate_pass(r->in), 0);
    cr_assert_eq(weft_scope_leave(&scope), 0);
    cr_assert_eq(weft_now(), r->begun);
    gate_open(r->out);
    return NULL;
}

static void *relay_root(void *arg)
{
    enum { LONG = 50, ROUNDS = 20 };
    static gate gates[LONG + 1];
    static relay relays[LONG];
    weft_task *tasks[LONG];
    for (size_t round = 0; round < ROUNDS; round++) {
        for (int i = 0; i <= LONG; i++)
            gate_init(&gates[i]);
        for (int i = 0; i < LONG; i++) {
            relays[i] = (relay){&gates[i], &gates[i + 1], weft_now()};
            tasks[i] = begin(pass_on, &relays[i]);
        }
        gate_open(&gates[0]);
        for (int i = 0; i < LONG; i++)
            finish(tasks[i]);
        cr_assert_eq(weft_sleep(WEFT_SEC), 0);
    }
    return arg;
}

WF_TEST_WORKERS(clock, it_stands_while_tasks_wake_one_another) { run_paused(workers, relay_root, NULL); }

/* ---- deadlines that nobody waits for any more ------------------------------------------------------------------ */

typedef struct stale {
    gate inside, outside;
    weft_task *opener;
    int64_t begun;
    atomic_int ready;
} stale;

static void *open_inside(void *arg)
{
    stale *s = arg;
    YIELD_UNTIL(s->ready);
    gate_open(&s->inside);
    return NULL;
}

static void *open_outside(void *arg)
{
    stale *s = arg;
    while (s->ready < 2)
        real_pause(WEFT_MS);
    real_pause(30 * WEFT_MS);
    gate_open(&s->outside);
    return NULL;
}

static void *sleep_long(void *arg)
{
    (void)arg;
    weft_sleep(2 * HOUR);
    return NULL;
}

/* A strand whose wait with a deadline was over early, and one that has ended: what they were armed for is nobody's deadline. */
static void *stale_root(void *arg)
{
    stale *s = arg;
    s->begun = weft_now();
    weft_task *aborted = begin(sleep_long, NULL), *opener = begin(open_inside, s);
    YIELD_UNTIL(is_idle(aborted));
    cr_assert_eq(weft_task_close(aborted), 0);
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, HOUR), 0);
    s->ready = 1;
    cr_assert_eq(gate_pass(&s->inside), 0);
    cr_assert_eq(weft_scope_leave(&scope), 0);
    finish(opener);
    s->ready = 2;
    cr_assert_eq(gate_pass(&s->outside), 0);
    cr_assert_eq(weft_now(), s->begun);
    return NULL;
}

WF_TEST_WORKERS(clock, a_deadline_that_nobody_waits_for_any_more_moves_it_nowhere)
{
    stale s = {.begun = 0};
    pthread_t thread;
    gate_init(&s.inside);
    gate_init(&s.outside);
    cr_assert_eq(pthread_create(&thread, NULL, open_outside, &s), 0);
    run_paused(workers, stale_root, &s);
    pthread_join(thread, NULL);
}

/* ---- weft_clock_advance() -------------------------------------------------------------------------------------- */

static void *advance_root(void *arg)
{
    static sleeper sleepers[SLEEPERS];
    static weft_task *tasks[SLEEPERS];
    atomic_int woken = 0;
    int64_t begun = weft_now();
    begin_sleepers(sleepers, tasks, &woken, WEFT_SEC);
    for (int i = 0; i < SLEEPERS; i++)
        YIELD_UNTIL(is_idle(tasks[i]));
    for (int due = 0; due <= SLEEPERS; due += due < 10 ? 1 : 30) {
        cr_assert_eq(weft_clock_advance(begun + due * WEFT_SEC - weft_now()), 0);
        cr_assert_eq(weft_now(), begun + due * WEFT_SEC);
        YIELD_UNTIL(woken >= due);
        for (int i = 0; i < 100; i++)
            weft_yield();
        cr_assert_eq(woken, due);
        cr_assert_eq(weft_clock_advance(WEFT_SEC - 1), 0);
        for (int i = 0; i < 100; i++)
            weft_yield();
        cr_assert_eq(woken, due, "woken a nanosecond before its deadline");
    }
    cr_assert_eq(weft_clock_advance(HOUR), 0);
    for (int i = 0; i < SLEEPERS; i++) {
        finish(tasks[i]);
        cr_assert_geq(sleepers[i].woke, sleepers[i].when);
    }
    return arg;
}

WF_TEST_WORKERS(clock, advancing_wakes_those_who_are_due_and_nobody_else) { run_paused(workers, advance_root, NULL); }

static void *advance_order_root(void *arg)
{
    sleeper s[3];
    weft_task *tasks[3];
    atomic_int woken = 0;
    int64_t begun = weft_now();
    for (int i = 0; i < 3; i++) {
        s[i] = (sleeper){.when = begun + (3 - i) * HOUR, .woken = &woken};
        tasks[i] = begin(sleep_until_when, &s[i]);
    }
    for (int i = 0; i < 3; i++)
        YIELD_UNTIL(is_idle(tasks[i]));
    cr_assert_eq(weft_clock_advance(YEAR), 0);
    for (int i = 0; i < 3; i++) {
        finish(tasks[i]);
        cr_assert_eq(s[i].place, 2 - i);
        cr_assert_eq(s[i].woke, begun + YEAR);
    }
    return arg;
}

Test(clock, advancing_wakes_in_the_order_of_the_deadlines) { run_paused(1, advance_order_root, NULL); }

static void *advance_refused_root(void *paused)
{
    int64_t before = weft_now();
    cr_assert_eq(weft_clock_advance(-1), WEFT_EINVAL);
    cr_assert_eq(weft_clock_advance(INT64_MIN), WEFT_EINVAL);
    cr_assert_eq(weft_clock_advance(0), paused ? 0 : WEFT_EINVAL);
    cr_assert_eq(weft_clock_advance(HOUR), paused ? 0 : WEFT_EINVAL);
    if (paused)
        cr_assert_eq(weft_now(), before + HOUR);
    else
        cr_assert_lt(weft_now(), before + HOUR);
    return NULL;
}

Test(clock, advancing_one_that_is_not_paused_or_backwards_is_refused)
{
    cr_assert_eq(weft_clock_advance(1), WEFT_ENORUNTIME);
    run(1, advance_refused_root, NULL);
    run_paused(1, advance_refused_root, "paused");
    cr_assert_eq(weft_clock_advance(1), WEFT_ENORUNTIME);
}

/* To the end of time and no further: nothing waits for that, and nothing spins there. */
static void *end_of_time_root(void *arg)
{
    atomic_int woken = 0;
    sleeper s = {.when = weft_now() + YEAR, .woken = &woken};
    weft_task *task = begin(sleep_until_when, &s), *forever = begin(never, NULL);
    YIELD_UNTIL(is_idle(task) && is_idle(forever));
    cr_assert_eq(weft_clock_advance(INT64_MAX), 0);
    cr_assert_eq(weft_clock_advance(INT64_MAX), 0);
    cr_assert_eq(weft_now(), INT64_MAX);
    finish(task);
    cr_assert(is_idle(forever));
    cr_assert_eq(weft_task_close(forever), 0);
    return arg;
}

WF_TEST_WORKERS(clock, it_may_be_advanced_to_the_end_of_time) { run_paused(workers, end_of_time_root, NULL); }

/* The advancing thread comes while the worker is anywhere between its tasks and its sleep: what it makes due is always found. */
static void *sleep_and_hold(void *arg)
{
    atomic_int *stop = arg;
    while (!*stop) {
        int64_t when = weft_now() + 10 * WEFT_MS;
        cr_assert_eq(weft_sleep_until(when), 0);
        cr_assert_geq(weft_now(), when);
    }
    return NULL;
}

static void *advance_from_outside(void *arg)
{
    weft_runtime *rt = arg;
    cr_assert_eq(weft_runtime_enter(rt), 0);
    cr_assert_eq(weft_clock_advance(-1), WEFT_EINVAL);
    for (int i = 0; i < 20000; i++)
        cr_assert_eq(weft_clock_advance(i % 3 * WEFT_MS), 0);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

WF_TEST_WORKERS(clock, it_may_be_advanced_by_threads_that_have_entered)
{
    weft_runtime *rt = paused_runtime(workers);
    weft_task *task;
    atomic_int stop = 0;
    cr_assert_eq(weft_runtime_enter(rt), 0);
    cr_assert_eq(weft_spawn(&task, sleep_and_hold, &stop), 0);
    cr_assert_eq(weft_runtime_leave(), 0);
    in_threads(2, advance_from_outside, rt);
    stop = 1;
    finish(task);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- what the kernel holds ------------------------------------------------------------------------------------- */

typedef struct ends {
    weft_stream *a, *b;
    int rounds;
} ends;

static void connect_ends(ends *e)
{
    weft_listener *l;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    weft_addr_format(&addr, text, sizeof text);
    cr_assert_eq(weft_tcp_connect(&e->a, text, NULL), 0);
    cr_assert_eq(weft_accept(&e->b, l), 0);
    weft_listener_close(l);
}

/* Whoever sees the clock jump too early sees a stamp of an earlier time. */
static void *send_the_time(void *arg)
{
    ends *e = arg;
    for (int i = 0; i < e->rounds; i++) {
        int64_t stamp = weft_now();
        cr_assert_eq(weft_write(e->a, &stamp, sizeof stamp), (ssize_t)sizeof stamp);
        cr_assert_eq(weft_sleep(WEFT_SEC), 0);
        cr_assert_eq(weft_now(), stamp + WEFT_SEC);
    }
    weft_close(e->a);
    return NULL;
}

static void *compare_the_time(void *arg)
{
    ends *e = arg;
    for (int i = 0; i <= e->rounds; i++) {
        int64_t stamp;
        weft_scope scope;
        cr_assert_eq(weft_scope_enter(&scope, HOUR), 0);
        ssize_t n = weft_read_exact(e->b, &stamp, sizeof stamp);
        cr_assert_eq(weft_scope_leave(&scope), 0);
        cr_assert_eq(n, i < e->rounds ? (ssize_t)sizeof stamp : 0);
        cr_assert(n == 0 || weft_now() == stamp, "sent %lld ns ago", (long long)(weft_now() - stamp));
    }
    weft_close(e->b);
    return NULL;
}

/* Nobody waits for anything but the other and the scope's hour. */
static void *serve_balls(void *arg)
{
    ends *e = arg;
    int64_t begun = weft_now();
    weft_scope scope;
    char ball = 'o';
    cr_assert_eq(weft_scope_enter(&scope, HOUR), 0);
    for (int i = 0; i < e->rounds; i++) {
        cr_assert_eq(weft_write(e->a, &ball, 1), 1);
        cr_assert_eq(weft_read(e->a, &ball, 1), 1);
    }
    weft_close(e->a);
    cr_assert_eq(weft_scope_leave(&scope), 0);
    cr_assert_eq(weft_now(), begun);
    return NULL;
}

static void *return_balls(void *arg)
{
    ends *e = arg;
    weft_scope scope;
    char ball;
    ssize_t n;
    cr_assert_eq(weft_scope_enter(&scope, HOUR), 0);
    while ((n = weft_read(e->b, &ball, 1)) == 1)
        cr_assert_eq(weft_write(e->b, &ball, 1), 1);
    cr_assert_eq(n, 0);
    cr_assert_eq(weft_scope_leave(&scope), 0);
    weft_close(e->b);
    return NULL;
}

static void play(int pairs, int rounds, weft_fn one, weft_fn other)
{
    enum { MOST = 16 };
    ends e[MOST];
    weft_task *tasks[2 * MOST];
    cr_assert_leq(pairs, MOST);
    for (int i = 0; i < pairs; i++) {
        e[i].rounds = rounds;
        connect_ends(&e[i]);
    }
    for (int i = 0; i < pairs; i++) {
        tasks[2 * i] = begin(other, &e[i]);
        tasks[2 * i + 1] = begin(one, &e[i]);
    }
    for (int i = 0; i < 2 * pairs; i++)
        finish(tasks[i]);
}

static void *stamps_root(void *arg)
{
    play(1, (int)wf_test_scale(2000), send_the_time, compare_the_time);
    play(8, (int)wf_test_scale(500), send_the_time, compare_the_time);
    return arg;
}

WF_TEST_WORKERS(clock, what_is_sent_arrives_before_it_jumps) { run_paused(workers, stamps_root, NULL); }

static void *balls_root(void *arg)
{
    for (int i = 0; i < 20; i++)
        play(1, 50, serve_balls, return_balls);
    play(1, (int)wf_test_scale(2000), serve_balls, return_balls);
    play(8, (int)wf_test_scale(500), serve_balls, return_balls);
    return arg;
}

WF_TEST_WORKERS(clock, an_answer_comes_before_the_deadline_of_who_waits_for_it)
{
    run_paused(workers, balls_root, NULL);
}

/* ---- from outside ---------------------------------------------------------------------------------------------- */

static void *hour_from_outside(void *arg)
{
    int64_t begun = weft_now();
    (void)arg;
    if (weft_sleep(HOUR) == 0)
        cr_assert_geq(weft_now(), begun + HOUR);
    return NULL;
}

/* Each spawn counts its thread in and out; whoever falls asleep meanwhile must not miss that it has gone. */
static void *block_often(void *rt)
{
    for (size_t i = wf_test_scale(2000); i > 0; i--) {
        int64_t really = real_now(), before = weft_now();
        cr_assert_eq(weft_block_on(rt, hour_from_outside, NULL, NULL), 0);
        cr_assert_lt(weft_now() - before, real_now() - really + HOUR, "an ordinary thread's time jumped");
    }
    return NULL;
}

WF_TEST_WORKERS(clock, a_thread_may_block_on_what_takes_hours)
{
    weft_runtime *rt = paused_runtime(workers);
    block_often(rt);
    in_threads(3, block_often, rt);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

Test(clock, a_thread_that_is_the_worker_itself_may_block_on_what_takes_hours)
{
    weft_options options = {.flags = WEFT_CURRENT_THREAD, .clock = WEFT_CLOCK_PAUSED};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (int i = 0; i < 100; i++) {
        int64_t before = weft_now();
        cr_assert_eq(weft_block_on(rt, hour_root, NULL, NULL), 0);
        cr_assert_lt(weft_now() - before, HOUR);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void *spawn_often(void *rt)
{
    cr_assert_eq(weft_runtime_enter(rt), 0);
    for (size_t i = wf_test_scale(2000); i > 0; i--) {
        weft_task *task;
        cr_assert_eq(weft_spawn(&task, hour_from_outside, NULL), 0);
        if (i % 5 == 0)
            weft_abort(task);
        if (i % 3 == 0)
            real_pause(10 * WEFT_US);
        int code = weft_join(task, NULL);
        cr_assert(code == 0 || code == WEFT_EABORTED, "%d", code);
    }
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

static void *sleep_year_after_year(void *stop)
{
    while (!*(atomic_int *)stop)
        cr_assert_eq(weft_sleep(YEAR / 1000), 0);
    return NULL;
}

/* Asleep are those who wait for ever, so the clock stands until somebody comes. */
WF_TEST_WORKERS(clock, a_thread_may_spawn_while_all_sleep)
{
    weft_runtime *rt = paused_runtime(workers);
    in_threads(1, spawn_often, rt);
    in_threads(3, spawn_often, rt);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void *real_root(void *arg)
{
    int64_t really = real_now(), begun = weft_now();
    cr_assert_geq(begun, really);
    cr_assert_leq(begun, real_now());
    cr_assert_eq(weft_sleep(20 * WEFT_MS), 0);
    cr_assert_geq(real_now() - really, 20 * WEFT_MS);
    cr_assert_geq(weft_now(), begun + 20 * WEFT_MS);
    cr_assert_leq(weft_now(), real_now());
    return arg;
}

static void *own_clock_root(void *arg)
{
    int64_t begun = weft_now();
    for (int i = 1; i <= 100; i++) {
        cr_assert_eq(weft_sleep(HOUR), 0);
        cr_assert_eq(weft_now(), begun + i * HOUR);
    }
    return arg;
}

static void *run_own_clock(void *arg)
{
    run_paused(2, own_clock_root, NULL);
    return arg;
}

static void *run_real(void *arg)
{
    run(2, real_root, NULL);
    return arg;
}

static void *run_either(void *arg)
{
    static atomic_int turn;
    return atomic_fetch_add(&turn, 1) % 2 ? run_real(arg) : run_own_clock(arg);
}

Test(clock, each_runtime_has_its_own) { in_threads(6, run_either, NULL); }

static void *look_at_the_real_clock(void *arg)
{
    int64_t really = real_now(), now = weft_now();
    cr_assert_geq(now, really);
    cr_assert_leq(now, real_now());
    cr_assert_eq(weft_sleep(5 * WEFT_MS), 0);
    cr_assert_geq(real_now(), really + 5 * WEFT_MS);
    cr_assert_lt(weft_now(), really + HOUR);
    return arg;
}

static void *look_from_inside(void *rt)
{
    cr_assert_eq(weft_runtime_enter(rt), 0);
    look_at_the_real_clock(NULL);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

Test(clock, ordinary_threads_see_the_real_time)
{
    weft_runtime *rt = paused_runtime(2);
    weft_task *task;
    atomic_int stop = 0;
    cr_assert_eq(weft_runtime_enter(rt), 0);
    cr_assert_eq(weft_spawn(&task, sleep_year_after_year, &stop), 0);
    look_at_the_real_clock(NULL);
    cr_assert_eq(weft_runtime_leave(), 0);
    in_threads(2, look_from_inside, rt);
    stop = 1;
    finish(task);
    look_at_the_real_clock(NULL);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    look_at_the_real_clock(NULL);
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

static void *sleep_told(void *arg)
{
    int code = weft_sleep(YEAR);
    cr_assert(code == 0 || code == WEFT_ECANCELED, "%d", code);
    return arg;
}

static void *leave_sleepers_root(void *arg)
{
    for (int i = 0; i < 1000; i++)
        weft_detach(begin(sleep_told, NULL));
    for (int i = 0; i < 20; i++)
        weft_yield();
    return arg;
}

WF_TEST_WORKERS(clock, sleepers_of_a_year_do_not_hold_up_the_end)
{
    int64_t really = real_now();
    run_paused(workers, leave_sleepers_root, NULL);
    cr_assert_lt(real_now() - really, soon());
}

static void *linger(void *arg)
{
    atomic_int *begun = arg;
    cr_assert_eq(weft_shield_enter(), 0);
    *begun = 1;
    for (int64_t until = real_now() + 50 * WEFT_MS; real_now() < until;)
        cr_assert_eq(weft_sleep(HOUR), 0);
    cr_assert_eq(weft_shield_leave(), 0);
    return NULL;
}

WF_TEST_WORKERS(clock, the_grace_of_a_shutdown_is_real_time)
{
    weft_runtime *rt = paused_runtime(workers);
    weft_task *task;
    atomic_int begun = 0;
    cr_assert_eq(weft_runtime_enter(rt), 0);
    cr_assert_eq(weft_spawn(&task, linger, &begun), 0);
    cr_assert_eq(weft_runtime_leave(), 0);
    SPIN_UNTIL(begun);
    weft_detach(task);
    cr_assert_eq(weft_runtime_shutdown(rt, 60 * WEFT_SEC), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- repeatable ------------------------------------------------------------------------------------------------ */

enum { ACTORS = 40, STEPS = 25, MOST_LINES = ACTORS * STEPS };

typedef struct trace {
    size_t lines;
    struct {
        int actor;
        int64_t at;
    } line[MOST_LINES];
    int64_t begun;
} trace;

typedef struct actor {
    trace *trace;
    int number;
} actor;

static void *act(void *arg)
{
    actor *a = arg;
    uint64_t x = (uint64_t)a->number + 1;
    for (int i = 0; i < STEPS; i++) {
        trace *t = a->trace;
        t->line[t->lines].actor = a->number;
        t->line[t->lines++].at = weft_now() - t->begun;
        x = x * 6364136223846793005u + 1442695040888963407u;
        if (x >> 62 == 0)
            weft_yield();
        else
            cr_assert_eq(weft_sleep((int64_t)(x >> 33) % (5 * WEFT_MS)), 0);
    }
    return NULL;
}

static void *act_root(void *arg)
{
    trace *t = arg;
    static actor actors[ACTORS];
    weft_task *tasks[ACTORS];
    t->begun = weft_now();
    for (int i = 0; i < ACTORS; i++) {
        actors[i] = (actor){.trace = t, .number = i};
        tasks[i] = begin(act, &actors[i]);
    }
    for (int i = 0; i < ACTORS; i++)
        finish(tasks[i]);
    return NULL;
}

Test(clock, with_a_seed_and_one_worker_it_is_repeatable)
{
    static trace traces[3];
    for (int i = 0; i < 3; i++) {
        weft_options options = {.workers = 1, .seed = 42, .clock = WEFT_CLOCK_PAUSED};
        cr_assert_eq(weft_run_with(&options, act_root, &traces[i], NULL), 0);
        cr_assert_eq(traces[i].lines, MOST_LINES);
        cr_assert_arr_eq(traces[i].line, traces[0].line, sizeof traces[0].line);
        cr_assert_eq(traces[i].begun, traces[0].begun);
    }
}

/* ---- idle ------------------------------------------------------------------------------------------------------ */

static void *read_for_ever(void *arg)
{
    ends *e = arg;
    char byte;
    connect_ends(e);
    weft_read(e->a, &byte, 1);
    weft_close(e->a);
    weft_close(e->b);
    return NULL;
}

WF_TEST_WORKERS(clock, who_waits_for_what_never_comes_burns_no_cpu)
{
    weft_runtime *rt = paused_runtime(workers);
    ends e;
    weft_task *tasks[3];
    cr_assert_eq(weft_runtime_enter(rt), 0);
    cr_assert_eq(weft_spawn(&tasks[0], never, NULL), 0);
    cr_assert_eq(weft_spawn(&tasks[1], read_for_ever, &e), 0);
    cr_assert_eq(weft_spawn(&tasks[2], hour_from_outside, NULL), 0);
    cr_assert_eq(weft_runtime_leave(), 0);
    finish(tasks[2]);
    real_pause(50 * WEFT_MS);
    int64_t cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    real_pause(500 * WEFT_MS);
    cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    cr_assert_lt(cpu, 250 * WEFT_MS);
    weft_detach(tasks[0]);
    weft_detach(tasks[1]);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}
