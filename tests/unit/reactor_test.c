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

typedef struct hearer {
    int times, fd;
    uint64_t bits;
} hearer;

static void hear(void *arg, int fd, uint64_t bits)
{
    hearer *h = arg;
    h->times++;
    h->fd = fd;
    h->bits = bits;
}

Test(reactor, an_event_of_a_descriptor_that_was_closed_is_told_to_nobody)
{
    hearer h = {.times = 0};
    wf_reactor r = {.told = hear, .teller = &h};
    wf_source s = {.fd = {7}, .word = {UINT64_C(3) << WF_SRC_GENERATION_SHIFT}};
    wf_reactor_tell(&r, &s, 2, WF_SRC_RRDY);
    cr_assert_eq(h.times, 0, "its place is another's");
    wf_reactor_tell(&r, &s, 3, WF_SRC_RRDY);
    cr_assert_eq(h.times, 1);
    cr_assert_eq(h.fd, 7);
    cr_assert_eq(h.bits, WF_SRC_RRDY);
    wf_store_rlx(&s.fd, -1);
    wf_reactor_tell(&r, &s, 3, WF_SRC_RRDY);
    cr_assert_eq(h.times, 1, "it is just being closed");
}
