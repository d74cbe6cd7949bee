/* weft/time.h - waiting for the clock. */
#ifndef WEFT_TIME_H
#define WEFT_TIME_H

#include <weft/base.h>
#include <weft/future.h>

WEFT_BEGIN_DECLS

/**
 * **awaits** until @ns nanoseconds have passed; zero and less yields once. Never early; as late as the tick (1 ms: what is shorter takes
 * until the next whole millisecond) and the load make it.
 * Returns: 0; WEFT_ECANCELED or WEFT_ETIMEDOUT when interrupted; WEFT_EDEADLK where nothing can wait. Cancel-safe.
 */
WEFT_API int weft_sleep(int64_t ns);

/** The same, until @when on weft_now()'s clock. */
WEFT_API int weft_sleep_until(int64_t when);

/* ---- again and again ---------------------------------------------------------------------------------------- */

/** What an interval does with ticks whose time has passed while nobody waited. */
typedef enum weft_missed {
    WEFT_MISSED_BURST, /* makes up for each, at once */
    WEFT_MISSED_DELAY, /* forgets them: the next is a period after this one was taken */
    WEFT_MISSED_SKIP,  /* forgets them: the next is at the next multiple of the period since the first */
} weft_missed;

/** A value; used by one task at a time. */
typedef struct weft_interval {
    int64_t period_, next_;
    weft_missed behaviour_;
    uint64_t missed; /* ticks so far that were taken a period or more late, or left out */
    uint64_t reserved_[2];
} weft_interval;

/** Nothing happens before the first tick, which comes at once. Returns 0, or WEFT_EINVAL for a period of zero or less. */
WEFT_API int weft_interval_init(weft_interval *iv, int64_t period, weft_missed behaviour);

/** **awaits** the next tick. *@scheduled (may be NULL): when it was due. Returns 0 or an interruption. Cancel-safe: the tick is not taken. */
WEFT_API int weft_interval_tick(weft_interval *iv, int64_t *scheduled);

/** Start anew: the next tick is one period from now. */
WEFT_API void weft_interval_reset(weft_interval *iv);

/* ---- not longer than ---------------------------------------------------------------------------------------- */

/**
 * Call @fn(@arg) in this very task, inside a scope of @ns nanoseconds. With zero and less it is not called.
 * Returns: WEFT_ETIMEDOUT when the time was up and an await in @fn said so; else 0, or WEFT_EFAILED (its code in *@result) if @fn returned
 *          weft_fail(code). *@result is what @fn returned in each case, WEFT_ETIMEDOUT included; NULL if it was not called.
 *          WEFT_EINVAL, WEFT_EDEADLK, WEFT_ENOMEM: it was not called. For scopes and aborts around it, @fn's own result tells.
 */
WEFT_API int weft_timeout(int64_t ns, weft_fn fn, void *arg, void **result);

/* ---- try again, later ---------------------------------------------------------------------------------------- */

/** A value. Set what you like, zero is the default of every field. Used by one task at a time. */
typedef struct weft_backoff {
    int64_t initial;  /* the first delay, nanoseconds; 0: 100 ms */
    int64_t max;      /* the longest; 0: 30 s */
    double factor;    /* each delay is the last one times this; 0: 2; at least 1 */
    double jitter;    /* the share of a delay that is left to chance, up to 1; 0: one half; negative: none */
    unsigned retries; /* waits before it gives up; 0: no limit */
    int64_t deadline; /* on weft_now()'s clock: no wait goes beyond it; 0: none */
    int64_t delay_;
    unsigned count_;
    uint64_t reserved_[2];
} weft_backoff;

#define WEFT_BACKOFF_INIT \
    {                     \
        0                 \
    }

/**
 * **awaits** the next delay. The chance in it differs between processes, tasks and calls (see weft_options.seed).
 * Returns: 0: try again; WEFT_EEXHAUSTED: the retries are used up; WEFT_ETIMEDOUT: the wait would end after the deadline (at once);
 *          WEFT_EINVAL: a field makes no sense; an interruption (the delay counts as taken).
 */
WEFT_API int weft_backoff_wait(weft_backoff *backoff);

/** It worked: the next failure begins with the first delay and all retries again. */
WEFT_API void weft_backoff_reset(weft_backoff *backoff);

/* ---- for stackless tasks ------------------------------------------------------------------------------------- */

struct wf_timers;

/** A timer to embed in a future. Not moved while armed; dropped before its memory goes. Used by one task at a time. */
typedef struct weft_timer {
    void *link_[2];
    uint64_t tick_;
    struct wf_timers *home_;
    int64_t when_;
    void (*fire_)(void);
    weft_waker waker_;
} weft_timer;

/** A timer for @when on weft_now()'s clock. It is armed by its first poll. */
WEFT_API void weft_timer_init(weft_timer *timer, int64_t when);

/**
 * Returns: WEFT_READY when its time has come (and from then on), WEFT_PENDING: the context's waker will be woken; WEFT_ENOMEM or
 *          the like when the waker could not be cloned.
 */
WEFT_API weft_poll weft_timer_poll(weft_context *cx, weft_timer *timer);

/** Another time, earlier or later; also after it was ready. It is armed by the next poll. */
WEFT_API void weft_timer_reset(weft_timer *timer, int64_t when);

/** Disarm: its wheel entry and its waker go at once, whatever worker it was armed on. Idempotent. */
WEFT_API void weft_timer_drop(weft_timer *timer);

WEFT_END_DECLS

#endif
