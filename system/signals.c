/* signals.c - signals as handles that count arrivals, and the shutdown signal. Who takes them is watcher.c. */
#include <base/alloc.h>
#include <base/case.h>
#include <base/waits.h>
#include <runtime/runtime.h>
#include <signal.h>
#include <system/disposition.h>
#include <system/signals.h>
#include <system/watcher.h>

struct weft_signal {
    wf_signal_waiter waiter;
    weft_runtime *rt;
    int number;       /* that it watches */
    weft_waker asker; /* under lock: who waits for the next arrival; to compare only, it is not owned */
};

static int await_runtime(wf_watchers **all, weft_runtime **rt)
{
    wf_exec *exec;
    int err = wf_await_entry(&exec);
    if (err < 0)
        return err;
    if (!exec->rt)
        return WEFT_ENORUNTIME;
    *rt = exec->rt;
    *all = wf_watchers_of(exec->rt, &err);
    return *all ? 0 : err;
}

/* ---- handles ------------------------------------------------------------------------------------------------- */

static void free_handle(weft_signal *s) { wf_free(&s->rt->options.allocator, s); }

static void orphaned(wf_signal_waiter *waiter)
{
    wf_watch_forget(waiter);
    free_handle(wf_container(waiter, weft_signal, waiter));
}

static weft_signal *new_handle(weft_runtime *rt, int number)
{
    weft_signal *s = wf_alloc(&rt->options.allocator, sizeof *s);
    if (!s)
        return NULL;
    s->rt = rt;
    s->number = number;
    s->waiter.orphaned = orphaned;
    wf_node_init(&s->waiter.node);
    return s;
}

static void waits(int number, const weft_context *cx) { wf_exec_waits(cx->exec, WF_WAIT_SIGNAL, (unsigned)number); }

static ssize_t settled_poll(void *op, weft_context *cx)
{
    wf_signal_waiter *waiter = op;
    waits(wf_container(waiter, weft_signal, waiter)->number, cx);
    int err = weft_atomic_waker_register(&waiter->waker, weft_context_waker(cx));
    if (err < 0)
        return err;
    wf_watch_lock(waiter);
    ssize_t result = waiter->settled ? waiter->error : WEFT_PENDING;
    wf_watch_unlock(waiter);
    return result;
}

static const wf_op_ops settled_ops = {.poll = settled_poll};

/* The thread is none of the workers, so a paused clock would not know that something is being done. */
static int await_watch(weft_signal *s, wf_watchers *all)
{
    wf_paused_clock_hold(s->rt);
    wf_watch_join(all, &s->waiter, s->number);
    int err = (int)wf_await(&settled_ops, &s->waiter, WEFT_FOREVER);
    wf_paused_clock_release(s->rt);
    if (err < 0)
        wf_watch_leave(&s->waiter, false);
    else
        wf_watch_forget(&s->waiter);
    return err;
}

int weft_signal_open(weft_signal **out, int number)
{
    wf_watchers *all;
    weft_runtime *rt;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (!wf_disposition_can_watch(number))
        return WEFT_EINVAL;
    int err = await_runtime(&all, &rt);
    if (err < 0)
        return err;
    weft_signal *s = new_handle(rt, number);
    if (!s)
        return WEFT_ENOMEM;
    err = await_watch(s, all);
    if (err < 0) {
        free_handle(s);
        return err;
    }
    *out = s;
    return 0;
}

/* The dead copy of a runtime in a forked child keeps its handles: who knows what its lock says. */
void weft_signal_close(weft_signal *s)
{
    if (!s || wf_runtime_phase(s->rt) == WF_FORKED)
        return;
    wf_watch_leave(&s->waiter, false);
    free_handle(s);
}

/* ---- arrivals ------------------------------------------------------------------------------------------------ */

/* It is nobody's now. The waker is moved out in the same section, as the next one's could be there right afterwards. */
static weft_waker disown_locked(weft_signal *s)
{
    weft_waker left;
    s->asker = (weft_waker){NULL, NULL};
    weft_atomic_waker_take(&s->waiter.waker, &left);
    return left;
}

