/* tls.h - what the files of the room tls share: contexts, connections, and how OpenSSL's failures become weft's.
 *
 * The room is a library of its own and uses weft's public API alone. OpenSSL is called under a connection's lock, by functions that cannot suspend:
 * its error queue belongs to the thread. */
#ifndef WF_TLS_H
#define WF_TLS_H

#include <net/tls_entry.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <weft/layer.h>
#include <weft/tls.h>

enum { WF_TLS_NAME = 256, WF_TLS_REASON = 256 };

/* ---- contexts -------------------------------------------------------------------------------------------------- */

/* A certificate that was added for a name. It lives as long as its context. */
typedef struct wf_tls_named {
    struct wf_tls_named *next;
    char *name, *certificate, *key; /* key NULL: in the certificate's file */
} wf_tls_named;

/* What the files held at one time. Never changed; a connection keeps the one that it began with. */
typedef struct wf_tls_set {
    int refs;          /* under the context's lock: the context's, and the connections' */
    SSL_CTX *ordinary; /* for who asks for no name, or for one that was not added */
    size_t count;      /* the newest first: of two for one name it is the one */
    struct wf_tls_choice {
        const char *name; /* the wf_tls_named's */
        SSL_CTX *ssl;
    } named[];
} wf_tls_set;

typedef struct wf_tls_session {
    struct wf_tls_session *next;
    SSL_SESSION *session;
    char host[];
} wf_tls_session;

struct weft_tls_context {
    wf_tls_entry entry; /* first: weft_serve() calls it */
    bool server, verifies;
    weft_tls_options options; /* its texts are copies; alpn is below */
    unsigned char *alpn;      /* as it travels: each name after its length; or NULL */
    unsigned alpn_size;
    BIO_METHOD *bio;
    pthread_mutex_t change;   /* one reads files at a time; taken before lock */
    wf_tls_named *named;      /* under change */
    pthread_mutex_t lock;     /* of what is below */
    int refs;                 /* the user's, and the connections' */
    wf_tls_set *set;          /* current */
    wf_tls_session *sessions; /* clients: one per host, the newest first */
};

/* Another reference to the context and to its current set, for a connection. */
wf_tls_set *wf_tls_context_use(weft_tls_context *ctx);
void wf_tls_context_unuse(weft_tls_context *ctx, wf_tls_set *set);

/* load.c: what the files hold now. 0, or a negative code with *@out NULL and the detail set. */
int wf_tls_set_read(wf_tls_set **out, weft_tls_context *ctx);
/* @old and one more, which comes first. */
int wf_tls_set_extend(wf_tls_set **out, weft_tls_context *ctx, const wf_tls_set *old, const wf_tls_named *more);
void wf_tls_set_free(wf_tls_set *set);

/* choose.c: what the server chooses for the client: the certificate by its name, the protocol. */
void wf_tls_choose_by_name(SSL_CTX *ssl);
void wf_tls_choose_protocol(SSL_CTX *ssl, weft_tls_context *ctx);

/* session.c: the client's sessions. The one for @host is a copy, or NULL. */
void wf_tls_sessions_keep(SSL_CTX *ssl);
SSL_SESSION *wf_tls_session_of(weft_tls_context *ctx, const char *host);
void wf_tls_session_forget(weft_tls_context *ctx, const char *host);
void wf_tls_sessions_free(wf_tls_session *all);

/* ---- connections ----------------------------------------------------------------------------------------------- */

typedef struct wf_tls_bytes {
    char *bytes; /* NULL while there are none */
    size_t start, end, room;
} wf_tls_bytes;

typedef struct wf_tls {
    weft_layer layer;
    weft_tls_context *ctx;
    wf_tls_set *set;
    char *host;           /* clients: whose session it is; or NULL */
    pthread_mutex_t lock; /* of what is below, and around every call of OpenSSL */
    int users;            /* the stream's, and the handshake's */
    SSL *ssl;
    bool established, refused; /* the handshake is over; the peer's certificate was not accepted, and reason says why */
    bool stalled;              /* a write waits for the rest of a message that is being read */
    wf_tls_bytes early;        /* what a reader had read of the stream */
    wf_tls_bytes out;          /* encrypted, and not yet taken by what is below */
    int no_input, no_output; /* why there is no more from below, and nothing goes there any more: a negative code; 0: there is */
    size_t accepted;        /* of the write that waits for out to become empty */
    uint64_t accepted_mark; /* of its bytes */
    int failed;             /* TLS is at its end here: with this code, and reason */
    char reason[WF_TLS_REASON];
    /* Since the handshake, and never changed. */
    const char *version, *cipher;
    bool resumed, verified;
    X509 *peer;
    char alpn[WF_TLS_NAME], name[WF_TLS_NAME];
} wf_tls;

extern const weft_layer_ops wf_tls_layer;

/* 0, or a negative code with *@out NULL. @host: see weft_tls_connect(). It has two users. */
int wf_tls_create(wf_tls **out, weft_tls_context *ctx, const char *host);
void wf_tls_unuse(wf_tls *t);

/* handshake.c */
int wf_tls_shake(weft_stream *s, weft_tls_context *ctx, const char *host, int64_t timeout);

/* bio.c. All under the lock. */
BIO_METHOD *wf_tls_bio_method(void);
int wf_tls_bio_attach(wf_tls *t);
/* 0: all that OpenSSL wrote is below; WEFT_EAGAIN; or a negative code. */
int wf_tls_flush(wf_tls *t);
bool wf_tls_bytes_add(wf_tls_bytes *b, const void *bytes, size_t size);
size_t wf_tls_bytes_left(const wf_tls_bytes *b);
void wf_tls_bytes_free(wf_tls_bytes *b);

/* failure.c: what OpenSSL's queue says of this connection, kept in it. Returns the code. */
int wf_tls_fail(wf_tls *t);
int wf_tls_fail_with(wf_tls *t, int code, const char *reason);
/* Tell the caller what was kept. Returns the code. */
int wf_tls_tell(const wf_tls *t);
/* Makes the peer's certificate known that is not accepted. */
int wf_tls_verify(int ok, X509_STORE_CTX *store);
/* What OpenSSL's queue says of a file, or of what else @what is: @code, or WEFT_ENOMEM. */
int wf_tls_fail_about(const char *what, int code);
void wf_tls_subject(X509 *certificate, char *buf, size_t size);

#endif
