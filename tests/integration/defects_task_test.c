/* defects_task_test.c - what went wrong in the executors that weft learns from must not go wrong here: tasks, wakes, counters.
 *
 * One test, or a few, for each defect, named by its number in the list of defects. What a defect did is said at its test. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/process.h>
#include <support/task_support.h>
#include <support/test.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weft/diag.h>
#include <weft/future.h>
#include <weft/runtime.h>
#include <weft/task.h>
#include <weft/time.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void *wait_for_ever(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

/* A future that does as its test says, and counts. */
typedef struct probe {
    weft_future future;
    weft_poll (*act)(struct probe *p, const weft_waker *waker);
    weft_atomic_waker cell;
    weft_waker kept; /* a clone, for wakes that come when they want */
    atomic_int polls, drops, open, polling;
} probe;

static weft_poll probe_poll(weft_future *f, weft_context *cx, void **result)
{
    probe *p = WEFT_CONTAINER_OF(f, probe, future);
    cr_assert_eq(atomic_exchange(&p->polling, 1), 0, "polled by two at once");
    p->polls++;
    weft_poll verdict = p->act(p, weft_context_waker(cx));
    *result = p;
    p->polling = 0;
    return verdict;
}

static void probe_drop(weft_future *f)
{
    probe *p = WEFT_CONTAINER_OF(f, probe, future);
    weft_waker waker;
    cr_assert_eq(p->polling, 0, "dropped during its poll");
    if (weft_atomic_waker_take(&p->cell, &waker))
        weft_waker_drop(&waker);
    p->drops++;
}

static const weft_future_ops probe_ops = {probe_poll, probe_drop};

static void probe_init(probe *p, weft_poll (*act)(probe *p, const weft_waker *waker))
{
    memset(p, 0, sizeof *p);
    p->future.ops = &probe_ops;
    p->act = act;
    weft_atomic_waker_init(&p->cell);
}

static weft_poll act_gate(probe *p, const weft_waker *waker)
{
    cr_assert_eq(weft_atomic_waker_register(&p->cell, waker), 0);
    return p->open ? WEFT_READY : WEFT_PENDING;
}

static void open_gate(probe *p)
{
    p->open = 1;
    weft_atomic_waker_wake(&p->cell);
}

static void *pass_gate(void *arg)
{
    probe *p = arg;
    cr_assert_eq(weft_await(&p->future, NULL), 0);
    return arg;
}

/* ---- d01: a wake while the task runs was lost ---------------------------------------------------------------- */

static weft_poll act_wake_thrice(probe *p, const weft_waker *waker)
{
    if (p->polls == 1) {
        cr_assert_eq(weft_waker_clone(waker, &p->kept), 0);
        for (int i = 0; i < 3; i++)
            weft_waker_wake_by_ref(waker);
    }
    return p->polls < 3 ? WEFT_PENDING : WEFT_READY;
}

