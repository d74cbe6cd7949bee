/* faults_serve_test.c - servers when the kernel fails, at every call in turn: whoever calls is served. */
#include <errno.h>
#include <support/faults_sweep.h>

enum { CALLERS = 4 };

typedef struct hall {
    const weft_tcp_options *listen;
    const weft_serve_options *options;
    weft_listener *listener;
    char text[WEFT_ADDR_TEXT];
    int served_until; /* what the server came to; 0: it was told to go */
} hall;

static void *echo(weft_stream *s, void *arg)
{
    char buf[16];
    ssize_t n;
    while ((n = weft_read(s, buf, sizeof buf)) > 0)
        if (weft_write(s, buf, (size_t)n) < 0)
            break;
    return arg;
}

static void *serve(void *arg)
{
    hall *h = arg;
    int err = weft_serve(h->listener, echo, NULL, h->options);
    h->served_until = err == WEFT_ECANCELED ? 0 : err;
    weft_listener_close(h->listener); /* on who waits to be accepted */
    h->listener = NULL;
    return NULL;
}

static ssize_t exchange(weft_stream *s)
{
    char back[5] = "";
    ssize_t n = weft_write(s, "hello", 5);
    if (n == 5)
        n = weft_read_exact(s, back, 5);
    if (n < 0)
        return n;
    cr_assert_eq(n, 5, "the server has hung up");
    cr_assert_arr_eq(back, "hello", 5);
    return 0;
}

static ssize_t call(const hall *h)
{
    weft_stream *s;
    ssize_t err = weft_tcp_connect(&s, h->text, NULL);
    if (err < 0)
        return err;
    err = exchange(s);
    weft_close(s);
    return err;
}

static ssize_t call_all(hall *h)
{
    ssize_t err = 0;
    weft_task *server = start(serve, h);
    for (int i = 0; i < CALLERS && err == 0; i++)
        err = call(h);
    weft_abort(server);
    weft_join(server, NULL);
    weft_listener_close(h->listener); /* it never began */
    return faults_first(h->served_until, err);
}

static ssize_t open_and_call(void *arg)
{
    hall *h = arg;
    weft_addr addr;
    ssize_t err = weft_tcp_listen(&h->listener, "127.0.0.1:0", h->listen);
    if (err < 0)
        return err;
    err = weft_listener_addr(h->listener, &addr);
    if (err < 0) {
        weft_listener_close(h->listener);
        return err;
    }
    weft_addr_format(&addr, h->text, sizeof h->text);
    return call_all(h);
}

/* ---- one that accepts for all ------------------------------------------------------------------------------------------- */

static const faults_plan no_spare = {.call = FAULTS_OPEN, .class = FAULTS_FILE, .nth = 1, .times = ALWAYS, .error = EMFILE};

static const fault in_serving[] = {
    UNNOTICED(ACCEPT4, TCP, 3, EINTR),
    UNNOTICED(ACCEPT4, TCP, 3, EAGAIN),
    UNNOTICED(ACCEPT4, TCP, 1, EMFILE),
    UNNOTICED(ACCEPT4, TCP, 3, EMFILE),
    UNNOTICED(ACCEPT4, TCP, 2, ENFILE),
    UNNOTICED(ACCEPT4, TCP, 2, ENOMEM),
    UNNOTICED(ACCEPT4, TCP, 2, ENOBUFS),
    UNNOTICED(ACCEPT4, TCP, 3, ECONNABORTED),
    UNNOTICED(ACCEPT4, TCP, 3, EPROTO),
    UNNOTICED(ACCEPT4, TCP, 3, ENETDOWN),
    UNNOTICED(ACCEPT4, TCP, 3, EPERM),
    UNNOTICED(OPEN, FILE, ALWAYS, EMFILE),
    UNNOTICED(OPEN, FILE, 1, EINTR),
    UNNOTICED(CLOSE, TCP, 1, EINTR),
    {{.call = FAULTS_ACCEPT4, .class = FAULTS_TCP, .times = 2, .error = EMFILE, .also = &no_spare}, FAULTS_UNNOTICED, 0},
};

WF_TEST_WORKERS(faults_serve, whoever_calls_is_served_whatever_accepting_meets)
{
    hall h = {.listen = NULL};
    faults_sweep_with(workers, &FAULTS_SWEEP(in_serving, open_and_call, .arg = &h));
}

/* ---- with slots: it looks before it accepts ------------------------------------------------------------------------------ */

static const fault in_looking[] = {
    UNNOTICED(POLL, ANY, 3, EINTR),     UNNOTICED(POLL, ANY, 1, ENOMEM),          UNNOTICED(ACCEPT4, TCP, 3, EAGAIN),
    UNNOTICED(ACCEPT4, TCP, 2, EMFILE), UNNOTICED(ACCEPT4, TCP, 2, ECONNABORTED),
};

static ssize_t call_with_slots(void *arg)
{
    hall *h = arg;
    weft_semaphore slots;
    weft_semaphore_init(&slots, 1);
    weft_serve_options o = {.slots = &slots};
    h->options = &o;
    ssize_t err = open_and_call(h);
    cr_assert_eq(weft_semaphore_available(&slots), 1); /* none is lost */
    return err;
}

WF_TEST_WORKERS(faults_serve, whoever_calls_is_served_and_no_slot_is_lost)
{
    hall h = {.listen = NULL};
    faults_sweep_with(workers, &FAULTS_SWEEP(in_looking, call_with_slots, .arg = &h));
}

/* ---- shards ------------------------------------------------------------------------------------------------------------------ */

static const fault in_sharding[] = {
    TOLD(SOCKET, TCP, EMFILE),           TOLD(BIND, TCP, EADDRINUSE),
    TOLD(LISTEN, TCP, EADDRINUSE),       SOMETIMES(GETSOCKNAME, TCP, ENOBUFS), /* reading asks, too, and reads on */
    SOMETIMES(GETSOCKOPT, TCP, ENOBUFS), SOMETIMES(SETSOCKOPT, TCP, ENOBUFS),
    UNNOTICED(ACCEPT4, TCP, 2, EMFILE),  UNNOTICED(ACCEPT4, TCP, 2, ECONNABORTED),
};

Test(faults_serve, a_server_of_shards_begins_as_a_whole_or_not_at_all)
{
    static const weft_tcp_options together = {.reuse_port = 1};
    static const weft_serve_options shards = {.shards = 1};
    hall h = {.listen = &together, .options = &shards};
    faults_sweep_with(3, &FAULTS_SWEEP(in_sharding, open_and_call, .arg = &h));
}
