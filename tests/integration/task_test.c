/* task_test.c - a task's life as its user sees it: spawned, waited for, aborted, dropped, and what it says of itself.
 *
 * Where an order of events matters, one worker makes it certain, or a pinned task: it cannot start before its spawner waits. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/task_support.h>
#include <support/test.h>
#include <weft/future.h>
#include <weft/runtime.h>
#include <weft/task.h>
#include <weft/time.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void count(void *counter) { atomic_fetch_add((atomic_int *)counter, 1); }

/* Everything a task does until it is told to stop, and what it was told. */
static void *wait_for_ever(void *arg)
{
    int code = weft_sleep(WEFT_FOREVER);
    if (arg)
        *(int *)arg = code;
    return NULL;
}

static void *count_up(void *counter)
{
    count(counter);
    return counter;
}

/* A future that is ready once its gate is open; anybody opens it. */
typedef struct gate {
    weft_future future;
    weft_atomic_waker waker;
    atomic_int open, polls, drops, polling;
    void *value;
    weft_poll verdict;
} gate;

static weft_poll gate_poll(weft_future *f, weft_context *cx, void **result)
{
    gate *g = WEFT_CONTAINER_OF(f, gate, future);
    g->polling = 1;
    g->polls++;
    cr_assert_eq(weft_atomic_waker_register(&g->waker, weft_context_waker(cx)), 0);
    bool open = g->open;
    if (open)
        *result = g->value;
    g->polling = 0;
    return open ? g->verdict : WEFT_PENDING;
}

static void gate_drop(weft_future *f)
{
    gate *g = WEFT_CONTAINER_OF(f, gate, future);
    weft_waker waker;
    cr_assert_eq(g->polling, 0, "dropped during its poll");
    if (weft_atomic_waker_take(&g->waker, &waker))
        weft_waker_drop(&waker);
    g->drops++;
}

static const weft_future_ops gate_ops = {gate_poll, gate_drop};

static void gate_init(gate *g)
{
    memset(g, 0, sizeof *g);
    g->future.ops = &gate_ops;
    weft_atomic_waker_init(&g->waker);
}

static void gate_open(gate *g)
{
    g->open = 1;
    weft_atomic_waker_wake(&g->waker);
}

/* A strand that waits for a gate. */
static void *pass_gate(void *arg)
{
    gate *g = arg;
    void *value = NULL;
    int code = weft_await(&g->future, &value);
    return code < 0 ? NULL : value;
}

/* A pinned child cannot start before its spawner, on the same worker, waits. */
static weft_task *spawn_pinned(weft_fn fn, void *arg)
{
    weft_spawn_options options = {.pinned = 1};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    return task;
}

/* ---- spawn and join ------------------------------------------------------------------------------------------ */

static void *spawn_and_join_root(void *arg)
{
    enum { MANY = 500 };
    weft_task *tasks[MANY];
    uint64_t ids[MANY];
    (void)arg;
    for (uintptr_t i = 0; i < MANY; i++) {
        cr_assert_eq(weft_spawn(&tasks[i], echo, (void *)(i + 1)), 0);
        ids[i] = weft_task_id(tasks[i]);
        cr_assert_gt(ids[i], 0);
        cr_assert_leq(ids[i], INT64_MAX);
        cr_assert_neq(ids[i], weft_self_id());
    }
    for (uintptr_t i = 0; i < MANY; i++) {
        void *result = NULL;
        cr_assert_eq(weft_join(tasks[i], &result), 0);
        cr_assert_eq((uintptr_t)result, i + 1);
        for (uintptr_t j = 0; j < i; j++)
            cr_assert_neq(ids[i], ids[j]);
    }
    return NULL;
}

WF_TEST_WORKERS(task, join_returns_what_the_task_returned) { run(workers, spawn_and_join_root, NULL); }

static void *queued_root(void *arg)
{
    static atomic_int ran;
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn(&task, count_up, &ran), 0);
    cr_assert_eq(ran, 0);
    cr_assert_eq(weft_task_state(task), WEFT_TASK_SCHEDULED);
    cr_assert_eq(weft_is_finished(task), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(ran, 1);
    return NULL;
}

Test(task, a_spawned_task_is_queued_and_never_run_on_the_spot) { run(1, queued_root, NULL); }

static void *try_join_root(void *arg)
{
    gate g;
    weft_task *task;
    void *result = arg;
    gate_init(&g);
    g.value = &g;
    cr_assert_eq(weft_spawn(&task, pass_gate, &g), 0);
    cr_assert_eq(weft_try_join(task, &result), WEFT_EAGAIN);
    cr_assert_null(result);
    gate_open(&g);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_eq(weft_is_finished(task), 1);
    cr_assert_eq(weft_wait(task), 0, "waiting takes nothing");
    cr_assert_eq(weft_try_join(task, &result), 0);
    cr_assert_eq(result, &g);
    cr_assert_eq(weft_try_join(NULL, &result), WEFT_EINVAL);
    cr_assert_eq(weft_join(NULL, &result), WEFT_EINVAL);
    cr_assert_eq(weft_wait(NULL), WEFT_EINVAL);
    return NULL;
}

WF_TEST_WORKERS(task, try_join_says_again_until_the_end_and_wait_keeps_the_handle)
{
    run(workers, try_join_root, &workers);
}

static void *wait_for_task(void *task) { return (void *)(intptr_t)weft_wait(task); }

static void *busy_root(void *arg)
{
    gate g;
    weft_task *task, *waiter;
    void *result;
    (void)arg;
    gate_init(&g);
    g.value = &g;
    cr_assert_eq(weft_spawn(&task, pass_gate, &g), 0);
    cr_assert_eq(weft_spawn(&waiter, wait_for_task, task), 0);
    EVENTUALLY(weft_task_state(waiter) == WEFT_TASK_IDLE);
    cr_assert_eq(weft_wait(task), WEFT_EBUSY);
    cr_assert_eq(weft_join(task, &result), WEFT_EBUSY);
    cr_assert_null(result);
    gate_open(&g);
    cr_assert_eq(weft_join(waiter, &result), 0);
    cr_assert_eq((intptr_t)result, 0);
    cr_assert_eq(weft_join(task, &result), 0, "the handle stayed valid");
    cr_assert_eq(result, &g);
    return NULL;
}

WF_TEST_WORKERS(task, a_second_waiter_is_told_busy_while_one_waits) { run(workers, busy_root, NULL); }

static void *busy_close_root(void *arg)
{
    weft_task *task, *waiter;
    void *result;
    int code = 0;
    (void)arg;
    cr_assert_eq(weft_spawn(&task, wait_for_ever, &code), 0);
    cr_assert_eq(weft_spawn(&waiter, wait_for_task, task), 0);
    EVENTUALLY(weft_task_state(waiter) == WEFT_TASK_IDLE && weft_task_state(task) == WEFT_TASK_IDLE);
    int closed = weft_task_close(task);
    cr_assert(closed == WEFT_EBUSY || closed == 0, "%d", closed);
    cr_assert_eq(weft_join(waiter, &result), 0);
    cr_assert_eq(code, WEFT_ECANCELED, "aborted all the same");
    if (closed == WEFT_EBUSY)
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    return NULL;
}

Test(task, close_while_another_waits_aborts_and_says_busy) { run(1, busy_close_root, NULL); }

static weft_task *myself;

static void *join_myself(void *arg)
{
    void *result = arg;
    cr_assert_eq(weft_join(myself, &result), WEFT_EDEADLK);
    cr_assert_null(result);
    cr_assert_eq(weft_wait(myself), WEFT_EDEADLK);
    cr_assert_eq(weft_task_close(myself), WEFT_EDEADLK);
    cr_assert_eq(weft_try_join(myself, NULL), WEFT_EAGAIN);
    return myself;
}

static void *join_myself_root(void *arg)
{
    void *result;
    myself = spawn_pinned(join_myself, arg);
    cr_assert_eq(weft_join(myself, &result), 0, "closing oneself is refused before it aborts");
    cr_assert_eq(result, myself);
    return NULL;
}

WF_TEST_WORKERS(task, joining_oneself_is_a_deadlock_and_is_refused) { run(workers, join_myself_root, &workers); }

/* It met the abort, told nobody, and so the task's result was lost. */
static void *join_myself_aborted(void *arg)
{
    (void)arg;
    weft_abort(myself);
    cr_assert_eq(weft_wait(myself), WEFT_EDEADLK);
    cr_assert_eq(weft_join(myself, NULL), WEFT_EDEADLK);
    return myself;
}

