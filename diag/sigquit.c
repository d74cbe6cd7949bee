/* sigquit.c - see sigquit.h.
 *
 * A signal comes to this as to a task that watches for it, by the runtime's thread for signals: so the program's own watching goes on beside it, several runtimes
 * have each its share, the last one puts back what was before (see system/disposition.c), and nothing is done in a handler but to write to a pipe. That
 * thread does not depend on the workers. */
#include <diag/sigquit.h>
#include <signal.h>
#include <stdio.h>
#include <weft/diag.h>

void wf_sigquit_open(wf_sigquit *q, wf_watchers *all)
{
    wf_node_init(&q->waiter.node);
    q->joined = true;
    wf_watch_join(all, &q->waiter, SIGQUIT);
}

bool wf_sigquit_is_settled(wf_sigquit *q, const weft_waker *waker, int *err)
{
    weft_atomic_waker_register(&q->waiter.waker, waker);
    wf_watch_lock(&q->waiter);
    bool settled = q->waiter.settled;
    *err = q->waiter.error;
    wf_watch_unlock(&q->waiter);
    return settled;
}

static bool take(wf_sigquit *q)
{
    wf_watch_lock(&q->waiter);
    bool any = q->waiter.count > 0;
    q->waiter.count = 0;
    wf_watch_unlock(&q->waiter);
    return any;
}

/* The waker is there first, so that none comes unheard. Dumps of several runtimes are not mixed: each is written in one piece. */
void wf_sigquit_dump(wf_sigquit *q, weft_runtime *rt, const weft_waker *waker)
{
    weft_atomic_waker_register(&q->waiter.waker, waker);
    if (take(q))
        weft_dump(rt, stderr);
}

void wf_sigquit_close(wf_sigquit *q)
{
    if (q->joined)
        wf_watch_leave(&q->waiter, false);
}
