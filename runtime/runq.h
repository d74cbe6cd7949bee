/* runq.h - the two queues of a worker, and the one they all share.
 *
 * fresh   tasks that were never polled. The owner takes the newest (a tree of spawns runs depth first, on few stacks), thieves
 *         the oldest (the largest piece of work). Source: Chase and Lev, "Dynamic circular work-stealing deque", 2005, in the form
 *         of Le, Pop, Cohen and Zappa Nardelli, "Correct and efficient work-stealing for weak memory models", 2013, with a fixed
 *         capacity and exchanges in place of fences (ThreadSanitizer does not model fences).
 * woken   tasks that were polled before, in the order of their wakes. The owner adds at the tail; owner and thieves take at the
 *         head, thieves several at once. Source: the run queues of Go's and tokio's schedulers.
 * inject  a locked list for everything that comes from outside or does not fit.
 *
 * Capacities are small on purpose: what overflows goes to the inject queue, where anybody finds it. */
#ifndef WF_RUNQ_H
#define WF_RUNQ_H

#include <base/lock.h>
#include <runtime/task.h>

#if WF_STRESS
enum { WF_RUNQ_CAPACITY = 4 }; /* overflow and wraparound happen all the time */
#else
enum { WF_RUNQ_CAPACITY = 256 };
#endif

/* ---- fresh --------------------------------------------------------------------------------------------------- */

typedef struct wf_deque {
    alignas(WF_CACHE_LINE) wf_ai64 top;    /* thieves, and the owner for the last one */
    alignas(WF_CACHE_LINE) wf_ai64 bottom; /* the owner; thieves read */
    wf_aptr slots[WF_RUNQ_CAPACITY];
} wf_deque;

static inline int64_t wf_deque_len(wf_deque *q)
{
    int64_t n = wf_load_rlx(&q->bottom) - wf_load_rlx(&q->top);
    return n < 0 ? 0 : n;
}

/* Owner only. False: full. */
static inline bool wf_deque_push(wf_deque *q, weft_task *task)
{
    int64_t b = wf_load_rlx(&q->bottom);
    if (b - wf_load_acq(&q->top) >= WF_RUNQ_CAPACITY) /* [DEQUE-REUSE] acquire: the thief has read the slot */
        return false;
    wf_store_rlx(&q->slots[b % WF_RUNQ_CAPACITY], task);
    wf_store_rel(&q->bottom, b + 1); /* [DEQUE] release: the slot and the task */
    return true;
}

/* Owner only: the newest, or NULL. */
static inline weft_task *wf_deque_pop(wf_deque *q)
{
    int64_t b = wf_load_rlx(&q->bottom) - 1;
    if (b < wf_load_rlx(&q->top))
        return NULL; /* top only grows: it is empty for sure */
    /* seq_cst: "this one is mine" must be visible before top is read, or a thief and the owner both take the last one. */
    wf_swap_seq(&q->bottom, b);
    int64_t t = wf_load_seq(&q->top);
    weft_task *task = NULL;
    if (t <= b) {
        task = wf_load_rlx(&q->slots[b % WF_RUNQ_CAPACITY]);
        if (t < b)
            return task;
        if (!wf_cas_strong_seq(&q->top, &t, t + 1)) /* the last one: race the thieves for it */
            task = NULL;
    }
    wf_store_rlx(&q->bottom, b + 1);
    return task;
}

/* Owner only: take @task if it is the newest. */
static inline bool wf_deque_pop_if(wf_deque *q, const weft_task *task)
{
    int64_t b = wf_load_rlx(&q->bottom) - 1;
    if (b < wf_load_rlx(&q->top) || wf_load_rlx(&q->slots[b % WF_RUNQ_CAPACITY]) != task)
        return false;
    return wf_deque_pop(q) != NULL; /* NULL: a thief was faster */
}

/* Any thread: the oldest, or NULL when empty or another was faster. */
static inline weft_task *wf_deque_steal(wf_deque *q)
{
    int64_t t = wf_load_seq(&q->top);
    int64_t b = wf_load_seq(&q->bottom); /* seq_cst: after top, against the owner's exchange; [DEQUE] acquire */
    if (t >= b)
        return NULL;
    weft_task *task = wf_load_rlx(&q->slots[t % WF_RUNQ_CAPACITY]);
    return wf_cas_strong_seq(&q->top, &t, t + 1) ? task : NULL; /* [DEQUE-REUSE] release */
}

/* ---- woken --------------------------------------------------------------------------------------------------- */

