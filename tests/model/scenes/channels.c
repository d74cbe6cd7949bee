/* channels.c - scenes of chan.c and oneshot.c: what is sent is received once, or stays with its sender, in each sender's order; whoever waits is served. */
#include "../under_token.h"

#include <sync/chan.c>
#include <sync/oneshot.c>

enum { ITEMS = 8 };

static struct {
    weft_chan *ch;
    weft_oneshot *oneshot;
    weft_token *token;
    int written[ITEMS];  /* by the sender, before it sends */
    int received[ITEMS]; /* plain: two receivers are a race, even where they do not meet */
    int sent[ITEMS];
    int dropped[ITEMS];
    uint64_t last[MODEL_THREADS]; /* received by each */
    wf_a32 users;                 /* the last of them frees it */
    weft_op op;
} s;

#define CHANNEL_SCENE(name, ...) MODEL_SCENE(name, .state = &s, .state_size = sizeof s, __VA_ARGS__)

/* ---- items: 1 … ---------------------------------------------------------------------------------------------------- */

static int send(uint64_t item)
{
    s.written[item] = 42;
    int err = weft_chan_send(s.ch, &item);
    s.sent[item] = err == 0;
    return err;
}

static void note_received(uint64_t item)
{
    model_check(item > 0 && item < ITEMS && s.written[item] == 42);
    model_check(s.received[item]++ == 0);
}

static int receive(void)
{
    uint64_t item = 0;
    int err = weft_chan_recv(s.ch, &item);
    if (err == 0)
        note_received(item);
    else
        model_check(item == 0);
    return err;
}

/* Of one sender: what comes later is larger. */
static void receive_in_order(void)
{
    uint64_t item = 0;
    model_check(weft_chan_recv(s.ch, &item) == 0);
    note_received(item);
    model_check(item > s.last[model_self()]);
    s.last[model_self()] = item;
}

static void drop_item(void *item) { model_check(s.dropped[*(uint64_t *)item]++ == 0); }

static void drain(void)
{
    uint64_t item;
    while (weft_chan_try_recv(s.ch, &item) == 0)
        note_received(item);
}

static void each_once(void)
{
    for (int i = 0; i < ITEMS; i++)
        model_check(s.received[i] + s.dropped[i] == s.sent[i]);
    model_check(model_blocks() == 0);
}

static void all_received(void)
{
    model_check(weft_chan_len(s.ch) == 0);
    model_check(weft_chan_free(s.ch) == 0);
    each_once();
}

static void drain_rest(void)
{
    drain();
    all_received();
}

static void make(size_t capacity)
{
    ordinary_begin();
    model_check(weft_chan_create(&s.ch, sizeof(uint64_t), capacity) == 0);
    model_name(&s.ch->lock, "channel");
}

static void rendezvous(void) { make(0); }
static void bounded(void) { make(1); }
static void bounded_2(void) { make(2); }
static void no_bound(void) { make(WEFT_UNBOUNDED); }

static void send_1(void) { model_check(send(1) == 0), ordinary_end(); }
static void send_2(void) { model_check(send(2) == 0), ordinary_end(); }
static void send_1_2(void) { model_check(send(1) == 0 && send(2) == 0), ordinary_end(); }
static void receive_1(void) { model_check(receive() == 0), ordinary_end(); }
static void receive_2(void) { model_check(receive() == 0 && receive() == 0), ordinary_end(); }

static void receive_5(void)
{
    for (int i = 0; i < 5; i++)
        model_check(receive() == 0);
    ordinary_end();
}

static void send_3_to_5(void)
{
    for (uint64_t i = 3; i <= 5; i++)
        model_check(send(i) == 0);
    ordinary_end();
}

static void receive_3_in_order(void)
{
    for (int i = 0; i < 3; i++)
        receive_in_order();
    ordinary_end();
}

static void close_it(void) { weft_chan_close(s.ch); }

static void sent_or_closed(int err) { model_check(err == 0 || err == WEFT_ECLOSED); }

static void send_1_or_closed(void) { sent_or_closed(send(1)), ordinary_end(); }
static void send_2_or_closed(void) { sent_or_closed(send(2)), ordinary_end(); }
static void receive_1_or_closed(void) { sent_or_closed(receive()), ordinary_end(); }

static void receive_until_closed(void)
{
    int err;
    while ((err = receive()) == 0)
        ;
    model_check(err == WEFT_ECLOSED);
    ordinary_end();
}

CHANNEL_SCENE(rendezvous_two_to_one, .setup = rendezvous, .threads = {send_1, send_2, receive_2},
              .finish = all_received, .preemptions = 1, .stale = 0, .random = 100);
CHANNEL_SCENE(rendezvous_one_to_two, .setup = rendezvous, .threads = {send_1_2, receive_1, receive_1},
              .finish = all_received, .random = 500);
CHANNEL_SCENE(bounded_two_to_two, .setup = bounded, .threads = {send_1, send_2, receive_1, receive_1},
              .finish = all_received, .random = 800);
