/* scarce_net_test.c - sockets, streams, readers and servers on a machine that has run out of everything. See support/scarce.h. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <support/scarce.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static weft_listener *listen_at(weft_addr *addr, char text[WEFT_ADDR_TEXT])
{
    weft_listener *l;
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_listener_addr(l, addr), 0);
    weft_addr_format(addr, text, WEFT_ADDR_TEXT);
    return l;
}

/* Two ends of one connection. */
static void connected(weft_stream **a, weft_stream **b)
{
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(weft_stream_from_fd(a, fds[0]), 0);
    cr_assert_eq(weft_stream_from_fd(b, fds[1]), 0);
}

/* The other end of what was connected to @l is closed with a reset, which leaves no port in TIME_WAIT. */
static void hang_up(weft_listener *l)
{
    weft_stream *s;
    cr_assert_eq(weft_accept(&s, l), 0);
    cr_assert_eq(weft_tcp_configure(s, &(weft_tcp_options){.linger = WEFT_LINGER_RESET}), 0);
    weft_close(s);
}

static int plain_socket(int family, int type)
{
    int fd = socket(family, type | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    return fd;
}

typedef struct later {
    weft_stream *stream;
    const char *text; /* NULL: closed */
} later;

/* Something to wait for. */
static void *write_later(void *arg)
{
    later *w = arg;
    cr_assert_eq(weft_sleep(2 * WEFT_MS), 0);
    if (w->text)
        cr_assert_eq(weft_write(w->stream, w->text, strlen(w->text)), (ssize_t)strlen(w->text));
    else
        weft_close(w->stream);
    return NULL;
}

/* It has its stack, and waits. */
static weft_task *begin(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    while (weft_task_state(task) != WEFT_TASK_IDLE && !weft_is_finished(task))
        cr_assert_eq(weft_yield(), 0);
    return task;
}

/* ---- listening and connecting --------------------------------------------------------------------------------------- */

static void listen_somewhere(void)
{
    weft_tcp_options o = {.backlog = 3, .reuse_port = 1, .nagle = 1};
    weft_unix_options keep = {.mode = 0600};
    char path[64];
    weft_listener *l;
    weft_addr addr;
    snprintf(path, sizeof path, "/tmp/weft_scarce_%d", (int)getpid());
    SCARCE_MAKE(l, weft_tcp_listen(&l, "127.0.0.1:0", &o));
    SCARCE_NONE(cr_assert_eq(weft_listener_addr(l, &addr), 0));
    SCARCE_NONE(weft_listener_close(l));
    SCARCE_MAKE(l, weft_unix_listen(&l, path, &keep));
    SCARCE_TRY(0, (weft_listener_close(l), 0));
    cr_assert_neq(access(path, F_OK), 0, "it has left its path, %s", scarce_at());
    SCARCE_MAKE(l, weft_unix_listen(&l, "@weft_scarce", NULL));
    weft_listener_close(l);
    int fd = plain_socket(AF_INET, SOCK_STREAM);
    cr_assert_eq(listen(fd, 3), 0);
    SCARCE_MAKE(l, weft_listener_from_fd(&l, fd));
    weft_listener_close(l);
    SCARCE_NONE(cr_assert_eq(weft_listener_activated(&l, NULL, 0), WEFT_ENOENT));
}

static void connect_and_accept(void)
{
    weft_tcp_options o = {.timeout = WEFT_SEC, .bind = "127.0.0.1:0", .linger = WEFT_LINGER_RESET};
    char text[WEFT_ADDR_TEXT], by_name[64];
    weft_stream *s, *peer;
    weft_addr addr;
    weft_listener *l = listen_at(&addr, text);
    snprintf(by_name, sizeof by_name, "localhost:%u", weft_addr_port(&addr));
    SCARCE_MAKE(s, weft_tcp_connect(&s, text, NULL));
    SCARCE_MAKE(peer, weft_accept(&peer, l));
    SCARCE_NONE(cr_assert_eq(weft_tcp_configure(peer, &o), 0));
    o.keepalive = WEFT_SEC; /* what the system has for the rest of it is asked of a new socket */
    SCARCE_TRY(0, weft_tcp_configure(peer, &o));
    SCARCE_NONE(cr_assert_eq(weft_stream_local(peer, &addr), 0));
    SCARCE_NONE(cr_assert_eq(weft_stream_peer(peer, &addr), 0));
    SCARCE_NONE(weft_close(peer));
    weft_close(s);
    SCARCE_MAKE(s, weft_tcp_connect(&s, text, &o));
    hang_up(l);
    weft_close(s);
    SCARCE_MAKE(s, weft_tcp_connect(&s, by_name, &o));
    hang_up(l);
    weft_close(s);
    weft_listener_close(l);
}

static void connect_by_path(void)
{
    weft_stream *s, *peer;
    weft_listener *l;
    weft_credentials who;
    cr_assert_eq(weft_unix_listen(&l, "@weft_scarce", NULL), 0);
    SCARCE_MAKE(s, weft_unix_connect(&s, "@weft_scarce"));
    SCARCE_MAKE(peer, weft_accept(&peer, l));
    SCARCE_NONE(cr_assert_eq(weft_stream_peer_credentials(peer, &who), 0));
    weft_close(s);
    weft_close(peer);
    weft_listener_close(l);
}

static void resolve(void)
{
    weft_addr addrs[4];
    SCARCE_TRY(1, weft_resolve(addrs, 1, "localhost", "80"));
    SCARCE_TRY(1, weft_resolve(addrs, 1, "localhost", "80"));
    SCARCE_TRY(1, weft_resolve(addrs, 4, "127.0.0.1", "80"));
}

static void addresses(void)
{
    char text[WEFT_ADDR_TEXT];
    weft_addr a, b;
    size_t length;
    const struct sockaddr *sa;
    SCARCE_NONE(cr_assert_eq(weft_addr_parse(&a, "127.0.0.1:80"), 0));
    SCARCE_NONE(weft_addr_format(&a, text, sizeof text));
    SCARCE_NONE(cr_assert_eq(weft_addr_port(&a), 80));
    SCARCE_NONE(sa = weft_addr_sockaddr(&a, &length));
    SCARCE_NONE(cr_assert_eq(weft_addr_from_sockaddr(&b, sa, length), 0));
    SCARCE_NONE(cr_assert(weft_addr_equal(&a, &b)));
}

/* ---- poll twins ------------------------------------------------------------------------------------------------------- */

typedef struct twin {
    weft_future future;
    weft_op op;
    const weft_addr *addr;
    weft_listener *listener;
    weft_stream **out;
} twin;

static weft_poll poll_connect(weft_future *self, weft_context *cx, void **result)
{
    twin *t = WEFT_CONTAINER_OF(self, twin, future);
    *result = NULL;
    return SCARCE_WITHIN(weft_poll_tcp_connect(cx, &t->op, t->out, t->addr, NULL));
}

static weft_poll poll_accept(weft_future *self, weft_context *cx, void **result)
{
    twin *t = WEFT_CONTAINER_OF(self, twin, future);
    *result = NULL;
    return SCARCE_WITHIN(weft_poll_accept(cx, t->out, t->listener));
}

static void drop_twin(weft_future *self) { weft_op_drop(&WEFT_CONTAINER_OF(self, twin, future)->op); }

static const weft_future_ops connect_ops = {poll_connect, drop_twin}, accept_ops = {poll_accept, drop_twin};

static int await_connect(weft_stream **s, const weft_addr *addr)
{
    twin t = {.future.ops = &connect_ops, .addr = addr, .out = s};
    return weft_await(&t.future, NULL);
}

static int await_accept(weft_stream **s, weft_listener *l)
{
    twin t = {.future.ops = &accept_ops, .listener = l, .out = s};
    return weft_await(&t.future, NULL);
}

static void poll_connections(void)
{
    char text[WEFT_ADDR_TEXT];
    weft_addr addr;
    weft_stream *a, *b;
    weft_listener *l = listen_at(&addr, text);
    SCARCE_MAKE(a, await_connect(&a, &addr));
    SCARCE_MAKE(b, await_accept(&b, l));
    cr_assert_eq(weft_tcp_configure(b, &(weft_tcp_options){.linger = WEFT_LINGER_RESET}), 0);
    weft_close(b);
    weft_close(a);
    weft_listener_close(l);
}

/* ---- streams ----------------------------------------------------------------------------------------------------------- */

static void make_streams(void)
{
    int fds[2];
    weft_stream *a, *b, *c;
    SCARCE_MAKE(a, weft_pipe(&a, &b));
    SCARCE_NONE(weft_close(a));
    weft_close(b);
    SCARCE_MAKE(a, weft_stream_pair(&a, &b));
    SCARCE_NONE(cr_assert_eq(c = weft_stream_ref(a), a));
    SCARCE_NONE(weft_close(c));
    weft_close(a);
    weft_close(b);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    SCARCE_MAKE(a, weft_stream_from_fd(&a, fds[0]));
    SCARCE_NONE(cr_assert_eq(weft_stream_fd(a), fds[0]));
    SCARCE_NONE(cr_assert_eq(weft_stream_set_timeouts(a, WEFT_SEC, WEFT_SEC), 0));
    SCARCE_TRY(0, (fds[0] = weft_stream_release(a)) < 0 ? fds[0] : 0);
    SCARCE_MAKE(a, weft_stream_from_fd(&a, fds[0]));
    SCARCE_NONE(cr_assert_eq(weft_close_write(a), 0));
    SCARCE_NONE(weft_stream_abort(a));
    weft_close(a);
    close(fds[1]);
}

/* Where they wait, and where not. */
static void read_and_write(weft_stream *a, weft_stream *b)
{
    char buf[8];
    struct iovec v[2] = {{buf, 2}, {buf + 2, 2}};
    later w = {.stream = a, .text = "late"};
    SCARCE_TRY(4, weft_write(a, "once", 4));
    SCARCE_TRY(4, weft_read(b, buf, sizeof buf));
    SCARCE_TRY(4, weft_write_some(a, "some", 4));
    SCARCE_TRY(4, weft_read_exact(b, buf, 4));
    SCARCE_TRY(4, weft_writev(a, v, 2));
    SCARCE_TRY(2, weft_readv(b, v, 1));
    SCARCE_TRY(2, weft_readv(b, v + 1, 1));
    weft_task *task = begin(write_later, &w);
    SCARCE_TRY(4, weft_read(b, buf, sizeof buf));
    cr_assert_arr_eq(buf, "late", 4);
    cr_assert_eq(weft_join(task, NULL), 0);
}

static void use_streams(void)
{
    weft_stream *a, *b;
    connected(&a, &b);
    read_and_write(a, b);
    weft_close(a);
    weft_close(b);
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    read_and_write(a, b);
    weft_close(a);
    weft_close(b);
}

/* From a thread: its first wait makes what it parks with. */
static void use_them_in_a_thread(void)
{
    weft_runtime *rt;
    weft_options one = {.workers = 1};
    cr_assert_eq(weft_runtime_create(&rt, &one), 0);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    make_streams();
    use_streams();
    listen_somewhere();
    connect_and_accept();
    resolve();
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* More than a chunk of places for sockets. */
static void many_streams(void)
{
    enum { MANY = 70 };
    static weft_stream *ends[MANY][2];
    for (int i = 0; i < MANY; i++) {
        int fds[2];
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        SCARCE_MAKE(ends[i][0], weft_stream_from_fd(&ends[i][0], fds[0]));
        SCARCE_MAKE(ends[i][1], weft_stream_from_fd(&ends[i][1], fds[1]));
    }
    for (int i = 0; i < MANY; i++) {
        weft_close(ends[i][0]);
        weft_close(ends[i][1]);
    }
}

static weft_poll poll_bytes(weft_future *self, weft_context *cx, void **result)
{
    twin *t = WEFT_CONTAINER_OF(self, twin, future);
    char byte = 'x';
    *result = NULL;
    SCARCE_TRY(1, weft_poll_write_some(cx, t->out[0], &byte, 1));
    SCARCE_TRY(1, weft_poll_read(cx, t->out[1], &byte, 1));
    return WEFT_READY;
}

static const weft_future_ops bytes_ops = {poll_bytes, drop_twin};

static void poll_streams(void)
{
    weft_stream *ends[2];
    twin t = {.future.ops = &bytes_ops, .out = ends};
    connected(&ends[0], &ends[1]);
    cr_assert_eq(weft_await(&t.future, NULL), 0);
    weft_close(ends[0]);
    weft_close(ends[1]);
}

/* ---- layers ------------------------------------------------------------------------------------------------------------- */

static ssize_t layer_read(weft_layer *self, void *buf, size_t size)
{
    return SCARCE_WITHIN(weft_layer_read_below(self, buf, size));
}

static ssize_t layer_write(weft_layer *self, const void *buf, size_t size)
{
    return SCARCE_WITHIN(weft_layer_write_below(self, buf, size));
}

static int layer_close_write(weft_layer *self) { return SCARCE_WITHIN(weft_layer_close_write_below(self)); }
static void layer_drop(weft_layer *self) { (void)self; }
static const weft_layer_ops layer_ops = {
    .read = layer_read, .write = layer_write, .close_write = layer_close_write, .drop = layer_drop};

static ssize_t try_nothing(weft_stream *s, void *arg)
{
    (void)s, (void)arg;
    return 3;
}

static void layers(void)
{
    weft_stream *a, *b;
    weft_layer layer = {.ops = &layer_ops};
    char buf[4];
    connected(&a, &b);
    SCARCE_TRY(0, weft_stream_push_layer(a, &layer));
    SCARCE_NONE(cr_assert_eq(weft_stream_layer(a), &layer));
    SCARCE_TRY(3, weft_write(a, "abc", 3));
    SCARCE_TRY(3, weft_write(b, "abc", 3));
    SCARCE_TRY(3, weft_read(a, buf, sizeof buf));
    SCARCE_TRY(3, weft_stream_attempt(a, WEFT_READING, try_nothing, NULL));
    SCARCE_NONE(weft_layer_wake(&layer, WEFT_READING));
    SCARCE_TRY(0, weft_close_write(a));
    weft_close(a);
    weft_close(b);
}

/* ---- readers and writers ---------------------------------------------------------------------------------------------------- */

static void buffered(void)
{
    enum { LONG = 9000 };
    static char text[LONG];
    weft_stream *a, *b;
    weft_reader *r;
    weft_writer *w;
    char *item;
    size_t n;
    memset(text, 'x', LONG);
    connected(&a, &b);
    SCARCE_MAKE(w, weft_writer_create(&w, a, 0));
    SCARCE_MAKE(r, weft_reader_create(&r, b, 2 * LONG));
    SCARCE_TRY(5, weft_writer_write(w, "line\n", 5));
    SCARCE_NONE(weft_writer_buffered(w));
    SCARCE_TRY(0, weft_writer_flush(w));
    SCARCE_TRY(1, weft_reader_line(r, &item, &n));
    cr_assert_eq(weft_write(a, "one;two;three;", 14), 14);
    SCARCE_TRY(1, weft_reader_until(r, ";", 1, &item, &n));
    SCARCE_TRY(1, weft_reader_exact(r, 4, &item));
    SCARCE_TRY(1, weft_reader_peek(r, 1, &item, &n));
    SCARCE_NONE(cr_assert_eq(weft_reader_buffered(r), 6));
    SCARCE_NONE(cr_assert_eq(weft_reader_consume(r, 6), 0));
    cr_assert_eq(weft_write(a, text, LONG), LONG);
    SCARCE_TRY(1, weft_reader_exact(r, LONG, &item));
    cr_assert_arr_eq(item, text, LONG);
    SCARCE_NONE(weft_reader_free(r));
    bool lacked; /* a writer keeps its first failure */
    SCARCE_ONCE(lacked, LONG, weft_writer_printf(w, "%.*s", LONG, text));
    cr_assert_eq(weft_writer_flush(w), lacked ? WEFT_ENOMEM : 0);
    SCARCE_NONE(weft_writer_free(w));
    weft_close(a);
    weft_close(b);
}

/* ---- moving a lot ------------------------------------------------------------------------------------------------------------ */

/* "some bytes" go in at one end before, and come out at the other after, however it went. */
static void copy_between(weft_stream *in, weft_stream *from, weft_stream *to, weft_stream *out)
{
    char buf[16];
    bool lacked;
    cr_assert_eq(weft_write(in, "some bytes", 10), 10);
    SCARCE_TRY(5, weft_copy_n(to, from, 5));
    later w = {.stream = in};
    weft_task *task = begin(write_later, &w);
    SCARCE_ONCE(lacked, 5, weft_copy(to, from));
    if (lacked)
        cr_assert_leq(weft_copy(to, from), 5);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_read_exact(out, buf, 10), 10);
    cr_assert_arr_eq(buf, "some bytes", 10);
    weft_close(from);
    weft_close(to);
    weft_close(out);
}

static void copies(void)
{
    weft_stream *in, *from, *to, *out;
    connected(&in, &from);
    connected(&to, &out);
    copy_between(in, from, to, out);
    cr_assert_eq(weft_pipe(&from, &in), 0);
    cr_assert_eq(weft_pipe(&out, &to), 0);
    copy_between(in, from, to, out);
    cr_assert_eq(weft_stream_pair(&in, &from), 0);
    connected(&to, &out);
    copy_between(in, from, to, out);
}

static void both_ways(void)
{
    weft_stream *client, *a, *b, *server;
    int64_t there, back;
    bool lacked;
    connected(&client, &a);
    connected(&b, &server);
    cr_assert_eq(weft_write(client, "request", 7), 7);
    cr_assert_eq(weft_write(server, "answer", 6), 6);
    cr_assert_eq(weft_close_write(client), 0);
    cr_assert_eq(weft_close_write(server), 0);
    SCARCE_ONCE(lacked, 0, weft_copy_bidirectional(a, b, &there, &back));
    cr_assert(lacked || (there == 7 && back == 6));
    weft_close(client);
    weft_close(a);
    weft_close(b);
    weft_close(server);
}

static void send_to(weft_stream *out, weft_stream *in, weft_file *file)
{
    char buf[8];
    SCARCE_TRY(5, weft_sendfile(out, file, 0, 100));
    cr_assert_eq(weft_read_exact(in, buf, 5), 5);
    weft_close(in);
    weft_close(out);
}

static void send_files(void)
{
    weft_file *file;
    weft_stream *a, *b;
    cr_assert_eq(weft_file_temporary(&file, NULL, NULL), 0);
    cr_assert_eq(weft_file_pwrite(file, "bytes", 5, 0), 5);
    connected(&a, &b);
    send_to(a, b, file);
    cr_assert_eq(weft_pipe(&b, &a), 0);
    send_to(a, b, file);
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    send_to(a, b, file);
    weft_file_close(file);
}

/* ---- datagrams --------------------------------------------------------------------------------------------------------------- */

static void make_datagram_sockets(void)
{
    weft_udp_options o = {.reuse_port = 1, .ttl = 3, .gro = 1, .ecn = 1, .bind = "127.0.0.1:0"};
    weft_udp *u, *v;
    weft_addr addr, group;
    char text[WEFT_ADDR_TEXT], by_name[64];
    SCARCE_MAKE(u, weft_udp_bind(&u, "127.0.0.1:0", NULL));
    SCARCE_NONE(cr_assert_eq(weft_udp_local(u, &addr), 0));
    snprintf(by_name, sizeof by_name, "localhost:%u", weft_addr_port(&addr));
    weft_addr_format(&addr, text, sizeof text);
    SCARCE_MAKE(v, weft_udp_connect(&v, text, NULL));
    SCARCE_NONE(cr_assert_eq(weft_udp_peer(v, &addr), 0));
    SCARCE_NONE(weft_udp_close(v));
    SCARCE_MAKE(v, weft_udp_connect(&v, by_name, &o));
    weft_udp_close(v);
    int fd = plain_socket(AF_INET, SOCK_DGRAM);
    SCARCE_MAKE(v, weft_udp_from_fd(&v, fd));
    cr_assert_eq(weft_addr_parse(&group, "239.255.1.2:0"), 0);
    SCARCE_NONE(weft_udp_join(v, &group, "lo"));
    SCARCE_NONE(weft_udp_leave(v, &group, "lo"));
    SCARCE_NONE(cr_assert_eq(weft_udp_set_multicast(v, 1, 1, NULL), 0));
    SCARCE_NONE(cr_assert_eq(weft_udp_set_ttl(v, 3), 0));
    SCARCE_NONE(cr_assert_eq(weft_udp_set_broadcast(v, 0), 0));
    SCARCE_NONE(cr_assert_geq(weft_udp_fd(v), 0));
    SCARCE_NONE(weft_udp_abort(v));
    weft_udp_close(v);
    weft_udp_close(u);
}

/* Two whose senders wait soon. */
static void narrow(weft_udp *ends[2])
{
    int fds[2], size = 1;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
        cr_assert_eq(weft_udp_from_fd(&ends[i], fds[i]), 0);
    }
}

