/* sockets_test.c - what sockets are given and what becomes of them: options and who inherits them, adopted and released descriptors, half-close,
 * pipes and SIGPIPE, descriptors passed to others, and none left to be had. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/net_support.h>
#include <support/process.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <weft.h>

/* ---- helpers -------------------------------------------------------------------------------------------------- */

static int option(int fd, int level, int name)
{
    int value = -1;
    cr_assert_eq(getsockopt(fd, level, name, &value, &(socklen_t){sizeof value}), 0);
    return value;
}

static struct linger linger_of(int fd)
{
    struct linger l;
    cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &(socklen_t){sizeof l}), 0);
    return l;
}

static weft_listener *listen_with(const weft_tcp_options *o, const char *address, char text[WEFT_ADDR_TEXT])
{
    weft_listener *l;
    weft_addr addr;
    cr_assert_eq(weft_tcp_listen(&l, address, o), 0);
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    weft_addr_format(&addr, text, WEFT_ADDR_TEXT);
    return l;
}

/* @b is what a listener with @o accepted. */
static void pair_with(const weft_tcp_options *o, weft_stream **a, weft_stream **b)
{
    char text[WEFT_ADDR_TEXT];
    weft_listener *l = listen_with(o, "127.0.0.1:0", text);
    cr_assert_eq(weft_tcp_connect(a, text, NULL), 0);
    cr_assert_eq(weft_accept(b, l), 0);
    weft_listener_close(l);
}

static void socket_pair(weft_stream **a, weft_stream **b)
{
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(weft_stream_from_fd(a, fds[0]), 0);
    cr_assert_eq(weft_stream_from_fd(b, fds[1]), 0);
}

/* The descriptor of the listener at @text. */
static int descriptor_of(const char *text)
{
    for (int fd = 0; fd < 1024; fd++) {
        struct sockaddr_storage sa;
        socklen_t length = sizeof sa;
        char name[WEFT_ADDR_TEXT];
        weft_addr addr;
        int listens = 0;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &(socklen_t){sizeof listens}) < 0 || !listens ||
            getsockname(fd, (struct sockaddr *)&sa, &length) < 0 ||
            weft_addr_from_sockaddr(&addr, (struct sockaddr *)&sa, length) < 0)
            continue;
        if (strcmp(weft_addr_format(&addr, name, sizeof name), text) == 0)
            return fd;
    }
    cr_fail("nothing listens at %s", text);
    return -1;
}

/* ---- options -------------------------------------------------------------------------------------------------- */

static const weft_tcp_options all_options = {.keepalive = 90 * WEFT_SEC + 1,
                                             .keepalive_interval = WEFT_MS,
                                             .keepalive_count = 7,
                                             .linger = 3 * WEFT_SEC,
                                             .send_buffer = 30000,
                                             .receive_buffer = 20000,
                                             .nagle = 1};

