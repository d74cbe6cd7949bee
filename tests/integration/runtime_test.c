/* runtime_test.c - starting runtimes, the doors into them, and that nothing is left behind when they end. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/process.h>
#include <support/task_support.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/diag.h>
#include <weft/future.h>
#include <weft/runtime.h>
#include <weft/task.h>
#include <weft/time.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void *wait_for_ever(void *arg)
{
    int code = weft_sleep(WEFT_FOREVER);
    if (arg)
        *(int *)arg = code;
    return NULL;
}

static weft_runtime *create(unsigned workers)
{
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    return rt;
}

/* ---- weft_run ------------------------------------------------------------------------------------------------ */

static void *panic_now(void *arg)
{
    weft_panic("root %d", 1);
    return arg;
}

static void *fail_now(void *arg)
{
    (void)arg;
    return weft_fail(WEFT_EPIPE);
}

static void *count_workers(void *arg)
{
    (void)arg;
    return (void *)(uintptr_t)weft_runtime_workers(NULL);
}

WF_TEST_WORKERS(runtime, run_returns_what_the_root_returned)
{
    weft_options options = {.workers = workers};
    void *result = NULL;
    cr_assert_eq(weft_run_with(&options, echo, &options, &result), 0);
    cr_assert_eq(result, &options);
    cr_assert_eq(weft_run_with(&options, count_workers, NULL, &result), 0);
    cr_assert_eq((uintptr_t)result, workers);
    cr_assert_eq(weft_run_with(&options, fail_now, NULL, &result), WEFT_EFAILED);
    cr_assert_eq((intptr_t)result, WEFT_EPIPE);
    cr_assert_eq(weft_run_with(&options, panic_now, NULL, &result), WEFT_EPANIC);
    cr_assert_null(result);
    cr_assert_eq(weft_run_with(&options, echo, &options, NULL), 0);
    cr_assert_eq(weft_run(echo, &options, &result), 0);
    cr_assert_eq(result, &options);
    cr_assert_eq(weft_run(NULL, NULL, &result), WEFT_EINVAL);
    cr_assert_null(result);
    cr_assert_null(weft_runtime_current());
    cr_assert_eq(weft_runtime_workers(NULL), 0);
}

static pthread_t caller;

static __attribute__((noinline)) bool on_caller(void)
{
    __asm__ volatile("" ::: "memory");
    return pthread_equal(caller, pthread_self());
}

static void *expect_caller(void *arg)
{
    for (int i = 0; i < 20; i++) {
        cr_assert(on_caller());
        cr_assert_eq(i % 5 ? weft_yield() : weft_sleep(WEFT_MS / 10), 0);
    }
    return arg;
}

Test(runtime, the_calling_thread_is_worker_0_of_run)
{
    weft_options options = {.workers = 1};
    caller = pthread_self();
    cr_assert_eq(weft_run_with(&options, expect_caller, NULL, NULL), 0);
}

static sigset_t mask_now(void)
{
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    return set;
}

static void *look_at_mask(void *arg)
{
    sigset_t set = mask_now();
    cr_assert(sigismember(&set, SIGINT) && sigismember(&set, SIGUSR1) && sigismember(&set, SIGCHLD));
    cr_assert_not(sigismember(&set, SIGSEGV), "a stack overflow must still be told");
    return arg;
}

