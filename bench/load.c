/* load.c - a closed-loop load for echo and HTTP servers.   load 127.0.0.1:PORT connections seconds size|http [threads [pid]]
 *
 * Each connection sends @size bytes, waits until as many have come back, and starts again: nobody ever has two requests under way.
 * With "http" it sends a GET and waits for the hello of hello.h, whatever the headers.
 * First all connect, in waves (a wave is over when its last connection has got an answer, so the server's backlog never
 * overflows); then a warm-up; then the measured time. With @pid, that process's CPU time per request is measured too, over
 * exactly the measured time. "least" says how fair the server is: the requests of the connection that got fewest, against the mean.
 * Every step has a time limit. Connections end with a reset: no TIME_WAIT fills the port range.
 * Exits with 1 when connections were lost, 3 when there were fewer requests than connections: a busy machine, or too short. */
#include "client.h"
#include "load_loop.h"

#include <limits.h>

enum { MESSAGE_MAX = 1 << 24 };

/* One request and its answer, on a connection that blocks. */
static void ask_once(int fd, const struct load_plan *plan)
{
    static char answer[LOOP_CHUNK];
    struct connection c = {.fd = fd};
    ssize_t n;

    BENCH_CHECK(push(plan, &c) == 0 && c.sent == plan->size);
    do {
        n = recv(fd, answer, room_for(plan, &c), 0);
        BENCH_CHECK(n > 0);
        c.received += (size_t)n;
    } while (!is_answered(plan, &c, answer, (size_t)n));
}

static void connect_all(struct connection *connections, unsigned count, const char *text, const struct load_plan *plan)
{
    struct sockaddr_in address = client_address(text);

    for (unsigned i = 0; i < count; i++) {
        int fd = connections[i].fd = client_connect(&address, i);
        if (i % CLIENT_WAVE == CLIENT_WAVE - 1 || i == count - 1)
            ask_once(fd, plan);
    }
    for (unsigned i = 0; i < count; i++)
        client_set_nonblocking(connections[i].fd);
}

struct sample {
    int64_t at, cpu;
    unsigned long requests;
};

/* What has been done up to now, and the CPU time that the server (0: none given) has used for it. */
static struct sample take_sample(struct load_loop *loops, unsigned threads, pid_t server)
{
    struct sample s = {.at = bench_now(), .cpu = client_cpu_of(server)};
    for (unsigned i = 0; i < threads; i++)
        s.requests += atomic_load_explicit(&loops[i].requests, memory_order_relaxed);
    return s;
}

/* The requests of the connection that got fewest, in parts of the mean; only those that ended within the measured time. */
static double least_of(const struct connection *connections, unsigned count)
{
    unsigned long least = ULONG_MAX, all = 0;
    for (unsigned i = 0; i < count; i++) {
        all += connections[i].served;
        least = connections[i].served < least ? connections[i].served : least;
    }
    return all ? (double)least * count / (double)all : 0;
}

/* A request without an answer took at least until the end: nobody is forgotten because it was never served. */
static int64_t longest_of(const struct connection *connections, unsigned count, int64_t longest, int64_t until)
{
    for (unsigned i = 0; i < count; i++)
        if (until - connections[i].since > longest)
            longest = until - connections[i].since;
    return longest;
}

static void report(const struct histogram *h, struct sample a, struct sample b, double least, unsigned errors, pid_t server)
{
    double requests = (double)(b.requests - a.requests);
    printf("requests  %.0f\n", requests);
    printf("rate      %.0f /s\n", requests * 1e9 / (double)(b.at - a.at));
    printf("p50       %.1f us\n", histogram_percentile(h, 0.50) / 1e3);
    printf("p99       %.1f us\n", histogram_percentile(h, 0.99) / 1e3);
    printf("p999      %.1f us\n", histogram_percentile(h, 0.999) / 1e3);
    printf("max       %.1f us\n", (double)h->longest / 1e3);
    if (server > 0)
        printf("cpu       %.1f ns/request\n", (double)(b.cpu - a.cpu) / requests);
    printf("least     %.3f of_mean\n", least);
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

/* @what: the bytes of a message, or "http" */
static struct load_plan make_plan(const char *what)
{
    static const char get[] = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
    bool http = strcmp(what, "http") == 0;
    struct load_plan plan = {.size = http ? sizeof get - 1 : (size_t)atol(what), .ending = http ? "hello\n" : NULL};

    BENCH_CHECK(plan.size > 0 && plan.size <= MESSAGE_MAX);
    plan.message = malloc(plan.size);
    BENCH_CHECK(plan.message);
    memset(plan.message, 'w', plan.size);
    if (http)
        memcpy(plan.message, get, plan.size);
    return plan;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: load 127.0.0.1:PORT connections seconds size|http [threads [pid]]\n");
        return 2;
    }
    unsigned count = (unsigned)atoi(argv[2]), threads = argc > 5 ? (unsigned)atoi(argv[5]) : 1, errors = 0;
    int64_t duration = (int64_t)(atof(argv[3]) * 1e9);
    pid_t server = argc > 6 ? atoi(argv[6]) : 0;
    struct load_plan plan = make_plan(argv[4]);
    struct histogram latency = {0};

    BENCH_CHECK(count > 0 && threads > 0 && threads <= count && duration > 0);
    BENCH_CHECK(bench_raise_nofile() > count + threads + 16);
    struct connection *connections = calloc(count, sizeof *connections);
    struct load_loop *loops = calloc(threads, sizeof *loops);
    BENCH_CHECK(connections && loops);
    connect_all(connections, count, argv[1], &plan);

    plan.from = bench_now() + duration / 5 + count * INT64_C(20000); /* time for each connection to begin */
    plan.until = plan.from + duration;
    start(loops, threads, &plan, connections, count);
    client_sleep_until(plan.from);
    struct sample a = take_sample(loops, threads, server);
    client_sleep_until(plan.until);
    struct sample b = take_sample(loops, threads, server);
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(loops[i].thread, NULL);
        close(loops[i].poller);
        histogram_merge(&latency, &loops[i].latency);
        errors += loops[i].count - loops[i].open;
    }
    latency.longest = longest_of(connections, count, latency.longest, plan.until);
    report(&latency, a, b, least_of(connections, count), errors, server);
    free(plan.message);
    free(loops);
    free(connections);
    if (errors == 0 && b.requests - a.requests < count)
        return 3;
    return errors > 0 || (server > 0 && b.cpu == a.cpu); /* a server without work is not the one that answers */
}
