/* headers.c - see headers.h. Knows the first two words of a task (its state and its link) and nothing else about it. */
#include <runtime/headers.h>
#include <runtime/task.h>
#include <stdlib.h>
#include <sys/mman.h>

typedef struct chunk {
    wf_heap *heap;
    struct chunk *older;
    wf_a32 used; /* places handed out at least once; grows under the heap's lock, walkers read it */
} chunk;

enum {
    PLACE_SIZE = WF_HEADER_SIZE,
    FIRST_PLACE = 64,
    PLACES = (WF_HEADER_CHUNK - FIRST_PLACE) / PLACE_SIZE,
};
_Static_assert(sizeof(chunk) <= FIRST_PLACE, "the chunk's own header");

struct wf_heap {
    wf_mutex lock;
    wf_aptr newest;    /* chunk; written under lock */
    weft_task *free;   /* under lock */
    size_t free_count; /* under lock */
    size_t used_count; /* under lock: places ever handed out */
    bool orphan;       /* under lock: the runtime has gone */
};

static weft_task *place(chunk *c, uint32_t i)
{
    return (weft_task *)(void *)((char *)c + FIRST_PLACE + (size_t)i * PLACE_SIZE);
}

static chunk *chunk_of(const weft_task *task) { return (chunk *)((uintptr_t)task & ~(uintptr_t)(WF_HEADER_CHUNK - 1)); }

wf_heap *wf_header_heap(const weft_task *task) { return chunk_of(task)->heap; }

/* An aligned chunk: map twice as much and give back both ends. */
static chunk *chunk_map(void)
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
    return (chunk *)(void *)aligned;
}

static bool chunk_add(wf_heap *heap)
{
    chunk *c = chunk_map();
    if (!c)
        return false;
    c->heap = heap;
    c->older = heap->newest.v;
    wf_store_rel(&heap->newest, c); /* [CHUNK] release: its header, for walkers */
    return true;
}

wf_heap *wf_heap_create(void)
{
    wf_heap *heap = calloc(1, sizeof *heap);
    if (heap)
        wf_mutex_init(&heap->lock);
    return heap;
}

static void heap_free(wf_heap *heap)
{
    for (chunk *c = heap->newest.v, *older; c; c = older) {
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

/* One place, under the lock: from the free ones, else the next of the newest chunk, else of a new one. */
static weft_task *take_locked(wf_heap *heap)
{
    weft_task *task = heap->free;
    if (task) {
        heap->free = task->next;
        heap->free_count--;
        return task;
    }
    chunk *c = heap->newest.v;
    if (!c || c->used.v == PLACES) {
        if (!chunk_add(heap))
            return NULL;
        c = heap->newest.v;
    }
    task = place(c, c->used.v);
    heap->used_count++;
    wf_store_rel(&c->used, c->used.v + 1); /* fresh memory: the word is 0 */
    return task;
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
        task->next = heap->free;
        heap->free = task;
        heap->free_count++;
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

void wf_heap_walk(wf_heap *heap, void (*visit)(weft_task *task, void *arg), void *arg)
{
    for (chunk *c = wf_load_acq(&heap->newest); c; c = c->older) /* [CHUNK] acquire */
        for (uint32_t i = 0, n = wf_load_acq(&c->used); i < n; i++)
            visit(place(c, i), arg);
}
