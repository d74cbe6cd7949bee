/* tls_peer_test.c - TLS against peers that are not weft: OpenSSL by hand, OpenSSL as a program, and what is no TLS at all. */
#include <support/tls_support.h>

/* ---- OpenSSL by hand ------------------------------------------------------------------------------------------- */

/* It works on memory; what it wrote goes to a stream, and what it reads comes from there. */
typedef struct hand {
    weft_stream *stream;
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out;
} hand;

static hand *hand_create(weft_stream *s, bool server)
{
    hand *h = calloc(1, sizeof *h);
    h->stream = s;
    h->ctx = SSL_CTX_new(TLS_method());
    cr_assert_eq(SSL_CTX_use_certificate_file(h->ctx, file("server", ".pem"), SSL_FILETYPE_PEM), 1);
    cr_assert_eq(SSL_CTX_use_PrivateKey_file(h->ctx, file("server", ".key"), SSL_FILETYPE_PEM), 1);
    h->ssl = SSL_new(h->ctx);
    h->in = BIO_new(BIO_s_mem());
    h->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(h->in, -1);
    SSL_set_bio(h->ssl, h->in, h->out);
    if (server)
        SSL_set_accept_state(h->ssl);
    else
        SSL_set_connect_state(h->ssl);
    return h;
}

static void hand_free(hand *h)
{
    SSL_free(h->ssl);
    SSL_CTX_free(h->ctx);
    free(h);
}

/* The first bytes of what it wrote; 0: all. The peer may have gone. */
static void hand_send(hand *h, size_t first)
{
    char bytes[4096];
    int n;
    size_t left = first ? first : BIO_pending(h->out);
    for (; left > 0; left -= (size_t)n) {
        n = BIO_read(h->out, bytes, (int)(left < sizeof bytes ? left : sizeof bytes));
        cr_assert_gt(n, 0);
        weft_write(h->stream, bytes, (size_t)n);
    }
}

/* Until @call is done or fails for good: its result, and, if it failed, the reason in *@reason. */
static int hand_do(hand *h, int (*call)(hand *h), int *reason)
{
    for (;;) {
        char bytes[4096];
        ERR_clear_error();
        int n = call(h), why = SSL_get_error(h->ssl, n);
        *reason = ERR_GET_REASON(ERR_peek_error());
        ERR_clear_error();
        hand_send(h, 0);
        if (n > 0 || why != SSL_ERROR_WANT_READ)
            return n;
        ssize_t got = weft_read(h->stream, bytes, sizeof bytes);
        if (got <= 0)
            return -1;
        BIO_write(h->in, bytes, (int)got);
    }
}

static int do_handshake(hand *h) { return SSL_do_handshake(h->ssl); }

static int do_read(hand *h)
{
    char byte;
    return SSL_read(h->ssl, &byte, 1);
}

static void *hand_shakes(void *arg)
{
    int reason;
    cr_assert_eq(hand_do(arg, do_handshake, &reason), 1);
    return NULL;
}

/* A connection between weft as a client, or a server, and a hand. */
static hand *meet(bool weft_is_server, weft_tls_context *ctx, weft_stream **s)
{
    weft_stream *other;
    cr_assert_eq(weft_stream_pair(s, &other), 0);
    hand *h = hand_create(other, !weft_is_server);
    SSL_set_max_proto_version(h->ssl, weft_is_server ? TLS1_2_VERSION : TLS1_3_VERSION);
    weft_task *task = start(hand_shakes, h);
    int err = weft_is_server ? weft_tls_accept(*s, ctx) : weft_tls_connect(*s, ctx, "localhost");
    cr_assert_eq(err, 0, "%s", weft_error_detail());
    join(task);
    return h;
}

