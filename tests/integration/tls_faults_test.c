/* tls_faults_test.c - TLS over a connection whose calls fail, each in turn: what was encrypted comes out as it went in, once, or both sides are told. */
#include <errno.h>
#include <support/faults_sweep.h>
#include <support/tls_support.h>

enum { BYTES = 40000 };

static unsigned char bytes[BYTES];

typedef struct scene {
    weft_tls_context *sc, *cc;
    weft_listener *listener;
    char text[WEFT_ADDR_TEXT];
    weft_stream *client, *server;
    ssize_t served;
    size_t got; /* bytes, all of which were right */
} scene;

static ssize_t echo(weft_stream *s)
{
    unsigned char buf[3000];
    ssize_t n;
    while ((n = weft_read(s, buf, sizeof buf)) > 0)
        if ((n = weft_write(s, buf, (size_t)n)) < 0)
            return n;
    return n < 0 ? n : weft_close_write(s);
}

static void *serve(void *arg)
{
    scene *s = arg;
    s->served = weft_tls_accept(s->server, s->sc);
    if (s->served == 0)
        s->served = echo(s->server);
    if (s->served < 0)
        weft_stream_abort(s->server);
    return NULL;
}

static void *write_all(void *arg)
{
    scene *s = arg;
    ssize_t n = weft_write(s->client, bytes, BYTES);
    if (n >= 0)
        n = weft_close_write(s->client);
    if (n < 0)
        weft_stream_abort(s->client);
    return (void *)(intptr_t)(n < 0 ? n : 0);
}

static ssize_t read_all(scene *s)
{
    unsigned char buf[3000];
    ssize_t n;
    for (s->got = 0; (n = weft_read(s->client, buf, sizeof buf)) > 0; s->got += (size_t)n) {
        cr_assert_leq(s->got + (size_t)n, BYTES);
        cr_assert_arr_eq(buf, bytes + s->got, (size_t)n);
    }
    return n;
}

static ssize_t converse(scene *s)
{
    void *written;
    ssize_t err = weft_tls_connect(s->client, s->cc, "localhost");
    if (err < 0)
        return err;
    weft_task *writer = start(write_all, s);
    err = read_all(s);
    if (err < 0)
        weft_stream_abort(s->client);
    cr_assert_eq(weft_join(writer, &written), 0);
    return faults_first((intptr_t)written, err);
}

static ssize_t encrypt(void *arg)
{
    scene *s = arg;
    cr_assert_eq(weft_tcp_connect(&s->client, s->text, NULL), 0);
    cr_assert_eq(weft_accept(&s->server, s->listener), 0);
    weft_task *server = start(serve, s);
    ssize_t err = converse(s);
    if (err < 0)
        weft_stream_abort(s->client);
    join(server);
    weft_close(s->client);
    weft_close(s->server);
    cr_assert(err < 0 || s->served < 0 || s->got == BYTES, "%zu bytes came back", s->got);
    return faults_first(err, s->served);
}

static const fault in_encrypting[] = {
    UNNOTICED(RECV, TCP, 1, EINTR),  UNNOTICED(RECV, TCP, 5, EINTR), UNNOTICED(RECV, TCP, 1, EAGAIN),
    UNNOTICED(RECV, TCP, 5, EAGAIN), SHORT(RECV, TCP, 3, 1),         SHORT(RECV, TCP, 2, 999),
    UNNOTICED(SEND, TCP, 1, EINTR),  UNNOTICED(SEND, TCP, 5, EINTR), UNNOTICED(SEND, TCP, 1, EAGAIN),
    UNNOTICED(SEND, TCP, 5, EAGAIN), SHORT(SEND, TCP, 3, 1),         SHORT(SEND, TCP, 2, 999),
    TOLD(RECV, TCP, ECONNRESET),     TOLD(RECV, TCP, ETIMEDOUT),     TOLD(SEND, TCP, EPIPE),
    TOLD(SEND, TCP, ENOBUFS),
};

static unsigned port_of(const scene *s)
{
    weft_addr addr;
    cr_assert_eq(weft_listener_addr(s->listener, &addr), 0);
    return weft_addr_port(&addr);
}

static void *encrypt_root(void *arg)
{
    scene s = {.sc = SERVER(), .cc = CLIENT()};
    (void)arg;
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (unsigned char)(i * 7 + (i >> 8));
    s.listener = listen_any(s.text);
    faults_sweep_here(&FAULTS_SWEEP(in_encrypting, encrypt, .arg = &s, .port = port_of(&s)));
    weft_listener_close(s.listener);
    weft_tls_context_free(s.sc);
    weft_tls_context_free(s.cc);
    return NULL;
}

WF_TEST_WORKERS(tls_faults, what_is_encrypted_is_whole_or_both_sides_are_told)
{
    faults_need();
    run_tls(workers, encrypt_root);
}
