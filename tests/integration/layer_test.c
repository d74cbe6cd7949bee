/* layer_test.c - layers on streams: two that are built here, stacked over sockets, pipes and pairs.
 *
 *   mask    each byte by itself, with a key that rolls on; keeps nothing back, so it has neither readable nor give_up
 *   frame   records of at most 1,000 bytes, and one without any as the end; swallows what it is given, and reads ahead */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <support/net_support.h>
#include <support/test.h>
#include <sys/socket.h>
#include <weft.h>

/* ---- what is counted of a layer --------------------------------------------------------------------------------- */

typedef struct tally {
    atomic_int closed, dropped;
    atomic_int order; /* of the closes: the number that the layer got */
} tally;

static atomic_int closes;

/* They are there until the end, as a layer may be dropped a little later than it is closed. */
static tally *tallies(int n)
{
    static tally all[10000];
    static atomic_int used;
    int first = atomic_fetch_add(&used, n);
    cr_assert_leq(first + n, 10000);
    return &all[first];
}

static void tally_close(tally *t)
{
    atomic_fetch_add(&t->closed, 1);
    atomic_store(&t->order, atomic_fetch_add(&closes, 1));
}

/* The portable reactor closes a little later. */
static void await_dropped(tally *t, int wanted)
{
    int64_t deadline = weft_now() + PATIENCE;
    while (atomic_load(&t->dropped) < wanted) {
        cr_assert_lt(weft_now(), deadline, "nobody drops it");
        weft_sleep(WEFT_MS / 4);
    }
    cr_assert_eq(atomic_load(&t->dropped), wanted);
}

/* ---- mask ------------------------------------------------------------------------------------------------------- */

typedef struct mask {
    weft_layer layer;
    pthread_mutex_t lock;
    size_t in, out; /* under lock: bytes so far */
    tally *tally;
} mask;

static unsigned char key(size_t at) { return (unsigned char)(at * 37 + (at >> 8) + 11); }

static ssize_t mask_read(weft_layer *self, void *buf, size_t size)
{
    mask *m = WEFT_CONTAINER_OF(self, mask, layer);
    unsigned char *bytes = buf;
    pthread_mutex_lock(&m->lock);
    ssize_t n = weft_layer_read_below(self, buf, size);
    for (ssize_t i = 0; i < n; i++)
        bytes[i] ^= key(m->in++);
    pthread_mutex_unlock(&m->lock);
    return n;
}

static ssize_t mask_write(weft_layer *self, const void *buf, size_t size)
{
    mask *m = WEFT_CONTAINER_OF(self, mask, layer);
    const unsigned char *bytes = buf;
    unsigned char masked[512];
    size = size < sizeof masked ? size : sizeof masked;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < size; i++)
        masked[i] = bytes[i] ^ key(m->out + i);
    ssize_t n = weft_layer_write_below(self, masked, size);
    m->out += n > 0 ? (size_t)n : 0;
    pthread_mutex_unlock(&m->lock);
    return n;
}

static void mask_close(weft_layer *self) { tally_close(WEFT_CONTAINER_OF(self, mask, layer)->tally); }

