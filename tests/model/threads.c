/* threads.c - mutexes, condition variables and the rest of what scenes' sources call of the system's threads. */
#include "inside.h"

#include <errno.h>
#include "threads.h"

/* Who holds a mutex lies in its own memory: that thread + 1; zero, which an unlocked one is born with: nobody. */
typedef struct mutex {
    unsigned holder;
} mutex;

static mutex *of(pthread_mutex_t *m) { return (mutex *)(void *)m; }

int model_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attributes)
{
    (void)attributes;
    of(m)->holder = 0;
    return 0;
}

int model_mutex_destroy(pthread_mutex_t *m)
{
    if (of(m)->holder)
        model_fail("a locked mutex is destroyed");
    return 0;
}

int model_mutex_lock(pthread_mutex_t *m)
{
    model_point("lock", m, __builtin_return_address(0));
    while (of(m)->holder) {
        if (of(m)->holder == model_self() + 1)
            model_fail("a mutex is locked twice");
        model_block(m, false);
    }
    of(m)->holder = model_self() + 1;
    memory_acquire_at(m);
    return 0;
}

int model_mutex_unlock(pthread_mutex_t *m)
{
    model_point("unlock", m, __builtin_return_address(0));
    if (of(m)->holder != model_self() + 1)
        model_fail("a mutex is unlocked that is not held");
    memory_release_at(m);
    of(m)->holder = 0;
    model_wake(m, true);
    return 0;
}

int model_cond_init(pthread_cond_t *c, const pthread_condattr_t *attributes)
{
    (void)c, (void)attributes;
    return 0;
}

int model_cond_destroy(pthread_cond_t *c)
{
    (void)c;
    return 0;
}

static bool wait_for(pthread_cond_t *c, pthread_mutex_t *m, bool timed)
{
    model_point("wait", c, __builtin_return_address(0));
    memory_release_at(m);
    of(m)->holder = 0;
    model_wake(m, true);
    bool woken = model_block(c, timed);
    model_mutex_lock(m);
    return woken;
}

int model_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    wait_for(c, m, false);
    return 0;
}

int model_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    (void)until;
    return wait_for(c, m, true) ? 0 : ETIMEDOUT;
}

int model_cond_signal(pthread_cond_t *c)
{
    model_point("signal", c, __builtin_return_address(0));
    model_wake(c, false);
    return 0;
}

int model_cond_broadcast(pthread_cond_t *c)
{
    model_point("signal", c, __builtin_return_address(0));
    model_wake(c, true);
    return 0;
}

/* @fn is over before anybody else comes. A once that is static is done in the first execution, and stays done. */
int model_once(pthread_once_t *once, void (*fn)(void))
{
    model_point("once", once, __builtin_return_address(0));
    if (*once == PTHREAD_ONCE_INIT) {
        fn();
        *once = PTHREAD_ONCE_INIT + 1;
        memory_release_at(once);
    }
    memory_acquire_at(once);
    return 0;
}

int model_key_create(pthread_key_t *key, void (*destroy)(void *))
{
    (void)destroy;
    *key = 1;
    return 0;
}

int model_setspecific(pthread_key_t key, const void *value)
{
    (void)key, (void)value;
    return 0;
}

int model_setcancelstate(int state, int *before)
{
    if (before)
        *before = state;
    return 0;
}

int model_sched_yield(void)
{
    model_yield();
    return 0;
}

void model_pause(void) { model_yield(); }
