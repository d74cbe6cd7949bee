/* weft/sync.h - locks and meeting points for tasks and ordinary threads alike. Fair: who waits is served in order. None allocates; each has a
 * static initializer, and needs no destruction: its memory may go when nobody waits in it and no call is running on it that wakes more than one. */
#ifndef WEFT_SYNC_H
#define WEFT_SYNC_H

#include <weft/base.h>
#include <weft/future.h>

WEFT_BEGIN_DECLS

/* A queue of those who wait. Its zero is an empty one. */
typedef struct weft_waiters_ {
    void *first_, *last_;
    uint64_t tickets_, all_;
} weft_waiters_;

#define WEFT_HERE_2_(file, line) file ":" #line
#define WEFT_HERE_1_(file, line) WEFT_HERE_2_(file, line)
#define WEFT_HERE_ WEFT_HERE_1_(__FILE__, __LINE__)

/* ---- mutual exclusion ----------------------------------------------------------------------------------------- */

/** Held across awaits, by a task or an ordinary thread; not recursive. A strand that panics or ends while it holds one stops the process, naming both. */
typedef struct weft_mutex {
    uint32_t state_;
    uint8_t lock_, reserved_[3];
    weft_waiters_ waiters_;
    uintptr_t owner_;
    struct weft_held_ {
        struct weft_held_ *next_, *prev_;
        const char *name_; /* where it was initialized */
    } held_;
} weft_mutex;

#define WEFT_MUTEX_INIT                                                    \
    {                                                                      \
        0, 0, {0, 0, 0}, {NULL, NULL, 0, 0}, 0, { NULL, NULL, WEFT_HERE_ } \
    }

WEFT_API void weft_mutex_init_named(weft_mutex *m, const char *name);
#define weft_mutex_init(m) weft_mutex_init_named((m), WEFT_HERE_)

/** **awaits** the lock, shielded: it never fails. Locking what one holds, and having to wait where nothing can wait (a stackless poll, a
 *  callback), is a panic. */
WEFT_API void weft_mutex_lock(weft_mutex *m);
/** 0 or WEFT_EBUSY (or WEFT_ENOMEM: a thread's first call). Any context. */
WEFT_API WEFT_MUST_USE int weft_mutex_try_lock(weft_mutex *m);
/** By its holder: another's unlock is a panic that names both. Hands over to the first that waits. Never waits. */
WEFT_API void weft_mutex_unlock(weft_mutex *m);

/** Many readers or one writer, in the order in which they come: a writer that waits holds later readers back. Not recursive. */
typedef struct weft_rwlock {
    uint8_t lock_, reserved_[3];
    uint32_t readers_;
    uint32_t writing_, reserved2_;
    weft_waiters_ waiters_;
} weft_rwlock;

#define WEFT_RWLOCK_INIT                            \
    {                                               \
        0, {0, 0, 0}, 0, 0, 0, { NULL, NULL, 0, 0 } \
    }

/** As weft_mutex_lock(): they never fail. */
WEFT_API void weft_rwlock_read_lock(weft_rwlock *l);
WEFT_API void weft_rwlock_write_lock(weft_rwlock *l);
WEFT_API WEFT_MUST_USE int weft_rwlock_try_read_lock(weft_rwlock *l);
WEFT_API WEFT_MUST_USE int weft_rwlock_try_write_lock(weft_rwlock *l);
WEFT_API void weft_rwlock_read_unlock(weft_rwlock *l);
WEFT_API void weft_rwlock_write_unlock(weft_rwlock *l);

/* ---- permits -------------------------------------------------------------------------------------------------- */

typedef struct weft_semaphore {
    uint8_t lock_, reserved_[7];
    size_t permits_;
    weft_waiters_ waiters_;
} weft_semaphore;

#define WEFT_SEMAPHORE_INIT(permits)                              \
    {                                                             \
        0, {0, 0, 0, 0, 0, 0, 0}, (permits), { NULL, NULL, 0, 0 } \
    }

