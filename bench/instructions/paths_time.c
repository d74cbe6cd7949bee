/* paths_time.c - timers, on the paused clock: which slot of the wheel they get does not depend on when this runs. */
#include "paths.h"

enum { TIMERS = 500, LAST_MS = 100 };

/* Holds the timers. Its polls are the work; who has spawned it moves the clock in between. */
struct holder {
    weft_future future;
    weft_timer timers[TIMERS];
    long left;
    int armed;
};

/* ---- started and taken back ------------------------------------------------------------------------------------------ */

/* All stand at once, from a millisecond to some hours ahead. */
static void start_and_drop(struct holder *h, weft_context *cx)
{
    int64_t now = weft_now();
    for (int64_t i = 0; i < TIMERS; i++) {
        weft_timer_init(&h->timers[i], now + (1 + i * i * 73) * WEFT_MS);
        BENCH_CHECK(weft_timer_poll(cx, &h->timers[i]) == WEFT_PENDING);
    }
    for (int i = 0; i < TIMERS; i++)
        weft_timer_drop(&h->timers[(i * 7) % TIMERS]);
}

static weft_poll cancel_poll(weft_future *self, weft_context *cx, void **result)
{
    struct holder *h = WEFT_CONTAINER_OF(self, struct holder, future);
    (void)result;
    for (; h->left > 0; h->left -= TIMERS)
        start_and_drop(h, cx);
    return WEFT_READY;
}

static const weft_future_ops cancel_ops = {.poll = cancel_poll};

static struct holder holder;

void *path_timer_cancel(void *arg)
{
    weft_task *task;
    holder = (struct holder){.future.ops = &cancel_ops, .left = paths_count(arg)};
    BENCH_CHECK(weft_spawn_future(&task, &holder.future) == 0);
    bench_join(task);
    return NULL;
}

/* ---- started and fired ----------------------------------------------------------------------------------------------- */

static void start(struct holder *h, weft_context *cx)
{
    int64_t now = weft_now();
    for (int i = 0; i < TIMERS; i++) {
        weft_timer_init(&h->timers[i], now + (1 + i % LAST_MS) * WEFT_MS);
        BENCH_CHECK(weft_timer_poll(cx, &h->timers[i]) == WEFT_PENDING);
    }
    h->armed = 1;
}

static void finish(struct holder *h, weft_context *cx)
{
    for (int i = 0; i < TIMERS; i++)
        BENCH_CHECK(weft_timer_poll(cx, &h->timers[i]) == WEFT_READY);
    h->left -= TIMERS;
    h->armed = 0;
}

static weft_poll fire_poll(weft_future *self, weft_context *cx, void **result)
{
    struct holder *h = WEFT_CONTAINER_OF(self, struct holder, future);
    (void)result;
    if (h->armed)
        finish(h, cx);
    if (h->left == 0)
        return WEFT_READY;
    start(h, cx);
    return WEFT_PENDING;
}

static const weft_future_ops fire_ops = {.poll = fire_poll};

/* Half a thousand fire in one advance of the clock, five a tick; the task that they wake is polled once. */
void *path_timer_fire(void *arg)
{
    weft_task *task;
    holder = (struct holder){.future.ops = &fire_ops, .left = paths_count(arg)};
    BENCH_CHECK(weft_spawn_future(&task, &holder.future) == 0);
    while (!weft_is_finished(task)) {
        BENCH_CHECK(weft_yield() == 0);
        BENCH_CHECK(weft_clock_advance(LAST_MS * WEFT_MS) == 0);
    }
    bench_join(task);
    return NULL;
}

/* Alone: the worker goes to sleep, the clock jumps, the timer fires, the strand goes on. */
void *path_sleep(void *arg)
{
    for (long i = paths_count(arg); i > 0; i--)
        BENCH_CHECK(weft_sleep(WEFT_MS) == 0);
    return NULL;
}
