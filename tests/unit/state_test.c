/* state_test.c - the task word: each cell of its table, then orders of events by name, then every interleaving of a small
 * model, then threads.
 *
 * What the table calls impossible has no test by itself: the model asserts that nothing leads there. */
#include <runtime/state.h>
#include <pthread.h>
#include <sched.h>
#include <support/explore.h>
#include <support/test.h>

enum { FLAGS = 0xffff };

static uint64_t flags(const wf_a64 *s) { return s->v & FLAGS; }
static uint64_t refs(const wf_a64 *s) { return wf_state_refs(s->v); }

/* A task with a handle that has come to the named state by itself; one reference for being alive, one for the handle. */
static wf_a64 scheduled(void)
{
    wf_a64 s;
    wf_state_init(&s, WF_S_HANDLE, 2);
    return s;
}

static wf_a64 running(void)
{
    wf_a64 s = scheduled();
    wf_state_poll_begin(&s);
    return s;
}

static wf_a64 idle(void)
{
    wf_a64 s = running();
    cr_assert_eq(wf_state_poll_pending(&s), WF_PENDING_IDLE);
    return s;
}

static wf_a64 ended(bool cancelled)
{
    wf_a64 s = running();
    cr_assert_eq(wf_state_complete(&s, cancelled, 0), 0u);
    return s;
}

static wf_a64 detached(uint64_t references)
{
    wf_a64 s;
    wf_state_init(&s, 0, references);
    wf_state_poll_begin(&s);
    return s;
}

/* ---- the five states ---------------------------------------------------------------------------------------- */

Test(state, born_scheduled_with_its_references)
{
    wf_a64 s = scheduled();
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_HANDLE);
    cr_assert_eq(refs(&s), 2u);
    wf_state_init(&s, 0, 65);
    cr_assert_eq(s.v, WF_S_ACTIVE | 65 * WF_S_REF);
}

Test(state, each_state_has_the_bits_that_the_header_says)
{
    wf_a64 i = idle(), r = running(), done = ended(false), cancelled = ended(true);
    cr_assert_eq(flags(&i), WF_S_HANDLE);
    cr_assert_eq(flags(&r), WF_S_ACTIVE | WF_S_HANDLE);
    cr_assert_eq(flags(&done), WF_S_DONE | WF_S_HANDLE);
    cr_assert_eq(flags(&cancelled), WF_S_DONE | WF_S_CANCELLED | WF_S_HANDLE);
    cr_assert_eq(refs(&done), 1u, "the handle's");
}

/* ---- wake --------------------------------------------------------------------------------------------------- */

Test(state, wake_while_idle_enqueues_once)
{
    wf_a64 s = idle();
    cr_assert_eq(wf_state_wake(&s), WF_WAKE_ENQUEUE);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_HANDLE);
    cr_assert_eq(wf_state_wake(&s), WF_WAKE_NOTHING, "it is queued already");
}

Test(state, wake_while_scheduled_is_answered_by_the_poll_that_is_due)
{
    wf_a64 s = scheduled();
    cr_assert_eq(wf_state_wake(&s), WF_WAKE_NOTHING);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_NOTIFIED | WF_S_HANDLE);
    cr_assert(wf_state_poll_begin(&s) & WF_S_NOTIFIED, "the word as it was");
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_HANDLE);
    cr_assert_eq(wf_state_poll_pending(&s), WF_PENDING_IDLE);
}

Test(state, d01_wake_while_running_polls_exactly_once_more)
{
    wf_a64 s = running();
    cr_assert_eq(wf_state_wake(&s), WF_WAKE_NOTHING);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_NOTIFIED | WF_S_HANDLE);
    cr_assert_eq(wf_state_poll_pending(&s), WF_PENDING_AGAIN);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_HANDLE, "scheduled, and not more");
    wf_state_poll_begin(&s);
    cr_assert_eq(wf_state_poll_pending(&s), WF_PENDING_IDLE);
}

Test(state, three_wakes_while_running_poll_exactly_once_more)
{
    wf_a64 s = running();
    for (int i = 0; i < 3; i++)
        cr_assert_eq(wf_state_wake(&s), WF_WAKE_NOTHING);
    cr_assert_eq(wf_state_poll_pending(&s), WF_PENDING_AGAIN);
    wf_state_poll_begin(&s);
    cr_assert_eq(wf_state_poll_pending(&s), WF_PENDING_IDLE);
}

Test(state, wake_while_running_then_yield_is_answered_by_the_next_poll)
{
    wf_a64 s = running();
    wf_state_wake(&s); /* a yield leaves the word alone: the task goes from running to scheduled */
    wf_state_poll_begin(&s);
    cr_assert_eq(wf_state_poll_pending(&s), WF_PENDING_IDLE);
}

Test(state, wake_after_the_end_changes_nothing)
{
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        wf_a64 s = ended(cancelled);
        uint64_t before = s.v;
        cr_assert_eq(wf_state_wake(&s), WF_WAKE_NOTHING);
        cr_assert_eq(s.v, before);
    }
}

Test(state, d19_wake_while_running_then_complete_owes_no_poll)
{
    wf_a64 s = running();
    wf_state_wake(&s);
    cr_assert_eq(wf_state_complete(&s, false, 0), 0u);
    cr_assert_eq(flags(&s), WF_S_DONE | WF_S_HANDLE);
    wf_a64 lone = detached(2);
    wf_state_wake(&lone);
    cr_assert_not(wf_state_complete_detached(&lone, false, 0));
    cr_assert_eq(lone.v, WF_S_DONE | WF_S_REF);
}

Test(state, wake_that_gives_up_its_reference_while_idle_enqueues)
{
    wf_a64 s = idle();
    wf_state_ref(&s, 1);
    cr_assert_eq(wf_state_wake_consume(&s), WF_WAKE_ENQUEUE);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_HANDLE);
    cr_assert_eq(refs(&s), 2u);
}

