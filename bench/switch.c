/* switch.c - a coroutine switch: one resume and the yield that answers it, on a plain thread and inside a strand. */
#include "bench_weft.h"

enum { PAIRS = 2000000, ROUNDS = 15 };

static void *yield_for_ever(void *arg)
{
    (void)arg;
    while (weft_coro_yield(NULL))
        ;
    return NULL;
}

/* Nanoseconds per pair. */
static double resume_round(void *coro)
{
    void *out;
    int64_t start = bench_now();
    for (int i = 0; i < PAIRS; i++)
        BENCH_CHECK(weft_coro_resume(coro, coro, &out) == 1);
    return (double)(bench_now() - start) / PAIRS;
}

static void measure(const char *name)
{
    weft_coro *coro;
    BENCH_CHECK(weft_coro_create(&coro, yield_for_ever, NULL, 0) == 0);
    bench_measure(name, "ns/pair", ROUNDS, resume_round, coro);
    BENCH_CHECK(weft_coro_free(coro) == 0);
}

static void *in_strand(void *arg)
{
    (void)arg;
    measure("switch_strand");
    return NULL;
}

int main(void)
{
    measure("switch");
    bench_run(1, in_strand);
    return 0;
}
