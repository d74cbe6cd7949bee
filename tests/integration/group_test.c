/* group_test.c - groups as their users see them: what is reported, what is waited for, and that no child outlives its group.
 *
 * Children count themselves in and out; whoever must not be outlived compares the two. Where an order in time matters the clock is
 * paused: it jumps to the next deadline only when nobody can run. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/task_support.h>
#include <support/test.h>
#include <weft/coro.h>
#include <weft/future.h>
#include <weft/group.h>
#include <weft/scope.h>
#include <weft/token.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

typedef struct scene {
    weft_group *group;
    atomic_int began, ended; /* children */
    atomic_int told;         /* … that were aborted in their sleep */
    atomic_int now, most;    /* … that are between the two */
    atomic_int dropped;      /* results or arguments */
    atomic_int flag;
    atomic_int code;
} scene;

static void run_paused(unsigned workers, weft_fn root, void *arg)
{
    weft_options options = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, root, arg, NULL), 0);
}

static void quiet(void *arg, weft_log_level level, const char *task, const char *text)
{
    (void)arg, (void)level, (void)task, (void)text;
}

static weft_runtime *enter_runtime(unsigned workers)
{
    weft_options options = {.workers = workers, .log = quiet};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    return rt;
}

static void leave_runtime(weft_runtime *rt)
{
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static weft_group *group(void)
{
    weft_group *g;
    cr_assert_eq(weft_group_create(&g), 0);
    return g;
}

static weft_group *group_with(weft_group_options options)
{
    weft_group *g;
    cr_assert_eq(weft_group_create_with(&g, &options), 0);
    return g;
}

static void spawn(weft_group *g, weft_fn fn, void *arg) { cr_assert_eq(weft_group_spawn(g, fn, arg), 0); }

static void spawn_n(weft_group *g, int n, weft_fn fn, void *arg)
{
    for (int i = 0; i < n; i++)
        spawn(g, fn, arg);
}

static weft_task *start(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    return task;
}

static intptr_t join(weft_task *task)
{
    void *result;
    cr_assert_eq(weft_join(task, &result), 0);
    return (intptr_t)result;
}

static void await_idle(weft_task *task) { EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE); }

static void count(void *counter) { atomic_fetch_add((atomic_int *)counter, 1); }

static void left(void *arg)
{
    scene *s = arg;
    atomic_fetch_sub(&s->now, 1);
    atomic_fetch_add(&s->ended, 1);
}

static void entered(scene *s)
{
    atomic_fetch_add(&s->began, 1);
    int now = atomic_fetch_add(&s->now, 1) + 1, most = atomic_load(&s->most);
    while (now > most && !atomic_compare_exchange_weak(&s->most, &most, now))
        ;
    cr_assert_eq(weft_defer(left, s), 0);
}

/* ---- children ------------------------------------------------------------------------------------------------ */

static void *hold(void *arg)
{
    scene *s = arg;
    entered(s);
    if (weft_sleep(WEFT_FOREVER) == WEFT_ECANCELED)
        s->told++;
    return NULL;
}

/* Takes its time when it is aborted: who does not wait for it is caught. */
static void *hold_and_linger(void *arg)
{
    hold(arg);
    weft_shield_enter();
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(weft_sleep(WEFT_MS), 0);
        cr_assert_eq(weft_yield(), 0);
    }
    weft_shield_leave();
    return NULL;
}

static void *pass_by(void *arg)
{
    entered(arg);
    weft_yield();
    return NULL;
}

static void *nap(void *ms)
{
    weft_sleep((intptr_t)ms * WEFT_MS);
    return ms;
}

static void *fail_with(void *code) { return weft_fail((int)(intptr_t)code); }

static void *fail_after(void *ms)
{
    weft_sleep((intptr_t)ms * WEFT_MS);
    return weft_fail(-(int)(intptr_t)ms);
}

static void *panic_after(void *ms)
{
    weft_sleep((intptr_t)ms * WEFT_MS);
    weft_panic("asked to");
}

/* A stackless child that ends when its gate is open. */
typedef struct gate {
    weft_future future;
    weft_atomic_waker waker;
    atomic_int open, drops;
    void *value;
    weft_poll verdict;
} gate;

static weft_poll gate_poll(weft_future *f, weft_context *cx, void **result)
{
    gate *g = WEFT_CONTAINER_OF(f, gate, future);
    cr_assert_eq(weft_atomic_waker_register(&g->waker, weft_context_waker(cx)), 0);
    if (!g->open)
        return WEFT_PENDING;
    *result = g->value;
    return g->verdict;
}

