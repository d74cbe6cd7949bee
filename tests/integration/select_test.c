/* select_test.c - waiting for the first of several things: which it is, and what becomes of the others.
 *
 * What happens while a select looks at its cases is made to happen by one of them: a future whose poll does it. */
#include <pthread.h>
#include <support/chan_support.h>
#include <support/test.h>
#include <weft/future.h>
#include <weft/group.h>
#include <weft/scope.h>
#include <weft/sync.h>
#include <weft/token.h>

static void send_now(weft_chan *ch, uint64_t item) { cr_assert_eq(weft_chan_try_send(ch, &item), 0); }

static void expect_now(weft_chan *ch, uint64_t item)
{
    uint64_t got = 0;
    cr_assert_eq(weft_chan_try_recv(ch, &got), 0);
    cr_assert_eq(got, item);
}

static void free_chan(weft_chan *ch) { cr_assert_eq(weft_chan_free(ch), 0); }

static void join(weft_task *task) { cr_assert_eq(weft_join(task, NULL), 0); }

static weft_task *spawn(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    return task;
}

static weft_token *new_token(weft_token *parent)
{
    weft_token *token;
    cr_assert_eq(weft_token_create(&token, parent), 0);
    return token;
}

/* A select in a task of its own. */
typedef struct choice {
    weft_case *cases;
    int n;
    int chosen, status; /* chosen: NOT_YET until it has returned */
} choice;

enum { NOT_YET = -1 };

static void *choose(void *arg)
{
    choice *c = arg;
    c->chosen = NOT_YET;
    int chosen = weft_select(c->cases, c->n);
    c->status = chosen >= 0 ? c->cases[chosen].status : 0;
    c->chosen = chosen;
    return arg;
}

