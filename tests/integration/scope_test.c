/* scope_test.c - scopes as their users see them: what fires when, which of several is reported, and to whom.
 *
 * Most stories run in virtual time, where a deadline is met to the millisecond and nothing else is going on. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/net_support.h>
#include <support/test.h>
#include <sys/socket.h>
#include <unistd.h>

/* Locals of clang's address sanitizer lie on fake stacks, where nobody can tell which frame they belong to. */
#if defined(__clang__) && defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FAKE_STACKS 1
#endif
#endif
#ifndef FAKE_STACKS
#define FAKE_STACKS 0
#endif

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void in_virtual_time(weft_fn story)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, story, NULL, NULL), 0);
}

static int64_t story_began;

static void begin(void) { story_began = weft_now(); }

static int64_t ms_so_far(void) { return (weft_now() - story_began) / WEFT_MS; }

static void enter(weft_scope *s, int64_t timeout) { cr_assert_eq(weft_scope_enter(s, timeout), 0); }

#define LEAVES_WITH(s, code) cr_assert_eq(weft_scope_leave(s), code)
#define SLEEPS_WITH(code, at)                               \
    do {                                                    \
        cr_assert_eq(weft_sleep(WEFT_SEC), code);           \
        cr_assert_eq(ms_so_far(), (at), "woken at %d", at); \
    } while (0)

static void *sleep_ms(void *ms)
{
    (void)weft_sleep((intptr_t)ms * WEFT_MS);
    return ms;
}

static void *sleep_for_ever(void *arg)
{
    (void)weft_sleep(WEFT_FOREVER);
    return arg;
}

static void *stay_shielded_ms(void *ms)
{
    weft_shield_enter();
    (void)weft_sleep((intptr_t)ms * WEFT_MS);
    weft_shield_leave();
    return NULL;
}

static weft_task *start_pinned(weft_fn fn, void *arg)
{
    weft_spawn_options options = {.pinned = 1};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    return task;
}

/* ---- which deadline, and who reports it ----------------------------------------------------------------------- */

static void *nested_deadlines(void *arg)
{
    weft_scope outer, middle, inner;
    (void)arg;
    begin();
    enter(&outer, 30 * WEFT_MS);
    enter(&middle, 20 * WEFT_MS);
    enter(&inner, 10 * WEFT_MS);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 10);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 10);
    LEAVES_WITH(&inner, WEFT_ETIMEDOUT);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 20);
    LEAVES_WITH(&middle, WEFT_ETIMEDOUT);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 30);
    LEAVES_WITH(&outer, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_sleep(5 * WEFT_MS), 0);
    cr_assert_eq(ms_so_far(), 35);
    return NULL;
}

Test(scope, nested_deadlines_each_report_their_own) { in_virtual_time(nested_deadlines); }

static void *outer_wins(void *arg)
{
    weft_scope outer, inner;
    (void)arg;
    begin();
    enter(&outer, 10 * WEFT_MS);
    enter(&inner, 20 * WEFT_MS);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 10);
    LEAVES_WITH(&inner, 0);
    LEAVES_WITH(&outer, WEFT_ETIMEDOUT);
    enter(&outer, 10 * WEFT_MS);
    enter(&inner, 10 * WEFT_MS);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 20);
    LEAVES_WITH(&inner, 0);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 20);
    LEAVES_WITH(&outer, WEFT_ETIMEDOUT);
    return NULL;
}

Test(scope, the_outermost_that_fired_is_the_one_reported) { in_virtual_time(outer_wins); }

static void *outer_fires_later(void *arg)
{
    weft_scope outer, inner;
    (void)arg;
    begin();
    enter(&outer, WEFT_FOREVER);
    enter(&inner, 5 * WEFT_MS);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 5);
    cr_assert_eq(weft_scope_cancel(&outer), 0);
    SLEEPS_WITH(WEFT_ECANCELED, 5);
    LEAVES_WITH(&inner, WEFT_ETIMEDOUT);
    SLEEPS_WITH(WEFT_ECANCELED, 5);
    LEAVES_WITH(&outer, WEFT_ECANCELED);
    SLEEPS_WITH(0, 1005);
    return NULL;
}

Test(scope, one_that_fires_later_takes_over_when_it_is_further_out) { in_virtual_time(outer_fires_later); }

static void *deadlines_of_parts_of_a_tick(void *arg)
{
    weft_scope outer, inner;
    (void)arg;
    begin();
    enter(&outer, 1500 * WEFT_US);
    enter(&inner, 1200 * WEFT_US);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 2);
    LEAVES_WITH(&inner, 0);
    LEAVES_WITH(&outer, WEFT_ETIMEDOUT);
    return NULL;
}

Test(scope, deadlines_of_one_tick_fire_together) { in_virtual_time(deadlines_of_parts_of_a_tick); }

static weft_task *myself;

static void *abort_comes_first(void *arg)
{
    weft_scope fired, cancelled;
    (void)arg;
    enter(&fired, 0);
    enter(&cancelled, WEFT_FOREVER);
    cr_assert_eq(weft_scope_cancel(&cancelled), 0);
    weft_abort(myself);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(weft_sleep(WEFT_MS), WEFT_ECANCELED);
    LEAVES_WITH(&cancelled, 0);
    LEAVES_WITH(&fired, 0);
    return NULL;
}

static void *abort_comes_first_root(void *arg)
{
    (void)arg;
    myself = start_pinned(abort_comes_first, NULL);
    cr_assert_eq(weft_join(myself, NULL), WEFT_EABORTED);
    return NULL;
}

WF_TEST_WORKERS(scope, an_abort_is_reported_before_any_scope) { run(workers, abort_comes_first_root, NULL); }

static void *cancelled_by_scope_only(void *arg)
{
    weft_scope s;
    enter(&s, WEFT_FOREVER);
    weft_scope_cancel(&s);
    cr_assert_eq(weft_sleep(WEFT_MS), WEFT_ECANCELED);
    LEAVES_WITH(&s, WEFT_ECANCELED);
    return arg;
}

static void *completes_root(void *arg)
{
    void *result;
    weft_task *task = start(cancelled_by_scope_only, &result);
    (void)arg;
    cr_assert_eq(weft_join(task, &result), 0, "a scope's cancellation is no abort");
    cr_assert_eq(result, &result);
    return NULL;
}

Test(scope, a_cancelled_scope_does_not_abort_its_task) { in_virtual_time(completes_root); }

