/* A trace of what a runtime does, for https://ui.perfetto.dev or chrome://tracing: hooks, and jansson, which writes the file.
 *
 *   ./15_trace trace.json
 *
 * Each worker is a thread there, with a slice for each poll of a task and for each sleep, an arrow from the task that wakes to the poll that follows, and
 * the number of tasks above. The load to look at is a pipeline: lines are made, squared, stored by a blocking call, and logged through a pipe.
 *
 * A hook runs in the midst of the scheduler: it notes the event in the buffer of its worker, where nobody else writes, and that is all. Buffers have an
 * end; what comes later is counted. Everything else is done when the runtime is gone. */
#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

/* ---- the tracer ------------------------------------------------------------------------------------------------ */

enum { WORKERS = 3, TRACKS = WORKERS + 1, ROOM = 20000 };

typedef enum what { SPAWN, WAKE, BEGIN, LEAVE, END, READY } what;

typedef struct event {
    what what;
    bool in_task; /* a wake by a task, not by what the kernel or the clock has said */
    int track, flow;
    int64_t when;
    uint64_t task;
    char text[32];
} event;

/* Of one worker; the first is of all threads that are none, which count each other by the atomic. */
typedef struct track {
    event events[ROOM + 1]; /* the last place is for the end of a slice that began in time */
    atomic_size_t count;
    event *slice; /* that is open; NULL: none */
    bool in_task; /* … and a task's */
} track;

typedef struct tracer {
    track tracks[TRACKS];
    atomic_size_t missed;
    int64_t begin;
} tracer;

static event *note(tracer *t, int worker, what kind, const weft_task *task)
{
    track *own = &t->tracks[worker + 1];
    size_t i = atomic_fetch_add(&own->count, 1);
    if (i >= ROOM && kind != LEAVE) {
        atomic_fetch_add(&t->missed, 1);
        return NULL;
    }
    event *e = &own->events[i < ROOM ? i : ROOM];
    *e = (event){.what = kind, .when = weft_now(), .task = weft_task_id(task), .track = worker + 1, .in_task = own->in_task};
    return e;
}

static void begin_slice(tracer *t, int worker, const weft_task *task)
{
    track *own = &t->tracks[worker + 1];
    own->slice = note(t, worker, BEGIN, task);
    own->in_task = task != NULL;
}

/* Called @name, as a task may have named itself meanwhile. */
static void end_slice(tracer *t, int worker, const weft_task *task, const char *name, const char *left)
{
    track *own = &t->tracks[worker + 1];
    if (own->slice) {
        snprintf(own->slice->text, sizeof own->slice->text, "%s", *name ? name : "task");
        event *e = note(t, worker, LEAVE, task);
        snprintf(e->text, sizeof e->text, "%s", left);
    }
    own->slice = NULL;
    own->in_task = false;
}

static void on_spawn(void *arg, int worker, const weft_task *task) { note(arg, worker, SPAWN, task); }

static void on_wake(void *arg, int worker, const weft_task *task) { note(arg, worker, WAKE, task); }

static void on_poll_begin(void *arg, int worker, const weft_task *task) { begin_slice(arg, worker, task); }

static void on_poll_end(void *arg, int worker, const weft_task *task, weft_left left)
{
    static const char *const how[] = {[WEFT_LEFT_WAITING] = "waits", [WEFT_LEFT_READY] = "yields", [WEFT_LEFT_ENDED] = "ends"};
    end_slice(arg, worker, task, weft_task_name(task), how[left]);
}

static void on_end(void *arg, int worker, const weft_task *task, int status)
{
    (void)status;
    note(arg, worker, END, task);
}

static void on_park(void *arg, int worker) { begin_slice(arg, worker, NULL); }

static void on_unpark(void *arg, int worker) { end_slice(arg, worker, NULL, "idle", "is awake"); }

