/* signals.c - signals reach tasks through one thread per runtime.
 *
 * Workers block all asynchronous signals (a signal frame would land on a strand's small stack), so the first use starts a
 * thread with a libuv loop of its own that takes them. One uv_signal_t per number while somebody waits for it; each delivery bumps a
 * count and wakes every waiter, so that all of them see it and nothing piles up (d16). With the last waiter the watcher stops
 * and the signal does again what it did before. Requests to the thread are letters in a mailbox; it is rung by uv_async_send. */
#include <base/alloc.h>
#include <base/list.h>
#include <base/mailbox.h>
#include <runtime/runtime.h>
#include <signal.h>
#include <stdlib.h>
#include <weft/os.h>

enum { LAST_SIGNAL = 64 };

typedef struct signals {
    wf_service service;
    weft_runtime *rt;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t bell;
    wf_a32 stop;
    wf_mutex lock;
    struct watcher {
        uv_signal_t handle; /* the thread's */
        bool open;          /* the thread's: handle is initialized */
        bool running;       /* the thread's */
        struct signals *all;
        wf_list waiters; /* under lock */
        unsigned wanted; /* under lock: waiters */
        int error;       /* under lock: starting it failed */
        bool started;    /* under lock: it has been started for the present waiters */
    } watchers[LAST_SIGNAL + 1];
} signals;

typedef struct waiter {
    wf_node node; /* under lock */
    struct watcher *watcher;
    uint64_t count; /* under lock: deliveries since it came */
    weft_atomic_waker waker;
} waiter;

/* ---- the thread ---------------------------------------------------------------------------------------------- */

static void wake_all_locked(struct watcher *w)
{
    for (wf_node *n = w->waiters.head.next; n != &w->waiters.head; n = n->next)
        weft_atomic_waker_wake(&wf_container(n, waiter, node)->waker);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct watcher *w = handle->data;
    (void)number;
    wf_mutex_lock(&w->all->lock);
    for (wf_node *n = w->waiters.head.next; n != &w->waiters.head; n = n->next)
        wf_container(n, waiter, node)->count++;
    wake_all_locked(w);
    wf_mutex_unlock(&w->all->lock);
}

static int start_watching(struct watcher *w, int number)
{
    if (!w->open) {
        int err = uv_signal_init(&w->all->loop, &w->handle);
        if (err < 0)
            return err;
        w->handle.data = w;
        w->open = true;
    }
    return uv_signal_start(&w->handle, on_signal, number);
}

/* Bring one watcher to where its waiters want it. */
static void settle(struct watcher *w, int number)
{
    wf_mutex_lock(&w->all->lock);
    bool wanted = w->wanted > 0;
    wf_mutex_unlock(&w->all->lock);
    int err = 0;
    if (wanted && !w->running)
        err = start_watching(w, number);
    else if (!wanted && w->running)
        uv_signal_stop(&w->handle);
    w->running = wanted && err == 0;
    wf_mutex_lock(&w->all->lock);
    if (wanted) {
        w->error = err;
        w->started = true;
        wake_all_locked(w);
    }
    wf_mutex_unlock(&w->all->lock);
}

static void on_bell(uv_async_t *bell)
{
    signals *all = bell->data;
    for (int number = 1; number <= LAST_SIGNAL; number++)
        settle(&all->watchers[number], number);
    if (wf_load_acq(&all->stop))
        uv_stop(&all->loop);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void *signal_thread(void *arg)
{
    signals *all = arg;
    sigset_t none;
    pthread_setname_np(pthread_self(), "weft/signals");
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    uv_run(&all->loop, UV_RUN_DEFAULT);
    uv_walk(&all->loop, close_handle, NULL);
    uv_run(&all->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- the service --------------------------------------------------------------------------------------------- */

static void signals_stop(wf_service *service)
{
    signals *all = wf_container(service, signals, service);
    wf_store_rel(&all->stop, 1);
    uv_async_send(&all->bell);
    pthread_join(all->thread, NULL);
    uv_loop_close(&all->loop);
    wf_mutex_destroy(&all->lock);
    free(all);
}

static wf_service *signals_make(weft_runtime *rt, int *err)
{
    signals *all = calloc(1, sizeof *all);
    if (!all) {
        *err = WEFT_ENOMEM;
        return NULL;
    }
    all->rt = rt;
    wf_mutex_init(&all->lock);
    for (int number = 0; number <= LAST_SIGNAL; number++) {
        all->watchers[number].all = all;
        wf_list_init(&all->watchers[number].waiters);
    }
    if ((*err = uv_loop_init(&all->loop)) < 0)
        goto free_all;
    if ((*err = uv_async_init(&all->loop, &all->bell, on_bell)) < 0)
        goto close_loop;
    all->bell.data = all;
    if ((*err = -pthread_create(&all->thread, NULL, signal_thread, all)) < 0)
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

/* ---- waiting ------------------------------------------------------------------------------------------------- */

static void join_watcher(waiter *self, signals *all, int number)
{
    struct watcher *w = &all->watchers[number];
    *self = (waiter){.watcher = w, .waker = WEFT_ATOMIC_WAKER_INIT};
    wf_mutex_lock(&all->lock);
    if (w->wanted++ == 0)
        w->started = false;
    wf_list_push_back(&w->waiters, &self->node);
    wf_mutex_unlock(&all->lock);
    uv_async_send(&all->bell);
}

static void leave_watcher(waiter *self)
{
    signals *all = self->watcher->all;
    weft_waker waker;
    wf_mutex_lock(&all->lock);
    wf_node_unlink(&self->node);
    self->watcher->wanted--;
    wf_mutex_unlock(&all->lock);
    weft_atomic_waker_take(&self->waker, &waker);
    weft_waker_drop(&waker);
    uv_async_send(&all->bell);
}

typedef struct either_op {
    waiter waiters[2];
    int numbers[2];
} either_op;

static int arrived(waiter *self)
{
    wf_mutex_lock(&self->watcher->all->lock);
    int err = self->watcher->started ? self->watcher->error : 0;
    int found = err < 0 ? err : self->count > 0;
    wf_mutex_unlock(&self->watcher->all->lock);
    return found;
}

static ssize_t either_poll(void *arg, weft_context *cx)
{
    either_op *op = arg;
    for (int i = 0; i < 2; i++) {
        int err = weft_atomic_waker_register(&op->waiters[i].waker, weft_context_waker(cx));
        int found = err < 0 ? err : arrived(&op->waiters[i]);
        if (found != 0)
            return found < 0 ? found : op->numbers[i];
    }
    return WEFT_PENDING;
}

static const wf_op_ops either_ops = {.poll = either_poll};

int weft_shutdown_signal(void)
{
    wf_exec *exec;
    int err = wf_await_entry(&exec);
    if (err < 0)
        return err;
    if (!exec->rt)
        return WEFT_ENORUNTIME;
    wf_service *service = wf_runtime_service(exec->rt, signals_make, signals_stop, &err);
    if (!service)
        return err;
    signals *all = wf_container(service, signals, service);
    either_op op = {.numbers = {SIGINT, SIGTERM}};
    for (int i = 0; i < 2; i++)
        join_watcher(&op.waiters[i], all, op.numbers[i]);
    int number = (int)wf_await(&either_ops, &op, WEFT_FOREVER);
    for (int i = 0; i < 2; i++)
        leave_watcher(&op.waiters[i]);
    return number;
}
