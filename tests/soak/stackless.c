/* stackless.c - an echo server's handler that has no stack: bytes, whatever they mean, through a buffer of its own. */
#include "server.h"
#include <stdlib.h>

typedef struct echo {
    weft_future future;
    weft_stream *peer;
    size_t begin, end; /* of what has been read and not been written */
    unsigned char bytes[8192];
} echo;

/* One step of it: more than zero if another can follow. */
static ssize_t step(echo *e, weft_context *cx)
{
    if (e->begin < e->end) {
        ssize_t n = weft_poll_write_some(cx, e->peer, e->bytes + e->begin, e->end - e->begin);
        e->begin += n > 0 ? (size_t)n : 0;
        return n;
    }
    ssize_t n = weft_poll_read(cx, e->peer, e->bytes, sizeof e->bytes);
    e->begin = 0;
    e->end = n > 0 ? (size_t)n : 0;
    return n;
}

static weft_poll poll_echo(weft_future *self, weft_context *cx, void **result)
{
    echo *e = WEFT_CONTAINER_OF(self, echo, future);
    ssize_t n;
    *result = NULL;
    while ((n = step(e, cx)) > 0)
        ;
    return n == WEFT_PENDING ? WEFT_PENDING : WEFT_READY;
}

static void drop_echo(weft_future *self) { free(WEFT_CONTAINER_OF(self, echo, future)); }

weft_future *converse_without_stack(weft_stream *peer, void *arg)
{
    static const weft_future_ops ops = {.poll = poll_echo, .drop = drop_echo};
    echo *e = malloc(sizeof *e);
    (void)arg;
    if (!e)
        return NULL;
    *e = (echo){.future.ops = &ops, .peer = peer};
    return &e->future;
}
