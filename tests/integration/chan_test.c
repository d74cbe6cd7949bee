/* chan_test.c - channels as their users see them: what comes out, in which order, and what becomes of those who wait.
 *
 * Most tests go by the paused clock: whoever has slept knows that all others wait, on however many workers. */
#include <pthread.h>
#include <support/chan_support.h>
#include <support/test.h>
#include <weft/future.h>
#include <weft/scope.h>

static const size_t capacities[] = {0, 1, 2, 7, 64, WEFT_UNBOUNDED};
enum { CAPACITIES = sizeof capacities / sizeof *capacities };

static void send_now(weft_chan *ch, uint64_t item) { cr_assert_eq(weft_chan_try_send(ch, &item), 0); }

static void expect_now(weft_chan *ch, uint64_t item)
{
    uint64_t got = 0;
    cr_assert_eq(weft_chan_try_recv(ch, &got), 0);
    cr_assert_eq(got, item);
}

static void expect_none(weft_chan *ch, int code)
{
    uint64_t got = 4711;
    cr_assert_eq(weft_chan_try_recv(ch, &got), code);
    cr_assert_eq(got, 4711, "nothing was written");
}

static void free_chan(weft_chan *ch) { cr_assert_eq(weft_chan_free(ch), 0); }

static void join(weft_task *task) { cr_assert_eq(weft_join(task, NULL), 0); }

/* ---- arguments ------------------------------------------------------------------------------------------------ */

