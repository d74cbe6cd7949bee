/* start.c - the beginning and the end of a console.
 *
 *   the runtime that is shown                          the console's thread
 *     weft_console_start(): starts the thread    ─▶      its runtime begins and listens, or says why not
 *       waits for "ready"                        ◀─      ready
 *       spawns the strand "weft console"
 *     that waits                                         serves
 *     aborted, by the shutdown: "stop"           ─▶      its runtime ends: connections are closed
 *       waits for "over", shielded               ◀─      over
 *       joins the thread, frees
 *
 * As long as the strand lives the runtime does, so the thread never looks at one that is gone. */
#include <console/console.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 16, MOST_CLIENTS = 10000, TASKS = 1000, MOST_TASKS = 10000 };

static unsigned choose(unsigned asked, unsigned otherwise, unsigned most)
{
    return asked == 0 ? otherwise : asked < most ? asked : most;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

static void destroy(wf_console *c)
{
    weft_token_free(c->stop);
    weft_token_free(c->ready);
    weft_token_free(c->over);
    free(c);
}

/* 0, or a negative code with *@out NULL. */
static int create(wf_console **out, const weft_console_options *o, weft_runtime *shown)
{
    wf_console *c = *out = calloc(1, sizeof *c);
    if (!c)
        return WEFT_ENOMEM;
    c->shown = shown;
    c->most_clients = choose(o->most_clients, CLIENTS, MOST_CLIENTS);
    c->most_tasks = choose(o->most_tasks, TASKS, MOST_TASKS);
    snprintf(c->address, sizeof c->address, "%s", o->address);
    int err = weft_token_create(&c->stop, NULL);
    if (err == 0)
        err = weft_token_create(&c->ready, NULL);
    if (err == 0)
        err = weft_token_create(&c->over, NULL);
    if (err == 0)
        return 0;
    destroy(c);
    *out = NULL;
    return err;
}

/* ---- the end ---------------------------------------------------------------------------------------------------------- */

/* In a strand or on an ordinary thread, shielded: until the thread is over. */
static void end(wf_console *c)
{
    weft_token_cancel(c->stop);
    weft_token_wait(c->over);
    pthread_join(c->thread, NULL);
    destroy(c);
}

/* The strand that was to wait is dropped before it began: where it is dropped nothing can wait, but the thread is over in a moment. */
static void end_unbegun(void *arg)
{
    wf_console *c = arg;
    weft_token_cancel(c->stop);
    pthread_join(c->thread, NULL);
    destroy(c);
}

static void *keep(void *arg)
{
    wf_console *c = arg;
    weft_token_wait(c->over); /* until the shutdown aborts it */
    weft_shield_enter();
    end(c);
    weft_shield_leave();
    return NULL;
}

/* ---- the beginning ------------------------------------------------------------------------------------------------------ */

/* Signals are others' business. */
static int start_thread(wf_console *c)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&c->thread, NULL, wf_console_thread, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err == 0 ? 0 : WEFT_ENOMEM;
}

/* The strand may end the console at any moment once there is one: what the caller wants to know is read before. */
static int hand_over(wf_console *c, int *port)
{
    weft_spawn_options keeper = {.name = "weft console", .runtime = c->shown, .stack_size = 64 * 1024, .drop_arg = end_unbegun};
    int listens_at = (int)c->port, err = weft_spawn_with(NULL, &keeper, keep, c);
    if (err == 0 && port)
        *port = listens_at;
    return err;
}

/* @c goes to its strand or, after a failure, goes. */
static int begin(wf_console *c, int *port)
{
    char detail[sizeof c->detail];
    int err = start_thread(c);
    if (err < 0) {
        destroy(c);
        return err;
    }
    weft_token_wait(c->ready);
    err = c->result;
    memcpy(detail, c->detail, sizeof detail);
    if (err == 0)
        err = hand_over(c, port);
    if (err < 0)
        end(c);
    return err < 0 && detail[0] ? weft_error_set(err, "%s", detail) : err;
}

/* 0, or WEFT_EDEADLK where nothing can wait, or WEFT_ENOMEM. */
static int can_wait(void)
{
    weft_scope scope;
    int err = weft_scope_enter(&scope, WEFT_FOREVER);
    if (err == 0)
        weft_scope_leave(&scope);
    return err;
}

int weft_console_start_sized(const weft_console_options *options, size_t size)
{
    weft_console_options o = WEFT_CONSOLE_OPTIONS_INIT;
    if (options)
        memcpy(&o, options, size < sizeof o ? size : sizeof o);
    o.address = o.address ? o.address : "127.0.0.1:6690";
    weft_runtime *shown = o.runtime ? o.runtime : weft_runtime_current();
    int err = wf_console_address_check(o.address, o.any_address != 0);
    if (err < 0)
        return err;
    if (!shown)
        return WEFT_ENORUNTIME;
    err = can_wait();
    if (err < 0)
        return err;
    weft_shield_enter();
    wf_console *c;
    err = create(&c, &o, shown);
    if (err == 0)
        err = begin(c, o.port);
    weft_shield_leave();
    return err;
}

int weft_console_start(const char *address)
{
    weft_console_options o = {.address = address};
    return weft_console_start_sized(&o, sizeof o);
}
