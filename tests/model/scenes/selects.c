/* selects.c - scenes of select.c over channels and notifications: one case fires, the others have neither taken nor lost anything, and nobody touches a
 * case when its select has returned. */
#include "../under_token.h"

#include <sync/chan.c>
#define unlink unlink_waiter
#include <sync/waiters.c>
#undef unlink
#include <sync/notify.c>
#include <sync/cases.c>
#include <base/rng.h>
#define wf_rng_below(rng, n) ((void)(rng), model_choose(n)) /* by chance is in every way */
#define leave_op leave_select
#include <sync/select.c>
#undef leave_op

enum { ITEMS = 8 };

static struct {
    weft_chan *a, *b;
    weft_notify notify;
    weft_token *token;
    int written[ITEMS], sent[ITEMS];
    int received[ITEMS]; /* plain: two receivers are a race, even where they do not meet */
    int notified[MODEL_THREADS];
    int waits; /* of those who wait for the notification */
} s;

#define SELECT_SCENE(name, ...) MODEL_SCENE(name, .state = &s, .state_size = sizeof s, __VA_ARGS__)

/* ---- of other rooms --------------------------------------------------------------------------------------------------- */

uint64_t wf_random(void) { return 1; }
void weft_timer_init(weft_timer *timer, int64_t when) { (void)timer, (void)when; }
weft_poll weft_timer_poll(weft_context *cx, weft_timer *timer) { return (void)cx, (void)timer, WEFT_PENDING; }
void weft_timer_drop(weft_timer *timer) { (void)timer; }
int64_t wf_interval_due(const weft_interval *iv) { return (void)iv, WEFT_FOREVER; }
void wf_interval_take(weft_interval *iv, int64_t due, int64_t now) { (void)iv, (void)due, (void)now; }
void wf_mutex_must_be_mine(const weft_mutex *m, const char *call) { (void)m, (void)call; }
void weft_mutex_lock(weft_mutex *m) { (void)m; }
void weft_mutex_unlock(weft_mutex *m) { (void)m; }

/* ---- what they do --------------------------------------------------------------------------------------------------------- */

static int send_to(weft_chan *ch, uint64_t item)
{
    s.written[item] = 42;
    int err = weft_chan_send(ch, &item);
    s.sent[item] = err == 0;
    return err;
}

static void note_received(uint64_t item)
{
    model_check(item > 0 && item < ITEMS && s.written[item] == 42);
    model_check(s.received[item]++ == 0);
}

/* The cases are freed as soon as it returns: a late touch is a failure. They are tried from any place on. Returns the index. */
static int select_among(int n, const weft_case *cases, int *status)
{
    weft_case *own = model_alloc((size_t)n * sizeof *own);
    memcpy(own, cases, (size_t)n * sizeof *own);
    int index = await_first(own, n, (int)model_choose((unsigned)n));
    *status = index >= 0 ? own[index].status : index;
    model_free(own);
    return index;
}

static int receive_either(weft_chan *one, weft_chan *other)
{
    uint64_t items[2] = {0, 0};
    int status, index = select_among(2, (weft_case[]){WEFT_RECV(one, &items[0]), WEFT_RECV(other, &items[1])}, &status);
    for (int i = 0; i < 2; i++)
        if (index == i && status == 0)
            note_received(items[i]);
        else
            model_check(items[i] == 0);
    return status;
}

static void drain(weft_chan *ch)
{
    uint64_t item;
    while (weft_chan_try_recv(ch, &item) == 0)
        note_received(item);
}

static void make(size_t capacity)
{
    ordinary_begin();
    model_check(weft_chan_create(&s.a, sizeof(uint64_t), capacity) == 0);
    model_check(weft_chan_create(&s.b, sizeof(uint64_t), capacity) == 0);
    model_name(&s.a->lock, "a");
    model_name(&s.b->lock, "b");
}

static void rendezvous(void) { make(0); }
static void bounded(void) { make(1); }

static void all_received(void)
{
    drain(s.a);
    drain(s.b);
    model_check(weft_chan_free(s.a) == 0 && weft_chan_free(s.b) == 0);
    for (int i = 0; i < ITEMS; i++)
        model_check(s.received[i] == s.sent[i]);
    model_check(model_blocks() == 0);
}

/* ---- receiving from two --------------------------------------------------------------------------------------------------- */

static void send_1_to_a(void) { model_check(send_to(s.a, 1) == 0), ordinary_end(); }
static void send_2_to_b(void) { model_check(send_to(s.b, 2) == 0), ordinary_end(); }
static void receive_a_or_b(void) { model_check(receive_either(s.a, s.b) == 0), ordinary_end(); }
static void receive_b_or_a(void) { model_check(receive_either(s.b, s.a) == 0), ordinary_end(); }
static void receive_a_twice(void) { model_check(receive_either(s.a, s.a) == 0), ordinary_end(); }

SELECT_SCENE(select_one_of_two, .setup = bounded, .threads = {receive_a_or_b, send_1_to_a, send_2_to_b},
             .finish = all_received, .random = 2000);
SELECT_SCENE(selects_in_opposite_order, .setup = rendezvous,
             .threads = {receive_a_or_b, receive_b_or_a, send_1_to_a, send_2_to_b}, .finish = all_received, .random = 400);
SELECT_SCENE(select_the_same_twice, .setup = rendezvous, .threads = {receive_a_twice, send_1_to_a},
             .finish = all_received, .preemptions = 1, .stale = 0, .random = 100);

/* A sender that found the select closed is not left waiting when that has opened. */
static void receive_both(void)
{
    model_check(receive_either(s.a, s.b) == 0);
    model_check(receive_either(s.a, s.b) == 0);
    ordinary_end();
}

