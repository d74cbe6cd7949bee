/* peer_epoll_http.c - the bare HTTP server that weft is measured against.   peer_epoll_http 127.0.0.1:7000 workers
 *
 * Says hello to every request. Requests are small and answers too, so a write that does not fit ends the connection. */
#include "peer_epoll.h"

#include "hello.h"

enum { BUFFER = 4096 };

static http_parser *parsers; /* by descriptor; all zero: a new connection */

static void drop(int fd)
{
    memset(&parsers[fd], 0, sizeof parsers[fd]);
    close(fd);
}

static int answer(int fd, uint32_t events)
{
    static _Thread_local char buf[BUFFER];
    ssize_t n;

    if (parsers[fd].state == 0)
        http_parser_init(&parsers[fd], HTTP_REQUEST);
    do {
        if ((n = recv(fd, buf, sizeof buf, 0)) <= 0)
            return n < 0 && errno == EAGAIN ? 0 : -1;
        int requests = hello_parse(&parsers[fd], buf, (size_t)n);
        if (requests < 0)
            return -1;
        for (int i = 0; i < requests; i++)
            if (send(fd, hello, HELLO_SIZE, MSG_NOSIGNAL) != HELLO_SIZE)
                return -1;
    } while (n == BUFFER || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)));
    return 0;
}

int main(int argc, char **argv)
{
    parsers = calloc(bench_raise_nofile(), sizeof *parsers);
    BENCH_CHECK(parsers);
    return peer_main(argc, argv);
}
