/* udp.c - datagram sockets: opening, sending and receiving one at a time, closing.
 *
 * An attempt is one system call. What a datagram met on its way (ECONNREFUSED) is an error pending on the socket: the next call takes it and
 * returns it, and the socket goes on. */
#include <errno.h>
#include <limits.h>
#include <net/resolve.h>
#include <net/socket.h>
#include <net/socket_call.h>
#include <net/source_op.h>
#include <net/udp.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <runtime/runtime.h>
#include <string.h>
#include <unistd.h>

enum { MOST_ADDRESSES = 8 };

/* ---- the handle ------------------------------------------------------------------------------------------------ */

static void gone(wf_source *source)
{
    wf_udp_extra *extra = wf_udp_extra_of((weft_udp *)(void *)source);
    wf_udp_turns_gone(wf_swap_acqrel(&extra->turns, NULL));
}

static const wf_source_kind datagrams = {.seldom_full = true, .gone = gone};

/* Owns @fd from now on; or WEFT_ENOMEM, and it is the caller's. */
static int open_on(weft_udp **out, wf_sources *all, int fd, wf_udp_extra extra)
{
    wf_udp_turns *turns = wf_udp_turns_new(all->allocator);
    wf_source *source = turns ? wf_source_open(all, fd, &datagrams, true) : NULL;
    if (!source) {
        if (turns)
            wf_udp_turns_gone(turns);
        return WEFT_ENOMEM;
    }
    wf_udp_turns_open(turns, source);
    *out = (weft_udp *)(void *)source;
    extra.turns.v = turns;
    *wf_udp_extra_of(*out) = extra;
    return 0;
}

/* ---- options --------------------------------------------------------------------------------------------------- */

static int set_buffer(int fd, int name, size_t size)
{
    if (size == 0)
        return 0;
    return size <= INT_MAX ? wf_set_option(fd, SOL_SOCKET, name, (int)size) : WEFT_EINVAL;
}

/* What only makes some calls tell more: without it they tell less. */
static void ask_to_be_told(int fd, int family, const weft_udp_options *o)
{
#ifdef UDP_GRO
    if (o->gro)
        wf_set_option(fd, IPPROTO_UDP, UDP_GRO, 1);
#endif
#ifdef IP_RECVTOS
    if (o->ecn)
        wf_set_option(fd, IPPROTO_IP, IP_RECVTOS, 1); /* of an IPv6 socket too: it may get IPv4 */
#endif
    if (o->ecn && family == AF_INET6)
        wf_set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
}

/* All that comes before an address. */
static int apply(int fd, int family, const weft_udp_options *o)
{
    int err = 0;
    if (o->reuse_port)
        err = wf_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (err == 0 && family == AF_INET6)
        err = wf_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6only != 0);
    if (err == 0 && o->broadcast)
        err = wf_set_option(fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (err == 0 && o->ttl)
        err = wf_udp_set_ttl(fd, family, o->ttl);
    if (err == 0)
        err = set_buffer(fd, SO_SNDBUF, o->send_buffer);
    if (err == 0)
        err = set_buffer(fd, SO_RCVBUF, o->receive_buffer);
    ask_to_be_told(fd, family, o);
    return err;
}

static weft_udp_options known(const weft_udp_options *options, size_t size)
{
    weft_udp_options own = WEFT_UDP_OPTIONS_INIT;
    if (options)
        memcpy(&own, options, WF_MIN(size, sizeof own));
    return own;
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

typedef int (*name_call)(int fd, const struct sockaddr *sa, socklen_t length);

/* EAGAIN is not "later" here: there is no port left. */
WF_NOINLINE static int give_name(int fd, name_call call, const weft_addr *addr)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    if (call(fd, sa, (socklen_t)length) == 0)
        return 0;
    return errno == EAGAIN ? WEFT_EADDRNOTAVAIL : -errno;
}

static int family_of(const weft_addr *addr) { return weft_addr_sockaddr(addr, NULL)->sa_family; }

