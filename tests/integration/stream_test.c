/* stream_test.c - streams whatever lies below: their timeouts, arguments, pieces, and what a descriptor may do. */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <support/net_support.h>
#include <support/process.h>
#include <support/test.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

#define MINUTE (60 * WEFT_SEC)
#define HOUR (60 * MINUTE)

/* ---- short counts that do not say "that is all" ------------------------------------------------------------------- */

/* Waiting for @s, until somebody has written. */
static void expect(weft_stream *s, const char *wanted)
{
    char got[64];
    size_t length = strlen(wanted), at = 0;
    WEFT_SCOPE(patience, PATIENCE);
    while (at < length) {
        ssize_t n = weft_read(s, got + at, sizeof got - at);
        cr_assert_gt(n, 0, "it is %zd after %zu bytes", n, at);
        at += (size_t)n;
    }
    cr_assert_eq(at, length);
    cr_assert_arr_eq(got, wanted, length);
}

typedef struct expectation {
    weft_stream *stream;
    const char *wanted;
} expectation;

static void *expecting(void *arg)
{
    expectation *e = arg;
    expect(e->stream, e->wanted);
    return NULL;
}

static weft_task *expect_later(expectation *e)
{
    weft_task *task = start(expecting, e);
    await_idle(task);
    return task;
}

/* A read of a terminal returns one line, though two have come. */
static void *terminal_root(void *arg)
{
    int master = *(int *)arg, slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    expectation e = {.wanted = "one\ntwo\nthree\n"};
    cr_assert_geq(slave, 0);
    cr_assert_eq(weft_stream_from_fd(&e.stream, slave), 0);
    for (int i = 0; i < 10; i++) {
        weft_task *task = expect_later(&e);
        cr_assert_eq(write(master, e.wanted, strlen(e.wanted)), (ssize_t)strlen(e.wanted));
        join(task);
    }
    weft_close(e.stream);
    return NULL;
}

Test(stream, lines_that_came_together_to_a_terminal_are_all_read)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        cr_skip_test("no terminals here");
    run(2, terminal_root, &master);
    close(master);
}

/* A read of a Unix socket ends where a descriptor was sent along. */
static void send_with_descriptor(int fd, const char *text)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    cr_assert_eq(sendmsg(fd, &message, MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void *unix_root(void *arg)
{
    int fds[2];
    expectation e = {.wanted = "abcdefghi"};
    (void)arg;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(weft_stream_from_fd(&e.stream, fds[0]), 0);
    for (int i = 0; i < 10; i++) {
        weft_task *task = expect_later(&e);
        send_with_descriptor(fds[1], "abc");
        send_with_descriptor(fds[1], "def");
        send_with_descriptor(fds[1], "ghi");
        join(task);
    }
    weft_close(e.stream);
    close(fds[1]);
    return NULL;
}

WF_TEST_WORKERS(stream, what_follows_a_descriptor_on_a_unix_socket_is_read) { run(workers, unix_root, NULL); }

static void *packets_root(void *arg)
{
    int fds[2];
    expectation e = {.wanted = "abcdef"};
    (void)arg;
    if (pipe2(fds, O_CLOEXEC | O_DIRECT) < 0)
        return NULL;
    cr_assert_eq(weft_stream_from_fd(&e.stream, fds[0]), 0);
    for (int i = 0; i < 10; i++) {
        weft_task *task = expect_later(&e);
        cr_assert_eq(write(fds[1], "abc", 3), 3);
        cr_assert_eq(write(fds[1], "def", 3), 3);
        join(task);
    }
    weft_close(e.stream);
    close(fds[1]);
    return NULL;
}

WF_TEST_WORKERS(stream, packets_of_a_pipe_are_all_read) { run(workers, packets_root, NULL); }

/* A read of a TCP socket ends before urgent data, which itself is not read. */
static void *urgent_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        weft_stream *a, *b;
        pair(&a, &b);
        expectation e = {.stream = b, .wanted = "abcefg"};
        weft_task *task = expect_later(&e);
        int fd = weft_stream_fd(a);
        if (i % 2) {
            cr_assert_eq(weft_write(a, "abc", 3), 3);
            cr_assert_eq(send(fd, "d", 1, MSG_OOB | MSG_NOSIGNAL), 1);
        } else {
            cr_assert_eq(send(fd, "abcd", 4, MSG_OOB | MSG_NOSIGNAL), 4);
        }
        cr_assert_eq(weft_write(a, "efg", 3), 3);
        join(task);
        weft_close(a);
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(stream, what_follows_urgent_data_is_read) { run(workers, urgent_root, NULL); }

/* ---- timeouts ----------------------------------------------------------------------------------------------------- */

static void run_paused(unsigned workers, weft_fn root)
{
    weft_options o = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&o, root, NULL, NULL), 0);
}

