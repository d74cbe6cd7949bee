/* metrics.c - counters, read without stopping anybody.
 *
 * Each counter has one writer, or is added to; nothing makes them change together. What must hold between two of them in every reading (d29) is kept by
 * the order in which they are read: first what is counted last. Whoever ends a task counts it as completed, then how it ended; its birth was counted long
 * before. So: how they ended, then completed, then spawned. */
#include <base/clock.h>
#include <diag/metrics.h>
#include <runtime/registry.h>
#include <string.h>
#include <weft/diag.h>

/* Make @most at least @to. Returns what it is then. */
static uint64_t raise_to(wf_a64 *most, uint64_t to)
{
    uint64_t was = wf_load_rlx(most);
    while (was < to)
        if (wf_cas_rlx(most, &was, to))
            return to;
    return was;
}

/* ---- tasks --------------------------------------------------------------------------------------------------- */

static void read_ends(weft_runtime *rt, weft_metrics_t *out)
{
    out->aborted = wf_load_acq(&rt->foreign_aborted);
    out->panicked = wf_load_acq(&rt->foreign_panicked);
    out->failed = wf_load_acq(&rt->foreign_failed);
    for (unsigned i = 0; i < rt->count; i++) {
        out->aborted += wf_load_acq(&rt->workers[i]->aborted);
        out->panicked += wf_load_acq(&rt->workers[i]->panicked);
        out->failed += wf_load_acq(&rt->workers[i]->failed);
    }
}

/* Those that are born between the two sums count as active, also if they have ended by then. If none has ended until the next reading there are none of
 * these: so read again, a few times, for the sake of the peak. */
static void read_tasks(weft_runtime *rt, weft_metrics_t *out)
{
    enum { TRIES = 8 };
    uint64_t spawned, completed;
    read_ends(rt, out);
    out->active = wf_runtime_active(rt, &out->spawned, &out->completed);
    for (int i = 0; i < TRIES; i++) {
        uint64_t active = wf_runtime_active(rt, &spawned, &completed);
        if (completed == out->completed)
            break;
        out->active = active;
        out->spawned = spawned;
        out->completed = completed;
    }
    out->peak = WF_MAX(raise_to(&rt->peak, out->active), wf_load_rlx(&rt->workers[0]->peak));
}

/* ---- a worker's time ----------------------------------------------------------------------------------------- */

/* One word says both whether it sleeps and for how long it has, so no reading is torn. But a worker asks for the time, and then writes that it woke up, and
 * who reads in between counts that as sleep: what was told once is the least that is told from then on. */
static void read_time(wf_worker *w, int64_t *busy, int64_t *idle)
{
    int64_t now = wf_now(), rest = wf_load_rlx(&w->rest);
    int64_t slept = rest > 0 ? now - rest : -rest;
    *idle = (int64_t)raise_to(&w->idle_told, (uint64_t)WF_MAX(slept, 0));
    *busy = (int64_t)raise_to(&w->busy_told, (uint64_t)WF_MAX(now - w->began - slept, 0));
}

static bool is_parked(wf_worker *w) { return wf_load_rlx(&w->rest) > 0; }

/* ---- what it polls ------------------------------------------------------------------------------------------- */

typedef struct polled {
    weft_task *task;
    unsigned worker;
    uint64_t id;    /* 0: it does not */
    uint32_t since; /* in wf_ticks() */
} polled;

/* Between two looks at the id, which no other task ever has. */
static void look_at(polled *p)
{
    uint64_t id = wf_load_acq(&p->task->id), track = wf_load_acq(&p->task->track);
    bool alive = wf_load_acq(&p->task->state) & WF_S_ACTIVE;
    if (!alive || !(track & WF_TRACK_RUNNING) || wf_track_worker(track) != p->worker || wf_load_acq(&p->task->id) != id)
        return;
    p->id = id;
    p->since = wf_track_since(track);
}

static void look_if_it_is(weft_task *task, void *arg)
{
    polled *p = arg;
    if (task == p->task)
        look_at(p);
}

/* The worker's word may be of a task that has ended, whose memory is then the program's again if it had lent it: such are looked for on the shelves. */
static void find_polled(wf_worker *w, polled *p)
{
    p->task = wf_noted(&w->polling);
    p->worker = w->index;
    if (!p->task)
        return;
    if (wf_heap_has(w->rt->heap, p->task)) {
        look_at(p);
        return;
    }
    for (unsigned i = 0; i < WF_SHELVES && p->id == 0; i++)
        wf_registry_walk_shelf(w->rt, i, look_if_it_is, p);
}

/* It began after the worker's last look around, and, if somebody has since told it the time, after that. */
static void read_polling(wf_worker *w, weft_worker_metrics_t *out)
{
    polled p = {0};
    int64_t now = wf_now();
    out->seen_ns = WF_MAX(now - wf_load_rlx(&w->seen_at), 0);
    if (wf_runtime_phase(w->rt) == WF_FORKED)
        return; /* nobody runs, and who had the shelves' locks is not there */
    out->thread = wf_noted(&w->thread_id);
    find_polled(w, &p);
    out->polling = p.id;
    if (p.id > 0)
        out->polling_ns = WF_MIN(out->seen_ns, wf_ticks_ns(wf_ticks(now) - p.since + 1));
}

