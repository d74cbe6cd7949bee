/* task.h - the task header and its life from birth to the last reference.
 *
 * The header is small, shared and reference-counted; the body (a strand's stack, a future) goes the moment the task ends, while
 * the output stays until the handle takes it. Bits and transitions are in state.h. */
#ifndef WF_TASK_H
#define WF_TASK_H

#include <base/alloc.h>
#include <base/exec.h>
#include <base/mailbox.h>
#include <runtime/headers.h>
#include <runtime/pool.h>
#include <runtime/state.h>
#include <runtime/track.h>

struct wf_strand;
struct wf_worker;

/* What few tasks have. Allocated with the runtime's allocator, freed with the header. */
typedef struct wf_extra {
    weft_allocator allocator;
    size_t stack_size;           /* 0: the runtime's */
    void (*drop_arg)(void *);    /* called if the task never starts; cleared when it does */
    void (*drop_result)(void *); /* called if nobody takes the result */
    void *copy;                  /* copy_arg's bytes, freed when the task ends */
    struct wf_cells *cells;      /* values of weft_locals; only while the task lives, only by its poller */
    char *error;                 /* a panic's text */
    wf_job job;                  /* a blocking task's, with a reference to the task while the pool has it */
    weft_task *task;             /* … whose it is */
    char name[64];
} wf_extra;

enum {
    WF_TASK_STRAND = 1,    /* its body is a function; else a future */
    WF_TASK_PINNED = 2,    /* only worker `home` polls it */
    WF_TASK_STORAGE = 4,   /* the header lies in a weft_task_storage */
    WF_TASK_MEMBER = 16,   /* of a group: its join waker is the group's, and stands from birth to end */
    WF_TASK_BLOCKING = 32, /* its function runs on a thread of the pool; workers only cancel it */
    WF_TASK_WATCHED = 64,  /* its runtime has hooks: see runtime/watch.h */
    WF_TASK_MEASURED = 8,  /* … measures: see there */
};

/* What a wake reads comes first: half of the headers begin in the middle of a cache line. */
struct weft_task {
    wf_a64 state; /* see state.h */
    union {
        struct weft_task *next; /* link of the queue it is in, or of the free list */
        wf_letter letter;       /* the same word, while a pinned task lies in its worker's mailbox */
        wf_a32 status; /* once its output stands: 0, WEFT_EABORTED, WEFT_EPANIC, WEFT_EFAILED (code in value), as int32_t. It is queued no more */
    };
    union {
        weft_fn fn;          /* a strand's, until it starts */
        weft_future *future; /* a stackless task's, until it ends */
        const void *sp;      /* a strand's that has been left: its stack pointer. For wf_strand_expect() */
    } body;
    wf_aptr strand;   /* wf_strand: on its own stack, from the first poll to the end; else NULL */
    weft_runtime *rt; /* valid until the task is done */
    union {
        wf_aptr value; /* fn's argument until it starts; the result once done */
        wf_a64 waits;  /* in between: what its last wait was for, see base/waits.h */
    };
    weft_waker joiner; /* under JOIN_LOCK, or owned by who set JOIN_WAKER off */
    wf_a64 id;
    union {
        wf_extra *extra;    /* or NULL */
        wf_aptr extra_seen; /* the same, for who walks over headers while one is born */
    };
    wf_a32 born;    /* when that was, in wf_ticks() */
    uint16_t spare; /* references paid for in advance, not handed out yet; the poller's */
    wf_a16 flags;   /* WF_TASK_…; do not change once it has been queued */
    wf_a64 track;   /* see track.h; its worker's part says where a pinned task is polled */
};

_Static_assert(sizeof(struct weft_task) <= WF_HEADER_SIZE, "a spawned task costs about 100 bytes");

/* Any of @flags. Nobody changes them while others look. */
static inline bool wf_task_is(const weft_task *task, unsigned flags) { return task->flags.v & flags; }

static inline struct wf_strand *wf_task_strand(const weft_task *task) { return task->strand.v; }

/* What it ends with. */
static inline void wf_task_set_output(weft_task *task, int status, void *value)
{
    wf_note(&task->status, (uint32_t)status);
    wf_note(&task->value, value);
}
static inline int wf_task_status(const weft_task *task) { return (int)task->status.v; }

/* A header with word 0, or NULL when out of memory. @cache: the calling worker's, or NULL. */
static inline weft_task *wf_header_get(wf_heap *heap, wf_header_cache *cache)
{
    weft_task *task = cache ? cache->free : NULL;
    if (wf_unlikely(!task))
        return wf_header_get_slow(heap, cache);
    cache->free = task->next;
    cache->count--;
    return task;
}

/* Give one back, from any thread. @cache: the calling worker's if it belongs to the same heap, else NULL. */
static inline void wf_header_put(weft_task *task, wf_header_cache *cache)
{
    if (wf_unlikely(!cache) || wf_unlikely(cache->count >= 2 * WF_HEADER_BATCH)) {
        wf_header_put_slow(task, cache);
        return;
    }
    wf_store_rel(&task->state, 0); /* a walker that still looks sees a free place */
    task->next = cache->free;
    cache->free = task;
    cache->count++;
}

_Static_assert((WF_S_ABORT | WF_S_SCOPE) == WF_SIGNS, "awaits look for these");

/* Where a woken task goes is the scheduler's business: runtime/worker.c. */
void wf_schedule_woken(weft_task *task);

/* Poll @task on @worker, which has begun with it and found @word, to wherever that leads; not for strands that have been polled before. A strand is only
 * prepared: the caller switches to the context returned, and then calls wf_task_left() with what the switch back says. (The switch is
 * the worker loop's own, so that no function has to return across it: the CPU would mispredict every such return.) */
struct wf_ctx *wf_task_poll(struct wf_worker *worker, weft_task *task, uint64_t word);
void wf_task_left(struct wf_worker *worker, weft_task *task, int left);

/* The future or strand panicked while it was polled outside a stack of its own; @text as formatted. */
void wf_task_poll_panicked(struct wf_worker *worker, weft_task *task, const char *text);

void wf_task_wake(weft_task *task);
void wf_task_unref(weft_task *task);

/* End @task with what stands in status and value. @worker: the calling thread's, or NULL. */
void wf_task_complete(struct wf_worker *worker, weft_task *task);

/* The extra block goes, with what is in it. */
void wf_task_extra_free(weft_task *task);

/* runtime/blocking.c: @task, with an extra block and not queued yet, gets its job. */
void wf_blocking_init(weft_task *task);
/* A worker cancels it: out of the pool's queue, if it is still there. */
void wf_blocking_retract(weft_task *task);

/* The extra block, made if need be; NULL when out of memory. */
wf_extra *wf_task_extra(weft_task *task);

/* Store a panic's text; survives without memory. */
void wf_task_set_error(weft_task *task, const char *text);

const char *wf_task_label(const weft_task *task);
/* Returns 0 or WEFT_ENOMEM. By the task itself. */
int wf_task_set_label(weft_task *task, const char *name);
/* For whoever walks over headers: of any task, alive or not. */
void wf_task_copy_label(weft_task *task, char *out, size_t size);

/* runtime/local.c: values that belong to tasks. */
struct wf_cells *wf_cells_inherit(const struct wf_cells *parent, bool *out_of_memory);
void wf_cells_free(struct wf_cells *cells);

/* Around fork(): nobody is in the midst of changing what the child gets a copy of. */
void wf_extras_fork_lock(void);
void wf_extras_fork_unlock(void);

#endif
