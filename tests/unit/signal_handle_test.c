/* signal_handle_test.c - a handle that is polled, as select does it; and loops of others that watch the same signal. */
#include <signal.h>
#include <support/signal_support.h>
#include <support/task_support.h>
#include <support/test.h>
#include <system/signals.h>
#include <uv.h>

/* ---- polling --------------------------------------------------------------------------------------------------- */

typedef struct poller {
    weft_future base;
    weft_signal *s;
    int polls, last;
    bool forget;
} poller;

static weft_poll poll_once(weft_future *f, weft_context *cx, void **result)
{
    poller *p = WEFT_CONTAINER_OF(f, poller, base);
    (void)result;
    p->polls++;
    p->last = wf_signal_poll(p->s, cx);
    if (p->last == WEFT_PENDING && p->forget)
        wf_signal_forget(p->s);
    return p->last == WEFT_PENDING && !p->forget ? WEFT_PENDING : WEFT_READY;
}

static void drop_poller(weft_future *f) { (void)f; }

static const weft_future_ops poller_ops = {poll_once, drop_poller};

static weft_task *spawn_poller(poller *p)
{
    weft_task *task;
    p->base.ops = &poller_ops;
    cr_assert_eq(weft_spawn_future(&task, &p->base), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE || weft_is_finished(task));
    return task;
}

static void *poll_and_forget(void *arg)
{
    poller waits = {.s = watch(SIGUSR1)}, leaves = {.s = waits.s, .forget = true}, late = waits;
    (void)arg;
    cr_assert_eq(weft_join(spawn_poller(&leaves), NULL), 0);
    cr_assert_eq(leaves.last, WEFT_PENDING);
    weft_task *task = spawn_poller(&waits);
    cr_assert_eq(waits.last, WEFT_PENDING, "who forgot it left it free");
    cr_assert_eq(weft_join(spawn_poller(&late), NULL), 0);
    cr_assert_eq(late.last, WEFT_EBUSY);
    cr_assert_eq(weft_signal_next(waits.s), WEFT_EBUSY);
    send_signal(SIGUSR1);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(waits.last, 1);
    cr_assert_eq(waits.polls, 2);
    expect_none(waits.s);
    weft_signal_close(waits.s);
    return NULL;
}

WF_TEST_WORKERS(signal_handle, polled_busy_forgotten) { run(workers, poll_and_forget, NULL); }

/* ---- somebody else's loop -------------------------------------------------------------------------------------- */

typedef struct foreign {
    uv_loop_t loop;
    uv_signal_t signal;
    int seen;
} foreign;

static void count_seen(uv_signal_t *signal, int number)
{
    (void)number;
    ((foreign *)signal->data)->seen++;
}

static void foreign_start(foreign *f)
{
    f->signal.data = f;
    cr_assert_eq(uv_signal_start(&f->signal, count_seen, SIGUSR1), 0);
}

static void foreign_sees_next(foreign *f)
{
    int before = f->seen;
    send_signal(SIGUSR1);
    while (f->seen == before)
        uv_run(&f->loop, UV_RUN_ONCE);
    cr_assert_eq(f->seen, before + 1);
}

static void *open_it(void *arg)
{
    *(weft_signal **)arg = watch(SIGUSR1);
    return NULL;
}

static void *next_of(void *s) { return (void *)(intptr_t)weft_signal_next(s); }

static void weft_has_seen(weft_runtime *rt, weft_signal *s, int count)
{
    void *result;
    cr_assert_eq(weft_block_on(rt, next_of, s, &result), 0);
    cr_assert_eq((intptr_t)result, count);
}

Test(signal_handle, loops_of_others_may_watch_the_same_signal)
{
    weft_options options = {.workers = 2};
    foreign f = {.seen = 0};
    weft_runtime *rt;
    weft_signal *s;
    cr_assert_eq(uv_loop_init(&f.loop), 0);
    cr_assert_eq(uv_signal_init(&f.loop, &f.signal), 0);
    for (int i = 0; i < 4; i++) { /* who begins, and who ends, in all four ways */
        bool foreign_begins = i & 1, foreign_ends = i & 2;
        cr_assert_eq(weft_runtime_create(&rt, &options), 0);
        if (foreign_begins)
            foreign_start(&f);
        cr_assert_eq(weft_block_on(rt, open_it, &s, NULL), 0);
        if (!foreign_begins)
            foreign_start(&f);
        foreign_sees_next(&f);
        weft_has_seen(rt, s, 1);
        if (foreign_ends) {
            uv_signal_stop(&f.signal);
            send_signal(SIGUSR1);
            weft_has_seen(rt, s, 1);
        }
        weft_signal_close(s);
        cr_assert_eq(weft_runtime_destroy(rt), 0);
        if (!foreign_ends) {
            foreign_sees_next(&f);
            uv_signal_stop(&f.signal);
        }
        cr_assert(is_default(SIGUSR1), "way %d", i);
    }
    uv_close((uv_handle_t *)&f.signal, NULL);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&f.loop), 0);
}
