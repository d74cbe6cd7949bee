/* scarce_sync_test.c - channels, locks, tokens, select and wakers without memory. See support/scarce.h. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/scarce.h>
#include <time.h>
#include <uv.h>
#include <weft.h>
#include <weft/uv.h>

/* ---- channels --------------------------------------------------------------------------------------------------- */

static void ignore(void *item) { (void)item; }

static int references; /* of a channel's own */

static void take(void *item)
{
    (void)item;
    references++;
}

static void drop(void *item)
{
    (void)item;
    references--;
}

static void channel(void)
{
    static const size_t capacities[] = {0, 3, WEFT_UNBOUNDED};
    weft_chan_options o = {.drop = drop, .copy = take};
    weft_chan *ch;
    uint64_t item = 7;
    for (size_t i = 0; i < 3; i++) {
        SCARCE_MAKE(ch, weft_chan_create(&ch, sizeof item, capacities[i]));
        SCARCE_NONE(cr_assert_eq(weft_chan_free(ch), 0));
        SCARCE_MAKE(ch, weft_chan_create_with(&ch, sizeof item, capacities[i], &o));
        if (i > 0) {
            SCARCE_TRY(0, weft_chan_send(ch, &item));
            SCARCE_TRY(0, weft_chan_try_send(ch, &item));
            SCARCE_NONE(cr_assert_eq(weft_chan_len(ch), 2));
            SCARCE_TRY(0, weft_chan_recv(ch, &item));
        }
        SCARCE_NONE(cr_assert_eq(weft_chan_try_recv(ch, &item), i > 0 ? 0 : WEFT_EAGAIN));
        cr_assert_eq(weft_chan_try_send(ch, &item), i > 0 ? 0 : WEFT_EAGAIN);
        SCARCE_NONE(weft_chan_close(ch));
        SCARCE_NONE(cr_assert_eq(weft_chan_free(ch), 0)); /* drops what is left; it asked for room to take it out, and without did not */
        cr_assert_eq(references, i > 0 ? 2 : 0, "those of the received ones");
        references = 0;
    }
}

/* Blocks of an unbounded one, again and again; nothing that was sent is lost. */
static void long_channel(void)
{
    enum { MANY = 600 };
    weft_chan *ch;
    uint64_t item;
    cr_assert_eq(weft_chan_create(&ch, sizeof item, WEFT_UNBOUNDED), 0);
    for (uint64_t i = 0; i < MANY; i++)
        SCARCE_TRY(0, weft_chan_send(ch, &i));
    for (uint64_t i = 0; i < MANY; i++) {
        SCARCE_TRY(0, weft_chan_recv(ch, &item));
        cr_assert_eq(item, i);
    }
    cr_assert_eq(weft_chan_free(ch), 0);
}

static void oneshot(void)
{
    weft_oneshot *o;
    uint64_t item = 7;
    SCARCE_MAKE(o, weft_oneshot_create(&o, sizeof item, ignore));
    SCARCE_NONE(cr_assert_eq(weft_oneshot_send(o, &item), 0));
    SCARCE_TRY(0, weft_oneshot_recv(o, &item));
    SCARCE_NONE(cr_assert_eq(weft_oneshot_try_recv(o, &item), WEFT_ECLOSED));
    SCARCE_NONE(weft_oneshot_close(o));
    SCARCE_NONE(cr_assert_eq(weft_oneshot_free(o), 0));
}

static void broadcast(void)
{
    weft_broadcast *b;
    weft_subscription *sub;
    uint64_t item = 7;
    SCARCE_MAKE(b, weft_broadcast_create(&b, sizeof item, 4));
    SCARCE_MAKE(sub, weft_subscribe(&sub, b));
    SCARCE_NONE(cr_assert_eq(weft_broadcast_send(b, &item), 1));
    SCARCE_NONE(cr_assert_eq(weft_broadcast_send(b, &item), 1));
    SCARCE_TRY(0, weft_subscription_recv(sub, &item, NULL));
    SCARCE_NONE(cr_assert_eq(weft_subscription_try_recv(sub, &item, NULL), 0));
    SCARCE_NONE(weft_unsubscribe(sub));
    SCARCE_NONE(weft_broadcast_close(b));
    SCARCE_NONE(cr_assert_eq(weft_broadcast_free(b), 0));
}

