/* defects_sync_test.c - defects of other runtimes' channels and locks, by their numbers: none is one of weft's. */
#include <support/chan_support.h>
#include <support/test.h>
#include <weft/future.h>
#include <weft/scope.h>
#include <weft/sync.h>

static void send_now(weft_chan *ch, uint64_t item) { cr_assert_eq(weft_chan_try_send(ch, &item), 0); }

static void join(weft_task *task) { cr_assert_eq(weft_join(task, NULL), 0); }

static weft_task *spawn(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    return task;
}

/* ---- d12: a woken waiter that loses the race is never queued again; cancelling a woken waiter loses the token ---- */

/* One worker: the newcomer is there before the woken one runs. Either may get the first item; both get one in the end. */
static void *loses_race_root(void *arg)
{
    (void)arg;
    for (size_t capacity = 0; capacity < 3; capacity++) {
        weft_chan *ch = new_chan(capacity);
        chan_call r = {.ch = ch};
        uint64_t stolen;
        weft_task *task = spawn_settled(call_recv, &r);
        send_now(ch, 1);
        if (weft_chan_try_recv(ch, &stolen) == 0)
            send_now(ch, 2);
        join(task);
        cr_assert_eq(r.status, 0);
        for (size_t i = 0; i < capacity; i++)
            send_now(ch, i);
        chan_call s = {.ch = ch, .item = 9};
        task = spawn_settled(call_send, &s);
        cr_assert_eq(weft_chan_try_recv(ch, &stolen), 0);
        if (weft_chan_try_send(ch, &stolen) == 0)
            cr_assert_eq(weft_chan_try_recv(ch, &stolen), 0, "the place was stolen, and is given back");
        join(task);
        cr_assert_eq(s.status, 0);
        cr_assert_eq(weft_chan_len(ch), capacity);
        cr_assert_eq(weft_chan_free(ch), 0);
    }
    return NULL;
}

Test(defects, d12_a_woken_channel_waiter_is_served_or_waits_on) { run_paused(1, loses_race_root, NULL); }

/* Many thieves that only try, on several workers. */
typedef struct thieves {
    weft_chan *ch;
    atomic_int got;
    int items;
} thieves;

static void *steal(void *arg)
{
    thieves *t = arg;
    uint64_t item;
    while (t->got < t->items) {
        if (weft_chan_try_recv(t->ch, &item) == 0)
            atomic_fetch_add(&t->got, 1);
        weft_yield();
    }
    return NULL;
}

static void *wait_honestly(void *arg)
{
    thieves *t = arg;
    uint64_t item;
    while (weft_chan_recv(t->ch, &item) == 0)
        atomic_fetch_add(&t->got, 1);
    return NULL;
}

static void *thieves_root(void *arg)
{
    thieves t = {.ch = new_chan(1), .items = (int)wf_test_scale(20000)};
    weft_task *tasks[4];
    (void)arg;
    for (int i = 0; i < 4; i++)
        tasks[i] = spawn(i < 2 ? steal : wait_honestly, &t);
    for (uint64_t i = 0; i < (uint64_t)t.items; i++)
        cr_assert_eq(weft_chan_send(t.ch, &i), 0);
    EVENTUALLY(t.got == t.items);
    weft_chan_close(t.ch);
    for (int i = 0; i < 4; i++)
        join(tasks[i]);
    cr_assert_eq(weft_chan_free(t.ch), 0);
    return NULL;
}

WF_TEST_WORKERS(defects, d12_thieves_starve_nobody_for_ever) { run(workers, thieves_root, NULL); }

/* One worker: aborted between the wake and its turn. What it was woken for is its own, or the next one's. */
static void *cancelled_receiver_root(void *arg)
{
    (void)arg;
    for (int stackless = 0; stackless < 2; stackless++) {
        weft_chan *ch = new_chan(1);
        chan_call first = {.ch = ch}, second = {.ch = ch};
        chan_future f;
        weft_task *a, *b;
        chan_future_init(&f, ch, false, 0);
        if (stackless)
            cr_assert_eq(weft_spawn_future(&a, &f.future), 0);
        else
            a = spawn(call_recv, &first);
        settle();
        b = spawn_settled(call_recv, &second);
        send_now(ch, 5);
        cr_assert_eq(weft_task_close(a), 0);
        bool had_it = !stackless && first.status == 0;
        if (had_it)
            send_now(ch, 5);
        join(b);
        cr_assert_eq(second.item, 5);
        cr_assert_eq(weft_chan_len(ch), 0);
        cr_assert_eq(weft_chan_free(ch), 0);
    }
    return NULL;
}

