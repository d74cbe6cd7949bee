/* sampled.c - see sampled.h. */
#include <runtime/runtime.h>
#include <runtime/sampled.h>
#include <signal.h>

/* Asked for seldom: of a main thread it takes a reading of all maps. */
static bool find_thread_stack(wf_worker *w)
{
    pthread_attr_t attr;
    void *low = NULL;
    size_t size = 0;
    if (w->thread_low && pthread_equal(w->thread_known, pthread_self()))
        return true;
    w->thread_known = pthread_self();
    w->thread_low = 0;
    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return false;
    if (pthread_attr_getstack(&attr, &low, &size) == 0)
        w->thread_low = (uintptr_t)low;
    pthread_attr_destroy(&attr);
    return w->thread_low != 0;
}

void wf_sampled_enter(wf_worker *w, const void *frame)
{
    sigset_t urgent;
    if (!w->rt->sampled || !find_thread_stack(w))
        return;
    w->thread_high = (uintptr_t)frame;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    pthread_sigmask(SIG_UNBLOCK, &urgent, NULL);
}

/* Whose mask it was gets it back afterwards. */
void wf_sampled_leave(wf_worker *w)
{
    sigset_t urgent;
    if (!w->rt->sampled)
        return;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    pthread_sigmask(SIG_BLOCK, &urgent, NULL);
}
