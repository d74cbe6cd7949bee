/* values.c - scenes of broadcast.c and watch.c: each listener gets each value, or is told how many it missed; who waits for a newer one is not forgotten. */
#include "../ordinary.h"

#define unlink unlink_waiter
#include <sync/waiters.c>
#undef unlink
#define wait_for wait_for_news
#define poll_case poll_subscription
#define leave_case leave_subscription
#include <sync/broadcast.c>
#undef leave_case
#undef poll_case
#undef wait_for
#include <sync/watch.c>

typedef struct value {
    uint64_t number, twice; /* copied together, or not at all */
    char more[8];
} value;

static struct {
    weft_broadcast *broadcast;
    weft_subscription *subscriptions[2];
    weft_watch *watch;
    uint64_t got[2];
} s;

#define VALUE_SCENE(name, ...) MODEL_SCENE(name, .state = &s, .state_size = sizeof s, __VA_ARGS__)

static value numbered(uint64_t n) { return (value){.number = n, .twice = 2 * n}; }

static uint64_t number_of(const value *v)
{
    model_check(v->twice == 2 * v->number);
    return v->number;
}

/* ---- to everybody ------------------------------------------------------------------------------------------------------ */

static void keep_one(void)
{
    ordinary_begin();
    model_check(weft_broadcast_create(&s.broadcast, sizeof(value), 1) == 0);
    model_name(&s.broadcast->lock, "broadcast");
    for (int i = 0; i < 2; i++)
        model_check(weft_subscribe(&s.subscriptions[i], s.broadcast) == 0);
}

static void send_two_and_close(void)
{
    for (uint64_t i = 1; i <= 2; i++) {
        value v = numbered(i);
        model_check(weft_broadcast_send(s.broadcast, &v) == 2);
    }
    weft_broadcast_close(s.broadcast);
}

/* What is missed and what is received are all. */
static void listen(int i)
{
    uint64_t missed, next = 1;
    value v;
    int err;
    while ((err = weft_subscription_recv(s.subscriptions[i], &v, &missed)) == 0) {
        model_check(number_of(&v) == next + missed);
        next += missed + 1;
    }
    model_check(err == WEFT_ECLOSED && next == 3);
    ordinary_end();
}

static void listen_first(void) { listen(0); }
static void listen_second(void) { listen(1); }

static void free_broadcast(void)
{
    for (int i = 0; i < 2; i++)
        weft_unsubscribe(s.subscriptions[i]);
    model_check(weft_broadcast_free(s.broadcast) == 0);
    model_check(model_blocks() == 0);
}

VALUE_SCENE(broadcast_to_one, .setup = keep_one, .threads = {send_two_and_close, listen_first},
            .finish = free_broadcast, .preemptions = 2, .stale = 0, .random = 300);
VALUE_SCENE(broadcast_to_two, .setup = keep_one, .threads = {send_two_and_close, listen_first, listen_second},
            .finish = free_broadcast, .preemptions = 1, .stale = 0, .random = 500);

/* ---- the latest --------------------------------------------------------------------------------------------------------- */

static void of_zero(void)
{
    value zero = numbered(0);
    ordinary_begin();
    model_check(weft_watch_create(&s.watch, sizeof zero, &zero) == 0);
    model_name(&s.watch->lock, "watch");
}

static void set_two_and_close(void)
{
    for (uint64_t i = 1; i <= 2; i++) {
        value v = numbered(i);
        model_check(weft_watch_set(s.watch, &v) == 0);
    }
    weft_watch_close(s.watch);
}

/* Some may be skipped, never the last; each is newer. */
static void follow(void)
{
    uint64_t version = 1, last = 0;
    value v;
    int err;
    while ((err = weft_watch_next(s.watch, &v, &version)) == 0) {
        model_check(number_of(&v) > last && version == number_of(&v) + 1);
        last = number_of(&v);
    }
    model_check(err == WEFT_ECLOSED && last == 2);
    ordinary_end();
}

static void free_watch(void)
{
    model_check(weft_watch_free(s.watch) == 0);
    model_check(model_blocks() == 0);
}

VALUE_SCENE(watch_one, .setup = of_zero, .threads = {set_two_and_close, follow}, .finish = free_watch, .preemptions = 2,
            .stale = 0, .random = 300);
VALUE_SCENE(watch_two, .setup = of_zero, .threads = {set_two_and_close, follow, follow}, .finish = free_watch,
            .preemptions = 1, .stale = 0, .random = 500);

/* Who is told that it is closed frees it: the closer does not touch it any more. */
static void close_watch(void) { weft_watch_close(s.watch); }

static void learn_and_free(void)
{
    uint64_t version = 1;
    value v;
    model_check(weft_watch_next(s.watch, &v, &version) == WEFT_ECLOSED);
    model_check(weft_watch_free(s.watch) == 0);
    ordinary_end();
}

static void nothing_left(void) { model_check(model_blocks() == 0); }

VALUE_SCENE(watch_freed_by_who_was_told, .setup = of_zero, .threads = {close_watch, learn_and_free},
            .finish = nothing_left, .preemptions = 3, .stale = 1, .random = 200);
