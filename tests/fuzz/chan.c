/* chan.c - two channels, and operations and selects that are polled, polled again by others and dropped, against a model.
 *
 *   header: both capacities, the size of items     then: begin, poll, drop, try, close
 *
 * Nothing runs at the same time, so the model says who is served: of what it may choose among, only a select's first poll is left open. Wakes and
 * references to wakers and to items are counted. */
#include "fuzz.h"
#include <base/exec.h>
#include <stdlib.h>
#include <weft/chan.h>
#include <weft/select.h>

enum { CHANS = 2, ACTORS = 12, STEPS = 600, ITEMS = 4096, ITEM_MOST = 24, KINDS = 2 * CHANS };

/* What an actor may do: kind / 2 is the channel. */
static bool sends(unsigned kind) { return kind % 2; }

/* ---- wakers and items that are counted ------------------------------------------------------------------------- */

typedef struct sleeper {
    int refs, wakes, should_wake;
} sleeper;

static int sleeper_clone(const weft_waker *self, weft_waker *out)
{
    ((sleeper *)self->data)->refs++;
    *out = *self;
    return 0;
}

static void sleeper_wake_by_ref(const weft_waker *self) { ((sleeper *)self->data)->wakes++; }
static void sleeper_drop(weft_waker *self) { ((sleeper *)self->data)->refs--; }

static void sleeper_wake(weft_waker *self)
{
    sleeper_wake_by_ref(self);
    sleeper_drop(self);
}

static const weft_waker_ops sleeper_ops = {sleeper_clone, sleeper_wake, sleeper_wake_by_ref, sleeper_drop};

static int item_refs[ITEMS]; /* the channels' */
static size_t item_size;

typedef struct item {
    alignas(8) uint8_t bytes[ITEM_MOST];
} item;

static item make_item(unsigned id)
{
    item i = {{(uint8_t)id, (uint8_t)(id >> 8)}};
    for (size_t at = 2; at < sizeof i.bytes; at++)
        i.bytes[at] = (uint8_t)(id * 31 + at);
    return i;
}

static unsigned id_of(const void *bytes)
{
    const uint8_t *b = bytes;
    unsigned id = b[0] | (unsigned)b[1] << 8;
    FUZZ_EXPECT(id < ITEMS);
    item whole = make_item(id);
    FUZZ_EXPECT(memcmp(bytes, &whole, item_size) == 0, "torn");
    return id;
}

static void copy_item(void *bytes) { item_refs[id_of(bytes)]++; }
static void drop_item(void *bytes) { item_refs[id_of(bytes)]--; }

/* ---- the model ------------------------------------------------------------------------------------------------- */

typedef struct actor {
    bool waits, decided;
    bool alone; /* by the poll twin of the channel, else by that of the select */
    unsigned kinds, waker;
    weft_op op;
    weft_case cases[KINDS];
    unsigned kind_of[KINDS]; /* of a case */
    int n;
    item out[KINDS], in[KINDS];
    sleeper sleepers[2];
    uint64_t arrival;
    /* when it is decided */
    unsigned kind, id;
    int status;
    uint64_t turn;
} actor;

typedef struct model_item {
    unsigned id;
    uint64_t turn;
} model_item;

typedef struct model_chan {
    weft_chan *ch;
    size_t capacity;
    bool closed;
    model_item items[ITEMS], returned[ACTORS];
    size_t first, last, n_returned;
    uint64_t turns;
} model_chan;

typedef struct model {
    fuzz_input in;
    model_chan chans[CHANS];
    actor actors[ACTORS];
    uint64_t arrivals;
    unsigned ids;
} model;

static size_t length(const model_chan *c) { return c->last - c->first + c->n_returned; }

static actor *first_waiting(model *m, unsigned kind, const actor *self)
{
    actor *first = NULL;
    for (actor *a = m->actors; a < m->actors + ACTORS; a++)
        if (a->waits && !a->decided && a->kinds & 1u << kind && a != self && (!first || a->arrival < first->arrival))
            first = a;
    return first;
}

static void decide(actor *a, unsigned kind, int status, unsigned id, uint64_t turn)
{
    a->decided = true;
    a->kind = kind;
    a->status = status;
    a->id = id;
    a->turn = turn;
    a->sleepers[a->waker].should_wake++;
}

static int model_send(model *m, unsigned kind, unsigned id, const actor *self)
{
    model_chan *c = &m->chans[kind / 2];
    actor *receiver = first_waiting(m, kind - 1, self);
    if (c->closed)
        return WEFT_ECLOSED;
    if (!receiver && length(c) >= c->capacity)
        return WEFT_EAGAIN;
    if (receiver)
        decide(receiver, kind - 1, 0, id, ++c->turns);
    else
        c->items[c->last++ % ITEMS] = (model_item){id, 0};
    return 0;
}

