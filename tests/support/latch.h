/* latch.h - what jobs that block their thread wait for, in the tests of blocking work. */
#ifndef LATCH_H
#define LATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef struct latch {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool open;          /* under lock */
    atomic_int entered; /* who has come to it so far */
    atomic_int inside;  /* … and has not passed */
    atomic_int most;    /* inside at once */
} latch;

#define LATCH_INIT                                                           \
    {                                                                        \
        .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER \
    }

/* The body of a job: blocks its thread until the latch is open. Returns @latch. */
void *latch_pass(void *latch);

void latch_open(latch *l);

#endif
