/* console_deadlock_test.c - who shows a runtime is no reason to believe that its tasks may still be woken. */
#include <stdatomic.h>
#include <support/console_support.h>
#include <support/said.h>
#include <sys/wait.h>

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

static log_text text = LOG_TEXT_INIT;
static _Atomic(weft_aborter *) aborter;

static void *wait_for_nobody(void *arg)
{
    weft_semaphore *s = arg;
    return (void *)(intptr_t)weft_semaphore_acquire(s, 1);
}

static void *wait_with_a_console(void *arg)
{
    weft_semaphore nobody;
    weft_task *task;
    weft_aborter *a;
    (void)arg;
    weft_semaphore_init(&nobody, 0);
    cr_assert_eq(weft_console_start("127.0.0.1:0"), 0);
    cr_assert_eq(weft_spawn(&task, wait_for_nobody, &nobody), 0);
    cr_assert_eq(weft_aborter_create(&a, task), 0);
    aborter = a;
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    return NULL;
}

static void *run_it(void *arg)
{
    weft_options options = {.workers = *(unsigned *)arg, .watchdog = 10 * WEFT_MS, .log = say, .log_arg = &text};
    cr_assert_eq(weft_run_with(&options, wait_with_a_console, NULL, NULL), 0);
    return NULL;
}

static void await_report(unsigned workers)
{
    pthread_t thread;
    cr_assert_eq(weft_watchdog_ignore_thread(), 0);
    cr_assert_eq(pthread_create(&thread, NULL, run_it, &workers), 0);
    for (int64_t until = weft_now() + PATIENCE; said(&text, "deadlock: all 3 tasks wait") == 0 && weft_now() < until;)
        usleep(1000);
    unsigned reports = said(&text, "deadlock: all 3 tasks wait");
    weft_aborter_abort(aborter);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    weft_aborter_free(aborter);
    _exit(reports == 1 ? 0 : 1);
}

/* In a process of one's own: other threads there may wake a task, for all that the library knows. Broken: the console's thread, which has said that it wakes nobody,
 * was taken for one that may, because it drives a runtime. */
WF_TEST_WORKERS(console_deadlock, a_deadlock_is_reported_while_a_console_shows_it)
{
    int status;
    if (UNDER_TSAN)
        cr_skip_test("ThreadSanitizer has a thread of its own");
    if (WF_TEST_EMULATED)
        cr_skip_test("the emulator has threads of its own");
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        alarm(100);
        await_report(workers);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
}
