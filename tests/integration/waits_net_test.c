/* waits_net_test.c - what is said of a task that waits for the network: the address of the other end, if there is one. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <support/names.h>
#include <support/net_support.h>
#include <support/waits.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    MUCH = 16 << 20,
    FILL = 4,
    BATCH = 16
}; /* MUCH: more than the buffers of both ends together, which were shrunk */

typedef struct things {
    THINGS_COMMON;
    weft_stream *a, *b, *c, *d; /* two connections */
    char peer[WEFT_ADDR_TEXT];  /* of a */
    char far[WEFT_ADDR_TEXT];   /* of c */
    weft_reader *reader;
    weft_writer *writer;
    weft_listener *listener;
    char address[WEFT_ADDR_TEXT];
    weft_addr to;
    weft_udp *udp;
    weft_file *file;
    weft_serve_options serve;
    weft_chan *ch;
    weft_addr found[1];
    struct iovec piece;
    weft_datagram batch[BATCH];
    char bytes[64];
} things;

static char *much;

static void address_of(weft_stream *s, char out[WEFT_ADDR_TEXT])
{
    weft_addr addr;
    cr_assert_eq(weft_stream_peer(s, &addr), 0);
    weft_addr_format(&addr, out, WEFT_ADDR_TEXT);
}

/* The near one is waited for in; to close the far one is to break the connection. */
static void connect_ends(weft_stream **near, weft_stream **far, char text[WEFT_ADDR_TEXT])
{
    pair(near, far);
    shrink(*near);
    shrink(*far);
    reset_on_close(*near);
    reset_on_close(*far);
    address_of(*near, text);
}

static void open_first(things *s) { connect_ends(&s->a, &s->b, s->peer); }

#define ON_STREAM(s, call, waits_for)                             \
    do {                                                          \
        open_first(s);                                            \
        WAITS(s, call, waits_for, (s)->peer, weft_close((s)->b)); \
        weft_close((s)->a);                                       \
    } while (0)

#define POLLS_STREAM(s, call, waits_for)                          \
    do {                                                          \
        open_first(s);                                            \
        POLLS(s, call, waits_for, (s)->peer, weft_close((s)->b)); \
        weft_close((s)->a);                                       \
    } while (0)

/* ---- reading --------------------------------------------------------------------------------------------------- */

static ssize_t try_read(weft_stream *s, void *arg)
{
    ssize_t n = recv(weft_stream_fd(s), arg, 1, MSG_DONTWAIT);
    return n >= 0 ? n : -errno;
}

static weft_reader *reader_of(things *s)
{
    cr_assert_eq(weft_reader_create(&s->reader, s->a, 0), 0);
    return s->reader;
}

CALL(weft_read, weft_read(s->a, s->bytes, 1))
CALL(weft_read_exact, weft_read_exact(s->a, s->bytes, 2))
CALL(weft_readv, (s->piece = (struct iovec){s->bytes, 1}, weft_readv(s->a, &s->piece, 1)))
CALL(weft_stream_attempt, weft_stream_attempt(s->a, WEFT_READING, try_read, s->bytes))
CALL(weft_reader_line, weft_reader_line(reader_of(s), &(char *){NULL}, NULL))
CALL(weft_reader_until, weft_reader_until(reader_of(s), "x", 1, &(char *){NULL}, NULL))
CALL(weft_reader_exact, weft_reader_exact(reader_of(s), 2, &(char *){NULL}))
CALL(weft_reader_peek, weft_reader_peek(reader_of(s), 1, &(char *){NULL}, NULL))
CALL(weft_copy, weft_copy(s->c, s->a))
CALL(weft_copy_n, weft_copy_n(s->c, s->a, 100))
CALL(weft_copy_bidirectional, weft_copy_bidirectional(s->a, s->c, NULL, NULL))
POLLED_CALL(weft_poll_read, weft_poll_read(cx, s->a, s->bytes, 1))

static void copies(things *s)
{
    connect_ends(&s->c, &s->d, s->far);
    ON_STREAM(s, weft_copy, "read");
    ON_STREAM(s, weft_copy_n, "read");
    open_first(s);
    WAITS(s, weft_copy_bidirectional, "read", s->far, weft_close(s->b));
    weft_close(s->a);
    weft_close(s->c);
    weft_close(s->d);
}

