/* grow.c - what one costs while there are N: the curve should be flat.   grow tasks|strands|timers|connections N [WORKERS]
 *
 * tasks:       spawn N stackless tasks that wait, each in memory of its own, then let them end and join them, in nanoseconds for each; and the
 *              bytes that the process has grown by meanwhile. strands: the same with a stack each.
 * timers:      start one timer and cancel it again, while N others stand.
 * connections: CPU time of an echo server per request, with N connections of which 64 are busy. The client is this process, the server its child.
 * Small works are repeated within a round until there is something to measure. */
#include "bench_weft.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>

enum { ROUNDS = 5, AT_LEAST = 100000, BUSY = 64, REQUEST = 64, BATCHES = 1500, MANY = 10000 };

static unsigned long count;
static unsigned workers = 1;

static void *allocate(size_t n, size_t size)
{
    void *block = calloc(n, size);
    BENCH_CHECK(block);
    return block;
}

static unsigned long repeats(void) { return count < AT_LEAST ? AT_LEAST / count : 1; }

/* ---- tasks --------------------------------------------------------------------------------------------------- */

/* [GO] the release store of who lets it go pairs with the acquire load of the poll that it wakes. */
struct waiter {
    weft_future future;
    weft_atomic_waker waker;
    atomic_bool go;
};

static atomic_ulong waiting;
static bool with_stacks;

static bool may_go(struct waiter *w) { return atomic_load_explicit(&w->go, memory_order_acquire); } /* [GO] */

static weft_poll waiter_poll(weft_future *self, weft_context *cx, void **result)
{
    struct waiter *w = WEFT_CONTAINER_OF(self, struct waiter, future);
    (void)result;
    if (may_go(w))
        return WEFT_READY;
    BENCH_CHECK(weft_atomic_waker_register(&w->waker, weft_context_waker(cx)) == 0);
    if (may_go(w))
        return WEFT_READY;
    atomic_fetch_add_explicit(&waiting, 1, memory_order_relaxed);
    return WEFT_PENDING;
}

static const weft_future_ops waiter_ops = {.poll = waiter_poll};

static void *wait_on_stack(void *arg)
{
    struct waiter *w = arg;
    BENCH_CHECK(weft_await(&w->future, NULL) == 0);
    return NULL;
}

struct crowd {
    struct waiter **waiter;
    weft_task **task;
};

static void spawn_one(struct crowd *c, unsigned long i)
{
    struct waiter *w = c->waiter[i] = malloc(sizeof *w);
    BENCH_CHECK(w);
    w->future.ops = &waiter_ops;
    weft_atomic_waker_init(&w->waker);
    atomic_init(&w->go, false);
    if (with_stacks)
        c->task[i] = bench_spawn(wait_on_stack, w);
    else
        BENCH_CHECK(weft_spawn_future(&c->task[i], &w->future) == 0);
}

static void spawn_all(struct crowd *c)
{
    atomic_store(&waiting, 0);
    for (unsigned long i = 0; i < count; i++)
        spawn_one(c, i);
    while (atomic_load(&waiting) < count)
        weft_yield();
}

static void end_all(struct crowd *c)
{
    for (unsigned long i = 0; i < count; i++) {
        atomic_store_explicit(&c->waiter[i]->go, true, memory_order_release); /* [GO] */
        weft_atomic_waker_wake(&c->waiter[i]->waker);
    }
    for (unsigned long i = 0; i < count; i++) {
        bench_join(c->task[i]);
        free(c->waiter[i]);
    }
}

static double crowd_round(void *crowd)
{
    int64_t start = bench_now();
    for (unsigned long i = repeats(); i > 0; i--) {
        spawn_all(crowd);
        end_all(crowd);
    }
    return (double)(bench_now() - start) / (double)(count * repeats());
}

/* Before anything else: what one round has freed the next would not seem to need. */
static void print_bytes(struct crowd *c, const char *name)
{
    double before = bench_memory("VmRSS");
    spawn_all(c);
    if (count >= MANY) /* fewer are lost among pages */
        printf("%-28s %12.0f bytes\n", name, (bench_memory("VmRSS") - before) / (double)count);
    end_all(c);
}

static void *measure_crowd(void *arg)
{
    struct crowd c = {allocate(count, sizeof *c.waiter), allocate(count, sizeof *c.task)};
    memset(c.waiter, 1, count * sizeof *c.waiter); /* these two are not the tasks' */
    memset(c.task, 1, count * sizeof *c.task);
    print_bytes(&c, with_stacks ? "grow_strands_bytes" : "grow_tasks_bytes");
    bench_measure(with_stacks ? "grow_strands" : "grow_tasks", "ns/task", ROUNDS, crowd_round, &c);
    free(c.waiter);
    free(c.task);
    return arg;
}

/* ---- timers -------------------------------------------------------------------------------------------------- */

