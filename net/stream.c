/* stream.c - byte streams: reading and writing.
 *
 * An attempt is one system call, or one call of the layer on top. What few streams have (a reader, layers) is looked at first, under the
 * claim, and costs those that have none two loads. */
#include <errno.h>
#include <limits.h>
#include <net/socket.h>
#include <net/socket_call.h>
#include <net/source_op.h>
#include <net/stream.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static weft_stream *stream_of(const wf_source_op *op) { return (weft_stream *)(void *)op->source; }

/* ---- the descriptor; errno has no place in a function that suspends (d36) ------------------------------------- */

WF_NOINLINE static ssize_t read_file(int fd, void *buf, size_t size)
{
    ssize_t n = read(fd, buf, size);
    return n >= 0 ? n : -errno;
}

WF_INLINE ssize_t read_fd(weft_stream *s, void *buf, size_t size)
{
    int fd = wf_load_rlx(&s->source.fd);
    return wf_likely(s->source.kind->socket) ? wf_recv(fd, buf, size) : read_file(fd, buf, size);
}

WF_NOINLINE static ssize_t writev_fd(weft_stream *s, struct iovec *iov, int n)
{
    int fd = wf_load_rlx(&s->source.fd);
    wf_sigpipe hold;
    ssize_t result;
    if (s->source.kind->socket) {
        struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)n};
        result = sendmsg(fd, &message, MSG_NOSIGNAL);
        return result >= 0 ? result : -errno;
    }
    wf_sigpipe_hold(&hold);
    result = writev(fd, iov, n);
    if (result < 0)
        result = -errno;
    wf_sigpipe_release(&hold);
    return result;
}

WF_NOINLINE static ssize_t write_file(weft_stream *s, const void *buf, size_t size)
{
    struct iovec one = {.iov_base = (void *)(uintptr_t)buf, .iov_len = size};
    return writev_fd(s, &one, 1);
}

WF_INLINE ssize_t write_fd(weft_stream *s, const void *buf, size_t size)
{
    return wf_likely(s->source.kind->socket) ? wf_send(wf_load_rlx(&s->source.fd), buf, size) : write_file(s, buf, size);
}

/* ---- below the reader ------------------------------------------------------------------------------------------ */

WF_INLINE ssize_t read_now(weft_stream *s, void *buf, size_t size)
{
    weft_layer *top = wf_stream_top(s);
    return wf_unlikely(top) ? top->ops->read(top, buf, size) : read_fd(s, buf, size);
}

WF_INLINE ssize_t write_now(weft_stream *s, const void *buf, size_t size)
{
    weft_layer *top = wf_stream_top(s);
    return wf_unlikely(top) ? top->ops->write(top, buf, size) : write_fd(s, buf, size);
}

ssize_t wf_stream_read_now(weft_stream *s, void *buf, size_t size) { return read_now(s, buf, size); }

ssize_t wf_stream_write_now(weft_stream *s, const void *buf, size_t size) { return write_now(s, buf, size); }

ssize_t weft_layer_read_below(weft_layer *self, void *buf, size_t size)
{
    weft_layer *below = self->below_;
    return below ? below->ops->read(below, buf, size) : read_fd(self->stream_, buf, size);
}

ssize_t weft_layer_write_below(weft_layer *self, const void *buf, size_t size)
{
    weft_layer *below = self->below_;
    return below ? below->ops->write(below, buf, size) : write_fd(self->stream_, buf, size);
}

/* ---- attempts -------------------------------------------------------------------------------------------------- */

static int framing_of(int fd)
{
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    getsockname(fd, (struct sockaddr *)&sa, &(socklen_t){sizeof sa});
    return sa.ss_family == AF_INET || sa.ss_family == AF_INET6 ? WF_STREAM_UNFRAMED : WF_STREAM_FRAMED;
}

/* A terminal gives a line at a time, a pipe may give a packet, a Unix socket what was sent together with a descriptor: there may be more. */
WF_NOINLINE static int find_framing(weft_stream *s)
{
    int framing = s->source.kind->socket ? framing_of(wf_load_rlx(&s->source.fd)) : WF_STREAM_FRAMED;
    wf_store_rlx(&wf_stream_extra_of(s)->framing, framing);
    return framing;
}

