/* locks.c - what a lock costs, wanted by one and wanted by four.   locks [workers]
 *
 * Contended: each holds it across a yield, so that the others come and wait; the bare yield stands beside it. */
#include "bench_weft.h"

#include <pthread.h>

enum { TIMES = 1000000, TURNS = 50000 /* each */, RIVALS = 4, ROUNDS = 11 };

static weft_mutex mutex = WEFT_MUTEX_INIT;
static pthread_mutex_t os_mutex = PTHREAD_MUTEX_INITIALIZER;
static weft_semaphore semaphore = WEFT_SEMAPHORE_INIT(1);

static double alone_round(void *arg)
{
    int64_t start = bench_now();
    (void)arg;
    for (int i = 0; i < TIMES; i++) {
        weft_mutex_lock(&mutex);
        weft_mutex_unlock(&mutex);
    }
    return (double)(bench_now() - start) / TIMES;
}

static double os_round(void *arg)
{
    int64_t start = bench_now();
    (void)arg;
    for (int i = 0; i < TIMES; i++) {
        pthread_mutex_lock(&os_mutex);
        pthread_mutex_unlock(&os_mutex);
    }
    return (double)(bench_now() - start) / TIMES;
}

static double semaphore_round(void *arg)
{
    int64_t start = bench_now();
    (void)arg;
    for (int i = 0; i < TIMES; i++) {
        BENCH_CHECK(weft_semaphore_acquire(&semaphore, 1) == 0);
        weft_semaphore_release(&semaphore, 1);
    }
    return (double)(bench_now() - start) / TIMES;
}

static void *hold_across_yields(void *arg)
{
    for (int i = 0; i < TURNS; i++) {
        weft_mutex_lock(&mutex);
        weft_yield();
        weft_mutex_unlock(&mutex);
    }
    return arg;
}

static void *yield_only(void *arg)
{
    for (int i = 0; i < TURNS; i++)
        weft_yield();
    return arg;
}

/* Nanoseconds per turn of anybody. */
static double rivals(weft_fn fn)
{
    weft_task *tasks[RIVALS];
    int64_t start = bench_now();
    for (int i = 0; i < RIVALS; i++)
        tasks[i] = bench_spawn(fn, NULL);
    for (int i = 0; i < RIVALS; i++)
        bench_join(tasks[i]);
    return (double)(bench_now() - start) / (RIVALS * TURNS);
}

static double contended_round(void *arg)
{
    (void)arg;
    return rivals(hold_across_yields);
}

static double yields_round(void *arg)
{
    (void)arg;
    return rivals(yield_only);
}

static void *measure(void *arg)
{
    bench_measure_w("mutex_alone", "ns", ROUNDS, alone_round, NULL);
    bench_measure_w("pthread_mutex_alone", "ns", ROUNDS, os_round, NULL);
    bench_measure_w("semaphore_alone", "ns", ROUNDS, semaphore_round, NULL);
    bench_measure_w("mutex_contended_4", "ns/turn", ROUNDS, contended_round, NULL);
    bench_measure_w("yield_of_4", "ns/turn", ROUNDS, yields_round, NULL);
    return arg;
}

int main(int argc, char **argv) { return bench_main(argc, argv, measure); }
