/* headers_test.c - the memory of task headers: caches, the depot, the orphaned heap, and walking while others allocate. */
#include <base/rng.h>
#include <base/spare.h>
#include <pthread.h>
#include <runtime/headers.h>
#include <runtime/task.h>
#include <sched.h>
#include <support/test.h>
#include <sys/mman.h>

enum { BATCH = WF_HEADER_BATCH, PLACES = (WF_HEADER_CHUNK - 64) / WF_HEADER_SIZE, MORE = PLACES + 3 * BATCH };

static weft_task *held[MORE];

static void counts(weft_task *task, void *arg)
{
    (void)task;
    ++*(size_t *)arg;
}

static void counts_live(weft_task *task, void *arg) { *(size_t *)arg += wf_load_acq(&task->state) != 0; }

static size_t walked(wf_heap *heap, void (*visit)(weft_task *task, void *arg))
{
    size_t n = 0;
    wf_heap_walk(heap, visit, &n);
    return n;
}

/* A place is given with word 0; with the word set it is a header. */
static weft_task *get_live(wf_heap *heap, wf_header_cache *cache)
{
    weft_task *task = wf_header_get(heap, cache);
    cr_assert_not_null(task);
    cr_assert_eq(wf_load_acq(&task->state), 0u);
    wf_state_init(&task->state, WF_S_HANDLE, 2);
    return task;
}

/* Whoever was given a place twice finds the other's number in it. */
static void fill(weft_task *task, uint64_t number)
{
    wf_note(&task->id, number);
    memset((char *)task + offsetof(weft_task, next), (int)(number & 0xff),
           offsetof(weft_task, id) - offsetof(weft_task, next));
}

/* Whether the memory of the heap that @task belonged to is there. */
static bool mapped(const weft_task *task)
{
    uintptr_t page = (uintptr_t)task & ~(uintptr_t)(WF_HEADER_CHUNK - 1);
    unsigned char resident;
    return mincore((void *)page, 4096, &resident) == 0; /* of all that could be asked, what valgrind does not mind */
}

/* ---- get and put ------------------------------------------------------------------------------------------------- */

Test(headers, a_heap_never_used_is_freed_when_it_is_orphaned)
{
    wf_heap *heap = wf_heap_create();
    cr_assert_not_null(heap);
    cr_assert_eq(walked(heap, counts), 0u);
    wf_heap_orphan(heap);
}

Test(headers, get_without_a_cache_uses_one_place_and_put_makes_it_the_next)
{
    wf_heap *heap = wf_heap_create();
    weft_task *a = get_live(heap, NULL), *b = get_live(heap, NULL);
    cr_assert_neq(a, b);
    cr_assert_eq(wf_header_heap(a), heap);
    cr_assert_eq(wf_header_heap(b), heap);
    cr_assert_eq(walked(heap, counts), 2u);
    cr_assert_eq(walked(heap, counts_live), 2u);
    wf_header_put(a, NULL);
    cr_assert_eq(walked(heap, counts), 2u, "a place stays one");
    cr_assert_eq(walked(heap, counts_live), 1u, "its word is 0");
    cr_assert_eq(get_live(heap, NULL), a);
    wf_header_put(a, NULL);
    wf_header_put(b, NULL);
    wf_heap_orphan(heap);
}

Test(headers, get_with_a_cache_fetches_a_batch_and_put_goes_to_the_cache)
{
    wf_heap *heap = wf_heap_create();
    wf_header_cache cache = {0};
    weft_task *a = get_live(heap, &cache);
    cr_assert_eq(cache.count, BATCH - 1u);
    cr_assert_eq(walked(heap, counts), (size_t)BATCH);
    cr_assert_eq(walked(heap, counts_live), 1u);
    wf_header_put(a, &cache);
    cr_assert_eq(cache.count, (uint32_t)BATCH);
    cr_assert_eq(get_live(heap, &cache), a, "the warmest first");
    wf_header_put(a, &cache);
    wf_header_flush(heap, &cache);
    cr_assert(cache.count == 0 && cache.free == NULL);
    wf_heap_orphan(heap);
}

