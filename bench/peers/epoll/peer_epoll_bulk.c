/* peer_epoll_bulk.c - the bare server that reads and discards.   peer_epoll_bulk 127.0.0.1:7000 workers
 *
 * Reads until a read comes back short, with the buffer of all others: 64 KiB. */
#include "peer_epoll.h"

enum { BUFFER = 65536 };

static void drop(int fd) { close(fd); }

static int answer(int fd, uint32_t events)
{
    static _Thread_local char buf[BUFFER];
    ssize_t n;

    do {
        if ((n = recv(fd, buf, sizeof buf, 0)) <= 0)
            return n < 0 && errno == EAGAIN ? 0 : -1;
    } while (n == BUFFER || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)));
    return 0;
}

int main(int argc, char **argv)
{
    bench_raise_nofile();
    return peer_main(argc, argv);
}
