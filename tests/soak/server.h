/* server.h - what the parts of soak_server know of each other. */
#ifndef SOAK_SERVER_H
#define SOAK_SERVER_H

#include "soak.h"
#include <pthread.h>
#include <stddef.h>
#include <weft.h>

/* Counted since the start. */
typedef struct tally {
    atomic_ulong aborts;    /* tasks and jobs that were aborted from outside */
    atomic_ulong groups;    /* cancelled */
    atomic_ulong scopes;    /* that ended what was in them */
    atomic_ulong usr1, hup; /* arrivals */
    atomic_ulong wrong;     /* what should not be: a sum that differs, a scope that did not fire */
} tally;

extern tally counted;

/* conversation.c: a connection, and who aborts it. */
void *converse(weft_stream *peer, void *arg);
/* stackless.c: a connection without a stack. */
weft_future *converse_without_stack(weft_stream *peer, void *arg);
/* Abort one of those that said they are fragile. Nonzero if there was one. */
int abort_somebody(uint64_t *luck);
/* End the era of the scopes that are bound to it, and begin another. */
int next_era(void);
/* When no conversation is left. */
void last_era(void);

/* labour.c: before an echo. 0, or an interruption. */
int labour(const frame *f, unsigned char *bytes);

/* errands.c: one of those, by chance; and a connection that is passed on. */
void errands_know(const char *own_address);
void errand(uint64_t *luck);
/* 0 or a negative code. The first one starts what stays. */
int errand_process(void);
void *pass_on(weft_stream *peer, void *arg);

/* unrest.c: what the server does to itself while there is a storm. */
void unrest_set(int on);
void *unrest(void *arg);

#endif
