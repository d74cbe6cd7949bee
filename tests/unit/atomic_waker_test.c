/* atomic_waker_test.c - wakers, and the cell that holds one: each order of events by itself, then all at once on
 * threads.
 *
 * Model E of the project's semantics, and its defect d34. */
#include <base/atomic.h>
#include <base/rng.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <support/test.h>
#include <time.h>
#include <weft/future.h>

enum { PATIENCE_SECONDS = 30 };
#define ROUNDS ((uint32_t)wf_test_scale(100000))

/* ---- a sleeper that counts ---------------------------------------------------------------------------------- */

typedef struct sleeper {
    wf_ai64 clones, wakes, drops; /* references made, woken (with or without giving one up), given up */
    sem_t bell;
    int clone_fails;             /* what clone returns */
    void (*on_clone)(void *arg); /* called inside clone, drop and wake: for events in the midst of others */
    void (*on_drop)(void *arg);
    void (*on_wake)(void *arg);
    void *arg;
} sleeper;

static int sleeper_clone(const weft_waker *self, weft_waker *out)
{
    sleeper *s = self->data;
    if (s->on_clone)
        s->on_clone(s->arg);
    if (s->clone_fails)
        return s->clone_fails;
    wf_add_rlx(&s->clones, 1);
    *out = *self;
    return 0;
}

static void sleeper_wake_by_ref(const weft_waker *self)
{
    sleeper *s = self->data;
    wf_add_rlx(&s->wakes, 1);
    if (s->on_wake)
        s->on_wake(s->arg);
    sem_post(&s->bell);
}

static void sleeper_drop(weft_waker *self)
{
    sleeper *s = self->data;
    wf_add_rlx(&s->drops, 1);
    if (s->on_drop)
        s->on_drop(s->arg);
}

static void sleeper_wake(weft_waker *self)
{
    sleeper *s = self->data;
    wf_add_rlx(&s->drops, 1);
    sleeper_wake_by_ref(self);
}

static const weft_waker_ops sleeper_ops = {sleeper_clone, sleeper_wake, sleeper_wake_by_ref, sleeper_drop};

static weft_waker waker_of(sleeper *s) { return (weft_waker){&sleeper_ops, s}; }

static void sleeper_init(sleeper *s)
{
    *s = (sleeper){.clone_fails = 0};
    sem_init(&s->bell, 0, 0);
}

static bool sleep_bounded(sleeper *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_SECONDS;
    return sem_timedwait(&s->bell, &until) == 0;
}

static int64_t wakes(sleeper *s) { return wf_load_rlx(&s->wakes); }
/* References that the cell still has. */
static int64_t held(sleeper *s) { return wf_load_rlx(&s->clones) - wf_load_rlx(&s->drops); }

static int register_sleeper(weft_atomic_waker *cell, sleeper *s)
{
    weft_waker w = waker_of(s);
    return weft_atomic_waker_register(cell, &w);
}

static void expect_usable(weft_atomic_waker *cell)
{
    sleeper s;
    sleeper_init(&s);
    cr_assert_eq(register_sleeper(cell, &s), 0);
    cr_assert_eq(held(&s), 1);
    cr_assert_eq(wakes(&s), 0);
    weft_atomic_waker_wake(cell);
    cr_assert_eq(wakes(&s), 1);
    cr_assert_eq(held(&s), 0);
}

/* ---- wakers ------------------------------------------------------------------------------------------------- */

Test(waker, an_empty_waker_wakes_nobody_and_clones_to_an_empty_one)
{
    sleeper s;
    sleeper_init(&s);
    weft_waker empty = {NULL, NULL}, out = waker_of(&s);
    weft_waker_wake(&empty);
    weft_waker_wake_by_ref(&empty);
    weft_waker_drop(&empty);
    cr_assert_eq(weft_waker_clone(&empty, &out), 0);
    cr_assert(weft_waker_will_wake(&empty, &out));
    cr_assert_null(out.ops);
}

Test(waker, wake_and_drop_empty_it_and_wake_by_ref_does_not)
{
    sleeper s;
    sleeper_init(&s);
    weft_waker w = waker_of(&s), other;
    cr_assert_eq(weft_waker_clone(&w, &other), 0);
    cr_assert(weft_waker_will_wake(&w, &other));
    weft_waker_wake_by_ref(&w);
    cr_assert_eq(w.data, (void *)&s);
    weft_waker_wake(&w);
    cr_assert(w.ops == NULL && w.data == NULL);
    weft_waker_drop(&other);
    cr_assert(other.ops == NULL && other.data == NULL);
    cr_assert_eq(wakes(&s), 2);
    cr_assert_eq(wf_load_rlx(&s.drops), 2);
}

