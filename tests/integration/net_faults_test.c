/* net_faults_test.c - TCP when the kernel fails, and when the peer is bad.
 *
 * The first half plans a fault for the n-th call of a kind, for every n until there is no n-th call any more. An interruption, an EAGAIN and a short count
 * must not be noticed; any other failure is what the operation returns that met it, and the other side's end. Meanwhile another conversation goes on, and
 * afterwards there are as many descriptors as before. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <support/faults.h>
#include <support/net_support.h>
#include <support/process.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

/* ---- a conversation ------------------------------------------------------------------------------------------------- */

enum { MESSAGE = 60000, PIECE = 7000 };

static unsigned char byte(size_t at) { return (unsigned char)(at * 7 + (at >> 8) * 3); }

typedef struct talk {
    weft_listener *listener;
    char text[WEFT_ADDR_TEXT];
    unsigned port;
    weft_stream *stream;                       /* the client's */
    ssize_t connected, accepted, echoed, sent; /* what each part came to: 0, or a code */
    ssize_t received;
    size_t got; /* bytes, all of which were right */
} talk;

static void open_listener(talk *t)
{
    weft_addr addr;
    t->listener = listen_any(t->text);
    cr_assert_eq(weft_listener_addr(t->listener, &addr), 0);
    t->port = weft_addr_port(&addr);
}

/* Reads in both ways, writes in both ways. */
static ssize_t echo(weft_stream *s)
{
    char bytes[3000];
    struct iovec iov[2] = {{bytes, 1000}, {bytes + 1000, 2000}};
    for (unsigned i = 0;; i++) {
        ssize_t n = i % 2 ? weft_read(s, bytes, sizeof bytes) : weft_readv(s, iov, 2);
        if (n <= 0)
            return n;
        iov[0].iov_len = n < 1000 ? (size_t)n : 1000;
        iov[1].iov_len = (size_t)n - iov[0].iov_len;
        ssize_t sent = i % 3 ? weft_write(s, bytes, (size_t)n) : weft_writev(s, iov, 2);
        if (sent < 0)
            return sent;
        iov[0].iov_len = 1000;
        iov[1].iov_len = 2000;
    }
}

static void *serve_one(void *arg)
{
    talk *t = arg;
    weft_stream *s;
    t->accepted = weft_accept(&s, t->listener);
    if (t->accepted < 0) {
        weft_listener_close(t->listener);
        t->listener = NULL;
        return NULL;
    }
    t->echoed = echo(s);
    weft_close(s);
    return NULL;
}

static ssize_t send_piece(weft_stream *s, unsigned char *bytes, size_t n, unsigned i)
{
    struct iovec iov[3] = {{bytes, n / 3}, {bytes + n / 3, n / 3}, {bytes + n / 3 * 2, n - n / 3 * 2}};
    return i % 2 ? weft_write(s, bytes, n) : weft_writev(s, iov, 3);
}

static void *send_all(void *arg)
{
    talk *t = arg;
    unsigned char bytes[PIECE];
    unsigned i = 0;
    t->sent = 0;
    for (size_t at = 0; at < MESSAGE; i++) {
        size_t n = MESSAGE - at < PIECE ? MESSAGE - at : PIECE;
        for (size_t k = 0; k < n; k++)
            bytes[k] = byte(at + k);
        t->sent = send_piece(t->stream, bytes, n, i);
        if (t->sent < 0) {
            weft_stream_abort(t->stream);
            return NULL;
        }
        at += n;
    }
    t->sent = weft_close_write(t->stream);
    return NULL;
}

static ssize_t receive_all(talk *t)
{
    unsigned char bytes[4000];
    for (;;) {
        ssize_t n = weft_read(t->stream, bytes, sizeof bytes);
        if (n <= 0)
            return n;
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(bytes[i], byte(t->got++));
    }
}

/* Whoever fails closes: so nobody waits for ever. */
static void converse(talk *t)
{
    t->stream = NULL;
    t->got = 0;
    t->connected = t->accepted = t->echoed = t->sent = t->received = 0;
    weft_task *server = start(serve_one, t);
    t->connected = weft_tcp_connect(&t->stream, t->text, NULL);
    if (t->connected < 0) {
        weft_abort(server);
        weft_join(server, NULL);
        return;
    }
    weft_task *sender = start(send_all, t);
    t->received = receive_all(t);
    if (t->received < 0)
        weft_stream_abort(t->stream);
    join(sender);
    weft_close(t->stream);
    join(server);
}