/* A socket at @local, if any, for @remote, if any, or a negative code with nothing left behind. */
static int open_socket(const weft_addr *local, const weft_addr *remote, const weft_udp_options *o)
{
    int family = family_of(remote ? remote : local);
    if ((family != AF_INET && family != AF_INET6) || (local && family_of(local) != family))
        return WEFT_EINVAL;
    int fd = wf_socket(family, SOCK_DGRAM);
    if (fd < 0)
        return fd;
    int err = apply(fd, family, o);
    if (err == 0 && local)
        err = give_name(fd, bind, local);
    if (err == 0 && remote)
        err = give_name(fd, connect, remote);
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

/* The same, as a handle. */
static int open_at(weft_udp **out, const weft_addr *local, const weft_addr *remote, const weft_udp_options *o)
{
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    int fd = open_socket(local, remote, o);
    if (fd < 0)
        return fd;
    int err = open_on(out, all, fd,
                      (wf_udp_extra){.family = (sa_family_t)family_of(remote ? remote : local),
                                     .fails = remote != NULL,
                                     .told = o->gro || o->ecn});
    if (err < 0)
        close(fd);
    return err;
}

int weft_udp_bind_sized(weft_udp **out, const char *address, const weft_udp_options *options, size_t size)
{
    weft_addr addr;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (!address || weft_addr_parse(&addr, address) < 0)
        return weft_error_set(WEFT_EINVAL, "bind: \"%s\" is no address", address ? address : "");
    weft_udp_options o = known(options, size);
    int err = open_at(out, &addr, NULL, &o);
    return err < 0 ? weft_error_set(err, "bind %s: %s", address, weft_strerror(err)) : 0;
}

/* How many, or a negative code. What is all numbers asks nobody, so that it works where nothing can wait. */
static int addresses_of(weft_addr addrs[MOST_ADDRESSES], const char *address)
{
    wf_host_port text;
    if (weft_addr_parse(&addrs[0], address) == 0)
        return 1;
    return wf_host_port_split(&text, address) ? weft_resolve(addrs, MOST_ADDRESSES, text.host, text.port) : WEFT_EINVAL;
}

/* Connecting a datagram socket waits for nobody: the first address to which there is a way is it. */
static int connect_to(weft_udp **out, const char *address, const weft_udp_options *o)
{
    weft_addr addrs[MOST_ADDRESSES], local;
    int err = WEFT_EINVAL, n = addresses_of(addrs, address);
    if (n < 0 || (o->bind && weft_addr_parse(&local, o->bind) < 0))
        return n < 0 ? n : WEFT_EINVAL;
    for (int i = 0; i < n && err < 0; i++)
        err = open_at(out, o->bind ? &local : NULL, &addrs[i], o);
    return err;
}

int weft_udp_connect_sized(weft_udp **out, const char *address, const weft_udp_options *options, size_t size)
{
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (!address)
        return WEFT_EINVAL;
    weft_udp_options o = known(options, size);
    int err = connect_to(out, address, &o);
    return err < 0 ? weft_error_set(err, "connect %s: %s", address, weft_strerror(err)) : 0;
}

/* A datagram socket as it is, made non-blocking: what it knows of itself, or a negative code. */
WF_NOINLINE static int examine(int fd, wf_udp_extra *extra)
{
    struct sockaddr_storage sa;
    int type = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type}) < 0)
        return -errno;
    if (type != SOCK_DGRAM)
        return WEFT_EINVAL;
    if (getsockname(fd, (struct sockaddr *)&sa, &(socklen_t){sizeof sa}) < 0)
        return -errno;
    extra->family = sa.ss_family;
    extra->fails = true;
    /* A Unix socket would be told of descriptors, too, and then nobody closes them. */
    extra->told = sa.ss_family == AF_INET || sa.ss_family == AF_INET6;
    return wf_set_nonblocking(fd);
}

int weft_udp_from_fd(weft_udp **out, int fd)
{
    wf_udp_extra extra = {.told = false};
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    int err = examine(fd, &extra);
    return err < 0 ? err : open_on(out, all, fd, extra);
}

/* ---- closing --------------------------------------------------------------------------------------------------- */

void weft_udp_close(weft_udp *u)
{
    if (u)
        wf_source_close(&u->source);
}

