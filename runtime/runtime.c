/* runtime.c - starting a runtime, and the doors into it. Stopping is shutdown.c. */
#include <base/clock.h>
#include <base/cpus.h>
#include <base/scope.h>
#include <ctype.h>
#include <runtime/layout.h>
#include <runtime/monitor.h>
#include <runtime/runtime.h>
#include <runtime/strand.h>
#include <runtime/taker.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- of the process ------------------------------------------------------------------------------------------ */

static wf_mutex all_lock = WF_MUTEX_INIT;
wf_list wf_all_runtimes;
static wf_a64 last_id;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;

uint64_t wf_ids_take(uint64_t n) { return wf_add_rlx(&last_id, n) + 1; }

static int dead_interruption(wf_exec *self)
{
    self->cause = NULL;
    return WEFT_ENOTSUP;
}

/* The thread that forked goes on in the child, in a task perhaps: its awaits say so instead of waiting for ever. */
static void forbid_awaits(void)
{
    static wf_exec_ops dead;
    wf_exec *exec = wf_exec_peek();
    if (!exec || !exec->rt)
        return;
    dead = *exec->ops;
    dead.interruption = dead_interruption;
    exec->ops = &dead;
    exec->signs = NULL;
}

/* A child may start a runtime of its own, so what belongs to the process must not be locked there by a thread that it has not. */
static void before_fork(void) WF_NO_THREAD_SAFETY
{
    wf_mutex_lock(&all_lock);
    wf_taker_fork_lock();
    wf_segv_fork_lock();
    wf_stacks_fork_lock();
    wf_extras_fork_lock();
    wf_scopes_fork_lock();
}

static void in_parent(void) WF_NO_THREAD_SAFETY
{
    wf_scopes_fork_unlock();
    wf_extras_fork_unlock();
    wf_stacks_fork_unlock();
    wf_segv_fork_unlock();
    wf_taker_fork_unlock();
    wf_mutex_unlock(&all_lock);
}

/* It has the memory of the runtimes but none of their threads: they are dead there. */
static void in_forked_child(void) WF_NO_THREAD_SAFETY
{
    for (wf_node *n = wf_all_runtimes.head.next; n != &wf_all_runtimes.head; n = n->next) {
        weft_runtime *rt = wf_container(n, weft_runtime, all);
        wf_store_rlx(&rt->phase, WF_FORKED);
        wf_store_rlx(&rt->sources.forked, 1);
    }
    forbid_awaits();
    in_parent();
}

static void process_init(void)
{
    wf_list_init(&wf_all_runtimes);
    pthread_atfork(before_fork, in_parent, in_forked_child);
    wf_segv_set_describer(wf_strand_describe_overflow);
    wf_strand_look_for_debugging();
    wf_layout_keep();
}

/* ---- logging, counting --------------------------------------------------------------------------------------- */

void wf_log_text(weft_runtime *rt, weft_log_level level, const char *task, const char *text)
{
    if (rt->options.log)
        rt->options.log(rt->options.log_arg, level, task, text);
    else
        fprintf(stderr, "weft: %s\n", text);
}

/* Names in it are the program's, or even its clients'. */
void wf_one_line(char *text)
{
    for (; *text; text++)
        if (iscntrl((unsigned char)*text))
            *text = '?';
}

void wf_log(weft_runtime *rt, weft_log_level level, const char *task, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    wf_one_line(text);
    wf_log_text(rt, level, task, text);
}

/* Completed first: whatever is spawned meanwhile can only make the difference larger (d29). */
uint64_t wf_runtime_active(weft_runtime *rt, uint64_t *spawned, uint64_t *completed)
{
    uint64_t done = wf_load_acq(&rt->foreign_completed), born;
    for (unsigned i = 0; i < rt->count; i++)
        done += wf_load_acq(&rt->workers[i]->completed);
    born = wf_load_acq(&rt->foreign_spawned);
    for (unsigned i = 0; i < rt->count; i++)
        born += wf_load_acq(&rt->workers[i]->spawned);
    if (spawned)
        *spawned = born;
    if (completed)
        *completed = done;
    return born - done;
}

