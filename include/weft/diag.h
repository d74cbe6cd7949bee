/* weft/diag.h - watching a runtime: counters, the list of its tasks, a dump of all of it.
 *
 * Nothing here stops anybody: what is read was true a moment ago. All of it may be called from any thread, in tasks too, and never awaits. */
#ifndef WEFT_DIAG_H
#define WEFT_DIAG_H

#include <stdio.h>
#include <weft/base.h>
#include <weft/task.h>

WEFT_BEGIN_DECLS

/* ---- counters ----------------------------------------------------------------------------------------------- */

typedef enum weft_guard_kind {
    WEFT_GUARD_NONE,     /* no stack was made yet */
    WEFT_GUARD_INSTALL,  /* MADV_GUARD_INSTALL: costs no map entry */
    WEFT_GUARD_MPROTECT, /* a protected page: two map entries a stack */
    WEFT_GUARD_CANARY,   /* a pattern, looked at when the stack is given back: the map count is used up */
} weft_guard_kind;

enum { WEFT_LATENCY_BUCKETS = 28 };

/**
 * How long woken tasks waited for their poll, from where they were queued. Yields count, births do not, nor does a wake whose task was aborted and never polled.
 * Bucket i counts those of less than 2^(i + 7) ns (128 ns, 256 ns, … 8.6 s) that are in none before; the last takes the rest.
 */
typedef struct weft_latency {
    uint64_t count; /* of all buckets */
    uint64_t sum;   /* ns */
    uint64_t buckets[WEFT_LATENCY_BUCKETS];
} weft_latency;

/**
 * Counters since the runtime began, and what there is at the moment. spawned = completed + active, aborted + panicked + failed <= completed, and peak >= active,
 * in every reading; no counter goes back from one reading to the next, whoever reads. Other sums of a reading were true at moments a little apart.
 */
typedef struct weft_metrics_t {
    uint64_t spawned, completed, active; /* a blocking job that was refused counts as spawned, and as aborted */
    uint64_t peak; /* most at once: exact with one worker that spawns them all, else the most that a reading came upon */
    uint64_t polls;                      /* times a task was polled */
    uint64_t steals;                     /* tasks taken from another worker's queue */
    uint64_t parks;                      /* times a worker slept */
    uint64_t rescues;                    /* times a worker turned the reactor of one that was stuck in a task */
    uint64_t stacks_live, stacks_cached; /* of the process */
    weft_guard_kind guard;               /* of the newest stack in the process */
    uint64_t aborted, panicked, failed;  /* of those completed */
    uint64_t spills;                     /* tasks that a full queue moved to where all workers look */
    uint64_t wakes_sent;                 /* times a sleeping worker was rung: each is a system call */
    uint64_t wakes_saved;                /* times somebody who would have rung found one awake that looks anyway */
    uint64_t mailed;    /* pinned tasks that another thread woke or spawned, once their worker has found them */
    int64_t busy, idle; /* ns that its workers were awake, and slept, together: see weft_worker_metrics_t */
    uint64_t queued;    /* tasks in queues now */
    uint64_t timers;    /* armed now; that of a strand's last deadline stays armed until it fires or the strand ends */
    uint64_t sources;   /* sockets, pipes, listeners … open now */
    unsigned workers, workers_parked; /* … of them asleep now */
    weft_latency wake_to_poll;        /* with WEFT_MEASURE only, else all zero */
    uint64_t reserved_[16];
} weft_metrics_t;

WEFT_API int weft_metrics_sized(weft_runtime *rt, weft_metrics_t *out, size_t size);

/** Fill *@out. NULL @rt: the current one. Returns 0, WEFT_EINVAL or WEFT_ENORUNTIME. */
static inline int weft_metrics(weft_runtime *rt, weft_metrics_t *out)
{
    return weft_metrics_sized(rt, out, sizeof *out);
}

/** Of one worker: as above, as far as it is one worker's. */
typedef struct weft_worker_metrics_t {
    uint64_t spawned, completed; /* by it; tasks move, so each may be the larger */
    uint64_t polls, steals, parks, rescues, spills, wakes_sent, mailed;
    int64_t busy, idle; /* ns awake and asleep, to this moment. Together the time since it began, but for what it takes to fall asleep or awake. Neither goes back */
    uint64_t queued, timers;
    uint64_t polling;   /* the id of the task that it runs now, or 0 */
    int64_t polling_ns; /* … for about so long already; 0 if it runs none. Exact to its last look around: see seen_ns */
    int64_t seen_ns;    /* how long ago it last looked around: at its reactor, its timers, and the queues of others */
    int parked;         /* it sleeps, or nobody is it just now */
    int thread;         /* the system's id of its thread; 0: none now */
    weft_latency wake_to_poll;
    uint64_t reserved_[16];
} weft_worker_metrics_t;

