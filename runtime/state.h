/* state.h - the task word: one atomic integer that says what a task is and who may touch what.
 *
 * Pure: nothing here knows what a task looks like. Each transition is one function that returns a verdict, and callers only act
 * on it. The five states, from the bits:
 *
 *   state      ACTIVE DONE CANCELLED  meaning
 *   idle         0     0      0       waits; nobody has it queued
 *   scheduled    1     0      0       in exactly one queue, once           } told apart for people only, by the task's
 *   running      1     0      0       being polled by exactly one thread   } track (track.h): no decision depends on it
 *   completed    0     1      0       ended; the output is there
 *   cancelled    0     1      1       ended because it was aborted
 *
 *   event \ state  idle              scheduled          running            completed, cancelled
 *   wake           ACTIVE, enqueue   NOTIFIED           NOTIFIED           nothing
 *   abort          ABORT, as wake    ABORT, as wake;    ABORT, as wake     nothing
 *                                    POOLED: off, enqueue
 *   leaves pool    impossible        POOLED off         not any more       not any more
 *   poll begins    impossible        take NOTIFIED      impossible         impossible
 *   poll pending   impossible        impossible         idle; or, if NOTIFIED, take it and enqueue again
 *   seize          ACTIVE            nothing            nothing            nothing
 *   complete       impossible        impossible         DONE               impossible
 *   join           set the waker     set the waker      set the waker      done
 *   detach         HANDLE off        HANDLE off         HANDLE off         take or drop the output
 *
 * A task is born scheduled. NOTIFIED is meaningful with ACTIVE only: one more poll is owed. A wake is always a read-modify-write,
 * also where it changes nothing, because what the waker stored before must be seen by the poll that it asks for.
 *
 * A blocking task is ACTIVE from birth to end, so no wake ever queues it. It is born POOLED: its job lies in the pool, and it has not
 * begun. Who takes that bit off decides what becomes of it: the pool's thread begins it; an abort queues it for a worker, which
 * cancels it like any other that has not started. The job's own reference keeps the header for the loser.
 *
 * JOIN_LOCK is the mutex of the join waker: the joiner takes it to store or to forget its waker, and the completer only if
 * JOIN_WAKER says that there is one, in the same operation that completes. So a completion nobody waits for takes no lock.
 *
 * References (from bit 16 up): one for being alive, given up when it completes; one for the handle (HANDLE); one for each waker
 * and aborter. Some of the wakers' are paid for in advance (see weft_task.spare). Who sees exactly its own references left may
 * free without a read-modify-write: nobody else holds a pointer. */
#ifndef WF_STATE_H
#define WF_STATE_H

#include <base/atomic.h>

#define WF_S_ACTIVE UINT64_C(0x1)
#define WF_S_NOTIFIED UINT64_C(0x2)
#define WF_S_DONE UINT64_C(0x4)
#define WF_S_CANCELLED UINT64_C(0x8)
#define WF_S_ABORT UINT64_C(0x10) /* requested; never cleared */
#define WF_S_SCOPE UINT64_C(0x20) /* a scope may have fired: the next await looks */
#define WF_S_JOIN_LOCK UINT64_C(0x40)
#define WF_S_JOIN_WAKER UINT64_C(0x80)
#define WF_S_HANDLE UINT64_C(0x100) /* somebody will take the output, or detach */
#define WF_S_POOLED UINT64_C(0x200) /* a blocking task that has not begun */
#define WF_S_REF UINT64_C(0x10000)

#define wf_state_refs(word) ((word) >> 16)

/* ---- birth, wakes, abort ------------------------------------------------------------------------------------- */

/* @refs in all, the one for being alive included. @bits: HANDLE, JOIN_WAKER, POOLED, or none. */
static inline void wf_state_init(wf_a64 *s, uint64_t bits, uint64_t refs)
{
    /* release: whoever walks the headers of a runtime meets the word before any queue has handed the task over. */
    wf_store_rel(s, WF_S_ACTIVE | bits | refs * WF_S_REF);
}

