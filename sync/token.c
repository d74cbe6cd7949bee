/* token.c - a tree of tokens: cancelling one cancels all below it and wakes who waits for any of them.
 *
 * A tree shares one of a fixed set of locks, so nobody needs to know how long its root lives. Cancelling walks without recursion: the
 * children of a cancelled token join a list of those to be cancelled, in which a token may still be freed, and wakers are called
 * between two sections of the lock, a handful at a time. That list belongs to the lock, and whoever cancels goes on until it is empty: a
 * second canceller must not return before all below is cancelled, because it may be about to free. Once cancelled, a token is on its
 * own: what is above and below no longer matters. */
#include <base/case.h>
#include <base/list.h>
#include <base/lock.h>
#include <base/scope.h>
#include <base/waits.h>
#include <stdlib.h>
#include <weft/token.h>

/* A wait, or a scope bound to it. */
typedef struct wf_token_waiter {
    wf_node node; /* under the tree's lock; linked until it is fired */
    /* Under the tree's lock, once, when it is unlinked: true with the waker to wake. */
    bool (*fire)(struct wf_token_waiter *self, weft_waker *out);
} wf_token_waiter;

struct weft_token {
    wf_spin *lock;    /* of its tree */
    wf_a32 cancelled; /* set under lock, read anywhere */
    wf_node sibling;  /* under lock: in its parent's children, or among the doomed */
    wf_list children; /* under lock */
    wf_list waiters;  /* under lock */
};

typedef struct shared_lock {
    alignas(WF_CACHE_LINE) wf_spin lock;
    wf_list doomed; /* under lock: tokens that are to be cancelled, of whatever tree; zero: nobody has cancelled yet */
} shared_lock;

static wf_spin *pick_lock(void)
{
    enum { LOCKS = 64 };
    static shared_lock locks[LOCKS];
    static wf_a32 turn;
    return &locks[wf_add_rlx(&turn, 1) % LOCKS].lock;
}

static bool is_cancelled(const weft_token *t) { return wf_load_acq(&((weft_token *)t)->cancelled) != 0; }

int weft_token_is_cancelled(const weft_token *t) { return t && is_cancelled(t); }

/* ---- life ---------------------------------------------------------------------------------------------------- */

static void join_parent(weft_token *t, weft_token *parent)
{
    wf_spin_lock(t->lock);
    if (is_cancelled(parent))
        wf_store_rel(&t->cancelled, 1);
    else
        wf_list_push_back(&parent->children, &t->sibling);
    wf_spin_unlock(t->lock);
}

int weft_token_create(weft_token **out, weft_token *parent)
{
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    weft_token *t = malloc(sizeof *t);
    if (!t)
        return WEFT_ENOMEM;
    t->lock = parent ? parent->lock : pick_lock();
    wf_store_rlx(&t->cancelled, 0);
    wf_node_init(&t->sibling);
    wf_list_init(&t->children);
    wf_list_init(&t->waiters);
    if (parent)
        join_parent(t, parent);
    *out = t;
    return 0;
}

int weft_token_free(weft_token *t)
{
    if (!t)
        return 0;
    wf_spin *lock = t->lock;
    wf_spin_lock(lock);
    bool busy = !wf_list_empty(&t->children) || !wf_list_empty(&t->waiters);
    if (!busy)
        wf_node_unlink(&t->sibling); /* d26 */
    wf_spin_unlock(lock);
    if (busy)
        return WEFT_EBUSY;
    free(t);
    return 0;
}

/* ---- cancelling ---------------------------------------------------------------------------------------------- */

#if WF_STRESS
enum { BATCH = 1, MOST_TOKENS = 1 }; /* so that others come in between */
#else
enum { BATCH = 32, MOST_TOKENS = 256 };
#endif

static void move_all(wf_list *from, wf_list *to)
{
    if (wf_list_empty(from))
        return;
    from->head.next->prev = to->head.prev;
    to->head.prev->next = from->head.next;
    from->head.prev->next = &to->head;
    to->head.prev = from->head.prev;
    wf_list_init(from);
}

