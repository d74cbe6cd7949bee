/* wheel.c - the digits, slots and bitmaps of the timer wheel; the idea is told in wheel.h.
 *
 * Owns all arithmetic on ticks. Nothing here knows a clock, a thread or a task. */
#include <timer/wheel.h>

/* The tick of the clock's zero. Clocks may be negative, digits may not: the farthest past, INT64_MIN, is
 * 9,223,372,036,855 ticks before zero. A multiple of 64^7, so that slots begin where they would if it were 0. */
#define TICK_OF_ZERO (UINT64_C(1) << 44)

_Static_assert(TICK_OF_ZERO > (uint64_t)INT64_MAX / WF_WHEEL_TICK_NS + 1, "INT64_MIN has a tick above 0");
_Static_assert((TICK_OF_ZERO + (uint64_t)INT64_MAX / WF_WHEEL_TICK_NS + 1) >> (WF_WHEEL_BITS * WF_WHEEL_LEVELS) == 0,
               "INT64_MAX has a tick within the highest level");
_Static_assert(WF_WHEEL_SLOTS == 64, "a level's occupancy is one uint64_t");
_Static_assert(sizeof(wf_wnode) <= 32, "small enough for every waiter");

/* The tick that has begun at @ns: rounds down, for the present. */
static inline uint64_t tick_begun(int64_t ns)
{
    int64_t whole = ns / WF_WHEEL_TICK_NS;
    return TICK_OF_ZERO + (uint64_t)(whole - (ns % WF_WHEEL_TICK_NS < 0));
}

/* The first tick that begins at @ns or later: rounds up, for deadlines. */
static inline uint64_t tick_due(int64_t ns)
{
    int64_t whole = ns / WF_WHEEL_TICK_NS;
    return TICK_OF_ZERO + (uint64_t)(whole + (ns % WF_WHEEL_TICK_NS > 0));
}

/* When @tick begins, in ns. Both ends saturate: what is due in the very first tick is due at INT64_MIN. */
static int64_t tick_start(uint64_t tick)
{
    int64_t whole = (int64_t)(tick - TICK_OF_ZERO);
    int64_t ns;
    if (__builtin_mul_overflow(whole, WF_WHEEL_TICK_NS, &ns))
        return whole < 0 ? INT64_MIN : WEFT_FOREVER;
    return ns;
}

/* Index of the slot for @tick as seen from @now: the highest differing digit names the level, its value the slot. */
static inline size_t slot_for(uint64_t tick, uint64_t now)
{
    unsigned highest_bit = 63u - (unsigned)__builtin_clzll((tick ^ now) | (WF_WHEEL_SLOTS - 1));
    unsigned level = highest_bit / WF_WHEEL_BITS;
    return (size_t)level * WF_WHEEL_SLOTS + (tick >> (level * WF_WHEEL_BITS) & (WF_WHEEL_SLOTS - 1));
}

/* The first tick of a slot. Its digits above the level are the current tick's, those below are 0. */
static inline uint64_t slot_start(const wf_wheel *w, size_t index)
{
    unsigned shift = (unsigned)(index / WF_WHEEL_SLOTS) * WF_WHEEL_BITS;
    uint64_t above = w->now >> (shift + WF_WHEEL_BITS) << (shift + WF_WHEEL_BITS);
    return above | (uint64_t)(index % WF_WHEEL_SLOTS) << shift;
}

/* The occupied slot that is due first: lower levels come before higher ones, and no occupied slot is behind the current
 * tick, so it is the lowest bit of the lowest level that has one. False when the wheel is empty. */
static inline bool earliest_slot(const wf_wheel *w, size_t *index)
{
    for (size_t level = 0; level < WF_WHEEL_LEVELS; level++) {
        if (w->occupied[level] == 0)
            continue;
        *index = level * WF_WHEEL_SLOTS + (size_t)__builtin_ctzll(w->occupied[level]);
        return true;
    }
    return false;
}

static inline void mark_empty(wf_wheel *w, size_t index)
{
    w->occupied[index / WF_WHEEL_SLOTS] &= ~(UINT64_C(1) << index % WF_WHEEL_SLOTS);
}

/* Put @n where its tick belongs as of now. */
static inline void place(wf_wheel *w, wf_wnode *n)
{
    size_t index = slot_for(n->tick, w->now);
    wf_list_push_back(&w->slot[index], &n->link);
    w->occupied[index / WF_WHEEL_SLOTS] |= UINT64_C(1) << index % WF_WHEEL_SLOTS;
}

/* Take @n out of its list. Which slot that was matters to its last node only, whose neighbours both are its head. */
static inline void unlink_node(wf_wheel *w, wf_wnode *n)
{
    wf_node *next = n->link.next, *prev = n->link.prev;
    next->prev = prev;
    prev->next = next;
    n->tick = 0;
    wf_count(&w->linked, -1);
    if (next != prev)
        return;
    size_t index = (size_t)(wf_container(next, wf_list, head) - w->slot);
    assert(index < WF_WHEEL_LEVELS * WF_WHEEL_SLOTS && "the node is in another wheel");
    mark_empty(w, index);
}