Test(headers, put_beyond_two_batches_gives_one_back_to_the_others)
{
    wf_heap *heap = wf_heap_create();
    wf_header_cache cache = {0}, other = {0};
    for (int i = 0; i < 3 * BATCH; i++)
        held[i] = get_live(heap, NULL);
    for (int i = 0; i < 2 * BATCH; i++)
        wf_header_put(held[i], &cache);
    cr_assert_eq(cache.count, 2u * BATCH);
    wf_header_put(held[2 * BATCH], &cache);
    cr_assert_eq(cache.count, BATCH + 1u);
    for (int i = 0; i < BATCH; i++)
        held[i] = get_live(heap, &other);
    cr_assert_eq(walked(heap, counts), 3u * BATCH, "what was given back was used again");
    for (int i = 0; i < BATCH; i++)
        wf_header_put(held[i], NULL);
    for (int i = 2 * BATCH + 1; i < 3 * BATCH; i++)
        wf_header_put(held[i], NULL);
    wf_header_flush(heap, &cache);
    wf_header_flush(heap, &other);
    wf_heap_orphan(heap);
}

Test(headers, more_than_a_chunk_gives_distinct_aligned_places_that_know_their_heap)
{
    wf_heap *heap = wf_heap_create(), *stranger = wf_heap_create();
    weft_task *elsewhere = get_live(stranger, NULL);
    for (size_t i = 0; i < MORE; i++) {
        held[i] = get_live(heap, NULL);
        cr_assert_eq((uintptr_t)held[i] % alignof(weft_task), 0u);
        fill(held[i], i);
    }
    for (size_t i = 0; i < MORE; i++) {
        cr_assert_eq(held[i]->id.v, i);
        cr_assert_eq(wf_header_heap(held[i]), heap);
    }
    cr_assert_eq(walked(heap, counts_live), (size_t)MORE);
    cr_assert_eq(walked(stranger, counts_live), 1u);
    for (size_t i = 0; i < MORE; i++)
        wf_header_put(held[i], NULL);
    cr_assert_eq(walked(heap, counts_live), 0u);
    cr_assert_eq(walked(heap, counts), (size_t)MORE);
    wf_header_put(elsewhere, NULL);
    wf_heap_orphan(heap);
    wf_heap_orphan(stranger);
}

Test(headers, what_was_put_is_used_before_fresh_places)
{
    wf_heap *heap = wf_heap_create();
    wf_header_cache cache = {0};
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 5 * BATCH; i++)
            held[i] = get_live(heap, &cache);
        for (int i = 0; i < 5 * BATCH; i++)
            wf_header_put(held[i], round % 2 ? &cache : NULL);
    }
    cr_assert_leq(walked(heap, counts), 8u * BATCH, "five batches live, two and one in caches");
    wf_header_flush(heap, &cache);
    wf_heap_orphan(heap);
}

/* ---- back to the system ------------------------------------------------------------------------------------------ */

static void hold_more(wf_heap *heap)
{
    for (size_t i = 0; i < MORE; i++)
        fill(held[i] = get_live(heap, NULL), i);
}

/* Whether the page that this place lies in takes memory. */
static bool resident(const weft_task *task)
{
    unsigned char yes = 0;
    cr_assert_eq(mincore((void *)((uintptr_t)task & ~(uintptr_t)4095), 4096, &yes), 0);
    return yes & 1;
}

/* What lay unused from one trim to the next goes. */
static void trim_twice(wf_heap *heap, int64_t at)
{
    wf_heap_trim(heap, at);
    wf_heap_trim(heap, at + WF_SPARE_PERIOD);
}

