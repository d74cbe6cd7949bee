/* steps_net.c - steps with streams and datagrams: 0 and 1, 2 and 3 are pairs in memory; 4 and 5 are TCP, 6 and 7 a Unix socket pair. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST = 40000 };

/* Which byte is the @at-th that is written to @stream. */
static uint8_t byte_at(unsigned stream, uint64_t at) { return (uint8_t)(at * 31 + (at >> 8) + stream * 7 + 1); }

static unsigned stream_of(const actor *a, unsigned byte) { return byte % (a->w->options->pure ? 4 : STREAMS); }

static bool any_shut(const world *w, unsigned stream)
{
    const stream_state *s = &w->stream[stream], *peer = &w->stream[stream ^ 1];
    return s->closed || peer->closed || s->shut || peer->shut;
}

static void judge_failure(actor *a, unsigned stream, int code)
{
    world *w = a->w;
    if (code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT)
        return;
    JUDGE(w, code, code == WEFT_ECLOSED || code == WEFT_EPIPE || code == WEFT_ECONNRESET || code == WEFT_ENOTCONN);
    JUDGE(w, code, code == WEFT_ECLOSED ? w->stream[stream].closed : any_shut(w, stream));
}

/* ---- reading and writing -------------------------------------------------------------------------------------------- */

static int read_some(actor *a, unsigned stream, uint8_t *buf, size_t size)
{
    stream_state *s = &a->w->stream[stream], *peer = &a->w->stream[stream ^ 1];
    bool closed = s->sure;
    before b = random_before(a);
    ssize_t n = weft_read(s->stream, buf, size);
    random_after(a, &b, (int)n);
    if (n < 0)
        judge_failure(a, stream, (int)n);
    JUDGE(a->w, n, n <= (ssize_t)size && (n != 0 || any_shut(a->w, stream)) && (n < 0 || !closed));
    for (ssize_t i = 0; i < n && !peer->unsure; i++)
        if (buf[i] != byte_at(stream ^ 1, s->read + (uint64_t)i) && !peer->unsure)
            random_wrong(a->w, "stream %u: byte %llu is not what was written", stream,
                         (unsigned long long)(s->read + (uint64_t)i));
    s->read += n > 0 ? (uint64_t)n : 0;
    return (int)n;
}

int random_do_READ(actor *a, const step *s)
{
    unsigned stream = stream_of(a, s->a);
    size_t size = 1 + (s->b & 1 ? s->c : s->c * (size_t)LARGEST / 256);
    if (atomic_exchange(&a->w->stream[stream].reading, true))
        return NOTHING;
    uint8_t *buf = malloc(size);
    EXPECT(a->w, buf);
    int n = read_some(a, stream, buf, size);
    free(buf);
    a->w->stream[stream].reading = false;
    return n;
}

static int write_some(actor *a, unsigned stream, uint8_t *buf, size_t size, bool all)
{
    stream_state *s = &a->w->stream[stream];
    bool closed = s->sure;
    for (size_t i = 0; i < size; i++)
        buf[i] = byte_at(stream, s->written + i);
    before b = random_before(a);
    if (all)
        s->unsure = true;
    ssize_t n = all ? weft_write(s->stream, buf, size) : weft_write_some(s->stream, buf, size);
    random_after(a, &b, (int)n);
    if (n < 0)
        judge_failure(a, stream, (int)n);
    JUDGE(a->w, n, n != 0 && n <= (ssize_t)size && (n < 0 || !closed) && (n < 0 || !all || n == (ssize_t)size));
    s->written += n > 0 ? (uint64_t)n : 0;
    return (int)n;
}

int random_do_WRITE(actor *a, const step *s)
{
    unsigned stream = stream_of(a, s->a);
    size_t size = 1 + (s->b & 1 ? s->c : s->c * (size_t)LARGEST / 256);
    if (atomic_exchange(&a->w->stream[stream].writing, true))
        return NOTHING;
    uint8_t *buf = malloc(size);
    EXPECT(a->w, buf);
    int n = write_some(a, stream, buf, size, s->b % 16 == 2);
    free(buf);
    a->w->stream[stream].writing = false;
    return n;
}