static void on_ready(void *arg, int worker, int fd, int readable, int writable)
{
    event *e = note(arg, worker, READY, NULL);
    if (e)
        snprintf(e->text, sizeof e->text, "fd %d:%s%s", fd, readable ? " read" : "", writable ? " write" : "");
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

/* One event of the format, with what @more has besides. */
static void put(json_t *out, const tracer *t, const char *phase, const char *name, const event *e, json_t *more)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:i, s:i, s:f}", "ph", phase, "cat", "weft", "name", name, "pid", 1, "tid",
                          e->track, "ts", (double)(e->when - t->begin) / 1000);
    if (more)
        json_object_update_new(o, more);
    json_array_append_new(out, o);
}

static void put_event(json_t *out, const tracer *t, const event *e, int *tasks)
{
    json_int_t task = (json_int_t)e->task;
    if (e->what == SPAWN || e->what == END) {
        *tasks += e->what == SPAWN ? 1 : -1;
        put(out, t, "i", e->what == SPAWN ? "spawn" : "end", e, json_pack("{s:s, s:{s:I}}", "s", "t", "args", "task", task));
        put(out, t, "C", "tasks", e, json_pack("{s:{s:i}}", "args", "alive", *tasks));
    } else if (e->what == READY) {
        put(out, t, "i", e->text, e, json_pack("{s:s}", "s", "t"));
    } else if (e->what == WAKE) {
        put(out, t, "i", "wake", e, json_pack("{s:s, s:{s:I}}", "s", "t", "args", "task", task));
        if (e->flow)
            put(out, t, "s", "wake", e, json_pack("{s:i}", "id", e->flow));
    } else if (e->what == BEGIN) {
        put(out, t, "B", e->text, e, json_pack("{s:{s:I}}", "args", "task", task));
        if (e->flow)
            put(out, t, "f", "wake", e, json_pack("{s:i, s:s}", "id", e->flow, "bp", "e"));
    } else {
        put(out, t, "E", "", e, json_pack("{s:{s:s}}", "args", "left", e->text));
    }
}

static void name_thread(json_t *out, int number)
{
    char name[32] = "other threads";
    if (number > 0)
        snprintf(name, sizeof name, "worker %d", number - 1);
    json_array_append_new(out, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "ph", "M", "name", "thread_name", "pid", 1,
                                         "tid", number, "args", "name", name));
}

static int by_time(const void *a, const void *b)
{
    const event *x = *(event *const *)a, *y = *(event *const *)b;
    return x->when != y->when ? (x->when > y->when) - (x->when < y->when) : (x > y) - (x < y);
}

static int by_task(const void *a, const void *b)
{
    const event *x = *(event *const *)a, *y = *(event *const *)b;
    return x->task != y->task ? (x->task > y->task) - (x->task < y->task) : by_time(a, b);
}

/* What a task's wake leads to is the next that is heard of it. */
static void number_flows(event **events, size_t n)
{
    qsort(events, n, sizeof *events, by_task);
    for (size_t i = 0; i + 1 < n; i++)
        if (events[i]->what == WAKE && events[i]->in_task && events[i + 1]->what == BEGIN &&
            events[i + 1]->task == events[i]->task)
            events[i]->flow = events[i + 1]->flow = (int)i + 1;
}

static size_t collect(tracer *t, event **events)
{
    size_t n = 0;
    for (int i = 0; i < TRACKS; i++) {
        track *own = &t->tracks[i];
        for (size_t k = 0; k <= ROOM && k < atomic_load(&own->count); k++)
            if (own->events[k].when) /* the last place may be empty */
                events[n++] = &own->events[k];
    }
    return n;
}

