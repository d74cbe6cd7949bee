/* sendfile_test.c - files into streams of every kind: what arrives is the part of the file that was asked for, whether the kernel has it in memory or not. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/net_support.h>
#include <support/test.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weft.h>

/* ---- helpers -------------------------------------------------------------------------------------------------- */

enum { PIECE = 8192, KIB = 1024, MIB = 1024 * 1024 };

static unsigned char pattern(size_t at) { return (unsigned char)(at * 7 + (at >> 8) * 13 + (at >> 16) * 29); }

static weft_file *file_of(size_t size)
{
    weft_file *file;
    unsigned char *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern(i);
    cr_assert_eq(weft_file_temporary(&file, NULL, NULL), 0);
    cr_assert_eq(weft_file_pwrite(file, bytes, size, 0), (ssize_t)size);
    free(bytes);
    return file;
}

/* As if nobody had read it for long, where the file system keeps it on a disk. */
static void forget_pages(weft_file *file)
{
    cr_assert_eq(weft_file_sync(file, 0), 0);
    posix_fadvise(weft_file_fd(file), 0, 0, POSIX_FADV_DONTNEED);
}

typedef enum { TCP, UNIX, MEMORY, PIPE, KINDS } kind;

static void link_up(kind k, weft_stream **writer, weft_stream **reader)
{
    int fds[2];
    switch (k) {
    case TCP:
        pair(writer, reader);
        return;
    case UNIX:
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        cr_assert_eq(weft_stream_from_fd(writer, fds[0]), 0);
        cr_assert_eq(weft_stream_from_fd(reader, fds[1]), 0);
        return;
    case MEMORY:
        cr_assert_eq(weft_stream_pair(writer, reader), 0);
        return;
    default:
        cr_assert_eq(weft_pipe(reader, writer), 0);
    }
}

typedef struct sender {
    weft_stream *stream;
    weft_file *file;
    int64_t offset, count, result;
    bool closes;
    atomic_bool ended;
} sender;

static void *send_it(void *arg)
{
    sender *s = arg;
    s->result = weft_sendfile(s->stream, s->file, s->offset, s->count);
    if (s->closes)
        weft_close(s->stream);
    return NULL;
}

/* The part of the file from @at on comes, @size bytes, and then the end. */
static void receive(weft_stream *stream, size_t at, size_t size)
{
    unsigned char piece[PIECE];
    size_t end = at + size;
    ssize_t n;
    while ((n = weft_read(stream, piece, sizeof piece)) > 0)
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(piece[i], pattern(at++));
    cr_assert_eq(n, 0);
    cr_assert_eq(at, end);
}

/* ---- it arrives ------------------------------------------------------------------------------------------------ */

static void send_part(kind k, weft_file *file, size_t size, int64_t offset, int64_t count)
{
    weft_stream *reader;
    sender s = {.file = file, .offset = offset, .count = count, .closes = true};
    int64_t rest = offset < (int64_t)size ? (int64_t)size - offset : 0, expected = count < rest ? count : rest;
    link_up(k, &s.stream, &reader);
    weft_task *task = start(send_it, &s);
    receive(reader, (size_t)offset, (size_t)expected);
    join(task);
    cr_assert_eq(s.result, expected, "kind %d, %zu bytes, offset %lld", (int)k, size, (long long)offset);
    weft_close(reader);
}

static void *parts(void *arg)
{
    static const size_t sizes[] = {0, 1, 100000, 900000};
    (void)arg;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t size = (int64_t)sizes[i];
        weft_file *file = file_of(sizes[i]);
        for (int k = 0; k < KINDS; k++) {
            send_part((kind)k, file, sizes[i], 0, size);
            send_part((kind)k, file, sizes[i], 0, INT64_MAX); /* the file is shorter */
            send_part((kind)k, file, sizes[i], size / 3, size / 3);
            send_part((kind)k, file, sizes[i], size, 10);
            send_part((kind)k, file, sizes[i], size + 5, INT64_MAX); /* beyond the end */
        }
        weft_file_close(file);
    }
    return NULL;
}

WF_TEST_WORKERS(sendfile, the_part_that_was_asked_for_arrives_on_every_kind_of_stream) { run(workers, parts, NULL); }

