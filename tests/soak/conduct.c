/* conduct.c - soak_servers: servers made with weft under clients that behave, misbehave and die, and what is left of it all in the end.
 *
 *   soak_servers SOAK_SERVER ECHO_SERVER HTTP_SERVER|- [--seconds N] [--seed N] [--memory KIB] [--descriptors N] [--hasty]
 *
 * --descriptors lets servers run out of them, and conversations fail.
 *
 * start ─ reading ─ a first storm ─ calm ─ reading (warm) ─ storm ─ calm ─ reading (end) ─ SIGTERM in the middle of one more ─ table
 *
 * The exit code is 0 if everything came back: descriptors, tasks, connections and threads to what they were at the start, memory to
 * no more than --memory above the warm reading; and if no byte was wrong, no well-behaved conversation failed, and each server ended by itself,
 * with 0 and without a word on standard error. A calm lasts until everything has come back. Idle threads of a pool take 10 s for that: --hasty leaves them be. */
#include "link.h"
#include "party.h"
#include "weather.h"
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* A crowd by one client; soak_server's limit over plain TCP is less than one of them. */
enum { KILLED_AFTER = 20, BIG_FILE = 1000 * 1000, CROWD_BEYOND_LIMIT = 400, CROWD = 500, CROWD_TLS = 60 };

static void interrupt(int number)
{
    (void)number;
    weather_interrupted = 1;
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
        *p = (party){.name = names[i], .program = programs[i], .descriptors = s->descriptors};
        p->arguments[0] = i == 0 ? s->directory : "127.0.0.1:0";
        p->arguments[1] = i == 0 ? seed : i == 1 ? NULL : s->directory;
        if (party_start(p, s->directory, i == 0 ? hear_addresses : hear_address, s) < 0)
            return -1;
        weather_read_start(s, p);
    }
    return s->control;
}

static void show_errors(const soak *s)
{
    char command_line[ADDRESS_TEXT * 3];
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
    static const struct option options[] = {{"seconds", 1, NULL, 's'},     {"hasty", 0, NULL, 'h'},
                                            {"seed", 1, NULL, 'x'},        {"memory", 1, NULL, 'm'},
                                            {"descriptors", 1, NULL, 'd'}, {0}};
    s->seconds = 60;
    s->memory_most = 8192;
    s->shared->seed = (uint64_t)getpid();
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (c == 's')
            s->seconds = atof(optarg);
        else if (c == 'h')
            s->hasty = 1;
        else if (c == 'd')
            s->descriptors = (unsigned)atoi(optarg);
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
    atomic_store(&s.shared->ending, s.descriptors > 0);
    s.luck = chance_of(s.shared->seed, 1u << 30);
    printf("seed %llu\n", (unsigned long long)s.shared->seed);
    fflush(stdout);
    if (prepare_directory(&s) < 0 || start_servers(&s, argv + optind) < 0)
        s.failure = "the servers did not start";
    else
        weather(&s);
    parties_stop(s.parties, s.count, KILLED_AFTER);
    table_print(&s);
    int failed = table_judge(&s);
    tidy_up(&s, failed);
    return failed != 0;
}