static void *reading(void *arg)
{
    things s = {.result = 0};
    ON_STREAM(&s, weft_read, "read");
    ON_STREAM(&s, weft_read_exact, "read");
    ON_STREAM(&s, weft_readv, "read");
    ON_STREAM(&s, weft_stream_attempt, "read");
    ON_STREAM(&s, weft_reader_line, "read");
    ON_STREAM(&s, weft_reader_until, "read");
    ON_STREAM(&s, weft_reader_exact, "read");
    ON_STREAM(&s, weft_reader_peek, "read");
    POLLS_STREAM(&s, weft_poll_read, "read");
    copies(&s);
    cr_assert_eq(weft_stream_pair(&s.a, &s.b), 0);
    WAITS(&s, weft_read, "read", "in memory", weft_close(s.b));
    weft_close(s.a);
    return arg;
}

Test(waits_net, for_what_is_to_be_read) { run(2, reading, NULL); }

/* ---- writing --------------------------------------------------------------------------------------------------- */

static ssize_t write_on(things *s)
{
    ssize_t n = 1;
    while (n > 0)
        n = weft_write_some(s->a, much, MUCH);
    return n;
}

static ssize_t poll_on(things *s, weft_context *cx)
{
    ssize_t n = 1;
    while (n > 0)
        n = weft_poll_write_some(cx, s->a, much, MUCH);
    return n;
}

static weft_writer *writer_of(things *s, size_t capacity)
{
    cr_assert_eq(weft_writer_create(&s->writer, s->a, capacity), 0);
    return s->writer;
}

static ssize_t end_writer(things *s, ssize_t n)
{
    weft_writer_free(s->writer);
    return n;
}

static int flush_much(things *s)
{
    cr_assert_eq(weft_writer_write(writer_of(s, 2 * (size_t)MUCH), much, MUCH), MUCH);
    return weft_writer_flush(s->writer);
}

static void open_much(things *s)
{
    int fd = memfd_create("much", MFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, MUCH), 0);
    cr_assert_eq(weft_file_open(&s->file, text("/proc/self/fd/%d", fd), O_RDONLY, 0), 0);
    close(fd);
}

CALL(weft_write, weft_write(s->a, much, MUCH))
CALL(weft_write_some, write_on(s))
CALL(weft_writev, (s->piece = (struct iovec){much, MUCH}, weft_writev(s->a, &s->piece, 1)))
CALL(weft_writer_write, end_writer(s, weft_writer_write(writer_of(s, 0), much, MUCH)))
CALL(weft_writer_printf, end_writer(s, weft_writer_printf(writer_of(s, 0), "%*d", MUCH, 1)))
CALL(weft_writer_flush, end_writer(s, flush_much(s)))
CALL(weft_sendfile, weft_sendfile(s->a, s->file, 0, MUCH))
POLLED_CALL(weft_poll_write_some, poll_on(s, cx))

static void *writing(void *arg)
{
    things s = {.result = 0};
    much = calloc(1, MUCH);
    ON_STREAM(&s, weft_write, "write");
    ON_STREAM(&s, weft_write_some, "write");
    ON_STREAM(&s, weft_writev, "write");
    ON_STREAM(&s, weft_writer_write, "write");
    ON_STREAM(&s, weft_writer_printf, "write");
    ON_STREAM(&s, weft_writer_flush, "write");
    POLLS_STREAM(&s, weft_poll_write_some, "write");
    open_much(&s);
    ON_STREAM(&s, weft_sendfile, "write");
    weft_file_close(s.file);
    cr_assert_eq(weft_stream_pair(&s.a, &s.b), 0);
    WAITS(&s, weft_write, "write", "in memory", weft_close(s.b));
    weft_close(s.a);
    free(much);
    return arg;
}

Test(waits_net, for_room_to_write) { run(2, writing, NULL); }

/* ---- connections ----------------------------------------------------------------------------------------------- */

/* A queue that is full: a handshake with it never ends. */
typedef struct hole {
    int fd, fill[FILL];
    char text[WEFT_ADDR_TEXT];
} hole;

static void hole_open(hole *h)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(h->fd, (struct sockaddr *)&sa, sizeof sa), 0);
    cr_assert_eq(getsockname(h->fd, (struct sockaddr *)&sa, &(socklen_t){sizeof sa}), 0);
    cr_assert_eq(listen(h->fd, 0), 0);
    snprintf(h->text, sizeof h->text, "127.0.0.1:%u", (unsigned)ntohs(sa.sin_port));
    for (int i = 0; i < FILL; i++) {
        h->fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(h->fill[i], (struct sockaddr *)&sa, sizeof sa);
    }
}

static void hole_close(hole *h)
{
    for (int i = 0; i < FILL; i++)
        close(h->fill[i]);
    close(h->fd);
}