static void watch(void)
{
    weft_watch *w;
    uint64_t item = 7, version = 0;
    SCARCE_MAKE(w, weft_watch_create(&w, sizeof item, &item));
    SCARCE_NONE(cr_assert_eq(weft_watch_set(w, &item), 0));
    SCARCE_NONE(cr_assert_eq(weft_watch_get(w, &item, NULL), 0));
    SCARCE_TRY(0, weft_watch_next(w, &item, &version));
    SCARCE_NONE(weft_watch_close(w));
    SCARCE_NONE(cr_assert_eq(weft_watch_free(w), 0));
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

static void token(void)
{
    weft_token *parent, *child;
    SCARCE_MAKE(parent, weft_token_create(&parent, NULL));
    SCARCE_MAKE(child, weft_token_create(&child, parent));
    SCARCE_NONE(weft_token_cancel(parent));
    SCARCE_NONE(cr_assert_eq(weft_token_is_cancelled(child), 1));
    SCARCE_TRY(0, weft_token_wait(child));
    SCARCE_NONE(cr_assert_eq(weft_token_free(child), 0));
    SCARCE_NONE(cr_assert_eq(weft_token_free(parent), 0));
}

/* ---- locks -------------------------------------------------------------------------------------------------------- */

static void try_locks(void)
{
    weft_mutex m;
    weft_rwlock l = WEFT_RWLOCK_INIT;
    SCARCE_NONE(weft_mutex_init_named(&m, "here"));
    SCARCE_TRY(0, weft_mutex_try_lock(&m));
    SCARCE_NONE(weft_mutex_unlock(&m));
    SCARCE_NONE(cr_assert_eq(weft_rwlock_try_read_lock(&l), 0));
    SCARCE_NONE(weft_rwlock_read_unlock(&l));
    SCARCE_NONE(cr_assert_eq(weft_rwlock_try_write_lock(&l), 0));
    SCARCE_NONE(weft_rwlock_write_unlock(&l));
}

static void do_nothing(void *arg) { (void)arg; }

static void meetings(void)
{
    weft_semaphore s;
    weft_notify n;
    weft_barrier b;
    weft_once once = WEFT_ONCE_INIT;
    SCARCE_NONE(weft_semaphore_init(&s, 2));
    SCARCE_TRY(0, weft_semaphore_acquire(&s, 1));
    SCARCE_NONE(cr_assert_eq(weft_semaphore_try_acquire(&s, 1), 0));
    SCARCE_NONE(weft_semaphore_release(&s, 2));
    SCARCE_NONE(cr_assert_eq(weft_semaphore_available(&s), 2));
    SCARCE_NONE(weft_notify_init(&n));
    SCARCE_NONE(weft_notify_all(&n));
    SCARCE_NONE(weft_notify_one(&n));
    SCARCE_TRY(0, weft_notify_wait(&n));
    SCARCE_NONE(cr_assert_eq(weft_barrier_init(&b, 1), 0));
    SCARCE_TRY(1, weft_barrier_wait(&b));
    SCARCE_TRY(0, weft_once_do(&once, do_nothing, NULL));
}

/* These cannot fail. So a thread's first wait for one waits for memory too; it ended the process. */
static void locks_that_never_fail(void)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_rwlock l = WEFT_RWLOCK_INIT;
    weft_cond c;
    weft_scope s;
    SCARCE_TRY(0, (weft_mutex_lock(&m), 0));
    SCARCE_NONE(weft_cond_init(&c));
    cr_assert_eq(weft_scope_enter(&s, 0), 0);
    SCARCE_NONE(cr_assert_eq(weft_cond_wait(&c, &m), WEFT_ETIMEDOUT));
    cr_assert_eq(weft_scope_leave(&s), WEFT_ETIMEDOUT);
    SCARCE_NONE(weft_cond_signal(&c));
    SCARCE_NONE(weft_cond_broadcast(&c));
    SCARCE_NONE(weft_mutex_unlock(&m));
    SCARCE_NONE(weft_rwlock_read_lock(&l));
    SCARCE_NONE(weft_rwlock_read_unlock(&l));
    SCARCE_NONE(weft_rwlock_write_lock(&l));
    SCARCE_NONE(weft_rwlock_write_unlock(&l));
}

static void *read_it(void *lock)
{
    SCARCE_WITHIN(weft_rwlock_read_lock(lock));
    weft_rwlock_read_unlock(lock);
    return NULL;
}

/* A thread that never waited before comes while the lock is held. */
static int lock_in_another(weft_rwlock *l)
{
    pthread_t thread;
    weft_rwlock_write_lock(l);
    int err = -pthread_create(&thread, NULL, read_it, l);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    weft_rwlock_write_unlock(l);
    if (err == 0)
        pthread_join(thread, NULL);
    return err;
}

static void lock_that_is_held(void)
{
    weft_rwlock l = WEFT_RWLOCK_INIT;
    SCARCE_TRY(0, lock_in_another(&l));
}

/* ---- select ------------------------------------------------------------------------------------------------------- */

static void select_one(void)
{
    enum { MANY = 40 };
    weft_case cases[MANY];
    weft_chan *ch[MANY];
    uint64_t items[MANY];
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(weft_chan_create(&ch[i], sizeof items[i], 1), 0);
        cases[i] = (weft_case)WEFT_RECV(ch[i], &items[i]);
    }
    cases[MANY - 1] = (weft_case)WEFT_AFTER(WEFT_MS);
    SCARCE_TRY(MANY - 1, weft_select(cases, MANY));
    SCARCE_TRY(MANY - 1, weft_select_biased(cases, MANY));
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_chan_free(ch[i]), 0);
}

/* ---- wakers, cells and poll twins ------------------------------------------------------------------------------------ */

typedef struct twins {
    weft_future future;
    weft_op op[4];
    weft_case later;
    weft_chan *ch;
    weft_semaphore permits;
} twins;

