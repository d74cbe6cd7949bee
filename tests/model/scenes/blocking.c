/* blocking.c - scenes of blocking tasks: the pool's thread begins one, or an abort makes it a worker's, and never both.
 *
 * pool.c and blocking.c, with a thread of the pool that exists from the beginning and goes to work when it is made. */
#include <pthread.h>
#include <signal.h>

int scene_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int scene_join(pthread_t, void **);
int scene_detach(pthread_t);
pthread_t scene_self(void);

#define pthread_create scene_create
#define pthread_join scene_join
#define pthread_self scene_self
#define pthread_detach scene_detach
#define pthread_setname_np(thread, name) ((void)(name))
#define pthread_sigmask(how, new, old) ((void)(old))

#include "../runtime.h"

#define leave pool_leave
#include <runtime/pool.c>
#undef leave
#include <runtime/blocking.c>

enum { WORKER, POOL };

static struct {
    weft_runtime rt;
    wf_worker worker;
    wf_aptr queue;
    weft_task place; /* for its header, where somebody walks over those */
    weft_task *task;
    weft_aborter *aborter;
    void *(*pool_thread)(void *);
    void *pool;
    bool none_to_be_had; /* of threads */
    int begun, arguments_dropped, results_dropped, results_taken, aborted, ended, output;
} s;

#define BLOCKING_SCENE(id, ...) \
    MODEL_SCENE(id, .state = &s, .state_size = sizeof s, .may_block = true, .random = 2000, __VA_ARGS__)

/* ---- what is not played ------------------------------------------------------------------------------------------------- */

int scene_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*fn)(void *), void *arg)
{
    if (s.none_to_be_had)
        return EAGAIN;
    model_check(!s.pool_thread);
    *thread = POOL;
    s.pool_thread = fn;
    s.pool = arg;
    model_unpark(POOL);
    return 0;
}
int scene_join(pthread_t thread, void **result) { return 0; }
int scene_detach(pthread_t thread) { return 0; }
pthread_t scene_self(void) { return model_self(); }

void wf_signals_block(sigset_t *before) {}
void wf_log(weft_runtime *rt, weft_log_level level, const char *task, const char *fmt, ...) {}
void wf_paused_clock_hold(weft_runtime *rt) {}
void wf_paused_clock_release(weft_runtime *rt) {}
void wf_defers_run(wf_body *body) {}
void wf_body_holds_a_mutex(const wf_body *body, const weft_task *task, const char *how) { abort(); }
ssize_t wf_pool_call(wf_lane which, ssize_t (*fn)(void *), void *arg) { return WEFT_EINVAL; }
void weft_panic(const char *fmt, ...) { model_fail("%s", fmt); }

wf_service *wf_runtime_service(weft_runtime *rt, wf_service *(*create)(weft_runtime *, int *),
                               void (*stop)(wf_service *), int *err)
{
    return create(rt, err);
}

bool wf_worker_may_lend(wf_exec *exec, weft_task *task) { return false; }
void wf_schedule_fresh(wf_worker *w, weft_task *task) { model_fail("no worker's"); }
void wf_schedule_again(wf_worker *w, weft_task *task) { model_fail("no worker's"); }
void wf_schedule_woken(weft_task *task)
{
    model_check(wf_swap_acqrel(&s.queue, task) == NULL);
    model_unpark(WORKER);
}

/* ---- threads ------------------------------------------------------------------------------------------------------------ */

/* Whatever comes here was aborted. */
static void worker(void)
{
    s.worker.rt = s.worker.exec.rt = &s.rt;
    s.worker.exec.worker = &s.worker;
    wf_exec_set(&s.worker.exec);
    for (;;) {
        weft_task *task = wf_swap_acqrel(&s.queue, NULL);
        if (task)
            model_check(!wf_task_poll(&s.worker, task, wf_state_poll_begin(&task->state)));
        else
            model_park();
    }
}

