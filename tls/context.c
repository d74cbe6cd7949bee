/* context.c - what connections have in common: the options, the files that were named, and what these held when they were last read.
 *
 * A context lives as long as somebody uses it, its user or a connection. What the files held is a set that never changes: reading again, or adding
 * a name, puts another in its place. */
#include <stdlib.h>
#include <string.h>
#include <tls/tls.h>

enum { HANDSHAKE_TIMEOUT_S = 10, LONGEST_PROTOCOL = 255 };

/* ---- use ------------------------------------------------------------------------------------------------------- */

static void named_free(wf_tls_named *n)
{
    if (!n)
        return;
    free(n->name);
    free(n->certificate);
    free(n->key);
    free(n);
}

static void destroy(weft_tls_context *ctx)
{
    for (wf_tls_named *n = ctx->named, *next; n; n = next) {
        next = n->next;
        named_free(n);
    }
    if (ctx->set)
        wf_tls_set_free(ctx->set);
    wf_tls_sessions_free(ctx->sessions);
    BIO_meth_free(ctx->bio);
    free((char *)(uintptr_t)ctx->options.certificate);
    free((char *)(uintptr_t)ctx->options.key);
    free((char *)(uintptr_t)ctx->options.trust);
    free((char *)(uintptr_t)ctx->options.ciphers);
    free(ctx->alpn);
    pthread_mutex_destroy(&ctx->change);
    pthread_mutex_destroy(&ctx->lock);
    free(ctx);
}

wf_tls_set *wf_tls_context_use(weft_tls_context *ctx)
{
    pthread_mutex_lock(&ctx->lock);
    wf_tls_set *set = ctx->set;
    ctx->refs++;
    set->refs++;
    pthread_mutex_unlock(&ctx->lock);
    return set;
}

static void unuse_set(weft_tls_context *ctx, wf_tls_set *set)
{
    pthread_mutex_lock(&ctx->lock);
    bool last = --set->refs == 0;
    pthread_mutex_unlock(&ctx->lock);
    if (last)
        wf_tls_set_free(set);
}

void wf_tls_context_unuse(weft_tls_context *ctx, wf_tls_set *set)
{
    if (set)
        unuse_set(ctx, set);
    pthread_mutex_lock(&ctx->lock);
    bool last = --ctx->refs == 0;
    pthread_mutex_unlock(&ctx->lock);
    if (last)
        destroy(ctx);
}

void weft_tls_context_free(weft_tls_context *ctx)
{
    if (ctx)
        wf_tls_context_unuse(ctx, NULL);
}

/* ---- options --------------------------------------------------------------------------------------------------- */

/* A copy of @text, NULL for NULL. False: out of memory. */
static bool copy_text(const char **out, const char *text)
{
    *out = text ? strdup(text) : NULL;
    return *out || !text;
}

static int copy_protocols(weft_tls_context *ctx, const char *const *names)
{
    size_t size = 0;
    for (size_t i = 0; names[i]; i++) {
        size_t length = strlen(names[i]);
        if (length == 0 || length > LONGEST_PROTOCOL)
            return WEFT_EINVAL;
        size += 1 + length;
    }
    if (size == 0 || size > UINT16_MAX)
        return WEFT_EINVAL;
    unsigned char *at = ctx->alpn = malloc(size);
    if (!at)
        return WEFT_ENOMEM;
    ctx->alpn_size = (unsigned)size;
    for (size_t i = 0; names[i]; i++) {
        size_t length = strlen(names[i]);
        *at++ = (unsigned char)length;
        memcpy(at, names[i], length);
        at += length;
    }
    return 0;
}

static int copy_options(weft_tls_context *ctx, const weft_tls_options *o)
{
    ctx->options = *o;
    ctx->options.alpn = NULL;
    bool certificate = copy_text(&ctx->options.certificate, o->certificate), key = copy_text(&ctx->options.key, o->key);
    bool trust = copy_text(&ctx->options.trust, o->trust), ciphers = copy_text(&ctx->options.ciphers, o->ciphers);
    if (o->handshake_timeout == 0)
        ctx->options.handshake_timeout = HANDSHAKE_TIMEOUT_S * WEFT_SEC;
    if (!certificate || !key || !trust || !ciphers)
        return WEFT_ENOMEM;
    return o->alpn ? copy_protocols(ctx, o->alpn) : 0;
}

static bool is_version(unsigned v) { return v == 0 || v == 12 || v == 13; }

