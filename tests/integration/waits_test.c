/* waits_test.c - what is said of a task that waits: for other tasks, in channels, at locks, for the clock. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/latch.h>
#include <support/task_support.h>
#include <support/waits.h>
#include <weft/uv.h>

typedef struct things {
    THINGS_COMMON;
    weft_task *task;
    weft_group *group;
    weft_chan *ch, *other;
    weft_oneshot *oneshot;
    weft_watch *watch;
    weft_broadcast *broadcast;
    weft_subscription *sub;
    weft_token *token;
    weft_mutex mutex;
    weft_rwlock rwlock;
    weft_semaphore semaphore;
    weft_notify notify;
    weft_cond cond;
    weft_barrier barrier;
    weft_once once;
    weft_completion completion;
    weft_case cases[2];
    weft_interval interval;
    weft_backoff backoff;
    latch latch;
    weft_waker waker;
    atomic_bool ready;
    bool received;
    uint64_t item, version;
} things;

static void *pass(void *item) { return item; }

/* ---- tasks ----------------------------------------------------------------------------------------------------- */

static void *receive_it(void *arg)
{
    things *s = arg;
    weft_chan_recv(s->ch, &s->item);
    return NULL;
}

/* It is not told of an abort before it has received. */
static void *receive_shielded(void *arg)
{
    weft_shield_enter();
    atomic_store(&((things *)arg)->ready, true);
    receive_it(arg);
    weft_shield_leave();
    return NULL;
}

CALL(weft_join, weft_join(s->task, NULL))
CALL(weft_wait, weft_wait(s->task))
CALL(weft_task_close, weft_task_close(s->task))
CALL(weft_blocking, weft_blocking(latch_pass, &s->latch, NULL))

static const char *number_of(const weft_task *task) { return text("#%llu", (unsigned long long)weft_task_id(task)); }

static void send_one(things *s)
{
    uint64_t item = 1;
    cr_assert_eq(weft_chan_send(s->ch, &item), 0);
}

static void *other_tasks(void *arg)
{
    things s = {.latch = LATCH_INIT};
    cr_assert_eq(weft_chan_create(&s.ch, sizeof s.item, 0), 0);
    cr_assert_eq(weft_spawn(&s.task, receive_it, &s), 0);
    WAITS(&s, weft_join, "join", number_of(s.task), send_one(&s));
    cr_assert_eq(weft_spawn(&s.task, receive_it, &s), 0);
    WAITS(&s, weft_wait, "join", number_of(s.task), send_one(&s));
    cr_assert_eq(weft_join(s.task, NULL), 0);
    cr_assert_eq(weft_spawn(&s.task, receive_shielded, &s), 0);
    expect(s.task, "a child", "chan recv", at(s.ch));
    WAITS(&s, weft_task_close, "join", number_of(s.task), send_one(&s));
    WAITS(&s, weft_blocking, "blocking", "", latch_open(&s.latch));
    cr_assert_eq(weft_chan_free(s.ch), 0);
    return arg;
}

Test(waits, for_other_tasks) { run(2, other_tasks, NULL); }

/* ---- groups ---------------------------------------------------------------------------------------------------- */

CALL(weft_group_next, weft_group_next(s->group, NULL))
CALL(weft_group_wait, weft_group_wait(s->group))
CALL(weft_group_close, weft_group_close(s->group))
CALL(weft_group_spawn, weft_group_spawn(s->group, pass, NULL))

static void new_group(things *s)
{
    weft_group_options options = {.limit = 1};
    cr_assert_eq(weft_group_create_with(&s->group, &options), 0);
    cr_assert_eq(weft_group_spawn(s->group, receive_shielded, s), 0);
}

