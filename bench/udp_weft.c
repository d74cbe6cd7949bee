/* udp_weft.c - weft's datagram echo, one by one, to be measured against peer_epoll_udp.   udp_weft 127.0.0.1:7000 workers
 *
 * A strand receives and sends. udp.c has the same in one process with its client, and in batches. SIGTERM or SIGINT ends it, and its
 * CPU time goes to standard error. */
#include "bench.h"

#include <weft.h>

static void *echo(void *u)
{
    char buf[2048];
    weft_addr from;
    ssize_t n;
    while ((n = weft_udp_recv(u, buf, sizeof buf, &from)) >= 0)
        if (weft_udp_send(u, buf, (size_t)n, &from) < 0)
            break;
    return NULL;
}

static void *app(void *arg)
{
    weft_udp *u;
    weft_task *task;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];

    BENCH_CHECK(weft_udp_bind(&u, arg, NULL) == 0 && weft_udp_local(u, &addr) == 0);
    printf("listening on %s\n", weft_addr_format(&addr, text, sizeof text));
    fflush(stdout);
    BENCH_CHECK(weft_spawn(&task, echo, u) == 0);
    weft_shutdown_signal();
    weft_task_close(task);
    weft_udp_close(u);
    return NULL;
}

int main(int argc, char **argv)
{
    static char any[] = "127.0.0.1:0";
    weft_options options = WEFT_OPTIONS_INIT;
    options.workers = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    int err = weft_run_with(&options, app, argc > 1 ? argv[1] : any, NULL);
    bench_print_cpu();
    return err < 0;
}
