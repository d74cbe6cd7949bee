/* timers_plan.h - what the programs that measure timers do alike: 1,000,000 of them, of which 90 % are cancelled in random order and the rest fire.
 *
 * Deadlines are random in the SPREAD_MS that begin LEAD_MS after the first was started, by when all are started and those to cancel cancelled; where
 * the machine was too slow for that, firing is not counted. Its cost is the CPU time of the process until the last has fired, sleeping and waking
 * included. Each round has another plan, the same in each program. The first round only touches the memory: there, all are cancelled. */
#ifndef TIMERS_PLAN_H
#define TIMERS_PLAN_H

#include "bench.h"

enum { TIMERS = 1000000, TIMERS_KEPT = TIMERS / 10, LEAD_MS = 2000, SPREAD_MS = 2000, TIMER_ROUNDS = 5 };

/* By timer: its delay. The last TIMERS_KEPT of the order fire, and are sorted by delay. */
static uint32_t delay_ms[TIMERS], order[TIMERS];

/* What a round found out: points in time, and the CPU time for the rest. */
struct timers_round {
    int64_t began, started, cancelled, cpu;
};

static inline int64_t bench_cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline uint64_t random_next(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

static inline int by_delay(const void *a, const void *b)
{
    uint32_t x = delay_ms[*(const uint32_t *)a], y = delay_ms[*(const uint32_t *)b];
    return (x > y) - (x < y);
}

static inline void make_plan(void)
{
    for (uint32_t i = 0; i < TIMERS; i++) {
        delay_ms[i] = (uint32_t)(LEAD_MS + random_next() % SPREAD_MS);
        order[i] = i;
    }
    for (uint32_t i = TIMERS - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(random_next() % (i + 1)), index = order[i];
        order[i] = order[j];
        order[j] = index;
    }
    qsort(order + TIMERS - TIMERS_KEPT, TIMERS_KEPT, sizeof order[0], by_delay);
}

/* Call @round, once to warm up: start all, cancel the first @cancel of the order, wait for the others. Print the three lines. */
static inline void measure_timers(void (*round)(struct timers_round *, uint32_t cancel))
{
    struct bench_series start = {0}, cancel = {0}, fire = {0};
    int rounds = bench_rounds(TIMER_ROUNDS);
    for (int i = -1; i < rounds; i++) {
        struct timers_round r = {0};
        make_plan();
        round(&r, i < 0 ? TIMERS : TIMERS - TIMERS_KEPT);
        if (i < 0)
            continue;
        bench_add(&start, (double)(r.started - r.began) / (double)TIMERS);
        bench_add(&cancel, (double)(r.cancelled - r.started) / (double)(TIMERS - TIMERS_KEPT));
        if (r.cancelled - r.began < LEAD_MS * INT64_C(1000000))
            bench_add(&fire, (double)r.cpu / (double)TIMERS_KEPT);
    }
    bench_print("timers_start", &start, "ns/timer");
    bench_print("timers_cancel", &cancel, "ns/timer");
    if (fire.rounds > 0)
        bench_print("timers_fire", &fire, "ns/timer");
}

#endif
