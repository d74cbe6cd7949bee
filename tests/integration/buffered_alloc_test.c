/* buffered_alloc_test.c - the memory of buffered reading and writing: none while a connection idles, and running out of it loses nothing.
 *
 * malloc is interposed here. Sanitizers bring a malloc of their own: then everything is skipped. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <support/test.h>
#include <weft.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INTERPOSED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INTERPOSED 0
#endif
#endif
#ifndef INTERPOSED
#define INTERPOSED 1
#endif

#if INTERPOSED
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void __libc_free(void *block);

/* Only weft's own while armed, by one worker. This program links weft statically. */
extern char __executable_start, etext;
enum { BUFFER = 4000, MOST = 64 };
static atomic_bool armed;
static long asked, fail_at = -1; /* allocations so far; the one that fails */
static void *buffers[MOST];      /* blocks of BUFFER bytes and more */

static bool counts(const void *caller)
{
    return atomic_load(&armed) && (const char *)caller >= &__executable_start && (const char *)caller < &etext;
}

static void replace(void *from, void *to)
{
    for (int i = 0; i < MOST; i++)
        if (buffers[i] == from) {
            buffers[i] = to;
            return;
        }
}

static int live_buffers(void)
{
    int n = 0;
    for (int i = 0; i < MOST; i++)
        n += buffers[i] != NULL;
    return n;
}

static void *allocate(void *old, size_t size, const void *caller)
{
    bool ours = counts(caller);
    if (ours && asked++ == fail_at)
        return NULL;
    void *block = old ? __libc_realloc(old, size) : __libc_malloc(size);
    if (ours && old)
        replace(old, NULL);
    if (ours && size >= BUFFER)
        replace(NULL, block);
    return block;
}

void *malloc(size_t size) { return allocate(NULL, size, __builtin_return_address(0)); }
void *realloc(void *block, size_t size) { return allocate(block, size, __builtin_return_address(0)); }
void *calloc(size_t n, size_t size)
{
    return counts(__builtin_return_address(0)) && asked++ == fail_at ? NULL : __libc_calloc(n, size);
}
void free(void *block)
{
    if (block && counts(__builtin_return_address(0)))
        replace(block, NULL);
    __libc_free(block);
}

static void arm(long n)
{
    asked = 0;
    fail_at = n;
    atomic_store(&armed, true);
}

static void put(weft_stream *s, const char *text)
{
    cr_assert_eq(weft_write(s, text, strlen(text)), (ssize_t)strlen(text));
}

/* ---- while it idles -------------------------------------------------------------------------------------------- */

static void *expect_a_line(void *r)
{
    char *line;
    cr_assert_eq(weft_reader_line(r, &line, NULL), 1);
    cr_assert_str_eq(line, "line");
    return NULL;
}

static void *read_some(void *s)
{
    char buf[5];
    cr_assert_eq(weft_read(s, buf, sizeof buf), 5);
    return NULL;
}

/* The clock stands still until everybody waits. */
static weft_task *waiting(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    cr_assert_eq(weft_sleep(WEFT_MS), 0);
    return task;
}

static void *idles(void *arg)
{
    weft_stream *a, *b;
    weft_reader *r;
    weft_writer *w;
    (void)arg;
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    cr_assert_eq(weft_reader_create(&r, a, 0), 0);
    cr_assert_eq(weft_writer_create(&w, b, 0), 0);
    arm(-1);
    for (int i = 0; i < 3; i++) {
        weft_task *task = waiting(expect_a_line, r);
        cr_assert_eq(live_buffers(), 0); /* in vain it waits without one */
        cr_assert_eq(weft_writer_write(w, "line\nli", 7), 7);
        cr_assert_eq(live_buffers(), 1);
        cr_assert_eq(weft_writer_flush(w), 0);
        cr_assert_eq(weft_join(task, NULL), 0);
        cr_assert_eq(live_buffers(), 1); /* the reader's, which holds the line and half a line */
        task = waiting(expect_a_line, r);
        cr_assert_eq(live_buffers(), 1);
        put(b, "ne\n");
        cr_assert_eq(weft_join(task, NULL), 0);
        task = waiting(read_some, a);
        cr_assert_eq(live_buffers(), 0); /* any read that waits gives it back */
        put(b, "bytes");
        cr_assert_eq(weft_join(task, NULL), 0);
        cr_assert_eq(live_buffers(), 0);
    }
    put(b, "line\n");
    expect_a_line(r);
    cr_assert_eq(live_buffers(), 1);
    weft_close(a);
    cr_assert_eq(live_buffers(), 0);
    cr_assert_eq(weft_writer_write(w, "x", 1), 1);
    weft_writer_free(w);
    cr_assert_eq(live_buffers(), 0);
    atomic_store(&armed, false);
    weft_close(b);
    return NULL;
}

typedef struct copying {
    weft_stream *dst, *src;
} copying;

static void *copy_all(void *arg)
{
    copying *c = arg;
    cr_assert_eq(weft_copy(c->dst, c->src), 8);
    return NULL;
}

/* A copy that waits has no buffer, and the reader that it has emptied neither. */
static void *copies(void *arg)
{
    weft_stream *a, *b, *from, *to;
    weft_reader *r;
    char got[8];
    (void)arg;
    cr_assert_eq(weft_stream_pair(&a, &from), 0);
    cr_assert_eq(weft_stream_pair(&to, &b), 0);
    cr_assert_eq(weft_reader_create(&r, from, 0), 0);
    arm(-1);
    put(a, "line\nrest");
    expect_a_line(r);
    cr_assert_eq(live_buffers(), 1);
    weft_task *task = waiting(copy_all, &(copying){to, from});
    cr_assert_eq(live_buffers(), 0);
    put(a, "more");
    cr_assert_eq(weft_read_exact(b, got, 8), 8);
    cr_assert_eq(live_buffers(), 0);
    weft_close(a);
    cr_assert_eq(weft_join(task, NULL), 0);
    atomic_store(&armed, false);
    weft_close(b);
    weft_close(from);
    weft_close(to);
    return NULL;
}

