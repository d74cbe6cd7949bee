/* party.h - the processes that take part in a soak, and what the kernel says of them. */
#ifndef PARTY_H
#define PARTY_H

#include "soak.h"
#include <sys/types.h>

enum { PARTIES_MOST = 3, NOT_KNOWN = -1 };

/* What has to come back to where it began. */
typedef struct reading {
    long memory;                                          /* resident, KiB */
    long descriptors, pipes, threads, tasks, connections; /* descriptors: but for pipes */
} reading;

typedef struct party {
    const char *name, *program, *arguments[3];
    pid_t pid;                 /* 0: not running */
    int out;                   /* what it prints */
    char errors[ADDRESS_TEXT]; /* the file with what it complained of */
    reading start, warm, peak, end;
    int code;        /* as from waitpid() */
    double stopping; /* seconds from SIGTERM to the end */
} party;

/* Start it, and hand each line that it prints to @heard until that says 1. 0, or -1 if it came to nothing. */
int party_start(party *p, const char *directory, int (*heard)(void *arg, party *p, const char *line), void *arg);
/* Its memory, descriptors and threads. */
void party_read(const party *p, reading *now);
/* 1: it has ended, and p->code says how. */
int party_ended(party *p);
/* Have all of them stop, and wait. */
void parties_stop(party *parties, int n, int most_seconds);

/* A client process: this one, forked. Its id, or -1. */
pid_t client_start(soak_shared *shared, unsigned number);

double seconds_now(void);
void rest(double seconds);

#endif
