/* An HTTP/1.1 server: keep-alive, pipelining, chunked bodies, limits, and files by sendfile.
 *
 *   terminal 1:   ./11_http 127.0.0.1:8080 /usr/share/doc                  and Ctrl-C in the end
 *   terminal 2:   curl -i http://127.0.0.1:8080/hello
 *                 curl -i --data-binary @README.md http://127.0.0.1:8080/echo
 *                 curl http://127.0.0.1:8080/files/bash/copyright
 *
 * A strand per connection. What has been read and what waits to be written have buffers only while there is something in them, so a
 * connection that idles between requests costs little more than the page its strand stands on. The parser is http-parser's. */
#include <fcntl.h>
#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <weft.h>

enum { MOST_HEADERS = 16 * 1024, MOST_BODY = 1024 * 1024, LONGEST_TARGET = 1024 };

typedef struct server {
    const char *address, *root; /* root: of /files/ */
    weft_listener *listener;
    weft_token *draining; /* idle connections leave when it is cancelled */
} server;

typedef struct connection {
    const server *server;
    weft_stream *peer;
    weft_reader *in;
    weft_writer *out;
} connection;

typedef struct request {
    http_parser parser;
    int wrong, complete; /* wrong: a status, as soon as something is */
    size_t target_size, body_size;
    char target[LONGEST_TARGET], *body; /* target: terminated, all zero at first */
} request;

static int on_url(http_parser *p, const char *at, size_t size)
{
    request *r = p->data;
    if (r->target_size + size >= sizeof r->target)
        return r->wrong = 414;
    memcpy(r->target + r->target_size, at, size);
    r->target_size += size;
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t size)
{
    request *r = p->data;
    char *more = r->body_size + size <= MOST_BODY ? realloc(r->body, r->body_size + size) : NULL;
    if (!more)
        return r->wrong = 413;
    r->body = more;
    memcpy(more + r->body_size, at, size);
    r->body_size += size;
    return 0;
}

