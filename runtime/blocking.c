/* blocking.c - a function on a thread of the pool: as a task of its own, or as part of the task that waits for it.
 *
 * On duty for a task the thread has an execution that waits as the thread does (nobody interrupts it), belongs to the task's runtime,
 * and has the task as its own. It ends like a strand: what was entered and made in its code goes with it, and a panic jumps back to
 * where the duty began. Workers never poll a blocking task; they cancel it if it was aborted before it began: see state.h. */
#include <base/failure.h>
#include <base/scope.h>
#include <runtime/runtime.h>
#include <runtime/strand.h>
#include <sched.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_SIZE = 256 };

/* ---- the execution ------------------------------------------------------------------------------------------- */

typedef struct duty {
    wf_exec exec;
    wf_body body;
    wf_exec *thread;      /* whose waker and waits it uses */
    bool shielded;        /* … is the task meanwhile: it does not hear of its abort */
    bool closes;          /* groups made in it end with it */
    jmp_buf panicked;     /* where a panic goes */
    char text[TEXT_SIZE]; /* … and what it said first */
} duty;

static duty *duty_of(wf_exec *exec) { return wf_container(exec, duty, exec); }

static void suspend(wf_exec *self, int64_t deadline)
{
    wf_exec *thread = duty_of(self)->thread;
    deadline = wf_scopes_nearest(self->body, WF_MIN(deadline, self->wake_by));
    self->wake_by = WEFT_FOREVER;
    thread->ops->suspend(thread, deadline);
    self->budget = WF_BUDGET;
}

static int interruption(wf_exec *self)
{
    bool any;
    return wf_scopes_entered(self->body) ? wf_scopes_look(self, &any) : 0;
}

/* Who was told has met it: a strand that waits for this ends as aborted, while a blocking task completes. */
static bool aborted(wf_exec *self)
{
    bool hidden = duty_of(self)->shielded;
    for (const wf_body *body = self->body; body && !hidden; body = body->outer)
        hidden = body->shields > 0;
    if (hidden || !(wf_load_rlx(&self->task->state) & WF_S_ABORT))
        return false;
    self->met_abort = true;
    return true;
}

static int yield(wf_exec *self)
{
    (void)self;
    return sched_yield();
}

/* True if nothing was forgotten. */
static bool close_body(duty *d)
{
    bool clean = !d->body.scopes;
    wf_scopes_detach(&d->body);
    wf_defers_run(&d->body);
    clean = clean && !d->body.scopes;
    wf_scopes_detach(&d->body);
    if (d->closes)
        wf_dependents_close(&d->body);
    wf_dependents_forget(&d->body);
    return clean;
}

/* On top of the frame that panicked, because groups and their children may point into those frames. */
WEFT_NORETURN static void panic(wf_exec *self, const char *text)
{
    duty *d = duty_of(self);
    if (!d->text[0])
        snprintf(d->text, sizeof d->text, "%s", text);
    wf_body_holds_no_mutex(&d->body, self->task, "panicked");
    d->body.shields = 0;
    d->closes = true;
    close_body(d);
    _longjmp(d->panicked, 1);
}

static const wf_exec_ops duty_ops = {
    .suspend = suspend, .interruption = interruption, .aborted = aborted, .yield = yield, .panic = panic};

/* ---- coming, doing, going ------------------------------------------------------------------------------------ */

/* Returns 0, or WEFT_ENOMEM. */
static int begin(duty *d, weft_task *task)
{
    d->thread = wf_exec_current();
    if (!d->thread)
        return WEFT_ENOMEM;
    d->exec = (wf_exec){.ops = &duty_ops,
                        .cx = {.waker = d->thread->cx.waker, .exec = &d->exec},
                        .body = &d->body,
                        .waits = &d->exec.unread,
                        .task = task,
                        .rt = task->rt,
                        .wake_by = WEFT_FOREVER,
                        .budget = WF_BUDGET};
    d->body = (wf_body){.ends = true};
    d->text[0] = 0;
    wf_exec_set(&d->exec);
    return 0;
}

static void call(duty *d, weft_fn fn, void *arg, void **result)
{
    *result = fn(arg);
    if (!close_body(d))
        panic(&d->exec, "it ended with a scope that it had not left");
    wf_body_holds_no_mutex(&d->body, d->exec.task, "ended a blocking job");
}

/* Returns 0, WEFT_EFAILED with the code in *@value, or WEFT_EPANIC with what was returned before, or NULL. */
static int perform(duty *d, weft_fn fn, void *arg, void **value)
{
    int code;
    *value = NULL;
    if (_setjmp(d->panicked))
        return WEFT_EPANIC;
    call(d, fn, arg, value);
    if (!wf_is_failure(*value, &code))
        return 0;
    *value = (void *)(intptr_t)code;
    return WEFT_EFAILED;
}

