/* atomic_waker.c - a cell that holds one waker: register, then look; produce, then wake; and no wake is lost.
 *
 * Two bits say who may touch the cell's waker. Whoever turns IDLE into a bit holds the cell until it goes back to IDLE;
 * nobody ever waits for it. WAKING set while REGISTERING is held is a message: the registrant does the waking as it
 * leaves.
 *
 *                      IDLE (0)           REGISTERING (1)         WAKING (2)              both (3)
 *   register           -> 1, hold         -; wakes its waker      -; wakes its waker      -; wakes its waker
 *   wake, take         -> 2, hold         -> 3; nothing to take   -; nothing to take      -; nothing to take
 *   registrant leaves  never              -> 0; old is dropped    never                   -> 0; old and new are woken
 *   waker leaves       never              never                   -> 0; taken is woken    never (1 starts from 0 only)
 *
 * A taker answers for the wakes that come while it holds the cell, as a waker does: they count as having come before
 * it.
 *
 * Foreign code (wake, drop) runs after the cell is IDLE again, so it may come back to this cell. The one exception is
 * clone, which runs while REGISTERING is held; coming back from there finds a busy cell, as another thread would, and
 * not a deadlock.
 *
 * Source: tokio's sync/task/atomic_waker.rs and futures-rs' AtomicWaker, with their later corrections. */
#include <base/atomic.h>
#include <weft/future.h>

enum { IDLE = 0, REGISTERING = 1, WAKING = 2 };

/* The public struct cannot name atomic.h's types, so its one word is wrapped here. */
typedef struct {
    uintptr_t v;
} word;

_Static_assert(sizeof(word) == sizeof(((weft_atomic_waker *)0)->state_), "the word must fit its place");

static word *state_of(weft_atomic_waker *cell) { return (word *)(void *)cell->state_; }

static weft_waker take_waker(weft_atomic_waker *cell)
{
    weft_waker taken = cell->waker_;
    cell->waker_ = (weft_waker){NULL, NULL};
    return taken;
}

void weft_atomic_waker_init(weft_atomic_waker *cell) { *cell = (weft_atomic_waker)WEFT_ATOMIC_WAKER_INIT; }

/* IDLE -> REGISTERING; false when somebody else holds the cell. */
static bool begin_register(weft_atomic_waker *cell)
{
    uintptr_t seen = IDLE;
    /* [CELL-WAKER] acquire: the waker that the last holder left. [CELL-DATA] acquire: what was produced before any wake
     * that came earlier, so that the look after this register sees it; on failure too, for the look that our own wake
     * brings. */
    while (!wf_cas_acq(state_of(cell), &seen, REGISTERING))
        if (seen != IDLE)
            return false;
    return true;
}

/* REGISTERING -> IDLE; false when a wake came meanwhile, and then the cell is still held. */
static bool end_register(weft_atomic_waker *cell)
{
    uintptr_t seen = REGISTERING;
    /* [CELL-WAKER] release: pairs with the acquire of whoever takes the waker. [CELL-DATA] acquire on failure: the wake
     * that came. */
    while (!wf_cas_acqrel(state_of(cell), &seen, IDLE))
        if (seen != REGISTERING)
            return false;
    return true;
}

/* A wake came while we registered: it meant whoever was there before or is there now, so both are woken. */
static void end_register_raced(weft_atomic_waker *cell, weft_waker *old)
{
    weft_waker fresh = take_waker(cell);
    /* A read-modify-write, as every unlock here: see end_wake(). [CELL-WAKER] release, [CELL-DATA] acquire. */
    wf_swap_acqrel(state_of(cell), IDLE);
    weft_waker_wake(old);
    weft_waker_wake(&fresh);
}

int weft_atomic_waker_register(weft_atomic_waker *cell, const weft_waker *waker)
{
    if (!begin_register(cell)) {
        weft_waker_wake_by_ref(waker);
        return 0;
    }
    weft_waker old = {NULL, NULL};
    int rc = 0;
    if (!weft_waker_will_wake(&cell->waker_, waker)) {
        old = take_waker(cell);
        rc = weft_waker_clone(waker, &cell->waker_);
    }
    if (!end_register(cell))
        end_register_raced(cell, &old);
    else if (old.ops)
        weft_waker_drop(&old);
    if (rc < 0)
        weft_waker_wake_by_ref(waker); /* nothing is registered: only another poll can repair that */
    return rc;
}

/* IDLE -> WAKING; false when somebody holds the cell: a registrant, who will see the bit, or a waker, whose wake is
 * ours too.
 *
 * Also with nothing registered this must write: the write is what a register that comes later sees. */
static bool begin_wake(weft_atomic_waker *cell)
{
    /* [CELL-DATA] release: what was produced before this wake. [CELL-WAKER] acquire: the waker. */
    return wf_or_acqrel(state_of(cell), (uintptr_t)WAKING) == IDLE;
}

static void end_wake(weft_atomic_waker *cell)
{
    /* [CELL-WAKER] release: the place is empty. [CELL-DATA] A plain store would end the release sequence of a wake that
     * lost to us, and the next registrant would not see what that one produced: so the unlock is a
     * read-modify-write. */
    wf_and_acqrel(state_of(cell), ~(uintptr_t)WAKING);
}

void weft_atomic_waker_wake(weft_atomic_waker *cell)
{
    weft_waker taken;
    if (weft_atomic_waker_take(cell, &taken))
        weft_waker_wake(&taken);
}

int weft_atomic_waker_take(weft_atomic_waker *cell, weft_waker *out)
{
    *out = (weft_waker){NULL, NULL};
    if (!begin_wake(cell))
        return 0;
    weft_waker taken = take_waker(cell);
    end_wake(cell);
    *out = taken;
    return taken.ops != NULL;
}
