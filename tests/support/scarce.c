/* scarce.c - see scarce.h. */
#include "scarce.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <support/process.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>
#include <weft.h>

/* ---- the plan -------------------------------------------------------------------------------------------------- */

typedef enum scarce_mode { COUNT, ONE, ALL } scarce_mode; /* refuse none, the n-th, all from the n-th on */

enum { LONGEST = 100 }; /* "all" ends some time: what cannot fail waits for that */

static atomic_bool armed; /* requests of all threads count */
static atomic_uint asked, refused;
static _Thread_local bool watched; /* those of this thread are noticed */
static _Thread_local unsigned noticed;
static scarce_mode mode; /* these change between two windows only */
static unsigned nth;
static const char *scene_name;
static int talks; /* SCARCE_LOG, by hand. 1: a line for each scene; 2: one for each request */

/* @what asks for something, called from @caller. */
static bool refuse(const char *what, const void *caller)
{
    noticed += watched;
    if (!atomic_load_explicit(&armed, memory_order_relaxed))
        return false;
    unsigned n = atomic_fetch_add(&asked, 1) + 1;
    bool hit = mode == ONE ? n == nth : mode == ALL && n >= nth && n < nth + LONGEST;
    if (hit)
        atomic_fetch_add(&refused, 1);
    if (talks > 1)
        fprintf(stderr, "  %u %s from %p%s\n", n, what, caller, hit ? " refused" : "");
    if (hit)
        errno = ENOMEM;
    return hit;
}

#define REFUSED(what) refuse(what, __builtin_return_address(0))

static int with_errno(int number)
{
    errno = number;
    return -1;
}

/* ---- blocks and maps that are held ------------------------------------------------------------------------------ */

enum { PLACES = 1 << 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    void *block; /* NULL: a free place */
    const void *caller;
    unsigned pass;
} held[PLACES];              /* under lock, open addressing */
static size_t blocks;        /* under lock */
static atomic_long maps;     /* bytes */
static unsigned pass_number; /* changes while nobody allocates */

static size_t place_of(const void *block) { return ((uintptr_t)block >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 48; }

static void *note(void *block, const void *caller)
{
    if (!block)
        return NULL;
    pthread_mutex_lock(&lock);
    size_t at = place_of(block);
    while (held[at].block)
        at = (at + 1) % PLACES;
    held[at].block = block;
    held[at].caller = caller;
    held[at].pass = pass_number;
    if (++blocks > PLACES / 2)
        abort();
    pthread_mutex_unlock(&lock);
    return block;
}

/* What lies behind a place that is free now moves up, if it may: searches end at a free place. */
static void close_up(size_t at)
{
    for (size_t next = (at + 1) % PLACES; held[next].block; next = (next + 1) % PLACES) {
        size_t from_home = (next - place_of(held[next].block)) % PLACES;
        if (from_home < (next - at) % PLACES)
            continue;
        held[at] = held[next];
        at = next;
    }
    held[at].block = NULL;
}

/* Before it is freed: afterwards it may be somebody else's. */
static void forget(const void *block)
{
    if (!block)
        return;
    pthread_mutex_lock(&lock);
    size_t at = place_of(block);
    while (held[at].block && held[at].block != block)
        at = (at + 1) % PLACES;
    if (held[at].block) {
        blocks--;
        close_up(at);
    }
    pthread_mutex_unlock(&lock);
}

/* Who asked for one that this pass has left. */
static const void *whose(void)
{
    const void *caller = NULL;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < PLACES; i++)
        if (held[i].block && held[i].pass == pass_number)
            caller = held[i].caller;
    pthread_mutex_unlock(&lock);
    return caller;
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

#define WRAPPED(type, name, ...)     \
    type __real_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__)
#define HERE __builtin_return_address(0)

