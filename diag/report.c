/* report.c - see report.h. Owns how a task is described in a line, and the report of a shutdown whose grace is over. */
#include <base/clock.h>
#include <diag/report.h>
#include <inttypes.h>
#include <runtime/monitor.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- words --------------------------------------------------------------------------------------------------- */

const char *wf_duration(int64_t ns, char *out, size_t size)
{
    if (ns < WEFT_SEC)
        snprintf(out, size, "%lld ms", (long long)(ns / WEFT_MS));
    else
        snprintf(out, size, "%.1f s", (double)ns / (double)WEFT_SEC);
    return out;
}

static const char *waits(const wf_findings *f, const weft_task_info *info, const char *since, char *out, size_t size)
{
    char object[128], holder[128];
    wf_holders_text(&f->holders, info, holder, sizeof holder);
    weft_task_info_object(info, object, sizeof object);
    if (!info->waits_for[0] || strcmp(info->waits_for, "?") == 0)
        snprintf(out, size, "waits %s", since);
    else
        snprintf(out, size, "waits %s for %s%s%s%s", since, info->waits_for, object[0] ? " " : "", object, holder);
    return out;
}

const char *wf_what_it_does(const wf_findings *f, const weft_task_info *info, char *out, size_t size)
{
    char since[32];
    wf_duration(info->since, since, sizeof since);
    if (info->state == WEFT_TASK_IDLE)
        return waits(f, info, since, out, size);
    const char *where = info->kind == WEFT_KIND_BLOCKING ? " on a thread of the pool" : "";
    snprintf(out, size, "is %s for %s%s", weft_task_state_name(info->state), since, where);
    return out;
}

/* ---- saying it ----------------------------------------------------------------------------------------------- */

/* NULL: out of memory. Without the last line's end. */
static char *with_frames(const char *line, const wf_frames *frames)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    if (!to)
        return NULL;
    fprintf(to, "%s\n", line);
    wf_backtrace_print(frames, to);
    if (fclose(to) != 0) {
        free(text);
        return NULL;
    }
    if (size > 0 && text[size - 1] == '\n')
        text[size - 1] = 0;
    return text;
}

void wf_say(weft_runtime *rt, weft_log_level level, const char *task, const wf_frames *frames, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    wf_one_line(line);
    char *text = frames && frames->count > 0 ? with_frames(line, frames) : NULL;
    wf_log_text(rt, level, task, text ? text : line);
    free(text);
}

/* ---- gathering ----------------------------------------------------------------------------------------------- */

bool wf_findings_open(wf_findings *f)
{
    *f = (wf_findings){.found = calloc(WF_REPORT_MOST, sizeof *f->found)};
    return f->found != NULL;
}

void wf_findings_close(wf_findings *f) { free(f->found); }

/* Is it the one that was read, and does it still wait for that? */
static bool is_still(weft_task *task, const weft_task_info *info)
{
    uint64_t waits = (uint64_t)info->wait_ << WF_WAIT_SHIFT | info->object_;
    return wf_load_acq(&task->id) == info->id && wf_load_acq(&task->waits) == waits;
}

/* Held still meanwhile: so what it waits for is there. */
static void examine(wf_findings *f, weft_task *task, wf_found *found)
{
    if (!wf_registry_seize(task))
        return;
    if (is_still(task, &found->info))
        wf_holders_ask(&f->holders, &found->info);
    if (wf_load_acq(&task->id) == found->info.id && found->info.kind == WEFT_KIND_STRAND)
        wf_backtrace_strand(task, &found->frames);
    wf_registry_release(task);
}

void wf_findings_complete(wf_findings *f, weft_runtime *rt) { wf_holders_find(&f->holders, rt); }

void wf_findings_add(wf_findings *f, weft_task *task, const weft_task_info *info)
{
    f->total++;
    if (!f->found || f->count == WF_REPORT_MOST)
        return;
    wf_found *found = &f->found[f->count++];
    *found = (wf_found){.task = task, .info = *info};
    examine(f, task, found);
}

/* ---- what a shutdown leaves ---------------------------------------------------------------------------------- */

typedef struct leftovers {
    weft_runtime *rt;
    int64_t now;
    wf_findings findings;
    uint64_t strands, futures, jobs;
} leftovers;

static void count_one(weft_task *task, void *arg)
{
    leftovers *l = arg;
    weft_task_info info;
    if (!wf_registry_read(task, l->now, &info))
        return;
    uint64_t *const of_kind[] = {
        [WEFT_KIND_STRAND] = &l->strands, [WEFT_KIND_FUTURE] = &l->futures, [WEFT_KIND_BLOCKING] = &l->jobs};
    ++*of_kind[info.kind];
    wf_findings_add(&l->findings, task, &info);
}

/* Of one that runs: what its worker does, if that is still the same poll afterwards. */
static void sample(weft_runtime *rt, wf_found *found)
{
    if (found->info.state != WEFT_TASK_RUNNING || found->info.worker < 0)
        return;
    wf_worker *w = rt->workers[found->info.worker];
    uint64_t polls = wf_load_acq(&w->polls);
    bool its = wf_load_acq(&w->polling) == found->task && wf_backtrace_worker(w, &found->frames);
    if (!its || wf_load_acq(&w->polling) != found->task || wf_load_acq(&w->polls) != polls)
        found->frames.count = 0;
}

static void name_one(weft_runtime *rt, const wf_findings *f, wf_found *found)
{
    char does[WF_REPORT_LINE];
    const weft_task_info *info = &found->info;
    sample(rt, found);
    wf_say(rt, WEFT_LOG_ERROR, info->name, &found->frames, "shutdown: task \"%s\" (#%" PRIu64 ") would not stop: %s",
           info->name, info->id, wf_what_it_does(f, info, does, sizeof does));
}

static uint64_t count_timers(weft_runtime *rt)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < rt->count; i++) {
        wf_timers *t = &rt->workers[i]->timers;
        wf_spin_lock(&t->lock);
        n += wf_wheel_count(&t->wheel);
        wf_spin_unlock(&t->lock);
    }
    return n;
}

static void say_how_many(const leftovers *l)
{
    uint64_t ended;
    wf_runtime_active(l->rt, NULL, &ended);
    wf_log(l->rt, WEFT_LOG_ERROR, "",
           "shutdown: %" PRIu64 " tasks ended in time; left are %" PRIu64 " strands, %" PRIu64 " futures, %" PRIu64
           " blocking jobs, %" PRIu64 " open sockets and the like, %" PRIu64 " timers",
           ended - wf_load_rlx(&l->rt->ended_before), l->strands, l->futures, l->jobs,
           wf_load_rlx(&l->rt->sources.open), count_timers(l->rt));
}

void wf_monitor_report_left(weft_runtime *rt)
{
    leftovers l = {.rt = rt, .now = wf_now()};
    wf_findings_open(&l.findings); /* without memory they are only counted */
    wf_registry_walk(rt, count_one, &l);
    wf_findings_complete(&l.findings, rt);
    for (unsigned i = 0; i < l.findings.count; i++)
        name_one(rt, &l.findings, &l.findings.found[i]);
    if (l.findings.total > l.findings.count)
        wf_log(rt, WEFT_LOG_ERROR, "", "shutdown: and %" PRIu64 " more would not stop", l.findings.total - l.findings.count);
    say_how_many(&l);
    wf_findings_close(&l.findings);
}
