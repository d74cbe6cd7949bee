/* serve.c - accept, run a handler per connection, and end well.
 *
 *   happy path     accept → a task per connection → its handler returns → the stream is closed
 *   too many       at max_connections accepting waits until a handler ends
 *   no descriptor  EMFILE, ENFILE, ENOMEM, ENOBUFS: the spare descriptor lets one connection be accepted and, unless there are
 *                  descriptors again, dropped at once, so that the backlog does not spin; then a pause
 *   aborted peer   ECONNABORTED and what else accept() reports of a connection that died in the queue: the next one
 *   interrupted    accepting stops; handlers may go on for drain_timeout; the rest is aborted; return when the last has ended */
#include <errno.h>
#include <fcntl.h>
#include <net/socket.h>
#include <net/stream.h>
#include <runtime/group.h>
#include <runtime/runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft/time.h>
#include <weft/token.h>

enum { PAUSE = 10 * 1000 * 1000 };

typedef struct server {
    weft_handler handler;
    void *arg;
    weft_serve_options options;
    weft_group *connections;
    int spare; /* a descriptor in reserve, or -1 */
} server;

/* ---- one connection ------------------------------------------------------------------------------------------ */

typedef struct connection {
    const server *server;
    weft_stream *stream;
} connection;

static void hang_up(void *arg)
{
    connection *c = arg;
    weft_close(c->stream);
    free(c);
}

/* As a deferred call: also after a panic. */
static void *serve_connection(void *arg)
{
    connection *c = arg;
    if (weft_defer(hang_up, c) < 0) {
        hang_up(c);
        return NULL;
    }
    return c->server->handler(c->stream, c->server->arg);
}

static void name_after_peer(weft_spawn_options *o, weft_stream *s, char *text, size_t size)
{
    weft_addr peer;
    char address[WEFT_ADDR_TEXT];
    if (o->name || weft_stream_peer(s, &peer) < 0)
        return;
    snprintf(text, size, "conn %s", weft_addr_format(&peer, address, sizeof address));
    o->name = text;
}

static int start(server *sv, weft_stream *s)
{
    char name[64];
    connection *c = malloc(sizeof *c);
    if (!c)
        return WEFT_ENOMEM;
    *c = (connection){.server = sv, .stream = s};
    const weft_spawn_options *wanted = &sv->options.spawn;
    weft_spawn_options o = {.name = wanted->name,
                            .stack_size = wanted->stack_size,
                            .pinned = wanted->pinned,
                            .drop_result = wanted->drop_result,
                            .drop_arg = hang_up,
                            .group = sv->connections};
    name_after_peer(&o, s, name, sizeof name);
    int err = weft_spawn_with(NULL, &o, serve_connection, c);
    if (err < 0)
        free(c);
    return err;
}

/* ---- waiting for room ---------------------------------------------------------------------------------------- */

typedef struct room_op {
    wf_group_op room;
    weft_listener *listener; /* watched too, for its being closed */
} room_op;

static ssize_t room_poll(void *arg, weft_context *cx)
{
    room_op *op = arg;
    int err = weft_atomic_waker_register(&op->listener->source.wakers[WF_READ], weft_context_waker(cx));
    if (err == 0 && wf_source_closing(&op->listener->source))
        err = WEFT_ECLOSED;
    return err < 0 ? err : wf_group_op_poll(&op->room, cx);
}

static ssize_t room_cancel(void *arg)
{
    room_op *op = arg;
    wf_source_forget(&op->listener->source, WF_READ);
    return wf_group_op_cancel(&op->room);
}

static const wf_op_ops room_ops = {.poll = room_poll, .cancel = room_cancel};

