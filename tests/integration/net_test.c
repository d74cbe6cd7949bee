/* net_test.c - TCP as a user sees it: connect, accept, read, write, half-close, close and abort, from strands, stackless tasks and
 * ordinary threads. Everything is on 127.0.0.1, and every test ends with as many descriptors as it began with. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <support/net_support.h>
#include <support/process.h>
#include <support/test.h>
#include <support/until.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

/* ---- helpers -------------------------------------------------------------------------------------------------- */

static unsigned char pattern(size_t at, unsigned key) { return (unsigned char)(at * 7 + (at >> 8) * 13 + key * 31); }

typedef struct bulk {
    weft_stream *stream;
    size_t size;
    unsigned key;
    atomic_size_t done;
} bulk;

static void *write_bulk(void *arg)
{
    bulk *b = arg;
    unsigned char *bytes = malloc(b->size);
    for (size_t i = 0; i < b->size; i++)
        bytes[i] = pattern(i, b->key);
    cr_assert_eq(weft_write(b->stream, bytes, b->size), (ssize_t)b->size);
    atomic_store(&b->done, b->size);
    free(bytes);
    return NULL;
}

static void *read_bulk(void *arg)
{
    bulk *b = arg;
    unsigned char piece[5000];
    while (b->done < b->size) {
        ssize_t n = weft_read(b->stream, piece, sizeof piece);
        cr_assert_gt(n, 0);
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(piece[i], pattern(b->done++, b->key));
    }
    return NULL;
}

/* ---- talking -------------------------------------------------------------------------------------------------- */

static void *echo_one(void *arg)
{
    weft_stream *s;
    char buf[64];
    ssize_t n;
    cr_assert_eq(weft_accept(&s, arg), 0);
    while ((n = weft_read(s, buf, sizeof buf)) > 0)
        cr_assert_eq(weft_write(s, buf, (size_t)n), n);
    cr_assert_eq(n, 0);
    cr_assert_eq(weft_write(s, "bye", 3), 3); /* after the peer's half-close */
    weft_close(s);
    return NULL;
}

static void *talk(void *arg)
{
    char text[WEFT_ADDR_TEXT], buf[16];
    weft_listener *l = listen_any(text);
    weft_task *server = start(echo_one, l);
    weft_stream *s;
    (void)arg;
    await_idle(server);
    cr_assert_eq(weft_tcp_connect(&s, text, NULL), 0);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(weft_write(s, "hello", 5), 5);
        cr_assert_eq(weft_read_exact(s, buf, 5), 5);
        cr_assert_arr_eq(buf, "hello", 5);
    }
    cr_assert_eq(weft_close_write(s), 0);
    cr_assert_eq(weft_write(s, "x", 1), WEFT_EPIPE); /* and no SIGPIPE */
    cr_assert_eq(weft_read_exact(s, buf, 3), 3);
    cr_assert_arr_eq(buf, "bye", 3);
    cr_assert_eq(weft_read(s, buf, sizeof buf), 0);
    cr_assert_eq(weft_read(s, buf, sizeof buf), 0); /* the end stays the end */
    weft_close(s);
    join(server);
    weft_listener_close(l);
    return NULL;
}

WF_TEST_WORKERS(net, bytes_go_both_ways_then_half_close_then_an_answer_then_the_end) { run(workers, talk, NULL); }

static void *drip(void *arg)
{
    for (size_t i = 0; i < 100; i++) {
        unsigned char c = pattern(i, 1);
        cr_assert_eq(weft_write(arg, &c, 1), 1);
        cr_assert_eq(weft_yield(), 0);
    }
    weft_close(arg);
    return NULL;
}

static void *exactly(void *arg)
{
    weft_stream *a, *b;
    unsigned char buf[64];
    (void)arg;
    pair(&a, &b);
    weft_task *dripping = start(drip, b);
    cr_assert_eq(weft_read_exact(a, buf, 0), 0);
    cr_assert_eq(weft_read_exact(a, buf, 64), 64); /* 100 bytes come one by one: 64 + 36 */
    for (size_t i = 0; i < 64; i++)
        cr_assert_eq(buf[i], pattern(i, 1));
    cr_assert_eq(weft_read_exact(a, buf, 64), WEFT_EOF);
    for (size_t i = 0; i < 36; i++)
        cr_assert_eq(buf[i], pattern(64 + i, 1));
    cr_assert_eq(weft_read_exact(a, buf, 64), 0);
    join(dripping);
    weft_close(a);
    return NULL;
}

WF_TEST_WORKERS(net, read_exact_gathers_and_tells_a_clean_end_from_one_inside) { run(workers, exactly, NULL); }

