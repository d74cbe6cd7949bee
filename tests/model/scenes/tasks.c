/* tasks.c - scenes of a task's life: the word, the references and the order of the end, by those who poll, wake, abort, join and detach.
 *
 * Workers are as those of runtime/worker.c, with a run queue of one place: a task is in it once or not at all. Stackless, because to the word it is
 * all one. Threads that nobody wakes any more have ended: what must have happened is looked at in the end. */
#include "../runtime.h"

enum { WORKERS = 2, WAKERS = 2 };

typedef struct work {
    weft_future future;
    weft_atomic_waker cell; /* where its polls leave their waker, if they do */
    int polling, polls;     /* plain: two threads at a time are a race */
    int wanted;             /* so many of the payloads end it */
    bool registers;
} work;

static struct {
    weft_runtime rt;
    wf_worker workers[WORKERS];
    wf_aptr queue;
    work work;
    weft_task *task;
    weft_aborter *aborter;
    weft_waker wakers[WAKERS];
    wf_a32 payloads[WAKERS];
    int output, bodies_dropped, outputs_dropped, outputs_taken, aborted, ended;
} s;

#define TASK_SCENE(id, ...) MODEL_SCENE(id, .state = &s, .state_size = sizeof s, .may_block = true, __VA_ARGS__)

/* ---- the queue and the workers ---------------------------------------------------------------------------------------- */

static void queue(weft_task *task)
{
    model_check(wf_swap_acqrel(&s.queue, task) == NULL);
    for (unsigned i = 0; i < WORKERS && s.workers[i].rt; i++)
        model_unpark(i);
}

void wf_schedule_fresh(wf_worker *w, weft_task *task)
{
    (void)w;
    wf_store_rlx(&s.queue, task); /* by the setup */
}
void wf_schedule_woken(weft_task *task) { queue(task); }
void wf_schedule_again(wf_worker *w, weft_task *task)
{
    (void)w;
    queue(task);
}
bool wf_worker_may_lend(wf_exec *exec, weft_task *task)
{
    (void)exec, (void)task;
    return false;
}
void wf_blocking_init(weft_task *task) { (void)task; }
void wf_blocking_retract(weft_task *task) { (void)task; }
int wf_pool_submit(weft_runtime *rt, wf_lane lane, wf_job *job)
{
    (void)rt, (void)lane, (void)job;
    return WEFT_EINVAL;
}

/* The model does not see this look. */
__attribute__((no_sanitize_thread)) static bool cell_is_held(void) { return s.work.cell.state_[0] != 0; }

/* Threads 0 … are workers. Who registers while another holds the cell is polled again until that one has let go: there others must go on. */
static void worker(void)
{
    wf_worker *w = &s.workers[model_self()];
    wf_exec_set(&w->exec);
    for (;;) {
        weft_task *task = wf_swap_acqrel(&s.queue, NULL);
        if (!task)
            model_park();
        else if (cell_is_held())
            model_yield();
        if (task)
            wf_task_poll(w, task, wf_state_poll_begin(&task->state));
    }
}

/* ---- the task --------------------------------------------------------------------------------------------------------- */

static bool all_are_there(work *w)
{
    int n = 0;
    for (int i = 0; i < WAKERS; i++)
        n += wf_load_rlx(&s.payloads[i]) != 0; /* relaxed: only the wake orders it */
    return n >= w->wanted;
}

static weft_poll work_poll(weft_future *f, weft_context *cx, void **result)
{
    work *w = wf_container(f, work, future);
    model_check(w->polling++ == 0);
    w->polls++;
    if (w->registers)
        model_check(weft_atomic_waker_register(&w->cell, &cx->waker) == 0);
    bool done = all_are_there(w);
    model_check(--w->polling == 0);
    s.output = 42;
    *result = &s.output;
    return done ? WEFT_READY : WEFT_PENDING;
}

static void work_drop(weft_future *f)
{
    work *w = wf_container(f, work, future);
    weft_waker left;
    model_check(w->polling == 0);
    model_check(s.bodies_dropped++ == 0);
    if (weft_atomic_waker_take(&w->cell, &left))
        weft_waker_drop(&left);
}

static const weft_future_ops work_ops = {.poll = work_poll, .drop = work_drop};

static void output_drop(void *output)
{
    model_check(*(int *)output == 42);
    s.outputs_dropped++;
}

/* ---- the setups ------------------------------------------------------------------------------------------------------- */

static void open_workers(unsigned n)
{
    s.rt.count = n;
    s.rt.options.allocator = wf_malloc_allocator;
    for (unsigned i = 0; i < n; i++) {
        wf_worker *w = &s.workers[i];
        w->rt = w->exec.rt = &s.rt;
        w->exec.worker = w;
        w->exec.cx.exec = &w->exec;
    }
}

