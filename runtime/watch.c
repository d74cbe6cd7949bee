/* watch.c - see watch.h.
 *
 * A hook is the program's code in the midst of the scheduler: nothing may wait in it, and no task is current. */
#include <base/clock.h>
#include <base/waits.h>
#include <runtime/runtime.h>
#include <runtime/watch.h>
#include <stdlib.h>

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

static bool measures(const weft_runtime *rt) { return rt->options.flags & WEFT_MEASURE; }

/* What it waited for is no longer asked for: in that word stands when it was woken. One that never ran has its argument there. */
static void note_wake(weft_task *task) { wf_note(&task->waits, wf_wait_word(WF_WAIT_MEASURED, wf_cycles())); }

static void count_latency(wf_measured *m, uint64_t ns)
{
    unsigned bits = ns >> 7 ? 64 - (unsigned)__builtin_clzll(ns >> 7) : 0;
    wf_count(&m->buckets[WF_MIN(bits, WEFT_LATENCY_BUCKETS - 1)], 1);
    wf_count(&m->count, 1);
    wf_count(&m->sum, ns);
}

/* Counters of different CPUs may differ a little: then it was at once. */
static void note_poll(wf_worker *w, weft_task *task)
{
    uint64_t word = wf_noted(&task->waits);
    if (word >> WF_WAIT_SHIFT != WF_WAIT_MEASURED)
        return;
    uint64_t cycles = (wf_cycles() - word) & WF_WAIT_OBJECT;
    bool backwards = cycles > WF_WAIT_OBJECT / 2;
    count_latency(w->measured, backwards ? 0 : (uint64_t)((double)cycles * w->measured->ns_a_cycle));
    wf_note(&task->waits, 0);
}

/* ---- the points ---------------------------------------------------------------------------------------------- */

void wf_watch_spawn(wf_worker *w, weft_task *task) { CALL(task->rt, spawn, number_of(w), task); }

void wf_watch_wake(wf_worker *w, weft_task *task)
{
    if (measures(task->rt) && !wf_task_is(task, WF_TASK_BLOCKING))
        note_wake(task);
    CALL(task->rt, wake, number_of(w), task);
}

void wf_watch_poll_begin(wf_worker *w, weft_task *task)
{
    if (w->measured && (wf_task_strand(task) || !wf_task_is(task, WF_TASK_STRAND)))
        note_poll(w, task);
    CALL(w->rt, poll_begin, number_of(w), task);
}

void wf_watch_poll_end(wf_worker *w, weft_task *task, weft_left left)
{
    CALL(w->rt, poll_end, number_of(w), task, left);
}

void wf_watch_end(wf_worker *w, weft_task *task) { CALL(task->rt, end, number_of(w), task, wf_task_status(task)); }

void wf_watch_park(wf_worker *w) { CALL(w->rt, park, number_of(w)); }

void wf_watch_unpark(wf_worker *w) { CALL(w->rt, unpark, number_of(w)); }

/* ---- coming and going ---------------------------------------------------------------------------------------- */

int wf_watch_open(wf_worker *w)
{
    if (!measures(w->rt))
        return 0;
    w->measured = calloc(1, sizeof *w->measured);
    if (!w->measured)
        return WEFT_ENOMEM;
    w->measured->ns_a_cycle = wf_ns_a_cycle();
    return 0;
}

void wf_watch_close(wf_worker *w) { free(w->measured); }
