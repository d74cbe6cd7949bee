/* timer.c - a timer that a stackless task embeds in its future.
 *
 * Armed by a poll in the timers of the worker that polls; wherever the task runs when it fires or is dropped, that stays its home.
 * While it is armed, node and waker are under the lock of its home; a node that is no longer linked has fired. On an ordinary thread there are no
 * timers to arm: its next wait ends in time instead. */
#include <base/waits.h>
#include <timer/timers.h>
#include <weft/time.h>

typedef struct timer {
    wf_timer base;
    weft_waker waker; /* under home's lock */
} timer;

_Static_assert(sizeof(timer) == sizeof(weft_timer) && alignof(timer) == alignof(weft_timer),
               "the public struct is room for it");

static timer *inside(weft_timer *t) { return (timer *)(void *)t; }

static bool fire(wf_timer *base, int64_t now, weft_waker *out)
{
    timer *t = wf_container(base, timer, base);
    (void)now;
    *out = t->waker;
    t->waker = (weft_waker){NULL, NULL};
    return out->ops != NULL;
}

void weft_timer_init(weft_timer *public, int64_t when)
{
    timer *t = inside(public);
    wf_wnode_init(&t->base.node);
    t->base.home = NULL;
    t->base.when = when;
    t->base.fire = fire;
    t->waker = (weft_waker){NULL, NULL};
}

/* ---- polling ------------------------------------------------------------------------------------------------- */

static weft_poll start(weft_context *cx, timer *t)
{
    wf_timers *here = cx->exec->timers;
    if (weft_now() >= t->base.when) /* the wheel does not know yet: its time stands while nothing expires */
        return WEFT_READY;
    wf_exec_waits_until(cx->exec, t->base.when);
    if (!here) {
        cx->exec->wake_by = WF_MIN(cx->exec->wake_by, t->base.when);
        return WEFT_PENDING;
    }
    int err = weft_waker_clone(weft_context_waker(cx), &t->waker);
    if (err < 0)
        return err;
    if (wf_timer_start(&t->base, here))
        return WEFT_PENDING;
    weft_waker_drop(&t->waker);
    return WEFT_READY;
}

typedef enum { FIRED, MINE, ANOTHERS } armed_for;

static armed_for look(timer *t, const weft_waker *waker)
{
    wf_spin_lock(&t->base.home->lock);
    bool armed = wf_wnode_linked(&t->base.node);
    bool same = armed && weft_waker_will_wake(&t->waker, waker);
    wf_spin_unlock(&t->base.home->lock);
    return !armed ? FIRED : same ? MINE : ANOTHERS;
}

/* Another task polls it now. Cloned and dropped outside the lock: a waker is somebody else's code. */
static weft_poll hand_over(weft_context *cx, timer *t)
{
    weft_waker waker;
    int err = weft_waker_clone(weft_context_waker(cx), &waker);
    if (err < 0)
        return err;
    wf_spin_lock(&t->base.home->lock);
    bool armed = wf_wnode_linked(&t->base.node);
    if (armed) {
        weft_waker old = t->waker;
        t->waker = waker;
        waker = old;
    }
    wf_spin_unlock(&t->base.home->lock);
    weft_waker_drop(&waker);
    return armed ? WEFT_PENDING : WEFT_READY;
}

weft_poll weft_timer_poll(weft_context *cx, weft_timer *public)
{
    timer *t = inside(public);
    if (!t->base.home)
        return start(cx, t);
    switch (look(t, weft_context_waker(cx))) {
    case FIRED:
        t->base.home = NULL; /* nothing of it is left there: a drop need not look */
        return WEFT_READY;
    case MINE:
        wf_exec_waits_until(cx->exec, t->base.when);
        return WEFT_PENDING;
    default:
        wf_exec_waits_until(cx->exec, t->base.when);
        return hand_over(cx, t);
    }
}

/* ---- another time, or none ----------------------------------------------------------------------------------- */

/* The lock is another's just now. Not inlined: see wf_timer_try_disarm(). */
static WF_NOINLINE void drop_waiting(timer *t)
{
    wf_timer_disarm(&t->base);
    weft_waker_drop(&t->waker);
}

void weft_timer_drop(weft_timer *public)
{
    timer *t = inside(public);
    if (wf_unlikely(!wf_timer_try_disarm(&t->base)))
        drop_waiting(t);
    else if (t->waker.ops)
        weft_waker_drop(&t->waker); /* nobody else sees it any more */
}

void weft_timer_reset(weft_timer *public, int64_t when)
{
    weft_timer_drop(public);
    inside(public)->base.when = when;
}
