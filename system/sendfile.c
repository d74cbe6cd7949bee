/* sendfile.c - a file's bytes into a stream.
 *
 * The kernel sends them where the stream is a plain socket. What is not in the page cache would block the worker: so each chunk is asked about first, and read
 * once on a thread of the pool if it is not there. For other streams each chunk is read there and written as usual. */
#include <errno.h>
#include <net/socket.h>
#include <net/source_op.h>
#include <runtime/pool.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>
#include <weft/os.h>
#if defined(__linux__)
#include <sys/sendfile.h>
#endif

/* What is asked about, read or written at once; how much one poll sends before others get their turn. */
enum { CHUNK = 256 * 1024, SCRATCH = 16 * 1024, MOST_CALLS = 8 };

/* How a round ends, besides failures. */
enum { SENT, COLD, REFUSED };

typedef struct sending {
    wf_source_op op; /* its claim and word */
    int fd;
    int64_t offset, left; /* in the file */
    int64_t warm;         /* up to here nothing waits for the disk */
    int64_t sent;
    bool failed; /* the result is the operation's own */
} sending;

/* ---- system calls ---------------------------------------------------------------------------------------------- */

#if defined(__linux__)

/* False: reading it would wait, or nobody can say. Beyond the end nothing waits. */
WF_NOINLINE static bool is_cached(int fd, int64_t offset)
{
    char byte;
    struct iovec one = {.iov_base = &byte, .iov_len = 1};
    return preadv2(fd, &one, 1, offset, RWF_NOWAIT) >= 0;
}

WF_NOINLINE static ssize_t send_fd(int socket, int fd, int64_t offset, size_t size)
{
    off_t at = offset;
    ssize_t n;
    do
        n = sendfile(socket, fd, &at, size);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? n : -errno;
}

#else

static bool is_cached(int fd, int64_t offset)
{
    (void)fd, (void)offset;
    return true;
}

static ssize_t send_fd(int socket, int fd, int64_t offset, size_t size)
{
    (void)socket, (void)fd, (void)offset, (void)size;
    return WEFT_ENOTSUP;
}

#endif

WF_NOINLINE static ssize_t read_fd(int fd, void *buf, size_t size, int64_t offset)
{
    ssize_t n;
    do
        n = pread(fd, buf, size, offset);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? n : -errno;
}

/* ---- the page cache -------------------------------------------------------------------------------------------- */

static int64_t chunk_end(const sending *f) { return f->offset + WF_MIN(f->left, (int64_t)CHUNK); }

/* Its beginning and its end stand for all of it. */
static bool is_cold(sending *f)
{
    if (f->offset < f->warm)
        return false;
    if (!is_cached(f->fd, f->offset) || !is_cached(f->fd, chunk_end(f) - 1))
        return true;
    f->warm = chunk_end(f);
    return false;
}

/* On a thread of the pool. */
static ssize_t read_ahead(void *arg)
{
    sending *f = arg;
    char scratch[SCRATCH];
    int64_t end = chunk_end(f);
    ssize_t n = 1;
    for (int64_t at = f->offset; at < end && n > 0; at += n)
        n = read_fd(f->fd, scratch, (size_t)WF_MIN(end - at, (int64_t)sizeof scratch), at);
    f->warm = end;
    return WF_MIN(n, 0);
}

/* ---- the kernel sends ------------------------------------------------------------------------------------------ */

/* What a socket says that was shut meanwhile is not what happened. */
static ssize_t told(const sending *f, ssize_t n)
{
    return n <= 0 && wf_source_closing(f->op.source) ? WEFT_ECLOSED : n;
}

/* A count, 0 at the end of the file, WEFT_EAGAIN or a negative code. */
static ssize_t send_some(sending *f)
{
    size_t size = (size_t)WF_MIN(f->left, f->warm - f->offset);
    ssize_t n = told(f, send_fd(wf_load_rlx(&f->op.source->fd), f->fd, f->offset, size));
    if (n <= 0)
        return n;
    f->offset += n;
    f->left -= n;
    f->sent += n;
    return n;
}

