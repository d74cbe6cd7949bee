/* load_accept.c - connections as fast as a server takes them.   load_accept 127.0.0.1:PORT seconds [pid [underway]]
 *
 * Each one connects, sends a byte, waits for its echo and ends with a reset; 64 of them are under way at once. With @pid, that
 * process's CPU time per connection is measured too. A fifth of the time more warms up. Exits with 1 when a connection was lost or
 * nothing went. */
#include "client.h"
#include "histogram.h"

#include <sys/epoll.h>

enum { UNDERWAY = 64, EVENTS = 64 };

struct visit {
    int fd;
    int64_t since;
};

static void begin(const struct sockaddr_in *address, int poller, struct visit *v)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = v};
    char byte = 'w';

    v->since = bench_now();
    v->fd = client_connect(address, 0);
    BENCH_CHECK(send(v->fd, &byte, 1, MSG_NOSIGNAL) == 1);
    BENCH_CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, v->fd, &event) == 0);
}

static void finish(struct visit *v, struct histogram *latency)
{
    char byte;
    BENCH_CHECK(recv(v->fd, &byte, 1, 0) == 1);
    close(v->fd);
    histogram_add(latency, bench_now() - v->since);
}

/* Returns how many have come and gone. */
static unsigned long visit_until(const struct sockaddr_in *address, int poller, int64_t until, struct histogram *latency)
{
    struct epoll_event events[EVENTS];
    unsigned long visits = 0;
    while (bench_now() < until) {
        int count = epoll_wait(poller, events, EVENTS, 20);
        for (int i = 0; i < count; i++, visits++) {
            finish(events[i].data.ptr, latency);
            begin(address, poller, events[i].data.ptr);
        }
    }
    return visits;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: load_accept 127.0.0.1:PORT seconds [pid [underway]]\n");
        return 2;
    }
    static struct histogram warm_up, latency;
    int64_t duration = (int64_t)(atof(argv[2]) * 1e9);
    pid_t server = argc > 3 ? atoi(argv[3]) : 0;
    unsigned underway = argc > 4 ? (unsigned)atoi(argv[4]) : UNDERWAY;
    struct sockaddr_in address = client_address(argv[1]);
    struct visit *visits = calloc(underway, sizeof *visits);
    int poller = epoll_create1(EPOLL_CLOEXEC);

    BENCH_CHECK(poller >= 0 && visits && underway > 0 && duration > 0);
    for (unsigned i = 0; i < underway; i++)
        begin(&address, poller, &visits[i]);
    visit_until(&address, poller, bench_now() + duration / 5, &warm_up);

    int64_t from = bench_now(), cpu = client_cpu_of(server);
    double count = (double)visit_until(&address, poller, from + duration, &latency);
    double seconds = (double)(bench_now() - from) / 1e9;
    cpu = client_cpu_of(server) - cpu;
    BENCH_CHECK(count > 0 && (server == 0 || cpu > 0));
    printf("rate      %.0f /s\n", count / seconds);
    printf("p50       %.1f us\n", histogram_percentile(&latency, 0.50) / 1e3);
    printf("p99       %.1f us\n", histogram_percentile(&latency, 0.99) / 1e3);
    printf("max       %.1f us\n", (double)latency.longest / 1e3);
    if (server > 0)
        printf("cpu       %.1f ns/connection\n", (double)cpu / count);
    free(visits);
    return 0;
}
