/* udp_turn.c - whose turn it is to send.
 *
 * Any number of tasks send, one at a time, in the order in which they came. Whoever finds the turn free takes it with one compare-and-swap,
 * sends, and gives it back with another. Whoever finds it taken gets into a queue; then the turn is handed on and never free in between.
 *
 *   TAKEN   somebody sends, or waits until the socket takes more
 *   QUEUED  somebody waited, or waits, for the turn: they have a reference to the source together, until the turn is given back with nobody waiting
 *   LISTED  stackless senders are listed, to be woken
 *   GONE    the source is gone: whoever has the turn frees this
 *
 *   event \ state     free            TAKEN                            TAKEN, QUEUED                TAKEN, GONE
 *   take              TAKEN           QUEUED on, wait; or list, LISTED the same                     impossible
 *   give back         impossible      off; LISTED: wake them           to the first, or all off     free it
 *   source gone       free it         GONE                             impossible: the reference    impossible
 *
 * A stackless sender keeps neither turn nor claim while it is pending, because nobody says so when it is dropped. It is listed with its waker.
 * All who are listed are woken when the turn is given back, and again by the socket itself: when one of them met a full socket, the waker in the
 * source's cell is that of the turns. So none depends on another that may never poll again. */
#include <net/source_op.h>
#include <net/udp.h>
#include <runtime/task.h>

#define TAKEN UINT32_C(1)
#define QUEUED UINT32_C(2)
#define LISTED UINT32_C(4)
#define GONE UINT32_C(8)

/* A stackless sender that wants to be told. */
typedef struct listed {
    struct listed *next;
    weft_waker waker;
} listed;

struct wf_udp_turns {
    wf_a32 word; /* QUEUED and LISTED change under lock only, and so does what TAKEN means to them */
    wf_a32 refs; /* the source's, or of who has the turn after that; and wakers' */
    wf_spin lock;
    weft_waiters_ queue;        /* under lock */
    listed *first, **last;      /* under lock, oldest first */
    wf_source *source;          /* written once */
    const weft_allocator *from; /* written once */
};

wf_udp_turns *wf_udp_turns_new(const weft_allocator *allocator)
{
    wf_udp_turns *t = wf_alloc(allocator, sizeof *t);
    if (!t)
        return NULL;
    t->refs.v = 1;
    t->last = &t->first;
    t->from = allocator;
    return t;
}

void wf_udp_turns_open(wf_udp_turns *t, wf_source *source) { t->source = source; }

/* ---- those who are listed -------------------------------------------------------------------------------------- */

static listed *take_list_locked(wf_udp_turns *t)
{
    listed *list = t->first;
    t->first = NULL;
    t->last = &t->first;
    wf_and_acqrel(&t->word, ~LISTED);
    return list;
}

static void wake_list(const weft_allocator *from, listed *list)
{
    for (listed *one = list, *next; one; one = next) {
        next = one->next;
        weft_waker_wake(&one->waker);
        wf_free(from, one);
    }
}

static void unref(wf_udp_turns *t)
{
    if (wf_sub_acqrel(&t->refs, 1) != 1)
        return;
    wake_list(t->from, t->first); /* they find it closed */
    wf_free(t->from, t);
}

static bool is_listed_locked(const wf_udp_turns *t, const weft_waker *waker)
{
    for (const listed *one = t->first; one; one = one->next)
        if (weft_waker_will_wake(&one->waker, waker))
            return true;
    return false;
}

/* ---- the turn -------------------------------------------------------------------------------------------------- */

static bool take_if_free(wf_udp_turns *t)
{
    uint32_t old = wf_load_rlx(&t->word);
    while (!(old & TAKEN))
        if (wf_cas_acqrel(&t->word, &old, old | TAKEN)) /* [TURN] acquire: whoever sent before is done */
            return true;
    return false;
}

