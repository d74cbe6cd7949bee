/* wheel_test.c - the timer wheel against arithmetic done another way: a sorted array, or a search through all nodes.
 *
 * No clock, no thread: "now" is a number, and seeds are fixed, so each failure repeats. */
#include "support/test.h"

#include <base/rng.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <timer/wheel.h>

#define MS WEFT_MS
#define YEAR_MS (INT64_C(31557600) * 1000) /* Julian */

/* The same arithmetic as in the wheel would hide its mistakes: here it is in 128 bits, by loops and remainders. */
static int64_t saturate(__int128 ns) { return ns > INT64_MAX ? INT64_MAX : ns < INT64_MIN ? INT64_MIN : (int64_t)ns; }

/* The first whole millisecond at or after @when: when a node must expire. */
static __int128 due_of(int64_t when)
{
    __int128 ns = when;
    int rest = (int)(ns % MS);
    if (rest > 0)
        ns += MS - rest;
    return rest < 0 ? ns - rest : ns;
}

/* Expect @n at @due exactly: not 1 ns before. */
static void expect_on_time(wf_wheel *w, wf_wnode *n, int64_t due)
{
    cr_assert_leq(wf_wheel_next(w), due, "next is late for %" PRId64, due);
    cr_assert_null(wf_wheel_pop(w, due - 1), "early for %" PRId64, due);
    cr_assert(wf_wheel_check(w), "broken 1 ns before %" PRId64, due);
    cr_assert(wf_wheel_pop(w, due) == n, "late for %" PRId64, due);
    cr_assert(!wf_wnode_linked(n));
}

/* Sleep as a worker does, until next() and again until it fires. Returns when that was; *parks counts the sleeps. */
static int64_t park_until_fired(wf_wheel *w, wf_wnode *n, int *parks)
{
    int64_t now = INT64_MIN;
    for (*parks = 0; wf_wnode_linked(n) && *parks < 1000; ++*parks) {
        int64_t next = wf_wheel_next(w);
        cr_assert_gt(next, now, "a spin at %" PRId64, now);
        now = next;
        wf_wheel_pop(w, now);
    }
    return now;
}

/* ---- the empty wheel, and single nodes ---- */

Test(wheel, empty_has_nothing_to_wait_for)
{
    wf_wheel w;
    wf_wheel_init(&w, 12345678);
    cr_assert_eq(wf_wheel_next(&w), WEFT_FOREVER);
    cr_assert_eq(wf_wheel_count(&w), 0u);
    cr_assert_null(wf_wheel_pop(&w, 12345678));
    cr_assert_null(wf_wheel_pop(&w, WEFT_FOREVER));
    cr_assert(wf_wheel_check(&w));
}

Test(wheel, deadline_1ns_ahead_expires_at_the_next_whole_tick)
{
    const int64_t starts[] = {0, 1, MS - 2, MS - 1, MS, 63 * MS + 999998, -1, -2, -MS, -MS - 1};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        wf_wheel w;
        wf_wnode n = {0};
        wf_wheel_init(&w, starts[i]);
        wf_wheel_insert(&w, &n, starts[i] + 1);
        int64_t due = (int64_t)due_of(starts[i] + 1);
        cr_assert_eq(wf_wheel_next(&w), due);
        expect_on_time(&w, &n, due);
    }
}

Test(wheel, deadline_on_a_whole_tick_expires_at_that_very_ns)
{
    wf_wheel w;
    wf_wnode n = {0};
    wf_wheel_init(&w, 5 * MS + 1);
    wf_wheel_insert(&w, &n, 6 * MS);
    cr_assert_eq(wf_wheel_next(&w), 6 * MS);
    expect_on_time(&w, &n, 6 * MS);
}

Test(wheel, past_and_negative_deadlines_expire_at_the_next_pop)
{
    const int64_t past[] = {777 * MS, 777 * MS - 1, 1, 0, -1, -MS, INT64_MIN, INT64_MIN + 1};
    for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
        wf_wheel w;
        wf_wnode n = {0};
        wf_wheel_init(&w, 777 * MS + 5);
        wf_wheel_insert(&w, &n, past[i]);
        cr_assert(wf_wnode_linked(&n));
        cr_assert_leq(wf_wheel_next(&w), 777 * MS + 5);
        cr_assert(wf_wheel_pop(&w, 777 * MS + 5) == &n, "deadline %" PRId64, past[i]);
        cr_assert_eq(wf_wheel_count(&w), 0u);
    }
}

