/* worker.h - one of the threads that poll tasks: its queues, its reactor, its timers, its caches. */
#ifndef WF_WORKER_H
#define WF_WORKER_H

#include <base/rng.h>
#include <reactor/reactor.h>
#include <runtime/context.h>
#include <runtime/headers.h>
#include <runtime/patience.h>
#include <runtime/runq.h>
#include <runtime/segv.h>
#include <runtime/stack.h>
#include <runtime/track.h>
#include <setjmp.h>
#include <timer/timers.h>
#include <weft/diag.h>

enum {
    WF_TURN_EVERY = 61,   /* polls between two looks at inject queue, reactor and timers */
    WF_OLDEST_EVERY = 64, /* polls between two takes of the oldest fresh task, where the order is to be repeatable */
};

/* From wakes to polls, in ns: see weft_latency. The owner writes, anybody reads. */
typedef struct wf_measured {
    double ns_a_cycle;
    wf_a64 count, sum, buckets[WEFT_LATENCY_BUCKETS];
} wf_measured;

typedef struct wf_worker {
    /* The owner's alone. */
    weft_runtime *rt;
    unsigned index;
    uint8_t born_flags;       /* of each task that is born here */
    bool alone;               /* the only worker: nobody steals */
    bool searching;           /* counted in the runtime's searchers */
    bool fresh_turn;          /* fresh and woken tasks alternate */
    bool oldest_turn;         /* of the neglected, the oldest fresh one and those in the inject queue alternate */
    uint8_t pinned_turn;      /* choices since a pinned one */
    bool (*until)(void *arg); /* when to leave the loop, or NULL */
    void *until_arg;
    uint32_t tick;      /* choices made */
    uint64_t tick_seen; /* polls at the last look around */
    int64_t now;        /* wf_now() at the last look around */
    int64_t oldest_at;  /* when the oldest fresh task was last preferred, or could have been */
    int64_t oldest_cpu; /* … in the thread's CPU time */
    int64_t cared_at;   /* when it last looked after its neighbours */
    uint64_t looked_at; /* wf_cycles() at the last look around */
    uint64_t moment;    /* how many of them are too few for another */
    bool orderly;       /* the order must not depend on the clock */
    wf_patience patience;
    wf_rng rng;
    wf_ctx ctx;                            /* of the loop, while a strand runs */
    wf_body body;                          /* the loop's: it has a context but no stack of the pool's */
    wf_exec exec;                          /* the loop itself, callbacks, and stackless polls: nothing may wait */
    jmp_buf recover;                       /* where a panic in a stackless poll goes */
    char panic_text[256];                  /* … and what it said */
    weft_task *pinned_first, *pinned_last; /* pinned tasks that are ready, linked by next */
    weft_task *lent;                       /* to be polled next, for the lender */
    unsigned lends;                        /* in a row */
    wf_header_cache headers;
    wf_stack_cache stacks;
    uint64_t next_id, last_id; /* the block of ids it hands out */
    wf_segv_thread segv;
    pthread_t thread;

    /* The owner's: what it has given back to the system, see tidy.c. */
    bool tidy;             /* all that was not needed … */
    uint64_t tidied_polls; /* … when it had made so many polls */
    int64_t tidy_at;       /* when to do so again */

    /* For people. The owner writes, anybody reads; who turns the reactor of a stuck one writes the time into its tracks. */
    wf_a64 track, track_running; /* what it writes into tasks: see track.h */
    wf_aptr polling; /* the task that it polls, or has polled since it last looked around: not to be looked into */
    wf_measured *measured; /* or NULL */
    wf_aint thread_id;     /* the system's, of the thread that it is; 0: none */
    wf_ai64 awake_since;   /* wf_now() when it last awoke, … */
    wf_ai64 slept_since;   /* … and when it fell asleep; 0: it is awake */
    wf_a64 busy;           /* ns awake, up to the last sleep */
    wf_a64 idle;           /* ns asleep, up to the last time it was awake */
    wf_a64 aborted, panicked, failed, spills, mailed, wakes_sent, wakes_saved;

    /* The owner writes, anybody reads. */
    wf_a64 spawned, completed, polls, steals, parks, rescues;
    wf_a64 quiet_at, rested_at; /* with the paused clock: see paused.c */

    /* The same, but all the others do read it, again and again: on a line of its own. */
    alignas(WF_CACHE_LINE) wf_ai64 seen_at; /* wf_now() when it last looked around or woke up: long ago, and a task holds it */

    /* Anybody, by their own rules. */
    alignas(WF_CACHE_LINE) wf_aptr lender; /* a task that waits for the lent one's poll, then goes on; whoever exchanges it to NULL polls it */
    wf_deque fresh;
    wf_ring woken;
    wf_mailbox pinned_mail; /* pinned tasks woken elsewhere */
    wf_reactor reactor;
    wf_timers timers;
} wf_worker;

