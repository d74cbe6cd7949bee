/* bridge_test.c - a worker's libuv loop, used by a pinned task, and completions. */
#include <stdatomic.h>
#include <support/process.h>
#include <support/task_support.h>
#include <support/test.h>
#include <weft.h>
#include <weft/uv.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void pinned(weft_fn fn, void *arg)
{
    weft_spawn_options options = {.pinned = 1};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
}

static void *as_pinned(void *fn)
{
    weft_fn *body = fn;
    pinned(*body, NULL);
    return NULL;
}

/* @fn in a pinned task of a runtime that leaves no descriptor. The first runtime of a process makes what stays. */
static void run_pinned(unsigned workers, weft_fn fn)
{
    run(workers, echo, NULL);
    unsigned before = open_fds();
    run(workers, as_pinned, &fn);
    cr_assert_eq(open_fds(), before);
}

static void on_closed(uv_handle_t *handle) { weft_completion_set(handle->data, 7); }

static void close_handle(void *handle)
{
    weft_completion closed = WEFT_COMPLETION_INIT;
    ((uv_handle_t *)handle)->data = &closed;
    uv_close(handle, on_closed);
    cr_assert_eq(weft_completion_wait(&closed), 7);
}

/* ---- the loop ------------------------------------------------------------------------------------------------- */

static void *find_none(void *arg)
{
    cr_assert_null(weft_uv_loop());
    return arg;
}

static void *find_loop(void *arg)
{
    uv_loop_t *loop = weft_uv_loop();
    (void)arg;
    cr_assert_not_null(loop);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(weft_yield(), 0);
        cr_assert_eq(weft_uv_loop(), loop, "it is always polled by the same worker");
    }
    weft_task *other;
    cr_assert_eq(weft_spawn(&other, find_none, NULL), 0);
    cr_assert_eq(weft_join(other, NULL), 0);
    cr_assert_eq(weft_spawn_blocking(&other, find_none, NULL), 0);
    cr_assert_eq(weft_join(other, NULL), 0);
    return NULL;
}

WF_TEST_WORKERS(bridge, a_pinned_task_has_a_loop)
{
    find_none(NULL);
    run_pinned(workers, find_loop);
}

static uv_loop_t *seen;
static int waited;

static void on_timer(uv_timer_t *timer)
{
    seen = weft_uv_loop();
    waited = weft_sleep(WEFT_MS);
    weft_completion_set(timer->data, 42);
}

static void *time_on_loop(void *arg)
{
    uv_timer_t timer;
    weft_completion fired = WEFT_COMPLETION_INIT;
    cr_assert_eq(uv_timer_init(weft_uv_loop(), &timer), 0);
    timer.data = &fired;
    cr_assert_eq(uv_timer_start(&timer, on_timer, 2, 0), 0);
    cr_assert_eq(weft_completion_wait(&fired), 42);
    cr_assert_eq(weft_completion_wait(&fired), 42, "again at once");
    cr_assert_eq(seen, weft_uv_loop());
    cr_assert_eq(waited, WEFT_EDEADLK);
    close_handle(&timer);
    return arg;
}

WF_TEST_WORKERS(bridge, a_timer_of_libuv_completes) { run_pinned(workers, time_on_loop); }

static void on_time_on_new_loop(uv_timer_t *timer) { weft_completion_set(timer->data, 0); }

/* A loop that nobody has asked for has no turns, and libuv starts timers from its last one: that of a while ago. */
static void *time_on_new_loop(void *arg)
{
    enum { SLEPT = 80, TIMED = 40 };
    (void)arg;
    cr_assert_eq(weft_sleep(SLEPT * WEFT_MS), 0);
    uv_loop_t *loop = weft_uv_loop();
    uv_timer_t timer;
    weft_completion done = WEFT_COMPLETION_INIT;
    cr_assert_eq(uv_timer_init(loop, &timer), 0);
    timer.data = &done;
    int64_t start = weft_now();
    cr_assert_eq(uv_timer_start(&timer, on_time_on_new_loop, TIMED, 0), 0);
    cr_assert_eq(weft_completion_wait(&done), 0);
    cr_assert_geq(weft_now() - start, (TIMED - 1) * WEFT_MS); /* it counts in whole milliseconds */
    close_handle(&timer);
    return NULL;
}

