/* scarce_task_test.c - runtimes, tasks, groups, coroutines and timers on a machine that has run out of everything. See support/scarce.h. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/scarce.h>
#include <weft.h>

static void *echo(void *arg) { return arg; }
static void ignore(void *arg) { (void)arg; }

static void *wait_for_ever(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

static void *wait_a_bit(void *arg)
{
    int err = weft_sleep(WEFT_MS);
    return err < 0 ? weft_fail(err) : arg;
}

/* The end of a task that was to give @expected. One that gets no stack by its first poll has failed with WEFT_ENOMEM. */
static int code_of(int err, void *const *result)
{
    return err == WEFT_EFAILED && (intptr_t)*result == WEFT_ENOMEM ? WEFT_ENOMEM : err;
}

#define JOIN(task, expected, value)                                                   \
    do {                                                                              \
        void *result_;                                                                \
        bool lacked_;                                                                 \
        SCARCE_ONCE(lacked_, expected, code_of(weft_join(task, &result_), &result_)); \
        cr_assert(lacked_ || result_ == (value), "%s", scarce_at());                  \
    } while (0)

/* ---- runtimes -------------------------------------------------------------------------------------------------- */

static const weft_options two_workers = {.workers = 2}, one_thread = {.workers = 1, .flags = WEFT_CURRENT_THREAD},
                          its_own = {.workers = 2, .flags = WEFT_NO_SEGV_HANDLER};

static void make_a_runtime(void)
{
    weft_runtime *rt;
    SCARCE_MAKE(rt, weft_runtime_create(&rt, &two_workers));
    SCARCE_NONE(cr_assert_null(weft_runtime_current()));
    SCARCE_NONE(cr_assert_eq(weft_runtime_workers(rt), 2));
    SCARCE_TRY(0, weft_runtime_shutdown(rt, WEFT_SEC));
    SCARCE_TRY(0, weft_runtime_destroy(rt));
}

