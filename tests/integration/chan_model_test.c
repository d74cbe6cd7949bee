/* chan_model_test.c - random programs for one channel, and beside it a model that says what must happen.
 *
 * One worker and a clock that is paused: after each step all actors wait, or have ended. The model is two queues of actors and one of
 * items. A failure names the seed: WF_TEST_SEED=... repeats it. */
#include <support/chan_support.h>
#include <support/test.h>
#include <weft/future.h>
#include <weft/token.h>

enum { ACTORS = 24, ITEMS = 4096, STEPS = 300 };

typedef enum { PLAIN, STACKLESS, SELECT, BOTH, KINDS } actor_kind;
typedef enum { RECEIVES = 1, SENDS = 2 } actor_way;

/* What an actor has come to, and what it should have. */
typedef struct fate {
    int status;    /* CALL_WAITS until then */
    actor_way way; /* which of its operations it was */
    uint64_t item;
} fate;

typedef struct actor {
    bool used;
    actor_kind kind;
    unsigned ways;
    weft_chan *ch;
    weft_token *never;
    uint64_t item; /* to be sent */
    weft_task *task;
    chan_future future;
    fate is, should;
    unsigned long arrival; /* the model's: its place in the queues */
} actor;

typedef struct model {
    weft_chan *ch;
    weft_token *never;
    size_t capacity;
    bool closed;
    uint64_t items[ITEMS];
    unsigned first, last; /* of items */
    actor actors[ACTORS];
    unsigned long arrivals;
    uint64_t next_item, rng;
} model;

/* ---- the model ------------------------------------------------------------------------------------------------- */

static actor *first_waiting(model *m, actor_way way)
{
    actor *first = NULL;
    for (int i = 0; i < ACTORS; i++) {
        actor *a = &m->actors[i];
        if (a->used && a->should.status == CALL_WAITS && a->ways & way && (!first || a->arrival < first->arrival))
            first = a;
    }
    return first;
}

static unsigned model_len(const model *m) { return m->last - m->first; }

static int model_send(model *m, uint64_t item)
{
    if (m->closed)
        return WEFT_ECLOSED;
    actor *receiver = first_waiting(m, RECEIVES);
    if (receiver) {
        receiver->should = (fate){0, RECEIVES, item};
        return 0;
    }
    if (model_len(m) >= m->capacity)
        return WEFT_EAGAIN;
    m->items[m->last++ % ITEMS] = item;
    return 0;
}

static int model_recv(model *m, uint64_t *item)
{
    actor *sender = first_waiting(m, SENDS);
    if (model_len(m) == 0 && !sender)
        return m->closed ? WEFT_ECLOSED : WEFT_EAGAIN;
    if (model_len(m) == 0) {
        *item = sender->item;
        sender->should = (fate){0, SENDS, sender->item};
        return 0;
    }
    *item = m->items[m->first++ % ITEMS];
    if (sender && model_len(m) < m->capacity) {
        m->items[m->last++ % ITEMS] = sender->item;
        sender->should = (fate){0, SENDS, sender->item};
    }
    return 0;
}

/* An actor comes: it tries, first to receive. */
static void model_arrive(model *m, actor *a)
{
    fate f = {WEFT_EAGAIN, RECEIVES, 0};
    if (a->ways & RECEIVES)
        f.status = model_recv(m, &f.item);
    if (f.status == WEFT_EAGAIN && a->ways & SENDS) {
        f.way = SENDS;
        f.item = a->item;
        f.status = model_send(m, a->item);
    }
    if (f.status == WEFT_EAGAIN)
        f.status = CALL_WAITS;
    a->arrival = ++m->arrivals;
    a->should = f;
}

static void model_close(model *m)
{
    actor *a;
    m->closed = true;
    while ((a = first_waiting(m, SENDS)))
        a->should = (fate){WEFT_ECLOSED, SENDS, a->item};
    while (model_len(m) == 0 && (a = first_waiting(m, RECEIVES)))
        a->should = (fate){WEFT_ECLOSED, RECEIVES, 0};
}

/* A stackless receiver was dropped, served and unseen. */
static void model_give_back(model *m, uint64_t item)
{
    actor *receiver = first_waiting(m, RECEIVES);
    if (receiver)
        receiver->should = (fate){0, RECEIVES, item};
    else
        m->items[--m->first % ITEMS] = item;
}

/* ---- the actors ------------------------------------------------------------------------------------------------ */

static void *plain_actor(void *arg)
{
    actor *a = arg;
    uint64_t item = a->item;
    int err = a->ways & SENDS ? weft_chan_send(a->ch, &item) : weft_chan_recv(a->ch, &item);
    a->is = (fate){err, a->ways & SENDS ? SENDS : RECEIVES, item};
    return NULL;
}

static void *select_actor(void *arg)
{
    actor *a = arg;
    uint64_t got = 0;
    weft_case cases[] = {WEFT_RECV(a->ways & RECEIVES ? a->ch : NULL, &got),
                         WEFT_SEND(a->ways & SENDS ? a->ch : NULL, &a->item), WEFT_TOKEN(a->never)};
    int i = weft_select_biased(cases, 3);
    a->is = (fate){i < 0 ? i : cases[i].status, i == 1 ? SENDS : RECEIVES, i == 0 ? got : a->item};
    return NULL;
}

