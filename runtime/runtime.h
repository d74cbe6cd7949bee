/* runtime.h - what the workers of one runtime share. */
#ifndef WF_RUNTIME_H
#define WF_RUNTIME_H

#include <base/list.h>
#include <reactor/source.h>
#include <runtime/worker.h>
#include <signal.h>
#include <weft/runtime.h>

enum { WF_MAX_WORKERS = 256, WF_DEFAULT_STACK = 256 * 1024 };

typedef enum {
    WF_RUNNING,
    WF_CLOSING,   /* everything is being cancelled; nothing new is spawned */
    WF_STOPPED,   /* the workers leave */
    WF_ABANDONED, /* tasks would not end: no new polls, the memory is kept */
    WF_FORKED,    /* a child's copy: dead */
} wf_phase;

/* Something with a thread of its own that lives as long as the runtime (signals …). Made on first use. */
typedef struct wf_service {
    void (*stop)(struct wf_service *self); /* end it, join its thread, free it */
    struct wf_service *next;
} wf_service;

/* Live tasks in callers' memory, which no walk over headers meets: see registry.h. */
typedef struct wf_shelf {
    alignas(WF_CACHE_LINE) wf_mutex lock;
    wf_list tasks; /* under lock */
} wf_shelf;

enum { WF_SHELVES = 16 };

/* What is written all the time is on lines of its own, by who writes it: a worker that only reads the rest, on each spawn and each wake, keeps that
 * in its cache. */
struct weft_runtime {
    /* Constant after creation. */
    weft_options options;
    char name[32];
    unsigned count;
    bool cpu_each;    /* there is more than one CPU, and one for each worker */
    bool caller_runs; /* no thread of its own for worker 0 */
    uint8_t watched;  /* flags of all its tasks: WF_TASK_WATCHED, WF_TASK_MEASURED */
    bool sampled;     /* its workers may be interrupted, to see where they are: see sampled.h */
    int64_t born_at;  /* wf_now() */
    wf_worker **workers;
    wf_heap *heap;
    const wf_ai64 *clock; /* &paused_now, or NULL: the real time */
    wf_rng *chance;       /* &choices with one worker and a seed, or NULL */

    wf_a32 phase; /* wf_phase; changed by shutdown only */

    alignas(WF_CACHE_LINE) wf_inject inject;

    /* Idle workers: see idle.c. Written when one falls asleep, searches or wakes; read by each push of a backlog. */
    alignas(WF_CACHE_LINE) wf_a32 searchers; /* workers that look for work, at most half of them */
    wf_a64 parked[WF_MAX_WORKERS / 64];      /* bit i: worker i sleeps, or is about to */

    alignas(WF_CACHE_LINE) wf_ai64 active_at; /* when a worker last had something to do, not much older than that */
    wf_ai64 paused_now;                       /* the virtual time: see paused.c */
    wf_rng choices;                           /* the only worker's, while it polls */
    wf_a32 pauses_off;                        /* jobs in flight that forbid it to jump */

    alignas(WF_CACHE_LINE) wf_a32 entrants; /* threads from outside between "counted" and their last touch */
    wf_a32 lookers;                         /* who reads it for people: it is not freed meanwhile, but may end */
    wf_a64 foreign_spawned;                 /* tasks spawned from outside */
    wf_a64 foreign_completed;               /* … and that ended there: blocking ones, … */
    wf_a64 foreign_aborted, foreign_panicked, foreign_failed; /* … of which so many so */
    wf_a64 wakes_saved; /* times that work was published while somebody looked for it already */
    wf_a64 peak;        /* most tasks at once that a reading came upon */

    wf_shelf shelves[WF_SHELVES];

    alignas(WF_CACHE_LINE) wf_sources sources;
    wf_mutex lock;
    wf_service *services; /* under lock */
    wf_aptr pool;     /* of the services, the one that is asked for most: see pool.c. NULL: nobody has needed it yet */
    bool finished;    /* under lock: shutdown is over, the runtime may be freed */
    bool driven;      /* under lock: a thread is worker 0 (caller_runs) */
    unsigned awaited; /* under lock: threads in weft_block_on() whose root has not ended */
    wf_a32 driver_ignored; /* who is worker 0 is one that is ignored: written before it is that */
    unsigned threads;      /* running worker threads; written by who creates and joins them */
    pthread_cond_t ended;  /* under lock: a task ended during shutdown */
    wf_a32 handed_out;     /* a worker's loop was: nobody knows what else goes on in it */
    wf_a64 ended_before;   /* tasks that had ended when shutdown began */
    wf_node all;           /* in the process's list of runtimes */
};

/* ---- idle.c -------------------------------------------------------------------------------------------------- */

