/* bench.h - what the measuring programs share: a clock, a series of rounds with its one line of output, descriptors.
 *
 * Plain C; knows nothing of weft, so that the bare peers can use it too. */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BENCH_ROUNDS_MAX = 64 };

/* End the program when @ok is false: a measurement that went wrong must not print a number. */
#define BENCH_CHECK(ok)                                                      \
    do {                                                                     \
        if (!(ok)) {                                                         \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #ok); \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

/* Nanoseconds on the monotonic clock. */
static inline int64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The values of one measurement, a round each. */
struct bench_series {
    int rounds;
    double value[BENCH_ROUNDS_MAX];
};

/* As many rounds as BENCH_ROUNDS in the environment asks for; without it, @usual. */
static inline int bench_rounds(int usual)
{
    const char *text = getenv("BENCH_ROUNDS");
    int rounds = text ? atoi(text) : usual;
    BENCH_CHECK(rounds > 0 && rounds <= BENCH_ROUNDS_MAX);
    return rounds;
}

/* A count on the command line. Anything else ends the program as an unknown work does. */
static inline int bench_count(const char *text)
{
    char *end;
    long count = strtol(text, &end, 10);
    if (end == text || *end != '\0' || count < 1 || count > 1000000000) {
        fprintf(stderr, "not a count: %s\n", text);
        exit(2);
    }
    return (int)count;
}

static inline void bench_add(struct bench_series *s, double value)
{
    BENCH_CHECK(s->rounds < BENCH_ROUNDS_MAX);
    s->value[s->rounds++] = value;
}

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Print "name  median unit  (min …)". Sorts the series. */
static inline void bench_print(const char *name, struct bench_series *s, const char *unit)
{
    BENCH_CHECK(s->rounds > 0);
    qsort(s->value, (size_t)s->rounds, sizeof s->value[0], bench_compare);
    double median = (s->value[(s->rounds - 1) / 2] + s->value[s->rounds / 2]) / 2;
    printf("%-28s %12.2f %s  (min %.2f, %d rounds)\n", name, median, unit, s->value[0], s->rounds);
    fflush(stdout);
}

/* Call @round(@arg), which returns a value, @rounds times (or BENCH_ROUNDS) after one call that only warms up, and print the outcome. */
static inline void bench_measure(const char *name, const char *unit, int rounds, double (*round)(void *), void *arg)
{
    struct bench_series s = {0};
    rounds = bench_rounds(rounds);
    round(arg);
    for (int i = 0; i < rounds; i++)
        bench_add(&s, round(arg));
    bench_print(name, &s, unit);
}

/* Run this program again with these arguments, in a fresh process (memory figures want one), and wait for it. Returns 0 if it did well. */
static inline int bench_again_with(char **argv)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 1;
    return status != 0;
}

/* With one argument. */
static inline int bench_again(char *name, const char *argument)
{
    char *argv[] = {name, (char *)argument, NULL};
    return bench_again_with(argv);
}

/* A "VmRSS" or "VmHWM" line of /proc/self/status, in bytes. */
static inline double bench_memory(const char *field)
{
    char line[256];
    double kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    BENCH_CHECK(f);
    while (kib < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            kib = strtod(line + strlen(field) + 1, NULL);
    fclose(f);
    BENCH_CHECK(kib >= 0);
    return kib * 1024;
}

/* Raise the soft limit of descriptors to the hard one. Returns it. */
static inline unsigned long bench_raise_nofile(void)
{
    struct rlimit limit;
    BENCH_CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    BENCH_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    return (unsigned long)limit.rlim_cur;
}

/* Say on standard error what this process has used, for servers at their exit. */
static inline void bench_print_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    fprintf(stderr, "cpu user %ld.%06ld s sys %ld.%06ld s\n", (long)u.ru_utime.tv_sec, (long)u.ru_utime.tv_usec,
            (long)u.ru_stime.tv_sec, (long)u.ru_stime.tv_usec);
}

#endif
