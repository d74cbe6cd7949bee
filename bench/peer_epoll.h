/* peer_epoll.h - what the bare servers that weft is measured against share: one thread, one edge-triggered epoll.
 *
 * The including file defines answer() and drop(). SIGTERM or SIGINT ends the server (through a signalfd), and its CPU time goes to standard
 * error. Port 0: any; the line "listening on" tells which. */
#ifndef PEER_EPOLL_H
#define PEER_EPOLL_H

#include "bench.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

enum { EVENTS = 1024 };

static int poller, listener, stopper;

/* Answer what is there. Returns 0, or -1 when the connection is over. */
static int answer(int fd, uint32_t events);
static void drop(int fd);

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
            else if (answer(fd, events[i].events) < 0)
                drop(fd);
        }
    }
}

/* The whole life of the server. */
static int peer_main(const char *address)
{
    sigset_t stops;

    poller = epoll_create1(EPOLL_CLOEXEC);
    BENCH_CHECK(poller >= 0);
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigprocmask(SIG_BLOCK, &stops, NULL);
    stopper = signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
    watch(stopper, EPOLLIN);
    listen_on(address);
    watch(listener, EPOLLIN | EPOLLET);
    serve();
    bench_print_cpu();
    return 0;
}

#endif
