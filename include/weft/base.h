/* weft/base.h - what every other header stands on: visibility, versions, error codes, units of time. */
#ifndef WEFT_BASE_H
#define WEFT_BASE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
#define WEFT_BEGIN_DECLS extern "C" {
#define WEFT_END_DECLS }
#else
#define WEFT_BEGIN_DECLS
#define WEFT_END_DECLS
#endif

#if defined(__GNUC__)
#define WEFT_API __attribute__((visibility("default")))
#define WEFT_NORETURN __attribute__((noreturn))
#define WEFT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define WEFT_MUST_USE __attribute__((warn_unused_result))
#define WEFT_UNUSED_ __attribute__((unused))
#else
#define WEFT_API
#define WEFT_NORETURN
#define WEFT_PRINTF(fmt, args)
#define WEFT_MUST_USE
#define WEFT_UNUSED_
#endif

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0
#define WEFT_VERSION_STRING "0.1.0"
#define WEFT_VERSION_NUMBER (WEFT_VERSION_MAJOR * 10000 + WEFT_VERSION_MINOR * 100 + WEFT_VERSION_PATCH)

/* The struct that holds @member of @type at @pointer. */
#define WEFT_CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

WEFT_BEGIN_DECLS

/**
 * Every call returns 0 or a count, or one of these. The first group has libuv's values (which are the system's, negated);
 * any other negative value that a call returns is one of libuv's too. The second group is weft's own.
 */
enum {
    WEFT_EAGAIN = -EAGAIN,               /* would have to wait */
    WEFT_ECANCELED = -ECANCELED,         /* the calling task was asked to stop; or the runtime is stopping */
    WEFT_ETIMEDOUT = -ETIMEDOUT,         /* a deadline passed */
    WEFT_EBUSY = -EBUSY,                 /* somebody else is doing that right now */
    WEFT_EINVAL = -EINVAL,               /* an argument makes no sense */
    WEFT_EMSGSIZE = -EMSGSIZE,           /* too long for the space or the limit given */
    WEFT_EDEADLK = -EDEADLK,             /* waiting here could never end */
    WEFT_ENOMEM = -ENOMEM,               /* out of memory, or of maps */
    WEFT_EMFILE = -EMFILE,               /* out of descriptors in this process */
    WEFT_ENFILE = -ENFILE,               /* out of descriptors in this system */
    WEFT_EADDRINUSE = -EADDRINUSE,       /* the address is taken */
    WEFT_EADDRNOTAVAIL = -EADDRNOTAVAIL, /* the address is not one of this machine's */
    WEFT_EACCES = -EACCES,               /* not allowed */
    WEFT_ECONNREFUSED = -ECONNREFUSED,   /* nobody listens there */
    WEFT_ECONNRESET = -ECONNRESET,       /* the peer broke the connection */
    WEFT_ECONNABORTED = -ECONNABORTED,   /* the peer left before it was accepted */
    WEFT_ENOTCONN = -ENOTCONN,           /* not connected (any more) */
    WEFT_EPIPE = -EPIPE,                 /* the other side no longer reads */
    WEFT_EBADF = -EBADF,                 /* no such descriptor */
    WEFT_ENOTSUP = -ENOTSUP,             /* not to be had here (also: in a forked child) */
    WEFT_ENOENT = -ENOENT,               /* no such thing */
    WEFT_ENETUNREACH = -ENETUNREACH,     /* no way to that network */
    WEFT_EHOSTUNREACH = -EHOSTUNREACH,   /* no way to that host */
    WEFT_EPROTO = -EPROTO,               /* the peer does not keep to the protocol */
    WEFT_ENOTSOCK = -ENOTSOCK,           /* that is for sockets */
    WEFT_EAI_AGAIN = -3001,              /* the name servers did not answer: perhaps later */
    WEFT_EAI_NONAME = -3008,             /* there is no such name */
    WEFT_EOF = -4095,                    /* the end came inside an item */

    WEFT_EABORTED = -6001,     /* the task joined was aborted */
    WEFT_EPANIC = -6002,       /* the task joined panicked; weft_task_error() says why */
    WEFT_EFAILED = -6003,      /* the task joined failed by weft_fail(); its code is the result */
    WEFT_ECLOSED = -6004,      /* the stream, channel or token was closed by somebody on this side */
    WEFT_EEXHAUSTED = -6005,   /* retries, permits or preallocated places are used up */
    WEFT_ENORUNTIME = -6006,   /* needs a runtime, and the calling thread has none */
    WEFT_ETLS = -6007,         /* TLS failed: weft_error_detail() says how */
    WEFT_ECERTIFICATE = -6008, /* the peer's certificate is missing, wrong or not trusted: weft_error_detail() says why */
};

/** The sentence for a code ("connection refused"), for weft's codes, libuv's and the system's. Never NULL. Any thread. */
WEFT_API const char *weft_strerror(int code);

/** The name of a code ("ECONNREFUSED", "WEFT_EPANIC"; "OK" for 0 and counts). Never NULL. Any thread. */
WEFT_API const char *weft_err_name(int code);

/**
 * What the last failing call of this task (or thread) knew beyond its code ("listen 127.0.0.1:80: permission denied").
 * Returns: text that stays valid until the next failure of the same task; "" when there is nothing to add.
 */
WEFT_API const char *weft_error_detail(void);

/** Say it, for libraries built on weft. Returns @code. */
WEFT_API int weft_error_set(int code, const char *format, ...) WEFT_PRINTF(2, 3);

/** The version of the library that runs, as WEFT_VERSION_NUMBER. */
WEFT_API int weft_version(void);

/* Times are nanoseconds in an int64_t. */
#define WEFT_US INT64_C(1000)
#define WEFT_MS INT64_C(1000000)
#define WEFT_SEC INT64_C(1000000000)
#define WEFT_FOREVER INT64_MAX

/** Nanoseconds on the monotonic clock. Any thread. */
WEFT_API int64_t weft_now(void);

/* Handles that several headers mention. */
typedef struct weft_runtime weft_runtime;
typedef struct weft_task weft_task;
typedef struct weft_aborter weft_aborter;
typedef struct weft_stream weft_stream;
typedef struct weft_listener weft_listener;
typedef struct weft_udp weft_udp;
typedef struct weft_file weft_file;
typedef struct weft_semaphore weft_semaphore;
typedef struct weft_tls_context weft_tls_context;
typedef struct weft_group weft_group;

/** What a strand runs. Its value is the task's result; `return weft_fail(code);` makes the task fail instead. */
typedef void *(*weft_fn)(void *arg);

WEFT_END_DECLS

#endif
