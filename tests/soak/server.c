/* server.c - soak_server: echoes frames over TCP, over sharded TCP, without a stack, over a Unix socket, over TLS and through a proxy, and tells what it has.
 *
 *   soak_server DIRECTORY [SEED]
 *
 * It prints where it listens, and then "ready". DIRECTORY is for its sockets; a certificate in soak.pem there means TLS. On DIRECTORY/control it
 * takes lines: "storm", "calm", "trim", "read". SIGUSR1 is counted, SIGHUP ends an era, SIGTERM drains. */
#include "server.h"
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef SOAK_TLS
#include <weft/tls.h>
#endif

#define DRAIN (WEFT_SEC / 2)

enum { CONNECTIONS_MOST = 256, LISTENERS_MOST = 7, PATH_TEXT = 100 };

tally counted;

typedef struct door {
    weft_listener *listener;
    weft_handler handler;
    void *arg;
    weft_serve_options options;
    weft_serve_counters counters;
    weft_task *server;
} door;

typedef struct program {
    const char *directory;
    uint64_t seed;
    door doors[LISTENERS_MOST]; /* the last one is for control */
    int count;
    weft_tls_context *tls;
} program;

/* ---- control ---------------------------------------------------------------------------------------------------- */

static void *control(weft_stream *peer, void *arg);

static uint64_t connections(const program *p)
{
    uint64_t active = 0;
    for (int i = 0; i < p->count; i++) {
        weft_serve_counters c;
        weft_serve_counters_get(&p->doors[i].counters, &c);
        active += p->doors[i].handler != control ? c.active : 0;
    }
    return active;
}

static int tell(weft_stream *peer, const program *p)
{
    char text[256];
    weft_metrics_t m;
    weft_metrics(NULL, &m);
    int n = snprintf(text, sizeof text,
                     "tasks %llu connections %llu aborts %lu groups %lu scopes %lu usr1 %lu hup %lu wrong %lu\n",
                     (unsigned long long)m.active, (unsigned long long)connections(p), atomic_load(&counted.aborts),
                     atomic_load(&counted.groups), atomic_load(&counted.scopes), atomic_load(&counted.usr1),
                     atomic_load(&counted.hup), atomic_load(&counted.wrong));
    return weft_write(peer, text, (size_t)n) < 0 ? -1 : 0;
}

static int obey(weft_stream *peer, const program *p, const char *line)
{
    if (strcmp(line, "storm") == 0 || strcmp(line, "calm") == 0)
        unrest_set(line[0] == 's');
    else if (strcmp(line, "trim") == 0)
        malloc_trim(0);
    return tell(peer, p);
}

static void *control(weft_stream *peer, void *arg)
{
    weft_reader *in;
    char *line;
    size_t length;
    if (weft_reader_create(&in, peer, 0) == 0)
        while (weft_reader_line(in, &line, &length) == 1 && obey(peer, arg, line) == 0)
            ;
    return NULL;
}

/* ---- signals ---------------------------------------------------------------------------------------------------- */

static void *count_usr1(void *arg)
{
    for (int n; (n = weft_signal_next(arg)) > 0;)
        atomic_fetch_add(&counted.usr1, (unsigned long)n);
    return NULL;
}

static void *end_eras(void *arg)
{
    for (int n; (n = weft_signal_next(arg)) > 0;) {
        if (next_era() < 0)
            atomic_fetch_add(&counted.wrong, 1);
        atomic_fetch_add(&counted.hup, (unsigned long)n);
    }
    return NULL;
}

/* ---- from start to end ------------------------------------------------------------------------------------------ */

static void *serve(void *arg)
{
    door *d = arg;
    int end = weft_serve(d->listener, d->handler, d->arg, &d->options);
    return end == WEFT_ECLOSED ? NULL : weft_fail(end);
}

