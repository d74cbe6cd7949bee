/* copy.c - all that comes from one stream into another, in one direction or in both.
 *
 * One operation polls one half or two with the same waker: no task is spawned. Its patience is that of the streams it waits for, and counts from when
 * anything moved, in either direction. What it waits for changes, and the deadline of an await does not: an operation that comes to have less
 * patience than its await ends that await and begins another. */
#include <net/half.h>

enum { AGAIN = 1 };

typedef struct copying {
    wf_half half[2];
    int n;
    bool patient;           /* no timeout applies */
    bool failed;            /* the result is an operation's own */
    int64_t patience[2][2]; /* by half and direction, ns */
    int64_t moved_at;       /* when anything did; unless patient */
    int64_t deadline;       /* of this await */
} copying;

static int64_t patience_of(const wf_source_op *op)
{
    int64_t timeout = wf_load_rlx(&wf_stream_extra_of((weft_stream *)(void *)op->source)->timeouts[op->direction]);
    return timeout == 0 ? WEFT_FOREVER : timeout;
}

static void begin(copying *c)
{
    c->patient = true;
    for (int i = 0; i < c->n; i++) {
        c->patience[i][WF_READ] = patience_of(&c->half[i].in);
        c->patience[i][WF_WRITE] = patience_of(&c->half[i].out);
        c->patient &= c->patience[i][WF_READ] == WEFT_FOREVER && c->patience[i][WF_WRITE] == WEFT_FOREVER;
    }
    c->moved_at = c->patient ? 0 : weft_now();
}

/* When its patience is at an end, if nothing moves until then. */
static int64_t due(const copying *c)
{
    int64_t least = WEFT_FOREVER;
    for (int i = 0; i < c->n && !c->patient; i++)
        if (c->half[i].state != WF_HALF_ENDED)
            least = WF_MIN(least, c->patience[i][wf_half_waits(&c->half[i])->direction]);
    return wf_add_saturating(c->moved_at, least);
}

static ssize_t poll_halves(copying *c, weft_context *cx)
{
    ssize_t result = 0;
    for (int i = 0; i < c->n; i++) {
        ssize_t n = wf_half_poll(&c->half[i], cx);
        if (n < 0 && n != WEFT_PENDING)
            return n;
        result = WF_MIN(result, n);
    }
    return result;
}

static uint64_t steps_of(const copying *c) { return c->half[0].steps + (c->n > 1 ? c->half[1].steps : 0); }

static ssize_t poll(void *arg, weft_context *cx)
{
    copying *c = arg;
    uint64_t before = steps_of(c);
    ssize_t n = poll_halves(c, cx);
    if (!c->patient && steps_of(c) != before)
        c->moved_at = weft_now();
    if (n == WEFT_PENDING && due(c) >= c->deadline)
        return WEFT_PENDING;
    c->failed = n < 0 && n != WEFT_PENDING;
    return n == WEFT_PENDING ? AGAIN : n;
}

/* Interrupted, it keeps its claims and what it holds: it may go on. run() gives them back. */
static const wf_op_ops ops = {.poll = poll};

/* The await's deadline has passed, and nothing else: something may have moved since it began. */
static bool is_early(const copying *c, ssize_t n)
{
    return n == WEFT_ETIMEDOUT && !c->failed && wf_exec_current()->cause == NULL && weft_now() < due(c);
}

static ssize_t run(copying *c)
{
    ssize_t n;
    begin(c);
    do {
        c->deadline = due(c);
        n = wf_await(&ops, c, c->deadline);
    } while (n == AGAIN || is_early(c, n));
    for (int i = 0; i < c->n; i++) {
        wf_half_release(&c->half[i]);
        wf_half_free(&c->half[i]);
    }
    return n;
}

static int64_t one_way(weft_stream *dst, weft_stream *src, int64_t count)
{
    copying c = {.n = 1};
    if (!dst || !src || dst == src || count < 0)
        return WEFT_EINVAL;
    wf_half_init(&c.half[0], src, dst, count, false);
    ssize_t err = run(&c);
    return err < 0 ? err : c.half[0].moved;
}

int64_t weft_copy(weft_stream *dst, weft_stream *src) { return one_way(dst, src, INT64_MAX); }

int64_t weft_copy_n(weft_stream *dst, weft_stream *src, int64_t count) { return one_way(dst, src, count); }

int weft_copy_bidirectional(weft_stream *a, weft_stream *b, int64_t *a_to_b, int64_t *b_to_a)
{
    copying c = {.n = 2};
    int err = WEFT_EINVAL;
    if (a && b && a != b) {
        wf_half_init(&c.half[0], a, b, INT64_MAX, true);
        wf_half_init(&c.half[1], b, a, INT64_MAX, true);
        err = (int)run(&c);
    }
    if (a_to_b)
        *a_to_b = c.half[0].moved;
    if (b_to_a)
        *b_to_a = c.half[1].moved;
    return err;
}
