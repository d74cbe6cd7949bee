/* process_test.c - other programs: started, talked to, waited for, killed. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/process.h>
#include <support/task_support.h>
#include <support/test.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

#define SHELL(script) ((const char *const[]){"sh", "-c", script, NULL})

static weft_process *spawn(weft_process_options options)
{
    weft_process *p;
    cr_assert_eq(weft_process_spawn(&p, &options), 0);
    cr_assert_gt(weft_process_id(p), 1);
    return p;
}

static weft_process *spawn_shell(const char *script) { return spawn((weft_process_options){.argv = SHELL(script)}); }

static bool is_there(int pid) { return kill(pid, 0) == 0; }

static void *warm_up(void *arg)
{
    weft_process *p = spawn_shell("exit 0");
    cr_assert_eq(weft_process_wait(p), 0);
    weft_process_close(p);
    return arg;
}

/* In a runtime that leaves no descriptor and no child. The first one of a process makes what stays. */
static void run_clean(unsigned workers, weft_fn fn)
{
    run(workers, warm_up, NULL);
    unsigned before = open_fds();
    run(workers, fn, NULL);
    cr_assert_eq(open_fds(), before);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
}

/* ---- starting and ending ----------------------------------------------------------------------------------------- */

static int status_of(const char *script)
{
    weft_process *p = spawn_shell(script);
    int status = weft_process_wait(p);
    cr_assert_eq(weft_process_wait(p), status, "as often as you like");
    cr_assert_eq(weft_process_kill(p, SIGTERM), -ESRCH);
    cr_assert_null(weft_process_stdout(p));
    weft_process_close(p);
    return status;
}

static void *see_statuses(void *arg)
{
    cr_assert_eq(status_of("exit 0"), 0);
    cr_assert_eq(status_of("exit 7"), 7);
    cr_assert_eq(status_of("kill -KILL $$"), 256 + SIGKILL);
    cr_assert_eq(status_of("kill -TERM $$"), 256 + SIGTERM);
    weft_process_close(NULL);
    cr_assert_eq(weft_process_wait(NULL), WEFT_EINVAL);
    return arg;
}

WF_TEST_WORKERS(process, exit_statuses_and_signals) { run_clean(workers, see_statuses); }

static void *fail_to_start(void *arg)
{
    weft_process *p;
    weft_process_options none = {.argv = (const char *const[]){"/there/is/no/such/program", NULL}};
    cr_assert_eq(weft_process_spawn(&p, &none), WEFT_ENOENT);
    cr_assert_null(p);
    none.in = none.out = none.err = WEFT_STDIO_PIPE;
    cr_assert_eq(weft_process_spawn(&p, &none), WEFT_ENOENT);
    weft_process_options nowhere = {.argv = SHELL("exit 0"), .directory = "/there/is/no/such"};
    cr_assert_eq(weft_process_spawn(&p, &nowhere), WEFT_ENOENT);
    weft_process_options denied = {.argv = (const char *const[]){"/dev/null", NULL}};
    cr_assert_eq(weft_process_spawn(&p, &denied), WEFT_EACCES);
    weft_process_options empty = WEFT_PROCESS_OPTIONS_INIT, odd = {.argv = SHELL("exit 0"), .out = (weft_stdio)9};
    cr_assert_eq(weft_process_spawn(&p, &empty), WEFT_EINVAL);
    cr_assert_eq(weft_process_spawn(&p, &odd), WEFT_EINVAL);
    return arg;
}

WF_TEST_WORKERS(process, what_cannot_be_started_leaves_nothing) { run_clean(workers, fail_to_start); }

static void *talk(void *arg)
{
    weft_process_options o = {
        .argv = SHELL("cat; echo done >&2"), .in = WEFT_STDIO_PIPE, .out = WEFT_STDIO_PIPE, .err = WEFT_STDIO_PIPE};
    weft_process *p = spawn(o);
    weft_stream *in = weft_process_stdin(p), *out = weft_process_stdout(p), *err = weft_process_stderr(p);
    char text[6] = "";
    cr_assert_null(weft_process_stdin(p), "it was taken");
    cr_assert_eq(weft_write(in, "hello", 5), 5);
    cr_assert_eq(weft_read_exact(out, text, 5), 5);
    cr_assert_str_eq(text, "hello");
    cr_assert_eq(weft_close_write(in), 0);
    cr_assert_eq(weft_read_exact(err, text, 5), 5);
    cr_assert_str_eq(text, "done\n");
    cr_assert_eq(weft_read(out, text, 1), 0);
    cr_assert_eq(weft_process_wait(p), 0);
    weft_close(in);
    weft_close(out);
    weft_close(err);
    weft_process_close(p);
    return arg;
}