WF_TEST_WORKERS(runtime, workers_block_signals_and_the_callers_mask_is_restored)
{
    sigset_t before, after;
    weft_options options = {.workers = workers};
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    cr_assert_eq(weft_run_with(&options, look_at_mask, NULL, NULL), 0);
    after = mask_now();
    for (int sig = 1; sig < 32; sig++)
        cr_assert_eq(sigismember(&after, sig), sig == SIGUSR2, "signal %d", sig);
    weft_runtime *rt = create(workers);
    after = mask_now();
    cr_assert_eq(sigismember(&after, SIGINT), 0);
    cr_assert_eq(weft_block_on(rt, look_at_mask, NULL, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- options ------------------------------------------------------------------------------------------------- */

static void *half_alloc(size_t size, void *arg)
{
    (void)size, (void)arg;
    return NULL;
}

Test(runtime, options_out_of_range_are_refused)
{
    const weft_options wrong[] = {
        {.workers = 257},
        {.workers = UINT32_MAX},
        {.workers = 1, .stack_size = 1},
        {.workers = 1, .stack_size = SIZE_MAX},
        {.workers = 1, .shutdown_grace = -1},
        {.workers = 1, .allocator = {.alloc = half_alloc}},
    };
    int ran = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        weft_runtime *rt = (weft_runtime *)(void *)&ran;
        cr_assert_eq(weft_runtime_create(&rt, &wrong[i]), WEFT_EINVAL, "case %zu", i);
        cr_assert_null(rt);
        cr_assert_eq(weft_run_with(&wrong[i], wait_for_ever, &ran, NULL), WEFT_EINVAL, "case %zu", i);
    }
    cr_assert_eq(ran, 0);
    cr_assert_eq(weft_runtime_create(NULL, &wrong[0]), WEFT_EINVAL);
}

Test(runtime, null_runtimes_are_refused_or_nothing)
{
    cr_assert_eq(weft_runtime_destroy(NULL), 0);
    cr_assert_eq(weft_runtime_shutdown(NULL, 0), WEFT_EINVAL);
    cr_assert_eq(weft_block_on(NULL, echo, NULL, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_runtime_enter(NULL), WEFT_EINVAL);
    cr_assert_eq(weft_runtime_leave(), WEFT_EINVAL);
    weft_metrics_t m;
    cr_assert_eq(weft_metrics(NULL, &m), WEFT_ENORUNTIME);
}

Test(runtime, out_of_descriptors_it_does_not_start_and_leaves_nothing)
{
    struct rlimit before, few;
    cr_assert_eq(weft_runtime_destroy(create(1)), 0); /* what libuv and the sanitizers keep for ever is there */
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    unsigned fds = open_fds(), running = threads();
    for (unsigned more = 0; more < 12; more++) {
        weft_options options = {.workers = 8};
        weft_runtime *rt = NULL;
        few = before;
        few.rlim_cur = fds - 3 + more; /* ".", ".." and the folder itself were counted */
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
        int err = weft_runtime_create(&rt, &options);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        cr_assert_eq(err, WEFT_EMFILE);
        cr_assert_null(rt);
        cr_assert_leq(open_fds(), fds + 1); /* libuv 1.44's uv_loop_init() loses its epoll descriptor when it fails */
        fds = open_fds();
        EVENTUALLY(threads() <= running);
    }
}

/* ---- create, block_on ---------------------------------------------------------------------------------------- */

WF_TEST_WORKERS(runtime, block_on_again_and_again)
{
    weft_runtime *rt = create(workers);
    cr_assert_eq(weft_runtime_workers(rt), workers);
    for (size_t i = 1; i <= wf_test_scale(1000); i++) {
        void *result;
        cr_assert_eq(weft_block_on(rt, echo, (void *)i, &result), 0);
        cr_assert_eq((size_t)result, i);
    }
    cr_assert_eq(weft_block_on(rt, panic_now, NULL, NULL), WEFT_EPANIC);
    cr_assert_eq(weft_block_on(rt, NULL, NULL, NULL), WEFT_EINVAL);
    cr_assert_null(weft_runtime_current());
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

typedef struct blocker {
    weft_runtime *rt;
    atomic_int inside, most, all;
} blocker;

static void *meet_the_others(void *arg)
{
    blocker *b = arg;
    b->inside++;
    EVENTUALLY(b->inside == b->all); /* all of them are in block_on at the same time */
    return arg;
}

static void *block_once(void *arg)
{
    blocker *b = arg;
    void *result;
    cr_assert_eq(weft_block_on(b->rt, meet_the_others, b, &result), 0);
    cr_assert_eq(result, b);
    return NULL;
}

WF_TEST_WORKERS(runtime, block_on_from_several_threads_at_once)
{
    enum { THREADS = 6 };
    blocker b = {.rt = create(workers), .all = THREADS};
    pthread_t ids[THREADS];
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&ids[i], NULL, block_once, &b), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    cr_assert_eq(weft_runtime_destroy(b.rt), 0);
}

static void *spawn_detached_counter(void *arg);

static void *count_turns(void *arg)
{
    atomic_int *turns = arg;
    while (weft_sleep(WEFT_MS / 10) == 0)
        ++*turns;
    return NULL;
}

static void *spawn_detached_counter(void *arg)
{
    cr_assert_eq(weft_spawn(NULL, count_turns, arg), 0);
    return NULL;
}

WF_TEST_WORKERS(runtime, other_tasks_live_on_after_block_on)
{
    atomic_int turns = 0;
    weft_runtime *rt = create(workers);
    cr_assert_eq(weft_block_on(rt, spawn_detached_counter, &turns, NULL), 0);
    int seen = turns;
    EVENTUALLY(turns > seen + 3);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    seen = turns;
    cr_assert_eq(weft_run(echo, NULL, NULL), 0);
    cr_assert_eq(turns, seen, "it ended with its runtime");
}

static void *own_runtime(void *arg)
{
    weft_runtime *mine = arg;
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(weft_runtime_current(), mine);
        cr_assert_eq(i % 10 ? weft_yield() : weft_sleep(WEFT_MS / 10), 0);
    }
    return NULL;
}

WF_TEST_WORKERS(runtime, several_runtimes_at_once)
{
    enum { MANY = 4 };
    weft_runtime *rts[MANY];
    weft_task *tasks[MANY][4];
    for (int i = 0; i < MANY; i++)
        rts[i] = create(workers);
    for (int i = 0; i < MANY; i++)
        for (int j = 0; j < 4; j++)
            cr_assert_eq(weft_spawn_on(rts[i], &tasks[i][j], own_runtime, rts[i]), 0);
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_run_with(&options, echo, NULL, NULL), 0, "and one more from start to end");
    for (int i = 0; i < MANY; i++)
        for (int j = 0; j < 4; j++)
            cr_assert_eq(weft_join(tasks[i][j], NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rts[2]), 0);
    cr_assert_eq(weft_block_on(rts[0], own_runtime, rts[0], NULL), 0, "the others are none the wiser");
    cr_assert_eq(weft_runtime_destroy(rts[0]), 0);
    cr_assert_eq(weft_runtime_destroy(rts[3]), 0);
    cr_assert_eq(weft_runtime_destroy(rts[1]), 0);
}

Test(runtime, a_handle_may_be_joined_after_its_runtime_is_gone)
{
    weft_runtime *rt = create(2);
    weft_task *done, *aborted;
    void *result;
    cr_assert_eq(weft_spawn_on(rt, &done, echo, &result), 0);
    cr_assert_eq(weft_wait(done), 0);
    cr_assert_eq(weft_spawn_on(rt, &aborted, wait_for_ever, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(weft_join(done, &result), 0);
    cr_assert_eq(result, &result);
    cr_assert_eq(weft_join(aborted, NULL), WEFT_EABORTED);
}

/* ---- the current thread as the only worker -------------------------------------------------------------------- */

static void *block_in_vain(void *arg)
{
    cr_assert_eq(weft_block_on(arg, echo, NULL, NULL), WEFT_EBUSY);
    return NULL;
}

static void *have_another_try(void *rt)
{
    pthread_t thread;
    cr_assert(on_caller());
    cr_assert_eq(pthread_create(&thread, NULL, block_in_vain, rt), 0);
    pthread_join(thread, NULL);
    return rt;
}

Test(runtime, current_thread_has_no_threads_and_one_driver_at_a_time)
{
    weft_options options = {.flags = WEFT_CURRENT_THREAD, .workers = 7};
    weft_runtime *rt;
    weft_task *task;
    atomic_int turns = 0;
    void *result;
    cr_assert_eq(weft_runtime_destroy(create(1)), 0);
    unsigned running = threads();
    caller = pthread_self();
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_runtime_workers(rt), 1);
    cr_assert_leq(threads(), running);
    cr_assert_eq(weft_block_on(rt, have_another_try, rt, &result), 0);
    cr_assert_eq(result, rt);
    cr_assert_eq(weft_spawn_on(rt, &task, count_turns, &turns), 0);
    cr_assert_eq(weft_task_state(task), WEFT_TASK_SCHEDULED, "nobody runs it now");
    cr_assert_eq(weft_block_on(rt, expect_caller, NULL, NULL), 0);
    cr_assert_gt(turns, 0);
    int seen = turns;
    cr_assert_eq(weft_block_on(rt, expect_caller, NULL, NULL), 0);
    cr_assert_gt(turns, seen, "it went on meanwhile");
    cr_assert_eq(weft_runtime_shutdown(rt, PATIENCE), 0, "which runs it to its end");
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(weft_block_on(rt, echo, NULL, NULL), WEFT_ECANCELED);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void *wake_from_outside(void *arg)
{
    weft_task *task = arg;
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    weft_abort(task);
    return NULL;
}

static void *join_it(void *task) { return (void *)(intptr_t)weft_join(task, NULL); }

Test(runtime, the_current_thread_is_woken_from_outside)
{
    weft_options options = {.flags = WEFT_CURRENT_THREAD};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (size_t i = 0; i < wf_test_scale(200); i++) {
        weft_task *task;
        pthread_t thread;
        void *result;
        cr_assert_eq(weft_spawn_on(rt, &task, wait_for_ever, NULL), 0);
        cr_assert_eq(pthread_create(&thread, NULL, wake_from_outside, task), 0);
        cr_assert_eq(weft_block_on(rt, join_it, task, &result), 0);
        cr_assert_eq((intptr_t)result, WEFT_EABORTED);
        pthread_join(thread, NULL);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

typedef struct stopper {
    weft_runtime *rt;
    atomic_int waiting;
    int code;
} stopper;

static void *say_and_wait(void *arg)
{
    stopper *s = arg;
    s->waiting = 1;
    while (weft_sleep(WEFT_MS / 10) == 0)
        ;
    return NULL;
}

static void *shut_down(void *arg)
{
    stopper *s = arg;
    EVENTUALLY(s->waiting);
    s->code = weft_runtime_shutdown(s->rt, PATIENCE);
    return NULL;
}

/* Shutdown drives worker 0 itself, which must not happen while another thread does. */
Test(runtime, shutdown_by_another_thread_while_the_current_thread_drives)
{
    for (size_t i = 0; i < wf_test_scale(100); i++) {
        weft_options options = {.flags = WEFT_CURRENT_THREAD};
        stopper s = {.code = 1};
        pthread_t thread;
        cr_assert_eq(weft_runtime_create(&s.rt, &options), 0);
        cr_assert_eq(pthread_create(&thread, NULL, shut_down, &s), 0);
        cr_assert_eq(weft_block_on(s.rt, say_and_wait, &s, NULL), WEFT_EABORTED);
        pthread_join(thread, NULL);
        cr_assert_eq(s.code, 0);
        cr_assert_eq(weft_runtime_destroy(s.rt), 0);
    }
}

/* The same where each worker has its thread. */
WF_TEST_WORKERS(runtime, shutdown_while_another_thread_is_in_block_on)
{
    for (size_t i = 0; i < wf_test_scale(50); i++) {
        stopper s = {.rt = create(workers), .code = 1};
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, shut_down, &s), 0);
        cr_assert_eq(weft_block_on(s.rt, say_and_wait, &s, NULL), WEFT_EABORTED);
        pthread_join(thread, NULL);
        cr_assert_eq(s.code, 0);
        cr_assert_eq(weft_runtime_destroy(s.rt), 0);
    }
}

/* ---- enter, leave -------------------------------------------------------------------------------------------- */

static void *enter_inside(void *rt)
{
    cr_assert_eq(weft_runtime_enter(rt), WEFT_EBUSY);
    cr_assert_eq(weft_runtime_leave(), WEFT_EINVAL);
    cr_assert_eq(weft_runtime_current(), rt);
    return NULL;
}

WF_TEST_WORKERS(runtime, a_thread_that_entered_spawns_without_naming_the_runtime)
{
    weft_runtime *rt = create(workers), *other = create(1);
    weft_task *task;
    weft_metrics_t m;
    void *result;
    cr_assert_eq(weft_runtime_leave(), WEFT_EINVAL);
    cr_assert_eq(weft_spawn(&task, echo, NULL), WEFT_ENORUNTIME);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    cr_assert_eq(weft_runtime_current(), rt);
    cr_assert_eq(weft_runtime_workers(NULL), workers);
    cr_assert_eq(weft_runtime_enter(rt), WEFT_EBUSY);
    cr_assert_eq(weft_runtime_enter(other), WEFT_EBUSY);
    cr_assert_eq(weft_spawn(&task, echo, &m), 0);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq(result, &m);
    cr_assert_eq(weft_metrics(NULL, &m), 0);
    cr_assert_geq(m.spawned, 1);
    cr_assert_eq(weft_block_on(rt, enter_inside, rt, NULL), 0);
    cr_assert_eq(weft_block_on(other, enter_inside, other, NULL), 0);
    cr_assert_eq(weft_runtime_current(), rt);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_null(weft_runtime_current());
    cr_assert_eq(weft_spawn(&task, echo, NULL), WEFT_ENORUNTIME);
    cr_assert_eq(weft_runtime_shutdown(rt, PATIENCE), 0);
    cr_assert_eq(weft_runtime_enter(rt), WEFT_ECANCELED);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(weft_runtime_destroy(other), 0);
}

/* ---- shutdown ------------------------------------------------------------------------------------------------ */

static void *unwind_slowly(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    weft_shield_enter();
    cr_assert_eq(weft_sleep(5 * WEFT_MS), 0);
    weft_shield_leave();
    atomic_fetch_add((atomic_int *)arg, 1);
    return NULL;
}

WF_TEST_WORKERS(runtime, shutdown_cancels_waits_and_may_be_repeated)
{
    enum { MANY = 50 };
    atomic_int unwound = 0;
    weft_task *tasks[MANY];
    weft_runtime *rt = create(workers);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_spawn_on(rt, &tasks[i], unwind_slowly, &unwound), 0);
    for (int i = 0; i < MANY; i++)
        EVENTUALLY(weft_task_state(tasks[i]) == WEFT_TASK_IDLE);
    cr_assert_eq(weft_runtime_shutdown(rt, -1), WEFT_EINVAL);
    cr_assert_eq(weft_runtime_shutdown(rt, PATIENCE), 0);
    cr_assert_eq(unwound, MANY, "it waited for all of them");
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), WEFT_EABORTED);
    cr_assert_eq(weft_runtime_shutdown(rt, 0), 0);
    cr_assert_eq(weft_runtime_shutdown(rt, WEFT_FOREVER), 0);
    weft_task *task = tasks[0];
    cr_assert_eq(weft_spawn_on(rt, &task, echo, NULL), WEFT_ECANCELED);
    cr_assert_null(task);
    cr_assert_eq(weft_block_on(rt, echo, NULL, NULL), WEFT_ECANCELED);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void count_drop(void *arg) { atomic_fetch_add((atomic_int *)arg, 1); }

static void *spawn_while_stopping(void *arg)
{
    weft_spawn_options options = {.drop_arg = count_drop, .drop_result = count_drop};
    atomic_int drops = 0;
    weft_task *task = arg;
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED);
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &drops), WEFT_ECANCELED);
    cr_assert_null(task);
    cr_assert_eq(weft_spawn(NULL, echo, NULL), WEFT_ECANCELED);
    cr_assert_eq(drops, 0);
    atomic_fetch_add((atomic_int *)arg, 1);
    return NULL;
}

