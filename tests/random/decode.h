/* decode.h - a program after decoding: steps in a row, blocks by where they end. */
#ifndef RANDOM_DECODE_H
#define RANDOM_DECODE_H

#include <random/program.h>

/* What a step may be: its name, and of which kind. A block holds the steps up to its END; a task is one more of RANDOM_TASKS. */
/* clang-format off */
#define RANDOM_OPS(OP) \
    OP(END, PLAIN) OP(SPAWN, BLOCK | TASK) OP(JOB, BLOCK | TASK | IMPURE) OP(THREAD, BLOCK | TASK | IMPURE) \
    OP(SCOPE, BLOCK) OP(SHIELD, BLOCK) OP(TIMEOUT, BLOCK) OP(GROUP, BLOCK) OP(CORO, BLOCK) \
    OP(SPAWN_FUTURE, TASK) OP(AWAIT_FUTURE, TASK) OP(BLOCKING, IMPURE) OP(YIELD, PLAIN) OP(SLEEP, PLAIN) \
    OP(TICKS, PLAIN) OP(BACKOFF, PLAIN) OP(ADVANCE, PLAIN) OP(JOIN, PLAIN) OP(TRY_JOIN, PLAIN) OP(WAIT, PLAIN) \
    OP(DETACH, PLAIN) OP(ABORT, PLAIN) OP(CLOSE_TASK, PLAIN) OP(LOOK, PLAIN) OP(METRICS, PLAIN) \
    OP(IS_CANCELLED, PLAIN) OP(PANIC, PLAIN) OP(FAIL, PLAIN) OP(RETURN, PLAIN) OP(DEFER, PLAIN) \
    OP(DEFER_POP, PLAIN) OP(LOCAL_SET, PLAIN) OP(LOCAL_GET, PLAIN) OP(SCOPE_CANCEL, PLAIN) OP(BIND, PLAIN) \
    OP(TOKEN_CANCEL, PLAIN) OP(TOKEN_WAIT, PLAIN) OP(TOKEN_CHILD, PLAIN) OP(GROUP_NEXT, PLAIN) \
    OP(GROUP_WAIT, PLAIN) OP(GROUP_CANCEL, PLAIN) OP(GROUP_CLOSE, PLAIN) OP(SEND, PLAIN) OP(RECV, PLAIN) \
    OP(TRY_SEND, PLAIN) OP(TRY_RECV, PLAIN) OP(CHAN_CLOSE, PLAIN) OP(ONESHOT_SEND, PLAIN) \
    OP(ONESHOT_RECV, PLAIN) OP(ONESHOT_CLOSE, PLAIN) OP(BROADCAST_SEND, PLAIN) OP(BROADCAST_RECV, PLAIN) \
    OP(BROADCAST_CLOSE, PLAIN) OP(WATCH_SET, PLAIN) OP(WATCH_NEXT, PLAIN) OP(WATCH_CLOSE, PLAIN) \
    OP(MUTEX, PLAIN) OP(RWLOCK, PLAIN) OP(SEMAPHORE, PLAIN) OP(NOTIFY, PLAIN) OP(NOTIFY_WAIT, PLAIN) \
    OP(COND_WAIT, PLAIN) OP(COND_SIGNAL, PLAIN) OP(BARRIER, PLAIN) OP(ONCE, PLAIN) OP(SELECT, PLAIN) \
    OP(READ, PLAIN) OP(WRITE, PLAIN) OP(SHUTDOWN, PLAIN) OP(STREAM_ABORT, PLAIN) OP(UDP, IMPURE) \
    OP(CONNECT, IMPURE) OP(ACCEPT, IMPURE) OP(SERVE, IMPURE) OP(COPY, PLAIN)
/* clang-format on */

enum { PLAIN = 0, BLOCK = 1, TASK = 2, IMPURE = 4 };

typedef enum random_op {
#define OP(name, kind) OP_##name,
    RANDOM_OPS(OP)
#undef OP
        OPS
} random_op;

typedef struct step {
    uint8_t op, a, b, c;
    uint8_t task;  /* which begins here; 0: none */
    uint8_t owner; /* the task whose step it is */
    uint16_t end;  /* of a block: its first step is the next one, and this the first behind it */
} step;

/* Task 0 is the whole. */
typedef struct program {
    uint8_t header[RANDOM_HEADER];
    unsigned steps, tasks;
    step step[RANDOM_STEPS];
} program;

void random_decode(program *p, const uint8_t *bytes, size_t n, bool pure);

const char *random_op_name(unsigned op);
unsigned random_op_kind(unsigned op);

#endif
