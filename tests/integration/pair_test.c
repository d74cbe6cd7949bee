/* pair_test.c - two streams in memory that are each other's peers: the same as any other stream, for whoever reads and writes. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <support/net_support.h>
#include <support/process.h>
#include <support/test.h>
#include <weft.h>

enum { RING = 64 * 1024 };

static unsigned char byte(size_t at, unsigned way) { return (unsigned char)(at * 11 + (at >> 7) + way * 77); }

static uint32_t chance(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static void two(weft_stream *ends[2]) { cr_assert_eq(weft_stream_pair(&ends[0], &ends[1]), 0); }

static void close_both(weft_stream *ends[2])
{
    weft_close(ends[0]);
    weft_close(ends[1]);
}

/* ---- traffic ---------------------------------------------------------------------------------------------------- */

typedef struct flow {
    weft_stream *stream;
    unsigned way;
    size_t size;
    bool select; /* wait by a select first */
    size_t at;   /* so far */
    uint32_t random;
    weft_future future;
} flow;

static size_t next_piece(flow *f, unsigned char *bytes, size_t room)
{
    size_t n = 1 + chance(&f->random) % (chance(&f->random) % 4 ? 100 : room);
    n = n < f->size - f->at ? n : f->size - f->at;
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte(f->at + i, f->way);
    return n;
}

static void check_piece(flow *f, const unsigned char *bytes, ssize_t n)
{
    cr_assert_gt(n, 0, "it is %zd after %zu", n, f->at);
    for (ssize_t i = 0; i < n; i++, f->at++)
        cr_assert_eq(bytes[i], byte(f->at, f->way), "at %zu", f->at);
}

static void until_ready(weft_case c)
{
    cr_assert_eq(weft_select(&c, 1), 0);
    cr_assert_eq(c.status, 0);
}

static void *send_all(void *arg)
{
    flow *f = arg;
    unsigned char bytes[9000];
    while (f->at < f->size) {
        size_t n = next_piece(f, bytes, sizeof bytes);
        if (f->select)
            until_ready((weft_case)WEFT_WRITABLE(f->stream));
        ssize_t sent = chance(&f->random) % 2 ? weft_write(f->stream, bytes, n) : weft_write_some(f->stream, bytes, n);
        cr_assert_gt(sent, 0);
        f->at += (size_t)sent;
    }
    cr_assert_eq(weft_close_write(f->stream), 0);
    return NULL;
}

static void *receive_all(void *arg)
{
    flow *f = arg;
    unsigned char bytes[7000];
    while (f->at < f->size) {
        size_t n = 1 + chance(&f->random) % sizeof bytes;
        if (f->select)
            until_ready((weft_case)WEFT_READABLE(f->stream));
        check_piece(f, bytes, weft_read(f->stream, bytes, n));
    }
    cr_assert_eq(weft_read(f->stream, bytes, 1), 0);
    return NULL;
}

static void flows(flow f[4], weft_stream *ends[2], size_t size, bool select)
{
    two(ends);
    for (unsigned i = 0; i < 4; i++)
        f[i] = (flow){.stream = ends[i / 2], .way = i / 2 ^ (i & 1), .size = size, .select = select, .random = i};
}

static void *traffic_root(void *arg)
{
    weft_stream *ends[2];
    flow f[4];
    weft_task *tasks[4];
    (void)arg;
    for (int select = 0; select < 2; select++) {
        flows(f, ends, wf_test_scale(4 << 20), select);
        for (int i = 0; i < 4; i++)
            tasks[i] = start(i & 1 ? receive_all : send_all, &f[i]);
        for (int i = 0; i < 4; i++)
            join(tasks[i]);
        close_both(ends);
    }
    return NULL;
}

WF_TEST_WORKERS(pair, random_pieces_go_both_ways_at_once) { run(workers, traffic_root, NULL); }

