/* defects_blocking_test.c - what went wrong in the executors that weft learns from must not go wrong here: blocking work. */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <support/latch.h>
#include <support/task_support.h>
#include <support/test.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weft.h>

/* ---- d40: name servers, disks and users' jobs had one small pool of threads, and whoever was slow held up the rest ----- */

enum { USERS = 4, SLOW_FILES = 40 };

static char place[] = "/tmp/weft-d40-XXXXXX", file_path[PATH_MAX], pipe_path[PATH_MAX];

static void use_files(void)
{
    void *data;
    size_t size;
    cr_assert_eq(weft_file_store(file_path, "quick", 5, 0600), 0);
    cr_assert_eq(weft_file_load(file_path, &data, &size), 0);
    cr_assert_eq(size, 5u);
    free(data);
    cr_assert_eq(weft_unlink(file_path), 0);
}

/* Twice as many jobs as threads: the rest is queued. */
static void files_while_jobs_are_slow(void)
{
    latch l = LATCH_INIT;
    weft_group *group;
    cr_assert_eq(weft_group_create(&group), 0);
    weft_spawn_options options = {.blocking = 1, .group = group};
    for (int i = 0; i < 2 * USERS; i++)
        cr_assert_eq(weft_spawn_with(NULL, &options, latch_pass, &l), 0);
    EVENTUALLY(l.inside == USERS);
    use_files();
    cr_assert_eq(l.entered, USERS);
    latch_open(&l);
    cr_assert_eq(weft_group_wait(group), 0);
    cr_assert_eq(l.most, USERS);
    cr_assert_eq(weft_group_close(group), 0);
}

static void *open_slowly(void *arg)
{
    weft_file *file;
    atomic_int *begun = arg;
    ++*begun;
    cr_assert_eq(weft_file_open(&file, pipe_path, O_RDONLY, 0), 0);
    weft_file_close(file);
    return NULL;
}

/* A pipe without a writer is a disk that does not answer. */
static void jobs_while_files_are_slow(void)
{
    atomic_int begun = 0;
    weft_group *group;
    int fd = -1;
    cr_assert_eq(mkfifo(pipe_path, 0600), 0);
    cr_assert_eq(weft_group_create(&group), 0);
    for (int i = 0; i < SLOW_FILES; i++)
        cr_assert_eq(weft_group_spawn(group, open_slowly, &begun), 0);
    EVENTUALLY(begun == SLOW_FILES);
    for (int i = 0; i < 3 * USERS; i++) {
        void *result;
        weft_task *task;
        cr_assert_eq(weft_blocking(echo, &i, &result), 0);
        cr_assert_eq(result, &i);
        cr_assert_eq(weft_spawn_blocking(&task, echo, &i), 0);
        cr_assert_eq(weft_join(task, NULL), 0);
    }
    cr_assert_eq(weft_group_running(group), SLOW_FILES);
    EVENTUALLY((fd = open(pipe_path, O_RDWR | O_NONBLOCK)) >= 0);
    cr_assert_eq(weft_group_wait(group), 0);
    cr_assert_eq(weft_group_close(group), 0);
    close(fd);
    cr_assert_eq(weft_unlink(pipe_path), 0);
}

static void *d40_root(void *arg)
{
    files_while_jobs_are_slow();
    jobs_while_files_are_slow();
    return arg;
}

WF_TEST_WORKERS(defects, d40_slow_jobs_files_and_names_do_not_starve_each_other)
{
    weft_options options = {.workers = workers, .blocking_threads = USERS};
    snprintf(place, sizeof place, "/tmp/weft-d40-XXXXXX"); /* the one before has filled it in, where all run in one process */
    cr_assert_not_null(mkdtemp(place));
    snprintf(file_path, sizeof file_path, "%s/file", place);
    snprintf(pipe_path, sizeof pipe_path, "%s/pipe", place);
    cr_assert_eq(weft_run_with(&options, d40_root, NULL, NULL), 0);
    cr_assert_eq(rmdir(place), 0);
}