WF_TEST_WORKERS(process, pipes_both_ways) { run_clean(workers, talk); }

static void expect_output(weft_process_options o, const char *expected)
{
    weft_output out;
    cr_assert_eq(weft_process_run(&out, &o), 0);
    cr_assert_eq(out.status, 0);
    cr_assert_str_eq(out.out, expected);
    weft_output_free(&out);
}

static void *see_surroundings(void *arg)
{
    const char *const env[] = {"WORD=weft", "PATH=/usr/bin:/bin", NULL};
    expect_output((weft_process_options){.argv = SHELL("pwd"), .directory = "/"}, "/\n");
    expect_output((weft_process_options){.argv = SHELL("echo $WORD"), .env = env}, "weft\n");
    expect_output((weft_process_options){.argv = SHELL("cat; readlink /proc/$$/fd/0")}, "/dev/null\n");
    weft_process *p = spawn((weft_process_options){.argv = SHELL("test -e /dev/stderr"), .err = WEFT_STDIO_INHERIT});
    cr_assert_eq(weft_process_wait(p), 0);
    weft_process_close(p);
    return arg;
}

WF_TEST_WORKERS(process, directory_environment_and_descriptors) { run_clean(workers, see_surroundings); }

static void *reopen(void *arg)
{
    weft_output out;
    weft_process_options o = {
        .argv = SHELL("echo one >/dev/stdout; echo two >>/dev/stderr; test -p /dev/stdout && echo pipe")};
    cr_assert_eq(weft_process_run(&out, &o), 0);
    cr_assert_eq(out.status, 0);
    cr_assert_str_eq(out.out, "one\npipe\n"); /* with sockets, nothing of its name could be opened */
    cr_assert_str_eq(out.err, "two\n");
    weft_output_free(&out);
    return arg;
}

WF_TEST_WORKERS(process, it_can_open_its_output_by_name) { run_clean(workers, reopen); }

static void *turn_away(void *arg)
{
    weft_process *p = spawn((weft_process_options){.argv = (const char *const[]){"yes", NULL}, .out = WEFT_STDIO_PIPE});
    weft_stream *out = weft_process_stdout(p);
    char c;
    cr_assert_eq(weft_read(out, &c, 1), 1);
    weft_close(out);
    cr_assert_eq(weft_process_wait(p), 256 + SIGPIPE);
    weft_process_close(p);
    p = spawn((weft_process_options){.argv = SHELL("exec <&-; kill -STOP $$"), .in = WEFT_STDIO_PIPE});
    weft_stream *in = weft_process_stdin(p);
    ssize_t n;
    do
        n = weft_write(in, "x", 1); /* until it has closed its end */
    while (n == 1);
    cr_assert(n == WEFT_EPIPE || n == WEFT_ECONNRESET, "it is %zd", n);
    weft_close(in);
    weft_process_close(p);
    return arg;
}

WF_TEST_WORKERS(process, who_writes_when_the_other_has_gone_is_told) { run_clean(workers, turn_away); }

/* ---- waiting ---------------------------------------------------------------------------------------------------- */

static void *wait_for(void *process) { return (void *)(intptr_t)weft_process_wait(process); }