/* Place a slot's nodes again, now that the current tick has entered it. None returns to it: see wheel.h. Order within a
 * tick is kept: until now each node of that tick went to this slot, and the list is moved from front to back.
 *
 * The nodes are long out of the cache, and a list says where the next one is only once this one has come. So @ahead comes from the
 * other end meanwhile, and only looks: two lines are on their way at a time. */
static void cascade(wf_wheel *w, size_t index)
{
    wf_list *from = &w->slot[index];
    wf_node *n = from->head.next, *ahead = from->head.prev;
    while (n != &from->head) {
        wf_node *next = n->next;
        ahead = ahead == n || ahead == next ? next : ahead->prev; /* they have met: nothing is left to fetch */
        __builtin_prefetch(ahead);
        place(w, wf_container(n, wf_wnode, link));
        n = next;
    }
    wf_list_init(from);
    mark_empty(w, index);
}

void wf_wheel_init(wf_wheel *w, int64_t now_ns)
{
    for (size_t level = 0; level < WF_WHEEL_LEVELS; level++)
        w->occupied[level] = 0;
    for (size_t i = 0; i < WF_WHEEL_LEVELS * WF_WHEEL_SLOTS; i++)
        wf_list_init(&w->slot[i]);
    w->now = tick_begun(now_ns);
    wf_store_rlx(&w->linked, 0);
}

void wf_wheel_insert(wf_wheel *w, wf_wnode *n, int64_t when_ns)
{
    if (wf_unlikely(wf_wnode_linked(n)))
        unlink_node(w, n);
    uint64_t due = tick_due(when_ns);
    n->tick = WF_MAX(due, w->now); /* overdue: there is no slot behind the current tick */
    wf_count(&w->linked, 1);
    place(w, n);
}

void wf_wheel_remove(wf_wheel *w, wf_wnode *n)
{
    if (wf_wnode_linked(n))
        unlink_node(w, n);
}

wf_wnode *wf_wheel_pop(wf_wheel *w, int64_t now_ns)
{
    uint64_t begun = tick_begun(now_ns);
    uint64_t target = WF_MAX(begun, w->now);
    size_t index;
    while (earliest_slot(w, &index) && slot_start(w, index) <= target) {
        w->now = slot_start(w, index); /* before anything is placed: d07 placed against the old tick */
        if (index < WF_WHEEL_SLOTS) {
            wf_wnode *n = wf_container(w->slot[index].head.next, wf_wnode, link);
            unlink_node(w, n);
            return n;
        }
        cascade(w, index);
    }
    w->now = target; /* enters no occupied slot: the earliest begins later */
    return NULL;
}

int64_t wf_wheel_time(const wf_wheel *w) { return tick_start(w->now); }

int64_t wf_wheel_next(const wf_wheel *w)
{
    size_t index;
    if (!earliest_slot(w, &index))
        return WEFT_FOREVER;
    const wf_node *first = w->slot[index].head.next;
    if (first == w->slot[index].head.prev) /* alone: sleep to its very tick, for there is nobody to cascade for */
        return tick_start(wf_container(first, const wf_wnode, link)->tick);
    return tick_start(slot_start(w, index));
}

static size_t slot_length(const wf_list *slot)
{
    size_t length = 0;
    for (const wf_node *n = slot->head.next; n != &slot->head; n = n->next)
        length++;
    return length;
}

size_t wf_wheel_count(const wf_wheel *w)
{
    size_t count = 0;
    for (size_t i = 0; i < WF_WHEEL_LEVELS * WF_WHEEL_SLOTS; i++)
        count += slot_length(&w->slot[i]);
    return count;
}

/* Whether each node of a slot is linked both ways and belongs there. It ends also when the list has become a loop beside its head: where
 * that closes, two nodes have the same next, and only one of them is that one's prev. */
static bool check_slot(const wf_wheel *w, size_t index)
{
    const wf_node *head = &w->slot[index].head;
    for (const wf_node *n = head->next; n != head; n = n->next) {
        uint64_t tick = wf_container(n, const wf_wnode, link)->tick;
        if (n->next->prev != n || n->prev->next != n)
            return false;
        if (tick < w->now || slot_for(tick, w->now) != index)
            return false;
    }
    return head->next->prev == head && head->prev->next == head;
}

bool wf_wheel_check(const wf_wheel *w)
{
    for (size_t i = 0; i < WF_WHEEL_LEVELS * WF_WHEEL_SLOTS; i++) {
        bool marked = w->occupied[i / WF_WHEEL_SLOTS] >> i % WF_WHEEL_SLOTS & 1;
        if (marked == wf_list_empty(&w->slot[i]) || !check_slot(w, i))
            return false;
    }
    return wf_load_rlx(&w->linked) == wf_wheel_count(w);
}
