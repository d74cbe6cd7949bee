/* reader.c - a buffered reader against the whole byte string, in whatever pieces the bytes come.
 *
 *   header: limit, how much a layer below gives at once     then: feed, take, look ahead, read past the reader, attach it anew
 *
 * Bytes come before a call, or while it waits. A call that needs more than ever comes is interrupted. Which pieces the reader has had so far is its own
 * affair; what comes out is not. */
#include "fuzz.h"
#include <stdlib.h>
#include <weft.h>

enum { FED_MOST = 60000, STEPS = 400, PIECES = 4, PATIENCE_MS = 20 };

typedef struct model {
    fuzz_input in;
    weft_stream *near, *far;
    weft_reader *reader;
    weft_layer cutter;
    uint8_t cut; /* bytes that a read from below may have at most; 0: any number */
    size_t limit;
    char bytes[FED_MOST];
    size_t fed, at; /* of bytes: what came, what was taken */
    bool ended;
    bool scoped; /* interrupted by a scope, else by the stream's timeout */
} model;

/* ---- a layer that gives little --------------------------------------------------------------------------------- */

static ssize_t cutter_read(weft_layer *self, void *buf, size_t size)
{
    const model *m = WEFT_CONTAINER_OF(self, model, cutter);
    return weft_layer_read_below(self, buf, m->cut > 0 && m->cut < size ? m->cut : size);
}

static ssize_t cutter_write(weft_layer *self, const void *buf, size_t size)
{
    return weft_layer_write_below(self, buf, size);
}

static void cutter_drop(weft_layer *self) { (void)self; }

static const weft_layer_ops cutter_ops = {.read = cutter_read, .write = cutter_write, .drop = cutter_drop};

/* ---- feeding --------------------------------------------------------------------------------------------------- */

/* Some of the input as it is; or one byte of it many times, so that buffers grow. */
static size_t make_bytes(model *m)
{
    bool many = fuzz_byte(&m->in) % 4 == 3;
    size_t size = many ? fuzz_number(&m->in, 2) % 9000 : fuzz_byte(&m->in) % 32u, from = m->fed;
    char same = many ? (char)fuzz_byte(&m->in) : 0;
    size = m->ended ? 0 : size < FED_MOST - m->fed ? size : FED_MOST - m->fed;
    for (size_t i = 0; i < size; i++)
        m->bytes[m->fed++] = many ? same : (char)fuzz_byte(&m->in);
    return m->fed - from;
}

static void give(model *m, size_t from, size_t size)
{
    FUZZ_EXPECT(size == 0 || weft_write(m->far, m->bytes + from, size) == (ssize_t)size);
}

static void feed(model *m)
{
    size_t from = m->fed;
    give(m, from, make_bytes(m));
}

static void end(model *m)
{
    if (!m->ended)
        FUZZ_EXPECT(weft_close_write(m->far) == 0);
    m->ended = true;
}

/* What comes while a call waits. */
typedef struct drip {
    model *m;
    weft_task *task;
    size_t from[PIECES + 1];
    int pieces;
    bool ends;
} drip;

static void *dripping(void *arg)
{
    drip *d = arg;
    for (int i = 0; i < d->pieces; i++) {
        FUZZ_EXPECT(weft_sleep(WEFT_MS) == 0);
        give(d->m, d->from[i], d->from[i + 1] - d->from[i]);
    }
    FUZZ_EXPECT(weft_sleep(WEFT_MS) == 0);
    if (d->ends)
        FUZZ_EXPECT(weft_close_write(d->m->far) == 0);
    return NULL;
}

static void begin_drip(drip *d, model *m)
{
    unsigned how = fuzz_byte(&m->in);
    *d = (drip){.m = m, .pieces = how % (PIECES + 1), .ends = how >= 240 && !m->ended, .from = {m->fed}};
    for (int i = 0; i < d->pieces; i++) {
        make_bytes(m);
        d->from[i + 1] = m->fed;
    }
    m->ended |= d->ends;
    m->scoped = how & 8;
    if (d->pieces > 0 || d->ends)
        FUZZ_EXPECT(weft_spawn(&d->task, dripping, d) == 0);
}

static void end_drip(drip *d)
{
    if (d->task)
        FUZZ_EXPECT(weft_join(d->task, NULL) == 0);
}

