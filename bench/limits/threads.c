/* threads.c - a flag to and fro between two threads, which wait for it by looking at it, or in the kernel; the latter as in forced.c. */
#include "limits.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { TRIPS = 200000, PARKED_TRIPS = 1000, ROUNDS = 11, HOLD = 100000 /* ns */, SPINS = 1000 };

static atomic_int turn; /* whose it is: 0 or 1 */

static void work(int ns)
{
    for (int64_t end = bench_now() + ns; ns > 0 && bench_now() < end;) {
    }
}

/* On a machine with one CPU, the other can only go on if this one lets it. */
static void await_by_looking(int mine)
{
    for (int i = 1; atomic_load_explicit(&turn, memory_order_acquire) != mine; i++)
        if (i % SPINS == 0)
            sched_yield();
}

static void await_in_kernel(int mine)
{
    while (atomic_load_explicit(&turn, memory_order_acquire) != mine)
        syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, !mine, NULL, NULL, 0);
}

static void *play_looking(void *arg)
{
    int mine = *(int *)arg;
    for (int i = 0; i < TRIPS; i++) {
        await_by_looking(mine);
        atomic_store_explicit(&turn, !mine, memory_order_release);
    }
    return NULL;
}

static void *play_parked(void *arg)
{
    int mine = *(int *)arg;
    for (int i = 0; i < PARKED_TRIPS; i++) {
        await_in_kernel(mine);
        work(HOLD);
        atomic_store_explicit(&turn, !mine, memory_order_release);
        syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    return NULL;
}

/* Nanoseconds. */
static double play_both(void *(*play)(void *))
{
    pthread_t other;
    int zero = 0, one = 1;
    int64_t start = bench_now();
    BENCH_CHECK(pthread_create(&other, NULL, play, &one) == 0);
    play(&zero);
    BENCH_CHECK(pthread_join(other, NULL) == 0);
    return (double)(bench_now() - start);
}

static double looking_round(void *arg)
{
    (void)arg;
    return play_both(play_looking) / TRIPS;
}

static double parked_round(void *arg)
{
    (void)arg;
    return play_both(play_parked) / PARKED_TRIPS - 2.0 * HOLD;
}

void limit_forced(void)
{
    bench_measure("forced", "ns/trip", ROUNDS, looking_round, NULL);
    bench_measure("forced_parked", "ns/trip", ROUNDS, parked_round, NULL);
}
