/* wheel.h - a hierarchical timer wheel: which deadline comes next, and nothing else.
 *
 * Owns the order of the nodes put into it. It refuses to know what a node is for, what time it is (calls that need the
 * time are told), threads (the caller's lock covers every call) and libuv. It allocates nothing: nodes are intrusive.
 *
 * Source: G. Varghese, T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7 (hierarchical), with an
 * occupancy bitmap per level in place of the per-tick walk.
 *
 * Time
 *   Nanoseconds outside, ticks of 1 ms inside; ticks are whole milliseconds of the clock. A deadline rounds *up* to a
 *   tick, the present rounds *down*: a node never expires early, and can be popped less than 1 ms after its deadline.
 *   A deadline less than a millisecond away is no different: it expires at the next whole millisecond. One that is past
 *   expires at the next pop.
 *   Each int64_t has a tick, so the reach is 584 years from end to end, and 292 from a clock's zero: callers saturate a
 *   longer sum at WEFT_FOREVER. What lies within the last 775,807 ns up to and including WEFT_FOREVER rounds up to a
 *   tick that no int64_t reaches, and so never expires.
 *
 * Structure
 *   Write a tick in base 64. A node sits at the level of the highest digit in which its tick differs from the wheel's
 *   current tick, in the slot of that digit's value. A level-0 slot holds a single tick; every node of level L is due
 *   before any of level L + 1; and an occupied slot always lies ahead of the current tick, or on level 0 at it. When
 *   the current tick enters a slot of a higher level, its nodes are placed again relative to *that* tick (a cascade):
 *   every digit down to that level now agrees, so each drops at least one level: at most WF_WHEEL_LEVELS - 1 moves. */
#ifndef WF_WHEEL_H
#define WF_WHEEL_H

#include <base/atomic.h>
#include <base/list.h>

#define WF_WHEEL_TICK_NS INT64_C(1000000)
#define WF_WHEEL_BITS 6 /* of a tick, per level */
#define WF_WHEEL_SLOTS (1 << WF_WHEEL_BITS)
#define WF_WHEEL_LEVELS 8 /* 48 bits; a tick needs 45 */

/* Lives in whatever waits; while linked it must not be moved or freed. All zeroes is a valid unlinked node. */
typedef struct wf_wnode {
    wf_node link;  /* in one slot's list; meaningless while unlinked */
    uint64_t tick; /* when it expires, never behind the wheel's; 0 while unlinked, for no deadline has tick 0 */
} wf_wnode;

/* About 8 KiB. Its slots point into themselves: it must not be moved. It owns nothing: there is nothing to destroy. */
typedef struct wf_wheel {
    uint64_t occupied[WF_WHEEL_LEVELS]; /* bit s of word L: slot s of level L has nodes; one cache line */
    uint64_t now;                       /* current tick: all before it have expired; only pop moves it, only forward */
    wf_a64 linked;                      /* nodes; read by anybody, without the caller's lock */
    wf_list slot[WF_WHEEL_LEVELS * WF_WHEEL_SLOTS];
} wf_wheel;

static inline void wf_wnode_init(wf_wnode *n) { n->tick = 0; }

/** Whether @n is in a wheel. Threads: under the lock of the wheel that it is in or might be in. */
static inline bool wf_wnode_linked(const wf_wnode *n) { return n->tick != 0; }

/** Make @w an empty wheel whose time is @now_ns. */
void wf_wheel_init(wf_wheel *w, int64_t now_ns);

/**
 * Let @n expire at @when_ns. O(1). A node that is linked already moves; it must then be in this very wheel (d10).
 *
 * Units: absolute nanoseconds on the clock that pop is given. Not later than the wheel's time: expires at the next pop.
 * Order: nodes of one tick expire in the order of their insertion, and overdue ones count as nodes of the current tick.
 */
void wf_wheel_insert(wf_wheel *w, wf_wnode *n, int64_t when_ns);

/** Take @n out; nothing of it stays behind (d25). O(1). A no-op if it is not linked; else it must be in this wheel. */
void wf_wheel_remove(wf_wheel *w, wf_wnode *n);

/**
 * Move the wheel's time to @now_ns, but no further than the first node to expire, and hand that node out, unlinked.
 *
 * Returns: the node, or NULL once nothing is due at @now_ns; wf_wheel_next() is then later than @now_ns, so a loop that
 *          parks until that time cannot spin. A @now_ns behind the wheel's time counts as the wheel's time.
 * Order:   ascending ticks, then order of insertion. What is inserted between two calls takes part: a node put back
 *          with a deadline that is not after @now_ns comes out again for the same @now_ns. Who drains with
 *          `while ((n = wf_wheel_pop(w, now)))` puts nodes back into the future only, or bounds the rounds itself.
 * Cost:    O(levels), and each node's cascades; never proportional to the time that has passed.
 */
wf_wnode *wf_wheel_pop(wf_wheel *w, int64_t now_ns);

/**
 * Until when a thread may sleep without being late for any node. O(levels).
 *
 * Returns: absolute nanoseconds at or before the earliest expiry; WEFT_FOREVER when nothing will ever expire. Exact if
 *          that node is on level 0 or alone in its slot, else the slot's start: at most one wake-up per cascade.
 *          It may be past while the wheel's time lags behind the clock; one round of pops mends that.
 */
int64_t wf_wheel_next(const wf_wheel *w);

/** The wheel's time: what pop was last told, or the start of the tick that it has got to. Never ahead of the clock. */
int64_t wf_wheel_time(const wf_wheel *w);

/** Linked nodes, by walking: @w->linked says the same. O(nodes); for tests and debugging. */
size_t wf_wheel_count(const wf_wheel *w);

/** Walk everything: true if each invariant above holds. O(nodes); for tests and debugging. */
bool wf_wheel_check(const wf_wheel *w);

#endif