CALL(weft_tcp_connect, weft_tcp_connect(&s->a, s->address, NULL))
CALL(weft_unix_connect, weft_unix_connect(&s->a, s->address))
CALL(weft_accept, weft_accept(&s->a, s->listener))
POLLED_CALL(weft_poll_tcp_connect, weft_poll_tcp_connect(cx, &s->op, &s->a, &s->to, NULL))
POLLED_CALL(weft_poll_accept, weft_poll_accept(cx, &s->a, s->listener))

static void *connecting(void *arg)
{
    things s = {.result = 0};
    hole h;
    hole_open(&h);
    strcpy(s.address, h.text);
    WAITS(&s, weft_tcp_connect, "connect", "127.0.0.1:*", weft_abort(who));
    cr_assert_eq(weft_addr_parse(&s.to, h.text), 0);
    POLLS(&s, weft_poll_tcp_connect, "connect", "127.0.0.1:*", weft_abort(who));
    hole_close(&h);
    return arg;
}

Test(waits_net, for_a_connection_to_be_made) { run(2, connecting, NULL); }

/* The last that is made has to wait. */
static void *connecting_to_a_path(void *arg)
{
    things s = {.result = 0};
    weft_stream *held[FILL];
    weft_task *task = NULL;
    int n = 0;
    snprintf(s.address, sizeof s.address, "@weft-waits-%d", (int)getpid());
    cr_assert_eq(weft_unix_listen(&s.listener, s.address, &(weft_unix_options){.backlog = 1}), 0);
    for (; n < 2; n++)
        cr_assert_eq(weft_unix_connect(&held[n], s.address), 0);
    cr_assert_null(task);
    WAITS(&s, weft_unix_connect, "connect", "fd *", weft_abort(who));
    while (n > 0)
        weft_close(held[--n]);
    weft_listener_close(s.listener);
    return arg;
}

Test(waits_net, for_room_in_a_backlog) { run(2, connecting_to_a_path, NULL); }

static void *accepting(void *arg)
{
    things s = {.result = 0};
    s.listener = listen_any(s.address);
    WAITS(&s, weft_accept, "accept", s.address, weft_listener_close(s.listener));
    s.listener = listen_any(s.address);
    POLLS(&s, weft_poll_accept, "accept", s.address, weft_listener_close(s.listener));
    return arg;
}

Test(waits_net, for_a_connection_to_be_accepted) { run(2, accepting, NULL); }

/* ---- servers --------------------------------------------------------------------------------------------------- */

static void *handler(weft_stream *peer, void *arg)
{
    (void)peer;
    weft_chan_recv(((things *)arg)->ch, &(char){0});
    return NULL;
}

CALL(weft_serve, weft_serve(s->listener, handler, s, &s->serve))

/* It has one connection, and may have no more. */
static void expect_room(things *s, weft_task *server)
{
    cr_assert_eq(weft_tcp_connect(&s->c, s->address, NULL), 0);
    cr_assert_eq(weft_tcp_connect(&s->d, s->address, NULL), 0);
    expect(server, "with one connection", "room", "");
    weft_abort(server);
}

static void serve_full(things *s)
{
    s->listener = listen_any(s->address);
    WAITS(s, weft_serve, "accept", s->address, expect_room(s, who));
    weft_close(s->c);
    weft_close(s->d);
    weft_listener_close(s->listener);
}

static void *serving(void *arg)
{
    weft_semaphore slots = WEFT_SEMAPHORE_INIT(1);
    things s = {.serve = {.max_connections = 1}};
    cr_assert_eq(weft_chan_create(&s.ch, 1, 0), 0);
    serve_full(&s);
    s.serve = (weft_serve_options){.slots = &slots};
    serve_full(&s);
    cr_assert_eq(weft_chan_free(s.ch), 0);
    return arg;
}

Test(waits_net, for_room_for_a_connection) { run(2, serving, NULL); }

/* ---- datagrams ------------------------------------------------------------------------------------------------- */

CALL(weft_udp_recv, weft_udp_recv(s->udp, s->bytes, 1, NULL))
CALL(weft_udp_recv_batch,
     (s->batch[0] = (weft_datagram){.data = s->bytes, .size = 1}, weft_udp_recv_batch(s->udp, s->batch, 1)))
POLLED_CALL(weft_poll_udp_recv, weft_poll_udp_recv(cx, s->udp, s->bytes, 1, NULL))

#define ON_UDP(s, how, call, waits_for, object, begin)             \
    do {                                                           \
        begin;                                                     \
        how(s, call, waits_for, object, weft_udp_abort((s)->udp)); \
        weft_udp_close((s)->udp);                                  \
    } while (0)

