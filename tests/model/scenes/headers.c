/* headers.c - scenes of runtime/headers.c: places that are born again while somebody walks over them, and a heap that outlives its runtime. */
#include <stddef.h>
#include <sys/mman.h>

void *scene_map(void *, size_t, int, int, int, off_t);
int scene_unmap(void *, size_t);

#define mmap scene_map
#define munmap scene_unmap
#define MODEL_HEAP 1
#include "../runtime.h"

#define place header_place
#include <runtime/headers.c>
#undef place

enum { WORKS = 2 };

typedef struct work {
    weft_future future;
    int polls, drops; /* plain */
} work;

static struct {
    weft_runtime rt;
    wf_worker worker;
    wf_aptr queue;
    work works[WORKS];
    weft_task *tasks[WORKS];
    int unmapped;
} s;

/* ---- what is not played ------------------------------------------------------------------------------------------------- */

static char memory[2 * WF_HEADER_CHUNK] __attribute__((aligned(WF_HEADER_CHUNK)));

/* Of a chunk only its first places are used. */
void *scene_map(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    memset(memory, 0, 512);
    return memory;
}

int scene_unmap(void *address, size_t size)
{
    s.unmapped += address == memory;
    return 0;
}

bool wf_worker_may_lend(wf_exec *exec, weft_task *task) { return false; }
void wf_blocking_init(weft_task *task) {}
void wf_blocking_retract(weft_task *task) {}
int wf_pool_submit(weft_runtime *rt, wf_lane lane, wf_job *job) { return WEFT_EINVAL; }

static void queue(weft_task *task)
{
    model_check(wf_swap_acqrel(&s.queue, task) == NULL);
    model_unpark(0);
}
void wf_schedule_fresh(wf_worker *w, weft_task *task) { queue(task); }
void wf_schedule_again(wf_worker *w, weft_task *task) { queue(task); }
void wf_schedule_woken(weft_task *task) { queue(task); }

/* ---- walking while places are born again ----------------------------------------------------------------------------------- */

static weft_poll work_poll(weft_future *f, weft_context *cx, void **result)
{
    wf_container(f, work, future)->polls++;
    *result = NULL;
    return WEFT_READY;
}

static void work_drop(weft_future *f) { wf_container(f, work, future)->drops++; }

static const weft_future_ops work_ops = {.poll = work_poll, .drop = work_drop};

static void run_next(void)
{
    weft_task *task;
    while (!(task = wf_swap_acqrel(&s.queue, NULL)))
        model_park();
    wf_task_poll(&s.worker, task, wf_state_poll_begin(&task->state));
}

/* The second gets the place of the first. */
static void two_lives(void)
{
    s.worker.rt = s.worker.exec.rt = &s.rt;
    s.worker.exec.worker = &s.worker;
    wf_exec_set(&s.worker.exec);
    for (int i = 0; i < WORKS; i++) {
        s.works[i].future.ops = &work_ops;
        model_check(weft_spawn_future(i == 0 ? &s.tasks[0] : NULL, &s.works[i].future) == 0);
        if (i == 0)
            weft_detach(s.tasks[0]);
        run_next();
    }
}

static void open_heap(void)
{
    s.rt.count = 1;
    s.rt.heap = wf_heap_create();
}

static void a_place_that_was_used(void)
{
    open_heap();
    wf_header_put(wf_header_get(s.rt.heap, NULL), &s.worker.headers);
}

/* As shutdown.c. */
static void abort_one(weft_task *task, void *arg)
{
    if (wf_state_abort_if_alive(&task->state) == WF_WAKE_ENQUEUE)
        queue(task);
}

static void walk(void) { wf_heap_walk(s.rt.heap, abort_one, NULL); }

static void both_have_ended(void)
{
    for (int i = 0; i < WORKS; i++)
        model_check(s.works[i].drops == 1 && s.works[i].polls <= 1);
    model_check(wf_load_rlx(&s.queue) == NULL);
    wf_header_flush(s.rt.heap, &s.worker.headers);
    wf_heap_orphan(s.rt.heap);
    model_check(s.unmapped == 1 && model_blocks() == 0);
}

MODEL_SCENE(headers_born_again, .state = &s, .state_size = sizeof s, .setup = a_place_that_was_used,
            .threads = {two_lives, walk, walk}, .finish = both_have_ended, .preemptions = 2, .random = 1000);

/* ---- the last header frees the heap ------------------------------------------------------------------------------------------ */

static void two_that_have_ended(void)
{
    open_heap();
    for (int i = 0; i < WORKS; i++) {
        s.tasks[i] = wf_header_get(s.rt.heap, NULL);
        s.tasks[i]->extra = NULL;
        wf_state_init(&s.tasks[i]->state, 0, 1);
    }
}

static void unref(void) { wf_task_unref(s.tasks[model_self()]); }
static void orphan(void) { wf_heap_orphan(s.rt.heap); }

static void heap_has_gone(void) { model_check(s.unmapped == 1 && model_blocks() == 0); }

MODEL_SCENE(headers_outlive_their_runtime, .state = &s, .state_size = sizeof s, .setup = two_that_have_ended,
            .threads = {unref, unref, orphan}, .finish = heap_has_gone, .preemptions = 2, .stale = 1, .random = 1000);
