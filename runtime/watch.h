/* watch.h - the points where something happens to a task: hooks, probes, and measuring.
 *
 * A runtime is watched from its creation to its end, or not at all: so its tasks carry a flag (WATCHED: hooks; MEASURED), which is tested together with others
 * that are rare, and its workers run a loop of their own.
 *
 * Probes (see base/probe.h) are at the same points: spawn(id), wake(id), poll_begin(id), poll_end(id, how: see wf_strand_left), end(id, status), park(worker),
 * unpark(worker); and in the reactor ready(fd, bits: see reactor/source_state.h). Unlike the hook, wake is there for a blocking job too that is aborted before it
 * began, and all are for tasks that are born in hooks.
 *
 * A hook that spawns would be called for that, and so on without end: what is born in a hook is not watched. A wake in a hook is told of like any other, and that
 * ends: a task on the way there is not woken twice. */
#ifndef WF_WATCH_H
#define WF_WATCH_H

#include <base/clock.h>
#include <base/probe.h>
#include <runtime/worker.h>
#include <weft/diag.h>
#include <weft/hooks.h>

/* ---- from a wake to the poll --------------------------------------------------------------------------------- */

/* Of a measured task. Some 25 instructions for a wake and its poll, for there are paths on which 500 are all: so the word that says what a task waits for
 * is used, which nobody asks for when it is woken, and the buckets are counted where one multiplication leads to. */

static inline uint64_t wf_watch_clock(void)
{
#if defined(__x86_64__) || defined(__aarch64__)
    return wf_cycles();
#else
    return (uint64_t)wf_now();
#endif
}

/* It was polled before, and is about to be queued: when that is stands in the word, negative, which no wait is. */
WF_INLINE void wf_watch_stamp(weft_task *task) { wf_note(&task->waits, -wf_watch_clock()); }

/* It waited for as long as the last bucket has, or longer; or the clocks of two CPUs differ, and it was at once. */
void wf_watch_count_long(wf_worker *w, uint64_t cycles);

/* The product is ns, scaled: where its highest bit is says which bucket. */
WF_INLINE void wf_watch_count(wf_worker *w, uint64_t cycles)
{
    enum { FIRST = WF_MEASURED_SHIFT + 6 }; /* the highest bit of what is in the first bucket */
    if (wf_unlikely(cycles >= w->measured.limit)) {
        wf_watch_count_long(w, cycles);
        return;
    }
    wf_count(&w->measured.cycles, cycles);
    uint64_t scaled = cycles * w->measured.ns_a_cycle | UINT64_C(1) << FIRST;
    size_t highest = 63 ^ (size_t)__builtin_clzll(scaled);
    wf_count(&w->measured.buckets[highest - FIRST], 1);
}

/* @w begins to poll it. One that was not woken (fresh, or back from where it was lent) has no time in its word. The first poll of a strand is none of this:
 * its argument is there. */
WF_INLINE void wf_watch_polled(wf_worker *w, weft_task *task)
{
    uint64_t word = wf_noted(&task->waits);
    if (wf_unlikely((int64_t)word >= 0))
        return;
    wf_watch_count(w, wf_watch_clock() + word);
    wf_note(&task->waits, 0);
}

/* ---- hooks --------------------------------------------------------------------------------------------------- */

/* Of a watched task. @w: the calling thread's worker, or NULL. */
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

/* @w is being opened. */
void wf_watch_open(wf_worker *w);

#endif
