/* source_state_test.c - the word of a readiness source: each cell of its table, the rule of the tick, then every interleaving
 * of operators, the kernel, a closer and an aborter. */
#include <reactor/source_state.h>
#include <support/explore.h>
#include <support/test.h>

#define GENERATION(g) ((uint64_t)(g) << WF_SRC_GENERATION_SHIFT)

static uint64_t refs(uint64_t word) { return (word & WF_SRC_REFS) / WF_SRC_REF; }
static uint64_t tick(uint64_t word) { return (word & WF_SRC_TICKS) / WF_SRC_TICK; }
static uint64_t flags(uint64_t word) { return word & (WF_SRC_REF - 1); }

static const wf_direction directions[] = {WF_READ, WF_WRITE};

/* One handle, generation 5, as many deliveries as it took. */
static wf_a64 opened(uint64_t ready)
{
    wf_a64 s = {GENERATION(5)};
    wf_src_open(&s, ready);
    return s;
}

static uint64_t claimed(wf_a64 *s, wf_direction d)
{
    uint64_t word = 0;
    cr_assert_eq(wf_src_claim(s, d, &word), 0);
    cr_assert_eq(word, s->v);
    return word;
}

static wf_a64 closing_while_busy(wf_direction d)
{
    wf_a64 s = opened(0);
    claimed(&s, d);
    cr_assert(wf_src_close_begin(&s));
    cr_assert_eq(wf_src_close_end(&s, true, 0), 0u);
    return s;
}

static wf_a64 closed_but_held(void)
{
    wf_a64 s = opened(0);
    cr_assert(wf_src_close_begin(&s));
    cr_assert_eq(wf_src_close_end(&s, true, 0), (unsigned)WF_SRC_FINALIZE);
    cr_assert_eq(wf_src_finalized(&s), 0u);
    return s;
}

/* ---- open ---------------------------------------------------------------------------------------------------- */

Test(source_state, open_has_one_reference_the_places_generation_and_the_readiness_it_was_given)
{
    wf_a64 s = opened(WF_SRC_RRDY | WF_SRC_WRDY);
    cr_assert_eq(s.v, GENERATION(5) | WF_SRC_REF | WF_SRC_RRDY | WF_SRC_WRDY);
}

Test(source_state, claim_while_open_marks_its_direction_busy)
{
    for (int i = 0; i < 2; i++) {
        wf_a64 s = opened(WF_SRC_RRDY);
        uint64_t before = s.v;
        claimed(&s, directions[i]);
        cr_assert_eq(s.v, before | wf_src_busy_bit(directions[i]));
    }
}

Test(source_state, claim_while_busy_is_refused_in_that_direction_only)
{
    for (int i = 0; i < 2; i++) {
        wf_a64 s = opened(0);
        claimed(&s, directions[i]);
        uint64_t word = 77, before = s.v;
        cr_assert_eq(wf_src_claim(&s, directions[i], &word), WEFT_EBUSY);
        cr_assert_eq(word, 77u, "untouched");
        cr_assert_eq(s.v, before);
        claimed(&s, directions[!i]);
    }
}

Test(source_state, claim_while_closing_or_closed_is_refused)
{
    for (int i = 0; i < 2; i++) {
        wf_a64 words[] = {closing_while_busy(directions[i]), closed_but_held()};
        for (int k = 0; k < 2; k++)
            for (int d = 0; d < 2; d++) {
                uint64_t word, before = words[k].v;
                cr_assert_eq(wf_src_claim(&words[k], directions[d], &word), WEFT_ECLOSED);
                cr_assert_eq(words[k].v, before);
            }
    }
}

Test(source_state, release_while_open_is_free_for_the_next_claim)
{
    for (int i = 0; i < 2; i++) {
        wf_a64 s = opened(WF_SRC_RRDY | WF_SRC_WRDY);
        uint64_t before = s.v;
        cr_assert_eq(wf_src_release(&s, directions[i], false, claimed(&s, directions[i])), 0u);
        cr_assert_eq(s.v, before);
        claimed(&s, directions[i]);
    }
}

/* ---- the tick ------------------------------------------------------------------------------------------------- */

