/* time_test.c - intervals, timeouts and retries, by a clock that stands still while anything runs: so times are exact. */
#include <math.h>
#include <support/test.h>
#include <weft/runtime.h>
#include <weft/scope.h>
#include <weft/task.h>
#include <weft/time.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void run_paused(weft_fn fn, void *arg)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, fn, arg, NULL), 0);
}

static void sleep_ms(int64_t ms) { cr_assert_eq(weft_sleep(ms * WEFT_MS), 0); }

/* Run @fn as a task, abort it after 5 ms, and see it end. What it looks at it looks at behind a shield. */
static void abort_soon(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    sleep_ms(5);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
}

/* ---- intervals ----------------------------------------------------------------------------------------------- */

static const weft_missed behaviours[] = {WEFT_MISSED_BURST, WEFT_MISSED_DELAY, WEFT_MISSED_SKIP};

static weft_interval interval(int64_t period, weft_missed behaviour)
{
    weft_interval iv;
    cr_assert_eq(weft_interval_init(&iv, period, behaviour), 0);
    return iv;
}

/* The next tick was due at @due and is taken at @now. */
static void expect_tick(weft_interval *iv, int64_t due, int64_t now)
{
    int64_t scheduled = -1;
    cr_assert_eq(weft_interval_tick(iv, &scheduled), 0);
    cr_assert_eq(scheduled, due);
    cr_assert_eq(weft_now(), now);
}

/* The first one is due at once. Returns when. */
static int64_t first_tick(weft_interval *iv)
{
    int64_t now = weft_now();
    expect_tick(iv, now, now);
    cr_assert_eq(iv->missed, 0);
    return now;
}

Test(time, an_interval_wants_a_period_and_a_behaviour)
{
    weft_interval iv;
    cr_assert_eq(weft_interval_init(&iv, 0, WEFT_MISSED_BURST), WEFT_EINVAL);
    cr_assert_eq(weft_interval_init(&iv, -WEFT_SEC, WEFT_MISSED_DELAY), WEFT_EINVAL);
    cr_assert_eq(weft_interval_init(&iv, INT64_MIN, WEFT_MISSED_SKIP), WEFT_EINVAL);
    cr_assert_eq(weft_interval_init(&iv, WEFT_SEC, (weft_missed)(WEFT_MISSED_SKIP + 1)), WEFT_EINVAL);
    cr_assert_eq(weft_interval_init(NULL, WEFT_SEC, WEFT_MISSED_SKIP), WEFT_EINVAL);
    cr_assert_eq(weft_interval_tick(NULL, NULL), WEFT_EINVAL);
    memset(&iv, 0, sizeof iv);
    cr_assert_eq(weft_interval_tick(&iv, NULL), WEFT_EINVAL, "nobody has set it up");
    weft_interval_reset(NULL);
}

static void *first_tick_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        weft_interval iv = interval(10 * WEFT_MS, behaviours[i]);
        sleep_ms(25);
        int64_t first = first_tick(&iv);
        expect_tick(&iv, first + 10 * WEFT_MS, first + 10 * WEFT_MS);
        cr_assert_eq(iv.missed, 0);
    }
    return NULL;
}

Test(time, an_interval_begins_with_its_first_tick) { run_paused(first_tick_root, NULL); }

static void *punctual_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        weft_interval iv = interval(10 * WEFT_MS, behaviours[i]);
        int64_t due = first_tick(&iv);
        for (int turn = 0; turn < 8; turn++) {
            sleep_ms(turn); /* some work, done in time */
            due += 10 * WEFT_MS;
            expect_tick(&iv, due, due);
        }
        cr_assert_eq(iv.missed, 0);
    }
    return NULL;
}

Test(time, who_is_never_late_gets_a_tick_each_period) { run_paused(punctual_root, NULL); }

static void *burst_root(void *arg)
{
    (void)arg;
    weft_interval iv = interval(10 * WEFT_MS, WEFT_MISSED_BURST);
    int64_t first = first_tick(&iv), late = first + 35 * WEFT_MS;
    sleep_ms(35);
    expect_tick(&iv, first + 10 * WEFT_MS, late);
    expect_tick(&iv, first + 20 * WEFT_MS, late);
    cr_assert_eq(iv.missed, 2);
    expect_tick(&iv, first + 30 * WEFT_MS, late);
    expect_tick(&iv, first + 40 * WEFT_MS, first + 40 * WEFT_MS);
    cr_assert_eq(iv.missed, 2, "the others were less than a period late");
    return NULL;
}

