/* reader.c - buffered reading: lines, records, and looking ahead.
 *
 * Owns what has been read of a stream and not been taken. Everything here happens under the stream's claim for reading. An item stays where it was read
 * to; what is taken is only counted, and moved over or freed by the next call that reads. So an item needs no copy, and the buffer lives until
 * somebody waits and nothing is in it.
 *
 *   bytes   taken ... | start: held ... | room ... | one more, for a zero after the last
 *
 * Knows nothing of descriptors: more comes from the layers, or from what is below them. */
#include <limits.h>
#include <net/stream.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 4096 };

/* All under the claim for reading; held is also looked at without it. */
struct weft_reader {
    weft_stream *stream;
    size_t limit;
    char *bytes; /* capacity and one more; NULL: none, and nothing is held */
    size_t capacity, start;
    wf_a64 held;
    char *marked; /* where a zero was put after an item, over @covered; or NULL */
    char covered;
    char empty[1]; /* the item of no bytes */
};

static size_t held_of(const weft_reader *r) { return wf_load_rlx(&r->held); }

/* ---- the buffer ------------------------------------------------------------------------------------------------ */

/* What was handed out is over: the byte after it is again what was read. */
static void restore(weft_reader *r)
{
    if (r->marked)
        *r->marked = r->covered;
    r->marked = NULL;
}

/* Nothing is in it, and somebody waits or has seen the end. */
static void give_back_if_empty(weft_reader *r)
{
    if (held_of(r) > 0)
        return;
    free(r->bytes);
    r->bytes = NULL;
    r->capacity = 0;
}

static size_t take(weft_reader *r, size_t n)
{
    r->start += n;
    wf_store_rlx(&r->held, held_of(r) - n);
    return n;
}

static int grow(weft_reader *r)
{
    size_t most = WF_MAX(r->limit, FIRST_CAPACITY), capacity = r->capacity ? r->capacity : FIRST_CAPACITY / 2;
    capacity = capacity < most / 2 ? 2 * capacity : most;
    char *bytes = realloc(r->bytes, capacity + 1);
    if (!bytes)
        return WEFT_ENOMEM;
    r->bytes = bytes;
    r->capacity = capacity;
    return 0;
}

/* An item is moved to the front once at most, however it comes; and it grows no faster than its bytes come. */
static int make_room(weft_reader *r)
{
    size_t held = held_of(r);
    if (held == 0)
        r->start = 0;
    if (r->start > 0 && r->capacity - r->start - held < r->capacity / 4) {
        memmove(r->bytes, r->bytes + r->start, held);
        r->start = 0;
    }
    return r->start + held < r->capacity ? 0 : grow(r);
}

/* ---- items ----------------------------------------------------------------------------------------------------- */

typedef struct item_op {
    wf_source_op op; /* first */
    weft_reader *reader;
    /* How many of the bytes held are the item; WEFT_EAGAIN: more has to come; WEFT_EMSGSIZE. */
    ssize_t (*find)(struct item_op *o);
    /* Hand out the first @n. */
    void (*give)(struct item_op *o, size_t n);
    const void *delimiter;
    size_t size;     /* of the delimiter, or of what is asked for */
    size_t searched; /* no delimiter begins in so many of them */
    char *item;
    size_t length;
} item_op;

/* What is beyond the limit counts as not there: so it does not matter in which pieces it came. */
static ssize_t find_delimiter(item_op *o)
{
    weft_reader *r = o->reader;
    size_t window = WF_MIN(held_of(r), r->limit);
    if (window < o->size)
        return WEFT_EAGAIN;
    const char *from = r->bytes + r->start;
    const char *at = memmem(from + o->searched, window - o->searched, o->delimiter, o->size);
    if (at)
        return at - from + (ssize_t)o->size;
    o->searched = window - o->size + 1;
    return window == r->limit ? WEFT_EMSGSIZE : WEFT_EAGAIN;
}

static ssize_t find_size(item_op *o) { return held_of(o->reader) >= o->size ? (ssize_t)o->size : WEFT_EAGAIN; }

/* The zero takes the place of what ended the line. */
static void give_line(item_op *o, size_t n)
{
    weft_reader *r = o->reader;
    o->item = r->bytes + r->start;
    o->length = n >= 2 && o->item[n - 2] == '\r' ? n - 2 : n - 1;
    o->item[o->length] = '\0';
    take(r, n);
}

/* The zero may cover what comes next. */
static void give_item(item_op *o, size_t n)
{
    weft_reader *r = o->reader;
    o->item = n > 0 ? r->bytes + r->start : r->empty;
    o->length = n;
    take(r, n);
    if (held_of(r) > 0 && n > 0) {
        r->marked = o->item + n;
        r->covered = *r->marked;
    }
    o->item[n] = '\0';
}

