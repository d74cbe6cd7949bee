/* random.c - one key per process, one counter, and the process id.
 *
 * fork() copies key and counter, so the process id is asked for each time: it alone tells a child from its parent and its
 * siblings (d27). The id goes through mix() before the counter is added to it: neighbouring ids begin far from each other.
 * Source of the generator: splitmix64, Steele, Lea and Flood 2014. */
#include <base/atomic.h>
#include <base/clock.h>
#include <base/exec.h>
#include <base/random.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/random.h>
#endif

static wf_a64 calls;
static uint64_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Early in the system's life there may be nothing yet: then it says so instead of waiting. */
static bool key_from_system(void)
{
#if defined(__linux__)
    return getrandom(&key, sizeof key, GRND_NONBLOCK) == (ssize_t)sizeof key;
#else
    return false;
#endif
}

/* Whatever two processes that start together hardly share: both clocks, the CPU's counter, and where the stack was put. */
static uint64_t key_from_circumstances(void)
{
    struct timespec date;
    clock_gettime(CLOCK_REALTIME, &date);
    uint64_t mixed = mix((uint64_t)date.tv_sec * WEFT_SEC + (uint64_t)date.tv_nsec);
    mixed = mix(mixed ^ (uint64_t)weft_now());
    mixed = mix(mixed ^ wf_cycles());
    mixed = mix(mixed ^ (uintptr_t)&date);
    return mix(mixed ^ (uint64_t)getpid());
}

static void key_draw(void)
{
    if (!key_from_system())
        key = key_from_circumstances();
}

uint64_t wf_random(void)
{
    pthread_once(&key_once, key_draw);
    return mix(mix(key ^ (uint64_t)getpid()) + wf_add_rlx(&calls, 1) * 0x9e3779b97f4a7c15u);
}

uint64_t wf_chance(void)
{
    const wf_exec *exec = wf_exec_peek();
    return exec && exec->chance ? wf_rng_next(exec->chance) : wf_random();
}
