/* choose.c - what a server chooses for a client: a certificate by the name that it asks for, a protocol among those that it offers. */
#include <string.h>
#include <strings.h>
#include <tls/tls.h>

/* "*.example.org" is for exactly one label more. */
static bool matches(const char *pattern, const char *name)
{
    if (strncmp(pattern, "*.", 2) != 0)
        return strcasecmp(pattern, name) == 0;
    const char *rest = strchr(name, '.');
    return rest && rest != name && strcasecmp(pattern + 1, rest) == 0;
}

/* A name as it is goes before a pattern. */
static SSL_CTX *choice(const wf_tls_set *set, const char *name)
{
    SSL_CTX *found = NULL;
    for (size_t i = 0; i < set->count; i++) {
        if (!matches(set->named[i].name, name))
            continue;
        if (set->named[i].name[0] != '*')
            return set->named[i].ssl;
        found = found ? found : set->named[i].ssl;
    }
    return found;
}

static int on_name(SSL *ssl, int *alert, void *arg)
{
    const wf_tls *t = SSL_get_app_data(ssl);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert, (void)arg;
    SSL_CTX *chosen = name ? choice(t->set, name) : NULL;
    if (chosen)
        SSL_set_SSL_CTX(ssl, chosen);
    return SSL_TLSEXT_ERR_OK;
}

void wf_tls_choose_by_name(SSL_CTX *ssl) { SSL_CTX_set_tlsext_servername_callback(ssl, on_name); }

static int on_protocols(SSL *ssl, const unsigned char **out, unsigned char *size, const unsigned char *offered,
                        unsigned offered_size, void *arg)
{
    const weft_tls_context *ctx = arg;
    unsigned char *chosen;
    (void)ssl;
    int verdict = SSL_select_next_proto(&chosen, size, ctx->alpn, ctx->alpn_size, offered, offered_size);
    *out = chosen;
    return verdict == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

void wf_tls_choose_protocol(SSL_CTX *ssl, weft_tls_context *ctx)
{
    if (ctx->alpn)
        SSL_CTX_set_alpn_select_cb(ssl, on_protocols, ctx);
}
