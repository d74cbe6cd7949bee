/* select_poll_test.c - a select by a stackless task: with weft_poll_select() it waits for anything that has a case. */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <support/task_support.h>
#include <support/test.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uv.h>

/* A future that selects once. */
typedef struct chooser {
    weft_future future;
    weft_op op;
    weft_case cases[4];
    int n, item;
    atomic_int chosen, dropped;
} chooser;

static weft_poll chooser_poll(weft_future *self, weft_context *cx, void **result)
{
    chooser *c = WEFT_CONTAINER_OF(self, chooser, future);
    int index = weft_poll_select(cx, &c->op, c->cases, c->n);
    (void)result;
    if (index == WEFT_PENDING)
        return WEFT_PENDING;
    c->chosen = index;
    return WEFT_READY;
}

static void chooser_drop(weft_future *self)
{
    chooser *c = WEFT_CONTAINER_OF(self, chooser, future);
    weft_op_drop(&c->op);
    c->dropped = 1;
}

static const weft_future_ops chooser_ops = {.poll = chooser_poll, .drop = chooser_drop};

static weft_task *start_chooser(chooser *c)
{
    weft_task *task;
    c->future.ops = &chooser_ops;
    c->chosen = -1;
    cr_assert_eq(weft_spawn_future(&task, &c->future), 0);
    return task;
}

static void *everything_root(void *arg)
{
    weft_chan *ch;
    weft_token *token;
    weft_notify notify = WEFT_NOTIFY_INIT;
    int item = 7;
    (void)arg;
    cr_assert_eq(weft_chan_create(&ch, sizeof item, 0), 0);
    cr_assert_eq(weft_token_create(&token, NULL), 0);
    for (int which = 0; which < 4; which++) {
        chooser c = {.n = 4};
        c.cases[0] = (weft_case)WEFT_RECV(ch, &c.item);
        c.cases[1] = (weft_case)WEFT_NOTIFIED(&notify);
        c.cases[2] = (weft_case)WEFT_TOKEN(which == 2 ? token : NULL);
        c.cases[3] = (weft_case)WEFT_AFTER(which == 3 ? WEFT_MS : 3600 * WEFT_SEC);
        weft_task *task = start_chooser(&c);
        if (which == 0)
            cr_assert_eq(weft_chan_send(ch, &item), 0);
        if (which == 1)
            weft_notify_one(&notify);
        if (which == 2)
            weft_token_cancel(token);
        cr_assert_eq(weft_join(task, NULL), 0);
        cr_assert_eq(c.chosen, which);
        cr_assert_eq(c.item, which == 0 ? 7 : 0);
        cr_assert_eq(c.dropped, 1);
        cr_assert_eq(weft_chan_try_send(ch, &item), WEFT_EAGAIN, "nobody waits in it any more");
    }
    cr_assert_eq(weft_token_free(token), 0);
    cr_assert_eq(weft_chan_free(ch), 0);
    return NULL;
}

WF_TEST_WORKERS(select_poll, a_stackless_task_waits_for_whatever_comes_first) { run(workers, everything_root, NULL); }

/* Chosen by the sender, and dropped before it could look: the item is the next one's. */
static void *dropped_root(void *arg)
{
    weft_chan *ch;
    int item = 9;
    (void)arg;
    cr_assert_eq(weft_chan_create(&ch, sizeof item, 0), 0);
    for (size_t i = 0; i < wf_test_scale(2000); i++) {
        chooser c = {.n = 2};
        c.cases[0] = (weft_case)WEFT_RECV(ch, &c.item);
        c.cases[1] = (weft_case)WEFT_AFTER(3600 * WEFT_SEC);
        weft_task *task = start_chooser(&c);
        if (i % 2)
            weft_yield();
        bool sent = weft_chan_try_send(ch, &item) == 0;
        weft_abort(task);
        int code = weft_join(task, NULL);
        cr_assert_eq(c.dropped, 1);
        if (sent && code == WEFT_EABORTED) {
            int back = 0;
            cr_assert_eq(weft_chan_try_recv(ch, &back), 0, "it went back");
            cr_assert_eq(back, 9);
        }
        cr_assert_eq(weft_chan_len(ch), 0);
    }
    cr_assert_eq(weft_chan_free(ch), 0);
    return NULL;
}

