/* signals_test.c - handles on signals, the shutdown signal, and that the process is as it was afterwards. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/process.h>
#include <support/signal_support.h>
#include <support/task_support.h>
#include <support/test.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- handles --------------------------------------------------------------------------------------------------- */

static void *wait_and_count(void *arg)
{
    weft_signal *s = watch(SIGUSR1), *second = watch(SIGUSR1);
    (void)arg;
    expect_none(s);
    weft_task *task = ask_for_next(s);
    send_signal(SIGUSR1);
    cr_assert_eq(told(task), 1, "who waits is woken");
    cr_assert_eq(weft_signal_next(second), 1);
    for (int i = 0; i < 7; i++) {
        send_signal(SIGUSR1);
        cr_assert_eq(weft_signal_next(second), 1);
    }
    cr_assert_eq(weft_signal_next(s), 7);
    expect_none(s);
    weft_signal_close(second);
    send_signal(SIGUSR1);
    cr_assert_eq(weft_signal_next(s), 1, "the first is still open");
    weft_signal_close(s);
    weft_signal_close(NULL);
    return NULL;
}

WF_TEST_WORKERS(signals, arrivals_are_counted_until_somebody_asks) { run(workers, wait_and_count, NULL); }

static void *abort_waiters(void *arg)
{
    weft_signal *s = watch(SIGUSR2), *seen = watch(SIGUSR2);
    (void)arg;
    for (int i = 0; i < 50; i++)
        expect_none(s);
    send_signal(SIGUSR2);
    cr_assert_eq(weft_signal_next(seen), 1);
    cr_assert_eq(weft_signal_next(s), 1);
    weft_signal_close(s);
    weft_signal_close(seen);
    return NULL;
}

WF_TEST_WORKERS(signals, an_aborted_wait_takes_nothing_along) { run(workers, abort_waiters, NULL); }

/* Whether it was told first or aborted first: no arrival is told twice, and none is lost. */
static void *race_aborts(void *arg)
{
    weft_signal *s = watch(SIGUSR1), *seen = watch(SIGUSR1);
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(300); i++) {
        weft_task *task = ask_for_next(s);
        void *result = NULL;
        send_signal(SIGUSR1);
        weft_abort(task);
        cr_assert_eq(weft_signal_next(seen), 1);
        if (weft_join(task, &result) < 0)
            cr_assert_eq(weft_signal_next(s), 1);
        else
            cr_assert_eq((intptr_t)result, 1);
        expect_none(s);
    }
    weft_signal_close(s);
    weft_signal_close(seen);
    return NULL;
}

WF_TEST_WORKERS(signals, an_abort_and_an_arrival_at_the_same_time) { run(workers, race_aborts, NULL); }

static void *ask_twice(void *arg)
{
    weft_signal *s = watch(SIGUSR1);
    weft_task *first = ask_for_next(s);
    (void)arg;
    cr_assert_eq(weft_signal_next(s), WEFT_EBUSY);
    cr_assert_eq(weft_task_state(first), WEFT_TASK_IDLE, "the first is none the wiser");
    send_signal(SIGUSR1);
    cr_assert_eq(told(first), 1);
    send_signal(SIGUSR1);
    cr_assert_eq(weft_signal_next(s), 1);
    first = ask_for_next(s);
    cr_assert_eq(weft_signal_next(s), WEFT_EBUSY);
    cr_assert_eq(weft_task_close(first), 0);
    expect_none(s);
    weft_signal_close(s);
    return NULL;
}

WF_TEST_WORKERS(signals, one_task_at_a_time) { run(workers, ask_twice, NULL); }

static void *wait_a_day(void *arg)
{
    weft_sleep(86400 * WEFT_SEC);
    return arg;
}

static void *open_in_paused_time(void *arg)
{
    int64_t began = weft_now();
    weft_task *sleeper = arg;
    cr_assert_eq(weft_spawn(&sleeper, wait_a_day, NULL), 0);
    weft_signal_close(watch(SIGUSR1));
    cr_assert_eq(weft_now(), began, "the clock stands while the thread is at it");
    weft_task_close(sleeper);
    return NULL;
}

WF_TEST_WORKERS(signals, a_paused_clock_does_not_jump_over_an_opening)
{
    weft_options options = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, open_in_paused_time, NULL, NULL), 0);
}

