/* alloc.h - all of weft's small blocks come through here: a runtime's allocator, or malloc where there is no runtime. */
#ifndef WF_ALLOC_H
#define WF_ALLOC_H

#include <base/common.h>
#include <weft/runtime.h>

extern const weft_allocator wf_malloc_allocator;

/* Zeroed, or NULL. */
void *wf_alloc(const weft_allocator *a, size_t size);
void wf_free(const weft_allocator *a, void *block);

#endif
