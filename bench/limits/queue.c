/* queue.c - a ring with 1,024 places, filled by four in turn and emptied by one, all of them the same thread. */
#include "limits.h"

#include <stdbool.h>

enum { SENDERS = 4, MESSAGES = 2500000 /* each */, CAPACITY = 1024, ROUNDS = 11 };

static struct ring {
    uint64_t head, tail, place[CAPACITY];
} ring;

static __attribute__((noinline)) bool send(struct ring *r, uint64_t item)
{
    if (r->tail - r->head == CAPACITY)
        return false;
    r->place[r->tail++ % CAPACITY] = item;
    return true;
}

static __attribute__((noinline)) bool receive(struct ring *r, uint64_t *item)
{
    if (r->tail == r->head)
        return false;
    *item = r->place[r->head++ % CAPACITY];
    return true;
}

/* Million messages per second. */
static double mpsc_round(void *arg)
{
    uint64_t sent[SENDERS] = {0}, received = 0, sum = 0, item;
    (void)arg;
    int64_t start = bench_now();
    for (int who = 0; received < (uint64_t)SENDERS * MESSAGES; who = (who + 1) % SENDERS) {
        while (sent[who] < MESSAGES && send(&ring, sent[who]))
            sent[who]++;
        for (; receive(&ring, &item); received++)
            sum += item;
    }
    int64_t took = bench_now() - start;
    BENCH_CHECK(sum == (uint64_t)SENDERS * MESSAGES * (MESSAGES - 1) / 2);
    return (double)received * 1000 / (double)took;
}

void limit_mpsc(void) { bench_measure("mpsc_w1", "M msg/s", ROUNDS, mpsc_round, NULL); }
