/* rwlocks.c - scenes of rwlock.c: writers alone, readers together, in the order in which they come. */
#include "../ordinary.h"

#define unlink unlink_waiter
#include <sync/waiters.c>
#undef unlink
#include <sync/rwlock.c>

static struct {
    weft_rwlock lock;
    int a, b; /* plain, and equal whenever nobody writes */
} s;

#define RWLOCK_SCENE(name, ...) MODEL_SCENE(name, .state = &s, .state_size = sizeof s, __VA_ARGS__)

static void begin(void)
{
    ordinary_begin();
    model_name(&s.lock.lock_, "rwlock");
}

static void read_both(void)
{
    weft_rwlock_read_lock(&s.lock);
    model_check(s.a == s.b);
    weft_rwlock_read_unlock(&s.lock);
    ordinary_end();
}

static void write_both(void)
{
    weft_rwlock_write_lock(&s.lock);
    s.a++;
    s.b++;
    weft_rwlock_write_unlock(&s.lock);
    ordinary_end();
}

static void try_to_read(void)
{
    if (weft_rwlock_try_read_lock(&s.lock) < 0)
        return;
    model_check(s.a == s.b);
    weft_rwlock_read_unlock(&s.lock);
}

static void try_to_write(void)
{
    if (weft_rwlock_try_write_lock(&s.lock) < 0)
        return;
    s.a++;
    s.b++;
    weft_rwlock_write_unlock(&s.lock);
}

static void nobody_inside(void)
{
    model_check(s.lock.readers_ == 0 && !s.lock.writing_ && wf_waiters_empty(&s.lock.waiters_));
    model_check(model_blocks() == 0);
}

RWLOCK_SCENE(rwlock_one_writer, .setup = begin, .threads = {write_both, read_both, read_both}, .finish = nobody_inside,
             .preemptions = 2, .stale = 0, .random = 500);
RWLOCK_SCENE(rwlock_two_writers, .setup = begin, .threads = {write_both, write_both, read_both},
             .finish = nobody_inside, .preemptions = 2, .stale = 0, .random = 500);
RWLOCK_SCENE(rwlock_tried, .setup = begin, .threads = {write_both, try_to_read, try_to_write}, .finish = nobody_inside,
             .preemptions = 2, .stale = 0, .random = 500);

/* A reader that comes when a writer waits is behind it, though others read: so writers do not starve. */
static void begin_read(void)
{
    begin();
    model_check(weft_rwlock_try_read_lock(&s.lock) == 0);
}

static void try_behind_a_writer(void)
{
    wf_spin_lock(lock_of(&s.lock));
    bool waits = !wf_waiters_empty(&s.lock.waiters_);
    wf_spin_unlock(lock_of(&s.lock));
    bool entered = weft_rwlock_try_read_lock(&s.lock) == 0;
    model_check(!waits || !entered);
    if (entered)
        weft_rwlock_read_unlock(&s.lock);
    weft_rwlock_read_unlock(&s.lock); /* the one from the beginning */
}

RWLOCK_SCENE(rwlock_in_turn, .setup = begin_read, .threads = {write_both, try_behind_a_writer, read_both},
             .finish = nobody_inside, .preemptions = 1, .stale = 0, .random = 800);
