/* client_http.c - conversations with the HTTP server: only as much of the protocol as that needs. */
#include "client.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_MOST = 1024, BODY_MOST = FRAME_MOST };

/* What came and was not taken lies in a->in. */
typedef struct answers {
    actor *a;
    client_link *l;
    size_t at, end;
} answers;

static int next_byte(answers *r)
{
    if (r->at == r->end) {
        ssize_t n = link_take(r->l, r->a->in, sizeof r->a->in);
        if (n <= 0)
            return -1;
        r->at = 0;
        r->end = (size_t)n;
    }
    return r->a->in[r->at++];
}

/* A line without its end; -1: there is none, or it is too long. */
static int next_line(answers *r, char *line, size_t size)
{
    size_t n = 0;
    for (int c; n < size && (c = next_byte(r)) >= 0;)
        if (c == '\n') {
            line[n > 0 && line[n - 1] == '\r' ? n - 1 : n] = '\0';
            return 0;
        } else {
            line[n++] = (char)c;
        }
    return -1;
}

/* @size bytes, which are those of @expected, if any are. */
static int next_bytes(answers *r, const unsigned char *expected, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        int c = next_byte(r);
        if (c < 0)
            return -1;
        if (expected && c != expected[i]) {
            actor_wrong(r->a, "a body differs");
            return -1;
        }
    }
    return 0;
}

static int next_chunks(answers *r, const unsigned char *expected, size_t size)
{
    char line[HEAD_MOST];
    size_t done = 0;
    while (next_line(r, line, sizeof line) == 0) {
        size_t chunk = strtoul(line, NULL, 16);
        if (chunk == 0)
            return done == size ? next_line(r, line, sizeof line) : -1;
        if (chunk > size - done || next_bytes(r, expected + done, chunk) < 0 || next_line(r, line, sizeof line) < 0)
            return -1;
        done += chunk;
    }
    return -1;
}

/* The status; -1: something else than an answer. @expected: the body, or NULL for any. */
static int next_answer(answers *r, const unsigned char *expected, size_t size)
{
    char line[HEAD_MOST];
    int status = -1, chunked = 0;
    size_t length = 0;
    if (next_line(r, line, sizeof line) < 0 || sscanf(line, "HTTP/1.1 %d", &status) != 1)
        return -1;
    while (next_line(r, line, sizeof line) == 0 && line[0]) {
        chunked |= strcmp(line, "Transfer-Encoding: chunked") == 0;
        if (strncmp(line, "Content-Length: ", 16) == 0)
            length = strtoul(line + 16, NULL, 10);
    }
    if ((chunked ? next_chunks(r, expected, size) : next_bytes(r, length == size ? expected : NULL, length)) < 0)
        return -1;
    actor_answered(r->a);
    return status;
}

static int send_text(client_link *l, const char *text) { return link_send(l, text, strlen(text)); }

static int get_hello(actor *a, answers *r)
{
    (void)a;
    return send_text(r->l, "GET /hello HTTP/1.1\r\nHost: soak\r\n\r\n") == 0 &&
           next_answer(r, (const unsigned char *)"hello\n", 6) == 200;
}

static int get_file(actor *a, answers *r)
{
    (void)a;
    return send_text(r->l, "GET /files/big HTTP/1.1\r\nHost: soak\r\n\r\n") == 0 && next_answer(r, NULL, 0) == 200;
}

static int get_nothing(actor *a, answers *r)
{
    (void)a;
    return send_text(r->l, "GET /files/none HTTP/1.1\r\nHost: soak\r\n\r\n") == 0 && next_answer(r, NULL, 0) == 404;
}

/* The request in a->out: its head's length, and its body's in @body. */
static size_t make_post(actor *a, size_t *body)
{
    *body = below(&a->luck, BODY_MOST / 2);
    int head =
        snprintf((char *)a->out, HEAD_MOST, "POST /echo HTTP/1.1\r\nHost: soak\r\nContent-Length: %zu\r\n\r\n", *body);
    uint64_t pattern = chance(&a->luck);
    for (size_t i = 0; i < *body; i++)
        a->out[(size_t)head + i] = (unsigned char)(pattern >> (i % 57));
    return (size_t)head;
}

static int post_echo(actor *a, answers *r)
{
    size_t body, head = make_post(a, &body);
    return link_send(r->l, a->out, head + body) == 0 && next_answer(r, a->out + head, body) == 200;
}

static int pipeline(actor *a, answers *r)
{
    unsigned n = 2 + below(&a->luck, 20);
    for (unsigned i = 0; i < n; i++)
        if (send_text(r->l, "GET /hello HTTP/1.1\r\nHost: soak\r\n\r\n") < 0)
            return 0;
    for (unsigned i = 0; i < n; i++)
        if (next_answer(r, (const unsigned char *)"hello\n", 6) != 200)
            return 0;
    return 1;
}

static void behave(actor *a, client_link *l)
{
    static int (*const requests[])(actor *, answers *) = {get_hello, get_hello, post_echo,
                                                          pipeline,  get_file,  get_nothing};
    answers r = {.a = a, .l = l};
    for (unsigned left = 1 + below(&a->luck, 15); left > 0 && actor_goes_on(a); left--)
        if (!requests[below(&a->luck, sizeof requests / sizeof requests[0])](a, &r)) {
            actor_broken(a, "no answer by HTTP");
            break;
        }
    link_close(l);
}

/* Goes in the middle of a request, or of the answer. */
static void stop_halfway(actor *a, client_link *l)
{
    size_t body, head = make_post(a, &body);
    if (below(&a->luck, 2))
        (void)link_send(l, a->out, below(&a->luck, (unsigned)(head + body)));
    else if (send_text(l, "GET /files/big HTTP/1.1\r\nHost: soak\r\n\r\n") == 0)
        (void)link_take(l, a->in, 1 + below(&a->luck, 10000));
    actor_linger(a, 30);
    actor_die(a, l);
}

static void speak_nonsense(actor *a, client_link *l)
{
    for (unsigned i = 0; i < 300; i++)
        a->out[i] = (unsigned char)chance(&a->luck);
    if (link_send(l, a->out, 300) == 0 && below(&a->luck, 2))
        (void)link_take(l, a->in, sizeof a->in);
    actor_die(a, l);
}

/* Asks for a lot and takes nothing. */
static void never_read(actor *a, client_link *l)
{
    for (int i = 0; i < 4; i++)
        (void)send_text(l, "GET /files/big HTTP/1.1\r\nHost: soak\r\n\r\n");
    actor_linger(a, 300);
    actor_die(a, l);
}

void converse_in_http(actor *a)
{
    static void (*const ways[])(actor *, client_link *) = {behave,       behave,       behave,         behave,
                                                           stop_halfway, stop_halfway, speak_nonsense, never_read};
    client_link l;
    size_t body;
    if (below(&a->luck, 30) == 0)
        actor_bring_crowd(a, make_post(a, &body));
    else if (actor_open(a, &l) == 0)
        ways[below(&a->luck, sizeof ways / sizeof ways[0])](a, &l);
}
