/* backtrace.h - where a stack stands: return addresses, and what they are called.
 *
 * Unwinding goes by the frame descriptions (DWARF CFI) that compilers emit anyway, through elfutils' libdw, which is loaded when it is first needed and need not
 * be there. One at a time: all of it under one lock, as libdw is not safe for threads. */
#ifndef WF_BACKTRACE_H
#define WF_BACKTRACE_H

#include <runtime/registry.h>
#include <runtime/monitor.h>
#include <stdio.h>

enum { WF_FRAMES_MOST = 64 };

typedef struct wf_frames {
    unsigned count; /* innermost first; 0: nothing is known */
    bool cut;       /* there were more */
    uintptr_t pc[WF_FRAMES_MOST]; /* of a call: the address that it returns to; the first of an interrupted function: where that was */
    bool exact[WF_FRAMES_MOST]; /* … which is such a one */
} wf_frames;

/* Of a strand that is held still (wf_registry_seize()), on whichever stack it was left: a coroutine's goes on into its resumer's. */
void wf_backtrace_strand(const weft_task *task, wf_frames *out);

/* Of what runs on @w's thread now: interrupts it by SIGURG, whose handler copies registers and stack, no more. False: it did not answer in time, or cannot be
 * interrupted (its runtime did not prepare for that). */
bool wf_backtrace_worker(wf_worker *w, wf_frames *out);

/* The same, and what it ran: not to be looked into. */
bool wf_backtrace_worker_of(wf_worker *w, wf_frames *out, const weft_task **task);

/* A strand that was frozen while it was held still (diag/frozen.h) and may long run again. */
struct wf_frozen;
void wf_backtrace_frozen(const struct wf_frozen *frozen, wf_frames *out);

/* Until they are let go, names are found faster: what is known of the program's files is kept. */
void wf_backtrace_hold(void);
void wf_backtrace_let_go(void);

/* One line a frame: "    #0 handle_request at server.c:123" or "    #0 0x55d0c0de in server". */
void wf_backtrace_print(const wf_frames *frames, FILE *to);

/* Do both stand at the same place? For groups. */
bool wf_frames_equal(const wf_frames *a, const wf_frames *b);

#endif
