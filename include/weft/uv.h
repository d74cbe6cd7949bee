/* weft/uv.h - the bridge to libraries that are built on libuv. <uv.h> itself needs -D_GNU_SOURCE (or -std=gnu11). */
#ifndef WEFT_UV_H
#define WEFT_UV_H

#include <uv.h>
#include <weft/base.h>
#include <weft/future.h>

WEFT_BEGIN_DECLS

/**
 * The calling worker's libuv loop, in a pinned task or in a callback of that loop; NULL elsewhere. From then on no other worker turns that
 * loop, so a long task delays what is on it. Its handles and requests are made, used and closed in pinned tasks of this worker and in
 * their callbacks only. Callbacks must not wait (WEFT_EDEADLK); they may wake, spawn, abort, and set completions. Handles left when the runtime
 * ends are closed then.
 */
WEFT_API uv_loop_t *weft_uv_loop(void);

/** From a callback to the one task that waits for it. Its zero is ready for use. */
typedef struct weft_completion {
    uint8_t lock_, done_, reserved_[2];
    int status_;
    weft_waker waker_;
} weft_completion;

#define WEFT_COMPLETION_INIT            \
    {                                   \
        0, 0, {0, 0}, 0, { NULL, NULL } \
    }

WEFT_API void weft_completion_init(weft_completion *c);
/** The first call counts. Any thread and context. The completion may be gone when it returns: it is the waiter's. */
WEFT_API void weft_completion_set(weft_completion *c, int status);
/** **awaits** it. Returns the status; or WEFT_ECANCELED or WEFT_ETIMEDOUT when interrupted: then the callback may still come, and the completion must
 *  stay until it has (cancel the request and wait again, shielded). One task at a time: WEFT_EBUSY. */
WEFT_API int weft_completion_wait(weft_completion *c);

WEFT_END_DECLS

#endif
