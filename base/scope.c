/* scope.c - see scope.h. */
#include <base/scope.h>

/* ---- what was forgotten -------------------------------------------------------------------------------------- */

/* Its frame is gone: by its address, or because something else lies there now. Stacks are always readable. */
static bool is_gone(const weft_scope *scope, const wf_body *body)
{
    uintptr_t address = (uintptr_t)scope, frame = (uintptr_t)__builtin_frame_address(0);
    return (address >= body->low && address < frame && body->low != 0) || scope->body_ != body;
}

/* The one that was not left is no longer one; the task learns of its mistake. */
WEFT_NORETURN WF_NOINLINE static void forgotten(wf_body *body)
{
    wf_scopes_detach(body);
    weft_panic("a scope was not left: the function that entered it has returned, or has entered it again");
}

/* ---- what has fired ------------------------------------------------------------------------------------------ */

static bool is_inside(const weft_scope *scope, const weft_scope *outer)
{
    while (scope && scope != outer)
        scope = scope->outer_;
    return scope != NULL;
}

/* Stopping never waits and never touches the list. */
static void stop_dependents(wf_body *body, const weft_scope *fired)
{
    wf_spin_lock(&body->lock);
    for (wf_dependent *d = body->dependents; d; d = d->next) {
        if (d->stopped || !is_inside(d->scope, fired))
            continue;
        d->stopped = true;
        d->stop(d);
    }
    wf_spin_unlock(&body->lock);
}

static void fire(weft_scope *scope, int code)
{
    if (scope->fired_)
        return;
    scope->fired_ = code;
    if (scope->body_->shared)
        stop_dependents(scope->body_, scope);
}

static void carry_over(wf_body *body)
{
    for (wf_binding *b = body->bindings; b; b = b->next) {
        if (!wf_load_acq(&b->fired)) /* [BINDING] acquire: what the one who cancelled did before */
            continue;
        if (wf_unlikely(b->scope->body_ != body))
            forgotten(body);
        fire(b->scope, WEFT_ECANCELED);
    }
}

/* The clock is read once, and only if somebody needs it. */
static bool has_passed(int64_t deadline, int64_t *now)
{
    if (deadline == WEFT_FOREVER)
        return false;
    if (*now < 0)
        *now = weft_now();
    return *now >= deadline;
}

int wf_scopes_look(wf_exec *exec, bool *any)
{
    bool hidden = false;
    int64_t now = -1;
    if (exec->body->scopes && is_gone(exec->body->scopes, exec->body))
        forgotten(exec->body);
    *any = false;
    exec->cause = NULL;
    for (wf_body *body = exec->body; body; body = body->outer) {
        carry_over(body);
        for (weft_scope *s = body->scopes; s; s = s->outer_) {
            if (wf_unlikely(s->body_ != body))
                forgotten(body);
            if (!s->fired_ && has_passed(s->deadline_, &now))
                fire(s, WEFT_ETIMEDOUT);
            if (!s->fired_)
                continue;
            *any = true;
            if (!hidden && s->shields_ >= body->shields)
                exec->cause = s; /* the last one found is the outermost */
        }
        hidden = hidden || body->shields > 0;
    }
    return exec->cause ? exec->cause->fired_ : 0;
}

/* Hidden ones count: what depends on them is stopped all the same. */
int64_t wf_scopes_nearest(wf_body *body, int64_t deadline)
{
    if (body->scopes && is_gone(body->scopes, body))
        forgotten(body);
    for (; body; body = body->outer)
        for (const weft_scope *s = body->scopes; s; s = s->outer_)
            if (s->body_ != body)
                forgotten(body);
            else if (!s->fired_ && s->deadline_ < deadline)
                deadline = s->deadline_;
    return deadline;
}

int64_t weft_deadline(void)
{
    const wf_exec *exec = wf_exec_peek();
    int64_t nearest = WEFT_FOREVER;
    bool hidden = false;
    for (const wf_body *body = exec ? exec->body : NULL; body && !hidden; body = body->outer) {
        for (const weft_scope *s = body->scopes; s; s = s->outer_)
            if (s->shields_ >= body->shields)
                nearest = WF_MIN(nearest, s->deadline_);
        hidden = body->shields > 0;
    }
    return nearest;
}

/* ---- entering and leaving ------------------------------------------------------------------------------------ */

static int refuse(weft_scope *scope, int code)
{
    scope->body_ = NULL; /* so that leaving it is an error, and no worse */
    return code;
}

static void mark(wf_exec *exec)
{
    if (exec->ops->mark)
        exec->ops->mark(exec);
}