Test(pair, ordinary_threads_talk_through_it)
{
    weft_runtime *rt = runtime(1);
    weft_stream *ends[2];
    flow f[4];
    pthread_t threads[4];
    cr_assert_eq(weft_runtime_enter(rt), 0);
    flows(f, ends, wf_test_scale(2 << 20), false);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, i & 1 ? receive_all : send_all, &f[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    close_both(ends);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static weft_poll poll_send(weft_future *self, weft_context *cx, void **result)
{
    flow *f = WEFT_CONTAINER_OF(self, flow, future);
    unsigned char bytes[9000];
    (void)result;
    while (f->at < f->size) {
        ssize_t n = weft_poll_write_some(cx, f->stream, bytes, next_piece(f, bytes, sizeof bytes));
        if (n == WEFT_PENDING)
            return WEFT_PENDING;
        cr_assert_gt(n, 0);
        f->at += (size_t)n;
    }
    return weft_close_write(f->stream);
}

static weft_poll poll_receive(weft_future *self, weft_context *cx, void **result)
{
    flow *f = WEFT_CONTAINER_OF(self, flow, future);
    unsigned char bytes[7000];
    (void)result;
    for (;;) {
        ssize_t n = weft_poll_read(cx, f->stream, bytes, 1 + chance(&f->random) % sizeof bytes);
        if (n == WEFT_PENDING)
            return WEFT_PENDING;
        if (f->at == f->size) {
            cr_assert_eq(n, 0);
            return WEFT_READY;
        }
        check_piece(f, bytes, n);
    }
}

static const weft_future_ops sending = {.poll = poll_send}, receiving = {.poll = poll_receive};

static void *stackless_root(void *arg)
{
    weft_stream *ends[2];
    flow f[4];
    weft_task *tasks[4];
    (void)arg;
    flows(f, ends, wf_test_scale(4 << 20), false);
    for (int i = 0; i < 4; i++) {
        f[i].future.ops = i & 1 ? &receiving : &sending;
        cr_assert_eq(weft_spawn_future(&tasks[i], &f[i].future), 0);
    }
    for (int i = 0; i < 4; i++)
        join(tasks[i]);
    close_both(ends);
    return NULL;
}

WF_TEST_WORKERS(pair, stackless_tasks_talk_through_it) { run(workers, stackless_root, NULL); }

/* ---- full and empty ---------------------------------------------------------------------------------------------- */

static int chosen(weft_case c)
{
    weft_case cases[2] = {c, WEFT_DEFAULT};
    return weft_select_biased(cases, 2);
}

static void *full_root(void *arg)
{
    static char bytes[RING + 1000];
    weft_stream *e[2];
    (void)arg;
    two(e);
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(chosen((weft_case)WEFT_READABLE(e[1])), 1);
        cr_assert_eq(chosen((weft_case)WEFT_WRITABLE(e[0])), 0);
        cr_assert_eq(weft_write_some(e[0], bytes, sizeof bytes), RING);
        cr_assert_eq(chosen((weft_case)WEFT_WRITABLE(e[0])), 1);
        cr_assert_eq(chosen((weft_case)WEFT_READABLE(e[1])), 0);
        waiter w = {.stream = e[0]};
        weft_task *writer = start(wait_write, &w);
        await_idle(writer);
        weft_abort(writer);
        cr_assert_eq(weft_join(writer, NULL), WEFT_EABORTED);
        cr_assert_eq(weft_read(e[1], bytes, 1), 1);
        cr_assert_eq(chosen((weft_case)WEFT_WRITABLE(e[0])), 0);
        cr_assert_eq(weft_write_some(e[0], bytes, sizeof bytes), 1);
        cr_assert_eq(weft_read_exact(e[1], bytes, RING), RING);
    }
    close_both(e);
    return NULL;
}

WF_TEST_WORKERS(pair, it_holds_64_KiB_each_way) { run(workers, full_root, NULL); }

/* ---- ends -------------------------------------------------------------------------------------------------------- */

static void *half_root(void *arg)
{
    weft_stream *e[2];
    char buf[8];
    (void)arg;
    two(e);
    waiter r = {.stream = e[1], .result = 1};
    cr_assert_eq(weft_write(e[0], "abc", 3), 3);
    cr_assert_eq(weft_close_write(e[0]), 0);
    cr_assert_eq(weft_close_write(e[0]), 0);
    cr_assert_eq(weft_write(e[0], "x", 1), WEFT_EPIPE);
    cr_assert_eq(weft_read_exact(e[1], buf, 8), WEFT_EOF);
    cr_assert_arr_eq(buf, "abc", 3);
    cr_assert_eq(weft_read(e[1], buf, 8), 0);
    cr_assert_eq(chosen((weft_case)WEFT_READABLE(e[1])), 0);
    cr_assert_eq(weft_write(e[1], "bye", 3), 3);
    weft_close(e[1]); /* what it has written stays to be read */
    cr_assert_eq(weft_read(e[0], buf, 8), 3);
    cr_assert_eq(weft_read(e[0], buf, 8), 0);
    weft_close(e[0]);

    two(e);
    r.stream = e[1];
    weft_task *reader = start(wait_read, &r);
    await_idle(reader);
    cr_assert_eq(weft_close_write(e[0]), 0);
    join(reader);
    cr_assert_eq(r.result, 0);
    close_both(e);
    return NULL;
}

WF_TEST_WORKERS(pair, one_way_may_end_before_the_other) { run(workers, half_root, NULL); }

static void *wait_readable(void *arg)
{
    waiter *w = arg;
    weft_case c = WEFT_READABLE(w->stream);
    cr_assert_eq(weft_select(&c, 1), 0);
    w->result = c.status;
    return NULL;
}

static void *close_it(void *arg)
{
    weft_close(arg);
    return NULL;
}

static void *abort_it(void *arg)
{
    weft_stream_abort(arg);
    return NULL;
}

/* One waits at end 0; end @which goes, by a task or a thread. */
static void end_while_waiting(weft_fn wait, int which, weft_fn way, ssize_t wanted, bool thread)
{
    weft_stream *e[2];
    pthread_t id;
    two(e);
    cr_assert_eq(weft_stream_ref(e[which]), e[which]);
    waiter w = {.stream = e[0], .result = 99};
    weft_task *task = start(wait, &w);
    await_idle(task);
    if (thread) {
        cr_assert_eq(pthread_create(&id, NULL, way, e[which]), 0);
        pthread_join(id, NULL);
    } else {
        join(start(way, e[which]));
    }
    join(task);
    cr_assert_eq(w.result, wanted, "end %d, thread %d", which, thread);
    cr_assert_eq(weft_read(e[which], w.got, 1), WEFT_ECLOSED);
    cr_assert_eq(weft_write(e[!which], "x", 1), WEFT_EPIPE);
    if (wait != wait_write)
        cr_assert_eq(weft_read(e[!which], w.got, 1), 0);
    if (way == abort_it)
        weft_close(e[which]);
    close_both(e);
}

static void *ends_root(void *arg)
{
    static const weft_fn ways[] = {close_it, abort_it};
    (void)arg;
    for (size_t round = 0; round < wf_test_scale(20); round++)
        for (int way = 0; way < 2; way++)
            for (int thread = 0; thread < 2; thread++) {
                end_while_waiting(wait_read, 1, ways[way], 0, thread);
                end_while_waiting(wait_write, 1, ways[way], WEFT_EPIPE, thread);
                end_while_waiting(wait_readable, 1, ways[way], 0, thread);
                end_while_waiting(wait_read, 0, ways[way], WEFT_ECLOSED, thread);
                end_while_waiting(wait_write, 0, ways[way], WEFT_ECLOSED, thread);
                end_while_waiting(wait_readable, 0, ways[way], WEFT_ECLOSED, thread);
            }
    return NULL;
}

WF_TEST_WORKERS(pair, closing_or_aborting_either_end_ends_who_waits) { run(workers, ends_root, NULL); }

typedef struct meeting {
    pthread_barrier_t barrier;
    _Atomic(weft_stream *) ends[2];
    atomic_int next;
    size_t rounds;
} meeting;

static void *close_together(void *arg)
{
    meeting *m = arg;
    int mine = atomic_fetch_add(&m->next, 1);
    char buf[4];
    for (size_t i = 0; i < m->rounds; i++) {
        pthread_barrier_wait(&m->barrier); /* they are there */
        weft_stream *s = atomic_load(&m->ends[mine]);
        if ((i + (size_t)mine) % 3 == 0)
            weft_write_some(s, "abc", 3);
        if ((i + (size_t)mine) % 5 == 0)
            weft_close_write(s);
        if ((i + (size_t)mine) % 7 == 0)
            weft_read(s, buf, sizeof buf);
        weft_close(s);
        pthread_barrier_wait(&m->barrier); /* they are gone */
    }
    return NULL;
}

Test(pair, both_ends_closed_at_once_by_two_threads_are_freed_once)
{
    weft_runtime *rt = runtime(1);
    meeting m = {.rounds = wf_test_scale(5000)};
    pthread_t threads[2];
    cr_assert_eq(weft_runtime_enter(rt), 0);
    pthread_barrier_init(&m.barrier, NULL, 3);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, close_together, &m), 0);
    for (size_t i = 0; i < m.rounds; i++) {
        weft_stream *e[2];
        two(e);
        atomic_store(&m.ends[0], e[0]);
        atomic_store(&m.ends[1], e[1]);
        pthread_barrier_wait(&m.barrier);
        pthread_barrier_wait(&m.barrier);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&m.barrier);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* An end whose peer is gone tells its place what it does; by then others live there, and must not mind. */