static void *only_received(void *arg)
{
    weft_scope s;
    (void)arg;
    begin();
    enter(&s, 5 * WEFT_MS);
    cr_assert_eq(weft_sleep(5 * WEFT_MS), 0, "completion wins");
    LEAVES_WITH(&s, 0);
    enter(&s, 0);
    LEAVES_WITH(&s, 0);
    enter(&s, WEFT_FOREVER);
    cr_assert_eq(weft_scope_cancel(&s), 0);
    LEAVES_WITH(&s, 0);
    enter(&s, 0);
    cr_assert_neq(weft_is_cancelled(), 0);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_is_cancelled(), 0);
    enter(&s, 5 * WEFT_MS);
    LEAVES_WITH(&s, 0);
    SLEEPS_WITH(0, 1005);
    return NULL;
}

Test(scope, leave_says_only_what_an_await_has_said) { in_virtual_time(only_received); }

static void *already_fired(void *arg)
{
    static const int64_t timeouts[] = {0, -1, -WEFT_SEC, INT64_MIN};
    (void)arg;
    begin();
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        weft_scope s;
        enter(&s, timeouts[i]);
        cr_assert_leq(weft_deadline(), weft_now());
        cr_assert_eq(weft_yield(), WEFT_ETIMEDOUT);
        SLEEPS_WITH(WEFT_ETIMEDOUT, 0);
        LEAVES_WITH(&s, WEFT_ETIMEDOUT);
        cr_assert_eq(weft_yield(), 0);
    }
    return NULL;
}

Test(scope, with_no_time_left_it_has_fired_already) { in_virtual_time(already_fired); }

static void *no_deadline(void *arg)
{
    static const int64_t timeouts[] = {WEFT_FOREVER, WEFT_FOREVER - 1, WEFT_FOREVER - WEFT_SEC};
    (void)arg;
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        weft_scope s;
        enter(&s, timeouts[i]);
        cr_assert_eq(weft_deadline(), WEFT_FOREVER);
        cr_assert_eq(weft_sleep(1000000 * WEFT_SEC), 0);
        cr_assert_eq(weft_is_cancelled(), 0);
        LEAVES_WITH(&s, 0);
    }
    return NULL;
}

Test(scope, for_ever_and_what_overflows_is_no_deadline) { in_virtual_time(no_deadline); }

static void *far_deadline(void *arg)
{
    weft_scope s;
    int64_t year = INT64_C(365) * 24 * 3600 * WEFT_SEC;
    (void)arg;
    begin();
    enter(&s, 100 * year);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now() - story_began, 100 * year);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    return NULL;
}

Test(scope, a_deadline_in_a_hundred_years_is_met) { in_virtual_time(far_deadline); }

/* ---- entering, leaving, cancelling ----------------------------------------------------------------------------- */

static void *cancel_and_refuse(void *arg)
{
    weft_scope never = {0}, outer, inner;
    (void)arg;
    cr_assert_eq(weft_scope_enter(NULL, WEFT_MS), WEFT_EINVAL);
    cr_assert_eq(weft_scope_leave(NULL), WEFT_EINVAL);
    cr_assert_eq(weft_scope_cancel(NULL), WEFT_EINVAL);
    cr_assert_eq(weft_scope_leave(&never), WEFT_EINVAL);
    cr_assert_eq(weft_scope_cancel(&never), WEFT_EINVAL);
    enter(&outer, WEFT_FOREVER);
    enter(&inner, WEFT_FOREVER);
    cr_assert_eq(weft_scope_cancel(&outer), 0, "not the innermost one");
    cr_assert_eq(weft_scope_cancel(&outer), 0);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    LEAVES_WITH(&inner, 0);
    cr_assert_eq(weft_scope_cancel(&inner), WEFT_EINVAL);
    LEAVES_WITH(&outer, WEFT_ECANCELED);
    cr_assert_eq(weft_scope_cancel(&outer), WEFT_EINVAL);
    enter(&outer, 0);
    cr_assert_eq(weft_scope_cancel(&outer), 0, "it has fired before");
    cr_assert_eq(weft_yield(), WEFT_ETIMEDOUT);
    LEAVES_WITH(&outer, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_yield(), 0);
    return NULL;
}

Test(scope, a_task_cancels_what_it_has_entered_and_nothing_else) { in_virtual_time(cancel_and_refuse); }

static void *out_of_order(void *arg)
{
    weft_scope a, b, c;
    (void)arg;
    begin();
    enter(&a, 30 * WEFT_MS);
    enter(&b, 20 * WEFT_MS);
    enter(&c, 10 * WEFT_MS);
    LEAVES_WITH(&a, WEFT_EINVAL);
    LEAVES_WITH(&b, WEFT_EINVAL);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 10);
    LEAVES_WITH(&a, WEFT_EINVAL);
    LEAVES_WITH(&c, WEFT_ETIMEDOUT);
    LEAVES_WITH(&c, WEFT_EINVAL);
    LEAVES_WITH(&a, WEFT_EINVAL);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 20);
    LEAVES_WITH(&b, WEFT_ETIMEDOUT);
    LEAVES_WITH(&b, WEFT_EINVAL);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 30);
    LEAVES_WITH(&a, WEFT_ETIMEDOUT);
    LEAVES_WITH(&a, WEFT_EINVAL);
    SLEEPS_WITH(0, 1030);
    return NULL;
}

Test(scope, leaving_out_of_order_or_twice_changes_nothing) { in_virtual_time(out_of_order); }

static void *enter_twice(void *arg)
{
    weft_scope outer, inner;
    (void)arg;
    begin();
    enter(&outer, 5 * WEFT_MS);
    cr_assert_eq(weft_scope_enter(&outer, WEFT_FOREVER), WEFT_EINVAL);
    enter(&inner, WEFT_FOREVER);
    cr_assert_eq(weft_scope_enter(&outer, 0), WEFT_EINVAL);
    cr_assert_eq(weft_scope_enter(&inner, 0), WEFT_EINVAL);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 5);
    LEAVES_WITH(&inner, 0);
    LEAVES_WITH(&outer, WEFT_ETIMEDOUT);
    return NULL;
}

Test(scope, entering_one_that_is_entered_is_refused_and_changes_nothing) { in_virtual_time(enter_twice); }

static weft_scope around;

