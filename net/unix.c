/* unix.c - Unix sockets: listening on a path or an abstract name, connecting, who is at the other end.
 *
 *   happy path     bind → mode → listen; the path goes when the listener does
 *   stale          a socket is there that nobody has any more: it is removed, and the path bound once more
 *   taken          anything else that is there stays
 *   a full backlog a connect says EAGAIN, and nobody tells when there is room: it is tried again, ever more slowly */
#include <base/waits.h>
#include <errno.h>
#include <fcntl.h>
#include <net/socket.h>
#include <net/stream.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <weft/time.h>

/* "/path", "path", "@name", and "unix:" before each. */
static int parse(weft_addr *a, const char *path)
{
    char text[WEFT_ADDR_TEXT];
    if (path && strncmp(path, "unix:", 5) == 0)
        return weft_addr_parse(a, path);
    int length = path ? snprintf(text, sizeof text, "unix:%s", path) : -1;
    return length > 0 && (size_t)length < sizeof text ? weft_addr_parse(a, text) : WEFT_EINVAL;
}

/* The path, or NULL: an abstract name. */
static const char *path_of(const weft_addr *a)
{
    const struct sockaddr_un *un = (const void *)weft_addr_sockaddr(a, NULL);
    return un->sun_path[0] != '\0' ? un->sun_path : NULL;
}

/* ---- a listener's path ----------------------------------------------------------------------------------------- */

/* Lies in the source's spare words. */
typedef struct on_path {
    char *path;   /* absolute, for the working directory may change; malloc()ed */
    dev_t device; /* what was bound there */
    ino_t inode;
    bool stays;
} on_path;

_Static_assert(sizeof(on_path) <= sizeof(((wf_source *)0)->user), "it lies in the spare words");

static on_path *on_path_of(wf_source *s) { return (on_path *)(void *)s->user; }

/* Somebody else may have put something else there. Once, and then no more. */
static void remove_path(on_path *p)
{
    struct stat st;
    if (!p->stays && lstat(p->path, &st) == 0 && st.st_dev == p->device && st.st_ino == p->inode)
        unlink(p->path);
    p->stays = true;
}

static void closing(wf_source *s) { remove_path(on_path_of(s)); }

/* One that was never closed goes with its runtime. In a forked child the path is the parent's. */
static void gone(wf_source *s)
{
    if (!wf_load_rlx(&s->sources->forked))
        remove_path(on_path_of(s));
    free(on_path_of(s)->path);
}

static const wf_source_kind listening_on_path = {.socket = true, .closing = closing, .gone = gone};

/* ---- what nobody has any more ---------------------------------------------------------------------------------- */

enum { LOCK_TRIES = 10000 };

