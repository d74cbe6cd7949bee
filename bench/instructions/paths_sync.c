/* paths_sync.c - channels, selects, locks, scopes, tokens. */
#include "paths.h"

static weft_chan *new_chan(size_t capacity)
{
    weft_chan *ch;
    BENCH_CHECK(weft_chan_create(&ch, sizeof(long), capacity) == 0);
    return ch;
}

static void free_chan(weft_chan *ch) { BENCH_CHECK(weft_chan_free(ch) == 0); }

static void send(weft_chan *ch, long item) { BENCH_CHECK(weft_chan_send(ch, &item) == 0); }

static long receive(weft_chan *ch)
{
    long item;
    BENCH_CHECK(weft_chan_recv(ch, &item) == 0);
    return item;
}

/* ---- channels ------------------------------------------------------------------------------------------------------ */

static weft_chan *there, *back;

static void *return_ball(void *arg)
{
    for (long i = paths_count(arg); i > 0; i--)
        send(back, receive(there));
    return NULL;
}

/* There and back: two sends, two receives that wait. */
void *path_chan_pingpong(void *arg)
{
    there = new_chan(1);
    back = new_chan(1);
    weft_task *other = bench_spawn(return_ball, arg);
    for (long i = paths_count(arg); i > 0; i--) {
        send(there, i);
        BENCH_CHECK(receive(back) == i);
    }
    bench_join(other);
    free_chan(there);
    free_chan(back);
    return NULL;
}

/* A send and a receive for which there is room and an item. */
void *path_chan_buffered(void *arg)
{
    enum { ROOM = 100 };
    weft_chan *ch = new_chan(ROOM);
    for (long i = paths_count(arg); i > 0; i -= ROOM) {
        for (long j = 0; j < ROOM; j++)
            send(ch, j);
        for (long j = 0; j < ROOM; j++)
            BENCH_CHECK(receive(ch) == j);
    }
    free_chan(ch);
    return NULL;
}

/* ---- selects ------------------------------------------------------------------------------------------------------- */

static void *send_by_turns(void *arg)
{
    for (long i = paths_count(arg); i > 0; i--)
        send(i % 2 ? there : back, i);
    return NULL;
}

/* An item received through one of two channels, with its send into channels of one place. */
void *path_select_two(void *arg)
{
    long item;
    there = new_chan(1);
    back = new_chan(1);
    weft_case cases[] = {WEFT_RECV(there, &item), WEFT_RECV(back, &item)};
    weft_task *sender = bench_spawn(send_by_turns, arg);
    for (long i = paths_count(arg); i > 0; i--)
        BENCH_CHECK(weft_select(cases, 2) >= 0);
    bench_join(sender);
    free_chan(there);
    free_chan(back);
    return NULL;
}

/* The same with the item there, and no chance: a send, and a select that does not wait. */
void *path_select_ready(void *arg)
{
    long item;
    there = new_chan(1);
    back = new_chan(1);
    weft_case cases[] = {WEFT_RECV(there, &item), WEFT_RECV(back, &item)};
    for (long i = paths_count(arg); i > 0; i--) {
        send(i % 2 ? there : back, i);
        BENCH_CHECK(weft_select_biased(cases, 2) == !(i % 2));
    }
    free_chan(there);
    free_chan(back);
    return NULL;
}

/* ---- what nobody waits for ------------------------------------------------------------------------------------------- */

void *path_mutex(void *arg)
{
    static weft_mutex mutex = WEFT_MUTEX_INIT;
    for (long i = paths_count(arg); i > 0; i--) {
        weft_mutex_lock(&mutex);
        weft_mutex_unlock(&mutex);
    }
    return NULL;
}

void *path_scope(void *arg)
{
    for (long i = paths_count(arg); i > 0; i--) {
        weft_scope scope = {0};
        BENCH_CHECK(weft_scope_enter(&scope, 60 * WEFT_SEC) == 0);
        BENCH_CHECK(weft_scope_leave(&scope) == 0);
    }
    return NULL;
}

void *path_token_check(void *arg)
{
    weft_token *token;
    BENCH_CHECK(weft_token_create(&token, NULL) == 0);
    for (long i = paths_count(arg); i > 0; i--)
        BENCH_CHECK(!weft_token_is_cancelled(token));
    BENCH_CHECK(weft_token_free(token) == 0);
    return NULL;
}
