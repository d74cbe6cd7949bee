/* census.c - see census.h. */
#include <base/clock.h>
#include <diag/census.h>
#include <runtime/strand.h>
#include <stdlib.h>
#include <string.h>

/* ---- one task ------------------------------------------------------------------------------------------------ */

/* What it waits for, now that it is held still. */
static void read_wait(const weft_task *task, weft_task_info *info)
{
    uint64_t word = wf_load_acq(&task->waits);
    info->wait_ = (int)(word >> WF_WAIT_SHIFT);
    info->object_ = word & WF_WAIT_OBJECT;
    info->waits_for = wf_wait_text((wf_wait)info->wait_);
}

/* @info was read before: it may have been another task's. */
bool wf_census_read_strand(weft_task *task, wf_frozen *frozen, weft_task_info *info)
{
    if (!wf_registry_seize(task))
        return false;
    const wf_strand *s = wf_load_acq(&task->strand);
    bool same = wf_load_acq(&task->id) == info->id && s;
    if (same) {
        read_wait(task, info);
        wf_frozen_parked(frozen, s->exec.body);
    }
    wf_registry_release(task);
    return same;
}

/* ---- groups -------------------------------------------------------------------------------------------------- */

/* @print's place, or that where it belongs. */
static size_t find_print(const wf_census *c, uint64_t print)
{
    size_t places = sizeof c->prints / sizeof *c->prints, i = print % places;
    while (c->prints[i].print != 0 && c->prints[i].print != print)
        i = (i + 1) % places;
    return i;
}

static wf_group *add_group(wf_census *c, const weft_task_info *info)
{
    if (c->group_count == c->group_room) {
        size_t room = c->group_room ? 2 * c->group_room : 16;
        wf_group *more = realloc(c->groups, room * sizeof *more);
        c->out_of_memory = c->out_of_memory || !more;
        if (!more)
            return NULL;
        c->groups = more;
        c->group_room = room;
    }
    wf_group *g = &c->groups[c->group_count++];
    *g = (wf_group){.kind = info->kind, .wait = (wf_wait)info->wait_};
    return g;
}

static void add_example(wf_group *g, const weft_task_info *info)
{
    unsigned i = g->examples < WF_CENSUS_EXAMPLES ? g->examples++ : WF_CENSUS_EXAMPLES - 1;
    if (g->count > WF_CENSUS_EXAMPLES && info->since <= g->example[i].since)
        return;
    for (; i > 0 && g->example[i - 1].since < info->since; i--)
        g->example[i] = g->example[i - 1];
    g->example[i] = *info;
}

static void count_in(wf_census *c, wf_group *g, const weft_task_info *info)
{
    if (!g)
        return;
    c->waiting++;
    g->count++;
    g->oldest = WF_MAX(g->oldest, info->since);
    add_example(g, info);
}

static bool is_of(const wf_group *g, const weft_task_info *info)
{
    return g->kind == info->kind && g->wait == (wf_wait)info->wait_;
}

/* For what would exceed a limit: one for each kind of wait. */
static wf_group *lump(wf_census *c, const weft_task_info *info)
{
    for (size_t i = 0; i < c->group_count; i++)
        if (c->groups[i].lumped && is_of(&c->groups[i], info))
            return &c->groups[i];
    wf_group *g = add_group(c, info);
    if (g)
        g->lumped = true;
    return g;
}

/* Two fingerprints of the same place. */
static wf_group *find_same(wf_census *c, const weft_task_info *info, const wf_frames *frames)
{
    for (size_t i = 0; i < c->group_count; i++) {
        wf_group *g = &c->groups[i];
        if (!g->lumped && is_of(g, info) && wf_frames_equal(&g->frames, frames))
            return g;
    }
    return NULL;
}

static wf_group *make(wf_census *c, const weft_task_info *info, bool strand)
{
    wf_frames frames = {.count = 0};
    wf_group *g = NULL;
    if (strand) {
        wf_backtrace_frozen(&c->frozen, &frames);
        g = find_same(c, info, &frames);
    }
    if (!g && c->group_count >= WF_CENSUS_GROUPS)
        return lump(c, info);
    if (!g && (g = add_group(c, info)))
        g->frames = frames;
    return g;
}

static wf_group *group_of(wf_census *c, const weft_task_info *info, uint64_t print, bool strand)
{
    size_t place = find_print(c, print);
    if (c->prints[place].print != 0)
        return &c->groups[c->prints[place].group];
    if (c->print_count == WF_CENSUS_PRINTS)
        return lump(c, info);
    wf_group *g = make(c, info, strand);
    if (!g)
        return NULL;
    c->print_count++;
    c->prints[place].print = print;
    c->prints[place].group = (size_t)(g - c->groups);
    return g;
}

static uint64_t print_of(const weft_task_info *info, uint64_t more)
{
    uint64_t hash = wf_hash(wf_hash(wf_hash(1, (uint64_t)info->kind), (uint64_t)info->wait_), more);
    return hash ? hash : 1;
}

static uint64_t hash_of_name(const char *name)
{
    uint64_t hash = 0;
    for (; *name; name++)
        hash = wf_hash(hash, (unsigned char)*name);
    return hash;
}

/* ---- all of them --------------------------------------------------------------------------------------------- */

static void waits(wf_census *c, weft_task *task, weft_task_info *info)
{
    bool strand = info->kind == WEFT_KIND_STRAND;
    if (strand && !wf_census_read_strand(task, &c->frozen, info)) {
        c->moving++;
        return;
    }
    uint64_t where = strand ? wf_fingerprint(&c->frozen, &c->code) : hash_of_name(info->name);
    count_in(c, group_of(c, info, print_of(info, where), strand), info);
}

static void runs(wf_census *c, const weft_task *task, const weft_task_info *info)
{
    if (c->running < WF_CENSUS_RUNNING)
        c->run[c->running] = (wf_census_task){task, *info};
    c->running++;
}

static void is_queued(wf_census *c, const weft_task_info *info)
{
    if (c->queued < WF_CENSUS_QUEUED)
        c->queue[c->queued] = *info;
    c->queued++;
}

/* Of a shelf only what is stackless comes here, and its lock is held: nothing waits. */
static void count_one(weft_task *task, void *arg)
{
    wf_census *c = arg;
    weft_task_info info;
    if (!wf_registry_read(task, c->now, &info))
        return;
    if (info.state == WEFT_TASK_IDLE)
        waits(c, task, &info);
    else if (info.state == WEFT_TASK_RUNNING)
        runs(c, task, &info);
    else
        is_queued(c, &info);
}

/* How much it says that somebody waits: for a lock, for what other tasks do, for the world. */
static int weight(wf_wait wait) { return wf_wait_is_for_lock(wait) ? 2 : wf_wait_is_inside(wait); }

/* The most suspicious first; of those the longest. */
static int compare(const void *a, const void *b)
{
    const wf_group *x = a, *y = b;
    int heavier = weight(y->wait) - weight(x->wait);
    return heavier ? heavier : (x->oldest < y->oldest) - (x->oldest > y->oldest);
}

wf_census *wf_census_take(weft_runtime *rt)
{
    wf_census *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->now = wf_now();
    wf_code_find(&c->code);
    wf_registry_walk(rt, count_one, c);
    if (c->out_of_memory) {
        wf_census_free(c);
        return NULL;
    }
    if (c->group_count > 0)
        qsort(c->groups, c->group_count, sizeof *c->groups, compare);
    return c;
}

void wf_census_free(wf_census *c)
{
    if (c)
        free(c->groups);
    free(c);
}