WF_INLINE bool is_framed(weft_stream *s)
{
    int framing = wf_load_rlx(&wf_stream_extra_of(s)->framing);
    return (wf_likely(framing != 0) ? framing : find_framing(s)) == WF_STREAM_FRAMED;
}

/* A short count from TCP says that the socket is drained; others, and a layer, say so by EAGAIN alone. */
WF_INLINE bool is_short(weft_stream *s, ssize_t n, size_t wanted)
{
    return n >= 0 && (size_t)n < wanted && !wf_stream_top(s) && !is_framed(s);
}

bool wf_stream_is_short(weft_stream *s, ssize_t n, size_t wanted) { return is_short(s, n, wanted); }

WF_INLINE ssize_t attempt_read(wf_source_op *op, bool *drained)
{
    weft_stream *s = stream_of(op);
    weft_reader *reader = wf_stream_extra_of(s)->reader;
    char *to = (char *)op->buf + op->done;
    size_t wanted = op->size - op->done, held;
    if (wf_unlikely(reader) && (held = wf_reader_take(reader, to, wanted)) > 0)
        return (ssize_t)held;
    if (!wf_source_op_ready(op))
        return WEFT_EAGAIN;
    ssize_t n = read_now(s, to, wanted);
    *drained = n > 0 && is_short(s, n, wanted);
    return n;
}

WF_INLINE ssize_t attempt_write(wf_source_op *op, bool *drained)
{
    weft_stream *s = stream_of(op);
    size_t rest = op->size - op->done;
    ssize_t n = write_now(s, (char *)op->buf + op->done, rest);
    op->begun = n == WEFT_EAGAIN && rest > 0 && wf_stream_top(s);
    *drained = is_short(s, n, rest);
    return n;
}

/* How much of a write that is given up is under way all the same: that counts as written. */
static ssize_t give_up_write(wf_source_op *op, ssize_t result)
{
    weft_layer *top = wf_stream_top(stream_of(op));
    if (result == WEFT_ECLOSED || !top->ops->give_up)
        return result;
    size_t taken = top->ops->give_up(top);
    op->done += taken;
    return taken > 0 && (!op->all || op->done == op->size) ? (ssize_t)op->done : result;
}

WF_INLINE ssize_t poll_read(void *op, weft_context *cx)
{
    return wf_source_op_poll_with(op, cx, true, attempt_read, WF_READ, WF_WAIT_READ);
}
WF_INLINE ssize_t poll_write(void *op, weft_context *cx)
{
    return wf_source_op_poll_with(op, cx, true, attempt_write, WF_WRITE, WF_WAIT_WRITE);
}

static const wf_op_ops read_ops = {.poll = poll_read, .cancel = wf_source_op_cancel};
static const wf_op_ops write_ops = {.poll = poll_write, .cancel = wf_source_op_cancel};

static wf_source_op reading(weft_stream *s, void *buf, size_t size)
{
    return (wf_source_op){
        .source = &s->source, .direction = WF_READ, .always = true, .attempt = attempt_read, .buf = buf, .size = size};
}

static wf_source_op writing(weft_stream *s, const void *buf, size_t size)
{
    return (wf_source_op){.source = &s->source,
                          .direction = WF_WRITE,
                          .attempt = attempt_write,
                          .give_up = give_up_write,
                          .buf = (void *)(uintptr_t)(buf ? buf : ""),
                          .size = size};
}

/* ---- not longer than ------------------------------------------------------------------------------------------- */

static int64_t timeout_of(weft_stream *s, wf_direction direction)
{
    return wf_load_rlx(&wf_stream_extra_of(s)->timeouts[direction]);
}

int64_t wf_stream_deadline(weft_stream *s, wf_direction direction)
{
    int64_t timeout = timeout_of(s, direction);
    return wf_likely(timeout == 0) ? WEFT_FOREVER : wf_add_saturating(weft_now(), timeout);
}

/* The wait was as long as the stream's own patience, but something moved in it. */
static bool is_patient(const wf_source_op *op)
{
    return op->claimed && op->patience > 0 && wf_exec_current()->cause == NULL &&
           weft_now() < wf_add_saturating(op->moved, op->patience);
}

static ssize_t op_poll(void *op, weft_context *cx) { return wf_source_op_poll(op, cx, true); }

/* Interrupted, it keeps its claim, and what a layer has begun: wf_stream_await() goes on, or gives it up. */
static const wf_op_ops keeping_ops = {.poll = op_poll};

