/* strand.c - strands: a stack bound at the first poll, a switch in and out, an end.
 *
 * The strand's own record lies at the top of its stack, so that an idle strand touches one page. Only the poller touches it,
 * except for its timer (under the lock of the timers' home). */
#include <runtime/runtime.h>
#include <runtime/strand.h>
#include <stdlib.h>

typedef struct wf_strand {
    wf_exec exec;
    wf_ctx ctx;
    wf_body body;
    void *result;   /* what the function returned, while the deferred calls run */
    wf_timer timer; /* armed on the first wait with a deadline; stays armed afterwards, and fires in vain at most once */
    wf_ai64 deadline; /* of its last wait; WEFT_FOREVER: none. Its own; the timer's fire reads it under the lock */
} wf_strand;

static wf_strand *strand_of(wf_exec *exec) { return wf_container(exec, wf_strand, exec); }

/* ---- leaving and coming back --------------------------------------------------------------------------------- */

/* Away from whichever stack the strand is on (its own or a coroutine's), to the worker that polls it. Callers end with it, so
 * that the strand goes on right where it awaits: see wf_switch. */
static int leave(wf_exec *self, wf_strand_left why)
{
    return wf_ctx_switch_code(self->body->ctx, &self->worker->ctx, (void *)(intptr_t)why);
}

/* Runs under the lock of the timers. The task is alive: ending disarms the timer under the same lock. */
static bool fire(wf_timer *timer, int64_t now, weft_waker *out)
{
    wf_strand *s = wf_container(timer, wf_strand, timer);
    int64_t deadline = wf_load_rlx(&s->deadline);
    if (deadline > now) {
        timer->when = deadline == WEFT_FOREVER ? timer->when : deadline;
        return false;
    }
    weft_task *task = s->exec.task;
    wf_state_ref(&task->state, 1);
    *out = (weft_waker){&wf_task_waker_ops, task};
    return true;
}

/* [DEADLINE] the store comes before the lock that wf_timer_arm() takes when the timer is linked already: a fire under that lock
 * sees either the new deadline, or a timer that it must arm again. */
static void suspend(wf_exec *self, int64_t deadline)
{
    wf_strand *s = strand_of(self);
    wf_store_rlx(&s->deadline, deadline);
    if (wf_unlikely(deadline != WEFT_FOREVER))
        wf_timer_arm(&s->timer, &self->worker->timers, deadline);
    leave(self, WF_STRAND_PARKED);
}

void wf_strand_lend(wf_exec *exec) { leave(exec, WF_STRAND_LENDS); }

static int yield(wf_exec *self) { return leave(self, WF_STRAND_YIELDED); }

