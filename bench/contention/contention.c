/* contention.c - what all workers share, and how often each of them touches it.   contention [WORK [WORKERS]]
 *
 * Runs on a library whose atomic operations and locks are counted by their place (count.h), so times mean nothing here. For each work: a table of what
 * is shared, per operation, at 2 to 64 workers; "contended" are compare-and-swaps that failed and locks that somebody held, per
 * thousand operations. With a number of workers: every place, for one who looks for more. Few CPUs run few workers at the same moment, so counts
 * of touches hold for any machine, and those of contention are lower bounds.
 * storm: each of as many strands as workers spawns and joins batches of 50; named: with a name, and so a side block, each. pingpong: 64 pairs over channels of one place. mpsc: 8 producers, one
 * consumer, 1,024 places. echo: 64 pairs over sockets, each waking through epoll. outside: 4 ordinary threads spawn and join one by one. */
#include "count.h"

#include "../bench_weft.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>

enum {
    BATCH = 50,
    BATCHES = 400,
    PAIRS = 64,
    TRIPS = 400,
    PRODUCERS = 8,
    MESSAGES = 10000,
    OUTSIDERS = 4,
    SPAWNS = 3000
};

extern struct count_place *const __start_places[], *const __stop_places[];

unsigned count_thread(void)
{
    static unsigned threads;
    static _Thread_local unsigned mine; /* from 1 on; places are kept within bounds by sharing */
    if (mine == 0)
        mine = __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
    return (mine - 1) % COUNT_THREADS;
}

/* ---- works: each returns how many operations it has done ------------------------------------------------------ */

static void *nothing(void *arg) { return arg; }

static bool with_names;

static weft_task *spawn_one(void)
{
    weft_spawn_options options = WEFT_SPAWN_OPTIONS_INIT;
    weft_task *task;
    options.name = with_names ? "one of many" : NULL;
    BENCH_CHECK(weft_spawn_with(&task, &options, nothing, NULL) == 0);
    return task;
}

static void *spawn_batches(void *arg)
{
    weft_task *task[BATCH];
    for (int i = 0; i < BATCHES; i++) {
        for (int k = 0; k < BATCH; k++)
            task[k] = spawn_one();
        for (int k = 0; k < BATCH; k++)
            bench_join(task[k]);
    }
    return arg;
}

static double storm(void)
{
    weft_task *task[64];
    for (unsigned i = 0; i < bench_workers; i++)
        task[i] = bench_spawn(spawn_batches, NULL);
    for (unsigned i = 0; i < bench_workers; i++)
        bench_join(task[i]);
    return (double)bench_workers * BATCH * BATCHES;
}

static double named(void)
{
    with_names = true;
    return storm();
}

struct pair {
    weft_chan *there, *back;
};

static void *serve_pings(void *arg)
{
    struct pair *p = arg;
    for (int i = 0, ball; i < TRIPS; i++)
        BENCH_CHECK(weft_chan_recv(p->there, &ball) == 0 && weft_chan_send(p->back, &ball) == 0);
    return NULL;
}

static void *send_pings(void *arg)
{
    struct pair *p = arg;
    for (int i = 0, ball = 0; i < TRIPS; i++)
        BENCH_CHECK(weft_chan_send(p->there, &ball) == 0 && weft_chan_recv(p->back, &ball) == 0);
    return NULL;
}

