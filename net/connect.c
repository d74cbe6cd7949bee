/* connect.c - connecting. */
#include <errno.h>
#include <net/socket.h>
#include <net/stream.h>
#include <runtime/runtime.h>
#include <sys/socket.h>
#include <unistd.h>

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
    int fd = wf_socket(sa->sa_family, SOCK_STREAM);
    if (fd < 0)
        return fd;
    wf_tcp_apply(fd, o);
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
        return weft_error_set(WEFT_EINVAL, "connect: \"%s\" is no address", address ? address : "");
    int err = wf_await_entry(&exec);
    if (err < 0)
        return err;
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    weft_tcp_options o = wf_tcp_options(options, size);
    err = connect_to(out, all, &addr, &o);
    return err < 0 ? weft_error_set(err, "connect %s: %s", address, weft_strerror(err)) : 0;
}