static void gate_drop(weft_future *f)
{
    gate *g = WEFT_CONTAINER_OF(f, gate, future);
    weft_waker waker;
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

static void *pass_gate(void *arg)
{
    gate *g = arg;
    void *value = NULL;
    return weft_await(&g->future, &value) < 0 ? NULL : value;
}

static void spawn_gate(weft_group *group, gate *g)
{
    weft_spawn_options options = {.group = group};
    cr_assert_eq(weft_spawn_future_with(NULL, &options, &g->future), 0);
}

/* ---- next ---------------------------------------------------------------------------------------------------- */

static void *order_root(void *arg)
{
    static const intptr_t order[] = {50, 10, 40, 20, 30};
    weft_group *g = group();
    void *result = arg;
    for (int i = 0; i < 5; i++)
        spawn(g, nap, (void *)order[i]);
    cr_assert_eq(weft_group_running(g), 5);
    for (intptr_t i = 1; i <= 5; i++) {
        cr_assert_eq(weft_group_next(g, &result), 0);
        cr_assert_eq((intptr_t)result, 10 * i);
        cr_assert_eq(weft_group_running(g), 5 - i);
    }
    cr_assert_eq(weft_group_next(g, &result), WEFT_EOF);
    cr_assert_null(result);
    cr_assert_eq(weft_group_next(g, NULL), WEFT_EOF);
    spawn(g, nap, (void *)1);
    cr_assert_eq(weft_group_next(g, &result), 0, "it may be used again");
    cr_assert_eq((intptr_t)result, 1);
    cr_assert_eq(weft_group_close(g), 0);
    return NULL;
}

WF_TEST_WORKERS(group, next_reports_in_the_order_of_the_ends) { run_paused(workers, order_root, NULL); }

static void *waiting_order_root(void *arg)
{
    weft_group *g = group();
    void *result = arg;
    for (intptr_t i = 9; i > 0; i--)
        spawn(g, nap, (void *)i);
    cr_assert_eq(weft_group_wait(g), 0);
    cr_assert_eq(weft_group_running(g), 0);
    for (intptr_t i = 1; i <= 9; i++) {
        cr_assert_eq(weft_group_next(g, &result), 0, "waiting takes no result");
        cr_assert_eq((intptr_t)result, i);
    }
    cr_assert_eq(weft_group_next(g, &result), WEFT_EOF);
    cr_assert_eq(weft_group_close(g), 0);
    return NULL;
}

WF_TEST_WORKERS(group, results_stay_for_next_after_a_wait) { run_paused(workers, waiting_order_root, NULL); }

static void *codes_root(void *arg)
{
    weft_group *g = group();
    void *result = arg;
    spawn(g, fail_after, (void *)1);
    spawn(g, panic_after, (void *)2);
    spawn(g, nap, (void *)3);
    cr_assert_eq(weft_group_next(g, &result), WEFT_EFAILED);
    cr_assert_eq((intptr_t)result, -1);
    cr_assert_eq(weft_group_next(g, &result), WEFT_EPANIC);
    cr_assert_null(result);
    cr_assert_eq(weft_group_next(g, &result), 0);
    spawn(g, nap, (void *)1000);
    weft_group_cancel(g);
    cr_assert_eq(weft_group_next(g, &result), WEFT_EABORTED);
    cr_assert_null(result);
    cr_assert_eq(weft_group_next(g, &result), WEFT_EOF);
    cr_assert_eq(weft_group_spawn(g, nap, NULL), WEFT_ECANCELED);
    cr_assert_eq(weft_group_close(g), 0);
    return NULL;
}

WF_TEST_WORKERS(group, next_says_how_each_child_ended) { run_paused(workers, codes_root, NULL); }

/* Each child is a place in here. */
enum { MANY = 2000 };
typedef struct tally {
    weft_group *group;
    atomic_int seen[MANY];
    atomic_int taken;
} tally;

static void *take_all(void *arg)
{
    tally *t = arg;
    void *result;
    int code;
    while ((code = weft_group_next(t->group, &result)) == 0) {
        t->seen[(intptr_t)result]++;
        t->taken++;
    }
    return (void *)(intptr_t)code;
}

static void check_tally(tally *t, size_t n)
{
    cr_assert_eq((size_t)t->taken, n);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(t->seen[i], 1, "child %zu", i);
}

static void *yielding_echo(void *arg)
{
    for (intptr_t i = (intptr_t)arg % 4; i > 0; i--)
        weft_yield();
    return arg;
}

static void *takers_root(void *arg)
{
    enum { TAKERS = 6 };
    static tally t;
    weft_task *takers[TAKERS];
    size_t n = wf_test_scale(MANY);
    t.group = arg ? group_with((weft_group_options){.limit = 7}) : group();
    spawn(t.group, yielding_echo, (void *)0); /* so that none of them finds it empty and goes */
    for (int i = 0; i < TAKERS / 2; i++)
        takers[i] = start(take_all, &t);
    for (size_t i = 1; i < n; i++)
        spawn(t.group, yielding_echo, (void *)i);
    for (int i = TAKERS / 2; i < TAKERS; i++)
        takers[i] = start(take_all, &t);
    for (int i = 0; i < TAKERS; i++)
        cr_assert_eq(join(takers[i]), WEFT_EOF);
    check_tally(&t, n);
    cr_assert_eq(weft_group_close(t.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, several_takers_share_the_children) { run(workers, takers_root, NULL); }
WF_TEST_WORKERS(group, several_takers_share_the_children_of_a_limited_group) { run(workers, takers_root, &workers); }

/* Gives up after a while that may be none at all. */
static void *take_under_scope(void *arg)
{
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, 20 * WEFT_US), 0);
    take_all(arg);
    weft_scope_leave(&scope);
    return NULL;
}

static void *interrupted_takers_round(tally *t)
{
    enum { CHILDREN = 12, TAKERS = 3 };
    weft_task *hasty[TAKERS], *aborted[TAKERS], *patient;
    memset(t, 0, sizeof *t);
    t->group = group();
    for (intptr_t i = 0; i < CHILDREN; i++)
        spawn(t->group, yielding_echo, (void *)i);
    for (int i = 0; i < TAKERS; i++) {
        aborted[i] = start(take_all, t);
        hasty[i] = start(take_under_scope, t);
    }
    patient = start(take_all, t);
    for (int i = 0; i < TAKERS; i++) {
        weft_yield();
        weft_abort(aborted[i]);
    }
    cr_assert_eq(join(patient), WEFT_EOF);
    for (int i = 0; i < TAKERS; i++) {
        weft_join(aborted[i], NULL);
        weft_join(hasty[i], NULL);
    }
    check_tally(t, CHILDREN);
    cr_assert_eq(weft_group_close(t->group), 0);
    return NULL;
}

static void *interrupted_takers_root(void *arg)
{
    static tally t;
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(300); i++)
        interrupted_takers_round(&t);
    return NULL;
}

WF_TEST_WORKERS(group, takers_that_are_interrupted_lose_no_child) { run(workers, interrupted_takers_root, NULL); }

