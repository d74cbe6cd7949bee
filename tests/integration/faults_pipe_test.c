/* faults_pipe_test.c - pipes and adopted descriptors when the kernel fails, at every call in turn. */
#include <errno.h>
#include <fcntl.h>
#include <support/faults_sweep.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- through a pipe ------------------------------------------------------------------------------------------------- */

enum { BYTES = 5000 };

typedef struct flow {
    weft_stream *in, *out;
    ssize_t sent;
} flow;

static unsigned char byte(int at) { return (unsigned char)(at * 7 + (at >> 8)); }

static void *fill(void *arg)
{
    flow *f = arg;
    unsigned char bytes[BYTES];
    for (int i = 0; i < BYTES; i++)
        bytes[i] = byte(i);
    struct iovec two[2] = {{bytes, 10}, {bytes + 10, 2000}};
    f->sent = weft_writev(f->out, two, 2);
    if (f->sent >= 0)
        f->sent = weft_write(f->out, bytes + 2010, BYTES - 2010);
    weft_close(f->out);
    return NULL;
}

static ssize_t drain(weft_stream *s)
{
    unsigned char buf[600];
    struct iovec two[2] = {{buf, 100}, {buf + 100, 500}};
    int got = 0;
    ssize_t n = 1;
    for (int turn = 0; n > 0; turn++) {
        n = turn % 2 ? weft_read(s, buf, sizeof buf) : weft_readv(s, two, 2);
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(buf[i], byte(got++));
    }
    return n < 0 ? n : got;
}

static ssize_t flow_through(void *arg)
{
    flow f = {.sent = 0};
    (void)arg;
    int err = weft_pipe(&f.in, &f.out);
    if (err < 0) {
        cr_assert(!f.in && !f.out);
        return err;
    }
    weft_task *filler = start(fill, &f);
    ssize_t n = drain(f.in);
    weft_close(f.in);
    join(filler);
    cr_assert(n < 0 || f.sent < 0 || n == BYTES);
    return n < 0 ? n : f.sent < 0 ? f.sent : 0;
}

static const fault in_flowing[] = {
    TOLD(PIPE2, PIPE, EMFILE),
    TOLD(PIPE2, PIPE, ENFILE),
    UNNOTICED(READ, PIPE, 3, EINTR),
    UNNOTICED(READ, PIPE, 3, EAGAIN),
    SHORT(READ, PIPE, 3, 1),
    UNNOTICED(READV, PIPE, 3, EINTR),
    UNNOTICED(READV, PIPE, 3, EAGAIN),
    SHORT(READV, PIPE, 3, 1),
    UNNOTICED(WRITEV, PIPE, 3, EINTR),
    UNNOTICED(WRITEV, PIPE, 3, EAGAIN),
    SHORT(WRITEV, PIPE, 3, 1),
    TOLD(READ, PIPE, EIO),
    TOLD(READV, PIPE, EIO),
    TOLD(WRITEV, PIPE, EPIPE),
    TOLD(WRITEV, PIPE, EIO),
    UNNOTICED(CLOSE, PIPE, 1, EINTR),
    UNNOTICED(CLOSE, PIPE, 1, EIO),
#if !WF_REACTOR_UVPOLL
    TOLD(EPOLL_CTL, PIPE, ENOMEM),
    TOLD(EPOLL_CTL, PIPE, ENOSPC),
    UNNOTICED(EPOLL_DEL, PIPE, 1, ENOENT),
#endif
};

WF_TEST_WORKERS(faults_pipe, what_flows_through_is_whole_or_told_what_it_met)
{
    faults_sweep_with(workers, &FAULTS_SWEEP(in_flowing, flow_through));
}

/* ---- adopting and giving back --------------------------------------------------------------------------------------------- */

static void close_number(int fd) { cr_assert_eq(syscall(SYS_close, fd), 0); }

/* Whoever fails leaves the descriptor to the caller. */
static ssize_t adopt_stream(int fd)
{
    weft_stream *s;
    int err = weft_stream_from_fd(&s, fd);
    if (err < 0) {
        cr_assert_null(s);
        close_number(fd);
        return err;
    }
    int back = weft_stream_release(s);
    if (back < 0)
        weft_close(s);
    else
        close_number(back);
    return back < 0 ? back : 0;
}

static ssize_t adopt_listener(void)
{
    weft_listener *l;
    int fd = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(syscall(SYS_listen, fd, 5), 0);
    int err = weft_listener_from_fd(&l, fd);
    if (err < 0) {
        cr_assert_null(l);
        close_number(fd);
    }
    weft_listener_close(l);
    return err;
}

static ssize_t adopt_all(void *arg)
{
    int ends[2];
    (void)arg;
    cr_assert_eq(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ssize_t err = adopt_stream(ends[0]);
    close_number(ends[1]);
    if (err < 0)
        return err;
    cr_assert_eq(syscall(SYS_pipe2, ends, O_CLOEXEC), 0);
    err = adopt_stream(ends[0]);
    close_number(ends[1]);
    return err < 0 ? err : adopt_listener();
}

static const fault in_adopting[] = {
    TOLD(FSTAT, ANY, EIO),
    TOLD(FSTAT, ANY, ENOMEM),
    TOLD(FCNTL, PIPE, EPERM),
    TOLD(FCNTL, UNIX, EPERM),
    TOLD(FCNTL, TCP, EPERM),
    TOLD(FCNTL, ANY, EMFILE),
    TOLD(GETSOCKOPT, UNIX, ENOBUFS),
    TOLD(GETSOCKOPT, TCP, ENOBUFS),
    UNNOTICED(CLOSE, ANY, 1, EINTR),
    UNNOTICED(GETSOCKNAME, TCP, 1, ENOBUFS),
    UNNOTICED(SETSOCKOPT, TCP, 1, EPERM), /* what it accepts is slower */
};

/* What broke: a socket whose type could not be asked for was told to be none, by WEFT_EINVAL. */
WF_TEST_WORKERS(faults_pipe, adopting_and_releasing_that_fails_leaves_the_descriptor)
{
    faults_sweep_with(workers, &FAULTS_SWEEP(in_adopting, adopt_all));
}
