/* tls_support.h - certificates that are made on the spot, and handshakes with both sides in one test. Only tests that link with OpenSSL include it. */
#ifndef TLS_SUPPORT_H
#define TLS_SUPPORT_H

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <support/net_support.h>
#include <support/test.h>
#include <unistd.h>
#include <weft.h>
#include <weft/tls.h>

#define TLS_SUPPORT static inline __attribute__((unused))

/* ---- certificates ---------------------------------------------------------------------------------------------- */

enum { DAY = 24 * 60 * 60 };

/* Somebody with a certificate; in the files NAME.pem (the certificate), NAME.key, and NAME.both (one after the other). */
typedef struct identity {
    const char *name;    /* of the files, and the CN */
    const char *alt;     /* "DNS:localhost,IP:127.0.0.1"; or NULL */
    const char *issuer;  /* the name of another identity; NULL: itself */
    long from, to;       /* seconds from now; both 0: a day around it */
    int authority;       /* it may issue others */
    const char *subject; /* its O; or NULL */
} identity;

static char directory[] = "/tmp/weft_tls_XXXXXX";

/* The path of a file there, in one of a few buffers. */
TLS_SUPPORT const char *file(const char *name, const char *suffix)
{
    static char paths[16][128];
    static unsigned next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s%s", directory, name, suffix);
    return path;
}

TLS_SUPPORT EVP_PKEY *read_key(const char *name)
{
    FILE *f = fopen(file(name, ".key"), "r");
    cr_assert_not_null(f);
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    return key;
}

TLS_SUPPORT X509 *read_certificate(const char *name)
{
    FILE *f = fopen(file(name, ".pem"), "r");
    cr_assert_not_null(f);
    X509 *certificate = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    return certificate;
}

TLS_SUPPORT void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    cr_assert_not_null(extension);
    cr_assert_eq(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

TLS_SUPPORT void name_subject(X509_NAME *subject, const identity *i)
{
    const unsigned char *cn = (const unsigned char *)i->name, *o = (const unsigned char *)i->subject;
    if (o)
        cr_assert_eq(X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, o, -1, -1, 0), 1);
    cr_assert_eq(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, cn, -1, -1, 0), 1);
}

TLS_SUPPORT void write_pem(const char *path, X509 *certificate, EVP_PKEY *key)
{
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    cr_assert(!certificate || PEM_write_X509(f, certificate) == 1);
    cr_assert(!key || PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1);
    cr_assert_eq(fclose(f), 0);
}

/* Its key is new each time, its files take the place of what was there. */
TLS_SUPPORT void issue(identity i)
{
    static long serial = 1;
    X509 *certificate = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    cr_assert_not_null(key);
    X509 *issuer = i.issuer ? read_certificate(i.issuer) : certificate;
    EVP_PKEY *issuer_key = i.issuer ? read_key(i.issuer) : key;
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), i.from || i.to ? i.from : -DAY);
    X509_gmtime_adj(X509_getm_notAfter(certificate), i.from || i.to ? i.to : DAY);
    X509_set_pubkey(certificate, key);
    name_subject(X509_get_subject_name(certificate), &i);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    add_extension(certificate, issuer, NID_basic_constraints, i.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
    if (i.alt)
        add_extension(certificate, issuer, NID_subject_alt_name, i.alt);
    cr_assert_gt(X509_sign(certificate, issuer_key, EVP_sha256()), 0);
    write_pem(file(i.name, ".pem"), certificate, NULL);
    write_pem(file(i.name, ".key"), NULL, key);
    write_pem(file(i.name, ".both"), certificate, key);
    if (issuer != certificate) {
        X509_free(issuer);
        EVP_PKEY_free(issuer_key);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* Authorities: ca, and stranger, whom nobody trusts. */
TLS_SUPPORT void make_identities(void)
{
    static const char here[] = "DNS:localhost,IP:127.0.0.1,IP:::1";
    strcpy(directory, "/tmp/weft_tls_XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    issue((identity){.name = "ca", .authority = 1});
    issue((identity){.name = "stranger", .authority = 1});
    issue((identity){.name = "server", .alt = here, .issuer = "ca"});
    issue((identity){.name = "client", .subject = "weft", .issuer = "ca"});
}

TLS_SUPPORT void remove_identities(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

TLS_SUPPORT void run_tls(unsigned workers, weft_fn fn)
{
    make_identities();
    run(workers, fn, NULL);
    remove_identities();
}

/* ---- contexts -------------------------------------------------------------------------------------------------- */

TLS_SUPPORT weft_tls_context *server_of(weft_tls_options o)
{
    weft_tls_context *ctx;
    if (!o.certificate)
        o.certificate = file("server", ".both");
    int err = weft_tls_server(&ctx, &o);
    cr_assert_eq(err, 0, "%s", weft_error_detail());
    return ctx;
}

TLS_SUPPORT weft_tls_context *client_of(weft_tls_options o)
{
    weft_tls_context *ctx;
    if (!o.trust)
        o.trust = file("ca", ".pem");
    int err = weft_tls_client(&ctx, &o);
    cr_assert_eq(err, 0, "%s", weft_error_detail());
    return ctx;
}

#define SERVER(...) server_of((weft_tls_options){__VA_ARGS__})
#define CLIENT(...) client_of((weft_tls_options){__VA_ARGS__})

/* ---- handshakes ------------------------------------------------------------------------------------------------ */

/* One side of one, and what came of it. */
typedef struct side {
    weft_stream *stream;
    weft_tls_context *ctx;
    const char *host;
    int result;
    char detail[256];
} side;

TLS_SUPPORT void note(side *s, int result)
{
    s->result = result;
    snprintf(s->detail, sizeof s->detail, "%s", result < 0 ? weft_error_detail() : "");
}

TLS_SUPPORT void *accepting(void *arg)
{
    side *s = arg;
    note(s, weft_tls_accept(s->stream, s->ctx));
    if (s->result < 0)
        weft_stream_abort(s->stream);
    return NULL;
}

TLS_SUPPORT void *connecting(void *arg)
{
    side *s = arg;
    note(s, weft_tls_connect(s->stream, s->ctx, s->host));
    if (s->result < 0)
        weft_stream_abort(s->stream);
    return NULL;
}

/* Both at once. Whoever fails hangs up. */
TLS_SUPPORT void shake_hands(side *client, side *server)
{
    weft_task *accepter = start(accepting, server);
    connecting(client);
    join(accepter);
}

/* TCP, or in memory. */
TLS_SUPPORT void connect_both(bool memory, weft_stream **client, weft_stream **server)
{
    if (memory)
        cr_assert_eq(weft_stream_pair(client, server), 0);
    else
        pair(client, server);
}

/* An established connection between @cc and @sc, "localhost". */
TLS_SUPPORT void establish(bool memory, weft_tls_context *cc, weft_tls_context *sc, weft_stream **client, weft_stream **server)
{
    connect_both(memory, client, server);
    side a = {.stream = *client, .ctx = cc, .host = "localhost"}, b = {.stream = *server, .ctx = sc};
    shake_hands(&a, &b);
    cr_assert_eq(a.result, 0, "%s", a.detail);
    cr_assert_eq(b.result, 0, "%s", b.detail);
}

TLS_SUPPORT void exchange(weft_stream *from, weft_stream *to, const char *text)
{
    char buf[64];
    size_t size = strlen(text);
    cr_assert_eq(weft_write(from, text, size), size);
    cr_assert_eq(weft_read_exact(to, buf, size), size);
    cr_assert_arr_eq(buf, text, size);
}

#endif
