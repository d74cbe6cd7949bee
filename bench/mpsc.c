/* mpsc.c - four strands send words of 8 bytes to one, through a channel with 1,024 places.   mpsc [workers] */
#include "bench_weft.h"

enum { SENDERS = 4, MESSAGES = 250000 /* each */, CAPACITY = 1024, ROUNDS = 11 };

static void *send_many(void *ch)
{
    for (uint64_t i = 0; i < MESSAGES; i++)
        BENCH_CHECK(weft_chan_send(ch, &i) == 0);
    return NULL;
}

/* Million messages per second. */
static double mpsc_round(void *arg)
{
    weft_task *senders[SENDERS];
    weft_chan *ch;
    uint64_t item, sum = 0;
    (void)arg;
    BENCH_CHECK(weft_chan_create(&ch, sizeof item, CAPACITY) == 0);
    int64_t start = bench_now();
    for (int i = 0; i < SENDERS; i++)
        senders[i] = bench_spawn(send_many, ch);
    for (int i = 0; i < SENDERS * MESSAGES; i++) {
        BENCH_CHECK(weft_chan_recv(ch, &item) == 0);
        sum += item;
    }
    int64_t took = bench_now() - start;
    BENCH_CHECK(sum == (uint64_t)SENDERS * MESSAGES * (MESSAGES - 1) / 2);
    for (int i = 0; i < SENDERS; i++)
        bench_join(senders[i]);
    BENCH_CHECK(weft_chan_free(ch) == 0);
    return (double)SENDERS * MESSAGES * 1000 / (double)took;
}

static void *app(void *arg)
{
    bench_measure_w("mpsc", "M msg/s", ROUNDS, mpsc_round, arg);
    return NULL;
}

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