static double pingpong(void)
{
    struct pair pair[PAIRS];
    weft_task *task[2 * PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        BENCH_CHECK(weft_chan_create(&pair[i].there, sizeof(int), 1) == 0 &&
                    weft_chan_create(&pair[i].back, sizeof(int), 1) == 0);
        task[2 * i] = bench_spawn(serve_pings, &pair[i]);
        task[2 * i + 1] = bench_spawn(send_pings, &pair[i]);
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        bench_join(task[i]);
    for (int i = 0; i < PAIRS; i++)
        BENCH_CHECK(weft_chan_free(pair[i].there) == 0 && weft_chan_free(pair[i].back) == 0);
    return (double)PAIRS * TRIPS;
}

static void *produce(void *ch)
{
    for (int i = 0; i < MESSAGES; i++)
        BENCH_CHECK(weft_chan_send(ch, &i) == 0);
    return NULL;
}

static double mpsc(void)
{
    weft_chan *ch;
    weft_task *task[PRODUCERS];
    BENCH_CHECK(weft_chan_create(&ch, sizeof(int), 1024) == 0);
    for (int i = 0; i < PRODUCERS; i++)
        task[i] = bench_spawn(produce, ch);
    for (int i = 0, item; i < PRODUCERS * MESSAGES; i++)
        BENCH_CHECK(weft_chan_recv(ch, &item) == 0);
    for (int i = 0; i < PRODUCERS; i++)
        bench_join(task[i]);
    BENCH_CHECK(weft_chan_free(ch) == 0);
    return (double)PRODUCERS * MESSAGES;
}

static void *answer(void *s)
{
    char byte;
    while (weft_read(s, &byte, 1) == 1 && weft_write(s, &byte, 1) == 1) {
    }
    weft_close(s);
    return NULL;
}

static void *ask(void *s)
{
    char byte = 'w';
    for (int i = 0; i < TRIPS; i++)
        BENCH_CHECK(weft_write(s, &byte, 1) == 1 && weft_read(s, &byte, 1) == 1);
    weft_close(s);
    return NULL;
}

static double echo(void)
{
    weft_task *task[2 * PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        int fd[2];
        weft_stream *a, *b;
        BENCH_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
        BENCH_CHECK(weft_stream_from_fd(&a, fd[0]) == 0 && weft_stream_from_fd(&b, fd[1]) == 0);
        task[2 * i] = bench_spawn(answer, a);
        task[2 * i + 1] = bench_spawn(ask, b);
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        bench_join(task[i]);
    return (double)PAIRS * TRIPS;
}

static void *spawn_from_outside(void *rt)
{
    for (int i = 0; i < SPAWNS; i++) {
        weft_task *task;
        BENCH_CHECK(weft_spawn_on(rt, &task, nothing, NULL) == 0);
        bench_join(task);
    }
    return NULL;
}

static double outside(void)
{
    pthread_t thread[OUTSIDERS];
    for (int i = 0; i < OUTSIDERS; i++)
        BENCH_CHECK(pthread_create(&thread[i], NULL, spawn_from_outside, weft_runtime_current()) == 0);
    for (int i = 0; i < OUTSIDERS; i++)
        pthread_join(thread[i], NULL); /* this worker waits, as one of the others */
    return (double)OUTSIDERS * SPAWNS;
}

static const struct work {
    const char *name;
    double (*run)(void);
} works[] = {{"storm", storm}, {"named", named}, {"pingpong", pingpong},
             {"mpsc", mpsc},   {"echo", echo},   {"outside", outside}};
enum { WORKS = sizeof works / sizeof works[0] };

/* ---- what is shared ------------------------------------------------------------------------------------------ */

static const struct shared {
    const char *name, *file, *what; /* the ends of a place's file, and a part of what it touches */
    const char *how;                /* NULL: anything but a load */
} shareds[] = {
    {"inject_lock", "runtime/runq.h", "q->lock", "lock"},
    {"inject_len", "runtime/runq.h", "q->len", NULL},
    {"searchers", "runtime/idle.c", "searchers", NULL},
    {"parked_mask", "runtime/idle.c", "word", NULL},
    {"active_at", "", "active_at", NULL},
    {"neighbours_seen", "runtime/idle.c", "seen_at", "load"},
    {"entrants", "", "entrants", NULL},
    {"foreign_counts", "", "foreign_", NULL},
    {"ids", "runtime/runtime.c", "last_id", NULL},
    {"header_depot", "runtime/headers.c", "heap->lock", NULL},
    {"side_blocks", "runtime/task.c", "extras", "lock"},
    {"stack_depot", "runtime/stack.c", "&lock", NULL},
    {"fresh_top", "runtime/runq.h", "q->top", NULL},
    {"fresh_bottom", "runtime/runq.h", "q->bottom", "rmw"},
    {"woken_head", "runtime/runq.h", "q->head", NULL},
    {"task_word", "runtime/state.h", "s", "rmw"},
    {"bell", "reactor/reactor.c", "parked", NULL},
    {"reactor_held", "reactor/", "held", NULL},
    {"chan_lock", "sync/chan.c", "lock", NULL},
    {"source_word", "reactor/source_state.h", "", "rmw"},
};
enum { SHAREDS = sizeof shareds / sizeof shareds[0], WORKER_COUNTS = 6 };

static const unsigned worker_counts[WORKER_COUNTS] = {2, 4, 8, 16, 32, 64};

struct tally {
    double done, failed;
};

static struct tally tally_of(const struct count_place *p)
{
    struct tally t = {0};
    for (int i = 0; i < COUNT_THREADS; i++) {
        t.done += (double)p->by[i].done;
        t.failed += (double)p->by[i].failed;
    }
    return t;
}

static bool is_part(const struct shared *s, const struct count_place *p)
{
    return strstr(p->file, s->file) && strstr(p->what, s->what) &&
           (s->how ? strcmp(s->how, p->how) == 0 : strcmp("load", p->how) != 0);
}

static struct tally sum(const struct shared *s)
{
    struct tally all = {0};
    for (struct count_place *const *p = __start_places; p < __stop_places; p++) {
        struct tally t = is_part(s, *p) ? tally_of(*p) : (struct tally){0};
        all.done += t.done;
        all.failed += t.failed;
    }
    return all;
}

static void reset(void)
{
    for (struct count_place *const *p = __start_places; p < __stop_places; p++)
        memset((*p)->by, 0, sizeof(*p)->by);
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

/* Of one work at one number of workers, from a process of its own through a pipe. */
struct outcome {
    struct tally shared[SHAREDS];
    double polls, steals, parks;
};

static const struct work *work;
static struct outcome outcome;
static bool every_place;

static void print_places(double operations)
{
    for (struct count_place *const *p = __start_places; p < __stop_places; p++) {
        struct tally t = tally_of(*p);
        const char *room = strrchr((*p)->file, '/');
        if (t.done / operations >= 0.0005)
            printf("%10.3f %8.3f  %-5s %s:%d %s\n", t.done / operations, 1000 * t.failed / operations, (*p)->how,
                   room ? room + 1 : (*p)->file, (*p)->line, (*p)->what);
    }
}

static void *measure(void *arg)
{
    weft_metrics_t before, after;
    work->run();
    reset();
    BENCH_CHECK(weft_metrics(NULL, &before) == 0);
    double operations = work->run();
    BENCH_CHECK(weft_metrics(NULL, &after) == 0);
    for (int i = 0; i < SHAREDS; i++) {
        struct tally t = sum(&shareds[i]);
        outcome.shared[i] = (struct tally){t.done / operations, 1000 * t.failed / operations};
    }
    outcome.polls = (double)(after.polls - before.polls) / operations;
    outcome.steals = (double)(after.steals - before.steals) / operations;
    outcome.parks = (double)(after.parks - before.parks) / operations;
    if (every_place)
        print_places(operations);
    return arg;
}

static struct outcome measure_in_child(unsigned workers)
{
    struct outcome o;
    int ends[2], status;
    BENCH_CHECK(pipe(ends) == 0);
    fflush(stdout);
    pid_t pid = fork();
    BENCH_CHECK(pid >= 0);
    if (pid == 0) {
        bench_run(workers, measure);
        BENCH_CHECK(write(ends[1], &outcome, sizeof outcome) == sizeof outcome);
        _exit(0);
    }
    close(ends[1]);
    BENCH_CHECK(read(ends[0], &o, sizeof o) == sizeof o && waitpid(pid, &status, 0) == pid && status == 0);
    close(ends[0]);
    return o;
}

static void print_row(const char *name, const double *value)
{
    printf("%-10s %-15s", work->name, name);
    for (int i = 0; i < WORKER_COUNTS; i++)
        printf(" %9.3f", value[i]);
    printf("\n");
}

static void print_table(const struct outcome *o)
{
    double row[WORKER_COUNTS];
#define ROW(name, field)                        \
    do {                                        \
        for (int i = 0; i < WORKER_COUNTS; i++) \
            row[i] = o[i].field;                \
        print_row(name, row);                   \
    } while (0)
    ROW("polls", polls);
    ROW("steals", steals);
    ROW("parks", parks);
    for (int s = 0; s < SHAREDS; s++) {
        char contended[64];
        if (o[0].shared[s].done + o[WORKER_COUNTS - 1].shared[s].done < 0.002)
            continue;
        ROW(shareds[s].name, shared[s].done);
        snprintf(contended, sizeof contended, " contended");
        if (o[0].shared[s].failed + o[WORKER_COUNTS - 1].shared[s].failed >= 0.01)
            ROW(contended, shared[s].failed);
    }
#undef ROW
}

static void measure_work(void)
{
    struct outcome o[WORKER_COUNTS];
    for (int i = 0; i < WORKER_COUNTS; i++)
        o[i] = measure_in_child(worker_counts[i]);
    print_table(o);
}

int main(int argc, char **argv)
{
    bool known = false;
    if (argc < 3)
        printf("%-10s %-15s %9d %9d %9d %9d %9d %9d  workers\n", "work", "per operation", 2, 4, 8, 16, 32, 64);
    for (int i = 0; i < WORKS; i++) {
        work = &works[i];
        if (argc > 1 && strcmp(argv[1], work->name) != 0)
            continue;
        known = true;
        if (argc < 3) {
            measure_work();
            continue;
        }
        every_place = true;
        bench_run((unsigned)atoi(argv[2]), measure);
    }
    return known ? 0 : 2;
}