Test(source_state, deliver_sets_readiness_counts_and_tells_what_is_new)
{
    wf_a64 s = opened(0);
    cr_assert_eq(wf_src_deliver(&s, 5, WF_SRC_RRDY), WF_SRC_RRDY);
    cr_assert_eq(s.v, GENERATION(5) | WF_SRC_TICK | WF_SRC_REF | WF_SRC_RRDY);
    cr_assert_eq(wf_src_deliver(&s, 5, WF_SRC_RRDY | WF_SRC_WRDY), WF_SRC_WRDY);
    cr_assert_eq(wf_src_deliver(&s, 5, WF_SRC_RRDY | WF_SRC_WRDY), 0u);
    cr_assert_eq(tick(s.v), 3u, "also the one that brought nothing new");
    cr_assert_eq(wf_src_deliver(&s, 5, WF_SRC_RRDY | WF_SRC_REOF), WF_SRC_REOF);
}

Test(source_state, deliver_while_closing_or_closed_is_harmless)
{
    wf_a64 words[] = {closing_while_busy(WF_READ), closed_but_held()};
    for (int i = 0; i < 2; i++) {
        uint64_t before = words[i].v;
        cr_assert_eq(wf_src_deliver(&words[i], 5, WF_SRC_WRDY), WF_SRC_WRDY);
        cr_assert_eq(words[i].v, before + WF_SRC_TICK + WF_SRC_WRDY);
    }
}

Test(source_state, deliver_at_the_last_tick_wraps_and_touches_nothing_above)
{
    wf_a64 s = opened(0);
    for (uint32_t i = 1; i <= 0x10000; i++) {
        wf_src_deliver(&s, 5, WF_SRC_RRDY);
        cr_assert_eq(tick(s.v), i & 0xffffu);
    }
    cr_assert_eq(s.v, GENERATION(5) | WF_SRC_REF | WF_SRC_RRDY);
}

Test(source_state, deliver_for_another_generation_is_dropped)
{
    wf_a64 s = opened(0);
    uint64_t before = s.v;
    cr_assert_eq(wf_src_deliver(&s, 4, WF_SRC_RRDY), 0u);
    cr_assert_eq(wf_src_deliver(&s, 6, WF_SRC_RRDY), 0u);
    cr_assert_eq(s.v, before);
}

Test(source_state, a_visit_keeps_the_descriptor_and_the_place_after_the_close)
{
    wf_a64 s = opened(0);
    cr_assert_eq(wf_src_visit(&s), 0);
    cr_assert_eq(wf_src_visit(&s), 0);
    cr_assert(wf_src_close_begin(&s));
    cr_assert_eq(wf_src_close_end(&s, true, 1), 0u, "somebody visits");
    cr_assert_eq(wf_src_visit(&s), WEFT_ECLOSED);
    cr_assert_eq(wf_src_leave(&s), 0u);
    cr_assert_eq(wf_src_leave(&s), (unsigned)WF_SRC_FINALIZE, "the last to leave closes");
    cr_assert_eq(wf_src_finalized(&s), (unsigned)WF_SRC_FREE);
}

Test(source_state, a_visitor_and_an_operator_the_last_of_them_closes)
{
    for (int i = 0; i < 2; i++) {
        wf_a64 s = opened(0);
        uint64_t word = claimed(&s, WF_WRITE);
        cr_assert_eq(wf_src_visit(&s), 0);
        cr_assert(wf_src_close_begin(&s));
        cr_assert_eq(wf_src_close_end(&s, true, 1), 0u);
        cr_assert_eq(i ? wf_src_leave(&s) : wf_src_release(&s, WF_WRITE, false, word), 0u);
        cr_assert_eq(i ? wf_src_release(&s, WF_WRITE, false, word) : wf_src_leave(&s), (unsigned)WF_SRC_FINALIZE);
    }
}

Test(source_state, more_visitors_than_can_be_counted_are_refused_and_spoil_nothing)
{
    wf_a64 s = opened(WF_SRC_RRDY);
    for (int i = 0; i < 63; i++)
        cr_assert_eq(wf_src_visit(&s), 0);
    cr_assert_eq(wf_src_visit(&s), WEFT_EBUSY);
    for (int i = 0; i < 63; i++)
        cr_assert_eq(wf_src_leave(&s), 0u);
    cr_assert_eq(s.v, GENERATION(5) | WF_SRC_REF | WF_SRC_RRDY);
}

