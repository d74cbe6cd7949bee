/* clock.c - the monotonic clock. */
#include <base/clock.h>
#include <time.h>
#include <weft/base.h>

int64_t wf_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * WEFT_SEC + t.tv_nsec;
}
