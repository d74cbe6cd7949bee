/* frozen.h - a copy of what an unwinder needs of something that ran: registers, and the stacks it was on.
 *
 * Made in a moment, by a signal handler too; unwound at leisure, when what was copied may long run again. It knows how each switch leaves a stack
 * (runtime/switch_*). A coroutine's stack is followed by that of its resumer, and so on. */
#ifndef WF_FROZEN_H
#define WF_FROZEN_H

#include <runtime/worker.h>

enum { WF_FROZEN_BYTES = 64 * 1024, WF_FROZEN_STACKS = 4, WF_REGISTERS = 32 };

/* By their numbers in DWARF. Of a parked one only those are known that calls preserve. */
typedef struct wf_registers {
    uint64_t known; /* bit i: value[i] is */
    uint64_t value[WF_REGISTERS];
    uint64_t pc, sp, fp;
} wf_registers;

typedef struct wf_frozen_stack {
    uintptr_t low, high; /* the addresses that were copied */
    size_t at;           /* … to bytes[at] */
    wf_registers registers;
    bool exact;  /* registers.pc is where it was interrupted, not where a call returns to */
    bool whole;  /* up to the stack's end */
    bool pooled; /* that is the bottom of a strand or coroutine, not in the midst of a worker's loop */
} wf_frozen_stack;

typedef struct wf_frozen {
    unsigned count; /* of stacks, innermost first */
    bool cut;       /* there was more */
    size_t used;
    wf_frozen_stack stacks[WF_FROZEN_STACKS];
    alignas(16) unsigned char bytes[WF_FROZEN_BYTES];
} wf_frozen;

/* Of who was left in @body, and whoever waits for that one. Nobody may run it meanwhile. */
void wf_frozen_parked(wf_frozen *f, const wf_body *body);

/* Of what runs as @exec on @w's thread, which is the calling one, interrupted at @context (a ucontext_t). Async-signal-safe. */
void wf_frozen_running(wf_frozen *f, const wf_worker *w, const wf_exec *exec, const void *context);

/* The word at @address of that stack. False: it was not copied. */
bool wf_frozen_read(const wf_frozen *f, const wf_frozen_stack *stack, uintptr_t address, uint64_t *out);

#endif
