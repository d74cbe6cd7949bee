/* stream.h - what lies behind a weft_stream, and what streams, listeners and datagram sockets share: operations on sources.
 *
 *   weft_read ── reader ── layers ── descriptor
 *
 * A stream is a source and nothing else. What few streams have (a reader, layers, timeouts) lies in the source's spare words, and is looked at under the
 * direction's claim. Only the two who close and free look at the layers without one. */
#ifndef WF_STREAM_H
#define WF_STREAM_H

#include <base/exec.h>
#include <reactor/source.h>
#include <weft/buffered.h>
#include <weft/io.h>
#include <weft/layer.h>
#include <weft/net.h>

/* All are a source and nothing else: their places are the runtime's. */
struct weft_stream {
    wf_source source;
};
struct weft_listener {
    wf_source source;
};

/* ---- what a stream may have besides --------------------------------------------------------------------------- */

/* Does a short count mean that there is no more? Found out at the first one. */
enum { WF_STREAM_UNFRAMED = 1, WF_STREAM_FRAMED = 2 };

typedef struct wf_stream_extra {
    wf_aptr layer;       /* weft_layer, the one on top; changed under both claims */
    weft_reader *reader; /* under the claim for reading */
    wf_ai64 timeouts[2]; /* by direction, ns; 0: none */
    wf_aint framing;     /* WF_STREAM_…; 0: nobody has asked yet */
} wf_stream_extra;

_Static_assert(sizeof(wf_stream_extra) <= sizeof(((wf_source *)0)->user), "it lies in the spare words");

static inline wf_stream_extra *wf_stream_extra_of(weft_stream *s) { return (wf_stream_extra *)(void *)s->source.user; }

static inline weft_layer *wf_stream_top(weft_stream *s) { return wf_load_rlx(&wf_stream_extra_of(s)->layer); }

/* Sockets, pipes, and pairs in memory. */
extern const wf_source_kind wf_stream_on_socket, wf_stream_on_pipe, wf_stream_in_memory;

/* Reads and writes of it are the kernel's alone: sendfile and splice will do. */
static inline bool wf_stream_is_plain(weft_stream *s)
{
    return s->source.kind == &wf_stream_on_socket && !wf_stream_top(s);
}

/* The sources of the caller's runtime, or NULL. */
wf_sources *wf_sources_here(void);

/* A stream on the socket @fd, which it owns from now on; NULL: out of memory, @fd untouched. @ready: the first system call may succeed. */
weft_stream *wf_stream_open(wf_sources *all, int fd, bool ready);

/* When an operation that begins now, or has just moved something, has to have moved something more. */
int64_t wf_stream_deadline(weft_stream *s, wf_direction direction);

/* ---- one operation ------------------------------------------------------------------------------------------- */

/* One operation on a source, to be driven by wf_await(). The claim is held from the first poll to the end, also while waiting. */
typedef struct wf_source_op {
    wf_source *source;
    wf_direction direction;
    bool claimed;
    bool always; /* attempt is called also when the descriptor is not ready: it asks wf_source_op_ready() itself */
    bool all;    /* go on until size bytes are done, or the end comes */
    bool begun;  /* a layer may have begun with what it said EAGAIN to: give_up is called if it is not offered again */
    bool connects; /* it is for a connection, not for bytes: for people */
    uint64_t word;
    /* What is tried, without waiting: a count, WEFT_EAGAIN, or a negative code. *@drained: the descriptor has nothing more. */
    ssize_t (*attempt)(struct wf_source_op *op, bool *drained);
    void *buf;
    size_t size;
    size_t done; /* of all */
    /* What is begun will not be attempted again, for the reason of @result (negative). Returns what to say instead. NULL: the same. */
    ssize_t (*give_up)(struct wf_source_op *op, ssize_t result);
    int64_t patience; /* wf_stream_await(), ns: how long it waits without moving anything; 0: any time */
    int64_t moved;    /* with patience: when it last did */
} wf_source_op;

extern const wf_op_ops wf_source_op_ops;

static inline bool wf_source_op_ready(const wf_source_op *op) { return op->word & wf_src_ready_bit(op->direction); }

/* Give it up while it is pending. */
ssize_t wf_source_op_cancel(void *op);

/* One poll of it; pending: the waker is kept, and so is the claim if @hold. */
ssize_t wf_source_op_poll(wf_source_op *op, weft_context *cx, bool hold);

/* The same for a stackless poll: no claim is kept while pending, and the budget is spent. */
ssize_t wf_source_op_poll_once(wf_source_op *op, weft_context *cx);

/* Drive @op, which may move its thing in many steps: as long as something moves, the stream is patient. The claim is kept throughout. */
ssize_t wf_stream_await(wf_source_op *op);

/* An attempt of it has moved @n bytes. */
static inline void wf_stream_moved(wf_source_op *op, size_t n)
{
    op->done += n;
    if (wf_unlikely(op->patience > 0))
        op->moved = weft_now();
}

/* An attempt said WEFT_EAGAIN, or the source is not ready: keep the waker, and WEFT_PENDING; or 0: try again; or a negative code. */
int wf_source_op_wait(wf_source_op *op, weft_context *cx);

/* ---- what others do with a stream under its claim -------------------------------------------------------------- */

/* Read from, and write to, what is below the reader: the layers, or the descriptor. A count, 0, WEFT_EAGAIN or a negative code; never SIGPIPE. */
ssize_t wf_stream_read_now(weft_stream *s, void *buf, size_t size);
ssize_t wf_stream_write_now(weft_stream *s, const void *buf, size_t size);

/* Does a count of @n where @wanted were asked for say that there is no more? */
bool wf_stream_is_short(weft_stream *s, ssize_t n, size_t wanted);

/* weft_writev() that tells how much was written also when it fails. */
ssize_t wf_stream_writev(weft_stream *s, const struct iovec *iov, int n, size_t *done);

/* Tell the peer that nothing more comes: 0, WEFT_EAGAIN (only a layer) or a negative code. */
int wf_stream_shut_now(weft_stream *s);

/* What the reader holds (reader.c). All with the claim for reading. */
size_t wf_reader_take(weft_reader *r, void *buf, size_t size);
size_t wf_reader_held(const weft_reader *r);
void wf_reader_drop(weft_reader *r);

/* ---- a listener's ---------------------------------------------------------------------------------------------- */

/* A listener on the listening socket @fd, which it owns from now on; NULL: out of memory, @fd untouched. */
weft_listener *wf_listener_open(wf_sources *all, int fd);

/* The operation that accepts on @l: its result is a descriptor, which is never 0. Its buf may be set to a weft_addr: who it is. */
wf_source_op wf_accepting(weft_listener *l);

/* A stream on a connection just accepted, which it owns; NULL: out of memory, and @fd is closed. */
weft_stream *wf_accepted(wf_sources *all, int fd);

#endif