static void *join_myself_aborted_root(void *arg)
{
    void *result;
    myself = spawn_pinned(join_myself_aborted, arg);
    cr_assert_eq(weft_join(myself, &result), 0, "it was never told that it was aborted");
    cr_assert_eq(result, myself);
    return NULL;
}

WF_TEST_WORKERS(task, joining_oneself_does_not_meet_an_abort) { run(workers, join_myself_aborted_root, NULL); }

static void *fail_with(void *code) { return weft_fail((int)(intptr_t)code); }

static void *fail_root(void *arg)
{
    static const int codes[] = {WEFT_ECONNRESET, WEFT_EINVAL, WEFT_EOF, WEFT_EABORTED, WEFT_EPANIC, -7777, -1};
    (void)arg;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        weft_task *task;
        void *result;
        cr_assert_eq(weft_spawn(&task, fail_with, (void *)(intptr_t)codes[i]), 0);
        cr_assert_eq(weft_join(task, &result), WEFT_EFAILED);
        cr_assert_eq((intptr_t)result, codes[i]);
    }
    return NULL;
}

WF_TEST_WORKERS(task, a_failed_task_gives_its_code_to_the_joiner) { run(workers, fail_root, NULL); }

static void *panic_now(void *arg)
{
    weft_panic("lost %d of %s", 7, (const char *)arg);
    return NULL;
}

static void *panic_root(void *arg)
{
    weft_task *task, *other;
    void *result = &task;
    (void)arg;
    cr_assert_eq(weft_spawn(&other, echo, &other), 0);
    cr_assert_eq(weft_spawn(&task, panic_now, "nine"), 0);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_str_eq(weft_task_error(task), "lost 7 of nine");
    cr_assert_eq(weft_task_state(task), WEFT_TASK_COMPLETED);
    cr_assert_eq(weft_join(task, &result), WEFT_EPANIC);
    cr_assert_null(result);
    cr_assert_str_eq(weft_task_error(other), "");
    cr_assert_eq(weft_join(other, &result), 0);
    cr_assert_eq(result, &other);
    return NULL;
}

WF_TEST_WORKERS(task, a_panic_reaches_the_joiner_as_an_error_with_its_text) { run(workers, panic_root, NULL); }

static void *join_child(void *task)
{
    void *result = task;
    int code = weft_join(task, &result);
    cr_assert_null(result);
    return (void *)(intptr_t)code;
}

static void *interrupted_root(void *arg)
{
    gate g;
    weft_task *task, *joiner;
    void *result;
    (void)arg;
    gate_init(&g);
    g.value = &g;
    cr_assert_eq(weft_spawn(&task, pass_gate, &g), 0);
    cr_assert_eq(weft_spawn(&joiner, join_child, task), 0);
    EVENTUALLY(weft_task_state(joiner) == WEFT_TASK_IDLE);
    weft_abort(joiner);
    cr_assert_eq(weft_join(joiner, &result), WEFT_EABORTED);
    cr_assert_null(result);
    cr_assert_eq(weft_try_join(task, &result), WEFT_EAGAIN, "the handle is as it was");
    gate_open(&g);
    cr_assert_eq(weft_join(task, &result), 0, "and nobody waits for it any more");
    cr_assert_eq(result, &g);
    return NULL;
}

WF_TEST_WORKERS(task, an_interrupted_join_leaves_the_handle_valid) { run(workers, interrupted_root, NULL); }

static void *join_what_has_ended(void *task)
{
    void *result;
    weft_abort(myself);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    return result;
}

static void *join_ended_root(void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, echo, arg), 0);
    cr_assert_eq(weft_wait(task), 0);
    myself = spawn_pinned(join_what_has_ended, task);
    cr_assert_eq(weft_join(myself, NULL), WEFT_EABORTED);
    return NULL;
}

WF_TEST_WORKERS(task, what_has_ended_is_joined_even_by_a_cancelled_caller) { run(workers, join_ended_root, &workers); }

/* ---- ordinary threads ---------------------------------------------------------------------------------------- */

typedef struct outsider {
    weft_runtime *rt;
    size_t rounds;
    weft_task *task;
} outsider;

static void *join_many_from_outside(void *arg)
{
    outsider *o = arg;
    for (uintptr_t i = 1; i <= o->rounds; i++) {
        weft_task *task;
        void *result;
        cr_assert_eq(weft_spawn_on(o->rt, &task, echo, (void *)i), 0);
        cr_assert_eq(weft_join(task, &result), 0);
        cr_assert_eq((uintptr_t)result, i);
    }
    return NULL;
}

WF_TEST_WORKERS(task, ordinary_threads_spawn_and_join)
{
    enum { THREADS = 4 };
    weft_options options = {.workers = workers};
    outsider o = {.rounds = wf_test_scale(2000)};
    cr_assert_eq(weft_runtime_create(&o.rt, &options), 0);
    in_threads(THREADS, join_many_from_outside, &o);
    cr_assert_eq(weft_runtime_destroy(o.rt), 0);
}

static void *abort_it(void *arg)
{
    weft_abort(arg);
    return NULL;
}

WF_TEST_WORKERS(task, ordinary_threads_abort_one_task_at_once)
{
    enum { THREADS = 4 };
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (size_t round = 0; round < wf_test_scale(200); round++) {
        weft_task *task;
        int code = 1;
        cr_assert_eq(weft_spawn_on(rt, &task, wait_for_ever, &code), 0);
        in_threads(THREADS, abort_it, task);
        cr_assert_eq(weft_wait(task), 0);
        cr_assert_eq(weft_task_state(task), WEFT_TASK_CANCELLED);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        cr_assert(code == 1 || code == WEFT_ECANCELED, "not started, or told: %d", code);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- abort --------------------------------------------------------------------------------------------------- */

static void *abort_unstarted_root(void *arg)
{
    atomic_int ran = 0, dropped = 0;
    weft_spawn_options options = {.pinned = 1, .drop_arg = count};
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn_with(&task, &options, count_up, &dropped), 0);
    weft_abort(task);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(dropped, 1, "its argument was dropped once and its body never counted");
    task = spawn_pinned(count_up, &ran);
    weft_abort(task);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_eq(weft_task_state(task), WEFT_TASK_CANCELLED);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(ran, 0);
    return NULL;
}

WF_TEST_WORKERS(task, aborted_before_it_started_it_never_starts) { run(workers, abort_unstarted_root, NULL); }

static void *meet_abort_again_and_again(void *arg)
{
    weft_task *task;
    (void)arg;
    if (weft_sleep(WEFT_FOREVER) != WEFT_ECANCELED || weft_sleep(0) != WEFT_ECANCELED ||
        weft_yield() != WEFT_ECANCELED || weft_sleep(WEFT_FOREVER) != WEFT_ECANCELED || !weft_is_cancelled())
        return NULL;
    cr_assert_eq(weft_spawn(&task, wait_for_ever, NULL), 0, "spawning is no await");
    cr_assert_eq(weft_join(task, NULL), WEFT_ECANCELED);
    cr_assert_eq(weft_task_close(task), 0, "closing completes in a cancelled caller");
    count(arg);
    return arg;
}

static void *abort_waiting_root(void *arg)
{
    atomic_int unwound = 0;
    weft_task *task;
    void *result = arg;
    cr_assert_eq(weft_spawn(&task, meet_abort_again_and_again, &unwound), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    weft_abort(task);
    weft_abort(task);
    cr_assert_eq(weft_join(task, &result), WEFT_EABORTED);
    cr_assert_null(result);
    cr_assert_eq(unwound, 1);
    return NULL;
}

WF_TEST_WORKERS(task, aborted_while_it_waits_every_await_says_so) { run(workers, abort_waiting_root, &workers); }

static void *abort_myself(void *arg)
{
    weft_abort(myself);
    weft_abort(myself);
    *(int *)arg = weft_yield();
    return arg;
}

static void *abort_running_root(void *arg)
{
    int code = 1;
    (void)arg;
    myself = spawn_pinned(abort_myself, &code);
    cr_assert_eq(weft_join(myself, NULL), WEFT_EABORTED);
    cr_assert_eq(code, WEFT_ECANCELED);
    return NULL;
}

WF_TEST_WORKERS(task, aborted_while_it_runs_the_next_await_says_so) { run(workers, abort_running_root, NULL); }

static void *abort_myself_and_return(void *arg)
{
    weft_abort(myself);
    return arg;
}

static void *abort_unmet_root(void *arg)
{
    void *result;
    myself = spawn_pinned(abort_myself_and_return, arg);
    cr_assert_eq(weft_join(myself, &result), 0);
    cr_assert_eq(result, arg);
    return NULL;
}

WF_TEST_WORKERS(task, aborted_without_meeting_it_the_task_completes) { run(workers, abort_unmet_root, &workers); }

static void *abort_completed_root(void *arg)
{
    weft_task *task;
    void *result;
    cr_assert_eq(weft_spawn(&task, echo, arg), 0);
    cr_assert_eq(weft_wait(task), 0);
    weft_abort(task);
    cr_assert_eq(weft_task_state(task), WEFT_TASK_COMPLETED);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq(result, arg);
    weft_abort(NULL);
    return NULL;
}

WF_TEST_WORKERS(task, abort_of_a_completed_task_changes_nothing) { run(workers, abort_completed_root, &workers); }

static void *aborter_root(void *arg)
{
    weft_aborter **kept = arg;
    weft_aborter *aborter;
    weft_task *task;
    int code = 0;
    cr_assert_eq(weft_aborter_create(&aborter, NULL), WEFT_EINVAL);
    cr_assert_null(aborter);
    cr_assert_eq(weft_spawn(&task, wait_for_ever, &code), 0);
    cr_assert_eq(weft_aborter_create(&aborter, task), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    weft_aborter_abort(aborter);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(code, WEFT_ECANCELED);
    for (int i = 0; i < 200; i++) { /* the place may get a new owner, which is none of the aborter's business */
        void *result;
        cr_assert_eq(weft_spawn(&task, echo, arg), 0);
        weft_aborter_abort(aborter);
        cr_assert_eq(weft_join(task, &result), 0);
        cr_assert_eq(result, arg);
    }
    weft_aborter_free(aborter);
    weft_aborter_abort(NULL);
    weft_aborter_free(NULL);
    cr_assert_eq(weft_spawn(&task, echo, arg), 0);
    cr_assert_eq(weft_aborter_create(kept, task), 0);
    weft_detach(task);
    return NULL;
}

WF_TEST_WORKERS(task, an_aborter_is_valid_after_the_task_and_after_the_runtime)
{
    weft_aborter *kept;
    run(workers, aborter_root, &kept);
    weft_aborter_abort(kept);
    weft_aborter_free(kept);
}

/* ---- detach, close ------------------------------------------------------------------------------------------- */

static void *detach_root(void *arg)
{
    atomic_int results = 0;
    weft_spawn_options options = {.drop_result = count};
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &results), 0);
    weft_detach(task);
    EVENTUALLY(results == 1);
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &results), 0);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_eq(results, 1, "its handle may still want the result");
    weft_detach(task);
    cr_assert_eq(results, 2);
    cr_assert_eq(weft_spawn_with(NULL, &options, echo, &results), 0);
    EVENTUALLY(results == 3);
    weft_detach(NULL);
    return NULL;
}

