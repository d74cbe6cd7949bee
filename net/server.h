/* server.h - what weft_serve() is made of.
 *
 *   serve.c        begins, and ends well: stop accepting, drain, abort, wait
 *   acceptor.c     one loop that accepts; as many as there are shards
 *   shortage.c     what it does when there are no descriptors and no memory, and about peers that die in the queue
 *   connection.c   from an accepted descriptor to the end of its handler */
#ifndef WF_SERVER_H
#define WF_SERVER_H

#include <net/socket.h>
#include <net/stream.h>
#include <weft/group.h>
#include <weft/sync.h>

typedef struct wf_server {
    weft_handler handler;
    void *arg;
    weft_serve_options options;
    weft_group *connections;
    weft_semaphore places; /* with shards: max_connections permits, because several acceptors would see the same room */
    bool by_places;
    weft_serve_counters *counters; /* the user's, or own */
    weft_serve_counters own;
    uint64_t handlers; /* of this server that have not ended; counters may be shared */
} wf_server;

typedef struct wf_acceptor {
    wf_server *server;
    weft_listener *listener;
    int spare; /* a descriptor in reserve, or -1 */
} wf_acceptor;

static inline void wf_tally(uint64_t *counter, uint64_t n) { __atomic_fetch_add(counter, n, __ATOMIC_RELAXED); }

/* What a connection needs, besides its own, to be accepted: a permit of each. Taken only for one that is there, so that idle acceptors hold none. */
static inline bool wf_server_has_permits(const wf_server *sv) { return sv->by_places || sv->options.slots; }

static inline void wf_server_give_back(wf_server *sv)
{
    if (sv->by_places)
        weft_semaphore_release(&sv->places, 1);
    if (sv->options.slots)
        weft_semaphore_release(sv->options.slots, 1);
}

/* ---- connection.c ---- */

/* Serve the connection @fd in a task of its own. 0; or a negative code, and it is closed. Its permits are given back with it. */
int wf_connection_start(wf_server *sv, wf_sources *all, int fd, const weft_addr *peer);

/* ---- shortage.c ---- */

void wf_shortage_prepare(wf_acceptor *a);
void wf_shortage_end(wf_acceptor *a);

/* Accepting has succeeded: the spare descriptor is there again, if it was lost and can be. */
void wf_shortage_over(wf_acceptor *a);

/* After accepting failed with @err: 0: go on (there may have been a pause); else what accepting ends with. **awaits**. */
int wf_shortage_ride_out(wf_acceptor *a, int err);

/* ---- acceptor.c ---- */

/* Take the permits if they are to be had at once. */
bool wf_server_try_permits(wf_server *sv);

/* accept() without waiting: a descriptor and its peer, or a negative code. Without a place for it (WEFT_ENOMEM) the peer stays in the queue. */
int wf_accept_now(weft_listener *l, weft_addr *peer);

/* **awaits**: accepts until something ends it. Returns what did. */
int wf_accept_until_stopped(wf_acceptor *a);

#endif
