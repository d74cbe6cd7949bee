/* chunk.h - how the memory of headers is laid out: for headers.c, whose it is, and for layout.c, which tells debuggers. */
#ifndef WF_CHUNK_H
#define WF_CHUNK_H

#include <base/list.h>
#include <base/spare.h>
#include <runtime/headers.h>
#include <runtime/task.h>

typedef struct wf_chunk {
    wf_heap *heap;
    struct wf_chunk *older;
    weft_task *free;     /* under the heap's lock: places in the depot */
    uint32_t free_count; /* under the heap's lock */
    wf_a32 used;         /* places handed out since it was empty; written under the heap's lock, walkers read it */
    wf_node node;        /* under the heap's lock: in one of its lists, or in none */
} wf_chunk;

enum {
    WF_FIRST_PLACE = 64,
    WF_PLACES = (WF_HEADER_CHUNK - WF_FIRST_PLACE) / WF_HEADER_SIZE,
};
_Static_assert(sizeof(wf_chunk) <= WF_FIRST_PLACE, "the chunk's own header");

struct wf_heap {
    wf_mutex lock;
    wf_aptr newest;    /* wf_chunk; written under lock */
    wf_chunk *filling; /* under lock: where places are carved, or NULL */
    wf_list partly;    /* under lock: chunks with some of their places in the depot */
    wf_list wholly;    /* under lock: … with all, the latest of them last */
    wf_list empty;     /* under lock: … with no pages, but for that of their own header */
    wf_spare spare;    /* under lock: how many are wholly in the depot */
    size_t free_count; /* under lock: all places in the depot */
    size_t used_count; /* under lock: places handed out, and in the depot */
    bool orphan;       /* under lock: the runtime has gone */
};

#endif
