/* weft/scope.h - "not longer than" and "until told otherwise", around any code that awaits. */
#ifndef WEFT_SCOPE_H
#define WEFT_SCOPE_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

struct wf_body;

/**
 * A stretch of one task's (coroutine's, thread's) code whose awaits end early when it fires: by its deadline with
 * WEFT_ETIMEDOUT, by weft_scope_cancel() or a token with WEFT_ECANCELED. It lives on the stack, and nests: an await reports an
 * abort first, then the outermost scope that has fired. A shield hides those entered outside it. Code in between needs to
 * know nothing of all this: it sees a failing await, and returns.
 *
 * It must be left before the function that entered it returns. One whose frame is gone is a panic of the task, at its next wait or its end.
 */
typedef struct weft_scope {
    struct weft_scope *outer_;
    struct wf_body *body_;
    int64_t deadline_;
    int fired_;
    unsigned shields_;
    int received_;
    uint64_t seal_;
    uint64_t reserved_[1];
} weft_scope;

/**
 * @timeout: nanoseconds from now; WEFT_FOREVER: no deadline; zero and less: it has fired already. Never early; up to a tick (1 ms) late,
 *           and seen by awaits that wait, by weft_is_cancelled(), and when the budget of a task that never waits runs out.
 * Returns: 0; WEFT_EINVAL; WEFT_EDEADLK where nothing can wait (a stackless poll, a callback); WEFT_ENOMEM (a thread's first wait).
 * Cost: one reading of the clock, and no atomic operation.
 */
WEFT_API int weft_scope_enter(weft_scope *scope, int64_t timeout);

/**
 * Returns: WEFT_ETIMEDOUT or WEFT_ECANCELED if this scope fired and an await inside it (or weft_is_cancelled()) has said so; else 0.
 *          WEFT_EINVAL: it is not the innermost one entered here; nothing is left.
 */
WEFT_API int weft_scope_leave(weft_scope *scope);

/** Let it fire now, from inside. From elsewhere: a token. Returns 0, or WEFT_EINVAL if the caller has not entered it. */
WEFT_API int weft_scope_cancel(weft_scope *scope);

/** The nearest deadline that applies to the next await, on weft_now()'s clock; WEFT_FOREVER: none. */
WEFT_API int64_t weft_deadline(void);

static inline void weft_scope_cleanup_(weft_scope *scope) { (void)weft_scope_leave(scope); }

/* `WEFT_SCOPE(s, 5 * WEFT_SEC);` declares and enters s, which is left wherever its block ends. (gcc, clang.) */
#define WEFT_SCOPE(name, timeout)                                  \
    __attribute__((cleanup(weft_scope_cleanup_))) weft_scope name; \
    (void)weft_scope_enter(&name, (timeout))

WEFT_END_DECLS

#endif