static void *sleep_for_ever(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

/* A future that calls back and is never ready, or is. */
typedef struct meddler {
    weft_future future;
    void (*meddle)(void *arg); /* at its first poll */
    void *arg;
    int polls;
    weft_poll verdict;
    void *value;
} meddler;

static weft_poll meddle(weft_future *self, weft_context *cx, void **result)
{
    meddler *m = WEFT_CONTAINER_OF(self, meddler, future);
    (void)cx;
    if (m->polls++ == 0 && m->meddle)
        m->meddle(m->arg);
    if (m->verdict != WEFT_PENDING)
        *result = m->value;
    return m->verdict;
}

static const weft_future_ops meddler_ops = {.poll = meddle};

static meddler new_meddler(void (*fn)(void *), void *arg)
{
    return (meddler){.future.ops = &meddler_ops, .meddle = fn, .arg = arg, .verdict = WEFT_PENDING};
}

/* ---- arguments ------------------------------------------------------------------------------------------------ */

static void *arguments_root(void *arg)
{
    weft_case none[2] = {WEFT_DEFAULT};
    (void)arg;
    cr_assert_eq(weft_select(NULL, 1), WEFT_EINVAL);
    cr_assert_eq(weft_select(none, -1), WEFT_EINVAL);
    cr_assert_eq(weft_select(none, 2), WEFT_EINVAL, "the second is no case");
    cr_assert_eq(weft_select_biased(NULL, 1), WEFT_EINVAL);
    cr_assert_eq(weft_select(none, 1), 0);
    return NULL;
}

Test(select, arguments_that_make_no_sense_are_refused) { run(1, arguments_root, NULL); }

static void *no_item_root(void *arg)
{
    weft_chan *ch = new_chan(1);
    (void)arg;
    weft_case recv[] = {WEFT_RECV(ch, NULL)}, send[] = {WEFT_SEND(ch, NULL)};
    cr_assert_eq(weft_select(recv, 1), 0);
    cr_assert_eq(recv[0].status, WEFT_EINVAL, "as weft_chan_recv() says");
    cr_assert_eq(weft_select(send, 1), 0);
    cr_assert_eq(send[0].status, WEFT_EINVAL);
    free_chan(ch);
    return NULL;
}

Test(select, a_channel_without_an_item_is_refused_in_its_status) { run(1, no_item_root, NULL); }

static void *nothing_can_fire_root(void *arg)
{
    uint64_t item;
    (void)arg;
    weft_case nulls[] = {WEFT_RECV(NULL, &item),      WEFT_SEND(NULL, &item), WEFT_JOIN(NULL, NULL),
                         WEFT_GROUP_NEXT(NULL, NULL), WEFT_TICK(NULL),        WEFT_TOKEN(NULL),
                         WEFT_NOTIFIED(NULL),         WEFT_FUTURE(NULL, NULL)};
    enum { N = sizeof nulls / sizeof *nulls };
    for (int n = 0; n <= N; n += N) {
        int64_t start = weft_now();
        weft_scope scope;
        cr_assert_eq(weft_scope_enter(&scope, 5 * WEFT_MS), 0);
        cr_assert_eq(weft_select(n ? nulls : NULL, n), WEFT_ETIMEDOUT);
        cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
        cr_assert_eq(weft_now(), start + 5 * WEFT_MS);
        choice c = {.cases = nulls, .n = n};
        weft_task *task = spawn(choose, &c);
        settle();
        weft_abort(task);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        cr_assert_eq(c.chosen, WEFT_ECANCELED);
    }
    weft_case with_default[] = {WEFT_RECV(NULL, &item), WEFT_DEFAULT, WEFT_TOKEN(NULL)};
    cr_assert_eq(weft_select(with_default, 3), 1);
    return NULL;
}

WF_TEST_WORKERS(select, what_cannot_fire_waits_for_an_interruption)
{
    run_paused(workers, nothing_can_fire_root, NULL);
}

/* ---- each kind --------------------------------------------------------------------------------------------------- */

static void *channels_root(void *arg)
{
    uint64_t got = 0, item = 7;
    (void)arg;
    weft_chan *ch = new_chan(1);
    weft_case recv[] = {WEFT_RECV(ch, &got)}, send[] = {WEFT_SEND(ch, &item)};
    cr_assert_eq(weft_select(send, 1), 0);
    cr_assert_eq(send[0].status, 0);
    cr_assert_eq(weft_chan_len(ch), 1);
    cr_assert_eq(weft_select(recv, 1), 0);
    cr_assert_eq(got, 7);
    choice r = {.cases = recv, .n = 1};
    weft_task *task = spawn_settled(choose, &r);
    cr_assert_eq(r.chosen, NOT_YET);
    cr_assert_eq(weft_chan_free(ch), WEFT_EBUSY);
    send_now(ch, 8);
    join(task);
    cr_assert_eq(r.chosen, 0);
    cr_assert_eq(got, 8);
    send_now(ch, 9);
    choice s = {.cases = send, .n = 1};
    task = spawn_settled(choose, &s);
    cr_assert_eq(s.chosen, NOT_YET);
    expect_now(ch, 9);
    join(task);
    expect_now(ch, 7);
    task = spawn_settled(choose, &r);
    weft_chan_close(ch);
    join(task);
    cr_assert_eq(r.status, WEFT_ECLOSED);
    cr_assert_eq(weft_select(send, 1), 0);
    cr_assert_eq(send[0].status, WEFT_ECLOSED);
    free_chan(ch);
    return NULL;
}

WF_TEST_WORKERS(select, channels) { run_paused(workers, channels_root, NULL); }

static void *send_closed_root(void *arg)
{
    uint64_t item = 7;
    weft_chan *ch = new_chan(0);
    (void)arg;
    weft_case send[] = {WEFT_SEND(ch, &item)};
    choice s = {.cases = send, .n = 1};
    weft_task *task = spawn_settled(choose, &s);
    weft_chan_close(ch);
    join(task);
    cr_assert_eq(s.chosen, 0);
    cr_assert_eq(s.status, WEFT_ECLOSED);
    free_chan(ch);
    return NULL;
}

WF_TEST_WORKERS(select, a_sender_that_waits_learns_of_the_close) { run_paused(workers, send_closed_root, NULL); }

static void *after_5ms(void *arg)
{
    settle();
    weft_sleep(4 * WEFT_MS);
    return arg;
}

static void *fail_after_5ms(void *arg)
{
    after_5ms(arg);
    return weft_fail(-17);
}

static void *panic_after_5ms(void *arg)
{
    after_5ms(arg);
    weft_panic("as it should");
}

static void *joins_root(void *arg)
{
    int value;
    void *result = NULL;
    (void)arg;
    weft_task *slow = spawn(sleep_for_ever, NULL);
    weft_case ended[] = {WEFT_JOIN(spawn(after_5ms, &value), &result), WEFT_JOIN(slow, NULL)};
    cr_assert_eq(weft_select(ended, 2), 0);
    cr_assert_eq(ended[0].status, 0);
    cr_assert_eq(result, &value);
    weft_case failed[] = {WEFT_JOIN(slow, NULL), WEFT_JOIN(spawn(fail_after_5ms, NULL), &result)};
    cr_assert_eq(weft_select(failed, 2), 1);
    cr_assert_eq(failed[1].status, WEFT_EFAILED);
    cr_assert_eq((intptr_t)result, -17);
    weft_case panicked[] = {WEFT_JOIN(spawn(panic_after_5ms, NULL), &result), WEFT_JOIN(slow, NULL)};
    cr_assert_eq(weft_select(panicked, 2), 0);
    cr_assert_eq(panicked[0].status, WEFT_EPANIC);
    cr_assert_null(result);
    weft_abort(slow);
    weft_case aborted[] = {WEFT_JOIN(slow, &result)};
    cr_assert_eq(weft_select(aborted, 1), 0);
    cr_assert_eq(aborted[0].status, WEFT_EABORTED);
    return NULL;
}

WF_TEST_WORKERS(select, joins) { run_paused(workers, joins_root, NULL); }

static void *join_again_root(void *arg)
{
    (void)arg;
    weft_task *slow = spawn(after_5ms, NULL);
    weft_case first[] = {WEFT_JOIN(slow, NULL), WEFT_AFTER(WEFT_MS)};
    cr_assert_eq(weft_select(first, 2), 1);
    cr_assert_eq(weft_wait(slow), 0, "nobody else waits for it");
    cr_assert_eq(weft_select(first, 1), 0);
    return NULL;
}

WF_TEST_WORKERS(select, a_join_that_lost_leaves_the_handle_free) { run_paused(workers, join_again_root, NULL); }

static void *join_oneself(void *arg)
{
    weft_task **self = arg;
    settle();
    WEFT_SCOPE(patience, WEFT_SEC);
    weft_case mine[] = {WEFT_JOIN(*self, NULL)};
    cr_assert_eq(weft_select(mine, 1), 0);
    return (void *)(intptr_t)mine[0].status;
}

static void *join_oneself_root(void *arg)
{
    static weft_task *task;
    void *status;
    (void)arg;
    task = spawn(join_oneself, &task);
    cr_assert_eq(weft_join(task, &status), 0);
    cr_assert_eq((intptr_t)status, WEFT_EDEADLK);
    return NULL;
}

Test(select, joining_oneself_is_told) { run_paused(1, join_oneself_root, NULL); }

static void *groups_root(void *arg)
{
    static int values[3];
    weft_group *g;
    void *result = arg;
    cr_assert_eq(weft_group_create(&g), 0);
    weft_case next[] = {WEFT_GROUP_NEXT(g, &result), WEFT_AFTER(20 * WEFT_MS)};
    cr_assert_eq(weft_select(next, 2), 0);
    cr_assert_eq(next[0].status, WEFT_EOF, "it has no children");
    cr_assert_eq(weft_group_spawn(g, echo, &values[0]), 0);
    cr_assert_eq(weft_select(next, 2), 0);
    cr_assert_eq(next[0].status, 0);
    cr_assert_eq(result, &values[0]);
    cr_assert_eq(weft_group_spawn(g, sleep_for_ever, NULL), 0);
    cr_assert_eq(weft_select(next, 2), 1);
    cr_assert_eq(weft_group_spawn(g, fail_after_5ms, NULL), 0);
    cr_assert_eq(weft_select(next, 2), 0);
    cr_assert_eq(next[0].status, WEFT_EFAILED);
    cr_assert_eq((intptr_t)result, -17);
    cr_assert_eq(weft_group_close(g), 0);
    return NULL;
}

WF_TEST_WORKERS(select, groups) { run_paused(workers, groups_root, NULL); }

/* A result that became ready together with a case before it stays in the group. */
static void *group_result_stays_root(void *arg)
{
    weft_chan *ch = new_chan(1);
    weft_group *g;
    uint64_t item;
    void *result = NULL;
    static int value;
    (void)arg;
    cr_assert_eq(weft_group_create(&g), 0);
    cr_assert_eq(weft_group_spawn(g, echo, &value), 0);
    settle();
    send_now(ch, 1);
    weft_case cases[] = {WEFT_RECV(ch, &item), WEFT_GROUP_NEXT(g, &result)};
    cr_assert_eq(weft_select_biased(cases, 2), 0);
    cr_assert_null(result);
    cr_assert_eq(weft_group_next(g, &result), 0);
    cr_assert_eq(result, &value);
    cr_assert_eq(weft_group_close(g), 0);
    free_chan(ch);
    return NULL;
}

WF_TEST_WORKERS(select, a_group_that_lost_keeps_its_result) { run_paused(workers, group_result_stays_root, NULL); }

static void *clock_root(void *arg)
{
    (void)arg;
    int64_t start = weft_now();
    weft_case after[] = {WEFT_AFTER(30 * WEFT_MS), WEFT_AFTER(10 * WEFT_MS), WEFT_AFTER(WEFT_FOREVER)};
    for (int turn = 1; turn <= 3; turn++) {
        cr_assert_eq(weft_select(after, 3), 1);
        cr_assert_eq(after[1].status, 0);
        cr_assert_eq(weft_now(), start + turn * 10 * WEFT_MS, "from the call on, each time");
    }
    weft_case at[] = {WEFT_AT(start + 80 * WEFT_MS), WEFT_AT(start + 70 * WEFT_MS)};
    cr_assert_eq(weft_select(at, 2), 1);
    cr_assert_eq(weft_now(), start + 70 * WEFT_MS);
    cr_assert_eq(weft_select(at, 2), 1, "its time has passed");
    cr_assert_eq(weft_now(), start + 70 * WEFT_MS);
    weft_case now[] = {WEFT_AFTER(0)}, past[] = {WEFT_AFTER(-WEFT_SEC)}, past_all[] = {WEFT_AT(INT64_MIN)};
    cr_assert_eq(weft_select(now, 1), 0);
    cr_assert_eq(weft_select(past, 1), 0);
    cr_assert_eq(weft_select(past_all, 1), 0);
    cr_assert_eq(weft_now(), start + 70 * WEFT_MS);
    return NULL;
}

WF_TEST_WORKERS(select, after_and_at) { run_paused(workers, clock_root, NULL); }

static void *ticks_root(void *arg)
{
    weft_interval iv;
    weft_chan *ch = new_chan(1);
    uint64_t item;
    (void)arg;
    cr_assert_eq(weft_interval_init(&iv, 10 * WEFT_MS, WEFT_MISSED_SKIP), 0);
    int64_t start = weft_now();
    weft_case cases[] = {WEFT_RECV(ch, &item), WEFT_TICK(&iv)};
    for (int turn = 0; turn < 4; turn++) {
        cr_assert_eq(weft_select(cases, 2), 1);
        cr_assert_eq(weft_now(), start + turn * 10 * WEFT_MS);
    }
    cr_assert_eq(weft_sleep(10 * WEFT_MS), 0);
    send_now(ch, 1);
    cr_assert_eq(weft_select_biased(cases, 2), 0);
    cr_assert_eq(iv.missed, 0, "the tick was not taken");
    cr_assert_eq(weft_select_biased(cases, 2), 1);
    cr_assert_eq(weft_now(), start + 40 * WEFT_MS);
    cr_assert_eq(weft_select_biased(cases, 2), 1);
    cr_assert_eq(weft_now(), start + 50 * WEFT_MS);
    free_chan(ch);
    return NULL;
}

WF_TEST_WORKERS(select, ticks) { run_paused(workers, ticks_root, NULL); }

static void *tokens_root(void *arg)
{
    weft_token *parent = new_token(NULL), *child = new_token(parent), *other = new_token(NULL);
    (void)arg;
    weft_case cases[] = {WEFT_TOKEN(other), WEFT_TOKEN(child)};
    choice c = {.cases = cases, .n = 2};
    weft_task *task = spawn_settled(choose, &c);
    cr_assert_eq(weft_token_free(other), WEFT_EBUSY);
    cr_assert_eq(weft_token_free(child), WEFT_EBUSY);
    weft_token_cancel(parent);
    join(task);
    cr_assert_eq(c.chosen, 1);
    cr_assert_eq(c.status, 0);
    cr_assert_eq(weft_token_free(other), 0);
    cr_assert_eq(weft_select(cases + 1, 1), 0, "it stays cancelled");
    cr_assert_eq(weft_token_free(child), 0);
    cr_assert_eq(weft_token_free(parent), 0);
    return NULL;
}

WF_TEST_WORKERS(select, tokens) { run_paused(workers, tokens_root, NULL); }

static void *notified_root(void *arg)
{
    weft_notify a = WEFT_NOTIFY_INIT, b = WEFT_NOTIFY_INIT;
    (void)arg;
    weft_case cases[] = {WEFT_NOTIFIED(&a), WEFT_NOTIFIED(&b)}, either[] = {WEFT_NOTIFIED(&a), WEFT_DEFAULT};
    weft_notify_one(&b);
    cr_assert_eq(weft_select(cases, 2), 1, "one was kept");
    choice c = {.cases = cases, .n = 2};
    weft_task *task = spawn_settled(choose, &c);
    weft_notify_all(&a);
    join(task);
    cr_assert_eq(c.chosen, 0);
    cr_assert_eq(weft_select(either, 2), 1, "nothing is kept");
    weft_notify_one(&a);
    weft_notify_one(&a);
    cr_assert_eq(weft_select(either, 2), 0);
    cr_assert_eq(weft_select(either, 2), 1);
    return NULL;
}

WF_TEST_WORKERS(select, notifications) { run_paused(workers, notified_root, NULL); }

static void *futures_root(void *arg)
{
    meddler never = new_meddler(NULL, NULL), ready = new_meddler(NULL, NULL), fails = ready;
    void *result = NULL;
    (void)arg;
    ready.verdict = WEFT_READY;
    ready.value = &ready;
    fails.verdict = -EIO;
    weft_case cases[] = {WEFT_FUTURE(&never.future, &result), WEFT_FUTURE(&ready.future, &result)};
    cr_assert_eq(weft_select(cases, 2), 1);
    cr_assert_eq(cases[1].status, 0);
    cr_assert_eq(result, &ready);
    cr_assert_eq(ready.polls, 1);
    weft_case failing[] = {WEFT_FUTURE(&never.future, NULL), WEFT_FUTURE(&fails.future, NULL)};
    cr_assert_eq(weft_select(failing, 2), 1);
    cr_assert_eq(failing[1].status, -EIO);
    return NULL;
}

Test(select, futures) { run(1, futures_root, NULL); }

/* A select that only tries lets others run when it has done so often enough. */
static void *set_flag(void *arg)
{
    *(atomic_int *)arg = 1;
    return NULL;
}

static void *default_root(void *arg)
{
    static atomic_int flag;
    (void)arg;
    weft_task *task = spawn(set_flag, &flag);
    weft_case cases[] = {WEFT_TOKEN(NULL), WEFT_DEFAULT};
    for (int64_t until = weft_now() + PATIENCE; !flag;) {
        cr_assert_eq(weft_select(cases, 2), 1);
        cr_assert_lt(weft_now(), until, "nobody else gets the worker");
    }
    join(task);
    return NULL;
}

Test(select, a_default_that_is_taken_for_ever_lets_others_run) { run(1, default_root, NULL); }

/* ---- which one ----------------------------------------------------------------------------------------------------- */

static void *biased_root(void *arg)
{
    enum { N = 5 };
    weft_chan *chans[N];
    uint64_t item;
    (void)arg;
    for (int i = 0; i < N; i++)
        chans[i] = new_chan(WEFT_UNBOUNDED);
    weft_case cases[] = {WEFT_RECV(chans[0], &item), WEFT_RECV(chans[1], &item), WEFT_RECV(chans[2], &item),
                         WEFT_RECV(chans[3], &item), WEFT_RECV(chans[4], &item), WEFT_DEFAULT};
    for (int turn = 0; turn < 100; turn++) {
        unsigned ready = (unsigned)turn % 31 + 1;
        for (int i = 0; i < N; i++)
            if (ready & 1u << i)
                send_now(chans[i], (uint64_t)i);
        for (int i = 0; i < N; i++) {
            if (!(ready & 1u << i))
                continue;
            cr_assert_eq(weft_select_biased(cases, 6), i);
            cr_assert_eq(item, i);
        }
        cr_assert_eq(weft_select_biased(cases, 6), 5);
    }
    for (int i = 0; i < N; i++)
        free_chan(chans[i]);
    return NULL;
}

Test(select, the_biased_one_takes_the_first_in_order) { run(1, biased_root, NULL); }

/* Each at least half of its share; by chance it would be less once in far more than a million runs. */
static void expect_fair(int n)
{
    enum { MOST = 10, TURNS = 500 };
    weft_case cases[MOST];
    weft_chan *chans[MOST];
    int taken[MOST] = {0};
    uint64_t item;
    for (int i = 0; i < n; i++) {
        chans[i] = new_chan(1);
        cases[i] = (weft_case)WEFT_RECV(chans[i], &item);
        send_now(chans[i], (uint64_t)i);
    }
    for (int turn = 0; turn < TURNS * n; turn++) {
        int i = weft_select(cases, n);
        cr_assert_eq(item, i);
        taken[i]++;
        send_now(chans[i], (uint64_t)i);
    }
    for (int i = 0; i < n; i++) {
        cr_assert_geq(taken[i], TURNS / 2, "case %d of %d", i, n);
        expect_now(chans[i], (uint64_t)i);
        free_chan(chans[i]);
    }
}

static void *fair_root(void *arg)
{
    (void)arg;
    for (int n = 2; n <= 10; n++)
        expect_fair(n);
    return NULL;
}

Test(select, chance_is_fair_to_those_that_are_ready) { run(1, fair_root, NULL); }

/* Some that are not ready in between must not make their right neighbours more likely than a few times. */
static void *sparse_root(void *arg)
{
    enum { N = 8, TURNS = 4000 };
    weft_chan *empty = new_chan(1), *ready = new_chan(1);
    uint64_t item;
    int taken[N] = {0};
    (void)arg;
    weft_case cases[N];
    for (int i = 0; i < N; i++)
        cases[i] = (weft_case)WEFT_RECV(i % 4 == 1 ? ready : empty, &item);
    for (int turn = 0; turn < TURNS; turn++) {
        send_now(ready, 1);
        taken[weft_select(cases, N)]++;
    }
    cr_assert_eq(taken[1] + taken[5], TURNS);
    cr_assert_geq(taken[1], TURNS / 4);
    cr_assert_geq(taken[5], TURNS / 4);
    free_chan(empty);
    free_chan(ready);
    return NULL;
}

/* Which of two that are ready were chosen, a bit each; and when three waits with chance in them had ended. */
typedef struct choices {
    uint64_t bits;
    int64_t waited;
} choices;

static void *choices_root(void *arg)
{
    choices *made = arg;
    weft_backoff backoff = {.initial = 40 * WEFT_MS, .jitter = 1};
    int64_t from = weft_now();
    for (int i = 0; i < 64; i++) {
        weft_case cases[] = {WEFT_AFTER(0), WEFT_AFTER(0)};
        made->bits = made->bits << 1 | (uint64_t)weft_select(cases, 2);
    }
    for (int i = 0; i < 3; i++)
        cr_assert_eq(weft_backoff_wait(&backoff), 0);
    made->waited = weft_now() - from;
    return NULL;
}

static choices choices_of(uint64_t seed)
{
    choices made = {0};
    weft_options o = {.workers = 1, .seed = seed, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&o, choices_root, &made, NULL), 0);
    return made;
}

