/* listener.c - listening and accepting. What listens on a path is in unix.c, what was opened by a service manager in activation.c. */
#include <errno.h>
#include <net/socket.h>
#include <net/stream.h>
#include <runtime/runtime.h>
#include <sys/socket.h>
#include <unistd.h>

static const wf_source_kind listening = {.socket = true};

/* ---- listening ------------------------------------------------------------------------------------------------- */

weft_listener *wf_listener_open(wf_sources *all, int fd)
{
    return (weft_listener *)(void *)wf_source_open(all, fd, &listening, true);
}

int weft_tcp_listen_sized(weft_listener **out, const char *address, const weft_tcp_options *options, size_t size)
{
    weft_addr addr;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (!address || weft_addr_parse(&addr, address) < 0)
        return weft_error_set(WEFT_EINVAL, "listen: \"%s\" is no address", address ? address : "");
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    weft_tcp_options o = wf_tcp_options(options, size);
    int fd = wf_listen(&addr, &o);
    if (fd < 0)
        return weft_error_set(fd, "listen %s: %s", address, weft_strerror(fd));
    *out = wf_listener_open(all, fd);
    if (*out)
        return 0;
    close(fd);
    return WEFT_ENOMEM;
}

/* 0, or why it is no socket that listens for streams. */
WF_NOINLINE static int is_listening(int fd)
{
    int type = 0, listens = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type}) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &(socklen_t){sizeof listens}) < 0)
        return -errno;
    return type == SOCK_STREAM && listens ? 0 : WEFT_EINVAL;
}

int weft_listener_from_fd(weft_listener **out, int fd)
{
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    int err = is_listening(fd);
    if (err == 0)
        err = wf_set_nonblocking(fd);
    if (err < 0)
        return err;
    if (wf_socket_must_be_internet(fd) == 0)
        wf_tcp_set_nagle(fd, false); /* for those that it accepts, as if it had been opened here */
    *out = wf_listener_open(all, fd);
    return *out ? 0 : WEFT_ENOMEM;
}

int weft_listener_addr(weft_listener *l, weft_addr *out)
{
    if (!l || !out)
        return WEFT_EINVAL;
    int err, fd = wf_source_visit(&l->source, &err);
    if (err < 0)
        return err;
    err = wf_socket_name(fd, getsockname, out);
    wf_source_leave(&l->source);
    return err;
}

void weft_listener_close(weft_listener *l)
{
    if (l)
        wf_source_close(&l->source);
}

/* ---- accepting ------------------------------------------------------------------------------------------------- */

/* Who is let in and then has no place must be hung up on. So the place comes first, and without one they stay in the queue. */
static ssize_t attempt_accept(wf_source_op *op, bool *drained)
{
    (void)drained;
    if (wf_unlikely(!wf_sources_have_room(op->source->sources)))
        return WEFT_ENOMEM;
    return wf_accept(wf_load_rlx(&op->source->fd), op->buf);
}

/* Its options it has from the listener, on each system that has accept4(). */
weft_stream *wf_accepted(wf_sources *all, int fd)
{
    weft_stream *s = wf_stream_open(all, fd, true);
    if (!s)
        close(fd);
    return s;
}

static int accepted(weft_stream **out, weft_listener *l, ssize_t fd)
{
    if (fd < 0)
        return (int)fd;
    *out = wf_accepted(l->source.sources, (int)fd);
    return *out ? 0 : WEFT_ENOMEM;
}

wf_source_op wf_accepting(weft_listener *l)
{
    return (wf_source_op){.source = &l->source, .direction = WF_READ, .connects = true, .attempt = attempt_accept};
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