typedef enum { WF_WAKE_NOTHING, WF_WAKE_ENQUEUE, WF_WAKE_FREE } wf_wake;

/* [WAKE] release half: pairs with poll_begin and poll_pending, which see what the waker stored. */
static inline wf_wake wf_state_wake(wf_a64 *s)
{
    uint64_t old = wf_load_rlx(s);
    for (;;) {
        if (old & WF_S_DONE)
            return WF_WAKE_NOTHING;
        uint64_t next = old | (old & WF_S_ACTIVE ? WF_S_NOTIFIED : WF_S_ACTIVE);
        if (wf_cas_acqrel(s, &old, next))
            return old & WF_S_ACTIVE ? WF_WAKE_NOTHING : WF_WAKE_ENQUEUE;
    }
}

/* The same, giving up one reference in the same operation. ENQUEUE needs none: the task is alive. */
static inline wf_wake wf_state_wake_consume(wf_a64 *s)
{
    uint64_t old = wf_load_rlx(s);
    for (;;) {
        uint64_t next = old - WF_S_REF;
        if (!(old & WF_S_DONE))
            next |= old & WF_S_ACTIVE ? WF_S_NOTIFIED : WF_S_ACTIVE;
        if (wf_cas_acqrel(s, &old, next)) {
            if (old & WF_S_DONE)
                return wf_state_refs(next) == 0 ? WF_WAKE_FREE : WF_WAKE_NOTHING;
            return old & WF_S_ACTIVE ? WF_WAKE_NOTHING : WF_WAKE_ENQUEUE;
        }
    }
}

/* What an abort makes of a word that is alive, and whether its task is to be queued. */
static inline uint64_t wf_state_aborted(uint64_t old)
{
    if (old & WF_S_POOLED)
        return (old & ~WF_S_POOLED) | WF_S_ABORT;
    return old | WF_S_ABORT | (old & WF_S_ACTIVE ? WF_S_NOTIFIED : WF_S_ACTIVE);
}
static inline wf_wake wf_state_abort_verdict(uint64_t old)
{
    return old & WF_S_POOLED || !(old & WF_S_ACTIVE) ? WF_WAKE_ENQUEUE : WF_WAKE_NOTHING;
}

/* As a wake, with ABORT. ENQUEUE also for a blocking task that now will not begin. */
static inline wf_wake wf_state_abort(wf_a64 *s)
{
    uint64_t old = wf_load_rlx(s);
    for (;;) {
        if (old & WF_S_DONE)
            return WF_WAKE_NOTHING;
        if (wf_cas_acqrel(s, &old, wf_state_aborted(old)))
            return wf_state_abort_verdict(old);
    }
}

/* [SCOPE] release: what was stored about the firing is seen by the look that follows the unmark. A wake follows the mark. */
static inline void wf_state_mark(wf_a64 *s) { wf_or_acqrel(s, WF_S_SCOPE); }
static inline void wf_state_unmark(wf_a64 *s) { wf_and_acqrel(s, ~WF_S_SCOPE); }

/* For walkers over headers that may be free or be reborn meanwhile: the word of a free header is 0. */
static inline wf_wake wf_state_abort_if_alive(wf_a64 *s)
{
    uint64_t old = wf_load_acq(s);
    for (;;) {
        if (wf_state_refs(old) == 0 || old & (WF_S_DONE | WF_S_ABORT))
            return WF_WAKE_NOTHING;
        if (wf_cas_acqrel(s, &old, wf_state_aborted(old)))
            return wf_state_abort_verdict(old);
    }
}

/* The pool's thread is about to begin a blocking task; or its spawner takes it back. False: an abort came first. */
static inline bool wf_state_leave_pool(wf_a64 *s) { return wf_and_acqrel(s, ~WF_S_POOLED) & WF_S_POOLED; }

