/* monitor.h - what the runtime asks of diag/, which stands above it: to be looked after, that its workers can be interrupted, and a report when it cannot end. */
#ifndef WF_MONITOR_H
#define WF_MONITOR_H

#include <runtime/runtime.h>

/* Start what the options of @rt ask for (watchdog, WEFT_DUMP_ON_SIGQUIT), as a service of it. Once, when its workers run. Returns 0 or a negative code. */
int wf_monitor_start(weft_runtime *rt);

/* Let the worker threads of @rt be interrupted from now on (see sampled.h), and undo that. Called before its threads start, and after they have ended. Nothing, and 0, for
 * one that is not to be sampled. Returns 0, or the system's negative code. */
int wf_backtrace_prepare(weft_runtime *rt);
void wf_backtrace_unprepare(weft_runtime *rt);

/* The grace is over: log what did not stop, by name and with its backtrace, and how many of each kind. */
void wf_monitor_report_left(weft_runtime *rt);

#endif
