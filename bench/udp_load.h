/* udp_load.h - a load for datagram echoes: a window of datagrams is kept under way, and what comes back goes out again at once.
 *
 * Bare blocking calls, many datagrams in each: the client is not what is measured. A loss is made good by sending the window anew. */
#ifndef UDP_LOAD_H
#define UDP_LOAD_H

#include "bench.h"

#include <arpa/inet.h>
#include <sys/socket.h>

enum { UDP_SIZE = 64, UDP_BATCH = 64, UDP_PATIENCE_S = 1 /* then something was lost */ };

typedef struct sockaddr_in address;

struct udp_load {
    int fd, window;
    struct mmsghdr messages[UDP_BATCH];
    struct iovec pieces[UDP_BATCH];
    char bytes[UDP_BATCH][UDP_SIZE];
};

/* A socket on a free port of the loopback; its name goes to @name. */
static int open_socket(address *name)
{
    socklen_t length = sizeof *name;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    *name = (address){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    BENCH_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)name, sizeof *name) == 0);
    BENCH_CHECK(getsockname(fd, (struct sockaddr *)name, &length) == 0);
    return fd;
}

static void udp_send(struct udp_load *l, int n)
{
    for (int sent = 0, now; sent < n; sent += now) {
        int batch = n - sent < UDP_BATCH ? n - sent : UDP_BATCH;
        BENCH_CHECK((now = sendmmsg(l->fd, l->messages, (unsigned)batch, 0)) > 0);
    }
}

static void udp_load_begin(struct udp_load *l, const address *server, int window)
{
    struct timeval patience = {.tv_sec = UDP_PATIENCE_S};
    address own;

    l->fd = open_socket(&own);
    l->window = window;
    for (int i = 0; i < UDP_BATCH; i++) {
        l->pieces[i] = (struct iovec){l->bytes[i], UDP_SIZE};
        l->messages[i].msg_hdr = (struct msghdr){.msg_iov = &l->pieces[i], .msg_iovlen = 1};
        l->bytes[i][0] = 'x';
    }
    BENCH_CHECK(connect(l->fd, (const struct sockaddr *)server, sizeof *server) == 0);
    BENCH_CHECK(setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    udp_send(l, window);
}

/* Take what has come back, and send as many. Returns how many; 0: the window was lost. */
static int udp_load_step(struct udp_load *l)
{
    int n = recvmmsg(l->fd, l->messages, UDP_BATCH, MSG_WAITFORONE, NULL);
    udp_send(l, n > 0 ? n : l->window);
    return n > 0 ? n : 0;
}

#endif
