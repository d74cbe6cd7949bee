/* chan.c - channels of any number of senders and receivers.
 *
 *   items      in a ring, or in a growing list of blocks (unbounded), in the order of the sends
 *   receivers  those that wait, first come first served: while one waits that can be served, nothing lies in the channel
 *   senders    those that wait, with the address of their item: the next place is the first one's
 *
 * Each operation is one section of the lock, and whoever completes another's operation does all of it there: the item is copied, the node
 * unlinked, the outcome written, the waker moved out; the waking comes after the unlock. So an operation that is interrupted learns under the
 * same lock whether it was completed, and nothing is lost or given twice (d12, d24). Nodes of a select are served only if they can be decided:
 * see case.h. */
#include <assert.h>
#include <base/case.h>
#include <base/exec.h>
#include <base/list.h>
#include <base/lock.h>
#include <stdlib.h>
#include <string.h>
#include <runtime/task.h>
#include <sync/chan.h>

enum { BLOCK_BYTES = 4096, BLOCK_ITEMS_MIN = 16 };

typedef struct block {
    struct block *next;
    alignas(16) char items[];
} block;

/* An item whose receiver went before it looked at it. */
typedef struct returned {
    struct returned *next;
    uint64_t turn; /* when it was handed to that receiver */
    alignas(16) char item[];
} returned;

/* Two threads that use it at once hand each other its cache lines: what each operation needs is in the first two. */
struct weft_chan {
    alignas(WF_CACHE_LINE) wf_spin lock;
    bool closed;      /* under lock, and so all below */
    bool freed;       /* its contents are gone, and the last of them frees it */
    uint32_t closers; /* who tells those who wait and will come back: more than it can tell at a time have to be told */
    size_t item_size, capacity;
    size_t len;
    size_t head, tail;  /* places in the ring, or in the first and the last block */
    char *ring;         /* bounded */
    returned *returned; /* in the order of their turns; before all others, and beyond the capacity */
    wf_list receivers, senders;
    weft_chan_options options;
    uint64_t turns; /* items handed to those who waited */
    block *first, *last, *spare;
    size_t block_items; /* unbounded */
};

/* ---- items --------------------------------------------------------------------------------------------------- */

/* Most items are a word. */
static inline void copy_item(const weft_chan *ch, void *to, const void *from)
{
    if (wf_likely(ch->item_size == sizeof(uint64_t)))
        memcpy(to, from, sizeof(uint64_t));
    else
        memcpy(to, from, ch->item_size);
}

static inline bool unbounded(const weft_chan *ch) { return ch->capacity == WEFT_UNBOUNDED; }

static bool needs_block(const weft_chan *ch)
{
    return unbounded(ch) && (!ch->last || ch->tail == ch->block_items) && !ch->spare;
}

static void add_block(weft_chan *ch)
{
    block *b = ch->spare;
    ch->spare = NULL;
    b->next = NULL;
    if (ch->last) {
        ch->last->next = b;
    } else {
        ch->first = b;
        ch->head = 0;
    }
    ch->last = b;
    ch->tail = 0;
}

/* There is a place. */
static void push(weft_chan *ch, const void *item)
{
    if (unbounded(ch)) {
        if (!ch->last || ch->tail == ch->block_items)
            add_block(ch);
        copy_item(ch, ch->last->items + ch->tail++ * ch->item_size, item);
    } else {
        copy_item(ch, ch->ring + ch->tail * ch->item_size, item);
        ch->tail = ch->tail + 1 == ch->capacity ? 0 : ch->tail + 1;
    }
    ch->len++;
}

/* One block is kept for the next time. */
static void drop_first_block(weft_chan *ch)
{
    block *b = ch->first;
    ch->first = b->next;
    ch->head = 0;
    if (!ch->first)
        ch->last = NULL;
    if (ch->spare)
        free(b);
    else
        ch->spare = b;
}

/* Of those that have not been returned, the first. There is one. */
static inline char *first_place(const weft_chan *ch)
{
    return (unbounded(ch) ? ch->first->items : ch->ring) + ch->head * ch->item_size;
}

/* It has been taken from there. */
static inline void leave_place(weft_chan *ch)
{
    ch->head++;
    if (!unbounded(ch))
        ch->head = ch->head == ch->capacity ? 0 : ch->head;
    else if (ch->head == ch->block_items || (ch->first == ch->last && ch->head == ch->tail))
        drop_first_block(ch);
    ch->len--;
}