static void refused_here(void *seen)
{
    weft_scope s;
    cr_assert_eq(weft_scope_enter(&s, WEFT_MS), WEFT_EDEADLK);
    cr_assert_eq(weft_scope_leave(&s), WEFT_EINVAL);
    cr_assert_eq(weft_scope_cancel(&s), WEFT_EINVAL);
    cr_assert_eq(weft_scope_leave(&around), WEFT_EINVAL, "it is not this callback's");
    cr_assert_eq(weft_scope_cancel(&around), WEFT_EINVAL);
    ++*(int *)seen;
}

static weft_poll poll_refused(weft_future *f, weft_context *cx, void **result)
{
    static int seen;
    (void)f;
    (void)cx;
    refused_here(&seen);
    *result = &seen;
    return WEFT_READY;
}

static void *echo(void *arg) { return arg; }

static void *refused_root(void *arg)
{
    static const weft_future_ops ops = {.poll = poll_refused};
    weft_future f = {&ops};
    weft_spawn_options dropping = {.drop_result = refused_here};
    weft_task *task;
    void *result;
    int seen = 0;
    (void)arg;
    enter(&around, WEFT_FOREVER);
    cr_assert_eq(weft_spawn_future(&task, &f), 0);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq(*(int *)result, 1);
    cr_assert_eq(weft_spawn_with(&task, &dropping, echo, &seen), 0);
    cr_assert_eq(weft_wait(task), 0);
    weft_detach(task);
    cr_assert_eq(seen, 1);
    LEAVES_WITH(&around, 0);
    return NULL;
}

WF_TEST_WORKERS(scope, where_nothing_can_wait_none_is_entered) { run(workers, refused_root, NULL); }

static int with_macro(int early)
{
    WEFT_SCOPE(s, 10 * WEFT_MS);
    if (early)
        return weft_sleep(5 * WEFT_MS);
    for (int i = 0;; i++) {
        WEFT_SCOPE(inner, WEFT_MS);
        if (i == 3)
            break;
        if (weft_sleep(WEFT_SEC) == WEFT_ETIMEDOUT)
            continue;
        return 1;
    }
    return weft_sleep(WEFT_SEC);
}

static void *macro(void *arg)
{
    (void)arg;
    begin();
    cr_assert_eq(with_macro(1), 0);
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    cr_assert_eq(with_macro(0), WEFT_ETIMEDOUT);
    cr_assert_eq(ms_so_far(), 15);
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    SLEEPS_WITH(0, 1015);
    return NULL;
}

Test(scope, the_macro_leaves_wherever_its_block_ends) { in_virtual_time(macro); }

/* ---- shields --------------------------------------------------------------------------------------------------- */

static void *shields(void *arg)
{
    weft_scope outer, inner;
    (void)arg;
    begin();
    enter(&outer, 5 * WEFT_MS);
    weft_shield_enter();
    cr_assert_eq(weft_sleep(10 * WEFT_MS), 0);
    cr_assert_eq(weft_is_cancelled(), 0);
    enter(&inner, 10 * WEFT_MS);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 20);
    weft_shield_enter();
    cr_assert_eq(weft_sleep(10 * WEFT_MS), 0, "the inner one is outside of this shield");
    weft_shield_leave();
    SLEEPS_WITH(WEFT_ETIMEDOUT, 30);
    LEAVES_WITH(&inner, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_sleep(WEFT_MS), 0);
    weft_shield_leave();
    SLEEPS_WITH(WEFT_ETIMEDOUT, 31);
    LEAVES_WITH(&outer, WEFT_ETIMEDOUT);
    SLEEPS_WITH(0, 1031);
    return NULL;
}

Test(scope, a_shield_hides_what_is_outside_of_it) { in_virtual_time(shields); }

static void *shield_left_early(void *arg)
{
    weft_scope s;
    (void)arg;
    begin();
    weft_shield_enter();
    enter(&s, 5 * WEFT_MS);
    weft_shield_leave();
    weft_shield_enter();
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    cr_assert_eq(weft_sleep(10 * WEFT_MS), 0, "the scope is outside of this shield");
    weft_shield_leave();
    SLEEPS_WITH(WEFT_ETIMEDOUT, 10);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    return NULL;
}

Test(scope, a_shield_hides_one_that_was_entered_in_an_earlier_shield) { in_virtual_time(shield_left_early); }

static void *shielded_from_abort(void *arg)
{
    weft_scope outer, inner;
    (void)arg;
    enter(&outer, 0);
    weft_shield_enter();
    enter(&inner, WEFT_MS);
    weft_abort(myself);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ETIMEDOUT, "neither the abort nor the outer one, but this");
    LEAVES_WITH(&inner, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_sleep(WEFT_MS), 0);
    weft_shield_leave();
    cr_assert_eq(weft_sleep(WEFT_MS), WEFT_ECANCELED);
    LEAVES_WITH(&outer, 0);
    return NULL;
}

static void *shielded_from_abort_root(void *arg)
{
    (void)arg;
    myself = start_pinned(shielded_from_abort, NULL);
    cr_assert_eq(weft_join(myself, NULL), WEFT_EABORTED);
    return NULL;
}

WF_TEST_WORKERS(scope, in_a_shield_only_inner_scopes_interrupt) { run(workers, shielded_from_abort_root, NULL); }

static void *deadlines(void *arg)
{
    weft_scope a, b, c;
    (void)arg;
    int64_t now = weft_now();
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    enter(&a, 20 * WEFT_MS);
    cr_assert_eq(weft_deadline(), now + 20 * WEFT_MS);
    enter(&b, 30 * WEFT_MS);
    cr_assert_eq(weft_deadline(), now + 20 * WEFT_MS);
    weft_shield_enter();
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    enter(&c, 40 * WEFT_MS);
    cr_assert_eq(weft_deadline(), now + 40 * WEFT_MS);
    LEAVES_WITH(&c, 0);
    weft_shield_leave();
    enter(&c, 10 * WEFT_MS);
    cr_assert_eq(weft_deadline(), now + 10 * WEFT_MS);
    LEAVES_WITH(&c, 0);
    LEAVES_WITH(&b, 0);
    cr_assert_eq(weft_deadline(), now + 20 * WEFT_MS);
    LEAVES_WITH(&a, 0);
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    return NULL;
}

Test(scope, the_nearest_deadline_is_the_one_that_applies_here) { in_virtual_time(deadlines); }

/* ---- who never waits ------------------------------------------------------------------------------------------- */

