/* timers.c - a million timers of one task: started, cancelled, fired; see timers_plan.h.   timers [1] */
#include "bench_weft.h"
#include "timers_plan.h"

static _Alignas(64) weft_timer timers[TIMERS]; /* each in a cache line of its own, as the limit has them */

struct driver {
    weft_future future;
    uint32_t next, cancel; /* in the order */
    struct timers_round round;
};

static void start_and_cancel(struct driver *d, weft_context *cx)
{
    int64_t base = weft_now();
    d->round.began = bench_now();
    for (uint32_t i = 0; i < TIMERS; i++) {
        weft_timer_init(&timers[i], base + delay_ms[i] * WEFT_MS);
        BENCH_CHECK(weft_timer_poll(cx, &timers[i]) == WEFT_PENDING);
    }
    d->round.started = bench_now();
    while (d->next < d->cancel)
        weft_timer_drop(&timers[order[d->next++]]);
    d->round.cancelled = bench_now();
    d->round.cpu = bench_cpu_now();
}

static weft_poll driver_poll(weft_future *self, weft_context *cx, void **result)
{
    struct driver *d = WEFT_CONTAINER_OF(self, struct driver, future);
    (void)result;
    if (d->round.began == 0)
        start_and_cancel(d, cx);
    for (; d->next < TIMERS; d->next++) {
        weft_timer *timer = &timers[order[d->next]];
        if (weft_timer_poll(cx, timer) == WEFT_PENDING)
            return WEFT_PENDING;
        weft_timer_drop(timer);
    }
    d->round.cpu = bench_cpu_now() - d->round.cpu;
    return WEFT_READY;
}

static const weft_future_ops driver_ops = {.poll = driver_poll};

static void weft_round(struct timers_round *r, uint32_t cancel)
{
    struct driver d = {.future.ops = &driver_ops, .cancel = cancel};
    weft_task *task;
    BENCH_CHECK(weft_spawn_future(&task, &d.future) == 0);
    bench_join(task);
    *r = d.round;
}

static void *app(void *arg)
{
    measure_timers(weft_round);
    return arg;
}

int main(int argc, char **argv)
{
    if (argc > 1 && bench_count(argv[1]) != 1)
        return 2; /* one task has them all */
    bench_run(1, app);
    return 0;
}