WF_TEST_WORKERS(task, a_detached_task_runs_on_and_its_result_is_dropped_once) { run(workers, detach_root, NULL); }

static void *unwind_slowly(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    weft_shield_enter();
    for (int i = 0; i < 50; i++)
        cr_assert_eq(weft_yield(), 0);
    cr_assert_eq(weft_sleep(2 * WEFT_MS), 0);
    weft_shield_leave();
    count(arg);
    return arg;
}

static void *close_root(void *arg)
{
    atomic_int unwound = 0;
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn(&task, unwind_slowly, &unwound), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    cr_assert_eq(weft_task_close(task), 0);
    cr_assert_eq(unwound, 1, "close waited for the end");
    cr_assert_eq(weft_task_close(NULL), 0);
    cr_assert_eq(weft_spawn(&task, echo, arg), 0);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_eq(weft_task_close(task), 0);
    return NULL;
}

WF_TEST_WORKERS(task, close_aborts_waits_for_the_end_and_frees) { run(workers, close_root, NULL); }

static void *close_child_when_cancelled(void *arg)
{
    weft_task *child;
    cr_assert_eq(weft_spawn(&child, unwind_slowly, arg), 0);
    EVENTUALLY(weft_task_state(child) == WEFT_TASK_IDLE);
    weft_abort(myself);
    cr_assert_eq(weft_task_close(child), 0);
    cr_assert_eq(*(atomic_int *)arg, 1);
    return NULL;
}

static void *close_cancelled_root(void *arg)
{
    atomic_int unwound = 0;
    (void)arg;
    myself = spawn_pinned(close_child_when_cancelled, &unwound);
    weft_join(myself, NULL);
    cr_assert_eq(unwound, 1);
    return NULL;
}

WF_TEST_WORKERS(task, close_completes_when_its_caller_is_cancelled) { run(workers, close_cancelled_root, NULL); }

/* ---- shields, is_cancelled ----------------------------------------------------------------------------------- */

static void *shielded(void *arg)
{
    cr_assert_eq(weft_shield_leave(), WEFT_EINVAL, "a leave too many");
    cr_assert_eq(weft_shield_enter(), 0);
    cr_assert_eq(weft_shield_enter(), 0);
    weft_abort(myself);
    cr_assert_eq(weft_is_cancelled(), 0);
    cr_assert_eq(weft_sleep(WEFT_MS), 0);
    cr_assert_eq(weft_shield_leave(), 0);
    cr_assert_eq(weft_yield(), 0, "one is left");
    cr_assert_eq(weft_shield_leave(), 0);
    cr_assert_eq(weft_is_cancelled(), 1);
    cr_assert_eq(weft_shield_enter(), 0);
    cr_assert_eq(weft_yield(), 0, "a new shield hides it again");
    cr_assert_eq(weft_shield_leave(), 0);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    cr_assert_eq(weft_shield_leave(), WEFT_EINVAL);
    count(arg);
    return NULL;
}

static void *shield_root(void *arg)
{
    atomic_int done = 0;
    (void)arg;
    cr_assert_eq(weft_is_cancelled(), 0);
    myself = spawn_pinned(shielded, &done);
    cr_assert_eq(weft_join(myself, NULL), WEFT_EABORTED);
    cr_assert_eq(done, 1);
    return NULL;
}

WF_TEST_WORKERS(task, shields_hide_an_abort_and_nest)
{
    cr_assert_eq(weft_shield_leave(), WEFT_EINVAL);
    cr_assert_eq(weft_shield_enter(), 0); /* an ordinary thread has scopes to hide */
    cr_assert_eq(weft_shield_leave(), 0);
    cr_assert_eq(weft_shield_leave(), WEFT_EINVAL);
    cr_assert_eq(weft_is_cancelled(), 0);
    run(workers, shield_root, NULL);
}

static void *wait_shielded(void *arg)
{
    weft_shield_enter();
    void *value = pass_gate(arg);
    weft_shield_leave();
    return value;
}

static void *shielded_wait_root(void *arg)
{
    gate g;
    weft_task *task;
    void *result;
    (void)arg;
    gate_init(&g);
    g.value = &g;
    cr_assert_eq(weft_spawn(&task, wait_shielded, &g), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE && g.polls > 0);
    weft_abort(task);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE && g.polls > 1); /* looked, and sleeps again */
    gate_open(&g);
    cr_assert_eq(weft_join(task, &result), 0, "it never met the abort");
    cr_assert_eq(result, &g);
    return NULL;
}

WF_TEST_WORKERS(task, a_shielded_wait_goes_on_after_an_abort) { run(workers, shielded_wait_root, NULL); }

static void *ask_and_return(void *arg)
{
    weft_abort(myself);
    cr_assert_eq(weft_is_cancelled(), 1);
    return arg;
}

static void *asked_root(void *arg)
{
    atomic_int dropped = 0;
    weft_spawn_options options = {.pinned = 1, .drop_result = count};
    void *result = arg;
    cr_assert_eq(weft_spawn_with(&myself, &options, ask_and_return, &dropped), 0);
    cr_assert_eq(weft_join(myself, &result), WEFT_EABORTED, "to be told by weft_is_cancelled() is to meet it");
    cr_assert_null(result);
    cr_assert_eq(dropped, 1);
    return NULL;
}

WF_TEST_WORKERS(task, to_be_told_by_is_cancelled_is_to_meet_the_abort) { run(workers, asked_root, &workers); }

/* ---- arguments and results ----------------------------------------------------------------------------------- */

static void *return_null(void *arg)
{
    (void)arg;
    return NULL;
}

