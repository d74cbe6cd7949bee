/* tell_test.c - one-shots, broadcasts and watches: how values get from one to others, and the cases that select has of them.
 *
 * Where an order matters, a waiter is seen to wait before anything is sent. */
#include <stdatomic.h>
#include <support/task_support.h>
#include <support/test.h>
#include <weft/chan.h>
#include <weft/select.h>
#include <weft/sync.h>

static weft_task *start(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    return task;
}

/* It has come to wait. */
static weft_task *start_waiting(weft_fn fn, void *arg)
{
    weft_task *task = start(fn, arg);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    return task;
}

static intptr_t join(weft_task *task)
{
    void *result;
    cr_assert_eq(weft_join(task, &result), 0);
    return (intptr_t)result;
}

static void expect_aborted(weft_task *task)
{
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
}

static void *code(int err) { return (void *)(intptr_t)err; }

/* ---- one value, once ----------------------------------------------------------------------------------------- */

static atomic_int drops, dropped;

static void drop_int(void *item)
{
    drops++;
    dropped = *(int *)item;
}

static weft_oneshot *oneshot(void)
{
    weft_oneshot *o;
    cr_assert_eq(weft_oneshot_create(&o, sizeof(int), drop_int), 0);
    return o;
}

static int send_int(weft_oneshot *o, int n) { return weft_oneshot_send(o, &n); }

/* The value, or the code. */
static void *recv_int(void *o)
{
    int n = -1, err = weft_oneshot_recv(o, &n);
    return code(err ? err : n);
}

static void *oneshot_root(void *arg)
{
    int n;
    weft_oneshot *o = oneshot();
    cr_assert_eq(weft_oneshot_try_recv(o, &n), WEFT_EAGAIN);
    weft_task *first = start_waiting(recv_int, o), *second = start_waiting(recv_int, o);
    cr_assert_eq(weft_oneshot_free(o), WEFT_EBUSY);
    cr_assert_eq(send_int(o, 7), 0);
    cr_assert_eq(send_int(o, 8), WEFT_ECLOSED, "sent before");
    cr_assert_eq(join(first), 7);
    cr_assert_eq(join(second), WEFT_ECLOSED, "taken before");
    cr_assert_eq(weft_oneshot_recv(o, &n), WEFT_ECLOSED);
    cr_assert_eq(weft_oneshot_free(o), 0);

    o = oneshot();
    first = start_waiting(recv_int, o);
    expect_aborted(first);
    cr_assert_eq(send_int(o, 9), 0);
    weft_oneshot_close(o);
    cr_assert_eq(weft_oneshot_try_recv(o, &n), 0, "what was sent can be received");
    cr_assert_eq(n, 9);
    cr_assert_eq(weft_oneshot_free(o), 0);

    o = oneshot();
    first = start_waiting(recv_int, o);
    weft_oneshot_close(o);
    cr_assert_eq(join(first), WEFT_ECLOSED);
    cr_assert_eq(send_int(o, 1), WEFT_ECLOSED);
    cr_assert_eq(weft_oneshot_free(o), 0);

    o = oneshot();
    cr_assert_eq(drops, 0);
    cr_assert_eq(send_int(o, 5), 0);
    cr_assert_eq(weft_oneshot_free(o), 0);
    cr_assert_eq(drops, 1);
    cr_assert_eq(dropped, 5);
    cr_assert_eq(weft_oneshot_free(NULL), 0);
    return arg;
}

WF_TEST_WORKERS(sync, a_oneshot_gives_one_value_to_one_receiver) { run(workers, oneshot_root, NULL); }

typedef struct two_oneshots {
    weft_oneshot *o[2];
    int got[2];
    int status;
} two_oneshots;

static void *select_oneshots(void *arg)
{
    two_oneshots *t = arg;
    weft_case cases[] = {WEFT_ONESHOT(t->o[0], &t->got[0]), WEFT_ONESHOT(t->o[1], &t->got[1])};
    int i = weft_select(cases, 2);
    t->status = i >= 0 ? cases[i].status : 0;
    return code(i);
}