static void *groups(void *arg)
{
    things s = {.result = 0};
    cr_assert_eq(weft_chan_create(&s.ch, sizeof s.item, 0), 0);
    new_group(&s);
    WAITS(&s, weft_group_next, "group", at(s.group), send_one(&s));
    cr_assert_eq(weft_group_close(s.group), 0);
    new_group(&s);
    WAITS(&s, weft_group_wait, "group", at(s.group), send_one(&s));
    cr_assert_eq(weft_group_close(s.group), 0);
    new_group(&s);
    WAITS(&s, weft_group_spawn, "group", at(s.group), send_one(&s));
    cr_assert_eq(weft_group_close(s.group), 0);
    s.ready = false;
    new_group(&s);
    EVENTUALLY(atomic_load(&s.ready)); /* else it would be aborted before it began */
    WAITS(&s, weft_group_close, "group", at(s.group), send_one(&s));
    cr_assert_eq(weft_chan_free(s.ch), 0);
    return arg;
}

Test(waits, for_groups) { run(2, groups, NULL); }

/* ---- channels -------------------------------------------------------------------------------------------------- */

CALL(weft_chan_send, weft_chan_send(s->ch, &s->item))
CALL(weft_chan_recv, weft_chan_recv(s->ch, &s->item))
POLLED_CALL(weft_poll_chan_send, weft_poll_chan_send(cx, &s->op, s->ch, &s->item))
POLLED_CALL(weft_poll_chan_recv, weft_poll_chan_recv(cx, &s->op, s->ch, &s->item))
CALL(weft_oneshot_recv, weft_oneshot_recv(s->oneshot, &s->item))
CALL(weft_subscription_recv, weft_subscription_recv(s->sub, &s->item, NULL))
CALL(weft_watch_next, weft_watch_next(s->watch, &s->item, &s->version))

static void receive_one(things *s)
{
    uint64_t item;
    cr_assert_eq(weft_chan_recv(s->ch, &item), 0);
}

static void *channels(void *arg)
{
    things s = {.item = 1};
    uint64_t one = 1;
    cr_assert_eq(weft_chan_create(&s.ch, sizeof s.item, 0), 0);
    WAITS(&s, weft_chan_send, "chan send", at(s.ch), receive_one(&s));
    WAITS(&s, weft_chan_recv, "chan recv", at(s.ch), send_one(&s));
    POLLS(&s, weft_poll_chan_send, "chan send", at(s.ch), receive_one(&s));
    POLLS(&s, weft_poll_chan_recv, "chan recv", at(s.ch), send_one(&s));
    cr_assert_eq(weft_chan_free(s.ch), 0);
    cr_assert_eq(weft_oneshot_create(&s.oneshot, sizeof s.item, NULL), 0);
    WAITS(&s, weft_oneshot_recv, "oneshot", at(s.oneshot), weft_oneshot_send(s.oneshot, &one));
    cr_assert_eq(weft_oneshot_free(s.oneshot), 0);
    cr_assert_eq(weft_broadcast_create(&s.broadcast, sizeof s.item, 1), 0);
    cr_assert_eq(weft_subscribe(&s.sub, s.broadcast), 0);
    WAITS(&s, weft_subscription_recv, "broadcast", at(s.sub), weft_broadcast_send(s.broadcast, &one));
    weft_unsubscribe(s.sub);
    cr_assert_eq(weft_broadcast_free(s.broadcast), 0);
    cr_assert_eq(weft_watch_create(&s.watch, sizeof s.item, &one), 0);
    s.version = 1;
    WAITS(&s, weft_watch_next, "watch", at(s.watch), weft_watch_set(s.watch, &one));
    cr_assert_eq(weft_watch_free(s.watch), 0);
    return arg;
}

Test(waits, in_channels) { run(2, channels, NULL); }

/* ---- several things -------------------------------------------------------------------------------------------- */

CALL(weft_select, weft_select(s->cases, 2))
CALL(weft_select_biased, weft_select_biased(s->cases, 2))
POLLED_CALL(weft_poll_select, weft_poll_select(cx, &s->op, s->cases, 2))