WRAPPED(void *, malloc, size_t size) { return REFUSED("malloc") ? NULL : note(__real_malloc(size), HERE); }
WRAPPED(void *, calloc, size_t n, size_t size) { return REFUSED("calloc") ? NULL : note(__real_calloc(n, size), HERE); }
WRAPPED(void *, aligned_alloc, size_t alignment, size_t size)
{
    return REFUSED("aligned_alloc") ? NULL : note(__real_aligned_alloc(alignment, size), HERE);
}
WRAPPED(char *, strdup, const char *text) { return REFUSED("strdup") ? NULL : note(__real_strdup(text), HERE); }
WRAPPED(char *, realpath, const char *path, char *out)
{
    return REFUSED("realpath") ? NULL : note(__real_realpath(path, out), HERE);
}
WRAPPED(void *, realloc, void *block, size_t size)
{
    if (REFUSED("realloc"))
        return NULL;
    forget(block);
    return note(__real_realloc(block, size), HERE);
}
WRAPPED(void, free, void *block)
{
    forget(block);
    __real_free(block);
}

WRAPPED(void *, mmap, void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (REFUSED("mmap"))
        return MAP_FAILED;
    void *map = __real_mmap(at, size, protection, flags, fd, offset);
    maps += map != MAP_FAILED ? (long)size : 0;
    return map;
}
WRAPPED(int, munmap, void *at, size_t size)
{
    maps -= (long)size;
    return __real_munmap(at, size);
}
WRAPPED(int, mprotect, void *at, size_t size, int protection)
{
    return REFUSED("mprotect") ? with_errno(ENOMEM) : __real_mprotect(at, size, protection);
}
/* MADV_DONTNEED gives back; but it can fail. */
WRAPPED(int, madvise, void *at, size_t size, int advice)
{
    bool gives = advice == MADV_DONTNEED;
    if ((gives && watched) || !REFUSED("madvise"))
        return __real_madvise(at, size, advice);
    return with_errno(gives ? EINVAL : ENOMEM);
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

WRAPPED(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes, void *(*fn)(void *), void *arg)
{
    return REFUSED("pthread_create") ? EAGAIN : __real_pthread_create(thread, attributes, fn, arg);
}
WRAPPED(int, pthread_setspecific, pthread_key_t key, const void *value)
{
    return REFUSED("pthread_setspecific") ? ENOMEM : __real_pthread_setspecific(key, value);
}

/* ---- descriptors ------------------------------------------------------------------------------------------------- */

WRAPPED(int, epoll_create1, int flags)
{
    return REFUSED("epoll_create1") ? with_errno(EMFILE) : __real_epoll_create1(flags);
}
WRAPPED(int, epoll_ctl, int set, int what, int fd, struct epoll_event *event)
{
    bool no = what == EPOLL_CTL_ADD && REFUSED("epoll_ctl");
    return no ? with_errno(ENOMEM) : __real_epoll_ctl(set, what, fd, event);
}
WRAPPED(int, eventfd, unsigned value, int flags)
{
    return REFUSED("eventfd") ? with_errno(EMFILE) : __real_eventfd(value, flags);
}
WRAPPED(int, pipe2, int *fds, int flags) { return REFUSED("pipe2") ? with_errno(EMFILE) : __real_pipe2(fds, flags); }
WRAPPED(int, socket, int family, int type, int protocol)
{
    return REFUSED("socket") ? with_errno(EMFILE) : __real_socket(family, type, protocol);
}
WRAPPED(int, socketpair, int family, int type, int protocol, int *fds)
{
    return REFUSED("socketpair") ? with_errno(EMFILE) : __real_socketpair(family, type, protocol, fds);
}
WRAPPED(int, accept4, int fd, struct sockaddr *sa, socklen_t *length, int flags)
{
    return REFUSED("accept4") ? with_errno(EMFILE) : __real_accept4(fd, sa, length, flags);
}
WRAPPED(int, mkostemp, char *name, int flags)
{
    return REFUSED("mkostemp") ? with_errno(EMFILE) : __real_mkostemp(name, flags);
}
WRAPPED(DIR *, opendir, const char *path)
{
    if (!REFUSED("opendir"))
        return __real_opendir(path);
    errno = EMFILE;
    return NULL;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    unsigned mode_ = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, unsigned) : 0;
    va_end(args);
    return REFUSED("open") ? with_errno(EMFILE) : __real_open(path, flags, mode_);
}

