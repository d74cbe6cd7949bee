/* faults.c - see faults.h. */
#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <support/test.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* clang links its sanitizers statically: these functions would take the place of theirs, which then see neither what is written nor what it is ordered by. */
#if defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TAKEN 1
#endif
#endif
#if defined(TAKEN)
bool faults_available(void) { return false; }
void faults_begin(const faults_plan *p) { (void)p; }
unsigned faults_end(void) { return 0; }
#else
bool faults_available(void) { return true; }

/* ---- the system's --------------------------------------------------------------------------------------------- */

/* clang-format off */
static struct {
    ssize_t (*read)(int, void *, size_t);
    ssize_t (*recv)(int, void *, size_t, int);
    ssize_t (*readv)(int, const struct iovec *, int);
    ssize_t (*write)(int, const void *, size_t);
    ssize_t (*writev)(int, const struct iovec *, int);
    ssize_t (*send)(int, const void *, size_t, int);
    ssize_t (*sendmsg)(int, const struct msghdr *, int);
    ssize_t (*recvmsg)(int, struct msghdr *, int);
    int (*accept4)(int, struct sockaddr *, socklen_t *, int);
    int (*connect)(int, const struct sockaddr *, socklen_t);
    int (*shutdown)(int, int);
    int (*socket)(int, int, int);
    int (*epoll_ctl)(int, int, int, struct epoll_event *);
    int (*epoll_create1)(int);
    int (*eventfd)(unsigned, int);
} real;
/* clang-format on */

#define FIND(name)                                     \
    do {                                               \
        void *found_ = dlsym(RTLD_NEXT, #name);        \
        memcpy(&real.name, &found_, sizeof real.name); \
    } while (0)

/* Before main(), or when a library's constructor calls first: before any thread. */
__attribute__((constructor)) static void find_all(void)
{
    FIND(read);
    FIND(recv);
    FIND(readv);
    FIND(write);
    FIND(writev);
    FIND(send);
    FIND(sendmsg);
    FIND(recvmsg);
    FIND(accept4);
    FIND(connect);
    FIND(shutdown);
    FIND(socket);
    FIND(epoll_ctl);
    FIND(epoll_create1);
    FIND(eventfd);
}

#define SYSTEM(name) (real.name ? real.name : (find_all(), real.name))

/* ---- the plan -------------------------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static faults_plan current; /* under lock */
static atomic_bool active;
static atomic_uint calls, hits;

void faults_begin(const faults_plan *p)
{
    pthread_mutex_lock(&lock);
    current = *p;
    pthread_mutex_unlock(&lock);
    atomic_store(&calls, 0);
    atomic_store(&hits, 0);
    atomic_store(&active, true);
}

unsigned faults_end(void)
{
    atomic_store(&active, false);
    return atomic_load(&hits);
}

/* False: there is none for this call. */
static bool planned(faults_call call, faults_plan *p)
{
    if (!atomic_load(&active))
        return false;
    pthread_mutex_lock(&lock);
    *p = current;
    pthread_mutex_unlock(&lock);
    return p->call == call;
}

static unsigned port_of(const struct sockaddr *sa)
{
    return sa->sa_family == AF_INET ? ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port) : 0;
}

static bool has_port(int fd, unsigned port)
{
    struct sockaddr_storage sa;
    struct sockaddr *any = (struct sockaddr *)&sa;
    int before = errno;
    bool it = (getsockname(fd, any, &(socklen_t){sizeof sa}) == 0 && port_of(any) == port) ||
              (getpeername(fd, any, &(socklen_t){sizeof sa}) == 0 && port_of(any) == port);
    errno = before;
    return it;
}

/* Is this call, which the plan is for, one of those that are hit? */
static bool counts(const faults_plan *p)
{
    unsigned n = atomic_fetch_add(&calls, 1) + 1;
    if (n < p->nth || n - p->nth >= p->times)
        return false;
    atomic_fetch_add(&hits, 1);
    return true;
}

static bool is_hit(faults_call call, int fd, faults_plan *p)
{
    return planned(call, p) && has_port(fd, p->port) && counts(p);
}

/* ---- the set that reports it once more --------------------------------------------------------------------------- */

enum { FDS = 4096 };

/* By descriptor: where it was added last. */
static struct {
    atomic_int set; /* + 1; 0: none */
    atomic_uint events;
    atomic_ullong data;
} added[FDS];

static void note_added(int set, int fd, const struct epoll_event *event)
{
    if (fd < 0 || fd >= FDS)
        return;
    atomic_store(&added[fd].events, event->events);
    atomic_store(&added[fd].data, event->data.u64);
    atomic_store(&added[fd].set, set + 1);
}

static void report_again(int fd)
{
    int set = fd >= 0 && fd < FDS ? atomic_load(&added[fd].set) - 1 : -1;
    if (set < 0)
        return;
    struct epoll_event event = {.events = atomic_load(&added[fd].events), .data.u64 = atomic_load(&added[fd].data)};
    SYSTEM(epoll_ctl)(set, EPOLL_CTL_MOD, fd, &event);
}

/* ---- hit ----------------------------------------------------------------------------------------------------------- */

static int fail(const faults_plan *p, int fd)
{
    if (p->error == EAGAIN)
        report_again(fd);
    errno = p->error;
    return -1;
}