/* The worker whose thread this is, also inside the tasks it polls; NULL on other threads. Changes whenever a strand waits. */
static inline wf_worker *wf_worker_current(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec ? exec->worker : NULL;
}

/* What its timers and tasks go by, when the real time is @now. */
int64_t wf_worker_time(const wf_worker *w, int64_t now);

/* Returns 0, or a negative code with nothing left behind. */
int wf_worker_open(wf_worker *w, weft_runtime *rt, unsigned index);
/* After its thread has left. Returns what closing the loop said. */
int wf_worker_close(wf_worker *w);

/* Become this worker: the calling thread polls until @until(@arg) or the runtime stops. */
void wf_worker_enter(wf_worker *w);
void wf_worker_run(wf_worker *w, bool (*until)(void *arg), void *arg);
void wf_worker_leave(wf_worker *w);
/* The loop has an end, and that has come. Looked at after the worker has said that it sleeps, so that no end is missed. */
bool wf_worker_is_leaving(wf_worker *w);

/* idle.c: there is more work in its queues. Wakes somebody to help unless the owner will soon have done it. Cheap and not certain: see there. */
void wf_idle_notify_backlog(wf_worker *w);

/* Queue a task that was never polled. @w: the calling thread's worker if it is of the task's runtime, else NULL: then the caller is counted as an
 * entrant. */
void wf_schedule_fresh_slow(wf_worker *w, weft_task *task);
static inline void wf_schedule_fresh(wf_worker *w, weft_task *task)
{
    if (wf_unlikely(!w) || wf_unlikely(wf_task_is(task, WF_TASK_PINNED | WF_TASK_WATCHED)) ||
        wf_unlikely(!wf_deque_push(&w->fresh, task)))
        wf_schedule_fresh_slow(w, task);
    else if (!w->alone)
        wf_idle_notify_backlog(w);
}

/* See wf_strand_lend(). True: @task is out of the queue, to be polled next; the strand must leave now. */
bool wf_worker_may_lend(wf_exec *exec, weft_task *task);

/* Give memory that is not needed any more back to the system: see tidy.c. By the worker, when w->tidy_at has come. */
void wf_worker_tidy(wf_worker *w, int64_t now);
/* When it must be awake for that; WEFT_FOREVER: not on that account. */
int64_t wf_worker_tidy_next(const wf_worker *w);

/* @w begins to poll @task. */
static inline void wf_task_polled(wf_worker *w, weft_task *task)
{
    wf_count(&w->polls, 1);
    wf_note(&w->polling, task);
    wf_note(&task->track, wf_noted(&w->track_running));
}

/* The time has gone on. Any thread, for a worker that is alive. */
void wf_worker_note_time(wf_worker *w, int64_t now);
void wf_worker_note_awake(wf_worker *w, int64_t now);
void wf_worker_note_asleep(wf_worker *w, int64_t now);
/* @task is about to be queued; it stays pinned where it is. @w: the calling thread's, or NULL. */
void wf_worker_note_queued(wf_worker *w, weft_task *task);

/* Queue a task that has just been polled and wants more. */
void wf_schedule_again(wf_worker *w, weft_task *task);

#endif
