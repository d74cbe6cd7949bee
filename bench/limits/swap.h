/* swap.h - going from one stack to another: weft's own switch, and nothing around it. */
#ifndef SWAP_H
#define SWAP_H

#include <runtime/context.h>

/* A suspended stack. */
struct stack {
    void *sp;
};

/* Go on where @to was left, or at its beginning. Returns when somebody comes back to @from. */
static inline void swap(struct stack *from, struct stack *to) { wf_switch(&from->sp, to->sp, NULL); }

/* Let @to begin in @entry, which must never return, at the top of @size bytes at @memory. */
static inline void swap_prepare(struct stack *to, void *memory, size_t size, void (*entry)(void *unused))
{
    to->sp = wf_switch_prepare((char *)memory + size, entry, NULL);
}

#endif