Test(state, wake_that_gives_up_its_reference_while_scheduled_or_running_notifies)
{
    wf_a64 words[] = {scheduled(), running()};
    for (int i = 0; i < 2; i++) {
        wf_state_ref(&words[i], 1);
        cr_assert_eq(wf_state_wake_consume(&words[i]), WF_WAKE_NOTHING);
        cr_assert_eq(flags(&words[i]), WF_S_ACTIVE | WF_S_NOTIFIED | WF_S_HANDLE);
        cr_assert_eq(refs(&words[i]), 2u);
    }
}

Test(state, wake_that_gives_up_its_reference_after_the_end_only_gives_it_up)
{
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        wf_a64 s = ended(cancelled);
        uint64_t before = s.v;
        wf_state_ref(&s, 1);
        cr_assert_eq(wf_state_wake_consume(&s), WF_WAKE_NOTHING);
        cr_assert_eq(s.v, before);
    }
}

Test(state, wake_that_gives_up_the_last_reference_frees)
{
    wf_a64 s = ended(false);
    wf_state_ref(&s, 1);
    cr_assert_not(wf_state_unref(&s), "the handle goes first");
    cr_assert_eq(wf_state_wake_consume(&s), WF_WAKE_FREE);
}

/* ---- abort -------------------------------------------------------------------------------------------------- */

Test(state, d03_abort_while_idle_enqueues_and_the_poll_sees_it)
{
    wf_a64 s = idle();
    cr_assert_eq(wf_state_abort(&s), WF_WAKE_ENQUEUE);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_ABORT | WF_S_HANDLE);
    cr_assert(wf_state_poll_begin(&s) & WF_S_ABORT);
}

Test(state, abort_while_scheduled_is_seen_by_the_poll_that_is_due)
{
    wf_a64 s = scheduled();
    cr_assert_eq(wf_state_abort(&s), WF_WAKE_NOTHING);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_NOTIFIED | WF_S_ABORT | WF_S_HANDLE);
    cr_assert(wf_state_poll_begin(&s) & WF_S_ABORT);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_ABORT | WF_S_HANDLE, "the request stays");
}

Test(state, d02_abort_while_running_polls_once_more_and_that_poll_sees_it)
{
    wf_a64 s = running();
    cr_assert_eq(wf_state_abort(&s), WF_WAKE_NOTHING);
    cr_assert_eq(wf_state_poll_pending(&s), WF_PENDING_AGAIN);
    cr_assert(wf_state_poll_begin(&s) & WF_S_ABORT);
    cr_assert_eq(wf_state_complete(&s, true, 0), 0u);
    cr_assert_eq(flags(&s), WF_S_DONE | WF_S_CANCELLED | WF_S_ABORT | WF_S_HANDLE);
}

Test(state, abort_while_running_then_complete_is_completed)
{
    wf_a64 s = running();
    wf_state_abort(&s);
    wf_state_complete(&s, false, 0);
    cr_assert_eq(flags(&s), WF_S_DONE | WF_S_ABORT | WF_S_HANDLE);
}

Test(state, abort_after_abort_asks_for_nothing_new)
{
    wf_a64 s = idle();
    wf_state_abort(&s);
    cr_assert_eq(wf_state_abort(&s), WF_WAKE_NOTHING);
    wf_state_poll_begin(&s);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_ABORT | WF_S_HANDLE);
}

Test(state, abort_after_the_end_changes_nothing)
{
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        wf_a64 s = ended(cancelled);
        uint64_t before = s.v;
        cr_assert_eq(wf_state_abort(&s), WF_WAKE_NOTHING);
        cr_assert_eq(wf_state_abort_if_alive(&s), WF_WAKE_NOTHING);
        cr_assert_eq(s.v, before);
    }
}

Test(state, abort_by_a_walker_is_an_abort)
{
    wf_a64 walked[] = {idle(), scheduled(), running()}, aborted[] = {idle(), scheduled(), running()};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(wf_state_abort_if_alive(&walked[i]), wf_state_abort(&aborted[i]));
        cr_assert_eq(walked[i].v, aborted[i].v);
        cr_assert_eq(wf_state_abort_if_alive(&walked[i]), WF_WAKE_NOTHING);
        cr_assert_eq(walked[i].v, aborted[i].v);
    }
}

Test(state, abort_by_a_walker_of_a_free_header_changes_nothing)
{
    wf_a64 s = {0};
    cr_assert_eq(wf_state_abort_if_alive(&s), WF_WAKE_NOTHING);
    cr_assert_eq(s.v, 0u);
}

static wf_a64 pooled(void)
{
    wf_a64 s;
    wf_state_init(&s, WF_S_HANDLE | WF_S_POOLED, 3);
    return s;
}

Test(state, abort_while_pooled_queues_once_and_it_never_begins)
{
    wf_a64 s = pooled(), walked = pooled();
    cr_assert_eq(wf_state_abort(&s), WF_WAKE_ENQUEUE);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_ABORT | WF_S_HANDLE);
    cr_assert_eq(wf_state_abort(&s), WF_WAKE_NOTHING);
    cr_assert_not(wf_state_leave_pool(&s));
    cr_assert(wf_state_poll_begin(&s) & WF_S_ABORT);
    cr_assert_eq(wf_state_complete(&s, true, 0), 0u);
    cr_assert_eq(refs(&s), 2u, "the handle's and the job's");
    cr_assert_eq(wf_state_abort_if_alive(&walked), WF_WAKE_ENQUEUE);
    cr_assert_eq(wf_state_abort_if_alive(&walked), WF_WAKE_NOTHING);
    cr_assert_not(wf_state_leave_pool(&walked));
}

Test(state, abort_of_a_pooled_one_that_has_begun_queues_nothing)
{
    wf_a64 s = pooled();
    cr_assert(wf_state_leave_pool(&s));
    cr_assert_not(wf_state_leave_pool(&s));
    cr_assert_eq(wf_state_abort(&s), WF_WAKE_NOTHING);
    cr_assert_eq(wf_state_abort_if_alive(&s), WF_WAKE_NOTHING);
    cr_assert(flags(&s) & WF_S_ABORT);
    cr_assert(flags(&s) & WF_S_ACTIVE);
}