/* What broke: a seed made the order of tasks repeat, and not the choices. */
Test(select, with_a_seed_and_one_worker_choices_repeat)
{
    choices first = choices_of(7), second = choices_of(7), other = choices_of(8);
    cr_assert_eq(first.bits, second.bits);
    cr_assert_eq(first.waited, second.waited);
    cr_assert_neq(first.bits, other.bits);
}

Test(select, those_that_are_not_ready_do_no_harm_to_fairness) { run(1, sparse_root, NULL); }

static void *many_root(void *arg)
{
    enum { N = 300 };
    static weft_case cases[N];
    static weft_chan *chans[N];
    static uint64_t items[N];
    (void)arg;
    for (int i = 0; i < N; i++) {
        chans[i] = new_chan(i % 3 == 0 ? 0 : 1);
        cases[i] = (weft_case)WEFT_RECV(chans[i], &items[i]);
    }
    choice c = {.cases = cases, .n = N};
    for (int i = 0; i < N; i += 23) {
        weft_task *task = spawn_settled(choose, &c);
        for (int k = 0; k < N; k++)
            cr_assert_eq(weft_chan_free(chans[k]), WEFT_EBUSY);
        send_now(chans[i], (uint64_t)i);
        join(task);
        cr_assert_eq(c.chosen, i);
        cr_assert_eq(items[i], i);
    }
    for (int i = 0; i < N; i++)
        free_chan(chans[i]);
    return NULL;
}