Test(wheel, negative_clock_is_as_exact_as_a_positive_one)
{
    wf_wheel w;
    wf_wnode n = {0};
    wf_wheel_init(&w, INT64_MIN);
    wf_wheel_insert(&w, &n, INT64_MIN);
    expect_on_time(&w, &n, (int64_t)due_of(INT64_MIN));
    wf_wheel_insert(&w, &n, -5 * MS - 1);
    expect_on_time(&w, &n, -5 * MS);
    wf_wheel_insert(&w, &n, 3 * MS); /* across zero */
    expect_on_time(&w, &n, 3 * MS);
}

/* ---- d07: cascades placed nodes relative to the old tick: 127 ms took 4,160 ms, 185 -> 4,224, 511 -> 4,544 ---- */

/* Sleep @ms from 9,000 starting ticks in a row, odd nanoseconds into each, by each way to advance. */
static void expect_sleep_on_time(int64_t ms)
{
    for (int64_t start = 0; start < 9000; start++) {
        wf_wheel w;
        wf_wnode n = {0};
        const int64_t now = start * MS + 12345, due = (start + ms + 1) * MS;
        int parks;
        wf_wheel_init(&w, 0);
        cr_assert_null(wf_wheel_pop(&w, now));
        wf_wheel_insert(&w, &n, now + ms * MS);
        if (start % 3 == 0) {
            expect_on_time(&w, &n, due);
        } else if (start % 3 == 1) {
            cr_assert_eq(park_until_fired(&w, &n, &parks), due);
            cr_assert_eq(parks, 1, "alone: no cascade needs a wake-up");
        } else {
            for (int64_t tick = now; tick < due; tick += MS)
                cr_assert_null(wf_wheel_pop(&w, tick), "early: %" PRId64 " for %" PRId64, tick, due);
            cr_assert(wf_wheel_pop(&w, due) == &n);
        }
    }
}

Test(wheel, d07_sleep_127ms_is_on_time) { expect_sleep_on_time(127); }
Test(wheel, d07_sleep_185ms_is_on_time) { expect_sleep_on_time(185); }
Test(wheel, d07_sleep_511ms_is_on_time) { expect_sleep_on_time(511); }

/* One deadline from one start, in company, on a wheel that has come from @birth. */
static void expect_boundary(__int128 birth, __int128 start, __int128 when, bool by_parking)
{
    if (birth < INT64_MIN || start <= INT64_MIN || when <= start || when > INT64_MAX - 2 * MS)
        return;
    wf_wheel w;
    wf_wnode before = {0}, n = {0}, company = {0};
    wf_wheel_init(&w, (int64_t)birth);
    wf_wheel_insert(&w, &before, (int64_t)when); /* as seen from birth: it cascades on the way to start */
    cr_assert_null(wf_wheel_pop(&w, (int64_t)start));
    wf_wheel_insert(&w, &n, (int64_t)when);
    wf_wheel_insert(&w, &company, (int64_t)when + MS); /* mostly in the same slot, so that next() must speak of slots */
    cr_assert(wf_wheel_check(&w));

    int64_t due = (int64_t)due_of((int64_t)when);
    int parks = 0;
    if (by_parking)
        cr_assert_eq(park_until_fired(&w, &before, &parks), due, "start %" PRId64, (int64_t)start);
    else
        expect_on_time(&w, &before, due);
    cr_assert_leq(parks, WF_WHEEL_LEVELS, "at most one park per cascade, and the last: %d", parks);
    cr_assert(wf_wheel_pop(&w, due) == &n, "start %" PRId64 " when %" PRId64, (int64_t)start, (int64_t)when);
    expect_on_time(&w, &company, due + MS);
    cr_assert_eq(wf_wheel_count(&w), 0u);
}

