/* faults_copy_test.c - copying between connections and sending files when the kernel fails, at every call in turn. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <support/faults_sweep.h>
#include <support/process.h>
#include <weft/os.h>

enum { BYTES = 300000 };

static unsigned char byte(size_t at) { return (unsigned char)(at * 7 + (at >> 8) * 3); }

static unsigned char bytes[BYTES];

typedef struct scene {
    weft_listener *listener;
    char text[WEFT_ADDR_TEXT];
    weft_stream *from[2],
        *to[2]; /* connections: what is written to from[0] is copied from from[1] to to[0], and comes out of to[1] */
    weft_file *file;
    ssize_t written, received;
} scene;

static void meet(scene *s, weft_stream *ends[2])
{
    cr_assert_eq(weft_tcp_connect(&ends[0], s->text, NULL), 0);
    cr_assert_eq(weft_accept(&ends[1], s->listener), 0);
}

static void part(weft_stream *ends[2])
{
    for (int i = 0; i < 2; i++) {
        if (weft_stream_fd(ends[i]) >= 0)
            reset_on_close(ends[i]);
        weft_close(ends[i]);
    }
}

static void *write_all(void *arg)
{
    scene *s = arg;
    s->written = weft_write(s->from[0], bytes, BYTES);
    if (s->written >= 0)
        s->written = weft_close_write(s->from[0]);
    if (s->written < 0)
        weft_stream_abort(s->from[0]);
    return NULL;
}

static void *read_all(void *arg)
{
    scene *s = arg;
    unsigned char buf[20000];
    size_t got = 0;
    ssize_t n;
    while ((n = weft_read(s->to[1], buf, sizeof buf)) > 0)
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(buf[i], byte(got++));
    s->received = n < 0 ? n : (ssize_t)got;
    if (n < 0)
        weft_stream_abort(s->to[1]);
    return NULL;
}

/* Whoever fails hangs up. */
static ssize_t outcome(scene *s, int64_t copied)
{
    cr_assert(copied < 0 || s->written < 0 || s->received < 0 || s->received == BYTES, "%zd bytes have come", s->received);
    ssize_t others = faults_first(s->written, s->received < 0 ? s->received : 0);
    return faults_first(copied < 0 ? copied : 0, others < 0 ? others : 0);
}

static ssize_t copy_through(void *arg)
{
    scene *s = arg;
    meet(s, s->from);
    meet(s, s->to);
    weft_task *writer = start(write_all, s), *reader = start(read_all, s);
    int64_t n = weft_copy(s->to[0], s->from[1]);
    if (n >= 0)
        n = weft_close_write(s->to[0]);
    if (n < 0) {
        weft_stream_abort(s->to[0]);
        weft_stream_abort(s->from[1]);
    }
    join(writer);
    join(reader);
    part(s->from);
    part(s->to);
    return outcome(s, n);
}

/* The second call moves out of the pipe, and is refused: so what is in there is read. */
static const faults_plan refused = {.call = FAULTS_SPLICE, .class = FAULTS_TCP, .nth = 2, .times = 1, .error = EINVAL};

static const fault in_copying[] = {
    UNNOTICED(SPLICE, TCP, 3, EINTR),
    UNNOTICED(SPLICE, TCP, 1, EAGAIN),
    UNNOTICED(SPLICE, TCP, 5, EAGAIN),
    UNNOTICED(SPLICE, TCP, 1, EINVAL),
    UNNOTICED(SPLICE, TCP, ALWAYS, ENOSYS),
    SHORT(SPLICE, TCP, 3, 1),
    SHORT(SPLICE, TCP, 1, 5000),
    TOLD(SPLICE, TCP, ECONNRESET),
    TOLD(SPLICE, TCP, ENOMEM),
    TOLD(SPLICE, TCP, EPIPE),
    UNNOTICED(RECV, TCP, 3, EINTR),
    UNNOTICED(RECV, TCP, 3, EAGAIN),
    SHORT(RECV, TCP, 3, 1),
    TOLD(RECV, TCP, ECONNRESET),
    TOLD(RECV, TCP, ETIMEDOUT),
    UNNOTICED(SEND, TCP, 3, EINTR),
    UNNOTICED(SEND, TCP, 3, EAGAIN),
    SHORT(SEND, TCP, 3, 1),
    TOLD(SEND, TCP, EPIPE),
    TOLD(SEND, TCP, ENOBUFS),
    {{.call = FAULTS_READ, .class = FAULTS_PIPE, .times = 1, .error = EINTR, .also = &refused}, FAULTS_UNNOTICED, 0},
    {{.call = FAULTS_READ, .class = FAULTS_PIPE, .times = 2, .at_most = 1, .also = &refused}, FAULTS_UNNOTICED, 0},
    {{.call = FAULTS_READ, .class = FAULTS_PIPE, .times = 1, .error = EIO, .also = &refused}, FAULTS_TOLD, -EIO},
};

/* It asks for them for each copy that finds no pipe there. */
static const fault in_making_pipes[] = {
    UNNOTICED(PIPE2, PIPE, ALWAYS, EMFILE),
    UNNOTICED(PIPE2, PIPE, 1, ENFILE),
    UNNOTICED(FCNTL, PIPE, 1, EPERM),
};