Test(defects, d12_cancelling_a_woken_receiver_loses_no_item) { run_paused(1, cancelled_receiver_root, NULL); }

static void *cancelled_sender_root(void *arg)
{
    weft_chan *ch = new_chan(1);
    chan_call first = {.ch = ch, .item = 1}, second = {.ch = ch, .item = 2};
    uint64_t got;
    (void)arg;
    send_now(ch, 0);
    weft_task *a = spawn_settled(call_send, &first), *b = spawn_settled(call_send, &second);
    cr_assert_eq(weft_chan_try_recv(ch, &got), 0);
    cr_assert_eq(weft_task_close(a), 0);
    if (first.status == 0) {
        cr_assert_eq(weft_chan_recv(ch, &got), 0);
        cr_assert_eq(got, 1, "sent is sent");
    }
    join(b);
    cr_assert_eq(weft_chan_try_recv(ch, &got), 0);
    cr_assert_eq(got, 2, "the place was the next one's");
    cr_assert_eq(weft_chan_free(ch), 0);
    return NULL;
}

Test(defects, d12_cancelling_a_woken_sender_loses_no_place) { run_paused(1, cancelled_sender_root, NULL); }

/* The same race as it comes: receivers are aborted while items come. Each item is seen once. */
typedef struct race {
    weft_chan *ch;
    weft_semaphore semaphore;
    weft_notify notify;
    weft_mutex mutex;
    atomic_int taken, inside;
} race;

static void *race_receiver(void *arg)
{
    race *r = arg;
    uint64_t item;
    if (weft_chan_recv(r->ch, &item) == 0)
        atomic_fetch_add(&r->taken, 1);
    return NULL;
}

/* A crowd of @fn, each of which takes one of what @give gives, if it is not aborted before. */
static void race_against_aborts(race *r, weft_fn fn, void (*give)(race *))
{
    enum { CROWD = 8 };
    weft_task *tasks[CROWD];
    for (size_t turn = 0; turn < wf_test_scale(500); turn++) {
        for (int i = 0; i < CROWD; i++)
            tasks[i] = spawn(fn, r);
        if (turn % 2)
            weft_yield();
        for (int i = 0; i < CROWD; i++) {
            give(r);
            weft_abort(tasks[(i + (int)turn) % CROWD]);
        }
        for (int i = 0; i < CROWD; i++)
            weft_task_close(tasks[i]);
    }
}

static void give_item(race *r) { send_now(r->ch, 1); }

static void *race_receivers_root(void *arg)
{
    race r = {.ch = new_chan(WEFT_UNBOUNDED)};
    (void)arg;
    race_against_aborts(&r, race_receiver, give_item);
    cr_assert_eq((size_t)r.taken + weft_chan_len(r.ch), 8 * wf_test_scale(500));
    cr_assert_eq(weft_chan_free(r.ch), 0);
    return NULL;
}

WF_TEST_WORKERS(defects, d12_aborts_against_items_lose_none) { run(workers, race_receivers_root, NULL); }

/* A permit that is taken is given back at once; in the end all of them are there. */
static void *race_acquirer(void *arg)
{
    race *r = arg;
    if (weft_semaphore_acquire(&r->semaphore, 1) == 0)
        atomic_fetch_add(&r->taken, 1);
    return NULL;
}

static void give_permit(race *r) { weft_semaphore_release(&r->semaphore, 1); }

static void *race_permits_root(void *arg)
{
    race r = {.semaphore = WEFT_SEMAPHORE_INIT(0)};
    (void)arg;
    race_against_aborts(&r, race_acquirer, give_permit);
    cr_assert_eq((size_t)r.taken + weft_semaphore_available(&r.semaphore), 8 * wf_test_scale(500));
    return NULL;
}