WF_TEST_WORKERS(bridge, a_timer_on_a_loop_that_rested_is_not_early) { run_pinned(workers, time_on_new_loop); }

static void on_idle(uv_idle_t *idle)
{
    uv_idle_stop(idle);
    weft_completion_set(idle->data, 1);
}

static void on_async(uv_async_t *async) { weft_completion_set(async->data, 2); }

static void *ring_async(void *async)
{
    uv_async_send(async);
    return NULL;
}

static void *idle_and_async(void *arg)
{
    weft_completion idled = WEFT_COMPLETION_INIT, rung = WEFT_COMPLETION_INIT;
    uv_idle_t idle = {.data = &idled};
    uv_async_t async = {.data = &rung};
    weft_task *ringer;
    cr_assert_eq(uv_idle_init(weft_uv_loop(), &idle), 0);
    cr_assert_eq(uv_async_init(weft_uv_loop(), &async, on_async), 0);
    cr_assert_eq(uv_idle_start(&idle, on_idle), 0);
    cr_assert_eq(weft_completion_wait(&idled), 1);
    cr_assert_eq(weft_spawn_blocking(&ringer, ring_async, &async), 0);
    cr_assert_eq(weft_completion_wait(&rung), 2);
    cr_assert_eq(weft_join(ringer, NULL), 0);
    close_handle(&idle);
    close_handle(&async);
    return arg;
}

WF_TEST_WORKERS(bridge, idle_and_async_handles_complete) { run_pinned(workers, idle_and_async); }

static atomic_int passes;

static void on_prepare(uv_prepare_t *prepare)
{
    if (atomic_fetch_add(&passes, 1) % 3 == 2) {
        uv_prepare_stop(prepare);
        weft_completion_set(prepare->data, 3);
    }
}

/* What is woken before the loop waits is polled at once. The loop turns by itself until the callback says so: the idle handle ends
 * its waits, up to the one in which the completion is set. */
static void *wake_before_the_wait(void *arg)
{
    for (int i = 0; i < 50; i++) {
        weft_completion done = WEFT_COMPLETION_INIT;
        uv_prepare_t prepare = {.data = &done};
        uv_timer_t timer = {.data = &done};
        cr_assert_eq(uv_prepare_init(weft_uv_loop(), &prepare), 0);
        cr_assert_eq(uv_timer_init(weft_uv_loop(), &timer), 0);
        atomic_store(&passes, i % 2 ? 2 : 1);
        cr_assert_eq(uv_prepare_start(&prepare, on_prepare), 0);
        uv_timer_start(&timer, on_timer, 1, 0);
        cr_assert_neq(weft_completion_wait(&done), 0);
        close_handle(&timer);
        close_handle(&prepare);
    }
    return arg;
}

WF_TEST_WORKERS(bridge, a_wake_before_the_wait_is_not_slept_over) { run_pinned(workers, wake_before_the_wait); }

static void on_stage(uv_prepare_t *prepare)
{
    weft_completion_set(prepare->data, 3);
    uv_prepare_stop(prepare);
}

static void start_stage(uv_timer_t *timer) { uv_prepare_start(timer->data, on_stage); }

/* The timer fires within the park, with nothing else to come; a prepare callback of the next round then wakes before the wait. */
static void *wake_in_a_deep_sleep(void *arg)
{
    weft_completion done = WEFT_COMPLETION_INIT;
    uv_prepare_t prepare = {.data = &done};
    uv_timer_t timer = {.data = &prepare};
    cr_assert_eq(uv_prepare_init(weft_uv_loop(), &prepare), 0);
    cr_assert_eq(uv_timer_init(weft_uv_loop(), &timer), 0);
    cr_assert_eq(uv_timer_start(&timer, start_stage, 20, 0), 0);
    cr_assert_eq(weft_completion_wait(&done), 3);
    close_handle(&timer);
    close_handle(&prepare);
    return arg;
}

WF_TEST_WORKERS(bridge, a_wake_before_the_wait_of_a_deep_sleep) { run_pinned(workers, wake_in_a_deep_sleep); }

/* ---- a worker that is stuck -------------------------------------------------------------------------------------- */

static atomic_int foreign, fired_times;
static atomic_long home;