static void *slow_reader(void *arg)
{
    weft_stream *a, *b;
    (void)arg;
    pair(&a, &b);
    shrink(a);
    shrink(b);
    bulk out = {.stream = a, .size = 4 << 20, .key = 3}, in = {.stream = b, .size = 4 << 20, .key = 3};
    weft_task *writer = start(write_bulk, &out);
    await_idle(writer);
    cr_assert_eq(atomic_load(&out.done), 0);
    read_bulk(&in);
    join(writer);
    cr_assert_eq(atomic_load(&out.done), out.size);
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(net, a_large_write_waits_for_a_slow_reader) { run(workers, slow_reader, NULL); }

static void *duplex(void *arg)
{
    weft_stream *ends[2];
    size_t size = wf_test_scale(8 << 20);
    (void)arg;
    pair(&ends[0], &ends[1]);
    bulk jobs[4] = {
        {.stream = ends[0], .size = size, .key = 1},
        {.stream = ends[1], .size = size, .key = 2},
        {.stream = ends[0], .size = size, .key = 2},
        {.stream = ends[1], .size = size, .key = 1},
    };
    weft_task *tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = start(i < 2 ? write_bulk : read_bulk, &jobs[i]);
    for (int i = 0; i < 4; i++)
        join(tasks[i]);
    weft_close(ends[0]);
    weft_close(ends[1]);
    return NULL;
}

WF_TEST_WORKERS(net, one_task_reads_while_another_writes_the_same_stream) { run(workers, duplex, NULL); }

static void *gone(void *arg)
{
    weft_stream *a, *b;
    char buf[8];
    (void)arg;
    pair(&a, &b);
    reset_on_close(b);
    weft_close(b);
    cr_assert_eq(weft_read(a, buf, sizeof buf), WEFT_ECONNRESET);
    ssize_t n = weft_write(a, "x", 1);
    cr_assert(n == WEFT_EPIPE || n == WEFT_ECONNRESET, "it is %zd", n);
    weft_close(a);
    return NULL;
}

WF_TEST_WORKERS(net, a_reset_by_the_peer_is_told_and_raises_no_signal) { run(workers, gone, NULL); }

/* ---- one at a time -------------------------------------------------------------------------------------------- */

static void *seconds_are_busy(void *arg)
{
    weft_stream *a, *b, *none = (weft_stream *)(void *)&a;
    char text[WEFT_ADDR_TEXT], buf[8];
    weft_listener *l = listen_any(text);
    (void)arg;
    cr_assert_eq(weft_tcp_connect(&a, text, NULL), 0);
    cr_assert_eq(weft_accept(&b, l), 0);
    shrink(a);
    shrink(b);

    waiter r = {.stream = a}, w = {.stream = a}, acc = {.listener = l};
    weft_task *reader = start(wait_read, &r), *writer = start(wait_write, &w), *accepter = start(wait_accept, &acc);
    await_idle(reader);
    await_idle(writer);
    await_idle(accepter);
    cr_assert_eq(weft_read(a, buf, sizeof buf), WEFT_EBUSY);
    cr_assert_eq(weft_read_exact(a, buf, sizeof buf), WEFT_EBUSY);
    cr_assert_eq(weft_write(a, "x", 1), WEFT_EBUSY);
    cr_assert_eq(weft_write_some(a, "x", 1), WEFT_EBUSY);
    cr_assert_eq(weft_accept(&none, l), WEFT_EBUSY);
    cr_assert_null(none);

    cr_assert_eq(weft_write(b, "abc", 3), 3); /* the first ones were not disturbed */
    join(reader);
    cr_assert_eq(r.result, 3);
    cr_assert_arr_eq(r.got, "abc", 3);
    cr_assert_eq(weft_tcp_connect(&none, text, NULL), 0);
    join(accepter);
    cr_assert_eq(acc.result, 0);
    weft_stream_abort(b);
    join(writer);
    cr_assert_lt(w.result, 0);
    weft_close(acc.stream);
    weft_close(none);
    weft_close(a);
    weft_close(b);
    weft_listener_close(l);
    return NULL;
}

WF_TEST_WORKERS(net, a_second_reader_writer_or_accepter_is_told_busy) { run(workers, seconds_are_busy, NULL); }

/* ---- interruptions -------------------------------------------------------------------------------------------- */

static void *interrupted_takes_nothing(void *arg)
{
    weft_stream *a, *b, *c;
    char text[WEFT_ADDR_TEXT], buf[8];
    weft_listener *l = listen_any(text);
    (void)arg;
    cr_assert_eq(weft_tcp_connect(&a, text, NULL), 0);
    cr_assert_eq(weft_accept(&b, l), 0);
    waiter r = {.stream = a}, acc = {.listener = l};
    weft_task *reader = start(wait_read, &r), *accepter = start(wait_accept, &acc);
    await_idle(reader);
    await_idle(accepter);
    weft_abort(reader);
    weft_abort(accepter);
    cr_assert_eq(weft_join(reader, NULL), WEFT_EABORTED);
    cr_assert_eq(weft_join(accepter, NULL), WEFT_EABORTED);
    cr_assert_eq(r.result, WEFT_ECANCELED);
    cr_assert_eq(acc.result, WEFT_ECANCELED);
    cr_assert_null(acc.stream);

    cr_assert_eq(weft_write(b, "abc", 3), 3); /* the directions are free again */
    cr_assert_eq(weft_read_exact(a, buf, 3), 3);
    cr_assert_arr_eq(buf, "abc", 3);
    weft_close(a);
    weft_close(b);
    cr_assert_eq(weft_tcp_connect(&a, text, NULL), 0);
    cr_assert_eq(weft_accept(&c, l), 0);
    weft_close(a);
    weft_close(c);
    weft_listener_close(l);
    return NULL;
}

WF_TEST_WORKERS(net, an_aborted_read_or_accept_takes_nothing) { run(workers, interrupted_takes_nothing, NULL); }

/* ---- closing while somebody waits ------------------------------------------------------------------------------- */

enum { READING, WRITING, ACCEPTING, KINDS };
enum { CLOSE, ABORT, WAYS };

typedef struct ending {
    weft_stream *stream;
    weft_listener *listener;
    int way;
} ending;

static void *end_it(void *arg)
{
    ending *e = arg;
    if (e->listener)
        weft_listener_close(e->listener);
    else if (e->way == CLOSE)
        weft_close(e->stream);
    else
        weft_stream_abort(e->stream);
    return NULL;
}

static void end_from(bool thread, ending *e)
{
    pthread_t id;
    if (!thread) {
        join(start(end_it, e));
        return;
    }
    cr_assert_eq(pthread_create(&id, NULL, end_it, e), 0);
    pthread_join(id, NULL); /* closing never waits for anybody */
}

static void end_while_waiting(int kind, int way, bool thread)
{
    static const weft_fn waits[KINDS] = {wait_read, wait_write, wait_accept};
    weft_stream *a = NULL, *b = NULL;
    char text[WEFT_ADDR_TEXT], buf[4096];
    waiter w = {.result = 1};
    ssize_t n;
    if (kind == ACCEPTING) {
        w.listener = listen_any(text);
    } else {
        pair(&a, &b);
        shrink(a);
        shrink(b);
        w.stream = a;
    }
    weft_task *task = start(waits[kind], &w);
    await_idle(task);
    ending e = {.stream = a, .listener = w.listener, .way = way};
    end_from(thread, &e);
    if (a) { /* the peer sees the end at once */
        while ((n = weft_read(b, buf, sizeof buf)) > 0)
            ;
        cr_assert(n == 0 || n == WEFT_ECONNRESET, "it is %zd", n);
    }
    join(task);
    cr_assert_eq(w.result, WEFT_ECLOSED, "kind %d, way %d, thread %d", kind, way, thread);
    if (way == ABORT && a) { /* frees nothing, may be repeated */
        weft_stream_abort(a);
        cr_assert_eq(weft_read(a, buf, sizeof buf), WEFT_ECLOSED);
        cr_assert_eq(weft_write(a, "x", 1), WEFT_ECLOSED);
        cr_assert_eq(weft_close_write(a), WEFT_ECLOSED);
        cr_assert_eq(weft_stream_fd(a), -1);
        weft_close(a);
    }
    weft_close(b);
}

static void *end_all(void *arg)
{
    (void)arg;
    for (size_t round = 0; round < 1 + wf_test_scale(10); round++)
        for (int kind = 0; kind < KINDS; kind++)
            for (int way = 0; way < (kind == ACCEPTING ? 1 : WAYS); way++)
                for (int thread = 0; thread < 2; thread++)
                    end_while_waiting(kind, way, thread != 0);
    return NULL;
}

WF_TEST_WORKERS(net, close_and_abort_by_tasks_and_threads_end_waiting_reads_writes_and_accepts)
{
    run(workers, end_all, NULL);
}

static void *references(void *arg)
{
    weft_stream *a, *b;
    weft_addr addr;
    char buf[8];
    (void)arg;
    pair(&a, &b);
    cr_assert_eq(weft_stream_ref(a), a);
    waiter w = {.stream = a};
    weft_task *reader = start(wait_read, &w);
    await_idle(reader);
    weft_close(a); /* shut with the first close … */
    join(reader);
    cr_assert_eq(w.result, WEFT_ECLOSED);
    cr_assert_eq(weft_read(b, buf, sizeof buf), 0);
    cr_assert_eq(weft_read(a, buf, sizeof buf), WEFT_ECLOSED); /* … and valid until the last */
    cr_assert_eq(weft_write(a, "x", 1), WEFT_ECLOSED);
    cr_assert_eq(weft_stream_fd(a), -1);
    cr_assert_eq(weft_stream_peer(a, &addr), WEFT_ECLOSED);
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(net, a_reference_keeps_a_closed_stream_valid) { run(workers, references, NULL); }

/* ---- names and descriptors ------------------------------------------------------------------------------------ */

static void *names(void *arg)
{
    weft_stream *a, *b;
    weft_addr listening, x, y;
    char text[WEFT_ADDR_TEXT];
    weft_listener *l = listen_any(text);
    (void)arg;
    cr_assert_eq(weft_listener_addr(l, &listening), 0);
    cr_assert_eq(weft_tcp_connect(&a, text, NULL), 0);
    cr_assert_eq(weft_accept(&b, l), 0);
    cr_assert_eq(weft_stream_peer(a, &x), 0);
    cr_assert(weft_addr_equal(&x, &listening));
    cr_assert_eq(weft_stream_local(b, &x), 0);
    cr_assert(weft_addr_equal(&x, &listening));
    cr_assert_eq(weft_stream_local(a, &x), 0);
    cr_assert_eq(weft_stream_peer(b, &y), 0);
    cr_assert(weft_addr_equal(&x, &y));
    cr_assert(!weft_addr_equal(&x, &listening));
    cr_assert_geq(weft_stream_fd(a), 0);
    cr_assert_neq(weft_stream_fd(a), weft_stream_fd(b));
    weft_close(a);
    weft_close(b);
    weft_listener_close(l);
    return NULL;
}

Test(net, both_ends_agree_on_their_addresses) { run(1, names, NULL); }

static weft_stream *accept_by(int way, weft_listener *l)
{
    weft_stream *s = NULL;
    weft_case accepted = WEFT_ACCEPT(l, &s);
    if (way == 0) {
        cr_assert_eq(weft_accept(&s, l), 0);
    } else {
        cr_assert_eq(weft_select(&accepted, 1), 0);
        cr_assert_eq(accepted.status, 0);
    }
    return s;
}

/* What broke: it was taken for no connection when the listener was closed just then, and stayed open for ever. */
static void *without_standard_input(void *arg)
{
    weft_stream *a[2], *b[2];
    char text[WEFT_ADDR_TEXT];
    weft_listener *l = listen_any(text);
    int input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    (void)arg;
    for (int i = 0; i < 2; i++)
        cr_assert_eq(weft_tcp_connect(&a[i], text, NULL), 0);
    close(STDIN_FILENO);
    for (int i = 0; i < 2; i++)
        b[i] = accept_by(i, l);
    cr_assert_eq(fcntl(STDIN_FILENO, F_GETFD), -1);
    if (input >= 0)
        cr_assert_eq(dup2(input, STDIN_FILENO), STDIN_FILENO);
    for (int i = 0; i < 2; i++) {
        char c = 0;
        cr_assert_gt(weft_stream_fd(b[i]), 0);
        cr_assert(fcntl(weft_stream_fd(b[i]), F_GETFL) & O_NONBLOCK);
        cr_assert(fcntl(weft_stream_fd(b[i]), F_GETFD) & FD_CLOEXEC);
        cr_assert_eq(weft_write(a[i], "x", 1), 1);
        cr_assert_eq(weft_read(b[i], &c, 1), 1);
        weft_close(a[i]);
        weft_close(b[i]);
    }
    close(input);
    weft_listener_close(l);
    return NULL;
}

Test(net, a_connection_never_has_descriptor_0) { run(1, without_standard_input, NULL); }

static void *adopt(void *arg)
{
    weft_stream *a, *b;
    int fds[2];
    char buf[8];
    (void)arg;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(weft_stream_from_fd(&a, fds[0]), 0);
    cr_assert_eq(weft_stream_from_fd(&b, fds[1]), 0);
    cr_assert_eq(weft_stream_fd(a), fds[0]);
    cr_assert(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    waiter w = {.stream = a};
    weft_task *reader = start(wait_read, &w);
    await_idle(reader); /* it would block the worker if it were not */
    cr_assert_eq(weft_write(b, "abc", 3), 3);
    join(reader);
    cr_assert_eq(w.result, 3);
    weft_close(b);
    cr_assert_eq(weft_read(a, buf, sizeof buf), 0);
    weft_close(a);

    cr_assert_eq(weft_stream_from_fd(&a, -1), WEFT_EBADF);
    cr_assert_null(a);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    cr_assert_eq(weft_stream_from_fd(&a, file), WEFT_EINVAL); /* nothing to wait for, and left alone */
    cr_assert_eq(fcntl(file, F_GETFL) & O_NONBLOCK, 0);
    cr_assert_eq(close(file), 0);
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(weft_stream_from_fd(&a, udp), WEFT_EINVAL);
    cr_assert_null(a);
    cr_assert_eq(close(udp), 0);
    return NULL;
}

WF_TEST_WORKERS(net, from_fd_adopts_stream_sockets_and_leaves_the_rest) { run(workers, adopt, NULL); }

/* ---- connecting ----------------------------------------------------------------------------------------------- */

/* A bound socket that nobody listens on (backlog < 0), or whose queue is full so that a handshake never ends. */
typedef struct dead_end {
    int fd, fill[4];
    char text[WEFT_ADDR_TEXT];
} dead_end;

static void dead_end_open(dead_end *d, bool listens)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof sa;
    d->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(d->fd, (struct sockaddr *)&sa, sizeof sa), 0);
    cr_assert_eq(getsockname(d->fd, (struct sockaddr *)&sa, &length), 0);
    snprintf(d->text, sizeof d->text, "127.0.0.1:%u", (unsigned)ntohs(sa.sin_port));
    if (listens)
        cr_assert_eq(listen(d->fd, 0), 0);
    for (int i = 0; i < 4; i++) {
        d->fill[i] = -1;
        if (!listens)
            continue;
        d->fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(d->fill[i], (struct sockaddr *)&sa, sizeof sa);
    }
}

static void dead_end_close(dead_end *d)
{
    for (int i = 0; i < 4; i++)
        if (d->fill[i] >= 0)
            close(d->fill[i]);
    close(d->fd);
}

static void *refused(void *arg)
{
    weft_stream *s = arg;
    dead_end d;
    dead_end_open(&d, false);
    int before = open_fds();
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(weft_tcp_connect(&s, d.text, NULL), WEFT_ECONNREFUSED);
        cr_assert_null(s);
        cr_assert_not_null(strstr(weft_error_detail(), d.text), "it says \"%s\"", weft_error_detail());
    }
    cr_assert_eq(open_fds(), before);
    dead_end_close(&d);
    return NULL;
}

