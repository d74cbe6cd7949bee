/* sleepers.c - 1,000,000 stackless tasks, each of which sleeps once.   sleepers [spread in ms]
 *
 * Their deadlines are random within the spread: the more timers a millisecond, the less of the sleeping and waking for each. The time is the CPU's,
 * of the whole process; their memory is all that the process has grown by. */
#include "bench_weft.h"
#include "timers_plan.h"

static int64_t spread_ms = SPREAD_MS;

struct nap {
    weft_future future;
    weft_timer timer;
};

static uint32_t asleep, woken;
static int64_t naps_begin;

static weft_poll nap_poll(weft_future *self, weft_context *cx, void **result)
{
    struct nap *nap = WEFT_CONTAINER_OF(self, struct nap, future);
    (void)result;
    if (weft_timer_poll(cx, &nap->timer) == WEFT_READY)
        return WEFT_READY;
    asleep++;
    return WEFT_PENDING;
}

static void nap_drop(weft_future *self)
{
    struct nap *nap = WEFT_CONTAINER_OF(self, struct nap, future);
    weft_timer_drop(&nap->timer);
    woken++;
    free(nap);
}

static const weft_future_ops nap_ops = {.poll = nap_poll, .drop = nap_drop};

static void spawn_naps(void)
{
    for (uint32_t i = 0; i < TIMERS; i++) {
        struct nap *nap = malloc(sizeof *nap);
        BENCH_CHECK(nap);
        nap->future.ops = &nap_ops;
        weft_timer_init(&nap->timer, naps_begin + (int64_t)(random_next() % (uint64_t)(spread_ms * WEFT_MS)));
        BENCH_CHECK(weft_spawn_future(NULL, &nap->future) == 0);
    }
}

/* One worker: the counters need no lock. */
static void *sleep_all(void *arg)
{
    double before = bench_memory("VmRSS");
    int64_t cpu = bench_cpu_now();
    naps_begin = weft_now() + 5 * WEFT_SEC;
    spawn_naps();
    while (asleep < TIMERS)
        weft_sleep(WEFT_MS);
    printf("%-28s %12.2f ns/task\n", "sleepers_start", (double)(bench_cpu_now() - cpu) / TIMERS);
    printf("%-28s %12.2f bytes\n", "sleepers_memory", (bench_memory("VmRSS") - before) / TIMERS);
    BENCH_CHECK(woken == 0);
    cpu = bench_cpu_now();
    while (woken < TIMERS)
        weft_sleep(20 * WEFT_MS);
    printf("%-28s %12.2f ns/task\n", "sleepers_fire", (double)(bench_cpu_now() - cpu) / TIMERS);
    return arg;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        spread_ms = bench_count(argv[1]);
    bench_run(1, sleep_all);
    return 0;
}