/* Times are whole seconds, rounded up; Linux doubles the buffers. */
static void expect_all_options(int fd)
{
    cr_assert_eq(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    cr_assert_eq(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    cr_assert_eq(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 91);
    cr_assert_eq(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 1);
    cr_assert_eq(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 7);
    cr_assert_eq(linger_of(fd).l_onoff, 1);
    cr_assert_eq(linger_of(fd).l_linger, 3);
    cr_assert_eq(option(fd, SOL_SOCKET, SO_SNDBUF), 60000);
    cr_assert_eq(option(fd, SOL_SOCKET, SO_RCVBUF), 40000);
}

static void expect_defaults(int fd)
{
    cr_assert_neq(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    cr_assert_eq(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    cr_assert_eq(linger_of(fd).l_onoff, 0);
}

static void *inherited(void *arg)
{
    weft_stream *a, *b;
    (void)arg;
    pair_with(NULL, &a, &b);
    expect_defaults(weft_stream_fd(a));
    expect_defaults(weft_stream_fd(b));
    weft_close(a);
    weft_close(b);
    pair_with(&all_options, &a, &b);
    expect_defaults(weft_stream_fd(a));
    expect_all_options(weft_stream_fd(b));
    weft_close(a);
    weft_close(b);
    return NULL;
}

Test(sockets, what_is_accepted_has_each_option_of_its_listener) { run(1, inherited, NULL); }

static void *connected_with_options(void *arg)
{
    char text[WEFT_ADDR_TEXT];
    weft_listener *l = listen_any(text);
    weft_stream *a, *b;
    (void)arg;
    cr_assert_eq(weft_tcp_connect(&a, text, &all_options), 0);
    cr_assert_eq(weft_accept(&b, l), 0);
    expect_all_options(weft_stream_fd(a));
    expect_defaults(weft_stream_fd(b));
    weft_close(a);
    weft_close(b);
    weft_listener_close(l);
    return NULL;
}

Test(sockets, what_connects_has_its_options_before_it_is_connected) { run(1, connected_with_options, NULL); }

static void *configured(void *arg)
{
    weft_stream *a, *b;
    (void)arg;
    pair(&a, &b);
    int fd = weft_stream_fd(a);
    cr_assert_eq(weft_tcp_configure(a, &all_options), 0);
    expect_all_options(fd);
    cr_assert_eq(weft_tcp_configure(a, &(weft_tcp_options){.linger = WEFT_LINGER_RESET}), 0);
    cr_assert_eq(linger_of(fd).l_onoff, 1);
    cr_assert_eq(linger_of(fd).l_linger, 0);
    cr_assert_eq(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    cr_assert_eq(weft_tcp_configure(a, NULL), 0);
    expect_defaults(fd);
    cr_assert_eq(option(fd, SOL_SOCKET, SO_SNDBUF), 60000); /* which has no default to go back to */

    weft_tcp_options longer[2] = {all_options, {.nagle = 1}}; /* of a caller who knows more options, or fewer */
    cr_assert_eq(weft_tcp_configure_sized(a, longer, sizeof longer), 0);
    expect_all_options(fd);
    cr_assert_eq(weft_tcp_configure_sized(a, &all_options, offsetof(weft_tcp_options, keepalive)), 0);
    cr_assert_eq(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    cr_assert_eq(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);

    cr_assert_eq(weft_tcp_configure(NULL, &all_options), WEFT_EINVAL);
    weft_stream_abort(a);
    cr_assert_eq(weft_tcp_configure(a, &all_options), WEFT_ECLOSED);
    weft_close(a);
    weft_close(b);
    socket_pair(&a, &b);
    cr_assert_eq(weft_tcp_configure(a, &all_options), WEFT_ENOTSUP);
    weft_close(a);
    weft_close(b);
    cr_assert_eq(weft_pipe(&a, &b), 0);
    cr_assert_eq(weft_tcp_configure(b, &all_options), WEFT_ENOTSUP);
    weft_close(a);
    weft_close(b);
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    cr_assert_eq(weft_tcp_configure(a, &all_options), WEFT_ENOTSUP);
    weft_close(a);
    weft_close(b);
    return NULL;
}

/* What broke: 0 left what had been set before. */
static void *probing_by_default(void *arg)
{
    weft_stream *a, *b;
    (void)arg;
    pair(&a, &b);
    int fd = weft_stream_fd(a), interval = option(fd, IPPROTO_TCP, TCP_KEEPINTVL),
        count = option(fd, IPPROTO_TCP, TCP_KEEPCNT);
    weft_tcp_options o = {.keepalive = 60 * WEFT_SEC, .keepalive_interval = 2 * WEFT_SEC, .keepalive_count = 3};
    cr_assert_eq(weft_tcp_configure(a, &o), 0);
    cr_assert_eq(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 2);
    cr_assert_eq(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
    cr_assert_eq(weft_tcp_configure(a, &(weft_tcp_options){.keepalive = 60 * WEFT_SEC}), 0);
    cr_assert_eq(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), interval);
    cr_assert_eq(option(fd, IPPROTO_TCP, TCP_KEEPCNT), count);
    weft_close(a);
    weft_close(b);
    return NULL;
}

Test(sockets, probes_without_numbers_are_the_systems_again) { run(1, probing_by_default, NULL); }

Test(sockets, configure_says_all_options_of_a_connection_anew) { run(1, configured, NULL); }

static void *senseless(void *arg)
{
    static const weft_tcp_options bad[] = {
        {.keepalive = -1},
        {.keepalive = WEFT_FOREVER},
        {.keepalive = 10 * WEFT_SEC, .keepalive_interval = -WEFT_SEC},
        {.keepalive = 10 * WEFT_SEC, .keepalive_interval = 40000 * WEFT_SEC},
        {.keepalive = 10 * WEFT_SEC, .keepalive_count = -1},
        {.keepalive = 10 * WEFT_SEC, .keepalive_count = 1000},
        {.linger = -2},
        {.linger = WEFT_FOREVER},
        {.send_buffer = SIZE_MAX},
        {.receive_buffer = (size_t)1 << 31},
        {.fast_open = -1},
        {.backlog = -1},
    };
    weft_listener *l;
    weft_stream *a, *b;
    (void)arg;
    pair(&a, &b);
    int before = open_fds();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        weft_tcp_options o = bad[i];
        l = (weft_listener *)(void *)&l;
        cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", &o), WEFT_EINVAL, "option %zu", i);
        cr_assert_null(l);
        o.nagle = 1;
        cr_assert_eq(weft_tcp_configure(a, &o), WEFT_EINVAL, "option %zu", i);
        expect_defaults(weft_stream_fd(a)); /* nothing of it was set */
    }
    cr_assert_eq(open_fds(), before);
    weft_close(a);
    weft_close(b);
    return NULL;
}

Test(sockets, options_without_sense_are_refused_before_any_is_set) { run(1, senseless, NULL); }

/* ---- linger --------------------------------------------------------------------------------------------------- */

static void expect_reset(weft_stream *s)
{
    char c;
    cr_assert_eq(weft_read(s, &c, 1), WEFT_ECONNRESET);
    weft_close(s);
}

static void *reset(void *arg)
{
    const weft_tcp_options o = {.linger = WEFT_LINGER_RESET};
    weft_stream *a, *b;
    (void)arg;
    pair_with(&o, &a, &b); /* by the listener */
    weft_close(b);
    expect_reset(a);
    pair(&a, &b); /* later */
    cr_assert_eq(weft_tcp_configure(b, &o), 0);
    weft_close(b);
    expect_reset(a);
    pair(&a, &b); /* somebody waits */
    waiter w = {.stream = a};
    weft_task *reader = start(wait_read, &w);
    await_idle(reader);
    cr_assert_eq(weft_tcp_configure(b, &o), 0);
    weft_close(b);
    join(reader);
    cr_assert_eq(w.result, WEFT_ECONNRESET);
    weft_close(a);
    return NULL;
}

WF_TEST_WORKERS(sockets, a_close_with_linger_reset_is_a_reset_for_the_peer) { run(workers, reset, NULL); }

/* More than the buffers take. */
static void stuff(weft_stream *s)
{
    static char bytes[65536];
    while (send(weft_stream_fd(s), bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
}

/* Linux waits in close() for as long as SO_LINGER says, and a worker with it. */
static void *linger(void *arg)
{
    const weft_tcp_options o = {.linger = 120 * WEFT_SEC};
    weft_stream *a, *b;
    (void)arg;
    pair_with(&o, &a, &b);
    stuff(b);
    int64_t begin = weft_now();
    weft_close(b);
    cr_assert_lt(weft_now() - begin, 60 * WEFT_SEC);
    weft_close(a);

    pair_with(&o, &a, &b);
    int other = dup(weft_stream_fd(b));
    weft_close(b);
    cr_assert_eq(linger_of(other).l_onoff, 0);
    cr_assert_eq(option(other, IPPROTO_TCP, TCP_USER_TIMEOUT), 120000); /* milliseconds; this one waits for nobody */
    close(other);
    weft_close(a);
    return NULL;
}

Test(sockets, a_close_with_linger_does_not_wait) { run(1, linger, NULL); }

/* ---- listening ------------------------------------------------------------------------------------------------ */

static void *count_accepted(void *arg)
{
    waiter *w = arg;
    weft_stream *s;
    while (weft_accept(&s, w->listener) == 0) {
        w->result++;
        weft_close(s);
    }
    return NULL;
}

static void *port_shared(void *arg)
{
    enum { MANY = 64 };
    const weft_tcp_options o = {.reuse_port = 1};
    char text[WEFT_ADDR_TEXT], c;
    weft_listener *l;
    weft_stream *s;
    waiter w[2] = {{.listener = listen_with(&o, "127.0.0.1:0", text)}};
    (void)arg;
    cr_assert_eq(weft_tcp_listen(&w[1].listener, text, &o), 0);
    cr_assert_eq(weft_tcp_listen(&l, text, NULL), WEFT_EADDRINUSE); /* who does not share gets none */
    weft_task *tasks[2] = {start(count_accepted, &w[0]), start(count_accepted, &w[1])};
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(weft_tcp_connect(&s, text, NULL), 0);
        cr_assert_eq(weft_read(s, &c, 1), 0);
        weft_close(s);
    }
    for (int i = 0; i < 2; i++) {
        weft_listener_close(w[i].listener);
        join(tasks[i]);
        cr_assert_gt(w[i].result, 0); /* both by chance: 1 in 2^63 */
    }
    cr_assert_eq(w[0].result + w[1].result, MANY);
    return NULL;
}

WF_TEST_WORKERS(sockets, two_listeners_share_a_port_and_both_get_connections) { run(workers, port_shared, NULL); }

static bool has_ipv6(void)
{
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

static int connect_to_port(const char *format, unsigned port)
{
    char text[WEFT_ADDR_TEXT];
    weft_stream *s;
    snprintf(text, sizeof text, "%s:%u", format, port);
    int err = weft_tcp_connect(&s, text, NULL);
    weft_close(s);
    return err;
}

static void *both_families(void *arg)
{
    weft_addr addr;
    weft_listener *l;
    (void)arg;
    for (int only = 0; only < 2; only++) {
        cr_assert_eq(weft_tcp_listen(&l, "[::]:0", &(weft_tcp_options){.v6only = only}), 0);
        cr_assert_eq(weft_listener_addr(l, &addr), 0);
        unsigned port = weft_addr_port(&addr);
        cr_assert_eq(connect_to_port("[::1]", port), 0);
        cr_assert_eq(connect_to_port("127.0.0.1", port), only ? WEFT_ECONNREFUSED : 0);
        weft_listener_close(l);
    }
    return NULL;
}

Test(sockets, an_ipv6_listener_takes_ipv4_unless_it_is_v6only)
{
    if (!has_ipv6())
        cr_skip_test("no IPv6 here");
    run(1, both_families, NULL);
}

static void *short_queue(void *arg)
{
    enum { MANY = 8 };
    char text[WEFT_ADDR_TEXT];
    weft_stream *s[MANY] = {NULL};
    weft_listener *l = listen_with(&(weft_tcp_options){.backlog = 1}, "127.0.0.1:0", text);
    int n = 0, err;
    (void)arg;
    cr_assert_eq(weft_tcp_connect(&s[n++], text, NULL), 0);
    while ((err = weft_tcp_connect(&s[n], text, &(weft_tcp_options){.timeout = 100 * WEFT_MS})) == 0 && ++n < MANY - 1)
        ;
    cr_assert_eq(err, WEFT_ETIMEDOUT); /* nobody accepts */
    cr_assert_leq(n, 3, "there is room for all of them");
    for (int i = 0; i < n; i++)
        weft_close(s[i]);
    weft_listener_close(l);

    l = listen_any(text);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_tcp_connect(&s[i], text, NULL), 0);
    for (int i = 0; i < MANY; i++)
        weft_close(s[i]);
    weft_listener_close(l);
    return NULL;
}

Test(sockets, a_backlog_of_one_holds_few_and_the_default_many) { run(1, short_queue, NULL); }

static void *cannot_bind(void *arg)
{
    weft_listener *l = arg, *first;
    char text[WEFT_ADDR_TEXT];
    int before = open_fds();
    cr_assert_eq(weft_tcp_listen(&l, "192.0.2.1:0", NULL), WEFT_EADDRNOTAVAIL); /* of no machine */
    cr_assert_null(l);
    cr_assert_not_null(strstr(weft_error_detail(), "192.0.2.1:0"));
    first = listen_with(NULL, ":0", text); /* a port on all addresses is one on each */
    char one[WEFT_ADDR_TEXT + 16];
    snprintf(one, sizeof one, "127.0.0.1%s", strrchr(text, ':'));
    cr_assert_eq(weft_tcp_listen(&l, one, NULL), WEFT_EADDRINUSE);
    cr_assert_null(l);
    weft_listener_close(first);
    cr_assert_eq(open_fds(), before);
    return NULL;
}

Test(sockets, an_address_that_is_taken_or_not_ours_is_told) { run(1, cannot_bind, NULL); }

static void *fast_open(void *arg)
{
    char text[WEFT_ADDR_TEXT], c;
    weft_listener *l = listen_with(&(weft_tcp_options){.fast_open = 16}, "127.0.0.1:0", text);
    weft_stream *a, *b;
    (void)arg;
    cr_assert_eq(option(descriptor_of(text), IPPROTO_TCP, TCP_FASTOPEN), 16);
    cr_assert_eq(weft_tcp_connect(&a, text, NULL), 0);
    cr_assert_eq(weft_write(a, "x", 1), 1);
    cr_assert_eq(weft_accept(&b, l), 0);
    cr_assert_eq(weft_read(b, &c, 1), 1);
    weft_close(a);
    weft_close(b);
    weft_listener_close(l);
    return NULL;
}

static bool has_fast_open(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), most = 1;
    bool has = setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &most, sizeof most) == 0;
    close(fd);
    return has;
}

Test(sockets, a_listener_with_fast_open_has_a_queue_for_it)
{
    if (!has_fast_open())
        cr_skip_test("no fast open here");
    run(1, fast_open, NULL);
}

/* ---- listeners of others -------------------------------------------------------------------------------------- */

static int plain_listener(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    cr_assert_eq(listen(fd, 8), 0);
    return fd;
}

static void *adopt_listener(void *arg)
{
    weft_listener *l;
    weft_stream *a, *b;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT], c;
    int fd = plain_listener();
    (void)arg;
    cr_assert_eq(weft_listener_from_fd(&l, fd), 0);
    cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    waiter w = {.listener = l};
    weft_task *accepter = start(wait_accept, &w);
    await_idle(accepter); /* it would block the worker if it were not */
    cr_assert_eq(weft_tcp_connect(&a, weft_addr_format(&addr, text, sizeof text), NULL), 0);
    join(accepter);
    b = w.stream;
    expect_defaults(weft_stream_fd(b)); /* small writes go out at once, as from any listener */
    cr_assert_eq(weft_write(a, "x", 1), 1);
    cr_assert_eq(weft_read(b, &c, 1), 1);
    weft_close(a);
    weft_close(b);
    weft_listener_close(l); /* and with it the descriptor: run() counts them */
    return NULL;
}

WF_TEST_WORKERS(sockets, an_adopted_listener_accepts) { run(workers, adopt_listener, NULL); }

static void *adopt_others(void *arg)
{
    weft_listener *l = arg;
    int fds[5] = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
                  open("/dev/null", O_RDWR | O_CLOEXEC)};
    const int codes[5] = {WEFT_EINVAL, WEFT_EINVAL, WEFT_ENOTSOCK, WEFT_EINVAL, WEFT_EINVAL};
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds + 3), 0);
    for (int i = 0; i < 5; i++) {
        l = (weft_listener *)(void *)&l;
        cr_assert_eq(weft_listener_from_fd(&l, fds[i]), codes[i], "descriptor %d", i);
        cr_assert_null(l);
        cr_assert_eq(fcntl(fds[i], F_GETFL) & O_NONBLOCK, 0); /* left alone */
        cr_assert_eq(close(fds[i]), 0);
    }
    cr_assert_eq(weft_listener_from_fd(&l, -1), WEFT_EBADF);
    cr_assert_eq(weft_listener_from_fd(NULL, 0), WEFT_EINVAL);
    return NULL;
}

