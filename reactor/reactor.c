/* reactor.c - see reactor.h. Knows nothing of tasks: deliveries wake wakers, and that is all. */
#include <base/clock.h>
#include <base/cpus.h>
#include <limits.h>
#include <reactor/reactor.h>
#include <reactor/set.h>
#include <weft/base.h>

/* The park is over: libuv 1.44 runs timers before it waits, and would go on to wait without this. */
static void on_alarm(uv_timer_t *alarm) { uv_stop(alarm->loop); }

int wf_reactor_open(wf_reactor *r)
{
    *r = (wf_reactor){.set = -1, .bell = -1};
    int err = uv_loop_init(&r->loop);
    if (err < 0)
        return err;
    r->loop.data = r;
    uv_timer_init(&r->loop, &r->alarm); /* cannot fail */
    err = wf_set_open(r);
    if (err == 0)
        return 0;
    uv_close((uv_handle_t *)&r->alarm, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_loop_close(&r->loop);
    return err;
}

static void close_leftover(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

int wf_reactor_close(wf_reactor *r)
{
    wf_set_close(r);
    uv_walk(&r->loop, close_leftover, NULL);
    while (uv_run(&r->loop, UV_RUN_DEFAULT) != 0)
        ;
    int err = uv_loop_close(&r->loop);
    wf_set_free(r);
    return err;
}

/* The set is asked directly, which costs half of a loop's turn, and waited for directly. Once the loop was handed out, libuv itself has its turn every
 * millisecond, and it is the loop that is waited for; until then there is nothing in it but what is ours. */
static bool loop_matters(const wf_reactor *r) { return WF_SET_NEEDS_LOOP || r->handed_out; }

static bool loop_is_anothers(const wf_reactor *r) { return r->handed_out && !pthread_equal(r->owner, pthread_self()); }

bool wf_reactor_try(wf_reactor *r) WF_NO_THREAD_SAFETY
{
    if (!wf_spin_try(&r->held))
        return false;
    if (!loop_is_anothers(r))
        return true;
    wf_spin_unlock(&r->held);
    return false;
}

static bool turn(wf_reactor *r, int64_t now, unsigned room, bool all) WF_NO_THREAD_SAFETY
{
    if (WF_SET_NEEDS_LOOP ? !wf_reactor_try(r) : !wf_spin_try(&r->held))
        return false;
    wf_store_rlx(&r->last_turn, now);
    r->room = WF_MAX(room, 1); /* one that does not fit makes room: without any, tasks that keep a queue just full would be all that happens */
    wf_set_poll(r);
    if (!loop_is_anothers(r) && (all || (loop_matters(r) && now - r->loop_turned >= WF_LOOP_EVERY))) {
        r->loop_turned = now;
        uv_run(&r->loop, UV_RUN_NOWAIT);
    }
    wf_set_release(r);
    return true;
}

bool wf_reactor_turn(wf_reactor *r, int64_t now, unsigned room) { return turn(r, now, room, false); }

bool wf_reactor_turn_all(wf_reactor *r, int64_t now, unsigned room) { return turn(r, now, room, true); }

/* Timers and prepare callbacks of others run before the wait, and it would not end for what they woke. */
static void on_last_look(uv_prepare_t *last_look)
{
    wf_reactor *r = wf_container(last_look, wf_reactor, last_look);
    if (wf_reactor_is_parked(r) && r->has_work(r->user))
        uv_stop(last_look->loop);
}

/* The prepare handle is the first that is started after the backend's, so it runs after those of the users: libuv starts at the newest. */
void wf_reactor_hand_out(wf_reactor *r, bool (*has_work)(void *user), void *user)
{
    wf_spin_lock(&r->held); /* waits for a rescuer in the midst of a turn */
    if (!r->handed_out) {
        r->has_work = has_work;
        r->user = user;
        uv_prepare_init(&r->loop, &r->last_look); /* cannot fail, nor can this: */
        uv_prepare_start(&r->last_look, on_last_look);
        uv_update_time(&r->loop); /* it may never have had a turn, and its users' timers count from there */
    }
    r->handed_out = true;
    r->owner = pthread_self();
    wf_spin_unlock(&r->held);
}

void wf_reactor_park_begin(wf_reactor *r)
{
    /* [PARK] seq_cst: "parked" is visible before the queues are looked at; pushers publish first and then look here (d23). */
    wf_swap_seq(&r->parked, WF_WATCHING);
}

uint32_t wf_reactor_park_end(wf_reactor *r)
{
    uint32_t was = wf_swap_seq(&r->parked, WF_AWAKE);
    return wf_reactor_says_parked(was) ? WF_AWAKE : was;
}

/* libuv counts in whole milliseconds from its own, cached clock: round up against that one, or timers fire early. */
static void set_alarm(wf_reactor *r, int64_t until)
{
    if (until == WEFT_FOREVER) {
        uv_timer_stop(&r->alarm);
        return;
    }
    uv_update_time(&r->loop);
    int64_t due = until / WEFT_MS + (until % WEFT_MS > 0), now = (int64_t)uv_now(&r->loop);
    uv_timer_start(&r->alarm, on_alarm, due > now ? (uint64_t)(due - now) : 0, 0);
}

bool wf_reactor_watch(wf_reactor *r, uint64_t cycles)
{
    for (uint64_t start = wf_cycles(); wf_reactor_is_watching(r);) {
        if (wf_cycles() - start >= cycles)
            return false;
        wf_cpu_relax();
    }
    return true;
}

/* [PARK] From here on rings need the bell; one that came before has changed the word. */
static bool fall_asleep(wf_reactor *r)
{
    uint32_t watching = WF_WATCHING;
    return wf_cas_strong_seq(&r->parked, &watching, WF_PARKED);
}

/* Whole milliseconds, until the wheel's tick in which @until is over has begun. -1: for ever. */
static int time_left(int64_t until)
{
    if (until == WEFT_FOREVER)
        return -1;
    int64_t now = wf_now(), tick = until / WEFT_MS + (until % WEFT_MS > 0);
    if (until <= now)
        return 0;
    int64_t left = tick > INT64_MAX / WEFT_MS ? INT64_MAX - now : tick * WEFT_MS - now;
    return (int)WF_MIN(left / WEFT_MS + (left % WEFT_MS > 0), INT_MAX);
}

static void wait_until(wf_reactor *r, int64_t until)
{
    r->room = WF_BATCH;
    if (wf_likely(!loop_matters(r))) {
        wf_set_wait(r, time_left(until));
        return;
    }
    set_alarm(r, until);
    uv_run(&r->loop, UV_RUN_ONCE);
}

void wf_reactor_park(wf_reactor *r, int64_t until)
{
    wf_spin_lock(&r->held); /* another may be giving it a turn: that is short */
    if (fall_asleep(r)) {
        r->sleeps = r->awake != NULL;
        wait_until(r, until);
        r->sleeps = false;
        int64_t now = wf_now();
        r->loop_turned = now;
        wf_store_rlx(&r->last_turn, now);
    }
    wf_set_release(r);
}

bool wf_reactor_ring(wf_reactor *r, uint32_t ring)
{
    /* [PARK] seq_cst: after what the caller published. Only one of several rings the bell. */
    uint32_t parked = wf_load_seq(&r->parked);
    do {
        if (!wf_reactor_says_parked(parked))
            return false;
    } while (!wf_cas_seq(&r->parked, &parked, ring)); /* it may just fall asleep */
    wf_store_rlx(&r->rung_at, wf_cycles());
    wf_store_rlx(&r->rung_from, wf_cpu_here());
    if (parked == WF_PARKED) {
        wf_add_rlx(&r->bells, 1);
        wf_set_ring(r);
    }
    return true;
}
