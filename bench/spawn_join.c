/* spawn_join.c - spawning strands that do nothing: one by one, and 1,000,000 at once.   spawn_join [workers]
 *
 * The peak of resident memory is the whole process's, 8 bytes a handle included. */
#include "bench_weft.h"

enum { ONES = 300000, MANY = 1000000, ROUNDS_ONE = 11, ROUNDS_MANY = 7 };

static weft_task *tasks[MANY];

static void *nothing(void *arg) { return arg; }

/* Nanoseconds per task. */
static double one_by_one(void *arg)
{
    int64_t start = bench_now();
    for (int i = 0; i < ONES; i++)
        bench_join(bench_spawn(nothing, arg));
    return (double)(bench_now() - start) / ONES;
}

/* Nanoseconds per task. */
static double all_at_once(void *arg)
{
    int64_t start = bench_now();
    for (int i = 0; i < MANY; i++)
        tasks[i] = bench_spawn(nothing, arg);
    for (int i = 0; i < MANY; i++)
        bench_join(tasks[i]);
    return (double)(bench_now() - start) / MANY;
}

static void *app(void *arg)
{
    char name[64];
    bench_measure_w("spawn_join_one_by_one", "ns/task", ROUNDS_ONE, one_by_one, arg);
    bench_measure_w("spawn_join_million", "ns/task", ROUNDS_MANY, all_at_once, arg);
    snprintf(name, sizeof name, "spawn_join_million_peak_w%u", bench_workers);
    printf("%-28s %12.2f MiB\n", name, bench_memory("VmHWM") / (1 << 20));
    return NULL;
}

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
