/* storage.c - tasks in the caller's memory, and a pool of such places.
 *
 * The pool is one allocation; its free places form a stack under a lock. A place is claimed, spawned into, and returns when the
 * last reference to its task goes. */
#include <runtime/runtime.h>
#include <runtime/storage.h>
#include <stdlib.h>

static weft_task_storage *storage_of(weft_task *task) { return wf_container(task, weft_task_storage, space_); }

void wf_storage_link(weft_task *task, unsigned number)
{
    wf_stored_task *stored = (wf_stored_task *)(void *)task;
    stored->shelf = number % WF_SHELVES;
    wf_shelf *shelf = &task->rt->shelves[stored->shelf];
    wf_mutex_lock(&shelf->lock);
    wf_list_push_back(&shelf->tasks, &stored->node);
    wf_mutex_unlock(&shelf->lock);
}

void wf_storage_unlink(weft_task *task)
{
    wf_stored_task *stored = (wf_stored_task *)(void *)task;
    wf_shelf *shelf = &task->rt->shelves[stored->shelf];
    wf_mutex_lock(&shelf->lock);
    wf_node_unlink(&stored->node);
    wf_mutex_unlock(&shelf->lock);
}

void wf_storage_release(weft_task *task)
{
    weft_task_storage *storage = storage_of(task);
    wf_store_rel(&task->state, 0);
    if (storage->release)
        storage->release(storage);
}

/* ---- the pool ------------------------------------------------------------------------------------------------ */

typedef struct place {
    weft_task_storage storage;
    struct weft_task_pool *pool;
    struct place *next; /* under the pool's lock */
    alignas(max_align_t) unsigned char body[];
} place;

struct weft_task_pool {
    wf_spin lock;
    place *free;      /* under lock */
    size_t available; /* under lock */
    size_t places;
    unsigned char *memory;
};

static void unclaim(weft_task_storage *storage)
{
    place *p = wf_container(storage, place, storage);
    weft_task_pool *pool = p->pool;
    wf_spin_lock(&pool->lock);
    p->next = pool->free;
    pool->free = p;
    pool->available++;
    wf_spin_unlock(&pool->lock);
}

int weft_task_pool_create(weft_task_pool **out, size_t places, size_t body_size)
{
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    size_t align = alignof(max_align_t), size;
    if (places == 0 || __builtin_add_overflow(body_size, sizeof(place) + align - 1, &size))
        return WEFT_EINVAL;
    size = size / align * align;
    weft_task_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return WEFT_ENOMEM;
    pool->memory = calloc(places, size);
    if (!pool->memory) {
        free(pool);
        return WEFT_ENOMEM;
    }
    pool->places = places;
    for (size_t i = places; i-- > 0;) {
        place *p = (place *)(void *)(pool->memory + i * size);
        p->pool = pool;
        p->storage.release = unclaim;
        unclaim(&p->storage);
    }
    *out = pool;
    return 0;
}

int weft_task_pool_claim(weft_task_pool *pool, weft_task_storage **storage)
{
    if (!storage)
        return WEFT_EINVAL;
    *storage = NULL;
    if (!pool)
        return WEFT_EINVAL;
    wf_spin_lock(&pool->lock);
    place *p = pool->free;
    if (p) {
        pool->free = p->next;
        pool->available--;
    }
    wf_spin_unlock(&pool->lock);
    if (!p)
        return WEFT_EEXHAUSTED;
    *storage = &p->storage;
    return 0;
}

void *weft_task_pool_body(weft_task_storage *storage)
{
    return storage ? wf_container(storage, place, storage)->body : NULL;
}

void weft_task_pool_unclaim(weft_task_storage *storage)
{
    if (storage)
        unclaim(storage);
}

size_t weft_task_pool_available(weft_task_pool *pool)
{
    if (!pool)
        return 0;
    wf_spin_lock(&pool->lock);
    size_t n = pool->available;
    wf_spin_unlock(&pool->lock);
    return n;
}

int weft_task_pool_free(weft_task_pool *pool)
{
    if (!pool)
        return 0;
    if (weft_task_pool_available(pool) != pool->places)
        return WEFT_EBUSY;
    free(pool->memory);
    free(pool);
    return 0;
}