/* One that never has to wait lets others run all the same. */
static ssize_t send_on(sending *f, weft_context *cx)
{
    for (int calls = 0; f->left > 0; calls++) {
        if (calls == MOST_CALLS) {
            weft_waker_wake_by_ref(weft_context_waker(cx));
            return WEFT_PENDING;
        }
        if (is_cold(f))
            return COLD;
        ssize_t n = wf_source_op_ready(&f->op) ? send_some(f) : WEFT_EAGAIN;
        if (n == WEFT_EAGAIN)
            n = wf_source_op_wait(&f->op, cx);
        else if (n == 0)
            return SENT;
        if (n < 0)
            return n == WEFT_EINVAL || n == -ENOSYS || n == WEFT_ENOTSUP ? REFUSED : n;
    }
    return SENT;
}

/* sendfile() raises SIGPIPE. */
static ssize_t send_quietly(sending *f, weft_context *cx)
{
    wf_sigpipe hold;
    wf_sigpipe_hold(&hold);
    ssize_t n = send_on(f, cx);
    wf_sigpipe_release(&hold);
    return n;
}

static ssize_t poll(void *arg, weft_context *cx)
{
    sending *f = arg;
    ssize_t n = wf_source_op_claim(&f->op);
    if (n == 0)
        n = f->op.word & WF_SRC_CLOSING ? WEFT_ECLOSED : send_quietly(f, cx);
    f->failed = n < 0 && n != WEFT_PENDING;
    return n;
}

/* Interrupted, it keeps its claim, also while the file is read: nobody else's bytes come in between. by_kernel() gives it back. */
static const wf_op_ops ops = {.poll = poll};

/* As long as something moves, the stream is patient. */
static ssize_t round_of(sending *f)
{
    for (;;) {
        int64_t before = f->sent;
        ssize_t n = wf_await(&ops, f, wf_stream_deadline((weft_stream *)(void *)f->op.source, WF_WRITE));
        if (n != WEFT_ETIMEDOUT || f->failed || wf_exec_current()->cause || f->sent == before)
            return n;
    }
}

static ssize_t by_kernel(sending *f)
{
    ssize_t n, ahead = 0;
    do
        n = round_of(f);
    while (n == COLD && (ahead = wf_pool_call(WF_LANE_FILES, read_ahead, f)) == 0);
    wf_source_op_cancel(&f->op);
    return ahead < 0 ? ahead : n;
}

/* ---- by copying ------------------------------------------------------------------------------------------------ */

static ssize_t copy_chunks(sending *f, weft_stream *s, weft_file *file, char *buf)
{
    while (f->left > 0) {
        ssize_t n = weft_file_pread(file, buf, (size_t)WF_MIN(f->left, (int64_t)CHUNK), f->offset);
        if (n > 0)
            n = weft_write(s, buf, (size_t)n);
        if (n <= 0)
            return n;
        f->offset += n;
        f->left -= n;
        f->sent += n;
    }
    return 0;
}

static ssize_t by_copying(sending *f, weft_stream *s, weft_file *file)
{
    char *buf = malloc((size_t)WF_MIN(f->left, (int64_t)CHUNK));
    if (!buf)
        return WEFT_ENOMEM;
    ssize_t n = copy_chunks(f, s, file, buf);
    free(buf);
    return n;
}

int64_t weft_sendfile(weft_stream *s, weft_file *file, int64_t offset, int64_t count)
{
    if (!s || !file || offset < 0 || count < 0)
        return WEFT_EINVAL;
    sending f = {.op = {.source = &s->source, .direction = WF_WRITE},
                 .fd = weft_file_fd(file),
                 .offset = offset,
                 .left = WF_MIN(count, INT64_MAX - offset)};
    if (f.left == 0)
        return 0;
    ssize_t n = wf_stream_is_plain(s) ? by_kernel(&f) : REFUSED;
    if (n == REFUSED)
        n = by_copying(&f, s, file);
    return n < 0 ? n : f.sent;
}