static void *impatient_root(void *arg)
{
    static char bytes[100000];
    weft_stream *a, *b;
    char buf[8];
    (void)arg;
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    cr_assert_eq(weft_stream_set_timeouts(a, HOUR, 2 * HOUR), 0);
    int64_t t = weft_now();
    cr_assert_eq(weft_read(a, buf, 1), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now() - t, HOUR);
    cr_assert_eq(weft_read_exact(a, buf, 8), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now() - t, 2 * HOUR);
    cr_assert_eq(weft_readv(a, &(struct iovec){buf, 8}, 1), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now() - t, 3 * HOUR);
    cr_assert_eq(weft_write(a, bytes, sizeof bytes), WEFT_ETIMEDOUT); /* 64 KiB of it went at once */
    cr_assert_eq(weft_now() - t, 5 * HOUR);
    cr_assert_eq(weft_write_some(a, bytes, 1), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_writev(a, &(struct iovec){bytes, 1}, 1), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now() - t, 9 * HOUR);
    cr_assert_eq(weft_read(b, bytes, sizeof bytes), 65536); /* the stream is as good as before */
    cr_assert_eq(weft_write(a, "abc", 3), 3);
    cr_assert_eq(weft_read(b, buf, sizeof buf), 3);
    cr_assert_eq(weft_now() - t, 9 * HOUR);
    cr_assert_eq(weft_stream_set_timeouts(a, WEFT_FOREVER, 0), 0);
    cr_assert_eq(weft_stream_set_timeouts(a, -1, 0), WEFT_EINVAL);
    cr_assert_eq(weft_stream_set_timeouts(a, 0, -1), WEFT_EINVAL);
    cr_assert_eq(weft_stream_set_timeouts(NULL, 0, 0), WEFT_EINVAL);
    WEFT_SCOPE(longer, 100 * HOUR);
    cr_assert_eq(weft_read(a, buf, 1), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now() - t, 109 * HOUR);
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(stream, an_operation_that_moves_nothing_times_out_on_the_minute)
{
    run_paused(workers, impatient_root);
}

/* Every 30 minutes something moves, until it stops: the patience counts from the last time, and in between nobody else gets in. */
typedef struct slow {
    weft_stream *stream;
    ssize_t result;
    int64_t ended;
} slow;

static void *slow_write(void *arg)
{
    slow *w = arg;
    size_t size = 65536 + 10 * 1000;
    char *bytes = calloc(1, size);
    w->result = weft_write(w->stream, bytes, size);
    w->ended = weft_now();
    free(bytes);
    return NULL;
}

static void *slow_read(void *arg)
{
    slow *r = arg;
    char bytes[10];
    r->result = weft_read_exact(r->stream, bytes, sizeof bytes);
    r->ended = weft_now();
    return NULL;
}

static void *moving_root(void *arg)
{
    (void)arg;
    for (int moves = 0; moves <= 10; moves += 2) {
        weft_stream *a, *b;
        char bytes[1000] = {0};
        int64_t last = weft_now();
        cr_assert_eq(weft_stream_pair(&a, &b), 0);
        cr_assert_eq(weft_stream_set_timeouts(a, HOUR, HOUR), 0);
        slow w = {.stream = a}, r = {.stream = a};
        weft_task *writer = start(slow_write, &w), *reader = start(slow_read, &r);
        for (int i = 0; i < moves; i++) {
            for (int k = 0; k < 40; k++) {
                weft_sleep(MINUTE);
                cr_assert_eq(weft_write(a, "x", 1), WEFT_EBUSY);
                cr_assert_eq(weft_read(a, bytes, 1), WEFT_EBUSY);
            }
            cr_assert_eq(weft_read_exact(b, bytes, 1000), 1000);
            cr_assert_eq(weft_write(b, "x", 1), 1);
            last = weft_now();
            if (i < 9)
                cr_assert(!weft_is_finished(writer) && !weft_is_finished(reader));
        }
        join(writer);
        join(reader);
        cr_assert_eq(w.result, moves < 10 ? WEFT_ETIMEDOUT : 65536 + 10 * 1000);
        cr_assert_eq(r.result, moves < 10 ? WEFT_ETIMEDOUT : 10);
        cr_assert_eq(w.ended, moves < 10 ? last + HOUR : last);
        cr_assert_eq(r.ended, moves < 10 ? last + HOUR : last);
        weft_close(a);
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(stream, a_long_one_that_moves_on_is_patient_from_when_it_last_moved)
{
    run_paused(workers, moving_root);
}

/* A scope's deadline is not taken for the stream's. */
static void *scoped_slow_write(void *arg)
{
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, 3 * HOUR), 0);
    slow_write(arg);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    return NULL;
}

static void *scoped_root(void *arg)
{
    weft_stream *a, *b;
    char bytes[100];
    int64_t t = weft_now();
    (void)arg;
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    cr_assert_eq(weft_stream_set_timeouts(a, 0, HOUR), 0);
    slow w = {.stream = a};
    weft_task *writer = start(scoped_slow_write, &w);
    while (!weft_is_finished(writer)) {
        weft_sleep(7 * MINUTE);
        cr_assert_eq(weft_read_exact(b, bytes, sizeof bytes), sizeof bytes);
    }
    join(writer);
    cr_assert_eq(w.result, WEFT_ETIMEDOUT);
    cr_assert_eq(w.ended - t, 3 * HOUR);
    writer = start(slow_write, &w);
    await_idle(writer);
    weft_abort(writer);
    cr_assert_eq(weft_join(writer, NULL), WEFT_EABORTED);
    cr_assert_eq(w.result, WEFT_ECANCELED);
    cr_assert_eq(weft_write_some(a, "x", 1), WEFT_ETIMEDOUT, "nobody is in it any more");
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(stream, an_interruption_ends_a_long_one_that_moves_on) { run_paused(workers, scoped_root); }

/* ---- arguments ---------------------------------------------------------------------------------------------------- */

static void *arguments_root(void *arg)
{
    weft_stream *a, *b;
    char buf[8];
    struct iovec iov[1025] = {{buf, 1}}, huge[2] = {{buf, SSIZE_MAX}, {buf, 1}}, none = {NULL, 1};
    size_t much = (size_t)SSIZE_MAX + 1;
    (void)arg;
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    cr_assert_eq(weft_read(a, buf, much), WEFT_EINVAL);
    cr_assert_eq(weft_read(a, buf, 0), WEFT_EINVAL);
    cr_assert_eq(weft_read(NULL, buf, 1), WEFT_EINVAL);
    cr_assert_eq(weft_read_exact(a, buf, much), WEFT_EINVAL);
    cr_assert_eq(weft_write(a, buf, much), WEFT_EINVAL);
    cr_assert_eq(weft_write(a, NULL, 1), WEFT_EINVAL);
    cr_assert_eq(weft_write(a, NULL, 0), 0);
    cr_assert_eq(weft_write_some(a, buf, much), WEFT_EINVAL);
    cr_assert_eq(weft_write_some(a, buf, 0), 0);
    cr_assert_eq(weft_readv(a, iov, 1025), WEFT_EINVAL);
    cr_assert_eq(weft_readv(a, iov, 0), WEFT_EINVAL);
    cr_assert_eq(weft_readv(a, iov, -1), WEFT_EINVAL);
    cr_assert_eq(weft_readv(a, huge, 2), WEFT_EINVAL);
    cr_assert_eq(weft_readv(a, &none, 1), WEFT_EINVAL);
    cr_assert_eq(weft_writev(a, iov, 1025), WEFT_EINVAL);
    cr_assert_eq(weft_writev(a, NULL, 1), WEFT_EINVAL);
    cr_assert_eq(weft_writev(a, huge, 2), WEFT_EINVAL);
    cr_assert_eq(weft_writev(a, iov + 1, 5), 0); /* no bytes in any of them */
    cr_assert_eq(weft_poll_read(NULL, a, buf, 1), WEFT_EINVAL);
    weft_close(a);
    weft_close(b);
    return NULL;
}

Test(stream, arguments_without_sense_are_refused) { run(1, arguments_root, NULL); }

/* ---- pieces ------------------------------------------------------------------------------------------------------- */

enum { PIECES = 1024 };

static size_t cut(struct iovec *iov, unsigned char *bytes, size_t most)
{
    size_t at = 0;
    for (size_t i = 0; i < PIECES; i++) {
        size_t n = i % 3 == 1 ? 0 : i * 131 % most;
        iov[i] = (struct iovec){n ? bytes + at : NULL, n};
        at += n;
    }
    return at;
}

typedef struct pieces {
    weft_stream *stream;
    struct iovec iov[PIECES];
    unsigned char bytes[PIECES * 300];
} pieces;

static void *write_pieces(void *arg)
{
    pieces *p = arg;
    size_t size = cut(p->iov, p->bytes, 300);
    for (size_t i = 0; i < size; i++)
        p->bytes[i] = (unsigned char)(i * 7 + (i >> 8));
    cr_assert_eq(weft_writev(p->stream, p->iov, PIECES), (ssize_t)size);
    return NULL;
}

static void pieces_over(weft_stream *from, weft_stream *to)
{
    pieces *out = calloc(1, sizeof *out), *in = calloc(1, sizeof *in);
    out->stream = from;
    size_t size = cut(out->iov, out->bytes, 300), at = 0;
    weft_task *task = start(write_pieces, out);
    while (at < size) {
        cut(in->iov, in->bytes, 200);
        ssize_t n = weft_readv(to, in->iov, PIECES);
        cr_assert_gt(n, 0);
        for (ssize_t i = 0; i < n; i++, at++)
            cr_assert_eq(in->bytes[i], (unsigned char)(at * 7 + (at >> 8)));
    }
    join(task);
    cr_assert_eq(at, size);
    free(out);
    free(in);
    weft_close(from);
    weft_close(to);
}

static void *pieces_root(void *arg)
{
    weft_stream *a, *b;
    (void)arg;
    pair(&a, &b);
    shrink(a);
    shrink(b);
    pieces_over(a, b);
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    pieces_over(a, b);
    cr_assert_eq(weft_pipe(&b, &a), 0);
    pieces_over(a, b);
    return NULL;
}

WF_TEST_WORKERS(stream, a_thousand_pieces_some_without_a_byte_arrive_in_order) { run(workers, pieces_root, NULL); }

/* ---- fairness ----------------------------------------------------------------------------------------------------- */

static void *never_waiting(void *arg)
{
    weft_stream *a, *b;
    atomic_int *over = arg;
    char c;
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    while (!atomic_load(over)) {
        cr_assert_eq(weft_write(a, "x", 1), 1);
        cr_assert_eq(weft_read(b, &c, 1), 1);
    }
    weft_close(a);
    weft_close(b);
    return NULL;
}

static void *budget_root(void *arg)
{
    atomic_int over = 0;
    (void)arg;
    weft_task *task = start(never_waiting, &over);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(weft_yield(), 0);
    atomic_store(&over, 1);
    join(task);
    return NULL;
}

Test(stream, a_task_whose_stream_is_always_ready_lets_others_run) { run(1, budget_root, NULL); }

/* ---- giving the descriptor back ----------------------------------------------------------------------------------- */

static void *release_root(void *arg)
{
    weft_stream *a, *b, *again;
    char buf[8];
    (void)arg;
    pair(&a, &b);
    waiter w = {.stream = a};
    weft_task *reader = start(wait_read, &w);
    await_idle(reader);
    cr_assert_eq(weft_stream_release(a), WEFT_EBUSY);
    cr_assert_eq(weft_write(b, "abc", 3), 3);
    join(reader);
    cr_assert_eq(weft_stream_ref(a), a);
    cr_assert_eq(weft_stream_release(a), WEFT_EBUSY);
    weft_close(b);
    weft_close(a); /* which shuts it: it cannot be released any more */
    cr_assert_eq(weft_stream_release(a), WEFT_ECLOSED);
    weft_close(a);

    pair(&a, &b);
    reader = start(wait_read, (w = (waiter){.stream = b}, &w));
    await_idle(reader);
    int fd = weft_stream_release(a);
    cr_assert_geq(fd, 0);
    cr_assert_neq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    cr_assert_neq(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    cr_assert_eq(send(fd, "def", 3, MSG_NOSIGNAL), 3); /* it was not shut */
    join(reader);
    cr_assert_eq(w.result, 3);
    cr_assert_eq(weft_stream_from_fd(&again, fd), 0);
    cr_assert_eq(weft_write(b, "ghi", 3), 3);
    cr_assert_eq(weft_read_exact(again, buf, 3), 3);
    weft_close(again);
    weft_close(b);

    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    cr_assert_eq(weft_stream_release(a), WEFT_ENOTSUP);
    cr_assert_eq(weft_stream_fd(a), -1);
    cr_assert_eq(weft_write(a, "abc", 3), 3);
    weft_close(a);
    weft_close(b);
    cr_assert_eq(weft_stream_release(NULL), WEFT_EINVAL);
    return NULL;
}

WF_TEST_WORKERS(stream, a_descriptor_that_nobody_uses_is_given_back_alive) { run(workers, release_root, NULL); }

/* ---- pipes and other descriptors ------------------------------------------------------------------------------------ */

static void *pipe_root(void *arg)
{
    weft_stream *r, *w;
    weft_addr addr;
    (void)arg;
    cr_assert_eq(weft_pipe(&r, &w), 0);
    expectation e = {.stream = r, .wanted = "abc"};
    weft_task *task = expect_later(&e);
    cr_assert_eq(weft_write(w, "abc", 3), 3);
    join(task);
    cr_assert_eq(weft_close_write(w), WEFT_ENOTSUP);
    cr_assert_eq(weft_stream_peer(w, &addr), WEFT_ENOTSOCK);
    waiter full = {.stream = w};
    task = start(wait_write, &full);
    await_idle(task);
    weft_close(r);
    join(task);
    cr_assert_eq(full.result, WEFT_EPIPE); /* and no SIGPIPE */
    cr_assert_eq(weft_write(w, "x", 1), WEFT_EPIPE);
    weft_close(w);

    cr_assert_eq(weft_pipe(&r, &w), 0);
    waiter end = {.stream = r, .result = 1};
    task = start(wait_read, &end);
    await_idle(task);
    weft_close(w);
    join(task);
    cr_assert_eq(end.result, 0);
    weft_close(r);
    cr_assert_eq(weft_pipe(&r, NULL), WEFT_EINVAL);
    cr_assert_null(r);
    return NULL;
}

WF_TEST_WORKERS(stream, a_pipe_ends_with_its_writer_and_breaks_with_its_reader) { run(workers, pipe_root, NULL); }

static void *adopt_root(void *arg)
{
    weft_stream *s;
    char buf[8];
    int none = open("/dev/null", O_RDWR | O_CLOEXEC), file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC),
        folder = open("/", O_RDONLY | O_CLOEXEC), datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)arg;
    cr_assert_eq(weft_stream_from_fd(&s, none), 0);
    cr_assert_eq(weft_read(s, buf, sizeof buf), 0);
    cr_assert_eq(weft_write(s, buf, sizeof buf), sizeof buf);
    weft_close(s);
    int wrong[] = {file, folder, datagrams};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_eq(weft_stream_from_fd(&s, wrong[i]), WEFT_EINVAL);
        cr_assert_null(s);
        cr_assert_eq(close(wrong[i]), 0); /* it was still ours */
    }
    cr_assert_eq(weft_stream_from_fd(&s, -1), WEFT_EBADF);
    return NULL;
}