static atomic_int arrived;

static void *drain(void *arg)
{
    char byte;
    cr_assert_eq(weft_sleep(2 * WEFT_MS), 0);
    while (weft_udp_recv(arg, &byte, 1, NULL) == 1)
        if (byte == 'e')
            break;
    return NULL;
}

static void *send_one(void *arg)
{
    ssize_t n = SCARCE_WITHIN(weft_udp_send(arg, "s", 1, NULL));
    arrived += n == 1;
    return n == 1 ? NULL : weft_fail((int)n);
}

/* Several that wait for the same socket. */
static int send_together(weft_udp *u)
{
    enum { SENDERS = 5 };
    weft_task *tasks[SENDERS] = {0};
    int lack = 0, err;
    void *code;
    for (int i = 0; i < SENDERS; i++)
        if ((err = weft_spawn(&tasks[i], send_one, u)) < 0)
            lack = err;
    for (int i = 0; i < SENDERS; i++)
        if (tasks[i] && weft_join(tasks[i], &code) < 0)
            lack = (int)(intptr_t)code;
    return lack;
}

static void queue_of_senders(void)
{
    weft_udp *ends[2];
    narrow(ends);
    for (int i = 0; i < 2000 && send(weft_udp_fd(ends[0]), "f", 1, MSG_DONTWAIT) == 1; i++)
        ;
    weft_task *task = begin(drain, ends[1]);
    SCARCE_TRY(0, send_together(ends[0]));
    cr_assert_eq(weft_udp_send(ends[0], "e", 1, NULL), 1);
    cr_assert_eq(weft_join(task, NULL), 0);
    weft_udp_close(ends[0]);
    weft_udp_close(ends[1]);
}