static void *old_client(void *arg)
{
    weft_tls_context *sc = SERVER();
    weft_stream *client, *server;
    int reason;
    (void)arg;
    pair(&client, &server);
    hand *h = hand_create(client, false);
    SSL_set_security_level(h->ssl, 0);
    SSL_set_min_proto_version(h->ssl, TLS1_1_VERSION);
    SSL_set_max_proto_version(h->ssl, TLS1_1_VERSION);
    side b = {.stream = server, .ctx = sc};
    weft_task *accepter = start(accepting, &b);
    cr_assert_lt(hand_do(h, do_handshake, &reason), 1);
    cr_assert_eq(reason, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    join(accepter);
    cr_assert_eq(b.result, WEFT_ETLS);
    cr_assert_not_null(strstr(b.detail, "unsupported protocol"), "'%s'", b.detail);
    hand_free(h);
    weft_close(client);
    weft_close(server);
    weft_tls_context_free(sc);
    return NULL;
}

Test(tls_peer, a_client_of_tls_1_1_is_refused) { run_tls(2, old_client); }

typedef struct reading {
    weft_stream *stream;
    char buf[8];
    ssize_t result;
} reading;

static void *read_one(void *arg)
{
    reading *r = arg;
    r->result = weft_read(r->stream, r->buf, sizeof r->buf);
    return NULL;
}

static void *renegotiation(void *arg)
{
    weft_tls_context *sc = SERVER();
    weft_stream *s;
    int reason;
    (void)arg;
    hand *h = meet(true, sc, &s);
    reading r = {.stream = s};
    weft_task *reader = start(read_one, &r);
    cr_assert_eq(SSL_renegotiate(h->ssl), 1);
    cr_assert_lt(hand_do(h, do_handshake, &reason), 1);
    cr_assert_eq(reason, SSL_R_NO_RENEGOTIATION);
    weft_close(s);
    join(reader);
    cr_assert_lt(r.result, 0);
    weft_close(h->stream);
    hand_free(h);
    weft_tls_context_free(sc);
    return NULL;
}

Test(tls_peer, a_client_that_wants_to_renegotiate_is_refused) { run_tls(2, renegotiation); }

static void *new_keys(void *arg)
{
    weft_tls_context *cc = CLIENT();
    weft_stream *s;
    char buf[8];
    int reason;
    (void)arg;
    hand *h = meet(false, cc, &s);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(SSL_key_update(h->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        cr_assert_eq(hand_do(h, do_handshake, &reason), 1);
        cr_assert_eq(SSL_write(h->ssl, "hello", 5), 5);
        hand_send(h, 0);
        cr_assert_eq(weft_read_exact(s, buf, 5), 5);
        cr_assert_eq(weft_write(s, "x", 1), 1); /* with the answer in front of it */
        cr_assert_eq(hand_do(h, do_read, &reason), 1);
    }
    weft_close(s);
    weft_close(h->stream);
    hand_free(h);
    weft_tls_context_free(cc);
    return NULL;
}

WF_TEST_WORKERS(tls_peer, new_keys_in_the_midst_are_answered_with_the_next_write) { run_tls(workers, new_keys); }

typedef struct writing {
    weft_stream *stream;
    ssize_t result;
    int closed;
} writing;

static void *write_and_end(void *arg)
{
    writing *w = arg;
    w->result = weft_write(w->stream, "x", 1);
    w->closed = weft_close_write(w->stream);
    return NULL;
}

/* Between the records of one message OpenSSL writes nothing: this once hung, for only the reader hears of the rest. */
static void *message_in_pieces(void *arg)
{
    weft_tls_context *cc = CLIENT();
    weft_stream *s;
    int reason;
    (void)arg;
    hand *h = meet(false, cc, &s);
    char *large = calloc(1, 3000);
    SSL_SESSION_set1_ticket_appdata(SSL_get_session(h->ssl), large, 3000);
    free(large);
    SSL_set_max_send_fragment(h->ssl, 512);
    cr_assert_eq(SSL_new_session_ticket(h->ssl), 1);
    SSL_do_handshake(h->ssl);
    cr_assert_gt(BIO_pending(h->out), 3000);

    reading r = {.stream = s};
    writing w = {.stream = s, .result = 77};
    weft_task *reader = start(read_one, &r);
    hand_send(h, 1000); /* a record, and part of the next one */
    await_idle(reader);
    weft_task *writer = start(write_and_end, &w);
    await_idle(writer);
    cr_assert_eq(w.result, 77);
    hand_send(h, 0);
    join(writer);
    cr_assert_eq(w.result, 1);
    cr_assert_eq(w.closed, 0);
    cr_assert_eq(hand_do(h, do_read, &reason), 1);
    weft_close(h->stream);
    join(reader);
    cr_assert_eq(r.result, WEFT_EOF);
    weft_close(s);
    hand_free(h);
    weft_tls_context_free(cc);
    return NULL;
}

WF_TEST_WORKERS(tls_peer, a_write_amid_a_message_in_pieces_goes_on_when_the_reader_has_the_rest)
{
    run_tls(workers, message_in_pieces);
}

static void *truncation(void *arg)
{
    (void)arg;
    for (int version = 0; version < 2; version++) {
        weft_tls_context *cc = CLIENT(), *sc = SERVER();
        weft_stream *s;
        char buf[16];
        int reason;
        hand *h = meet(version, version ? sc : cc, &s);
        cr_assert_eq(SSL_write(h->ssl, "hello", 5), 5);
        hand_send(h, 0);
        cr_assert_eq(weft_close_write(h->stream), 0); /* without a word of goodbye */
        cr_assert_eq(weft_read(s, buf, sizeof buf), 5);
        cr_assert_eq(weft_read(s, buf, sizeof buf), WEFT_EOF);
        cr_assert_eq(weft_read(s, buf, sizeof buf), WEFT_EOF);
        cr_assert_eq(weft_write(s, "x", 1), 1); /* the other direction goes on */
        cr_assert_eq(hand_do(h, do_read, &reason), 1);
        weft_close(s);
        cr_assert_eq(hand_do(h, do_read, &reason), 0); /* we do say goodbye */
        cr_assert_eq(SSL_get_shutdown(h->ssl), SSL_RECEIVED_SHUTDOWN);
        weft_close(h->stream);
        hand_free(h);
        weft_tls_context_free(cc);
        weft_tls_context_free(sc);
    }
    return NULL;
}

Test(tls_peer, an_end_without_goodbye_is_no_clean_end_and_writing_goes_on) { run_tls(2, truncation); }

static void *tampering(void *arg)
{
    weft_tls_context *cc = CLIENT();
    weft_stream *s;
    char *bytes, buf[8];
    (void)arg;
    hand *h = meet(false, cc, &s);
    cr_assert_eq(SSL_write(h->ssl, "hello", 5), 5);
    long length = BIO_get_mem_data(h->out, &bytes);
    bytes[length - 1] ^= 1;
    hand_send(h, 0);
    cr_assert_eq(weft_read(s, buf, sizeof buf), WEFT_ETLS);
    cr_assert_not_null(strstr(weft_error_detail(), "bad record mac"), "'%s'", weft_error_detail());
    cr_assert_eq(weft_read(s, buf, sizeof buf), WEFT_ETLS);
    cr_assert_eq(weft_write(s, "x", 1), WEFT_ETLS);
    weft_close(s);
    weft_close(h->stream);
    hand_free(h);
    weft_tls_context_free(cc);
    return NULL;
}

Test(tls_peer, a_byte_that_was_changed_on_the_way_ends_the_connection_for_good) { run_tls(2, tampering); }

/* ---- no TLS at all --------------------------------------------------------------------------------------------- */

static void say(const char *bytes, size_t size, int result, const char *detail)
{
    weft_tls_context *sc = SERVER(), *cc = CLIENT();
    for (int client = 0; client < 2; client++) {
        weft_stream *s, *other;
        pair(&s, &other);
        cr_assert_eq(weft_write(other, bytes, size), size);
        cr_assert_eq(weft_close_write(other), 0);
        int err = client ? weft_tls_connect(s, cc, "localhost") : weft_tls_accept(s, sc);
        cr_assert_eq(err, result, "%s", weft_error_detail());
        if (!client)
            cr_assert_not_null(strstr(weft_error_detail(), detail), "'%s'", weft_error_detail());
        weft_close(s);
        weft_close(other);
    }
    weft_tls_context_free(sc);
    weft_tls_context_free(cc);
}

static void *no_tls(void *arg)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char garbage[3000];
    (void)arg;
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (char)(i * 31 + 7);
    say(http, sizeof http - 1, WEFT_ETLS, "http request");
    say(garbage, sizeof garbage, WEFT_ETLS, "wrong version number");
    say("\x16\x03\x01\x02", 4, WEFT_EOF, "");
    say("", 0, WEFT_EOF, "");
    return NULL;
}

Test(tls_peer, garbage_and_plain_http_are_told_from_a_hello) { run_tls(2, no_tls); }

/* Hellos with a byte changed, at each place: never more than a failure. */
static void *fuzz(void *arg)
{
    weft_tls_context *sc = SERVER(.handshake_timeout = 20 * WEFT_MS);
    char *bytes;
    (void)arg;
    hand *h = hand_create(NULL, false);
    SSL_do_handshake(h->ssl);
    long length = BIO_get_mem_data(h->out, &bytes);
    for (long i = 0; i < length; i += 1 + (long)(length / wf_test_scale((size_t)length))) {
        weft_stream *s, *other;
        cr_assert_eq(weft_stream_pair(&s, &other), 0);
        bytes[i] ^= (char)(1 + i % 255);
        cr_assert_eq(weft_write(other, bytes, (size_t)length), length);
        bytes[i] ^= (char)(1 + i % 255);
        cr_assert_eq(weft_close_write(other), 0);
        cr_assert_lt(weft_tls_accept(s, sc), 0);
        weft_close(s);
        weft_close(other);
    }
    hand_free(h);
    weft_tls_context_free(sc);
    return NULL;
}

Test(tls_peer, a_hello_with_a_byte_changed_anywhere_is_a_failure_and_no_more) { run_tls(1, fuzz); }

/* ---- OpenSSL as a program -------------------------------------------------------------------------------------- */

static bool have_program(void) { return system("openssl version >/dev/null 2>&1") == 0; }

typedef struct answering {
    weft_listener *listener;
    weft_tls_context *ctx;
} answering;

/* One connection: what comes first goes back, then the end. */
static void *answer(void *arg)
{
    answering *a = arg;
    weft_stream *s;
    char buf[64];
    cr_assert_eq(weft_accept(&s, a->listener), 0);
    cr_assert_eq(weft_tls_accept(s, a->ctx), 0, "%s", weft_error_detail());
    cr_assert_str_eq(weft_tls_peer_subject(s, buf, sizeof buf), "CN=client,O=weft");
    ssize_t n = weft_read(s, buf, sizeof buf);
    cr_assert_gt(n, 0);
    cr_assert_eq(weft_write(s, buf, (size_t)n), n);
    cr_assert_eq(weft_close_write(s), 0);
    while ((n = weft_read(s, buf, sizeof buf)) > 0)
        ;
    weft_close(s);
    return NULL;
}

static void *serve_program(void *arg)
{
    char address[WEFT_ADDR_TEXT];
    weft_listener *l = listen_any(address);
    (void)arg;
    for (unsigned version = 12; version <= 13; version++) {
        answering a = {l, SERVER(.max_version = version, .verify = WEFT_TLS_VERIFY_REQUIRED, .trust = file("ca", ".pem"))};
        const char *const argv[] = {"openssl",
                                    "s_client",
                                    "-connect",
                                    address,
                                    "-CAfile",
                                    file("ca", ".pem"),
                                    "-verify_return_error",
                                    "-cert",
                                    file("client", ".pem"),
                                    "-key",
                                    file("client", ".key"),
                                    "-servername",
                                    "localhost",
                                    "-verify_hostname",
                                    "localhost",
                                    "-quiet",
                                    NULL};
        weft_process_options o = {.argv = argv, .input = "hello\n", .input_size = 6};
        weft_output output;
        weft_task *task = start(answer, &a);
        cr_assert_eq(weft_process_run(&output, &o), 0);
        cr_assert_eq(output.status, 0);
        cr_assert_eq(output.out_size, 6);
        cr_assert_arr_eq(output.out, "hello\n", 6);
        weft_output_free(&output);
        join(task);
        weft_tls_context_free(a.ctx);
    }
    weft_listener_close(l);
    return NULL;
}

Test(tls_peer, the_program_s_client_gets_an_answer)
{
    if (!have_program())
        cr_skip_test("no program openssl");
    run_tls(2, serve_program);
}

/* "ACCEPT 127.0.0.1:4711": where it listens. */
static void read_address(weft_stream *out, char *address)
{
    char text[512] = "", *line = NULL;
    size_t size = 0;
    while (!line || !strchr(line, '\n')) {
        ssize_t n = weft_read(out, text + size, sizeof text - 1 - size);
        cr_assert_gt(n, 0);
        size += (size_t)n;
        line = strstr(text, "ACCEPT ");
    }
    cr_assert_eq(sscanf(line, "ACCEPT %127s", address), 1);
}

static void *ask_program(void *arg)
{
    char address[WEFT_ADDR_TEXT], buf[8];
    weft_tls_context *cc = CLIENT();
    (void)arg;
    const char *const argv[] = {"openssl", "s_server",
                                "-accept", "127.0.0.1:0",
                                "-cert",   file("server", ".pem"),
                                "-key",    file("server", ".key"),
                                "-rev",    NULL};
    weft_process_options o = {.argv = argv, .out = WEFT_STDIO_PIPE};
    weft_process *process;
    weft_stream *s;
    cr_assert_eq(weft_process_spawn(&process, &o), 0);
    weft_stream *out = weft_process_stdout(process);
    read_address(out, address);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(weft_tcp_connect(&s, address, NULL), 0);
        cr_assert_eq(weft_tls_connect(s, cc, "localhost"), 0, "%s", weft_error_detail());
        cr_assert_eq(weft_tls_is_resumed(s), i > 0);
        cr_assert_eq(weft_write(s, "olleh\n", 6), 6);
        cr_assert_eq(weft_read_exact(s, buf, 6), 6);
        cr_assert_arr_eq(buf, "hello\n", 6);
        weft_close(s);
    }
    weft_close(out);
    weft_process_close(process);
    weft_tls_context_free(cc);
    return NULL;
}

Test(tls_peer, the_program_s_server_is_asked_and_resumes)
{
    if (!have_program())
        cr_skip_test("no program openssl");
    run_tls(2, ask_program);
}
