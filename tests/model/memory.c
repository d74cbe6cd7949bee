/* memory.c - what is seen: atomics in the order of C11, plain accesses that race, and what was freed.
 *
 * Each atomic place has the list of its stores, oldest first. Each thread has a view: of each place, the oldest store that it may still see. A store
 * carries a message: the view, and the vector clock, of whoever released it; a load that acquires joins both to its own. Read-modify-writes see the
 * newest store and hand its message on, which is the release sequence. Sequentially consistent loads see at least the last sequentially consistent store to
 * their place. (Norris and Demsky, "CDSChecker", 2013; Kang et al., "A promising semantics", 2017, without promises.)
 *
 * Each byte has the clocks of the last accesses of each thread, of each kind. Two accesses, one of them plain and one of them a write, of which
 * neither is before the other by the clocks, are a data race (Flanagan and Freund, "FastTrack", 2009, without its savings). */
#include "inside.h"

#include <string.h>

enum { PLACES = 192, STORES = 6000, BYTES = 4096, KEYS = 64 };

/* ---- what a thread knows ---------------------------------------------------------------------------------------------------- */

typedef struct knowledge {
    uint16_t view[PLACES];
    uint32_t clock[MODEL_THREADS];
} knowledge;

static knowledge known[MODEL_THREADS];
static bool stale[MODEL_THREADS];

static knowledge *mine(void) { return &known[model_self()]; }

static void join(knowledge *to, const knowledge *from)
{
    for (unsigned i = 0; i < PLACES; i++)
        if (to->view[i] < from->view[i])
            to->view[i] = from->view[i];
    for (unsigned i = 0; i < MODEL_THREADS; i++)
        if (to->clock[i] < from->clock[i])
            to->clock[i] = from->clock[i];
}

/* ---- places and their stores ---------------------------------------------------------------------------------------------------- */

typedef struct store {
    uint64_t value;
    struct store *older;
    knowledge message; /* nothing, if nobody released it */
} store;

typedef struct place {
    const void *address;
    store *newest;
    uint16_t stores;   /* so many; the newest has this number */
    uint16_t last_seq; /* the number of the last sequentially consistent one */
} place;

static place places[PLACES];
static unsigned place_count;
static store stores[STORES];
static unsigned store_count;

static store *add_store(place *at, uint64_t value)
{
    if (store_count == STORES || at->stores == UINT16_MAX)
        model_fail("more than %d stores", STORES);
    store *s = &stores[store_count++];
    s->value = value;
    s->older = at->newest;
    memset(&s->message, 0, sizeof s->message);
    at->newest = s;
    at->stores++;
    return s;
}

static uint64_t read_memory(const void *p, size_t size)
{
    uint64_t value = 0;
    memcpy(&value, p, size);
    return value;
}

/* What plain code has put there since is a store, too; who may see it is the business of races. */
static place *place_of(const void *p, size_t size)
{
    uint64_t value = read_memory(p, size);
    unsigned i = 0;
    while (i < place_count && places[i].address != p)
        i++;
    if (i == PLACES)
        model_fail("more than %d atomics", PLACES);
    place *at = &places[i];
    if (i == place_count) {
        place_count++;
        *at = (place){.address = p};
    }
    if (!at->newest || at->newest->value != value) {
        add_store(at, value);
        for (unsigned t = 0; t < MODEL_THREADS; t++)
            known[t].view[i] = at->stores;
    }
    return at;
}

static uint16_t *seen(place *at) { return &mine()->view[at - places]; }

static bool acquires(model_order o)
{
    return o == MODEL_ACQUIRE || o == MODEL_CONSUME || o == MODEL_ACQ_REL || o == MODEL_SEQ_CST;
}
static bool releases(model_order o) { return o == MODEL_RELEASE || o == MODEL_ACQ_REL || o == MODEL_SEQ_CST; }

/* ---- races ---------------------------------------------------------------------------------------------------------------------------- */

