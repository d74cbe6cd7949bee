/* paths_wake.c - an atomic waker wakes a task that waits: it is queued, polled, and registers again. The waker's yield is in it. */
#include "paths.h"

/* Waits @left times for something that is @here. */
struct sleeper {
    weft_future future;
    weft_atomic_waker waker;
    int here;
    long left;
};

static void wake(struct sleeper *s)
{
    s->here = 1;
    weft_atomic_waker_wake(&s->waker);
    BENCH_CHECK(weft_yield() == 0);
    BENCH_CHECK(s->here == 0);
}

/* It registers before the first wake. */
static void wake_often(struct sleeper *s, weft_task *task)
{
    BENCH_CHECK(weft_yield() == 0);
    while (s->left > 0)
        wake(s);
    bench_join(task);
}

static weft_poll take(struct sleeper *s)
{
    int here = s->here;
    s->here = 0;
    return here ? WEFT_READY : WEFT_PENDING;
}

/* The cell is empty when it is ready, for the wake has emptied it. */
static weft_poll wait_once(struct sleeper *s, weft_context *cx)
{
    if (take(s) == WEFT_READY)
        return WEFT_READY;
    BENCH_CHECK(weft_atomic_waker_register(&s->waker, weft_context_waker(cx)) == 0);
    return take(s);
}

/* ---- a strand ------------------------------------------------------------------------------------------------------ */

static weft_poll poll_once(weft_future *self, weft_context *cx, void **result)
{
    (void)result;
    return wait_once(WEFT_CONTAINER_OF(self, struct sleeper, future), cx);
}

static const weft_future_ops once_ops = {.poll = poll_once};

static void *sleep_often(void *arg)
{
    struct sleeper *s = arg;
    for (; s->left > 0; s->left--)
        BENCH_CHECK(weft_await(&s->future, NULL) == 0);
    return NULL;
}

void *path_wake_strand(void *arg)
{
    struct sleeper s = {.future.ops = &once_ops, .left = paths_count(arg)};
    weft_atomic_waker_init(&s.waker);
    wake_often(&s, bench_spawn(sleep_often, &s));
    return NULL;
}

/* ---- a stackless task ---------------------------------------------------------------------------------------------- */

static weft_poll poll_often(weft_future *self, weft_context *cx, void **result)
{
    struct sleeper *s = WEFT_CONTAINER_OF(self, struct sleeper, future);
    (void)result;
    for (; s->left > 0; s->left--)
        if (wait_once(s, cx) == WEFT_PENDING)
            return WEFT_PENDING;
    return WEFT_READY;
}

static const weft_future_ops often_ops = {.poll = poll_often};

void *path_wake_stackless(void *arg)
{
    struct sleeper s = {.future.ops = &often_ops, .left = paths_count(arg)};
    weft_task *task;
    weft_atomic_waker_init(&s.waker);
    BENCH_CHECK(weft_spawn_future(&task, &s.future) == 0);
    wake_often(&s, task);
    return NULL;
}
