/* explore.h - many random programs, each by its seed; and what is done when one fails: it is told, made smaller, and told again. */
#ifndef RANDOM_EXPLORE_H
#define RANDOM_EXPLORE_H

#include <random/program.h>

/* Zero is the default of every field. */
typedef struct random_plan {
    uint64_t seed;    /* the first */
    uint64_t count;   /* so many; 0: until the time is up */
    unsigned seconds; /* 0: no limit */
    unsigned workers; /* 0: as the seed has it: 1, 2 or 8 */
    bool pure;        /* … all of them; else as the seed has it */
    bool verbose;
    const char *forbidden; /* as random_options has it */
    bool whole;            /* what fails is not made smaller */
} random_plan;

/* How the program of that seed runs. */
random_options random_options_of(const random_plan *plan, uint64_t seed);

/* Run them in children of this process, which has no threads. Returns how many were run, or -1 when one has failed: all of it is on standard error. */
int64_t random_explore(const random_plan *plan);

#endif
