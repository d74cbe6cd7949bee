/* metrics_test.c - counters: what each counts, that every reading makes sense, and the page for Prometheus. */
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/latch.h>
#include <support/task_support.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static weft_runtime *create(unsigned workers, unsigned flags)
{
    weft_options options = {.workers = workers, .flags = flags};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    return rt;
}

static weft_metrics_t metrics(weft_runtime *rt)
{
    weft_metrics_t m;
    cr_assert_eq(weft_metrics(rt, &m), 0);
    return m;
}

static weft_worker_metrics_t of_worker(weft_runtime *rt, unsigned worker)
{
    weft_worker_metrics_t m;
    cr_assert_eq(weft_worker_metrics(rt, worker, &m), 0);
    return m;
}

static void *wait_for_ever(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

static void *fail(void *arg)
{
    (void)arg;
    return weft_fail(WEFT_EPIPE);
}

static void *panic(void *arg)
{
    weft_panic("on purpose");
    return arg;
}

static weft_poll fail_poll(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)cx, (void)result;
    return WEFT_EPIPE;
}

static const weft_future_ops failing = {.poll = fail_poll};

static weft_task *start(weft_runtime *rt, weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn_on(rt, &task, fn, arg), 0);
    return task;
}

static weft_task *start_pinned(weft_runtime *rt, unsigned worker, weft_fn fn, void *arg)
{
    weft_spawn_options options = {.runtime = rt, .pinned = WEFT_PIN_TO(worker)};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    return task;
}

static void close_all(weft_task **tasks, int n)
{
    for (int i = 0; i < n; i++)
        cr_assert_eq(weft_task_close(tasks[i]), 0);
}

/* ---- d29: what holds in every reading --------------------------------------------------------------------------- */

#define FIELD(type, field)            \
    {                                 \
#field, offsetof(type, field) \
    }
typedef struct field {
    const char *name;
    size_t offset;
} field;

#define FIELDS(x) (sizeof(x) / sizeof *(x))

static const field rising[] = {FIELD(weft_metrics_t, spawned),
                               FIELD(weft_metrics_t, completed),
                               FIELD(weft_metrics_t, aborted),
                               FIELD(weft_metrics_t, panicked),
                               FIELD(weft_metrics_t, failed),
                               FIELD(weft_metrics_t, peak),
                               FIELD(weft_metrics_t, polls),
                               FIELD(weft_metrics_t, steals),
                               FIELD(weft_metrics_t, parks),
                               FIELD(weft_metrics_t, rescues),
                               FIELD(weft_metrics_t, spills),
                               FIELD(weft_metrics_t, wakes_sent),
                               FIELD(weft_metrics_t, wakes_saved),
                               FIELD(weft_metrics_t, mailed),
                               FIELD(weft_metrics_t, busy),
                               FIELD(weft_metrics_t, idle),
                               FIELD(weft_metrics_t, wake_to_poll.count),
                               FIELD(weft_metrics_t, wake_to_poll.sum)};

static const field rising_of_worker[] = {FIELD(weft_worker_metrics_t, spawned),
                                         FIELD(weft_worker_metrics_t, completed),
                                         FIELD(weft_worker_metrics_t, polls),
                                         FIELD(weft_worker_metrics_t, steals),
                                         FIELD(weft_worker_metrics_t, parks),
                                         FIELD(weft_worker_metrics_t, rescues),
                                         FIELD(weft_worker_metrics_t, spills),
                                         FIELD(weft_worker_metrics_t, mailed),
                                         FIELD(weft_worker_metrics_t, wakes_sent),
                                         FIELD(weft_worker_metrics_t, busy),
                                         FIELD(weft_worker_metrics_t, idle),
                                         FIELD(weft_worker_metrics_t, wake_to_poll.count),
                                         FIELD(weft_worker_metrics_t, wake_to_poll.sum)};

static uint64_t value(const void *all, const field *f)
{
    uint64_t v;
    memcpy(&v, (const char *)all + f->offset, sizeof v);
    return v;
}

static void expect_no_step_back(const field *fields, size_t n, const void *before, const void *now)
{
    for (const field *f = fields; f < fields + n; f++)
        cr_assert_geq(value(now, f), value(before, f), "%s went back", f->name);
}

static uint64_t sum_of_buckets(const weft_latency *l)
{
    uint64_t sum = 0;
    for (int i = 0; i < WEFT_LATENCY_BUCKETS; i++)
        sum += l->buckets[i];
    return sum;
}

static void expect_sense(const weft_metrics_t *m, uint64_t residents)
{
    cr_assert_eq(m->spawned, m->completed + m->active);
    cr_assert_geq(m->active, residents, "residents are missing");
    cr_assert_leq(m->active, m->spawned, "completed before spawned");
    cr_assert_leq(m->aborted + m->panicked + m->failed, m->completed);
    cr_assert_geq(m->peak, m->active);
    cr_assert_eq(m->wake_to_poll.count, sum_of_buckets(&m->wake_to_poll));
    cr_assert_leq(m->workers_parked, m->workers);
}

enum { RESIDENTS = 10, OBSERVERS = 3, MOST_WORKERS = 8 };

typedef struct watching {
    weft_runtime *rt;
    atomic_int stop, readings;
} watching;

static void *observe(void *arg)
{
    watching *w = arg;
    weft_metrics_t last = {0};
    weft_worker_metrics_t lasts[MOST_WORKERS] = {{0}};
    while (!w->stop) {
        weft_metrics_t m = metrics(w->rt);
        expect_sense(&m, RESIDENTS);
        expect_no_step_back(rising, FIELDS(rising), &last, &m);
        last = m;
        for (unsigned i = 0; i < m.workers; i++) {
            weft_worker_metrics_t one = of_worker(w->rt, i);
            expect_no_step_back(rising_of_worker, FIELDS(rising_of_worker), &lasts[i], &one);
            cr_assert_eq(one.wake_to_poll.count, sum_of_buckets(&one.wake_to_poll));
            lasts[i] = one;
        }
        w->readings++;
    }
    return NULL;
}