static void *oneshot_select_root(void *arg)
{
    for (int i = 0; i < 50; i++) {
        int n = 0;
        two_oneshots t = {.o = {oneshot(), oneshot()}};
        weft_task *task = start_waiting(select_oneshots, &t);
        cr_assert_eq(send_int(t.o[0], 10), 0);
        cr_assert_eq(send_int(t.o[1], 11), 0);
        intptr_t won = join(task);
        cr_assert_eq(won, 0, "it was the only one when it was decided");
        cr_assert_eq(t.status, 0);
        cr_assert_eq(t.got[0], 10);
        cr_assert_eq(weft_oneshot_try_recv(t.o[1], &n), 0, "the loser lost nothing");
        cr_assert_eq(n, 11);
        task = start(select_oneshots, &t);
        cr_assert_geq(join(task), 0);
        cr_assert_eq(t.status, WEFT_ECLOSED);
        cr_assert_eq(weft_oneshot_free(t.o[0]) + weft_oneshot_free(t.o[1]), 0);
    }
    return arg;
}

WF_TEST_WORKERS(sync, a_select_of_oneshots_takes_one_and_loses_none) { run(workers, oneshot_select_root, NULL); }

/* ---- each value to everybody --------------------------------------------------------------------------------- */

static weft_broadcast *broadcast(size_t capacity)
{
    weft_broadcast *b;
    cr_assert_eq(weft_broadcast_create(&b, sizeof(int), capacity), 0);
    return b;
}

static weft_subscription *subscribe(weft_broadcast *b)
{
    weft_subscription *sub;
    cr_assert_eq(weft_subscribe(&sub, b), 0);
    return sub;
}

static int tell(weft_broadcast *b, int n) { return weft_broadcast_send(b, &n); }

static void expect_next(weft_subscription *sub, int n, uint64_t missed)
{
    int got = -1;
    uint64_t lost = 99;
    cr_assert_eq(weft_subscription_recv(sub, &got, &lost), 0);
    cr_assert_eq(got, n);
    cr_assert_eq(lost, missed);
}

static void *lag_root(void *arg)
{
    int n;
    weft_broadcast *b;
    cr_assert_eq(weft_broadcast_create(&b, sizeof n, 0), WEFT_EINVAL);
    b = broadcast(4);
    cr_assert_eq(tell(b, 0), 0, "to nobody");
    weft_subscription *early = subscribe(b);
    for (int i = 1; i <= 10; i++)
        cr_assert_eq(tell(b, i), 1);
    weft_subscription *late = subscribe(b);
    cr_assert_eq(weft_subscription_try_recv(late, &n, NULL), WEFT_EAGAIN);
    expect_next(early, 7, 6);
    expect_next(early, 8, 0);
    cr_assert_eq(tell(b, 11), 2);
    cr_assert_eq(weft_broadcast_free(b), WEFT_EBUSY);
    weft_broadcast_close(b);
    cr_assert_eq(tell(b, 12), WEFT_ECLOSED);
    expect_next(late, 11, 0);
    for (int i = 9; i <= 11; i++)
        expect_next(early, i, 0);
    cr_assert_eq(weft_subscription_recv(early, &n, NULL), WEFT_ECLOSED);
    cr_assert_eq(weft_subscription_try_recv(late, &n, NULL), WEFT_ECLOSED);
    weft_unsubscribe(early);
    weft_unsubscribe(late);
    cr_assert_eq(weft_broadcast_free(b), 0);
    return arg;
}

Test(sync, what_a_slow_receiver_has_missed_is_counted_and_what_is_left_outlives_the_close) { run(1, lag_root, NULL); }

/* The sum of what was received and how often, or the code. */
static void *add_up(void *sub)
{
    intptr_t sum = 0;
    uint64_t missed;
    int n, err;
    while ((err = weft_subscription_recv(sub, &n, &missed)) == 0)
        sum += n + (intptr_t)missed; /* all are 1 */
    return err == WEFT_ECLOSED ? (void *)sum : code(err);
}