static void mask_drop(weft_layer *self)
{
    mask *m = WEFT_CONTAINER_OF(self, mask, layer);
    atomic_fetch_add(&m->tally->dropped, 1);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static const weft_layer_ops mask_ops = {.read = mask_read, .write = mask_write, .close = mask_close, .drop = mask_drop};

static weft_layer *new_mask(tally *t)
{
    mask *m = calloc(1, sizeof *m);
    m->layer.ops = &mask_ops;
    m->tally = t;
    pthread_mutex_init(&m->lock, NULL);
    return &m->layer;
}

/* ---- frame ------------------------------------------------------------------------------------------------------ */

enum { MOST = 1000, AHEAD = 4096 };

typedef struct frame {
    weft_layer layer;
    tally *tally;
    pthread_mutex_t lock; /* for all below */
    unsigned char raw[AHEAD];
    size_t raw_at, raw_end; /* read ahead and not looked at */
    size_t record;          /* left of the record that is being read */
    bool ended;             /* its peer said so */
    unsigned char out[MOST + 2];
    size_t out_at, out_end;      /* still to be written */
    unsigned char offered[MOST]; /* what the write that has begun was given: it must be given again */
    size_t begun;
    bool said_end;
} frame;

static frame *frame_of(weft_layer *self) { return WEFT_CONTAINER_OF(self, frame, layer); }

/* 1, 0 at the end below, or negative. */
static ssize_t fill_locked(frame *f)
{
    if (f->raw_at > 0)
        memmove(f->raw, f->raw + f->raw_at, f->raw_end - f->raw_at);
    f->raw_end -= f->raw_at;
    f->raw_at = 0;
    ssize_t n = weft_layer_read_below(&f->layer, f->raw + f->raw_end, sizeof f->raw - f->raw_end);
    if (n > 0)
        f->raw_end += (size_t)n;
    return n;
}

/* 1: there are bytes of a record; 0: the end; or negative. */
static ssize_t ahead_locked(frame *f)
{
    while (!f->ended) {
        size_t there = f->raw_end - f->raw_at;
        if (f->record > 0 && there > 0)
            return 1;
        if (f->record == 0 && there >= 2) {
            f->record = f->raw[f->raw_at] | (size_t)f->raw[f->raw_at + 1] << 8;
            f->raw_at += 2;
            f->ended = f->record == 0;
            continue;
        }
        ssize_t n = fill_locked(f);
        if (n < 0)
            return n;
        if (n == 0)
            return WEFT_EPROTO; /* cut off */
    }
    return 0;
}

static ssize_t frame_read(weft_layer *self, void *buf, size_t size)
{
    frame *f = frame_of(self);
    pthread_mutex_lock(&f->lock);
    ssize_t n = ahead_locked(f);
    if (n > 0) {
        size_t there = f->raw_end - f->raw_at;
        size = size < there ? size : there;
        size = size < f->record ? size : f->record;
        memcpy(buf, f->raw + f->raw_at, size);
        f->raw_at += size;
        f->record -= size;
        n = (ssize_t)size;
    }
    pthread_mutex_unlock(&f->lock);
    return n;
}

static int frame_readable(weft_layer *self)
{
    frame *f = frame_of(self);
    pthread_mutex_lock(&f->lock);
    ssize_t n = ahead_locked(f);
    pthread_mutex_unlock(&f->lock);
    return n != WEFT_EAGAIN;
}

static ssize_t flush_locked(frame *f)
{
    while (f->out_at < f->out_end) {
        ssize_t n = weft_layer_write_below(&f->layer, f->out + f->out_at, f->out_end - f->out_at);
        if (n < 0)
            return n;
        f->out_at += (size_t)n;
    }
    return 0;
}

static void record_locked(frame *f, const void *buf, size_t size)
{
    f->out[0] = (unsigned char)size;
    f->out[1] = (unsigned char)(size >> 8);
    if (size > 0)
        memcpy(f->out + 2, buf, size);
    f->out_at = 0;
    f->out_end = size + 2;
}

static ssize_t write_locked(frame *f, const void *buf, size_t size)
{
    ssize_t n = flush_locked(f);
    if (n < 0 || size == 0)
        return n;
    if (f->begun == 0) {
        f->begun = size < MOST ? size : MOST;
        memcpy(f->offered, buf, f->begun);
        record_locked(f, buf, f->begun);
        n = flush_locked(f);
    }
    if (n < 0)
        return n;
    n = (ssize_t)f->begun;
    f->begun = 0;
    return n;
}

static ssize_t frame_write(weft_layer *self, const void *buf, size_t size)
{
    frame *f = frame_of(self);
    pthread_mutex_lock(&f->lock);
    if (f->begun > 0 && size > 0) {
        cr_assert_geq(size, f->begun);
        cr_assert_arr_eq(buf, f->offered, f->begun, "the same bytes, unless they were given up");
    }
    ssize_t n = write_locked(f, buf, size);
    pthread_mutex_unlock(&f->lock);
    return n;
}

static size_t frame_give_up(weft_layer *self)
{
    frame *f = frame_of(self);
    pthread_mutex_lock(&f->lock);
    size_t begun = f->begun;
    f->begun = 0;
    pthread_mutex_unlock(&f->lock);
    return begun;
}

static int end_locked(frame *f)
{
    ssize_t n = flush_locked(f);
    if (n == 0 && !f->said_end) {
        f->said_end = true;
        record_locked(f, NULL, 0);
        n = flush_locked(f);
    }
    return (int)n;
}

static int frame_close_write(weft_layer *self)
{
    frame *f = frame_of(self);
    pthread_mutex_lock(&f->lock);
    int n = end_locked(f);
    pthread_mutex_unlock(&f->lock);
    return n;
}

static void frame_close(weft_layer *self)
{
    tally_close(frame_of(self)->tally);
    frame_close_write(self);
}

static void frame_drop(weft_layer *self)
{
    frame *f = frame_of(self);
    atomic_fetch_add(&f->tally->dropped, 1);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static const weft_layer_ops frame_ops = {.read = frame_read,
                                         .write = frame_write,
                                         .give_up = frame_give_up,
                                         .readable = frame_readable,
                                         .close_write = frame_close_write,
                                         .close = frame_close,
                                         .drop = frame_drop};

static weft_layer *new_frame(tally *t)
{
    frame *f = calloc(1, sizeof *f);
    f->layer.ops = &frame_ops;
    f->tally = t;
    pthread_mutex_init(&f->lock, NULL);
    return &f->layer;
}

/* ---- stacks of them --------------------------------------------------------------------------------------------- */

enum { TCP, UNIX, MEMORY, TRANSPORTS };

static void open_ends(int transport, weft_stream **a, weft_stream **b)
{
    int fds[2];
    if (transport == TCP) {
        pair(a, b);
        shrink(*a);
        shrink(*b);
    } else if (transport == UNIX) {
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        cr_assert_eq(weft_stream_from_fd(a, fds[0]), 0);
        cr_assert_eq(weft_stream_from_fd(b, fds[1]), 0);
    } else {
        cr_assert_eq(weft_stream_pair(a, b), 0);
    }
}

/* From the bottom up: 'm' a mask, 'f' a frame. */
static void stack(weft_stream *s, const char *layers, tally *t)
{
    for (; *layers; layers++, t++) {
        weft_layer *l = *layers == 'm' ? new_mask(t) : new_frame(t);
        cr_assert_eq(weft_stream_push_layer(s, l), 0);
        cr_assert_eq(weft_stream_layer(s), l);
    }
}

static const char *const stacks[] = {"m", "f", "mf", "fm", "ff"};
enum { STACKS = sizeof stacks / sizeof *stacks };

/* ---- traffic ---------------------------------------------------------------------------------------------------- */

static unsigned char byte(size_t at, unsigned way) { return (unsigned char)(at * 7 + (at >> 9) + way * 101); }

typedef struct flow {
    weft_stream *stream;
    unsigned way;
    size_t size;
} flow;

static uint32_t chance(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static ssize_t send_piece(weft_stream *s, unsigned char *bytes, size_t n, uint32_t *random)
{
    struct iovec iov[4];
    size_t at = 0;
    switch (chance(random) % 3) {
    case 0:
        return weft_write(s, bytes, n);
    case 1:
        return weft_write_some(s, bytes, n);
    default:
        for (int i = 0; i < 3; i++) {
            size_t part = (n - at) / 3;
            iov[i] = (struct iovec){bytes + at, part};
            at += part;
        }
        iov[3] = (struct iovec){bytes + at, n - at};
        return weft_writev(s, iov, 4);
    }
}

static void *send_all(void *arg)
{
    flow *f = arg;
    unsigned char bytes[5000];
    uint32_t random = f->way + 1;
    for (size_t at = 0; at < f->size;) {
        size_t n = 1 + chance(&random) % sizeof bytes;
        n = n < f->size - at ? n : f->size - at;
        for (size_t i = 0; i < n; i++)
            bytes[i] = byte(at + i, f->way);
        ssize_t sent = send_piece(f->stream, bytes, n, &random);
        cr_assert_gt(sent, 0);
        at += (size_t)sent;
    }
    return NULL;
}

static ssize_t receive_piece(weft_stream *s, unsigned char *bytes, size_t n, uint32_t *random)
{
    weft_case readable = WEFT_READABLE(s);
    struct iovec iov[2] = {{bytes, n / 2}, {bytes + n / 2, n - n / 2}};
    switch (chance(random) % 3) {
    case 0:
        cr_assert_eq(weft_select(&readable, 1), 0);
        cr_assert_eq(readable.status, 0);
        return weft_read(s, bytes, n);
    case 1:
        return weft_read(s, bytes, n);
    default:
        return weft_readv(s, iov, 2);
    }
}

static void *receive_all(void *arg)
{
    flow *f = arg;
    unsigned char bytes[3000];
    uint32_t random = f->way + 99;
    for (size_t at = 0; at < f->size;) {
        size_t most = 1 + chance(&random) % sizeof bytes;
        ssize_t n = receive_piece(f->stream, bytes, most < f->size - at ? most : f->size - at, &random);
        cr_assert_gt(n, 0, "it is %zd after %zu", n, at);
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(bytes[i], byte(at + (size_t)i, f->way), "at %zu", at + (size_t)i);
        at += (size_t)n;
    }
    return NULL;
}

static void both_ways(int transport, const char *layers)
{
    weft_stream *ends[2];
    tally *t = tallies(4);
    size_t size = wf_test_scale(300000);
    open_ends(transport, &ends[0], &ends[1]);
    stack(ends[0], layers, t);
    stack(ends[1], layers, t + 2);
    flow flows[4];
    weft_task *tasks[4];
    for (unsigned i = 0; i < 4; i++) {
        flows[i] = (flow){.stream = ends[i / 2], .way = i / 2 ^ (i & 1), .size = size};
        tasks[i] = start(i & 1 ? receive_all : send_all, &flows[i]);
    }
    for (int i = 0; i < 4; i++)
        join(tasks[i]);
    weft_close(ends[0]);
    weft_close(ends[1]);
    for (size_t i = 0; i < strlen(layers); i++) {
        await_dropped(&t[i], 1);
        await_dropped(&t[2 + i], 1);
    }
}

static void *traffic_root(void *arg)
{
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++)
        for (int i = 0; i < STACKS; i++)
            both_ways(transport, stacks[i]);
    return NULL;
}

WF_TEST_WORKERS(layer, bytes_go_both_ways_through_layers_over_sockets_and_pairs) { run(workers, traffic_root, NULL); }

static void *pipe_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < STACKS; i++) {
        weft_stream *reader, *writer;
        tally *t = tallies(4);
        cr_assert_eq(weft_pipe(&reader, &writer), 0);
        stack(reader, stacks[i], t);
        stack(writer, stacks[i], t + 2);
        flow in = {.stream = reader, .size = wf_test_scale(300000)}, out = {.stream = writer, .size = in.size};
        weft_task *task = start(send_all, &out);
        receive_all(&in);
        join(task);
        weft_close(reader);
        weft_close(writer);
    }
    return NULL;
}