void weft_udp_abort(weft_udp *u)
{
    if (u)
        wf_source_abort(&u->source);
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

static ssize_t attempt_send(wf_source_op *op, bool *drained)
{
    const weft_addr *to = wf_container(op, wf_udp_send, op)->to;
    size_t length = 0;
    const struct sockaddr *sa = wf_udp_has_address(to) ? weft_addr_sockaddr(to, &length) : NULL;
    (void)drained;
    return wf_sendto(wf_load_rlx(&op->source->fd), op->buf, op->size, sa, length);
}

static int begin_send(wf_udp_send *send, weft_udp *u, const void *buf, size_t size, const weft_addr *to)
{
    if (!u || (!buf && size) || size > SSIZE_MAX)
        return WEFT_EINVAL;
    send->op = (wf_source_op){.source = &u->source,
                              .direction = WF_WRITE,
                              .attempt = attempt_send,
                              .buf = (void *)(uintptr_t)(buf ? buf : ""),
                              .size = size};
    send->to = to;
    return wf_udp_send_begin(send);
}

static const wf_op_ops send_ops = {.poll = wf_udp_send_poll, .cancel = wf_udp_send_cancel};

ssize_t weft_udp_send(weft_udp *u, const void *buf, size_t size, const weft_addr *to)
{
    wf_udp_send send;
    int err = begin_send(&send, u, buf, size, to);
    return err < 0 ? err : wf_await_inline(&send_ops, &send, WEFT_FOREVER);
}

ssize_t weft_poll_udp_send(weft_context *cx, weft_udp *u, const void *buf, size_t size, const weft_addr *to)
{
    wf_udp_send send;
    int err = cx ? begin_send(&send, u, buf, size, to) : WEFT_EINVAL;
    return err < 0 ? err : wf_udp_send_poll_once(&send, cx);
}

/* ---- receiving ------------------------------------------------------------------------------------------------- */

typedef struct recv_op {
    wf_source_op op; /* first */
    weft_addr *from;
} recv_op;

/* As weft_addr_from_sockaddr(), where it stands. */
static void named_v4(weft_addr *a)
{
    a->length_ = sizeof(struct sockaddr_in);
    a->reserved_ = 0;
    memset((char *)a->storage_ + offsetof(struct sockaddr_in, sin_zero), 0,
           sizeof a->storage_ - offsetof(struct sockaddr_in, sin_zero));
}

void wf_udp_named(weft_addr *a, socklen_t length)
{
    if (wf_likely(length == sizeof(struct sockaddr_in) && wf_udp_name(a)->sa_family == AF_INET)) {
        named_v4(a);
        return;
    }
    struct sockaddr_storage sa;
    memcpy(&sa, a->storage_, sizeof sa);
    weft_addr_from_sockaddr(a, (struct sockaddr *)&sa, length); /* fails, and zero: a Unix socket without a name */
}

#ifdef __linux__
/* It tells the whole length of what it cuts. */
WF_INLINE ssize_t recv_from(int fd, void *buf, size_t size, weft_addr *from)
{
    socklen_t length = sizeof(struct sockaddr_storage);
    ssize_t n = wf_recvfrom(fd, buf, size, MSG_TRUNC, from ? wf_udp_name(from) : NULL, from ? &length : NULL);
    if (n < 0)
        return n;
    if (from)
        wf_udp_named(from, length);
    return (size_t)n > size ? WEFT_EMSGSIZE : n;
}
#else
WF_NOINLINE static ssize_t recv_from(int fd, void *buf, size_t size, weft_addr *from)
{
    struct iovec piece = {buf, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (from) {
        message.msg_name = wf_udp_name(from);
        message.msg_namelen = sizeof(struct sockaddr_storage);
    }
    ssize_t n = recvmsg(fd, &message, 0);
    if (n < 0)
        return -errno;
    if (from)
        wf_udp_named(from, message.msg_namelen);
    return message.msg_flags & MSG_TRUNC ? WEFT_EMSGSIZE : n;
}
#endif

WF_INLINE ssize_t attempt_recv(wf_source_op *op, bool *drained)
{
    (void)drained; /* a datagram does not say whether there is another */
    return recv_from(wf_load_rlx(&op->source->fd), op->buf, op->size, wf_container(op, recv_op, op)->from);
}

static int begin_recv(recv_op *recv, weft_udp *u, void *buf, size_t size, weft_addr *from)
{
    if (!u || (!buf && size) || size > SSIZE_MAX)
        return WEFT_EINVAL;
    recv->op = (wf_source_op){.source = &u->source, .direction = WF_READ, .attempt = attempt_recv, .buf = buf, .size = size};
    recv->from = from;
    return 0;
}

WF_INLINE ssize_t poll_recv(void *op, weft_context *cx)
{
    return wf_source_op_poll_with(op, cx, true, attempt_recv, WF_READ, WF_WAIT_READ);
}

static const wf_op_ops recv_ops = {.poll = poll_recv, .cancel = wf_source_op_cancel};

ssize_t weft_udp_recv(weft_udp *u, void *buf, size_t size, weft_addr *from)
{
    recv_op recv;
    int err = begin_recv(&recv, u, buf, size, from);
    return err < 0 ? err : wf_await_inline(&recv_ops, &recv, WEFT_FOREVER);
}

ssize_t weft_poll_udp_recv(weft_context *cx, weft_udp *u, void *buf, size_t size, weft_addr *from)
{
    recv_op recv;
    int err = cx ? begin_recv(&recv, u, buf, size, from) : WEFT_EINVAL;
    return err < 0 ? err : wf_source_op_poll_once(&recv.op, cx);
}

/* ---- what it is ------------------------------------------------------------------------------------------------ */

int weft_udp_fd(weft_udp *u) { return !u || wf_source_closing(&u->source) ? -1 : wf_load_rlx(&u->source.fd); }

static int name_of(weft_udp *u, wf_name_call call, weft_addr *out)
{
    if (!u || !out)
        return WEFT_EINVAL;
    int err, fd = wf_source_visit(&u->source, &err);
    if (err < 0)
        return err;
    err = wf_socket_name(fd, call, out);
    wf_source_leave(&u->source);
    return err;
}

int weft_udp_local(weft_udp *u, weft_addr *out) { return name_of(u, getsockname, out); }

int weft_udp_peer(weft_udp *u, weft_addr *out) { return name_of(u, getpeername, out); }