Test(waker, a_clone_that_fails_leaves_out_empty)
{
    sleeper s;
    sleeper_init(&s);
    s.clone_fails = WEFT_ENOMEM;
    weft_waker w = waker_of(&s), out = waker_of(&s);
    cr_assert_eq(weft_waker_clone(&w, &out), WEFT_ENOMEM);
    cr_assert(out.ops == NULL && out.data == NULL);
}

/* Wakes the waker inside the struct that it is about to free. */
typedef struct holder {
    weft_waker waker;
    sleeper s;
} holder;

static void free_holder(void *arg) { free(arg); }

static void forget_sleeper(weft_waker *self)
{
    sleeper *s = self->data;
    s->on_wake(s->arg);
}

Test(waker, a_wake_that_frees_the_place_of_its_waker_touches_it_no_more)
{
    static const weft_waker_ops freeing = {sleeper_clone, forget_sleeper, sleeper_wake_by_ref, forget_sleeper};
    for (int drop = 0; drop < 2; drop++) {
        holder *h = calloc(1, sizeof *h);
        cr_assert_not_null(h);
        h->s.on_wake = free_holder;
        h->s.arg = h;
        h->waker = (weft_waker){&freeing, &h->s};
        (drop ? weft_waker_drop : weft_waker_wake)(&h->waker);
    }
}

/* ---- the cell, one event after the other -------------------------------------------------------------------- */

Test(atomic_waker, wake_with_nothing_registered_is_a_no_op)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    weft_atomic_waker_wake(&cell);
    weft_atomic_waker_wake(&cell);
    expect_usable(&cell);
}

Test(atomic_waker, wake_after_register_wakes_once_and_forgets)
{
    weft_atomic_waker cell;
    sleeper s;
    weft_atomic_waker_init(&cell);
    sleeper_init(&s);
    cr_assert_eq(register_sleeper(&cell, &s), 0);
    weft_atomic_waker_wake(&cell);
    weft_atomic_waker_wake(&cell);
    cr_assert_eq(wakes(&s), 1);
    cr_assert_eq(held(&s), 0);
}

Test(atomic_waker, register_the_same_again_saves_the_clone)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    sleeper s;
    sleeper_init(&s);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(register_sleeper(&cell, &s), 0);
    cr_assert_eq(wf_load_rlx(&s.clones), 1);
    weft_atomic_waker_wake(&cell);
    cr_assert_eq(wakes(&s), 1);
    cr_assert_eq(held(&s), 0);
}

Test(atomic_waker, register_another_drops_the_old_unwoken)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    sleeper old, new;
    sleeper_init(&old);
    sleeper_init(&new);
    register_sleeper(&cell, &old);
    register_sleeper(&cell, &new);
    cr_assert_eq(held(&old), 0);
    weft_atomic_waker_wake(&cell);
    cr_assert_eq(wakes(&old), 0);
    cr_assert_eq(wakes(&new), 1);
    cr_assert_eq(held(&new), 0);
}

Test(atomic_waker, register_of_an_empty_waker_empties_the_cell)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    weft_waker empty = {NULL, NULL}, out;
    sleeper s;
    sleeper_init(&s);
    register_sleeper(&cell, &s);
    cr_assert_eq(weft_atomic_waker_register(&cell, &empty), 0);
    cr_assert_eq(held(&s), 0);
    cr_assert_eq(wakes(&s), 0);
    cr_assert_eq(weft_atomic_waker_take(&cell, &out), 0);
}

Test(atomic_waker, take_after_register_hands_it_over_unwoken)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    weft_waker taken, none;
    sleeper s;
    sleeper_init(&s);
    register_sleeper(&cell, &s);
    cr_assert_eq(weft_atomic_waker_take(&cell, &taken), 1);
    cr_assert_eq(wakes(&s), 0);
    cr_assert_eq(held(&s), 1);
    cr_assert_eq(weft_atomic_waker_take(&cell, &none), 0);
    cr_assert(none.ops == NULL && none.data == NULL);
    weft_atomic_waker_wake(&cell);
    cr_assert_eq(wakes(&s), 0);
    weft_waker_drop(&taken);
    expect_usable(&cell);
}

/* ---- the cell, one event in the midst of another ------------------------------------------------------------- */

static void wake_cell(void *cell) { weft_atomic_waker_wake(cell); }

