/* interval.h - the two halves of a tick, for whoever waits for more than one thing. */
#ifndef WF_INTERVAL_H
#define WF_INTERVAL_H

#include <weft/time.h>

/* When the next tick is due: at once, if none was asked for yet. */
int64_t wf_interval_due(const weft_interval *iv);

/* The tick that was due at @due is taken at @now. */
void wf_interval_take(weft_interval *iv, int64_t due, int64_t now);

#endif
