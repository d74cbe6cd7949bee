/* reader_test.c - reading by lines and records: whatever the pieces in which bytes come, the items are the same.
 *
 * Streams in memory under the paused clock, where who has slept knows that all others wait; and TCP, which knows its end before it is read. */
#include <support/chan_support.h>
#include <weft.h>

/* ---- helpers --------------------------------------------------------------------------------------------------- */

static void *nothing(void *arg) { return arg; }

static void memory_pair(weft_stream **a, weft_stream **b) { cr_assert_eq(weft_stream_pair(a, b), 0); }

static void tcp_pair(weft_stream **a, weft_stream **b)
{
    char text[WEFT_ADDR_TEXT];
    weft_listener *l;
    weft_addr addr;
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    cr_assert_eq(weft_tcp_connect(a, weft_addr_format(&addr, text, sizeof text), NULL), 0);
    cr_assert_eq(weft_accept(b, l), 0);
    weft_listener_close(l);
}

typedef void (*make_pair)(weft_stream **a, weft_stream **b);

static void put(weft_stream *s, const char *bytes, size_t size)
{
    cr_assert_eq(weft_write(s, bytes, size), (ssize_t)size);
}
static void puts_to(weft_stream *s, const char *text) { put(s, text, strlen(text)); }

static weft_reader *reader_of(weft_stream *s, size_t limit)
{
    weft_reader *r;
    cr_assert_eq(weft_reader_create(&r, s, limit), 0);
    cr_assert_not_null(r);
    return r;
}

static void expect_line(weft_reader *r, const char *text)
{
    char *line;
    size_t length;
    cr_assert_eq(weft_reader_line(r, &line, &length), 1);
    cr_assert_eq(length, strlen(text));
    cr_assert_str_eq(line, text);
}

static void expect_code(weft_reader *r, int code)
{
    char *line = (char *)(uintptr_t) "";
    size_t length = 7;
    cr_assert_eq(weft_reader_line(r, &line, &length), code);
    cr_assert_null(line);
    cr_assert_eq(length, 0);
}

/* ---- in whatever pieces ---------------------------------------------------------------------------------------- */

static const char split_text[] = "one\ntwo\r\n\n\r\nr\rn\r\r\n" /* four and two more */
                                 "the last\n";
static const char *const split_lines[] = {"one", "two", "", "", "r\rn\r", "the last"};

static void *expect_split_lines(void *arg)
{
    weft_reader *r = reader_of(arg, 0);
    for (size_t i = 0; i < sizeof split_lines / sizeof *split_lines; i++)
        expect_line(r, split_lines[i]);
    expect_code(r, 0);
    expect_code(r, 0); /* the end stays the end */
    return NULL;
}

static void *split_everywhere(void *arg)
{
    size_t size = sizeof split_text - 1;
    for (size_t at = 0; at <= size; at++) {
        weft_stream *a, *b;
        (*(make_pair *)arg)(&a, &b);
        weft_task *reading = spawn_settled(expect_split_lines, a);
        put(b, split_text, at);
        settle();
        put(b, split_text + at, size - at);
        settle();
        weft_close(b);
        cr_assert_eq(weft_join(reading, NULL), 0);
        weft_close(a);
    }
    return NULL;
}

WF_TEST_WORKERS(reader, lines_are_the_same_wherever_they_are_split)
{
    make_pair make = memory_pair;
    run_paused(workers, split_everywhere, &make);
}

WF_TEST_WORKERS(reader, lines_over_tcp_are_the_same_wherever_they_are_split)
{
    make_pair make = tcp_pair;
    run_paused(workers, split_everywhere, &make);
}

static void *byte_by_byte(void *arg)
{
    weft_stream *a, *b;
    (*(make_pair *)arg)(&a, &b);
    weft_task *reading = spawn_settled(expect_split_lines, a);
    for (size_t i = 0; i < sizeof split_text - 1; i++) {
        put(b, split_text + i, 1);
        settle();
    }
    weft_close(b);
    cr_assert_eq(weft_join(reading, NULL), 0);
    weft_close(a);
    return NULL;
}

WF_TEST_WORKERS(reader, one_byte_at_a_time_makes_the_same_lines)
{
    make_pair make = memory_pair;
    run_paused(workers, byte_by_byte, &make);
    make = tcp_pair;
    run_paused(workers, byte_by_byte, &make);
}

/* ---- against a model ------------------------------------------------------------------------------------------- */

