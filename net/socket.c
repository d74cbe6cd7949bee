/* socket.c - sockets before they are streams, and the options of those that are: see socket.h.
 *
 * What is for connections is set on a listener once, and all that it accepts inherit it; so accepting costs no further call. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/socket.h>
#include <net/stream.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

WF_NOINLINE int wf_socket(int family, int type)
{
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

WF_NOINLINE int wf_set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

WF_NOINLINE int wf_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0) ? 0 : -errno;
}

int wf_tcp_set_nagle(int fd, bool nagle) { return wf_set_option(fd, IPPROTO_TCP, TCP_NODELAY, !nagle); }

/* ---- what connections are given -------------------------------------------------------------------------------- */

/* What the kernel takes; nobody means more. The buffers: it doubles them. */
enum { MOST_SECONDS = 32767, MOST_PROBES = 127, MOST_BUFFER = INT_MAX / 2 };

static bool is_time(int64_t ns) { return ns >= 0 && ns <= MOST_SECONDS * WEFT_SEC; }
static bool is_count(int n, int most) { return n >= 0 && n <= most; }

/* Rounded up. */
static int seconds(int64_t ns) { return (int)((ns + WEFT_SEC - 1) / WEFT_SEC); }

static bool makes_sense(const weft_tcp_options *o)
{
    return is_time(o->keepalive) && is_time(o->keepalive_interval) && is_count(o->keepalive_count, MOST_PROBES) &&
           (is_time(o->linger) || o->linger == WEFT_LINGER_RESET) && o->send_buffer <= MOST_BUFFER &&
           o->receive_buffer <= MOST_BUFFER && is_count(o->fast_open, INT_MAX) && is_count(o->backlog, INT_MAX);
}

static int set_unless_0(int fd, int level, int name, int value)
{
    return value ? wf_set_option(fd, level, name, value) : 0;
}

/* What a socket has that nobody has touched, or a negative code. */
WF_NOINLINE static int system_default(int level, int name)
{
    int value, fd = wf_socket(AF_INET, SOCK_STREAM);
    if (fd < 0)
        return fd;
    if (getsockopt(fd, level, name, &value, &(socklen_t){sizeof value}) < 0)
        value = -errno;
    close(fd);
    return value;
}

/* @fresh: a socket that has the system's values so far. */
static int set_probing(int fd, int name, int value, bool fresh)
{
    if (value == 0 && !fresh)
        value = system_default(IPPROTO_TCP, name);
    return value < 0 ? value : set_unless_0(fd, IPPROTO_TCP, name, value);
}

static int set_keepalive(int fd, const weft_tcp_options *o, bool fresh)
{
    int err = wf_set_option(fd, SOL_SOCKET, SO_KEEPALIVE, o->keepalive > 0);
    if (err < 0 || o->keepalive == 0)
        return err;
    err = wf_set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds(o->keepalive));
    if (err == 0)
        err = set_probing(fd, TCP_KEEPINTVL, seconds(o->keepalive_interval), fresh);
    return err < 0 ? err : set_probing(fd, TCP_KEEPCNT, o->keepalive_count, fresh);
}

static int set_buffers(int fd, const weft_tcp_options *o)
{
    int err = set_unless_0(fd, SOL_SOCKET, SO_SNDBUF, (int)o->send_buffer);
    return err < 0 ? err : set_unless_0(fd, SOL_SOCKET, SO_RCVBUF, (int)o->receive_buffer);
}

/* ---- after the close ------------------------------------------------------------------------------------------- */

static wf_a32 lingering; /* somebody has asked for it: from then on each close looks */

WF_NOINLINE static int set_linger(int fd, int64_t linger)
{
    struct linger l = {.l_onoff = linger != 0, .l_linger = linger > 0 ? seconds(linger) : 0};
    if (linger > 0)
        wf_store_rlx(&lingering, 1);
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l) == 0 ? 0 : -errno;
}

#ifdef __linux__
/* Linux makes close() wait for as long, non-blocking or not. To be given up after that time, without anybody waiting, is another option, which
 * would count from now on: so it is not set before the end. */
WF_NOINLINE static void linger_alone(int fd)
{
    struct linger l = {0};
    if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &(socklen_t){sizeof l}) < 0 || !l.l_onoff || l.l_linger == 0)
        return;
    wf_set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, WF_MIN(l.l_linger, MOST_SECONDS) * 1000);
    set_linger(fd, 0);
}
#else
static void linger_alone(int fd) { (void)fd; }
#endif

