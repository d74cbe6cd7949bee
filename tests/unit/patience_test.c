/* patience_test.c - when a worker watches for a ring before it sleeps, and for how long. */
#include <runtime/patience.h>
#include <support/test.h>

enum { MOMENT = 1000 };

static wf_patience patient(void) { return (wf_patience){.moment = MOMENT}; }

static void learn(wf_patience *p, unsigned times, uint64_t waited)
{
    while (times-- > 0)
        wf_patience_learn(p, waited);
}

Test(patience, a_new_one_does_not_watch)
{
    wf_patience p = patient();
    cr_assert_eq(wf_patience_now(&p), 0);
}

Test(patience, a_ring_that_came_in_time_is_watched_for_the_next_time)
{
    wf_patience p = patient();
    wf_patience_learn(&p, MOMENT);
    cr_assert_eq(wf_patience_now(&p), MOMENT);
}

Test(patience, where_sleeps_end_without_a_ring_it_does_not_watch_any_more)
{
    wf_patience p = patient();
    learn(&p, 1000, 1);
    learn(&p, WF_PATIENCE_TRUST_MOST / 2, WF_PATIENCE_NOT_RUNG);
    cr_assert_eq(wf_patience_now(&p), 0);
}

Test(patience, a_ring_in_time_is_outweighed_by_a_sleep_without_one)
{
    wf_patience p = patient();
    wf_patience_learn(&p, 1);
    wf_patience_learn(&p, WF_PATIENCE_NOT_RUNG);
    cr_assert_eq(wf_patience_now(&p), 0);
}

Test(patience, of_the_late_ones_a_few_in_a_row_are_watched_for)
{
    wf_patience p = patient();
    unsigned watched = 0;
    for (int i = 0; i < 10 * WF_PATIENCE_ROUND; i++) {
        watched += wf_patience_now(&p) == WF_PATIENCE_LATE * MOMENT;
        wf_patience_learn(&p, MOMENT + 1);
    }
    cr_assert_eq(watched, 10 * WF_PATIENCE_TRIES);
}

Test(patience, a_sleep_without_a_ring_begins_the_late_ones_anew)
{
    wf_patience p = patient();
    for (int i = 0; i < 10; i++) {
        learn(&p, WF_PATIENCE_ROUND - WF_PATIENCE_TRIES - 1, MOMENT + 1);
        cr_assert_eq(wf_patience_now(&p), 0);
        wf_patience_learn(&p, WF_PATIENCE_LATE * MOMENT + 1);
    }
}

/* Each is late by what a wake costs, until one is watched for. */
Test(patience, two_that_wake_each_other_from_sleep_come_to_watch)
{
    enum { WAKE = 5 * MOMENT, AT_ONCE = MOMENT / 10 };
    wf_patience p[2] = {patient(), patient()};
    int i = 0;
    for (bool watched = false; i < 4 * WF_PATIENCE_ROUND && !(p[0].trust > 0 && p[1].trust > 0); i++) {
        /* Whoever was rung while it watched answers at once; who slept, after a wake. */
        uint64_t waits = watched ? AT_ONCE : WAKE;
        wf_patience *waiter = &p[i % 2];
        watched = wf_patience_now(waiter) >= waits;
        wf_patience_learn(waiter, waits);
    }
    cr_assert_lt(i, 4 * WF_PATIENCE_ROUND);
    cr_assert_eq(wf_patience_now(&p[0]), MOMENT);
    cr_assert_eq(wf_patience_now(&p[1]), MOMENT);
}

Test(patience, without_a_counter_it_never_watches)
{
    wf_patience p = {.moment = 0};
    for (int i = 0; i < 2 * WF_PATIENCE_ROUND; i++) {
        wf_patience_learn(&p, 0);
        cr_assert_eq(wf_patience_now(&p), 0);
    }
}
