/* tls_test.c - TLS as a user sees it, with weft on both sides: handshakes, certificates, names, protocols, sessions, and what becomes of reads and
 * writes. Certificates are made for each test. */
#include <stdatomic.h>
#include <support/tls_support.h>
#include <sys/socket.h>

/* ---- talking --------------------------------------------------------------------------------------------------- */

static void look_at(weft_stream *client, weft_stream *server, unsigned version)
{
    char subject[64];
    unsigned char der[4096];
    const char *name = version == 12 ? "TLSv1.2" : "TLSv1.3";
    cr_assert(weft_tls_is(client) && weft_tls_is(server));
    cr_assert_str_eq(weft_tls_version(client), name);
    cr_assert_str_eq(weft_tls_version(server), name);
    cr_assert_str_eq(weft_tls_cipher(client), weft_tls_cipher(server));
    cr_assert_neq(*weft_tls_cipher(client), 0);
    cr_assert_str_eq(weft_tls_alpn(client), "");
    cr_assert_str_eq(weft_tls_server_name(server), "localhost");
    cr_assert_str_eq(weft_tls_peer_subject(client, subject, sizeof subject), "CN=server");
    cr_assert_str_eq(weft_tls_peer_subject(client, subject, 5), "CN=s");
    cr_assert_str_eq(weft_tls_peer_subject(server, subject, sizeof subject), "");
    cr_assert_eq(weft_tls_peer_certificate(server, der, sizeof der), 0);
    ssize_t length = weft_tls_peer_certificate(client, der, sizeof der);
    const unsigned char *at = der;
    X509 *seen = d2i_X509(NULL, &at, length), *sent = read_certificate("server");
    cr_assert_eq(X509_cmp(seen, sent), 0);
    X509_free(seen);
    X509_free(sent);
    cr_assert_eq(weft_tls_peer_certificate(client, NULL, 0), length);
    cr_assert_eq(weft_tls_in_kernel(client), 0);
}

static void talk_over(bool memory, unsigned version)
{
    weft_tls_context *sc = SERVER(.max_version = version), *cc = CLIENT(.min_version = version);
    weft_stream *client, *server;
    char buf[8];
    establish(memory, cc, sc, &client, &server);
    weft_tls_context_free(sc); /* connections that use them go on */
    weft_tls_context_free(cc);
    look_at(client, server, version);
    for (int i = 0; i < 20; i++) {
        exchange(client, server, "a question");
        exchange(server, client, "an answer");
    }
    cr_assert_eq(weft_close_write(client), 0);
    cr_assert_eq(weft_close_write(client), 0); /* once more changes nothing */
    cr_assert_eq(weft_write(client, "x", 1), WEFT_EPIPE);
    cr_assert_eq(weft_read(server, buf, sizeof buf), 0);
    cr_assert_eq(weft_read(server, buf, sizeof buf), 0); /* the end stays the end */
    exchange(server, client, "half-closed, and on it goes");
    weft_close(server);
    cr_assert_eq(weft_read(client, buf, sizeof buf), 0);
    weft_close(client);
}

static void *talk(void *arg)
{
    (void)arg;
    for (unsigned version = 12; version <= 13; version++) {
        talk_over(false, version);
        talk_over(true, version);
    }
    return NULL;
}

WF_TEST_WORKERS(tls, a_handshake_then_bytes_both_ways_then_a_half_close_then_the_end) { run_tls(workers, talk); }

