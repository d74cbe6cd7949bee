/* copy_test.c - moving a lot: weft_copy(), weft_copy_n(), weft_copy_bidirectional() between streams of every kind. What arrives is what was sent, what is
 * counted is what arrived, and nothing is left behind however it ends. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/net_support.h>
#include <support/process.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

/* ---- helpers -------------------------------------------------------------------------------------------------- */

enum { PIECE = 4096, KIB = 1024, MIB = 1024 * 1024 };

static unsigned char pattern(size_t at, unsigned key) { return (unsigned char)(at * 7 + (at >> 8) * 13 + key * 31); }

/* Lengths differ from one to the next, and are the same in every run. */
static size_t roll(unsigned *state, size_t below)
{
    *state = *state * 1664525u + 1013904223u;
    return (size_t)(*state >> 8) % below;
}

typedef enum { TCP, UNIX, MEMORY, PIPE, KINDS } kind;

/* What is written to @far is read from @near; and the other way round, but through a pipe. */
static void link_up(kind k, weft_stream **far, weft_stream **near)
{
    int fds[2];
    switch (k) {
    case TCP:
        pair(far, near);
        return;
    case UNIX:
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        cr_assert_eq(weft_stream_from_fd(far, fds[0]), 0);
        cr_assert_eq(weft_stream_from_fd(near, fds[1]), 0);
        return;
    case MEMORY:
        cr_assert_eq(weft_stream_pair(far, near), 0);
        return;
    default:
        cr_assert_eq(weft_pipe(near, far), 0);
    }
}

/* far[0] ── near[0] ⇄ near[1] ── far[1], and who copies between the near ones. */
typedef struct course {
    weft_stream *far[2], *near[2];
    int64_t moved[2];
    int64_t result;
    int64_t count; /* of weft_copy_n(); or negative: to the end */
    int64_t ended_at;
    atomic_bool began;
    atomic_bool ended; /* for those who must not be joined by blocking */
} course;

static void *copy_on(void *arg)
{
    course *c = arg;
    c->result = c->count < 0 ? weft_copy(c->near[1], c->near[0]) : weft_copy_n(c->near[1], c->near[0], c->count);
    c->ended_at = weft_now();
    return NULL;
}

static void *copy_both(void *arg)
{
    course *c = arg;
    c->result = weft_copy_bidirectional(c->near[0], c->near[1], &c->moved[0], &c->moved[1]);
    c->ended_at = weft_now();
    return NULL;
}

static void open_course(course *c, kind left, kind right)
{
    *c = (course){.count = -1, .moved = {-1, -1}};
    link_up(left, &c->far[0], &c->near[0]);
    if (right == PIPE)
        link_up(right, &c->near[1], &c->far[1]);
    else
        link_up(right, &c->far[1], &c->near[1]);
}

static void close_course(course *c)
{
    for (int i = 0; i < 2; i++) {
        weft_close(c->far[i]);
        weft_close(c->near[i]);
    }
}

/* Bytes of a pattern, sent or checked. */
typedef struct bulk {
    weft_stream *stream;
    size_t size;
    unsigned key;
    enum { LEAVES, SHUTS, CLOSES } then;
    atomic_size_t done;
} bulk;

static void *send_bulk(void *arg)
{
    bulk *b = arg;
    unsigned char piece[PIECE];
    unsigned state = b->key;
    while (b->done < b->size) {
        size_t n = 1 + roll(&state, b->size > 64 * KIB ? PIECE : 300);
        n = n < b->size - b->done ? n : b->size - b->done;
        for (size_t i = 0; i < n; i++)
            piece[i] = pattern(b->done + i, b->key);
        cr_assert_eq(weft_write(b->stream, piece, n), (ssize_t)n);
        b->done += n;
    }
    if (b->then == SHUTS)
        cr_assert_eq(weft_close_write(b->stream), 0);
    if (b->then == CLOSES)
        weft_close(b->stream);
    return NULL;
}

static void expect(bulk *b)
{
    unsigned char piece[PIECE];
    size_t rest = b->size - b->done;
    ssize_t n = weft_read(b->stream, piece, rest < sizeof piece ? rest : sizeof piece);
    cr_assert_gt(n, 0, "after %zu of %zu", (size_t)b->done, b->size);
    for (ssize_t i = 0; i < n; i++)
        cr_assert_eq(piece[i], pattern(b->done++, b->key));
}

/* All of it, and then the end. */
static void *receive_bulk(void *arg)
{
    bulk *b = arg;
    char more;
    while (b->done < b->size)
        expect(b);
    cr_assert_eq(weft_read(b->stream, &more, 1), 0);
    return NULL;
}

/* ---- one way --------------------------------------------------------------------------------------------------- */