int weft_scope_enter(weft_scope *scope, int64_t timeout)
{
    wf_exec *exec = wf_exec_current();
    if (!scope)
        return WEFT_EINVAL;
    if (wf_unlikely(!exec || !wf_exec_can_wait(exec)))
        return refuse(scope, exec ? WEFT_EDEADLK : WEFT_ENOMEM);
    wf_body *body = exec->body;
    if (wf_unlikely(body->scopes && (body->scopes == scope || is_gone(body->scopes, body))))
        forgotten(body);
    scope->outer_ = body->scopes;
    scope->body_ = body;
    scope->deadline_ = timeout == WEFT_FOREVER ? WEFT_FOREVER : wf_add_saturating(weft_now(), WF_MAX(timeout, 0));
    scope->fired_ = 0;
    scope->shields_ = body->shields;
    scope->received_ = 0;
    body->scopes = scope;
    if (wf_unlikely(timeout <= 0)) {
        scope->fired_ = WEFT_ETIMEDOUT;
        mark(exec);
    }
    return 0;
}

wf_exec *wf_scope_owner(const weft_scope *scope)
{
    wf_exec *exec = wf_exec_peek();
    return exec && exec->callbacks == 0 && scope && scope->body_ && scope->body_ == exec->body ? exec : NULL;
}

static void unbind(wf_body *body, const weft_scope *scope)
{
    for (wf_binding **link = &body->bindings; *link;) {
        wf_binding *b = *link;
        if (b->scope != scope) {
            link = &b->next;
            continue;
        }
        *link = b->next;
        b->release(b);
    }
}

/* What was made in it is in the next one out from now on. */
static void hand_dependents_out(wf_body *body, const weft_scope *scope)
{
    wf_spin_lock(&body->lock);
    for (wf_dependent *d = body->dependents; d; d = d->next)
        if (d->scope == scope)
            d->scope = scope->outer_;
    wf_spin_unlock(&body->lock);
}

int weft_scope_leave(weft_scope *scope)
{
    wf_exec *exec = wf_scope_owner(scope);
    if (wf_unlikely(!exec || exec->body->scopes != scope))
        return WEFT_EINVAL;
    wf_body *body = exec->body;
    if (wf_unlikely(body->bindings != NULL))
        unbind(body, scope);
    if (wf_unlikely(body->shared))
        hand_dependents_out(body, scope);
    body->scopes = scope->outer_;
    scope->body_ = NULL;
    exec->cause = NULL;
    return scope->received_ ? scope->fired_ : 0;
}

int weft_scope_cancel(weft_scope *scope)
{
    wf_exec *exec = wf_scope_owner(scope);
    if (!exec)
        return WEFT_EINVAL;
    fire(scope, WEFT_ECANCELED);
    mark(exec);
    return 0;
}

void wf_scopes_detach(wf_body *body)
{
    while (body->bindings) {
        wf_binding *b = body->bindings;
        body->bindings = b->next;
        b->release(b);
    }
    body->scopes = NULL;
}

void wf_scopes_retarget(wf_body *body, wf_exec *exec)
{
    for (wf_binding *b = body->bindings; b; b = b->next)
        b->retarget(b, exec);
    if (exec && body->scopes)
        mark(exec); /* whatever fired meanwhile */
}

/* ---- what depends on a body's scopes, and on itself ----------------------------------------------------------- */

void wf_dependent_add(wf_dependent *d, wf_exec *exec)
{
    wf_body *body = exec->body;
    d->body = body;
    d->scope = body->scopes;
    d->of_thread = !body->ctx;
    d->prev = NULL;
    wf_spin_lock(&body->lock);
    body->shared = true;
    d->next = body->dependents;
    if (d->next)
        d->next->prev = d;
    body->dependents = d;
    wf_spin_unlock(&body->lock);
}

static void unlink_locked(wf_dependent *d)
{
    if (d->next)
        d->next->prev = d->prev;
    if (d->prev)
        d->prev->next = d->next;
    else
        d->body->dependents = d->next;
    d->body = NULL;
}

/* An ordinary thread may end while another closes what it made: its body goes then. */
static wf_spin threads_lock;

void wf_dependent_remove(wf_dependent *d)
{
    if (d->of_thread)
        wf_spin_lock(&threads_lock);
    wf_body *body = d->body;
    if (body) {
        wf_spin_lock(&body->lock);
        unlink_locked(d);
        wf_spin_unlock(&body->lock);
    }
    if (d->of_thread)
        wf_spin_unlock(&threads_lock);
}

static wf_dependent *take_newest(wf_body *body)
{
    wf_spin_lock(&body->lock); /* also for whoever removed the last one and is about to unlock: the body goes after this */
    wf_dependent *d = body->dependents;
    if (d)
        unlink_locked(d);
    wf_spin_unlock(&body->lock);
    return d;
}

void wf_dependents_forget(wf_body *body)
{
    wf_spin_lock(&threads_lock);
    while (body->shared && take_newest(body))
        ;
    wf_spin_unlock(&threads_lock);
}

void wf_dependents_close(wf_body *body)
{
    for (wf_dependent *d; body->shared && (d = take_newest(body));)
        d->close(d);
}
