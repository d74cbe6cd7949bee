/* make.c - from a seed to the bytes of a program. Whatever comes out is one; the choices here make programs whose tasks meet often. */
#include "decode.h"

#include <string.h>

static uint64_t draw(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static unsigned below(uint64_t *state, unsigned n) { return (unsigned)(draw(state) % n); }

/* ---- what goes together --------------------------------------------------------------------------------------------- */

enum { MOST = 14, TOPICS = 10 };

/* Up to the first END. */
static const uint8_t topics[TOPICS][MOST] = {
    {OP_SEND, OP_RECV, OP_SEND, OP_RECV, OP_TRY_SEND, OP_TRY_RECV, OP_CHAN_CLOSE, OP_SELECT, OP_SPAWN_FUTURE},
    {OP_ONESHOT_SEND, OP_ONESHOT_RECV, OP_ONESHOT_CLOSE, OP_BROADCAST_SEND, OP_BROADCAST_RECV, OP_BROADCAST_CLOSE,
     OP_WATCH_SET, OP_WATCH_NEXT, OP_WATCH_CLOSE, OP_SELECT},
    {OP_MUTEX, OP_RWLOCK, OP_SEMAPHORE, OP_NOTIFY, OP_NOTIFY_WAIT, OP_COND_WAIT, OP_COND_SIGNAL, OP_BARRIER, OP_ONCE,
     OP_SELECT, OP_SPAWN_FUTURE},
    {OP_JOIN, OP_TRY_JOIN, OP_WAIT, OP_DETACH, OP_ABORT, OP_CLOSE_TASK, OP_LOOK, OP_SPAWN_FUTURE, OP_AWAIT_FUTURE, OP_SELECT},
    {OP_GROUP, OP_GROUP, OP_SPAWN, OP_SPAWN, OP_GROUP_NEXT, OP_GROUP_WAIT, OP_GROUP_CANCEL, OP_GROUP_CLOSE, OP_PANIC,
     OP_FAIL, OP_SELECT, OP_SPAWN_FUTURE},
    {OP_SCOPE, OP_SHIELD, OP_TIMEOUT, OP_SCOPE_CANCEL, OP_BIND, OP_TOKEN_CANCEL, OP_TOKEN_WAIT, OP_TOKEN_CHILD,
     OP_IS_CANCELLED, OP_ABORT},
    {OP_SLEEP, OP_TICKS, OP_BACKOFF, OP_ADVANCE, OP_YIELD, OP_TIMEOUT, OP_SELECT, OP_SPAWN_FUTURE},
    {OP_DEFER, OP_DEFER_POP, OP_LOCAL_SET, OP_LOCAL_GET, OP_IS_CANCELLED, OP_PANIC, OP_CORO, OP_CORO, OP_METRICS,
     OP_YIELD, OP_ABORT},
    {OP_READ, OP_WRITE, OP_READ, OP_WRITE, OP_SHUTDOWN, OP_STREAM_ABORT, OP_COPY, OP_UDP, OP_UDP, OP_CONNECT,
     OP_CONNECT, OP_ACCEPT, OP_SERVE, OP_SELECT},
    {OP_JOB, OP_THREAD, OP_BLOCKING, OP_SEND, OP_RECV, OP_JOIN, OP_ABORT, OP_NOTIFY, OP_NOTIFY_WAIT, OP_MUTEX, OP_SELECT},
};

static uint8_t of_topic(unsigned topic, uint64_t *state)
{
    unsigned n = 0;
    while (n < MOST && topics[topic][n] != OP_END)
        n++;
    return topics[topic][below(state, n)];
}

/* After it there is less to be seen. */
static bool ends_something(uint8_t op)
{
    return op == OP_CHAN_CLOSE || op == OP_ONESHOT_CLOSE || op == OP_BROADCAST_CLOSE || op == OP_WATCH_CLOSE ||
           op == OP_STREAM_ABORT || op == OP_SHUTDOWN || op == OP_PANIC || op == OP_FAIL || op == OP_RETURN ||
           op == OP_ABORT;
}

/* ---- steps ---------------------------------------------------------------------------------------------------------- */

typedef struct maker {
    uint64_t state;
    unsigned topic[4], topics;
    unsigned tasks; /* so far */
} maker;

static uint8_t choose_op(maker *m)
{
    unsigned r = below(&m->state, 100);
    if (r < 26)
        return r < 12 ? OP_END : OP_SPAWN;
    if (r < 34)
        return r < 30 ? OP_SCOPE : OP_YIELD;
    uint8_t op = r < 37 ? (uint8_t)below(&m->state, OPS) : of_topic(m->topic[below(&m->state, m->topics)], &m->state);
    return ends_something(op) && below(&m->state, 4) ? of_topic(m->topic[0], &m->state) : op;
}

/* Who is named is mostly one of the last few. */
static bool names_a_task(uint8_t op) { return op >= OP_JOIN && op <= OP_LOOK; }

static void make_step(maker *m, uint8_t *s)
{
    uint64_t values = draw(&m->state);
    s[0] = choose_op(m);
    memcpy(s + 1, &values, 3);
    if (names_a_task(s[0]))
        s[1] = (uint8_t)(m->tasks - below(&m->state, m->tasks < 4 ? m->tasks : 4));
    else if (!(random_op_kind(s[0]) & TASK) && below(&m->state, 3))
        s[1] %= 4;
    m->tasks += (random_op_kind(s[0]) & TASK) != 0;
}

size_t random_program_make(uint8_t *bytes, uint64_t seed)
{
    maker m = {.state = seed, .tasks = 1};
    unsigned steps = 2 + below(&m.state, below(&m.state, 2) ? 40 : RANDOM_STEPS - 2);
    uint64_t header = draw(&m.state);
    memcpy(bytes, &header, RANDOM_HEADER);
    m.topics = 1 + below(&m.state, 4);
    for (unsigned i = 0; i < m.topics; i++)
        m.topic[i] = below(&m.state, TOPICS);
    for (unsigned i = 0; i < steps; i++)
        make_step(&m, bytes + RANDOM_HEADER + i * RANDOM_STEP);
    return RANDOM_HEADER + steps * RANDOM_STEP;
}
