/* steps_sync.c - steps with locks and meeting points. Who holds something only yields meanwhile: a job that waits for it holds the paused clock. */
#include "world.h"

/* What is held is held behind a shield or not, as it comes; the yields may fail. */
static void dawdle(actor *a, unsigned n)
{
    for (unsigned i = n % 4; i > 0; i--)
        random_after_any(a, weft_yield());
}

int random_do_MUTEX(actor *a, const step *s)
{
    world *w = a->w;
    if (s->a & 1)
        weft_mutex_lock(&w->mutex);
    else if (weft_mutex_try_lock(&w->mutex) != 0)
        return WEFT_EBUSY;
    EXPECT(w, w->mutex_held++ == 0);
    dawdle(a, s->b);
    EXPECT(w, w->mutex_held-- == 1);
    weft_mutex_unlock(&w->mutex);
    return 0;
}

static int read_locked(actor *a, const step *s)
{
    world *w = a->w;
    if (s->a & 2)
        weft_rwlock_read_lock(&w->rwlock);
    else if (weft_rwlock_try_read_lock(&w->rwlock) != 0)
        return WEFT_EBUSY;
    w->readers++;
    EXPECT(w, w->writers == 0);
    dawdle(a, s->b);
    EXPECT(w, w->writers == 0);
    w->readers--;
    weft_rwlock_read_unlock(&w->rwlock);
    return 0;
}

static int write_locked(actor *a, const step *s)
{
    world *w = a->w;
    if (s->a & 2)
        weft_rwlock_write_lock(&w->rwlock);
    else if (weft_rwlock_try_write_lock(&w->rwlock) != 0)
        return WEFT_EBUSY;
    EXPECT(w, w->writers++ == 0);
    EXPECT(w, w->readers == 0);
    dawdle(a, s->b);
    EXPECT(w, w->readers == 0);
    EXPECT(w, w->writers-- == 1);
    weft_rwlock_write_unlock(&w->rwlock);
    return 0;
}

int random_do_RWLOCK(actor *a, const step *s) { return s->a & 1 ? write_locked(a, s) : read_locked(a, s); }

int random_do_SEMAPHORE(actor *a, const step *s)
{
    unsigned which = s->a % SEMAPHORES;
    weft_semaphore *sem = &a->w->semaphore[which];
    int n = 1 + s->b % (int)a->w->permits[which], code;
    before b = random_before(a);
    if (s->c & 1)
        code = weft_semaphore_try_acquire(sem, (size_t)n);
    else
        code = random_after(a, &b, weft_semaphore_acquire(sem, (size_t)n));
    JUDGE(a->w, code, code == 0 || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT || code == WEFT_EAGAIN);
    if (code < 0)
        return code;
    EXPECT(a->w, atomic_fetch_add(&a->w->held[which], n) + n <= (int)a->w->permits[which]);
    dawdle(a, s->c >> 1);
    a->w->held[which] -= n;
    weft_semaphore_release(sem, (size_t)n);
    return 0;
}

int random_do_NOTIFY(actor *a, const step *s)
{
    weft_notify *n = &a->w->notify[s->a % NOTIFIES];
    a->w->notified[s->a % NOTIFIES]++;
    if (s->b & 1)
        weft_notify_one(n);
    else
        weft_notify_all(n);
    return 0;
}

int random_do_NOTIFY_WAIT(actor *a, const step *s)
{
    before b = random_before(a);
    int code = random_after(a, &b, weft_notify_wait(&a->w->notify[s->a % NOTIFIES]));
    JUDGE(a->w, code, code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT || (code == 0 && a->w->notified[s->a % NOTIFIES]));
    return code;
}

int random_do_COND_WAIT(actor *a, const step *s)
{
    world *w = a->w;
    (void)s;
    weft_mutex_lock(&w->mutex);
    EXPECT(w, w->mutex_held++ == 0);
    w->mutex_held--;
    before b = random_before(a);
    int code = random_after(a, &b, weft_cond_wait(&w->cond, &w->mutex));
    JUDGE(w, code, code == 0 || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    EXPECT(w, w->mutex_held++ == 0);
    dawdle(a, s->a);
    EXPECT(w, w->mutex_held-- == 1);
    weft_mutex_unlock(&w->mutex);
    return code;
}

int random_do_COND_SIGNAL(actor *a, const step *s)
{
    if (s->a & 1)
        weft_cond_signal(&a->w->cond);
    else
        weft_cond_broadcast(&a->w->cond);
    return 0;
}

int random_do_BARRIER(actor *a, const step *s)
{
    before b = random_before(a);
    (void)s;
    int code = random_after(a, &b, weft_barrier_wait(&a->w->barrier));
    JUDGE(a->w, code, code == 0 || code == 1 || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    a->w->met_all += code >= 0;
    a->w->met_first += code == 1;
    return code;
}

static void only_once(void *arg)
{
    world *w = arg;
    EXPECT(w, w->once_done++ == 0);
    weft_yield();
    EXPECT(w, w->once_done++ == 1);
}

int random_do_ONCE(actor *a, const step *s)
{
    (void)s;
    int code = random_after_any(a, weft_once_do(&a->w->once, only_once, a->w));
    JUDGE(a->w, code, code == 0 ? a->w->once_done == 2 : code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    return code;
}
