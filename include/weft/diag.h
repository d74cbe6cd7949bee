/* weft/diag.h - watching a runtime. */
#ifndef WEFT_DIAG_H
#define WEFT_DIAG_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

typedef enum weft_guard_kind {
    WEFT_GUARD_NONE,     /* no stack was made yet */
    WEFT_GUARD_INSTALL,  /* MADV_GUARD_INSTALL: costs no map entry */
    WEFT_GUARD_MPROTECT, /* a protected page: two map entries a stack */
    WEFT_GUARD_CANARY,   /* a pattern, looked at when the stack is given back: the map count is used up */
} weft_guard_kind;

/** Counters since the runtime began. spawned = completed + active in every reading. */
typedef struct weft_metrics_t {
    uint64_t spawned, completed, active;
    uint64_t peak;                       /* most at once: exact with one worker, sampled otherwise */
    uint64_t polls;                      /* times a task was polled */
    uint64_t steals;                     /* tasks taken from another worker's queue */
    uint64_t parks;                      /* times a worker slept */
    uint64_t rescues;                    /* times a worker turned the reactor of one that was stuck in a task */
    uint64_t stacks_live, stacks_cached; /* of the process */
    weft_guard_kind guard;               /* of the newest stack in the process */
    uint64_t reserved_[7];
} weft_metrics_t;

/** Fill *@out. NULL @rt: the current one. Returns 0, WEFT_EINVAL or WEFT_ENORUNTIME. Any thread; nothing is stopped. */
WEFT_API int weft_metrics(weft_runtime *rt, weft_metrics_t *out);

WEFT_END_DECLS

#endif
