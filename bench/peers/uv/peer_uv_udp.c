/* peer_uv_udp.c - libuv's datagram echo.   peer_uv_udp 127.0.0.1:7000
 *
 * One by one, as all of them: every datagram is received and sent by a call of its own. A send is tried at once; libuv queues only
 * what the socket does not take. One loop has the socket: asked for more workers it ends with 2. SIGTERM ends it. */
#include "bench.h"

#include <uv.h>

enum { BUFFER = 65536 };

struct rest {
    uv_udp_send_t request;
    char bytes[];
};

static void on_sent(uv_udp_send_t *request, int status)
{
    BENCH_CHECK(status == 0);
    free(request);
}

static void send_later(uv_udp_t *u, const char *data, size_t size, const struct sockaddr *to)
{
    struct rest *rest = malloc(sizeof *rest + size);
    BENCH_CHECK(rest);
    memcpy(rest->bytes, data, size);
    uv_buf_t buf = uv_buf_init(rest->bytes, (unsigned)size);
    BENCH_CHECK(uv_udp_send(&rest->request, u, &buf, 1, to, on_sent) == 0);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char bytes[BUFFER];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_datagram(uv_udp_t *u, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from, unsigned flags)
{
    (void)flags;
    BENCH_CHECK(n >= 0);
    if (!from)
        return; /* nothing is there */
    uv_buf_t answer = uv_buf_init(buf->base, (unsigned)n);
    int sent = uv_udp_try_send(u, &answer, 1, from);
    BENCH_CHECK(sent == n || sent == UV_EAGAIN);
    if (sent < 0)
        send_later(u, buf->base, (size_t)n, from);
}

int main(int argc, char **argv)
{
    char host[64] = "127.0.0.1";
    int port = 7000, length = sizeof(struct sockaddr_in);
    struct sockaddr_in a;
    uv_udp_t u;

    if (argc > 2 && atoi(argv[2]) != 1)
        return 2;
    BENCH_CHECK(argc < 2 || sscanf(argv[1], "%63[^:]:%d", host, &port) == 2);
    BENCH_CHECK(uv_ip4_addr(host, port, &a) == 0 && uv_udp_init(uv_default_loop(), &u) == 0);
    BENCH_CHECK(uv_udp_bind(&u, (const struct sockaddr *)&a, 0) == 0);
    BENCH_CHECK(uv_udp_getsockname(&u, (struct sockaddr *)&a, &length) == 0);
    BENCH_CHECK(uv_udp_recv_start(&u, on_alloc, on_datagram) == 0);
    printf("listening on %s:%u\n", host, ntohs(a.sin_port));
    fflush(stdout);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
