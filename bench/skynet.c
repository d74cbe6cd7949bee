/* skynet.c - a tree of strands with 1,000,000 leaves, ten children each; the leaves' numbers are added up.   skynet [workers] */
#include "bench_weft.h"

enum { FAN_OUT = 10, LEVELS = 6, ROUNDS = 9 };

static const uintptr_t expected = UINT64_C(499999500000);

/* A node's argument: its first leaf times 8, plus the levels below it. */
static void *node(void *arg)
{
    uintptr_t first = (uintptr_t)arg >> 3, levels = (uintptr_t)arg & 7, leaves = 1, sum = 0;
    weft_task *children[FAN_OUT];

    if (levels == 0)
        return (void *)first;
    for (uintptr_t i = 1; i < levels; i++)
        leaves *= FAN_OUT;
    for (uintptr_t i = 0; i < FAN_OUT; i++)
        children[i] = bench_spawn(node, (void *)((first + i * leaves) << 3 | (levels - 1)));
    for (int i = 0; i < FAN_OUT; i++)
        sum += (uintptr_t)bench_join(children[i]);
    return (void *)sum;
}

/* Milliseconds. */
static double skynet_round(void *arg)
{
    (void)arg;
    int64_t start = bench_now();
    BENCH_CHECK((uintptr_t)bench_join(bench_spawn(node, (void *)LEVELS)) == expected);
    return (double)(bench_now() - start) / 1e6;
}

static void *app(void *arg)
{
    bench_measure_w("skynet", "ms", ROUNDS, skynet_round, arg);
    return NULL;
}

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