typedef struct model {
    weft_stream *stream;
    weft_reader *reader;
    const char *text;
    size_t size, at, limit; /* at: taken so far */
    uint64_t chance;
} model;

/* Of few kinds, so that delimiters are begun and not finished, and lines are long and short. */
static void fill_text(char *text, size_t size, uint64_t *chance)
{
    static const char kinds[] = "aab\r\n\0a";
    for (size_t i = 0; i < size; i++)
        text[i] = kinds[test_random(chance) % (sizeof kinds - 1)];
}

static void *write_in_pieces(void *arg)
{
    model *m = arg;
    size_t most = 1 + test_random(&m->chance) % 40;
    for (size_t at = 0, n; at < m->size; at += n) {
        n = 1 + test_random(&m->chance) % most;
        n = n < m->size - at ? n : m->size - at;
        put(m->stream, m->text + at, n);
        if (test_random(&m->chance) % 4 == 0)
            cr_assert_eq(weft_yield(), 0);
    }
    weft_close(m->stream);
    return NULL;
}

static size_t left_of(const model *m) { return m->size - m->at; }

static int model_delimited(const model *m, const char *delimiter, size_t size, size_t *length)
{
    size_t window = left_of(m) < m->limit ? left_of(m) : m->limit;
    const char *from = m->text + m->at, *found = memmem(from, window, delimiter, size);
    *length = found ? (size_t)(found - from) + size : 0;
    return found ? 1 : size > m->limit || left_of(m) >= m->limit ? WEFT_EMSGSIZE : left_of(m) > 0 ? WEFT_EOF : 0;
}

static int model_sized(const model *m, size_t size)
{
    return size > m->limit ? WEFT_EMSGSIZE : left_of(m) >= size ? 1 : left_of(m) > 0 ? WEFT_EOF : 0;
}

static void take_line(model *m)
{
    char *line;
    size_t length, all;
    int expected = model_delimited(m, "\n", 1, &all);
    cr_assert_eq(weft_reader_line(m->reader, &line, &length), expected);
    if (expected != 1)
        return;
    cr_assert(length == all - 1 || (length == all - 2 && m->text[m->at + length] == '\r'));
    cr_assert(length == 0 || length == all - 2 || m->text[m->at + length - 1] != '\r');
    cr_assert_arr_eq(line, m->text + m->at, length);
    cr_assert_eq(line[length], 0);
    m->at += all;
}

static void take_until(model *m)
{
    static const char *const delimiters[] = {"b", "ab", "aab", "\r\n", "aaaaab", "\n\n"};
    const char *delimiter = delimiters[test_random(&m->chance) % 6];
    char *item;
    size_t length, all;
    int expected = model_delimited(m, delimiter, strlen(delimiter), &all);
    cr_assert_eq(weft_reader_until(m->reader, delimiter, strlen(delimiter), &item, &length), expected);
    if (expected != 1)
        return;
    cr_assert_eq(length, all);
    cr_assert_arr_eq(item, m->text + m->at, length);
    cr_assert_eq(item[length], 0);
    m->at += all;
}

static void take_exactly(model *m)
{
    size_t size = test_random(&m->chance) % (m->limit + 2);
    char *item;
    int expected = model_sized(m, size);
    cr_assert_eq(weft_reader_exact(m->reader, size, &item), expected);
    if (expected != 1)
        return;
    cr_assert_arr_eq(item, m->text + m->at, size);
    cr_assert_eq(item[size], 0);
    m->at += size;
}

/* What it sees it sees again, by whatever call; and taking some of it leaves the rest in sight. */
static void look_and_take(model *m)
{
    size_t size = test_random(&m->chance) % (m->limit + 2), available;
    char *data;
    int expected = model_sized(m, size);
    cr_assert_eq(weft_reader_peek(m->reader, size, &data, &available), expected);
    if (expected != 1)
        return;
    cr_assert_geq(available, size);
    cr_assert_eq(available, weft_reader_buffered(m->reader));
    cr_assert_arr_eq(data, m->text + m->at, available);
    cr_assert_eq(weft_reader_consume(m->reader, available + 1), WEFT_EINVAL);
    size_t taken = test_random(&m->chance) % (available + 1);
    cr_assert_eq(weft_reader_consume(m->reader, taken), 0);
    cr_assert_arr_eq(data, m->text + m->at, available);
    m->at += taken;
}

