/* launch.c - how long a program takes, from the fork to its end: start, what it does, exit.   launch ROUNDS PROGRAM [ARGUMENT...]
 *
 * Prints the median in microseconds as "launch". The program's output goes nowhere; one that fails is no measurement. */
#include "bench.h"

#include <fcntl.h>

static void become(char **argv)
{
    int nowhere = open("/dev/null", O_WRONLY);
    if (nowhere >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0)
        execv(argv[0], argv);
    _exit(127);
}

/* Microseconds. */
static double launch_round(void *argv)
{
    int status;
    int64_t start = bench_now();
    pid_t pid = fork();
    if (pid == 0)
        become(argv);
    BENCH_CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    double took = (double)(bench_now() - start) / 1e3;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        exit(WIFEXITED(status) && WEXITSTATUS(status) == 2 ? 2 : 1); /* 2: it does not know the work */
    return took;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: launch ROUNDS PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    struct bench_series s = {0};
    launch_round(argv + 2);
    for (int i = bench_count(argv[1]); i > 0; i--)
        bench_add(&s, launch_round(argv + 2));
    bench_print("launch", &s, "us");
    return 0;
}