Test(chan, arguments_that_make_no_sense_are_refused)
{
    weft_chan *ch = (weft_chan *)&ch;
    uint64_t item = 0;
    cr_assert_eq(weft_chan_create(NULL, 8, 1), WEFT_EINVAL);
    cr_assert_eq(weft_chan_create(&ch, 0, 1), WEFT_EINVAL);
    cr_assert_null(ch);
    ch = new_chan(1);
    cr_assert_eq(weft_chan_send(NULL, &item), WEFT_EINVAL);
    cr_assert_eq(weft_chan_send(ch, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_chan_recv(NULL, &item), WEFT_EINVAL);
    cr_assert_eq(weft_chan_recv(ch, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_chan_try_send(NULL, &item), WEFT_EINVAL);
    cr_assert_eq(weft_chan_try_send(ch, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_chan_try_recv(NULL, &item), WEFT_EINVAL);
    cr_assert_eq(weft_chan_try_recv(ch, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_chan_len(NULL), 0);
    cr_assert_eq(weft_chan_len(ch), 0);
    cr_assert_eq(weft_poll_chan_send(NULL, NULL, ch, &item), WEFT_EINVAL);
    cr_assert_eq(weft_poll_chan_recv(NULL, NULL, ch, &item), WEFT_EINVAL);
    weft_op_drop(NULL);
    weft_op idle = WEFT_OP_INIT;
    weft_op_drop(&idle);
    weft_chan_close(NULL);
    free_chan(NULL);
    free_chan(ch);
}

/* Items that no memory could hold; and rings of them. */
Test(chan, sizes_beyond_all_memory_are_refused)
{
    weft_chan *ch;
    cr_assert_eq(weft_chan_create(&ch, SIZE_MAX, 0), WEFT_EINVAL);
    cr_assert_eq(weft_chan_create(&ch, SIZE_MAX, WEFT_UNBOUNDED), WEFT_EINVAL);
    cr_assert_eq(weft_chan_create(&ch, SIZE_MAX / 2 + 1, 0), WEFT_EINVAL);
    cr_assert_eq(weft_chan_create(&ch, SIZE_MAX / 4, WEFT_UNBOUNDED), WEFT_EINVAL, "a block of these overflows");
    cr_assert_eq(weft_chan_create(&ch, 16, SIZE_MAX / 8), WEFT_EINVAL);
    cr_assert_eq(weft_chan_create(&ch, 3, SIZE_MAX / 2), WEFT_EINVAL);
    cr_assert_null(ch);
}

Test(chan, a_ring_that_there_is_no_memory_for_is_told)
{
    weft_chan *ch;
    if (WF_TEST_SANITIZED)
        cr_skip_test("sanitizers end the process instead");
    if (WF_TEST_NARROW)
        cr_skip_test("half of 32 bits can be had");
    cr_assert_eq(weft_chan_create(&ch, 1, (size_t)PTRDIFF_MAX), WEFT_ENOMEM);
    cr_assert_null(ch);
    cr_assert_eq(weft_chan_create(&ch, 1, WEFT_UNBOUNDED - 1), WEFT_ENOMEM);
    cr_assert_null(ch);
}

/* ---- items ---------------------------------------------------------------------------------------------------- */

static void stamp(unsigned char *item, size_t size, unsigned number)
{
    for (size_t i = 0; i < size; i++)
        item[i] = (unsigned char)(number * 7 + i * 13);
}

static void expect_stamped(weft_chan *ch, size_t size, unsigned number)
{
    unsigned char got[4096 + 8], want[4096];
    memset(got, 0xee, sizeof got);
    stamp(want, size, number);
    cr_assert_eq(weft_chan_try_recv(ch, got), 0);
    cr_assert_arr_eq(got, want, size);
    for (size_t i = 0; i < 8; i++)
        cr_assert_eq(got[size + i], 0xee, "no more than the item is written");
}

/* Fill it again and again by different amounts, so that the ring's and the blocks' seams lie everywhere. */
static void pass_items(size_t size, size_t capacity)
{
    unsigned char item[4096];
    weft_chan *ch;
    unsigned sent = 0, received = 0;
    cr_assert_eq(weft_chan_create(&ch, size, capacity), 0);
    for (unsigned burst = 1; burst < 150; burst += 7) {
        for (unsigned i = 0; i < burst && sent - received < capacity; i++) {
            stamp(item, size, sent++);
            cr_assert_eq(weft_chan_try_send(ch, item), 0);
            cr_assert_eq(weft_chan_len(ch), sent - received);
        }
        if (sent - received == capacity)
            cr_assert_eq(weft_chan_try_send(ch, item), WEFT_EAGAIN);
        while (sent - received > burst % 5)
            expect_stamped(ch, size, received++);
    }
    weft_chan_close(ch);
    while (received < sent)
        expect_stamped(ch, size, received++);
    cr_assert_eq(weft_chan_try_recv(ch, item), WEFT_ECLOSED);
    free_chan(ch);
}

Test(chan, items_of_any_size_come_out_whole_and_in_order)
{
    static const size_t sizes[] = {1, 8, 24, 4096};
    for (unsigned s = 0; s < 4; s++)
        for (unsigned c = 1; c < CAPACITIES; c++)
            pass_items(sizes[s], capacities[c]);
}

static void *big_sender(void *arg)
{
    weft_chan *ch = arg;
    unsigned char item[4096];
    for (unsigned i = 0; i < 40; i++) {
        stamp(item, sizeof item, i);
        cr_assert_eq(weft_chan_send(ch, item), 0);
        memset(item, 0, sizeof item);
    }
    return NULL;
}

static void *big_items_root(void *arg)
{
    unsigned char got[4096], want[4096];
    (void)arg;
    for (unsigned c = 0; c < CAPACITIES; c++) {
        weft_chan *ch;
        weft_task *task;
        cr_assert_eq(weft_chan_create(&ch, sizeof got, capacities[c]), 0);
        cr_assert_eq(weft_spawn(&task, big_sender, ch), 0);
        for (unsigned i = 0; i < 40; i++) {
            stamp(want, sizeof want, i);
            cr_assert_eq(weft_chan_recv(ch, got), 0);
            cr_assert_arr_eq(got, want, sizeof want);
        }
        join(task);
        free_chan(ch);
    }
    return NULL;
}

WF_TEST_WORKERS(chan, big_items_are_copied_whole_from_hand_to_hand) { run(workers, big_items_root, NULL); }

Test(chan, an_unbounded_channel_takes_everything_and_gives_back_its_memory)
{
    weft_chan *ch = new_chan(WEFT_UNBOUNDED);
    enum { MANY = 20000 };
    for (int turn = 0; turn < 3; turn++) {
        for (uint64_t i = 0; i < MANY; i++)
            send_now(ch, i);
        cr_assert_eq(weft_chan_len(ch), MANY);
        for (uint64_t i = 0; i < MANY; i++)
            expect_now(ch, i);
        expect_none(ch, WEFT_EAGAIN);
    }
    for (uint64_t i = 0; i < MANY; i++)
        send_now(ch, i);
    free_chan(ch);
}

WEFT_CHAN_TYPE(const char *, words);
struct point {
    int x, y, z;
};
WEFT_CHAN_TYPE(struct point, points);

static void *typed_root(void *arg)
{
    weft_chan *w, *p;
    words_item word = NULL;
    struct point point = {0, 0, 0};
    (void)arg;
    cr_assert_eq(words_create(&w, 2), 0);
    cr_assert_eq(points_create(&p, 1), 0);
    cr_assert_eq(words_send(w, "one"), 0);
    cr_assert_eq(words_try_send(w, "two"), 0);
    cr_assert_eq(words_try_send(w, "three"), WEFT_EAGAIN);
    cr_assert_eq(words_recv(w, &word), 0);
    cr_assert_str_eq(word, "one");
    cr_assert_eq(words_try_recv(w, &word), 0);
    cr_assert_str_eq(word, "two");
    cr_assert_eq(words_try_recv(w, &word), WEFT_EAGAIN);
    cr_assert_eq(points_send(p, (struct point){1, 2, 3}), 0);
    cr_assert_eq(points_recv(p, &point), 0);
    cr_assert_eq(point.z, 3);
    free_chan(w);
    free_chan(p);
    return NULL;
}

Test(chan, a_typed_channel_takes_and_gives_values) { run(1, typed_root, NULL); }

/* ---- without waiting ------------------------------------------------------------------------------------------- */

Test(chan, trying_says_again_when_it_would_wait)
{
    for (unsigned c = 0; c < CAPACITIES; c++) {
        weft_chan *ch = new_chan(capacities[c]);
        size_t fit = capacities[c] < 100 ? capacities[c] : 100;
        expect_none(ch, WEFT_EAGAIN);
        for (size_t i = 0; i < fit; i++)
            send_now(ch, i);
        uint64_t more = 4711;
        cr_assert_eq(weft_chan_try_send(ch, &more), capacities[c] > 100 ? 0 : WEFT_EAGAIN);
        for (size_t i = 0; i < fit; i++)
            expect_now(ch, i);
        weft_chan_close(ch);
        weft_chan_close(ch);
        cr_assert_eq(weft_chan_try_send(ch, &more), WEFT_ECLOSED);
        if (capacities[c] > 100)
            expect_now(ch, 4711);
        expect_none(ch, WEFT_ECLOSED);
        free_chan(ch);
    }
}

/* A rendezvous by trying: only with one who waits. */
static void *try_meets_root(void *arg)
{
    (void)arg;
    for (unsigned c = 0; c < CAPACITIES; c++) {
        weft_chan *ch = new_chan(capacities[c]);
        chan_call r = {.ch = ch}, s = {.ch = ch, .item = 6};
        weft_task *receiver = spawn_settled(call_recv, &r);
        cr_assert_eq(weft_chan_free(ch), WEFT_EBUSY, "somebody waits");
        send_now(ch, 5);
        cr_assert_eq(weft_chan_len(ch), 0, "it went to the one who waits");
        expect_none(ch, WEFT_EAGAIN);
        join(receiver);
        cr_assert_eq(r.item, 5);
        size_t fit = capacities[c] < 100 ? capacities[c] : 0;
        for (size_t i = 0; i < fit; i++)
            send_now(ch, i);
        weft_task *sender = spawn_settled(call_send, &s);
        bool waits = capacities[c] < 100;
        cr_assert_eq(s.status, waits ? CALL_WAITS : 0);
        cr_assert_eq(weft_chan_free(ch), waits ? WEFT_EBUSY : 0);
        if (!waits)
            ch = NULL;
        for (size_t i = 0; i < fit; i++)
            expect_now(ch, i);
        if (waits)
            expect_now(ch, 6);
        join(sender);
        cr_assert_eq(s.status, 0);
        free_chan(ch);
    }
    return NULL;
}

WF_TEST_WORKERS(chan, trying_meets_those_who_wait) { run_paused(workers, try_meets_root, NULL); }

/* ---- order ------------------------------------------------------------------------------------------------------ */

static void *order_of_senders_root(void *arg)
{
    enum { MANY = 40 };
    (void)arg;
    for (unsigned c = 0; c + 1 < CAPACITIES; c++) {
        chan_call calls[MANY];
        weft_task *tasks[MANY];
        weft_chan *ch = new_chan(capacities[c]);
        for (size_t i = 0; i < capacities[c]; i++)
            send_now(ch, i);
        for (unsigned i = 0; i < MANY; i++) {
            calls[i] = (chan_call){.ch = ch, .item = capacities[c] + i};
            tasks[i] = spawn_settled(call_send, &calls[i]);
        }
        cr_assert_eq(weft_chan_len(ch), capacities[c], "those who wait are not in it");
        for (unsigned i = 0; i < capacities[c] + MANY; i++)
            expect_now(ch, i);
        for (unsigned i = 0; i < MANY; i++)
            join(tasks[i]);
        free_chan(ch);
    }
    return NULL;
}

WF_TEST_WORKERS(chan, senders_get_places_in_the_order_in_which_they_came)
{
    run_paused(workers, order_of_senders_root, NULL);
}

static void *order_of_receivers_root(void *arg)
{
    enum { MANY = 40 };
    (void)arg;
    for (unsigned c = 0; c < CAPACITIES; c++) {
        chan_call calls[MANY];
        weft_task *tasks[MANY];
        weft_chan *ch = new_chan(capacities[c]);
        for (unsigned i = 0; i < MANY; i++) {
            calls[i].ch = ch;
            tasks[i] = spawn_settled(call_recv, &calls[i]);
        }
        for (unsigned i = 0; i < MANY; i++)
            send_now(ch, i);
        for (unsigned i = 0; i < MANY; i++) {
            join(tasks[i]);
            cr_assert_eq(calls[i].item, i);
        }
        free_chan(ch);
    }
    return NULL;
}

WF_TEST_WORKERS(chan, receivers_get_items_in_the_order_in_which_they_came)
{
    run_paused(workers, order_of_receivers_root, NULL);
}

/* ---- closing ---------------------------------------------------------------------------------------------------- */

enum { CROWD = 35 }; /* more than are woken at once, twice */

typedef struct crowd {
    weft_chan *ch;
    chan_call calls[CROWD];
    chan_future futures[CROWD];
    weft_task *tasks[2 * CROWD];
} crowd;

static void gather(crowd *c, weft_chan *ch, bool sends)
{
    for (unsigned i = 0; i < CROWD; i++) {
        c->calls[i] = (chan_call){.ch = ch, .item = i};
        cr_assert_eq(weft_spawn(&c->tasks[2 * i], sends ? call_send : call_recv, &c->calls[i]), 0);
        chan_future_init(&c->futures[i], ch, sends, i);
        cr_assert_eq(weft_spawn_future(&c->tasks[2 * i + 1], &c->futures[i].future), 0);
    }
    settle();
}

static void expect_closed(crowd *c)
{
    for (unsigned i = 0; i < CROWD; i++) {
        void *code;
        join(c->tasks[2 * i]);
        cr_assert_eq(c->calls[i].status, WEFT_ECLOSED);
        cr_assert_eq(weft_join(c->tasks[2 * i + 1], &code), WEFT_EFAILED);
        cr_assert_eq(c->futures[i].status, WEFT_ECLOSED);
        cr_assert_eq(c->futures[i].drops, 1);
    }
}

static void *close_root(void *arg)
{
    static crowd c;
    (void)arg;
    for (unsigned k = 0; k + 1 < CAPACITIES; k++) {
        weft_chan *ch = new_chan(capacities[k]);
        gather(&c, ch, false);
        weft_chan_close(ch);
        expect_closed(&c);
        free_chan(ch);
        ch = new_chan(capacities[k]);
        for (size_t i = 0; i < capacities[k]; i++)
            send_now(ch, i);
        gather(&c, ch, true);
        weft_chan_close(ch);
        expect_closed(&c);
        cr_assert_eq(weft_chan_len(ch), capacities[k], "what was in it stays");
        for (size_t i = 0; i < capacities[k]; i++)
            expect_now(ch, i);
        expect_none(ch, WEFT_ECLOSED);
        free_chan(ch);
    }
    return NULL;
}

WF_TEST_WORKERS(chan, closing_ends_all_waits_and_keeps_the_items) { run_paused(workers, close_root, NULL); }

static void *drain_root(void *arg)
{
    weft_chan *ch = new_chan(3);
    chan_call call = {.ch = ch, .item = 9};
    (void)arg;
    for (uint64_t i = 0; i < 3; i++)
        send_now(ch, i);
    weft_chan_close(ch);
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t got;
        cr_assert_eq(weft_chan_recv(ch, &got), 0);
        cr_assert_eq(got, i);
    }
    call_recv(&call);
    cr_assert_eq(call.status, WEFT_ECLOSED);
    call_send(&call);
    cr_assert_eq(call.status, WEFT_ECLOSED);
    free_chan(ch);
    return NULL;
}

Test(chan, receivers_take_what_is_left_first) { run(1, drain_root, NULL); }

/* As many as are woken at once, and one more or less. The closer may still be waking when the last one frees it. */
typedef struct leaving {
    weft_chan *ch;
    atomic_int left, waiting;
} leaving;

static void *last_one_frees(void *arg)
{
    leaving *l = arg;
    uint64_t item;
    atomic_fetch_add(&l->waiting, 1);
    cr_assert_eq(weft_chan_recv(l->ch, &item), WEFT_ECLOSED);
    if (atomic_fetch_sub(&l->left, 1) == 1)
        free_chan(l->ch);
    return NULL;
}

static void *last_one_root(void *arg)
{
    weft_task *tasks[33];
    (void)arg;
    for (size_t turn = 0; turn < wf_test_scale(600); turn++) {
        int n = turn % 2 ? 16 : 15 + (int)(turn / 2 % 4) * 6;
        leaving l = {.ch = new_chan(0), .left = n};
        for (int i = 0; i < n; i++)
            cr_assert_eq(weft_spawn(&tasks[i], last_one_frees, &l), 0);
        while (l.waiting < n)
            weft_yield();
        weft_chan_close(l.ch);
        for (int i = 0; i < n; i++)
            join(tasks[i]);
    }
    return NULL;
}

WF_TEST_WORKERS(chan, the_last_to_learn_of_the_close_may_free_it) { run(workers, last_one_root, NULL); }

/* ---- interrupted ------------------------------------------------------------------------------------------------- */

static void *recv_for_5ms(void *arg)
{
    WEFT_SCOPE(soon, 5 * WEFT_MS);
    return call_recv(arg);
}

static void *send_for_5ms(void *arg)
{
    WEFT_SCOPE(soon, 5 * WEFT_MS);
    return call_send(arg);
}

static void *interrupted_root(void *arg)
{
    (void)arg;
    for (unsigned c = 0; c + 1 < CAPACITIES; c++) {
        weft_chan *ch = new_chan(capacities[c]);
        chan_call calls[4] = {{.ch = ch}, {.ch = ch}, {.ch = ch, .item = 70}, {.ch = ch, .item = 71}};
        weft_task *aborted = spawn_settled(call_recv, &calls[0]), *late = spawn_settled(recv_for_5ms, &calls[1]);
        weft_abort(aborted);
        cr_assert_eq(weft_join(aborted, NULL), WEFT_EABORTED);
        join(late);
        cr_assert_eq(calls[0].status, WEFT_ECANCELED);
        cr_assert_eq(calls[1].status, WEFT_ETIMEDOUT);
        for (size_t i = 0; i < capacities[c]; i++)
            send_now(ch, i);
        aborted = spawn_settled(call_send, &calls[2]);
        late = spawn_settled(send_for_5ms, &calls[3]);
        weft_abort(aborted);
        cr_assert_eq(weft_join(aborted, NULL), WEFT_EABORTED);
        join(late);
        cr_assert_eq(calls[2].status, WEFT_ECANCELED);
        cr_assert_eq(calls[3].status, WEFT_ETIMEDOUT);
        for (size_t i = 0; i < capacities[c]; i++)
            expect_now(ch, i);
        expect_none(ch, WEFT_EAGAIN);
        free_chan(ch);
    }
    return NULL;
}

WF_TEST_WORKERS(chan, who_is_interrupted_sends_and_takes_nothing) { run_paused(workers, interrupted_root, NULL); }

/* Those who leave the middle of a queue do not disturb its order. */
static void *leave_the_middle_root(void *arg)
{
    enum { MANY = 9 };
    chan_call calls[MANY];
    weft_task *tasks[MANY];
    weft_chan *ch = new_chan(0);
    (void)arg;
    for (unsigned i = 0; i < MANY; i++) {
        calls[i] = (chan_call){.ch = ch, .item = i};
        tasks[i] = spawn_settled(call_send, &calls[i]);
    }
    for (unsigned i = 0; i < MANY; i += 2)
        cr_assert_eq(weft_task_close(tasks[i]), 0);
    for (unsigned i = 1; i < MANY; i += 2)
        expect_now(ch, i);
    expect_none(ch, WEFT_EAGAIN);
    for (unsigned i = 1; i < MANY; i += 2)
        join(tasks[i]);
    free_chan(ch);
    return NULL;
}

WF_TEST_WORKERS(chan, those_who_leave_do_not_disturb_the_order) { run_paused(workers, leave_the_middle_root, NULL); }

static void *recv_then_sleep(void *arg)
{
    call_recv(arg);
    weft_shield_enter();
    return arg;
}

static void *send_then_sleep(void *arg)
{
    call_send(arg);
    weft_shield_enter();
    return arg;
}

/* One worker: the abort comes before the served one runs. */
static void *completion_wins_root(void *arg)
{
    weft_chan *ch = new_chan(1);
    chan_call r = {.ch = ch}, s = {.ch = ch, .item = 2};
    (void)arg;
    weft_task *receiver = spawn_settled(recv_then_sleep, &r);
    send_now(ch, 1);
    weft_abort(receiver);
    join(receiver);
    cr_assert_eq(r.status, 0);
    cr_assert_eq(r.item, 1);
    send_now(ch, 1);
    weft_task *sender = spawn_settled(send_then_sleep, &s);
    expect_now(ch, 1);
    weft_abort(sender);
    join(sender);
    cr_assert_eq(s.status, 0);
    expect_now(ch, 2);
    free_chan(ch);
    return NULL;
}

Test(chan, completion_wins_over_an_abort) { run_paused(1, completion_wins_root, NULL); }

static void *entered_interrupted(void *arg)
{
    chan_call *call = arg;
    WEFT_SCOPE(over, 0);
    call_recv(call);
    cr_assert_eq(call->status, WEFT_ETIMEDOUT);
    call_send(call);
    cr_assert_eq(call->status, WEFT_ETIMEDOUT);
    return NULL;
}

static void *entered_interrupted_root(void *arg)
{
    chan_call call = {.ch = new_chan(2)};
    (void)arg;
    send_now(call.ch, 1);
    entered_interrupted(&call);
    cr_assert_eq(weft_chan_len(call.ch), 1, "neither taken nor sent");
    free_chan(call.ch);
    return NULL;
}

Test(chan, an_interruption_that_is_there_before_comes_first) { run(1, entered_interrupted_root, NULL); }

/* A task that waits when the runtime ends leaves the channel. */
static void *leave_waiting(void *call)
{
    weft_task *task = spawn_settled(call_recv, call);
    weft_detach(task);
    return NULL;
}

WF_TEST_WORKERS(chan, the_end_of_the_runtime_ends_the_waits_in_it)
{
    chan_call call = {.ch = new_chan(1)};
    run_paused(workers, leave_waiting, &call);
    cr_assert_eq(call.status, WEFT_ECANCELED);
    free_chan(call.ch);
}

/* ---- stackless tasks --------------------------------------------------------------------------------------------- */

static weft_task *spawn_chan_future(chan_future *f, weft_chan *ch, bool sends, uint64_t item)
{
    weft_task *task;
    chan_future_init(f, ch, sends, item);
    cr_assert_eq(weft_spawn_future(&task, &f->future), 0);
    settle();
    return task;
}

static void *stackless_root(void *arg)
{
    chan_future r[3], s[3];
    weft_task *rt[3], *st[3];
    weft_chan *ch = new_chan(1);
    (void)arg;
    for (int i = 0; i < 3; i++)
        rt[i] = spawn_chan_future(&r[i], ch, false, 0);
    cr_assert_eq(weft_chan_free(ch), WEFT_EBUSY);
    for (int i = 0; i < 3; i++)
        st[i] = spawn_chan_future(&s[i], ch, true, (uint64_t)i);
    for (int i = 0; i < 3; i++) {
        join(rt[i]);
        join(st[i]);
        cr_assert_eq(r[i].item, i);
        cr_assert_eq(r[i].polls, 2, "woken once");
        cr_assert_eq(s[i].polls, 1);
        cr_assert_null(r[i].op.ops_);
    }
    send_now(ch, 7);
    for (int i = 0; i < 3; i++)
        st[i] = spawn_chan_future(&s[i], ch, true, (uint64_t)i);
    expect_now(ch, 7);
    for (uint64_t i = 0; i < 3; i++)
        expect_now(ch, i);
    for (int i = 0; i < 3; i++)
        join(st[i]);
    free_chan(ch);
    return NULL;
}

WF_TEST_WORKERS(chan, stackless_tasks_send_and_receive_in_turn) { run_paused(workers, stackless_root, NULL); }

static void *dropped_queued_root(void *arg)
{
    chan_future f;
    weft_chan *ch = new_chan(1);
    (void)arg;
    weft_task *task = spawn_chan_future(&f, ch, false, 0);
    cr_assert_eq(weft_task_close(task), 0);
    send_now(ch, 1);
    task = spawn_chan_future(&f, ch, true, 2);
    cr_assert_eq(weft_task_close(task), 0);
    expect_now(ch, 1);
    expect_none(ch, WEFT_EAGAIN);
    free_chan(ch);
    return NULL;
}

WF_TEST_WORKERS(chan, a_stackless_task_that_is_dropped_leaves_the_queue)
{
    run_paused(workers, dropped_queued_root, NULL);
}

/* One worker: who is served is dropped before it looks. */
static void drop_served(weft_chan *ch, weft_task *task, uint64_t item)
{
    send_now(ch, item);
    cr_assert_eq(weft_task_close(task), 0);
}

static void *dropped_served_root(void *arg)
{
    (void)arg;
    for (unsigned c = 0; c < CAPACITIES; c++) {
        chan_future f;
        weft_chan *ch = new_chan(capacities[c]);
        chan_call next = {.ch = ch};
        weft_task *task = spawn_chan_future(&f, ch, false, 0), *receiver = spawn_settled(call_recv, &next);
        drop_served(ch, task, 1);
        join(receiver);
        cr_assert_eq(next.item, 1, "it is the next one's");
        task = spawn_chan_future(&f, ch, false, 0);
        drop_served(ch, task, 2);
        cr_assert_eq(weft_chan_len(ch), 1);
        if (capacities[c] > 1)
            send_now(ch, 3);
        expect_now(ch, 2);
        if (capacities[c] > 1)
            expect_now(ch, 3);
        expect_none(ch, WEFT_EAGAIN);
        free_chan(ch);
    }
    return NULL;
}

Test(chan, an_item_whose_receiver_was_dropped_is_the_next_ones) { run_paused(1, dropped_served_root, NULL); }

/* Served in order, dropped in any. */
static void *dropped_in_any_order_root(void *arg)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    (void)arg;
    for (unsigned o = 0; o < 6; o++) {
        chan_future f[3];
        weft_task *tasks[3];
        weft_chan *ch = new_chan(WEFT_UNBOUNDED);
        for (int i = 0; i < 3; i++)
            tasks[i] = spawn_chan_future(&f[i], ch, false, 0);
        for (uint64_t i = 0; i < 3; i++)
            send_now(ch, i);
        for (int i = 0; i < 3; i++)
            weft_op_drop(&f[orders[o][i]].op);
        send_now(ch, 3);
        cr_assert_eq(weft_chan_len(ch), 4);
        for (uint64_t i = 0; i < 4; i++)
            expect_now(ch, i);
        for (int i = 0; i < 3; i++)
            cr_assert_eq(weft_task_close(tasks[i]), 0);
        free_chan(ch);
    }
    return NULL;
}

Test(chan, items_that_go_back_keep_their_order) { run_paused(1, dropped_in_any_order_root, NULL); }

static void *returned_to_closed_root(void *arg)
{
    chan_future f;
    weft_chan *ch = new_chan(0);
    (void)arg;
    weft_task *task = spawn_chan_future(&f, ch, false, 0);
    send_now(ch, 5);
    weft_chan_close(ch);
    cr_assert_eq(weft_task_close(task), 0);
    expect_now(ch, 5);
    expect_none(ch, WEFT_ECLOSED);
    free_chan(ch);
    return NULL;
}

Test(chan, an_item_goes_back_into_a_closed_channel_too) { run_paused(1, returned_to_closed_root, NULL); }

static void *freed_with_returned_root(void *arg)
{
    chan_future f;
    weft_chan *ch = new_chan(4);
    (void)arg;
    drop_served(ch, spawn_chan_future(&f, ch, false, 0), 5);
    cr_assert_eq(weft_chan_len(ch), 1);
    free_chan(ch); /* the leak checkers look whether all of it goes */
    return NULL;
}

Test(chan, items_that_went_back_are_freed_with_the_channel) { run_paused(1, freed_with_returned_root, NULL); }

/* Polled for a moment by the root's select, then by a task of its own: that one is to be woken. */
static void *moved_root(void *arg)
{
    (void)arg;
    for (int sends = 0; sends < 2; sends++) {
        chan_future f;
        weft_task *task;
        weft_chan *ch = new_chan(1);
        if (sends)
            send_now(ch, 1);
        chan_future_init(&f, ch, sends, 2);
        weft_case first[] = {WEFT_FUTURE(&f.future, NULL), WEFT_DEFAULT};
        cr_assert_eq(weft_select(first, 2), 1);
        cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
        settle();
        if (sends)
            expect_now(ch, 1);
        else
            send_now(ch, 2);
        WEFT_SCOPE(patience, WEFT_SEC);
        cr_assert_eq(weft_join(task, NULL), 0);
        if (sends)
            expect_now(ch, 2);
        cr_assert_eq(f.item, 2);
        free_chan(ch);
    }
    return NULL;
}

WF_TEST_WORKERS(chan, an_operation_wakes_the_one_who_polled_it_last) { run_paused(workers, moved_root, NULL); }

typedef struct refused_future {
    weft_future future;
    weft_chan *ch;
} refused_future;

static weft_poll refused_poll(weft_future *self, weft_context *cx, void **result)
{
    refused_future *f = WEFT_CONTAINER_OF(self, refused_future, future);
    uint64_t item = 1;
    (void)cx;
    (void)result;
    cr_assert_eq(weft_chan_recv(f->ch, &item), WEFT_EDEADLK);
    cr_assert_eq(weft_chan_send(f->ch, &item), WEFT_EDEADLK);
    cr_assert_eq(weft_chan_try_send(f->ch, &item), 0, "trying is allowed anywhere");
    return WEFT_READY;
}

static void *refused_root(void *arg)
{
    static const weft_future_ops ops = {.poll = refused_poll};
    refused_future f = {{&ops}, arg};
    weft_task *task;
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    join(task);
    expect_now(arg, 1);
    return NULL;
}

Test(chan, nothing_waits_in_a_stackless_poll)
{
    weft_chan *ch = new_chan(4);
    run(1, refused_root, ch);
    free_chan(ch);
}

/* ---- references -------------------------------------------------------------------------------------------------- */

/* An item is an address of one of these; the channel's references are counted apart. */
typedef struct object {
    int refs, drops, copies;
} object;

static void copy_object(void *item)
{
    object *o = *(object **)item;
    o->refs++;
    o->copies++;
}

static void drop_object(void *item)
{
    object *o = *(object **)item;
    o->refs--;
    o->drops++;
}

static weft_chan *object_chan(size_t capacity)
{
    weft_chan_options options = {.drop = drop_object, .copy = copy_object};
    weft_chan *ch;
    cr_assert_eq(weft_chan_create_with(&ch, sizeof(object *), capacity, &options), 0);
    return ch;
}

static void order_of_drops(void *item)
{
    static uint64_t next;
    cr_assert_eq(*(uint64_t *)item, next++);
}

Test(chan, what_nobody_received_is_dropped_in_order)
{
    weft_chan_options options = {.drop = order_of_drops};
    weft_chan *ch;
    for (uint64_t c = 1; c < CAPACITIES; c++) {
        static uint64_t sent;
        cr_assert_eq(weft_chan_create_with(&ch, sizeof(uint64_t), capacities[c], &options), 0);
        for (size_t i = 0; i < capacities[c] && i < 1500; i++, sent++)
            send_now(ch, sent);
        if (c % 2)
            weft_chan_close(ch);
        free_chan(ch);
    }
}

static void expect_object(weft_chan *ch, object *want)
{
    object *got = NULL;
    cr_assert_eq(weft_chan_try_recv(ch, &got), 0);
    cr_assert_eq(got, want);
    got->refs--;
}

static void *send_object(void *arg)
{
    chan_call *call = arg;
    object *o = (object *)(uintptr_t)call->item;
    call->status = CALL_WAITS;
    call->status = weft_chan_send(call->ch, &o);
    return arg;
}

static void *references_root(void *arg)
{
    object o = {.refs = 1}, *item = &o;
    weft_chan *ch = object_chan(1);
    chan_call call = {.ch = ch, .item = (uintptr_t)&o};
    (void)arg;
    cr_assert_eq(weft_chan_try_send(ch, &item), 0);
    cr_assert_eq(o.refs, 2);
    cr_assert_eq(weft_chan_try_send(ch, &item), WEFT_EAGAIN);
    cr_assert_eq(o.refs, 2, "what was not sent was given back");
    weft_task *task = spawn_settled(send_object, &call);
    cr_assert_eq(o.refs, 3);
    cr_assert_eq(weft_task_close(task), 0);
    cr_assert_eq(o.refs, 2);
    task = spawn_settled(send_object, &call);
    expect_object(ch, &o);
    join(task);
    expect_object(ch, &o);
    cr_assert_eq(o.refs, 1);
    cr_assert_eq(weft_chan_try_send(ch, &item), 0);
    task = spawn_settled(send_object, &call);
    weft_chan_close(ch);
    join(task);
    cr_assert_eq(call.status, WEFT_ECLOSED);
    cr_assert_eq(weft_chan_try_send(ch, &item), WEFT_ECLOSED);
    cr_assert_eq(weft_chan_send(ch, &item), WEFT_ECLOSED);
    cr_assert_eq(o.refs, 2);
    free_chan(ch);
    cr_assert_eq(o.refs, 1);
    return NULL;
}

WF_TEST_WORKERS(chan, each_reference_is_balanced) { run_paused(workers, references_root, NULL); }

/* Items are addresses, wherever they stand. */
static chan_future object_future(weft_chan *ch, object *o)
{
    chan_future f;
    chan_future_init(&f, ch, true, (uintptr_t)o);
    return f;
}

static void *stackless_references_root(void *arg)
{
    object o = {.refs = 1}, *item = &o;
    weft_chan *ch = object_chan(1);
    chan_future f = object_future(ch, &o);
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    join(task);
    cr_assert_eq(o.refs, 2, "sent");
    f = object_future(ch, &o);
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    settle();
    cr_assert_eq(o.refs, 3, "it waits");
    cr_assert_eq(weft_task_close(task), 0);
    cr_assert_eq(o.refs, 2, "dropped while it waited");
    f = object_future(ch, &o);
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    settle();
    expect_object(ch, item);
    cr_assert_eq(weft_task_close(task), 0);
    cr_assert_eq(o.refs, 2, "sent, whether it looked or not");
    f = object_future(ch, &o);
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    settle();
    weft_chan_close(ch);
    cr_assert_eq(weft_join(task, &(void *){NULL}), WEFT_EFAILED);
    cr_assert_eq(o.refs, 2, "closed");
    free_chan(ch);
    cr_assert_eq(o.refs, 1);
    cr_assert_eq(o.copies, o.drops + 1, "one was received");
    return NULL;
}

WF_TEST_WORKERS(chan, each_reference_of_stackless_senders_is_balanced)
{
    run_paused(workers, stackless_references_root, NULL);
}

static void *select_references_root(void *arg)
{
    object o = {.refs = 1}, *item = &o;
    weft_chan *ch = object_chan(1), *other = new_chan(1);
    uint64_t word;
    (void)arg;
    weft_case cases[] = {WEFT_SEND(ch, &item), WEFT_RECV(other, &word), WEFT_AFTER(5 * WEFT_MS)};
    cr_assert_eq(weft_select(cases, 3), 0);
    cr_assert_eq(o.refs, 2, "sent");
    cr_assert_eq(weft_select(cases, 3), 2);
    cr_assert_eq(o.refs, 2, "another case was chosen");
    send_now(other, 1);
    cr_assert_eq(weft_select_biased(cases, 3), 1);
    cr_assert_eq(o.refs, 2);
    weft_chan_close(ch);
    cr_assert_eq(weft_select(cases, 3), 0);
    cr_assert_eq(cases[0].status, WEFT_ECLOSED);
    cr_assert_eq(o.refs, 2, "closed");
    expect_object(ch, item);
    cr_assert_eq(o.refs, 1);
    free_chan(ch);
    free_chan(other);
    return NULL;
}

WF_TEST_WORKERS(chan, each_reference_of_a_select_is_balanced) { run_paused(workers, select_references_root, NULL); }

/* ---- in any mixture ----------------------------------------------------------------------------------------------- */

enum { SIDES = 3, EACH = 200 };

typedef struct mixture {
    weft_runtime *rt;
    weft_chan *ch;
    atomic_int senders;
    atomic_uint_fast64_t sent, received, count;
} mixture;

static void sent_all(mixture *m)
{
    if (atomic_fetch_sub(&m->senders, 1) == 1)
        weft_chan_close(m->ch);
}

static void *mixed_sender(void *arg)
{
    mixture *m = arg;
    for (uint64_t i = 1; i <= EACH; i++) {
        cr_assert_eq(weft_chan_send(m->ch, &i), 0);
        atomic_fetch_add(&m->sent, i);
    }
    sent_all(m);
    return NULL;
}

static void *mixed_receiver(void *arg)
{
    mixture *m = arg;
    uint64_t item;
    int err;
    while ((err = weft_chan_recv(m->ch, &item)) == 0) {
        atomic_fetch_add(&m->received, item);
        atomic_fetch_add(&m->count, 1);
    }
    cr_assert_eq(err, WEFT_ECLOSED);
    return NULL;
}

typedef struct mixed_future {
    weft_future future;
    mixture *m;
    weft_op op;
    uint64_t item;
    bool sends;
} mixed_future;

static weft_poll mixed_send_poll(mixed_future *f, weft_context *cx)
{
    while (f->item <= EACH) {
        weft_poll status = weft_poll_chan_send(cx, &f->op, f->m->ch, &f->item);
        if (status == WEFT_PENDING)
            return status;
        cr_assert_eq(status, 0);
        atomic_fetch_add(&f->m->sent, f->item++);
    }
    sent_all(f->m);
    return WEFT_READY;
}

static weft_poll mixed_recv_poll(mixed_future *f, weft_context *cx)
{
    weft_poll status;
    while ((status = weft_poll_chan_recv(cx, &f->op, f->m->ch, &f->item)) == 0) {
        atomic_fetch_add(&f->m->received, f->item);
        atomic_fetch_add(&f->m->count, 1);
    }
    return status == WEFT_ECLOSED ? WEFT_READY : status;
}

static weft_poll mixed_poll(weft_future *self, weft_context *cx, void **result)
{
    mixed_future *f = WEFT_CONTAINER_OF(self, mixed_future, future);
    (void)result;
    return f->sends ? mixed_send_poll(f, cx) : mixed_recv_poll(f, cx);
}

static const weft_future_ops mixed_ops = {.poll = mixed_poll};

static void *mixed_thread(void *arg)
{
    static atomic_int turn;
    return atomic_fetch_add(&turn, 1) % 2 ? mixed_sender(arg) : mixed_receiver(arg);
}

static void mix(weft_runtime *rt, size_t capacity)
{
    mixture m = {.rt = rt, .ch = new_chan(capacity), .senders = 3 * SIDES};
    mixed_future futures[2 * SIDES];
    weft_task *tasks[4 * SIDES];
    for (int i = 0; i < 2 * SIDES; i++) {
        futures[i] = (mixed_future){.future.ops = &mixed_ops, .m = &m, .item = 1, .sends = i % 2};
        cr_assert_eq(weft_spawn_on(rt, &tasks[2 * i], i % 2 ? mixed_sender : mixed_receiver, &m), 0);
        weft_spawn_options options = {.runtime = rt};
        cr_assert_eq(weft_spawn_future_with(&tasks[2 * i + 1], &options, &futures[i].future), 0);
    }
    in_threads(2 * SIDES, mixed_thread, &m);
    for (int i = 0; i < 4 * SIDES; i++)
        join(tasks[i]);
    cr_assert_eq(m.count, 3 * SIDES * EACH);
    cr_assert_eq(m.received, m.sent);
    free_chan(m.ch);
}

WF_TEST_WORKERS(chan, strands_stackless_tasks_and_threads_mix)
{
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (unsigned c = 0; c < CAPACITIES; c++)
        mix(rt, capacities[c]);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- ordinary threads alone ---------------------------------------------------------------------------------------- */

static void *thread_without_runtime(void *arg)
{
    chan_call *calls = arg;
    call_recv(&calls[0]);
    calls[1].item = calls[0].item + 1;
    call_send(&calls[1]);
    return NULL;
}

Test(chan, threads_need_no_runtime)
{
    weft_chan *there = new_chan(0), *back = new_chan(0);
    chan_call calls[2] = {{.ch = there}, {.ch = back}};
    pthread_t thread;
    uint64_t item = 41;
    cr_assert_eq(pthread_create(&thread, NULL, thread_without_runtime, calls), 0);
    cr_assert_eq(weft_chan_send(there, &item), 0);
    cr_assert_eq(weft_chan_recv(back, &item), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(item, 42);
    free_chan(there);
    free_chan(back);
}

static void *thread_in_a_scope(void *arg)
{
    chan_call *call = arg;
    WEFT_SCOPE(soon, WEFT_MS);
    return call_recv(call);
}

Test(chan, a_threads_wait_ends_with_its_scope)
{
    chan_call call = {.ch = new_chan(1)};
    thread_in_a_scope(&call);
    cr_assert_eq(call.status, WEFT_ETIMEDOUT);
    send_now(call.ch, 1);
    expect_now(call.ch, 1);
    free_chan(call.ch);
}
