/* future.c - stackless tasks of random programs: each waits for one thing, once or a few times. */
#include "world.h"

#include <stdlib.h>

typedef enum future_kind { TIMER, RECEIVER, SENDER, ACQUIRER, YIELDER, SELECTOR, PANICKER, FAILER, KINDS } future_kind;

typedef struct future {
    weft_future future;
    world *world;
    const step *step;
    unsigned task;
    task_kind as;
    future_kind kind;
    unsigned polls;
    weft_op op;
    weft_timer timer;
    int64_t when;
    weft_case cases[3];
    item item;
    bool done, waits; /* in a channel */
} future;

static unsigned chan_of(const future *f) { return f->step->c % CHANS; }

/* ---- what each kind waits for ----------------------------------------------------------------------------------------- */

static weft_poll wait_for_time(future *f, weft_context *cx)
{
    weft_poll p = weft_timer_poll(cx, &f->timer);
    JUDGE(f->world, p, p == WEFT_PENDING || (p == WEFT_READY && weft_now() >= f->when));
    return p;
}

/* No order is looked at: it receives one. */
static void take(future *f, int code)
{
    JUDGE(f->world, code, code == 0 || (code == WEFT_ECLOSED && f->world->chan_closed[chan_of(f)]));
    JUDGE(f->world, code, code != 0 || (f->item.world == f->world && f->item.chan == chan_of(f)));
    if (code == 0)
        random_item_dropped(&f->item);
}

static weft_poll receive(future *f, weft_context *cx)
{
    weft_poll p = weft_poll_chan_recv(cx, &f->op, f->world->chan[chan_of(f)], &f->item);
    f->waits = p == WEFT_PENDING;
    if (!f->waits)
        take(f, p);
    return p == WEFT_PENDING ? p : WEFT_READY;
}

static weft_poll send_item(future *f, weft_context *cx)
{
    if (f->polls == 1)
        random_item_sending(f->world, &f->item);
    weft_poll p = weft_poll_chan_send(cx, &f->op, f->world->chan[chan_of(f)], &f->item);
    if (p == WEFT_PENDING)
        return p;
    JUDGE(f->world, p, p == 0 || p == WEFT_ECLOSED);
    random_item_result(f->world, &f->item, p, false);
    return WEFT_READY;
}

static weft_poll acquire(future *f, weft_context *cx)
{
    unsigned which = f->step->c % SEMAPHORES;
    size_t n = 1 + f->step->c / 4 % f->world->permits[which];
    weft_poll p = weft_poll_semaphore_acquire(cx, &f->op, &f->world->semaphore[which], n);
    if (p == WEFT_PENDING)
        return p;
    JUDGE(f->world, p, p == 0);
    EXPECT(f->world, atomic_fetch_add(&f->world->held[which], (int)n) + (int)n <= (int)f->world->permits[which]);
    f->world->held[which] -= (int)n;
    weft_semaphore_release(&f->world->semaphore[which], n);
    return WEFT_READY;
}

static weft_poll yield_some(future *f, weft_context *cx)
{
    if (f->polls > f->step->c % 5u)
        return WEFT_READY;
    weft_waker_wake_by_ref(weft_context_waker(cx));
    return WEFT_PENDING;
}

static weft_poll wait_for_several(future *f, weft_context *cx)
{
    weft_poll p = weft_poll_select(cx, &f->op, f->cases, 3);
    f->waits = p == WEFT_PENDING;
    if (f->waits)
        return p;
    JUDGE(f->world, p, p >= 0 && p < 3);
    if (p == 0)
        take(f, f->cases[0].status);
    JUDGE(f->world, p, p != 1 || weft_now() >= f->when);
    JUDGE(f->world, p, p != 2 || f->world->token_cancelled[f->step->c % TOKENS]);
    return WEFT_READY;
}

static weft_poll end_badly(future *f, weft_context *cx)
{
    if (yield_some(f, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    f->done = true;
    int code = random_task_fails(f->world, f->task);
    if (f->kind == PANICKER) {
        f->world->task[f->task].panics = 1;
        weft_panic("future of step %u", (unsigned)(f->step - f->world->program->step));
    }
    f->world->task[f->task].fails = code;
    return WEFT_READY;
}

typedef weft_poll (*wait_fn)(future *f, weft_context *cx);

static const wait_fn waits[KINDS] = {wait_for_time, receive,          send_item, acquire,
                                     yield_some,    wait_for_several, end_badly, end_badly};

/* ---- as a future ------------------------------------------------------------------------------------------------------ */

static weft_poll poll(weft_future *self, weft_context *cx, void **result)
{
    future *f = WEFT_CONTAINER_OF(self, future, future);
    EXPECT(f->world, !f->done);
    if (f->polls++ == 0)
        random_task_begins(f->world, f->task);
    if (waits[f->kind](f, cx) == WEFT_PENDING)
        return WEFT_PENDING;
    f->done = true;
    if (f->kind == FAILER)
        *result = weft_fail(f->world->task[f->task].fails);
    else if (f->world->task[f->task].stored)
        f->world->task[f->task].returns = 1;
    else
        *result = random_result_make(f->world, f->task);
    return WEFT_READY;
}

static void drop(weft_future *self)
{
    future *f = WEFT_CONTAINER_OF(self, future, future);
    world *w = f->world;
    unsigned task = f->task;
    if (f->waits)
        w->chan_returned[chan_of(f)] = true;
    weft_op_drop(&f->op);
    weft_timer_drop(&f->timer);
    free(f);
    random_task_gone(w, task);
}

static const weft_future_ops ops = {poll, drop};

/* In a strand of somebody else's a panic would be that one's. */
static future_kind kind_for(const step *s, task_kind kind)
{
    return kind == INLINE_FUTURE && s->b % KINDS == PANICKER ? YIELDER : s->b % KINDS;
}

weft_future *random_future(actor *a, const step *s, task_kind kind)
{
    world *w = a->w;
    future *f = malloc(sizeof *f);
    EXPECT(w, f);
    *f = (future){.future = {&ops}, .world = w, .step = s, .task = s->task, .as = kind, .kind = kind_for(s, kind)};
    f->when = weft_now() + random_ns(s->c);
    weft_timer_init(&f->timer, f->when);
    f->item = random_item(a, s, chan_of(f));
    f->item.task = s->task;
    f->cases[0] = (weft_case)WEFT_RECV(w->chan[chan_of(f)], &f->item);
    f->cases[1] = (weft_case)WEFT_AT(f->when);
    f->cases[2] = (weft_case)WEFT_TOKEN(w->token[s->c % TOKENS]);
    return &f->future;
}

int random_do_AWAIT_FUTURE(actor *a, const step *s)
{
    void *value = NULL;
    before b = random_before(a);
    random_task_spawning(a->w, s->task, INLINE_FUTURE, -1);
    int code = random_after(a, &b, weft_await(random_future(a, s, INLINE_FUTURE), &value));
    EXPECT(a->w, a->w->task[s->task].gone);
    JUDGE(a->w, code, code == 0 || (!value && (code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT)));
    if (code == 0 && a->w->task[s->task].results)
        random_result_drop(value);
    return code;
}