/* So that records are cut by what the kernel takes at once. */
static void narrow(weft_stream *s)
{
    int size = 16 * 1024;
    cr_assert_eq(setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
}

/* Knows which bytes come at which place. */
typedef struct bulk {
    weft_stream *stream;
    size_t size;
    unsigned key;
} bulk;

static unsigned char byte_at(size_t at, unsigned key) { return (unsigned char)(at * 7 + (at >> 8) * 13 + key * 31); }

static void *write_bulk(void *arg)
{
    bulk *b = arg;
    unsigned char *bytes = malloc(b->size);
    for (size_t i = 0; i < b->size; i++)
        bytes[i] = byte_at(i, b->key);
    cr_assert_eq(weft_write(b->stream, bytes, b->size), b->size);
    cr_assert_eq(weft_close_write(b->stream), 0);
    free(bytes);
    return NULL;
}

static void *read_bulk(void *arg)
{
    bulk *b = arg;
    unsigned char piece[5000];
    size_t done = 0;
    ssize_t n;
    while ((n = weft_read(b->stream, piece, sizeof piece)) > 0)
        for (ssize_t i = 0; i < n; i++)
            if (piece[i] != byte_at(done++, b->key))
                cr_fail("byte %zu is another", done - 1);
    cr_assert_eq(n, 0);
    cr_assert_eq(done, b->size);
    return NULL;
}

static void both_ways(weft_stream *a, weft_stream *b, size_t size)
{
    bulk jobs[] = {{a, size, 1}, {b, size, 2}, {a, size, 2}, {b, size, 1}};
    weft_task *tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = start(i < 2 ? write_bulk : read_bulk, &jobs[i]);
    for (int i = 0; i < 4; i++)
        join(tasks[i]);
    weft_close(a);
    weft_close(b);
}

static void *duplex(void *arg)
{
    (void)arg;
    for (unsigned version = 12; version <= 13; version++)
        for (int memory = 0; memory < 2; memory++) {
            weft_tls_context *sc = SERVER(.max_version = version), *cc = CLIENT();
            weft_stream *a, *b;
            establish(memory, cc, sc, &a, &b);
            if (!memory) {
                narrow(a);
                narrow(b);
            }
            both_ways(a, b, wf_test_scale(4 << 20));
            weft_tls_context_free(sc);
            weft_tls_context_free(cc);
        }
    return NULL;
}

WF_TEST_WORKERS(tls, two_tasks_write_while_two_read_and_every_byte_comes_through) { run_tls(workers, duplex); }

/* A layer that lets one byte through at a time. */
typedef struct drip {
    weft_layer layer;
} drip;

static ssize_t drip_read(weft_layer *self, void *buf, size_t size)
{
    return weft_layer_read_below(self, buf, size > 0 ? 1 : 0);
}

static ssize_t drip_write(weft_layer *self, const void *buf, size_t size)
{
    return weft_layer_write_below(self, buf, size > 0 ? 1 : 0);
}

static void drip_drop(weft_layer *self) { free(WEFT_CONTAINER_OF(self, drip, layer)); }

static const weft_layer_ops drip_ops = {.read = drip_read, .write = drip_write, .drop = drip_drop};

static void let_drip(weft_stream *s)
{
    drip *d = calloc(1, sizeof *d);
    d->layer.ops = &drip_ops;
    cr_assert_eq(weft_stream_push_layer(s, &d->layer), 0);
}

static void *dripping(void *arg)
{
    weft_tls_context *sc = SERVER(), *cc = CLIENT();
    side a = {.ctx = cc, .host = "localhost"}, b = {.ctx = sc};
    (void)arg;
    connect_both(false, &a.stream, &b.stream);
    let_drip(a.stream);
    let_drip(b.stream);
    shake_hands(&a, &b);
    cr_assert_eq(a.result, 0, "%s", a.detail);
    cr_assert_eq(b.result, 0, "%s", b.detail);
    for (int i = 0; i < 50; i++) {
        exchange(a.stream, b.stream, "x");
        exchange(b.stream, a.stream, "y");
    }
    /* A close without waiting could not say goodbye through such a layer: so both directions are ended before. */
    cr_assert_eq(weft_close_write(a.stream), 0);
    cr_assert_eq(weft_close_write(b.stream), 0);
    weft_close(a.stream);
    weft_close(b.stream);
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
    return NULL;
}

WF_TEST_WORKERS(tls, one_byte_at_a_time_through_a_layer_below) { run_tls(workers, dripping); }

/* ---- certificates ---------------------------------------------------------------------------------------------- */

typedef struct wrong {
    identity server;
    const char *host;
    int result;
    const char *detail;
} wrong;

static const wrong wrongs[] = {
    {{"expired", "DNS:localhost", "ca", -2 * DAY, -DAY, 0, NULL}, "localhost", WEFT_ECERTIFICATE, "certificate expired: CN=expired"},
    {{"early", "DNS:localhost", "ca", DAY, 2 * DAY, 0, NULL}, "localhost", WEFT_ECERTIFICATE, "certificate not yet valid: CN=early"},
    {{"other", "DNS:example.org", "ca", 0, 0, 0, NULL}, "localhost", WEFT_ECERTIFICATE, "certificate of another host: CN=other"},
    {{"other", "DNS:localhost", "ca", 0, 0, 0, NULL}, "127.0.0.1", WEFT_ECERTIFICATE, "certificate of another host: CN=other"},
    {{"unknown", "DNS:localhost", "stranger", 0, 0, 0, NULL}, "localhost", WEFT_ECERTIFICATE, "unable to get local issuer"},
    {{"self", "DNS:localhost", NULL, 0, 0, 0, NULL}, "localhost", WEFT_ECERTIFICATE, "self-signed certificate: CN=self"},
    {{"right", "DNS:localhost,IP:127.0.0.1", "ca", 0, 0, 0, NULL}, "127.0.0.1", 0, ""},
    {{"right", "DNS:localhost,IP:::1", "ca", 0, 0, 0, NULL}, "::1", 0, ""},
    {{"right", "DNS:*.example.org", "ca", 0, 0, 0, NULL}, "a.example.org", 0, ""},
};

static void *serve_wrong(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < 2 * sizeof wrongs / sizeof *wrongs; i++) {
        const wrong *w = &wrongs[i / 2];
        char buf[8];
        issue(w->server);
        weft_tls_context *sc = SERVER(.certificate = file(w->server.name, ".pem"), .key = file(w->server.name, ".key"),
                                      .max_version = i % 2 ? 12 : 13);
        weft_tls_context *cc = CLIENT();
        side a = {.ctx = cc, .host = w->host}, b = {.ctx = sc};
        connect_both(i % 2, &a.stream, &b.stream);
        weft_task *accepter = start(accepting, &b);
        int err = weft_tls_connect(a.stream, cc, w->host);
        cr_assert_eq(err, w->result, "%s: %s", w->server.name, weft_error_detail());
        if (err < 0) {
            cr_assert_not_null(strstr(weft_error_detail(), w->detail), "'%s'", weft_error_detail());
            cr_assert_eq(weft_read(a.stream, buf, sizeof buf), WEFT_ECERTIFICATE); /* and it stays so */
            cr_assert_eq(weft_write(a.stream, "x", 1), WEFT_ECERTIFICATE);
            cr_assert_eq(weft_close_write(a.stream), WEFT_ECERTIFICATE);
        }
        weft_close(a.stream);
        join(accepter);
        cr_assert_eq(b.result, w->result ? WEFT_ETLS : 0, "%s", b.detail); /* who was refused is told by an alert */
        weft_close(b.stream);
        weft_tls_context_free(sc);
        weft_tls_context_free(cc);
    }
    return NULL;
}

