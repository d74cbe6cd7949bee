/* sources.c - scenes of source.c and source_state.h: readiness is not lost, nobody uses a descriptor that is closed, and what was meant for one life of a place
 * does not reach the next.
 *
 * The kernel is a count of bytes to be read, and a set that knows which place to tell. A descriptor is a block of memory: a system call reads it, closing frees
 * it, so that a call without order before the close is a race or a use after free. */
#include "../ordinary.h"

#include <stdio.h>
#include <reactor/reactor.h>
#include <sys/socket.h>
#include <unistd.h>

static int close_descriptor(int fd);
static int shut_descriptor(int fd, int how);
#define close close_descriptor
#define shutdown shut_descriptor
#define take_waker take_cell_waker
#include <base/atomic_waker.c>
#undef take_waker
#include <reactor/source.c>
#undef shutdown
#undef close

enum { FD = 7 };

static struct {
    wf_sources all;
    wf_source *source;
    int *descriptor; /* what FD stands for */
    wf_a32 bytes;
    wf_a64 watched; /* the set: place and generation, or 0 */
    int closed, gone;
} s;

#define SOURCE_SCENE(name, ...) MODEL_SCENE(name, .state = &s, .state_size = sizeof s, __VA_ARGS__)

void *wf_alloc(const weft_allocator *a, size_t size) { return (void)a, calloc(1, size); }
void wf_free(const weft_allocator *a, void *block) { (void)a, free(block); }

/* ---- the kernel ------------------------------------------------------------------------------------------------------- */

static void use_descriptor(int fd)
{
    model_check(fd == FD);
    model_check(*s.descriptor == FD); /* it is open, and stays open */
}

static int close_descriptor(int fd)
{
    model_check(fd == FD && wf_load_rlx(&s.watched) == 0);
    s.closed++;
    model_free(s.descriptor);
    return 0;
}

static int shut_descriptor(int fd, int how)
{
    (void)how;
    use_descriptor(fd);
    return 0;
}

/* All that are there, of at most two, or WEFT_EAGAIN. */
static int read_bytes(void)
{
    use_descriptor(wf_load_rlx(&s.source->fd));
    uint32_t n = wf_swap_seq(&s.bytes, 0);
    return n > 0 ? (int)n : WEFT_EAGAIN;
}

/* Adding reports what is ready already, as an event that comes soon. */
int wf_set_add(wf_reactor *r, wf_source *source, uint16_t generation)
{
    (void)r;
    use_descriptor(wf_load_rlx(&source->fd));
    wf_swap_seq(&s.watched, (uint64_t)generation + 1);
    if (wf_load_seq(&s.bytes) > 0)
        wf_source_deliver(source, generation, WF_SRC_RRDY);
    return 0;
}

bool wf_set_remove(wf_reactor *r, wf_source *source)
{
    (void)r;
    use_descriptor(wf_load_rlx(&source->fd));
    wf_swap_seq(&s.watched, 0);
    return true;
}

int wf_set_want_write(wf_source *source) { return (void)source, 0; }

/* A byte comes, and then its event, which may be late. */
static void byte_comes(void)
{
    wf_add_seq(&s.bytes, 1);
    uint64_t watched = wf_load_seq(&s.watched);
    if (watched != 0)
        wf_source_deliver(s.source, (uint16_t)(watched - 1), WF_SRC_RRDY);
}

/* ---- an operation ------------------------------------------------------------------------------------------------------- */

static wf_reactor *const here = (wf_reactor *)&s;

typedef struct read_op {
    uint64_t word;
    bool claimed;
} read_op;

/* Who registers while a wake is under way is told to try again at once, and for as long: a scheduler would let that one run meanwhile. */
static void let_wakes_end(void)
{
    while (wf_load_acq(state_of(&s.source->others[WF_READ])) & WAKING)
        model_yield();
}

static ssize_t poll_read(void *arg, weft_context *cx)
{
    read_op *op = arg;
    int err = op->claimed ? 0 : wf_source_claim(s.source, WF_READ, &op->word);
    if (err < 0)
        return err;
    op->claimed = true;
    let_wakes_end();
    for (op->word = wf_load_acq(&s.source->word);;) {
        if (wf_source_closing(s.source))
            return WEFT_ECLOSED;
        if (op->word & WF_SRC_RRDY && (err = read_bytes()) > 0)
            return err;
        if ((err = wf_source_wait(s.source, WF_READ, &op->word, here, cx)) < 0)
            return err;
    }
}

static const wf_op_ops read_ops = {.poll = poll_read};

/* Fewer than there was room for: then it is drained. Returns how many, or a negative code. */
static int read_some(void)
{
    read_op op = {.word = 0};
    int got = (int)wf_await(&read_ops, &op, WEFT_FOREVER);
    if (op.claimed) {
        wf_source_forget(s.source, WF_READ);
        wf_source_release(s.source, WF_READ, got == 1, op.word);
    }
    return got;
}

/* ---- scenes ------------------------------------------------------------------------------------------------------------- */

static void is_gone(wf_source *source) { (void)source, s.gone++; }

static const wf_source_kind kind = {.socket = true, .gone = is_gone};

