/* stage.c - a program with a task in each state that there is, which then aborts: for check.py, which looks at it with gdb.
 *
 *   stage [N]    N: how many wait at the same place; 300 if it is not said */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft/chan.h>
#include <weft/coro.h>
#include <weft/runtime.h>
#include <weft/sync.h>
#include <weft/task.h>
#include <weft/time.h>

/* So that each is a frame of its own, and stays one while it calls. */
#define ACTOR __attribute__((noinline)) static
static atomic_int after_call;

static pthread_mutex_t held_by_main = PTHREAD_MUTEX_INITIALIZER;
static weft_notify never;
static weft_chan *empty;
static weft_task *sleeper_task;
static atomic_int in_mutex, in_loop, in_job, in_call; /* thread ids */

static int thread_id(void) { return (int)syscall(SYS_gettid); }

/* ---- the actors ---------------------------------------------------------------------------------------------- */

ACTOR void *stuck_in_mutex(void *arg)
{
    atomic_store(&in_mutex, thread_id());
    pthread_mutex_lock(&held_by_main);
    after_call++;
    return arg;
}

ACTOR void *never_begins(void *arg) { return arg; }

ACTOR void *stuck_in_loop(void *arg)
{
    weft_spawn_options behind = {.name = "behind", .pinned = 1};
    if (weft_spawn_with(NULL, &behind, never_begins, NULL) < 0)
        abort();
    atomic_store(&in_loop, thread_id());
    for (volatile unsigned long turns = 0;; turns++)
        ;
    return arg;
}

ACTOR void *sleeps_long(void *arg)
{
    volatile int answer_of_sleeper = 4711; /* on its stack, for who looks there */
    weft_sleep(1000 * WEFT_SEC);
    after_call += answer_of_sleeper;
    return arg;
}

ACTOR void *joins_the_sleeper(void *arg)
{
    weft_join(sleeper_task, NULL);
    after_call++;
    return arg;
}

ACTOR int receive(weft_chan *from)
{
    int item, err = weft_chan_recv(from, &item);
    after_call++;
    return err;
}

ACTOR void *one_of_the_crowd(void *arg)
{
    receive(empty);
    after_call++;
    return arg;
}

ACTOR void *waits_pinned(void *arg)
{
    weft_notify_wait(&never);
    after_call++;
    return arg;
}

ACTOR void *waits_in_coroutine(void *arg)
{
    weft_notify_wait(&never);
    after_call++;
    return arg;
}

ACTOR void *resumes_coroutine(void *arg)
{
    weft_coro *coroutine;
    if (weft_coro_create(&coroutine, waits_in_coroutine, NULL, 0) < 0)
        abort();
    weft_coro_resume(coroutine, NULL, NULL);
    after_call++;
    return arg;
}

ACTOR void *blocks_in_job(void *arg)
{
    atomic_store(&in_job, thread_id());
    pause();
    after_call++;
    return arg;
}

ACTOR void *blocks_in_call(void *arg)
{
    atomic_store(&in_call, thread_id());
    pause();
    after_call++;
    return arg;
}

ACTOR void *awaits_a_call(void *arg)
{
    weft_blocking(blocks_in_call, NULL, NULL);
    after_call++;
    return arg;
}

static weft_poll is_never_ready(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)cx, (void)result;
    return WEFT_PENDING;
}

static const weft_future_ops never_ops = {.poll = is_never_ready};

/* ---- setting the stage --------------------------------------------------------------------------------------- */

static weft_task *strand(const char *name, weft_fn fn, unsigned pinned)
{
    weft_task *task;
    weft_spawn_options options = {.name = name, .pinned = pinned};
    if (weft_spawn_with(&task, &options, fn, NULL) < 0)
        abort();
    return task;
}

static weft_task *stackless(const char *name)
{
    static weft_future future = {&never_ops};
    weft_task *task;
    weft_spawn_options options = {.name = name};
    if (weft_spawn_future_with(&task, &options, &future) < 0)
        abort();
    return task;
}

static weft_task *stored(void)
{
    static weft_future future = {&never_ops};
    static weft_task_storage storage;
    weft_task *task;
    if (weft_spawn_future_in(&task, &storage, &future) < 0)
        abort();
    return task;
}

/* Until it waits: polled and left. */
static void await_idle(weft_task *task)
{
    while (weft_task_state(task) != WEFT_TASK_IDLE)
        weft_yield();
}

/* Until the thread with this id waits in the kernel. */
static void await_blocked(atomic_int *id)
{
    char path[64], state = 0;
    while (state != 'S') {
        weft_yield();
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(id));
        FILE *file = fopen(path, "r");
        if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
            state = 0;
        if (file)
            fclose(file);
    }
}

ACTOR void all_is_set(void) { abort(); }

static void *director(void *arg)
{
    int crowd = *(int *)arg;
    weft_set_name("director");
    weft_spawn_options job = {.name = "job", .blocking = 1};
    if (weft_chan_create(&empty, sizeof(int), 1) < 0 || weft_spawn_with(NULL, &job, blocks_in_job, NULL) < 0)
        abort();
    sleeper_task = strand("sleeper", sleeps_long, 0);
    weft_task *waiting[] = {sleeper_task,
                            strand("joiner", joins_the_sleeper, 0),
                            strand("pinned", waits_pinned, 1),
                            strand("coroutine", resumes_coroutine, 0),
                            strand("caller", awaits_a_call, 0),
                            stackless("stackless"),
                            stored()};
    for (size_t i = 0; i < sizeof waiting / sizeof *waiting; i++)
        await_idle(waiting[i]);
    for (int i = 0; i < crowd; i++) {
        char name[32];
        snprintf(name, sizeof name, "crowd-%d", i);
        await_idle(strand(name, one_of_the_crowd, 0));
    }
    strand("mutex", stuck_in_mutex, 0);
    strand("loop", stuck_in_loop, 0);
    await_blocked(&in_mutex);
    await_blocked(&in_job);
    await_blocked(&in_call);
    while (!atomic_load(&in_loop))
        weft_yield();
    all_is_set();
    return NULL;
}

int main(int argc, char **argv)
{
    int crowd = argc > 1 ? atoi(argv[1]) : 300;
    weft_options options = {.workers = 4, .name = "stage", .watchdog = WEFT_FOREVER};
    weft_runtime *rt;
    weft_notify_init(&never);
    pthread_mutex_lock(&held_by_main);
    if (weft_runtime_create(&rt, &options) < 0)
        return 1;
    return weft_block_on(rt, director, &crowd, NULL) < 0;
}