/* ---- what should come out -------------------------------------------------------------------------------------- */

static size_t left(const model *m) { return m->fed - m->at; }
static const char *next_bytes(const model *m) { return m->bytes + m->at; }

/* Not enough, and not too much. */
static int short_of(const model *m) { return !m->ended ? WEFT_ETIMEDOUT : left(m) > 0 ? WEFT_EOF : 0; }

/* Byte by byte. *@size: of the item, with its delimiter. */
static int should_find(const model *m, const char *delimiter, size_t length, size_t *size)
{
    for (size_t n = length; n <= left(m) && n <= m->limit; n++)
        if (memcmp(next_bytes(m) + n - length, delimiter, length) == 0) {
            *size = n;
            return 1;
        }
    return left(m) >= m->limit ? WEFT_EMSGSIZE : short_of(m);
}

static int should_have(const model *m, size_t size)
{
    return size > m->limit ? WEFT_EMSGSIZE : left(m) >= size ? 1 : short_of(m);
}

/* ---- calls ----------------------------------------------------------------------------------------------------- */

typedef struct call {
    drip drip;
    weft_scope scope;
} call;

static void begin(call *c, model *m)
{
    begin_drip(&c->drip, m);
    FUZZ_EXPECT(weft_stream_set_timeouts(m->near, m->scoped ? 0 : PATIENCE_MS * WEFT_MS, 0) == 0);
    c->scope = (weft_scope){0};
    FUZZ_EXPECT(weft_scope_enter(&c->scope, m->scoped ? PATIENCE_MS * WEFT_MS : WEFT_FOREVER) == 0);
}

static void finish(call *c)
{
    weft_scope_leave(&c->scope);
    end_drip(&c->drip);
}

/* Pointers stay good while nothing is read: the item is looked at again after calls that read nothing. */
static void expect_item(model *m, const char *item, size_t size, size_t taken)
{
    FUZZ_EXPECT(memcmp(item, next_bytes(m), size) == 0 && item[size] == '\0');
    m->at += taken;
    size_t held = weft_reader_buffered(m->reader), some = held > 0 ? fuzz_number(&m->in, 1) % (held + 1) : 0;
    FUZZ_EXPECT(held <= left(m));
    FUZZ_EXPECT(weft_reader_consume(m->reader, held + 1) == WEFT_EINVAL);
    FUZZ_EXPECT(weft_reader_consume(m->reader, some) == 0);
    FUZZ_EXPECT(memcmp(item, next_bytes(m) - taken, size) == 0 && item[size] == '\0');
    m->at += some;
}

static void line(model *m)
{
    call c;
    char *item;
    size_t length, size = 0;
    begin(&c, m);
    int err = weft_reader_line(m->reader, &item, &length), should = should_find(m, "\n", 1, &size);
    finish(&c);
    FUZZ_EXPECT(err == should, "%d and not %d", err, should);
    FUZZ_EXPECT((err == 1) == (item != NULL) && (err == 1 || length == 0));
    if (err != 1)
        return;
    bool cr = size >= 2 && next_bytes(m)[size - 2] == '\r';
    FUZZ_EXPECT(length == size - 1 - cr);
    expect_item(m, item, length, size);
}

static void until(model *m)
{
    call c;
    char delimiter[4], *item;
    size_t length, size = 0, wanted = 1 + fuzz_below(&m->in, 4);
    for (size_t i = 0; i < wanted; i++)
        delimiter[i] = (char)fuzz_byte(&m->in);
    begin(&c, m);
    int err = weft_reader_until(m->reader, delimiter, wanted, &item, &length);
    int should = wanted > m->limit ? WEFT_EMSGSIZE : should_find(m, delimiter, wanted, &size);
    finish(&c);
    FUZZ_EXPECT(err == should, "%d and not %d", err, should);
    FUZZ_EXPECT((err == 1) == (item != NULL) && length == (err == 1 ? size : 0));
    if (err == 1)
        expect_item(m, item, size, size);
}

static size_t some_size(model *m)
{
    unsigned how = fuzz_byte(&m->in);
    return how < 200 ? how % 40 : how < 230 ? fuzz_number(&m->in, 2) : m->limit + how % 3 - 1;
}

