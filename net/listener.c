/* listener.c - TCP listening, accepting and connecting. */
#include <errno.h>
#include <net/tcp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <runtime/runtime.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static weft_tcp_options sized(const weft_tcp_options *options, size_t size)
{
    weft_tcp_options own = WEFT_TCP_OPTIONS_INIT;
    if (options)
        memcpy(&own, options, WF_MIN(size, sizeof own));
    return own;
}

WF_NOINLINE static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

WF_NOINLINE static int tcp_socket(const struct sockaddr *sa)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

/* ---- listening ----------------------------------------------------------------------------------------------- */

static int bind_and_listen(int fd, const struct sockaddr *sa, size_t length, const weft_tcp_options *o)
{
    int err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (err == 0 && o->reuse_port)
        err = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (err == 0 && sa->sa_family == AF_INET6)
        err = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6only != 0);
    if (err < 0)
        return err;
    if (bind(fd, sa, (socklen_t)length) < 0 || listen(fd, o->backlog > 0 ? o->backlog : SOMAXCONN) < 0)
        return -errno;
    return 0;
}

static int listen_fd(const weft_addr *addr, const weft_tcp_options *o)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
        return WEFT_EINVAL;
    int fd = tcp_socket(sa);
    if (fd < 0)
        return fd;
    int err = bind_and_listen(fd, sa, length, o);
    if (err == 0)
        return fd;
    close(fd); /* a failed bind leaks nothing (d15) */
    return err;
}

int weft_tcp_listen_sized(weft_listener **out, const char *address, const weft_tcp_options *options, size_t size)
{
    weft_addr addr;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (!address || weft_addr_parse(&addr, address) < 0)
        return wf_fail_detail(WEFT_EINVAL, "listen: \"%s\" is no address", address ? address : "");
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    weft_tcp_options o = sized(options, size);
    int fd = listen_fd(&addr, &o);
    if (fd < 0)
        return wf_fail_detail(fd, "listen %s: %s", address, weft_strerror(fd));
    *out = (weft_listener *)(void *)wf_source_open(all, fd, true, true);
    if (*out)
        return 0;
    close(fd);
    return WEFT_ENOMEM;
}

int weft_listener_addr(weft_listener *l, weft_addr *out)
{
    struct sockaddr_storage sa;
    socklen_t length = sizeof sa;
    if (!l || !out)
        return WEFT_EINVAL;
    if (wf_source_closing(&l->source))
        return WEFT_ECLOSED;
    if (getsockname(wf_load_rlx(&l->source.fd), (struct sockaddr *)&sa, &length) < 0)
        return -errno;
    return weft_addr_from_sockaddr(out, (struct sockaddr *)&sa, length);
}

void weft_listener_close(weft_listener *l)
{
    if (l)
        wf_source_close(&l->source);
}

/* ---- accepting ----------------------------------------------------------------------------------------------- */

WF_NOINLINE static ssize_t attempt_accept(wf_source_op *op, bool *drained)
{
    int fd = accept4(wf_load_rlx(&op->source->fd), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    (void)drained;
    return fd >= 0 ? fd : -errno;
}

/* Small writes go out at once unless the user wants them joined. */
int wf_tcp_set_nagle(int fd, bool nagle) { return set_option(fd, IPPROTO_TCP, TCP_NODELAY, !nagle); }

weft_stream *wf_tcp_accepted(wf_sources *all, int fd)
{
    wf_tcp_set_nagle(fd, false);
    weft_stream *s = wf_stream_open(all, fd, true);
    if (!s)
        close(fd);
    return s;
}

static int accepted(weft_stream **out, weft_listener *l, ssize_t fd)
{
    if (fd < 0)
        return (int)fd;
    *out = wf_tcp_accepted(l->source.sources, (int)fd);
    return *out ? 0 : WEFT_ENOMEM;
}

wf_source_op wf_accepting(weft_listener *l)
{
    return (wf_source_op){.source = &l->source, .direction = WF_READ, .attempt = attempt_accept};
}

int weft_accept(weft_stream **s, weft_listener *l)
{
    if (!s)
        return WEFT_EINVAL;
    *s = NULL;
    if (!l)
        return WEFT_EINVAL;
    wf_source_op op = wf_accepting(l);
    return accepted(s, l, wf_await(&wf_source_op_ops, &op, WEFT_FOREVER));
}

int weft_poll_accept(weft_context *cx, weft_stream **s, weft_listener *l)
{
    if (!s)
        return WEFT_EINVAL;
    *s = NULL;
    if (!cx || !l)
        return WEFT_EINVAL;
    wf_source_op op = wf_accepting(l);
    return accepted(s, l, wf_source_op_poll_once(&op, cx));
}

/* ---- connecting ---------------------------------------------------------------------------------------------- */

/* The socket is writable: connected, or failed. */
WF_NOINLINE static ssize_t attempt_connect(wf_source_op *op, bool *drained)
{
    int error = 0;
    (void)drained;
    if (getsockopt(wf_load_rlx(&op->source->fd), SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error}) < 0)
        return -errno;
    return -error;
}

/* The handshake was begun before the source is watched: an unconnected socket reports a hang-up. */
static int await_connected(weft_stream *s, int64_t deadline)
{
    wf_source_op op = {.source = &s->source, .direction = WF_WRITE, .attempt = attempt_connect};
    return (int)wf_await(&wf_source_op_ops, &op, deadline);
}

WF_NOINLINE static int start_connect(int fd, const struct sockaddr *sa, size_t length)
{
    if (connect(fd, sa, (socklen_t)length) == 0)
        return 0;
    return errno == EINTR ? -EINPROGRESS : -errno;
}

static int connect_to(weft_stream **out, wf_sources *all, const weft_addr *addr, const weft_tcp_options *o)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
        return WEFT_EINVAL;
    int fd = tcp_socket(sa);
    if (fd < 0)
        return fd;
    wf_tcp_set_nagle(fd, o->nagle);
    int err = start_connect(fd, sa, length);
    bool begun = err == 0 || err == -EINPROGRESS;
    weft_stream *s = begun ? wf_stream_open(all, fd, err == 0) : NULL;
    if (!s) {
        close(fd);
        return begun ? WEFT_ENOMEM : err;
    }
    if (err < 0)
        err = await_connected(s, o->timeout > 0 ? wf_add_saturating(weft_now(), o->timeout) : WEFT_FOREVER);
    if (err < 0) {
        weft_close(s);
        return err;
    }
    *out = s;
    return 0;
}

int weft_tcp_connect_sized(weft_stream **out, const char *address, const weft_tcp_options *options, size_t size)
{
    weft_addr addr;
    wf_exec *exec;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (!address || weft_addr_parse(&addr, address) < 0)
        return wf_fail_detail(WEFT_EINVAL, "connect: \"%s\" is no address", address ? address : "");
    int err = wf_await_entry(&exec);
    if (err < 0)
        return err;
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    weft_tcp_options o = sized(options, size);
    err = connect_to(out, all, &addr, &o);
    return err < 0 ? wf_fail_detail(err, "connect %s: %s", address, weft_strerror(err)) : 0;
}
