/* weft/time.h - waiting for the clock. */
#ifndef WEFT_TIME_H
#define WEFT_TIME_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * **awaits** until @ns nanoseconds have passed; zero and less yields once. Never early; as late as the tick (1 ms) and the load make it.
 * Returns: 0; WEFT_ECANCELED or WEFT_ETIMEDOUT when interrupted; WEFT_EDEADLK where nothing can wait. Cancel-safe.
 */
WEFT_API int weft_sleep(int64_t ns);

/** The same, until @when on weft_now()'s clock. */
WEFT_API int weft_sleep_until(int64_t when);

WEFT_END_DECLS

#endif