static void copy_across(kind left, kind right, size_t size, unsigned key)
{
    course c;
    open_course(&c, left, right);
    bulk out = {.stream = c.far[0], .size = size, .key = key, .then = CLOSES},
         in = {.stream = c.far[1], .size = size, .key = key};
    weft_task *copier = start(copy_on, &c), *sender = start(send_bulk, &out), *receiver = start(receive_bulk, &in);
    join(sender);
    join(copier);
    cr_assert_eq(c.result, (int64_t)size, "kinds %d and %d", (int)left, (int)right);
    weft_close(c.near[1]); /* weft_copy() leaves it open */
    join(receiver);
    c.far[0] = c.near[1] = NULL;
    close_course(&c);
}

static void *every_kind(void *arg)
{
    static const size_t edges[] = {0, 1, 5000, 65535, 65536, 65537, 131073, 200000};
    unsigned state = 7;
    (void)arg;
    for (int left = 0; left < KINDS; left++)
        for (int right = 0; right < KINDS; right++) {
            for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
                copy_across((kind)left, (kind)right, edges[i], (unsigned)i + 1);
            copy_across((kind)left, (kind)right, roll(&state, wf_test_scale(3 * MIB)), 99);
        }
    return NULL;
}

WF_TEST_WORKERS(copy, all_arrives_between_every_two_kinds_then_the_end) { run(workers, every_kind, NULL); }

/* What was sent together with a descriptor is a read of its own: a short one, with more behind it. */
static void send_descriptor(int socket, char byte)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } beside = {.bytes = {0}};
    struct iovec piece = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = beside.bytes, .msg_controllen = sizeof beside.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &socket, sizeof socket);
    cr_assert_eq(sendmsg(socket, &message, MSG_NOSIGNAL), 1);
}

static void *short_reads(void *arg)
{
    course c;
    char got[3];
    (void)arg;
    open_course(&c, UNIX, UNIX);
    weft_task *copier = start(copy_on, &c);
    await_idle(copier);
    int socket = weft_stream_fd(c.far[0]);
    send_descriptor(socket, 'a');
    send_descriptor(socket, 'b');
    cr_assert_eq(send(socket, "c", 1, MSG_NOSIGNAL), 1);
    cr_assert_eq(weft_read_exact(c.far[1], got, 3), 3);
    cr_assert_arr_eq(got, "abc", 3);
    cr_assert_eq(weft_close_write(c.far[0]), 0);
    join(copier);
    cr_assert_eq(c.result, 3);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy, a_short_read_of_a_unix_socket_is_not_the_last) { run(workers, short_reads, NULL); }

/* ---- after some lines were read -------------------------------------------------------------------------------- */

/* Two lines, and what a reader has read beyond them. */
static weft_reader *read_two_lines(course *c, const char *rest)
{
    weft_reader *r;
    char *line, text[256];
    size_t length;
    int n = snprintf(text, sizeof text, "one\ntwo\n%s", rest);
    cr_assert_eq(weft_reader_create(&r, c->near[0], 0), 0);
    cr_assert_eq(weft_write(c->far[0], text, (size_t)n), n);
    cr_assert_eq(weft_reader_line(r, &line, &length), 1);
    cr_assert_str_eq(line, "one");
    cr_assert_eq(weft_reader_line(r, &line, NULL), 1);
    cr_assert_str_eq(line, "two");
    cr_assert_eq(weft_reader_buffered(r), strlen(rest));
    return r;
}

static void expect_text(weft_stream *s, const char *text)
{
    char got[256];
    cr_assert_eq(weft_read_exact(s, got, strlen(text)), (ssize_t)strlen(text));
    cr_assert_arr_eq(got, text, strlen(text), "not %s", text);
}

/* First what it holds, then what comes: little, and more than a pipe takes at once. */
static void copy_after_lines(kind left, kind right, size_t size)
{
    course c;
    open_course(&c, left, right);
    weft_reader *r = read_two_lines(&c, "rest");
    weft_task *copier = start(copy_on, &c);
    expect_text(c.far[1], "rest");
    cr_assert_eq(weft_reader_buffered(r), 0);
    bulk out = {.stream = c.far[0], .size = size, .key = 5, .then = CLOSES},
         in = {.stream = c.far[1], .size = size, .key = 5};
    weft_task *sender = start(send_bulk, &out), *receiver = start(receive_bulk, &in);
    join(sender);
    join(copier);
    cr_assert_eq(c.result, (int64_t)size + 4, "kinds %d and %d", (int)left, (int)right);
    weft_close(c.near[1]);
    join(receiver);
    c.far[0] = c.near[1] = NULL;
    close_course(&c);
}

static void *after_lines(void *arg)
{
    (void)arg;
    for (int left = 0; left < KINDS; left++)
        for (int right = 0; right < KINDS; right++) {
            copy_after_lines((kind)left, (kind)right, 0);
            copy_after_lines((kind)left, (kind)right, wf_test_scale(MIB));
        }
    return NULL;
}

WF_TEST_WORKERS(copy, what_a_reader_holds_goes_first) { run(workers, after_lines, NULL); }