Test(source_state, retire_ends_the_life_and_a_late_event_finds_the_next_one_untouched)
{
    wf_a64 s = closed_but_held();
    cr_assert_eq(wf_src_close_end(&s, false, 1), (unsigned)WF_SRC_FREE);
    wf_src_retire(&s);
    cr_assert_eq(s.v, GENERATION(6) | WF_SRC_CLOSING);
    cr_assert_eq(wf_src_deliver(&s, 5, WF_SRC_RRDY), 0u);
    wf_src_open(&s, WF_SRC_WRDY);
    cr_assert_eq(wf_src_deliver(&s, 5, WF_SRC_RRDY), 0u);
    cr_assert_eq(s.v, GENERATION(6) | WF_SRC_REF | WF_SRC_WRDY);
    cr_assert_eq(wf_src_deliver(&s, 6, WF_SRC_RRDY), WF_SRC_RRDY);
}

Test(source_state, the_generation_wraps_after_65536_lives)
{
    wf_a64 s = {GENERATION(0xffff)};
    wf_src_open(&s, 0);
    cr_assert_eq(wf_src_generation(s.v), 0xffffu);
    wf_src_retire(&s);
    cr_assert_eq(wf_src_generation(s.v), 0u);
    wf_src_open(&s, 0);
    cr_assert_eq(s.v, WF_SRC_REF);
}

Test(source_state, claim_of_a_free_place_is_refused)
{
    wf_a64 s = closed_but_held();
    wf_src_close_end(&s, false, 1);
    wf_src_retire(&s);
    uint64_t word, before = s.v;
    for (int i = 0; i < 2; i++)
        cr_assert_eq(wf_src_claim(&s, directions[i], &word), WEFT_ECLOSED);
    cr_assert_eq(s.v, before);
}

Test(source_state, a_short_count_then_release_clears_its_readiness_only)
{
    for (int i = 0; i < 2; i++) {
        wf_direction d = directions[i];
        wf_a64 s = opened(WF_SRC_RRDY | WF_SRC_WRDY);
        uint64_t seen = claimed(&s, d);
        cr_assert_eq(wf_src_release(&s, d, true, seen), 0u);
        cr_assert_eq(flags(s.v), wf_src_ready_bit(directions[!i]));
    }
}

Test(source_state, a_full_count_then_release_keeps_readiness)
{
    for (int i = 0; i < 2; i++) {
        wf_a64 s = opened(WF_SRC_RRDY | WF_SRC_WRDY);
        uint64_t seen = claimed(&s, directions[i]);
        cr_assert_eq(wf_src_release(&s, directions[i], false, seen), 0u);
        cr_assert_eq(flags(s.v), WF_SRC_RRDY | WF_SRC_WRDY);
    }
}

Test(source_state, a_delivery_between_the_short_read_and_the_release_is_not_lost)
{
    for (int i = 0; i < 2; i++) {
        wf_direction d = directions[i];
        wf_a64 s = opened(wf_src_ready_bit(d));
        uint64_t seen = claimed(&s, d);
        cr_assert_eq(wf_src_deliver(&s, 5, wf_src_ready_bit(d)), 0u, "nobody waits: it was ready");
        cr_assert_eq(wf_src_release(&s, d, true, seen), 0u);
        cr_assert_eq(flags(s.v), wf_src_ready_bit(d));
    }
}

Test(source_state, a_delivery_between_eagain_and_would_block_is_not_lost)
{
    for (int i = 0; i < 2; i++) {
        wf_direction d = directions[i];
        wf_a64 s = opened(wf_src_ready_bit(d));
        uint64_t seen = claimed(&s, d);
        wf_src_deliver(&s, 5, wf_src_ready_bit(d));
        uint64_t now = wf_src_would_block(&s, d, seen);
        cr_assert_eq(now, s.v);
        cr_assert(now & wf_src_ready_bit(d), "try again");
        now = wf_src_would_block(&s, d, now);
        cr_assert_eq(now, s.v);
        cr_assert_not(now & wf_src_ready_bit(d));
    }
}

Test(source_state, eagain_clears_its_readiness_only)
{
    for (int i = 0; i < 2; i++) {
        wf_a64 s = opened(WF_SRC_RRDY | WF_SRC_WRDY);
        uint64_t seen = claimed(&s, directions[i]);
        wf_src_would_block(&s, directions[i], seen);
        cr_assert_eq(flags(s.v), wf_src_ready_bit(directions[!i]) | wf_src_busy_bit(directions[i]));
        cr_assert_eq(wf_src_deliver(&s, 5, wf_src_ready_bit(directions[i])), wf_src_ready_bit(directions[i]), "new again");
    }
}