static void *everybody_root(void *arg)
{
    enum { LISTENERS = 20 };
    int many = (int)wf_test_scale(3000);
    weft_broadcast *b = broadcast(8);
    weft_subscription *subs[LISTENERS];
    weft_task *tasks[LISTENERS];
    for (int i = 0; i < LISTENERS; i++)
        subs[i] = subscribe(b);
    for (int i = 0; i < LISTENERS; i++)
        tasks[i] = start_waiting(add_up, subs[i]);
    int n;
    cr_assert_eq(weft_subscription_recv(subs[0], &n, NULL), WEFT_EBUSY, "one task at a time");
    weft_case busy[] = {WEFT_SUBSCRIPTION(subs[0], &n)};
    cr_assert_eq(weft_select(busy, 1), 0);
    cr_assert_eq(busy[0].status, WEFT_EBUSY);
    for (int i = 0; i < many; i++) {
        cr_assert_eq(tell(b, 1), LISTENERS);
        if (i % 5 == 0)
            weft_yield();
    }
    weft_broadcast_close(b);
    for (int i = 0; i < LISTENERS; i++) {
        cr_assert_eq(join(tasks[i]), many, "each was received or counted");
        weft_unsubscribe(subs[i]);
    }
    cr_assert_eq(weft_broadcast_free(b), 0);
    return arg;
}

WF_TEST_WORKERS(sync, everybody_listening_gets_each_value_or_is_told) { run(workers, everybody_root, NULL); }

typedef struct two_subs {
    weft_subscription *s[2];
    int got[2], status;
} two_subs;

static void *select_subs(void *arg)
{
    two_subs *t = arg;
    weft_case cases[] = {WEFT_SUBSCRIPTION(t->s[0], &t->got[0]), WEFT_SUBSCRIPTION(t->s[1], &t->got[1])};
    int i = weft_select(cases, 2);
    t->status = i >= 0 ? cases[i].status : 0;
    return code(i);
}

static void *broadcast_select_root(void *arg)
{
    weft_broadcast *a = broadcast(2), *b = broadcast(2);
    two_subs t = {.s = {subscribe(a), subscribe(b)}};
    expect_aborted(start_waiting(select_subs, &t));
    for (int i = 0; i < 50; i++) {
        weft_task *task = start_waiting(select_subs, &t);
        tell(a, i);
        tell(b, 100 + i);
        intptr_t won = join(task);
        cr_assert(won == 0 || won == 1);
        cr_assert_eq(t.got[won], won == 0 ? i : 100 + i);
        expect_next(t.s[1 - won], won == 0 ? 100 + i : i, 0); /* the loser lost nothing, and nobody waits in it */
    }
    for (int i = 0; i < 5; i++)
        tell(a, i);
    cr_assert_eq(join(start(select_subs, &t)), 0);
    cr_assert_eq(t.got[0], 3);
    cr_assert_eq(t.status, 3, "how many were missed");
    weft_broadcast_close(b);
    expect_next(t.s[0], 4, 0);
    cr_assert_eq(join(start(select_subs, &t)), 1);
    cr_assert_eq(t.status, WEFT_ECLOSED);
    weft_unsubscribe(t.s[0]);
    weft_unsubscribe(t.s[1]);
    cr_assert_eq(weft_broadcast_free(a) + weft_broadcast_free(b), 0);
    return arg;
}

WF_TEST_WORKERS(sync, a_select_of_broadcasts_takes_one_and_loses_none) { run(workers, broadcast_select_root, NULL); }

/* ---- the latest value ---------------------------------------------------------------------------------------- */

static weft_watch *watch(int n)
{
    weft_watch *w;
    cr_assert_eq(weft_watch_create(&w, sizeof n, &n), 0);
    return w;
}

static int set(weft_watch *w, int n) { return weft_watch_set(w, &n); }

static void *next_after_1(void *w)
{
    uint64_t version = 1;
    int n = -1, err = weft_watch_next(w, &n, &version);
    return code(err ? err : n);
}