static bool is_perfect(const talk *t)
{
    return t->connected == 0 && t->accepted == 0 && t->echoed == 0 && t->sent == 0 && t->received == 0 && t->got == MESSAGE;
}

/* ---- somebody else ---------------------------------------------------------------------------------------------------- */

typedef struct other {
    talk talk;
    atomic_int over, rounds;
} other;

static void *others(void *arg)
{
    other *o = arg;
    open_listener(&o->talk);
    do {
        converse(&o->talk);
        cr_assert(is_perfect(&o->talk));
        atomic_fetch_add(&o->rounds, 1);
    } while (!atomic_load(&o->over));
    weft_listener_close(o->talk.listener);
    return NULL;
}

/* ---- plans -------------------------------------------------------------------------------------------------------------- */

typedef struct fault {
    faults_call call;
    unsigned times;
    int error;
    size_t at_most;
} fault;

#define ALWAYS 1000000

static const fault unnoticed[] = {
    {FAULTS_RECV, 1, EINTR, 0},     {FAULTS_RECV, 5, EINTR, 0},     {FAULTS_RECV, 1, EAGAIN, 0},
    {FAULTS_RECV, 7, EAGAIN, 0},    {FAULTS_RECV, 3, 0, 1},         {FAULTS_RECV, 2, 0, 999},
    {FAULTS_READV, 3, EINTR, 0},    {FAULTS_READV, 1, EAGAIN, 0},   {FAULTS_READV, 7, EAGAIN, 0},
    {FAULTS_READV, 3, 0, 1},        {FAULTS_READV, 1, 0, 1500},     {FAULTS_SEND, 4, EINTR, 0},
    {FAULTS_SEND, 1, EAGAIN, 0},    {FAULTS_SEND, 7, EAGAIN, 0},    {FAULTS_SEND, 2, 0, 1},
    {FAULTS_SEND, 3, 0, 2999},      {FAULTS_SENDMSG, 4, EINTR, 0},  {FAULTS_SENDMSG, 1, EAGAIN, 0},
    {FAULTS_SENDMSG, 7, EAGAIN, 0}, {FAULTS_SENDMSG, 2, 0, 1},      {FAULTS_SENDMSG, 1, 0, 1001},
    {FAULTS_ACCEPT4, 3, EINTR, 0},  {FAULTS_ACCEPT4, 1, EAGAIN, 0}, {FAULTS_ACCEPT4, 9, EAGAIN, 0},
    {FAULTS_CONNECT, 1, EINTR, 0},
};

static const fault told[] = {
    {FAULTS_RECV, 1, ECONNRESET, 0},       {FAULTS_RECV, 1, ENOMEM, 0},           {FAULTS_RECV, 1, ETIMEDOUT, 0},
    {FAULTS_READV, 1, ECONNRESET, 0},      {FAULTS_READV, 1, ENOMEM, 0},          {FAULTS_SEND, 1, EPIPE, 0},
    {FAULTS_SEND, 1, ECONNRESET, 0},       {FAULTS_SEND, 1, ENOBUFS, 0},          {FAULTS_SEND, 1, ENOMEM, 0},
    {FAULTS_SENDMSG, 1, EPIPE, 0},         {FAULTS_SENDMSG, 1, ENOBUFS, 0},       {FAULTS_ACCEPT4, 1, EMFILE, 0},
    {FAULTS_ACCEPT4, 1, ENOBUFS, 0},       {FAULTS_ACCEPT4, 1, ECONNABORTED, 0},  {FAULTS_CONNECT, 1, ECONNREFUSED, 0},
    {FAULTS_CONNECT, 1, ENETUNREACH, 0},   {FAULTS_CONNECT, 1, EADDRNOTAVAIL, 0},
#if !WF_REACTOR_UVPOLL /* there it is libuv that adds it, and libuv that aborts */
    {FAULTS_EPOLL_CTL, 1, ENOMEM, 0},      {FAULTS_EPOLL_CTL, 1, ENOSPC, 0},      {FAULTS_EPOLL_CTL, 2, ENOMEM, 0},
    {FAULTS_EPOLL_CTL, ALWAYS, ENOSPC, 0},
#endif
};

/* The listener may have kept a connection that was not accepted. */
static void clear_backlog(talk *t)
{
    weft_listener_close(t->listener);
    open_listener(t);
}

