/* peer_uv_http.c - libuv's HTTP server, which says hello to every request.   peer_uv_http 127.0.0.1:7000 workers */
#include "peer_uv.h"

#include "hello.h"

struct peer {
    uv_tcp_t stream;
    http_parser parser;
};

static struct peer *peer_new(void)
{
    struct peer *p = malloc(sizeof *p);
    BENCH_CHECK(p);
    http_parser_init(&p->parser, HTTP_REQUEST);
    return p;
}

static int take(struct peer *p, const char *data, size_t size)
{
    int requests = hello_parse(&p->parser, data, size);
    if (requests < 0)
        return -1;
    for (; requests > 0; requests--)
        if (reply(p, hello, HELLO_SIZE) < 0)
            return -1;
    return 0;
}

int main(int argc, char **argv) { return peer_main(argc, argv); }