static unsigned fire_waiters(weft_token *t, weft_waker *wakers, unsigned n)
{
    wf_node *node;
    while (n < BATCH && (node = wf_list_pop_front(&t->waiters))) {
        wf_token_waiter *w = wf_container(node, wf_token_waiter, node);
        n += w->fire(w, &wakers[n]);
    }
    return n;
}

/* Go on with the list for a while. A token leaves it when all its waiters are fired, and may be freed from then on. */
static unsigned cancel_some(wf_list *doomed, weft_waker *wakers)
{
    unsigned n = 0;
    for (unsigned tokens = 0; tokens < MOST_TOKENS && n < BATCH && !wf_list_empty(doomed); tokens++) {
        weft_token *t = wf_container(doomed->head.next, weft_token, sibling);
        wf_store_rel(&t->cancelled, 1);
        move_all(&t->children, doomed);
        n = fire_waiters(t, wakers, n);
        if (wf_list_empty(&t->waiters))
            wf_node_unlink(&t->sibling);
    }
    return n;
}

/* Under lock. */
static wf_list *doomed_under(wf_spin *lock)
{
    wf_list *doomed = &wf_container(lock, shared_lock, lock)->doomed;
    if (!doomed->head.next)
        wf_list_init(doomed);
    return doomed;
}

