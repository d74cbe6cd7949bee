/* idle.c - scenes of sleep: what is published while workers go to sleep is found, and nobody stays counted as a searcher.
 *
 * The workers are runtime/worker.c and idle.c, their reactors reactor.c; the set waits until somebody rings. Time stands, so nobody wakes by himself:
 * what TICK is for (a task that holds its worker, a backlog in a worker's own queue) is not played. */
#define MODEL_WORKER 1
#include "../runtime.h"

#include <base/clock.h>

/* A counter that counts the looks at it: who watches looks a few times, whatever the others do. */
static uint64_t looks(void);
#define wf_cycles looks
#define wf_cpu_relax() ((void)0)

#include <reactor/reactor.c>
#undef wf_cpu_relax
#include <runtime/idle.c>
#include <runtime/worker.c>

enum { WORKERS = 3 };

typedef struct work {
    weft_future future;
    int polls; /* plain */
    bool idles;
} work;

static struct {
    weft_runtime rt;
    wf_worker workers[WORKERS];
    wf_worker *pointers[WORKERS];
    work works[MODEL_THREADS];
    weft_waker waker;
    wf_a32 left_waker; /* it is there */
    int left[WORKERS];
    uint64_t looks;
} s;

__attribute__((no_sanitize("thread"))) static uint64_t looks(void) { return ++s.looks; }

#define IDLE_SCENE(id, ...) MODEL_SCENE(id, .state = &s, .state_size = sizeof s, __VA_ARGS__)

/* ---- libuv, and what else a loop asks for ------------------------------------------------------------------------------ */

/* Worker i is thread i. */
static unsigned owner_of(const wf_reactor *r) { return wf_container(r, wf_worker, reactor)->index; }

void wf_set_ring(wf_reactor *r) { model_unpark(owner_of(r)); }

unsigned wf_set_wait(wf_reactor *r, int timeout)
{
    (void)r, (void)timeout;
    model_park();
    return 0;
}

/* Not asked for anything. */
#define NOTHING(name, ...) \
    int name(__VA_ARGS__) { return 0; }
NOTHING(wf_cpu_here, void)
NOTHING(wf_set_open, wf_reactor *r)
NOTHING(uv_run, uv_loop_t *loop, uv_run_mode mode)
NOTHING(uv_loop_init, uv_loop_t *loop)
NOTHING(uv_loop_close, uv_loop_t *loop)
NOTHING(uv_is_closing, const uv_handle_t *handle)
NOTHING(uv_timer_init, uv_loop_t *loop, uv_timer_t *timer)
NOTHING(uv_timer_stop, uv_timer_t *timer)
NOTHING(uv_timer_start, uv_timer_t *timer, uv_timer_cb fn, uint64_t timeout, uint64_t repeat)
NOTHING(uv_prepare_init, uv_loop_t *loop, uv_prepare_t *prepare)
NOTHING(uv_prepare_start, uv_prepare_t *prepare, uv_prepare_cb fn)
NOTHING(wf_stack_cache_init, wf_stack_cache *cache, size_t size)
NOTHING(wf_pool_submit, weft_runtime *rt, wf_lane lane, wf_job *job)
unsigned wf_set_poll(wf_reactor *r) { return 0; }
unsigned wf_timers_expire(wf_timers *t, int64_t now) { return 0; }
uint64_t uv_now(const uv_loop_t *loop) { return 0; }
int64_t wf_worker_time(const wf_worker *w, int64_t now) { return now; }
bool wf_paused_clock_jumps(wf_worker *w) { return false; }
void wf_set_close(wf_reactor *r) {}
void wf_set_free(wf_reactor *r) {}
void uv_walk(uv_loop_t *loop, uv_walk_cb fn, void *arg) {}
void uv_close(uv_handle_t *handle, uv_close_cb fn) {}
void uv_stop(uv_loop_t *loop) {}
void uv_update_time(uv_loop_t *loop) {}
void wf_timers_init(wf_timers *t, int64_t now) {}
void wf_stack_cache_flush(wf_stack_cache *cache) {}
void wf_header_flush(wf_heap *heap, wf_header_cache *cache) {}
int64_t wf_worker_tidy_next(const wf_worker *w) { return WEFT_FOREVER; }
void wf_worker_tidy(wf_worker *w, int64_t now) {}
NOTHING(wf_segv_thread_enter, wf_segv_thread *t)
void wf_segv_thread_leave(wf_segv_thread *t) {}
void wf_blocking_init(weft_task *task) {}
void wf_blocking_retract(weft_task *task) {}

