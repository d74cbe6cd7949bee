/* scope.c - see scope.h. */
#include <base/scope.h>

/* ---- is it still there? --------------------------------------------------------------------------------------- */

/* The memory of a scope may hold anything once its frame is gone; an address sanitizer, of one that is not, would mind. */
#define WHATEVER_IT_HOLDS __attribute__((no_sanitize("address")))

/* Of what does not change while it is entered. */
WHATEVER_IT_HOLDS static uint64_t seal_of(const weft_scope *scope)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = ((uintptr_t)scope ^ odd) * odd;
    x = (x ^ x >> 32 ^ (uintptr_t)scope->outer_) * odd;
    x = (x ^ x >> 32 ^ (uintptr_t)scope->body_) * odd;
    return (x ^ x >> 32 ^ (uint64_t)scope->deadline_) * odd;
}

WHATEVER_IT_HOLDS static bool is_sealed(const weft_scope *scope) { return scope->seal_ == seal_of(scope); }

WHATEVER_IT_HOLDS bool wf_scopes_stand(const wf_body *body, const void *low, const void *high)
{
    for (const weft_scope *s = body->scopes; s; s = s->outer_)
        if (((uintptr_t)s >= (uintptr_t)low && (uintptr_t)s < (uintptr_t)high) || !is_sealed(s))
            return false;
    return true;
}

/* One that nobody left, entered again at the same place, would be outside of itself. */
WHATEVER_IT_HOLDS static bool is_entered(const wf_body *body, const weft_scope *scope)
{
    const weft_scope *s = body->scopes;
    while (s && s != scope)
        s = is_sealed(s) ? s->outer_ : NULL;
    return s != NULL;
}

void wf_scopes_unshield(const wf_body *body)
{
    for (weft_scope *s = body->scopes; s && s->shields_ > body->shields; s = s->outer_)
        s->shields_ = body->shields;
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
    *any = false;
    exec->cause = NULL;
    for (wf_body *body = exec->body; body; body = body->outer) {
        carry_over(body);
        for (weft_scope *s = body->scopes; s; s = s->outer_) {
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
int64_t wf_scopes_nearest(const wf_body *body, int64_t deadline)
{
    for (; body; body = body->outer)
        for (const weft_scope *s = body->scopes; s; s = s->outer_)
            if (!s->fired_ && s->deadline_ < deadline)
                deadline = s->deadline_;
    return deadline;
}

int64_t weft_deadline(void)
{
    const wf_exec *exec = wf_exec_peek();
    int64_t nearest = WEFT_FOREVER;
    bool hidden = false;
    for (const wf_body *body = exec ? exec->body : NULL; body && !hidden; body = body->outer) {
        for (const weft_scope *s = body->scopes; s && is_sealed(s); s = s->outer_)
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
    if (wf_unlikely(is_entered(body, scope)))
        return WEFT_EINVAL;
    scope->outer_ = body->scopes;
    scope->body_ = body;
    scope->deadline_ = timeout == WEFT_FOREVER ? WEFT_FOREVER : wf_add_saturating(weft_now(), WF_MAX(timeout, 0));
    scope->fired_ = 0;
    scope->shields_ = body->shields;
    scope->received_ = 0;
    scope->seal_ = seal_of(scope);
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
    if (!body->shared)
        return;
    wf_spin_lock(&body->lock);
    for (wf_dependent *d = body->dependents; d; d = d->next)
        d->scope = NULL; /* its memory may be gone */
    wf_spin_unlock(&body->lock);
}

void wf_scopes_retarget(wf_body *body, wf_exec *exec)
{
    for (wf_binding *b = body->bindings; b; b = b->next)
        b->retarget(b, exec);
    if (exec && body->scopes)
        mark(exec); /* whatever fired meanwhile */
}

/* ---- what depends on a body's scopes, and on itself ----------------------------------------------------------- */

void wf_dependent_add(wf_dependent *d, wf_exec *exec, weft_scope *scope)
{
    wf_body *body = exec->body;
    d->body = body;
    d->scope = scope;
    d->of_thread = !body->ctx;
    d->stopped = false;
    d->linked = true;
    d->prev = NULL;
    wf_spin_lock(&body->lock);
    body->shared = true;
    d->next = body->dependents;
    if (d->next)
        d->next->prev = d;
    body->dependents = d;
    wf_spin_unlock(&body->lock);
    for (const weft_scope *s = scope; s && !d->stopped; s = s->outer_)
        if (s->fired_) { /* made in one that has fired already */
            d->stopped = true;
            d->stop(d);
        }
}

static void unlink_locked(wf_dependent *d)
{
    if (d->next)
        d->next->prev = d->prev;
    if (d->prev)
        d->prev->next = d->next;
    else
        d->body->dependents = d->next;
    d->linked = false;
}

/* An ordinary thread may end while another closes what it made: its body goes then. */
static wf_spin threads_lock;

static bool take_out(wf_dependent *d)
{
    wf_body *body = d->body;
    if (!body)
        return true;
    wf_spin_lock(&body->lock);
    bool linked = d->linked;
    if (linked)
        unlink_locked(d);
    wf_spin_unlock(&body->lock);
    return linked;
}

bool wf_dependent_remove(wf_dependent *d)
{
    if (!d->of_thread)
        return take_out(d);
    wf_spin_lock(&threads_lock);
    bool mine = take_out(d);
    wf_spin_unlock(&threads_lock);
    return mine;
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
    for (wf_dependent *d; body->shared && (d = take_newest(body));)
        d->body = NULL;
    wf_spin_unlock(&threads_lock);
}

void wf_dependents_close(wf_body *body)
{
    for (wf_dependent *d; body->shared && (d = take_newest(body));)
        d->close(d);
}

void wf_scopes_fork_lock(void) WF_NO_THREAD_SAFETY { wf_spin_lock(&threads_lock); }

void wf_scopes_fork_unlock(void) WF_NO_THREAD_SAFETY { wf_spin_unlock(&threads_lock); }
