/* backtrace_test.c - where strands stand, from inside: parked, deep, in a coroutine, running. */
#include <diag/backtrace.h>
#include <diag/libdw.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/test.h>
#include <support/until.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

/* The whole test's own, which no compiler inlines, nor leaves by a jump. */
#define VISIBLE __attribute__((noinline))
#define STAY __asm__ volatile("" ::: "memory")

static bool names_are_known(void)
{
    wf_backtrace_hold();
    bool known = wf_libdw_open();
    wf_backtrace_let_go();
    return known && sizeof(void *) == 8;
}

static void want_names(void)
{
    if (!names_are_known())
        cr_skip_test("no libdw here, or a machine that it is not used for");
}

static void want_samples(void)
{
    if (WF_TSAN)
        cr_skip_test("ThreadSanitizer calls signal handlers late");
}

static weft_runtime *create(unsigned workers)
{
    weft_options options = {.workers = workers, .watchdog = 60 * WEFT_SEC};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    return rt;
}

static const char *text_of(const wf_frames *frames)
{
    static char text[16 * 1024];
    memset(text, 0, sizeof text);
    FILE *to = fmemopen(text, sizeof text - 1, "w");
    cr_assert_not_null(to);
    wf_backtrace_print(frames, to);
    fclose(to);
    return text;
}

/* Hold @task still as soon as it waits. */
static void seize(weft_task *task) { SPIN_UNTIL(wf_registry_seize(task)); }

static const char *text_of_parked(weft_task *task)
{
    wf_frames frames;
    seize(task);
    wf_backtrace_strand(task, &frames);
    wf_registry_release(task);
    cr_assert_gt(frames.count, 0);
    return text_of(&frames);
}

/* ---- parked -------------------------------------------------------------------------------------------------- */

static weft_mutex gate = WEFT_MUTEX_INIT;
static atomic_bool parked;

VISIBLE static void wait_at_the_gate(void)
{
    parked = true;
    weft_mutex_lock(&gate);
    STAY;
    weft_mutex_unlock(&gate);
    STAY;
}

static void *waits_at_the_gate(void *arg)
{
    wait_at_the_gate();
    STAY;
    return arg;
}

/* Spawn @fn, which comes to the gate; tell where it stands; let it go. */
static const char *stands(weft_fn fn)
{
    weft_runtime *rt = create(1);
    weft_task *task;
    parked = false;
    weft_mutex_lock(&gate);
    cr_assert_eq(weft_spawn_on(rt, &task, fn, NULL), 0);
    SPIN_UNTIL(parked);
    const char *text = text_of_parked(task);
    weft_mutex_unlock(&gate);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    return text;
}

Test(backtrace, a_parked_strand_is_seen_from_the_public_call_to_its_function)
{
    want_names();
    const char *text = stands(waits_at_the_gate);
    cr_assert_not_null(strstr(text, "wait_at_the_gate at backtrace_test.c:"), "%s", text);
    cr_assert_not_null(strstr(text, "waits_at_the_gate at backtrace_test.c:"), "%s", text);
    cr_assert(strncmp(text, "    #0 weft_mutex_lock", 22) == 0, "%s", text);
    cr_assert_null(strstr(text, "wf_"), "%s", text);
    cr_assert_null(strstr(text, " entry"), "%s", text);
}

VISIBLE static void *waits_in_a_coroutine(void *arg)
{
    weft_coro *c;
    cr_assert_eq(weft_coro_create(&c, waits_at_the_gate, NULL, 0), 0);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 0);
    cr_assert_eq(weft_coro_free(c), 0);
    return arg;
}

Test(backtrace, a_coroutine_goes_on_into_its_resumer)
{
    want_names();
    const char *text = stands(waits_in_a_coroutine), *inside = strstr(text, "waits_at_the_gate"), *outside;
    cr_assert_not_null(inside, "%s", text);
    outside = strstr(inside, "waits_in_a_coroutine at backtrace_test.c:");
    cr_assert_not_null(outside, "%s", text);
    cr_assert_null(strstr(text, "wf_"), "%s", text);
    cr_assert_null(strstr(text, " entry"), "%s", text);
}

