/* cold.c - a program that starts weft, runs one task and ends.   cold [workers]     See launch.c, which times it. */
#include "bench_weft.h"

static void *nothing(void *arg) { return arg; }

static void *app(void *arg) { return bench_join(bench_spawn(nothing, arg)); }

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
