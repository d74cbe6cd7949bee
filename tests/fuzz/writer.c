/* writer.c - a buffered writer against all that was written, with a peer who reads when he likes.
 *
 *   header: capacity, how much a layer below takes at once    then: write, print, flush, let the peer read
 *
 * A write or a flush that the peer keeps waiting is interrupted. A flush can then be called again; a write has failed, and so has the writer. */
#include "fuzz.h"
#include <stdlib.h>
#include <weft.h>

enum { WRITTEN_MOST = 1 << 18, STEPS = 60, AT_ONCE = 40000 };

typedef struct model {
    fuzz_input in;
    weft_stream *near, *far;
    weft_writer *writer;
    weft_layer cutter;
    size_t cut;           /* bytes that a write below may have at most; 0: any number */
    size_t written, read; /* what the writer was given, what the peer has */
    int failed;
} model;

/* All that is ever written: only how much of it differs. */
static char bytes[WRITTEN_MOST];

static void make_bytes(void)
{
    if (!bytes[0])
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)('a' + i * 7 % 23 + i / 23 % 3);
}

/* ---- a layer that takes little --------------------------------------------------------------------------------- */

static ssize_t cutter_read(weft_layer *self, void *buf, size_t size) { return weft_layer_read_below(self, buf, size); }

static ssize_t cutter_write(weft_layer *self, const void *buf, size_t size)
{
    const model *m = WEFT_CONTAINER_OF(self, model, cutter);
    return weft_layer_write_below(self, buf, m->cut > 0 && m->cut < size ? m->cut : size);
}

static void cutter_drop(weft_layer *self) { (void)self; }

static const weft_layer_ops cutter_ops = {.read = cutter_read, .write = cutter_write, .drop = cutter_drop};

/* ---- the peer -------------------------------------------------------------------------------------------------- */

/* Up to @most of what is there, byte for byte what was written. */
static void peer_reads(model *m, size_t most)
{
    static char buf[1 << 16];
    while (most > 0) {
        ssize_t n = weft_read(m->far, buf, most < sizeof buf ? most : sizeof buf);
        if (n == WEFT_ETIMEDOUT)
            return;
        FUZZ_EXPECT(n > 0 && m->read + (size_t)n <= m->written, "%zd", n);
        FUZZ_EXPECT(memcmp(buf, bytes + m->read, (size_t)n) == 0);
        m->read += (size_t)n;
        most -= (size_t)n;
    }
}

static void let_read(model *m) { peer_reads(m, fuzz_number(&m->in, 2)); }

/* ---- the writer ------------------------------------------------------------------------------------------------ */

static size_t some_size(model *m)
{
    unsigned how = fuzz_byte(&m->in);
    size_t size = how < 160 ? how : fuzz_number(&m->in, 2) % AT_ONCE, left = WRITTEN_MOST - m->written;
    return size < left ? size : left;
}

/* What is written next. It counts as written whatever comes out: an interrupted write may have sent some. */
static const char *next_bytes(model *m, size_t size)
{
    m->written += size;
    return bytes + m->written - size;
}

/* A failure is for ever. */
static void settle(model *m, ssize_t n, size_t size)
{
    if (m->failed == 0 && n < 0)
        m->failed = (int)n;
    FUZZ_EXPECT(m->failed ? n == m->failed : n == (ssize_t)size, "%zd", n);
    FUZZ_EXPECT(m->failed == 0 || m->failed == WEFT_ETIMEDOUT);
}

static void write_some(model *m)
{
    if (m->failed) {
        FUZZ_EXPECT(weft_writer_write(m->writer, "x", 1) == m->failed);
        return;
    }
    size_t size = some_size(m);
    settle(m, weft_writer_write(m->writer, next_bytes(m, size), size), size);
}

static void print_some(model *m)
{
    if (m->failed) {
        FUZZ_EXPECT(weft_writer_printf(m->writer, "%d", 1) == m->failed);
        return;
    }
    size_t size = some_size(m);
    const char *text = next_bytes(m, size);
    settle(m, weft_writer_printf(m->writer, "%.*s", (int)size, text), size);
}

static void flush(model *m)
{
    int err = weft_writer_flush(m->writer);
    FUZZ_EXPECT(m->failed ? err == m->failed : err == 0 || err == WEFT_ETIMEDOUT, "%d", err);
    FUZZ_EXPECT(err < 0 || weft_writer_buffered(m->writer) == 0);
    FUZZ_EXPECT(err == 0 || m->failed || weft_writer_buffered(m->writer) > 0);
}

static void (*const steps[])(model *) = {write_some, print_some, write_some, flush, let_read};

static void *play(void *arg)
{
    model *m = arg;
    size_t capacity = fuzz_number(&m->in, 2) % 9000;
    FUZZ_EXPECT(weft_stream_pair(&m->near, &m->far) == 0);
    unsigned cut = fuzz_byte(&m->in);
    m->cut = cut * cut;
    m->cutter = (weft_layer){.ops = &cutter_ops};
    if (cut < 255)
        FUZZ_EXPECT(weft_stream_push_layer(m->near, &m->cutter) == 0);
    FUZZ_EXPECT(weft_stream_set_timeouts(m->near, 0, WEFT_MS) == 0 && weft_stream_set_timeouts(m->far, WEFT_MS, 0) == 0);
    FUZZ_EXPECT(weft_writer_create(&m->writer, m->near, capacity) == 0);
    for (int i = 0; i < STEPS && fuzz_left(&m->in) > 0; i++) {
        steps[fuzz_byte(&m->in) % (sizeof steps / sizeof *steps)](m);
        FUZZ_EXPECT(weft_writer_buffered(m->writer) <= (capacity ? capacity : 8192));
    }
    for (int i = 0; i < 100 && !m->failed && weft_writer_flush(m->writer) < 0; i++)
        peer_reads(m, WRITTEN_MOST);
    peer_reads(m, WRITTEN_MOST);
    FUZZ_EXPECT(m->failed || m->read == m->written, "%zu of %zu", m->read, m->written);
    weft_writer_free(m->writer);
    weft_close(m->near);
    weft_close(m->far);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    model m = {.in = fuzz_open(data, size)};
    make_bytes();
    fuzz_run(play, &m);
    return 0;
}