enum { PLAIN_READ, PLAIN_WRITE, ATOMIC_READ, ATOMIC_WRITE, KINDS };

static struct byte {
    const char *address;
    uint32_t execution;
    uint32_t last[KINDS][MODEL_THREADS];
} bytes[BYTES];
static uint32_t execution;
static unsigned byte_count;

/* @make: it is noted if it was not touched so far; else NULL. */
static struct byte *byte_of(const char *p, bool make)
{
    for (size_t i = ((uintptr_t)p * 0x9e3779b97f4a7c15) >> 52;; i++) {
        struct byte *b = &bytes[i % BYTES];
        if (b->execution != execution) {
            if (!make)
                return NULL;
            if (++byte_count > BYTES * 3 / 4)
                model_fail("more than %d bytes", BYTES * 3 / 4);
            memset(b, 0, sizeof *b);
            b->execution = execution;
            b->address = p;
            return b;
        }
        if (b->address == p)
            return b;
    }
}

static bool conflict(unsigned a, unsigned b)
{
    bool write = a == PLAIN_WRITE || a == ATOMIC_WRITE || b == PLAIN_WRITE || b == ATOMIC_WRITE;
    return write && (a <= PLAIN_WRITE || b <= PLAIN_WRITE);
}

static void check_races(const struct byte *b, unsigned kind)
{
    static const char *const names[] = {"a read", "a write", "an atomic load", "an atomic store"};
    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned t = 0; conflict(kind, k) && t < MODEL_THREADS; t++)
            if (t != model_self() && b->last[k][t] > mine()->clock[t])
                model_fail("data race: %s of %p, and %s by thread %u", names[kind], (const void *)b->address, names[k], t);
}

static void access_bytes(const void *p, size_t size, unsigned kind)
{
    if (model_is_freed(p))
        model_fail("use after free of %p", p);
    for (const char *c = p; c < (const char *)p + size; c++) {
        struct byte *b = byte_of(c, true);
        check_races(b, kind);
        b->last[kind][model_self()] = mine()->clock[model_self()];
    }
}

void memory_plain(const void *p, size_t size, bool write)
{
    if (!model_is_local(p))
        access_bytes(p, size, write ? PLAIN_WRITE : PLAIN_READ);
}

void memory_free(const void *p, size_t size)
{
    for (const char *c = p; c < (const char *)p + size; c++) {
        struct byte *b = byte_of(c, false);
        if (b)
            check_races(b, PLAIN_WRITE);
    }
}

/* ---- the operations ------------------------------------------------------------------------------------------------------------------------ */

/* What the running thread does from here on is later than what it has published. */
static void publish(store *s)
{
    join(&s->message, mine());
    mine()->clock[model_self()]++;
}

static uint64_t truncate_to(uint64_t value, size_t size)
{
    return size == 8 ? value : value & ((UINT64_C(1) << size * 8) - 1);
}

static store *choose_store(place *at, model_order order)
{
    uint16_t oldest = *seen(at), older = 0;
    if (order == MODEL_SEQ_CST && oldest < at->last_seq)
        oldest = at->last_seq;
    unsigned choice = model_choose_stale((unsigned)(at->stores - oldest) + 1);
    store *s = at->newest;
    for (; older < choice; older++)
        s = s->older;
    if (choice > 0)
        stale[model_self()] = true;
    *seen(at) = (uint16_t)(at->stores - older);
    return s;
}

uint64_t memory_load(const void *p, size_t size, model_order order)
{
    place *at = place_of(p, size);
    access_bytes(p, size, ATOMIC_READ);
    store *s = choose_store(at, order);
    if (acquires(order))
        join(mine(), &s->message);
    model_note("= %#llx%s", (unsigned long long)s->value, s == at->newest ? "" : " (old)");
    return s->value;
}