WF_TEST_WORKERS(select_poll, what_was_given_to_one_that_is_dropped_goes_back) { run(workers, dropped_root, NULL); }

/* ---- polled by one task, then by another ------------------------------------------------------------------------ */

typedef struct passed_on {
    weft_op op;
    weft_case the_case;
    atomic_int pending, chosen; /* polls; -1: none yet */
} passed_on;

/* Polls once and ends; or goes on until it is chosen. */
typedef struct poller {
    weft_future future;
    passed_on *what;
    bool once;
} poller;

static weft_poll poller_poll(weft_future *self, weft_context *cx, void **result)
{
    poller *p = WEFT_CONTAINER_OF(self, poller, future);
    int index = weft_poll_select(cx, &p->what->op, &p->what->the_case, 1);
    (void)result;
    if (index == WEFT_PENDING) {
        p->what->pending++;
        return p->once ? WEFT_READY : WEFT_PENDING;
    }
    p->what->chosen = index;
    return WEFT_READY;
}

static const weft_future_ops poller_ops = {.poll = poller_poll};

/* What each case waits for, all of it at once. */
typedef struct world {
    weft_chan *empty, *full;
    weft_token *token;
    weft_notify notify;
    weft_oneshot *oneshot;
    weft_broadcast *broadcast;
    weft_subscription *subscription;
    weft_watch *watch;
    weft_completion completion;
    weft_group *group;
    weft_signal *signal;
    weft_stream *near, *far;
    weft_task *task;
    weft_notify end; /* of tasks */
    uint64_t version;
    int item;
} world;

static void *wait_for_end(void *arg)
{
    weft_notify_wait(&((world *)arg)->end);
    return NULL;
}

static void end_a_task(world *w) { weft_notify_one(&w->end); }
static void send_one(world *w) { cr_assert_eq(weft_chan_try_send(w->empty, &w->item), 0); }
static void receive_one(world *w) { cr_assert_eq(weft_chan_try_recv(w->full, &w->item), 0); }
static void cancel_token(world *w) { weft_token_cancel(w->token); }
static void notify_one(world *w) { weft_notify_one(&w->notify); }
static void send_oneshot(world *w) { cr_assert_eq(weft_oneshot_send(w->oneshot, &w->item), 0); }
static void broadcast_one(world *w) { cr_assert_eq(weft_broadcast_send(w->broadcast, &w->item), 1); }
static void set_watch(world *w) { cr_assert_eq(weft_watch_set(w->watch, &w->item), 0); }
static void complete(world *w) { weft_completion_set(&w->completion, 0); }
static void send_signal(world *w)
{
    (void)w;
    cr_assert_eq(kill(getpid(), SIGUSR1), 0);
}
static void write_one(world *w) { cr_assert_eq(weft_write(w->far, "x", 1), 1); }
static void wait_a_little(world *w) { (void)w; }

static void open_world(world *w)
{
    *w = (world){.notify = WEFT_NOTIFY_INIT, .end = WEFT_NOTIFY_INIT, .version = 1};
    cr_assert_eq(weft_chan_create(&w->empty, sizeof(int), 1), 0);
    cr_assert_eq(weft_chan_create(&w->full, sizeof(int), 1), 0);
    cr_assert_eq(weft_chan_try_send(w->full, &w->item), 0);
    cr_assert_eq(weft_token_create(&w->token, NULL), 0);
    cr_assert_eq(weft_oneshot_create(&w->oneshot, sizeof(int), NULL), 0);
    cr_assert_eq(weft_broadcast_create(&w->broadcast, sizeof(int), 1), 0);
    cr_assert_eq(weft_subscribe(&w->subscription, w->broadcast), 0);
    cr_assert_eq(weft_watch_create(&w->watch, sizeof(int), &w->item), 0);
    cr_assert_eq(weft_signal_open(&w->signal, SIGUSR1), 0);
    cr_assert_eq(weft_stream_pair(&w->near, &w->far), 0);
    cr_assert_eq(weft_group_create(&w->group), 0);
    weft_completion_init(&w->completion);
}

