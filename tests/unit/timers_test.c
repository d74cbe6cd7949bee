/* timers_test.c - arming, moving, disarming and firing timers, first in order, then while another thread expires them.
 *
 * Time is what expiring is told, so nothing here waits for the clock. */
#include <base/exec.h>
#include <base/rng.h>
#include <pthread.h>
#include <sched.h>
#include <support/test.h>
#include <timer/timers.h>
#include <weft/time.h>

#define MS INT64_C(1000000)

/* ---- a timer that counts -------------------------------------------------------------------------------------- */

typedef struct alarm_clock {
    wf_timer timer;
    int64_t fired_at; /* by the last call of fire */
    unsigned fires;   /* calls of fire; under the timers' lock */
    wf_a32 wakes;     /* of its waker */
    int64_t rearm[3]; /* what fire sets `when` to, one after the other; 0: wakes */
    unsigned rearmed;
    bool armed; /* plain: fire finds it true, or fired after disarm had returned */
    bool quiet; /* fire wakes nobody */
} alarm_clock;

static int alarm_clone(const weft_waker *self, weft_waker *out)
{
    *out = *self;
    return 0;
}

static void alarm_wake_by_ref(const weft_waker *self) { wf_add_rlx(&((alarm_clock *)self->data)->wakes, 1); }
static void alarm_wake(weft_waker *self) { alarm_wake_by_ref(self); }
static void alarm_drop(weft_waker *self) { (void)self; }

static const weft_waker_ops alarm_ops = {alarm_clone, alarm_wake, alarm_wake_by_ref, alarm_drop};

static bool alarm_fire(wf_timer *timer, int64_t now, weft_waker *out)
{
    alarm_clock *a = wf_container(timer, alarm_clock, timer);
    cr_assert(a->armed, "fired after it was disarmed");
    a->fires++;
    a->fired_at = now;
    if (a->rearmed < 3 && a->rearm[a->rearmed]) {
        timer->when = a->rearm[a->rearmed++];
        return false;
    }
    *out = (weft_waker){&alarm_ops, a};
    return !a->quiet;
}

static void alarm_init(alarm_clock *a) { *a = (alarm_clock){.timer.fire = alarm_fire, .armed = true}; }

static int64_t begin(wf_timers *t)
{
    wf_timers_init(t, weft_now());
    return weft_now() / MS * MS + MS; /* a tick's beginning, not before the wheel's */
}

static size_t linked(wf_timers *t)
{
    cr_assert(wf_wheel_check(&t->wheel));
    return wf_wheel_count(&t->wheel);
}

/* ---- one thread ------------------------------------------------------------------------------------------------ */

Test(timers, with_nothing_armed_nothing_is_next_and_nothing_fires)
{
    wf_timers t;
    int64_t now = begin(&t);
    cr_assert_eq(wf_timers_next(&t), WEFT_FOREVER);
    cr_assert_eq(wf_timers_expire(&t, now + WEFT_SEC), 0u);
    cr_assert_eq(wf_timers_next(&t), WEFT_FOREVER);
}

Test(timers, armed_then_expired_too_early_then_in_time_wakes_once)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    cr_assert(wf_timer_arm(&a.timer, &t, now + 10 * MS), "the next expiry is earlier than never");
    cr_assert_eq(wf_timers_next(&t), now + 10 * MS);
    cr_assert_eq(wf_timers_expire(&t, now + 10 * MS - 1), 0u);
    cr_assert_eq(a.fires, 0u);
    cr_assert_eq(wf_timers_expire(&t, now + 10 * MS), 1u);
    cr_assert_eq(a.fired_at, now + 10 * MS);
    cr_assert_eq(a.wakes.v, 1u);
    cr_assert_eq(linked(&t), 0u);
    cr_assert_eq(wf_timers_next(&t), WEFT_FOREVER);
    cr_assert_eq(wf_timers_expire(&t, now + WEFT_SEC), 0u);
    cr_assert_eq(a.wakes.v, 1u);
}

Test(timers, armed_for_the_past_fires_at_the_next_expire)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    wf_timer_arm(&a.timer, &t, now - WEFT_SEC);
    cr_assert_leq(wf_timers_next(&t), now);
    cr_assert_eq(wf_timers_expire(&t, now), 1u);
    cr_assert_eq(a.wakes.v, 1u);
}

