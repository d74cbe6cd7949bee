/* paths_echo.c - requests over a pair of local sockets, which the kernel hands over at once: nothing arrives late. Only instructions outside of the
 * kernel are counted. */
#include "paths.h"

#include <sys/socket.h>

enum { MESSAGE = 64 };

static weft_stream *near, *far;

static void connect_both(void)
{
    int fd[2];
    BENCH_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
    BENCH_CHECK(weft_stream_from_fd(&near, fd[0]) == 0 && weft_stream_from_fd(&far, fd[1]) == 0);
}

/* As bench/echo_weft.c has it. */
static void *echo(void *arg)
{
    char buf[2048];
    ssize_t n;
    while ((n = weft_read(far, buf, sizeof buf)) > 0)
        if (weft_write(far, buf, (size_t)n) < 0)
            break;
    weft_close(far);
    return arg;
}

/* A request and its answer: two writes, two reads that wait, in two strands. */
void *path_echo(void *arg)
{
    char message[MESSAGE] = "hello", answer[2 * MESSAGE];
    connect_both();
    weft_task *server = bench_spawn(echo, NULL);
    for (long i = paths_count(arg); i > 0; i--) {
        BENCH_CHECK(weft_write(near, message, MESSAGE) == MESSAGE);
        BENCH_CHECK(weft_read(near, answer, sizeof answer) == MESSAGE);
    }
    weft_close(near);
    bench_join(server);
    return NULL;
}

/* A write, and a read that finds it there. */
void *path_read_ready(void *arg)
{
    char message[MESSAGE] = "hello", answer[2 * MESSAGE];
    connect_both();
    for (long i = paths_count(arg); i > 0; i--) {
        BENCH_CHECK(weft_write(near, message, MESSAGE) == MESSAGE);
        BENCH_CHECK(weft_read(far, answer, sizeof answer) == MESSAGE);
    }
    weft_close(near);
    weft_close(far);
    return NULL;
}