static weft_poll poll_datagrams(weft_future *self, weft_context *cx, void **result)
{
    twin *t = WEFT_CONTAINER_OF(self, twin, future);
    weft_udp *u = (weft_udp *)(void *)t->out;
    weft_addr from;
    char byte = 'x';
    *result = NULL;
    SCARCE_TRY(1, weft_poll_udp_send(cx, u, &byte, 1, t->addr));
    SCARCE_TRY(1, weft_poll_udp_recv(cx, u, &byte, 1, &from));
    return WEFT_READY;
}

static const weft_future_ops datagrams_ops = {poll_datagrams, drop_twin};

static void datagrams(void)
{
    weft_udp *u;
    weft_addr addr;
    char bytes[2];
    cr_assert_eq(weft_udp_bind(&u, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_udp_local(u, &addr), 0);
    weft_datagram d[2] = {{.data = &bytes[0], .size = 1, .address = addr}, {.data = &bytes[1], .size = 1, .address = addr}};
    twin t = {.future.ops = &datagrams_ops, .addr = &addr, .out = (weft_stream **)(void *)u};
    SCARCE_TRY(1, weft_udp_send(u, "x", 1, &addr));
    SCARCE_TRY(1, weft_udp_recv(u, bytes, 1, &addr));
    SCARCE_TRY(2, weft_udp_send_batch(u, d, 2));
    SCARCE_TRY(2, weft_udp_recv_batch(u, d, 2));
    cr_assert_eq(weft_await(&t.future, NULL), 0);
    weft_udp_close(u);
}

/* ---- select -------------------------------------------------------------------------------------------------------------------- */

/* The case that meets a lack is the one that is ready. */
static int chosen(weft_case *cases, int n)
{
    int i = SCARCE_WITHIN(weft_select(cases, n));
    return i >= 0 && cases[i].status < 0 ? cases[i].status : i;
}

static void select_sockets(void)
{
    char text[WEFT_ADDR_TEXT];
    weft_stream *a, *b, *s = NULL;
    weft_addr addr;
    weft_udp *u;
    weft_listener *l = listen_at(&addr, text);
    connected(&a, &b);
    cr_assert_eq(weft_udp_bind(&u, "127.0.0.1:0", NULL), 0);
    later w = {.stream = a, .text = "x"};
    weft_task *task = begin(write_later, &w);
    weft_case cases[] = {WEFT_ACCEPT(l, &s), WEFT_UDP_READABLE(u), WEFT_READABLE(b), WEFT_JOIN(NULL, NULL)};
    SCARCE_TRY(2, chosen(cases, 4));
    cr_assert_eq(weft_join(task, NULL), 0);
    weft_udp_close(u);
    weft_close(a);
    weft_close(b);
    weft_listener_close(l);
}

/* ---- servers ---------------------------------------------------------------------------------------------------------------------- */

typedef struct server {
    weft_listener *listener;
    weft_serve_options options;
    weft_handler handler;
    int result; /* WEFT_ENOMEM: it never ran */
} server;

static void *echo_once(weft_stream *peer, void *arg)
{
    char byte;
    (void)arg;
    if (weft_read(peer, &byte, 1) == 1)
        (void)weft_write(peer, &byte, 1);
    return NULL;
}

typedef struct reply {
    weft_future future;
    weft_stream *peer;
} reply;

static weft_poll poll_reply(weft_future *self, weft_context *cx, void **result)
{
    reply *r = WEFT_CONTAINER_OF(self, reply, future);
    char byte;
    *result = NULL;
    ssize_t n = weft_poll_read(cx, r->peer, &byte, 1);
    if (n != 1)
        return n == 0 ? WEFT_READY : (weft_poll)n;
    (void)weft_poll_write_some(cx, r->peer, &byte, 1);
    return WEFT_READY;
}

static void drop_reply(weft_future *self) { free(WEFT_CONTAINER_OF(self, reply, future)); }
static const weft_future_ops reply_ops = {poll_reply, drop_reply};

static weft_future *echo_future(weft_stream *peer, void *arg)
{
    reply *r = malloc(sizeof *r);
    (void)arg;
    if (!r)
        return NULL;
    *r = (reply){.future.ops = &reply_ops, .peer = peer};
    return &r->future;
}

static void *run_server(void *arg)
{
    server *s = arg;
    s->result = weft_serve(s->listener, s->handler, NULL, &s->options);
    return NULL;
}

static void *run_poor_server(void *arg)
{
    server *s = arg;
    s->result = SCARCE_WITHIN(weft_serve(s->listener, s->handler, NULL, &s->options));
    return NULL;
}

/* One byte; or none: what should have answered was refused something, and has had a moment for it all the same. */
static bool answered(int fd)
{
    struct timeval slice = {.tv_usec = 10000};
    char byte;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof slice);
    for (int slices = 0; slices < (scarce_refusing() ? 5 : 3000); slices++) {
        ssize_t n = recv(fd, &byte, 1, 0);
        if (n >= 0 || errno != EAGAIN)
            return n == 1;
    }
    return false;
}

