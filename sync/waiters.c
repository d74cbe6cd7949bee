/* waiters.c - see waiters.h. */
#include <runtime/task.h>
#include <sync/waiters.h>

static void unlink(wf_waiter *w)
{
    weft_waiters_ *q = w->queue;
    if (w->prev)
        w->prev->next = w->next;
    else
        q->first_ = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        q->last_ = w->prev;
}

void wf_waiter_queue(wf_waiter *w, weft_waker waker)
{
    weft_waiters_ *q = w->queue;
    w->waker = waker;
    w->state = WF_WAITER_QUEUED;
    w->ticket = ++q->tickets_;
    w->next = NULL;
    w->prev = q->last_;
    if (w->prev)
        w->prev->next = w;
    else
        q->first_ = w;
    q->last_ = w;
}

weft_waker wf_waiter_serve(wf_waiter *w, wf_waiter_state how)
{
    weft_waker waker = w->waker;
    unlink(w);
    w->waker = (weft_waker){NULL, NULL};
    w->state = how;
    return waker;
}

weft_waker wf_waiter_leave(wf_waiter *w)
{
    return w->state == WF_WAITER_QUEUED ? wf_waiter_serve(w, WF_WAITER_NEW) : (weft_waker){NULL, NULL};
}

wf_waiter *wf_waiters_first_unmeant(const weft_waiters_ *q)
{
    wf_waiter *w = q->first_;
    while (w && w->ticket <= q->all_)
        w = w->next;
    return w;
}

unsigned wf_waiters_serve_until(weft_waiters_ *q, uint64_t ticket, weft_waker *wakers)
{
    unsigned n = 0;
    wf_waiter *w;
    while (n < WF_WAKE_BATCH && (w = q->first_) && w->ticket <= ticket)
        wakers[n++] = wf_waiter_serve(w, WF_WAITER_SERVED_ALL);
    return n;
}

void wf_waiters_serve_all(wf_spin *lock, weft_waiters_ *q) WF_NO_THREAD_SAFETY
{
    weft_waker wakers[WF_WAKE_BATCH];
    uint64_t last = q->all_ = q->tickets_;
    for (;;) {
        unsigned n = wf_waiters_serve_until(q, last, wakers);
        wf_waiter *next = q->first_;
        bool more = next && next->ticket <= last; /* else the object may go with the last that is woken */
        wf_spin_unlock(lock);
        for (unsigned i = 0; i < n; i++)
            weft_waker_wake(&wakers[i]);
        if (!more)
            return;
        wf_spin_lock(lock);
    }
}

static bool is_served_locked(wf_waiter *w)
{
    return w->state == WF_WAITER_NEW ? w->take(w) : w->state != WF_WAITER_QUEUED;
}

/* Not served: into the queue, or, if another task polls it now, that is the one to wake. */
static void wait_locked(wf_waiter *w, weft_waker *waker)
{
    weft_waker old = {NULL, NULL};
    if (w->state == WF_WAITER_QUEUED) {
        old = w->waker;
        w->waker = *waker;
    } else {
        wf_waiter_queue(w, *waker);
    }
    *waker = old;
}

/* The waker is cloned outside the lock, and only when it is needed. */
static inline ssize_t poll_waiter(wf_waiter *w, weft_context *cx)
{
    weft_waker waker;
    wf_spin_lock(w->lock);
    bool served = is_served_locked(w);
    bool queued = w->state == WF_WAITER_QUEUED && weft_waker_will_wake(&w->waker, weft_context_waker(cx));
    wf_spin_unlock(w->lock);
    if (served || queued)
        return served ? 0 : WEFT_PENDING;
    int err = wf_context_clone_waker(cx, &waker);
    if (err < 0)
        return err;
    wf_spin_lock(w->lock);
    served = is_served_locked(w);
    if (!served)
        wait_locked(w, &waker);
    wf_spin_unlock(w->lock);
    weft_waker_drop(&waker);
    return served ? 0 : WEFT_PENDING;
}

ssize_t wf_waiter_poll(void *waiter, weft_context *cx) { return wf_waiter_polled(waiter, cx, poll_waiter(waiter, cx)); }

ssize_t wf_waiter_cancel(void *arg)
{
    wf_waiter *w = arg;
    wf_spin_lock(w->lock);
    bool served = w->state >= WF_WAITER_SERVED;
    weft_waker waker = wf_waiter_leave(w);
    wf_spin_unlock(w->lock);
    weft_waker_drop(&waker);
    return served ? 0 : WEFT_PENDING;
}

const wf_op_ops wf_waiter_ops = {.poll = wf_waiter_poll, .cancel = wf_waiter_cancel};

void wf_waiter_insist(wf_waiter *w, const char *what)
{
    ssize_t err = wf_exec_insist() ? wf_await_shielded(&wf_waiter_ops, w) : WEFT_ENOMEM;
    if (wf_unlikely(err < 0))
        weft_panic("%s: %s", what,
                   err == WEFT_EDEADLK ? "it would have to wait where nothing can wait" : weft_strerror((int)err));
}