Test(state, wake_of_a_pooled_one_queues_nothing)
{
    wf_a64 s = pooled();
    cr_assert_eq(wf_state_wake(&s), WF_WAKE_NOTHING);
    cr_assert(wf_state_leave_pool(&s));
    cr_assert_eq(wf_state_wake(&s), WF_WAKE_NOTHING);
}

/* ---- seize -------------------------------------------------------------------------------------------------- */

Test(state, seize_takes_an_idle_one_only_and_once)
{
    wf_a64 s = idle(), others[] = {scheduled(), running(), ended(false), ended(true), pooled(), {0}};
    uint64_t before = s.v;
    cr_assert(wf_state_seize(&s));
    cr_assert_eq(s.v, before | WF_S_ACTIVE);
    cr_assert_not(wf_state_seize(&s), "somebody looks at it already");
    cr_assert_eq(wf_state_poll_pending(&s), WF_PENDING_IDLE);
    cr_assert_eq(s.v, before);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        before = others[i].v;
        cr_assert_not(wf_state_seize(&others[i]));
        cr_assert_eq(others[i].v, before);
    }
}

Test(state, wake_or_abort_while_seized_is_owed_when_it_is_released)
{
    wf_a64 woken = idle(), aborted = idle(), walked = idle();
    cr_assert(wf_state_seize(&woken) && wf_state_seize(&aborted) && wf_state_seize(&walked));
    cr_assert_eq(wf_state_wake(&woken), WF_WAKE_NOTHING);
    cr_assert_eq(wf_state_abort(&aborted), WF_WAKE_NOTHING);
    cr_assert_eq(wf_state_abort_if_alive(&walked), WF_WAKE_NOTHING);
    cr_assert_eq(wf_state_poll_pending(&woken), WF_PENDING_AGAIN);
    cr_assert_eq(wf_state_poll_pending(&aborted), WF_PENDING_AGAIN);
    cr_assert_eq(wf_state_poll_pending(&walked), WF_PENDING_AGAIN);
    cr_assert(wf_state_poll_begin(&aborted) & WF_S_ABORT);
}

/* ---- poll --------------------------------------------------------------------------------------------------- */

Test(state, poll_begin_without_a_wake_leaves_the_word)
{
    wf_a64 s = scheduled();
    uint64_t before = s.v;
    cr_assert_eq(wf_state_poll_begin(&s), before);
    cr_assert_eq(s.v, before);
}

Test(state, poll_pending_keeps_what_is_not_its_business)
{
    wf_a64 s = running();
    wf_state_join_lock(&s);
    wf_state_join_unlock(&s, true);
    wf_state_abort(&s);
    wf_state_poll_pending(&s);
    wf_state_poll_begin(&s);
    wf_state_poll_pending(&s);
    cr_assert_eq(flags(&s), WF_S_ABORT | WF_S_JOIN_WAKER | WF_S_HANDLE);
    cr_assert_eq(refs(&s), 2u);
}

/* ---- complete ----------------------------------------------------------------------------------------------- */

Test(state, complete_with_nobody_waiting_wakes_nobody_and_gives_up_being_alive_and_the_spare_references)
{
    wf_a64 s = running();
    wf_state_ref(&s, 64 + 3); /* a block of spare ones, and three wakers */
    cr_assert_eq(wf_state_complete(&s, false, 64), 0u);
    cr_assert_eq(refs(&s), 4u);
    cr_assert(wf_state_done(&s));
}

Test(state, complete_after_detach_leaves_the_word_until_the_output_is_dropped)
{
    wf_a64 s = detached(3);
    uint64_t before = s.v;
    cr_assert_eq(wf_state_complete(&s, false, 0), (unsigned)WF_END_DROP_OUTPUT);
    cr_assert_eq(s.v, before);
    cr_assert_not(wf_state_complete_detached(&s, false, 0));
    cr_assert_eq(s.v, WF_S_DONE | 2 * WF_S_REF);
}

Test(state, complete_detached_with_the_last_reference_frees)
{
    wf_a64 s = detached(1);
    cr_assert(wf_state_complete_detached(&s, false, 0));
    wf_a64 rich = detached(1 + 64);
    cr_assert(wf_state_complete_detached(&rich, true, 64));
}

Test(state, complete_detached_then_the_last_waker_frees)
{
    wf_a64 s = detached(1 + 64 + 1);
    cr_assert_not(wf_state_complete_detached(&s, true, 64));
    cr_assert_eq(s.v, WF_S_DONE | WF_S_CANCELLED | WF_S_REF);
    cr_assert(wf_state_unref(&s));
}

/* ---- join --------------------------------------------------------------------------------------------------- */

Test(state, join_while_idle_scheduled_or_running_sets_the_waker)
{
    wf_a64 words[] = {idle(), scheduled(), running()};
    for (int i = 0; i < 3; i++) {
        uint64_t before = words[i].v;
        cr_assert_eq(wf_state_join_lock(&words[i]), WF_JOIN_LOCKED);
        cr_assert_eq(words[i].v, before | WF_S_JOIN_LOCK);
        cr_assert_eq(wf_state_join_unlock(&words[i], true), WF_JOIN_SET);
        cr_assert_eq(words[i].v, before | WF_S_JOIN_WAKER);
        cr_assert_not(wf_state_done(&words[i]));
    }
}

Test(state, d04_join_after_the_end_is_done_as_often_as_one_asks)
{
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        wf_a64 s = ended(cancelled);
        uint64_t before = s.v;
        for (int i = 0; i < 2; i++) {
            cr_assert(wf_state_done(&s));
            cr_assert_eq(wf_state_join_lock(&s), WF_JOIN_DONE);
            cr_assert_eq(wf_state_join_relock(&s), WF_JOIN_DONE);
        }
        cr_assert_eq(s.v, before);
    }
}

