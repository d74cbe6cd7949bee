/* serve.c - accept, run a handler per connection, and end well.
 *
 *   happy path     accept → a task per connection → its handler returns → the stream is closed
 *   too many       at max_connections accepting waits until a handler ends
 *   no descriptor  EMFILE, ENFILE, ENOMEM, ENOBUFS: the spare descriptor lets one connection be accepted and, unless there are
 *                  descriptors again, dropped at once, so that the backlog does not spin; then a pause
 *   aborted peer   ECONNABORTED and what else accept() reports of a connection that died in the queue: the next one
 *   interrupted    accepting stops; handlers may go on for drain_timeout; the rest is aborted; return when the last has ended */
#include <base/list.h>
#include <errno.h>
#include <fcntl.h>
#include <net/tcp.h>
#include <runtime/runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft/time.h>

enum { PAUSE = 10 * 1000 * 1000 };

typedef struct server {
    weft_handler handler;
    void *arg;
    weft_serve_options options;
    wf_mutex lock;
    wf_list connections;     /* under lock */
    size_t count;            /* under lock */
    weft_atomic_waker fewer; /* a handler has ended */
    int spare;               /* a descriptor in reserve, or -1 */
} server;

typedef struct connection {
    wf_node node; /* under the server's lock */
    server *server;
    weft_stream *stream;
    weft_task *task;
} connection;

/* ---- one connection ------------------------------------------------------------------------------------------ */

static size_t count(server *sv)
{
    wf_mutex_lock(&sv->lock);
    size_t n = sv->count;
    wf_mutex_unlock(&sv->lock);
    return n;
}

/* The last touch of the server is the unlock of a count that is not the last: with the last one gone serve may return, so the
 * waker is taken under the lock and woken afterwards. */
static void leave(connection *c)
{
    server *sv = c->server;
    weft_waker waker;
    wf_mutex_lock(&sv->lock);
    wf_node_unlink(&c->node);
    sv->count--;
    weft_atomic_waker_take(&sv->fewer, &waker);
    wf_mutex_unlock(&sv->lock);
    weft_detach(c->task);
    free(c);
    weft_waker_wake(&waker);
}

/* As a deferred call: also after a panic. */
static void hang_up(void *arg)
{
    connection *c = arg;
    weft_close(c->stream);
    leave(c);
}

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

/* The task is aborted through its handle, which it gives up itself when it leaves the list. */
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
                            .drop_arg = hang_up};
    name_after_peer(&o, s, name, sizeof name);
    wf_mutex_lock(&sv->lock); /* it may end on another worker before the spawn has returned */
    int err = weft_spawn_with(&c->task, &o, serve_connection, c);
    if (err == 0) {
        wf_list_push_back(&sv->connections, &c->node);
        sv->count++;
    }
    wf_mutex_unlock(&sv->lock);
    if (err < 0)
        free(c);
    return err;
}

/* ---- waiting for handlers ------------------------------------------------------------------------------------ */

typedef struct fewer_op {
    server *server;
    weft_listener *listener; /* watched too, for its being closed; or NULL */
    size_t limit;            /* ready when there are fewer than this */
} fewer_op;

static ssize_t fewer_poll(void *arg, weft_context *cx)
{
    fewer_op *op = arg;
    int err = weft_atomic_waker_register(&op->server->fewer, weft_context_waker(cx));
    if (err == 0 && op->listener)
        err = weft_atomic_waker_register(&op->listener->source.wakers[WF_READ], weft_context_waker(cx));
    if (err < 0)
        return err;
    if (op->listener && wf_source_closing(&op->listener->source))
        return WEFT_ECLOSED;
    return count(op->server) < op->limit ? 0 : WEFT_PENDING;
}

static ssize_t fewer_cancel(void *arg)
{
    fewer_op *op = arg;
    weft_waker waker;
    weft_atomic_waker_take(&op->server->fewer, &waker);
    weft_waker_drop(&waker);
    if (op->listener)
        wf_source_forget(&op->listener->source, WF_READ);
    return WEFT_PENDING;
}

static const wf_op_ops fewer_ops = {.poll = fewer_poll, .cancel = fewer_cancel};

static int await_room(server *sv, weft_listener *l)
{
    fewer_op op = {.server = sv, .listener = l, .limit = sv->options.max_connections};
    return op.limit == 0 || count(sv) < op.limit ? 0 : (int)wf_await(&fewer_ops, &op, WEFT_FOREVER);
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static void abort_all(server *sv)
{
    wf_mutex_lock(&sv->lock);
    for (wf_node *n = sv->connections.head.next; n != &sv->connections.head; n = n->next)
        weft_abort(wf_container(n, connection, node)->task);
    wf_mutex_unlock(&sv->lock);
}

/* Shielded: it is the end of somebody who was interrupted, and no handler may outlive the call. */
static void drain(server *sv)
{
    fewer_op op = {.server = sv, .limit = 1};
    weft_shield_enter();
    if (sv->options.drain_timeout > 0 && count(sv) > 0)
        wf_await(&fewer_ops, &op, wf_add_saturating(weft_now(), sv->options.drain_timeout));
    abort_all(sv);
    wf_await_shielded(&fewer_ops, &op);
    fewer_cancel(&op);
    weft_shield_leave();
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
    weft_stream *s = fd >= 0 ? wf_tcp_accepted(l->source.sources, fd) : NULL;
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
    server sv = {
        .handler = handler, .arg = arg, .lock = WF_MUTEX_INIT, .fewer = WEFT_ATOMIC_WAKER_INIT, .spare = open_spare()};
    if (options)
        memcpy(&sv.options, options, WF_MIN(size, sizeof sv.options));
    wf_list_init(&sv.connections);
    err = accept_until_stopped(&sv, l);
    drain(&sv);
    wf_mutex_destroy(&sv.lock);
    if (sv.spare >= 0)
        close(sv.spare);
    wf_source_unref(&l->source);
    return err;
}