static void *meet_and_return(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

static void *drops_root(void *arg)
{
    atomic_int args = 0, results = 0;
    weft_spawn_options options = {.drop_arg = count, .drop_result = count};
    weft_task *task;
    void *result;
    (void)arg;
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &results), 0);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq(results, 0, "the joiner has it, and it started");
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &results), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(results, 1, "nobody wanted it");
    cr_assert_eq(weft_spawn_with(&task, &options, return_null, &args), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_spawn_with(&task, &options, fail_with, (void *)(intptr_t)WEFT_EINVAL), 0);
    cr_assert_eq(weft_join(task, NULL), WEFT_EFAILED);
    cr_assert_eq(results, 1, "no result, nothing to drop");
    cr_assert_eq(weft_spawn_with(&task, &options, meet_and_return, &results), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    weft_abort(task);
    cr_assert_eq(weft_join(task, &result), WEFT_EABORTED);
    cr_assert_null(result);
    cr_assert_eq(results, 2, "returned after it met the abort");
    cr_assert_eq(weft_spawn_with(&task, &options, meet_and_return, &results), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    cr_assert_eq(weft_task_close(task), 0);
    cr_assert_eq(results, 3);
    cr_assert_eq(args, 0, "all of them started");
    return NULL;
}

WF_TEST_WORKERS(task, results_are_dropped_exactly_once_if_nobody_takes_them) { run(workers, drops_root, NULL); }

static void panic_in_defer(void *arg) { weft_panic("in a defer: %s", (const char *)arg); }

static void *return_into_panic(void *arg)
{
    cr_assert_eq(weft_defer(panic_in_defer, "late"), 0);
    return arg;
}

static void *result_lost_root(void *arg)
{
    atomic_int results = 0;
    weft_spawn_options options = {.drop_result = count};
    weft_task *task;
    void *result = arg;
    cr_assert_eq(weft_spawn_with(&task, &options, return_into_panic, &results), 0);
    cr_assert_eq(weft_join(task, &result), WEFT_EPANIC);
    cr_assert_null(result);
    cr_assert_eq(results, 1, "nobody can take it any more");
    return NULL;
}

WF_TEST_WORKERS(task, a_result_returned_before_a_defer_panics_is_dropped_once)
{
    run(workers, result_lost_root, &workers);
}

typedef struct message {
    atomic_int *drops, *seen;
    char text[200];
} message;

static void drop_message(void *arg)
{
    message *m = arg;
    cr_assert_str_eq(m->text, "as it was");
    count(m->drops);
}

static void *read_message(void *arg)
{
    message *m = arg;
    weft_yield();
    cr_assert_str_eq(m->text, "as it was");
    strcpy(m->text, "the copy is its own");
    count(m->seen);
    return NULL;
}

static void *copy_root(void *arg)
{
    atomic_int drops = 0, seen = 0;
    weft_spawn_options options = {.pinned = 1, .drop_arg = drop_message, .copy_arg = sizeof(message)};
    weft_task *tasks[3];
    message m = {.drops = &drops, .seen = &seen, .text = "as it was"};
    (void)arg;
    for (int i = 0; i < 3; i++)
        cr_assert_eq(weft_spawn_with(&tasks[i], &options, read_message, &m), 0);
    memset(&m, 0xff, sizeof m);
    weft_abort(tasks[2]);
    cr_assert_eq(weft_join(tasks[0], NULL), 0);
    cr_assert_eq(weft_join(tasks[1], NULL), 0);
    cr_assert_eq(weft_join(tasks[2], NULL), WEFT_EABORTED);
    cr_assert_eq(seen, 2);
    cr_assert_eq(drops, 1);
    cr_assert_eq(weft_spawn_with(&tasks[0], &options, read_message, NULL), WEFT_EINVAL);
    cr_assert_null(tasks[0]);
    return NULL;
}

WF_TEST_WORKERS(task, a_copied_argument_is_the_tasks_own) { run(workers, copy_root, NULL); }

static void *leave_children_root(void *arg)
{
    weft_spawn_options options = {.pinned = 1, .drop_arg = count};
    for (int i = 0; i < 20; i++)
        cr_assert_eq(weft_spawn_with(NULL, &options, return_null, arg), 0);
    return NULL;
}

static atomic_int started;

static void *say_and_unwind(void *arg)
{
    started++;
    return unwind_slowly(arg);
}

static void *leave_started_root(void *arg)
{
    started = 0;
    for (int i = 0; i < 20; i++)
        cr_assert_eq(weft_spawn(NULL, say_and_unwind, arg), 0);
    EVENTUALLY(started == 20);
    return NULL;
}

/* The root has ended: what did not start never does, what did is aborted and runs to its end. */
WF_TEST_WORKERS(task, what_is_left_when_the_root_ends_is_aborted_and_waited_for)
{
    atomic_int dropped = 0, unwound = 0;
    run(1, leave_children_root, &dropped);
    cr_assert_eq(dropped, 20);
    run(workers, leave_started_root, &unwound);
    cr_assert_eq(unwound, 20);
}

/* ---- refused spawns ------------------------------------------------------------------------------------------ */

static void *refused_root(void *arg)
{
    atomic_int drops = 0;
    weft_spawn_options options = {.stack_size = 1, .drop_arg = count, .drop_result = count};
    weft_task *task = arg;
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &drops), WEFT_EINVAL);
    cr_assert_null(task);
    options.stack_size = SIZE_MAX;
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &drops), WEFT_EINVAL);
    options.stack_size = 0;
    task = arg;
    cr_assert_eq(weft_spawn_with(&task, &options, NULL, &drops), WEFT_EINVAL);
    cr_assert_null(task);
    cr_assert_eq(weft_spawn_future(&task, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_spawn_on(NULL, &task, echo, &drops), WEFT_EINVAL);
    cr_assert_eq(drops, 0);
    return NULL;
}

WF_TEST_WORKERS(task, a_refused_spawn_leaves_everything_with_the_caller)
{
    atomic_int drops = 0;
    gate g;
    weft_spawn_options options = {.drop_arg = count};
    weft_task *task = (weft_task *)(void *)&drops;
    gate_init(&g);
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &drops), WEFT_ENORUNTIME);
    cr_assert_null(task);
    cr_assert_eq(weft_spawn(NULL, echo, NULL), WEFT_ENORUNTIME);
    cr_assert_eq(weft_spawn_future(&task, &g.future), WEFT_ENORUNTIME);
    cr_assert_eq(g.drops, 0);
    cr_assert_eq(drops, 0);
    run(workers, refused_root, &drops);
}

/* ---- names, states ------------------------------------------------------------------------------------------- */

#define LONG_NAME "0123456789012345678901234567890123456789012345678901234567890123456789"

static void *rename_myself(void *arg)
{
    gate *g = arg;
    cr_assert_str_eq(weft_task_name(myself), "before");
    cr_assert_eq(weft_set_name("after %d", 5), 0);
    pass_gate(g);
    cr_assert_eq(weft_set_name(LONG_NAME), 0);
    return NULL;
}

static void *names_root(void *arg)
{
    char name[] = "before";
    weft_spawn_options options = {.name = name, .pinned = 1};
    weft_task *task;
    gate g;
    (void)arg;
    gate_init(&g);
    cr_assert_eq(weft_spawn_with(&myself, &options, rename_myself, &g), 0);
    name[0] = 'X';
    EVENTUALLY(weft_task_state(myself) == WEFT_TASK_IDLE);
    cr_assert_str_eq(weft_task_name(myself), "after 5");
    gate_open(&g);
    cr_assert_eq(weft_wait(myself), 0);
    cr_assert_eq(strlen(weft_task_name(myself)), 63);
    cr_assert_eq(strncmp(weft_task_name(myself), LONG_NAME, 63), 0);
    cr_assert_eq(weft_join(myself, NULL), 0);
    options.name = LONG_NAME;
    cr_assert_eq(weft_spawn_with(&task, &options, echo, NULL), 0);
    cr_assert_eq(strlen(weft_task_name(task)), 63);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_spawn(&task, echo, NULL), 0);
    cr_assert_str_eq(weft_task_name(task), "");
    cr_assert_eq(weft_join(task, NULL), 0);
    return NULL;
}

WF_TEST_WORKERS(task, names_are_copied_changed_and_cut)
{
    cr_assert_eq(weft_set_name("no task"), WEFT_EINVAL);
    cr_assert_eq(weft_self_id(), 0);
    run(workers, names_root, NULL);
}

static void *look_at_myself(void *arg)
{
    (void)arg;
    cr_assert_eq(weft_task_state(myself), WEFT_TASK_RUNNING);
    cr_assert_eq(weft_self_id(), weft_task_id(myself));
    weft_sleep(WEFT_FOREVER);
    return NULL;
}