static void deferred(void *arg)
{
    (void)arg;
    wait_at_the_gate();
    STAY;
}

static void *waits_as_it_ends(void *arg)
{
    cr_assert_eq(weft_defer(deferred, NULL), 0);
    return arg;
}

Test(backtrace, a_deferred_call_is_seen)
{
    want_names();
    const char *text = stands(waits_as_it_ends);
    cr_assert_not_null(strstr(text, "wait_at_the_gate at backtrace_test.c:"), "%s", text);
    cr_assert_not_null(strstr(text, "deferred at backtrace_test.c:"), "%s", text);
}

VISIBLE static void go_down(int levels, volatile char *outer)
{
    volatile char own[256];
    own[0] = outer[0];
    if (levels > 0)
        go_down(levels - 1, own);
    else
        wait_at_the_gate();
    outer[0] = own[0];
}

static void *waits_deep_down(void *arg)
{
    volatile char first[1] = {0};
    go_down(100, first);
    return arg;
}

static void *waits_below_more_than_is_copied(void *arg)
{
    volatile char first[1] = {0};
    go_down(400, first);
    return arg;
}

static void is_cut(const char *text)
{
    cr_assert_not_null(strstr(text, "wait_at_the_gate at backtrace_test.c:"), "%s", text);
    cr_assert_not_null(strstr(text, "#63 go_down"), "%s", text);
    cr_assert_null(strstr(text, "#64"), "%s", text);
    cr_assert_not_null(strstr(text, "and more"), "%s", text);
}

Test(backtrace, a_deep_one_is_cut)
{
    want_names();
    is_cut(stands(waits_deep_down));
    is_cut(stands(waits_below_more_than_is_copied));
}

/* Without names there is at least where it stands. */
Test(backtrace, there_is_always_something)
{
    if (sizeof(void *) != 8)
        cr_skip_test("nothing is known of this machine's registers");
    cr_assert_not_null(strstr(stands(waits_at_the_gate), "    #0 "));
}

Test(backtrace, one_that_was_never_polled_has_none)
{
    wf_frames frames = {.count = 7};
    weft_task task = {.flags = {WF_TASK_STRAND}};
    wf_backtrace_strand(&task, &frames);
    cr_assert_eq(frames.count, 0);
}

Test(backtrace, same_places_are_equal)
{
    wf_frames one = {.count = 2, .pc = {1, 2}}, other = one;
    cr_assert(wf_frames_equal(&one, &other));
    other.pc[1] = 3;
    cr_assert_not(wf_frames_equal(&one, &other));
    other = one;
    other.count = 1;
    cr_assert_not(wf_frames_equal(&one, &other));
    other = one;
    other.cut = true;
    cr_assert_not(wf_frames_equal(&one, &other));
}

/* ---- running ------------------------------------------------------------------------------------------------- */

static atomic_bool running, enough;

VISIBLE static void turn_in_circles(void)
{
    running = true;
    while (!enough)
        STAY;
    STAY;
}

static void *turns_in_circles(void *arg)
{
    turn_in_circles();
    STAY;
    return arg;
}

static void *turns_in_a_coroutine(void *arg)
{
    weft_coro *c;
    cr_assert_eq(weft_coro_create(&c, turns_in_circles, NULL, 0), 0);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 0);
    cr_assert_eq(weft_coro_free(c), 0);
    return arg;
}

static weft_poll poll_in_circles(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)cx, (void)result;
    turn_in_circles();
    STAY;
    return WEFT_READY;
}

static const weft_future_ops circles = {.poll = poll_in_circles};

/* A machine under load may take longer than it waits for an answer. */
static const char *text_of_running(wf_worker *w, const weft_task *expected)
{
    wf_frames frames;
    const weft_task *task;
    SPIN_UNTIL(wf_backtrace_worker_of(w, &frames, &task));
    cr_assert_eq(task, expected);
    return text_of(&frames);
}

static const char *runs(weft_fn fn)
{
    weft_runtime *rt = create(1);
    weft_task *task;
    weft_future future = {&circles};
    running = enough = false;
    cr_assert_eq(fn ? weft_spawn_on(rt, &task, fn, NULL)
                    : weft_spawn_future_with(&task, &(weft_spawn_options){.runtime = rt}, &future),
                 0);
    SPIN_UNTIL(running);
    const char *text = text_of_running(rt->workers[0], task);
    enough = true;
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    return text;
}

