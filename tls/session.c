/* session.c - the sessions that a client keeps to resume, one per host.
 *
 * What is kept, and what is given out, are copies: OpenSSL marks a session whose connection ended badly, and a connection may live in another
 * thread. */
#include <stdlib.h>
#include <string.h>
#include <tls/tls.h>

enum { MOST_HOSTS = 128 };

static void session_free(wf_tls_session *s)
{
    if (!s)
        return;
    SSL_SESSION_free(s->session);
    free(s);
}

void wf_tls_sessions_free(wf_tls_session *all)
{
    for (wf_tls_session *next; all; all = next) {
        next = all->next;
        session_free(all);
    }
}

/* Without @host's, which is returned. */
static wf_tls_session *take_locked(weft_tls_context *ctx, const char *host)
{
    for (wf_tls_session **at = &ctx->sessions; *at; at = &(*at)->next) {
        wf_tls_session *s = *at;
        if (strcmp(s->host, host) != 0)
            continue;
        *at = s->next;
        return s;
    }
    return NULL;
}

/* The one that has not been used for longest has to go. Returns it, or NULL. */
static wf_tls_session *surplus_locked(weft_tls_context *ctx)
{
    wf_tls_session **at = &ctx->sessions;
    for (int i = 0; i < MOST_HOSTS && *at; i++)
        at = &(*at)->next;
    wf_tls_session *s = *at;
    *at = NULL;
    return s;
}

static void add_locked(weft_tls_context *ctx, wf_tls_session *s)
{
    s->next = ctx->sessions;
    ctx->sessions = s;
}

/* Not what was agreed on before the files were read again. */
static void keep(const wf_tls *t, SSL_SESSION *session)
{
    weft_tls_context *ctx = t->ctx;
    size_t length = strlen(t->host) + 1;
    wf_tls_session *s = malloc(sizeof *s + length);
    if (!s)
        return;
    memcpy(s->host, t->host, length);
    s->session = SSL_SESSION_dup(session);
    if (!s->session) {
        free(s);
        return;
    }
    pthread_mutex_lock(&ctx->lock);
    bool current = t->set == ctx->set;
    wf_tls_session *before = current ? take_locked(ctx, t->host) : s;
    if (current)
        add_locked(ctx, s);
    wf_tls_session *surplus = surplus_locked(ctx);
    pthread_mutex_unlock(&ctx->lock);
    session_free(before);
    session_free(surplus);
}

/* 0: the session stays OpenSSL's. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    wf_tls *t = SSL_get_app_data(ssl);
    if (t->host)
        keep(t, session);
    return 0;
}

void wf_tls_sessions_keep(SSL_CTX *ssl)
{
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl, on_new_session);
}

SSL_SESSION *wf_tls_session_of(weft_tls_context *ctx, const char *host)
{
    SSL_SESSION *copy = NULL;
    pthread_mutex_lock(&ctx->lock);
    wf_tls_session *s = take_locked(ctx, host);
    if (s) {
        add_locked(ctx, s);
        if (SSL_SESSION_is_resumable(s->session))
            copy = SSL_SESSION_dup(s->session);
    }
    pthread_mutex_unlock(&ctx->lock);
    return copy;
}

void wf_tls_session_forget(weft_tls_context *ctx, const char *host)
{
    pthread_mutex_lock(&ctx->lock);
    wf_tls_session *s = take_locked(ctx, host);
    pthread_mutex_unlock(&ctx->lock);
    session_free(s);
}
