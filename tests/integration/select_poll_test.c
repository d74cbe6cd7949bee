/* select_poll_test.c - a select by a stackless task: with weft_poll_select() it waits for anything that has a case. */
#include <stdatomic.h>
#include <stdlib.h>
#include <support/task_support.h>
#include <support/test.h>
#include <weft.h>

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

Test(select_poll, arguments_without_sense_are_refused)
{
    weft_op op = WEFT_OP_INIT;
    cr_assert_eq(weft_poll_select(NULL, &op, NULL, 0), WEFT_EINVAL);
    weft_op_drop(&op);
    weft_op_drop(NULL);
}
