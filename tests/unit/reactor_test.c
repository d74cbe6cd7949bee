/* reactor_test.c - a reactor's owner goes to sleep, and is rung. */
#include <pthread.h>
#include <reactor/reactor.h>
#include <sched.h>
#include <support/test.h>
#include <unistd.h>
#include <weft/base.h>

static void open_one(wf_reactor *r) { cr_assert_eq(wf_reactor_open(r), 0); }

static void close_one(wf_reactor *r) { cr_assert_eq(wf_reactor_close(r), 0); }

/* … since the bell was last looked at. */
static bool bell_was_rung(wf_reactor *r)
{
    uint64_t rings;
    return read(r->bell, &rings, sizeof rings) == sizeof rings;
}

Test(reactor, a_ring_before_it_sleeps_needs_no_bell_and_it_does_not_sleep)
{
    wf_reactor r;
    open_one(&r);
    wf_reactor_park_begin(&r);
    cr_assert(wf_reactor_ring(&r, WF_RUNG_TO_SEARCH));
    cr_assert_not(bell_was_rung(&r));
    cr_assert(wf_reactor_watch(&r, UINT64_MAX));
    wf_reactor_park(&r, WEFT_FOREVER);
    cr_assert_eq(wf_reactor_park_end(&r), WF_RUNG_TO_SEARCH);
    close_one(&r);
}

Test(reactor, one_of_two_rings_counts)
{
    wf_reactor r;
    open_one(&r);
    wf_reactor_park_begin(&r);
    cr_assert(wf_reactor_ring(&r, WF_RUNG));
    cr_assert_not(wf_reactor_ring(&r, WF_RUNG_TO_SEARCH));
    cr_assert_eq(wf_reactor_park_end(&r), WF_RUNG);
    cr_assert_not(wf_reactor_ring(&r, WF_RUNG), "it is awake");
    close_one(&r);
}

Test(reactor, who_watches_in_vain_is_still_going_to_sleep)
{
    wf_reactor r;
    open_one(&r);
    wf_reactor_park_begin(&r);
    cr_assert_not(wf_reactor_watch(&r, 0));
    cr_assert(wf_reactor_is_parked(&r));
    cr_assert_eq(wf_reactor_park_end(&r), WF_AWAKE, "nobody has rung");
    close_one(&r);
}

/* Asleep, and so past the watching. */
static void *ring_when_asleep(void *arg)
{
    wf_reactor *r = arg;
    while (wf_load_seq(&r->parked) != WF_PARKED)
        sched_yield();
    cr_assert(wf_reactor_ring(r, WF_RUNG));
    return NULL;
}

Test(reactor, who_sleeps_is_woken_by_the_bell)
{
    wf_reactor r;
    pthread_t ringer;
    open_one(&r);
    wf_reactor_park_begin(&r);
    cr_assert_eq(pthread_create(&ringer, NULL, ring_when_asleep, &r), 0);
    while (wf_reactor_is_parked(&r))
        wf_reactor_park(&r, WEFT_FOREVER);
    cr_assert_eq(wf_reactor_park_end(&r), WF_RUNG);
    cr_assert_eq(pthread_join(ringer, NULL), 0);
    close_one(&r);
}
