/* load.c - a closed-loop load for echo servers.   load 127.0.0.1:PORT connections seconds size [threads [pid]]
 *
 * Each connection sends @size bytes, waits until as many have come back, and starts again: nobody ever has two requests under way.
 * First all connect, in waves (a wave is over when its last connection has been echoed to, so the server's backlog never
 * overflows); then a warm-up; then the measured time. With @pid, that process's CPU time per request is measured too, over
 * exactly the measured time. Every step has a time limit. Connections end with a reset: no TIME_WAIT fills the port range.
 * Exits with 1 when connections were lost, 3 when there were fewer requests than connections: a busy machine, or too short. */
#include "load_loop.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>

enum { WAVE = 256, LIMIT_S = 10 /* for a connect, and for the echo that ends a wave */ };

/* Blocking, with limits on each step: on the loopback the kernel completes a connect by itself. */
static int connect_one(const struct sockaddr_in *address)
{
    struct timeval limit = {.tv_sec = LIMIT_S};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    BENCH_CHECK(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    BENCH_CHECK(connect(fd, (const struct sockaddr *)address, sizeof *address) == 0);
    return fd;
}

static void echo_once(int fd)
{
    char byte = 'w';
    BENCH_CHECK(send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1);
}

static void connect_all(struct connection *connections, unsigned count, const char *text)
{
    char host[64];
    unsigned port;
    struct sockaddr_in address = {.sin_family = AF_INET};

    BENCH_CHECK(sscanf(text, "%63[^:]:%u", host, &port) == 2 && inet_pton(AF_INET, host, &address.sin_addr) == 1);
    address.sin_port = htons((uint16_t)port);
    for (unsigned i = 0; i < count; i++) {
        int fd = connections[i].fd = connect_one(&address);
        if (i % WAVE == WAVE - 1 || i == count - 1)
            echo_once(fd);
    }
    for (unsigned i = 0; i < count; i++)
        BENCH_CHECK(fcntl(connections[i].fd, F_SETFL, O_NONBLOCK) == 0);
}

struct sample {
    int64_t at, cpu;
    unsigned long requests;
};

static void sleep_until(int64_t when)
{
    struct timespec t = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

/* What has been done up to now, and the CPU time that the server (0: none given) has used for it. */
static struct sample take_sample(struct load_loop *loops, unsigned threads, pid_t server)
{
    struct sample s = {.at = bench_now()};
    struct timespec cpu = {0};
    clockid_t clock;

    if (server > 0)
        BENCH_CHECK(clock_getcpuclockid(server, &clock) == 0 && clock_gettime(clock, &cpu) == 0);
    s.cpu = (int64_t)cpu.tv_sec * 1000000000 + cpu.tv_nsec;
    for (unsigned i = 0; i < threads; i++)
        s.requests += atomic_load_explicit(&loops[i].requests, memory_order_relaxed);
    return s;
}

static void report(const struct histogram *h, struct sample a, struct sample b, unsigned errors, pid_t server)
{
    double requests = (double)(b.requests - a.requests);
    printf("requests  %.0f\n", requests);
    printf("rate      %.0f /s\n", requests * 1e9 / (double)(b.at - a.at));
    printf("p50       %.1f us\n", histogram_percentile(h, 0.50) / 1e3);
    printf("p99       %.1f us\n", histogram_percentile(h, 0.99) / 1e3);
    printf("max       %.1f us\n", (double)h->longest / 1e3);
    if (server > 0)
        printf("cpu       %.1f ns/request\n", (double)(b.cpu - a.cpu) / requests);
    printf("errors    %u\n", errors);
}

/* Share the connections among the threads and let them go. */
static void start(struct load_loop *loops, unsigned threads, const struct load_plan *plan, struct connection *all,
                  unsigned count)
{
    for (unsigned i = 0; i < threads; i++) {
        struct load_loop *l = &loops[i];
        l->plan = plan;
        l->connections = all;
        l->count = l->open = count / threads + (i < count % threads);
        l->poller = epoll_create1(EPOLL_CLOEXEC);
        BENCH_CHECK(l->poller >= 0 && pthread_create(&l->thread, NULL, drive, l) == 0);
        all += l->count;
    }
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: load 127.0.0.1:PORT connections seconds size [threads [pid]]\n");
        return 2;
    }
    unsigned count = (unsigned)atoi(argv[2]), threads = argc > 5 ? (unsigned)atoi(argv[5]) : 1, errors = 0;
    int64_t duration = (int64_t)(atof(argv[3]) * 1e9);
    pid_t server = argc > 6 ? atoi(argv[6]) : 0;
    struct load_plan plan = {.size = (size_t)atol(argv[4])};
    struct histogram latency = {0};

    BENCH_CHECK(count > 0 && threads > 0 && threads <= count && plan.size > 0 && plan.size <= 1 << 24 && duration > 0);
    BENCH_CHECK(bench_raise_nofile() > count + threads + 16);
    struct connection *connections = calloc(count, sizeof *connections);
    struct load_loop *loops = calloc(threads, sizeof *loops);
    plan.message = malloc(plan.size);
    BENCH_CHECK(connections && loops && plan.message);
    memset(plan.message, 'w', plan.size);
    connect_all(connections, count, argv[1]);

    plan.from = bench_now() + duration / 5 + count * INT64_C(20000); /* time for each connection to begin */
    plan.until = plan.from + duration;
    start(loops, threads, &plan, connections, count);
    sleep_until(plan.from);
    struct sample a = take_sample(loops, threads, server);
    sleep_until(plan.until);
    struct sample b = take_sample(loops, threads, server);
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(loops[i].thread, NULL);
        close(loops[i].poller);
        histogram_merge(&latency, &loops[i].latency);
        errors += loops[i].count - loops[i].open;
    }
    report(&latency, a, b, errors, server);
    free(plan.message);
    free(loops);
    free(connections);
    if (errors == 0 && b.requests - a.requests < count)
        return 3;
    return errors > 0 || (server > 0 && b.cpu == a.cpu); /* a server without work is not the one that answers */
}