WEFT_API int weft_worker_metrics_sized(weft_runtime *rt, unsigned worker, weft_worker_metrics_t *out, size_t size);

/** Fill *@out for worker @worker, below weft_runtime_workers(). Returns 0, WEFT_EINVAL or WEFT_ENORUNTIME. */
static inline int weft_worker_metrics(weft_runtime *rt, unsigned worker, weft_worker_metrics_t *out)
{
    return weft_worker_metrics_sized(rt, worker, out, sizeof *out);
}

/**
 * Write all counters in Prometheus' text format, version 0.0.4, each with its help and type: docs/metrics.md has them. It allocates nothing, and flushes @to.
 * What it writes is a whole page: one name is explained once in a page, so several runtimes have a page each.
 * Returns 0, WEFT_EINVAL, WEFT_ENORUNTIME, or the system's code if @to took less.
 */
WEFT_API int weft_metrics_print(weft_runtime *rt, FILE *to);

/* ---- the tasks ---------------------------------------------------------------------------------------------- */

typedef enum weft_task_kind {
    WEFT_KIND_STRAND,
    WEFT_KIND_FUTURE,   /* stackless */
    WEFT_KIND_BLOCKING, /* on a thread of the pool */
} weft_task_kind;

/** A live task, as it was a moment ago. */
typedef struct weft_task_info {
    uint64_t id;
    char name[64]; /* "" if it has none */
    weft_task_kind kind;
    weft_task_state_t state; /* idle, scheduled or running */
    int worker;              /* idle: who polled it last; running: who does; -1: nobody has */
    int pinned;              /* always that one */
    int aborted;             /* it was asked to stop */
    int64_t age, since; /* ns since its spawn, and in its state: exact to about 10 ms, and never more than 417 days */
    const char *waits_for; /* "read", "chan recv", "mutex", "sleep", "join" … static; "" if it does not wait, "?" for a future of the program's own */
    uint64_t object_;      /* … of what: weft_task_info_object() */
    int wait_;
    uint64_t reserved_[6];
} weft_task_info;

/**
 * Call @visit(@arg, info) for every live task of @rt (NULL: the current one) in no order, until it returns nonzero. Tasks that begin or end meanwhile may be met or not.
 * A million tasks take some 50 ms. @visit may do anything but stop the runtime.
 * Returns: what @visit returned last (0: all were visited), WEFT_EINVAL, WEFT_ENORUNTIME, WEFT_ENOMEM (not all were: those in the program's memory are copied first), or
 *          WEFT_ENOTSUP in a forked child.
 */
WEFT_API int weft_tasks_visit(weft_runtime *rt, int (*visit)(void *arg, const weft_task_info *info), void *arg);

/**
 * Write what @info waits on as text: "10.0.0.7:5123" (asks the system for the peer's address), "0x7f22…" (a channel, a mutex), "#42" (a task), "in 3.2 s"; "" if there is nothing to say.
 * Returns: the length, as snprintf() does.
 */
WEFT_API int weft_task_info_object(const weft_task_info *info, char *out, size_t size);

/* ---- the dump ----------------------------------------------------------------------------------------------- */

/**
 * Write workers, counters and every task to @to: those that run, each with its worker's backtrace; those that are queued; those that wait. Of the first two so many are listed,
 * and the rest is counted. Strands that wait for the same thing at the same place are a group, with a few examples and the backtrace of one; stackless tasks by their names.
 * First come those that wait for locks, then those that wait for what other tasks do, then those that wait for the world (descriptors, the clock, signals …); among
 * equals the group whose oldest has waited longest. Backtraces have names and lines if libdw (elfutils) is installed, else addresses.
 * A strand is held still for its backtrace, some 100 µs: if it is woken meanwhile it runs afterwards. The text is written in one piece when it is complete; dumps are made
 * one at a time in the process.
 * Returns 0, WEFT_EINVAL, WEFT_ENORUNTIME, WEFT_ENOMEM, the system's code if @to took less, or WEFT_ENOTSUP in a forked child.
 */
WEFT_API int weft_dump(weft_runtime *rt, FILE *to);

/** The same of one task, by its id. WEFT_ENOENT: there is no such task (any more). */
WEFT_API int weft_dump_task(weft_runtime *rt, uint64_t id, FILE *to);

/* ---- the watchdog -------------------------------------------------------------------------------------------- */

/**
 * The calling thread never wakes a task (it only watches, or logs): the deadlock detector need not wait for it. Nor do the tasks of a runtime that it drives, but for
 * those of the same one. Returns 0 or WEFT_ENOMEM.
 */
WEFT_API int weft_watchdog_ignore_thread(void);

WEFT_END_DECLS

#endif