/* Returns how many events there were, or -1. */
static long tracer_write(tracer *t, const char *path)
{
    int tasks = 0;
    event **events = malloc(TRACKS * (ROOM + 1) * sizeof *events);
    json_t *out = json_array();
    if (!events || !out)
        return -1;
    size_t n = collect(t, events);
    number_flows(events, n);
    qsort(events, n, sizeof *events, by_time);
    for (int i = 0; i < TRACKS; i++)
        name_thread(out, i);
    for (size_t i = 0; i < n; i++)
        put_event(out, t, events[i], &tasks);
    json_t *file = json_pack("{s:o, s:s}", "traceEvents", out, "displayTimeUnit", "ns");
    int err = json_dump_file(file, path, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(file);
    free(events);
    return err ? -1 : (long)n;
}

/* ---- the load: a pipeline -------------------------------------------------------------------------------------- */

enum { MAKERS = 3, SQUARERS = 2, EACH = 40 };

WEFT_CHAN_TYPE(long, numbers);

typedef struct pipeline {
    weft_chan *plain, *squares;
    weft_stream *in, *log;
} pipeline;

static void *make(void *arg)
{
    pipeline *p = arg;
    weft_set_name("make");
    for (long n = 1; n <= EACH; n++) {
        weft_sleep(WEFT_MS / 2);
        numbers_send(p->plain, n);
    }
    return NULL;
}

static void *square(void *arg)
{
    pipeline *p = arg;
    long n;
    weft_set_name("square");
    while (numbers_recv(p->plain, &n) == 0) {
        for (int64_t until = weft_now() + 50 * 1000; weft_now() < until;)
            ; /* it is hard work */
        numbers_send(p->squares, n * n);
    }
    return NULL;
}

static void *sync_to_disk(void *arg) { return arg; }

static void *store(void *arg)
{
    pipeline *p = arg;
    long n, stored = 0;
    weft_set_name("store");
    while (numbers_recv(p->squares, &n) == 0) {
        char line[32];
        int length = snprintf(line, sizeof line, "%ld\n", n);
        stored++;
        if (stored % 16 == 0)
            weft_blocking(sync_to_disk, NULL, NULL);
        weft_write(p->in, line, (size_t)length);
    }
    weft_close(p->in);
    return NULL;
}

static void *read_log(void *arg)
{
    pipeline *p = arg;
    char text[256];
    weft_set_name("log");
    while (weft_read(p->log, text, sizeof text) > 0)
        ;
    weft_close(p->log);
    return NULL;
}

static void stages(pipeline *p)
{
    weft_group *makers, *squarers, *ends;
    if (weft_group_create(&ends) < 0 || weft_group_create(&squarers) < 0 || weft_group_create(&makers) < 0) {
        weft_close(p->in);
        weft_close(p->log);
        return;
    }
    weft_group_spawn(ends, store, p);
    weft_group_spawn(ends, read_log, p);
    for (int i = 0; i < SQUARERS; i++)
        weft_group_spawn(squarers, square, p);
    for (int i = 0; i < MAKERS; i++)
        weft_group_spawn(makers, make, p);
    weft_group_wait(makers);
    weft_chan_close(p->plain);
    weft_group_wait(squarers);
    weft_chan_close(p->squares);
    weft_group_wait(ends);
}

static void *app(void *arg)
{
    pipeline p;
    weft_set_name("app");
    if (numbers_create(&p.plain, 4) < 0 || numbers_create(&p.squares, 4) < 0 || weft_pipe(&p.log, &p.in) < 0)
        return weft_fail(WEFT_ENOMEM);
    weft_task *job;
    if (weft_spawn_blocking(&job, sync_to_disk, NULL) == 0)
        weft_join(job, NULL);
    stages(&p);
    weft_chan_free(p.plain);
    weft_chan_free(p.squares);
    return arg;
}

int main(int argc, char **argv)
{
    static tracer t;
    const char *path = argc > 1 ? argv[1] : "trace.json";
    weft_options options = {.workers = WORKERS,
                            .hooks = {.arg = &t,
                                      .spawn = on_spawn,
                                      .wake = on_wake,
                                      .poll_begin = on_poll_begin,
                                      .poll_end = on_poll_end,
                                      .end = on_end,
                                      .park = on_park,
                                      .unpark = on_unpark,
                                      .ready = on_ready}};
    t.begin = weft_now();
    if (weft_run_with(&options, app, NULL, NULL) < 0)
        return 1;
    long events = tracer_write(&t, path);
    if (events < 0) {
        fprintf(stderr, "%s cannot be written\n", path);
        return 1;
    }
    printf("%ld events in %s, %zu missed\n", events, path, atomic_load(&t.missed));
    return 0;
}