static void *wake_while_running_root(void *arg)
{
    (void)arg;
    for (int round = 0; round < 50; round++) {
        probe p;
        weft_task *task;
        probe_init(&p, act_wake_thrice);
        cr_assert_eq(weft_spawn_future(&task, &p.future), 0);
        EVENTUALLY(p.polls >= 2 && weft_task_state(task) == WEFT_TASK_IDLE);
        for (int i = 0; i < 20; i++)
            weft_yield();
        cr_assert_eq(p.polls, 2, "three wakes in one poll are one more poll");
        weft_waker_wake(&p.kept);
        cr_assert_eq(weft_join(task, NULL), 0);
        cr_assert_eq(p.polls, 3);
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d01_wake_while_running_runs_exactly_once_more) { run(workers, wake_while_running_root, NULL); }

static weft_poll act_wait_for_foreign_wake(probe *p, const weft_waker *waker)
{
    if (p->polls == 1) {
        cr_assert_eq(weft_waker_clone(waker, &p->kept), 0);
        atomic_store(&p->open, 1);
        SPIN_UNTIL(p->open == 2); /* the wake comes now, from another thread, while this runs */
        return WEFT_PENDING;
    }
    return WEFT_READY;
}

static void *wake_it_while_it_runs(void *arg)
{
    probe *p = arg;
    SPIN_UNTIL(p->open == 1);
    weft_waker_wake(&p->kept);
    p->open = 2;
    return NULL;
}

WF_TEST_WORKERS(defects, d01_wake_by_another_thread_while_running_is_not_lost)
{
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    for (size_t round = 0; round < wf_test_scale(300); round++) {
        probe p;
        pthread_t thread;
        weft_task *task;
        probe_init(&p, act_wait_for_foreign_wake);
        cr_assert_eq(pthread_create(&thread, NULL, wake_it_while_it_runs, &p), 0);
        cr_assert_eq(weft_spawn_future(&task, &p.future), 0);
        cr_assert_eq(weft_join(task, NULL), 0);
        pthread_join(thread, NULL);
        cr_assert_eq(p.polls, 2);
    }
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- d02: abort of a running task was ignored, or overwritten ------------------------------------------------- */

typedef struct runner {
    atomic_int running, aborted;
    int before, code;
} runner;

static void *run_until_aborted(void *arg)
{
    runner *r = arg;
    r->running = 1;
    SPIN_UNTIL(r->aborted);
    r->code = weft_yield();
    return arg;
}

WF_TEST_WORKERS(defects, d02_abort_while_running_takes_effect_at_the_next_await)
{
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (size_t round = 0; round < wf_test_scale(300); round++) {
        runner r = {0};
        weft_task *task;
        cr_assert_eq(weft_spawn_on(rt, &task, run_until_aborted, &r), 0);
        SPIN_UNTIL(r.running);
        cr_assert_eq(weft_task_state(task), WEFT_TASK_RUNNING);
        weft_abort(task);
        r.aborted = 1;
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        cr_assert_eq(r.code, WEFT_ECANCELED);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* Abort at a moment that is nobody's choice: about to run, running, about to wait. */
static void *yield_until_told(void *arg)
{
    atomic_int *told = arg;
    int64_t until = weft_now() + PATIENCE;
    while (weft_yield() == 0)
        cr_assert(weft_now() < until, "the abort was overwritten");
    ++*told;
    return NULL;
}

WF_TEST_WORKERS(defects, d02_abort_at_any_moment_is_not_overwritten)
{
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (size_t round = 0; round < wf_test_scale(3000); round++) {
        atomic_int told = 0;
        weft_task *task;
        cr_assert_eq(weft_spawn_on(rt, &task, yield_until_told, &told), 0);
        for (volatile size_t i = 0; i < round % 500; i++)
            ;
        weft_abort(task);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        cr_assert_leq(told, 1);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- d03: abort of an idle task enqueued nothing --------------------------------------------------------------- */

static weft_poll act_forget(probe *p, const weft_waker *waker)
{
    (void)p, (void)waker;
    return WEFT_PENDING; /* and nobody has the waker */
}

static void *join_and_say(void *task) { return (void *)(intptr_t)weft_join(task, NULL); }

static void *abort_idle_root(void *arg)
{
    (void)arg;
    for (int round = 0; round < 50; round++) {
        probe p;
        weft_task *task, *joiner;
        void *code;
        probe_init(&p, act_forget);
        cr_assert_eq(weft_spawn_future(&task, &p.future), 0);
        cr_assert_eq(weft_spawn(&joiner, join_and_say, task), 0);
        EVENTUALLY(p.polls == 1 && weft_task_state(task) == WEFT_TASK_IDLE && weft_task_state(joiner) == WEFT_TASK_IDLE);
        weft_abort(task);
        cr_assert_eq(weft_join(joiner, &code), 0);
        cr_assert_eq((intptr_t)code, WEFT_EABORTED);
        cr_assert_eq(p.drops, 1);
        cr_assert_eq(p.polls, 1);
        cr_assert_eq(weft_spawn(&task, wait_for_ever, NULL), 0);
        cr_assert_eq(weft_spawn(&joiner, join_and_say, task), 0);
        EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE && weft_task_state(joiner) == WEFT_TASK_IDLE);
        weft_abort(task);
        cr_assert_eq(weft_join(joiner, &code), 0);
        cr_assert_eq((intptr_t)code, WEFT_EABORTED);
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d03_abort_of_an_idle_task_drops_its_body_and_wakes_its_joiner)
{
    run(workers, abort_idle_root, NULL);
}

/* ---- d04: a finished handle asked again said "cancelled" ------------------------------------------------------- */

static void *ask_again_root(void *arg)
{
    weft_task *task;
    void *result;
    cr_assert_eq(weft_spawn(&task, echo, arg), 0);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(weft_wait(task), 0);
        cr_assert_eq(weft_is_finished(task), 1);
        cr_assert_eq(weft_task_state(task), WEFT_TASK_COMPLETED);
        cr_assert_str_eq(weft_task_error(task), "");
        weft_abort(task);
    }
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq(result, arg, "the output is still there, once");
    return NULL;
}

WF_TEST_WORKERS(defects, d04_a_finished_handle_says_the_same_however_often_it_is_asked)
{
    run(workers, ask_again_root, &workers);
}

/* ---- d05: one panic killed the worker, or everyone ------------------------------------------------------------- */

static void *panic_at_once(void *arg)
{
    weft_panic("number %d", *(int *)arg);
    return NULL;
}

static void *panic_after_waiting(void *arg)
{
    weft_yield();
    weft_sleep(WEFT_MS / 10);
    weft_panic("number %d", *(int *)arg);
    return NULL;
}

static weft_poll act_panic(probe *p, const weft_waker *waker)
{
    (void)waker;
    p->polling = 0;
    weft_panic("stackless");
    return WEFT_READY;
}

typedef struct rendezvous {
    atomic_int here, all;
} rendezvous;

/* Holds its worker: only as many as there are living workers can be in here. */
static void *meet(void *arg)
{
    rendezvous *r = arg;
    r->here++;
    SPIN_UNTIL(r->here >= r->all);
    return NULL;
}

static void all_workers_live(void)
{
    weft_task *tasks[8];
    rendezvous r = {.all = (int)weft_runtime_workers(NULL)};
    for (int i = 0; i < r.all; i++)
        cr_assert_eq(weft_spawn(&tasks[i], meet, &r), 0);
    for (int i = 0; i < r.all; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
}

static void *panics_root(void *arg)
{
    enum { MANY = 60 };
    weft_task *tasks[MANY], *bystander;
    int numbers[MANY];
    probe p[MANY];
    void *result;
    cr_assert_eq(weft_spawn(&bystander, wait_for_ever, arg), 0);
    for (int i = 0; i < MANY; i++) {
        numbers[i] = i;
        probe_init(&p[i], act_panic);
        if (i % 3 == 2)
            cr_assert_eq(weft_spawn_future(&tasks[i], &p[i].future), 0);
        else
            cr_assert_eq(weft_spawn(&tasks[i], i % 3 ? panic_at_once : panic_after_waiting, &numbers[i]), 0);
    }
    for (int i = 0; i < MANY; i++) {
        char text[30];
        snprintf(text, sizeof text, i % 3 == 2 ? "stackless" : "number %d", i);
        cr_assert_eq(weft_wait(tasks[i]), 0);
        cr_assert_str_eq(weft_task_error(tasks[i]), text);
        cr_assert_eq(weft_join(tasks[i], &result), WEFT_EPANIC);
        cr_assert_eq(p[i].drops, i % 3 == 2);
    }
    cr_assert_neq(weft_task_state(bystander), WEFT_TASK_COMPLETED);
    cr_assert_eq(weft_task_close(bystander), 0);
    all_workers_live();
    return NULL;
}

WF_TEST_WORKERS(defects, d05_a_panic_ends_its_task_and_nothing_else) { run(workers, panics_root, &workers); }

/* ---- d06: a task was moved or freed while it was polled, because it spawned ------------------------------------- */

static weft_poll act_spawn_many(probe *p, const weft_waker *waker)
{
    uint64_t id = weft_self_id();
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(weft_spawn(NULL, echo, NULL), 0);
    cr_assert_eq(weft_self_id(), id);
    if (p->polls < 3) {
        weft_waker_wake_by_ref(waker);
        return WEFT_PENDING;
    }
    return WEFT_READY;
}

static void *spawn_many(void *arg)
{
    unsigned char mine[512];
    uint64_t id = weft_self_id();
    memset(mine, 0x5a, sizeof mine);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(weft_spawn(NULL, echo, NULL), 0);
    cr_assert_eq(weft_self_id(), id);
    weft_yield();
    for (size_t i = 0; i < sizeof mine; i++)
        cr_assert_eq(mine[i], 0x5a);
    cr_assert_eq(weft_self_id(), id);
    return arg;
}

static void *spawner_root(void *arg)
{
    enum { MANY = 8 };
    weft_task *tasks[MANY];
    probe p[MANY];
    void *result;
    (void)arg;
    for (int i = 0; i < MANY; i++) {
        probe_init(&p[i], act_spawn_many);
        if (i % 2)
            cr_assert_eq(weft_spawn(&tasks[i], spawn_many, &p[i]), 0);
        else
            cr_assert_eq(weft_spawn_future(&tasks[i], &p[i].future), 0);
    }
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(weft_join(tasks[i], &result), 0);
        cr_assert_eq(result, &p[i]);
        cr_assert_eq(p[i].drops, i % 2 == 0);
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d06_a_task_that_spawns_thousands_stays_where_it_is) { run(workers, spawner_root, NULL); }

/* ---- d10: a task that had migrated cancelled somebody else's timer ---------------------------------------------- */

static void *sleep_often(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < 30; i++) {
        seed = seed * 1103515245 + 12345;
        int64_t ns = WEFT_MS / 4 + seed / 65536 % 3000 * WEFT_US, began = weft_now();
        cr_assert_eq(weft_sleep(ns), 0);
        cr_assert_geq(weft_now() - began, ns, "woken by somebody else's timer");
        for (unsigned j = 0; j < seed % 3; j++)
            cr_assert_eq(weft_yield(), 0); /* and elsewhere, perhaps */
    }
    return NULL;
}

static void *sleep_then_again(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        if (weft_sleep(WEFT_MS) < 0)
            break;
        weft_yield();
    }
    weft_sleep(WEFT_FOREVER);
    return NULL;
}

static void *migrating_sleepers_root(void *arg)
{
    enum { MANY = 100 };
    weft_task *sleepers[MANY], *aborted[MANY];
    (void)arg;
    for (uintptr_t i = 0; i < MANY; i++) {
        cr_assert_eq(weft_spawn(&sleepers[i], sleep_often, (void *)(i + 1)), 0);
        cr_assert_eq(weft_spawn(&aborted[i], sleep_then_again, NULL), 0);
    }
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(weft_sleep(WEFT_MS / 2), 0);
        cr_assert_eq(weft_task_close(aborted[i]), 0);
    }
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_join(sleepers[i], NULL), 0);
    return NULL;
}

WF_TEST_WORKERS(defects, d10_sleeping_tasks_that_migrate_leave_each_others_timers_alone)
{
    run(workers, migrating_sleepers_root, NULL);
}

/* ---- d11: the runtime ended early while a task was being polled -------------------------------------------------- */

typedef struct straggler {
    atomic_int running, root_ended, done;
} straggler;

static void *run_past_the_root(void *arg)
{
    straggler *s = arg;
    s->running = 1;
    int64_t until = weft_now() + 20 * WEFT_MS; /* long enough for the root to end and the shutdown to begin meanwhile */
    while (weft_now() < until)
        ;
    s->done++;
    return NULL;
}

static void *leave_stragglers_root(void *arg)
{
    straggler *s = arg;
    cr_assert_eq(weft_spawn(NULL, run_past_the_root, s), 0);
    EVENTUALLY(s->running);
    s->root_ended = 1;
    return NULL;
}

WF_TEST_WORKERS(defects, d11_a_task_that_runs_while_the_root_ends_is_waited_for)
{
    straggler s = {0};
    run(workers, leave_stragglers_root, &s);
    cr_assert_eq(s.done, 1);
}

static void *wake_polled_root(void *arg)
{
    probe p;
    weft_task *task;
    (void)arg;
    probe_init(&p, act_wake_thrice);
    cr_assert_eq(weft_spawn_future(&task, &p.future), 0);
    EVENTUALLY(p.polls >= 2);
    weft_waker_wake(&p.kept);
    return (void *)(intptr_t)weft_join(task, NULL);
}

WF_TEST_WORKERS(defects, d11_a_wake_for_the_task_that_is_being_polled_keeps_the_runtime_going)
{
    weft_options options = {.workers = workers};
    for (int i = 0; i < 20; i++) {
        void *code;
        cr_assert_eq(weft_run_with(&options, wake_polled_root, NULL, &code), 0);
        cr_assert_eq((intptr_t)code, 0);
    }
}

/* ---- d13: stealing that never stole ------------------------------------------------------------------------------ */

static void *steal_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++)
        all_workers_live(); /* all spawned by one worker, and each needs a worker of its own */
    return NULL;
}

