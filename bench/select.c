/* select.c - a select of 2 or 16 channels, words of 8 bytes; per item received.   select [workers] */
#include "bench_weft.h"

enum { SELECTS = 200000, MOST = 16, ROUNDS = 11 };

static weft_chan *new_chan(size_t capacity)
{
    weft_chan *ch;
    BENCH_CHECK(weft_chan_create(&ch, sizeof(uint64_t), capacity) == 0);
    return ch;
}

static void free_chan(weft_chan *ch) { BENCH_CHECK(weft_chan_free(ch) == 0); }

/* ---- select ------------------------------------------------------------------------------------------------------ */

struct fan {
    weft_chan *chans[MOST];
    int n;
};

static void *send_round(void *arg)
{
    struct fan *f = arg;
    for (uint64_t i = 0; i < SELECTS; i++)
        BENCH_CHECK(weft_chan_send(f->chans[i % (uint64_t)f->n], &i) == 0);
    return NULL;
}

/* Nanoseconds per item. */
static double select_round(void *n)
{
    struct fan f = {.n = *(int *)n};
    weft_case cases[MOST];
    uint64_t item;
    for (int i = 0; i < f.n; i++) {
        f.chans[i] = new_chan(1);
        cases[i] = (weft_case)WEFT_RECV(f.chans[i], &item);
    }
    int64_t start = bench_now();
    weft_task *sender = bench_spawn(send_round, &f);
    for (int i = 0; i < SELECTS; i++)
        BENCH_CHECK(weft_select(cases, f.n) >= 0);
    double took = (double)(bench_now() - start) / SELECTS;
    bench_join(sender);
    for (int i = 0; i < f.n; i++)
        free_chan(f.chans[i]);
    return took;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static void *app(void *arg)
{
    (void)arg;
    int two = 2, sixteen = 16;
    bench_measure_w("select_2", "ns/item", ROUNDS, select_round, &two);
    bench_measure_w("select_16", "ns/item", ROUNDS, select_round, &sixteen);
    return NULL;
}

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
