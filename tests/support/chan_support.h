/* chan_support.h - what the tests of channels and select share: a clock that says when everybody waits, and channel operations as futures. */
#ifndef CHAN_SUPPORT_H
#define CHAN_SUPPORT_H

#include <stdatomic.h>
#include <support/task_support.h>
#include <weft/chan.h>
#include <weft/select.h>

/* ---- when everybody waits ------------------------------------------------------------------------------------- */

/* Time jumps only when no task can run: so who has slept knows that all the others wait. */
void run_paused(unsigned workers, weft_fn root, void *arg);
void settle(void);

/* A task that has begun, and waits for something. */
weft_task *spawn_settled(weft_fn fn, void *arg);

/* ---- one operation of a strand, or of an ordinary thread ------------------------------------------------------ */

typedef struct chan_call {
    weft_chan *ch;
    uint64_t item;
    int status; /* CALL_WAITS until it has ended */
} chan_call;

enum { CALL_WAITS = 1 };

void *call_send(void *call);
void *call_recv(void *call);

weft_chan *new_chan(size_t capacity);

/* ---- the same as a future ------------------------------------------------------------------------------------- */

typedef struct chan_future {
    weft_future future;
    weft_op op;
    weft_chan *ch;
    bool sends;
    uint64_t item;
    int polls, drops;
    int status;
} chan_future;

void chan_future_init(chan_future *f, weft_chan *ch, bool sends, uint64_t item);

/* ---- chance, which can be repeated ---------------------------------------------------------------------------- */

/* WF_TEST_SEED, or another one each time. */
uint64_t test_seed(void);

static inline uint64_t test_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline unsigned test_below(uint64_t *state, unsigned n) { return (unsigned)(test_random(state) % n); }

#endif