/* ---- polling ------------------------------------------------------------------------------------------------- */

/* Returns the word as it was. A wake that came while it was queued is answered by this very poll. */
static inline uint64_t wf_state_poll_begin(wf_a64 *s)
{
    uint64_t old = wf_load_acq(s); /* [WAKE] acquire */
    if (wf_unlikely(old & WF_S_NOTIFIED))
        old = wf_and_acqrel(s, ~WF_S_NOTIFIED);
    return old;
}

typedef enum { WF_PENDING_IDLE, WF_PENDING_AGAIN } wf_pending;

/* After IDLE the task may already run elsewhere, or be gone. */
static inline wf_pending wf_state_poll_pending(wf_a64 *s)
{
    uint64_t old = wf_load_rlx(s);
    for (;;) {
        bool again = old & WF_S_NOTIFIED;
        uint64_t next = old & ~(again ? WF_S_NOTIFIED : WF_S_ACTIVE);
        /* release: the next poller sees this poll's work; [WAKE] acquire: this thread may be that poller. */
        if (wf_cas_acqrel(s, &old, next))
            return again ? WF_PENDING_AGAIN : WF_PENDING_IDLE;
    }
}

/* Who only looks holds an idle task still: it becomes its poller for a moment, and polls nothing. Wakes and aborts that come meanwhile are owed, as in any
 * poll. By walkers over headers: the word of a free one is 0. True: the task is the caller's until wf_state_poll_pending(), whose verdict he acts on. */
