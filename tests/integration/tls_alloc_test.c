/* tls_alloc_test.c - out of memory at every place of a handshake and of what comes after: a code, or a connection, and nothing left behind. */
#include <stdatomic.h>
#include <support/tls_support.h>

/* OpenSSL's memory comes from here. The countdown is armed while a test wants one of its requests to fail. */
static atomic_long countdown;

static bool fails_now(void) { return atomic_load(&countdown) > 0 && atomic_fetch_sub(&countdown, 1) == 1; }

static void *counted_alloc(size_t size, const char *at, int line)
{
    (void)at, (void)line;
    return fails_now() ? NULL : malloc(size);
}

static void *counted_realloc(void *block, size_t size, const char *at, int line)
{
    (void)at, (void)line;
    return fails_now() ? NULL : realloc(block, size);
}

static void counted_free(void *block, const char *at, int line)
{
    (void)at, (void)line;
    free(block);
}

/* Before anything else asks OpenSSL for memory. */
__attribute__((constructor)) static void count_requests(void)
{
    CRYPTO_set_mem_functions(counted_alloc, counted_realloc, counted_free);
}

/* Each request, or, where everything is slow, some of them. */
static long step(void) { return WF_TEST_SANITIZED ? 7 : 1; }

/* True if the request @n was made, and so failed. */
static bool with_failure(long n, weft_tls_context *cc, weft_tls_context *sc)
{
    side a = {.ctx = cc, .host = "localhost"}, b = {.ctx = sc};
    char buf[8];
    connect_both(true, &a.stream, &b.stream);
    atomic_store(&countdown, n);
    shake_hands(&a, &b);
    if (a.result == 0 && b.result == 0 && weft_write(a.stream, "hello", 5) == 5)
        weft_read(b.stream, buf, sizeof buf);
    weft_close(a.stream);
    weft_close(b.stream);
    return atomic_exchange(&countdown, 0) <= 0;
}

static void *without_memory(void *arg)
{
    weft_stream *client, *server;
    (void)arg;
    for (unsigned version = 12; version <= 13; version++) {
        weft_tls_context *cc = CLIENT(), *sc = SERVER(.max_version = version);
        establish(true, cc, sc, &client, &server);
        weft_close(client);
        weft_close(server);
        long n = 1;
        while (with_failure(n, cc, sc))
            n += step();
        cr_assert_gt(n, 100);
        establish(true, cc, sc, &client, &server); /* as if nothing had been */
        exchange(client, server, "hello");
        weft_close(client);
        weft_close(server);
        weft_tls_context_free(cc);
        weft_tls_context_free(sc);
    }
    return NULL;
}

Test(tls_alloc, without_memory_anywhere_in_a_handshake_nothing_is_left_behind) { run_tls(1, without_memory); }

/* The same for contexts. */
static void *no_context(void *arg)
{
    weft_tls_context *ctx;
    weft_tls_options o = {
        .certificate = file("server", ".both"), .trust = file("ca", ".pem"), .verify = WEFT_TLS_VERIFY_REQUIRED};
    long n = 1, left;
    (void)arg;
    do {
        atomic_store(&countdown, n);
        int err = weft_tls_server(&ctx, &o);
        left = atomic_exchange(&countdown, 0);
        cr_assert(err == 0 || !ctx);
        weft_tls_context_free(ctx);
        n += 5 * step(); /* reading files makes many */
    } while (left <= 0);
    cr_assert_gt(n, 100);
    return NULL;
}

Test(tls_alloc, without_memory_there_is_no_context_and_nothing_is_left_behind) { run_tls(1, no_context); }
