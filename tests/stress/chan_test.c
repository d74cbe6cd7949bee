/* chan_test.c - many senders and receivers on a few channels, doing at random whatever can be done: every item that was sent comes out
 * once, and each receiver sees each sender's in order. The seed is printed; with threads in it a program is repeated only roughly. */
#include <pthread.h>
#include <support/chan_support.h>
#include <support/test.h>
#include <weft/scope.h>

enum { CHANNELS = 3, SENDERS = 6, RECEIVERS = 5, THREADS = 2, MOST_ITEMS = 4000 };
enum { ALL_SENDERS = SENDERS + THREADS, ALL_RECEIVERS = RECEIVERS + THREADS };

typedef struct item {
    uint32_t sender, channel, number;
} item;

typedef struct storm {
    weft_runtime *rt;
    uint64_t seed;
    weft_chan *chans[CHANNELS];
    uint32_t items;  /* each sender's */
    bool drops;      /* stackless receivers are dropped when served: what they had comes late */
    bool close_soon; /* while some still send */
    atomic_uint next_sender, next_receiver, senders_left;
    atomic_uchar sent[ALL_SENDERS][MOST_ITEMS], seen[ALL_SENDERS][MOST_ITEMS];
} storm;

static void note_seen(storm *s, const item *i)
{
    cr_assert_lt(i->sender, ALL_SENDERS);
    cr_assert_lt(i->number, s->items);
    cr_assert_eq(atomic_fetch_add(&s->seen[i->sender][i->number], 1), 0, "seed %llu: sender %u, item %u came twice",
                 (unsigned long long)s->seed, i->sender, i->number);
}

/* ---- senders --------------------------------------------------------------------------------------------------- */

/* Two of its cases may be on one channel; the item says where it went. */
static int send_by_select(storm *s, uint64_t *rng, item *i)
{
    item to[2] = {*i, *i};
    for (int k = 0; k < 2; k++)
        to[k].channel = test_below(rng, CHANNELS);
    weft_case cases[] = {WEFT_SEND(s->chans[to[0].channel], &to[0]), WEFT_SEND(s->chans[to[1].channel], &to[1]),
                         WEFT_AFTER(test_below(rng, 2) * WEFT_MS)};
    int chosen = weft_select(cases, test_below(rng, 3) ? 2 : 3);
    return chosen < 0 ? chosen : chosen == 2 ? WEFT_EAGAIN : cases[chosen].status;
}

static int send_somehow(storm *s, uint64_t *rng, item *i)
{
    weft_chan *ch = s->chans[i->channel];
    switch (test_below(rng, 8)) {
    case 0:
        return weft_chan_try_send(ch, i);
    case 1: {
        WEFT_SCOPE(soon, test_below(rng, 2) * WEFT_MS);
        return weft_chan_send(ch, i);
    }
    case 2:
    case 3:
    case 4:
        return send_by_select(s, rng, i);
    default:
        return weft_chan_send(ch, i);
    }
}

static void send_all(storm *s, uint32_t sender)
{
    uint64_t rng = s->seed + 1000 + sender;
    for (uint32_t n = 0; n < s->items;) {
        item i = {sender, test_below(&rng, CHANNELS), n};
        int err = send_somehow(s, &rng, &i);
        if (err == WEFT_ECLOSED)
            break;
        cr_assert(err == 0 || err == WEFT_EAGAIN || err == WEFT_ETIMEDOUT, "seed %llu: %d", (unsigned long long)s->seed, err);
        if (err == 0)
            s->sent[sender][n++] = 1;
    }
    unsigned left = atomic_fetch_sub(&s->senders_left, 1) - 1;
    if (left == 0 || (s->close_soon && left == ALL_SENDERS / 2))
        for (int c = 0; c < CHANNELS; c++)
            weft_chan_close(s->chans[c]);
}

static void *sender(void *arg)
{
    storm *s = arg;
    send_all(s, atomic_fetch_add(&s->next_sender, 1));
    return NULL;
}

/* ---- receivers -------------------------------------------------------------------------------------------------- */

typedef struct view {
    int64_t last[ALL_SENDERS][CHANNELS]; /* what this receiver has seen */
    bool closed[CHANNELS];
} view;

static void look(storm *s, view *v, const item *i, uint32_t channel)
{
    note_seen(s, i);
    int64_t *last = &v->last[i->sender][channel];
    if (!s->drops)
        cr_assert_lt(*last, i->number, "seed %llu: out of order", (unsigned long long)s->seed);
    *last = i->number;
}

static void recv_by_select(storm *s, view *v, uint64_t *rng)
{
    item got[CHANNELS];
    weft_case cases[CHANNELS + 1];
    for (int c = 0; c < CHANNELS; c++)
        cases[c] = (weft_case)WEFT_RECV(v->closed[c] ? NULL : s->chans[c], &got[c]);
    cases[CHANNELS] = (weft_case)WEFT_AFTER(test_below(rng, 2) * WEFT_MS);
    int chosen = weft_select(cases, CHANNELS + 1);
    cr_assert_geq(chosen, 0);
    if (chosen == CHANNELS)
        return;
    if (cases[chosen].status == 0)
        look(s, v, &got[chosen], (uint32_t)chosen);
    else
        v->closed[chosen] = true;
}

