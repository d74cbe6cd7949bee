/* barrier.c - meeting points: a barrier, and once. */
#include <base/clock.h>
#include <runtime/task.h>
#include <sync/waiters.h>

/* ---- barrier ------------------------------------------------------------------------------------------------- */

int weft_barrier_init(weft_barrier *b, unsigned parties)
{
    if (!b || parties == 0)
        return WEFT_EINVAL;
    *b = (weft_barrier)WEFT_BARRIER_INIT(parties);
    return 0;
}

/* Waiters are served batch by batch: one may be in the queue still when its meeting is over, so each knows which it came to.
 * 1: the last one has come, and all are served; called locked, returns unlocked. */
static ssize_t arrive(weft_barrier *b, wf_waiter *w, weft_waker waker) WF_RELEASE(w->lock)
{
    if (b->arrived_ + 1 < b->parties_) {
        b->arrived_++;
        w->want = b->meeting_;
        wf_waiter_queue(w, waker);
        wf_spin_unlock(w->lock);
        return WEFT_PENDING;
    }
    b->arrived_ = 0;
    b->meeting_++;
    wf_waiters_serve_all(w->lock, w->queue);
    weft_waker_drop(&waker);
    return 1;
}

static ssize_t arrive_or_look(wf_waiter *w, weft_context *cx)
{
    weft_waker waker;
    wf_spin_lock(w->lock);
    wf_waiter_state state = w->state;
    wf_spin_unlock(w->lock);
    if (state != WF_WAITER_NEW)
        return state == WF_WAITER_QUEUED ? WEFT_PENDING : 0;
    int err = wf_context_clone_waker(cx, &waker);
    if (err < 0)
        return err;
    wf_spin_lock(w->lock);
    return arrive(w->object, w, waker);
}

static ssize_t barrier_poll(void *waiter, weft_context *cx)
{
    return wf_waiter_polled(waiter, cx, arrive_or_look(waiter, cx));
}

/* Whoever leaves has not arrived. */
static ssize_t barrier_cancel(void *arg)
{
    wf_waiter *w = arg;
    weft_barrier *b = w->object;
    wf_spin_lock(w->lock);
    bool served = w->state >= WF_WAITER_SERVED || (w->state == WF_WAITER_QUEUED && w->want != b->meeting_);
    b->arrived_ -= w->state == WF_WAITER_QUEUED && !served;
    weft_waker waker = wf_waiter_leave(w);
    wf_spin_unlock(w->lock);
    weft_waker_drop(&waker);
    return served ? 0 : WEFT_PENDING;
}

static const wf_op_ops barrier_ops = {.poll = barrier_poll, .cancel = barrier_cancel};

int weft_barrier_wait(weft_barrier *b)
{
    if (!b || b->parties_ == 0)
        return WEFT_EINVAL;
    wf_waiter w = {.lock = wf_spin_in(&b->lock_), .queue = &b->waiters_, .object = b, .kind = WF_WAIT_BARRIER};
    return (int)wf_await(&barrier_ops, &w, WEFT_FOREVER);
}

/* ---- once ---------------------------------------------------------------------------------------------------- */

enum { NOT_YET, AT_IT, DONE };

static wf_a32 *state_of(weft_once *o) { return (wf_a32 *)(void *)&o->state_; }

/* It is done, or the caller is to do it. */
static bool take_turn(wf_waiter *w)
{
    weft_once *o = w->object;
    uint32_t state = wf_load_rlx(state_of(o));
    w->want = state == NOT_YET;
    if (state == NOT_YET)
        wf_store_rlx(state_of(o), AT_IT);
    return state != AT_IT;
}

/* All that waited look again. */
static void settle(weft_once *o, uint32_t state)
{
    wf_spin_lock(wf_spin_in(&o->lock_));
    wf_store_rel(state_of(o), state); /* [ONCE] release: what was done; pairs with the look of those who come later */
    wf_waiters_serve_all(wf_spin_in(&o->lock_), &o->waiters_);
}

static void has_panicked(void *once) { settle(once, NOT_YET); }

/* Where nothing can be deferred a panic ends the process. */
static int call(weft_once *o, void (*fn)(void *), void *arg)
{
    int err = weft_defer(has_panicked, o);
    if (err == WEFT_ENOMEM) {
        has_panicked(o);
        return err;
    }
    fn(arg);
    if (err == 0)
        wf_defer_remove(has_panicked, o);
    settle(o, DONE);
    return 0;
}

int weft_once_do(weft_once *o, void (*fn)(void *), void *arg)
{
    if (!o || !fn)
        return WEFT_EINVAL;
    while (wf_load_acq(state_of(o)) != DONE) { /* [ONCE] acquire */
        wf_waiter w = {
            .lock = wf_spin_in(&o->lock_), .queue = &o->waiters_, .take = take_turn, .object = o, .kind = WF_WAIT_LOCK};
        int err = (int)wf_await(&wf_waiter_ops, &w, WEFT_FOREVER);
        if (err < 0)
            return err;
        if (w.want)
            return call(o, fn, arg);
    }
    return 0;
}
