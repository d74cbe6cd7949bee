/* case.h - what a select asks of the things that it waits for, and how channels decide it.
 *
 * Each kind of case is a pair of functions in the room of what it waits for. While a select polls its cases it is CLOSED: nobody hands it
 * anything, so whatever a poll takes, it takes for good. When all are pending it opens, and then a channel may decide it with one
 * compare-and-swap, which is what makes a case that loses lose nothing. Who finds it closed leaves it alone and says that there was
 * something: then it does not open but polls again. So no more than one channel is ever locked at a time. */
#ifndef WF_CASE_H
#define WF_CASE_H

#include <base/atomic.h>
#include <weft/future.h>
#include <weft/select.h>

struct weft_case_ops {
    /* The status if it is ready: that is final, and what it takes is taken. Else WEFT_PENDING, with the waker kept until leave. */
    ssize_t (*poll)(weft_case *c, weft_context *cx);
    /* Forget the waker; what had been granted to it is another's. Once for each case that was polled, ready or not. */
    void (*leave)(weft_case *c);
    /* It was decided and left, and nobody will look at it: what it received is another's. NULL: there is nothing to give back. */
    void (*undo)(weft_case *c);
};

enum { WF_SELECT_CLOSED, WF_SELECT_OPEN, WF_SELECT_MISSED, WF_SELECT_DECIDED /* and the case's index */ };

typedef struct wf_select_word {
    wf_a32 v;
} wf_select_word;

/* May the caller hand something to case @index? If so it is the one that is chosen, and nobody else's. */
static inline bool wf_select_decide(wf_select_word *word, unsigned index)
{
    uint32_t old = wf_load_rlx(&word->v);
    for (;;) {
        uint32_t next = old == WF_SELECT_OPEN ? WF_SELECT_DECIDED + index : WF_SELECT_MISSED;
        if (old != WF_SELECT_OPEN && old != WF_SELECT_CLOSED)
            return false;
        if (wf_cas_acqrel(&word->v, &old, next))
            return old == WF_SELECT_OPEN;
    }
}

#define WF_CASE_STATE(c, type) ((type *)(void *)(c)->state_)
#define WF_CASE_FITS(type) _Static_assert(sizeof(type) <= sizeof(((weft_case *)0)->state_), "a case has room for it")

/* The same for operations that stackless tasks embed. */
struct weft_op_ops {
    /* Give up: as above. */
    void (*leave)(weft_op *op);
};

#define WF_OP_STATE(op, type) ((type *)(void *)(op)->state_)
#define WF_OP_FITS(type) _Static_assert(sizeof(type) <= sizeof(((weft_op *)0)->state_), "an operation has room for it")

#endif
