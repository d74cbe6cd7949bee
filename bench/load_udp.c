/* load_udp.c - datagrams through an echo of 64 bytes.   load_udp 127.0.0.1:PORT seconds window [pid]
 *
 * Keeps @window datagrams under way. What counts is how many come back; with @pid, that process's CPU time for each, over exactly
 * the same time. A fifth of the time more warms up. Exits with 1 when windows were lost, or nothing came back. */
#include "client.h"
#include "udp_load.h"

/* Returns how many came back; *@at becomes the time when it was over. */
static double echo_until(struct udp_load *l, int64_t until, int64_t *at, unsigned *lost)
{
    double done = 0;
    while ((*at = bench_now()) < until) {
        int n = udp_load_step(l);
        *lost += n == 0;
        done += n;
    }
    return done;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: load_udp 127.0.0.1:PORT seconds window [pid]\n");
        return 2;
    }
    static struct udp_load l;
    struct sockaddr_in server = client_address(argv[1]);
    int64_t duration = (int64_t)(atof(argv[2]) * 1e9), from, to;
    int window = atoi(argv[3]);
    pid_t pid = argc > 4 ? atoi(argv[4]) : 0;
    unsigned lost = 0;

    BENCH_CHECK(window > 0 && duration > 0);
    udp_load_begin(&l, &server, window);
    echo_until(&l, bench_now() + duration / 5, &from, &lost);
    int64_t cpu = client_cpu_of(pid);
    double packets = echo_until(&l, from + duration, &to, &lost);
    cpu = client_cpu_of(pid) - cpu;
    BENCH_CHECK(packets > 0 && (pid == 0 || cpu > 0));
    printf("rate      %.0f packets/s\n", packets * 1e9 / (double)(to - from));
    if (pid > 0)
        printf("cpu       %.1f ns/packet\n", (double)cpu / packets);
    printf("lost      %u windows\n", lost);
    return lost > 0;
}
