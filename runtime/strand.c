/* strand.c - strands: a stack bound at the first poll, a switch in and out, an end.
 *
 * The strand's own record lies at the top of its stack, so that an idle strand touches one page. Only the poller touches it,
 * except for its timer (under the lock of the timers' home). */
#include <base/failure.h>
#include <base/scope.h>
#include <debug/os_mutex.h>
#include <dlfcn.h>
#include <limits.h>
#include <runtime/runtime.h>
#include <runtime/strand.h>
#include <runtime/watch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/sync.h>

/* ---- the program's own mutexes ------------------------------------------------------------------------------- */

wf_os_mutexes_held *wf_strand_os_mutexes;

void wf_strand_look_for_debugging(void)
{
    *(void **)(void *)&wf_strand_os_mutexes = dlsym(RTLD_DEFAULT, WF_OS_MUTEXES_HELD);
}

void wf_strand_note_os_mutexes(wf_strand *s)
{
    const void *mutex;
    const char *where;
    s->os_locks = wf_strand_os_mutexes(ULONG_MAX, &mutex, &where);
}

/* The process stops here, as an operation may be under way; a panic would also leave the mutex locked for ever. */
void wf_strand_holds_no_os_mutex(const wf_strand *s)
{
    const void *mutex;
    const char *where;
    wf_strand_os_mutexes(s->os_locks, &mutex, &where);
    if (!mutex)
        return;
    fprintf(stderr, "weft: task \"%s\" (#%llu) awaits while it holds the pthread mutex %p, locked by %s\n",
            wf_task_label(s->exec.task), (unsigned long long)s->exec.task->id.v, mutex, where);
    abort();
}

/* ---- leaving and coming back --------------------------------------------------------------------------------- */

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
    if (wf_load_rlx(&s->scoped))
        wf_state_mark(&task->state);
    wf_state_ref(&task->state, 1);
    *out = (weft_waker){&wf_task_waker_ops, task};
    return true;
}

/* Is there, in the running body or around it, a scope whose frame is gone? @frame: an address in the present one. What lies below
 * it on the running stack is gone; what is elsewhere and forgotten is found once it is overwritten. No panic yet: an operation may be
 * under way, with nodes on this stack. */
static bool find_forgotten(wf_exec *self, const void *frame)
{
    bool found = false;
    for (wf_body *body = self->body; body; body = body->outer) {
        const void *unused = body == self->body ? frame : NULL;
        if (wf_unlikely(!wf_scopes_stand(body, unused ? body->stack->base : NULL, unused))) {
            wf_scopes_detach(body);
            body->forgot = true;
        }
        found = found || body->forgot;
    }
    return found;
}

/* [DEADLINE] the stores come before the lock that wf_timer_arm() takes when the timer is linked already: a fire under that lock
 * sees either the new deadline, or a timer that it must arm again. */
static void suspend(wf_exec *self, int64_t deadline)
{
    wf_strand *s = wf_strand_of(self);
    wf_store_rlx(&s->scoped, 0);
    if (wf_unlikely(wf_scopes_entered(self->body))) {
        if (wf_unlikely(find_forgotten(self, __builtin_frame_address(0)))) {
            wf_state_mark(&self->task->state);
            return;
        }
        int64_t nearest = wf_scopes_nearest(self->body, deadline);
        wf_store_rlx(&s->scoped, nearest < deadline);
        deadline = nearest;
    }
    wf_store_rlx(&s->deadline, deadline);
    if (wf_unlikely(self->clock != NULL)) /* paused: it must not jump to what nobody waits for any more */
        wf_timer_disarm(&s->timer);
    if (wf_unlikely(deadline != WEFT_FOREVER))
        wf_timer_arm(&s->timer, &self->worker->timers, deadline);
    wf_strand_go(self, WF_STRAND_PARKED);
}

