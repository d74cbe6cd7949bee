/* stack.c - see stack.h.
 *
 * A stack's way: carved from a slab and guarded when the depot has none (the only time it costs system calls), handed
 * out, put into the owner's magazine, handed out again. Magazines that are full spill their coldest half to the depot;
 * empty ones refill from there. In the depot a stack is warm. If nobody needs it for a while it gives its memory back to the system
 * and is cold. A slab whose stacks are all cold is unmapped: their page tables, which guards need too, are more than many a program has otherwise.
 *
 * Ways in which it goes otherwise: no map for a slab of many stacks (a slab of one is tried), none for that
 * (WEFT_ENOMEM); no MADV_GUARD_INSTALL in this kernel (mprotect, which costs two maps a stack), the map count nearly
 * used up (a canary).
 *
 * Locks: one mutex over depots, slabs and the list of magazines. Guards and madvise are done outside. */
#include <base/alloc.h>
#include <base/list.h>
#include <base/lock.h>
#include <base/spare.h>
#include <errno.h>
#include <fcntl.h>
#include <runtime/stack.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#if WF_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

#if !defined(NVALGRIND) && defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(from, to) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13; the headers are often older than the kernel */
#endif

enum {
    SMALLEST_SHIFT = 14,
    LARGEST_SHIFT = 30,
    ORDERS = LARGEST_SHIFT - SMALLEST_SHIFT + 1,
    SLAB_STACKS = 64,
    SPILL = (WF_STACK_CACHE_SLOTS + 1) / 2, /* stacks that go from or to the depot at once */
    MAPS_FOR_OTHERS = 4096, /* of the process's maps, those that guards leave alone: malloc needs some too */
    MAPS_DEFAULT = 65530,
};

#define SLAB_BYTES ((size_t)64 << 20) /* a slab of several stacks is not larger */
#define CANARY UINT64_C(0x7466657774666577)

typedef struct wf_slab {
    wf_node all;    /* in the pool's list */
    wf_node partly; /* in its depot's list, while some of its stacks are cold */
    wf_stack *cold; /* those, linked by next */
    char *map;
    size_t bytes;
    uint32_t stacks, carved;     /* stack[0 .. carved) were handed out at least once */
    uint32_t unused, cold_count; /* how many of them nobody uses, and how many of those are cold */
    wf_stack stack[];
} wf_slab;

typedef struct depot {
    wf_list warm;     /* stacks that nobody uses, the latest last */
    wf_spare spare;   /* how many those are */
    wf_list partly;   /* slabs with cold stacks */
    uint64_t count;   /* stacks that nobody uses, warm and cold, and those that are cooling */
    wf_slab *filling; /* the slab that may have uncarved stacks, or NULL */
    uint32_t slabs;   /* how many there are */
} depot;

static wf_mutex lock = WF_MUTEX_INIT;

static struct {
    uint64_t users;
    uint64_t carved;        /* stacks in use, in magazines and in depots */
    wf_list slabs;          /* all of them */
    wf_stack_cache *caches; /* magazines that may hold stacks */
    depot depot[ORDERS];
} pool WF_GUARDED_BY(lock);

/* Written by the first user under the lock, constant while there are any. */
static size_t page_size;
static uint32_t mprotect_limit;

static wf_a32 mprotected;   /* guards that cost maps */
static wf_a8 best_guard;    /* the kind to try first; 0 or INSTALL: not known to be missing */
static wf_a8 install_works; /* 1 once a guard was seen to refuse a write */
static wf_a8 newest_guard;  /* weft_guard_kind */
static wf_aptr on_broken;   /* void (*)(const wf_stack *) or NULL */

/* --- sizes --- */

static int order_of(size_t size)
{
    if (size > (size_t)1 << LARGEST_SHIFT)
        return WEFT_EINVAL;
    size_t least = WF_MAX((size_t)1 << SMALLEST_SHIFT, 4 * page_size);
    size = WF_MAX(size, least);
    return (int)(sizeof(long) * 8) - __builtin_clzl(size - 1) - SMALLEST_SHIFT;
}

static size_t order_bytes(unsigned order) { return (size_t)1 << (SMALLEST_SHIFT + order); }

/* --- guards --- */

/* Some layers above a kernel (qemu's user mode) answer 0 to any advice they do not know. So the first guard is tried
 * out: a system call that writes there must say EFAULT. */
