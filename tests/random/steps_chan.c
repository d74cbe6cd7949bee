/* steps_chan.c - steps with channels of all kinds, and with select. */
#include "world.h"

/* ---- many to many --------------------------------------------------------------------------------------------------- */

int random_do_SEND(actor *a, const step *s)
{
    unsigned ch = s->a % CHANS;
    item i = random_item(a, s, ch);
    bool closed = a->w->chan_closed_sure[ch];
    before b = random_before(a);
    random_item_sending(a->w, &i);
    int code = random_after(a, &b, weft_chan_send(a->w->chan[ch], &i));
    JUDGE(a->w, code, code == 0 || code == WEFT_ECLOSED || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    random_item_result(a->w, &i, code, closed);
    return code;
}

int random_do_TRY_SEND(actor *a, const step *s)
{
    unsigned ch = s->a % CHANS;
    item i = random_item(a, s, ch);
    bool closed = a->w->chan_closed_sure[ch];
    random_item_sending(a->w, &i);
    int code = weft_chan_try_send(a->w->chan[ch], &i);
    JUDGE(a->w, code, code == 0 || code == WEFT_ECLOSED || (code == WEFT_EAGAIN && !closed));
    random_item_result(a->w, &i, code, closed);
    return code;
}

static int received(actor *a, unsigned ch, const item *i, int code)
{
    JUDGE(a->w, code, code != WEFT_ECLOSED || a->w->chan_closed[ch]);
    if (code == 0)
        random_item_received(a, ch, i);
    return code;
}

int random_do_RECV(actor *a, const step *s)
{
    unsigned ch = s->a % CHANS;
    item i;
    before b = random_before(a);
    int code = random_after(a, &b, weft_chan_recv(a->w->chan[ch], &i));
    JUDGE(a->w, code, code == 0 || code == WEFT_ECLOSED || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    return received(a, ch, &i, code);
}

int random_do_TRY_RECV(actor *a, const step *s)
{
    unsigned ch = s->a % CHANS;
    item i;
    int code = weft_chan_try_recv(a->w->chan[ch], &i);
    JUDGE(a->w, code, code == 0 || code == WEFT_ECLOSED || code == WEFT_EAGAIN);
    return received(a, ch, &i, code);
}

int random_do_CHAN_CLOSE(actor *a, const step *s)
{
    unsigned ch = s->a % CHANS;
    if (s->b % 3)
        return (int)weft_chan_len(a->w->chan[ch]);
    a->w->chan_closed[ch] = 1;
    weft_chan_close(a->w->chan[ch]);
    a->w->chan_closed_sure[ch] = 1;
    return 0;
}

/* ---- one value, once ------------------------------------------------------------------------------------------------ */

int random_do_ONESHOT_SEND(actor *a, const step *s)
{
    unsigned o = s->a % ONESHOTS;
    item i = random_item(a, s, 0);
    random_item_sending(a->w, &i);
    int code = weft_oneshot_send(a->w->oneshot[o], &i);
    JUDGE(a->w, code, code == 0 || code == WEFT_ECLOSED);
    if (code == 0)
        EXPECT(a->w, a->w->oneshot_sent[o]++ == 0);
    random_item_result(a->w, &i, code == 0 ? 0 : WEFT_EAGAIN, false);
    return code;
}

static int oneshot_received(actor *a, unsigned o, item *i, int code)
{
    if (code != 0)
        return code;
    EXPECT(a->w, a->w->oneshot_taken[o]++ == 0);
    random_item_dropped(i);
    return 0;
}

int random_do_ONESHOT_RECV(actor *a, const step *s)
{
    unsigned o = s->a % ONESHOTS;
    item i;
    if (s->b & 1) {
        int code = weft_oneshot_try_recv(a->w->oneshot[o], &i);
        JUDGE(a->w, code, code == 0 || code == WEFT_ECLOSED || code == WEFT_EAGAIN);
        return oneshot_received(a, o, &i, code);
    }
    before b = random_before(a);
    int code = random_after(a, &b, weft_oneshot_recv(a->w->oneshot[o], &i));
    JUDGE(a->w, code, code == 0 || code == WEFT_ECLOSED || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    return oneshot_received(a, o, &i, code);
}

int random_do_ONESHOT_CLOSE(actor *a, const step *s)
{
    weft_oneshot_close(a->w->oneshot[s->a % ONESHOTS]);
    return 0;
}

/* ---- each value to everybody; the latest value ------------------------------------------------------------------------ */

int random_do_BROADCAST_SEND(actor *a, const step *s)
{
    item i = random_item(a, s, 0);
    int code = weft_broadcast_send(a->w->broadcast, &i);
    JUDGE(a->w, code, code == SUBSCRIPTIONS || (code == WEFT_ECLOSED && a->w->broadcast_closed));
    return code;
}

static void judge_told(actor *a, const item *i, random_op op)
{
    EXPECT(a->w, i->world == a->w && i->step < a->w->program->steps && a->w->program->step[i->step].op == op);
}

int random_do_BROADCAST_RECV(actor *a, const step *s)
{
    weft_subscription *sub = a->w->subscription[s->a % SUBSCRIPTIONS];
    item i;
    uint64_t missed = 0;
    before b = random_before(a);
    int code = s->b & 1 ? weft_subscription_try_recv(sub, &i, &missed) : weft_subscription_recv(sub, &i, &missed);
    if (!(s->b & 1) && code != WEFT_EBUSY)
        random_after(a, &b, code);
    JUDGE(a->w, code, code != WEFT_ECLOSED || a->w->broadcast_closed);
    if (code == 0)
        judge_told(a, &i, OP_BROADCAST_SEND);
    return code;
}

int random_do_BROADCAST_CLOSE(actor *a, const step *s)
{
    if (s->a % 3)
        return NOTHING;
    a->w->broadcast_closed = 1;
    weft_broadcast_close(a->w->broadcast);
    return 0;
}

int random_do_WATCH_SET(actor *a, const step *s)
{
    item i = random_item(a, s, 0);
    int code = weft_watch_set(a->w->watch, &i);
    JUDGE(a->w, code, code == 0 || (code == WEFT_ECLOSED && a->w->watch_closed));
    return code;
}

int random_do_WATCH_NEXT(actor *a, const step *s)
{
    item i;
    uint64_t version = a->version;
    if (s->a & 1) {
        EXPECT(a->w, weft_watch_get(a->w->watch, &i, &version) == 0);
        EXPECT(a->w, version >= a->version);
        return (int)version;
    }
    before b = random_before(a);
    int code = random_after(a, &b, weft_watch_next(a->w->watch, &i, &a->version));
    JUDGE(a->w, code, code == 0 ? a->version > version : a->version == version);
    JUDGE(a->w, code, code != WEFT_ECLOSED || a->w->watch_closed);
    if (code == 0 && a->version > 1)
        judge_told(a, &i, OP_WATCH_SET);
    return code;
}

int random_do_WATCH_CLOSE(actor *a, const step *s)
{
    if (s->a % 3)
        return NOTHING;
    a->w->watch_closed = 1;
    weft_watch_close(a->w->watch);
    return 0;
}

/* ---- select ----------------------------------------------------------------------------------------------------------- */

enum { CASES = 4 };
typedef enum case_kind {
    RECV,
    SENDS,
    AFTER,
    TOKEN,
    ONESHOT,
    HEARS,
    WATCHES,
    NOTIFIED,
    ENDS,
    NEXT,
    READS,
    WRITES,
    DEFAULT,
    KINDS
} case_kind;

typedef struct choice {
    case_kind kind;
    unsigned which;
    item item;
    void *value;
    weft_task *task;
    near_group *near;
    int64_t due;
    bool closed, claimed;
} choice;

/* One send at most: a step has one item. What cannot be becomes time. */
static case_kind kind_of(actor *a, unsigned drawn, bool sends)
{
    case_kind kind = drawn % KINDS;
    bool never = (kind == SENDS && sends) || (kind == NEXT && !(a->groups && a->groups->open));
    return never ? AFTER : kind;
}

static weft_case make_object_case(actor *a, choice *c)
{
    world *w = a->w;
    switch (c->kind) {
    case RECV:
        return (weft_case)WEFT_RECV(w->chan[c->which % CHANS], &c->item);
    case SENDS:
        c->closed = w->chan_closed_sure[c->item.chan];
        random_item_sending(w, &c->item);
        return (weft_case)WEFT_SEND(w->chan[c->item.chan], &c->item);
    case TOKEN:
        return (weft_case)WEFT_TOKEN(w->token[c->which % TOKENS]);
    case ONESHOT:
        return (weft_case)WEFT_ONESHOT(w->oneshot[c->which % ONESHOTS], &c->item);
    case HEARS:
        return (weft_case)WEFT_SUBSCRIPTION(w->subscription[c->which % SUBSCRIPTIONS], &c->item);
    case WATCHES:
        return (weft_case)WEFT_WATCH(w->watch, &a->version);
    case NOTIFIED:
        return (weft_case)WEFT_NOTIFIED(&w->notify[c->which % NOTIFIES]);
    default:
        c->which %= STREAMS;
        c->claimed = random_claim(a, c->which, c->kind == READS);
        weft_stream *stream = c->claimed ? w->stream[c->which].stream : NULL;
        return c->kind == READS ? (weft_case)WEFT_READABLE(stream) : (weft_case)WEFT_WRITABLE(stream);
    }
}

static weft_case make_case(actor *a, choice *c)
{
    world *w = a->w;
    switch (c->kind) {
    case AFTER:
        c->due = weft_now() + random_ns(c->which);
        return (weft_case)WEFT_AFTER(random_ns(c->which));
    case ENDS:
        c->which %= w->program->tasks;
        c->task = c->which == a->task ? NULL : atomic_exchange(&w->task[c->which].handle, NULL);
        return (weft_case)WEFT_JOIN(c->task, &c->value);
    case NEXT:
        c->near = a->groups;
        return (weft_case)WEFT_GROUP_NEXT(c->near->group, &c->value);
    case DEFAULT:
        return (weft_case)WEFT_DEFAULT;
    default:
        return make_object_case(a, c);
    }
}

static void judge_group_case(actor *a, choice *c, int code)
{
    if (code != WEFT_EOF)
        random_joined(a->w, -1, c->near->id, code, c->value);
}

static void judge_chosen(actor *a, choice *c, int code)
{
    world *w = a->w;
    switch (c->kind) {
    case RECV:
        received(a, c->which % CHANS, &c->item, code);
        break;
    case ONESHOT:
        oneshot_received(a, c->which % ONESHOTS, &c->item, code);
        break;
    case HEARS:
        JUDGE(w, code, code >= 0 || code == WEFT_EBUSY || (code == WEFT_ECLOSED && w->broadcast_closed));
        if (code >= 0)
            judge_told(a, &c->item, OP_BROADCAST_SEND);
        break;
    case AFTER:
        EXPECT(w, weft_now() >= c->due);
        break;
    case TOKEN:
        JUDGE(w, code, code == 0 && w->token_cancelled[c->which % TOKENS]);
        break;
    case NOTIFIED:
        JUDGE(w, code, code == 0 && w->notified[c->which % NOTIFIES]);
        break;
    case NEXT:
        judge_group_case(a, c, code);
        break;
    default:
        break;
    }
}

/* What each case had in hand, chosen or not, goes where it belongs. */
static void settle(actor *a, choice *c, bool chosen, int code)
{
    if (c->kind == SENDS)
        random_item_result(a->w, &c->item, chosen ? code : WEFT_EAGAIN, chosen && c->closed);
    if (c->kind == ENDS && c->task && chosen && code != WEFT_EBUSY && code != WEFT_EDEADLK)
        random_joined(a->w, (int)c->which, -1, code, c->value);
    else if (c->kind == ENDS && c->task)
        a->w->task[c->which].handle = c->task;
    if (c->claimed)
        *(c->kind == READS ? &a->w->stream[c->which].reading : &a->w->stream[c->which].writing) = false;
    if (chosen)
        judge_chosen(a, c, code);
}

int random_do_SELECT(actor *a, const step *s)
{
    choice choices[CASES] = {0};
    weft_case cases[CASES];
    bool sends = false;
    unsigned n = 1 + s->c % CASES, drawn = s->a | (unsigned)s->b << 8 | (unsigned)s->c << 16;
    before b = random_before(a);
    for (unsigned i = 0; i < n; i++, drawn = drawn * 2654435761u >> 3) {
        choices[i].kind = kind_of(a, drawn >> 4, sends);
        choices[i].which = drawn >> 9;
        choices[i].item = random_item(a, s, (drawn >> 9) % CHANS);
        sends = sends || choices[i].kind == SENDS;
        cases[i] = make_case(a, &choices[i]);
    }
    int code = s->b & 128 ? weft_select(cases, (int)n) : weft_select_biased(cases, (int)n);
    random_after(a, &b, code);
    JUDGE(a->w, code, code >= 0 ? code < (int)n : code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    for (unsigned i = 0; i < n; i++)
        settle(a, &choices[i], (int)i == code, cases[i].status);
    return code >= 0 ? code * 10 + (cases[code].status != 0) : code;
}
