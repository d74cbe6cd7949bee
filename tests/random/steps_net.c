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

/* False: somebody else is at it, or there is no such stream. */
bool random_claim(actor *a, unsigned stream, bool reading)
{
    stream_state *s = &a->w->stream[stream];
    return s->stream && !atomic_exchange(reading ? &s->reading : &s->writing, true);
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
    if (!random_claim(a, stream, true))
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
    if (!random_claim(a, stream, false))
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
    if (!a->w->stream[stream].stream)
        return NOTHING;
    a->w->stream[stream].shut = 1;
    int code = weft_close_write(a->w->stream[stream].stream);
    if (code < 0 && code != WEFT_EBUSY) /* somebody writes */
        judge_failure(a, stream, code);
    return code;
}

/* Or another's close: of a reference, so that the stream stays a stream. */
int random_do_STREAM_ABORT(actor *a, const step *s)
{
    stream_state *stream = &a->w->stream[stream_of(a, s->a)];
    if (!stream->stream)
        return NOTHING;
    stream->closed = 1;
    if (s->b & 1)
        weft_stream_abort(stream->stream);
    else
        weft_close(weft_stream_ref(stream->stream));
    stream->sure = 1;
    return 0;
}

/* ---- copying -------------------------------------------------------------------------------------------------------- */

static void unclaim(actor *a, unsigned from, unsigned to)
{
    a->w->stream[from].reading = false;
    a->w->stream[to].writing = false;
}

static bool claim_both(actor *a, unsigned from, unsigned to)
{
    if (!random_claim(a, from, true))
        return false;
    if (random_claim(a, to, false))
        return true;
    a->w->stream[from].reading = false;
    return false;
}

/* How far it came is known to nobody, and so what comes later has no place. */
static void forget_places(world *w, unsigned from, unsigned to)
{
    w->stream[to].unsure = true;
    w->stream[from ^ 1].unsure = true;
}

static void judge_copy(actor *a, unsigned from, unsigned to, int64_t code)
{
    world *w = a->w;
    JUDGE(w, code, code >= 0 || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT || any_shut(w, from) || any_shut(w, to));
}

static int copy_one_way(actor *a, const step *s, unsigned from, unsigned to)
{
    weft_stream *dst = a->w->stream[to].stream, *src = a->w->stream[from].stream;
    int64_t code = s->b & 1 ? weft_copy(dst, src) : weft_copy_n(dst, src, s->c * 400);
    random_after_any(a, (int)code);
    judge_copy(a, from, to, code);
    return (int)code;
}

static int copy_both_ways(actor *a)
{
    const unsigned x = 1, y = 2;
    if (!claim_both(a, x, y))
        return NOTHING;
    int code = NOTHING;
    if (claim_both(a, y, x)) {
        forget_places(a->w, x, y);
        forget_places(a->w, y, x);
        a->w->stream[x].shut = a->w->stream[y].shut = 1; /* when the other one's input ends */
        code = weft_copy_bidirectional(a->w->stream[x].stream, a->w->stream[y].stream, NULL, NULL);
        random_after_any(a, code);
        judge_copy(a, x, y, code);
        unclaim(a, y, x);
    }
    unclaim(a, x, y);
    return code;
}

/* Never in a circle, where bytes would go round for ever and the paused clock would stand still: between the two pairs in memory, or upwards. */
int random_do_COPY(actor *a, const step *s)
{
    unsigned from = stream_of(a, s->a), to = stream_of(a, s->a >> 4);
    if (a->w->program->header[1] & 16)
        return copy_both_ways(a);
    if (from / 2 >= to / 2 || !claim_both(a, from, to))
        return NOTHING;
    forget_places(a->w, from, to);
    int code = copy_one_way(a, s, from, to);
    unclaim(a, from, to);
    return code;
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
    char c = 'x';
    before b = random_before(a);
    int code = random_after(a, &b, weft_tcp_connect(&stream, a->w->address, &o));
    JUDGE(a->w, code, code == 0 ? stream != NULL : !stream);
    JUDGE(a->w, code, code >= 0 || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT || code == WEFT_ECONNRESET); /* an accepter hangs up early */
    if (code == 0 && (s->a & 1))
        random_after_any(a, (int)weft_write_some(stream, "x", 1));
    if (code == 0 && (s->a & 2))
        random_after_any(a, (int)weft_read(stream, &c, 1));
    EXPECT(a->w, c == 'x');
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

/* ---- servers -------------------------------------------------------------------------------------------------------- */

typedef struct server {
    world *world;
    const step *step;
    atomic_int handlers;
} server;

static void handler_ends(void *arg)
{
    server *sv = arg;
    sv->handlers--;
}

static void *handle(weft_stream *peer, void *arg)
{
    server *sv = arg;
    char c;
    sv->handlers++;
    EXPECT(sv->world, weft_defer(handler_ends, sv) == 0);
    if (sv->step->a & 1)
        (void)weft_sleep(random_ns(sv->step->b));
    while (weft_read(peer, &c, 1) == 1 && weft_write(peer, &c, 1) == 1)
        if (sv->step->a & 2)
            weft_panic("a handler's");
    return NULL;
}

/* None of its handlers outlives it. A job would hold the clock that the handlers wait for. */
int random_do_SERVE(actor *a, const step *s)
{
    server sv = {.world = a->w, .step = s};
    weft_serve_options o = {
        .max_connections = s->b % 3, .drain_timeout = s->c & 1 ? random_ns(s->c >> 1) : 0, .nagle = s->a & 8};
    frame f;
    if (a->kind == JOB || random_ns(s->c >> 1) < 0)
        return NOTHING;
    random_frame_enter(a, &f, 1 + random_ns(s->b >> 2));
    int code = weft_serve(a->w->listener, handle, &sv, &o);
    JUDGE(a->w, code, code == WEFT_EBUSY || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    random_after_any(a, code);
    EXPECT(a->w, sv.handlers == 0);
    random_frame_leave(a, &f);
    return code;
}
