/* weft/udp.h - datagrams. One receiver at a time; any number of senders. */
#ifndef WEFT_UDP_H
#define WEFT_UDP_H

#include <weft/base.h>
#include <weft/future.h>
#include <weft/net.h>

WEFT_BEGIN_DECLS

/** Zero is the default of every field. */
typedef struct weft_udp_options {
    unsigned reuse_port; /* share the port with others */
    unsigned v6only;     /* an IPv6 socket takes no IPv4 */
    unsigned broadcast;  /* allow sending to broadcast addresses */
    unsigned ttl;        /* hops of what is sent; 0: the system's */
    unsigned gro; /* let the kernel join datagrams of one sender, where it can. Then receive in batches, with 64 KiB of room each: see weft_datagram.segment */
    unsigned ecn; /* tell the ECN bits of what is received: see weft_datagram.ecn. Where it can */
    size_t send_buffer; /* bytes; 0: the system's */
    size_t receive_buffer;
    const char *bind; /* weft_udp_connect(): the address of this side */
} weft_udp_options;

#define WEFT_UDP_OPTIONS_INIT \
    {                         \
        0                     \
    }

WEFT_API int weft_udp_bind_sized(weft_udp **u, const char *address, const weft_udp_options *options, size_t size);
WEFT_API int weft_udp_connect_sized(weft_udp **u, const char *address, const weft_udp_options *options, size_t size);

/** A socket bound to "127.0.0.1:53" (port 0: any free one). Returns 0, WEFT_EINVAL, WEFT_EADDRINUSE, WEFT_EACCES, WEFT_EMFILE, WEFT_ENOMEM, WEFT_ENORUNTIME. Never awaits. */
static inline int weft_udp_bind(weft_udp **u, const char *address, const weft_udp_options *options)
{
    return weft_udp_bind_sized(u, address, options, sizeof *options);
}

/** A socket that talks to one peer, "host:port". **awaits** the name server if the host is a name. Returns as weft_udp_bind(), as weft_resolve(), or an interruption. Cancel-safe. */
static inline int weft_udp_connect(weft_udp **u, const char *address, const weft_udp_options *options)
{
    return weft_udp_connect_sized(u, address, options, sizeof *options);
}

/** Pending calls of others get WEFT_ECLOSED; freed when the last of them has left. NULL: nothing. Never awaits. */
WEFT_API void weft_udp_close(weft_udp *u);
/** Any thread, idempotent, frees nothing: pending and later calls get WEFT_ECLOSED. */
WEFT_API void weft_udp_abort(weft_udp *u);

/**
 * **awaits** until the datagram is handed to the kernel. @to: NULL on a connected socket. Any number of tasks at once; they take turns.
 * Returns @size, WEFT_EMSGSIZE (too large to be sent), WEFT_ECONNREFUSED (an earlier one of a connected socket met nobody), an interruption, WEFT_ECLOSED, or the system's code. Cancel-safe.
 */
WEFT_API ssize_t weft_udp_send(weft_udp *u, const void *buf, size_t size, const weft_addr *to);

/**
 * **awaits** a datagram. @from: NULL, or gets the sender. Returns its size (0 is one too); WEFT_EMSGSIZE: it was longer than @size, what fits is in @buf, the rest is lost;
 * WEFT_ECONNREFUSED, WEFT_EBUSY, an interruption, WEFT_ECLOSED. Cancel-safe.
 */
WEFT_API ssize_t weft_udp_recv(weft_udp *u, void *buf, size_t size, weft_addr *from);

/** One of a batch. All zero but data and size is right for receiving, and address besides for sending. */
typedef struct weft_datagram {
    void *data;
    size_t size;        /* of data: to be sent, or room */
    size_t length;      /* out: bytes received */
    weft_addr address;  /* of the peer; a zero one: the connected peer */
    unsigned truncated; /* out: it was longer than size */
    unsigned segment; /* sending, not 0: data is several datagrams of this size, the last may be shorter. Receiving with gro: the same, 0 for one datagram */
    unsigned ecn;     /* 0…3: sent so; out with the option ecn */
    unsigned reserved_;
} weft_datagram;

/** **awaits** the first datagram, and takes up to @n (at most 64 at a time) that are there. Returns how many; otherwise as weft_udp_recv(). Cancel-safe. */
WEFT_API int weft_udp_recv_batch(weft_udp *u, weft_datagram *datagrams, int n);
/** **awaits** until all @n are handed to the kernel. Returns how many were before something failed; if none, as weft_udp_send(). Interrupted: the count if any was sent. */
WEFT_API int weft_udp_send_batch(weft_udp *u, const weft_datagram *datagrams, int n);

/** The poll twins: as above, or WEFT_PENDING. A sender that meets another gets WEFT_PENDING too and is woken in its turn. */
WEFT_API ssize_t weft_poll_udp_send(weft_context *cx, weft_udp *u, const void *buf, size_t size, const weft_addr *to);
WEFT_API ssize_t weft_poll_udp_recv(weft_context *cx, weft_udp *u, void *buf, size_t size, weft_addr *from);

/** Join or leave @group ("239.1.2.3:0", "[ff02::1]:0"; the port is ignored) on @interface (its name, or NULL: the system chooses). Returns 0 or a negative code. Never awaits. */
WEFT_API int weft_udp_join(weft_udp *u, const weft_addr *group, const char *interface);
WEFT_API int weft_udp_leave(weft_udp *u, const weft_addr *group, const char *interface);
/** Of multicasts: hops (0…255), whether this machine's members get them too, and the interface that they leave by. Negative or NULL: leave as it is. */
WEFT_API int weft_udp_set_multicast(weft_udp *u, int ttl, int loop, const char *interface);
WEFT_API int weft_udp_set_ttl(weft_udp *u, unsigned ttl);
WEFT_API int weft_udp_set_broadcast(weft_udp *u, unsigned on);

/** Returns 0 or a negative code (WEFT_ENOTCONN). */
WEFT_API int weft_udp_local(weft_udp *u, weft_addr *out);
WEFT_API int weft_udp_peer(weft_udp *u, weft_addr *out);
/** The descriptor, still the socket's; -1 once closed. */
WEFT_API int weft_udp_fd(weft_udp *u);
/** Adopt a datagram socket (made non-blocking). Returns 0, or a negative code with @fd left to the caller. */
WEFT_API int weft_udp_from_fd(weft_udp **u, int fd);

WEFT_END_DECLS

#endif
