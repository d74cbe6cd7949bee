/* waiters.h - the queue that every lock here has, and one way to wait in it.
 *
 * A waiter is touched under its object's lock only. Whoever serves it unlinks it, writes how, moves its waker out, unlocks, and wakes. Whoever
 * leaves takes the same lock and finds out whether it was served: then it has what it waited for. */
#ifndef WF_WAITERS_H
#define WF_WAITERS_H

#include <base/exec.h>
#include <base/lock.h>
#include <base/waits.h>
#include <weft/sync.h>

typedef enum {
    WF_WAITER_NEW,
    WF_WAITER_QUEUED,
    WF_WAITER_SERVED,    /* it alone was meant: who leaves without using that passes it on */
    WF_WAITER_SERVED_ALL /* so were all others */
} wf_waiter_state;

typedef struct wf_waiter {
    struct wf_waiter *next, *prev; /* under lock, and so all below */
    wf_spin *lock;                 /* the object's */
    weft_waiters_ *queue;
    /* For one that comes: take what is there, if it may. */
    bool (*take)(struct wf_waiter *self);
    void *object;
    weft_waker waker;
    size_t want;
    uint64_t ticket;
    wf_waiter_state state;
    uint8_t kind; /* its owner's: a wf_wait, of object */
} wf_waiter;

/* As an operation for wf_await(): 0 once it was served or has taken. */
ssize_t wf_waiter_poll(void *waiter, weft_context *cx);
/* 0 if it was served before it could leave, else WEFT_PENDING. */
ssize_t wf_waiter_cancel(void *waiter);
extern const wf_op_ops wf_waiter_ops;

/* What came of a poll of it: if nothing, that is what @cx's execution waits for. */
static inline ssize_t wf_waiter_polled(const wf_waiter *w, const weft_context *cx, ssize_t result)
{
    if (result == WEFT_PENDING)
        wf_exec_waits_at(cx->exec, (wf_wait)w->kind, w->object);
    return result;
}

/* Put it into its queue. Under lock; @waker is given away. */
void wf_waiter_queue(wf_waiter *w, weft_waker waker);

static inline bool wf_waiters_empty(const weft_waiters_ *q) { return q->first_ == NULL; }
static inline wf_waiter *wf_waiters_first(const weft_waiters_ *q) { return q->first_; }
/* The first that nobody has meant yet: one who serves all is perhaps between two batches. */
wf_waiter *wf_waiters_first_unmeant(const weft_waiters_ *q);

/* Under lock: unlink it, it has what it waits for. The waker is the caller's, to be woken after the unlock. */
weft_waker wf_waiter_serve(wf_waiter *w, wf_waiter_state how);

/* Under lock: unlink it if it is queued. The waker is the caller's, to be dropped after the unlock. */
weft_waker wf_waiter_leave(wf_waiter *w);

#if WF_STRESS
enum { WF_WAKE_BATCH = 1 }; /* so that others come in between */
#else
enum { WF_WAKE_BATCH = 16 };
#endif

/* Under lock: serve up to a batch of those that came until @ticket. Returns how many. */
unsigned wf_waiters_serve_until(weft_waiters_ *q, uint64_t ticket, weft_waker *wakers);
/* Serve all that wait now; called locked, returns unlocked. */
void wf_waiters_serve_all(wf_spin *lock, weft_waiters_ *q) WF_RELEASE(lock);

/* Wait shielded, for what cannot fail. Where nothing can wait that is a panic, which names @what. */
void wf_waiter_insist(wf_waiter *w, const char *what);

/* A panic in @call, unless the caller holds @m: see mutex.c. */
void wf_mutex_must_be_mine(const weft_mutex *m, const char *call);

/* For people who watch: who held the mutex of which @copy is one, to be compared only; 0: nobody. */
uintptr_t wf_mutex_owner(const weft_mutex *copy);
/* Is that one @task, by its record @body or by itself? Neither is looked into. */
bool wf_mutex_owner_is(uintptr_t owner, const weft_task *task, const wf_body *body);

/* The byte in a public struct is a spin lock. */
_Static_assert(sizeof(wf_spin) == 1, "one byte in public structs");
static inline wf_spin *wf_spin_in(uint8_t *byte) { return (wf_spin *)(void *)byte; }

#endif
