/* writer_test.c - small writes joined: in order whatever their sizes, nothing lost that can be kept, and no gap after what cannot. */
#include <support/chan_support.h>
#include <weft.h>

enum { RING = 64 * 1024 }; /* what a stream in memory takes without a reader */

static weft_writer *writer_of(weft_stream *s, size_t capacity)
{
    weft_writer *w;
    cr_assert_eq(weft_writer_create(&w, s, capacity), 0);
    cr_assert_not_null(w);
    return w;
}

static void memory_pair(weft_stream **a, weft_stream **b) { cr_assert_eq(weft_stream_pair(a, b), 0); }

/* ---- joining --------------------------------------------------------------------------------------------------- */

static void *joins(void *arg)
{
    weft_stream *a, *b;
    char got[64];
    (void)arg;
    memory_pair(&a, &b);
    weft_writer *w = writer_of(a, 0);
    cr_assert_eq(weft_writer_flush(w), 0); /* nothing to do */
    cr_assert_eq(weft_writer_write(w, "one ", 4), 4);
    cr_assert_eq(weft_writer_printf(w, "%s %d", "two", 3), 5);
    cr_assert_eq(weft_writer_printf(w, "%s", ""), 0);
    cr_assert_eq(weft_writer_write(w, NULL, 0), 0);
    cr_assert_eq(weft_writer_buffered(w), 9);
    weft_case cases[2] = {WEFT_READABLE(b), WEFT_DEFAULT};
    cr_assert_eq(weft_select(cases, 2), 1); /* nothing has gone yet */
    cr_assert_eq(weft_writer_flush(w), 0);
    cr_assert_eq(weft_writer_buffered(w), 0);
    cr_assert_eq(weft_read(b, got, sizeof got), 9);
    cr_assert_arr_eq(got, "one two 3", 9);
    cr_assert_eq(weft_writer_write(w, "lost", 4), 4);
    weft_writer_free(w);
    weft_close(a);
    cr_assert_eq(weft_read(b, got, sizeof got), 0);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(writer, nothing_goes_before_the_flush_then_all_at_once) { run(workers, joins, NULL); }

typedef struct stretch {
    weft_stream *stream;
    const char *text;
    size_t size;
} stretch;

static void *expect_text(void *arg)
{
    stretch *e = arg;
    char got[1000];
    for (size_t at = 0; at < e->size;) {
        ssize_t n = weft_read(e->stream, got, sizeof got);
        cr_assert_gt(n, 0);
        cr_assert_arr_eq(got, e->text + at, (size_t)n);
        at += (size_t)n;
    }
    cr_assert_eq(weft_read(e->stream, got, 1), 0);
    return NULL;
}

/* Without zero bytes, so that printf() can write it too. */
static char *some_text(size_t size, uint64_t *chance)
{
    char *text = malloc(size);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)('a' + test_random(chance) % 26);
    return text;
}

static void write_pieces(weft_writer *w, const char *text, size_t size, size_t most, uint64_t *chance)
{
    for (size_t at = 0, n; at < size; at += n) {
        n = test_random(chance) % (most + 1);
        n = n < size - at ? n : size - at;
        switch (test_random(chance) % 8) {
        case 0:
            cr_assert_eq(weft_writer_flush(w), 0);
            cr_assert_eq(weft_writer_buffered(w), 0);
            n = 0;
            break;
        case 1:
        case 2:
        case 3:
            cr_assert_eq(weft_writer_printf(w, "%.*s", (int)n, text + at), (ssize_t)n);
            break;
        default:
            cr_assert_eq(weft_writer_write(w, text + at, n), (ssize_t)n);
        }
    }
    cr_assert_eq(weft_writer_flush(w), 0);
}

static void in_order(weft_stream *a, weft_stream *b, size_t capacity, size_t size, uint64_t *chance)
{
    char *text = some_text(size, chance);
    stretch e = {b, text, size};
    weft_writer *w = writer_of(a, capacity);
    weft_task *reading;
    cr_assert_eq(weft_spawn(&reading, expect_text, &e), 0);
    write_pieces(w, text, size, 3 * capacity, chance);
    weft_writer_free(w);
    weft_close(a);
    cr_assert_eq(weft_join(reading, NULL), 0);
    weft_close(b);
    free(text);
}

static void *all_capacities(void *arg)
{
    uint64_t chance = test_seed();
    weft_stream *a, *b;
    weft_listener *l;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    printf("WF_TEST_SEED=%llu\n", (unsigned long long)chance);
    for (size_t capacity = 1; capacity <= 20; capacity++) {
        memory_pair(&a, &b);
        in_order(a, b, capacity, 3000, &chance);
    }
    memory_pair(&a, &b);
    in_order(a, b, 100000, 1 << 20, &chance);
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    cr_assert_eq(weft_tcp_connect(&a, weft_addr_format(&addr, text, sizeof text), NULL), 0);
    cr_assert_eq(weft_accept(&b, l), 0);
    weft_listener_close(l);
    in_order(a, b, 5000, 4 << 20, &chance);
    return arg;
}