static void *wait_together(void *arg)
{
    weft_process *p = spawn_shell("sleep 1000");
    weft_task *tasks[4], *aborted;
    void *result;
    weft_scope scope;
    for (int i = 0; i < 4; i++)
        cr_assert_eq(weft_spawn(&tasks[i], wait_for, p), 0);
    cr_assert_eq(weft_spawn(&aborted, wait_for, p), 0);
    EVENTUALLY(weft_task_state(aborted) == WEFT_TASK_IDLE);
    cr_assert_eq(weft_task_close(aborted), 0);
    cr_assert_eq(weft_scope_enter(&scope, WEFT_MS), 0);
    cr_assert_eq(weft_process_wait(p), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    weft_case cases[] = {WEFT_EXITED(p), WEFT_AFTER(WEFT_MS)};
    cr_assert_eq(weft_select(cases, 2), 1);
    cr_assert_eq(weft_process_kill(p, SIGTERM), 0);
    cr_assert_eq(weft_select(cases, 1), 0);
    cr_assert_eq(cases[0].status, 256 + SIGTERM);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(weft_join(tasks[i], &result), 0);
        cr_assert_eq((intptr_t)result, 256 + SIGTERM);
    }
    weft_process_close(p);
    return arg;
}

WF_TEST_WORKERS(process, several_wait_and_interrupted_ones_leave) { run_clean(workers, wait_together); }

static void *close_running(void *arg)
{
    weft_process *p = spawn((weft_process_options){.argv = SHELL("exec sleep 1000"), .in = WEFT_STDIO_PIPE});
    int pid = weft_process_id(p);
    weft_process_close(p);
    cr_assert_not(is_there(pid));
    p = spawn((weft_process_options){.argv = SHELL("exec sleep 1000"), .leave_running = 1});
    pid = weft_process_id(p);
    weft_process_close(p);
    cr_assert(is_there(pid));
    kill(pid, SIGKILL);
    EVENTUALLY(!is_there(pid));
    return arg;
}

WF_TEST_WORKERS(process, closing_kills_unless_it_is_left_running) { run_clean(workers, close_running); }

static weft_process *left[3]; /* so that they are no leaks */

static void *leave_them(void *arg)
{
    for (int i = 0; i < 3; i++)
        left[i] = spawn((weft_process_options){.argv = SHELL("exec sleep 1000")});
    return arg;
}

WF_TEST_WORKERS(process, what_runs_at_the_end_is_killed) { run_clean(workers, leave_them); }

/* ---- weft_process_run() --------------------------------------------------------------------------------------------- */

enum { LARGE = 4 << 20 };

static void *run_large(void *arg)
{
    char *data = malloc(LARGE);
    weft_output out;
    for (size_t i = 0; i < LARGE; i++)
        data[i] = (char)(i * 7 + i / 251);
    weft_process_options o = {.argv = SHELL("cat; head -c 4194304 /dev/zero >&2; exit 3"), .input = data, .input_size = LARGE};
    cr_assert_eq(weft_process_run(&out, &o), 0);
    cr_assert_eq(out.status, 3);
    cr_assert_eq(out.out_size, LARGE);
    cr_assert_eq(out.err_size, LARGE);
    cr_assert_arr_eq(out.out, data, LARGE);
    weft_output_free(&out);
    o.argv = SHELL("exit 0");
    cr_assert_eq(weft_process_run(&out, &o), 0, "it need not read");
    weft_output_free(&out);
    free(data);
    return arg;
}

WF_TEST_WORKERS(process, run_reads_and_writes_at_the_same_time) { run_clean(workers, run_large); }

static void *run_too_much(void *arg)
{
    weft_output out;
    weft_process_options o = {.argv = (const char *const[]){"yes", NULL}, .output_limit = 100000};
    cr_assert_eq(weft_process_run(&out, &o), WEFT_EMSGSIZE);
    cr_assert_null(out.out);
    o.argv = (const char *const[]){"sleep", "1000", NULL};
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, 20 * WEFT_MS), 0);
    cr_assert_eq(weft_process_run(&out, &o), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    return arg;
}

WF_TEST_WORKERS(process, run_kills_what_writes_too_much_or_takes_too_long) { run_clean(workers, run_too_much); }

static void *on_thread(void *rt)
{
    weft_output out;
    weft_process_options o = {.argv = SHELL("echo thread")};
    cr_assert_eq(weft_process_run(&out, &o), WEFT_ENORUNTIME);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    expect_output(o, "thread\n");
    cr_assert_eq(status_of("exit 4"), 4);
    weft_runtime_leave();
    return NULL;
}

Test(process, on_an_ordinary_thread)
{
    weft_options options = {.workers = 2};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    in_threads(3, on_thread, rt);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}
