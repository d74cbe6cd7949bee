/* stacks_test.c - d39: guards must not use up the kernel's map count; and what a stack overflow says. */
#include <stdatomic.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/coro.h>
#include <weft/diag.h>
#include <weft/runtime.h>
#include <weft/task.h>
#include <weft/time.h>

static size_t maps(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    size_t lines = 0;
    int c;
    cr_assert_not_null(file);
    while ((c = fgetc(file)) != EOF)
        lines += c == '\n';
    fclose(file);
    return lines;
}

static size_t map_limit(void)
{
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    size_t limit = 65530;
    if (!file)
        return limit;
    if (fscanf(file, "%zu", &limit) != 1)
        limit = 65530;
    fclose(file);
    return limit;
}

/* ---- a hundred thousand ---------------------------------------------------------------------------------------- */

enum { MANY = 100000 };

static atomic_size_t alive, unwound;

/* Its own number stays on its own stack. */
static void *live_for_a_while(void *arg)
{
    volatile uintptr_t mine = (uintptr_t)arg;
    alive++;
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED);
    cr_assert_eq(mine, (uintptr_t)arg);
    unwound++;
    return NULL;
}

static void *many_root(void *arg)
{
    weft_spawn_options options = {.stack_size = 16 * 1024};
    weft_task **tasks = calloc(MANY, sizeof *tasks);
    weft_metrics_t m;
    int64_t until = weft_now() + 100 * WEFT_SEC;
    (void)arg;
    alive = unwound = 0;
    for (uintptr_t i = 0; i < MANY; i++)
        cr_assert_eq(weft_spawn_with(&tasks[i], &options, live_for_a_while, (void *)i), 0);
    while (alive < MANY) {
        cr_assert(weft_now() < until, "%zu of %d live", alive, MANY);
        weft_sleep(WEFT_MS);
        cr_assert_eq(weft_metrics(NULL, &m), 0);
        if (m.completed > 0)
            break; /* one was refused its stack */
    }
    cr_assert_eq(weft_metrics(NULL, &m), 0);
    cr_assert_eq(m.completed, 0, "a strand did not get its stack");
    cr_assert_geq(m.stacks_live, MANY);
    cr_assert_eq(m.active, MANY + 1);
    size_t lines = maps(), limit = map_limit();
    cr_assert_lt(lines, limit, "%zu maps of %zu for %d strands", lines, limit, MANY);
    cr_assert_neq(m.guard, WEFT_GUARD_NONE);
    if (m.guard == WEFT_GUARD_INSTALL)
        cr_assert_lt(lines, 2000, "these guards cost no map");
    for (int i = 0; i < MANY; i++)
        weft_abort(tasks[i]);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), WEFT_EABORTED);
    cr_assert_eq(unwound, MANY);
    free(tasks);
    return NULL;
}

Test(stacks, d39_a_hundred_thousand_strands_live_under_the_map_count)
{
    if (WF_TEST_SANITIZED)
        cr_skip_test("sanitizers and valgrind have maps of their own");
    weft_options options = {.workers = 2};
    size_t before = maps();
    cr_assert_eq(weft_run_with(&options, many_root, NULL, NULL), 0);
    cr_assert_leq(maps(), before + 50, "and the maps went with them");
}

/* ---- overflow ---------------------------------------------------------------------------------------------------- */

static __attribute__((noinline)) size_t eat(size_t depth)
{
    volatile char frame[512];
    frame[0] = (char)depth;
    return depth == 0 ? 0 : eat(depth - 1) + (size_t)frame[0];
}

static volatile size_t eaten;

static void *overflow(void *arg)
{
    (void)arg;
    weft_yield();
    eaten = eat(SIZE_MAX / 2);
    return NULL;
}

static void *overflow_root(void *arg)
{
    weft_spawn_options options = {.name = "glutton", .stack_size = 64 * 1024};
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn_with(&task, &options, overflow, NULL), 0);
    weft_join(task, NULL);
    return NULL;
}

static void *overflow_in_body(void *arg)
{
    eaten = eat(SIZE_MAX / 2);
    return arg;
}

static void *overflow_in_coro(void *arg)
{
    weft_coro *c;
    (void)arg;
    weft_set_name("host");
    cr_assert_eq(weft_coro_create(&c, overflow_in_body, NULL, 32 * 1024), 0);
    weft_coro_resume(c, NULL, NULL);
    return NULL;
}

static void *wild_write(void *arg)
{
    (void)arg;
    weft_set_name("vandal");
    volatile uintptr_t nowhere = 64;
    *(volatile int *)nowhere = 1;
    return NULL;
}

/* What a child that runs @root says on its standard error, and how it ends. */
static int last_words(unsigned workers, weft_fn root, char *text, size_t size)
{
    int ends[2], status;
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        weft_options options = {.workers = workers};
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        weft_run_with(&options, root, NULL, NULL);
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t n;
    while (length < size - 1 && (n = read(ends[0], text + length, size - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = '\0';
    close(ends[0]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    wf_test_own_words(text);
    return status;
}

static size_t lines_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

WF_TEST_WORKERS(stacks, d39_an_overflow_says_one_line_that_names_the_task)
{
    char text[2000];
    if (WF_TEST_SANITIZED)
        cr_skip_test("a sanitizer has a word of its own to say");
    int status = last_words(workers, overflow_root, text, sizeof text);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%#x: %s", status, text);
    cr_assert_eq(lines_of(text), 1, "%s", text);
    cr_assert_not_null(strstr(text, "stack overflow"), "%s", text);
    cr_assert_not_null(strstr(text, "\"glutton\""), "%s", text);
    cr_assert(strstr(text, "60 KiB") || strstr(text, "64 KiB"), "its stack size: %s", text);
}

WF_TEST_WORKERS(stacks, d39_an_overflow_in_a_coroutine_names_the_task_that_runs_it)
{
    char text[2000];
    if (WF_TEST_SANITIZED)
        cr_skip_test("a sanitizer has a word of its own to say");
    int status = last_words(workers, overflow_in_coro, text, sizeof text);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%#x: %s", status, text);
    cr_assert_eq(lines_of(text), 1, "%s", text);
    cr_assert_not_null(strstr(text, "stack overflow"), "%s", text);
    cr_assert_not_null(strstr(text, "\"host\""), "%s", text);
}

WF_TEST_WORKERS(stacks, another_fault_is_not_called_an_overflow)
{
    char text[2000];
    if (WF_TEST_SANITIZED)
        cr_skip_test("a sanitizer has a word of its own to say");
    int status = last_words(workers, wild_write, text, sizeof text);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "%#x: %s", status, text);
    cr_assert_null(strstr(text, "overflow"), "%s", text);
}