/* As many as asked for: within what it holds, and beyond. The rest is read as lines again. */
static void *counted_after_lines(void *arg)
{
    (void)arg;
    for (int k = 0; k < KINDS; k++) {
        course c;
        char *line;
        open_course(&c, (kind)k, (kind)k);
        weft_reader *r = read_two_lines(&c, "0123456789");
        cr_assert_eq(weft_copy_n(c.near[1], c.near[0], 0), 0);
        cr_assert_eq(weft_reader_buffered(r), 10);
        cr_assert_eq(weft_copy_n(c.near[1], c.near[0], 4), 4);
        cr_assert_eq(weft_reader_buffered(r), 6);
        cr_assert_eq(weft_write(c.far[0], "abcdef\nlast", 11), 11);
        cr_assert_eq(weft_copy_n(c.near[1], c.near[0], 9), 9);
        expect_text(c.far[1], "0123456789abc");
        cr_assert_eq(weft_reader_line(r, &line, NULL), 1);
        cr_assert_str_eq(line, "def");
        weft_close(c.far[0]);
        c.far[0] = NULL;
        cr_assert_eq(weft_copy_n(c.near[1], c.near[0], 100), 4);
        expect_text(c.far[1], "last");
        cr_assert_eq(weft_reader_line(r, &line, NULL), 0);
        close_course(&c);
    }
    return NULL;
}

WF_TEST_WORKERS(copy, a_count_ends_within_what_a_reader_holds_and_beyond) { run(workers, counted_after_lines, NULL); }

/* Readers on both sides, of which one holds something. */
static void *both_after_lines(void *arg)
{
    (void)arg;
    for (int k = 0; k < PIPE; k++) {
        course c;
        weft_reader *other;
        open_course(&c, (kind)k, (kind)k);
        weft_reader *r = read_two_lines(&c, "to the other side");
        cr_assert_eq(weft_reader_create(&other, c.near[1], 0), 0);
        weft_task *copier = start(copy_both, &c);
        expect_text(c.far[1], "to the other side");
        cr_assert_eq(weft_write(c.far[1], "and back", 8), 8);
        expect_text(c.far[0], "and back");
        cr_assert_eq(weft_close_write(c.far[0]), 0);
        cr_assert_eq(weft_close_write(c.far[1]), 0);
        join(copier);
        cr_assert_eq(c.result, 0);
        cr_assert_eq(c.moved[0], 17);
        cr_assert_eq(c.moved[1], 8);
        cr_assert_eq(weft_reader_buffered(r) + weft_reader_buffered(other), 0);
        close_course(&c);
    }
    return NULL;
}

WF_TEST_WORKERS(copy, a_relay_takes_over_after_lines_were_read) { run(workers, both_after_lines, NULL); }

/* ---- one way, in pieces ---------------------------------------------------------------------------------------- */

static void *dribbles(void *arg)
{
    (void)arg;
    for (int k = 0; k < KINDS; k++) {
        course c;
        char byte;
        open_course(&c, (kind)k, (kind)k);
        weft_task *copier = start(copy_on, &c);
        for (size_t i = 0; i < wf_test_scale(500); i++) {
            cr_assert_eq(weft_write(c.far[0], &(char){(char)i}, 1), 1);
            cr_assert_eq(weft_read(c.far[1], &byte, 1), 1);
            cr_assert_eq(byte, (char)i);
        }
        weft_close(c.far[0]);
        join(copier);
        cr_assert_eq(c.result, (int64_t)wf_test_scale(500));
        c.far[0] = NULL;
        close_course(&c);
    }
    return NULL;
}

WF_TEST_WORKERS(copy, byte_by_byte_each_arrives_before_the_next_is_sent) { run(workers, dribbles, NULL); }

/* All is there, and the end, before it begins. */
static void *all_there(void *arg)
{
    (void)arg;
    for (int k = 0; k < KINDS; k++) {
        course c;
        open_course(&c, (kind)k, (kind)k);
        bulk out = {.stream = c.far[0], .size = 10000, .key = 3, .then = CLOSES},
             in = {.stream = c.far[1], .size = 10000, .key = 3};
        send_bulk(&out);
        copy_on(&c);
        cr_assert_eq(c.result, 10000);
        weft_close(c.near[1]);
        receive_bulk(&in);
        c.far[0] = c.near[1] = NULL;
        close_course(&c);
    }
    return NULL;
}

WF_TEST_WORKERS(copy, what_came_before_it_began_is_copied_too) { run(workers, all_there, NULL); }

/* ---- so many and no more --------------------------------------------------------------------------------------- */

static void copy_part(kind k, size_t size, int64_t count)
{
    course c;
    int64_t part = count < (int64_t)size ? count : (int64_t)size;
    open_course(&c, k, k);
    c.count = count;
    bulk out = {.stream = c.far[0], .size = size, .key = 5, .then = CLOSES},
         first = {.stream = c.far[1], .size = (size_t)part, .key = 5},
         rest = {.stream = c.near[0], .size = size, .key = 5, .done = (size_t)part};
    weft_task *sender = start(send_bulk, &out), *copier = start(copy_on, &c);
    while (first.done < first.size)
        expect(&first);
    join(copier);
    cr_assert_eq(c.result, part, "kind %d, %zu of %zu", (int)k, (size_t)count, size);
    receive_bulk(&rest); /* what comes after them has stayed */
    join(sender);
    c.far[0] = NULL;
    close_course(&c);
}