static void *never_waits(void *arg)
{
    weft_scope s;
    (void)arg;
    begin();
    enter(&s, 10 * WEFT_MS);
    while (!weft_is_cancelled())
        cr_assert_eq(weft_clock_advance(WEFT_MS), 0);
    cr_assert_eq(ms_so_far(), 10);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_is_cancelled(), 0);
    return NULL;
}

Test(scope, a_loop_that_only_asks_meets_its_deadline) { in_virtual_time(never_waits); }

static void *never_waits_really(void *arg)
{
    weft_scope s;
    (void)arg;
    enter(&s, 2 * WEFT_MS);
    int64_t deadline = weft_deadline();
    while (!weft_is_cancelled())
        ;
    cr_assert_geq(weft_now(), deadline);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    return NULL;
}

WF_TEST_WORKERS(scope, a_loop_that_only_asks_meets_its_deadline_in_real_time)
{
    run(workers, never_waits_really, NULL);
}

static void *only_yields(void *arg)
{
    weft_scope s;
    int code;
    (void)arg;
    enter(&s, 2 * WEFT_MS);
    int64_t deadline = weft_deadline();
    while ((code = weft_yield()) == 0)
        cr_assert_lt(weft_now(), deadline + PATIENCE);
    cr_assert_eq(code, WEFT_ETIMEDOUT);
    cr_assert_geq(weft_now(), deadline);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_yield(), 0);
    return NULL;
}

WF_TEST_WORKERS(scope, one_that_only_yields_meets_its_deadline) { run(workers, only_yields, NULL); }

static void *always_ready(void *arg)
{
    enum { FAR_MORE_THAN_A_BUDGET = 1000 };
    static const char bytes[FAR_MORE_THAN_A_BUDGET];
    weft_stream *a, *b;
    weft_scope s;
    char byte;
    int reads = 0;
    (void)arg;
    pair(&a, &b);
    cr_assert_eq(weft_write(b, bytes, sizeof bytes), sizeof bytes);
    enter(&s, 5 * WEFT_MS);
    cr_assert_eq(weft_clock_advance(5 * WEFT_MS), 0);
    while (weft_read(a, &byte, 1) == 1)
        cr_assert_lt(++reads, 500, "the budget has run out by now");
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_read(a, &byte, 1), 1, "the interrupted read has taken nothing");
    weft_close(a);
    weft_close(b);
    return NULL;
}

Test(scope, one_whose_reads_are_always_ready_meets_its_deadline) { in_virtual_time(always_ready); }

/* ---- every kind of await ---------------------------------------------------------------------------------------- */

typedef struct scene {
    weft_stream *a, *b;
    weft_listener *listener;
    weft_task *child;
    weft_token *token;
    char crowded[WEFT_ADDR_TEXT]; /* where no connection is established any more */
    int crowd[3];
    char *bulk;
} scene;

enum { BULK = 16 << 20 };

static int do_sleep(scene *sc) { return (void)sc, weft_sleep(WEFT_FOREVER); }
static int do_sleep_until(scene *sc) { return (void)sc, weft_sleep_until(weft_now() + 100 * WEFT_SEC); }
static int do_join(scene *sc) { return weft_join(sc->child, NULL); }
static int do_wait(scene *sc) { return weft_wait(sc->child); }
static int do_token(scene *sc) { return weft_token_wait(sc->token); }
static int do_signal(scene *sc) { return (void)sc, weft_shutdown_signal(); }
static int do_read(scene *sc) { return (int)weft_read(sc->a, &(char){0}, 1); }
static int do_read_exact(scene *sc) { return (int)weft_read_exact(sc->a, &(char){0}, 1); }
static int do_write(scene *sc) { return (int)weft_write(sc->a, sc->bulk, BULK); }

static int do_accept(scene *sc)
{
    weft_stream *s;
    return weft_accept(&s, sc->listener);
}

static int do_connect(scene *sc)
{
    weft_stream *s;
    return weft_tcp_connect(&s, sc->crowded, NULL);
}

static int do_group(scene *sc)
{
    weft_group *g;
    (void)sc;
    cr_assert_eq(weft_group_create(&g), 0);
    cr_assert_eq(weft_group_spawn(g, sleep_for_ever, NULL), 0);
    int code = weft_group_wait(g);
    cr_assert_eq(weft_group_close(g), 0);
    return code;
}

static weft_poll poll_never(weft_future *f, weft_context *cx, void **result)
{
    (void)f;
    (void)cx;
    (void)result;
    return WEFT_PENDING;
}

static int dropped;

static void count_drop(weft_future *f)
{
    (void)f;
    dropped++;
}

static int do_await(scene *sc)
{
    static const weft_future_ops ops = {poll_never, count_drop};
    weft_future f = {&ops};
    int before = dropped, code = weft_await(&f, NULL);
    (void)sc;
    cr_assert_eq(dropped, before + 1, "dropped, interrupted or not");
    return code;
}

static weft_poll poll_timer(weft_future *f, weft_context *cx, void **result);

typedef struct alarm_clock {
    weft_future future;
    weft_timer timer;
} alarm_clock;

static weft_poll poll_timer(weft_future *f, weft_context *cx, void **result)
{
    (void)result;
    return weft_timer_poll(cx, &WEFT_CONTAINER_OF(f, alarm_clock, future)->timer);
}

static void drop_timer(weft_future *f) { weft_timer_drop(&WEFT_CONTAINER_OF(f, alarm_clock, future)->timer); }

static int do_timer(scene *sc)
{
    static const weft_future_ops ops = {poll_timer, drop_timer};
    alarm_clock a = {.future.ops = &ops};
    (void)sc;
    weft_timer_init(&a.timer, weft_now() + 100 * WEFT_SEC);
    return weft_await(&a.future, NULL);
}

static int (*const operations[])(scene *) = {do_sleep,   do_sleep_until, do_join,  do_wait,       do_token,
                                             do_signal,  do_read,        do_write, do_read_exact, do_accept,
                                             do_connect, do_group,       do_await, do_timer};
enum { OPERATIONS = sizeof operations / sizeof *operations };

