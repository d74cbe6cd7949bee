/* timers.c - a wheel with a slot for each millisecond, by one thread; see ../timers_plan.h. */
#include "limits.h"

#include "../timers_plan.h"

enum { SLOTS = 1 << 13 };

_Static_assert(SLOTS > LEAD_MS + SPREAD_MS + 1000, "nothing comes round twice, also where starting them takes a while");

struct timer {
    struct timer *next, **link; /* @link: what points to it */
    int64_t deadline;           /* ns */
    void (*fire)(struct timer *);
};

static struct timer timers[TIMERS], *wheel[SLOTS];
static uint32_t fired;

static void count(struct timer *t)
{
    (void)t;
    fired++;
}

static void start(struct timer *t, int64_t base, uint32_t delay)
{
    struct timer **slot = &wheel[delay % SLOTS];
    *t = (struct timer){.next = *slot, .link = slot, .deadline = base + (int64_t)delay * 1000000, .fire = count};
    if (t->next)
        t->next->link = &t->next;
    *slot = t;
}

static void cancel(struct timer *t)
{
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
}

static void sleep_until(int64_t when)
{
    struct timespec t = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

static void fire_all(void)
{
    for (int i = 0; i < SLOTS; i++) {
        if (wheel[i])
            sleep_until(wheel[i]->deadline);
        for (struct timer *t; (t = wheel[i]); t->fire(t))
            cancel(t);
    }
}

static void round_of_wheel(struct timers_round *r, uint32_t cancelled)
{
    r->began = bench_now();
    for (uint32_t i = 0; i < TIMERS; i++)
        start(&timers[i], r->began, delay_ms[i]);
    r->started = bench_now();
    for (uint32_t i = 0; i < cancelled; i++)
        cancel(&timers[order[i]]);
    r->cancelled = bench_now();
    r->cpu = bench_cpu_now();
    fired = 0;
    fire_all();
    r->cpu = bench_cpu_now() - r->cpu;
    BENCH_CHECK(fired == TIMERS - cancelled);
}

void limit_timers(void) { measure_timers(round_of_wheel); }
