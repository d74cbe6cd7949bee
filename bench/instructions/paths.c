/* paths.c - does one hot path so many times on one worker and nothing else, for scripts/instructions, which has the instructions counted.
 *
 *     paths PATH COUNT
 *     paths --each COUNT [PATH...]     each of them (or all) in processes of its own: COUNT times, and twice as many
 *     paths --list
 *     paths --machine                  the architecture and the compiler that it was built with
 *
 * With --each it prints "PATH COUNT PID" for every process before that begins. They are forked, so that a tool that translates code has done most of it
 * once. Every runtime has a seed: its worker then counts polls where it would look at the clock. It has no thread but this one. */
#include "paths.h"

static const struct path {
    const char *name;
    weft_fn body;
    int paused;     /* time is virtual, for it is what it waits for */
    unsigned flags; /* … of the runtime, beside those of all */
} paths[] = {
    {"spawn_join", path_spawn_join, 0, 0},
    {"spawn_many", path_spawn_many, 0, 0},
    {"spawn_detached", path_spawn_detached, 0, 0},
    {"spawn_stackless", path_spawn_stackless, 0, 0},
    {"spawn_end_join", path_spawn_end_join, 0, 0},
    {"group", path_group, 0, 0},
    {"yield", path_yield, 0, 0},
    {"yield_two", path_yield_two, 0, 0},
    {"switch", path_switch, 0, 0},
    {"wake_strand", path_wake_strand, 0, 0},
    {"wake_stackless", path_wake_stackless, 0, 0},
    {"chan_pingpong", path_chan_pingpong, 0, 0},
    {"chan_buffered", path_chan_buffered, 0, 0},
    {"select_two", path_select_two, 0, 0},
    {"select_ready", path_select_ready, 0, 0},
    {"mutex", path_mutex, 0, 0},
    {"scope", path_scope, 0, 0},
    {"token_check", path_token_check, 0, 0},
    {"timer_cancel", path_timer_cancel, 1, 0},
    {"timer_fire", path_timer_fire, 1, 0},
    {"sleep", path_sleep, 1, 0},
    {"echo", path_echo, 0, 0},
    {"read_ready", path_read_ready, 0, 0},
    {"spawn_join_measured", path_spawn_join, 0, WEFT_MEASURE},
    {"chan_pingpong_measured", path_chan_pingpong, 0, WEFT_MEASURE},
};

enum { PATHS = sizeof paths / sizeof paths[0] };

static const struct path *find(const char *name)
{
    for (const struct path *p = paths; p < paths + PATHS; p++)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

static void run(const struct path *path, long count)
{
    weft_options options = WEFT_OPTIONS_INIT;
    weft_runtime *rt;

    options.workers = 1;
    options.seed = 1;
    options.flags = WEFT_CURRENT_THREAD | path->flags;
    options.clock = path->paused ? WEFT_CLOCK_PAUSED : WEFT_CLOCK_REAL;
    BENCH_CHECK(weft_runtime_create(&rt, &options) == 0);
    BENCH_CHECK(weft_block_on(rt, path->body, &count, NULL) == 0);
    BENCH_CHECK(weft_runtime_destroy(rt) == 0);
}

/* In a process of its own. Returns 0 if it did well. */
static int run_apart(const struct path *path, long count)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        printf("%s %ld %ld\n", path->name, count, (long)getpid());
        fflush(stdout);
        run(path, count);
        exit(0);
    }
    BENCH_CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    return status != 0;
}

/* How long a cycle is is found out once in a process, by waiting: before it forks, or the count would depend on the time. */
static void learn_cycles(void)
{
    weft_options options = WEFT_OPTIONS_INIT;
    weft_runtime *rt;

    options.flags = WEFT_CURRENT_THREAD | WEFT_MEASURE;
    BENCH_CHECK(weft_runtime_create(&rt, &options) == 0);
    BENCH_CHECK(weft_runtime_destroy(rt) == 0);
}

static int run_each(long count, char **names, int n)
{
    int failed = 0;
    learn_cycles();
    for (int i = 0; i < (n ? n : PATHS); i++) {
        const struct path *path = n ? find(names[i]) : &paths[i];
        if (!path)
            return 2;
        failed |= run_apart(path, count) | run_apart(path, 2 * count);
    }
    return failed;
}

static int list(void)
{
    for (const struct path *p = paths; p < paths + PATHS; p++)
        puts(p->name);
    return 0;
}

#if defined(__x86_64__)
#define ARCHITECTURE "x86-64"
#elif defined(__aarch64__)
#define ARCHITECTURE "aarch64"
#else
#define ARCHITECTURE "other"
#endif
#if defined(__clang__)
enum { VERSION = __clang_major__ };
#define COMPILER "clang"
#else
enum { VERSION = __GNUC__ };
#define COMPILER "gcc"
#endif

static int tell_machine(void)
{
    printf("%s %s-%d\n", ARCHITECTURE, COMPILER, VERSION);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return list();
    if (argc == 2 && strcmp(argv[1], "--machine") == 0)
        return tell_machine();
    long count = argc > 2 ? atol(argv[2]) : 0;
    if (count <= 0 || count % PATHS_BATCH != 0) {
        fprintf(stderr, "usage: paths PATH COUNT | --each COUNT [PATH...] | --list, COUNT a multiple of %d\n", PATHS_BATCH);
        return 2;
    }
    if (strcmp(argv[1], "--each") == 0)
        return run_each(count, argv + 3, argc - 3);
    const struct path *path = find(argv[1]);
    if (!path)
        return 2;
    run(path, count);
    return 0;
}