static void *parts(void *arg)
{
    static const size_t sizes[] = {0, 1, 65536, 300000};
    static const int64_t counts[] = {0, 1, 65535, 65536, 65537, 250001, 300000, INT64_MAX};
    (void)arg;
    for (int k = 0; k < KINDS; k++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (size_t j = 0; j < sizeof counts / sizeof *counts; j++)
                copy_part((kind)k, sizes[i], counts[j]);
    return NULL;
}

WF_TEST_WORKERS(copy, so_many_are_copied_and_what_comes_after_stays) { run(workers, parts, NULL); }

/* ---- both ways ------------------------------------------------------------------------------------------------- */

enum { DUPLEX = PIPE }; /* kinds before this one go both ways */

static void both_at_once(kind left, kind right, size_t there, size_t back)
{
    course c;
    weft_task *tasks[5];
    open_course(&c, left, right);
    bulk jobs[4] = {{.stream = c.far[0], .size = there, .key = 1, .then = SHUTS},
                    {.stream = c.far[1], .size = back, .key = 2, .then = SHUTS},
                    {.stream = c.far[1], .size = there, .key = 1},
                    {.stream = c.far[0], .size = back, .key = 2}};
    tasks[4] = start(copy_both, &c);
    for (int i = 0; i < 4; i++)
        tasks[i] = start(i < 2 ? send_bulk : receive_bulk, &jobs[i]);
    for (int i = 0; i < 5; i++)
        join(tasks[i]);
    cr_assert_eq(c.result, 0);
    cr_assert_eq(c.moved[0], (int64_t)there);
    cr_assert_eq(c.moved[1], (int64_t)back);
    close_course(&c);
}

static void *duplex(void *arg)
{
    unsigned state = 3;
    (void)arg;
    for (int left = 0; left < DUPLEX; left++)
        for (int right = 0; right < DUPLEX; right++) {
            both_at_once((kind)left, (kind)right, 0, 0);
            both_at_once((kind)left, (kind)right, roll(&state, wf_test_scale(2 * MIB)),
                         roll(&state, wf_test_scale(2 * MIB)));
        }
    return NULL;
}

WF_TEST_WORKERS(copy, both_ways_at_once_all_arrives_then_both_ends) { run(workers, duplex, NULL); }

/* One asks to the end, the other answers only then. */
static void ask_then_answer(kind left, kind right, int asks)
{
    course c;
    open_course(&c, left, right);
    bulk question = {.stream = c.far[asks], .size = 100000, .key = 1, .then = SHUTS},
         heard = {.stream = c.far[!asks], .size = 100000, .key = 1},
         answer = {.stream = c.far[!asks], .size = 150000, .key = 2, .then = SHUTS},
         told = {.stream = c.far[asks], .size = 150000, .key = 2};
    weft_task *copier = start(copy_both, &c), *asker = start(send_bulk, &question);
    receive_bulk(&heard);
    join(asker);
    cr_assert_neq(weft_task_state(copier), WEFT_TASK_COMPLETED);
    weft_task *answerer = start(send_bulk, &answer);
    receive_bulk(&told);
    join(answerer);
    join(copier);
    cr_assert_eq(c.result, 0);
    cr_assert_eq(c.moved[asks], 100000);
    cr_assert_eq(c.moved[!asks], 150000);
    close_course(&c);
}

static void *half_closes(void *arg)
{
    (void)arg;
    for (int left = 0; left < DUPLEX; left++)
        for (int right = 0; right < DUPLEX; right++)
            for (int asks = 0; asks < 2; asks++)
                ask_then_answer((kind)left, (kind)right, asks);
    return NULL;
}

WF_TEST_WORKERS(copy, one_side_ends_then_the_other_answers_and_ends) { run(workers, half_closes, NULL); }

/* ---- failures -------------------------------------------------------------------------------------------------- */

static void reset_in_the_midst(int who)
{
    course c;
    char byte;
    open_course(&c, TCP, TCP);
    weft_task *copier = start(copy_both, &c);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(weft_write(c.far[i], "x", 1), 1);
        cr_assert_eq(weft_read(c.far[!i], &byte, 1), 1);
    }
    reset_on_close(c.far[who]);
    weft_close(c.far[who]);
    join(copier);
    cr_assert_eq(c.result, WEFT_ECONNRESET);
    cr_assert_eq(c.moved[0], 1);
    cr_assert_eq(c.moved[1], 1);
    c.far[who] = NULL;
    close_course(&c);
}

static void *resets(void *arg)
{
    (void)arg;
    reset_in_the_midst(0);
    reset_in_the_midst(1);
    return NULL;
}

WF_TEST_WORKERS(copy, a_reset_by_either_peer_ends_both_ways) { run(workers, resets, NULL); }