static void end(duty *d) { wf_exec_set(d->thread); }

/* ---- blocking tasks ------------------------------------------------------------------------------------------ */

/* It returned before it panicked: nobody gets that. */
static void drop_result(weft_task *task, void *value)
{
    int code;
    if (value && !wf_is_failure(value, &code))
        wf_call_back(task->extra->drop_result, value);
}

static void run_body(duty *d, weft_task *task)
{
    void *value;
    int status = perform(d, task->body.fn, task->value.v, &value);
    if (status == WEFT_EPANIC) {
        wf_task_set_error(task, d->text);
        drop_result(task, value);
        value = NULL;
    }
    wf_task_set_output(task, status, value);
}

/* Without an execution it never starts. */
static void stillborn(weft_task *task, int err)
{
    wf_call_back(task->extra->drop_arg, task->value.v);
    wf_task_set_output(task, WEFT_EFAILED, (void *)(intptr_t)err);
}

static void run_task(weft_task *task)
{
    duty d = {.closes = true};
    int err = begin(&d, task);
    if (err < 0) {
        stillborn(task, err);
        wf_task_complete(NULL, task);
        return;
    }
    run_body(&d, task);
    d.exec.task = NULL; /* from here on it is a callback's context: the runtime, and no task */
    wf_task_complete(NULL, task);
    end(&d);
    free(d.exec.detail);
}

static void run_job(wf_job *job)
{
    weft_task *task = wf_container(job, wf_extra, job)->task;
    if (!wf_state_leave_pool(&task->state)) { /* aborted: a worker's */
        wf_task_unref(task);
        return;
    }
    task->spare++; /* the job's reference */
    run_task(task);
}

void wf_blocking_init(weft_task *task)
{
    wf_extra *extra = task->extra;
    extra->task = task;
    extra->job.run = run_job;
    wf_node_init(&extra->job.node);
    task->spare--;
}

void wf_blocking_retract(weft_task *task)
{
    if (wf_pool_retract(task->rt, WF_LANE_USER, &task->extra->job))
        task->spare++;
}

int weft_spawn_blocking(weft_task **task, weft_fn fn, void *arg)
{
    const weft_spawn_options options = {.blocking = 1};
    return weft_spawn_with(task, &options, fn, arg);
}

/* ---- a call as part of the calling task ---------------------------------------------------------------------- */

/* On the caller's stack. */
typedef struct errand {
    weft_fn fn;
    void *arg;
    wf_exec *caller; /* who waits meanwhile, shielded or not */
    bool shielded;
    bool done;
    int status; /* as from perform() */
    void *value;
    char text[TEXT_SIZE];
} errand;

/* What the last failure said belongs to the task, wherever it runs. */
static ssize_t run_errand(void *arg)
{
    errand *e = arg;
    duty d = {.shielded = e->shielded};
    int err = begin(&d, e->caller->task);
    if (err < 0)
        return err;
    d.exec.detail = e->caller->detail;
    e->status = perform(&d, e->fn, e->arg, &e->value);
    e->caller->detail = d.exec.detail;
    e->caller->met_abort |= d.exec.met_abort;
    end(&d);
    if (e->status == WEFT_EPANIC)
        snprintf(e->text, sizeof e->text, "%s", d.text);
    return 0;
}

static int report(const errand *e, void **result)
{
    if (e->status == WEFT_EPANIC)
        weft_panic("%s", e->text);
    if (result)
        *result = e->value;
    return e->status;
}

static int call_here(weft_fn fn, void *arg, void **result)
{
    int code;
    void *value = fn(arg);
    bool failed = wf_is_failure(value, &code);
    if (result)
        *result = failed ? (void *)(intptr_t)code : value;
    return failed ? WEFT_EFAILED : 0;
}

int weft_blocking(weft_fn fn, void *arg, void **result)
{
    wf_exec *exec;
    if (result)
        *result = NULL;
    if (!fn)
        return WEFT_EINVAL;
    int err = wf_await_entry(&exec);
    if (err < 0)
        return err;
    if (!exec->worker)
        return call_here(fn, arg, result);
    errand e = {.fn = fn, .arg = arg, .caller = exec, .shielded = wf_is_shielded(exec)};
    err = (int)wf_pool_call(WF_LANE_USER, run_errand, &e);
    return err < 0 ? err : report(&e, result);
}