/* ---- what is refused ------------------------------------------------------------------------------------------- */

static void refuse(int number, int code)
{
    weft_signal *s = (weft_signal *)(void *)&s;
    cr_assert_eq(weft_signal_open(&s, number), code, "signal %d", number);
    cr_assert_null(s);
}

static void refuse_all(void)
{
    const int wrong[] = {SIGKILL, SIGSTOP,  SIGSEGV, SIGBUS, SIGFPE, SIGILL,    0,
                         -1,      -SIGTERM, 32,      65,     1000,   INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refuse(wrong[i], WEFT_EINVAL);
    cr_assert_eq(weft_signal_open(NULL, SIGUSR1), WEFT_EINVAL);
    cr_assert_eq(weft_signal_next(NULL), WEFT_EINVAL);
}

static void *refuse_inside(void *arg)
{
    refuse_all();
    const int right[] = {SIGHUP, SIGTRAP, SIGABRT, SIGCHLD, SIGPIPE, SIGRTMIN, SIGRTMAX};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        weft_signal_close(watch(right[i]));
    return arg;
}

static void refuse_in_drop(void *arg)
{
    (void)arg;
    refuse(SIGUSR1, WEFT_EDEADLK);
    cr_assert_eq(weft_shutdown_signal(), WEFT_EDEADLK);
}

static void *spawn_dropper(void *arg)
{
    weft_spawn_options options = {.drop_result = refuse_in_drop};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &options), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    return arg;
}

Test(signals, what_cannot_be_watched_is_refused)
{
    refuse_all();
    refuse(SIGUSR1, WEFT_ENORUNTIME);
    cr_assert_eq(weft_shutdown_signal(), WEFT_ENORUNTIME);
    run(2, refuse_inside, NULL);
    run(2, spawn_dropper, NULL);
}

/* ---- the end of a watch ---------------------------------------------------------------------------------------- */

static atomic_int handled;

static void handle(int number)
{
    (void)number;
    handled++;
}

static void set_handler(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    cr_assert_eq(sigaction(number, &action, NULL), 0);
}

static void (*handler_of(int number))(int)
{
    struct sigaction now;
    cr_assert_eq(sigaction(number, NULL, &now), 0);
    return now.sa_handler;
}

static void *open_and_close_all(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        weft_signal *usr1 = watch(SIGUSR1), *again = watch(SIGUSR1), *hup = watch(SIGHUP), *usr2 = watch(SIGUSR2);
        cr_assert(handler_of(SIGUSR1) != handle && handler_of(SIGHUP) != SIG_IGN && handler_of(SIGUSR2) != SIG_DFL);
        send_signal(SIGUSR1);
        cr_assert_eq(weft_signal_next(usr1), 1);
        cr_assert_eq(handled, i, "the program's handler has a rest");
        weft_signal_close(usr1);
        weft_signal_close(again);
        weft_signal_close(hup);
        weft_signal_close(usr2);
        EVENTUALLY(handler_of(SIGUSR1) == handle && handler_of(SIGHUP) == SIG_IGN && handler_of(SIGUSR2) == SIG_DFL);
        send_signal(SIGUSR1);
        EVENTUALLY(handled == i + 1);
    }
    return NULL;
}

WF_TEST_WORKERS(signals, with_the_last_handle_the_former_action_is_back)
{
    set_handler(SIGUSR1, handle);
    set_handler(SIGHUP, SIG_IGN);
    run(workers, open_and_close_all, NULL);
}

static void *leave_open(void *arg)
{
    for (int i = 0; i < 10; i++)
        watch(i % 2 ? SIGUSR1 : SIGHUP);
    send_signal(SIGHUP);
    return arg;
}

static atomic_int blocks;
static atomic_bool empty;

static void *counting_alloc(size_t size, void *arg)
{
    (void)arg;
    if (empty)
        return NULL;
    blocks++;
    return calloc(1, size);
}

static void counting_free(void *block, void *arg)
{
    (void)arg;
    blocks--;
    free(block);
}