WF_TEST_WORKERS(layer, bytes_go_through_layers_over_a_pipe) { run(workers, pipe_root, NULL); }

/* ---- half-close ------------------------------------------------------------------------------------------------- */

static void *half_close_root(void *arg)
{
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++) {
        weft_stream *a, *b;
        tally *t = tallies(4);
        char buf[8];
        open_ends(transport, &a, &b);
        stack(a, "mf", t);
        stack(b, "mf", t + 2);
        cr_assert_eq(weft_write(a, "abc", 3), 3);
        cr_assert_eq(weft_close_write(a), 0);
        cr_assert_eq(weft_close_write(a), 0);
        cr_assert_eq(weft_read_exact(b, buf, 3), 3);
        cr_assert_eq(weft_read(b, buf, sizeof buf), 0);
        cr_assert_eq(weft_read(b, buf, sizeof buf), 0);
        cr_assert_eq(weft_write(b, "bye", 3), 3);
        cr_assert_eq(weft_read_exact(a, buf, 3), 3);
        weft_close(a);
        weft_close(b);
        open_ends(transport, &a, &b);
        stack(a, "m", t);
        cr_assert_eq(weft_close_write(a), WEFT_ENOTSUP);
        weft_close(a);
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(layer, close_write_goes_through_the_layer_on_top) { run(workers, half_close_root, NULL); }

/* A mask that leaves the end to what is below it. */
static const weft_layer_ops handing_down_ops = {
    .read = mask_read, .write = mask_write, .close_write = weft_layer_close_write_below, .close = mask_close, .drop = mask_drop};

static void hand_down(weft_stream *s, tally *t)
{
    weft_layer *l = new_mask(t);
    l->ops = &handing_down_ops;
    cr_assert_eq(weft_stream_push_layer(s, l), 0);
}

static void *handed_down_root(void *arg)
{
    static const char *const below[] = {"", "f", "m"};
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++)
        for (int i = 0; i < 3; i++) {
            weft_stream *a, *b;
            tally *t = tallies(4);
            char buf[8];
            open_ends(transport, &a, &b);
            stack(a, below[i], t);
            stack(b, below[i], t + 1);
            hand_down(a, t + 2);
            hand_down(b, t + 3);
            cr_assert_eq(weft_write(a, "abc", 3), 3);
            cr_assert_eq(weft_close_write(a), i == 2 ? WEFT_ENOTSUP : 0); /* that mask cannot */
            cr_assert_eq(weft_read_exact(b, buf, 3), 3);
            if (i < 2)
                cr_assert_eq(weft_read(b, buf, sizeof buf), 0);
            cr_assert_eq(weft_write(b, "bye", 3), 3);
            cr_assert_eq(weft_read_exact(a, buf, 3), 3);
            weft_close(a);
            weft_close(b);
        }
    weft_stream *reader, *writer;
    cr_assert_eq(weft_pipe(&reader, &writer), 0);
    hand_down(writer, tallies(1));
    cr_assert_eq(weft_close_write(writer), WEFT_ENOTSUP);
    weft_close(reader);
    weft_close(writer);
    return NULL;
}