static void *selects(void *arg)
{
    things s = {.item = 1};
    cr_assert_eq(weft_chan_create(&s.ch, sizeof s.item, 0), 0);
    memcpy(s.cases, ((weft_case[]){WEFT_RECV(s.ch, &s.item), WEFT_AFTER(3600 * WEFT_SEC)}), sizeof s.cases);
    WAITS(&s, weft_select, "select", "2", send_one(&s));
    WAITS(&s, weft_select_biased, "select", "2", send_one(&s));
    POLLS(&s, weft_poll_select, "select", "2", send_one(&s));
    cr_assert_eq(weft_chan_free(s.ch), 0);
    return arg;
}

Test(waits, for_the_first_of_several) { run(2, selects, NULL); }

/* ---- locks and meeting points ---------------------------------------------------------------------------------- */

static int lock_and_unlock(weft_mutex *m)
{
    weft_mutex_lock(m);
    weft_mutex_unlock(m);
    return 0;
}

static int read_and_unlock(weft_rwlock *l)
{
    weft_rwlock_read_lock(l);
    weft_rwlock_read_unlock(l);
    return 0;
}

static int write_and_unlock(weft_rwlock *l)
{
    weft_rwlock_write_lock(l);
    weft_rwlock_write_unlock(l);
    return 0;
}

static int await_signal(things *s)
{
    weft_mutex_lock(&s->mutex);
    int err = weft_cond_wait(&s->cond, &s->mutex);
    weft_mutex_unlock(&s->mutex);
    return err;
}

CALL(weft_mutex_lock, lock_and_unlock(&s->mutex))
CALL(weft_rwlock_read_lock, read_and_unlock(&s->rwlock))
CALL(weft_rwlock_write_lock, write_and_unlock(&s->rwlock))
CALL(weft_semaphore_acquire, weft_semaphore_acquire(&s->semaphore, 1))
POLLED_CALL(weft_poll_semaphore_acquire, weft_poll_semaphore_acquire(cx, &s->op, &s->semaphore, 1))
CALL(weft_cond_wait, await_signal(s))

static void *locks(void *arg)
{
    things s = {.mutex = WEFT_MUTEX_INIT, .rwlock = WEFT_RWLOCK_INIT, .semaphore = WEFT_SEMAPHORE_INIT(0), .cond = WEFT_COND_INIT};
    weft_mutex_lock(&s.mutex);
    WAITS(&s, weft_mutex_lock, "mutex", at(&s.mutex), weft_mutex_unlock(&s.mutex));
    weft_rwlock_write_lock(&s.rwlock);
    WAITS(&s, weft_rwlock_read_lock, "rwlock read", at(&s.rwlock), weft_rwlock_write_unlock(&s.rwlock));
    weft_rwlock_read_lock(&s.rwlock);
    WAITS(&s, weft_rwlock_write_lock, "rwlock write", at(&s.rwlock), weft_rwlock_read_unlock(&s.rwlock));
    WAITS(&s, weft_semaphore_acquire, "semaphore", at(&s.semaphore), weft_semaphore_release(&s.semaphore, 1));
    POLLS(&s, weft_poll_semaphore_acquire, "semaphore", at(&s.semaphore), weft_semaphore_release(&s.semaphore, 1));
    WAITS(&s, weft_cond_wait, "cond", at(&s.cond), weft_mutex_lock(&s.mutex), weft_cond_signal(&s.cond),
          expect(who, "after its signal", "mutex", at(&s.mutex)), weft_mutex_unlock(&s.mutex));
    return arg;
}

Test(waits, at_locks) { run(2, locks, NULL); }

static void wait_in_it(void *arg) { receive_it(arg); }

CALL(weft_notify_wait, weft_notify_wait(&s->notify))
CALL(weft_barrier_wait, weft_barrier_wait(&s->barrier))
CALL(weft_once_do, weft_once_do(&s->once, wait_in_it, s))
CALL(weft_token_wait, weft_token_wait(s->token))
CALL(weft_completion_wait, weft_completion_wait(&s->completion))

