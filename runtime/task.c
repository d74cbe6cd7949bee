/* task.c - what happens to a task between being chosen and being gone.
 *
 * Owns the order of the end: body first, then the counters, then the word that lets the joiner in, then the header. */
#include <base/failure.h>
#include <base/waits.h>
#include <runtime/runtime.h>
#include <runtime/storage.h>
#include <runtime/strand.h>
#include <runtime/watch.h>
#include <stdio.h>
#include <string.h>

/* ---- references and wakes ------------------------------------------------------------------------------------ */

/* Between a task's side block going, or its name changing, and somebody who walks over the headers and looks at it. By the task's address: workers
 * have no business with each other here. */
enum { EXTRAS_LOCKS = 16 };
static struct {
    alignas(WF_CACHE_LINE) wf_spin lock;
} extras[EXTRAS_LOCKS];

static wf_spin *extras_lock(const weft_task *task)
{
    return &extras[(uintptr_t)task / WF_HEADER_SIZE % EXTRAS_LOCKS].lock;
}

void wf_task_extra_free(weft_task *task)
{
    wf_extra *extra = task->extra;
    weft_allocator allocator = extra->allocator;
    wf_spin_lock(extras_lock(task));
    task->extra = NULL;
    wf_spin_unlock(extras_lock(task));
    wf_cells_free(extra->cells);
    wf_free(&allocator, extra->copy);
    wf_free(&allocator, extra->error);
    wf_free(&allocator, extra);
}

static void header_free(weft_task *task)
{
    if (task->extra)
        wf_task_extra_free(task);
    if (wf_task_is(task, WF_TASK_STORAGE)) {
        wf_storage_release(task);
        return;
    }
    wf_worker *w = wf_worker_current();
    wf_header_put(task, w && w->rt->heap == wf_header_heap(task) ? &w->headers : NULL);
}

void wf_task_unref(weft_task *task)
{
    if (wf_state_unref(&task->state))
        header_free(task);
}

void wf_task_wake(weft_task *task)
{
    if (wf_state_wake(&task->state) == WF_WAKE_ENQUEUE)
        wf_schedule_woken(task);
}

/* References are bought in blocks by the one who polls, and handed out without a read-modify-write. */
static void take_prepaid(weft_task *task)
{
    enum { BLOCK = 64 };
    if (wf_unlikely(task->spare == 0)) {
        wf_state_ref(&task->state, BLOCK);
        task->spare = BLOCK;
    }
    task->spare--;
}

/* Whether the calling thread polls @task, and so owns what its poller owns. A thread of the pool may have it as its task too, and does
 * not poll it. */
static bool polled_here(const weft_task *task)
{
    wf_exec *exec = wf_exec_peek();
    return exec && exec->worker && exec->task == task;
}

static int waker_clone(const weft_waker *self, weft_waker *out)
{
    weft_task *task = self->data;
    if (polled_here(task))
        take_prepaid(task);
    else
        wf_state_ref(&task->state, 1);
    *out = *self;
    return 0;
}

int wf_context_clone_waker(weft_context *cx, weft_waker *out)
{
    if (cx->waker.ops != &wf_task_waker_ops)
        return weft_waker_clone(&cx->waker, out);
    take_prepaid(cx->waker.data);
    *out = cx->waker;
    return 0;
}

static void waker_wake(weft_waker *self)
{
    weft_task *task = self->data;
    switch (wf_state_wake_consume(&task->state)) {
    case WF_WAKE_ENQUEUE:
        wf_schedule_woken(task);
        break;
    case WF_WAKE_FREE:
        header_free(task);
        break;
    case WF_WAKE_NOTHING:
        break;
    }
}

static void waker_wake_by_ref(const weft_waker *self) { wf_task_wake(self->data); }

/* A task's own, dropped in its poll, goes back to those paid for in advance: to be handed out again, or given up when it ends. */
static void waker_drop(weft_waker *self)
{
    weft_task *task = self->data;
    if (polled_here(task) && wf_likely(task->spare < UINT16_MAX))
        task->spare++;
    else
        wf_task_unref(task);
}

const weft_waker_ops wf_task_waker_ops = {
    .clone = waker_clone, .wake = waker_wake, .wake_by_ref = waker_wake_by_ref, .drop = waker_drop};

/* ---- side blocks --------------------------------------------------------------------------------------------- */

wf_extra *wf_task_extra(weft_task *task)
{
    if (task->extra)
        return task->extra;
    const weft_allocator *allocator = &task->rt->options.allocator;
    wf_extra *extra = wf_alloc(allocator, sizeof *extra);
    if (!extra)
        return NULL;
    extra->allocator = *allocator;
    wf_spin_lock(extras_lock(task));
    task->extra = extra;
    wf_spin_unlock(extras_lock(task));
    return extra;
}