/* A task that receives once, if it is not aborted before. */
typedef struct once {
    weft_future future;
    storm *s;
    weft_chan *ch;
    weft_op op;
    item got;
} once;

static void *recv_once(void *arg)
{
    once *o = arg;
    item got;
    if (weft_chan_recv(o->ch, &got) == 0)
        note_seen(o->s, &got);
    return NULL;
}

static weft_poll once_poll(weft_future *self, weft_context *cx, void **result)
{
    once *o = WEFT_CONTAINER_OF(self, once, future);
    (void)result;
    weft_poll status = weft_poll_chan_recv(cx, &o->op, o->ch, &o->got);
    if (status == 0)
        note_seen(o->s, &o->got);
    return status == WEFT_PENDING ? status : WEFT_READY;
}

static void once_drop(weft_future *self) { weft_op_drop(&WEFT_CONTAINER_OF(self, once, future)->op); }

static void abort_one(storm *s, uint64_t *rng)
{
    static const weft_future_ops ops = {once_poll, once_drop};
    once o = {.future.ops = &ops, .s = s, .ch = s->chans[test_below(rng, CHANNELS)]};
    weft_task *task;
    bool stackless = s->drops && test_below(rng, 2);
    cr_assert_eq(stackless ? weft_spawn_future(&task, &o.future) : weft_spawn(&task, recv_once, &o), 0);
    for (unsigned n = test_below(rng, 3); n > 0; n--)
        weft_yield();
    cr_assert_eq(weft_task_close(task), 0);
}

static int recv_plainly(storm *s, uint64_t *rng, uint32_t channel, item *got)
{
    weft_chan *ch = s->chans[channel];
    if (test_below(rng, 2))
        return weft_chan_try_recv(ch, got);
    WEFT_SCOPE(soon, test_below(rng, 2) * WEFT_MS);
    return weft_chan_recv(ch, got);
}

static void recv_somehow(storm *s, view *v, uint64_t *rng, bool thread)
{
    item got;
    uint32_t channel = test_below(rng, CHANNELS);
    unsigned what = test_below(rng, 16);
    if (what == 0 && !thread) {
        abort_one(s, rng);
    } else if (what < 12) {
        recv_by_select(s, v, rng);
    } else if (!v->closed[channel]) {
        int err = recv_plainly(s, rng, channel, &got);
        if (err == 0)
            look(s, v, &got, channel);
        v->closed[channel] = err == WEFT_ECLOSED;
    }
}

static void recv_all(storm *s, bool thread)
{
    view v = {.closed = {false}};
    uint64_t rng = s->seed + 2000 + atomic_fetch_add(&s->next_receiver, 1);
    memset(v.last, 0xff, sizeof v.last);
    while (!v.closed[0] || !v.closed[1] || !v.closed[2])
        recv_somehow(s, &v, &rng, thread);
}

static void *receiver(void *arg)
{
    recv_all(arg, false);
    return NULL;
}

static void *thread(void *arg)
{
    storm *s = arg;
    static atomic_uint turn;
    unsigned mine = atomic_fetch_add(&turn, 1) % (2 * THREADS);
    if (mine < THREADS)
        send_all(s, SENDERS + mine);
    else
        recv_all(s, true);
    return NULL;
}

/* ---- the storm --------------------------------------------------------------------------------------------------- */

/* What nobody has taken is still there. */
static void take_the_rest(storm *s)
{
    item got;
    for (int c = 0; c < CHANNELS; c++) {
        while (weft_chan_try_recv(s->chans[c], &got) == 0)
            note_seen(s, &got);
        cr_assert_eq(weft_chan_free(s->chans[c]), 0);
    }
    for (uint32_t i = 0; i < ALL_SENDERS; i++)
        for (uint32_t n = 0; n < s->items; n++)
            cr_assert_eq(s->sent[i][n], s->seen[i][n], "seed %llu: sender %u, item %u", (unsigned long long)s->seed, i, n);
}

static void rage(weft_runtime *rt, uint64_t seed)
{
    static const size_t capacities[] = {0, 1, 5, 64, WEFT_UNBOUNDED};
    static storm s;
    weft_task *tasks[SENDERS + RECEIVERS];
    uint64_t rng = seed;
    memset(&s, 0, sizeof s);
    s.seed = seed;
    s.drops = test_below(&rng, 2);
    s.close_soon = test_below(&rng, 3) == 0;
    s.items = (uint32_t)wf_test_scale(MOST_ITEMS / 4) + 1;
    s.senders_left = ALL_SENDERS;
    for (int c = 0; c < CHANNELS; c++)
        cr_assert_eq(weft_chan_create(&s.chans[c], sizeof(item), capacities[test_below(&rng, 5)]), 0);
    for (int i = 0; i < SENDERS + RECEIVERS; i++)
        cr_assert_eq(weft_spawn_on(rt, &tasks[i], i < SENDERS ? sender : receiver, &s), 0);
    in_threads(2 * THREADS, thread, &s);
    for (int i = 0; i < SENDERS + RECEIVERS; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    take_the_rest(&s);
}

WF_TEST_WORKERS(chan_stress, everybody_does_anything_and_nothing_is_lost)
{
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    uint64_t seed = test_seed(), rng = seed;
    fprintf(stderr, "WF_TEST_SEED=%llu\n", (unsigned long long)seed);
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (size_t n = 0; n < wf_test_scale(100); n++)
        rage(rt, test_random(&rng));
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}
