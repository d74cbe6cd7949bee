/* deadlock.c - see deadlock.h.
 *
 * Never a false report; some deadlocks are not found. It is one if, all at once,
 *
 *   - every worker sleeps, and no timer is armed in any;
 *   - every task is idle, and waits for something that only tasks and threads end;
 *   - nobody waits for a descriptor, and no loop was handed out, in which others may have what they like;
 *   - the pool has no job, and no signal was ever watched for a task;
 *   - every thread of the process is known to do nothing by itself: workers, idle ones of the pool, the taker, the monitor, and those that wait in weft
 *     without a deadline or have said that they wake nobody. There are as many as the kernel says that there are. So another runtime with threads, or a
 *     thread for processes or files, is a reason not to report.
 *
 * No look sees all of that at one moment. But if two looks do, one after the other, and nothing was polled and the same threads were quiet from the beginning of
 * the first to the end of the second, it is true: when the first one counted the threads, nobody was left who could wake a task later; and whoever was woken before
 * that is seen by the second one, as scheduled, or polled, or its worker awake. */
#include <base/clock.h>
#include <diag/deadlock.h>
#include <diag/report.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <system/watcher.h>
#include <unistd.h>
#include <weft/diag.h>

int weft_watchdog_ignore_thread(void) { return wf_exec_ignore_thread(); }

/* ---- workers ------------------------------------------------------------------------------------------------- */

static uint64_t count_polls(weft_runtime *rt)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < rt->count; i++)
        n += wf_load_acq(&rt->workers[i]->polls);
    return n;
}

/* One without a thread is woken by whoever drives it, who is a thread that must be quiet. */
static bool sleeps(wf_worker *w) { return wf_load_acq(&w->thread_id) == 0 || wf_reactor_is_parked(&w->reactor); }

