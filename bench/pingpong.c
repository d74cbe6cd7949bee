/* pingpong.c - two strands hand a ball to and fro, and wait for it.   pingpong [workers]
 *
 * Through two channels with one place each; as pingpong_rendezvous with none; and, as pingpong_notify, with a future of ours and its atomic waker. */
#include "bench_weft.h"

#include <stdatomic.h>

enum { TRIPS = 300000, ROUNDS = 11 };

/* ---- through channels ------------------------------------------------------------------------------------------ */

struct court {
    weft_chan *there, *back;
};

static void *return_ball(void *arg)
{
    struct court *c = arg;
    uint64_t ball;
    for (int i = 0; i < TRIPS; i++) {
        BENCH_CHECK(weft_chan_recv(c->there, &ball) == 0);
        BENCH_CHECK(weft_chan_send(c->back, &ball) == 0);
    }
    return NULL;
}

static void *serve_ball(void *arg)
{
    struct court *c = arg;
    for (uint64_t i = 0, ball; i < TRIPS; i++) {
        BENCH_CHECK(weft_chan_send(c->there, &i) == 0);
        BENCH_CHECK(weft_chan_recv(c->back, &ball) == 0 && ball == i);
    }
    return NULL;
}

/* Nanoseconds per round trip. */
static double channel_round(void *arg)
{
    struct court c;
    const size_t *places = arg;
    BENCH_CHECK(weft_chan_create(&c.there, sizeof(uint64_t), *places) == 0);
    BENCH_CHECK(weft_chan_create(&c.back, sizeof(uint64_t), *places) == 0);
    int64_t start = bench_now();
    weft_task *other = bench_spawn(return_ball, &c), *one = bench_spawn(serve_ball, &c);
    bench_join(one);
    bench_join(other);
    double took = (double)(bench_now() - start) / TRIPS;
    BENCH_CHECK(weft_chan_free(c.there) == 0 && weft_chan_free(c.back) == 0);
    return took;
}

/* ---- with a waker ---------------------------------------------------------------------------------------------- */

/* One side's place for the baton. [BATON] the giver's release store pairs with the taker's acquire load. */
struct side {
    weft_future future;
    weft_atomic_waker waker;
    atomic_int here;
    struct side *other;
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

static void *play(void *arg)
{
    struct side *s = arg;
    for (int i = 0; i < TRIPS; i++) {
        BENCH_CHECK(weft_await(&s->future, NULL) == 0);
        give(s->other);
    }
    return NULL;
}

/* Nanoseconds per round trip. */
static double waker_round(void *arg)
{
    struct side pair[2];
    (void)arg;
    for (int i = 0; i < 2; i++) {
        pair[i] = (struct side){.future.ops = &baton_ops, .other = &pair[!i]};
        weft_atomic_waker_init(&pair[i].waker);
    }
    atomic_store(&pair[0].here, 1);
    int64_t start = bench_now();
    weft_task *a = bench_spawn(play, &pair[0]), *b = bench_spawn(play, &pair[1]);
    bench_join(a);
    bench_join(b);
    return (double)(bench_now() - start) / TRIPS;
}

/* ---- both ------------------------------------------------------------------------------------------------------ */

static void *app(void *arg)
{
    size_t one = 1, none = 0;
    bench_measure_w("pingpong", "ns/trip", ROUNDS, channel_round, &one);
    bench_measure_w("pingpong_rendezvous", "ns/trip", ROUNDS, channel_round, &none);
    bench_measure_w("pingpong_notify", "ns/trip", ROUNDS, waker_round, arg);
    return NULL;
}

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