void wf_socket_closing(int fd)
{
    if (wf_unlikely(wf_load_rlx(&lingering)))
        linger_alone(fd);
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

weft_tcp_options wf_tcp_options(const weft_tcp_options *options, size_t size)
{
    weft_tcp_options own = WEFT_TCP_OPTIONS_INIT;
    if (options)
        memcpy(&own, options, WF_MIN(size, sizeof own));
    return own;
}

/* @fresh: a new socket, which has the defaults. One that exists may have been given others. */
static int apply(int fd, const weft_tcp_options *o, bool fresh)
{
    int err = wf_tcp_set_nagle(fd, o->nagle);
    if (err == 0 && !(fresh && o->keepalive == 0))
        err = set_keepalive(fd, o, fresh);
    if (err == 0 && !(fresh && o->linger == 0))
        err = set_linger(fd, o->linger);
    return err < 0 ? err : set_buffers(fd, o);
}

int wf_tcp_apply(int fd, const weft_tcp_options *o) { return makes_sense(o) ? apply(fd, o, true) : WEFT_EINVAL; }

int wf_socket_must_be_internet(int fd)
{
    weft_addr addr;
    int err = fd >= 0 ? wf_socket_name(fd, getsockname, &addr) : WEFT_ENOTSUP;
    if (err < 0)
        return err == WEFT_ENOTSOCK || err == WEFT_EINVAL ? WEFT_ENOTSUP : err; /* EINVAL: of a family without addresses here */
    sa_family_t family = weft_addr_sockaddr(&addr, NULL)->sa_family;
    return family == AF_INET || family == AF_INET6 ? 0 : WEFT_ENOTSUP;
}

int weft_tcp_configure_sized(weft_stream *s, const weft_tcp_options *options, size_t size)
{
    if (!s)
        return WEFT_EINVAL;
    weft_tcp_options o = wf_tcp_options(options, size);
    int err, fd = wf_source_visit(&s->source, &err);
    if (err < 0)
        return err;
    err = makes_sense(&o) ? wf_socket_must_be_internet(fd) : WEFT_EINVAL;
    if (err == 0)
        err = apply(fd, &o, false);
    wf_source_leave(&s->source);
    return err;
}

/* ---- listening ------------------------------------------------------------------------------------------------- */

WF_NOINLINE static int bind_and_listen(int fd, const struct sockaddr *sa, size_t length, const weft_tcp_options *o)
{
    int err = wf_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (err == 0 && o->reuse_port)
        err = wf_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (err == 0 && sa->sa_family == AF_INET6)
        err = wf_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6only != 0);
    if (err == 0)
        err = wf_tcp_apply(fd, o);
    if (err < 0)
        return err;
#ifdef TCP_FASTOPEN
    if (o->fast_open)
        wf_set_option(fd, IPPROTO_TCP, TCP_FASTOPEN, o->fast_open); /* where it cannot be had, connections begin as ever */
#endif
    if (bind(fd, sa, (socklen_t)length) < 0 || listen(fd, o->backlog > 0 ? o->backlog : SOMAXCONN) < 0)
        return -errno;
    return 0;
}

int wf_listen(const weft_addr *addr, const weft_tcp_options *o)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
        return WEFT_EINVAL;
    int fd = wf_socket(sa->sa_family, SOCK_STREAM);
    if (fd < 0)
        return fd;
    int err = bind_and_listen(fd, sa, length, o);
    if (err == 0)
        return fd;
    close(fd); /* a failed bind leaks nothing (d15) */
    return err;
}

/* ---- accepting ------------------------------------------------------------------------------------------------- */

/* What is 0 would pass for nothing with an operation that ends just when its listener is closed. */
static int move_up(int zero)
{
    int fd = fcntl(zero, F_DUPFD_CLOEXEC, 1);
    int err = -errno;
    close(zero);
    return fd > 0 ? fd : err;
}

WF_NOINLINE int wf_accept(int listener, weft_addr *peer)
{
    struct sockaddr_storage sa;
    socklen_t length;
    int fd;
    do {
        length = sizeof sa;
        fd = accept4(listener, (struct sockaddr *)&sa, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    if (peer)
        weft_addr_from_sockaddr(peer, (struct sockaddr *)&sa, length);
    return fd > 0 ? fd : move_up(fd);
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

WF_NOINLINE int wf_socket_name(int fd, wf_name_call call, weft_addr *out)
{
    struct sockaddr_storage sa;
    unsigned length = sizeof sa;
    if (call(fd, (struct sockaddr *)&sa, &length) < 0)
        return -errno;
    return weft_addr_from_sockaddr(out, (struct sockaddr *)&sa, length);
}
