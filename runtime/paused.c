/* paused.c - the paused clock: virtual time that stands still while anything can run, and jumps when nothing can.
 *
 * Who decides is the last worker to go to sleep. Nothing can run when every worker sleeps, no job is in flight that will wake a task,
 * and no queue or reactor holds anything. A reactor cannot be asked by another worker while its owner sleeps in it; so each worker,
 * before it sleeps, asks its own and notes what had happened by then. All sleeping, all with the present number: quiet. One whose
 * note is old is rung; it asks again, sleeps again, and may then be the last itself.
 *
 * What happens is polls, and they count twice: when one begins, and when its worker rests. In between it may still fill a reactor
 * that has just been asked.
 *
 * Repeatable with one worker. What comes from outside (other threads, other processes) comes when it comes. */
#include <base/clock.h>
#include <runtime/runtime.h>
#include <sched.h>

void wf_paused_clock_init(weft_runtime *rt)
{
    wf_store_rlx(&rt->paused_now, 1000 * WEFT_SEC); /* a whole tick, so that whole milliseconds stay whole */
    rt->clock = &rt->paused_now;
}

int64_t wf_worker_time(const wf_worker *w, int64_t now) { return w->rt->clock ? wf_load_rlx(w->rt->clock) : now; }

/* ---- is everything quiet? ------------------------------------------------------------------------------------ */

/* What a worker has done: polls, and ends, for what is aborted before it starts ends without one. */
static uint64_t deeds(wf_worker *w) { return wf_load_acq(&w->polls) + wf_load_acq(&w->completed); }

/* Equal twice: no task was polled in between, and none was in the middle of it. */
static uint64_t happenings(weft_runtime *rt)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < rt->count; i++)
        n += deeds(rt->workers[i]) + wf_load_acq(&rt->workers[i]->rested_at);
    return n;
}

static bool has_work(wf_worker *w)
{
    return wf_deque_len(&w->fresh) + wf_ring_len(&w->woken) > 0 || w->pinned_first || !wf_mailbox_empty(&w->pinned_mail);
}

static bool is_due(wf_worker *w, int64_t now)
{
    int64_t next = wf_timers_next(&w->timers);
    return next <= now && next != WEFT_FOREVER;
}

/* Its own reactor has nothing for it. */
static bool is_quiet(wf_worker *w)
{
    wf_store_rel(&w->rested_at, deeds(w)); /* release: who sees it, sees in its reactor what those polls sent there */
    uint64_t before = happenings(w->rt);
    wf_timers_tidy(&w->timers);
    bool turned = wf_reactor_turn_all(&w->reactor, wf_now(), wf_ring_room(&w->woken));
    if (!turned || has_work(w))
        return false;
    wf_store_rel(&w->quiet_at, before);
    return true;
}

/* True if all others sleep, and have been quiet since the last poll. Rings one that has not asked since. */
static bool all_quiet(wf_worker *self, uint64_t now)
{
    weft_runtime *rt = self->rt;
    if (wf_load_seq(&rt->pauses_off) > 0 || wf_inject_len(&rt->inject) > 0)
        return false;
    for (unsigned i = 0; i < rt->count; i++) {
        wf_worker *w = rt->workers[i];
        if (!wf_reactor_is_parked(&w->reactor))
            return false; /* it comes here itself */
        if (wf_load_acq(&w->quiet_at) != now || !wf_mailbox_empty(&w->pinned_mail)) {
            wf_reactor_ring(&w->reactor, WF_RUNG);
            return false;
        }
    }
    return happenings(rt) == now;
}

/* ---- jumping ------------------------------------------------------------------------------------------------- */

/* Wake the workers whose timers are due; true if @self is one of them. */
static bool wake_the_due(weft_runtime *rt, const wf_worker *self, int64_t now)
{
    bool mine = false;
    for (unsigned i = 0; i < rt->count; i++) {
        wf_worker *w = rt->workers[i];
        if (!is_due(w, now))
            continue;
        if (w == self)
            mine = true;
        else
            wf_reactor_ring(&w->reactor, WF_RUNG);
    }
    return mine;
}

static int64_t next_deadline(weft_runtime *rt)
{
    int64_t next = WEFT_FOREVER;
    for (unsigned i = 0; i < rt->count; i++)
        next = WF_MIN(next, wf_timers_next(&rt->workers[i]->timers));
    return next;
}

bool wf_paused_clock_jumps(wf_worker *w)
{
    weft_runtime *rt = w->rt;
    int64_t now = wf_load_seq(&rt->paused_now);
    if (is_due(w, now) || !is_quiet(w)) /* due: advanced before this worker said that it sleeps, so nobody rang */
        return true;
    if (wf_load_seq(&rt->entrants) > 0) { /* a thread on its way out rings nobody as it goes, but is gone soon */
        sched_yield();
        return true;
    }
    if (!all_quiet(w, wf_load_rlx(&w->quiet_at)))
        return false;
    int64_t next = next_deadline(rt);
    if (next == WEFT_FOREVER)
        return false;
    if (next > now && !wf_cas_strong_seq(&rt->paused_now, &now, next))
        return true; /* another was the last as well */
    return wake_the_due(rt, w, WF_MAX(next, now));
}

/* ---- from outside -------------------------------------------------------------------------------------------- */

void wf_paused_clock_hold(weft_runtime *rt)
{
    if (rt->clock)
        wf_add_seq(&rt->pauses_off, 1);
}

/* What it wakes has been woken. Somebody must find out that nothing is in flight any more. */
void wf_paused_clock_release(weft_runtime *rt)
{
    if (rt->clock && wf_sub_seq(&rt->pauses_off, 1) == 1)
        wf_idle_wake_all(rt);
}

int weft_clock_advance(int64_t ns)
{
    wf_exec *exec = wf_exec_peek();
    weft_runtime *rt = exec ? exec->rt : NULL;
    if (!rt)
        return WEFT_ENORUNTIME;
    if (!rt->clock || ns < 0)
        return WEFT_EINVAL;
    int64_t now = wf_load_seq(&rt->paused_now), then;
    do
        then = wf_add_saturating(now, ns);
    while (!wf_cas_strong_seq(&rt->paused_now, &now, then));
    if (wake_the_due(rt, exec->worker, then))
        wf_timers_expire(&exec->worker->timers, then);
    return 0;
}