WF_TEST_WORKERS(layer, close_write_is_handed_down) { run(workers, handed_down_root, NULL); }

static void *close_writing(void *arg)
{
    waiter *w = arg;
    w->result = weft_close_write(w->stream);
    return NULL;
}

/* Until not even a byte goes in, and what TCP has under way has arrived. */
static void fill(weft_stream *s)
{
    static const char bytes[4096];
    cr_assert_eq(weft_stream_set_timeouts(s, 0, 20 * WEFT_MS), 0);
    for (size_t size = sizeof bytes; size > 0; size /= 64)
        while (weft_write_some(s, bytes, size) > 0)
            ;
    cr_assert_eq(weft_stream_set_timeouts(s, 0, 0), 0);
}

/* There is no room for the goodbye until the peer reads. */
static void *waiting_close_write_root(void *arg)
{
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++) {
        weft_stream *a, *b;
        tally *t = tallies(2);
        char bytes[4096];
        open_ends(transport, &a, &b);
        fill(a);
        stack(a, "f", t);
        waiter w = {.stream = a, .result = 1};
        weft_task *task = start(close_writing, &w);
        await_idle(task);
        cr_assert_eq(weft_write(a, "x", 1), WEFT_EBUSY);
        cr_assert_eq(weft_stream_set_timeouts(b, 5 * WEFT_MS, 0), 0); /* it may end between the look and the read */
        while (!weft_is_finished(task)) {
            ssize_t n = weft_read(b, bytes, sizeof bytes);
            cr_assert(n > 0 || n == WEFT_ETIMEDOUT);
        }
        join(task);
        cr_assert_eq(w.result, 0);
        weft_close(a);
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(layer, close_write_waits_for_room_for_its_goodbye) { run(workers, waiting_close_write_root, NULL); }

/* ---- pushing ---------------------------------------------------------------------------------------------------- */

static void *push_root(void *arg)
{
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++) {
        weft_stream *a, *b;
        tally *t = tallies(1);
        open_ends(transport, &a, &b);
        waiter r = {.stream = a}, w = {.stream = a};
        weft_layer *l = new_mask(t);
        weft_task *reader = start(wait_read, &r);
        await_idle(reader);
        cr_assert_eq(weft_stream_push_layer(a, l), WEFT_EBUSY);
        cr_assert_eq(weft_write(b, "x", 1), 1);
        join(reader);
        weft_task *writer = start(wait_write, &w);
        await_idle(writer);
        cr_assert_eq(weft_stream_push_layer(a, l), WEFT_EBUSY);
        weft_abort(writer);
        cr_assert_eq(weft_join(writer, NULL), WEFT_EABORTED);
        cr_assert_eq(weft_stream_push_layer(a, NULL), WEFT_EINVAL);
        cr_assert_eq(weft_stream_push_layer(NULL, l), WEFT_EINVAL);
        cr_assert_eq(weft_stream_push_layer(a, l), 0);
        l = new_mask(t);
        weft_stream_abort(a);
        cr_assert_eq(weft_stream_push_layer(a, l), WEFT_ECLOSED);
        cr_assert_eq(atomic_load(&t->dropped), 0);
        mask_drop(l); /* it was still ours */
        weft_close(a);
        weft_close(b);
        await_dropped(t, 2);
        cr_assert_eq(atomic_load(&t->closed), 1);
    }
    return NULL;
}