/* The first taker is chosen, and aborted before it runs. */
static void *chosen_root(void *arg)
{
    tally t = {.group = group()};
    gate a, b;
    (void)arg;
    gate_init(&a);
    gate_init(&b);
    a.value = (void *)0;
    b.value = (void *)1;
    spawn(t.group, pass_gate, &a);
    spawn(t.group, pass_gate, &b);
    weft_task *first = start(take_all, &t), *second;
    await_idle(first);
    second = start(take_all, &t);
    await_idle(second);
    gate_open(&a);
    weft_yield(); /* the child ends */
    weft_abort(first);
    EVENTUALLY(t.taken == 1);
    gate_open(&b);
    cr_assert_eq(join(second), WEFT_EOF);
    weft_join(first, NULL);
    check_tally(&t, 2);
    cr_assert_eq(weft_group_close(t.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, a_taker_that_is_aborted_when_it_was_chosen_loses_nothing) { run(workers, chosen_root, NULL); }

static void *aborted_next(void *arg)
{
    scene *s = arg;
    void *result;
    s->flag = 1;
    while (!weft_is_cancelled())
        weft_yield();
    cr_assert_eq(weft_group_next(s->group, &result), 0, "what has ended is reported whatever the caller's state");
    cr_assert_eq(weft_group_wait(s->group), 0);
    spawn(s->group, hold, s);
    cr_assert_eq(weft_group_next(s->group, &result), WEFT_ECANCELED);
    cr_assert_null(result);
    cr_assert_eq(weft_group_wait(s->group), WEFT_ECANCELED);
    return NULL;
}

static void *interrupted_root(void *arg)
{
    scene s = {.group = group()};
    (void)arg;
    spawn(s.group, echo, &s);
    cr_assert_eq(weft_group_wait(s.group), 0);
    weft_task *task = start(aborted_next, &s);
    EVENTUALLY(s.flag);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(weft_group_running(s.group), 1, "the group is nothing to the one who waited");
    cr_assert_eq(weft_group_close(s.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, what_has_ended_is_reported_to_the_aborted_too) { run(workers, interrupted_root, NULL); }

/* ---- wait ---------------------------------------------------------------------------------------------------- */

static void *wait_root(void *arg)
{
    weft_group *g = group();
    (void)arg;
    cr_assert_eq(weft_group_wait(g), 0, "of none");
    spawn(g, nap, (void *)30);
    cr_assert_eq(weft_group_wait(g), 0);
    spawn(g, nap, (void *)1);
    spawn(g, fail_after, (void *)20);
    spawn(g, panic_after, (void *)25);
    spawn(g, fail_after, (void *)30);
    cr_assert_eq(weft_group_wait(g), -20, "the first that failed");
    cr_assert_eq(weft_group_wait(g), -20);
    cr_assert_eq(weft_group_close(g), 0);

    g = group();
    spawn(g, panic_after, (void *)1);
    spawn(g, fail_after, (void *)20);
    cr_assert_eq(weft_group_wait(g), WEFT_EPANIC);
    cr_assert_eq(weft_group_close(g), 0);
    return NULL;
}

WF_TEST_WORKERS(group, wait_says_what_the_first_failed_with) { run_paused(workers, wait_root, NULL); }

static void *wait_aborted_root(void *arg)
{
    weft_group *g = group();
    (void)arg;
    spawn(g, nap, (void *)1);
    spawn(g, nap, (void *)1000);
    cr_assert_eq(weft_group_next(g, NULL), 0);
    weft_group_cancel(g);
    weft_group_cancel(g);
    cr_assert_eq(weft_group_wait(g), WEFT_EABORTED);
    cr_assert_eq(weft_group_close(g), 0);

    g = group();
    spawn(g, nap, (void *)1000);
    spawn(g, fail_after, (void *)1);
    while (weft_group_running(g) > 1)
        weft_sleep(WEFT_MS);
    weft_group_cancel(g);
    cr_assert_eq(weft_group_wait(g), -1, "a failure comes before an abort");
    cr_assert_eq(weft_group_close(g), 0);
    return NULL;
}

WF_TEST_WORKERS(group, wait_says_that_a_child_was_aborted) { run_paused(workers, wait_aborted_root, NULL); }

static void *wait_for_group(void *arg) { return (void *)(intptr_t)weft_group_wait(((scene *)arg)->group); }

static void *others_wait_root(void *arg)
{
    enum { WAITERS = 40 }; /* more than are woken at a time */
    weft_task *waiters[WAITERS];
    scene s = {.group = group()};
    gate g;
    (void)arg;
    gate_init(&g);
    g.verdict = -77;
    spawn_gate(s.group, &g);
    for (int i = 0; i < WAITERS; i++)
        waiters[i] = start(wait_for_group, &s);
    await_idle(waiters[WAITERS - 1]);
    gate_open(&g);
    for (int i = 0; i < WAITERS; i++)
        cr_assert_eq(join(waiters[i]), -77);
    cr_assert_eq(weft_group_close(s.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, many_tasks_wait_for_one_group) { run(workers, others_wait_root, NULL); }

static void *thread_takes(void *arg)
{
    cr_assert_eq((intptr_t)take_all(arg), WEFT_EOF);
    return NULL;
}

static void *thread_waits(void *arg)
{
    cr_assert_eq(weft_group_wait(((tally *)arg)->group), 0);
    return NULL;
}

static void *thread_takes_or_waits(void *arg)
{
    static atomic_int turn;
    return atomic_fetch_add(&turn, 1) % 2 ? thread_waits(arg) : thread_takes(arg);
}

WF_TEST_WORKERS(group, ordinary_threads_make_one_and_wait_for_it)
{
    static tally t;
    weft_runtime *rt = enter_runtime(workers);
    size_t n = wf_test_scale(MANY);
    t.group = group();
    for (size_t i = 0; i < n; i++)
        spawn(t.group, yielding_echo, (void *)i);
    in_threads(6, thread_takes_or_waits, &t);
    check_tally(&t, n);
    cr_assert_eq(weft_group_close(t.group), 0);
    leave_runtime(rt);
}

/* ---- failing fast -------------------------------------------------------------------------------------------- */

static void *fail_fast_root(void *arg)
{
    enum { HOLDERS = 40 };
    scene s = {.group = group_with((weft_group_options){.fail_fast = 1})};
    int codes[3] = {0};
    int code;
    spawn_n(s.group, HOLDERS, hold, &s);
    EVENTUALLY(s.began == HOLDERS);
    spawn(s.group, nap, (void *)0);
    if (arg)
        spawn(s.group, panic_after, NULL);
    else
        spawn(s.group, fail_with, (void *)(intptr_t)WEFT_EPIPE);
    cr_assert_eq(weft_group_wait(s.group), arg ? WEFT_EPANIC : WEFT_EPIPE);
    cr_assert_eq(s.told, HOLDERS);
    cr_assert_eq(weft_group_spawn(s.group, echo, NULL), WEFT_ECANCELED);
    while ((code = weft_group_next(s.group, NULL)) != WEFT_EOF)
        codes[code == WEFT_EABORTED ? 0 : code == 0 ? 1 : 2]++;
    cr_assert_eq(codes[2], 1);
    cr_assert_geq(codes[0], HOLDERS); /* the one that naps may have been in time */
    cr_assert_eq(codes[0] + codes[1], HOLDERS + 1);
    cr_assert_eq(weft_group_close(s.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, the_first_failure_cancels_the_rest) { run(workers, fail_fast_root, NULL); }
WF_TEST_WORKERS(group, the_first_panic_cancels_the_rest) { run(workers, fail_fast_root, &workers); }

/* ---- the limit ----------------------------------------------------------------------------------------------- */

static void *spawn_many(void *arg)
{
    scene *s = arg;
    for (size_t i = 0; i < wf_test_scale(200); i++)
        spawn(s->group, pass_by, s);
    return NULL;
}

static void *limit_root(void *arg)
{
    enum { SPAWNERS = 4, LIMIT = 3 };
    weft_task *spawners[SPAWNERS];
    scene s = {.group = group_with((weft_group_options){.limit = LIMIT, .discard = arg != NULL})};
    for (int i = 0; i < SPAWNERS; i++)
        spawners[i] = start(spawn_many, &s);
    for (int i = 0; i < SPAWNERS; i++) {
        cr_assert_leq(weft_group_running(s.group), LIMIT);
        cr_assert_eq(join(spawners[i]), 0);
    }
    cr_assert_eq(weft_group_wait(s.group), 0);
    cr_assert_eq((size_t)s.ended, SPAWNERS * wf_test_scale(200));
    cr_assert_leq(s.most, LIMIT);
    cr_assert_eq(weft_group_close(s.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, never_more_than_the_limit_run) { run(workers, limit_root, NULL); }
WF_TEST_WORKERS(group, never_more_than_the_limit_run_where_results_are_discarded)
{
    run(workers, limit_root, &workers);
}

static int spawn_droppable(scene *s)
{
    weft_spawn_options options = {.group = s->group, .drop_arg = count};
    return weft_spawn_with(NULL, &options, echo, &s->dropped);
}

static void *spawn_one(void *arg)
{
    scene *s = arg;
    s->code = spawn_droppable(s);
    return (void *)(intptr_t)s->code;
}

static void *interrupted_spawn_root(void *arg)
{
    weft_scope scope;
    scene s = {.group = group_with((weft_group_options){.limit = 1})};
    (void)arg;
    spawn(s.group, hold, &s);
    cr_assert_eq(weft_scope_enter(&scope, WEFT_MS), 0);
    cr_assert_eq(spawn_droppable(&s), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    weft_task *task = start(spawn_one, &s);
    await_idle(task);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(s.code, WEFT_ECANCELED);
    cr_assert_eq(s.dropped, 0, "the argument is still the caller's");
    cr_assert_eq(weft_group_running(s.group), 1);
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.dropped, 0);
    return NULL;
}

WF_TEST_WORKERS(group, a_spawn_that_is_interrupted_at_the_limit_takes_nothing)
{
    run(workers, interrupted_spawn_root, NULL);
}

/* A place that one spawner gets and cannot use goes to the next. */
static void *place_passed_on_root(void *arg)
{
    scene s = {.group = group_with((weft_group_options){.limit = 1})};
    gate g;
    (void)arg;
    gate_init(&g);
    for (size_t i = 0; i < wf_test_scale(200); i++) {
        g.open = 0;
        spawn_gate(s.group, &g);
        weft_task *first = start(spawn_one, &s), *second;
        await_idle(first);
        second = start(spawn_one, &s);
        await_idle(second);
        gate_open(&g);
        weft_abort(first);
        weft_join(first, NULL);
        cr_assert_eq(join(second), 0);
        cr_assert_eq(weft_group_wait(s.group), 0);
    }
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.dropped, 0);
    return NULL;
}

WF_TEST_WORKERS(group, a_place_is_not_lost_with_an_aborted_spawner) { run(workers, place_passed_on_root, NULL); }

static void *cancelled_spawners_root(void *arg)
{
    enum { SPAWNERS = 40 };
    weft_task *spawners[SPAWNERS];
    scene s = {.group = group_with((weft_group_options){.limit = 1})};
    (void)arg;
    spawn(s.group, hold_and_linger, &s);
    EVENTUALLY(s.began);
    for (int i = 0; i < SPAWNERS; i++)
        spawners[i] = start(spawn_one, &s);
    for (int i = 0; i < SPAWNERS; i++)
        await_idle(spawners[i]);
    weft_group_cancel(s.group);
    for (int i = 0; i < SPAWNERS; i++)
        cr_assert_eq(join(spawners[i]), WEFT_ECANCELED);
    cr_assert_eq(s.dropped, 0);
    cr_assert_eq(weft_group_wait(s.group), WEFT_EABORTED);
    cr_assert_eq(weft_group_close(s.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, cancelling_wakes_whoever_waits_for_a_place) { run(workers, cancelled_spawners_root, NULL); }

typedef struct spawning_future {
    weft_future future;
    scene *scene;
} spawning_future;

static weft_poll poll_spawns(weft_future *f, weft_context *cx, void **result)
{
    scene *s = WEFT_CONTAINER_OF(f, spawning_future, future)->scene;
    weft_group *own;
    (void)cx;
    cr_assert_eq(weft_group_spawn(s->group, echo, NULL), WEFT_EDEADLK);
    cr_assert_eq(weft_group_next(s->group, NULL), WEFT_EDEADLK);
    cr_assert_eq(weft_group_wait(s->group), WEFT_EDEADLK);
    own = group();
    spawn(own, hold, s);
    cr_assert_eq(weft_group_close(own), WEFT_EDEADLK, "cancelled, and not freed");
    *result = own;
    return WEFT_READY;
}

static void *poll_root(void *arg)
{
    static const weft_future_ops ops = {.poll = poll_spawns};
    scene s = {.group = group_with((weft_group_options){.limit = 1})};
    spawning_future f = {.future = {&ops}, .scene = &s};
    weft_task *task;
    void *own;
    (void)arg;
    spawn(s.group, hold, &s);
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    cr_assert_eq(weft_join(task, &own), 0);
    cr_assert_eq(weft_group_wait(own), WEFT_EABORTED);
    cr_assert_eq(weft_group_close(own), 0);
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.began, s.ended);
    return NULL;
}

WF_TEST_WORKERS(group, a_stackless_poll_is_told_that_it_cannot_wait) { run(workers, poll_root, NULL); }

/* ---- results that nobody takes -------------------------------------------------------------------------------- */

static void *discard_root(void *arg)
{
    enum { CHILDREN = 100 };
    atomic_int dropped = 0;
    weft_group *g = group_with((weft_group_options){.discard = 1, .drop_result = count});
    void *result = arg;
    for (int round = 1; round <= 5; round++) {
        spawn_n(g, CHILDREN, echo, &dropped);
        cr_assert_eq(weft_group_wait(g), 0);
        cr_assert_eq(dropped, round * CHILDREN, "as they end");
        cr_assert_eq(weft_group_next(g, &result), WEFT_EOF);
        cr_assert_null(result);
    }
    spawn(g, fail_with, (void *)(intptr_t)-55);
    cr_assert_eq(weft_group_next(g, &result), WEFT_EOF, "it waits, and reports none");
    cr_assert_eq(weft_group_running(g), 0);
    cr_assert_eq(weft_group_wait(g), -55);
    cr_assert_eq(weft_group_close(g), 0);
    cr_assert_eq(dropped, 5 * CHILDREN);
    return NULL;
}

WF_TEST_WORKERS(group, discarded_results_are_dropped_as_children_end) { run(workers, discard_root, NULL); }

static void *drops_root(void *arg)
{
    enum { CHILDREN = 50, TAKEN = 10, THROWN = 5, OWN = 7 };
    atomic_int dropped = 0, own = 0;
    weft_group *g = group_with((weft_group_options){.drop_result = count, .discard = arg != NULL});
    weft_spawn_options options = {.group = g, .drop_result = count};
    void *result;
    spawn_n(g, CHILDREN, echo, &dropped);
    cr_assert_eq(weft_group_wait(g), 0);
    for (int i = 0; !arg && i < TAKEN; i++)
        cr_assert_eq(weft_group_next(g, &result), 0);
    cr_assert_eq(dropped, arg ? CHILDREN : 0);
    for (int i = 0; !arg && i < THROWN; i++)
        cr_assert_eq(weft_group_next(g, NULL), 0);
    cr_assert_eq(dropped, arg ? CHILDREN : THROWN);
    for (int i = 0; i < OWN; i++)
        cr_assert_eq(weft_spawn_with(NULL, &options, echo, &own), 0);
    spawn(g, echo, NULL); /* nothing is nothing to drop */
    cr_assert_eq(weft_group_wait(g), 0);
    cr_assert_eq(weft_group_close(g), 0);
    cr_assert_eq(dropped, arg ? CHILDREN : CHILDREN - TAKEN);
    cr_assert_eq(own, OWN);
    return NULL;
}

WF_TEST_WORKERS(group, what_nobody_takes_is_dropped_once) { run(workers, drops_root, NULL); }
WF_TEST_WORKERS(group, what_is_discarded_is_dropped_once) { run(workers, drops_root, &workers); }

typedef struct two_drops {
    atomic_int by_group, by_spawn;
} two_drops;

static void drop_by_group(void *arg) { ((two_drops *)arg)->by_group++; }
static void drop_by_spawn(void *arg) { ((two_drops *)arg)->by_spawn++; }

static void *option_root(void *arg)
{
    two_drops d = {0};
    weft_group *g = group_with((weft_group_options){.drop_result = drop_by_group, .discard = arg != NULL});
    weft_spawn_options options = {.group = g, .drop_result = drop_by_spawn};
    cr_assert_eq(weft_spawn_with(NULL, &options, echo, &d), 0);
    spawn(g, echo, &d);
    cr_assert_eq(weft_group_close(g), 0);
    cr_assert_leq(d.by_group, 1);
    cr_assert_leq(d.by_spawn, 1);
    g = group_with((weft_group_options){.drop_result = drop_by_group, .discard = arg != NULL});
    options.group = g;
    d.by_group = d.by_spawn = 0;
    cr_assert_eq(weft_spawn_with(NULL, &options, echo, &d), 0);
    spawn(g, echo, &d);
    cr_assert_eq(weft_group_wait(g), 0);
    cr_assert_eq(weft_group_close(g), 0);
    cr_assert_eq(d.by_group, 1);
    cr_assert_eq(d.by_spawn, 1, "a child's own comes before the group's");
    return NULL;
}

WF_TEST_WORKERS(group, a_childs_own_drop_comes_first) { run(workers, option_root, NULL); }
WF_TEST_WORKERS(group, a_childs_own_drop_comes_first_when_discarded) { run(workers, option_root, &workers); }

static void *return_after_abort(void *arg)
{
    two_drops *d = arg;
    weft_sleep(WEFT_FOREVER);
    return d;
}

static void panic_late(void *arg)
{
    (void)arg;
    weft_panic("after it had returned");
}

static void *return_and_panic(void *arg)
{
    cr_assert_eq(weft_defer(panic_late, NULL), 0);
    return arg;
}

/* What broke: the value that an aborted (or panicked) child had returned went to the child's own drop only, never to the group's. */
static void *met_abort_root(void *arg)
{
    two_drops d = {0};
    weft_group *g = group_with((weft_group_options){.drop_result = drop_by_group, .discard = arg != NULL});
    weft_spawn_options options = {.group = g, .drop_result = drop_by_spawn};
    spawn(g, return_after_abort, &d);
    cr_assert_eq(weft_spawn_with(NULL, &options, return_after_abort, &d), 0);
    weft_sleep(WEFT_MS); /* on a paused clock: they wait */
    weft_group_cancel(g);
    cr_assert_eq(weft_group_wait(g), WEFT_EABORTED);
    cr_assert_eq(weft_group_close(g), 0);
    cr_assert_eq(d.by_spawn, 1);
    cr_assert_eq(d.by_group, 1);
    g = group_with((weft_group_options){.drop_result = drop_by_group, .discard = arg != NULL});
    spawn(g, return_and_panic, &d);
    cr_assert_eq(weft_group_wait(g), WEFT_EPANIC);
    cr_assert_eq(weft_group_close(g), 0);
    cr_assert_eq(d.by_group, 2);
    return NULL;
}

WF_TEST_WORKERS(group, what_an_aborted_child_returned_is_dropped_too) { run_paused(workers, met_abort_root, NULL); }
WF_TEST_WORKERS(group, what_an_aborted_child_returned_is_discarded_too)
{
    run_paused(workers, met_abort_root, &workers);
}

static void *unstarted_root(void *arg)
{
    enum { CHILDREN = 20 };
    scene s = {.group = group()};
    weft_spawn_options options = {.group = s.group, .drop_arg = count, .pinned = 1};
    (void)arg;
    for (int i = 0; i < CHILDREN; i++) /* pinned: none can start before this task waits */
        cr_assert_eq(weft_spawn_with(NULL, &options, echo, &s.dropped), 0);
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.dropped, CHILDREN);
    return NULL;
}

WF_TEST_WORKERS(group, arguments_of_children_that_never_start_are_dropped) { run(workers, unstarted_root, NULL); }

/* ---- closing -------------------------------------------------------------------------------------------------- */

static void *close_root(void *arg)
{
    enum { CHILDREN = 30 };
    scene s = {.group = group()};
    (void)arg;
    spawn_n(s.group, CHILDREN, hold_and_linger, &s);
    EVENTUALLY(s.began == CHILDREN);
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.ended, CHILDREN);
    cr_assert_eq(s.told, CHILDREN);
    return NULL;
}

WF_TEST_WORKERS(group, close_waits_for_the_last_child) { run(workers, close_root, NULL); }

static void *close_it(void *arg)
{
    scene *s = arg;
    s->flag = 1;
    s->code = weft_group_close(s->group);
    cr_assert_eq(s->began, s->ended);
    return (void *)(intptr_t)s->code;
}

static void *close_by_another_root(void *arg)
{
    scene s = {.group = group()};
    (void)arg;
    spawn_n(s.group, 10, hold_and_linger, &s);
    EVENTUALLY(s.began == 10);
    weft_task *closer = start(close_it, &s);
    EVENTUALLY(s.flag);
    weft_abort(closer); /* it waits all the same */
    int code = weft_join(closer, NULL);
    cr_assert(code == 0 || code == WEFT_EABORTED);
    cr_assert_eq(s.code, 0);
    cr_assert_eq(s.ended, 10);
    return NULL;
}

WF_TEST_WORKERS(group, another_task_closes_it_though_aborted) { run(workers, close_by_another_root, NULL); }

static void *make_group(void *arg)
{
    scene *s = arg;
    s->group = group();
    spawn_n(s->group, 10, hold_and_linger, s);
    s->flag = 1;
    EVENTUALLY(s->flag == 2);
    return NULL;
}

WF_TEST_WORKERS(group, an_ordinary_thread_closes_a_tasks_group)
{
    scene s = {0};
    weft_runtime *rt = enter_runtime(workers);
    weft_task *owner = start(make_group, &s);
    SPIN_UNTIL(s.flag);
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.began, s.ended);
    s.flag = 2;
    cr_assert_eq(weft_join(owner, NULL), 0);
    leave_runtime(rt);
}

/* What broke: whoever had waited came back to the group when its closer had freed it. */
static void *next_until_end(void *arg)
{
    scene *s = arg;
    int code;
    s->flag++;
    while ((code = weft_group_next(s->group, NULL)) == 0 || code == WEFT_EABORTED)
        ;
    return (void *)(intptr_t)code;
}

static void *next_once(void *arg)
{
    scene *s = arg;
    int code;
    s->flag++;
    code = weft_group_next(s->group, NULL);
    return (void *)(intptr_t)code;
}

static void *wait_once(void *arg)
{
    scene *s = arg;
    s->flag++;
    return (void *)(intptr_t)weft_group_wait(s->group);
}

static void close_under_waiters(weft_fn waiting, int expected, int also)
{
    enum { WAITERS = 4 };
    weft_task *waiters[WAITERS];
    scene s = {.group = group()};
    spawn_n(s.group, 3, hold, &s);
    for (int i = 0; i < WAITERS; i++)
        waiters[i] = start(waiting, &s);
    for (int i = 0; i < WAITERS; i++)
        await_idle(waiters[i]);
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.began, s.ended);
    for (int i = 0; i < WAITERS; i++) {
        intptr_t code = join(waiters[i]);
        cr_assert(code == expected || code == also, "%d", (int)code);
    }
}

static void *close_under_waiters_root(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(200); i++) {
        close_under_waiters(wait_once, WEFT_EABORTED, WEFT_EABORTED);
        close_under_waiters(next_once, WEFT_EABORTED, WEFT_EOF);
    }
    return NULL;
}

WF_TEST_WORKERS(group, close_while_others_wait_in_it) { run(workers, close_under_waiters_root, NULL); }

/* Time for a closer on another worker to go wrong. */
static void drop_slowly(void *arg)
{
    for (int i = 0; i < 1000; i++)
        sched_yield();
    count(arg);
}

static void *end_when_told(void *arg)
{
    scene *s = arg;
    weft_shield_enter();
    s->began = 1;
    EVENTUALLY(s->flag == 2);
    weft_shield_leave();
    s->ended = 1;
    return &s->dropped;
}

static void close_under_drop(void)
{
    scene s = {.group = group_with((weft_group_options){.drop_result = drop_slowly})};
    spawn(s.group, end_when_told, &s);
    weft_task *taker = start(next_once, &s), *closer;
    await_idle(taker);
    EVENTUALLY(s.began); /* one that had not would be aborted without a result */
    closer = start(close_it, &s);
    await_idle(closer); /* in close: nothing else makes it wait */
    s.flag = 2;
    cr_assert_eq(join(closer), 0);
    cr_assert_eq(s.dropped, 1, "it is closed in the midst of a drop");
    cr_assert_eq(join(taker), 0);
}

static void *close_under_drop_root(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(20); i++)
        close_under_drop();
    return NULL;
}

WF_TEST_WORKERS(group, close_waits_for_drops_that_others_make) { run(workers, close_under_drop_root, NULL); }

/* A child may look at its own group until it ends. */
static void *next_by_child_root(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(200); i++) {
        scene s = {.group = group()};
        spawn_n(s.group, 3, hold, &s);
        spawn_n(s.group, 3, next_until_end, &s);
        EVENTUALLY(s.flag == 3);
        cr_assert_eq(weft_group_close(s.group), 0);
        cr_assert_eq(s.began, s.ended);
    }
    return NULL;
}

WF_TEST_WORKERS(group, close_while_children_wait_for_each_other) { run(workers, next_by_child_root, NULL); }

static void *child_closes(void *arg)
{
    scene *s = arg;
    cr_assert_eq(weft_group_wait(s->group), WEFT_EDEADLK);
    cr_assert_eq(weft_is_cancelled(), 0);
    cr_assert_eq(weft_group_close(s->group), WEFT_EDEADLK);
    EVENTUALLY(weft_is_cancelled()); /* whoever spawned it may be about to enroll it, and tells it then */
    return NULL;
}

static void *child_closes_root(void *arg)
{
    scene s = {.group = group()};
    (void)arg;
    spawn(s.group, hold, &s);
    spawn(s.group, child_closes, &s);
    cr_assert_eq(weft_group_wait(s.group), WEFT_EABORTED);
    cr_assert_eq(s.began, s.ended);
    cr_assert_eq(weft_group_close(s.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, a_child_is_told_that_it_would_wait_for_itself) { run(workers, child_closes_root, NULL); }

/* What broke: a discarded child's handle went before the child left the list of those to abort: cancelling aborted whoever lived in its
 * place by then. */
static void *innocents(void *arg)
{
    scene *s = arg;
    for (size_t i = 0; i < 64 || !s->flag; i++) {
        weft_task *task = start(yielding_echo, (void *)(i % 2));
        cr_assert_eq(weft_join(task, NULL), 0, "aborted by a stranger");
    }
    return NULL;
}

static void discard_and_cancel(void)
{
    enum { CHILDREN = 32 };
    weft_group *g = group_with((weft_group_options){.discard = 1});
    for (intptr_t i = 0; i < CHILDREN; i++)
        spawn(g, yielding_echo, (void *)(i % 2));
    weft_yield();
    weft_group_cancel(g);
    cr_assert_eq(weft_group_close(g), 0);
}

static void *discard_and_cancel_root(void *arg)
{
    scene s = {0};
    weft_task *others = start(innocents, &s);
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(1500); i++)
        discard_and_cancel();
    s.flag = 1;
    cr_assert_eq(join(others), 0);
    return NULL;
}

WF_TEST_WORKERS(group, cancelling_hits_nobody_who_has_been_discarded) { run(workers, discard_and_cancel_root, NULL); }

/* ---- the owner's end ------------------------------------------------------------------------------------------ */

typedef enum { RETURNS, FAILS, PANICS, IS_ABORTED, ENDS } ending;

typedef struct owner {
    scene scene;
    ending ending;
    bool started; /* its children have begun when it ends */
    weft_group_options options;
} owner;

static void *own_a_group(void *arg)
{
    enum { CHILDREN = 12 };
    owner *o = arg;
    o->scene.group = group_with(o->options);
    spawn_n(o->scene.group, CHILDREN, hold_and_linger, &o->scene);
    if (o->started)
        EVENTUALLY(o->scene.began == CHILDREN);
    switch (o->ending) {
    case FAILS:
        return weft_fail(WEFT_EPIPE);
    case PANICS:
        weft_panic("asked to");
    case IS_ABORTED:
        o->scene.flag = 1;
        weft_sleep(WEFT_FOREVER);
        return NULL;
    default:
        return NULL;
    }
}

static void *owners_root(void *arg)
{
    static const int codes[] = {0, WEFT_EFAILED, WEFT_EPANIC, WEFT_EABORTED};
    (void)arg;
    for (int i = 0; i < ENDS * 4; i++) {
        owner o = {.ending = (ending)(i % ENDS), .started = i / ENDS % 2, .options.discard = i / ENDS / 2};
        weft_task *task = start(own_a_group, &o);
        if (o.ending == IS_ABORTED) {
            EVENTUALLY(o.scene.flag);
            weft_abort(task);
        }
        cr_assert_eq(weft_join(task, NULL), codes[o.ending]);
        cr_assert_eq(o.scene.began, o.scene.ended, "a child outlived its owner");
        cr_assert_eq(o.scene.told, o.scene.began);
    }
    return NULL;
}

WF_TEST_WORKERS(group, no_child_outlives_its_owner) { run(workers, owners_root, NULL); }

static void look_at_group(void *arg)
{
    scene *s = arg;
    cr_assert_eq(weft_group_running(s->group), 5, "it is closed after the deferred calls");
    cr_assert_eq(s->told, 0);
    spawn(s->group, hold_and_linger, s);
    EVENTUALLY(s->began == 6);
    s->flag++;
}

static void close_in_defer(void *arg)
{
    scene *s = arg;
    cr_assert_eq(weft_group_close(s->group), 0);
    s->flag++;
}

static void *own_and_defer(void *arg)
{
    scene *s = arg;
    s->group = group();
    if (s->code)
        cr_assert_eq(weft_defer(close_in_defer, s), 0);
    cr_assert_eq(weft_defer(look_at_group, s), 0);
    spawn_n(s->group, 5, hold_and_linger, s);
    EVENTUALLY(s->began == 5);
    return NULL;
}

static void *defers_root(void *arg)
{
    scene left_to_it = {0}, closed = {.code = 1};
    (void)arg;
    cr_assert_eq(join(start(own_and_defer, &left_to_it)), 0);
    cr_assert_eq(left_to_it.flag, 1);
    cr_assert_eq(left_to_it.ended, 6);
    cr_assert_eq(join(start(own_and_defer, &closed)), 0);
    cr_assert_eq(closed.flag, 2);
    cr_assert_eq(closed.ended, 6);
    return NULL;
}

WF_TEST_WORKERS(group, it_is_closed_after_its_owners_deferred_calls) { run(workers, defers_root, NULL); }

/* Owners of several, some of which are closed, in any order. */
static void *own_several(void *arg)
{
    enum { GROUPS = 5 };
    scene *s = arg;
    weft_group *groups[GROUPS];
    for (int i = 0; i < GROUPS; i++) {
        groups[i] = group();
        spawn_n(groups[i], 3, hold_and_linger, s);
    }
    cr_assert_eq(weft_group_close(groups[2]), 0);
    cr_assert_eq(weft_group_close(groups[4]), 0);
    cr_assert_eq(weft_group_close(groups[0]), 0);
    return NULL;
}

static void *several_root(void *arg)
{
    scene s = {0};
    (void)arg;
    cr_assert_eq(join(start(own_several, &s)), 0);
    cr_assert_eq(s.began, s.ended);
    return NULL;
}

WF_TEST_WORKERS(group, an_owner_of_several_closes_what_is_left) { run(workers, several_root, NULL); }

/* What broke: both freed it. Each must find its children gone, whoever comes first. */
static void *hold_a_group(void *arg)
{
    scene *s = arg;
    s->group = group();
    spawn_n(s->group, 2, hold_and_linger, s);
    EVENTUALLY(s->began == 2);
    s->flag = 1;
    weft_sleep(WEFT_FOREVER);
    return NULL;
}

static void *close_a_tasks_group(void *arg)
{
    scene *s = arg;
    EVENTUALLY(s->flag);
    int code = weft_group_close(s->group);
    cr_assert_eq(s->began, s->ended);
    return (void *)(intptr_t)code;
}

static void *two_closers_root(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(100); i++) {
        scene s = {0};
        weft_task *closer = start(close_a_tasks_group, &s), *holder = start(hold_a_group, &s);
        EVENTUALLY(s.told > 0); /* the other's close has begun, and will take a while */
        weft_abort(holder);
        cr_assert_eq(weft_join(holder, NULL), WEFT_EABORTED);
        cr_assert_eq(s.began, s.ended, "a child outlived its owner");
        cr_assert_eq(join(closer), 0);
    }
    return NULL;
}

WF_TEST_WORKERS(group, its_owner_ends_while_another_closes_it) { run(workers, two_closers_root, NULL); }

/* ---- nesting, coroutines, shutdown ----------------------------------------------------------------------------- */

static void *own_a_level(void *arg);

typedef struct level {
    scene *scene;
    int depth;
} level;

static void *own_a_level(void *arg)
{
    level *l = arg, below = {.scene = l->scene, .depth = l->depth - 1};
    entered(l->scene);
    weft_group *g = group();
    if (l->depth > 0)
        spawn_n(g, 3, own_a_level, &below); /* points into this frame: none may outlive it */
    weft_sleep(WEFT_FOREVER);
    return NULL;
}

static void *nested_root(void *arg)
{
    scene s = {0};
    level top = {.scene = &s, .depth = 4};
    weft_group *g = group();
    (void)arg;
    spawn(g, own_a_level, &top);
    EVENTUALLY(s.began == 1 + 3 + 9 + 27 + 81);
    cr_assert_eq(weft_group_close(g), 0);
    cr_assert_eq(s.began, s.ended);
    return NULL;
}

WF_TEST_WORKERS(group, closing_the_outermost_ends_a_tree) { run(workers, nested_root, NULL); }

static void *coro_body(void *arg)
{
    scene *s = arg;
    s->group = group();
    spawn_n(s->group, 5, hold_and_linger, s);
    EVENTUALLY(s->began == 5);
    if (s->code == 1)
        weft_panic("asked to");
    if (s->code == 2)
        weft_coro_yield(NULL);
    return NULL;
}

static void *coro_root(void *arg)
{
    (void)arg;
    for (int how = 0; how < 3; how++) {
        scene s = {.code = how};
        weft_coro *c;
        cr_assert_eq(weft_coro_create(&c, coro_body, &s, 0), 0);
        cr_assert_eq(weft_coro_resume(c, NULL, NULL), how == 1 ? WEFT_EPANIC : how == 2 ? 1 : 0);
        cr_assert_eq(s.ended, how == 2 ? 0 : 5);
        cr_assert_eq(weft_coro_free(c), 0);
        cr_assert_eq(s.ended, 5);
    }
    return NULL;
}

WF_TEST_WORKERS(group, a_coroutines_group_ends_with_its_body) { run(workers, coro_root, NULL); }

WF_TEST_WORKERS(group, a_coroutines_group_ends_with_its_body_on_an_ordinary_thread)
{
    weft_runtime *rt = enter_runtime(workers);
    coro_root(NULL);
    leave_runtime(rt);
}

/* A group that is made where nothing can wait is nobody's. */
static void make_in_callback(void *arg)
{
    scene *s = arg;
    s->group = group();
    spawn_n(s->group, 3, hold, s);
    cr_assert_eq(weft_group_close(s->group), WEFT_EDEADLK);
}

static void *callback_root(void *arg)
{
    scene s = {0};
    weft_spawn_options options = {.drop_result = make_in_callback};
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &s), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_group_wait(s.group), WEFT_EABORTED);
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.began, s.ended);
    return NULL;
}