Test(timers, started_for_later_is_armed_and_fires_once)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    a.timer.when = now + 5 * MS;
    cr_assert(wf_timer_start(&a.timer, &t));
    cr_assert_eq(linked(&t), 1u);
    cr_assert_leq(wf_timers_next(&t), now + 5 * MS);
    cr_assert_eq(wf_timers_expire(&t, now + 5 * MS - 1), 0u);
    cr_assert_eq(wf_timers_expire(&t, now + 5 * MS), 1u);
    cr_assert_eq(wf_timers_expire(&t, now + WEFT_SEC), 0u);
    cr_assert_eq(a.fires, 1u);
    cr_assert_eq(wf_load_rlx(&a.wakes), 1u);
}

Test(timers, started_for_the_past_is_not_armed_and_is_disarmed_like_any_other)
{
    static const int64_t earlier[] = {0, 1, MS, WEFT_SEC, INT64_MAX};
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    cr_assert_eq(wf_timers_expire(&t, now), 0u);
    wf_wheel_pop(&t.wheel, now); /* nothing was due: else its time stands */
    for (size_t i = 0; i < sizeof earlier / sizeof *earlier; i++) {
        alarm_init(&a);
        a.timer.when = now - earlier[i];
        cr_assert_not(wf_timer_start(&a.timer, &t));
        cr_assert_eq(a.timer.home, &t);
        cr_assert_eq(linked(&t), 0u);
        cr_assert_eq(wf_timers_next(&t), WEFT_FOREVER);
        wf_timer_disarm(&a.timer);
        cr_assert_null(a.timer.home);
    }
    cr_assert_eq(wf_timers_expire(&t, now + WEFT_SEC), 0u);
}

Test(timers, started_for_ever_never_fires)
{
    wf_timers t;
    alarm_clock a;
    begin(&t);
    alarm_init(&a);
    a.timer.when = WEFT_FOREVER;
    cr_assert(wf_timer_start(&a.timer, &t));
    cr_assert_eq(wf_timers_expire(&t, WEFT_FOREVER), 0u);
    wf_timer_disarm(&a.timer);
    cr_assert_eq(linked(&t), 0u);
}

Test(timers, tidied_next_is_that_of_what_is_still_armed)
{
    wf_timers t;
    alarm_clock a, b;
    int64_t now = begin(&t);
    alarm_init(&a);
    alarm_init(&b);
    wf_timer_arm(&a.timer, &t, now + 5 * MS);
    wf_timer_arm(&b.timer, &t, now + 2 * WEFT_SEC - 1);
    wf_timer_disarm(&a.timer);
    cr_assert_leq(wf_timers_next(&t), now + 5 * MS);
    wf_timers_tidy(&t);
    cr_assert_eq(wf_timers_next(&t), now + 2 * WEFT_SEC, "the tick at which it expires");
    cr_assert_eq(wf_timers_expire(&t, now + 2 * WEFT_SEC), 1u);
    wf_timers_tidy(&t);
    cr_assert_eq(wf_timers_next(&t), WEFT_FOREVER);
}

Test(timers, armed_then_armed_for_later_keeps_the_earlier)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    wf_timer_arm(&a.timer, &t, now + 10 * MS);
    cr_assert_not(wf_timer_arm(&a.timer, &t, now + 20 * MS));
    cr_assert_not(wf_timer_arm(&a.timer, &t, now + 10 * MS));
    cr_assert_eq(a.timer.when, now + 10 * MS);
    cr_assert_eq(wf_timers_expire(&t, now + 10 * MS), 1u);
    cr_assert_eq(wf_timers_expire(&t, now + 20 * MS), 0u);
}

Test(timers, armed_then_armed_for_earlier_moves)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    wf_timer_arm(&a.timer, &t, now + 20 * MS);
    cr_assert(wf_timer_arm(&a.timer, &t, now + 10 * MS));
    cr_assert_eq(linked(&t), 1u);
    cr_assert_eq(wf_timers_next(&t), now + 10 * MS);
    cr_assert_eq(wf_timers_expire(&t, now + 10 * MS), 1u);
    cr_assert_eq(wf_timers_expire(&t, now + 20 * MS), 0u);
}

