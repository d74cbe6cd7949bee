/* signals.h - a signal handle as one of several things that somebody waits for. weft_signal_next() is an await around this. */
#ifndef WF_SIGNALS_H
#define WF_SIGNALS_H

#include <weft/future.h>
#include <weft/os.h>

/* How many arrivals there were since it was last asked, at least 1. None: WEFT_PENDING; @cx's waker is kept, and the handle belongs to
 * it until a later poll returns something else or wf_signal_forget(). WEFT_EBUSY: it belongs to another, and nothing has changed. Also
 * WEFT_ENOMEM. */
int wf_signal_poll(weft_signal *s, weft_context *cx);

/* Give up after a WEFT_PENDING, and only then. What arrives is counted on for whoever asks next. */
void wf_signal_forget(weft_signal *s);

#endif