WF_TEST_WORKERS(group, a_callback_makes_one_and_cannot_close_it) { run(workers, callback_root, NULL); }

/* A coroutine ends in a callback: its group cannot be waited for, and ends by itself. */
static void free_coro(void *c) { cr_assert_eq(weft_coro_free(c), 0); }

static void *yield_with_group(void *arg)
{
    scene *s = arg;
    s->group = group_with((weft_group_options){.drop_result = count});
    spawn(s->group, echo, &s->dropped);
    cr_assert_eq(weft_group_wait(s->group), 0);
    spawn_n(s->group, 5, hold_and_linger, s);
    EVENTUALLY(s->began == 5);
    weft_coro_yield(NULL);
    return NULL;
}

static void *orphan_root(void *arg)
{
    static scene s;
    weft_spawn_options options = {.drop_result = free_coro};
    weft_coro *c;
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_coro_create(&c, yield_with_group, &s, 0), 0);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    cr_assert_eq(weft_spawn_with(&task, &options, echo, c), 0);
    cr_assert_eq(weft_join(task, NULL), 0); /* frees it */
    EVENTUALLY(s.ended == 5);
    EVENTUALLY(s.dropped == 1);
    return NULL;
}

WF_TEST_WORKERS(group, one_that_cannot_be_waited_for_ends_by_itself) { run(workers, orphan_root, NULL); }

