/* stdio_test.c - standard input and output as streams, in a process of their own: this program again, with a word in its environment. */
#include <fcntl.h>
#include <support/task_support.h>
#include <support/test.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

/* ---- in the child ------------------------------------------------------------------------------------------------- */

static void must(bool condition, int code)
{
    if (!condition)
        _exit(code);
}

/* Copies its input to its output; then both are there again. */
static void *copy_through(void *arg)
{
    weft_stream *in, *out, *second;
    char data[3000];
    ssize_t n;
    must(weft_stdin(&in) == 0 && weft_stdout(&out) == 0, 10);
    must(weft_stdout(&second) == WEFT_EBUSY && !second, 11);
    while ((n = weft_read(in, data, sizeof data)) > 0)
        must(weft_write(out, data, (size_t)n) == n, 12);
    must(n == 0, 13);
    weft_close(in);
    weft_close(out);
    int err;
    while ((err = weft_stdout(&out)) == WEFT_EBUSY)
        weft_sleep(WEFT_MS);
    must(err == 0, 14);
    while ((err = weft_stdin(&in)) == WEFT_EBUSY)
        weft_sleep(WEFT_MS);
    must(err == 0, 15);
    must(weft_read(in, data, 1) == 0, 16);
    must(weft_write(out, "end\n", 4) == 4, 17);
    return arg; /* neither is closed: the end of the runtime writes out what is there */
}

/* The whole child, before any runner. */
static __attribute__((constructor)) void be_the_child(void)
{
    const char *workers = getenv("WEFT_STDIO_TEST");
    if (!workers)
        return;
    weft_options options = {.workers = (unsigned)atoi(workers)};
    _exit(weft_run_with(&options, copy_through, NULL, NULL) == 0 ? 0 : 9);
}

/* ---- help ------------------------------------------------------------------------------------------------------------ */

enum { SIZE = 300000 };

static char self[4096], word[32], command[8192];

static const char *const *child_env(unsigned workers)
{
    static const char *env[2] = {word};
    snprintf(word, sizeof word, "WEFT_STDIO_TEST=%u", workers);
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    cr_assert_gt(n, 0);
    self[n] = 0;
    snprintf(command, sizeof command, "%s %s", WF_TEST_EMULATED ? wf_test_emulator() : "", self);
    return env;
}

static char *make_data(void)
{
    char *data = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)(i * 13 + i / 257);
    return data;
}

static void expect_copy(const weft_output *out, const char *data, size_t size)
{
    cr_assert_eq(out->status, 0);
    cr_assert_eq(out->out_size, size + 4);
    cr_assert_arr_eq(out->out, data, size);
    cr_assert_str_eq(out->out + size, "end\n");
}

/* ---- tests --------------------------------------------------------------------------------------------------------- */

static void *through_pipes(void *env)
{
    char *data = make_data();
    weft_output out;
    const char *const alone[] = {self, NULL}, *const emulated[] = {wf_test_emulator(), self, NULL};
    weft_process_options o = {.argv = WF_TEST_EMULATED ? emulated : alone, .env = env, .input = data, .input_size = SIZE};
    cr_assert_eq(weft_process_run(&out, &o), 0);
    expect_copy(&out, data, SIZE);
    weft_output_free(&out);
    o.input_size = 0;
    o.input = NULL;
    cr_assert_eq(weft_process_run(&out, &o), 0);
    expect_copy(&out, data, 0);
    weft_output_free(&out);
    free(data);
    return NULL;
}

WF_TEST_WORKERS(stdio, all_passes_through_pipes) { run(2, through_pipes, (void *)(uintptr_t)child_env(workers)); }

static void *through_shell(void *env)
{
    char *data = make_data(), from[4096], to[4096], script[24000];
    weft_file *a, *b;
    weft_output out;
    cr_assert_eq(weft_file_temporary(&a, NULL, from), 0);
    cr_assert_eq(weft_file_temporary(&b, NULL, to), 0);
    cr_assert_eq(weft_file_write(a, data, SIZE), SIZE);
    snprintf(script, sizeof script, "%s <%s >%s && /bin/cat %s", command, from, to, to);
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    weft_process_options o = {.argv = argv, .env = env};
    cr_assert_eq(weft_process_run(&out, &o), 0);
    expect_copy(&out, data, SIZE);
    weft_output_free(&out);
    snprintf(script, sizeof script, "/bin/cat %s | %s | /bin/cat", from, command);
    cr_assert_eq(weft_process_run(&out, &o), 0);
    expect_copy(&out, data, SIZE);
    weft_output_free(&out);
    weft_unlink(from);
    weft_unlink(to);
    weft_file_close(a);
    weft_file_close(b);
    free(data);
    return NULL;
}

WF_TEST_WORKERS(stdio, all_passes_through_files_and_kernel_pipes)
{
    run(2, through_shell, (void *)(uintptr_t)child_env(workers));
}