/* From @start, for each level: sleeps of whole units of it, and until its boundaries, give or take a tick or 1 ns. */
static void expect_boundaries_from(__int128 start)
{
    for (int level = 0; level < WF_WHEEL_LEVELS; level++) {
        const __int128 unit = ((__int128)1 << (WF_WHEEL_BITS * level)) * MS;
        const __int128 edge = start - ((start % unit) + unit) % unit; /* the last boundary of this level */
        const int64_t times[] = {1, 2, 3, 31, 62, 63, 64, 65};
        for (size_t t = 0; t < sizeof times / sizeof *times; t++) {
            for (int off = -1; off <= 1; off++) {
                bool park = (t + (size_t)level) % 2;
                expect_boundary(start - unit, start, start + times[t] * unit + off * MS, park);
                expect_boundary(start - 7 * MS, start, edge + times[t] * unit + off * MS, !park);
                expect_boundary(edge - 1, start, edge + times[t] * unit + off, park);
            }
        }
    }
}

Test(wheel, d07_every_level_boundary_at_odd_starting_ticks)
{
    const int64_t odd_ticks[] = {1, 3, 63, 65, 127, 129, 4095, 4097, 4159, 262143, 262145, 266239};
    for (size_t i = 0; i < sizeof odd_ticks / sizeof *odd_ticks; i++) {
        expect_boundaries_from((__int128)odd_ticks[i] * MS);
        expect_boundaries_from((__int128)odd_ticks[i] * MS + 999999);
        expect_boundaries_from((__int128)-odd_ticks[i] * MS + 1);
    }
    for (int level = 0; level < WF_WHEEL_LEVELS; level++) {
        const __int128 unit = ((__int128)1 << (WF_WHEEL_BITS * level)) * MS;
        for (int off = -1; off <= 1; off++) {
            expect_boundaries_from(unit + off * MS);
            expect_boundaries_from(-unit + off * MS);
            expect_boundaries_from(unit * 2 - MS + off);
        }
    }
}

Test(wheel, d07_overdue_nodes_are_handed_out_once_and_do_not_spin)
{
    enum { N = 1000 };
    static wf_wnode nodes[N];
    wf_wheel w;
    wf_wheel_init(&w, 0);
    for (int i = 0; i < N; i++)
        wf_wheel_insert(&w, &nodes[i], (i % 2 ? 70 : -70) * MS * i);
    int64_t now = N * 70 * MS; /* everything is overdue, most by far */
    for (int i = 0; i < N; i++)
        cr_assert_not_null(wf_wheel_pop(&w, now));
    cr_assert_null(wf_wheel_pop(&w, now));
    cr_assert_eq(wf_wheel_next(&w), WEFT_FOREVER);
    wf_wheel_insert(&w, &nodes[0], now + 1);
    cr_assert_gt(wf_wheel_next(&w), now);
}

/* ---- order ---- */

Test(wheel, nodes_of_one_tick_expire_in_order_of_insertion_across_cascades)
{
    enum { N = 300 };
    static wf_wnode nodes[N];
    wf_wheel w;
    const int64_t when = 300000 * MS;
    wf_wheel_init(&w, 0);
    for (int i = 0; i < N; i++) { /* ever closer to it: placed on levels 3, 2, 1 and 0 */
        cr_assert_null(wf_wheel_pop(&w, when - when / (1 + i * i)));
        wf_wheel_insert(&w, &nodes[i], when - i);
    }
    cr_assert(wf_wheel_check(&w));
    for (int i = 0; i < N; i++)
        cr_assert(wf_wheel_pop(&w, when) == &nodes[i], "place %d", i);
}

Test(wheel, pop_far_too_late_still_goes_in_order_of_ticks)
{
    const int64_t ms[] = {500000000, 1, 4096, 63, 64, 300000, 65, 4095};
    const int sorted[] = {1, 3, 4, 6, 7, 2, 5, 0};
    wf_wnode n[8] = {0};
    wf_wheel w;
    wf_wheel_init(&w, 0);
    for (int i = 0; i < 8; i++)
        wf_wheel_insert(&w, &n[i], ms[i] * MS);
    for (int i = 0; i < 8; i++)
        cr_assert(wf_wheel_pop(&w, INT64_MAX) == &n[sorted[i]], "place %d", i);
    cr_assert_null(wf_wheel_pop(&w, INT64_MAX));
}

