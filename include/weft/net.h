/* weft/net.h - addresses, listeners, connections, servers. */
#ifndef WEFT_NET_H
#define WEFT_NET_H

#include <sys/types.h>
#include <weft/base.h>
#include <weft/future.h>
#include <weft/task.h>
#include <weft/token.h>

struct sockaddr;

WEFT_BEGIN_DECLS

/* ---- addresses ---------------------------------------------------------------------------------------------- */

enum { WEFT_ADDR_TEXT = 128 };

/** An internet or Unix socket address: a value, copied freely. */
typedef struct weft_addr {
    uint32_t length_;
    uint32_t reserved_;
    uint64_t storage_[16]; /* a sockaddr_storage */
} weft_addr;

/** Parse "1.2.3.4:80", "[::1]:80", "[fe80::1%eth0]:80", ":80" (every IPv4 address) or "unix:/path", "unix:@abstract". Returns 0 or WEFT_EINVAL with *@a zero. */
WEFT_API int weft_addr_parse(weft_addr *a, const char *text);

/** The text that parses to @a; always terminated, cut at @size. Returns @buf. */
WEFT_API char *weft_addr_format(const weft_addr *a, char *buf, size_t size);

/** In host order; 0 for addresses without one. */
WEFT_API unsigned weft_addr_port(const weft_addr *a);
WEFT_API int weft_addr_equal(const weft_addr *a, const weft_addr *b);
/** Returns 0, or WEFT_EINVAL for a family or length that weft does not know. */
WEFT_API int weft_addr_from_sockaddr(weft_addr *a, const struct sockaddr *sa, size_t length);
/** The sockaddr inside @a and its length. */
WEFT_API const struct sockaddr *weft_addr_sockaddr(const weft_addr *a, size_t *length);

/**
 * **awaits** the addresses of @host (a name, "::1", "10.0.0.1") for @port ("80", "http"), in the order in which they should be tried, each once. @addrs: room for @n.
 * A host that ends in a number is an IPv4 address in full, or WEFT_EINVAL; so is one of more than 255 bytes.
 * Returns: how many there are, at most @n; WEFT_EAI_NONAME, WEFT_EAI_AGAIN and libuv's other UV_EAI_…; an interruption; WEFT_EINVAL, WEFT_ENOMEM, WEFT_ENORUNTIME.
 * Cancel-safe, and at once: what the name server says later is nobody's. Numeric ones need no waiting.
 */
WEFT_API int weft_resolve(weft_addr *addrs, int n, const char *host, const char *port);

/* ---- listeners and connections ------------------------------------------------------------------------------ */

/** Zero is the default of every field, and what makes no sense is WEFT_EINVAL. What is for connections may be given to a listener: those that it accepts get it. */
typedef struct weft_tcp_options {
    int backlog;    /* listeners; 0: the system's largest */
    int reuse_port; /* listeners: share the port with others */
    int v6only;     /* an IPv6 listener takes no IPv4 */
    int nagle;      /* connections: let small writes wait to be joined (default: sent at once) */
    int64_t timeout; /* weft_tcp_connect(): of the whole, asking for the name included; nanoseconds, 0: none of its own */
    int64_t keepalive; /* connections: probe after so long without traffic, nanoseconds (whole seconds, rounded up); 0: off */
    int64_t keepalive_interval; /* between probes; 0: the system's */
    int keepalive_count;        /* probes without an answer until the connection is broken; 0: the system's */
    int fast_open; /* listeners: how many connections may carry data before they are confirmed; weft_tcp_connect(): nonzero, the first write goes with the handshake. Where the system can */
    int64_t linger; /* connections: nanoseconds (whole seconds, rounded up) that the kernel tries to send the rest after a close, for which nobody waits; 0: the system's way; WEFT_LINGER_RESET */
    size_t send_buffer;    /* bytes; 0: the system's, which adapts */
    size_t receive_buffer; /* bytes; 0: the system's, which adapts */
    const char *bind; /* weft_tcp_connect(): the address of this side, "10.0.0.7:0"; only peers of its family are tried */
} weft_tcp_options;

/** weft_tcp_options.linger: a close breaks the connection, the peer gets WEFT_ECONNRESET, and the port is free at once. */
#define WEFT_LINGER_RESET INT64_C(-1)

#define WEFT_TCP_OPTIONS_INIT \
    {                         \
        0                     \
    }

