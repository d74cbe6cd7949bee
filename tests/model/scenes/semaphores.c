/* semaphores.c - scenes of semaphore.c and barrier.c: no more inside than there are permits, in turn; who leaves the queue holds nobody up; a meeting is one
 * of all parties; what is done once is seen done. */
#include "../under_token.h"

#define unlink unlink_waiter
#include <sync/waiters.c>
#undef unlink
#define lock_of lock_of_semaphore
#define settle settle_semaphore
#define wait_for wait_for_permits
#include <sync/semaphore.c>
#undef wait_for
#undef settle
#undef lock_of
#include <sync/barrier.c>

static struct {
    weft_semaphore semaphore;
    weft_barrier barrier;
    weft_once once;
    weft_token *token;
    weft_op op;
    int inside; /* plain: two at once are a race */
    int done;
    wf_a32 arrived;
    int served[MODEL_THREADS];
} s;

#define SEMAPHORE_SCENE(name, ...) MODEL_SCENE(name, .state = &s, .state_size = sizeof s, __VA_ARGS__)

/* ---- of other rooms: an ordinary thread defers nothing -------------------------------------------------------------- */

int weft_defer(void (*fn)(void *), void *arg) { return (void)fn, (void)arg, WEFT_ENOTSUP; }
void wf_defer_remove(void (*fn)(void *), void *arg) { (void)fn, (void)arg; }

/* ---- permits ------------------------------------------------------------------------------------------------------------ */

static void with_permits(size_t permits)
{
    ordinary_begin();
    weft_semaphore_init(&s.semaphore, permits);
    model_name(&s.semaphore.lock_, "semaphore");
}

static void with_one(void) { with_permits(1); }
static void with_none(void) { with_permits(0); }

static void with_token(size_t permits)
{
    with_permits(permits);
    s.token = under_token_make();
}

static void with_one_and_token(void) { with_token(1); }
static void with_none_and_token(void) { with_token(0); }

static void enter_and_leave(void)
{
    model_check(weft_semaphore_acquire(&s.semaphore, 1) == 0);
    s.inside++;
    weft_semaphore_release(&s.semaphore, 1);
    ordinary_end();
}

static void try_to_enter(void)
{
    if (weft_semaphore_try_acquire(&s.semaphore, 1) < 0)
        return;
    s.inside++;
    weft_semaphore_release(&s.semaphore, 1);
}

static void one_is_left(void)
{
    model_check(weft_semaphore_available(&s.semaphore) == 1);
    model_check(wf_waiters_empty(&s.semaphore.waiters_));
    model_check(model_blocks() == 0);
}

SEMAPHORE_SCENE(semaphore_three, .setup = with_one, .threads = {enter_and_leave, enter_and_leave, enter_and_leave},
                .finish = one_is_left, .preemptions = 1, .stale = 0, .random = 500);
SEMAPHORE_SCENE(semaphore_tried, .setup = with_one, .threads = {enter_and_leave, try_to_enter}, .finish = one_is_left,
                .preemptions = 3, .stale = 1, .random = 500);

/* Two, and then one: the larger request is not overtaken, and not forgotten. */
static void acquire_two(void)
{
    model_check(weft_semaphore_acquire(&s.semaphore, 2) == 0);
    s.inside++;
    weft_semaphore_release(&s.semaphore, 1);
    ordinary_end();
}

static void acquire_one(void)
{
    model_check(weft_semaphore_acquire(&s.semaphore, 1) == 0);
    s.inside++;
    weft_semaphore_release(&s.semaphore, 1);
    ordinary_end();
}

static void release_twice(void)
{
    weft_semaphore_release(&s.semaphore, 1);
    weft_semaphore_release(&s.semaphore, 1);
}

static void all_were_served(void)
{
    model_check(s.inside == 2);
    one_is_left();
}

SEMAPHORE_SCENE(semaphore_large_and_small, .setup = with_none, .threads = {acquire_two, acquire_one, release_twice},
                .finish = all_were_served, .random = 800);

/* The head wants more than there is, and is cancelled: those behind it are served (d12). */
static int acquire_two_or_not(void)
{
    int err = weft_semaphore_acquire(&s.semaphore, 2);
    if (err == 0)
        weft_semaphore_release(&s.semaphore, 2);
    return err;
}

static int acquire_one_or_not(void)
{
    int err = weft_semaphore_acquire(&s.semaphore, 1);
    if (err == 0)
        weft_semaphore_release(&s.semaphore, 1);
    return err;
}

static void cancel_it(void) { weft_token_cancel(s.token); }
static void two_cancelled(void) { under_token(s.token, acquire_two_or_not), ordinary_end(); }
static void one_cancelled(void) { under_token(s.token, acquire_one_or_not), ordinary_end(); }
static void release_one(void) { weft_semaphore_release(&s.semaphore, 1); }

static void free_token(void)
{
    model_check(weft_token_free(s.token) == 0);
    one_is_left();
}