static void *cold(void *arg)
{
    size_t size = 3 * MIB + 17;
    weft_file *file = file_of(size);
    (void)arg;
    for (int k = 0; k < KINDS; k++) {
        forget_pages(file);
        send_part((kind)k, file, size, 0, (int64_t)size);
        forget_pages(file);
        send_part((kind)k, file, size, 1, (int64_t)size - 2);
    }
    weft_file_close(file);
    return NULL;
}

WF_TEST_WORKERS(sendfile, what_is_not_in_memory_is_read_first_and_arrives) { run(workers, cold, NULL); }

/* A file system that cannot be asked whether it would wait. */
static void *in_memory_files(void *arg)
{
    weft_file *file;
    size_t size = 600000;
    char *bytes = malloc(size);
    (void)arg;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)pattern(i);
    if (weft_file_temporary(&file, "/dev/shm", NULL) == 0) {
        cr_assert_eq(weft_file_pwrite(file, bytes, size, 0), (ssize_t)size);
        send_part(TCP, file, size, 0, INT64_MAX);
        weft_file_close(file);
    }
    free(bytes);
    return NULL;
}

WF_TEST_WORKERS(sendfile, a_file_of_a_file_system_in_memory_arrives) { run(workers, in_memory_files, NULL); }

/* The kernel has its text only when it is read. */
static void *generated(void *arg)
{
    weft_stream *writer, *reader;
    weft_file *file;
    char text[64] = "";
    (void)arg;
    if (weft_file_open(&file, "/proc/version", O_RDONLY, 0) < 0)
        return NULL;
    link_up(TCP, &writer, &reader);
    int64_t n = weft_sendfile(writer, file, 0, 60);
    cr_assert_gt(n, 0);
    cr_assert_eq(weft_read_exact(reader, text, (size_t)n), (ssize_t)n);
    cr_assert_eq(strncmp(text, "Linux", 5), 0);
    weft_file_close(file);
    weft_close(writer);
    weft_close(reader);
    return NULL;
}

WF_TEST_WORKERS(sendfile, a_file_without_pages_arrives) { run(workers, generated, NULL); }

static void *shrinks(void *arg)
{
    (void)arg;
    for (int k = 0; k < KINDS; k++) {
        weft_stream *reader;
        sender s = {.file = file_of(8 * MIB), .count = 8 * MIB, .closes = true};
        unsigned char piece[PIECE];
        int64_t got = 0;
        ssize_t n;
        link_up((kind)k, &s.stream, &reader);
        if (k == TCP || k == UNIX) {
            shrink(s.stream);
            shrink(reader);
        }
        weft_task *task = start(send_it, &s);
        cr_assert_gt(weft_read(reader, piece, 1), 0); /* it has begun */
        got = 1;
        cr_assert_eq(weft_file_truncate(s.file, 7 * MIB), 0);
        while ((n = weft_read(reader, piece, sizeof piece)) > 0)
            got += n;
        cr_assert_eq(n, 0);
        join(task);
        cr_assert_eq(s.result, got);
        cr_assert_eq(s.result, 7 * MIB, "kind %d", k);
        weft_close(reader);
        weft_file_close(s.file);
    }
    return NULL;
}

WF_TEST_WORKERS(sendfile, a_file_that_shrinks_meanwhile_is_shorter) { run(workers, shrinks, NULL); }

/* ---- and if not ------------------------------------------------------------------------------------------------ */

static void *senseless(void *arg)
{
    weft_stream *writer, *reader;
    weft_file *file = file_of(10);
    (void)arg;
    link_up(TCP, &writer, &reader);
    cr_assert_eq(weft_sendfile(NULL, file, 0, 1), WEFT_EINVAL);
    cr_assert_eq(weft_sendfile(writer, NULL, 0, 1), WEFT_EINVAL);
    cr_assert_eq(weft_sendfile(writer, file, -1, 1), WEFT_EINVAL);
    cr_assert_eq(weft_sendfile(writer, file, 0, -1), WEFT_EINVAL);
    cr_assert_eq(weft_sendfile(writer, file, 0, 0), 0);
    weft_stream_abort(writer);
    cr_assert_eq(weft_sendfile(writer, file, 0, 1), WEFT_ECLOSED);
    weft_close(writer);
    weft_close(reader);
    weft_file_close(file);
    return NULL;
}

