/* faults_stdio_test.c - standard input and output when the kernel fails, at every call in turn. Each is a pipe of the test's own for the time of a scene. */
#include <errno.h>
#include <fcntl.h>
#include <support/faults_sweep.h>
#include <support/process.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft/os.h>

enum { BYTES = 9000 }; /* a pipe takes more */

static unsigned char byte(size_t at) { return (unsigned char)(at * 7 + (at >> 8)); }

static unsigned char bytes[BYTES];

static void fill_bytes(void)
{
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = byte(i);
}

/* The test's own calls are never hit. */
static long own(long result)
{
    cr_assert_geq(result, 0);
    return result;
}

static void close_own(int fd) { own(syscall(SYS_close, fd)); }

static void put_in_place(int fd, int place)
{
    own(syscall(SYS_dup3, fd, place, 0));
    close_own(fd);
}

/* The thread that pumps has gone: nobody uses the descriptor any more. */
static void await_threads(unsigned n)
{
    while (threads() > n)
        cr_assert_eq(weft_sleep(WEFT_MS / 4), 0);
}

/* ---- input -------------------------------------------------------------------------------------------------------------- */

static void offer_all(void)
{
    int ends[2];
    own(syscall(SYS_pipe2, ends, O_CLOEXEC));
    cr_assert_eq(own(syscall(SYS_write, ends[1], bytes, BYTES)), BYTES);
    close_own(ends[1]);
    put_in_place(ends[0], STDIN_FILENO);
}

static ssize_t read_all(weft_stream *s)
{
    unsigned char buf[2000];
    size_t got = 0;
    ssize_t n;
    while ((n = weft_read(s, buf, sizeof buf)) > 0) {
        cr_assert_arr_eq(buf, bytes + got, (size_t)n);
        got += (size_t)n;
    }
    cr_assert(n < 0 || got == BYTES, "%zu bytes have come, and the end", got);
    return n;
}

static ssize_t take_input(void *arg)
{
    weft_stream *s;
    unsigned before = threads();
    (void)arg;
    offer_all();
    ssize_t n = weft_stdin(&s);
    if (n == 0)
        n = read_all(s);
    weft_close(s);
    await_threads(before);
    return n;
}

static const fault in_taking[] = {
    TOLD(SOCKETPAIR, UNIX, EMFILE),
    TOLD(EVENTFD, OTHER, EMFILE),
    TOLD(WRITE, UNIX, ENOBUFS),
    UNNOTICED(WRITE, UNIX, 3, EINTR),
    UNNOTICED(READ, PIPE, 3, EINTR),
    UNNOTICED(READ, PIPE, 3, EAGAIN),
    SHORT(READ, PIPE, 3, 1),
    TOLD_AS(READ, PIPE, EIO, WEFT_ECONNRESET),
    UNNOTICED(POLL, ANY, 3, EINTR),
    UNNOTICED(POLL, ANY, 2, ENOMEM),
    ANYHOW(POLL, ANY, EINVAL),
    UNNOTICED(SEND, UNIX, 3, EINTR),
    UNNOTICED(SEND, UNIX, 3, EAGAIN),
    SHORT(SEND, UNIX, 3, 1),
    TOLD_AS(SEND, UNIX, ENOBUFS, WEFT_ECONNRESET),
    UNNOTICED(RECV, UNIX, 3, EINTR),
    UNNOTICED(RECV, UNIX, 3, EAGAIN),
    SHORT(RECV, UNIX, 3, 1),
    UNNOTICED(CLOSE, UNIX, 1, EINTR),
};