WF_TEST_WORKERS(defects, d13_what_one_worker_spawns_the_others_take) { run(workers, steal_root, NULL); }

static void *hold_worker(void *arg)
{
    rendezvous *r = arg;
    weft_task *task;
    rendezvous mine = {.all = 1};
    cr_assert_eq(weft_spawn(&task, meet, &mine), 0);
    SPIN_UNTIL(mine.here == 1); /* no await: somebody else must come and take it */
    r->here++;
    return (void *)(intptr_t)weft_join(task, NULL);
}

static void *steal_from_stuck_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        rendezvous r = {0};
        weft_task *task;
        cr_assert_eq(weft_spawn(&task, hold_worker, &r), 0);
        cr_assert_eq(weft_join(task, NULL), 0);
        cr_assert_eq(r.here, 1);
    }
    return NULL;
}

Test(defects, d13_the_only_task_of_a_worker_that_is_stuck_is_taken) { run(2, steal_from_stuck_root, NULL); }

/* ---- d17: leftovers went behind those that woke themselves -------------------------------------------------------- */

enum { SELF_WAKERS = 100, TURNS = 100 };

static probe wakers[SELF_WAKERS];
static atomic_int had_their_turns;
static int64_t d17_until;

/* Goes on waking itself until every one of the hundred has had its turns. */
static weft_poll act_wake_until_all_ran(probe *p, const weft_waker *waker)
{
    if (p->polls == TURNS)
        had_their_turns++;
    cr_assert(weft_now() < d17_until, "some of them never run: %d of %d had their turns", had_their_turns, SELF_WAKERS);
    if (had_their_turns == SELF_WAKERS)
        return WEFT_READY;
    weft_waker_wake_by_ref(waker);
    return WEFT_PENDING;
}

