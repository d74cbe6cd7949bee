/* limits.c - how little each work can cost here: bare C that does just that, with one thread, no atomics and no scheduler.   limits WORK
 *
 * What it prints holds for any number of workers, unless the metric ends in one. */
#include "limits.h"

static void limit_cold(void) {} /* the start and the end of a process, which launch.c times */

static const struct work {
    const char *name;
    void (*measure)(void);
} works[] = {
    {"switch", limit_switch},     {"pingpong", limit_pingpong}, {"spawn_join", limit_spawn_join},
    {"million", limit_million},   {"skynet", limit_skynet},     {"forced", limit_forced},
    {"timers", limit_timers},     {"mpsc", limit_mpsc},         {"cold", limit_cold},
    {"call", limit_call},         {"atomic", limit_atomic},     {"thread", limit_thread},
    {"ucontext", limit_ucontext},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof works / sizeof works[0]; i++) {
        if (strcmp(argv[1], works[i].name) == 0) {
            works[i].measure();
            return 0;
        }
    }
    fprintf(stderr, "usage: limits WORK\n");
    return 2;
}
