/* forced.c - two strands on two workers hand a ball to and fro through two channels with one place each.   forced
 *
 * At once: the worker that waits still spins. And after HOLD of work each: it has parked; the work is taken off the result. */
#include "bench_weft.h"

#include <sys/syscall.h>

enum { TRIPS = 20000, PARKED_TRIPS = 1000, ROUNDS = 11, HOLD = 100000 /* ns */ };

struct side {
    weft_chan *in, *out;
    int trips, hold;
    pid_t thread;
};

static void work(int ns)
{
    for (int64_t end = bench_now() + ns; ns > 0 && bench_now() < end;) {
    }
}

static void *play(void *arg)
{
    struct side *s = arg;
    uint64_t ball;
    s->thread = (pid_t)syscall(SYS_gettid);
    for (int i = 0; i < s->trips; i++) {
        BENCH_CHECK(weft_chan_recv(s->in, &ball) == 0);
        work(s->hold);
        BENCH_CHECK(weft_chan_send(s->out, &ball) == 0);
    }
    return NULL;
}

/* From an ordinary thread, pinned strands go to the workers in turn. Nanoseconds per round trip. */
static double play_both(weft_runtime *rt, struct side pair[2])
{
    weft_task *task[2];
    weft_spawn_options options = WEFT_SPAWN_OPTIONS_INIT;
    uint64_t ball = 0;

    options.pinned = 1;
    options.runtime = rt;
    int64_t start = bench_now();
    BENCH_CHECK(weft_chan_send(pair[0].in, &ball) == 0);
    for (int i = 0; i < 2; i++)
        BENCH_CHECK(weft_spawn_with(&task[i], &options, play, &pair[i]) == 0);
    for (int i = 0; i < 2; i++)
        bench_join(task[i]);
    double took = (double)(bench_now() - start) / pair[0].trips;
    BENCH_CHECK(pair[0].thread != pair[1].thread);
    return took;
}

static double forced(weft_runtime *rt, int trips, int hold)
{
    weft_chan *there, *back;
    BENCH_CHECK(weft_chan_create(&there, sizeof(uint64_t), 1) == 0 && weft_chan_create(&back, sizeof(uint64_t), 1) == 0);
    struct side pair[2] = {{.in = back, .out = there, .trips = trips, .hold = hold},
                           {.in = there, .out = back, .trips = trips, .hold = hold}};
    double took = play_both(rt, pair);
    BENCH_CHECK(weft_chan_free(there) == 0 && weft_chan_free(back) == 0);
    return took - 2.0 * hold;
}

static double at_once_round(void *rt) { return forced(rt, TRIPS, 0); }

static double parked_round(void *rt) { return forced(rt, PARKED_TRIPS, HOLD); }

int main(int argc, char **argv)
{
    weft_options options = WEFT_OPTIONS_INIT;
    weft_runtime *rt;
    if (argc > 1 && bench_count(argv[1]) != 2)
        return 2; /* it takes two */
    options.workers = 2;
    BENCH_CHECK(weft_runtime_create(&rt, &options) == 0);
    bench_measure("forced", "ns/trip", ROUNDS, at_once_round, rt);
    bench_measure("forced_parked", "ns/trip", ROUNDS, parked_round, rt);
    BENCH_CHECK(weft_runtime_destroy(rt) == 0);
    return 0;
}
