/* scarce_tls_test.c - TLS on a machine that has run out of everything: weft's own requests. OpenSSL's are in tls_alloc_test.c. See support/scarce.h. */
#include <support/scarce.h>
#include <support/tls_support.h>

/* ---- contexts -------------------------------------------------------------------------------------------------- */

static void contexts(void)
{
    static const char *const protocols[] = {"h2", "http/1.1", NULL};
    weft_tls_options o = {.certificate = file("server", ".pem"),
                          .key = file("server", ".key"),
                          .trust = file("ca", ".pem"),
                          .verify = WEFT_TLS_VERIFY_REQUIRED,
                          .alpn = protocols};
    weft_tls_options c = {.trust = file("ca", ".pem"), .alpn = protocols};
    weft_tls_context *ctx;
    SCARCE_MAKE(ctx, weft_tls_server(&ctx, &o));
    SCARCE_TRY(0, weft_tls_context_add(ctx, "client", file("client", ".pem"), file("client", ".key")));
    SCARCE_TRY(0, weft_tls_context_reload(ctx));
    SCARCE_NONE(weft_tls_context_free(ctx));
    SCARCE_MAKE(ctx, weft_tls_client(&ctx, &c));
    weft_tls_context_free(ctx);
}

/* ---- handshakes -------------------------------------------------------------------------------------------------- */

static weft_tls_context *of_server, *of_client;

typedef struct accepter {
    weft_stream *stream;
    weft_notify begin;
    int result;
} accepter;

/* It has its stack before anything is refused. */
static void *accept_when_told(void *arg)
{
    accepter *a = arg;
    cr_assert_eq(weft_notify_wait(&a->begin), 0);
    a->result = SCARCE_WITHIN(weft_tls_accept(a->stream, of_server));
    if (a->result < 0)
        weft_stream_abort(a->stream);
    return NULL;
}

static bool is_lack(int code) { return code == WEFT_ENOMEM || code == WEFT_EMFILE; }

/* The side that lacks something hangs up; the other sees that in many ways. */
static int both_sides(accepter *a, weft_task *task, weft_stream *client)
{
    weft_notify_one(&a->begin);
    int err = SCARCE_WITHIN(weft_tls_connect(client, of_client, "localhost"));
    if (err < 0)
        weft_stream_abort(client);
    if (weft_wait(task) < 0 || is_lack(a->result))
        return a->result;
    if (err == 0 && a->result < 0)
        return a->result;
    cr_assert(err == 0 || is_lack(err), "%d and %d, %s", err, a->result, scarce_at());
    return err;
}

/* Whether what is sent arrives; else one side has said that it lacked something. */
static int exchange_both(weft_stream *client, weft_stream *server)
{
    char buf[8];
    ssize_t n = SCARCE_WITHIN(weft_write(client, "hello", 5));
    if (n < 0)
        return (int)n;
    n = SCARCE_WITHIN(weft_read_exact(server, buf, 5));
    if (n < 0)
        return (int)n;
    n = weft_write(server, "bye", 3) == 3 ? weft_read_exact(client, buf, 3) : WEFT_ENOMEM; /* after the tickets */
    if (n < 0)
        return (int)n;
    n = SCARCE_WITHIN(weft_close_write(client));
    return n < 0 ? (int)n : 0;
}

static void handshake(void)
{
    char subject[64];
    weft_stream *client;
    accepter a = {.result = WEFT_ENOMEM};
    weft_notify_init(&a.begin);
    bool lacked;
    connect_both(true, &client, &a.stream);
    weft_task *task = start(accept_when_told, &a);
    await_idle(task);
    SCARCE_ONCE(lacked, 0, both_sides(&a, task, client));
    join(task);
    if (!lacked) {
        SCARCE_NONE(cr_assert(weft_tls_is(client)));
        SCARCE_NONE(weft_tls_alpn(client));
        SCARCE_NONE(weft_tls_server_name(a.stream));
        SCARCE_NONE(weft_tls_version(client));
        SCARCE_NONE(weft_tls_cipher(client));
        SCARCE_NONE(weft_tls_is_resumed(client));
        SCARCE_NONE(weft_tls_in_kernel(client));
        SCARCE_NONE(weft_tls_peer_subject(client, subject, sizeof subject));
        SCARCE_NONE(weft_tls_peer_certificate(client, NULL, 0));
        SCARCE_ONCE(lacked, 0, exchange_both(client, a.stream));
    }
    weft_close(client);
    weft_close(a.stream);
}

/* The second may resume what the first has left behind, if there was room for it. */
static void resumption(void)
{
    weft_tls_context *server = of_server, *client = of_client;
    of_server = SERVER(.max_version = 13);
    of_client = CLIENT(.max_version = 13);
    handshake();
    handshake();
    weft_tls_context_free(of_server);
    weft_tls_context_free(of_client);
    of_server = server;
    of_client = client;
}

static const scarce_scene scenes[] = {SCARCE_THREAD(contexts, 10), SCARCE_STRAND(handshake, 3),
                                      SCARCE_STRAND(resumption, 6)};

static void play(unsigned workers)
{
    make_identities();
    of_server = SERVER(.no_resumption = 1);
    of_client = CLIENT(.no_resumption = 1);
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], workers);
    weft_tls_context_free(of_server);
    weft_tls_context_free(of_client);
    remove_identities();
}

Test(scarce_tls, whatever_is_refused_is_reported_and_leaves_nothing_1_worker) { play(1); }
Test(scarce_tls, whatever_is_refused_is_reported_and_leaves_nothing_2_workers) { play(2); }
