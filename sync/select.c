/* select.c - wait for the first of several cases: see case.h for how one is decided.
 *
 * A round polls every case, from a place chosen by chance, until one is ready. When none is, the select opens; if something was missed while it
 * was closed, another round follows at once. However it ends, every case that was polled is left before it returns. */
#include <base/case.h>
#include <base/exec.h>
#include <base/random.h>
#include <base/rng.h>
#include <base/waits.h>
#include <sched.h>

typedef struct select_op {
    wf_select_word word;
    weft_case *cases;
    int n;
    int first;    /* where a round begins */
    int polled;   /* the first round has got so far: all of these are to be left */
    int fallback; /* the default's index, or -1 */
} select_op;

static weft_case *nth(select_op *op, int i)
{
    return &op->cases[op->first + i < op->n ? op->first + i : op->first + i - op->n];
}

static bool can_fire(const weft_case *c) { return c->object_ && c->ops_->poll; }

/* ---- one round ----------------------------------------------------------------------------------------------- */

/* The index of the case that is ready, WEFT_PENDING, or what polling failed with. */
static ssize_t poll_cases(select_op *op, weft_context *cx)
{
    for (int i = 0; i < op->n; i++) {
        weft_case *c = nth(op, i);
        op->polled = op->polled > i ? op->polled : i + 1;
        if (!can_fire(c))
            continue;
        ssize_t status = c->ops_->poll(c, cx);
        if (status == WEFT_PENDING)
            continue;
        c->status = (int)status;
        return c - op->cases;
    }
    return WEFT_PENDING;
}

/* Two selects that look at each other at the same time both miss something: one of them lets the other go first. */
static bool open_word(select_op *op, unsigned tries)
{
    uint32_t closed = WF_SELECT_CLOSED;
    if (wf_cas_strong_seq(&op->word.v, &closed, WF_SELECT_OPEN))
        return true;
    wf_store_rlx(&op->word.v, WF_SELECT_CLOSED);
    if (tries % 4 == 3)
        sched_yield();
    return false;
}

static ssize_t rounds(select_op *op, weft_context *cx)
{
    for (unsigned tries = 0;; tries++) {
        ssize_t ready = poll_cases(op, cx);
        if (ready != WEFT_PENDING || op->fallback >= 0)
            return ready != WEFT_PENDING ? ready : op->fallback;
        if (open_word(op, tries))
            return WEFT_PENDING;
    }
}

/* Nobody may decide it from now on; or somebody has: then the case's index. */
static int close_word(select_op *op)
{
    uint32_t word = WF_SELECT_OPEN;
    if (wf_cas_strong_seq(&op->word.v, &word, WF_SELECT_CLOSED) || word < WF_SELECT_DECIDED)
        return -1;
    return (int)(word - WF_SELECT_DECIDED);
}

static void leave_all(select_op *op)
{
    for (int i = 0; i < op->polled; i++)
        if (can_fire(nth(op, i)))
            nth(op, i)->ops_->leave(nth(op, i));
}

/* The one who decided it may not have finished with the case yet; its leave waits for that, at the lock of what it waited for. */
static ssize_t select_poll(void *arg, weft_context *cx)
{
    select_op *op = arg;
    ssize_t ready = close_word(op);
    if (ready < 0)
        ready = rounds(op, cx);
    if (ready != WEFT_PENDING)
        leave_all(op);
    else
        wf_exec_waits(cx->exec, WF_WAIT_SELECT, (unsigned)op->n);
    return ready;
}

static ssize_t select_cancel(void *arg)
{
    select_op *op = arg;
    int decided = close_word(op);
    leave_all(op);
    return decided >= 0 ? decided : WEFT_PENDING;
}

static const wf_op_ops select_ops = {.poll = select_poll, .cancel = select_cancel};

/* ---- beginning ----------------------------------------------------------------------------------------------- */

static int prepare(select_op *op)
{
    op->fallback = -1;
    if (op->n < 0 || (op->n > 0 && !op->cases))
        return WEFT_EINVAL;
    for (int i = 0; i < op->n; i++) {
        weft_case *c = &op->cases[i];
        if (!c->ops_)
            return WEFT_EINVAL;
        c->status = 0;
        c->index_ = (unsigned)i;
        c->select_ = &op->word;
        for (unsigned k = 0; k < sizeof c->state_ / sizeof *c->state_; k++)
            c->state_[k] = 0;
        if (c->ops_ == &weft_case_default_)
            op->fallback = i;
    }
    return 0;
}

/* Chance need not be good here, only cheap, and unlike its neighbours'. */
WF_NOINLINE static int by_chance(int n)
{
    static _Thread_local wf_rng rng;
    const wf_exec *exec = wf_exec_peek();
    if (n < 2)
        return 0;
    if (exec && exec->chance)
        return (int)wf_rng_below(exec->chance, (uint32_t)n);
    if (rng.s == 0)
        wf_rng_seed(&rng, wf_random());
    return (int)wf_rng_below(&rng, (uint32_t)n);
}

static int await_first(weft_case *cases, int n, int first)
{
    select_op op = {.cases = cases, .n = n, .first = first};
    int err = prepare(&op);
    return err < 0 ? err : (int)wf_await_inline(&select_ops, &op, WEFT_FOREVER);
}

int weft_select(weft_case *cases, int n) { return await_first(cases, n, by_chance(n)); }

int weft_select_biased(weft_case *cases, int n) { return await_first(cases, n, 0); }

/* ---- for stackless tasks ------------------------------------------------------------------------------------- */

WF_OP_FITS(select_op);

/* Decided by another a moment ago: nobody will look at that. */
static void leave_op(weft_op *op)
{
    select_op *own = WF_OP_STATE(op, select_op);
    ssize_t decided = select_cancel(own);
    if (decided >= 0 && own->cases[decided].ops_->undo)
        own->cases[decided].ops_->undo(&own->cases[decided]);
}

static const struct weft_op_ops select_op_ops = {.leave = leave_op};

weft_poll weft_poll_select(weft_context *cx, weft_op *op, weft_case *cases, int n)
{
    if (!cx || !op)
        return WEFT_EINVAL;
    select_op *own = WF_OP_STATE(op, select_op);
    if (!op->ops_) {
        *own = (select_op){.cases = cases, .n = n, .first = by_chance(n)};
        int err = prepare(own);
        if (err < 0)
            return err;
        op->ops_ = &select_op_ops;
    }
    int index = (int)select_poll(own, cx);
    if (index != WEFT_PENDING)
        op->ops_ = NULL;
    return index;
}

const struct weft_case_ops weft_case_default_ = {.poll = NULL};
