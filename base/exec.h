/* exec.h - the execution context: who runs on this thread right now, and how that one waits.
 *
 * A strand has one, an ordinary thread has one, and code that must not wait (a stackless poll, a loop callback, a drop) has one
 * that refuses. Everything that awaits is a poll function and wf_await() around it, so each operation is written once.
 *
 * Where the thread keeps it, and why nobody may remember that, is in here.h. */
#ifndef WF_EXEC_H
#define WF_EXEC_H

#include <base/atomic.h>
#include <base/here.h>
#include <base/lock.h>
#include <base/rng.h>
#include <weft/future.h>
#include <weft/scope.h>
#include <weft/task.h>

struct wf_exec;
struct wf_timers;

/* One function on one stack: a strand's, a coroutine's, a worker's loop, an ordinary thread's. A coroutine's runs inside that of its
 * resumer. What code has entered and not left belongs to its body. */
typedef struct wf_body {
    struct wf_body *outer;   /* who resumed it, while it runs; NULL: nobody */
    struct wf_ctx *ctx;      /* where its stack is left; NULL: an ordinary thread's, which is no context by itself */
    struct wf_stack *stack;  /* the pooled stack that it runs on; NULL for loops and threads, which cannot defer */
    struct weft_coro *coro;  /* the coroutine that it is, or NULL */
    struct wf_defer *defers; /* newest first */
    bool ends;               /* without a stack of the pool's, but it ends with a function, too: a blocking job's */
    uint32_t shields;        /* weft_shield_enter()s that it has not left */
    wf_spin lock;
    bool forgot;                     /* a scope whose frame is gone was found in it: it will end in a panic */
    bool shared;                     /* dependents were made: others may still be about to unlock */
    struct weft_held_ *held;         /* the mutexes that it holds, newest first: see sync/mutex.c */
    weft_scope *scopes;              /* innermost first: see scope.h */
    struct wf_binding *bindings;     /* newest first */
    struct wf_dependent *dependents; /* under lock: newest first */
} wf_body;

struct weft_context {
    weft_waker waker;     /* borrowed by those who poll with this context */
    struct wf_exec *exec; /* who polls */
};

/* Who schedules tasks says what their wakers do: @data is the task, whose address is even, and the reference that a waker has says no more than that. */
extern const weft_waker_ops wf_task_waker_ops;
static inline bool wf_context_is_tasks(const weft_context *cx) { return cx->waker.ops == &wf_task_waker_ops; }

/* What weft_waker_clone() of the context's waker does, cheaper. Of a task's it never fails, and calls nobody's code: it may be done under a lock. */
int wf_context_clone_waker(weft_context *cx, weft_waker *out);

typedef struct wf_exec_ops {
    /* Wait until woken or until @deadline on weft_now()'s clock; may return for no reason. NULL: this context must not wait. */
    void (*suspend)(struct wf_exec *self, int64_t deadline);
    /* What an await must report instead of waiting: 0, or a negative code with exec->cause set for wf_meet(). WEFT_EPANIC: the
     * body has forgotten a scope. */
    int (*interruption)(struct wf_exec *self);
    /* A scope of it has fired: let its next await look. Any thread that keeps it alive. NULL: its awaits always look. */
    void (*mark)(struct wf_exec *self);
    /* Was it asked to stop, where awaits do not tell? For weft_is_cancelled(). NULL: they do, or there is no task. */
    bool (*aborted)(struct wf_exec *self);
    /* Let others run, and stay runnable. Returns 0, so that callers can end with it. */
    int (*yield)(struct wf_exec *self);
    /* End this execution for the reason formatted; does not return. NULL: nobody could be told. */
    void (*panic)(struct wf_exec *self, const char *text) WEFT_NORETURN;
} wf_exec_ops;

/* Of a thread: the hooks that it is in. See runtime/watch.h. */
typedef struct wf_telling {
    unsigned depth;
    const weft_task *ended; /* it tells of this one's end: what it ended with stands already */
} wf_telling;