Test(atomic_waker, wake_during_register_wakes_the_registrant)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    sleeper s;
    sleeper_init(&s);
    s.on_clone = wake_cell;
    s.arg = &cell;
    cr_assert_eq(register_sleeper(&cell, &s), 0);
    cr_assert_eq(wakes(&s), 1);
    cr_assert_eq(held(&s), 0);
    expect_usable(&cell);
}

Test(atomic_waker, wake_during_register_wakes_the_old_waker_too)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    sleeper old, new;
    sleeper_init(&old);
    sleeper_init(&new);
    register_sleeper(&cell, &old);
    new.on_clone = wake_cell;
    new.arg = &cell;
    cr_assert_eq(register_sleeper(&cell, &new), 0);
    cr_assert_eq(wakes(&old), 1);
    cr_assert_eq(wakes(&new), 1);
    cr_assert_eq(held(&old), 0);
    cr_assert_eq(held(&new), 0);
    expect_usable(&cell);
}

static void take_from_cell(void *cell)
{
    weft_waker out = {&sleeper_ops, NULL};
    cr_assert_eq(weft_atomic_waker_take(cell, &out), 0);
    cr_assert_null(out.ops);
}

Test(atomic_waker, take_during_register_gets_nothing_and_the_registrant_is_woken)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    sleeper s;
    sleeper_init(&s);
    s.on_clone = take_from_cell;
    s.arg = &cell;
    register_sleeper(&cell, &s);
    cr_assert_eq(wakes(&s), 1);
    cr_assert_eq(held(&s), 0);
    expect_usable(&cell);
}

/* The step in which a waker holds the cell has no foreign code in it, so the word is set by hand. */
static void hold_for_waking(weft_atomic_waker *cell) { cell->state_[0] = 2; }

Test(atomic_waker, register_during_wake_wakes_the_new_waker_at_once)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    sleeper s;
    sleeper_init(&s);
    hold_for_waking(&cell);
    cr_assert_eq(register_sleeper(&cell, &s), 0);
    cr_assert_eq(wakes(&s), 1);
    cr_assert_eq(wf_load_rlx(&s.clones), 0);
    cr_assert_eq(cell.state_[0], 2u);
}

Test(atomic_waker, wake_during_wake_leaves_it_to_the_first)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    sleeper s;
    sleeper_init(&s);
    register_sleeper(&cell, &s);
    hold_for_waking(&cell);
    weft_atomic_waker_wake(&cell);
    cr_assert_eq(wakes(&s), 0);
    cr_assert_eq(held(&s), 1);
    cr_assert_eq(cell.state_[0], 2u);
}

typedef struct second {
    weft_atomic_waker *cell;
    sleeper s;
} second;

static void register_second(void *arg)
{
    second *other = arg;
    cr_assert_eq(register_sleeper(other->cell, &other->s), 0);
}

Test(atomic_waker, register_during_register_wakes_the_later_and_keeps_the_first)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    second loser = {.cell = &cell};
    sleeper first;
    sleeper_init(&loser.s);
    sleeper_init(&first);
    first.on_clone = register_second;
    first.arg = &loser;
    cr_assert_eq(register_sleeper(&cell, &first), 0);
    cr_assert_eq(wakes(&loser.s), 1);
    cr_assert_eq(wf_load_rlx(&loser.s.clones), 0);
    cr_assert_eq(wakes(&first), 0);
    weft_atomic_waker_wake(&cell);
    cr_assert_eq(wakes(&first), 1);
    cr_assert_eq(held(&first), 0);
}

/* ---- d34 ---------------------------------------------------------------------------------------------------- */

Test(atomic_waker, d34_a_clone_that_fails_leaves_the_cell_usable)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    sleeper old, new;
    sleeper_init(&old);
    sleeper_init(&new);
    register_sleeper(&cell, &old);
    new.clone_fails = WEFT_ENOMEM;
    cr_assert_eq(register_sleeper(&cell, &new), WEFT_ENOMEM);
    cr_assert_eq(wakes(&new), 1, "it must try again");
    cr_assert_eq(wakes(&old), 0);
    cr_assert_eq(held(&old), 0);
    weft_atomic_waker_wake(&cell);
    cr_assert_eq(wakes(&old), 0);
    cr_assert_eq(wakes(&new), 1, "nothing was registered");
    expect_usable(&cell);
}

