/* broadcast.c - each value to everybody: a ring of the latest, and a place in it for each who listens.
 *
 * Sending never waits: who is slower than the ring is long is told how many he missed. */
#include <base/case.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sync/waiters.h>
#include <weft/chan.h>

struct weft_broadcast {
    wf_spin lock;
    bool closed; /* under lock, and so all below */
    size_t item_size, capacity;
    uint64_t sent; /* values so far */
    unsigned subscriptions;
    weft_waiters_ waiters;
    char *ring;
};

struct weft_subscription {
    weft_broadcast *from;
    uint64_t next; /* under its lock, and so below: the value that comes next */
    bool busy;     /* somebody waits in it */
};

int weft_broadcast_create(weft_broadcast **out, size_t item_size, size_t capacity)
{
    size_t bytes;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (item_size == 0 || capacity == 0 || __builtin_mul_overflow(item_size, capacity, &bytes))
        return WEFT_EINVAL;
    weft_broadcast *b = calloc(1, sizeof *b);
    char *ring = b ? malloc(bytes) : NULL;
    if (!ring) {
        free(b);
        return WEFT_ENOMEM;
    }
    b->item_size = item_size;
    b->capacity = capacity;
    b->ring = ring;
    *out = b;
    return 0;
}

static char *place_of(weft_broadcast *b, uint64_t n) { return b->ring + n % b->capacity * b->item_size; }

int weft_broadcast_send(weft_broadcast *b, const void *item)
{
    if (!b || !item)
        return WEFT_EINVAL;
    wf_spin_lock(&b->lock);
    if (b->closed) {
        wf_spin_unlock(&b->lock);
        return WEFT_ECLOSED;
    }
    int listeners = (int)b->subscriptions;
    memcpy(place_of(b, b->sent++), item, b->item_size);
    wf_waiters_serve_all(&b->lock, &b->waiters);
    return listeners;
}

void weft_broadcast_close(weft_broadcast *b)
{
    if (!b)
        return;
    wf_spin_lock(&b->lock);
    b->closed = true;
    wf_waiters_serve_all(&b->lock, &b->waiters);
}

int weft_broadcast_free(weft_broadcast *b)
{
    if (!b)
        return 0;
    wf_spin_lock(&b->lock);
    bool busy = b->subscriptions > 0;
    wf_spin_unlock(&b->lock);
    if (busy)
        return WEFT_EBUSY;
    free(b->ring);
    free(b);
    return 0;
}

/* ---- listening ----------------------------------------------------------------------------------------------- */

int weft_subscribe(weft_subscription **out, weft_broadcast *b)
{
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    weft_subscription *sub = b ? malloc(sizeof *sub) : NULL;
    if (!sub)
        return b ? WEFT_ENOMEM : WEFT_EINVAL;
    wf_spin_lock(&b->lock);
    *sub = (weft_subscription){.from = b, .next = b->sent};
    b->subscriptions++;
    wf_spin_unlock(&b->lock);
    *out = sub;
    return 0;
}

void weft_unsubscribe(weft_subscription *sub)
{
    if (!sub)
        return;
    wf_spin_lock(&sub->from->lock);
    sub->from->subscriptions--;
    wf_spin_unlock(&sub->from->lock);
    free(sub);
}

/* Under lock: 0 and the next value, WEFT_EAGAIN or WEFT_ECLOSED. */
static int take_locked(weft_subscription *sub, void *item, uint64_t *missed)
{
    weft_broadcast *b = sub->from;
    uint64_t oldest = b->sent > b->capacity ? b->sent - b->capacity : 0;
    if (sub->next == b->sent)
        return b->closed ? WEFT_ECLOSED : WEFT_EAGAIN;
    *missed = sub->next < oldest ? oldest - sub->next : 0;
    sub->next += *missed;
    memcpy(item, place_of(b, sub->next++), b->item_size);
    return 0;
}

/* By whoever has it claimed. */
static int take(weft_subscription *sub, void *item, uint64_t *missed)
{
    uint64_t unwanted;
    wf_spin_lock(&sub->from->lock);
    int result = take_locked(sub, item, missed ? missed : &unwanted);
    wf_spin_unlock(&sub->from->lock);
    return result;
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

static bool has_news(wf_waiter *w)
{
    weft_subscription *sub = w->object;
    return sub->next != sub->from->sent || sub->from->closed;
}

static wf_waiter wait_for(weft_subscription *sub)
{
    return (wf_waiter){
        .lock = &sub->from->lock, .queue = &sub->from->waiters, .take = has_news, .object = sub, .kind = WF_WAIT_BROADCAST};
}

static bool claim(weft_subscription *sub)
{
    wf_spin_lock(&sub->from->lock);
    bool mine = !sub->busy;
    sub->busy = true;
    wf_spin_unlock(&sub->from->lock);
    return mine;
}

static void release(weft_subscription *sub)
{
    wf_spin_lock(&sub->from->lock);
    sub->busy = false;
    wf_spin_unlock(&sub->from->lock);
}

/* It is the only one who takes, so what was there when it was served is there now. */
int weft_subscription_recv(weft_subscription *sub, void *item, uint64_t *missed)
{
    if (!sub || !item)
        return WEFT_EINVAL;
    if (!claim(sub))
        return WEFT_EBUSY;
    wf_waiter w = wait_for(sub);
    int err = (int)wf_await_inline(&wf_waiter_ops, &w, WEFT_FOREVER);
    if (err == 0)
        err = take(sub, item, missed);
    release(sub);
    return err;
}

int weft_subscription_try_recv(weft_subscription *sub, void *item, uint64_t *missed)
{
    if (!sub || !item)
        return WEFT_EINVAL;
    if (!claim(sub))
        return WEFT_EBUSY;
    int result = take(sub, item, missed);
    release(sub);
    return result;
}

typedef struct case_state {
    wf_waiter waiter;
    bool claimed;
} case_state;

WF_CASE_FITS(case_state);

/* Its status: how many were missed. */
static ssize_t poll_case(weft_case *c, weft_context *cx)
{
    weft_subscription *sub = c->object_;
    case_state *state = WF_CASE_STATE(c, case_state);
    uint64_t missed = 0;
    if (!state->claimed) {
        if (!claim(sub))
            return WEFT_EBUSY;
        state->claimed = true;
        state->waiter = wait_for(sub);
    }
    ssize_t err = wf_waiter_poll(&state->waiter, cx);
    if (err < 0)
        return err;
    int result = take(sub, c->value_, &missed);
    return result < 0 ? result : (ssize_t)WF_MIN(missed, INT_MAX);
}

static void leave_case(weft_case *c)
{
    case_state *state = WF_CASE_STATE(c, case_state);
    if (!state->claimed)
        return;
    wf_waiter_cancel(&state->waiter);
    release(c->object_);
}

const struct weft_case_ops weft_case_subscription_ = {.poll = poll_case, .leave = leave_case};