/* What wheel.h says of draining: the same now serves what is put back at or before it, and the future ends the loop. */
Test(wheel, node_inserted_while_popping_takes_part_if_due_and_ends_the_loop_if_not)
{
    wf_wheel w;
    wf_wnode n = {0};
    const int64_t now = 10 * MS + 3;
    wf_wheel_init(&w, 0);
    wf_wheel_insert(&w, &n, 5 * MS);
    for (int round = 0; round < 4; round++) {
        cr_assert(wf_wheel_pop(&w, now) == &n);
        wf_wheel_insert(&w, &n, round % 2 ? now - 3 : 4 * MS);
    }
    cr_assert(wf_wheel_pop(&w, now) == &n);
    wf_wheel_insert(&w, &n, now + 1);
    cr_assert_null(wf_wheel_pop(&w, now));
    expect_on_time(&w, &n, 11 * MS);
}

Test(wheel, clock_that_steps_back_counts_as_the_wheels_time)
{
    wf_wheel w;
    wf_wnode n = {0};
    wf_wheel_init(&w, 100 * MS);
    wf_wheel_insert(&w, &n, 90 * MS);
    cr_assert(wf_wheel_pop(&w, 20 * MS) == &n);
    wf_wheel_insert(&w, &n, 200 * MS);
    cr_assert_null(wf_wheel_pop(&w, -50 * MS));
    cr_assert(wf_wheel_check(&w));
    expect_on_time(&w, &n, 200 * MS);
}

/* ---- linking ---- */

Test(wheel, remove_of_an_unlinked_node_does_nothing)
{
    wf_wheel w;
    wf_wnode zeroed = {0}, inited, other = {0};
    memset(&inited, 0xA5, sizeof inited);
    wf_wnode_init(&inited);
    wf_wheel_init(&w, 0);
    wf_wheel_insert(&w, &other, MS);
    wf_wheel_remove(&w, &zeroed);
    wf_wheel_remove(&w, &inited);
    cr_assert_eq(wf_wheel_count(&w), 1u);
    wf_wheel_remove(&w, &other);
    wf_wheel_remove(&w, &other);
    cr_assert_eq(wf_wheel_count(&w), 0u);
    cr_assert(wf_wheel_check(&w));
}

Test(wheel, remove_after_pop_and_insert_after_either_work)
{
    wf_wheel w;
    wf_wnode n;
    wf_wnode_init(&n);
    wf_wheel_init(&w, 0);
    wf_wheel_insert(&w, &n, MS);
    cr_assert(wf_wnode_linked(&n));
    cr_assert(wf_wheel_pop(&w, MS) == &n);
    wf_wheel_remove(&w, &n);
    wf_wheel_insert(&w, &n, 900 * MS);
    wf_wheel_remove(&w, &n);
    cr_assert(!wf_wnode_linked(&n));
    cr_assert_null(wf_wheel_pop(&w, 1000 * MS));
    wf_wheel_insert(&w, &n, 2000 * MS);
    expect_on_time(&w, &n, 2000 * MS);
}

Test(wheel, insert_of_a_linked_node_moves_it)
{
    wf_wheel w;
    wf_wnode n = {0}, other = {0};
    wf_wheel_init(&w, 0);
    wf_wheel_insert(&w, &other, 5000 * MS);
    wf_wheel_insert(&w, &n, 10 * MS);
    wf_wheel_insert(&w, &n, 5000 * MS); /* later, behind the other */
    cr_assert_eq(wf_wheel_count(&w), 2u);
    cr_assert_null(wf_wheel_pop(&w, 10 * MS));
    wf_wheel_insert(&w, &n, 20 * MS); /* earlier */
    cr_assert(wf_wheel_check(&w));
    expect_on_time(&w, &n, 20 * MS);
    expect_on_time(&w, &other, 5000 * MS);
}

/* d25: a dropped sleep stayed in the wheel until its deadline. */
Test(wheel, d25_removed_node_leaves_no_slot_to_wake_up_for)
{
    enum { N = 500 };
    static wf_wnode nodes[N];
    wf_wheel w;
    wf_wheel_init(&w, 0);
    for (int i = 0; i < N; i++)
        wf_wheel_insert(&w, &nodes[i], 3600 * WEFT_SEC + i % 7);
    for (int i = 0; i < N; i++)
        wf_wheel_remove(&w, &nodes[i * 7 % N]);
    cr_assert_eq(wf_wheel_count(&w), 0u);
    cr_assert_eq(wf_wheel_next(&w), WEFT_FOREVER);
    cr_assert(wf_wheel_check(&w));
}