static inline bool wf_state_seize(wf_a64 *s)
{
    uint64_t old = wf_load_acq(s);
    do {
        if (wf_state_refs(old) == 0 || old & (WF_S_ACTIVE | WF_S_DONE))
            return false;
    } while (!wf_cas_acqrel(s, &old, old | WF_S_ACTIVE)); /* [WAKE] acquire: what the last poll left */
    return true;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

enum {
    WF_END_WAKE_JOINER = 1, /* take the join waker, wf_state_join_taken(), wake it */
    WF_END_DROP_OUTPUT = 2, /* nobody will take it */
    WF_END_FREE = 4,        /* that was the last reference */
};

static inline bool wf_state_has_handle(wf_a64 *s) { return wf_load_rlx(s) & WF_S_HANDLE; }

/* The output is stored. Gives up the reference for being alive and @spare more, except that of being alive when there is a
 * joiner to wake: that one goes with wf_state_join_taken(). With DROP_OUTPUT the word is not touched: the caller drops the output and
 * calls wf_state_complete_detached(). */
static inline unsigned wf_state_complete(wf_a64 *s, bool cancelled, uint64_t spare)
{
    uint64_t old = wf_load_acq(s);
    for (;;) {
        if (!(old & WF_S_HANDLE))
            return WF_END_DROP_OUTPUT;
        uint64_t next = (old & ~(WF_S_ACTIVE | WF_S_NOTIFIED)) | WF_S_DONE | (cancelled ? WF_S_CANCELLED : 0);
        bool joiner = old & WF_S_JOIN_WAKER;
        next -= spare * WF_S_REF;
        if (joiner)
            next = (next & ~WF_S_JOIN_WAKER) | WF_S_JOIN_LOCK;
        else
            next -= WF_S_REF;
        if (wf_cas_acqrel(s, &old, next)) /* [DONE] release: the output */
            return (joiner ? WF_END_WAKE_JOINER : 0) | (wf_state_refs(next) == 0 ? WF_END_FREE : 0);
    }
}

/* The end of a task without a handle: only wakers and aborters may still look at its word. Returns true to free. */
static inline bool wf_state_complete_detached(wf_a64 *s, bool cancelled, uint64_t spare)
{
    uint64_t old = wf_load_acq(s); /* [LAST] acquire: everybody else's last use is over */
    if (wf_state_refs(old) == 1 + spare)
        return true;
    for (;;) {
        uint64_t next = (old & ~(WF_S_ACTIVE | WF_S_NOTIFIED)) | WF_S_DONE | (cancelled ? WF_S_CANCELLED : 0);
        next -= (1 + spare) * WF_S_REF;
        if (wf_cas_acqrel(s, &old, next))
            return wf_state_refs(next) == 0;
    }
}

/* Give up one reference; true when it was the last. */
static inline bool wf_state_unref(wf_a64 *s)
{
    if (wf_state_refs(wf_load_acq(s)) == 1) /* [LAST] acquire */
        return true;
    return wf_state_refs(wf_sub_acqrel(s, WF_S_REF)) == 1; /* [LAST] release, and acquire for the one who frees */
}

static inline void wf_state_ref(wf_a64 *s, uint64_t n) { wf_add_rlx(s, n * WF_S_REF); }

/* ---- the handle ---------------------------------------------------------------------------------------------- */

typedef enum { WF_JOIN_LOCKED, WF_JOIN_DONE, WF_JOIN_BUSY, WF_JOIN_SET } wf_join;

static inline bool wf_state_done(wf_a64 *s) { return wf_load_acq(s) & WF_S_DONE; /* [DONE] acquire */ }

/* Lock the join waker in order to store one. */
static inline wf_join wf_state_join_lock(wf_a64 *s)
{
    uint64_t old = wf_load_acq(s);
    for (;;) {
        if (old & WF_S_DONE)
            return WF_JOIN_DONE;
        if (old & (WF_S_JOIN_LOCK | WF_S_JOIN_WAKER))
            return WF_JOIN_BUSY;
        if (wf_cas_acqrel(s, &old, old | WF_S_JOIN_LOCK))
            return WF_JOIN_LOCKED;
    }
}

/* Unlock: with @set a waker has been stored. DONE: it completed meanwhile and has not seen the waker, which is the caller's again. */
static inline wf_join wf_state_join_unlock(wf_a64 *s, bool set)
{
    uint64_t old = wf_load_rlx(s);
    for (;;) {
        uint64_t next = old & ~WF_S_JOIN_LOCK;
        if (set && !(old & WF_S_DONE))
            next |= WF_S_JOIN_WAKER;
        if (wf_cas_acqrel(s, &old, next)) /* [JOIN] release: the waker; [DONE] acquire */
            return old & WF_S_DONE ? WF_JOIN_DONE : WF_JOIN_SET;
    }
}

/* Lock the join waker in order to forget the one that the caller stored. DONE: the completer has taken it. */
static inline wf_join wf_state_join_relock(wf_a64 *s)
{
    uint64_t old = wf_load_acq(s);
    for (;;) {
        if (old & WF_S_DONE)
            return WF_JOIN_DONE;
        if (wf_cas_acqrel(s, &old, (old & ~WF_S_JOIN_WAKER) | WF_S_JOIN_LOCK))
            return WF_JOIN_LOCKED;
    }
}

/* The completer has moved the join waker out: unlock and give up the reference for being alive. True to free. */
static inline bool wf_state_join_taken(wf_a64 *s)
{
    return wf_state_refs(wf_sub_acqrel(s, WF_S_REF + WF_S_JOIN_LOCK)) == 1;
}

typedef enum { WF_DETACH_NOTHING, WF_DETACH_TAKE_OUTPUT } wf_detach;

/* NOTHING: the reference is given up too (it cannot be the last, the task is alive). TAKE_OUTPUT: ended; take or drop the output, then unref. */
static inline wf_detach wf_state_detach(wf_a64 *s)
{
    uint64_t old = wf_load_acq(s);
    for (;;) {
        if (old & WF_S_DONE)
            return WF_DETACH_TAKE_OUTPUT; /* [DONE] acquire */
        if (wf_cas_acqrel(s, &old, (old & ~WF_S_HANDLE) - WF_S_REF))
            return WF_DETACH_NOTHING;
    }
}

#endif
