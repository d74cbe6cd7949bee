/* weather.c - what happens between the start and the end: storms of clients, kills and signals, calms in which everything has to come back. */
#include "weather.h"
#include "link.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define LAST_STORM 0.4 /* seconds */

/* Seconds: by which a storm may be longer; that a calm may last; in which a server has to stop. */
enum { EXTENSION = 30, SETTLE = 30, STOP_SECONDS = 20 };

volatile sig_atomic_t weather_interrupted;

/* ---- control of soak_server -------------------------------------------------------------------------------------- */

static void command(soak *s, const char *text)
{
    char line[256] = "";
    size_t n = 0;
    struct pollfd fd = {.fd = s->control, .events = POLLIN};
    if (send(s->control, text, strlen(text), MSG_NOSIGNAL) < 0)
        return;
    while (n < sizeof line - 1 && poll(&fd, 1, 30 * 1000) > 0 && read(s->control, &line[n], 1) == 1 && line[n++] != '\n')
        ;
    sscanf(line, "tasks %ld connections %ld aborts %lu groups %lu scopes %lu usr1 %lu hup %lu wrong %lu",
           &s->told.tasks, &s->told.connections, &s->told.aborts, &s->told.groups, &s->told.scopes, &s->told.usr1,
           &s->told.hup, &s->told.wrong);
}

/* ---- readings ------------------------------------------------------------------------------------------------------ */

/* Of the servers that are as they are, what they have beyond the start are connections. */
static void read_one(soak *s, party *p, reading *now)
{
    party_read(p, now);
    now->connections = p->start.descriptors ? now->descriptors - p->start.descriptors : 0;
    if (p != &s->parties[0])
        return;
    command(s, "read\n");
    now->tasks = s->told.tasks;
    now->connections = s->told.connections;
}

static void raise_peak(reading *peak, const reading *now)
{
    long *high[] = {&peak->memory, &peak->descriptors, &peak->pipes, &peak->threads, &peak->tasks, &peak->connections};
    const long value[] = {now->memory, now->descriptors, now->pipes, now->threads, now->tasks, now->connections};
    for (unsigned i = 0; i < sizeof value / sizeof value[0]; i++)
        if (value[i] > *high[i])
            *high[i] = value[i];
}

static void look(soak *s)
{
    for (int i = 0; i < s->count; i++) {
        reading now;
        read_one(s, &s->parties[i], &now);
        raise_peak(&s->parties[i].peak, &now);
    }
}

/* Once what is started with the server stands: nothing has come to it in a while. */
void weather_read_start(soak *s, party *p)
{
    reading now;
    p->start = (reading){0};
    for (int same = 0, i = 0; same < 3 && i < 100; i++) {
        rest(0.05);
        party_read(p, &now);
        same = now.descriptors == p->start.descriptors && now.threads == p->start.threads ? same + 1 : 0;
        p->start = now;
    }
    read_one(s, p, &p->start);
    p->peak = p->start;
}

/* ---- weather ----------------------------------------------------------------------------------------------------- */

enum { CLIENTS = 3 };

typedef struct clients {
    pid_t pids[CLIENTS];
} clients;

static unsigned started; /* client processes so far */

static void start_clients(soak *s, clients *c)
{
    atomic_store(&s->shared->stop, 0);
    for (int i = 0; i < CLIENTS; i++)
        c->pids[i] = client_start(s->shared, started++);
}

static void kill_one(soak *s, clients *c)
{
    int i = (int)below(&s->luck, CLIENTS);
    if (c->pids[i] > 0) {
        kill(c->pids[i], SIGKILL);
        waitpid(c->pids[i], NULL, 0);
    }
    c->pids[i] = client_start(s->shared, started++);
    s->kills++;
}

/* Each ends with the conversation that it is in, which has limits of its own. */
static void stop_clients(soak *s, clients *c)
{
    double most = seconds_now() + PATIENCE_S + 20;
    atomic_store(&s->shared->stop, 1);
    for (int i = 0; i < CLIENTS; i++)
        while (c->pids[i] > 0 && waitpid(c->pids[i], NULL, WNOHANG) == 0) {
            rest(0.01);
            if (seconds_now() < most)
                continue;
            s->failure = "a client does not come to an end";
            kill(c->pids[i], SIGKILL);
        }
}