WF_TEST_WORKERS(layer, pushing_while_somebody_reads_or_writes_is_busy_and_leaves_the_layer_with_its_owner)
{
    run(workers, push_root, NULL);
}

typedef struct push_race {
    weft_stream *stream;
    tally tally;
    atomic_int pushed;
    pthread_barrier_t *barrier;
} push_race;

static void *pusher(void *arg)
{
    push_race *r = arg;
    weft_layer *l = new_mask(&r->tally);
    pthread_barrier_wait(r->barrier);
    if (weft_stream_push_layer(r->stream, l) == 0)
        atomic_fetch_add(&r->pushed, 1);
    else
        mask_drop(l);
    weft_close(r->stream);
    return NULL;
}

static void *closer(void *arg)
{
    push_race *r = arg;
    pthread_barrier_wait(r->barrier);
    weft_close(r->stream);
    return NULL;
}

/* Whoever comes first, the layer is dropped once. */
Test(layer, pushed_while_another_thread_closes_it_is_dropped_once)
{
    weft_runtime *rt = runtime(1);
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    for (size_t i = 0; i < wf_test_scale(3000); i++) {
        weft_stream *b;
        push_race r = {.barrier = &barrier};
        pthread_t threads[2];
        cr_assert_eq(weft_stream_pair(&r.stream, &b), 0);
        cr_assert_not_null(weft_stream_ref(r.stream));
        pthread_create(&threads[0], NULL, pusher, &r);
        pthread_create(&threads[1], NULL, closer, &r);
        for (int k = 0; k < 2; k++)
            pthread_join(threads[k], NULL);
        cr_assert_eq(atomic_load(&r.tally.dropped), 1);
        cr_assert_leq(atomic_load(&r.tally.closed), atomic_load(&r.pushed));
        weft_close(b);
    }
    cr_assert_eq(weft_runtime_leave(), 0);
    pthread_barrier_destroy(&barrier);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- ends ------------------------------------------------------------------------------------------------------- */

static void *wait_readable(void *arg)
{
    waiter *w = arg;
    weft_case c = WEFT_READABLE(w->stream);
    cr_assert_eq(weft_select(&c, 1), 0);
    w->result = c.status;
    return NULL;
}

/* With somebody in it or not, closed at once, aborted, or with another reference: dropped once, after the last has left. */
static void end_once(int transport, weft_fn wait, int way)
{
    weft_stream *a, *b;
    tally *t = tallies(2);
    weft_task *task = NULL;
    open_ends(transport, &a, &b);
    stack(a, "mf", t);
    waiter w = {.stream = a, .result = 1};
    if (wait) {
        task = start(wait, &w);
        await_idle(task);
    }
    atomic_store(&closes, 0);
    if (way == 1)
        weft_stream_abort(a);
    if (way == 2) {
        cr_assert_eq(weft_stream_ref(a), a);
        weft_close(a);
    }
    if (way > 0) {
        if (wait)
            join(task);
        cr_assert_eq(atomic_load(&t[0].dropped) + atomic_load(&t[1].dropped), 0, "there is a handle");
        cr_assert_eq(weft_read(a, w.got, 1), WEFT_ECLOSED);
        cr_assert_eq(weft_write(a, "x", 1), WEFT_ECLOSED);
        cr_assert_eq(weft_close_write(a), WEFT_ECLOSED);
    }
    weft_close(a);
    if (wait && way == 0)
        join(task);
    if (wait)
        cr_assert_eq(w.result, WEFT_ECLOSED);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(atomic_load(&t[i].closed), 1);
        await_dropped(&t[i], 1);
        cr_assert_eq(atomic_load(&t[i].order), 1 - i, "the one on top says goodbye first");
    }
    weft_close(b);
}

