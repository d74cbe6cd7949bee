/* watcher.h - one runtime's watching of signals: who waits for which number, and the thread that takes them. */
#ifndef WF_WATCHER_H
#define WF_WATCHER_H

#include <base/exec.h>
#include <base/list.h>

typedef struct wf_watcher wf_watcher; /* of one number in one runtime */
typedef struct wf_watchers wf_watchers;

/* One who wants to know: a handle, or half of a weft_shutdown_signal(). */
typedef struct wf_signal_waiter {
    wf_watcher *watcher;
    weft_atomic_waker waker;                         /* woken when it is settled, and at each arrival */
    struct wf_signal_waiter *twin;                   /* both leave at the first arrival for either; NULL: it stays */
    void (*orphaned)(struct wf_signal_waiter *self); /* the runtime ends, and it is still there; NULL: nothing to do */
    wf_node node;                                    /* under lock: in its watcher's list */
    wf_node due;                                     /* under lock: in the list of those to be woken */
    int count;                                       /* under lock: arrivals since it was last asked */
    bool settled;                                    /* under lock: the thread has tried to watch for it */
    int error;                                       /* under lock: and that is why it could not */
} wf_signal_waiter;

/* Those of @rt, with their thread; made on first use. NULL: *err says why. */
wf_watchers *wf_watchers_of(weft_runtime *rt, int *err);

/* Takes part from now on. Its user has set ->twin, ->orphaned and initialized ->node; the rest is set here. */
void wf_watch_join(wf_watchers *all, wf_signal_waiter *self, int number);

/* How many have ever taken part in @rt; -1: it has no thread for signals. */
int wf_watchers_joined(weft_runtime *rt);

/* Soon afterwards, with the last one gone, the signal does again what it did before. @pass_on: what still arrives till then is raised
 * again, to do that too; otherwise it is lost. Forgets the waker. */
void wf_watch_leave(wf_signal_waiter *self, bool pass_on);

/* These guard a waiter's fields, and whatever else its owner likes. */
void wf_watch_lock(wf_signal_waiter *self);
void wf_watch_unlock(wf_signal_waiter *self);

/* Forget the waker of whoever waits here. */
void wf_watch_forget(wf_signal_waiter *self);

#endif
