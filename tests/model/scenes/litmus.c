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

/* What is copied counts as read and written, in order here: byte for byte, of whatever size. */
static struct {
    wf_a64 there;
    size_t size;
    char from[24], to[24];
} copies;

static void copy_there(void)
{
    memcpy(copies.to, copies.from, copies.size);
    wf_store_rel(&copies.there, 1);
}

static void copy_back(void)
{
    if (wf_load_acq(&copies.there) == 1)
        memcpy(copies.from, copies.to, copies.size);
}

static void size_copies(void) { copies.size = sizeof copies.to; }

MODEL_SCENE(litmus_copies_in_order, .setup = size_copies, .threads = {copy_there, copy_back}, .state = &copies,
            .state_size = sizeof copies, .preemptions = 3, .stale = 3);

/* Done by one, and seen by both. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int done;

static void do_it(void) { done++; }

static void need_it(void)
{
    pthread_once(&once, do_it);
    model_check(done == 1);
}

MODEL_SCENE(litmus_once, .threads = {need_it, need_it}, .preemptions = 3, .stale = 3);

/* Each thread has its own. */
static _Thread_local int own;

__attribute__((constructor)) static void register_own(void) { model_thread_local(&own, sizeof own); }

static void write_own(void)
{
    own += 1 + (int)model_self();
    wf_add_rlx(&s.x, 1);
    model_check(own == 1 + (int)model_self());
}

MODEL_SCENE(litmus_thread_locals, .threads = {write_own, write_own}, .state = &s, .state_size = sizeof s,
            .preemptions = 3, .stale = 3);
