/* shortage.c - accepting when there is nothing to accept with.
 *
 *   no descriptor  EMFILE, ENFILE, ENOMEM, ENOBUFS: the spare descriptor lets one connection be accepted and, unless there are
 *                  descriptors again, dropped at once, so that the backlog does not spin; then a pause. Somebody else may get
 *                  its number meanwhile: then another is opened as soon as there are descriptors
 *   aborted peer   ECONNABORTED and what else accept() reports of a connection that died in the queue: the next one */
#include <errno.h>
#include <fcntl.h>
#include <net/server.h>
#include <unistd.h>
#include <weft/time.h>

enum { PAUSE = 10 * 1000 * 1000 };

static bool out_of_something(int err)
{
    return err == WEFT_EMFILE || err == WEFT_ENFILE || err == WEFT_ENOMEM || err == -ENOBUFS;
}

/* What accept(2) may report of the connection rather than of the listener. */
static bool dead_on_arrival(int err)
{
    switch (err) {
    case WEFT_ECONNABORTED:
    case WEFT_EPROTO:
    case -EPERM:
    case -ENETDOWN:
    case -ENOPROTOOPT:
    case -EHOSTDOWN:
#if defined(ENONET)
    case -ENONET:
#endif
    case WEFT_EHOSTUNREACH:
    case -EOPNOTSUPP:
    case WEFT_ENETUNREACH:
    case WEFT_ECONNRESET:
    case WEFT_ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

static int open_spare(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

void wf_shortage_prepare(wf_acceptor *a) { a->spare = open_spare(); }

void wf_shortage_over(wf_acceptor *a)
{
    if (wf_unlikely(a->spare < 0))
        a->spare = open_spare();
}

void wf_shortage_end(wf_acceptor *a)
{
    if (a->spare >= 0)
        close(a->spare);
}

/* The oldest waiting peer, accepted with the descriptor that was kept for this. Returns its descriptor if there are others again by
 * now, to be served like any other; else it is told by a hang-up instead of being left in the queue, and the result is -1. */
static int accept_on_spare(wf_acceptor *a, weft_addr *peer)
{
    if (a->spare < 0)
        a->spare = open_spare();
    if (a->spare < 0)
        return -1;
    close(a->spare);
    int fd = wf_accept_now(a->listener, peer);
    a->spare = open_spare();
    if (fd < 0 || a->spare >= 0)
        return fd;
    close(fd);
    wf_tally(&a->server->counters->refused, 1);
    a->spare = open_spare();
    return -1;
}

int wf_shortage_ride_out(wf_acceptor *a, int err)
{
    weft_addr peer;
    if (dead_on_arrival(err))
        return 0;
    if (!out_of_something(err))
        return err;
    bool permitted = wf_server_try_permits(a->server);
    int fd = permitted ? accept_on_spare(a, &peer) : -1;
    if (fd >= 0 && wf_connection_start(a->server, a->listener->source.sources, fd, &peer) == 0)
        return 0;
    if (fd < 0 && permitted)
        wf_server_give_back(a->server);
    wf_tally(&a->server->counters->pauses, 1);
    return weft_sleep(PAUSE);
}
