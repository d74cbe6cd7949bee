/* notify.c - events without a value, and condition variables. */
#include <base/case.h>
#include <sync/waiters.h>

/* ---- notify -------------------------------------------------------------------------------------------------- */

void weft_notify_init(weft_notify *n) { *n = (weft_notify)WEFT_NOTIFY_INIT; }

static bool take_stored(wf_waiter *w)
{
    weft_notify *n = w->object;
    bool stored = n->stored_;
    n->stored_ = 0;
    return stored;
}

static wf_waiter wait_for(weft_notify *n)
{
    return (wf_waiter){
        .lock = wf_spin_in(&n->lock_), .queue = &n->waiters_, .take = take_stored, .object = n, .kind = WF_WAIT_NOTIFY};
}

/* Serve the first, if there is one; called locked, returns unlocked. */
static void serve_first(wf_spin *lock, weft_waiters_ *q) WF_RELEASE(lock)
{
    wf_waiter *first = wf_waiters_first_unmeant(q);
    weft_waker waker = first ? wf_waiter_serve(first, WF_WAITER_SERVED) : (weft_waker){NULL, NULL};
    wf_spin_unlock(lock);
    weft_waker_wake(&waker);
}

void weft_notify_one(weft_notify *n)
{
    if (!n)
        return;
    wf_spin *lock = wf_spin_in(&n->lock_);
    wf_spin_lock(lock);
    if (!wf_waiters_first_unmeant(&n->waiters_))
        n->stored_ = 1;
    serve_first(lock, &n->waiters_);
}

void weft_notify_all(weft_notify *n)
{
    if (!n)
        return;
    wf_spin_lock(wf_spin_in(&n->lock_));
    wf_waiters_serve_all(wf_spin_in(&n->lock_), &n->waiters_);
}

int weft_notify_wait(weft_notify *n)
{
    if (!n)
        return WEFT_EINVAL;
    wf_waiter w = wait_for(n);
    return (int)wf_await_inline(&wf_waiter_ops, &w, WEFT_FOREVER);
}

WF_CASE_FITS(wf_waiter);

static ssize_t poll_case(weft_case *c, weft_context *cx)
{
    wf_waiter *w = WF_CASE_STATE(c, wf_waiter);
    if (!w->object)
        *w = wait_for(c->object_);
    ssize_t result = wf_waiter_poll(w, cx);
    if (result == 0)
        w->state = WF_WAITER_NEW; /* used: there is nothing to pass on */
    return result;
}

/* Served, but another case was first: the notification is the next one's. */
static void leave_case(weft_case *c)
{
    wf_waiter *w = WF_CASE_STATE(c, wf_waiter);
    if (wf_waiter_cancel(w) == 0 && w->state == WF_WAITER_SERVED)
        weft_notify_one(c->object_);
}

const struct weft_case_ops weft_case_notify_ = {.poll = poll_case, .leave = leave_case};

/* ---- condition variables ------------------------------------------------------------------------------------- */

void weft_cond_init(weft_cond *c) { *c = (weft_cond)WEFT_COND_INIT; }

typedef struct cond_op {
    wf_waiter waiter;
    weft_mutex *mutex; /* to be unlocked once the waiter is in the queue; then NULL */
} cond_op;

static bool take_nothing(wf_waiter *w)
{
    (void)w;
    return false;
}

static ssize_t cond_poll(void *arg, weft_context *cx)
{
    cond_op *op = arg;
    ssize_t result = wf_waiter_poll(&op->waiter, cx);
    if (op->mutex && result == WEFT_PENDING) {
        weft_mutex_unlock(op->mutex);
        op->mutex = NULL;
    }
    return result;
}

static ssize_t cond_cancel(void *arg) { return wf_waiter_cancel(&((cond_op *)arg)->waiter); }

static const wf_op_ops cond_ops = {.poll = cond_poll, .cancel = cond_cancel};

int weft_cond_wait(weft_cond *c, weft_mutex *m)
{
    if (!c || !m)
        return WEFT_EINVAL;
    wf_mutex_must_be_mine(m, "weft_cond_wait()"); /* now: the unlock comes when the waiter is in the queue already */
    cond_op op = {
        .waiter = {.lock = wf_spin_in(&c->lock_), .queue = &c->waiters_, .take = take_nothing, .object = c, .kind = WF_WAIT_COND},
        .mutex = m};
    int err = (int)wf_await_inline(&cond_ops, &op, WEFT_FOREVER);
    if (!op.mutex)
        weft_mutex_lock(m);
    return err;
}

void weft_cond_signal(weft_cond *c)
{
    if (!c)
        return;
    wf_spin_lock(wf_spin_in(&c->lock_));
    serve_first(wf_spin_in(&c->lock_), &c->waiters_);
}

void weft_cond_broadcast(weft_cond *c)
{
    if (!c)
        return;
    wf_spin_lock(wf_spin_in(&c->lock_));
    wf_waiters_serve_all(wf_spin_in(&c->lock_), &c->waiters_);
}