/* Only this task spawns into the group, so the room stays until it does. */
static int await_room(server *sv, weft_listener *l)
{
    size_t limit = sv->options.max_connections;
    if (limit == 0 || weft_group_running(sv->connections) < limit)
        return 0;
    room_op op = {.room = {.group = sv->connections, .want = WF_GROUP_ROOM_SEEN}, .listener = l};
    int err = (int)wf_await(&room_ops, &op, WEFT_FOREVER);
    wf_group_op_cancel(&op.room);
    return err;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* Shielded from what interrupted the caller: no handler may outlive the call. */
static void drain(server *sv)
{
    weft_scope patience;
    weft_token_cancel(sv->options.draining);
    if (sv->options.drain_timeout > 0) {
        weft_shield_enter();
        weft_scope_enter(&patience, sv->options.drain_timeout);
        weft_group_wait(sv->connections);
        weft_scope_leave(&patience);
        weft_shield_leave();
    }
    weft_group_close(sv->connections);
}

/* ---- accepting ----------------------------------------------------------------------------------------------- */

static bool out_of_something(int err)
{
    return err == WEFT_EMFILE || err == WEFT_ENFILE || err == WEFT_ENOMEM || err == -ENOBUFS;
}

/* What accept(2) may report of the connection rather than of the listener. */
static bool dead_on_arrival(int err)
{
    switch (err) {
    case WEFT_ECONNABORTED:
    case -EPROTO:
    case -EPERM:
    case -ENETDOWN:
    case -ENOPROTOOPT:
    case -EHOSTDOWN:
    case -ENONET:
    case -EHOSTUNREACH:
    case -EOPNOTSUPP:
    case -ENETUNREACH:
    case WEFT_ECONNRESET:
    case WEFT_ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

static int open_spare(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

/* The oldest waiting peer, accepted with the descriptor that was kept for this. Returns its descriptor if there are others again by
 * now, to be served like any other; else it is told by a hang-up instead of being left in the queue, and the result is -1. */
static int accept_on_spare(server *sv, weft_listener *l)
{
    uint64_t word;
    if (sv->spare < 0)
        sv->spare = open_spare();
    if (sv->spare < 0 || wf_source_claim(&l->source, WF_READ, &word) < 0)
        return -1;
    close(sv->spare);
    int fd = accept4(wf_load_rlx(&l->source.fd), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    sv->spare = open_spare();
    wf_source_release(&l->source, WF_READ, false, word);
    if (fd < 0 || sv->spare >= 0)
        return fd;
    close(fd);
    sv->spare = open_spare();
    return -1;
}

static int serve_stream(server *sv, weft_stream *s)
{
    if (sv->options.nagle)
        wf_tcp_set_nagle(weft_stream_fd(s), true);
    int err = start(sv, s);
    if (err < 0)
        weft_close(s);
    return err;
}

static int ride_out(server *sv, weft_listener *l, int err)
{
    if (dead_on_arrival(err))
        return 0;
    if (!out_of_something(err))
        return err;
    int fd = accept_on_spare(sv, l);
    weft_stream *s = fd >= 0 ? wf_accepted(l->source.sources, fd) : NULL;
    if (s && serve_stream(sv, s) == 0)
        return 0;
    return weft_sleep(PAUSE);
}

/* 0: go on. */
static int accept_one(server *sv, weft_listener *l)
{
    weft_stream *s;
    int err = await_room(sv, l);
    if (err < 0)
        return err;
    err = weft_accept(&s, l);
    return err < 0 ? err : serve_stream(sv, s);
}

/* Interruptions are told apart from errors of the same number by asking for them. */
static bool interrupted(void)
{
    wf_exec *exec;
    return wf_await_entry(&exec) < 0;
}

static int accept_until_stopped(server *sv, weft_listener *l)
{
    for (;;) {
        int err = accept_one(sv, l);
        if (err < 0 && (interrupted() || (err = ride_out(sv, l, err)) < 0))
            return err;
    }
}

int weft_serve_sized(weft_listener *l, weft_handler handler, void *arg, const weft_serve_options *options, size_t size)
{
    if (!l || !handler)
        return WEFT_EINVAL;
    wf_exec *exec;
    int err = wf_await_entry(&exec);
    if (err < 0)
        return err;
    if (!wf_source_ref(&l->source)) /* it may be closed while nobody waits in it */
        return WEFT_EBUSY;
    server sv = {.handler = handler, .arg = arg};
    if (options)
        memcpy(&sv.options, options, WF_MIN(size, sizeof sv.options));
    weft_group_options group = {.limit = sv.options.max_connections, .discard = 1};
    err = weft_group_create_with(&sv.connections, &group);
    if (err == 0) {
        wf_group_outlasts_scopes(sv.connections); /* an interruption drains before it aborts */
        sv.spare = open_spare();
        err = accept_until_stopped(&sv, l);
        drain(&sv);
        if (sv.spare >= 0)
            close(sv.spare);
    }
    wf_source_unref(&l->source);
    return err;
}
