/* cases.c - sockets in a select. The direction is claimed for as long as the select lasts, like by any operation: a second gets
 * WEFT_EBUSY as its status. */
#include <base/case.h>
#include <errno.h>
#include <net/stream.h>
#include <net/udp.h>
#include <poll.h>

WF_CASE_FITS(wf_source_op);

/* Ready, at its end, or broken: the next operation would not wait. */
WF_NOINLINE static ssize_t look(wf_source_op *op, short events)
{
    struct pollfd fd = {.fd = wf_load_rlx(&op->source->fd), .events = events};
    int n = poll(&fd, 1, 0);
    return n > 0 ? 1 : n == 0 ? WEFT_EAGAIN : -errno;
}

/* Buffers included: what the reader holds, what a layer has. */
static ssize_t look_readable(wf_source_op *op, bool *drained)
{
    weft_stream *s = (weft_stream *)(void *)op->source;
    weft_reader *reader = wf_stream_extra_of(s)->reader;
    weft_layer *top = wf_stream_top(s);
    (void)drained;
    while (top && !top->ops->readable)
        top = top->below_;
    if (reader && wf_reader_held(reader) > 0)
        return 1;
    if (!wf_source_op_ready(op))
        return WEFT_EAGAIN;
    if (top)
        return top->ops->readable(top) ? 1 : WEFT_EAGAIN;
    return look(op, POLLIN);
}

static ssize_t look_writable(wf_source_op *op, bool *drained)
{
    (void)drained;
    if (!wf_source_op_ready(op))
        return WEFT_EAGAIN;
    weft_layer *top = wf_stream_top((weft_stream *)(void *)op->source);
    ssize_t n = top ? top->ops->write(top, "", 0) : look(op, POLLOUT);
    return n == WEFT_EAGAIN ? n : 1;
}

static ssize_t poll_ready(weft_case *c, weft_context *cx, wf_direction direction,
                          ssize_t (*attempt)(wf_source_op *op, bool *drained))
{
    weft_stream *s = c->object_;
    wf_source_op *op = WF_CASE_STATE(c, wf_source_op);
    if (!op->source)
        *op = (wf_source_op){.source = &s->source, .direction = direction, .always = true, .attempt = attempt};
    ssize_t n = wf_source_op_poll(op, cx, true);
    return n > 0 ? 0 : n;
}

static ssize_t poll_readable(weft_case *c, weft_context *cx) { return poll_ready(c, cx, WF_READ, look_readable); }
static ssize_t poll_writable(weft_case *c, weft_context *cx) { return poll_ready(c, cx, WF_WRITE, look_writable); }

/* A datagram, or what one met on its way. */
static ssize_t look_datagram(wf_source_op *op, bool *drained)
{
    (void)drained;
    return look(op, POLLIN);
}

static ssize_t poll_udp_readable(weft_case *c, weft_context *cx)
{
    weft_udp *u = c->object_;
    wf_source_op *op = WF_CASE_STATE(c, wf_source_op);
    if (!op->source)
        *op = (wf_source_op){.source = &u->source, .direction = WF_READ, .attempt = look_datagram};
    ssize_t n = wf_source_op_poll(op, cx, true);
    return n > 0 ? 0 : n;
}

static ssize_t poll_accept(weft_case *c, weft_context *cx)
{
    weft_listener *l = c->object_;
    weft_stream **out = c->value_;
    wf_source_op *op = WF_CASE_STATE(c, wf_source_op);
    if (!op->source)
        *op = wf_accepting(l);
    *out = NULL;
    ssize_t fd = wf_source_op_poll(op, cx, true);
    if (fd < 0)
        return fd;
    *out = wf_accepted(l->source.sources, (int)fd);
    return *out ? 0 : WEFT_ENOMEM;
}

static void leave(weft_case *c) { wf_source_op_cancel(WF_CASE_STATE(c, wf_source_op)); }

const struct weft_case_ops weft_case_readable_ = {.poll = poll_readable, .leave = leave};
const struct weft_case_ops weft_case_writable_ = {.poll = poll_writable, .leave = leave};
const struct weft_case_ops weft_case_udp_readable_ = {.poll = poll_udp_readable, .leave = leave};
const struct weft_case_ops weft_case_accept_ = {.poll = poll_accept, .leave = leave};