/* Its third argument is a word, whatever the command. */
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    bool no = command == F_DUPFD_CLOEXEC && REFUSED("fcntl");
    return no ? with_errno(EMFILE) : __real_fcntl(fd, command, arg);
}

/* ---- libuv, and the name server ----------------------------------------------------------------------------------- */

WRAPPED(int, uv_loop_init, uv_loop_t *loop) { return REFUSED("uv_loop_init") ? UV_EMFILE : __real_uv_loop_init(loop); }
WRAPPED(int, uv_async_init, uv_loop_t *loop, uv_async_t *handle, uv_async_cb fn)
{
    return REFUSED("uv_async_init") ? UV_EMFILE : __real_uv_async_init(loop, handle, fn);
}
WRAPPED(int, uv_signal_init, uv_loop_t *loop, uv_signal_t *handle)
{
    return REFUSED("uv_signal_init") ? UV_EMFILE : __real_uv_signal_init(loop, handle);
}
WRAPPED(int, uv_signal_start, uv_signal_t *handle, uv_signal_cb fn, int number)
{
    return REFUSED("uv_signal_start") ? UV_ENOMEM : __real_uv_signal_start(handle, fn, number);
}
WRAPPED(int, uv_poll_init, uv_loop_t *loop, uv_poll_t *handle, int fd)
{
    return REFUSED("uv_poll_init") ? UV_ENOMEM : __real_uv_poll_init(loop, handle, fd);
}
/* Its handle is one all the same, to be closed: so there is a real failure. */
WRAPPED(int, uv_spawn, uv_loop_t *loop, uv_process_t *handle, const uv_process_options_t *options)
{
    uv_process_options_t none = *options;
    if (!REFUSED("uv_spawn"))
        return __real_uv_spawn(loop, handle, options);
    none.file = "/";
    return __real_uv_spawn(loop, handle, &none) < 0 ? UV_ENOMEM : 0;
}
WRAPPED(int, getaddrinfo, const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    return REFUSED("getaddrinfo") ? EAI_MEMORY : __real_getaddrinfo(host, service, hints, out);
}

/* ---- one call of a scene ------------------------------------------------------------------------------------------ */

static atomic_bool again;          /* a call is made the second time */
static atomic_uint refused_before; /* this window */

void scarce_arm(void)
{
    again = false;
    refused_before = refused;
    armed = true;
}

static bool is_lack(int64_t code)
{
    return code == WEFT_ENOMEM || code == WEFT_EMFILE || code == WEFT_EAGAIN || code == UV_EAI_MEMORY;
}

bool scarce_lacked(const char *file, int line, int64_t got, int64_t expected)
{
    armed = false;
    if (got == expected)
        return false;
    if (mode == COUNT || refused == 0 || !is_lack(got))
        wf_test_fail(file, line, "", "it gives %lld instead of %lld, %s", (long long)got, (long long)expected, scarce_at());
    again = true;
    return true;
}

bool scarce_refusing(void) { return armed && refused > refused_before; }

void scarce_is_armed(const char *file, int line)
{
    if (!armed && !again)
        wf_test_fail(file, line, "", "nothing is refused here");
}

void scarce_watch(void)
{
    noticed = 0;
    watched = true;
}

void scarce_watched(const char *file, int line, const char *what)
{
    watched = false;
    if (noticed > 0)
        wf_test_fail(file, line, what, "asks for something");
}

void *scarce_nothing(void)
{
    static char nothing;
    return &nothing;
}

const char *scarce_at(void)
{
    static const char *const which[] = {"nothing refused", "request", "all requests from"};
    static char text[160];
    snprintf(text, sizeof text, "%s: %s %u of %u", scene_name, which[mode], nth, asked);
    return text;
}

/* ---- one pass ------------------------------------------------------------------------------------------------------- */

typedef struct possessions {
    size_t blocks;
    unsigned fds, threads;
    long maps;
} possessions;

