/* defects_token_test.c - what went wrong in the executors that weft learns from must not go wrong here: tokens, and timers dropped.
 *
 * Named by its number in the list of defects; what a defect did is said at its test. */
#include <malloc.h>
#include <support/task_support.h>
#include <support/test.h>
#include <weft/diag.h>
#include <weft/future.h>
#include <weft/token.h>

static weft_token *plant(weft_token *parent)
{
    weft_token *t;
    cr_assert_eq(weft_token_create(&t, parent), 0);
    return t;
}

/* What malloc has handed out. A sanitizer's malloc does not say: there LeakSanitizer, or nothing, looks. */
static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Caches and other threads' arenas breathe; a million that are left would be much more. */
enum { SLACK = 64 * 1024 };

/* ---- d26 ------------------------------------------------------------------------------------------------------- */

/* Children stayed in the list of a parent that lives long: a request each, for the life of the server. */
Test(defects_token, d26_child_tokens_are_unlinked_from_a_long_lived_parent)
{
    enum { AT_ONCE = 100 };
    weft_token *parent = plant(NULL), *children[AT_ONCE];
    size_t rounds = wf_test_scale(1000 * 1000) / AT_ONCE, before = 0;
    for (size_t round = 0; round < rounds; round++) {
        if (round == 1)
            before = in_use();
        for (int i = 0; i < AT_ONCE; i++)
            children[i] = plant(parent);
        for (int i = 0; i < AT_ONCE; i++) /* in another order: from anywhere in the list */
            cr_assert_eq(weft_token_free(children[i * 37 % AT_ONCE]), 0);
    }
    cr_assert_leq(in_use(), before + SLACK, "memory grew with children that are gone");
    cr_assert_eq(weft_token_free(parent), 0, "it has none");
}

static int64_t time_to_renew(weft_token *parent, size_t n)
{
    int64_t began = weft_now();
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(weft_token_free(plant(parent)), 0);
    return weft_now() - began;
}

/* The best of several, as others use this machine too. */
static int64_t best_time_to_renew(weft_token *parent, size_t n)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < 10; i++) {
        int64_t taken = time_to_renew(parent, n);
        best = taken < best ? taken : best;
    }
    return best;
}

Test(defects_token, d26_a_child_comes_and_goes_as_fast_among_100000)
{
    enum { SIBLINGS = 100 * 1000 };
    weft_token *parent = plant(NULL), *child = NULL;
    weft_token **siblings = malloc(SIBLINGS * sizeof *siblings);
    size_t n = wf_test_scale(20000);
    cr_assert_not_null(siblings);
    int64_t alone = best_time_to_renew(parent, n);
    for (int i = 0; i < SIBLINGS; i++)
        siblings[i] = plant(parent);
    int64_t among = best_time_to_renew(parent, n);
    cr_assert_lt(among, alone * 20 + WEFT_MS, "a walk over the siblings would take thousands of times as long");
    child = plant(siblings[SIBLINGS / 2]);
    weft_token_cancel(parent);
    cr_assert_eq(weft_token_is_cancelled(child), 1);
    cr_assert_eq(weft_token_free(child), 0);
    for (int i = 0; i < SIBLINGS; i++)
        cr_assert_eq(weft_token_free(siblings[i]), 0);
    cr_assert_eq(weft_token_free(parent), 0);
    free(siblings);
}

/* Cancelling recursed: a frame for each generation, until the stack was used up. */
enum { DEPTH = 100 * 1000 };

static void *cancel_root(void *arg)
{
    weft_token_cancel(arg);
    return NULL;
}

static void *wait_root(void *arg) { return (void *)(intptr_t)weft_token_wait(arg); }

static void *chain_root(void *arg)
{
    weft_token **chain = arg;
    weft_spawn_options small = {.stack_size = 16 * 1024};
    weft_task *waiter, *canceller;
    void *result;
    cr_assert_eq(weft_spawn(&waiter, wait_root, chain[DEPTH - 1]), 0);
    EVENTUALLY(weft_task_state(waiter) == WEFT_TASK_IDLE);
    cr_assert_eq(weft_spawn_with(&canceller, &small, cancel_root, chain[0]), 0);
    cr_assert_eq(weft_join(canceller, NULL), 0);
    cr_assert_eq(weft_join(waiter, &result), 0);
    cr_assert_null(result);
    return NULL;
}

