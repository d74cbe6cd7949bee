/* lock.h - two kinds of mutual exclusion.
 *
 * wf_spin: one byte, for sections of a few dozen instructions that call nothing unknown. It yields the CPU when the holder
 *          seems to have been pre-empted.
 * wf_mutex: a pthread mutex, for everything else. */
#ifndef WF_LOCK_H
#define WF_LOCK_H

#include <base/atomic.h>
#include <pthread.h>
#include <sched.h>

#if defined(__clang__)
#define WF_CAPABILITY(name) __attribute__((capability(name)))
#define WF_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define WF_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define WF_TRY_ACQUIRE(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define WF_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define WF_GUARDED_BY(x) __attribute__((guarded_by(x)))
#define WF_NO_THREAD_SAFETY __attribute__((no_thread_safety_analysis))
#else
#define WF_CAPABILITY(name)
#define WF_ACQUIRE(...)
#define WF_RELEASE(...)
#define WF_TRY_ACQUIRE(...)
#define WF_REQUIRES(...)
#define WF_GUARDED_BY(x)
#define WF_NO_THREAD_SAFETY
#endif

typedef struct WF_CAPABILITY("spin lock") {
    wf_a8 held;
} wf_spin;

static inline bool wf_spin_try(wf_spin *l) WF_TRY_ACQUIRE(true, l) WF_NO_THREAD_SAFETY
{
    /* [SPIN] acquire: pairs with the release store of whoever held it last. */
    return wf_load_rlx(&l->held) == 0 && wf_swap_acq(&l->held, 1) == 0;
}

static inline void wf_spin_lock(wf_spin *l) WF_ACQUIRE(l) WF_NO_THREAD_SAFETY
{
    for (unsigned tries = 0; !wf_spin_try(l); tries++) {
        if (tries < 100)
            wf_cpu_relax();
        else
            sched_yield();
    }
}

static inline void wf_spin_unlock(wf_spin *l) WF_RELEASE(l) WF_NO_THREAD_SAFETY
{
    wf_store_rel(&l->held, 0); /* [SPIN] release */
}

typedef struct WF_CAPABILITY("mutex") {
    pthread_mutex_t m;
} wf_mutex;

#define WF_MUTEX_INIT             \
    {                             \
        PTHREAD_MUTEX_INITIALIZER \
    }

static inline void wf_mutex_init(wf_mutex *l) { pthread_mutex_init(&l->m, NULL); }
static inline void wf_mutex_destroy(wf_mutex *l) { pthread_mutex_destroy(&l->m); }
static inline void wf_mutex_lock(wf_mutex *l) WF_ACQUIRE(l) WF_NO_THREAD_SAFETY { pthread_mutex_lock(&l->m); }
static inline void wf_mutex_unlock(wf_mutex *l) WF_RELEASE(l) WF_NO_THREAD_SAFETY { pthread_mutex_unlock(&l->m); }

#endif