static void *meetings(void *arg)
{
    things s = {.notify = WEFT_NOTIFY_INIT, .barrier = WEFT_BARRIER_INIT(2), .once = WEFT_ONCE_INIT};
    cr_assert_eq(weft_chan_create(&s.ch, sizeof s.item, 0), 0);
    WAITS(&s, weft_notify_wait, "notify", at(&s.notify), weft_notify_one(&s.notify));
    WAITS(&s, weft_barrier_wait, "barrier", at(&s.barrier), weft_barrier_wait(&s.barrier));
    cr_assert_eq(weft_spawn(&s.task, in_weft_once_do, &s), 0);
    expect(s.task, "the one who does it", "chan recv", at(s.ch));
    WAITS(&s, weft_once_do, "lock", at(&s.once), send_one(&s));
    cr_assert_eq(weft_join(s.task, NULL), 0);
    cr_assert_eq(weft_token_create(&s.token, NULL), 0);
    WAITS(&s, weft_token_wait, "token", at(s.token), weft_token_cancel(s.token));
    cr_assert_eq(weft_token_free(s.token), 0);
    WAITS(&s, weft_completion_wait, "completion", at(&s.completion), weft_completion_set(&s.completion, 0));
    cr_assert_eq(weft_chan_free(s.ch), 0);
    return arg;
}

Test(waits, at_meeting_points) { run(2, meetings, NULL); }

/* ---- the clock -------------------------------------------------------------------------------------------------- */

static void *sleep_long(void *arg)
{
    weft_sleep(3600 * WEFT_SEC);
    return arg;
}

CALL(weft_sleep, weft_sleep(3600 * WEFT_SEC))
CALL(weft_sleep_until, weft_sleep_until(WEFT_FOREVER))
CALL(weft_interval_tick, weft_interval_tick(&s->interval, NULL))
CALL(weft_backoff_wait, weft_backoff_wait(&s->backoff))
CALL(weft_timeout, weft_timeout(7200 * WEFT_SEC, sleep_long, NULL, NULL))
POLLED_CALL(weft_timer_poll, weft_timer_poll(cx, &s->timer))

static void *the_clock(void *arg)
{
    things s = {.backoff = {.initial = 3600 * WEFT_SEC, .max = 3600 * WEFT_SEC, .jitter = -1}};
    WAITS(&s, weft_sleep, "sleep", "in 3.6e+03 s", weft_abort(who));
    WAITS(&s, weft_sleep_until, "sleep", "", weft_abort(who));
    cr_assert_eq(weft_interval_init(&s.interval, 3600 * WEFT_SEC, WEFT_MISSED_DELAY), 0);
    cr_assert_eq(weft_interval_tick(&s.interval, NULL), 0);
    WAITS(&s, weft_interval_tick, "sleep", "in 3.6e+03 s", weft_abort(who));
    WAITS(&s, weft_backoff_wait, "sleep", "in 3.6e+03 s", weft_abort(who));
    WAITS(&s, weft_timeout, "sleep", "in 3.6e+03 s", weft_abort(who));
    weft_timer_init(&s.timer, weft_now() + 3600 * WEFT_SEC);
    POLLS(&s, weft_timer_poll, "sleep", "in 3.6e+03 s", weft_abort(who));
    return arg;
}

Test(waits, for_the_clock) { run(2, the_clock, NULL); }

/* By the clock that the task goes by. */
Test(waits, for_a_clock_that_is_paused)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, the_clock, NULL, NULL), 0);
}

/* ---- futures of one's own --------------------------------------------------------------------------------------- */

static weft_poll until_ready(things *s, weft_context *cx)
{
    if (atomic_load(&s->ready))
        return WEFT_READY;
    if (!s->waker.ops)
        cr_assert_eq(weft_waker_clone(weft_context_waker(cx), &s->waker), 0);
    return WEFT_PENDING;
}

