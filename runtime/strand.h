/* strand.h - a task whose body is a function on a stack of its own. */
#ifndef WF_STRAND_H
#define WF_STRAND_H

#include <runtime/context.h>
#include <runtime/stack.h>
#include <runtime/task.h>
#include <timer/timers.h>
#include <weft/coro.h>

typedef enum { WF_STRAND_PARKED, WF_STRAND_YIELDED, WF_STRAND_ENDED } wf_strand_left;

/* Run @task's function until it waits, yields or ends. ENDED: status and value are set, the stack is given back. */
wf_strand_left wf_strand_poll(struct wf_worker *worker, weft_task *task);

/* For a stack overflow: does @address lie in the guard of what runs on this thread? */
bool wf_strand_describe_overflow(const void *address, const char **name, uint64_t *id, size_t *stack_size);

/* Run the deferred calls of @frame, newest first, until none is left. */
void wf_defers_run(wf_frame *frame);

/* weft_panic() in a coroutine's body. */
void wf_coro_panic(struct weft_coro *coro, const char *text) WEFT_NORETURN;

#endif
