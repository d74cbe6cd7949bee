/* stdio.c - standard input and output as streams.
 *
 * The descriptors may be anything (a terminal, a pipe, a file) and are shared with other processes, so they are neither watched nor made
 * non-blocking: a thread reads or writes them, and one end of a pair of sockets is the stream. The thread ends when the stream is closed (output:
 * after what had been written is out), or when the runtime ends.
 *
 * How input fails is told by a reset of the pair, which is what closing a socket means in which something is unread: a byte that is put there at the
 * beginning. What had been read before comes first. */
#include <errno.h>
#include <net/stream.h>
#include <poll.h>
#include <pthread.h>
#include <runtime/runtime.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <weft/os.h>

enum { INPUT, OUTPUT, LAST_WORDS_MS = 2000, PAUSE_MS = 10 };

typedef struct pump {
    struct pump *next;
    pthread_t thread;
    int kind, socket, stop; /* stop: an eventfd, readable when the runtime ends */
    wf_a32 over;            /* the thread has nothing more to do */
} pump;

typedef struct pumps {
    wf_service service;
    wf_mutex lock;
    pump *first; /* under lock */
} pumps;

static wf_a32 busy[2]; /* of the process: it has one standard input, and one output */

/* ---- on the thread ------------------------------------------------------------------------------------------- */

/* What there is on @fd (of @events, or an end), and whether it is time to go. */
typedef struct sight {
    bool ready, told, left; /* told: the runtime ends. left: the stream was closed */
} sight;

/* Interrupted, and as long as there is no memory for it. */
static int poll_again(struct pollfd *fds, nfds_t n, int timeout)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * WEFT_MS};
    for (;;) {
        int ready = poll(fds, n, timeout);
        if (ready >= 0 || (errno != EINTR && errno != ENOMEM && errno != EAGAIN))
            return ready;
        if (errno != EINTR)
            nanosleep(&pause, NULL);
    }
}

static sight look(const pump *p, int fd, short events)
{
    bool both = fd != p->socket && events != POLLOUT; /* what is to be written is written, also after the stream was closed */
    struct pollfd fds[3] = {
        {.fd = fd, .events = events}, {.fd = p->stop, .events = POLLIN}, {.fd = both ? p->socket : -1, .events = 0}};
    if (poll_again(fds, 3, -1) < 0)
        return (sight){.told = true, .left = true};
    return (sight){.ready = fds[0].revents != 0, .told = fds[1].revents != 0, .left = fds[2].revents != 0};
}

/* A blocking descriptor takes this much without blocking when it says that it takes anything (PIPE_BUF). */
enum { PIECE = 4096 };

static bool send_all(const pump *p, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = send(p->socket, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN && !look(p, p->socket, POLLOUT).told)
            continue;
        if (n < 0 && errno != EINTR)
            return false;
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool look_once(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLOUT};
    return poll_again(&one, 1, LAST_WORDS_MS) > 0;
}

/* However slow it is. Only when the runtime ends there is a limit to patience. */
static bool write_all(const pump *p, const char *data, size_t size)
{
    while (size > 0) {
        sight s = look(p, STDOUT_FILENO, POLLOUT);
        if (!s.ready && s.told && !look_once(STDOUT_FILENO))
            return false;
        if (!s.ready && !s.told)
            continue;
        ssize_t n = write(STDOUT_FILENO, data, size);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* The stream may be open for long after there is nothing more to read. */
static void await_close(const pump *p)
{
    for (;;) {
        sight s = look(p, -1, 0);
        if (s.told || s.left)
            return;
    }
}

static void close_socket(pump *p)
{
    close(p->socket);
    p->socket = -1;
}

/* False: it has not come to its end, and nothing more comes. */
static bool pump_all_input(pump *p)
{
    char data[PIECE];
    for (;;) {
        sight s = look(p, STDIN_FILENO, POLLIN);
        if (s.told || s.left)
            return false;
        ssize_t n = read(STDIN_FILENO, data, sizeof data);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n == 0)
            return true;
        if (n < 0 || !send_all(p, data, (size_t)n))
            return false;
    }
}

static void pump_input(pump *p)
{
    if (!pump_all_input(p)) {
        close_socket(p);
        return;
    }
    shutdown(p->socket, SHUT_WR);
    await_close(p);
}

/* Told to stop, it writes what is there already. Without a reader the stream's writers are told, too. */
static void pump_output(pump *p)
{
    char data[PIECE];
    for (;;) {
        bool told = look(p, p->socket, POLLIN).told;
        ssize_t n = recv(p->socket, data, sizeof data, MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || (errno == EAGAIN && !told)))
            continue;
        if (n <= 0 || !write_all(p, data, (size_t)n))
            break;
    }
    close_socket(p);
}

