/* source_op.c - one operation on a source: claim the direction, try, wait, try again.
 *
 * The common request costs one read and one write and nothing else: a short read says that the socket is drained. */
#include <net/stream.h>
#include <runtime/runtime.h>

static ssize_t finish(wf_source_op *op, bool drained, ssize_t result)
{
    op->claimed = false;
    wf_source_release(op->source, op->direction, drained, op->word);
    return result;
}

/* One attempt, or as many as it takes for all of it. EAGAIN means not ready; then what is done already stays in op->done. */
static ssize_t attempt(wf_source_op *op, bool *drained)
{
    for (;;) {
        *drained = false;
        ssize_t n = op->attempt(op, drained);
        if (n == -EINTR)
            continue;
        if (n <= 0 || !op->all)
            return n;
        wf_stream_moved(op, (size_t)n);
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

int wf_source_op_wait(wf_source_op *op, weft_context *cx)
{
    return wf_source_wait(op->source, op->direction, &op->word, reactor_for(op, cx->exec), cx);
}

int wf_source_op_claim(wf_source_op *op)
{
    if (op->claimed) {
        op->word = wf_load_acq(&op->source->word);
        return 0;
    }
    int err = wf_source_claim(op->source, op->direction, &op->word);
    op->claimed = err == 0;
    return err;
}

ssize_t wf_source_op_poll(wf_source_op *op, weft_context *cx, bool hold)
{
    int err = wf_source_op_claim(op);
    if (err < 0)
        return err;
    for (;;) {
        if (wf_unlikely(op->word & WF_SRC_CLOSING))
            return finish(op, false, WEFT_ECLOSED);
        if (op->always || wf_source_op_ready(op)) {
            bool drained = false;
            ssize_t n = attempt(op, &drained);
            if (n <= 0 && wf_source_closing(op->source))
                n = WEFT_ECLOSED; /* what a socket says that was shut meanwhile */
            if (n != WEFT_EAGAIN)
                return finish(op, drained, n);
        }
        int waited = wf_source_op_wait(op, cx);
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
