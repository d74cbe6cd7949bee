/* splice.h - pipes through which the kernel moves bytes from one socket to another. */
#ifndef WF_SPLICE_H
#define WF_SPLICE_H

#include <base/common.h>
#include <weft/base.h>

/* What one takes at most. */
enum { WF_PIPE_SIZE = 128 * 1024 };

typedef struct wf_pipe {
    int out, in; /* what is written to in comes out of out */
} wf_pipe;

/* An empty one, for a copy between streams of @rt. False: none to be had, now or ever; then bytes go through memory. */
bool wf_pipe_take(weft_runtime *rt, wf_pipe *pipe);

/* Give it back. @empty: for others to take. */
void wf_pipe_put(weft_runtime *rt, wf_pipe pipe, bool empty);

/* Move at most @size bytes from @socket into an empty pipe, and from a pipe that holds that much to @socket. A count, 0 at the end, WEFT_EAGAIN or a
 * negative code. wf_pipe_drain() may raise SIGPIPE. */
ssize_t wf_pipe_fill(wf_pipe pipe, int socket, size_t size);
ssize_t wf_pipe_drain(wf_pipe pipe, int socket, size_t size);

/* At most @size bytes of what a pipe holds, into memory. */
ssize_t wf_pipe_read(wf_pipe pipe, void *buf, size_t size);

/* Such a code says that this cannot be spliced at all. */
static inline bool wf_splice_refused(ssize_t n)
{
    return n == WEFT_EINVAL || n == -ENOSYS || n == -EPERM || n == WEFT_ENOTSUP;
}

#endif
