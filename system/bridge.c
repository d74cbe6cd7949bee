/* bridge.c - for libraries that are built on libuv: a worker's loop, and the way back from a callback into a task. */
#include <base/case.h>
#include <base/waits.h>
#include <runtime/runtime.h>
#include <weft/uv.h>

/* ---- the loop ------------------------------------------------------------------------------------------------ */

static bool has_work(void *worker)
{
    wf_worker *w = worker;
    return w->pinned_first || wf_ring_len(&w->woken) > 0 || wf_deque_len(&w->fresh) > 0;
}

/* In a callback of the loop the worker's own execution is current, and no task; and whoever turns it holds it. */
uv_loop_t *weft_uv_loop(void)
{
    wf_exec *exec = wf_exec_peek();
    wf_reactor *r = exec && exec->worker ? &exec->worker->reactor : NULL;
    bool pinned = r && exec->task && wf_task_is(exec->task, WF_TASK_PINNED);
    if (pinned)
        wf_reactor_hand_out(r, has_work, exec->worker);
    return pinned || (r && !exec->task && r->handed_out) ? &r->loop : NULL;
}

/* ---- completions --------------------------------------------------------------------------------------------- */

static wf_spin *lock_of(weft_completion *c) { return (wf_spin *)(void *)&c->lock_; }

void weft_completion_init(weft_completion *c) { *c = (weft_completion)WEFT_COMPLETION_INIT; }

void weft_completion_set(weft_completion *c, int status)
{
    wf_spin_lock(lock_of(c));
    weft_waker waker = c->waker_;
    if (!c->done_) {
        c->done_ = 1;
        c->status_ = status;
    }
    c->waker_ = (weft_waker){NULL, NULL};
    wf_spin_unlock(lock_of(c));
    weft_waker_wake(&waker);
}

typedef struct completion_op {
    weft_completion *completion;
    bool waiting; /* our waker is in it, or was */
} completion_op;

/* Under lock. */
static ssize_t check(completion_op *op)
{
    weft_completion *c = op->completion;
    if (c->done_)
        return 0;
    return c->waker_.ops && !op->waiting ? WEFT_EBUSY : WEFT_PENDING;
}

/* It waits already: is it over, or is there nothing to change? */
static bool is_settled(completion_op *op, const weft_waker *waker, ssize_t *result)
{
    wf_spin_lock(lock_of(op->completion));
    *result = check(op);
    bool same = *result != WEFT_PENDING || weft_waker_will_wake(&op->completion->waker_, waker);
    wf_spin_unlock(lock_of(op->completion));
    return same;
}

/* Of several tasks that poll in turn, the last is the one that is woken. Wakers are cloned and dropped outside the lock. */
static ssize_t poll_completion(completion_op *op, weft_context *cx)
{
    weft_completion *c = op->completion;
    weft_waker waker;
    ssize_t result;
    if (op->waiting && is_settled(op, weft_context_waker(cx), &result))
        return result;
    int err = weft_waker_clone(weft_context_waker(cx), &waker);
    if (err < 0)
        return err;
    wf_spin_lock(lock_of(c));
    result = check(op);
    if (result == WEFT_PENDING) {
        weft_waker old = c->waker_;
        c->waker_ = waker;
        waker = old;
        op->waiting = true;
    }
    wf_spin_unlock(lock_of(c));
    weft_waker_drop(&waker);
    return result;
}

static ssize_t completion_poll(void *arg, weft_context *cx)
{
    completion_op *op = arg;
    ssize_t result = poll_completion(op, cx);
    if (result == WEFT_PENDING)
        wf_exec_waits_at(cx->exec, WF_WAIT_COMPLETION, op->completion);
    return result;
}

static ssize_t completion_cancel(void *arg)
{
    completion_op *op = arg;
    weft_completion *c = op->completion;
    weft_waker waker = {NULL, NULL};
    if (!op->waiting)
        return WEFT_PENDING;
    wf_spin_lock(lock_of(c));
    bool done = c->done_;
    if (!done) {
        waker = c->waker_;
        c->waker_ = (weft_waker){NULL, NULL};
    }
    wf_spin_unlock(lock_of(c));
    op->waiting = false;
    weft_waker_drop(&waker);
    return done ? 0 : WEFT_PENDING;
}

static const wf_op_ops completion_ops = {.poll = completion_poll, .cancel = completion_cancel};

int weft_completion_wait(weft_completion *c)
{
    if (!c)
        return WEFT_EINVAL;
    completion_op op = {.completion = c};
    int err = (int)wf_await(&completion_ops, &op, WEFT_FOREVER);
    return err < 0 ? err : c->status_;
}

WF_CASE_FITS(completion_op);

static ssize_t poll_case(weft_case *c, weft_context *cx)
{
    completion_op *op = WF_CASE_STATE(c, completion_op);
    op->completion = c->object_;
    return completion_poll(op, cx);
}

/* Its status may be any number, WEFT_PENDING's too: so it becomes the case's only here. */
static void leave_case(weft_case *c)
{
    completion_op *op = WF_CASE_STATE(c, completion_op);
    completion_cancel(op);
    wf_spin_lock(lock_of(op->completion));
    if (op->completion->done_ && c->status == 0)
        c->status = op->completion->status_;
    wf_spin_unlock(lock_of(op->completion));
}

const struct weft_case_ops weft_case_completion_ = {.poll = poll_case, .leave = leave_case};