Test(time, burst_makes_up_for_each_missed_tick) { run_paused(burst_root, NULL); }

static void *delay_root(void *arg)
{
    (void)arg;
    weft_interval iv = interval(10 * WEFT_MS, WEFT_MISSED_DELAY);
    int64_t first = first_tick(&iv);
    sleep_ms(35);
    expect_tick(&iv, first + 10 * WEFT_MS, first + 35 * WEFT_MS);
    cr_assert_eq(iv.missed, 3, "one taken late, those at 20 and 30 left out");
    expect_tick(&iv, first + 45 * WEFT_MS, first + 45 * WEFT_MS);
    sleep_ms(13);
    expect_tick(&iv, first + 55 * WEFT_MS, first + 58 * WEFT_MS);
    expect_tick(&iv, first + 68 * WEFT_MS, first + 68 * WEFT_MS);
    cr_assert_eq(iv.missed, 3, "a little late is not missed");
    return NULL;
}

Test(time, delay_starts_the_period_when_a_tick_is_taken) { run_paused(delay_root, NULL); }

static void *skip_root(void *arg)
{
    (void)arg;
    weft_interval iv = interval(10 * WEFT_MS, WEFT_MISSED_SKIP);
    int64_t first = first_tick(&iv);
    sleep_ms(35);
    expect_tick(&iv, first + 10 * WEFT_MS, first + 35 * WEFT_MS);
    cr_assert_eq(iv.missed, 3, "one taken late, those at 20 and 30 left out");
    expect_tick(&iv, first + 40 * WEFT_MS, first + 40 * WEFT_MS);
    sleep_ms(13);
    expect_tick(&iv, first + 50 * WEFT_MS, first + 53 * WEFT_MS);
    expect_tick(&iv, first + 60 * WEFT_MS, first + 60 * WEFT_MS);
    cr_assert_eq(iv.missed, 3, "a little late is not missed");
    sleep_ms(20);
    expect_tick(&iv, first + 70 * WEFT_MS, first + 80 * WEFT_MS);
    expect_tick(&iv, first + 90 * WEFT_MS, first + 90 * WEFT_MS);
    cr_assert_eq(iv.missed, 5, "one taken late, and the one whose time it just was left out");
    return NULL;
}

Test(time, skip_stays_at_multiples_of_the_period) { run_paused(skip_root, NULL); }

static void *reset_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        weft_interval iv = interval(10 * WEFT_MS, behaviours[i]);
        weft_interval_reset(&iv);
        int64_t due = weft_now() + 10 * WEFT_MS;
        expect_tick(&iv, due, due);
        sleep_ms(4);
        weft_interval_reset(&iv);
        due = weft_now() + 10 * WEFT_MS;
        expect_tick(&iv, due, due);
        sleep_ms(33);
        weft_interval_reset(&iv);
        due = weft_now() + 10 * WEFT_MS;
        expect_tick(&iv, due, due);
        expect_tick(&iv, due + 10 * WEFT_MS, due + 10 * WEFT_MS);
        cr_assert_eq(iv.missed, 0, "what a reset forgets was not missed");
    }
    return NULL;
}

Test(time, after_a_reset_the_next_tick_is_one_period_away) { run_paused(reset_root, NULL); }

/* Met by the abort while it waits for its second tick. */
static void *tick_until_aborted(void *behaviour)
{
    weft_interval iv = interval(20 * WEFT_MS, *(const weft_missed *)behaviour);
    int64_t first = first_tick(&iv), scheduled = -1;
    cr_assert_eq(weft_interval_tick(&iv, &scheduled), WEFT_ECANCELED);
    cr_assert_eq(weft_now(), first + 5 * WEFT_MS);
    cr_assert_eq(weft_interval_tick(&iv, &scheduled), WEFT_ECANCELED);
    cr_assert_eq(scheduled, -1);
    cr_assert_eq(weft_shield_enter(), 0);
    expect_tick(&iv, first + 20 * WEFT_MS, first + 20 * WEFT_MS);
    cr_assert_eq(iv.missed, 0);
    cr_assert_eq(weft_shield_leave(), 0);
    return NULL;
}

