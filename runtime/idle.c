/* idle.c - which workers sleep, who wakes them, and who looks after those that are stuck.
 *
 * No wake is lost (d23): who publishes work does so with a full barrier and then looks whether somebody looks for work or sleeps; who goes to sleep
 * says so with a full barrier and then looks at every queue once more. Pushes to a worker's own queue look without the barrier;
 * what they miss is found within TICK, because sleepers sleep lightly: for a second after the last activity anywhere they wake
 * every TICK and look after stuck workers. After that they sleep deeply, and the first to wake from that rings another.
 *
 * Before it sleeps, a worker that is likely to be rung at once watches for that: see patience.h. One at a time, and only if each has a CPU.
 *
 * At most half of the workers search at a time, and a searcher that finds something wakes the next: so a burst wakes workers one
 * after the other as long as there is work, and never a crowd. */
#include <base/clock.h>
#include <base/cpus.h>
#include <runtime/runtime.h>
#include <runtime/watch.h>

enum { TICK = 5 * 1000 * 1000, STUCK = 2 * 1000 * 1000 };

/* ---- who sleeps ---------------------------------------------------------------------------------------------- */

static void set_parked(wf_worker *w, bool parked)
{
    wf_a64 *word = &w->rt->parked[w->index / 64];
    uint64_t bit = UINT64_C(1) << w->index % 64;
    if (parked)
        wf_add_seq(word, bit); /* only its owner sets and clears a bit, in turn: addition is "or" */
    else
        wf_sub_seq(word, bit);
}

/* Call @fn for the workers that say that they sleep, until it returns true. */
static bool any_sleeper(weft_runtime *rt, bool (*fn)(wf_worker *sleeper, uint32_t ring), uint32_t ring)
{
    for (unsigned i = 0; i < (rt->count + 63) / 64; i++)
        for (uint64_t bits = wf_load_seq(&rt->parked[i]); bits; bits &= bits - 1)
            if (fn(rt->workers[i * 64 + (unsigned)__builtin_ctzll(bits)], ring))
                return true;
    return false;
}

static bool ring(wf_worker *sleeper, uint32_t how) { return wf_reactor_ring(&sleeper->reactor, how); }

static bool still_sleeps(wf_worker *sleeper, uint32_t unused)
{
    (void)unused;
    return wf_reactor_is_parked(&sleeper->reactor);
}

static unsigned count_awake(weft_runtime *rt)
{
    unsigned asleep = 0;
    for (unsigned i = 0; i < (rt->count + 63) / 64; i++)
        asleep += (unsigned)__builtin_popcountll(wf_load_rlx(&rt->parked[i]));
    return rt->count - WF_MIN(asleep, rt->count);
}

static bool somebody_parked_rlx(weft_runtime *rt)
{
    for (unsigned i = 0; i < (rt->count + 63) / 64; i++)
        if (wf_load_rlx(&rt->parked[i]))
            return true;
    return false;
}

/* ---- waking -------------------------------------------------------------------------------------------------- */

/* The searcher is counted before it is found, so that only one is woken. Another who published work meanwhile has relied on that
 * count: when nobody was there to be woken, look once more for one that has gone to sleep since. */
void wf_idle_notify(weft_runtime *rt)
{
    do {
        uint32_t none = 0;
        if (wf_load_seq(&rt->searchers) != 0) {
            wf_add_rlx(&rt->wakes_saved, 1);
            return; /* that one looks at everything again before it sleeps */
        }
        if (!wf_cas_strong_seq(&rt->searchers, &none, 1))
            return;
        if (any_sleeper(rt, ring, WF_RUNG_TO_SEARCH))
            return;
        wf_sub_seq(&rt->searchers, 1);
    } while (any_sleeper(rt, still_sleeps, 0));
}

void wf_idle_notify_backlog(wf_worker *w)
{
    weft_runtime *rt = w->rt;
    if (wf_deque_len(&w->fresh) + wf_ring_len(&w->woken) < 2)
        return; /* its owner is about to take it */
    if (wf_load_rlx(&rt->searchers) == 0 && somebody_parked_rlx(rt))
        wf_idle_notify(rt);
}

void wf_idle_wake_all(weft_runtime *rt)
{
    for (unsigned i = 0; i < rt->count; i++)
        wf_reactor_ring(&rt->workers[i]->reactor, WF_RUNG);
}

/* ---- searching ----------------------------------------------------------------------------------------------- */

bool wf_idle_search_begin(wf_worker *w)
{
    if (w->searching)
        return true;
    uint32_t n = wf_load_rlx(&w->rt->searchers);
    if (2 * (n + 1) > w->rt->count + 1)
        return false;
    wf_add_seq(&w->rt->searchers, 1);
    w->searching = true;
    return true;
}

void wf_idle_search_end(wf_worker *w, bool found)
{
    w->searching = false;
    if (wf_sub_seq(&w->rt->searchers, 1) == 1 && found)
        wf_idle_notify(w->rt);
}

/* ---- stuck neighbours (d38) ---------------------------------------------------------------------------------- */

bool wf_idle_is_stuck(wf_worker *victim, int64_t now)
{
    return now - wf_load_rlx(&victim->seen_at) >= STUCK && !wf_reactor_is_parked(&victim->reactor);
}

static void rescue(wf_worker *w, wf_worker *stuck, int64_t now)
{
    if (!wf_idle_is_stuck(stuck, now) || now - wf_load_rlx(&stuck->reactor.last_turn) < STUCK)
        return; /* another rescuer has just been here */
    wf_worker_note_time(stuck, now);
    if (!wf_reactor_turn(&stuck->reactor, now, wf_ring_room(&w->woken)))
        return;
    wf_timers_expire(&stuck->timers, wf_worker_time(stuck, now));
    wf_count(&w->rescues, 1);
}

