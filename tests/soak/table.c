/* table.c - see table.h. */
#include "table.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- the table --------------------------------------------------------------------------------------------------- */

static void print_number(long n)
{
    if (n == NOT_KNOWN)
        printf(" %10s", "-");
    else
        printf(" %10ld", n);
}

static void print_row(const char *name, const char *what, long start, long warm, long peak, long end)
{
    printf("%-12s %-13s", name, what);
    print_number(start);
    print_number(warm);
    print_number(peak);
    print_number(end);
    putchar('\n');
}

static void print_party(const party *p)
{
    print_row(p->name, "memory (KiB)", p->start.memory, p->warm.memory, p->peak.memory, p->end.memory);
    print_row("", "descriptors", p->start.descriptors, p->warm.descriptors, p->peak.descriptors, p->end.descriptors);
    print_row("", "ends of pipes", p->start.pipes, p->warm.pipes, p->peak.pipes, p->end.pipes);
    print_row("", "threads", p->start.threads, p->warm.threads, p->peak.threads, p->end.threads);
    print_row("", "live tasks", p->start.tasks, p->warm.tasks, p->peak.tasks, p->end.tasks);
    print_row("", "connections", p->start.connections, p->warm.connections, p->peak.connections, p->end.connections);
    printf("%-12s stopped in %.2f s under load\n", "", p->stopping);
}

void table_print(const soak *s)
{
    const soak_shared *h = s->shared;
    printf("\n%-26s %10s %10s %10s %10s\n", "", "start", "warm", "peak", "end");
    for (int i = 0; i < s->count; i++)
        print_party(&s->parties[i]);
    printf("%lu connections, %lu requests done, %lu clients died, %lu client processes killed\n",
           atomic_load(&h->opened), atomic_load(&h->answers), atomic_load(&h->deaths), s->kills);
    printf("%lu aborts, %lu groups cancelled, %lu scopes fired, %lu conversations cut\n", s->told.aborts,
           s->told.groups, s->told.scopes, atomic_load(&h->cut));
    printf("SIGUSR1: %lu sent, %lu arrived; SIGHUP: %lu sent, %lu arrived; SIGSTOP: %lu\n", s->signals[0], s->told.usr1,
           s->signals[1], s->told.hup, s->stops);
}

/* ---- the judgement ------------------------------------------------------------------------------------------------ */

int table_returned(const soak *s, int with_threads)
{
    for (int i = 0; i < s->count; i++) {
        const party *p = &s->parties[i];
        if (p->end.descriptors != p->start.descriptors || p->end.pipes > p->start.pipes + PIPES_KEPT ||
            p->end.tasks > p->start.tasks || p->end.connections > 0 || (with_threads && p->end.threads > p->start.threads))
            return 0;
    }
    return 1;
}

static int complain(const char *name, const char *what)
{
    printf("FAIL %s: %s\n", name, what);
    return 1;
}

static int judge_party(const soak *s, const party *p)
{
    int wrong = 0;
    struct stat errors;
    if (p->end.descriptors != p->start.descriptors)
        wrong += complain(p->name, "other descriptors than at the start");
    if (p->end.pipes > p->start.pipes + PIPES_KEPT)
        wrong += complain(p->name, "more pipes than it would keep");
    if (!s->hasty && p->end.threads > p->start.threads)
        wrong += complain(p->name, "more threads than at the start");
    if (p->end.tasks > p->start.tasks)
        wrong += complain(p->name, "more tasks than at the start");
    if (p->end.connections > 0)
        wrong += complain(p->name, "connections that nobody has");
    if (p->end.memory - p->warm.memory > s->memory_most)
        wrong += complain(p->name, "more memory than after the first storm");
    if (!WIFEXITED(p->code) || WEXITSTATUS(p->code) != 0)
        wrong += complain(p->name, "did not end with 0 by itself");
    if (stat(p->errors, &errors) == 0 && errors.st_size > 0)
        wrong += complain(p->name, "complained");
    return wrong;
}

int table_eventful(const soak *s)
{
    const soak_shared *h = s->shared;
    return atomic_load(&h->answers) && atomic_load(&h->deaths) && atomic_load(&h->cut) && s->kills && s->stops &&
           s->told.aborts && s->told.groups && s->told.scopes && s->told.usr1 && s->told.hup;
}

/* A soak in which nothing happened proves nothing. */
static int judge_storm(const soak *s)
{
    int wrong = 0;
    if (!table_eventful(s))
        wrong += complain(
            "soak", "answers, deaths, cuts, kills, stops, aborts, groups, scopes, signals: one of them did not happen");
    if (s->told.usr1 > s->signals[0] || s->told.hup > s->signals[1])
        wrong += complain("soak_server", "signals that nobody sent");
    return wrong;
}

int table_judge(const soak *s)
{
    const soak_shared *h = s->shared;
    int wrong = s->failure ? complain("soak", s->failure) : judge_storm(s);
    for (int i = 0; i < s->count; i++)
        wrong += judge_party(s, &s->parties[i]);
    if (atomic_load(&h->wrong) || s->told.wrong)
        wrong += complain("bytes", "not those that they should be");
    if (atomic_load(&h->broken))
        wrong += complain("clients", "well-behaved conversations failed");
    if (atomic_load(&h->told) == 2)
        printf("The first problem of a client, of %lu: %s\n", atomic_load(&h->broken) + atomic_load(&h->wrong), h->problem);
    return wrong;
}