int random_do_SHUTDOWN(actor *a, const step *s)
{
    unsigned stream = stream_of(a, s->a);
    a->w->stream[stream].shut = 1;
    int code = weft_close_write(a->w->stream[stream].stream);
    if (code < 0)
        judge_failure(a, stream, code);
    return code;
}

/* Or another's close: of a reference, so that the stream stays a stream. */
int random_do_STREAM_ABORT(actor *a, const step *s)
{
    stream_state *stream = &a->w->stream[stream_of(a, s->a)];
    stream->closed = 1;
    if (s->b & 1)
        weft_stream_abort(stream->stream);
    else
        weft_close(weft_stream_ref(stream->stream));
    stream->sure = 1;
    return 0;
}

/* ---- datagrams ------------------------------------------------------------------------------------------------------ */

static int receive(actor *a, unsigned u)
{
    item i;
    weft_addr from;
    if (atomic_exchange(&a->w->udp_receiving[u], true))
        return NOTHING;
    before b = random_before(a);
    ssize_t n = weft_udp_recv(a->w->udp[u], &i, sizeof i, &from);
    random_after(a, &b, (int)n);
    a->w->udp_receiving[u] = false;
    JUDGE(a->w, n, n != WEFT_ECLOSED || a->w->udp_closed[u]);
    if (n < 0)
        JUDGE(a->w, n, n == WEFT_ECLOSED || n == WEFT_ECANCELED || n == WEFT_ETIMEDOUT);
    else
        JUDGE(a->w, n, n == sizeof i && i.world == a->w && weft_addr_equal(&from, &a->w->udp_address[u ^ 1]));
    return (int)n;
}

int random_do_UDP(actor *a, const step *s)
{
    unsigned u = s->a % UDPS;
    if (s->b % 8 == 0) {
        a->w->udp_closed[u] = 1;
        weft_udp_abort(a->w->udp[u]);
        return 0;
    }
    if (s->b & 1)
        return receive(a, u);
    item i = random_item(a, s, 0);
    before b = random_before(a);
    ssize_t n = weft_udp_send(a->w->udp[u], &i, sizeof i, &a->w->udp_address[u ^ 1]);
    random_after(a, &b, (int)n);
    JUDGE(a->w, n,
          n == sizeof i || n == WEFT_ECANCELED || n == WEFT_ETIMEDOUT || (n == WEFT_ECLOSED && a->w->udp_closed[u]));
    return (int)n;
}

/* ---- connections ---------------------------------------------------------------------------------------------------- */

int random_do_CONNECT(actor *a, const step *s)
{
    weft_stream *stream;
    weft_tcp_options o = {.linger = WEFT_LINGER_RESET};
    before b = random_before(a);
    int code = random_after(a, &b, weft_tcp_connect(&stream, a->w->address, &o));
    JUDGE(a->w, code, code == 0 ? stream != NULL : !stream);
    JUDGE(a->w, code, code >= 0 || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT || code == WEFT_ECONNRESET); /* an accepter hangs up early */
    if (code == 0 && (s->a & 1))
        random_after_any(a, (int)weft_write_some(stream, "x", 1));
    weft_close(stream);
    return code;
}

int random_do_ACCEPT(actor *a, const step *s)
{
    weft_stream *stream;
    char c = 'x';
    before b = random_before(a);
    int code = weft_accept(&stream, a->w->listener);
    if (code != WEFT_EBUSY)
        random_after(a, &b, code);
    JUDGE(a->w, code, (code == 0) == (stream != NULL));
    JUDGE(a->w, code,
          code == 0 || code == WEFT_EBUSY || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT || code == WEFT_ECONNABORTED);
    if (code == 0 && (s->a & 1))
        random_after_any(a, (int)weft_read(stream, &c, 1));
    EXPECT(a->w, c == 'x');
    weft_close(stream);
    return code;
}