CHANNEL_SCENE(bounded_in_order, .setup = bounded, .threads = {send_3_to_5, receive_3_in_order}, .finish = all_received,
              .preemptions = 1, .stale = 0, .random = 300);
CHANNEL_SCENE(bounded_2_two_to_one, .setup = bounded_2, .threads = {send_1_2, send_3_to_5, receive_5},
              .finish = all_received, .random = 300);
CHANNEL_SCENE(unbounded_two_to_one, .setup = no_bound, .threads = {send_1, send_2, receive_2}, .finish = all_received,
              .preemptions = 1, .stale = 0, .random = 200);

/* Who has no place yet gets the one that is made. */
CHANNEL_SCENE(place_for_the_first_sender, .setup = bounded, .threads = {send_1_2, receive_1}, .finish = drain_rest,
              .preemptions = 2, .stale = 0, .random = 100);

/* ---- wakers that are tasks': they queue in the section that found nothing --------------------------------------------- */

static void send_1_as_task(void) { ordinary_as_task(), send_1(); }
static void send_2_as_task(void) { ordinary_as_task(), send_2(); }
static void receive_2_as_task(void) { ordinary_as_task(), receive_2(); }

CHANNEL_SCENE(tasks_meet, .setup = rendezvous, .threads = {send_1_as_task, send_2_as_task, receive_2_as_task},
              .finish = all_received, .random = 500);

/* ---- try -------------------------------------------------------------------------------------------------------------- */

static void try_to_send(void)
{
    uint64_t item = 1;
    s.written[1] = 42;
    s.sent[1] = weft_chan_try_send(s.ch, &item) == 0;
}

static void try_to_receive(void)
{
    uint64_t item;
    if (weft_chan_try_recv(s.ch, &item) == 0)
        note_received(item);
}

CHANNEL_SCENE(tries_and_waits, .setup = bounded, .threads = {try_to_send, try_to_receive, receive_1_or_closed, close_it},
              .finish = drain_rest, .random = 800);

/* ---- closing ------------------------------------------------------------------------------------------------------------ */

CHANNEL_SCENE(closed_while_both_wait, .setup = rendezvous, .threads = {send_1_or_closed, receive_until_closed, close_it},
              .finish = all_received, .preemptions = 1, .stale = 0, .random = 200);
CHANNEL_SCENE(closed_and_drained, .setup = bounded,
              .threads = {send_1_or_closed, send_2_or_closed, receive_until_closed, close_it}, .finish = all_received,
              .random = 800);

/* Whoever is told last that it is closed frees it: the closer does not touch it any more. */
static void receive_closed_and_free(void)
{
    model_check(receive() == WEFT_ECLOSED);
    model_check(weft_chan_free(s.ch) == 0);
    ordinary_end();
}

CHANNEL_SCENE(freed_by_who_was_told, .setup = rendezvous, .threads = {close_it, receive_closed_and_free},
              .finish = each_once, .preemptions = 2, .stale = 1, .random = 100);

/* ---- interrupted -------------------------------------------------------------------------------------------------------- */

static int send_item_1(void) { return send(1); }
static void cancel(void) { weft_token_cancel(s.token); }
static void send_1_cancelled(void) { under_token(s.token, send_item_1), ordinary_end(); }
static void receive_1_cancelled(void) { under_token(s.token, receive), ordinary_end(); }

static void with_token(size_t capacity)
{
    make(capacity);
    s.token = under_token_make();
}

static void rendezvous_with_token(void) { with_token(0); }
static void bounded_with_token(void) { with_token(1); }

static void free_token(void)
{
    model_check(weft_token_free(s.token) == 0);
    drain_rest();
}

/* The closer comes back for those that are left, and meanwhile they leave by themselves: it is they who free it, or he. */
static void leave(void)
{
    if (wf_sub_acqrel(&s.users, 1) == 1)
        model_check(weft_chan_free(s.ch) == 0);
    ordinary_end();
}

static void receive_closed_and_leave(void)
{
    model_check(receive() == WEFT_ECLOSED);
    leave();
}

static void receive_cancelled_and_leave(void)
{
    under_token(s.token, receive);
    leave();
}

static void two_users(void)
{
    rendezvous_with_token();
    wf_store_rlx(&s.users, 2);
}

static void all_left(void)
{
    model_check(weft_token_free(s.token) == 0);
    each_once();
}

CHANNEL_SCENE(freed_while_the_closer_comes_back, .setup = two_users,
              .threads = {close_it, receive_closed_and_leave, receive_cancelled_and_leave, cancel}, .finish = all_left,
              .preemptions = 1, .stale = 0, .random = 2000);

/* What lies in it is dropped before the free returns, whoever comes back. */
static void leave_full(void)
{
    if (wf_sub_acqrel(&s.users, 1) == 1) {
        model_check(weft_chan_free(s.ch) == 0);
        model_check(s.dropped[1] == 1);
    }
    ordinary_end();
}

static int send_item_3(void) { return send(3); }

static void send_closed_and_leave(void)
{
    model_check(send(2) == WEFT_ECLOSED);
    leave_full();
}

static void send_cancelled_and_leave(void)
{
    under_token(s.token, send_item_3);
    leave_full();
}

