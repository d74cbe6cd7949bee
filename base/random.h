/* random.h - numbers that differ between processes, threads and calls. Not for secrets; for decisions in a hot path: rng.h. */
#ifndef WF_RANDOM_H
#define WF_RANDOM_H

#include <stdint.h>

/* Any thread and context; also in a forked child, whose numbers are not its parent's. */
uint64_t wf_random(void);

/* For choices: the same again in a runtime whose seed makes them repeat, else as above. */
uint64_t wf_chance(void);

#endif
