/* rng.h - a small fast generator for scheduling decisions. Not for secrets.
 * Source: xorshift64*, Marsaglia 2003 / Vigna 2016. */
#ifndef WF_RNG_H
#define WF_RNG_H

#include <stdint.h>

typedef struct {
    uint64_t s;
} wf_rng;

static inline void wf_rng_seed(wf_rng *r, uint64_t seed) { r->s = seed * 0x9e3779b97f4a7c15u | 1; }

static inline uint64_t wf_rng_next(wf_rng *r)
{
    r->s ^= r->s >> 12;
    r->s ^= r->s << 25;
    r->s ^= r->s >> 27;
    return r->s * 0x2545f4914f6cdd1du;
}

/* Uniform enough in [0, n). */
static inline uint32_t wf_rng_below(wf_rng *r, uint32_t n) { return (uint32_t)((wf_rng_next(r) >> 32) * n >> 32); }

#endif
