/* faults_calls.c - see faults.h: the calls, in front of the system's. Three shapes for nearly all of them; what is peculiar comes last. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <support/faults_inside.h>
#include <support/test.h>

#if !defined(FAULTS_TAKEN)

#define CALLER __builtin_return_address(0)
#define DESCRIPTOR(number) ((faults_subject){.fd = (number)})
#define THING(kind) ((faults_subject){.fd = -1, .class = (kind)})

/* ---- hit ----------------------------------------------------------------------------------------------------------- */

static int fail(const faults_plan *p, int fd)
{
    if (p->error == EAGAIN)
        faults_report_again(fd);
    errno = p->error;
    return -1;
}

static void *fail_with_null(const faults_plan *p)
{
    errno = p->error;
    return NULL;
}

/* A count that is short, with an event to come. */
static ssize_t cut_short(int fd, ssize_t n)
{
    int before = errno;
    if (n > 0)
        faults_report_again(fd);
    errno = before;
    return n;
}

static size_t at_most(const faults_plan *p, size_t size) { return size < p->at_most ? size : p->at_most; }

/* The first of @iov, cut. */
static struct iovec cut(const struct iovec *iov, size_t n, size_t most)
{
    static char none;
    for (size_t i = 0; i < n; i++)
        if (iov[i].iov_len > 0)
            return (struct iovec){iov[i].iov_base, iov[i].iov_len < most ? iov[i].iov_len : most};
    return (struct iovec){&none, 0};
}

static faults_class class_to_be(int family, int type)
{
    if (family == AF_UNIX)
        return FAULTS_UNIX;
    return (type & 0xf) == SOCK_STREAM ? FAULTS_TCP : FAULTS_UDP;
}

/* ---- those that do nothing, or what they are asked ---------------------------------------------------------------------- */

