/* wakers.c - scenes of base/atomic_waker.c by itself: what was produced before a wake is seen, and no waker is lost or woken twice.
 *
 * The wakers are foreign ones, each clone a block of its own. */
#include "../model.h"

#include <base/atomic_waker.c>
#include <base/waker.c>

enum { PRODUCERS = 2 };

static struct {
    weft_atomic_waker cell;
    wf_a32 produced[PRODUCERS]; /* relaxed: only the wake orders it */
    int clones_to_fail;
} s;

#define WAKER_SCENE(id, ...) \
    MODEL_SCENE(id, .state = &s, .state_size = sizeof s, .finish = nothing_is_left, __VA_ARGS__)

enum { CONSUMER };

static int foreign_clone(const weft_waker *self, weft_waker *out)
{
    if (s.clones_to_fail > 0) {
        s.clones_to_fail--;
        return WEFT_ENOMEM;
    }
    out->ops = self->ops;
    out->data = malloc(1);
    return 0;
}

static void foreign_wake_by_ref(const weft_waker *self)
{
    (void)self;
    model_unpark(CONSUMER);
}

static void foreign_drop(weft_waker *self) { free(self->data); }

static void foreign_wake(weft_waker *self)
{
    foreign_drop(self);
    model_unpark(CONSUMER);
}

static const weft_waker_ops foreign_ops = {foreign_clone, foreign_wake, foreign_wake_by_ref, foreign_drop};

static unsigned count_produced(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < PRODUCERS; i++)
        n += wf_load_rlx(&s.produced[i]);
    return n;
}

/* The model does not see this look. */
__attribute__((no_sanitize_thread)) static bool cell_is_held(void) { return s.cell.state_[0] != 0; }

/* Register, then look, then sleep; each time with another waker, since none is a clone of itself. */
static void consume(unsigned wanted)
{
    const weft_waker mine = {&foreign_ops, NULL};
    for (;;) {
        int err = weft_atomic_waker_register(&s.cell, &mine);
        model_check(err == 0 || err == WEFT_ENOMEM);
        if (count_produced() >= wanted)
            return;
        model_park();
        if (cell_is_held())
            model_yield(); /* a register would only wake us again */
    }
}

static void consume_both(void) { consume(2); }

static void produce(void)
{
    wf_store_rlx(&s.produced[model_self() - 1], 1);
    weft_atomic_waker_wake(&s.cell);
}

static void produce_and_take(void)
{
    weft_waker taken;
    wf_store_rlx(&s.produced[model_self() - 1], 1);
    if (weft_atomic_waker_take(&s.cell, &taken) == 1)
        weft_waker_wake(&taken);
    else
        model_check(taken.ops == NULL);
}

static void nothing_is_left(void)
{
    weft_waker left;
    if (weft_atomic_waker_take(&s.cell, &left))
        weft_waker_drop(&left);
    model_check(s.cell.state_[0] == 0);
    model_check(model_blocks() == 0);
}

WAKER_SCENE(waker_two_wakes, .threads = {consume_both, produce, produce}, .preemptions = 2, .stale = 1, .random = 1000);
WAKER_SCENE(waker_wake_and_take, .threads = {consume_both, produce, produce_and_take}, .preemptions = 2, .stale = 1,
            .random = 1000);

static void a_clone_fails(void) { s.clones_to_fail = 1; }

WAKER_SCENE(waker_clone_fails, .setup = a_clone_fails, .threads = {consume_both, produce, produce}, .preemptions = 2,
            .stale = 1, .random = 1000);
