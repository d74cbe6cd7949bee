/* litmus.c - scenes that show what the model itself can do: each says what a machine may do, and must not. */
#include "../model.h"

#include <base/atomic.h>

static struct {
    wf_a64 x, y;
    uint64_t data, seen[2];
} s;

static void check_store_buffering(void) { model_check(s.seen[0] == 1 || s.seen[1] == 1); }

static void sb_seq_0(void)
{
    wf_add_seq(&s.x, 1);
    s.seen[0] = wf_load_seq(&s.y);
}

static void sb_seq_1(void)
{
    wf_add_seq(&s.y, 1);
    s.seen[1] = wf_load_seq(&s.x);
}

/* d23: with less than sequential consistency both may see nothing. */
MODEL_SCENE(litmus_store_buffering, .threads = {sb_seq_0, sb_seq_1}, .finish = check_store_buffering, .state = &s,
            .state_size = sizeof s, .preemptions = 3, .stale = 3);

static void mp_write(void)
{
    s.data = 42;
    wf_store_rel(&s.x, 1);
}

static void mp_read(void)
{
    if (wf_load_acq(&s.x) == 1)
        model_check(s.data == 42);
}

MODEL_SCENE(litmus_message_passing, .threads = {mp_write, mp_read}, .state = &s, .state_size = sizeof s,
            .preemptions = 3, .stale = 3);

/* What each thread has for itself nobody else writes. */
static unsigned mine;

__attribute__((constructor)) static void each_has_its_own(void) { model_thread_local(&mine, sizeof mine); }

static void local_write(void)
{
    mine = model_self() + 1;
    wf_add_seq(&s.x, 1);
    model_check(mine == model_self() + 1);
}

MODEL_SCENE(litmus_thread_locals, .threads = {local_write, local_write}, .state = &s, .state_size = sizeof s,
            .preemptions = 3, .stale = 3);
