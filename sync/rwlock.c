/* rwlock.c - many readers or one writer, strictly in the order in which they come: so neither starves. */
#include <sync/waiters.h>

enum { READ, WRITE };

static wf_spin *lock_of(weft_rwlock *l) { return wf_spin_in(&l->lock_); }

static bool admits(const weft_rwlock *l, size_t want) { return !l->writing_ && (want == READ || l->readers_ == 0); }

static void enter(weft_rwlock *l, size_t want)
{
    if (want == READ)
        l->readers_++;
    else
        l->writing_ = 1;
}

static bool take(wf_waiter *w)
{
    weft_rwlock *l = w->object;
    if (!wf_waiters_empty(&l->waiters_) || !admits(l, w->want))
        return false;
    enter(l, w->want);
    return true;
}

static wf_waiter wait_for(weft_rwlock *l, size_t want)
{
    return (wf_waiter){.lock = lock_of(l),
                       .queue = &l->waiters_,
                       .take = take,
                       .object = l,
                       .want = want,
                       .kind = want == READ ? WF_WAIT_RWLOCK_READ : WF_WAIT_RWLOCK_WRITE};
}

/* Called locked, returns unlocked. */
static void settle(weft_rwlock *l) WF_RELEASE(lock_of(l)) WF_NO_THREAD_SAFETY
{
    weft_waker wakers[WF_WAKE_BATCH];
    wf_waiter *w;
    for (;;) {
        unsigned n = 0;
        while (n < WF_WAKE_BATCH && (w = wf_waiters_first(&l->waiters_)) && admits(l, w->want)) {
            enter(l, w->want);
            wakers[n++] = wf_waiter_serve(w, WF_WAITER_SERVED);
        }
        w = wf_waiters_first(&l->waiters_);
        bool more = w && admits(l, w->want);
        wf_spin_unlock(lock_of(l));
        for (unsigned i = 0; i < n; i++)
            weft_waker_wake(&wakers[i]);
        if (!more)
            return;
        wf_spin_lock(lock_of(l));
    }
}

static int try_enter(weft_rwlock *l, size_t want)
{
    wf_waiter w = wait_for(l, want);
    wf_spin_lock(lock_of(l));
    bool entered = take(&w);
    wf_spin_unlock(lock_of(l));
    return entered ? 0 : WEFT_EBUSY;
}

/* What is to be had at once is to be had everywhere. */
static void lock(weft_rwlock *l, size_t want, const char *what)
{
    if (try_enter(l, want) == 0)
        return;
    wf_waiter w = wait_for(l, want);
    wf_waiter_insist(&w, what);
}

void weft_rwlock_read_lock(weft_rwlock *l) { lock(l, READ, "weft_rwlock_read_lock()"); }

void weft_rwlock_write_lock(weft_rwlock *l) { lock(l, WRITE, "weft_rwlock_write_lock()"); }

int weft_rwlock_try_read_lock(weft_rwlock *l) { return try_enter(l, READ); }

int weft_rwlock_try_write_lock(weft_rwlock *l) { return try_enter(l, WRITE); }

void weft_rwlock_read_unlock(weft_rwlock *l)
{
    wf_spin_lock(lock_of(l));
    bool held = l->readers_ > 0;
    l->readers_ -= held;
    settle(l);
    if (!held)
        weft_panic("weft_rwlock_read_unlock(): nobody reads");
}

void weft_rwlock_write_unlock(weft_rwlock *l)
{
    wf_spin_lock(lock_of(l));
    bool held = l->writing_;
    l->writing_ = 0;
    settle(l);
    if (!held)
        weft_panic("weft_rwlock_write_unlock(): nobody writes");
}