/* A listener whose queue is full: the kernel then answers no handshake. */
static void crowd(scene *sc)
{
    struct sockaddr_storage sa;
    socklen_t length = sizeof sa;
    weft_addr addr;
    sc->crowd[0] = socket(AF_INET, SOCK_STREAM, 0);
    weft_addr_parse(&addr, "127.0.0.1:0");
    size_t size;
    const struct sockaddr *any = weft_addr_sockaddr(&addr, &size);
    cr_assert_eq(bind(sc->crowd[0], any, (socklen_t)size), 0);
    cr_assert_eq(listen(sc->crowd[0], 0), 0);
    cr_assert_eq(getsockname(sc->crowd[0], (struct sockaddr *)&sa, &length), 0);
    for (int i = 1; i < 3; i++) {
        sc->crowd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(sc->crowd[i], (struct sockaddr *)&sa, length);
    }
    cr_assert_eq(weft_addr_from_sockaddr(&addr, (struct sockaddr *)&sa, length), 0);
    weft_addr_format(&addr, sc->crowded, sizeof sc->crowded);
}

static void set_the_scene(scene *sc)
{
    char text[WEFT_ADDR_TEXT];
    pair(&sc->a, &sc->b);
    shrink(sc->a);
    shrink(sc->b);
    sc->listener = listen_any(text);
    sc->child = start(sleep_for_ever, NULL);
    sc->bulk = calloc(1, BULK);
    cr_assert_eq(weft_token_create(&sc->token, NULL), 0);
    crowd(sc);
}

static void clear_the_scene(scene *sc)
{
    for (int i = 0; i < 3; i++)
        close(sc->crowd[i]);
    cr_assert_eq(weft_token_free(sc->token), 0);
    free(sc->bulk);
    cr_assert_eq(weft_task_close(sc->child), 0);
    weft_listener_close(sc->listener);
    weft_close(sc->a);
    weft_close(sc->b);
}

static void *cancel_token(void *token)
{
    (void)weft_sleep(2 * WEFT_MS);
    weft_token_cancel(token);
    return NULL;
}

/* Each operation, ended by a deadline, by a token, and before it begins. */
static void interrupt_each_way(scene *sc, int i)
{
    weft_token *token;
    weft_scope s;
    enter(&s, 2 * WEFT_MS);
    int64_t deadline = weft_deadline();
    cr_assert_eq(operations[i](sc), WEFT_ETIMEDOUT, "operation %d", i);
    cr_assert_geq(weft_now(), deadline);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_token_create(&token, NULL), 0);
    enter(&s, WEFT_FOREVER);
    cr_assert_eq(weft_scope_bind(&s, token), 0);
    weft_task *other = start(cancel_token, token);
    cr_assert_eq(operations[i](sc), WEFT_ECANCELED, "operation %d", i);
    LEAVES_WITH(&s, WEFT_ECANCELED);
    join(other);
    cr_assert_eq(weft_token_free(token), 0);
    enter(&s, 0);
    if (operations[i] != do_group) /* it asserts that its spawn succeeds */
        cr_assert_eq(operations[i](sc), WEFT_ETIMEDOUT, "operation %d", i);
    weft_yield();
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
}

static void *every_await(void *arg)
{
    scene sc;
    (void)arg;
    set_the_scene(&sc);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < OPERATIONS; i++)
            interrupt_each_way(&sc, i);
    clear_the_scene(&sc);
    return NULL;
}

WF_TEST_WORKERS(scope, every_kind_of_await_is_interrupted) { run(workers, every_await, NULL); }

/* On an ordinary thread too, and there only the clock wakes it. */
static void *every_await_of_a_thread(void *arg)
{
    cr_assert_eq(weft_runtime_enter(arg), 0);
    every_await(NULL);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

static void on_a_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, fn, arg), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
}

Test(scope, every_kind_of_await_is_interrupted_on_ordinary_threads)
{
    weft_runtime *rt = runtime(2);
    on_a_thread(every_await_of_a_thread, rt);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- completion wins --------------------------------------------------------------------------------------------- */

static void *completion_wins(void *arg)
{
    weft_scope s;
    void *result;
    (void)arg;
    begin();
    weft_task *child = start(sleep_ms, (void *)5);
    await_idle(child); /* until the same tick */
    enter(&s, 5 * WEFT_MS);
    cr_assert_eq(weft_join(child, &result), 0);
    cr_assert_eq((intptr_t)result, 5);
    cr_assert_eq(ms_so_far(), 5);
    LEAVES_WITH(&s, 0);
    child = start(sleep_ms, (void *)5);
    cr_assert_eq(weft_wait(child), 0);
    enter(&s, 0);
    cr_assert_eq(weft_wait(child), 0, "it has ended: nothing to wait for");
    cr_assert_eq(weft_join(child, NULL), 0);
    LEAVES_WITH(&s, 0);
    return NULL;
}

Test(scope, completion_wins_over_interruption) { in_virtual_time(completion_wins); }

static void *next_await_has_it(void *arg)
{
    weft_scope s;
    (void)arg;
    begin();
    enter(&s, 5 * WEFT_MS);
    cr_assert_eq(weft_sleep(5 * WEFT_MS), 0);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 5);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    return NULL;
}

Test(scope, the_await_after_the_one_that_completed_has_it) { in_virtual_time(next_await_has_it); }

static void *end_at_the_last_moment(void *arg)
{
    weft_scope s;
    weft_task *child = start(sleep_ms, (void *)1);
    (void)arg;
    enter(&s, WEFT_MS);
    int code = weft_join(child, NULL);
    cr_assert(code == 0 || code == WEFT_ETIMEDOUT, "%d", code);
    LEAVES_WITH(&s, code);
    if (code < 0)
        cr_assert_eq(weft_join(child, NULL), 0);
    return NULL;
}

/* Whoever comes first: the code of the await and of the scope are the same. */
static void *race_root(void *arg)
{
    enum { RACERS = 20 };
    weft_task *tasks[RACERS];
    (void)arg;
    for (size_t round = 0; round < wf_test_scale(50); round++) {
        for (int i = 0; i < RACERS; i++)
            tasks[i] = start(end_at_the_last_moment, NULL);
        for (int i = 0; i < RACERS; i++)
            join(tasks[i]);
    }
    return NULL;
}

WF_TEST_WORKERS(scope, await_and_scope_agree_on_who_came_first) { run(workers, race_root, NULL); }

static void *fires_in_a_close(void *arg)
{
    weft_scope s;
    (void)arg;
    begin();
    enter(&s, 10 * WEFT_MS);
    weft_task *child = start(stay_shielded_ms, (void *)20);
    await_idle(child);
    cr_assert_eq(weft_task_close(child), 0);
    cr_assert_eq(ms_so_far(), 20);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 20);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    return NULL;
}

