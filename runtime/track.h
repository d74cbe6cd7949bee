/* track.h - where a task is and since when, in one word of its header: for people, and for nobody else but pinned tasks.
 *
 *   bits 0 to 31    since when, in wf_ticks()
 *   bits 32 to 47   the worker: idle: who polled it last; queued: who queued it; running: who polls it; NOBODY: a thread that is none did. A pinned
 *                   task's is always its own
 *   bit 48          it is being polled
 *
 * A worker has the words that it writes at hand, made anew each time that it looks around: so to write one costs a load and a store, and the time in
 * it is as old as that look. Written by whoever may queue or poll the task at that moment. */
#ifndef WF_TRACK_H
#define WF_TRACK_H

#include <base/common.h>

#define WF_TRACK_RUNNING (UINT64_C(1) << 48)
enum { WF_TRACK_NOBODY = 0xffff };

static inline uint64_t wf_track(uint32_t ticks, unsigned worker) { return ticks | (uint64_t)worker << 32; }
static inline uint32_t wf_track_since(uint64_t track) { return (uint32_t)track; }
static inline unsigned wf_track_worker(uint64_t track) { return (unsigned)(track >> 32) & 0xffff; }

#endif