Test(state, join_during_or_after_another_join_is_busy)
{
    wf_a64 s = idle();
    wf_state_join_lock(&s);
    cr_assert_eq(wf_state_join_lock(&s), WF_JOIN_BUSY);
    wf_state_join_unlock(&s, true);
    cr_assert_eq(wf_state_join_lock(&s), WF_JOIN_BUSY);
    cr_assert_eq(wf_state_join_relock(&s), WF_JOIN_LOCKED);
    cr_assert_eq(wf_state_join_lock(&s), WF_JOIN_BUSY);
    wf_state_join_unlock(&s, false);
    cr_assert_eq(wf_state_join_lock(&s), WF_JOIN_LOCKED, "the first has left");
}

Test(state, join_whose_waker_could_not_be_cloned_leaves_none)
{
    wf_a64 s = running();
    uint64_t before = s.v;
    wf_state_join_lock(&s);
    cr_assert_eq(wf_state_join_unlock(&s, false), WF_JOIN_SET);
    cr_assert_eq(s.v, before);
}

Test(state, join_then_complete_hands_over_the_waker_and_keeps_a_reference_until_it_is_taken)
{
    wf_a64 s = running();
    wf_state_join_lock(&s);
    wf_state_join_unlock(&s, true);
    cr_assert_eq(wf_state_complete(&s, false, 0), (unsigned)WF_END_WAKE_JOINER);
    cr_assert_eq(flags(&s), WF_S_DONE | WF_S_JOIN_LOCK | WF_S_HANDLE);
    cr_assert_eq(refs(&s), 2u);
    cr_assert_not(wf_state_join_taken(&s));
    cr_assert_eq(flags(&s), WF_S_DONE | WF_S_HANDLE);
    cr_assert(wf_state_unref(&s), "the handle's was the last");
}

Test(state, join_then_complete_then_the_joiner_leaves_before_its_waker_was_taken)
{
    wf_a64 s = running();
    wf_state_join_lock(&s);
    wf_state_join_unlock(&s, true);
    wf_state_complete(&s, false, 0);
    cr_assert(wf_state_done(&s));
    cr_assert_not(wf_state_unref(&s), "the completer still reads the waker");
    cr_assert(wf_state_join_taken(&s));
}

Test(state, complete_during_join_set_gives_the_waker_back_to_the_joiner)
{
    wf_a64 s = running();
    wf_state_join_lock(&s);
    cr_assert_eq(wf_state_complete(&s, false, 0), 0u, "no waker that it could see");
    cr_assert_eq(wf_state_join_unlock(&s, true), WF_JOIN_DONE);
    cr_assert_eq(flags(&s), WF_S_DONE | WF_S_HANDLE);
}

Test(state, complete_during_join_cancel_gives_the_waker_back_to_the_joiner)
{
    wf_a64 s = running();
    wf_state_join_lock(&s);
    wf_state_join_unlock(&s, true);
    cr_assert_eq(wf_state_join_relock(&s), WF_JOIN_LOCKED);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_JOIN_LOCK | WF_S_HANDLE);
    cr_assert_eq(wf_state_complete(&s, false, 0), 0u);
    cr_assert_eq(wf_state_join_unlock(&s, false), WF_JOIN_DONE);
    cr_assert_eq(flags(&s), WF_S_DONE | WF_S_HANDLE);
}

Test(state, complete_before_join_cancel_leaves_the_waker_to_the_completer)
{
    wf_a64 s = running();
    wf_state_join_lock(&s);
    wf_state_join_unlock(&s, true);
    cr_assert_eq(wf_state_complete(&s, false, 0), (unsigned)WF_END_WAKE_JOINER);
    cr_assert_eq(wf_state_join_relock(&s), WF_JOIN_DONE);
    cr_assert_not(wf_state_join_taken(&s));
    cr_assert_eq(flags(&s), WF_S_DONE | WF_S_HANDLE);
}

Test(state, join_cancel_then_complete_wakes_nobody)
{
    wf_a64 s = running();
    wf_state_join_lock(&s);
    wf_state_join_unlock(&s, true);
    wf_state_join_relock(&s);
    cr_assert_eq(wf_state_join_unlock(&s, false), WF_JOIN_SET);
    cr_assert_eq(flags(&s), WF_S_ACTIVE | WF_S_HANDLE);
    cr_assert_eq(wf_state_complete(&s, false, 0), 0u);
}

/* ---- detach, and the last reference --------------------------------------------------------------------------- */

Test(state, detach_before_the_end_gives_up_the_handle_and_its_reference)
{
    wf_a64 words[] = {idle(), scheduled(), running()};
    for (int i = 0; i < 3; i++) {
        uint64_t before = flags(&words[i]);
        cr_assert_eq(wf_state_detach(&words[i]), WF_DETACH_NOTHING);
        cr_assert_eq(flags(&words[i]), before & ~WF_S_HANDLE);
        cr_assert_eq(refs(&words[i]), 1u);
    }
}

Test(state, detach_after_the_end_leaves_the_output_and_the_last_reference_to_the_caller)
{
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        wf_a64 s = ended(cancelled);
        cr_assert_eq(wf_state_detach(&s), WF_DETACH_TAKE_OUTPUT);
        cr_assert_eq(refs(&s), 1u);
        cr_assert(wf_state_unref(&s));
    }
}

Test(state, detach_while_running_then_complete_drops_the_output_and_frees)
{
    wf_a64 s = running();
    wf_state_detach(&s);
    cr_assert_eq(wf_state_complete(&s, false, 0), (unsigned)WF_END_DROP_OUTPUT);
    cr_assert(wf_state_complete_detached(&s, false, 0));
}

Test(state, unref_frees_at_the_last_one_only)
{
    wf_a64 s = ended(false);
    wf_state_ref(&s, 2);
    cr_assert_not(wf_state_unref(&s));
    cr_assert_eq(refs(&s), 2u);
    cr_assert_not(wf_state_unref(&s));
    cr_assert(wf_state_unref(&s));
}

