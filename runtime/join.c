/* join.c - the handle's side of a task: join, wait, detach, abort, and looking at it. */
#include <base/case.h>
#include <base/waits.h>
#include <runtime/runtime.h>
#include <runtime/strand.h>
#include <stdlib.h>

/* ---- waiting for the end ------------------------------------------------------------------------------------- */

typedef struct join_op {
    weft_task *task;
    bool set;        /* our waker is in the task */
    weft_waker mine; /* which that is, to compare with: the reference is the task's */
} join_op;

static ssize_t join_cancel(void *arg)
{
    join_op *op = arg;
    if (!op->set)
        return WEFT_PENDING;
    if (wf_state_join_relock(&op->task->state) == WF_JOIN_DONE)
        return 0;
    weft_waker waker = op->task->joiner;
    wf_join unlocked = wf_state_join_unlock(&op->task->state, false);
    weft_waker_drop(&waker);
    return unlocked == WF_JOIN_DONE ? 0 : WEFT_PENDING;
}

/* Of several tasks that poll in turn, the last is the one that is woken. */
static ssize_t poll_end(join_op *op, weft_context *cx)
{
    weft_task *task = op->task;
    if (op->set && (wf_state_done(&task->state) || weft_waker_will_wake(&op->mine, weft_context_waker(cx))))
        return wf_state_done(&task->state) ? 0 : WEFT_PENDING;
    if (op->set && join_cancel(op) == 0)
        return 0;
    op->set = false;
    switch (wf_state_join_lock(&task->state)) {
    case WF_JOIN_DONE:
        return 0;
    case WF_JOIN_BUSY:
        return WEFT_EBUSY;
    default:
        break;
    }
    weft_waker waker = {NULL, NULL};
    int err = wf_context_clone_waker(cx, &waker);
    if (err == 0)
        task->joiner = waker;
    op->mine = waker;
    wf_join unlocked = wf_state_join_unlock(&task->state, err == 0);
    if (err == 0 && unlocked == WF_JOIN_DONE)
        weft_waker_drop(&waker); /* it ended meanwhile and has not seen the waker */
    else
        op->set = err == 0;
    return unlocked == WF_JOIN_DONE ? 0 : err < 0 ? err : WEFT_PENDING;
}

static ssize_t join_poll(void *arg, weft_context *cx)
{
    join_op *op = arg;
    ssize_t result = poll_end(op, cx);
    if (result == WEFT_PENDING)
        wf_exec_waits(cx->exec, WF_WAIT_JOIN, op->task->id.v);
    return result;
}

static const wf_op_ops join_ops = {.poll = join_poll, .cancel = join_cancel};

WF_CASE_FITS(join_op);

static bool is_myself(const weft_task *task)
{
    wf_exec *exec = wf_exec_peek();
    return exec && exec->task == task;
}

/* Takes the result of one that has ended; the handle is gone then. */
static ssize_t poll_case(weft_case *c, weft_context *cx)
{
    join_op *op = WF_CASE_STATE(c, join_op);
    if (is_myself(c->object_))
        return WEFT_EDEADLK;
    op->task = c->object_;
    ssize_t ended = join_poll(op, cx);
    if (ended == 0)
        op->task = NULL;
    return ended < 0 ? ended : weft_try_join(c->object_, c->value_);
}

static void leave_case(weft_case *c)
{
    if (WF_CASE_STATE(c, join_op)->task)
        join_cancel(WF_CASE_STATE(c, join_op));
}

const struct weft_case_ops weft_case_join_ = {.poll = poll_case, .leave = leave_case};

/* The task has not ended. Where it is the next to run here anyway, it runs first. Oneself is refused before an interruption is met: nobody
 * would hear of that one. Inlined, as it is open around a switch: see wf_strand_go(). */
WF_INLINE int wait_for(weft_task *task)
{
    wf_exec *exec;
    if (wf_unlikely(is_myself(task)))
        return WEFT_EDEADLK;
    int err = wf_await_entry(&exec);
    if (wf_unlikely(err < 0))
        return err;
    if (wf_strand_lend(exec, task) && wf_state_done(&task->state))
        return 0;
    join_op op = {.task = task};
    return (int)wf_await_inline(&join_ops, &op, WEFT_FOREVER);
}

int weft_wait(weft_task *task)
{
    if (!task)
        return WEFT_EINVAL;
    if (wf_state_done(&task->state))
        return 0;
    return wait_for(task);
}