static void *flood(void *arg)
{
    static const char zeros[64 * KIB];
    while (weft_write(arg, zeros, sizeof zeros) > 0)
        ;
    return NULL;
}

/* What comes can no longer go: the peer of the destination is gone while the source goes on. */
static void receiver_goes(kind k)
{
    course c;
    char some[PIECE];
    open_course(&c, k, k);
    weft_task *copier = start(copy_on, &c), *sender = start(flood, c.far[0]);
    for (int i = 0; i < 100; i++)
        cr_assert_gt(weft_read(c.far[1], some, sizeof some), 0);
    weft_close(c.far[1]);
    join(copier);
    cr_assert(c.result == WEFT_EPIPE || c.result == WEFT_ECONNRESET, "kind %d: %lld", (int)k, (long long)c.result);
    weft_stream_abort(c.far[0]);
    join(sender);
    c.far[1] = NULL;
    close_course(&c);
}

static void *receivers_go(void *arg)
{
    (void)arg;
    for (int k = 0; k < KINDS; k++)
        receiver_goes((kind)k);
    return NULL;
}

WF_TEST_WORKERS(copy, the_receiver_goes_in_the_midst_and_no_signal_is_raised) { run(workers, receivers_go, NULL); }

/* ---- ending it ------------------------------------------------------------------------------------------------- */

typedef enum { ABORT_TASK, ABORT_SOURCE, ABORT_DESTINATION, WAYS } way;

static int64_t end_by(way w, weft_task *copier, course *c)
{
    if (w == ABORT_TASK) {
        weft_abort(copier);
        return WEFT_ECANCELED;
    }
    weft_stream_abort(c->near[w == ABORT_DESTINATION]);
    return WEFT_ECLOSED;
}

/* A task that met its abort is aborted, one that did not has ended. */
static void join_any(weft_task *task)
{
    int err = weft_join(task, NULL);
    cr_assert(err == 0 || err == WEFT_EABORTED, "it is %d", err);
}

static void end_while_it_waits(kind k, weft_fn copy, bool for_output, way w)
{
    course c;
    open_course(&c, k, k);
    weft_task *copier = start(copy, &c), *sender = NULL;
    if (for_output) {
        sender = start(flood, c.far[0]); /* nobody reads: all buffers fill up */
        await_idle(sender);
    }
    await_idle(copier);
    int64_t expected = end_by(w, copier, &c);
    join_any(copier);
    cr_assert_eq(c.result, expected, "kind %d, for output %d, way %d", (int)k, for_output, (int)w);
    if (copy == copy_both)
        cr_assert(c.moved[0] >= 0 && c.moved[1] == 0);
    weft_stream_abort(c.far[0]);
    if (sender)
        join(sender);
    close_course(&c);
}

static void *endings(void *arg)
{
    (void)arg;
    for (int k = 0; k < KINDS; k++)
        for (int for_output = 0; for_output < 2; for_output++)
            for (int w = 0; w < WAYS; w++) {
                end_while_it_waits((kind)k, copy_on, for_output, (way)w);
                if (k != PIPE)
                    end_while_it_waits((kind)k, copy_both, for_output, (way)w);
            }
    return NULL;
}

WF_TEST_WORKERS(copy, an_abort_of_its_task_or_of_either_stream_ends_it_wherever_it_waits)
{
    run(workers, endings, NULL);
}

/* Counted is what the destination took: it is all there. */
static void *counted(void *arg)
{
    (void)arg;
    for (int k = 0; k < DUPLEX; k++) {
        course c;
        char some[PIECE];
        int64_t got = 0;
        ssize_t n;
        open_course(&c, (kind)k, (kind)k);
        weft_task *copier = start(copy_both, &c), *sender = start(flood, c.far[0]);
        got = weft_read(c.far[1], some, 1);
        await_idle(sender);
        await_idle(copier);
        weft_abort(copier);
        join_any(copier);
        weft_close(c.near[1]);
        while ((n = weft_read(c.far[1], some, sizeof some)) > 0)
            got += n;
        cr_assert_eq(n, 0);
        cr_assert_eq(got, c.moved[0]);
        cr_assert_gt(got, 0);
        weft_stream_abort(c.far[0]);
        join(sender);
        c.near[1] = NULL;
        close_course(&c);
    }
    return NULL;
}

WF_TEST_WORKERS(copy, what_is_counted_is_what_arrives_after_an_abort) { run(workers, counted, NULL); }

static void *in_a_scope(void *arg)
{
    course c;
    weft_scope scope;
    (void)arg;
    open_course(&c, TCP, TCP);
    weft_task *sender = start(flood, c.far[0]);
    cr_assert_eq(weft_scope_enter(&scope, 20 * WEFT_MS), 0);
    copy_both(&c);
    cr_assert_eq(c.result, WEFT_ETIMEDOUT);
    cr_assert(weft_scope_leave(&scope) != 0);
    weft_stream_abort(c.far[0]);
    join(sender);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy, a_scope_that_fires_ends_it_where_the_peer_never_reads) { run(workers, in_a_scope, NULL); }

