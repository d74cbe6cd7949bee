/* serve.c - the thread of a console: a runtime of its own in which it listens, and a strand for each connection.
 *
 * The runtime has one worker, and that is this thread. So the console answers also when no worker of the runtime that it shows does, and what is the console's
 * belongs to whichever of its strands runs. */
#include <console/console.h>
#include <stdlib.h>
#include <string.h>

enum { TURNED_AWAY = 8 }; /* connections beyond the most that are told so at once */

#define IDLE (10 * WEFT_SEC)

/* ---- a connection ---------------------------------------------------------------------------------------------------- */

/* Who still sends when the connection is closed loses what it has not read: so for a moment all that comes is read. */
static void say_goodbye(weft_stream *peer, int64_t patience)
{
    char rest[512];
    weft_scope limit;
    if (weft_scope_enter(&limit, patience) < 0)
        return;
    if (weft_close_write(peer) == 0)
        while (weft_read(peer, rest, sizeof rest) > 0)
            ;
    weft_scope_leave(&limit);
}

/* Returns 1: the connection stays; 0: it ends well, and the client may still send; or a negative code. */
static int serve_request(wf_console *c, weft_stream *peer, weft_reader *in, wf_console_request *r)
{
    weft_scope limit;
    int err = weft_scope_enter(&limit, IDLE);
    int got = err < 0 ? err : wf_console_request_read(r, in);
    if (err == 0)
        err = weft_scope_leave(&limit);
    if (err == WEFT_ETIMEDOUT && r->head > 0)
        return wf_console_refuse(peer, 408) < 0 ? WEFT_ECLOSED : 0;
    if (got <= 0)
        return got < 0 ? got : WEFT_ECLOSED;
    if (r->wrong)
        return wf_console_refuse(peer, r->wrong) < 0 ? WEFT_ECLOSED : 0;
    err = wf_console_answer(c, peer, r);
    return err == 0 ? 1 : err == WEFT_ECLOSED ? 0 : err;
}

static void serve_client(wf_console *c, weft_stream *peer, wf_console_request *r)
{
    weft_reader *in;
    int got = 1;
    if (weft_stream_set_timeouts(peer, WEFT_FOREVER, IDLE) < 0 || weft_reader_create(&in, peer, WF_CONSOLE_HEAD) < 0)
        return; /* the reader goes with the stream */
    while (got > 0)
        got = serve_request(c, peer, in, r);
    if (got == 0)
        say_goodbye(peer, WEFT_SEC);
}

void *wf_console_client(weft_stream *peer, void *arg)
{
    wf_console *c = arg;
    wf_console_request *r = c->clients < c->most_clients ? malloc(sizeof *r) : NULL;
    if (!r) {
        if (wf_console_refuse(peer, 503) == 0)
            say_goodbye(peer, 100 * WEFT_MS);
        return NULL;
    }
    c->clients++;
    serve_client(c, peer, r);
    c->clients--;
    free(r);
    return NULL;
}

/* ---- the runtime ------------------------------------------------------------------------------------------------------ */

static int listen(wf_console *c, weft_listener **l)
{
    weft_addr addr;
    int err = weft_tcp_listen(l, c->address, NULL);
    if (err == 0)
        err = weft_listener_addr(*l, &addr);
    if (err < 0) {
        snprintf(c->detail, sizeof c->detail, "console: %s", weft_error_detail());
        return err;
    }
    c->port = weft_addr_port(&addr);
    return 0;
}

/* It serves until it is stopped, whatever it lacks meanwhile. */
static void serve(wf_console *c, weft_listener *l)
{
    weft_serve_options options = {.max_connections = c->most_clients + TURNED_AWAY, .spawn.name = "console client"};
    while (!weft_is_cancelled() && weft_serve(l, wf_console_client, c, &options) != WEFT_ECANCELED)
        weft_sleep(100 * WEFT_MS);
}

static void *run(void *arg)
{
    wf_console *c = arg;
    weft_listener *l = NULL;
    weft_scope until;
    c->result = weft_scope_enter(&until, WEFT_FOREVER);
    if (c->result < 0)
        return NULL;
    c->result = weft_scope_bind(&until, c->stop);
    if (c->result == 0)
        c->result = listen(c, &l);
    if (c->result == 0) {
        weft_token_cancel(c->ready);
        serve(c, l);
    }
    weft_listener_close(l);
    weft_scope_leave(&until);
    return NULL;
}

void *wf_console_thread(void *arg)
{
    wf_console *c = arg;
    weft_options options = {.workers = 1,
                            .flags = WEFT_CURRENT_THREAD | WEFT_NO_SEGV_HANDLER,
                            .name = "console",
                            .shutdown_grace = WEFT_FOREVER, /* nothing of it outlives the runtime that it shows */
                            .watchdog = WEFT_FOREVER};
    pthread_setname_np(pthread_self(), "weft/console");
    void *code = NULL;
    int err = weft_watchdog_ignore_thread();
    if (err == 0)
        err = weft_run_with(&options, run, c, &code);
    if (!weft_token_is_cancelled(c->ready) && err < 0)
        c->result = err == WEFT_EFAILED ? (int)(intptr_t)code : err; /* no stack for run() */
    wf_console_forget_all(c);
    weft_token_cancel(c->ready);
    weft_token_cancel(c->over); /* the last deed: whoever hears it joins the thread */
    return NULL;
}