static void *reuse_root(void *arg)
{
    weft_stream *e[2], *lonely[8];
    char buf[8];
    (void)arg;
    for (int i = 0; i < 8; i++) {
        two(e);
        lonely[i] = e[0];
        cr_assert_eq(weft_write(e[1], "abcdefgh", 8), 8);
        weft_close(e[1]);
    }
    for (int i = 0; i < 8; i++) {
        two(e);
        waiter r = {.stream = e[0], .result = 99};
        weft_task *reader = start(wait_read, &r);
        await_idle(reader);
        for (int k = 0; k < 8; k++)
            cr_assert_eq(weft_read(lonely[k], buf, 1), 1);
        await_idle(reader);
        cr_assert_eq(r.result, 99);
        cr_assert_eq(weft_write(e[1], "x", 1), 1);
        join(reader);
        close_both(e);
    }
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(weft_read(lonely[i], buf, 1), 0);
        weft_close(lonely[i]);
    }
    return NULL;
}

WF_TEST_WORKERS(pair, an_end_that_is_left_over_disturbs_nobody_in_its_peers_place) { run(workers, reuse_root, NULL); }

/* ---- memory and runtimes ------------------------------------------------------------------------------------------- */

typedef struct purse {
    atomic_int live, until_empty; /* blocks */
} purse;

