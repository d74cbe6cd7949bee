/* copy_layer_test.c - moving through a layer that is as difficult as its contract allows: it takes little at a time, says WEFT_EAGAIN although it has taken some
 * already, insists on the same bytes, and cannot say goodbye at once. */
#include <stdatomic.h>
#include <support/net_support.h>
#include <support/test.h>
#include <weft.h>

enum { MOST = 1000, PIECE = 4096 };

typedef struct difficult {
    weft_layer layer;
    char taken[MOST]; /* on their way down */
    size_t size, sent;
    const void *bytes; /* of the write that said WEFT_EAGAIN; NULL: none */
    int goodbyes;      /* how often the end was tried */
    atomic_int given_up;
    atomic_int *drops;
} difficult;

static difficult *difficult_of(weft_layer *self) { return WEFT_CONTAINER_OF(self, difficult, layer); }

static ssize_t read_through(weft_layer *self, void *buf, size_t size)
{
    return weft_layer_read_below(self, buf, size < MOST ? size : MOST);
}

static ssize_t send_taken(difficult *d)
{
    while (d->sent < d->size) {
        ssize_t n = weft_layer_write_below(&d->layer, d->taken + d->sent, d->size - d->sent);
        if (n < 0)
            return n;
        d->sent += (size_t)n;
    }
    return 0;
}

static ssize_t write_through(weft_layer *self, const void *buf, size_t size)
{
    difficult *d = difficult_of(self);
    cr_assert(!d->bytes || memcmp(buf, d->taken, d->size) == 0, "these are other bytes");
    if (!d->bytes) {
        ssize_t err = send_taken(d); /* what was given up goes first */
        if (err < 0)
            return err;
        d->size = size < MOST ? size : MOST;
        d->sent = 0;
        memcpy(d->taken, buf, d->size);
    }
    d->bytes = buf;
    ssize_t n = send_taken(d);
    if (n == 0)
        d->bytes = NULL;
    return n < 0 ? n : (ssize_t)d->size;
}

static size_t give_up(weft_layer *self)
{
    difficult *d = difficult_of(self);
    cr_assert(d->bytes, "no write has said WEFT_EAGAIN");
    atomic_fetch_add(&d->given_up, 1);
    d->bytes = NULL;
    return d->size;
}

static int close_write(weft_layer *self)
{
    difficult *d = difficult_of(self);
    d->goodbyes++;
    ssize_t err = send_taken(d);
    if (err < 0)
        return (int)err;
    return weft_layer_write_below(self, "!", 1) == 1 ? 0 : WEFT_EAGAIN;
}

static void drop(weft_layer *self)
{
    difficult *d = difficult_of(self);
    atomic_fetch_add(d->drops, 1);
    free(d);
}

static const weft_layer_ops ops = {
    .read = read_through, .write = write_through, .give_up = give_up, .close_write = close_write, .drop = drop};

static void make_difficult(weft_stream *s, atomic_int *drops)
{
    difficult *d = calloc(1, sizeof *d);
    d->layer.ops = &ops;
    d->drops = drops;
    cr_assert_eq(weft_stream_push_layer(s, &d->layer), 0);
}

static char pattern(size_t at) { return (char)(at * 7 + (at >> 8) * 13); }

typedef struct sender {
    weft_stream *stream;
    size_t size;
    ssize_t result;
} sender;

static void *send_pattern(void *arg)
{
    sender *s = arg;
    char *bytes = malloc(s->size);
    for (size_t i = 0; i < s->size; i++)
        bytes[i] = pattern(i);
    s->result = weft_write(s->stream, bytes, s->size);
    free(bytes);
    return NULL;
}

static void expect(weft_stream *s, size_t at, size_t end)
{
    char piece[PIECE];
    while (at < end) {
        ssize_t n = weft_read(s, piece, end - at < sizeof piece ? end - at : sizeof piece);
        cr_assert_gt(n, 0, "at %zu of %zu", at, end);
        for (ssize_t i = 0; i < n; i++, at++)
            cr_assert_eq(piece[i], pattern(at), "at %zu", at);
    }
}

typedef struct course {
    weft_stream *far[2], *near[2];
    int64_t moved[2];
    int result;
    atomic_int drops;
} course;

static void open_course(course *c)
{
    *c = (course){.result = 1};
    for (int i = 0; i < 2; i++)
        cr_assert_eq(weft_stream_pair(&c->far[i], &c->near[i]), 0);
    make_difficult(c->near[1], &c->drops);
}

static void close_course(course *c)
{
    for (int i = 0; i < 2; i++) {
        weft_close(c->far[i]);
        weft_close(c->near[i]);
    }
    cr_assert_eq(atomic_load(&c->drops), 1);
}

static void *copy_both(void *arg)
{
    course *c = arg;
    c->result = weft_copy_bidirectional(c->near[0], c->near[1], &c->moved[0], &c->moved[1]);
    return NULL;
}