static void two_users_of_a_full_one(void)
{
    weft_chan_options options = {.drop = drop_item};
    ordinary_begin();
    model_check(weft_chan_create_with(&s.ch, sizeof(uint64_t), 1, &options) == 0);
    s.token = under_token_make();
    model_check(weft_chan_try_send(s.ch, &(uint64_t){1}) == 0);
    s.sent[1] = 1;
    wf_store_rlx(&s.users, 2);
}

CHANNEL_SCENE(dropped_while_the_closer_comes_back, .setup = two_users_of_a_full_one,
              .threads = {close_it, send_closed_and_leave, send_cancelled_and_leave, cancel}, .finish = all_left,
              .preemptions = 1, .stale = 0, .random = 500);

/* The item is the one's or the other's who waits, or lies there still (d12). */
CHANNEL_SCENE(receiver_cancelled_when_chosen, .setup = bounded_with_token, .threads = {send_2, receive_1_cancelled, cancel},
              .finish = free_token, .preemptions = 1, .stale = 0, .random = 200);

static void send_2_and_close(void)
{
    model_check(send(2) == 0);
    weft_chan_close(s.ch);
    ordinary_end();
}

CHANNEL_SCENE(another_receiver_is_next, .setup = bounded_with_token,
              .threads = {receive_1_cancelled, receive_1_or_closed, send_2_and_close, cancel}, .finish = free_token,
              .random = 500);

/* It has been sent, or it has not; whoever waits behind it is not forgotten (d24). */
CHANNEL_SCENE(sender_cancelled_when_chosen, .setup = rendezvous_with_token,
              .threads = {send_1_cancelled, send_2_and_close, receive_until_closed, cancel}, .finish = free_token,
              .random = 500);

/* Time runs out only when nothing else can be done: then nothing was taken. */
static void receive_in_time(void)
{
    weft_scope scope;
    model_check(weft_scope_enter(&scope, 1000) == 0);
    int err = receive();
    model_check(err == 0 || err == WEFT_ETIMEDOUT);
    model_check(weft_scope_leave(&scope) == err);
    ordinary_end();
}

CHANNEL_SCENE(time_runs_out_for_one, .setup = rendezvous, .threads = {receive_in_time, receive_in_time, send_1},
              .finish = all_received, .preemptions = 1, .stale = 0, .random = 50);

/* ---- stackless ----------------------------------------------------------------------------------------------------------- */

/* Dropped when it waits, perhaps after it was served: what it was handed is the next one's. */
static void poll_and_drop(void)
{
    uint64_t item = 0;
    int err = weft_poll_chan_recv(ordinary_context(), &s.op, s.ch, &item);
    if (err == 0)
        note_received(item);
    else
        weft_op_drop(&s.op);
    ordinary_end();
}

CHANNEL_SCENE(dropped_receiver_gives_back, .setup = rendezvous,
              .threads = {poll_and_drop, send_2_and_close, receive_1_or_closed}, .finish = drain_rest, .preemptions = 1,
              .stale = 0, .random = 200);

/* ---- one value ------------------------------------------------------------------------------------------------------------ */

static void make_oneshot(void)
{
    ordinary_begin();
    model_check(weft_oneshot_create(&s.oneshot, sizeof(uint64_t), drop_item) == 0);
}

static void oneshot_send(void)
{
    uint64_t item = 1;
    s.written[1] = 42;
    int err = weft_oneshot_send(s.oneshot, &item);
    model_check(err == 0 || err == WEFT_ECLOSED);
    s.sent[1] = err == 0;
}

/* Once it is there, the sender touches it no more. */
static void oneshot_receive_and_free(void)
{
    uint64_t item = 0;
    model_check(weft_oneshot_recv(s.oneshot, &item) == 0);
    note_received(item);
    model_check(weft_oneshot_free(s.oneshot) == 0);
    ordinary_end();
}

CHANNEL_SCENE(oneshot_freed_by_its_receiver, .setup = make_oneshot, .threads = {oneshot_send, oneshot_receive_and_free},
              .finish = each_once, .preemptions = 2, .stale = 1, .random = 100);

static void oneshot_receive(void)
{
    uint64_t item = 0;
    int err = weft_oneshot_recv(s.oneshot, &item);
    model_check(err == 0 || err == WEFT_ECLOSED);
    if (err == 0)
        note_received(item);
    ordinary_end();
}

static void oneshot_close(void) { weft_oneshot_close(s.oneshot); }

/* What is left is dropped. */
static void oneshot_is_over(void)
{
    model_check(weft_oneshot_free(s.oneshot) == 0);
    each_once();
}

CHANNEL_SCENE(oneshot_tells_all, .setup = make_oneshot, .threads = {oneshot_send, oneshot_receive, oneshot_receive},
              .finish = oneshot_is_over, .preemptions = 1, .stale = 0, .random = 200);
CHANNEL_SCENE(oneshot_given_up, .setup = make_oneshot, .threads = {oneshot_send, oneshot_close, oneshot_receive},
              .finish = oneshot_is_over, .preemptions = 1, .stale = 0, .random = 300);