typedef struct wf_ring {
    alignas(WF_CACHE_LINE) wf_a32 head; /* next to take: owner and thieves, by compare-and-swap */
    alignas(WF_CACHE_LINE) wf_a32 tail; /* next free: the owner */
    wf_aptr slots[WF_RUNQ_CAPACITY];
} wf_ring;

static inline uint32_t wf_ring_len(wf_ring *q)
{
    uint32_t head = wf_load_rlx(&q->head), n = wf_load_rlx(&q->tail) - head;
    return n > WF_RUNQ_CAPACITY ? 0 : n;
}

/* Owner only: how many can be pushed, at the least. */
static inline uint32_t wf_ring_room(wf_ring *q) { return WF_RUNQ_CAPACITY - wf_ring_len(q); }

/* Owner only. False: full. */
static inline bool wf_ring_push(wf_ring *q, weft_task *task)
{
    uint32_t tail = wf_load_rlx(&q->tail);
    if (tail - wf_load_acq(&q->head) >= WF_RUNQ_CAPACITY) /* [RING-REUSE] acquire: the taker has read the slot */
        return false;
    wf_store_rlx(&q->slots[tail % WF_RUNQ_CAPACITY], task);
    wf_store_rel(&q->tail, tail + 1); /* [RING] release: the slot and the task */
    return true;
}

/* Owner only: the oldest, or NULL. @alone: there are no thieves. */
static inline weft_task *wf_ring_pop(wf_ring *q, bool alone)
{
    uint32_t head = wf_load_rlx(&q->head), tail = wf_load_rlx(&q->tail);
    while (head != tail) {
        weft_task *task = wf_load_rlx(&q->slots[head % WF_RUNQ_CAPACITY]);
        if (alone) {
            wf_store_rlx(&q->head, head + 1);
            return task;
        }
        if (wf_cas_acqrel(&q->head, &head, head + 1)) /* [RING-REUSE] release */
            return task;
    }
    return NULL;
}

/* Owner only, where nobody steals and there is one: it stays. */
static inline weft_task *wf_ring_first(wf_ring *q)
{
    return wf_load_rlx(&q->slots[wf_load_rlx(&q->head) % WF_RUNQ_CAPACITY]);
}

/* Any thread: copy up to @max of the oldest, at most half (rounded up), into @out. Returns how many are now the caller's. */
static inline uint32_t wf_ring_steal(wf_ring *q, weft_task **out, uint32_t max)
{
    uint32_t head = wf_load_acq(&q->head);
    for (;;) {
        uint32_t n = wf_load_acq(&q->tail) - head; /* [RING] acquire */
        if (n == 0)
            return 0;
        if (n > WF_RUNQ_CAPACITY) { /* head was old when tail was read */
            head = wf_load_acq(&q->head);
            continue;
        }
        n = WF_MIN(n - n / 2, max);
        for (uint32_t i = 0; i < n; i++)
            out[i] = wf_load_rlx(&q->slots[(head + i) % WF_RUNQ_CAPACITY]);
        if (wf_cas_acqrel(&q->head, &head, head + n)) /* [RING-REUSE] release: the slots were read; unchanged head: not yet reused */
            return n;
    }
}

/* ---- inject -------------------------------------------------------------------------------------------------- */

typedef struct wf_inject {
    wf_spin lock;
    weft_task *first, *last; /* under lock, linked by next */
    wf_a64 len;              /* written under lock; read anywhere */
} wf_inject;

/* @first … @last, linked by next, are @n tasks. */
static inline void wf_inject_push_all(wf_inject *q, weft_task *first, weft_task *last, uint64_t n)
{
    last->next = NULL;
    wf_spin_lock(&q->lock);
    if (q->last)
        q->last->next = first;
    else
        q->first = first;
    q->last = last;
    wf_add_seq(&q->len, n); /* seq_cst: before the pusher reads who sleeps; sleepers read it after they said so */
    wf_spin_unlock(&q->lock);
}

static inline void wf_inject_push(wf_inject *q, weft_task *task) { wf_inject_push_all(q, task, task, 1); }

static inline uint64_t wf_inject_len(wf_inject *q) { return wf_load_seq(&q->len); }

/* Up to @max of the oldest, in order. */
static inline uint32_t wf_inject_pop(wf_inject *q, weft_task **out, uint32_t max)
{
    if (wf_load_rlx(&q->len) == 0)
        return 0;
    uint32_t n = 0;
    wf_spin_lock(&q->lock);
    while (n < max && q->first) {
        out[n++] = q->first;
        q->first = q->first->next;
    }
    if (!q->first)
        q->last = NULL;
    wf_store_rlx(&q->len, wf_load_rlx(&q->len) - n);
    wf_spin_unlock(&q->lock);
    return n;
}

#endif
