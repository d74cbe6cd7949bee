/* half.h - bytes on their way from one stream to another, polled: half of a connection between the two.
 *
 *   state     does                                     and waits for    then
 *   FILLS     takes from the source                    from: readable   something came: DRAINS; the end, or enough: SHUTS or ENDED
 *   DRAINS    gives what it holds to the destination   to: writable     all of it is gone: FILLS
 *   SHUTS     tells the destination of the end         to: writable     ENDED
 *   ENDED     nothing
 *
 * Both claims are held from the first poll on, so that nobody else's bytes come in between. What it holds lies in a buffer or in a pipe, and while it waits
 * in FILLS it has neither. */
#ifndef WF_HALF_H
#define WF_HALF_H

#include <net/socket.h>
#include <net/splice.h>
#include <net/stream.h>

typedef enum { WF_HALF_FILLS, WF_HALF_DRAINS, WF_HALF_SHUTS, WF_HALF_ENDED } wf_half_state;

typedef struct wf_half {
    wf_source_op in, out; /* only their claims and words; each attempt is its own */
    wf_half_state state;
    bool shuts;     /* the end is told to the destination */
    bool bulk;      /* so much comes that the kernel had better move it */
    bool refused;   /* it will not: these cannot be spliced */
    bool dry, full; /* a short count in this poll said that the next attempt to read, or to write, would be in vain */
    bool begun;     /* a layer may have begun with what it said WEFT_EAGAIN to */
    bool quiet;     /* SIGPIPE is held back until the end of this poll */
    bool piped;     /* pipe is one */
    wf_pipe pipe;
    char *buffer;       /* or NULL */
    size_t start, held; /* of buffer */
    size_t in_pipe;     /* held there; never both at once, but where a pipe is emptied through the buffer */
    int64_t left;       /* may still be taken from the source */
    int64_t moved;      /* the destination has taken */
    uint64_t steps;     /* counts all that went on */
    wf_sigpipe sigpipe; /* while quiet */
} wf_half;

/* Up to @count bytes, or to the end. */
void wf_half_init(wf_half *h, weft_stream *from, weft_stream *to, int64_t count, bool shuts);

/* 0: ended; WEFT_PENDING; or a negative code: then wf_half_release() is the caller's. */
ssize_t wf_half_poll(wf_half *h, weft_context *cx);

/* What it waits for, while pending. */
static inline const wf_source_op *wf_half_waits(const wf_half *h)
{
    return h->state == WF_HALF_FILLS ? &h->in : &h->out;
}

/* Give up the claims and forget the wakers; what it holds stays, and another poll goes on. */
void wf_half_release(wf_half *h);

/* Free what it holds. Released before. */
void wf_half_free(wf_half *h);

#endif