Test(wheel, check_notices_a_lost_bit_a_wrong_slot_and_a_broken_link)
{
    wf_wheel w;
    wf_wnode n = {0}, other = {0};
    wf_wheel_init(&w, 0);
    wf_wheel_insert(&w, &n, 500 * MS);
    wf_wheel_insert(&w, &other, 500 * MS);
    cr_assert(wf_wheel_check(&w));
    w.occupied[1] ^= 1u << 7;
    cr_assert(!wf_wheel_check(&w));
    w.occupied[1] ^= 1u << 7;
    n.tick += 64;
    cr_assert(!wf_wheel_check(&w));
    n.tick -= 64;
    wf_node *next = n.link.next;
    n.link.next = &n.link; /* and a loop does not hang the walker */
    cr_assert(!wf_wheel_check(&w));
    n.link.next = next;
    other.link.prev = &other.link;
    cr_assert(!wf_wheel_check(&w));
    other.link.prev = &n.link;
    cr_assert(wf_wheel_check(&w));
}

/* ---- far away ---- */

Test(wheel, deadline_500_years_ahead_is_exact_where_the_clock_can_reach_it)
{
    const int64_t start = INT64_MIN + 12345; /* an int64_t spans 584 years: only from its beginning does one see 500 */
    const int64_t when = (int64_t)((__int128)start + (__int128)500 * YEAR_MS * MS);
    wf_wheel w;
    wf_wnode n = {0};
    wf_wheel_init(&w, start);
    wf_wheel_insert(&w, &n, when);
    cr_assert(wf_wheel_check(&w));
    expect_on_time(&w, &n, (int64_t)due_of(when));
}

Test(wheel, deadline_500_years_ahead_of_a_positive_clock_saturates_and_never_expires)
{
    wf_wheel w;
    wf_wnode n = {0};
    wf_wheel_init(&w, 7 * MS);
    wf_wheel_insert(&w, &n, saturate((__int128)7 * MS + (__int128)500 * YEAR_MS * MS));
    cr_assert_eq(wf_wheel_next(&w), WEFT_FOREVER);
    cr_assert_null(wf_wheel_pop(&w, WEFT_FOREVER - 1));
    cr_assert_null(wf_wheel_pop(&w, WEFT_FOREVER));
    cr_assert(wf_wheel_check(&w));
    wf_wheel_remove(&w, &n);
    cr_assert_eq(wf_wheel_count(&w), 0u);
}

Test(wheel, last_tick_of_the_clock_expires_and_the_rest_of_it_never)
{
    const int64_t last = INT64_MAX / MS * MS;
    wf_wheel w;
    wf_wnode n = {0}, never = {0};
    wf_wheel_init(&w, INT64_MIN);
    wf_wheel_insert(&w, &never, last + 1);
    wf_wheel_insert(&w, &n, last);
    expect_on_time(&w, &n, last);
    cr_assert_eq(wf_wheel_next(&w), WEFT_FOREVER);
    cr_assert_null(wf_wheel_pop(&w, INT64_MAX));
}

/* By ticks this would take days. */
Test(wheel, idle_centuries_are_skipped_not_walked)
{
    wf_wheel w;
    wf_wnode n[290] = {0};
    wf_wheel_init(&w, 1);
    for (int year = 0; year < 290; year++)
        wf_wheel_insert(&w, &n[year], (year + 1) * YEAR_MS * MS);
    for (int year = 0; year < 290; year++)
        expect_on_time(&w, &n[year], (year + 1) * YEAR_MS * MS);
}

/* ---- at random, against a reference ---- */

typedef struct timer {
    wf_wnode node;
    int64_t when;
    int64_t due;  /* the tick's start; never before the wheel's time at insertion */
    uint64_t seq; /* order of insertion */
} timer;

#define TIMER_OF(n) wf_container(n, timer, node)

/* Any magnitude from 1 ns to 292 years is as likely as any other. */
static int64_t random_span(wf_rng *r) { return (int64_t)(wf_rng_next(r) >> (1 + wf_rng_below(r, 63))); }

