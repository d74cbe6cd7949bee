/* groups.c - scenes of runtime/group.c: children that end while others wait for them, cancel the group and close it. */
#define MODEL_GROUPS 1
#include "../runtime.h"

#include <runtime/runq.h>

enum { WORKER, OWNER, OTHER, CHILDREN = 2 };

typedef struct child {
    weft_future future;
    int polls, drops; /* plain */
} child;

static struct {
    weft_runtime rt;
    wf_worker worker;
    wf_inject queue;
    child children[CHILDREN];
    weft_group_options options;
    wf_aptr group;
    wf_a32 other_has_left;
    int outputs[CHILDREN], results_dropped, results_taken, aborted;
} s;

#define GROUP_SCENE(id, ...) \
    MODEL_SCENE(id, .state = &s, .state_size = sizeof s, .may_block = true, .random = 1500, __VA_ARGS__)

/* ---- what is not played ------------------------------------------------------------------------------------------------- */

bool wf_worker_may_lend(wf_exec *exec, weft_task *task) { return false; }
void wf_blocking_init(weft_task *task) {}
void wf_blocking_retract(weft_task *task) {}
int wf_pool_submit(weft_runtime *rt, wf_lane lane, wf_job *job) { return WEFT_EINVAL; }

static void queue(weft_task *task)
{
    wf_inject_push(&s.queue, task);
    model_unpark(WORKER);
}
void wf_schedule_fresh(wf_worker *w, weft_task *task) { queue(task); }
void wf_schedule_again(wf_worker *w, weft_task *task) { queue(task); }
void wf_schedule_woken(weft_task *task) { queue(task); }

/* ---- the worker and the children ------------------------------------------------------------------------------------------ */

static void worker(void)
{
    s.worker.rt = s.worker.exec.rt = &s.rt;
    s.worker.exec.worker = &s.worker;
    wf_exec_set(&s.worker.exec);
    for (;;) {
        weft_task *task;
        if (wf_inject_pop(&s.queue, &task, 1) == 1)
            wf_task_poll(&s.worker, task, wf_state_poll_begin(&task->state));
        else
            model_park();
    }
}

static weft_poll work_poll(weft_future *f, weft_context *cx, void **result)
{
    child *c = wf_container(f, child, future);
    c->polls++;
    s.outputs[c - s.children] = 42;
    *result = &s.outputs[c - s.children];
    return WEFT_READY;
}

static void work_drop(weft_future *f) { wf_container(f, child, future)->drops++; }

static const weft_future_ops work_ops = {.poll = work_poll, .drop = work_drop};

static void drop_output_of_child(void *output)
{
    model_check(*(int *)output == 42);
    s.results_dropped++;
}

static void open_runtime(void)
{
    s.rt.count = 1;
    s.rt.options.allocator = wf_malloc_allocator;
    s.options.drop_result = drop_output_of_child;
}

static void discarding(void)
{
    open_runtime();
    s.options.discard = 1;
}

/* A spawn waits for the end of the one before. */
static void limited(void)
{
    open_runtime();
    s.options.limit = 1;
}

static weft_group *make_group(void)
{
    weft_group *g;
    model_check(weft_group_create_with(&g, &s.options) == 0);
    for (int i = 0; i < CHILDREN; i++) {
        weft_spawn_options child = {.runtime = &s.rt, .group = g};
        s.children[i].future.ops = &work_ops;
        model_check(weft_spawn_future_with(NULL, &child, &s.children[i].future) == 0);
    }
    return g;
}

/* How many results there were. */
static int take_next(weft_group *g)
{
    void *output;
    int status = weft_group_next(g, &output);
    if (status == WEFT_EOF)
        return 0;
    model_check(status == WEFT_EABORTED || (status == 0 && *(int *)output == 42));
    __atomic_fetch_add(status == 0 ? &s.results_taken : &s.aborted, 1, __ATOMIC_RELAXED);
    return 1;
}

static void take_both_and_close(void)
{
    weft_group *g = make_group();
    model_check(take_next(g) + take_next(g) == 2 && take_next(g) == 0);
    model_check(weft_group_close(g) == 0);
    thread_ends();
}

static void close_at_once(void)
{
    model_check(weft_group_close(make_group()) == 0);
    thread_ends();
}

static void wait_and_close(void)
{
    weft_group *g = make_group();
    model_check(weft_group_wait(g) == 0 && weft_group_running(g) == 0);
    model_check(weft_group_close(g) == 0);
    thread_ends();
}

/* The other one has the group until it says so. */
static void share_and_close(void)
{
    weft_group *g = make_group();
    wf_store_rel(&s.group, g);
    model_unpark(OTHER);
    take_next(g);
    while (wf_load_acq(&s.other_has_left) == 0)
        model_park();
    model_check(weft_group_close(g) == 0);
    thread_ends();
}

static weft_group *shared(void)
{
    weft_group *g;
    while (!(g = wf_load_acq(&s.group)))
        model_park();
    return g;
}

static void leave_group(void)
{
    wf_store_rel(&s.other_has_left, 1);
    model_unpark(OWNER);
    thread_ends();
}

static void take_one_too(void)
{
    take_next(shared());
    leave_group();
}

static void cancel_it(void)
{
    weft_group_cancel(shared());
    leave_group();
}

static void nothing_is_left(void)
{
    int polls = 0;
    for (int i = 0; i < CHILDREN; i++) {
        polls += s.children[i].polls;
        model_check(s.children[i].drops == 1 && s.children[i].polls <= 1);
    }
    model_check(s.results_taken + s.results_dropped == polls);
    model_check(model_blocks() == 0);
}

static void both_were_taken(void)
{
    model_check(s.results_taken == CHILDREN);
    nothing_is_left();
}

static void both_were_dropped(void)
{
    model_check(s.results_dropped == CHILDREN);
    nothing_is_left();
}

GROUP_SCENE(group_next, .setup = open_runtime, .threads = {worker, take_both_and_close}, .finish = both_were_taken);
GROUP_SCENE(group_close, .setup = open_runtime, .threads = {worker, close_at_once}, .finish = nothing_is_left);
GROUP_SCENE(group_discards, .setup = discarding, .threads = {worker, wait_and_close}, .finish = both_were_dropped);
GROUP_SCENE(group_limited, .setup = limited, .threads = {worker, wait_and_close}, .finish = both_were_dropped);
GROUP_SCENE(group_two_take, .setup = open_runtime, .threads = {worker, share_and_close, take_one_too},
            .finish = both_were_taken);
GROUP_SCENE(group_cancel, .setup = open_runtime, .threads = {worker, share_and_close, cancel_it}, .finish = nothing_is_left);
