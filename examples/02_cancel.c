/* Stopping a task: abort, deferred calls, a shield, and arguments that are not lost.
 *
 *   ./02_cancel
 *
 * An abort is a request. The task meets it as WEFT_ECANCELED from the await it is in, or from its next one, and leaves by
 * its own error paths. Nothing is torn away from under it. */
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

static void say(void *arg) { printf("  deferred: %s\n", (const char *)arg); }

static void *worker(void *arg)
{
    (void)arg;
    weft_defer(say, "close the file"); /* run last in, first out, when the strand ends: also when it panics */
    weft_defer(say, "release the lock");

    int err = weft_sleep(WEFT_FOREVER);
    printf("  the sleep said %s, and weft_is_cancelled() says %s\n", weft_err_name(err), weft_is_cancelled() ? "yes" : "no");

    weft_shield_enter(); /* until the leave, awaits work as if nothing had happened: for a last message, a commit */
    err = weft_sleep(1 * WEFT_MS);
    weft_shield_leave();
    printf("  the shielded sleep said %s\n", weft_err_name(err));

    err = weft_sleep(1 * WEFT_MS);
    printf("  the one after it said %s\n", weft_err_name(err));
    return NULL;
}

static void drop_letter(void *letter)
{
    printf("  dropped: %s\n", (const char *)letter);
    free(letter);
}

static void *deliver(void *letter)
{
    printf("  delivered: %s\n", (const char *)letter);
    free(letter);
    return NULL;
}

static void *fall(void *arg)
{
    weft_defer(say, "even so");
    weft_panic("a length of %d", *(int *)arg);
}

static char *letter(const char *text)
{
    char *copy = malloc(64);
    if (copy)
        snprintf(copy, 64, "%s", text);
    return copy;
}

static void *app(void *arg)
{
    weft_task *task;
    (void)arg;

    puts("aborted while it waits:");
    if (weft_spawn(&task, worker, NULL) < 0)
        return NULL;
    weft_sleep(5 * WEFT_MS); /* now it waits */
    weft_abort(task);
    printf("  join: %s\n", weft_err_name(weft_join(task, NULL)));

    puts("aborted before it started:");
    weft_spawn_options options = {.name = "postman", .drop_arg = drop_letter};
    if (weft_spawn_with(&task, &options, deliver, letter("dear Anna")) < 0)
        return NULL;
    weft_abort(task); /* it never runs, so its argument goes to drop_arg instead */
    printf("  join: %s\n", weft_err_name(weft_join(task, NULL)));

    puts("not aborted:");
    if (weft_spawn_with(&task, &options, deliver, letter("dear Bela")) < 0)
        return NULL;
    printf("  join: %s\n", weft_err_name(weft_join(task, NULL)));

    puts("panicked:");
    int length = -7;
    if (weft_spawn(&task, fall, &length) < 0)
        return NULL;
    weft_wait(task); /* the text goes with the handle, so look before the join */
    printf("  error: %s\n", weft_task_error(task));
    printf("  join: %s\n", weft_err_name(weft_join(task, NULL)));
    return NULL;
}

int main(void)
{
    weft_options options = {.workers = 1}; /* with more, the postman could start before the abort */
    return weft_run_with(&options, app, NULL, NULL) < 0;
}
