/* watch.c - see watch.h.
 *
 * A hook is the program's code in the midst of the scheduler: nothing may wait in it, no task is current, and so a panic in it ends the process. */
#include <runtime/runtime.h>
#include <runtime/watch.h>

static int number_of(const wf_worker *w) { return w ? (int)w->index : -1; }

/* A thread that had none gets an execution, which says that nothing may wait. Without memory for that nothing can wait either. */
static wf_exec *enter(void)
{
    wf_exec *exec = wf_exec_current();
    if (!exec)
        return NULL;
    exec->callbacks++;
    wf_watch_telling(exec)->depth++;
    if (exec->worker)
        exec->worker->born_flags &= (uint8_t)~WF_TASK_WATCHED;
    return exec;
}

static void leave(wf_exec *exec)
{
    if (!exec)
        return;
    exec->callbacks--;
    if (--wf_watch_telling(exec)->depth == 0 && exec->worker)
        exec->worker->born_flags = exec->worker->rt->watched;
}

/* Call hook @name of @rt with the worker's number and what else there is. */
#define CALL(rt, name, ...)                              \
    do {                                                 \
        const weft_hooks *hooks_ = &(rt)->options.hooks; \
        if (hooks_->name) {                              \
            wf_exec *exec_ = enter();                    \
            hooks_->name(hooks_->arg, __VA_ARGS__);      \
            leave(exec_);                                \
        }                                                \
    } while (0)

/* ---- from a wake to the poll --------------------------------------------------------------------------------- */

enum { LAST = WEFT_LATENCY_BUCKETS - 1 };

void wf_watch_count_long(wf_worker *w, uint64_t cycles)
{
    bool backwards = cycles >> 63;
    wf_count(&w->measured.buckets[backwards ? 0 : LAST], 1);
    if (!backwards)
        wf_count(&w->measured.cycles, cycles);
}

/* Below the limit it does not overflow, nor is the last bucket's number exceeded. */
void wf_watch_open(wf_worker *w)
{
    if (!(w->rt->options.flags & WEFT_MEASURE))
        return;
    double ns_a_cycle = wf_cycles() > 0 ? wf_ns_a_cycle() : 1;
    uint64_t scaled = (uint64_t)(ns_a_cycle * (1 << WF_MEASURED_SHIFT) + 0.5);
    w->measured.ns_a_cycle = WF_MAX(scaled, 1);
    w->measured.limit = (UINT64_C(1) << (LAST + 7 + WF_MEASURED_SHIFT)) / w->measured.ns_a_cycle;
}

/* ---- the points ---------------------------------------------------------------------------------------------- */

void wf_watch_spawn(wf_worker *w, weft_task *task) { CALL(task->rt, spawn, number_of(w), task); }

/* A blocking job that is queued was aborted before it began: it only ends. */
void wf_watch_wake(wf_worker *w, weft_task *task)
{
    if (!wf_task_is(task, WF_TASK_BLOCKING))
        CALL(task->rt, wake, number_of(w), task);
}

void wf_watch_poll_begin(wf_worker *w, weft_task *task) { CALL(w->rt, poll_begin, number_of(w), task); }

void wf_watch_poll_end(wf_worker *w, weft_task *task, weft_left left)
{
    CALL(w->rt, poll_end, number_of(w), task, left);
}

/* No task ends in a hook, so there is one at a time that has. */
void wf_watch_end(wf_worker *w, weft_task *task)
{
    const weft_hooks *hooks = &task->rt->options.hooks;
    if (!hooks->end)
        return;
    wf_exec *exec = enter();
    if (exec)
        wf_watch_telling(exec)->ended = task;
    hooks->end(hooks->arg, number_of(w), task, wf_task_status(task));
    if (exec)
        wf_watch_telling(exec)->ended = NULL;
    leave(exec);
}

void wf_watch_park(wf_worker *w) { CALL(w->rt, park, number_of(w)); }

void wf_watch_unpark(wf_worker *w) { CALL(w->rt, unpark, number_of(w)); }

/* A worker's reactor is also turned by others, for it, and at last by who takes the runtime down. */
void wf_watch_ready(void *worker, int fd, uint64_t bits)
{
    wf_worker *owner = worker, *w = wf_worker_current();
    int number = number_of(w && w->rt == owner->rt ? w : NULL);
    CALL(owner->rt, ready, number, fd, (bits & WF_SRC_RRDY) != 0, (bits & WF_SRC_WRDY) != 0);
}