int wf_task_set_label(weft_task *task, const char *name)
{
    wf_extra *extra = wf_task_extra(task);
    if (!extra)
        return WEFT_ENOMEM;
    wf_spin_lock(extras_lock(task));
    strncpy(extra->name, name, sizeof extra->name - 1);
    wf_spin_unlock(extras_lock(task));
    return 0;
}

void wf_task_copy_label(weft_task *task, char *out, size_t size)
{
    wf_spin_lock(extras_lock(task));
    const wf_extra *extra = wf_noted(&task->extra_seen);
    snprintf(out, size, "%s", extra ? extra->name : "");
    wf_spin_unlock(extras_lock(task));
}

void wf_task_set_error(weft_task *task, const char *text)
{
    wf_extra *extra = wf_task_extra(task);
    if (!extra || extra->error)
        return; /* the first message is the one that counts */
    extra->error = wf_alloc(&extra->allocator, strlen(text) + 1);
    if (extra->error)
        strcpy(extra->error, text);
}

const char *wf_task_label(const weft_task *task) { return task->extra ? task->extra->name : ""; }

/* ---- the end ------------------------------------------------------------------------------------------------- */

static void drop_output(weft_task *task)
{
    if (wf_task_status(task) == 0 && task->value.v && task->extra)
        wf_call_back(task->extra->drop_result, task->value.v);
}

WF_NOINLINE static void drop_rest_of_body(weft_task *task)
{
    wf_extra *extra = task->extra;
    wf_cells_free(extra->cells);
    wf_free(&extra->allocator, extra->copy);
    extra->cells = NULL;
    extra->copy = NULL;
}

static void wake_joiner(weft_task *task)
{
    weft_waker joiner = task->joiner;
    if (wf_state_join_taken(&task->state))
        header_free(task);
    weft_waker_wake(&joiner);
}

/* After the completion, and read before it: so that they never are more. */
WF_NOINLINE static void count_status(weft_runtime *rt, wf_worker *w, int status)
{
    if (!w)
        wf_add_acqrel(status == WEFT_EPANIC ? &rt->foreign_panicked : &rt->foreign_failed, 1);
    else
        wf_count_rel(status == WEFT_EABORTED ? &w->aborted : status == WEFT_EPANIC ? &w->panicked : &w->failed, 1);
}

/* Counted before anybody can know that it has ended, and after all that may still spawn. */
static void count_completed(weft_runtime *rt, wf_worker *w, int status)
{
    if (wf_likely(w != NULL))
        wf_count_rel(&w->completed, 1);
    else
        wf_add_acqrel(&rt->foreign_completed, 1);
    if (wf_unlikely(status != 0))
        count_status(rt, w, status);
}

static void complete_detached(weft_task *task, bool cancelled)
{
    if (wf_state_complete_detached(&task->state, cancelled, task->spare))
        header_free(task);
}

static void complete(weft_runtime *rt, wf_worker *w, weft_task *task)
{
    int status = wf_task_status(task);
    if (!wf_state_has_handle(&task->state)) {
        drop_output(task);
        count_completed(rt, w, status);
        complete_detached(task, status == WEFT_EABORTED);
        return;
    }
    count_completed(rt, w, status);
    unsigned todo = wf_state_complete(&task->state, status == WEFT_EABORTED, task->spare);
    if (todo & WF_END_DROP_OUTPUT) { /* detached just now */
        drop_output(task);
        complete_detached(task, status == WEFT_EABORTED);
    } else if (todo & WF_END_WAKE_JOINER) {
        wake_joiner(task);
    } else if (todo & WF_END_FREE) {
        header_free(task);
    }
}

static void end_special(wf_worker *w, weft_task *task)
{
    if (wf_task_is(task, WF_TASK_WATCHED))
        wf_watch_end(w, task);
    if (wf_task_is(task, WF_TASK_STORAGE))
        wf_storage_unlink(task);
}

void wf_task_complete(wf_worker *w, weft_task *task)
{
    weft_runtime *rt = task->rt;
    if (task->extra)
        drop_rest_of_body(task);
    WF_PROBE2(end, task->id.v, task->status.v);
    if (wf_unlikely(wf_task_is(task, WF_TASK_STORAGE | WF_TASK_WATCHED)))
        end_special(w, task);
    complete(rt, w, task);
    if (wf_unlikely(wf_load_rlx(&rt->phase) != WF_RUNNING))
        wf_runtime_task_ended(rt);
}

/* ---- polling ------------------------------------------------------------------------------------------------- */

static void drop_future(weft_task *task)
{
    weft_future *f = task->body.future;
    task->body.future = NULL;
    if (f && f->ops->drop)
        f->ops->drop(f);
}

