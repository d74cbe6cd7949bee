/* serve_weft.h - what weft's TCP servers share: listen, serve, and end on SIGTERM or SIGINT.
 *
 * The plain program that anybody would write: a strand per connection, nothing tuned. It ends gracefully, and its CPU time goes to
 * standard error. Port 0: any; the line "listening on" tells which. */
#ifndef SERVE_WEFT_H
#define SERVE_WEFT_H

#include "bench.h"

#include <weft.h>

struct server {
    const char *address;
    weft_handler handler;
    weft_listener *listener;
};

static void *serve(void *arg)
{
    struct server *s = arg;
    weft_serve_options options = WEFT_SERVE_OPTIONS_INIT;
    options.drain_timeout = WEFT_SEC;
    weft_serve(s->listener, s->handler, NULL, &options);
    return NULL;
}

static void *app(void *arg)
{
    struct server *s = arg;
    weft_task *server;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    int err = weft_tcp_listen(&s->listener, s->address, NULL);

    if (err < 0) {
        fprintf(stderr, "listen %s: %s\n", s->address, weft_strerror(err));
        return weft_fail(err);
    }
    weft_listener_addr(s->listener, &addr);
    printf("listening on %s\n", weft_addr_format(&addr, text, sizeof text));
    fflush(stdout);

    err = weft_spawn(&server, serve, s);
    if (err == 0) {
        weft_shutdown_signal();
        weft_task_close(server);
    }
    weft_listener_close(s->listener);
    return err < 0 ? weft_fail(err) : NULL;
}

/* The whole of a main(): @argv has the address and the number of workers. */
static int serve_main(int argc, char **argv, weft_handler handler)
{
    struct server s = {.address = argc > 1 ? argv[1] : "127.0.0.1:0", .handler = handler};
    weft_options options = WEFT_OPTIONS_INIT;
    options.workers = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    bench_raise_nofile();
    int err = weft_run_with(&options, app, &s, NULL);
    bench_print_cpu();
    return err < 0;
}

#endif
