/* defects_net_test.c - the defects of weft's models that show on sockets, each by its number in the project's list. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdatomic.h>
#include <support/net_support.h>
#include <support/process.h>
#include <support/test.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

/* ---- helpers -------------------------------------------------------------------------------------------------- */

static weft_task *start_pinned(weft_fn fn, void *arg)
{
    weft_spawn_options o = WEFT_SPAWN_OPTIONS_INIT;
    weft_task *task;
    o.pinned = 1;
    cr_assert_eq(weft_spawn_with(&task, &o, fn, arg), 0);
    return task;
}

/* An ordinary blocking socket. */
static int plain_client(unsigned port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    cr_assert_eq(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* ---- d08: wakes from other threads ------------------------------------------------------------------------------ */

/* Ready when the thread has raised @raised to @wanted. */
typedef struct signal_future {
    weft_future future;
    weft_atomic_waker waker;
    atomic_size_t raised, seen;
    size_t wanted;
} signal_future;

static weft_poll signal_poll(weft_future *self, weft_context *cx, void **result)
{
    signal_future *s = WEFT_CONTAINER_OF(self, signal_future, future);
    *result = NULL;
    int err = weft_atomic_waker_register(&s->waker, weft_context_waker(cx));
    if (err < 0)
        return err;
    return atomic_load(&s->raised) >= s->wanted ? WEFT_READY : WEFT_PENDING;
}

static const weft_future_ops signal_ops = {.poll = signal_poll};

typedef struct woken {
    signal_future signal;
    size_t rounds;
} woken;

static void *be_woken(void *arg)
{
    woken *w = arg;
    void *none;
    for (size_t i = 1; i <= w->rounds; i++) {
        w->signal.wanted = i;
        cr_assert_eq(weft_await(&w->signal.future, &none), 0);
        atomic_store(&w->signal.seen, i);
    }
    return NULL;
}

WF_TEST_WORKERS(defects_net, d08_the_thousandth_wake_from_another_thread_is_as_fast_as_the_first)
{
    enum { MOST = 2000 };
    static int64_t took[MOST];
    woken w = {.signal.future.ops = &signal_ops, .rounds = 50 + wf_test_scale(MOST - 50)};
    weft_runtime *rt = runtime(workers);
    weft_task *task;
    unsigned late = 0;
    cr_assert_eq(weft_spawn_on(rt, &task, be_woken, &w), 0);
    for (size_t i = 0; i < w.rounds; i++) {
        struct timespec pause = {.tv_nsec = i % 4 == 0 ? 300000 : 0}; /* now and then let the workers fall asleep first */
        if (pause.tv_nsec)
            nanosleep(&pause, NULL);
        int64_t before = weft_now();
        atomic_store(&w.signal.raised, i + 1);
        weft_atomic_waker_wake(&w.signal.waker);
        while (atomic_load(&w.signal.seen) <= i) {
            cr_assert_lt(weft_now() - before, PATIENCE, "wake %zu was lost", i);
            sched_yield();
        }
        took[i] = weft_now() - before;
        late += took[i] > 50 * WEFT_MS;
    }
    cr_assert_eq(weft_join(task, NULL), 0);
    weft_waker last; /* of a poll that found it raised already */
    if (weft_atomic_waker_take(&w.signal.waker, &last))
        weft_waker_drop(&last);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    qsort(took, w.rounds, sizeof *took, by_value);
    cr_assert_lt(took[w.rounds / 2], 2 * WEFT_MS); /* no 5 ms look, no timeout, had to find it */
    cr_assert_leq(late, w.rounds / 20);
}

/* ---- d09: migration ------------------------------------------------------------------------------------------- */

typedef struct crowd {
    atomic_uint migrations, live;
    atomic_int over;
} crowd;

typedef struct member {
    weft_stream *stream;
    crowd *all;
} member;

static void *migrating_echo(void *arg)
{
    member *m = arg;
    char buf[64];
    ssize_t n;
    long here = thread_id();
    while ((n = weft_read(m->stream, buf, sizeof buf)) > 0) {
        cr_assert_eq(weft_yield(), 0); /* between reading and writing it may be stolen, too */
        cr_assert_eq(weft_write(m->stream, buf, (size_t)n), n);
        long now = thread_id();
        if (now != here)
            atomic_fetch_add(&m->all->migrations, 1);
        here = now;
    }
    cr_assert_eq(n, 0);
    return NULL;
}

static void *ask_and_ask(void *arg)
{
    member *m = arg;
    char there[16], back[16];
    for (unsigned i = 0; !atomic_load(&m->all->over) || i < 20; i++) {
        memset(there, (int)i, sizeof there);
        cr_assert_eq(weft_write(m->stream, there, sizeof there), (ssize_t)sizeof there);
        cr_assert_eq(weft_yield(), 0);
        cr_assert_eq(weft_read_exact(m->stream, back, sizeof back), (ssize_t)sizeof back);
        cr_assert_arr_eq(there, back, sizeof back);
    }
    weft_close(m->stream);
    atomic_fetch_sub(&m->all->live, 1);
    return NULL;
}

static void spin_for(int64_t ns)
{
    for (int64_t end = weft_now() + ns; weft_now() < end;)
        ;
}

static void *busy_neighbour(void *arg)
{
    crowd *all = arg;
    while (atomic_load(&all->live) > 0) {
        spin_for(50 * WEFT_US);
        cr_assert_eq(weft_yield(), 0);
    }
    return NULL;
}

static void *migrate(void *arg)
{
    enum { PAIRS = 16, BUSY = 8, ENOUGH = 200 };
    crowd all = {.live = PAIRS};
    member servers[PAIRS], clients[PAIRS];
    weft_task *tasks[2 * PAIRS + BUSY];
    weft_metrics_t metrics;
    int n = 0;
    (void)arg;
    for (int i = 0; i < PAIRS; i++) {
        servers[i].all = clients[i].all = &all;
        pair(&clients[i].stream, &servers[i].stream);
        tasks[n++] = start(migrating_echo, &servers[i]);
        tasks[n++] = start(ask_and_ask, &clients[i]);
    }
    for (int i = 0; i < BUSY; i++)
        tasks[n++] = start(busy_neighbour, &all);
    int64_t deadline = weft_now() + PATIENCE;
    while (atomic_load(&all.migrations) < ENOUGH && weft_now() < deadline)
        weft_sleep(WEFT_MS);
    unsigned migrations = atomic_load(&all.migrations);
    atomic_store(&all.over, 1);
    for (int i = 0; i < n; i++)
        join(tasks[i]);
    cr_assert_geq(migrations, ENOUGH, "tasks don't migrate: nothing was tested");
    for (int i = 0; i < PAIRS; i++)
        weft_close(servers[i].stream);
    cr_assert_eq(weft_metrics(NULL, &metrics), 0);
    cr_assert_gt(metrics.steals, 0);
    return NULL;
}

Test(defects_net, d09_a_task_that_migrates_keeps_its_socket) { run(8, migrate, NULL); }

/* ---- d14: hang-ups, errors, both directions -------------------------------------------------------------------- */

static void *hang_up_alone(void *arg)
{
    weft_stream *a, *b;
    (void)arg;
    for (int i = 0; i < 4; i++) { /* reading and writing, the peer's close and its reset */
        bool writes = i & 1, resets = i & 2;
        waiter w = {.result = 1};
        pair(&a, &b);
        shrink(a);
        shrink(b);
        w.stream = a;
        weft_task *task = start(writes ? wait_write : wait_read, &w);
        await_idle(task);
        if (resets || writes)
            reset_on_close(b);
        weft_close(b);
        join(task);
        if (writes)
            cr_assert(w.result == WEFT_ECONNRESET || w.result == WEFT_EPIPE, "it is %zd", w.result);
        else
            cr_assert_eq(w.result, resets ? WEFT_ECONNRESET : 0);
        weft_close(a);
    }
    pair(&a, &b); /* the end of their writing alone, while both stay open */
    waiter w = {.stream = a, .result = 1};
    weft_task *task = start(wait_read, &w);
    await_idle(task);
    cr_assert_eq(weft_close_write(b), 0);
    join(task);
    cr_assert_eq(w.result, 0);
    cr_assert_eq(weft_write(a, "still", 5), 5);
    cr_assert_eq(weft_read_exact(b, w.got, 5), 5);
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(defects_net, d14_a_hang_up_or_an_error_alone_wakes_whoever_waits) { run(workers, hang_up_alone, NULL); }

/* Read all that @w's write of 16 MiB sends. */
static void take_everything(weft_stream *s)
{
    static char sink[1 << 16];
    size_t left = 16 << 20;
    while (left > 0) {
        ssize_t n = weft_read(s, sink, sizeof sink);
        cr_assert_gt(n, 0);
        left -= (size_t)n;
    }
}

static void *both_interests(void *arg)
{
    weft_stream *a, *b;
    (void)arg;
    pair(&a, &b);
    shrink(a);
    shrink(b);
    waiter w = {.stream = a}, r = {.stream = a};
    weft_task *writer = start(wait_write, &w);
    await_idle(writer);
    for (int i = 0; i < 50; i++) { /* reads come and go while the write waits */
        weft_task *reader = start(wait_read, &r);
        await_idle(reader);
        cr_assert_eq(weft_write(b, "r", 1), 1);
        join(reader);
        cr_assert_eq(r.result, 1);
    }
    cr_assert(!weft_is_finished(writer));
    weft_task *reader = start(wait_read, &r); /* and while a read waits, the write goes on */
    await_idle(reader);
    take_everything(b);
    join(writer);
    cr_assert_eq(w.result, 16 << 20);
    cr_assert(!weft_is_finished(reader));
    cr_assert_eq(weft_write(b, "end", 3), 3);
    join(reader);
    cr_assert_eq(r.result, 3);
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(defects_net, d14_reading_interest_does_not_drop_writing_interest)
{
    run(workers, both_interests, NULL);
}

/* ---- d15: what is left ---------------------------------------------------------------------------------------- */

enum { LEFT = 10 };

static void *sleep_on_it(void *arg)
{
    while (weft_sleep(WEFT_SEC) == 0)
        ;
    return arg; /* its stream is closed by nobody */
}

static void *leave_everything(void *arg)
{
    static waiter readers[LEFT], writers[LEFT], accepters[LEFT];
    static char text[WEFT_ADDR_TEXT];
    weft_stream *a, *b;
    (void)arg;
    for (int i = 0; i < LEFT; i++) {
        pair(&a, &b);
        pair(&readers[i].stream, &b);
        pair(&writers[i].stream, &b);
        accepters[i].listener = listen_any(text);
        listen_any(text);
        weft_task *tasks[] = {start(wait_read, &readers[i]), start(wait_write, &writers[i]),
                              start(wait_accept, &accepters[i])};
        for (int k = 0; k < 3; k++) {
            await_idle(tasks[k]);
            weft_detach(tasks[k]);
        }
        weft_detach(start(sleep_on_it, a));
        cr_assert_eq(weft_tcp_connect(&a, text, NULL), 0); /* in a queue, never accepted */
    }
    return NULL;
}

WF_TEST_WORKERS(defects_net, d15_a_runtime_that_ends_closes_the_sockets_left_open)
{
    for (int i = 0; i < 3; i++)
        run(workers, leave_everything, NULL);
}

/* Written by plain threads, which nobody aborts. */
WF_TEST_WORKERS(defects_net, d15_sockets_of_ordinary_threads_end_with_the_runtime)
{
    cr_assert_eq(weft_runtime_destroy(runtime(workers)), 0);
    int before = open_fds();
    weft_runtime *rt = runtime(workers);
    weft_stream *a, *b;
    char c;
    cr_assert_eq(weft_runtime_enter(rt), 0);
    for (int i = 0; i < LEFT; i++) {
        pair(&a, &b);
        cr_assert_eq(weft_write(a, "x", 1), 1);
        cr_assert_eq(weft_read(b, &c, 1), 1);
    }
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(open_fds(), before);
}

static void *failing_binds(void *arg)
{
    char text[WEFT_ADDR_TEXT];
    weft_listener *l = listen_any(text), *none;
    int before = open_fds();
    (void)arg;
    for (int i = 0; i < 300; i++) {
        cr_assert_eq(weft_tcp_listen(&none, text, NULL), WEFT_EADDRINUSE);
        cr_assert_eq(weft_tcp_listen(&none, "203.0.113.7:0", NULL), WEFT_EADDRNOTAVAIL); /* nobody's (RFC 5737); nothing is sent */
    }
    cr_assert_eq(open_fds(), before);
    weft_listener_close(l);
    return NULL;
}

Test(defects_net, d15_a_failed_bind_leaks_nothing) { run(1, failing_binds, NULL); }

typedef struct kept {
    weft_stream *stream;
    weft_listener *listener;
    atomic_int accepted;
    int copy;
} kept;

/* Accept one and wait for its first byte, which registers it; keep a second descriptor, as a forked child would; close. */
static void *close_a_kept_one(void *arg)
{
    kept *k = arg;
    char c;
    cr_assert_eq(weft_accept(&k->stream, k->listener), 0);
    atomic_store(&k->accepted, 1);
    cr_assert_eq(weft_read(k->stream, &c, 1), 1);
    k->copy = dup(weft_stream_fd(k->stream));
    weft_close(k->stream);
    return NULL;
}

/* If it was closed without being deregistered, what the peer sends goes on to wake the worker, which nobody can stop any more. */
Test(defects_net, d15_a_closed_stream_is_deregistered_though_a_copy_of_it_lives)
{
    enum { SENT = 100 };
    char text[WEFT_ADDR_TEXT];
    weft_metrics_t before, after;
    weft_addr addr;
    weft_task *task;
    kept k = {.copy = -1};
    struct timespec pause = {.tv_nsec = 1000000};
    weft_runtime *rt = runtime(1);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    k.listener = listen_any(text);
    cr_assert_eq(weft_listener_addr(k.listener, &addr), 0);
    cr_assert_eq(weft_spawn(&task, close_a_kept_one, &k), 0);
    int fd = plain_client(weft_addr_port(&addr));
    while (!atomic_load(&k.accepted))
        sched_yield();
    await_idle(task);
    cr_assert_eq(send(fd, "1", 1, MSG_NOSIGNAL), 1);
    cr_assert_eq(weft_join(task, NULL), 0);
    nanosleep(&pause, NULL); /* the worker falls asleep */
    cr_assert_eq(weft_metrics(rt, &before), 0);
    for (int i = 0; i < SENT; i++) {
        cr_assert_eq(send(fd, "x", 1, MSG_NOSIGNAL), 1);
        nanosleep(&pause, NULL); /* so that each would wake it anew */
    }
    int there = 0;
    for (int64_t deadline = weft_now() + PATIENCE; there < SENT; nanosleep(&pause, NULL)) { /* they do arrive */
        cr_assert_eq(ioctl(k.copy, FIONREAD, &there), 0);
        cr_assert_lt(weft_now(), deadline, "%d of %d", there, SENT);
    }
    cr_assert_eq(weft_metrics(rt, &after), 0);
    cr_assert_lt(after.parks - before.parks, SENT / 4);
    weft_listener_close(k.listener);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    close(k.copy);
    close(fd);
}

/* ---- d32: reading, writing and closing at once ------------------------------------------------------------------ */

static void *read_on(void *arg)
{
    waiter *w = arg;
    char buf[2000];
    while ((w->result = weft_read(w->stream, buf, sizeof buf)) > 0)
        ;
    weft_close(w->stream);
    return NULL;
}

static void *write_on(void *arg)
{
    waiter *w = arg;
    char buf[2000] = {0};
    while ((w->result = weft_write(w->stream, buf, sizeof buf)) > 0)
        ;
    weft_close(w->stream);
    return NULL;
}

static void *close_in_use(void *arg)
{
    size_t rounds = 20 + wf_test_scale(300);
    (void)arg;
    for (size_t i = 0; i < rounds; i++) {
        weft_stream *a, *b;
        pair(&a, &b);
        reset_on_close(a);
        waiter ops[4] = {{.stream = weft_stream_ref(a)},
                         {.stream = weft_stream_ref(a)},
                         {.stream = weft_stream_ref(b)},
                         {.stream = weft_stream_ref(b)}};
        weft_task *tasks[4];
        for (int k = 0; k < 4; k++)
            tasks[k] = start(k % 2 ? write_on : read_on, &ops[k]);
        for (size_t k = 0; k < i % 23; k++)
            weft_yield();
        int fd = weft_stream_fd(a);
        if (i % 2)
            weft_stream_abort(a);
        weft_close(a);
        for (int k = 0; k < 2; k++)
            join(tasks[k]);
        cr_assert_eq(ops[0].result, WEFT_ECLOSED); /* and not EBUSY or EBADF: they did not get into each other's way */
        cr_assert_eq(ops[1].result, WEFT_ECLOSED);
#if WF_REACTOR_UVPOLL
        (void)fd; /* whoever holds the loop closes it, a moment later */
#else
        cr_assert_eq(send(fd, "", 0, MSG_NOSIGNAL), -1); /* closed, and stays so */
#endif
        weft_stream_abort(b);
        for (int k = 2; k < 4; k++) {
            join(tasks[k]);
            ssize_t r = ops[k].result;
            cr_assert(r == WEFT_ECLOSED || r == 0 || r == WEFT_ECONNRESET || r == WEFT_EPIPE, "it is %zd", r);
        }
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(defects_net, d32_a_close_amid_a_read_and_a_write_is_not_undone) { run(workers, close_in_use, NULL); }

/* ---- d35: closing and reusing ----------------------------------------------------------------------------------- */

static void *reuse_streams(void *arg)
{
    size_t rounds = 100 + wf_test_scale(3000);
    (void)arg;
    for (size_t i = 0; i < rounds; i++) {
        weft_stream *a, *b, *c, *d;
        waiter old = {.result = 1}, next = {.result = 1};
        char x = (char)i;
        pair(&a, &b);
        old.stream = a;
        weft_task *waiting = start(wait_read, &old);
        if (i % 4) /* else it may be closed before it began */
            await_idle(waiting);
        else
            weft_stream_ref(a);
        reset_on_close(b);
        weft_close(a);
        weft_close(b);
        pair(&c, &d); /* the numbers and places of the ones before, as soon as they are free */
        reset_on_close(c);
        next.stream = c;
        weft_task *reader = start(wait_read, &next);
        cr_assert_eq(weft_write(d, &x, 1), 1);
        join(reader);
        cr_assert_eq(next.result, 1);
        cr_assert_eq(next.got[0], x);
        join(waiting);
        cr_assert_eq(old.result, WEFT_ECLOSED);
        if (i % 4 == 0)
            weft_close(a);
        weft_close(c);
        weft_close(d);
    }
    return NULL;
}

WF_TEST_WORKERS(defects_net, d35_a_stream_closed_under_a_reader_leaves_nothing_to_the_next)
{
    run(workers, reuse_streams, NULL);
}

static void *reuse_ports(void *arg)
{
    size_t rounds = 100 + wf_test_scale(3000);
    char text[WEFT_ADDR_TEXT];
    weft_listener *l = listen_any(text);
    (void)arg;
    for (size_t i = 0; i < rounds; i++) {
        waiter old = {.listener = l, .result = 1}, next = {.result = 1};
        weft_stream *s;
        weft_task *waiting = start(wait_accept, &old);
        await_idle(waiting);
        weft_listener_close(l);
        cr_assert_eq(weft_tcp_listen(&l, text, NULL), 0, "round %zu: %s", i, weft_error_detail());
        next.listener = l;
        weft_task *accepter = start(wait_accept, &next);
        cr_assert_eq(weft_tcp_connect(&s, text, NULL), 0);
        join(accepter);
        cr_assert_eq(next.result, 0);
        join(waiting);
        cr_assert_eq(old.result, WEFT_ECLOSED);
        cr_assert_null(old.stream);
        reset_on_close(s);
        weft_close(s);
        weft_close(next.stream);
    }
    weft_listener_close(l);
    return NULL;
}

WF_TEST_WORKERS(defects_net, d35_a_port_is_free_again_when_its_listener_was_closed_under_an_accept)
{
    run(workers, reuse_ports, NULL);
}

/* ---- d38: one long task ------------------------------------------------------------------------------------------ */

static void *yield_on(void *arg)
{
    atomic_int *over = arg;
    while (!atomic_load(over))
        weft_yield();
    return NULL;
}

static void *beside_a_yielder(void *arg)
{
    weft_stream *a, *b;
    atomic_int over = 0;
    int64_t worst = 0;
    (void)arg;
    pair(&a, &b);
    weft_task *yielder = start_pinned(yield_on, &over);
    for (int i = 0; i < 200; i++) {
        waiter r = {.stream = a};
        weft_task *reader = start(wait_read, &r);
        int64_t before = weft_now();
        cr_assert_eq(weft_yield(), 0);
        cr_assert_eq(weft_write(b, "x", 1), 1);
        join(reader);
        cr_assert_eq(r.result, 1);
        int64_t took = weft_now() - before;
        worst = took > worst ? took : worst;
    }
    atomic_store(&over, 1);
    join(yielder);
    weft_close(a);
    weft_close(b);
    cr_assert_lt(worst, 5 * WEFT_SEC);
    return NULL;
}

/* What broke: pinned tasks came before all others of their worker, so one that yields was polled for ever. */
WF_TEST_WORKERS(defects_net, d38_a_pinned_task_that_yields_does_not_starve_its_worker)
{
    run(workers, beside_a_yielder, NULL);
}

enum { CONNECTIONS = 4, SAMPLES = 150 };

typedef struct starving {
    weft_listener *listener;
    weft_stream *streams[CONNECTIONS];
    int clients[CONNECTIONS], current;
    atomic_int burning, over;
} starving;

static void *send_first(void *arg)
{
    starving *s = arg;
    cr_assert_eq(send(s->clients[s->current], "1", 1, MSG_NOSIGNAL), 1);
    return NULL;
}

static void *echo_bytes(void *arg)
{
    char c;
    while (weft_read(arg, &c, 1) == 1 && weft_write(arg, &c, 1) == 1)
        ;
    weft_close(arg);
    return NULL;
}

/* What broke: who turns the reactor of a stuck worker marked it as just turned, so that the one task it woke was "its owner's
 * next" and never stolen.
 * The connections wait for their first byte on this worker, which so becomes their home; then it burns. */
static void *make_home_and_burn(void *arg)
{
    starving *s = arg;
    weft_addr addr;
    char c;
    cr_assert_eq(weft_listener_addr(s->listener, &addr), 0);
    for (int i = 0; i < CONNECTIONS; i++) {
        s->current = i;
        s->clients[i] = plain_client(weft_addr_port(&addr));
        cr_assert_eq(weft_accept(&s->streams[i], s->listener), 0);
        weft_task *sender = start_pinned(send_first, s); /* on this worker too: not before we wait */
        cr_assert_eq(weft_read(s->streams[i], &c, 1), 1);
        join(sender);
        cr_assert_eq(weft_spawn(NULL, echo_bytes, s->streams[i]), 0);
    }
    atomic_store(&s->burning, 1);
    while (!atomic_load(&s->over)) {
        spin_for(100 * WEFT_MS);
        cr_assert_eq(weft_yield(), 0);
    }
    return NULL;
}

Test(defects_net, d38_one_long_task_does_not_starve_the_sockets_of_its_worker)
{
    static int64_t took[SAMPLES];
    weft_metrics_t metrics;
    weft_task *burner;
    starving s = {.over = 0};
    char text[WEFT_ADDR_TEXT];
    unsigned late = 0;
    weft_runtime *rt = runtime(2);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    s.listener = listen_any(text);
    weft_spawn_options o = WEFT_SPAWN_OPTIONS_INIT;
    o.pinned = 1;
    cr_assert_eq(weft_spawn_with(&burner, &o, make_home_and_burn, &s), 0);
    while (!atomic_load(&s.burning))
        sched_yield();
    for (int i = 0; i < SAMPLES; i++) {
        struct timespec pause = {.tv_nsec = (i * 7 % 20) * 1000000}; /* at every phase of the burning */
        char c = 'x';
        nanosleep(&pause, NULL);
        int64_t before = weft_now();
        cr_assert_eq(send(s.clients[i % CONNECTIONS], &c, 1, MSG_NOSIGNAL), 1);
        cr_assert_eq(recv(s.clients[i % CONNECTIONS], &c, 1, 0), 1);
        took[i] = weft_now() - before;
        late += took[i] > 50 * WEFT_MS;
    }
    cr_assert_eq(weft_metrics(rt, &metrics), 0);
    atomic_store(&s.over, 1);
    cr_assert_eq(weft_join(burner, NULL), 0);
    for (int i = 0; i < CONNECTIONS; i++)
        close(s.clients[i]);
    weft_listener_close(s.listener);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    qsort(took, SAMPLES, sizeof *took, by_value);
    cr_assert_lt(took[SAMPLES / 2], (WF_TEST_SANITIZED ? 30 : 15) * WEFT_MS, "the median; the worst is %lld us",
                 (long long)(took[SAMPLES - 1] / 1000));
    cr_assert_leq(late, SAMPLES / (WF_TEST_SANITIZED ? 10 : 50), "the worst is %lld us",
                  (long long)(took[SAMPLES - 1] / 1000));
    cr_assert_gt(metrics.rescues, 0);
}
