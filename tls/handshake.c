/* handshake.c - from a stream to an encrypted one.
 *
 *   happy path   the layer goes on top → OpenSSL takes a step, waits for the peer, takes the next … → what is left to send is sent
 *   a reader     holds what the peer sent already: that comes first
 *   no room      what a step wrote is sent before the next one waits for the peer
 *   peer gone    after its part of the handshake, so that the last of ours goes nowhere: what it sent is there to be read, and a write will tell
 *   too late     the scope around all this fires: WEFT_ETIMEDOUT
 *   closed       by another task meanwhile: neither stream nor layer are touched again; the connection's state has two users, and this is one
 *
 * A connection whose handshake did not end well answers every later call with a failure. */
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <tls/tls.h>
#include <weft/scope.h>

/* What a step says besides codes. */
enum { DONE = 1, SEND_FIRST = 2 };

/* ---- steps ----------------------------------------------------------------------------------------------------- */

static void note_names(wf_tls *t)
{
    const unsigned char *protocol;
    unsigned size;
    const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
    SSL_get0_alpn_selected(t->ssl, &protocol, &size);
    snprintf(t->alpn, sizeof t->alpn, "%.*s", (int)size, size ? (const char *)protocol : "");
    snprintf(t->name, sizeof t->name, "%s", name ? name : "");
}

static void established(wf_tls *t)
{
    note_names(t);
    t->version = SSL_get_version(t->ssl);
    t->cipher = SSL_get_cipher_name(t->ssl);
    t->resumed = SSL_session_reused(t->ssl);
    t->peer = SSL_get1_peer_certificate(t->ssl);
    t->verified = t->ctx->verifies && t->peer && SSL_get_verify_result(t->ssl) == X509_V_OK;
    t->established = true;
}

static int step_locked(wf_tls *t)
{
    ERR_clear_error();
    int n = SSL_do_handshake(t->ssl);
    if (n != 1 && SSL_get_error(t->ssl, n) != SSL_ERROR_WANT_READ)
        return wf_tls_fail(t);
    if (n != 1 && t->no_input < 0)
        return t->no_input;
    if (n == 1 && !t->established)
        established(t);
    if (wf_tls_bytes_left(&t->out) > 0)
        return SEND_FIRST;
    if (n == 1)
        return DONE;
    return t->no_output < 0 ? t->no_output : WEFT_EAGAIN;
}

static ssize_t step(weft_stream *s, void *arg)
{
    wf_tls *t = arg;
    (void)s;
    pthread_mutex_lock(&t->lock);
    int verdict = step_locked(t);
    pthread_mutex_unlock(&t->lock);
    return verdict;
}

static ssize_t send_rest(weft_stream *s, void *arg)
{
    wf_tls *t = arg;
    (void)s;
    pthread_mutex_lock(&t->lock);
    int err = wf_tls_flush(t);
    if (t->established && err != WEFT_EAGAIN)
        err = 0;
    pthread_mutex_unlock(&t->lock);
    return err;
}

static int shake(weft_stream *s, wf_tls *t)
{
    for (;;) {
        ssize_t verdict = weft_stream_attempt(s, WEFT_READING, step, t);
        if (verdict == SEND_FIRST)
            verdict = weft_stream_attempt(s, WEFT_WRITING, send_rest, t);
        else if (verdict == DONE)
            return 0;
        if (verdict < 0)
            return (int)verdict;
    }
}

/* ---- the beginning --------------------------------------------------------------------------------------------- */

static ssize_t nothing(weft_stream *s, void *arg)
{
    (void)s, (void)arg;
    return 0;
}

/* Nobody reads or writes, so it is a reader that holds bytes: reading the stream takes them and does not wait. */
static int take_early(weft_stream *s, wf_tls *t)
{
    char bytes[4096];
    ssize_t n = weft_stream_attempt(s, WEFT_WRITING, nothing, NULL);
    if (n == 0)
        n = weft_stream_attempt(s, WEFT_READING, nothing, NULL);
    if (n == 0)
        n = weft_read(s, bytes, sizeof bytes);
    if (n <= 0)
        return n == 0 ? WEFT_EOF : (int)n;
    return wf_tls_bytes_add(&t->early, bytes, (size_t)n) ? 0 : WEFT_ENOMEM;
}

static int push(weft_stream *s, wf_tls *t)
{
    for (;;) {
        int err = weft_stream_push_layer(s, &t->layer);
        if (err == WEFT_EBUSY)
            err = take_early(s, t);
        else
            return err;
        if (err < 0)
            return err;
    }
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

static int tell(wf_tls *t, int err)
{
    pthread_mutex_lock(&t->lock);
    bool known = t->failed == err;
    if (known)
        wf_tls_tell(t);
    else
        wf_tls_fail_with(t, WEFT_ETLS, "TLS: the handshake did not end");
    pthread_mutex_unlock(&t->lock);
    if (t->host)
        wf_tls_session_forget(t->ctx, t->host);
    return known ? err : weft_error_set(err, "TLS handshake: %s", weft_strerror(err));
}

static int connection(weft_stream *s, weft_tls_context *ctx, const char *host)
{
    wf_tls *t;
    int err = wf_tls_create(&t, ctx, host);
    if (err < 0)
        return err;
    err = push(s, t);
    if (err < 0) {
        wf_tls_unuse(t);
    } else {
        err = shake(s, t);
        if (err < 0)
            tell(t, err);
    }
    wf_tls_unuse(t);
    return err;
}

int wf_tls_shake(weft_stream *s, weft_tls_context *ctx, const char *host, int64_t timeout)
{
    weft_scope scope;
    int err = weft_scope_enter(&scope, timeout);
    if (err < 0)
        return err;
    err = connection(s, ctx, host);
    weft_scope_leave(&scope);
    return err;
}

int weft_tls_accept(weft_stream *s, weft_tls_context *ctx)
{
    if (!s || !ctx || !ctx->server)
        return WEFT_EINVAL;
    return wf_tls_shake(s, ctx, NULL, ctx->options.handshake_timeout);
}

int weft_tls_connect(weft_stream *s, weft_tls_context *ctx, const char *host)
{
    if (!s || !ctx || ctx->server || (host ? !*host || strlen(host) >= WF_TLS_NAME : ctx->verifies))
        return WEFT_EINVAL;
    return wf_tls_shake(s, ctx, host, ctx->options.handshake_timeout);
}
