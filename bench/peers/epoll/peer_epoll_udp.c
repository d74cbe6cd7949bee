/* peer_epoll_udp.c - the bare datagram echo: one thread that blocks.   peer_epoll_udp 127.0.0.1:7000
 *
 * There is one socket, so that nothing is to be gained from epoll, and nothing from more workers: asked for them it ends with 2. */
#include "bench.h"

#include <arpa/inet.h>
#include <sys/socket.h>

static int open_socket(const char *text)
{
    char host[64];
    unsigned port;
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t length = sizeof a;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    BENCH_CHECK(sscanf(text, "%63[^:]:%u", host, &port) == 2 && inet_pton(AF_INET, host, &a.sin_addr) == 1);
    a.sin_port = htons((uint16_t)port);
    BENCH_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0);
    BENCH_CHECK(getsockname(fd, (struct sockaddr *)&a, &length) == 0);
    printf("listening on %s:%u\n", host, ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    static char buf[2048];
    if (argc > 2 && atoi(argv[2]) != 1)
        return 2;
    int fd = open_socket(argc > 1 ? argv[1] : "127.0.0.1:0");
    for (;;) { /* until SIGTERM */
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t n = recvfrom(fd, buf, sizeof buf, 0, (struct sockaddr *)&from, &length);
        BENCH_CHECK(n >= 0 && sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, length) == n);
    }
}