Test(headers, chunks_at_rest_for_a_period_give_their_pages_back_and_are_used_again)
{
    wf_heap *heap = wf_heap_create();
    cr_assert_eq(wf_heap_trim(heap, 1), WEFT_FOREVER);
    for (int round = 0; round < 3; round++) {
        hold_more(heap);
        cr_assert_eq(walked(heap, counts_live), (size_t)MORE);
        weft_task *first = held[PLACES / 2], *last = held[MORE - 1];
        for (size_t i = 0; i < MORE; i++)
            wf_header_put(held[i], NULL);
        int64_t next = wf_heap_trim(heap, (round + 1) * 10 * WF_SPARE_PERIOD);
        cr_assert(resident(first) && resident(last), "they have only just come to rest");
        cr_assert_eq(wf_heap_trim(heap, next), WEFT_FOREVER);
        cr_assert(!resident(first) && !resident(last));
        cr_assert_eq(walked(heap, counts), 0u);
    }
    wf_heap_orphan(heap);
}

Test(headers, a_chunk_with_one_live_header_stays_and_the_heap_lives_until_that_is_put)
{
    wf_heap *heap = wf_heap_create();
    hold_more(heap);
    weft_task *kept = held[PLACES / 2];
    for (size_t i = 0; i < MORE; i++)
        if (held[i] != kept)
            wf_header_put(held[i], NULL);
    trim_twice(heap, 0);
    cr_assert_eq(kept->id.v, PLACES / 2u);
    cr_assert_eq(walked(heap, counts), (size_t)PLACES, "its neighbours are there, the other chunk is empty");
    cr_assert_eq(walked(heap, counts_live), 1u);
    wf_heap_orphan(heap);
    cr_assert(mapped(kept));
    wf_header_put(kept, NULL);
    cr_assert_not(mapped(kept));
}

Test(headers, chunks_that_are_used_again_within_a_period_stay)
{
    wf_heap *heap = wf_heap_create();
    for (int64_t now = 0; now < 5 * WF_SPARE_PERIOD; now += WF_SPARE_PERIOD) {
        hold_more(heap);
        for (size_t i = 0; i < MORE; i++)
            wf_header_put(held[i], NULL);
        wf_heap_trim(heap, now);
        cr_assert(resident(held[PLACES / 2]) && resident(held[MORE - 1]));
    }
    wf_heap_orphan(heap);
}

/* ---- the orphan: what is still referenced keeps it; the leak checker sees the rest ------------------------------------ */

Test(headers, orphan_then_the_last_put_frees_the_heap)
{
    wf_heap *heap = wf_heap_create();
    weft_task *a = get_live(heap, NULL), *b = get_live(heap, NULL);
    wf_heap_orphan(heap);
    wf_header_put(a, NULL);
    cr_assert_eq(b->state.v >> 16, 2u, "its memory is there");
    cr_assert_eq(wf_header_heap(b), heap);
    cr_assert(mapped(a));
    wf_header_put(b, NULL);
    cr_assert_not(mapped(a));
}

Test(headers, orphan_after_places_were_put_and_used_again_frees_the_heap_with_the_last_of_them)
{
    wf_heap *heap = wf_heap_create();
    weft_task *a = NULL;
    for (int i = 0; i < 10; i++) {
        a = get_live(heap, NULL);
        wf_header_put(a, NULL);
    }
    a = get_live(heap, NULL);
    wf_heap_orphan(heap);
    cr_assert(mapped(a));
    wf_header_put(a, NULL);
    cr_assert_not(mapped(a));
}

Test(headers, orphan_then_the_flush_of_a_last_cache_frees_the_heap)
{
    wf_heap *heap = wf_heap_create();
    wf_header_cache cache = {0};
    weft_task *a = get_live(heap, &cache);
    wf_heap_orphan(heap);
    wf_header_put(a, &cache);
    cr_assert(mapped(a), "the cache holds it");
    wf_header_flush(heap, &cache);
    cr_assert_not(mapped(a));
}

typedef struct last {
    weft_task **tasks;
    size_t n;
    wf_a32 *gate;
} last;

static void *put_all(void *arg)
{
    last *l = arg;
    while (!wf_load_acq(l->gate))
        sched_yield();
    for (size_t i = 0; i < l->n; i++)
        wf_header_put(l->tasks[i], NULL);
    return NULL;
}

