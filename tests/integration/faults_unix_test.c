/* faults_unix_test.c - Unix sockets when the kernel fails, at every call in turn. */
#include <errno.h>
#include <support/faults_sweep.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- from the path to the last byte ------------------------------------------------------------------------------- */

typedef struct call {
    char folder[32], path[64];
    weft_listener *listener;
    weft_stream *client;
    ssize_t served;
} call;

enum { BYTES = 3000 };

static unsigned char byte(int at) { return (unsigned char)(at * 7 + (at >> 8)); }

static ssize_t echo(weft_stream *s)
{
    unsigned char buf[700];
    struct iovec two[2] = {{buf, 100}, {buf + 100, 600}};
    for (unsigned i = 0;; i++) {
        ssize_t n = i % 2 ? weft_read(s, buf, sizeof buf) : weft_readv(s, two, 2);
        if (n <= 0)
            return n;
        n = weft_write(s, buf, (size_t)n);
        if (n < 0)
            return n;
    }
}

/* On who waits in the queue. */
static void hang_up(call *c)
{
    weft_listener_close(c->listener);
    c->listener = NULL;
}

static void *serve(void *arg)
{
    call *c = arg;
    weft_stream *s;
    c->served = weft_accept(&s, c->listener);
    if (c->served == 0)
        c->served = echo(s);
    else
        hang_up(c);
    weft_close(s);
    return NULL;
}

static ssize_t receive(weft_stream *s)
{
    unsigned char buf[500];
    int got = 0;
    ssize_t n;
    while ((n = weft_read(s, buf, sizeof buf)) > 0)
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(buf[i], byte(got++));
    return n < 0 ? n : got;
}

static ssize_t converse(weft_stream *s)
{
    unsigned char bytes[BYTES];
    weft_credentials peer;
    for (int i = 0; i < BYTES; i++)
        bytes[i] = byte(i);
    struct iovec two[2] = {{bytes, 10}, {bytes + 10, 1000}};
    ssize_t err = weft_stream_peer_credentials(s, &peer);
    if (err < 0)
        return err;
    cr_assert_eq(peer.pid, getpid());
    err = weft_writev(s, two, 2);
    if (err >= 0)
        err = weft_write(s, bytes + 1010, BYTES - 1010);
    if (err >= 0)
        err = weft_close_write(s);
    return err < 0 ? err : receive(s);
}

static ssize_t dial(call *c)
{
    weft_task *server = start(serve, c);
    ssize_t n = weft_unix_connect(&c->client, c->path);
    if (n == 0)
        n = converse(c->client);
    if (c->client && n < 0)
        weft_stream_abort(c->client);
    else if (n < 0)
        weft_abort(server);
    weft_join(server, NULL);
    weft_close(c->client);
    ssize_t served = c->served == WEFT_ECANCELED ? 0 : c->served;
    cr_assert(n < 0 || served < 0 || n == BYTES, "%zd bytes have come back", n);
    return faults_first(served, n < 0 ? n : 0);
}

static ssize_t call_once(void *arg)
{
    call *c = arg;
    weft_addr addr;
    weft_unix_options o = {.mode = 0777};
    c->client = NULL;
    c->served = 0;
    ssize_t err = weft_unix_listen(&c->listener, c->path, &o);
    if (err < 0) {
        cr_assert_null(c->listener);
        return err;
    }
    err = weft_listener_addr(c->listener, &addr);
    if (err == 0)
        err = dial(c);
    weft_listener_close(c->listener);
    return err;
}

