/* group.c - children that do not outlive their group.
 *
 * The group is the joiner of each child: the child's join waker tells it of the end, in the order of the ends. A member stands for a
 * child from its spawn until its result is taken.
 *
 *   lists, under lock   running ─ (cancel) → aborted ─ (it ends) → done ─ (next) → gone
 *
 * It is freed when no child is left and nobody is inside: neither a waiter that has not returned yet nor a thread between two of its
 * lock's sections. Whoever settles last wakes the closer, and touches nothing after the unlock. If its owner ends while another
 * closes it, both wait for the children, and the owner waits for the other, too, and frees it. */
#include <base/case.h>
#include <base/scope.h>
#include <base/waits.h>
#include <runtime/group.h>
#include <runtime/runtime.h>
#include <stdlib.h>
#include <string.h>

typedef struct wf_member {
    wf_node node; /* under the group's lock */
    weft_group *group;
    weft_task *task; /* with its handle */
    bool spawning;   /* under lock, and so below: the spawner is not done with it */
    bool ended;
    bool gone; /* everybody but the spawner is done with it */
} wf_member;

struct weft_group {
    wf_dependent dependent;
    weft_group_options options;
    wf_spin lock;
    wf_list running, aborted, done; /* under lock, and so all below */
    size_t live;                    /* children that have not ended, reserved places included */
    unsigned inside;                /* threads and waiters that will come back to the lock */
    unsigned closers;               /* … and those who close it, but its owner at its end */
    bool cancelled;
    bool orphan; /* its owner could not wait for it: the last one out frees it */
    int failure; /* the first child's that failed */
    bool lost;   /* a child was aborted */
    wf_list waiters;
};

/* ---- who may go on ------------------------------------------------------------------------------------------- */

enum { BATCH = 16 };

static bool has_room(const weft_group *g) { return g->options.limit == 0 || g->live < g->options.limit; }

static bool is_ready(weft_group *g, wf_group_want want)
{
    switch (want) {
    case WF_GROUP_NEXT:
        return !wf_list_empty(&g->done) || g->live == 0;
    case WF_GROUP_ENDED:
        return g->live == 0;
    case WF_GROUP_ROOM:
    case WF_GROUP_ROOM_SEEN:
        return g->cancelled || has_room(g);
    case WF_GROUP_CLOSE:
        return g->live == 0 && g->inside == 0;
    default:
        return g->live == 0 && g->inside == 0 && g->closers == 0;
    }
}

/* One waiter for a result, one for a place: each that has got one looks whether there is more, and wakes the next. The chosen
 * leave the list; true if the batch was too small. */
static bool choose_locked(weft_group *g, weft_waker *wakers, unsigned *n)
{
    bool next = false, room = false;
    for (wf_node *node = g->waiters.head.next, *following; node != &g->waiters.head; node = following) {
        following = node->next;
        wf_group_op *op = wf_container(node, wf_group_op, node);
        bool *turn = op->want == WF_GROUP_NEXT && g->live > 0     ? &next
                     : op->want == WF_GROUP_ROOM && !g->cancelled ? &room
                                                                  : NULL;
        if ((turn && *turn) || !is_ready(g, op->want))
            continue;
        if (*n == BATCH)
            return true;
        if (turn)
            *turn = true;
        wf_node_unlink(node);
        wakers[(*n)++] = op->waker;
        op->waker = (weft_waker){NULL, NULL};
    }
    return false;
}

static void destroy(weft_group *g);

/* Unlock, after whatever has changed. Nothing of the group is touched afterwards. */
static void settle(weft_group *g) WF_RELEASE(g->lock) WF_NO_THREAD_SAFETY
{
    weft_waker wakers[BATCH];
    for (bool more = true; more;) {
        unsigned n = 0;
        more = choose_locked(g, wakers, &n);
        g->inside += more;
        bool last = g->orphan && is_ready(g, WF_GROUP_CLOSE_LAST);
        wf_spin_unlock(&g->lock);
        for (unsigned i = 0; i < n; i++)
            weft_waker_wake(&wakers[i]);
        if (last)
            destroy(g);
        if (!more)
            return;
        wf_spin_lock(&g->lock);
        g->inside--;
    }
}

/* ---- a child's end ------------------------------------------------------------------------------------------- */

static void note_end_locked(weft_group *g, int status, void *value)
{
    if (status == WEFT_EABORTED)
        g->lost = true;
    else if (status < 0 && g->failure == 0)
        g->failure = status == WEFT_EFAILED ? (int)(intptr_t)value : status;
}

/* Nobody has it any more but perhaps its spawner. */
static bool retire_locked(wf_member *m)
{
    m->gone = true;
    return !m->spawning;
}

