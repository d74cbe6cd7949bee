/* tls_reader_test.c - a stream that becomes encrypted when a reader has read some of it already: STARTTLS, or a look at the first bytes. */
#include <support/tls_support.h>
#include <weft/buffered.h>

static void *look_first(void *arg)
{
    (void)arg;
    for (int memory = 0; memory < 2; memory++) {
        weft_tls_context *sc = SERVER(), *cc = CLIENT();
        side a = {.ctx = cc, .host = "localhost"}, b = {.ctx = sc};
        weft_reader *r;
        char *bytes;
        size_t size;
        connect_both(memory, &a.stream, &b.stream);
        weft_task *connecter = start(connecting, &a);
        cr_assert_eq(weft_reader_create(&r, b.stream, 0), 0);
        cr_assert_eq(weft_reader_peek(r, 1, &bytes, &size), 1);
        cr_assert_eq(bytes[0], 0x16); /* a TLS handshake: all of the hello, most likely */
        accepting(&b);
        join(connecter);
        cr_assert_eq(a.result, 0, "%s", a.detail);
        cr_assert_eq(b.result, 0, "%s", b.detail);
        exchange(a.stream, b.stream, "hello");
        exchange(b.stream, a.stream, "hello");
        weft_close(a.stream);
        weft_close(b.stream);
        weft_tls_context_free(sc);
        weft_tls_context_free(cc);
    }
    return NULL;
}

WF_TEST_WORKERS(tls_reader, what_a_reader_holds_is_the_beginning_of_the_handshake) { run_tls(workers, look_first); }
