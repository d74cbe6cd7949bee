/* handle.c - streams as handles: opening, adopting and giving back descriptors, closing, names. */
#include <errno.h>
#include <fcntl.h>
#include <net/socket.h>
#include <net/stream.h>
#include <runtime/runtime.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static weft_stream *stream_of(wf_source *s) { return (weft_stream *)(void *)s; }

/* ---- kinds ----------------------------------------------------------------------------------------------------- */

/* Each layer says goodbye through those below it, so the topmost comes first. */
static void closing(wf_source *source)
{
    for (weft_layer *l = wf_load_acq(&wf_stream_extra_of(stream_of(source))->layer); l; l = l->below_) /* [LAYER] acquire */
        if (l->ops->close)
            l->ops->close(l);
}

static void closing_socket(wf_source *source)
{
    closing(source);
    wf_socket_closing(wf_load_rlx(&source->fd));
}

static void gone(wf_source *source)
{
    wf_stream_extra *extra = wf_stream_extra_of(stream_of(source));
    wf_reader_drop(extra->reader);
    for (weft_layer *l = wf_load_acq(&extra->layer), *below; l; l = below) {
        below = l->below_;
        l->ops->drop(l);
    }
}

const wf_source_kind wf_stream_on_socket = {.socket = true, .closing = closing_socket, .gone = gone};
const wf_source_kind wf_stream_on_pipe = {.closing = closing, .gone = gone};
const wf_source_kind wf_stream_in_memory = {.closing = closing, .gone = gone};

/* Of a stream whose connection goes on elsewhere: its end does nothing to it. */
static const wf_source_kind given_back = {.gone = gone};

/* ---- opening --------------------------------------------------------------------------------------------------- */

wf_sources *wf_sources_here(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec && exec->rt ? &exec->rt->sources : NULL;
}

static weft_stream *open_kind(wf_sources *all, int fd, const wf_source_kind *kind, bool ready)
{
    return (weft_stream *)(void *)wf_source_open(all, fd, kind, ready);
}

weft_stream *wf_stream_open(wf_sources *all, int fd, bool ready)
{
    return open_kind(all, fd, &wf_stream_on_socket, ready);
}

/* What can be waited for: sockets of streams, pipes, and what reads and writes like a terminal. NULL and *@err for the rest. */
WF_NOINLINE static const wf_source_kind *kind_of(int fd, int *err)
{
    struct stat st;
    int type = 0;
    bool told = fstat(fd, &st) == 0;
    if (told && S_ISSOCK(st.st_mode))
        told = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type}) == 0;
    *err = told ? WEFT_EINVAL : -errno;
    if (!told)
        return NULL;
    if (S_ISSOCK(st.st_mode))
        return type == SOCK_STREAM ? &wf_stream_on_socket : NULL;
    return S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode) ? &wf_stream_on_pipe : NULL;
}

int weft_stream_from_fd(weft_stream **out, int fd)
{
    int err;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    wf_sources *all = wf_sources_here();
    if (!all)
        return WEFT_ENORUNTIME;
    const wf_source_kind *kind = kind_of(fd, &err);
    if (!kind)
        return err;
    err = wf_set_nonblocking(fd);
    if (err < 0)
        return err;
    *out = open_kind(all, fd, kind, true);
    return *out ? 0 : WEFT_ENOMEM;
}

WF_NOINLINE static int open_pipe(weft_stream *ends[2], wf_sources *all)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        ends[i] = open_kind(all, fds[i], &wf_stream_on_pipe, i == 1);
        if (!ends[i])
            close(fds[i]);
    }
    if (ends[0] && ends[1])
        return 0;
    weft_close(ends[0]);
    weft_close(ends[1]);
    return WEFT_ENOMEM;
}