Test(timers, arm_says_whether_the_next_expiry_has_become_earlier)
{
    wf_timers t;
    alarm_clock a[3];
    int64_t now = begin(&t);
    for (int i = 0; i < 3; i++)
        alarm_init(&a[i]);
    cr_assert(wf_timer_arm(&a[0].timer, &t, now + 20 * MS));
    cr_assert_not(wf_timer_arm(&a[1].timer, &t, now + 30 * MS));
    cr_assert_not(wf_timer_arm(&a[2].timer, &t, now + 20 * MS));
    cr_assert(wf_timer_arm(&a[2].timer, &t, now + 19 * MS));
    cr_assert_eq(wf_timers_expire(&t, now + 25 * MS), 2u);
    cr_assert_leq(wf_timers_next(&t), now + 30 * MS);
    cr_assert_gt(wf_timers_next(&t), now + 25 * MS);
}

Test(timers, armed_then_fired_then_armed_again_fires_again)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    for (int i = 1; i <= 5; i++) {
        wf_timer_arm(&a.timer, &t, now + i * 10 * MS);
        cr_assert_eq(wf_timers_expire(&t, now + i * 10 * MS), 1u);
    }
    cr_assert_eq(a.wakes.v, 5u);
}

Test(timers, several_due_at_once_fire_in_the_order_of_their_deadlines)
{
    wf_timers t;
    alarm_clock a[3];
    int64_t now = begin(&t);
    for (int i = 0; i < 3; i++) {
        alarm_init(&a[i]);
        wf_timer_arm(&a[i].timer, &t, now + (3 - i) * 10 * MS);
    }
    cr_assert_eq(wf_timers_expire(&t, now + 20 * MS), 2u);
    cr_assert(a[0].fires == 0 && a[1].fires == 1 && a[2].fires == 1);
    cr_assert_eq(wf_timers_next(&t), now + 30 * MS);
}

Test(timers, more_than_a_batch_due_at_once_all_fire_at_once)
{
    static const size_t counts[] = {31, 32, 33, 64, 65, 1000};
    static alarm_clock a[1000];
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        wf_timers t;
        int64_t now = begin(&t);
        for (size_t i = 0; i < counts[k]; i++) {
            alarm_init(&a[i]);
            wf_timer_arm(&a[i].timer, &t, now + (int64_t)(i % 7) * MS);
        }
        cr_assert_eq(wf_timers_expire(&t, now + 7 * MS), (unsigned)counts[k]);
        for (size_t i = 0; i < counts[k]; i++)
            cr_assert_eq(a[i].wakes.v, 1u);
        cr_assert_eq(wf_timers_next(&t), WEFT_FOREVER);
    }
}

/* ---- what fire may do -------------------------------------------------------------------------------------------- */

Test(timers, fire_that_sets_when_is_armed_again_until_it_wakes)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    a.rearm[0] = now + 20 * MS;
    a.rearm[1] = now + 300 * MS;
    wf_timer_arm(&a.timer, &t, now + 10 * MS);
    cr_assert_eq(wf_timers_expire(&t, now + 10 * MS), 0u);
    cr_assert_eq(linked(&t), 1u);
    cr_assert_eq(wf_timers_next(&t), now + 20 * MS);
    cr_assert_eq(wf_timers_expire(&t, now + 20 * MS - 1), 0u);
    cr_assert_eq(a.fires, 1u);
    cr_assert_eq(wf_timers_expire(&t, now + 20 * MS), 0u);
    cr_assert_leq(wf_timers_next(&t), now + 300 * MS);
    cr_assert_eq(wf_timers_expire(&t, now + 299 * MS), 0u);
    cr_assert_eq(a.fires, 2u);
    cr_assert_eq(wf_timers_expire(&t, now + 300 * MS), 1u);
    cr_assert_eq(a.fires, 3u);
    cr_assert_eq(linked(&t), 0u);
}

Test(timers, fire_that_sets_when_is_disarmed_like_any_other)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    a.rearm[0] = now + 20 * MS;
    wf_timer_arm(&a.timer, &t, now + 10 * MS);
    wf_timers_expire(&t, now + 10 * MS);
    wf_timer_disarm(&a.timer);
    cr_assert_eq(linked(&t), 0u);
    cr_assert_eq(wf_timers_expire(&t, now + WEFT_SEC), 0u);
    cr_assert_eq(a.fires, 1u);
}

