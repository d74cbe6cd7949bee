/* timers.h - a wheel with a lock: the timers that one worker's tasks armed.
 *
 * Whoever holds a timer may disarm it from any thread, at once and for good (the lock is held for a few dozen instructions);
 * expiring fires them outside the lock. Who drives it is the worker's business. */
#ifndef WF_TIMERS_H
#define WF_TIMERS_H

#include <base/lock.h>
#include <timer/wheel.h>
#include <weft/future.h>

typedef struct wf_timers {
    wf_spin lock;
    wf_wheel wheel; /* under lock */
    wf_ai64 next;   /* at or before the earliest expiry; written under lock, read anywhere */
} wf_timers;

typedef struct wf_timer {
    wf_wnode node;   /* under home's lock */
    wf_timers *home; /* where it was armed last; NULL: never. Its owner's */
    int64_t when;    /* under home's lock: what it is armed for */
    /* Called under home's lock when @when has come: true with a waker to wake, owned, in *@out; false: nobody waits. It may set
     * timer->when to a later time and return false: then it is armed again. */
    bool (*fire)(struct wf_timer *timer, int64_t now, weft_waker *out);
} wf_timer;

void wf_timers_init(wf_timers *t, int64_t now);

/* Arm, or move, to the earlier of @when and what it is armed for already; in @here if it is armed nowhere. Its owner only.
 * Returns true if @here's next expiry has become earlier. */
bool wf_timer_arm(wf_timer *timer, wf_timers *here, int64_t when);

/* Arm one that is armed nowhere. False: its time has come already, and it is not armed (its home is @here all the same). */
bool wf_timer_start(wf_timer *timer, wf_timers *here);

/* Never fires again once this returns. Its owner, any thread. */
void wf_timer_disarm(wf_timer *timer);

/* The same, or false while the lock is held by another: then nothing has been done.
 *
 * Inline, and without a loop, so that whoever calls it needs no frame. A timer that is dropped is most often long out of the cache, and so are
 * its neighbours: the CPU has several drops under way only as far as their stores have room, and each register saved is one. */
WF_INLINE bool wf_timer_try_disarm(wf_timer *timer) WF_NO_THREAD_SAFETY
{
    wf_timers *home = timer->home;
    if (!home)
        return true;
    if (wf_unlikely(!wf_spin_try(&home->lock)))
        return false;
    wf_wheel_remove(&home->wheel, &timer->node);
    wf_spin_unlock(&home->lock);
    timer->home = NULL;
    return true;
}

/* Disarming leaves the next expiry as it was: find it anew. */
void wf_timers_tidy(wf_timers *t);

/* Fire all that is due at @now. Any thread. Returns how many wakers were woken. */
unsigned wf_timers_expire(wf_timers *t, int64_t now);

static inline int64_t wf_timers_next(wf_timers *t) { return wf_load_rlx(&t->next); }

#endif
