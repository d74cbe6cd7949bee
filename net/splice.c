/* splice.c - see splice.h.
 *
 * Making a pipe costs more than moving a little through it, so a runtime keeps some empty ones: they are the runtime's, because a forked child must
 * not share them. How many there are is bounded, as the kernel bounds the pages that all pipes of a user may have. */
#include <errno.h>
#include <fcntl.h>
#include <net/splice.h>
#include <runtime/runtime.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__linux__)

enum { MOST = 256, MOST_IDLE = 16 };

typedef struct pipes {
    wf_service service;
    wf_mutex lock;
    unsigned count; /* under lock: all, idle ones included */
    unsigned idle;  /* under lock */
    wf_pipe idle_ones[MOST_IDLE];
} pipes;

static void close_both(wf_pipe pipe)
{
    close(pipe.in);
    close(pipe.out);
}

static void stop(wf_service *service)
{
    pipes *all = wf_container(service, pipes, service);
    while (all->idle > 0)
        close_both(all->idle_ones[--all->idle]);
    wf_mutex_destroy(&all->lock);
    free(all);
}

static wf_service *make(weft_runtime *rt, int *err)
{
    (void)rt;
    pipes *all = calloc(1, sizeof *all);
    if (!all) {
        *err = WEFT_ENOMEM;
        return NULL;
    }
    wf_mutex_init(&all->lock);
    return &all->service;
}

static pipes *pipes_of(weft_runtime *rt)
{
    int err;
    wf_service *service = wf_runtime_service(rt, make, stop, &err);
    return service ? wf_container(service, pipes, service) : NULL;
}

/* A smaller one will do, where the system allows no larger. */
WF_NOINLINE static bool open_one(wf_pipe *pipe)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return false;
    fcntl(fds[1], F_SETPIPE_SZ, (int)WF_PIPE_SIZE);
    *pipe = (wf_pipe){.out = fds[0], .in = fds[1]};
    return true;
}

static void count_off(pipes *all)
{
    wf_mutex_lock(&all->lock);
    all->count--;
    wf_mutex_unlock(&all->lock);
}

bool wf_pipe_take(weft_runtime *rt, wf_pipe *pipe)
{
    pipes *all = pipes_of(rt);
    if (!all)
        return false;
    wf_mutex_lock(&all->lock);
    bool found = all->idle > 0, room = found || all->count < MOST;
    if (found)
        *pipe = all->idle_ones[--all->idle];
    else if (room)
        all->count++;
    wf_mutex_unlock(&all->lock);
    if (found || !room)
        return found;
    if (open_one(pipe))
        return true;
    count_off(all);
    return false;
}

void wf_pipe_put(weft_runtime *rt, wf_pipe pipe, bool empty)
{
    pipes *all = pipes_of(rt);
    wf_mutex_lock(&all->lock);
    bool kept = empty && all->idle < MOST_IDLE;
    if (kept)
        all->idle_ones[all->idle++] = pipe;
    else
        all->count--;
    wf_mutex_unlock(&all->lock);
    if (!kept)
        close_both(pipe);
}

WF_NOINLINE static ssize_t move(int from, int to, size_t size)
{
    ssize_t n;
    do
        n = splice(from, NULL, to, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? n : -errno;
}

ssize_t wf_pipe_fill(wf_pipe pipe, int socket, size_t size) { return move(socket, pipe.in, size); }

ssize_t wf_pipe_drain(wf_pipe pipe, int socket, size_t size) { return move(pipe.out, socket, size); }

WF_NOINLINE ssize_t wf_pipe_read(wf_pipe pipe, void *buf, size_t size)
{
    ssize_t n;
    do
        n = read(pipe.out, buf, size);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? n : -errno;
}

#else

bool wf_pipe_take(weft_runtime *rt, wf_pipe *pipe)
{
    (void)rt, (void)pipe;
    return false;
}

void wf_pipe_put(weft_runtime *rt, wf_pipe pipe, bool empty) { (void)rt, (void)pipe, (void)empty; }

ssize_t wf_pipe_fill(wf_pipe pipe, int socket, size_t size)
{
    (void)pipe, (void)socket, (void)size;
    return WEFT_ENOTSUP;
}

ssize_t wf_pipe_drain(wf_pipe pipe, int socket, size_t size) { return wf_pipe_fill(pipe, socket, size); }

ssize_t wf_pipe_read(wf_pipe pipe, void *buf, size_t size)
{
    (void)buf;
    return wf_pipe_fill(pipe, -1, size);
}

#endif