WF_TEST_WORKERS(writer, pieces_of_all_sizes_arrive_in_order) { run(workers, all_capacities, NULL); }

/* ---- interruptions --------------------------------------------------------------------------------------------- */

typedef struct ends {
    weft_stream *a, *b;
    weft_writer *w;
    char *text;
} ends;

/* A writer that holds more than its peer takes. */
static void overfill(ends *e, size_t capacity, size_t size)
{
    uint64_t chance = 1;
    memory_pair(&e->a, &e->b);
    e->w = writer_of(e->a, capacity);
    e->text = some_text(4 * RING, &chance);
    cr_assert_eq(weft_writer_write(e->w, e->text, size), (ssize_t)size);
}

static void expect_some(ends *e, size_t at, size_t size)
{
    char *got = malloc(size);
    cr_assert_eq(weft_read_exact(e->b, got, size), (ssize_t)size);
    cr_assert_arr_eq(got, e->text + at, size);
    free(got);
}

static void close_ends(ends *e)
{
    weft_writer_free(e->w);
    weft_close(e->a);
    weft_close(e->b);
    free(e->text);
}

static void *interrupted_flush(void *arg)
{
    ends e;
    weft_scope scope;
    size_t size = RING + 5000;
    (void)arg;
    overfill(&e, 2 * RING, size);
    cr_assert_eq(weft_scope_enter(&scope, WEFT_SEC), 0);
    cr_assert_eq(weft_writer_flush(e.w), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_writer_buffered(e.w), 5000); /* exactly what has not gone */
    cr_assert_eq(weft_stream_set_timeouts(e.a, 0, WEFT_SEC), 0);
    cr_assert_eq(weft_writer_flush(e.w), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_writer_write(e.w, e.text + size, RING), RING); /* moved to the front for it */
    cr_assert_eq(weft_writer_printf(e.w, "%.*s", 5000, e.text + size + RING), 5000);
    expect_some(&e, 0, RING);
    cr_assert_eq(weft_writer_flush(e.w), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_writer_buffered(e.w), 10000);
    expect_some(&e, RING, RING);
    cr_assert_eq(weft_writer_flush(e.w), 0);
    expect_some(&e, 2 * RING, 10000);
    close_ends(&e);
    return NULL;
}

WF_TEST_WORKERS(writer, an_interrupted_flush_keeps_what_has_not_gone_and_goes_on)
{
    run_paused(workers, interrupted_flush, NULL);
}

static void *flush_aborted(void *arg)
{
    ends *e = arg;
    cr_assert_eq(weft_writer_flush(e->w), WEFT_ECANCELED);
    return NULL;
}

static void *aborted(void *arg)
{
    ends e;
    (void)arg;
    overfill(&e, 2 * RING, RING + 1);
    weft_task *task = spawn_settled(flush_aborted, &e);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(weft_writer_buffered(e.w), 1);
    expect_some(&e, 0, RING);
    cr_assert_eq(weft_writer_flush(e.w), 0);
    expect_some(&e, RING, 1);
    close_ends(&e);
    return NULL;
}

WF_TEST_WORKERS(writer, who_is_aborted_in_a_flush_leaves_the_rest_to_the_next) { run_paused(workers, aborted, NULL); }

/* Who does not look at what writes return must not find the flush well when one of them is missing. */
static void *interrupted_write(void *arg)
{
    ends e;
    weft_scope scope;
    (void)arg;
    overfill(&e, RING + 100, RING + 100);
    cr_assert_eq(weft_scope_enter(&scope, WEFT_SEC), 0);
    cr_assert_eq(weft_writer_write(e.w, e.text + RING + 100, RING + 50), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_writer_buffered(e.w), 100); /* none of it was taken */
    expect_some(&e, 0, RING);
    cr_assert_eq(weft_writer_write(e.w, "x", 1), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_writer_flush(e.w), WEFT_ETIMEDOUT);
    close_ends(&e);

    overfill(&e, RING + 100, RING + 100);
    cr_assert_eq(weft_stream_set_timeouts(e.a, 0, WEFT_SEC), 0);
    cr_assert_eq(weft_writer_printf(e.w, "%.*s", RING + 50, e.text), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_writer_flush(e.w), WEFT_ETIMEDOUT);
    close_ends(&e);

    overfill(&e, 100, 60);
    cr_assert_eq(weft_stream_set_timeouts(e.a, 0, WEFT_SEC), 0);
    cr_assert_eq(weft_writer_write(e.w, e.text + 60, RING), WEFT_ETIMEDOUT); /* past the buffer: part of it has gone */
    cr_assert_eq(weft_writer_buffered(e.w), 0);
    cr_assert_eq(weft_writer_flush(e.w), WEFT_ETIMEDOUT);
    expect_some(&e, 0, RING);
    close_ends(&e);
    return NULL;
}

