/* source_state.h - the word of a readiness source: what the kernel said, who is operating, who still holds it.
 *
 * Pure. One 64-bit word:
 *
 *   bits 48..63  generation   counts the lives of the place; events of an earlier life are dropped
 *   bits 32..47  tick         counts deliveries; "nothing came in between" is "same tick"
 *   bits 16..31  references   handles; each is given up by a close
 *   RRDY WRDY    a read, a write may succeed: set by deliveries, cleared by who met EAGAIN or a short count at the same tick
 *   REOF         the peer has ended its side: a short read does not mean "drained"; cleared by EAGAIN
 *   RBUSY WBUSY  somebody is operating in that direction: one at a time
 *   ARMED        registered with a reactor's set
 *   CLOSING      closed or aborted: no new operation starts
 *   CLOSED       somebody has taken it upon himself to deregister and close the descriptor: exactly one does
 *   FINAL        … and is still at it
 *   VISITS       calls that need the descriptor for a moment, whoever operates; it must stay open meanwhile
 *   SHUT         the first to close is shutting the socket down and waking both sides: the descriptor must stay open meanwhile
 *
 *   event \ state     open                   CLOSING                     CLOSED
 *   claim             BUSY, or EBUSY         ECLOSED                     ECLOSED
 *   release           BUSY off               BUSY off; the last one: CLOSED, finalize
 *   deliver           RDY on, tick + 1       the same                    the same (harmless)
 *   visit             VISITS + 1             ECLOSED                     ECLOSED
 *   leave             VISITS - 1             VISITS - 1; the last one: CLOSED, finalize
 *   close begins      CLOSING, SHUT          nothing                     nothing
 *   close ends        -                      SHUT off, ref - 1 (an abort: - 0); nobody operating: CLOSED, finalize
 *   finalized         -                      -                           FINAL off
 *   free              when references, BUSY and FINAL are all gone: generation + 1 */
#ifndef WF_SOURCE_STATE_H
#define WF_SOURCE_STATE_H

#include <base/atomic.h>

#define WF_SRC_RRDY UINT64_C(0x1)
#define WF_SRC_WRDY UINT64_C(0x2)
#define WF_SRC_REOF UINT64_C(0x4)
#define WF_SRC_RBUSY UINT64_C(0x8)
#define WF_SRC_WBUSY UINT64_C(0x10)
#define WF_SRC_ARMED UINT64_C(0x20)
#define WF_SRC_CLOSING UINT64_C(0x40)
#define WF_SRC_CLOSED UINT64_C(0x80)
#define WF_SRC_FINAL UINT64_C(0x100)
#define WF_SRC_SHUT UINT64_C(0x200)
#define WF_SRC_VISIT UINT64_C(0x400)
#define WF_SRC_VISITS UINT64_C(0xfc00)
#define WF_SRC_BUSY (WF_SRC_RBUSY | WF_SRC_WBUSY)
#define WF_SRC_REF (UINT64_C(1) << 16)
#define WF_SRC_REFS (UINT64_C(0xffff) << 16)
#define WF_SRC_TICK (UINT64_C(1) << 32)
#define WF_SRC_TICKS (UINT64_C(0xffff) << 32)
#define WF_SRC_GENERATION_SHIFT 48

typedef enum { WF_READ, WF_WRITE } wf_direction;

static inline uint64_t wf_src_ready_bit(wf_direction d) { return d == WF_READ ? WF_SRC_RRDY : WF_SRC_WRDY; }
static inline uint64_t wf_src_busy_bit(wf_direction d) { return d == WF_READ ? WF_SRC_RBUSY : WF_SRC_WBUSY; }
static inline uint16_t wf_src_generation(uint64_t word) { return (uint16_t)(word >> WF_SRC_GENERATION_SHIFT); }

/* A new life with one reference, in the generation that the place has reached. */
static inline void wf_src_open(wf_a64 *s, uint64_t ready)
{
    uint64_t generation = wf_load_rlx(s) >> WF_SRC_GENERATION_SHIFT << WF_SRC_GENERATION_SHIFT;
    wf_store_rel(s, generation | WF_SRC_REF | ready);
}

/* What the caller of a transition has to do now. */
enum {
    WF_SRC_FINALIZE = 1, /* deregister, close the descriptor, wf_src_finalized() */
    WF_SRC_FREE = 2,     /* nobody holds the place any more */
};

/* With everything but a handle gone, the one who sees it takes the closing upon himself. */
static inline uint64_t wf_src_settle(uint64_t word, unsigned *verdict)
{
    *verdict = 0;
    if (wf_likely(!(word & (WF_SRC_CLOSING | WF_SRC_CLOSED))))
        return word;
    if ((word & (WF_SRC_CLOSING | WF_SRC_CLOSED | WF_SRC_BUSY | WF_SRC_VISITS | WF_SRC_SHUT)) == WF_SRC_CLOSING) {
        *verdict = WF_SRC_FINALIZE;
        return word | WF_SRC_CLOSED | WF_SRC_FINAL;
    }
    if ((word & WF_SRC_CLOSED) && !(word & (WF_SRC_REFS | WF_SRC_BUSY | WF_SRC_VISITS | WF_SRC_FINAL)))
        *verdict = WF_SRC_FREE;
    return word;
}

