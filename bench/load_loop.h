/* load_loop.h - a thread of load.c and its connections: send, wait for the answer, again, until the time is up.
 *
 * Edge-triggered. Knows nothing of how connections are made. Only the counters may be read by others while it runs. */
#ifndef LOAD_LOOP_H
#define LOAD_LOOP_H

#include "bench.h"
#include "histogram.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { LOOP_EVENTS = 256, LOOP_CHUNK = 65536 };

/* What all threads do. Written before they start. */
struct load_plan {
    size_t size; /* bytes of a message */
    char *message;
    const char *ending;  /* what an answer ends with; NULL: it has as many bytes as the message */
    int64_t from, until; /* the measured time, on bench_now()'s clock; work begins before it */
};

struct connection {
    int fd;
    size_t sent, received;
    int64_t since;        /* when the request under way began */
    unsigned long served; /* requests that ended within the measured time */
};

/* Owned by its thread until that is joined; others may read @requests meanwhile. */
struct load_loop {
    pthread_t thread;
    int poller;
    const struct load_plan *plan;
    struct connection *connections;
    unsigned count, open;
    atomic_ulong requests;
    struct histogram latency; /* of those that ended within the measured time */
};

/* Send what the socket takes. Returns 0, or -1 when the connection is broken. */
static int push(const struct load_plan *plan, struct connection *c)
{
    while (c->sent < plan->size) {
        ssize_t n = send(c->fd, plan->message + c->sent, plan->size - c->sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        c->sent += (size_t)n;
    }
    return 0;
}

static int begin(const struct load_plan *plan, struct connection *c, int64_t now)
{
    c->sent = c->received = 0;
    c->since = now;
    return push(plan, c);
}

static int finish(struct load_loop *l, struct connection *c)
{
    int64_t now = bench_now();
    atomic_fetch_add_explicit(&l->requests, 1, memory_order_relaxed);
    if (now >= l->plan->from && now < l->plan->until) {
        histogram_add(&l->latency, now - c->since);
        c->served++;
    }
    return begin(l->plan, c, now);
}

/* How much to ask for. */
static size_t room_for(const struct load_plan *plan, const struct connection *c)
{
    size_t left = plan->size - c->received;
    return plan->ending || left > LOOP_CHUNK ? LOOP_CHUNK : left;
}

/* Whether the answer is there, @n bytes of which came last. */
static bool is_answered(const struct load_plan *plan, const struct connection *c, const char *bytes, size_t n)
{
    size_t length = plan->ending ? strlen(plan->ending) : 0;
    if (!plan->ending)
        return c->received == plan->size;
    return n >= length && memcmp(bytes + n - length, plan->ending, length) == 0;
}

/* An edge came: send, and read until a read comes back short. */
static int advance(struct load_loop *l, struct connection *c)
{
    static _Thread_local char scratch[LOOP_CHUNK];
    for (;;) {
        size_t want = room_for(l->plan, c);
        if (push(l->plan, c) < 0)
            return -1;
        ssize_t n = recv(c->fd, scratch, want, 0);
        if (n <= 0)
            return n < 0 && errno == EAGAIN ? 0 : -1;
        c->received += (size_t)n;
        if (is_answered(l->plan, c, scratch, (size_t)n))
            return finish(l, c);
        if ((size_t)n < want)
            return 0;
    }
}

static void lose(struct load_loop *l, struct connection *c)
{
    l->open--;
    close(c->fd);
    c->fd = -1;
}

/* The thread. */
static void *drive(void *arg)
{
    struct load_loop *l = arg;
    struct epoll_event events[LOOP_EVENTS];

    for (unsigned i = 0; i < l->count; i++) {
        struct connection *c = &l->connections[i];
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        if (epoll_ctl(l->poller, EPOLL_CTL_ADD, c->fd, &event) < 0 || begin(l->plan, c, bench_now()) < 0)
            lose(l, c);
    }
    while (l->open > 0 && bench_now() < l->plan->until) {
        int count = epoll_wait(l->poller, events, LOOP_EVENTS, 20);
        for (int i = 0; i < count; i++)
            if (advance(l, events[i].data.ptr) < 0)
                lose(l, events[i].data.ptr);
    }
    return NULL;
}

#endif
