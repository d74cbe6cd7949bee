/* weft/group.h - tasks that end before something does: none outlives its group. */
#ifndef WEFT_GROUP_H
#define WEFT_GROUP_H

#include <weft/base.h>
#include <weft/task.h>

WEFT_BEGIN_DECLS

/** Zero is the default of every field. */
typedef struct weft_group_options {
    size_t limit;       /* children at once; spawning one more awaits; 0: no limit */
    unsigned fail_fast; /* nonzero: the first child that fails or panics cancels the rest */
    unsigned discard; /* nonzero: results are dropped as children end, and weft_group_next() reports none: for groups that live long */
    void (*drop_result)(void *); /* called with each result that nobody takes */
} weft_group_options;

#define WEFT_GROUP_OPTIONS_INIT \
    {                           \
        0                       \
    }

WEFT_API int weft_group_create_sized(weft_group **group, const weft_group_options *options, size_t size);

/**
 * A group belongs to the task (or coroutine body) that creates it: when that ends in whatever way and has not closed it, it is closed then,
 * after the deferred calls and before the stack goes. When a scope around its creation fires (or has), the group is cancelled, as soon as the
 * task meets that. On an ordinary thread, or in a stackless poll, whoever creates it must close it.
 * Returns: 0, WEFT_EINVAL or WEFT_ENOMEM.
 */
static inline int weft_group_create_with(weft_group **group, const weft_group_options *options)
{
    return weft_group_create_sized(group, options, sizeof *options);
}

/** weft_group_create_with() and the defaults. */
static inline int weft_group_create(weft_group **group) { return weft_group_create_sized(group, NULL, 0); }

/**
 * Start a child. **awaits** while the group is at its limit, and never otherwise. Any task or thread. For more options:
 * weft_spawn_with() with `group`, whose task argument must be NULL.
 * Returns: as weft_spawn(); WEFT_ECANCELED also when the group was cancelled; an interruption; WEFT_EDEADLK: at the limit where
 *          nothing can wait. @arg is then the caller's.
 */
WEFT_API int weft_group_spawn(weft_group *group, weft_fn fn, void *arg);

/**
 * **awaits** the next child that ends, in the order in which they end.
 * Returns: 0 with *@result its value; WEFT_EABORTED, WEFT_EPANIC (*@result NULL), WEFT_EFAILED (its code in *@result); WEFT_EOF: none is
 *          left; an interruption; WEFT_EINVAL, WEFT_EDEADLK. Cancel-safe. Several may call it: each child is reported once.
 */
WEFT_API int weft_group_next(weft_group *group, void **result);

/**
 * **awaits** until no child runs. Results stay for weft_group_next().
 * Returns: what the first child that failed failed with (a code, or WEFT_EPANIC); else WEFT_EABORTED if one was aborted; else 0; or an
 *          interruption; WEFT_EDEADLK: from a child of it; WEFT_EINVAL. Cancel-safe.
 */
WEFT_API int weft_group_wait(weft_group *group);

/** Abort every child; nothing more is spawned. Idempotent; any thread and context; never waits. */
WEFT_API void weft_group_cancel(weft_group *group);

/** How many children have not ended. */
WEFT_API size_t weft_group_running(weft_group *group);

/** Cancel, **await** the last child even when the caller is cancelled, drop what results are left, free. NULL: nothing. Returns 0; WEFT_EDEADLK (from a child of it, or where nothing can wait): cancelled, not freed. */
WEFT_API int weft_group_close(weft_group *group);

WEFT_END_DECLS

#endif