/* A plain client, in a thread that may block. WEFT_ENOMEM: it was hung up on, or not served. */
static int visit(const weft_addr *addr)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    bool ok = connect(fd, sa, (socklen_t)length) == 0 && send(fd, "x", 1, MSG_NOSIGNAL) == 1 && answered(fd);
    close(fd);
    return ok ? 0 : WEFT_ENOMEM;
}

static void *visit_blocking(void *arg) { return (void *)(intptr_t)visit(arg); }

static int visited(const weft_addr *addr)
{
    void *result;
    int err = weft_blocking(visit_blocking, (void *)(uintptr_t)addr, &result);
    return err < 0 ? err : (int)(intptr_t)result;
}

static weft_listener *listen_shared(weft_addr *addr)
{
    weft_tcp_options o = {.reuse_port = 1};
    weft_listener *l;
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", &o), 0);
    cr_assert_eq(weft_listener_addr(l, addr), 0);
    return l;
}

/* One that serves rides it out: who comes next is served. */
static void ride_out(weft_serve_options options, weft_handler handler)
{
    weft_serve_counters counters = {0}, copy;
    weft_addr addr;
    options.counters = &counters;
    server s = {.listener = listen_shared(&addr), .options = options, .handler = handler};
    weft_task *task = begin(run_server, &s);
    SCARCE_TRY(0, visited(&addr));
    SCARCE_NONE(weft_serve_counters_get(&counters, &copy));
    cr_assert_not(weft_is_finished(task), "it gave up: %d", s.result);
    cr_assert_eq(weft_task_close(task), 0);
    cr_assert_eq(s.result, WEFT_ECANCELED);
    weft_listener_close(s.listener);
}