static bool refuses_writes(char *page)
{
    if (wf_load_rlx(&install_works))
        return true;
    bool works = uname((struct utsname *)(void *)page) != 0 && errno == EFAULT;
    wf_store_rlx(&install_works, works);
    return works;
}

static bool guard_install(char *page)
{
    bool installed = madvise(page, page_size, MADV_GUARD_INSTALL) == 0;
    if (installed && refuses_writes(page))
        return true;
    if (installed || errno == EINVAL)
        wf_store_rlx(&best_guard, WEFT_GUARD_MPROTECT);
    return false;
}

static bool guard_mprotect(char *page)
{
    if (wf_add_rlx(&mprotected, 1) < mprotect_limit && mprotect(page, page_size, PROT_NONE) == 0)
        return true;
    wf_add_rlx(&mprotected, (uint32_t)-1);
    return false;
}

static void canary_paint(const wf_stack *stack)
{
    for (uint64_t *word = (void *)(stack->base - page_size); word < (uint64_t *)(void *)stack->base; word++)
        *word = CANARY;
}

static weft_guard_kind guard_best(wf_stack *stack)
{
    char *page = stack->base - page_size;
    uint8_t best = wf_load_rlx(&best_guard);
    if (best <= WEFT_GUARD_INSTALL && guard_install(page))
        return WEFT_GUARD_INSTALL;
    if (best <= WEFT_GUARD_MPROTECT && guard_mprotect(page))
        return WEFT_GUARD_MPROTECT;
    canary_paint(stack);
    return WEFT_GUARD_CANARY;
}

static void canary_broken(const wf_stack *stack)
{
    /* [CANARY] acquire: pairs with the release in wf_stack_on_broken_canary; what the function uses is set up. */
    void (*tell)(const wf_stack *) = (void (*)(const wf_stack *))(uintptr_t)wf_load_acq(&on_broken);
    if (!tell) {
        fprintf(stderr,
                "weft: stack overflow in a task that has ended: its stack has %zu KiB; "
                "see weft_spawn_options.stack_size\n",
                stack->size / 1024);
        abort();
    }
    tell(stack);
    canary_paint(stack);
}

static void canary_check(const wf_stack *stack)
{
    uint64_t damage = 0;
    for (const uint64_t *word = (void *)(stack->base - page_size); word < (uint64_t *)(void *)stack->base; word++)
        damage |= *word ^ CANARY;
    if (wf_unlikely(damage != 0))
        canary_broken(stack);
}

bool wf_stack_in_guard(const wf_stack *stack, const void *address)
{
    uintptr_t at = (uintptr_t)address, base = (uintptr_t)stack->base;
    return at < base && at >= base - page_size;
}

/* --- slabs --- */

static wf_slab *slab_map(unsigned order, uint32_t stacks)
{
    wf_slab *slab = wf_alloc(&wf_malloc_allocator, sizeof(*slab) + stacks * sizeof(slab->stack[0]));
    if (!slab)
        return NULL;
    slab->stacks = stacks;
    slab->bytes = stacks * order_bytes(order);
    void *map = mmap(NULL, slab->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        wf_free(&wf_malloc_allocator, slab);
        return NULL;
    }
    madvise(map, slab->bytes, MADV_NOHUGEPAGE); /* fails where there are no huge pages */
    slab->map = map;
    return slab;
}

static void slab_unmap(wf_slab *slab)
{
    for (uint32_t i = 0; i < slab->carved; i++) {
        VALGRIND_STACK_DEREGISTER(slab->stack[i].valgrind_id);
        if (slab->stack[i].guard == WEFT_GUARD_MPROTECT)
            wf_add_rlx(&mprotected, (uint32_t)-1);
    }
    ASAN_UNPOISON_MEMORY_REGION(slab->map, slab->bytes);
    munmap(slab->map, slab->bytes);
    wf_free(&wf_malloc_allocator, slab);
}

/* 1 stack, then 8, then 64 at a time: a process with one coroutine stays small, one with many uses few maps. */
static wf_slab *slab_next(depot *d, unsigned order) WF_REQUIRES(lock)
{
    size_t fit = SLAB_BYTES / order_bytes(order);
    uint32_t stacks = d->slabs == 0 ? 1 : d->slabs == 1 ? 8 : SLAB_STACKS;
    stacks = (uint32_t)WF_MAX(WF_MIN(stacks, fit), 1);
    wf_slab *slab = slab_map(order, stacks);
    if (!slab && stacks > 1)
        slab = slab_map(order, 1);
    if (!slab)
        return NULL;
    wf_list_push_back(&pool.slabs, &slab->all);
    wf_node_init(&slab->partly);
    d->slabs++;
    d->filling = slab;
    return slab;
}

