/* scarce_os_test.c - files, processes, standard input and output and signals on a machine that has run out of everything. See support/scarce.h. */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/scarce.h>
#include <unistd.h>
#include <weft.h>

/* ---- files ------------------------------------------------------------------------------------------------------- */

static const char *place(const char *name)
{
    static char paths[4][64];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "/tmp/weft_scarce_%d%s", (int)getpid(), name);
    return path;
}

static void files(void)
{
    char buf[8], path[PATH_MAX];
    weft_file_info info;
    weft_file *file;
    SCARCE_MAKE(file, weft_file_open(&file, place("/a"), O_RDWR | O_CREAT, 0600));
    SCARCE_TRY(4, weft_file_write(file, "abcd", 4));
    SCARCE_TRY(4, weft_file_pwrite(file, "efgh", 4, 4));
    SCARCE_NONE(cr_assert_eq(weft_file_seek(file, 0, SEEK_SET), 0));
    SCARCE_TRY(8, weft_file_read(file, buf, sizeof buf));
    SCARCE_TRY(4, weft_file_pread(file, buf, 4, 4));
    SCARCE_TRY(0, weft_file_stat(file, &info));
    SCARCE_TRY(0, weft_file_truncate(file, 3));
    SCARCE_TRY(0, weft_file_sync(file, 1));
    SCARCE_NONE(cr_assert_geq(weft_file_fd(file), 0));
    SCARCE_TRY(0, (weft_file_close(file), 0));
    SCARCE_MAKE(file, weft_file_temporary(&file, place(""), path));
    weft_file_close(file);
    cr_assert_eq(weft_unlink(path), 0);
    cr_assert_eq(weft_unlink(place("/a")), 0);
    SCARCE_MAKE(file, weft_file_temporary(&file, place(""), NULL));
    weft_file_close(file);
}

static void whole_files(void)
{
    enum { SIZE = 100000 };
    static char bytes[SIZE];
    void *data;
    size_t size;
    weft_file_info info;
    memset(bytes, 'x', SIZE);
    SCARCE_TRY(0, weft_file_store(place("/b"), bytes, SIZE, 0600));
    SCARCE_MAKE(data, weft_file_load(place("/b"), &data, &size));
    cr_assert_eq(size, SIZE);
    free(data);
    SCARCE_MAKE(data, weft_file_load("/proc/self/maps", &data, &size)); /* it does not tell its size */
    cr_assert_gt(size, 0);
    free(data);
    SCARCE_TRY(0, weft_stat(place("/b"), &info));
    SCARCE_TRY(0, weft_rename(place("/b"), place("/c")));
    SCARCE_TRY(0, weft_unlink(place("/c")));
    SCARCE_TRY(0, weft_mkdir(place("/d"), 0700));
    SCARCE_TRY(0, weft_rmdir(place("/d")));
}

static void folders(void)
{
    enum { MANY = 5 };
    static const char *const names[MANY] = {"/1", "/2", "/3", "/4", "/5"};
    char **found;
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_mkdir(place(names[i]), 0700), 0);
    SCARCE_TRY(MANY, weft_directory(place(""), &found));
    cr_assert_str_eq(found[MANY - 1], "5");
    SCARCE_NONE(weft_names_free(found, MANY));
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_rmdir(place(names[i])), 0);
}

/* What is there when the scene ends was left behind. */
static void in_a_folder(void (*scene)(void))
{
    cr_assert_eq(weft_mkdir(place(""), 0700), 0);
    scene();
    cr_assert_eq(weft_rmdir(place("")), 0, "something is left behind, %s", scarce_at());
}

static void use_files(void) { in_a_folder(files); }
static void use_whole_files(void) { in_a_folder(whole_files); }
static void use_folders(void) { in_a_folder(folders); }

/* ---- processes ----------------------------------------------------------------------------------------------------- */

static const char *const cat[] = {"cat", NULL}, *const failing[] = {"/nowhere/weft", NULL};

