/* swap_ucontext.c - swap.h where there is no swap.S: by the system's contexts, which cost a system call each way. */
#include "swap.h"

typedef int swap_ucontext; /* a file is never empty */

#if !(defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__)))
#include <stdlib.h>
#include <ucontext.h>

static ucontext_t *context_of(struct stack *s)
{
    if (!s->sp && !(s->sp = calloc(1, sizeof(ucontext_t))))
        abort();
    return s->sp;
}

void swap(struct stack *from, struct stack *to) { swapcontext(context_of(from), context_of(to)); }

void swap_prepare(struct stack *to, void *memory, size_t size, void (*entry)(void))
{
    ucontext_t *context = context_of(to);
    getcontext(context);
    context->uc_stack.ss_sp = memory;
    context->uc_stack.ss_size = size;
    makecontext(context, entry, 0);
}
#endif
