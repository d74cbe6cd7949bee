/* peer_uv.h - what libuv's servers share: a loop, a listener, connections that are read into one buffer for all.
 *
 * With more workers, each is a thread with a loop and a listener of its own on the same port (SO_REUSEPORT), as libuv has no other way to share
 * them. The including file defines struct peer, whose first member is the uv_tcp_t, and take(). A write is tried at once; only what
 * does not fit is copied and queued. SIGTERM ends the server. */
#ifndef PEER_UV_H
#define PEER_UV_H

#include "bench.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <uv.h>

enum { BUFFER = 65536, BACKLOG = 4096, WORKERS_MAX = 64 };

struct peer;

static struct peer *peer_new(void);
/* Something came. Returns 0, or -1 when the connection is over. */
static int take(struct peer *p, const char *data, size_t size);

static void on_closed(uv_handle_t *handle) { free(handle); }

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static _Thread_local char bytes[BUFFER];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n == 0)
        return; /* nothing, after all */
    if ((n < 0 || take((struct peer *)stream, buf->base, (size_t)n) < 0) && !uv_is_closing((uv_handle_t *)stream))
        uv_close((uv_handle_t *)stream, on_closed);
}

static void on_connection(uv_stream_t *listener, int status)
{
    uv_stream_t *peer = (uv_stream_t *)peer_new();
    BENCH_CHECK(status == 0 && uv_tcp_init(listener->loop, (uv_tcp_t *)peer) == 0);
    if (uv_accept(listener, peer) < 0 || uv_read_start(peer, on_alloc, on_read) < 0)
        uv_close((uv_handle_t *)peer, on_closed);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

struct rest {
    uv_write_t request;
    char bytes[];
};

static inline void on_written(uv_write_t *request, int status)
{
    (void)status; /* a broken connection tells its reader too */
    free(request);
}

/* Returns 0, or -1 when the connection is broken. */
static inline int reply(struct peer *p, const char *data, size_t size)
{
    uv_stream_t *stream = (uv_stream_t *)p;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)size);
    int n = uv_try_write(stream, &buf, 1);

    if (n == (int)size)
        return 0;
    if (n < 0 && n != UV_EAGAIN)
        return -1;
    size_t sent = n > 0 ? (size_t)n : 0;
    struct rest *rest = malloc(sizeof *rest + size - sent);
    BENCH_CHECK(rest);
    memcpy(rest->bytes, data + sent, size - sent);
    buf = uv_buf_init(rest->bytes, (unsigned)(size - sent));
    if (uv_write(&rest->request, stream, &buf, 1, on_written) == 0)
        return 0;
    free(rest);
    return -1;
}

/* ---- loops ----------------------------------------------------------------------------------------------------- */

struct worker {
    pthread_t thread;
    uv_loop_t loop;
    uv_tcp_t listener;
};

/* Listen on *@a, which gets the port that it has then. */
static void listen_on(struct worker *w, struct sockaddr_in *a, bool shared)
{
    int length = sizeof *a;
    uv_os_fd_t fd;

    BENCH_CHECK(uv_loop_init(&w->loop) == 0 && uv_tcp_init_ex(&w->loop, &w->listener, AF_INET) == 0);
    if (shared) {
        BENCH_CHECK(uv_fileno((uv_handle_t *)&w->listener, &fd) == 0);
        BENCH_CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)) == 0);
    }
    BENCH_CHECK(uv_tcp_nodelay(&w->listener, 1) == 0); /* what it accepts inherits this */
    BENCH_CHECK(uv_tcp_bind(&w->listener, (const struct sockaddr *)a, 0) == 0);
    BENCH_CHECK(uv_listen((uv_stream_t *)&w->listener, BACKLOG, on_connection) == 0);
    BENCH_CHECK(uv_tcp_getsockname(&w->listener, (struct sockaddr *)a, &length) == 0);
}

static void *work(void *worker)
{
    uv_run(&((struct worker *)worker)->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* The whole of a main(): @argv has the address and the number of workers. */
static int peer_main(int argc, char **argv)
{
    static struct worker workers[WORKERS_MAX];
    char host[64] = "127.0.0.1";
    int port = 7000, count = argc > 2 ? atoi(argv[2]) : 1;
    struct sockaddr_in a;

    bench_raise_nofile();
    BENCH_CHECK(argc < 2 || sscanf(argv[1], "%63[^:]:%d", host, &port) == 2);
    BENCH_CHECK(uv_ip4_addr(host, port, &a) == 0 && count > 0 && count <= WORKERS_MAX);
    for (int i = 0; i < count; i++) /* all listen before anybody is told */
        listen_on(&workers[i], &a, count > 1);
    printf("listening on %s:%u\n", host, ntohs(a.sin_port));
    fflush(stdout);
    for (int i = 1; i < count; i++)
        BENCH_CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    work(&workers[0]);
    return 0;
}

#endif
