/* load_bulk.c - bytes as fast as a server takes them.   load_bulk 127.0.0.1:PORT connections seconds [pid]
 *
 * One thread writes pieces of 64 KiB on every connection that has room. What counts is what the kernel took: but for the sockets'
 * buffers, that is what the server has read. With @pid, that process's CPU time per KiB is measured over exactly the same time. A
 * fifth of the time more warms up. Exits with 1 when a connection was lost or nothing went. */
#include "client.h"

#include <sys/epoll.h>

enum {
    PIECE = 65536,
    PIECES = 16, /* at most, on one connection before the next one has its turn */
    EVENTS = 256
};

static void connect_all(const char *text, int poller, unsigned count)
{
    struct sockaddr_in address = client_address(text);
    for (unsigned i = 0; i < count; i++) {
        int fd = client_connect(&address, i);
        struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
        client_set_nonblocking(fd);
        BENCH_CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0);
    }
}

/* Returns how many bytes the kernel took. */
static size_t feed(int fd)
{
    static char piece[PIECE];
    size_t taken = 0;
    for (int i = 0; i < PIECES; i++) {
        ssize_t n = send(fd, piece, PIECE, MSG_NOSIGNAL);
        BENCH_CHECK(n > 0 || errno == EAGAIN);
        taken += n > 0 ? (size_t)n : 0;
        if (n < PIECE)
            break;
    }
    return taken;
}

/* Feed all until then. Returns the bytes; *@at becomes the time when it was over. */
static double feed_until(int poller, int64_t until, int64_t *at)
{
    struct epoll_event events[EVENTS];
    double taken = 0;
    while ((*at = bench_now()) < until) {
        int count = epoll_wait(poller, events, EVENTS, 20);
        for (int i = 0; i < count; i++)
            taken += (double)feed(events[i].data.fd);
    }
    return taken;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: load_bulk 127.0.0.1:PORT connections seconds [pid]\n");
        return 2;
    }
    unsigned count = (unsigned)atoi(argv[2]);
    int64_t duration = (int64_t)(atof(argv[3]) * 1e9), from, to;
    pid_t server = argc > 4 ? atoi(argv[4]) : 0;
    int poller = epoll_create1(EPOLL_CLOEXEC);

    BENCH_CHECK(poller >= 0 && count > 0 && duration > 0 && bench_raise_nofile() > count + 16);
    connect_all(argv[1], poller, count);
    feed_until(poller, bench_now() + duration / 5, &from);
    int64_t cpu = client_cpu_of(server);
    double bytes = feed_until(poller, from + duration, &to);
    cpu = client_cpu_of(server) - cpu;
    BENCH_CHECK(bytes > 0 && (server == 0 || cpu > 0));
    printf("rate      %.3f GB/s\n", bytes / (double)(to - from));
    if (server > 0)
        printf("cpu       %.2f ns/KiB\n", (double)cpu * 1024 / bytes);
    return 0;
}
