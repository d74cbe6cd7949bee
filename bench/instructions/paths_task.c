/* paths_task.c - tasks: beginning, taking turns, ending. */
#include "paths.h"

static weft_task *tasks[PATHS_BATCH];

static void *nothing(void *arg) { return arg; }

/* One by one: each is lent the worker. */
void *path_spawn_join(void *arg)
{
    for (long i = paths_count(arg); i > 0; i--)
        bench_join(bench_spawn(nothing, arg));
    return NULL;
}

static void spawn_batch(void)
{
    for (int i = 0; i < PATHS_BATCH; i++)
        tasks[i] = bench_spawn(nothing, NULL);
}

static void join_batch(void)
{
    for (int i = 0; i < PATHS_BATCH; i++)
        bench_join(tasks[i]);
}

/* More than a queue holds. */
void *path_spawn_many(void *arg)
{
    for (long i = paths_count(arg); i > 0; i -= PATHS_BATCH) {
        spawn_batch();
        join_batch();
    }
    return NULL;
}

/* Joins that find their tasks ended. The oldest are polled last. */
void *path_spawn_end_join(void *arg)
{
    for (long i = paths_count(arg); i > 0; i -= PATHS_BATCH) {
        spawn_batch();
        for (int j = 0; j < PATHS_BATCH; j++)
            while (!weft_is_finished(tasks[j]))
                BENCH_CHECK(weft_yield() == 0);
        join_batch();
    }
    return NULL;
}

/* ---- whose handle nobody keeps ---------------------------------------------------------------------------------- */

static long ended;

static void *count_end(void *arg)
{
    ended++;
    return arg;
}

static void wait_for_ends(long count)
{
    while (ended < count)
        BENCH_CHECK(weft_yield() == 0);
}

void *path_spawn_detached(void *arg)
{
    long count = paths_count(arg);
    for (long i = 1; i <= count; i++) {
        BENCH_CHECK(weft_spawn(NULL, count_end, NULL) == 0);
        if (i % PATHS_BATCH == 0)
            wait_for_ends(i);
    }
    return NULL;
}

static weft_poll end_at_once(weft_future *self, weft_context *cx, void **result)
{
    (void)self;
    (void)cx;
    (void)result;
    ended++;
    return WEFT_READY;
}

static const weft_future_ops end_ops = {.poll = end_at_once};

void *path_spawn_stackless(void *arg)
{
    static weft_future futures[PATHS_BATCH];
    long count = paths_count(arg);
    for (long i = 0; i < count; i += PATHS_BATCH) {
        for (int j = 0; j < PATHS_BATCH; j++) {
            futures[j].ops = &end_ops;
            BENCH_CHECK(weft_spawn_future(NULL, &futures[j]) == 0);
        }
        wait_for_ends(i + PATHS_BATCH);
    }
    return NULL;
}

/* A child, its end, and a batch's share of the wait. */
void *path_group(void *arg)
{
    weft_group *group;
    weft_group_options options = WEFT_GROUP_OPTIONS_INIT;

    options.discard = 1;
    BENCH_CHECK(weft_group_create_with(&group, &options) == 0);
    for (long i = 1, count = paths_count(arg); i <= count; i++) {
        BENCH_CHECK(weft_group_spawn(group, nothing, NULL) == 0);
        if (i % 100 == 0)
            BENCH_CHECK(weft_group_wait(group) == 0);
    }
    BENCH_CHECK(weft_group_close(group) == 0);
    return NULL;
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

void *path_yield(void *arg)
{
    for (long i = paths_count(arg); i > 0; i--)
        BENCH_CHECK(weft_yield() == 0);
    return NULL;
}

/* A yield of each. */
void *path_yield_two(void *arg)
{
    weft_task *a = bench_spawn(path_yield, arg), *b = bench_spawn(path_yield, arg);
    bench_join(a);
    bench_join(b);
    return NULL;
}

static void *yield_for_ever(void *arg)
{
    (void)arg;
    while (weft_coro_yield(NULL))
        ;
    return NULL;
}

/* A resume, and the yield that answers it. */
void *path_switch(void *arg)
{
    weft_coro *coro;
    void *out;
    BENCH_CHECK(weft_coro_create(&coro, yield_for_ever, NULL, 0) == 0);
    for (long i = paths_count(arg); i > 0; i--)
        BENCH_CHECK(weft_coro_resume(coro, coro, &out) == 1);
    BENCH_CHECK(weft_coro_free(coro) == 0);
    return NULL;
}
