/* coro.c - coroutines without a scheduler.
 *
 * A coroutine has exactly one party that is blocked: the resumer while the body runs, the body otherwise. A switch hands over
 * directly. The record lies at the top of the coroutine's own stack. The body runs as part of the execution that resumed it
 * (a strand, a bare thread): that is whose awaits, budget and abort it shares; deferred calls and shields made in it are its own.
 * Source: Go's runtime/coro.go for the model. */
#include <runtime/runtime.h>
#include <runtime/strand.h>
#include <string.h>
#include <weft/coro.h>

typedef enum { FRESH, SUSPENDED, RUNNING, FINISHED } coro_state;

enum { ERROR_SIZE = 256 };

struct weft_coro {
    wf_ctx ctx;
    coro_state state;
    bool stopping;           /* the body is asked to return */
    bool panicked;           /* not reported yet */
    void *transfer;          /* what crosses with a switch: in, out, the result */
    wf_exec *exec;           /* whose body runs it, while RUNNING */
    wf_ctx *back;            /* where the resumer was left, while RUNNING */
    struct weft_coro *outer; /* the coroutine that resumed it, while RUNNING */
    wf_frame *outer_frame;
    wf_stack *outer_stack;
    wf_frame frame;
    wf_stack *stack;
    weft_fn fn;
    void *arg;
    bool bound; /* to a thread: */
    pthread_t thread;
    char error[ERROR_SIZE];
};

/* ---- switching ----------------------------------------------------------------------------------------------- */

static void go_in(weft_coro *c, wf_exec *exec, wf_ctx *from)
{
    c->exec = exec;
    c->back = from;
    c->outer = exec->coro;
    c->outer_frame = exec->frame;
    c->outer_stack = exec->stack;
    c->state = RUNNING;
    exec->coro = c;
    exec->frame = &c->frame;
    exec->stack = c->stack;
    exec->ctx = &c->ctx;
    exec->shields += c->frame.shields;
}

/* Restore the resumer's view of its own execution. */
static wf_ctx *go_out(weft_coro *c, coro_state state)
{
    wf_exec *exec = c->exec;
    exec->shields -= c->frame.shields;
    exec->coro = c->outer;
    exec->frame = c->outer_frame;
    exec->stack = c->outer_stack;
    exec->ctx = c->back;
    c->state = state;
    return c->back;
}

WEFT_NORETURN static void end(weft_coro *c, void *result)
{
    c->transfer = result;
    wf_ctx_switch_final(&c->ctx, go_out(c, FINISHED));
}

static void entry(void *arg)
{
    weft_coro *c = arg;
    wf_ctx_entered(&c->ctx);
    void *result = c->fn(c->arg);
    wf_defers_run(&c->frame);
    end(c, result);
}

void wf_coro_panic(weft_coro *c, const char *text)
{
    if (!c->panicked)
        strncpy(c->error, text, sizeof c->error - 1);
    c->panicked = true;
    c->exec->shields -= c->frame.shields;
    c->frame.shields = 0;
    wf_defers_run(&c->frame);
    end(c, NULL);
}

/* A bare thread is no context yet: it becomes one for the time of the switch. */
static void switch_from_thread(weft_coro *c, wf_exec *exec)
{
    wf_ctx own;
    wf_ctx_init_thread(&own);
    go_in(c, exec, &own);
    wf_ctx_switch(&own, &c->ctx);
    exec->ctx = NULL;
}

static int switch_to(weft_coro *c)
{
    wf_exec *exec = wf_exec_current();
    if (wf_unlikely(!exec))
        return WEFT_ENOMEM;
    wf_ctx *from = exec->ctx;
    if (wf_likely(from != NULL)) {
        go_in(c, exec, from);
        wf_ctx_switch(from, &c->ctx);
    } else {
        switch_from_thread(c, exec);
    }
    return 0;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static wf_stack_cache *cache_here(void)
{
    wf_worker *w = wf_worker_current();
    return w ? &w->stacks : NULL;
}

int weft_coro_create(weft_coro **out, weft_fn fn, void *arg, size_t stack_size)
{
    enum { SMALLEST = 16 * 1024 };
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (!fn || (stack_size && stack_size < SMALLEST))
        return WEFT_EINVAL;
    int err = wf_stacks_acquire();
    if (err < 0)
        return err;
    wf_stack *stack = wf_stack_get(cache_here(), stack_size ? stack_size : WF_DEFAULT_STACK, &err);
    if (!stack) {
        wf_stacks_release();
        return err;
    }
    weft_coro *c = (weft_coro *)(void *)(wf_stack_top(stack) - (sizeof *c + 63) / 64 * 64);
    *c = (weft_coro){.state = FRESH, .stack = stack, .fn = fn, .arg = arg};
    wf_ctx_init(&c->ctx, stack->base, stack->size, c, entry, c);
    *out = c;
    return 0;
}

static bool bound_elsewhere(const weft_coro *c) { return c->bound && !pthread_equal(c->thread, pthread_self()); }

int weft_coro_resume(weft_coro *c, void *in, void **out)
{
    if (out)
        *out = NULL;
    if (wf_unlikely(!c))
        return WEFT_EINVAL;
    if (wf_unlikely(c->state >= RUNNING))
        return c->state == RUNNING ? WEFT_EBUSY : 0;
    if (wf_unlikely(c->bound) && bound_elsewhere(c))
        return WEFT_EBUSY;
    c->transfer = in;
    int err = switch_to(c);
    if (wf_unlikely(err < 0))
        return err;
    if (wf_unlikely(c->panicked)) {
        c->panicked = false;
        return WEFT_EPANIC;
    }
    if (out)
        *out = c->transfer;
    return c->state != FINISHED;
}

weft_coro *weft_coro_self(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec ? exec->coro : NULL;
}

void *weft_coro_yield(void *out)
{
    weft_coro *c = weft_coro_self();
    if (wf_unlikely(!c))
        return NULL;
    if (wf_unlikely(c->stopping)) { /* it was told to return and yields instead: this is where it ends */
        wf_defers_run(&c->frame);
        end(c, NULL);
    }
    c->transfer = out;
    wf_ctx_switch(&c->ctx, go_out(c, SUSPENDED));
    return c->stopping ? NULL : c->transfer;
}

int weft_coro_stopping(void)
{
    weft_coro *c = weft_coro_self();
    return c && c->stopping;
}

int weft_coro_stop(weft_coro *c)
{
    if (!c)
        return WEFT_EINVAL;
    if (c->state == RUNNING || bound_elsewhere(c))
        return WEFT_EBUSY;
    c->stopping = true;
    if (c->state == FRESH)
        c->state = FINISHED;
    if (c->state == FINISHED)
        return 0;
    int err = weft_coro_resume(c, NULL, NULL);
    return err > 0 ? 0 : err;
}

int weft_coro_free(weft_coro *c)
{
    if (!c)
        return 0;
    int err = weft_coro_stop(c);
    if (err < 0 && err != WEFT_EPANIC)
        return err;
    wf_ctx_destroy(&c->ctx);
    wf_stack_put(cache_here(), c->stack);
    wf_stacks_release();
    return 0;
}

int weft_coro_bind_thread(weft_coro *c)
{
    if (!c)
        return WEFT_EINVAL;
    if (bound_elsewhere(c))
        return WEFT_EBUSY;
    c->bound = true;
    c->thread = pthread_self();
    return 0;
}

const char *weft_coro_error(const weft_coro *c) { return c ? c->error : ""; }