Test(source_state, after_the_peers_end_a_short_read_keeps_readiness_and_a_short_write_does_not)
{
    wf_a64 s = opened(WF_SRC_RRDY | WF_SRC_WRDY);
    wf_src_deliver(&s, 5, WF_SRC_RRDY | WF_SRC_REOF);
    wf_src_release(&s, WF_READ, true, claimed(&s, WF_READ));
    cr_assert_eq(flags(s.v), WF_SRC_RRDY | WF_SRC_WRDY | WF_SRC_REOF);
    wf_src_release(&s, WF_WRITE, true, claimed(&s, WF_WRITE));
    cr_assert_eq(flags(s.v), WF_SRC_RRDY | WF_SRC_REOF);
}

Test(source_state, eagain_after_the_peers_end_forgets_the_end_and_waits_for_a_second_opinion)
{
    wf_a64 s = opened(0);
    wf_src_deliver(&s, 5, WF_SRC_RRDY | WF_SRC_REOF);
    wf_src_would_block(&s, WF_READ, claimed(&s, WF_READ));
    cr_assert_eq(flags(s.v), WF_SRC_RBUSY);
    cr_assert_eq(wf_src_deliver(&s, 5, WF_SRC_RRDY | WF_SRC_REOF), WF_SRC_RRDY | WF_SRC_REOF, "new: the reader is woken");
}

Test(source_state, eagain_of_a_writer_keeps_the_peers_end)
{
    wf_a64 s = opened(WF_SRC_WRDY);
    wf_src_deliver(&s, 5, WF_SRC_RRDY | WF_SRC_REOF);
    wf_src_would_block(&s, WF_WRITE, claimed(&s, WF_WRITE));
    cr_assert_eq(flags(s.v), WF_SRC_RRDY | WF_SRC_REOF | WF_SRC_WBUSY);
}

Test(source_state, arm_is_true_once_a_life)
{
    wf_a64 s = opened(0);
    cr_assert(wf_src_arm(&s));
    cr_assert_not(wf_src_arm(&s));
    cr_assert_eq(flags(s.v), WF_SRC_ARMED);
    wf_src_retire(&s);
    wf_src_open(&s, 0);
    cr_assert(wf_src_arm(&s));
}

/* ---- close and abort -------------------------------------------------------------------------------------------- */

Test(source_state, close_while_open_and_unused_finalizes_then_frees)
{
    wf_a64 s = opened(0);
    cr_assert(wf_src_close_begin(&s));
    cr_assert_eq(flags(s.v), WF_SRC_CLOSING | WF_SRC_SHUT);
    cr_assert_eq(wf_src_close_end(&s, true, 1), (unsigned)WF_SRC_FINALIZE);
    cr_assert_eq(s.v, GENERATION(5) | WF_SRC_CLOSING | WF_SRC_CLOSED | WF_SRC_FINAL);
    cr_assert_eq(wf_src_finalized(&s), (unsigned)WF_SRC_FREE);
    cr_assert_not(s.v & WF_SRC_FINAL);
}

Test(source_state, d35_close_while_operating_leaves_the_descriptor_to_the_last_operator)
{
    wf_a64 s = opened(0);
    uint64_t reading = claimed(&s, WF_READ), writing = claimed(&s, WF_WRITE);
    cr_assert(wf_src_close_begin(&s));
    cr_assert_eq(wf_src_close_end(&s, true, 1), 0u);
    cr_assert_eq(refs(s.v), 0u, "only those who operate hold it");
    cr_assert_eq(wf_src_release(&s, WF_WRITE, false, writing), 0u);
    cr_assert_eq(wf_src_release(&s, WF_READ, false, reading), (unsigned)WF_SRC_FINALIZE);
    cr_assert_eq(wf_src_finalized(&s), (unsigned)WF_SRC_FREE);
}

