/* A group of workers inside a scope: all of them in time, the first failure, the deadline.
 *
 *   ./09_deadline_group
 *
 * A group's children end before the group does. A scope says how long; code inside knows nothing of it and sees a failing await. */
#include <stdint.h>
#include <stdio.h>
#include <weft.h>

typedef struct job {
    const char *name;
    int64_t takes;
    int fails; /* with this code; 0: it works */
} job;

static void *work(void *arg)
{
    job *j = arg;
    int err = weft_sleep(j->takes);
    if (err < 0) {
        printf("  %s: told to stop, %s\n", j->name, weft_err_name(err));
        return NULL;
    }
    return j->fails ? weft_fail(j->fails) : (void *)j->name;
}

/* Returns what the first that failed failed with, WEFT_ETIMEDOUT after @timeout, or 0. No job runs any more. */
static int run_all(job *jobs, int n, int64_t timeout)
{
    weft_scope scope;
    weft_group *group;
    weft_group_options options = {.fail_fast = 1};
    int err = weft_scope_enter(&scope, timeout);
    if (err < 0)
        return err;
    err = weft_group_create_with(&group, &options);
    for (int i = 0; i < n && err == 0; i++)
        err = weft_group_spawn(group, work, &jobs[i]);
    if (err == 0)
        err = weft_group_wait(group);
    void *name;
    while (err == 0 && weft_group_next(group, &name) == 0)
        printf("  %s: done\n", (const char *)name);
    weft_group_close(group); /* cancels what still runs, and waits for it: also when the time is up */
    int fired = weft_scope_leave(&scope);
    return fired < 0 ? fired : err;
}

static void *app(void *arg)
{
    (void)arg;
    puts("in time:");
    job quick[] = {{"red", 30 * WEFT_MS, 0}, {"green", 10 * WEFT_MS, 0}, {"blue", 20 * WEFT_MS, 0}};
    printf("  %s\n", weft_err_name(run_all(quick, 3, 1 * WEFT_SEC)));

    puts("one fails:");
    job broken[] = {{"red", 10 * WEFT_SEC, 0}, {"green", 10 * WEFT_MS, WEFT_EINVAL}, {"blue", 20 * WEFT_SEC, 0}};
    printf("  %s\n", weft_err_name(run_all(broken, 3, WEFT_FOREVER)));

    puts("too slow:");
    job slow[] = {{"red", 10 * WEFT_MS, 0}, {"green", 10 * WEFT_SEC, 0}};
    printf("  %s\n", weft_err_name(run_all(slow, 2, 1 * WEFT_SEC)));
    return NULL;
}

int main(void)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED}; /* virtual time: nobody has to wait for this, and the order is certain */
    return weft_run_with(&options, app, NULL, NULL) < 0;
}