static possessions count(void)
{
    pthread_mutex_lock(&lock);
    size_t n = blocks;
    pthread_mutex_unlock(&lock);
    return (possessions){.blocks = n, .fds = open_fds(), .threads = threads(), .maps = maps};
}

static bool is_same(const possessions *a, const possessions *b)
{
    return a->blocks == b->blocks && a->fds == b->fds && b->threads <= a->threads && a->maps == b->maps;
}

/* A thread may take a moment to be gone, also one that was joined: so there may have been one more before. */
static void expect_back(const possessions *before)
{
    possessions now = count();
    for (int i = 0; i < 2000 && !is_same(before, &now); i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        now = count();
    }
    cr_assert_eq(now.blocks, before->blocks, "%s: a block from %p", scarce_at(), whose());
    cr_assert_eq(now.fds, before->fds, "descriptors, %s", scarce_at());
    cr_assert_leq(now.threads, before->threads, "threads, %s", scarce_at());
    cr_assert_eq(now.maps, before->maps, "bytes of maps, %s", scarce_at());
}

static void plan(scarce_mode how, unsigned n)
{
    mode = how;
    nth = n;
    asked = refused = 0;
    if (talks > 1)
        fprintf(stderr, "%s\n", scarce_at());
}

/* As planned, and at once again without faults. */
static void *play_twice(void *arg)
{
    const scarce_scene *scene = arg;
    scene->play();
    scarce_mode how = mode;
    mode = COUNT;
    unsigned n = asked;
    scene->play();
    asked = n;
    mode = how;
    return NULL;
}

static void on_stage(const scarce_scene *scene, unsigned workers)
{
    weft_options options = {.workers = workers};
    pthread_t thread;
    if (!scene->on_thread) {
        cr_assert_eq(weft_run_with(&options, play_twice, (void *)(uintptr_t)scene, NULL), 0);
        return;
    }
    cr_assert_eq(pthread_create(&thread, NULL, play_twice, (void *)(uintptr_t)scene), 0);
    pthread_join(thread, NULL);
}

/* True if something was refused. */
static bool pass(const scarce_scene *scene, unsigned workers, scarce_mode how, unsigned n)
{
    possessions before = count();
    plan(how, n);
    pass_number++;
    on_stage(scene, workers);
    expect_back(&before);
    return refused > 0;
}

/* Before the first pass counts, everything is made that stays for as long as the process. */
static void play(const scarce_scene *scene, unsigned workers)
{
    enum { MOST = 1000 };
    int64_t began = weft_now();
    scene_name = scene->name;
    plan(COUNT, 0);
    on_stage(scene, workers);
    pass(scene, workers, COUNT, 0);
    unsigned usual = asked;
    cr_assert_geq(asked, scene->least, "%s", scarce_at());
    unsigned n = 1;
    while (pass(scene, workers, ONE, n))
        cr_assert_lt(++n, MOST);
    cr_assert_gt(n, scene->least, "%s", scarce_at());
    for (n = 1; pass(scene, workers, ALL, n);)
        cr_assert_lt(++n, MOST);
    if (talks)
        fprintf(stderr, "%s: %u requests, %lld ms\n", scene->name, usual, (long long)((weft_now() - began) / WEFT_MS));
}

static bool says_nothing(void)
{
#if defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
    return true;
#elif __has_feature(address_sanitizer)
    return false;
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
    return false;
#endif
    return WF_TEST_SANITIZED;
}

void scarce_play(const scarce_scene *scenes, size_t n, unsigned workers)
{
    const char *only = getenv("SCARCE_ONLY"), *log = getenv("SCARCE_LOG"); /* by hand: one scene; and what is said */
    if (says_nothing())
        cr_skip_test("the thread sanitizer sees no races through the bookkeeping; valgrind has a malloc of its own");
    talks = log ? atoi(log) : 0;
    for (size_t i = 0; i < n; i++)
        if (!only || strcmp(only, scenes[i].name) == 0)
            play(&scenes[i], workers);
}
