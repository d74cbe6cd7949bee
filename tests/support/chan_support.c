/* chan_support.c - see chan_support.h. */
#include "chan_support.h"

void run_paused(unsigned workers, weft_fn root, void *arg)
{
    weft_options options = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, root, arg, NULL), 0);
}

void settle(void) { cr_assert_eq(weft_sleep(WEFT_MS), 0); }

weft_task *spawn_settled(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    settle();
    return task;
}

void *call_send(void *arg)
{
    chan_call *call = arg;
    call->status = CALL_WAITS;
    call->status = weft_chan_send(call->ch, &call->item);
    return arg;
}

void *call_recv(void *arg)
{
    chan_call *call = arg;
    uint64_t item;
    call->status = CALL_WAITS;
    call->status = weft_chan_recv(call->ch, &item);
    if (call->status == 0)
        call->item = item;
    return arg;
}

weft_chan *new_chan(size_t capacity)
{
    weft_chan *ch;
    cr_assert_eq(weft_chan_create(&ch, sizeof(uint64_t), capacity), 0);
    return ch;
}

static weft_poll poll_chan_future(weft_future *self, weft_context *cx, void **result)
{
    chan_future *f = WEFT_CONTAINER_OF(self, chan_future, future);
    f->polls++;
    weft_poll status =
        f->sends ? weft_poll_chan_send(cx, &f->op, f->ch, &f->item) : weft_poll_chan_recv(cx, &f->op, f->ch, &f->item);
    if (status != WEFT_PENDING) {
        f->status = status;
        *result = f;
    }
    return status;
}

static void drop_chan_future(weft_future *self)
{
    chan_future *f = WEFT_CONTAINER_OF(self, chan_future, future);
    weft_op_drop(&f->op);
    f->drops++;
}

static const weft_future_ops chan_future_ops = {poll_chan_future, drop_chan_future};

void chan_future_init(chan_future *f, weft_chan *ch, bool sends, uint64_t item)
{
    *f = (chan_future){.future.ops = &chan_future_ops, .ch = ch, .sends = sends, .item = item, .status = CALL_WAITS};
}

uint64_t test_seed(void)
{
    const char *given = getenv("WF_TEST_SEED");
    uint64_t state = given ? 0 : (uint64_t)weft_now() ^ (uintptr_t)&state;
    return given ? strtoull(given, NULL, 0) : test_random(&state);
}