/* ---- every interleaving of a small model ----------------------------------------------------------------------
 *
 * Two pollers with one queue, two wakers, an aborter, a walker that aborts without a reference, two who only look at it, without one
 * either, and the handle's owner, who joins, gives up joining, or detaches. A step is one atomic operation and what its thread does alone around it. All
 * states that can be reached are visited, each once. */

enum {
    POLLERS = 2,
    WAKERS = 2,
    ABORTER = POLLERS + WAKERS,
    WALKER,
    LOOKER,
    SECOND_LOOKER,
    OWNER,
    THREADS,
    CHOICES = 3,
    SPARE = 2
};

/* Where a thread is: what it does next. */
enum {
    END,
    FREE, /* the header goes back to where it came from */
    POLL_TAKE,
    POLL_BEGIN,
    POLL_READ,
    POLL_BODY,
    POLL_COMPLETE,
    POLL_COMPLETE_DETACHED,
    POLL_TAKE_JOINER,
    POLL_JOIN_TAKEN,
    POLL_WAKE_JOINER,
    POLL_FREE,
    POLL_FREE_WAKE_JOINER,
    WAKE_PRODUCE,
    WAKE_WAKE,
    ABORT,
    WALK,
    LOOK,
    HOLD, /* it holds it still */
    OWNER_START,
    OWNER_STORE,
    OWNER_UNLOCK,
    OWNER_WAIT,
    OWNER_FORGET,
    OWNER_UNLOCK_FORGOTTEN,
    OWNER_TAKE,
    UNREF,
};

typedef struct model { /* no padding: its bytes are its identity */
    wf_a64 word;
    uint8_t at[THREADS];
    uint8_t queued;               /* how often it is in the queue */
    uint8_t produced, seen;       /* by wakers, and by the body when it was polled last */
    uint8_t self_wakes;           /* that the body may still do */
    uint8_t tries;                /* joins that the owner may still begin */
    uint8_t cancelled;            /* what it completes with */
    uint8_t bodies, outputs;      /* dropped; taken or dropped */
    uint8_t frees;                /* of the header */
    uint8_t has_output;           /* there is one to take */
    uint8_t joiner, joiner_woken; /* the waker stands in the task; it was woken */
    uint8_t rest[3];
} model;
_Static_assert(sizeof(model) == 8 + THREADS + 15 && sizeof(model) % 8 == 0, "no padding, whole words");

static wf_a64 *word_of(model *m)
{
    EXPECT(m->frees == 0); /* nobody touches the header of a task that is gone */
    return &m->word;
}

static bool enqueue(model *m, wf_wake verdict)
{
    EXPECT(verdict != WF_WAKE_FREE);
    m->queued += verdict == WF_WAKE_ENQUEUE;
    return true;
}

/* Whether a poller has it, from the queue to the end, or who looks at it. */
static int in_hand(const model *m)
{
    int n = (m->at[LOOKER] == HOLD) + (m->at[SECOND_LOOKER] == HOLD);
    for (int i = 0; i < POLLERS; i++)
        n += m->at[i] >= POLL_BEGIN && m->at[i] <= POLL_COMPLETE_DETACHED;
    return n;
}

static bool step_body(model *m, uint8_t *at, int choice)
{
    switch (choice) {
    case 0:
        *at = POLL_TAKE;
        m->queued += wf_state_poll_pending(word_of(m)) == WF_PENDING_AGAIN;
        return true;
    case 1:
        m->bodies++;
        m->has_output = 1;
        *at = POLL_COMPLETE;
        return true;
    default:
        if (m->self_wakes == 0)
            return false;
        m->self_wakes--;
        m->produced++;
        EXPECT(wf_state_wake(word_of(m)) == WF_WAKE_NOTHING);
        return true;
    }
}

static void step_complete(model *m, uint8_t *at)
{
    unsigned todo = wf_state_complete(word_of(m), m->cancelled, SPARE);
    if (todo & WF_END_DROP_OUTPUT) {
        EXPECT(todo == WF_END_DROP_OUTPUT && m->has_output);
        m->has_output = 0;
        m->outputs++;
        *at = POLL_COMPLETE_DETACHED;
    } else if (todo & WF_END_WAKE_JOINER) {
        *at = POLL_TAKE_JOINER;
    } else {
        *at = todo & WF_END_FREE ? POLL_FREE : POLL_TAKE;
    }
}

static bool step_poller(model *m, uint8_t *at, int choice)
{
    if (*at == POLL_BODY)
        return step_body(m, at, choice);
    if (choice > 0)
        return false;
    switch (*at) {
    case POLL_TAKE:
        if (m->queued == 0)
            return false;
        m->queued--;
        *at = POLL_BEGIN;
        return true;
    case POLL_BEGIN:
        m->cancelled = !!(wf_state_poll_begin(word_of(m)) & WF_S_ABORT);
        *at = m->cancelled ? POLL_COMPLETE : POLL_READ;
        m->bodies += m->cancelled;
        m->has_output = m->cancelled;
        return true;
    case POLL_READ:
        m->seen = m->produced;
        *at = POLL_BODY;
        return true;
    case POLL_COMPLETE:
        step_complete(m, at);
        return true;
    case POLL_COMPLETE_DETACHED:
        *at = wf_state_complete_detached(word_of(m), m->cancelled, SPARE) ? POLL_FREE : POLL_TAKE;
        return true;
    case POLL_TAKE_JOINER:
        EXPECT(m->joiner);
        m->joiner = 0;
        *at = POLL_JOIN_TAKEN;
        return true;
    case POLL_JOIN_TAKEN:
        *at = wf_state_join_taken(word_of(m)) ? POLL_FREE_WAKE_JOINER : POLL_WAKE_JOINER;
        return true;
    case POLL_WAKE_JOINER:
        m->joiner_woken = 1;
        *at = POLL_TAKE;
        return true;
    default: /* POLL_FREE, POLL_FREE_WAKE_JOINER */
        word_of(m)->v = 0;
        m->frees++;
        *at = *at == POLL_FREE ? POLL_TAKE : POLL_WAKE_JOINER;
        return true;
    }
}

