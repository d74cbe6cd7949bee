/* taker.c - see taker.h. */
#include <base/lock.h>
#include <runtime/taker.h>
#include <signal.h>

static wf_mutex lock = WF_MUTEX_INIT;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned users;   /* under lock */
static unsigned stopped; /* under lock: generations that are to leave */
static unsigned started; /* under lock: generations so far */
static pthread_t thread; /* under lock */

static void *take_signals(void *arg)
{
    sigset_t none;
    unsigned generation = (unsigned)(uintptr_t)arg;
    pthread_setname_np(pthread_self(), "weft/taker");
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    wf_mutex_lock(&lock);
    while (stopped < generation)
        pthread_cond_wait(&changed, &lock.m);
    wf_mutex_unlock(&lock);
    return NULL;
}

/* Born with everything blocked: it must not take a signal before it has a name. */
static int start_locked(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = -pthread_create(&thread, NULL, take_signals, (void *)(uintptr_t)(started + 1));
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    started += err == 0;
    return err;
}

int wf_taker_acquire(void)
{
    wf_mutex_lock(&lock);
    int err = users == 0 ? start_locked() : 0;
    if (err == 0)
        users++;
    wf_mutex_unlock(&lock);
    return err;
}

/* The lock is not held while the thread is joined, so a new first user may start the next generation meanwhile. */
void wf_taker_release(void)
{
    wf_mutex_lock(&lock);
    if (--users > 0) {
        wf_mutex_unlock(&lock);
        return;
    }
    pthread_t leaving = thread;
    stopped = started;
    pthread_cond_broadcast(&changed);
    wf_mutex_unlock(&lock);
    pthread_join(leaving, NULL);
}

void wf_taker_fork_lock(void) WF_NO_THREAD_SAFETY { wf_mutex_lock(&lock); }

void wf_taker_fork_unlock(void) WF_NO_THREAD_SAFETY { wf_mutex_unlock(&lock); }