Test(tls, a_client_refuses_each_certificate_that_is_wrong_and_says_why) { run_tls(2, serve_wrong); }

static void *no_verification(void *arg)
{
    char subject[64];
    weft_stream *client, *server;
    (void)arg;
    issue((identity){.name = "self", .alt = "DNS:elsewhere"});
    weft_tls_context *sc = SERVER(.certificate = file("self", ".both"));
    weft_tls_context *cc = CLIENT(.verify = WEFT_TLS_VERIFY_NONE), *strict = CLIENT();
    establish(false, cc, sc, &client, &server);
    cr_assert_str_eq(weft_tls_peer_subject(client, subject, sizeof subject), ""); /* it is not verified */
    cr_assert_gt(weft_tls_peer_certificate(client, NULL, 0), 0);
    weft_close(client);
    weft_close(server);
    pair(&client, &server);
    cr_assert_eq(weft_tls_connect(client, strict, NULL), WEFT_EINVAL); /* a name is needed to verify */
    cr_assert_eq(weft_tls_connect(client, strict, ""), WEFT_EINVAL);
    cr_assert_eq(weft_tls_connect(client, sc, "localhost"), WEFT_EINVAL); /* the other side's context */
    cr_assert_eq(weft_tls_accept(server, cc), WEFT_EINVAL);
    side a = {.stream = client, .ctx = cc}, b = {.stream = server, .ctx = sc};
    shake_hands(&a, &b);
    cr_assert_eq(a.result, 0);
    cr_assert_str_eq(weft_tls_server_name(server), "");
    weft_close(client);
    weft_close(server);
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
    weft_tls_context_free(strict);
    return NULL;
}

Test(tls, without_verification_anybody_will_do_and_nobody_is_called_verified) { run_tls(2, no_verification); }

/* The result of the server, which asks @who for a certificate; a client learns of it at once (1.2) or as it reads (1.3). */
static void ask_client(const char *who, weft_tls_peer verify, unsigned version, int result, const char *text)
{
    char buf[64];
    weft_tls_context *sc = SERVER(.verify = verify, .trust = file("ca", ".pem"), .max_version = version);
    weft_tls_context *cc = CLIENT(.certificate = who ? file(who, ".both") : NULL);
    side a = {.ctx = cc, .host = "localhost"}, b = {.ctx = sc};
    connect_both(false, &a.stream, &b.stream);
    shake_hands(&a, &b);
    cr_assert_eq(b.result, result, "%s: %s", who ? who : "nobody", b.detail);
    if (result == 0) {
        cr_assert_eq(a.result, 0, "%s", a.detail);
        exchange(a.stream, b.stream, "hello");
        cr_assert_str_eq(weft_tls_peer_subject(b.stream, buf, sizeof buf), text);
    } else {
        cr_assert_not_null(strstr(b.detail, text), "'%s'", b.detail);
        cr_assert_eq(a.result == 0 ? weft_read(a.stream, buf, sizeof buf) : a.result, WEFT_ETLS, "%s", a.detail);
    }
    weft_close(a.stream);
    weft_close(b.stream);
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
}

static void *ask_clients(void *arg)
{
    (void)arg;
    issue((identity){.name = "spy", .issuer = "stranger"});
    issue((identity){.name = "late", .issuer = "ca", .from = -2 * DAY, .to = -DAY});
    for (unsigned version = 12; version <= 13; version++) {
        ask_client("client", WEFT_TLS_VERIFY_REQUIRED, version, 0, "CN=client,O=weft");
        ask_client(NULL, WEFT_TLS_VERIFY_REQUIRED, version, WEFT_ECERTIFICATE, "the peer has no certificate");
        ask_client("spy", WEFT_TLS_VERIFY_REQUIRED, version, WEFT_ECERTIFICATE, "CN=spy");
        ask_client("late", WEFT_TLS_VERIFY_REQUIRED, version, WEFT_ECERTIFICATE, "certificate expired: CN=late");
        ask_client("client", WEFT_TLS_VERIFY_OPTIONAL, version, 0, "CN=client,O=weft");
        ask_client(NULL, WEFT_TLS_VERIFY_OPTIONAL, version, 0, "");
        ask_client("spy", WEFT_TLS_VERIFY_OPTIONAL, version, WEFT_ECERTIFICATE, "CN=spy");
        ask_client("spy", WEFT_TLS_VERIFY_NONE, version, 0, "");
    }
    return NULL;
}

Test(tls, a_server_asks_for_certificates_takes_the_right_ones_and_says_what_is_wrong_with_others)
{
    run_tls(2, ask_clients);
}

static void fails(int code, const char *detail, weft_tls_options o)
{
    weft_tls_context *ctx = (weft_tls_context *)(void *)&o;
    cr_assert_eq(weft_tls_server(&ctx, &o), code, "%s", weft_error_detail());
    cr_assert_null(ctx);
    cr_assert_not_null(strstr(weft_error_detail(), detail), "'%s'", weft_error_detail());
}

