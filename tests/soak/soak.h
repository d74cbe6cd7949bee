/* soak.h - what the parties of a soak agree on: the frames that are echoed, and the counters that everybody outside the servers shares.
 *
 * A frame comes back as it went, so a server that only echoes bytes serves the same clients as one that reads frames. */
#ifndef SOAK_H
#define SOAK_H

#include <stdatomic.h>
#include <stdint.h>

enum { FRAME_MAGIC = 0x74666577, FRAME_MOST = 64 * 1024 };

/* What soak_server does before it echoes. */
typedef enum frame_op {
    OP_ECHO,
    OP_BLOCKING, /* sums the bytes up on a thread of the pool */
    OP_SLEEP,    /* for `argument` milliseconds */
    OP_DEADLINE, /* waits in scopes that end it */
    OP_GROUP,    /* children, cancelled at some point */
    OP_ABORT,    /* tasks and jobs that it aborts itself */
    OP_PIPE,     /* sends the bytes through a pipe */
    OP_COUNT,
} frame_op;

typedef struct frame {
    uint32_t magic, size; /* size: of what follows */
    uint32_t sum;         /* of what follows */
    uint8_t op, fragile;  /* fragile: the server may abort the connection's task, at any time from now on */
    uint16_t argument;
} frame;

static inline uint32_t frame_sum(const unsigned char *bytes, uint32_t size)
{
    uint32_t sum = 2166136261u;
    for (uint32_t i = 0; i < size; i++)
        sum = (sum ^ bytes[i]) * 16777619u;
    return sum;
}

/* Chance that can be repeated: never zero. */
static inline uint64_t chance(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline unsigned below(uint64_t *state, unsigned n) { return (unsigned)((chance(state) >> 16) % n); }

/* The state for @seed and the @n-th that has one. */
static inline uint64_t chance_of(uint64_t seed, uint64_t n)
{
    uint64_t state = (seed + 1) * 0x9E3779B97F4A7C15u ^ (n + 1) * 0xD1B54A32D192ED03u;
    state = state ? state : 1;
    for (int i = 0; i < 8; i++)
        (void)chance(&state);
    return state;
}

enum { ENDPOINTS_MOST = 8, ADDRESS_TEXT = 128, PROBLEM_TEXT = 160 };

typedef enum speech { SPEECH_FRAMES, SPEECH_HTTP } speech;

/* Where clients go. */
typedef struct endpoint {
    char address[ADDRESS_TEXT]; /* "127.0.0.1:80" or "unix:/path" */
    speech speech;
    int tls;
    unsigned crowd; /* how many connections one client may open at once and leave idle */
} endpoint;

/* In memory that all client processes share, so that it outlives those that are killed. */
typedef struct soak_shared {
    uint64_t seed;
    endpoint endpoints[ENDPOINTS_MOST];
    unsigned endpoint_count;
    atomic_int stop;      /* no new conversations */
    atomic_int ending;    /* the servers are being stopped: conversations may fail, but no byte may be wrong */
    atomic_ulong opened;  /* connections */
    atomic_ulong answers; /* requests that were answered */
    atomic_ulong deaths;  /* connections that the client broke off */
    atomic_ulong cut;     /* fragile conversations that the server ended */
    atomic_ulong wrong;   /* answers with other bytes than they should have */
    atomic_ulong broken;  /* conversations that failed and had no reason to */
    atomic_int told;      /* 1: somebody writes `problem`, 2: it is there */
    char problem[PROBLEM_TEXT];
} soak_shared;

/* A client process, from its first conversation until `stop`. */
void client_run(soak_shared *shared, unsigned number);

#endif
