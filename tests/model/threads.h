/* threads.h - what a scene's sources find in place of the system's threads: for the compiler's command line (-include). */
#ifndef MODEL_THREADS_H
#define MODEL_THREADS_H

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

int model_mutex_init(pthread_mutex_t *, const pthread_mutexattr_t *);
int model_mutex_destroy(pthread_mutex_t *);
int model_mutex_lock(pthread_mutex_t *);
int model_mutex_unlock(pthread_mutex_t *);
int model_cond_init(pthread_cond_t *, const pthread_condattr_t *);
int model_cond_destroy(pthread_cond_t *);
int model_cond_wait(pthread_cond_t *, pthread_mutex_t *);
int model_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
int model_cond_signal(pthread_cond_t *);
int model_cond_broadcast(pthread_cond_t *);
int model_once(pthread_once_t *, void (*)(void));
int model_key_create(pthread_key_t *, void (*)(void *));
int model_setspecific(pthread_key_t, const void *);
int model_setcancelstate(int, int *);
int model_sched_yield(void);
void model_pause(void);
void *model_alloc(size_t);
void *model_calloc(size_t, size_t);
void model_free(void *);
void *model_memcpy(void *, const void *, size_t);
void *model_memset(void *, int, size_t);

#define pthread_mutex_init model_mutex_init
#define pthread_mutex_destroy model_mutex_destroy
#define pthread_mutex_lock model_mutex_lock
#define pthread_mutex_unlock model_mutex_unlock
#define pthread_cond_init model_cond_init
#define pthread_cond_destroy model_cond_destroy
#define pthread_cond_wait model_cond_wait
#define pthread_cond_timedwait model_cond_timedwait
#define pthread_cond_signal model_cond_signal
#define pthread_cond_broadcast model_cond_broadcast
#define pthread_once model_once
#define pthread_key_create model_key_create
#define pthread_setspecific model_setspecific
#define pthread_setcancelstate model_setcancelstate
#define sched_yield model_sched_yield
#define malloc model_alloc
#define calloc model_calloc
#define aligned_alloc(alignment, size) model_alloc(size)
#define free model_free

/* The compiler marks no accesses of these. */
#define memcpy model_memcpy
#define memset model_memset

/* A spinning thread waits for another. */
#define __builtin_ia32_pause model_pause

#endif
