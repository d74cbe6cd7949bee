/* source.h - a descriptor whose readiness tasks can wait for.
 *
 * A source lives in a type-stable place until its runtime ends; the set's events carry the place and its generation, so a late
 * event finds a valid word and is dropped if it is for an earlier life. The first to wait registers it with a reactor, its home,
 * once and for both directions (edge-triggered); from then on waiting costs no system call. But see seldom_full.
 *
 * An operation: claim the direction, try the system call while ready, on EAGAIN wait, try again, release. Who closes marks
 * it, wakes both sides and leaves; the last to operate deregisters and closes the descriptor, in this order. */
#ifndef WF_SOURCE_H
#define WF_SOURCE_H

#include <base/alloc.h>
#include <base/exec.h>
#include <base/list.h>
#include <base/lock.h>
#include <base/mailbox.h>
#include <base/wake_cell.h>
#include <reactor/source_state.h>

#ifndef WF_REACTOR_UVPOLL
#if defined(__linux__)
#define WF_REACTOR_UVPOLL 0
#else
#define WF_REACTOR_UVPOLL 1
#endif
#endif

struct wf_reactor;
struct wf_sources;

struct wf_source;

/* What is built on a source. */
typedef struct wf_source_kind {
    bool socket;      /* shut it down when it is closed */
    bool seldom_full; /* each write is an event of its own, and few have to wait: watched for writing only once one had to */
    void (*closing)(struct wf_source *); /* it is being closed, its descriptor still open: called once, by the first; or NULL */
    void (*gone)(struct wf_source *); /* nobody has it any more: called once, as the last thing; or NULL */
} wf_source_kind;

/* Deliveries touch its first cache line only, operations that and the second, and who waits without a task the third. */
typedef struct wf_source {
    alignas(WF_CACHE_LINE) wf_a64 word; /* see source_state.h */
    wf_wake_cell cells[2];              /* who waits, by direction */
    wf_aptr home;                       /* wf_reactor; written once a life, by who arms it */
    wf_a32 asks;                        /* WF_ASK_…: what is asked of the home's set; zero between two lives */
    wf_aint fd;                         /* from open to finalize; -1 otherwise, and for those that have none */
    const wf_source_kind *kind;
    struct wf_sources *sources; /* where the place belongs */
    union {
        uint64_t user[6];            /* for what is built on it */
        struct wf_source *next_free; /* under the sources' lock, while nobody has the place */
    };
    weft_atomic_waker others[2]; /* beside the cells */
#if WF_REACTOR_UVPOLL
    /* set_uvpoll.c's, zero between two lives. */
    wf_aint error;    /* what watching failed with, for the next who waits */
    wf_letter letter; /* in the home's mailbox while WF_ASK_POSTED */
    void *watch;      /* whoever holds the home */
#endif
} wf_source;

/* READ, WRITE: somebody waits in that direction, or waited: the set watches for it, or is about to be told. set_epoll.c has use for WRITE and ADDED alone. */
#define WF_ASK_READ UINT32_C(0x1)
#define WF_ASK_WRITE UINT32_C(0x2)
#define WF_ASK_ADDED UINT32_C(0x4)  /* the home is known */
#define WF_ASK_REMOVE UINT32_C(0x8) /* watch it no longer, and close it */
#define WF_ASK_POSTED UINT32_C(0x10)
static inline uint32_t wf_ask_bit(wf_direction d) { return d == WF_READ ? WF_ASK_READ : WF_ASK_WRITE; }

/* All the sources of one runtime. */
typedef struct wf_sources {
    const weft_allocator *allocator;
    wf_spin lock;
    wf_source *free;                /* under lock */
    struct wf_source_chunk *chunks; /* under lock; freed with the runtime */
    wf_a64 open;                    /* places in use */
    wf_a32 forked;                  /* a child's copy: its sets and sockets are the parent's too */
} wf_sources;

void wf_sources_init(wf_sources *all, const weft_allocator *allocator);

/* The runtime ends and nobody operates any more: close what is left, free the places. Returns how many were left. */
unsigned wf_sources_destroy(wf_sources *all);

/* Does anybody wait for any of them? True also of who has just ceased to. Any thread; those that come meanwhile may be missed. */
bool wf_sources_awaited(wf_sources *all);

/* There is a place for the next one, unless somebody else takes it first. False: no memory. Any thread. */
bool wf_sources_have_room(wf_sources *all);

/* A place for @fd (non-blocking), which it owns from now on; or -1: then all its events are delivered by wf_source_deliver(). @ready: assume that the first
 * system call succeeds. NULL: no memory, @fd untouched. */
wf_source *wf_source_open(wf_sources *all, int fd, const wf_source_kind *kind, bool ready);

/* 0 and *@word, WEFT_EBUSY or WEFT_ECLOSED. */
static inline int wf_source_claim(wf_source *s, wf_direction d, uint64_t *word)
{
    return wf_src_claim(&s->word, d, word);
}

/* What a transition of the word has said is to be done: close the descriptor, free the place. */
void wf_source_settle(wf_source *s, unsigned verdict);

/* Give the claim back. @drained: the system call at @word came back short or with EAGAIN. May close the descriptor and free the place. */
static inline void wf_source_release(wf_source *s, wf_direction d, bool drained, uint64_t word)
{
    unsigned verdict = wf_src_release(&s->word, d, drained, word);
    if (wf_unlikely(verdict))
        wf_source_settle(s, verdict);
}

/* Keep @cx's waker; 0 or a negative code. By who has the claim, or shares the direction with nobody. Any delivery or close that comes later wakes it. */
static inline int wf_source_register(wf_source *s, wf_direction d, weft_context *cx)
{
    return wf_wake_cell_register(&s->cells[d], &s->others[d], cx);
}

/* The claim's holder met EAGAIN at *@word, or found it not ready: keep @cx's waker and return WEFT_PENDING; or 0: try again,
 * with the newer *@word; or WEFT_ECLOSED, or what registering failed with. */
int wf_source_wait(wf_source *s, wf_direction d, uint64_t *word, struct wf_reactor *here, weft_context *cx);

/* Forget the waker of a wait that is given up. */
static inline void wf_source_forget(wf_source *s, wf_direction d) { wf_wake_cell_forget(&s->cells[d], &s->others[d]); }

/* The descriptor (-1 for those that have none), kept open until wf_source_leave(), whoever closes meanwhile; *@err: 0, or WEFT_ECLOSED, and it is not. For
 * calls that wait for nothing, beside whoever operates. */
static inline int wf_source_visit(wf_source *s, int *err)
{
    *err = wf_src_visit(&s->word);
    return *err == 0 ? wf_load_rlx(&s->fd) : -1;
}

void wf_source_leave(wf_source *s);

/* True, or false: there are as many as can be counted. */
bool wf_source_ref(wf_source *s);

/* Give up a reference that does not close. */
void wf_source_unref(wf_source *s);

/* Close: gives up a reference. Pending operations end with WEFT_ECLOSED. */
void wf_source_close(wf_source *s);

/* The same for all handles, giving up none. */
void wf_source_abort(wf_source *s);

/* From the set: @bits of RRDY, WRDY, REOF. */
void wf_source_deliver(wf_source *s, uint16_t generation, uint64_t bits);

/* From the set that could not say at once: it is watched no longer. Closes the descriptor; may free the place. */
void wf_source_closed(wf_source *s);

static inline bool wf_source_closing(wf_source *s) { return wf_load_acq(&s->word) & WF_SRC_CLOSING; }

#endif