/* The goodbye finds no room, waits, and comes behind everything. */
static void *goodbye_root(void *arg)
{
    course c;
    char last[2];
    enum { ALL = 65536 };
    (void)arg;
    open_course(&c);
    weft_task *copier = start(copy_both, &c);
    sender s = {.stream = c.far[0], .size = ALL};
    send_pattern(&s); /* as much as fits on the other side */
    cr_assert_eq(s.result, ALL);
    cr_assert_eq(weft_close_write(c.far[0]), 0);
    await_idle(copier);
    expect(c.far[1], 0, ALL);
    cr_assert_eq(weft_read_exact(c.far[1], last, 1), 1);
    cr_assert_eq(last[0], '!');
    cr_assert_eq(weft_close_write(c.far[1]), 0);
    join(copier);
    cr_assert_eq(c.result, 0);
    cr_assert_eq(c.moved[0], ALL);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy_layer, a_goodbye_that_finds_no_room_is_said_behind_everything)
{
    run(workers, goodbye_root, NULL);
}

/* Given up in the midst of a write, the copy counts what the layer has taken. */
static void *given_up_root(void *arg)
{
    course c;
    (void)arg;
    open_course(&c);
    weft_task *copier = start(copy_both, &c);
    sender s = {.stream = c.far[0], .size = 400000}; /* more than both pairs and the copy hold */
    weft_task *task = start(send_pattern, &s);
    await_idle(task);
    await_idle(copier);
    weft_abort(copier);
    int err = weft_join(copier, NULL);
    cr_assert(err == 0 || err == WEFT_EABORTED);
    cr_assert_eq(c.result, WEFT_ECANCELED);
    size_t moved = (size_t)c.moved[0];
    weft_task *pusher = NULL;
    sender more = {.stream = c.near[1], .size = 1};
    if (moved > 65536) /* the layer holds the rest, and sends it before anything else */
        pusher = start(send_pattern, &more);
    expect(c.far[1], 0, moved);
    if (pusher)
        join(pusher);
    weft_stream_abort(c.far[0]);
    join(task);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy_layer, given_up_in_a_write_it_counts_what_the_layer_has_taken)
{
    run(workers, given_up_root, NULL);
}

/* Where there has been no room before it came, the copy has offered the layer nothing, and has nothing to give up. */
static void *nothing_offered_root(void *arg)
{
    course c;
    (void)arg;
    open_course(&c);
    sender s = {.stream = c.near[1], .size = 200000};
    weft_task *copier, *task = start(send_pattern, &s);
    await_idle(task);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    copier = start(copy_both, &c);
    cr_assert_eq(weft_write(c.far[0], "x", 1), 1);
    await_idle(copier);
    weft_abort(copier);
    int err = weft_join(copier, NULL);
    cr_assert(err == 0 || err == WEFT_EABORTED);
    cr_assert_eq(c.result, WEFT_ECANCELED);
    cr_assert_eq(c.moved[0], 0);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy_layer, what_was_never_offered_is_not_given_up) { run(workers, nothing_offered_root, NULL); }

/* weft_write() that is patient as long as something moves sent such bytes once more after each timeout. */
static void *patient_write_root(void *arg)
{
    weft_stream *near, *far;
    atomic_int drops = 0;
    size_t at = 0;
    (void)arg;
    cr_assert_eq(weft_stream_pair(&near, &far), 0);
    make_difficult(near, &drops);
    cr_assert_eq(weft_stream_set_timeouts(near, 0, 100 * WEFT_MS), 0);
    sender s = {.stream = near, .size = 200000};
    weft_task *task = start(send_pattern, &s);
    for (; at < s.size; at += 2500) {
        cr_assert_eq(weft_sleep(70 * WEFT_MS), 0);
        expect(far, at, at + 2500);
    }
    join(task);
    cr_assert_eq(s.result, (ssize_t)s.size);
    weft_close(near);
    weft_close(far);
    cr_assert_eq(drops, 1);
    return NULL;
}

static void run_paused(unsigned workers, weft_fn fn)
{
    weft_options o = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&o, fn, NULL, NULL), 0);
}

WF_TEST_WORKERS(copy_layer, a_slow_long_write_sends_nothing_twice) { run_paused(workers, patient_write_root); }

/* While one way moves, the other waits in a write for longer than its timeout. It goes on, and nothing was given up meanwhile. */
static void *patient_copy_root(void *arg)
{
    course c;
    (void)arg;
    open_course(&c);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(weft_stream_set_timeouts(c.near[i], 100 * WEFT_MS, 100 * WEFT_MS), 0);
    weft_task *copier = start(copy_both, &c);
    sender s = {.stream = c.far[0], .size = 200000};
    weft_task *task = start(send_pattern, &s);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(weft_sleep(70 * WEFT_MS), 0);
        cr_assert_eq(weft_write(c.far[1], "x", 1), 1);
    }
    difficult *d = difficult_of(weft_stream_layer(c.near[1]));
    cr_assert_eq(atomic_load(&d->given_up), 0);
    expect(c.far[1], 0, s.size);
    join(task);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(weft_close_write(c.far[i]), 0);
    join(copier);
    cr_assert_eq(c.result, 0);
    cr_assert_eq(c.moved[0], 200000);
    cr_assert_eq(c.moved[1], 10);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy_layer, a_write_that_waits_while_the_other_way_moves_is_not_given_up)
{
    run_paused(workers, patient_copy_root);
}