static void put(place *at, void *p, size_t size, uint64_t value, model_order order, const store *before)
{
    store *s = add_store(at, value);
    *seen(at) = at->stores;
    if (order == MODEL_SEQ_CST)
        at->last_seq = at->stores;
    if (before)
        s->message = before->message;
    if (releases(order))
        publish(s);
    memcpy(p, &value, size);
    model_progress();
}

void memory_store(void *p, size_t size, uint64_t value, model_order order)
{
    place *at = place_of(p, size);
    access_bytes(p, size, ATOMIC_WRITE);
    put(at, p, size, truncate_to(value, size), order, NULL);
    model_note("<- %#llx", (unsigned long long)value);
}

static uint64_t combine(model_rmw what, uint64_t old, uint64_t operand)
{
    switch (what) {
    case MODEL_ADD:
        return old + operand;
    case MODEL_SUB:
        return old - operand;
    case MODEL_AND:
        return old & operand;
    case MODEL_OR:
        return old | operand;
    case MODEL_XOR:
        return old ^ operand;
    default:
        return operand;
    }
}

uint64_t memory_rmw(void *p, size_t size, model_rmw what, uint64_t operand, model_order order)
{
    place *at = place_of(p, size);
    access_bytes(p, size, ATOMIC_WRITE);
    store *s = at->newest;
    uint64_t value = truncate_to(combine(what, s->value, operand), size);
    if (acquires(order))
        join(mine(), &s->message);
    put(at, p, size, value, order, s);
    model_note("%#llx -> %#llx", (unsigned long long)s->value, (unsigned long long)value);
    return s->value;
}

bool memory_cas(void *p, size_t size, uint64_t *expected, uint64_t value, bool weak, model_order success, model_order failure)
{
    place *at = place_of(p, size);
    access_bytes(p, size, ATOMIC_WRITE);
    store *s = at->newest;
    bool equal = s->value == truncate_to(*expected, size);
    if (equal && weak && model_choose_stale(2) == 1)
        equal = false;
    if (equal) {
        if (acquires(success))
            join(mine(), &s->message);
        put(at, p, size, truncate_to(value, size), success, s);
        model_note("%#llx -> %#llx", (unsigned long long)s->value, (unsigned long long)value);
        return true;
    }
    if (acquires(failure))
        join(mine(), &s->message);
    *seen(at) = at->stores;
    *expected = s->value;
    model_note("is %#llx, no change", (unsigned long long)s->value);
    return false;
}

/* ---- order by other means ---------------------------------------------------------------------------------------------------------------------- */

static struct {
    const void *key;
    knowledge message;
} keys[KEYS];
static unsigned key_count;

static knowledge *message_of(const void *key)
{
    unsigned i = 0;
    while (i < key_count && keys[i].key != key)
        i++;
    if (i == KEYS)
        model_fail("more than %d locks", KEYS);
    if (i == key_count) {
        keys[key_count++].key = key;
        memset(&keys[i].message, 0, sizeof keys[i].message);
    }
    return &keys[i].message;
}

void memory_release_at(const void *key)
{
    join(message_of(key), mine());
    mine()->clock[model_self()]++;
}

void memory_acquire_at(const void *key) { join(mine(), message_of(key)); }

void memory_begin(unsigned threads)
{
    place_count = store_count = key_count = byte_count = 0;
    execution++;
    memset(known, 0, sizeof known);
    memset(stale, 0, sizeof stale);
    for (unsigned i = 0; i < threads; i++)
        known[i].clock[i] = 1;
}

void memory_fork(unsigned thread) { join(&known[thread], mine()); }

void memory_forked(void) { mine()->clock[model_self()]++; }

void memory_join(unsigned thread) { join(mine(), &known[thread]); }

void memory_see_all(void)
{
    for (unsigned i = 0; i < place_count; i++)
        mine()->view[i] = places[i].stores;
    stale[model_self()] = false;
}

bool memory_was_stale(void) { return stale[model_self()]; }
