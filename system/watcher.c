/* watcher.c - signals reach tasks through one thread per runtime.
 *
 * Workers block all asynchronous signals (a signal frame would land on a strand's small stack), so the first use starts a
 * thread with a libuv loop of its own that takes them. It opens only what is watched: what the program has blocked everywhere, to
 * sigwait() for it perhaps, stays blocked. Each delivery bumps the count of every waiter and wakes it, so that all of them see it
 * and nothing piles up (d16).
 *
 * Who joins or leaves changes a list and rings. The thread then *settles*: it watches exactly the numbers that somebody waits for,
 * and tells those who joined. Settling is one critical section, so nobody is told of an attempt that was made for others.
 *
 * Each start has a libuv handle of its own. Messages of an earlier one may still be in the loop's pipe, and must not count for
 * those who come later; libuv keeps a closed handle until its last message has been read.
 *
 * A weft_shutdown_signal() is over with the first arrival, here and not when its task gets to run: so a second one ends also a
 * program whose tasks are stuck. What the stopped handle had caught in between, nobody has seen, and it is raised again. */
#include <base/alloc.h>
#include <limits.h>
#include <runtime/runtime.h>
#include <signal.h>
#include <stdlib.h>
#include <system/disposition.h>
#include <system/watcher.h>
#include <unistd.h>

typedef struct live {
    wf_watch watch;
    wf_watcher *watcher;
    bool delivering; /* somebody sees the present message, which libuv counts as dispatched only after the callback */
} live;

struct wf_watcher {
    wf_watchers *all;
    int number;
    wf_list waiters; /* under lock */
    live *live;      /* under lock: NULL when nothing is watched */
    bool pass_on;    /* under lock: what nobody has seen is raised again; as the last one to leave wanted it */
};

struct wf_watchers {
    wf_service service;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t bell;
    wf_a32 stop;
    wf_mutex lock;
    wf_list due; /* under lock: waiters to be woken */
    int joined;  /* under lock: waiters ever */
    wf_watcher of[WF_LAST_SIGNAL + 1];
};

/* ---- waking -------------------------------------------------------------------------------------------------- */

static void make_due_locked(wf_signal_waiter *waiter)
{
    if (!wf_node_linked(&waiter->due))
        wf_list_push_back(&waiter->watcher->all->due, &waiter->due);
}

/* A waker runs foreign code: outside the lock, and moved out before, because its waiter may go at once. */
static bool wake_one_due(wf_watchers *all)
{
    weft_waker waker;
    wf_mutex_lock(&all->lock);
    wf_node *n = wf_list_pop_front(&all->due);
    if (n)
        weft_atomic_waker_take(&wf_container(n, wf_signal_waiter, due)->waker, &waker);
    wf_mutex_unlock(&all->lock);
    if (n)
        weft_waker_wake(&waker);
    return n != NULL;
}

static void wake_all_due(wf_watchers *all)
{
    while (wake_one_due(all))
        ;
}

/* ---- the thread ---------------------------------------------------------------------------------------------- */

static void on_signal(uv_signal_t *handle, int number);

static void let_in(int how, int number)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    pthread_sigmask(how, &one, NULL);
}

static void free_live(uv_handle_t *handle) { free(handle->data); }

static int start_locked(wf_watcher *w)
{
    live *l = calloc(1, sizeof *l);
    if (!l)
        return WEFT_ENOMEM;
    int err = uv_signal_init(&w->all->loop, &l->watch.handle);
    if (err < 0) {
        free(l);
        return err;
    }
    l->watcher = w;
    l->watch.handle.data = l;
    err = wf_disposition_watch(&l->watch, on_signal, w->number);
    if (err < 0) {
        uv_close((uv_handle_t *)&l->watch.handle, free_live);
        return err;
    }
    w->live = l;
    let_in(SIG_UNBLOCK, w->number);
    return 0;
}

/* After the stop no handler counts any more. libuv's two numbers are for itself, to know when a closed handle may go. */
static bool has_unseen(const live *l)
{
    return l->watch.handle.caught_signals != l->watch.handle.dispatched_signals + l->delivering;
}

