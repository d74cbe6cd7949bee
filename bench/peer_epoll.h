/* peer_epoll.h - what the bare servers that weft is measured against share: one thread, one edge-triggered epoll.
 *
 * With more workers, each is a thread with an epoll and a listener of its own on the same port (SO_REUSEPORT): the kernel deals out
 * the connections. The including file defines answer() and drop(). SIGTERM or SIGINT ends the server (through a signalfd), and its CPU time goes to standard
 * error. Port 0: any; the line "listening on" tells which. */
#ifndef PEER_EPOLL_H
#define PEER_EPOLL_H

#include "bench.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

enum { EVENTS = 1024, WORKERS_MAX = 64 };

static _Thread_local int poller, listener;
static int stopper;

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

/* A listener on *@a, which gets the port that it has then. */
static int listen_on(struct sockaddr_in *a, bool shared)
{
    socklen_t length = sizeof *a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    BENCH_CHECK(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* what it accepts inherits this */
    if (shared)
        BENCH_CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)) == 0);
    BENCH_CHECK(bind(fd, (struct sockaddr *)a, sizeof *a) == 0 && listen(fd, SOMAXCONN) == 0);
    BENCH_CHECK(getsockname(fd, (struct sockaddr *)a, &length) == 0);
    return fd;
}

static void serve(void)
{
    static _Thread_local struct epoll_event events[EVENTS];
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

/* A worker, with that listener. */
static void *work(void *fd)
{
    listener = *(int *)fd;
    poller = epoll_create1(EPOLL_CLOEXEC);
    BENCH_CHECK(poller >= 0);
    watch(stopper, EPOLLIN);
    watch(listener, EPOLLIN | EPOLLET);
    serve();
    return NULL;
}

/* All listen before anybody is told. */
static void listen_all(const char *address, int *listeners, int workers)
{
    char host[64];
    unsigned port;
    struct sockaddr_in a = {.sin_family = AF_INET};

    BENCH_CHECK(sscanf(address, "%63[^:]:%u", host, &port) == 2 && inet_pton(AF_INET, host, &a.sin_addr) == 1);
    a.sin_port = htons((uint16_t)port);
    for (int i = 0; i < workers; i++)
        listeners[i] = listen_on(&a, workers > 1);
    printf("listening on %s:%u\n", host, ntohs(a.sin_port));
    fflush(stdout);
}

/* The whole life of the server: @argv has the address and the number of workers. */
static int peer_main(int argc, char **argv)
{
    pthread_t threads[WORKERS_MAX];
    int listeners[WORKERS_MAX], workers = argc > 2 ? atoi(argv[2]) : 1;
    sigset_t stops;

    BENCH_CHECK(workers > 0 && workers <= WORKERS_MAX);
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigprocmask(SIG_BLOCK, &stops, NULL);
    stopper = signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
    listen_all(argc > 1 ? argv[1] : "127.0.0.1:7000", listeners, workers);
    for (int i = 1; i < workers; i++)
        BENCH_CHECK(pthread_create(&threads[i], NULL, work, &listeners[i]) == 0);
    work(&listeners[0]);
    for (int i = 1; i < workers; i++)
        pthread_join(threads[i], NULL);
    bench_print_cpu();
    return 0;
}

#endif