static bool all_sleep(weft_runtime *rt)
{
    for (unsigned i = 0; i < rt->count; i++)
        if (!sleeps(rt->workers[i]) || wf_timers_next(&rt->workers[i]->timers) != WEFT_FOREVER)
            return false;
    return true;
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* The 20th number of stat, where the second is a name in parentheses. 0: the kernel does not say. */
static unsigned threads_of_process(void)
{
    char text[512];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *at = strrchr(text, ')');
    for (int i = 2; at && i < 20; i++)
        at = strchr(at + 1, ' ');
    return at ? (unsigned)strtoul(at, NULL, 10) : 0;
}

/* Who is ignored, and is worker 0 of this one, is counted among the quiet. (Of another runtime he is quiet, too: he has said so.) */
static bool has_thread(weft_runtime *rt, unsigned worker)
{
    if (wf_load_acq(&rt->workers[worker]->thread_id) == 0)
        return false;
    return worker > 0 || !rt->caller_runs || !wf_load_acq(&rt->driver_ignored);
}

static unsigned workers_with_threads(weft_runtime *rt)
{
    unsigned n = 0;
    for (unsigned i = 0; i < rt->count; i++)
        n += has_thread(rt, i);
    return n;
}

static unsigned waiting_for_roots(weft_runtime *rt)
{
    wf_mutex_lock(&rt->lock);
    unsigned n = rt->awaited;
    wf_mutex_unlock(&rt->lock);
    return n;
}

static bool all_threads_are_quiet(wf_deadlock *d, uint64_t quiet)
{
    weft_runtime *rt = d->rt;
    unsigned idle, monitor = 1, taker = rt->caller_runs && !(rt->options.flags & WEFT_CURRENT_THREAD);
    int signals = wf_watchers_joined(rt);
    if (!wf_pool_is_idle(rt, &idle) || signals > d->own_signals)
        return false;
    unsigned known =
        workers_with_threads(rt) + idle + taker + monitor + (signals >= 0) + waiting_for_roots(rt) + (unsigned)quiet;
    return threads_of_process() == known;
}

/* ---- tasks --------------------------------------------------------------------------------------------------- */

static bool waits_inside(const weft_task_info *info)
{
    return info->state == WEFT_TASK_IDLE && info->kind != WEFT_KIND_BLOCKING && wf_wait_is_inside((wf_wait)info->wait_);
}

typedef struct census {
    int64_t now;
    uint64_t met, others; /* others: of which nobody can say that they wait for a task */
} census;

static void count_one(weft_task *task, void *arg)
{
    census *c = arg;
    weft_task_info info;
    if (!wf_registry_read(task, c->now, &info))
        return;
    c->met++;
    c->others += !waits_inside(&info);
}

/* False: none, or so many. */
static bool all_tasks_wait_inside(weft_runtime *rt)
{
    census c = {.now = wf_now()};
    wf_registry_walk(rt, count_one, &c);
    return c.others == 0 && c.met > 0 && c.met == wf_runtime_active(rt, NULL, NULL);
}

/* ---- the report ---------------------------------------------------------------------------------------------- */

typedef struct gathering {
    int64_t now;
    wf_findings findings;
} gathering;

static void gather_one(weft_task *task, void *arg)
{
    gathering *g = arg;
    weft_task_info info;
    if (wf_registry_read(task, g->now, &info))
        wf_findings_add(&g->findings, task, &info);
}

static void say_one(weft_runtime *rt, const wf_findings *f, const wf_found *found)
{
    char does[WF_REPORT_LINE];
    const weft_task_info *info = &found->info;
    wf_say(rt, WEFT_LOG_ERROR, info->name, &found->frames, "  task \"%s\" (#%" PRIu64 ") %s", info->name, info->id,
           wf_what_it_does(f, info, does, sizeof does));
}

static void report(weft_runtime *rt)
{
    gathering g = {.now = wf_now()};
    wf_findings_open(&g.findings); /* without memory they are only counted */
    wf_registry_walk(rt, gather_one, &g);
    wf_findings_complete(&g.findings, rt);
    wf_log(rt, WEFT_LOG_ERROR, "", "deadlock: all %" PRIu64 " tasks wait for each other, and nothing can wake them",
           g.findings.total);
    for (unsigned i = 0; i < g.findings.count; i++)
        say_one(rt, &g.findings, &g.findings.found[i]);
    if (g.findings.total > g.findings.count)
        wf_log(rt, WEFT_LOG_ERROR, "", "  and %" PRIu64 " more", g.findings.total - g.findings.count);
    wf_findings_close(&g.findings);
}

/* ---- looking ------------------------------------------------------------------------------------------------- */

static bool is_still(weft_runtime *rt, uint64_t polls)
{
    return all_sleep(rt) && count_polls(rt) == polls && wf_runtime_phase(rt) == WF_RUNNING;
}

/* The dearest last: a server with a million tasks that idles has somebody who waits for a descriptor. */
static bool looks_dead(wf_deadlock *d, uint64_t polls, uint64_t quiet)
{
    weft_runtime *rt = d->rt;
    if (!is_still(rt, polls) || wf_load_acq(&rt->handed_out) || wf_sources_awaited(&rt->sources))
        return false;
    if (!all_threads_are_quiet(d, quiet))
        return false;
    bool inside = wf_load_acq(&rt->lookers) == 0 && all_tasks_wait_inside(rt);
    /* Whatever comes, without a poll it is not found to wait for something else: unless somebody looks, who holds tasks still. */
    d->settled = !inside && wf_load_acq(&rt->lookers) == 0;
    return inside && is_still(rt, polls) && wf_exec_quiet() == quiet;
}

void wf_deadlock_look(wf_deadlock *d)
{
    uint64_t polls = count_polls(d->rt), quiet = wf_exec_quiet();
    bool same = d->polls == polls;
    if (same && d->settled)
        return;
    bool again = same && d->suspected && d->quiet == quiet;
    d->polls = polls;
    d->quiet = quiet;
    d->settled = false;
    d->suspected = same && looks_dead(d, polls, quiet);
    if (!again || !d->suspected)
        return;
    report(d->rt);
    d->settled = true;
}
