/* bench_weft.h - what the micro-benchmarks of weft share: running a body at 1 and at 2 workers.
 *
 * Each count gets a process of its own, so that neither memory nor threads of one run disturb the next. */
#ifndef BENCH_WEFT_H
#define BENCH_WEFT_H

#include "bench.h"

#include <weft.h>

/* The workers of this process; names of measurements end in it. */
static unsigned bench_workers;

/* bench_measure() under the name with "_w1" or "_w2" behind it. */
static inline void bench_measure_w(const char *name, const char *unit, int rounds, double (*round)(void *), void *arg)
{
    char full[64];
    snprintf(full, sizeof full, "%s_w%u", name, bench_workers);
    bench_measure(full, unit, rounds, round, arg);
}

/* Run @body as the root strand of a runtime with that many workers. */
static inline void bench_run(unsigned workers, weft_fn body)
{
    weft_options options = WEFT_OPTIONS_INIT;
    options.workers = bench_workers = workers;
    int err = weft_run_with(&options, body, NULL, NULL);
    if (err < 0) {
        fprintf(stderr, "weft_run: %s\n", weft_strerror(err));
        exit(1);
    }
}

/* A main(): with an argument, that many workers; without, 1 and then 2. */
static inline int bench_main(int argc, char **argv, weft_fn body)
{
    if (argc < 2)
        return bench_again(argv[0], "1") | bench_again(argv[0], "2");
    bench_run((unsigned)bench_count(argv[1]), body);
    return 0;
}

/* spawn and join that must work. */
static inline weft_task *bench_spawn(weft_fn fn, void *arg)
{
    weft_task *task;
    BENCH_CHECK(weft_spawn(&task, fn, arg) == 0);
    return task;
}

static inline void *bench_join(weft_task *task)
{
    void *result;
    BENCH_CHECK(weft_join(task, &result) == 0);
    return result;
}

#endif
