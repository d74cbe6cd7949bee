/* weft/hooks.h - calls at the points where a runtime does something to a task. */
#ifndef WEFT_HOOKS_H
#define WEFT_HOOKS_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/** Why a poll of a task is over. */
typedef enum weft_left {
    WEFT_LEFT_WAITING, /* it waits for something */
    WEFT_LEFT_READY,   /* it yielded: it is polled again soon */
    WEFT_LEFT_ENDED,   /* it has ended; the end hook follows */
} weft_left;

/**
 * Called by the runtime whose weft_options they are given in, for as long as it lives. Each may be NULL; with all of them NULL nothing is asked at run time.
 *
 * @task: alive during the call: weft_task_id(), weft_task_name() and weft_task_error() may be asked. @worker: who does it, from 0; -1: a thread that is none.
 * The runtime waits for a hook: it must be short and never blocks; what awaits in it returns WEFT_EDEADLK, and a panic in it ends the process. It may be called
 * on a strand's small stack, and with locks of weft held: so of weft it asks for what is above, and wakes or spawns tasks (not in a group), but no more.
 * Several workers call at the same time.
 * A wake in a hook is told of like any other. What is born in a hook is never told of, or a spawn hook that spawns would have no end.
 * For one task the order is: spawn, then any number of (wake, poll_begin, poll_end), then end; the first poll_begin needs no wake. What is aborted before its
 * first poll, or is no strand and waits, ends without another poll. A blocking job has spawn and end only.
 */
typedef struct weft_hooks {
    void *arg;
    void (*spawn)(void *arg, int worker,
                  const weft_task *task); /* born, not yet queued; a blocking job that the pool then refuses ends at once, as aborted */
    void (*wake)(void *arg, int worker, const weft_task *task);       /* it is about to be queued to be polled again */
    void (*poll_begin)(void *arg, int worker, const weft_task *task); /* @worker begins to run it */
    void (*poll_end)(void *arg, int worker, const weft_task *task, weft_left left);
    void (*end)(void *arg, int worker, const weft_task *task,
                int status);               /* 0, WEFT_EABORTED, WEFT_EPANIC or WEFT_EFAILED; before its joiner hears */
    void (*park)(void *arg, int worker);   /* it has nothing to do and is about to sleep */
    void (*unpark)(void *arg, int worker); /* … and is awake again */
    void (*ready)(void *arg, int worker, int fd, int readable, int writable); /* the kernel says so, before anybody is woken */
    void (*reserved_[7])(void);
} weft_hooks;

WEFT_END_DECLS

#endif