static void stop_locked(wf_watcher *w)
{
    live *l = w->live;
    w->live = NULL;
    let_in(SIG_BLOCK, w->number);
    bool is_back = wf_disposition_unwatch(&l->watch, w->number, w->pass_on);
    bool unseen = has_unseen(l);
    uv_close((uv_handle_t *)&l->watch.handle, free_live);
    if (is_back && unseen && w->pass_on)
        kill(getpid(), w->number);
}

static void tell_locked(wf_signal_waiter *waiter, int err)
{
    if (waiter->settled)
        return;
    waiter->settled = true;
    waiter->error = err;
    make_due_locked(waiter);
}

/* Bring one watcher to where its waiters want it. */
static void settle_locked(wf_watcher *w)
{
    int err = 0;
    if (wf_list_empty(&w->waiters)) {
        if (w->live)
            stop_locked(w);
        return;
    }
    if (!w->live)
        err = start_locked(w);
    for (wf_node *n = w->waiters.head.next; n != &w->waiters.head; n = n->next)
        tell_locked(wf_container(n, wf_signal_waiter, node), err);
}

static void settle_all_locked(wf_watchers *all)
{
    for (int number = 1; number <= WF_LAST_SIGNAL; number++)
        settle_locked(&all->of[number]);
}

static void unlink_locked(wf_signal_waiter *waiter, bool pass_on)
{
    if (!wf_node_linked(&waiter->node)) /* it has left with its twin, or is about to join */
        return;
    wf_node_unlink(&waiter->node);
    waiter->watcher->pass_on = pass_on;
}

