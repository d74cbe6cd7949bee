/* tls_link.c - TLS of a client's connection, on OpenSSL itself, and the certificate that the server gets. */
#include "link.h"
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>

static SSL_CTX *context;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Nobody sits in the middle: only the bytes matter here, so the certificate is not looked at. */
static void make_context(void)
{
    context = SSL_CTX_new(TLS_client_method());
    if (context)
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
}

int tls_link_begin(client_link *l)
{
    pthread_once(&once, make_context);
    l->tls = context ? SSL_new(context) : NULL;
    return l->tls && SSL_set_fd(l->tls, l->fd) == 1 && SSL_connect(l->tls) == 1 ? 0 : -1;
}

int tls_link_send(client_link *l, const void *bytes, size_t size)
{
    size_t sent;
    return size == 0 || SSL_write_ex(l->tls, bytes, size, &sent) == 1 ? 0 : -1;
}

ssize_t tls_link_take(client_link *l, void *bytes, size_t size)
{
    size_t n;
    if (SSL_read_ex(l->tls, bytes, size, &n) == 1)
        return (ssize_t)n;
    return SSL_get_error(l->tls, 0) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

int tls_link_finish(client_link *l) { return SSL_shutdown(l->tls) < 0 ? -1 : 0; }

void tls_link_free(client_link *l)
{
    SSL_free(l->tls);
    l->tls = NULL;
}

static int sign(X509 *certificate, EVP_PKEY *key)
{
    X509_NAME *name = X509_get_subject_name(certificate);
    return X509_set_version(certificate, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), 30L * 24 * 3600) &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"soak", -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

int tls_certificate(const char *path)
{
    int done = -1;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    FILE *file = fopen(path, "w");
    if (key && certificate && file && sign(certificate, key) && PEM_write_X509(file, certificate) == 1 &&
        PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1)
        done = 0;
    if (file && fclose(file) != 0)
        done = -1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    return done;
}