Test(timers, fire_that_wakes_nobody_is_gone)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    a.quiet = true;
    wf_timer_arm(&a.timer, &t, now + 10 * MS);
    cr_assert_eq(wf_timers_expire(&t, now + 10 * MS), 0u);
    cr_assert_eq(a.fires, 1u);
    cr_assert_eq(linked(&t), 0u);
    a.quiet = false;
    wf_timer_arm(&a.timer, &t, now + 20 * MS);
    cr_assert_eq(wf_timers_expire(&t, now + 20 * MS), 1u);
}

/* Two threads expire: who read the clock first comes second. Its now was handed to fire, which took the timer for early and
 * asked for nothing new: it was lost. */
Test(timers, expired_with_an_older_clock_than_before_tells_fire_a_time_that_is_not_before_its_deadline)
{
    wf_timers t;
    alarm_clock early, late;
    int64_t now = begin(&t);
    alarm_init(&early);
    alarm_init(&late);
    wf_timer_arm(&early.timer, &t, now + 10 * MS);
    cr_assert_eq(wf_timers_expire(&t, now + 20 * MS), 1u);
    wf_timer_arm(&early.timer, &t, now + 11 * MS);
    wf_timer_arm(&late.timer, &t, now + 15 * MS);
    wf_timers_expire(&t, now + 12 * MS);
    cr_assert(late.fires == 0 || late.fired_at >= now + 15 * MS);
    wf_timers_expire(&t, now + 20 * MS);
    cr_assert_eq(late.wakes.v, 1u);
    cr_assert_geq(late.fired_at, now + 15 * MS);
}

/* ---- disarm ------------------------------------------------------------------------------------------------------ */

Test(timers, armed_then_disarmed_never_fires_and_leaves_nothing_behind)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    wf_timer_arm(&a.timer, &t, now + 10 * MS);
    wf_timer_disarm(&a.timer);
    cr_assert_eq(linked(&t), 0u);
    cr_assert_eq(wf_timers_expire(&t, now + WEFT_SEC), 0u);
    cr_assert_eq(a.fires, 0u);
    cr_assert_eq(wf_timers_next(&t), WEFT_FOREVER);
}

Test(timers, disarm_of_what_was_never_armed_has_fired_or_is_disarmed_does_nothing)
{
    wf_timers t;
    alarm_clock a, other;
    int64_t now = begin(&t);
    alarm_init(&a);
    alarm_init(&other);
    wf_timer_arm(&other.timer, &t, now + 20 * MS);
    wf_timer_disarm(&a.timer);
    wf_timer_arm(&a.timer, &t, now + 10 * MS);
    wf_timers_expire(&t, now + 10 * MS);
    wf_timer_disarm(&a.timer);
    wf_timer_disarm(&a.timer);
    cr_assert_eq(linked(&t), 1u, "the other's");
    cr_assert_eq(wf_timers_expire(&t, now + 20 * MS), 1u);
}

/* "A past time yields once", and the farthest past is one. What disarm takes out must not depend on the deadline. */
Test(timers, armed_for_the_farthest_past_then_disarmed_never_fires)
{
    wf_timers t;
    alarm_clock a;
    int64_t now = begin(&t);
    alarm_init(&a);
    wf_timer_arm(&a.timer, &t, INT64_MIN);
    wf_timer_disarm(&a.timer);
    size_t left = linked(&t);
    cr_assert_eq(wf_timers_expire(&t, now + WEFT_SEC), 0u);
    cr_assert_eq(left, 0u);
}

Test(timers, armed_for_ever_never_fires_and_is_disarmed_like_any_other)
{
    wf_timers t;
    alarm_clock a;
    begin(&t);
    alarm_init(&a);
    cr_assert_not(wf_timer_arm(&a.timer, &t, WEFT_FOREVER));
    cr_assert_eq(wf_timers_expire(&t, WEFT_FOREVER - 1), 0u);
    wf_timer_disarm(&a.timer);
    cr_assert_eq(linked(&t), 0u);
}

/* ---- d10: who migrates -------------------------------------------------------------------------------------------- */

