/* self.c - what a task says about and to itself: yield, name, shield, deferred calls, panic. */
#include <base/scope.h>
#include <runtime/runtime.h>
#include <runtime/strand.h>
#include <stdio.h>
#include <stdlib.h>

/* The calling execution, if user code in it is running as a task or coroutine; NULL in callbacks and on bare threads. */
static wf_exec *user_code(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec && exec->callbacks == 0 ? exec : NULL;
}

int weft_yield(void)
{
    wf_exec *exec;
    int err = wf_await_entry(&exec);
    return err < 0 ? err : exec->ops->yield(exec);
}

uint64_t weft_self_id(void)
{
    wf_exec *exec = user_code();
    return exec && exec->task ? exec->task->id.v : 0;
}

int weft_set_name(const char *fmt, ...)
{
    wf_exec *exec = user_code();
    if (!exec || !exec->task || !fmt)
        return WEFT_EINVAL;
    char name[sizeof exec->task->extra->name];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    return wf_task_set_label(exec->task, name);
}

int weft_is_cancelled(void)
{
    wf_exec *exec = user_code();
    if (!exec)
        return 0;
    if (!exec->ops->suspend)
        return exec->task && (wf_load_rlx(&exec->task->state) & WF_S_ABORT) != 0;
    if (exec->ops->mark && wf_scopes_entered(exec->body))
        exec->ops->mark(exec); /* who never waits has nobody to look at its deadlines */
    return wf_meet(exec, exec->ops->interruption(exec)) < 0 || (exec->ops->aborted && exec->ops->aborted(exec));
}

/* The body that runs, if it is one that can hold deferred calls: one that ends with its function. */
static wf_body *own_body(void)
{
    wf_exec *exec = user_code();
    return exec && exec->body && (exec->body->stack || exec->body->ends) ? exec->body : NULL;
}

/* The body that runs, if it is one that can be interrupted, and so be shielded. */
static wf_body *shieldable(void)
{
    wf_exec *exec = wf_exec_current();
    return exec && exec->callbacks == 0 && (exec->ops->suspend || exec->body->stack) ? exec->body : NULL;
}

/* ---- shields ------------------------------------------------------------------------------------------------- */

int weft_shield_enter(void)
{
    wf_body *body = shieldable();
    if (!body)
        return WEFT_EINVAL;
    body->shields++;
    return 0;
}

int weft_shield_leave(void)
{
    wf_body *body = shieldable();
    if (!body || body->shields == 0)
        return WEFT_EINVAL;
    body->shields--;
    wf_scopes_unshield(body);
    return 0;
}

/* ---- deferred calls ------------------------------------------------------------------------------------------ */

struct wf_defer {
    void (*fn)(void *arg);
    void *arg;
    struct wf_defer *next;
};

int weft_defer(void (*fn)(void *arg), void *arg)
{
    wf_body *body = own_body();
    if (!body || !fn)
        return WEFT_EINVAL;
    struct wf_defer *d = malloc(sizeof *d);
    if (!d)
        return WEFT_ENOMEM;
    *d = (struct wf_defer){.fn = fn, .arg = arg, .next = body->defers};
    body->defers = d;
    return 0;
}

/* Unlinked before it is called: a panic in it goes on with the next. */
static void pop(wf_body *body, bool run)
{
    struct wf_defer d = *body->defers;
    free(body->defers);
    body->defers = d.next;
    if (run)
        d.fn(d.arg);
}

int weft_defer_pop(int run)
{
    wf_body *body = own_body();
    if (!body || !body->defers)
        return WEFT_EINVAL;
    pop(body, run != 0);
    return 0;
}

void wf_defer_remove(void (*fn)(void *), void *arg)
{
    wf_body *body = own_body();
    for (struct wf_defer **link = body ? &body->defers : NULL; link && *link; link = &(*link)->next) {
        struct wf_defer *d = *link;
        if (d->fn != fn || d->arg != arg)
            continue;
        *link = d->next;
        free(d);
        return;
    }
}

void wf_defers_run(wf_body *body)
{
    while (body->defers)
        pop(body, true);
}

/* ---- panic --------------------------------------------------------------------------------------------------- */

void weft_panic(const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt ? fmt : "(no message)", args);
    va_end(args);
    wf_exec *exec = user_code();
    if (exec && exec->body && exec->body->coro)
        wf_coro_panic(exec->body->coro, text); /* also on an ordinary thread */
    if (exec && exec->task && exec->ops->panic)
        exec->ops->panic(exec, text);
    fprintf(stderr, "weft: panic outside of any task: %s\n", text);
    abort();
}