Test(backtrace, a_running_strand_is_interrupted)
{
    want_names();
    want_samples();
    const char *text = runs(turns_in_circles);
    cr_assert(strncmp(text, "    #0 turn_in_circles at backtrace_test.c:", 43) == 0, "%s", text);
    cr_assert_not_null(strstr(text, "#1 turns_in_circles at backtrace_test.c:"), "%s", text);
    cr_assert_null(strstr(text, "#2 "), "%s", text);
}

Test(backtrace, a_running_coroutine_goes_on_into_its_resumer)
{
    want_names();
    want_samples();
    const char *text = runs(turns_in_a_coroutine);
    cr_assert_not_null(strstr(text, "#0 turn_in_circles at backtrace_test.c:"), "%s", text);
    cr_assert_not_null(strstr(text, " turns_in_a_coroutine at backtrace_test.c:"), "%s", text);
}

Test(backtrace, a_stackless_task_is_seen_without_its_workers_loop)
{
    want_names();
    want_samples();
    const char *text = runs(NULL);
    cr_assert_not_null(strstr(text, "#0 turn_in_circles at backtrace_test.c:"), "%s", text);
    cr_assert_not_null(strstr(text, "#1 poll_in_circles at backtrace_test.c:"), "%s", text);
    cr_assert_null(strstr(text, "#2 "), "%s", text);
}

static pthread_mutex_t os_gate = PTHREAD_MUTEX_INITIALIZER;

VISIBLE static void block_the_thread(void)
{
    running = true;
    pthread_mutex_lock(&os_gate);
    STAY;
    pthread_mutex_unlock(&os_gate);
    STAY;
}

static void *blocks_the_thread(void *arg)
{
    block_the_thread();
    STAY;
    return arg;
}