WF_TEST_WORKERS(writer, an_interrupted_write_is_kept_for_the_flush) { run_paused(workers, interrupted_write, NULL); }

typedef struct sipping {
    weft_stream *stream;
    int sips;
} sipping;

static void *sip(void *arg)
{
    sipping *s = arg;
    char *got = malloc(RING / 4);
    for (int i = 0; i < s->sips; i++) {
        cr_assert_eq(weft_sleep(70 * WEFT_MS), 0);
        cr_assert_eq(weft_read_exact(s->stream, got, RING / 4), RING / 4);
    }
    free(got);
    return NULL;
}

/* Each bit that goes renews the patience, which ends so long after the last one. */
static void *slowly(void *arg)
{
    ends e;
    weft_task *task;
    (void)arg;
    overfill(&e, 3 * RING, 3 * RING);
    cr_assert_eq(weft_stream_set_timeouts(e.a, 0, 100 * WEFT_MS), 0);
    sipping s = {e.b, 6};
    int64_t begun = weft_now();
    cr_assert_eq(weft_spawn(&task, sip, &s), 0);
    cr_assert_eq(weft_writer_flush(e.w), WEFT_ETIMEDOUT);
    int64_t took = weft_now() - begun;
    cr_assert_geq(took, 520 * WEFT_MS);
    cr_assert_lt(took, 560 * WEFT_MS);
    cr_assert_eq(weft_writer_buffered(e.w), RING / 2);
    cr_assert_eq(weft_join(task, NULL), 0);
    s.sips = 2;
    cr_assert_eq(weft_spawn(&task, sip, &s), 0);
    cr_assert_eq(weft_writer_flush(e.w), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    close_ends(&e);
    return NULL;
}

WF_TEST_WORKERS(writer, a_flush_that_moves_on_keeps_the_patience) { run_paused(workers, slowly, NULL); }

/* ---- failures -------------------------------------------------------------------------------------------------- */

static void *fails(void *arg)
{
    weft_stream *a, *b;
    (void)arg;
    memory_pair(&a, &b);
    weft_writer *w = writer_of(a, 0);
    cr_assert_eq(weft_writer_write(w, "abc", 3), 3);
    weft_close(b);
    cr_assert_eq(weft_writer_flush(w), WEFT_EPIPE);
    weft_stream_abort(a);
    cr_assert_eq(weft_writer_flush(w), WEFT_EPIPE); /* the first one stays */
    cr_assert_eq(weft_writer_write(w, "abc", 3), WEFT_EPIPE);
    cr_assert_eq(weft_writer_write(w, "", 0), WEFT_EPIPE);
    cr_assert_eq(weft_writer_printf(w, "x"), WEFT_EPIPE);
    weft_writer_free(w);
    w = writer_of(a, 2);
    cr_assert_eq(weft_writer_write(w, "abc", 3), WEFT_ECLOSED);
    weft_writer_free(w);
    weft_close(a);

    cr_assert_eq(weft_writer_create(NULL, a, 0), WEFT_EINVAL);
    cr_assert_eq(weft_writer_create(&w, NULL, 0), WEFT_EINVAL);
    cr_assert_null(w);
    cr_assert_eq(weft_writer_write(NULL, "a", 1), WEFT_EINVAL);
    cr_assert_eq(weft_writer_printf(NULL, "a"), WEFT_EINVAL);
    cr_assert_eq(weft_writer_flush(NULL), WEFT_EINVAL);
    cr_assert_eq(weft_writer_buffered(NULL), 0);
    weft_writer_free(NULL);
    return NULL;
}

WF_TEST_WORKERS(writer, the_first_failure_is_what_later_calls_return) { run(workers, fails, NULL); }

static void *aborted_meanwhile(void *arg)
{
    ends *e = arg;
    cr_assert_eq(weft_writer_flush(e->w), WEFT_ECLOSED);
    return NULL;
}

static void *aborted_stream(void *arg)
{
    ends e;
    (void)arg;
    overfill(&e, 2 * RING, 2 * RING);
    weft_task *task = spawn_settled(aborted_meanwhile, &e);
    cr_assert_eq(weft_write(e.a, "x", 1), WEFT_EBUSY);
    weft_stream_abort(e.a);
    cr_assert_eq(weft_join(task, NULL), 0);
    close_ends(&e);
    return NULL;
}

WF_TEST_WORKERS(writer, a_stream_that_is_aborted_says_so_to_who_flushes) { run_paused(workers, aborted_stream, NULL); }
