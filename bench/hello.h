/* hello.h - what both HTTP servers that are compared do with a piece of input: parse it (by http-parser), and say hello to each request. */
#ifndef BENCH_HELLO_H
#define BENCH_HELLO_H

#include <http_parser.h>
#include <stddef.h>

static const char hello[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";
enum { HELLO_SIZE = sizeof hello - 1 };

static int hello_count(http_parser *parser)
{
    ++*(unsigned *)parser->data;
    return 0;
}

/* Returns how many requests ended in it, or -1: no HTTP. */
static int hello_parse(http_parser *parser, const char *data, size_t size)
{
    static const http_parser_settings settings = {.on_message_complete = hello_count};
    unsigned complete = 0;
    parser->data = &complete;
    size_t used = http_parser_execute(parser, &settings, data, size);
    return used == size && !parser->upgrade ? (int)complete : -1;
}

#endif
