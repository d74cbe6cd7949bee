/* client.h - what the loads share: where the server is, connections to it, and the clock of its CPU time.
 *
 * Plain C; knows nothing of what is sent. Connections end with a reset: no TIME_WAIT fills the port range. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "bench.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum {
    CLIENT_LIMIT_S = 10,       /* for a connect, and for the first answer */
    CLIENT_PER_SOURCE = 28000, /* connections from one address of this side: the range of ports has about as many */
    CLIENT_WAVE = 256          /* connections that nobody has accepted yet; backlogs are larger */
};

/* "127.0.0.1:7000" */
static inline struct sockaddr_in client_address(const char *text)
{
    char host[64];
    unsigned port;
    struct sockaddr_in address = {.sin_family = AF_INET};

    BENCH_CHECK(sscanf(text, "%63[^:]:%u", host, &port) == 2 && inet_pton(AF_INET, host, &address.sin_addr) == 1);
    address.sin_port = htons((uint16_t)port);
    return address;
}

/* The first connections come from where the system says, the next ones from 127.0.0.2, .3 and so on. */
static inline void client_bind(int fd, unsigned index)
{
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK + index / CLIENT_PER_SOURCE)};
    if (index < CLIENT_PER_SOURCE)
        return;
    BENCH_CHECK(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int)) == 0);
    BENCH_CHECK(bind(fd, (struct sockaddr *)&source, sizeof source) == 0);
}

/* The connection number @index. Blocking, with limits on each step: on the loopback the kernel completes a connect by itself. */
static inline int client_connect(const struct sockaddr_in *address, unsigned index)
{
    struct timeval limit = {.tv_sec = CLIENT_LIMIT_S};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    BENCH_CHECK(fd >= 0);
    client_bind(fd, index);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    BENCH_CHECK(connect(fd, (const struct sockaddr *)address, sizeof *address) == 0);
    return fd;
}

static inline void client_set_nonblocking(int fd) { BENCH_CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0); }

/* Send a byte and wait for it. The server has accepted whoever gets an answer, and all who came before. */
static inline void client_echo_once(int fd)
{
    char byte = 'w';
    BENCH_CHECK(send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1);
}

static inline void client_sleep_until(int64_t when)
{
    struct timespec t = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

/* The CPU time that process @pid has used, in nanoseconds; 0 without one. */
static inline int64_t client_cpu_of(pid_t pid)
{
    struct timespec cpu = {0};
    clockid_t clock;

    if (pid > 0)
        BENCH_CHECK(clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &cpu) == 0);
    return (int64_t)cpu.tv_sec * 1000000000 + cpu.tv_nsec;
}

#endif