/* Each looks at all the others, which is a line fetched for each: often enough for those that are stuck, and no more. */
void wf_idle_rescue(wf_worker *w, int64_t now)
{
    if (now - w->cared_at < STUCK / 4)
        return;
    w->cared_at = now;
    for (unsigned i = 0; i < w->rt->count; i++)
        if (w->rt->workers[i] != w)
            rescue(w, w->rt->workers[i], now);
}

/* ---- sleeping ------------------------------------------------------------------------------------------------ */

/* What thieves take: a backlog, or anything of a worker that is stuck. One task is its owner's next. */
bool wf_idle_may_steal(wf_worker *victim, int64_t now)
{
    int64_t n = wf_ring_len(&victim->woken) + wf_deque_len(&victim->fresh) + (wf_load_rlx(&victim->lender) != NULL);
    return n > 1 || (n == 1 && wf_idle_is_stuck(victim, now));
}

/* Anything that this worker could take? Called after it has said that it sleeps. */
static bool work_in_sight(wf_worker *w, int64_t now)
{
    weft_runtime *rt = w->rt;
    if (!wf_mailbox_empty(&w->pinned_mail) || wf_inject_len(&rt->inject) > 0 || wf_worker_is_leaving(w))
        return true;
    for (unsigned i = 0; i < rt->count; i++)
        if (rt->workers[i] != w && wf_idle_may_steal(rt->workers[i], now))
            return true;
    return false;
}

/* The first to wake from deep sleep: somebody must sleep lightly while there is work. */
static void rouse_another(wf_worker *w)
{
    int64_t now = wf_now();
    if (now - wf_load_rlx(&w->rt->active_at) < WEFT_SEC)
        return; /* another was first */
    wf_store_rlx(&w->rt->active_at, now);
    any_sleeper(w->rt, ring, WF_RUNG);
}

static bool another_watches(const wf_worker *w)
{
    for (unsigned i = 0; i < w->rt->count; i++)
        if (w->rt->workers[i] != w && wf_reactor_is_watching(&w->rt->workers[i]->reactor))
            return true;
    return false;
}

/* True if it was rung in time. */
static bool watch(wf_worker *w)
{
    uint64_t patience = wf_patience_now(&w->patience);
    return patience > 0 && !another_watches(w) && wf_reactor_watch(&w->reactor, patience);
}

/* How long after @since it was rung in its sleep, if at all. Who rings from @cpu, the sleeper's own, could not have while that watched. */
static uint64_t waited_for_ring(wf_worker *w, uint64_t since, int cpu)
{
    if (wf_reactor_is_parked(&w->reactor) || wf_load_rlx(&w->reactor.rung_from) == cpu)
        return WF_PATIENCE_NOT_RUNG;
    int64_t waited = (int64_t)(wf_load_rlx(&w->reactor.rung_at) - since); /* on another CPU's counter */
    return waited < 0 ? 0 : (uint64_t)waited;
}

/* Lightly while somebody works, or has a moment ago, or there is memory to give back; deeply when all have slept for a while. */
static void sleep_until_woken(wf_worker *w, int64_t now)
{
    weft_runtime *rt = w->rt;
    int64_t tidy = wf_worker_tidy_next(w), until = rt->clock ? WEFT_FOREVER : WF_MIN(wf_timers_next(&w->timers), tidy);
    bool active = count_awake(rt) > 0 || now - wf_load_rlx(&rt->active_at) < WEFT_SEC;
    bool light = !w->alone && (active || tidy != WEFT_FOREVER);
    light = light || wf_load_rlx(&rt->phase) != WF_RUNNING; /* shutdown looks after it every so often */
    wf_count(&w->parks, 1);
    wf_reactor_park(&w->reactor, light ? WF_MIN(until, now + TICK) : until);
    if (!light && !w->alone)
        rouse_another(w);
}

static void wait_until_woken(wf_worker *w, int64_t now)
{
    uint64_t since = wf_cycles();
    int cpu = wf_cpu_here();
    if (watch(w)) {
        wf_patience_learn(&w->patience, wf_cycles() - since);
        wf_count(&w->wakes_saved, 1);
        return;
    }
    sleep_until_woken(w, now);
    if (!wf_reactor_is_parked(&w->reactor))
        wf_count(&w->wakes_sent, 1);
    wf_patience_learn(&w->patience, waited_for_ring(w, since, cpu));
}

/* Told to those who watch. Returns wf_now(). */
static int64_t pass_time(wf_worker *w, int64_t now)
{
    WF_PROBE1(park, w->index);
    if (wf_unlikely(w->born_flags))
        wf_watch_park(w);
    wf_worker_note_asleep(w, now);
    wait_until_woken(w, now);
    now = wf_now();
    wf_worker_note_awake(w, now);
    WF_PROBE1(unpark, w->index);
    if (wf_unlikely(w->born_flags))
        wf_watch_unpark(w);
    return now;
}

void wf_idle_park(wf_worker *w)
{
    int64_t now = wf_now();
    wf_reactor_park_begin(&w->reactor);
    set_parked(w, true);
    if (w->searching)
        wf_idle_search_end(w, false);
    if (!work_in_sight(w, now) && !(w->rt->clock && wf_paused_clock_jumps(w)))
        now = pass_time(w, now);
    set_parked(w, false);
    if (wf_reactor_park_end(&w->reactor) == WF_RUNG_TO_SEARCH)
        w->searching = true;
    wf_store_rlx(&w->seen_at, now);
    wf_worker_note_time(w, now);
    wf_timers_expire(&w->timers, wf_worker_time(w, now));
    if (!w->alone)
        wf_idle_rescue(w, now);
}