Test(source_state, release_of_the_last_operator_while_the_socket_is_being_shut_leaves_it_to_the_closer)
{
    for (int i = 0; i < 2; i++) {
        wf_a64 s = opened(0);
        uint64_t seen = claimed(&s, directions[i]);
        cr_assert(wf_src_close_begin(&s));
        cr_assert_eq(wf_src_release(&s, directions[i], true, seen), 0u, "the descriptor is in use");
        cr_assert_eq(wf_src_close_end(&s, true, 1), (unsigned)WF_SRC_FINALIZE);
    }
}

Test(source_state, the_second_close_is_not_the_first_and_only_gives_up_its_reference)
{
    wf_a64 s = opened(0);
    wf_add_rlx(&s, WF_SRC_REF);
    cr_assert(wf_src_close_begin(&s));
    cr_assert_not(wf_src_close_begin(&s));
    cr_assert_eq(wf_src_close_end(&s, false, 1), 0u, "the first still shuts");
    cr_assert_eq(wf_src_close_end(&s, true, 1), (unsigned)WF_SRC_FINALIZE);
    cr_assert_eq(refs(s.v), 0u);
    cr_assert_eq(wf_src_finalized(&s), (unsigned)WF_SRC_FREE);
}

Test(source_state, close_during_finalize_leaves_the_place_to_the_finalizer)
{
    wf_a64 s = opened(0);
    wf_add_rlx(&s, WF_SRC_REF);
    wf_src_close_begin(&s);
    cr_assert_eq(wf_src_close_end(&s, true, 1), (unsigned)WF_SRC_FINALIZE);
    cr_assert_not(wf_src_close_begin(&s));
    cr_assert_eq(wf_src_close_end(&s, false, 1), 0u);
    cr_assert_eq(wf_src_finalized(&s), (unsigned)WF_SRC_FREE);
}

Test(source_state, close_after_finalize_frees_with_the_last_reference)
{
    wf_a64 s = closed_but_held();
    wf_add_rlx(&s, WF_SRC_REF);
    cr_assert_eq(refs(s.v), 2u);
    for (unsigned left = 2; left > 0; left--) {
        cr_assert_not(wf_src_close_begin(&s));
        cr_assert_eq(wf_src_close_end(&s, false, 1), left == 1 ? (unsigned)WF_SRC_FREE : 0u);
    }
}

Test(source_state, abort_finalizes_and_keeps_the_references)
{
    wf_a64 s = opened(0);
    cr_assert(wf_src_close_begin(&s));
    cr_assert_eq(wf_src_close_end(&s, true, 0), (unsigned)WF_SRC_FINALIZE);
    cr_assert_eq(wf_src_finalized(&s), 0u, "somebody will still close");
    cr_assert_eq(refs(s.v), 1u);
}

Test(source_state, abort_while_operating_is_finalized_by_the_operator_and_freed_by_the_close)
{
    for (int i = 0; i < 2; i++) {
        wf_a64 s = closing_while_busy(directions[i]);
        cr_assert_eq(flags(s.v), WF_SRC_CLOSING | wf_src_busy_bit(directions[i]));
        cr_assert_eq(wf_src_release(&s, directions[i], true, s.v), (unsigned)WF_SRC_FINALIZE);
        cr_assert_eq(wf_src_finalized(&s), 0u);
        cr_assert_eq(wf_src_close_end(&s, wf_src_close_begin(&s), 1), (unsigned)WF_SRC_FREE);
    }
}

Test(source_state, abort_after_abort_does_nothing)
{
    wf_a64 words[] = {closed_but_held(), closing_while_busy(WF_WRITE)};
    for (int i = 0; i < 2; i++) {
        uint64_t before = words[i].v;
        cr_assert_not(wf_src_close_begin(&words[i]));
        cr_assert_eq(wf_src_close_end(&words[i], false, 0), 0u);
        cr_assert_eq(words[i].v, before);
    }
}

/* A reference that is given up without closing: what wf_source_unref() does. */
Test(source_state, unref_while_open_closes_nothing)
{
    wf_a64 s = opened(WF_SRC_RRDY);
    uint64_t before = s.v;
    wf_add_rlx(&s, WF_SRC_REF);
    cr_assert_eq(wf_src_close_end(&s, false, 1), 0u);
    cr_assert_eq(s.v, before);
}

Test(source_state, unref_while_the_first_close_shuts_leaves_everything_to_it)
{
    wf_a64 s = opened(0);
    wf_add_rlx(&s, WF_SRC_REF);
    wf_src_close_begin(&s);
    cr_assert_eq(wf_src_close_end(&s, false, 1), 0u);
    cr_assert_eq(wf_src_close_end(&s, true, 1), (unsigned)WF_SRC_FINALIZE);
    cr_assert_eq(wf_src_finalized(&s), (unsigned)WF_SRC_FREE);
}

