/* timers.c - see timers.h. */
#include <timer/timers.h>

enum { FIRE_BATCH = 32 };

void wf_timers_init(wf_timers *t, int64_t now)
{
    *t = (wf_timers){0};
    wf_wheel_init(&t->wheel, now);
    wf_store_rlx(&t->next, WEFT_FOREVER);
}

static void insert_locked(wf_timers *t, wf_timer *timer)
{
    wf_wheel_insert(&t->wheel, &timer->node, timer->when);
    if (timer->when < wf_load_rlx(&t->next))
        wf_store_rlx(&t->next, timer->when);
}

/* True if it was linked, and stays so because it fires early enough. */
static bool keep_or_unlink(wf_timer *timer, int64_t when)
{
    if (!timer->home)
        return false;
    wf_spin_lock(&timer->home->lock);
    bool keep = wf_wnode_linked(&timer->node) && timer->when <= when;
    if (!keep)
        wf_wheel_remove(&timer->home->wheel, &timer->node);
    wf_spin_unlock(&timer->home->lock);
    return keep;
}

bool wf_timer_arm(wf_timer *timer, wf_timers *here, int64_t when)
{
    if (keep_or_unlink(timer, when))
        return false;
    timer->home = here;
    wf_spin_lock(&here->lock);
    int64_t before = wf_load_rlx(&here->next);
    timer->when = when;
    insert_locked(here, timer);
    wf_spin_unlock(&here->lock);
    return when < before;
}

bool wf_timer_start(wf_timer *timer, wf_timers *here)
{
    timer->home = here;
    wf_spin_lock(&here->lock);
    bool later = timer->when > wf_wheel_time(&here->wheel); /* which is never ahead of the clock */
    if (later)
        insert_locked(here, timer);
    wf_spin_unlock(&here->lock);
    return later;
}

void wf_timer_disarm(wf_timer *timer)
{
    wf_timers *home = timer->home;
    if (!home)
        return;
    wf_spin_lock(&home->lock);
    wf_wheel_remove(&home->wheel, &timer->node);
    wf_spin_unlock(&home->lock);
    timer->home = NULL;
}

void wf_timers_tidy(wf_timers *t)
{
    wf_spin_lock(&t->lock);
    wf_store_rlx(&t->next, wf_wheel_next(&t->wheel));
    wf_spin_unlock(&t->lock);
}

/* Up to FIRE_BATCH wakers of due timers; their owners may be gone the moment the lock is released, the wakers not. */
static unsigned collect(wf_timers *t, int64_t now, weft_waker *wakers)
{
    unsigned n = 0;
    wf_wnode *node;
    wf_spin_lock(&t->lock);
    now = WF_MAX(now, wf_wheel_time(&t->wheel)); /* another thread may have read the clock later and been here before */
    while (n < FIRE_BATCH && (node = wf_wheel_pop(&t->wheel, now))) {
        wf_timer *timer = wf_container(node, wf_timer, node);
        int64_t was = timer->when;
        if (timer->fire(timer, now, &wakers[n]))
            __builtin_prefetch(wakers[n++].data, 1); /* most often a task that has long been asleep: all at a time, not one by one */
        else if (timer->when > was)
            wf_wheel_insert(&t->wheel, node, timer->when);
    }
    wf_store_rlx(&t->next, wf_wheel_next(&t->wheel));
    wf_spin_unlock(&t->lock);
    return n;
}

unsigned wf_timers_expire(wf_timers *t, int64_t now)
{
    weft_waker wakers[FIRE_BATCH];
    unsigned total = 0, n;
    if (now < wf_timers_next(t))
        return 0;
    do {
        n = collect(t, now, wakers);
        for (unsigned i = 0; i < n; i++)
            weft_waker_wake(&wakers[i]);
        total += n;
    } while (n == FIRE_BATCH);
    return total;
}