static wf_stack *carve_locked(unsigned order) WF_REQUIRES(lock)
{
    depot *d = &pool.depot[order];
    wf_slab *slab = d->filling;
    if (!slab || slab->carved == slab->stacks)
        slab = slab_next(d, order);
    if (!slab)
        return NULL;
    uint32_t i = slab->carved++;
    pool.carved++;
    wf_stack *stack = &slab->stack[i];
    stack->base = slab->map + i * order_bytes(order) + page_size;
    stack->size = order_bytes(order) - page_size;
    stack->slab = slab;
    stack->order = (uint8_t)order;
    return stack;
}

/* Nobody else knows of @stack yet, so this needs no lock. */
static void first_use(wf_stack *stack)
{
    stack->guard = (uint8_t)guard_best(stack);
    stack->valgrind_id = VALGRIND_STACK_REGISTER(stack->base, stack->base + stack->size);
    wf_store_rlx(&newest_guard, stack->guard);
}

/* --- the depot --- */

static void unlink_warm(wf_stack *stack) WF_REQUIRES(lock)
{
    wf_node_unlink(&stack->node);
    stack->warm = false;
}

static wf_stack *pop_warm(depot *d) WF_REQUIRES(lock)
{
    if (wf_list_empty(&d->warm))
        return NULL;
    wf_stack *stack = wf_container(d->warm.head.prev, wf_stack, node);
    unlink_warm(stack);
    wf_spare_take(&d->spare);
    return stack;
}

static wf_stack *pop_cold(depot *d) WF_REQUIRES(lock)
{
    if (wf_list_empty(&d->partly))
        return NULL;
    wf_slab *slab = wf_container(d->partly.head.next, wf_slab, partly);
    wf_stack *stack = slab->cold;
    slab->cold = stack->next;
    if (--slab->cold_count == 0)
        wf_node_unlink(&slab->partly);
    return stack;
}

static wf_stack *depot_pop(depot *d) WF_REQUIRES(lock)
{
    wf_stack *stack = pop_warm(d);
    stack = stack ? stack : pop_cold(d);
    if (stack) {
        stack->slab->unused--;
        d->count--;
    }
    return stack;
}

static void push_warm(depot *d, wf_stack *stack) WF_REQUIRES(lock)
{
    wf_list_push_back(&d->warm, &stack->node);
    stack->warm = true;
    stack->slab->unused++;
    wf_spare_add(&d->spare);
    d->count++;
}

/* Guards survive this: the kernel leaves installed ones alone, and the others lie outside. */
static void cool(wf_stack *stack) { madvise(stack->base, stack->size, MADV_DONTNEED); }

static void depot_push(wf_stack *const *stack, uint32_t count)
{
    if (count == 0)
        return;
    wf_mutex_lock(&lock);
    for (uint32_t i = 0; i < count; i++)
        push_warm(&pool.depot[stack[i]->order], stack[i]);
    wf_mutex_unlock(&lock);
}

static wf_stack *depot_get(unsigned order)
{
    wf_mutex_lock(&lock);
    wf_stack *stack = depot_pop(&pool.depot[order]);
    bool fresh = !stack;
    if (fresh)
        stack = carve_locked(order);
    wf_mutex_unlock(&lock);
    if (stack && fresh)
        first_use(stack);
    return stack;
}

/* --- back to the system --- */

static void put_cold(depot *d, wf_stack *stack) WF_REQUIRES(lock)
{
    wf_slab *slab = stack->slab;
    slab->unused++;
    stack->next = slab->cold;
    slab->cold = stack;
    if (++slab->cold_count == 1)
        wf_list_push_back(&d->partly, &slab->partly);
}

/* Nobody uses any of its stacks, and as many warm ones as it has are due. */
static bool may_go(const depot *d, const wf_slab *slab) WF_REQUIRES(lock)
{
    return slab->unused == slab->carved && slab->unused - slab->cold_count <= d->spare.due;
}

/* Nobody knows of it any more. */
static void forget_slab(depot *d, wf_slab *slab) WF_REQUIRES(lock)
{
    for (uint32_t i = 0; i < slab->carved; i++) {
        if (!slab->stack[i].warm)
            continue;
        unlink_warm(&slab->stack[i]);
        wf_spare_drop(&d->spare);
    }
    wf_node_unlink(&slab->partly);
    wf_node_unlink(&slab->all);
    d->count -= slab->carved;
    d->slabs--;
    pool.carved -= slab->carved;
    if (d->filling == slab)
        d->filling = NULL;
}