Test(sockets, what_does_not_listen_is_no_listener_and_left_alone) { run(1, adopt_others, NULL); }

Test(sockets, without_a_runtime_nothing_is_adopted)
{
    weft_listener *l;
    weft_stream *s, *t;
    int fd = plain_listener();
    cr_assert_eq(weft_listener_from_fd(&l, fd), WEFT_ENORUNTIME);
    cr_assert_null(l);
    cr_assert_eq(weft_pipe(&s, &t), WEFT_ENORUNTIME);
    cr_assert_eq(weft_stream_pair(&s, &t), WEFT_ENORUNTIME);
    cr_assert_eq(close(fd), 0);
}

/* ---- giving back ---------------------------------------------------------------------------------------------- */

typedef void (*make_pair)(weft_stream **a, weft_stream **b);

/* @a was released: it works by hand and as another stream, and the peer has noticed nothing. */
static void released_works(int fd, weft_stream *b)
{
    weft_stream *again;
    char buf[8];
    cr_assert_geq(fd, 0);
    cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    cr_assert_eq(weft_write(b, "abc", 3), 3);
    cr_assert_eq(read(fd, buf, sizeof buf), 3);
    cr_assert_eq(write(fd, "def", 3), 3);
    cr_assert_eq(weft_read_exact(b, buf, 3), 3);
    cr_assert_arr_eq(buf, "def", 3);
    cr_assert_eq(weft_stream_from_fd(&again, fd), 0);
    waiter w = {.stream = again};
    weft_task *reader = start(wait_read, &w);
    await_idle(reader);
    cr_assert_eq(weft_write(b, "g", 1), 1);
    join(reader);
    cr_assert_eq(w.result, 1);
    weft_close(again);
    cr_assert_eq(weft_read(b, buf, sizeof buf), 0);
    weft_close(b);
}

