/* half.c - see half.h.
 *
 * It begins by copying through memory. A buffer that was filled to the brim says that there is more: from then on the kernel moves it, if both are plain
 * sockets and a pipe is to be had, until little comes at a time. So a connection that talks in small pieces never has a pipe. */
#include <net/half.h>
#include <net/source_op.h>
#include <runtime/runtime.h>
#include <stdlib.h>

/* How much one poll does before others get their turn; how little is little. */
enum { BUFFER = 64 * 1024, LITTLE = 16 * 1024, MOST_STEPS = 32, MOST_BYTES = 1024 * 1024 };

static weft_stream *stream_of(const wf_source_op *op) { return (weft_stream *)(void *)op->source; }

static int descriptor_of(const wf_source_op *op) { return wf_load_rlx(&op->source->fd); }

static weft_runtime *runtime_of(const wf_half *h) { return wf_container(h->in.source->sources, weft_runtime, sources); }

void wf_half_init(wf_half *h, weft_stream *from, weft_stream *to, int64_t count, bool shuts)
{
    *h = (wf_half){.in = {.source = &from->source, .direction = WF_READ},
                   .out = {.source = &to->source, .direction = WF_WRITE},
                   .left = count,
                   .shuts = shuts};
}

/* ---- what it holds --------------------------------------------------------------------------------------------- */

static void give_back_pipe(wf_half *h)
{
    if (h->piped)
        wf_pipe_put(runtime_of(h), h->pipe, h->in_pipe == 0);
    h->piped = false;
}

static void give_back_buffer(wf_half *h)
{
    free(h->buffer);
    h->buffer = NULL;
}

