/* load.c - from options and files to what OpenSSL works with. Reads files, so it blocks. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <tls/tls.h>
#include <unistd.h>

/* ---- files ----------------------------------------------------------------------------------------------------- */

/* OpenSSL does not tell what is missing from what is wrong. */
static int look_at(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = fd >= 0 ? 0 : -errno;
    if (err < 0)
        return weft_error_set(err, "%s: %s", path, weft_strerror(err));
    close(fd);
    return 0;
}

/* Otherwise OpenSSL asks at the terminal. */
static int no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

static int load_identity(SSL_CTX *ssl, const char *certificate, const char *key)
{
    key = key ? key : certificate;
    if (!certificate)
        return 0;
    int err = look_at(certificate);
    if (err < 0 || (err = look_at(key)) < 0)
        return err;
    SSL_CTX_set_default_passwd_cb(ssl, no_password);
    if (SSL_CTX_use_certificate_chain_file(ssl, certificate) != 1)
        return wf_tls_fail_about(certificate, WEFT_ECERTIFICATE);
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ssl) != 1)
        return wf_tls_fail_about(key, WEFT_ECERTIFICATE);
    return 0;
}

/* Servers say whose certificates they take. */
static int name_authorities(SSL_CTX *ssl, const char *path, bool directory)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    if (!names)
        return WEFT_ENOMEM;
    int ok = directory ? SSL_add_dir_cert_subjects_to_stack(names, path) : SSL_add_file_cert_subjects_to_stack(names, path);
    SSL_CTX_set_client_CA_list(ssl, names);
    return ok ? 0 : wf_tls_fail_about(path, WEFT_ECERTIFICATE);
}

static int load_trust(SSL_CTX *ssl, const weft_tls_context *ctx)
{
    const char *path = ctx->options.trust;
    struct stat st;
    if (!path)
        return !ctx->verifies || SSL_CTX_set_default_verify_paths(ssl) == 1
                   ? 0
                   : wf_tls_fail_about("the system's authorities", WEFT_ECERTIFICATE);
    int err = look_at(path);
    if (err < 0)
        return err;
    bool directory = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if ((directory ? SSL_CTX_load_verify_dir(ssl, path) : SSL_CTX_load_verify_file(ssl, path)) != 1)
        return wf_tls_fail_about(path, WEFT_ECERTIFICATE);
    return ctx->server && ctx->verifies ? name_authorities(ssl, path, directory) : 0;
}

/* ---- options --------------------------------------------------------------------------------------------------- */

static int protocol(unsigned version) { return version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION; }

static int set_protocol(SSL_CTX *ssl, const weft_tls_options *o)
{
    SSL_CTX_set_security_level(ssl, 2);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ssl, 1);
    if (SSL_CTX_set_min_proto_version(ssl, protocol(o->min_version)) != 1 ||
        SSL_CTX_set_max_proto_version(ssl, protocol(o->max_version ? o->max_version : 13)) != 1)
        return wf_tls_fail_about("TLS version", WEFT_EINVAL);
    if (o->ciphers && SSL_CTX_set_cipher_list(ssl, o->ciphers) != 1)
        return wf_tls_fail_about(o->ciphers, WEFT_EINVAL);
    return 0;
}

static void set_verification(SSL_CTX *ssl, const weft_tls_context *ctx)
{
    bool optional = ctx->options.verify == WEFT_TLS_VERIFY_OPTIONAL;
    if (ctx->verifies)
        SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | (optional ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT), wf_tls_verify);
}

/* A server's sessions travel as tickets, so none lies about here. */
static int set_resumption(SSL_CTX *ssl, const weft_tls_context *ctx)
{
    static const unsigned char id[] = "weft";
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    if (ctx->options.no_resumption) {
        SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ssl, 0);
    } else if (!ctx->server) {
        wf_tls_sessions_keep(ssl);
    }
    return SSL_CTX_set_session_id_context(ssl, id, sizeof id) == 1 ? 0 : WEFT_ENOMEM;
}

static int set_protocols(SSL_CTX *ssl, weft_tls_context *ctx)
{
    if (ctx->server)
        wf_tls_choose_protocol(ssl, ctx);
    else if (ctx->alpn && SSL_CTX_set_alpn_protos(ssl, ctx->alpn, ctx->alpn_size) != 0)
        return WEFT_ENOMEM;
    return 0;
}

static int configure(SSL_CTX *ssl, weft_tls_context *ctx, const char *certificate, const char *key)
{
    int err = set_protocol(ssl, &ctx->options);
    if (err == 0)
        err = load_identity(ssl, certificate, key);
    if (err == 0)
        err = load_trust(ssl, ctx);
    if (err == 0)
        err = set_resumption(ssl, ctx);
    if (err == 0)
        err = set_protocols(ssl, ctx);
    set_verification(ssl, ctx);
    return err;
}

static int load(SSL_CTX **out, weft_tls_context *ctx, const char *certificate, const char *key)
{
    ERR_clear_error();
    SSL_CTX *ssl = SSL_CTX_new(ctx->server ? TLS_server_method() : TLS_client_method());
    int err = ssl ? configure(ssl, ctx, certificate, key) : WEFT_ENOMEM;
    ERR_clear_error();
    *out = err == 0 ? ssl : NULL;
    if (err < 0)
        SSL_CTX_free(ssl);
    return err;
}

/* ---- sets ------------------------------------------------------------------------------------------------------ */

void wf_tls_set_free(wf_tls_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        SSL_CTX_free(set->named[i].ssl);
    SSL_CTX_free(set->ordinary);
    free(set);
}

static wf_tls_set *set_create(size_t room)
{
    wf_tls_set *set = calloc(1, sizeof *set + room * sizeof *set->named);
    if (set)
        set->refs = 1;
    return set;
}

static int set_add(wf_tls_set *set, weft_tls_context *ctx, const wf_tls_named *n)
{
    struct wf_tls_choice *choice = &set->named[set->count];
    int err = load(&choice->ssl, ctx, n->certificate, n->key);
    if (err < 0)
        return err;
    choice->name = n->name;
    set->count++;
    return 0;
}

int wf_tls_set_read(wf_tls_set **out, weft_tls_context *ctx)
{
    size_t count = 0;
    for (const wf_tls_named *n = ctx->named; n; n = n->next)
        count++;
    *out = NULL;
    wf_tls_set *set = set_create(count);
    int err = set ? load(&set->ordinary, ctx, ctx->options.certificate, ctx->options.key) : WEFT_ENOMEM;
    for (const wf_tls_named *n = ctx->named; n && err == 0; n = n->next)
        err = set_add(set, ctx, n);
    if (err < 0) {
        if (set)
            wf_tls_set_free(set);
        return err;
    }
    if (ctx->server)
        wf_tls_choose_by_name(set->ordinary);
    *out = set;
    return 0;
}

int wf_tls_set_extend(wf_tls_set **out, weft_tls_context *ctx, const wf_tls_set *old, const wf_tls_named *more)
{
    wf_tls_set *set = set_create(old->count + 1);
    *out = NULL;
    if (!set)
        return WEFT_ENOMEM;
    SSL_CTX_up_ref(old->ordinary);
    set->ordinary = old->ordinary;
    int err = set_add(set, ctx, more);
    if (err < 0) {
        wf_tls_set_free(set);
        return err;
    }
    for (size_t i = 0; i < old->count; i++) {
        SSL_CTX_up_ref(old->named[i].ssl);
        set->named[set->count++] = old->named[i];
    }
    *out = set;
    return 0;
}