static void *watch_root(void *arg)
{
    enum { MANY = 40 };
    uint64_t version = 0;
    weft_task *tasks[MANY];
    int n;
    weft_watch *w = watch(5);
    cr_assert_eq(weft_watch_next(w, &n, &version), 0, "none was seen");
    cr_assert_eq(n, 5);
    cr_assert_eq(version, 1);
    expect_aborted(start_waiting(next_after_1, w));
    for (int i = 0; i < MANY; i++)
        tasks[i] = start_waiting(next_after_1, w);
    cr_assert_eq(weft_watch_free(w), WEFT_EBUSY);
    cr_assert_eq(set(w, 6), 0);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(join(tasks[i]), 6);
    cr_assert_eq(set(w, 7), 0);
    cr_assert_eq(weft_watch_next(w, &n, &version), 0);
    cr_assert_eq(n, 7, "the latest only");
    cr_assert_eq(version, 3);
    cr_assert_eq(set(w, 8), 0);
    weft_watch_close(w);
    cr_assert_eq(set(w, 9), WEFT_ECLOSED);
    cr_assert_eq(weft_watch_next(w, &n, &version), 0, "the last is still to be seen");
    cr_assert_eq(n, 8);
    cr_assert_eq(weft_watch_next(w, &n, &version), WEFT_ECLOSED);
    cr_assert_eq(weft_watch_get(w, &n, &version), 0);
    cr_assert_eq(n, 8);
    cr_assert_eq(version, 4);
    cr_assert_eq(weft_watch_free(w), 0);
    w = watch(1);
    tasks[0] = start_waiting(next_after_1, w);
    weft_watch_close(w);
    cr_assert_eq(join(tasks[0]), WEFT_ECLOSED);
    cr_assert_eq(weft_watch_free(w), 0);
    return arg;
}

WF_TEST_WORKERS(sync, everybody_watching_sees_the_latest_value_and_then_the_close) { run(workers, watch_root, NULL); }

static void *follow(void *w)
{
    uint64_t version = 0, before = 0;
    int n = 0;
    while (weft_watch_next(w, &n, &version) == 0) {
        cr_assert_gt(version, before);
        cr_assert_eq((uint64_t)n, version, "the value belongs to its version");
        before = version;
    }
    return code(n);
}

static void *follow_root(void *arg)
{
    enum { FOLLOWERS = 20 };
    int many = (int)wf_test_scale(3000);
    weft_task *tasks[FOLLOWERS];
    weft_watch *w = watch(1);
    for (int i = 0; i < FOLLOWERS; i++)
        tasks[i] = start(follow, w);
    for (int i = 2; i <= many; i++) {
        set(w, i);
        if (i % 5 == 0)
            weft_yield();
    }
    weft_watch_close(w);
    for (int i = 0; i < FOLLOWERS; i++)
        cr_assert_eq(join(tasks[i]), many, "nobody misses the last");
    cr_assert_eq(weft_watch_free(w), 0);
    return arg;
}

WF_TEST_WORKERS(sync, watched_versions_grow_and_the_last_is_seen_by_all) { run(workers, follow_root, NULL); }

typedef struct watched {
    weft_watch *w;
    weft_notify quit;
    uint64_t version;
    int status;
} watched;

static void *select_watch(void *arg)
{
    watched *t = arg;
    weft_case cases[] = {WEFT_WATCH(t->w, &t->version), WEFT_NOTIFIED(&t->quit)};
    int i = weft_select_biased(cases, 2);
    t->status = i >= 0 ? cases[i].status : 0;
    return code(i);
}

static void *watch_select_root(void *arg)
{
    int n;
    watched t = {.w = watch(1), .quit = WEFT_NOTIFY_INIT};
    cr_assert_eq(join(start(select_watch, &t)), 0);
    cr_assert_eq(t.version, 0, "a look: nothing is taken");
    cr_assert_eq(weft_watch_next(t.w, &n, &t.version), 0);
    weft_task *task = start_waiting(select_watch, &t);
    set(t.w, 2);
    cr_assert_eq(join(task), 0);
    cr_assert_eq(t.status, 0);
    t.version = 2;
    task = start_waiting(select_watch, &t);
    weft_notify_one(&t.quit);
    cr_assert_eq(join(task), 1);
    expect_aborted(start_waiting(select_watch, &t));
    task = start_waiting(select_watch, &t);
    weft_watch_close(t.w);
    cr_assert_eq(join(task), 0);
    cr_assert_eq(t.status, WEFT_ECLOSED);
    cr_assert_eq(weft_watch_free(t.w), 0, "nobody is left in it");
    return arg;
}

WF_TEST_WORKERS(sync, a_select_of_watches_sees_a_newer_value_and_the_close) { run(workers, watch_select_root, NULL); }