/* [SCOPE] unmark, then look: a firing that comes in between marks again. */
WF_NOINLINE static int look_at_scopes(wf_exec *self)
{
    bool any;
    if (wf_unlikely(find_forgotten(self, __builtin_frame_address(0)))) {
        wf_state_mark(&self->task->state);
        self->cause = NULL;
        return WEFT_EPANIC;
    }
    wf_state_unmark(&self->task->state);
    int code = wf_scopes_look(self, &any);
    if (any)
        wf_state_mark(&self->task->state);
    return code;
}

static int interruption(wf_exec *self)
{
    uint64_t word = wf_load_rlx(&self->task->state);
    if (wf_likely(!(word & (WF_S_ABORT | WF_S_SCOPE))))
        return 0;
    int code = word & WF_S_SCOPE ? look_at_scopes(self) : 0;
    if (!(word & WF_S_ABORT) || wf_is_shielded(self))
        return code;
    self->cause = NULL;
    return WEFT_ECANCELED;
}

static void mark(wf_exec *self) { wf_state_mark(&self->task->state); }

/* A task that never waits meets its deadlines here, when its budget has run out. */
static int yield(wf_exec *self)
{
    if (wf_unlikely(wf_scopes_entered(self->body)))
        look_at_scopes(self);
    return wf_strand_go(self, WF_STRAND_YIELDED);
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* Every strand ends here, on its own stack. */
WEFT_NORETURN static void end(wf_strand *s, int status, void *value)
{
    weft_task *task = s->exec.task;
    wf_task_set_output(task, status, value);
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

void wf_body_holds_a_mutex(const wf_body *body, const weft_task *task, const char *how)
{
    fprintf(stderr, "weft: task \"%s\" (#%llu) %s while it held the mutex of %s\n", task ? wf_task_label(task) : "",
            task ? (unsigned long long)task->id.v : 0, how, body->held->name_ ? body->held->name_ : "?");
    abort();
}

/* Its code has left all that it had entered or made: nothing is to be closed. */
static inline bool is_bare(const wf_body *body)
{
    return !body->scopes && !body->defers && !body->bindings && !body->shared && !body->forgot;
}

/* What was entered and made in its code goes with it, the scopes first: their frames are gone. True if none was forgotten. */
static bool close_body(wf_strand *s)
{
    bool clean = !s->body.scopes && !s->body.forgot;
    wf_scopes_detach(&s->body);
    s->body.forgot = false;
    wf_defers_run(&s->body);
    clean = clean && !s->body.scopes && !s->body.forgot;
    wf_scopes_detach(&s->body);
    wf_dependents_close(&s->body);
    return clean;
}

WEFT_NORETURN static void panic(wf_exec *self, const char *text);

WEFT_NORETURN static void finish(wf_strand *s, void *result)
{
    int code;
    s->result = result;
    if (wf_unlikely(!is_bare(&s->body)) && !close_body(s))
        panic(&s->exec, "it ended with a scope that it had not left");
    wf_body_holds_no_mutex(&s->body, s->exec.task, "ended");
    if (wf_unlikely(s->exec.met_abort)) {
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
    wf_strand *s = wf_strand_of(self);
    if (self->body->coro)
        wf_coro_panic(self->body->coro, text);
    wf_task_set_error(self->task, text);
    wf_body_holds_no_mutex(&s->body, self->task, "panicked");
    wf_scopes_detach(&s->body);
    s->body.forgot = false;
    s->body.shields = 0;
    close_body(s);
    drop_result(s);
    end(s, WEFT_EPANIC, NULL);
}

static const wf_exec_ops strand_ops = {
    .suspend = suspend, .interruption = interruption, .mark = mark, .yield = yield, .panic = panic};

/* ---- the beginning ------------------------------------------------------------------------------------------- */

static void entry(void *arg)
{
    wf_strand *s = arg;
    wf_ctx_entered(&s->ctx);
    weft_task *task = s->exec.task;
    void *value = task->value.v;
    wf_note(&task->waits, 0);
    finish(s, task->body.fn(value));
}

/* Field by field: what a compound literal or memset zeroes first (by a string instruction) costs as much as the rest of a spawn. What is set when it is
 * entered is left out. */
static void init_record(wf_strand *s, weft_task *task, wf_stack *stack)
{
    s->exec.ops = &strand_ops;
    s->exec.signs = &task->state;
    s->exec.cx.waker = (weft_waker){&wf_task_waker_ops, task};
    s->exec.cx.exec = &s->exec;
    s->exec.body = &s->body;
    s->exec.waits = &task->waits;
    s->exec.task = task;
    s->exec.rt = task->rt;
    s->exec.clock = task->rt->clock;
    s->exec.chance = task->rt->chance;
    s->exec.cause = NULL;
    s->exec.detail = NULL;
    s->exec.callbacks = 0;
    s->exec.met_abort = false;
    s->body.outer = NULL;
    s->body.ctx = &s->ctx;
    s->body.stack = stack;
    s->body.coro = NULL;
    s->body.defers = NULL;
    s->body.shields = 0;
    wf_store_rlx(&s->body.lock.held, 0);
    s->body.forgot = false;
    s->body.shared = false;
    s->body.held = NULL;
    s->body.scopes = NULL;
    s->body.bindings = NULL;
    s->body.dependents = NULL;
    s->result = NULL;
    wf_wnode_init(&s->timer.node);
    s->timer.home = NULL;
    s->timer.fire = fire;
    wf_store_rlx(&s->deadline, WEFT_FOREVER);
    wf_store_rlx(&s->scoped, 0);
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
    wf_note(&task->strand, s);
    return s;
}

/* Out of memory for its stack: it never starts, and has failed. */
WF_NOINLINE static void stillborn(wf_worker *w, weft_task *task, int err)
{
    if (task->extra)
        wf_call_back(task->extra->drop_arg, task->value.v);
    if (wf_task_is(task, WF_TASK_WATCHED))
        wf_watch_poll_end(w, task, WEFT_LEFT_ENDED);
    WF_PROBE2(poll_end, task->id.v, WF_STRAND_ENDED);
    wf_task_set_output(task, WEFT_EFAILED, (void *)(intptr_t)err);
}

void wf_strand_end(wf_worker *w, weft_task *task)
{
    wf_strand *s = wf_task_strand(task);
    if (wf_unlikely(s->timer.home != NULL))
        wf_timer_disarm(&s->timer);
    if (wf_unlikely(s->exec.detail != NULL))
        free(s->exec.detail);
    wf_ctx_destroy(&s->ctx);
    wf_note(&task->strand, NULL);
    wf_stack_put(&w->stacks, s->body.stack);
}

static inline void prefetch(const void *from, size_t size)
{
    for (size_t i = 0; i < size; i += WF_CACHE_LINE)
        __builtin_prefetch((const char *)from + i, 1);
}

/* What an await touches of the record (the rest is for deadlines and ends), and of its frames. */
void wf_strand_expect(const weft_task *task)
{
    enum { FRAMES = 6 * WF_CACHE_LINE };
    if (!task->strand.v)
        return;
    prefetch(task->strand.v, offsetof(wf_strand, timer));
    prefetch(task->body.sp, FRAMES);
}

wf_ctx *wf_strand_begin(wf_worker *w, weft_task *task)
{
    int err = 0;
    wf_strand *s = bind_stack(w, task, &err);
    if (wf_likely(s))
        return wf_strand_enter(w, s);
    stillborn(w, task, err);
    return NULL;
}

/* Runs in a signal handler, on the thread that faulted. */
bool wf_strand_describe_overflow(const void *address, const char **name, uint64_t *id, size_t *stack_size)
{
    wf_exec *exec = wf_exec_peek();
    const wf_stack *stack = exec && exec->body ? exec->body->stack : NULL;
    if (!stack || !wf_stack_in_guard(stack, address))
        return false;
    *name = exec->task ? wf_task_label(exec->task) : "";
    *id = exec->task ? exec->task->id.v : 0;
    *stack_size = stack->size;
    return true;
}
