/* stream.c - byte streams on sockets: read, write, close.
 *
 * Every operation is an attempt (one system call) inside wf_source_op: claim the direction, try while ready, wait, try again.
 * The common request costs one read and one write and nothing else: a short read says that the socket is drained. */
#include <errno.h>
#include <fcntl.h>
#include <net/tcp.h>
#include <runtime/runtime.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- one operation ------------------------------------------------------------------------------------------- */

static ssize_t finish(wf_source_op *op, bool drained, ssize_t result)
{
    op->claimed = false;
    wf_source_release(op->source, op->direction, drained, op->word);
    return result;
}

/* One system call, or as many as it takes for all of it. EAGAIN means not ready; then what is done already stays in op->done. */
static ssize_t attempt(wf_source_op *op, bool *drained)
{
    for (;;) {
        *drained = false;
        ssize_t n = op->attempt(op, drained);
        if (n == -EINTR)
            continue;
        if (n <= 0 || !op->all)
            return n;
        op->done += (size_t)n;
        if (op->done == op->size)
            return (ssize_t)op->done;
    }
}

/* Where to arm it, if it is not: with the runtime that it belongs to, on this worker if it is one of them. */
static struct wf_reactor *reactor_for(const wf_source_op *op, const wf_exec *exec)
{
    if (wf_likely(op->word & WF_SRC_ARMED))
        return NULL;
    return wf_reactor_here(wf_container(op->source->sources, weft_runtime, sources), exec);
}

ssize_t wf_source_op_poll(wf_source_op *op, weft_context *cx, bool hold)
{
    if (!op->claimed) {
        int err = wf_source_claim(op->source, op->direction, &op->word);
        if (err < 0)
            return err;
        op->claimed = true;
    } else {
        op->word = wf_load_acq(&op->source->word);
    }
    for (;;) {
        if (wf_unlikely(op->word & WF_SRC_CLOSING))
            return finish(op, false, WEFT_ECLOSED);
        if (op->word & wf_src_ready_bit(op->direction)) {
            bool drained = false;
            ssize_t n = attempt(op, &drained);
            if (n <= 0 && wf_source_closing(op->source))
                n = WEFT_ECLOSED; /* what a socket says that was shut meanwhile */
            if (n != WEFT_EAGAIN)
                return finish(op, drained, n);
        }
        int waited = wf_source_wait(op->source, op->direction, &op->word, reactor_for(op, cx->exec), cx);
        if (waited == WEFT_PENDING && hold)
            return WEFT_PENDING;
        if (waited < 0)
            return finish(op, false, waited);
    }
}

ssize_t wf_source_op_poll_once(wf_source_op *op, weft_context *cx)
{
    if (cx->exec->budget == 0) {
        weft_waker_wake_by_ref(weft_context_waker(cx));
        return WEFT_PENDING;
    }
    ssize_t n = wf_source_op_poll(op, cx, false);
    if (n != WEFT_PENDING)
        cx->exec->budget--;
    return n;
}

static ssize_t op_poll(void *op, weft_context *cx) { return wf_source_op_poll(op, cx, true); }

/* Interrupted while it waited: nothing was taken. */
ssize_t wf_source_op_cancel(void *arg)
{
    wf_source_op *op = arg;
    if (!op->claimed)
        return WEFT_PENDING;
    wf_source_forget(op->source, op->direction);
    return finish(op, false, WEFT_PENDING);
}

const wf_op_ops wf_source_op_ops = {.poll = op_poll, .cancel = wf_source_op_cancel};

/* ---- the system calls, each in a function of its own: errno has no place in one that suspends (d36) ---------------------------------------------------------------------------------------- */

WF_NOINLINE static ssize_t attempt_read(wf_source_op *op, bool *drained)
{
    size_t rest = op->size - op->done;
    ssize_t n = read(wf_load_rlx(&op->source->fd), (char *)op->buf + op->done, rest);
    if (n < 0)
        return -errno;
    *drained = (size_t)n < rest && n > 0;
    return n;
}

WF_NOINLINE static ssize_t attempt_write(wf_source_op *op, bool *drained)
{
    size_t rest = op->size - op->done;
    ssize_t n = send(wf_load_rlx(&op->source->fd), (char *)op->buf + op->done, rest, MSG_NOSIGNAL);
    if (n < 0)
        return -errno;
    *drained = (size_t)n < rest;
    return n;
}

static wf_source_op reading(weft_stream *s, void *buf, size_t size)
{
    return (wf_source_op){.source = &s->source, .direction = WF_READ, .attempt = attempt_read, .buf = buf, .size = size};
}

static wf_source_op writing(weft_stream *s, const void *buf, size_t size)
{
    return (wf_source_op){.source = &s->source,
                          .direction = WF_WRITE,
                          .attempt = attempt_write,
                          .buf = (void *)(uintptr_t)(buf ? buf : ""),
                          .size = size};
}

