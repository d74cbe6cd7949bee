/* chan.h - a wait in a channel: alone, in a select, or in a stackless task's future. */
#ifndef WF_CHAN_H
#define WF_CHAN_H

#include <base/case.h>
#include <base/exec.h>
#include <base/list.h>
#include <base/waits.h>
#include <weft/chan.h>

typedef struct wf_chan_node {
    wf_node node;           /* under the channel's lock, and so all below; in a queue of it until it is served */
    wf_select_word *select; /* decides whether it may be served; NULL: always */
    void *item;             /* the sender's, or where the receiver wants it */
    weft_waker waker;
    uint64_t turn;  /* a receiver's, served: which item it got */
    unsigned index; /* of its case */
    int status;
    wf_a8 done; /* served: status is set, and nobody but its owner touches it any more. Its owner may look without the lock */
} wf_chan_node;

typedef struct wf_chan_op {
    wf_chan_node node;
    weft_chan *ch;
    bool sends;
    bool queued;  /* its owner's, and so below */
    bool holds;   /* the channel's reference to an item that has not been sent yet */
    uint8_t kind; /* a wf_wait */
} wf_chan_op;

/* Field by field: to zero all of it first takes longer than the rest. The waker and the links are set when it queues, the outcome when it is served. */
static inline void wf_chan_op_init(wf_chan_op *op, weft_chan *ch, bool sends, void *item)
{
    op->node.select = NULL;
    op->node.item = item;
    wf_store_rlx(&op->node.done, 0);
    op->ch = ch;
    op->sends = sends;
    op->queued = false;
    op->holds = false;
    op->kind = sends ? WF_WAIT_CHAN_SEND : WF_WAIT_CHAN_RECV;
}

ssize_t wf_chan_poll(void *op, weft_context *cx);
/* weft_chan_recv() of a channel that people know as a oneshot. */
int wf_chan_recv_only(weft_chan *ch, void *item);
/* What it was served with before it could leave, or WEFT_PENDING. */
ssize_t wf_chan_cancel(void *op);
/* Send without waiting, and close in the same step: 0, WEFT_EAGAIN or WEFT_ECLOSED. */
int wf_chan_send_last(weft_chan *ch, const void *item);
/* Around polls and a cancel from elsewhere: a sender's item is the channel's while it is under way. @result: what it came to; WEFT_PENDING: nothing. */
void wf_chan_begin(wf_chan_op *op);
void wf_chan_end(wf_chan_op *op, ssize_t result);

/* It has been left, and nobody will look at what it was served with: an item goes back. */
void wf_chan_undo(wf_chan_op *op);

#endif