WF_TEST_WORKERS(select, three_hundred_cases) { run_paused(workers, many_root, NULL); }

/* ---- the losers ------------------------------------------------------------------------------------------------------ */

static void *losers_root(void *arg)
{
    uint64_t item = 1, got;
    void *result;
    weft_chan *recv = new_chan(0), *send = new_chan(0), *winner = new_chan(1);
    weft_token *token = new_token(NULL);
    weft_notify notify = WEFT_NOTIFY_INIT;
    weft_group *g;
    weft_interval iv;
    meddler never = new_meddler(NULL, NULL);
    (void)arg;
    cr_assert_eq(weft_group_create(&g), 0);
    cr_assert_eq(weft_group_spawn(g, sleep_for_ever, NULL), 0);
    cr_assert_eq(weft_interval_init(&iv, WEFT_SEC, WEFT_MISSED_BURST), 0);
    cr_assert_eq(weft_interval_tick(&iv, NULL), 0);
    weft_task *slow = spawn(sleep_for_ever, NULL);
    weft_case cases[] = {
        WEFT_RECV(recv, &got),  WEFT_SEND(send, &item),           WEFT_JOIN(slow, &result), WEFT_GROUP_NEXT(g, &result),
        WEFT_AFTER(WEFT_SEC),   WEFT_AT(weft_now() + WEFT_SEC),   WEFT_TICK(&iv),           WEFT_TOKEN(token),
        WEFT_NOTIFIED(&notify), WEFT_FUTURE(&never.future, NULL), WEFT_RECV(winner, &got)};
    enum { N = sizeof cases / sizeof *cases };
    choice c = {.cases = cases, .n = N};
    for (int turn = 0; turn < 3; turn++) {
        weft_task *task = spawn_settled(choose, &c);
        cr_assert_eq(c.chosen, NOT_YET);
        send_now(winner, 5);
        join(task);
        cr_assert_eq(c.chosen, N - 1);
        cr_assert_eq(got, 5);
        cr_assert_eq(weft_chan_try_recv(send, &got), WEFT_EAGAIN);
        cr_assert_eq(weft_chan_try_send(recv, &item), WEFT_EAGAIN);
    }
    memset(cases, 0xee, sizeof cases); /* nobody looks at them any more */
    cr_assert_eq(weft_sleep(2 * WEFT_SEC), 0);
    weft_notify_one(&notify);
    cr_assert_eq(weft_notify_wait(&notify), 0, "the notification was nobody else's");
    free_chan(recv);
    free_chan(send);
    free_chan(winner);
    cr_assert_eq(weft_token_free(token), 0);
    cr_assert_eq(weft_group_close(g), 0);
    cr_assert_eq(weft_task_close(slow), 0);
    return NULL;
}

