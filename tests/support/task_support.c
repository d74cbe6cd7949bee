/* task_support.c - threads, all at once. */
#include "task_support.h"

#include <pthread.h>

enum { MOST = 8 };

void in_threads(int n, void *(*fn)(void *), void *arg)
{
    pthread_t threads[MOST];
    cr_assert_leq(n, MOST);
    for (int i = 0; i < n; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, fn, arg), 0);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}
