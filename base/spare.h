/* spare.h - how many of the things that lie about unused have not been needed for a while.
 *
 * Time passes in periods. What lay unused throughout one of them may go in the next; so what a load takes and gives back again and again
 * within a period stays, and a load that is steady pays nothing. Pure: the caller has the lock and the clock. */
#ifndef WF_SPARE_H
#define WF_SPARE_H

#include <base/common.h>

#define WF_SPARE_PERIOD INT64_C(250000000) /* ns */

typedef struct wf_spare {
    size_t count;  /* unused now */
    size_t least;  /* … at the lowest in this period */
    size_t due;    /* … in the last one, and still: these may go */
    int64_t until; /* the end of this period */
} wf_spare;

/* One more is unused. */
static inline void wf_spare_add(wf_spare *s) { s->count++; }

/* One is needed. */
static inline void wf_spare_take(wf_spare *s)
{
    s->count--;
    s->least = WF_MIN(s->least, s->count);
    s->due = WF_MIN(s->due, s->count);
}

/* At @now, may one go? */
static inline bool wf_spare_is_due(wf_spare *s, int64_t now)
{
    if (now >= s->until) {
        s->due = s->least;
        s->least = s->count;
        s->until = now + WF_SPARE_PERIOD;
    }
    return s->due > 0;
}

/* One that was due goes. */
static inline void wf_spare_drop(wf_spare *s)
{
    s->due--;
    wf_spare_take(s);
}

/* When to ask again, after wf_spare_is_due(): WEFT_FOREVER where nothing lies about. */
static inline int64_t wf_spare_next(const wf_spare *s)
{
    if (s->count == 0)
        return INT64_MAX;
    return s->due > 0 ? 0 : s->until;
}

#endif
