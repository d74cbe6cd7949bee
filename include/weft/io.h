/* weft/io.h - byte streams. One reader and one writer at a time, in any tasks or threads; a second gets WEFT_EBUSY. */
#ifndef WEFT_IO_H
#define WEFT_IO_H

#include <sys/uio.h>
#include <weft/base.h>
#include <weft/future.h>
#include <weft/net.h>

WEFT_BEGIN_DECLS

/**
 * **awaits** bytes. Returns how many were stored in @buf (at most @size), 0 at the end, or a negative code: an interruption,
 * WEFT_ECLOSED, WEFT_EBUSY, WEFT_ECONNRESET … Cancel-safe: an interrupted read has taken nothing.
 */
WEFT_API ssize_t weft_read(weft_stream *s, void *buf, size_t size);

/** **awaits** exactly @size bytes. Returns @size, 0 at a clean end, WEFT_EOF inside; not cancel-safe: what had come is in @buf. */
WEFT_API ssize_t weft_read_exact(weft_stream *s, void *buf, size_t size);

/** **awaits** until all of @buf is written. Returns @size or a negative code; interrupted, part of it may have been sent. Never SIGPIPE. */
WEFT_API ssize_t weft_write(weft_stream *s, const void *buf, size_t size);

/** **awaits** until some of it is written. Returns how much. Cancel-safe. */
WEFT_API ssize_t weft_write_some(weft_stream *s, const void *buf, size_t size);

/** The same over several pieces. weft_readv() returns as weft_read(), weft_writev() writes all, as weft_write(). At most 1,024 of them (WEFT_EINVAL). */
WEFT_API ssize_t weft_readv(weft_stream *s, const struct iovec *iov, int n);
WEFT_API ssize_t weft_writev(weft_stream *s, const struct iovec *iov, int n);

/** The poll twins: a count, WEFT_PENDING, or a negative code. Nothing is held while pending: of two tasks that poll the same
 *  direction, the last to have done so is the one that is woken. */
WEFT_API ssize_t weft_poll_read(weft_context *cx, weft_stream *s, void *buf, size_t size);
WEFT_API ssize_t weft_poll_write_some(weft_context *cx, weft_stream *s, const void *buf, size_t size);

/** Tell the peer that nothing more comes; reading goes on. Returns 0 or a negative code (WEFT_ENOTSUP: a pipe; close it). Never awaits, save over TLS where the peer does not take what was written. */
WEFT_API int weft_close_write(weft_stream *s);

/** Give up the stream: pending calls of others get WEFT_ECLOSED, the descriptor is closed when the last of them has left. NULL: nothing. Never awaits. */
WEFT_API void weft_close(weft_stream *s);

/** Any thread, idempotent, frees nothing: pending and later calls get WEFT_ECLOSED, the peer sees the end at once. */
WEFT_API void weft_stream_abort(weft_stream *s);

/** Another reference, to be given up by weft_close() too; the stream is shut when the first is closed, freed with the last. Returns @s; NULL at 65,535. */
WEFT_API weft_stream *weft_stream_ref(weft_stream *s);

/** Returns 0 or a negative code. */
WEFT_API int weft_stream_peer(weft_stream *s, weft_addr *out);
WEFT_API int weft_stream_local(weft_stream *s, weft_addr *out);

/**
 * How long an operation waits for the peer without moving anything before it returns WEFT_ETIMEDOUT; nanoseconds, 0 or WEFT_FOREVER: for ever.
 * A long weft_write() that moves on, however slowly, goes on. Counts from the next operation on. Returns 0 or a negative code.
 */
WEFT_API int weft_stream_set_timeouts(weft_stream *s, int64_t read, int64_t write);

/** The descriptor, still the stream's; -1 once closed, or if it has none (weft_stream_pair()). */
WEFT_API int weft_stream_fd(weft_stream *s);

/** Adopt a connected stream socket, a pipe or a terminal (made non-blocking). Returns 0, or a negative code (WEFT_EINVAL: a file or a directory) with @fd left to the caller. */
WEFT_API int weft_stream_from_fd(weft_stream **s, int fd);

/**
 * Give up the stream but not its descriptor, which stays open and non-blocking. Returns it; or WEFT_EBUSY (somebody operates, there are other references,
 * or a reader or a layer holds bytes), WEFT_ECLOSED, WEFT_ENOTSUP (it has none), and nothing has changed. Never awaits.
 */
WEFT_API int weft_stream_release(weft_stream *s);

/** A pipe: what is written to @writer is read from @reader. Returns 0, WEFT_EMFILE, WEFT_ENOMEM, WEFT_ENORUNTIME. */
WEFT_API int weft_pipe(weft_stream **reader, weft_stream **writer);

/** Two streams that are each other's peers, in memory, for tests: no descriptor, 64 KiB each way. Returns 0, WEFT_ENOMEM, WEFT_ENORUNTIME. */
WEFT_API int weft_stream_pair(weft_stream **a, weft_stream **b);

/* ---- moving a lot ---------------------------------------------------------------------------------------------- */

/**
 * **awaits** until @count bytes of @file from @offset on are written to @s (fewer: the file is shorter). By the kernel where both can, else by copying.
 * Returns how many were, or a negative code; interrupted, part of it may have been sent.
 */
WEFT_API int64_t weft_sendfile(weft_stream *s, weft_file *file, int64_t offset, int64_t count);

/** **awaits** until all that comes from @src, up to its end, is written to @dst. Spliced by the kernel where both can. Returns how many bytes, or a negative code (WEFT_EINVAL: they are one and the same). */
WEFT_API int64_t weft_copy(weft_stream *dst, weft_stream *src);

/** The same for @count bytes at most. Returns how many (fewer: @src ended), or a negative code. What comes after them stays in @src. */
WEFT_API int64_t weft_copy_n(weft_stream *dst, weft_stream *src, int64_t count);

/**
 * **awaits** until both directions have ended. The end of one side's input shuts down the other side's output, and the rest goes on. A failure or an interruption ends both.
 * The streams' timeouts apply while nothing moves in either direction.
 * @a_to_b, @b_to_a: get the bytes moved, whatever comes out; or NULL. Returns 0 or the first failure's code.
 */
WEFT_API int weft_copy_bidirectional(weft_stream *a, weft_stream *b, int64_t *a_to_b, int64_t *b_to_a);

WEFT_END_DECLS

#endif