static void release_one(make_pair make)
{
    weft_stream *a, *b;
    make(&a, &b);
    waiter w = {.stream = a};
    weft_task *reader = start(wait_read, &w); /* so it is watched */
    await_idle(reader);
    cr_assert_eq(weft_stream_release(a), WEFT_EBUSY);
    cr_assert_eq(weft_write(b, "1", 1), 1); /* nothing has changed */
    join(reader);
    cr_assert_eq(w.result, 1);
    cr_assert_eq(weft_stream_ref(a), a);
    cr_assert_eq(weft_stream_release(a), WEFT_EBUSY);
    weft_close(a); /* closes it for the other holder too */
    cr_assert_eq(weft_stream_release(a), WEFT_ECLOSED);
    weft_close(a);
    weft_close(b);
    make(&a, &b);
    cr_assert_eq(weft_write(a, "2", 1), 1);
    cr_assert_eq(weft_read(b, w.got, 1), 1);
    released_works(weft_stream_release(a), b);
}

static void *release(void *arg)
{
    (void)arg;
    release_one(pair);
    release_one(socket_pair);
    return NULL;
}

WF_TEST_WORKERS(sockets, a_released_descriptor_goes_on_and_one_in_use_is_not_released) { run(workers, release, NULL); }

static void *release_rest(void *arg)
{
    weft_stream *a, *b;
    char buf[8];
    (void)arg;
    pair_with(&all_options, &a, &b); /* what it was given stays */
    int fd = weft_stream_release(b);
    expect_all_options(fd);
    close(fd);
    weft_close(a);

    cr_assert_eq(weft_pipe(&a, &b), 0); /* and what was written */
    cr_assert_eq(weft_write(b, "abc", 3), 3);
    fd = weft_stream_release(a);
    cr_assert_eq(read(fd, buf, sizeof buf), 3);
    weft_close(b);
    cr_assert_eq(read(fd, buf, sizeof buf), 0);
    cr_assert_eq(close(fd), 0);

    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    cr_assert_eq(weft_stream_release(a), WEFT_ENOTSUP);
    cr_assert_eq(weft_write(a, "x", 1), 1);
    cr_assert_eq(weft_read(b, buf, 1), 1);
    weft_close(a);
    weft_close(b);
    cr_assert_eq(weft_stream_release(NULL), WEFT_EINVAL);
    return NULL;
}