/* ---- patience -------------------------------------------------------------------------------------------------- */

static void run_paused(unsigned workers, weft_fn fn)
{
    weft_options o = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&o, fn, NULL, NULL), 0);
}

static void *idle_both(void *arg)
{
    course c;
    (void)arg;
    open_course(&c, MEMORY, MEMORY);
    weft_stream_set_timeouts(c.near[0], 300 * WEFT_MS, 50 * WEFT_MS);
    weft_stream_set_timeouts(c.near[1], 200 * WEFT_MS, 70 * WEFT_MS);
    int64_t began = weft_now();
    copy_both(&c); /* it waits for input: the write timeouts do not apply */
    cr_assert_eq(c.result, WEFT_ETIMEDOUT);
    cr_assert_eq(c.ended_at - began, 200 * WEFT_MS);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy, nothing_moves_for_the_smallest_timeout_that_applies_then_it_ends)
{
    run_paused(workers, idle_both);
}

static void *one_flows(void *arg)
{
    course c;
    char byte;
    (void)arg;
    open_course(&c, MEMORY, MEMORY);
    for (int i = 0; i < 2; i++)
        weft_stream_set_timeouts(c.near[i], 100 * WEFT_MS, 100 * WEFT_MS);
    weft_task *copier = start(copy_both, &c);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(weft_sleep(60 * WEFT_MS), 0);
        cr_assert_eq(weft_write(c.far[1], "x", 1), 1);
        cr_assert_eq(weft_read(c.far[0], &byte, 1), 1);
    }
    int64_t last = weft_now();
    join(copier);
    cr_assert_eq(c.result, WEFT_ETIMEDOUT);
    cr_assert_eq(c.ended_at - last, 100 * WEFT_MS);
    cr_assert_eq(c.moved[0], 0);
    cr_assert_eq(c.moved[1], 20);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy, while_one_way_moves_the_other_may_idle_beyond_its_timeout) { run_paused(workers, one_flows); }

/* What it waits for changes from a patient read to an impatient write. */
static void *write_stalls(void *arg)
{
    course c;
    (void)arg;
    open_course(&c, MEMORY, MEMORY);
    weft_stream_set_timeouts(c.near[0], 1000 * WEFT_MS, 0);
    weft_stream_set_timeouts(c.near[1], 1000 * WEFT_MS, 50 * WEFT_MS);
    weft_task *copier = start(copy_on, &c);
    cr_assert_eq(weft_sleep(500 * WEFT_MS), 0);
    int64_t began = weft_now();
    weft_task *sender = start(flood, c.far[0]);
    join(copier);
    cr_assert_eq(c.result, WEFT_ETIMEDOUT);
    cr_assert_eq(c.ended_at - began, 50 * WEFT_MS);
    weft_stream_abort(c.far[0]);
    join(sender);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy, a_write_that_stalls_has_its_own_timeout) { run_paused(workers, write_stalls); }

/* And back to a patient read: the impatience is forgotten. */
static void *write_goes_on(void *arg)
{
    course c;
    static char much[192 * KIB], back[192 * KIB];
    (void)arg;
    open_course(&c, MEMORY, MEMORY);
    weft_stream_set_timeouts(c.near[0], 1000 * WEFT_MS, 0);
    weft_stream_set_timeouts(c.near[1], 0, 50 * WEFT_MS);
    weft_task *copier = start(copy_on, &c);
    cr_assert_eq(weft_write(c.far[0], much, sizeof much), (ssize_t)sizeof much);
    await_idle(copier); /* 64 KiB in each pair, 64 KiB in between */
    cr_assert_eq(weft_sleep(40 * WEFT_MS), 0);
    cr_assert_eq(weft_read_exact(c.far[1], back, sizeof back), (ssize_t)sizeof back);
    int64_t last = weft_now();
    join(copier);
    cr_assert_eq(c.result, WEFT_ETIMEDOUT);
    cr_assert_eq(c.ended_at - last, 1000 * WEFT_MS);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy, a_write_that_goes_on_leaves_the_reading_its_patience) { run_paused(workers, write_goes_on); }

/* ---- who may, and how ------------------------------------------------------------------------------------------ */