Test(timers, d10_a_timer_is_disarmed_in_the_wheel_that_holds_it)
{
    wf_timers old, new;
    alarm_clock a, in_old, in_new;
    int64_t now = begin(&old);
    begin(&new);
    alarm_init(&a);
    alarm_init(&in_old);
    alarm_init(&in_new);
    wf_timer_arm(&in_old.timer, &old, now + 10 * MS);
    wf_timer_arm(&in_new.timer, &new, now + 10 * MS); /* the same place in the other wheel */
    wf_timer_arm(&a.timer, &old, now + 10 * MS);
    wf_timer_disarm(&a.timer); /* by a task that runs where `new` is expired now */
    cr_assert_eq(linked(&old), 1u);
    cr_assert_eq(linked(&new), 1u);
    cr_assert_eq(wf_timers_expire(&old, now + 10 * MS), 1u);
    cr_assert_eq(wf_timers_expire(&new, now + 10 * MS), 1u);
    cr_assert(a.fires == 0 && in_old.fires == 1 && in_new.fires == 1);
}

Test(timers, d10_armed_in_one_wheel_then_for_earlier_in_another_moves_there)
{
    wf_timers old, new;
    alarm_clock a;
    int64_t now = begin(&old);
    begin(&new);
    alarm_init(&a);
    wf_timer_arm(&a.timer, &old, now + 20 * MS);
    cr_assert(wf_timer_arm(&a.timer, &new, now + 10 * MS));
    cr_assert_eq(linked(&old), 0u);
    cr_assert_eq(linked(&new), 1u);
    cr_assert_eq(wf_timers_expire(&old, now + 20 * MS), 0u);
    cr_assert_eq(wf_timers_expire(&new, now + 10 * MS), 1u);
}

Test(timers, d10_armed_in_one_wheel_then_for_later_in_another_stays)
{
    wf_timers old, new;
    alarm_clock a;
    int64_t now = begin(&old);
    begin(&new);
    alarm_init(&a);
    wf_timer_arm(&a.timer, &old, now + 10 * MS);
    cr_assert_not(wf_timer_arm(&a.timer, &new, now + 20 * MS));
    cr_assert_eq(linked(&old), 1u);
    cr_assert_eq(linked(&new), 0u);
    cr_assert_eq(wf_timers_expire(&old, now + 10 * MS), 1u);
    cr_assert(wf_timer_arm(&a.timer, &new, now + 20 * MS), "after it fired, wherever its task is");
    cr_assert_eq(linked(&new), 1u);
    wf_timer_disarm(&a.timer);
    cr_assert_eq(linked(&new), 0u);
}

/* ---- weft_timer, polled with a waker of somebody else's ---------------------------------------------------------- */

typedef struct foreign {
    int refs, wakes, refusals; /* clones that are still refused */
} foreign;

static int foreign_clone(const weft_waker *self, weft_waker *out)
{
    foreign *f = self->data;
    if (f->refusals > 0) {
        f->refusals--;
        return WEFT_ENOMEM;
    }
    f->refs++;
    *out = *self;
    return 0;
}

static void foreign_drop(weft_waker *self) { ((foreign *)self->data)->refs--; }
static void foreign_wake_by_ref(const weft_waker *self) { ((foreign *)self->data)->wakes++; }

static void foreign_wake(weft_waker *self)
{
    foreign_wake_by_ref(self);
    foreign_drop(self);
}

static const weft_waker_ops foreign_ops = {foreign_clone, foreign_wake, foreign_wake_by_ref, foreign_drop};

static weft_poll poll_as(wf_exec *exec, weft_timer *timer, foreign *f)
{
    weft_context cx = {.waker = {&foreign_ops, f}, .exec = exec};
    exec->waits = &exec->unread;
    return weft_timer_poll(&cx, timer);
}

