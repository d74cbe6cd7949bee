/* weft/buffered.h - reading by lines and records, and writing in small pieces. */
#ifndef WEFT_BUFFERED_H
#define WEFT_BUFFERED_H

#include <weft/base.h>
#include <weft/io.h>

WEFT_BEGIN_DECLS

/* ---- reading ------------------------------------------------------------------------------------------------- */

/**
 * What has been read of a stream and not been taken yet. It belongs to its stream and goes with it. While it is attached, every read of the stream,
 * by whatever call, takes what it holds first. It has a buffer only while there is something in it: a connection that idles costs none.
 *
 * Pointers that it hands out are good until the next call that reads from the reader or its stream. weft_reader_consume() and _buffered() do not read.
 */
typedef struct weft_reader weft_reader;

enum { WEFT_READER_LIMIT = 8192 };

/**
 * Attach a reader to @s. @limit: bytes that an item may have at most, its terminator included; 0: WEFT_READER_LIMIT.
 * Returns: 0, WEFT_EBUSY (it has one, or somebody reads), WEFT_ECLOSED, WEFT_EINVAL, WEFT_ENOMEM. Never awaits.
 */
WEFT_API int weft_reader_create(weft_reader **r, weft_stream *s, size_t limit);

/** Detach and free it. What it holds is lost; ask weft_reader_buffered(). NULL: nothing. Not needed: the stream's last weft_close() does it, and does it also
 *  where this cannot: while somebody reads, or on a stream that is closed. */
WEFT_API void weft_reader_free(weft_reader *r);

/**
 * **awaits** a line: up to "\n" or "\r\n", neither of which is part of it; terminated by a zero byte besides, which *@length does not count.
 * Returns: 1; 0 at a clean end; WEFT_EOF: the end came inside a line (what there is stays); WEFT_EMSGSIZE: longer than the limit (what there is stays);
 *          WEFT_ENOMEM; an interruption; as weft_read(). With anything but 1 the pointer is NULL. Cancel-safe: what has come stays in the reader.
 */
WEFT_API int weft_reader_line(weft_reader *r, char **line, size_t *length);

/** The same up to and with @delimiter, @size bytes of any kind. *@length counts them. WEFT_EMSGSIZE also when @size exceeds the limit. */
WEFT_API int weft_reader_until(weft_reader *r, const void *delimiter, size_t size, char **item, size_t *length);

/** **awaits** exactly @size bytes, which must not exceed the limit (WEFT_EMSGSIZE). Terminated by a zero byte besides. Returns as weft_reader_line(). */
WEFT_API int weft_reader_exact(weft_reader *r, size_t size, char **item);

/** **awaits** until at least @size bytes are there (1: anything), and takes none. *@available: how many there are. Returns as weft_reader_exact(). */
WEFT_API int weft_reader_peek(weft_reader *r, size_t size, char **data, size_t *available);

/** Take @size bytes of what is buffered. Returns 0; WEFT_EINVAL when there are fewer, WEFT_EBUSY, WEFT_ECLOSED. Never awaits. */
WEFT_API int weft_reader_consume(weft_reader *r, size_t size);

/** How many bytes are there already. */
WEFT_API size_t weft_reader_buffered(weft_reader *r);

/* ---- writing ------------------------------------------------------------------------------------------------- */

/**
 * Joins small writes. It belongs to nobody: one task at a time uses it, and frees it before the stream. What is not flushed is lost.
 * The first failure is kept: later calls return it, so looking at what the flush returns is enough. An interrupted flush is none: what has not gone waits, and
 * it can be called again. An interrupted write is one. It has a buffer only while there is something in it.
 */
typedef struct weft_writer weft_writer;

/** @capacity: bytes; 0: 8,192. Returns 0, WEFT_EINVAL, WEFT_ENOMEM. Never awaits. */
WEFT_API int weft_writer_create(weft_writer **w, weft_stream *s, size_t capacity);
/** NULL: nothing. Flushes nothing. */
WEFT_API void weft_writer_free(weft_writer *w);
/** **awaits** only when there is no room: what is larger than the capacity goes past the buffer, in order. Returns @size, or as weft_write(). */
WEFT_API ssize_t weft_writer_write(weft_writer *w, const void *buf, size_t size);
/** The same, formatted as by printf(). Returns how many bytes, or a negative code. */
WEFT_API ssize_t weft_writer_printf(weft_writer *w, const char *format, ...) WEFT_PRINTF(2, 3);
/** **awaits** until all of it is written. Returns 0 or a negative code. */
WEFT_API int weft_writer_flush(weft_writer *w);
/** How many bytes wait to be flushed. */
WEFT_API size_t weft_writer_buffered(const weft_writer *w);

WEFT_END_DECLS

#endif
