/* client_frames.c - conversations with servers that echo. What comes back is always looked at, also of those that may be cut. */
#include "client.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The next frame, in a->out. Its size as a whole. */
static size_t make_frame(actor *a, unsigned most, int fragile)
{
    unsigned size = below(&a->luck, below(&a->luck, 4) ? most / 16 + 1 : most + 1);
    frame f = {.magic = FRAME_MAGIC, .size = size, .fragile = (uint8_t)fragile};
    f.op = (uint8_t)(below(&a->luck, 3) ? OP_ECHO : below(&a->luck, OP_COUNT));
    f.argument = (uint16_t)below(&a->luck, 12);
    uint64_t pattern = chance(&a->luck);
    for (unsigned i = 0; i < size; i++)
        a->out[sizeof f + i] = (unsigned char)(pattern >> (i % 57));
    f.sum = frame_sum(a->out + sizeof f, size);
    memcpy(a->out, &f, sizeof f);
    return sizeof f + size;
}

/* Nonzero: as much of the echo as there is, is what was sent. */
static int matches(actor *a, size_t from, size_t size)
{
    if (memcmp(a->out + from, a->in + from, size) == 0)
        return 1;
    actor_wrong(a, "an echo differs");
    return 0;
}

/* 1, or 0 if it was not all echoed. */
static int exchange(actor *a, client_link *l, size_t size)
{
    if (link_send(l, a->out, size) < 0 || link_receive(l, a->in, size) != 1)
        return 0;
    if (matches(a, 0, size))
        actor_answered(a);
    return 1;
}

static void part_politely(actor *a, client_link *l)
{
    if (link_finish(l) < 0 || link_receive(l, a->in, 1) != 0)
        actor_broken(a, "no end after ours");
    link_close(l);
}

static void behave(actor *a, client_link *l)
{
    for (unsigned left = below(&a->luck, 20); left > 0 && actor_goes_on(a); left--)
        if (!exchange(a, l, make_frame(a, FRAME_MOST, 0))) {
            actor_broken(a, "no echo");
            link_close(l);
            return;
        }
    part_politely(a, l);
}

/* Several at once: few enough that nobody has to read for them to be written. */
static void behave_ahead(actor *a, client_link *l)
{
    size_t size = 0;
    unsigned n = 1 + below(&a->luck, 15);
    for (unsigned i = 0; i < n; i++) {
        size_t one = make_frame(a, 2000, 0);
        memcpy(a->in + size, a->out, one);
        size += one;
    }
    memcpy(a->out, a->in, size);
    if (!exchange(a, l, size)) {
        actor_broken(a, "no echo of several");
        link_close(l);
        return;
    }
    part_politely(a, l);
}

static void read_slowly(actor *a, client_link *l)
{
    size_t size = make_frame(a, FRAME_MOST, 0), got = 0;
    int sent = link_send(l, a->out, size);
    while (sent == 0 && got < size) {
        size_t want = 1 + below(&a->luck, 8000);
        ssize_t n = link_take(l, a->in + got, want < size - got ? want : size - got);
        if (n <= 0)
            break;
        got += (size_t)n;
        actor_linger(a, 8);
    }
    if (got < size)
        actor_broken(a, "no echo for a slow reader");
    else if (matches(a, 0, size))
        actor_answered(a);
    link_close(l);
}

/* Writes until the server, whose echoes nobody takes, stops reading. */
static void never_read(actor *a, client_link *l)
{
    struct timeval soon = {.tv_usec = 50 * 1000};
    setsockopt(l->fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    for (int i = 0; i < 200 && actor_goes_on(a); i++)
        if (link_send(l, a->out, make_frame(a, FRAME_MOST, 0)) < 0)
            break;
    actor_linger(a, 300);
    actor_die(a, l);
}

/* Dies, or sends its end, somewhere in a frame. */
static void stop_halfway(actor *a, client_link *l)
{
    size_t size = make_frame(a, FRAME_MOST, 0), part = below(&a->luck, (unsigned)size);
    (void)link_send(l, a->out, part);
    actor_linger(a, 20);
    if (below(&a->luck, 3) == 0 && link_finish(l) == 0)
        for (size_t got = 0; got < part;) {
            ssize_t n = link_take(l, a->in + got, part - got);
            if (n <= 0 || !matches(a, got, (size_t)n))
                break;
            got += (size_t)n;
        }
    actor_die(a, l);
}

/* The server may abort this one at any moment. What it has echoed until then is right. */
static void be_fragile(actor *a, client_link *l)
{
    for (unsigned left = 1 + below(&a->luck, 30); left > 0 && actor_goes_on(a); left--) {
        if (!exchange(a, l, make_frame(a, 4000, 1))) {
            atomic_fetch_add(&a->shared->cut, 1);
            break;
        }
        actor_linger(a, 10);
    }
    link_close(l);
}

void converse_in_frames(actor *a)
{
    /* clang-format off */
    static void (*const ways[])(actor *a, client_link *l) = {
        behave, behave, behave, behave_ahead, behave_ahead, read_slowly, never_read, stop_halfway, stop_halfway, be_fragile, be_fragile,
    };
    /* clang-format on */
    client_link l;
    if (below(&a->luck, 60) == 0)
        actor_bring_crowd(a, make_frame(a, 200, 1));
    else if (actor_open(a, &l) == 0)
        ways[below(&a->luck, sizeof ways / sizeof ways[0])](a, &l);
}
