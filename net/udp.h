/* udp.h - what lies behind a weft_udp: a source, and whose turn it is to send.
 *
 * A socket is its source's place, as a stream is. Receiving needs the claim for reading and nothing else. Sending needs the turn first
 * (udp_turn.c) and the claim for writing inside it, so whoever has the turn never finds the claim taken. */
#ifndef WF_UDP_H
#define WF_UDP_H

#include <net/stream.h>
#include <sync/waiters.h>
#include <sys/socket.h>
#include <weft/udp.h>

struct weft_udp {
    wf_source source;
};

typedef struct wf_udp_turns wf_udp_turns;

/* Can the kernel cut one buffer into datagrams? Asked when somebody first wants it. */
enum { WF_UDP_GSO_UNKNOWN, WF_UDP_GSO_YES, WF_UDP_GSO_NO };

/* In the source's spare words. Written before anybody else has the socket, but for gso. */
typedef struct wf_udp_extra {
    wf_aptr turns; /* wf_udp_turns; NULL once the socket is gone */
    wf_a32 gso;    /* WF_UDP_GSO_…: whoever asks the kernel writes the same */
    sa_family_t family;
    bool fails; /* what was sent may come back as an error: it is connected, or was adopted */
    bool told;  /* datagrams come with ancillary data: gro, ecn; or it was adopted */
} wf_udp_extra;

_Static_assert(sizeof(wf_udp_extra) <= sizeof(((wf_source *)0)->user), "it lies in the spare words");

static inline wf_udp_extra *wf_udp_extra_of(weft_udp *u) { return (wf_udp_extra *)(void *)u->source.user; }

/* ---- one sending: the turn, then an operation on the source --------------------------------------------------- */

typedef struct wf_udp_send {
    wf_source_op op; /* first: direction WF_WRITE */
    const weft_addr *to;
    wf_udp_turns *turns;
    bool mine;      /* it has the turn */
    bool waits;     /* somebody else had it, and `turn` is in use */
    wf_waiter turn; /* undefined until then */
} wf_udp_send;

/* @send's op is set. 0, or WEFT_ECLOSED. */
int wf_udp_send_begin(wf_udp_send *send);
ssize_t wf_udp_send_poll(void *send, weft_context *cx);
ssize_t wf_udp_send_cancel(void *send);
/* For a stackless poll: holds nothing while pending. */
ssize_t wf_udp_send_poll_once(wf_udp_send *send, weft_context *cx);

/* The turns of a socket whose source is @source; NULL: out of memory. */
wf_udp_turns *wf_udp_turns_new(const weft_allocator *allocator);
void wf_udp_turns_open(wf_udp_turns *t, wf_source *source);
/* The source is gone, or never was. */
void wf_udp_turns_gone(wf_udp_turns *t);

/* @hops: 1 to 255; 0: the system's. 0 or a negative code. */
int wf_udp_set_ttl(int fd, int family, unsigned hops);

/* ---- addresses ------------------------------------------------------------------------------------------------ */

/* Where the kernel shall write an address, and what it then was: zero if it has none. */
static inline struct sockaddr *wf_udp_name(weft_addr *a) { return (struct sockaddr *)(void *)a->storage_; }
void wf_udp_named(weft_addr *a, socklen_t length);

/* NULL or a zero one: the connected peer. */
static inline bool wf_udp_has_address(const weft_addr *a) { return a && a->length_ > 0; }

#endif