/* True: it was free and is ours. False: another has it, and sees @bit when he gives it back. The queue's reference is there before its bit is;
 * should the turn have become free meanwhile, it is given up with the turn. For QUEUED under lock. */
static bool take_or_mark(wf_udp_turns *t, uint32_t bit)
{
    uint32_t old = wf_load_rlx(&t->word);
    bool held = false;
    for (;;) {
        bool taken = old & TAKEN;
        uint32_t next = taken ? old | bit : old | TAKEN | (held ? QUEUED : 0);
        if (next == old)
            return false;
        if (taken && bit == QUEUED && !held)
            held = wf_source_ref(t->source);     /* of a few: it does not fail */
        if (wf_cas_acqrel(&t->word, &old, next)) /* [TURN] acquire */
            return !taken;
    }
}

static bool take_or_queue(wf_waiter *w) { return take_or_mark(w->object, QUEUED); }

/* To the first who waits, or to nobody. The turn's own memory may be gone after the unlock. */
static void hand_on(wf_udp_turns *t, bool tell)
{
    weft_waker waker = {NULL, NULL};
    uint32_t old = 0;
    wf_spin_lock(&t->lock);
    const weft_allocator *from = t->from;
    wf_source *source = t->source;
    listed *list = tell ? take_list_locked(t) : NULL;
    wf_waiter *first = wf_waiters_first(&t->queue);
    if (first)
        waker = wf_waiter_serve(first, WF_WAITER_SERVED);
    else
        old = wf_and_acqrel(&t->word, ~(TAKEN | QUEUED)); /* [TURN] release */
    wf_spin_unlock(&t->lock);
    weft_waker_wake(&waker);
    wake_list(from, list);
    if (old & QUEUED)
        wf_source_unref(source);
    if (old & GONE)
        unref(t);
}

/* @tell: those who are listed. Not by one of them who is still pending: they wait for the same. */
static void give_back(wf_udp_turns *t, bool tell)
{
    uint32_t old = TAKEN;
    while (old == TAKEN)
        if (wf_cas_acqrel(&t->word, &old, 0)) /* [TURN] release */
            return;
    hand_on(t, tell);
}

/* Whoever has just set it free holds the lock until he is done with it. */
void wf_udp_turns_gone(wf_udp_turns *t)
{
    wf_spin_lock(&t->lock);
    uint32_t old = wf_or_acqrel(&t->word, GONE);
    wf_spin_unlock(&t->lock);
    if (!(old & TAKEN))
        unref(t);
}

/* ---- sending in turn ------------------------------------------------------------------------------------------- */

int wf_udp_send_begin(wf_udp_send *send)
{
    weft_udp *u = (weft_udp *)(void *)send->op.source;
    send->turns = wf_load_acq(&wf_udp_extra_of(u)->turns);
    send->mine = send->waits = false;
    return send->turns ? 0 : WEFT_ECLOSED;
}

static ssize_t wait_for_turn(wf_udp_send *send, weft_context *cx)
{
    wf_udp_turns *t = send->turns;
    if (!send->waits && take_if_free(t))
        return 0;
    if (!send->waits)
        send->turn = (wf_waiter){.lock = &t->lock, .queue = &t->queue, .take = take_or_queue, .object = t};
    send->waits = true;
    ssize_t err = wf_waiter_poll(&send->turn, cx);
    if (err < 0 && err != WEFT_PENDING && wf_waiter_cancel(&send->turn) == 0)
        give_back(t, true); /* it failed while it was being chosen */
    if (err == WEFT_PENDING)
        wf_source_waits(send->op.source, WF_WAIT_WRITE, cx);
    return err;
}

ssize_t wf_udp_send_poll(void *arg, weft_context *cx)
{
    wf_udp_send *send = arg;
    if (!send->mine) {
        ssize_t err = wait_for_turn(send, cx);
        if (err < 0)
            return err;
        send->mine = true;
    }
    ssize_t n = wf_source_op_poll(&send->op, cx, true);
    if (n == WEFT_PENDING)
        return n;
    give_back(send->turns, true);
    return n;
}

