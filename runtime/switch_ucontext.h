/* switch_ucontext.h - what switch_ucontext.c leaves on stacks; layout.c tells debuggers. */
#ifndef WF_SWITCH_UCONTEXT_H
#define WF_SWITCH_UCONTEXT_H

#include <ucontext.h>

typedef struct wf_suspended {
    ucontext_t context; /* first: its address is the stack pointer */
    void *value;        /* what the switch back brings */
} wf_suspended;

/* At the top of a new stack. */
typedef struct wf_start {
    wf_suspended first;
    void (*entry)(void *);
    void *arg;
} wf_start;

#endif
