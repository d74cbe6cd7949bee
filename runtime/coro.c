/* coro.c - coroutines without a scheduler: resume, yield, stop.
 *
 * A coroutine has exactly one party that is blocked: the resumer while the body runs, the body otherwise. A switch hands over
 * directly. The record lies at the top of the coroutine's own stack. The body runs as part of the execution that resumed it
 * (a strand, a bare thread): that is whose awaits, budget and abort it shares; deferred calls and shields made in it are its own.
 * Source: Go's runtime/coro.go for the model. */
#include <base/scope.h>
#include <runtime/runtime.h>
#include <runtime/strand.h>
#include <string.h>
#include <weft/coro.h>

typedef enum { FRESH, SUSPENDED, RUNNING, FINISHED } coro_state;

enum { ERROR_SIZE = 256 };

struct weft_coro {
    wf_ctx ctx;
    wf_body body;
    coro_state state;
    bool stopping; /* the body is asked to return */
    bool panicked;
    bool bound; /* to a thread: */
    pthread_t thread;
    void **out;         /* where the resumer wants what is yielded or returned, or NULL */
    wf_exec *exec;      /* whose body runs it, while RUNNING */
    wf_ctx *from;       /* the resumer's context, while RUNNING */
    uint32_t callbacks; /* exec's when it was resumed: in one that was begun since, it cannot yield */
    wf_ctx thread_ctx;  /* a bare thread is no context yet: this one, while it waits for the body */
    weft_fn fn;
    void *arg;
    char error[ERROR_SIZE];
};

/* ---- switching ----------------------------------------------------------------------------------------------- */

/* Where the resumer is left. */
static inline wf_ctx *context_of(weft_coro *c, wf_exec *exec)
{
    wf_ctx *from = exec->body->ctx;
    if (!from)
        wf_ctx_init_thread(from = &c->thread_ctx);
    return from;
}

/* @from: see context_of(). */
static inline void go_in(weft_coro *c, wf_exec *exec, wf_ctx *from, void **out)
{
    c->out = out;
    c->exec = exec;
    c->from = from;
    c->callbacks = exec->callbacks;
    c->body.outer = exec->body;
    c->state = RUNNING;
    exec->body = &c->body;
}

/* Returns the resumer's context. */
static inline wf_ctx *go_out(weft_coro *c, coro_state state)
{
    c->state = state;
    c->exec->body = c->body.outer;
    return c->from;
}

/* The same where scopes may have been entered. */
static wf_ctx *go_out_with_scopes(weft_coro *c, coro_state state)
{
    wf_ctx *to = go_out(c, state);
    if (c->body.scopes)
        wf_scopes_retarget(&c->body, NULL);
    return to;
}

/* @code is what the pending resume returns. */
WEFT_NORETURN static void end(weft_coro *c, int code, void *result)
{
    if (c->out)
        *c->out = result;
    wf_ctx_switch_final(&c->ctx, go_out_with_scopes(c, FINISHED), (void *)(intptr_t)code);
}

/* What was entered and made in its code goes with it, the scopes first: their frames are gone. True if none was forgotten. */
static bool close_body(weft_coro *c)
{
    bool clean = !c->body.scopes && !c->body.forgot;
    wf_scopes_detach(&c->body);
    c->body.forgot = false;
    wf_defers_run(&c->body);
    clean = clean && !c->body.scopes && !c->body.forgot;
    wf_scopes_detach(&c->body);
    wf_dependents_close(&c->body);
    return clean;
}

static void entry(void *arg)
{
    weft_coro *c = arg;
    wf_ctx_entered(&c->ctx);
    void *result = c->fn(c->arg);
    if (wf_unlikely(!close_body(c)))
        wf_coro_panic(c, "it ended with a scope that it had not left");
    wf_body_holds_no_mutex(&c->body, c->exec->task, "had a coroutine that ended");
    end(c, 0, result);
}

void wf_coro_panic(weft_coro *c, const char *text)
{
    if (!c->panicked)
        strncpy(c->error, text, sizeof c->error - 1);
    c->panicked = true;
    wf_body_holds_no_mutex(&c->body, c->exec->task, "had a coroutine that panicked");
    c->body.shields = 0;
    wf_scopes_detach(&c->body);
    close_body(c);
    end(c, WEFT_EPANIC, NULL);
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
    *c = (weft_coro){.state = FRESH, .body = {.ctx = &c->ctx, .stack = stack, .coro = c}, .fn = fn, .arg = arg};
    wf_ctx_init(&c->ctx, stack->base, stack->size, c, entry, c);
    *out = c;
    return 0;
}

static bool bound_elsewhere(const weft_coro *c) { return c->bound && !pthread_equal(c->thread, pthread_self()); }

/* All that is seldom. */
WF_NOINLINE static int resume_slow(weft_coro *c, wf_exec *exec, void *in, void **out)
{
    if (!c)
        return WEFT_EINVAL;
    if (c->state >= RUNNING)
        return c->state == RUNNING ? WEFT_EBUSY : 0;
    if (bound_elsewhere(c))
        return WEFT_EBUSY;
    if (!exec && !(exec = wf_exec_make()))
        return WEFT_ENOMEM;
    wf_ctx *from = context_of(c, exec);
    go_in(c, exec, from, out);
    if (c->body.scopes)
        wf_scopes_retarget(&c->body, exec);
    return wf_ctx_switch_code(from, &c->ctx, in);
}

/* Both of these end with the switch, and save no register before it: the other side says what to return (see wf_switch). */
int weft_coro_resume(weft_coro *c, void *in, void **out)
{
    wf_exec *exec = wf_exec_peek();
    if (out)
        *out = NULL;
    if (wf_unlikely(!c || c->state >= RUNNING || c->bound || !exec || c->body.scopes))
        return resume_slow(c, exec, in, out);
    wf_ctx *from = context_of(c, exec);
    go_in(c, exec, from, out);
    return wf_ctx_switch_code(from, &c->ctx, in);
}

weft_coro *weft_coro_self(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec && exec->body ? exec->body->coro : NULL;
}

WF_NOINLINE static void *yield_slow(weft_coro *c, void *out)
{
    if (!c || c->exec->callbacks != c->callbacks)
        return NULL;
    if (c->stopping) { /* it was told to return and yields instead: this is where it ends */
        close_body(c);
        wf_body_holds_no_mutex(&c->body, c->exec->task, "had a coroutine that ended");
        end(c, 0, NULL);
    }
    if (c->out)
        *c->out = out;
    return wf_ctx_switch(&c->ctx, go_out_with_scopes(c, SUSPENDED), (void *)1);
}

void *weft_coro_yield(void *out)
{
    weft_coro *c = weft_coro_self();
    if (wf_unlikely(!c || c->exec->callbacks != c->callbacks || c->stopping || c->body.scopes))
        return yield_slow(c, out);
    if (c->out)
        *c->out = out;
    return wf_ctx_switch(&c->ctx, go_out(c, SUSPENDED), (void *)1);
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
    wf_stack_put(cache_here(), c->body.stack);
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