WF_TEST_WORKERS(defects, d12_aborts_against_permits_lose_none) { run(workers, race_permits_root, NULL); }

/* One worker: served, aborted, and then the next is there. */
static void *acquire(void *arg) { return (void *)(intptr_t)weft_semaphore_acquire(arg, 1); }

typedef struct permit_future {
    weft_future future;
    weft_semaphore *semaphore;
    weft_op op;
} permit_future;

static weft_poll permit_poll(weft_future *self, weft_context *cx, void **result)
{
    permit_future *f = WEFT_CONTAINER_OF(self, permit_future, future);
    (void)result;
    return weft_poll_semaphore_acquire(cx, &f->op, f->semaphore, 1);
}

static void permit_drop(weft_future *self) { weft_op_drop(&WEFT_CONTAINER_OF(self, permit_future, future)->op); }

static const weft_future_ops permit_ops = {permit_poll, permit_drop};

static void *cancelled_acquirer_root(void *arg)
{
    (void)arg;
    for (int stackless = 0; stackless < 2; stackless++) {
        weft_semaphore s = WEFT_SEMAPHORE_INIT(0);
        permit_future f = {.future.ops = &permit_ops, .semaphore = &s};
        weft_task *a, *b;
        void *code = NULL;
        if (stackless)
            cr_assert_eq(weft_spawn_future(&a, &f.future), 0);
        else
            a = spawn(acquire, &s);
        settle();
        b = spawn_settled(acquire, &s);
        weft_semaphore_release(&s, 1);
        weft_abort(a);
        if (weft_join(a, &code) == 0 && !code)
            weft_semaphore_release(&s, 1); /* completion won: it has it */
        cr_assert_eq(weft_join(b, &code), 0);
        cr_assert_eq((intptr_t)code, 0);
        cr_assert_eq(weft_semaphore_available(&s), 0);
    }
    return NULL;
}

Test(defects, d12_cancelling_a_woken_acquirer_loses_no_permit) { run_paused(1, cancelled_acquirer_root, NULL); }

/* Polled by one task first, and by another from then on. */
static void *moved_acquirer_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(0);
    permit_future f = {.future.ops = &permit_ops, .semaphore = &s};
    weft_task *task;
    (void)arg;
    weft_case first[] = {WEFT_FUTURE(&f.future, NULL), WEFT_DEFAULT};
    cr_assert_eq(weft_select(first, 2), 1);
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    settle();
    weft_semaphore_release(&s, 1);
    WEFT_SCOPE(patience, WEFT_SEC);
    join(task);
    return NULL;
}

WF_TEST_WORKERS(defects, d12_a_permit_wakes_the_one_who_polled_last) { run_paused(workers, moved_acquirer_root, NULL); }

/* Notifications: of those meant for one, none is lost with an aborted waiter. */
static void *race_notified(void *arg)
{
    race *r = arg;
    if (weft_notify_wait(&r->notify) == 0)
        atomic_fetch_add(&r->taken, 1);
    return NULL;
}