/* What the next await would report: an abort, unless a body around here is shielded. */
static int interruption(wf_exec *self)
{
    uint64_t word = wf_load_rlx(&self->task->state);
    if (wf_likely(!(word & WF_S_ABORT)))
        return 0;
    for (const wf_body *body = self->body; body; body = body->outer)
        if (body->shields > 0)
            return 0;
    return WEFT_ECANCELED;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* Every strand ends here, on its own stack. */
WEFT_NORETURN static void end(wf_strand *s, int status, void *value)
{
    weft_task *task = s->exec.task;
    task->status = status;
    task->value = value;
    wf_ctx_switch_final(&s->ctx, &s->exec.worker->ctx, (void *)(intptr_t)WF_STRAND_ENDED);
}

/* The result is nobody's: the task was aborted, or panicked after it had returned. */
static void drop_result(wf_strand *s)
{
    int code;
    wf_extra *extra = s->exec.task->extra;
    if (extra && s->result && !wf_is_failure(s->result, &code))
        wf_call_back(extra->drop_result, s->result);
}

WEFT_NORETURN static void finish(wf_strand *s, void *result)
{
    int code;
    s->result = result;
    wf_defers_run(&s->body);
    if (s->exec.met_abort) {
        drop_result(s);
        end(s, WEFT_EABORTED, NULL);
    }
    if (wf_unlikely(wf_is_failure(result, &code)))
        end(s, WEFT_EFAILED, (void *)(intptr_t)code);
    end(s, 0, result);
}

/* Nothing is unwound: the deferred calls run on top of the frame that panicked, and then the strand is left. A panic in one of
 * them comes here again, keeps the first message, and runs the rest. */
WEFT_NORETURN static void panic(wf_exec *self, const char *text)
{
    wf_strand *s = strand_of(self);
    wf_task_set_error(self->task, text);
    s->body.shields = 0;
    wf_defers_run(&s->body);
    drop_result(s);
    end(s, WEFT_EPANIC, NULL);
}

static const wf_exec_ops strand_ops = {.suspend = suspend, .interruption = interruption, .yield = yield, .panic = panic};

/* ---- the beginning ------------------------------------------------------------------------------------------- */

static void entry(void *arg)
{
    wf_strand *s = arg;
    wf_ctx_entered(&s->ctx);
    weft_task *task = s->exec.task;
    finish(s, task->body.fn(task->value));
}

/* Field by field: what a compound literal zeroes first costs as much as the rest of a spawn. */
static void init_record(wf_strand *s, weft_task *task, wf_stack *stack)
{
    s->exec.ops = &strand_ops;
    s->exec.cx.waker = (weft_waker){&wf_task_waker_ops, task};
    s->exec.cx.exec = &s->exec;
    s->exec.body = &s->body;
    s->exec.task = task;
    s->exec.rt = task->rt;
    s->exec.detail = NULL;
    s->exec.callbacks = 0;
    s->body.outer = NULL;
    s->body.ctx = &s->ctx;
    s->body.stack = stack;
    s->body.coro = NULL;
    s->body.defers = NULL;
    s->body.shields = 0;
    s->exec.met_abort = false;
    s->result = NULL;
    wf_wnode_init(&s->timer.node);
    s->timer.home = NULL;
    s->timer.fire = fire;
    wf_store_rlx(&s->deadline, WEFT_FOREVER);
}

static wf_strand *bind_stack(wf_worker *w, weft_task *task, int *err)
{
    size_t size = task->extra && task->extra->stack_size ? task->extra->stack_size : task->rt->options.stack_size;
    wf_stack *stack = wf_stack_get(&w->stacks, size, err);
    if (!stack)
        return NULL;
    wf_strand *s = (wf_strand *)(void *)(wf_stack_top(stack) - (sizeof *s + 63) / 64 * 64);
    init_record(s, task, stack);
    wf_ctx_init(&s->ctx, stack->base, stack->size, s, entry, s);
    task->strand = s;
    task->flags |= WF_TASK_STARTED;
    return s;
}

/* Out of memory for its stack: it never starts, and has failed. */
static void stillborn(weft_task *task, int err)
{
    if (task->extra)
        wf_call_back(task->extra->drop_arg, task->value);
    task->status = WEFT_EFAILED;
    task->value = (void *)(intptr_t)err;
}

static void unbind_stack(wf_worker *w, weft_task *task, wf_strand *s)
{
    wf_timer_disarm(&s->timer);
    free(s->exec.detail);
    wf_ctx_destroy(&s->ctx);
    task->strand = NULL;
    wf_stack_put(&w->stacks, s->body.stack);
}

wf_ctx *wf_strand_enter(wf_worker *w, weft_task *task)
{
    int err = 0;
    wf_strand *s = task->strand ? task->strand : bind_stack(w, task, &err);
    if (wf_unlikely(!s)) {
        stillborn(task, err);
        return NULL;
    }
    s->exec.worker = w;
    s->exec.budget = WF_BUDGET;
    wf_exec_set(&s->exec);
    return s->exec.body->ctx;
}

void wf_strand_leave(wf_worker *w, weft_task *task, wf_strand_left left)
{
    wf_exec_set(&w->exec);
    if (left == WF_STRAND_ENDED)
        unbind_stack(w, task, task->strand);
}

/* Runs in a signal handler, on the thread that faulted. */
bool wf_strand_describe_overflow(const void *address, const char **name, uint64_t *id, size_t *stack_size)
{
    wf_exec *exec = wf_exec_peek();
    const wf_stack *stack = exec && exec->body ? exec->body->stack : NULL;
    if (!stack || !wf_stack_in_guard(stack, address))
        return false;
    *name = exec->task ? wf_task_label(exec->task) : "";
    *id = exec->task ? exec->task->id : 0;
    *stack_size = stack->size;
    return true;
}
