/* mailbox.h - many threads post intrusive nodes, one takes them all.
 *
 * Lock-free: posting is one compare-and-swap on the top of a stack, taking is one exchange of the whole stack, which is then
 * turned round so that nodes come out in the order in which they were posted. There is no state in which the box looks empty
 * while a post is half done. Who rings whom is not its business (see reactor.h). */
#ifndef WF_MAILBOX_H
#define WF_MAILBOX_H

#include <base/atomic.h>

typedef struct wf_letter {
    struct wf_letter *next;
} wf_letter;

typedef struct wf_mailbox {
    wf_aptr top; /* any thread posts; the owner takes */
} wf_mailbox;

static inline void wf_mailbox_post(wf_mailbox *box, wf_letter *l)
{
    void *top = wf_load_rlx(&box->top);
    do
        l->next = top;
    /* [MAILBOX] seq_cst: the letter is published, and the load of "are you parked?" that follows may not come before it. */
    while (!wf_cas_seq(&box->top, &top, l));
}

/* seq_cst: the parker says "parked" and then looks here; with the poster's order above, one of the two sees the other. */
static inline bool wf_mailbox_empty(wf_mailbox *box) { return wf_load_seq(&box->top) == NULL; }

/* The oldest first, linked by next; NULL when there is nothing. */
static inline wf_letter *wf_mailbox_take(wf_mailbox *box)
{
    if (wf_load_rlx(&box->top) == NULL)
        return NULL;
    wf_letter *newest = wf_swap_acq(&box->top, NULL); /* [MAILBOX] acquire: the letters' contents */
    wf_letter *oldest = NULL;
    while (newest) {
        wf_letter *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

#endif
