/* switch_ucontext.c - wf_switch where there is no assembly for the machine: swapcontext, with a system call a
 * switch.
 *
 * The "stack pointer" is the address of a ucontext_t that lies on the suspended stack itself, so nothing needs freeing.
 * Unlike the assembly it switches the signal mask and the FP control state as well. */
#include <runtime/context.h>

typedef int wf_not_empty; /* ISO C wants a declaration in every file */

#if WF_SWITCH_UCONTEXT

#include <runtime/switch_ucontext.h>
#include <stdlib.h>

/* makecontext only adds these two up to find the top; what is really there is the caller's business. */
enum { ASSUMED_SIZE = 8192 };

WF_UNINSTRUMENTED void *wf_switch(void **save_sp, void *load_sp, void *value)
{
    wf_suspended here;
    wf_suspended *other = load_sp;
    here.context.uc_stack = (stack_t){0}; /* AddressSanitizer's swapcontext reads it, glibc's does not write it */
    other->value = value;
    *save_sp = &here;
    if (swapcontext(&here.context, &other->context) != 0)
        abort();
    return here.value;
}

WF_UNINSTRUMENTED int wf_switch_code(void **save_sp, void *load_sp, void *value)
{
    return (int)(intptr_t)wf_switch(save_sp, load_sp, value);
}

static void begin(unsigned high, unsigned low)
{
    wf_start *s = (void *)(uintptr_t)((uint64_t)high << 32 | low);
    s->entry(s->arg);
    abort();
}

void *wf_switch_prepare(void *stack_top, void (*entry)(void *), void *arg)
{
    uintptr_t at = ((uintptr_t)stack_top - sizeof(wf_start)) & ~(uintptr_t)63;
    wf_start *s = (void *)at;
    if (getcontext(&s->first.context) != 0)
        abort();
    s->entry = entry;
    s->arg = arg;
    s->first.context.uc_link = NULL;
    s->first.context.uc_stack.ss_sp = (void *)(at - ASSUMED_SIZE);
    s->first.context.uc_stack.ss_size = ASSUMED_SIZE;
    makecontext(&s->first.context, (void (*)(void))begin, 2, (unsigned)((uint64_t)at >> 32), (unsigned)at);
    return &s->first;
}

#endif