Test(scope, one_that_fires_in_a_shielded_close_is_met_after_it) { in_virtual_time(fires_in_a_close); }

static void *close_in_fired(void *arg)
{
    weft_scope s;
    weft_task *child = start(sleep_for_ever, NULL);
    (void)arg;
    await_idle(child);
    enter(&s, 0);
    cr_assert_eq(weft_task_close(child), 0);
    LEAVES_WITH(&s, 0);
    return NULL;
}

WF_TEST_WORKERS(scope, a_close_in_one_that_has_fired_completes) { run(workers, close_in_fired, NULL); }

/* A group made in a scope is stopped while its owner is in a shielded close of something else. */
static void *stops_groups_in_a_close(void *arg)
{
    weft_scope s;
    weft_group *g;
    (void)arg;
    begin();
    enter(&s, 10 * WEFT_MS);
    cr_assert_eq(weft_group_create(&g), 0);
    cr_assert_eq(weft_group_spawn(g, sleep_for_ever, NULL), 0);
    weft_task *child = start(stay_shielded_ms, (void *)20);
    await_idle(child);
    cr_assert_eq(weft_group_running(g), 1);
    cr_assert_eq(weft_task_close(child), 0);
    cr_assert_eq(ms_so_far(), 20);
    cr_assert_eq(weft_group_running(g), 0, "it was cancelled at 10");
    cr_assert_eq(weft_group_close(g), 0);
    LEAVES_WITH(&s, 0);
    return NULL;
}

Test(scope, what_depends_on_it_is_stopped_in_a_shielded_close_too) { in_virtual_time(stops_groups_in_a_close); }

/* ---- ordinary threads -------------------------------------------------------------------------------------------- */

static void *scopes_of_a_thread(void *arg)
{
    weft_scope outer, inner;
    (void)arg;
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    enter(&outer, WEFT_FOREVER);
    enter(&inner, 2 * WEFT_MS);
    int64_t deadline = weft_deadline();
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ETIMEDOUT);
    cr_assert_geq(weft_now(), deadline);
    cr_assert_eq(weft_scope_cancel(&outer), 0);
    cr_assert_neq(weft_is_cancelled(), 0);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    weft_shield_enter();
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    cr_assert_eq(weft_yield(), 0);
    cr_assert_eq(weft_is_cancelled(), 0);
    weft_shield_leave();
    LEAVES_WITH(&outer, WEFT_EINVAL);
    LEAVES_WITH(&inner, WEFT_ETIMEDOUT);
    LEAVES_WITH(&outer, WEFT_ECANCELED);
    cr_assert_eq(weft_yield(), 0);
    enter(&outer, 0);
    cr_assert_eq(weft_sleep(WEFT_MS), WEFT_ETIMEDOUT);
    return NULL; /* a thread may end with what it has entered */
}

Test(scope, ordinary_threads_have_them_without_any_runtime) { on_a_thread(scopes_of_a_thread, NULL); }

/* ---- coroutines --------------------------------------------------------------------------------------------------- */

static weft_coro *make(weft_fn fn, void *arg)
{
    weft_coro *c;
    cr_assert_eq(weft_coro_create(&c, fn, arg, 0), 0);
    return c;
}

static void *scope_over_yield(void *arg)
{
    weft_scope s, *resumers = arg;
    enter(&s, 10 * WEFT_MS);
    LEAVES_WITH(resumers, WEFT_EINVAL);
    cr_assert_eq(weft_scope_cancel(resumers), WEFT_EINVAL);
    weft_coro_yield(&s);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 20);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    return NULL;
}

static void *counts_only_while_it_runs(void *arg)
{
    weft_scope mine;
    void *inside = arg;
    begin();
    enter(&mine, WEFT_FOREVER);
    weft_coro *c = make(scope_over_yield, &mine);
    cr_assert_eq(weft_coro_resume(c, NULL, &inside), 1);
    LEAVES_WITH(inside, WEFT_EINVAL);
    cr_assert_eq(weft_scope_cancel(inside), WEFT_EINVAL);
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    cr_assert_eq(weft_sleep(20 * WEFT_MS), 0, "the body's deadline is not the resumer's");
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 0);
    LEAVES_WITH(&mine, 0);
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

Test(scope, a_bodys_scope_counts_only_while_the_body_runs) { in_virtual_time(counts_only_while_it_runs); }

static void *sleeps_in_body(void *arg)
{
    weft_scope inner;
    (void)arg;
    enter(&inner, 20 * WEFT_MS);
    cr_assert_eq(weft_deadline(), story_began + 10 * WEFT_MS);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 10);
    LEAVES_WITH(&inner, 0);
    weft_shield_enter();
    cr_assert_eq(weft_deadline(), WEFT_FOREVER);
    cr_assert_eq(weft_sleep(10 * WEFT_MS), 0);
    enter(&inner, 5 * WEFT_MS);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 25);
    LEAVES_WITH(&inner, WEFT_ETIMEDOUT);
    weft_coro_yield(NULL); /* with the shield, which is the body's */
    weft_shield_leave();
    return NULL;
}

static void *resumers_scope_holds_inside(void *arg)
{
    weft_scope outer;
    weft_coro *c = make(sleeps_in_body, NULL);
    (void)arg;
    begin();
    enter(&outer, 10 * WEFT_MS);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 25);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 0);
    LEAVES_WITH(&outer, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

Test(scope, a_resumers_scope_holds_in_the_body) { in_virtual_time(resumers_scope_holds_inside); }

static void *scope_in_shielded_resumer(void *arg)
{
    weft_scope s;
    enter(&s, 5 * WEFT_MS);
    SLEEPS_WITH(WEFT_ETIMEDOUT, 5);
    LEAVES_WITH(&s, WEFT_ETIMEDOUT);
    return arg;
}

static void *shielded_resumer(void *arg)
{
    weft_scope outer;
    weft_coro *c = make(scope_in_shielded_resumer, NULL);
    (void)arg;
    begin();
    enter(&outer, 0);
    weft_shield_enter();
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 0);
    weft_shield_leave();
    LEAVES_WITH(&outer, 0);
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

Test(scope, a_bodys_scope_is_inside_the_resumers_shield) { in_virtual_time(shielded_resumer); }

/* Waits for its own token, now as part of one task and now of another. */
static void *wait_bound(void *token)
{
    weft_scope s;
    enter(&s, WEFT_FOREVER);
    cr_assert_eq(weft_scope_bind(&s, token), 0);
    cr_assert_eq(weft_sleep(WEFT_MS), 0);
    weft_coro_yield(NULL);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED);
    weft_coro_yield(NULL);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED);
    LEAVES_WITH(&s, WEFT_ECANCELED);
    return NULL;
}

