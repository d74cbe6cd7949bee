/* load_client.c - connect all → send, check, again → half-close → the end. Or early: a reset, a wrong byte, an end too soon, no time left.
 *
 * Edge-triggered; each event lets its connection go on as far as it can. Messages are made and checked piece by piece from the pattern,
 * so a connection costs no buffer. */
#include "load_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 4096, EVENTS = 256 };

struct client {
    int fd, connected, ended; /* ended: our side was closed */
    uint64_t sent, received;  /* bytes since the beginning */
};

struct run {
    const struct load_client_plan *plan;
    struct load_client_result result;
    struct client *clients;
    int poller;
    unsigned connecting, open;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The byte at @offset of a connection's stream: neighbours, pages and connections differ. */
static unsigned char pattern(unsigned connection, uint64_t offset)
{
    return (unsigned char)(connection * 31u + offset * 7u + (offset >> 8) * 13u);
}

static void finish(struct run *r, struct client *c, const char *problem)
{
    if (problem) {
        r->result.failed++;
        r->result.problem = *r->result.problem ? r->result.problem : problem;
    } else {
        r->result.ok++;
    }
    r->connecting -= !c->connected;
    r->open--;
    close(c->fd);
    c->fd = -1;
}

/* Send up to the end of the message under way; after the last, the end. Returns 0, or -1 when the connection is broken. */
static int send_on(struct run *r, struct client *c)
{
    uint64_t size = r->plan->size, total = size * r->plan->messages, end = (c->received / size + 1) * size;
    unsigned char piece[PIECE];

    while (c->sent < end && c->sent < total) {
        size_t n = end - c->sent < PIECE ? (size_t)(end - c->sent) : PIECE;
        for (size_t i = 0; i < n; i++)
            piece[i] = pattern((unsigned)(c - r->clients), c->sent + i);
        ssize_t done = send(c->fd, piece, n, MSG_NOSIGNAL);
        if (done < 0)
            return errno == EAGAIN ? 0 : -1;
        c->sent += (uint64_t)done;
    }
    if (c->received < total || c->ended)
        return 0;
    c->ended = 1;
    return shutdown(c->fd, SHUT_WR);
}

/* Go on until nothing more can be read now. */
static void advance(struct run *r, struct client *c)
{
    uint64_t total = (uint64_t)r->plan->size * r->plan->messages;
    unsigned char piece[PIECE];

    for (;;) {
        if (send_on(r, c) < 0) {
            finish(r, c, "send failed");
            return;
        }
        ssize_t n = recv(c->fd, piece, PIECE, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            finish(r, c, n < 0 ? "receive failed" : c->received < total ? "end before the last byte" : NULL);
            return;
        }
        for (ssize_t i = 0; i < n; i++, c->received++)
            if (c->received >= c->sent || piece[i] != pattern((unsigned)(c - r->clients), c->received)) {
                finish(r, c, "a wrong byte came back");
                return;
            }
    }
}

static void on_event(struct run *r, struct client *c)
{
    int error = 0;
    socklen_t length = sizeof error;

    if (c->connected) {
        if (r->connecting == 0)
            advance(r, c);
        return;
    }
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        finish(r, c, "connect failed");
    } else {
        c->connected = 1;
        r->connecting--;
    }
    for (unsigned i = 0; r->connecting == 0 && i < r->plan->connections; i++) /* the last one in: all begin */
        if (r->clients[i].fd >= 0)
            advance(r, &r->clients[i]);
}

static void connect_one(struct run *r, struct client *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(r->plan->port)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) ||
        epoll_ctl(r->poller, EPOLL_CTL_ADD, c->fd, &event) < 0)
        finish(r, c, c->fd < 0 ? "no descriptor" : "connect failed");
}

static void raise_nofile(unsigned wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

struct load_client_result load_client_run(const struct load_client_plan *plan)
{
    struct run r = {.plan = plan, .result.problem = "", .connecting = plan->connections, .open = plan->connections};
    struct epoll_event events[EVENTS];
    int64_t deadline = now_ms() + plan->timeout_ms, left;

    raise_nofile(2 * plan->connections + 64); /* the server may live in this process */
    r.poller = epoll_create1(EPOLL_CLOEXEC);
    r.clients = calloc(plan->connections + 1, sizeof *r.clients);
    if (r.poller < 0 || !r.clients || plan->size == 0) {
        r.result = (struct load_client_result){0, plan->connections, "the load can't be begun"};
        r.open = 0;
    }
    for (unsigned i = 0; r.open > 0 && i < plan->connections; i++)
        connect_one(&r, &r.clients[i]);
    while (r.open > 0 && (left = deadline - now_ms()) > 0) {
        int count = epoll_wait(r.poller, events, EVENTS, (int)left);
        for (int i = 0; i < count; i++)
            if (((struct client *)events[i].data.ptr)->fd >= 0)
                on_event(&r, events[i].data.ptr);
    }
    for (unsigned i = 0; r.open > 0 && i < plan->connections; i++)
        if (r.clients[i].fd >= 0)
            finish(&r, &r.clients[i], "no time left");
    free(r.clients);
    if (r.poller >= 0)
        close(r.poller);
    return r.result;
}