static void spawn_work(bool handle, int wanted, bool output_is_dropped)
{
    weft_spawn_options options = {.runtime = &s.rt, .drop_result = output_is_dropped ? output_drop : NULL};
    s.work = (work){.future = {&work_ops}, .wanted = wanted};
    model_check(weft_spawn_future_with(&s.task, &options, &s.work.future) == 0);
    model_name(&s.task->state, "word");
    model_name(&s.queue, "queue");
    if (!handle)
        weft_detach(s.task);
}

/* As if its first poll had handed them out. */
static void clone_wakers(int n)
{
    for (int i = 0; i < n; i++)
        model_check(weft_waker_clone(&(weft_waker){&wf_task_waker_ops, s.task}, &s.wakers[i]) == 0);
}

/* Whatever came first: one end, one body, one output, and nothing left. */
static void all_is_over(void)
{
    model_check(s.bodies_dropped == 1);
    model_check(model_blocks() == 0);
    model_check(s.outputs_dropped + s.outputs_taken <= 1);
    model_check(wf_load_rlx(&s.queue) == NULL);
}

/* ---- wakes ------------------------------------------------------------------------------------------------------------ */

static unsigned my_waker(void) { return model_self() - s.rt.count; }

static void wake(void)
{
    wf_store_rlx(&s.payloads[my_waker()], 1);
    weft_waker_wake(&s.wakers[my_waker()]);
}

static void wake_and_drop(void)
{
    wf_store_rlx(&s.payloads[my_waker()], 1);
    weft_waker_wake_by_ref(&s.wakers[my_waker()]);
    weft_waker_drop(&s.wakers[my_waker()]);
}

/* The one that wakes is a clone: on a thread that does not poll, so its reference is not prepaid. */
static void clone_and_wake(void)
{
    weft_waker mine;
    model_check(weft_waker_clone(&s.wakers[my_waker()], &mine) == 0);
    weft_waker_drop(&s.wakers[my_waker()]);
    wf_store_rlx(&s.payloads[my_waker()], 1);
    weft_waker_wake(&mine);
}

static void detached_for_one(void)
{
    open_workers(1);
    spawn_work(false, 2, false);
    clone_wakers(2);
}

static void detached_for_two(void)
{
    open_workers(2);
    spawn_work(false, 2, false);
    clone_wakers(2);
}

TASK_SCENE(task_two_wakes, .setup = detached_for_one, .finish = all_is_over, .threads = {worker, wake, wake},
           .preemptions = 2, .stale = 1, .random = 1000);
TASK_SCENE(task_wakes_by_reference, .setup = detached_for_one, .finish = all_is_over,
           .threads = {worker, wake_and_drop, clone_and_wake}, .preemptions = 1, .stale = 1, .random = 2000);
TASK_SCENE(task_two_workers, .setup = detached_for_two, .threads = {worker, worker, wake, wake_and_drop},
           .finish = all_is_over, .random = 5000);

/* ---- wakers that each poll registers: prepaid references, and a cell ---------------------------------------------------- */

static void registers(void)
{
    open_workers(1);
    spawn_work(false, 2, false);
    s.work.registers = true;
}

static void registers_without_spare(void)
{
    registers();
    wf_sub_rel(&s.task->state, s.task->spare * WF_S_REF);
    s.task->spare = 0;
}

static void wake_cell(void)
{
    wf_store_rlx(&s.payloads[my_waker()], 1);
    weft_atomic_waker_wake(&s.work.cell);
}

static void take_from_cell_and_wake(void)
{
    weft_waker taken;
    wf_store_rlx(&s.payloads[my_waker()], 1);
    if (weft_atomic_waker_take(&s.work.cell, &taken))
        weft_waker_wake(&taken);
}

TASK_SCENE(task_registers, .setup = registers, .finish = all_is_over,
           .threads = {worker, wake_cell, take_from_cell_and_wake}, .preemptions = 2, .stale = 1, .random = 1000);
TASK_SCENE(task_registers_and_buys, .setup = registers_without_spare, .finish = all_is_over,
           .threads = {worker, wake_cell, wake_cell}, .preemptions = 1, .stale = 1, .random = 2000);

/* ---- the handle --------------------------------------------------------------------------------------------------------- */

static void with_handle(void)
{
    open_workers(1);
    spawn_work(true, 1, true);
    clone_wakers(1);
}

static void take_output(int status, void *output)
{
    s.ended++;
    if (status == WEFT_EABORTED) {
        model_check(output == NULL && s.outputs_dropped == 0);
        s.aborted++;
        return;
    }
    model_check(status == 0 && output == &s.output && s.output == 42);
    s.outputs_taken++;
}

static void join_task(void)
{
    void *output;
    int status = weft_join(s.task, &output);
    take_output(status, output);
    thread_ends();
}

static void wait_and_join(void)
{
    void *output;
    model_check(weft_wait(s.task) == 0);
    int status = weft_try_join(s.task, &output);
    take_output(status, output);
    thread_ends();
}

