/* peer_epoll_echo.c - the bare echo server that weft is measured against.   peer_epoll_echo 127.0.0.1:7000 workers
 *
 * One read and one write per request: a read shorter than the buffer means that the socket is drained, so nobody asks again. Only when a
 * write is short does a connection get memory, for what is left. */
#include "peer_epoll.h"

enum { BUFFER = 16384 };

/* What a connection could not send yet; while there is such a rest, nothing is read from it. */
struct rest {
    size_t sent, size;
    char bytes[];
};

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

static int answer(int fd, uint32_t events)
{
    static _Thread_local char buf[BUFFER];
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

int main(int argc, char **argv)
{
    rests = calloc(bench_raise_nofile(), sizeof(struct rest *));
    BENCH_CHECK(rests);
    return peer_main(argc, argv);
}