static void *resume(void *coro)
{
    weft_scope s;
    enter(&s, WEFT_FOREVER);
    int code = weft_coro_resume(coro, NULL, NULL);
    LEAVES_WITH(&s, 0);
    cr_assert_eq(weft_sleep(WEFT_MS), 0, "what was the body's stays with the body");
    return (void *)(intptr_t)code;
}

static void expect_resumed(weft_task *task, int code)
{
    void *result;
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq((intptr_t)result, code);
}

static void *resumed_by_others(void *arg)
{
    weft_token *token;
    (void)arg;
    cr_assert_eq(weft_token_create(&token, NULL), 0);
    weft_coro *c = make(wait_bound, token);
    expect_resumed(start(resume, c), 1);
    weft_task *second = start(resume, c);
    await_idle(second);
    weft_token_cancel(token);
    expect_resumed(second, 1);
    expect_resumed(start(resume, c), 0);
    cr_assert_eq(weft_coro_free(c), 0);
    cr_assert_eq(weft_token_free(token), 0);
    return NULL;
}

WF_TEST_WORKERS(scope, a_body_with_a_scope_is_resumed_by_one_task_after_the_other)
{
    run(workers, resumed_by_others, NULL);
}

static void *cancelled_at_rest(void *arg)
{
    weft_token *token;
    (void)arg;
    cr_assert_eq(weft_token_create(&token, NULL), 0);
    weft_coro *c = make(wait_bound, token);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    weft_token_cancel(token);
    cr_assert_eq(weft_yield(), 0);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 0);
    cr_assert_eq(weft_coro_free(c), 0);
    cr_assert_eq(weft_token_free(token), 0);
    return NULL;
}

WF_TEST_WORKERS(scope, a_token_cancelled_while_the_body_rests_is_met_when_it_goes_on)
{
    run(workers, cancelled_at_rest, NULL);
}
Test(scope, the_same_on_an_ordinary_thread) { on_a_thread(cancelled_at_rest, NULL); }

static void *body_stopped_inside(void *arg)
{
    weft_scope s;
    enter(&s, 0);
    weft_coro_yield(arg);
    weft_coro_yield(arg); /* it was told to return: it ends here, scope and all */
    return NULL;
}

static void *body_forgets(void *arg)
{
    static weft_scope s;
    enter(&s, WEFT_FOREVER);
    return arg;
}

static void *ends_of_bodies(void *arg)
{
    weft_scope mine;
    (void)arg;
    enter(&mine, WEFT_SEC);
    weft_coro *c = make(body_stopped_inside, NULL);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    cr_assert_eq(weft_coro_free(c), 0);
    c = make(body_forgets, NULL);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), WEFT_EPANIC);
    cr_assert_not_null(strstr(weft_coro_error(c), "scope"), "%s", weft_coro_error(c));
    cr_assert_eq(weft_coro_free(c), 0);
    cr_assert_eq(weft_sleep(WEFT_MS), 0);
    LEAVES_WITH(&mine, 0);
    return NULL;
}

Test(scope, a_body_that_ends_in_a_scope_leaves_the_resumers_alone) { in_virtual_time(ends_of_bodies); }

/* ---- panics, and scopes that were forgotten ------------------------------------------------------------------------ */

static void sleep_in_defer(void *codes)
{
    int *code = codes;
    weft_scope s;
    code[0] = weft_sleep(WEFT_MS);
    enter(&s, WEFT_MS);
    code[1] = weft_sleep(WEFT_SEC);
    code[2] = weft_scope_leave(&s);
}

static weft_token *the_token;

static void *panic_in_scopes(void *codes)
{
    weft_scope a, b;
    enter(&a, 0);
    enter(&b, WEFT_FOREVER);
    cr_assert_eq(weft_scope_bind(&b, the_token), 0);
    weft_shield_enter();
    cr_assert_eq(weft_defer(sleep_in_defer, codes), 0);
    weft_panic("in the middle of it");
    return NULL;
}

static void *panics_root(void *arg)
{
    int codes[3] = {1, 1, 1};
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_token_create(&the_token, NULL), 0);
    cr_assert_eq(weft_spawn(&task, panic_in_scopes, codes), 0);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_str_eq(weft_task_error(task), "in the middle of it");
    cr_assert_eq(weft_join(task, NULL), WEFT_EPANIC);
    cr_assert_eq(codes[0], 0, "the scopes were detached");
    cr_assert_eq(codes[1], WEFT_ETIMEDOUT);
    cr_assert_eq(codes[2], WEFT_ETIMEDOUT);
    cr_assert_eq(weft_token_free(the_token), 0, "and their bindings");
    return NULL;
}

WF_TEST_WORKERS(scope, a_panic_inside_detaches_them) { run(workers, panics_root, NULL); }

static void expect_panic_about_scopes(weft_fn fn, void *arg)
{
    weft_task *task = start(fn, arg);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_not_null(strstr(weft_task_error(task), "scope"), "it says \"%s\"", weft_task_error(task));
    cr_assert_eq(weft_join(task, NULL), WEFT_EPANIC);
}

/* In the caller's memory, so that it is there after the frame has gone. */
static void *forget(void *scope)
{
    enter(scope, WEFT_FOREVER);
    return NULL;
}

static void *forget_fired(void *scope)
{
    enter(scope, 0);
    cr_assert_eq(weft_scope_bind(scope, the_token), 0);
    return NULL;
}

/* In its own frame, and with a deferred call on top of where that was. */
static void *forget_with_defer(void *codes)
{
    weft_scope volatile_one;
    weft_group *g;
    enter(&volatile_one, WEFT_FOREVER);
    cr_assert_eq(weft_group_create(&g), 0);
    cr_assert_eq(weft_group_spawn(g, sleep_for_ever, NULL), 0);
    cr_assert_eq(weft_scope_cancel(&volatile_one), 0);
    weft_group *late;
    cr_assert_eq(weft_group_create(&late), 0);
    cr_assert_eq(weft_group_spawn(late, sleep_for_ever, NULL), WEFT_ECANCELED, "made in what has fired already");
    cr_assert_eq(weft_defer(sleep_in_defer, codes), 0);
    return NULL;
}