static void begin(model *m, actor *a)
{
    *a = (actor){.used = true, .kind = (actor_kind)test_below(&m->rng, KINDS), .ch = m->ch, .never = m->never};
    a->ways = a->kind == BOTH ? RECEIVES | SENDS : test_below(&m->rng, 2) ? RECEIVES : SENDS;
    a->item = ++m->next_item;
    a->is.status = CALL_WAITS;
    if (a->kind == STACKLESS) {
        chan_future_init(&a->future, m->ch, a->ways == SENDS, a->item);
        cr_assert_eq(weft_spawn_future(&a->task, &a->future.future), 0);
    } else {
        cr_assert_eq(weft_spawn(&a->task, a->kind == PLAIN ? plain_actor : select_actor, a), 0);
    }
    model_arrive(m, a);
    settle();
}

/* Stackless ones say so in their future. */
static fate fate_of(const actor *a)
{
    if (a->kind != STACKLESS)
        return a->is;
    return (fate){a->future.status, (actor_way)a->ways, a->future.item};
}

static void end(model *m)
{
    actor *a = &m->actors[test_below(&m->rng, ACTORS)];
    if (!a->used)
        return;
    fate before = fate_of(a);
    bool unseen = a->should.status == 0 && before.status == CALL_WAITS;
    weft_abort(a->task);
    if (a->should.status == CALL_WAITS)
        a->should = (fate){WEFT_ECANCELED, 0, 0};
    settle();
    if (a->kind == STACKLESS && unseen && a->ways == RECEIVES)
        model_give_back(m, a->should.item);
    if (a->kind == STACKLESS && (unseen || a->should.status == WEFT_ECANCELED || before.status == CALL_WAITS))
        a->future.status = a->should.status, a->future.item = a->should.item; /* it was dropped, and says nothing */
}

/* ---- the program ------------------------------------------------------------------------------------------------ */

static void compare(model *m, uint64_t seed, int step)
{
    cr_assert_eq(weft_chan_len(m->ch), model_len(m), "seed %llu, step %d", (unsigned long long)seed, step);
    settle();
    for (int i = 0; i < ACTORS; i++) {
        actor *a = &m->actors[i];
        if (!a->used)
            continue;
        fate is = fate_of(a), should = a->should;
        cr_assert_eq(is.status, should.status, "seed %llu, step %d, kind %d, ways %u", (unsigned long long)seed, step,
                     a->kind, a->ways);
        if (is.status == 0) {
            cr_assert_eq(is.way, should.way, "seed %llu, step %d", (unsigned long long)seed, step);
            cr_assert_eq(is.item, should.item, "seed %llu, step %d", (unsigned long long)seed, step);
        }
        if (is.status != CALL_WAITS) {
            cr_assert_eq(weft_task_close(a->task), 0);
            a->used = false;
        }
    }
}

static void try_step(model *m, bool sends)
{
    uint64_t is = sends ? ++m->next_item : 0, should = is;
    int err = sends ? weft_chan_try_send(m->ch, &is) : weft_chan_try_recv(m->ch, &is);
    cr_assert_eq(err, sends ? model_send(m, should) : model_recv(m, &should));
    cr_assert_eq(is, should);
}

/* Several of them may follow each other before those whom they serve look. */
static bool step(model *m)
{
    unsigned what = test_below(&m->rng, 100);
    if (what < 35) {
        try_step(m, what % 2);
        return what % 3;
    }
    settle();
    if (what < 80) {
        actor *a = &m->actors[test_below(&m->rng, ACTORS)];
        if (!a->used)
            begin(m, a);
    } else if (what < 98) {
        for (unsigned n = test_below(&m->rng, 3); n > 0; n--)
            try_step(m, true);
        end(m);
    } else if (test_below(&m->rng, 4) == 0) {
        weft_chan_close(m->ch);
        model_close(m);
    }
    return true;
}

static void run_program(size_t capacity, uint64_t seed)
{
    static model m;
    memset(&m, 0, sizeof m);
    m.rng = seed;
    m.capacity = capacity;
    m.first = m.last = ITEMS;
    m.ch = new_chan(capacity);
    cr_assert_eq(weft_token_create(&m.never, NULL), 0);
    for (int i = 0; i < STEPS; i++)
        if (step(&m))
            compare(&m, seed, i);
    weft_chan_close(m.ch);
    model_close(&m);
    compare(&m, seed, STEPS);
    uint64_t item;
    while (weft_chan_try_recv(m.ch, &item) == 0)
        cr_assert_eq(item, m.items[m.first++ % ITEMS]);
    cr_assert_eq(model_len(&m), 0);
    cr_assert_eq(weft_chan_free(m.ch), 0);
    cr_assert_eq(weft_token_free(m.never), 0);
}

static void *programs_root(void *arg)
{
    size_t capacity = *(size_t *)arg;
    uint64_t seed = test_seed(), rng = seed;
    fprintf(stderr, "WF_TEST_SEED=%llu\n", (unsigned long long)seed);
    for (size_t n = 0; n < wf_test_scale(200); n++)
        run_program(capacity, test_random(&rng));
    return NULL;
}

static void programs(size_t capacity) { run_paused(1, programs_root, &capacity); }

Test(chan_model, rendezvous) { programs(0); }
Test(chan_model, one_place) { programs(1); }
Test(chan_model, two_places) { programs(2); }
Test(chan_model, some_places) { programs(9); }
Test(chan_model, unbounded) { programs(WEFT_UNBOUNDED); }