static void read_some(model *m)
{
    char bytes[9];
    struct iovec pieces[2] = {{bytes, 4}, {bytes + 4, 5}};
    weft_case readable = WEFT_READABLE(m->stream);
    cr_assert_eq(weft_select(&readable, 1), 0);
    ssize_t n = test_random(&m->chance) % 2 ? weft_read(m->stream, bytes, sizeof bytes) : weft_readv(m->stream, pieces, 2);
    cr_assert(n > 0 || (n == 0 && left_of(m) == 0));
    cr_assert_arr_eq(bytes, m->text + m->at, (size_t)n);
    m->at += (size_t)n;
}

static void read_exactly(model *m)
{
    char bytes[15];
    if (left_of(m) < sizeof bytes)
        return;
    cr_assert_eq(weft_read_exact(m->stream, bytes, sizeof bytes), 15);
    cr_assert_arr_eq(bytes, m->text + m->at, sizeof bytes);
    m->at += sizeof bytes;
}

/* What is too long, or has no end, is there to be had. */
static void take_what_is_there(model *m)
{
    size_t there = weft_reader_buffered(m->reader), n;
    if (there == 0)
        return;
    n = 1 + test_random(&m->chance) % there;
    cr_assert_eq(weft_reader_consume(m->reader, n), 0);
    m->at += n;
}

static void *follow_model(void *arg)
{
    static void (*const ways[])(model * m) = {take_line, take_line,    take_until,    take_until,        take_exactly,
                                              read_some, read_exactly, look_and_take, take_what_is_there};
    model *m = arg;
    m->reader = reader_of(m->stream, m->limit);
    size_t steps = 0;
    while (left_of(m) > 0) {
        ways[test_random(&m->chance) % (sizeof ways / sizeof *ways)](m);
        cr_assert_lt(steps++, 100 * m->size);
    }
    expect_code(m->reader, 0);
    return NULL;
}

typedef struct exhaustive {
    make_pair make;
    size_t size, limits[24];
} exhaustive;

static void follow(const exhaustive *e, size_t limit, uint64_t seed)
{
    model writes = {.size = e->size, .chance = seed}, reads = {.size = e->size, .limit = limit, .chance = ~seed};
    char *text = malloc(e->size);
    fill_text(text, e->size, &seed);
    reads.text = writes.text = text;
    e->make(&reads.stream, &writes.stream);
    weft_task *writing, *reading;
    cr_assert_eq(weft_spawn(&writing, write_in_pieces, &writes), 0);
    cr_assert_eq(weft_spawn(&reading, follow_model, &reads), 0);
    cr_assert_eq(weft_join(reading, NULL), 0);
    cr_assert_eq(weft_join(writing, NULL), 0);
    weft_close(reads.stream);
    free(text);
}