static int begin_and_end(server *s, const weft_addr *addr)
{
    weft_task *task;
    s->result = WEFT_ENOMEM;
    int err = weft_spawn(&task, run_poor_server, s);
    if (err < 0)
        return err;
    err = visited(addr);
    cr_assert_eq(weft_task_close(task), 0);
    return s->result == WEFT_ECANCELED ? err : s->result;
}

/* From its start to its end. */
static void serve_one(weft_serve_options options, weft_handler handler)
{
    weft_addr addr;
    server s = {.listener = listen_shared(&addr), .options = options, .handler = handler};
    SCARCE_TRY(0, begin_and_end(&s, &addr));
    weft_listener_close(s.listener);
}

static void serve(void)
{
    weft_serve_options plain = {0}, future = {.future = echo_future}, shards = {.shards = 1}, named = {.spawn.name = "peer"};
    ride_out(plain, echo_once);
    ride_out(future, NULL);
    ride_out(named, echo_once);
    serve_one(plain, echo_once);
    serve_one(shards, echo_once);
}

static const scarce_scene scenes[] = {
    SCARCE_STRAND(listen_somewhere, 5), SCARCE_STRAND(connect_and_accept, 5),
    SCARCE_STRAND(connect_by_path, 1),  SCARCE_STRAND(resolve, 3),
    SCARCE_STRAND(addresses, 0),        SCARCE_THREAD(addresses, 0),
    SCARCE_STRAND(poll_connections, 1), SCARCE_STRAND(make_streams, 3),
    SCARCE_STRAND(use_streams, 1),      SCARCE_THREAD(use_them_in_a_thread, 10),
    SCARCE_STRAND(many_streams, 2),     SCARCE_STRAND(poll_streams, 0),
    SCARCE_STRAND(layers, 0),           SCARCE_STRAND(buffered, 7),
    SCARCE_STRAND(copies, 3),           SCARCE_STRAND(both_ways, 1),
    SCARCE_STRAND(send_files, 1),       SCARCE_STRAND(make_datagram_sockets, 6),
    SCARCE_STRAND(queue_of_senders, 2), SCARCE_STRAND(datagrams, 0),
    SCARCE_STRAND(select_sockets, 1),   SCARCE_STRAND(serve, 20),
};

Test(scarce_net, whatever_is_refused_is_reported_and_leaves_nothing_1_worker)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 1);
}

Test(scarce_net, whatever_is_refused_is_reported_and_leaves_nothing_2_workers)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 2);
}