/* The first of @iov, cut. */
static struct iovec cut(const struct iovec *iov, size_t n, size_t most)
{
    static char none;
    for (size_t i = 0; i < n; i++)
        if (iov[i].iov_len > 0)
            return (struct iovec){iov[i].iov_base, iov[i].iov_len < most ? iov[i].iov_len : most};
    return (struct iovec){&none, 0};
}

/* A count that is short, with an event to come. */
static ssize_t cut_short(int fd, ssize_t n)
{
    int before = errno;
    if (n > 0)
        report_again(fd);
    errno = before;
    return n;
}

static size_t at_most(const faults_plan *p, size_t size) { return size < p->at_most ? size : p->at_most; }

/* ---- in front of the system's --------------------------------------------------------------------------------------- */

ssize_t read(int fd, void *buf, size_t size)
{
    faults_plan p;
    if (!is_hit(FAULTS_READ, fd, &p))
        return SYSTEM(read)(fd, buf, size);
    return p.error ? fail(&p, fd) : cut_short(fd, SYSTEM(read)(fd, buf, at_most(&p, size)));
}

/* What a socket is read with. */
ssize_t recv(int fd, void *buf, size_t size, int flags)
{
    faults_plan p;
    if (!is_hit(FAULTS_READ, fd, &p))
        return SYSTEM(recv)(fd, buf, size, flags);
    return p.error ? fail(&p, fd) : cut_short(fd, SYSTEM(recv)(fd, buf, at_most(&p, size), flags));
}

ssize_t readv(int fd, const struct iovec *iov, int n)
{
    faults_plan p;
    if (!is_hit(FAULTS_READV, fd, &p))
        return SYSTEM(readv)(fd, iov, n);
    struct iovec first = cut(iov, (size_t)n, p.at_most);
    return p.error ? fail(&p, fd) : cut_short(fd, SYSTEM(readv)(fd, &first, 1));
}

ssize_t write(int fd, const void *buf, size_t size)
{
    faults_plan p;
    if (!is_hit(FAULTS_WRITE, fd, &p))
        return SYSTEM(write)(fd, buf, size);
    return p.error ? fail(&p, fd) : cut_short(fd, SYSTEM(write)(fd, buf, at_most(&p, size)));
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
    faults_plan p;
    if (!is_hit(FAULTS_WRITEV, fd, &p))
        return SYSTEM(writev)(fd, iov, n);
    struct iovec first = cut(iov, (size_t)n, p.at_most);
    return p.error ? fail(&p, fd) : cut_short(fd, SYSTEM(writev)(fd, &first, 1));
}

ssize_t send(int fd, const void *buf, size_t size, int flags)
{
    faults_plan p;
    if (!is_hit(FAULTS_SEND, fd, &p))
        return SYSTEM(send)(fd, buf, size, flags);
    return p.error ? fail(&p, fd) : cut_short(fd, SYSTEM(send)(fd, buf, at_most(&p, size), flags));
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    faults_plan p;
    if (!is_hit(FAULTS_SENDMSG, fd, &p))
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
    return is_hit(FAULTS_RECVMSG, fd, &p) && p.error ? fail(&p, fd) : SYSTEM(recvmsg)(fd, message, flags);
}

int accept4(int fd, struct sockaddr *sa, socklen_t *length, int flags)
{
    faults_plan p;
    return is_hit(FAULTS_ACCEPT4, fd, &p) ? fail(&p, fd) : SYSTEM(accept4)(fd, sa, length, flags);
}

int connect(int fd, const struct sockaddr *sa, socklen_t length)
{
    faults_plan p;
    if (!planned(FAULTS_CONNECT, &p) || port_of(sa) != p.port || !counts(&p))
        return SYSTEM(connect)(fd, sa, length);
    if (p.error == EINTR)
        SYSTEM(connect)(fd, sa, length);
    return fail(&p, fd);
}

int shutdown(int fd, int how)
{
    faults_plan p;
    return is_hit(FAULTS_SHUTDOWN, fd, &p) ? fail(&p, fd) : SYSTEM(shutdown)(fd, how);
}

int socket(int family, int type, int protocol)
{
    faults_plan p;
    bool hit = planned(FAULTS_SOCKET, &p) && family == AF_INET && counts(&p);
    return hit ? fail(&p, -1) : SYSTEM(socket)(family, type, protocol);
}

int epoll_ctl(int set, int what, int fd, struct epoll_event *event)
{
    faults_plan p;
    if (what != EPOLL_CTL_ADD)
        return SYSTEM(epoll_ctl)(set, what, fd, event);
    if (is_hit(FAULTS_EPOLL_CTL, fd, &p))
        return fail(&p, -1);
    note_added(set, fd, event);
    return SYSTEM(epoll_ctl)(set, what, fd, event);
}

static bool is_hit_anywhere(faults_call call, faults_plan *p) { return planned(call, p) && counts(p); }

int epoll_create1(int flags)
{
    faults_plan p;
    return is_hit_anywhere(FAULTS_EPOLL_CREATE1, &p) ? fail(&p, -1) : SYSTEM(epoll_create1)(flags);
}

int eventfd(unsigned value, int flags)
{
    faults_plan p;
    return is_hit_anywhere(FAULTS_EVENTFD, &p) ? fail(&p, -1) : SYSTEM(eventfd)(value, flags);
}

#endif