WEFT_API int weft_tcp_listen_sized(weft_listener **l, const char *address, const weft_tcp_options *options, size_t size);
WEFT_API int weft_tcp_connect_sized(weft_stream **s, const char *address, const weft_tcp_options *options, size_t size);

/** Listen on "127.0.0.1:80" (port 0: any free one). Returns 0, WEFT_EINVAL, WEFT_EADDRINUSE, WEFT_EACCES, WEFT_EMFILE, WEFT_ENOMEM, WEFT_ENORUNTIME. */
static inline int weft_tcp_listen(weft_listener **l, const char *address, const weft_tcp_options *options)
{
    return weft_tcp_listen_sized(l, address, options, sizeof *options);
}

/**
 * **awaits** a connection to "host:port", "[::1]:80" or "example.org:http". All addresses of a name (16 at most) are tried, a quarter of a second apart, families in turn,
 * and the first that answers is it (RFC 8305). The options are applied before.
 * Returns: 0; WEFT_EINVAL (also: no such service); as weft_resolve(); WEFT_ETIMEDOUT; an interruption; or the code of the address that failed last, and weft_error_detail() says
 * which one failed how. Cancel-safe: an interrupted one leaves nothing behind.
 */
static inline int weft_tcp_connect(weft_stream **s, const char *address, const weft_tcp_options *options)
{
    return weft_tcp_connect_sized(s, address, options, sizeof *options);
}

/**
 * Its poll twin, for one address; options.timeout is not looked at. @address is the same in every poll, @options are read by the first.
 * Returns: 0, WEFT_PENDING, or a negative code. weft_op_drop() closes what is half open.
 */
WEFT_API int weft_poll_tcp_connect_sized(weft_context *cx, weft_op *op, weft_stream **s, const weft_addr *address,
                                         const weft_tcp_options *options, size_t size);
static inline int weft_poll_tcp_connect(weft_context *cx, weft_op *op, weft_stream **s, const weft_addr *address,
                                        const weft_tcp_options *options)
{
    return weft_poll_tcp_connect_sized(cx, op, s, address, options, sizeof *options);
}

/** Zero is the default of every field. */
typedef struct weft_unix_options {
    int backlog;   /* 0: the system's largest */
    unsigned mode; /* of the path, such as 0660; 0: as the umask says */
    unsigned keep; /* nonzero: the path stays when the listener is closed */
} weft_unix_options;

#define WEFT_UNIX_OPTIONS_INIT \
    {                          \
        0                      \
    }

WEFT_API int weft_unix_listen_sized(weft_listener **l, const char *path, const weft_unix_options *options, size_t size);

/** Listen on a path, or on "@name" (abstract, Linux). A socket that nobody listens on any more is replaced; anything else there is WEFT_EADDRINUSE. The path
 *  is removed when the listener is closed, if it is still this socket. Returns as weft_tcp_listen(), or another of the system's codes. */
static inline int weft_unix_listen(weft_listener **l, const char *path, const weft_unix_options *options)
{
    return weft_unix_listen_sized(l, path, options, sizeof *options);
}

/** **awaits** a connection to a path or "@name". Returns as weft_tcp_connect(); a full backlog is waited for. Cancel-safe. */
WEFT_API int weft_unix_connect(weft_stream **s, const char *path);

/** Adopt a listening stream socket of any family (made non-blocking). Returns 0, or a negative code (WEFT_EINVAL: it does not listen; WEFT_ENOTSOCK, WEFT_EBADF …) with @fd left to the caller. */
WEFT_API int weft_listener_from_fd(weft_listener **l, int fd);

/**
 * A listener that the service manager opened (systemd's LISTEN_FDS): the one of that @name (FileDescriptorName=; of several with it the first that is
 * left, and @index means nothing), or the @index-th where @name is NULL, from 0 on. No child inherits it.
 * Each can be had once. Returns 0; WEFT_ENOENT: there is none; WEFT_EBUSY: taken already; WEFT_EINVAL: it does not listen for streams; WEFT_ENORUNTIME, WEFT_ENOMEM.
 */
WEFT_API int weft_listener_activated(weft_listener **l, const char *name, int index);

/** Apply the options that are for connections to one that exists: all of them, zero being the default; only buffers stay as they are. Returns 0; WEFT_EINVAL, and nothing has changed; WEFT_ENOTSUP: it is no TCP connection; WEFT_ECLOSED, or the system's code. */
WEFT_API int weft_tcp_configure_sized(weft_stream *s, const weft_tcp_options *options, size_t size);
static inline int weft_tcp_configure(weft_stream *s, const weft_tcp_options *options)
{
    return weft_tcp_configure_sized(s, options, sizeof *options);
}