static void *ends_root(void *arg)
{
    static const weft_fn waits[] = {NULL, wait_read, wait_write, wait_readable};
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++)
        for (int way = 0; way < 3; way++)
            for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
                end_once(transport, waits[i], way);
    return NULL;
}

WF_TEST_WORKERS(layer, it_is_closed_and_dropped_once_whatever_the_end) { run(workers, ends_root, NULL); }

static tally left[TRANSPORTS][2];

static void *leave_open(void *arg)
{
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++) {
        weft_stream *a, *b;
        open_ends(transport, &a, &b);
        stack(a, "mf", left[transport]);
        if (transport != MEMORY)
            weft_close(b);
    }
    return NULL;
}

Test(layer, left_open_it_is_dropped_with_the_runtime)
{
    run(2, leave_open, NULL);
    for (int i = 0; i < TRANSPORTS * 2; i++)
        cr_assert_eq(atomic_load(&left[i / 2][i % 2].dropped), 1);
}

/* ---- attempts --------------------------------------------------------------------------------------------------- */

typedef struct hello {
    char got[6];
    size_t held;
    int tries;
} hello;

static ssize_t attempt_hello(weft_stream *s, void *arg)
{
    hello *h = arg;
    h->tries++;
    while (h->held < sizeof h->got) {
        ssize_t n = weft_layer_read_below(weft_stream_layer(s), h->got + h->held, sizeof h->got - h->held);
        if (n <= 0)
            return n;
        h->held += (size_t)n;
    }
    return 42;
}

typedef struct shake {
    weft_stream *stream;
    hello hello;
    ssize_t result;
} shake;

static void *shake_hands(void *arg)
{
    shake *k = arg;
    k->result = weft_stream_attempt(k->stream, WEFT_READING, attempt_hello, &k->hello);
    return NULL;
}

static ssize_t never(weft_stream *s, void *arg)
{
    (void)s, (void)arg;
    return WEFT_EAGAIN;
}

static ssize_t at_once(weft_stream *s, void *arg)
{
    (void)s, (void)arg;
    return 7;
}

