/* histogram.h - latencies with 3 % precision: linear up to 32 ns, then 32 buckets for each power of two. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BITS = 5, HISTOGRAM_STEPS = 1 << HISTOGRAM_BITS, HISTOGRAM_BUCKETS = 64 * HISTOGRAM_STEPS };

struct histogram {
    uint64_t bucket[HISTOGRAM_BUCKETS];
    int64_t longest;
};

static inline unsigned histogram_index(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS)
        return (unsigned)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - HISTOGRAM_BITS;
    return (shift << HISTOGRAM_BITS) + (unsigned)(ns >> shift);
}

/* The smallest value of a bucket. */
static inline double histogram_value(unsigned index)
{
    unsigned shift = index < 2 * HISTOGRAM_STEPS ? 0 : (index >> HISTOGRAM_BITS) - 1;
    return (double)((uint64_t)(index - (shift << HISTOGRAM_BITS)) << shift);
}

static inline void histogram_add(struct histogram *h, int64_t ns)
{
    h->bucket[histogram_index((uint64_t)ns)]++;
    if (ns > h->longest)
        h->longest = ns;
}

static inline void histogram_merge(struct histogram *into, const struct histogram *h)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->bucket[i] += h->bucket[i];
    if (h->longest > into->longest)
        into->longest = h->longest;
}

/* The value that @part (0.99 …) of all are not above. */
static inline double histogram_percentile(const struct histogram *h, double part)
{
    uint64_t all = 0, seen = 0;
    unsigned i;

    for (i = 0; i < HISTOGRAM_BUCKETS; i++)
        all += h->bucket[i];
    for (i = 0; i < HISTOGRAM_BUCKETS - 1; i++)
        if ((double)(seen += h->bucket[i]) >= part * (double)all)
            break;
    return histogram_value(i);
}

#endif
