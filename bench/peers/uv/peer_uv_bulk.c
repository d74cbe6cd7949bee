/* peer_uv_bulk.c - libuv's server that reads and discards.   peer_uv_bulk 127.0.0.1:7000 workers */
#include "peer_uv.h"

struct peer {
    uv_tcp_t stream;
};

static struct peer *peer_new(void)
{
    struct peer *p = malloc(sizeof *p);
    BENCH_CHECK(p);
    return p;
}

static int take(struct peer *p, const char *data, size_t size)
{
    (void)p;
    (void)data;
    (void)size;
    return 0;
}

int main(int argc, char **argv) { return peer_main(argc, argv); }
