/* defects_time_test.c - what went wrong in the executors that weft learns from must not go wrong here: clocks and chance. */
#include <errno.h>
#include <support/test.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/runtime.h>
#include <weft/time.h>

/* ---- d27: every process backed off by the same "random" delays, so all came back at the same moment --------------------- */

enum { WAITS = 12, CHILDREN = 6 };

/* The first delays of a process, in milliseconds of a paused clock: exact, and nothing else makes them differ. */
typedef struct delays {
    int64_t ms[WAITS];
} delays;

static void *measure(void *arg)
{
    delays *d = arg;
    weft_backoff backoff = {.initial = 200 * WEFT_MS, .factor = 1};
    for (int i = 0; i < WAITS; i++) {
        int64_t before = weft_now();
        cr_assert_eq(weft_backoff_wait(&backoff), 0);
        d->ms[i] = (weft_now() - before) / WEFT_MS;
        cr_assert_geq(d->ms[i], 100);
        cr_assert_leq(d->ms[i], 200);
    }
    return NULL;
}

/* Without threads of its own, which sanitizers mind in a forked child. */
static delays of_this_process(void)
{
    delays d = {{0}};
    weft_options options = {.flags = WEFT_CURRENT_THREAD, .workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, measure, &d, NULL), 0);
    return d;
}

/* Fork a child that sends its delays; what to read them from. */
static int fork_one(pid_t *pid)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    *pid = fork();
    cr_assert_geq(*pid, 0);
    if (*pid == 0) {
        delays d = of_this_process();
        _exit(write(ends[1], &d, sizeof d) == (ssize_t)sizeof d ? 0 : 1); /* less than a pipe holds: written at once */
    }
    close(ends[1]);
    return ends[0];
}

static void collect_one(int end, pid_t pid, delays *d)
{
    int status;
    ssize_t n;
    do
        n = read(end, d, sizeof *d);
    while (n < 0 && errno == EINTR);
    cr_assert_eq(n, (ssize_t)sizeof *d);
    close(end);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
}

/* All at once, as they would in life. */
static void of_children(delays *d)
{
    pid_t pids[CHILDREN];
    int ends[CHILDREN];
    for (int i = 0; i < CHILDREN; i++)
        ends[i] = fork_one(&pids[i]);
    for (int i = 0; i < CHILDREN; i++)
        collect_one(ends[i], pids[i], &d[i]);
}

static void expect_all_differ(const delays *d, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            cr_assert_arr_neq(&d[i], &d[j], sizeof *d, "%d and %d", j, i);
}

Test(defects, d27_backoff_jitter_differs_between_processes)
{
    delays d[CHILDREN + 1];
    of_children(d); /* each draws its own key: nobody has asked for chance before */
    d[CHILDREN] = of_this_process();
    expect_all_differ(d, CHILDREN + 1);
}

Test(defects, d27_backoff_jitter_differs_between_children_of_one_that_has_used_it)
{
    delays d[CHILDREN + 2];
    d[CHILDREN] = of_this_process();
    of_children(d); /* key and counter are copies of this process's */
    d[CHILDREN + 1] = of_this_process();
    expect_all_differ(d, CHILDREN + 2);
}