static bool step_waker(model *m, uint8_t *at, int choice)
{
    if (*at == WAKE_PRODUCE) {
        m->produced++;
        *at = WAKE_WAKE;
        return choice == 0;
    }
    if (choice == 1) {
        *at = UNREF;
        return enqueue(m, wf_state_wake(word_of(m)));
    }
    wf_wake verdict = wf_state_wake_consume(word_of(m));
    *at = verdict == WF_WAKE_FREE ? FREE : END;
    return verdict == WF_WAKE_FREE || enqueue(m, verdict);
}

static bool step_walker(model *m, uint8_t *at)
{
    wf_wake verdict = wf_state_abort_if_alive(&m->word); /* also of a header that is free */
    EXPECT(m->frees == 0 || (m->word.v == 0 && verdict == WF_WAKE_NOTHING));
    *at = END;
    return enqueue(m, verdict);
}

static bool step_looker(model *m, uint8_t *at)
{
    if (*at == HOLD) {
        *at = END;
        m->queued += wf_state_poll_pending(word_of(m)) == WF_PENDING_AGAIN;
        return true;
    }
    bool seized = wf_state_seize(&m->word); /* also of a header that is free */
    EXPECT(!seized || (m->frees == 0 && m->bodies == 0));
    *at = seized ? HOLD : END;
    return true;
}

static bool owner_starts(model *m, uint8_t *at, int choice)
{
    if (choice == 1) {
        *at = wf_state_detach(word_of(m)) == WF_DETACH_TAKE_OUTPUT ? OWNER_TAKE : END;
        return true;
    }
    if (m->tries == 0)
        return false;
    m->tries--;
    wf_join verdict = wf_state_join_lock(word_of(m));
    EXPECT(verdict == WF_JOIN_LOCKED || verdict == WF_JOIN_DONE);
    *at = verdict == WF_JOIN_DONE ? OWNER_TAKE : OWNER_STORE;
    return true;
}

static bool owner_waits(model *m, uint8_t *at, int choice)
{
    if (choice == 1) {
        *at = wf_state_join_relock(word_of(m)) == WF_JOIN_DONE ? OWNER_TAKE : OWNER_FORGET;
        return true;
    }
    *at = OWNER_TAKE;
    return m->joiner_woken;
}

/* Stores the waker, or meets a clone that fails. */
static bool owner_unlocks(model *m, uint8_t *at, int choice)
{
    bool stored = choice == 0;
    wf_join verdict = wf_state_join_unlock(word_of(m), stored);
    if (verdict == WF_JOIN_DONE || !stored)
        m->joiner = 0;
    *at = verdict == WF_JOIN_DONE ? OWNER_TAKE : stored ? OWNER_WAIT : OWNER_START;
    return true;
}

static bool step_owner(model *m, uint8_t *at, int choice)
{
    if (choice > 1)
        return false;
    if (*at == OWNER_START)
        return owner_starts(m, at, choice);
    if (*at == OWNER_WAIT)
        return owner_waits(m, at, choice);
    if (*at == OWNER_UNLOCK)
        return owner_unlocks(m, at, choice);
    if (choice > 0)
        return false;
    switch (*at) {
    case OWNER_STORE:
        EXPECT(!m->joiner);
        m->joiner = 1;
        *at = OWNER_UNLOCK;
        return true;
    case OWNER_FORGET:
        EXPECT(m->joiner);
        m->joiner = 0;
        *at = OWNER_UNLOCK_FORGOTTEN;
        return true;
    case OWNER_UNLOCK_FORGOTTEN:
        *at = wf_state_join_unlock(word_of(m), false) == WF_JOIN_DONE ? OWNER_TAKE : OWNER_START;
        return true;
    default: /* OWNER_TAKE */
        EXPECT(wf_state_done(word_of(m)) && m->has_output);
        m->has_output = 0;
        m->outputs++;
        *at = UNREF;
        return true;
    }
}

/* False: the thread waits, has ended, or has no such choice. */
static bool step(model *m, int thread, int choice)
{
    uint8_t *at = &m->at[thread];
    if (*at == END || (choice > 0 && (*at == FREE || *at == UNREF || (thread >= ABORTER && thread < OWNER))))
        return false;
    if (*at == FREE) {
        word_of(m)->v = 0;
        m->frees++;
        *at = END;
        return true;
    }
    if (*at == UNREF) {
        *at = wf_state_unref(word_of(m)) ? FREE : END;
        return true;
    }
    if (thread < POLLERS)
        return step_poller(m, at, choice);
    if (thread < ABORTER)
        return choice <= 1 && step_waker(m, at, choice);
    if (thread == OWNER)
        return step_owner(m, at, choice);
    if (thread == WALKER)
        return step_walker(m, at);
    if (thread == LOOKER || thread == SECOND_LOOKER)
        return step_looker(m, at);
    *at = UNREF;
    return enqueue(m, wf_state_abort(word_of(m)));
}

/* What holds at any time. */
static void check_always(const model *m)
{
    EXPECT(m->queued + in_hand(m) <= 1); /* in at most one queue, or with exactly one poller */
    EXPECT(m->bodies <= 1 && m->outputs <= 1 && m->frees <= 1);
    if (m->frees == 0 && !(m->word.v & WF_S_DONE))
        EXPECT(!(m->word.v & WF_S_ACTIVE) || m->queued + in_hand(m) == 1 || m->at[0] == POLL_FREE || m->at[1] == POLL_FREE);
    if (m->queued + in_hand(m) == 1)
        EXPECT(m->word.v & WF_S_ACTIVE);
}

