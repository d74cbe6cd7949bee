/* watch.h - the points where something happens to a task: hooks, probes, and measuring.
 *
 * A runtime is watched from its creation to its end, or not at all: so its tasks carry a flag, which is tested together with others that are rare, and its
 * workers run a loop of their own.
 *
 * Probes are static ones (USDT) of the provider "weft", for perf, bpftrace and SystemTap. Each is a nop, with words that are at hand there: spawn(id), wake(id),
 * poll_begin(id), poll_end(id, how: a strand's wf_strand_left, what a stackless poll returned), end(id, status), park(worker), unpark(worker). */
#ifndef WF_WATCH_H
#define WF_WATCH_H

#include <runtime/worker.h>
#include <weft/diag.h>
#include <weft/hooks.h>

#ifndef WF_PROBES
#if defined(__has_include) && defined(__linux__) && !WF_MODEL
#if __has_include(<sys/sdt.h>)
#define WF_PROBES 1
#endif
#endif
#ifndef WF_PROBES
#define WF_PROBES 0
#endif
#endif

#if WF_PROBES
#include <sys/sdt.h>
#define WF_PROBE1(name, a) STAP_PROBE1(weft, name, a)
#define WF_PROBE2(name, a, b) STAP_PROBE2(weft, name, a, b)
#else
#define WF_PROBE1(name, a) ((void)0)
#define WF_PROBE2(name, a, b) ((void)0)
#endif

/* Of a watched task: the hook, and what is measured. @w: the calling thread's worker, or NULL. */
void wf_watch_spawn(wf_worker *w, weft_task *task);
void wf_watch_wake(wf_worker *w, weft_task *task);
void wf_watch_poll_begin(wf_worker *w, weft_task *task);
void wf_watch_poll_end(wf_worker *w, weft_task *task, weft_left left);
void wf_watch_end(wf_worker *w, weft_task *task);

/* Of a worker whose runtime is watched. */
void wf_watch_park(wf_worker *w);
void wf_watch_unpark(wf_worker *w);

/* 0, or WEFT_ENOMEM. */
int wf_watch_open(wf_worker *w);
void wf_watch_close(wf_worker *w);

#endif
