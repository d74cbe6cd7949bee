/* party.c - see party.h. All processes are in groups of their own, so that Ctrl-C is for the one that conducts; none outlives that one. */
#include "party.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_MS = 30 * 1000, LINE = 256 };

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void rest(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    nanosleep(&t, NULL);
}

/* In the child. */
static void become_nobodys(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

static void become(const party *p, int out)
{
    char *argv[5] = {(char *)p->program};
    for (int i = 0; i < 3; i++)
        argv[i + 1] = (char *)p->arguments[i];
    int errors = open(p->errors, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    become_nobodys();
    if (errors < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(errors, STDERR_FILENO) < 0)
        _exit(127);
    execv(p->program, argv);
    _exit(127);
}

/* A byte at a time: it is a handful of lines. 0, or -1. */
static int hear_line(party *p, char *line)
{
    struct pollfd fd = {.fd = p->out, .events = POLLIN};
    size_t n = 0;
    while (n < LINE - 1 && poll(&fd, 1, START_MS) > 0 && read(p->out, &line[n], 1) == 1)
        if (line[n++] == '\n') {
            line[n - 1] = '\0';
            return 0;
        }
    return -1;
}

int party_start(party *p, const char *directory, int (*heard)(void *arg, party *p, const char *line), void *arg)
{
    int ends[2];
    char line[LINE];
    snprintf(p->errors, sizeof p->errors, "%s/%s.errors", directory, p->name);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    p->pid = fork();
    if (p->pid == 0)
        become(p, ends[1]);
    close(ends[1]);
    p->out = ends[0];
    while (p->pid > 0 && hear_line(p, line) == 0)
        if (heard(arg, p, line))
            return 0;
    return -1;
}

static long field(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtol(at + strlen(name), NULL, 10) : NOT_KNOWN;
}

/* Ends of pipes are counted apart: a runtime keeps some idle ones. */
static void count_descriptors(pid_t pid, reading *now)
{
    char path[64], what[16];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    now->descriptors = now->pipes = folder ? 0 : NOT_KNOWN;
    if (!folder)
        return;
    for (struct dirent *entry; (entry = readdir(folder));) {
        ssize_t n = readlinkat(dirfd(folder), entry->d_name, what, sizeof what);
        if (n >= 5 && memcmp(what, "pipe:", 5) == 0)
            now->pipes++;
        else if (n >= 0)
            now->descriptors++;
    }
    closedir(folder);
}

void party_read(const party *p, reading *now)
{
    char path[64], text[4096] = "";
    snprintf(path, sizeof path, "/proc/%d/status", (int)p->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        close(fd);
    }
    *now = (reading){
        .memory = field(text, "VmRSS:"), .threads = field(text, "Threads:"), .tasks = NOT_KNOWN, .connections = NOT_KNOWN};
    count_descriptors(p->pid, now);
}

int party_ended(party *p)
{
    if (p->pid == 0)
        return 1;
    if (waitpid(p->pid, &p->code, WNOHANG) != p->pid)
        return 0;
    p->pid = 0;
    return 1;
}

void parties_stop(party *parties, int n, int most_seconds)
{
    double begun = seconds_now();
    for (int i = 0; i < n; i++)
        if (parties[i].pid > 0)
            kill(parties[i].pid, SIGTERM);
    for (int left = n; left > 0;) {
        left = 0;
        for (int i = 0; i < n; i++) {
            int ran = parties[i].pid > 0;
            left += !party_ended(&parties[i]);
            if (ran && parties[i].pid == 0)
                parties[i].stopping = seconds_now() - begun;
            else if (parties[i].pid > 0 && seconds_now() - begun > most_seconds)
                kill(parties[i].pid, SIGKILL);
        }
        rest(0.01);
    }
}

pid_t client_start(soak_shared *shared, unsigned number)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    become_nobodys();
    client_run(shared, number);
    _exit(0);
}