/* ---- reading and writing ------------------------------------------------------------------------------------- */

ssize_t weft_read(weft_stream *s, void *buf, size_t size)
{
    if (!s || !buf || size == 0 || size > SSIZE_MAX)
        return WEFT_EINVAL;
    wf_source_op op = reading(s, buf, size);
    return wf_await(&wf_source_op_ops, &op, WEFT_FOREVER);
}

ssize_t weft_read_exact(weft_stream *s, void *buf, size_t size)
{
    if (!s || (!buf && size) || size > SSIZE_MAX)
        return WEFT_EINVAL;
    if (size == 0)
        return 0;
    wf_source_op op = reading(s, buf, size);
    op.all = true;
    ssize_t n = wf_await(&wf_source_op_ops, &op, WEFT_FOREVER);
    return n == 0 && op.done > 0 ? WEFT_EOF : n;
}

ssize_t weft_write_some(weft_stream *s, const void *buf, size_t size)
{
    if (!s || (!buf && size) || size > SSIZE_MAX)
        return WEFT_EINVAL;
    wf_source_op op = writing(s, buf, size);
    return wf_await(&wf_source_op_ops, &op, WEFT_FOREVER);
}

ssize_t weft_write(weft_stream *s, const void *buf, size_t size)
{
    if (!s || (!buf && size) || size > SSIZE_MAX)
        return WEFT_EINVAL;
    wf_source_op op = writing(s, buf, size);
    op.all = true;
    return wf_await(&wf_source_op_ops, &op, WEFT_FOREVER);
}

ssize_t weft_poll_read(weft_context *cx, weft_stream *s, void *buf, size_t size)
{
    if (!cx || !s || !buf || size == 0 || size > SSIZE_MAX)
        return WEFT_EINVAL;
    wf_source_op op = reading(s, buf, size);
    return wf_source_op_poll_once(&op, cx);
}

ssize_t weft_poll_write_some(weft_context *cx, weft_stream *s, const void *buf, size_t size)
{
    if (!cx || !s || (!buf && size) || size > SSIZE_MAX)
        return WEFT_EINVAL;
    wf_source_op op = writing(s, buf, size);
    return wf_source_op_poll_once(&op, cx);
}

/* ---- opening and closing ------------------------------------------------------------------------------------- */

wf_sources *wf_sources_here(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec && exec->rt ? &exec->rt->sources : NULL;
}

weft_stream *wf_stream_open(wf_sources *all, int fd, bool ready)
{
    return (weft_stream *)(void *)wf_source_open(all, fd, true, ready);
}

int weft_stream_from_fd(weft_stream **out, int fd)
{
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    int type, flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type}) < 0 || type != SOCK_STREAM)
        return WEFT_EINVAL;
    if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    *out = wf_stream_open(all, fd, true);
    return *out ? 0 : WEFT_ENOMEM;
}

/* Claim the direction, so that the descriptor stays open for one call that does not wait. */
static int with_claim(weft_stream *s, int (*fn)(int fd, void *arg), void *arg)
{
    uint64_t word;
    int err = s ? wf_source_claim(&s->source, WF_WRITE, &word) : WEFT_EINVAL;
    if (err < 0)
        return err;
    err = fn(wf_load_rlx(&s->source.fd), arg);
    wf_source_release(&s->source, WF_WRITE, false, word);
    return err;
}

static int shut_write(int fd, void *arg)
{
    (void)arg;
    return shutdown(fd, SHUT_WR) == 0 ? 0 : -errno;
}

int weft_close_write(weft_stream *s) { return with_claim(s, shut_write, NULL); }

void weft_close(weft_stream *s)
{
    if (s)
        wf_source_close(&s->source);
}

void weft_stream_abort(weft_stream *s)
{
    if (s)
        wf_source_abort(&s->source);
}

weft_stream *weft_stream_ref(weft_stream *s) { return s && wf_source_ref(&s->source) ? s : NULL; }

int weft_stream_fd(weft_stream *s) { return !s || wf_source_closing(&s->source) ? -1 : wf_load_rlx(&s->source.fd); }

typedef int (*name_call)(int fd, struct sockaddr *sa, socklen_t *length);

static int name_of(weft_stream *s, name_call call, weft_addr *out)
{
    struct sockaddr_storage sa;
    socklen_t length = sizeof sa;
    if (!s || !out)
        return WEFT_EINVAL;
    int fd = weft_stream_fd(s);
    if (fd < 0)
        return WEFT_ECLOSED;
    if (call(fd, (struct sockaddr *)&sa, &length) < 0)
        return -errno;
    return weft_addr_from_sockaddr(out, (struct sockaddr *)&sa, length);
}

int weft_stream_peer(weft_stream *s, weft_addr *out) { return name_of(s, getpeername, out); }

int weft_stream_local(weft_stream *s, weft_addr *out) { return name_of(s, getsockname, out); }
