/* conduct.c - soak_servers: servers made with weft under clients that behave, misbehave and die, and what is left of it all in the end.
 *
 *   soak_servers SOAK_SERVER ECHO_SERVER HTTP_SERVER|- [--seconds N] [--settle N] [--seed N] [--memory KIB]
 *
 * start ─ reading ─ a first storm ─ calm ─ reading (warm) ─ storm ─ calm ─ reading (end) ─ SIGTERM in the middle of one more ─ table
 *
 * The exit code is 0 if everything came back: descriptors, tasks, connections and threads to what they were at the start, memory to
 * no more than --memory above the warm reading; and if no byte was wrong, no well-behaved conversation failed, and each server ended by itself,
 * with 0 and without a word on standard error. Idle threads of a pool leave after 10 s, so with less to settle threads are not looked at. */
#include "link.h"
#include "party.h"
#include "table.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LAST_STORM 0.4 /* seconds */
#define IMPATIENT 5.0  /* seconds, for those who have pressed Ctrl-C */

/* A crowd by one client; soak_server's limit over plain TCP is less than one of them. */
enum { STOP_SECONDS = 20, BIG_FILE = 1000 * 1000, CROWD_BEYOND_LIMIT = 400, CROWD = 500, CROWD_TLS = 60 };

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

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
static void read_start(soak *s, party *p)
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

static void storm(soak *s, clients *c, double seconds)
{
    double end = seconds_now() + seconds;
    command(s, "storm\n");
    start_clients(s, c);
    for (unsigned beat = 1; seconds_now() < end && !interrupted && all_run(s); beat++) {
        rest(0.02);
        if (below(&s->luck, 2))
            send_signal(s, below(&s->luck, 4) == 0);
        if (beat % 10 == 0)
            look(s);
        if (below(&s->luck, 40) == 0)
            stop_for_a_moment(s);
        if (below(&s->luck, 30) == 0)
            kill_one(s, c);
    }
}

/* Waits until everything has come back, or for the time that it may take. The reading is in `end`. */
static void calm(soak *s, clients *c, int with_threads)
{
    stop_clients(s, c);
    command(s, "calm\n");
    double most = seconds_now() + s->settle;
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

/* ---- from start to end ------------------------------------------------------------------------------------------- */

static void add_endpoint(soak *s, const char *address, speech kind, int tls, unsigned crowd)
{
    endpoint *e = &s->shared->endpoints[s->shared->endpoint_count++];
    *e = (endpoint){.speech = kind, .tls = tls, .crowd = crowd};
    snprintf(e->address, sizeof e->address, "%s", address);
}

static int hear_address(void *arg, party *p, const char *line)
{
    static const char words[] = "listening on ";
    if (strncmp(line, words, sizeof words - 1) != 0)
        return 0;
    add_endpoint(arg, line + sizeof words - 1, p == &((soak *)arg)->parties[2] ? SPEECH_HTTP : SPEECH_FRAMES, 0, CROWD);
    return 1;
}

static int hear_addresses(void *arg, party *p, const char *line)
{
    soak *s = arg;
    char name[32], address[ADDRESS_TEXT];
    (void)p;
    if (strcmp(line, "ready") == 0)
        return 1;
    if (sscanf(line, "%31s %127s", name, address) != 2)
        return 0;
    if (strcmp(name, "control") == 0) {
        endpoint control = {0};
        snprintf(control.address, sizeof control.address, "%s", address);
        s->control = link_dial(&control, &s->luck);
        return 0;
    }
    int tls = strcmp(name, "tls") == 0;
    add_endpoint(s, address, SPEECH_FRAMES, tls,
                 strcmp(name, "tcp") == 0 ? CROWD_BEYOND_LIMIT
                 : tls                    ? CROWD_TLS
                                          : CROWD);
    return 0;
}

static int prepare_directory(soak *s)
{
    char path[ADDRESS_TEXT];
    snprintf(s->directory, sizeof s->directory, "/tmp/weft_soak_XXXXXX");
    if (!mkdtemp(s->directory))
        return -1;
    snprintf(path, sizeof path, "%s/big", s->directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int done = fd >= 0 ? ftruncate(fd, BIG_FILE) : -1;
    close(fd);
#ifdef SOAK_TLS
    snprintf(path, sizeof path, "%s/soak.pem", s->directory);
    done = done < 0 ? done : tls_certificate(path);
#endif
    return done;
}

static int start_servers(soak *s, char **programs)
{
    char seed[32];
    static char *const names[] = {"soak_server", "echo_server", "http_server"};
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)s->shared->seed);
    for (int i = 0; i < PARTIES_MOST && strcmp(programs[i], "-") != 0; i++) {
        party *p = &s->parties[s->count++];
        *p = (party){.name = names[i], .program = programs[i]};
        p->arguments[0] = i == 0 ? s->directory : "127.0.0.1:0";
        p->arguments[1] = i == 0 ? seed : i == 1 ? NULL : s->directory;
        if (party_start(p, s->directory, i == 0 ? hear_addresses : hear_address, s) < 0)
            return -1;
        read_start(s, p);
    }
    return s->control;
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
static void weather(soak *s)
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
    if (interrupted && s->settle > IMPATIENT)
        s->settle = IMPATIENT;
    calm(s, &c, s->settle >= POOL_LEAVES_AFTER);
    if (!s->failure)
        expect_signals(s);
    if (!s->failure)
        stop_in_a_storm(s, &c);
}