static void *leave_open(void *arg)
{
    owner *o = arg;
    o->scene.group = group_with(o->options);
    for (int i = 0; i < 10; i++)
        if (weft_group_spawn(o->scene.group, hold_and_linger, &o->scene) < 0)
            break; /* the shutdown has begun */
    weft_sleep(WEFT_FOREVER);
    return NULL;
}

static void *shutdown_root(void *arg)
{
    owner *owners = arg;
    for (int i = 0; i < 3; i++)
        cr_assert_eq(weft_spawn(NULL, leave_open, &owners[i]), 0);
    owners[2].scene.flag = 1;
    return NULL;
}

WF_TEST_WORKERS(group, shutdown_ends_open_groups)
{
    owner owners[3] = {{.options.discard = 1}, {.options.fail_fast = 1}};
    run(workers, shutdown_root, owners);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(owners[i].scene.began, owners[i].scene.ended);
}

WF_TEST_WORKERS(group, shutdown_leaves_a_threads_group_to_the_thread)
{
    scene s = {0};
    weft_runtime *rt = enter_runtime(workers);
    s.group = group_with((weft_group_options){.drop_result = count});
    spawn_n(s.group, 10, hold_and_linger, &s);
    spawn_n(s.group, 10, echo, &s.dropped);
    SPIN_UNTIL(s.began == 10);
    SPIN_UNTIL(weft_group_running(s.group) == 10);
    leave_runtime(rt);
    cr_assert_eq(s.ended, 10);
    cr_assert_eq(weft_group_running(s.group), 0);
    cr_assert_eq(weft_group_wait(s.group), WEFT_EABORTED);
    cr_assert_eq(weft_group_spawn(s.group, echo, NULL), WEFT_ENORUNTIME);
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.dropped, 10);
}

