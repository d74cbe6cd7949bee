/* group.c - what a group adds to spawn and join, and what closing a large one costs.   group [workers] */
#include "bench_weft.h"

enum { ONES = 300000, BATCH = 1000, BATCHES = 300, MANY = 100000, ROUNDS = 11 };

static void *nothing(void *arg) { return arg; }

static weft_group *new_group(void)
{
    weft_group *group;
    BENCH_CHECK(weft_group_create(&group) == 0);
    return group;
}

static void next(weft_group *group)
{
    void *result;
    BENCH_CHECK(weft_group_next(group, &result) == 0);
}

/* ---- against plain tasks ------------------------------------------------------------------------------------- */

static double plain_one_by_one(void *arg)
{
    int64_t start = bench_now();
    for (int i = 0; i < ONES; i++)
        bench_join(bench_spawn(nothing, arg));
    return (double)(bench_now() - start) / ONES;
}

static double group_one_by_one(void *arg)
{
    weft_group *group = new_group();
    int64_t start = bench_now();
    for (int i = 0; i < ONES; i++) {
        BENCH_CHECK(weft_group_spawn(group, nothing, arg) == 0);
        next(group);
    }
    double each = (double)(bench_now() - start) / ONES;
    weft_group_close(group);
    return each;
}

static double plain_batches(void *arg)
{
    static weft_task *tasks[BATCH];
    int64_t start = bench_now();
    for (int batch = 0; batch < BATCHES; batch++) {
        for (int i = 0; i < BATCH; i++)
            tasks[i] = bench_spawn(nothing, arg);
        for (int i = 0; i < BATCH; i++)
            bench_join(tasks[i]);
    }
    return (double)(bench_now() - start) / (BATCH * BATCHES);
}

/* A group for each: creating and closing it is in the price. */
static double group_batches(void *arg)
{
    int64_t start = bench_now();
    for (int batch = 0; batch < BATCHES; batch++) {
        weft_group *group = new_group();
        for (int i = 0; i < BATCH; i++)
            BENCH_CHECK(weft_group_spawn(group, nothing, arg) == 0);
        for (int i = 0; i < BATCH; i++)
            next(group);
        BENCH_CHECK(weft_group_close(group) == 0);
    }
    return (double)(bench_now() - start) / (BATCH * BATCHES);
}

/* ---- closing ------------------------------------------------------------------------------------------------- */

/* Pending until it is dropped. */
struct endless {
    weft_future future;
};

static size_t waiting;

static weft_poll endless_poll(weft_future *self, weft_context *cx, void **result)
{
    (void)self;
    (void)cx;
    (void)result;
    __atomic_fetch_add(&waiting, 1, __ATOMIC_RELAXED);
    return WEFT_PENDING;
}

static const weft_future_ops endless_ops = {.poll = endless_poll};
static struct endless endless[MANY];

static double close_timed(weft_group *group)
{
    int64_t start = bench_now();
    BENCH_CHECK(weft_group_close(group) == 0);
    return (double)(bench_now() - start) / MANY;
}

/* Most of the children have not begun. */
static double close_fresh(void *arg)
{
    weft_group *group = new_group();
    for (int i = 0; i < MANY; i++)
        BENCH_CHECK(weft_group_spawn(group, nothing, arg) == 0);
    return close_timed(group);
}

/* All wait. */
static double close_waiting(void *arg)
{
    weft_spawn_options options = WEFT_SPAWN_OPTIONS_INIT;
    (void)arg;
    options.group = new_group();
    __atomic_store_n(&waiting, 0, __ATOMIC_RELAXED);
    for (int i = 0; i < MANY; i++) {
        endless[i].future.ops = &endless_ops;
        BENCH_CHECK(weft_spawn_future_with(NULL, &options, &endless[i].future) == 0);
    }
    while (__atomic_load_n(&waiting, __ATOMIC_RELAXED) < MANY)
        weft_yield();
    return close_timed(options.group);
}

static void *app(void *arg)
{
    bench_measure_w("group_plain_one_by_one", "ns/task", ROUNDS, plain_one_by_one, arg);
    bench_measure_w("group_one_by_one", "ns/child", ROUNDS, group_one_by_one, arg);
    bench_measure_w("group_plain_batches", "ns/task", ROUNDS, plain_batches, arg);
    bench_measure_w("group_batches", "ns/child", ROUNDS, group_batches, arg);
    bench_measure_w("group_close_fresh", "ns/child", ROUNDS, close_fresh, arg);
    bench_measure_w("group_close_waiting", "ns/child", ROUNDS, close_waiting, arg);
    return NULL;
}

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