WF_TEST_WORKERS(signals, handles_left_open_end_with_their_runtime)
{
    weft_options options = {.workers = workers, .allocator = {.alloc = counting_alloc, .free = counting_free}};
    set_handler(SIGUSR1, handle);
    cr_assert_eq(weft_run_with(&options, leave_open, NULL, NULL), 0);
    cr_assert_eq(blocks, 0);
    cr_assert(handler_of(SIGUSR1) == handle);
    cr_assert(is_default(SIGHUP));
}

static void *open_without_memory(void *arg)
{
    weft_signal *s = arg;
    empty = true;
    cr_assert_eq(weft_signal_open(&s, SIGUSR1), WEFT_ENOMEM);
    cr_assert_null(s);
    cr_assert(is_default(SIGUSR1));
    empty = false;
    s = watch(SIGUSR1);
    send_signal(SIGUSR1);
    cr_assert_eq(weft_signal_next(s), 1);
    weft_signal_close(s);
    return NULL;
}

Test(signals, without_memory_nothing_is_half_done)
{
    weft_options options = {.workers = 2, .allocator = {.alloc = counting_alloc, .free = counting_free}};
    cr_assert_eq(weft_run_with(&options, open_without_memory, &blocks, NULL), 0);
    cr_assert_eq(blocks, 0);
}

/* libuv 1.44's uv_loop_init() loses its epoll descriptor when it fails, so each round has as many more as there were failures. */
static void *open_without_descriptors(void *arg)
{
    struct rlimit before, few;
    unsigned failed = 0;
    int err;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    do {
        weft_signal *s;
        few.rlim_cur = open_fds() - 3 + failed; /* ".", ".." and the folder itself were counted */
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
        err = weft_signal_open(&s, SIGUSR1);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        cr_assert(err == 0 || err == WEFT_EMFILE, "%d", err);
        cr_assert_eq(err == 0, s != NULL);
        weft_signal_close(s);
    } while (err < 0 && ++failed < 20);
    cr_assert_eq(err, 0);
    cr_assert_gt(failed, 0);
    weft_signal *s = watch(SIGUSR1);
    send_signal(SIGUSR1);
    cr_assert_eq(weft_signal_next(s), 1);
    weft_signal_close(s);
    return arg;
}

Test(signals, out_of_descriptors_it_says_so_and_works_later)
{
    run(2, echo, NULL); /* the first runtime of a process makes what stays */
    run(2, open_without_descriptors, NULL);
}

/* ---- interrupted openings, storms ------------------------------------------------------------------------------ */

static void *open_one(void *arg)
{
    weft_signal *s = arg;
    int err = weft_signal_open(&s, SIGUSR1);
    cr_assert_eq(err == 0, s != NULL);
    weft_signal_close(s);
    return (void *)(intptr_t)err;
}

static void *interrupt_openings(void *arg)
{
    for (size_t i = 0; i < wf_test_scale(500); i++) {
        weft_task *tasks[4];
        for (int j = 0; j < 4; j++)
            cr_assert_eq(weft_spawn(&tasks[j], open_one, arg), 0);
        for (size_t j = 0; j < i % 8; j++)
            weft_yield();
        for (int j = 0; j < 4; j++)
            weft_task_close(tasks[j]);
    }
    EVENTUALLY(is_default(SIGUSR1));
    return NULL;
}

WF_TEST_WORKERS(signals, an_interrupted_opening_leaves_nothing) { run(workers, interrupt_openings, NULL); }

typedef struct storm {
    atomic_int sending, senders;
} storm;

/* Signals that nobody notices when they are not watched. */
static const int harmless[] = {SIGURG, SIGWINCH};

static void *send_all_the_time(void *arg)
{
    storm *s = arg;
    s->senders++;
    for (int i = 0; s->sending; i++) {
        send_signal(harmless[i % 2]);
        sched_yield();
    }
    return NULL;
}

static void *open_all_the_time(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(200); i++) {
        weft_signal *s = watch(harmless[i % 2]);
        if (i % 3)
            cr_assert_geq(weft_signal_next(s), 1);
        weft_signal_close(s);
    }
    return NULL;
}

static void *bear_storm(void *arg)
{
    weft_task *tasks[6];
    for (int i = 0; i < 6; i++)
        cr_assert_eq(weft_spawn(&tasks[i], open_all_the_time, arg), 0);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    return NULL;
}

static void *another_runtime(void *arg)
{
    run(2, bear_storm, arg);
    return NULL;
}