/* Whoever still waits gets one; a served waiter that was aborted has used it, or passed it on. */
static void *race_notify_root(void *arg)
{
    race r = {.notify = WEFT_NOTIFY_INIT};
    weft_task *first, *second;
    (void)arg;
    for (size_t turn = 0; turn < wf_test_scale(1000); turn++) {
        first = spawn(race_notified, &r);
        second = spawn(race_notified, &r);
        if (turn % 2)
            weft_yield();
        weft_abort(first);
        weft_notify_one(&r.notify);
        weft_task_close(first);
        if (r.taken == 0) {
            WEFT_SCOPE(patience, PATIENCE);
            join(second);
            cr_assert_eq(r.taken, 1, "it was lost with the one who was aborted");
        } else {
            weft_task_close(second);
        }
        r.taken = 0;
        weft_case rest[] = {WEFT_NOTIFIED(&r.notify), WEFT_DEFAULT};
        cr_assert_eq(weft_select(rest, 2), 1, "one was given, and one was used");
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d12_aborts_against_notifications_lose_none) { run(workers, race_notify_root, NULL); }

/* A mutex is waited for shielded: an abort changes nothing, and the lock goes round. */
static void *race_locker(void *arg)
{
    race *r = arg;
    for (int i = 0; i < 3; i++) {
        weft_mutex_lock(&r->mutex);
        cr_assert_eq(atomic_fetch_add(&r->inside, 1), 0);
        weft_yield();
        atomic_fetch_sub(&r->inside, 1);
        weft_mutex_unlock(&r->mutex);
    }
    atomic_fetch_add(&r->taken, 1);
    return NULL;
}

static void *race_mutex_root(void *arg)
{
    race r = {.mutex = WEFT_MUTEX_INIT};
    enum { CROWD = 8 };
    weft_task *tasks[CROWD];
    (void)arg;
    for (size_t turn = 0; turn < wf_test_scale(200); turn++) {
        r.taken = 0;
        for (int i = 0; i < CROWD; i++)
            tasks[i] = spawn(race_locker, &r);
        weft_yield();
        int begun = 0;
        for (int i = 0; i < CROWD; i++)
            if (weft_task_state(tasks[i]) != WEFT_TASK_SCHEDULED && i % 2) {
                weft_abort(tasks[i]);
                begun++;
            }
        for (int i = 0; i < CROWD; i++)
            weft_join(tasks[i], NULL);
        cr_assert_geq(r.taken, CROWD - begun);
        cr_assert_eq(weft_mutex_try_lock(&r.mutex), 0, "nobody holds it any more");
        weft_mutex_unlock(&r.mutex);
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d12_aborts_against_a_mutex_lose_no_turn) { run(workers, race_mutex_root, NULL); }

/* ---- d24: a sender parks without looking again; one waiter node for two concurrent sends ------------------------- */

typedef struct flow {
    weft_chan *ch;
    int n;
    atomic_int received;
} flow;

static void *flow_sender(void *arg)
{
    flow *f = arg;
    for (uint64_t i = 0; i < (uint64_t)f->n; i++)
        cr_assert_eq(weft_chan_send(f->ch, &i), 0);
    return NULL;
}

static void *flow_receiver(void *arg)
{
    flow *f = arg;
    for (uint64_t i = 0, item; i < (uint64_t)f->n; i++) {
        cr_assert_eq(weft_chan_recv(f->ch, &item), 0);
        cr_assert_eq(item, i);
    }
    return NULL;
}

/* On a channel of one place sender and receiver park all the time, each while the other looks. */
static void *parks_root(void *arg)
{
    (void)arg;
    for (size_t capacity = 0; capacity < 3; capacity++) {
        flow f = {.ch = new_chan(capacity), .n = (int)wf_test_scale(20000)};
        weft_task *s = spawn(flow_sender, &f), *r = spawn(flow_receiver, &f);
        join(s);
        join(r);
        cr_assert_eq(weft_chan_free(f.ch), 0);
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d24_a_sender_that_parks_looks_at_the_place_again) { run(workers, parks_root, NULL); }

/* An ordinary thread on the other side, so that both really are at it at the same time, however many workers there are. */
static void *thread_receiver(void *arg)
{
    flow_receiver(arg);
    return NULL;
}

WF_TEST_WORKERS(defects, d24_against_a_thread_too)
{
    flow f = {.ch = new_chan(1), .n = (int)wf_test_scale(20000)};
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    weft_task *task;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_spawn_on(rt, &task, flow_sender, &f), 0);
    in_threads(1, thread_receiver, &f);
    join(task);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(weft_chan_free(f.ch), 0);
}

static void *send_until_closed(void *arg)
{
    flow *f = arg;
    uint64_t item = 0;
    int err;
    while ((err = weft_chan_send(f->ch, &item)) == 0)
        item++;
    cr_assert_eq(err, WEFT_ECLOSED);
    return NULL;
}

static void *recv_until_closed(void *arg)
{
    flow *f = arg;
    uint64_t item;
    int err;
    while ((err = weft_chan_recv(f->ch, &item)) == 0)
        atomic_fetch_add(&f->received, 1);
    cr_assert_eq(err, WEFT_ECLOSED);
    return NULL;
}

/* The close comes at whatever moment it comes: everybody ends. */
static void *closes_root(void *arg)
{
    (void)arg;
    for (size_t turn = 0; turn < wf_test_scale(1000); turn++) {
        flow f = {.ch = new_chan(turn % 3)};
        weft_task *tasks[3] = {spawn(send_until_closed, &f), spawn(send_until_closed, &f), NULL};
        if (turn % 2)
            tasks[2] = spawn(recv_until_closed, &f);
        for (size_t i = 0; i < turn % 5; i++)
            weft_yield();
        weft_chan_close(f.ch);
        for (int i = 0; i < 3; i++)
            if (tasks[i])
                join(tasks[i]);
        cr_assert_eq(weft_chan_free(f.ch), 0);
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d24_a_sender_that_parks_looks_at_the_close_again) { run(workers, closes_root, NULL); }

/* Two sends under way at once in one stackless task. */
typedef struct pair_future {
    weft_future future;
    weft_chan *ch;
    weft_op ops[2];
    uint64_t items[2];
    bool sent[2];
} pair_future;

static weft_poll pair_poll(weft_future *self, weft_context *cx, void **result)
{
    pair_future *f = WEFT_CONTAINER_OF(self, pair_future, future);
    (void)result;
    for (int i = 0; i < 2; i++)
        if (!f->sent[i])
            f->sent[i] = weft_poll_chan_send(cx, &f->ops[i], f->ch, &f->items[i]) == 0;
    return f->sent[0] && f->sent[1] ? WEFT_READY : WEFT_PENDING;
}

static void pair_drop(weft_future *self)
{
    for (int i = 0; i < 2; i++)
        weft_op_drop(&WEFT_CONTAINER_OF(self, pair_future, future)->ops[i]);
}

static const weft_future_ops pair_ops = {pair_poll, pair_drop};

static void *pair_root(void *arg)
{
    (void)arg;
    for (size_t capacity = 0; capacity < 2; capacity++) {
        weft_chan *ch = new_chan(capacity);
        uint64_t got;
        for (size_t i = 0; i < capacity; i++)
            send_now(ch, 100);
        pair_future f = {.future.ops = &pair_ops, .ch = ch, .items = {1, 2}};
        weft_task *task;
        cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
        settle();
        for (size_t i = 0; i < capacity; i++)
            cr_assert_eq(weft_chan_recv(ch, &got), 0);
        for (uint64_t i = 1; i <= 2; i++) {
            cr_assert_eq(weft_chan_recv(ch, &got), 0);
            cr_assert_eq(got, i);
        }
        join(task);
        pair_future dropped = {.future.ops = &pair_ops, .ch = ch, .items = {1, 2}};
        for (size_t i = 0; i < capacity; i++)
            send_now(ch, 100);
        cr_assert_eq(weft_spawn_future(&task, &dropped.future), 0);
        settle();
        cr_assert_eq(weft_task_close(task), 0);
        cr_assert_eq(weft_chan_len(ch), capacity);
        cr_assert_eq(weft_chan_free(ch), 0, "neither waits any more");
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d24_one_task_has_several_sends_under_way) { run_paused(workers, pair_root, NULL); }

/* The same channel, from many tasks and in one select. */
static void *both_cases_root(void *arg)
{
    weft_chan *ch = new_chan(0);
    chan_call calls[3] = {{.ch = ch, .item = 1}, {.ch = ch, .item = 2}, {.ch = ch, .item = 3}};
    weft_task *tasks[3];
    uint64_t got, sum = 0;
    (void)arg;
    for (int i = 0; i < 3; i++)
        tasks[i] = spawn_settled(call_send, &calls[i]);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(weft_chan_recv(ch, &got), 0);
        sum += got;
    }
    cr_assert_eq(sum, 6);
    for (int i = 0; i < 3; i++)
        join(tasks[i]);
    cr_assert_eq(weft_chan_free(ch), 0);
    return NULL;
}

WF_TEST_WORKERS(defects, d24_many_senders_share_a_channel) { run_paused(workers, both_cases_root, NULL); }