static bool met(const talk *t, ssize_t code)
{
    return t->connected == code || t->accepted == code || t->echoed == code || t->sent == code || t->received == code;
}

static void check(const talk *t, const fault *f, unsigned n, bool noticed, unsigned hits)
{
    if (hits == 0 || !noticed)
        cr_assert(is_perfect(t), "call %d, error %d, at most %zu, from %u on: %zd %zd %zd %zd %zd, %zu bytes", (int)f->call,
                  f->error, f->at_most, n, t->connected, t->accepted, t->echoed, t->sent, t->received, t->got);
    else
        cr_assert(met(t, -f->error), "call %d, error %d, from %u on: %zd %zd %zd %zd %zd", (int)f->call, f->error, n,
                  t->connected, t->accepted, t->echoed, t->sent, t->received);
}

/* Each index of the call until it is not reached; under a sanitizer some of them. */
static void one_fault(talk *t, const fault *f, bool noticed)
{
    unsigned hits, step = WF_TEST_SANITIZED ? 9 : 1;
    unsigned n = 1;
    if (!faults_sees(f->call))
        return;
    do {
        clear_backlog(t);
        faults_plan plan = {f->call, t->port, n, f->times, f->error, f->at_most, FAULTS_TCP, false, NULL};
        faults_begin(&plan);
        converse(t);
        hits = faults_end();
        check(t, f, n, noticed, hits);
        cr_assert(hits > 0 || n > 1, "call %d is never made", (int)f->call);
        n += step;
        cr_assert_lt(n, 5000);
    } while (hits > 0);
}

typedef struct faults_of {
    const fault *all;
    size_t n;
    bool noticed;
} faults_of;

static void *all_faults(void *arg)
{
    const faults_of *of = arg;
    talk t = {.listener = NULL};
    other o = {.over = 0};
    unsigned before = open_fds();
    weft_task *task = start(others, &o);
    open_listener(&t);
    for (size_t i = 0; i < of->n; i++)
        one_fault(&t, &of->all[i], of->noticed);
    weft_listener_close(t.listener);
    atomic_store(&o.over, 1);
    join(task);
    cr_assert_gt(atomic_load(&o.rounds), 0);
    int64_t deadline = weft_now() + PATIENCE;
    while (open_fds() != before) { /* the portable reactor closes a little later */
        cr_assert_lt(weft_now(), deadline, "there are %u descriptors, there were %u", open_fds(), before);
        weft_sleep(WEFT_MS);
    }
    return NULL;
}

static void need_faults(void)
{
    if (!faults_available())
        cr_skip_test("the sanitizer has the place of the system calls");
}

WF_TEST_WORKERS(net_faults, interruptions_storms_and_short_counts_go_unnoticed_wherever_they_come)
{
    faults_of of = {unnoticed, sizeof unnoticed / sizeof *unnoticed, false};
    need_faults();
    run(workers, all_faults, &of);
}

WF_TEST_WORKERS(net_faults, failures_are_told_wherever_they_come_and_leave_nothing)
{
    faults_of of = {told, sizeof told / sizeof *told, true};
    need_faults();
    run(workers, all_faults, &of);
}

static void *nothing(void *arg) { return arg; }

/* Of eventfd() only weft's own calls: libuv 1.44 leaves its epoll set open when its eventfd fails. */
Test(net_faults, a_runtime_that_gets_no_descriptor_does_not_start_and_leaves_none)
{
    static const faults_call calls[] = {FAULTS_EVENTFD, FAULTS_EPOLL_CREATE1};
    static const int errors[] = {EMFILE, ENFILE, ENOMEM};
    need_faults();
    cr_assert_eq(weft_run(nothing, NULL, NULL), 0);
    for (size_t i = 0; i < 6; i++) {
        unsigned before = open_fds(), hits, n = 1;
        do {
            weft_options o = {.workers = 3};
            faults_plan plan = {.call = calls[i % 2], .nth = n, .times = 1, .error = errors[i / 2]};
            plan.anybodys = i % 2;
            faults_begin(&plan);
            int err = weft_run_with(&o, nothing, NULL, NULL);
            hits = faults_end();
            cr_assert_eq(err, hits ? -errors[i / 2] : 0);
            cr_assert_eq(open_fds(), before);
            n++;
        } while (hits > 0);
        cr_assert_gt(n, 2);
    }
}

/* ---- bad peers ------------------------------------------------------------------------------------------------------- */

/* A blocking client that weft knows nothing of. */
static int plain_client(unsigned port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static void reset(int fd)
{
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger)), 0);
    close(fd);
}

