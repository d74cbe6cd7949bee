/* http_weft.c - weft's HTTP server, to be measured against peer_epoll_http.   http_weft 127.0.0.1:7000 workers
 *
 * The plain program that anybody would write: a strand per connection, nothing tuned. SIGTERM or SIGINT ends it gracefully, and its CPU
 * time goes to standard error. Port 0: any; the line "listening on" tells which. */
#include "bench.h"
#include "hello.h"

#include <weft.h>

static void *say_hello(weft_stream *peer, void *arg)
{
    http_parser parser;
    char buf[4096];
    ssize_t n;
    int requests;
    (void)arg;
    http_parser_init(&parser, HTTP_REQUEST);
    while ((n = weft_read(peer, buf, sizeof buf)) > 0 && (requests = hello_parse(&parser, buf, (size_t)n)) >= 0)
        for (; requests > 0; requests--)
            if (weft_write(peer, hello, HELLO_SIZE) < 0)
                return NULL;
    return NULL; /* weft_serve closes the stream */
}

static void *serve(void *arg)
{
    weft_serve_options options = WEFT_SERVE_OPTIONS_INIT;
    options.drain_timeout = WEFT_SEC;
    weft_serve(arg, say_hello, NULL, &options);
    return NULL;
}

static void *app(void *arg)
{
    weft_listener *listener;
    weft_task *server;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    int err = weft_tcp_listen(&listener, arg, NULL);

    if (err < 0) {
        fprintf(stderr, "listen %s: %s\n", (const char *)arg, weft_strerror(err));
        return weft_fail(err);
    }
    weft_listener_addr(listener, &addr);
    printf("listening on %s\n", weft_addr_format(&addr, text, sizeof text));
    fflush(stdout);

    err = weft_spawn(&server, serve, listener);
    if (err == 0) {
        weft_shutdown_signal();
        weft_task_close(server);
    }
    weft_listener_close(listener);
    return err < 0 ? weft_fail(err) : NULL;
}

int main(int argc, char **argv)
{
    static char any[] = "127.0.0.1:0";
    weft_options options = WEFT_OPTIONS_INIT;
    options.workers = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    bench_raise_nofile();
    int err = weft_run_with(&options, app, argc > 1 ? argv[1] : any, NULL);
    bench_print_cpu();
    return err < 0;
}
