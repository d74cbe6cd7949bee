/* swap.h - going from one stack to another by hand: the registers that a call keeps, the stack pointer, and a jump. */
#ifndef SWAP_H
#define SWAP_H

#include <stddef.h>

/* A suspended stack. */
struct stack {
    void *sp;
};

/* Go on where @to was left, or at its beginning. Returns when somebody comes back to @from. */
void swap(struct stack *from, struct stack *to);

/* Let @to begin in @entry, which must never return, at the top of @size bytes at @memory. */
void swap_prepare(struct stack *to, void *memory, size_t size, void (*entry)(void));

#endif
