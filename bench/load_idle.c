/* load_idle.c - what connections cost that do nothing.   load_idle 127.0.0.1:PORT connections pid
 *
 * Connects, has one byte echoed on each, and waits until the server is quiet: "bytes" is by how much its anonymous memory
 * (RssAnon of /proc/PID/status) has grown, for each connection. Then all hang up; "left" is what a second later still is there.
 * One connection has come and gone before, so that what a server sets up once does not count. The kernel's own memory is not looked at. */
#include "client.h"

enum {
    QUIET_NS = 1000000, /* of CPU time, in one look, is quiet */
    LOOK_NS = 50000000, /* between looks */
    QUIET_LOOKS = 4,    /* in a row */
    LOOKS = 400,        /* then it is taken as it is: some servers have timers of their own */
    AFTERWARDS = 1000000000
};

/* Anonymous memory of a process that is resident, in bytes. */
static double anonymous_of(pid_t pid)
{
    char path[64], line[256];
    double kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    BENCH_CHECK(f);
    while (kib < 0 && fgets(line, sizeof line, f))
        sscanf(line, "RssAnon: %lf", &kib);
    fclose(f);
    BENCH_CHECK(kib >= 0);
    return kib * 1024;
}

static void wait_until_quiet(pid_t pid)
{
    int64_t cpu = client_cpu_of(pid);
    for (int looks = 0, quiet = 0; looks < LOOKS && quiet < QUIET_LOOKS; looks++) {
        client_sleep_until(bench_now() + LOOK_NS);
        int64_t now = client_cpu_of(pid);
        quiet = now - cpu < QUIET_NS ? quiet + 1 : 0;
        cpu = now;
    }
}

static void come_and_go(const struct sockaddr_in *address)
{
    int fd = client_connect(address, 0);
    client_echo_once(fd);
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: load_idle 127.0.0.1:PORT connections pid\n");
        return 2;
    }
    struct sockaddr_in address = client_address(argv[1]);
    unsigned count = (unsigned)atoi(argv[2]);
    pid_t server = atoi(argv[3]);
    int *fds = calloc(count, sizeof *fds);

    BENCH_CHECK(fds && count > 0 && server > 0 && bench_raise_nofile() > count + 16);
    come_and_go(&address);
    wait_until_quiet(server);
    double before = anonymous_of(server);
    for (unsigned i = 0; i < count; i++) {
        fds[i] = client_connect(&address, i);
        client_echo_once(fds[i]);
    }
    wait_until_quiet(server);
    double with = anonymous_of(server);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    client_sleep_until(bench_now() + AFTERWARDS);
    printf("bytes     %.0f B/connection\n", (with - before) / count);
    printf("left      %.0f B/connection\n", (anonymous_of(server) - before) / count);
    free(fds);
    return 0;
}