static int by_expiry(const void *a, const void *b)
{
    const timer *x = *(timer *const *)a, *y = *(timer *const *)b;
    if (x->due != y->due)
        return x->due < y->due ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

enum { MILLION = 1000000 };

static timer **insert_million(wf_wheel *w, timer *timers, wf_rng *r, int64_t start)
{
    timer **sorted = malloc(MILLION * sizeof(timer *));
    cr_assert_not_null(sorted);
    for (uint64_t i = 0; i < MILLION; i++) {
        timer *t = sorted[i] = &timers[i];
        t->when = saturate((__int128)start + random_span(r) - MS); /* some are past */
        if (t->when > INT64_MAX / MS * MS)
            t->when = INT64_MAX / MS * MS;
        t->due = (int64_t)due_of(t->when);
        if (t->due < start / MS * MS)
            t->due = start / MS * MS;
        t->seq = i;
        wf_wheel_insert(w, &t->node, t->when);
    }
    qsort(sorted, MILLION, sizeof *sorted, by_expiry);
    return sorted;
}

/* The reference's first timer that has not been removed; NULL at the end. */
static timer *first_linked(timer **sorted, size_t *cursor)
{
    while (*cursor < MILLION && !wf_wnode_linked(&sorted[*cursor]->node))
        ++*cursor;
    return *cursor < MILLION ? sorted[*cursor] : NULL;
}

/* Drain at @now, and expect what the reference has until then, in its order. Returns how many those were. */
static size_t expect_drain(wf_wheel *w, int64_t now, timer **sorted, size_t *cursor)
{
    size_t fired = 0;
    timer *expected = first_linked(sorted, cursor);
    for (wf_wnode *n; (n = wf_wheel_pop(w, now)); fired++) {
        cr_assert(TIMER_OF(n) == expected, "out of order at %" PRId64, now);
        cr_assert_leq(expected->when, now, "early");
        expected = first_linked(sorted, cursor);
    }
    cr_assert(!expected || expected->due > now, "late at %" PRId64, now);
    cr_assert(!expected || wf_wheel_next(w) <= expected->due, "next is late at %" PRId64, now);
    cr_assert(!expected || wf_wheel_next(w) > now, "next spins at %" PRId64, now);
    return fired;
}

Test(wheel, million_random_timers_with_removals_match_a_sorted_reference)
{
    const int64_t start = 185 * MS + 12347;
    timer *timers = calloc(MILLION, sizeof *timers);
    cr_assert_not_null(timers);
    wf_wheel w;
    wf_rng r;
    wf_rng_seed(&r, 7);
    wf_wheel_init(&w, start);
    timer **sorted = insert_million(&w, timers, &r, start);
    cr_assert(wf_wheel_check(&w));

    size_t cursor = 0, fired = 0, removed = 0;
    for (int64_t now = start; wf_wheel_next(&w) != WEFT_FOREVER;) {
        fired += expect_drain(&w, now, sorted, &cursor);
        for (int i = 0; i < 3; i++) {
            timer *t = &timers[wf_rng_below(&r, MILLION)];
            removed += wf_wnode_linked(&t->node);
            wf_wheel_remove(&w, &t->node);
        }
        if (wf_rng_below(&r, 20000) == 0) {
            cr_assert(wf_wheel_check(&w));
            cr_assert_eq(wf_wheel_count(&w), MILLION - fired - removed);
        }
        now = saturate((__int128)wf_wheel_next(&w) + wf_rng_below(&r, 3 * MS)); /* up to 3 ticks of oversleeping */
    }
    cr_assert_null(first_linked(sorted, &cursor));
    cr_assert_gt(removed, 100000u, "a fair share was removed: %zu", removed);
    cr_assert_gt(fired, 100000u, "a fair share expired: %zu", fired);
    cr_assert_eq(fired + removed, (size_t)MILLION);
    cr_assert_eq(wf_wheel_count(&w), 0u);
    free(sorted);
    free(timers);
}

enum { FEW = 40 };

/* The last whole millisecond not after @now, or the clock's beginning. */
static int64_t floor_ms(int64_t now) { return saturate(due_of(saturate((__int128)now - (MS - 1)))); }

/* The timer that must be popped next, by looking at them all. */
static timer *first_of_few(timer *timers)
{
    timer *first = NULL;
    for (int i = 0; i < FEW; i++) {
        timer *t = &timers[i], *other = first;
        if (wf_wnode_linked(&t->node) && (!first || by_expiry(&t, &other) < 0))
            first = t;
    }
    return first;
}

/* One call on the wheel. *wheel_time follows the wheel's own: the last now's tick, or that of the node popped. */
static void random_step(wf_wheel *w, timer *timers, wf_rng *r, int64_t *now, int64_t *wheel_time)
{
    static uint64_t seq;
    timer *t = &timers[wf_rng_below(r, FEW)];
    uint32_t dice = wf_rng_below(r, 10);
    if (dice < 5) { /* insert, or move */
        t->when = saturate((__int128)*now + (dice ? random_span(r) >> 20 : -random_span(r)));
        t->due = WF_MAX(saturate(due_of(t->when)), *wheel_time);
        t->seq = ++seq;
        wf_wheel_insert(w, &t->node, t->when);
    } else if (dice < 7) {
        wf_wheel_remove(w, &t->node);
    } else { /* advance, mostly a little, and take one node */
        *now = saturate((__int128)*now + (random_span(r) >> (dice == 9 ? 20 : 40)));
        timer *expected = first_of_few(timers);
        wf_wnode *n = wf_wheel_pop(w, *now);
        cr_assert(n == (expected && expected->due <= *now ? &expected->node : NULL), "at %" PRId64, *now);
        *wheel_time = n ? TIMER_OF(n)->due : floor_ms(*now);
    }
}

Test(wheel, random_inserts_moves_removals_and_pops_match_a_search_through_all)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        timer timers[FEW] = {0};
        wf_wheel w;
        wf_rng r;
        wf_rng_seed(&r, seed);
        int64_t now = seed % 2 ? random_span(&r) >> 3 : -random_span(&r);
        int64_t wheel_time = floor_ms(now);
        wf_wheel_init(&w, now);
        for (int step = 0; step < 2000; step++) {
            random_step(&w, timers, &r, &now, &wheel_time);
            timer *first = first_of_few(timers);
            cr_assert(wf_wheel_check(&w), "seed %" PRIu64 " step %d", seed, step);
            cr_assert(first ? wf_wheel_next(&w) <= first->due : wf_wheel_next(&w) == WEFT_FOREVER,
                      "next is late: seed %" PRIu64 " step %d", seed, step);
        }
    }
}