static void *input_root(void *arg)
{
    int before = (int)own(syscall(SYS_fcntl, STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
    faults_sweep_here(&FAULTS_SWEEP(in_taking, take_input, .keeps = true));
    put_in_place(before, STDIN_FILENO);
    return arg;
}

/* What broke: input that could not be read, or not be handed on, seemed to have come to its end. Without memory for one poll() nobody was ever told anything. */
WF_TEST_WORKERS(faults_stdio, input_is_whole_or_it_is_told_that_it_is_not)
{
    faults_need();
    fill_bytes();
    run(workers, input_root, NULL);
}

/* ---- output -------------------------------------------------------------------------------------------------------------- */

static int show_output(void)
{
    int ends[2];
    own(syscall(SYS_pipe2, ends, O_CLOEXEC | O_NONBLOCK));
    put_in_place(ends[1], STDOUT_FILENO);
    return ends[0];
}

/* How much has come, all of it right. */
static size_t come_out(int fd)
{
    unsigned char buf[BYTES];
    size_t got = 0;
    long n;
    while ((n = syscall(SYS_read, fd, buf, sizeof buf)) > 0) {
        cr_assert_arr_eq(buf, bytes + got, (size_t)n);
        got += (size_t)n;
    }
    close_own(fd);
    return got;
}

static ssize_t write_all(weft_stream *s)
{
    ssize_t n = 0;
    for (size_t at = 0; at < BYTES && n >= 0; at += 1500)
        n = weft_write(s, bytes + at, 1500);
    return n < 0 ? n : 0;
}

static ssize_t give_output(void *whole)
{
    weft_stream *s;
    unsigned before = threads();
    int shown = show_output();
    ssize_t n = weft_stdout(&s);
    if (n == 0)
        n = write_all(s);
    weft_close(s);
    await_threads(before);
    size_t got = come_out(shown);
    cr_assert(!whole || n < 0 || got == BYTES, "%zu bytes have come out", got);
    return n;
}

static const fault in_giving[] = {
    TOLD(SOCKETPAIR, UNIX, EMFILE),   TOLD(EVENTFD, OTHER, EMFILE),     UNNOTICED(RECV, UNIX, 3, EINTR),
    UNNOTICED(RECV, UNIX, 3, EAGAIN), SHORT(RECV, UNIX, 3, 1),          UNNOTICED(POLL, ANY, 3, EINTR),
    UNNOTICED(POLL, ANY, 2, ENOMEM),  UNNOTICED(WRITE, PIPE, 3, EINTR), UNNOTICED(WRITE, PIPE, 3, EAGAIN),
    SHORT(WRITE, PIPE, 3, 1),         UNNOTICED(SEND, UNIX, 3, EINTR),  UNNOTICED(SEND, UNIX, 3, EAGAIN),
    SHORT(SEND, UNIX, 3, 1),          TOLD(SEND, UNIX, ENOBUFS),
};

/* Whoever has written has gone. */
static const fault in_losing[] = {
    ANYHOW(WRITE, PIPE, EIO),
    ANYHOW(WRITE, PIPE, ENOSPC),
    ANYHOW(RECV, UNIX, ENOMEM),
    ANYHOW(POLL, ANY, EINVAL),
};

static void *output_root(void *arg)
{
    int before = (int)own(syscall(SYS_fcntl, STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    faults_sweep_here(&FAULTS_SWEEP(in_giving, give_output, .arg = bytes, .keeps = true));
    faults_sweep_here(&FAULTS_SWEEP(in_losing, give_output, .keeps = true));
    put_in_place(before, STDOUT_FILENO);
    return arg;
}

WF_TEST_WORKERS(faults_stdio, output_is_whole_or_nobody_waits_for_it)
{
    faults_need();
    fill_bytes();
    run(workers, output_root, NULL);
}

/* ---- the end of the runtime ---------------------------------------------------------------------------------------------------- */

static void *leave_it_open(void *arg)
{
    weft_stream *s;
    cr_assert_eq(weft_stdout(&s), 0);
    cr_assert_eq(write_all(s), 0);
    return arg;
}

/* In its own thread, so that it is no strand of anybody's. */
static ssize_t end_with_output(void *arg)
{
    int before = (int)own(syscall(SYS_fcntl, STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)), shown = show_output();
    (void)arg;
    cr_assert_eq(weft_run(leave_it_open, NULL, NULL), 0);
    put_in_place(before, STDOUT_FILENO);
    cr_assert_eq(come_out(shown), BYTES);
    return 0;
}

static const fault at_the_end[] = {
    UNNOTICED(WRITE, OTHER, 2, EINTR), UNNOTICED(POLL, ANY, 2, EINTR),  UNNOTICED(POLL, ANY, 2, ENOMEM),
    UNNOTICED(WRITE, PIPE, 2, EINTR),  UNNOTICED(RECV, UNIX, 2, EINTR),
};

/* What broke: the thread that was not told of the end, because telling it was interrupted, went on with memory that was given back. */
Test(faults_stdio, what_was_written_is_out_when_the_runtime_has_ended)
{
    faults_need();
    fill_bytes();
    faults_sweep_here(&FAULTS_SWEEP(at_the_end, end_with_output));
}