static void *self_wakers_root(void *arg)
{
    weft_task *tasks[SELF_WAKERS];
    (void)arg;
    had_their_turns = 0;
    d17_until = weft_now() + PATIENCE;
    for (int i = 0; i < SELF_WAKERS; i++) {
        probe_init(&wakers[i], act_wake_until_all_ran);
        cr_assert_eq(weft_spawn_future(&tasks[i], &wakers[i].future), 0);
    }
    cr_assert_eq(weft_sleep(WEFT_MS), 0, "timers have their turn too");
    for (int i = 0; i < SELF_WAKERS; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    return NULL;
}

WF_TEST_WORKERS(defects, d17_a_hundred_that_wake_themselves_all_run) { run(workers, self_wakers_root, NULL); }

/* ---- d18: teardown freed a deferred task twice --------------------------------------------------------------------- */

enum { LEFT = 120 };

typedef struct left_behind {
    probe probes[LEFT];
} left_behind;

static weft_poll act_wake_always(probe *p, const weft_waker *waker)
{
    (void)p;
    weft_waker_wake_by_ref(waker);
    return WEFT_PENDING;
}

static weft_poll act_keep(probe *p, const weft_waker *waker)
{
    if (p->polls == 1) {
        cr_assert_eq(weft_waker_clone(waker, &p->kept), 0);
        p->open = 1; /* from here on others may use it */
    }
    return WEFT_PENDING;
}

/* Ends with tasks in every state: never polled, self-woken, woken from here, aborted, idle, with and without handles. */
static void *leave_all_sorts_root(void *arg)
{
    left_behind *l = arg;
    weft_task *task;
    for (int i = 0; i < LEFT; i++) {
        weft_spawn_options options = {.pinned = i % 5 == 4};
        probe_init(&l->probes[i], i % 3 == 0 ? act_wake_always : i % 3 == 1 ? act_keep : act_gate);
        cr_assert_eq(weft_spawn_future_with(&task, &options, &l->probes[i].future), 0);
        if (i == LEFT / 2)
            cr_assert_eq(weft_sleep(2 * WEFT_MS), 0);
        if (i % 7 == 0)
            weft_abort(task);
        weft_detach(task);
    }
    for (int i = 0; i < LEFT; i++)
        if (i % 3 == 1 && i < LEFT / 2 && l->probes[i].open && i % 4)
            weft_waker_wake_by_ref(&l->probes[i].kept);
    return NULL;
}

WF_TEST_WORKERS(defects, d18_what_is_queued_at_the_end_is_dropped_once)
{
    static left_behind l;
    for (int round = 0; round < 20; round++) {
        run(workers, leave_all_sorts_root, &l);
        for (int i = 0; i < LEFT; i++) {
            cr_assert_eq(l.probes[i].drops, 1, "task %d", i);
            weft_waker_wake(&l.probes[i].kept); /* of a task, and a runtime, that are gone: nothing */
        }
    }
}

/* ---- d19: a task that woke itself and completed was freed while queued --------------------------------------------- */

static weft_poll act_wake_and_end(probe *p, const weft_waker *waker)
{
    cr_assert_eq(weft_waker_clone(waker, &p->kept), 0);
    weft_waker_wake_by_ref(waker);
    weft_waker_wake_by_ref(&p->kept);
    return WEFT_READY;
}

static void *wake_and_end_root(void *arg)
{
    enum { MANY = 50 };
    static probe p[MANY], next[MANY];
    weft_task *tasks[MANY], *reborn[MANY];
    (void)arg;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < MANY; i++) {
            probe_init(&p[i], act_wake_and_end);
            cr_assert_eq(weft_spawn_future(round % 2 ? &tasks[i] : NULL, &p[i].future), 0);
        }
        for (int i = 0; i < MANY; i++) {
            if (round % 2)
                cr_assert_eq(weft_join(tasks[i], NULL), 0);
            EVENTUALLY(p[i].drops == 1);
            cr_assert_eq(p[i].polls, 1);
            probe_init(&next[i], act_gate);
            cr_assert_eq(weft_spawn_future(&reborn[i], &next[i].future), 0);
        }
        for (int i = 0; i < MANY; i++) {
            EVENTUALLY(next[i].polls == 1 && weft_task_state(reborn[i]) == WEFT_TASK_IDLE);
            weft_waker_wake_by_ref(&p[i].kept); /* long over: a no-op, also for whoever has its place now */
            weft_waker_wake(&p[i].kept);
        }
        for (int i = 0; i < MANY; i++) {
            cr_assert_eq(next[i].polls, 1, "a dead task's waker polled a living one");
            open_gate(&next[i]);
            cr_assert_eq(weft_join(reborn[i], NULL), 0);
        }
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d19_wake_then_complete_ends_once_and_its_wakers_wake_nobody)
{
    run(workers, wake_and_end_root, NULL);
}