Test(timers, a_waker_that_cannot_be_cloned_leaves_the_timer_usable)
{
    wf_timers t;
    wf_exec exec = {.timers = &t};
    foreign one = {.refusals = 2}, other = {.refusals = 1};
    weft_timer timer;
    int64_t when = begin(&t) + 3600 * WEFT_SEC;
    weft_timer_init(&timer, when);
    cr_assert_eq(poll_as(&exec, &timer, &one), WEFT_ENOMEM);
    weft_timer_reset(&timer, when);
    cr_assert_eq(poll_as(&exec, &timer, &one), WEFT_ENOMEM);
    cr_assert_eq(linked(&t), 0u);
    cr_assert_eq(poll_as(&exec, &timer, &one), WEFT_PENDING);
    cr_assert_eq(poll_as(&exec, &timer, &other), WEFT_ENOMEM);
    cr_assert_eq(one.refs, 1, "it was armed for that one, and still is");
    cr_assert_eq(poll_as(&exec, &timer, &other), WEFT_PENDING);
    cr_assert_eq(one.refs, 0);
    cr_assert_eq(other.refs, 1);
    cr_assert_eq(wf_timers_expire(&t, when), 1u);
    cr_assert_eq(one.wakes, 0);
    cr_assert_eq(other.wakes, 1);
    cr_assert_eq(other.refs, 0);
    cr_assert_eq(poll_as(&exec, &timer, &one), WEFT_READY);
    weft_timer_drop(&timer);
}