ssize_t wf_stream_await(wf_source_op *op)
{
    ssize_t n;
    op->patience = timeout_of(stream_of(op), op->direction);
    op->moved = op->patience > 0 ? weft_now() : 0;
    do
        n = wf_await(&keeping_ops, op, op->patience > 0 ? wf_add_saturating(op->moved, op->patience) : WEFT_FOREVER);
    while (wf_unlikely(n == WEFT_ETIMEDOUT) && is_patient(op));
    if (wf_unlikely(op->claimed))
        wf_source_op_cancel(op);
    return n;
}

/* All of it. As long as something moves, the stream is patient: each time from when it last did. */
WF_INLINE ssize_t await_all(const wf_op_ops *ops, wf_source_op *op)
{
    op->all = true;
    if (wf_likely(timeout_of(stream_of(op), op->direction) == 0))
        return wf_await_inline(ops, op, WEFT_FOREVER);
    return wf_stream_await(op);
}

int weft_stream_set_timeouts(weft_stream *s, int64_t read, int64_t write)
{
    if (!s || read < 0 || write < 0)
        return WEFT_EINVAL;
    wf_stream_extra *extra = wf_stream_extra_of(s);
    wf_store_rlx(&extra->timeouts[WF_READ], read == WEFT_FOREVER ? 0 : read);
    wf_store_rlx(&extra->timeouts[WF_WRITE], write == WEFT_FOREVER ? 0 : write);
    return 0;
}

/* ---- at once: what nearly every request is ---------------------------------------------------------------------- */

/* A socket whose short counts say that it is drained (or full), with nothing on top and all the patience there is. Under the claim. */
WF_INLINE bool is_plain(weft_stream *s, wf_direction direction)
{
    return wf_load_rlx(&wf_stream_extra_of(s)->framing) == WF_STREAM_UNFRAMED && !wf_stream_top(s) &&
           timeout_of(s, direction) == 0;
}

/* A read of a plain stream, with the claim. Most of them wait first. */
typedef struct plain_read {
    weft_stream *stream;
    void *buf;
    size_t size;
    uint64_t word;
} plain_read;

WF_INLINE ssize_t plain_read_end(plain_read *r, bool drained, ssize_t n)
{
    wf_source_release(&r->stream->source, WF_READ, drained, r->word);
    return n;
}

/* As wf_source_op_poll_with(), for one attempt at a time. */
WF_INLINE ssize_t plain_read_poll(void *arg, weft_context *cx)
{
    plain_read *r = arg;
    wf_source *source = &r->stream->source;
    r->word = wf_load_acq(&source->word);
    for (;;) {
        if (wf_unlikely(r->word & WF_SRC_CLOSING))
            return plain_read_end(r, false, WEFT_ECLOSED);
        if (r->word & WF_SRC_RRDY) {
            ssize_t n = wf_recv(wf_load_rlx(&source->fd), r->buf, r->size);
            if (wf_likely(n > 0))
                return plain_read_end(r, (size_t)n < r->size, n);
            if (n == -EINTR)
                continue;
            if (n != WEFT_EAGAIN || wf_source_closing(source))
                return plain_read_end(r, false, wf_source_closing(source) ? WEFT_ECLOSED : n);
        }
        int waited = wf_source_wait_here(source, WF_READ, &r->word, WF_WAIT_READ, cx);
        if (waited == WEFT_PENDING)
            return WEFT_PENDING;
        if (wf_unlikely(waited < 0))
            return plain_read_end(r, false, waited);
    }
}

static ssize_t plain_read_cancel(void *arg)
{
    plain_read *r = arg;
    wf_source_forget(&r->stream->source, WF_READ);
    return plain_read_end(r, false, WEFT_PENDING);
}

static const wf_op_ops plain_read_ops = {.poll = plain_read_poll, .cancel = plain_read_cancel};

/* Any other, with the claim. */
WF_NOINLINE static ssize_t read_on(wf_exec *exec, weft_stream *s, void *buf, size_t size, uint64_t word)
{
    wf_source_op op = reading(s, buf, size);
    op.claimed = true;
    op.word = word;
    return wf_await_entered(exec, &read_ops, &op, wf_stream_deadline(s, WF_READ));
}

