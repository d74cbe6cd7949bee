/* alloc_test.c - memory: none is asked for on the steady path, and running out of it is survived.
 *
 * malloc is interposed here, so this program counts and fails what weft asks for. Sanitizers bring a malloc of their own: then everything here is skipped. */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <support/test.h>
#include <sys/socket.h>
#include <unistd.h>
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
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_realloc(void *block, size_t size);

static atomic_long asked, fail_at = -1; /* allocations so far while armed; the one that fails */
static atomic_bool armed;

/* Only weft's own: libuv 1.44 aborts the process when some of its allocations fail. This program links weft statically. */
extern char __executable_start, etext;

static bool refuse(const void *caller)
{
    if ((const char *)caller < &__executable_start || (const char *)caller >= &etext)
        return false;
    if (!atomic_load_explicit(&armed, memory_order_relaxed))
        return false;
    long n = atomic_fetch_add(&asked, 1);
    return n == atomic_load(&fail_at);
}

void *malloc(size_t size) { return refuse(__builtin_return_address(0)) ? NULL : __libc_malloc(size); }
void *aligned_alloc(size_t alignment, size_t size)
{
    return refuse(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}
void *calloc(size_t n, size_t size) { return refuse(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size); }
void *realloc(void *block, size_t size)
{
    return refuse(__builtin_return_address(0)) ? NULL : __libc_realloc(block, size);
}
#endif

#if INTERPOSED
static void arm(long n)
{
    atomic_store(&asked, 0);
    atomic_store(&fail_at, n);
    atomic_store(&armed, true);
}

static long disarm(void)
{
    atomic_store(&armed, false);
    return atomic_load(&asked);
}

static void *echo(void *arg)
{
    char buf[512];
    ssize_t n;
    while ((n = weft_read(arg, buf, sizeof buf)) > 0)
        if (weft_write(arg, buf, (size_t)n) < 0)
            break;
    weft_close(arg);
    return NULL;
}

static void *identity(void *arg) { return arg; }

/* Warm first: stacks, headers and places are made once. */
static void *steady(void *arg)
{
    int fds[2];
    weft_stream *a, *b;
    weft_task *server, *task;
    char byte = 'x';
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    cr_assert_eq(weft_stream_from_fd(&a, fds[0]), 0);
    cr_assert_eq(weft_stream_from_fd(&b, fds[1]), 0);
    cr_assert_eq(weft_spawn(&server, echo, b), 0);
    for (int i = 0; i < 2000; i++) {
        if (i == 1000)
            arm(-1);
        cr_assert_eq(weft_write(a, &byte, 1), 1);
        cr_assert_eq(weft_read(a, &byte, 1), 1);
        cr_assert_eq(weft_spawn(&task, identity, arg), 0);
        cr_assert_eq(weft_join(task, NULL), 0);
        cr_assert_eq(weft_sleep(1), 0);
    }
    long n = disarm();
    cr_assert_eq(n, 0, "%ld allocations for 1000 echoes, tasks and sleeps", n);
    weft_close(a);
    cr_assert_eq(weft_join(server, NULL), 0);
    return NULL;
}

static atomic_int dropped;
static void drop(void *arg)
{
    (void)arg;
    dropped++;
}

/* Every allocation of a spawn with everything fails in turn: an error, the argument still the caller's, and the next works. */
static void *spawn_without_memory(void *arg)
{
    static const char bytes[64] = "copied";
    weft_spawn_options options = {.name = "n", .drop_arg = drop, .drop_result = drop, .copy_arg = sizeof bytes};
    weft_task *task;
    void *result;
    int failures = 0, err = -1;
    (void)arg;
    for (long n = 0; err < 0; n++) {
        arm(n);
        err = weft_spawn_with(&task, &options, identity, (void *)(uintptr_t)bytes);
        disarm();
        if (err < 0) {
            cr_assert_eq(err, WEFT_ENOMEM);
            cr_assert_null(task);
            failures++;
        }
    }
    cr_assert_geq(failures, 2, "its side block and its copy");
    cr_assert_eq(dropped, 0);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_not_null(result);
    cr_assert_eq(dropped, 0, "it was taken");
    return NULL;
}

static unsigned open_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += lseek(fd, 0, SEEK_CUR) >= 0 || errno != EBADF;
    return n;
}

