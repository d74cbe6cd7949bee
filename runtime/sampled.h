/* sampled.h - what the runtime asks of diag/, which stands above it: that its workers can be interrupted, to see where they are. */
#ifndef WF_SAMPLED_H
#define WF_SAMPLED_H

#include <runtime/runtime.h>

/* Let the worker threads of @rt be interrupted from now on, and undo that. Called before its threads start, and after they have ended. Nothing, and 0, for
 * one that is not to be sampled. Returns 0, or the system's negative code. */
int wf_backtrace_prepare(weft_runtime *rt);
void wf_backtrace_unprepare(weft_runtime *rt);

#endif