static void meet(talk *t, weft_stream **s, int *fd)
{
    *fd = plain_client(t->port);
    cr_assert_eq(weft_accept(s, t->listener), 0);
    shrink(*s);
    cr_assert_eq(setsockopt(*fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int)), 0);
}

static void is_broken(ssize_t n) { cr_assert(n == WEFT_ECONNRESET || n == WEFT_EPIPE, "it is %zd", n); }

static void *resets_root(void *arg)
{
    talk t = {.listener = NULL};
    weft_stream *s;
    char buf[8];
    int fd;
    (void)arg;
    open_listener(&t);
    for (size_t round = 0; round < wf_test_scale(20); round++) {
        reset(plain_client(t.port)); /* in the queue */
        int err = weft_accept(&s, t.listener);
        cr_assert(err == 0 || err == WEFT_ECONNABORTED, "it is %d", err);
        if (err == 0)
            cr_assert_eq(weft_read(s, buf, sizeof buf), WEFT_ECONNRESET);
        weft_close(s);

        meet(&t, &s, &fd); /* while one reads, and one writes */
        waiter r = {.stream = s}, w = {.stream = s};
        weft_task *reader = start(wait_read, &r), *writer = start(wait_write, &w);
        await_idle(reader);
        await_idle(writer);
        reset(fd);
        join(reader);
        join(writer);
        cr_assert(r.result == WEFT_ECONNRESET || r.result == 0, "it is %zd", r.result); /* one of the two is told */
        is_broken(w.result);
        is_broken(weft_write(s, "x", 1));
        weft_close(s);

        meet(&t, &s, &fd); /* half-closed */
        cr_assert_eq(weft_close_write(s), 0);
        r = (waiter){.stream = s};
        reader = start(wait_read, &r);
        await_idle(reader);
        reset(fd);
        join(reader);
        cr_assert_eq(r.result, WEFT_ECONNRESET);
        weft_close(s);
    }
    weft_listener_close(t.listener); /* while connecting: there is nobody */
    cr_assert_eq(weft_tcp_connect(&s, t.text, NULL), WEFT_ECONNREFUSED);
    cr_assert_null(s);
    return NULL;
}

WF_TEST_WORKERS(net_faults, a_reset_in_each_state_is_told_to_who_waits) { run(workers, resets_root, NULL); }