Test(headers_threads, a_live_header_is_put_last_from_another_thread_after_its_runtime_has_gone)
{
    wf_heap *heap = wf_heap_create();
    wf_header_cache cache = {0};
    wf_a32 gate = {0};
    weft_task *task = get_live(heap, &cache);
    last l = {&task, 1, &gate};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, put_all, &l), 0);
    wf_header_flush(heap, &cache);
    wf_heap_orphan(heap);
    wf_note(&task->id, 42); /* still memory */
    wf_store_rel(&gate, 1);
    pthread_join(thread, NULL);
    cr_assert_not(mapped(task));
}

Test(headers_threads, orphan_against_the_last_puts_of_two_threads_frees_exactly_once)
{
    for (size_t round = wf_test_scale(1000); round > 0; round--) {
        wf_heap *heap = wf_heap_create();
        wf_a32 gate = {0};
        weft_task *tasks[2][3];
        last l[2];
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) {
            for (int k = 0; k < 3; k++)
                tasks[i][k] = get_live(heap, NULL);
            l[i] = (last){tasks[i], 3, &gate};
            cr_assert_eq(pthread_create(&threads[i], NULL, put_all, &l[i]), 0);
        }
        wf_store_rel(&gate, 1);
        wf_heap_orphan(heap);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        cr_assert_not(mapped(tasks[0][0]));
    }
}

/* ---- walking while others allocate -------------------------------------------------------------------------------------- */

enum { WORKERS = 2, HOLD = 600, TURNS = 300000 };

typedef struct town {
    wf_heap *heap;
    wf_a32 working;
    wf_aptr gifts[WORKERS]; /* headers that one worker took and another puts */
} town;

typedef struct worker {
    town *t;
    uint64_t number;
} worker;

static void put_filled(weft_task *task, uint64_t number, wf_header_cache *cache)
{
    cr_assert_eq(task->id.v, number, "two were given the same place");
    wf_header_put(task, cache);
}

/* Every now and then a header goes to the neighbour, who puts it into a cache of his own. */
static void *get_and_put(void *arg)
{
    worker *w = arg;
    town *t = w->t;
    wf_header_cache cache = {0};
    weft_task *mine[HOLD] = {NULL};
    wf_rng rng;
    wf_rng_seed(&rng, w->number + 1);
    for (size_t i = wf_test_scale(TURNS); i > 0; i--) {
        uint32_t k = wf_rng_below(&rng, HOLD);
        uint64_t number = w->number * HOLD + k;
        if (!mine[k]) {
            mine[k] = get_live(t->heap, wf_rng_below(&rng, 16) ? &cache : NULL);
            fill(mine[k], number);
        } else if (wf_rng_below(&rng, 8)) {
            put_filled(mine[k], number, wf_rng_below(&rng, 16) ? &cache : NULL);
            mine[k] = NULL;
        } else {
            weft_task *gift = wf_swap_acqrel(&t->gifts[!w->number], mine[k]);
            mine[k] = NULL;
            if (gift)
                wf_header_put(gift, &cache);
        }
        weft_task *gift = i % 8 ? NULL : wf_swap_acqrel(&t->gifts[w->number], NULL);
        if (gift)
            put_filled(gift, (uint64_t)!w->number * HOLD + gift->id.v % HOLD, &cache);
    }
    for (uint32_t k = 0; k < HOLD; k++)
        if (mine[k])
            put_filled(mine[k], w->number * HOLD + k, &cache);
    wf_header_flush(t->heap, &cache);
    wf_add_acqrel(&t->working, (uint32_t)-1);
    return NULL;
}

/* A walker meets words of free places, of live ones, and nothing else. */
static void looks(weft_task *task, void *arg)
{
    uint64_t word = wf_load_acq(&task->state);
    cr_assert(word == 0 || (word & ~WF_S_ABORT & ~WF_S_NOTIFIED) == (WF_S_ACTIVE | WF_S_HANDLE | 2 * WF_S_REF), "%llx",
              (unsigned long long)word);
    wf_wake verdict = wf_state_abort_if_alive(&task->state);
    cr_assert_eq(verdict, WF_WAKE_NOTHING, "all are scheduled");
    ++*(size_t *)arg;
}

