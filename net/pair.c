/* pair.c - two streams in memory that are each other's peers.
 *
 * A stream without a descriptor whose layer is one end of two rings: whoever writes into a ring, or makes room in it, delivers the event to the other
 * end's source himself, as the set would. So nothing is ever under way, and a test under the paused clock is exact. */
#include <base/lock.h>
#include <net/stream.h>
#include <string.h>

enum { RING = 64 * 1024 };

typedef struct ring {
    size_t start, held;
    bool ended;  /* nothing more will be written */
    bool unread; /* nobody will read it any more */
    char bytes[RING];
} ring;

typedef struct end {
    weft_layer layer;
    struct pair *pair;
    int index; /* reads ring[index], writes the other */
} end;

typedef struct pair {
    const weft_allocator *allocator; /* the runtime's */
    wf_mutex lock;
    int users;              /* under lock: ends that are not gone */
    ring ring[2];           /* under lock */
    wf_source *source[2];   /* the places outlive both; generations tell whether they are still these */
    uint16_t generation[2]; /* written before there are two */
    end end[2];
} pair;

static end *end_of(weft_layer *layer) { return wf_container(layer, end, layer); }

/* Told to the peer, without the lock: it may be polled at once. */
static void deliver(pair *p, int to, uint64_t bits) { wf_source_deliver(p->source[to], p->generation[to], bits); }

static size_t ring_take(ring *r, char *buf, size_t size)
{
    size = WF_MIN(size, r->held);
    size_t first = WF_MIN(size, RING - r->start);
    memcpy(buf, r->bytes + r->start, first);
    memcpy(buf + first, r->bytes, size - first);
    r->start = (r->start + size) % RING;
    r->held -= size;
    return size;
}

static size_t ring_put(ring *r, const char *buf, size_t size)
{
    size_t at = (r->start + r->held) % RING;
    size = WF_MIN(size, RING - r->held);
    size_t first = WF_MIN(size, RING - at);
    memcpy(r->bytes + at, buf, first);
    memcpy(r->bytes, buf + first, size - first);
    r->held += size;
    return size;
}

static ssize_t pair_read(weft_layer *self, void *buf, size_t size)
{
    end *e = end_of(self);
    ring *r = &e->pair->ring[e->index];
    wf_mutex_lock(&e->pair->lock);
    size_t n = ring_take(r, buf, size);
    bool ended = r->ended;
    wf_mutex_unlock(&e->pair->lock);
    if (n > 0)
        deliver(e->pair, !e->index, WF_SRC_WRDY);
    return n > 0 ? (ssize_t)n : ended ? 0 : WEFT_EAGAIN;
}

static ssize_t pair_write(weft_layer *self, const void *buf, size_t size)
{
    end *e = end_of(self);
    ring *r = &e->pair->ring[!e->index];
    wf_mutex_lock(&e->pair->lock);
    bool broken = r->ended || r->unread, room = r->held < RING;
    size_t n = broken ? 0 : ring_put(r, buf, size);
    wf_mutex_unlock(&e->pair->lock);
    if (n > 0)
        deliver(e->pair, !e->index, WF_SRC_RRDY);
    return broken ? WEFT_EPIPE : n > 0 || (size == 0 && room) ? (ssize_t)n : WEFT_EAGAIN;
}

static int pair_readable(weft_layer *self)
{
    end *e = end_of(self);
    wf_mutex_lock(&e->pair->lock);
    bool readable = e->pair->ring[e->index].held > 0 || e->pair->ring[e->index].ended;
    wf_mutex_unlock(&e->pair->lock);
    return readable;
}

static int pair_close_write(weft_layer *self)
{
    end *e = end_of(self);
    wf_mutex_lock(&e->pair->lock);
    e->pair->ring[!e->index].ended = true;
    wf_mutex_unlock(&e->pair->lock);
    deliver(e->pair, !e->index, WF_SRC_RRDY);
    return 0;
}

static void pair_close(weft_layer *self)
{
    end *e = end_of(self);
    wf_mutex_lock(&e->pair->lock);
    e->pair->ring[!e->index].ended = true;
    e->pair->ring[e->index].unread = true;
    wf_mutex_unlock(&e->pair->lock);
    deliver(e->pair, !e->index, WF_SRC_RRDY | WF_SRC_WRDY);
}

static void pair_drop(weft_layer *self)
{
    pair *p = end_of(self)->pair;
    wf_mutex_lock(&p->lock);
    bool last = --p->users == 0;
    wf_mutex_unlock(&p->lock);
    if (!last)
        return;
    wf_mutex_destroy(&p->lock);
    wf_free(p->allocator, p);
}

static const weft_layer_ops pair_ops = {.read = pair_read,
                                        .write = pair_write,
                                        .readable = pair_readable,
                                        .close_write = pair_close_write,
                                        .close = pair_close,
                                        .drop = pair_drop};

/* Nobody else has it yet: the layer is put in place without claims. */
static void join(pair *p, int index, wf_source *source)
{
    p->source[index] = source;
    p->generation[index] = wf_src_generation(wf_load_rlx(&source->word));
    p->end[index] = (end){.layer = {.ops = &pair_ops, .stream_ = (weft_stream *)(void *)source}, .pair = p, .index = index};
    wf_store_rel(&wf_stream_extra_of((weft_stream *)(void *)source)->layer, &p->end[index].layer);
}

int weft_stream_pair(weft_stream **a, weft_stream **b)
{
    if (a)
        *a = NULL;
    if (b)
        *b = NULL;
    if (!a || !b)
        return WEFT_EINVAL;
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    pair *p = wf_alloc(all->allocator, sizeof *p);
    wf_source *first = p ? wf_source_open(all, -1, &wf_stream_in_memory, true) : NULL;
    wf_source *second = first ? wf_source_open(all, -1, &wf_stream_in_memory, true) : NULL;
    if (!second) {
        if (first)
            wf_source_close(first);
        wf_free(all->allocator, p);
        return WEFT_ENOMEM;
    }
    p->allocator = all->allocator;
    wf_mutex_init(&p->lock);
    p->users = 2;
    join(p, 0, first);
    join(p, 1, second);
    *a = (weft_stream *)(void *)first;
    *b = (weft_stream *)(void *)second;
    return 0;
}