static void *states_root(void *arg)
{
    (void)arg;
    myself = spawn_pinned(look_at_myself, NULL);
    cr_assert_eq(weft_task_state(myself), WEFT_TASK_SCHEDULED);
    EVENTUALLY(weft_task_state(myself) == WEFT_TASK_IDLE);
    cr_assert_eq(weft_is_finished(myself), 0);
    weft_abort(myself);
    cr_assert_eq(weft_wait(myself), 0);
    cr_assert_eq(weft_task_state(myself), WEFT_TASK_CANCELLED);
    cr_assert_eq(weft_is_finished(myself), 1);
    cr_assert_eq(weft_join(myself, NULL), WEFT_EABORTED);
    cr_assert_str_eq(weft_task_state_name(WEFT_TASK_IDLE), "idle");
    cr_assert_str_eq(weft_task_state_name(WEFT_TASK_SCHEDULED), "scheduled");
    cr_assert_str_eq(weft_task_state_name(WEFT_TASK_RUNNING), "running");
    cr_assert_str_eq(weft_task_state_name(WEFT_TASK_COMPLETED), "completed");
    cr_assert_str_eq(weft_task_state_name(WEFT_TASK_CANCELLED), "cancelled");
    return NULL;
}

WF_TEST_WORKERS(task, states_are_told_apart) { run(workers, states_root, NULL); }

/* ---- deferred calls ------------------------------------------------------------------------------------------ */

static char order[32];

static void note(void *letter)
{
    size_t length = strlen(order);
    order[length] = *(const char *)letter;
    order[length + 1] = '\0';
}

static void note_and_wait(void *letter)
{
    weft_yield();
    note(letter);
}

static void note_and_panic(void *letter)
{
    note(letter);
    weft_panic("defer %s", (const char *)letter);
}

