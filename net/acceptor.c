/* acceptor.c - one loop that accepts: wait for room, for a connection, for a slot, and hand it to a task. */
#include <base/waits.h>
#include <errno.h>
#include <net/server.h>
#include <poll.h>
#include <runtime/group.h>

/* ---- waiting for room, and for the listener's being closed ----------------------------------------------------- */

typedef struct room_op {
    wf_group_op group;
    weft_op slot;
    weft_semaphore *slots; /* NULL: it is the group that is waited for */
    weft_listener *listener;
} room_op;

static ssize_t room_poll(void *arg, weft_context *cx)
{
    room_op *op = arg;
    int err = wf_source_register(&op->listener->source, WF_READ, cx);
    if (err == 0 && wf_source_closing(&op->listener->source))
        err = WEFT_ECLOSED;
    if (err < 0)
        return err;
    ssize_t result = op->slots ? weft_poll_semaphore_acquire(cx, &op->slot, op->slots, 1) : wf_group_op_poll(&op->group, cx);
    if (result == WEFT_PENDING)
        wf_exec_waits(cx->exec, WF_WAIT_ROOM, 0);
    return result;
}

static const wf_op_ops room_ops = {.poll = room_poll};

/* However it ends, the waker is forgotten: it was left without a claim, perhaps with a listener that is closed already, which takes none out any more. */
static int await_room_or_close(room_op *op)
{
    int err = (int)wf_await(&room_ops, op, WEFT_FOREVER);
    wf_source_forget(&op->listener->source, WF_READ);
    return err;
}

/* With one acceptor the room that was seen stays. */
static int await_room(wf_acceptor *a)
{
    size_t limit = a->server->options.max_connections;
    if (limit == 0 || a->server->by_places || weft_group_running(a->server->connections) < limit)
        return 0;
    room_op op = {.group = {.group = a->server->connections, .want = WF_GROUP_ROOM_SEEN}, .listener = a->listener};
    int err = await_room_or_close(&op);
    wf_group_op_cancel(&op.group);
    return err;
}

/* NULL: there is none to be had. */
static int await_permit(wf_acceptor *a, weft_semaphore *of)
{
    if (!of || weft_semaphore_try_acquire(of, 1) == 0)
        return 0;
    room_op op = {.slots = of, .listener = a->listener};
    int err = await_room_or_close(&op);
    weft_op_drop(&op.slot); /* idle if it was granted */
    return err;
}

static weft_semaphore *places_of(wf_server *sv) { return sv->by_places ? &sv->places : NULL; }

static int await_permits(wf_acceptor *a)
{
    weft_semaphore *places = places_of(a->server);
    int err = await_permit(a, places);
    if (err == 0 && (err = await_permit(a, a->server->options.slots)) < 0 && places)
        weft_semaphore_release(places, 1);
    return err;
}

bool wf_server_try_permits(wf_server *sv)
{
    weft_semaphore *places = places_of(sv), *slots = sv->options.slots;
    if (places && weft_semaphore_try_acquire(places, 1) < 0)
        return false;
    if (!slots || weft_semaphore_try_acquire(slots, 1) == 0)
        return true;
    if (places)
        weft_semaphore_release(places, 1);
    return false;
}

/* ---- accepting ------------------------------------------------------------------------------------------------- */

int wf_accept_now(weft_listener *l, weft_addr *peer)
{
    uint64_t word;
    int fd = wf_source_claim(&l->source, WF_READ, &word);
    if (fd < 0)
        return fd;
    fd = wf_sources_have_room(l->source.sources) ? wf_accept(wf_load_rlx(&l->source.fd), peer) : WEFT_ENOMEM;
    if (fd < 0 && wf_source_closing(&l->source))
        fd = WEFT_ECLOSED; /* what a socket says that was shut meanwhile */
    wf_source_release(&l->source, WF_READ, false, word);
    return fd;
}

WF_NOINLINE static ssize_t attempt_look(wf_source_op *op, bool *drained)
{
    struct pollfd fd = {.fd = wf_load_rlx(&op->source->fd), .events = POLLIN};
    (void)drained;
    int n = poll(&fd, 1, 0);
    return n > 0 ? 1 : n == 0 ? WEFT_EAGAIN : -errno;
}

static int await_connection(wf_acceptor *a, weft_addr *peer)
{
    wf_source_op op = wf_accepting(a->listener);
    op.buf = peer;
    return (int)wf_await(&wf_source_op_ops, &op, WEFT_FOREVER);
}

static int await_connection_and_permits(wf_acceptor *a, weft_addr *peer)
{
    wf_source_op op = {.source = &a->listener->source, .direction = WF_READ, .connects = true, .attempt = attempt_look};
    int err = (int)wf_await(&wf_source_op_ops, &op, WEFT_FOREVER);
    if (err < 0 || (err = await_permits(a)) < 0)
        return err;
    int fd = wf_accept_now(a->listener, peer);
    if (fd < 0)
        wf_server_give_back(a->server);
    return fd;
}

/* 0: go on. */
static int accept_one(wf_acceptor *a)
{
    weft_addr peer;
    int err = await_room(a);
    if (err < 0)
        return err;
    int fd = wf_server_has_permits(a->server) ? await_connection_and_permits(a, &peer) : await_connection(a, &peer);
    if (fd < 0)
        return fd == WEFT_EAGAIN ? 0 : fd;
    return wf_connection_start(a->server, a->listener->source.sources, fd, &peer);
}

/* 0 or a negative code. It goes before what an attempt has failed with, which may be the same number. */
static int interruption(void)
{
    wf_exec *exec;
    return wf_await_entry(&exec);
}

int wf_accept_until_stopped(wf_acceptor *a)
{
    wf_shortage_prepare(a);
    for (;;) {
        int err = accept_one(a);
        if (err == 0) {
            wf_shortage_over(a);
            continue;
        }
        int why = interruption();
        if (why < 0 || (why = wf_shortage_ride_out(a, err)) < 0) {
            wf_shortage_end(a);
            return why;
        }
    }
}
