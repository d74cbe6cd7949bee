/* connection.c - one connection of a server, from the accepted descriptor to the end of its handler.
 *
 *   a strand: the TLS handshake, if there is one, then the handler
 *   a stackless handler: its future within one that closes the stream afterwards; over TLS a strand makes the handshake and awaits it */
#include <net/server.h>
#include <net/tls_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <weft/task.h>

typedef struct connection {
    weft_future future; /* the task's, where it is stackless */
    weft_future *inner; /* … and the user's, once there is one */
    wf_server *server;
    weft_stream *stream;
} connection;

static void count_handler(wf_server *sv, uint64_t n)
{
    wf_tally(&sv->counters->active, n);
    wf_tally(&sv->handlers, n);
}

static void hang_up(void *arg)
{
    connection *c = arg;
    wf_server *sv = c->server;
    weft_close(c->stream);
    free(c);
    count_handler(sv, (uint64_t)-1);
    wf_server_give_back(sv);
}

/* ---- as a strand ----------------------------------------------------------------------------------------------- */

static int shake_hands(const connection *c)
{
    const weft_serve_options *o = &c->server->options;
    if (!o->tls)
        return 0;
    int err = wf_tls_accept_with(c->stream, o->tls, o->handshake_timeout);
    if (err < 0)
        wf_tally(&c->server->counters->failed, 1);
    return err;
}

static void *handle(connection *c)
{
    wf_server *sv = c->server;
    void *result = NULL;
    if (shake_hands(c) < 0)
        return NULL;
    if (!sv->options.future)
        return sv->handler(c->stream, sv->arg);
    weft_future *f = sv->options.future(c->stream, sv->arg);
    if (f)
        weft_await(f, &result);
    return result;
}

/* As a deferred call: also after a panic. */
static void *serve_connection(void *arg)
{
    if (weft_defer(hang_up, arg) == 0)
        return handle(arg);
    hang_up(arg);
    return NULL;
}

/* ---- stackless ------------------------------------------------------------------------------------------------- */

static weft_poll poll_inner(weft_future *self, weft_context *cx, void **result)
{
    connection *c = WEFT_CONTAINER_OF(self, connection, future);
    if (!c->inner)
        c->inner = c->server->options.future(c->stream, c->server->arg);
    return c->inner ? c->inner->ops->poll(c->inner, cx, result) : WEFT_READY;
}

static void drop_inner(weft_future *self)
{
    connection *c = WEFT_CONTAINER_OF(self, connection, future);
    if (c->inner && c->inner->ops->drop)
        c->inner->ops->drop(c->inner);
    hang_up(c);
}

static const weft_future_ops stackless = {.poll = poll_inner, .drop = drop_inner};

/* ---- the start ------------------------------------------------------------------------------------------------- */

static void name_after(weft_spawn_options *o, const weft_addr *peer, char *text, size_t size)
{
    char address[WEFT_ADDR_TEXT];
    if (o->name)
        return;
    snprintf(text, size, "conn %s", weft_addr_format(peer, address, sizeof address));
    o->name = text;
}

/* By shards: to the acceptor's worker, unless the user wants them elsewhere. */
static unsigned pinned_to(const weft_serve_options *o) { return o->spawn.pinned ? o->spawn.pinned : o->shards != 0; }

static int spawn(connection *c, const weft_addr *peer)
{
    char name[64];
    const weft_serve_options *wanted = &c->server->options;
    weft_spawn_options o = {.name = wanted->spawn.name,
                            .stack_size = wanted->spawn.stack_size,
                            .pinned = pinned_to(wanted),
                            .drop_result = wanted->spawn.drop_result,
                            .group = c->server->connections};
    name_after(&o, peer, name, sizeof name);
    if (wanted->future && !wanted->tls)
        return weft_spawn_future_with(NULL, &o, &c->future);
    o.drop_arg = hang_up;
    return weft_spawn_with(NULL, &o, serve_connection, c);
}

static int start(wf_server *sv, weft_stream *s, const weft_addr *peer)
{
    connection *c = malloc(sizeof *c);
    if (!c)
        return WEFT_ENOMEM;
    *c = (connection){.future.ops = &stackless, .server = sv, .stream = s};
    count_handler(sv, 1); /* before it can end */
    int err = spawn(c, peer);
    if (err == 0)
        return 0;
    count_handler(sv, (uint64_t)-1);
    free(c);
    return err;
}

int wf_connection_start(wf_server *sv, wf_sources *all, int fd, const weft_addr *peer)
{
    wf_tally(&sv->counters->accepted, 1);
    if (sv->options.nagle)
        wf_tcp_set_nagle(fd, true);
    weft_stream *s = wf_accepted(all, fd);
    int err = s ? start(sv, s, peer) : WEFT_ENOMEM;
    if (err == 0)
        return 0;
    wf_tally(&sv->counters->refused, 1);
    weft_close(s);
    wf_server_give_back(sv);
    return err;
}
