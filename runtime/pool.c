/* pool.c - threads that may block: a queue per lane, and as many threads as have something to do.
 *
 * A thread belongs to no lane. One that is free takes the oldest job of any lane that may run one more; the lanes take turns, so that
 * where threads are short none waits for another's jobs for ever. There are always as many free threads as jobs that may begin; a
 * submitter that would make them too few starts one. (Should that fail, those that run come for the job later.)
 *
 * Each thread that leaves joins the one that left before it, and who stops the pool joins the last: so none is ever left behind. */
#include <base/clock.h>
#include <runtime/runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { DEFAULT_USER = 512, FILES = 32, NAMES = 32 };

#ifdef WF_STRESS
static wf_ai64 patience = {10 * WEFT_MS};
#else
static wf_ai64 patience = {10 * WEFT_SEC};
#endif

void wf_pool_set_patience(int64_t ns) { wf_store_rlx(&patience, ns); }

typedef struct lane {
    wf_list queue;
    size_t queued;
    unsigned running, cap;
} lane;

typedef struct pool {
    wf_service service;
    weft_runtime *rt;
    wf_mutex lock;
    pthread_cond_t work;  /* a job came, or all have to leave */
    pthread_cond_t empty; /* the last thread is leaving */
    lane lanes[WF_LANES]; /* under lock, and so all below */
    unsigned turn;        /* the lane to be looked at first */
    unsigned threads, busy;
    bool stopping;  /* threads leave when nothing is queued */
    bool abandoned; /* threads leave, and nobody joins them */
    bool has_left;  /* there is a thread to be joined: */
    pthread_t left;
} pool;

/* ---- what may begin ------------------------------------------------------------------------------------------ */

static size_t may_begin(const lane *l) { return WF_MIN(l->queued, l->cap - l->running); }

static bool threads_are_short(const pool *p)
{
    size_t jobs = 0;
    for (int i = 0; i < WF_LANES; i++)
        jobs += may_begin(&p->lanes[i]);
    return jobs > p->threads - p->busy;
}

static lane *choose_locked(pool *p) WF_REQUIRES(p->lock)
{
    for (unsigned i = 0; i < WF_LANES && !p->abandoned; i++) {
        lane *l = &p->lanes[(p->turn + i) % WF_LANES];
        if (may_begin(l) == 0)
            continue;
        p->turn = (p->turn + i + 1) % WF_LANES;
        return l;
    }
    return NULL;
}

/* ---- a thread ------------------------------------------------------------------------------------------------ */

/* False: it has waited long enough. */
static bool wait_locked(pool *p, int64_t until) WF_REQUIRES(p->lock)
{
    struct timespec when = {.tv_sec = until / WEFT_SEC, .tv_nsec = until % WEFT_SEC};
    return pthread_cond_timedwait(&p->work, &p->lock.m, &when) == 0;
}

/* NULL: leave. */
static lane *await_work_locked(pool *p) WF_REQUIRES(p->lock)
{
    int64_t until = wf_now() + wf_load_rlx(&patience);
    for (bool in_time = true;; in_time = wait_locked(p, until)) {
        lane *l = choose_locked(p);
        if (l || p->stopping || !in_time)
            return l;
    }
}

static void serve_locked(pool *p, lane *l) WF_REQUIRES(p->lock)
{
    wf_job *job = wf_container(wf_list_pop_front(&l->queue), wf_job, node);
    l->queued--;
    l->running++;
    p->busy++;
    wf_mutex_unlock(&p->lock);
    job->run(job);
    wf_paused_clock_release(p->rt); /* whoever it woke has been woken */
    wf_mutex_lock(&p->lock);
    p->busy--;
    l->running--;
}

/* Nothing of the pool is touched after the unlock. */
static void leave(pool *p) WF_RELEASE(p->lock)
{
    pthread_t before = p->left;
    bool had_left = p->has_left;
    if (p->abandoned)
        pthread_detach(pthread_self());
    else
        p->left = pthread_self();
    p->has_left = !p->abandoned;
    if (--p->threads == 0)
        pthread_cond_signal(&p->empty);
    wf_mutex_unlock(&p->lock);
    if (had_left)
        pthread_join(before, NULL);
}

static void *pool_thread(void *arg)
{
    pool *p = arg;
    char name[16];
    snprintf(name, sizeof name, "%.10s/pool", p->rt->name);
    pthread_setname_np(pthread_self(), name);
    wf_mutex_lock(&p->lock);
    for (lane *l; (l = await_work_locked(p));)
        serve_locked(p, l);
    leave(p);
    return NULL;
}

/* Why there is no thread is all one to the caller, and EAGAIN would say that it had to wait. */
static int start_thread_locked(pool *p) WF_REQUIRES(p->lock)
{
    pthread_t thread;
    sigset_t before;
    wf_signals_block(&before);
    bool started = pthread_create(&thread, NULL, pool_thread, p) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    p->threads += started;
    return started ? 0 : WEFT_ENOMEM;
}

/* ---- the service --------------------------------------------------------------------------------------------- */

