/* clock.h - the real time, and a cheap reading of time to decide whether the dear one is worth it. */
#ifndef WF_CLOCK_H
#define WF_CLOCK_H

#include <stdint.h>

/* Nanoseconds on the monotonic clock, also where weft_now() is virtual: for the scheduler's own decisions. */
int64_t wf_now(void);
/* The same, some milliseconds old, at a fifth of the cost. */
int64_t wf_now_coarse(void);

/* The same in steps of 8.4 ms, which begin again after 417 days: differences are what counts. */
static inline uint32_t wf_ticks(int64_t now) { return (uint32_t)((uint64_t)now >> 23); }
static inline int64_t wf_ticks_ns(uint32_t ticks) { return (int64_t)((uint64_t)ticks << 23); }

/* Ticks of some counter that never runs backwards on one thread for long; 0 where there is none. */
static inline uint64_t wf_cycles(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return 0;
#endif
}

/* Nanoseconds a tick of wf_cycles(). The first call takes some milliseconds where the machine does not say. */
double wf_ns_a_cycle(void);

/* Roughly so many microseconds of them: a third to three times as long on x86-64, which counts at 1 to 6 GHz and does not say; AArch64 does. */
static inline uint64_t wf_cycles_of_us(unsigned us)
{
#if defined(__x86_64__)
    return us * UINT64_C(3000);
#elif defined(__aarch64__)
    uint64_t hertz;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hertz));
    return us * hertz / 1000000;
#else
    (void)us;
    return 0;
#endif
}

#endif