WF_TEST_WORKERS(defects_token, d26_cancelling_a_chain_of_100000_does_not_recurse)
{
    weft_token **chain = malloc(DEPTH * sizeof *chain);
    cr_assert_not_null(chain);
    for (int i = 0; i < DEPTH; i++)
        chain[i] = plant(i ? chain[i - 1] : NULL);
    run(workers, chain_root, chain);
    for (int i = 0; i < DEPTH; i++) {
        cr_assert_eq(weft_token_is_cancelled(chain[i]), 1);
        cr_assert_eq(weft_token_free(chain[i]), 0);
    }
    free(chain);
}

/* ---- d25 ------------------------------------------------------------------------------------------------------- */

/* A dropped timer kept its place in the wheel, and its waker its task, until the deadline: an hour of requests that were long done.
 * What is left in a wheel would be seen by the clock: it stands still while anything can run, and jumps to what is next. */
typedef struct brief {
    weft_future future;
    weft_timer timer;
    bool reset; /* moved before it is dropped */
} brief;

static weft_poll brief_poll(weft_future *f, weft_context *cx, void **result)
{
    brief *b = WEFT_CONTAINER_OF(f, brief, future);
    (void)result;
    weft_timer_init(&b->timer, weft_now() + 3600 * WEFT_SEC);
    cr_assert_eq(weft_timer_poll(cx, &b->timer), WEFT_PENDING);
    if (b->reset) {
        weft_timer_reset(&b->timer, weft_now() + 1800 * WEFT_SEC);
        cr_assert_eq(weft_timer_poll(cx, &b->timer), WEFT_PENDING);
    }
    weft_timer_drop(&b->timer);
    return WEFT_READY;
}

static const weft_future_ops brief_ops = {brief_poll, NULL};

/* A timer each, whose memory is used again at once: an entry that was left would be a use after free. */
static void arm_and_drop(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        brief *b = malloc(sizeof *b);
        cr_assert_not_null(b);
        *b = (brief){.future = {&brief_ops}, .reset = i % 8 == 0};
        cr_assert_eq(weft_await(&b->future, NULL), 0);
        memset(b, 0xee, sizeof *b);
        free(b);
    }
}

/* Armed by one task, dropped by another: the drop finds the wheel of whichever worker it was. */
typedef struct armed {
    weft_future future;
    weft_timer timer;
} armed;

static weft_poll armed_poll(weft_future *f, weft_context *cx, void **result)
{
    (void)result;
    return weft_timer_poll(cx, &WEFT_CONTAINER_OF(f, armed, future)->timer);
}

static void armed_drop(weft_future *f) { weft_timer_drop(&WEFT_CONTAINER_OF(f, armed, future)->timer); }

static const weft_future_ops armed_ops = {armed_poll, armed_drop};

static void arm_and_abort(size_t n)
{
    armed a;
    weft_task *task;
    for (size_t i = 0; i < n; i++) {
        a.future.ops = &armed_ops;
        weft_timer_init(&a.timer, weft_now() + 3600 * WEFT_SEC);
        cr_assert_eq(weft_spawn_future(&task, &a.future), 0);
        weft_yield();
        weft_abort(task);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    }
}

static void *brief_root(void *arg)
{
    int64_t began = weft_now();
    (void)arg;
    arm_and_drop(1000);
    arm_and_abort(1000);
    size_t before = in_use();
    arm_and_drop(wf_test_scale(1000 * 1000));
    arm_and_abort(wf_test_scale(20 * 1000));
    cr_assert_leq(in_use(), before + SLACK, "memory grew with timers that are gone");
    cr_assert_lt(weft_now() - began, 1000 * WEFT_SEC, "nothing waited for them");
    return NULL;
}

Test(defects_token, d25_a_dropped_timer_frees_its_wheel_entry_at_once)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, brief_root, NULL, NULL), 0);
}

WF_TEST_WORKERS(defects_token, d25_timers_dropped_on_other_workers_leave_nothing) { run(workers, brief_root, NULL); }

/* If one was left, the clock would stop at its deadline before it reaches the sleeper's. */
static void *parks_root(void *arg)
{
    weft_metrics_t before, after;
    (void)arg;
    arm_and_drop(1000);
    cr_assert_eq(weft_sleep(WEFT_MS), 0);
    cr_assert_eq(weft_metrics(NULL, &before), 0);
    int64_t began = weft_now();
    cr_assert_eq(weft_sleep(2 * 3600 * WEFT_SEC), 0);
    cr_assert_leq(weft_now() - began, 2 * 3600 * WEFT_SEC + 2 * WEFT_MS);
    cr_assert_eq(weft_metrics(NULL, &after), 0);
    cr_assert_leq(after.polls - before.polls, 2, "nobody was woken on the way");
    return NULL;
}

Test(defects_token, d25_time_does_not_stop_for_timers_that_were_dropped)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, parks_root, NULL, NULL), 0);
}