/* Met by the abort when a tick is long due. */
static void *tick_when_aborted(void *behaviour)
{
    weft_interval iv = interval(WEFT_MS, *(const weft_missed *)behaviour);
    int64_t scheduled = -1;
    cr_assert_eq(weft_shield_enter(), 0);
    int64_t first = first_tick(&iv);
    sleep_ms(10);
    cr_assert_eq(weft_shield_leave(), 0);
    cr_assert_eq(weft_interval_tick(&iv, &scheduled), WEFT_ECANCELED);
    cr_assert_eq(scheduled, -1);
    cr_assert_eq(iv.missed, 0);
    cr_assert_eq(weft_shield_enter(), 0);
    expect_tick(&iv, first + WEFT_MS, first + 10 * WEFT_MS);
    cr_assert_eq(iv.missed, *(const weft_missed *)behaviour == WEFT_MISSED_BURST ? 1 : 10);
    cr_assert_eq(weft_shield_leave(), 0);
    return NULL;
}

/* Met by the abort before its first tick. */
static void *tick_first_when_aborted(void *behaviour)
{
    weft_interval iv = interval(10 * WEFT_MS, *(const weft_missed *)behaviour);
    cr_assert_eq(weft_shield_enter(), 0);
    sleep_ms(10);
    cr_assert_eq(weft_shield_leave(), 0);
    cr_assert_eq(weft_interval_tick(&iv, NULL), WEFT_ECANCELED);
    cr_assert_eq(weft_shield_enter(), 0);
    sleep_ms(7);
    first_tick(&iv);
    cr_assert_eq(weft_shield_leave(), 0);
    return NULL;
}

static void *interrupted_tick_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        weft_missed behaviour = behaviours[i];
        abort_soon(tick_until_aborted, &behaviour);
        abort_soon(tick_when_aborted, &behaviour);
        abort_soon(tick_first_when_aborted, &behaviour);
    }
    return NULL;
}

Test(time, an_interrupted_tick_is_not_taken) { run_paused(interrupted_tick_root, NULL); }

static void *tick_for_ever(void *behaviour)
{
    weft_interval iv = interval(INT64_MAX, *(const weft_missed *)behaviour);
    first_tick(&iv);
    cr_assert_eq(weft_interval_tick(&iv, NULL), WEFT_ECANCELED, "a second one never comes");
    weft_interval_reset(&iv);
    cr_assert_eq(weft_interval_tick(&iv, NULL), WEFT_ECANCELED);
    cr_assert_eq(iv.missed, 0);
    return NULL;
}

static void *huge_period_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        weft_missed behaviour = behaviours[i];
        abort_soon(tick_for_ever, &behaviour);
    }
    return NULL;
}

Test(time, a_period_longer_than_time_has_one_tick) { run_paused(huge_period_root, NULL); }

static void *tiny_period_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        weft_interval iv = interval(1, behaviours[i]);
        int64_t first = first_tick(&iv);
        sleep_ms(1);
        expect_tick(&iv, first + 1, first + WEFT_MS);
        cr_assert_eq(iv.missed, behaviours[i] == WEFT_MISSED_BURST ? 1 : WEFT_MS);
    }
    return NULL;
}

Test(time, a_period_of_a_nanosecond_is_missed_by_the_million) { run_paused(tiny_period_root, NULL); }

Test(time, ordinary_threads_have_intervals_too)
{
    for (int i = 0; i < 3; i++) {
        weft_interval iv = interval(3 * WEFT_MS, behaviours[i]);
        int64_t began = weft_now(), last = began - 1;
        for (int turn = 0; turn < 4; turn++) {
            int64_t scheduled = -1;
            cr_assert_eq(weft_interval_tick(&iv, &scheduled), 0);
            cr_assert_gt(scheduled, last);
            cr_assert_geq(weft_now(), scheduled);
            last = scheduled;
        }
        cr_assert_geq(weft_now() - began, 9 * WEFT_MS);
    }
}

/* ---- retries ------------------------------------------------------------------------------------------------- */

/* One wait, and how long it was. */
static int64_t backoff_wait(weft_backoff *b)
{
    int64_t before = weft_now();
    cr_assert_eq(weft_backoff_wait(b), 0);
    return weft_now() - before;
}