/* As a select that another case has won. */
static void leave_and_join(void)
{
    void *output;
    weft_case c = {.ops_ = &weft_case_join_, .object_ = s.task, .value_ = &output};
    int status = (int)weft_case_join_.poll(&c, &wf_exec_current()->cx);
    if (status == WEFT_PENDING) {
        weft_case_join_.leave(&c);
        status = weft_join(s.task, &output);
    }
    take_output(status, output);
    thread_ends();
}

/* As an await whose deadline has passed: completion wins. */
static void give_up_and_detach(void)
{
    join_op op = {.task = s.task};
    int status = (int)wf_await(&join_ops, &op, 0);
    model_check(status == 0 || status == WEFT_ETIMEDOUT);
    model_check(status != 0 || weft_is_finished(s.task));
    weft_detach(s.task);
    s.ended++;
    thread_ends();
}

static void all_is_taken(void)
{
    model_check(s.ended == 1);
    model_check(s.outputs_taken + s.aborted == 1);
    all_is_over();
}

static void all_is_dropped(void)
{
    model_check(s.outputs_dropped + s.aborted == 1);
    all_is_over();
}

TASK_SCENE(task_join, .setup = with_handle, .finish = all_is_taken, .threads = {worker, wake, join_task},
           .preemptions = 2, .random = 2000);
TASK_SCENE(task_wait, .setup = with_handle, .finish = all_is_taken, .threads = {worker, wake, wait_and_join},
           .preemptions = 1, .stale = 1, .random = 1000);
TASK_SCENE(task_join_is_left, .setup = with_handle, .finish = all_is_taken, .threads = {worker, wake, leave_and_join},
           .preemptions = 1, .stale = 1, .random = 3000);
TASK_SCENE(task_join_is_given_up, .setup = with_handle, .finish = all_is_dropped,
           .threads = {worker, wake, give_up_and_detach}, .preemptions = 1, .stale = 1, .random = 3000);

static void detach(void) { weft_detach(s.task); }

TASK_SCENE(task_detach, .setup = with_handle, .finish = all_is_dropped, .threads = {worker, wake, detach},
           .preemptions = 2, .stale = 1, .random = 1000);

/* ---- aborts ------------------------------------------------------------------------------------------------------------- */

static void with_aborter(void)
{
    with_handle();
    model_check(weft_aborter_create(&s.aborter, s.task) == 0);
}

static void abort_and_free(void)
{
    weft_aborter_abort(s.aborter);
    weft_aborter_free(s.aborter);
}

static void close_task(void)
{
    model_check(weft_task_close(s.task) == 0);
    s.ended++;
    s.aborted = s.outputs_dropped == 0;
    thread_ends();
}

static void abort_and_detach(void)
{
    weft_abort(s.task);
    weft_detach(s.task);
}

static void output_is_dropped_or_never_was(void)
{
    model_check(s.outputs_taken == 0);
    all_is_over();
}

TASK_SCENE(task_abort_and_join, .setup = with_aborter, .finish = all_is_taken,
           .threads = {worker, wake, abort_and_free, join_task}, .random = 5000);
TASK_SCENE(task_close, .setup = with_handle, .finish = all_is_dropped, .threads = {worker, wake, close_task},
           .preemptions = 1, .stale = 1, .random = 3000);
TASK_SCENE(task_abort_and_detach, .setup = with_handle, .finish = output_is_dropped_or_never_was,
           .threads = {worker, wake, abort_and_detach}, .preemptions = 1, .stale = 1, .random = 2000);

/* Never woken: only the abort ends it, idle or scheduled or running. */
static void with_aborter_and_no_wakers(void)
{
    open_workers(1);
    spawn_work(true, 1, true);
    model_check(weft_aborter_create(&s.aborter, s.task) == 0);
}

static void all_is_aborted(void)
{
    model_check(s.aborted == 1);
    all_is_taken();
}

TASK_SCENE(task_two_aborts, .setup = with_aborter_and_no_wakers, .finish = all_is_aborted,
           .threads = {worker, abort_and_free, leave_and_join}, .preemptions = 1, .stale = 1, .random = 3000);

/* ---- in the caller's memory --------------------------------------------------------------------------------------------- */

static void storage_release(weft_task_storage *storage) { free(storage); }

static void in_storage(void)
{
    open_workers(1);
    wf_mutex_init(&s.rt.shelves[1].lock);
    wf_list_init(&s.rt.shelves[1].tasks);
    weft_task_storage *storage = malloc(sizeof *storage);
    storage->release = storage_release;
    s.work = (work){.future = {&work_ops}, .wanted = 1};
    wf_exec outside = {.rt = &s.rt};
    wf_exec_set(&outside);
    model_check(weft_spawn_future_in(&s.task, storage, &s.work.future) == 0);
    wf_exec_set(NULL);
    clone_wakers(1);
}

static void storage_is_free(void)
{
    model_check(wf_list_empty(&s.rt.shelves[1].tasks));
    all_is_over();
}

TASK_SCENE(task_in_storage, .setup = in_storage, .finish = storage_is_free, .threads = {worker, wake, detach},
           .preemptions = 2, .stale = 1, .random = 1000);
