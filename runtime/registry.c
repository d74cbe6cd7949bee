/* registry.c - see registry.h. */
#include <base/clock.h>
#include <runtime/registry.h>
#include <runtime/storage.h>

/* ---- walking ------------------------------------------------------------------------------------------------- */

void wf_registry_walk_headers(weft_runtime *rt, void (*fn)(weft_task *task, void *arg), void *arg)
{
    wf_heap_walk(rt->heap, fn, arg);
}

void wf_registry_walk_shelf(weft_runtime *rt, unsigned number, void (*fn)(weft_task *task, void *arg), void *arg)
{
    wf_shelf *shelf = &rt->shelves[number];
    wf_mutex_lock(&shelf->lock);
    for (wf_node *n = shelf->tasks.head.next; n != &shelf->tasks.head; n = n->next)
        fn(&wf_container(n, wf_stored_task, node)->task, arg);
    wf_mutex_unlock(&shelf->lock);
}

void wf_registry_walk(weft_runtime *rt, void (*fn)(weft_task *task, void *arg), void *arg)
{
    wf_registry_walk_headers(rt, fn, arg);
    for (unsigned i = 0; i < WF_SHELVES; i++)
        wf_registry_walk_shelf(rt, i, fn, arg);
}

/* ---- what tasks wait for ------------------------------------------------------------------------------------- */

typedef struct wait_kind {
    const char *text;
    wf_wait_object object;
    bool inside;
} wait_kind;

#define KIND(name, text, object, inside) {text, WF_OBJECT_##object, inside},
static const wait_kind kinds[] = {WF_WAITS(KIND)};
#undef KIND

const char *wf_wait_text(wf_wait kind) { return (unsigned)kind < WF_WAIT_KINDS ? kinds[kind].text : "?"; }

wf_wait_object wf_wait_object_of(wf_wait kind)
{
    return (unsigned)kind < WF_WAIT_KINDS ? kinds[kind].object : WF_OBJECT_NONE;
}

bool wf_wait_is_inside(wf_wait kind) { return (unsigned)kind < WF_WAIT_KINDS && kinds[kind].inside; }

bool wf_wait_is_for_lock(wf_wait kind)
{
    return kind == WF_WAIT_MUTEX || kind == WF_WAIT_RWLOCK_READ || kind == WF_WAIT_RWLOCK_WRITE || kind == WF_WAIT_LOCK;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

static bool is_alive(uint64_t word) { return wf_state_refs(word) > 0 && !(word & WF_S_DONE); }

static weft_task_state_t state_of(uint64_t word, uint64_t track, unsigned flags)
{
    if (!(word & WF_S_ACTIVE))
        return WEFT_TASK_IDLE;
    bool runs = flags & WF_TASK_BLOCKING ? !(word & WF_S_POOLED) : (track & WF_TRACK_RUNNING) != 0;
    return runs ? WEFT_TASK_RUNNING : WEFT_TASK_SCHEDULED;
}

/* Who looks has read the clock some time ago: what came after that was not long ago. */
static int64_t since(uint32_t then, int64_t now)
{
    const uint32_t longest = UINT32_MAX - (UINT32_C(1) << 20);
    uint32_t ticks = wf_ticks(now) - then;
    return ticks > longest ? 0 : wf_ticks_ns(ticks);
}

/* Between two looks at the id, which no other task ever has: each load is an acquire, so that none is made after the second look. */
static void read_fields(weft_task *task, int64_t now, uint64_t word, weft_task_info *out)
{
    unsigned flags = wf_load_acq(&task->flags);
    uint64_t track = wf_load_acq(&task->track), waits = wf_load_acq(&task->waits);
    unsigned worker = wf_track_worker(track);
    out->kind = flags & WF_TASK_BLOCKING ? WEFT_KIND_BLOCKING
                : flags & WF_TASK_STRAND ? WEFT_KIND_STRAND
                                         : WEFT_KIND_FUTURE;
    out->state = state_of(word, track, flags);
    out->worker = worker == WF_TRACK_NOBODY || flags & WF_TASK_BLOCKING ? -1 : (int)worker;
    out->pinned = (flags & WF_TASK_PINNED) != 0;
    out->aborted = (word & WF_S_ABORT) != 0;
    out->age = since(wf_load_acq(&task->born), now);
    out->since = since(wf_track_since(track), now);
    bool waiting = out->state == WEFT_TASK_IDLE && !(waits >> 63); /* else it has been woken just now */
    out->wait_ = waiting ? (int)(waits >> WF_WAIT_SHIFT) : WF_WAIT_NOTHING;
    out->object_ = waiting ? waits & WF_WAIT_OBJECT : 0;
    out->waits_for = wf_wait_text((wf_wait)out->wait_);
    wf_task_copy_label(task, out->name, sizeof out->name);
}

bool wf_registry_read(weft_task *task, int64_t now, weft_task_info *out)
{
    uint64_t word = wf_load_acq(&task->state);
    if (!is_alive(word))
        return false;
    *out = (weft_task_info){.id = wf_load_acq(&task->id)};
    read_fields(task, now, word, out);
    return wf_load_acq(&task->id) == out->id && is_alive(wf_load_acq(&task->state));
}

typedef struct search {
    const weft_task *task;
    int64_t now;
    weft_task_info *out;
    bool found;
} search;

static void read_if_it_is(weft_task *task, void *arg)
{
    search *s = arg;
    if (task == s->task)
        s->found = wf_registry_read(task, s->now, s->out);
}

/* It may have ended, and if it was in the caller's memory that may be gone: then it is on no shelf. */
static bool read_stored(weft_runtime *rt, search *s)
{
    for (unsigned i = 0; i < WF_SHELVES && !s->found; i++)
        wf_registry_walk_shelf(rt, i, read_if_it_is, s);
    return s->found;
}

bool wf_registry_read_polled(wf_worker *w, int64_t now, weft_task_info *out)
{
    weft_task *task = wf_noted(&w->polling);
    search s = {.task = task, .now = now, .out = out};
    if (!task || !(wf_heap_has(w->rt->heap, task) ? wf_registry_read(task, now, out) : read_stored(w->rt, &s)))
        return false;
    return out->state == WEFT_TASK_RUNNING && out->worker == (int)w->index;
}

/* ---- holding one still --------------------------------------------------------------------------------------- */

bool wf_registry_seize(weft_task *task) { return wf_state_seize(&task->state); }

void wf_registry_release(weft_task *task)
{
    if (wf_state_poll_pending(&task->state) == WF_PENDING_AGAIN)
        wf_schedule_woken(task);
}
