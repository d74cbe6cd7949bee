/* explore.c - programs run in child processes, so that this one is still there when one fails. */
#include "explore.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 100 }; /* programs of one child: what leaks is told when it ends */

random_options random_options_of(const random_plan *plan, uint64_t seed)
{
    static const unsigned workers[] = {1, 2, 8};
    return (random_options){.workers = plan->workers ? plan->workers : workers[seed % 3],
                            .pure = plan->pure || seed / 3 % 4 == 0,
                            .real = !plan->pure && seed / 12 % 4 == 3,
                            .verbose = plan->verbose,
                            .forbidden = plan->forbidden,
                            .seed = seed + 1};
}

static int64_t seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* The thread sanitizer asks for it; otherwise each of the many children would wait for a second in its exit(). */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "atexit_sleep_ms=0"; }

/* ---- one program ----------------------------------------------------------------------------------------------------- */

static void run_again(const uint8_t *bytes, size_t n, const random_options *o)
{
    static random_trace second;
    random_options again = *o;
    again.trace = &second;
    memset(&second, 0, sizeof second);
    if (random_program_run(bytes, n, &again) == 0 && memcmp(o->trace, &second, sizeof second) == 0)
        return;
    fputs("random program: the second time it takes other steps\n", stderr);
    random_program_print(stderr, bytes, n, o);
    abort();
}

static void run_program(const uint8_t *bytes, size_t n, random_options o, bool twice)
{
    static random_trace trace;
    memset(&trace, 0, sizeof trace);
    o.trace = &trace;
    if (random_program_run(bytes, n, &o) < 0)
        abort();
    if (twice)
        run_again(bytes, n, &o);
}

/* ---- one child ------------------------------------------------------------------------------------------------------ */

typedef struct range {
    const random_plan *plan;
    uint64_t from, to;
    int64_t until;
    volatile uint64_t *at; /* shared: the seed that runs; then, one behind the last that ran */
} range;

static void run_range(const range *r)
{
    uint8_t bytes[RANDOM_BYTES];
    for (*r->at = r->from; *r->at < r->to && seconds_now() < r->until; ++*r->at) {
        size_t n = random_program_make(bytes, *r->at);
        run_program(bytes, n, random_options_of(r->plan, *r->at), r->plan->twice);
    }
}

/* Returns whether it has ended well. */
static bool child_ended_well(pid_t child)
{
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool range_goes_well(const range *r)
{
    fflush(NULL);
    pid_t child = fork();
    if (child != 0)
        return child_ended_well(child);
    run_range(r);
    exit(0);
}

/* ---- smaller -------------------------------------------------------------------------------------------------------- */

typedef struct candidate {
    uint8_t bytes[RANDOM_BYTES];
    size_t size;
} candidate;

static bool fails_once(const candidate *c, const random_options *o, bool twice)
{
    pid_t child = fork();
    if (child != 0)
        return !child_ended_well(child);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (!freopen("/dev/null", "w", stderr))
        _exit(0);
    run_program(c->bytes, c->size, *o, twice);
    exit(0);
}

/* With several workers, or with the world outside, it may take a few attempts. */
static bool fails(const candidate *c, random_options o, bool twice)
{
    unsigned attempts = o.workers == 1 && o.pure ? 1 : 20;
    for (o.patience = 5; attempts > 0; attempts--)
        if (fails_once(c, &o, twice))
            return true;
    return false;
}

static candidate without(const candidate *c, size_t from, size_t size)
{
    candidate smaller = {.size = c->size - size};
    memcpy(smaller.bytes, c->bytes, from);
    memcpy(smaller.bytes + from, c->bytes + from + size, smaller.size - from);
    return smaller;
}

/* Drop halves, quarters … of the steps for as long as it still fails, and as there is time. */
static void shrink(candidate *c, const random_options *o, bool twice)
{
    int64_t until = seconds_now() + 120;
    for (size_t piece = c->size / 2 / RANDOM_STEP * RANDOM_STEP; piece > 0; piece = piece / 2 / RANDOM_STEP * RANDOM_STEP)
        for (size_t from = RANDOM_HEADER; from + piece <= c->size && seconds_now() < until;) {
            candidate smaller = without(c, from, piece);
            if (fails(&smaller, *o, twice))
                *c = smaller;
            else
                from += piece;
        }
}

static void explain(const random_plan *plan, uint64_t seed)
{
    random_options o = random_options_of(plan, seed);
    candidate c;
    c.size = random_program_make(c.bytes, seed);
    fprintf(stderr, "random program of seed %llu fails: random_programs --seed %llu --count 1 --workers %u%s\n",
            (unsigned long long)seed, (unsigned long long)seed, o.workers, plan->pure ? " --pure" : "");
    if (plan->whole)
        return;
    if (!fails(&c, o, plan->twice)) {
        fputs("it did not fail again\n", stderr);
        return;
    }
    shrink(&c, &o, plan->twice);
    fputs("made smaller:\n", stderr);
    random_program_print(stderr, c.bytes, c.size, &o);
    for (size_t i = 0; i < c.size; i++)
        fprintf(stderr, "%02x", c.bytes[i]);
    fputc('\n', stderr);
}

/* ---- many ----------------------------------------------------------------------------------------------------------- */

int64_t random_explore(const random_plan *plan)
{
    volatile uint64_t *at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return -1;
    uint64_t end = plan->count ? plan->seed + plan->count : UINT64_MAX;
    range r = {.plan = plan, .until = plan->seconds ? seconds_now() + plan->seconds : INT64_MAX, .at = at};
    bool well = true;
    for (r.from = plan->seed; well && r.from < end && seconds_now() < r.until; r.from = *at) {
        r.to = end - r.from < BATCH ? end : r.from + BATCH;
        well = range_goes_well(&r);
        if (!well && *at == r.to)
            fprintf(stderr, "random programs: the child of seeds %llu to %llu ended badly\n",
                    (unsigned long long)r.from, (unsigned long long)r.to);
        else if (!well)
            explain(plan, *at);
    }
    int64_t ran = (int64_t)(*at - plan->seed);
    munmap((void *)(uintptr_t)at, sizeof *at);
    return well ? ran : -1;
}
