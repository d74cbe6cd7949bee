/* weft/tls.h - TLS 1.2 and 1.3 on streams, by OpenSSL 3. In a library of its own: link with weft::tls, or `pkg-config --libs weft-tls`. */
#ifndef WEFT_TLS_H
#define WEFT_TLS_H

#include <weft/base.h>
#include <weft/io.h>

WEFT_BEGIN_DECLS

/* ---- contexts ------------------------------------------------------------------------------------------------- */

typedef enum weft_tls_peer {
    WEFT_TLS_VERIFY_DEFAULT = 0, /* clients: required. Servers: not asked for */
    WEFT_TLS_VERIFY_REQUIRED,
    WEFT_TLS_VERIFY_OPTIONAL, /* servers: asked for; none is fine, a wrong one is not */
    WEFT_TLS_VERIFY_NONE,     /* clients: anybody may sit in the middle */
} weft_tls_peer;

/** Zero is the default of every field. All texts are copied. Files are PEM. */
typedef struct weft_tls_options {
    const char *certificate; /* a file: this side's, and the chain up to the root. Servers need one */
    const char *key;         /* a file; NULL: in the certificate's */
    const char *trust;       /* a file or a directory of authorities; NULL: the system's */
    weft_tls_peer verify;
    const char *const *alpn; /* protocols in the order of preference ("h2", "http/1.1"), the last NULL; or NULL. Servers: with clients that offer none of them the handshake fails */
    const char *ciphers;     /* TLS 1.2, in OpenSSL's notation; NULL: its own of level 2 */
    unsigned min_version;    /* 12 (default) or 13 */
    unsigned max_version;    /* 12 or 13 (default) */
    unsigned no_resumption;  /* no session tickets, no session cache */
    unsigned ktls; /* a hint: let the kernel encrypt where it can. So far it never does: see weft_tls_in_kernel() */
    int64_t handshake_timeout; /* nanoseconds; 0: 10 s; WEFT_FOREVER: none */
} weft_tls_options;

#define WEFT_TLS_OPTIONS_INIT \
    {                         \
        0                     \
    }

WEFT_API int weft_tls_server_sized(weft_tls_context **ctx, const weft_tls_options *options, size_t size);
WEFT_API int weft_tls_client_sized(weft_tls_context **ctx, const weft_tls_options *options, size_t size);

/**
 * A context for servers: read from files once, shared by any number of connections and threads.
 * Returns: 0; WEFT_EINVAL, WEFT_ENOENT, WEFT_EACCES, WEFT_ECERTIFICATE (unreadable, or the key is another's), WEFT_ENOMEM; weft_error_detail() says more.
 * Reads files and blocks meanwhile.
 */
static inline int weft_tls_server(weft_tls_context **ctx, const weft_tls_options *options)
{
    return weft_tls_server_sized(ctx, options, sizeof *options);
}

/** A context for clients. @options may be NULL: the system's authorities, verified. It keeps one session to resume for each of the last 128 hosts. */
static inline int weft_tls_client(weft_tls_context **ctx, const weft_tls_options *options)
{
    return weft_tls_client_sized(ctx, options, sizeof *options);
}

/** Another certificate for clients that ask for @name ("example.org", "*.example.org") by SNI; without one they get the context's own. For connections from now
 *  on; any thread. Reads files and blocks meanwhile. Returns as weft_tls_server(). */
WEFT_API int weft_tls_context_add(weft_tls_context *ctx, const char *name, const char *certificate, const char *key);

/** Read the files again: connections from now on get what is in them; on failure everything stays as it was. Sessions of before are not resumed. Any
 *  thread. Blocks. Returns as weft_tls_server(). */
WEFT_API int weft_tls_context_reload(weft_tls_context *ctx);

/** Connections that use it go on. NULL: nothing. */
WEFT_API void weft_tls_context_free(weft_tls_context *ctx);

/* ---- connections ---------------------------------------------------------------------------------------------- */

/**
 * **awaits** the handshake; from then on @s is encrypted: reads, writes, half-close, select and copy as before. Bytes that an attached reader holds count as
 * the peer's first ones. Not cancel-safe: after a failure the stream is only good for closing. weft_close() sends close_notify if that needs no waiting;
 * weft_close_write() always. A stream that ends without the peer's close_notify was cut: reading says WEFT_EOF (never 0).
 * An interrupted write may have sent some of what it was given, and the rest of a record goes with the next write.
 * With TLS 1.3 a client whose certificate is refused learns of it by its first read.
 * Returns: 0; WEFT_ETIMEDOUT (the context's handshake_timeout too), WEFT_ECERTIFICATE, WEFT_ETLS; as weft_read() and weft_write(). weft_error_detail() says more.
 */
WEFT_API int weft_tls_accept(weft_stream *s, weft_tls_context *ctx);

/** The same from the client's side. @host: the name that the certificate must be for, sent by SNI; or an address. NULL only without verification. */
WEFT_API int weft_tls_connect(weft_stream *s, weft_tls_context *ctx, const char *host);

/** Nonzero if @s is encrypted. */
WEFT_API int weft_tls_is(weft_stream *s);
/** The protocol that was agreed on by ALPN; "": none. Good until the stream is closed. */
WEFT_API const char *weft_tls_alpn(weft_stream *s);
/** The name that the client asked for; "": none. */
WEFT_API const char *weft_tls_server_name(weft_stream *s);
/** "TLSv1.3", "TLS_AES_256_GCM_SHA384"; "" before the handshake. */
WEFT_API const char *weft_tls_version(weft_stream *s);
WEFT_API const char *weft_tls_cipher(weft_stream *s);
/** Nonzero if the session was resumed. */
WEFT_API int weft_tls_is_resumed(weft_stream *s);
/** Whether the kernel encrypts (1: what is sent, 2: what is received, 3: both). So far always 0: OpenSSL gives keys to the kernel only for a descriptor that it
 *  writes to itself, and here it writes to a layer. */
WEFT_API int weft_tls_in_kernel(weft_stream *s);
/** The subject of the peer's verified certificate ("CN=client,O=…"), cut at @size. Returns @buf; "" without one. */
WEFT_API char *weft_tls_peer_subject(weft_stream *s, char *buf, size_t size);
/** The peer's certificate, DER encoded. Returns its length, and writes at most @size of it; 0: none. */
WEFT_API ssize_t weft_tls_peer_certificate(weft_stream *s, void *buf, size_t size);

WEFT_END_DECLS

#endif