static void *growth_root(void *arg)
{
    (void)arg;
    weft_backoff doubled = {.initial = 5 * WEFT_MS, .max = 35 * WEFT_MS, .jitter = -1};
    static const int doubles[] = {5, 10, 20, 35, 35, 35}, rounded_up[] = {4, 6, 9, 14, 21};
    for (int i = 0; i < 6; i++)
        cr_assert_eq(backoff_wait(&doubled), doubles[i] * WEFT_MS);
    weft_backoff by_half = {.initial = 4 * WEFT_MS, .factor = 1.5, .jitter = -INFINITY};
    for (int i = 0; i < 5; i++)
        cr_assert_eq(backoff_wait(&by_half), rounded_up[i] * WEFT_MS);
    weft_backoff constant = {.initial = 4 * WEFT_MS, .factor = 1, .jitter = -0.5};
    for (int i = 0; i < 5; i++)
        cr_assert_eq(backoff_wait(&constant), 4 * WEFT_MS);
    weft_backoff tenth = {.initial = 10 * WEFT_MS, .factor = 1.1, .jitter = -1};
    cr_assert_eq(backoff_wait(&tenth), 10 * WEFT_MS);
    cr_assert_eq(backoff_wait(&tenth), 11 * WEFT_MS, "not a nanosecond more, which would be a millisecond");
    return NULL;
}

Test(time, delays_grow_by_the_factor_up_to_the_longest) { run_paused(growth_root, NULL); }

static void *default_root(void *arg)
{
    (void)arg;
    weft_backoff b = WEFT_BACKOFF_INIT;
    int64_t delay = backoff_wait(&b);
    cr_assert_geq(delay, 50 * WEFT_MS);
    cr_assert_leq(delay, 100 * WEFT_MS);
    delay = backoff_wait(&b);
    cr_assert_geq(delay, 100 * WEFT_MS);
    cr_assert_leq(delay, 200 * WEFT_MS);
    weft_backoff long_one = {.initial = 40 * WEFT_SEC, .jitter = -1};
    cr_assert_eq(backoff_wait(&long_one), 30 * WEFT_SEC);
    return NULL;
}

Test(time, a_backoff_of_zeros_begins_at_100_ms_and_doubles_up_to_30_s) { run_paused(default_root, NULL); }

/* Many waits of up to 20 ms, of which @jitter is left to chance: between @shortest and 20, and not all alike. */
static void expect_jitter(double jitter, int64_t shortest)
{
    weft_backoff b = {.initial = 20 * WEFT_MS, .factor = 1, .jitter = jitter};
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < 40; i++) {
        int64_t delay = backoff_wait(&b);
        cr_assert_geq(delay, shortest * WEFT_MS);
        cr_assert_leq(delay, 20 * WEFT_MS);
        least = delay < least ? delay : least;
        most = delay > most ? delay : most;
    }
    cr_assert_geq(most - least, (20 - shortest) * WEFT_MS / 2, "it should be anywhere in between");
}

static void *jitter_root(void *arg)
{
    (void)arg;
    expect_jitter(0, 10);
    expect_jitter(0.25, 15);
    expect_jitter(0.5, 10);
    expect_jitter(1, 0);
    return NULL;
}

Test(time, chance_has_its_share_of_a_delay_and_no_more) { run_paused(jitter_root, NULL); }

static void *jitter_growth_root(void *arg)
{
    (void)arg;
    weft_backoff b = {.initial = 2 * WEFT_MS, .max = 32 * WEFT_MS, .jitter = 1};
    int64_t above_half = 0;
    for (int i = 0; i < 30; i++)
        above_half += backoff_wait(&b) > 16 * WEFT_MS;
    cr_assert_gt(above_half, 0, "chance in one delay does not make the next one shorter");
    return NULL;
}

Test(time, delays_grow_whatever_chance_takes_off) { run_paused(jitter_growth_root, NULL); }

static void *differ_root(void *arg)
{
    enum { WAITS = 8 };
    (void)arg;
    int64_t delays[2][WAITS];
    for (int i = 0; i < 2; i++) {
        weft_backoff b = {.initial = 64 * WEFT_MS, .factor = 1};
        for (int j = 0; j < WAITS; j++)
            delays[i][j] = backoff_wait(&b);
    }
    cr_assert_arr_neq(delays[0], delays[1], sizeof delays[0]);
    return NULL;
}

Test(time, two_backoffs_with_the_same_fields_do_not_go_in_step) { run_paused(differ_root, NULL); }

