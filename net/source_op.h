/* source_op.h - the poll of an operation on a source, to be inlined around an attempt that is known.
 *
 * A system call leaves nothing in the CPU's return predictor of what was there before: each function that is open around one costs a
 * misprediction when it returns, about 9 ns. So the operations that every request makes have none open but themselves. */
#ifndef WF_SOURCE_OP_H
#define WF_SOURCE_OP_H

#include <base/waits.h>
#include <net/stream.h>

/* wf_source_wait() in the caller's reactor; @kind: what that is to people. */
int wf_source_wait_here(wf_source *s, wf_direction d, uint64_t *word, wf_wait kind, weft_context *cx);

static inline void wf_source_waits(wf_source *s, wf_wait kind, const weft_context *cx)
{
    wf_exec_waits(cx->exec, kind, (unsigned)wf_load_rlx(&s->fd));
}

_Static_assert(WF_WAIT_READ + WF_WRITE == WF_WAIT_WRITE && WF_WAIT_READ + 2 == WF_WAIT_ACCEPT &&
                   WF_WAIT_WRITE + 2 == WF_WAIT_CONNECT,
               "the kind is added up");
static inline wf_wait wf_source_op_kind(const wf_source_op *op)
{
    return (wf_wait)(WF_WAIT_READ + op->direction + 2 * op->connects);
}

typedef ssize_t wf_attempt(wf_source_op *op, bool *drained);

/* @d: its direction, here and below, by itself: where it is known, no bit of it has to be worked out. */
WF_INLINE ssize_t wf_source_op_finish_with(wf_source_op *op, wf_direction d, bool drained, ssize_t result)
{
    if (wf_unlikely(op->begun) && result < 0)
        result = op->give_up(op, result);
    op->claimed = false;
    wf_source_release(op->source, d, drained, op->word);
    return result;
}

static inline ssize_t wf_source_op_finish(wf_source_op *op, bool drained, ssize_t result)
{
    return wf_source_op_finish_with(op, op->direction, drained, result);
}

/* Of one poll: then others have their turn, however fast the peer is. */
enum { WF_MOST_ATTEMPTS = 32 };

/* One attempt, or as many as it takes for all of it. EAGAIN means not ready, or (*@tired) enough for now; then what is done already stays in op->done. */
WF_INLINE ssize_t wf_source_op_attempt(wf_source_op *op, wf_attempt *attempt, bool *drained, bool *tired)
{
    for (int left = WF_MOST_ATTEMPTS;;) {
        *drained = false;
        ssize_t n = attempt(op, drained);
        if (wf_unlikely(n == -EINTR))
            continue;
        if (n <= 0 || !op->all)
            return n;
        wf_stream_moved(op, (size_t)n);
        if (op->done == op->size)
            return (ssize_t)op->done;
        *tired = --left == 0;
        if (wf_unlikely(*tired))
            return WEFT_EAGAIN;
    }
}

/* For operations that hold their claims over several attempts, and give them back by wf_source_op_cancel(), at the beginning of each poll: claim, and
 * look at the source's word. 0 or a negative code. */
WF_INLINE int wf_source_op_claim_with(wf_source_op *op, wf_direction d)
{
    if (op->claimed) {
        op->word = wf_load_acq(&op->source->word);
        return 0;
    }
    int err = wf_source_claim(op->source, d, &op->word);
    op->claimed = err == 0;
    return err;
}

static inline int wf_source_op_claim(wf_source_op *op) { return wf_source_op_claim_with(op, op->direction); }

/* See wf_source_op_poll(). @kind: of its waits. */
WF_INLINE ssize_t wf_source_op_poll_with(wf_source_op *op, weft_context *cx, bool hold, wf_attempt *attempt,
                                         wf_direction d, wf_wait kind)
{
    int err = wf_source_op_claim_with(op, d);
    if (wf_unlikely(err < 0))
        return err;
    for (;;) {
        if (wf_unlikely(op->word & WF_SRC_CLOSING))
            return wf_source_op_finish_with(op, d, false, WEFT_ECLOSED);
        if (op->always || op->word & wf_src_ready_bit(d)) {
            bool drained, tired = false;
            ssize_t n = wf_source_op_attempt(op, attempt, &drained, &tired);
            if (wf_unlikely(n <= 0) && wf_source_closing(op->source))
                n = WEFT_ECLOSED; /* what a socket says that was shut meanwhile */
            if (n != WEFT_EAGAIN)
                return wf_source_op_finish_with(op, d, drained, n);
            if (wf_unlikely(tired)) {
                weft_waker_wake_by_ref(weft_context_waker(cx));
                return hold ? WEFT_PENDING : wf_source_op_finish_with(op, d, false, WEFT_PENDING);
            }
        }
        int waited = wf_source_wait_here(op->source, d, &op->word, kind, cx);
        if (waited == WEFT_PENDING && hold)
            return WEFT_PENDING;
        if (waited < 0)
            return wf_source_op_finish_with(op, d, false, waited);
    }
}

#endif
