/* registry.h - all live tasks of a runtime, for those who look at them: nothing is done for it when a task is born or ends.
 *
 * The headers lie in chunks that stay as long as the runtime does, so that whoever walks over them meets a live task, one that has just ended, or a free
 * place, and is told which by the word. Tasks in callers' memory are on shelves, each with a lock. */
#ifndef WF_REGISTRY_H
#define WF_REGISTRY_H

#include <base/waits.h>
#include <runtime/runtime.h>

/* Call @fn for the place of every task that lives all the time, and for others. It must not wait, nor call the program: locks are held. */
void wf_registry_walk(weft_runtime *rt, void (*fn)(weft_task *task, void *arg), void *arg);

/* The two parts of it: headers, without a lock, where @fn may do anything; … */
void wf_registry_walk_headers(weft_runtime *rt, void (*fn)(weft_task *task, void *arg), void *arg);
/* … and one of the shelves. */
void wf_registry_walk_shelf(weft_runtime *rt, unsigned shelf, void (*fn)(weft_task *task, void *arg), void *arg);

/* What can be said of a place that may be given up, or be another task's, at any line of this. False: no live task was there. @now: wf_now(). */
bool wf_registry_read(weft_task *task, int64_t now, weft_task_info *out);

/* The same of the task that @w polls. False: none, or not any more. */
bool wf_registry_read_polled(wf_worker *w, int64_t now, weft_task_info *out);

/* Hold the task still, if it is idle: see wf_state_seize(). It is the caller's until wf_registry_release(), which must come soon. */
bool wf_registry_seize(weft_task *task);
void wf_registry_release(weft_task *task);

/* What the kinds of wf_wait are called, and what their objects are. */
const char *wf_wait_text(wf_wait kind);
wf_wait_object wf_wait_object_of(wf_wait kind);
bool wf_wait_is_inside(wf_wait kind);
/* … and nobody waits long for that where all is well. */
bool wf_wait_is_for_lock(wf_wait kind);

#endif
