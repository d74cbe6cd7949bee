/* alloc.c - see alloc.h. */
#include <base/alloc.h>
#include <stdlib.h>
#include <string.h>

static void *from_malloc(size_t size, void *arg)
{
    (void)arg;
    return malloc(size);
}

static void to_free(void *block, void *arg)
{
    (void)arg;
    free(block);
}

const weft_allocator wf_malloc_allocator = {.alloc = from_malloc, .free = to_free};

void *wf_alloc(const weft_allocator *a, size_t size)
{
    void *block = a->alloc(size, a->arg);
    if (block)
        memset(block, 0, size);
    return block;
}

void wf_free(const weft_allocator *a, void *block)
{
    if (block)
        a->free(block, a->arg);
}
