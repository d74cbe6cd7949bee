/* limits.h - the works of `limits`. Each measures and prints; a file has those that belong together. */
#ifndef LIMITS_H
#define LIMITS_H

#include "../bench.h"

/* stacks.c */
void limit_switch(void);
void limit_pingpong(void);

/* tasks.c */
void limit_spawn_join(void);
void limit_million(void);

/* skynet.c, threads.c, timers.c, queue.c */
void limit_skynet(void);
void limit_forced(void);
void limit_timers(void);
void limit_mpsc(void);

/* system.c */
void limit_call(void);
void limit_atomic(void);
void limit_thread(void);
void limit_ucontext(void);

#endif