static void *take_block(size_t size, void *arg)
{
    purse *p = arg;
    if (atomic_fetch_sub(&p->until_empty, 1) <= 0)
        return NULL;
    atomic_fetch_add(&p->live, 1);
    return malloc(size);
}

static void give_block(void *block, void *arg)
{
    purse *p = arg;
    atomic_fetch_sub(&p->live, 1);
    free(block);
}

enum { ENOUGH = 1 << 30 };

static void *memory_root(void *arg)
{
    purse *p = arg;
    weft_stream *e[200][2];
    int opened = 0, failed = 0;
    for (int i = 0; i < 200; i++) {
        atomic_store(&p->until_empty, i % 3); /* a pair, and now and then places for streams */
        int err = weft_stream_pair(&e[i][0], &e[i][1]);
        atomic_store(&p->until_empty, ENOUGH);
        failed += err == WEFT_ENOMEM;
        opened += err == 0;
        cr_assert_eq(err == 0, e[i][0] != NULL);
        cr_assert_eq(err == 0, e[i][1] != NULL);
        if (err == 0) {
            char buf[2];
            cr_assert_eq(weft_write(e[i][0], "ab", 2), 2);
            cr_assert_eq(weft_read(e[i][1], buf, 2), 2);
        }
    }
    cr_assert_eq(opened + failed, 200);
    cr_assert_gt(opened, 0);
    cr_assert_gt(failed, 66);
    for (int i = 0; i < 200; i++)
        close_both(e[i]);
    return NULL;
}

static void *leave_open(void *arg)
{
    weft_stream *e[2];
    (void)arg;
    for (int i = 0; i < 10; i++) {
        two(e);
        cr_assert_eq(weft_write(e[0], "abc", 3), 3);
        if (i % 2)
            weft_close(e[1]);
        if (i % 3 == 0)
            weft_stream_abort(e[0]);
    }
    return NULL;
}

Test(pair, its_memory_is_the_runtimes_and_goes_with_it)
{
    purse p = {.until_empty = ENOUGH};
    weft_options o = {.workers = 2, .allocator = {take_block, give_block, &p}};
    cr_assert_eq(weft_run_with(&o, memory_root, &p, NULL), 0);
    cr_assert_eq(atomic_load(&p.live), 0);
    cr_assert_eq(weft_run_with(&o, leave_open, NULL, NULL), 0);
    cr_assert_eq(atomic_load(&p.live), 0);
}

static weft_poll poll_left_open(weft_future *self, weft_context *cx, void **result)
{
    char c;
    *result = NULL;
    return weft_poll_read(cx, WEFT_CONTAINER_OF(self, flow, future)->stream, &c, 1) == WEFT_PENDING ? WEFT_PENDING
                                                                                                    : WEFT_READY;
}

static void *leave_waiting(void *arg)
{
    static const weft_future_ops ops = {.poll = poll_left_open};
    weft_stream *e[2];
    weft_task *task;
    two(e);
    flow f = {.stream = e[0], .future.ops = &ops};
    (void)arg;
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    await_idle(task);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    return NULL;
}

/* What broke: the waker of who had waited went nowhere, and the header of its task was never free. */
Test(pair, left_open_it_leaves_no_waker_behind)
{
    const size_t rounds = wf_test_scale(200);
    steady_address_space();
    for (int i = 0; i < 3; i++)
        run(2, leave_waiting, NULL);
    size_t before = address_space();
    for (size_t i = 0; i < rounds; i++)
        run(2, leave_waiting, NULL);
    if (!WF_TEST_SANITIZED)
        cr_assert_lt(address_space(), before + (rounds / 2 << 20));
}

Test(pair, without_a_runtime_there_is_none)
{
    weft_stream *a = (weft_stream *)(void *)&a, *b = a;
    cr_assert_eq(weft_stream_pair(&a, &b), WEFT_ENORUNTIME);
    cr_assert_null(a);
    cr_assert_null(b);
    b = (weft_stream *)(void *)&a;
    cr_assert_eq(weft_stream_pair(NULL, &b), WEFT_EINVAL);
    cr_assert_null(b);
}
