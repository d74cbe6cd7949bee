/* backoff.c - waiting longer after each failure, and not in step with others who failed at the same moment. */
#include <base/common.h>
#include <base/random.h>
#include <limits.h>
#include <weft/time.h>

/* Written so that a NaN makes no sense either. */
static bool makes_sense(const weft_backoff *b)
{
    return b->initial >= 0 && b->max >= 0 && b->deadline >= 0 && (b->factor == 0 || b->factor >= 1) && b->jitter <= 1;
}

/* The delay after the one that was taken last, before chance has its share. */
static int64_t next_delay(const weft_backoff *b)
{
    int64_t longest = b->max ? b->max : 30 * WEFT_SEC;
    if (b->count_ == 0)
        return WF_MIN(b->initial ? b->initial : 100 * WEFT_MS, longest);
    double grown = (double)b->delay_ * (b->factor == 0 ? 2 : b->factor) + 0.5;
    return grown < (double)longest ? (int64_t)grown : longest;
}

/* Uniform in [0, 1). */
static double chance(void) { return (double)(wf_chance() >> 11) * 0x1p-53; }

/* From the upper end down, so that no delay is longer than its turn allows. */
static int64_t jittered(const weft_backoff *b, int64_t delay)
{
    double share = b->jitter == 0 ? 0.5 : WF_MAX(b->jitter, 0);
    return delay - (int64_t)((double)delay * share * chance());
}

int weft_backoff_wait(weft_backoff *b)
{
    if (!b || !makes_sense(b))
        return WEFT_EINVAL;
    if (b->retries > 0 && b->count_ >= b->retries)
        return WEFT_EEXHAUSTED;
    int64_t delay = next_delay(b);
    int64_t when = wf_add_saturating(weft_now(), jittered(b, delay));
    if (b->deadline > 0 && when > b->deadline)
        return WEFT_ETIMEDOUT;
    b->delay_ = delay;
    if (b->count_ < UINT_MAX) /* never back to "none taken", which would be the first delay again */
        b->count_++;
    return weft_sleep_until(when);
}

void weft_backoff_reset(weft_backoff *b)
{
    if (!b)
        return;
    b->delay_ = 0;
    b->count_ = 0;
}