/* Aborted before it started, or stackless: it has no frames to unwind. */
static void cancel(wf_worker *w, weft_task *task)
{
    if (wf_unlikely(wf_task_is(task, WF_TASK_BLOCKING)))
        wf_blocking_retract(task);
    if (!wf_task_is(task, WF_TASK_STRAND))
        drop_future(task);
    else if (task->extra)
        wf_call_back(task->extra->drop_arg, task->value.v);
    wf_task_set_output(task, WEFT_EABORTED, NULL);
    wf_task_complete(w, task);
}

static void pending(wf_worker *w, weft_task *task)
{
    wf_note(&task->track, wf_noted(&w->track));
    if (wf_state_poll_pending(&task->state) == WF_PENDING_AGAIN)
        wf_schedule_again(w, task);
}

/* The worker's own execution stands in for the task while its future is polled. */
static void poll_future(wf_worker *w, weft_task *task)
{
    void *result = NULL;
    weft_future *f = task->body.future;
    w->exec.task = task;
    w->exec.cx.waker = (weft_waker){&wf_task_waker_ops, task};
    w->exec.waits = &task->waits;
    w->exec.budget = WF_BUDGET;
    wf_note(&task->waits, wf_wait_word(WF_WAIT_FUTURE, 0));
    weft_poll verdict = f->ops->poll(f, &w->exec.cx, &result);
    w->exec.task = NULL;
    w->exec.cx.waker = (weft_waker){NULL, NULL}; /* what runs in the loop itself must not borrow it */
    w->exec.waits = &w->exec.unread;
    if (wf_unlikely(wf_task_is(task, WF_TASK_WATCHED)))
        wf_watch_poll_end(w, task, verdict == WEFT_PENDING ? WEFT_LEFT_WAITING : WEFT_LEFT_ENDED);
    WF_PROBE2(poll_end, task->id.v, verdict);
    if (verdict == WEFT_PENDING) {
        pending(w, task);
        return;
    }
    int code = verdict;
    bool failed = verdict < 0 || wf_is_failure(result, &code);
    wf_task_set_output(task, failed ? WEFT_EFAILED : 0, failed ? (void *)(intptr_t)code : result);
    drop_future(task);
    wf_task_complete(w, task);
}

void wf_task_left(wf_worker *w, weft_task *task, int left)
{
    WF_PROBE2(poll_end, task->id.v, left);
    wf_strand_leave(w, task, (wf_strand_left)left);
    switch (left) {
    case WF_STRAND_PARKED:
        pending(w, task);
        break;
    case WF_STRAND_LENDS:
        wf_note(&task->track, wf_noted(&w->track));
        wf_store_rel(&w->lender, task);
        break; /* so does this one */
    case WF_STRAND_YIELDED:
        wf_schedule_again(w, task);
        break; /* it stays scheduled-or-running */
    case WF_STRAND_ENDED:
        wf_task_complete(w, task);
        break;
    }
}

static wf_ctx *begin_strand(wf_worker *w, weft_task *task)
{
    wf_ctx *to = wf_strand_begin(w, task);
    if (wf_unlikely(!to))
        wf_task_complete(w, task);
    return to;
}

wf_ctx *wf_task_poll(wf_worker *w, weft_task *task, uint64_t word)
{
    if (wf_unlikely(word & WF_S_ABORT)) {
        cancel(w, task);
        return NULL;
    }
    wf_task_polled(w, task);
    WF_PROBE1(poll_begin, task->id.v);
    if (wf_likely(wf_task_is(task, WF_TASK_STRAND)))
        return begin_strand(w, task);
    poll_future(w, task);
    return NULL;
}

void wf_task_poll_panicked(wf_worker *w, weft_task *task, const char *text)
{
    wf_task_set_error(task, text);
    w->exec.task = NULL;
    w->exec.cx.waker = (weft_waker){NULL, NULL}; /* the task is about to go: see poll_future() */
    w->exec.callbacks = 0;
    w->exec.waits = &w->exec.unread;
    if (wf_unlikely(wf_task_is(task, WF_TASK_WATCHED)))
        wf_watch_poll_end(w, task, WEFT_LEFT_ENDED);
    WF_PROBE2(poll_end, task->id.v, WF_STRAND_ENDED);
    wf_task_set_output(task, WEFT_EPANIC, NULL);
    drop_future(task);
    wf_task_complete(w, task);
}

void wf_extras_fork_lock(void) WF_NO_THREAD_SAFETY
{
    for (int i = 0; i < EXTRAS_LOCKS; i++)
        wf_spin_lock(&extras[i].lock);
}

void wf_extras_fork_unlock(void) WF_NO_THREAD_SAFETY
{
    for (int i = 0; i < EXTRAS_LOCKS; i++)
        wf_spin_unlock(&extras[i].lock);
}