/* Its handle may go once nobody can abort it any more. */
static void discard_result(wf_member *m)
{
    wf_spin_lock(&m->group->lock);
    wf_node_unlink(&m->node);
    m->ended = true;
    wf_spin_unlock(&m->group->lock);
    weft_try_join(m->task, NULL);
}

/* As its join waker. The task is done, and the worker runs no user code. It counts as live until its result is dropped. */
static void child_ended(weft_waker *self)
{
    wf_member *m = self->data;
    weft_group *g = m->group;
    int status = wf_task_status(m->task);
    void *value = m->task->value.v;
    bool discard = g->options.discard;
    bool failed = status < 0 && status != WEFT_EABORTED;
    if (discard)
        discard_result(m);
    wf_spin_lock(&g->lock);
    wf_node_unlink(&m->node);
    m->ended = true;
    note_end_locked(g, status, value);
    bool freed = discard && retire_locked(m);
    if (!discard)
        wf_list_push_back(&g->done, &m->node);
    bool stop = failed && g->options.fail_fast && !g->cancelled;
    g->inside += stop;
    g->live--;
    if (stop) {
        wf_spin_unlock(&g->lock);
        weft_group_cancel(g);
        wf_spin_lock(&g->lock);
        g->inside--;
    }
    settle(g);
    if (freed)
        free(m);
}

/* It is moved from the task to its completer, and never cloned. */
static int child_clone(const weft_waker *self, weft_waker *out)
{
    *out = *self;
    return 0;
}
static void child_by_ref(const weft_waker *self) { (void)self; }
static void child_drop(weft_waker *self) { (void)self; }
static const weft_waker_ops child_ops = {
    .clone = child_clone, .wake = child_ended, .wake_by_ref = child_by_ref, .drop = child_drop};