static void processes(void)
{
    weft_process_options o = {.argv = cat, .in = WEFT_STDIO_PIPE, .out = WEFT_STDIO_PIPE, .err = WEFT_STDIO_PIPE};
    weft_process *p;
    weft_stream *in, *out, *err;
    char buf[4];
    SCARCE_MAKE(p, weft_process_spawn(&p, &o));
    SCARCE_NONE(in = weft_process_stdin(p));
    SCARCE_NONE(out = weft_process_stdout(p));
    SCARCE_NONE(err = weft_process_stderr(p));
    SCARCE_NONE(cr_assert_gt(weft_process_id(p), 0));
    cr_assert_eq(weft_write(in, "abcd", 4), 4);
    cr_assert_eq(weft_read_exact(out, buf, 4), 4);
    SCARCE_TRY(0, weft_process_kill(p, SIGTERM));
    SCARCE_TRY(256 + SIGTERM, weft_process_wait(p));
    weft_close(in);
    weft_close(out);
    weft_close(err);
    SCARCE_TRY(0, (weft_process_close(p), 0));
}

/* A close kills it, whatever is to be had. */
static void kill_them(void)
{
    weft_process_options o = {.argv = cat, .in = WEFT_STDIO_PIPE};
    weft_process *p;
    cr_assert_eq(weft_process_spawn(&p, &o), 0);
    SCARCE_TRY(0, (weft_process_close(p), 0));
    o.argv = failing;
    SCARCE_TRY(WEFT_ENOENT, weft_process_spawn(&p, &o));
    cr_assert_null(p);
}

static void run_one(void)
{
    enum { SIZE = 70000 };
    static char bytes[SIZE];
    weft_process_options o = {.argv = cat, .input = bytes, .input_size = SIZE};
    weft_output output;
    memset(bytes, 'x', SIZE);
    SCARCE_TRY(0, weft_process_run(&output, &o));
    cr_assert_eq(output.out_size, SIZE);
    SCARCE_NONE(weft_output_free(&output));
}

/* ---- standard input and output -------------------------------------------------------------------------------------- */

/* They are busy for the moment that the last closing takes. */
static int open_input(weft_stream **s)
{
    int err;
    while ((err = SCARCE_WITHIN(weft_stdin(s))) == WEFT_EBUSY)
        weft_sleep(WEFT_MS);
    return err;
}

static int open_output(weft_stream **s)
{
    int err;
    while ((err = SCARCE_WITHIN(weft_stdout(s))) == WEFT_EBUSY)
        weft_sleep(WEFT_MS);
    return err;
}

static void standard_streams(void)
{
    weft_stream *in, *out;
    SCARCE_MAKE(in, open_input(&in));
    SCARCE_MAKE(out, open_output(&out));
    cr_assert_eq(weft_write(out, "", 0), 0);
    weft_close(in);
    weft_close(out);
}

/* ---- signals --------------------------------------------------------------------------------------------------------- */

static void signals(void)
{
    weft_signal *a, *b;
    SCARCE_MAKE(a, weft_signal_open(&a, SIGUSR1));
    SCARCE_MAKE(b, weft_signal_open(&b, SIGUSR2));
    cr_assert_eq(kill(getpid(), SIGUSR1), 0);
    SCARCE_TRY(1, weft_signal_next(a));
    SCARCE_NONE(weft_signal_close(a));
    SCARCE_NONE(weft_signal_close(b));
}

static void *wait_for_the_end(void *arg)
{
    *(int *)arg = SCARCE_WITHIN(weft_shutdown_signal());
    return NULL;
}

/* Waits until it has a signal, or is interrupted: by its end it has said which. */
static int end_by_signal(void)
{
    int got = WEFT_ENOMEM;
    weft_task *task;
    int err = weft_spawn(&task, wait_for_the_end, &got);
    if (err < 0)
        return err;
    weft_scope s;
    cr_assert_eq(weft_scope_enter(&s, 5 * WEFT_MS), 0);
    (void)weft_wait(task);
    (void)weft_scope_leave(&s);
    cr_assert_eq(weft_task_close(task), 0);
    return got == WEFT_ECANCELED ? 0 : got;
}

static void shutdown_signal(void) { SCARCE_TRY(0, end_by_signal()); }

static const scarce_scene scenes[] = {
    SCARCE_STRAND(use_files, 1),        SCARCE_STRAND(use_whole_files, 3), SCARCE_STRAND(use_folders, 3),
    SCARCE_STRAND(processes, 5),        SCARCE_STRAND(kill_them, 1),       SCARCE_STRAND(run_one, 5),
    SCARCE_STRAND(standard_streams, 4), SCARCE_STRAND(signals, 4),         SCARCE_STRAND(shutdown_signal, 4),
};

Test(scarce_os, whatever_is_refused_is_reported_and_leaves_nothing_1_worker)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 1);
}

Test(scarce_os, whatever_is_refused_is_reported_and_leaves_nothing_2_workers)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 2);
}