WF_TEST_WORKERS(select, losers_are_left_completely) { run_paused(workers, losers_root, NULL); }

/* A timer that lost does not wake the task later. */
static void *no_late_wake_root(void *arg)
{
    weft_chan *ch = new_chan(1);
    uint64_t item;
    meddler counted = new_meddler(NULL, NULL);
    (void)arg;
    weft_case cases[] = {WEFT_AFTER(5 * WEFT_MS), WEFT_AFTER(7 * WEFT_MS), WEFT_RECV(ch, &item)};
    send_now(ch, 1);
    cr_assert_eq(weft_select_biased(cases, 3), 2);
    weft_case wait[] = {WEFT_FUTURE(&counted.future, NULL), WEFT_AFTER(20 * WEFT_MS)};
    cr_assert_eq(weft_select_biased(wait, 2), 1);
    cr_assert_eq(counted.polls, 2, "before the wait, and after it");
    free_chan(ch);
    return NULL;
}

Test(select, a_timer_that_lost_wakes_nobody) { run_paused(1, no_late_wake_root, NULL); }

/* Two channels get an item at the same moment: one worker, the select sees both. */
static void *one_of_two_root(void *arg)
{
    weft_chan *a = new_chan(1), *b = new_chan(1);
    uint64_t got = 0;
    (void)arg;
    weft_case cases[] = {WEFT_RECV(a, &got), WEFT_RECV(b, &got)};
    choice c = {.cases = cases, .n = 2};
    for (int turn = 0; turn < 50; turn++) {
        weft_task *task = spawn_settled(choose, &c);
        send_now(a, 1);
        send_now(b, 2);
        cr_assert_eq(weft_chan_len(a), 0);
        cr_assert_eq(weft_chan_len(b), 1, "it was decided before");
        join(task);
        cr_assert_eq(c.chosen, 0);
        cr_assert_eq(got, 1);
        expect_now(b, 2);
    }
    free_chan(a);
    free_chan(b);
    return NULL;
}

WF_TEST_WORKERS(select, a_channel_that_lost_keeps_its_item) { run_paused(workers, one_of_two_root, NULL); }

/* The notification arrives together with what is chosen: it is the next one's. */
static void *passed_on_root(void *arg)
{
    weft_chan *ch = new_chan(1);
    weft_notify n = WEFT_NOTIFY_INIT;
    uint64_t got;
    (void)arg;
    weft_case cases[] = {WEFT_NOTIFIED(&n), WEFT_RECV(ch, &got)}, next[] = {WEFT_NOTIFIED(&n)};
    choice c = {.cases = cases, .n = 2}, second = {.cases = next, .n = 1};
    weft_task *task = spawn_settled(choose, &c), *other = spawn_settled(choose, &second);
    send_now(ch, 1); /* decides it */
    weft_notify_one(&n);
    join(task);
    cr_assert_eq(c.chosen, 1);
    join(other);
    cr_assert_eq(second.chosen, 0);
    weft_case rest[] = {WEFT_NOTIFIED(&n), WEFT_DEFAULT};
    cr_assert_eq(weft_select(rest, 2), 1, "there was one");
    free_chan(ch);
    return NULL;
}

Test(select, a_notification_that_lost_is_passed_on) { run_paused(1, passed_on_root, NULL); }

/* ---- the same channel more than once --------------------------------------------------------------------------------- */