/* ---- the output ---------------------------------------------------------------------------------------------- */

static void drop_output(weft_task *task)
{
    if (wf_task_status(task) == 0 && task->value.v && task->extra)
        wf_call_back(task->extra->drop_result, task->value.v);
}

/* It has ended, and the caller gives up the handle. */
static int take(weft_task *task, void **result)
{
    int status = wf_task_status(task);
    if (result)
        *result = task->value.v;
    else
        drop_output(task);
    wf_task_unref(task);
    return status;
}

int weft_try_join(weft_task *task, void **result)
{
    if (result)
        *result = NULL;
    if (!task)
        return WEFT_EINVAL;
    return wf_state_done(&task->state) ? take(task, result) : WEFT_EAGAIN;
}

int weft_join(weft_task *task, void **result)
{
    if (result)
        *result = NULL;
    if (!task)
        return WEFT_EINVAL;
    if (!wf_state_done(&task->state)) {
        int err = wait_for(task);
        if (err < 0)
            return err;
    }
    return take(task, result);
}

void weft_detach(weft_task *task)
{
    if (!task || wf_state_detach(&task->state) == WF_DETACH_NOTHING)
        return;
    drop_output(task);
    wf_task_unref(task);
}

int weft_task_close(weft_task *task)
{
    if (!task)
        return 0;
    if (is_myself(task))
        return WEFT_EDEADLK;
    weft_abort(task);
    if (!wf_state_done(&task->state)) {
        join_op op = {.task = task};
        int err = (int)wf_await_shielded(&join_ops, &op);
        if (err < 0)
            return err;
    }
    take(task, NULL);
    return 0;
}

/* ---- aborting ------------------------------------------------------------------------------------------------ */

void weft_abort(weft_task *task)
{
    if (task && wf_state_abort(&task->state) == WF_WAKE_ENQUEUE)
        wf_schedule_woken(task);
}

struct weft_aborter {
    weft_task *task; /* a reference */
};

int weft_aborter_create(weft_aborter **out, weft_task *task)
{
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (!task)
        return WEFT_EINVAL;
    weft_aborter *a = malloc(sizeof *a);
    if (!a)
        return WEFT_ENOMEM;
    wf_state_ref(&task->state, 1);
    a->task = task;
    *out = a;
    return 0;
}

void weft_aborter_abort(weft_aborter *aborter)
{
    if (aborter)
        weft_abort(aborter->task);
}

void weft_aborter_free(weft_aborter *aborter)
{
    if (!aborter)
        return;
    wf_task_unref(aborter->task);
    free(aborter);
}

/* ---- looking ------------------------------------------------------------------------------------------------- */

int weft_is_finished(const weft_task *task) { return task ? wf_state_done((wf_a64 *)&task->state) : 0; }

uint64_t weft_task_id(const weft_task *task) { return task ? task->id.v : 0; }

const char *weft_task_name(const weft_task *task) { return task ? wf_task_label(task) : ""; }

static weft_task_state_t polled_state(uint64_t track)
{
    return track & WF_TRACK_RUNNING ? WEFT_TASK_RUNNING : WEFT_TASK_SCHEDULED;
}

/* On a thread of the pool, if it has left the queue. */
static weft_task_state_t pool_state(uint64_t word)
{
    return word & WF_S_POOLED ? WEFT_TASK_SCHEDULED : WEFT_TASK_RUNNING;
}

weft_task_state_t weft_task_state(const weft_task *task)
{
    uint64_t word = task ? wf_load_acq(&task->state) : WF_S_DONE;
    if (word & WF_S_DONE)
        return word & WF_S_CANCELLED ? WEFT_TASK_CANCELLED : WEFT_TASK_COMPLETED;
    if (!(word & WF_S_ACTIVE))
        return WEFT_TASK_IDLE;
    return wf_task_is(task, WF_TASK_BLOCKING) ? pool_state(word) : polled_state(wf_noted(&task->track));
}

const char *weft_task_state_name(weft_task_state_t state)
{
    static const char *const names[] = {"idle", "scheduled", "running", "completed", "cancelled"};
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "unknown";
}

const char *weft_task_error(const weft_task *task)
{
    if (!task || !weft_is_finished(task) || wf_task_status(task) != WEFT_EPANIC)
        return "";
    return task->extra && task->extra->error ? task->extra->error : "panicked (no memory for the message)";
}