static void *attempt_root(void *arg)
{
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++) {
        weft_stream *a, *b;
        tally *t = tallies(1);
        open_ends(transport, &a, &b);
        stack(a, "m", t);
        shake k = {.stream = a};
        weft_task *task = start(shake_hands, &k);
        await_idle(task);
        cr_assert_eq(weft_read(a, k.hello.got, 1), WEFT_EBUSY);
        cr_assert_eq(weft_stream_attempt(a, WEFT_READING, at_once, NULL), WEFT_EBUSY);
        cr_assert_eq(weft_stream_attempt(a, WEFT_WRITING, at_once, NULL), 7);
        cr_assert_eq(weft_write(b, "hel", 3), 3);
        await_idle(task);
        cr_assert_eq(weft_write(b, "lo.", 3), 3);
        join(task);
        cr_assert_eq(k.result, 42);
        cr_assert_leq(k.hello.tries, 8, "it is tried when there is a reason");

        k = (shake){.stream = a};
        task = start(shake_hands, &k);
        await_idle(task);
        weft_abort(task);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        cr_assert_eq(k.result, WEFT_ECANCELED);
        cr_assert_eq(weft_stream_set_timeouts(a, WEFT_MS, 0), 0);
        cr_assert_eq(weft_stream_attempt(a, WEFT_READING, never, NULL), WEFT_ETIMEDOUT);
        cr_assert_eq(weft_stream_set_timeouts(a, 0, 0), 0);
        cr_assert_eq(weft_stream_attempt(a, 2, at_once, NULL), WEFT_EINVAL);
        cr_assert_eq(weft_stream_attempt(a, WEFT_READING, NULL, NULL), WEFT_EINVAL);
        task = start(shake_hands, &k);
        await_idle(task);
        weft_stream_abort(a);
        join(task);
        cr_assert_eq(k.result, WEFT_ECLOSED);
        weft_close(a);
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(layer, an_attempt_is_tried_again_whenever_there_may_be_more) { run(workers, attempt_root, NULL); }

/* ---- ready ------------------------------------------------------------------------------------------------------ */

static int chosen(weft_case c)
{
    weft_case cases[2] = {c, WEFT_DEFAULT};
    int which = weft_select_biased(cases, 2);
    if (which == 0)
        cr_assert_eq(cases[0].status, 0);
    return which;
}

/* Two records came together: after the first was taken the second lies in the layer, and the descriptor is empty. */
static void *inside_root(void *arg)
{
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++) {
        weft_stream *a, *b;
        tally *t = tallies(4);
        char buf[8];
        open_ends(transport, &a, &b);
        stack(a, "fm", t);
        stack(b, "fm", t + 2);
        cr_assert_eq(chosen((weft_case)WEFT_READABLE(b)), 1);
        cr_assert_eq(weft_write(a, "abc", 3), 3);
        cr_assert_eq(weft_write(a, "def", 3), 3);
        weft_case c = WEFT_READABLE(b);
        cr_assert_eq(weft_select(&c, 1), 0);
        for (int i = 0; i < 6; i++) {
            cr_assert_eq(chosen((weft_case)WEFT_READABLE(b)), 0, "at %d", i);
            cr_assert_eq(weft_read(b, buf, 1), 1);
            cr_assert_eq(buf[0], "abcdef"[i]);
        }
        cr_assert_eq(chosen((weft_case)WEFT_READABLE(b)), 1);
        weft_close(a);
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(layer, what_lies_in_a_layer_is_readable) { run(workers, inside_root, NULL); }

/* A layer without readable lies on one that has: a pair, which has no descriptor to ask. It was never readable. */
static void *through_root(void *arg)
{
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++) {
        weft_stream *a, *b;
        tally *t = tallies(2);
        char buf[8];
        open_ends(transport, &a, &b);
        stack(a, "m", t);
        stack(b, "m", t + 1);
        waiter w = {.stream = b, .result = 1};
        weft_task *task = start(wait_readable, &w);
        await_idle(task);
        cr_assert_eq(weft_write(a, "abc", 3), 3);
        join(task);
        cr_assert_eq(w.result, 0);
        cr_assert_eq(weft_read(b, buf, sizeof buf), 3);
        cr_assert_arr_eq(buf, "abc", 3);
        weft_close(a);
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(layer, one_that_cannot_say_is_as_readable_as_what_is_below) { run(workers, through_root, NULL); }

/* ---- writes that are given up ----------------------------------------------------------------------------------- */

typedef struct given_up {
    flow flow;
    int interruptions;
} given_up;

/* Counts only what it is told was written, and offers another piece each time: not a byte is lost or doubled. */
static void *send_impatiently(void *arg)
{
    given_up *g = arg;
    flow *f = &g->flow;
    unsigned char bytes[3000];
    uint32_t random = 5;
    for (size_t at = 0; at < f->size;) {
        size_t n = 1 + chance(&random) % sizeof bytes;
        n = n < f->size - at ? n : f->size - at;
        for (size_t i = 0; i < n; i++)
            bytes[i] = byte(at + i, f->way);
        weft_scope scope;
        cr_assert_eq(weft_scope_enter(&scope, chance(&random) % 3 * WEFT_MS / 2), 0);
        ssize_t sent = weft_write_some(f->stream, bytes, n);
        weft_scope_leave(&scope);
        if (sent == WEFT_ETIMEDOUT)
            g->interruptions++;
        else
            cr_assert_gt(sent, 0);
        at += sent > 0 ? (size_t)sent : 0;
    }
    while (weft_close_write(f->stream) == WEFT_ETIMEDOUT)
        ;
    return NULL;
}

static void *given_up_root(void *arg)
{
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++) {
        weft_stream *a, *b;
        tally *t = tallies(4);
        unsigned char bytes[64];
        ssize_t n;
        size_t at = 0;
        open_ends(transport, &a, &b);
        stack(a, transport == UNIX ? "mf" : "ff", t);
        stack(b, transport == UNIX ? "mf" : "ff", t + 2);
        given_up g = {.flow = {.stream = a, .way = 3, .size = 100000 + wf_test_scale(300000)}};
        weft_task *task = start(send_impatiently, &g);
        while ((n = weft_read(b, bytes, sizeof bytes)) > 0) {
            for (ssize_t i = 0; i < n; i++)
                cr_assert_eq(bytes[i], byte(at++, 3));
            if (at % 20000 < sizeof bytes)
                weft_sleep(3 * WEFT_MS); /* so that the writer runs out of room and of patience */
        }
        cr_assert_eq(n, 0);
        cr_assert_eq(at, g.flow.size);
        join(task);
        cr_assert_gt(g.interruptions, 0);
        weft_close(a);
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(layer, a_write_that_is_given_up_tells_what_is_under_way) { run(workers, given_up_root, NULL); }

/* A stackless one that may come back with other bytes, or never: each pending poll has given up. */
typedef struct poll_sender {
    weft_future future;
    flow *flow;
    size_t at;
    uint32_t random;
    int pending;
} poll_sender;

static weft_poll poll_send(weft_future *self, weft_context *cx, void **result)
{
    poll_sender *p = WEFT_CONTAINER_OF(self, poll_sender, future);
    unsigned char bytes[3000];
    (void)result;
    while (p->at < p->flow->size) {
        size_t n = 1 + chance(&p->random) % sizeof bytes;
        n = n < p->flow->size - p->at ? n : p->flow->size - p->at;
        for (size_t i = 0; i < n; i++)
            bytes[i] = byte(p->at + i, p->flow->way);
        ssize_t sent = weft_poll_write_some(cx, p->flow->stream, bytes, n);
        if (sent == WEFT_PENDING) {
            p->pending++;
            return WEFT_PENDING;
        }
        cr_assert_gt(sent, 0);
        p->at += (size_t)sent;
    }
    return WEFT_READY;
}

static const weft_future_ops poll_sender_ops = {.poll = poll_send};

static void *poll_twin_root(void *arg)
{
    (void)arg;
    for (int transport = 0; transport < TRANSPORTS; transport++) {
        weft_stream *a, *b;
        tally *t = tallies(4);
        open_ends(transport, &a, &b);
        stack(a, "mf", t);
        stack(b, "mf", t + 2);
        flow out = {.stream = a, .way = 3, .size = 200000 + wf_test_scale(300000)},
             in = {.stream = b, .way = 3, .size = out.size};
        poll_sender p = {.future.ops = &poll_sender_ops, .flow = &out};
        weft_task *task;
        cr_assert_eq(weft_spawn_future(&task, &p.future), 0);
        await_idle(task);
        weft_task *reader = start(receive_all, &in);
        join(task);
        cr_assert_eq(weft_close_write(a), 0); /* with what was under way */
        join(reader);
        cr_assert_gt(p.pending, 0);
        weft_close(a);
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(layer, a_poll_that_is_pending_has_given_up_its_write) { run(workers, poll_twin_root, NULL); }

/* ---- long writes with a timeout ----------------------------------------------------------------------------------- */

static void *send_patiently(void *arg)
{
    flow *f = arg;
    unsigned char *bytes = malloc(f->size);
    for (size_t i = 0; i < f->size; i++)
        bytes[i] = byte(i, f->way);
    cr_assert_eq(weft_write(f->stream, bytes, f->size), (ssize_t)f->size);
    free(bytes);
    return NULL;
}

/* The reader is slow, but something moves in each minute: what the layer had begun when the patience was looked at was doubled. */
static void *slow_root(void *arg)
{
    weft_stream *a, *b;
    tally *t = tallies(2);
    unsigned char bytes[700];
    (void)arg;
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    stack(a, "f", t);
    stack(b, "f", t + 1);
    cr_assert_eq(weft_stream_set_timeouts(a, 0, 60 * WEFT_SEC), 0);
    flow out = {.stream = a, .way = 1, .size = 200000};
    weft_task *task = start(send_patiently, &out);
    for (size_t at = 0; at < out.size;) {
        weft_sleep(at % 7 * WEFT_SEC);
        ssize_t n = weft_read(b, bytes, sizeof bytes);
        cr_assert_gt(n, 0);
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(bytes[i], byte(at++, 1));
    }
    join(task);
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(layer, a_long_write_is_patient_and_doubles_nothing)
{
    weft_options o = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&o, slow_root, NULL, NULL), 0);
}