/* In a stackless poll of its own, which keeps it anyway: nothing can be deferred there, so that one that panics while it looks does not come back to say
 * that it is done. Nor can it come back elsewhere, as a coroutine may. */
static bool is_its_own_poll(const weft_runtime *rt)
{
    const wf_exec *exec = wf_exec_peek();
    return exec && exec->task && exec->rt == rt && !exec->ops->suspend && !exec->body->coro;
}

bool wf_runtime_look_begin(weft_runtime *rt)
{
    if (wf_runtime_phase(rt) == WF_FORKED)
        return false;
    if (!is_its_own_poll(rt))
        wf_add_seq(&rt->lookers, 1);
    return true;
}

void wf_runtime_look_end(weft_runtime *rt)
{
    if (!is_its_own_poll(rt))
        wf_sub_seq(&rt->lookers, 1);
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* Workers take no asynchronous signals: a handler's frame would land on a strand's small stack. */
void wf_signals_block(sigset_t *before)
{
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGTRAP);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

static void *worker_thread(void *arg)
{
    wf_worker *w = arg;
    char name[16];
    snprintf(name, sizeof name, "%.10s/%u", w->rt->name, w->index);
    pthread_setname_np(pthread_self(), name);
    wf_worker_enter(w);
    wf_worker_run(w, NULL, NULL);
    wf_worker_leave(w);
    return NULL;
}

/* Workers first … count - 1 get threads. They inherit the full mask. */
static int start_threads(weft_runtime *rt)
{
    sigset_t before;
    int err = 0;
    wf_signals_block(&before);
    for (unsigned i = rt->caller_runs ? 1 : 0; i < rt->count && err == 0; i++) {
        err = -pthread_create(&rt->workers[i]->thread, NULL, worker_thread, rt->workers[i]);
        if (err == 0)
            rt->threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

/* ---- creation ------------------------------------------------------------------------------------------------ */

/* But for ready, which the reactors call. */
static bool has_hooks(const weft_hooks *h)
{
    return h->spawn || h->wake || h->poll_begin || h->poll_end || h->end || h->park || h->unpark;
}

/* What nobody asked for must not start a thread where there is to be none, nor report that nothing goes on while time stands still. */
static int64_t default_watchdog(const weft_options *o)
{
#ifdef NDEBUG
    (void)o;
    return WEFT_FOREVER;
#else
    bool none = o->flags & WEFT_CURRENT_THREAD || o->clock == WEFT_CLOCK_PAUSED;
    return none ? WEFT_FOREVER : 100 * WEFT_MS;
#endif
}

/* Once it is known whether there is a watchdog. */
static bool wants_samples(const weft_options *o)
{
    return o->watchdog != WEFT_FOREVER || o->flags & WEFT_DUMP_ON_SIGQUIT;
}

static int read_options(weft_runtime *rt, const weft_options *options, size_t size)
{
    if (options)
        memcpy(&rt->options, options, WF_MIN(size, sizeof rt->options));
    weft_options *o = &rt->options;
    if (o->flags & WEFT_CURRENT_THREAD)
        o->workers = 1;
    if (o->workers == 0)
        o->workers = WF_MIN(wf_cpus_allowed(), WF_MAX_WORKERS);
    if (o->stack_size == 0)
        o->stack_size = WF_DEFAULT_STACK;
    if (o->shutdown_grace == 0)
        o->shutdown_grace = 10 * WEFT_SEC;
    if (o->watchdog == 0)
        o->watchdog = default_watchdog(o);
    if (!o->allocator.alloc && !o->allocator.free)
        o->allocator = wf_malloc_allocator;
    snprintf(rt->name, sizeof rt->name, "%s", o->name ? o->name : "weft");
    o->name = rt->name;
    rt->watched =
        (uint8_t)((o->flags & WEFT_MEASURE ? WF_TASK_MEASURED : 0) | (has_hooks(&o->hooks) ? WF_TASK_WATCHED : 0));
    rt->sampled = wants_samples(o);
    rt->born_at = wf_now();
    if (o->clock == WEFT_CLOCK_PAUSED)
        wf_paused_clock_init(rt);
    if (o->seed && o->workers == 1) {
        wf_rng_seed(&rt->choices, o->seed);
        rt->chance = &rt->choices;
    }
    bool sane = o->workers <= WF_MAX_WORKERS && o->stack_size >= 16 * 1024 && o->stack_size <= 1 << 30 &&
                o->shutdown_grace > 0 && o->watchdog > 0 && o->clock <= WEFT_CLOCK_PAUSED && o->allocator.alloc &&
                o->allocator.free;
    return sane ? 0 : WEFT_EINVAL;
}

static int open_workers(weft_runtime *rt)
{
    rt->workers = calloc(rt->options.workers, sizeof *rt->workers);
    if (!rt->workers)
        return WEFT_ENOMEM;
    rt->count = rt->options.workers;
    rt->cpu_each = wf_cpus_of_affinity() >= WF_MAX(rt->count, 2);
    for (unsigned i = 0; i < rt->count; i++) {
        wf_worker *w = aligned_alloc(WF_CACHE_LINE, (sizeof *w + WF_CACHE_LINE - 1) / WF_CACHE_LINE * WF_CACHE_LINE);
        int err = w ? wf_worker_open(w, rt, i) : WEFT_ENOMEM;
        if (err < 0) {
            free(w);
            rt->count = i;
            return err;
        }
        rt->workers[i] = w;
    }
    return 0;
}

static int init_shared(weft_runtime *rt)
{
    wf_mutex_init(&rt->lock);
    pthread_cond_init(&rt->ended, NULL);
    for (int i = 0; i < WF_SHELVES; i++) {
        wf_mutex_init(&rt->shelves[i].lock);
        wf_list_init(&rt->shelves[i].tasks);
    }
    wf_sources_init(&rt->sources, &rt->options.allocator);
    wf_store_rlx(&rt->active_at, wf_now());
    rt->heap = wf_heap_create();
    return rt->heap ? 0 : WEFT_ENOMEM;
}

static void enlist(weft_runtime *rt)
{
    wf_mutex_lock(&all_lock);
    wf_list_push_back(&wf_all_runtimes, &rt->all);
    wf_mutex_unlock(&all_lock);
}

static void delist(weft_runtime *rt)
{
    wf_mutex_lock(&all_lock);
    wf_node_unlink(&rt->all);
    wf_mutex_unlock(&all_lock);
}

void wf_runtime_join_threads(weft_runtime *rt)
{
    for (unsigned i = rt->caller_runs ? 1 : 0; rt->threads > 0; i++, rt->threads--)
        pthread_join(rt->workers[i]->thread, NULL);
}

/* A runtime without threads gets none for signals either: its caller's mask is left alone. */
static bool needs_taker(weft_runtime *rt) { return rt->caller_runs && !(rt->options.flags & WEFT_CURRENT_THREAD); }

static void release_process(weft_runtime *rt)
{
    if (needs_taker(rt))
        wf_taker_release();
    wf_backtrace_unprepare(rt);
    if (!(rt->options.flags & WEFT_NO_SEGV_HANDLER))
        wf_segv_uninstall();
    wf_stacks_release();
}

static int acquire_process(weft_runtime *rt)
{
    pthread_once(&process_once, process_init);
    int err = wf_stacks_acquire();
    if (err < 0)
        return err;
    if (!(rt->options.flags & WEFT_NO_SEGV_HANDLER) && (err = wf_segv_install()) < 0)
        goto release_stacks;
    if ((err = wf_backtrace_prepare(rt)) < 0)
        goto uninstall;
    if (needs_taker(rt) && (err = wf_taker_acquire()) < 0)
        goto unprepare;
    return 0;

unprepare:
    wf_backtrace_unprepare(rt);
uninstall:
    if (!(rt->options.flags & WEFT_NO_SEGV_HANDLER))
        wf_segv_uninstall();
release_stacks:
    wf_stacks_release();
    return err;
}

/* Also for a runtime that was never completed. The last thread that knows of it calls this. */
void wf_runtime_free(weft_runtime *rt)
{
    wf_store_rel(&rt->phase, WF_STOPPED);
    wf_idle_wake_all(rt);
    wf_runtime_join_threads(rt);
    while (wf_load_acq(&rt->entrants) > 0) /* somebody outside is about to leave his wake */
        sched_yield();
    while (wf_load_acq(&rt->lookers) > 0)
        sched_yield();
    for (wf_service *s = rt->services, *next; s; s = next) {
        next = s->next;
        s->stop(s);
    }
    wf_sources_destroy(&rt->sources);
    for (unsigned i = 0; i < rt->count; i++) {
        wf_worker_close(rt->workers[i]);
        free(rt->workers[i]);
    }
    free(rt->workers);
    delist(rt);
    if (rt->heap)
        wf_heap_orphan(rt->heap);
    release_process(rt);
    pthread_cond_destroy(&rt->ended);
    wf_mutex_destroy(&rt->lock);
    for (int i = 0; i < WF_SHELVES; i++)
        wf_mutex_destroy(&rt->shelves[i].lock);
    free(rt);
}

static int create(weft_runtime **out, const weft_options *options, size_t size, bool caller_runs)
{
    weft_runtime *rt = aligned_alloc(alignof(weft_runtime), sizeof *rt);
    if (!rt)
        return WEFT_ENOMEM;
    memset(rt, 0, sizeof *rt);
    int err = read_options(rt, options, size);
    rt->caller_runs = caller_runs || rt->options.flags & WEFT_CURRENT_THREAD;
    if (err < 0 || (err = acquire_process(rt)) < 0) {
        free(rt);
        return err;
    }
    enlist(rt);
    if ((err = init_shared(rt)) < 0 || (err = open_workers(rt)) < 0 || (err = start_threads(rt)) < 0 ||
        (err = wf_monitor_start(rt)) < 0) {
        wf_runtime_free(rt);
        return err;
    }
    *out = rt;
    return 0;
}

/* Tasks and callbacks must not start or stop runtimes: their worker, or thread of the pool, would wait for itself. */
static bool inside(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec && (exec->worker || exec->task || exec->callbacks);
}

int weft_runtime_create_sized(weft_runtime **rt, const weft_options *options, size_t size)
{
    if (!rt)
        return WEFT_EINVAL;
    *rt = NULL;
    return inside() ? WEFT_EDEADLK : create(rt, options, size, false);
}

/* ---- running on the calling thread --------------------------------------------------------------------------- */

typedef struct drive {
    wf_exec *before;
    sigset_t mask;
} drive;

static void drive_begin(wf_worker *w, drive *d)
{
    if (w->rt->options.flags & WEFT_CURRENT_THREAD)
        pthread_sigmask(SIG_SETMASK, NULL, &d->mask);
    else
        wf_signals_block(&d->mask);
    d->before = wf_exec_peek();
    wf_store_rel(&w->rt->driver_ignored, wf_exec_is_ignored(d->before));
    wf_worker_enter(w);
}

static void drive_end(wf_worker *w, drive *d)
{
    wf_worker_leave(w);
    wf_exec_set(d->before);
    pthread_sigmask(SIG_SETMASK, &d->mask, NULL);
}

void wf_runtime_drive(weft_runtime *rt, void (*fn)(void *arg), void *arg)
{
    drive d;
    drive_begin(rt->workers[0], &d);
    fn(arg);
    drive_end(rt->workers[0], &d);
}

static bool has_ended(void *task) { return weft_is_finished(task); }

/* Another worker may end the root while this one sleeps: then its joiner's waker rings. */
static int ring_clone(const weft_waker *self, weft_waker *out)
{
    *out = *self;
    return 0;
}
static void ring_by_ref(const weft_waker *self) { wf_reactor_ring(&((wf_worker *)self->data)->reactor, WF_RUNG); }
static void ring(weft_waker *self) { ring_by_ref(self); }
static void ring_drop(weft_waker *self) { (void)self; }
static const weft_waker_ops ring_ops = {.clone = ring_clone, .wake = ring, .wake_by_ref = ring_by_ref, .drop = ring_drop};

/* False: it has ended already, and nobody is woken. */
static bool wake_when_done(weft_task *task, weft_waker waker)
{
    if (wf_state_join_lock(&task->state) != WF_JOIN_LOCKED)
        return false;
    task->joiner = waker;
    return wf_state_join_unlock(&task->state, true) == WF_JOIN_SET;
}

/* Without an end the runtime was abandoned, and nobody will poll it again. */
static int take_root(weft_task *task, void **result)
{
    int err = weft_try_join(task, result);
    if (err != WEFT_EAGAIN)
        return err;
    weft_detach(task);
    return WEFT_ECANCELED;
}

typedef struct root {
    weft_runtime *rt;
    weft_fn fn;
    void *arg, **result;
    int err;
} root;

static void run_root(void *arg)
{
    root *r = arg;
    wf_worker *w = r->rt->workers[0];
    weft_task *task;
    r->err = weft_spawn_on(r->rt, &task, r->fn, r->arg);
    if (r->err < 0)
        return;
    wake_when_done(task, (weft_waker){&ring_ops, w});
    wf_worker_run(w, has_ended, task);
    r->err = take_root(task, r->result);
}

static int run_here(weft_runtime *rt, weft_fn fn, void *arg, void **result)
{
    root r = {.rt = rt, .fn = fn, .arg = arg, .result = result};
    wf_runtime_drive(rt, run_root, &r);
    return r.err;
}

/* The one thread that may be worker 0 at a time. */
bool wf_runtime_claim_drive(weft_runtime *rt)
{
    wf_mutex_lock(&rt->lock);
    bool mine = !rt->driven;
    rt->driven = true;
    wf_mutex_unlock(&rt->lock);
    return mine;
}

void wf_runtime_release_drive(weft_runtime *rt)
{
    wf_mutex_lock(&rt->lock);
    rt->driven = false;
    wf_mutex_unlock(&rt->lock);
}

int weft_run_sized(const weft_options *options, size_t size, weft_fn fn, void *arg, void **result)
{
    void *value = NULL;
    weft_runtime *rt;
    if (result)
        *result = NULL;
    if (!fn)
        return WEFT_EINVAL;
    if (inside())
        return WEFT_EDEADLK;
    int err = create(&rt, options, size, true);
    if (err < 0)
        return err;
    wf_runtime_claim_drive(rt);
    err = run_here(rt, fn, arg, &value);
    if (result)
        *result = value;
    int stopped = wf_runtime_shut(rt, rt->options.shutdown_grace, true);
    if (stopped < 0)
        return stopped; /* abandoned: tasks that would not end still use it. Or a forked child: it is the parent's */
    wf_runtime_free(rt);
    return err;
}

/* Wakes whoever waits on the runtime's condition. Once for each root: from here on its caller may do anything. */
static void ended_by_ref(const weft_waker *self)
{
    weft_runtime *rt = self->data;
    wf_mutex_lock(&rt->lock);
    rt->awaited--;
    pthread_cond_broadcast(&rt->ended);
    wf_mutex_unlock(&rt->lock);
}
static void ended(weft_waker *self) { ended_by_ref(self); }
static const weft_waker_ops ended_ops = {.clone = ring_clone, .wake = ended, .wake_by_ref = ended_by_ref, .drop = ring_drop};

static void note_awaited(weft_runtime *rt, unsigned more)
{
    wf_mutex_lock(&rt->lock);
    rt->awaited += more;
    wf_mutex_unlock(&rt->lock);
}

/* Not by weft_join(): that would wait for ever if the runtime were abandoned meanwhile. */
static int await_root(weft_runtime *rt, weft_task *task, void **result)
{
    wf_exec *self = wf_exec_peek();
    wf_exec_count_apart(self, true);
    note_awaited(rt, 1);
    if (!wake_when_done(task, (weft_waker){&ended_ops, rt}))
        note_awaited(rt, -1u);
    wf_mutex_lock(&rt->lock);
    while (!weft_is_finished(task) && wf_runtime_phase(rt) < WF_ABANDONED)
        pthread_cond_wait(&rt->ended, &rt->lock.m);
    wf_mutex_unlock(&rt->lock);
    wf_exec_count_apart(self, false);
    return take_root(task, result);
}

int weft_block_on(weft_runtime *rt, weft_fn fn, void *arg, void **result)
{
    weft_task *task;
    if (result)
        *result = NULL;
    if (!rt || !fn)
        return WEFT_EINVAL;
    if (inside())
        return WEFT_EDEADLK;
    if (!rt->caller_runs) {
        int err = weft_spawn_on(rt, &task, fn, arg);
        return err < 0 ? err : await_root(rt, task, result);
    }
    if (wf_runtime_phase(rt) == WF_FORKED)
        return WEFT_ENOTSUP; /* its lock may be held by a thread that is not there */
    if (!wf_runtime_claim_drive(rt))
        return WEFT_EBUSY;
    int err = run_here(rt, fn, arg, result);
    wf_runtime_release_drive(rt);
    return err;
}

int weft_runtime_shutdown(weft_runtime *rt, int64_t grace)
{
    if (!rt || grace < 0)
        return WEFT_EINVAL;
    if (inside())
        return WEFT_EDEADLK;
    return wf_runtime_shut(rt, grace, false);
}

int weft_runtime_destroy(weft_runtime *rt)
{
    if (!rt)
        return 0;
    if (inside())
        return WEFT_EDEADLK;
    if (wf_runtime_phase(rt) == WF_FORKED)
        return WEFT_ENOTSUP;
    if (wf_runtime_shut(rt, rt->options.shutdown_grace, false) == WEFT_ETIMEDOUT)
        return WEFT_EBUSY;
    wf_runtime_free(rt);
    return 0;
}

/* ---- where am I ---------------------------------------------------------------------------------------------- */

weft_runtime *weft_runtime_current(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec ? exec->rt : NULL;
}

int weft_runtime_enter(weft_runtime *rt)
{
    wf_exec *exec = wf_exec_current();
    if (!rt || !exec)
        return rt ? WEFT_ENOMEM : WEFT_EINVAL;
    if (exec->rt)
        return WEFT_EBUSY;
    if (wf_runtime_phase(rt) != WF_RUNNING)
        return WEFT_ECANCELED;
    exec->rt = rt;
    return 0;
}

int weft_runtime_leave(void)
{
    wf_exec *exec = wf_exec_peek();
    if (!exec || !exec->rt || exec->worker || exec->task)
        return WEFT_EINVAL;
    exec->rt = NULL;
    return 0;
}

unsigned weft_runtime_workers(weft_runtime *rt)
{
    rt = rt ? rt : weft_runtime_current();
    return rt ? rt->count : 0;
}

wf_reactor *wf_reactor_here(weft_runtime *rt, const wf_exec *exec)
{
    if (exec->worker && exec->worker->rt == rt)
        return &exec->worker->reactor;
    static wf_a32 turn; /* outsiders spread their sources over the workers */
    return &rt->workers[wf_add_rlx(&turn, 1) % rt->count]->reactor;
}

wf_service *wf_runtime_service(weft_runtime *rt, wf_service *(*make)(weft_runtime *rt, int *err),
                               void (*stop)(wf_service *), int *err)
{
    wf_mutex_lock(&rt->lock);
    wf_service *s = rt->services;
    while (s && s->stop != stop)
        s = s->next;
    if (!s && (s = make(rt, err))) {
        s->stop = stop;
        s->next = rt->services;
        rt->services = s;
    }
    wf_mutex_unlock(&rt->lock);
    return s;
}