static void deliver_locked(wf_signal_waiter *waiter)
{
    if (waiter->count < INT_MAX)
        waiter->count++;
    make_due_locked(waiter);
    if (waiter->twin) {
        unlink_locked(waiter, true);
        unlink_locked(waiter->twin, true);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    live *l = handle->data;
    wf_watcher *w = l->watcher;
    wf_watchers *all = w->all;
    (void)number;
    wf_mutex_lock(&all->lock);
    l->delivering = !wf_list_empty(&w->waiters);
    for (wf_node *n = w->waiters.head.next, *next; n != &w->waiters.head; n = next) {
        next = n->next;
        deliver_locked(wf_container(n, wf_signal_waiter, node));
    }
    settle_all_locked(all);
    l->delivering = false;
    wf_mutex_unlock(&all->lock);
    wake_all_due(all);
}

static void on_bell(uv_async_t *bell)
{
    wf_watchers *all = bell->data;
    wf_mutex_lock(&all->lock);
    settle_all_locked(all);
    wf_mutex_unlock(&all->lock);
    wake_all_due(all);
    if (wf_load_acq(&all->stop))
        uv_stop(&all->loop);
}

static void stop_all(wf_watchers *all)
{
    wf_mutex_lock(&all->lock);
    for (int number = 1; number <= WF_LAST_SIGNAL; number++)
        if (all->of[number].live)
            stop_locked(&all->of[number]);
    wf_mutex_unlock(&all->lock);
}

/* A fault is told even here. */
static void block_all_but_faults(void)
{
    sigset_t set;
    sigfillset(&set);
    sigdelset(&set, SIGSEGV);
    sigdelset(&set, SIGBUS);
    sigdelset(&set, SIGFPE);
    sigdelset(&set, SIGILL);
    sigdelset(&set, SIGTRAP);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static void *signal_thread(void *arg)
{
    wf_watchers *all = arg;
    pthread_setname_np(pthread_self(), "weft/signals");
    block_all_but_faults();
    uv_run(&all->loop, UV_RUN_DEFAULT);
    stop_all(all);
    uv_close((uv_handle_t *)&all->bell, NULL);
    uv_run(&all->loop, UV_RUN_DEFAULT); /* until what was caught has been read, and every handle is closed */
    return NULL;
}

/* ---- the service --------------------------------------------------------------------------------------------- */

/* No lock: nobody is left who could want it. */
static void orphan_all(wf_watchers *all)
{
    for (int number = 1; number <= WF_LAST_SIGNAL; number++)
        for (wf_node *n; (n = wf_list_pop_front(&all->of[number].waiters));) {
            wf_signal_waiter *waiter = wf_container(n, wf_signal_waiter, node);
            if (waiter->orphaned)
                waiter->orphaned(waiter);
        }
}

static void watchers_stop(wf_service *service)
{
    wf_watchers *all = wf_container(service, wf_watchers, service);
    wf_store_rel(&all->stop, 1);
    uv_async_send(&all->bell);
    pthread_join(all->thread, NULL);
    uv_loop_close(&all->loop);
    orphan_all(all);
    wf_mutex_destroy(&all->lock);
    free(all);
}

/* Born with everything blocked: the caller may have signals open that are none of this thread's business. */
static int start_thread(wf_watchers *all)
{
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    int err = -pthread_create(&all->thread, NULL, signal_thread, all);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

static wf_service *watchers_make(weft_runtime *rt, int *err)
{
    wf_watchers *all = calloc(1, sizeof *all);
    (void)rt;
    if (!all) {
        *err = WEFT_ENOMEM;
        return NULL;
    }
    wf_mutex_init(&all->lock);
    wf_list_init(&all->due);
    for (int number = 0; number <= WF_LAST_SIGNAL; number++) {
        all->of[number].all = all;
        all->of[number].number = number;
        wf_list_init(&all->of[number].waiters);
    }
    if ((*err = uv_loop_init(&all->loop)) < 0)
        goto free_all;
    if ((*err = uv_async_init(&all->loop, &all->bell, on_bell)) < 0)
        goto close_loop;
    all->bell.data = all;
    if ((*err = start_thread(all)) < 0)
        goto close_bell;
    return &all->service;

close_bell:
    uv_close((uv_handle_t *)&all->bell, NULL);
    uv_run(&all->loop, UV_RUN_DEFAULT);
close_loop:
    uv_loop_close(&all->loop);
free_all:
    wf_mutex_destroy(&all->lock);
    free(all);
    return NULL;
}

wf_watchers *wf_watchers_of(weft_runtime *rt, int *err)
{
    wf_service *service = wf_runtime_service(rt, watchers_make, watchers_stop, err);
    return service ? wf_container(service, wf_watchers, service) : NULL;
}

static wf_service *make_none(weft_runtime *rt, int *err)
{
    (void)rt, (void)err;
    return NULL;
}

int wf_watchers_joined(weft_runtime *rt)
{
    int err;
    wf_service *service = wf_runtime_service(rt, make_none, watchers_stop, &err);
    if (!service)
        return -1;
    wf_watchers *all = wf_container(service, wf_watchers, service);
    wf_mutex_lock(&all->lock);
    int joined = all->joined;
    wf_mutex_unlock(&all->lock);
    return joined;
}

/* ---- waiters ------------------------------------------------------------------------------------------------- */

void wf_watch_lock(wf_signal_waiter *self) WF_NO_THREAD_SAFETY { wf_mutex_lock(&self->watcher->all->lock); }
void wf_watch_unlock(wf_signal_waiter *self) WF_NO_THREAD_SAFETY { wf_mutex_unlock(&self->watcher->all->lock); }

void wf_watch_join(wf_watchers *all, wf_signal_waiter *self, int number)
{
    self->watcher = &all->of[number];
    self->count = 0;
    self->settled = false;
    self->error = 0;
    weft_atomic_waker_init(&self->waker);
    wf_node_init(&self->due);
    wf_mutex_lock(&all->lock);
    wf_list_push_back(&self->watcher->waiters, &self->node);
    if (all->joined < INT_MAX)
        all->joined++;
    wf_mutex_unlock(&all->lock);
    uv_async_send(&all->bell);
}

void wf_watch_forget(wf_signal_waiter *self)
{
    weft_waker waker;
    weft_atomic_waker_take(&self->waker, &waker);
    weft_waker_drop(&waker);
}

void wf_watch_leave(wf_signal_waiter *self, bool pass_on)
{
    wf_watchers *all = self->watcher->all;
    wf_mutex_lock(&all->lock);
    unlink_locked(self, pass_on);
    wf_node_unlink(&self->due);
    wf_mutex_unlock(&all->lock);
    wf_watch_forget(self);
    uv_async_send(&all->bell);
}