static void begin(scene *s)
{
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = byte(i);
    s->listener = listen_any(s->text);
}

static unsigned port_of(const scene *s)
{
    weft_addr addr;
    cr_assert_eq(weft_listener_addr(s->listener, &addr), 0);
    return weft_addr_port(&addr);
}

static void *copy_root(void *arg)
{
    scene s = {.file = NULL};
    (void)arg;
    begin(&s);
    faults_sweep_here(&FAULTS_SWEEP(in_copying, copy_through, .arg = &s, .port = port_of(&s), .keeps = true));
    weft_listener_close(s.listener);
    return NULL;
}

/* What broke: an interruption while the pipe of a copy was read ended the copy. */
WF_TEST_WORKERS(faults_copy, what_is_copied_is_whole_or_told_what_it_met)
{
    faults_need();
    run(workers, copy_root, NULL);
}

/* In a runtime that has no pipe yet. */
static void *copy_once(void *arg)
{
    scene s = {.file = NULL};
    begin(&s);
    faults_plan plan = *(const faults_plan *)arg;
    plan.nth = 1;
    faults_begin(&plan);
    cr_assert_eq(copy_through(&s), 0);
    cr_assert_gt(faults_end(), 0);
    weft_listener_close(s.listener);
    return NULL;
}

Test(faults_copy, without_pipes_it_copies_all_the_same)
{
    faults_need();
    for (size_t i = 0; i < sizeof in_making_pipes / sizeof *in_making_pipes; i++)
        run(2, copy_once, (void *)(uintptr_t)&in_making_pipes[i].plan);
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static ssize_t send_it(void *arg)
{
    scene *s = arg;
    s->written = 0;
    meet(s, s->to);
    weft_task *reader = start(read_all, s);
    int64_t n = weft_sendfile(s->to[0], s->file, 0, BYTES);
    cr_assert(n < 0 || n == BYTES);
    if (n >= 0)
        n = weft_close_write(s->to[0]);
    if (n < 0)
        weft_stream_abort(s->to[0]);
    join(reader);
    part(s->to);
    return outcome(s, n);
}

static const faults_plan cold = {.call = FAULTS_PREADV2, .class = FAULTS_FILE, .nth = 1, .times = ALWAYS, .error = EAGAIN};
static const faults_plan by_copying = {.call = FAULTS_SENDFILE, .class = FAULTS_TCP, .nth = 1, .times = ALWAYS, .error = EINVAL};

#define COLD(error_, effect_)                                                                                          \
    {                                                                                                                  \
        {.call = FAULTS_PREAD, .class = FAULTS_FILE, .times = 1, .error = (error_), .also = &cold}, effect_, -(error_) \
    }
#define COPIED(error_, effect_)                                                                                              \
    {                                                                                                                        \
        {.call = FAULTS_PREAD, .class = FAULTS_FILE, .times = 1, .error = (error_), .also = &by_copying}, effect_, -(error_) \
    }

static const fault in_sending[] = {
    UNNOTICED(SENDFILE, TCP, 3, EINTR),
    UNNOTICED(SENDFILE, TCP, 1, EAGAIN),
    UNNOTICED(SENDFILE, TCP, 5, EAGAIN),
    SHORT(SENDFILE, TCP, 3, 1),
    SHORT(SENDFILE, TCP, 2, 999),
    UNNOTICED(SENDFILE, TCP, 1, EINVAL),
    UNNOTICED(SENDFILE, TCP, ALWAYS, ENOSYS),
    TOLD(SENDFILE, TCP, EIO),
    TOLD(SENDFILE, TCP, ENOMEM),
    TOLD(SENDFILE, TCP, EPIPE),
    TOLD(SENDFILE, TCP, ECONNRESET),
    UNNOTICED(PREADV2, FILE, 1, EINTR),
    UNNOTICED(PREADV2, FILE, ALWAYS, EAGAIN),
    UNNOTICED(PREADV2, FILE, ALWAYS, EOPNOTSUPP),
    COLD(EINTR, FAULTS_UNNOTICED),
    COLD(EIO, FAULTS_TOLD),
    {{.call = FAULTS_PREAD, .class = FAULTS_FILE, .times = 3, .at_most = 1, .also = &cold}, FAULTS_UNNOTICED, 0},
    COPIED(EINTR, FAULTS_UNNOTICED),
    COPIED(EIO, FAULTS_TOLD),
    {{.call = FAULTS_PREAD, .class = FAULTS_FILE, .times = 3, .at_most = 1, .also = &by_copying}, FAULTS_UNNOTICED, 0},
};

static void *send_root(void *arg)
{
    scene s = {.file = NULL};
    (void)arg;
    begin(&s);
    cr_assert_eq(weft_file_temporary(&s.file, NULL, NULL), 0);
    cr_assert_eq(weft_file_write(s.file, bytes, BYTES), BYTES);
    faults_sweep_here(&FAULTS_SWEEP(in_sending, send_it, .arg = &s));
    weft_file_close(s.file);
    weft_listener_close(s.listener);
    return NULL;
}

WF_TEST_WORKERS(faults_copy, what_is_sent_of_a_file_is_whole_or_told_what_it_met)
{
    faults_need();
    run(workers, send_root, NULL);
}