static void *run(void *arg)
{
    pump *p = arg;
    pthread_setname_np(pthread_self(), p->kind == INPUT ? "weft/stdin" : "weft/stdout");
    if (p->kind == INPUT)
        pump_input(p);
    else
        pump_output(p);
    wf_store_rel(&p->over, 1);
    wf_store_rel(&busy[p->kind], 0);
    return NULL;
}

/* ---- beginning and end --------------------------------------------------------------------------------------- */

static void end(pump *p)
{
    uint64_t one = 1;
    while (write(p->stop, &one, sizeof one) < 0 && errno == EINTR)
        ;
    pthread_join(p->thread, NULL);
    if (p->socket >= 0)
        close(p->socket);
    close(p->stop);
    free(p);
}

static void stop(wf_service *service)
{
    pumps *all = wf_container(service, pumps, service);
    for (pump *p = all->first, *next; p; p = next) {
        next = p->next;
        end(p);
    }
    wf_mutex_destroy(&all->lock);
    free(all);
}

static wf_service *make(weft_runtime *rt, int *err)
{
    (void)rt;
    pumps *all = calloc(1, sizeof *all);
    if (!all) {
        *err = WEFT_ENOMEM;
        return NULL;
    }
    wf_mutex_init(&all->lock);
    return &all->service;
}

static int start_thread(pump *p)
{
    sigset_t full, before;
    sigfillset(&full);
    pthread_sigmask(SIG_SETMASK, &full, &before);
    int err = -pthread_create(&p->thread, NULL, run, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

/* Under lock: those whose stream was closed a while ago. */
static void sweep(pumps *all)
{
    for (pump **link = &all->first; *link;) {
        pump *p = *link;
        if (!wf_load_acq(&p->over)) {
            link = &p->next;
            continue;
        }
        *link = p->next;
        end(p);
    }
}

static pump *new_pump(int kind, int socket, int *err)
{
    pump *p = calloc(1, sizeof *p);
    if (!p) {
        *err = WEFT_ENOMEM;
        return NULL;
    }
    *p = (pump){.kind = kind, .socket = socket, .stop = eventfd(0, EFD_CLOEXEC)};
    *err = p->stop < 0 ? -errno : start_thread(p);
    if (*err == 0)
        return p;
    if (p->stop >= 0)
        close(p->stop);
    free(p);
    return NULL;
}

static int open_with(pumps *all, int kind, int fds[2])
{
    int err;
    wf_mutex_lock(&all->lock);
    sweep(all);
    pump *p = new_pump(kind, fds[1], &err);
    if (p) {
        p->next = all->first;
        all->first = p;
    }
    wf_mutex_unlock(&all->lock);
    return p ? 0 : err;
}

static int leave_unread(int fd)
{
    ssize_t n;
    do
        n = write(fd, "", 1);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* The stream exists before the thread: what has been read must not be lost. */
WF_NOINLINE static int open_pair(weft_stream **out, pumps *all, wf_sources *sources, int kind)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return -errno;
    weft_stream *s = wf_stream_open(sources, fds[0], kind == OUTPUT);
    int err = s ? 0 : WEFT_ENOMEM;
    if (err == 0 && kind == INPUT)
        err = leave_unread(fds[0]);
    if (err == 0)
        err = open_with(all, kind, fds);
    if (err == 0) {
        *out = s;
        return 0;
    }
    if (s)
        weft_close(s);
    else
        close(fds[0]);
    close(fds[1]);
    return err;
}

static int open_stdio(weft_stream **out, int kind)
{
    uint32_t idle = 0;
    int err = 0;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    weft_runtime *rt = weft_runtime_current();
    if (!rt)
        return WEFT_ENORUNTIME;
    wf_service *service = wf_runtime_service(rt, make, stop, &err);
    if (!service)
        return err;
    if (!wf_cas_strong_seq(&busy[kind], &idle, 1))
        return WEFT_EBUSY;
    err = open_pair(out, wf_container(service, pumps, service), &rt->sources, kind);
    if (err < 0)
        wf_store_rel(&busy[kind], 0);
    return err;
}

int weft_stdin(weft_stream **s) { return open_stdio(s, INPUT); }

int weft_stdout(weft_stream **s) { return open_stdio(s, OUTPUT); }
