/* faults_tcp_test.c - listening, connecting and options of TCP when the kernel fails, at every call in turn. What connections say to each other then is in
 * net_faults_test.c. */
#include <errno.h>
#include <support/faults_sweep.h>
#include <support/names.h>
#include <sys/socket.h>

/* ---- with every option -------------------------------------------------------------------------------------------- */

static const weft_tcp_options all = {.reuse_port = 1,
                                     .keepalive = 30 * WEFT_SEC,
                                     .keepalive_interval = WEFT_SEC,
                                     .keepalive_count = 3,
                                     .linger = WEFT_SEC,
                                     .fast_open = 5,
                                     .send_buffer = 50000,
                                     .receive_buffer = 50000};

static ssize_t names_of(weft_stream *s)
{
    weft_addr addr;
    ssize_t err = weft_stream_local(s, &addr);
    return err < 0 ? err : weft_stream_peer(s, &addr);
}

static ssize_t set_up(weft_listener *l, weft_stream **client, weft_stream **server)
{
    weft_tcp_options o = all;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    ssize_t err = weft_listener_addr(l, &addr);
    if (err < 0)
        return err;
    o.bind = "127.0.0.1:0";
    o.fast_open = 0; /* else it waits for the first write */
    err = weft_tcp_connect(client, weft_addr_format(&addr, text, sizeof text), &o);
    cr_assert_eq(err == 0, *client != NULL);
    if (err < 0)
        return err;
    err = weft_accept(server, l);
    if (err == 0)
        err = weft_tcp_configure(*client, &all);
    if (err == 0)
        err = names_of(*server);
    return err < 0 ? err : weft_close_write(*client);
}

static ssize_t listen_and_connect(void *arg)
{
    weft_listener *l;
    weft_stream *client = NULL, *server = NULL;
    (void)arg;
    ssize_t err = weft_tcp_listen(&l, "127.0.0.1:0", &all);
    cr_assert_eq(err == 0, l != NULL);
    if (err == 0)
        err = set_up(l, &client, &server);
    weft_close(client);
    weft_close(server);
    weft_listener_close(l);
    return err;
}

static const fault in_connecting[] = {
    TOLD(SOCKET, TCP, EMFILE),
    TOLD(SOCKET, TCP, ENFILE),
    TOLD(SOCKET, TCP, ENOBUFS),
    TOLD(SOCKET, TCP, ENOMEM),
    TOLD(BIND, TCP, EADDRINUSE),
    TOLD(BIND, TCP, EACCES),
    TOLD(BIND, TCP, EADDRNOTAVAIL),
    TOLD(LISTEN, TCP, EADDRINUSE),
    SOMETIMES(SETSOCKOPT, TCP, ENOPROTOOPT), /* some are hints */
    SOMETIMES(SETSOCKOPT, TCP, ENOBUFS),
    SOMETIMES(GETSOCKOPT, TCP, ENOBUFS), /* a close asks, too */
    UNNOTICED(CONNECT, TCP, 1, EINTR),
    TOLD_AS(CONNECT, TCP, EAGAIN, WEFT_EADDRNOTAVAIL),
    TOLD(CONNECT, TCP, ECONNREFUSED),
    TOLD(CONNECT, TCP, ENETUNREACH),
    TOLD(CONNECT, TCP, ETIMEDOUT),
    TOLD(CONNECT, TCP, EACCES),
    UNNOTICED(ACCEPT4, TCP, 3, EINTR),
    UNNOTICED(ACCEPT4, TCP, 3, EAGAIN),
    TOLD(ACCEPT4, TCP, EMFILE),
    TOLD(ACCEPT4, TCP, ENFILE),
    TOLD(ACCEPT4, TCP, ENOMEM),
    TOLD(ACCEPT4, TCP, ECONNABORTED),
    TOLD(ACCEPT4, TCP, EPERM),
    SOMETIMES(GETSOCKNAME, TCP, ENOBUFS),
    TOLD(GETPEERNAME, TCP, ENOTCONN),
    TOLD(SHUTDOWN, TCP, ENOTCONN),
    UNNOTICED(CLOSE, TCP, 1, EINTR),
    UNNOTICED(CLOSE, TCP, 1, EIO),
#if !WF_REACTOR_UVPOLL
    TOLD(EPOLL_CTL, TCP, ENOMEM),
    UNNOTICED(EPOLL_DEL, TCP, 1, ENOENT),
#endif
};

WF_TEST_WORKERS(faults_tcp, whoever_listens_connects_or_configures_is_told_and_nothing_is_left)
{
    faults_sweep_with(workers, &FAULTS_SWEEP(in_connecting, listen_and_connect));
}

/* ---- a name with two addresses ---------------------------------------------------------------------------------------- */

static weft_listener *both[2];

static ssize_t connect_by_name(void *arg)
{
    weft_stream *s;
    int err = weft_tcp_connect(&s, arg, NULL);
    cr_assert_eq(err == 0, s != NULL);
    weft_close(s);
    return err;
}

static const fault in_choosing[] = {
    UNNOTICED(SOCKET, TCP, 1, EAFNOSUPPORT),
    TOLD(SOCKET, TCP, EMFILE),
    TOLD(SOCKET, TCP, ENFILE),
    TOLD(SOCKET, TCP, ENOBUFS),
    UNNOTICED(CONNECT, TCP, 1, ECONNREFUSED),
    UNNOTICED(CONNECT, TCP, 1, ENETUNREACH),
    UNNOTICED(CONNECT, TCP, 1, EADDRNOTAVAIL),
    TOLD(CONNECT, TCP, ENOMEM),
    UNNOTICED(CONNECT, TCP, 1, EINTR),
    UNNOTICED(SETSOCKOPT, TCP, 1, ENOPROTOOPT),
    {{.call = FAULTS_CONNECT, .class = FAULTS_TCP, .times = ALWAYS, .error = ECONNREFUSED}, FAULTS_SOMETIMES, -ECONNREFUSED},
};

static void *by_name(void *arg)
{
    char text[WEFT_ADDR_TEXT], second[WEFT_ADDR_TEXT];
    name names[] = {{.host = "both", .answers = {"127.0.0.1:0", "127.0.0.2:0"}}};
    weft_addr addr;
    (void)arg;
    both[0] = listen_any(text);
    cr_assert_eq(weft_listener_addr(both[0], &addr), 0);
    snprintf(second, sizeof second, "127.0.0.2:%u", weft_addr_port(&addr));
    cr_assert_eq(weft_tcp_listen(&both[1], second, NULL), 0);
    snprintf(text, sizeof text, "both:%u", weft_addr_port(&addr));
    names_set(names, 1);
    faults_sweep_here(&FAULTS_SWEEP(in_choosing, connect_by_name, .arg = text));
    weft_listener_close(both[0]);
    weft_listener_close(both[1]);
    while (atomic_load(&names_held) > 0) /* by whoever has just asked */
        cr_assert_eq(weft_sleep(WEFT_MS), 0);
    return NULL;
}

WF_TEST_WORKERS(faults_tcp, an_address_that_fails_is_passed_over_unless_none_would_do)
{
    faults_need();
    run(workers, by_name, NULL);
}
