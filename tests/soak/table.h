/* table.h - a soak as a whole, and its last words. */
#ifndef TABLE_H
#define TABLE_H

#include "party.h"

/* What soak_server says. */
typedef struct telling {
    long tasks, connections;
    unsigned long aborts, groups, scopes, usr1, hup, wrong;
} telling;

typedef struct soak {
    soak_shared *shared;
    char directory[64];
    party parties[PARTIES_MOST]; /* the first is soak_server */
    int count, control;          /* control: the connection */
    telling told;
    double seconds;
    int hasty;                  /* idle threads are not waited for */
    long memory_most;           /* KiB above the warm reading */
    unsigned long signals[2];   /* SIGUSR1, SIGHUP: how many were sent */
    unsigned long stops, kills; /* of servers for a moment; of client processes */
    uint64_t luck;
    const char *failure; /* NULL: none so far */
} soak;

/* Ends, which a runtime keeps for copying. */
enum { PIPES_KEPT = 32 };

void table_print(const soak *s);
/* Say what is not as it should be. 0 if all is. */
int table_judge(const soak *s);
/* Nonzero: everything that should happen has happened once. */
int table_eventful(const soak *s);
/* Nonzero: what comes back by itself has come back. */
int table_returned(const soak *s, int with_threads);

#endif