/* What a write has begun with: it holds the claim, and @n is what the first call said; or 0, if there was none. */
WF_NOINLINE static ssize_t write_on(wf_exec *exec, weft_stream *s, const void *buf, size_t size, ssize_t n, uint64_t word)
{
    wf_source_op op = writing(s, buf, size);
    is_framed(s); /* so that the next may go at once */
    op.all = op.claimed = true;
    op.word = word;
    op.done = n > 0 ? (size_t)n : 0;
    if (wf_likely(n >= 0 || n == WEFT_EAGAIN || n == -EINTR)) {
        if (n == WEFT_EAGAIN)
            wf_src_would_block(&s->source.word, WF_WRITE, word);
        return timeout_of(s, WF_WRITE) == 0 ? wf_await_entered(exec, &write_ops, &op, WEFT_FOREVER) : wf_stream_await(&op);
    }
    n = wf_source_op_finish(&op, false, wf_source_closing(&s->source) ? WEFT_ECLOSED : n);
    wf_spend(exec);
    return n;
}

/* ---- reading and writing --------------------------------------------------------------------------------------- */

/* Claim @direction for an operation that begins: 0, or the code with which it ends. */
WF_INLINE int begin(weft_stream *s, wf_direction direction, wf_exec **exec, uint64_t *word)
{
    int err = wf_await_entry(exec);
    if (wf_unlikely(err < 0))
        return err;
    err = wf_source_claim(&s->source, direction, word);
    if (wf_unlikely(err < 0))
        wf_spend(*exec);
    return err;
}

ssize_t weft_read(weft_stream *s, void *buf, size_t size)
{
    wf_exec *exec;
    uint64_t word;
    if (!s || !buf || size == 0 || size > SSIZE_MAX)
        return WEFT_EINVAL;
    int err = begin(s, WF_READ, &exec, &word);
    if (wf_unlikely(err < 0))
        return err;
    if (wf_unlikely(!is_plain(s, WF_READ)) || wf_unlikely(wf_stream_extra_of(s)->reader != NULL))
        return read_on(exec, s, buf, size, word);
    plain_read r = {.stream = s, .buf = buf, .size = size};
    return wf_await_entered(exec, &plain_read_ops, &r, WEFT_FOREVER);
}

ssize_t weft_read_exact(weft_stream *s, void *buf, size_t size)
{
    if (!s || (!buf && size) || size > SSIZE_MAX)
        return WEFT_EINVAL;
    if (size == 0)
        return 0;
    wf_source_op op = reading(s, buf, size);
    ssize_t n = await_all(&read_ops, &op);
    return n == 0 && op.done > 0 ? WEFT_EOF : n;
}

ssize_t weft_write_some(weft_stream *s, const void *buf, size_t size)
{
    if (!s || (!buf && size) || size > SSIZE_MAX)
        return WEFT_EINVAL;
    wf_source_op op = writing(s, buf, size);
    return wf_await_inline(&write_ops, &op, wf_stream_deadline(s, WF_WRITE));
}

