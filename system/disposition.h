/* disposition.h - what a signal does in this process: watched by weft, or what it did before.
 *
 * libuv sets a signal that it no longer watches to its default. Programs that ignored it, or had a handler, want that
 * back, and so does a forked child, which otherwise would send its signals into its parent's loops. */
#ifndef WF_DISPOSITION_H
#define WF_DISPOSITION_H

#include <base/list.h>
#include <uv.h>

enum { WF_LAST_SIGNAL = 64 };

/* One started watcher of one loop. */
typedef struct wf_watch {
    uv_signal_t handle; /* initialized by the user */
    wf_node node;       /* in the process's list of its number */
} wf_watch;

/* A number that can be watched; not one whose handler could only return into what caused it. */
bool wf_disposition_can_watch(int number);

/* Start @watch, on its loop's thread. Returns 0 or libuv's code, and then nothing has changed. */
int wf_disposition_watch(wf_watch *watch, uv_signal_cb fn, int number);

/* Stop it, on its loop's thread, which has the signal blocked. True: it was the last, and the signal does again what it did before.
 * @pass_on: then those that came too late for the watch are raised again, to do that; otherwise they are lost. */
bool wf_disposition_unwatch(wf_watch *watch, int number, bool pass_on);

#endif
