/* connection.c - one connection's state: made before the handshake, gone with the stream. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <tls/tls.h>

static bool is_address(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* Whom the certificate must be for, and the name that is sent. An address is not sent. */
static int expect(wf_tls *t, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    bool address = is_address(host), ok = true;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (t->ctx->verifies)
        ok = address ? X509_VERIFY_PARAM_set1_ip_asc(param, host) : SSL_set1_host(t->ssl, host);
    if (ok && !address)
        ok = SSL_set_tlsext_host_name(t->ssl, host);
    return ok ? 0 : WEFT_ENOMEM;
}

static void offer_session(wf_tls *t)
{
    SSL_SESSION *session = wf_tls_session_of(t->ctx, t->host);
    if (session)
        SSL_set_session(t->ssl, session);
    SSL_SESSION_free(session);
}

static int begin_client(wf_tls *t, const char *host)
{
    SSL_set_connect_state(t->ssl);
    if (!host)
        return 0;
    t->host = strdup(host);
    if (!t->host)
        return WEFT_ENOMEM;
    offer_session(t);
    return expect(t, host);
}

static int fill(wf_tls *t, const char *host)
{
    t->ssl = SSL_new(t->set->ordinary);
    if (!t->ssl || SSL_set_app_data(t->ssl, t) != 1)
        return WEFT_ENOMEM;
    int err = wf_tls_bio_attach(t);
    if (err < 0)
        return err;
    if (!t->ctx->server)
        return begin_client(t, host);
    SSL_set_accept_state(t->ssl);
    return 0;
}

static void destroy(wf_tls *t)
{
    SSL_free(t->ssl);
    X509_free(t->peer);
    wf_tls_bytes_free(&t->early);
    wf_tls_bytes_free(&t->out);
    wf_tls_context_unuse(t->ctx, t->set);
    pthread_mutex_destroy(&t->lock);
    free(t->host);
    free(t);
}

int wf_tls_create(wf_tls **out, weft_tls_context *ctx, const char *host)
{
    *out = NULL;
    wf_tls *t = calloc(1, sizeof *t);
    if (!t)
        return WEFT_ENOMEM;
    t->layer.ops = &wf_tls_layer;
    t->ctx = ctx;
    t->set = wf_tls_context_use(ctx);
    t->users = 2;
    pthread_mutex_init(&t->lock, NULL);
    int err = fill(t, host);
    ERR_clear_error();
    if (err < 0)
        destroy(t);
    else
        *out = t;
    return err;
}

void wf_tls_unuse(wf_tls *t)
{
    pthread_mutex_lock(&t->lock);
    bool last = --t->users == 0;
    pthread_mutex_unlock(&t->lock);
    if (last)
        destroy(t);
}
