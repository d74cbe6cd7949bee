/* cases.c - the cases that need nothing but the clock, a channel, or a future. Others are with what they wait for. */
#include <base/case.h>
#include <base/exec.h>
#include <sync/chan.h>
#include <timer/interval.h>
#include <weft/time.h>

/* ---- channels ------------------------------------------------------------------------------------------------ */

WF_CASE_FITS(wf_chan_op);

static ssize_t poll_chan(weft_case *c, weft_context *cx, bool sends)
{
    wf_chan_op *op = WF_CASE_STATE(c, wf_chan_op);
    if (!c->value_)
        return WEFT_EINVAL;
    if (!op->ch) {
        wf_chan_op_init(op, c->object_, sends, c->value_);
        op->node.select = c->select_;
        op->node.index = c->index_;
        wf_chan_begin(op);
    }
    ssize_t result = wf_chan_poll(op, cx);
    if (result != WEFT_PENDING)
        wf_chan_end(op, result);
    return result;
}

static ssize_t poll_recv(weft_case *c, weft_context *cx) { return poll_chan(c, cx, false); }
static ssize_t poll_send(weft_case *c, weft_context *cx) { return poll_chan(c, cx, true); }

/* Served: then it was decided, and this is where its status becomes the case's. */
static void leave_chan(weft_case *c)
{
    wf_chan_op *op = WF_CASE_STATE(c, wf_chan_op);
    wf_chan_end(op, wf_chan_cancel(op));
    if (wf_load_rlx(&op->node.done))
        c->status = op->node.status;
}

static void undo_chan(weft_case *c) { wf_chan_undo(WF_CASE_STATE(c, wf_chan_op)); }

const struct weft_case_ops weft_case_recv_ = {.poll = poll_recv, .leave = leave_chan, .undo = undo_chan};
const struct weft_case_ops weft_case_send_ = {.poll = poll_send, .leave = leave_chan};

const struct weft_case_ops weft_case_oneshot_ = {.poll = poll_recv, .leave = leave_chan, .undo = undo_chan}; /* see oneshot.c */

/* ---- the clock ----------------------------------------------------------------------------------------------- */

WF_CASE_FITS(weft_timer);

/* The first poll says for when. */
static ssize_t poll_timer(weft_case *c, weft_context *cx, int64_t when)
{
    weft_timer *timer = WF_CASE_STATE(c, weft_timer);
    if (!timer->fire_) {
        weft_timer_init(timer, when);
        if (when <= weft_now())
            return 0;
    }
    return weft_timer_poll(cx, timer);
}

static ssize_t poll_at(weft_case *c, weft_context *cx) { return poll_timer(c, cx, c->when_); }

static ssize_t poll_after(weft_case *c, weft_context *cx)
{
    bool begun = WF_CASE_STATE(c, weft_timer)->fire_;
    return poll_timer(c, cx, begun ? 0 : wf_add_saturating(weft_now(), c->when_));
}

static void leave_timer(weft_case *c)
{
    if (WF_CASE_STATE(c, weft_timer)->fire_)
        weft_timer_drop(WF_CASE_STATE(c, weft_timer));
}

const struct weft_case_ops weft_case_after_ = {.poll = poll_after, .leave = leave_timer};
const struct weft_case_ops weft_case_at_ = {.poll = poll_at, .leave = leave_timer};

static ssize_t poll_tick(weft_case *c, weft_context *cx)
{
    weft_interval *iv = c->object_;
    int64_t due = wf_interval_due(iv);
    ssize_t err = poll_timer(c, cx, due);
    if (err == 0)
        wf_interval_take(iv, due, weft_now());
    return err;
}

const struct weft_case_ops weft_case_tick_ = {.poll = poll_tick, .leave = leave_timer};

/* ---- futures ------------------------------------------------------------------------------------------------- */

static ssize_t poll_future(weft_case *c, weft_context *cx)
{
    weft_future *f = c->object_;
    void *unwanted;
    return f->ops->poll(f, cx, c->value_ ? c->value_ : &unwanted);
}

static void leave_nothing(weft_case *c) { (void)c; }

const struct weft_case_ops weft_case_future_ = {.poll = poll_future, .leave = leave_nothing};