#define FAILS(id, name, subject, parameters, ...)                                                        \
    int name parameters                                                                                  \
    {                                                                                                    \
        faults_plan p;                                                                                   \
        faults_subject s = subject;                                                                      \
        return faults_hit(FAULTS_##id, s, CALLER, &p) ? fail(&p, s.fd) : (int)SYSTEM(name)(__VA_ARGS__); \
    }

FAILS(SOCKET, socket, THING(class_to_be(family, type)), (int family, int type, int protocol), family, type, protocol)
FAILS(SOCKETPAIR, socketpair, THING(class_to_be(family, type)), (int family, int type, int protocol, int fds[2]),
      family, type, protocol, fds)
FAILS(BIND, bind, DESCRIPTOR(fd), (int fd, const struct sockaddr *sa, socklen_t length), fd, sa, length)
FAILS(LISTEN, listen, DESCRIPTOR(fd), (int fd, int backlog), fd, backlog)
FAILS(ACCEPT4, accept4, DESCRIPTOR(fd), (int fd, struct sockaddr *sa, socklen_t *length, int flags), fd, sa, length, flags)
FAILS(SHUTDOWN, shutdown, DESCRIPTOR(fd), (int fd, int how), fd, how)
FAILS(GETSOCKNAME, getsockname, DESCRIPTOR(fd), (int fd, struct sockaddr *sa, socklen_t *length), fd, sa, length)
FAILS(GETPEERNAME, getpeername, DESCRIPTOR(fd), (int fd, struct sockaddr *sa, socklen_t *length), fd, sa, length)
FAILS(GETSOCKOPT, getsockopt, DESCRIPTOR(fd), (int fd, int level, int name, void *value, socklen_t *size), fd, level,
      name, value, size)
FAILS(SETSOCKOPT, setsockopt, DESCRIPTOR(fd), (int fd, int level, int name, const void *value, socklen_t size), fd,
      level, name, value, size)
FAILS(PIPE2, pipe2, THING(FAULTS_PIPE), (int fds[2], int flags), fds, flags)
FAILS(EVENTFD, eventfd, THING(FAULTS_OTHER), (unsigned value, int flags), value, flags)
FAILS(EPOLL_CREATE1, epoll_create1, THING(FAULTS_OTHER), (int flags), flags)
FAILS(EPOLL_WAIT, epoll_wait, DESCRIPTOR(set), (int set, struct epoll_event *events, int n, int timeout), set, events,
      n, timeout)
FAILS(POLL, poll, THING(FAULTS_OTHER), (struct pollfd * fds, nfds_t n, int timeout), fds, n, timeout)
FAILS(STAT, stat, THING(FAULTS_FILE), (const char *path, struct stat *st), path, st)
FAILS(LSTAT, lstat, THING(FAULTS_FILE), (const char *path, struct stat *st), path, st)
FAILS(FSTAT, fstat, DESCRIPTOR(fd), (int fd, struct stat *st), fd, st)
FAILS(CHMOD, chmod, THING(FAULTS_FILE), (const char *path, mode_t mode), path, mode)
FAILS(FCHMOD, fchmod, DESCRIPTOR(fd), (int fd, mode_t mode), fd, mode)
FAILS(FLOCK, flock, DESCRIPTOR(fd), (int fd, int how), fd, how)
FAILS(FSYNC, fsync, DESCRIPTOR(fd), (int fd), fd)
FAILS(FDATASYNC, fdatasync, DESCRIPTOR(fd), (int fd), fd)
FAILS(FTRUNCATE, ftruncate, DESCRIPTOR(fd), (int fd, off_t size), fd, size)
FAILS(RENAME, rename, THING(FAULTS_FILE), (const char *from, const char *to), from, to)
FAILS(UNLINK, unlink, THING(FAULTS_FILE), (const char *path), path)
FAILS(MKDIR, mkdir, THING(FAULTS_FILE), (const char *path, mode_t mode), path, mode)
FAILS(RMDIR, rmdir, THING(FAULTS_FILE), (const char *path), path)
FAILS(FORK, fork, THING(FAULTS_OTHER), (void), )
FAILS(WAITPID, waitpid, THING(FAULTS_OTHER), (pid_t pid, int *status, int options), pid, status, options)

/* ---- those that may do less: @most becomes smaller ------------------------------------------------------------------------ */

#define COUNTS(result, id, name, fd, most, parameters, ...)               \
    result name parameters                                                \
    {                                                                     \
        faults_plan p;                                                    \
        if (!faults_hit(FAULTS_##id, DESCRIPTOR(fd), CALLER, &p))         \
            return SYSTEM(name)(__VA_ARGS__);                             \
        if (p.error)                                                      \
            return fail(&p, fd);                                          \
        most = (__typeof__(most))at_most(&p, most);                       \
        return (result)cut_short(fd, (ssize_t)SYSTEM(name)(__VA_ARGS__)); \
    }

COUNTS(ssize_t, READ, read, fd, size, (int fd, void *buf, size_t size), fd, buf, size)
COUNTS(ssize_t, PREAD, pread, fd, size, (int fd, void *buf, size_t size, off_t at), fd, buf, size, at)
COUNTS(ssize_t, RECV, recv, fd, size, (int fd, void *buf, size_t size, int flags), fd, buf, size, flags)
COUNTS(ssize_t, RECVFROM, recvfrom, fd, size,
       (int fd, void *buf, size_t size, int flags, struct sockaddr *from, socklen_t *length), fd, buf, size, flags,
       from, length)
COUNTS(int, RECVMMSG, recvmmsg, fd, n, (int fd, struct mmsghdr *list, unsigned n, int flags, struct timespec *timeout),
       fd, list, n, flags, timeout)
COUNTS(ssize_t, WRITE, write, fd, size, (int fd, const void *buf, size_t size), fd, buf, size)
COUNTS(ssize_t, PWRITE, pwrite, fd, size, (int fd, const void *buf, size_t size, off_t at), fd, buf, size, at)
COUNTS(ssize_t, SEND, send, fd, size, (int fd, const void *buf, size_t size, int flags), fd, buf, size, flags)
COUNTS(ssize_t, SENDTO, sendto, fd, size,
       (int fd, const void *buf, size_t size, int flags, const struct sockaddr *to, socklen_t length), fd, buf, size,
       flags, to, length)
COUNTS(int, SENDMMSG, sendmmsg, fd, n, (int fd, struct mmsghdr *list, unsigned n, int flags), fd, list, n, flags)
COUNTS(ssize_t, SENDFILE, sendfile, to, size, (int to, int from, off_t *at, size_t size), to, from, at, size)
COUNTS(ssize_t, GETRANDOM, getrandom, -1, size, (void *buf, size_t size, unsigned flags), buf, size, flags)

/* ---- the same for several pieces ------------------------------------------------------------------------------------------ */

#define PIECES(id, name, parameters, ...)                         \
    ssize_t name parameters                                       \
    {                                                             \
        faults_plan p;                                            \
        if (!faults_hit(FAULTS_##id, DESCRIPTOR(fd), CALLER, &p)) \
            return SYSTEM(name)(__VA_ARGS__);                     \
        if (p.error)                                              \
            return fail(&p, fd);                                  \
        struct iovec first = cut(iov, (size_t)n, p.at_most);      \
        iov = &first;                                             \
        n = 1;                                                    \
        return cut_short(fd, SYSTEM(name)(__VA_ARGS__));          \
    }

PIECES(READV, readv, (int fd, const struct iovec *iov, int n), fd, iov, n)
PIECES(PREADV2, preadv2, (int fd, const struct iovec *iov, int n, off_t at, int flags), fd, iov, n, at, flags)
PIECES(WRITEV, writev, (int fd, const struct iovec *iov, int n), fd, iov, n)

/* Of a stream. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    faults_plan p;
    if (!faults_hit(FAULTS_SENDMSG, DESCRIPTOR(fd), CALLER, &p))
        return SYSTEM(sendmsg)(fd, message, flags);
    if (p.error)
        return fail(&p, fd);
    struct iovec first = cut(message->msg_iov, message->msg_iovlen, p.at_most);
    struct msghdr less = *message;
    less.msg_iov = &first;
    less.msg_iovlen = 1;
    return cut_short(fd, SYSTEM(sendmsg)(fd, &less, flags));
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    faults_plan p;
    return faults_hit(FAULTS_RECVMSG, DESCRIPTOR(fd), CALLER, &p) ? fail(&p, fd) : SYSTEM(recvmsg)(fd, message, flags);
}

/* ---- two descriptors ------------------------------------------------------------------------------------------------------- */

/* The plan's class and port are those of the one that is no pipe. */
ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags)
{
    faults_plan p;
    struct stat st;
    int fd = SYSTEM(fstat)(to, &st) == 0 && S_ISFIFO(st.st_mode) ? from : to;
    if (!faults_hit(FAULTS_SPLICE, DESCRIPTOR(fd), CALLER, &p))
        return SYSTEM(splice)(from, from_at, to, to_at, size, flags);
    return p.error ? fail(&p, fd) : cut_short(fd, SYSTEM(splice)(from, from_at, to, to_at, at_most(&p, size), flags));
}

/* ---- the peculiar ones ------------------------------------------------------------------------------------------------------ */

int connect(int fd, const struct sockaddr *sa, socklen_t length)
{
    faults_plan p;
    faults_subject s = {.fd = fd, .to = sa};
    if (!faults_hit(FAULTS_CONNECT, s, CALLER, &p))
        return SYSTEM(connect)(fd, sa, length);
    if (p.error == EINTR && sa->sa_family == AF_INET)
        SYSTEM(connect)(fd, sa, length);
    return fail(&p, fd);
}

int close(int fd)
{
    faults_plan p;
    bool hit = faults_hit(FAULTS_CLOSE, DESCRIPTOR(fd), CALLER, &p);
    int err = SYSTEM(close)(fd);
    return hit && err == 0 ? fail(&p, -1) : err;
}

int epoll_ctl(int set, int what, int fd, struct epoll_event *event)
{
    faults_plan p;
    faults_call call = what == EPOLL_CTL_ADD   ? FAULTS_EPOLL_CTL
                       : what == EPOLL_CTL_MOD ? FAULTS_EPOLL_MOD
                                               : FAULTS_EPOLL_DEL;
    if (faults_hit(call, DESCRIPTOR(fd), CALLER, &p))
        return fail(&p, -1);
    if (what != EPOLL_CTL_DEL)
        faults_note_added(set, fd, event);
    return SYSTEM(epoll_ctl)(set, what, fd, event);
}

int open(const char *path, int flags, ...)
{
    faults_plan p;
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return faults_hit(FAULTS_OPEN, THING(FAULTS_FILE), CALLER, &p) ? fail(&p, -1) : SYSTEM(open)(path, flags, mode);
}

int fcntl(int fd, int what, ...)
{
    faults_plan p;
    va_list args;
    va_start(args, what);
    void *more = va_arg(args, void *);
    va_end(args);
    return faults_hit(FAULTS_FCNTL, DESCRIPTOR(fd), CALLER, &p) ? fail(&p, -1) : SYSTEM(fcntl)(fd, what, more);
}

/* It leaves in the name what it has tried. */
int mkostemp(char *name, int flags)
{
    faults_plan p;
    if (!faults_hit(FAULTS_MKOSTEMP, THING(FAULTS_FILE), CALLER, &p))
        return SYSTEM(mkostemp)(name, flags);
    memcpy(name + strlen(name) - 6, "failed", 6);
    return fail(&p, -1);
}

off_t lseek(int fd, off_t at, int whence)
{
    faults_plan p;
    return faults_hit(FAULTS_LSEEK, DESCRIPTOR(fd), CALLER, &p) ? fail(&p, -1) : SYSTEM(lseek)(fd, at, whence);
}

char *realpath(const char *path, char *to)
{
    faults_plan p;
    return faults_hit(FAULTS_REALPATH, THING(FAULTS_FILE), CALLER, &p) ? fail_with_null(&p) : SYSTEM(realpath)(path, to);
}

DIR *opendir(const char *path)
{
    faults_plan p;
    return faults_hit(FAULTS_OPENDIR, THING(FAULTS_FILE), CALLER, &p) ? fail_with_null(&p) : SYSTEM(opendir)(path);
}

struct dirent *readdir(DIR *dir)
{
    faults_plan p;
    return faults_hit(FAULTS_READDIR, THING(FAULTS_FILE), CALLER, &p) ? fail_with_null(&p) : SYSTEM(readdir)(dir);
}

#endif
