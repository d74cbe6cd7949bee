/* watch.h - the points where something happens to a task: hooks, probes, and measuring.
 *
 * A runtime is watched from its creation to its end, or not at all: so its tasks carry a flag, which is tested together with others that are rare, and its
 * workers run a loop of their own.
 *
 * Probes (see base/probe.h) are at the same points: spawn(id), wake(id), poll_begin(id), poll_end(id, how: see wf_strand_left), end(id, status), park(worker),
 * unpark(worker); and in the reactor ready(fd, bits: see reactor/source_state.h). Unlike the hook, wake is there for a blocking job too that is aborted before it
 * began, and all are for tasks that are born in hooks.
 *
 * A hook that spawns would be called for that, and so on without end: what is born in a hook is not watched. A wake in a hook is told of like any other, and that
 * ends: a task on the way there is not woken twice. */
#ifndef WF_WATCH_H
#define WF_WATCH_H

#include <base/probe.h>
#include <runtime/worker.h>
#include <weft/diag.h>
#include <weft/hooks.h>

/* Of a watched task: the hook, and what is measured. @w: the calling thread's worker, or NULL. */
void wf_watch_spawn(wf_worker *w, weft_task *task);
void wf_watch_wake(wf_worker *w, weft_task *task);
void wf_watch_poll_begin(wf_worker *w, weft_task *task);
void wf_watch_poll_end(wf_worker *w, weft_task *task, weft_left left);
void wf_watch_end(wf_worker *w, weft_task *task);

/* Which hook the thread of @exec is in. */
static inline wf_telling *wf_watch_telling(wf_exec *exec)
{
    return exec->worker ? &exec->worker->telling : &exec->telling;
}

/* Of a worker whose runtime is watched. */
void wf_watch_park(wf_worker *w);
void wf_watch_unpark(wf_worker *w);

/* Of a reactor that has something for @worker's runtime, whoever turns it: see wf_reactor.told. */
void wf_watch_ready(void *worker, int fd, uint64_t bits);

/* 0, or WEFT_ENOMEM. */
int wf_watch_open(wf_worker *w);
void wf_watch_close(wf_worker *w);

#endif