static void *follow_all(void *arg)
{
    exhaustive *e = arg;
    uint64_t seed = test_seed();
    printf("WF_TEST_SEED=%llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof e->limits / sizeof *e->limits && e->limits[i]; i++)
        follow(e, e->limits[i], test_random(&seed));
    return NULL;
}

/* More than a buffer, so that items cross its end. */
WF_TEST_WORKERS(reader, all_small_limits_do_as_the_model)
{
    exhaustive e = {.make = memory_pair, .size = 10000};
    for (size_t i = 0; i < 20; i++)
        e.limits[i] = i + 1;
    run(workers, follow_all, &e);
    e.make = tcp_pair;
    e.size = wf_test_scale(10000);
    run(workers, follow_all, &e);
}

WF_TEST_WORKERS(reader, limits_around_the_sizes_of_buffers_do_as_the_model)
{
    exhaustive e = {.make = memory_pair, .size = 100000, .limits = {4095, 4096, 4097, 8192, 20000}};
    run(workers, follow_all, &e);
}

static void *write_all(void *arg)
{
    model *m = arg;
    put(m->stream, m->text, m->size);
    weft_close(m->stream);
    return NULL;
}

/* A record of each size up to more than a buffer holds, with its size before it. */
static void *records(void *arg)
{
    enum { MOST = 9000, STEP = 7 };
    char *text = malloc((size_t)MOST * MOST / STEP), *line, *item;
    size_t size = 0;
    for (size_t n = 0; n < MOST; n += STEP) {
        size += (size_t)sprintf(text + size, "%zu\r\n", n);
        memset(text + size, 'a' + (int)(n % 26), n);
        size += n;
    }
    model out = {.text = text, .size = size};
    weft_stream *a;
    weft_task *writing;
    (*(make_pair *)arg)(&a, &out.stream);
    weft_reader *r = reader_of(a, 9000);
    cr_assert_eq(weft_spawn(&writing, write_all, &out), 0);
    for (size_t n = 0; n < MOST; n += STEP) {
        cr_assert_eq(weft_reader_line(r, &line, NULL), 1);
        cr_assert_eq(strtoul(line, NULL, 10), n);
        cr_assert_eq(weft_reader_exact(r, n, &item), 1);
        for (size_t i = 0; i < n; i++)
            cr_assert_eq(item[i], 'a' + (int)(n % 26));
        cr_assert_eq(item[n], 0);
    }
    expect_code(r, 0);
    cr_assert_eq(weft_join(writing, NULL), 0);
    weft_close(a);
    free(text);
    return NULL;
}

WF_TEST_WORKERS(reader, records_with_their_size_before_them_come_as_they_were_sent)
{
    make_pair make = memory_pair;
    run(workers, records, &make);
    make = tcp_pair;
    run(workers, records, &make);
}

/* ---- ends and limits ------------------------------------------------------------------------------------------- */

static void *end_inside(void *arg)
{
    weft_stream *a, *b;
    char *item, buf[8];
    size_t there;
    (*(make_pair *)arg)(&a, &b);
    weft_reader *r = reader_of(a, 16);
    puts_to(b, "whole\nhalf");
    weft_close(b);
    expect_line(r, "whole");
    expect_code(r, WEFT_EOF);
    expect_code(r, WEFT_EOF);
    cr_assert_eq(weft_reader_until(r, "lf\n", 3, &item, &there), WEFT_EOF);
    cr_assert_eq(weft_reader_exact(r, 5, &item), WEFT_EOF);
    cr_assert_eq(weft_reader_peek(r, 5, &item, &there), WEFT_EOF);
    cr_assert_null(item);
    cr_assert_eq(weft_reader_buffered(r), 4); /* what there is stays */
    cr_assert_eq(weft_reader_peek(r, 4, &item, &there), 1);
    cr_assert_eq(there, 4);
    cr_assert_arr_eq(item, "half", 4);
    cr_assert_eq(weft_read(a, buf, 2), 2);
    cr_assert_eq(weft_reader_exact(r, 2, &item), 1);
    cr_assert_str_eq(item, "lf");
    expect_code(r, 0);
    cr_assert_eq(weft_reader_peek(r, 1, &item, &there), 0);
    cr_assert_eq(weft_reader_peek(r, 0, &item, &there), 1);
    cr_assert_eq(there, 0);
    cr_assert_eq(weft_reader_exact(r, 0, &item), 1);
    cr_assert_str_eq(item, "");
    cr_assert_eq(weft_read(a, buf, sizeof buf), 0);
    weft_close(a);
    return NULL;
}

WF_TEST_WORKERS(reader, the_end_inside_an_item_leaves_what_there_is)
{
    make_pair make = memory_pair;
    run(workers, end_inside, &make);
    make = tcp_pair;
    run(workers, end_inside, &make);
}

/* The end may be known before, while or after the bytes before it are read: nobody waits for what will not come. */
static void *ends_at_any_moment(void *arg)
{
    size_t rounds = wf_test_scale(300);
    for (size_t i = 0; i < rounds; i++) {
        weft_stream *a, *b;
        tcp_pair(&a, &b);
        weft_task *reading;
        cr_assert_eq(weft_spawn(&reading, expect_split_lines, a), 0);
        if (i % 3 == 0)
            cr_assert_eq(weft_yield(), 0);
        put(b, split_text, i % (sizeof split_text - 1));
        if (i % 2 == 0)
            cr_assert_eq(weft_yield(), 0);
        put(b, split_text + i % (sizeof split_text - 1), sizeof split_text - 1 - i % (sizeof split_text - 1));
        weft_close(b);
        cr_assert_eq(weft_join(reading, NULL), 0);
        weft_close(a);
    }
    return arg;
}

WF_TEST_WORKERS(reader, an_end_that_comes_with_the_last_bytes_is_not_waited_for)
{
    run(workers, ends_at_any_moment, NULL);
}

static void *too_long(void *arg)
{
    weft_stream *a, *b;
    char *item, buf[16];
    size_t there;
    (void)arg;
    memory_pair(&a, &b);
    weft_reader *r = reader_of(a, 6);
    puts_to(b, "12345\n123456\nx\n");
    expect_line(r, "12345"); /* the limit, its end included */
    expect_code(r, WEFT_EMSGSIZE);
    expect_code(r, WEFT_EMSGSIZE);
    cr_assert_eq(weft_reader_until(r, "6\n", 2, &item, &there), WEFT_EMSGSIZE);
    cr_assert_eq(weft_reader_until(r, "1234567", 7, &item, &there), WEFT_EMSGSIZE);
    cr_assert_eq(weft_reader_exact(r, 7, &item), WEFT_EMSGSIZE);
    cr_assert_eq(weft_reader_peek(r, 7, &item, &there), WEFT_EMSGSIZE);
    cr_assert_null(item);
    cr_assert_eq(weft_reader_until(r, "6", 1, &item, &there), 1);
    cr_assert_str_eq(item, "123456");
    expect_line(r, "");
    puts_to(b, "7654321");
    expect_line(r, "x");
    expect_code(r, WEFT_EMSGSIZE);
    cr_assert_eq(weft_read(a, buf, sizeof buf), 7);
    cr_assert_arr_eq(buf, "7654321", 7);
    cr_assert_eq(weft_reader_until(r, "", 0, &item, &there), WEFT_EINVAL);
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(reader, what_is_too_long_stays_and_the_limit_counts_its_end) { run(workers, too_long, NULL); }

static void *zeros(void *arg)
{
    weft_stream *a, *b;
    char *item;
    size_t length;
    (void)arg;
    memory_pair(&a, &b);
    weft_reader *r = reader_of(a, 0);
    put(b, "a\0b\nc\0\0d\0e\0\0", 12);
    cr_assert_eq(weft_reader_line(r, &item, &length), 1);
    cr_assert_eq(length, 3);
    cr_assert_arr_eq(item, "a\0b\0", 4);
    cr_assert_eq(weft_reader_until(r, "\0d", 2, &item, &length), 1);
    cr_assert_eq(length, 4);
    cr_assert_arr_eq(item, "c\0\0d\0", 5); /* the zero is in the next one's place, which gets it back */
    cr_assert_eq(weft_reader_until(r, "\0\0", 2, &item, &length), 1);
    cr_assert_eq(length, 4);
    cr_assert_arr_eq(item, "\0e\0\0", 4);
    puts_to(b, "abcdef");
    cr_assert_eq(weft_reader_exact(r, 2, &item), 1);
    cr_assert_eq(weft_reader_consume(r, 1), 0); /* not a read: the item stays as it is */
    cr_assert_str_eq(item, "ab");
    cr_assert_eq(weft_reader_exact(r, 3, &item), 1);
    cr_assert_str_eq(item, "def");
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(reader, zero_bytes_are_bytes_like_others) { run(workers, zeros, NULL); }

/* ---- interruptions --------------------------------------------------------------------------------------------- */

static void *interrupted(void *arg)
{
    weft_stream *a, *b;
    char *item;
    (void)arg;
    memory_pair(&a, &b);
    weft_reader *r = reader_of(a, 0);
    puts_to(b, "be");
    for (int i = 0; i < 3; i++) {
        weft_scope scope;
        cr_assert_eq(weft_scope_enter(&scope, WEFT_SEC), 0);
        expect_code(r, WEFT_ETIMEDOUT);
        cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
        cr_assert_eq(weft_reader_buffered(r), 2 + (size_t)i);
        puts_to(b, "x");
    }
    cr_assert_eq(weft_stream_set_timeouts(a, WEFT_SEC, 0), 0);
    cr_assert_eq(weft_reader_exact(r, 6, &item), WEFT_ETIMEDOUT);
    puts_to(b, "gin\n");
    expect_line(r, "bexxxgin");
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(reader, an_interrupted_read_keeps_what_had_come_and_goes_on) { run_paused(workers, interrupted, NULL); }

static void *wait_for_line(void *r)
{
    expect_code(r, WEFT_ECANCELED);
    return NULL;
}

static void *aborted(void *arg)
{
    weft_stream *a, *b;
    (void)arg;
    memory_pair(&a, &b);
    weft_reader *r = reader_of(a, 0);
    puts_to(b, "be");
    weft_task *task = spawn_settled(wait_for_line, r);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    puts_to(b, "gin\n");
    expect_line(r, "begin");
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(reader, who_is_aborted_in_a_line_leaves_it_to_the_next) { run_paused(workers, aborted, NULL); }

typedef struct dripping {
    weft_stream *stream;
    const char *text;
} dripping;

static void *drip(void *arg)
{
    dripping *d = arg;
    for (const char *c = d->text; *c; c++) {
        cr_assert_eq(weft_sleep(70 * WEFT_MS), 0);
        put(d->stream, c, 1);
    }
    return NULL;
}

/* Each byte renews the patience: it ends so long after the last one. */
static void *slowly(void *arg)
{
    weft_stream *a, *b;
    weft_task *task;
    char bytes[20];
    (void)arg;
    memory_pair(&a, &b);
    weft_reader *r = reader_of(a, 0);
    cr_assert_eq(weft_stream_set_timeouts(a, 100 * WEFT_MS, 0), 0);
    dripping d = {b, "a slow line\nand then"};
    int64_t begun = weft_now();
    cr_assert_eq(weft_spawn(&task, drip, &d), 0);
    expect_line(r, "a slow line");
    expect_code(r, WEFT_ETIMEDOUT);
    int64_t took = weft_now() - begun, last = (int64_t)strlen(d.text) * 70 * WEFT_MS;
    cr_assert_geq(took, last + 100 * WEFT_MS);
    cr_assert_lt(took, last + 150 * WEFT_MS);
    cr_assert_eq(weft_join(task, NULL), 0);
    weft_reader_free(r);

    begun = weft_now();
    d.text = "slow again";
    cr_assert_eq(weft_spawn(&task, drip, &d), 0);
    cr_assert_eq(weft_read_exact(a, bytes, sizeof bytes), WEFT_ETIMEDOUT);
    took = weft_now() - begun, last = (int64_t)strlen(d.text) * 70 * WEFT_MS;
    cr_assert_geq(took, last + 100 * WEFT_MS);
    cr_assert_lt(took, last + 150 * WEFT_MS);
    cr_assert_eq(weft_join(task, NULL), 0);
    weft_close(a);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(reader, an_item_that_keeps_coming_keeps_the_patience) { run_paused(workers, slowly, NULL); }

/* ---- one at a time, and closed --------------------------------------------------------------------------------- */

static void *wait_for_begin(void *r)
{
    expect_line(r, "begin");
    return NULL;
}

static void *busy(void *arg)
{
    weft_stream *a, *b;
    weft_reader *other;
    char *item, buf[4];
    size_t length;
    (void)arg;
    memory_pair(&a, &b);
    weft_reader *r = reader_of(a, 0);
    cr_assert_eq(weft_reader_create(&other, a, 0), WEFT_EBUSY); /* it has one */
    cr_assert_null(other);
    puts_to(b, "be");
    weft_task *task = spawn_settled(wait_for_begin, r);
    expect_code(r, WEFT_EBUSY);
    cr_assert_eq(weft_reader_until(r, "\n", 1, &item, &length), WEFT_EBUSY);
    cr_assert_eq(weft_reader_exact(r, 1, &item), WEFT_EBUSY);
    cr_assert_eq(weft_reader_peek(r, 1, &item, &length), WEFT_EBUSY);
    cr_assert_eq(weft_reader_consume(r, 1), WEFT_EBUSY);
    cr_assert_eq(weft_read(a, buf, sizeof buf), WEFT_EBUSY);
    cr_assert_eq(weft_reader_create(&other, a, 0), WEFT_EBUSY);
    cr_assert_eq(weft_reader_buffered(r), 2);
    weft_reader_free(r); /* not while it is used: it goes with the stream */
    puts_to(b, "gin\n");
    cr_assert_eq(weft_join(task, NULL), 0);

    weft_reader_free(r);
    cr_assert_eq(weft_reader_create(&other, b, 0), 0);
    weft_reader_free(other);
    r = reader_of(a, 0);
    puts_to(b, "1\nlost");
    expect_line(r, "1");
    cr_assert_eq(weft_reader_buffered(r), 4);
    weft_reader_free(r);
    puts_to(b, "2\n");
    r = reader_of(a, 0);
    expect_line(r, "2");
    weft_close(a); /* and the reader with it */
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(reader, a_second_one_is_told_busy_and_disturbs_nobody) { run_paused(workers, busy, NULL); }

static void *wait_until_closed(void *r)
{
    expect_code(r, WEFT_ECLOSED);
    return NULL;
}

static void *closed(void *arg)
{
    weft_stream *a, *b;
    weft_reader *other;
    char *item;
    size_t length;
    (*(make_pair *)arg)(&a, &b);
    weft_reader *r = reader_of(a, 0);
    puts_to(b, "x\nhalf");
    expect_line(r, "x");
    weft_task *task = spawn_settled(wait_until_closed, r);
    weft_stream_abort(a);
    cr_assert_eq(weft_join(task, NULL), 0);
    expect_code(r, WEFT_ECLOSED);
    cr_assert_eq(weft_reader_until(r, "\n", 1, &item, &length), WEFT_ECLOSED);
    cr_assert_eq(weft_reader_exact(r, 1, &item), WEFT_ECLOSED);
    cr_assert_eq(weft_reader_peek(r, 1, &item, &length), WEFT_ECLOSED);
    cr_assert_eq(weft_reader_consume(r, 1), WEFT_ECLOSED);
    cr_assert_eq(weft_reader_create(&other, a, 0), WEFT_ECLOSED);
    weft_reader_free(r);
    weft_close(a);
    weft_close(b);

    (*(make_pair *)arg)(&a, &b); /* the last close, while somebody waits: the reader goes under the reading hands */
    puts_to(b, "half");
    task = spawn_settled(wait_until_closed, reader_of(a, 0));
    weft_close(a);
    cr_assert_eq(weft_join(task, NULL), 0);
    weft_close(b);
    return NULL;
}

WF_TEST_WORKERS(reader, a_stream_that_is_closed_says_so_to_who_waits_and_who_comes)
{
    make_pair make = memory_pair;
    run_paused(workers, closed, &make);
    make = tcp_pair;
    run_paused(workers, closed, &make);
}

static void *makes_no_sense(void *arg)
{
    weft_stream *a, *b;
    weft_reader *r;
    char *item;
    size_t length;
    (void)arg;
    tcp_pair(&a, &b);
    cr_assert_eq(weft_reader_create(NULL, a, 0), WEFT_EINVAL);
    cr_assert_eq(weft_reader_create(&r, NULL, 0), WEFT_EINVAL);
    cr_assert_null(r);
    cr_assert_eq(weft_reader_create(&r, a, SIZE_MAX), WEFT_EINVAL);
    cr_assert_eq(weft_reader_line(NULL, &item, &length), WEFT_EINVAL);
    cr_assert_eq(weft_reader_exact(NULL, 1, &item), WEFT_EINVAL);
    cr_assert_eq(weft_reader_peek(NULL, 1, &item, &length), WEFT_EINVAL);
    cr_assert_eq(weft_reader_consume(NULL, 0), WEFT_EINVAL);
    cr_assert_eq(weft_reader_buffered(NULL), 0);
    weft_reader_free(NULL);
    r = reader_of(a, 0);
    cr_assert_eq(weft_reader_line(r, NULL, &length), WEFT_EINVAL);
    cr_assert_eq(weft_reader_until(r, NULL, 1, &item, &length), WEFT_EINVAL);

    puts_to(b, "1\n2\n"); /* with bytes in its reader it is not given up */
    expect_line(r, "1");
    cr_assert_eq(weft_stream_release(a), WEFT_EBUSY);
    expect_line(r, "2");
    weft_close(a);
    weft_close(b);
    return NULL;
}

Test(reader, what_makes_no_sense_is_refused) { run(1, makes_no_sense, nothing(NULL)); }

/* ---- ordinary threads ------------------------------------------------------------------------------------------ */

static weft_stream *from_thread;

static void *read_in_thread(void *arg)
{
    expect_split_lines(from_thread);
    return arg;
}

static void *write_split_text(void *arg)
{
    put(arg, split_text, 7);
    cr_assert_eq(weft_sleep(WEFT_MS), 0);
    put(arg, split_text + 7, sizeof split_text - 8);
    weft_close(arg);
    return NULL;
}

WF_TEST_WORKERS(reader, ordinary_threads_read_lines_too)
{
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    weft_stream *b;
    weft_task *writing;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_runtime_enter(rt), 0);
    memory_pair(&from_thread, &b);
    cr_assert_eq(weft_spawn(&writing, write_split_text, b), 0);
    in_threads(1, read_in_thread, NULL);
    cr_assert_eq(weft_join(writing, NULL), 0);
    weft_close(from_thread);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}