Test(tls, files_that_cannot_be_used_are_named)
{
    weft_tls_context *ctx;
    make_identities();
    EVP_PKEY *key = read_key("server");
    FILE *f = fopen(file("locked", ".key"), "w");
    cr_assert_eq(PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL), 1);
    fclose(f);
    EVP_PKEY_free(key);
    f = fopen(file("garbage", ".pem"), "w");
    fputs("no certificate\n", f);
    fclose(f);

    const char *good = file("server", ".pem"), *garbage = file("garbage", ".pem");
    fails(WEFT_ENOENT, "/none.pem: no such file", (weft_tls_options){.certificate = file("none", ".pem")});
    fails(WEFT_ENOENT, "/none.key", (weft_tls_options){.certificate = good, .key = file("none", ".key")});
    fails(WEFT_ECERTIFICATE, "/garbage.pem: ", (weft_tls_options){.certificate = garbage});
    fails(WEFT_ECERTIFICATE, "/server.pem: ", (weft_tls_options){.certificate = good}); /* there is no key in it */
    fails(WEFT_ECERTIFICATE, "/client.key: key values mismatch",
          (weft_tls_options){.certificate = good, .key = file("client", ".key")});
    fails(WEFT_ECERTIFICATE, "/locked.key: ", (weft_tls_options){.certificate = good, .key = file("locked", ".key")});
    good = file("server", ".both");
    fails(WEFT_ENOENT, "/none.pem", (weft_tls_options){.certificate = good, .trust = file("none", ".pem")});
    fails(WEFT_ECERTIFICATE, "/garbage.pem", (weft_tls_options){.certificate = good, .trust = garbage});
    fails(WEFT_EINVAL, "no such", (weft_tls_options){.certificate = good, .ciphers = "no such"});

    cr_assert_eq(weft_tls_client(&ctx, &(weft_tls_options){.trust = directory}), 0); /* a directory of authorities */
    weft_tls_context_free(ctx);
    weft_tls_context_free(NULL);
    remove_identities();
}