static void expect_three_then_no_more(weft_backoff *b)
{
    for (int i = 0; i < 3; i++)
        cr_assert_eq(backoff_wait(b), (2 << i) * WEFT_MS);
    for (int i = 0; i < 3; i++) {
        int64_t before = weft_now();
        cr_assert_eq(weft_backoff_wait(b), WEFT_EEXHAUSTED);
        cr_assert_eq(weft_now(), before);
    }
}

static void *retries_root(void *arg)
{
    (void)arg;
    weft_backoff b = {.initial = 2 * WEFT_MS, .retries = 3, .jitter = -1};
    expect_three_then_no_more(&b);
    weft_backoff_reset(&b);
    expect_three_then_no_more(&b);
    weft_backoff_reset(&b);
    cr_assert_eq(backoff_wait(&b), 2 * WEFT_MS);
    weft_backoff_reset(&b);
    expect_three_then_no_more(&b);
    return NULL;
}

Test(time, retries_are_used_up_until_a_reset) { run_paused(retries_root, NULL); }

static void *deadline_root(void *arg)
{
    (void)arg;
    int64_t began = weft_now();
    weft_backoff b = {.initial = 10 * WEFT_MS, .retries = 3, .jitter = -1, .deadline = began + 30 * WEFT_MS};
    cr_assert_eq(backoff_wait(&b), 10 * WEFT_MS);
    cr_assert_eq(backoff_wait(&b), 20 * WEFT_MS, "up to the deadline is not beyond it");
    for (int i = 0; i < 3; i++)
        cr_assert_eq(weft_backoff_wait(&b), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now(), began + 30 * WEFT_MS, "at once");
    b.deadline = 0;
    cr_assert_eq(backoff_wait(&b), 40 * WEFT_MS, "what was not waited for is not taken");
    cr_assert_eq(weft_backoff_wait(&b), WEFT_EEXHAUSTED);
    return NULL;
}

Test(time, no_wait_goes_beyond_the_deadline) { run_paused(deadline_root, NULL); }

static void expect_nonsense(weft_backoff b)
{
    weft_backoff before;
    memcpy(&before, &b, sizeof b);
    cr_assert_eq(weft_backoff_wait(&b), WEFT_EINVAL);
    cr_assert_arr_eq(&b, &before, sizeof b);
}

Test(time, a_backoff_whose_fields_make_no_sense_does_not_wait)
{
    cr_assert_eq(weft_backoff_wait(NULL), WEFT_EINVAL);
    weft_backoff_reset(NULL);
    expect_nonsense((weft_backoff){.initial = -1});
    expect_nonsense((weft_backoff){.initial = INT64_MIN});
    expect_nonsense((weft_backoff){.max = -1});
    expect_nonsense((weft_backoff){.deadline = -1});
    expect_nonsense((weft_backoff){.factor = 0.999});
    expect_nonsense((weft_backoff){.factor = -2});
    expect_nonsense((weft_backoff){.factor = -INFINITY});
    expect_nonsense((weft_backoff){.factor = NAN});
    expect_nonsense((weft_backoff){.jitter = 1.001});
    expect_nonsense((weft_backoff){.jitter = INFINITY});
    expect_nonsense((weft_backoff){.jitter = NAN});
}

Test(time, ordinary_threads_may_try_again_too)
{
    weft_backoff b = {.initial = 4 * WEFT_MS, .retries = 2};
    cr_assert_geq(backoff_wait(&b), 2 * WEFT_MS);
    cr_assert_geq(backoff_wait(&b), 4 * WEFT_MS);
    cr_assert_eq(weft_backoff_wait(&b), WEFT_EEXHAUSTED);
}

static void *huge_delay_root(void *arg)
{
    (void)arg;
    weft_backoff b = {.initial = INT64_MAX, .max = INT64_MAX, .factor = 1e300, .jitter = -1, .deadline = INT64_MAX - 1};
    cr_assert_eq(weft_backoff_wait(&b), WEFT_ETIMEDOUT);
    b.initial = WEFT_MS;
    b.deadline = weft_now() + WEFT_SEC;
    cr_assert_eq(backoff_wait(&b), WEFT_MS);
    cr_assert_eq(weft_backoff_wait(&b), WEFT_ETIMEDOUT, "grown beyond all numbers");
    b.max = 3 * WEFT_MS;
    cr_assert_eq(backoff_wait(&b), 3 * WEFT_MS);
    return NULL;
}

