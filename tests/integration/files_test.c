/* files_test.c - files by way of the pool: each test has a directory of its own, which is empty again when it ends. */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <support/process.h>
#include <support/task_support.h>
#include <support/test.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weft.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static char place[] = "/tmp/weft-files-XXXXXX";

static void enter_place(void) { cr_assert_not_null(mkdtemp(place)); }
static void leave_place(void) { cr_assert_eq(rmdir(place), 0, "something was left in it"); }

/* A path in the test's directory. Of the last four calls, of whatever task. */
static const char *in_place(const char *name)
{
    static char paths[4][PATH_MAX];
    static atomic_uint turn;
    char *path = paths[turn++ % 4];
    snprintf(path, PATH_MAX, "%s/%s", place, name);
    return path;
}

/* As a strand, and on an ordinary thread. */
static void run_everywhere(unsigned workers, weft_fn fn)
{
    run(workers, echo, NULL);
    unsigned fds = open_fds();
    fn(NULL);
    cr_assert_eq(open_fds(), fds);
    run(workers, fn, NULL);
    cr_assert_eq(open_fds(), fds);
}

static weft_file *create(const char *name)
{
    weft_file *file;
    cr_assert_eq(weft_file_open(&file, in_place(name), O_RDWR | O_CREAT | O_EXCL, 0644), 0);
    return file;
}

static void discard(const char *name) { cr_assert_eq(weft_unlink(in_place(name)), 0); }

/* ---- one file ------------------------------------------------------------------------------------------------ */

static void *round_trip(void *arg)
{
    char got[20] = "";
    weft_file_info info;
    weft_file *file = create("a");
    cr_assert_eq(weft_file_write(file, "hello, world", 12), 12);
    cr_assert_eq(weft_file_seek(file, 0, SEEK_SET), 0);
    cr_assert_eq(weft_file_read(file, got, 5), 5);
    cr_assert_str_eq(got, "hello");
    cr_assert_eq(weft_file_pread(file, got, sizeof got, 7), 5);
    cr_assert_eq(memcmp(got, "world", 5), 0);
    cr_assert_eq(weft_file_seek(file, 0, SEEK_CUR), 5, "the position stays");
    cr_assert_eq(weft_file_pwrite(file, "W", 1, 7), 1);
    cr_assert_eq(weft_file_read(file, got, sizeof got), 7);
    cr_assert_eq(memcmp(got, ", World", 7), 0);
    cr_assert_eq(weft_file_read(file, got, sizeof got), 0);
    cr_assert_eq(weft_file_truncate(file, 3), 0);
    cr_assert_eq(weft_file_sync(file, 0), 0);
    cr_assert_eq(weft_file_sync(file, 1), 0);
    cr_assert_eq(weft_file_stat(file, &info), 0);
    cr_assert_eq(info.size, 3u);
    cr_assert(S_ISREG(info.mode));
    cr_assert_eq(info.links, 1u);
    cr_assert_eq(info.uid, getuid());
    cr_assert_gt(info.modified, 0);
    cr_assert_neq(fcntl(weft_file_fd(file), F_GETFD) & FD_CLOEXEC, 0);
    weft_file_close(file);
    discard("a");
    return arg;
}

WF_TEST_WORKERS(files, read_and_write_at_the_position_and_elsewhere)
{
    enter_place();
    run_everywhere(workers, round_trip);
    leave_place();
}