static const fault in_calling[] = {
    TOLD(SOCKET, UNIX, EMFILE),
    TOLD(SOCKET, UNIX, ENFILE),
    TOLD(SOCKET, UNIX, ENOBUFS),
    TOLD(BIND, UNIX, EACCES),
    TOLD(BIND, UNIX, ENOSPC),
    TOLD(BIND, UNIX, EADDRINUSE), /* though nothing is there */
    TOLD(LISTEN, UNIX, EADDRINUSE),
    TOLD(CHMOD, FILE, EPERM),
    TOLD(CHMOD, FILE, EIO),
    TOLD(REALPATH, FILE, ENOMEM),
    SOMETIMES(LSTAT, FILE, EIO), /* the path may stay: it is stale then */
    UNNOTICED(FCHMOD, UNIX, 1, EINVAL),
    UNNOTICED(OPEN, FILE, 1, EINTR),
    UNNOTICED(OPEN, FILE, 1, EMFILE),
    UNNOTICED(OPEN, FILE, 1, EACCES),
    UNNOTICED(FLOCK, FILE, 1, EINTR),
    UNNOTICED(FLOCK, FILE, 3, EWOULDBLOCK),
    UNNOTICED(FLOCK, FILE, ALWAYS, ENOLCK),
    UNNOTICED(UNLINK, FILE, 1, EROFS),
    UNNOTICED(CONNECT, UNIX, 1, EAGAIN),
    UNNOTICED(CONNECT, UNIX, 3, EAGAIN),
    UNNOTICED(CONNECT, UNIX, 2, EINTR),
    TOLD(CONNECT, UNIX, ECONNREFUSED),
    TOLD(CONNECT, UNIX, EACCES),
    TOLD(CONNECT, UNIX, ENOMEM),
    UNNOTICED(ACCEPT4, UNIX, 3, EINTR),
    UNNOTICED(ACCEPT4, UNIX, 3, EAGAIN),
    TOLD(ACCEPT4, UNIX, EMFILE),
    TOLD(ACCEPT4, UNIX, ENOMEM),
    SOMETIMES(GETSOCKOPT, UNIX, ENOBUFS),  /* the portable reactor asks at a close, too */
    SOMETIMES(GETSOCKNAME, UNIX, ENOBUFS), /* reading asks, too, and reads on */
    UNNOTICED(RECV, UNIX, 1, EINTR),
    UNNOTICED(RECV, UNIX, 5, EAGAIN),
    SHORT(RECV, UNIX, 3, 1),
    UNNOTICED(READV, UNIX, 1, EINTR),
    UNNOTICED(READV, UNIX, 5, EAGAIN),
    SHORT(READV, UNIX, 3, 1),
    UNNOTICED(SEND, UNIX, 1, EINTR),
    UNNOTICED(SEND, UNIX, 5, EAGAIN),
    SHORT(SEND, UNIX, 3, 1),
    UNNOTICED(SENDMSG, UNIX, 1, EINTR),
    UNNOTICED(SENDMSG, UNIX, 5, EAGAIN),
    SHORT(SENDMSG, UNIX, 3, 1),
    TOLD(RECV, UNIX, ECONNRESET),
    TOLD(RECV, UNIX, ENOMEM),
    TOLD(READV, UNIX, ECONNRESET),
    TOLD(SEND, UNIX, EPIPE),
    TOLD(SEND, UNIX, ENOBUFS),
    TOLD(SENDMSG, UNIX, EPIPE),
    TOLD(SENDMSG, UNIX, ENOMEM),
    SOMETIMES(SHUTDOWN, UNIX, ENOTCONN), /* what is closed while others wait is shut first */
    UNNOTICED(CLOSE, UNIX, 1, EINTR),
    UNNOTICED(CLOSE, UNIX, 1, EIO),
    UNNOTICED(CLOSE, FILE, 1, EINTR),
#if !WF_REACTOR_UVPOLL
    TOLD(EPOLL_CTL, UNIX, ENOMEM),
    TOLD(EPOLL_CTL, UNIX, ENOSPC),
    UNNOTICED(EPOLL_DEL, UNIX, 1, ENOENT),
#endif
};

static call begin(void)
{
    call c = {.folder = "/tmp/weft_faults_XXXXXX"};
    cr_assert_not_null(mkdtemp(c.folder));
    snprintf(c.path, sizeof c.path, "%s/socket", c.folder);
    umask(022);
    return c;
}

static void end(call *c)
{
    unlink(c->path);
    cr_assert_eq(rmdir(c->folder), 0);
}

/* What broke: a failure to ask for the socket's name was told as "no Unix socket". */
WF_TEST_WORKERS(faults_unix, a_call_is_whole_or_told_what_it_met)
{
    faults_need();
    call c = begin();
    faults_sweep_with(workers, &FAULTS_SWEEP(in_calling, call_once, .arg = &c));
    end(&c);
}

/* ---- in the place of one that is stale ------------------------------------------------------------------------------ */

static ssize_t replace(void *arg)
{
    call *c = arg;
    weft_unix_options keep = {.keep = 1};
    if (access(c->path, F_OK) < 0) {
        cr_assert_eq(weft_unix_listen(&c->listener, c->path, &keep), 0);
        weft_listener_close(c->listener);
    }
    ssize_t err = weft_unix_listen(&c->listener, c->path, &keep);
    weft_listener_close(c->listener);
    return err;
}

static const fault in_replacing[] = {
    TOLD(SOCKET, UNIX, EMFILE),
    TOLD_AS(CONNECT, UNIX, EACCES, WEFT_EADDRINUSE), /* it may be somebody's */
    SOMETIMES(BIND, UNIX, EADDRINUSE),               /* another was faster; or so it is already */
    TOLD_AS(UNLINK, FILE, EACCES, WEFT_EADDRINUSE),
};

WF_TEST_WORKERS(faults_unix, a_stale_path_is_replaced_or_stays)
{
    faults_need();
    call c = begin();
    faults_sweep_with(workers, &FAULTS_SWEEP(in_replacing, replace, .arg = &c));
    end(&c);
}

/* ---- a folder that cannot be locked ------------------------------------------------------------------------------------ */

static void *listen_without_locks(void *arg)
{
    call *c = arg;
    faults_plan plan = {.call = FAULTS_FLOCK, .class = FAULTS_FILE, .nth = 1, .times = ALWAYS, .error = ENOLCK};
    faults_begin(&plan);
    cr_assert_eq(weft_unix_listen(&c->listener, c->path, NULL), 0);
    cr_assert_eq(faults_end(), 1);
    weft_listener_close(c->listener);
    return NULL;
}

/* What broke: it was tried ten thousand times, for a second and more, in which the worker did nothing else. */
Test(faults_unix, a_folder_without_locks_is_not_asked_again)
{
    faults_need();
    call c = begin();
    run(1, listen_without_locks, &c);
    end(&c);
}
