/* weft/coro.h - coroutines without a scheduler: one side runs, the other waits, a switch hands over directly. */
#ifndef WEFT_CORO_H
#define WEFT_CORO_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

typedef struct weft_coro weft_coro;

/**
 * A coroutine that will run @fn(@arg) on a stack of its own. Nothing runs before the first resume. Needs no runtime.
 * @stack_size: bytes, 0 for 256 KiB.
 * Returns: 0, WEFT_EINVAL or WEFT_ENOMEM.
 */
WEFT_API int weft_coro_create(weft_coro **c, weft_fn fn, void *arg, size_t stack_size);

/**
 * Run the body until it yields or ends. @in is what its yield returns (ignored by the first resume).
 * Returns: 1, it yielded *@out; 0, it has finished, now or before (*@out is what it returned the first time, NULL later);
 *          WEFT_EPANIC, once, when the body panicked (0 later); WEFT_EBUSY: it is running (re-entry, or resuming oneself), or
 *          bound to another thread; WEFT_EINVAL.
 * Threads: any, one at a time, unless bound. An await in the body suspends the whole resuming task.
 */
WEFT_API int weft_coro_resume(weft_coro *c, void *in, void **out);

/** In a body: hand @out to the one who resumed. Returns the next @in; NULL when asked to stop. Outside a body: NULL. */
WEFT_API void *weft_coro_yield(void *out);

/** In a body: nonzero when weft_coro_stop() wants it to return; a further yield would end it there. */
WEFT_API int weft_coro_stopping(void);

/**
 * End the body: one that never ran will never run; else its pending yield returns NULL with weft_coro_stopping() true.
 * Idempotent. Returns: 0, WEFT_EPANIC (it panicked while stopping), WEFT_EBUSY (it is running), WEFT_EINVAL.
 */
WEFT_API int weft_coro_stop(weft_coro *c);

/** Stop and free. NULL: nothing. Returns 0, or WEFT_EBUSY when it is running (then nothing is freed). */
WEFT_API int weft_coro_free(weft_coro *c);

/** From now on only the calling thread may resume @c. Returns 0, WEFT_EBUSY (bound to another), WEFT_EINVAL. */
WEFT_API int weft_coro_bind_thread(weft_coro *c);

/** The message of the panic that ended it; "" if none did. Valid until it is freed. */
WEFT_API const char *weft_coro_error(const weft_coro *c);

/** The coroutine whose body is running here; NULL outside any. */
WEFT_API weft_coro *weft_coro_self(void);

WEFT_END_DECLS

#endif
