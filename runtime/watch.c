/* watch.c - see watch.h.
 *
 * A hook is the program's code in the midst of the scheduler: nothing may wait in it, and no task is current. */
#include <runtime/runtime.h>
#include <runtime/watch.h>

static int number_of(const wf_worker *w) { return w ? (int)w->index : -1; }

static wf_exec *enter(void)
{
    wf_exec *exec = wf_exec_peek();
    if (exec)
        exec->callbacks++;
    return exec;
}

static void leave(wf_exec *exec)
{
    if (exec)
        exec->callbacks--;
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

void wf_watch_wake(wf_worker *w, weft_task *task) { CALL(task->rt, wake, number_of(w), task); }

void wf_watch_poll_begin(wf_worker *w, weft_task *task) { CALL(w->rt, poll_begin, number_of(w), task); }

void wf_watch_poll_end(wf_worker *w, weft_task *task, weft_left left)
{
    CALL(w->rt, poll_end, number_of(w), task, left);
}

void wf_watch_end(wf_worker *w, weft_task *task) { CALL(task->rt, end, number_of(w), task, wf_task_status(task)); }

void wf_watch_park(wf_worker *w) { CALL(w->rt, park, number_of(w)); }

void wf_watch_unpark(wf_worker *w) { CALL(w->rt, unpark, number_of(w)); }