Test(stream, what_cannot_be_waited_for_is_not_adopted) { run(1, adopt_root, NULL); }

/* ---- polls beside those who hold the direction ----------------------------------------------------------------------- */

typedef struct poller {
    weft_future future;
    weft_stream *stream;
    char got[8];
    ssize_t result;
} poller;

static weft_poll poll_reader(weft_future *self, weft_context *cx, void **result)
{
    poller *p = WEFT_CONTAINER_OF(self, poller, future);
    (void)result;
    p->result = weft_poll_read(cx, p->stream, p->got, sizeof p->got);
    return p->result == WEFT_PENDING ? WEFT_PENDING : WEFT_READY;
}

static const weft_future_ops poll_reader_ops = {.poll = poll_reader};

static weft_task *start_poller(poller *p)
{
    weft_task *task;
    p->future.ops = &poll_reader_ops;
    cr_assert_eq(weft_spawn_future(&task, &p->future), 0);
    await_idle(task);
    return task;
}

static weft_task *start_busy_poller(poller *p)
{
    weft_task *task;
    p->future.ops = &poll_reader_ops;
    cr_assert_eq(weft_spawn_future(&task, &p->future), 0);
    return task;
}

static void *pollers_root(void *arg)
{
    (void)arg;
    for (int memory = 0; memory < 2; memory++) {
        weft_stream *a, *b;
        if (memory)
            cr_assert_eq(weft_stream_pair(&a, &b), 0);
        else
            pair(&a, &b);
        poller p[3] = {{.stream = a}, {.stream = a}, {.stream = a}};
        waiter w = {.stream = a};
        weft_task *first = start_poller(&p[0]), *second = start_poller(&p[1]);
        cr_assert_eq(weft_write(b, "abc", 3), 3);
        join(second); /* the last to have polled */
        cr_assert_eq(p[1].result, 3);
        cr_assert(!weft_is_finished(first));
        weft_task *strand = start(wait_read, &w); /* nothing is held by who is pending */
        await_idle(strand);
        weft_task *busy = start_busy_poller(&p[2]);
        join(busy);
        cr_assert_eq(p[2].result, WEFT_EBUSY);
        cr_assert_eq(weft_write(b, "def", 3), 3);
        join(strand);
        cr_assert_eq(w.result, 3);
        weft_abort(first);
        cr_assert_eq(weft_join(first, NULL), WEFT_EABORTED);
        first = start_poller(&p[0]);
        weft_close(a); /* also ends one that only polls */
        join(first);
        cr_assert_eq(p[0].result, WEFT_ECLOSED);
        weft_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(stream, a_pending_poll_holds_nothing_and_the_last_is_woken) { run(workers, pollers_root, NULL); }

/* ---- everybody at once ------------------------------------------------------------------------------------------------ */

typedef struct crowd {
    weft_stream *stream;
    unsigned random;
} crowd;

static void *one_of_many(void *arg)
{
    crowd *c = arg;
    char bytes[3000] = {0};
    ssize_t n = 0;
    for (unsigned i = 0; i < 50 && n != WEFT_ECLOSED; i++) {
        c->random = c->random * 1664525 + 1013904223;
        weft_scope scope;
        weft_scope_enter(&scope, (c->random >> 16) % 300 * WEFT_US);
        switch ((c->random >> 8) % 7) {
        case 0:
            n = weft_read(c->stream, bytes, sizeof bytes);
            break;
        case 1:
            n = weft_write(c->stream, bytes, sizeof bytes);
            break;
        case 2:
            n = weft_close_write(c->stream);
            break;
        case 3: {
            weft_case cases[2] = {WEFT_READABLE(c->stream), WEFT_WRITABLE(c->stream)};
            weft_select(cases, 2);
            break;
        }
        case 4:
            if ((c->random >> 20) % 8 == 0)
                weft_stream_abort(c->stream);
            break;
        case 5:
            n = weft_read_exact(c->stream, bytes, 10);
            break;
        default:
            n = weft_write_some(c->stream, bytes, 100);
        }
        weft_scope_leave(&scope);
    }
    weft_close(c->stream);
    return NULL;
}

static void *crowd_root(void *arg)
{
    enum { MANY = 6 };
    (void)arg;
    for (size_t round = 0; round < wf_test_scale(150); round++) {
        weft_stream *ends[2];
        crowd c[MANY];
        weft_task *tasks[MANY];
        pthread_t thread;
        if (round % 3 == 0)
            pair(&ends[0], &ends[1]);
        else
            cr_assert_eq(weft_stream_pair(&ends[0], &ends[1]), 0);
        for (unsigned i = 0; i < MANY; i++) {
            c[i] = (crowd){.stream = ends[i % 2], .random = (unsigned)round * 31 + i};
            if (i >= 2)
                cr_assert_not_null(weft_stream_ref(c[i].stream));
        }
        pthread_create(&thread, NULL, one_of_many, &c[0]);
        for (int i = 1; i < MANY; i++)
            tasks[i] = start(one_of_many, &c[i]);
        for (int i = 1; i < MANY; i++)
            join(tasks[i]);
        pthread_join(thread, NULL);
    }
    return NULL;
}

WF_TEST_WORKERS(stream, reads_writes_closes_and_aborts_by_everybody_at_once_leave_nothing)
{
    run(workers, crowd_root, NULL);
}