/* The stack that has rested longest, if its time has come; or its whole slab, which is cheaper than one stack after the other. */
static bool release_one(depot *d, int64_t now)
{
    wf_mutex_lock(&lock);
    bool due = wf_spare_is_due(&d->spare, now);
    wf_stack *stack = due ? wf_container(d->warm.head.next, wf_stack, node) : NULL;
    wf_slab *slab = due && may_go(d, stack->slab) ? stack->slab : NULL;
    if (slab) {
        forget_slab(d, slab);
    } else if (due) {
        unlink_warm(stack);
        wf_spare_drop(&d->spare);
        stack->slab->unused--; /* while it cools it is ours, and nobody may unmap its slab */
    }
    wf_mutex_unlock(&lock);
    if (slab) {
        slab_unmap(slab);
    } else if (due) {
        cool(stack);
        wf_mutex_lock(&lock);
        put_cold(d, stack);
        wf_mutex_unlock(&lock);
    }
    return due;
}

static int64_t trim(depot *d, int64_t now)
{
    enum { AT_ONCE = 64 };
    for (int i = 0; i < AT_ONCE && release_one(d, now); i++) {
    }
    wf_mutex_lock(&lock);
    int64_t next = wf_spare_next(&d->spare);
    wf_mutex_unlock(&lock);
    return next;
}

int64_t wf_stacks_trim(int64_t now)
{
    int64_t next = WEFT_FOREVER;
    for (unsigned order = 0; order < ORDERS; order++)
        next = WF_MIN(next, trim(&pool.depot[order], now));
    return next;
}

/* --- magazines --- */

int wf_stack_cache_init(wf_stack_cache *cache, size_t size)
{
    int order = order_of(size);
    if (order < 0)
        return order;
    size_t bytes = order_bytes((unsigned)order);
    *cache = (wf_stack_cache){.order = (uint8_t)order};
    cache->least = order_of(0) == order ? 0 : bytes / 2 + 1;
    cache->span = bytes - cache->least;
    return 0;
}

/* Before its first stack comes in, the pool learns of a magazine: its count is part of the statistics. */
static void cache_enter_locked(wf_stack_cache *cache) WF_REQUIRES(lock)
{
    if (cache->limit != 0)
        return;
    cache->limit = WF_STACK_CACHE_SLOTS;
    cache->next = pool.caches;
    pool.caches = cache;
}

static void cache_leave_locked(wf_stack_cache *cache) WF_REQUIRES(lock)
{
    if (cache->limit == 0)
        return;
    cache->limit = 0;
    wf_stack_cache **link = &pool.caches;
    while (*link != cache)
        link = &(*link)->next;
    *link = cache->next;
}

static void cache_refill(wf_stack_cache *cache)
{
    uint32_t count = 0;
    wf_mutex_lock(&lock);
    cache_enter_locked(cache);
    while (count < SPILL && (cache->hot[count] = depot_pop(&pool.depot[cache->order])) != NULL)
        count++;
    wf_store_rlx(&cache->count, count);
    wf_mutex_unlock(&lock);
}

/* The coldest are at the bottom. */
static void cache_spill(wf_stack_cache *cache, uint32_t spill)
{
    uint32_t count = wf_load_rlx(&cache->count);
    depot_push(cache->hot, spill);
    for (uint32_t i = spill; i < count; i++)
        cache->hot[i - spill] = cache->hot[i];
    wf_store_rlx(&cache->count, count - spill);
}

void wf_stack_cache_flush(wf_stack_cache *cache)
{
    cache_spill(cache, wf_load_rlx(&cache->count));
    wf_mutex_lock(&lock);
    cache_leave_locked(cache);
    wf_mutex_unlock(&lock);
}

static wf_stack *cache_get(wf_stack_cache *cache)
{
    if (wf_load_rlx(&cache->count) == 0)
        cache_refill(cache);
    uint32_t count = wf_load_rlx(&cache->count);
    if (count == 0)
        return NULL;
    wf_store_rlx(&cache->count, count - 1);
    return cache->hot[count - 1];
}

static void cache_put(wf_stack_cache *cache, wf_stack *stack)
{
    if (cache->limit == 0) {
        wf_mutex_lock(&lock);
        cache_enter_locked(cache);
        wf_mutex_unlock(&lock);
    }
    if (wf_load_rlx(&cache->count) == cache->limit)
        cache_spill(cache, SPILL);
    uint32_t count = wf_load_rlx(&cache->count);
    cache->hot[count] = stack;
    wf_store_rlx(&cache->count, count + 1);
}