static void *forgotten_root(void *arg)
{
    weft_scope s;
    int codes[3] = {1, 1, 1};
    (void)arg;
    cr_assert_eq(weft_token_create(&the_token, NULL), 0);
    expect_panic_about_scopes(forget, &s);
    expect_panic_about_scopes(forget_fired, &s);
    cr_assert_eq(weft_token_free(the_token), 0);
    expect_panic_about_scopes(forget_with_defer, codes);
    cr_assert_eq(codes[0], 0, "deferred calls are outside of what was forgotten");
    cr_assert_eq(codes[1], WEFT_ETIMEDOUT);
    cr_assert_eq(codes[2], WEFT_ETIMEDOUT);
    return NULL;
}

WF_TEST_WORKERS(scope, ending_in_one_is_a_panic_that_says_so) { run(workers, forgotten_root, NULL); }

static void *left_in_a_defer_root(void *arg);

static void leave_in_defer(void *scope) { LEAVES_WITH(scope, WEFT_EINVAL); }

static void *left_too_late(void *scope)
{
    enter(scope, WEFT_FOREVER);
    cr_assert_eq(weft_defer(leave_in_defer, scope), 0);
    return NULL;
}

static void *left_in_a_defer_root(void *arg)
{
    weft_scope s;
    (void)arg;
    expect_panic_about_scopes(left_too_late, &s);
    return NULL;
}

Test(scope, deferred_calls_come_after_the_last_moment_to_leave) { in_virtual_time(left_in_a_defer_root); }

/* What keeps a compiler from making one frame of two. */
#define A_FRAME_OF_ITS_OWN __attribute__((noinline, noclone))
#if defined(__clang__)
#undef A_FRAME_OF_ITS_OWN
#define A_FRAME_OF_ITS_OWN __attribute__((noinline))
#endif

/* @depth frames further down, so that the scope lies below those of the await that follows, or among them. */
A_FRAME_OF_ITS_OWN static void enter_and_return(int depth, int64_t timeout)
{
    weft_scope s;
    if (depth > 0)
        enter_and_return(depth - 1, timeout);
    else
        (void)weft_scope_enter(&s, timeout); /* refused where the forgotten one lies */
    __asm__ volatile("" : : "r"(&s) : "memory");
}

static void *gone_then_sleep(void *depth)
{
    enter_and_return((int)(intptr_t)depth, WEFT_FOREVER);
    (void)weft_sleep(WEFT_MS);
    return NULL;
}

static void *gone_then_yield(void *depth)
{
    enter_and_return((int)(intptr_t)depth, 0);
    (void)weft_yield();
    return NULL;
}

static void *gone_then_asks(void *depth)
{
    enter_and_return((int)(intptr_t)depth, WEFT_FOREVER);
    (void)weft_is_cancelled();
    return NULL;
}

static void *gone_then_closes(void *depth)
{
    weft_task *child = start(sleep_for_ever, NULL);
    await_idle(child);
    enter_and_return((int)(intptr_t)depth, WEFT_FOREVER);
    cr_assert_eq(weft_task_close(child), 0, "a close always completes");
    return NULL;
}

/* What waits has nodes on this stack: they must be gone before the stack is. */
static void *gone_then_awaits_token(void *depth)
{
    enter_and_return((int)(intptr_t)depth, WEFT_FOREVER);
    (void)weft_token_wait(the_token);
    (void)weft_token_wait(the_token);
    return NULL;
}

static void *gone_then_awaits_future(void *depth)
{
    enter_and_return((int)(intptr_t)depth, WEFT_FOREVER);
    (void)do_timer(NULL);
    (void)do_group(NULL);
    return NULL;
}

static void *gone_twice(void *depth)
{
    enter_and_return((int)(intptr_t)depth, WEFT_FOREVER);
    (void)weft_scope_enter(&(weft_scope){0}, WEFT_MS);
    enter_and_return(0, WEFT_FOREVER);
    (void)weft_sleep(WEFT_MS);
    return NULL;
}

A_FRAME_OF_ITS_OWN static void wait_and_return(void)
{
    weft_scope s;
    if (weft_scope_enter(&s, WEFT_FOREVER) == 0)
        (void)weft_sleep(WEFT_MS);
    __asm__ volatile("" : : "r"(&s) : "memory");
}

/* The same place in the same frame each time. */
static void *gone_and_entered_again(void *rounds)
{
    for (intptr_t i = 0; i < (intptr_t)rounds + 2; i++)
        wait_and_return();
    return NULL;
}

static void *gone_in_a_body(void *depth)
{
    weft_coro *c = make(gone_then_sleep, depth);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), WEFT_EPANIC);
    cr_assert_not_null(strstr(weft_coro_error(c), "scope"), "%s", weft_coro_error(c));
    cr_assert_eq(weft_coro_free(c), 0);
    weft_panic("a scope was forgotten, elsewhere");
    return NULL;
}

static void *gone_root(void *arg)
{
    static const weft_fn bodies[] = {gone_then_sleep,  gone_then_yield,        gone_then_asks,
                                     gone_then_closes, gone_then_awaits_token, gone_then_awaits_future,
                                     gone_twice,       gone_and_entered_again, gone_in_a_body};
    (void)arg;
    cr_assert_eq(weft_token_create(&the_token, NULL), 0);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        for (intptr_t depth = 0; depth < 40; depth++)
            expect_panic_about_scopes(bodies[i], (void *)depth);
    cr_assert_eq(weft_token_free(the_token), 0, "nobody waits for it any more");
    return NULL;
}

WF_TEST_WORKERS(scope, one_whose_frame_is_gone_is_a_panic_at_the_next_wait)
{
    if (FAKE_STACKS)
        cr_skip_test("locals do not lie on the stack");
    run(workers, gone_root, NULL);
}

/* On the heap it has no frame, and may outlive the function that entered it. */
A_FRAME_OF_ITS_OWN static weft_scope *enter_on_the_heap(void)
{
    weft_scope *s = malloc(sizeof *s);
    enter(s, 5 * WEFT_MS);
    return s;
}

static void *heap(void *arg)
{
    (void)arg;
    begin();
    weft_scope *s = enter_on_the_heap();
    SLEEPS_WITH(WEFT_ETIMEDOUT, 5);
    LEAVES_WITH(s, WEFT_ETIMEDOUT);
    free(s);
    return NULL;
}

Test(scope, one_on_the_heap_may_be_left_elsewhere) { in_virtual_time(heap); }
