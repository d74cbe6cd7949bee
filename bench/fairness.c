/* fairness.c - how long the others wait while one task keeps a worker busy.   fairness [CONNECTIONS [WORKERS]]
 *
 * An echo server with 2 workers, and the same with a task that computes for 100 ms again and again and never waits in between: half of the
 * connections belong to the worker that it holds. The server is a child; this process asks one connection after the other, one request a
 * millisecond, so that a reply waits for the scheduler and not for others. fairness_max, fairness_p999: the longest reply and the 99.9th
 * percentile, in milliseconds; fairness_idle_…: without that task. On a busy machine the two have to be compared. */
#include "bench_weft.h"
#include "histogram.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { CONNECTIONS = 64, ROUNDS = 5, REQUESTS = 1500, PAUSE = 1000000, BURN = 100000000, LIMIT_S = 10 };

static int count = CONNECTIONS;
static unsigned workers = 2;

/* ---- the server ---------------------------------------------------------------------------------------------- */

static bool burning;
static int port_out; /* where the server says its port */

static void *echo(void *peer)
{
    char byte;
    while (weft_read(peer, &byte, 1) == 1 && weft_write(peer, &byte, 1) == 1) {
    }
    weft_close(peer);
    return NULL;
}

static void *burn(void *arg)
{
    for (;;) {
        for (int64_t end = bench_now() + BURN; bench_now() < end;) {
        }
        weft_yield();
    }
    return arg;
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
    for (int accepted = 0; weft_accept(&peer, listener) == 0; accepted++) {
        BENCH_CHECK(weft_spawn(NULL, echo, peer) == 0);
        if (burning && accepted == count - 1)
            BENCH_CHECK(weft_spawn(NULL, burn, NULL) == 0);
    }
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
    close(ends[0]);
    close(ends[1]);
    return pid;
}

/* ---- the client ---------------------------------------------------------------------------------------------- */

struct connection {
    int fd;
    int64_t since; /* when its request under way was sent; 0: none is */
};

struct client {
    struct connection *all;
    int poller;
    int sent, received;
    struct histogram replies;
};

/* Its end is a reset: no TIME_WAIT fills the port range. */
static void connect_one(struct client *c, struct connection *one, unsigned port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger reset = {.l_onoff = 1};
    struct timeval limit = {.tv_sec = LIMIT_S};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    char byte = 'w';

    one->since = 0;
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
    BENCH_CHECK(one->fd >= 0 && setsockopt(one->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
    setsockopt(one->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    BENCH_CHECK(connect(one->fd, (struct sockaddr *)&to, sizeof to) == 0);
    BENCH_CHECK(send(one->fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(one->fd, &byte, 1, 0) == 1);
    BENCH_CHECK(epoll_ctl(c->poller, EPOLL_CTL_ADD, one->fd, &event) == 0);
}

/* One that still waits is not asked again: its reply will count as late as it is. */
static void ask(struct client *c)
{
    struct connection *one = &c->all[c->sent % count];
    char byte = 'w';
    c->sent++;
    if (one->since) {
        c->received++;
        return;
    }
    one->since = bench_now();
    BENCH_CHECK(send(one->fd, &byte, 1, MSG_NOSIGNAL) == 1);
}

static void take_replies(struct client *c, int64_t until)
{
    struct epoll_event events[CONNECTIONS];
    struct timespec wait = {.tv_nsec = PAUSE};
    int64_t left = until - bench_now();
    wait.tv_nsec = left > 0 ? (long)(left < PAUSE ? left : PAUSE) : 0;
    int n = epoll_pwait2(c->poller, events, CONNECTIONS, &wait, NULL);
    BENCH_CHECK(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; i++) {
        struct connection *one = events[i].data.ptr;
        char byte;
        BENCH_CHECK(recv(one->fd, &byte, 1, 0) == 1 && one->since);
        histogram_add(&c->replies, bench_now() - one->since);
        one->since = 0;
        c->received++;
    }
}

static void ask_all(struct client *c)
{
    int64_t next = bench_now(), limit = next + LIMIT_S * INT64_C(1000000000);
    while (c->received < REQUESTS) {
        BENCH_CHECK(bench_now() < limit);
        if (c->sent < REQUESTS && bench_now() >= next) {
            ask(c);
            next += PAUSE;
        }
        take_replies(c, c->sent < REQUESTS ? next : limit);
    }
}

struct outcome {
    struct bench_series longest, p999;
};

static void round_of(struct outcome *o, bool with_burner)
{
    struct client c = {.all = calloc((size_t)count, sizeof *c.all), .poller = epoll_create1(EPOLL_CLOEXEC)};
    unsigned port;
    BENCH_CHECK(c.all && c.poller >= 0);
    burning = with_burner;
    pid_t server = start_server(&port);
    for (int i = 0; i < count; i++)
        connect_one(&c, &c.all[i], port);
    ask_all(&c);
    bench_add(&o->longest, (double)c.replies.longest / 1e6);
    bench_add(&o->p999, histogram_percentile(&c.replies, 0.999) / 1e6);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    for (int i = 0; i < count; i++)
        close(c.all[i].fd);
    close(c.poller);
    free(c.all);
}

static int rounds(void)
{
    const char *text = getenv("BENCH_ROUNDS");
    int n = text ? atoi(text) : ROUNDS;
    BENCH_CHECK(n > 0 && n <= BENCH_ROUNDS_MAX);
    return n;
}

int main(int argc, char **argv)
{
    struct outcome idle = {0}, burnt = {0};
    if (argc > 1)
        count = atoi(argv[1]);
    if (argc > 2)
        workers = (unsigned)atoi(argv[2]);
    BENCH_CHECK(count > 0 && workers > 0);
    bench_raise_nofile();
    for (int i = rounds(); i > 0; i--) {
        round_of(&idle, false);
        round_of(&burnt, true);
    }
    bench_print("fairness_idle_max", &idle.longest, "ms");
    bench_print("fairness_idle_p999", &idle.p999, "ms");
    bench_print("fairness_max", &burnt.longest, "ms");
    bench_print("fairness_p999", &burnt.p999, "ms");
    return 0;
}