static void give_sight(item_op *o, size_t n)
{
    weft_reader *r = o->reader;
    (void)n;
    o->length = held_of(r);
    o->item = o->length > 0 ? r->bytes + r->start : r->empty;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static ssize_t fill(item_op *o, bool *drained)
{
    weft_reader *r = o->reader;
    if (!wf_source_op_ready(&o->op))
        return WEFT_EAGAIN;
    int err = make_room(r);
    if (err < 0)
        return err;
    size_t held = held_of(r), room = r->capacity - r->start - held;
    ssize_t n = wf_stream_read_now(r->stream, r->bytes + r->start + held, room);
    if (n <= 0)
        return n;
    *drained = wf_stream_is_short(r->stream, n, room);
    wf_store_rlx(&r->held, held + (size_t)n);
    wf_stream_moved(&o->op, (size_t)n);
    return n;
}

/* After a short read there is nothing more, and no need to ask; but after the peer's end nobody would wake us. */
static ssize_t fill_again(item_op *o, bool *drained)
{
    return *drained && !(o->op.word & WF_SRC_REOF) ? WEFT_EAGAIN : fill(o, drained);
}

static ssize_t attempt_item(wf_source_op *op, bool *drained)
{
    item_op *o = wf_container(op, item_op, op);
    weft_reader *r = o->reader;
    ssize_t n;
    restore(r);
    while ((n = o->find(o)) == WEFT_EAGAIN) {
        n = fill_again(o, drained);
        if (n > 0)
            continue;
        give_back_if_empty(r);
        return n == 0 && held_of(r) > 0 ? WEFT_EOF : n;
    }
    if (n < 0)
        return n;
    o->give(o, (size_t)n);
    return 1;
}

/* Afterwards the reader may be gone with its stream, and is not looked at. */
static int read_item(weft_reader *r, item_op *o, char **item, size_t *length)
{
    o->op = (wf_source_op){.source = &r->stream->source, .direction = WF_READ, .always = true, .attempt = attempt_item};
    o->reader = r;
    ssize_t n = wf_stream_await(&wf_source_op_ops, &o->op);
    *item = n > 0 ? o->item : NULL;
    if (length)
        *length = n > 0 ? o->length : 0;
    return (int)n;
}

/* What makes no sense, or can never be. */
static int refuse(int code, char **item, size_t *length)
{
    if (item)
        *item = NULL;
    if (length)
        *length = 0;
    return code;
}

int weft_reader_line(weft_reader *r, char **line, size_t *length)
{
    item_op o = {.find = find_delimiter, .give = give_line, .delimiter = "\n", .size = 1};
    return r && line ? read_item(r, &o, line, length) : refuse(WEFT_EINVAL, line, length);
}

int weft_reader_until(weft_reader *r, const void *delimiter, size_t size, char **item, size_t *length)
{
    item_op o = {.find = find_delimiter, .give = give_item, .delimiter = delimiter, .size = size};
    if (!r || !delimiter || size == 0 || !item)
        return refuse(WEFT_EINVAL, item, length);
    return size <= r->limit ? read_item(r, &o, item, length) : refuse(WEFT_EMSGSIZE, item, length);
}

int weft_reader_exact(weft_reader *r, size_t size, char **item)
{
    item_op o = {.find = find_size, .give = give_item, .size = size};
    if (!r || !item)
        return refuse(WEFT_EINVAL, item, NULL);
    return size <= r->limit ? read_item(r, &o, item, NULL) : refuse(WEFT_EMSGSIZE, item, NULL);
}

int weft_reader_peek(weft_reader *r, size_t size, char **data, size_t *available)
{
    item_op o = {.find = find_size, .give = give_sight, .size = size};
    if (!r || !data)
        return refuse(WEFT_EINVAL, data, available);
    return size <= r->limit ? read_item(r, &o, data, available) : refuse(WEFT_EMSGSIZE, data, available);
}

int weft_reader_consume(weft_reader *r, size_t size)
{
    uint64_t word;
    if (!r)
        return WEFT_EINVAL;
    wf_source *source = &r->stream->source;
    int err = wf_source_claim(source, WF_READ, &word);
    if (err < 0)
        return err;
    bool enough = size <= held_of(r);
    if (enough)
        take(r, size);
    wf_source_release(source, WF_READ, false, word);
    return enough ? 0 : WEFT_EINVAL;
}

size_t weft_reader_buffered(weft_reader *r) { return r ? held_of(r) : 0; }

/* ---- for other reads of the stream ----------------------------------------------------------------------------- */

size_t wf_reader_take(weft_reader *r, void *buf, size_t size)
{
    restore(r);
    size = WF_MIN(size, held_of(r));
    if (size > 0)
        memcpy(buf, r->bytes + r->start, size);
    else
        give_back_if_empty(r);
    return take(r, size);
}

size_t wf_reader_held(const weft_reader *r) { return held_of(r); }

void wf_reader_drop(weft_reader *r)
{
    if (r)
        free(r->bytes);
    free(r);
}

/* ---- attaching ------------------------------------------------------------------------------------------------- */

static int attach(weft_stream *s, weft_reader *r)
{
    weft_reader **place = &wf_stream_extra_of(s)->reader;
    uint64_t word;
    int err = wf_source_claim(&s->source, WF_READ, &word);
    if (err < 0)
        return err;
    if (*place)
        err = WEFT_EBUSY;
    else
        *place = r;
    wf_source_release(&s->source, WF_READ, false, word);
    return err;
}

int weft_reader_create(weft_reader **out, weft_stream *s, size_t limit)
{
    if (out)
        *out = NULL;
    if (!out || !s || limit > SSIZE_MAX - 1)
        return WEFT_EINVAL;
    weft_reader *r = calloc(1, sizeof *r);
    if (!r)
        return WEFT_ENOMEM;
    r->stream = s;
    r->limit = limit ? limit : WEFT_READER_LIMIT;
    int err = attach(s, r);
    if (err < 0)
        wf_reader_drop(r);
    else
        *out = r;
    return err;
}

/* Without the claim it is the stream's to free: somebody reads, or it is closed. */
void weft_reader_free(weft_reader *r)
{
    uint64_t word;
    if (!r)
        return;
    wf_source *source = &r->stream->source;
    if (wf_source_claim(source, WF_READ, &word) < 0)
        return;
    wf_stream_extra_of(r->stream)->reader = NULL;
    wf_reader_drop(r);
    wf_source_release(source, WF_READ, false, word);
}
