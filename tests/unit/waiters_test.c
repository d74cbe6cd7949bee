/* waiters_test.c - what those do who are woken in the midst of a wake for all. */
#include <stdlib.h>
#include <support/test.h>
#include <sync/waiters.h>

enum { MANY = WF_WAKE_BATCH + 4 };

/* A waker that acts in the waker's own place: as early as anybody could. */
typedef struct actor {
    void (*act)(struct actor *self);
    weft_notify *notify;
    int woken;
} actor;

static int actor_clone(const weft_waker *self, weft_waker *out)
{
    *out = *self;
    return 0;
}

static void actor_wake_by_ref(const weft_waker *self)
{
    actor *a = self->data;
    a->woken++;
    if (a->act)
        a->act(a);
}

static void actor_wake(weft_waker *self) { actor_wake_by_ref(self); }
static void actor_drop(weft_waker *self) { (void)self; }
static const weft_waker_ops actor_ops = {
    .clone = actor_clone, .wake = actor_wake, .wake_by_ref = actor_wake_by_ref, .drop = actor_drop};

static void queue(wf_waiter *w, actor *a, weft_notify *n)
{
    a->notify = n;
    *w = (wf_waiter){.lock = wf_spin_in(&n->lock_), .queue = &n->waiters_, .object = n};
    wf_waiter_queue(w, (weft_waker){&actor_ops, a});
}

static void notify_one(actor *a) { weft_notify_one(a->notify); }

Test(waiters, a_notification_amid_one_for_all_goes_to_nobody_whom_that_means)
{
    weft_notify n = WEFT_NOTIFY_INIT;
    wf_waiter waiters[MANY];
    actor actors[MANY] = {{.act = notify_one}};
    for (int i = 0; i < MANY; i++)
        queue(&waiters[i], &actors[i], &n);
    weft_notify_all(&n);
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(waiters[i].state, WF_WAITER_SERVED_ALL);
        cr_assert_eq(actors[i].woken, 1);
    }
    cr_assert_eq(n.stored_, 1, "it is kept for the next");
}

static void give_back(actor *a) { free(a->notify); }

/* Freed by the last that is woken: under the address sanitizer a further look at it is found. */
Test(waiters, with_the_last_of_a_full_batch_the_object_may_go)
{
    weft_notify *n = calloc(1, sizeof *n);
    wf_waiter waiters[WF_WAKE_BATCH];
    actor actors[WF_WAKE_BATCH] = {{0}};
    cr_assert_not_null(n);
    actors[WF_WAKE_BATCH - 1].act = give_back;
    for (int i = 0; i < WF_WAKE_BATCH; i++)
        queue(&waiters[i], &actors[i], n);
    weft_notify_all(n);
    for (int i = 0; i < WF_WAKE_BATCH; i++)
        cr_assert_eq(actors[i].woken, 1);
}
