/* ordinary.h - ordinary threads that wait for real: what exec.c, scope.c and waker.c make of a thread, for scenes of what such threads wait for.
 *
 * Logical threads call the public API. They wait in exec.c's parker; one that has called must end with ordinary_end(). The clock stands, and runs on
 * to a deadline when nothing else can go on. What the sources call of rooms that are not played stands at the end. */
#ifndef MODEL_ORDINARY_H
#define MODEL_ORDINARY_H

#include "model.h"

#include <errno.h>
#include <base/clock.h>
#include <runtime/task.h>

/* ---- the time ---------------------------------------------------------------------------------------------------- */

/* The model's own, so nobody races for it. */
#define UNSEEN __attribute__((no_sanitize("thread")))

static int64_t ordinary_time;

UNSEEN int64_t wf_now(void) { return ordinary_time; }

UNSEEN static int wait_until(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    int64_t when = until->tv_sec * WEFT_SEC + until->tv_nsec;
    int err = model_cond_timedwait(c, m, until);
    if (err == ETIMEDOUT && when > ordinary_time)
        ordinary_time = when;
    return err;
}

#undef pthread_cond_timedwait
#define pthread_cond_timedwait wait_until

/* ---- the threads --------------------------------------------------------------------------------------------------- */

#define take take_waker
#include <base/waker.c>
#undef take

#define refuse refuse_scope
#include <base/scope.c>
#undef refuse

#include <base/here.c>
#include <base/exec.c>

__attribute__((constructor)) static void ordinary_register(void) { model_thread_local(&current, sizeof current); }

/* In each scene's setup. */
UNSEEN static inline void ordinary_begin(void) { ordinary_time = 1; }

/* As a task's waker: cloned without asking anybody, so also under locks. It wakes the thread all the same. */
const weft_waker_ops wf_task_waker_ops = {
    .clone = parker_clone, .wake = parker_wake, .wake_by_ref = parker_wake_by_ref, .drop = parker_drop};

static inline void ordinary_as_task(void) { wf_exec_current()->cx.waker.ops = &wf_task_waker_ops; }

/* The thread ends; its parker lives on while somebody has its waker. */
static inline void ordinary_end(void)
{
    if (!current)
        return;
    parker *p = wf_container(current, parker, exec);
    wf_scopes_detach(&p->body);
    current = NULL;
    parker_unref(p);
}

/* A stackless task's turn: what it polls with. */
static inline weft_context *ordinary_context(void) { return &wf_exec_current()->cx; }

/* ---- of other rooms --------------------------------------------------------------------------------------------------- */

const weft_waker *weft_context_waker(weft_context *cx) { return &cx->waker; }

int wf_context_clone_waker(weft_context *cx, weft_waker *out) { return weft_waker_clone(&cx->waker, out); }

void weft_panic(const char *fmt, ...) { model_fail("a panic: %s", fmt); }

const char *weft_strerror(int code)
{
    (void)code;
    return "an error";
}

const char *wf_task_label(const weft_task *task)
{
    (void)task;
    return "";
}

#endif