Test(backtrace, one_that_blocks_its_thread_is_interrupted_there)
{
    want_names();
    want_samples();
    weft_runtime *rt = create(1);
    weft_task *task;
    const char *text;
    running = false;
    pthread_mutex_lock(&os_gate);
    cr_assert_eq(weft_spawn_on(rt, &task, blocks_the_thread, NULL), 0);
    SPIN_UNTIL(running);
    SPIN_UNTIL(strstr(text = text_of_running(rt->workers[0], task), "lock"));
    cr_assert_not_null(strstr(text, " block_the_thread at backtrace_test.c:"), "%s", text);
    pthread_mutex_unlock(&os_gate);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* A worker that sleeps is woken by it, and sleeps on. */
Test(backtrace, a_worker_that_sleeps_survives_it)
{
    want_samples();
    weft_runtime *rt = create(2);
    wf_frames frames;
    for (unsigned i = 0; i < 200; i++)
        wf_backtrace_worker(rt->workers[i % 2], &frames);
    cr_assert_eq(weft_block_on(rt, waits_at_the_gate, NULL, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void *samples_itself(void *arg)
{
    wf_frames frames;
    wf_worker *w = wf_worker_current();
    SPIN_UNTIL(wf_backtrace_worker(w, &frames));
    return strstr(text_of(&frames), "samples_itself") ? arg : NULL;
}

/* Also a worker that is the calling thread. */
Test(backtrace, a_worker_may_ask_for_itself)
{
    want_names();
    want_samples();
    weft_options options = {.workers = 1, .watchdog = 60 * WEFT_SEC};
    void *found = NULL;
    cr_assert_eq(weft_run_with(&options, samples_itself, &options, &found), 0);
    cr_assert_eq(found, &options);
    options.flags = WEFT_CURRENT_THREAD;
    cr_assert_eq(weft_run_with(&options, samples_itself, &options, &found), 0);
    cr_assert_eq(found, &options);
}

Test(backtrace, a_runtime_that_did_not_prepare_is_not_interrupted)
{
    weft_options options = {.workers = 1, .watchdog = WEFT_FOREVER};
    weft_runtime *rt;
    wf_frames frames;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_not(wf_backtrace_worker(rt->workers[0], &frames));
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- the signal ---------------------------------------------------------------------------------------------- */

static atomic_int urgent;

static void on_urgent(int number) { urgent += number == SIGURG; }

static void (*current_handler(void))(int)
{
    struct sigaction now;
    cr_assert_eq(sigaction(SIGURG, NULL, &now), 0);
    return now.sa_handler;
}

Test(backtrace, what_the_program_does_with_the_signal_stays)
{
    signal(SIGURG, on_urgent);
    weft_runtime *one = create(1), *two = create(1);
    cr_assert_neq(current_handler(), on_urgent);
    raise(SIGURG);
    cr_assert_eq(urgent, 1);
    cr_assert_eq(weft_runtime_destroy(one), 0);
    cr_assert_neq(current_handler(), on_urgent);
    cr_assert_eq(weft_runtime_destroy(two), 0);
    cr_assert_eq(current_handler(), on_urgent);
}

Test(backtrace, whoever_comes_on_top_stays_there)
{
    weft_runtime *rt = create(1);
    signal(SIGURG, on_urgent);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(current_handler(), on_urgent);
    rt = create(1);
    cr_assert_eq(current_handler(), on_urgent);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    raise(SIGURG);
    cr_assert_eq(urgent, 1);
}

/* It would take the interruption for a message to itself. */
Test(backtrace, whoever_is_on_top_hears_of_nothing)
{
    wf_frames frames;
    weft_runtime *rt = create(1);
    signal(SIGURG, on_urgent);
    cr_assert_not(wf_backtrace_worker(rt->workers[0], &frames));
    cr_assert_eq(urgent, 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static weft_runtime *sampled_by_many;
static atomic_int answers;

static void *ask_many_times(void *arg)
{
    wf_frames frames;
    for (size_t i = 0; i < wf_test_scale(300); i++)
        answers += wf_backtrace_worker(sampled_by_many->workers[i % 2], &frames);
    return arg;
}

static void *yields_many_times(void *arg)
{
    while (!enough) {
        errno = 77;
        for (int i = 0; i < 1000; i++)
            STAY;
        cr_assert_eq(errno, 77);
        weft_yield();
    }
    return arg;
}

/* Tasks come and go on the stacks that are copied; nothing else is touched. */
Test(backtrace, workers_may_be_asked_all_the_time)
{
    weft_task *tasks[4];
    pthread_t threads[2];
    sampled_by_many = create(2);
    enough = false;
    for (int i = 0; i < 4; i++)
        cr_assert_eq(weft_spawn_on(sampled_by_many, &tasks[i], i % 2 ? yields_many_times : turns_in_circles, NULL), 0);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, ask_many_times, NULL), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    enough = true;
    for (int i = 0; i < 4; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    cr_assert(WF_TSAN || sizeof(void *) != 8 || answers > 0);
    cr_assert_eq(weft_runtime_destroy(sampled_by_many), 0);
}

static void *print_many_times(void *arg)
{
    const wf_frames *frames = arg;
    char text[4096];
    while (!enough) {
        FILE *to = fmemopen(text, sizeof text, "w");
        wf_backtrace_print(frames, to);
        fclose(to);
    }
    return NULL;
}

/* Another thread is at it as the process forks: the child must not wait for that one. */
Test(backtrace, a_forked_child_may_go_on)
{
    wf_frames frames = {.count = 2, .pc = {(uintptr_t)print_many_times + 1, (uintptr_t)text_of + 1}};
    pthread_t thread;
    if (WF_TEST_SANITIZED)
        cr_skip_test("a sanitizer's malloc() may be locked for ever in the child of a process with threads");
    enough = false;
    wf_backtrace_hold(); /* the more often it is under the lock, and not in malloc() */
    cr_assert_eq(pthread_create(&thread, NULL, print_many_times, &frames), 0);
    for (size_t i = 0; i < wf_test_scale(100); i++) {
        int status = 0;
        pid_t pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0) {
            alarm(60);
            _exit(strstr(text_of(&frames), "    #1 ") ? 0 : 1);
        }
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert_eq(status, 0);
    }
    enough = true;
    pthread_join(thread, NULL);
    wf_backtrace_let_go();
}