static bool make_sense(const weft_tls_options *o, bool server)
{
    unsigned most = o->max_version ? o->max_version : 13;
    return is_version(o->min_version) && is_version(o->max_version) && o->min_version <= most &&
           o->handshake_timeout >= 0 && (unsigned)o->verify <= WEFT_TLS_VERIFY_NONE &&
           (server || o->verify != WEFT_TLS_VERIFY_OPTIONAL) && (o->certificate || (!server && !o->key));
}

/* ---- creation -------------------------------------------------------------------------------------------------- */

static int fill(weft_tls_context *ctx, const weft_tls_options *o)
{
    int err = copy_options(ctx, o);
    if (err < 0)
        return err;
    ctx->bio = wf_tls_bio_method();
    return ctx->bio ? wf_tls_set_read(&ctx->set, ctx) : WEFT_ENOMEM;
}

static int accept_within(weft_stream *s, weft_tls_context *ctx, int64_t timeout)
{
    return wf_tls_shake(s, ctx, NULL, timeout ? timeout : ctx->options.handshake_timeout);
}

static int create(weft_tls_context **out, const weft_tls_options *options, size_t size, bool server)
{
    weft_tls_options o = WEFT_TLS_OPTIONS_INIT;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (options)
        memcpy(&o, options, size < sizeof o ? size : sizeof o);
    if (!make_sense(&o, server))
        return WEFT_EINVAL;
    weft_tls_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return WEFT_ENOMEM;
    ctx->entry.accept = accept_within;
    ctx->server = server;
    ctx->verifies = o.verify == WEFT_TLS_VERIFY_DEFAULT ? !server : o.verify != WEFT_TLS_VERIFY_NONE;
    ctx->refs = 1;
    pthread_mutex_init(&ctx->change, NULL);
    pthread_mutex_init(&ctx->lock, NULL);
    int err = fill(ctx, &o);
    if (err < 0)
        destroy(ctx);
    else
        *out = ctx;
    return err;
}

int weft_tls_server_sized(weft_tls_context **ctx, const weft_tls_options *options, size_t size)
{
    return create(ctx, options, size, true);
}

int weft_tls_client_sized(weft_tls_context **ctx, const weft_tls_options *options, size_t size)
{
    return create(ctx, options, size, false);
}

/* ---- changes --------------------------------------------------------------------------------------------------- */

/* Sessions of before do not outlive what was trusted then. */
static void put_in_place(weft_tls_context *ctx, wf_tls_set *set)
{
    pthread_mutex_lock(&ctx->lock);
    wf_tls_set *old = ctx->set;
    wf_tls_session *sessions = ctx->sessions;
    ctx->set = set;
    ctx->sessions = NULL;
    pthread_mutex_unlock(&ctx->lock);
    unuse_set(ctx, old);
    wf_tls_sessions_free(sessions);
}

static int reread(weft_tls_context *ctx)
{
    wf_tls_set *set;
    int err = wf_tls_set_read(&set, ctx);
    if (err == 0)
        put_in_place(ctx, set);
    return err;
}

int weft_tls_context_reload(weft_tls_context *ctx)
{
    if (!ctx)
        return WEFT_EINVAL;
    pthread_mutex_lock(&ctx->change);
    int err = reread(ctx);
    pthread_mutex_unlock(&ctx->change);
    return err;
}

static wf_tls_named *named_create(const char *name, const char *certificate, const char *key)
{
    wf_tls_named *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->name = strdup(name);
    n->certificate = strdup(certificate);
    n->key = key ? strdup(key) : NULL;
    if (n->name && n->certificate && (n->key || !key))
        return n;
    named_free(n);
    return NULL;
}

static int add(weft_tls_context *ctx, wf_tls_named *n)
{
    wf_tls_set *set;
    int err = wf_tls_set_extend(&set, ctx, ctx->set, n);
    if (err < 0)
        return err;
    n->next = ctx->named;
    ctx->named = n;
    put_in_place(ctx, set);
    return 0;
}

int weft_tls_context_add(weft_tls_context *ctx, const char *name, const char *certificate, const char *key)
{
    if (!ctx || !ctx->server || !name || !*name || !certificate)
        return WEFT_EINVAL;
    wf_tls_named *n = named_create(name, certificate, key);
    if (!n)
        return WEFT_ENOMEM;
    pthread_mutex_lock(&ctx->change);
    int err = add(ctx, n);
    pthread_mutex_unlock(&ctx->change);
    if (err < 0)
        named_free(n);
    return err;
}