static void *itself_root(void *arg)
{
    uint64_t item = 1, got = 0;
    weft_chan *ch = new_chan(0);
    (void)arg;
    weft_case both[] = {WEFT_SEND(ch, &item), WEFT_RECV(ch, &got), WEFT_AFTER(5 * WEFT_MS)};
    for (int turn = 0; turn < 20; turn++)
        cr_assert_eq(weft_select(both, 3), 2, "it does not pair with itself");
    choice c = {.cases = both, .n = 2};
    weft_task *task = spawn_settled(choose, &c);
    cr_assert_eq(c.chosen, NOT_YET);
    send_now(ch, 5);
    join(task);
    cr_assert_eq(c.chosen, 1);
    cr_assert_eq(got, 5);
    task = spawn_settled(choose, &c);
    expect_now(ch, 1);
    join(task);
    cr_assert_eq(c.chosen, 0);
    uint64_t item2 = 2, got2 = 0;
    weft_case others[] = {WEFT_RECV(ch, &got2), WEFT_SEND(ch, &item2)};
    choice d = {.cases = others, .n = 2};
    got = 0;
    task = spawn_settled(choose, &c);
    weft_task *other = spawn(choose, &d);
    join(task);
    join(other);
    cr_assert_eq(c.chosen == 0, d.chosen == 0, "one sends, the other receives");
    cr_assert_eq(c.chosen == 0 ? got2 : got, c.chosen == 0 ? 1 : 2);
    free_chan(ch);
    return NULL;
}

WF_TEST_WORKERS(select, a_select_does_not_pair_with_itself) { run_paused(workers, itself_root, NULL); }

static void *through_a_place_root(void *arg)
{
    uint64_t item = 1, got = 0;
    weft_chan *ch = new_chan(1);
    (void)arg;
    weft_case both[] = {WEFT_RECV(ch, &got), WEFT_SEND(ch, &item)};
    for (int turn = 0; turn < 20; turn++) {
        cr_assert_eq(weft_select(both, 2), 1);
        cr_assert_eq(weft_select(both, 2), 0);
        cr_assert_eq(got, 1);
    }
    cr_assert_eq(weft_chan_len(ch), 0);
    free_chan(ch);
    return NULL;
}

Test(select, one_task_sends_and_receives_in_turn) { run(1, through_a_place_root, NULL); }

static void *several_root(void *arg)
{
    enum { N = 6 };
    uint64_t items[N], got[N] = {0};
    weft_case sends[N], recvs[N];
    weft_chan *ch = new_chan(0);
    (void)arg;
    for (int i = 0; i < N; i++) {
        items[i] = (uint64_t)i + 1;
        sends[i] = (weft_case)WEFT_SEND(ch, &items[i]);
        recvs[i] = (weft_case)WEFT_RECV(ch, &got[i]);
    }
    choice s = {.cases = sends, .n = N}, r = {.cases = recvs, .n = N};
    weft_task *sender = spawn_settled(choose, &s), *receiver = spawn_settled(choose, &r);
    join(sender);
    join(receiver);
    for (int i = 0; i < N; i++)
        cr_assert_eq(got[i], i == r.chosen ? items[s.chosen] : 0, "one item was passed, once");
    free_chan(ch);
    return NULL;
}

WF_TEST_WORKERS(select, several_cases_on_one_channel) { run_paused(workers, several_root, NULL); }

/* ---- what happens while it looks --------------------------------------------------------------------------------------- */

static void take_one(void *ch) { cr_assert_eq(weft_chan_try_recv(ch, &(uint64_t){0}), 0); }
static void put_one(void *ch) { cr_assert_eq(weft_chan_try_send(ch, &(uint64_t){77}), 0); }
static void close_it(void *ch) { weft_chan_close(ch); }

/* The channel's case is first, and then the meddler; @fn happens between that look and the wait. */
static int select_while(weft_case first, void (*fn)(void *), void *arg)
{
    meddler m = new_meddler(fn, arg);
    weft_case cases[] = {first, WEFT_FUTURE(&m.future, NULL), WEFT_AFTER(WEFT_SEC)};
    int chosen = weft_select_biased(cases, 3);
    return chosen == 0 ? cases[0].status : 1000 + chosen;
}

static void *meanwhile_root(void *arg)
{
    uint64_t item = 5, got = 0;
    (void)arg;
    for (size_t capacity = 1; capacity < 4; capacity++) {
        weft_chan *ch = new_chan(capacity);
        cr_assert_eq(select_while((weft_case)WEFT_RECV(ch, &got), put_one, ch), 0, "an item came");
        cr_assert_eq(got, 77);
        for (size_t i = 0; i < capacity; i++)
            put_one(ch);
        cr_assert_eq(select_while((weft_case)WEFT_SEND(ch, &item), take_one, ch), 0, "a place came");
        for (size_t i = 1; i < capacity; i++)
            expect_now(ch, 77);
        expect_now(ch, 5);
        cr_assert_eq(select_while((weft_case)WEFT_RECV(ch, &got), close_it, ch), WEFT_ECLOSED);
        free_chan(ch);
        ch = new_chan(0);
        cr_assert_eq(select_while((weft_case)WEFT_SEND(ch, &item), close_it, ch), WEFT_ECLOSED);
        free_chan(ch);
    }
    return NULL;
}

WF_TEST_WORKERS(select, what_comes_while_it_looks_is_not_lost) { run_paused(workers, meanwhile_root, NULL); }

/* Behind the select that looks, others wait: who of them comes first does not matter, but the place must not stay free. */

static void *places_for_all_root(void *arg)
{
    weft_chan *ch = new_chan(1);
    uint64_t items[3] = {1, 2, 3};
    chan_call plain = {.ch = ch, .item = 2};
    (void)arg;
    for (int order = 0; order < 2; order++) {
        put_one(ch);
        weft_task *task = order == 0 ? NULL : spawn_settled(call_send, &plain);
        meddler m = new_meddler(take_one, ch);
        m.verdict = order == 0 ? WEFT_READY : WEFT_PENDING;
        weft_case cases[] = {WEFT_SEND(ch, &items[0]), WEFT_FUTURE(&m.future, NULL), WEFT_AFTER(WEFT_MS)};
        int chosen = weft_select_biased(cases, 3);
        cr_assert_eq(chosen, order == 0 ? 1 : 2, "the other was first in the queue");
        if (task)
            join(task);
        cr_assert_eq(weft_chan_len(ch), (size_t)order);
        if (order == 1)
            expect_now(ch, 2);
    }
    free_chan(ch);
    return NULL;
}

