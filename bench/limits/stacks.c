/* stacks.c - two stacks: there and back; and a flag that is handed to and fro, with each side waiting until it has it. */
#include "limits.h"

#include "swap.h"

enum { PAIRS = 5000000, STACK = 65536, ROUNDS = 11 };

static struct stack outside, inside;
static char memory[STACK] __attribute__((aligned(16)));

static void for_ever(void *unused)
{
    (void)unused;
    for (;;)
        swap(&inside, &outside);
}

/* Nanoseconds per pair. */
static double switch_round(void *arg)
{
    (void)arg;
    int64_t start = bench_now();
    for (int i = 0; i < PAIRS; i++)
        swap(&outside, &inside);
    return (double)(bench_now() - start) / PAIRS;
}

void limit_switch(void)
{
    swap_prepare(&inside, memory, sizeof memory, for_ever);
    bench_measure("switch", "ns/pair", ROUNDS, switch_round, NULL);
}

static volatile int turn; /* whose it is: 0 outside, 1 inside */

static void return_flag(void *unused)
{
    (void)unused;
    for (;; turn = 0)
        while (turn != 1)
            swap(&inside, &outside);
}

/* Nanoseconds per round trip. */
static double pingpong_round(void *arg)
{
    (void)arg;
    int64_t start = bench_now();
    for (int i = 0; i < PAIRS; i++) {
        turn = 1;
        while (turn != 0)
            swap(&outside, &inside);
    }
    return (double)(bench_now() - start) / PAIRS;
}

void limit_pingpong(void)
{
    swap_prepare(&inside, memory, sizeof memory, return_flag);
    bench_measure("pingpong", "ns/trip", ROUNDS, pingpong_round, NULL);
}
