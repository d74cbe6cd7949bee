/* faults.h - the kernel in a bad mood: system calls that fail when a test has planned it.
 *
 * faults.c defines read(), send() and the like for the whole executable, in front of the system's; it is linked into those tests only that ask for it.
 * Without a plan, and for every descriptor that the plan is not for, they are the system's.
 *
 * What is injected must be something that a kernel could do. A set reports edges: after an EAGAIN, or a count that is short although there is more,
 * it is the kernel's part to report the descriptor once it is ready again. So after each of these the descriptor is modified in its set to what it was,
 * which makes the kernel look anew and report what is ready: a real event, which may come before the call has returned, as it may in life. Calls that
 * fail otherwise are not made at all; but connect(), interrupted, goes on by itself, and so it is begun before it says EINTR. */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum faults_call {
    FAULTS_READ,
    FAULTS_READV,
    FAULTS_WRITE,
    FAULTS_WRITEV,
    FAULTS_SEND,
    FAULTS_SENDMSG,
    FAULTS_RECVMSG,
    FAULTS_ACCEPT4,
    FAULTS_CONNECT,
    FAULTS_SHUTDOWN,
    FAULTS_SOCKET,
    FAULTS_EPOLL_CTL,     /* additions only */
    FAULTS_EPOLL_CREATE1, /* whatever the port */
    FAULTS_EVENTFD,       /* whatever the port */
    FAULTS_CALLS
} faults_call;

typedef struct faults_plan {
    faults_call call;
    unsigned port;  /* for TCP sockets with this port at either end; socket(): for all of TCP */
    unsigned nth;   /* the first call that is hit; 1: the very first */
    unsigned times; /* how many in a row */
    int error;      /* an errno; 0: */
    size_t at_most; /* … so many bytes are done, of those that could be */
} faults_plan;

/* False where it cannot be done: with a sanitizer that is linked statically, whose place this would take. */
bool faults_available(void);

/* One plan at a time. It is copied. */
void faults_begin(const faults_plan *plan);

/* Returns how many calls were hit. */
unsigned faults_end(void);

#endif
