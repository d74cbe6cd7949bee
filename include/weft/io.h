/* weft/io.h - byte streams. One reader and one writer at a time, in any tasks or threads; a second gets WEFT_EBUSY. */
#ifndef WEFT_IO_H
#define WEFT_IO_H

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

/** The poll twins: a count, WEFT_PENDING, or a negative code. Nothing is held while pending: of two tasks that poll the same
 *  direction, the last to have done so is the one that is woken. */
WEFT_API ssize_t weft_poll_read(weft_context *cx, weft_stream *s, void *buf, size_t size);
WEFT_API ssize_t weft_poll_write_some(weft_context *cx, weft_stream *s, const void *buf, size_t size);

/** Tell the peer that nothing more comes; reading goes on. Returns 0 or a negative code. Never awaits. */
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

/** The descriptor, still the stream's; -1 once closed. */
WEFT_API int weft_stream_fd(weft_stream *s);

/** Adopt a connected socket (made non-blocking). Returns 0, or a negative code with @fd left to the caller. */
WEFT_API int weft_stream_from_fd(weft_stream **s, int fd);

WEFT_END_DECLS

#endif