/* ---- scopes --------------------------------------------------------------------------------------------------- */

typedef enum { BY_DEADLINE, BY_CANCEL, BY_TOKEN, FIRINGS } firing;

static void *cancel_token(void *token)
{
    weft_sleep(5 * WEFT_MS);
    weft_token_cancel(token);
    return NULL;
}

/* The owner waits in a shield: nothing but the scope's firing ends its children, and so its wait. */
static void fire_in_shield(firing how)
{
    enum { CHILDREN = 5 };
    scene s = {0};
    weft_scope outer, scope;
    weft_token *token;
    weft_task *canceller = NULL;
    cr_assert_eq(weft_token_create(&token, NULL), 0);
    cr_assert_eq(weft_scope_enter(&outer, WEFT_FOREVER), 0);
    cr_assert_eq(weft_scope_enter(&scope, how == BY_DEADLINE ? 5 * WEFT_MS : WEFT_FOREVER), 0);
    cr_assert_eq(weft_scope_bind(&scope, token), 0);
    s.group = group();
    spawn_n(s.group, CHILDREN, hold_and_linger, &s);
    EVENTUALLY(s.began == CHILDREN);
    if (how == BY_TOKEN)
        canceller = start(cancel_token, token);
    if (how == BY_CANCEL)
        cr_assert_eq(weft_scope_cancel(&scope), 0);
    weft_shield_enter();
    cr_assert_eq(weft_group_wait(s.group), WEFT_EABORTED);
    weft_shield_leave();
    cr_assert_eq(s.told, CHILDREN);
    cr_assert_eq(s.ended, CHILDREN);
    cr_assert_eq(weft_sleep(0), how == BY_DEADLINE ? WEFT_ETIMEDOUT : WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&scope), how == BY_DEADLINE ? WEFT_ETIMEDOUT : WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&outer), 0);
    cr_assert_eq(weft_group_close(s.group), 0);
    if (canceller)
        cr_assert_eq(join(canceller), 0);
    cr_assert_eq(weft_token_free(token), 0);
}