WF_TEST_WORKERS(net, a_refused_connect_says_so_and_leaks_nothing) { run(workers, refused, NULL); }

static void *too_slow(void *arg)
{
    weft_tcp_options o = WEFT_TCP_OPTIONS_INIT;
    weft_stream *s = arg;
    dead_end d;
    dead_end_open(&d, true);
    int before = open_fds();
    o.timeout = 50 * WEFT_MS;
    int64_t begin = weft_now();
    cr_assert_eq(weft_tcp_connect(&s, d.text, &o), WEFT_ETIMEDOUT);
    int64_t took = weft_now() - begin;
    cr_assert_null(s);
    cr_assert_geq(took, o.timeout);
    cr_assert_lt(took, 20 * WEFT_SEC); /* the system gives up after minutes */
    EVENTUALLY(open_fds() == before);  /* as below */
    dead_end_close(&d);
    return NULL;
}

WF_TEST_WORKERS(net, connect_gives_up_at_its_timeout) { run(workers, too_slow, NULL); }

typedef struct connecting {
    const char *text;
    weft_stream *stream;
    int result;
} connecting;

static void *connect_it(void *arg)
{
    connecting *c = arg;
    c->result = weft_tcp_connect(&c->stream, c->text, NULL);
    return NULL;
}

static void *abort_connecting(void *arg)
{
    dead_end d;
    (void)arg;
    dead_end_open(&d, true);
    connecting c = {.text = d.text};
    int before = open_fds();
    weft_task *task = start(connect_it, &c);
    await_idle(task);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(c.result, WEFT_ECANCELED);
    cr_assert_null(c.stream);
    EVENTUALLY(open_fds() == before); /* a descriptor that a uv_poll_t watches is closed by the worker whose loop that is in */
    dead_end_close(&d);
    return NULL;
}

