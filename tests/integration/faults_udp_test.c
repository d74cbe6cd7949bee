/* faults_udp_test.c - datagrams when the kernel fails, at every call in turn. */
#include <errno.h>
#include <support/faults_sweep.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static ssize_t adopt(weft_udp **u)
{
    int fd = (int)syscall(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int err = weft_udp_from_fd(u, fd);
    if (err < 0) {
        cr_assert_null(*u);
        syscall(SYS_close, fd);
    }
    return err;
}

static ssize_t names_of(weft_udp *u, bool connected)
{
    weft_addr local, peer;
    ssize_t err = weft_udp_local(u, &local);
    return err < 0 || !connected ? err : weft_udp_peer(u, &peer);
}

static ssize_t open_all(void *arg)
{
    weft_udp *a = NULL, *b = NULL, *c = NULL;
    weft_udp_options o = {.reuse_port = 1, .broadcast = 1, .ttl = 3, .send_buffer = 9999, .receive_buffer = 9999, .ecn = 1};
    (void)arg;
    ssize_t err = weft_udp_bind(&a, "127.0.0.1:0", &o);
    if (err == 0)
        err = names_of(a, false);
    o.bind = "127.0.0.1:0";
    if (err == 0)
        err = weft_udp_connect(&b, "127.0.0.1:9", &o);
    if (err == 0)
        err = names_of(b, true);
    if (err == 0)
        err = adopt(&c);
    if (err == 0)
        err = weft_udp_set_ttl(c, 9);
    if (err == 0)
        err = weft_udp_set_broadcast(c, 1);
    weft_udp_close(a);
    weft_udp_close(b);
    weft_udp_close(c);
    return err;
}

static const fault in_opening[] = {
    TOLD(SOCKET, UDP, EMFILE),         TOLD(SOCKET, UDP, ENFILE),
    TOLD(SOCKET, UDP, ENOBUFS),        TOLD(SOCKET, UDP, ENOMEM),
    TOLD(BIND, UDP, EADDRINUSE),       TOLD(BIND, UDP, EACCES),
    TOLD(BIND, UDP, EADDRNOTAVAIL),    TOLD(CONNECT, UDP, ENETUNREACH),
    TOLD(CONNECT, UDP, EACCES),        TOLD_AS(CONNECT, UDP, EAGAIN, WEFT_EADDRNOTAVAIL),
    SOMETIMES(SETSOCKOPT, UDP, EPERM), SOMETIMES(SETSOCKOPT, UDP, ENOPROTOOPT),
    TOLD(GETSOCKNAME, UDP, ENOBUFS),   TOLD(GETPEERNAME, UDP, ENOTCONN),
    TOLD(GETSOCKOPT, UDP, ENOBUFS),    TOLD(FCNTL, UDP, EPERM),
    UNNOTICED(CLOSE, UDP, 1, EINTR),   UNNOTICED(CLOSE, UDP, 1, EIO),
};

WF_TEST_WORKERS(faults_udp, opening_that_fails_says_why_and_leaves_nothing)
{
    faults_sweep_with(workers, &FAULTS_SWEEP(in_opening, open_all));
}

/* ---- one at a time -------------------------------------------------------------------------------------------------- */

enum { DATAGRAMS = 12 };

typedef struct peers {
    weft_udp *bound, *connected;
    ssize_t echoed;
} peers;

static ssize_t open_peers(peers *p)
{
    char text[WEFT_ADDR_TEXT];
    weft_addr addr;
    cr_assert_eq(weft_udp_bind(&p->bound, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_udp_local(p->bound, &addr), 0);
    cr_assert_eq(weft_udp_connect(&p->connected, weft_addr_format(&addr, text, sizeof text), NULL), 0);
    return p->echoed = 0;
}

static void close_peers(peers *p)
{
    weft_udp_close(p->bound);
    weft_udp_close(p->connected);
}

static void *echo(void *arg)
{
    peers *p = arg;
    weft_addr from;
    char buf[64];
    for (int i = 0; i < DATAGRAMS && p->echoed >= 0; i++) {
        p->echoed = weft_udp_recv(p->bound, buf, sizeof buf, &from);
        if (p->echoed >= 0)
            p->echoed = weft_udp_send(p->bound, buf, (size_t)p->echoed, &from);
    }
    if (p->echoed < 0)
        weft_udp_abort(p->connected);
    return NULL;
}

static ssize_t ask(weft_udp *u, int i)
{
    int back = -1;
    ssize_t n = weft_udp_send(u, &i, sizeof i, NULL);
    if (n < 0)
        return n;
    cr_assert_eq(n, sizeof i);
    n = weft_udp_recv(u, &back, sizeof back, NULL);
    if (n < 0)
        return n;
    cr_assert_eq(n, sizeof back);
    cr_assert_eq(back, i);
    return 0;
}

static ssize_t talk(void *arg)
{
    peers p;
    ssize_t err = open_peers(&p);
    (void)arg;
    weft_task *echoes = start(echo, &p);
    for (int i = 0; i < DATAGRAMS && err == 0; i++)
        err = ask(p.connected, i);
    if (err < 0)
        weft_udp_abort(p.bound);
    join(echoes);
    close_peers(&p);
    return faults_first(err, p.echoed < 0 ? p.echoed : 0);
}

static const fault in_talking[] = {
    UNNOTICED(SENDTO, UDP, 1, EINTR),     UNNOTICED(SENDTO, UDP, 5, EINTR),
    UNNOTICED(SENDTO, UDP, 1, EAGAIN),    UNNOTICED(SENDTO, UDP, 5, EAGAIN),
    UNNOTICED(RECVFROM, UDP, 1, EINTR),   UNNOTICED(RECVFROM, UDP, 5, EINTR),
    UNNOTICED(RECVFROM, UDP, 1, EAGAIN),  UNNOTICED(RECVFROM, UDP, 5, EAGAIN),
    TOLD(SENDTO, UDP, ENOBUFS),           TOLD(SENDTO, UDP, EPERM),
    TOLD(SENDTO, UDP, ECONNREFUSED),      TOLD(RECVFROM, UDP, ECONNREFUSED),
    TOLD(RECVFROM, UDP, ENOMEM),
#if !WF_REACTOR_UVPOLL /* there it is libuv that adds it, and libuv that aborts */
    TOLD(EPOLL_CTL, UDP, ENOMEM),         TOLD(EPOLL_CTL, UDP, ENOSPC),
    UNNOTICED(EPOLL_DEL, UDP, 1, ENOENT),
#endif
};

WF_TEST_WORKERS(faults_udp, a_conversation_is_whole_or_told_what_it_met)
{
    faults_sweep_with(workers, &FAULTS_SWEEP(in_talking, talk));
}

/* ---- batches ---------------------------------------------------------------------------------------------------------- */

enum { BATCH = 40, SIZE = 100 };

typedef struct batch {
    peers peers;
    weft_datagram list[BATCH];
    unsigned char bytes[BATCH][SIZE];
    int received;
    ssize_t met; /* while receiving */
} batch;

/* Some are alone by their size, some go joined, some are marked. */
static void fill(batch *b)
{
    for (int i = 0; i < BATCH; i++) {
        memset(b->bytes[i], i, SIZE);
        b->list[i] = (weft_datagram){.data = b->bytes[i], .size = i % 7 == 3 ? 50 : SIZE, .ecn = i % 9 == 8};
    }
}

static void check_one(const weft_datagram *d, int i)
{
    cr_assert_eq(d->length, i % 7 == 3 ? 50 : SIZE);
    cr_assert_eq(*(unsigned char *)d->data, i);
}

/* What fails takes none along. */
static void *receive(void *arg)
{
    batch *b = arg;
    static _Thread_local int unused;
    unsigned char bytes[8][SIZE];
    (void)unused;
    while (b->received < BATCH) {
        weft_datagram list[8] = {{.size = 0}};
        for (int i = 0; i < 8; i++)
            list[i] = (weft_datagram){.data = bytes[i], .size = SIZE};
        int n = weft_udp_recv_batch(b->peers.bound, list, 8);
        if (n == WEFT_ECLOSED)
            return NULL;
        b->met = n < 0 ? n : b->met;
        for (int i = 0; i < n; i++)
            check_one(&list[i], b->received++);
    }
    return NULL;
}

/* What was not sent is sent again. */
static ssize_t send_all(batch *b)
{
    ssize_t met = 0;
    for (int at = 0; at < BATCH;) {
        int n = weft_udp_send_batch(b->peers.connected, b->list + at, BATCH - at);
        cr_assert_neq(n, 0);
        met = n < 0 ? n : met;
        at += n > 0 ? n : 0;
    }
    return met;
}

static ssize_t send_batches(void *arg)
{
    batch *b = arg;
    open_peers(&b->peers);
    fill(b);
    b->received = 0;
    b->met = 0;
    weft_task *receiver = start(receive, b);
    ssize_t met = send_all(b);
    join(receiver);
    cr_assert_eq(b->received, BATCH);
    close_peers(&b->peers);
    return faults_first(met, b->met);
}

static const fault in_batches[] = {
    UNNOTICED(SENDMMSG, UDP, 1, EINTR),
    UNNOTICED(SENDMMSG, UDP, 5, EINTR),
    UNNOTICED(SENDMMSG, UDP, 1, EAGAIN),
    UNNOTICED(SENDMMSG, UDP, 5, EAGAIN),
    UNNOTICED(SENDMMSG, UDP, ALWAYS, ENOSYS),
    UNNOTICED(SENDMMSG, UDP, 1, EIO), /* it will not cut: then it is not asked to */
    SHORT(SENDMMSG, UDP, 1, 1),
    SHORT(SENDMMSG, UDP, ALWAYS, 1),
    SHORT(SENDMMSG, UDP, 2, 3),
    UNNOTICED(RECVMMSG, UDP, 1, EINTR),
    UNNOTICED(RECVMMSG, UDP, 5, EINTR),
    UNNOTICED(RECVMMSG, UDP, 1, EAGAIN),
    UNNOTICED(RECVMMSG, UDP, 5, EAGAIN),
    UNNOTICED(RECVMMSG, UDP, ALWAYS, ENOSYS),
    SHORT(RECVMMSG, UDP, 1, 1),
    SHORT(RECVMMSG, UDP, ALWAYS, 2),
    UNNOTICED(GETSOCKOPT, UDP, 1, ENOPROTOOPT), /* the kernel cannot cut */
    SOMETIMES(SENDMMSG, UDP, ENOBUFS),
    SOMETIMES(SENDMMSG, UDP, ECONNREFUSED),
    TOLD(RECVMMSG, UDP, ECONNREFUSED),
    TOLD(RECVMMSG, UDP, ENOMEM),
};

WF_TEST_WORKERS(faults_udp, each_datagram_of_a_batch_is_sent_once_whatever_comes_between)
{
    static batch b;
    faults_sweep_with(workers, &FAULTS_SWEEP(in_batches, send_batches, .arg = &b));
}

/* ---- a socket that is full ------------------------------------------------------------------------------------------------ */

/* A Unix socket with little room takes a few datagrams; on loopback others are never full. */
typedef struct full {
    weft_udp *from, *to;
    ssize_t met;
} full;

enum { FLOOD = 60 };

static void *flood(void *arg)
{
    full *f = arg;
    for (int i = 0; i < FLOOD;) {
        ssize_t n = weft_udp_send(f->from, &i, sizeof i, NULL);
        f->met = n < 0 ? n : f->met;
        i += n > 0;
    }
    return NULL;
}

static ssize_t open_full(full *f)
{
    int fds[2], least = 1;
    cr_assert_eq(syscall(SYS_socketpair, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
    cr_assert_eq(weft_udp_from_fd(&f->from, fds[0]), 0);
    cr_assert_eq(weft_udp_from_fd(&f->to, fds[1]), 0);
    return f->met = 0;
}

static ssize_t fill_up(void *arg)
{
    full f;
    int got;
    (void)arg;
    open_full(&f);
    weft_task *sender = start(flood, &f);
    await_idle(sender);
    for (int i = 0; i < FLOOD; i++) {
        cr_assert_eq(weft_udp_recv(f.to, &got, sizeof got, NULL), sizeof got);
        cr_assert_eq(got, i);
    }
    join(sender);
    weft_udp_close(f.from);
    weft_udp_close(f.to);
    return f.met;
}

static const fault in_filling[] = {
    UNNOTICED(SENDTO, UNIX, 1, EINTR),    UNNOTICED(SENDTO, UNIX, 3, EAGAIN), UNNOTICED(RECVFROM, UNIX, 1, EINTR),
    UNNOTICED(RECVFROM, UNIX, 3, EAGAIN), TOLD(SENDTO, UNIX, ENOBUFS),        TOLD(SENDTO, UNIX, ENOMEM),
#if !WF_REACTOR_UVPOLL
    TOLD(EPOLL_MOD, UNIX, ENOMEM),
#endif
};

/* What broke: when the set would not watch for room, the sender was told; whoever sent next waited for ever. */
WF_TEST_WORKERS(faults_udp, a_sender_that_cannot_wait_for_room_is_told_and_the_next_one_waits)
{
    faults_sweep_with(workers, &FAULTS_SWEEP(in_filling, fill_up));
}