static void show_errors(const soak *s)
{
    char command_line[ADDRESS_TEXT * 2];
    for (int i = 0; i < s->count; i++) {
        snprintf(command_line, sizeof command_line, "test ! -s %s || head -n 200 %s", s->parties[i].errors,
                 s->parties[i].errors);
        (void)!system(command_line);
    }
}

static void tidy_up(soak *s, int failed)
{
    char command_line[ADDRESS_TEXT];
    if (failed)
        show_errors(s);
    snprintf(command_line, sizeof command_line, "rm -rf %s", s->directory);
    (void)!system(command_line);
}

static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void parse(soak *s, int argc, char **argv)
{
    static const struct option options[] = {
        {"seconds", 1, NULL, 's'}, {"settle", 1, NULL, 'w'}, {"seed", 1, NULL, 'x'}, {"memory", 1, NULL, 'm'}, {0}};
    s->seconds = 60;
    s->settle = 15;
    s->memory_most = 8192;
    s->shared->seed = (uint64_t)getpid();
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (c == 's')
            s->seconds = atof(optarg);
        else if (c == 'w')
            s->settle = atof(optarg);
        else if (c == 'm')
            s->memory_most = atol(optarg);
        else if (c == 'x')
            s->shared->seed = strtoull(optarg, NULL, 0);
        else
            exit(2);
}

int main(int argc, char **argv)
{
    static soak s;
    struct sigaction on_interrupt = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    s.shared = mmap(NULL, sizeof *s.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s.shared == MAP_FAILED)
        return 2;
    parse(&s, argc, argv);
    if (argc - optind != PARTIES_MOST)
        return 2;
    sigaction(SIGINT, &on_interrupt, NULL);
    sigaction(SIGTERM, &on_interrupt, NULL);
    allow_descriptors();
    s.luck = chance_of(s.shared->seed, 1u << 30);
    printf("seed %llu\n", (unsigned long long)s.shared->seed);
    fflush(stdout);
    if (prepare_directory(&s) < 0 || start_servers(&s, argv + optind) < 0)
        s.failure = "the servers did not start";
    else
        weather(&s);
    parties_stop(s.parties, s.count, STOP_SECONDS);
    table_print(&s);
    int failed = table_judge(&s);
    tidy_up(&s, failed);
    return failed != 0;
}