static void count_and_check(uv_timer_t *timer)
{
    (void)timer;
    atomic_fetch_add(&fired_times, 1);
    atomic_fetch_add(&foreign, thread_id() != atomic_load(&home));
}

static void *be_polled(void *n)
{
    for (int i = 0; i < 20; i++) {
        weft_sleep(WEFT_MS);
        atomic_fetch_add((atomic_int *)n, 1);
    }
    return NULL;
}

/* Others go on while this worker is held; its loop stands still, and its timers fire here afterwards. */
static void *hold_the_worker(void *arg)
{
    uv_timer_t timer;
    atomic_int others = 0;
    weft_task *other;
    atomic_store(&home, thread_id());
    atomic_store(&fired_times, 0);
    cr_assert_eq(uv_timer_init(weft_uv_loop(), &timer), 0);
    cr_assert_eq(uv_timer_start(&timer, count_and_check, 1, 1), 0);
    EVENTUALLY(atomic_load(&fired_times) > 3);
    cr_assert_eq(weft_spawn(&other, be_polled, &others), 0);
    if (weft_runtime_workers(NULL) > 1) {
        int before = atomic_load(&fired_times);
        SPIN_UNTIL(atomic_load(&others) == 20);
        cr_assert_eq(atomic_load(&fired_times), before, "nobody else turned it");
    }
    cr_assert_eq(weft_join(other, NULL), 0);
    int now = atomic_load(&fired_times);
    EVENTUALLY(atomic_load(&fired_times) > now + 3);
    cr_assert_eq(atomic_load(&foreign), 0);
    close_handle(&timer);
    return arg;
}

WF_TEST_WORKERS(bridge, only_its_worker_turns_a_loop_that_is_used) { run_pinned(workers, hold_the_worker); }

/* The worker's sockets go on to be served for others while it is held. */
static void *echo_once(void *stream)
{
    char byte;
    cr_assert_eq(weft_read(stream, &byte, 1), 1);
    cr_assert_eq(weft_write(stream, &byte, 1), 1);
    return NULL;
}

static void *mix_with_sockets(void *arg)
{
    uv_timer_t timer;
    weft_listener *l;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    atomic_store(&home, thread_id());
    atomic_store(&fired_times, 0);
    cr_assert_eq(uv_timer_init(weft_uv_loop(), &timer), 0);
    cr_assert_eq(uv_timer_start(&timer, count_and_check, 1, 1), 0);
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    weft_addr_format(&addr, text, sizeof text);
    for (int i = 0; i < 50; i++) {
        weft_stream *a, *b;
        weft_task *peer;
        char byte = 'x';
        cr_assert_eq(weft_tcp_connect(&a, text, NULL), 0);
        cr_assert_eq(weft_accept(&b, l), 0);
        cr_assert_eq(weft_spawn(&peer, echo_once, b), 0);
        cr_assert_eq(weft_write(a, &byte, 1), 1);
        cr_assert_eq(weft_read(a, &byte, 1), 1);
        cr_assert_eq(weft_join(peer, NULL), 0);
        weft_close(a);
        weft_close(b);
    }
    EVENTUALLY(atomic_load(&fired_times) > 3);
    cr_assert_eq(atomic_load(&foreign), 0);
    weft_listener_close(l);
    close_handle(&timer);
    return arg;
}

WF_TEST_WORKERS(bridge, sockets_of_weft_on_the_same_loop) { run_pinned(workers, mix_with_sockets); }

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static uv_timer_t left_timer;
static uv_async_t left_async;
static uv_tcp_t left_socket;

static void *leave_handles(void *arg)
{
    uv_loop_t *loop = weft_uv_loop();
    struct sockaddr_in any;
    cr_assert_eq(uv_timer_init(loop, &left_timer), 0);
    cr_assert_eq(uv_timer_start(&left_timer, count_and_check, 1, 1), 0);
    cr_assert_eq(uv_async_init(loop, &left_async, on_async), 0);
    cr_assert_eq(uv_tcp_init(loop, &left_socket), 0);
    cr_assert_eq(uv_ip4_addr("127.0.0.1", 0, &any), 0);
    cr_assert_eq(uv_tcp_bind(&left_socket, (struct sockaddr *)&any, 0), 0);
    return arg;
}

