/* info.c - what is known of a connection since its handshake. */
#include <openssl/err.h>
#include <string.h>
#include <tls/tls.h>

/* The topmost TLS of @s whose handshake is over; NULL: none. */
static const wf_tls *tls_of(weft_stream *s)
{
    weft_layer *layer = weft_stream_layer(s);
    while (layer && layer->ops != &wf_tls_layer)
        layer = layer->below_;
    if (!layer)
        return NULL;
    wf_tls *t = WEFT_CONTAINER_OF(layer, wf_tls, layer);
    pthread_mutex_lock(&t->lock);
    bool established = t->established;
    pthread_mutex_unlock(&t->lock);
    return established ? t : NULL;
}

int weft_tls_is(weft_stream *s) { return tls_of(s) != NULL; }

const char *weft_tls_alpn(weft_stream *s)
{
    const wf_tls *t = tls_of(s);
    return t ? t->alpn : "";
}

const char *weft_tls_server_name(weft_stream *s)
{
    const wf_tls *t = tls_of(s);
    return t ? t->name : "";
}

const char *weft_tls_version(weft_stream *s)
{
    const wf_tls *t = tls_of(s);
    return t ? t->version : "";
}

const char *weft_tls_cipher(weft_stream *s)
{
    const wf_tls *t = tls_of(s);
    return t ? t->cipher : "";
}

int weft_tls_is_resumed(weft_stream *s)
{
    const wf_tls *t = tls_of(s);
    return t && t->resumed;
}

/* OpenSSL gives keys to the kernel only for descriptors that it writes to itself, and here it has none. */
int weft_tls_in_kernel(weft_stream *s)
{
    (void)s;
    return 0;
}

char *weft_tls_peer_subject(weft_stream *s, char *buf, size_t size)
{
    const wf_tls *t = tls_of(s);
    if (buf && size > 0)
        wf_tls_subject(t && t->verified ? t->peer : NULL, buf, size);
    return buf;
}

static size_t copy_der(X509 *certificate, void *buf, size_t size)
{
    unsigned char *der = NULL;
    int n = i2d_X509(certificate, &der);
    ERR_clear_error();
    if (n <= 0)
        return 0;
    if (buf)
        memcpy(buf, der, (size_t)n < size ? (size_t)n : size);
    OPENSSL_free(der);
    return (size_t)n;
}

ssize_t weft_tls_peer_certificate(weft_stream *s, void *buf, size_t size)
{
    const wf_tls *t = tls_of(s);
    return t && t->peer ? (ssize_t)copy_der(t->peer, buf, size) : 0;
}