static void *deaf_root(void *arg)
{
    static char bytes[16 << 20];
    talk t = {.listener = NULL};
    weft_stream *s;
    weft_scope scope;
    int fd;
    (void)arg;
    open_listener(&t);
    meet(&t, &s, &fd);
    cr_assert_eq(weft_stream_set_timeouts(s, 0, 20 * WEFT_MS), 0);
    cr_assert_eq(weft_write(s, bytes, sizeof bytes), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_write_some(s, bytes, sizeof bytes), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_stream_set_timeouts(s, 0, 0), 0);
    cr_assert_eq(weft_scope_enter(&scope, 20 * WEFT_MS), 0);
    cr_assert_eq(weft_write(s, bytes, sizeof bytes), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    waiter w = {.stream = s};
    weft_task *writer = start(wait_write, &w);
    await_idle(writer);
    weft_abort(writer);
    cr_assert_eq(weft_join(writer, NULL), WEFT_EABORTED);
    cr_assert_eq(w.result, WEFT_ECANCELED);
    writer = start(wait_write, &w);
    await_idle(writer);
    weft_stream_abort(s);
    join(writer);
    cr_assert_eq(w.result, WEFT_ECLOSED);
    weft_close(s);
    close(fd);
    weft_listener_close(t.listener);
    return NULL;
}

WF_TEST_WORKERS(net_faults, a_client_that_never_reads_is_given_up_in_every_way) { run(workers, deaf_root, NULL); }

/* ---- a server and its bad clients --------------------------------------------------------------------------------------- */

static atomic_int served;

static void *echo_handler(weft_stream *s, void *arg)
{
    char buf[64];
    ssize_t n;
    (void)arg;
    atomic_fetch_add(&served, 1);
    while ((n = weft_read(s, buf, sizeof buf)) > 0)
        if (weft_write(s, buf, (size_t)n) < 0)
            break;
    return NULL;
}

static void *serve(void *arg)
{
    cr_assert_lt(weft_serve(arg, echo_handler, NULL, NULL), 0);
    return NULL;
}

static void *drip(void *arg)
{
    talk *t = arg;
    weft_stream *s;
    cr_assert_eq(weft_tcp_connect(&s, t->text, NULL), 0);
    for (size_t i = 0; i < 300; i++) {
        unsigned char c = byte(i), back = (unsigned char)~c;
        cr_assert_eq(weft_write(s, &c, 1), 1);
        cr_assert_eq(weft_read(s, &back, 1), 1);
        cr_assert_eq(back, c);
    }
    reset_on_close(s);
    weft_close(s);
    return NULL;
}

static void *go_away(void *arg)
{
    talk *t = arg;
    for (int i = 0; i < 100; i++) {
        weft_stream *s;
        cr_assert_eq(weft_tcp_connect(&s, t->text, NULL), 0);
        if (i % 2)
            reset_on_close(s);
        if (i % 3 == 0)
            weft_write(s, "hello", 5);
        weft_close(s);
    }
    return NULL;
}

enum { CROWD = 1000 };

typedef struct caller {
    talk *talk;
    weft_stream *stream;
} caller;

static void *call_and_hold(void *arg)
{
    caller *c = arg;
    char buf[5];
    cr_assert_eq(weft_tcp_connect(&c->stream, c->talk->text, NULL), 0);
    cr_assert_eq(weft_write(c->stream, "hello", 5), 5);
    cr_assert_eq(weft_read_exact(c->stream, buf, 5), 5);
    cr_assert_arr_eq(buf, "hello", 5);
    return NULL;
}

static void crowd(talk *t, size_t n)
{
    caller *callers = calloc(n, sizeof *callers);
    weft_task **tasks = calloc(n, sizeof(weft_task *));
    for (size_t i = 0; i < n; i++) {
        callers[i].talk = t;
        tasks[i] = start(call_and_hold, &callers[i]);
    }
    for (size_t i = 0; i < n; i++)
        join(tasks[i]);
    for (size_t i = 0; i < n; i++) {
        reset_on_close(callers[i].stream);
        weft_close(callers[i].stream);
    }
    free(tasks);
    free(callers);
}

static void *bad_clients_root(void *arg)
{
    talk t = {.listener = NULL};
    (void)arg;
    open_listener(&t);
    weft_task *server = start(serve, t.listener), *slow = start(drip, &t);
    weft_task *rude[3];
    for (int i = 0; i < 3; i++)
        rude[i] = start(go_away, &t);
    crowd(&t, wf_test_scale(CROWD) < 100 ? 100 : wf_test_scale(CROWD));
    for (int i = 0; i < 3; i++)
        join(rude[i]);
    join(slow);
    join(start(drip, &t)); /* it is as good as before */
    weft_abort(server);
    cr_assert_eq(weft_join(server, NULL), WEFT_EABORTED);
    weft_listener_close(t.listener);
    cr_assert_gt(atomic_load(&served), 100);
    return NULL;
}

static void *serve_in_a_storm(void *arg)
{
    cr_assert_eq(weft_serve(arg, echo_handler, NULL, NULL), WEFT_ECANCELED);
    return NULL;
}

/* What broke: aborted while an accept failed, it ended with what that had failed with. One worker: it runs until its budget is spent. */
static void *storm_root(void *arg)
{
    static const int errors[] = {ECONNABORTED, ETIMEDOUT, EPROTO};
    (void)arg;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        talk t = {.listener = NULL};
        open_listener(&t);
        faults_plan plan = {FAULTS_ACCEPT4, t.port, 1, ALWAYS, errors[i], 0, FAULTS_TCP, false, NULL};
        faults_begin(&plan);
        weft_task *server = start(serve_in_a_storm, t.listener);
        for (int k = 0; k < 10; k++)
            weft_yield();
        weft_abort(server);
        cr_assert_eq(weft_join(server, NULL), WEFT_EABORTED);
        cr_assert_gt(faults_end(), 0);
        weft_listener_close(t.listener);
    }
    return NULL;
}

Test(net_faults, a_server_that_is_interrupted_says_so_whatever_fails_besides)
{
    need_faults();
    run(1, storm_root, NULL);
}

/* Both ends of a thousand connections are here. */
static void allow_descriptors(void)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 3000)
        cr_skip_test("not enough descriptors here");
}

WF_TEST_WORKERS(net_faults, slow_rude_and_very_many_clients_disturb_nobody_else)
{
    allow_descriptors();
    run(workers, bad_clients_root, NULL);
}
