/* tls_serve_test.c - a server that speaks TLS by an option: the handler sees only who shook hands. */
#include <stdatomic.h>
#include <support/tls_support.h>

typedef struct server {
    weft_listener *listener;
    weft_task *task;
    weft_serve_options options;
    weft_serve_counters counters;
    char address[WEFT_ADDR_TEXT];
    weft_handler handler;
    atomic_int handled;
} server;

static void *serve(void *arg)
{
    server *sv = arg;
    cr_assert_eq(weft_serve(sv->listener, sv->handler, sv, &sv->options), WEFT_ECANCELED);
    return NULL;
}

static void begin(server *sv, weft_tls_context *ctx)
{
    sv->listener = listen_any(sv->address);
    sv->options.tls = ctx;
    sv->options.counters = &sv->counters;
    sv->task = start(serve, sv);
}

static weft_serve_counters counted(const server *sv)
{
    weft_serve_counters c;
    weft_serve_counters_get(&sv->counters, &c);
    return c;
}

static void end(server *sv)
{
    cr_assert_eq(weft_task_close(sv->task), 0);
    weft_listener_close(sv->listener);
    cr_assert_eq(counted(sv).active, 0);
}

static void *echo(weft_stream *peer, void *arg)
{
    server *sv = arg;
    char buf[256];
    ssize_t n;
    cr_assert(weft_tls_is(peer));
    atomic_fetch_add(&sv->handled, 1);
    while ((n = weft_read(peer, buf, sizeof buf)) > 0 && weft_write(peer, buf, (size_t)n) == n)
        ;
    return NULL;
}

/* As a client: connects, shakes hands, and gets its words back. */
static void ask(const server *sv, weft_tls_context *cc, const char *text)
{
    weft_stream *s;
    char buf[64];
    cr_assert_eq(weft_tcp_connect(&s, sv->address, NULL), 0);
    cr_assert_eq(weft_tls_connect(s, cc, "localhost"), 0, "%s", weft_error_detail());
    cr_assert_eq(weft_write(s, text, strlen(text)), strlen(text));
    cr_assert_eq(weft_read_exact(s, buf, strlen(text)), strlen(text));
    cr_assert_arr_eq(buf, text, strlen(text));
    cr_assert_eq(weft_close_write(s), 0);
    cr_assert_eq(weft_read(s, buf, sizeof buf), 0);
    weft_close(s);
}

typedef struct asker {
    const server *sv;
    weft_tls_context *cc;
} asker;

static void *ask_some(void *arg)
{
    asker *a = arg;
    for (int i = 0; i < 5; i++)
        ask(a->sv, a->cc, "hello over there");
    return NULL;
}

static void *served(void *arg)
{
    weft_tls_context *sc = SERVER(0), *cc = CLIENT(0);
    server sv = {.handler = echo};
    (void)arg;
    begin(&sv, sc);
    asker a = {.sv = &sv, .cc = cc};
    weft_task *askers[4];
    for (int i = 0; i < 4; i++)
        askers[i] = start(ask_some, &a);
    for (int i = 0; i < 4; i++)
        join(askers[i]);
    cr_assert_eq(atomic_load(&sv.handled), 20);
    cr_assert_eq(counted(&sv).accepted, 20);
    cr_assert_eq(counted(&sv).failed, 0);
    end(&sv);
    weft_tls_context_free(cc);
    weft_tls_context_free(sc);
    return NULL;
}

WF_TEST_WORKERS(tls_serve, connections_are_shaken_hands_with_and_served) { run_tls(workers, served); }