/* First something that weft knows, then what it does not. */
static weft_poll item_then_ready(things *s, weft_context *cx)
{
    if (!s->received) {
        int err = weft_poll_chan_recv(cx, &s->op, s->ch, &s->item);
        s->received = err == 0;
        if (err != 0)
            return err;
    }
    return until_ready(s, cx);
}

static void make_ready(things *s)
{
    atomic_store(&s->ready, true);
    weft_waker_wake(&s->waker);
}

POLLED_CALL(a_future, until_ready(s, cx))
POLLED_CALL(mixed_future, item_then_ready(s, cx))

static const weft_future_ops *future_ops;

static int await_future(things *s)
{
    s->base.ops = future_ops;
    return weft_await(&s->base, NULL);
}

CALL(weft_await, await_future(s))

static void send_and_expect(things *s, weft_task *task)
{
    send_one(s);
    expect(task, "behind the channel", "?", "");
    make_ready(s);
}

static void *futures(void *arg)
{
    things s = {.received = false};
    cr_assert_eq(weft_chan_create(&s.ch, sizeof s.item, 0), 0);
    future_ops = &ops_a_future;
    WAITS(&s, weft_await, "?", "", make_ready(&s));
    s.ready = false;
    POLLS(&s, a_future, "?", "", make_ready(&s));
    s.ready = false;
    future_ops = &ops_mixed_future;
    WAITS(&s, weft_await, "chan recv", at(s.ch), send_and_expect(&s, who));
    s.ready = false;
    s.received = false;
    POLLS(&s, mixed_future, "chan recv", at(s.ch), send_and_expect(&s, who));
    cr_assert_eq(weft_chan_free(s.ch), 0);
    return arg;
}

Test(waits, for_futures_of_which_nobody_says_more) { run(2, futures, NULL); }

/* ---- states ------------------------------------------------------------------------------------------------------ */

static void *spin(void *arg)
{
    things *s = arg;
    while (!atomic_load(&s->ready))
        ;
    return NULL;
}

static void *expect_states(void *arg)
{
    things s = {.latch = LATCH_INIT};
    weft_spawn_options here = {.pinned = 1};
    weft_task *queued, *spinning, *job;
    (void)arg;
    cr_assert_eq(weft_spawn_blocking(&job, latch_pass, &s.latch), 0);
    cr_assert_eq(weft_spawn_with(&spinning, &(weft_spawn_options){.pinned = WEFT_PIN_TO(1)}, spin, &s), 0);
    SPIN_UNTIL(weft_task_state(spinning) == WEFT_TASK_RUNNING && weft_task_state(job) == WEFT_TASK_RUNNING);
    cr_assert_eq(weft_spawn_with(&queued, &here, pass, NULL), 0);
    weft_task *const tasks[] = {queued, spinning, job};
    const weft_task_state_t states[] = {WEFT_TASK_SCHEDULED, WEFT_TASK_RUNNING, WEFT_TASK_RUNNING};
    for (int i = 0; i < 3; i++) {
        sight seen = look_at(tasks[i]);
        cr_assert(seen.seen);
        cr_assert_eq(seen.info.state, states[i]);
        cr_assert_eq(weft_task_state(tasks[i]), states[i]);
        cr_assert_str_eq(seen.info.waits_for, "");
        cr_assert_eq(weft_task_info_object(&seen.info, NULL, 0), 0);
    }
    atomic_store(&s.ready, true);
    latch_open(&s.latch);
    cr_assert_eq(weft_join(queued, NULL), 0);
    cr_assert_eq(weft_join(spinning, NULL), 0);
    cr_assert_eq(weft_join(job, NULL), 0);
    return NULL;
}

/* The root is worker 0's while it does not wait. */
static void *pinned_to_0(void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &(weft_spawn_options){.pinned = WEFT_PIN_TO(0)}, expect_states, NULL), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    return arg;
}

Test(waits, not_at_all_while_it_is_queued_or_runs) { run(2, pinned_to_0, NULL); }
