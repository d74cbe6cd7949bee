/* unwind.h - from a copy of stacks to return addresses that a reader wants to see, and what they are called.
 *
 * By libdw if that is there, else by frame pointers, as far as these are plausible. Under the caller's one lock: see libdw.h. */
#ifndef WF_UNWIND_H
#define WF_UNWIND_H

#include <diag/backtrace.h>
#include <diag/libdw.h>

void wf_unwind(const wf_frozen *frozen, wf_frames *out);

/* What is at @address. @dw: the libdw session is open. */
void wf_place_of(bool dw, uint64_t address, wf_place *out);

/* The address to look up for a frame: a call may be the last instruction of its function. */
static inline uint64_t wf_frame_address(const wf_frames *frames, unsigned i)
{
    return frames->pc[i] - !frames->exact[i];
}

#endif
