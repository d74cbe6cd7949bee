/* sampled.h - a worker that may be interrupted, to see where it is: its thread leaves SIGURG open, and says where its stack is. Who interrupts is
 * diag/sample.h. */
#ifndef WF_SAMPLED_H
#define WF_SAMPLED_H

#include <runtime/worker.h>

/* The calling thread becomes @w. Nothing if its runtime is not to be sampled. Not without a stack for the handler, as a strand's may be small. @frame: above all
 * that the worker does. */
void wf_sampled_enter(wf_worker *w, const void *frame);
/* … and ceases to be it. */
void wf_sampled_leave(wf_worker *w);

#endif