WF_TEST_WORKERS(runtime, spawning_after_shutdown_began_is_refused)
{
    atomic_int refused = 0;
    weft_task *task;
    weft_runtime *rt = create(workers);
    cr_assert_eq(weft_spawn_on(rt, &task, spawn_while_stopping, &refused), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(refused, 1);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
}

static void *spawn_until_refused(void *arg)
{
    stopper *s = arg;
    size_t n = 0;
    int err;
    for (;; n++) {
        weft_task *task;
        s->waiting = 1;
        if ((err = weft_spawn_on(s->rt, &task, echo, s)) < 0)
            break;
        err = weft_join(task, NULL);
        cr_assert(err == 0 || err == WEFT_EABORTED, "%d", err);
    }
    cr_assert_eq(err, WEFT_ECANCELED);
    return NULL;
}

WF_TEST_WORKERS(runtime, threads_that_spawn_all_the_time_do_not_outlast_shutdown)
{
    for (size_t i = 0; i < wf_test_scale(30); i++) {
        stopper s = {.rt = create(workers)};
        pthread_t ids[3];
        for (int j = 0; j < 3; j++)
            cr_assert_eq(pthread_create(&ids[j], NULL, spawn_until_refused, &s), 0);
        EVENTUALLY(s.waiting);
        cr_assert_eq(weft_runtime_shutdown(s.rt, PATIENCE), 0);
        for (int j = 0; j < 3; j++)
            pthread_join(ids[j], NULL);
        cr_assert_eq(weft_runtime_destroy(s.rt), 0);
    }
}

/* What will not stop: named, counted, reported. Its runtime is abandoned, so the process must be one that ends. */
typedef struct report {
    pthread_mutex_t lock;
    int named, lines;
    int counted; /* it was said how many are left */
    char text[2000];
} report;

static void read_log(void *arg, weft_log_level level, const char *task, const char *text)
{
    report *r = arg;
    (void)level;
    pthread_mutex_lock(&r->lock);
    r->lines++;
    r->counted += strstr(text, "left are 1 strands, 0 futures, 0 blocking jobs") != NULL;
    if (strcmp(task ? task : "", "mule") == 0) {
        r->named++;
        snprintf(r->text, sizeof r->text, "%s", text);
    }
    pthread_mutex_unlock(&r->lock);
}

static atomic_int mule_may_go;

static void *be_stubborn(void *arg)
{
    (void)arg;
    weft_shield_enter();
    while (!mule_may_go)
        weft_sleep(WEFT_MS);
    weft_shield_leave();
    return NULL;
}

static void *leave_mule(void *arg)
{
    weft_spawn_options options = {.name = "mule"};
    cr_assert_eq(weft_spawn_with(NULL, &options, be_stubborn, NULL), 0);
    weft_sleep(5 * WEFT_MS);
    return arg;
}

#define IN_CHILD(body)                                                                                   \
    do {                                                                                                 \
        pid_t pid_ = fork();                                                                             \
        cr_assert_geq(pid_, 0);                                                                          \
        if (pid_ == 0) {                                                                                 \
            body;                                                                                        \
            _exit(0);                                                                                    \
        }                                                                                                \
        int status_;                                                                                     \
        cr_assert_eq(waitpid(pid_, &status_, 0), pid_);                                                  \
        cr_assert(WIFEXITED(status_) && WEXITSTATUS(status_) == 0, "the child ended with %#x", status_); \
    } while (0)

#define CHILD_ASSERT(condition)                                        \
    do {                                                               \
        if (!(condition)) {                                            \
            fprintf(stderr, "%d: not so: %s\n", __LINE__, #condition); \
            _exit(1);                                                  \
        }                                                              \
    } while (0)

static void abandon_created(unsigned workers)
{
    report r = {.lock = PTHREAD_MUTEX_INITIALIZER};
    weft_options options = {.workers = workers, .log = read_log, .log_arg = &r};
    weft_spawn_options named = {.name = "mule"};
    weft_runtime *rt;
    weft_task *task;
    CHILD_ASSERT(weft_runtime_create(&rt, &options) == 0);
    named.runtime = rt;
    CHILD_ASSERT(weft_spawn_with(&task, &named, be_stubborn, NULL) == 0);
    while (weft_task_state(task) != WEFT_TASK_IDLE)
        weft_sleep(WEFT_MS);
    int64_t began = weft_now();
    CHILD_ASSERT(weft_runtime_shutdown(rt, 50 * WEFT_MS) == WEFT_ETIMEDOUT);
    CHILD_ASSERT(weft_now() - began >= 50 * WEFT_MS);
    CHILD_ASSERT(r.named == 1);
    CHILD_ASSERT(r.counted == 1);
    CHILD_ASSERT(strstr(r.text, "task \"mule\" (#") != NULL && strstr(r.text, "would not stop: ") != NULL);
    CHILD_ASSERT(weft_runtime_shutdown(rt, WEFT_FOREVER) == WEFT_ETIMEDOUT);
    CHILD_ASSERT(weft_runtime_destroy(rt) == WEFT_EBUSY);
    CHILD_ASSERT(weft_spawn_on(rt, NULL, echo, NULL) == WEFT_ECANCELED);
    mule_may_go = 1;
}

static void abandon_run(unsigned workers)
{
    report r = {.lock = PTHREAD_MUTEX_INITIALIZER};
    weft_options options = {.workers = workers, .log = read_log, .log_arg = &r, .shutdown_grace = 50 * WEFT_MS};
    void *result = NULL;
    CHILD_ASSERT(weft_run_with(&options, leave_mule, &r, &result) == WEFT_ETIMEDOUT);
    CHILD_ASSERT(result == &r); /* set all the same */
    CHILD_ASSERT(r.named == 1 && r.counted == 1);
    CHILD_ASSERT(weft_run(echo, &options, &result) == 0); /* another runtime is another matter */
    CHILD_ASSERT(result == &options);
}

WF_TEST_WORKERS(runtime, what_will_not_stop_is_named_and_its_runtime_abandoned)
{
    if (WF_TEST_SANITIZED)
        cr_skip_test("threads in a forked child, and memory kept on purpose");
    IN_CHILD(abandon_created(workers));
    IN_CHILD(abandon_run(workers));
}

/* ---- from inside --------------------------------------------------------------------------------------------- */

static void try_everything(weft_runtime *rt)
{
    weft_runtime *other = rt;
    void *result = rt;
    cr_assert_eq(weft_run(echo, rt, &result), WEFT_EDEADLK);
    cr_assert_null(result);
    cr_assert_eq(weft_block_on(rt, echo, rt, &result), WEFT_EDEADLK);
    cr_assert_eq(weft_runtime_create(&other, &(weft_options){.workers = 1}), WEFT_EDEADLK);
    cr_assert_null(other);
    cr_assert_eq(weft_runtime_shutdown(rt, 0), WEFT_EDEADLK);
    cr_assert_eq(weft_runtime_destroy(rt), WEFT_EDEADLK);
    cr_assert_eq(weft_runtime_current(), rt);
}

static void try_everything_deferred(void *rt) { try_everything(rt); }

static weft_poll poll_everything(weft_future *f, weft_context *cx, void **result)
{
    (void)f, (void)cx, (void)result;
    try_everything(weft_runtime_current());
    return WEFT_READY;
}

static void drop_everything(weft_future *f)
{
    (void)f;
    try_everything(weft_runtime_current());
}

static const weft_future_ops everything_ops = {poll_everything, drop_everything};

static void drop_and_try(void *result)
{
    (void)result;
    cr_assert_eq(weft_self_id(), 0, "no task is current in a drop");
    cr_assert_eq(weft_yield(), WEFT_EDEADLK);
    cr_assert_eq(weft_sleep(0), WEFT_EDEADLK);
    try_everything(weft_runtime_current());
}

static void *inside_root(void *arg)
{
    weft_future f = {&everything_ops};
    weft_spawn_options options = {.drop_result = drop_and_try};
    weft_task *task;
    weft_runtime *rt = weft_runtime_current();
    try_everything(rt);
    cr_assert_eq(weft_defer(try_everything_deferred, rt), 0);
    cr_assert_eq(weft_spawn_future(&task, &f), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_spawn_with(&task, &options, echo, arg), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_yield(), 0, "the joiner itself may wait again");
    return NULL;
}

WF_TEST_WORKERS(runtime, tasks_and_drops_cannot_start_or_stop_runtimes)
{
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_run_with(&options, inside_root, &options, NULL), 0);
}

/* ---- nothing left behind ------------------------------------------------------------------------------------- */

static void *some_life(void *arg)
{
    weft_task *tasks[30];
    for (int i = 0; i < 30; i++)
        cr_assert_eq(weft_spawn(&tasks[i], i % 3 ? echo : wait_for_ever, NULL), 0);
    for (int i = 0; i < 30; i++)
        cr_assert_eq(i % 3 ? weft_join(tasks[i], NULL) : weft_task_close(tasks[i]), 0);
    weft_sleep(WEFT_MS);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(weft_spawn(NULL, wait_for_ever, NULL), 0);
    return arg;
}

WF_TEST_WORKERS(runtime, no_descriptor_and_no_thread_is_left_behind)
{
    weft_options options = {.workers = workers};
    struct sigaction segv[2];
    sigaction(SIGSEGV, NULL, &segv[0]);
    cr_assert_eq(weft_runtime_destroy(create(1)), 0); /* what libuv and the sanitizers keep for ever is there */
    unsigned fds = open_fds(), running = threads();
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(weft_run_with(&options, some_life, NULL, NULL), 0);
        weft_runtime *rt = create(workers);
        cr_assert_geq(threads(), workers);
        cr_assert_eq(weft_block_on(rt, some_life, NULL, NULL), 0);
        cr_assert_eq(weft_runtime_destroy(rt), 0);
        cr_assert_eq(open_fds(), fds, "after %d rounds", i + 1);
    }
    EVENTUALLY(threads() <= running); /* the kernel takes a moment to forget a thread that was joined */
    sigaction(SIGSEGV, NULL, &segv[1]);
    cr_assert(segv[0].sa_handler == segv[1].sa_handler, "the handler of stack overflows was put back");
    weft_metrics_t m;
    weft_runtime *rt = create(1);
    cr_assert_eq(weft_metrics(rt, &m), 0);
    cr_assert_eq(m.stacks_live, 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static atomic_int blocks;

static void *counting_alloc(size_t size, void *arg)
{
    cr_assert_eq(arg, &blocks);
    blocks++;
    return calloc(1, size);
}

static void counting_free(void *block, void *arg)
{
    cr_assert_eq(arg, &blocks);
    cr_assert_not_null(block);
    blocks--;
    free(block);
}

static void *use_allocator(void *arg)
{
    char text[100] = "copied";
    weft_spawn_options options = {.name = "named", .copy_arg = sizeof text};
    int before = blocks;
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn_with(&task, &options, wait_for_ever, text), 0);
    cr_assert_gt(blocks, before, "the allocator was asked");
    cr_assert_eq(weft_task_close(task), 0);
    cr_assert_eq(weft_spawn_with(NULL, &options, wait_for_ever, text), 0);
    return NULL;
}

WF_TEST_WORKERS(runtime, everything_goes_back_to_the_allocator)
{
    weft_options options = {.workers = workers, .allocator = {counting_alloc, counting_free, &blocks}};
    cr_assert_eq(weft_run_with(&options, use_allocator, NULL, NULL), 0);
    cr_assert_eq(blocks, 0);
}

/* ---- fork ---------------------------------------------------------------------------------------------------- */

static void use_dead_runtime(weft_runtime *rt)
{
    weft_task *task = NULL;
    CHILD_ASSERT(weft_spawn_on(rt, &task, echo, NULL) == WEFT_ENOTSUP);
    CHILD_ASSERT(task == NULL);
    CHILD_ASSERT(weft_block_on(rt, echo, NULL, NULL) == WEFT_ENOTSUP);
    CHILD_ASSERT(weft_runtime_shutdown(rt, 0) == WEFT_ENOTSUP);
    CHILD_ASSERT(weft_runtime_destroy(rt) == WEFT_ENOTSUP);
    CHILD_ASSERT(weft_runtime_enter(rt) < 0);
}

WF_TEST_WORKERS(runtime, in_a_forked_child_the_runtime_is_dead)
{
    weft_options options = {.flags = WEFT_CURRENT_THREAD};
    weft_runtime *rt = create(workers), *here;
    cr_assert_eq(weft_runtime_create(&here, &options), 0);
    cr_assert_eq(weft_block_on(rt, echo, NULL, NULL), 0);
    for (int i = 0; i < 5; i++) {
        IN_CHILD(use_dead_runtime(rt));
        IN_CHILD(use_dead_runtime(here));
        cr_assert_eq(weft_block_on(rt, some_life, NULL, NULL), 0, "the parent's lives on");
        cr_assert_eq(weft_block_on(here, some_life, NULL, NULL), 0);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(weft_runtime_destroy(here), 0);
}

static void *fork_inside(void *arg)
{
    (void)arg;
    IN_CHILD(CHILD_ASSERT(weft_spawn(NULL, echo, NULL) == WEFT_ENOTSUP));
    cr_assert_eq(weft_yield(), 0);
    return NULL;
}

WF_TEST_WORKERS(runtime, a_task_that_forks_has_a_dead_runtime_in_the_child)
{
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_run_with(&options, fork_inside, NULL, NULL), 0);
}

static void run_in_child(unsigned workers)
{
    weft_options options = {.workers = workers};
    CHILD_ASSERT(weft_run_with(&options, some_life, NULL, NULL) == 0);
}

WF_TEST_WORKERS(runtime, a_forked_child_may_start_a_runtime_of_its_own)
{
    if (WF_TEST_SANITIZED)
        cr_skip_test("a sanitizer wants no threads in the child of a process with threads");
    if (WF_TEST_EMULATED)
        cr_skip_test("qemu 7 starts no thread in the child of a process with threads");
    weft_runtime *rt = create(workers);
    cr_assert_eq(weft_block_on(rt, some_life, NULL, NULL), 0);
    IN_CHILD(run_in_child(workers));
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}