Test(select, a_place_is_not_lost_with_the_one_who_left) { run_paused(1, places_for_all_root, NULL); }

/* ---- interrupted ------------------------------------------------------------------------------------------------------- */

static void *completion_wins(void *arg)
{
    choose(arg);
    weft_shield_enter();
    return arg;
}

static void *interrupted_root(void *arg)
{
    weft_chan *ch = new_chan(1), *full = new_chan(0);
    uint64_t item = 1, got = 0;
    (void)arg;
    weft_case cases[] = {WEFT_RECV(ch, &got), WEFT_SEND(full, &item)};
    choice c = {.cases = cases, .n = 2};
    weft_task *task = spawn_settled(choose, &c);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(c.chosen, WEFT_ECANCELED);
    send_now(ch, 4);
    weft_scope over;
    cr_assert_eq(weft_scope_enter(&over, 0), 0);
    cr_assert_eq(weft_select(cases, 2), WEFT_ETIMEDOUT, "an interruption that is there comes first");
    weft_scope_leave(&over);
    expect_now(ch, 4);
    free_chan(ch);
    free_chan(full);
    return NULL;
}

WF_TEST_WORKERS(select, who_is_interrupted_takes_nothing) { run_paused(workers, interrupted_root, NULL); }

static void *completion_root(void *arg)
{
    weft_chan *ch = new_chan(1);
    uint64_t got = 0;
    (void)arg;
    weft_case cases[] = {WEFT_TOKEN(NULL), WEFT_RECV(ch, &got)};
    choice c = {.cases = cases, .n = 2};
    weft_task *task = spawn_settled(completion_wins, &c);
    send_now(ch, 3);
    weft_abort(task);
    join(task);
    cr_assert_eq(c.chosen, 1);
    cr_assert_eq(c.status, 0);
    cr_assert_eq(got, 3);
    free_chan(ch);
    return NULL;
}

Test(select, completion_wins_over_an_abort) { run_paused(1, completion_root, NULL); }

typedef struct refused_future {
    weft_future future;
} refused_future;

static weft_poll refused_poll(weft_future *self, weft_context *cx, void **result)
{
    weft_case cases[] = {WEFT_DEFAULT};
    (void)self;
    (void)cx;
    (void)result;
    cr_assert_eq(weft_select(cases, 1), WEFT_EDEADLK);
    return WEFT_READY;
}

static void *refused_root(void *arg)
{
    static const weft_future_ops ops = {.poll = refused_poll};
    refused_future f = {{&ops}};
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    join(task);
    return NULL;
}

Test(select, nothing_selects_in_a_stackless_poll) { run(1, refused_root, NULL); }

/* ---- again and again ----------------------------------------------------------------------------------------------------- */

typedef struct loop {
    weft_chan *in[4], *done;
    uint64_t sum;
} loop;

static void *loop_sender(void *arg)
{
    weft_chan *ch = arg;
    for (uint64_t i = 1; i <= 500; i++)
        cr_assert_eq(weft_chan_send(ch, &i), 0);
    weft_chan_close(ch);
    return NULL;
}

/* The idiom: a closed channel's case becomes one that never fires. */
static void *loop_receiver(void *arg)
{
    loop *l = arg;
    uint64_t items[4], last[4] = {0};
    weft_case cases[] = {WEFT_RECV(l->in[0], &items[0]), WEFT_RECV(l->in[1], &items[1]), WEFT_RECV(l->in[2], &items[2]),
                         WEFT_RECV(l->in[3], &items[3])};
    for (int open = 4; open > 0;) {
        int i = weft_select(cases, 4);
        cr_assert_geq(i, 0);
        if (cases[i].status == WEFT_ECLOSED) {
            cases[i].object_ = NULL;
            open--;
            continue;
        }
        cr_assert_eq(cases[i].status, 0);
        cr_assert_eq(items[i], last[i] + 1, "in order, without a gap");
        last[i] = items[i];
    }
    for (int i = 0; i < 4; i++)
        cr_assert_eq(last[i], 500);
    return NULL;
}

static void *loop_root(void *arg)
{
    static const size_t capacities[4] = {0, 1, 16, WEFT_UNBOUNDED};
    loop l;
    weft_task *senders[4];
    (void)arg;
    for (int i = 0; i < 4; i++) {
        l.in[i] = new_chan(capacities[i]);
        senders[i] = spawn(loop_sender, l.in[i]);
    }
    weft_task *receiver = spawn(loop_receiver, &l);
    join(receiver);
    for (int i = 0; i < 4; i++) {
        join(senders[i]);
        free_chan(l.in[i]);
    }
    return NULL;
}

WF_TEST_WORKERS(select, the_cases_are_used_again_in_a_loop) { run(workers, loop_root, NULL); }

/* ---- ordinary threads ------------------------------------------------------------------------------------------------------ */

static void *thread_selects(void *arg)
{
    weft_chan **chans = arg;
    uint64_t got = 0, item = 1;
    weft_case cases[] = {WEFT_RECV(chans[0], &got), WEFT_SEND(chans[1], &item)};
    for (int recvs = 0, sends = 0; recvs < 100 || sends < 100;) {
        int i = weft_select(cases, 2);
        cr_assert_eq(cases[i].status, 0);
        if (i == 0 && ++recvs == 100)
            cases[0].object_ = NULL;
        if (i == 1 && ++sends == 100)
            cases[1].object_ = NULL;
    }
    return NULL;
}

/* Two threads, and no runtime: each sends to the other while it receives from it. */
Test(select, ordinary_threads_pair_without_a_runtime)
{
    weft_chan *there[2] = {new_chan(0), new_chan(0)}, *back[2] = {there[1], there[0]};
    pthread_t threads[2];
    cr_assert_eq(pthread_create(&threads[0], NULL, thread_selects, there), 0);
    cr_assert_eq(pthread_create(&threads[1], NULL, thread_selects, back), 0);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    free_chan(there[0]);
    free_chan(there[1]);
}

