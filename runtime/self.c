/* self.c - what a task says about and to itself: yield, name, shield, deferred calls, failure, panic. */
#include <runtime/runtime.h>
#include <runtime/strand.h>
#include <stdio.h>
#include <stdlib.h>

/* The calling execution, if user code in it is running as a task or coroutine; NULL in callbacks and on bare threads. */
static wf_exec *body(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec && exec->callbacks == 0 ? exec : NULL;
}

int weft_yield(void)
{
    wf_exec *exec;
    int err = wf_await_entry(&exec);
    if (err == 0)
        exec->ops->yield(exec);
    return err;
}

uint64_t weft_self_id(void)
{
    wf_exec *exec = body();
    return exec && exec->task ? exec->task->id : 0;
}

int weft_set_name(const char *fmt, ...)
{
    wf_exec *exec = body();
    if (!exec || !exec->task || !fmt)
        return WEFT_EINVAL;
    wf_extra *extra = wf_task_extra(exec->task);
    if (!extra)
        return WEFT_ENOMEM;
    va_list args;
    va_start(args, fmt);
    vsnprintf(extra->name, sizeof extra->name, fmt, args);
    va_end(args);
    return 0;
}

int weft_is_cancelled(void)
{
    wf_exec *exec = body();
    if (!exec || !exec->task)
        return 0;
    if (exec->ops->suspend)
        return exec->ops->interruption(exec) == WEFT_ECANCELED;
    return (wf_load_rlx(&exec->task->state) & WF_S_ABORT) != 0;
}

/* ---- shields ------------------------------------------------------------------------------------------------- */

int weft_shield_enter(void)
{
    wf_exec *exec = body();
    if (!exec || !exec->frame)
        return WEFT_EINVAL;
    exec->frame->shields++;
    exec->shields++;
    return 0;
}

int weft_shield_leave(void)
{
    wf_exec *exec = body();
    if (!exec || !exec->frame || exec->frame->shields == 0)
        return WEFT_EINVAL;
    exec->frame->shields--;
    exec->shields--;
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
    wf_exec *exec = body();
    if (!exec || !exec->frame || !fn)
        return WEFT_EINVAL;
    struct wf_defer *d = malloc(sizeof *d);
    if (!d)
        return WEFT_ENOMEM;
    *d = (struct wf_defer){.fn = fn, .arg = arg, .next = exec->frame->defers};
    exec->frame->defers = d;
    return 0;
}

/* Unlinked before it is called: a panic in it goes on with the next. */
static void pop(wf_frame *frame, bool run)
{
    struct wf_defer d = *frame->defers;
    free(frame->defers);
    frame->defers = d.next;
    if (run)
        d.fn(d.arg);
}

int weft_defer_pop(int run)
{
    wf_exec *exec = body();
    if (!exec || !exec->frame || !exec->frame->defers)
        return WEFT_EINVAL;
    pop(exec->frame, run != 0);
    return 0;
}

void wf_defers_run(wf_frame *frame)
{
    while (frame->defers)
        pop(frame, true);
}

/* ---- failing ------------------------------------------------------------------------------------------------- */

/* A failure is the address of a byte here: its index is the code's absolute value, so no state is needed to carry it. */
static char failures[8192];

void *weft_fail(int code)
{
    int index = code < 0 && code > -(int)sizeof failures ? -code : -WEFT_EINVAL;
    return &failures[index];
}

bool wf_is_failure(const void *result, int *code)
{
    ptrdiff_t index = (ptrdiff_t)((uintptr_t)result - (uintptr_t)failures);
    if (index < 0 || index >= (ptrdiff_t)sizeof failures)
        return false;
    *code = -(int)index;
    return true;
}

/* ---- panic --------------------------------------------------------------------------------------------------- */

void weft_panic(const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt ? fmt : "", args);
    va_end(args);
    wf_exec *exec = body();
    if (exec && exec->coro)
        wf_coro_panic(exec->coro, text);
    if (exec && exec->task && exec->ops->panic)
        exec->ops->panic(exec, text);
    fprintf(stderr, "weft: panic outside of any task: %s\n", text);
    abort();
}