typedef struct wf_exec {
    const wf_exec_ops *ops;
    const wf_a64 *signs; /* a strand's task word: without WF_SIGNS in it nothing interrupts. NULL: ask ops */
    weft_context cx;     /* with this execution's own waker */
    wf_body *body;       /* the innermost one that runs in it */
    wf_a64 *waits;       /* where it says what it waits for: the task's word, or one that nobody reads; see waits.h */
    weft_task *task;     /* the task, or NULL outside one */
    weft_runtime *rt;    /* where it spawns and opens sockets, or NULL */
    struct wf_worker *worker; /* who polls it right now; NULL on an ordinary thread */
    struct wf_timers *timers; /* where futures that it polls arm theirs; NULL on an ordinary thread: see wake_by */
    const wf_ai64 *clock;     /* what weft_now() says to it; NULL: the real time */
    wf_rng *chance;           /* where its choices come from, if they are to repeat; NULL: from anywhere */
    int64_t wake_by; /* an ordinary thread's: the earliest timer among the futures that it polled since it last waited */
    weft_scope *cause;  /* of the last interruption; NULL: an abort */
    char *detail;       /* text of the last failure, WF_DETAIL_SIZE bytes once there was one; freed with the context */
    wf_a64 unread;      /* for waits of who is no task */
    uint32_t budget;    /* operations left before it must let others run; unused on ordinary threads */
    uint32_t callbacks; /* > 0: inside a drop or the like, where nothing may wait and no task is current */
    bool met_abort;     /* an await has returned WEFT_ECANCELED because of an abort */
    wf_telling telling; /* of who is no worker, nor a task on one */
} wf_exec;

enum { WF_DETAIL_SIZE = 192, WF_BUDGET = 128 };

/* In a task word: an abort was requested, or a scope may have fired. See runtime/state.h, which is above this. */
#define WF_SIGNS UINT64_C(0x30)

/* Known without a call that nothing interrupts it, and so that it can wait but for callbacks. */
static inline bool wf_exec_is_undisturbed(const wf_exec *exec)
{
    return exec->signs && !(wf_load_rlx(exec->signs) & WF_SIGNS);
}

/* See wf_exec_ops. Asked twice in every wait: so a strand's word is looked at here. */
static inline int wf_interruption(wf_exec *exec)
{
    return wf_likely(wf_exec_is_undisturbed(exec)) ? 0 : exec->ops->interruption(exec);
}

static inline bool wf_exec_can_wait(const wf_exec *exec) { return exec->ops->suspend && exec->callbacks == 0; }

/* Makes the ordinary thread's that has none yet. NULL: out of memory. */
wf_exec *wf_exec_make(void);

/* The calling thread's execution. An ordinary thread gets one when it first asks (NULL then means out of memory). */
static inline wf_exec *wf_exec_current(void)
{
    wf_exec *exec = wf_here();
    return wf_likely(exec != NULL) ? exec : wf_exec_make();
}

/* The same for what cannot fail: it waits until there is memory. NULL: no ordinary thread ever gets one here, for want of a key. */
wf_exec *wf_exec_insist(void);
/* The same, without making one: NULL on an ordinary thread that never waited. */
static inline wf_exec *wf_exec_peek(void) { return wf_here(); }

/* How many threads do nothing until somebody wakes them, in the low half, and how often that has changed, in the high half: equal twice, and they were the
 * same ones all the time. Not those of runtimes. */
uint64_t wf_exec_quiet(void);
/* The calling thread wakes nobody: it is one of them until it ends. A runtime's own is none. Returns 0 or WEFT_ENOMEM. */
int wf_exec_ignore_thread(void);
/* It has been. NULL: no. By that thread. */
bool wf_exec_is_ignored(const wf_exec *exec);
/* @exec's thread is @apart from them, or again not, because it is counted elsewhere meanwhile. NULL: it has none. By that thread. */
void wf_exec_count_apart(wf_exec *exec, bool apart);

/* For workers, around each poll. */
static inline void wf_exec_set(wf_exec *exec) { wf_here_set(exec); }

/* An operation that may have to wait. */
typedef struct wf_op_ops {
    /* Done: a count, 0 or a negative code. Not yet: keep the waker, WEFT_PENDING. */
    ssize_t (*poll)(void *op, weft_context *cx);
    /* Give up: forget the waker. Returns WEFT_PENDING, or what poll would have returned if it turns out to be done. NULL: nothing to do. */
    ssize_t (*cancel)(void *op);
} wf_op_ops;