WF_TEST_WORKERS(sendfile, what_makes_no_sense_is_told_at_once) { run(workers, senseless, NULL); }

typedef enum { ABORT_TASK, ABORT_STREAM, PEER_GOES, TIMES_OUT, WAYS } way;

static void end_while_it_waits(kind k, way w, weft_file *file)
{
    static const int64_t expected[WAYS] = {WEFT_ECANCELED, WEFT_ECLOSED, 0, WEFT_ETIMEDOUT};
    weft_stream *reader;
    sender s = {.file = file, .count = 32 * MIB};
    link_up(k, &s.stream, &reader);
    if (k == TCP || k == UNIX) {
        shrink(s.stream);
        shrink(reader);
    }
    if (w == TIMES_OUT)
        cr_assert_eq(weft_stream_set_timeouts(s.stream, 0, 30 * WEFT_MS), 0);
    weft_task *task = start(send_it, &s);
    if (w != TIMES_OUT)
        await_idle(task);
    if (w == ABORT_TASK)
        weft_abort(task);
    if (w == ABORT_STREAM)
        weft_stream_abort(s.stream);
    if (w == PEER_GOES) {
        weft_close(reader);
        reader = NULL;
    }
    int err = weft_join(task, NULL);
    cr_assert(err == 0 || err == WEFT_EABORTED);
    if (w == PEER_GOES)
        cr_assert(s.result == WEFT_EPIPE || s.result == WEFT_ECONNRESET, "kind %d: %lld", (int)k, (long long)s.result);
    else
        cr_assert_eq(s.result, expected[w], "kind %d, way %d", (int)k, (int)w);
    weft_close(s.stream);
    weft_close(reader);
}

static void *endings(void *arg)
{
    weft_file *file = file_of(0);
    (void)arg;
    cr_assert_eq(weft_file_truncate(file, 32 * MIB), 0);
    for (int k = 0; k < KINDS; k++)
        for (int w = 0; w < WAYS; w++)
            end_while_it_waits((kind)k, (way)w, file);
    weft_file_close(file);
    return NULL;
}

WF_TEST_WORKERS(sendfile, an_abort_or_a_reset_or_a_timeout_ends_it_while_it_waits) { run(workers, endings, NULL); }

static void *second_writer(void *arg)
{
    weft_stream *reader;
    sender s = {.file = file_of(4 * MIB), .count = 4 * MIB, .closes = true};
    (void)arg;
    link_up(TCP, &s.stream, &reader);
    shrink(s.stream);
    shrink(reader);
    weft_task *task = start(send_it, &s);
    await_idle(task);
    cr_assert_eq(weft_write(s.stream, "x", 1), WEFT_EBUSY);
    cr_assert_eq(weft_sendfile(s.stream, s.file, 0, 1), WEFT_EBUSY);
    receive(reader, 0, 4 * MIB);
    join(task);
    cr_assert_eq(s.result, 4 * MIB);
    weft_close(reader);
    weft_file_close(s.file);
    return NULL;
}

WF_TEST_WORKERS(sendfile, a_second_writer_is_told_busy_while_it_waits) { run(workers, second_writer, NULL); }

enum { FILE_THREADS = 32 };

static void *read_one(void *file)
{
    char byte;
    cr_assert_eq(weft_file_read(file, &byte, 1), 1);
    return NULL;
}