/* Work was published: wake one sleeper to look for it, unless somebody looks already. */
void wf_idle_notify(weft_runtime *rt);
/* A worker had something to do. All of them say so all the time, and seconds are what counts: so not each of them is written. */
static inline void wf_idle_note_activity(weft_runtime *rt, int64_t now)
{
    enum { FINE = 20 * 1000 * 1000 };
    if (now - wf_load_rlx(&rt->active_at) >= FINE)
        wf_store_rlx(&rt->active_at, now);
}
/* Nothing to do anywhere: sleep until there is. */
void wf_idle_park(wf_worker *w);
/* May this worker join the searchers? */
bool wf_idle_search_begin(wf_worker *w);
/* @found: it has found something. The last searcher wakes another, in case there is more. */
void wf_idle_search_end(wf_worker *w, bool found);
/* Turn the reactors of workers that have not for 2 ms because a task holds them. */
void wf_idle_rescue(wf_worker *w, int64_t now);
/* It has not turned its reactor for a while, and does not sleep either. */
bool wf_idle_is_stuck(wf_worker *victim, int64_t now);
bool wf_idle_may_steal(wf_worker *victim, int64_t now);
/* Ring everybody. */
void wf_idle_wake_all(weft_runtime *rt);

/* ---- paused.c ------------------------------------------------------------------------------------------------ */

/* The virtual time at which a paused clock begins. */
void wf_paused_clock_init(weft_runtime *rt);
/* This worker has said that it sleeps, and has nothing to do: if that holds for all, the clock jumps. True: look again, do not sleep. */
bool wf_paused_clock_jumps(wf_worker *w);
/* Something is done outside of the workers: until it is released the clock stands. Any thread; nothing if it is not paused. */
void wf_paused_clock_hold(weft_runtime *rt);
void wf_paused_clock_release(weft_runtime *rt);

/* ---- runtime.c, shutdown.c ----------------------------------------------------------------------------------- */

/* seq_cst: outsiders announce themselves and then look at it; shutdown changes it and then looks for the announced. */
static inline wf_phase wf_runtime_phase(weft_runtime *rt) { return (wf_phase)wf_load_seq(&rt->phase); }

/* Who looks from outside, for people, keeps it from being freed. False: it is a forked child's copy, which nobody may look at. */
bool wf_runtime_look_begin(weft_runtime *rt);
void wf_runtime_look_end(weft_runtime *rt);

/* spawned - completed, never less than there are. */
uint64_t wf_runtime_active(weft_runtime *rt, uint64_t *spawned, uint64_t *completed);

/* A task has ended while the runtime is closing. */
void wf_runtime_task_ended(weft_runtime *rt);

/* Cancel all, wait, stop: see shutdown.c. @driving: the caller is the one who drives worker 0. Of several callers one does it,
 * the others wait for him. */
int wf_runtime_shut(weft_runtime *rt, int64_t grace, bool driving);

/* Those of the process, under a lock of runtime.c. Elsewhere for layout.c only. */
extern wf_list wf_all_runtimes;

/* Become, or cease to be, the one thread that may be worker 0 of a runtime without a thread for it. */
bool wf_runtime_claim_drive(weft_runtime *rt);
void wf_runtime_release_drive(weft_runtime *rt);

/* Be worker 0 while @fn(@arg) runs. */
void wf_runtime_drive(weft_runtime *rt, void (*fn)(void *arg), void *arg);

void wf_runtime_join_threads(weft_runtime *rt);

/* For threads of ours that are about to be made: no asynchronous signal lands on them. */
void wf_signals_block(sigset_t *before);

/* Stop the threads and give everything back. */
void wf_runtime_free(weft_runtime *rt);

/* A block of fresh task ids. */
uint64_t wf_ids_take(uint64_t n);

/* Where an operation of @exec arms a source of @rt: this worker's reactor if it is one of @rt's, else any. */
wf_reactor *wf_reactor_here(weft_runtime *rt, const wf_exec *exec);

/* @task: its name, or "". The first is for one line, the second for a text of any length. */
void wf_log(weft_runtime *rt, weft_log_level level, const char *task, const char *fmt, ...) WEFT_PRINTF(4, 5);
void wf_log_text(weft_runtime *rt, weft_log_level level, const char *task, const char *text);
/* Control characters become "?": it breaks no lines, and does not speak to a terminal. */
void wf_one_line(char *text);

/* The service made by @create if @slot is still empty. Created under the runtime's lock; NULL: out of memory or shutting down. */
wf_service *wf_runtime_service(weft_runtime *rt, wf_service *(*create)(weft_runtime *rt, int *err),
                               void (*stop)(wf_service *), int *err);

#endif
