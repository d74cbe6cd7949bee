/* weft/net.h - addresses, listeners, connections, servers. */
#ifndef WEFT_NET_H
#define WEFT_NET_H

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

/* ---- listeners and connections ------------------------------------------------------------------------------ */

/** Zero is the default of every field. */
typedef struct weft_tcp_options {
    int backlog;     /* listeners; 0: the system's largest */
    int reuse_port;  /* listeners: share the port with others */
    int v6only;      /* an IPv6 listener takes no IPv4 */
    int nagle;       /* connections: let small writes wait to be joined (default: sent at once) */
    int64_t timeout; /* weft_tcp_connect(): nanoseconds, 0: none of its own */
} weft_tcp_options;

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

/** **awaits** a connection to "host:port". Cancel-safe: an interrupted one leaves nothing behind. Returns 0, an interruption, or the system's code. */
static inline int weft_tcp_connect(weft_stream **s, const char *address, const weft_tcp_options *options)
{
    return weft_tcp_connect_sized(s, address, options, sizeof *options);
}

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

/** Zero is the default of every field. */
typedef struct weft_serve_options {
    size_t max_connections; /* at this many, accepting waits; 0: no limit */
    int64_t drain_timeout; /* after an interruption, how long handlers may go on before they are aborted; 0: not at all */
    weft_spawn_options spawn; /* name, stack_size, pinned and drop_result of the handlers' tasks */
    int nagle;                /* see weft_tcp_options */
    weft_token *draining; /* cancelled when accepting has stopped, so that handlers that only wait can leave; or NULL */
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

WEFT_END_DECLS

#endif
