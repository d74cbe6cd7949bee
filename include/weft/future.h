/* weft/future.h - things that are polled, and the wakers that get them polled again. */
#ifndef WEFT_FUTURE_H
#define WEFT_FUTURE_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/* ---- wakers ------------------------------------------------------------------------------------------------- */

typedef struct weft_waker weft_waker;

/** How a waker does its work. Each function may be called from any thread, and none may await. */
typedef struct weft_waker_ops {
    int (*clone)(const weft_waker *self, weft_waker *out); /* 0, or a negative code and *out untouched */
    void (*wake)(weft_waker *self);                        /* wake, and give up self's reference */
    void (*wake_by_ref)(const weft_waker *self);           /* wake, and keep it */
    void (*drop)(weft_waker *self);                        /* give up the reference */
} weft_waker_ops;

/** Makes somebody poll again: a task, a blocked thread, a foreign event loop. Two words; {NULL, NULL} wakes nobody. */
struct weft_waker {
    const weft_waker_ops *ops;
    void *data;
};

/** Another reference to the same sleeper. Returns 0 or a negative code with *@out empty. Any thread. */
WEFT_API int weft_waker_clone(const weft_waker *waker, weft_waker *out);

/** Wake and give up the reference; *@waker is empty afterwards. Wakes are never lost; extra ones cost one poll. Any thread. */
WEFT_API void weft_waker_wake(weft_waker *waker);

/** Wake and keep the reference. Any thread. */
WEFT_API void weft_waker_wake_by_ref(const weft_waker *waker);

/** Give up the reference without waking; *@waker is empty afterwards. Any thread. */
WEFT_API void weft_waker_drop(weft_waker *waker);

/** Nonzero when both wake the same sleeper. Any thread. */
WEFT_API int weft_waker_will_wake(const weft_waker *a, const weft_waker *b);

/**
 * A cell that holds one waker, for one registrant and any number of wakers on any threads.
 * Register, then look at what you wait for; produce, then wake: then no wake is lost.
 * Source: the AtomicWaker of tokio and futures-rs, with its later corrections. See base/atomic_waker.c.
 */
typedef struct weft_atomic_waker {
    uintptr_t state_[1];
    weft_waker waker_;
} weft_atomic_waker;

#define WEFT_ATOMIC_WAKER_INIT \
    {                          \
        {0}, { NULL, NULL }    \
    }

/** An empty cell. */
WEFT_API void weft_atomic_waker_init(weft_atomic_waker *cell);

/**
 * Store a clone of @waker, replacing the one before. A wake that comes meanwhile wakes @waker at once.
 * Returns: 0, or what the clone failed with (the cell is then empty and usable, and @waker has been woken so that it tries again).
 * Threads: one registrant at a time; of two concurrent ones the later loses safely (its waker is woken).
 */
WEFT_API int weft_atomic_waker_register(weft_atomic_waker *cell, const weft_waker *waker);

/** Wake and forget what is registered; nothing registered: nothing happens. Any thread. */
WEFT_API void weft_atomic_waker_wake(weft_atomic_waker *cell);

/** Take what is registered without waking it. Returns 1 and fills *@out, or 0 with *@out empty. Any thread. */
WEFT_API int weft_atomic_waker_take(weft_atomic_waker *cell, weft_waker *out);

/* ---- operations that queue ----------------------------------------------------------------------------------- */

struct weft_op_ops;

/**
 * A stackless task's place in somebody's queue, to embed in its future. All zero is an idle one; a poll twin that takes it begins an
 * operation if it is idle, and it is idle again when that has ended. Not moved in between. One operation at a time.
 */
typedef struct weft_op {
    const struct weft_op_ops *ops_;
    uint64_t state_[12];
} weft_op;

#define WEFT_OP_INIT \
    {                \
        NULL, { 0 }  \
    }

/** Leave the queue; what had been granted is passed on to the next. Idle: nothing. Call it in drop. */
WEFT_API void weft_op_drop(weft_op *op);

/* ---- futures ------------------------------------------------------------------------------------------------ */

/** What a poll sees of the one who polls. Valid during that poll only. */
typedef struct weft_context weft_context;

/** WEFT_READY, WEFT_PENDING, or a negative code: ready, and failed with it. */
typedef int weft_poll;
enum { WEFT_READY = 0, WEFT_PENDING = WEFT_EAGAIN };

typedef struct weft_future weft_future;

typedef struct weft_future_ops {
    /* Finish (and store *result), or keep a clone of the context's waker and return WEFT_PENDING. Never awaits.
     * Not called again once it has finished. */
    weft_poll (*poll)(weft_future *self, weft_context *cx, void **result);
    /* Give back all that it holds, itself included. Called exactly once, never during its own poll. NULL: nothing to do. */
    void (*drop)(weft_future *self);
} weft_future_ops;

/** Embed one, and find your struct again with WEFT_CONTAINER_OF. */
struct weft_future {
    const weft_future_ops *ops;
};

/** The waker that gets the poller polled again; borrowed: clone it to keep it. */
WEFT_API const weft_waker *weft_context_waker(weft_context *cx);

/**
 * **awaits** a future in the calling task and drops it, whatever comes out.
 * Returns: what the last poll returned; WEFT_ECANCELED or WEFT_ETIMEDOUT when interrupted first (@f is dropped, *@result NULL);
 *          WEFT_EINVAL or WEFT_EDEADLK with @f left to the caller.
 */
WEFT_API int weft_await(weft_future *f, void **result);

WEFT_END_DECLS

#endif