static void send_signal(soak *s, int which)
{
    if (s->parties[0].pid > 0 && kill(s->parties[0].pid, which ? SIGHUP : SIGUSR1) == 0)
        s->signals[which]++;
}

static void stop_for_a_moment(soak *s)
{
    pid_t pid = s->parties[below(&s->luck, (unsigned)s->count)].pid;
    if (pid <= 0)
        return;
    kill(pid, SIGSTOP);
    rest(0.01 + 0.001 * below(&s->luck, 150));
    kill(pid, SIGCONT);
    s->stops++;
}

static int all_run(soak *s)
{
    for (int i = 0; i < s->count; i++)
        if (party_ended(&s->parties[i]))
            s->failure = "a server has ended";
    return s->failure == NULL;
}

/* On a slow machine also beyond its time, until each thing has happened: what is only likely would fail now and then. */
static int storm_lasts(soak *s, double end)
{
    double now = seconds_now();
    return !weather_interrupted && (now < end || (now < end + EXTENSION && !table_eventful(s)));
}

static void storm(soak *s, clients *c, double seconds)
{
    double end = seconds_now() + seconds;
    command(s, "storm\n");
    start_clients(s, c);
    for (unsigned beat = 1; storm_lasts(s, end) && all_run(s); beat++) {
        rest(0.02);
        if (below(&s->luck, 2))
            send_signal(s, below(&s->luck, 4) == 0);
        if (beat % 10 == 0)
            look(s);
        if (below(&s->luck, 40) == 0 || s->stops == 0)
            stop_for_a_moment(s);
        if (below(&s->luck, 30) == 0 || (beat > 10 && s->kills == 0))
            kill_one(s, c);
    }
}

/* Waits until everything has come back, or for the time that it may take. The reading is in `end`. */
static void calm(soak *s, clients *c, int with_threads)
{
    stop_clients(s, c);
    command(s, "calm\n");
    double most = seconds_now() + SETTLE;
    do {
        rest(0.1);
        command(s, "trim\n");
        for (int i = 0; i < s->count; i++)
            read_one(s, &s->parties[i], &s->parties[i].end);
    } while (seconds_now() < most && all_run(s) && !table_returned(s, with_threads));
}

/* When nothing else goes on, no signal may be lost. */
static void expect_signals(soak *s)
{
    telling before = s->told;
    double most = seconds_now() + 10;
    send_signal(s, 0);
    send_signal(s, 1);
    do
        command(s, "read\n");
    while (seconds_now() < most && (s->told.usr1 != before.usr1 + 1 || s->told.hup != before.hup + 1));
    if (s->told.usr1 != before.usr1 + 1 || s->told.hup != before.hup + 1)
        s->failure = "a signal was lost";
}

/* The servers are told to stop while everybody is busy with them. */
static void stop_in_a_storm(soak *s, clients *c)
{
    storm(s, c, LAST_STORM);
    command(s, "read\n");
    atomic_store(&s->shared->ending, 1);
    parties_stop(s->parties, s->count, STOP_SECONDS);
    stop_clients(s, c);
}

/* What has failed need not be looked at any longer: the servers are still stopped by the caller. */
void weather(soak *s)
{
    clients c;
    double first = s->seconds / 4 < 20 ? s->seconds / 4 : 20;
    storm(s, &c, first);
    calm(s, &c, 0);
    for (int i = 0; i < s->count; i++)
        s->parties[i].warm = s->parties[i].end;
    if (s->failure)
        return;
    storm(s, &c, s->seconds - first - LAST_STORM);
    s->hasty |= weather_interrupted;
    calm(s, &c, !s->hasty);
    if (!s->failure)
        expect_signals(s);
    if (!s->failure)
        stop_in_a_storm(s, &c);
}