static void leave_returned(weft_chan *ch)
{
    returned *r = ch->returned;
    ch->returned = r->next;
    free(r);
    ch->len--;
}

/* There is an item. */
static void pop(weft_chan *ch, void *item)
{
    if (wf_unlikely(ch->returned != NULL)) {
        copy_item(ch, item, ch->returned->item);
        leave_returned(ch);
    } else {
        copy_item(ch, item, first_place(ch));
        leave_place(ch);
    }
}

/* ---- those who wait ------------------------------------------------------------------------------------------ */

/* The first that can be served, unlinked and served but for the item; NULL: none. A select does not pair with itself. */
static wf_chan_node *choose(wf_list *waiters, const wf_select_word *self)
{
    for (wf_node *n = waiters->head.next; n != &waiters->head; n = n->next) {
        wf_chan_node *node = wf_container(n, wf_chan_node, node);
        if (node->select && (node->select == self || !wf_select_decide(node->select, node->index)))
            continue;
        wf_node_unlink(n);
        return node;
    }
    return NULL;
}

/* The same. Few wait in a select. */
WF_INLINE wf_chan_node *first(wf_list *waiters, const wf_select_word *self)
{
    if (wf_list_empty(waiters))
        return NULL;
    wf_chan_node *node = wf_container(waiters->head.next, wf_chan_node, node);
    if (wf_unlikely(node->select != NULL))
        return choose(waiters, self);
    wf_node_unlink(&node->node);
    return node;
}

/* Its operation is over, and from the last line on it may be gone: the waker is the caller's. */
static void finish(wf_chan_node *node, int status, weft_waker *out)
{
    *out = node->waker;
    node->waker = (weft_waker){NULL, NULL};
    node->status = status;
    wf_store_rel(&node->done, 1); /* [SERVED] release: all of it, and the item */
}

/* Its owner's, without the lock. */
static inline bool was_served(const wf_chan_op *op) { return wf_load_acq(&op->node.done); /* [SERVED] acquire */ }

static void serve_receiver(const weft_chan *ch, wf_chan_node *receiver, const void *item, uint64_t turn, weft_waker *out)
{
    copy_item(ch, receiver->item, item);
    receiver->turn = turn;
    finish(receiver, 0, out);
}

/* ---- the two operations, under lock: 0, WEFT_EAGAIN or WEFT_ECLOSED ------------------------------------------ */

/* Inlined: for who does not select, half of each goes away. */

/* [QUEUED] An item may lie here while receivers are queued, and a place be free while senders are. Then all of these are selects that poll
 * just now, and have missed it: they poll again before they wait, or leave. Until then whoever comes may have it. */
WF_INLINE int send_locked(weft_chan *ch, const void *item, const wf_select_word *self, weft_waker *out)
{
    if (ch->closed)
        return WEFT_ECLOSED;
    wf_chan_node *receiver = first(&ch->receivers, self);
    if (receiver) {
        assert(ch->len == 0); /* [QUEUED] */
        serve_receiver(ch, receiver, item, ++ch->turns, out);
        return 0;
    }
    if (ch->len >= ch->capacity)
        return WEFT_EAGAIN;
    push(ch, item);
    return 0;
}

WF_INLINE int recv_locked(weft_chan *ch, void *item, const wf_select_word *self, weft_waker *out)
{
    wf_chan_node *sender;
    if (ch->len > 0) {
        pop(ch, item);
        if (ch->len < ch->capacity && (sender = first(&ch->senders, self))) {
            push(ch, sender->item);
            finish(sender, 0, out);
        }
        return 0;
    }
    sender = first(&ch->senders, self);
    if (!sender)
        return ch->closed ? WEFT_ECLOSED : WEFT_EAGAIN;
    copy_item(ch, item, sender->item);
    finish(sender, 0, out);
    return 0;
}