static inline int wf_src_claim(wf_a64 *s, wf_direction d, uint64_t *word)
{
    uint64_t busy = wf_src_busy_bit(d), old = wf_load_rlx(s);
    do {
        if (wf_unlikely(old & (WF_SRC_CLOSING | busy)))
            return old & WF_SRC_CLOSING ? WEFT_ECLOSED : WEFT_EBUSY;
    } while (!wf_cas_acqrel(s, &old, old | busy)); /* [SRC-CLAIM] acquire: the operation before this one is over */
    *word = old | busy;
    return 0;
}

/* @drained: clear readiness if nothing was delivered since @seen. */
static inline unsigned wf_src_release(wf_a64 *s, wf_direction d, bool drained, uint64_t seen)
{
    uint64_t old = wf_load_rlx(s), next;
    unsigned verdict;
    do {
        next = old & ~wf_src_busy_bit(d);
        if (drained && ((old ^ seen) & WF_SRC_TICKS) == 0 && !(d == WF_READ && old & WF_SRC_REOF))
            next &= ~wf_src_ready_bit(d);
        next = wf_src_settle(next, &verdict);
    } while (!wf_cas_acqrel(s, &old, next)); /* [SRC-CLAIM] release */
    return verdict;
}

/* Keep the descriptor open for a moment: 0, WEFT_ECLOSED, or WEFT_EBUSY (more at once than can be counted). */
static inline int wf_src_visit(wf_a64 *s)
{
    uint64_t old = wf_load_rlx(s);
    do {
        if (old & WF_SRC_CLOSING)
            return WEFT_ECLOSED;
        if ((old & WF_SRC_VISITS) == WF_SRC_VISITS)
            return WEFT_EBUSY;
    } while (!wf_cas_acqrel(s, &old, old + WF_SRC_VISIT));
    return 0;
}

static inline unsigned wf_src_leave(wf_a64 *s)
{
    uint64_t old = wf_load_rlx(s), next;
    unsigned verdict;
    do
        next = wf_src_settle(old - WF_SRC_VISIT, &verdict);
    while (!wf_cas_acqrel(s, &old, next));
    return verdict;
}

/* The system call said EAGAIN: not ready, unless something was delivered since @seen. Returns the word afterwards. */
static inline uint64_t wf_src_would_block(wf_a64 *s, wf_direction d, uint64_t seen)
{
    uint64_t old = wf_load_acq(s), next;
    do {
        if (((old ^ seen) & WF_SRC_TICKS) != 0)
            return old;
        next = old & ~wf_src_ready_bit(d);
        if (d == WF_READ)
            next &= ~WF_SRC_REOF; /* EAGAIN despite the peer's end: a second opinion will come */
    } while (!wf_cas_acqrel(s, &old, next));
    return next;
}

/* The set has spoken. Returns the bits that are new, for which somebody may be waiting; 0 also for another life's event. */
static inline uint64_t wf_src_deliver(wf_a64 *s, uint16_t generation, uint64_t bits)
{
    uint64_t old = wf_load_rlx(s), next;
    do {
        if (wf_src_generation(old) != generation)
            return 0;
        next = (old & ~WF_SRC_TICKS) | ((old + WF_SRC_TICK) & WF_SRC_TICKS) | bits;
    } while (!wf_cas_acqrel(s, &old, next)); /* [SRC-WAIT] before the wakers are looked at */
    return bits & ~old;
}

/* True for the one caller who is to register it. */
static inline bool wf_src_arm(wf_a64 *s)
{
    uint64_t old = wf_load_rlx(s);
    return !(old & WF_SRC_ARMED) && !(wf_or_acqrel(s, WF_SRC_ARMED) & WF_SRC_ARMED);
}

/* True for the first to close: the descriptor stays open until his wf_src_close_end(). */
static inline bool wf_src_close_begin(wf_a64 *s)
{
    uint64_t old = wf_load_rlx(s);
    do {
        if (old & WF_SRC_CLOSING)
            return false;
    } while (!wf_cas_acqrel(s, &old, old | WF_SRC_CLOSING | WF_SRC_SHUT));
    return true;
}

/* @refs: 1 for a close, 0 for an abort. */
static inline unsigned wf_src_close_end(wf_a64 *s, bool first, uint64_t refs)
{
    uint64_t old = wf_load_rlx(s), next;
    unsigned verdict;
    do
        next = wf_src_settle((first ? old & ~WF_SRC_SHUT : old) - refs * WF_SRC_REF, &verdict);
    while (!wf_cas_acqrel(s, &old, next));
    return verdict;
}

static inline unsigned wf_src_finalized(wf_a64 *s)
{
    uint64_t old = wf_load_rlx(s), next;
    unsigned verdict;
    do
        next = wf_src_settle(old & ~WF_SRC_FINAL, &verdict);
    while (!wf_cas_acqrel(s, &old, next));
    return verdict;
}

/* The place is nobody's: end this life. */
static inline void wf_src_retire(wf_a64 *s)
{
    uint64_t generation = (wf_load_rlx(s) >> WF_SRC_GENERATION_SHIFT) + 1;
    wf_store_rel(s, generation << WF_SRC_GENERATION_SHIFT | WF_SRC_CLOSING); /* no claim on a free place succeeds */
}

#endif
