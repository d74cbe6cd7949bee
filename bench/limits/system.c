/* system.c - what single calls cost here, of C and of the system: for reading the other figures, not for a column of the table. */
#include "limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <ucontext.h>

enum { CALLS = 20000000, ATOMICS = 10000000, THREADS = 2000, SWITCHES = 200000, ROUNDS = 11 };

static __attribute__((noinline)) void nothing(void) { __asm__ volatile(""); }

static double call_round(void *arg)
{
    (void)arg;
    int64_t start = bench_now();
    for (int i = 0; i < CALLS; i++)
        nothing();
    return (double)(bench_now() - start) / CALLS;
}

static double atomic_round(void *arg)
{
    atomic_long *counter = arg;
    int64_t start = bench_now();
    for (int i = 0; i < ATOMICS; i++)
        atomic_fetch_add_explicit(counter, 1, memory_order_acq_rel);
    return (double)(bench_now() - start) / ATOMICS;
}

static void *thread_body(void *arg) { return arg; }

static double thread_round(void *arg)
{
    pthread_t thread;
    int64_t start = bench_now();
    for (int i = 0; i < THREADS; i++)
        BENCH_CHECK(pthread_create(&thread, NULL, thread_body, arg) == 0 && pthread_join(thread, NULL) == 0);
    return (double)(bench_now() - start) / THREADS;
}

static ucontext_t outside, inside;

static void switch_back(void)
{
    for (;;)
        swapcontext(&inside, &outside);
}

/* There and back. */
static double switch_round(void *arg)
{
    (void)arg;
    int64_t start = bench_now();
    for (int i = 0; i < SWITCHES; i++)
        swapcontext(&outside, &inside);
    return (double)(bench_now() - start) / SWITCHES;
}

void limit_call(void) { bench_measure("call", "ns/call", ROUNDS, call_round, NULL); }

void limit_atomic(void)
{
    atomic_long counter = 0;
    bench_measure("atomic", "ns/add", ROUNDS, atomic_round, &counter);
}

void limit_thread(void) { bench_measure("thread", "ns/thread", ROUNDS, thread_round, NULL); }

void limit_ucontext(void)
{
    static char stack[65536];
    getcontext(&inside);
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = sizeof stack;
    makecontext(&inside, switch_back, 0);
    bench_measure("ucontext", "ns/pair", ROUNDS, switch_round, NULL);
}
