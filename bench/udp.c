/* udp.c - packets per second through an echo of 64 bytes: one by one and in batches, beside a loop of bare blocking calls in the same run.
 *   udp [rounds]
 *
 * The same client, a thread with bare calls, keeps WINDOW datagrams under way against each server in turn, in short rounds; what counts is the ratio
 * within a round, and its median; where others are on the machine, the ratio of packets per second of the server's CPU. With two CPUs the client has
 * one and the server the other. */
#include "bench_weft.h"
#include "udp_load.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>

enum { WINDOW = 64, BATCH = UDP_BATCH, PACKETS = 100000, ROUNDS = 15, STOP = 'q' };

static void use_cpu(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)(cpu % (int)sysconf(_SC_NPROCESSORS_ONLN)), &set);
    sched_setaffinity(0, sizeof set, &set);
}

/* ---- the client ------------------------------------------------------------------------------------------------ */

/* Packets per second, to and fro. */
static double load(const address *server)
{
    static struct udp_load l;
    int done = 0;
    int64_t start = bench_now();
    udp_load_begin(&l, server, WINDOW);
    while (done < PACKETS) {
        int n = udp_load_step(&l);
        if (n == 0)
            fprintf(stderr, "a window was lost\n");
        done += n;
    }
    double rate = done * 1e9 / (double)(bench_now() - start);
    close(l.fd);
    return rate;
}

static void tell_to_stop(const address *server)
{
    char stop = STOP;
    address own;
    int fd = open_socket(&own);
    BENCH_CHECK(sendto(fd, &stop, 1, 0, (const struct sockaddr *)server, sizeof *server) == 1);
    close(fd);
}

/* ---- servers --------------------------------------------------------------------------------------------------- */

static void *echo_single(void *u)
{
    char buf[2048];
    weft_addr from;
    ssize_t n;
    do {
        n = weft_udp_recv(u, buf, sizeof buf, &from);
        BENCH_CHECK(n > 0 && weft_udp_send(u, buf, (size_t)n, &from) == n);
    } while (n > 1);
    return NULL;
}

static void *echo_batch(void *u)
{
    static char bytes[BATCH][2048];
    static weft_datagram d[BATCH];
    for (bool more = true; more;) {
        for (int i = 0; i < BATCH; i++) {
            d[i].data = bytes[i];
            d[i].size = sizeof bytes[i];
        }
        int n = weft_udp_recv_batch(u, d, BATCH);
        BENCH_CHECK(n > 0);
        for (int i = 0; i < n; i++) {
            d[i].size = d[i].length;
            more &= d[i].length > 1;
        }
        BENCH_CHECK(weft_udp_send_batch(u, d, n) == n);
    }
    return NULL;
}

typedef struct server {
    weft_fn echo; /* NULL: the bare one */
    address name; /* once it is ready */
    double cpu;   /* ns that it took, once it has ended */
    sem_t ready;
} server;

static double cpu_of_thread(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *serve_bare(void *arg)
{
    server *s = arg;
    char buf[2048];
    ssize_t n;
    use_cpu(0);
    int fd = open_socket(&s->name);
    sem_post(&s->ready);
    do {
        address from;
        socklen_t length = sizeof from;
        n = recvfrom(fd, buf, sizeof buf, 0, (struct sockaddr *)&from, &length);
        BENCH_CHECK(n > 0 && sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, length) == n);
    } while (n > 1);
    close(fd);
    s->cpu = cpu_of_thread();
    return NULL;
}

static void *app(void *arg)
{
    server *s = arg;
    weft_udp *u;
    weft_task *task;
    weft_addr name;
    BENCH_CHECK(weft_udp_bind(&u, "127.0.0.1:0", NULL) == 0 && weft_udp_local(u, &name) == 0);
    memcpy(&s->name, weft_addr_sockaddr(&name, NULL), sizeof s->name);
    sem_post(&s->ready);
    BENCH_CHECK(weft_spawn(&task, s->echo, u) == 0);
    bench_join(task);
    weft_udp_close(u);
    return NULL;
}

static void *serve_weft(void *arg)
{
    weft_options options = WEFT_OPTIONS_INIT;
    options.workers = 1;
    use_cpu(0);
    BENCH_CHECK(weft_run_with(&options, app, arg, NULL) == 0);
    ((server *)arg)->cpu = cpu_of_thread(); /* its one worker */
    return NULL;
}

/* ---- rounds ---------------------------------------------------------------------------------------------------- */

typedef enum { BARE, SINGLE, BATCHED, KINDS } kind;

static double measure(kind which, double *cpu)
{
    pthread_t thread;
    server s = {.echo = which == BATCHED ? echo_batch : which == SINGLE ? echo_single : NULL};
    sem_init(&s.ready, 0, 0);
    BENCH_CHECK(pthread_create(&thread, NULL, s.echo ? serve_weft : serve_bare, &s) == 0);
    sem_wait(&s.ready);
    double rate = load(&s.name);
    tell_to_stop(&s.name);
    BENCH_CHECK(pthread_join(thread, NULL) == 0);
    sem_destroy(&s.ready);
    *cpu = s.cpu / PACKETS;
    return rate;
}

int main(int argc, char **argv)
{
    struct bench_series rates[KINDS] = {{0}}, ratios[KINDS] = {{0}}, cpus[KINDS] = {{0}};
    int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS;
    use_cpu(1);
    for (int round = -1; round < rounds; round++) { /* the first warms up */
        double rate[KINDS], cpu[KINDS];
        for (int i = 0; i < KINDS; i++) {
            kind which = (kind)((round + 1 + i) % KINDS);
            rate[which] = measure(which, &cpu[which]);
        }
        for (int i = 0; i < KINDS && round >= 0; i++) {
            bench_add(&rates[i], rate[i]);
            bench_add(&ratios[i], rate[i] / rate[BARE]);
            bench_add(&cpus[i], cpu[BARE] / cpu[i]);
        }
    }
    bench_print("udp_echo_bare", &rates[BARE], "packets/s");
    bench_print("udp_echo", &rates[SINGLE], "packets/s");
    bench_print("udp_echo_batched", &rates[BATCHED], "packets/s");
    bench_print("udp_echo_ratio", &ratios[SINGLE], "of bare");
    bench_print("udp_echo_batched_ratio", &ratios[BATCHED], "of bare");
    bench_print("udp_echo_per_cpu", &cpus[SINGLE], "of bare's packets per second of the server's CPU");
    bench_print("udp_echo_batched_per_cpu", &cpus[BATCHED], "of bare's");
    return 0;
}
