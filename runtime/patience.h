/* patience.h - how long a worker with nothing to do watches for a ring before it sleeps.
 *
 * To be woken costs a sleeper and its waker several microseconds each, on a virtual machine tens of them. So where the last rings came within a
 * *moment* of going to sleep, the next one is watched for, that long. Nothing is watched for where sleeps end otherwise, and the first that does
 * counts against it: who idles, or waits for sockets, never does.
 *
 * Two workers that wake each other from sleep are both late by what a wake costs, though either would be in time if the other watched. So of many
 * rings in a row that came late, but not very late, a few are watched for longer. If that was it, the rings come in time from then on.
 *
 * A moment is what a sleep and a wake cost in CPU time, roughly: so to watch in vain costs about as much as it saves when it is not.
 *
 * Pure. Times are differences of wf_cycles(). */
#ifndef WF_PATIENCE_H
#define WF_PATIENCE_H

#include <base/common.h>

enum {
    WF_PATIENCE_TRUST_MOST = 8,
    WF_PATIENCE_LATE = 16,  /* moments */
    WF_PATIENCE_ROUND = 64, /* late rings in a row, of which … */
    WF_PATIENCE_TRIES = 4,  /* … the last ones are watched for */
};

#define WF_PATIENCE_NOT_RUNG UINT64_MAX

typedef struct wf_patience {
    uint64_t moment; /* 0: never watches */
    uint8_t trust;   /* rings that came in time count for it, and all else against it, twice */
    uint8_t late;    /* rings in a row that came late but not very late, round by round */
} wf_patience;

/* How long to watch now; 0: not at all. */
static inline uint64_t wf_patience_now(const wf_patience *p)
{
    if (p->trust > 0)
        return p->moment;
    return p->late >= WF_PATIENCE_ROUND - WF_PATIENCE_TRIES ? WF_PATIENCE_LATE * p->moment : 0;
}

/* A ring came after @waited, or WF_PATIENCE_NOT_RUNG, whether it was watched for or slept through. */
static inline void wf_patience_learn(wf_patience *p, uint64_t waited)
{
    bool in_time = waited <= p->moment, late = !in_time && waited <= WF_PATIENCE_LATE * p->moment;
    if (in_time)
        p->trust = WF_MIN(p->trust + 1, WF_PATIENCE_TRUST_MOST);
    else
        p->trust = p->trust < 2 ? 0 : p->trust - 2;
    p->late = late ? (p->late + 1) % WF_PATIENCE_ROUND : 0;
}

#endif
