/* clock.c - the monotonic clock. */
#include <base/clock.h>
#include <pthread.h>
#include <time.h>
#include <weft/base.h>

int64_t wf_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * WEFT_SEC + t.tv_nsec;
}

int64_t wf_now_coarse(void)
{
    struct timespec t;
#ifdef CLOCK_MONOTONIC_COARSE
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
#else
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif
    return (int64_t)t.tv_sec * WEFT_SEC + t.tv_nsec;
}

static double ns_a_cycle;

/* Both clocks, some milliseconds apart. */
static void measure_cycle(void)
{
    enum { LONG_ENOUGH = 2 * 1000 * 1000 };
    int64_t begin = wf_now(), now;
    uint64_t cycles = wf_cycles();
    while ((now = wf_now()) - begin < LONG_ENOUGH)
        ;
    cycles = wf_cycles() - cycles;
    ns_a_cycle = cycles > 0 ? (double)(now - begin) / (double)cycles : 0;
}

double wf_ns_a_cycle(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, measure_cycle);
    return ns_a_cycle;
}
