/* An echo server that stops gracefully.
 *
 *   terminal 1:   ./05_echo_server 127.0.0.1:7000        and Ctrl-C in the end
 *   terminal 2:   nc 127.0.0.1 7000
 *
 * A strand per connection, written like a program with a single client. weft_serve() does the rest: it accepts, limits how many
 * there are at once, rides out a shortage of descriptors, and on a stop lets the handlers finish. */
#include <stdio.h>
#include <weft.h>

static void *echo(weft_stream *peer, void *arg)
{
    char buf[16 * 1024];
    ssize_t n;
    (void)arg;
    while ((n = weft_read(peer, buf, sizeof buf)) > 0) /* 0: the peer has sent all it wants to; it may still read */
        if (weft_write(peer, buf, (size_t)n) < 0)
            break;
    return NULL; /* weft_serve() closes the stream */
}

static void *serve(void *listener)
{
    weft_serve_options options = {.max_connections = 10000, .drain_timeout = 1 * WEFT_SEC};
    weft_serve(listener, echo, NULL, &options);
    return NULL;
}

static void *app(void *address)
{
    weft_listener *listener;
    weft_task *server;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];

    int err = weft_tcp_listen(&listener, address, NULL);
    if (err < 0) {
        fprintf(stderr, "%s\n", weft_error_detail());
        return weft_fail(err);
    }
    weft_listener_addr(listener, &addr);
    printf("listening on %s\n", weft_addr_format(&addr, text, sizeof text));
    fflush(stdout);

    err = weft_spawn(&server, serve, listener);
    if (err == 0) {
        err = weft_shutdown_signal(); /* the first SIGINT or SIGTERM; a second one kills as usual */
        weft_task_close(server);      /* abort it, and wait until the last handler has ended */
    }
    weft_listener_close(listener);
    if (err < 0)
        return weft_fail(err);
    puts("bye");
    return NULL;
}

int main(int argc, char **argv) { return weft_run(app, argc > 1 ? argv[1] : "127.0.0.1:7000", NULL) < 0; }
