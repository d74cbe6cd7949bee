/* strand.h - a task whose body is a function on a stack of its own. */
#ifndef WF_STRAND_H
#define WF_STRAND_H

#include <runtime/context.h>
#include <runtime/stack.h>
#include <runtime/task.h>
#include <timer/timers.h>
#include <weft/coro.h>

/* What a strand's switch to its worker says. */
typedef enum { WF_STRAND_PARKED, WF_STRAND_YIELDED, WF_STRAND_LENDS, WF_STRAND_ENDED } wf_strand_left;

/* @task is to be polled by @worker: bind a stack if it has none, and become its execution. Returns what to switch to; NULL: it could not get
 * a stack, and has ended with that as its failure. */
wf_ctx *wf_strand_enter(struct wf_worker *worker, weft_task *task);

/* It has switched back because it @left: be the worker again. ENDED: status and value are set, the stack is given back. */
void wf_strand_leave(struct wf_worker *worker, weft_task *task, wf_strand_left left);

/* @task has just been woken, and is polled after others: if it is a strand, begin to fetch what its next poll touches first. Of thousands of strands
 * that take turns none has anything left in the caches, and each has a page of its own. By who may queue it. */
void wf_strand_expect(const weft_task *task);

/* Leave @exec's strand as WF_STRAND_LENDS. */
void wf_strand_lend(wf_exec *exec);

/* Once in the process, before the first strand: is libweft_debug.so here? */
void wf_strand_look_for_debugging(void);

/* For a stack overflow: does @address lie in the guard of what runs on this thread? */
bool wf_strand_describe_overflow(const void *address, const char **name, uint64_t *id, size_t *stack_size);

/* @body is about to go, @how: if it holds a mutex, which would stay locked for ever, the process stops with both their names. */
void wf_body_holds_no_mutex(const wf_body *body, const weft_task *task, const char *how);

/* Run the deferred calls of @body, newest first, until none is left. */
void wf_defers_run(wf_body *body);

/* weft_panic() in a coroutine's body. */
void wf_coro_panic(struct weft_coro *coro, const char *text) WEFT_NORETURN;

#endif