/* Level 0 is exact in any company: what shares the current block of 64 ticks is told to the tick. */
Test(wheel, next_is_exact_on_level_0_and_a_slots_start_above)
{
    wf_wheel w;
    wf_wnode a = {0}, b = {0}, c = {0}, d = {0};
    wf_wheel_init(&w, 65 * MS);
    wf_wheel_insert(&w, &a, 200 * MS); /* level 1, slot 3: ticks 192 to 255 */
    cr_assert_eq(wf_wheel_next(&w), 200 * MS, "alone in its slot: exact");
    wf_wheel_insert(&w, &b, 210 * MS);
    cr_assert_eq(wf_wheel_next(&w), 192 * MS);
    wf_wheel_insert(&w, &c, 127 * MS);
    wf_wheel_insert(&w, &d, 127 * MS - 1);
    cr_assert_eq(wf_wheel_next(&w), 127 * MS);
    wf_wheel_remove(&w, &c);
    wf_wheel_remove(&w, &d);
    cr_assert_null(wf_wheel_pop(&w, 192 * MS));
    cr_assert_eq(wf_wheel_next(&w), 200 * MS, "after the cascade: exact");
    cr_assert(wf_wheel_pop(&w, 255 * MS) == &a);
    cr_assert(wf_wheel_pop(&w, 255 * MS) == &b);
}

/* It was said to begin at WEFT_FOREVER, so nobody would have woken for what was overdue in it. */
Test(wheel, the_very_first_tick_begins_at_the_beginning)
{
    wf_wheel w;
    wf_wnode n = {0};
    wf_wheel_init(&w, INT64_MIN);
    cr_assert_eq(wf_wheel_time(&w), INT64_MIN);
    wf_wheel_insert(&w, &n, INT64_MIN);
    cr_assert_leq(wf_wheel_next(&w), INT64_MIN + MS);
    wf_wheel_remove(&w, &n);
}