static void *fire_in_shield_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < FIRINGS; i++)
        fire_in_shield((firing)i);
    return NULL;
}

WF_TEST_WORKERS(group, a_scope_that_fires_aborts_it_also_in_a_shield)
{
    run_paused(workers, fire_in_shield_root, NULL);
}

static void *fire_root(void *arg)
{
    scene s = {0};
    weft_scope scope;
    (void)arg;
    cr_assert_eq(weft_scope_enter(&scope, 20 * WEFT_MS), 0);
    s.group = group();
    spawn_n(s.group, 5, hold_and_linger, &s);
    cr_assert_eq(weft_group_next(s.group, NULL), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_group_spawn(s.group, hold, &s), WEFT_ECANCELED, "it is cancelled when the await says so");
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_group_wait(s.group), WEFT_EABORTED);
    cr_assert_eq(s.told, 5);
    cr_assert_eq(weft_group_close(s.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, a_deadline_around_its_creation_aborts_it) { run_paused(workers, fire_root, NULL); }

/* The scope fires while its owner closes it: that changes nothing. */
static void *fire_in_close_root(void *arg)
{
    weft_scope scope;
    scene s = {0};
    (void)arg;
    cr_assert_eq(weft_scope_enter(&scope, WEFT_MS), 0);
    s.group = group();
    spawn_n(s.group, 5, hold_and_linger, &s);
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.began, s.ended);
    weft_scope_leave(&scope);
    return NULL;
}