/* --- stacks --- */

wf_stack *wf_stack_get_slow(wf_stack_cache *cache, size_t size, int *err)
{
    int order = order_of(size);
    if (order < 0) {
        *err = order;
        return NULL;
    }
    wf_stack *stack = cache && cache->order == order ? cache_get(cache) : NULL;
    if (!stack)
        stack = depot_get((unsigned)order);
    if (stack) /* poisoned when it was given back, and before that by frames that never returned */
        ASAN_UNPOISON_MEMORY_REGION(stack->base, stack->size);
    else
        *err = WEFT_ENOMEM;
    return stack;
}

void wf_stack_put_slow(wf_stack_cache *cache, wf_stack *stack)
{
    if (stack->guard == WEFT_GUARD_CANARY)
        canary_check(stack);
    /* Whoever still points into a stack that was given back is told so. */
    ASAN_POISON_MEMORY_REGION(stack->base, stack->size);
    if (cache && cache->order == stack->order) {
        cache_put(cache, stack);
        return;
    }
    if (!cache) /* no worker, and perhaps no runtime, which would ask for what is due */
        cool(stack);
    depot_push(&stack, 1);
}

/* --- users --- */

static uint32_t find_mprotect_limit(void)
{
    char text[32] = {0};
    long maps = MAPS_DEFAULT;
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, text, sizeof(text) - 1) > 0)
            maps = strtol(text, NULL, 10);
        close(fd);
    }
    return maps > MAPS_FOR_OTHERS ? (uint32_t)((maps - MAPS_FOR_OTHERS) / 2) : 0;
}

static void pool_init(void) WF_REQUIRES(lock)
{
    pool.carved = 0;
    wf_list_init(&pool.slabs);
    for (unsigned i = 0; i < ORDERS; i++) {
        pool.depot[i] = (depot){0};
        wf_list_init(&pool.depot[i].warm);
        wf_list_init(&pool.depot[i].partly);
    }
}

int wf_stacks_acquire(void)
{
    wf_mutex_lock(&lock);
    if (pool.users++ == 0) {
        page_size = (size_t)sysconf(_SC_PAGESIZE);
        mprotect_limit = find_mprotect_limit();
        pool_init();
    }
    wf_mutex_unlock(&lock);
    return 0;
}

static uint64_t depots_count(void) WF_REQUIRES(lock)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < ORDERS; i++)
        count += pool.depot[i].count;
    return count;
}

static void unmap_all(void) WF_REQUIRES(lock)
{
    assert(pool.caches == NULL && "a magazine was not flushed");
    assert(pool.carved == depots_count() && "a stack was not put back");
    for (wf_node *node; (node = wf_list_pop_front(&pool.slabs));)
        slab_unmap(wf_container(node, wf_slab, all));
    pool_init();
}

void wf_stacks_release(void)
{
    wf_mutex_lock(&lock);
    assert(pool.users > 0);
    if (--pool.users == 0)
        unmap_all();
    wf_mutex_unlock(&lock);
}

void wf_stack_stats(uint64_t *live, uint64_t *cached, weft_guard_kind *newest)
{
    wf_mutex_lock(&lock);
    uint64_t kept = depots_count();
    for (wf_stack_cache *cache = pool.caches; cache; cache = cache->next)
        kept += wf_load_rlx(&cache->count);
    uint64_t all = pool.carved;
    wf_mutex_unlock(&lock);
    kept = WF_MIN(kept, all); /* a spill in progress is counted twice */
    if (live)
        *live = all - kept;
    if (cached)
        *cached = kept;
    if (newest)
        *newest = (weft_guard_kind)wf_load_rlx(&newest_guard);
}

void wf_stack_force_guard(weft_guard_kind kind) { wf_store_rlx(&best_guard, (uint8_t)kind); }

void wf_stack_on_broken_canary(void (*broken)(const wf_stack *stack))
{
    wf_store_rel(&on_broken, (void *)(uintptr_t)broken); /* [CANARY] release */
}

void wf_stacks_fork_lock(void) WF_NO_THREAD_SAFETY { wf_mutex_lock(&lock); }

void wf_stacks_fork_unlock(void) WF_NO_THREAD_SAFETY { wf_mutex_unlock(&lock); }