int weft_pipe(weft_stream **reader, weft_stream **writer)
{
    weft_stream *ends[2];
    if (reader)
        *reader = NULL;
    if (writer)
        *writer = NULL;
    if (!reader || !writer)
        return WEFT_EINVAL;
    wf_sources *all = wf_sources_here();
    int err = all ? open_pipe(ends, all) : WEFT_ENORUNTIME;
    if (err < 0)
        return err;
    *reader = ends[0];
    *writer = ends[1];
    return 0;
}

/* ---- giving back ----------------------------------------------------------------------------------------------- */

WF_NOINLINE static int duplicate(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy >= 0 ? copy : -errno;
}

/* Both directions claimed: a copy of the descriptor, for the stream's own goes the way of all descriptors, deregistered first. */
static int copy_claimed(weft_stream *s, uint64_t word)
{
    wf_stream_extra *extra = wf_stream_extra_of(s);
    int fd = wf_load_rlx(&s->source.fd);
    if (fd < 0)
        return WEFT_ENOTSUP;
    if ((word & WF_SRC_REFS) != WF_SRC_REF || wf_stream_top(s) || (extra->reader && wf_reader_held(extra->reader) > 0))
        return WEFT_EBUSY;
    return duplicate(fd);
}

int weft_stream_release(weft_stream *s)
{
    uint64_t word;
    if (!s)
        return WEFT_EINVAL;
    int fd = wf_source_claim(&s->source, WF_READ, &word);
    if (fd < 0)
        return fd;
    fd = wf_source_claim(&s->source, WF_WRITE, &word);
    if (fd == 0) {
        fd = copy_claimed(s, word);
        if (fd >= 0)
            s->source.kind = &given_back;
        wf_source_release(&s->source, WF_WRITE, false, word);
    }
    wf_source_release(&s->source, WF_READ, false, word);
    if (fd >= 0)
        weft_close(s);
    return fd;
}

/* ---- closing --------------------------------------------------------------------------------------------------- */

static ssize_t attempt_shut(wf_source_op *op, bool *drained)
{
    (void)drained;
    return wf_stream_shut_now(stream_of(op->source));
}

static wf_source_op shutting(weft_stream *s)
{
    return (wf_source_op){.source = &s->source, .direction = WF_WRITE, .always = true, .attempt = attempt_shut};
}

/* Without waiting if that is possible: then also for one who is interrupted. */
int weft_close_write(weft_stream *s)
{
    uint64_t word;
    if (!s)
        return WEFT_EINVAL;
    int err = wf_source_claim(&s->source, WF_WRITE, &word);
    if (err < 0)
        return err;
    err = wf_stream_shut_now(s);
    if (err < 0 && wf_source_closing(&s->source))
        err = WEFT_ECLOSED;
    wf_source_release(&s->source, WF_WRITE, false, word);
    if (err != WEFT_EAGAIN)
        return err;
    wf_source_op op = shutting(s);
    return (int)wf_await(&wf_source_op_ops, &op, wf_stream_deadline(s, WF_WRITE));
}

void weft_close(weft_stream *s)
{
    if (s)
        wf_source_close(&s->source);
}

void weft_stream_abort(weft_stream *s)
{
    if (s)
        wf_source_abort(&s->source);
}

weft_stream *weft_stream_ref(weft_stream *s) { return s && wf_source_ref(&s->source) ? s : NULL; }

/* ---- what it is ------------------------------------------------------------------------------------------------ */

int weft_stream_fd(weft_stream *s) { return !s || wf_source_closing(&s->source) ? -1 : wf_load_rlx(&s->source.fd); }

static int name_of(weft_stream *s, wf_name_call call, weft_addr *out)
{
    if (!s || !out)
        return WEFT_EINVAL;
    int err, fd = wf_source_visit(&s->source, &err);
    if (err < 0)
        return err;
    err = fd >= 0 ? wf_socket_name(fd, call, out) : WEFT_ENOTSOCK;
    wf_source_leave(&s->source);
    return err;
}

int weft_stream_peer(weft_stream *s, weft_addr *out) { return name_of(s, getpeername, out); }

int weft_stream_local(weft_stream *s, weft_addr *out) { return name_of(s, getsockname, out); }