WF_TEST_WORKERS(group, a_scope_fires_while_it_is_closed) { run_paused(workers, fire_in_close_root, NULL); }

static void *outside_root(void *arg)
{
    scene s = {.group = group()};
    weft_scope scope;
    (void)arg;
    cr_assert_eq(weft_scope_enter(&scope, 5 * WEFT_MS), 0);
    spawn_n(s.group, 5, hold, &s);
    cr_assert_eq(weft_group_wait(s.group), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_sleep(50 * WEFT_MS), 0);
    cr_assert_eq(weft_group_running(s.group), 5);
    cr_assert_eq(s.told, 0);
    cr_assert_eq(weft_group_close(s.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, a_scope_inside_which_it_was_not_made_is_nothing_to_it)
{
    run_paused(workers, outside_root, NULL);
}

static void *handed_out_root(void *arg)
{
    scene s = {0};
    weft_scope outer, inner;
    (void)arg;
    cr_assert_eq(weft_scope_enter(&outer, 100 * WEFT_MS), 0);
    cr_assert_eq(weft_scope_enter(&inner, 20 * WEFT_MS), 0);
    s.group = group();
    spawn_n(s.group, 5, hold, &s);
    cr_assert_eq(weft_scope_leave(&inner), 0);
    cr_assert_eq(weft_sleep(50 * WEFT_MS), 0);
    cr_assert_eq(weft_group_running(s.group), 5, "it was left before it fired");
    weft_shield_enter();
    cr_assert_eq(weft_group_wait(s.group), WEFT_EABORTED, "it belongs to the next one out");
    weft_shield_leave();
    cr_assert_eq(weft_sleep(0), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&outer), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_group_close(s.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, a_scope_that_is_left_hands_it_outwards) { run_paused(workers, handed_out_root, NULL); }

static void *handed_to_nobody_root(void *arg)
{
    scene s = {0};
    weft_scope scope;
    (void)arg;
    cr_assert_eq(weft_scope_enter(&scope, 20 * WEFT_MS), 0);
    s.group = group();
    spawn_n(s.group, 5, hold, &s);
    cr_assert_eq(weft_scope_leave(&scope), 0);
    cr_assert_eq(weft_scope_enter(&scope, 5 * WEFT_MS), 0); /* another in the same place */
    cr_assert_eq(weft_group_wait(s.group), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_sleep(50 * WEFT_MS), 0);
    cr_assert_eq(weft_group_running(s.group), 5);
    cr_assert_eq(weft_group_close(s.group), 0);
    return NULL;
}

WF_TEST_WORKERS(group, the_last_scope_that_is_left_hands_it_to_nobody)
{
    run_paused(workers, handed_to_nobody_root, NULL);
}

static void *close_another(void *arg)
{
    scene *s = arg;
    return (void *)(intptr_t)weft_group_close(s->group);
}

/* A scope fires, and another task closes the group at the same time. */
static void *fire_and_close_root(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(100); i++) {
        scene s = {0};
        weft_scope scope;
        cr_assert_eq(weft_scope_enter(&scope, WEFT_FOREVER), 0);
        s.group = group();
        spawn_n(s.group, 20, hold, &s);
        weft_task *closer = start(close_another, &s);
        weft_yield();
        cr_assert_eq(weft_scope_cancel(&scope), 0);
        cr_assert_eq(weft_yield(), WEFT_ECANCELED);
        cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
        cr_assert_eq(join(closer), 0);
        cr_assert_eq(s.began, s.ended);
    }
    return NULL;
}

WF_TEST_WORKERS(group, a_scope_fires_while_another_closes_it) { run(workers, fire_and_close_root, NULL); }

/* ---- stackless children ---------------------------------------------------------------------------------------- */

static void *stackless_root(void *arg)
{
    enum { GATES = 20 };
    gate gates[GATES];
    weft_group *g = group();
    void *result = arg;
    for (int i = 0; i < GATES; i++) {
        gate_init(&gates[i]);
        gates[i].value = &gates[i];
        spawn_gate(g, &gates[i]);
    }
    for (int i = 0; i < GATES; i += 2) {
        gates[i].verdict = i == 4 ? -44 : 0;
        gate_open(&gates[i]);
        cr_assert_eq(weft_group_next(g, &result), i == 4 ? WEFT_EFAILED : 0);
        cr_assert_eq((intptr_t)result, i == 4 ? -44 : (intptr_t)&gates[i]);
    }
    cr_assert_eq(weft_group_running(g), GATES / 2);
    weft_group_cancel(g);
    cr_assert_eq(weft_group_wait(g), -44);
    cr_assert_eq(weft_group_close(g), 0);
    for (int i = 0; i < GATES; i++)
        cr_assert_eq(gates[i].drops, 1);
    return NULL;
}

WF_TEST_WORKERS(group, stackless_tasks_are_children_like_others) { run(workers, stackless_root, NULL); }

/* ---- arguments ------------------------------------------------------------------------------------------------- */

static void *bad_calls_root(void *arg)
{
    weft_group *g = group();
    weft_task *task;
    gate f;
    weft_spawn_options options = {.group = g, .drop_arg = count}, too_small = {.group = g, .stack_size = 1};
    void *result = arg;
    gate_init(&f);
    cr_assert_eq(weft_group_create(NULL), WEFT_EINVAL);
    cr_assert_eq(weft_group_spawn(NULL, echo, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_group_spawn(g, NULL, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_group_next(NULL, &result), WEFT_EINVAL);
    cr_assert_null(result);
    cr_assert_eq(weft_group_wait(NULL), WEFT_EINVAL);
    cr_assert_eq(weft_group_running(NULL), 0);
    weft_group_cancel(NULL);
    cr_assert_eq(weft_group_close(NULL), 0);
    task = (weft_task *)&task;
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &f.drops), WEFT_EINVAL);
    cr_assert_null(task);
    task = (weft_task *)&task;
    cr_assert_eq(weft_spawn_future_with(&task, &options, &f.future), WEFT_EINVAL);
    cr_assert_null(task);
    cr_assert_eq(weft_spawn_future_with(NULL, &options, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_spawn_with(NULL, &options, NULL, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_spawn_with(NULL, &too_small, echo, NULL), WEFT_EINVAL);
    cr_assert_eq(f.drops, 0);
    cr_assert_eq(weft_group_running(g), 0);
    cr_assert_eq(weft_group_wait(g), 0);
    cr_assert_eq(weft_group_close(g), 0);
    return NULL;
}

Test(group, arguments_without_sense_are_refused) { run(1, bad_calls_root, NULL); }

Test(group, without_a_runtime_nothing_is_spawned)
{
    weft_group *g = group();
    cr_assert_eq(weft_group_spawn(g, echo, NULL), WEFT_ENORUNTIME);
    cr_assert_eq(weft_group_running(g), 0);
    cr_assert_eq(weft_group_next(g, NULL), WEFT_EOF);
    cr_assert_eq(weft_group_close(g), 0);
}

/* ---- many ------------------------------------------------------------------------------------------------------ */

static void *many_root(void *arg)
{
    static scene s;
    int n = (int)wf_test_scale(10000);
    (void)arg;
    s.group = group();
    spawn_n(s.group, n, pass_by, &s);
    for (int i = 0; i < n; i++)
        cr_assert_eq(weft_group_next(s.group, NULL), 0);
    cr_assert_eq(weft_group_next(s.group, NULL), WEFT_EOF);
    cr_assert_eq(s.ended, n);
    spawn_n(s.group, n, hold, &s);
    EVENTUALLY(s.began > n);
    cr_assert_eq(weft_group_close(s.group), 0);
    cr_assert_eq(s.began, s.ended);
    return NULL;
}

WF_TEST_WORKERS(group, ten_thousand_children) { run(workers, many_root, NULL); }