/* ---- out of memory --------------------------------------------------------------------------------------------- */

enum { LONG = 20000 };

/* All of it is a line of 4 bytes and one of LONG, to a reader whose buffer has to grow; again what failed for want of memory. */
static int step(weft_stream *a, weft_stream *b, weft_reader **r, weft_writer **w, int *done)
{
    static char text[LONG + 1];
    char *line;
    size_t length;
    int err;
    memset(text, 'x', LONG);
    switch (*done) {
    case 0:
        return weft_reader_create(r, a, LONG + 1);
    case 1:
        return weft_writer_create(w, b, 0);
    case 2: /* without a buffer it writes through */
        return weft_writer_write(*w, "line\n", 5) == 5 ? 0 : -1;
    case 3:
        return weft_writer_flush(*w);
    case 4:
        cr_assert_eq(weft_write(b, text, LONG), LONG);
        return 0;
    case 5:
        cr_assert_eq(weft_write(b, "\n", 1), 1);
        return 0;
    case 6:
        err = weft_reader_line(*r, &line, &length);
        cr_assert(err != 1 || strcmp(line, "line") == 0);
        return err;
    case 7:
        err = weft_reader_line(*r, &line, &length);
        cr_assert(err != 1 || (length == LONG && memcmp(line, text, LONG) == 0));
        return err;
    default:
        return weft_writer_printf(*w, "%s", text) == LONG ? 0 : WEFT_ENOMEM;
    }
}

static void *without_memory(void *arg)
{
    int failures = 0, before = -1;
    (void)arg;
    for (long n = 0; failures != before; n++) {
        weft_stream *a, *b;
        weft_reader *r = NULL;
        weft_writer *w = NULL;
        before = failures;
        cr_assert_eq(weft_stream_pair(&a, &b), 0);
        arm(n);
        for (int done = 0; done < 9; done++) {
            int err = step(a, b, &r, &w, &done);
            if (asked > fail_at && failures == before)
                failures++;
            if (err >= 0)
                continue;
            cr_assert_eq(err, WEFT_ENOMEM);
            cr_assert(done > 0 || !r);
            cr_assert(done != 1 || !w);
            if (done == 8) {
                cr_assert_eq(weft_writer_flush(w), WEFT_ENOMEM); /* there would be a gap */
                break;
            }
            cr_assert_geq(step(a, b, &r, &w, &done), 0); /* nothing was lost */
        }
        weft_writer_free(w);
        weft_close(a);
        weft_close(b);
        cr_assert_eq(live_buffers(), 0);
        atomic_store(&armed, false);
    }
    cr_assert_geq(failures, 6);
    return NULL;
}

/* A copy that fails has given all that it took: another goes on. */
static void *copy_without_memory(void *arg)
{
    int failures = 0, before = -1;
    (void)arg;
    for (long n = 0; failures != before; n++) {
        weft_stream *a, *b, *from, *to;
        weft_reader *r;
        char got[9];
        before = failures;
        cr_assert_eq(weft_stream_pair(&a, &from), 0);
        cr_assert_eq(weft_stream_pair(&to, &b), 0);
        cr_assert_eq(weft_reader_create(&r, from, 0), 0);
        put(a, "line\nrest");
        expect_a_line(r);
        put(a, "more");
        weft_close(a);
        arm(n);
        int64_t moved = weft_copy(to, from);
        atomic_store(&armed, false);
        failures += moved < 0;
        cr_assert(moved == 8 || (moved == WEFT_ENOMEM && weft_copy(to, from) >= 0));
        weft_close(to);
        cr_assert_eq(weft_read_exact(b, got, 8), 8);
        cr_assert_arr_eq(got, "restmore", 8);
        weft_close(b);
        weft_close(from);
    }
    cr_assert_geq(failures, 1);
    return NULL;
}
#endif

Test(buffered_alloc, a_connection_that_idles_has_no_buffers)
{
#if INTERPOSED
    if (WF_TEST_SANITIZED) /* valgrind */
        cr_skip_test("valgrind has a malloc of its own");
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, idles, NULL, NULL), 0);
#else
    cr_skip_test("the sanitizer has a malloc of its own");
#endif
}

Test(buffered_alloc, a_copy_that_waits_has_no_buffers)
{
#if INTERPOSED
    if (WF_TEST_SANITIZED)
        cr_skip_test("valgrind has a malloc of its own");
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, copies, NULL, NULL), 0);
#else
    cr_skip_test("the sanitizer has a malloc of its own");
#endif
}

Test(buffered_alloc, a_copy_out_of_memory_loses_nothing)
{
#if INTERPOSED
    if (WF_TEST_SANITIZED)
        cr_skip_test("valgrind has a malloc of its own");
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, copy_without_memory, NULL, NULL), 0);
#else
    cr_skip_test("the sanitizer has a malloc of its own");
#endif
}

Test(buffered_alloc, out_of_memory_nothing_is_lost_and_the_next_call_goes_on)
{
#if INTERPOSED
    if (WF_TEST_SANITIZED)
        cr_skip_test("valgrind has a malloc of its own");
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, without_memory, NULL, NULL), 0);
#else
    cr_skip_test("the sanitizer has a malloc of its own");
#endif
}
