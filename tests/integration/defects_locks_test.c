/* defects_locks_test.c - d12: a waiter that was woken and then cancelled took its turn with it, and the next one hung.
 *
 * Each round serves a waiter and aborts it at the same moment, from another task; somebody must end up with the turn. */
#include <stdatomic.h>
#include <support/task_support.h>
#include <support/test.h>
#include <weft/chan.h>
#include <weft/sync.h>

static weft_task *start_waiting(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    return task;
}

static void *abort_it(void *task)
{
    weft_abort(task);
    return NULL;
}

/* One of each, and how many had a turn. */
typedef struct turns {
    weft_mutex mutex;
    weft_semaphore semaphore;
    weft_notify notify;
    weft_cond cond;
    int signals; /* under mutex */
    weft_rwlock rwlock;
    atomic_int taken;
} turns;

static void *take_mutex(void *arg)
{
    turns *t = arg;
    weft_mutex_lock(&t->mutex);
    t->taken++;
    weft_mutex_unlock(&t->mutex);
    return NULL;
}

static void give_mutex(turns *t) { weft_mutex_unlock(&t->mutex); }

static void *take_write(void *arg)
{
    turns *t = arg;
    weft_rwlock_write_lock(&t->rwlock);
    t->taken++;
    weft_rwlock_write_unlock(&t->rwlock);
    return NULL;
}

static void give_write(turns *t) { weft_rwlock_write_unlock(&t->rwlock); }

/* Handed on by whoever had it, if only for a moment. */
static void *take_permit(void *arg)
{
    turns *t = arg;
    if (weft_semaphore_acquire(&t->semaphore, 2) == 0) {
        t->taken++;
        weft_semaphore_release(&t->semaphore, 2);
    }
    return NULL;
}

static void give_permit(turns *t) { weft_semaphore_release(&t->semaphore, 2); }

static void *take_notification(void *arg)
{
    turns *t = arg;
    if (weft_notify_wait(&t->notify) == 0) {
        t->taken++;
        weft_notify_one(&t->notify);
    }
    return NULL;
}

static void give_notification(turns *t) { weft_notify_one(&t->notify); }

static void *take_signal(void *arg)
{
    turns *t = arg;
    int err = 0;
    weft_mutex_lock(&t->mutex);
    while (t->signals == 0 && err == 0)
        err = weft_cond_wait(&t->cond, &t->mutex);
    if (err == 0) {
        t->taken++;
        weft_cond_signal(&t->cond);
    }
    weft_mutex_unlock(&t->mutex);
    return NULL;
}

static void give_signal(turns *t)
{
    weft_mutex_lock(&t->mutex);
    t->signals = 1;
    weft_mutex_unlock(&t->mutex);
    weft_cond_signal(&t->cond);
}

/* Three wait. While the first is served, or just before, or after, it is aborted; the others must get their turn. */
static void one_round(size_t round, weft_fn take, void (*give)(turns *))
{
    turns t = {.mutex = WEFT_MUTEX_INIT,
               .rwlock = WEFT_RWLOCK_INIT,
               .semaphore = WEFT_SEMAPHORE_INIT(0),
               .notify = WEFT_NOTIFY_INIT,
               .cond = WEFT_COND_INIT};
    weft_task *tasks[3], *aborter;
    bool locks = give == give_mutex || give == give_write;
    if (give == give_mutex)
        weft_mutex_lock(&t.mutex);
    if (give == give_write)
        weft_rwlock_write_lock(&t.rwlock);
    for (int i = 0; i < 3; i++)
        tasks[i] = start_waiting(take, &t);
    cr_assert_eq(weft_spawn(&aborter, abort_it, tasks[0]), 0);
    if (round % 3 == 1)
        weft_yield();
    if (round % 3 == 2)
        weft_abort(tasks[0]);
    give(&t);
    cr_assert_eq(weft_join(aborter, NULL), 0);
    weft_wait(tasks[0]);
    weft_task_close(tasks[0]);
    cr_assert_eq(weft_join(tasks[1], NULL), 0);
    cr_assert_eq(weft_join(tasks[2], NULL), 0);
    cr_assert(t.taken == 3 || (t.taken == 2 && !locks), "%d", t.taken);
}

static void *d12_root(void *arg)
{
    for (size_t i = 0; i < wf_test_scale(60); i++) {
        one_round(i, take_mutex, give_mutex);
        one_round(i, take_write, give_write);
        one_round(i, take_permit, give_permit);
        one_round(i, take_notification, give_notification);
        one_round(i, take_signal, give_signal);
    }
    return arg;
}

WF_TEST_WORKERS(defects, d12_a_cancelled_lock_waiter_passes_its_turn_on) { run(workers, d12_root, NULL); }

/* ---- many at once -------------------------------------------------------------------------------------------- */

static void *acquire_and_release(void *arg)
{
    weft_semaphore *s = arg;
    for (size_t n = 1;; n = n % 3 + 1) {
        if (weft_semaphore_acquire(s, n) < 0)
            return NULL;
        int err = weft_yield();
        weft_semaphore_release(s, n);
        if (err < 0)
            return NULL;
    }
}

static void *permits_root(void *arg)
{
    enum { AT_ONCE = 12 };
    weft_semaphore s = WEFT_SEMAPHORE_INIT(4);
    weft_task *tasks[AT_ONCE] = {NULL};
    for (size_t i = 0; i < wf_test_scale(3000); i++) {
        weft_task **place = &tasks[i * 7 % AT_ONCE];
        cr_assert_eq(weft_task_close(*place), 0);
        cr_assert_eq(weft_spawn(place, acquire_and_release, &s), 0);
        if (i % 3 == 0)
            weft_yield();
    }
    for (int i = 0; i < AT_ONCE; i++)
        cr_assert_eq(weft_task_close(tasks[i]), 0);
    cr_assert_eq(weft_semaphore_available(&s), 4, "none is lost, none is made");
    return arg;
}

WF_TEST_WORKERS(defects, d12_aborted_acquirers_lose_no_permits) { run(workers, permits_root, NULL); }