/* What follows is the next request's. */
static int on_complete(http_parser *p)
{
    ((request *)p->data)->complete = 1;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {.on_url = on_url, .on_body = on_body, .on_message_complete = on_complete};

/* 1, or what weft_reader_peek() said. */
static int read_request(connection *c, request *r)
{
    char *data;
    size_t size;
    int got = 1;
    *r = (request){.parser.data = r};
    http_parser_init(&r->parser, HTTP_REQUEST);
    while (!r->complete && !r->wrong && (got = weft_reader_peek(c->in, 1, &data, &size)) == 1) {
        weft_reader_consume(c->in, http_parser_execute(&r->parser, &settings, data, size));
        enum http_errno err = HTTP_PARSER_ERRNO(&r->parser);
        if (!r->complete && !r->wrong && (err != HPE_OK || r->parser.upgrade))
            r->wrong = err == HPE_HEADER_OVERFLOW ? 431 : err != HPE_OK ? 400 : 501;
    }
    return got;
}

/* @size < 0: the body comes in chunks. */
static void begin(connection *c, const request *r, int status, int64_t size)
{
    int stays = !r->wrong && http_should_keep_alive(&r->parser);
    char length[48] = "Transfer-Encoding: chunked";
    if (size >= 0)
        snprintf(length, sizeof length, "Content-Length: %lld", (long long)size);
    weft_writer_printf(c->out, "HTTP/1.1 %d %s\r\n%s%s\r\n\r\n", status, http_status_str((enum http_status)status),
                       stays ? "" : "Connection: close\r\n", length);
}

static void answer(connection *c, const request *r, int status, const char *text)
{
    begin(c, r, status, (int64_t)strlen(text));
    if (r->parser.method != HTTP_HEAD)
        weft_writer_write(c->out, text, strlen(text));
}

/* The body that came, a chunk at a time. */
static void answer_echo(connection *c, const request *r)
{
    begin(c, r, 200, -1);
    for (size_t at = 0, size; at < r->body_size; at += size) {
        size = r->body_size - at < 4096 ? r->body_size - at : 4096;
        weft_writer_printf(c->out, "%zx\r\n", size);
        weft_writer_write(c->out, r->body + at, size);
        weft_writer_write(c->out, "\r\n", 2);
    }
    weft_writer_write(c->out, "0\r\n\r\n", 5);
}

/* 0, or why the connection cannot go on: with less than was promised only closing tells the client. */
static int answer_file(connection *c, const request *r)
{
    weft_file *file = NULL;
    weft_file_info info = {0};
    char path[LONGEST_TARGET + 1024];
    snprintf(path, sizeof path, "%s/%s", c->server->root, r->target + strlen("/files/"));
    int err = strstr(path, "..") ? WEFT_ENOENT : weft_file_open(&file, path, O_RDONLY, 0);
    if (err < 0 || weft_file_stat(file, &info) < 0 || !S_ISREG(info.mode)) {
        answer(c, r, 404, "no such file\n");
    } else {
        begin(c, r, 200, (int64_t)info.size);
        err = weft_writer_flush(c->out);
        if (err == 0 && r->parser.method == HTTP_GET &&
            weft_sendfile(c->peer, file, 0, (int64_t)info.size) < (int64_t)info.size)
            err = WEFT_EPIPE;
    }
    weft_file_close(file);
    return file ? err : 0;
}

static int respond(connection *c, const request *r)
{
    int method = (int)r->parser.method;
    if (r->wrong)
        answer(c, r, r->wrong, "");
    else if (method == HTTP_POST && strcmp(r->target, "/echo") == 0)
        answer_echo(c, r);
    else if (method != HTTP_GET && method != HTTP_HEAD)
        answer(c, r, 405, "");
    else if (strcmp(r->target, "/hello") == 0)
        answer(c, r, 200, "hello\n");
    else if (strncmp(r->target, "/files/", 7) == 0)
        return answer_file(c, r);
    else
        answer(c, r, 404, "not here\n");
    return 0;
}

/* 1: there is something of a request. Waiting for that ends early when the server drains. */
static int await_request(connection *c)
{
    char *data;
    size_t size;
    if (weft_reader_buffered(c->in) > 0)
        return 1; /* pipelined: answer all of them, then flush */
    int got = weft_writer_flush(c->out);
    WEFT_SCOPE(idle, WEFT_FOREVER);
    weft_scope_bind(&idle, c->server->draining);
    return got == 0 ? weft_reader_peek(c->in, 1, &data, &size) : got;
}

/* 1: the connection stays. */
static int serve_request(connection *c)
{
    weft_scope patience;
    request *r = malloc(sizeof *r);
    if (!r)
        return WEFT_ENOMEM;
    weft_scope_enter(&patience, 10 * WEFT_SEC); /* a request that comes drop by drop */
    int got = read_request(c, r);
    if (weft_scope_leave(&patience) == WEFT_ETIMEDOUT)
        got = r->wrong = 408;
    if (got > 0)
        got = respond(c, r) == 0 && !r->wrong && http_should_keep_alive(&r->parser);
    free(r->body);
    free(r);
    return got;
}

/* Who still sends when the connection is closed loses what it has not read: so for a moment all that comes is read. */
static void say_goodbye(connection *c)
{
    WEFT_SCOPE(patience, WEFT_SEC);
    char rest[512];
    if (weft_writer_flush(c->out) == 0 && weft_close_write(c->peer) == 0)
        while (weft_read(c->peer, rest, sizeof rest) > 0)
            ;
}

static void *handle(weft_stream *peer, void *arg)
{
    connection c = {.server = arg, .peer = peer};
    weft_stream_set_timeouts(peer, 60 * WEFT_SEC, 30 * WEFT_SEC);
    if (weft_reader_create(&c.in, peer, MOST_HEADERS) == 0 && weft_writer_create(&c.out, peer, 0) == 0) {
        while (await_request(&c) > 0 && serve_request(&c) > 0)
            ;
        say_goodbye(&c);
    }
    weft_writer_free(c.out); /* the reader goes with the stream */
    return NULL;
}

static void *stop(void *listener)
{
    weft_shutdown_signal();
    weft_listener_close(listener); /* weft_serve() takes no more, and drains */
    return NULL;
}

static void *run(void *arg)
{
    server *sv = arg;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    int err = weft_tcp_listen(&sv->listener, sv->address, NULL);
    if (err < 0 || (err = weft_token_create(&sv->draining, NULL)) < 0)
        return fprintf(stderr, "%s\n", weft_error_detail()), weft_fail(err);
    weft_listener_addr(sv->listener, &addr);
    printf("listening on %s\n", weft_addr_format(&addr, text, sizeof text));
    fflush(stdout);
    weft_serve_options options = {.max_connections = 20000, .drain_timeout = 5 * WEFT_SEC, .draining = sv->draining};
    if ((err = weft_spawn(NULL, stop, sv->listener)) == 0)
        err = weft_serve(sv->listener, handle, sv, &options);
    weft_token_free(sv->draining);
    return err == WEFT_ECLOSED ? NULL : weft_fail(err);
}

int main(int argc, char **argv)
{
    server sv = {.address = argc > 1 ? argv[1] : "127.0.0.1:8080", .root = argc > 2 ? argv[2] : "/nonexistent"};
    http_parser_set_max_header_size(MOST_HEADERS);
    return weft_run(run, &sv, NULL) < 0;
}