static void close_world(world *w)
{
    cr_assert_eq(weft_group_close(w->group), 0);
    weft_close(w->near);
    weft_close(w->far);
    weft_signal_close(w->signal);
    cr_assert_eq(weft_watch_free(w->watch), 0);
    weft_unsubscribe(w->subscription);
    cr_assert_eq(weft_broadcast_free(w->broadcast), 0);
    cr_assert_eq(weft_oneshot_free(w->oneshot), 0);
    cr_assert_eq(weft_token_free(w->token), 0);
    cr_assert_eq(weft_chan_free(w->full), 0);
    cr_assert_eq(weft_chan_free(w->empty), 0);
}

/* The first task ends, and wakes nobody; so it has to be the second one's waker that is kept. */
static void pass_on(world *w, weft_case the_case, void (*make_ready)(world *w))
{
    passed_on what = {.op = WEFT_OP_INIT, .the_case = the_case, .chosen = -1};
    poller first = {{&poller_ops}, &what, true}, second = {{&poller_ops}, &what, false};
    weft_task *task;
    cr_assert_eq(weft_spawn_future(&task, &first.future), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(what.pending, 1);
    cr_assert_eq(weft_spawn_future(&task, &second.future), 0);
    EVENTUALLY(what.pending >= 2 && weft_task_state(task) == WEFT_TASK_IDLE);
    make_ready(w);
    EVENTUALLY(what.chosen == 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(what.the_case.status, the_case.ops_ == &weft_case_signal_ ? 1 : 0);
}

static void *pass_on_root(void *arg)
{
    world w;
    (void)arg;
    open_world(&w);
    pass_on(&w, (weft_case)WEFT_RECV(w.empty, &w.item), send_one);
    pass_on(&w, (weft_case)WEFT_SEND(w.full, &w.item), receive_one);
    pass_on(&w, (weft_case)WEFT_TOKEN(w.token), cancel_token);
    pass_on(&w, (weft_case)WEFT_NOTIFIED(&w.notify), notify_one);
    pass_on(&w, (weft_case)WEFT_ONESHOT(w.oneshot, &w.item), send_oneshot);
    pass_on(&w, (weft_case)WEFT_SUBSCRIPTION(w.subscription, &w.item), broadcast_one);
    pass_on(&w, (weft_case)WEFT_WATCH(w.watch, &w.version), set_watch);
    pass_on(&w, (weft_case)WEFT_COMPLETION(&w.completion), complete);
    pass_on(&w, (weft_case)WEFT_SIGNAL(w.signal), send_signal);
    pass_on(&w, (weft_case)WEFT_READABLE(w.near), write_one);
    pass_on(&w, (weft_case)WEFT_AFTER(50 * WEFT_MS), wait_a_little);
    cr_assert_eq(weft_spawn(&w.task, wait_for_end, &w), 0);
    pass_on(&w, (weft_case)WEFT_JOIN(w.task, NULL), end_a_task);
    cr_assert_eq(weft_group_spawn(w.group, wait_for_end, &w), 0);
    pass_on(&w, (weft_case)WEFT_GROUP_NEXT(w.group, NULL), end_a_task);
    close_world(&w);
    return NULL;
}

/* Channels, tokens, joins and completions kept the first waker, so that the second task was never woken; signals said WEFT_EBUSY to it. */
WF_TEST_WORKERS(select_poll, the_last_task_that_polls_is_the_one_that_is_woken) { run(workers, pass_on_root, NULL); }

Test(select_poll, arguments_without_sense_are_refused)
{
    weft_op op = WEFT_OP_INIT;
    cr_assert_eq(weft_poll_select(NULL, &op, NULL, 0), WEFT_EINVAL);
    weft_op_drop(&op);
    weft_op_drop(NULL);
}