Test(tls, options_that_make_no_sense_are_refused)
{
    weft_tls_context *ctx;
    static const char *const none[] = {NULL}, *const empty[] = {"h2", "", NULL};
    make_identities();
    const char *good = file("server", ".both");
    cr_assert_eq(weft_tls_server(&ctx, &(weft_tls_options){.trust = file("ca", ".pem")}), WEFT_EINVAL); /* no certificate */
    cr_assert_null(ctx);
    cr_assert_eq(weft_tls_server_sized(&ctx, NULL, 0), WEFT_EINVAL);
    cr_assert_eq(weft_tls_server(NULL, &(weft_tls_options){.certificate = good}), WEFT_EINVAL);
    cr_assert_eq(weft_tls_client(&ctx, &(weft_tls_options){.min_version = 11}), WEFT_EINVAL);
    cr_assert_eq(weft_tls_client(&ctx, &(weft_tls_options){.min_version = 13, .max_version = 12}), WEFT_EINVAL);
    cr_assert_eq(weft_tls_client(&ctx, &(weft_tls_options){.key = good}), WEFT_EINVAL);
    cr_assert_eq(weft_tls_client(&ctx, &(weft_tls_options){.verify = WEFT_TLS_VERIFY_OPTIONAL}), WEFT_EINVAL);
    cr_assert_eq(weft_tls_client(&ctx, &(weft_tls_options){.verify = (weft_tls_peer)7}), WEFT_EINVAL);
    cr_assert_eq(weft_tls_client(&ctx, &(weft_tls_options){.handshake_timeout = -1}), WEFT_EINVAL);
    cr_assert_eq(weft_tls_client(&ctx, &(weft_tls_options){.alpn = none}), WEFT_EINVAL);
    cr_assert_eq(weft_tls_client(&ctx, &(weft_tls_options){.alpn = empty}), WEFT_EINVAL);
    cr_assert_eq(weft_tls_client_sized(&ctx, NULL, 0), 0); /* the system's authorities */
    cr_assert_eq(weft_tls_context_add(ctx, "a", good, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_tls_context_reload(NULL), WEFT_EINVAL);
    weft_tls_context_free(ctx);
    cr_assert_eq(weft_tls_is(NULL), 0);
    cr_assert_str_eq(weft_tls_alpn(NULL), "");
    remove_identities();
}

/* ---- names, protocols, sessions -------------------------------------------------------------------------------- */

/* Which certificate a client sees that asks for @host. */
static void expect_subject(weft_tls_context *cc, weft_tls_context *sc, const char *host, const char *subject)
{
    char buf[64];
    side a = {.ctx = cc, .host = host}, b = {.ctx = sc};
    connect_both(true, &a.stream, &b.stream);
    shake_hands(&a, &b);
    cr_assert_eq(a.result, 0, "%s: %s", host, a.detail);
    cr_assert_str_eq(weft_tls_peer_subject(a.stream, buf, sizeof buf), subject);
    cr_assert_str_eq(weft_tls_server_name(b.stream), strcmp(host, "127.0.0.1") == 0 ? "" : host);
    exchange(a.stream, b.stream, "hello");
    weft_close(a.stream);
    weft_close(b.stream);
}

static void *by_name(void *arg)
{
    (void)arg;
    issue((identity){.name = "one", .alt = "DNS:one.example", .issuer = "ca"});
    issue((identity){.name = "again", .alt = "DNS:one.example", .issuer = "ca"});
    issue((identity){.name = "wild", .alt = "DNS:*.many.example", .issuer = "ca"});
    issue((identity){.name = "exact", .alt = "DNS:exact.many.example", .issuer = "ca"});
    for (unsigned version = 12; version <= 13; version++) {
        weft_tls_context *sc = SERVER(.max_version = version), *cc = CLIENT();
        cr_assert_eq(weft_tls_context_add(sc, "one.example", file("one", ".pem"), file("one", ".key")), 0);
        cr_assert_eq(weft_tls_context_add(sc, "*.many.example", file("wild", ".both"), NULL), 0);
        cr_assert_eq(weft_tls_context_add(sc, "exact.many.example", file("exact", ".both"), NULL), 0);
        cr_assert_eq(weft_tls_context_add(sc, "none.example", file("none", ".both"), NULL), WEFT_ENOENT);
        cr_assert_eq(weft_tls_context_add(sc, "one.example", file("again", ".both"), NULL), 0); /* the last one counts */
        for (int i = 0; i < 2; i++) {
            expect_subject(cc, sc, "localhost", "CN=server"); /* a name that was not added */
            expect_subject(cc, sc, "127.0.0.1", "CN=server"); /* no name at all */
            expect_subject(cc, sc, "one.example", "CN=again");
            expect_subject(cc, sc, "ONE.example", "CN=again");
            expect_subject(cc, sc, "a.many.example", "CN=wild");
            expect_subject(cc, sc, "exact.many.example", "CN=exact");
            cr_assert_eq(weft_tls_context_reload(sc), 0); /* knows the names still */
        }
        weft_tls_context_free(sc);
        weft_tls_context_free(cc);
    }
    return NULL;
}

Test(tls, the_name_that_a_client_asks_for_chooses_the_certificate) { run_tls(2, by_name); }

static void agree(const char *const *offered, const char *const *known, int result, const char *chosen)
{
    weft_tls_context *sc = SERVER(.alpn = known), *cc = CLIENT(.alpn = offered);
    side a = {.ctx = cc, .host = "localhost"}, b = {.ctx = sc};
    connect_both(true, &a.stream, &b.stream);
    shake_hands(&a, &b);
    cr_assert_eq(a.result, result, "%s", a.detail);
    cr_assert_eq(b.result, result, "%s", b.detail);
    if (result == 0) {
        cr_assert_str_eq(weft_tls_alpn(a.stream), chosen);
        cr_assert_str_eq(weft_tls_alpn(b.stream), chosen);
    } else {
        cr_assert_not_null(strstr(a.detail, chosen), "'%s'", a.detail);
    }
    weft_close(a.stream);
    weft_close(b.stream);
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
}

static void *protocols(void *arg)
{
    static const char *const h2_http[] = {"h2", "http/1.1", NULL}, *const http_h2[] = {"http/1.1", "h2", NULL};
    static const char *const http[] = {"http/1.1", NULL}, *const ftp[] = {"ftp", NULL};
    (void)arg;
    agree(h2_http, http_h2, 0, "http/1.1"); /* as the server prefers */
    agree(http, h2_http, 0, "http/1.1");
    agree(h2_http, NULL, 0, ""); /* the server knows nothing of it */
    agree(NULL, h2_http, 0, ""); /* nor does the client */
    agree(ftp, h2_http, WEFT_ETLS, "no application protocol");
    return NULL;
}

Test(tls, a_protocol_is_agreed_on_as_the_server_prefers_and_without_a_common_one_there_is_no_connection)
{
    run_tls(2, protocols);
}

/* Sessions come with what the client reads, so something is read. */
static int resumes(weft_tls_context *cc, weft_tls_context *sc)
{
    weft_stream *client, *server;
    char subject[64], buf[8];
    establish(true, cc, sc, &client, &server);
    exchange(server, client, "hello");
    int resumed = weft_tls_is_resumed(client);
    cr_assert_eq(weft_tls_is_resumed(server), resumed);
    cr_assert_str_eq(weft_tls_peer_subject(client, subject, sizeof subject), "CN=server"); /* also of a resumed one */
    cr_assert_str_eq(weft_tls_peer_subject(server, subject, sizeof subject), "CN=client,O=weft");
    weft_close(server);
    cr_assert_eq(weft_read(client, buf, sizeof buf), 0);
    weft_close(client);
    return resumed;
}

static void *resumption(void *arg)
{
    (void)arg;
    for (unsigned version = 12; version <= 13; version++)
        for (unsigned off = 0; off < 2; off++) {
            weft_tls_context *sc = SERVER(.max_version = version, .no_resumption = off,
                                          .verify = WEFT_TLS_VERIFY_REQUIRED, .trust = file("ca", ".pem"));
            weft_tls_context *cc = CLIENT(.certificate = file("client", ".both")),
                             *other = CLIENT(.certificate = file("client", ".both"));
            cr_assert_eq(resumes(cc, sc), 0);
            for (int i = 0; i < 3; i++)
                cr_assert_eq(resumes(cc, sc), !off);
            cr_assert_eq(resumes(other, sc), 0); /* its own sessions only */
            cr_assert_eq(weft_tls_context_reload(cc), 0);
            cr_assert_eq(resumes(cc, sc), 0); /* what is trusted now is asked anew */
            cr_assert_eq(resumes(cc, sc), !off);
            cr_assert_eq(weft_tls_context_reload(sc), 0);
            cr_assert_eq(resumes(cc, sc), 0);
            weft_tls_context_free(sc);
            weft_tls_context_free(cc);
            weft_tls_context_free(other);
        }
    return NULL;
}

Test(tls, a_client_resumes_its_last_session_unless_told_not_to_or_files_were_read_again) { run_tls(2, resumption); }

static void *reload(void *arg)
{
    weft_stream *old[2], *client, *server;
    char subject[64];
    (void)arg;
    weft_tls_context *sc = SERVER(), *cc = CLIENT(.no_resumption = 1);
    establish(false, cc, sc, &old[0], &old[1]);
    issue((identity){.name = "server", .subject = "new", .alt = "DNS:localhost", .issuer = "ca"});
    cr_assert_eq(weft_tls_context_reload(sc), 0);
    establish(false, cc, sc, &client, &server);
    cr_assert_str_eq(weft_tls_peer_subject(client, subject, sizeof subject), "CN=server,O=new");
    weft_close(client);
    weft_close(server);

    write_pem(file("server", ".both"), NULL, NULL); /* empty */
    cr_assert_eq(weft_tls_context_reload(sc), WEFT_ECERTIFICATE);
    cr_assert_not_null(strstr(weft_error_detail(), "/server.both"));
    establish(false, cc, sc, &client, &server); /* as before */
    cr_assert_str_eq(weft_tls_peer_subject(client, subject, sizeof subject), "CN=server,O=new");
    weft_close(client);
    weft_close(server);

    exchange(old[0], old[1], "connections of before go on");
    cr_assert_str_eq(weft_tls_peer_subject(old[0], subject, sizeof subject), "CN=server");
    weft_close(old[0]);
    weft_close(old[1]);
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
    return NULL;
}

Test(tls, files_read_again_are_for_new_connections_and_a_failure_changes_nothing) { run_tls(2, reload); }

/* Handshakes while another task reads the files again and again. */
typedef struct storm {
    weft_tls_context *sc, *cc;
    atomic_bool stop;
} storm;

static void *keep_reloading(void *arg)
{
    storm *st = arg;
    while (!atomic_load(&st->stop)) {
        cr_assert_eq(weft_tls_context_reload(st->sc), 0);
        cr_assert_eq(weft_tls_context_reload(st->cc), 0);
        weft_sleep(WEFT_MS);
    }
    return NULL;
}

static void *keep_connecting(void *arg)
{
    storm *st = arg;
    weft_stream *client, *server;
    for (size_t i = 0; i < wf_test_scale(20); i++) {
        establish(true, st->cc, st->sc, &client, &server);
        exchange(server, client, "hello");
        weft_close(client);
        weft_close(server);
    }
    return NULL;
}

static void *reload_storm(void *arg)
{
    storm st = {.sc = SERVER(), .cc = CLIENT()};
    weft_task *tasks[4], *reloading = start(keep_reloading, &st);
    (void)arg;
    for (int i = 0; i < 4; i++)
        tasks[i] = start(keep_connecting, &st);
    for (int i = 0; i < 4; i++)
        join(tasks[i]);
    atomic_store(&st.stop, true);
    join(reloading);
    weft_tls_context_free(st.sc);
    weft_tls_context_free(st.cc);
    return NULL;
}

WF_TEST_WORKERS(tls, reading_files_again_while_others_shake_hands) { run_tls(workers, reload_storm); }

/* ---- the end --------------------------------------------------------------------------------------------------- */

static void *half_close_here_then_there(void *arg)
{
    char buf[64];
    (void)arg;
    for (unsigned version = 12; version <= 13; version++) {
        weft_tls_context *sc = SERVER(.max_version = version), *cc = CLIENT();
        weft_stream *client, *server;
        establish(false, cc, sc, &client, &server);
        cr_assert_eq(weft_close_write(server), 0);
        cr_assert_eq(weft_read(client, buf, sizeof buf), 0);
        exchange(client, server, "the server has ended, the client has not");
        cr_assert_eq(weft_close_write(client), 0);
        cr_assert_eq(weft_read(server, buf, sizeof buf), 0);
        weft_close(client);
        weft_close(server);
        weft_tls_context_free(sc);
        weft_tls_context_free(cc);
    }
    return NULL;
}

WF_TEST_WORKERS(tls, each_side_ends_its_direction_and_the_other_goes_on)
{
    run_tls(workers, half_close_here_then_there);
}

static void *close_while_reading(void *arg)
{
    (void)arg;
    for (int memory = 0; memory < 2; memory++) {
        weft_tls_context *sc = SERVER(), *cc = CLIENT();
        weft_stream *client, *server;
        char buf[8];
        establish(memory, cc, sc, &client, &server);
        waiter r = {.stream = client};
        weft_task *reader = start(wait_read, &r);
        await_idle(reader);
        weft_close(client);
        join(reader);
        cr_assert_eq(r.result, WEFT_ECLOSED);
        cr_assert_eq(weft_read(server, buf, sizeof buf), 0); /* it was said goodbye to */
        weft_close(server);
        weft_tls_context_free(sc);
        weft_tls_context_free(cc);
    }
    return NULL;
}

WF_TEST_WORKERS(tls, closed_by_another_task_a_read_ends_and_the_peer_sees_a_clean_end)
{
    run_tls(workers, close_while_reading);
}

/* ---- a handshake that does not end ----------------------------------------------------------------------------- */

static void *silent_peer(void *arg)
{
    weft_tls_context *sc = SERVER(.handshake_timeout = 3 * WEFT_SEC), *cc = CLIENT();
    (void)arg;
    for (int i = 0; i < 3; i++) {
        weft_stream *a, *b;
        cr_assert_eq(weft_stream_pair(&a, &b), 0);
        int64_t before = weft_now();
        int err = i == 0   ? weft_tls_accept(b, sc)
                  : i == 1 ? weft_tls_connect(b, cc, "localhost")
                           /* what weft_serve() calls */
                           : (*(int (**)(weft_stream *, weft_tls_context *, int64_t))(void *)sc)(b, sc, WEFT_SEC);
        cr_assert_eq(err, WEFT_ETIMEDOUT);
        cr_assert_not_null(strstr(weft_error_detail(), "TLS handshake"));
        cr_assert_eq((weft_now() - before) / WEFT_SEC, i == 0 ? 3 : i == 1 ? 10 : 1);
        cr_assert_eq(weft_write(b, "x", 1), WEFT_ETLS); /* good for closing only */
        cr_assert_eq(weft_tls_is(b), 0);
        weft_close(a);
        weft_close(b);
    }
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
    return NULL;
}

static void *interrupted_by_a_scope(void *arg)
{
    weft_tls_context *sc = SERVER();
    weft_stream *a, *b;
    weft_scope scope;
    (void)arg;
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    int64_t before = weft_now();
    cr_assert_eq(weft_scope_enter(&scope, WEFT_SEC), 0);
    cr_assert_eq(weft_tls_accept(b, sc), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_tls_accept(b, sc), WEFT_ETIMEDOUT); /* as everything else in there */
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq((weft_now() - before) / WEFT_SEC, 1);
    weft_close(a);
    weft_close(b);
    weft_tls_context_free(sc);
    return NULL;
}

static void run_paused(weft_fn fn)
{
    weft_options o = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    make_identities();
    cr_assert_eq(weft_run_with(&o, fn, NULL, NULL), 0);
    remove_identities();
}

Test(tls, a_silent_peer_is_waited_for_as_long_as_the_context_says) { run_paused(silent_peer); }

Test(tls, a_scope_around_a_handshake_ends_it_and_knows_that_it_did) { run_paused(interrupted_by_a_scope); }

/* The n-th time that the server waits, somebody aborts it, or closes its stream. */
static void *end_in_the_midst(void *arg)
{
    (void)arg;
    for (int how = 0; how < 2; how++)
        for (int memory = 0; memory < 2; memory++) {
            weft_tls_context *sc = SERVER(), *cc = CLIENT();
            side a = {.ctx = cc, .host = "localhost"}, b = {.ctx = sc};
            connect_both(memory, &a.stream, &b.stream);
            weft_task *accepter = start(accepting, &b);
            await_idle(accepter);
            if (how == 0)
                weft_abort(accepter);
            else
                weft_stream_abort(b.stream);
            weft_join(accepter, NULL);
            cr_assert_eq(b.result, how == 0 ? WEFT_ECANCELED : WEFT_ECLOSED);
            connecting(&a);
            cr_assert_lt(a.result, 0);
            weft_close(a.stream);
            weft_close(b.stream);
            weft_tls_context_free(sc);
            weft_tls_context_free(cc);
        }
    return NULL;
}

WF_TEST_WORKERS(tls, a_handshake_aborted_or_closed_in_the_midst_leaves_nothing_behind)
{
    run_tls(workers, end_in_the_midst);
}

static void *close_in_the_midst(void *arg)
{
    weft_tls_context *sc = SERVER(), *cc = CLIENT();
    (void)arg;
    for (int i = 0; i < 20; i++) {
        side a = {.ctx = cc, .host = "localhost"}, b = {.ctx = sc};
        connect_both(i % 2, &a.stream, &b.stream);
        weft_stream_ref(b.stream);
        weft_task *accepter = start(accepting, &b), *connecter = start(connecting, &a);
        for (int k = 0; k < i / 2; k++)
            weft_yield();
        weft_close(b.stream);
        join(accepter);
        join(connecter);
        cr_assert(b.result == 0 || b.result == WEFT_ECLOSED, "%d: %s", b.result, b.detail);
        weft_close(a.stream);
        weft_close(b.stream);
    }
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
    return NULL;
}

WF_TEST_WORKERS(tls, a_stream_closed_at_any_moment_of_its_handshake) { run_tls(workers, close_in_the_midst); }

static void *busy(void *arg)
{
    weft_tls_context *sc = SERVER();
    weft_stream *a, *b;
    (void)arg;
    pair(&a, &b);
    waiter r = {.stream = b};
    weft_task *reader = start(wait_read, &r);
    await_idle(reader);
    cr_assert_eq(weft_tls_accept(b, sc), WEFT_EBUSY); /* somebody reads */
    cr_assert_eq(weft_write(a, "still ", 6), 6);      /* and nothing was taken from him */
    join(reader);
    cr_assert_eq(r.result, 6);
    weft_close(a);
    weft_close(b);
    weft_tls_context_free(sc);
    return NULL;
}

WF_TEST_WORKERS(tls, while_somebody_reads_there_is_no_handshake) { run_tls(workers, busy); }

/* ---- writes that are interrupted ------------------------------------------------------------------------------- */

typedef struct flood {
    weft_stream *stream;
    size_t size, written;
} flood;

/* By pieces that often do not get through in time; what was written is said each time. */
static void *write_impatiently(void *arg)
{
    flood *f = arg;
    unsigned char *bytes = malloc(f->size);
    for (size_t i = 0; i < f->size; i++)
        bytes[i] = byte_at(i, 5);
    for (int64_t patience = 0; f->written < f->size; patience = (patience + 1) % 3) {
        weft_scope scope;
        weft_scope_enter(&scope, patience * WEFT_MS);
        ssize_t n = weft_write_some(f->stream, bytes + f->written, f->size - f->written);
        weft_scope_leave(&scope);
        cr_assert(n > 0 || n == WEFT_ETIMEDOUT, "%zd", n);
        f->written += n > 0 ? (size_t)n : 0;
    }
    cr_assert_eq(weft_close_write(f->stream), 0);
    free(bytes);
    return NULL;
}

static void *read_slowly(void *arg)
{
    bulk *b = arg;
    unsigned char piece[40000];
    size_t done = 0;
    ssize_t n;
    while ((n = weft_read(b->stream, piece, sizeof piece)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            if (piece[i] != byte_at(done++, b->key))
                cr_fail("byte %zu is another", done - 1);
        if (done / 100000 != (done - (size_t)n) / 100000)
            weft_sleep(2 * WEFT_MS);
    }
    cr_assert_eq(n, 0);
    cr_assert_eq(done, b->size);
    return NULL;
}

static void *impatience(void *arg)
{
    weft_tls_context *sc = SERVER(), *cc = CLIENT();
    weft_stream *client, *server;
    size_t size = wf_test_scale(3 << 20);
    (void)arg;
    establish(false, cc, sc, &client, &server);
    narrow(client);
    flood f = {.stream = client, .size = size};
    weft_task *writer = start(write_impatiently, &f);
    read_slowly(&(bulk){.stream = server, .size = size, .key = 5});
    join(writer);
    weft_close(client);
    weft_close(server);
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
    return NULL;
}

WF_TEST_WORKERS(tls, writes_interrupted_in_the_midst_say_how_much_and_the_stream_goes_on)
{
    run_tls(workers, impatience);
}

/* A stackless write that nobody polls again was no write: the next one, of other bytes, is not taken for it. */
typedef struct once {
    weft_future future;
    weft_stream *stream;
    weft_tls_context *ctx;
    char *bytes;
    size_t size;
    ssize_t result;
} once;

static weft_poll poll_once(weft_future *self, weft_context *cx, void **result)
{
    once *o = WEFT_CONTAINER_OF(self, once, future);
    (void)result;
    cr_assert_eq(weft_tls_accept(o->stream, o->ctx), WEFT_EDEADLK); /* it cannot wait here */
    do
        o->result = weft_poll_write_some(cx, o->stream, o->bytes, o->size);
    while (o->result > 0);
    return WEFT_READY;
}

static const weft_future_ops once_ops = {.poll = poll_once};

static void *forgotten(void *arg)
{
    weft_tls_context *sc = SERVER(), *cc = CLIENT();
    weft_stream *client, *server;
    weft_task *task;
    char buf[4096];
    ssize_t n;
    (void)arg;
    establish(true, cc, sc, &client, &server);
    once o = {.future.ops = &once_ops, .stream = client, .ctx = sc, .bytes = malloc(16384), .size = 16384};
    memset(o.bytes, 'a', o.size);
    cr_assert_eq(weft_spawn_future(&task, &o.future), 0);
    join(task);
    cr_assert_eq(o.result, WEFT_PENDING);
    bulk rest = {.stream = client, .size = 50000, .key = 7};
    weft_task *writer = start(write_bulk, &rest);
    size_t as = 0, others = 0;
    while ((n = weft_read(server, buf, sizeof buf)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            if (others == 0 && buf[i] == 'a') /* the rest begins with another byte */
                as++;
            else
                cr_assert_eq((unsigned char)buf[i], byte_at(others++, rest.key));
        }
    cr_assert_eq(n, 0);
    cr_assert_eq(others, rest.size);
    cr_assert_eq(as % o.size, 0);
    join(writer);
    free(o.bytes);
    weft_close(client);
    weft_close(server);
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
    return NULL;
}

Test(tls, a_stackless_write_that_is_not_polled_again_is_not_taken_for_the_next_one) { run_tls(2, forgotten); }

/* ---- select, and ordinary threads ------------------------------------------------------------------------------ */

static void *selecting(void *arg)
{
    (void)arg;
    for (int memory = 0; memory < 2; memory++) {
        weft_tls_context *sc = SERVER(), *cc = CLIENT();
        weft_stream *client, *server;
        char buf[8];
        establish(memory, cc, sc, &client, &server);
        weft_case quiet[] = {WEFT_READABLE(server), WEFT_DEFAULT};
        cr_assert_eq(weft_select(quiet, 2), 1);
        weft_case idle[] = {WEFT_READABLE(client), WEFT_AFTER(20 * WEFT_MS)};
        cr_assert_eq(weft_select(idle, 2), 1); /* the sessions that came are nothing to read */
        cr_assert_eq(weft_write(client, "hello", 5), 5);
        weft_case loud[] = {WEFT_READABLE(server)};
        for (int i = 0; i < 5; i++) { /* a record of five bytes is read one by one */
            cr_assert_eq(weft_select(loud, 1), 0);
            cr_assert_eq(loud[0].status, 0);
            cr_assert_eq(weft_read(server, buf, 1), 1);
        }
        cr_assert_eq(weft_select(quiet, 2), 1);
        weft_case room[] = {WEFT_WRITABLE(client)};
        cr_assert_eq(weft_select(room, 1), 0);
        weft_close(client);
        cr_assert_eq(weft_select(loud, 1), 0); /* the end is something to read */
        cr_assert_eq(weft_read(server, buf, 1), 0);
        weft_close(server);
        weft_tls_context_free(sc);
        weft_tls_context_free(cc);
    }
    return NULL;
}

WF_TEST_WORKERS(tls, select_knows_what_a_record_has_left) { run_tls(workers, selecting); }

Test(tls, ordinary_threads_shake_hands_too)
{
    make_identities();
    weft_runtime *rt = runtime(2);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    weft_tls_context *sc = SERVER(), *cc = CLIENT();
    weft_stream *client, *server;
    establish(false, cc, sc, &client, &server);
    exchange(client, server, "hello");
    exchange(server, client, "hello");
    weft_close(client);
    weft_close(server);
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    remove_identities();
}