static inline int operate_locked(weft_chan *ch, wf_chan_op *op, const wf_select_word *self, weft_waker *out)
{
    return op->sends ? send_locked(ch, op->node.item, self, out) : recv_locked(ch, op->node.item, self, out);
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

/* A block is allocated outside the lock. Called locked; returns locked, or WEFT_ENOMEM and not. */
WF_NOINLINE static int make_room(weft_chan *ch) WF_NO_THREAD_SAFETY
{
    while (needs_block(ch) && !ch->closed) {
        wf_spin_unlock(&ch->lock);
        block *b = malloc(sizeof *b + ch->block_items * ch->item_size);
        if (!b)
            return WEFT_ENOMEM;
        wf_spin_lock(&ch->lock);
        if (ch->spare)
            free(b);
        else
            ch->spare = b;
    }
    return 0;
}

static inline int lock_with_room(weft_chan *ch, bool sends) WF_NO_THREAD_SAFETY
{
    wf_spin_lock(&ch->lock);
    return wf_unlikely(sends && unbounded(ch)) ? make_room(ch) : 0;
}

static inline void unlock_and_wake(weft_chan *ch, weft_waker *waker) WF_RELEASE(ch->lock) WF_NO_THREAD_SAFETY
{
    wf_spin_unlock(&ch->lock);
    if (waker->ops)
        weft_waker_wake(waker);
}

static void queue_locked(wf_chan_op *op, weft_waker waker)
{
    op->node.waker = waker;
    op->queued = true;
    wf_list_push_back(op->sends ? &op->ch->senders : &op->ch->receivers, &op->node.node);
}

/* Nothing to be had, and @op not in the queue yet: its waker is somebody else's code, and cloned outside the lock. */
static ssize_t enqueue(wf_chan_op *op, weft_context *cx) WF_NO_THREAD_SAFETY
{
    weft_chan *ch = op->ch;
    weft_waker mine, other = {NULL, NULL};
    int err = wf_context_clone_waker(cx, &mine);
    if (err < 0)
        return err;
    if ((err = lock_with_room(ch, op->sends)) < 0) {
        weft_waker_drop(&mine);
        return err;
    }
    int result = operate_locked(ch, op, op->node.select, &other);
    if (result == WEFT_EAGAIN) {
        queue_locked(op, mine);
        mine = (weft_waker){NULL, NULL};
    }
    unlock_and_wake(ch, &other);
    weft_waker_drop(&mine);
    return result;
}

/* Another task polls it now: it is the one to wake. Cloned and dropped outside the lock. */
static ssize_t hand_over(wf_chan_op *op, weft_context *cx)
{
    weft_waker waker;
    int err = wf_context_clone_waker(cx, &waker);
    if (err < 0)
        return err;
    wf_spin_lock(&op->ch->lock);
    bool done = was_served(op);
    int result = done ? op->node.status : WEFT_EAGAIN;
    if (!done) {
        weft_waker old = op->node.waker;
        op->node.waker = waker;
        waker = old;
    }
    wf_spin_unlock(&op->ch->lock);
    weft_waker_drop(&waker);
    return result;
}

/* Queued: has it been served? If not, and a select polls it, it helps itself. */
static ssize_t look_again(wf_chan_op *op, weft_context *cx) WF_NO_THREAD_SAFETY
{
    weft_chan *ch = op->ch;
    weft_waker other = {NULL, NULL};
    int err = lock_with_room(ch, op->sends && op->node.select);
    if (err < 0)
        return err;
    bool done = was_served(op);
    int result = done ? op->node.status : WEFT_EAGAIN;
    bool same = done || weft_waker_will_wake(&op->node.waker, weft_context_waker(cx));
    if (!done && op->node.select) {
        result = operate_locked(ch, op, op->node.select, &other);
        if (result != WEFT_EAGAIN)
            wf_node_unlink(&op->node.node);
    }
    unlock_and_wake(ch, &other);
    return same || result != WEFT_EAGAIN ? result : hand_over(op, cx);
}

static inline void waits(const wf_chan_op *op, const weft_context *cx)
{
    wf_exec_waits_at(cx->exec, (wf_wait)op->kind, op->ch);
}

static inline ssize_t poll_queued(void *arg, weft_context *cx)
{
    wf_chan_op *op = arg;
    if (wf_likely(was_served(op)))
        return op->node.status;
    waits(op, cx);
    return look_again(op, cx);
}

/* Called locked, with nothing to be had. A task's waker is cloned under the lock. */
static inline ssize_t queue_and_unlock(wf_chan_op *op, weft_context *cx) WF_NO_THREAD_SAFETY
{
    weft_waker mine;
    waits(op, cx);
    bool queued = wf_context_is_tasks(cx) && wf_context_clone_waker(cx, &mine) == 0;
    if (queued)
        queue_locked(op, mine);
    wf_spin_unlock(&op->ch->lock);
    return queued ? WEFT_PENDING : enqueue(op, cx);
}

ssize_t wf_chan_poll(void *arg, weft_context *cx) WF_NO_THREAD_SAFETY
{
    wf_chan_op *op = arg;
    weft_waker other = {NULL, NULL};
    if (op->queued)
        return poll_queued(op, cx);
    int err = lock_with_room(op->ch, op->sends);
    if (wf_unlikely(err < 0))
        return err;
    int result = operate_locked(op->ch, op, op->node.select, &other);
    if (result == WEFT_EAGAIN)
        return queue_and_unlock(op, cx);
    unlock_and_wake(op->ch, &other);
    return result;
}

ssize_t wf_chan_cancel(void *arg)
{
    wf_chan_op *op = arg;
    if (!op->queued)
        return WEFT_PENDING;
    if (was_served(op)) { /* out of the queue, and the channel may be gone */
        op->queued = false;
        return op->node.status;
    }
    wf_spin_lock(&op->ch->lock);
    bool done = was_served(op);
    wf_node_unlink(&op->node.node);
    weft_waker waker = op->node.waker;
    op->node.waker = (weft_waker){NULL, NULL};
    wf_spin_unlock(&op->ch->lock);
    op->queued = false;
    weft_waker_drop(&waker);
    return done ? op->node.status : WEFT_PENDING;
}

static void insert_returned(weft_chan *ch, returned *r)
{
    returned **at = &ch->returned;
    while (*at && (*at)->turn < r->turn)
        at = &(*at)->next;
    r->next = *at;
    *at = r;
    ch->len++;
}

/* Its receiver has gone without looking at it: it is the next one's, before all that came later. */
static void give_back(weft_chan *ch, void *item, uint64_t turn)
{
    weft_waker other = {NULL, NULL};
    returned *r = malloc(sizeof *r + ch->item_size);
    if (r) {
        copy_item(ch, r->item, item);
        r->turn = turn;
    }
    wf_spin_lock(&ch->lock);
    wf_chan_node *receiver = first(&ch->receivers, NULL);
    if (receiver)
        serve_receiver(ch, receiver, item, turn, &other);
    else if (r)
        insert_returned(ch, r);
    unlock_and_wake(ch, &other);
    if (receiver)
        free(r);
    else if (!r)
        wf_call_back(ch->options.drop, item); /* out of memory, and nobody to take it */
}

/* ---- references ---------------------------------------------------------------------------------------------- */

static void take_reference(weft_chan *ch, const void *item)
{
    if (wf_unlikely(ch->options.copy != NULL))
        ch->options.copy((void *)item);
}

/* It has not been sent after all. */
static int give_reference_back(weft_chan *ch, const void *item, int result)
{
    if (wf_unlikely(result < 0 && ch->options.copy && ch->options.drop))
        wf_call_back(ch->options.drop, (void *)item);
    return result;
}

void wf_chan_begin(wf_chan_op *op)
{
    op->holds = op->sends;
    if (op->holds)
        take_reference(op->ch, op->node.item);
}

void wf_chan_end(wf_chan_op *op, ssize_t result)
{
    if (op->holds)
        give_reference_back(op->ch, op->node.item, (int)result);
    op->holds = false;
}

/* ---- poll twins ---------------------------------------------------------------------------------------------- */

WF_OP_FITS(wf_chan_op);

void wf_chan_undo(wf_chan_op *op)
{
    if (was_served(op) && op->node.status == 0 && !op->sends)
        give_back(op->ch, op->node.item, op->node.turn);
}

static void leave_op(weft_op *op)
{
    wf_chan_op *own = WF_OP_STATE(op, wf_chan_op);
    wf_chan_end(own, wf_chan_cancel(own));
    wf_chan_undo(own);
}

static const struct weft_op_ops chan_op_ops = {.leave = leave_op};

static weft_poll poll_op(weft_context *cx, weft_op *op, weft_chan *ch, bool sends, void *item)
{
    wf_chan_op *own = WF_OP_STATE(op, wf_chan_op);
    if (!op->ops_) {
        wf_chan_op_init(own, ch, sends, item);
        op->ops_ = &chan_op_ops;
        wf_chan_begin(own);
    }
    int result = (int)wf_chan_poll(own, cx);
    if (result == WEFT_PENDING)
        return result;
    wf_chan_cancel(own); /* it may have failed while it was in the queue */
    wf_chan_end(own, result);
    op->ops_ = NULL;
    return result;
}

weft_poll weft_poll_chan_send(weft_context *cx, weft_op *op, weft_chan *ch, const void *item)
{
    return cx && op && ch && item ? poll_op(cx, op, ch, true, (void *)item) : WEFT_EINVAL;
}

weft_poll weft_poll_chan_recv(weft_context *cx, weft_op *op, weft_chan *ch, void *item)
{
    return cx && op && ch && item ? poll_op(cx, op, ch, false, item) : WEFT_EINVAL;
}

void weft_op_drop(weft_op *op)
{
    if (!op || !op->ops_)
        return;
    op->ops_->leave(op);
    op->ops_ = NULL;
}

/* ---- public -------------------------------------------------------------------------------------------------- */

static const wf_op_ops queued_ops = {.poll = poll_queued, .cancel = wf_chan_cancel};

/* Called locked, with nothing to be had. Not inlined: who need not wait needs no frame for it. */
WF_NOINLINE static int wait_and_unlock(weft_chan *ch, wf_wait kind, void *item, wf_exec *exec)
{
    wf_chan_op op;
    bool sends = kind == WF_WAIT_CHAN_SEND;
    wf_chan_op_init(&op, ch, sends, item);
    op.kind = (uint8_t)kind;
    ssize_t result = queue_and_unlock(&op, &exec->cx);
    if (wf_likely(result == WEFT_PENDING))
        result = wf_await_pending(exec, &queued_ops, &op, WEFT_FOREVER);
    else
        wf_spend(exec);
    return sends ? give_reference_back(ch, item, (int)result) : (int)result;
}

int weft_chan_send(weft_chan *ch, const void *item) WF_NO_THREAD_SAFETY
{
    weft_waker other = {NULL, NULL};
    wf_exec *exec;
    if (wf_unlikely(!ch || !item))
        return WEFT_EINVAL;
    take_reference(ch, item);
    int result = wf_await_entry(&exec);
    if (wf_unlikely(result < 0))
        return give_reference_back(ch, item, result);
    if (wf_unlikely((result = lock_with_room(ch, true)) < 0))
        return give_reference_back(ch, item, result);
    result = send_locked(ch, item, NULL, &other);
    if (result == WEFT_EAGAIN)
        return wait_and_unlock(ch, WF_WAIT_CHAN_SEND, (void *)item, exec);
    unlock_and_wake(ch, &other);
    wf_spend(exec);
    return give_reference_back(ch, item, result);
}

WF_INLINE int recv_as(weft_chan *ch, void *item, wf_wait kind) WF_NO_THREAD_SAFETY
{
    weft_waker other = {NULL, NULL};
    wf_exec *exec;
    if (wf_unlikely(!ch || !item))
        return WEFT_EINVAL;
    int result = wf_await_entry(&exec);
    if (wf_unlikely(result < 0))
        return result;
    wf_spin_lock(&ch->lock);
    result = recv_locked(ch, item, NULL, &other);
    if (result == WEFT_EAGAIN)
        return wait_and_unlock(ch, kind, item, exec);
    unlock_and_wake(ch, &other);
    wf_spend(exec);
    return result;
}

int weft_chan_recv(weft_chan *ch, void *item) { return recv_as(ch, item, WF_WAIT_CHAN_RECV); }

int wf_chan_recv_only(weft_chan *ch, void *item) { return recv_as(ch, item, WF_WAIT_ONESHOT); }

static int try_now(weft_chan *ch, bool sends, void *item) WF_NO_THREAD_SAFETY
{
    weft_waker other = {NULL, NULL};
    int result = lock_with_room(ch, sends);
    if (result < 0)
        return result;
    result = sends ? send_locked(ch, item, NULL, &other) : recv_locked(ch, item, NULL, &other);
    unlock_and_wake(ch, &other);
    return result;
}

int weft_chan_try_send(weft_chan *ch, const void *item)
{
    if (!ch || !item)
        return WEFT_EINVAL;
    take_reference(ch, item);
    return give_reference_back(ch, item, try_now(ch, true, (void *)item));
}

int weft_chan_try_recv(weft_chan *ch, void *item) { return ch && item ? try_now(ch, false, item) : WEFT_EINVAL; }

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* Where they lie: out of memory they are dropped too. */
static void drop_rest(weft_chan *ch)
{
    if (!ch->options.drop)
        return;
    for (; ch->returned; leave_returned(ch))
        wf_call_back(ch->options.drop, ch->returned->item);
    for (; ch->len > 0; leave_place(ch))
        wf_call_back(ch->options.drop, first_place(ch));
}

static void free_places(weft_chan *ch)
{
    for (block *b = ch->first, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    for (returned *r = ch->returned, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    free(ch->spare);
    free(ch->ring);
}

#if WF_STRESS
enum { CLOSE_BATCH = 1 }; /* so that others come in between */
#else
enum { CLOSE_BATCH = 16 };
#endif

static unsigned close_some(wf_list *waiters, weft_waker *wakers, unsigned most)
{
    wf_chan_node *node;
    unsigned n = 0;
    while (n < most && (node = choose(waiters, NULL)))
        finish(node, WEFT_ECLOSED, &wakers[n++]);
    return n;
}

/* Some of them. A select that polls just now stays, and finds the channel closed when it polls again. @again: it was called before. Returns whether it is
 * to be called again; if not, the channel is not touched any more, for the last to be woken may free it. */
static bool close_batch(weft_chan *ch, bool again)
{
    weft_waker wakers[CLOSE_BATCH];
    wf_spin_lock(&ch->lock);
    ch->closed = true;
    unsigned n = close_some(&ch->senders, wakers, CLOSE_BATCH);
    if (ch->len == 0)
        n += close_some(&ch->receivers, wakers + n, CLOSE_BATCH - n);
    bool more = n == CLOSE_BATCH && !(wf_list_empty(&ch->senders) && wf_list_empty(&ch->receivers));
    ch->closers = ch->closers + more - again;
    bool last = ch->freed && ch->closers == 0;
    wf_spin_unlock(&ch->lock);
    for (unsigned i = 0; i < n; i++)
        weft_waker_wake(&wakers[i]);
    if (last)
        free(ch);
    return more;
}

void weft_chan_close(weft_chan *ch)
{
    for (bool more = ch && close_batch(ch, false); more;)
        more = close_batch(ch, true);
}

/* One section: once the receiver is woken it may free the channel. Whoever else waits to receive it is told there, too. */
int wf_chan_send_last(weft_chan *ch, const void *item)
{
    weft_waker wakers[CLOSE_BATCH] = {{NULL, NULL}};
    unsigned n = 1;
    wf_spin_lock(&ch->lock);
    int result = send_locked(ch, item, NULL, &wakers[0]);
    if (result == 0) {
        ch->closed = true;
        if (ch->len == 0)
            n += close_some(&ch->receivers, wakers + 1, CLOSE_BATCH - 1);
    }
    bool more = result == 0 && ch->len == 0 && !wf_list_empty(&ch->receivers);
    ch->closers += more;
    wf_spin_unlock(&ch->lock);
    for (unsigned i = 0; i < n; i++)
        weft_waker_wake(&wakers[i]);
    while (more)
        more = close_batch(ch, true);
    return result;
}

size_t weft_chan_len(weft_chan *ch)
{
    if (!ch)
        return 0;
    wf_spin_lock(&ch->lock);
    size_t len = ch->len;
    wf_spin_unlock(&ch->lock);
    return len;
}

/* What lies in it goes now, whoever frees the rest. */
int weft_chan_free(weft_chan *ch)
{
    if (!ch)
        return 0;
    wf_spin_lock(&ch->lock);
    bool busy = !wf_list_empty(&ch->senders) || !wf_list_empty(&ch->receivers), later = ch->closers > 0;
    weft_chan contents = *ch;
    ch->freed = !busy;
    wf_spin_unlock(&ch->lock);
    if (busy)
        return WEFT_EBUSY;
    drop_rest(&contents);
    free_places(&contents);
    if (!later)
        free(ch);
    return 0;
}

int weft_chan_create_sized(weft_chan **out, size_t item_size, size_t capacity, const weft_chan_options *options, size_t size)
{
    size_t bytes = 0;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (item_size == 0 || item_size > SIZE_MAX / (2 * BLOCK_ITEMS_MIN)) /* a block of them has a size */
        return WEFT_EINVAL;
    if (capacity != WEFT_UNBOUNDED && __builtin_mul_overflow(item_size, capacity, &bytes))
        return WEFT_EINVAL;
    weft_chan *ch = aligned_alloc(WF_CACHE_LINE, sizeof *ch);
    if (!ch)
        return WEFT_ENOMEM;
    memset(ch, 0, sizeof *ch);
    if (options)
        memcpy(&ch->options, options, WF_MIN(size, sizeof ch->options));
    ch->item_size = item_size;
    ch->capacity = capacity;
    ch->block_items = WF_MAX(BLOCK_BYTES / item_size, BLOCK_ITEMS_MIN);
    wf_list_init(&ch->receivers);
    wf_list_init(&ch->senders);
    if (bytes > 0 && !(ch->ring = malloc(bytes))) {
        free(ch);
        return WEFT_ENOMEM;
    }
    *out = ch;
    return 0;
}