SELECT_SCENE(select_both_in_turn, .setup = rendezvous, .threads = {receive_both, send_1_to_a, send_2_to_b},
             .finish = all_received, .random = 400);

/* ---- sending and receiving ------------------------------------------------------------------------------------------------ */

static void exchange(weft_chan *to, uint64_t item, weft_chan *from)
{
    uint64_t got = 0;
    int status, index;
    s.written[item] = 42;
    index = select_among(2, (weft_case[]){WEFT_SEND(to, &item), WEFT_RECV(from, &got)}, &status);
    model_check(index >= 0 && status == 0);
    s.sent[item] = index == 0;
    if (index == 1)
        note_received(got);
    else
        model_check(got == 0);
    ordinary_end();
}

/* Both select: one sends to the other, and each knows which. */
static void exchange_1(void) { exchange(s.a, 1, s.b); }
static void exchange_2(void) { exchange(s.b, 2, s.a); }
static void exchange_1_with_itself(void) { exchange(s.a, 1, s.a); }
static void exchange_2_with_itself(void) { exchange(s.a, 2, s.a); }

SELECT_SCENE(selects_meet, .setup = rendezvous, .threads = {exchange_1, exchange_2}, .finish = all_received,
             .preemptions = 1, .stale = 0, .random = 400);
SELECT_SCENE(selects_meet_in_one_channel, .setup = rendezvous, .threads = {exchange_1_with_itself, exchange_2_with_itself},
             .finish = all_received, .preemptions = 1, .stale = 0, .random = 300);
SELECT_SCENE(select_meets_a_sender_not_itself, .setup = rendezvous, .threads = {receive_a_twice, exchange_1_with_itself},
             .finish = all_received, .preemptions = 1, .stale = 0, .random = 200);

/* ---- interrupted, closed -------------------------------------------------------------------------------------------------- */

static void make_with_token(void)
{
    make(1);
    s.token = under_token_make();
}

static void cancel(void) { weft_token_cancel(s.token); }

static int receive(void) { return receive_either(s.a, s.b); }
static void receive_cancelled(void) { under_token(s.token, receive), ordinary_end(); }

static void free_token(void)
{
    model_check(weft_token_free(s.token) == 0);
    all_received();
}

SELECT_SCENE(select_cancelled_when_chosen, .setup = make_with_token, .threads = {receive_cancelled, send_1_to_a, cancel},
             .finish = free_token, .preemptions = 1, .stale = 0, .random = 50);

static void close_a(void) { weft_chan_close(s.a); }

static void receive_or_closed(void)
{
    int err = receive_either(s.a, s.b);
    model_check(err == 0 || err == WEFT_ECLOSED);
    ordinary_end();
}

SELECT_SCENE(select_while_one_closes, .setup = bounded, .threads = {receive_or_closed, close_a, send_2_to_b},
             .finish = all_received, .random = 500);

/* ---- a notification is granted without asking the select: who does not use it passes it on -------------------------------- */

static void notify(void) { weft_notify_one(&s.notify); }

static void wait_for_notification(void)
{
    model_check(weft_notify_wait(&s.notify) == 0);
    s.notified[model_self()] = 1;
    ordinary_end();
}

static void select_notified_or_a(void)
{
    uint64_t item = 0;
    int status, index = select_among(2, (weft_case[]){WEFT_NOTIFIED(&s.notify), WEFT_RECV(s.a, &item)}, &status);
    model_check(index >= 0 && status == 0);
    s.notified[model_self()] = index == 0;
    if (index == 1)
        note_received(item);
    ordinary_end();
}

/* The one who selects may have both; if it has the item, the other has the notification, or it is kept. */
static void one_was_notified(void)
{
    model_check(s.notified[0] + s.notified[1] + (int)s.notify.stored_ == 1);
    if (s.notified[0]) /* the other waits still, and on this stack */
        return;
    all_received();
}

SELECT_SCENE(select_passes_a_notification_on, .setup = bounded,
             .threads = {select_notified_or_a, wait_for_notification, send_1_to_a, notify}, .finish = one_was_notified,
             .may_block = true, .random = 600);
SELECT_SCENE(select_leaves_a_notification, .setup = bounded, .threads = {select_notified_or_a, notify, send_1_to_a},
             .finish = one_was_notified, .random = 500);

/* ---- stackless ------------------------------------------------------------------------------------------------------------ */

static void send_1_and_close(void)
{
    model_check(send_to(s.a, 1) == 0);
    weft_chan_close(s.a);
    ordinary_end();
}

/* Dropped, perhaps when it was decided already: what it was handed is another's. */
static void poll_and_drop(void)
{
    static const weft_op idle = WEFT_OP_INIT;
    uint64_t items[2] = {0, 0};
    weft_case *cases = model_alloc(2 * sizeof *cases);
    weft_op *op = model_alloc(sizeof *op);
    *op = idle;
    memcpy(cases, (weft_case[]){WEFT_RECV(s.a, &items[0]), WEFT_RECV(s.b, &items[1])}, 2 * sizeof *cases);
    int index = weft_poll_select(ordinary_context(), op, cases, 2);
    if (index >= 0 && cases[index].status == 0)
        note_received(items[index]);
    if (index == WEFT_PENDING)
        weft_op_drop(op);
    model_free(cases);
    model_free(op);
    ordinary_end();
}

SELECT_SCENE(dropped_select_gives_back, .setup = rendezvous,
             .threads = {poll_and_drop, send_1_and_close, receive_or_closed}, .finish = all_received, .random = 400);
