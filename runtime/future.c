/* future.c - awaiting any future in the calling task. */
#include <base/waits.h>
#include <runtime/task.h>

typedef struct future_op {
    weft_future *future;
    void *result;
} future_op;

static ssize_t poll_future(void *arg, weft_context *cx)
{
    future_op *op = arg;
    wf_exec_waits(cx->exec, WF_WAIT_FUTURE, 0); /* unless it says more */
    return op->future->ops->poll(op->future, cx, &op->result);
}

static const wf_op_ops future_ops = {.poll = poll_future};

static void drop_future(void *arg)
{
    weft_future *f = arg;
    f->ops->drop(f);
}

const weft_waker *weft_context_waker(weft_context *cx) { return &cx->waker; }

int weft_await(weft_future *f, void **result)
{
    if (result)
        *result = NULL;
    if (!f || !f->ops || !f->ops->poll)
        return WEFT_EINVAL;
    wf_exec *exec;
    future_op op = {.future = f};
    int err = wf_await_entry(&exec);
    if (wf_likely(err == 0))
        err = (int)wf_await_entered(exec, &future_ops, &op, WEFT_FOREVER);
    else if (!exec || !wf_exec_can_wait(exec))
        return err; /* not taken */
    if (f->ops->drop)
        wf_call_back(drop_future, f);
    if (result && err >= 0)
        *result = op.result;
    return err;
}