/* ---- the rest of one worker ---------------------------------------------------------------------------------- */

/* In its mailbox: what was collected is read first, for it was sent before. */
static uint64_t letters(wf_worker *w)
{
    uint64_t taken = wf_load_acq(&w->mailed), sent = wf_load_acq(&w->mail_sent);
    return sent > taken ? sent - taken : 0;
}

static uint64_t queued(wf_worker *w)
{
    uint64_t shared = (uint64_t)wf_deque_len(&w->fresh) + wf_ring_len(&w->woken);
    return shared + wf_load_rlx(&w->pinned) + letters(w) + (wf_load_rlx(&w->lender) != NULL);
}

/* In two parts, neither of which overflows. */
static uint64_t latency_sum(wf_measured *m)
{
    uint64_t cycles = wf_load_rlx(&m->cycles), whole = cycles >> WF_MEASURED_SHIFT;
    uint64_t rest = cycles - (whole << WF_MEASURED_SHIFT);
    return whole * m->ns_a_cycle + (rest * m->ns_a_cycle >> WF_MEASURED_SHIFT);
}

static void add_latency(wf_worker *w, weft_latency *to)
{
    for (int i = 0; i < WEFT_LATENCY_BUCKETS; i++) {
        uint64_t n = wf_load_rlx(&w->measured.buckets[i]);
        to->buckets[i] += n;
        to->count += n;
    }
    to->sum += latency_sum(&w->measured);
}

static void read_counters(wf_worker *w, weft_worker_metrics_t *out)
{
    out->completed = wf_load_acq(&w->completed);
    out->spawned = wf_load_acq(&w->spawned);
    out->polls = wf_load_rlx(&w->polls);
    out->steals = wf_load_rlx(&w->steals);
    out->parks = wf_load_rlx(&w->parks);
    out->rescues = wf_load_rlx(&w->rescues);
    out->spills = wf_load_rlx(&w->spills);
    out->wakes_sent = wf_load_rlx(&w->reactor.bells);
    out->mailed = wf_load_rlx(&w->mailed);
    read_time(w, &out->busy, &out->idle);
    out->queued = queued(w);
    out->timers = wf_load_rlx(&w->timers.wheel.linked);
    out->parked = is_parked(w);
    add_latency(w, &out->wake_to_poll);
}

void wf_metrics_read_worker(wf_worker *w, weft_worker_metrics_t *out)
{
    *out = (weft_worker_metrics_t){0};
    read_counters(w, out);
    read_polling(w, out);
}

/* ---- all of them --------------------------------------------------------------------------------------------- */

static void add_worker(wf_worker *w, weft_metrics_t *out)
{
    weft_worker_metrics_t one = {0};
    read_counters(w, &one);
    out->polls += one.polls;
    out->steals += one.steals;
    out->parks += one.parks;
    out->rescues += one.rescues;
    out->spills += one.spills;
    out->wakes_sent += one.wakes_sent;
    out->wakes_saved += wf_load_rlx(&w->wakes_saved);
    out->mailed += one.mailed;
    out->busy += one.busy;
    out->idle += one.idle;
    out->queued += one.queued;
    out->timers += one.timers;
    out->workers_parked += one.parked != 0;
    add_latency(w, &out->wake_to_poll);
}

void wf_metrics_read(weft_runtime *rt, weft_metrics_t *out)
{
    *out = (weft_metrics_t){.workers = rt->count};
    read_tasks(rt, out);
    for (unsigned i = 0; i < rt->count; i++)
        add_worker(rt->workers[i], out);
    out->queued += wf_inject_len(&rt->inject);
    out->wakes_saved += wf_load_rlx(&rt->wakes_saved);
    out->sources = wf_load_rlx(&rt->sources.open);
    wf_stack_stats(&out->stacks_live, &out->stacks_cached, &out->guard);
}

/* ---- for programs -------------------------------------------------------------------------------------------- */

/* A caller built against another version of the struct gets as much of it as he knows. */
static void copy_sized(void *out, size_t size, const void *all, size_t whole)
{
    memset(out, 0, size);
    memcpy(out, all, WF_MIN(size, whole));
}

int weft_metrics_sized(weft_runtime *rt, weft_metrics_t *out, size_t size)
{
    weft_metrics_t all = {0};
    rt = rt ? rt : weft_runtime_current();
    if (!out)
        return WEFT_EINVAL;
    if (rt)
        wf_metrics_read(rt, &all);
    copy_sized(out, size, &all, sizeof all);
    return rt ? 0 : WEFT_ENORUNTIME;
}

int weft_worker_metrics_sized(weft_runtime *rt, unsigned worker, weft_worker_metrics_t *out, size_t size)
{
    weft_worker_metrics_t all = {0};
    rt = rt ? rt : weft_runtime_current();
    if (!out)
        return WEFT_EINVAL;
    bool there = rt && worker < rt->count;
    if (there)
        wf_metrics_read_worker(rt->workers[worker], &all);
    copy_sized(out, size, &all, sizeof all);
    return there ? 0 : rt ? WEFT_EINVAL : WEFT_ENORUNTIME;
}