Test(source_state, unref_after_finalize_frees)
{
    wf_a64 s = closed_but_held();
    cr_assert_eq(wf_src_close_end(&s, false, 1), (unsigned)WF_SRC_FREE);
}

/* ---- every interleaving of a small model ------------------------------------------------------------------------
 *
 * A reader that waits as source.c does, a writer (both with a handle to close, or a reference to give up, or only their claim),
 * a closer, an aborter, and the kernel with its late events. A step is one atomic operation and what its thread does alone
 * around it; all states that can be reached are visited, each once. */

enum { READER, WRITER, CLOSER, ABORTER, KERNEL, THREADS, CHOICES = 2 };

/* Where a thread is: what it does next. */
enum {
    END,
    CLAIM,
    READ,
    WOULD_BLOCK,
    REGISTER,
    LOOK,
    PARKED,
    RELEASE_DRAINED,
    RELEASE_FULL,
    WRITE,
    CLOSE_BEGIN,
    CLOSE_SHUT,
    CLOSE_END,
    FINALIZE,
    FINALIZED,
    PLACE_FREE,
    ARRIVE, /* a byte arrives */
    REPORT, /* and the set says so */
};

typedef struct model { /* no padding: its bytes are its identity */
    wf_a64 word;
    uint64_t seen; /* the reader's word */
    uint8_t at[THREADS];
    uint8_t closes[THREADS]; /* closes that it still owes; the aborter's first gives up no reference */
    uint8_t first[THREADS];  /* it was the first to close */
    uint8_t turns[2];        /* operations that reader and writer still begin */
    uint8_t bytes;           /* in the socket */
    uint8_t arrivals;        /* still to come */
    uint8_t registered;      /* the reader's waker stands in the source */
    uint8_t woken;           /* the reader's waker was woken */
    uint8_t open;            /* the descriptor is */
    uint8_t finalized, frees;
    uint8_t rest[8];
} model;
_Static_assert(sizeof(model) == 16 + 3 * THREADS + 17 && sizeof(model) % 8 == 0, "no padding, whole words");

/* Only the kernel's late events look at a place that is nobody's. */
static wf_a64 *word_of(model *m)
{
    EXPECT(m->frees == 0);
    return &m->word;
}

/* What a thread does when it has nothing (more) to settle. */
static uint8_t go_on(const model *m, int thread)
{
    if (thread <= WRITER && m->turns[thread])
        return CLAIM;
    return m->closes[thread] ? CLOSE_BEGIN : END;
}

static uint8_t after(const model *m, int thread, unsigned verdict)
{
    EXPECT(verdict != (WF_SRC_FINALIZE | WF_SRC_FREE));
    return verdict & WF_SRC_FINALIZE ? FINALIZE : verdict & WF_SRC_FREE ? PLACE_FREE : go_on(m, thread);
}

static void step_claim(model *m, int thread)
{
    wf_direction d = thread == READER ? WF_READ : WF_WRITE;
    uint64_t word = 0;
    int err = wf_src_claim(word_of(m), d, &word);
    EXPECT(err == 0 || err == WEFT_ECLOSED);
    m->turns[thread] = err ? 0 : m->turns[thread] - 1;
    if (err)
        m->at[thread] = go_on(m, thread);
    else if (thread == WRITER)
        m->at[thread] = WRITE;
    else
        m->at[thread] = word & WF_SRC_RRDY ? READ : REGISTER;
    if (thread == READER)
        m->seen = word;
}

static void step_release(model *m, int thread)
{
    bool drained = m->at[thread] == RELEASE_DRAINED;
    unsigned verdict = wf_src_release(word_of(m), thread == READER ? WF_READ : WF_WRITE, drained, m->seen);
    m->seen = 0;
    m->at[thread] = after(m, thread, verdict);
}

/* Whoever operates finds the descriptor open. */
static bool step_read(model *m, int choice)
{
    EXPECT(m->open);
    if (choice == 1) { /* a full count: less asked for than there is */
        m->at[READER] = RELEASE_FULL;
        return m->bytes > 0 && m->bytes--;
    }
    m->at[READER] = m->bytes > 0 ? RELEASE_DRAINED : WOULD_BLOCK;
    m->bytes = 0;
    return true;
}