/* One that speaks something else, one that says nothing: both are hung up on, and nobody else notices. */
static void *refused(void *arg)
{
    weft_tls_context *sc = SERVER(0), *cc = CLIENT(0);
    server sv = {.handler = echo, .options.handshake_timeout = 50 * WEFT_MS};
    weft_stream *plain, *silent;
    char buf[64];
    (void)arg;
    begin(&sv, sc);
    cr_assert_eq(weft_tcp_connect(&plain, sv.address, NULL), 0);
    cr_assert_eq(weft_tcp_connect(&silent, sv.address, NULL), 0);
    cr_assert_eq(weft_write(plain, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    while (weft_read(plain, buf, sizeof buf) > 0) /* an alert, perhaps */
        ;
    cr_assert_eq(weft_read(silent, buf, sizeof buf), 0);
    weft_close(plain);
    weft_close(silent);
    while (counted(&sv).failed != 2)
        weft_yield();
    cr_assert_eq(atomic_load(&sv.handled), 0);
    sv.options.handshake_timeout = 0;
    end(&sv);

    server again = {.handler = echo};
    begin(&again, sc);
    ask(&again, cc, "after all that");
    end(&again);
    weft_tls_context_free(cc);
    weft_tls_context_free(sc);
    return NULL;
}

WF_TEST_WORKERS(tls_serve, who_does_not_shake_hands_is_hung_up_on_and_counted) { run_tls(workers, refused); }

/* ---- a stackless handler ---------------------------------------------------------------------------------------- */

typedef struct once {
    weft_future future;
    weft_stream *peer;
    size_t held, written;
    char buf[64];
} once;

/* What came in one piece goes back, and that was it. */
static weft_poll poll_once(weft_future *self, weft_context *cx, void **result)
{
    once *o = WEFT_CONTAINER_OF(self, once, future);
    *result = NULL;
    if (o->held == 0) {
        ssize_t n = weft_poll_read(cx, o->peer, o->buf, sizeof o->buf);
        if (n <= 0)
            return n == WEFT_PENDING ? WEFT_PENDING : WEFT_READY;
        o->held = (size_t)n;
    }
    while (o->written < o->held) {
        ssize_t n = weft_poll_write_some(cx, o->peer, o->buf + o->written, o->held - o->written);
        if (n < 0)
            return n == WEFT_PENDING ? WEFT_PENDING : WEFT_READY;
        o->written += (size_t)n;
    }
    return WEFT_READY;
}

static void drop_once(weft_future *self) { free(WEFT_CONTAINER_OF(self, once, future)); }

static weft_future *stackless(weft_stream *peer, void *arg)
{
    static const weft_future_ops ops = {.poll = poll_once, .drop = drop_once};
    once *o = calloc(1, sizeof *o);
    cr_assert_not_null(o);
    atomic_fetch_add(&((server *)arg)->handled, 1);
    o->future.ops = &ops;
    o->peer = peer;
    return &o->future;
}

static void *served_without_stacks(void *arg)
{
    weft_tls_context *sc = SERVER(0), *cc = CLIENT(0);
    server sv = {.options.future = stackless};
    (void)arg;
    begin(&sv, sc);
    for (int i = 0; i < 5; i++)
        ask(&sv, cc, "no stack");
    cr_assert_eq(atomic_load(&sv.handled), 5);
    end(&sv);
    weft_tls_context_free(cc);
    weft_tls_context_free(sc);
    return NULL;
}

WF_TEST_WORKERS(tls_serve, a_stackless_handler_is_polled_after_the_handshake)
{
    run_tls(workers, served_without_stacks);
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

/* Interrupted while one is in the midst of its handshake: that one is aborted like any handler. */
static void *ended_meanwhile(void *arg)
{
    weft_tls_context *sc = SERVER(.handshake_timeout = WEFT_FOREVER);
    server sv = {.handler = echo};
    weft_stream *silent;
    char c;
    (void)arg;
    begin(&sv, sc);
    cr_assert_eq(weft_tcp_connect(&silent, sv.address, NULL), 0);
    while (counted(&sv).active != 1)
        weft_yield();
    end(&sv);
    cr_assert_leq(weft_read(silent, &c, 1), 0);
    weft_close(silent);
    cr_assert_eq(atomic_load(&sv.handled), 0);
    weft_tls_context_free(sc);
    return NULL;
}

WF_TEST_WORKERS(tls_serve, interrupted_in_the_midst_of_a_handshake_it_ends) { run_tls(workers, ended_meanwhile); }