/* What holds when nobody can go on. */
static void check_at_rest(const model *m)
{
    EXPECT(m->queued == 0);
    if (m->frees) {
        EXPECT(m->word.v == 0 && m->bodies == 1 && m->outputs == 1 && m->at[OWNER] == END);
        return;
    }
    bool waits = m->at[OWNER] == OWNER_WAIT; /* only then a reference is left that keeps the header of an ended task */
    EXPECT(m->word.v == ((1 + SPARE) * WF_S_REF + (waits ? WF_S_REF | WF_S_HANDLE | WF_S_JOIN_WAKER : 0)));
    EXPECT(m->seen == m->produced); /* no wake was lost */
    EXPECT(m->bodies == 0 && m->outputs == 0 && (waits || m->at[OWNER] == END));
}

static void explore(const model *m)
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
                if (thread != OWNER || m->at[OWNER] != OWNER_WAIT || choice == 0)
                    rest = false; /* that the owner could give up is no excuse for not waking it */
                explore(&next);
            }
            go_up();
        }
    if (rest)
        check_at_rest(m);
}

/* @threads: a bit for each that takes part; the pollers and the owner always do. */
static void explore_from(bool born_idle, unsigned threads)
{
    model m = {.self_wakes = 1, .tries = 2};
    uint64_t references = 2 + SPARE;
    for (int i = 0; i < POLLERS; i++)
        m.at[i] = POLL_TAKE;
    for (int i = POLLERS; i < OWNER; i++)
        if (threads & 1u << i) {
            m.at[i] = i == ABORTER ? ABORT : i == WALKER ? WALK : i > WALKER ? LOOK : WAKE_PRODUCE;
            references += i < WALKER;
        }
    m.at[OWNER] = OWNER_START;
    wf_state_init(&m.word, WF_S_HANDLE, references);
    if (born_idle)
        wf_state_poll_pending(&m.word);
    else
        m.queued = 1;
    states = 0;
    explore(&m);
    forget_visited();
}

static unsigned with(int a, int b, int c) { return (a ? 1u << a : 0) | (b ? 1u << b : 0) | (c ? 1u << c : 0); }

enum { WAKER_A = POLLERS, WAKER_B };

Test(state_model, two_wakers_against_polls_joins_and_detach_lose_no_wake_and_end_everything_once)
{
    explore_from(false, with(WAKER_A, WAKER_B, 0));
    cr_assert_gt(states, 1000u, "%zu states", states);
    explore_from(true, with(WAKER_A, WAKER_B, 0));
}

Test(state_model, a_waker_an_aborter_and_a_walker_end_everything_once)
{
    explore_from(false, with(WAKER_A, ABORTER, WALKER));
    cr_assert_gt(states, 1000u, "%zu states", states);
    explore_from(true, with(WAKER_A, ABORTER, WALKER));
}

Test(state_model, two_wakers_an_aborter_and_a_walker_end_everything_once)
{
    explore_from(false, with(WAKER_A, WAKER_B, ABORTER) | 1u << WALKER);
    cr_assert_gt(states, 10000u, "%zu states", states);
    explore_from(true, with(WAKER_A, WAKER_B, ABORTER) | 1u << WALKER);
}

Test(state_model, two_who_look_cost_no_wake_and_no_end_and_never_have_it_at_once)
{
    explore_from(false, with(WAKER_A, LOOKER, SECOND_LOOKER));
    cr_assert_gt(states, 1000u, "%zu states", states);
    explore_from(true, with(WAKER_A, LOOKER, SECOND_LOOKER));
    explore_from(true, with(WAKER_A, ABORTER, LOOKER) | 1u << WALKER);
    cr_assert_gt(states, 1000u, "%zu states", states);
}

/* ---- threads -------------------------------------------------------------------------------------------------- */

enum { ROUNDS = 100000 };

/* One waker, one poller. The queue is a relaxed flag, so that only the word can order the plain data. */
typedef struct ping {
    wf_a64 word;
    wf_a32 queued;
    wf_a32 answered; /* the data has been read: the waker may write again */
    uint32_t data, rounds;
} ping;

static void *write_then_wake(void *arg)
{
    ping *p = arg;
    for (uint32_t i = 1; i <= p->rounds; i++) {
        while (wf_load_acq(&p->answered) != i - 1)
            sched_yield();
        p->data = i;
        if (wf_state_wake(&p->word) == WF_WAKE_ENQUEUE)
            wf_store_rlx(&p->queued, 1);
    }
    return NULL;
}

Test(state_threads, what_a_waker_wrote_is_read_by_the_poll_it_asked_for)
{
    ping p = {.rounds = (uint32_t)wf_test_scale(ROUNDS)};
    pthread_t waker;
    wf_state_init(&p.word, WF_S_HANDLE, 2);
    wf_state_poll_begin(&p.word);
    wf_state_poll_pending(&p.word);
    cr_assert_eq(pthread_create(&waker, NULL, write_then_wake, &p), 0);
    for (uint32_t i = 1; i <= p.rounds; i++) {
        while (!wf_load_rlx(&p.queued))
            sched_yield();
        wf_store_rlx(&p.queued, 0);
        wf_state_poll_begin(&p.word);
        cr_assert_eq(p.data, i);
        wf_store_rel(&p.answered, i); /* from here on the next wake finds it running, or idle */
        if (wf_state_poll_pending(&p.word) == WF_PENDING_AGAIN)
            wf_store_rlx(&p.queued, 1);
    }
    pthread_join(waker, NULL);
    cr_assert_eq(p.word.v & (WF_S_ACTIVE | WF_S_NOTIFIED), 0u);
}

/* Three wakers at once, each with its counter. */
enum { CROWD = 3 };

typedef struct crowd {
    wf_a64 word;
    wf_a32 queued, ended;
    wf_a64 produced[CROWD];
    size_t rounds;
} crowd;

typedef struct crowd_waker {
    crowd *c;
    int i;
} crowd_waker;