static int open_folder(const char *path)
{
    int fd;
    do
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* To be closed; or -1: it may not be read, cannot be locked, or somebody sits on it for a second and more. */
static int lock_folder(const char *path)
{
    const struct timespec pause = {.tv_nsec = 100 * WEFT_US};
    char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    memcpy(folder, path, length);
    folder[length] = '\0';
    int fd = open_folder(length > 0 ? folder : slash ? "/" : ".");
    for (int i = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (i == LOCK_TRIES || (errno != EWOULDBLOCK && errno != EINTR)) {
            close(fd);
            return -1;
        }
        nanosleep(&pause, NULL);
    }
    return fd;
}

/* 0 if a socket is there that no process has, else why not. It is asked with the wrong type: then one that is bound and does not listen yet is
 * told from one that is left over, and one that listens is not bothered. */
static int is_stale(const char *path, const struct sockaddr *sa, size_t length)
{
    struct stat st;
    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return WEFT_EADDRINUSE;
    int fd = wf_socket(AF_UNIX, SOCK_DGRAM);
    if (fd < 0)
        return fd;
    bool refused = connect(fd, sa, (socklen_t)length) < 0 && errno == ECONNREFUSED;
    close(fd);
    return refused ? 0 : WEFT_EADDRINUSE;
}

static int try_bind(int fd, const struct sockaddr *sa, size_t length)
{
    return bind(fd, sa, (socklen_t)length) == 0 ? 0 : -errno;
}

/* In place of what is stale. Of several who find it so, in whatever processes, one replaces it: all lock the folder (flock(2)) for these few system
 * calls. Also who finds nothing there: Linux shows a path a moment before it knows whose it is. Who cannot lock it does without. */
static int bind_path(int fd, const char *path, const struct sockaddr *sa, size_t length)
{
    int lock = lock_folder(path);
    int err = try_bind(fd, sa, length);
    if (err == WEFT_EADDRINUSE && (err = is_stale(path, sa, length)) == 0) {
        unlink(path);
        err = try_bind(fd, sa, length);
    }
    if (lock >= 0)
        close(lock);
    return err;
}

/* ---- listening ------------------------------------------------------------------------------------------------- */

static int start_listening(int fd, int backlog)
{
    return listen(fd, backlog > 0 ? backlog : SOMAXCONN) == 0 ? 0 : -errno;
}

/* Nobody can connect yet. It was born with the mode of the descriptor, less the umask; what that took is given back. */
static int finish_path(int fd, const char *path, const weft_unix_options *o, on_path *p)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return -errno;
    if (o->mode && (st.st_mode & 07777) != o->mode && chmod(path, o->mode) < 0)
        return -errno;
    *p = (on_path){.path = realpath(path, NULL), .device = st.st_dev, .inode = st.st_ino, .stays = o->keep != 0};
    return p->path ? start_listening(fd, o->backlog) : -errno;
}

/* 0 with *@p's path on the heap, or a negative code with nothing left behind. */
static int listen_on_path(int fd, const char *path, const weft_addr *addr, const weft_unix_options *o, on_path *p)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    if (o->mode)
        fchmod(fd, o->mode); /* where that means nothing, the path is as the umask says until it is finished */
    int err = bind_path(fd, path, sa, length);
    if (err < 0)
        return err;
    err = finish_path(fd, path, o, p);
    if (err == 0)
        return 0;
    unlink(path);
    free(p->path);
    return err;
}

static int listen_on_name(int fd, const weft_addr *addr, const weft_unix_options *o)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    int err = try_bind(fd, sa, length);
    return err < 0 ? err : start_listening(fd, o->backlog);
}

/* The listener on @fd, which it owns; NULL: out of memory. */
static weft_listener *open_on_path(wf_sources *all, int fd, const on_path *p)
{
    wf_source *s = wf_source_open(all, fd, &listening_on_path, true);
    if (s)
        *on_path_of(s) = *p;
    return (weft_listener *)(void *)s;
}

WF_NOINLINE static int listen_at(weft_listener **out, wf_sources *all, const weft_addr *addr, const weft_unix_options *o)
{
    on_path p = {.path = NULL};
    const char *path = path_of(addr);
    int fd = wf_socket(AF_UNIX, SOCK_STREAM);
    if (fd < 0)
        return fd;
    int err = path ? listen_on_path(fd, path, addr, o, &p) : listen_on_name(fd, addr, o);
    if (err == 0) {
        *out = path ? open_on_path(all, fd, &p) : wf_listener_open(all, fd);
        if (*out)
            return 0;
        p.stays = !path;
        remove_path(&p);
        free(p.path);
        err = WEFT_ENOMEM;
    }
    close(fd);
    return err;
}

int weft_unix_listen_sized(weft_listener **out, const char *path, const weft_unix_options *options, size_t size)
{
    weft_unix_options o = WEFT_UNIX_OPTIONS_INIT;
    weft_addr addr;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (options)
        memcpy(&o, options, WF_MIN(size, sizeof o));
    if (parse(&addr, path) < 0)
        return weft_error_set(WEFT_EINVAL, "listen: \"%s\" is no path for a socket", path ? path : "");
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    int err = o.backlog < 0 || o.mode > 0777 ? WEFT_EINVAL : listen_at(out, all, &addr, &o);
    return err < 0 ? weft_error_set(err, "listen %s: %s", path, weft_strerror(err)) : 0;
}