/* Everything that waits for a job has ended by now. */
static void pool_stop(wf_service *service)
{
    pool *p = wf_container(service, pool, service);
    wf_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    while (p->threads > 0)
        pthread_cond_wait(&p->empty, &p->lock.m);
    wf_mutex_unlock(&p->lock);
    if (p->has_left)
        pthread_join(p->left, NULL);
    pthread_cond_destroy(&p->empty);
    pthread_cond_destroy(&p->work);
    wf_mutex_destroy(&p->lock);
    free(p);
}

static void init_conditions(pool *p)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&p->empty, NULL);
}

static wf_service *pool_make(weft_runtime *rt, int *err)
{
    pool *p = calloc(1, sizeof *p);
    if (!p) {
        *err = WEFT_ENOMEM;
        return NULL;
    }
    p->rt = rt;
    wf_mutex_init(&p->lock);
    init_conditions(p);
    unsigned user = rt->options.blocking_threads;
    const unsigned caps[WF_LANES] = {
        [WF_LANE_USER] = user ? user : DEFAULT_USER, [WF_LANE_FILES] = FILES, [WF_LANE_NAMES] = NAMES};
    for (int i = 0; i < WF_LANES; i++) {
        wf_list_init(&p->lanes[i].queue);
        p->lanes[i].cap = caps[i];
    }
    wf_store_rel(&rt->pool, p); /* [POOL] release: all of it */
    return &p->service;
}

static pool *pool_of(weft_runtime *rt) { return wf_load_acq(&rt->pool); /* [POOL] acquire */ }

static pool *make_pool(weft_runtime *rt, int *err)
{
    wf_service *service = wf_runtime_service(rt, pool_make, pool_stop, err);
    return service ? wf_container(service, pool, service) : NULL;
}

/* ---- jobs ---------------------------------------------------------------------------------------------------- */

static void enqueue_locked(lane *l, wf_job *job)
{
    wf_list_push_back(&l->queue, &job->node);
    l->queued++;
}

static void dequeue_locked(lane *l, wf_job *job)
{
    wf_node_unlink(&job->node);
    l->queued--;
}

/* Without a thread of its own the job waits for one that serves its lane, if there is any. */
static int submit_locked(pool *p, lane *l, wf_job *job) WF_REQUIRES(p->lock)
{
    if (p->stopping || p->abandoned)
        return WEFT_ECANCELED;
    enqueue_locked(l, job);
    int err = threads_are_short(p) ? start_thread_locked(p) : 0;
    if (err < 0 && l->running == 0 && l->queued == 1) {
        dequeue_locked(l, job);
        return err;
    }
    pthread_cond_signal(&p->work);
    return 0;
}

int wf_pool_submit(weft_runtime *rt, wf_lane which, wf_job *job)
{
    int err = 0;
    wf_phase phase = wf_runtime_phase(rt);
    if (phase == WF_FORKED)
        return WEFT_ENOTSUP; /* its locks may be held by threads that are not there */
    if (phase >= WF_STOPPED)
        return WEFT_ECANCELED;
    pool *p = pool_of(rt);
    if (!p && !(p = make_pool(rt, &err)))
        return err;
    wf_paused_clock_hold(rt);
    wf_mutex_lock(&p->lock);
    err = submit_locked(p, &p->lanes[which], job);
    wf_mutex_unlock(&p->lock);
    if (err < 0)
        wf_paused_clock_release(rt);
    return err;
}

bool wf_pool_retract(weft_runtime *rt, wf_lane which, wf_job *job)
{
    pool *p = wf_runtime_phase(rt) == WF_FORKED ? NULL : pool_of(rt);
    if (!p)
        return false;
    wf_mutex_lock(&p->lock);
    bool queued = wf_node_linked(&job->node);
    if (queued)
        dequeue_locked(&p->lanes[which], job);
    wf_mutex_unlock(&p->lock);
    if (queued)
        wf_paused_clock_release(rt);
    return queued;
}

bool wf_pool_is_idle(weft_runtime *rt, unsigned *threads)
{
    pool *p = pool_of(rt);
    *threads = 0;
    if (!p)
        return true;
    wf_mutex_lock(&p->lock);
    bool idle = p->busy == 0;
    for (int i = 0; i < WF_LANES; i++)
        idle = idle && p->lanes[i].queued == 0;
    *threads = p->threads;
    wf_mutex_unlock(&p->lock);
    return idle;
}

/* ---- the end that is none ------------------------------------------------------------------------------------ */

void wf_pool_abandon(weft_runtime *rt)
{
    pool *p = pool_of(rt);
    if (!p)
        return;
    wf_mutex_lock(&p->lock);
    p->abandoned = p->stopping = true;
    pthread_cond_broadcast(&p->work);
    const lane *l = p->lanes;
    unsigned user = l[WF_LANE_USER].running, files = l[WF_LANE_FILES].running, names = l[WF_LANE_NAMES].running;
    wf_mutex_unlock(&p->lock);
    if (user + files + names > 0)
        wf_log(rt, WEFT_LOG_ERROR, "", "shutdown: %u threads would not return: %u in jobs, %u in files, %u in names",
               user + files + names, user, files, names);
}