Test(atomic_waker, d34_a_wake_during_a_clone_that_fails_wakes_old_and_new)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    sleeper old, new;
    sleeper_init(&old);
    sleeper_init(&new);
    register_sleeper(&cell, &old);
    new.clone_fails = WEFT_ENOMEM;
    new.on_clone = wake_cell;
    new.arg = &cell;
    cr_assert_eq(register_sleeper(&cell, &new), WEFT_ENOMEM);
    cr_assert_eq(wakes(&old), 1);
    cr_assert_eq(wakes(&new), 1);
    cr_assert_eq(held(&old), 0);
    expect_usable(&cell);
}

Test(atomic_waker, d34_old_waker_dropped_after_unlock_may_reenter)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    second third = {.cell = &cell};
    sleeper old, new;
    sleeper_init(&third.s);
    sleeper_init(&old);
    sleeper_init(&new);
    register_sleeper(&cell, &old);
    old.on_drop = register_second;
    old.arg = &third;
    register_sleeper(&cell, &new);
    cr_assert_eq(wakes(&third.s), 0, "the drop found the cell free");
    cr_assert_eq(held(&third.s), 1);
    cr_assert_eq(held(&new), 0, "replaced by what the drop registered");
    weft_atomic_waker_wake(&cell);
    cr_assert_eq(wakes(&third.s), 1);
}

Test(atomic_waker, d34_old_waker_dropped_after_unlock_may_wake_the_cell)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    sleeper old, new;
    sleeper_init(&old);
    sleeper_init(&new);
    register_sleeper(&cell, &old);
    old.on_drop = wake_cell;
    old.arg = &cell;
    register_sleeper(&cell, &new);
    cr_assert_eq(wakes(&new), 1);
    cr_assert_eq(held(&new), 0);
    expect_usable(&cell);
}

Test(atomic_waker, d34_a_woken_waker_may_register_again_at_once)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    second again = {.cell = &cell};
    sleeper s;
    sleeper_init(&again.s);
    sleeper_init(&s);
    s.on_wake = register_second;
    s.arg = &again;
    register_sleeper(&cell, &s);
    weft_atomic_waker_wake(&cell);
    cr_assert_eq(wakes(&again.s), 0);
    cr_assert_eq(held(&again.s), 1);
    weft_atomic_waker_wake(&cell);
    cr_assert_eq(wakes(&again.s), 1);
}

/* ---- all at once -------------------------------------------------------------------------------------------- */

enum { PRODUCERS = 3 };

/* Short waits without the scheduler, so that what is to collide does. */
static void relax_or_yield(unsigned *tries)
{
    if (++*tries % 256)
        wf_cpu_relax();
    else
        sched_yield();
}

/* Makes registering take a while, a different one each time, so that wakes come in its midst. */
static void dawdle(void *rng)
{
    for (uint32_t n = wf_rng_below(rng, 256); n > 0; n--)
        wf_cpu_relax();
    if (wf_rng_below(rng, 32) == 0)
        sched_yield();
}

typedef struct stress {
    weft_atomic_waker cell;
    wf_a32 round;               /* the registrant's: producers may produce up to this one */
    wf_a32 produced[PRODUCERS]; /* each written by one producer, relaxed: only the cell orders it */
    wf_a32 give_up;
} stress;

typedef struct producer {
    pthread_t thread;
    stress *test;
    wf_a32 *produced;
} producer;

static void *produce_then_wake(void *arg)
{
    producer *p = arg;
    for (uint32_t next = 1; next <= ROUNDS; next++) {
        for (unsigned tries = 0; wf_load_acq(&p->test->round) < next;) {
            if (wf_load_rlx(&p->test->give_up))
                return NULL;
            relax_or_yield(&tries);
        }
        wf_store_rlx(p->produced, next);
        weft_atomic_waker_wake(&p->test->cell);
    }
    return NULL;
}

static bool all_produced(stress *t, uint32_t round)
{
    for (int i = 0; i < PRODUCERS; i++)
        if (wf_load_rlx(&t->produced[i]) < round)
            return false;
    return true;
}

/* Register, then look, and sleep only then. Rings from before are forgotten first: they would hide a wake that is lost.
 * Empty wakers come between, so that clones and drops take part. */
static bool await_round(stress *t, sleeper *s, uint32_t round)
{
    static const weft_waker none = {NULL, NULL};
    for (;;) {
        while (sem_trywait(&s->bell) == 0)
            continue;
        if (round % 3 == 0)
            weft_atomic_waker_register(&t->cell, &none);
        if (register_sleeper(&t->cell, s) != 0)
            return false;
        if (all_produced(t, round))
            return true;
        if (!sleep_bounded(s))
            return false;
    }
}