/* Ends of each kind. Counted so that it is known how many there are. */
enum { FINE = 3, FAILED = 5, PANICKED = 3, ABORTED = 2, BY_OTHERS = 3, ENDS = FINE + FAILED + PANICKED + ABORTED };

static void start_blocking(weft_fn fn)
{
    weft_task *task;
    cr_assert_eq(weft_spawn_blocking(&task, fn, NULL), 0);
    weft_join(task, NULL);
}

static void *end_in_all_ways(void *arg)
{
    weft_runtime *rt = weft_runtime_current();
    weft_future futures[2] = {{.ops = &failing}, {.ops = &failing}};
    weft_task *tasks[10] = {start(rt, echo, NULL),
                            start(rt, echo, NULL),
                            start(rt, fail, NULL),
                            start(rt, fail, NULL),
                            start(rt, panic, NULL),
                            start(rt, panic, NULL),
                            start_pinned(rt, 0, wait_for_ever, NULL),
                            start(rt, wait_for_ever, NULL)};
    cr_assert_eq(weft_spawn_future(&tasks[8], &futures[0]), 0);
    cr_assert_eq(weft_spawn_future(&tasks[9], &futures[1]), 0);
    weft_yield();
    weft_abort(tasks[6]);
    weft_abort(tasks[7]);
    for (int i = 0; i < 10; i++)
        weft_join(tasks[i], NULL);
    start_blocking(echo);
    start_blocking(fail);
    start_blocking(panic);
    return arg;
}

static void expect_ends(const weft_metrics_t *m, uint64_t rounds)
{
    cr_assert_eq(m->completed, rounds * (ENDS + 1));
    cr_assert_eq(m->failed, rounds * FAILED);
    cr_assert_eq(m->panicked, rounds * PANICKED);
    cr_assert_eq(m->aborted, rounds * ABORTED);
}

/* What each worker says, added up. Nobody runs. */
static void expect_sums(weft_runtime *rt, uint64_t from_outside, uint64_t by_others)
{
    weft_metrics_t all = metrics(rt);
    weft_worker_metrics_t sum = {0};
    for (unsigned i = 0; i < all.workers; i++) {
        weft_worker_metrics_t one = of_worker(rt, i);
        sum.spawned += one.spawned;
        sum.completed += one.completed;
        sum.polls += one.polls;
        sum.steals += one.steals;
        sum.rescues += one.rescues;
        sum.spills += one.spills;
        sum.mailed += one.mailed;
        sum.timers += one.timers;
        sum.queued += one.queued;
        sum.wake_to_poll.count += one.wake_to_poll.count;
        sum.wake_to_poll.sum += one.wake_to_poll.sum;
    }
    cr_assert_eq(sum.spawned + from_outside, all.spawned);
    cr_assert_eq(sum.completed + by_others, all.completed);
    cr_assert_eq(sum.polls, all.polls);
    cr_assert_eq(sum.steals, all.steals);
    cr_assert_eq(sum.rescues, all.rescues);
    cr_assert_eq(sum.spills, all.spills);
    cr_assert_eq(sum.mailed, all.mailed);
    cr_assert_eq(sum.timers, all.timers);
    cr_assert_eq(sum.queued, all.queued);
    cr_assert_eq(sum.wake_to_poll.count, all.wake_to_poll.count);
    cr_assert_eq(sum.wake_to_poll.sum, all.wake_to_poll.sum);
}

WF_TEST_WORKERS(metrics, d29_holds_for_many_observers_and_the_sums_are_right_in_the_end)
{
    watching w = {.rt = create(workers, WEFT_MEASURE)};
    weft_task *residents[RESIDENTS], *beside;
    pthread_t threads[OBSERVERS];
    size_t rounds = wf_test_scale(300);
    for (int i = 0; i < RESIDENTS; i++)
        residents[i] = start(w.rt, wait_for_ever, NULL);
    for (int i = 0; i < OBSERVERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, observe, &w), 0);
    SPIN_UNTIL(w.readings >= OBSERVERS);
    for (size_t i = 0; i < rounds; i++) {
        beside = start(w.rt, end_in_all_ways, NULL);
        cr_assert_eq(weft_block_on(w.rt, end_in_all_ways, NULL, NULL), 0);
        cr_assert_eq(weft_join(beside, NULL), 0);
    }
    int before = w.readings;
    SPIN_UNTIL(w.readings > before + OBSERVERS);
    w.stop = 1;
    for (int i = 0; i < OBSERVERS; i++)
        pthread_join(threads[i], NULL);
    weft_metrics_t m = metrics(w.rt);
    cr_assert_eq(m.active, RESIDENTS);
    expect_ends(&m, 2 * rounds);
    SPIN_UNTIL(metrics(w.rt).workers_parked == workers);
    expect_sums(w.rt, RESIDENTS + 2 * rounds, 2 * rounds * BY_OTHERS);
    close_all(residents, RESIDENTS);
    cr_assert_eq(metrics(w.rt).aborted, m.aborted + RESIDENTS);
    cr_assert_eq(weft_runtime_destroy(w.rt), 0);
}

static size_t failures(void) { return wf_test_scale(20000); }

static void *fail_often(void *arg)
{
    weft_task *tasks[8];
    weft_future futures[8];
    for (size_t i = 0; i < failures(); i++) {
        for (int j = 0; j < 8; j++) {
            futures[j].ops = &failing;
            if (WF_TEST_SANITIZED)
                cr_assert_eq(weft_spawn_future(&tasks[j], &futures[j]), 0);
            else
                tasks[j] = start(weft_runtime_current(), fail, NULL);
        }
        for (int j = 0; j < 8; j++)
            weft_join(tasks[j], NULL);
    }
    return arg;
}