void weft_token_cancel(weft_token *t)
{
    weft_waker wakers[BATCH];
    if (!t)
        return;
    wf_spin *lock = t->lock;
    wf_spin_lock(lock);
    wf_list *doomed = doomed_under(lock);
    if (!is_cancelled(t)) {
        wf_node_unlink(&t->sibling); /* from its parent, or from among the doomed */
        wf_list_push_back(doomed, &t->sibling);
    }
    while (!wf_list_empty(doomed)) {
        unsigned n = cancel_some(doomed, wakers);
        wf_spin_unlock(lock);
        for (unsigned i = 0; i < n; i++)
            weft_waker_wake(&wakers[i]);
        wf_spin_lock(lock);
    }
    wf_spin_unlock(lock);
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

typedef struct wait_op {
    wf_token_waiter waiter;
    weft_token *token;
    wf_spin *lock;    /* the token's; the token itself may go once it has fired */
    weft_waker waker; /* under lock */
    bool waiting;     /* the token was seen uncancelled, and the waiter linked */
} wait_op;

static bool fire_wait(wf_token_waiter *waiter, weft_waker *out)
{
    wait_op *op = wf_container(waiter, wait_op, waiter);
    *out = op->waker;
    op->waker = (weft_waker){NULL, NULL};
    return true;
}

/* Under lock: has it been cancelled? */
static bool has_fired(wait_op *op) { return op->waiting ? !wf_node_linked(&op->waiter.node) : is_cancelled(op->token); }

/* It waits already: has it fired, or is there nothing to change? */
static bool is_settled(wait_op *op, const weft_waker *waker, bool *fired)
{
    wf_spin_lock(op->lock);
    *fired = has_fired(op);
    bool same = *fired || weft_waker_will_wake(&op->waker, waker);
    wf_spin_unlock(op->lock);
    return same;
}

/* @waker becomes the one before it. */
static void wait_locked(wait_op *op, weft_waker *waker)
{
    weft_waker old = op->waker;
    op->waker = *waker;
    *waker = old;
    if (!op->waiting)
        wf_list_push_back(&op->token->waiters, &op->waiter.node);
    op->waiting = true;
}

/* Of several tasks that poll in turn, the last is the one that is woken. Wakers are cloned and dropped outside the lock. */
static ssize_t poll_wait(wait_op *op, weft_context *cx)
{
    weft_waker waker;
    bool fired;
    if (op->waiting && is_settled(op, weft_context_waker(cx), &fired))
        return fired ? 0 : WEFT_PENDING;
    int err = weft_waker_clone(weft_context_waker(cx), &waker);
    if (err < 0)
        return err;
    wf_spin_lock(op->lock);
    fired = has_fired(op);
    if (!fired)
        wait_locked(op, &waker);
    wf_spin_unlock(op->lock);
    weft_waker_drop(&waker);
    return fired ? 0 : WEFT_PENDING;
}

static ssize_t wait_poll(void *arg, weft_context *cx)
{
    wait_op *op = arg;
    ssize_t result = poll_wait(op, cx);
    if (result == WEFT_PENDING)
        wf_exec_waits_at(cx->exec, WF_WAIT_TOKEN, op->token);
    return result;
}

static ssize_t wait_cancel(void *arg)
{
    wait_op *op = arg;
    if (!op->waiting)
        return WEFT_PENDING;
    wf_spin_lock(op->lock);
    bool fired = has_fired(op);
    wf_node_unlink(&op->waiter.node);
    weft_waker waker = op->waker;
    wf_spin_unlock(op->lock);
    weft_waker_drop(&waker);
    return fired ? 0 : WEFT_PENDING;
}

static const wf_op_ops wait_ops = {.poll = wait_poll, .cancel = wait_cancel};

static wait_op wait_for(weft_token *t) { return (wait_op){.waiter.fire = fire_wait, .token = t, .lock = t->lock}; }

int weft_token_wait(weft_token *t)
{
    if (!t)
        return WEFT_EINVAL;
    wait_op op = wait_for(t);
    return (int)wf_await(&wait_ops, &op, WEFT_FOREVER);
}

WF_CASE_FITS(wait_op);

static ssize_t poll_case(weft_case *c, weft_context *cx)
{
    wait_op *op = WF_CASE_STATE(c, wait_op);
    if (!op->token)
        *op = wait_for(c->object_);
    return wait_poll(op, cx);
}

static void leave_case(weft_case *c) { wait_cancel(WF_CASE_STATE(c, wait_op)); }

const struct weft_case_ops weft_case_token_ = {.poll = poll_case, .leave = leave_case};

/* ---- binding a scope ----------------------------------------------------------------------------------------- */

typedef struct binding {
    wf_binding base;
    wf_token_waiter waiter;
    wf_spin *lock;
    wf_exec *exec; /* under lock: who has the scope entered and runs; alive while it stands here */
} binding;

/* [BINDING] the firing is published, then the mark, then the wake. */
static bool fire_binding(wf_token_waiter *waiter, weft_waker *out)
{
    binding *b = wf_container(waiter, binding, waiter);
    wf_store_rel(&b->base.fired, 1);
    if (!b->exec)
        return false;
    if (b->exec->ops->mark)
        b->exec->ops->mark(b->exec);
    return weft_waker_clone(&b->exec->cx.waker, out) == 0; /* weft's own: it only counts */
}

static void retarget_binding(wf_binding *base, wf_exec *exec)
{
    binding *b = wf_container(base, binding, base);
    wf_spin_lock(b->lock);
    b->exec = exec;
    wf_spin_unlock(b->lock);
}

static void release_binding(wf_binding *base)
{
    binding *b = wf_container(base, binding, base);
    wf_spin_lock(b->lock); /* waits for a firing in flight */
    wf_node_unlink(&b->waiter.node);
    wf_spin_unlock(b->lock);
    free(b);
}

int weft_scope_bind(weft_scope *scope, weft_token *token)
{
    wf_exec *exec = token ? wf_scope_owner(scope) : NULL;
    if (!exec)
        return WEFT_EINVAL;
    binding *b = malloc(sizeof *b);
    if (!b)
        return WEFT_ENOMEM;
    *b = (binding){.base = {.scope = scope, .retarget = retarget_binding, .release = release_binding},
                   .waiter = {.fire = fire_binding},
                   .lock = token->lock,
                   .exec = exec};
    wf_node_init(&b->waiter.node);
    b->base.next = exec->body->bindings;
    exec->body->bindings = &b->base;
    wf_spin_lock(b->lock);
    bool already = is_cancelled(token);
    if (!already)
        wf_list_push_back(&token->waiters, &b->waiter.node);
    wf_spin_unlock(b->lock);
    return already ? weft_scope_cancel(scope) : 0;
}