ssize_t weft_write(weft_stream *s, const void *buf, size_t size)
{
    wf_exec *exec;
    uint64_t word;
    ssize_t n = 0;
    if (!s || (!buf && size) || size > SSIZE_MAX)
        return WEFT_EINVAL;
    int err = begin(s, WF_WRITE, &exec, &word);
    if (wf_unlikely(err < 0))
        return err;
    if (wf_likely(word & WF_SRC_WRDY) && wf_likely(is_plain(s, WF_WRITE)))
        n = wf_send(wf_load_rlx(&s->source.fd), buf, size);
    if (wf_unlikely(n <= 0) || wf_unlikely((size_t)n < size))
        return write_on(exec, s, buf, size, n, word);
    wf_source_release(&s->source, WF_WRITE, false, word);
    wf_spend(exec);
    return n;
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

/* ---- several pieces -------------------------------------------------------------------------------------------- */

enum { MOST_PIECES = 1024, PIECES_AT_ONCE = 64, GATHERED = 4096 };

typedef struct pieces_op {
    wf_source_op op; /* first; its size is that of all pieces together */
    const struct iovec *iov;
    int n;
} pieces_op;

/* What is left of them after op->done bytes, at most PIECES_AT_ONCE. */
static int rest_of(const pieces_op *p, struct iovec *rest)
{
    size_t skip = p->op.done;
    int count = 0;
    for (int i = 0; i < p->n && count < PIECES_AT_ONCE; i++) {
        size_t length = p->iov[i].iov_len, gone = WF_MIN(skip, length);
        skip -= gone;
        if (length > gone)
            rest[count++] = (struct iovec){(char *)p->iov[i].iov_base + gone, length - gone};
    }
    return count;
}

/* A layer takes one piece at a time; small ones are joined for it, the same each time it is asked. */
WF_NOINLINE static ssize_t write_gathered(weft_stream *s, const struct iovec *rest, int n)
{
    char small[GATHERED];
    size_t size = 0;
    if (n == 1 || rest[0].iov_len >= sizeof small)
        return wf_stream_write_now(s, rest[0].iov_base, rest[0].iov_len);
    for (int i = 0; i < n && size < sizeof small; i++) {
        size_t part = WF_MIN(rest[i].iov_len, sizeof small - size);
        memcpy(small + size, rest[i].iov_base, part);
        size += part;
    }
    return wf_stream_write_now(s, small, size);
}

static ssize_t attempt_writev(wf_source_op *op, bool *drained)
{
    struct iovec rest[PIECES_AT_ONCE];
    weft_stream *s = stream_of(op);
    (void)drained;
    int n = rest_of(wf_container(op, pieces_op, op), rest);
    if (n == 0)
        return 0;
    if (!wf_stream_top(s))
        return writev_fd(s, rest, n);
    ssize_t written = write_gathered(s, rest, n);
    op->begun = written == WEFT_EAGAIN;
    return written;
}

/* Scattered by hand: readv() saves a call only where the first piece is filled. */
WF_NOINLINE static ssize_t readv_fd(int fd, struct iovec *iov, int n)
{
    ssize_t result = readv(fd, iov, n);
    return result >= 0 ? result : -errno;
}

static ssize_t attempt_readv(wf_source_op *op, bool *drained)
{
    struct iovec rest[PIECES_AT_ONCE];
    weft_stream *s = stream_of(op);
    weft_reader *reader = wf_stream_extra_of(s)->reader;
    int n = rest_of(wf_container(op, pieces_op, op), rest);
    size_t wanted = 0, held;
    if (reader && (held = wf_reader_take(reader, rest[0].iov_base, rest[0].iov_len)) > 0)
        return (ssize_t)held;
    if (!wf_source_op_ready(op))
        return WEFT_EAGAIN;
    if (wf_stream_top(s))
        return wf_stream_read_now(s, rest[0].iov_base, rest[0].iov_len);
    for (int i = 0; i < n; i++)
        wanted += rest[i].iov_len;
    ssize_t got = readv_fd(wf_load_rlx(&s->source.fd), rest, n);
    *drained = got > 0 && wf_stream_is_short(s, got, wanted);
    return got;
}

/* 0, or WEFT_EINVAL: no pieces, too many, or a length that no result could tell. */
static int add_up(const struct iovec *iov, int n, size_t *size)
{
    *size = 0;
    if (!iov || n <= 0 || n > MOST_PIECES)
        return WEFT_EINVAL;
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > SSIZE_MAX - *size || (!iov[i].iov_base && iov[i].iov_len))
            return WEFT_EINVAL;
        *size += iov[i].iov_len;
    }
    return 0;
}

ssize_t weft_readv(weft_stream *s, const struct iovec *iov, int n)
{
    size_t size;
    if (!s || add_up(iov, n, &size) < 0 || size == 0)
        return WEFT_EINVAL;
    pieces_op p = {.op = reading(s, NULL, size), .iov = iov, .n = n};
    p.op.attempt = attempt_readv;
    return wf_await(&wf_source_op_ops, &p.op, wf_stream_deadline(s, WF_READ));
}

ssize_t wf_stream_writev(weft_stream *s, const struct iovec *iov, int n, size_t *done)
{
    size_t size;
    *done = 0;
    if (!s || add_up(iov, n, &size) < 0)
        return WEFT_EINVAL;
    pieces_op p = {.op = writing(s, NULL, size), .iov = iov, .n = n};
    p.op.attempt = attempt_writev;
    ssize_t result = await_all(&wf_source_op_ops, &p.op);
    *done = p.op.done;
    return result;
}

ssize_t weft_writev(weft_stream *s, const struct iovec *iov, int n)
{
    size_t done;
    return wf_stream_writev(s, iov, n, &done);
}