static void *senseless(void *arg)
{
    course c;
    int64_t there = 1, back = 1;
    (void)arg;
    open_course(&c, TCP, TCP);
    weft_stream *a = c.near[0], *b = c.near[1];
    cr_assert_eq(weft_copy(NULL, a), WEFT_EINVAL);
    cr_assert_eq(weft_copy(a, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_copy(a, a), WEFT_EINVAL);
    cr_assert_eq(weft_copy_n(a, b, -1), WEFT_EINVAL);
    cr_assert_eq(weft_copy_n(a, b, 0), 0);
    cr_assert_eq(weft_copy_bidirectional(a, a, &there, &back), WEFT_EINVAL);
    cr_assert_eq(there, 0);
    cr_assert_eq(back, 0);
    cr_assert_eq(weft_copy_bidirectional(NULL, b, NULL, NULL), WEFT_EINVAL);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy, what_makes_no_sense_is_told_at_once) { run(workers, senseless, NULL); }

static void *second_users(void *arg)
{
    course c, other;
    char byte;
    (void)arg;
    open_course(&c, TCP, TCP);
    open_course(&other, TCP, TCP);
    weft_task *copier = start(copy_on, &c);
    await_idle(copier);
    cr_assert_eq(weft_read(c.near[0], &byte, 1), WEFT_EBUSY);
    cr_assert_eq(weft_write(c.near[1], "x", 1), WEFT_EBUSY);
    cr_assert_eq(weft_copy(other.near[1], c.near[0]), WEFT_EBUSY);
    cr_assert_eq(weft_copy(c.near[1], other.near[0]), WEFT_EBUSY);
    cr_assert_eq(weft_copy_bidirectional(other.near[0], c.near[1], NULL, NULL), WEFT_EBUSY);
    cr_assert_eq(weft_write(other.far[0], "x", 1), 1);
    cr_assert_eq(weft_read(other.near[0], &byte, 1), 1); /* the refused ones have left it alone */
    weft_close(c.far[0]);
    join(copier);
    cr_assert_eq(c.result, 0);
    c.far[0] = NULL;
    close_course(&c);
    close_course(&other);
    return NULL;
}

WF_TEST_WORKERS(copy, a_second_user_of_either_direction_is_told_busy) { run(workers, second_users, NULL); }

static void *zeros_for_ever(void *arg)
{
    course *c = arg;
    atomic_store(&c->began, true);
    c->result = weft_copy(c->near[1], c->near[0]);
    return NULL;
}

static void *never_waits(void *arg)
{
    course c = {.count = -1};
    (void)arg;
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    cr_assert_eq(weft_stream_from_fd(&c.near[0], zero), 0);
    cr_assert_eq(weft_stream_from_fd(&c.near[1], null), 0);
    weft_task *copier = start(zeros_for_ever, &c);
    for (int i = 0; i < 50 || !atomic_load(&c.began); i++)
        cr_assert_eq(weft_yield(), 0);
    weft_abort(copier);
    join_any(copier);
    cr_assert_eq(c.result, WEFT_ECANCELED);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy, one_that_never_waits_lets_others_run_and_can_be_aborted) { run(workers, never_waits, NULL); }

/* ---- out of descriptors ---------------------------------------------------------------------------------------- */

static void no_more_descriptors(struct rlimit *before)
{
    struct rlimit none;
    int next = dup(0);
    close(next);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, before), 0);
    none = *before;
    none.rlim_cur = (rlim_t)next;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void *without_descriptors(void *arg)
{
    course c;
    struct rlimit before;
    size_t size = wf_test_scale(8 * MIB);
    (void)arg;
    open_course(&c, TCP, UNIX);
    bulk out = {.stream = c.far[0], .size = size, .key = 1, .then = SHUTS},
         in = {.stream = c.far[1], .size = size, .key = 1};
    no_more_descriptors(&before);
    weft_task *copier = start(copy_on, &c), *sender = start(send_bulk, &out);
    while (in.done < in.size)
        expect(&in);
    join(sender);
    join(copier);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    cr_assert_eq(c.result, (int64_t)size);
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy, without_a_descriptor_for_a_pipe_it_goes_through_memory)
{
    run(workers, without_descriptors, NULL);
}

/* ---- ordinary threads ------------------------------------------------------------------------------------------ */

static void *in_a_thread(void *arg)
{
    copy_both(arg);
    atomic_store(&((course *)arg)->ended, true);
    return NULL;
}

/* Without keeping the worker from its events, for which the thread may wait. */
static void join_thread(pthread_t thread, course *c)
{
    int64_t deadline = weft_now() + PATIENCE;
    while (!atomic_load(&c->ended)) {
        cr_assert_lt(weft_now(), deadline, "the thread never ends");
        weft_sleep(WEFT_MS / 4);
    }
    pthread_join(thread, NULL);
}

static void *threads_copy(void *arg)
{
    course c;
    pthread_t thread;
    size_t size = wf_test_scale(4 * MIB);
    (void)arg;
    open_course(&c, TCP, TCP);
    cr_assert_eq(pthread_create(&thread, NULL, in_a_thread, &c), 0);
    bulk jobs[4] = {{.stream = c.far[0], .size = size, .key = 1, .then = SHUTS},
                    {.stream = c.far[1], .size = size / 2, .key = 2, .then = SHUTS},
                    {.stream = c.far[1], .size = size, .key = 1},
                    {.stream = c.far[0], .size = size / 2, .key = 2}};
    weft_task *tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = start(i < 2 ? send_bulk : receive_bulk, &jobs[i]);
    for (int i = 0; i < 4; i++)
        join(tasks[i]);
    join_thread(thread, &c);
    cr_assert_eq(c.result, 0);
    cr_assert_eq(c.moved[0], (int64_t)size);
    cr_assert_eq(c.moved[1], (int64_t)(size / 2));
    close_course(&c);
    return NULL;
}