/* A socket that cannot be had, and then one that sends and receives without asking for more. */
static void *datagrams(void *arg)
{
    weft_udp *u;
    weft_addr name, from;
    char byte = 'x';
    int failures = 0, err = -1;
    unsigned before = open_fds();
    (void)arg;
    for (long n = 0; err < 0; n++) {
        arm(n);
        err = weft_udp_bind(&u, "127.0.0.1:0", NULL);
        disarm();
        if (err < 0) {
            cr_assert_eq(err, WEFT_ENOMEM);
            cr_assert_null(u);
            cr_assert_eq(open_fds(), before);
            failures++;
        }
    }
    cr_assert_geq(failures, 2, "its turns and its place");
    cr_assert_eq(weft_udp_local(u, &name), 0);
    for (int i = 0; i < 2000; i++) {
        weft_datagram d = {.data = &byte, .size = 1, .address = name};
        if (i == 1000)
            arm(-1);
        cr_assert_eq(weft_udp_send(u, &byte, 1, &name), 1);
        cr_assert_eq(weft_udp_send_batch(u, &d, 1), 1);
        cr_assert_eq(weft_udp_recv(u, &byte, 1, &from), 1);
        cr_assert_eq(weft_udp_recv_batch(u, &d, 1), 1);
    }
    long n = disarm();
    cr_assert_eq(n, 0, "%ld allocations for 2000 datagrams", n);
    weft_udp_close(u);
    return NULL;
}
#endif

WF_TEST_WORKERS(alloc, datagrams_ask_for_no_memory_and_a_socket_without_leaves_nothing)
{
#if INTERPOSED
    if (WF_TEST_SANITIZED)
        cr_skip_test("valgrind has a malloc of its own");
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_run_with(&options, datagrams, NULL, NULL), 0);
#else
    (void)workers;
    cr_skip_test("the sanitizer has a malloc of its own");
#endif
}

WF_TEST_WORKERS(alloc, the_steady_path_asks_for_no_memory)
{
#if INTERPOSED
    if (WF_TEST_SANITIZED) /* valgrind */
        cr_skip_test("valgrind has a malloc of its own");
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_run_with(&options, steady, NULL, NULL), 0);
#else
    (void)workers;
    cr_skip_test("the sanitizer has a malloc of its own");
#endif
}

WF_TEST_WORKERS(alloc, a_spawn_that_runs_out_of_memory_leaves_its_argument)
{
#if INTERPOSED
    if (WF_TEST_SANITIZED)
        cr_skip_test("valgrind has a malloc of its own");
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_run_with(&options, spawn_without_memory, NULL, NULL), 0);
#else
    (void)workers;
    cr_skip_test("the sanitizer has a malloc of its own");
#endif
}

/* Each allocation of a whole start fails in turn: an error and nothing left, until it gets through. */
WF_TEST_WORKERS(alloc, a_runtime_that_cannot_be_made_leaves_nothing)
{
#if INTERPOSED
    if (WF_TEST_SANITIZED)
        cr_skip_test("valgrind has a malloc of its own");
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0); /* libuv keeps a pipe from the first loop on */
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    unsigned before = open_fds();
    int failures = 0, err = -1;
    for (long n = 0; err < 0; n++) {
        arm(n);
        err = weft_runtime_create(&rt, &options);
        disarm();
        if (err < 0) {
            cr_assert_null(rt);
            cr_assert_eq(open_fds(), before, "allocation %ld", n);
            failures++;
        } else {
            cr_assert_eq(weft_runtime_destroy(rt), 0);
        }
        cr_assert_lt(n, 10000);
    }
    cr_assert_geq(failures, 3);
    cr_assert_eq(open_fds(), before);
#else
    (void)workers;
    cr_skip_test("the sanitizer has a malloc of its own");
#endif
}
