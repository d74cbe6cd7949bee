/* million.c - spawning 1,000,000 strands that do nothing, then joining them all.   million [workers]
 *
 * The peak of resident memory is the whole process's, 8 bytes a handle included. */
#include "bench_weft.h"

enum { COUNT = 1000000, ROUNDS = 7 };

static weft_task *tasks[COUNT];

static void *nothing(void *arg) { return arg; }

/* Nanoseconds per task. */
static double all_at_once(void *arg)
{
    int64_t start = bench_now();
    for (int i = 0; i < COUNT; i++)
        tasks[i] = bench_spawn(nothing, arg);
    for (int i = 0; i < COUNT; i++)
        bench_join(tasks[i]);
    return (double)(bench_now() - start) / COUNT;
}

static void *app(void *arg)
{
    bench_measure_w("million", "ns/task", ROUNDS, all_at_once, arg);
    printf("million_peak_w%u %.2f MiB\n", bench_workers, bench_memory("VmHWM") / (1 << 20));
    return NULL;
}

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