void wf_half_free(wf_half *h)
{
    give_back_pipe(h);
    give_back_buffer(h);
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

/* What a socket says that was shut meanwhile is not what happened. */
static ssize_t told(const wf_source_op *op, ssize_t n)
{
    return n <= 0 && wf_source_closing(op->source) ? WEFT_ECLOSED : n;
}

/* Be woken when it is closed, too. */
static int watch(wf_source_op *op, weft_context *cx)
{
    int err = wf_source_register(op->source, op->direction, cx);
    return err == 0 && wf_source_closing(op->source) ? WEFT_ECLOSED : err;
}

/* 0: try again. */
static ssize_t wait_for(wf_source_op *op, wf_source_op *other, weft_context *cx)
{
    int err = wf_source_op_wait(op, cx);
    if (err != WEFT_PENDING)
        return err;
    err = watch(other, cx);
    return err < 0 ? err : WEFT_PENDING;
}

/* ---- filling --------------------------------------------------------------------------------------------------- */

static size_t in_reader(const wf_half *h)
{
    const weft_reader *reader = wf_stream_extra_of(stream_of(&h->in))->reader;
    return reader ? wf_reader_held(reader) : 0;
}

static bool may_splice(const wf_half *h)
{
    return !h->refused && wf_stream_is_plain(stream_of(&h->in)) && wf_stream_is_plain(stream_of(&h->out));
}

static bool have_pipe(wf_half *h)
{
    if (!h->piped)
        h->piped = wf_pipe_take(runtime_of(h), &h->pipe);
    if (h->piped)
        give_back_buffer(h);
    return h->piped;
}

/* WEFT_EAGAIN: read() has the last word, for splice() says so too at urgent data, and where there is no pipe. */
static ssize_t splice_in(wf_half *h)
{
    if (!have_pipe(h)) {
        h->bulk = false;
        return WEFT_EAGAIN;
    }
    ssize_t n = wf_pipe_fill(h->pipe, descriptor_of(&h->in), (size_t)WF_MIN(h->left, (int64_t)WF_PIPE_SIZE));
    h->refused = wf_splice_refused(n);
    if (h->refused || (n > 0 && n < LITTLE))
        h->bulk = false;
    if (n > 0)
        h->in_pipe = (size_t)n;
    return h->refused ? WEFT_EAGAIN : n;
}

static ssize_t read_from(wf_half *h, size_t size)
{
    weft_stream *s = stream_of(&h->in);
    if (in_reader(h) > 0)
        return (ssize_t)wf_reader_take(wf_stream_extra_of(s)->reader, h->buffer, size);
    ssize_t n;
    do
        n = wf_stream_read_now(s, h->buffer, size);
    while (n == -EINTR);
    h->dry = n > 0 && wf_stream_is_short(s, n, size) && !(h->in.word & WF_SRC_REOF);
    return n;
}

static ssize_t read_in(wf_half *h)
{
    if (!h->buffer && !(h->buffer = malloc(BUFFER)))
        return WEFT_ENOMEM;
    ssize_t n = read_from(h, (size_t)WF_MIN(h->left, (int64_t)BUFFER));
    h->start = 0;
    h->held = n > 0 ? (size_t)n : 0;
    if (n == BUFFER && may_splice(h))
        h->bulk = true;
    return n;
}

static ssize_t take(wf_half *h)
{
    if (in_reader(h) > 0)
        return read_in(h);
    if (h->dry || !wf_source_op_ready(&h->in))
        return WEFT_EAGAIN;
    ssize_t n = h->bulk ? splice_in(h) : WEFT_EAGAIN;
    return n == WEFT_EAGAIN ? read_in(h) : n;
}

/* The reader gives its buffer back, too, if it is asked when there is nothing in it. */
static void hold_nothing(wf_half *h)
{
    weft_reader *reader = wf_stream_extra_of(stream_of(&h->in))->reader;
    if (reader)
        wf_reader_take(reader, NULL, 0);
    wf_half_free(h);
}

static void end(wf_half *h)
{
    h->state = h->shuts ? WF_HALF_SHUTS : WF_HALF_ENDED;
    h->steps++;
    wf_half_free(h);
}

static ssize_t fill(wf_half *h, weft_context *cx)
{
    ssize_t n = h->left > 0 ? told(&h->in, take(h)) : 0;
    if (n == WEFT_EAGAIN) {
        h->dry = false;
        hold_nothing(h);
        return wait_for(&h->in, &h->out, cx);
    }
    if (n < 0)
        return n;
    if (n == 0) {
        end(h);
        return 0;
    }
    h->left -= n;
    h->steps++;
    h->state = WF_HALF_DRAINS;
    return 0;
}

/* ---- draining -------------------------------------------------------------------------------------------------- */

static void keep_quiet(wf_half *h)
{
    if (!h->quiet)
        wf_sigpipe_hold(&h->sigpipe);
    h->quiet = true;
}

static ssize_t splice_out(wf_half *h)
{
    keep_quiet(h);
    ssize_t n = wf_pipe_drain(h->pipe, descriptor_of(&h->out), h->in_pipe);
    if (n > 0)
        h->in_pipe -= (size_t)n;
    return n;
}

/* What the destination would not have spliced goes through memory. */
static ssize_t empty_pipe(wf_half *h)
{
    if (!h->buffer && !(h->buffer = malloc(BUFFER)))
        return WEFT_ENOMEM;
    ssize_t n = wf_pipe_read(h->pipe, h->buffer, WF_MIN(h->in_pipe, (size_t)BUFFER));
    if (n < 0)
        return n;
    h->start = 0;
    h->held = (size_t)n;
    h->in_pipe -= (size_t)n;
    return n;
}

static ssize_t write_out(wf_half *h)
{
    weft_stream *s = stream_of(&h->out);
    ssize_t n;
    do
        n = wf_stream_write_now(s, h->buffer + h->start, h->held);
    while (n == -EINTR);
    h->begun = n == WEFT_EAGAIN && wf_stream_top(s);
    if (n <= 0)
        return n;
    h->full = wf_stream_is_short(s, n, h->held);
    h->start += (size_t)n;
    h->held -= (size_t)n;
    return n;
}

static ssize_t give(wf_half *h)
{
    if (h->held == 0 && !h->refused) {
        ssize_t n = splice_out(h);
        if (!wf_splice_refused(n))
            return n;
        h->refused = true;
        h->bulk = false;
    }
    ssize_t n = h->held > 0 ? 0 : empty_pipe(h);
    return n < 0 ? n : write_out(h);
}

static ssize_t drain(wf_half *h, weft_context *cx)
{
    ssize_t n = WEFT_EAGAIN;
    if (!h->full && wf_source_op_ready(&h->out))
        n = told(&h->out, give(h));
    if (n == WEFT_EAGAIN) {
        h->full = false;
        return wait_for(&h->out, &h->in, cx);
    }
    if (n < 0)
        return n;
    h->moved += n;
    h->steps++;
    if (h->held == 0 && h->in_pipe == 0)
        h->state = WF_HALF_FILLS;
    return 0;
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

static ssize_t shut(wf_half *h, weft_context *cx)
{
    ssize_t n = told(&h->out, wf_stream_shut_now(stream_of(&h->out)));
    if (n == WEFT_EAGAIN)
        return wait_for(&h->out, &h->in, cx);
    if (n < 0)
        return n;
    h->state = WF_HALF_ENDED;
    h->steps++;
    return 0;
}

/* A layer may have taken what it had not said to have taken. */
static void give_up_write(wf_half *h)
{
    weft_layer *top = wf_stream_top(stream_of(&h->out));
    if (!h->out.claimed || !h->begun || !top->ops->give_up)
        return;
    h->begun = false;
    size_t taken = top->ops->give_up(top);
    h->start += taken;
    h->held -= taken;
    h->moved += (int64_t)taken;
    if (h->held == 0)
        h->state = WF_HALF_FILLS;
}

void wf_half_release(wf_half *h)
{
    give_up_write(h);
    wf_source_op_cancel(&h->in);
    wf_source_op_cancel(&h->out);
}

/* ---- polling --------------------------------------------------------------------------------------------------- */

static int claim(wf_source_op *op)
{
    int err = wf_source_op_claim(op);
    return err == 0 && op->word & WF_SRC_CLOSING ? WEFT_ECLOSED : err;
}

static ssize_t step(wf_half *h, weft_context *cx)
{
    switch (h->state) {
    case WF_HALF_FILLS:
        return fill(h, cx);
    case WF_HALF_DRAINS:
        return drain(h, cx);
    default:
        return shut(h, cx);
    }
}

/* One that never has to wait lets others run all the same. */
static ssize_t go_on(wf_half *h, weft_context *cx)
{
    uint64_t steps = h->steps + MOST_STEPS;
    int64_t moved = h->moved + MOST_BYTES;
    while (h->state != WF_HALF_ENDED) {
        if (h->steps >= steps || h->moved >= moved) {
            weft_waker_wake_by_ref(weft_context_waker(cx));
            return WEFT_PENDING;
        }
        ssize_t n = step(h, cx);
        if (n < 0)
            return n;
    }
    wf_half_release(h);
    return 0;
}

ssize_t wf_half_poll(wf_half *h, weft_context *cx)
{
    if (h->state == WF_HALF_ENDED)
        return 0;
    int err = claim(&h->in);
    if (err == 0)
        err = claim(&h->out);
    if (err < 0)
        return err;
    h->dry = h->full = false;
    ssize_t n = go_on(h, cx);
    if (h->quiet)
        wf_sigpipe_release(&h->sigpipe);
    h->quiet = false;
    return n;
}
