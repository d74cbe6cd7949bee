/* tcp.h - what streams, listeners and servers share: sockets on sources. */
#ifndef WF_TCP_H
#define WF_TCP_H

#include <base/exec.h>
#include <reactor/source.h>
#include <weft/io.h>
#include <weft/net.h>

/* Both are a source and nothing else: their places are the runtime's. */
struct weft_stream {
    wf_source source;
};
struct weft_listener {
    wf_source source;
};

/* The sources of the caller's runtime, or NULL. */
wf_sources *wf_sources_here(void);

/* A stream on @fd, which it owns from now on; NULL: out of memory, @fd untouched. */
weft_stream *wf_stream_open(wf_sources *all, int fd, bool ready);

/* A stream on a connection just accepted, which it owns; NULL: out of memory, and @fd is closed. */
weft_stream *wf_tcp_accepted(wf_sources *all, int fd);

/* Returns 0 or a negative code. */
int wf_tcp_set_nagle(int fd, bool nagle);

/* One operation on a source, to be driven by wf_await(). The claim is held from the first poll to the end, also while waiting. */
typedef struct wf_source_op {
    wf_source *source;
    wf_direction direction;
    bool claimed;
    uint64_t word;
    /* The system call: a count, WEFT_EAGAIN, or a negative code. *@drained: it came back short. */
    ssize_t (*attempt)(struct wf_source_op *op, bool *drained);
    void *buf;
    size_t size;
    bool all;    /* go on until size bytes are done, or the end comes */
    size_t done; /* of all */
} wf_source_op;

extern const wf_op_ops wf_source_op_ops;

/* The operation that accepts on @l: its result is a descriptor. */
wf_source_op wf_accepting(weft_listener *l);

/* Give it up while it is pending. */
ssize_t wf_source_op_cancel(void *op);

/* One poll of it; pending: the waker is kept, and so is the claim if @hold. */
ssize_t wf_source_op_poll(wf_source_op *op, weft_context *cx, bool hold);

/* The same for a stackless poll: no claim is kept while pending, and the budget is spent. */
ssize_t wf_source_op_poll_once(wf_source_op *op, weft_context *cx);

#endif
