/* litmus.c - scenes of the model itself: what it must allow, and what it must forbid.
 *
 * That it finds what it must is shown by the mutations of this file. */
#include "../model.h"

#include <base/lock.h>

static struct {
    wf_a64 x, y;
    wf_mutex mutex;
    pthread_cond_t changed;
    uint64_t data, seen[MODEL_THREADS][2];
    bool full;
    int *block;
    wf_a64 refs;
} s;

#define LITMUS(name, ...) \
    MODEL_SCENE(name, .state = &s, .state_size = sizeof s, .preemptions = 3, .stale = 3, .random = 500, __VA_ARGS__)

/* ---- store buffering: what each has written before it looks, one of them sees (d23) -------------------------------------- */

static void write_x_look_at_y(void)
{
    wf_add_seq(&s.x, 1);
    s.seen[0][0] = wf_load_seq(&s.y);
}

static void write_y_look_at_x(void)
{
    wf_add_seq(&s.y, 1);
    s.seen[1][0] = wf_load_seq(&s.x);
}

static void one_has_seen(void) { model_check(s.seen[0][0] == 1 || s.seen[1][0] == 1); }

LITMUS(litmus_store_buffering, .threads = {write_x_look_at_y, write_y_look_at_x}, .finish = one_has_seen);

/* ---- messages: who acquires a flag has what was written before it was released ------------------------------------------------ */

static void send(void)
{
    s.data = 42;
    wf_store_rel(&s.x, 1);
}

static void receive(void)
{
    if (wf_load_acq(&s.x) != 0)
        model_check(s.data == 42);
}

/* In between: a relaxed read-modify-write continues the release sequence. */
static void count(void) { wf_add_rlx(&s.x, 1); }

LITMUS(litmus_message, .threads = {send, receive});

static void receive_counted(void)
{
    if (wf_load_acq(&s.x) == 2)
        model_check(s.data == 42);
}

LITMUS(litmus_release_sequence, .threads = {send, count, receive_counted});

/* ---- independent readers agree on the order of two writes, if all of it is sequentially consistent ------------------------------ */

static void write_x(void) { wf_swap_seq(&s.x, 1); }
static void write_y(void) { wf_swap_seq(&s.y, 1); }

static void read_x_y(void)
{
    s.seen[2][0] = wf_load_seq(&s.x);
    s.seen[2][1] = wf_load_seq(&s.y);
}

static void read_y_x(void)
{
    s.seen[3][0] = wf_load_seq(&s.y);
    s.seen[3][1] = wf_load_seq(&s.x);
}

static void readers_agree(void)
{
    bool x_first = s.seen[2][0] == 1 && s.seen[2][1] == 0, y_first = s.seen[3][0] == 1 && s.seen[3][1] == 0;
    model_check(!(x_first && y_first));
}

LITMUS(litmus_independent_readers, .threads = {write_x, write_y, read_x_y, read_y_x}, .finish = readers_agree);

/* ---- one place has one order --------------------------------------------------------------------------------------------------------- */

static void write_twice(void)
{
    wf_store_rlx(&s.x, 1);
    wf_store_rlx(&s.x, 2);
}

static void read_twice(void)
{
    uint64_t first = wf_load_rlx(&s.x), second = wf_load_rlx(&s.x);
    model_check(first <= second);
}

LITMUS(litmus_coherence, .threads = {write_twice, read_twice});

/* ---- locks ------------------------------------------------------------------------------------------------------------------------------ */

static void fill(void)
{
    wf_mutex_lock(&s.mutex);
    s.full = true;
    s.data++;
    pthread_cond_signal(&s.changed);
    wf_mutex_unlock(&s.mutex);
}

static void wait_until_full(void)
{
    wf_mutex_lock(&s.mutex);
    while (!s.full)
        pthread_cond_wait(&s.changed, &s.mutex.m);
    s.data++;
    wf_mutex_unlock(&s.mutex);
}

static void both_have_counted(void) { model_check(s.data == 2); }

LITMUS(litmus_condition, .threads = {fill, wait_until_full}, .finish = both_have_counted);

/* ---- the last reference ---------------------------------------------------------------------------------------------------------------- */

static void share_block(void)
{
    s.block = malloc(sizeof *s.block);
    *s.block = 1;
    wf_store_rlx(&s.refs, 2);
}

static void use_and_give_up(void)
{
    model_check(*s.block == 1);
    if (wf_sub_acqrel(&s.refs, 1) == 1)
        free(s.block);
}

static void nothing_is_left(void) { model_check(model_blocks() == 0); }

LITMUS(litmus_last_reference, .setup = share_block, .threads = {use_and_give_up, use_and_give_up}, .finish = nothing_is_left);

/* ---- waiting for a value ------------------------------------------------------------------------------------------------------------------ */

static void wait_for_value(void)
{
    while (wf_load_acq(&s.x) == 0)
        wf_cpu_relax();
    model_check(s.data == 42);
}

LITMUS(litmus_spinning, .threads = {send, wait_for_value});

/* ---- what each thread has for itself nobody else writes --------------------------------------------------------------------------- */

static unsigned mine;

__attribute__((constructor)) static void each_has_its_own(void) { model_thread_local(&mine, sizeof mine); }

static void write_mine(void)
{
    mine = model_self() + 1;
    wf_add_rlx(&s.x, 1);
    model_check(mine == model_self() + 1);
}

LITMUS(litmus_thread_locals, .threads = {write_mine, write_mine});

/* ---- what is copied counts as read and written, in order here: byte for byte, of whatever size ---------------------------------------------- */

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

/* ---- done by one, and seen by both ---------------------------------------------------------------------------------------------------------------- */

static struct {
    pthread_once_t once;
    int done;
} first;

static void do_it(void) { first.done++; }

static void need_it(void)
{
    pthread_once(&first.once, do_it);
    model_check(first.done == 1);
}

MODEL_SCENE(litmus_once, .threads = {need_it, need_it}, .state = &first, .state_size = sizeof first, .preemptions = 3,
            .stale = 3);