WF_TEST_WORKERS(bridge, handles_left_at_the_end_are_closed) { run_pinned(workers, leave_handles); }

/* ---- completions --------------------------------------------------------------------------------------------------- */

static void *wait_in(void *completion) { return (void *)(intptr_t)weft_completion_wait(completion); }

static weft_task *start_waiting(weft_completion *c)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, wait_in, c), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    return task;
}

static void *use_completions(void *arg)
{
    weft_completion c = WEFT_COMPLETION_INIT;
    void *result;
    cr_assert_eq(weft_completion_wait(NULL), WEFT_EINVAL);
    weft_completion_set(&c, 5);
    weft_completion_set(&c, 6);
    cr_assert_eq(weft_completion_wait(&c), 5, "the first counts, also before the wait");
    weft_completion_init(&c);

    weft_task *first = start_waiting(&c);
    cr_assert_eq(weft_completion_wait(&c), WEFT_EBUSY);
    weft_completion_set(&c, -9);
    cr_assert_eq(weft_join(first, &result), 0);
    cr_assert_eq((intptr_t)result, -9);

    weft_completion_init(&c);
    first = start_waiting(&c);
    weft_abort(first);
    cr_assert_eq(weft_join(first, NULL), WEFT_EABORTED);
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, WEFT_MS), 0);
    cr_assert_eq(weft_completion_wait(&c), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    weft_completion_set(&c, 8);
    cr_assert_eq(weft_completion_wait(&c), 8, "an interrupted wait has taken nothing");
    return arg;
}

WF_TEST_WORKERS(bridge, a_completion_is_set_once_and_waited_for_by_one) { run(workers, use_completions, NULL); }

static void *set_later(void *completion)
{
    weft_sleep(WEFT_MS);
    weft_completion_set(completion, 11);
    return NULL;
}

static void *select_completions(void *arg)
{
    weft_completion never = WEFT_COMPLETION_INIT, c = WEFT_COMPLETION_INIT;
    weft_case cases[] = {WEFT_COMPLETION(&never), WEFT_COMPLETION(&c), WEFT_AFTER(WEFT_MS / 4)};
    weft_task *setter;
    cr_assert_eq(weft_select(cases, 3), 2, "neither is set");
    cr_assert_eq(weft_spawn(&setter, set_later, &c), 0);
    cr_assert_eq(weft_select(cases, 2), 1);
    cr_assert_eq(cases[1].status, 11);
    cr_assert_eq(weft_join(setter, NULL), 0);
    weft_completion_set(&never, 12);
    cr_assert_eq(weft_completion_wait(&never), 12, "a case that was left waits no more");

    weft_completion_init(&c);
    weft_task *holder = start_waiting(&c);
    weft_case busy = WEFT_COMPLETION(&c);
    cr_assert_eq(weft_select(&busy, 1), 0);
    cr_assert_eq(busy.status, WEFT_EBUSY);
    weft_completion_set(&c, 1);
    cr_assert_eq(weft_join(holder, NULL), 0);
    return arg;
}

WF_TEST_WORKERS(bridge, completions_in_a_select) { run(workers, select_completions, NULL); }

static void *set_on_thread(void *completion)
{
    weft_completion_set(completion, 1);
    return NULL;
}

/* The waiter's memory goes the moment it is told. */
static void *race_completions(void *arg)
{
    for (size_t i = 0; i < wf_test_scale(300); i++) {
        weft_completion *c = calloc(1, sizeof *c);
        weft_task *setter;
        weft_spawn_options options = {.blocking = i % 2};
        cr_assert_eq(weft_spawn_with(&setter, &options, set_on_thread, c), 0);
        cr_assert_eq(weft_completion_wait(c), 1);
        free(c);
        cr_assert_eq(weft_join(setter, NULL), 0);
    }
    return arg;
}

WF_TEST_WORKERS(bridge, a_completion_may_be_gone_when_it_was_set) { run(workers, race_completions, NULL); }

Test(bridge, an_ordinary_thread_waits_for_a_completion)
{
    weft_options options = {.workers = 2};
    weft_completion c = WEFT_COMPLETION_INIT;
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_spawn_on(rt, NULL, set_later, &c), 0);
    cr_assert_eq(weft_completion_wait(&c), 11);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}
