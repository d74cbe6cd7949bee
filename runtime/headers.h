/* headers.h - the memory of task headers.
 *
 * One heap per runtime: big aligned chunks of fixed places, a cache per worker, one depot behind a lock. The heap outlives its
 * runtime while a header is still referenced; the last one frees it. The memory is type-stable: a place that was a header always
 * holds a valid task word, so a walker may look at any place at any time. The chunks are also the registry of live tasks. What a burst has
 * left gives its pages back, and keeps its addresses. */
#ifndef WF_HEADERS_H
#define WF_HEADERS_H

#include <base/lock.h>
#include <weft/task.h>

enum { WF_HEADER_SIZE = 96, WF_HEADER_CHUNK = 1 << 20, WF_HEADER_BATCH = 128 };

typedef struct wf_heap wf_heap;

/* A worker's own free places. Only that worker touches it. */
typedef struct wf_header_cache {
    struct weft_task *free; /* linked by next */
    uint32_t count;
} wf_header_cache;

wf_heap *wf_heap_create(void);

/* The runtime goes; the heap stays until the last header does. */
void wf_heap_orphan(wf_heap *heap);

/* A place with word 0, or NULL when out of memory. @cache: the calling worker's, or NULL. runtime/task.h has the quick way. */
struct weft_task *wf_header_get_slow(wf_heap *heap, wf_header_cache *cache);

/* Give back a place, from any thread. @cache: the calling worker's if it belongs to the same heap, else NULL. As above. */
void wf_header_put_slow(struct weft_task *task, wf_header_cache *cache);

/* All that a leaving worker still holds. */
void wf_header_flush(wf_heap *heap, wf_header_cache *cache);

/* Give the pages of chunks in which nobody has had a header for a while (base/spare.h) back to the system, a limited number at once. By a worker:
 * the runtime is there. @now: wf_now(). Returns when there may be more to do; WEFT_FOREVER: not before places are given back. */
int64_t wf_heap_trim(wf_heap *heap, int64_t now);

wf_heap *wf_header_heap(const struct weft_task *task);

/* Does @place lie in one of its chunks? Then it may be looked at as long as the heap is there. */
bool wf_heap_has(wf_heap *heap, const struct weft_task *place);

/* Call @visit for every place that was ever used, while others go on using them. */
void wf_heap_walk(wf_heap *heap, void (*visit)(struct weft_task *task, void *arg), void *arg);

#endif
