/* faults.h - the kernel in a bad mood: system calls that fail when a test has planned it.
 *
 * faults_calls.c defines read(), send() and all the others for the whole executable, in front of the system's; it is linked into those tests only that
 * are named for it. Without a plan, and for everything that the plan is not for, they are the system's.
 *
 * What is injected must be something that a kernel could do. A set reports edges: after an EAGAIN, or a count that is short although there is more,
 * it is the kernel's part to report the descriptor once it is ready again. So after each of these the descriptor is modified in its set to what it was,
 * which makes the kernel look anew and report what is ready: a real event, which may come before the call has returned, as it may in life. Calls that
 * fail otherwise are not made at all; but connect() over TCP, interrupted, goes on by itself, and so it is begun before it says EINTR; and whatever
 * close() says, the descriptor is closed. */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdbool.h>
#include <stddef.h>

/* clang-format off */
#define FAULTS_EACH(X) \
    X(READ, read) X(READV, readv) X(PREAD, pread) X(PREADV2, preadv2) X(RECV, recv) X(RECVFROM, recvfrom) \
    X(RECVMSG, recvmsg) X(RECVMMSG, recvmmsg) X(WRITE, write) X(WRITEV, writev) X(PWRITE, pwrite) X(SEND, send) \
    X(SENDTO, sendto) X(SENDMSG, sendmsg) X(SENDMMSG, sendmmsg) X(SPLICE, splice) X(SENDFILE, sendfile) \
    X(SOCKET, socket) X(SOCKETPAIR, socketpair) X(BIND, bind) X(LISTEN, listen) X(ACCEPT4, accept4) X(CONNECT, connect) \
    X(SHUTDOWN, shutdown) X(GETSOCKNAME, getsockname) X(GETPEERNAME, getpeername) X(GETSOCKOPT, getsockopt) \
    X(SETSOCKOPT, setsockopt) X(PIPE2, pipe2) X(FCNTL, fcntl) X(CLOSE, close) X(POLL, poll) X(EVENTFD, eventfd) \
    X(EPOLL_CREATE1, epoll_create1) X(EPOLL_CTL, epoll_ctl) X(EPOLL_WAIT, epoll_wait) X(OPEN, open) \
    X(MKOSTEMP, mkostemp) X(STAT, stat) X(LSTAT, lstat) X(FSTAT, fstat) X(CHMOD, chmod) X(FCHMOD, fchmod) X(FLOCK, flock) \
    X(REALPATH, realpath) X(LSEEK, lseek) X(FSYNC, fsync) X(FDATASYNC, fdatasync) X(FTRUNCATE, ftruncate) X(RENAME, rename) \
    X(UNLINK, unlink) X(MKDIR, mkdir) X(RMDIR, rmdir) X(OPENDIR, opendir) X(READDIR, readdir) X(GETRANDOM, getrandom) \
    X(FORK, fork) X(WAITPID, waitpid)
/* clang-format on */

#define FAULTS_ENUMERATOR(id, name) FAULTS_##id,
typedef enum faults_call {
    FAULTS_EACH(FAULTS_ENUMERATOR) /* FAULTS_EPOLL_CTL: additions */
    FAULTS_EPOLL_MOD,
    FAULTS_EPOLL_DEL,
    FAULTS_CALLS
} faults_call;

/* What a descriptor is; a path is that of a file. */
typedef enum faults_class {
    FAULTS_ANY,
    FAULTS_TCP,
    FAULTS_UDP,
    FAULTS_UNIX,
    FAULTS_PIPE,
    FAULTS_FILE,
    FAULTS_OTHER
} faults_class;

typedef struct faults_plan faults_plan;
struct faults_plan {
    faults_call call;
    unsigned port; /* for internet sockets with this port at either end; 0: whatever the port. A socket() has none yet: any of that family */
    unsigned nth;  /* the first call that is hit; 1: the very first */
    unsigned times;     /* how many in a row */
    int error;          /* an errno; 0: */
    size_t at_most;     /* … so many bytes are done, of those that could be; recvmmsg(), sendmmsg(): messages */
    faults_class class; /* of the descriptor */
    bool anybodys; /* also calls that libraries make, such as libuv; else those of this executable, which weft is linked into */
    const faults_plan *also; /* another call that fails, for what happens only then; it is not counted as hit. Its own also is not looked at */
};

/* False where it cannot be done: with a sanitizer that is linked statically, whose place this would take. */
bool faults_available(void);

/* What is built for use reads and writes sockets without the C library, so nobody can stand in front: see net/socket_call.h. */
bool faults_sees(faults_call call);

/* "epoll_ctl" */
const char *faults_name(faults_call call);

/* One plan at a time. It is copied. */
void faults_begin(const faults_plan *plan);

/* Returns how many calls were hit. */
unsigned faults_end(void);

#endif