static unsigned model_pop(model_chan *c)
{
    if (c->n_returned == 0)
        return c->items[c->first++ % ITEMS].id;
    unsigned id = c->returned[0].id;
    memmove(c->returned, c->returned + 1, --c->n_returned * sizeof *c->returned);
    return id;
}

static int model_recv(model *m, unsigned kind, unsigned *id, const actor *self)
{
    model_chan *c = &m->chans[kind / 2];
    actor *sender = first_waiting(m, kind + 1, self);
    bool held = length(c) > 0;
    if (!held && !sender)
        return c->closed ? WEFT_ECLOSED : WEFT_EAGAIN;
    *id = held ? model_pop(c) : id_of(&sender->out[kind + 1]);
    if (!sender || (held && length(c) >= c->capacity))
        return 0;
    unsigned sent = id_of(&sender->out[kind + 1]);
    if (held)
        c->items[c->last++ % ITEMS] = (model_item){sent, 0};
    decide(sender, kind + 1, 0, sent, 0);
    return 0;
}

/* Its receiver went without looking: the next one's, or before all that was handed out later. */
static void model_give_back(model *m, const actor *a)
{
    model_chan *c = &m->chans[a->kind / 2];
    actor *receiver = first_waiting(m, a->kind, a);
    size_t at = 0;
    if (receiver) {
        decide(receiver, a->kind, 0, a->id, a->turn);
        return;
    }
    while (at < c->n_returned && c->returned[at].turn < a->turn)
        at++;
    memmove(c->returned + at + 1, c->returned + at, (c->n_returned++ - at) * sizeof *c->returned);
    c->returned[at] = (model_item){a->id, a->turn};
}

static void model_close(model *m, unsigned channel)
{
    model_chan *c = &m->chans[channel];
    actor *a;
    c->closed = true;
    while ((a = first_waiting(m, 2 * channel + 1, NULL)))
        decide(a, 2 * channel + 1, WEFT_ECLOSED, 0, 0);
    while (length(c) == 0 && (a = first_waiting(m, 2 * channel, NULL)))
        decide(a, 2 * channel, WEFT_ECLOSED, 0, 0);
}

/* ---- actors ---------------------------------------------------------------------------------------------------- */

/* Nobody's any more. */
static void expect_received(const void *bytes, unsigned id)
{
    FUZZ_EXPECT(id_of(bytes) == id, "%u and not %u", id_of(bytes), id);
    item_refs[id]--;
}

static void expect_outcome(actor *a, unsigned kind, int status, int should, unsigned id)
{
    FUZZ_EXPECT(status == should, "%d and not %d", status, should);
    if (status == 0 && !sends(kind))
        expect_received(&a->in[kind], id);
}

static void make_cases(model *m, actor *a)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        weft_chan *ch = m->chans[kind / 2].ch;
        if (!(a->kinds & 1u << kind))
            continue;
        a->kind_of[a->n] = kind;
        if (sends(kind)) {
            a->out[kind] = make_item(++m->ids);
            a->cases[a->n++] = (weft_case)WEFT_SEND(ch, &a->out[kind]);
        } else {
            a->cases[a->n++] = (weft_case)WEFT_RECV(ch, &a->in[kind]);
        }
    }
}

/* The kind that is over and its *@status, or -1. */
static int poll_actor(model *m, actor *a, int *status)
{
    wf_exec exec = {.budget = WF_BUDGET};
    exec.waits = &exec.unread;
    weft_context cx = {.waker = {&sleeper_ops, &a->sleepers[a->waker]}, .exec = &exec};
    unsigned kind = a->kind_of[0];
    weft_chan *ch = m->chans[kind / 2].ch;
    if (!a->alone) {
        int i = weft_poll_select(&cx, &a->op, a->cases, a->n);
        FUZZ_EXPECT(i == WEFT_PENDING || (i >= 0 && i < a->n), "%d", i);
        *status = i < 0 ? 0 : a->cases[i].status;
        return i < 0 ? -1 : (int)a->kind_of[i];
    }
    *status = sends(kind) ? weft_poll_chan_send(&cx, &a->op, ch, &a->out[kind])
                          : weft_poll_chan_recv(&cx, &a->op, ch, &a->in[kind]);
    return *status == WEFT_PENDING ? -1 : (int)kind;
}

/* Readiness shows in a copy, so that the first poll's choice can be made good afterwards. */
static int model_first(model *m, actor *a, unsigned kind, unsigned *id)
{
    *id = sends(kind) ? id_of(&a->out[kind]) : 0;
    return sends(kind) ? model_send(m, kind, *id, a) : model_recv(m, kind, id, a);
}

