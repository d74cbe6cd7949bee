/* console_support.h - a client of the console, on plain sockets that block: it must be answered also when no worker of any runtime is left to help it. For the
 * tests that link weft-console and jansson. */
#ifndef CONSOLE_SUPPORT_H
#define CONSOLE_SUPPORT_H

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <support/process.h>
#include <support/until.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <weft.h>
#include <weft/console.h>

#define LOCAL __attribute__((unused)) static

typedef struct reply {
    int status; /* 0: the connection was closed instead */
    char head[4096];
    char *body;
    size_t size;
} reply;

LOCAL int dial(int port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

LOCAL void send_text(int fd, const char *text)
{
    size_t size = strlen(text);
    cr_assert_eq(send(fd, text, size, MSG_NOSIGNAL), (ssize_t)size);
}

LOCAL __attribute__((format(printf, 2, 3))) void ask(int fd, const char *format, ...)
{
    char text[16 * 1024];
    va_list args;
    va_start(args, format);
    cr_assert_lt(vsnprintf(text, sizeof text, format, args), (int)sizeof text);
    va_end(args);
    send_text(fd, text);
}

/* A byte at a time: what follows is the next answer's. */
LOCAL bool read_head(int fd, reply *r)
{
    size_t n = 0;
    while (n + 1 < sizeof r->head && (n < 4 || memcmp(r->head + n - 4, "\r\n\r\n", 4) != 0)) {
        if (recv(fd, r->head + n, 1, 0) <= 0)
            return false;
        n++;
    }
    r->head[n] = '\0';
    return true;
}

/* Freed by reply_free(). @body: one is expected. */
LOCAL reply receive(int fd, bool body)
{
    reply r = {.status = 0};
    if (!read_head(fd, &r))
        return r;
    const char *length = strstr(r.head, "Content-Length: ");
    cr_assert_eq(sscanf(r.head, "HTTP/1.1 %d ", &r.status), 1, "%s", r.head);
    cr_assert_not_null(length, "%s", r.head);
    r.size = strtoul(length + strlen("Content-Length: "), NULL, 10);
    r.body = calloc(1, r.size + 1);
    for (size_t at = 0; body && at < r.size;) {
        ssize_t got = recv(fd, r.body + at, r.size - at, 0);
        cr_assert_gt(got, 0, "the body ends after %zu of %zu bytes", at, r.size);
        at += (size_t)got;
    }
    return r;
}

LOCAL void reply_free(reply *r)
{
    free(r->body);
    r->body = NULL;
}

LOCAL reply get_on(int fd, const char *path)
{
    ask(fd, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    return receive(fd, true);
}

LOCAL reply get(int port, const char *path)
{
    int fd = dial(port);
    ask(fd, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    reply r = receive(fd, true);
    close(fd);
    return r;
}

/* Until it is not asked too often. Freed by json_decref(). */
LOCAL json_t *get_json(int port, const char *path)
{
    int64_t until = weft_now() + PATIENCE;
    reply r;
    while ((r = get(port, path)).status == 429) {
        reply_free(&r);
        cr_assert_lt(weft_now(), until);
        usleep(20000);
    }
    cr_assert_eq(r.status, 200, "%s: %d %s", path, r.status, r.body);
    json_error_t error;
    json_t *json = json_loads(r.body, 0, &error);
    cr_assert_not_null(json, "%s: %s in %s", path, error.text, r.body);
    reply_free(&r);
    return json;
}

LOCAL int start_console(weft_runtime *rt)
{
    int port = 0;
    weft_console_options o = {.address = "127.0.0.1:0", .runtime = rt, .port = &port};
    cr_assert_eq(weft_console_start_with(&o), 0);
    cr_assert_gt(port, 0);
    return port;
}

/* True when the other side has closed. */
LOCAL bool is_closed(int fd)
{
    char c;
    return recv(fd, &c, 1, 0) <= 0;
}

#endif