Test(select, a_threads_select_knows_the_time)
{
    uint64_t got;
    weft_interval iv;
    weft_chan *ch = new_chan(0);
    cr_assert_eq(weft_interval_init(&iv, 3 * WEFT_MS, WEFT_MISSED_DELAY), 0);
    int64_t start = weft_now();
    weft_case cases[] = {WEFT_RECV(ch, &got), WEFT_AFTER(WEFT_SEC * 100), WEFT_AFTER(5 * WEFT_MS)};
    cr_assert_eq(weft_select(cases, 3), 2);
    cr_assert_geq(weft_now(), start + 5 * WEFT_MS);
    weft_case at[] = {WEFT_RECV(ch, &got), WEFT_AT(start + 10 * WEFT_MS)}, tick[] = {WEFT_RECV(ch, &got), WEFT_TICK(&iv)};
    cr_assert_eq(weft_select(at, 2), 1);
    cr_assert_geq(weft_now(), start + 10 * WEFT_MS);
    for (int turn = 0; turn < 3; turn++)
        cr_assert_eq(weft_select(tick, 2), 1);
    cr_assert_geq(weft_now(), start + 16 * WEFT_MS);
    free_chan(ch);
}

static void *thread_waits_for_everything(void *arg)
{
    choice *c = arg;
    return choose(c);
}

typedef struct outside {
    weft_runtime *rt;
    choice c;
    weft_notify notify;
    weft_token *token;
    weft_chan *ch;
} outside;

/* What a task does, a thread's select sees. */
static void *do_something(void *arg)
{
    outside *o = arg;
    static atomic_int turn;
    switch (atomic_fetch_add(&turn, 1) % 3) {
    case 0:
        send_now(o->ch, 9);
        break;
    case 1:
        weft_notify_one(&o->notify);
        break;
    default:
        weft_token_cancel(o->token);
    }
    return NULL;
}

WF_TEST_WORKERS(select, a_thread_selects_what_tasks_do)
{
    weft_options options = {.workers = workers};
    outside o = {.notify = WEFT_NOTIFY_INIT, .token = new_token(NULL), .ch = new_chan(1)};
    uint64_t got = 0;
    weft_task *task;
    cr_assert_eq(weft_runtime_create(&o.rt, &options), 0);
    weft_case cases[] = {WEFT_RECV(o.ch, &got), WEFT_NOTIFIED(&o.notify), WEFT_TOKEN(o.token)};
    o.c = (choice){.cases = cases, .n = 3};
    for (int turn = 0; turn < 3; turn++) {
        cr_assert_eq(weft_spawn_on(o.rt, &task, do_something, &o), 0);
        thread_waits_for_everything(&o.c);
        cr_assert_eq(o.c.chosen, turn);
        join(task);
    }
    cr_assert_eq(got, 9);
    cr_assert_eq(weft_runtime_destroy(o.rt), 0);
    cr_assert_eq(weft_token_free(o.token), 0);
    free_chan(o.ch);
}

/* ---- selects that meet selects --------------------------------------------------------------------------------------------- */

enum { MEETINGS = 3000, COUPLES = 4 };

typedef struct couple {
    weft_chan *a, *b;
    uint64_t sent[2], received[2];
    int rounds;
} couple;

typedef struct partner {
    couple *c;
    int side;
} partner;

/* Each round one side sends on one of the channels, and the other receives there. */
static void *meet(void *arg)
{
    partner *p = arg;
    couple *c = p->c;
    for (int i = 0; i < c->rounds; i++) {
        uint64_t item = (uint64_t)i * 2 + (uint64_t)p->side, got = 0;
        weft_case cases[] = {WEFT_SEND(p->side ? c->b : c->a, &item), WEFT_RECV(p->side ? c->a : c->b, &got)};
        int chosen = weft_select(cases, 2);
        cr_assert_geq(chosen, 0);
        cr_assert_eq(cases[chosen].status, 0);
        if (chosen == 0)
            c->sent[p->side] += item;
        else
            c->received[p->side] += got;
    }
    return NULL;
}

static void *couples_root(void *arg)
{
    couple couples[COUPLES];
    partner partners[2 * COUPLES];
    weft_task *tasks[2 * COUPLES];
    (void)arg;
    for (int i = 0; i < COUPLES; i++) {
        couples[i] = (couple){.a = new_chan(0), .b = new_chan(0), .rounds = (int)wf_test_scale(MEETINGS)};
        for (int side = 0; side < 2; side++) {
            partners[2 * i + side] = (partner){&couples[i], side};
            tasks[2 * i + side] = spawn(meet, &partners[2 * i + side]);
        }
    }
    for (int i = 0; i < 2 * COUPLES; i++)
        join(tasks[i]);
    for (int i = 0; i < COUPLES; i++) {
        cr_assert_eq(couples[i].sent[0], couples[i].received[1]);
        cr_assert_eq(couples[i].sent[1], couples[i].received[0]);
        free_chan(couples[i].a);
        free_chan(couples[i].b);
    }
    return NULL;
}

WF_TEST_WORKERS(select, two_selects_find_each_other) { run(workers, couples_root, NULL); }

/* Everybody offers both on one channel; an even number of meetings, so all of them end. */
typedef struct party {
    weft_chan *ch;
    atomic_uint_fast64_t sent, received, sends, recvs;
    atomic_int left; /* meetings that have not begun: each takes two */
} party;

static void *mingle(void *arg)
{
    party *p = arg;
    uint64_t item = weft_self_id(), got = 0;
    weft_case cases[] = {WEFT_SEND(p->ch, &item), WEFT_RECV(p->ch, &got)};
    for (int i = 0;; i++) {
        int chosen = weft_select(cases, 2);
        cr_assert_geq(chosen, 0);
        if (cases[chosen].status == WEFT_ECLOSED)
            return NULL;
        cr_assert_eq(cases[chosen].status, 0);
        if (chosen == 0) {
            atomic_fetch_add(&p->sent, item);
            atomic_fetch_add(&p->sends, 1);
        } else {
            cr_assert_neq(got, item, "nobody meets himself");
            atomic_fetch_add(&p->received, got);
            atomic_fetch_add(&p->recvs, 1);
        }
        if (atomic_fetch_sub(&p->left, 1) == 1)
            weft_chan_close(p->ch);
        item += 1000000;
    }
}

static void *party_root(void *arg)
{
    party p = {.ch = new_chan(0), .left = (int)wf_test_scale(10000)};
    weft_task *tasks[9];
    (void)arg;
    for (int i = 0; i < 9; i++)
        tasks[i] = spawn(mingle, &p);
    for (int i = 0; i < 9; i++)
        join(tasks[i]);
    cr_assert_eq(p.sends, p.recvs);
    cr_assert_eq(p.sent, p.received);
    free_chan(p.ch);
    return NULL;
}

WF_TEST_WORKERS(select, many_selects_on_one_channel_find_each_other) { run(workers, party_root, NULL); }