Test(sockets, a_released_descriptor_is_as_it_was) { run(1, release_rest, NULL); }

/* ---- half-close ----------------------------------------------------------------------------------------------- */

static void memory_pair(weft_stream **a, weft_stream **b) { cr_assert_eq(weft_stream_pair(a, b), 0); }

static void half_close_one(make_pair make)
{
    weft_stream *a, *b;
    char buf[8];
    make(&a, &b);
    waiter w = {.stream = b};
    weft_task *reader = start(wait_read, &w);
    await_idle(reader);
    cr_assert_eq(weft_close_write(a), 0);
    join(reader);
    cr_assert_eq(w.result, 0);
    cr_assert_eq(weft_write(a, "x", 1), WEFT_EPIPE);
    cr_assert_eq(weft_write(b, "abc", 3), 3); /* the other way goes on */
    cr_assert_eq(weft_read_exact(a, buf, 3), 3);
    cr_assert_eq(weft_close_write(b), 0);
    cr_assert_eq(weft_read(a, buf, sizeof buf), 0);
    weft_close(a);
    weft_close(b);
}

static void *half_close(void *arg)
{
    weft_stream *a, *b;
    char buf[8];
    (void)arg;
    half_close_one(pair);
    half_close_one(socket_pair);
    half_close_one(memory_pair);
    cr_assert_eq(weft_pipe(&a, &b), 0); /* has only one direction */
    cr_assert_eq(weft_close_write(b), WEFT_ENOTSUP);
    cr_assert_eq(weft_write(b, "x", 1), 1);
    weft_close(b);
    cr_assert_eq(weft_read(a, buf, sizeof buf), 1);
    cr_assert_eq(weft_read(a, buf, sizeof buf), 0);
    weft_close(a);
    return NULL;
}

