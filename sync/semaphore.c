/* semaphore.c - permits, given in the order in which they were asked for. */
#include <base/case.h>
#include <sync/waiters.h>

void weft_semaphore_init(weft_semaphore *s, size_t permits) { *s = (weft_semaphore)WEFT_SEMAPHORE_INIT(permits); }

static wf_spin *lock_of(weft_semaphore *s) { return wf_spin_in(&s->lock_); }

static bool take(wf_waiter *w)
{
    weft_semaphore *s = w->object;
    if (!wf_waiters_empty(&s->waiters_) || s->permits_ < w->want)
        return false;
    s->permits_ -= w->want;
    return true;
}

static wf_waiter wait_for(weft_semaphore *s, size_t n)
{
    return (wf_waiter){
        .lock = lock_of(s), .queue = &s->waiters_, .take = take, .object = s, .want = n, .kind = WF_WAIT_SEMAPHORE};
}

/* Serve those at the head that can be; called locked, returns unlocked. */
static void settle(weft_semaphore *s) WF_RELEASE(lock_of(s)) WF_NO_THREAD_SAFETY
{
    weft_waker wakers[WF_WAKE_BATCH];
    wf_waiter *w;
    for (;;) {
        unsigned n = 0;
        while (n < WF_WAKE_BATCH && (w = wf_waiters_first(&s->waiters_)) && w->want <= s->permits_) {
            s->permits_ -= w->want;
            wakers[n++] = wf_waiter_serve(w, WF_WAITER_SERVED);
        }
        w = wf_waiters_first(&s->waiters_);
        bool more = w && w->want <= s->permits_;
        wf_spin_unlock(lock_of(s));
        for (unsigned i = 0; i < n; i++)
            weft_waker_wake(&wakers[i]);
        if (!more)
            return;
        wf_spin_lock(lock_of(s));
    }
}

void weft_semaphore_release(weft_semaphore *s, size_t n)
{
    if (!s)
        return;
    wf_spin_lock(lock_of(s));
    s->permits_ += n;
    settle(s);
}

/* The head may have gone, and those behind it want less. */
static ssize_t cancel(void *arg) WF_NO_THREAD_SAFETY
{
    wf_waiter *w = arg;
    if (wf_waiter_cancel(w) == 0)
        return 0;
    wf_spin_lock(w->lock);
    settle(w->object);
    return WEFT_PENDING;
}

static const wf_op_ops acquire_ops = {.poll = wf_waiter_poll, .cancel = cancel};

int weft_semaphore_acquire(weft_semaphore *s, size_t n)
{
    if (!s)
        return WEFT_EINVAL;
    wf_waiter w = wait_for(s, n);
    return (int)wf_await_inline(&acquire_ops, &w, WEFT_FOREVER);
}

int weft_semaphore_try_acquire(weft_semaphore *s, size_t n)
{
    if (!s)
        return WEFT_EINVAL;
    wf_waiter w = wait_for(s, n);
    wf_spin_lock(lock_of(s));
    bool taken = take(&w);
    wf_spin_unlock(lock_of(s));
    return taken ? 0 : WEFT_EAGAIN;
}

size_t weft_semaphore_available(weft_semaphore *s)
{
    if (!s)
        return 0;
    wf_spin_lock(lock_of(s));
    size_t n = s->permits_;
    wf_spin_unlock(lock_of(s));
    return n;
}

/* ---- for stackless tasks ------------------------------------------------------------------------------------- */

WF_OP_FITS(wf_waiter);

/* Served, and nobody to use it: the permits go back. */
static void leave_op(weft_op *op)
{
    wf_waiter *w = WF_OP_STATE(op, wf_waiter);
    if (cancel(w) == 0)
        weft_semaphore_release(w->object, w->want);
}

static const struct weft_op_ops acquire_op_ops = {.leave = leave_op};

weft_poll weft_poll_semaphore_acquire(weft_context *cx, weft_op *op, weft_semaphore *s, size_t n)
{
    if (!cx || !op || !s)
        return WEFT_EINVAL;
    wf_waiter *w = WF_OP_STATE(op, wf_waiter);
    if (!op->ops_) {
        *w = wait_for(s, n);
        op->ops_ = &acquire_op_ops;
    }
    int result = (int)wf_waiter_poll(w, cx);
    if (result == WEFT_PENDING)
        return result;
    if (result < 0)
        leave_op(op); /* it failed, perhaps while it was in the queue */
    op->ops_ = NULL;
    return result;
}