/* Poll @op until it is done, waiting in between.
 *
 * On entry an interruption comes first and the operation is not touched. After a wait the operation comes first: only if it
 * is still pending is it cancelled and the interruption (or WEFT_ETIMEDOUT when @deadline has passed) returned. */
ssize_t wf_await(const wf_op_ops *ops, void *op, int64_t deadline);

/* The same without interruptions, for ends that always complete. Returns WEFT_EDEADLK where nothing can wait. */
ssize_t wf_await_shielded(const wf_op_ops *ops, void *op);

/* wf_await_entry() of whoever is no strand, or has been told something. */
int wf_await_entry_any(wf_exec **exec);

/* 0, or the code with which an await must return before it does anything. */
static inline int wf_await_entry(wf_exec **out)
{
    wf_exec *exec = *out = wf_here();
    if (wf_likely(exec && exec->callbacks == 0 && wf_exec_is_undisturbed(exec)))
        return 0;
    return wf_await_entry_any(out);
}

/* Call @fn(@value), a user's drop or release, with waiting forbidden. NULL @fn: nothing. */
void wf_call_back(void (*fn)(void *), void *value);

/* Take back the newest weft_defer(@fn, @arg), also from under others. */
void wf_defer_remove(void (*fn)(void *), void *arg);

/* ---- the loop around every operation ------------------------------------------------------------------------- */

/* Spend one unit of the budget; yields when there was none left. For operations that finish without waiting. */
static inline void wf_spend(wf_exec *exec)
{
    if (wf_likely(exec->budget > 1)) {
        exec->budget--;
        return;
    }
    exec->ops->yield(exec);
    exec->budget = WF_BUDGET; /* a strand's poll sets it too; an ordinary thread just yields its CPU now and then */
}

/* An interruption is met only by the await that reports it: completion wins over it. */
static inline int wf_meet(wf_exec *exec, int why)
{
    if (wf_likely(why == 0))
        return 0;
    if (exec->cause)
        exec->cause->received_ = 1;
    else if (why == WEFT_ECANCELED)
        exec->met_abort = true;
    return why;
}

/* The panic about a forgotten scope waits for the next entry: callers have to undo what they have begun. */
static inline ssize_t wf_give_up(wf_exec *exec, const wf_op_ops *ops, void *op, int why)
{
    ssize_t done = ops->cancel ? ops->cancel(op) : WEFT_PENDING;
    if (done != WEFT_PENDING)
        return done;
    return why == WEFT_EPANIC ? WEFT_ECANCELED : wf_meet(exec, why);
}

/* The rest of an await whose operation is pending. Inlined into what waits, so that nothing has to return across the switch; with a
 * constant @ops its functions are inlined too. */
WF_INLINE ssize_t wf_await_pending(wf_exec *exec, const wf_op_ops *ops, void *op, int64_t deadline)
{
    for (;;) {
        int why = wf_interruption(exec);
        if (why == 0 && deadline != WEFT_FOREVER && weft_now() >= deadline) {
            why = WEFT_ETIMEDOUT;
            exec->cause = NULL;
        }
        if (wf_unlikely(why < 0))
            return wf_give_up(exec, ops, op, why);
        exec->ops->suspend(exec, deadline);
        ssize_t result = ops->poll(op, &exec->cx);
        if (result != WEFT_PENDING)
            return result;
    }
}

/* What follows wf_await_entry(). */
WF_INLINE ssize_t wf_await_entered(wf_exec *exec, const wf_op_ops *ops, void *op, int64_t deadline)
{
    ssize_t result = ops->poll(op, &exec->cx);
    if (result == WEFT_PENDING)
        return wf_await_pending(exec, ops, op, deadline);
    wf_spend(exec);
    return result;
}

/* wf_await() without the call, for the operations that must be fast. */
WF_INLINE ssize_t wf_await_inline(const wf_op_ops *ops, void *op, int64_t deadline)
{
    wf_exec *exec;
    int why = wf_await_entry(&exec);
    return wf_likely(why == 0) ? wf_await_entered(exec, ops, op, deadline) : why;
}

#endif
