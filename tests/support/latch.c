/* latch.c - see latch.h. */
#include "latch.h"

static void note_most(latch *l, int inside)
{
    int most = l->most;
    while (inside > most && !atomic_compare_exchange_weak(&l->most, &most, inside))
        ;
}

void *latch_pass(void *arg)
{
    latch *l = arg;
    note_most(l, ++l->inside);
    l->entered++;
    pthread_mutex_lock(&l->lock);
    while (!l->open)
        pthread_cond_wait(&l->moved, &l->lock);
    pthread_mutex_unlock(&l->lock);
    l->inside--;
    return arg;
}

void latch_open(latch *l)
{
    pthread_mutex_lock(&l->lock);
    l->open = true;
    pthread_cond_broadcast(&l->moved);
    pthread_mutex_unlock(&l->lock);
}
