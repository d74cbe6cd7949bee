/* shutdown.c - the end of a runtime.
 *
 *   1. the phase becomes CLOSING: nothing new is spawned
 *   2. every live task is aborted; again every RECHECK, for those that were being born
 *   3. wait until every task has ended, driving worker 0 if it has no thread of its own
 *   4a. in time: the phase becomes STOPPED, the workers leave, their threads are joined;
 *       wf_runtime_free() then stops the services, closes sockets that are left, closes the loops, frees the memory
 *   4b. the grace is over: the phase becomes ABANDONED. Workers and the pool's threads leave when their task or job lets them; what
 *       would not end is named in the log; the memory is kept, because those tasks still use it */
#include <base/clock.h>
#include <runtime/registry.h>
#include <time.h>

enum { RECHECK = 10 * 1000 * 1000, MOST_NAMED = 20 };

/* ---- aborting everything ------------------------------------------------------------------------------------- */

static void abort_one(weft_task *task, void *arg)
{
    (void)arg;
    if (wf_state_abort_if_alive(&task->state) == WF_WAKE_ENQUEUE)
        wf_schedule_woken(task);
}

static void abort_all(weft_runtime *rt) { wf_registry_walk(rt, abort_one, NULL); }

/* ---- waiting ------------------------------------------------------------------------------------------------- */

typedef struct closing {
    weft_runtime *rt;
    int64_t deadline, next_check;
} closing;

/* Entrants first: with none of them about, whoever was being born has been counted. */
static bool all_ended(weft_runtime *rt)
{
    return wf_load_seq(&rt->entrants) == 0 && wf_runtime_active(rt, NULL, NULL) == 0;
}

static bool ended_or_late(void *arg)
{
    closing *c = arg;
    int64_t now = wf_now();
    if (all_ended(c->rt) || now >= c->deadline)
        return true;
    if (now >= c->next_check) {
        abort_all(c->rt);
        c->next_check = now + RECHECK;
    }
    return false;
}

static void drive(void *arg)
{
    closing *c = arg;
    wf_worker_run(c->rt->workers[0], ended_or_late, c); /* a worker of a closing runtime sleeps for a few milliseconds only */
}

/* Driven by whoever is worker 0 now; if nobody is, by this thread. */
static void watch(closing *c)
{
    while (!ended_or_late(c)) {
        if (c->rt->caller_runs && wf_runtime_claim_drive(c->rt)) {
            wf_runtime_drive(c->rt, drive, c);
            wf_runtime_release_drive(c->rt);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += RECHECK;
        until.tv_sec += until.tv_nsec / WEFT_SEC;
        until.tv_nsec %= WEFT_SEC;
        wf_mutex_lock(&c->rt->lock);
        if (!all_ended(c->rt))
            pthread_cond_timedwait(&c->rt->ended, &c->rt->lock.m, &until);
        wf_mutex_unlock(&c->rt->lock);
    }
}

void wf_runtime_task_ended(weft_runtime *rt)
{
    if (rt->caller_runs)
        wf_reactor_ring(&rt->workers[0]->reactor, WF_RUNG);
    wf_mutex_lock(&rt->lock);
    pthread_cond_broadcast(&rt->ended);
    wf_mutex_unlock(&rt->lock);
}

/* ---- the two ends -------------------------------------------------------------------------------------------- */

static void stop_threads(weft_runtime *rt)
{
    wf_swap_seq(&rt->phase, WF_STOPPED);
    wf_idle_wake_all(rt);
    wf_runtime_join_threads(rt);
}

typedef struct naming {
    weft_runtime *rt;
    unsigned named;
} naming;

/* Its header may be given up, and even be with the system, at any line of this. */
static void name_one(weft_task *task, void *arg)
{
    naming *n = arg;
    uint64_t word = wf_load_acq(&task->state);
    if (wf_state_refs(word) == 0 || word & WF_S_DONE || n->named++ >= MOST_NAMED)
        return;
    char name[64];
    wf_task_copy_label(task, name, sizeof name);
    wf_log(n->rt, WEFT_LOG_ERROR, name, "shutdown: task \"%s\" (#%llu) would not stop: %s", name,
           (unsigned long long)wf_noted(&task->id), weft_task_state_name(weft_task_state(task)));
}

static void abandon(weft_runtime *rt)
{
    naming names = {.rt = rt};
    wf_swap_seq(&rt->phase, WF_ABANDONED);
    wf_idle_wake_all(rt);
    wf_pool_abandon(rt);
    wf_registry_walk(rt, name_one, &names);
    wf_log(rt, WEFT_LOG_ERROR, "", "shutdown: abandoned with %llu tasks that would not stop",
           (unsigned long long)wf_runtime_active(rt, NULL, NULL));
}

/* Of several who shut down the first does it. */
static bool begin_closing(weft_runtime *rt)
{
    uint32_t phase = WF_RUNNING;
    return wf_cas_strong_seq(&rt->phase, &phase, WF_CLOSING);
}

static void run_worker(void *worker) { wf_worker_run(worker, NULL, NULL); }

/* Another thread is at it, or has been. If this one is worker 0, that one needs it. */
static int follow(weft_runtime *rt, bool driving)
{
    if (wf_runtime_phase(rt) == WF_FORKED)
        return WEFT_ENOTSUP;
    if (driving)
        wf_runtime_drive(rt, run_worker, rt->workers[0]);
    wf_mutex_lock(&rt->lock);
    while (!rt->finished)
        pthread_cond_wait(&rt->ended, &rt->lock.m);
    wf_mutex_unlock(&rt->lock);
    return wf_runtime_phase(rt) == WF_ABANDONED ? WEFT_ETIMEDOUT : 0;
}

static void finish(weft_runtime *rt)
{
    wf_mutex_lock(&rt->lock);
    rt->finished = true;
    pthread_cond_broadcast(&rt->ended);
    wf_mutex_unlock(&rt->lock);
}

int wf_runtime_shut(weft_runtime *rt, int64_t grace, bool driving)
{
    if (!begin_closing(rt))
        return follow(rt, driving);
    closing c = {.rt = rt, .deadline = wf_add_saturating(wf_now(), grace)};
    if (driving)
        wf_runtime_drive(rt, drive, &c);
    else
        watch(&c);
    bool in_time = all_ended(rt);
    if (in_time)
        stop_threads(rt);
    else
        abandon(rt);
    finish(rt);
    return in_time ? 0 : WEFT_ETIMEDOUT;
}