Test(time, delays_longer_than_time_are_the_longest) { run_paused(huge_delay_root, NULL); }

static void *back_off_until_aborted(void *arg)
{
    (void)arg;
    weft_backoff b = {.initial = 10 * WEFT_MS, .retries = 2, .jitter = -1};
    int64_t began = weft_now();
    cr_assert_eq(weft_backoff_wait(&b), WEFT_ECANCELED);
    cr_assert_eq(weft_now(), began + 5 * WEFT_MS);
    cr_assert_eq(weft_shield_enter(), 0);
    cr_assert_eq(backoff_wait(&b), 20 * WEFT_MS);
    cr_assert_eq(weft_backoff_wait(&b), WEFT_EEXHAUSTED);
    cr_assert_eq(weft_shield_leave(), 0);
    return NULL;
}

static void *interrupted_backoff_root(void *arg)
{
    abort_soon(back_off_until_aborted, arg);
    return NULL;
}

Test(time, an_interrupted_delay_counts_as_taken) { run_paused(interrupted_backoff_root, NULL); }

/* ---- timeouts ------------------------------------------------------------------------------------------------ */

/* Sleeps, says what its sleep returned, and returns something. */
typedef struct nap {
    int64_t ms;
    int code, calls;
    void *value;
} nap;

static void *take_nap(void *arg)
{
    nap *n = arg;
    n->calls++;
    n->code = weft_sleep(n->ms * WEFT_MS);
    return n->value;
}

static void *return_code(void *arg)
{
    nap *n = arg;
    take_nap(n);
    return n->code < 0 ? weft_fail(n->code) : n->value;
}

static void *in_time_root(void *arg)
{
    nap n = {.ms = 10, .value = arg};
    int64_t began = weft_now();
    void *result = NULL;
    cr_assert_eq(weft_timeout(20 * WEFT_MS, take_nap, &n, &result), 0);
    cr_assert_eq(weft_now(), began + 10 * WEFT_MS);
    cr_assert_eq(n.code, 0);
    cr_assert_eq(result, arg);
    cr_assert_eq(weft_timeout(20 * WEFT_MS, take_nap, &n, NULL), 0, "nobody has to want the result");
    cr_assert_eq(weft_timeout(WEFT_FOREVER, take_nap, &n, &result), 0);
    cr_assert_eq(result, arg);
    n.value = NULL;
    cr_assert_eq(weft_timeout(20 * WEFT_MS, take_nap, &n, &result), 0);
    cr_assert_null(result);
    cr_assert_eq(n.calls, 4);
    sleep_ms(20); /* no scope is left behind */
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    return NULL;
}

Test(time, a_call_in_time_returns_its_result)
{
    int value;
    run_paused(in_time_root, &value);
}

static void *too_late_root(void *arg)
{
    nap n = {.ms = 50, .value = arg};
    int64_t began = weft_now();
    void *result = NULL;
    cr_assert_eq(weft_timeout(10 * WEFT_MS, take_nap, &n, &result), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now(), began + 10 * WEFT_MS);
    cr_assert_eq(n.code, WEFT_ETIMEDOUT);
    cr_assert_eq(result, arg, "what it returned is not lost");
    cr_assert_eq(weft_timeout(10 * WEFT_MS, take_nap, &n, NULL), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_timeout(10 * WEFT_MS, return_code, &n, &result), WEFT_ETIMEDOUT);
    cr_assert_eq(result, weft_fail(WEFT_ETIMEDOUT), "as it was returned, so that it can be passed on");
    cr_assert_eq(n.calls, 3);
    sleep_ms(20); /* no scope is left behind */
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    return NULL;
}

Test(time, a_call_that_takes_too_long_is_told_so)
{
    int value;
    run_paused(too_late_root, &value);
}

static void *failure_root(void *arg)
{
    nap n = {.value = weft_fail(WEFT_EPIPE)};
    void *result = arg;
    cr_assert_eq(weft_timeout(10 * WEFT_MS, take_nap, &n, &result), WEFT_EFAILED);
    cr_assert_eq((intptr_t)result, WEFT_EPIPE);
    cr_assert_eq(weft_timeout(10 * WEFT_MS, take_nap, &n, NULL), WEFT_EFAILED);
    return NULL;
}

Test(time, a_call_that_fails_in_time_has_its_code_as_the_result) { run_paused(failure_root, NULL); }