/* One who was chosen, and leaves all the same, hands it on. */
ssize_t wf_udp_send_cancel(void *arg)
{
    wf_udp_send *send = arg;
    if (!send->mine && wf_waiter_cancel(&send->turn) != 0)
        return WEFT_PENDING;
    wf_source_op_cancel(&send->op);
    give_back(send->turns, true);
    return WEFT_PENDING;
}

/* ---- stackless senders ----------------------------------------------------------------------------------------- */

/* What lies in the source's cell for all of them. */
static int waker_clone(const weft_waker *self, weft_waker *out)
{
    wf_udp_turns *t = self->data;
    wf_add_rlx(&t->refs, 1);
    *out = *self;
    return 0;
}

static void waker_wake_by_ref(const weft_waker *self)
{
    wf_udp_turns *t = self->data;
    wf_spin_lock(&t->lock);
    listed *list = take_list_locked(t);
    wf_spin_unlock(&t->lock);
    wake_list(t->from, list);
}

static void waker_drop(weft_waker *self) { unref(self->data); }

static void waker_wake(weft_waker *self)
{
    waker_wake_by_ref(self);
    waker_drop(self);
}

static const weft_waker_ops waker_ops = {
    .clone = waker_clone, .wake = waker_wake, .wake_by_ref = waker_wake_by_ref, .drop = waker_drop};

static void append_locked(wf_udp_turns *t, listed *one)
{
    *t->last = one;
    t->last = &one->next;
}

/* WEFT_PENDING: listed, once. 0: the turn has become free, and is ours; not for one who has it. */
static int list_or_take(wf_udp_turns *t, weft_context *cx)
{
    listed *one = wf_alloc(t->from, sizeof *one);
    int err = one ? wf_context_clone_waker(cx, &one->waker) : WEFT_ENOMEM;
    if (err < 0) {
        wf_free(t->from, one);
        return err;
    }
    wf_spin_lock(&t->lock);
    bool ours = take_or_mark(t, LISTED), there = ours || is_listed_locked(t, &one->waker);
    if (!there)
        append_locked(t, one);
    wf_spin_unlock(&t->lock);
    if (there) {
        weft_waker_drop(&one->waker);
        wf_free(t->from, one);
    }
    return ours ? 0 : WEFT_PENDING;
}

/* With the turn. Listed first, then looked at the socket again: it may have come to take more in between. */
static ssize_t poll_in_turn(wf_udp_send *send, weft_context *cx)
{
    wf_source *source = send->op.source;
    weft_context all = {.waker = {&waker_ops, send->turns}, .exec = cx->exec};
    do {
        ssize_t n = wf_source_op_poll(&send->op, &all, true);
        if (n == WEFT_PENDING && (n = list_or_take(send->turns, cx)) != WEFT_PENDING)
            wf_source_op_cancel(&send->op);
        if (n != WEFT_PENDING) {
            give_back(send->turns, true);
            return n;
        }
    } while (wf_load_acq(&source->word) & (WF_SRC_WRDY | WF_SRC_CLOSING));
    wf_source_release(source, WF_WRITE, false, send->op.word); /* the waker stays in the cell */
    give_back(send->turns, false);
    return WEFT_PENDING;
}

ssize_t wf_udp_send_poll_once(wf_udp_send *send, weft_context *cx)
{
    if (cx->exec->budget == 0) {
        weft_waker_wake_by_ref(weft_context_waker(cx));
        return WEFT_PENDING;
    }
    ssize_t n = take_if_free(send->turns) ? 0 : list_or_take(send->turns, cx);
    if (n == 0)
        n = poll_in_turn(send, cx);
    if (n == WEFT_PENDING)
        wf_source_waits(send->op.source, WF_WAIT_WRITE, cx);
    else
        cx->exec->budget--;
    return n;
}
