/* sigquit.h - one runtime's share in SIGQUIT: how often it has come since it was last asked. */
#ifndef WF_SIGQUIT_H
#define WF_SIGQUIT_H

#include <system/watcher.h>

typedef struct wf_sigquit {
    wf_signal_waiter waiter;
    bool joined;
} wf_sigquit;

/* Take part. */
void wf_sigquit_open(wf_sigquit *q, wf_watchers *all);
/* Is it known whether any will come? Then *@err is 0, or why not. Else @waker, which stays its owner's, will be woken. */
bool wf_sigquit_is_settled(wf_sigquit *q, const weft_waker *waker, int *err);
/* Have any come since the last call? Then @rt is dumped to standard error, once. @waker will be woken by the next. Runtimes come one after the other. */
void wf_sigquit_dump(wf_sigquit *q, weft_runtime *rt, const weft_waker *waker);
/* Nothing is to be done if it was never opened. */
void wf_sigquit_close(wf_sigquit *q);

#endif