WF_TEST_WORKERS(signals, openings_and_closings_while_signals_arrive)
{
    storm s = {.sending = 1};
    pthread_t sender, other;
    run(workers, echo, NULL);
    unsigned fds = open_fds(), running = threads();
    cr_assert_eq(pthread_create(&sender, NULL, send_all_the_time, &s), 0);
    SPIN_UNTIL(s.senders);
    cr_assert_eq(pthread_create(&other, NULL, another_runtime, &s), 0);
    run(workers, bear_storm, &s);
    pthread_join(other, NULL);
    s.sending = 0;
    pthread_join(sender, NULL);
    cr_assert_eq(open_fds(), fds);
    EVENTUALLY(threads() <= running);
    for (int i = 0; i < 2; i++)
        cr_assert(is_default(harmless[i]));
}

/* ---- the rest of the process ----------------------------------------------------------------------------------- */

static void *watch_usr1(void *arg)
{
    *(weft_signal **)arg = watch(SIGUSR1);
    return NULL;
}

static void *next_of(void *s) { return (void *)(intptr_t)weft_signal_next(s); }

/* The thread that takes signals takes no others than those it was told to. */
Test(signals, what_the_program_has_blocked_for_sigwait_stays_blocked)
{
    weft_options options = {.workers = 2};
    weft_runtime *rt;
    weft_signal *s;
    sigset_t usr2;
    int number;
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    cr_assert_eq(pthread_sigmask(SIG_BLOCK, &usr2, NULL), 0);
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_block_on(rt, watch_usr1, &s, NULL), 0);
    for (int i = 0; i < 20; i++) {
        send_signal(SIGUSR2);
        cr_assert_eq(sigwait(&usr2, &number), 0);
        cr_assert_eq(number, SIGUSR2);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* The status with which a child ended that ran @fn(@arg), and 0 if it came back from there. */
static int in_child(void (*fn)(void *), void *arg)
{
    pid_t pid = fork();
    int status;
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that failed leaves nobody behind */
        fn(arg);
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static bool died_by(int status, int number) { return WIFSIGNALED(status) && WTERMSIG(status) == number; }

static void send_to_oneself(void *arg)
{
    (void)arg;
    raise(SIGUSR1);
}

static void *see_one_signal(void *arg)
{
    weft_signal *s = watch(SIGUSR1);
    (void)arg;
    send_signal(SIGUSR1);
    return (void *)(intptr_t)weft_signal_next(s);
}

static void have_a_runtime(void *arg)
{
    weft_options options = {.workers = 2};
    void *result = NULL;
    (void)arg;
    if (weft_run_with(&options, see_one_signal, NULL, &result) < 0 || (intptr_t)result != 1)
        _exit(1);
}

static void close_a_copy(void *s) { weft_signal_close(s); }

Test(signals, a_forked_child_keeps_its_signals_to_itself)
{
    weft_options options = {.workers = 2};
    weft_runtime *rt;
    weft_signal *s;
    void *result;
    if (WF_TEST_SANITIZED)
        cr_skip_test("threads in a forked child");
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_block_on(rt, watch_usr1, &s, NULL), 0);
    int status = in_child(send_to_oneself, NULL);
    cr_assert(died_by(status, SIGUSR1), "%#x", status);
    if (!WF_TEST_EMULATED) /* qemu 7 starts no thread in the child of a process with threads */
        cr_assert_eq(in_child(have_a_runtime, NULL), 0);
    cr_assert_eq(in_child(close_a_copy, s), 0);
    send_signal(SIGUSR1);
    cr_assert_eq(weft_block_on(rt, next_of, s, &result), 0);
    cr_assert_eq((intptr_t)result, 1, "the parent's own, and no other");
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void *close_then_die(void *arg)
{
    weft_signal_close(watch(SIGUSR1));
    EVENTUALLY(is_default(SIGUSR1));
    send_signal(SIGUSR1);
    weft_sleep(PATIENCE);
    return arg;
}

static void run_close_then_die(void *arg) { run(*(unsigned *)arg, close_then_die, NULL); }

WF_TEST_WORKERS(signals, after_the_close_a_signal_kills_again)
{
    int status = in_child(run_close_then_die, &workers);
    cr_assert(died_by(status, SIGUSR1), "%#x", status);
}

/* ---- the shutdown signal --------------------------------------------------------------------------------------- */

static void *shutdown_signal(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)weft_shutdown_signal();
}

static bool both_watched(void) { return !is_default(SIGINT) && !is_default(SIGTERM); }
static bool none_watched(void) { return is_default(SIGINT) && is_default(SIGTERM); }

static weft_task *await_shutdown(void)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, shutdown_signal, NULL), 0);
    EVENTUALLY(both_watched() && weft_task_state(task) == WEFT_TASK_IDLE);
    return task;
}