static bool is_child(const weft_group *g)
{
    const wf_exec *exec = wf_exec_peek();
    const weft_task *task = exec ? exec->task : NULL;
    return task && wf_task_is(task, WF_TASK_MEMBER) && ((wf_member *)task->joiner.data)->group == g;
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

/* Under lock: what it waited for is there; take it. Who needs the group afterwards comes back. */
static void get(wf_group_op *op)
{
    weft_group *g = op->group;
    if (op->want == WF_GROUP_NEXT && !wf_list_empty(&g->done))
        op->taken = wf_container(wf_list_pop_front(&g->done), wf_member, node);
    else if (op->want == WF_GROUP_ENDED)
        op->outcome = g->failure ? g->failure : g->lost ? WEFT_EABORTED : 0;
    else if (op->want == WF_GROUP_ROOM && !g->cancelled)
        op->reserved = true;
    g->live += op->reserved;
    g->inside += op->reserved || op->taken;
}

/* The waker is the caller's, to drop it outside the lock. */
static weft_waker leave_locked(wf_group_op *op)
{
    weft_waker waker = op->waker;
    op->waker = (weft_waker){NULL, NULL};
    if (op->node.next)
        wf_node_unlink(&op->node);
    op->group->inside -= op->inside;
    op->inside = false;
    return waker;
}

/* True if it was ready. */
static bool try_locked(wf_group_op *op, weft_waker *old)
{
    if (!is_ready(op->group, op->want))
        return false;
    *old = leave_locked(op);
    get(op);
    return true;
}

static void wait_locked(wf_group_op *op, weft_waker *waker)
{
    weft_group *g = op->group;
    weft_waker old = op->waker;
    op->waker = *waker;
    *waker = old;
    if (!op->node.next)
        wf_node_init(&op->node);
    if (!wf_node_linked(&op->node))
        wf_list_push_back(&g->waiters, &op->node);
    if (!op->inside && op->want < WF_GROUP_CLOSE) {
        op->inside = true;
        g->inside++;
    }
}

/* Give up, for whatever reason: what it was chosen for is another's. */
static void give_up(wf_group_op *op)
{
    wf_spin_lock(&op->group->lock);
    weft_waker waker = leave_locked(op);
    settle(op->group);
    weft_waker_drop(&waker);
}

ssize_t wf_group_op_poll(void *arg, weft_context *cx)
{
    wf_group_op *op = arg;
    weft_group *g = op->group;
    weft_waker mine, old = {NULL, NULL};
    wf_spin_lock(&g->lock);
    bool ready = try_locked(op, &old);
    settle(g);
    weft_waker_drop(&old);
    if (ready)
        return 0;
    int err = wf_context_clone_waker(cx, &mine); /* outside the lock: it is somebody else's code */
    if (err < 0) {
        give_up(op);
        return err;
    }
    wf_spin_lock(&g->lock);
    ready = try_locked(op, &old);
    if (!ready)
        wait_locked(op, &mine);
    settle(g);
    weft_waker_drop(&mine);
    weft_waker_drop(&old);
    if (ready)
        return 0;
    wf_exec_waits_at(cx->exec, WF_WAIT_GROUP, g);
    return WEFT_PENDING;
}

ssize_t wf_group_op_cancel(void *op)
{
    give_up(op);
    return WEFT_PENDING;
}

const wf_op_ops wf_group_op_ops = {.poll = wf_group_op_poll, .cancel = wf_group_op_cancel};

/* ---- spawning ------------------------------------------------------------------------------------------------ */

/* A place for one more, and the promise to come back. */
static int reserve(weft_group *g)
{
    wf_spin_lock(&g->lock);
    bool cancelled = g->cancelled, room = has_room(g);
    if (!cancelled && room) {
        g->live++;
        g->inside++;
    }
    wf_spin_unlock(&g->lock);
    if (cancelled)
        return WEFT_ECANCELED;
    if (room)
        return 0;
    wf_group_op op = {.group = g, .want = WF_GROUP_ROOM};
    ssize_t err = wf_await_inline(&wf_group_op_ops, &op, WEFT_FOREVER);
    if (err < 0)
        return (int)err;
    return op.reserved ? 0 : WEFT_ECANCELED;
}

static void give_back_place(weft_group *g)
{
    wf_spin_lock(&g->lock);
    g->live--;
    g->inside--;
    settle(g);
}

/* The child is born, and may have ended already. */
static void enroll(weft_group *g, wf_member *m)
{
    wf_spin_lock(&g->lock);
    m->spawning = false;
    bool freed = m->gone;
    if (!m->ended) {
        wf_list_push_back(g->cancelled ? &g->aborted : &g->running, &m->node);
        if (g->cancelled)
            weft_abort(m->task);
    }
    g->inside--;
    settle(g);
    if (freed)
        free(m);
}

/* A child that says nothing else has its results dropped as the group says: also those that are dropped before the group hears of
 * them, because it was aborted or panicked. */
static const weft_spawn_options *with_drop(const weft_group *g, const weft_spawn_options *options, weft_spawn_options *own)
{
    if (!g->options.drop_result || (options && options->drop_result))
        return options;
    if (options)
        *own = *options;
    own->drop_result = g->options.drop_result;
    return own;
}

int wf_group_spawn(weft_group *g, const weft_spawn_options *options, weft_fn fn, void *arg, weft_future *f)
{
    weft_spawn_options own = WEFT_SPAWN_OPTIONS_INIT;
    int err = reserve(g);
    if (err < 0)
        return err;
    wf_member *m = malloc(sizeof *m);
    if (!m) {
        give_back_place(g);
        return WEFT_ENOMEM;
    }
    *m = (wf_member){.group = g, .spawning = true};
    wf_node_init(&m->node);
    err = wf_spawn_member(&m->task, with_drop(g, options, &own), fn, arg, f, (weft_waker){&child_ops, m});
    if (err == 0) {
        enroll(g, m);
        return 0;
    }
    free(m);
    give_back_place(g);
    return err;
}

int weft_group_spawn(weft_group *g, weft_fn fn, void *arg)
{
    return g && fn ? wf_group_spawn(g, NULL, fn, arg, NULL) : WEFT_EINVAL;
}

/* ---- results ------------------------------------------------------------------------------------------------- */

/* The one who took it comes back. */
static void discard_member(weft_group *g, wf_member *m)
{
    wf_spin_lock(&g->lock);
    bool freed = retire_locked(m);
    g->inside--;
    settle(g);
    if (freed)
        free(m);
}

/* True if what it waits for is there already: that is reported whatever the caller's state. */
static bool try_now(wf_group_op *op)
{
    weft_waker none = {NULL, NULL};
    wf_spin_lock(&op->group->lock);
    bool ready = try_locked(op, &none);
    settle(op->group);
    return ready;
}

/* What a NEXT came back with. */
static int report(wf_group_op *op, void **result)
{
    if (!op->taken)
        return WEFT_EOF;
    int status = weft_try_join(op->taken->task, result);
    discard_member(op->group, op->taken);
    return status;
}

int weft_group_next(weft_group *g, void **result)
{
    if (result)
        *result = NULL;
    if (!g)
        return WEFT_EINVAL;
    wf_group_op op = {.group = g, .want = WF_GROUP_NEXT};
    ssize_t err = try_now(&op) ? 0 : wf_await_inline(&wf_group_op_ops, &op, WEFT_FOREVER);
    if (err < 0)
        return (int)err;
    return report(&op, result);
}

WF_CASE_FITS(wf_group_op);

static ssize_t poll_case(weft_case *c, weft_context *cx)
{
    wf_group_op *op = WF_CASE_STATE(c, wf_group_op);
    op->group = c->object_;
    op->want = WF_GROUP_NEXT;
    ssize_t err = wf_group_op_poll(op, cx);
    if (err == WEFT_PENDING)
        return err;
    int status = err < 0 ? (int)err : report(op, c->value_);
    op->group = NULL; /* it may go now */
    return status;
}

static void leave_case(weft_case *c)
{
    wf_group_op *op = WF_CASE_STATE(c, wf_group_op);
    if (op->group)
        wf_group_op_cancel(op);
}

const struct weft_case_ops weft_case_group_next_ = {.poll = poll_case, .leave = leave_case};

int weft_group_wait(weft_group *g)
{
    if (!g)
        return WEFT_EINVAL;
    if (is_child(g))
        return WEFT_EDEADLK;
    wf_group_op op = {.group = g, .want = WF_GROUP_ENDED};
    ssize_t err = try_now(&op) ? 0 : wf_await_inline(&wf_group_op_ops, &op, WEFT_FOREVER);
    return err < 0 ? (int)err : op.outcome;
}

size_t weft_group_running(weft_group *g)
{
    if (!g)
        return 0;
    wf_spin_lock(&g->lock);
    size_t n = g->live;
    wf_spin_unlock(&g->lock);
    return n;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* Aborting only sets a bit and queues, so it may be done under the lock: but not for too many at a time. */
static void abort_some_locked(weft_group *g)
{
    wf_node *node;
    for (unsigned n = 0; n < BATCH && (node = wf_list_pop_front(&g->running)); n++) {
        wf_list_push_back(&g->aborted, node);
        weft_abort(wf_container(node, wf_member, node)->task);
    }
}

void weft_group_cancel(weft_group *g)
{
    if (!g)
        return;
    wf_spin_lock(&g->lock);
    g->cancelled = true;
    g->inside++;
    while (!wf_list_empty(&g->running)) {
        abort_some_locked(g);
        wf_spin_unlock(&g->lock);
        wf_spin_lock(&g->lock);
    }
    g->inside--;
    settle(g);
}

static void destroy(weft_group *g)
{
    wf_node *node;
    while ((node = wf_list_pop_front(&g->done))) {
        wf_member *m = wf_container(node, wf_member, node);
        weft_try_join(m->task, NULL);
        free(m);
    }
    free(g);
}

static int await_close(weft_group *g, wf_group_want want)
{
    weft_group_cancel(g);
    wf_group_op op = {.group = g, .want = want};
    return (int)wf_await_shielded(&wf_group_op_ops, &op);
}

static void stop_closing(weft_group *g)
{
    wf_spin_lock(&g->lock);
    g->closers--;
    settle(g);
}

/* The owner's end does not come past a closer, so its body is there as long as this one is. */
static int close_group(weft_group *g)
{
    wf_spin_lock(&g->lock);
    g->closers++;
    wf_spin_unlock(&g->lock);
    int err = await_close(g, WF_GROUP_CLOSE);
    if (err == 0 && wf_dependent_remove(&g->dependent))
        destroy(g);
    else
        stop_closing(g);
    return err;
}

int weft_group_close(weft_group *g)
{
    if (!g)
        return 0;
    if (!is_child(g))
        return close_group(g);
    weft_group_cancel(g);
    return WEFT_EDEADLK;
}

/* Its creator ends where nothing can wait: then the group ends by itself. */
static void close_dependent(wf_dependent *d)
{
    weft_group *g = wf_container(d, weft_group, dependent);
    if (await_close(g, WF_GROUP_CLOSE_LAST) == 0) {
        destroy(g);
        return;
    }
    wf_spin_lock(&g->lock);
    g->orphan = true;
    settle(g);
}

static void stop_dependent(wf_dependent *d) { weft_group_cancel(wf_container(d, weft_group, dependent)); }

static int create(weft_group **out, const weft_group_options *options, size_t size, bool lasting)
{
    *out = NULL;
    wf_exec *exec = wf_exec_current();
    weft_group *g = exec ? calloc(1, sizeof *g) : NULL;
    if (!g)
        return WEFT_ENOMEM;
    if (options)
        memcpy(&g->options, options, WF_MIN(size, sizeof g->options));
    wf_list_init(&g->running);
    wf_list_init(&g->aborted);
    wf_list_init(&g->done);
    wf_list_init(&g->waiters);
    g->dependent.stop = stop_dependent;
    g->dependent.close = close_dependent;
    if (wf_exec_can_wait(exec))
        wf_dependent_add(&g->dependent, exec, lasting ? NULL : exec->body->scopes);
    *out = g;
    return 0;
}

int wf_group_create_lasting(weft_group **out, const weft_group_options *options)
{
    return create(out, options, options ? sizeof *options : 0, true);
}

int weft_group_create_sized(weft_group **out, const weft_group_options *options, size_t size)
{
    return out ? create(out, options, size, false) : WEFT_EINVAL;
}