static void *errors(void *arg)
{
    weft_file *file = arg;
    weft_file_info info;
    char byte;
    cr_assert_eq(weft_file_open(&file, in_place("nobody"), O_RDONLY, 0), WEFT_ENOENT);
    cr_assert_null(file);
    cr_assert_not_null(strstr(weft_error_detail(), "nobody"));
    cr_assert_eq(weft_file_open(&file, NULL, O_RDONLY, 0), WEFT_EINVAL);
    cr_assert_eq(weft_file_open(NULL, place, O_RDONLY, 0), WEFT_EINVAL);
    cr_assert_eq(weft_file_temporary(&file, in_place("nobody"), NULL), WEFT_ENOENT);
    cr_assert_eq(weft_file_read(NULL, &byte, 1), WEFT_EINVAL);
    cr_assert_eq(weft_file_seek(NULL, 0, SEEK_SET), WEFT_EINVAL);
    cr_assert_eq(weft_stat(in_place("nobody"), &info), WEFT_ENOENT);
    cr_assert_eq(weft_stat(NULL, &info), WEFT_EINVAL);
    cr_assert_eq(weft_rename(in_place("nobody"), in_place("else")), WEFT_ENOENT);
    cr_assert_eq(weft_rename(place, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_unlink(in_place("nobody")), WEFT_ENOENT);
    cr_assert_eq(weft_unlink(NULL), WEFT_EINVAL);
    cr_assert_eq(weft_rmdir(in_place("nobody")), WEFT_ENOENT);
    cr_assert_eq(weft_mkdir(place, 0755), -EEXIST);
    weft_file_close(NULL);
    cr_assert_eq(weft_file_open(&file, place, O_RDONLY | O_DIRECTORY, 0), 0);
    cr_assert_eq(weft_file_read(file, NULL, 1), WEFT_EINVAL);
    cr_assert_eq(weft_file_read(file, &byte, 1), -EISDIR);
    cr_assert_eq(weft_file_write(file, &byte, 1), WEFT_EBADF);
    cr_assert_eq(weft_file_truncate(file, 0), WEFT_EINVAL);
    cr_assert_eq(weft_file_seek(file, -1, SEEK_SET), WEFT_EINVAL);
    weft_file_close(file);
    return NULL;
}

WF_TEST_WORKERS(files, failures_are_the_systems_codes)
{
    enter_place();
    run_everywhere(workers, errors);
    leave_place();
}

static void *temporary(void *arg)
{
    char path[PATH_MAX], **names, byte = 'x';
    weft_file *file;
    weft_file_info info;
    cr_assert_eq(weft_file_temporary(&file, place, NULL), 0);
    cr_assert_eq(weft_file_write(file, &byte, 1), 1);
    cr_assert_eq(weft_file_pread(file, &byte, 1, 0), 1);
    cr_assert_eq(weft_directory(place, &names), 0, "it has no name");
    cr_assert_neq(fcntl(weft_file_fd(file), F_GETFD) & FD_CLOEXEC, 0);
    weft_file_close(file);
    cr_assert_eq(weft_file_temporary(&file, place, path), 0);
    cr_assert_neq(fcntl(weft_file_fd(file), F_GETFD) & FD_CLOEXEC, 0);
    cr_assert_eq(weft_file_stat(file, &info), 0);
    cr_assert_eq(info.mode & 0777, 0600u);
    weft_file_close(file);
    cr_assert_eq(strncmp(path, place, strlen(place)), 0);
    cr_assert_eq(weft_unlink(path), 0);
    cr_assert_eq(weft_file_temporary(&file, NULL, NULL), 0);
    weft_file_close(file);
    return arg;
}

WF_TEST_WORKERS(files, temporary_ones_with_and_without_a_name)
{
    enter_place();
    run_everywhere(workers, temporary);
    leave_place();
}

/* ---- whole files --------------------------------------------------------------------------------------------- */

static void expect_content(const char *name, const char *content, size_t size)
{
    void *data;
    size_t got = 1;
    cr_assert_eq(weft_file_load(in_place(name), &data, &got), 0);
    cr_assert_eq(got, size);
    cr_assert_eq(memcmp(data, content, size), 0);
    cr_assert_eq(((char *)data)[size], 0);
    free(data);
}

static void *whole(void *arg)
{
    enum { BIG = 300000 };
    static char big[BIG];
    void *data = arg;
    size_t size = 1;
    weft_file_info info;
    memset(big, 'b', sizeof big);
    cr_assert_eq(weft_file_store(in_place("w"), "first", 5, 0640), 0);
    expect_content("w", "first", 5);
    cr_assert_eq(weft_stat(in_place("w"), &info), 0);
    cr_assert_eq(info.mode & 0777, 0640u);
    cr_assert_eq(weft_file_store(in_place("w"), big, BIG, 0600), 0);
    expect_content("w", big, BIG);
    cr_assert_eq(weft_file_store(in_place("w"), NULL, 0, 0600), 0);
    expect_content("w", "", 0);
    discard("w");
    cr_assert_eq(weft_file_load(in_place("w"), &data, &size), WEFT_ENOENT);
    cr_assert_null(data);
    cr_assert_eq(size, 0u);
    cr_assert_eq(weft_file_load(place, &data, &size), -EISDIR);
    cr_assert_eq(weft_file_load("/proc/self/status", &data, &size), 0, "which says that it has no size");
    cr_assert_gt(size, 100u);
    cr_assert_eq(strlen(data), size);
    free(data);
    cr_assert_eq(weft_file_store(in_place("no/such"), "x", 1, 0600), WEFT_ENOENT);
    cr_assert_eq(weft_mkdir(in_place("full"), 0755), 0);
    cr_assert_eq(weft_file_store(in_place("full"), "x", 1, 0600), -EISDIR);
    cr_assert_eq(weft_rmdir(in_place("full")), 0);
    cr_assert_eq(weft_file_store(NULL, "x", 1, 0600), WEFT_EINVAL);
    cr_assert_eq(weft_file_load(place, NULL, &size), WEFT_EINVAL);
    return NULL;
}

WF_TEST_WORKERS(files, load_and_store)
{
    enter_place();
    run_everywhere(workers, whole);
    leave_place();
}

enum { PAGE = 10000 };

typedef struct replacing {
    char path[PATH_MAX];
    atomic_int done;
} replacing;

static void *replace_often(void *arg)
{
    replacing *r = arg;
    char *page = malloc(PAGE);
    for (size_t i = 0; i < wf_test_scale(200); i++) {
        memset(page, 'a' + (int)(i % 26), PAGE);
        cr_assert_eq(weft_file_store(r->path, page, PAGE - (i % 100), 0600), 0);
    }
    free(page);
    r->done = 1;
    return NULL;
}

static void *replace_root(void *arg)
{
    static replacing r;
    weft_task *task;
    snprintf(r.path, sizeof r.path, "%s", in_place("p"));
    cr_assert_eq(weft_file_store(r.path, "z", 1, 0600), 0);
    cr_assert_eq(weft_spawn(&task, replace_often, &r), 0);
    while (!r.done) {
        char *data;
        size_t size;
        cr_assert_eq(weft_file_load(r.path, (void **)&data, &size), 0);
        for (size_t i = 1; i < size; i++)
            cr_assert_eq(data[i], data[0], "parts of two");
        cr_assert(size == 1 || size > PAGE - 100);
        free(data);
    }
    cr_assert_eq(weft_join(task, NULL), 0);
    discard("p");
    return arg;
}

WF_TEST_WORKERS(files, nobody_ever_sees_a_part_of_what_is_stored)
{
    enter_place();
    run(workers, replace_root, NULL);
    leave_place();
}

/* ---- names --------------------------------------------------------------------------------------------------- */

static void *names(void *arg)
{
    static const char *const made[] = {"m", "z", "a", ".hidden", "b", "aa"};
    static const char *const sorted[] = {".hidden", "a", "aa", "b", "m", "z"};
    char **found = arg;
    weft_file_info info;
    cr_assert_eq(weft_directory(place, &found), 0);
    weft_names_free(found, 0);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(weft_file_store(in_place(made[i]), made[i], 1, 0600), 0);
    cr_assert_eq(weft_directory(place, &found), 6);
    for (int i = 0; i < 6; i++)
        cr_assert_str_eq(found[i], sorted[i]);
    weft_names_free(found, 6);
    cr_assert_eq(weft_rename(in_place("m"), in_place("z")), 0);
    expect_content("z", "m", 1);
    cr_assert_eq(weft_mkdir(in_place("d"), 0700), 0);
    cr_assert_eq(weft_stat(in_place("d"), &info), 0);
    cr_assert(S_ISDIR(info.mode));
    cr_assert_eq(weft_rmdir(in_place("d")), 0);
    for (int i = 1; i < 6; i++)
        discard(made[i]);
    cr_assert_eq(weft_directory(in_place("nobody"), &found), WEFT_ENOENT);
    cr_assert_null(found);
    cr_assert_eq(weft_directory(NULL, &found), WEFT_EINVAL);
    weft_names_free(NULL, 3);
    return NULL;
}

WF_TEST_WORKERS(files, directories_are_listed_in_order)
{
    enter_place();
    run_everywhere(workers, names);
    leave_place();
}

/* ---- interruptions ------------------------------------------------------------------------------------------- */

static void *close_cancelled(void *arg)
{
    atomic_int *fd = arg;
    weft_file *file = create("c");
    *fd = weft_file_fd(file);
    weft_sleep(WEFT_FOREVER);
    cr_assert_eq(weft_file_sync(file, 0), WEFT_ECANCELED);
    weft_file_close(file);
    cr_assert_eq(fcntl(*fd, F_GETFD), -1, "it is closed when the call returns");
    return NULL;
}

static void *interruptions_root(void *arg)
{
    atomic_int fd = -1;
    weft_task *task;
    weft_scope scope;
    weft_file *file = arg;
    cr_assert_eq(weft_spawn(&task, close_cancelled, &fd), 0);
    EVENTUALLY(fd >= 0 && weft_task_state(task) == WEFT_TASK_IDLE);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    discard("c");
    cr_assert_eq(weft_scope_enter(&scope, 0), 0);
    cr_assert_eq(weft_file_open(&file, in_place("never"), O_CREAT | O_WRONLY, 0600), WEFT_ETIMEDOUT);
    cr_assert_null(file);
    cr_assert_eq(weft_mkdir(in_place("never"), 0700), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    return NULL; /* nothing was made, or the directory could not be removed */
}

WF_TEST_WORKERS(files, interrupted_they_have_done_nothing_but_a_close_completes)
{
    enter_place();
    run(workers, interruptions_root, NULL);
    leave_place();
}

enum { PIPED = 1 << 20 };

typedef struct writing {
    ssize_t code;
    int after;
} writing;

static void *write_pipe(void *arg)
{
    static char bytes[PIPED];
    writing *w = arg;
    weft_file *file;
    cr_assert_eq(weft_file_open(&file, in_place("pipe"), O_WRONLY, 0), 0);
    w->code = weft_file_write(file, bytes, PIPED);
    w->after = weft_sleep(0);
    weft_file_close(file);
    return NULL;
}

static int bytes_in(int fd)
{
    int n = 0;
    return ioctl(fd, FIONREAD, &n) == 0 ? n : -1;
}

static void drain(int fd, size_t total)
{
    static char buf[PIPED];
    while (total > 0) {
        ssize_t n = read(fd, buf, total);
        if (n > 0)
            total -= (size_t)n;
        else
            cr_assert_eq(weft_yield(), 0);
    }
}

/* There are bytes in the pipe, so the write has begun; and it cannot have ended. */
static void *begun_root(void *arg)
{
    writing w = {0};
    weft_task *task;
    cr_assert_eq(mkfifo(in_place("pipe"), 0600), 0);
    int fd = open(in_place("pipe"), O_RDWR | O_NONBLOCK);
    cr_assert_eq(weft_spawn(&task, write_pipe, &w), 0);
    EVENTUALLY(bytes_in(fd) > 0);
    weft_abort(task);
    drain(fd, PIPED);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(w.code, PIPED, "once begun it completes");
    cr_assert_eq(w.after, WEFT_ECANCELED);
    close(fd);
    discard("pipe");
    return arg;
}

WF_TEST_WORKERS(files, once_begun_they_complete)
{
    enter_place();
    run(workers, begun_root, NULL);
    leave_place();
}

/* ---- much, and many ------------------------------------------------------------------------------------------ */

static void *drain_pipe(void *arg)
{
    weft_file *file;
    size_t *total = arg;
    static char buf[5000];
    ssize_t n;
    cr_assert_eq(weft_file_open(&file, in_place("pipe"), O_RDONLY, 0), 0);
    while ((n = weft_file_read(file, buf, sizeof buf)) > 0)
        *total += (size_t)n;
    cr_assert_eq(n, 0);
    weft_file_close(file);
    return NULL;
}

static void *pipe_root(void *arg)
{
    static char bytes[PIPED];
    size_t total = 0;
    weft_task *task;
    weft_file *file;
    cr_assert_eq(mkfifo(in_place("pipe"), 0600), 0);
    cr_assert_eq(weft_spawn(&task, drain_pipe, &total), 0);
    cr_assert_eq(weft_file_open(&file, in_place("pipe"), O_WRONLY, 0), 0);
    cr_assert_eq(weft_file_write(file, bytes, PIPED), PIPED, "all of it, however little the pipe takes");
    weft_file_close(file);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(total, PIPED);
    discard("pipe");
    return arg;
}

WF_TEST_WORKERS(files, a_write_writes_all)
{
    enter_place();
    run(workers, pipe_root, NULL);
    leave_place();
}

static void *keep_busy(void *arg)
{
    char path[64], text[32];
    void *data;
    size_t size;
    int n = snprintf(text, sizeof text, "%zu", (size_t)(uintptr_t)arg);
    snprintf(path, sizeof path, "%s/%s", place, text);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(weft_file_store(path, text, (size_t)n, 0600), 0);
        cr_assert_eq(weft_file_load(path, &data, &size), 0);
        cr_assert_eq(size, (size_t)n);
        cr_assert_eq(memcmp(data, text, size), 0);
        free(data);
    }
    cr_assert_eq(weft_unlink(path), 0);
    return NULL;
}

static void *many_root(void *arg)
{
    weft_group *group;
    cr_assert_eq(weft_group_create(&group), 0);
    for (uintptr_t i = 0; i < wf_test_scale(200); i++)
        cr_assert_eq(weft_group_spawn(group, keep_busy, (void *)i), 0);
    cr_assert_eq(weft_group_wait(group), 0);
    cr_assert_eq(weft_group_close(group), 0);
    return arg;
}

WF_TEST_WORKERS(files, many_tasks_at_once)
{
    enter_place();
    run(workers, echo, NULL);
    unsigned fds = open_fds(), running = threads();
    run(workers, many_root, NULL);
    cr_assert_eq(open_fds(), fds);
    SPIN_UNTIL(threads() <= running);
    leave_place();
}

static void *paused_root(void *arg)
{
    int64_t began = weft_now();
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, 3600 * WEFT_SEC), 0);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(weft_file_store(in_place("t"), "x", 1, 0600), 0);
    discard("t");
    cr_assert_eq(weft_scope_leave(&scope), 0);
    cr_assert_eq(weft_now(), began);
    return arg;
}

WF_TEST_WORKERS(files, the_paused_clock_stands_meanwhile)
{
    weft_options options = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    enter_place();
    cr_assert_eq(weft_run_with(&options, paused_root, NULL, NULL), 0);
    leave_place();
}
