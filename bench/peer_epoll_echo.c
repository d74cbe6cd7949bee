/* peer_epoll_echo.c - the bare echo server that weft is measured against.   peer_epoll_echo 127.0.0.1:7000
 *
 * One thread, one edge-triggered epoll, one read and one write per request: a read shorter than the buffer means that the socket
 * is drained, so nobody asks again. Only when a write is short does a connection get memory, for what is left. SIGTERM or SIGINT
 * ends it (through a signalfd), and its CPU time goes to standard error. Port 0: any; the line "listening on" tells which. */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

enum { BUFFER = 16384, EVENTS = 1024 };

/* What a connection could not send yet; while there is such a rest, nothing is read from it. */
struct rest {
    size_t sent, size;
    char bytes[];
};

static int poller, listener, stopper;
static struct rest **rests; /* by descriptor; NULL nearly always */

static void drop(int fd)
{
    free(rests[fd]);
    rests[fd] = NULL;
    close(fd);
}

static void keep_rest(int fd, const char *bytes, size_t size)
{
    struct rest *rest = malloc(sizeof *rest + size);
    BENCH_CHECK(rest);
    rest->sent = 0;
    rest->size = size;
    memcpy(rest->bytes, bytes, size);
    rests[fd] = rest;
}

/* Returns 1 when the rest has gone, 0 when it has to wait, -1 when the connection is broken. */
static int send_rest(int fd)
{
    struct rest *rest = rests[fd];
    while (rest->sent < rest->size) {
        ssize_t n = send(fd, rest->bytes + rest->sent, rest->size - rest->sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        rest->sent += (size_t)n;
    }
    free(rest);
    rests[fd] = NULL;
    return 1;
}

/* Echo what is there. Returns 0, or -1 when the connection is over. */
static int echo(int fd, uint32_t events)
{
    static char buf[BUFFER];
    ssize_t n;

    if (rests[fd]) {
        int sent = send_rest(fd);
        if (sent <= 0)
            return sent;
    }
    do {
        if ((n = recv(fd, buf, sizeof buf, 0)) <= 0)
            return n < 0 && errno == EAGAIN ? 0 : -1;
        ssize_t sent = send(fd, buf, (size_t)n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return -1;
        if (sent < n) { /* the event that says "writable again" brings us back */
            keep_rest(fd, buf + (sent > 0 ? sent : 0), (size_t)(n - (sent > 0 ? sent : 0)));
            return 0;
        }
    } while (n == BUFFER || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)));
    return 0;
}

static void watch(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    BENCH_CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0);
}

static void accept_all(void)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static void listen_on(const char *address)
{
    char host[64];
    unsigned port;
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t length = sizeof a;

    BENCH_CHECK(sscanf(address, "%63[^:]:%u", host, &port) == 2 && inet_pton(AF_INET, host, &a.sin_addr) == 1);
    a.sin_port = htons((uint16_t)port);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* what it accepts inherits this */
    BENCH_CHECK(bind(listener, (struct sockaddr *)&a, sizeof a) == 0 && listen(listener, SOMAXCONN) == 0);
    BENCH_CHECK(getsockname(listener, (struct sockaddr *)&a, &length) == 0);
    printf("listening on %s:%u\n", host, ntohs(a.sin_port));
    fflush(stdout);
}

static void serve(void)
{
    static struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == stopper)
                return;
            if (fd == listener)
                accept_all();
            else if (echo(fd, events[i].events) < 0)
                drop(fd);
        }
    }
}

int main(int argc, char **argv)
{
    sigset_t stops;

    rests = calloc(bench_raise_nofile(), sizeof(struct rest *));
    poller = epoll_create1(EPOLL_CLOEXEC);
    BENCH_CHECK(rests && poller >= 0);
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigprocmask(SIG_BLOCK, &stops, NULL);
    stopper = signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
    watch(stopper, EPOLLIN);
    listen_on(argc > 1 ? argv[1] : "127.0.0.1:7000");
    watch(listener, EPOLLIN | EPOLLET);
    serve();
    bench_print_cpu();
    return 0;
}