SEMAPHORE_SCENE(semaphore_head_gives_up, .setup = with_one_and_token, .threads = {two_cancelled, enter_and_leave, cancel_it},
                .finish = free_token, .preemptions = 1, .stale = 0, .random = 300);
SEMAPHORE_SCENE(semaphore_cancelled_when_chosen, .setup = with_none_and_token,
                .threads = {one_cancelled, enter_and_leave, release_one, cancel_it}, .finish = free_token, .random = 800);

/* A stackless one is dropped, perhaps when it was served: its permit is the next one's. */
static void poll_and_drop(void)
{
    int err = weft_poll_semaphore_acquire(ordinary_context(), &s.op, &s.semaphore, 1);
    if (err == 0)
        weft_semaphore_release(&s.semaphore, 1);
    else
        s.op.ops_->leave(&s.op);
    ordinary_end();
}

SEMAPHORE_SCENE(semaphore_dropped_when_served, .setup = with_none, .threads = {poll_and_drop, enter_and_leave, release_one},
                .finish = one_is_left, .preemptions = 1, .stale = 0, .random = 500);

/* ---- meetings ------------------------------------------------------------------------------------------------------------- */

static void of_two(void)
{
    ordinary_begin();
    model_check(weft_barrier_init(&s.barrier, 2) == 0);
    model_name(&s.barrier.lock_, "barrier");
}

static void meet(uint32_t meetings)
{
    wf_add_acqrel(&s.arrived, 1);
    int last = weft_barrier_wait(&s.barrier);
    model_check(last == 0 || last == 1);
    s.served[model_self()] += last;
    model_check(wf_load_rlx(&s.arrived) >= 2 * meetings); /* all that was before it is seen after it */
}

static void meet_once(void) { meet(1), ordinary_end(); }
static void meet_twice(void) { meet(1), meet(2), ordinary_end(); }

static void met(int meetings)
{
    model_check(s.served[0] + s.served[1] + s.served[2] + s.served[3] == meetings);
    model_check(s.barrier.arrived_ == 0 && wf_waiters_empty(&s.barrier.waiters_));
    model_check(model_blocks() == 0);
}

static void met_twice(void) { met(2); }

SEMAPHORE_SCENE(barrier_again, .setup = of_two, .threads = {meet_twice, meet_twice}, .finish = met_twice,
                .preemptions = 1, .stale = 0, .random = 200);
SEMAPHORE_SCENE(barrier_of_any_two, .setup = of_two, .threads = {meet_once, meet_once, meet_once, meet_once},
                .finish = met_twice, .random = 500);

/* Whoever is cancelled has not arrived: of three who come one is cancelled, or met. */
static int meet_or_not(void)
{
    int last = weft_barrier_wait(&s.barrier);
    s.served[model_self()] += last == 1;
    wf_add_acqrel(&s.arrived, last >= 0);
    return last < 0 ? last : 0;
}

static void meet_or_wait(void) { meet_or_not(), ordinary_end(); }
static void meet_cancelled(void) { under_token(s.token, meet_or_not), ordinary_end(); }

static void of_two_with_token(void)
{
    of_two();
    s.token = under_token_make();
}

static void met_once(void)
{
    model_check(s.served[0] + s.served[1] + s.served[2] == 1);
    model_check(s.arrived.v == 2);
    model_check(weft_token_free(s.token) == 0);
}

SEMAPHORE_SCENE(barrier_cancelled, .setup = of_two_with_token,
                .threads = {meet_cancelled, meet_or_wait, meet_or_wait, cancel_it}, .finish = met_once,
                .may_block = true, .random = 800);

/* Three meet, or one was cancelled and the others wait still: also between two batches of those who are woken. */
static void of_three_with_token(void)
{
    of_two_with_token();
    s.barrier.parties_ = 3;
}

static void met_or_waiting(void)
{
    bool met = s.arrived.v > 0;
    model_check(s.arrived.v == (met ? 3 : 0));
    model_check(s.barrier.arrived_ == (met ? 0 : 2));
    model_check(weft_token_free(s.token) == 0);
}

SEMAPHORE_SCENE(barrier_of_three_cancelled, .setup = of_three_with_token,
                .threads = {meet_cancelled, meet_or_wait, meet_or_wait, cancel_it}, .finish = met_or_waiting,
                .may_block = true, .random = 800);

/* ---- once ------------------------------------------------------------------------------------------------------------------- */

static void do_it(void *arg)
{
    (void)arg;
    s.done++;
}

static void need_it(void)
{
    model_check(weft_once_do(&s.once, do_it, NULL) == 0);
    model_check(s.done == 1);
    ordinary_end();
}

static void nothing_left(void) { model_check(model_blocks() == 0); }

SEMAPHORE_SCENE(once_by_two, .setup = ordinary_begin, .threads = {need_it, need_it}, .finish = nothing_left,
                .preemptions = 2, .stale = 1, .random = 200);
SEMAPHORE_SCENE(once_by_three, .setup = ordinary_begin, .threads = {need_it, need_it, need_it}, .finish = nothing_left,
                .preemptions = 1, .stale = 0, .random = 500);