static void *produce_and_wake(void *arg)
{
    crowd_waker *w = arg;
    for (size_t i = 1; i <= w->c->rounds; i++) {
        wf_store_rlx(&w->c->produced[w->i], i);
        if (wf_state_wake(&w->c->word) == WF_WAKE_ENQUEUE)
            cr_assert_eq(wf_swap_acqrel(&w->c->queued, 1), 0u, "in the queue twice");
    }
    wf_add_acqrel(&w->c->ended, 1);
    return NULL;
}

Test(state_threads, three_wakers_at_once_lose_no_wake_and_enqueue_once_each_time)
{
    crowd c = {.rounds = wf_test_scale(ROUNDS)};
    crowd_waker wakers[CROWD];
    pthread_t threads[CROWD];
    size_t seen[CROWD] = {0};
    wf_state_init(&c.word, WF_S_HANDLE, 2);
    c.queued.v = 1;
    for (int i = 0; i < CROWD; i++) {
        wakers[i] = (crowd_waker){&c, i};
        cr_assert_eq(pthread_create(&threads[i], NULL, produce_and_wake, &wakers[i]), 0);
    }
    for (;;) {
        bool all_ended = wf_load_acq(&c.ended) == CROWD;
        if (!wf_load_acq(&c.queued)) {
            if (all_ended)
                break;
            sched_yield();
            continue;
        }
        wf_swap_acqrel(&c.queued, 0);
        wf_state_poll_begin(&c.word);
        for (int i = 0; i < CROWD; i++)
            seen[i] = wf_load_rlx(&c.produced[i]);
        if (wf_state_poll_pending(&c.word) == WF_PENDING_AGAIN)
            cr_assert_eq(wf_swap_acqrel(&c.queued, 1), 0u, "in the queue twice");
    }
    for (int i = 0; i < CROWD; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(seen[i], c.rounds, "the last wake was lost");
    }
    cr_assert_eq(c.word.v & (WF_S_ACTIVE | WF_S_NOTIFIED), 0u);
}

/* A completer, a joiner that may give up, and a waker: everything plain in the task is ordered by the word, and the last one
 * frees it. */
typedef struct ending {
    wf_a64 word;
    int output, joiner; /* plain */
} ending;

enum { PARTIES = 3 };

typedef struct party {
    ending **tasks;
    wf_a64 arrived, frees, wakes, asked;
    size_t rounds;
} party;

/* All begin a round together. */
static ending *next_task(party *p, size_t round)
{
    wf_add_acqrel(&p->arrived, 1);
    for (unsigned tries = 0; wf_load_acq(&p->arrived) < (round + 1) * PARTIES; tries++)
        if (tries > 100)
            sched_yield();
    return p->tasks[round];
}

static void free_ending(party *p, ending *e)
{
    e->output = e->joiner = -1; /* a race, if another has not finished */
    free(e);
    wf_add_rlx(&p->frees, 1);
}

static void *complete_all(void *arg)
{
    party *p = arg;
    for (size_t i = 0; i < p->rounds; i++) {
        ending *e = next_task(p, i);
        wf_state_poll_begin(&e->word);
        e->output = 42;
        unsigned todo = wf_state_complete(&e->word, false, 0);
        if (todo & WF_END_DROP_OUTPUT) {
            if (wf_state_complete_detached(&e->word, false, 0))
                free_ending(p, e);
        } else if (todo & WF_END_WAKE_JOINER) {
            cr_assert_eq(e->joiner, 7);
            if (wf_state_join_taken(&e->word))
                free_ending(p, e);
            wf_add_rlx(&p->wakes, 1);
        }
    }
    return NULL;
}

static void take_output(party *p, ending *e)
{
    cr_assert_eq(e->output, 42);
    if (wf_state_unref(&e->word))
        free_ending(p, e);
}

/* Wait, or leave and detach. */
static void join_or_leave(party *p, ending *e, bool leave)
{
    if (wf_state_join_lock(&e->word) == WF_JOIN_DONE) {
        take_output(p, e);
        return;
    }
    e->joiner = 7;
    if (wf_state_join_unlock(&e->word, true) == WF_JOIN_DONE) {
        take_output(p, e);
        return;
    }
    if (!leave) {
        wf_add_rlx(&p->asked, 1);
        while (!wf_state_done(&e->word))
            sched_yield();
        take_output(p, e);
        return;
    }
    if (wf_state_join_relock(&e->word) == WF_JOIN_DONE) {
        wf_add_rlx(&p->asked, 1);
        take_output(p, e);
        return;
    }
    e->joiner = 0;
    wf_state_join_unlock(&e->word, false);
    if (wf_state_detach(&e->word) == WF_DETACH_TAKE_OUTPUT)
        take_output(p, e);
}

static void *join_all(void *arg)
{
    party *p = arg;
    for (size_t i = 0; i < p->rounds; i++)
        join_or_leave(p, next_task(p, i), i % 2);
    return NULL;
}

Test(state_threads, complete_join_leave_detach_and_wake_at_once_free_each_task_exactly_once)
{
    party p = {.rounds = wf_test_scale(ROUNDS)};
    pthread_t completer, joiner;
    p.tasks = calloc(p.rounds, sizeof *p.tasks);
    for (size_t i = 0; i < p.rounds; i++) {
        p.tasks[i] = calloc(1, sizeof(ending));
        wf_state_init(&p.tasks[i]->word, WF_S_HANDLE, 3);
    }
    cr_assert_eq(pthread_create(&completer, NULL, complete_all, &p), 0);
    cr_assert_eq(pthread_create(&joiner, NULL, join_all, &p), 0);
    for (size_t i = 0; i < p.rounds; i++) {
        ending *e = next_task(&p, i);
        if (wf_state_wake_consume(&e->word) == WF_WAKE_FREE)
            free_ending(&p, e);
    }
    pthread_join(completer, NULL);
    pthread_join(joiner, NULL);
    free(p.tasks);
    cr_assert_eq(p.frees.v, p.rounds);
    cr_assert_eq(p.wakes.v, p.asked.v, "each joiner that stayed, and no other, was woken");
}