static weft_poll poll_twins(weft_future *self, weft_context *cx, void **result)
{
    twins *t = WEFT_CONTAINER_OF(self, twins, future);
    weft_atomic_waker cell;
    weft_waker mine, taken;
    uint64_t item = 7;
    *result = t;
    SCARCE_NONE(cr_assert_eq(weft_waker_clone(weft_context_waker(cx), &mine), 0));
    SCARCE_NONE(cr_assert(weft_waker_will_wake(&mine, weft_context_waker(cx))));
    SCARCE_NONE(weft_atomic_waker_init(&cell));
    SCARCE_NONE(cr_assert_eq(weft_atomic_waker_register(&cell, &mine), 0));
    SCARCE_NONE(cr_assert_eq(weft_atomic_waker_take(&cell, &taken), 1));
    SCARCE_NONE(weft_waker_drop(&taken));
    SCARCE_NONE(cr_assert_eq(weft_atomic_waker_register(&cell, &mine), 0));
    SCARCE_NONE(weft_atomic_waker_wake(&cell));
    SCARCE_NONE(weft_waker_wake_by_ref(&mine));
    SCARCE_NONE(weft_waker_wake(&mine));
    SCARCE_TRY(0, weft_poll_chan_send(cx, &t->op[0], t->ch, &item));
    SCARCE_TRY(0, weft_poll_chan_recv(cx, &t->op[1], t->ch, &item));
    SCARCE_TRY(0, weft_poll_semaphore_acquire(cx, &t->op[2], &t->permits, 1));
    SCARCE_TRY(WEFT_PENDING, weft_poll_select(cx, &t->op[3], &t->later, 1));
    SCARCE_NONE(weft_op_drop(&t->op[3]));
    return WEFT_READY;
}

static const weft_future_ops twins_ops = {.poll = poll_twins};

static void poll_them(void)
{
    twins t = {.future.ops = &twins_ops, .later = WEFT_AFTER(WEFT_SEC), .permits = WEFT_SEMAPHORE_INIT(1)};
    void *result;
    cr_assert_eq(weft_chan_create(&t.ch, sizeof(uint64_t), WEFT_UNBOUNDED), 0);
    cr_assert_eq(weft_await(&t.future, &result), 0);
    cr_assert_eq(weft_chan_free(t.ch), 0);
}

/* ---- the bridge to libuv --------------------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer) { weft_completion_set(timer->data, 7); }
static void on_close(uv_handle_t *handle) { weft_completion_set(handle->data, 8); }

static void *use_a_loop(void *arg)
{
    weft_completion fired, closed;
    uv_timer_t timer = {.data = &fired};
    uv_loop_t *loop;
    SCARCE_NONE(weft_completion_init(&fired));
    weft_completion_init(&closed);
    SCARCE_NONE(loop = weft_uv_loop());
    cr_assert_eq(uv_timer_init(loop, &timer), 0);
    cr_assert_eq(uv_timer_start(&timer, on_timer, 1, 0), 0);
    SCARCE_TRY(7, weft_completion_wait(&fired));
    SCARCE_NONE(weft_completion_set(&fired, 7));
    timer.data = &closed;
    uv_close((uv_handle_t *)&timer, on_close);
    SCARCE_TRY(8, weft_completion_wait(&closed));
    return arg;
}

static void bridge(void)
{
    weft_spawn_options o = {.pinned = 1};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &o, use_a_loop, NULL), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
}

static void clock_of_tests(void) { SCARCE_NONE(cr_assert_eq(weft_clock_advance(1), WEFT_EINVAL)); }

static const scarce_scene scenes[] = {
    SCARCE_STRAND(channel, 9),
    SCARCE_THREAD(channel, 10),
    SCARCE_STRAND(long_channel, 2),
    SCARCE_THREAD(long_channel, 2),
    SCARCE_STRAND(oneshot, 1),
    SCARCE_THREAD(oneshot, 2),
    SCARCE_STRAND(broadcast, 3),
    SCARCE_THREAD(broadcast, 4),
    SCARCE_STRAND(watch, 1),
    SCARCE_THREAD(watch, 2),
    SCARCE_STRAND(token, 2),
    SCARCE_THREAD(token, 3),
    SCARCE_STRAND(try_locks, 0),
    SCARCE_THREAD(try_locks, 1),
    SCARCE_STRAND(meetings, 0),
    SCARCE_THREAD(meetings, 1),
    SCARCE_STRAND(locks_that_never_fail, 0),
    SCARCE_THREAD(locks_that_never_fail, 1),
    SCARCE_THREAD(lock_that_is_held, 1),
    SCARCE_STRAND(select_one, 0),
    SCARCE_THREAD(select_one, 1),
    SCARCE_STRAND(poll_them, 0),
    SCARCE_THREAD(poll_them, 0),
    SCARCE_STRAND(bridge, 0),
    SCARCE_STRAND(clock_of_tests, 0),
};

Test(scarce_sync, whatever_is_refused_is_reported_and_leaves_nothing_1_worker)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 1);
}

Test(scarce_sync, whatever_is_refused_is_reported_and_leaves_nothing_2_workers)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 2);
}
