/* sigpipe.c - system calls that raise SIGPIPE and cannot be asked not to.
 *
 * The signal is held back for the calling thread; if it was raised meanwhile, and had not been before, it is taken. */
#include <net/socket.h>
#include <pthread.h>
#include <time.h>

static sigset_t only_sigpipe(void)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGPIPE);
    return one;
}

static bool is_pending(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

void wf_sigpipe_hold(wf_sigpipe *hold)
{
    sigset_t one = only_sigpipe();
    hold->pending = is_pending();
    pthread_sigmask(SIG_BLOCK, &one, &hold->before);
}

void wf_sigpipe_release(const wf_sigpipe *hold)
{
    if (!hold->pending && is_pending()) {
        sigset_t one = only_sigpipe();
        const struct timespec at_once = {0};
        sigtimedwait(&one, NULL, &at_once);
    }
    pthread_sigmask(SIG_SETMASK, &hold->before, NULL);
}
