/* os_mutex.c - libweft_debug.so: remembers which pthread mutexes each thread holds, for programs run with LD_PRELOAD=libweft_debug.so.
 *
 * weft asks when a strand is about to suspend: one that holds a mutex then would come back on another thread, or keep its worker's
 * other strands from it for ever (d37). pthread_cond_wait() unlocks and locks inside the C library, which does not come by here; nor can a
 * strand suspend meanwhile. Of more than MOST mutexes at once the oldest are remembered. */
#include <debug/os_mutex.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MOST = 32, TEXT = 512 };

typedef struct held {
    pthread_mutex_t *mutex;
    void *caller;
    unsigned long number;
} held;

/* Not where a first use could allocate: locks are taken inside malloc(). */
#define THREAD_LOCAL static _Thread_local __attribute__((tls_model("initial-exec")))
THREAD_LOCAL held list[MOST]; /* oldest first */
THREAD_LOCAL unsigned count;
THREAD_LOCAL unsigned long locks;

#define EXPORT __attribute__((visibility("default")))
#define CALLER __builtin_return_address(0)

/* ---- the list ------------------------------------------------------------------------------------------------ */

/* A robust mutex whose owner died is locked as well. */
static int locked(int err, pthread_mutex_t *m, void *caller)
{
    if (err != 0 && err != EOWNERDEAD)
        return err;
    locks++;
    if (count < MOST)
        list[count++] = (held){m, caller, locks};
    return err;
}

static void unlocked(const pthread_mutex_t *m)
{
    unsigned i = count;
    while (i > 0 && list[i - 1].mutex != m)
        i--;
    if (i == 0)
        return;
    memmove(&list[i - 1], &list[i], (count - i) * sizeof *list);
    count--;
}

/* ---- in place of the C library's ----------------------------------------------------------------------------- */

/* Looked up again and again until it is there: that costs little, and two threads may do it at once. */
static void *next(void **cache, const char *name)
{
    void *fn = __atomic_load_n(cache, __ATOMIC_RELAXED);
    if (!fn) {
        fn = dlsym(RTLD_NEXT, name);
        __atomic_store_n(cache, fn, __ATOMIC_RELAXED);
    }
    return fn;
}

/* A pointer to data as one to a function: POSIX has it so for dlsym(). */
#define NEXT(type, name) \
    static void *cache_; \
    type real;           \
    *(void **)(void *)&real = next(&cache_, name)

typedef int plain_fn(pthread_mutex_t *);
typedef int timed_fn(pthread_mutex_t *, const struct timespec *);
typedef int clock_fn(pthread_mutex_t *, clockid_t, const struct timespec *);

EXPORT int pthread_mutex_lock(pthread_mutex_t *m)
{
    NEXT(plain_fn *, "pthread_mutex_lock");
    return locked(real(m), m, CALLER);
}

EXPORT int pthread_mutex_trylock(pthread_mutex_t *m)
{
    NEXT(plain_fn *, "pthread_mutex_trylock");
    return locked(real(m), m, CALLER);
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *m, const struct timespec *until)
{
    NEXT(timed_fn *, "pthread_mutex_timedlock");
    return locked(real(m, until), m, CALLER);
}

EXPORT int pthread_mutex_clocklock(pthread_mutex_t *m, clockid_t clock, const struct timespec *until)
{
    NEXT(clock_fn *, "pthread_mutex_clocklock");
    return real ? locked(real(m, clock, until), m, CALLER) : ENOSYS;
}

EXPORT int pthread_mutex_unlock(pthread_mutex_t *m)
{
    NEXT(plain_fn *, "pthread_mutex_unlock");
    int err = real(m);
    if (err == 0)
        unlocked(m);
    return err;
}

/* ---- for weft ------------------------------------------------------------------------------------------------ */

static void describe(const void *address, char *text)
{
    Dl_info info;
    if (!dladdr(address, &info))
        snprintf(text, TEXT, "%p", address);
    else if (info.dli_sname)
        snprintf(text, TEXT, "%s() of %s", info.dli_sname, info.dli_fname);
    else /* a static function: addr2line knows it */
        snprintf(text, TEXT, "%s+%#tx", info.dli_fname, (const char *)address - (const char *)info.dli_fbase);
}

EXPORT wf_os_mutexes_held weft_debug_os_mutexes_held_;

unsigned long weft_debug_os_mutexes_held_(unsigned long since, const void **mutex, const char **where)
{
    THREAD_LOCAL char text[TEXT];
    const held *newest = count > 0 ? &list[count - 1] : NULL;
    *mutex = newest && newest->number > since ? newest->mutex : NULL;
    *where = "";
    if (*mutex) {
        describe(newest->caller, text);
        *where = text;
    }
    return locks;
}
