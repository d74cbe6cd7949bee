/* peer_uv_micro.c - libuv's side of the works that it has a word for.   peer_uv_micro forced|timers|cold|grow_timers [WORKERS [N]]
 *
 * libuv has no tasks. What it has is timers, all in one heap; and uv_async_t, with which two threads with a loop each hand over. */
#include "bench.h"
#include "timers_plan.h"

#include <uv.h>

/* ---- forced ---------------------------------------------------------------------------------------------------- */

enum { TRIPS = 20000, PARKED_TRIPS = 1000, ROUNDS = 11, HOLD = 100000 /* ns */ };

struct side {
    uv_loop_t loop;
    uv_async_t bell;
    struct side *other;
    int trips, hold;
};

static void work(int ns)
{
    for (int64_t end = bench_now() + ns; ns > 0 && bench_now() < end;) {
    }
}

static void rung(uv_async_t *bell)
{
    struct side *s = bell->data;
    work(s->hold);
    uv_async_send(&s->other->bell);
    if (--s->trips == 0)
        uv_stop(&s->loop);
}

static void open_side(struct side *s, struct side *other, int trips, int hold)
{
    s->other = other;
    s->trips = trips;
    s->hold = hold;
    BENCH_CHECK(uv_loop_init(&s->loop) == 0 && uv_async_init(&s->loop, &s->bell, rung) == 0);
    s->bell.data = s;
}

static void run_side(void *s) { uv_run(&((struct side *)s)->loop, UV_RUN_DEFAULT); }

static void close_side(struct side *s)
{
    uv_close((uv_handle_t *)&s->bell, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    BENCH_CHECK(s->trips == 0 && uv_loop_close(&s->loop) == 0);
}

/* Nanoseconds per round trip. */
static double forced(int trips, int hold)
{
    static struct side pair[2];
    uv_thread_t thread;
    for (int i = 0; i < 2; i++)
        open_side(&pair[i], &pair[!i], trips, hold);
    int64_t start = bench_now();
    uv_async_send(&pair[0].bell);
    BENCH_CHECK(uv_thread_create(&thread, run_side, &pair[1]) == 0);
    run_side(&pair[0]);
    BENCH_CHECK(uv_thread_join(&thread) == 0);
    double took = (double)(bench_now() - start) / trips - 2.0 * hold;
    for (int i = 0; i < 2; i++)
        close_side(&pair[i]);
    return took;
}

static double at_once_round(void *arg)
{
    (void)arg;
    return forced(TRIPS, 0);
}

static double parked_round(void *arg)
{
    (void)arg;
    return forced(PARKED_TRIPS, HOLD);
}

static void measure_forced(void)
{
    bench_measure("forced", "ns/trip", ROUNDS, at_once_round, NULL);
    bench_measure("forced_parked", "ns/trip", ROUNDS, parked_round, NULL);
}

/* ---- timers ---------------------------------------------------------------------------------------------------- */

static uv_timer_t timers[TIMERS];
static uint32_t fired;

static void count(uv_timer_t *timer)
{
    (void)timer;
    fired++;
}

static void timers_round(struct timers_round *r, uint32_t cancel)
{
    uv_loop_t loop;
    BENCH_CHECK(uv_loop_init(&loop) == 0);
    r->began = bench_now();
    for (uint32_t i = 0; i < TIMERS; i++) {
        uv_timer_init(&loop, &timers[i]);
        uv_timer_start(&timers[i], count, delay_ms[i], 0);
    }
    r->started = bench_now();
    for (uint32_t i = 0; i < cancel; i++)
        uv_timer_stop(&timers[order[i]]);
    r->cancelled = bench_now();
    r->cpu = bench_cpu_now();
    fired = 0;
    BENCH_CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0 && fired == TIMERS - cancel);
    r->cpu = bench_cpu_now() - r->cpu;
    for (uint32_t i = 0; i < TIMERS; i++)
        uv_close((uv_handle_t *)&timers[i], NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    BENCH_CHECK(uv_loop_close(&loop) == 0);
}

static void measure_timers_of_loop(void) { measure_timers(timers_round); }

/* ---- one timer among many -------------------------------------------------------------------------------------- */

enum { ONES = 200000 };

static uint32_t standing = 1000;

/* Nanoseconds per timer. The new one's deadline is anywhere among those of the others. */
static double grow_round(void *loop)
{
    uv_timer_t one;
    uv_timer_init(loop, &one);
    int64_t start = bench_now();
    for (uint32_t i = 0; i < ONES; i++) {
        uv_timer_start(&one, count, 1000000 + random_next() % 1000000, 0);
        uv_timer_stop(&one);
    }
    double took = (double)(bench_now() - start) / ONES;
    uv_close((uv_handle_t *)&one, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    return took;
}

/* The others fire in a quarter of an hour or more: never. */
static void measure_grow_timers(void)
{
    uv_loop_t loop;
    BENCH_CHECK(standing <= TIMERS && uv_loop_init(&loop) == 0);
    for (uint32_t i = 0; i < standing; i++) {
        uv_timer_init(&loop, &timers[i]);
        uv_timer_start(&timers[i], count, 1000000 + random_next() % 1000000, 0);
    }
    bench_measure("grow_timers", "ns/timer", ROUNDS, grow_round, &loop);
}

/* ---- a start and an end ---------------------------------------------------------------------------------------- */

static void once(uv_idle_t *idle)
{
    fired++;
    uv_close((uv_handle_t *)idle, NULL);
}

static void cold(void)
{
    uv_loop_t loop;
    uv_idle_t idle;
    BENCH_CHECK(uv_loop_init(&loop) == 0 && uv_idle_init(&loop, &idle) == 0 && uv_idle_start(&idle, once) == 0);
    BENCH_CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0 && fired == 1 && uv_loop_close(&loop) == 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*measure)(void);
        int workers; /* that it has */
    } works[] = {{"forced", measure_forced, 2},
                 {"timers", measure_timers_of_loop, 1},
                 {"grow_timers", measure_grow_timers, 1},
                 {"cold", cold, 1}};

    if (argc > 3)
        standing = (uint32_t)bench_count(argv[3]);
    for (size_t i = 0; argc > 1 && i < sizeof works / sizeof works[0]; i++) {
        if (strcmp(argv[1], works[i].name) != 0)
            continue;
        if (argc > 2 && bench_count(argv[2]) != works[i].workers)
            return 2;
        works[i].measure();
        return 0;
    }
    return 2;
}