static void *defer_abc(void *arg)
{
    (void)arg;
    cr_assert_eq(weft_defer_pop(1), WEFT_EINVAL, "there is none");
    cr_assert_eq(weft_defer(NULL, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_defer(note, "a"), 0);
    cr_assert_eq(weft_defer(note_and_wait, "b"), 0);
    cr_assert_eq(weft_defer(note, "x"), 0);
    cr_assert_eq(weft_defer_pop(0), 0);
    cr_assert_eq(weft_defer(note, "1"), 0);
    cr_assert_eq(weft_defer_pop(1), 0);
    cr_assert_str_eq(order, "1");
    cr_assert_eq(weft_defer(note, "c"), 0);
    note("2");
    return NULL;
}

static void *defer_and_panic(void *arg)
{
    (void)arg;
    weft_defer(note, "a");
    weft_defer(note_and_wait, "b");
    weft_panic("on purpose");
    return NULL;
}

static void *defer_panics(void *arg)
{
    weft_defer(note, "a");
    weft_defer(note_and_panic, "b");
    weft_defer(note, "c");
    weft_defer(note_and_panic, "d");
    weft_defer(note, "e");
    if (arg)
        weft_panic("first");
    return NULL;
}

static void *defer_and_wait(void *arg)
{
    (void)arg;
    weft_defer(note, "a");
    weft_defer(note, "b");
    weft_sleep(WEFT_FOREVER);
    return NULL;
}

static void *defer_panics_shielded(void *arg)
{
    weft_defer(note, "a");
    weft_shield_enter();
    weft_panic("%s", (const char *)arg);
    return NULL;
}

static void defer_more(void *letter)
{
    note(letter);
    cr_assert_eq(weft_defer(note, "m"), 0);
}

static void *defer_in_defer(void *arg)
{
    weft_defer(note, "a");
    weft_defer(defer_more, "b");
    return arg;
}

static int ended(weft_fn fn, void *arg, const char *error)
{
    weft_task *task;
    order[0] = '\0';
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_str_eq(weft_task_error(task), error);
    return weft_join(task, NULL);
}

static void *defers_root(void *arg)
{
    weft_task *task;
    (void)arg;
    cr_assert_eq(ended(defer_abc, NULL, ""), 0);
    cr_assert_str_eq(order, "12cba");
    cr_assert_eq(ended(defer_and_panic, NULL, "on purpose"), WEFT_EPANIC);
    cr_assert_str_eq(order, "ba");
    cr_assert_eq(ended(defer_panics, NULL, "defer d"), WEFT_EPANIC);
    cr_assert_str_eq(order, "edcba");
    cr_assert_eq(ended(defer_panics, order, "first"), WEFT_EPANIC, "the first message is kept");
    cr_assert_str_eq(order, "edcba");
    cr_assert_eq(ended(defer_panics_shielded, "shielded", "shielded"), WEFT_EPANIC);
    cr_assert_str_eq(order, "a");
    cr_assert_eq(ended(defer_in_defer, NULL, ""), 0);
    cr_assert_str_eq(order, "bma");
    order[0] = '\0';
    cr_assert_eq(weft_spawn(&task, defer_and_wait, NULL), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    cr_assert_str_eq(order, "");
    cr_assert_eq(weft_task_close(task), 0);
    cr_assert_str_eq(order, "ba");
    return NULL;
}

WF_TEST_WORKERS(task, deferred_calls_run_last_in_first_out_at_every_end)
{
    cr_assert_eq(weft_defer(note, "a"), WEFT_EINVAL);
    cr_assert_eq(weft_defer_pop(1), WEFT_EINVAL);
    run(workers, defers_root, NULL);
}

/* ---- locals -------------------------------------------------------------------------------------------------- */

static atomic_int own_drops, shared_drops;
static void drop_own(void *value) { own_drops += *(int *)value; }
static void drop_shared(void *value) { shared_drops += *(int *)value; }

static const weft_local own_local = WEFT_LOCAL_INIT(drop_own, 0);
static const weft_local shared_local = WEFT_LOCAL_INIT(drop_shared, 1);
static const weft_local plain_local = WEFT_LOCAL_INIT(NULL, 1);

static void *grandchild(void *arg)
{
    cr_assert_null(weft_local_get(&own_local));
    cr_assert_eq(weft_local_get(&shared_local), arg);
    weft_yield();
    cr_assert_eq(weft_local_get(&shared_local), arg);
    return NULL;
}

static void *child_with_locals(void *arg)
{
    static int mine = 100;
    weft_task *task;
    cr_assert_null(weft_local_get(&own_local), "it is not inherited");
    cr_assert_eq(weft_local_get(&shared_local), arg);
    cr_assert_eq(weft_local_set(&own_local, &mine), 0);
    cr_assert_eq(weft_spawn(&task, grandchild, arg), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_local_get(&own_local), &mine);
    return NULL;
}

static void *replace_shared(void *arg)
{
    static int other = 1000;
    cr_assert_eq(weft_local_get(&shared_local), arg);
    cr_assert_eq(weft_local_set(&shared_local, &other), 0);
    cr_assert_eq(weft_local_get(&shared_local), &other);
    return NULL;
}

static void *local_parent(void *arg)
{
    static int first = 1, second = 10, shared = 1;
    weft_task *tasks[4];
    (void)arg;
    cr_assert_null(weft_local_get(&own_local));
    cr_assert_eq(weft_local_set(&own_local, &first), 0);
    cr_assert_eq(weft_local_set(&shared_local, &shared), 0);
    cr_assert_eq(weft_local_set(&plain_local, &shared), 0);
    cr_assert_eq(own_drops, 0);
    cr_assert_eq(weft_local_set(&own_local, &second), 0);
    cr_assert_eq(own_drops, 1, "replaced");
    for (int i = 0; i < 3; i++)
        cr_assert_eq(weft_spawn(&tasks[i], child_with_locals, &shared), 0);
    cr_assert_eq(weft_spawn(&tasks[3], replace_shared, &shared), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    cr_assert_eq(own_drops, 301, "each child dropped its own");
    cr_assert_eq(shared_drops, 1000, "the parent holds the shared one still, the replacement went with its child");
    cr_assert_eq(weft_local_get(&own_local), &second);
    return NULL;
}

static void *locals_root(void *arg)
{
    weft_task *task;
    (void)arg;
    own_drops = shared_drops = 0;
    cr_assert_eq(weft_spawn(&task, local_parent, NULL), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(own_drops, 311);
    cr_assert_eq(shared_drops, 1001);
    return NULL;
}

WF_TEST_WORKERS(task, locals_are_inherited_if_they_say_so_and_dropped_once)
{
    int value = 0;
    cr_assert_null(weft_local_get(&own_local));
    cr_assert_eq(weft_local_set(&own_local, &value), WEFT_EINVAL);
    run(workers, locals_root, NULL);
}

static int one = 1;

static void *outlive_parent(void *arg)
{
    cr_assert_eq(weft_local_get(&shared_local), &one);
    pass_gate(arg);
    cr_assert_eq(weft_local_get(&shared_local), &one);
    return NULL;
}

static weft_task *orphan;

static void *leave_orphan(void *arg)
{
    cr_assert_eq(weft_local_set(&shared_local, &one), 0);
    cr_assert_eq(weft_spawn(&orphan, outlive_parent, arg), 0);
    return NULL;
}

static void *orphan_root(void *arg)
{
    gate g;
    weft_task *task;
    (void)arg;
    gate_init(&g);
    shared_drops = 0;
    cr_assert_eq(weft_spawn(&task, leave_orphan, &g), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    EVENTUALLY(weft_task_state(orphan) == WEFT_TASK_IDLE);
    cr_assert_eq(shared_drops, 0);
    gate_open(&g);
    cr_assert_eq(weft_join(orphan, NULL), 0);
    cr_assert_eq(shared_drops, 1);
    return NULL;
}

WF_TEST_WORKERS(task, a_shared_local_lives_until_its_last_holder_ends) { run(workers, orphan_root, NULL); }

/* ---- yield --------------------------------------------------------------------------------------------------- */

typedef struct race {
    int turns[2], lead, me;
} race;

static void *race_to_1000(void *arg)
{
    race *r = arg;
    int me = r->me++;
    while (r->turns[me] < 1000) {
        int lead = ++r->turns[me] - r->turns[!me];
        if (lead > r->lead && r->turns[!me] > 0)
            r->lead = lead;
        cr_assert_eq(weft_yield(), 0);
    }
    return NULL;
}

static void *race_root(void *arg)
{
    race r = {0};
    weft_task *a, *b;
    (void)arg;
    cr_assert_eq(weft_spawn(&a, race_to_1000, &r), 0);
    cr_assert_eq(weft_spawn(&b, race_to_1000, &r), 0);
    cr_assert_eq(weft_join(a, NULL), 0);
    cr_assert_eq(weft_join(b, NULL), 0);
    cr_assert_leq(r.lead, 2, "they take turns");
    return NULL;
}

Test(task, two_tasks_that_yield_take_turns) { run(1, race_root, NULL); }

typedef struct spinner {
    atomic_int stop, turns;
} spinner;

static void *spin_until_stopped(void *arg)
{
    spinner *s = arg;
    int64_t until = weft_now() + 10 * WEFT_SEC;
    while (!s->stop) {
        cr_assert(weft_now() < until, "the others were starved");
        s->turns++;
        if (weft_yield() < 0)
            break;
    }
    return NULL;
}

static void *yield_100(void *arg)
{
    for (int i = 0; i < 100; i++)
        cr_assert_eq(weft_yield(), 0);
    count(arg);
    return NULL;
}

/* Every kind of task must get its turn although others yield all the time, on each of the workers. */
static void *fairness(bool pinned)
{
    enum { SPINNERS = 12, OTHERS = 6 };
    spinner s = {0};
    atomic_int done = 0;
    weft_task *spinners[SPINNERS], *others[OTHERS];
    weft_spawn_options options = {.pinned = pinned};
    for (int i = 0; i < SPINNERS; i++)
        cr_assert_eq(weft_spawn_with(&spinners[i], &options, spin_until_stopped, &s), 0);
    EVENTUALLY(s.turns > 100);
    for (int i = 0; i < OTHERS; i++)
        cr_assert_eq(weft_spawn(&others[i], yield_100, &done), 0);
    EVENTUALLY(done == OTHERS);
    s.stop = 1;
    for (int i = 0; i < SPINNERS; i++)
        cr_assert_eq(weft_join(spinners[i], NULL), 0);
    for (int i = 0; i < OTHERS; i++)
        cr_assert_eq(weft_join(others[i], NULL), 0);
    return NULL;
}

static void *fair_root(void *arg) { return fairness(arg != NULL); }

WF_TEST_WORKERS(task, tasks_that_yield_all_the_time_starve_nobody) { run(workers, fair_root, NULL); }

WF_TEST_WORKERS(task, pinned_tasks_that_yield_all_the_time_starve_nobody)
{
    /* pop_own() took pinned tasks first, always: woken ones on the same worker never ran. */
    run(workers, fair_root, &workers);
}

/* ---- futures ------------------------------------------------------------------------------------------------- */

static void *open_later(void *arg)
{
    gate *g = arg;
    int64_t until = weft_now() + PATIENCE;
    while (g->polls == 0 && weft_now() < until)
        weft_sleep(WEFT_MS / 10);
    gate_open(g);
    return NULL;
}

static void *future_root(void *arg)
{
    gate g;
    weft_task *task;
    void *result;
    pthread_t thread;
    (void)arg;
    for (int round = 0; round < 20; round++) {
        gate_init(&g);
        g.value = &g;
        cr_assert_eq(weft_spawn_future(&task, &g.future), 0);
        cr_assert_eq(pthread_create(&thread, NULL, open_later, &g), 0);
        cr_assert_eq(weft_join(task, &result), 0);
        cr_assert_eq(result, &g);
        cr_assert_eq(g.drops, 1);
        pthread_join(thread, NULL);
    }
    gate_init(&g);
    g.open = 1;
    g.verdict = WEFT_ECONNRESET;
    cr_assert_eq(weft_spawn_future(&task, &g.future), 0);
    cr_assert_eq(weft_join(task, &result), WEFT_EFAILED);
    cr_assert_eq((intptr_t)result, WEFT_ECONNRESET);
    cr_assert_eq(g.polls, 1);
    cr_assert_eq(g.drops, 1);
    gate_init(&g);
    g.open = 1;
    g.value = weft_fail(WEFT_EMSGSIZE);
    cr_assert_eq(weft_spawn_future(&task, &g.future), 0);
    cr_assert_eq(weft_join(task, &result), WEFT_EFAILED);
    cr_assert_eq((intptr_t)result, WEFT_EMSGSIZE);
    return NULL;
}

WF_TEST_WORKERS(task, a_stackless_task_is_polled_until_it_is_ready_and_dropped_once)
{
    run(workers, future_root, NULL);
}

static void *abort_future_root(void *arg)
{
    gate g;
    weft_task *task;
    weft_spawn_options options = {.pinned = 1};
    (void)arg;
    gate_init(&g);
    cr_assert_eq(weft_spawn_future_with(&task, &options, &g.future), 0);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(g.polls, 0);
    cr_assert_eq(g.drops, 1);
    for (int round = 0; round < 50; round++) {
        gate_init(&g);
        cr_assert_eq(weft_spawn_future(&task, &g.future), 0);
        EVENTUALLY(g.polls > 0);
        weft_abort(task);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        cr_assert_eq(g.drops, 1);
    }
    gate_init(&g);
    cr_assert_eq(weft_spawn_future(NULL, &g.future), 0);
    EVENTUALLY(g.polls > 0);
    gate_open(&g);
    EVENTUALLY(g.drops == 1);
    return NULL;
}

WF_TEST_WORKERS(task, an_aborted_stackless_task_is_dropped_once) { run(workers, abort_future_root, NULL); }

typedef struct stern {
    weft_future future;
    atomic_int drops, polling;
} stern;

static weft_poll stern_poll(weft_future *f, weft_context *cx, void **result)
{
    stern *s = WEFT_CONTAINER_OF(f, stern, future);
    gate inner;
    (void)cx, (void)result;
    s->polling = 1;
    gate_init(&inner);
    cr_assert_gt(weft_self_id(), 0);
    cr_assert_eq(weft_yield(), WEFT_EDEADLK);
    cr_assert_eq(weft_sleep(WEFT_MS), WEFT_EDEADLK);
    cr_assert_eq(weft_await(&inner.future, NULL), WEFT_EDEADLK);
    cr_assert_eq(inner.drops, 0, "left to the caller");
    cr_assert_eq(weft_wait(myself), WEFT_EDEADLK);
    cr_assert_eq(weft_defer(note, "a"), WEFT_EINVAL);
    cr_assert_eq(weft_shield_enter(), WEFT_EINVAL);
    cr_assert_eq(weft_is_cancelled(), 0);
    weft_abort(myself);
    cr_assert_eq(weft_is_cancelled(), 1);
    s->polling = 0;
    return WEFT_PENDING;
}

static void stern_drop(weft_future *f)
{
    stern *s = WEFT_CONTAINER_OF(f, stern, future);
    cr_assert_eq(s->polling, 0, "dropped during its own poll");
    s->drops++;
}

static const weft_future_ops stern_ops = {stern_poll, stern_drop};

static void *stern_root(void *arg)
{
    stern s = {.future = {&stern_ops}};
    weft_spawn_options options = {.pinned = 1};
    (void)arg;
    cr_assert_eq(weft_spawn_future_with(&myself, &options, &s.future), 0);
    cr_assert_eq(weft_join(myself, NULL), WEFT_EABORTED);
    cr_assert_eq(s.drops, 1);
    return NULL;
}

WF_TEST_WORKERS(task, nothing_waits_in_a_stackless_poll_and_abort_there_drops_after_it)
{
    run(workers, stern_root, NULL);
}

static weft_poll panicking_poll(weft_future *f, weft_context *cx, void **result)
{
    (void)f, (void)cx, (void)result;
    weft_panic("stackless %d", 1);
    return WEFT_READY;
}

static const weft_future_ops panicking_ops = {panicking_poll, gate_drop};

static void *future_panic_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        gate g;
        weft_task *task;
        gate_init(&g);
        g.future.ops = &panicking_ops;
        cr_assert_eq(weft_spawn_future(&task, &g.future), 0);
        cr_assert_eq(weft_wait(task), 0);
        cr_assert_str_eq(weft_task_error(task), "stackless 1");
        cr_assert_eq(weft_join(task, NULL), WEFT_EPANIC);
        cr_assert_eq(g.drops, 1);
    }
    return NULL;
}

WF_TEST_WORKERS(task, a_panic_in_a_stackless_poll_reaches_the_joiner) { run(workers, future_panic_root, NULL); }

static void *await_root(void *arg)
{
    gate g;
    void *result = arg;
    weft_task *task;
    gate_init(&g);
    g.open = 1;
    g.value = &g;
    cr_assert_eq(weft_await(&g.future, &result), 0);
    cr_assert_eq(result, &g);
    cr_assert_eq(g.drops, 1);
    gate_init(&g);
    g.open = 1;
    g.value = &g;
    g.verdict = WEFT_EPIPE;
    cr_assert_eq(weft_await(&g.future, &result), WEFT_EPIPE);
    cr_assert_null(result);
    cr_assert_eq(g.drops, 1);
    cr_assert_eq(weft_await(NULL, &result), WEFT_EINVAL);
    gate_init(&g);
    cr_assert_eq(weft_spawn(&task, pass_gate, &g), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(g.drops, 1, "interrupted: dropped all the same");
    return NULL;
}

WF_TEST_WORKERS(task, await_drops_the_future_whatever_comes_out) { run(workers, await_root, &workers); }

Test(task, an_ordinary_thread_awaits_a_future)
{
    gate g;
    pthread_t thread;
    void *result;
    for (int i = 0; i < 50; i++) {
        gate_init(&g);
        g.value = &g;
        cr_assert_eq(pthread_create(&thread, NULL, open_later, &g), 0);
        cr_assert_eq(weft_await(&g.future, &result), 0);
        cr_assert_eq(result, &g);
        cr_assert_eq(g.drops, 1);
        pthread_join(thread, NULL);
    }
}

/* Drops run where nothing can wait: closing another task there aborts it, is refused, and leaves no trace in other tasks. */
typedef struct closer {
    weft_future future;
    weft_task *victim;
    atomic_int polls;
    int code;
} closer;

static weft_poll closer_poll(weft_future *f, weft_context *cx, void **result)
{
    (void)cx, (void)result;
    WEFT_CONTAINER_OF(f, closer, future)->polls++;
    return WEFT_PENDING;
}

static void closer_drop(weft_future *f)
{
    closer *c = WEFT_CONTAINER_OF(f, closer, future);
    c->code = weft_task_close(c->victim);
}

static const weft_future_ops closer_ops = {closer_poll, closer_drop};

static void *close_in_drop_root(void *arg)
{
    weft_spawn_options pinned = {.pinned = 1};
    (void)arg;
    for (int round = 0; round < 20; round++) {
        closer c = {.future = {&closer_ops}};
        weft_task *closing, *last;
        gate g;
        cr_assert_eq(weft_spawn_with(&c.victim, &pinned, wait_for_ever, NULL), 0);
        cr_assert_eq(weft_spawn_future_with(&closing, &pinned, &c.future), 0);
        EVENTUALLY(weft_task_state(c.victim) == WEFT_TASK_IDLE && weft_task_state(closing) == WEFT_TASK_IDLE);
        gate_init(&g); /* the last that this worker has polled, and gone: nothing may still refer to it */
        g.open = 1;
        cr_assert_eq(weft_spawn_future_with(&last, &pinned, &g.future), 0);
        cr_assert_eq(weft_join(last, NULL), 0);
        weft_abort(closing);
        cr_assert_eq(weft_join(closing, NULL), WEFT_EABORTED);
        cr_assert_eq(c.code, WEFT_EDEADLK);
        cr_assert_eq(weft_join(c.victim, NULL), WEFT_EABORTED, "aborted, and the handle is still the caller's");
        weft_task *tasks[8]; /* a place that was freed twice now has two owners */
        for (uintptr_t i = 0; i < 8; i++)
            cr_assert_eq(weft_spawn(&tasks[i], echo, (void *)i), 0);
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < i; j++)
                cr_assert_neq(tasks[i], tasks[j], "one place, two tasks");
        for (uintptr_t i = 0; i < 8; i++) {
            void *result;
            cr_assert_eq(weft_join(tasks[i], &result), 0);
            cr_assert_eq((uintptr_t)result, i);
        }
    }
    return NULL;
}

WF_TEST_WORKERS(task, close_inside_a_drop_aborts_and_is_refused) { run(workers, close_in_drop_root, NULL); }

/* ---- storage and pools --------------------------------------------------------------------------------------- */

typedef struct placed {
    weft_task_storage storage;
    gate g;
    atomic_int released;
} placed;

static void released(weft_task_storage *storage) { WEFT_CONTAINER_OF(storage, placed, storage)->released++; }

static void *storage_root(void *arg)
{
    placed p;
    weft_task *task;
    weft_aborter *aborter;
    void *result;
    (void)arg;
    for (int round = 0; round < 100; round++) {
        memset(&p, round & 1 ? 0xff : 0, sizeof p);
        gate_init(&p.g);
        p.released = 0;
        p.storage.release = released;
        p.g.value = &p;
        cr_assert_eq(weft_spawn_future_in(&task, &p.storage, &p.g.future), 0);
        cr_assert_eq(weft_aborter_create(&aborter, task), 0);
        if (round % 3 == 0)
            EVENTUALLY(p.g.polls > 0);
        if (round % 5 == 0) {
            weft_aborter_abort(aborter);
            cr_assert_eq(weft_join(task, &result), WEFT_EABORTED);
        } else {
            gate_open(&p.g);
            cr_assert_eq(weft_join(task, &result), 0);
            cr_assert_eq(result, &p);
        }
        cr_assert_eq(p.g.drops, 1);
        cr_assert_eq(p.released, 0, "an aborter refers to it");
        weft_aborter_free(aborter);
        EVENTUALLY(p.released > 0);
        cr_assert_eq(p.released, 1);
    }
    cr_assert_eq(weft_spawn_future_in(&task, NULL, &p.g.future), WEFT_EINVAL);
    cr_assert_eq(weft_spawn_future_in(&task, &p.storage, NULL), WEFT_EINVAL);
    cr_assert_null(task);
    return NULL;
}

WF_TEST_WORKERS(task, a_task_in_the_callers_storage_releases_it_once_at_its_last_reference)
{
    run(workers, storage_root, NULL);
}

/* Clones its waker over and over and takes it back; of the first poll's two stay with others. */
typedef struct waverer {
    weft_task_storage storage;
    weft_future future;
    weft_waker kept[2];
    atomic_int polls, released;
} waverer;

static weft_poll waverer_poll(weft_future *self, weft_context *cx, void **result)
{
    enum { CLONES = 300 };
    waverer *w = WEFT_CONTAINER_OF(self, waverer, future);
    weft_waker clones[CLONES];
    (void)result;
    for (int i = 0; i < CLONES; i++)
        cr_assert_eq(weft_waker_clone(weft_context_waker(cx), &clones[i]), 0);
    for (int i = 0; i < CLONES; i++)
        weft_waker_drop(&clones[i]);
    if (w->polls > 0)
        return WEFT_READY;
    for (int i = 0; i < 2; i++)
        cr_assert_eq(weft_waker_clone(weft_context_waker(cx), &w->kept[i]), 0);
    w->polls++;
    return WEFT_PENDING;
}

static const weft_future_ops waverer_ops = {.poll = waverer_poll};

static void waverer_released(weft_task_storage *storage) { WEFT_CONTAINER_OF(storage, waverer, storage)->released++; }

static void *waverer_root(void *arg)
{
    (void)arg;
    for (int round = 0; round < 100; round++) {
        waverer w = {.storage.release = waverer_released, .future.ops = &waverer_ops};
        weft_task *task;
        cr_assert_eq(weft_spawn_future_in(&task, &w.storage, &w.future), 0);
        EVENTUALLY(w.polls > 0);
        weft_waker_wake(&w.kept[0]);
        cr_assert_eq(weft_join(task, NULL), 0);
        cr_assert_eq(w.released, 0, "a waker refers to it");
        weft_waker_drop(&w.kept[1]);
        EVENTUALLY(w.released > 0);
        cr_assert_eq(w.released, 1);
    }
    return NULL;
}

WF_TEST_WORKERS(task, wakers_that_a_poll_clones_and_drops_leave_every_reference_where_it_was)
{
    run(workers, waverer_root, NULL);
}

static void *leave_storage_root(void *arg)
{
    placed *p = arg;
    cr_assert_eq(weft_spawn_future_in(NULL, &p->storage, &p->g.future), 0);
    EVENTUALLY(p->g.polls > 0);
    return NULL;
}

WF_TEST_WORKERS(task, a_task_in_storage_that_is_left_when_the_root_ends_is_dropped_and_released)
{
    placed p;
    memset(&p, 0, sizeof p);
    gate_init(&p.g);
    p.storage.release = released;
    run(workers, leave_storage_root, &p);
    cr_assert_eq(p.g.drops, 1);
    cr_assert_eq(p.released, 1);
}

static void *pool_root(void *arg)
{
    enum { PLACES = 8 };
    weft_task_pool *pool;
    weft_task_storage *claims[PLACES], *extra = arg;
    weft_task *tasks[PLACES];
    gate *gates[PLACES];
    cr_assert_eq(weft_task_pool_create(&pool, 0, 8), WEFT_EINVAL);
    cr_assert_null(pool);
    cr_assert_eq(weft_task_pool_create(&pool, PLACES, SIZE_MAX - 4), WEFT_EINVAL);
    cr_assert_eq(weft_task_pool_create(&pool, PLACES, sizeof(gate)), 0);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < PLACES; i++) {
            cr_assert_eq(weft_task_pool_available(pool), PLACES - i);
            cr_assert_eq(weft_task_pool_claim(pool, &claims[i]), 0);
            gates[i] = weft_task_pool_body(claims[i]);
            cr_assert_eq((uintptr_t)gates[i] % _Alignof(max_align_t), 0);
            gate_init(gates[i]);
            gates[i]->value = gates[i];
        }
        cr_assert_eq(weft_task_pool_claim(pool, &extra), WEFT_EEXHAUSTED);
        cr_assert_null(extra);
        cr_assert_eq(weft_task_pool_free(pool), WEFT_EBUSY);
        weft_task_pool_unclaim(claims[0]);
        cr_assert_eq(weft_task_pool_available(pool), 1);
        for (int i = 1; i < PLACES; i++)
            cr_assert_eq(weft_spawn_future_in(&tasks[i], claims[i], &gates[i]->future), 0);
        cr_assert_eq(weft_task_pool_free(pool), WEFT_EBUSY);
        for (int i = 1; i < PLACES; i++) {
            void *result;
            if (i % 2)
                gate_open(gates[i]);
            else
                weft_abort(tasks[i]);
            cr_assert_eq(weft_join(tasks[i], &result), i % 2 ? 0 : WEFT_EABORTED);
        }
        EVENTUALLY(weft_task_pool_available(pool) == PLACES);
    }
    cr_assert_eq(weft_task_pool_free(pool), 0);
    cr_assert_eq(weft_task_pool_free(NULL), 0);
    cr_assert_eq(weft_task_pool_claim(NULL, &extra), WEFT_EINVAL);
    return NULL;
}

WF_TEST_WORKERS(task, a_pool_hands_out_its_places_and_gets_them_back) { run(workers, pool_root, NULL); }

static void *claim_and_return(void *arg)
{
    weft_task_pool *pool = arg;
    for (size_t i = 0; i < wf_test_scale(20000); i++) {
        weft_task_storage *storage;
        int code = weft_task_pool_claim(pool, &storage);
        cr_assert(code == 0 || code == WEFT_EEXHAUSTED);
        if (code < 0)
            continue;
        int *body = weft_task_pool_body(storage);
        cr_assert_eq(++*body, 1, "one place, two owners");
        --*body;
        weft_task_pool_unclaim(storage);
    }
    return NULL;
}

Test(task, a_pool_is_claimed_from_many_threads_at_once)
{
    enum { THREADS = 4, PLACES = 3 };
    weft_task_pool *pool;
    cr_assert_eq(weft_task_pool_create(&pool, PLACES, sizeof(int)), 0);
    in_threads(THREADS, claim_and_return, pool);
    cr_assert_eq(weft_task_pool_available(pool), PLACES);
    cr_assert_eq(weft_task_pool_free(pool), 0);
}

/* ---- pinned, other runtimes ---------------------------------------------------------------------------------- */

static pthread_t home;

static __attribute__((noinline)) int at_home(void)
{
    __asm__ volatile("" ::: "memory");
    return pthread_equal(home, pthread_self()) != 0;
}

static void *stay_pinned(void *arg)
{
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(i % 10 ? weft_yield() : weft_sleep(WEFT_MS / 10), 0);
        cr_assert(at_home(), "a pinned task was polled elsewhere");
    }
    count(arg);
    return NULL;
}

