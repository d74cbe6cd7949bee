/* headers.c - see headers.h. Knows the first two words of a task (its state and its link) and nothing else about it.
 *
 * Each chunk has the list of its free places, so that one in which nobody has a header any more is known as such. If nobody has needed it
 * for a while, its pages go back to the system, and read as zero: free places, to whoever walks there. The chunk itself stays. */
#include <runtime/chunk.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static weft_task *place(wf_chunk *c, uint32_t i)
{
    return (weft_task *)(void *)((char *)c + WF_FIRST_PLACE + (size_t)i * WF_HEADER_SIZE);
}

static wf_chunk *chunk_of(const weft_task *task)
{
    return (wf_chunk *)((uintptr_t)task & ~(uintptr_t)(WF_HEADER_CHUNK - 1));
}

wf_heap *wf_header_heap(const weft_task *task) { return chunk_of(task)->heap; }

/* An aligned chunk: map twice as much and give back both ends. */
static wf_chunk *chunk_map(void)
{
    size_t size = WF_HEADER_CHUNK;
    char *raw = mmap(NULL, size * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    char *aligned = (char *)(((uintptr_t)raw + size - 1) & ~(uintptr_t)(size - 1));
    if (aligned > raw)
        munmap(raw, (size_t)(aligned - raw));
    if (aligned < raw + size)
        munmap(aligned + size, (size_t)(raw + size - aligned));
    return (wf_chunk *)(void *)aligned;
}

static bool chunk_add(wf_heap *heap)
{
    wf_chunk *c = chunk_map();
    if (!c)
        return false;
    c->heap = heap;
    c->older = heap->newest.v;
    wf_node_init(&c->node);
    wf_store_rel(&heap->newest, c); /* [CHUNK] release: its header, for walkers */
    heap->filling = c;
    return true;
}

wf_heap *wf_heap_create(void)
{
    wf_heap *heap = calloc(1, sizeof *heap);
    if (!heap)
        return NULL;
    wf_mutex_init(&heap->lock);
    wf_list_init(&heap->partly);
    wf_list_init(&heap->wholly);
    wf_list_init(&heap->empty);
    return heap;
}

static void heap_free(wf_heap *heap)
{
    for (wf_chunk *c = heap->newest.v, *older; c; c = older) {
        older = c->older;
        munmap(c, WF_HEADER_CHUNK);
    }
    wf_mutex_destroy(&heap->lock);
    free(heap);
}

void wf_heap_orphan(wf_heap *heap)
{
    wf_mutex_lock(&heap->lock);
    heap->orphan = true;
    bool last = heap->free_count == heap->used_count;
    wf_mutex_unlock(&heap->lock);
    if (last)
        heap_free(heap);
}

static bool is_wholly_free(const wf_chunk *c) { return c->free_count == c->used.v; }

/* It has no free places any more, or the first, or comes to rest, or has rested. */
static void enlist(wf_heap *heap, wf_chunk *c)
{
    wf_node_unlink(&c->node);
    if (c->free_count > 0)
        wf_list_push_back(is_wholly_free(c) ? &heap->wholly : &heap->partly, &c->node);
}

/* From a chunk that is in use anyway, else from the one that came to rest last. */
static weft_task *take_free(wf_heap *heap)
{
    if (heap->free_count == 0)
        return NULL;
    wf_node *node = wf_list_empty(&heap->partly) ? heap->wholly.head.prev : heap->partly.head.next;
    wf_chunk *c = wf_container(node, wf_chunk, node);
    bool rested = is_wholly_free(c);
    weft_task *task = c->free;
    c->free = task->next;
    c->free_count--;
    heap->free_count--;
    if (rested)
        wf_spare_take(&heap->spare);
    if (rested || c->free_count == 0)
        enlist(heap, c);
    return task;
}

static void put_free(wf_heap *heap, weft_task *task)
{
    wf_chunk *c = chunk_of(task);
    task->next = c->free;
    c->free = task;
    c->free_count++;
    heap->free_count++;
    if (is_wholly_free(c))
        wf_spare_add(&heap->spare);
    if (c->free_count == 1 || is_wholly_free(c))
        enlist(heap, c);
}

/* The next place that was never handed out. */
static weft_task *carve(wf_heap *heap)
{
    wf_chunk *c = heap->filling;
    if (!c || c->used.v == WF_PLACES) {
        wf_node *node = wf_list_pop_front(&heap->empty);
        if (node)
            heap->filling = wf_container(node, wf_chunk, node);
        else if (!chunk_add(heap))
            return NULL;
        c = heap->filling;
    }
    weft_task *task = place(c, c->used.v);
    heap->used_count++;
    wf_store_rel(&c->used, c->used.v + 1); /* fresh memory: the word is 0 */
    return task;
}

/* One place, under the lock. */
static weft_task *take_locked(wf_heap *heap)
{
    weft_task *task = take_free(heap);
    return task ? task : carve(heap);
}

static void refill(wf_heap *heap, wf_header_cache *cache)
{
    wf_mutex_lock(&heap->lock);
    for (int i = 0; i < WF_HEADER_BATCH; i++) {
        weft_task *task = take_locked(heap);
        if (!task)
            break;
        task->next = cache->free;
        cache->free = task;
        cache->count++;
    }
    wf_mutex_unlock(&heap->lock);
}

weft_task *wf_header_get_slow(wf_heap *heap, wf_header_cache *cache)
{
    if (!cache) {
        wf_mutex_lock(&heap->lock);
        weft_task *task = take_locked(heap);
        wf_mutex_unlock(&heap->lock);
        return task;
    }
    refill(heap, cache);
    weft_task *task = cache->free;
    if (wf_likely(task)) {
        cache->free = task->next;
        cache->count--;
    }
    return task;
}

/* Move @n places from the cache to the depot; the heap may be freed by it, if it is an orphan. */
static void give_back(wf_heap *heap, wf_header_cache *cache, uint32_t n)
{
    wf_mutex_lock(&heap->lock);
    for (; n > 0 && cache->free; n--) {
        weft_task *task = cache->free;
        cache->free = task->next;
        cache->count--;
        put_free(heap, task);
    }
    bool last = heap->orphan && heap->free_count == heap->used_count;
    wf_mutex_unlock(&heap->lock);
    if (last)
        heap_free(heap);
}

void wf_header_put_slow(weft_task *task, wf_header_cache *cache)
{
    wf_store_rel(&task->state, 0); /* a walker that still looks sees a free place */
    wf_header_cache one = {0};
    wf_header_cache *to = cache ? cache : &one;
    task->next = to->free;
    to->free = task;
    to->count++;
    give_back(wf_header_heap(task), to, cache ? WF_HEADER_BATCH : 1);
}

void wf_header_flush(wf_heap *heap, wf_header_cache *cache) { give_back(heap, cache, UINT32_MAX); }

/* ---- back to the system -------------------------------------------------------------------------------------- */

/* The one that has rested longest, if its time has come: as if none of its places had ever been used. */
static wf_chunk *take_due(wf_heap *heap, int64_t now)
{
    if (!wf_spare_is_due(&heap->spare, now))
        return NULL;
    wf_chunk *c = wf_container(heap->wholly.head.next, wf_chunk, node);
    wf_spare_drop(&heap->spare);
    wf_node_unlink(&c->node);
    heap->free_count -= c->free_count;
    heap->used_count -= c->free_count;
    c->free = NULL;
    c->free_count = 0;
    if (heap->filling == c)
        heap->filling = NULL; /* nobody carves there meanwhile */
    return c;
}

/* The first page has the chunk's header, and words of places that are 0. */
static void release_pages(wf_chunk *c)
{
    size_t first = (size_t)sysconf(_SC_PAGESIZE);
    madvise((char *)c + first, WF_HEADER_CHUNK - first, MADV_DONTNEED);
}

static void make_empty(wf_heap *heap, wf_chunk *c)
{
    release_pages(c);
    wf_mutex_lock(&heap->lock);
    wf_store_rel(&c->used, 0);
    wf_list_push_back(&heap->empty, &c->node);
    wf_mutex_unlock(&heap->lock);
}

int64_t wf_heap_trim(wf_heap *heap, int64_t now)
{
    enum { AT_ONCE = 8 };
    for (int left = AT_ONCE;; left--) {
        wf_mutex_lock(&heap->lock);
        wf_chunk *c = left > 0 ? take_due(heap, now) : NULL;
        int64_t next = wf_spare_next(&heap->spare);
        wf_mutex_unlock(&heap->lock);
        if (!c)
            return next;
        make_empty(heap, c);
    }
}

bool wf_heap_has(wf_heap *heap, const weft_task *task)
{
    const wf_chunk *c = wf_load_acq(&heap->newest); /* [CHUNK] acquire */
    while (c && c != chunk_of(task))
        c = c->older;
    return c != NULL;
}

void wf_heap_walk(wf_heap *heap, void (*visit)(weft_task *task, void *arg), void *arg)
{
    for (wf_chunk *c = wf_load_acq(&heap->newest); c; c = c->older) /* [CHUNK] acquire */
        for (uint32_t i = 0, n = wf_load_acq(&c->used); i < n; i++)
            visit(place(c, i), arg);
}