static void step_look(model *m)
{
    m->seen = word_of(m)->v;
    if (m->seen & WF_SRC_CLOSING) {
        m->registered = m->woken = 0;
        m->at[READER] = RELEASE_FULL;
    } else {
        m->at[READER] = m->seen & WF_SRC_RRDY ? READ : PARKED;
    }
}

static bool step_reader(model *m, int choice)
{
    uint8_t *at = &m->at[READER];
    if (*at == READ)
        return step_read(m, choice);
    if (choice > 0)
        return false;
    switch (*at) {
    case WOULD_BLOCK:
        m->seen = wf_src_would_block(word_of(m), WF_READ, m->seen);
        *at = m->seen & WF_SRC_RRDY ? READ : REGISTER;
        return true;
    case REGISTER:
        m->registered = 1;
        *at = LOOK;
        return true;
    case LOOK:
        step_look(m);
        return true;
    default: /* PARKED: once woken it registers and looks again */
        if (!m->woken)
            return false;
        m->woken = 0;
        *at = REGISTER;
        return true;
    }
}

static void wake_reader(model *m)
{
    m->woken |= m->registered;
    m->registered = 0;
}

static void step_close(model *m, int thread, int choice)
{
    uint8_t *at = &m->at[thread];
    if (choice == 1) /* no close: only the reference is given up */
        *at = CLOSE_END;
    switch (*at) {
    case CLOSE_BEGIN:
        m->first[thread] = wf_src_close_begin(word_of(m));
        *at = m->first[thread] ? CLOSE_SHUT : CLOSE_END;
        return;
    case CLOSE_SHUT: /* shutdown() and both wakers */
        EXPECT(m->open);
        wake_reader(m);
        *at = CLOSE_END;
        return;
    default: { /* CLOSE_END */
        uint64_t given_up = thread == ABORTER && m->closes[thread] == 2 ? 0 : 1;
        m->closes[thread]--;
        *at = after(m, thread, wf_src_close_end(word_of(m), m->first[thread], given_up));
        m->first[thread] = 0;
    }
    }
}

static void step_final(model *m, int thread)
{
    uint8_t *at = &m->at[thread];
    if (*at == FINALIZE) {
        EXPECT(m->open && !(word_of(m)->v & WF_SRC_BUSY));
        m->open = 0;
        m->finalized++;
        *at = FINALIZED;
    } else if (*at == FINALIZED) {
        *at = after(m, thread, wf_src_finalized(word_of(m)));
    } else { /* PLACE_FREE: retired, and at once somebody else's */
        wf_src_retire(word_of(m));
        wf_src_open(&m->word, 0);
        m->frees++;
        *at = go_on(m, thread);
        EXPECT(*at == END);
    }
}

static bool step_kernel(model *m)
{
    if (m->at[KERNEL] == ARRIVE) {
        m->bytes++;
        m->arrivals--;
        m->at[KERNEL] = REPORT;
        return true;
    }
    if (wf_src_deliver(&m->word, 5, WF_SRC_RRDY))
        wake_reader(m);
    m->at[KERNEL] = m->arrivals ? ARRIVE : END;
    return true;
}

/* False: the thread waits, has ended, or has no such choice. */
static bool step(model *m, int thread, int choice)
{
    uint8_t at = m->at[thread];
    bool may_unref = at == CLOSE_BEGIN && thread <= WRITER;
    if (at == END || (choice > 0 && at != READ && !may_unref))
        return false;
    if (at == CLAIM)
        step_claim(m, thread);
    else if (at == RELEASE_DRAINED || at == RELEASE_FULL)
        step_release(m, thread);
    else if (at >= READ && at <= PARKED)
        return step_reader(m, choice);
    else if (at == WRITE) {
        EXPECT(m->open);
        m->at[thread] = RELEASE_FULL;
    } else if (at >= CLOSE_BEGIN && at <= CLOSE_END)
        step_close(m, thread, choice);
    else if (at >= FINALIZE && at <= PLACE_FREE)
        step_final(m, thread);
    else
        return step_kernel(m);
    return true;
}

