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

/* Try as long as the source is ready. EAGAIN means not ready. */
static ssize_t attempt(wf_source_op *op, bool *drained)
{
    ssize_t n;
    do
        n = op->attempt(op, drained);
    while (n == -EINTR);
    return n;
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
            if (n != WEFT_EAGAIN)
                return finish(op, drained, n);
        }
        int waited = wf_source_wait(op->source, op->direction, &op->word, wf_reactor_here(cx->exec), cx);
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
static ssize_t op_cancel(void *arg)
{
    wf_source_op *op = arg;
    if (!op->claimed)
        return WEFT_PENDING;
    wf_source_forget(op->source, op->direction);
    return finish(op, false, WEFT_PENDING);
}

const wf_op_ops wf_source_op_ops = {.poll = op_poll, .cancel = op_cancel};

/* ---- the system calls ---------------------------------------------------------------------------------------- */

static ssize_t attempt_read(wf_source_op *op, bool *drained)
{
    ssize_t n = read(wf_load_rlx(&op->source->fd), op->buf, op->size);
    if (n < 0)
        return -errno;
    *drained = (size_t)n < op->size && n > 0;
    return n;
}

static ssize_t attempt_write(wf_source_op *op, bool *drained)
{
    ssize_t n = send(wf_load_rlx(&op->source->fd), op->buf, op->size, MSG_NOSIGNAL);
    if (n < 0)
        return -errno;
    *drained = (size_t)n < op->size;
    return n;
}

static wf_source_op reading(weft_stream *s, void *buf, size_t size)
{
    return (wf_source_op){.source = &s->source, .direction = WF_READ, .attempt = attempt_read, .buf = buf, .size = size};
}

static wf_source_op writing(weft_stream *s, const void *buf, size_t size)
{
    return (wf_source_op){
        .source = &s->source, .direction = WF_WRITE, .attempt = attempt_write, .buf = (void *)(uintptr_t)buf, .size = size};
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
    size_t got = 0;
    while (got < size) {
        ssize_t n = weft_read(s, (char *)buf + got, size - got);
        if (n <= 0)
            return n < 0 ? n : got == 0 ? 0 : WEFT_EOF;
        got += (size_t)n;
    }
    return (ssize_t)got;
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
    size_t sent = 0;
    do {
        ssize_t n = weft_write_some(s, (const char *)buf + sent, size - sent);
        if (n < 0)
            return n;
        sent += (size_t)n;
    } while (sent < size);
    return (ssize_t)sent;
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

weft_stream *weft_stream_ref(weft_stream *s)
{
    if (s)
        wf_source_ref(&s->source);
    return s;
}

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
