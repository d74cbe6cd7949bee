/* waits_os_test.c - what is said of a task that waits for the system: files, processes, signals. */
#include <fcntl.h>
#include <signal.h>
#include <support/signal_support.h>
#include <support/task_support.h>
#include <support/waits.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct things {
    THINGS_COMMON;
    weft_signal *signal;
    weft_process *process;
    weft_output output;
    weft_file *file;
    char path[64];
    void *data;
    size_t size;
} things;

/* ---- files ----------------------------------------------------------------------------------------------------- */

CALL(weft_file_open, weft_file_open(&s->file, s->path, O_RDONLY, 0))
CALL(weft_file_load, weft_file_load(s->path, &s->data, &s->size))

/* To open it for reading is to wait for one who writes. */
static void make_fifo(things *s)
{
    char folder[] = "/tmp/weft-waits-XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    snprintf(s->path, sizeof s->path, "%s/fifo", folder);
    cr_assert_eq(mkfifo(s->path, 0600), 0);
}

static void drop_fifo(things *s)
{
    cr_assert_eq(unlink(s->path), 0);
    *strrchr(s->path, '/') = 0;
    cr_assert_eq(rmdir(s->path), 0);
}

static void open_and_close(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    close(fd);
}

static void *files(void *arg)
{
    things s = {.result = -1};
    make_fifo(&s);
    WAITS(&s, weft_file_open, "blocking", "", open_and_close(s.path));
    cr_assert_eq(s.result, 0);
    weft_file_close(s.file);
    WAITS(&s, weft_file_load, "blocking", "", open_and_close(s.path));
    cr_assert_eq(s.result, 0);
    cr_assert_eq(s.size, 0u);
    free(s.data);
    drop_fifo(&s);
    return arg;
}

Test(waits_os, for_a_file) { run(2, files, NULL); }

/* ---- processes ------------------------------------------------------------------------------------------------- */

static const weft_process_options long_one = {.argv = (const char *[]){"sleep", "1000", NULL}};

CALL(weft_process_wait, weft_process_wait(s->process))
CALL(weft_process_run, weft_process_run(&s->output, &long_one))

static void *processes(void *arg)
{
    things s = {.result = -1};
    cr_assert_eq(weft_process_spawn(&s.process, &long_one), 0);
    WAITS(&s, weft_process_wait, "process", text("%d", weft_process_id(s.process)), weft_process_kill(s.process, SIGTERM));
    cr_assert_eq(s.result, 256 + SIGTERM);
    weft_process_close(s.process);
    WAITS(&s, weft_process_run, "group", "0x*", weft_abort(who));
    cr_assert_eq(s.result, WEFT_ECANCELED);
    return arg;
}

Test(waits_os, for_a_process) { run(2, processes, NULL); }

/* ---- signals --------------------------------------------------------------------------------------------------- */

CALL(weft_signal_next, weft_signal_next(s->signal))
CALL(weft_shutdown_signal, weft_shutdown_signal())

static void *signals(void *arg)
{
    things s = {.signal = watch(SIGUSR2)};
    WAITS(&s, weft_signal_next, "signal", text("%d", SIGUSR2), send_signal(SIGUSR2));
    cr_assert_eq(s.result, 1);
    weft_signal_close(s.signal);
    WAITS(&s, weft_shutdown_signal, "signal", text("%d", SIGTERM), weft_abort(who));
    return arg;
}

Test(waits_os, for_a_signal) { run(2, signals, NULL); }