WF_TEST_WORKERS(sockets, half_close_ends_one_direction_of_each_kind_but_a_pipe) { run(workers, half_close, NULL); }

/* ---- pipes ---------------------------------------------------------------------------------------------------- */

static void *pipe_writer(void *arg)
{
    waiter *w = arg;
    size_t size = 1 << 20;
    char *bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i % 251);
    w->result = weft_write(w->stream, bytes, size);
    weft_close(w->stream);
    free(bytes);
    return NULL;
}

static void *pipe_bulk(void *arg)
{
    weft_stream *r, *w;
    char piece[3001];
    size_t at = 0;
    ssize_t n;
    (void)arg;
    cr_assert_eq(weft_pipe(&r, &w), 0);
    waiter writing = {.stream = w};
    weft_task *writer = start(pipe_writer, &writing);
    await_idle(writer); /* it is full */
    while ((n = weft_read(r, piece, sizeof piece)) > 0)
        for (ssize_t i = 0; i < n; i++, at++)
            cr_assert_eq(piece[i], (char)(at % 251));
    cr_assert_eq(n, 0);
    cr_assert_eq(at, (size_t)1 << 20);
    join(writer);
    cr_assert_eq(writing.result, (ssize_t)at);
    weft_close(r);

    cr_assert_eq(weft_pipe(&r, &w), 0); /* the reader leaves while the writer waits */
    writing = (waiter){.stream = w};
    writer = start(wait_write, &writing);
    await_idle(writer);
    weft_close(r);
    join(writer);
    cr_assert_eq(writing.result, WEFT_EPIPE);
    weft_close(w);
    cr_assert_eq(weft_pipe(&r, NULL), WEFT_EINVAL);
    cr_assert_null(r);
    cr_assert_eq(weft_pipe(NULL, &w), WEFT_EINVAL);
    cr_assert_null(w);
    return NULL;
}

WF_TEST_WORKERS(sockets, a_pipe_carries_all_then_the_end_or_epipe) { run(workers, pipe_bulk, NULL); }

static bool sigpipe_pends(void)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
}

static sigset_t only_sigpipe(void)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGPIPE);
    return one;
}