static bool may_settle(const model *m)
{
    for (int i = 0; i < KERNEL; i++)
        if (m->at[i] >= CLOSE_BEGIN && m->at[i] <= PLACE_FREE)
            return true;
    return false;
}

static void check_always(const model *m)
{
    EXPECT(m->finalized <= 1 && m->frees <= 1 && m->frees <= m->finalized);
    EXPECT(m->open == !m->finalized);
    if (m->frees)
        EXPECT(m->word.v == (GENERATION(6) | WF_SRC_REF)); /* whatever comes late */
    else if (m->word.v & WF_SRC_CLOSED)
        EXPECT(!m->open || may_settle(m));
}

/* Nobody can go on. */
static void check_at_rest(const model *m, bool closes)
{
    EXPECT(m->at[WRITER] == END && m->at[CLOSER] == END && m->at[ABORTER] == END && m->at[KERNEL] == END);
    if (closes) {
        EXPECT(m->at[READER] == END && m->finalized == 1 && m->frees == 1);
        return;
    }
    if (m->at[READER] == PARKED)
        EXPECT(m->bytes == 0 && m->registered); /* no wake was lost */
    else
        EXPECT(m->at[READER] == END && (m->bytes == 0 || m->word.v & WF_SRC_RRDY)); /* nor readiness for the next */
}

static void explore(const model *m, bool closes)
{
    if (!visit_first(m, sizeof *m))
        return;
    check_always(m);
    bool rest = true;
    for (int thread = 0; thread < THREADS; thread++)
        for (int choice = 0; choice < CHOICES; choice++) {
            model next = *m;
            go_down(thread, m->at[thread], choice);
            if (step(&next, thread, choice)) {
                rest = false;
                explore(&next, closes);
            }
            go_up();
        }
    if (rest)
        check_at_rest(m, closes);
}

static void explore_from(const model *m, bool closes)
{
    states = 0;
    explore(m, closes);
    forget_visited();
    cr_assert_gt(states, 100u, "%zu states", states);
}

static model new_model(uint64_t references)
{
    model m = {.word = {GENERATION(5)}, .open = 1};
    wf_src_open(&m.word, 0);
    m.word.v += (references - 1) * WF_SRC_REF;
    return m;
}

static void begin(model *m, int thread) { m->at[thread] = thread == KERNEL ? ARRIVE : go_on(m, thread); }

Test(source_state_model, a_reader_that_waits_against_arrivals_loses_no_event)
{
    model m = new_model(1);
    m.turns[READER] = 3;
    m.arrivals = 3;
    begin(&m, READER);
    begin(&m, KERNEL);
    explore_from(&m, false);
}

/* Each side has a handle of its own, and closes it or gives it up at its end. */
Test(source_state_model, two_operators_a_closer_and_an_aborter_with_handles_of_their_own_end_it_exactly_once)
{
    model m = new_model(4);
    m.turns[READER] = 2;
    m.turns[WRITER] = 2;
    m.closes[READER] = m.closes[WRITER] = m.closes[CLOSER] = 1;
    m.closes[ABORTER] = 2;
    m.arrivals = 2;
    for (int i = 0; i < THREADS; i++)
        begin(&m, i);
    explore_from(&m, true);
}

/* The operators only have their claims: nothing but BUSY keeps the place for them while the handles are closed. */
Test(source_state_model, two_operators_without_handles_are_waited_for_by_closer_and_aborter)
{
    model m = new_model(2);
    uint64_t word;
    wf_src_claim(&m.word, WF_READ, &m.seen);
    wf_src_claim(&m.word, WF_WRITE, &word);
    m.seen = m.word.v;
    m.at[READER] = REGISTER;
    m.at[WRITER] = WRITE;
    m.closes[CLOSER] = 1;
    m.closes[ABORTER] = 2;
    m.arrivals = 2;
    for (int i = CLOSER; i < THREADS; i++)
        begin(&m, i);
    explore_from(&m, true);
}

/* Three closers of one handle each, while both directions are in use. */
Test(source_state_model, handles_closed_by_three_at_once_end_it_exactly_once)
{
    model m = new_model(3);
    uint64_t word;
    wf_src_claim(&m.word, WF_WRITE, &word);
    m.at[WRITER] = WRITE;
    m.closes[READER] = m.closes[CLOSER] = m.closes[WRITER] = 1;
    begin(&m, READER);
    begin(&m, CLOSER);
    explore_from(&m, true);
}
