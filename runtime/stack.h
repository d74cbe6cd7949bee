/* stack.h - the process's pool of guarded stacks.
 *
 * Owns the memory that strands and coroutines run on: slabs of stacks of one size, mapped together, each above a guard;
 * a depot of unused ones per size; and magazines of hot ones, one per worker. Knows nothing of what runs on a stack.
 *
 * Descriptors lie outside the stacks, so that a cold stack costs no page. A guard outlives its stack's users: it is
 * installed when the stack is handed out for the first time and goes with the slab. A slab goes when nobody has needed it for a while. */
#ifndef WF_STACK_H
#define WF_STACK_H

#include <base/atomic.h>
#include <base/list.h>
#include <weft/diag.h>

#ifndef WF_STACK_CACHE_SLOTS
#define WF_STACK_CACHE_SLOTS 64
#endif

typedef struct wf_stack {
    char *base;                /* lowest usable byte; one page of guard lies below. Never changes */
    size_t size;               /* usable bytes. Never changes */
    struct wf_slab *slab;      /* where it was carved from. Never changes */
    union {                    /* in the depot, under its lock */
        wf_node node;          /* warm: in the depot's list */
        struct wf_stack *next; /* cold: in its slab's */
    };
    unsigned valgrind_id; /* what valgrind knows it as. Never changes */
    uint8_t order;        /* its size class: guard and stack are 2^(14 + order) bytes. Never changes */
    uint8_t guard;        /* weft_guard_kind. Never changes once it was handed out */
    bool warm;            /* under the depot's lock: in its list */
} wf_stack;

/* A worker's magazine: hot stacks of one size, the last one used comes first. Only its owner touches it; but its count
 * is read by wf_stack_stats. */
typedef struct wf_stack_cache {
    wf_a32 count;
    uint32_t limit;              /* slots that may be filled; 0 while the pool does not know of this magazine */
    size_t least, span;          /* a size is served from here if size - least <= span */
    uint8_t order;               /* of the stacks in it */
    struct wf_stack_cache *next; /* in the pool's list, under its lock */
    wf_stack *hot[WF_STACK_CACHE_SLOTS];
} wf_stack_cache;

/**
 * Count a user of the pool in: a runtime, or a coroutine without one. Everything below but wf_stack_force_guard and
 * wf_stack_stats wants one. When the last one is released all stacks must have been put back and all magazines been
 * flushed; then everything is unmapped.
 *
 * Returns: 0.
 * Threads: any.
 * Source:  runtime/stack.c
 */
int wf_stacks_acquire(void);
void wf_stacks_release(void);

/**
 * Make an empty magazine for stacks that hold requests of @size bytes.
 *
 * Units:   bytes, rounded up to the next power of two, and to 16 KiB at least; the guard is taken out of that.
 * Returns: 0, or WEFT_EINVAL for more than 1 GiB.
 */
int wf_stack_cache_init(wf_stack_cache *cache, size_t size);

/** Move all stacks of the magazine to the depot. By its owner; it may be used on. */
void wf_stack_cache_flush(wf_stack_cache *cache);

/**
 * The memory of stacks that nobody has needed for a while (base/spare.h) goes back to the system, a limited number at once; and with the last of a
 * slab the slab.
 *
 * Units:   @now on wf_now()'s clock.
 * Returns: when there may be more to do; WEFT_FOREVER: not before stacks are put back.
 * Threads: any that is counted in.
 */
int64_t wf_stacks_trim(int64_t now);

/* The parts of get and put that need more than the magazine. */
wf_stack *wf_stack_get_slow(wf_stack_cache *cache, size_t size, int *err);
void wf_stack_put_slow(wf_stack_cache *cache, wf_stack *stack);

/**
 * Get a stack.
 *
 * Units:   @size in bytes, 0 for the smallest; rounded as for wf_stack_cache_init. What is on the stack is undefined.
 * Returns: the stack; or NULL and a code in *@err: WEFT_EINVAL for more than 1 GiB, WEFT_ENOMEM without memory or maps.
 *          *@err is not touched on success.
 * Threads: any with @cache NULL, else the magazine's owner.
 */
static inline wf_stack *wf_stack_get(wf_stack_cache *cache, size_t size, int *err)
{
    if (!WF_ASAN && wf_likely(cache != NULL) && wf_likely(size - cache->least <= cache->span)) {
        uint32_t count = wf_load_rlx(&cache->count);
        if (wf_likely(count > 0)) {
            wf_store_rlx(&cache->count, count - 1);
            return cache->hot[count - 1];
        }
    }
    return wf_stack_get_slow(cache, size, err);
}

/**
 * Give a stack back, on which nothing runs any more. Any magazine will do, or NULL for the depot.
 *
 * Threads: as wf_stack_get.
 */
static inline void wf_stack_put(wf_stack_cache *cache, wf_stack *stack)
{
    if (!WF_ASAN && wf_likely(cache != NULL) && wf_likely(stack->order == cache->order) &&
        wf_likely(stack->guard != WEFT_GUARD_CANARY)) {
        uint32_t count = wf_load_rlx(&cache->count);
        if (wf_likely(count < cache->limit)) {
            cache->hot[count] = stack;
            wf_store_rlx(&cache->count, count + 1);
            return;
        }
    }
    wf_stack_put_slow(cache, stack);
}

/** The address just above a stack. */
static inline char *wf_stack_top(const wf_stack *stack) { return stack->base + stack->size; }

/** Whether @address lies in the guard below a stack. Async-signal-safe. */
bool wf_stack_in_guard(const wf_stack *stack, const void *address);

/**
 * Stacks handed out, stacks kept (in depot and magazines), and the guard of the newest one, of the whole process. Any
 * may be NULL.
 * Threads: any; a moment's stale while others work.
 */
void wf_stack_stats(uint64_t *live, uint64_t *cached, weft_guard_kind *newest);

/**
 * For tests: try guards from @kind downwards only (INSTALL, MPROTECT, CANARY); WEFT_GUARD_NONE to find the best one
 * again. Concerns stacks that are handed out for the first time from now on.
 */
void wf_stack_force_guard(weft_guard_kind kind);

/**
 * What to do when a stack that comes back has overrun its canary. NULL: say so on stderr and abort. If @broken returns,
 * the canary is painted anew. Any thread.
 */
void wf_stack_on_broken_canary(void (*broken)(const wf_stack *stack));

/* Around fork(): nobody is in the midst of changing what the child gets a copy of. */
void wf_stacks_fork_lock(void);
void wf_stacks_fork_unlock(void);

#endif
