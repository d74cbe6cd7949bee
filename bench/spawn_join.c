/* spawn_join.c - spawning strands that do nothing, and joining each before the next.   spawn_join [workers] */
#include "bench_weft.h"

enum { COUNT = 300000, ROUNDS = 11 };

static void *nothing(void *arg) { return arg; }

/* Nanoseconds per task. */
static double one_by_one(void *arg)
{
    int64_t start = bench_now();
    for (int i = 0; i < COUNT; i++)
        bench_join(bench_spawn(nothing, arg));
    return (double)(bench_now() - start) / COUNT;
}

static void *app(void *arg)
{
    bench_measure_w("spawn_join", "ns/task", ROUNDS, one_by_one, arg);
    return NULL;
}

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