static void open_one(void)
{
    ordinary_begin();
    s.descriptor = model_alloc(sizeof *s.descriptor);
    *s.descriptor = FD;
    s.source = wf_source_open(&s.all, FD, &kind, true);
    model_check(s.source != NULL);
    model_name(&s.source->word, "word");
    model_name(&s.source->cells[WF_READ].word, "reader's waker");
    model_name(&s.bytes, "bytes");
    model_name(&s.watched, "set");
}

static void begin(void)
{
    wf_sources_init(&s.all, NULL);
    open_one();
}

static void everything_closed(void)
{
    model_check(s.closed == 1 && s.gone == 1 && wf_load_rlx(&s.all.open) == 0);
    model_check(wf_sources_destroy(&s.all) == 0);
    model_check(model_blocks() == 0);
}

static void close_and_finish(void)
{
    wf_source_close(s.source);
    everything_closed();
}

static void read_two(void)
{
    for (int left = 2; left > 0;) {
        int got = read_some();
        model_check(got > 0);
        left -= got;
    }
    ordinary_end();
}

static void two_bytes_come(void)
{
    byte_comes();
    byte_comes();
}

SOURCE_SCENE(source_loses_no_readiness, .setup = begin, .threads = {read_two, two_bytes_come},
             .finish = close_and_finish, .preemptions = 2, .stale = 0, .random = 300);

static void read_two_as_a_task(void)
{
    ordinary_as_task();
    read_two();
}

SOURCE_SCENE(source_loses_no_readiness_of_a_task, .setup = begin, .threads = {read_two_as_a_task, two_bytes_come},
             .finish = close_and_finish, .preemptions = 2, .stale = 1, .random = 300);

/* The one who waits is a task now and something else then. */
static void read_one_as_each(void)
{
    int got = read_some();
    ordinary_as_task();
    model_check(got == 2 || (got == 1 && read_some() == 1));
    ordinary_end();
}

SOURCE_SCENE(source_loses_no_readiness_of_either, .setup = begin, .threads = {read_one_as_each, two_bytes_come},
             .finish = close_and_finish, .preemptions = 2, .stale = 0, .random = 300);

/* It seems ready, is watched already, and the byte comes while the call finds nothing. */
static void begin_watched(void)
{
    begin();
    model_check(wf_src_arm(&s.source->word) && arm(s.source, here) == 0);
}

static void read_one(void)
{
    model_check(read_some() == 1);
    ordinary_end();
}

SOURCE_SCENE(source_ready_while_it_is_not, .setup = begin_watched, .threads = {read_one, byte_comes},
             .finish = close_and_finish, .preemptions = 2, .stale = 0, .random = 200);

static void read_or_closed(void)
{
    int got = read_some();
    model_check(got == 1 || got == WEFT_ECLOSED);
    ordinary_end();
}

static void read_or_closed_as_a_task(void)
{
    ordinary_as_task();
    read_or_closed();
}

static void close_it(void) { wf_source_close(s.source); }

SOURCE_SCENE(source_closed_while_one_reads, .setup = begin, .threads = {read_or_closed, close_it},
             .finish = everything_closed, .preemptions = 2, .stale = 0, .random = 300);
SOURCE_SCENE(source_closed_when_a_byte_comes, .setup = begin, .threads = {read_or_closed, close_it, byte_comes},
             .finish = everything_closed, .preemptions = 1, .stale = 0, .random = 500);

SOURCE_SCENE(source_closed_while_a_task_reads, .setup = begin, .threads = {read_or_closed_as_a_task, close_it, byte_comes},
             .finish = everything_closed, .preemptions = 1, .stale = 0, .random = 500);

/* Two handles: the last one frees the place. */
static void begin_with_two(void)
{
    begin();
    model_check(wf_source_ref(s.source));
}

SOURCE_SCENE(source_closed_twice, .setup = begin_with_two, .threads = {read_or_closed, close_it, close_it},
             .finish = everything_closed, .preemptions = 1, .stale = 0, .random = 500);

/* The descriptor is open as long as somebody visits it. */
static void visit(void)
{
    int err, fd = wf_source_visit(s.source, &err);
    model_check(err == 0 || err == WEFT_ECLOSED);
    if (err == 0) {
        use_descriptor(fd);
        wf_source_leave(s.source);
    }
}

SOURCE_SCENE(source_visited_when_closed, .setup = begin, .threads = {visit, close_it, visit},
             .finish = everything_closed, .preemptions = 2, .stale = 0, .random = 100);

/* Its place is used again; an event of the life before says nothing to the next. */
static void close_and_open_again(void)
{
    wf_source_close(s.source);
    s.descriptor = model_alloc(sizeof *s.descriptor);
    *s.descriptor = FD;
    wf_source *again = wf_source_open(&s.all, FD, &kind, false);
    model_check(again == s.source);
}

static void late_event(void) { wf_source_deliver(s.source, 0, WF_SRC_RRDY | WF_SRC_REOF); }

static void next_life_is_not_ready(void)
{
    model_check((wf_load_rlx(&s.source->word) & (WF_SRC_RRDY | WF_SRC_REOF)) == 0);
    model_check(s.closed == 1 && s.gone == 1);
    wf_source_close(s.source);
    model_check(s.closed == 2 && s.gone == 2 && wf_sources_destroy(&s.all) == 0);
    model_check(model_blocks() == 0);
}

SOURCE_SCENE(source_of_an_earlier_life, .setup = begin, .threads = {close_and_open_again, late_event},
             .finish = next_life_is_not_ready, .preemptions = 2, .stale = 0, .random = 300);
