/* weft/os.h - the system around the process. */
#ifndef WEFT_OS_H
#define WEFT_OS_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * **awaits** the first SIGINT or SIGTERM that arrives after the call; the one after that kills the process as usual.
 * Returns: the signal's number; an interruption; WEFT_ENOMEM, WEFT_EMFILE, WEFT_ENORUNTIME.
 */
WEFT_API int weft_shutdown_signal(void);

WEFT_END_DECLS

#endif
