/* queues.c - scenes of runq.h and mailbox.h: what goes in comes out once, with what was written before it. */
#include "../model.h"

#include <base/mailbox.h>
#include <runtime/runq.h>

/* What lies in the queues: a task's header is all that they touch, and its value is what a taker wants to see. */
typedef struct item {
    weft_task task;
    wf_letter letter;
    int value;
    int taken; /* plain: two takers are a race, even where they do not meet */
} item;

enum { ITEMS = 8 };

static struct {
    wf_deque deque;
    wf_ring ring;
    wf_inject inject;
    wf_mailbox box;
    item items[ITEMS];
    unsigned pushed, found[MODEL_THREADS];
} s;

#define QUEUE_SCENE(name, ...) MODEL_SCENE(name, .state = &s, .state_size = sizeof s, __VA_ARGS__)

static item *fresh_item(void)
{
    item *i = &s.items[s.pushed++];
    i->value = 42;
    return i;
}

static void take(item *i)
{
    model_check(i->value == 42);
    model_check(i->taken++ == 0);
    s.found[model_self()]++;
}

static void take_task(weft_task *task)
{
    if (task)
        take(wf_container(task, item, task));
}

static void all_taken(void)
{
    unsigned found = 0;
    for (unsigned i = 0; i < MODEL_THREADS; i++)
        found += s.found[i];
    model_check(found == s.pushed);
}

/* ---- fresh: the deque ---------------------------------------------------------------------------------------------- */

static void deque_push(void)
{
    if (!wf_deque_push(&s.deque, &fresh_item()->task))
        model_fail("there was room");
}

static void deque_owner(void)
{
    deque_push();
    deque_push();
    take_task(wf_deque_pop(&s.deque));
    take_task(wf_deque_pop(&s.deque));
    deque_push();
    take_task(wf_deque_pop(&s.deque));
}

static void deque_thief(void)
{
    take_task(wf_deque_steal(&s.deque));
    take_task(wf_deque_steal(&s.deque));
}

static void drain_deque(void)
{
    weft_task *task;
    while ((task = wf_deque_pop(&s.deque)) != NULL)
        take_task(task);
    all_taken();
}

QUEUE_SCENE(deque_owner_and_thief, .threads = {deque_owner, deque_thief}, .finish = drain_deque, .preemptions = 3,
            .stale = 2, .random = 5000);
QUEUE_SCENE(deque_owner_and_two_thieves, .threads = {deque_owner, deque_thief, deque_thief}, .finish = drain_deque,
            .preemptions = 2, .stale = 1, .random = 10000);

/* Seven through four places: each slot is used again while the thief may still be reading it. */
static void deque_reuse_owner(void)
{
    for (int i = 0; i < 7; i++)
        if (!wf_deque_push(&s.deque, &fresh_item()->task))
            s.pushed--;
}

QUEUE_SCENE(deque_slots_are_used_again, .threads = {deque_reuse_owner, deque_thief}, .finish = drain_deque,
            .preemptions = 2, .stale = 2, .random = 5000);

/* ---- woken: the ring -------------------------------------------------------------------------------------------------- */

static void ring_owner(void)
{
    for (int i = 0; i < 3; i++)
        model_check(wf_ring_push(&s.ring, &fresh_item()->task));
    take_task(wf_ring_pop(&s.ring, false));
    for (int i = 0; i < 2; i++)
        if (wf_ring_room(&s.ring) > 0)
            model_check(wf_ring_push(&s.ring, &fresh_item()->task));
    take_task(wf_ring_pop(&s.ring, false));
}

static void ring_thief(void)
{
    weft_task *out[4];
    for (int tries = 0; tries < 2; tries++) {
        uint32_t n = wf_ring_steal(&s.ring, out, 4);
        for (uint32_t i = 0; i < n; i++)
            take_task(out[i]);
    }
}

static void drain_ring(void)
{
    weft_task *task;
    while ((task = wf_ring_pop(&s.ring, false)) != NULL)
        take_task(task);
    all_taken();
}

QUEUE_SCENE(ring_owner_and_thief, .threads = {ring_owner, ring_thief}, .finish = drain_ring, .preemptions = 3,
            .stale = 1, .random = 5000);
QUEUE_SCENE(ring_owner_and_two_thieves, .threads = {ring_owner, ring_thief, ring_thief}, .finish = drain_ring,
            .preemptions = 2, .stale = 1, .random = 10000);

/* ---- inject -------------------------------------------------------------------------------------------------------------- */

static void inject_push(void)
{
    item *i = &s.items[model_self()];
    i->value = 42;
    wf_inject_push(&s.inject, &i->task);
}

static void inject_pop(void)
{
    weft_task *out[4];
    uint32_t n = wf_inject_pop(&s.inject, out, 4);
    for (uint32_t i = 0; i < n; i++)
        take_task(out[i]);
}

static void drain_inject(void)
{
    inject_pop();
    s.pushed = 2;
    model_check(wf_inject_len(&s.inject) == 0);
    all_taken();
}

QUEUE_SCENE(inject_two_in_one_out, .threads = {inject_push, inject_push, inject_pop}, .finish = drain_inject,
            .preemptions = 2, .stale = 1, .random = 5000);

/* ---- the mailbox -------------------------------------------------------------------------------------------------------------- */

static void post(void)
{
    item *i = &s.items[model_self()];
    i->value = 42;
    wf_mailbox_post(&s.box, &i->letter);
}

static void take_letters(void)
{
    for (wf_letter *l = wf_mailbox_take(&s.box), *next; l; l = next) {
        next = l->next;
        take(wf_container(l, item, letter));
    }
}

static void drain_box(void)
{
    take_letters();
    s.pushed = 2;
    all_taken();
}

QUEUE_SCENE(mailbox_two_post_one_takes, .threads = {post, post, take_letters}, .finish = drain_box, .preemptions = 3,
            .stale = 2, .random = 5000);
