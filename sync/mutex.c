/* mutex.c - a lock that tasks hold across awaits.
 *
 * Free and nobody waiting: one compare-and-swap to lock, one to unlock. Else the waiters' queue, and the unlock hands the lock over to
 * the first: it is never free in between, so nobody overtakes.
 *
 * Who holds it is noted, as the body that locked it (or the task, where nothing can wait): so that an unlock by another is found out, and a
 * panic of its holder, after which nobody could ever lock it again. */
#include <runtime/task.h>
#include <sync/waiters.h>

enum { LOCKED = 1, AWAITED = 2 };

static wf_a32 *state_of(weft_mutex *m) { return (wf_a32 *)(void *)&m->state_; }

void weft_mutex_init_named(weft_mutex *m, const char *name) { *m = (weft_mutex){.held_.name_ = name}; }

/* ---- who holds it -------------------------------------------------------------------------------------------- */

enum { NO_BODY = 1 }; /* the owner is a task or an execution, not a body */

/* Relaxed: it is compared with what the reader itself would have stored. */
static uintptr_t owner_of(const weft_mutex *m) { return (uintptr_t)wf_load_rlx((wf_aptr *)(void *)&m->owner_); }
static void set_owner(weft_mutex *m, uintptr_t owner) { wf_store_rlx((wf_aptr *)(void *)&m->owner_, (void *)owner); }

static uintptr_t me(const wf_exec *exec)
{
    if (exec->ops->suspend && exec->callbacks == 0)
        return (uintptr_t)exec->body;
    return (exec->task ? (uintptr_t)exec->task : (uintptr_t)exec) | NO_BODY;
}

static void note_holder(weft_mutex *m, const wf_exec *exec)
{
    struct weft_held_ *held = &m->held_;
    set_owner(m, me(exec));
    if (me(exec) & NO_BODY)
        return;
    held->prev_ = NULL;
    held->next_ = exec->body->held;
    if (held->next_)
        held->next_->prev_ = held;
    exec->body->held = held;
}

static void forget_holder(weft_mutex *m)
{
    struct weft_held_ *held = &m->held_;
    uintptr_t owner = owner_of(m);
    set_owner(m, 0);
    if (owner & NO_BODY)
        return;
    if (held->next_)
        held->next_->prev_ = held->prev_;
    if (held->prev_)
        held->prev_->next_ = held->next_;
    else
        ((wf_body *)owner)->held = held->next_;
}

/* A coroutine's body may unlock what its resumer locked. */
static bool is_mine(const weft_mutex *m, const wf_exec *exec)
{
    uintptr_t owner = owner_of(m);
    if (wf_likely(owner == me(exec)))
        return true;
    for (const wf_body *body = exec->body; body; body = body->outer)
        if (owner == (uintptr_t)body)
            return true;
    return false;
}

uintptr_t wf_mutex_owner(const weft_mutex *copy) { return copy->owner_; }

bool wf_mutex_owner_is(uintptr_t owner, const weft_task *task, const wf_body *body)
{
    return owner == (uintptr_t)body || owner == ((uintptr_t)task | NO_BODY);
}

/* @call and @why around both names. */
WEFT_NORETURN static void refuse(const weft_mutex *m, const wf_exec *exec, const char *call, const char *why)
{
    const char *name = m->held_.name_ ? m->held_.name_ : "?";
    if (!exec || !exec->task)
        weft_panic("%s: the mutex of %s %s a thread outside of any task", call, name, why);
    weft_panic("%s: the mutex of %s %s task \"%s\" (#%llu)", call, name, why, wf_task_label(exec->task),
               (unsigned long long)exec->task->id.v);
}

void wf_mutex_must_be_mine(const weft_mutex *m, const char *call)
{
    const wf_exec *exec = wf_exec_current();
    if (wf_unlikely(!exec || !is_mine(m, exec)))
        refuse(m, exec, call, "is not held by");
}

/* ---- locking ------------------------------------------------------------------------------------------------- */

static bool try_free(weft_mutex *m)
{
    uint32_t free = 0;
    return wf_cas_strong_seq(state_of(m), &free, LOCKED);
}

/* Under the queue's lock: it is free, or it is marked as awaited. */
static bool take(wf_waiter *w)
{
    wf_a32 *state = state_of(w->object);
    uint32_t old = wf_load_rlx(state);
    for (;;) {
        uint32_t next = old == 0 ? LOCKED : old | AWAITED;
        if (wf_cas_acqrel(state, &old, next))
            return old == 0;
    }
}

void weft_mutex_lock(weft_mutex *m)
{
    wf_exec *exec = wf_exec_current();
    if (wf_unlikely(!exec) && !(exec = wf_exec_insist()))
        weft_panic("weft_mutex_lock(): no thread can wait");
    if (wf_unlikely(!try_free(m))) {
        if (is_mine(m, exec))
            refuse(m, exec, "weft_mutex_lock()", "is held already by");
        if (!wf_exec_can_wait(exec))
            refuse(m, exec, "weft_mutex_lock()", "is held by another, and nothing can wait here in");
        wf_waiter w = {.lock = wf_spin_in(&m->lock_), .queue = &m->waiters_, .take = take, .object = m, .kind = WF_WAIT_MUTEX};
        wf_waiter_insist(&w, "weft_mutex_lock()");
    }
    note_holder(m, exec);
}

int weft_mutex_try_lock(weft_mutex *m)
{
    wf_exec *exec = wf_exec_current();
    if (!exec)
        return WEFT_ENOMEM;
    if (!try_free(m))
        return WEFT_EBUSY;
    note_holder(m, exec);
    return 0;
}

/* The first that waits has it from now on. The word says that others wait until that is seen to be untrue. */
static void hand_over(weft_mutex *m)
{
    wf_spin *lock = wf_spin_in(&m->lock_);
    weft_waker waker = {NULL, NULL};
    wf_spin_lock(lock);
    wf_waiter *first = wf_waiters_first(&m->waiters_);
    if (first)
        waker = wf_waiter_serve(first, WF_WAITER_SERVED);
    if (!first)
        wf_swap_seq(state_of(m), 0);
    else if (wf_waiters_empty(&m->waiters_))
        wf_swap_seq(state_of(m), LOCKED);
    wf_spin_unlock(lock);
    weft_waker_wake(&waker);
}

void weft_mutex_unlock(weft_mutex *m)
{
    uint32_t locked = LOCKED;
    wf_mutex_must_be_mine(m, "weft_mutex_unlock()");
    forget_holder(m);
    if (!wf_cas_strong_seq(state_of(m), &locked, 0))
        hand_over(m);
}