static void begin(model *m, actor *a)
{
    int status;
    unsigned id, how = fuzz_byte(&m->in);
    *a = (actor){.kinds = how % 15 + 1, .waker = how >> 7};
    make_cases(m, a);
    a->alone = a->n == 1 && how & 64;
    int kind = poll_actor(m, a, &status);
    if (kind >= 0) {
        int should = model_first(m, a, (unsigned)kind, &id);
        expect_outcome(a, (unsigned)kind, status, should, id);
        return;
    }
    for (unsigned k = 0; k < KINDS; k++)
        FUZZ_EXPECT(!(a->kinds & 1u << k) || model_first(m, a, k, &id) == WEFT_EAGAIN, "kind %u was ready", k);
    a->waits = true;
    a->arrival = ++m->arrivals;
}

/* Perhaps by another task than before. */
static void poll_again(model *m, actor *a)
{
    int status;
    a->waker = a->decided ? a->waker : fuzz_below(&m->in, 2);
    int kind = poll_actor(m, a, &status);
    FUZZ_EXPECT((kind >= 0) == a->decided);
    if (kind < 0)
        return;
    FUZZ_EXPECT((unsigned)kind == a->kind);
    expect_outcome(a, a->kind, status, a->status, a->id);
    a->waits = false;
}

static void drop(model *m, actor *a)
{
    weft_op_drop(&a->op);
    a->waits = false;
    if (a->decided && a->status == 0 && !sends(a->kind))
        model_give_back(m, a);
}

static void act(model *m)
{
    actor *a = &m->actors[fuzz_below(&m->in, ACTORS)];
    if (!a->waits)
        begin(m, a);
    else
        (fuzz_byte(&m->in) % 2 ? poll_again : drop)(m, a);
}

/* ---- without waiting ------------------------------------------------------------------------------------------- */

static void try_send(model *m)
{
    unsigned kind = 2 * fuzz_below(&m->in, CHANS) + 1, id = ++m->ids;
    item i = make_item(id);
    int err = weft_chan_try_send(m->chans[kind / 2].ch, &i), should = model_send(m, kind, id, NULL);
    FUZZ_EXPECT(err == should, "%d and not %d", err, should);
}

static void try_recv(model *m)
{
    unsigned kind = 2 * fuzz_below(&m->in, CHANS), id = 0;
    item i;
    int err = weft_chan_try_recv(m->chans[kind / 2].ch, &i), should = model_recv(m, kind, &id, NULL);
    FUZZ_EXPECT(err == should, "%d and not %d", err, should);
    if (err == 0)
        expect_received(&i, id);
}

static void close_one(model *m)
{
    unsigned channel = fuzz_below(&m->in, 8);
    if (channel >= CHANS)
        return;
    weft_chan_close(m->chans[channel].ch);
    model_close(m, channel);
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

static void open_one(model *m, model_chan *c)
{
    static const size_t capacities[] = {0, 1, 2, 7, WEFT_UNBOUNDED};
    const weft_chan_options options = {.drop = drop_item, .copy = copy_item};
    c->capacity = capacities[fuzz_below(&m->in, 5)];
    c->first = c->last = ITEMS;
    FUZZ_EXPECT(weft_chan_create_with(&c->ch, item_size, c->capacity, &options) == 0);
}

static void check(const model *m)
{
    for (const model_chan *c = m->chans; c < m->chans + CHANS; c++)
        FUZZ_EXPECT(weft_chan_len(c->ch) == length(c), "%zu and not %zu", weft_chan_len(c->ch), length(c));
    for (const actor *a = m->actors; a < m->actors + ACTORS; a++)
        for (unsigned i = 0; i < 2; i++) {
            const sleeper *s = &a->sleepers[i];
            FUZZ_EXPECT(s->wakes == s->should_wake, "%d wakes and not %d", s->wakes, s->should_wake);
            FUZZ_EXPECT(s->refs == 0 || (a->waits && i == a->waker), "%d references", s->refs);
        }
}

static void finish(model *m)
{
    for (actor *a = m->actors; a < m->actors + ACTORS; a++)
        if (a->waits)
            drop(m, a);
    check(m);
    for (model_chan *c = m->chans; c < m->chans + CHANS; c++)
        FUZZ_EXPECT(weft_chan_free(c->ch) == 0);
    for (unsigned id = 0; id < ITEMS; id++)
        FUZZ_EXPECT(item_refs[id] == 0, "item %u: %d", id, item_refs[id]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t sizes[] = {2, 8, ITEM_MOST};
    static model m;
    m = (model){.in = fuzz_open(data, size)};
    item_size = sizes[fuzz_below(&m.in, 3)];
    for (int i = 0; i < CHANS; i++)
        open_one(&m, &m.chans[i]);
    for (int i = 0; i < STEPS && fuzz_left(&m.in) > 0; i++) {
        unsigned what = fuzz_below(&m.in, 8);
        (what < 5 ? act : what == 5 ? try_send : what == 6 ? try_recv : close_one)(&m);
        check(&m);
    }
    finish(&m);
    return 0;
}