WEFT_API void weft_semaphore_init(weft_semaphore *s, size_t permits);
/** **awaits** @n permits, all at once and in order: a large request is not overtaken by small ones. Returns 0, or an interruption with none
 *  taken. Cancel-safe. */
WEFT_API WEFT_MUST_USE int weft_semaphore_acquire(weft_semaphore *s, size_t n);
/** 0 or WEFT_EAGAIN. Any context. */
WEFT_API WEFT_MUST_USE int weft_semaphore_try_acquire(weft_semaphore *s, size_t n);
/** Any context, any task. */
WEFT_API void weft_semaphore_release(weft_semaphore *s, size_t n);
WEFT_API size_t weft_semaphore_available(weft_semaphore *s);
/** 0 or WEFT_PENDING: see weft_op. */
WEFT_API weft_poll weft_poll_semaphore_acquire(weft_context *cx, weft_op *op, weft_semaphore *s, size_t n);

/* ---- telling others --------------------------------------------------------------------------------------------- */

/** An event without a value. One notification is kept for the next to wait if nobody does. */
typedef struct weft_notify {
    uint8_t lock_, reserved_[3];
    uint32_t stored_;
    weft_waiters_ waiters_;
} weft_notify;

#define WEFT_NOTIFY_INIT                      \
    {                                         \
        0, {0, 0, 0}, 0, { NULL, NULL, 0, 0 } \
    }

WEFT_API void weft_notify_init(weft_notify *n);
/** Wake the first that waits; nobody waits: the next wait returns at once. Any context. */
WEFT_API void weft_notify_one(weft_notify *n);
/** Wake all that wait now; nothing is kept. Any context. */
WEFT_API void weft_notify_all(weft_notify *n);
/** **awaits** a notification. Returns 0 or an interruption; a notification that it had been chosen for goes to the next. Cancel-safe. */
WEFT_API int weft_notify_wait(weft_notify *n);

typedef struct weft_cond {
    uint8_t lock_, reserved_[7];
    weft_waiters_ waiters_;
} weft_cond;

#define WEFT_COND_INIT                                 \
    {                                                  \
        0, {0, 0, 0, 0, 0, 0, 0}, { NULL, NULL, 0, 0 } \
    }

WEFT_API void weft_cond_init(weft_cond *c);
/** **awaits** a signal with @m unlocked meanwhile. @m is locked again in every case. Returns 0 or an interruption (a signal that it had been
 *  chosen for goes to the next). May return without a signal: look at what you wait for. */
WEFT_API int weft_cond_wait(weft_cond *c, weft_mutex *m);
WEFT_API void weft_cond_signal(weft_cond *c);
WEFT_API void weft_cond_broadcast(weft_cond *c);

/** @parties wait for each other, again and again. */
typedef struct weft_barrier {
    uint8_t lock_, reserved_[3];
    uint32_t parties_, arrived_, meeting_;
    weft_waiters_ waiters_;
} weft_barrier;

#define WEFT_BARRIER_INIT(parties)                          \
    {                                                       \
        0, {0, 0, 0}, (parties), 0, 0, { NULL, NULL, 0, 0 } \
    }

/** Returns 0, or WEFT_EINVAL for no parties. */
WEFT_API int weft_barrier_init(weft_barrier *b, unsigned parties);
/** **awaits** the others. Returns 1 to the last to arrive, 0 to the others; an interruption: it has not arrived. Cancel-safe. */
WEFT_API int weft_barrier_wait(weft_barrier *b);

/** Something done once, by whoever comes first. */
typedef struct weft_once {
    uint32_t state_;
    uint8_t lock_, reserved_[3];
    weft_waiters_ waiters_;
} weft_once;

#define WEFT_ONCE_INIT                        \
    {                                         \
        0, 0, {0, 0, 0}, { NULL, NULL, 0, 0 } \
    }

/** Call @fn(@arg) if nobody has; **awaits** whoever is at it. If @fn panics, the next tries again. Returns 0 or an interruption. */
WEFT_API int weft_once_do(weft_once *once, void (*fn)(void *arg), void *arg);

WEFT_END_DECLS

#endif