Test(headers_threads, a_walk_while_two_workers_get_put_and_pass_on_meets_only_valid_words)
{
    town t = {.heap = wf_heap_create(), .working = {WORKERS}};
    pthread_t threads[WORKERS];
    worker workers[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (worker){&t, i};
        cr_assert_eq(pthread_create(&threads[i], NULL, get_and_put, &workers[i]), 0);
    }
    for (size_t before = 0, now; wf_load_acq(&t.working) > 0; before = now) {
        now = 0;
        wf_heap_walk(t.heap, looks, &now);
        cr_assert_geq(now, before, "places stay");
        sched_yield();
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < WORKERS; i++)
        if (t.gifts[i].v)
            wf_header_put(t.gifts[i].v, NULL);
    cr_assert_eq(walked(t.heap, counts_live), 0u);
    wf_heap_orphan(t.heap);
}

/* Chunks are filled, emptied and given back under the walker's feet, until it has met some places. */
static wf_a64 met;

static void *fill_and_trim(void *arg)
{
    enum { LIMIT = 10000 };
    town *t = arg;
    size_t least = wf_test_scale(10);
    for (size_t round = 0; round < least || (wf_load_rlx(&met) == 0 && round < LIMIT); round++) {
        for (size_t i = 0; i < MORE; i++) {
            held[i] = wf_header_get(t->heap, NULL);
            cr_assert_eq(wf_load_acq(&held[i]->state), 0u);
            wf_state_init(&held[i]->state, WF_S_HANDLE, 2);
        }
        for (size_t i = 0; i < MORE; i++)
            wf_header_put(held[i], NULL);
        trim_twice(t->heap, (int64_t)round * 10 * WF_SPARE_PERIOD);
    }
    wf_add_acqrel(&t->working, (uint32_t)-1);
    return NULL;
}

Test(headers_threads, a_walk_while_chunks_are_given_back_meets_only_valid_words)
{
    town t = {.heap = wf_heap_create(), .working = {1}};
    pthread_t thread;
    wf_store_rlx(&met, 0);
    cr_assert_eq(pthread_create(&thread, NULL, fill_and_trim, &t), 0);
    while (wf_load_acq(&t.working) > 0) {
        size_t n = 0;
        wf_heap_walk(t.heap, looks, &n);
        wf_add_rlx(&met, n);
        sched_yield();
    }
    pthread_join(thread, NULL);
    cr_assert_gt(wf_load_rlx(&met), 0u);
    cr_assert_eq(walked(t.heap, counts), 0u, "all was given back");
    wf_heap_orphan(t.heap);
}

/* Chunks are added under the walker's feet. */
static void *fill_two_chunks(void *arg)
{
    town *t = arg;
    wf_header_cache cache = {0};
    for (size_t i = 0; i < MORE; i++)
        held[i] = get_live(t->heap, &cache);
    wf_add_acqrel(&t->working, (uint32_t)-1);
    for (size_t i = 0; i < MORE; i++)
        wf_header_put(held[i], NULL);
    wf_header_flush(t->heap, &cache);
    return NULL;
}

Test(headers_threads, a_walk_while_the_heap_grows_by_a_chunk_sees_all_that_was_there_before)
{
    for (size_t round = wf_test_scale(10); round > 0; round--) {
        town t = {.heap = wf_heap_create(), .working = {1}};
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, fill_two_chunks, &t), 0);
        size_t before = 0;
        for (bool working = true; working;) {
            working = wf_load_acq(&t.working) > 0;
            size_t now = walked(t.heap, counts);
            cr_assert_geq(now, before);
            before = now;
        }
        cr_assert_geq(before, (size_t)MORE);
        pthread_join(thread, NULL);
        wf_heap_orphan(t.heap);
    }
}
