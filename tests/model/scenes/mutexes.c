/* mutexes.c - scenes of mutex.c and notify.c: one at a time, in turn; no turn, no signal and no notification is lost. */
#include "../under_token.h"

#define unlink unlink_waiter
#include <sync/waiters.c>
#undef unlink
#define refuse refuse_mutex
#include <sync/mutex.c>
#undef refuse
#include <sync/notify.c>

static struct {
    weft_mutex mutex;
    weft_cond cond;
    weft_notify notify;
    weft_token *token;
    int inside; /* plain: two at once are a race */
    bool there;
    int served[MODEL_THREADS];
    wf_a32 came;
    int data;
} s;

#define MUTEX_SCENE(name, ...) MODEL_SCENE(name, .state = &s, .state_size = sizeof s, __VA_ARGS__)

static void begin(void)
{
    ordinary_begin();
    weft_mutex_init(&s.mutex);
    model_name(&s.mutex.state_, "mutex");
    model_name(&s.mutex.lock_, "mutex's queue");
    model_name(&s.cond.lock_, "condition");
    model_name(&s.notify.lock_, "notify");
}

static void nothing_left(void) { model_check(model_blocks() == 0); }

/* ---- the mutex ---------------------------------------------------------------------------------------------------- */

static void enter_and_leave(void)
{
    weft_mutex_lock(&s.mutex);
    s.inside++;
    weft_mutex_unlock(&s.mutex);
}

static void once_inside(void) { enter_and_leave(), ordinary_end(); }
static void twice_inside(void) { enter_and_leave(), once_inside(); }

static void try_inside(void)
{
    if (weft_mutex_try_lock(&s.mutex) == 0) {
        s.inside++;
        weft_mutex_unlock(&s.mutex);
    }
    ordinary_end();
}

static void free_again(void)
{
    model_check(s.mutex.state_ == 0 && s.mutex.owner_ == 0);
    nothing_left();
}

static void three_were_inside(void) { model_check(s.inside == 3), free_again(); }

MUTEX_SCENE(mutex_two, .setup = begin, .threads = {twice_inside, once_inside}, .finish = three_were_inside,
            .preemptions = 2, .stale = 0, .random = 300);
MUTEX_SCENE(mutex_three, .setup = begin, .threads = {once_inside, once_inside, once_inside},
            .finish = three_were_inside, .preemptions = 1, .stale = 0, .random = 500);
MUTEX_SCENE(mutex_tried, .setup = begin, .threads = {once_inside, once_inside, try_inside}, .finish = free_again,
            .preemptions = 1, .stale = 0, .random = 500);

/* ---- the condition variable ----------------------------------------------------------------------------------------- */

static int wait_until_there(void)
{
    int err = 0;
    weft_mutex_lock(&s.mutex);
    while (!s.there && err == 0)
        err = weft_cond_wait(&s.cond, &s.mutex);
    s.served[model_self()] = s.there;
    weft_mutex_unlock(&s.mutex);
    return err;
}

static void wait_there(void) { model_check(wait_until_there() == 0 && s.there), ordinary_end(); }

static void put_there(void)
{
    weft_mutex_lock(&s.mutex);
    s.there = true;
    weft_mutex_unlock(&s.mutex);
}

static void signal_one(void) { put_there(), weft_cond_signal(&s.cond), ordinary_end(); }
static void signal_all(void) { put_there(), weft_cond_broadcast(&s.cond), ordinary_end(); }

MUTEX_SCENE(condition_signalled, .setup = begin, .threads = {wait_there, signal_one}, .finish = free_again,
            .preemptions = 2, .stale = 0, .random = 300);
MUTEX_SCENE(condition_broadcast, .setup = begin, .threads = {wait_there, wait_there, signal_all}, .finish = free_again,
            .random = 500);

static void begin_with_token(void)
{
    begin();
    s.token = under_token_make();
}

static void cancel(void) { weft_token_cancel(s.token); }
static void wait_there_cancelled(void) { under_token(s.token, wait_until_there), ordinary_end(); }

/* The mutex is its own again, in any case. */
static void free_token(void)
{
    model_check(weft_token_free(s.token) == 0);
    free_again();
}

MUTEX_SCENE(condition_cancelled, .setup = begin_with_token, .threads = {wait_there_cancelled, signal_one, cancel},
            .finish = free_token, .preemptions = 1, .stale = 0, .random = 500);

/* ---- notifications ------------------------------------------------------------------------------------------------------ */

static int wait_for_notify(void)
{
    int err = weft_notify_wait(&s.notify);
    s.served[model_self()] = err == 0;
    return err;
}

static void notified(void)
{
    model_check(wait_for_notify() == 0 && s.data == 42);
    ordinary_end();
}

static void notify_one(void)
{
    s.data = 42;
    weft_notify_one(&s.notify);
}

/* The second comes when the first has been used: so it reaches the other. */
static void notify_until_both(void)
{
    notify_one();
    while (wf_load_acq(&s.came) == 0)
        model_yield();
    weft_notify_one(&s.notify);
}

static void notified_and_say_so(void)
{
    model_check(weft_notify_wait(&s.notify) == 0 && s.data == 42);
    wf_add_acqrel(&s.came, 1);
    ordinary_end();
}

static void none_is_kept(void)
{
    model_check(!s.notify.stored_);
    nothing_left();
}

MUTEX_SCENE(notification_is_kept, .setup = begin, .threads = {notified, notify_one}, .finish = none_is_kept,
            .preemptions = 3, .stale = 1, .random = 200);
MUTEX_SCENE(notified_one_after_another, .setup = begin,
            .threads = {notified_and_say_so, notified_and_say_so, notify_until_both}, .finish = none_is_kept,
            .preemptions = 1, .stale = 0, .random = 100);

/* The one that is cancelled was notified, or the other is. */
static void notified_cancelled(void) { under_token(s.token, wait_for_notify), ordinary_end(); }
static void notified_at_last(void) { wait_for_notify(), ordinary_end(); }

static void one_is_not_lost(void)
{
    model_check(s.served[0] + s.served[1] + (int)s.notify.stored_ == 1);
    model_check(weft_token_free(s.token) == 0);
}

MUTEX_SCENE(notified_when_cancelled, .setup = begin_with_token,
            .threads = {notified_cancelled, notified_at_last, notify_one, cancel}, .finish = one_is_not_lost,
            .may_block = true, .random = 700);

static void notify_everybody(void)
{
    s.data = 42;
    weft_notify_all(&s.notify);
    weft_notify_one(&s.notify);
}

/* All that waited, and one more. */
static void at_least_one(void) { model_check(s.served[0] + s.served[1] + (int)s.notify.stored_ >= 1); }

MUTEX_SCENE(notified_all, .setup = begin, .threads = {notified_at_last, notified_at_last, notify_everybody},
            .finish = at_least_one, .preemptions = 1, .stale = 0, .random = 300, .may_block = true);