Test(atomic_waker, register_then_look_against_produce_then_wake_loses_no_wake)
{
    stress t = {.cell = WEFT_ATOMIC_WAKER_INIT};
    producer producers[PRODUCERS];
    weft_waker left;
    sleeper s;
    wf_rng rng;
    wf_rng_seed(&rng, 34);
    sleeper_init(&s);
    s.on_clone = dawdle;
    s.arg = &rng;
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (producer){.test = &t, .produced = &t.produced[i]};
        cr_assert_eq(pthread_create(&producers[i].thread, NULL, produce_then_wake, &producers[i]), 0);
    }
    uint32_t round = 0;
    do
        wf_store_rel(&t.round, ++round);
    while (await_round(&t, &s, round) && round < ROUNDS);
    wf_store_rel(&t.give_up, 1);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(producers[i].thread, NULL);
    cr_assert(all_produced(&t, ROUNDS), "a wake was lost in round %u", round);
    if (weft_atomic_waker_take(&t.cell, &left))
        weft_waker_drop(&left);
    cr_assert_eq(held(&s), 0, "every clone is given up once");
}

/* Two wake at the same time, so one may lose to the other; what it produced must be seen all the same, by the register
 * that comes next. Values here are plain, and the flag relaxed: only the cell orders them, and ThreadSanitizer (gcc's)
 * says whether it does. (A plain store as the waker's unlock is what breaks this.) */
typedef struct relay {
    weft_atomic_waker cell;
    wf_a32 round; /* main's */
    wf_a32 done;  /* the other's, relaxed */
    uint32_t value;
} relay;

static void *produce_plainly(void *arg)
{
    relay *r = arg;
    for (uint32_t next = 1; next <= ROUNDS / 10; next++) {
        for (unsigned tries = 0; wf_load_acq(&r->round) < next;)
            relax_or_yield(&tries);
        r->value = next;
        weft_atomic_waker_wake(&r->cell);
        wf_store_rlx(&r->done, next);
    }
    return NULL;
}

Test(atomic_waker, what_a_wake_that_lost_produced_is_seen_by_the_next_register)
{
#if !defined(__x86_64__)
    cr_skip_test("a relaxed flag says that a wake is over only where stores keep their order");
#endif
    relay r = {.cell = WEFT_ATOMIC_WAKER_INIT};
    pthread_t thread;
    sleeper s;
    sleeper_init(&s);
    cr_assert_eq(pthread_create(&thread, NULL, produce_plainly, &r), 0);
    for (uint32_t round = 1; round <= ROUNDS / 10; round++) {
        wf_store_rel(&r.round, round);
        for (unsigned tries = 0; wf_load_rlx(&r.done) < round;) {
            weft_atomic_waker_wake(&r.cell);
            relax_or_yield(&tries);
        }
        cr_assert_eq(register_sleeper(&r.cell, &s), 0);
        cr_assert_eq(r.value, round);
    }
    pthread_join(thread, NULL);
    weft_atomic_waker_wake(&r.cell);
    cr_assert_eq(held(&s), 0);
}

/* Misuse that must stay harmless: several registrants, wakers and takers on one cell. */
typedef struct crowd {
    pthread_t thread;
    weft_atomic_waker *cell;
    sleeper s[2];
} crowd;

static void *do_everything(void *arg)
{
    crowd *c = arg;
    weft_waker taken;
    for (uint32_t i = 0; i < ROUNDS / 4; i++) {
        register_sleeper(c->cell, &c->s[i % 2]);
        if (i % 3 == 0)
            weft_atomic_waker_wake(c->cell);
        if (i % 5 == 0 && weft_atomic_waker_take(c->cell, &taken))
            weft_waker_wake(&taken);
    }
    return NULL;
}

Test(atomic_waker, registrants_wakers_and_takers_at_once_give_up_every_clone_once)
{
    weft_atomic_waker cell = WEFT_ATOMIC_WAKER_INIT;
    crowd crowds[4];
    for (int i = 0; i < 4; i++) {
        crowds[i].cell = &cell;
        sleeper_init(&crowds[i].s[0]);
        sleeper_init(&crowds[i].s[1]);
    }
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&crowds[i].thread, NULL, do_everything, &crowds[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(crowds[i].thread, NULL);
    weft_atomic_waker_wake(&cell);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(held(&crowds[i / 2].s[i % 2]), 0, "sleeper %d", i);
    expect_usable(&cell);
}
