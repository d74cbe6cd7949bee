/* clock.h - the real time, and a cheap reading of time to decide whether the dear one is worth it. */
#ifndef WF_CLOCK_H
#define WF_CLOCK_H

#include <stdint.h>

/* Nanoseconds on the monotonic clock, also where weft_now() is virtual: for the scheduler's own decisions. */
int64_t wf_now(void);

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
