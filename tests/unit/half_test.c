/* half_test.c - one direction of a copy, seen from inside: what it holds, and when. */
#include <net/half.h>
#include <runtime/runtime.h>
#include <support/net_support.h>
#include <support/test.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t poll_half(void *half, weft_context *cx) { return wf_half_poll(half, cx); }

static ssize_t cancel_half(void *half)
{
    wf_half_release(half);
    return WEFT_PENDING;
}

static const wf_op_ops ops = {.poll = poll_half, .cancel = cancel_half};

/* Until that much has been moved, and it waits for more. */
static void move_until(wf_half *h, int64_t moved)
{
    int64_t deadline = weft_now() + PATIENCE;
    while (h->moved < moved) {
        cr_assert_lt(weft_now(), deadline, "it moves no more");
        cr_assert_eq(wf_await(&ops, h, weft_now() + WEFT_MS), WEFT_ETIMEDOUT);
    }
}

static void sockets(weft_stream **a, weft_stream **b)
{
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(weft_stream_from_fd(a, fds[0]), 0);
    cr_assert_eq(weft_stream_from_fd(b, fds[1]), 0);
}

typedef struct scene {
    weft_stream *from_far, *from, *to, *to_far;
    wf_half half;
} scene;

static void open_scene(scene *s)
{
    sockets(&s->from_far, &s->from);
    sockets(&s->to, &s->to_far);
    wf_half_init(&s->half, s->from, s->to, INT64_MAX, false);
}

static void close_scene(scene *s)
{
    wf_half_free(&s->half);
    weft_close(s->from_far);
    weft_close(s->from);
    weft_close(s->to);
    weft_close(s->to_far);
}

static char bytes[100 * 1024], back[100 * 1024];

static void *idle_root(void *arg)
{
    scene s;
    (void)arg;
    open_scene(&s);
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(weft_write(s.from_far, bytes, sizeof bytes), (ssize_t)sizeof bytes);
        move_until(&s.half, (int64_t)sizeof bytes * (round + 1));
        cr_assert_eq(weft_read_exact(s.to_far, back, sizeof back), (ssize_t)sizeof back);
        cr_assert_eq(s.half.state, WF_HALF_FILLS);
        cr_assert_null(s.half.buffer);
        cr_assert(!s.half.piped);
        cr_assert_eq(s.half.moved, (int64_t)sizeof bytes * (round + 1));
    }
    cr_assert(s.half.bulk);
    close_scene(&s);
    return NULL;
}

Test(half, while_it_waits_for_input_it_has_neither_buffer_nor_pipe) { run(1, idle_root, NULL); }

/* As if the destination had said so while the pipe held something. */
static void *refused_root(void *arg)
{
    scene s;
    (void)arg;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7 + (i >> 8));
    open_scene(&s);
    s.half.piped = wf_pipe_take(wf_container(s.from->source.sources, weft_runtime, sources), &s.half.pipe);
    if (!s.half.piped)
        return close_scene(&s), NULL;
    cr_assert_eq(write(s.half.pipe.in, bytes, sizeof bytes), (ssize_t)sizeof bytes);
    s.half.in_pipe = sizeof bytes;
    s.half.state = WF_HALF_DRAINS;
    s.half.refused = true;
    move_until(&s.half, (int64_t)sizeof bytes);
    cr_assert_eq(s.half.moved, (int64_t)sizeof bytes);
    cr_assert_eq(weft_read_exact(s.to_far, back, sizeof back), (ssize_t)sizeof back);
    cr_assert_arr_eq(back, bytes, sizeof bytes);
    close_scene(&s);
    return NULL;
}

Test(half, what_is_in_a_pipe_when_splicing_is_refused_goes_through_memory) { run(1, refused_root, NULL); }
