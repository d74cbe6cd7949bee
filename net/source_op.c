/* source_op.c - one operation on a source: claim the direction, try, wait, try again.
 *
 * The common request costs one read and one write and nothing else: a short read says that the socket is drained. */
#include <net/source_op.h>
#include <runtime/runtime.h>

/* Where to arm it, if it is not: with the runtime that it belongs to, on this worker if it is one of them. Also if the word says that it is
 * armed: the other direction may be failing in it. */
static struct wf_reactor *reactor_for(const wf_source *s, const wf_exec *exec)
{
    return wf_reactor_here(wf_container(s->sources, weft_runtime, sources), exec);
}

int wf_source_wait_here(wf_source *s, wf_direction d, uint64_t *word, wf_wait kind, weft_context *cx)
{
    wf_source_waits(s, kind, cx);
    return wf_source_wait(s, d, word, reactor_for(s, cx->exec), cx);
}

int wf_source_op_wait(wf_source_op *op, weft_context *cx)
{
    return wf_source_wait_here(op->source, op->direction, &op->word, wf_source_op_kind(op), cx);
}

ssize_t wf_source_op_poll(wf_source_op *op, weft_context *cx, bool hold)
{
    return wf_source_op_poll_with(op, cx, hold, op->attempt, op->direction, wf_source_op_kind(op));
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
    return wf_source_op_finish(op, false, WEFT_PENDING);
}

const wf_op_ops wf_source_op_ops = {.poll = op_poll, .cancel = wf_source_op_cancel};