/** Who is at the other end of a Unix socket. */
typedef struct weft_credentials {
    pid_t pid; /* -1: the system does not tell */
    uid_t uid;
    gid_t gid;
} weft_credentials;

/** As they were when it connected. Returns 0, WEFT_EINVAL (no Unix socket), WEFT_ECLOSED, or the system's code. */
WEFT_API int weft_stream_peer_credentials(weft_stream *s, weft_credentials *out);

/** The address it is bound to. Returns 0 or a negative code. */
WEFT_API int weft_listener_addr(weft_listener *l, weft_addr *out);

/** **awaits** a connection. One task at a time (WEFT_EBUSY). Cancel-safe. Returns 0, an interruption, WEFT_ECLOSED, or the system's code (WEFT_EMFILE …: try again later). */
WEFT_API int weft_accept(weft_stream **s, weft_listener *l);
/** Its poll twin: 0, WEFT_PENDING, or a negative code. */
WEFT_API int weft_poll_accept(weft_context *cx, weft_stream **s, weft_listener *l);

/** Stop listening and free; a task that waits in weft_accept() gets WEFT_ECLOSED. NULL: nothing. Never awaits. */
WEFT_API void weft_listener_close(weft_listener *l);

/* ---- servers ------------------------------------------------------------------------------------------------ */

/** Serves one connection; the stream is closed when it returns. */
typedef void *(*weft_handler)(weft_stream *peer, void *arg);

/** What a server has done so far. Read it with weft_serve_counters_get(). */
typedef struct weft_serve_counters {
    uint64_t accepted; /* connections, all told */
    uint64_t active;   /* handlers that run, handshakes included */
    uint64_t refused;  /* hung up on for want of descriptors or memory */
    uint64_t failed;   /* TLS handshakes that failed */
    uint64_t pauses;   /* times that accepting paused for want of descriptors or memory */
    uint64_t aborted;  /* handlers aborted because they did not end within drain_timeout */
    uint64_t reserved_[2];
} weft_serve_counters;

/** Zero is the default of every field. */
typedef struct weft_serve_options {
    size_t max_connections; /* at this many, accepting waits; 0: no limit */
    int64_t drain_timeout; /* after an interruption, how long handlers may go on before they are aborted; 0: not at all */
    weft_spawn_options spawn; /* name, stack_size, pinned and drop_result of the handlers' tasks */
    int nagle;                /* see weft_tcp_options */
    weft_token *draining; /* cancelled when accepting has stopped, so that handlers that only wait can leave; or NULL */
    weft_semaphore *slots; /* one permit per connection, shared by several servers; or NULL */
    weft_tls_context *tls; /* connections are TLS, the handshake made before the handler is called; or NULL. See weft/tls.h */
    int64_t handshake_timeout; /* 0: the context's */
    weft_future *(*future)(weft_stream *peer,
                           void *arg); /* a stackless handler instead of @handler, which is then NULL. NULL: the peer is hung up on */
    unsigned shards; /* nonzero: each worker accepts on a socket of its own on the same address, and serves what it accepted itself. The listener has reuse_port */
    weft_serve_counters *counters; /* kept up to date; or NULL */
} weft_serve_options;

#define WEFT_SERVE_OPTIONS_INIT \
    {                           \
        0                       \
    }

WEFT_API int weft_serve_sized(weft_listener *l, weft_handler handler, void *arg, const weft_serve_options *options,
                              size_t size);

/**
 * **awaits** for as long as the listener lives: accepts, and runs @handler in a task per connection. Rides out EMFILE, ENFILE,
 * ENOMEM and ECONNABORTED. When interrupted: stops accepting, drains, aborts what is left, and returns when the last handler has ended.
 * Returns: WEFT_ECANCELED or WEFT_ETIMEDOUT, WEFT_ECLOSED (the listener was closed; drained too), or the code that made accepting impossible.
 */
static inline int weft_serve(weft_listener *l, weft_handler handler, void *arg, const weft_serve_options *options)
{
    return weft_serve_sized(l, handler, arg, options, sizeof *options);
}

/** A copy of @counters as they are. Any thread. */
WEFT_API void weft_serve_counters_get(const weft_serve_counters *counters, weft_serve_counters *out);

WEFT_END_DECLS

#endif