/* Take what has come. Otherwise the handle is @asker's, who is known by his waker: a task may be polled anywhere. With @had it is the caller's already,
 * whatever the waker. */
static int ask(weft_signal *s, const weft_waker *asker, bool had)
{
    weft_waker left = {NULL, NULL};
    int result = WEFT_EBUSY;
    wf_watch_lock(&s->waiter);
    if (had || !s->asker.ops || weft_waker_will_wake(&s->asker, asker)) {
        result = s->waiter.count > 0 ? s->waiter.count : WEFT_PENDING;
        s->waiter.count = 0;
        s->asker = *asker;
        if (result != WEFT_PENDING)
            left = disown_locked(s);
    }
    wf_watch_unlock(&s->waiter);
    weft_waker_drop(&left);
    return result;
}

static int poll_signal(weft_signal *s, weft_context *cx, bool had)
{
    const weft_waker *asker = weft_context_waker(cx);
    int result = ask(s, asker, had);
    if (result != WEFT_PENDING)
        return result;
    waits(s->number, cx);
    int err = weft_atomic_waker_register(&s->waiter.waker, asker);
    if (err == 0)
        return ask(s, asker, false); /* it may have come before the waker was there */
    wf_signal_forget(s);
    return err;
}

int wf_signal_poll(weft_signal *s, weft_context *cx) { return poll_signal(s, cx, false); }

void wf_signal_forget(weft_signal *s)
{
    wf_watch_lock(&s->waiter);
    weft_waker left = disown_locked(s);
    wf_watch_unlock(&s->waiter);
    weft_waker_drop(&left);
}

static ssize_t next_poll(void *s, weft_context *cx) { return wf_signal_poll(s, cx); }

static ssize_t next_cancel(void *s)
{
    wf_signal_forget(s);
    return WEFT_PENDING;
}

static const wf_op_ops next_ops = {.poll = next_poll, .cancel = next_cancel};

int weft_signal_next(weft_signal *s) { return s ? (int)wf_await(&next_ops, s, WEFT_FOREVER) : WEFT_EINVAL; }

/* In its state: whether the handle belongs to the select, by whichever task that is polled. */
static ssize_t poll_case(weft_case *c, weft_context *cx)
{
    int count = poll_signal(c->object_, cx, c->state_[0]);
    c->state_[0] = count == WEFT_PENDING;
    return count;
}

static void leave_case(weft_case *c)
{
    if (c->state_[0])
        wf_signal_forget(c->object_);
}

const struct weft_case_ops weft_case_signal_ = {.poll = poll_case, .leave = leave_case};

/* ---- the shutdown signal ------------------------------------------------------------------------------------- */

static const int numbers[2] = {SIGINT, SIGTERM};

/* Why it cannot be watched, or a count. */
static int look(wf_signal_waiter *waiter)
{
    wf_watch_lock(waiter);
    int found = waiter->error < 0 ? waiter->error : waiter->count;
    wf_watch_unlock(waiter);
    return found;
}

static ssize_t either_poll(void *arg, weft_context *cx)
{
    wf_signal_waiter *waiters = arg;
    for (int i = 0; i < 2; i++) {
        int err = weft_atomic_waker_register(&waiters[i].waker, weft_context_waker(cx));
        int found = err < 0 ? err : look(&waiters[i]);
        if (found != 0)
            return found < 0 ? found : numbers[i];
        waits(numbers[i], cx);
    }
    return WEFT_PENDING;
}

static const wf_op_ops either_ops = {.poll = either_poll};

int weft_shutdown_signal(void)
{
    wf_watchers *all;
    weft_runtime *rt;
    int err = await_runtime(&all, &rt);
    if (err < 0)
        return err;
    wf_signal_waiter waiters[2] = {{.twin = &waiters[1]}, {.twin = &waiters[0]}};
    for (int i = 0; i < 2; i++)
        wf_node_init(&waiters[i].node);
    for (int i = 0; i < 2; i++)
        wf_watch_join(all, &waiters[i], numbers[i]);
    int number = (int)wf_await(&either_ops, waiters, WEFT_FOREVER);
    for (int i = 0; i < 2; i++)
        wf_watch_leave(&waiters[i], true);
    return number;
}