static uint64_t random_next(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

/* Within two hours, and not before the measurement is over. */
static int64_t later(void) { return weft_now() + WEFT_SEC * (600 + (int64_t)(random_next() % 7200)); }

static weft_timer *standing;

static double timer_round(void *cx)
{
    weft_timer timer;
    int64_t when = later(), start = bench_now();
    for (int i = 0; i < AT_LEAST; i++) {
        weft_timer_init(&timer, when + (i % 1024) * WEFT_SEC);
        BENCH_CHECK(weft_timer_poll(cx, &timer) == WEFT_PENDING);
        weft_timer_drop(&timer);
    }
    return (double)(bench_now() - start) / AT_LEAST;
}

static weft_poll timers_poll(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)result;
    standing = allocate(count, sizeof *standing);
    for (unsigned long i = 0; i < count; i++) {
        weft_timer_init(&standing[i], later());
        BENCH_CHECK(weft_timer_poll(cx, &standing[i]) == WEFT_PENDING);
    }
    bench_measure("grow_timers", "ns/timer", ROUNDS, timer_round, cx);
    for (unsigned long i = 0; i < count; i++)
        weft_timer_drop(&standing[i]);
    free(standing);
    return WEFT_READY;
}

static void *measure_timers(void *arg)
{
    static const weft_future_ops ops = {.poll = timers_poll};
    weft_future f = {.ops = &ops};
    weft_task *task;
    BENCH_CHECK(weft_spawn_future(&task, &f) == 0);
    bench_join(task);
    return arg;
}

/* ---- connections --------------------------------------------------------------------------------------------- */

static int port_out; /* where the server says its port */

static void *echo(void *peer)
{
    char buf[2048];
    ssize_t n;
    while ((n = weft_read(peer, buf, sizeof buf)) > 0)
        if (weft_write(peer, buf, (size_t)n) < 0)
            break;
    weft_close(peer);
    return NULL;
}

static void *serve(void *arg)
{
    weft_listener *listener;
    weft_stream *peer;
    weft_addr address;
    (void)arg;
    BENCH_CHECK(weft_tcp_listen(&listener, "127.0.0.1:0", NULL) == 0 && weft_listener_addr(listener, &address) == 0);
    unsigned port = weft_addr_port(&address);
    BENCH_CHECK(write(port_out, &port, sizeof port) == sizeof port);
    while (weft_accept(&peer, listener) == 0)
        BENCH_CHECK(weft_spawn(NULL, echo, peer) == 0);
    return NULL;
}

static pid_t start_server(unsigned *port)
{
    int ends[2];
    BENCH_CHECK(pipe(ends) == 0);
    pid_t pid = fork();
    BENCH_CHECK(pid >= 0);
    if (pid == 0) {
        port_out = ends[1];
        bench_run(workers, serve);
        _exit(1);
    }
    BENCH_CHECK(read(ends[0], port, sizeof *port) == sizeof *port);
    return pid;
}

/* A server that has died is noticed: nobody waits for ever. */
static void echo_once(int fd)
{
    char buf[REQUEST] = {0};
    BENCH_CHECK(send(fd, buf, sizeof buf, MSG_NOSIGNAL) == sizeof buf);
    BENCH_CHECK(recv(fd, buf, sizeof buf, MSG_WAITALL) == sizeof buf);
}

/* Ended with a reset: no TIME_WAIT fills the port range. */
static int connect_one(unsigned port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger reset = {.l_onoff = 1};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    BENCH_CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    BENCH_CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    echo_once(fd);
    return fd;
}

struct client {
    pid_t server;
    int *fd;
};

static int64_t server_cpu(pid_t pid)
{
    struct timespec t;
    clockid_t clock;
    BENCH_CHECK(clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &t) == 0);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The busy ones lie among all the others. All send, then all wait for their echo. */
static double connection_round(void *arg)
{
    struct client *c = arg;
    unsigned long busy = count < BUSY ? count : BUSY, step = count / busy;
    char buf[REQUEST] = {0};
    int64_t before = server_cpu(c->server);
    for (int i = 0; i < BATCHES; i++) {
        for (unsigned long k = 0; k < busy; k++)
            BENCH_CHECK(send(c->fd[k * step], buf, sizeof buf, MSG_NOSIGNAL) == sizeof buf);
        for (unsigned long k = 0; k < busy; k++)
            BENCH_CHECK(recv(c->fd[k * step], buf, sizeof buf, MSG_WAITALL) == sizeof buf);
    }
    return (double)(server_cpu(c->server) - before) / (double)(BATCHES * busy);
}

static void measure_connections(void)
{
    unsigned port;
    unsigned long limit = bench_raise_nofile();
    struct client c = {.fd = allocate(count, sizeof *c.fd)};
    if (limit < count + 64) {
        fprintf(stderr, "only %lu descriptors\n", limit);
        exit(2);
    }
    c.server = start_server(&port);
    for (unsigned long i = 0; i < count; i++)
        c.fd[i] = connect_one(port);
    bench_measure("grow_connections", "ns/request", ROUNDS, connection_round, &c);
    kill(c.server, SIGKILL);
    waitpid(c.server, NULL, 0);
    free(c.fd);
}

int main(int argc, char **argv)
{
    const char *work = argc > 1 ? argv[1] : "";
    count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (argc > 3)
        workers = (unsigned)atoi(argv[3]);
    BENCH_CHECK(workers > 0);
    if (count == 0)
        return 2;
    with_stacks = strcmp(work, "strands") == 0;
    if (with_stacks || strcmp(work, "tasks") == 0)
        bench_run(workers, measure_crowd);
    else if (strcmp(work, "timers") == 0)
        bench_run(workers, measure_timers);
    else if (strcmp(work, "connections") == 0)
        measure_connections();
    else
        return 2;
    return 0;
}
