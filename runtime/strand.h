/* strand.h - a task whose body is a function on a stack of its own. */
#ifndef WF_STRAND_H
#define WF_STRAND_H

#include <debug/os_mutex.h>
#include <runtime/worker.h>
#include <weft/coro.h>

/* What a strand's switch to its worker says. */
typedef enum { WF_STRAND_PARKED, WF_STRAND_YIELDED, WF_STRAND_LENDS, WF_STRAND_ENDED } wf_strand_left;

/* A strand's own record, at the top of its stack. */
typedef struct wf_strand {
    wf_exec exec;
    wf_ctx ctx;
    wf_body body;
    wf_ai64 deadline; /* of its last wait; WEFT_FOREVER: none. Its own; the timer's fire reads it under the lock */
    wf_a8 scoped;     /* … and that was a scope's. As above */
    wf_timer timer; /* armed on the first wait with a deadline; stays armed afterwards, and fires in vain at most once */
    void *result;   /* what the function returned, while the deferred calls run */
    unsigned long os_locks; /* the thread's when this poll began; unused without libweft_debug.so */
} wf_strand;

/* For libweft_debug.so, which knows the program's own mutexes: set before the first strand runs, and NULL unless that is loaded. */
extern wf_os_mutexes_held *wf_strand_os_mutexes;
void wf_strand_note_os_mutexes(wf_strand *s);
void wf_strand_holds_no_os_mutex(const wf_strand *s);

static inline wf_strand *wf_strand_of(wf_exec *exec) { return wf_container(exec, wf_strand, exec); }

/* Away from whichever stack the strand is on (its own or a coroutine's), to the worker that polls it. The strand goes on right in whoever calls the
 * switch, or ends with it: see wf_switch. Each function that is open around it costs a mispredicted return, so it is inlined into what awaits. */
static inline int wf_strand_go(wf_exec *self, wf_strand_left why)
{
    if (wf_unlikely(wf_strand_os_mutexes != NULL))
        wf_strand_holds_no_os_mutex(wf_strand_of(self));
    return wf_ctx_switch_code(self->body->ctx, &self->worker->ctx, (void *)(intptr_t)why);
}

/* @s is to be polled by @w: become its execution. Returns what to switch to. */
static inline wf_ctx *wf_strand_enter(wf_worker *w, wf_strand *s)
{
    s->exec.worker = w;
    s->exec.timers = &w->timers;
    s->exec.budget = WF_BUDGET;
    if (wf_unlikely(wf_strand_os_mutexes != NULL))
        wf_strand_note_os_mutexes(s);
    wf_exec_set(&s->exec);
    return s->exec.body->ctx;
}

/* The same for one that was never polled: bind a stack to it. NULL: there was none, and the task has ended with that as its failure. */
wf_ctx *wf_strand_begin(wf_worker *w, weft_task *task);

/* It has ended, and been left: its stack is given back. Status and value are set. */
void wf_strand_end(wf_worker *w, weft_task *task);

/* It has switched back because it @left: be the worker again. */
static inline void wf_strand_leave(wf_worker *w, weft_task *task, wf_strand_left left)
{
    wf_exec_set(&w->exec);
    if (left == WF_STRAND_ENDED)
        wf_strand_end(w, task);
    else
        task->body.sp = wf_task_strand(task)->ctx.sp; /* if it waits in a coroutine, an older one: it is a hint */
}

/* @task has just been woken, and is polled after others: if it is a strand, begin to fetch what its next poll touches first. Of thousands of strands
 * that take turns none has anything left in the caches, and each has a page of its own. By who may queue it. */
void wf_strand_expect(const weft_task *task);

/* The strand that runs waits for @task, the newest that it spawned: let the worker poll that one first, and then the strand again, with
 * no queue, waker or state change in between. False: not now. True: that poll is over, and the worker may be another. */
WF_INLINE bool wf_strand_lend(wf_exec *exec, weft_task *task)
{
    if (!wf_worker_may_lend(exec, task))
        return false;
    wf_strand_go(exec, WF_STRAND_LENDS);
    return true;
}

/* Once in the process, before the first strand: is libweft_debug.so here? */
void wf_strand_look_for_debugging(void);

/* For a stack overflow: does @address lie in the guard of what runs on this thread? */
bool wf_strand_describe_overflow(const void *address, const char **name, uint64_t *id, size_t *stack_size);

/* @body is about to go, @how: if it holds a mutex, which would stay locked for ever, the process stops with both their names. */
void wf_body_holds_a_mutex(const wf_body *body, const weft_task *task, const char *how) WEFT_NORETURN;
static inline void wf_body_holds_no_mutex(const wf_body *body, const weft_task *task, const char *how)
{
    if (wf_unlikely(body->held != NULL))
        wf_body_holds_a_mutex(body, task, how);
}

/* Run the deferred calls of @body, newest first, until none is left. */
void wf_defers_run(wf_body *body);

/* weft_panic() in a coroutine's body. */
void wf_coro_panic(struct weft_coro *coro, const char *text) WEFT_NORETURN;

#endif
