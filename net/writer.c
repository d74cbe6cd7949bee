/* writer.c - small writes joined to large ones.
 *
 * Owns what waits to be written. Bytes go out in order: first what waits, in the same system call as what is too large to wait. How much has gone is always
 * known, so an interruption loses nothing and what has not gone goes first the next time. The buffer exists only while something is in it. */
#include <limits.h>
#include <net/stream.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CAPACITY = 8192 };

/* Whoever uses it owns all of it. */
struct weft_writer {
    weft_stream *stream;
    char *bytes; /* capacity and one more, for printf's zero; NULL: none, and nothing waits */
    size_t capacity, start, held;
    int failed; /* the first failure, or 0 */
};

/* ---- the buffer ------------------------------------------------------------------------------------------------ */

static char *end_of(weft_writer *w) { return w->bytes + w->start + w->held; }

/* Room for @size more behind what waits, which is moved to the front for it. False: there is not so much, or no memory. */
static bool has_room(weft_writer *w, size_t size)
{
    if (size > w->capacity - w->held)
        return false;
    if (!w->bytes)
        w->bytes = malloc(w->capacity + 1);
    if (w->bytes && size > w->capacity - w->start - w->held) {
        memmove(w->bytes, w->bytes + w->start, w->held);
        w->start = 0;
    }
    return w->bytes;
}

static void went(weft_writer *w, size_t size)
{
    w->start += size;
    w->held -= size;
    if (w->held > 0)
        return;
    free(w->bytes);
    w->bytes = NULL;
    w->start = 0;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static int fail(weft_writer *w, int code)
{
    w->failed = code;
    return code;
}

/* What waits, and then @data. */
static int write_out(weft_writer *w, const void *data, size_t size)
{
    struct iovec pieces[2];
    size_t done;
    int count = 0;
    if (w->held > 0)
        pieces[count++] = (struct iovec){w->bytes + w->start, w->held};
    if (size > 0)
        pieces[count++] = (struct iovec){(void *)(uintptr_t)data, size};
    ssize_t n = count > 0 ? wf_stream_writev(w->stream, pieces, count, &done) : 0;
    if (count > 0)
        went(w, WF_MIN(done, w->held));
    return n < 0 ? (int)n : 0;
}

/* Interrupted it can be tried again, since all that it did not write is still here. */
int weft_writer_flush(weft_writer *w)
{
    if (!w)
        return WEFT_EINVAL;
    if (w->failed)
        return w->failed;
    int err = write_out(w, NULL, 0);
    return err == 0 || err == WEFT_ECANCELED || err == WEFT_ETIMEDOUT ? err : fail(w, err);
}

/* What no buffer could hold goes past it; so does all when there is no memory for one. An interruption is kept like any failure: who does not look at the
 * results of writes, but at the flush's, must not find it well when one in between is missing. */
ssize_t weft_writer_write(weft_writer *w, const void *buf, size_t size)
{
    int err = 0;
    if (!w || (!buf && size) || size > SSIZE_MAX - w->held)
        return WEFT_EINVAL;
    if (w->failed || size == 0)
        return w->failed;
    bool fits = has_room(w, size);
    if (!fits && size < w->capacity) {
        err = write_out(w, NULL, 0);
        fits = err == 0 && has_room(w, size);
    }
    if (fits) {
        memcpy(end_of(w), buf, size);
        w->held += size;
    } else if (err == 0) {
        err = write_out(w, buf, size);
    }
    return err < 0 ? fail(w, err) : (ssize_t)size;
}

/* What does not fit is formatted again, elsewhere: @size bytes. */
static ssize_t print_aside(weft_writer *w, size_t size, const char *format, va_list args) WEFT_PRINTF(3, 0);
static ssize_t print_aside(weft_writer *w, size_t size, const char *format, va_list args)
{
    char *text = malloc(size + 1);
    if (!text)
        return fail(w, WEFT_ENOMEM);
    vsnprintf(text, size + 1, format, args);
    ssize_t n = weft_writer_write(w, text, size);
    free(text);
    return n;
}

/* At once to where it belongs, if it fits. */
static int print_here(weft_writer *w, const char *format, va_list args) WEFT_PRINTF(2, 0);
static int print_here(weft_writer *w, const char *format, va_list args)
{
    bool here = has_room(w, 1);
    return vsnprintf(here ? end_of(w) : NULL, here ? w->capacity - w->start - w->held + 1 : 0, format, args);
}

ssize_t weft_writer_printf(weft_writer *w, const char *format, ...)
{
    va_list args;
    if (!w || !format)
        return WEFT_EINVAL;
    if (w->failed)
        return w->failed;
    va_start(args, format);
    ssize_t n = print_here(w, format, args);
    va_end(args);
    if (n < 0)
        return fail(w, WEFT_EINVAL);
    if (w->bytes && (size_t)n <= w->capacity - w->start - w->held) {
        w->held += (size_t)n;
        went(w, 0); /* nothing may have come of it */
        return n;
    }
    va_start(args, format);
    n = print_aside(w, (size_t)n, format, args);
    va_end(args);
    return n;
}

size_t weft_writer_buffered(const weft_writer *w) { return w ? w->held : 0; }

/* ---- having one ------------------------------------------------------------------------------------------------ */

int weft_writer_create(weft_writer **out, weft_stream *s, size_t capacity)
{
    if (out)
        *out = NULL;
    if (!out || !s || capacity > SSIZE_MAX - 1)
        return WEFT_EINVAL;
    weft_writer *w = calloc(1, sizeof *w);
    if (!w)
        return WEFT_ENOMEM;
    w->stream = s;
    w->capacity = capacity ? capacity : DEFAULT_CAPACITY;
    *out = w;
    return 0;
}

void weft_writer_free(weft_writer *w)
{
    if (w)
        free(w->bytes);
    free(w);
}