static void bind_any(things *s)
{
    weft_addr addr;
    cr_assert_eq(weft_udp_bind(&s->udp, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_udp_local(s->udp, &addr), 0);
    weft_addr_format(&addr, s->address, sizeof s->address);
}

static void *receiving(void *arg)
{
    things s = {.result = 0};
    weft_udp *other;
    ON_UDP(&s, WAITS, weft_udp_recv, "read", s.address, bind_any(&s));
    ON_UDP(&s, WAITS, weft_udp_recv_batch, "read", s.address, bind_any(&s));
    ON_UDP(&s, POLLS, weft_poll_udp_recv, "read", s.address, bind_any(&s));
    bind_any(&s);
    other = s.udp;
    ON_UDP(&s, WAITS, weft_udp_recv, "read", s.address, cr_assert_eq(weft_udp_connect(&s.udp, s.address, NULL), 0));
    weft_udp_close(other);
    return arg;
}

Test(waits_net, for_a_datagram) { run(2, receiving, NULL); }

static ssize_t send_on(things *s)
{
    ssize_t n = 1;
    while (n > 0)
        n = weft_udp_send(s->udp, s->bytes, sizeof s->bytes, NULL);
    return n;
}

static ssize_t poll_send_on(things *s, weft_context *cx)
{
    ssize_t n = 1;
    while (n > 0)
        n = weft_poll_udp_send(cx, s->udp, s->bytes, sizeof s->bytes, NULL);
    return n;
}

static ssize_t send_batches(things *s)
{
    ssize_t n = BATCH;
    for (int i = 0; i < BATCH; i++)
        s->batch[i] = (weft_datagram){.data = s->bytes, .size = sizeof s->bytes};
    while (n == BATCH)
        n = weft_udp_send_batch(s->udp, s->batch, BATCH);
    return n;
}

CALL(weft_udp_send, send_on(s))
CALL(weft_udp_send_batch, send_batches(s))
POLLED_CALL(weft_poll_udp_send, poll_send_on(s, cx))

/* A Unix socket with little room takes a few; on loopback others are never full. */
static int open_narrow(things *s)
{
    int fds[2], least = 1;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
    cr_assert_eq(weft_udp_from_fd(&s->udp, fds[0]), 0);
    return fds[1];
}

/* Whose turn it is waits for the socket, and another for the turn: that is nothing that people know. */
static void expect_turn(things *s, const char *object)
{
    weft_task *tasks[2];
    cr_assert_eq(weft_spawn(&tasks[0], in_weft_udp_send, s), 0);
    expect(tasks[0], "whose turn it is", "write", object);
    cr_assert_eq(weft_spawn(&tasks[1], in_weft_udp_send, s), 0);
    expect(tasks[1], "who waits for his turn", "write", object);
    s->base.ops = &ops_weft_poll_udp_send;
    POLLS(s, weft_poll_udp_send, "write", object, weft_udp_abort(s->udp));
    for (int i = 0; i < 2; i++)
        let_end(tasks[i], "a sender");
}

static void *sending(void *arg)
{
    things s = {.result = 0};
    int far;
#define NARROW text("fd %d", weft_udp_fd(s.udp))
    ON_UDP(&s, WAITS, weft_udp_send, "write", NARROW, far = open_narrow(&s));
    close(far);
    ON_UDP(&s, WAITS, weft_udp_send_batch, "write", NARROW, far = open_narrow(&s));
    close(far);
    ON_UDP(&s, POLLS, weft_poll_udp_send, "write", NARROW, far = open_narrow(&s));
    close(far);
    far = open_narrow(&s);
    expect_turn(&s, NARROW);
    weft_udp_close(s.udp);
    close(far);
    return arg;
}

Test(waits_net, for_room_for_a_datagram) { run(2, sending, NULL); }

/* ---- names ----------------------------------------------------------------------------------------------------- */

CALL(weft_resolve, weft_resolve(s->found, 1, "slow.test", "80"))
CALL(weft_udp_connect, weft_udp_connect(&s->udp, "slow.test:80", NULL))

static void *resolving(void *arg)
{
    static latch slow = LATCH_INIT;
    static name names[] = {{.host = "slow.test", .answers = {"127.0.0.1:0"}, .latch = &slow}};
    things s = {.address = "slow.test:80"};
    names_set(names, 1);
    WAITS(&s, weft_resolve, "resolve", "", weft_abort(who));
    WAITS(&s, weft_udp_connect, "resolve", "", weft_abort(who));
    WAITS(&s, weft_tcp_connect, "resolve", "", weft_abort(who));
    latch_open(&slow);
    EVENTUALLY(atomic_load(&names_busy) == 0 && atomic_load(&names_held) == 0);
    return arg;
}

Test(waits_net, for_a_name) { run(2, resolving, NULL); }
