/* tasks.c - spawning and joining without a scheduler: memory for a task, a call through a pointer, and the memory back.
 *
 * A task takes 96 bytes with malloc's own word, which is what weft's header takes. */
#include "limits.h"

enum { ONES = 3000000, MANY = 1000000, ROUNDS_ONE = 11, ROUNDS_MANY = 7 };

struct task {
    void *(*fn)(void *);
    void *arg, *result;
    char rest[64];
};

static struct task *tasks[MANY];

static __attribute__((noinline)) void *nothing(void *arg)
{
    __asm__ volatile("");
    return arg;
}

static __attribute__((noinline)) struct task *spawn(void *(*fn)(void *), void *arg)
{
    struct task *task = malloc(sizeof *task);
    BENCH_CHECK(task);
    *task = (struct task){.fn = fn, .arg = arg};
    return task;
}

static __attribute__((noinline)) void *join(struct task *task)
{
    void *result = task->fn(task->arg);
    free(task);
    return result;
}

/* Nanoseconds per task. */
static double one_by_one(void *arg)
{
    int64_t start = bench_now();
    for (int i = 0; i < ONES; i++)
        BENCH_CHECK(join(spawn(nothing, arg)) == arg);
    return (double)(bench_now() - start) / ONES;
}

/* Nanoseconds per task. */
static double all_at_once(void *arg)
{
    int64_t start = bench_now();
    for (int i = 0; i < MANY; i++)
        tasks[i] = spawn(nothing, arg);
    for (int i = 0; i < MANY; i++)
        BENCH_CHECK(join(tasks[i]) == arg);
    return (double)(bench_now() - start) / MANY;
}

void limit_spawn_join(void) { bench_measure("spawn_join", "ns/task", ROUNDS_ONE, one_by_one, NULL); }

void limit_million(void)
{
    bench_measure("million", "ns/task", ROUNDS_MANY, all_at_once, NULL);
    printf("million_peak %.2f MiB\n", bench_memory("VmHWM") / (1 << 20));
}