WF_TEST_WORKERS(copy, an_ordinary_thread_copies_both_ways) { run(workers, threads_copy, NULL); }

/* A thread that has SIGPIPE open is the one that it would hit. */
static void *thread_meets_a_broken_socket(void *arg)
{
    sigset_t one, pending;
    sigemptyset(&one);
    sigaddset(&one, SIGPIPE);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    copy_on(arg);
    cr_assert_eq(sigpending(&pending), 0);
    cr_assert_eq(sigismember(&pending, SIGPIPE), 0);
    atomic_store(&((course *)arg)->ended, true);
    return NULL;
}

static void *thread_and_signal(void *arg)
{
    (void)arg;
    for (int k = 0; k < KINDS; k++) {
        course c;
        pthread_t thread;
        char some[PIECE];
        open_course(&c, (kind)k, (kind)k);
        cr_assert_eq(pthread_create(&thread, NULL, thread_meets_a_broken_socket, &c), 0);
        weft_task *sender = start(flood, c.far[0]);
        for (int i = 0; i < 100; i++)
            cr_assert_gt(weft_read(c.far[1], some, sizeof some), 0);
        weft_close(c.far[1]);
        join_thread(thread, &c);
        cr_assert(c.result == WEFT_EPIPE || c.result == WEFT_ECONNRESET, "kind %d: %lld", k, (long long)c.result);
        weft_stream_abort(c.far[0]);
        join(sender);
        c.far[1] = NULL;
        close_course(&c);
    }
    return NULL;
}

WF_TEST_WORKERS(copy, a_thread_with_sigpipe_open_survives_a_broken_destination)
{
    run(workers, thread_and_signal, NULL);
}

/* ---- a proxy --------------------------------------------------------------------------------------------------- */

enum { CONNECTIONS = 60 };

typedef struct proxied {
    char upstream[WEFT_ADDR_TEXT], proxy[WEFT_ADDR_TEXT];
    size_t most;
    atomic_llong through;
} proxied;

static void *relay(weft_stream *client, void *arg)
{
    proxied *p = arg;
    weft_stream *upstream;
    int64_t up, down;
    cr_assert_eq(weft_tcp_connect(&upstream, p->upstream, NULL), 0);
    weft_stream_set_timeouts(client, PATIENCE, PATIENCE);
    weft_stream_set_timeouts(upstream, PATIENCE, PATIENCE);
    cr_assert_eq(weft_copy_bidirectional(client, upstream, &up, &down), 0);
    atomic_fetch_add(&p->through, up + down);
    weft_close(upstream);
    return NULL;
}

/* Sends back what comes, and ends when that ends. */
static void *mirror(weft_stream *peer, void *arg)
{
    char piece[PIECE];
    ssize_t n;
    (void)arg;
    while ((n = weft_read(peer, piece, sizeof piece)) > 0)
        cr_assert_eq(weft_write(peer, piece, (size_t)n), n);
    cr_assert_eq(n, 0);
    return NULL;
}

typedef struct server {
    weft_listener *listener;
    weft_handler handler;
    proxied *arg;
} server;

static void *serve(void *arg)
{
    server *s = arg;
    cr_assert_eq(weft_serve(s->listener, s->handler, s->arg, NULL), WEFT_ECLOSED);
    return NULL;
}

static void *client(void *arg)
{
    proxied *p = arg;
    static atomic_uint serial;
    unsigned key = atomic_fetch_add(&serial, 1), state = key;
    weft_stream *s;
    cr_assert_eq(weft_tcp_connect(&s, p->proxy, NULL), 0);
    size_t size = key % 3 ? roll(&state, 5000) : roll(&state, p->most);
    bulk out = {.stream = s, .size = size, .key = key, .then = SHUTS}, in = {.stream = s, .size = size, .key = key};
    weft_task *sender = start(send_bulk, &out);
    receive_bulk(&in);
    join(sender);
    weft_close(s);
    return NULL;
}

static void *proxied_connections(void *arg)
{
    proxied p = {.most = wf_test_scale(MIB)};
    server upstream = {listen_any(p.upstream), mirror, &p}, proxy = {listen_any(p.proxy), relay, &p};
    weft_task *servers[2] = {start(serve, &upstream), start(serve, &proxy)}, *clients[CONNECTIONS];
    (void)arg;
    for (int i = 0; i < CONNECTIONS; i++)
        clients[i] = start(client, &p);
    for (int i = 0; i < CONNECTIONS; i++)
        join(clients[i]);
    weft_listener_close(proxy.listener);
    weft_listener_close(upstream.listener);
    for (int i = 0; i < 2; i++)
        join(servers[i]);
    cr_assert_gt(atomic_load(&p.through), 0);
    return NULL;
}

WF_TEST_WORKERS(copy, many_connections_through_a_proxy_come_back_whole) { run(workers, proxied_connections, NULL); }
