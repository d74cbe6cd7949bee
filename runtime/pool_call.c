/* pool_call.c - one call on a thread of the pool, awaited.
 *
 * The record lies on the caller's stack. So the caller stays until the pool is done with it: interrupted while the call is queued it
 * takes it back; once that is too late, it waits for the end whatever happens. */
#include <base/waits.h>
#include <runtime/pool.h>
#include <runtime/runtime.h>

typedef struct pool_call {
    wf_job job;
    weft_runtime *rt;
    wf_lane lane;
    ssize_t (*call)(void *arg);
    void *arg;
    ssize_t result;
    weft_waker waker; /* the caller's, once submitted. It is the job's to wake, and again the caller's if that is taken back */
    bool submitted; /* the caller's */
    wf_a8 ended;
} pool_call;

/* The record may be gone as soon as it has ended. */
static void run(wf_job *job)
{
    pool_call *c = wf_container(job, pool_call, job);
    c->result = c->call(c->arg);
    weft_waker waker = c->waker;
    wf_store_rel(&c->ended, 1); /* [CALL] release: the result, and all that the call did */
    weft_waker_wake(&waker);
}

static int submit(pool_call *c, weft_context *cx)
{
    int err = wf_context_clone_waker(cx, &c->waker);
    if (err < 0)
        return err;
    err = wf_pool_submit(c->rt, c->lane, &c->job);
    if (err < 0)
        weft_waker_drop(&c->waker);
    c->submitted = err == 0;
    return err < 0 ? err : WEFT_PENDING;
}

static ssize_t poll(void *arg, weft_context *cx)
{
    pool_call *c = arg;
    wf_exec_waits(cx->exec, WF_WAIT_BLOCKING, 0);
    if (!c->submitted)
        return submit(c, cx);
    return wf_load_acq(&c->ended) ? 0 : WEFT_PENDING; /* [CALL] acquire */
}

static const wf_op_ops until_ended = {.poll = poll};

static ssize_t cancel(void *arg)
{
    pool_call *c = arg;
    if (!wf_pool_retract(c->rt, c->lane, &c->job))
        return wf_await_shielded(&until_ended, c);
    weft_waker_drop(&c->waker);
    return WEFT_PENDING;
}

static const wf_op_ops ops = {.poll = poll, .cancel = cancel};

ssize_t wf_pool_call(wf_lane lane, ssize_t (*call)(void *arg), void *arg)
{
    wf_exec *exec;
    int err = wf_await_entry(&exec);
    if (err < 0)
        return err;
    if (!exec->worker)
        return call(arg);
    pool_call c = {.job.run = run, .rt = exec->rt, .lane = lane, .call = call, .arg = arg};
    wf_node_init(&c.job.node);
    ssize_t interrupted = wf_await(&ops, &c, WEFT_FOREVER);
    return interrupted < 0 ? interrupted : c.result;
}