/* ---- connecting ------------------------------------------------------------------------------------------------ */

enum { FIRST_PAUSE = 1, LONGEST_PAUSE = 50 }; /* ms */

WF_NOINLINE static int try_connect(int fd, const struct sockaddr *sa, size_t length)
{
    return connect(fd, sa, (socklen_t)length) == 0 ? 0 : -errno;
}

/* Nobody tells when there is room: it is tried again. */
typedef struct lull {
    int64_t until;
    int fd;
} lull;

static ssize_t lull_cancel(void *arg) { return weft_now() >= ((const lull *)arg)->until ? 0 : WEFT_PENDING; }

static ssize_t lull_poll(void *arg, weft_context *cx)
{
    wf_exec_waits(cx->exec, WF_WAIT_CONNECT, (unsigned)((const lull *)arg)->fd);
    return lull_cancel(arg);
}

static const wf_op_ops lull_ops = {.poll = lull_poll, .cancel = lull_cancel};

static int lull_for(int fd, int64_t ns)
{
    lull p = {.until = wf_add_saturating(weft_now(), ns), .fd = fd};
    return (int)wf_await(&lull_ops, &p, p.until);
}

static int await_room(int fd, const weft_addr *addr)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    for (int ms = FIRST_PAUSE;; ms = WF_MIN(2 * ms, LONGEST_PAUSE)) {
        int err = try_connect(fd, sa, length);
        if (err != WEFT_EAGAIN && err != -EINTR)
            return err;
        err = lull_for(fd, ms * WEFT_MS);
        if (err < 0)
            return err;
    }
}

static int connect_to(weft_stream **out, wf_sources *all, const weft_addr *addr)
{
    int fd = wf_socket(AF_UNIX, SOCK_STREAM);
    if (fd < 0)
        return fd;
    int err = await_room(fd, addr);
    if (err == 0) {
        *out = wf_stream_open(all, fd, true);
        if (*out)
            return 0;
        err = WEFT_ENOMEM;
    }
    close(fd);
    return err;
}

int weft_unix_connect(weft_stream **out, const char *path)
{
    weft_addr addr;
    wf_exec *exec;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (parse(&addr, path) < 0)
        return weft_error_set(WEFT_EINVAL, "connect: \"%s\" is no path for a socket", path ? path : "");
    int err = wf_await_entry(&exec);
    if (err < 0)
        return err;
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    err = connect_to(out, all, &addr);
    if (err < 0)
        return weft_error_set(err, "connect %s: %s", path, weft_strerror(err));
    wf_spend(exec);
    return 0;
}

/* ---- the other end --------------------------------------------------------------------------------------------- */

WF_NOINLINE static int credentials_of(int fd, weft_credentials *out)
{
#ifdef __linux__
    struct ucred peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){sizeof peer}) < 0)
        return -errno;
    *out = (weft_credentials){.pid = peer.pid, .uid = peer.uid, .gid = peer.gid};
#else
    *out = (weft_credentials){.pid = -1};
    if (getpeereid(fd, &out->uid, &out->gid) < 0)
        return -errno;
#endif
    return 0;
}

/* 0, or WEFT_EINVAL: it is none; or why it is not known. */
static int must_be_unix(int fd)
{
    weft_addr local;
    if (fd < 0)
        return WEFT_EINVAL;
    int err = wf_socket_name(fd, getsockname, &local);
    if (err < 0)
        return err == WEFT_ENOTSOCK ? WEFT_EINVAL : err;
    return weft_addr_sockaddr(&local, NULL)->sa_family == AF_UNIX ? 0 : WEFT_EINVAL;
}

int weft_stream_peer_credentials(weft_stream *s, weft_credentials *out)
{
    if (!s || !out)
        return WEFT_EINVAL;
    *out = (weft_credentials){.pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
    int err, fd = wf_source_visit(&s->source, &err);
    if (err < 0)
        return err;
    err = must_be_unix(fd);
    if (err == 0)
        err = credentials_of(fd, out);
    wf_source_leave(&s->source);
    return err;
}