static void exact(model *m)
{
    call c;
    char *item;
    size_t size = some_size(m);
    begin(&c, m);
    int err = weft_reader_exact(m->reader, size, &item), should = should_have(m, size);
    finish(&c);
    FUZZ_EXPECT(err == should, "%d and not %d", err, should);
    FUZZ_EXPECT((err == 1) == (item != NULL));
    if (err == 1)
        expect_item(m, item, size, size);
}

static void peek(model *m)
{
    call c;
    char *data;
    size_t available, size = some_size(m);
    begin(&c, m);
    int err = weft_reader_peek(m->reader, size, &data, &available), should = should_have(m, size);
    finish(&c);
    FUZZ_EXPECT(err == should, "%d and not %d", err, should);
    FUZZ_EXPECT((err == 1) == (data != NULL));
    FUZZ_EXPECT(err == 1 ? available >= size && available <= left(m) : available == 0);
    FUZZ_EXPECT(err != 1 || weft_reader_buffered(m->reader) == available);
    FUZZ_EXPECT(err != 1 || memcmp(data, next_bytes(m), available) == 0);
}

/* Past the reader, which gives what it holds first. */
static void read_some(model *m)
{
    call c;
    static char bytes[1 << 16];
    size_t size = 1 + some_size(m) % sizeof bytes, held = weft_reader_buffered(m->reader);
    begin(&c, m);
    ssize_t n = weft_read(m->near, bytes, size);
    finish(&c);
    FUZZ_EXPECT(left(m) > 0 ? n > 0 && (size_t)n <= size && (size_t)n <= left(m) : n == short_of(m), "%zd", n);
    FUZZ_EXPECT(n < 0 || (size_t)n >= (held < size ? held : size));
    FUZZ_EXPECT(n <= 0 || memcmp(bytes, next_bytes(m), (size_t)n) == 0);
    m->at += n > 0 ? (size_t)n : 0;
}

static void read_exactly(model *m)
{
    static char bytes[1 << 16];
    size_t size = 1 + some_size(m) % sizeof bytes;
    if (left(m) < size && !m->ended)
        return; /* it is not cancel-safe */
    ssize_t n = weft_read_exact(m->near, bytes, size), should = left(m) >= size ? (ssize_t)size : short_of(m);
    size_t got = left(m) < size ? left(m) : size;
    FUZZ_EXPECT(n == should, "%zd and not %zd", n, should);
    FUZZ_EXPECT(memcmp(bytes, next_bytes(m), got) == 0);
    m->at += got;
}

static size_t some_limit(fuzz_input *in)
{
    unsigned how = fuzz_byte(in);
    return how < 128 ? how : how < 200 ? fuzz_number(in, 2) : 0;
}

/* What the old one holds goes with it. */
static void attach(model *m)
{
    size_t limit = some_limit(&m->in);
    weft_reader *second;
    m->at += weft_reader_buffered(m->reader);
    FUZZ_EXPECT(!m->reader || (weft_reader_create(&second, m->near, limit) == WEFT_EBUSY && !second));
    weft_reader_free(m->reader);
    FUZZ_EXPECT(weft_reader_create(&m->reader, m->near, limit) == 0);
    m->limit = limit ? limit : WEFT_READER_LIMIT;
}

static void (*const steps[])(model *) = {feed, feed, line, line, until, exact, peek, read_some, read_exactly, attach};

static void *play(void *arg)
{
    model *m = arg;
    FUZZ_EXPECT(weft_stream_pair(&m->near, &m->far) == 0);
    m->cut = fuzz_byte(&m->in);
    m->cutter = (weft_layer){.ops = &cutter_ops};
    if (m->cut < 255)
        FUZZ_EXPECT(weft_stream_push_layer(m->near, &m->cutter) == 0);
    attach(m);
    for (int i = 0; i < STEPS && fuzz_left(&m->in) > 0; i++) {
        unsigned what = fuzz_byte(&m->in);
        if (what >= 250)
            end(m);
        else
            steps[what % (sizeof steps / sizeof *steps)](m);
        FUZZ_EXPECT(weft_reader_buffered(m->reader) <= left(m));
    }
    weft_close(m->near);
    weft_close(m->far);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static model m;
    m = (model){.in = fuzz_open(data, size)};
    fuzz_run(play, &m);
    return 0;
}
