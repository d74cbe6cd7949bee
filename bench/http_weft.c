/* http_weft.c - weft's HTTP server, to be measured against peer_epoll_http.   http_weft 127.0.0.1:7000 workers */
#include "hello.h"
#include "serve_weft.h"

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

int main(int argc, char **argv) { return serve_main(argc, argv, say_hello); }