static void *pinned_root(void *arg)
{
    enum { MANY = 20 };
    weft_task *tasks[MANY];
    atomic_int done = 0;
    (void)arg;
    __asm__ volatile("" ::: "memory");
    home = pthread_self();
    for (int i = 0; i < MANY; i++)
        tasks[i] = spawn_pinned(stay_pinned, &done);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    cr_assert_eq(done, MANY);
    return NULL;
}

WF_TEST_WORKERS(task, a_pinned_task_stays_with_the_worker_that_spawned_it) { run(workers, pinned_root, NULL); }

static void *which_runtime(void *arg)
{
    (void)arg;
    return weft_runtime_current();
}

static void *other_runtime_root(void *arg)
{
    weft_runtime *other = arg;
    for (int i = 0; i < 50; i++) {
        weft_spawn_options options = {.runtime = other, .pinned = i % 2};
        weft_task *task;
        void *result;
        cr_assert_eq(weft_spawn_with(&task, &options, which_runtime, NULL), 0);
        cr_assert_eq(weft_join(task, &result), 0);
        cr_assert_eq(result, other);
        cr_assert_neq(result, weft_runtime_current());
    }
    return NULL;
}

WF_TEST_WORKERS(task, a_task_of_another_runtime_is_spawned_and_joined)
{
    weft_options options = {.workers = workers};
    weft_runtime *other;
    cr_assert_eq(weft_runtime_create(&other, &options), 0);
    run(workers, other_runtime_root, other);
    cr_assert_eq(weft_runtime_destroy(other), 0);
}

