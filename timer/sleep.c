/* sleep.c - waiting for the clock and nothing else. */
#include <base/waits.h>
#include <weft/time.h>

static ssize_t sleep_poll(void *op, weft_context *cx)
{
    int64_t when = *(int64_t *)op;
    if (weft_now() >= when)
        return 0;
    wf_exec_waits_until(cx->exec, when);
    return WEFT_PENDING;
}

/* Given up because its own deadline has come: then it is over, not late. */
static ssize_t sleep_cancel(void *op) { return weft_now() >= *(int64_t *)op ? 0 : WEFT_PENDING; }

static const wf_op_ops sleep_ops = {.poll = sleep_poll, .cancel = sleep_cancel};

int weft_sleep_until(int64_t when)
{
    if (when <= weft_now())
        return weft_yield();
    return (int)wf_await_inline(&sleep_ops, &when, when);
}

int weft_sleep(int64_t ns) { return ns <= 0 ? weft_yield() : weft_sleep_until(wf_add_saturating(weft_now(), ns)); }