static void make_one_without_threads(void)
{
    weft_runtime *rt;
    void *result;
    SCARCE_MAKE(rt, weft_runtime_create(&rt, &one_thread));
    SCARCE_TRY(0, code_of(weft_block_on(rt, echo, rt, &result), &result));
    cr_assert_eq(result, rt);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void run_one(void)
{
    void *result;
    SCARCE_TRY(0, code_of(weft_run(echo, &result, &result), &result));
    cr_assert_eq(result, &result);
    SCARCE_TRY(0, code_of(weft_run_with(&its_own, wait_a_bit, &result, &result), &result));
    cr_assert_eq(result, &result);
}

static void block_on_one(void)
{
    weft_runtime *rt;
    void *result;
    cr_assert_eq(weft_runtime_create(&rt, &two_workers), 0);
    SCARCE_TRY(0, code_of(weft_block_on(rt, wait_a_bit, rt, &result), &result));
    cr_assert_eq(result, rt);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void enter_one(void)
{
    weft_runtime *rt;
    weft_task *task;
    weft_metrics_t m;
    cr_assert_eq(weft_runtime_create(&rt, &two_workers), 0);
    SCARCE_TRY(0, weft_runtime_enter(rt));
    SCARCE_NONE(cr_assert_eq(weft_metrics(NULL, &m), 0));
    SCARCE_MAKE(task, weft_spawn(&task, wait_a_bit, rt));
    JOIN(task, 0, rt);
    SCARCE_MAKE(task, weft_spawn_on(rt, &task, echo, rt));
    SCARCE_TRY(0, weft_wait(task));
    JOIN(task, 0, rt);
    SCARCE_TRY(0, weft_runtime_leave());
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- spawning ---------------------------------------------------------------------------------------------------- */

static void spawn(void)
{
    weft_task *task;
    SCARCE_MAKE(task, weft_spawn(&task, wait_a_bit, &task));
    JOIN(task, 0, &task);
}

static atomic_int runs, drops;

static void *note_run(void *arg)
{
    runs++;
    return arg;
}

static void note_drop(void *arg)
{
    (void)arg;
    drops++;
}

/* So that nothing that is cached will do. */
static void spawn_with_everything(void)
{
    static const char bytes[64] = "copied";
    weft_spawn_options o = {.name = "named",
                            .stack_size = 3 << 20,
                            .pinned = WEFT_PIN_TO(0),
                            .drop_arg = note_drop,
                            .drop_result = note_drop,
                            .copy_arg = sizeof bytes,
                            .runtime = weft_runtime_current()};
    weft_task *task;
    void *result;
    bool lacked;
    int before = drops;
    SCARCE_MAKE(task, weft_spawn_with(&task, &o, echo, (void *)(uintptr_t)bytes));
    SCARCE_NONE(cr_assert_str_eq(weft_task_name(task), "named"));
    SCARCE_ONCE(lacked, 0, code_of(weft_join(task, &result), &result));
    cr_assert_eq(drops - before, lacked, "an argument is the caller's until the spawn succeeds");
}

/* More than two slabs of stacks. */
static void spawn_many(void)
{
    enum { MANY = 12 };
    static weft_task *tasks[MANY];
    for (int i = 0; i < MANY; i++)
        SCARCE_MAKE(tasks[i], weft_spawn(&tasks[i], wait_for_ever, NULL));
    SCARCE_TRY(0, weft_yield());
    for (int i = 0; i < MANY; i++)
        SCARCE_TRY(0, weft_task_close(tasks[i]));
}

/* A strand gets its stack by its first poll. Without one it never runs, and its argument is dropped. */
static void first_poll(void)
{
    weft_spawn_options o = {.stack_size = 5 << 20, .drop_arg = note_drop};
    weft_task *task;
    int ran = runs, dropped = drops;
    cr_assert_eq(weft_spawn_with(&task, &o, note_run, &o), 0);
    JOIN(task, 0, &o);
    cr_assert_eq(runs - ran + drops - dropped, 1);
}

static void spawn_blocking(void)
{
    weft_task *task;
    weft_spawn_options o = {.name = "named", .blocking = 1};
    SCARCE_MAKE(task, weft_spawn_blocking(&task, wait_a_bit, &o));
    JOIN(task, 0, &o);
    SCARCE_MAKE(task, weft_spawn_with(&task, &o, echo, &o));
    JOIN(task, 0, &o);
}

static void block(void)
{
    void *result;
    SCARCE_TRY(0, weft_blocking(echo, &result, &result));
    cr_assert_eq(result, &result);
    SCARCE_TRY(0, weft_blocking(echo, &result, &result));
}

/* ---- stackless tasks -------------------------------------------------------------------------------------------- */

typedef struct nap {
    weft_future future;
    weft_timer timer;
    bool dropped;
} nap;

static weft_poll poll_nap(weft_future *self, weft_context *cx, void **result)
{
    nap *n = WEFT_CONTAINER_OF(self, nap, future);
    weft_poll status;
    *result = n;
    SCARCE_NONE(status = weft_timer_poll(cx, &n->timer));
    return status;
}

static void drop_nap(weft_future *self)
{
    nap *n = WEFT_CONTAINER_OF(self, nap, future);
    SCARCE_NONE(weft_timer_drop(&n->timer));
    n->dropped = true;
}

static const weft_future_ops nap_ops = {poll_nap, drop_nap};

static void nap_init(nap *n)
{
    *n = (nap){.future.ops = &nap_ops};
    SCARCE_NONE(weft_timer_init(&n->timer, 0));
    SCARCE_NONE(weft_timer_reset(&n->timer, weft_now() + WEFT_MS));
}

static void spawn_futures(void)
{
    weft_spawn_options o = {.name = "named"};
    weft_task *task;
    void *result;
    nap n;
    nap_init(&n);
    SCARCE_MAKE(task, weft_spawn_future(&task, &n.future));
    JOIN(task, 0, &n);
    nap_init(&n);
    SCARCE_MAKE(task, weft_spawn_future_with(&task, &o, &n.future));
    JOIN(task, 0, &n);
    nap_init(&n);
    SCARCE_TRY(0, weft_await(&n.future, &result));
    cr_assert(n.dropped);
}

static void spawn_in_places(void)
{
    weft_task_pool *pool;
    weft_task_storage *place;
    weft_task *task;
    SCARCE_MAKE(pool, weft_task_pool_create(&pool, 3, sizeof(nap)));
    SCARCE_NONE(cr_assert_eq(weft_task_pool_claim(pool, &place), 0));
    SCARCE_NONE(weft_task_pool_unclaim(place));
    SCARCE_NONE(cr_assert_eq(weft_task_pool_available(pool), 3));
    cr_assert_eq(weft_task_pool_claim(pool, &place), 0);
    nap *n;
    SCARCE_NONE(n = weft_task_pool_body(place));
    nap_init(n);
    SCARCE_NONE(cr_assert_eq(weft_spawn_future_in(&task, place, &n->future), 0));
    JOIN(task, 0, result_);
    while (weft_task_pool_free(pool) < 0)
        weft_yield();
    SCARCE_NONE(cr_assert_eq(weft_task_pool_free(NULL), 0));
}

/* ---- tasks and what they have ------------------------------------------------------------------------------------- */

static void handles(void)
{
    weft_task *task;
    weft_aborter *aborter;
    cr_assert_eq(weft_spawn(&task, wait_for_ever, NULL), 0);
    SCARCE_MAKE(aborter, weft_aborter_create(&aborter, task));
    SCARCE_NONE(cr_assert_gt(weft_task_id(task), 0));
    SCARCE_NONE(cr_assert_str_eq(weft_task_error(task), ""));
    SCARCE_NONE(cr_assert_str_eq(weft_task_state_name(weft_task_state(task)), weft_task_state_name(weft_task_state(task))));
    SCARCE_NONE(cr_assert_eq(weft_try_join(task, NULL), WEFT_EAGAIN));
    SCARCE_NONE(cr_assert_not(weft_is_finished(task)));
    SCARCE_NONE(weft_aborter_abort(aborter); weft_abort(task));
    SCARCE_NONE(weft_aborter_free(aborter));
    SCARCE_TRY(0, weft_task_close(task));
    cr_assert_eq(weft_spawn(&task, echo, NULL), 0);
    SCARCE_NONE(weft_detach(task));
}

static atomic_int calls;
static void call(void *arg)
{
    (void)arg;
    calls++;
}

static void deferred(void)
{
    int before = calls;
    SCARCE_TRY(0, weft_defer(call, NULL));
    SCARCE_NONE(cr_assert_eq(weft_defer_pop(1), 0));
    cr_assert_eq(calls, before + 1);
}

static void names_and_values(void)
{
    static weft_local plain = WEFT_LOCAL_INIT(NULL, 0), inherited = WEFT_LOCAL_INIT(ignore, 1);
    char value;
    weft_task *task;
    SCARCE_TRY(0, weft_set_name("%s", "root"));
    SCARCE_NONE(cr_assert_gt(weft_self_id(), 0));
    SCARCE_TRY(0, weft_local_set(&plain, &value));
    SCARCE_TRY(0, weft_local_set(&inherited, &value));
    SCARCE_NONE(cr_assert_eq(weft_local_get(&inherited), &value));
    SCARCE_MAKE(task, weft_spawn(&task, echo, NULL));
    JOIN(task, 0, result_);
    SCARCE_TRY(0, weft_local_set(&inherited, NULL));
    cr_assert_eq(weft_local_set(&plain, NULL), 0);
}

static void *fails(void *arg)
{
    void *result;
    (void)arg;
    SCARCE_NONE(result = weft_fail(WEFT_EINVAL));
    return result;
}

static void *panics(void *arg)
{
    weft_panic("of %s", (const char *)arg);
    return NULL;
}

static void ends(void)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fails, NULL), 0);
    JOIN(task, WEFT_EFAILED, result_);
    cr_assert_eq(weft_spawn(&task, panics, (void *)(uintptr_t) "fear"), 0);
    SCARCE_TRY(0, weft_wait(task));
    SCARCE_NONE(cr_assert_not_null(weft_task_error(task)));
    JOIN(task, WEFT_EPANIC, result_);
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

static void group(void)
{
    weft_group *g;
    weft_group_options o = {.limit = 2};
    weft_spawn_options with = {.name = "child"};
    void *result;
    bool lacked;
    SCARCE_MAKE(g, weft_group_create(&g));
    SCARCE_TRY(0, weft_group_close(g));
    SCARCE_MAKE(g, weft_group_create_with(&g, &o));
    with.group = g;
    SCARCE_TRY(0, weft_group_spawn(g, echo, &result));
    SCARCE_ONCE(lacked, 0, code_of(weft_group_next(g, &result), &result));
    cr_assert(lacked || result == &result);
    SCARCE_TRY(0, weft_group_spawn(g, wait_a_bit, &result));
    SCARCE_TRY(0, weft_spawn_with(NULL, &with, wait_a_bit, &result));
    SCARCE_TRY(0, weft_group_spawn(g, wait_a_bit, &result)); /* at the limit */
    SCARCE_NONE(cr_assert_leq(weft_group_running(g), 2));
    SCARCE_ONCE(lacked, 0, weft_group_wait(g));
    SCARCE_NONE(weft_group_cancel(g));
    SCARCE_TRY(0, weft_group_close(g));
}

/* ---- coroutines --------------------------------------------------------------------------------------------------- */

static void *yields(void *arg)
{
    void *in;
    SCARCE_NONE(cr_assert_not_null(weft_coro_self()));
    SCARCE_NONE(cr_assert_not(weft_coro_stopping()));
    SCARCE_NONE(in = weft_coro_yield(arg));
    SCARCE_TRY(0, weft_defer(call, NULL));
    if (in)
        weft_panic("as it was told");
    return arg;
}

static void coroutine(void)
{
    weft_coro *c;
    void *out;
    for (size_t size = 0; size <= 7 << 20; size += 7 << 20) {
        SCARCE_MAKE(c, weft_coro_create(&c, yields, &out, size));
        SCARCE_NONE(cr_assert_eq(weft_coro_bind_thread(c), 0));
        cr_assert_eq(weft_coro_resume(c, NULL, &out), 1);
        cr_assert_eq(out, &out);
        SCARCE_TRY(size ? WEFT_EPANIC : 0, weft_coro_resume(c, size ? c : NULL, &out));
        SCARCE_NONE(weft_coro_error(c));
        SCARCE_TRY(0, weft_coro_free(c));
    }
    SCARCE_MAKE(c, weft_coro_create(&c, yields, &out, 0));
    SCARCE_NONE(cr_assert_eq(weft_coro_stop(c), 0));
    SCARCE_NONE(cr_assert_eq(weft_coro_free(c), 0));
}

static void coroutine_that_waits(void)
{
    weft_coro *c;
    void *out;
    SCARCE_MAKE(c, weft_coro_create(&c, wait_a_bit, &out, 0));
    SCARCE_TRY(0, weft_coro_resume(c, NULL, &out));
    cr_assert_eq(weft_coro_free(c), 0);
}

/* ---- time and scopes ---------------------------------------------------------------------------------------------- */

static void time_passes(void)
{
    weft_interval every;
    weft_backoff backoff = {.initial = 1};
    void *result;
    SCARCE_NONE(cr_assert_eq(weft_interval_init(&every, WEFT_MS, WEFT_MISSED_SKIP), 0));
    SCARCE_TRY(0, weft_sleep(WEFT_MS));
    SCARCE_TRY(0, weft_sleep_until(weft_now() + WEFT_MS));
    SCARCE_TRY(0, weft_interval_tick(&every, NULL));
    SCARCE_NONE(weft_interval_reset(&every));
    SCARCE_TRY(0, weft_backoff_wait(&backoff));
    SCARCE_NONE(weft_backoff_reset(&backoff));
    SCARCE_TRY(0, weft_timeout(WEFT_SEC, wait_a_bit, NULL, &result));
    SCARCE_TRY(0, weft_yield());
}

static void scope(void)
{
    weft_scope s;
    weft_token *token;
    SCARCE_TRY(0, weft_scope_enter(&s, WEFT_SEC));
    SCARCE_MAKE(token, weft_token_create(&token, NULL));
    SCARCE_TRY(0, weft_scope_bind(&s, token));
    SCARCE_NONE(cr_assert_neq(weft_deadline(), WEFT_FOREVER));
    SCARCE_TRY(0, weft_sleep(WEFT_MS));
    SCARCE_NONE(cr_assert_eq(weft_shield_enter(), 0));
    SCARCE_NONE(cr_assert_eq(weft_shield_leave(), 0));
    SCARCE_NONE(weft_token_cancel(token));
    SCARCE_NONE(cr_assert_eq(weft_is_cancelled(), 1));
    SCARCE_TRY(WEFT_ECANCELED, weft_sleep(WEFT_MS));
    SCARCE_NONE(cr_assert_eq(weft_scope_cancel(&s), 0));
    SCARCE_NONE(cr_assert_eq(weft_scope_leave(&s), WEFT_ECANCELED));
    SCARCE_NONE(cr_assert_eq(weft_token_free(token), 0));
}

/* ---- what is said of errors ---------------------------------------------------------------------------------------- */

static void errors(void)
{
    SCARCE_TRY(WEFT_EINVAL, weft_error_set(WEFT_EINVAL, "%s", "no"));
    SCARCE_NONE(cr_assert(strcmp(weft_error_detail(), "no") == 0 || strcmp(weft_error_detail(), "") == 0));
    SCARCE_NONE(weft_strerror(WEFT_EINVAL));
    SCARCE_NONE(weft_err_name(WEFT_EINVAL));
    SCARCE_NONE(weft_version());
    SCARCE_NONE(weft_now());
}

static const scarce_scene scenes[] = {
    SCARCE_THREAD(make_a_runtime, 10),
    SCARCE_THREAD(make_one_without_threads, 10),
    SCARCE_THREAD(run_one, 10),
    SCARCE_THREAD(block_on_one, 2),
    SCARCE_THREAD(enter_one, 2),
    SCARCE_STRAND(spawn, 0),
    SCARCE_STRAND(spawn_with_everything, 3),
    SCARCE_STRAND(spawn_many, 2),
    SCARCE_STRAND(first_poll, 1),
    SCARCE_STRAND(spawn_blocking, 3),
    SCARCE_STRAND(block, 1),
    SCARCE_STRAND(spawn_futures, 1),
    SCARCE_STRAND(spawn_in_places, 2),
    SCARCE_STRAND(handles, 1),
    SCARCE_STRAND(deferred, 1),
    SCARCE_STRAND(names_and_values, 4),
    SCARCE_STRAND(ends, 2),
    SCARCE_STRAND(group, 3),
    SCARCE_STRAND(coroutine, 3),
    SCARCE_THREAD(coroutine, 3),
    SCARCE_STRAND(coroutine_that_waits, 1),
    SCARCE_THREAD(coroutine_that_waits, 1),
    SCARCE_STRAND(time_passes, 0),
    SCARCE_THREAD(time_passes, 1),
    SCARCE_STRAND(scope, 2),
    SCARCE_THREAD(scope, 3),
    SCARCE_STRAND(errors, 1),
    SCARCE_THREAD(errors, 2),
};

Test(scarce_task, whatever_is_refused_is_reported_and_leaves_nothing_1_worker)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 1);
}

Test(scarce_task, whatever_is_refused_is_reported_and_leaves_nothing_2_workers)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 2);
}
