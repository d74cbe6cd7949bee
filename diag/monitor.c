/* monitor.c - the thread that looks after a runtime: it sleeps, and lets the watchdog and the deadlock detector look now and then, and SIGQUIT dump.
 *
 * A runtime that asks for none of them has none. The thread is rung by a waker, which holds the record: so that outlives the service while a wake is on its way. */
#include <base/clock.h>
#include <diag/deadlock.h>
#include <diag/sigquit.h>
#include <diag/watchdog.h>
#include <runtime/monitor.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct monitor {
    wf_service service;
    weft_runtime *rt;
    wf_a32 refs;    /* the service's and each waker's */
    int64_t period; /* from one look to the next; WEFT_FOREVER: there are none */
    bool dumps;     /* on SIGQUIT */
    bool started;   /* there is a thread: */
    pthread_t thread;
    wf_mutex lock;
    pthread_cond_t changed; /* by the monotonic clock */
    bool rung, stopping;    /* under lock */
    wf_sigquit sigquit;     /* the thread's, and all below */
    wf_watchdog dog;
    wf_deadlock deadlock;
} monitor;

/* ---- the waker ----------------------------------------------------------------------------------------------- */

static void unref(monitor *m)
{
    if (wf_sub_acqrel(&m->refs, 1) != 1)
        return;
    pthread_cond_destroy(&m->changed);
    wf_mutex_destroy(&m->lock);
    wf_watchdog_close(&m->dog);
    free(m);
}

static int bell_clone(const weft_waker *self, weft_waker *out)
{
    wf_add_rlx(&((monitor *)self->data)->refs, 1);
    *out = *self;
    return 0;
}

static void ring(const weft_waker *self)
{
    monitor *m = self->data;
    wf_mutex_lock(&m->lock);
    m->rung = true;
    pthread_cond_signal(&m->changed);
    wf_mutex_unlock(&m->lock);
}

static void drop(weft_waker *self) { unref(self->data); }

static void wake(weft_waker *self)
{
    ring(self);
    drop(self);
}

static const weft_waker_ops bell = {.clone = bell_clone, .wake = wake, .wake_by_ref = ring, .drop = drop};

/* ---- the thread ---------------------------------------------------------------------------------------------- */

/* Until @until, or it is rung. False: leave. */
static bool sleep_until(monitor *m, int64_t until)
{
    const struct timespec when = {.tv_sec = until / WEFT_SEC, .tv_nsec = until % WEFT_SEC};
    int late = 0;
    wf_mutex_lock(&m->lock);
    while (!m->stopping && !m->rung && late == 0)
        late = until == WEFT_FOREVER ? pthread_cond_wait(&m->changed, &m->lock.m)
                                     : pthread_cond_timedwait(&m->changed, &m->lock.m, &when);
    m->rung = false;
    bool stay = !m->stopping;
    wf_mutex_unlock(&m->lock);
    return stay;
}

/* A worker that leaves is no more looked at; one that is stuck while the runtime closes is. */
static void look(monitor *m, int64_t now, int64_t late)
{
    wf_phase phase = wf_runtime_phase(m->rt);
    if (phase <= WF_CLOSING)
        wf_watchdog_look(&m->dog, now, late);
    if (phase == WF_RUNNING)
        wf_deadlock_look(&m->deadlock);
}

/* With an abandoned runtime it stays only to dump it. */
static bool is_needed(monitor *m) { return m->dumps || wf_runtime_phase(m->rt) < WF_ABANDONED; }

static void *monitor_thread(void *arg)
{
    monitor *m = arg;
    const weft_waker waker = {&bell, m};
    for (int64_t due = wf_add_saturating(wf_now(), m->period); is_needed(m) && sleep_until(m, due);) {
        int64_t now = wf_now();
        if (m->dumps)
            wf_sigquit_dump(&m->sigquit, m->rt, &waker);
        if (now < due)
            continue;
        look(m, now, now - due);
        due = wf_add_saturating(wf_now(), m->period);
    }
    return NULL;
}

static int start_thread(monitor *m)
{
    char name[16];
    sigset_t before;
    wf_signals_block(&before);
    int err = -pthread_create(&m->thread, NULL, monitor_thread, m);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    m->started = err == 0;
    if (err < 0)
        return err;
    snprintf(name, sizeof name, "%.9s/watch", m->rt->name);
    pthread_setname_np(m->thread, name);
    return 0;
}

/* ---- the service --------------------------------------------------------------------------------------------- */

static void stop(wf_service *service)
{
    monitor *m = wf_container(service, monitor, service);
    wf_mutex_lock(&m->lock);
    m->stopping = true;
    pthread_cond_signal(&m->changed);
    wf_mutex_unlock(&m->lock);
    if (m->started)
        pthread_join(m->thread, NULL);
    wf_sigquit_close(&m->sigquit);
    unref(m);
}

static void init_condition(monitor *m)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&m->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static bool watches(const weft_runtime *rt) { return rt->options.watchdog != WEFT_FOREVER; }
static bool dumps(const weft_runtime *rt) { return rt->options.flags & WEFT_DUMP_ON_SIGQUIT; }

static wf_service *make(weft_runtime *rt, int *err)
{
    monitor *m = calloc(1, sizeof *m);
    *err = m ? wf_watchdog_open(&m->dog, rt, rt->options.watchdog) : WEFT_ENOMEM;
    if (*err < 0) {
        free(m);
        return NULL;
    }
    m->rt = rt;
    wf_store_rlx(&m->refs, 1);
    m->dumps = dumps(rt);
    m->period = watches(rt) ? WF_MIN(WF_MAX(rt->options.watchdog / 2, WEFT_MS), WEFT_SEC) : WEFT_FOREVER;
    m->deadlock = (wf_deadlock){.rt = rt, .own_signals = m->dumps};
    wf_mutex_init(&m->lock);
    init_condition(m);
    return &m->service;
}

/* Signals that come once this has returned are seen. */
static int join_signals(monitor *m, wf_watchers *all)
{
    const weft_waker waker = {&bell, m};
    int err = 0;
    wf_sigquit_open(&m->sigquit, all);
    while (!wf_sigquit_is_settled(&m->sigquit, &waker, &err))
        sleep_until(m, WEFT_FOREVER);
    return err;
}

/* The signals' service is made first: so it is stopped last. What was made when this fails goes with the runtime. */
int wf_monitor_start(weft_runtime *rt)
{
    int err = 0;
    if (!watches(rt) && !dumps(rt))
        return 0;
    wf_watchers *all = dumps(rt) ? wf_watchers_of(rt, &err) : NULL;
    if (dumps(rt) && !all)
        return err;
    wf_service *service = wf_runtime_service(rt, make, stop, &err);
    if (!service)
        return err;
    monitor *m = wf_container(service, monitor, service);
    err = all ? join_signals(m, all) : 0;
    return err < 0 ? err : start_thread(m);
}