WF_TEST_WORKERS(net, abort_while_connecting_ends_it_and_leaves_nothing) { run(workers, abort_connecting, NULL); }

static void *port_taken(void *arg)
{
    char text[WEFT_ADDR_TEXT];
    weft_listener *l = listen_any(text), *second = arg;
    int before = open_fds();
    for (int i = 0; i < 200; i++) {
        cr_assert_eq(weft_tcp_listen(&second, text, NULL), WEFT_EADDRINUSE);
        cr_assert_null(second);
        cr_assert_not_null(strstr(weft_error_detail(), text), "it says \"%s\"", weft_error_detail());
    }
    cr_assert_eq(open_fds(), before);
    weft_listener_close(l);
    cr_assert_eq(weft_tcp_listen(&second, text, NULL), 0);
    weft_listener_close(second);
    return NULL;
}

Test(net, listening_on_a_taken_port_fails_and_leaks_nothing) { run(1, port_taken, NULL); }

static void *bad_addresses(void *arg)
{
    static const char *const bad[] = {
        "",        "127.0.0.1",        "127.0.0.1:",    "127.0.0.1:65536", "127.0.0.1:x", "127.0.0:80",
        "[::1:80", "::1:80",           "127.0.0.1:80 ", "127.0.0.1:-1",    "256.0.0.1:1", "[::1]80",
        "[::1]",   "unix:/tmp/no-tcp", "1.2.3.4.5:80"};
    weft_listener *l = arg;
    weft_stream *s = arg;
    int before = open_fds();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        l = (weft_listener *)(void *)&l;
        s = (weft_stream *)(void *)&s;
        cr_assert_eq(weft_tcp_listen(&l, bad[i], NULL), WEFT_EINVAL, "\"%s\"", bad[i]);
        cr_assert_null(l);
        cr_assert_not_null(strstr(weft_error_detail(), bad[i]), "for \"%s\": \"%s\"", bad[i], weft_error_detail());
        cr_assert_not_null(strstr(weft_error_detail(), "listen"));
        cr_assert_eq(weft_tcp_connect(&s, bad[i], NULL), WEFT_EINVAL, "\"%s\"", bad[i]);
        cr_assert_null(s);
        cr_assert_not_null(strstr(weft_error_detail(), bad[i]), "for \"%s\": \"%s\"", bad[i], weft_error_detail());
        cr_assert_not_null(strstr(weft_error_detail(), "connect"));
    }
    cr_assert_eq(weft_tcp_listen(&l, NULL, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_tcp_connect(&s, NULL, NULL), WEFT_EINVAL);
    cr_assert_eq(open_fds(), before);
    return NULL;
}