/* ---- workers ------------------------------------------------------------------------------------------------------------ */

static void open_workers(unsigned n)
{
    s.rt.count = n;
    s.rt.workers = s.pointers;
    for (unsigned i = 0; i < n; i++) {
        wf_worker *w = s.pointers[i] = &s.workers[i];
        w->rt = w->exec.rt = &s.rt;
        w->index = i;
        w->alone = n == 1;
        w->orderly = true;
        w->exec.ops = &loop_ops;
        w->exec.worker = w;
        w->exec.cx.exec = &w->exec;
        model_name(&w->reactor.parked, &"reactor 0\0reactor 1\0reactor 2"[i * 10]);
        model_name(&w->pinned_mail, &"mail 0\0mail 1\0mail 2"[i * 7]);
    }
    model_name(&s.rt.searchers, "searchers");
    model_name(&s.rt.parked, "parked");
    model_name(&s.rt.inject.len, "inject");
}

static void one_worker(void) { open_workers(1); }
static void two_workers(void) { open_workers(2); }
static void three_workers(void) { open_workers(3); }

static void watchful(unsigned n)
{
    enum { A_FEW = 4 };
    open_workers(n);
    for (unsigned i = 0; i < n; i++)
        s.workers[i].patience = (wf_patience){.moment = A_FEW, .trust = WF_PATIENCE_TRUST_MOST};
}

static void watchful_worker(void) { watchful(1); }
static void two_watchful_workers(void) { watchful(2); }

static void work_until_stopped(wf_worker *w)
{
    wf_worker_run(w, NULL, NULL);
    s.left[w->index] = 1;
}

static void worker(void)
{
    wf_worker *w = &s.workers[model_self()];
    wf_exec_set(&w->exec);
    work_until_stopped(w);
}

/* It has just found nothing, as a searcher or not. */
static void sleepy_worker(void)
{
    wf_worker *w = &s.workers[model_self()];
    wf_exec_set(&w->exec);
    wf_idle_park(w);
    work_until_stopped(w);
}

static void sleepy_searcher(void)
{
    wf_worker *w = &s.workers[model_self()];
    wf_exec_set(&w->exec);
    if (wf_idle_search_begin(w))
        wf_idle_park(w);
    work_until_stopped(w);
}

/* ---- work --------------------------------------------------------------------------------------------------------------- */

static weft_poll work_poll(weft_future *f, weft_context *cx, void **result)
{
    work *w = wf_container(f, work, future);
    *result = NULL;
    w->polls++;
    if (!w->idles)
        return WEFT_READY;
    w->idles = false;
    model_check(wf_context_clone_waker(cx, &s.waker) == 0);
    wf_store_rel(&s.left_waker, 1);
    return WEFT_PENDING;
}

static const weft_future_ops work_ops = {.poll = work_poll};

static void spawn_pinned_to(unsigned pinned)
{
    weft_spawn_options options = {.runtime = &s.rt, .pinned = pinned};
    work *w = &s.works[model_self()];
    w->future.ops = &work_ops;
    model_check(weft_spawn_future_with(NULL, &options, &w->future) == 0);
}

static void spawn_anywhere(void) { spawn_pinned_to(0); }
static void spawn_on_0(void) { spawn_pinned_to(WEFT_PIN_TO(0)); }
static void spawn_on_1(void) { spawn_pinned_to(WEFT_PIN_TO(1)); }

