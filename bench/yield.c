/* yield.c - weft_yield(): a turn of the scheduler, with one strand alone and with two that alternate.   yield [workers] */
#include "bench_weft.h"

enum { YIELDS = 1000000, ROUNDS = 11 };

static void *yield_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < YIELDS; i++)
        BENCH_CHECK(weft_yield() == 0);
    return NULL;
}

/* Nanoseconds per yield. */
static double one_round(void *arg)
{
    int64_t start = bench_now();
    yield_many(arg);
    return (double)(bench_now() - start) / YIELDS;
}

/* Nanoseconds of wall time per yield of either. */
static double two_round(void *arg)
{
    int64_t start = bench_now();
    weft_task *a = bench_spawn(yield_many, arg), *b = bench_spawn(yield_many, arg);
    bench_join(a);
    bench_join(b);
    return (double)(bench_now() - start) / (2.0 * YIELDS);
}

static void *app(void *arg)
{
    bench_measure_w("yield_one", "ns/yield", ROUNDS, one_round, arg);
    bench_measure_w("yield_two", "ns/yield", ROUNDS, two_round, arg);
    return NULL;
}

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
