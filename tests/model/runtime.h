/* runtime.h - what scenes of the runtime share: the files that a task goes through, and stubs for those that they do not play.
 *
 * A header is a block of the model's own, so that whoever touches it after its end is found. Time stands; strands, locals and groups are not there. */
#ifndef MODEL_RUNTIME_H
#define MODEL_RUNTIME_H

#include "model.h"

/* Quick ways in headers that lead past the stubs. */
#if !MODEL_HEAP
#define wf_header_get quick_header_get
#define wf_header_put quick_header_put
#endif
#if !MODEL_WORKER
#define wf_schedule_fresh quick_schedule_fresh
#endif
#include <runtime/runtime.h>
#undef wf_header_get
#undef wf_header_put
#undef wf_schedule_fresh
#if !MODEL_HEAP
weft_task *wf_header_get(wf_heap *heap, wf_header_cache *cache);
void wf_header_put(weft_task *task, wf_header_cache *cache);
#endif
#if !MODEL_WORKER
void wf_schedule_fresh(wf_worker *w, weft_task *task);
#endif

#include <base/alloc.c>
#include <base/atomic_waker.c>
#include <base/here.c>
#include <base/exec.c>
#include <base/failure.c>
#include <base/scope.c>
#define take waker_take
#include <base/waker.c>
#undef take
#include <runtime/storage.c>
#include <runtime/task.c>
#define drop_output join_drop_output
#include <runtime/join.c>
#undef drop_output
#include <runtime/spawn.c>

/* ---- what is not played --------------------------------------------------------------------------------------------- */

int64_t wf_now(void) { return 1; }
int64_t wf_now_coarse(void) { return 1; }
const weft_waker *weft_context_waker(weft_context *cx) { return &cx->waker; }

struct wf_cells *wf_cells_inherit(const struct wf_cells *parent, bool *out_of_memory)
{
    (void)parent, (void)out_of_memory;
    return NULL;
}
void wf_cells_free(struct wf_cells *cells) { (void)cells; }

#if MODEL_GROUPS
#define poll_case group_poll_case
#define leave_case group_leave_case
#include <runtime/group.c>
#undef poll_case
#undef leave_case
#else
int wf_group_spawn(weft_group *group, const weft_spawn_options *options, weft_fn fn, void *arg, weft_future *f)
{
    (void)group, (void)options, (void)fn, (void)arg, (void)f;
    return WEFT_EINVAL;
}
#endif

wf_os_mutexes_held *wf_strand_os_mutexes;
void wf_strand_note_os_mutexes(wf_strand *s) { (void)s; }
void wf_strand_holds_no_os_mutex(const wf_strand *s) { (void)s; }
wf_ctx *wf_strand_begin(wf_worker *worker, weft_task *task)
{
    (void)worker, (void)task;
    model_fail("there are no strands");
}
void wf_strand_end(wf_worker *worker, weft_task *task) { (void)worker, (void)task; }
void wf_strand_expect(const weft_task *task) { (void)task; }

/* Nobody watches. */
void wf_watch_spawn(wf_worker *w, weft_task *task) { (void)w, (void)task; }
void wf_watch_wake(wf_worker *w, weft_task *task) { (void)w, (void)task; }
void wf_watch_poll_begin(wf_worker *w, weft_task *task) { (void)w, (void)task; }
void wf_watch_poll_end(wf_worker *w, weft_task *task, weft_left left) { (void)w, (void)task, (void)left; }
void wf_watch_end(wf_worker *w, weft_task *task) { (void)w, (void)task; }
void wf_watch_park(wf_worker *w) { (void)w; }
void wf_sampled_enter(wf_worker *w, const void *frame) { (void)w, (void)frame; }
void wf_sampled_leave(wf_worker *w) { (void)w; }
void wf_watch_unpark(wf_worker *w) { (void)w; }
void wf_watch_open(wf_worker *w) { (void)w; }
void wf_watch_count_long(wf_worker *w, uint64_t cycles) { (void)w, (void)cycles; }
void wf_watch_ready(void *worker, int fd, uint64_t bits) { (void)worker, (void)fd, (void)bits; }

uint64_t wf_ids_take(uint64_t n) { return n; }
void wf_runtime_task_ended(weft_runtime *rt) { (void)rt; }

/* ---- headers -------------------------------------------------------------------------------------------------------- */

#if !MODEL_HEAP /* else the scene has headers.c */

/* The one place for headers of a scene whose threads walk over them: it is used again, and never unmapped. NULL: each has a block of its own. */
static weft_task *only_place;

wf_heap *wf_header_heap(const weft_task *task)
{
    (void)task;
    return NULL;
}

bool wf_heap_has(wf_heap *heap, const weft_task *task)
{
    (void)heap, (void)task;
    return true;
}

weft_task *wf_header_get(wf_heap *heap, wf_header_cache *cache)
{
    (void)heap, (void)cache;
    if (only_place)
        return wf_load_acq(&only_place->state) == 0 ? only_place : NULL;
    return calloc(1, sizeof(weft_task));
}

void wf_header_put(weft_task *task, wf_header_cache *cache)
{
    (void)cache;
    wf_store_rel(&task->state, 0); /* as the real one */
    if (!only_place)
        free(task);
}

#endif

/* ---- threads -------------------------------------------------------------------------------------------------------- */

__attribute__((constructor)) static void each_thread_has_its_own(void) { model_thread_local(&current, sizeof current); }

/* An ordinary thread ends: its key's destructor. */
static void thread_ends(void)
{
    if (current)
        parker_thread_ends(wf_container(current, parker, exec));
}

#endif