/* ---- completion and abort at once --------------------------------------------------------------------------------- */

typedef struct both {
    weft_task *self_task, *other;
    atomic_int waits;
    int joined;
} both;

static void *ends_when_told(void *arg)
{
    both *b = arg;
    while (!atomic_load(&b->waits))
        weft_yield();
    while (weft_task_state(b->self_task) != WEFT_TASK_IDLE)
        weft_yield();
    weft_abort(b->self_task); /* and then ends, before the joiner can have run: both have come when it looks */
    return "done";
}

static void *joins_and_returns(void *arg)
{
    both *b = arg;
    void *result;
    atomic_store(&b->waits, 1);
    b->joined = weft_join(b->other, &result);
    return "returned";
}

static void *completion_wins_root(void *arg)
{
    both b = {0};
    void *result;
    (void)arg;
    cr_assert_eq(weft_spawn(&b.other, ends_when_told, &b), 0);
    cr_assert_eq(weft_spawn(&b.self_task, joins_and_returns, &b), 0);
    cr_assert_eq(weft_join(b.self_task, &result), 0, "the abort was met by no await");
    cr_assert_str_eq(result, "returned");
    cr_assert_eq(b.joined, 0, "completion wins");
    return NULL;
}

/* What broke: the abort counted as met as soon as an await had looked at it, although the await then succeeded. */
Test(task, an_abort_that_comes_with_the_completion_is_not_met)
{
    weft_options options = {.workers = 1};
    cr_assert_eq(weft_run_with(&options, completion_wins_root, NULL, NULL), 0);
}