Test(timers, a_waker_goes_with_the_drop_and_with_the_reset)
{
    wf_timers here, there;
    wf_exec exec = {.timers = &here}, elsewhere = {.timers = &there};
    foreign f = {.refs = 0};
    weft_timer timer;
    int64_t when = begin(&here) + 3600 * WEFT_SEC;
    begin(&there);
    weft_timer_init(&timer, when);
    cr_assert_eq(poll_as(&exec, &timer, &f), WEFT_PENDING);
    cr_assert_eq(poll_as(&elsewhere, &timer, &f), WEFT_PENDING);
    cr_assert_eq(f.refs, 1);
    cr_assert_eq(linked(&here), 1u);
    cr_assert_eq(linked(&there), 0u, "it stays at home");
    weft_timer_reset(&timer, when);
    cr_assert_eq(f.refs, 0);
    cr_assert_eq(linked(&here), 0u);
    cr_assert_eq(poll_as(&elsewhere, &timer, &f), WEFT_PENDING);
    cr_assert_eq(linked(&there), 1u);
    weft_timer_drop(&timer);
    weft_timer_drop(&timer);
    cr_assert_eq(f.refs, 0);
    cr_assert_eq(linked(&there), 0u);
    cr_assert_eq(wf_timers_expire(&here, when) + wf_timers_expire(&there, when), 0u);
    cr_assert_eq(f.wakes, 0);
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

enum { WHEELS = 2, OWNERS = 2, ROUNDS = 100000 };

typedef struct rush {
    wf_timers timers[WHEELS];
    wf_ai64 now;
    wf_a32 owners; /* that have not finished */
    wf_a64 woken;  /* what expiring said */
} rush;

typedef struct owner {
    rush *r;
    uint64_t seed, fires, wakes;
} owner;

static void *expire_in_a_loop(void *arg)
{
    rush *r = arg;
    while (wf_load_acq(&r->owners)) {
        for (int i = 0; i < WHEELS; i++)
            wf_add_rlx(&r->woken, wf_timers_expire(&r->timers[i], wf_load_rlx(&r->now)));
        sched_yield();
    }
    return NULL;
}

/* The waker outlives the timer, as a task's header does. */
static void owner_wake_by_ref(const weft_waker *self) { wf_add_rlx((wf_a64 *)self->data, 1); }
static void owner_wake(weft_waker *self) { owner_wake_by_ref(self); }
static const weft_waker_ops owner_ops = {alarm_clone, owner_wake, owner_wake_by_ref, alarm_drop};

typedef struct brief {
    wf_timer timer;
    wf_a64 *wakes;
    uint64_t fires, rearms; /* plain: under the lock, and the owner's once it has disarmed */
    bool armed;
} brief;

static bool brief_fire(wf_timer *timer, int64_t now, weft_waker *out)
{
    brief *b = wf_container(timer, brief, timer);
    cr_assert(b->armed, "fired after it was disarmed");
    if (b->rearms) {
        b->rearms--;
        timer->when = now + MS;
        return false;
    }
    b->fires++;
    *out = (weft_waker){&owner_ops, b->wakes};
    return true;
}

/* Arms, here and there, sooner and later; disarms; and the memory goes. */
static void *arm_and_disarm(void *arg)
{
    owner *o = arg;
    rush *r = o->r;
    wf_a64 *wakes = calloc(1, sizeof *wakes);
    wf_rng rng;
    wf_rng_seed(&rng, o->seed);
    for (size_t i = wf_test_scale(ROUNDS); i > 0; i--) {
        brief *b = calloc(1, sizeof *b);
        *b = (brief){.timer.fire = brief_fire, .wakes = wakes, .rearms = wf_rng_below(&rng, 3), .armed = true};
        int64_t now = wf_add_rlx(&r->now, MS / 4);
        for (uint32_t arms = wf_rng_below(&rng, 3) + 1; arms > 0; arms--) {
            wf_timer_arm(&b->timer, &r->timers[wf_rng_below(&rng, WHEELS)], now + wf_rng_below(&rng, 3 * MS));
            if (wf_rng_below(&rng, 8) == 0)
                sched_yield();
        }
        if (wf_rng_below(&rng, 64) == 0) /* on another thread than its expirer this fires in the midst of what follows */
            wf_add_rlx(&r->woken, wf_timers_expire(&r->timers[wf_rng_below(&rng, WHEELS)], now));
        wf_timer_disarm(&b->timer);
        b->armed = false;
        o->fires += b->fires;
        memset(b, 0xa5, sizeof *b);
        free(b);
    }
    wf_add_acqrel(&r->owners, (uint32_t)-1);
    while (wf_load_acq(wakes) < o->fires) /* wakers are woken after the lock is released */
        sched_yield();
    o->wakes = wf_load_acq(wakes);
    free(wakes);
    return NULL;
}

Test(timers_threads, nothing_fires_after_disarm_returns_while_others_expire_in_a_loop)
{
    static rush r;
    pthread_t expirer, owners[OWNERS];
    owner each[OWNERS];
    uint64_t fires = 0;
    for (int i = 0; i < WHEELS; i++)
        r.now.v = begin(&r.timers[i]);
    r.owners.v = OWNERS;
    for (int i = 0; i < OWNERS; i++) {
        each[i] = (owner){.r = &r, .seed = (uint64_t)i + 1};
        cr_assert_eq(pthread_create(&owners[i], NULL, arm_and_disarm, &each[i]), 0);
    }
    cr_assert_eq(pthread_create(&expirer, NULL, expire_in_a_loop, &r), 0);
    for (int i = 0; i < OWNERS; i++) {
        pthread_join(owners[i], NULL);
        cr_assert_eq(each[i].wakes, each[i].fires, "a waker for each that fired");
        fires += each[i].fires;
    }
    pthread_join(expirer, NULL);
    cr_assert_eq(r.woken.v, fires);
    cr_assert_gt(fires, 0u);
    for (int i = 0; i < WHEELS; i++)
        cr_assert_eq(linked(&r.timers[i]), 0u);
}

/* One thread arms and moves to earlier; nothing is lost: what is armed fires once time has come. */
typedef struct relay {
    wf_timers timers;
    wf_ai64 now;
    wf_a32 stop;
} relay;

static void *let_time_pass(void *arg)
{
    relay *r = arg;
    while (!wf_load_acq(&r->stop)) {
        wf_timers_expire(&r->timers, wf_add_rlx(&r->now, MS));
        sched_yield();
    }
    return NULL;
}

Test(timers_threads, each_that_is_armed_and_moved_while_time_passes_fires_once_a_round)
{
    static relay r;
    static alarm_clock a;
    pthread_t expirer;
    wf_rng rng;
    wf_rng_seed(&rng, 11);
    r.now.v = begin(&r.timers);
    alarm_init(&a);
    cr_assert_eq(pthread_create(&expirer, NULL, let_time_pass, &r), 0);
    size_t rounds = wf_test_scale(20000);
    for (uint32_t i = 1; i <= rounds; i++) {
        int64_t when = wf_load_rlx(&r.now) + wf_rng_below(&rng, 4 * MS);
        wf_timer_arm(&a.timer, &r.timers, when);
        while (wf_load_acq(&a.wakes) < i)
            sched_yield();
        cr_assert_eq(wf_load_acq(&a.wakes), i);
    }
    wf_store_rel(&r.stop, 1);
    pthread_join(expirer, NULL);
    cr_assert_eq(linked(&r.timers), 0u);
    cr_assert_eq(a.fires, (unsigned)rounds);
}
