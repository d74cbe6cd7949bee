/* defects_os_mutex_test.c - d37: an await with a pthread mutex held deadlocked in silence.
 *
 * Only libweft_debug.so sees it, which has to be there when the process begins. So each test runs this executable once more, with the
 * library in front and the name of a mistake in the environment. */
#include <pthread.h>
#include <stdlib.h>
#include <support/task_support.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/coro.h>

#define MISTAKE "WEFT_TEST_MISTAKE"

/* ---- in the program that is watched -------------------------------------------------------------------------- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;

/* Their names are to appear. */
__attribute__((noinline, visibility("default"))) void lock_for_too_long(void);
void lock_for_too_long(void)
{
    pthread_mutex_lock(&mutex);
    fprintf(stderr, "the mutex is %p\n", (void *)&mutex);
}

static void *sleep_with_it(void *arg)
{
    weft_set_name("careless");
    lock_for_too_long();
    weft_sleep(WEFT_SEC); /* a short one may be over before it waits */
    pthread_mutex_unlock(&mutex);
    return arg;
}

static void *yield_with_it(void *arg)
{
    weft_set_name("careless");
    lock_for_too_long();
    weft_yield();
    pthread_mutex_unlock(&mutex);
    return arg;
}

static void *join_with_it(void *arg)
{
    weft_task *child;
    weft_set_name("careless");
    lock_for_too_long();
    weft_spawn(&child, echo, NULL);
    weft_join(child, NULL);
    pthread_mutex_unlock(&mutex);
    return arg;
}

static void *sleep_in_a_coroutine(void *arg)
{
    weft_coro *c;
    weft_coro_create(&c, sleep_with_it, NULL, 0);
    weft_coro_resume(c, NULL, NULL);
    weft_coro_free(c);
    return arg;
}

/* Each way to lock and unlock, a wait of the thread with it, and awaits in between. */
static void *use_it_well(void *arg)
{
    struct timespec past = {.tv_sec = 1};
    for (int i = 0; i < 100; i++) {
        pthread_mutex_lock(&mutex);
        pthread_cond_timedwait(&never, &mutex, &past);
        pthread_mutex_unlock(&mutex);
        weft_yield();
        if (pthread_mutex_trylock(&mutex) == 0)
            pthread_mutex_unlock(&mutex);
        weft_yield();
        if (pthread_mutex_timedlock(&mutex, &past) == 0)
            pthread_mutex_unlock(&mutex);
        weft_yield();
    }
    return arg;
}

static void *use_it_well_at_once(void *arg)
{
    weft_task *tasks[8];
    for (int i = 0; i < 8; i++)
        weft_spawn(&tasks[i], use_it_well, NULL);
    for (int i = 0; i < 8; i++)
        weft_join(tasks[i], NULL);
    weft_sleep(WEFT_MS);
    return arg;
}

/* The thread that becomes a worker holds one of its own: none of the strand's business. */
static void run_locked(const weft_options *options)
{
    static pthread_mutex_t outer = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&outer);
    int err = weft_run_with(options, use_it_well_at_once, NULL, NULL);
    pthread_mutex_unlock(&outer);
    _exit(err ? 1 : 0);
}

/* Before the runner's main(). */
__attribute__((constructor)) static void make_a_mistake(void)
{
    static const struct {
        const char *name;
        weft_fn fn;
    } mistakes[] = {
        {"sleep", sleep_with_it}, {"yield", yield_with_it}, {"join", join_with_it}, {"coroutine", sleep_in_a_coroutine}};
    const char *name = getenv(MISTAKE), *workers = getenv("WEFT_TEST_WORKERS");
    if (!name)
        return;
    weft_options options = {.workers = workers ? (unsigned)atoi(workers) : 1};
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    if (strcmp(name, "none") == 0)
        run_locked(&options);
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        if (strcmp(name, mistakes[i].name) == 0)
            weft_run_with(&options, mistakes[i].fn, NULL, NULL);
    _exit(3);
}

/* ---- the tests ----------------------------------------------------------------------------------------------- */

#ifndef WEFT_DEBUG_LIBRARY
#define WEFT_DEBUG_LIBRARY ""
#endif

static void become(const char *mistake, unsigned workers, int err)
{
    char number[12];
    snprintf(number, sizeof number, "%u", workers);
    setenv(MISTAKE, mistake, 1);
    setenv("WEFT_TEST_WORKERS", number, 1);
    dup2(err, STDERR_FILENO);
    if (WF_TEST_EMULATED) {
        char self[4096] = {0};
        if (readlink("/proc/self/exe", self, sizeof self - 1) > 0)
            execl(wf_test_emulator(), "watched", "-E", "LD_PRELOAD=" WEFT_DEBUG_LIBRARY, self, (char *)NULL);
        _exit(4);
    }
    setenv("LD_PRELOAD", WEFT_DEBUG_LIBRARY, 1);
    execl("/proc/self/exe", "watched", (char *)NULL);
    _exit(4);
}

/* How it ends, and what it says. */
static int watch(const char *mistake, unsigned workers, char *text, size_t size)
{
    int ends[2], status;
    size_t length = 0;
    ssize_t n;
    if (WF_TEST_SANITIZED || !WEFT_DEBUG_LIBRARY[0])
        cr_skip_test("libweft_debug.so would come between a sanitizer and its mutexes, or is not built here");
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        become(mistake, workers, ends[1]);
    close(ends[1]);
    while (length < size - 1 && (n = read(ends[0], text + length, size - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = '\0';
    close(ends[0]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    wf_test_own_words(text);
    return status;
}

static void expect_named(const char *mistake, unsigned workers)
{
    char text[2000];
    void *address;
    int status = watch(mistake, workers, text, sizeof text);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: %#x: %s", mistake, status, text);
    cr_assert_not_null(strstr(text, "\"careless\""), "%s", text);
    cr_assert_not_null(strstr(text, "lock_for_too_long()"), "%s", text);
    cr_assert_eq(sscanf(text, "the mutex is %p", &address), 1, "%s", text);
    char words[60];
    snprintf(words, sizeof words, "the pthread mutex %p,", address);
    cr_assert_not_null(strstr(text, words), "%s", text);
}

/* Two strands of a worker waited for each other: one for the mutex, with the thread, the other to be polled by that thread. */
WF_TEST_WORKERS(defects, d37_an_os_mutex_held_across_an_await_is_named)
{
    expect_named("sleep", workers);
    expect_named("yield", workers);
    expect_named("join", workers);
    expect_named("coroutine", workers);
}

WF_TEST_WORKERS(defects, d37_os_mutexes_unlocked_before_the_await_are_no_mistake)
{
    char text[2000];
    int status = watch("none", workers, text, sizeof text);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x: %s", status, text);
    cr_assert_str_eq(text, "");
}
