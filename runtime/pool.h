/* pool.h - threads that may block.
 *
 * Elastic: a thread is started when a job comes and nobody is idle, up to the lane's cap; it leaves after some seconds without work. Lanes do
 * not share their caps, so slow name servers, slow disks and slow users do not starve each other (d40). One pool per runtime, made on
 * first use. */
#ifndef WF_POOL_H
#define WF_POOL_H

#include <base/exec.h>
#include <base/list.h>

typedef enum { WF_LANE_USER, WF_LANE_FILES, WF_LANE_NAMES, WF_LANES } wf_lane;

/* Embedded in whatever is to be done. The pool touches it no more once it has called run. */
typedef struct wf_job {
    wf_node node; /* the pool's */
    void (*run)(struct wf_job *self);
} wf_job;

/* Returns 0; WEFT_ENOMEM: no thread could be started, and none of the lane runs; WEFT_ECANCELED: the runtime has stopped;
 * WEFT_ENOTSUP: a forked child's copy of it. Until the job has ended or is taken back, a paused clock stands still. */
int wf_pool_submit(weft_runtime *rt, wf_lane lane, wf_job *job);

/* Take it back if it has not begun. True: it will not be run. */
bool wf_pool_retract(weft_runtime *rt, wf_lane lane, wf_job *job);

/* A system call made elsewhere for the calling task: **awaits** @call(@arg) on @lane and returns what it returned, or an interruption before it
 * has begun. On an ordinary thread it is called directly. @call must not wait. */
ssize_t wf_pool_call(wf_lane lane, ssize_t (*call)(void *arg), void *arg);

/* The runtime is given up with jobs that do not return: nothing is begun any more, what runs is counted in the log, and each thread
 * leaves when its job lets it. */
void wf_pool_abandon(weft_runtime *rt);

/* Is nothing queued and nothing run? Then *@threads do nothing but wait for work, and nobody comes of those that are leaving. */
bool wf_pool_is_idle(weft_runtime *rt, unsigned *threads);

/* For tests: how long a thread stays without work, from now on. */
void wf_pool_set_patience(int64_t ns);

#endif