static void *shut_down_again_and_again(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50; i++) {
        int number = i % 2 ? SIGINT : SIGTERM;
        weft_task *first = await_shutdown(), *second = await_shutdown();
        send_signal(number);
        cr_assert_eq(told(first), number);
        cr_assert_eq(told(second), number);
        cr_assert(none_watched(), "before anybody was told");
        cr_assert_eq(weft_task_close(await_shutdown()), 0);
        EVENTUALLY(none_watched());
    }
    return NULL;
}

WF_TEST_WORKERS(signals, the_shutdown_signal_reaches_everybody_who_waits_for_it)
{
    run(workers, shut_down_again_and_again, NULL);
}

static void *shut_down_while_ignored(void *arg)
{
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn(&task, shutdown_signal, NULL), 0);
    EVENTUALLY(handler_of(SIGINT) != SIG_IGN && handler_of(SIGTERM) != handle);
    send_signal(SIGTERM);
    cr_assert_eq(told(task), SIGTERM);
    cr_assert(handler_of(SIGINT) == SIG_IGN && handler_of(SIGTERM) == handle);
    send_signal(SIGINT);
    send_signal(SIGTERM);
    EVENTUALLY(handled == 1);
    return NULL;
}

WF_TEST_WORKERS(signals, after_the_shutdown_signal_the_former_actions_are_back)
{
    set_handler(SIGINT, SIG_IGN);
    set_handler(SIGTERM, handle);
    run(workers, shut_down_while_ignored, NULL);
}

typedef struct victim {
    unsigned workers;
    int first, second;
    bool at_once; /* the second comes before the first can have been returned */
} victim;

/* Ends by its second signal. */
static void *need_two_signals(void *arg)
{
    const victim *v = arg;
    weft_task *task = await_shutdown();
    send_signal(v->first);
    if (!v->at_once)
        cr_assert_eq(told(task), v->first);
    send_signal(v->second);
    weft_sleep(PATIENCE);
    return NULL;
}

static void run_victim(void *arg) { run(((victim *)arg)->workers, need_two_signals, arg); }

/* A signal that it holds back until the thread can take it, it forgets if the handler has been taken off meanwhile. */
#if defined(__SANITIZE_THREAD__)
#define SANITIZER_DROPS_SIGNALS true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZER_DROPS_SIGNALS true
#endif
#endif
#ifndef SANITIZER_DROPS_SIGNALS
#define SANITIZER_DROPS_SIGNALS false
#endif

/* Two that come at once may be taken in any order; the same one twice the kernel itself may join. */
WF_TEST_WORKERS(signals, the_second_shutdown_signal_kills)
{
    const int both[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < 8 + wf_test_scale(32); i++) {
        victim v = {.workers = workers, .first = both[i % 2], .second = both[i / 2 % 2], .at_once = i / 4 % 2};
        if (v.at_once && (v.first == v.second || SANITIZER_DROPS_SIGNALS))
            continue;
        int status = in_child(run_victim, &v);
        cr_assert(died_by(status, v.second) || (v.at_once && died_by(status, v.first)), "%d, %d: %#x", v.first,
                  v.second, status);
    }
}

/* The only worker is held, so nobody can be told of the first. */
static void *be_stuck(void *arg)
{
    await_shutdown();
    send_signal(SIGINT);
    SPIN_UNTIL(none_watched());
    send_signal(SIGTERM);
    SPIN_UNTIL(false);
    return arg;
}

static void run_stuck(void *arg) { run(1, be_stuck, arg); }

Test(signals, the_second_shutdown_signal_kills_also_when_every_task_is_stuck)
{
    int status = in_child(run_stuck, NULL);
    cr_assert(died_by(status, SIGTERM), "%#x", status);
}