/* Stackless under sanitizers: ThreadSanitizer takes milliseconds for a stack. All of them end so: one that were counted too early, or read too late, would be one too many. */
WF_TEST_WORKERS(metrics, d29_no_observer_sees_more_failures_than_ends)
{
    watching w = {.rt = create(workers, 0)};
    weft_task *residents[RESIDENTS];
    pthread_t thread;
    for (int i = 0; i < RESIDENTS; i++)
        residents[i] = start(w.rt, wait_for_ever, NULL);
    cr_assert_eq(pthread_create(&thread, NULL, observe, &w), 0);
    SPIN_UNTIL(w.readings > 0);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(weft_block_on(w.rt, fail_often, NULL, NULL), 0);
    w.stop = 1;
    pthread_join(thread, NULL);
    cr_assert_eq(metrics(w.rt).failed, 5 * 8 * failures());
    close_all(residents, RESIDENTS);
    cr_assert_eq(weft_runtime_destroy(w.rt), 0);
}

/* ---- the peak --------------------------------------------------------------------------------------------------- */

static void *climb(void *arg)
{
    enum { TREE = 50 };
    weft_task *tasks[TREE];
    for (int i = 0; i < 100; i++)
        start_blocking(echo); /* each was once counted as one that lives for ever */
    cr_assert_eq(metrics(NULL).peak, 2);
    for (int i = 0; i < TREE; i++)
        tasks[i] = start(weft_runtime_current(), echo, NULL);
    for (int i = 0; i < TREE; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    cr_assert_eq(metrics(NULL).peak, 1 + TREE);
    cr_assert_eq(metrics(NULL).active, 1);
    return arg;
}

Test(metrics, the_peak_of_one_worker_is_exact_with_blocking_jobs_too) { run(1, climb, NULL); }

WF_TEST_WORKERS(metrics, the_peak_of_tasks_from_outside_is_what_a_reading_came_upon)
{
    enum { MANY = 20 };
    weft_runtime *rt = create(workers, 0);
    weft_task *tasks[MANY];
    for (int i = 0; i < MANY; i++)
        tasks[i] = start(rt, wait_for_ever, NULL);
    cr_assert_eq(metrics(rt).active, MANY);
    close_all(tasks, MANY);
    cr_assert_eq(metrics(rt).active, 0);
    cr_assert_eq(metrics(rt).peak, MANY);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- each moves for its reason ---------------------------------------------------------------------------------- */

static void *sleep_an_hour(void *arg)
{
    weft_sleep(3600 * WEFT_SEC);
    return arg;
}

WF_TEST_WORKERS(metrics, timers_are_counted_while_they_are_armed)
{
    enum { MANY = 40 };
    weft_runtime *rt = create(workers, 0);
    weft_task *tasks[MANY];
    cr_assert_eq(metrics(rt).timers, 0);
    for (int i = 0; i < MANY; i++)
        tasks[i] = start(rt, i % 2 ? sleep_an_hour : wait_for_ever, NULL);
    SPIN_UNTIL(metrics(rt).timers == MANY / 2);
    close_all(tasks, MANY);
    cr_assert_eq(metrics(rt).timers, 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void *open_and_close(void *arg)
{
    weft_listener *l[3];
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(metrics(NULL).sources, (uint64_t)i);
        cr_assert_eq(weft_tcp_listen(&l[i], "127.0.0.1:0", NULL), 0);
    }
    cr_assert_eq(metrics(NULL).sources, 3);
    for (int i = 0; i < 3; i++)
        weft_listener_close(l[i]);
    cr_assert_eq(metrics(NULL).sources, 0);
    return arg;
}

WF_TEST_WORKERS(metrics, sources_are_counted_while_they_are_open) { run(workers, open_and_close, NULL); }

enum { FRESH = 3, OWN_PINNED = 2, INJECTED = 4, MAILED = 5 };
static weft_task *queue[FRESH + OWN_PINNED + INJECTED + MAILED];

static void *queue_from_outside(void *rt)
{
    for (int i = 0; i < INJECTED; i++)
        queue[FRESH + OWN_PINNED + i] = start(rt, echo, NULL);
    for (int i = 0; i < MAILED; i++)
        queue[FRESH + OWN_PINNED + INJECTED + i] = start_pinned(rt, 0, echo, NULL);
    return NULL;
}

/* It holds the only worker meanwhile. */
static void *queue_some(void *arg)
{
    enum { ALL = FRESH + OWN_PINNED + INJECTED + MAILED };
    weft_runtime *rt = weft_runtime_current();
    cr_assert_eq(metrics(NULL).queued, 0);
    for (int i = 0; i < FRESH; i++)
        queue[i] = start(rt, echo, NULL);
    cr_assert_eq(metrics(NULL).queued, FRESH);
    for (int i = 0; i < OWN_PINNED; i++)
        queue[FRESH + i] = start_pinned(rt, 0, echo, NULL);
    cr_assert_eq(metrics(NULL).queued, FRESH + OWN_PINNED);
    in_threads(1, queue_from_outside, rt);
    cr_assert_eq(metrics(NULL).queued, ALL);
    cr_assert_eq(of_worker(NULL, 0).queued, ALL - INJECTED);
    cr_assert_eq(metrics(NULL).mailed, 0, "not collected yet");
    for (int i = 0; i < ALL; i++)
        cr_assert_eq(weft_join(queue[i], NULL), 0);
    cr_assert_eq(metrics(NULL).queued, 0);
    cr_assert_eq(metrics(NULL).mailed, MAILED);
    return arg;
}

Test(metrics, every_queue_is_counted) { run(1, queue_some, NULL); }

static void *overflow(void *arg)
{
    enum { MANY = 1000 };
    static weft_task *tasks[MANY];
    for (int i = 0; i < MANY; i++)
        tasks[i] = start(weft_runtime_current(), echo, NULL);
    weft_metrics_t m = metrics(NULL);
    cr_assert_eq(m.queued, MANY);
    cr_assert_geq(m.spills, MANY - 256);
    cr_assert_eq(m.spills, MANY - of_worker(NULL, 0).queued, "what is no longer with the worker was spilt");
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    return arg;
}

Test(metrics, a_spill_counts_each_task_that_a_full_queue_moves) { run(1, overflow, NULL); }

/* Pinned itself, so that its joins send nothing to the other. */
static void *send_mail(void *arg)
{
    enum { MANY = 20 };
    weft_task *tasks[MANY];
    for (int i = 0; i < MANY; i++)
        tasks[i] = start_pinned(weft_runtime_current(), 1, echo, NULL);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    cr_assert_eq(of_worker(NULL, 1).mailed, MANY);
    cr_assert_eq(of_worker(NULL, 1).polls, MANY);
    cr_assert_eq(of_worker(NULL, 1).completed, MANY);
    cr_assert_eq(of_worker(NULL, 0).spawned, MANY);
    return arg;
}

Test(metrics, pinned_tasks_that_come_from_elsewhere_are_mail)
{
    weft_runtime *rt = create(2, 0);
    weft_task *task = start_pinned(rt, 0, send_mail, NULL);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void *count_one(void *arg)
{
    atomic_int *done = arg;
    ++*done;
    return NULL;
}

/* Whoever spawned them does not let go of his worker: others take them, and look after its reactor. */
static void *hold_the_worker(void *arg)
{
    enum { MANY = 50 };
    atomic_int done = 0;
    weft_metrics_t before = metrics(NULL);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_spawn(NULL, count_one, &done), 0);
    SPIN_UNTIL(done == MANY);
    SPIN_UNTIL(metrics(NULL).rescues > before.rescues);
    weft_metrics_t m = metrics(NULL);
    cr_assert_gt(m.steals, before.steals);
    cr_assert_leq(m.steals - before.steals, MANY);
    SPIN_UNTIL(metrics(NULL).completed >= before.completed + MANY);
    cr_assert_eq(metrics(NULL).polls, before.polls + MANY);
    return arg;
}

Test(metrics, steals_and_rescues_are_counted_by_who_does_them) { run(2, hold_the_worker, NULL); }

WF_TEST_WORKERS(metrics, a_worker_that_sleeps_says_so_and_is_rung)
{
    weft_runtime *rt = create(workers, 0);
    SPIN_UNTIL(metrics(rt).workers_parked == workers && metrics(rt).parks >= workers);
    weft_metrics_t before = metrics(rt);
    SPIN_UNTIL((weft_block_on(rt, echo, NULL, NULL), metrics(rt).wakes_sent > before.wakes_sent));
    SPIN_UNTIL(metrics(rt).workers_parked == workers);
    cr_assert_gt(metrics(rt).parks, before.parks);
    SPIN_UNTIL(of_worker(rt, workers - 1).parked);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static void *be_busy(void *arg)
{
    weft_worker_metrics_t before = of_worker(NULL, 0);
    SPIN_UNTIL(of_worker(NULL, 0).busy > before.busy + 30 * WEFT_MS);
    cr_assert_eq(of_worker(NULL, 0).idle, before.idle, "it did not sleep meanwhile");
    cr_assert_eq(of_worker(NULL, 0).parked, 0);
    return arg;
}

Test(metrics, a_worker_is_busy_while_a_task_has_it_and_idle_while_it_sleeps)
{
    weft_runtime *rt = create(1, 0);
    cr_assert_eq(weft_block_on(rt, be_busy, NULL, NULL), 0);
    SPIN_UNTIL(of_worker(rt, 0).parked);
    weft_worker_metrics_t before = of_worker(rt, 0);
    SPIN_UNTIL(of_worker(rt, 0).idle > before.idle + 30 * WEFT_MS);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void *sleep_and_work(void *arg)
{
    for (int i = 0; i < 20; i++)
        weft_sleep(WEFT_MS / 4);
    return arg;
}

/* However short its sleeps: nothing is counted twice, or not at all. */
WF_TEST_WORKERS(metrics, busy_and_idle_are_the_time_since_a_worker_began)
{
    int64_t earliest = weft_now();
    weft_runtime *rt = create(workers, 0);
    int64_t latest = weft_now();
    for (int round = 0; round < 5; round++) {
        cr_assert_eq(weft_block_on(rt, sleep_and_work, NULL, NULL), 0);
        for (unsigned i = 0; i < workers; i++) {
            int64_t before = weft_now();
            weft_worker_metrics_t m = of_worker(rt, i);
            cr_assert_geq(m.busy + m.idle, before - latest);
            SPIN_UNTIL((m = of_worker(rt, i), m.busy + m.idle <= weft_now() - earliest));
        }
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- what a worker polls ------------------------------------------------------------------------------------------ */

typedef struct holder {
    weft_future future;
    _Atomic uint64_t id;
    atomic_int release;
} holder;

static void hold(holder *h)
{
    h->id = weft_self_id();
    while (!h->release)
        sched_yield();
}

static void *hold_as_strand(void *arg)
{
    hold(arg);
    return NULL;
}

static weft_poll hold_as_future(weft_future *self, weft_context *cx, void **result)
{
    (void)cx, (void)result;
    hold(WEFT_CONTAINER_OF(self, holder, future));
    return WEFT_READY;
}

static const weft_future_ops holding = {.poll = hold_as_future};

static bool polls_for(weft_runtime *rt, uint64_t id, int64_t ns)
{
    unsigned found = 0;
    for (unsigned i = 0; i < weft_runtime_workers(rt); i++) {
        weft_worker_metrics_t m = of_worker(rt, i);
        cr_assert_leq(m.polling_ns, m.seen_ns);
        cr_assert(m.polling > 0 || m.polling_ns == 0);
        found += m.polling == id && m.polling_ns > ns && !m.parked && m.thread > 0;
    }
    cr_assert_leq(found, 1, "one worker polls it");
    return found == 1;
}

static bool polls_nothing(weft_runtime *rt)
{
    unsigned found = 0;
    for (unsigned i = 0; i < weft_runtime_workers(rt); i++)
        found += of_worker(rt, i).polling != 0;
    return found == 0;
}

static void expect_polled(weft_runtime *rt, holder *h, weft_task *task)
{
    SPIN_UNTIL(h->id != 0);
    cr_assert_eq(h->id, weft_task_id(task));
    SPIN_UNTIL(polls_for(rt, h->id, 30 * WEFT_MS));
    h->release = 1;
    cr_assert_eq(weft_join(task, NULL), 0);
    SPIN_UNTIL(polls_nothing(rt));
}

WF_TEST_WORKERS(metrics, the_task_that_holds_a_worker_is_told_and_for_how_long)
{
    weft_runtime *rt = create(workers, 0);
    holder strand = {.id = 0}, future = {.future.ops = &holding}, stored = {.future.ops = &holding};
    weft_task_storage storage = {.release = NULL};
    weft_task *task = start(rt, hold_as_strand, &strand);
    weft_spawn_options options = {.runtime = rt};
    expect_polled(rt, &strand, task);
    cr_assert_eq(weft_spawn_future_with(&task, &options, &future.future), 0);
    expect_polled(rt, &future, task);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    cr_assert_eq(weft_spawn_future_in(&task, &storage, &stored.future), 0);
    cr_assert_eq(weft_runtime_leave(), 0);
    expect_polled(rt, &stored, task);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- from a wake to the poll -------------------------------------------------------------------------------------- */

enum { YIELDS = 100 };

static void *yield_often(void *arg)
{
    for (int i = 0; i < YIELDS; i++)
        weft_yield();
    return arg;
}

typedef struct eager {
    weft_future future;
    int left;
} eager;

static weft_poll wake_often(weft_future *self, weft_context *cx, void **result)
{
    eager *e = WEFT_CONTAINER_OF(self, eager, future);
    (void)result;
    if (e->left-- == 0)
        return WEFT_READY;
    weft_waker_wake_by_ref(weft_context_waker(cx));
    return WEFT_PENDING;
}

static const weft_future_ops eager_ops = {.poll = wake_often};

/* Joined by an ordinary thread, which is no task. Some wakes are polled by thieves. */
static void expect_wakes_counted(weft_runtime *rt, unsigned workers)
{
    enum { MANY = 12 };
    eager eagers[MANY];
    weft_task *tasks[3 * MANY];
    weft_spawn_options options = {.runtime = rt};
    for (unsigned i = 0; i < MANY; i++) {
        eagers[i] = (eager){{&eager_ops}, YIELDS};
        tasks[3 * i] = start(rt, yield_often, NULL);
        tasks[3 * i + 1] = start_pinned(rt, i % workers, yield_often, NULL);
        cr_assert_eq(weft_spawn_future_with(&tasks[3 * i + 2], &options, &eagers[i].future), 0);
    }
    for (int i = 0; i < 3 * MANY; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    weft_metrics_t m = metrics(rt);
    cr_assert_eq(m.wake_to_poll.count, 3 * MANY * YIELDS, "%llu", (unsigned long long)m.wake_to_poll.count);
    cr_assert_eq(m.polls, 3 * MANY * (YIELDS + 1));
}

WF_TEST_WORKERS(metrics, the_latencies_are_as_many_as_wakes_were_polled_and_no_births)
{
    weft_runtime *rt = create(workers, WEFT_MEASURE);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(weft_block_on(rt, echo, NULL, NULL), 0);
    cr_assert_eq(metrics(rt).wake_to_poll.count, 0, "a birth is no wake");
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    rt = create(workers, WEFT_MEASURE);
    expect_wakes_counted(rt, workers);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* Woken once; then it lends its worker to a child, again and again, and goes on without a wake. */
static void *yield_and_lend(void *arg)
{
    weft_yield();
    for (int i = 0; i < 10; i++)
        cr_assert_eq(weft_join(start(weft_runtime_current(), echo, NULL), NULL), 0);
    return arg;
}

Test(metrics, what_goes_on_after_it_was_lent_was_not_woken)
{
    weft_runtime *rt = create(1, WEFT_MEASURE);
    cr_assert_eq(weft_block_on(rt, yield_and_lend, NULL, NULL), 0);
    cr_assert_eq(metrics(rt).polls, 22, "it was lent each time");
    cr_assert_eq(metrics(rt).wake_to_poll.count, 1);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void count_end(void *arg, int worker, const weft_task *task, int status)
{
    (void)worker, (void)task, (void)status;
    ++*(atomic_int *)arg;
}

WF_TEST_WORKERS(metrics, hooks_and_measuring_get_on)
{
    atomic_int ends = 0;
    weft_options options = {.workers = workers, .flags = WEFT_MEASURE, .hooks = {.arg = &ends, .end = count_end}};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    expect_wakes_counted(rt, workers);
    cr_assert_eq(ends, 36);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

Test(metrics, without_measuring_there_are_no_latencies)
{
    weft_runtime *rt = create(2, 0);
    weft_latency none = {0};
    cr_assert_eq(weft_block_on(rt, yield_often, NULL, NULL), 0);
    weft_metrics_t m = metrics(rt);
    cr_assert_geq(m.polls, YIELDS);
    cr_assert_arr_eq(&m.wake_to_poll, &none, sizeof none);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* Of at least 2^25 ns, 34 ms: those begin here. */
enum { LONG = 19 };

static uint64_t long_ones(void)
{
    weft_metrics_t m = metrics(NULL);
    uint64_t n = 0;
    for (int i = LONG; i < WEFT_LATENCY_BUCKETS; i++)
        n += m.wake_to_poll.buckets[i];
    return n;
}

static void *receive(void *arg)
{
    int item;
    cr_assert_eq(weft_chan_recv(arg, &item), 0);
    return NULL;
}

/* Woken, and its worker, where it is pinned, has no time for it. */
static void *keep_it_waiting(void *arg)
{
    unsigned worker = *(unsigned *)arg;
    weft_chan *ch;
    int item = 1;
    cr_assert_eq(weft_chan_create(&ch, sizeof item, 1), 0);
    weft_task *task = start_pinned(weft_runtime_current(), worker, receive, ch);
    while (weft_task_state(task) != WEFT_TASK_IDLE)
        weft_yield();
    uint64_t before = long_ones(), sum = metrics(NULL).wake_to_poll.sum;
    cr_assert_eq(weft_chan_send(ch, &item), 0);
    for (int64_t until = weft_now() + 50 * WEFT_MS; weft_now() < until;)
        ;
    cr_assert_eq(long_ones(), before, "it was not polled yet");
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_geq(long_ones(), before + 1);
    cr_assert_geq(metrics(NULL).wake_to_poll.sum, sum + 45 * WEFT_MS);
    cr_assert_eq(weft_chan_free(ch), 0);
    return NULL;
}

WF_TEST_WORKERS(metrics, a_wake_whose_worker_is_busy_for_50_ms_is_in_its_bucket)
{
    weft_runtime *rt = create(workers, WEFT_MEASURE);
    unsigned last = workers - 1;
    weft_task *task = start_pinned(rt, last, keep_it_waiting, &last);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void note_argument(void *arg) { *(atomic_int *)arg = 1; }

/* A worker is woken for it, and finds the argument where others have the time of their wake. */
WF_TEST_WORKERS(metrics, a_blocking_job_that_is_aborted_before_it_began_keeps_its_argument)
{
    weft_options options = {.workers = workers, .flags = WEFT_MEASURE, .blocking_threads = 1};
    weft_spawn_options blocking = {.blocking = 1}, dropping = {.blocking = 1, .drop_arg = note_argument};
    latch gate = LATCH_INIT;
    atomic_int dropped = 0;
    weft_task *first, *second;
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    blocking.runtime = dropping.runtime = rt;
    cr_assert_eq(weft_spawn_with(&first, &blocking, latch_pass, &gate), 0);
    SPIN_UNTIL(gate.entered == 1);
    cr_assert_eq(weft_spawn_with(&second, &dropping, echo, &dropped), 0);
    weft_abort(second);
    cr_assert_eq(weft_join(second, NULL), WEFT_EABORTED);
    cr_assert_eq(dropped, 1);
    latch_open(&gate);
    cr_assert_eq(weft_join(first, NULL), 0);
    cr_assert_eq(metrics(rt).wake_to_poll.count, 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- what they are told who ask wrongly, or know another struct ----------------------------------------------------- */

Test(metrics, wrong_questions_are_refused_and_leave_zeros)
{
    weft_runtime *rt = create(2, 0);
    weft_metrics_t m, zero = {0};
    weft_worker_metrics_t one, zero_one = {0};
    memset(&m, 0xff, sizeof m);
    cr_assert_eq(weft_metrics(NULL, &m), WEFT_ENORUNTIME);
    cr_assert_arr_eq(&m, &zero, sizeof m);
    cr_assert_eq(weft_metrics(rt, NULL), WEFT_EINVAL);
    memset(&one, 0xff, sizeof one);
    cr_assert_eq(weft_worker_metrics(rt, 2, &one), WEFT_EINVAL);
    cr_assert_arr_eq(&one, &zero_one, sizeof one);
    cr_assert_eq(weft_worker_metrics(NULL, 0, &one), WEFT_ENORUNTIME);
    cr_assert_eq(weft_worker_metrics(rt, 0, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_metrics_print(rt, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_metrics_print(NULL, stdout), WEFT_ENORUNTIME);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

Test(metrics, who_knows_an_older_or_a_newer_struct_gets_what_he_knows)
{
    weft_runtime *rt = create(1, 0);
    struct {
        weft_metrics_t m;
        unsigned char more[64];
    } newer;
    struct {
        weft_worker_metrics_t m;
        unsigned char more[64];
    } newer_one;
    uint64_t older[3] = {1, 1, 1};
    cr_assert_eq(weft_block_on(rt, echo, NULL, NULL), 0);
    cr_assert_eq(weft_metrics_sized(rt, (weft_metrics_t *)older, 2 * sizeof *older), 0);
    cr_assert_eq(older[0], 1);
    cr_assert_eq(older[1], 1);
    cr_assert_eq(older[2], 1, "beyond what he has");
    older[0] = older[1] = older[2] = 7;
    cr_assert_eq(weft_worker_metrics_sized(rt, 0, (weft_worker_metrics_t *)older, 2 * sizeof *older), 0);
    cr_assert_eq(older[0], 0, "spawned from outside");
    cr_assert_eq(older[1], 1);
    cr_assert_eq(older[2], 7);
    memset(&newer, 0xff, sizeof newer);
    cr_assert_eq(weft_metrics_sized(rt, &newer.m, sizeof newer), 0);
    cr_assert_eq(newer.m.spawned, 1);
    memset(&newer_one, 0xff, sizeof newer_one);
    cr_assert_eq(weft_worker_metrics_sized(rt, 0, &newer_one.m, sizeof newer_one), 0);
    cr_assert_eq(newer_one.m.completed, 1);
    for (int i = 0; i < 64; i++) {
        cr_assert_eq(newer.more[i], 0);
        cr_assert_eq(newer_one.more[i], 0);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- the page for Prometheus ---------------------------------------------------------------------------------------- */

/* A page taken apart as its readers do, by the rules of the format: what is against them is a failed test. */
enum { MOST_LINES = 2048, MOST_NAMES = 128 };

typedef struct sample {
    char *name, *labels; /* labels: as they stand between the braces */
    double value;
} sample;

typedef struct page {
    char *text;
    size_t size, samples, names;
    sample sample[MOST_LINES];
    char *name[MOST_NAMES], *type[MOST_NAMES];
} page;

static const char *skip_name(const char *s)
{
    cr_assert((*s >= 'a' && *s <= 'z') || *s == '_', "a name begins with \"%.10s\"", s);
    while ((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '_')
        s++;
    return s;
}

/* name="value",… up to the brace. */
static const char *skip_labels(const char *s)
{
    for (;; s++) {
        s = skip_name(s);
        cr_assert(s[0] == '=' && s[1] == '"', "a label without a value: \"%.20s\"", s);
        for (s += 2; *s != '"'; s++) {
            cr_assert(*s, "a value that does not end");
            if (*s == '\\') {
                s++;
                cr_assert(*s == '\\' || *s == '"' || *s == 'n', "\"\\%c\" stands for nothing", *s);
            }
        }
        s++;
        if (*s == '}')
            return s;
        cr_assert_eq(*s, ',');
    }
}

static bool ends_in(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static void expect_name_fits_type(const char *name, const char *type)
{
    cr_assert_eq(strncmp(name, "weft_", 5), 0, "%s", name);
    cr_assert_eq(ends_in(name, "_total"), strcmp(type, "counter") == 0, "%s is a %s", name, type);
    cr_assert(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 || strcmp(type, "histogram") == 0, "%s", type);
}

/* "# HELP name text", and "# TYPE name type" in the line after it. Returns the line after that. */
static char *take_header(page *p, char *line)
{
    char *name = line + strlen("# HELP "), *type = strchr(line, '\n') + 1;
    size_t length = (size_t)(skip_name(name) - name);
    cr_assert_eq(strncmp(line, "# HELP ", 7), 0, "%.40s", line);
    cr_assert_eq(name[length], ' ');
    cr_assert_neq(name[length + 1], '\n', "nothing is said of it");
    cr_assert(strncmp(type, "# TYPE ", 7) == 0 && strncmp(type + 7, name, length + 1) == 0, "%.40s", type);
    char *end = strchr(type, '\n');
    *end = 0;
    name[length] = 0;
    p->name[p->names] = name;
    p->type[p->names] = type + 7 + length + 1;
    for (size_t i = 0; i < p->names; i++)
        cr_assert_str_neq(p->name[i], name, "explained twice");
    expect_name_fits_type(name, p->type[p->names]);
    cr_assert_lt(++p->names, MOST_NAMES);
    return end + 1;
}

/* It is of the name that was explained last. */
static void expect_explained(const page *p, const char *name)
{
    cr_assert_gt(p->names, 0);
    const char *last = p->name[p->names - 1], *rest = name + strlen(last);
    cr_assert_eq(strncmp(name, last, strlen(last)), 0, "%s is not explained here", name);
    if (strcmp(p->type[p->names - 1], "histogram") == 0)
        cr_assert(!strcmp(rest, "_bucket") || !strcmp(rest, "_sum") || !strcmp(rest, "_count"), "%s", name);
    else
        cr_assert_str_eq(rest, "");
}

static char *take_sample(page *p, char *line)
{
    sample *s = &p->sample[p->samples];
    char *brace = (char *)skip_name(line), *close = (char *)skip_labels(brace + 1), *number = close + 2, *end;
    cr_assert(*brace == '{' && close[1] == ' ', "%.40s", line);
    s->name = line;
    s->labels = brace + 1;
    *brace = *close = 0;
    cr_assert_eq(strspn(number, "0123456789."), strcspn(number, "\n"), "no number: %.40s", number);
    s->value = strtod(number, &end);
    cr_assert_eq(*end, '\n');
    for (size_t i = 0; i < p->samples; i++)
        cr_assert(strcmp(p->sample[i].name, s->name) != 0 || strcmp(p->sample[i].labels, s->labels) != 0,
                  "twice: %s{%s}", s->name, s->labels);
    expect_explained(p, s->name);
    cr_assert_lt(++p->samples, MOST_LINES);
    return end + 1;
}

static page *take_page(weft_runtime *rt)
{
    page *p = calloc(1, sizeof *p);
    FILE *to = open_memstream(&p->text, &p->size);
    cr_assert_not_null(to);
    cr_assert_eq(weft_metrics_print(rt, to), 0);
    cr_assert_eq(fclose(to), 0);
    cr_assert_eq(strlen(p->text), p->size);
    cr_assert_eq(p->text[p->size - 1], '\n');
    for (char *line = p->text; *line;)
        line = *line == '#' ? take_header(p, line) : take_sample(p, line);
    return p;
}

static void free_page(page *p)
{
    free(p->text);
    free(p);
}

/* Of the sample of that name in whose labels @label stands (NULL: any). */
static double on_page(const page *p, const char *name, const char *label)
{
    for (const sample *s = p->sample; s < p->sample + p->samples; s++)
        if (strcmp(s->name, name) == 0 && (!label || strstr(s->labels, label)))
            return s->value;
    cr_assert_fail("%s{%s} is not there", name, label ? label : "");
}

static size_t how_many(const page *p, const char *name)
{
    size_t n = 0;
    for (const sample *s = p->sample; s < p->sample + p->samples; s++)
        n += strcmp(s->name, name) == 0;
    return n;
}

WF_TEST_WORKERS(metrics, the_page_follows_the_rules_and_has_the_counters)
{
    weft_runtime *rt = create(workers, WEFT_MEASURE);
    weft_task *stays = start(rt, sleep_an_hour, NULL);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(weft_block_on(rt, end_in_all_ways, NULL, NULL), 0);
    SPIN_UNTIL(metrics(rt).workers_parked == workers && metrics(rt).timers == 1);
    weft_metrics_t m = metrics(rt);
    page *p = take_page(rt);
    cr_assert_eq(on_page(p, "weft_tasks_spawned_total", "runtime=\"weft\""), (double)m.spawned);
    cr_assert_eq(on_page(p, "weft_tasks_completed_total", NULL), (double)m.completed);
    cr_assert_eq(on_page(p, "weft_tasks_aborted_total", NULL), 5. * ABORTED);
    cr_assert_eq(on_page(p, "weft_tasks_panicked_total", NULL), 5. * PANICKED);
    cr_assert_eq(on_page(p, "weft_tasks_failed_total", NULL), 5. * FAILED);
    cr_assert_eq(on_page(p, "weft_tasks_alive", NULL), 1);
    cr_assert_eq(on_page(p, "weft_tasks_peak", NULL), (double)m.peak);
    cr_assert_eq(on_page(p, "weft_workers", NULL), workers);
    cr_assert_eq(on_page(p, "weft_timers_armed", NULL), 1);
    cr_assert_eq(on_page(p, "weft_stack_guard", "kind=\""), 1);
    cr_assert_eq(how_many(p, "weft_worker_polls_total"), workers);
    double polls = 0;
    for (unsigned i = 0; i < workers; i++) {
        char label[32];
        snprintf(label, sizeof label, "worker=\"%u\"", i);
        polls += on_page(p, "weft_worker_polls_total", label);
        cr_assert_gt(on_page(p, "weft_worker_idle_seconds_total", label), 0);
        cr_assert_lt(on_page(p, "weft_worker_idle_seconds_total", label), 1000, "it is in seconds");
    }
    cr_assert_eq(polls, (double)m.polls);
    free_page(p);
    cr_assert_eq(weft_task_close(stays), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

WF_TEST_WORKERS(metrics, the_histogram_is_cumulative_and_ends_with_the_count)
{
    weft_runtime *rt = create(workers, WEFT_MEASURE);
    cr_assert_eq(weft_block_on(rt, yield_often, NULL, NULL), 0);
    page *p = take_page(rt);
    double below = 0, so_far = 0;
    cr_assert_eq(how_many(p, "weft_wake_to_poll_seconds_bucket"), WEFT_LATENCY_BUCKETS);
    for (const sample *s = p->sample; s < p->sample + p->samples; s++) {
        if (strcmp(s->name, "weft_wake_to_poll_seconds_bucket") != 0)
            continue;
        const char *le = strstr(s->labels, "le=\"") + 4;
        double bound = strncmp(le, "+Inf", 4) == 0 ? HUGE_VAL : strtod(le, NULL);
        cr_assert_gt(bound, below);
        cr_assert_geq(s->value, so_far);
        below = bound;
        so_far = s->value;
    }
    cr_assert_eq(below, HUGE_VAL);
    cr_assert_eq(so_far, YIELDS);
    cr_assert_eq(on_page(p, "weft_wake_to_poll_seconds_count", NULL), YIELDS);
    cr_assert_gt(on_page(p, "weft_wake_to_poll_seconds_sum", NULL), 0);
    cr_assert_eq(on_page(p, "weft_wake_to_poll_seconds_bucket", "le=\"8.589934592\""), YIELDS);
    free_page(p);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

Test(metrics, without_measuring_the_page_has_no_histogram)
{
    weft_runtime *rt = create(1, 0);
    page *p = take_page(rt);
    cr_assert_eq(how_many(p, "weft_wake_to_poll_seconds_count"), 0);
    free_page(p);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* A name is cut in the midst of a character; others are no text at all. */
Test(metrics, the_name_of_a_runtime_is_quoted)
{
    static const char *const names[][2] = {
        {"a\"b\\c\nd", "runtime=\"a\\\"b\\\\c\\nd\""},
        {"caf\xc3\xa9", "runtime=\"caf\xc3\xa9\""},
        {"\xff\xc0\x80\xed\xa0\x80!", "runtime=\"?\?\?\?\?\?!\""},
        {"123456789012345678901234567890\xc3\xa9", "runtime=\"123456789012345678901234567890?\""},
        {"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"", "runtime=\"\\\"\\\"\\\""},
    };
    for (size_t i = 0; i < FIELDS(names); i++) {
        weft_options options = {.workers = 1, .name = names[i][0]};
        weft_runtime *rt;
        cr_assert_eq(weft_runtime_create(&rt, &options), 0);
        page *p = take_page(rt);
        on_page(p, "weft_tasks_alive", names[i][1]);
        free_page(p);
        cr_assert_eq(weft_runtime_destroy(rt), 0);
    }
}

static void *print_in_task(void *arg)
{
    page *p = take_page(NULL);
    cr_assert_eq(on_page(p, "weft_tasks_alive", NULL), 1);
    cr_assert_eq(on_page(p, "weft_worker_parked", "worker=\"0\""), 0);
    free_page(p);
    return arg;
}

/* Numbers do not ask it, where there is one that writes them otherwise. */
Test(metrics, a_task_prints_its_own_runtime_in_any_locale)
{
    static const char *const commas[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "fr_FR.utf8"};
    for (size_t i = 0; i < FIELDS(commas); i++)
        if (setlocale(LC_NUMERIC, commas[i]))
            break;
    char point = localeconv()->decimal_point[0];
    weft_options options = {.workers = 1};
    char *text;
    size_t size;
    setlocale(LC_NUMERIC, "C");
    cr_assert_eq(weft_run_with(&options, print_in_task, NULL, NULL), 0);
    if (point == '.')
        return;
    for (size_t i = 0; i < FIELDS(commas); i++)
        if (setlocale(LC_NUMERIC, commas[i]))
            break;
    weft_runtime *rt = create(1, WEFT_MEASURE);
    FILE *to = open_memstream(&text, &size);
    cr_assert_eq(weft_metrics_print(rt, to), 0);
    fclose(to);
    setlocale(LC_NUMERIC, "C");
    cr_assert_not_null(strstr(text, "le=\"0.000000128\""));
    free(text);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

Test(metrics, a_file_that_is_full_or_not_for_writing_is_told)
{
    weft_runtime *rt = create(8, WEFT_MEASURE);
    FILE *full = fopen("/dev/full", "w"), *closed = fopen("/dev/null", "r");
    cr_assert_eq(weft_metrics_print(rt, full), -ENOSPC);
    cr_assert_eq(weft_metrics_print(rt, closed), -EBADF);
    setvbuf(full, NULL, _IONBF, 0);
    cr_assert_eq(weft_metrics_print(rt, full), -ENOSPC);
    fclose(full);
    fclose(closed);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- a forked child ------------------------------------------------------------------------------------------------- */

static int read_in_child(weft_runtime *rt)
{
    weft_metrics_t m;
    weft_worker_metrics_t one;
    FILE *to = fopen("/dev/null", "w");
    alarm(60); /* it does not hang for ever */
    if (weft_metrics(rt, &m) != 0 || m.spawned != m.completed + m.active || m.active < 1)
        return 1;
    for (unsigned i = 0; i < m.workers; i++)
        if (weft_worker_metrics(rt, i, &one) != 0 || one.thread != 0 || one.polling != 0)
            return 2;
    return to && weft_metrics_print(rt, to) == 0 ? 0 : 3;
}

static void *churn(void *arg)
{
    atomic_int *stop = arg;
    while (!*stop)
        end_in_all_ways(NULL);
    return NULL;
}

WF_TEST_WORKERS(metrics, a_forked_child_reads_what_there_was_and_does_not_hang)
{
    if (WF_TEST_SANITIZED)
        cr_skip_test("threads in a forked child");
    atomic_int stop = 0;
    weft_runtime *rt = create(workers, WEFT_MEASURE);
    weft_task *task = start(rt, churn, &stop);
    for (int i = 0; i < 20; i++) {
        int status;
        pid_t pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0)
            _exit(read_in_child(rt));
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
    }
    stop = 1;
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}
