/* pingpong.c - two strands hand a baton to and fro, each waiting in weft_await() on a future of ours.   pingpong [workers]
 *
 * With 2 workers there is also the forced case: each strand pinned to a worker of its own, first handing over at once (the waiting worker
 * still spins), then after HOLD of work (it has parked; the work is taken off the result). */
#include "bench_weft.h"

#include <stdatomic.h>
#include <sys/syscall.h>

enum { TRIPS = 300000, FORCED_TRIPS = 20000, PARKED_TRIPS = 2000, ROUNDS = 11, HOLD = 100000 /* ns */ };

/* One side's place for the baton. [BATON] the giver's release store pairs with the taker's acquire load. */
struct side {
    weft_future future;
    weft_atomic_waker waker;
    atomic_int here;
    struct side *other;
    int trips, hold;
    pid_t thread;
};

static int take(struct side *s)
{
    if (!atomic_load_explicit(&s->here, memory_order_acquire)) /* [BATON] */
        return 0;
    atomic_store_explicit(&s->here, 0, memory_order_relaxed); /* nobody gives before we gave back */
    return 1;
}

static void give(struct side *s)
{
    atomic_store_explicit(&s->here, 1, memory_order_release); /* [BATON] */
    weft_atomic_waker_wake(&s->waker);
}

static weft_poll baton_poll(weft_future *self, weft_context *cx, void **result)
{
    struct side *s = WEFT_CONTAINER_OF(self, struct side, future);
    (void)result;
    if (take(s))
        return WEFT_READY;
    int err = weft_atomic_waker_register(&s->waker, weft_context_waker(cx));
    if (err < 0)
        return err;
    return take(s) ? WEFT_READY : WEFT_PENDING;
}

static const weft_future_ops baton_ops = {.poll = baton_poll};

static void work(int ns)
{
    for (int64_t end = bench_now() + ns; ns > 0 && bench_now() < end;) {
    }
}

static void *play(void *arg)
{
    struct side *s = arg;
    s->thread = (pid_t)syscall(SYS_gettid);
    for (int i = 0; i < s->trips; i++) {
        BENCH_CHECK(weft_await(&s->future, NULL) == 0);
        work(s->hold);
        give(s->other);
    }
    return NULL;
}

static void set_up(struct side pair[2], int trips, int hold)
{
    for (int i = 0; i < 2; i++) {
        pair[i] = (struct side){.future.ops = &baton_ops, .other = &pair[!i], .trips = trips, .hold = hold};
        weft_atomic_waker_init(&pair[i].waker);
    }
    atomic_store(&pair[0].here, 1);
}

/* Nanoseconds per round trip. */
static double local_round(void *arg)
{
    struct side pair[2];
    (void)arg;
    set_up(pair, TRIPS, 0);
    int64_t start = bench_now();
    weft_task *a = bench_spawn(play, &pair[0]), *b = bench_spawn(play, &pair[1]);
    bench_join(a);
    bench_join(b);
    return (double)(bench_now() - start) / TRIPS;
}

/* From an ordinary thread, pinned strands go to the workers in turn. */
static double forced(weft_runtime *rt, int trips, int hold)
{
    struct side pair[2];
    weft_task *task[2];
    weft_spawn_options options = WEFT_SPAWN_OPTIONS_INIT;

    options.pinned = 1;
    options.runtime = rt;
    set_up(pair, trips, hold);
    int64_t start = bench_now();
    for (int i = 0; i < 2; i++)
        BENCH_CHECK(weft_spawn_with(&task[i], &options, play, &pair[i]) == 0);
    for (int i = 0; i < 2; i++)
        bench_join(task[i]);
    BENCH_CHECK(pair[0].thread != pair[1].thread);
    return (double)(bench_now() - start) / trips - 2.0 * hold;
}

static double forced_round(void *rt) { return forced(rt, FORCED_TRIPS, 0); }

static double parked_round(void *rt) { return forced(rt, PARKED_TRIPS, HOLD); }

static void *app(void *arg)
{
    bench_measure_w("pingpong", "ns/trip", ROUNDS, local_round, arg);
    return NULL;
}

static void measure_forced(void)
{
    weft_options options = WEFT_OPTIONS_INIT;
    weft_runtime *rt;
    options.workers = 2;
    BENCH_CHECK(weft_runtime_create(&rt, &options) == 0);
    bench_measure("pingpong_forced_spinning", "ns/trip", ROUNDS, forced_round, rt);
    bench_measure("pingpong_forced_parked", "ns/trip", ROUNDS, parked_round, rt);
    BENCH_CHECK(weft_runtime_destroy(rt) == 0);
}

int main(int argc, char **argv)
{
    int failed = bench_main(argc, argv, app);
    if (argc > 1 && atoi(argv[1]) == 2)
        measure_forced();
    return failed;
}