static void pool_of_one(void)
{
    while (!s.pool_thread)
        model_park();
    s.pool_thread(s.pool);
    thread_ends();
}

static void *job(void *arg)
{
    model_check(*(int *)arg == 7 && s.begun++ == 0);
    s.output = 42;
    return &s.output;
}

static void drop_argument(void *arg)
{
    model_check(*(int *)arg == 7);
    s.arguments_dropped++;
}

static void drop_output_of_job(void *output)
{
    model_check(*(int *)output == 42);
    s.results_dropped++;
}

static int argument = 7;

static int spawn_job(void)
{
    weft_spawn_options options = {.runtime = &s.rt, .blocking = 1, .drop_arg = drop_argument, .drop_result = drop_output_of_job};
    return weft_spawn_with(&s.task, &options, job, &argument);
}

static void open_runtime(void)
{
    s.rt.count = 1;
    s.rt.options.allocator = wf_malloc_allocator;
    only_place = NULL;
}

static void spawned(void)
{
    open_runtime();
    model_check(spawn_job() == 0);
    model_check(weft_aborter_create(&s.aborter, s.task) == 0);
    model_name(&s.task->state, "word");
}

static void abort_and_free(void)
{
    weft_aborter_abort(s.aborter);
    weft_aborter_free(s.aborter);
}

static void join_job(void)
{
    void *output;
    int status = weft_join(s.task, &output);
    s.ended++;
    s.results_taken = status == 0 && output == &s.output && s.output == 42;
    s.aborted = status == WEFT_EABORTED && !output;
    thread_ends();
}

static void detach_job(void) { weft_detach(s.task); }

static void stop_pool(void)
{
    pool *p = pool_of(&s.rt);
    if (p)
        pool_stop(&p->service);
}

static void it_began_or_it_did_not(void)
{
    stop_pool();
    model_check(s.begun + s.arguments_dropped == 1);
    model_check(wf_load_rlx(&s.queue) == NULL);
    model_check(model_blocks() == 0);
}

static void it_ended(void)
{
    it_began_or_it_did_not();
    model_check(s.ended == 1);
    model_check(s.begun == s.results_taken && s.arguments_dropped == s.aborted && s.results_dropped == 0);
}

static void its_output_was_dropped(void)
{
    it_began_or_it_did_not();
    model_check(s.results_dropped == s.begun);
}

BLOCKING_SCENE(blocking_abort_and_join, .setup = spawned, .threads = {worker, pool_of_one, abort_and_free, join_job},
               .finish = it_ended);
BLOCKING_SCENE(blocking_abort_and_detach, .setup = spawned, .finish = its_output_was_dropped,
               .threads = {worker, pool_of_one, abort_and_free, detach_job}, .preemptions = 1);

/* ---- the pool refuses it, while somebody aborts them all ------------------------------------------------------------------ */

static void refused(void)
{
    open_runtime();
    only_place = &s.place;
    s.none_to_be_had = true;
    model_name(&s.place.state, "word");
}

static void try_to_spawn(void)
{
    int err = spawn_job();
    model_check((err == 0) == (s.task != NULL));
    s.ended = err < 0;
    if (err == 0)
        join_job();
}

/* As shutdown.c. */
static void abort_all(void)
{
    if (wf_state_abort_if_alive(&s.place.state) == WF_WAKE_ENQUEUE)
        wf_schedule_woken(&s.place);
}

/* What was not born keeps its argument. */
static void it_was_cancelled_or_never_born(void)
{
    stop_pool();
    model_check(s.ended == 1 && s.begun == 0);
    model_check(s.arguments_dropped == s.aborted);
    model_check(wf_load_rlx(&s.place.state) == 0);
    model_check(model_blocks() == 0);
}

BLOCKING_SCENE(blocking_refused_and_aborted, .setup = refused, .finish = it_was_cancelled_or_never_born,
               .threads = {worker, pool_of_one, try_to_spawn, abort_all}, .preemptions = 2);