/* All have gone to sleep, and what they say of themselves is so: else nobody would ever wake them. */
static void all_sleep(void)
{
    model_check(wf_load_rlx(&s.rt.searchers) == 0);
    for (unsigned i = 0; i < s.rt.count; i++) {
        model_check(wf_reactor_is_parked(&s.workers[i].reactor));
        model_check(!s.workers[i].searching);
    }
    model_check(__builtin_popcountll(wf_load_rlx(&s.rt.parked[0])) == (int)s.rt.count);
    model_check(wf_load_rlx(&s.rt.entrants) == 0);
}

static void all_is_done(void)
{
    for (unsigned i = 0; i < MODEL_THREADS; i++)
        model_check(s.works[i].polls == (s.works[i].future.ops != NULL));
    model_check(model_blocks() == 0);
    all_sleep();
}

#define SLEEPING .may_block = true, .finish = all_is_done

IDLE_SCENE(idle_alone, .setup = one_worker, .threads = {sleepy_worker, spawn_anywhere, spawn_on_0}, SLEEPING,
           .preemptions = 1, .stale = 1, .random = 1000);
IDLE_SCENE(idle_inject, .setup = two_workers, .threads = {sleepy_searcher, sleepy_worker, spawn_anywhere}, SLEEPING,
           .preemptions = 1, .stale = 1, .random = 1000);
IDLE_SCENE(idle_two_inject, .setup = two_workers,
           .threads = {sleepy_searcher, sleepy_worker, spawn_anywhere, spawn_anywhere}, SLEEPING, .random = 8000);
IDLE_SCENE(idle_pinned, .setup = two_workers, .threads = {sleepy_searcher, sleepy_worker, spawn_on_0, spawn_on_1},
           SLEEPING, .random = 2000);
IDLE_SCENE(idle_pinned_and_inject, .setup = two_workers,
           .threads = {sleepy_searcher, sleepy_worker, spawn_on_0, spawn_anywhere}, SLEEPING, .random = 3000);
IDLE_SCENE(idle_awake, .setup = two_workers, .threads = {worker, worker, spawn_anywhere, spawn_on_1}, SLEEPING,
           .random = 2000);
IDLE_SCENE(idle_three, .setup = three_workers,
           .threads = {sleepy_searcher, sleepy_searcher, sleepy_worker, spawn_anywhere, spawn_anywhere}, SLEEPING,
           .random = 3000);

IDLE_SCENE(idle_watching_alone, .setup = watchful_worker, .threads = {sleepy_worker, spawn_anywhere, spawn_on_0},
           SLEEPING, .preemptions = 1, .stale = 1, .random = 1000);
IDLE_SCENE(idle_watching, .setup = two_watchful_workers,
           .threads = {sleepy_searcher, sleepy_worker, spawn_on_0, spawn_anywhere}, SLEEPING, .random = 3000);

/* ---- wakes of a task that idles ------------------------------------------------------------------------------------------ */

static void an_idle_task(void)
{
    two_workers();
    work *w = &s.works[0];
    *w = (work){.future.ops = &work_ops, .idles = true};
    weft_spawn_options options = {.runtime = &s.rt};
    model_check(weft_spawn_future_with(NULL, &options, &w->future) == 0);
}

/* Until its poll has left the waker: it may have come too early. */
static void wake_it(void)
{
    while (wf_load_acq(&s.left_waker) == 0)
        model_yield();
    weft_waker_wake(&s.waker);
}

static void it_was_woken(void)
{
    model_check(s.works[0].polls == 2);
    model_check(model_blocks() == 0);
    all_sleep();
}

IDLE_SCENE(idle_wake, .setup = an_idle_task, .threads = {worker, worker, wake_it}, .may_block = true,
           .finish = it_was_woken, .random = 2000);

/* ---- the end --------------------------------------------------------------------------------------------------------------- */

static void stop(void)
{
    wf_swap_seq(&s.rt.phase, WF_STOPPED);
    wf_idle_wake_all(&s.rt);
}

static void all_have_left(void)
{
    model_check(s.left[0] + s.left[1] == 2);
    model_check(wf_load_rlx(&s.rt.searchers) == 0);
}

IDLE_SCENE(idle_stop, .setup = two_workers, .threads = {sleepy_searcher, sleepy_worker, stop}, .finish = all_have_left,
           .preemptions = 1, .stale = 1, .random = 1000);
