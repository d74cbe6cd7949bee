/* paths.h - the hot paths whose instructions are counted, one function each.
 *
 * Each is the body of a root strand, and does its operation as often as the number at @arg says: with twice the number it executes twice the
 * instructions, and a constant for coming and going. Nothing in it may depend on chance, time or other threads. */
#ifndef PATHS_H
#define PATHS_H

#include "bench_weft.h"

enum { PATHS_BATCH = 1000 }; /* operations come in multiples of it */

/* How often. */
static inline long paths_count(const void *arg) { return *(const long *)arg; }

/* paths_task.c */
void *path_spawn_join(void *arg);
void *path_spawn_many(void *arg);
void *path_spawn_detached(void *arg);
void *path_spawn_stackless(void *arg);
void *path_spawn_end_join(void *arg);
void *path_yield(void *arg);
void *path_yield_two(void *arg);
void *path_switch(void *arg);
void *path_group(void *arg);

/* paths_wake.c */
void *path_wake_strand(void *arg);
void *path_wake_stackless(void *arg);

/* paths_sync.c */
void *path_chan_pingpong(void *arg);
void *path_chan_buffered(void *arg);
void *path_select_two(void *arg);
void *path_select_ready(void *arg);
void *path_mutex(void *arg);
void *path_scope(void *arg);
void *path_token_check(void *arg);

/* paths_time.c */
void *path_timer_cancel(void *arg);
void *path_timer_fire(void *arg);
void *path_sleep(void *arg);

/* paths_echo.c */
void *path_echo(void *arg);
void *path_read_ready(void *arg);

#endif