static void *not_called_root(void *arg)
{
    static const int64_t none[] = {0, -1, INT64_MIN};
    nap n = {.value = &n};
    for (int i = 0; i < 3; i++) {
        void *result = &n;
        cr_assert_eq(weft_timeout(none[i], take_nap, &n, &result), WEFT_ETIMEDOUT);
        cr_assert_null(result);
    }
    void *result = &n;
    cr_assert_eq(weft_timeout(WEFT_SEC, NULL, arg, &result), WEFT_EINVAL);
    cr_assert_null(result);
    cr_assert_eq(n.calls, 0);
    return NULL;
}

Test(time, without_any_time_nothing_is_called) { run_paused(not_called_root, NULL); }

static void *sleep_behind_a_shield(void *arg)
{
    cr_assert_eq(weft_shield_enter(), 0);
    take_nap(arg);
    cr_assert_eq(weft_shield_leave(), 0);
    return arg;
}

static void *unnoticed_root(void *arg)
{
    nap n = {.ms = 30};
    void *result = arg;
    cr_assert_eq(weft_timeout(10 * WEFT_MS, sleep_behind_a_shield, &n, &result), 0);
    cr_assert_eq(n.code, 0);
    cr_assert_eq(result, &n);
    return NULL;
}

Test(time, a_time_that_was_up_unnoticed_is_no_timeout) { run_paused(unnoticed_root, NULL); }

/* A call with a limit of its own inside another. */
typedef struct nested {
    int64_t limit;
    int code;
    nap inside;
} nested;

static void *call_nested(void *arg)
{
    nested *n = arg;
    n->code = weft_timeout(n->limit, take_nap, &n->inside, NULL);
    return n;
}

static void *nested_root(void *arg)
{
    (void)arg;
    int64_t began = weft_now();
    nested shorter = {.limit = 10 * WEFT_MS, .inside = {.ms = 100}},
           longer = {.limit = 50 * WEFT_MS, .inside = {.ms = 100}};
    cr_assert_eq(weft_timeout(50 * WEFT_MS, call_nested, &shorter, NULL), 0);
    cr_assert_eq(shorter.inside.code, WEFT_ETIMEDOUT);
    cr_assert_eq(shorter.code, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now(), began + 10 * WEFT_MS);
    cr_assert_eq(weft_timeout(10 * WEFT_MS, call_nested, &longer, NULL), WEFT_ETIMEDOUT);
    cr_assert_eq(longer.inside.code, WEFT_ETIMEDOUT);
    cr_assert_eq(longer.code, 0, "its own time was not up");
    cr_assert_eq(weft_now(), began + 20 * WEFT_MS);
    return NULL;
}

Test(time, of_two_timeouts_the_one_whose_time_is_up_says_so) { run_paused(nested_root, NULL); }

static void *time_out_until_aborted(void *arg)
{
    (void)arg;
    nap n = {.ms = 100, .value = &n};
    int64_t began = weft_now();
    void *result = NULL;
    cr_assert_eq(weft_timeout(50 * WEFT_MS, take_nap, &n, &result), 0);
    cr_assert_eq(n.code, WEFT_ECANCELED);
    cr_assert_eq(result, &n);
    cr_assert_eq(weft_now(), began + 5 * WEFT_MS);
    return NULL;
}

static void *aborted_timeout_root(void *arg)
{
    abort_soon(time_out_until_aborted, arg);
    return NULL;
}

Test(time, an_abort_inside_a_timeout_is_no_timeout) { run_paused(aborted_timeout_root, NULL); }

Test(time, ordinary_threads_have_timeouts_too)
{
    nap n = {.ms = 5, .value = &n};
    int64_t began = weft_now();
    void *result = NULL;
    cr_assert_eq(weft_timeout(WEFT_FOREVER, take_nap, &n, &result), 0);
    cr_assert_eq(result, &n);
    cr_assert_geq(weft_now() - began, 5 * WEFT_MS);
    began = weft_now();
    n.ms = 60 * 1000;
    cr_assert_eq(weft_timeout(5 * WEFT_MS, take_nap, &n, &result), WEFT_ETIMEDOUT);
    cr_assert_eq(result, &n);
    cr_assert_eq(n.code, WEFT_ETIMEDOUT);
    cr_assert_geq(weft_now() - began, 5 * WEFT_MS);
}
