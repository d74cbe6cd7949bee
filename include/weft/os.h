/* weft/os.h - the system around the process. */
#ifndef WEFT_OS_H
#define WEFT_OS_H

#include <weft/base.h>
#include <weft/future.h>

WEFT_BEGIN_DECLS

/* ---- signals ------------------------------------------------------------------------------------------------- */

typedef struct weft_signal weft_signal;

/**
 * **awaits** until signal @number is watched. From then on until weft_signal_close() it no longer does what it did before, and every
 * open handle sees each arrival. Arrivals that nobody has asked for are counted, never replayed one by one.
 * Returns: 0; WEFT_EINVAL (no such signal, or one that cannot be caught), WEFT_ENOMEM, WEFT_EMFILE, WEFT_ENORUNTIME, an interruption.
 */
WEFT_API int weft_signal_open(weft_signal **signal, int number);

/**
 * **awaits** an arrival since the last call (or since the opening). One task at a time per handle (WEFT_EBUSY). Cancel-safe.
 * Returns: how many there were, at least 1 (the kernel itself joins those that come close together); an interruption; WEFT_EINVAL.
 */
WEFT_API int weft_signal_next(weft_signal *signal);

/** With the last handle of its number the signal does again what it did before. NULL: nothing. Never awaits. Nobody may wait in it. */
WEFT_API void weft_signal_close(weft_signal *signal);

/**
 * **awaits** the first SIGINT or SIGTERM that arrives after the call; the one after that kills the process as usual.
 * Returns: the signal's number; an interruption; WEFT_ENOMEM, WEFT_EMFILE, WEFT_ENORUNTIME.
 */
WEFT_API int weft_shutdown_signal(void);

WEFT_END_DECLS

#endif
