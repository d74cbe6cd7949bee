/* load_client.h - a bounded load for echo servers under test, over 127.0.0.1 only.
 *
 * One thread, plain epoll, nothing of weft: what it finds is the server's doing. */
#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include <stddef.h>
#include <stdint.h>

struct load_client_plan {
    uint16_t port;        /* on 127.0.0.1 */
    unsigned connections; /* all open at once before the first byte is sent */
    unsigned messages;    /* of each connection; the next is sent when the one before is back */
    size_t size;          /* bytes of a message, at least 1 */
    int timeout_ms;       /* for everything; what is not done by then has failed */
};

struct load_client_result {
    unsigned ok;         /* connections whose bytes all came back unchanged, and then the end */
    unsigned failed;     /* the others; ok + failed = connections */
    const char *problem; /* of the first that failed, "" if none did; a constant */
};

/**
 * Run the plan.
 *
 * Each connection sends a pattern of its own, checks what comes back, half-closes after the last message and expects the end.
 * The soft limit of descriptors is raised when it has to be.
 * Returns: @result; never fails otherwise (a plan that can't be begun has failed connections only).
 * Threads: any ordinary one; it blocks, for at most the plan's timeout.
 */
struct load_client_result load_client_run(const struct load_client_plan *plan);

#endif