Test(net, bad_addresses_are_refused_by_name) { run(1, bad_addresses, NULL); }

static void *nonsense(void *arg)
{
    weft_stream *a, *b;
    weft_addr addr;
    char c;
    (void)arg;
    pair(&a, &b);
    cr_assert_eq(weft_read(NULL, &c, 1), WEFT_EINVAL);
    cr_assert_eq(weft_read(a, NULL, 1), WEFT_EINVAL);
    cr_assert_eq(weft_write(NULL, &c, 1), WEFT_EINVAL);
    cr_assert_eq(weft_write(a, NULL, 1), WEFT_EINVAL);
    cr_assert_eq(weft_write(a, NULL, 0), 0);
    cr_assert_eq(weft_accept(&b, NULL), WEFT_EINVAL);
    cr_assert_null(b);
    cr_assert_eq(weft_close_write(NULL), WEFT_EINVAL);
    cr_assert_eq(weft_stream_peer(a, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_stream_peer(NULL, &addr), WEFT_EINVAL);
    cr_assert_eq(weft_listener_addr(NULL, &addr), WEFT_EINVAL);
    cr_assert_eq(weft_stream_fd(NULL), -1);
    cr_assert_null(weft_stream_ref(NULL));
    weft_stream_abort(NULL);
    weft_close(NULL);
    weft_listener_close(NULL);
    weft_close(a);
    return NULL; /* b's other end is left open: the runtime closes it */
}

Test(net, arguments_without_sense_are_refused) { run(1, nonsense, NULL); }

Test(net, without_a_runtime_nothing_is_opened)
{
    weft_listener *l = (weft_listener *)(void *)&l;
    weft_stream *s = (weft_stream *)(void *)&s;
    int before = open_fds();
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", NULL), WEFT_ENORUNTIME);
    cr_assert_null(l);
    cr_assert_eq(weft_tcp_connect(&s, "127.0.0.1:9", NULL), WEFT_ENORUNTIME);
    cr_assert_null(s);
    cr_assert_eq(weft_stream_from_fd(&s, 0), WEFT_ENORUNTIME);
    cr_assert_eq(open_fds(), before);
}

/* ---- stackless tasks ------------------------------------------------------------------------------------------ */

/* Accepts one connection and echoes it. */
typedef struct echo_future {
    weft_future future;
    weft_listener *listener;
    weft_stream *stream;
    size_t have, sent;
    char buf[512];
    atomic_int *dropped;
} echo_future;

static weft_poll echo_poll(weft_future *self, weft_context *cx, void **result)
{
    echo_future *e = WEFT_CONTAINER_OF(self, echo_future, future);
    ssize_t n;
    *result = NULL;
    if (!e->stream) {
        int err = weft_poll_accept(cx, &e->stream, e->listener);
        if (err == WEFT_EBUSY)
            weft_waker_wake_by_ref(weft_context_waker(cx)); /* another one is at it this moment: our turn comes */
        if (err < 0)
            return err == WEFT_EBUSY ? WEFT_PENDING : err;
    }
    for (;;) {
        if (e->sent == e->have) {
            n = weft_poll_read(cx, e->stream, e->buf, sizeof e->buf);
            if (n <= 0)
                return (weft_poll)n;
            e->have = (size_t)n;
            e->sent = 0;
        }
        n = weft_poll_write_some(cx, e->stream, e->buf + e->sent, e->have - e->sent);
        if (n < 0)
            return (weft_poll)n;
        e->sent += (size_t)n;
    }
}

static void echo_drop(weft_future *self)
{
    echo_future *e = WEFT_CONTAINER_OF(self, echo_future, future);
    weft_close(e->stream);
    atomic_fetch_add(e->dropped, 1);
    free(e);
}

static const weft_future_ops echo_ops = {.poll = echo_poll, .drop = echo_drop};

static weft_task *start_stackless(weft_listener *l, atomic_int *dropped)
{
    echo_future *e = calloc(1, sizeof *e);
    weft_task *task;
    e->future.ops = &echo_ops;
    e->listener = l;
    e->dropped = dropped;
    cr_assert_eq(weft_spawn_future(&task, &e->future), 0);
    return task;
}

static void *stackless(void *arg)
{
    char text[WEFT_ADDR_TEXT];
    atomic_int dropped = 0;
    int rounds = 1 + (int)wf_test_scale(20);
    (void)arg;
    for (int i = 0; i < rounds; i++) {
        weft_listener *l = listen_any(text);
        weft_task *server = start_stackless(l, &dropped);
        weft_stream *s;
        cr_assert_eq(weft_tcp_connect(&s, text, NULL), 0);
        shrink(s);
        bulk out = {.stream = s, .size = 300000, .key = 5}, in = {.stream = s, .size = 300000, .key = 5};
        weft_task *writer = start(write_bulk, &out);
        read_bulk(&in);
        join(writer);
        weft_close(s);
        join(server);
        cr_assert_eq(atomic_load(&dropped), i + 1);
        weft_listener_close(l);
    }
    return NULL;
}

WF_TEST_WORKERS(net, poll_twins_serve_a_stackless_task) { run(workers, stackless, NULL); }

static void *stackless_closed(void *arg)
{
    char text[WEFT_ADDR_TEXT];
    weft_listener *l = listen_any(text);
    atomic_int dropped = 0;
    weft_stream *s;
    char c;
    (void)arg;
    weft_task *server = start_stackless(l, &dropped); /* aborted while it waits in accept, and then in read */
    await_idle(server);
    weft_abort(server);
    cr_assert_eq(weft_join(server, NULL), WEFT_EABORTED);
    server = start_stackless(l, &dropped);
    cr_assert_eq(weft_tcp_connect(&s, text, NULL), 0);
    cr_assert_eq(weft_write(s, "x", 1), 1);
    cr_assert_eq(weft_read_exact(s, &c, 1), 1);
    await_idle(server);
    weft_abort(server);
    cr_assert_eq(weft_join(server, NULL), WEFT_EABORTED);
    cr_assert_eq(atomic_load(&dropped), 2);
    cr_assert_eq(weft_read(s, &c, 1), 0);
    weft_close(s);
    weft_listener_close(l);
    return NULL;
}

WF_TEST_WORKERS(net, a_stackless_task_aborted_while_it_waits_lets_go_of_its_stream)
{
    run(workers, stackless_closed, NULL);
}

typedef struct read_future {
    weft_future future;
    weft_stream *stream;
    char c;
    ssize_t result;
} read_future;

static weft_poll read_poll(weft_future *self, weft_context *cx, void **result)
{
    read_future *r = WEFT_CONTAINER_OF(self, read_future, future);
    *result = NULL;
    r->result = weft_poll_read(cx, r->stream, &r->c, 1);
    return r->result == WEFT_PENDING ? WEFT_PENDING : WEFT_READY;
}

static const weft_future_ops read_ops = {.poll = read_poll};

static void *stackless_reader(void *arg)
{
    weft_stream *a, *b;
    weft_task *task;
    char c;
    (void)arg;
    pair(&a, &b);
    read_future r = {.future = {&read_ops}, .stream = weft_stream_ref(a)};
    cr_assert_eq(weft_spawn_future(&task, &r.future), 0);
    await_idle(task);
    cr_assert_eq(weft_write(b, "1", 1), 1);
    join(task);
    cr_assert_eq(r.result, 1);

    cr_assert_eq(weft_spawn_future(&task, &r.future), 0);
    await_idle(task);
    weft_stream_abort(a);
    join(task);
    cr_assert_eq(r.result, WEFT_ECLOSED);
    weft_close(a);
    weft_close(r.stream);
    weft_close(b);

    pair(&a, &b); /* a strand holds its direction while it waits; a stackless task is told */
    waiter w = {.stream = a};
    weft_task *reader = start(wait_read, &w);
    await_idle(reader);
    r = (read_future){.future = {&read_ops}, .stream = a};
    cr_assert_eq(weft_spawn_future(&task, &r.future), 0);
    join(task);
    cr_assert_eq(r.result, WEFT_EBUSY);
    cr_assert_eq(weft_write(b, "2", 1), 1);
    join(reader);
    cr_assert_eq(w.result, 1);

    cr_assert_eq(weft_write(b, "3", 1), 1); /* awaited by a strand */
    r = (read_future){.future = {&read_ops}, .stream = a};
    void *none;
    cr_assert_eq(weft_await(&r.future, &none), 0);
    cr_assert_eq(r.result, 1);
    cr_assert_eq(r.c, '3');
    cr_assert_eq(weft_poll_read(NULL, a, &c, 1), WEFT_EINVAL);
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(net, a_stackless_reader_sees_bytes_and_aborts_and_busy) { run(workers, stackless_reader, NULL); }

/* ---- ordinary threads ----------------------------------------------------------------------------------------- */

typedef struct outside {
    weft_runtime *rt;
    weft_listener *listener;
    const char *text;
    weft_stream *stream;
    ssize_t result;
    atomic_int began;
} outside;

static void *thread_client(void *arg)
{
    outside *o = arg;
    weft_stream *s;
    unsigned char buf[256];
    cr_assert_eq(weft_runtime_enter(o->rt), 0);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(weft_tcp_connect(&s, o->text, NULL), 0);
        for (size_t size = 1; size <= sizeof buf; size += 15) {
            memset(buf, i + 1, sizeof buf);
            cr_assert_eq(weft_write(s, buf, size), (ssize_t)size);
            memset(buf, 0, sizeof buf);
            cr_assert_eq(weft_read_exact(s, buf, size), (ssize_t)size);
            for (size_t k = 0; k < size; k++)
                cr_assert_eq(buf[k], i + 1);
        }
        cr_assert_eq(weft_close_write(s), 0);
        cr_assert_eq(weft_read(s, buf, sizeof buf), 0);
        weft_close(s);
    }
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

static void *echo_task(void *arg)
{
    char buf[100];
    ssize_t n;
    while ((n = weft_read(arg, buf, sizeof buf)) > 0)
        cr_assert_eq(weft_write(arg, buf, (size_t)n), n);
    weft_close(arg);
    return NULL;
}

/* An ordinary thread accepts, and starts a strand for each. */
static void *thread_server(void *arg)
{
    outside *o = arg;
    weft_stream *s;
    int err;
    cr_assert_eq(weft_runtime_enter(o->rt), 0);
    while ((err = weft_accept(&s, o->listener)) == 0)
        cr_assert_eq(weft_spawn(NULL, echo_task, s), 0);
    cr_assert_eq(err, WEFT_ECLOSED);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

static void *thread_reader(void *arg)
{
    outside *o = arg;
    char c;
    cr_assert_eq(weft_runtime_enter(o->rt), 0);
    atomic_store(&o->began, 1);
    o->result = weft_read(o->stream, &c, 1);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

WF_TEST_WORKERS(net, ordinary_threads_accept_connect_read_and_write)
{
    enum { CLIENTS = 3 };
    char text[WEFT_ADDR_TEXT];
    pthread_t server, clients[CLIENTS], reader;
    cr_assert_eq(weft_runtime_destroy(runtime(workers)), 0);
    int before = open_fds();
    outside o = {.rt = runtime(workers), .text = text};
    cr_assert_eq(weft_runtime_enter(o.rt), 0);
    o.listener = listen_any(text);
    cr_assert_eq(pthread_create(&server, NULL, thread_server, &o), 0);
    for (int i = 0; i < CLIENTS; i++)
        cr_assert_eq(pthread_create(&clients[i], NULL, thread_client, &o), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);

    cr_assert_eq(weft_tcp_connect(&o.stream, text, NULL), 0); /* a thread that reads, ended by this one */
    cr_assert_eq(pthread_create(&reader, NULL, thread_reader, &o), 0);
    while (!atomic_load(&o.began))
        weft_yield();
    weft_stream_abort(o.stream);
    pthread_join(reader, NULL);
    cr_assert_eq(o.result, WEFT_ECLOSED);
    weft_close(o.stream);

    weft_listener_close(o.listener); /* and one that accepts */
    pthread_join(server, NULL);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(o.rt), 0);
    cr_assert_eq(open_fds(), before);
}

/* The first thing that this thread ever awaits is a poll twin: the budget of strands must not starve it. */
static void *thread_twin(void *arg)
{
    outside *o = arg;
    void *none;
    cr_assert_eq(weft_runtime_enter(o->rt), 0);
    for (int i = 0; i < 300; i++) {
        read_future r = {.future = {&read_ops}, .stream = o->stream};
        cr_assert_eq(weft_await(&r.future, &none), 0);
        cr_assert_eq(r.result, 1);
        cr_assert_eq(r.c, (char)i);
    }
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

WF_TEST_WORKERS(net, an_ordinary_thread_awaits_a_poll_twin)
{
    weft_stream *b;
    pthread_t thread;
    outside o = {.rt = runtime(workers)};
    cr_assert_eq(weft_runtime_enter(o.rt), 0);
    pair(&o.stream, &b);
    cr_assert_eq(pthread_create(&thread, NULL, thread_twin, &o), 0);
    for (int i = 0; i < 300; i++) {
        char c = (char)i;
        cr_assert_eq(weft_write(b, &c, 1), 1);
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    cr_assert_eq(pthread_timedjoin_np(thread, NULL, &until), 0, "the thread awaits for ever");
    weft_close(o.stream);
    weft_close(b);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(o.rt), 0);
}