/* Nor does anybody get in between while the file is waited for: here because no thread is free to read it. */
static void *second_writer_meanwhile(void *arg)
{
    weft_stream *reader;
    weft_file *fifo;
    weft_task *readers[FILE_THREADS];
    char path[] = "/tmp/weft_sendfile_XXXXXX", byte;
    sender s = {.count = 60, .closes = true};
    (void)arg;
    if (weft_file_open(&s.file, "/proc/version", O_RDONLY, 0) < 0)
        return NULL;
    cr_assert_not_null(mkdtemp(path));
    cr_assert_eq(rmdir(path), 0);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_eq(weft_file_open(&fifo, path, O_RDWR, 0), 0);
    unlink(path);
    for (int i = 0; i < FILE_THREADS; i++) {
        readers[i] = start(read_one, fifo);
        await_idle(readers[i]);
    }
    link_up(TCP, &s.stream, &reader);
    weft_task *task = start(send_it, &s);
    await_idle(task);
    cr_assert_eq(weft_write(s.stream, "x", 1), WEFT_EBUSY);
    for (int i = 0; i < FILE_THREADS; i++)
        cr_assert_eq(write(weft_file_fd(fifo), "x", 1), 1);
    for (int i = 0; i < FILE_THREADS; i++)
        join(readers[i]);
    join(task);
    cr_assert_gt(s.result, 0);
    cr_assert_eq(weft_read(reader, &byte, 1), 1);
    cr_assert_eq(byte, 'L');
    weft_close(reader);
    weft_file_close(s.file);
    weft_file_close(fifo);
    return NULL;
}

WF_TEST_WORKERS(sendfile, a_second_writer_is_told_busy_while_the_file_is_read)
{
    run(workers, second_writer_meanwhile, NULL);
}

/* Slow, but never for as long as the timeout. */
static void *slow_reader(void *arg)
{
    weft_stream *reader;
    unsigned char piece[16 * KIB];
    size_t size = 512 * KIB, at = 0;
    sender s = {.file = file_of(size), .count = (int64_t)size};
    (void)arg;
    link_up(UNIX, &s.stream, &reader);
    shrink(s.stream);
    cr_assert_eq(weft_stream_set_timeouts(s.stream, 0, 2 * WEFT_SEC), 0);
    weft_task *task = start(send_it, &s);
    while (at < size) {
        cr_assert_eq(weft_sleep(WEFT_MS), 0);
        ssize_t n = weft_read(reader, piece, sizeof piece);
        cr_assert_gt(n, 0);
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(piece[i], pattern(at++));
    }
    join(task);
    cr_assert_eq(s.result, (int64_t)size);
    weft_close(s.stream);
    weft_close(reader);
    weft_file_close(s.file);
    return NULL;
}

WF_TEST_WORKERS(sendfile, a_slow_reader_gets_all_of_it) { run(workers, slow_reader, NULL); }

/* ---- ordinary threads ------------------------------------------------------------------------------------------ */

static void *thread_sends(void *arg)
{
    sigset_t one, pending;
    sigemptyset(&one);
    sigaddset(&one, SIGPIPE);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    send_it(arg);
    cr_assert_eq(sigpending(&pending), 0);
    cr_assert_eq(sigismember(&pending, SIGPIPE), 0);
    atomic_store(&((sender *)arg)->ended, true);
    return NULL;
}

/* Without keeping the worker from its events, for which the thread may wait. */
static void join_thread(pthread_t thread, sender *s)
{
    int64_t deadline = weft_now() + PATIENCE;
    while (!atomic_load(&s->ended)) {
        cr_assert_lt(weft_now(), deadline, "the thread never ends");
        weft_sleep(WEFT_MS / 4);
    }
    pthread_join(thread, NULL);
}

static void *threads_send(void *arg)
{
    (void)arg;
    for (int goes = 0; goes < 2; goes++) {
        weft_stream *reader;
        char byte;
        pthread_t thread;
        sender s = {.file = file_of(8 * MIB), .count = 8 * MIB, .closes = true};
        link_up(TCP, &s.stream, &reader);
        cr_assert_eq(pthread_create(&thread, NULL, thread_sends, &s), 0);
        if (goes)
            cr_assert_eq(weft_read(reader, &byte, 1), 1);
        else
            receive(reader, 0, 8 * MIB);
        weft_close(reader);
        join_thread(thread, &s);
        cr_assert(goes ? s.result == WEFT_EPIPE || s.result == WEFT_ECONNRESET : s.result == 8 * MIB, "%lld",
                  (long long)s.result);
        weft_file_close(s.file);
    }
    return NULL;
}

WF_TEST_WORKERS(sendfile, an_ordinary_thread_sends_and_survives_a_broken_connection)
{
    run(workers, threads_send, NULL);
}