/* ---- d20: an id that was a pointer: a second cancel hit the next owner of the slot ---------------------------------- */

static void *cancel_twice_root(void *arg)
{
    (void)arg;
    for (int round = 0; round < 200; round++) {
        weft_aborter *aborter;
        weft_task *task, *next;
        probe p;
        cr_assert_eq(weft_spawn(&task, wait_for_ever, NULL), 0);
        uint64_t id = weft_task_id(task);
        cr_assert_eq(weft_aborter_create(&aborter, task), 0);
        weft_aborter_abort(aborter);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        probe_init(&p, act_gate);
        cr_assert_eq(weft_spawn(&next, pass_gate, &p), 0);
        cr_assert_neq(weft_task_id(next), id);
        weft_aborter_abort(aborter);
        weft_aborter_abort(aborter);
        open_gate(&p);
        cr_assert_eq(weft_join(next, NULL), 0, "cancelled by somebody else's aborter");
        weft_aborter_free(aborter);
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d20_cancelling_twice_does_not_reach_the_next_owner_of_the_place)
{
    run(workers, cancel_twice_root, NULL);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

typedef struct ids {
    uint64_t *all;
    atomic_size_t count;
    size_t limit;
} ids;

static void note_id(ids *list, uint64_t id)
{
    size_t at = atomic_fetch_add(&list->count, 1);
    cr_assert_lt(at, list->limit);
    list->all[at] = id;
}

static void *spawn_and_note(void *arg)
{
    for (int i = 0; i < 300; i++) {
        weft_task *task;
        cr_assert_eq(weft_spawn(&task, echo, NULL), 0);
        note_id(arg, weft_task_id(task));
        if (i % 3)
            weft_detach(task);
        else
            cr_assert_eq(weft_join(task, NULL), 0);
    }
    note_id(arg, weft_self_id());
    return NULL;
}

static void *ids_root(void *arg)
{
    weft_task *tasks[10];
    for (int i = 0; i < 10; i++)
        cr_assert_eq(weft_spawn(&tasks[i], spawn_and_note, arg), 0);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    return NULL;
}

WF_TEST_WORKERS(defects, d20_ids_are_never_used_again)
{
    ids list = {.limit = 3 * 10 * 301};
    list.all = calloc(list.limit, sizeof *list.all);
    for (int i = 0; i < 3; i++)
        run(workers, ids_root, &list);
    cr_assert_eq(list.count, list.limit);
    qsort(list.all, list.limit, sizeof *list.all, compare_ids);
    cr_assert_gt(list.all[0], 0);
    for (size_t i = 1; i < list.limit; i++)
        cr_assert_neq(list.all[i - 1], list.all[i]);
    free(list.all);
}

/* ---- d21: draining spun at full CPU while tasks waited --------------------------------------------------------------- */

static int64_t cpu_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * WEFT_SEC + t.tv_nsec;
}

static void *sleep_long(void *arg)
{
    (void)arg;
    while (weft_sleep(10 * WEFT_SEC) == 0)
        ;
    return NULL;
}

static void *drain_slowly(void *arg)
{
    (void)arg;
    weft_sleep(WEFT_FOREVER);
    weft_shield_enter();
    weft_sleep(400 * WEFT_MS);
    weft_shield_leave();
    return NULL;
}

WF_TEST_WORKERS(defects, d21_waiting_costs_no_cpu_neither_does_draining)
{
    enum { MANY = 100 };
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    weft_task *tasks[MANY];
    probe p[MANY];
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (int i = 0; i < MANY; i++) {
        probe_init(&p[i], act_gate);
        cr_assert_eq(weft_spawn_on(rt, &tasks[i],
                                   i % 4 == 0   ? pass_gate
                                   : i % 4 == 1 ? drain_slowly
                                                : sleep_long,
                                   &p[i]),
                     0);
    }
    for (int i = 0; i < MANY; i++)
        SPIN_UNTIL(weft_task_state(tasks[i]) == WEFT_TASK_IDLE);
    int64_t began = weft_now(), cpu = cpu_time();
    while (weft_now() - began < 400 * WEFT_MS)
        nanosleep(&(struct timespec){.tv_nsec = 50 * WEFT_MS}, NULL);
    cr_assert_lt(cpu_time() - cpu, (weft_now() - began) / 4, "they only wait");
    for (int i = 0; i < MANY; i += 4)
        open_gate(&p[i]);
    for (int i = 0; i < MANY; i += 4)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    began = weft_now(), cpu = cpu_time();
    cr_assert_eq(weft_runtime_shutdown(rt, PATIENCE), 0);
    cr_assert_geq(weft_now() - began, 300 * WEFT_MS);
    cr_assert_lt(cpu_time() - cpu, (weft_now() - began) / 4, "shutdown only waits");
    for (int i = 0; i < MANY; i++)
        if (i % 4)
            weft_detach(tasks[i]);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- d22: a wake outside a poll cycle queued nothing ------------------------------------------------------------------ */

static void wake_kept(void *arg) { weft_waker_wake_by_ref(&((probe *)arg)->kept); }

static void *wake_kept_thread(void *arg)
{
    wake_kept(arg);
    return NULL;
}

static weft_poll act_keep_and_count(probe *p, const weft_waker *waker)
{
    if (p->polls == 1)
        cr_assert_eq(weft_waker_clone(waker, &p->kept), 0);
    return p->open ? WEFT_READY : WEFT_PENDING;
}

/* Wait for another poll and for the end of it. */
static void polled_again(probe *p, weft_task *task, int before)
{
    EVENTUALLY(p->polls > before);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
}

static void *wake_outside_root(void *arg)
{
    weft_spawn_options options = {.drop_result = wake_kept};
    (void)arg;
    for (int round = 0; round < 20; round++) {
        probe p;
        weft_task *task, *other;
        pthread_t thread;
        probe_init(&p, act_keep_and_count);
        cr_assert_eq(weft_spawn_future(&task, &p.future), 0);
        polled_again(&p, task, 0);
        int before = p.polls; /* by another task */
        cr_assert_eq(weft_spawn(&other, wake_kept_thread, &p), 0);
        polled_again(&p, task, before);
        cr_assert_eq(weft_join(other, NULL), 0);
        before = p.polls; /* by a drop on a worker, with no task current */
        cr_assert_eq(weft_spawn_with(NULL, &options, echo, &p), 0);
        polled_again(&p, task, before);
        before = p.polls; /* by a thread that weft does not know */
        cr_assert_eq(pthread_create(&thread, NULL, wake_kept_thread, &p), 0);
        polled_again(&p, task, before);
        pthread_join(thread, NULL);
        before = p.polls; /* twice in a row, and again at once */
        wake_kept(&p);
        wake_kept(&p);
        polled_again(&p, task, before);
        p.open = 1;
        wake_kept(&p);
        cr_assert_eq(weft_join(task, NULL), 0);
        weft_waker_drop(&p.kept);
        cr_assert_eq(p.drops, 1);
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d22_a_wake_from_anywhere_gets_the_task_polled) { run(workers, wake_outside_root, NULL); }

WF_TEST_WORKERS(defects, d22_a_wake_when_nobody_runs_the_runtime_is_kept)
{
    weft_options options = {.flags = WEFT_CURRENT_THREAD, .workers = workers};
    weft_runtime *rt;
    weft_task *task;
    probe p;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (int i = 0; i < 20; i++) {
        probe_init(&p, act_gate);
        cr_assert_eq(weft_spawn_on(rt, &task, pass_gate, &p), 0);
        while (p.polls == 0)
            cr_assert_eq(weft_block_on(rt, echo, NULL, NULL), 0);
        open_gate(&p); /* between two turns of the only worker */
        cr_assert_eq(weft_block_on(rt, join_and_say, task, NULL), 0);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- d23: a wake was lost between the last look and the sleep ---------------------------------------------------------- */

typedef struct pingpong {
    weft_runtime *rt;
    weft_atomic_waker waker;
    atomic_size_t ping, pong;
    size_t rounds;
    unsigned pause;
} pingpong;

typedef struct ball {
    weft_future future;
    pingpong *game;
    size_t awaited;
} ball;

static weft_poll ball_poll(weft_future *f, weft_context *cx, void **result)
{
    ball *b = WEFT_CONTAINER_OF(f, ball, future);
    (void)result;
    if (weft_atomic_waker_register(&b->game->waker, weft_context_waker(cx)) < 0)
        return WEFT_ENOMEM;
    return b->game->ping >= b->awaited ? WEFT_READY : WEFT_PENDING;
}

static const weft_future_ops ball_ops = {.poll = ball_poll};

static void *return_balls(void *arg)
{
    pingpong *game = arg;
    for (size_t i = 1; i <= game->rounds; i++) {
        ball b = {{&ball_ops}, game, i};
        cr_assert_eq(weft_await(&b.future, NULL), 0);
        game->pong = i;
    }
    weft_waker waker;
    if (weft_atomic_waker_take(&game->waker, &waker))
        weft_waker_drop(&waker);
    return NULL;
}

static void *serve_balls(void *arg)
{
    pingpong *game = arg;
    for (size_t i = 1; i <= game->rounds; i++) {
        for (volatile unsigned j = 0; j < i * 7 % 64 * game->pause; j++)
            ;
        game->ping = i;
        weft_atomic_waker_wake(&game->waker);
        SPIN_UNTIL(game->pong == i);
    }
    return NULL;
}

/* The worker is about to sleep, asleep, or about to wake when the next ball comes. */
WF_TEST_WORKERS(defects, d23_no_wake_is_lost_between_a_foreign_thread_and_a_parking_worker)
{
    weft_options options = {.workers = workers};
    pingpong game = {.rounds = wf_test_scale(workers == 1 ? 20000 : 5000), .pause = 50};
    weft_task *task;
    cr_assert_eq(weft_runtime_create(&game.rt, &options), 0);
    cr_assert_eq(weft_spawn_on(game.rt, &task, return_balls, &game), 0);
    serve_balls(&game);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(game.rt), 0);
}

/* Two threads push at the same moment, and neither goes on before both have been answered: no third push repairs what these
 * two did. One looked for sleepers while the other relied on its looking. */
typedef struct pushers {
    weft_runtime *rt;
    atomic_size_t arrived;
    size_t rounds, threads;
} pushers;

static void *push_together(void *arg)
{
    pushers *p = arg;
    for (size_t i = 1; i <= p->rounds; i++) {
        weft_task *task;
        cr_assert_eq(weft_spawn_on(p->rt, &task, echo, NULL), 0);
        SPIN_UNTIL(weft_is_finished(task));
        cr_assert_eq(weft_join(task, NULL), 0);
        p->arrived++;
        SPIN_UNTIL(p->arrived >= i * p->threads);
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d23_two_threads_that_push_at_once_are_both_answered)
{
    enum { THREADS = 3 };
    weft_options options = {.workers = workers};
    pushers p = {.rounds = wf_test_scale(workers == 1 ? 20000 : 3000), .threads = THREADS};
    cr_assert_eq(weft_runtime_create(&p.rt, &options), 0);
    in_threads(THREADS, push_together, &p);
    cr_assert_eq(weft_runtime_destroy(p.rt), 0);
}

/* ---- d28: an aborted or panicked strand left "active" above zero ------------------------------------------------------- */

static void *abort_half(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) {
        weft_task *task;
        probe p;
        probe_init(&p, i % 3 ? act_forget : act_panic);
        if (i % 2)
            cr_assert_eq(weft_spawn(&task, i % 4 == 1 ? panic_at_once : wait_for_ever, &i), 0);
        else
            cr_assert_eq(weft_spawn_future(&task, &p.future), 0);
        if (i % 5)
            weft_yield();
        cr_assert_eq(weft_task_close(task), 0);
    }
    return NULL;
}

static void *counters_root(void *arg)
{
    weft_metrics_t m;
    weft_task *tasks[8];
    (void)arg;
    for (int i = 0; i < 8; i++)
        cr_assert_eq(weft_spawn(&tasks[i], abort_half, NULL), 0);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    cr_assert_eq(weft_metrics(NULL, &m), 0);
    cr_assert_eq(m.active, 1, "only the root is left");
    cr_assert_eq(m.spawned, 1 + 8 + 8 * 100);
    cr_assert_eq(m.completed, m.spawned - 1);
    cr_assert_geq(m.peak, weft_runtime_workers(NULL) == 1 ? 3 : 1, "exact with one worker");
    return NULL;
}

WF_TEST_WORKERS(defects, d28_aborted_and_panicked_tasks_are_counted_out) { run(workers, counters_root, NULL); }

/* ---- d29: observers saw lost strands ------------------------------------------------------------------------------------ */

enum { RESIDENTS = 20 };

typedef struct watching {
    weft_runtime *rt;
    atomic_int stop, readings;
} watching;

static void *watch_counters(void *arg)
{
    watching *w = arg;
    weft_metrics_t last = {0}, m;
    while (!w->stop) {
        cr_assert_eq(weft_metrics(w->rt, &m), 0);
        cr_assert_eq(m.spawned, m.completed + m.active);
        cr_assert_geq(m.active, RESIDENTS, "residents are missing");
        cr_assert_leq(m.active, m.spawned, "completed before spawned");
        cr_assert_geq(m.spawned, last.spawned);
        cr_assert_geq(m.completed, last.completed);
        last = m;
        w->readings++;
    }
    return NULL;
}

static void *churn(void *arg)
{
    for (int i = 0; i < 10; i++)
        abort_half(arg);
    return NULL;
}

WF_TEST_WORKERS(defects, d29_every_observer_sees_spawned_equal_completed_plus_active)
{
    weft_options options = {.workers = workers};
    watching w = {0};
    weft_task *residents[RESIDENTS], *task;
    weft_metrics_t m;
    pthread_t thread;
    cr_assert_eq(weft_runtime_create(&w.rt, &options), 0);
    for (int i = 0; i < RESIDENTS; i++)
        cr_assert_eq(weft_spawn_on(w.rt, &residents[i], wait_for_ever, NULL), 0);
    cr_assert_eq(pthread_create(&thread, NULL, watch_counters, &w), 0);
    SPIN_UNTIL(w.readings > 0);
    for (size_t round = 0; round < wf_test_scale(20); round++) {
        cr_assert_eq(weft_spawn_on(w.rt, &task, churn, NULL), 0);
        cr_assert_eq(weft_block_on(w.rt, churn, NULL, NULL), 0);
        cr_assert_eq(weft_join(task, NULL), 0);
    }
    w.stop = 1;
    pthread_join(thread, NULL);
    cr_assert_eq(weft_metrics(w.rt, &m), 0);
    cr_assert_eq(m.active, RESIDENTS);
    for (int i = 0; i < RESIDENTS; i++)
        cr_assert_eq(weft_task_close(residents[i]), 0);
    cr_assert_eq(weft_metrics(w.rt, &m), 0);
    cr_assert_eq(m.active, 0);
    cr_assert_eq(weft_runtime_destroy(w.rt), 0);
}

/* ---- d31: a signal handler called exit() -------------------------------------------------------------------------------- */

/* But for those that say in their headers so: SIGURG is how the watchdog, which debug builds have by default, sees where a task is. */
static void *compare_dispositions(void *arg)
{
    struct sigaction *before = arg;
    for (int sig = 1; sig < 32; sig++) {
        struct sigaction now;
        if (sig == SIGSEGV || sig == SIGBUS || sig == SIGURG || sigaction(sig, NULL, &now) < 0)
            continue;
        cr_assert(now.sa_handler == before[sig].sa_handler, "the disposition of signal %d was changed", sig);
    }
    weft_yield();
    return NULL;
}

static atomic_int handled, handled_in_task, exited;
static void on_usr1(int sig)
{
    (void)sig;
    handled++;
    handled_in_task += weft_self_id() != 0;
}

static void on_exit_note(void) { exited = 1; }

/* In the child: the user's handlers are called on the user's threads, and the default action is the default action. */
static void be_signalled(unsigned workers)
{
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    atexit(on_exit_note);
    signal(SIGUSR1, on_usr1);
    signal(SIGTERM, SIG_DFL);
    if (weft_runtime_create(&rt, &options) < 0 || weft_spawn_on(rt, NULL, wait_for_ever, NULL) < 0)
        _exit(2);
    for (int i = 0; i < 50; i++)
        kill(getpid(), SIGUSR1);
    if (handled == 0 || handled_in_task)
        _exit(3);
    kill(getpid(), SIGTERM);
    _exit(4);
}

WF_TEST_WORKERS(defects, d31_signals_do_what_the_program_says)
{
    struct sigaction before[32];
    for (int sig = 1; sig < 32; sig++)
        sigaction(sig, NULL, &before[sig]);
    weft_options options = {.workers = workers, .watchdog = WEFT_FOREVER}; /* which takes SIGURG */
    cr_assert_eq(weft_run_with(&options, compare_dispositions, before, NULL), 0);
    compare_dispositions(before);
    if (WF_TEST_SANITIZED)
        return; /* threads in the child of a process that had some */
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        be_signalled(workers);
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "%#x", status);
    cr_assert_eq(exited, 0);
}

/* ---- d36: addresses of thread-locals, cached across a switch, were used on another thread -------------------------------- */

static atomic_int migrations;
static const weft_local identity = WEFT_LOCAL_INIT(NULL, 0);

/* All in one function, so that a compiler may keep what it likes across the waits. */
static void *ask_who_i_am(void *arg)
{
    weft_runtime *rt = weft_runtime_current();
    uint64_t id = weft_self_id();
    int mine;
    (void)arg;
    cr_assert_eq(weft_local_set(&identity, &mine), 0);
    for (int i = 0; i < 300; i++) {
        long before = thread_id();
        cr_assert_eq(weft_self_id(), id);
        cr_assert_eq(i % 10 ? weft_yield() : weft_sleep(WEFT_MS / 20), 0);
        cr_assert_eq(weft_self_id(), id, "another task's identity");
        cr_assert_eq(weft_local_get(&identity), &mine, "another task's values");
        cr_assert_eq(weft_runtime_current(), rt);
        cr_assert_eq(weft_is_cancelled(), 0);
        cr_assert_eq(weft_shield_enter(), 0);
        cr_assert_eq(weft_yield(), 0);
        cr_assert_eq(weft_self_id(), id);
        cr_assert_eq(weft_shield_leave(), 0, "the shield of another task");
        if (thread_id() != before)
            migrations++;
    }
    return NULL;
}

static void *migrants_root(void *arg)
{
    enum { MANY = 40 };
    weft_task *tasks[MANY];
    int64_t until = weft_now() + PATIENCE;
    bool alone = weft_runtime_workers(NULL) == 1;
    (void)arg;
    migrations = 0;
    do {
        for (int i = 0; i < MANY; i++)
            cr_assert_eq(weft_spawn(&tasks[i], ask_who_i_am, NULL), 0);
        for (int i = 0; i < MANY; i++)
            cr_assert_eq(weft_join(tasks[i], NULL), 0);
        cr_assert(weft_now() < until, "nobody ever migrates");
    } while (!alone && migrations == 0);
    return NULL;
}

WF_TEST_WORKERS(defects, d36_a_strand_that_migrates_stays_itself) { run(workers, migrants_root, NULL); }