static int open_door(program *p, const char *name, weft_handler handler, weft_serve_options options)
{
    door *d = &p->doors[p->count];
    char path[PATH_TEXT], text[WEFT_ADDR_TEXT];
    weft_addr addr;
    weft_tcp_options tcp = {.reuse_port = (int)options.shards};
    snprintf(path, sizeof path, "%s/%s", p->directory, name);
    int by_path = strcmp(name, "unix") == 0 || strcmp(name, "control") == 0;
    int err = by_path ? weft_unix_listen(&d->listener, path, NULL) : weft_tcp_listen(&d->listener, "127.0.0.1:0", &tcp);
    if (err < 0)
        return err;
    d->handler = handler;
    d->arg = p;
    d->options = options;
    d->options.counters = &d->counters;
    p->count++;
    weft_listener_addr(d->listener, &addr);
    printf("%s %s\n", name, weft_addr_format(&addr, text, sizeof text));
    if (options.shards)
        errands_know(text);
    return weft_spawn(&d->server, serve, d);
}

static int open_tls_door(program *p)
{
#ifdef SOAK_TLS
    char path[PATH_TEXT];
    weft_tls_options options = {.certificate = path};
    snprintf(path, sizeof path, "%s/soak.pem", p->directory);
    int err = weft_tls_server(&p->tls, &options);
    return err < 0 ? err : open_door(p, "tls", converse, (weft_serve_options){.tls = p->tls, .drain_timeout = DRAIN});
#else
    (void)p;
    return 0;
#endif
}

static int open_doors(program *p)
{
    weft_serve_options few = {.max_connections = CONNECTIONS_MOST, .drain_timeout = DRAIN};
    weft_serve_options shards = {.shards = 1, .drain_timeout = DRAIN};
    weft_serve_options stackless = {.future = converse_without_stack, .drain_timeout = DRAIN};
    weft_serve_options any = {.drain_timeout = DRAIN};
    int err = open_door(p, "tcp", converse, few);
    err = err < 0 ? err : open_door(p, "shards", converse, shards);
    err = err < 0 ? err : open_door(p, "unix", converse, any);
    err = err < 0 ? err : open_door(p, "stackless", NULL, stackless);
    err = err < 0 ? err : open_door(p, "proxy", pass_on, any);
    err = err < 0 ? err : open_tls_door(p);
    return err < 0 ? err : open_door(p, "control", control, any);
}

/* All at once, so that they drain at the same time. 0, or why one of them ended. */
static int close_doors(program *p)
{
    int failed = 0;
    for (int i = 0; i < p->count; i++)
        weft_listener_close(p->doors[i].listener);
    for (int i = 0; i < p->count; i++) {
        int err = weft_join(p->doors[i].server, NULL);
        failed = failed ? failed : err;
    }
    return failed;
}

static int until_told(program *p)
{
    weft_signal *usr1 = NULL, *hup = NULL;
    weft_task *tasks[3] = {NULL, NULL, NULL};
    int err = next_era();
    err = err < 0 ? err : weft_signal_open(&usr1, SIGUSR1);
    err = err < 0 ? err : weft_signal_open(&hup, SIGHUP);
    err = err < 0 ? err : weft_spawn(&tasks[0], count_usr1, usr1);
    err = err < 0 ? err : weft_spawn(&tasks[1], end_eras, hup);
    err = err < 0 ? err : weft_spawn(&tasks[2], unrest, &p->seed);
    err = err < 0 ? err : errand_process();
    err = err < 0 ? err : open_doors(p);
    if (err == 0) {
        puts("ready");
        fflush(stdout);
        err = weft_shutdown_signal();
    }
    for (int i = 0; i < 3; i++)
        weft_task_close(tasks[i]);
    weft_signal_close(usr1);
    weft_signal_close(hup);
    int closed = close_doors(p);
    return err < 0 ? err : closed;
}

static void *run(void *arg)
{
    program *p = arg;
    int err = until_told(p);
    last_era();
#ifdef SOAK_TLS
    weft_tls_context_free(p->tls);
#endif
    if (err < 0)
        fprintf(stderr, "%s: %s\n", weft_strerror(err), weft_error_detail());
    return err < 0 || atomic_load(&counted.wrong) ? weft_fail(err < 0 ? err : WEFT_EPROTO) : NULL;
}

int main(int argc, char **argv)
{
    static program p;
    if (argc < 2)
        return 2;
    p.directory = argv[1];
    p.seed = chance_of(argc > 2 ? strtoull(argv[2], NULL, 0) : 1, 0);
    weft_options options = {.workers = 3, .name = "soak"};
    int err = weft_run_with(&options, run, &p, NULL);
    if (err < 0)
        fprintf(stderr, "%s\n", weft_strerror(err));
    return err < 0;
}