/* No waiting between the change of this thread's mask and its end. */
static void write_in_vain(weft_stream *s, bool blocked)
{
    sigset_t one = only_sigpipe(), before;
    struct iovec two[2] = {{(void *)(uintptr_t) "ab", 2}, {(void *)(uintptr_t) "c", 1}};
    pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &one, &before);
    cr_assert_eq(weft_write(s, "x", 1), WEFT_EPIPE);
    cr_assert_eq(weft_write_some(s, "x", 1), WEFT_EPIPE);
    cr_assert_eq(weft_writev(s, two, 2), WEFT_EPIPE);
    cr_assert(!sigpipe_pends());
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* One that was there before stays there. */
static void write_with_one_pending(weft_stream *s)
{
    sigset_t one = only_sigpipe(), before;
    const struct timespec at_once = {0};
    pthread_sigmask(SIG_BLOCK, &one, &before);
    pthread_kill(pthread_self(), SIGPIPE);
    cr_assert_eq(weft_write(s, "x", 1), WEFT_EPIPE);
    cr_assert(sigpipe_pends());
    cr_assert_eq(sigtimedwait(&one, NULL, &at_once), SIGPIPE);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void *broken_pipe(void *arg)
{
    weft_stream *r, *w;
    (void)arg;
    cr_assert_eq(weft_pipe(&r, &w), 0);
    weft_close(r);
    write_in_vain(w, false);
    write_in_vain(w, true);
    write_with_one_pending(w);
    weft_close(w);
    return NULL;
}

static void *broken_pipe_in_thread(void *rt)
{
    cr_assert_eq(weft_runtime_enter(rt), 0);
    broken_pipe(NULL);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

static void with_disposition(void (*handler)(int))
{
    struct sigaction now = {.sa_handler = handler}, before;
    pthread_t thread;
    sigaction(SIGPIPE, &now, &before);
    run(1, broken_pipe, NULL);
    weft_runtime *rt = runtime(2);
    cr_assert_eq(pthread_create(&thread, NULL, broken_pipe_in_thread, rt), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    sigaction(SIGPIPE, &before, NULL);
}

Test(sockets, a_pipe_without_a_reader_raises_no_sigpipe_where_it_would_kill) { with_disposition(SIG_DFL); }
Test(sockets, a_pipe_without_a_reader_raises_no_sigpipe_where_it_is_ignored) { with_disposition(SIG_IGN); }

/* ---- passing descriptors ---------------------------------------------------------------------------------------- */

/* As a user would: a system call that weft does not have. */
static ssize_t send_descriptor(weft_stream *s, void *fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct iovec one = {(void *)(uintptr_t) "!", 1};
    struct msghdr m = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(c), fd, sizeof(int));
    ssize_t n = sendmsg(weft_stream_fd(s), &m, MSG_NOSIGNAL);
    return n >= 0 ? n : -errno;
}

static ssize_t receive_descriptor(weft_stream *s, void *fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char byte;
    struct iovec one = {&byte, 1};
    struct msghdr m = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(weft_stream_fd(s), &m, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n == 0 ? 0 : -errno;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (!c || c->cmsg_type != SCM_RIGHTS)
        return WEFT_EPROTO;
    memcpy(fd, CMSG_DATA(c), sizeof(int));
    return n;
}

typedef struct passing {
    weft_stream *stream;
    int fd;
    ssize_t result;
} passing;

static void *receive(void *arg)
{
    passing *p = arg;
    p->result = weft_stream_attempt(p->stream, WEFT_READING, receive_descriptor, &p->fd);
    return NULL;
}

static void *pass(void *arg)
{
    weft_stream *a, *b, *r, *w, *got;
    char buf[8];
    (void)arg;
    socket_pair(&a, &b);
    passing p = {.stream = b, .fd = -1};
    weft_task *receiver = start(receive, &p);
    await_idle(receiver);
    cr_assert_eq(weft_read(b, buf, 1), WEFT_EBUSY); /* it is the one reader */
    cr_assert_eq(weft_pipe(&r, &w), 0);
    int fd = weft_stream_fd(w);
    cr_assert_eq(weft_stream_attempt(a, WEFT_WRITING, send_descriptor, &fd), 1);
    join(receiver);
    cr_assert_eq(p.result, 1);
    weft_close(w); /* the other holds it */
    cr_assert_eq(weft_stream_from_fd(&got, p.fd), 0);
    cr_assert_eq(weft_write(got, "abc", 3), 3);
    weft_close(got);
    cr_assert_eq(weft_read_exact(r, buf, 3), 3);
    cr_assert_eq(weft_read(r, buf, 1), 0);
    weft_close(r);
    weft_close(a);
    receive(&p);
    cr_assert_eq(p.result, 0); /* and then the end, as for any reader */
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(sockets, a_descriptor_is_passed_while_the_other_side_waits) { run(workers, pass, NULL); }

/* ---- no descriptors ------------------------------------------------------------------------------------------- */

enum { FEW = 200 };

/* Until restored, @left more can be opened. */
typedef struct shortage {
    struct rlimit before;
    int fds[FEW], n;
} shortage;

static void run_short(shortage *s, int left)
{
    struct rlimit now;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &s->before), 0);
    now = (struct rlimit){.rlim_cur = FEW, .rlim_max = s->before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
    for (s->n = 0; (s->fds[s->n] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0; s->n++)
        ;
    cr_assert_geq(s->n, left);
    while (left-- > 0)
        close(s->fds[--s->n]);
}

static void restore(shortage *s)
{
    while (s->n > 0)
        close(s->fds[--s->n]);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &s->before), 0);
}

typedef struct calls {
    char tcp[WEFT_ADDR_TEXT], path[64], stale[64];
    weft_listener *on_tcp;
    weft_stream *stream; /* to be released */
} calls;

static int call_tcp_listen(calls *c)
{
    weft_listener *l;
    (void)c;
    int err = weft_tcp_listen(&l, "127.0.0.1:0", NULL);
    weft_listener_close(l);
    return err;
}

static int call_unix_listen(calls *c)
{
    weft_listener *l;
    int err = weft_unix_listen(&l, c->path, NULL);
    weft_listener_close(l);
    cr_assert_lt(access(c->path, F_OK), 0);
    return err;
}

static int call_unix_listen_stale(calls *c)
{
    weft_listener *l;
    int err = weft_unix_listen(&l, c->stale, &(weft_unix_options){.keep = 1});
    weft_listener_close(l);
    cr_assert_eq(access(c->stale, F_OK), 0); /* it is replaced, or as before */
    return err;
}

static int call_unix_connect(calls *c)
{
    weft_stream *s;
    int err = weft_unix_connect(&s, c->stale);
    cr_assert_null(s);
    return err == WEFT_ECONNREFUSED ? 0 : err;
}

static int call_tcp_connect(calls *c)
{
    weft_stream *s;
    int err = weft_tcp_connect(&s, c->tcp, NULL);
    weft_close(s);
    return err;
}

static int call_accept(calls *c)
{
    weft_stream *s;
    int err = weft_accept(&s, c->on_tcp);
    weft_close(s);
    return err;
}

static int call_pipe(calls *c)
{
    weft_stream *r, *w;
    (void)c;
    int err = weft_pipe(&r, &w);
    cr_assert_eq(!r, err < 0);
    cr_assert_eq(!w, err < 0);
    weft_close(r);
    weft_close(w);
    return err;
}

static int call_release(calls *c)
{
    int fd = weft_stream_release(c->stream);
    if (fd < 0)
        return fd;
    cr_assert_eq(weft_stream_from_fd(&c->stream, fd), 0);
    return 0;
}

static void *without_descriptors(void *arg)
{
    static int (*const each[])(calls *) = {call_tcp_listen,   call_unix_listen, call_unix_listen_stale,
                                           call_unix_connect, call_tcp_connect, call_accept,
                                           call_pipe,         call_release};
    char folder[] = "/tmp/weft-sockets-XXXXXX";
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    calls c;
    weft_stream *peer, *waits;
    (void)arg;
    cr_assert_not_null(mkdtemp(folder));
    snprintf(c.path, sizeof c.path, "%s/new", folder);
    snprintf(c.stale, sizeof c.stale, "%s/stale", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(sa.sun_path, c.stale, strlen(c.stale));
    cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    close(fd);
    c.on_tcp = listen_any(c.tcp);
    pair(&c.stream, &peer);
    cr_assert_eq(weft_tcp_connect(&waits, c.tcp, NULL), 0); /* to be accepted */
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        for (int left = 0, err = WEFT_EMFILE; err < 0; left++) {
            shortage s;
            int before = open_fds();
            cr_assert_lt(left, 8, "call %zu goes on failing", i);
            run_short(&s, left);
            err = each[i](&c);
            restore(&s);
            cr_assert(err == 0 || err == WEFT_EMFILE, "call %zu with %d left: %s", i, left, weft_err_name(err));
            cr_assert(err < 0 || left > 0, "call %zu needs none", i);
            cr_assert_eq((int)open_fds(), before, "call %zu with %d left", i, left);
        }
    weft_close(waits);
    weft_close(c.stream);
    weft_close(peer);
    weft_listener_close(c.on_tcp);
    cr_assert_eq(unlink(c.stale), 0);
    cr_assert_eq(rmdir(folder), 0);
    return NULL;
}

Test(sockets, without_descriptors_each_call_fails_and_leaves_nothing) { run(1, without_descriptors, NULL); }

/* ---- no memory ------------------------------------------------------------------------------------------------ */

static atomic_bool empty;

static void *from_malloc(size_t size, void *arg)
{
    (void)arg;
    return atomic_load(&empty) ? NULL : malloc(size);
}

static void to_free(void *block, void *arg)
{
    (void)arg;
    free(block);
}

/* The first socket of a runtime needs a place. */
static void *without_memory(void *arg)
{
    char folder[] = "/tmp/weft-sockets-XXXXXX", path[64];
    int fd = plain_listener(), fds[2], before = open_fds();
    weft_listener *l = arg;
    weft_stream *s, *t;
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    before += 2;
    atomic_store(&empty, true);
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", NULL), WEFT_ENOMEM);
    cr_assert_null(l);
    cr_assert_eq(weft_unix_listen(&l, path, NULL), WEFT_ENOMEM);
    cr_assert_null(l);
    cr_assert_eq(weft_unix_listen(&l, path, &(weft_unix_options){.keep = 1}), WEFT_ENOMEM);
    cr_assert_eq(weft_unix_listen(&l, "@weft-sockets-test", NULL), WEFT_ENOMEM);
    cr_assert_eq(weft_listener_from_fd(&l, fd), WEFT_ENOMEM);
    cr_assert_null(l);
    cr_assert_eq(weft_stream_from_fd(&s, fds[0]), WEFT_ENOMEM);
    cr_assert_null(s);
    cr_assert_eq(weft_pipe(&s, &t), WEFT_ENOMEM);
    cr_assert_null(s);
    cr_assert_null(t);
    atomic_store(&empty, false);
    cr_assert_eq((int)open_fds(), before);
    close(fds[0]);
    close(fds[1]);
    close(fd);
    cr_assert_eq(rmdir(folder), 0); /* and no path */
    return NULL;
}

Test(sockets, without_memory_each_call_fails_and_leaves_nothing)
{
    weft_options o = {.workers = 1, .allocator = {.alloc = from_malloc, .free = to_free}};
    cr_assert_eq(weft_run_with(&o, without_memory, NULL, NULL), 0);
}
