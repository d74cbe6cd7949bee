/* prometheus.c - the counters as a page in Prometheus' text format, version 0.0.4.
 *
 * One page is of one runtime: a name may be explained once in a page. Nothing is written with a decimal point by the C library, which would ask the
 * program's locale: seconds are two whole numbers. */
#include <diag/metrics.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

typedef struct page {
    weft_runtime *rt;
    FILE *to;
    char name[4 * sizeof((weft_runtime *)0)->name]; /* the runtime's, as a label's value */
    int err;
} page;

WEFT_PRINTF(2, 3) static void put(page *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (p->err == 0 && vfprintf(p->to, fmt, args) < 0)
        p->err = errno ? -errno : -EIO;
    va_end(args);
}

/* ---- labels -------------------------------------------------------------------------------------------------- */

/* Bytes of the character at @s if it is well-formed UTF-8, else 0. */
static size_t character(const unsigned char *s)
{
    static const struct form {
        unsigned char first, last, low, high; /* of the first byte; of the second */
        size_t bytes;
    } forms[] = {{0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                 {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                 {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (const struct form *f = forms; f < forms + sizeof forms / sizeof *forms; f++) {
        if (s[0] < f->first || s[0] > f->last)
            continue;
        if (f->bytes > 1 && (s[1] < f->low || s[1] > f->high))
            return 0;
        for (size_t i = 2; i < f->bytes; i++)
            if ((s[i] & 0xc0) != 0x80)
                return 0;
        return f->bytes;
    }
    return 0;
}

/* Quoted, and with '?' for what is no character (a name that was cut may end in half of one): or the whole page would be refused. */
static void label_value(char *out, const char *s)
{
    while (*s) {
        size_t n = character((const unsigned char *)s);
        if (*s == '\\' || *s == '"' || *s == '\n') {
            *out++ = '\\';
            *out++ = *s == '\n' ? 'n' : *s;
        } else if (n == 0) {
            *out++ = '?';
        } else {
            memcpy(out, s, n);
            out += n;
        }
        s += n ? n : 1;
    }
    *out = 0;
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

typedef enum { COUNT, SECONDS, WORD } unit; /* uint64_t; ns in int64_t; int or unsigned, not negative */

typedef struct metric {
    const char *name, *type, *help;
    unit unit;
    size_t offset;
} metric;

#define OF_RUNTIME(name, type, unit, field, help)                       \
    {                                                                   \
        "weft_" name, type, help, unit, offsetof(weft_metrics_t, field) \
    }
#define OF_WORKER(name, type, unit, field, help)                                      \
    {                                                                                 \
        "weft_worker_" name, type, help, unit, offsetof(weft_worker_metrics_t, field) \
    }

/* clang-format off */
static const metric of_runtime[] = {
    OF_RUNTIME("tasks_spawned_total", "counter", COUNT, spawned, "Tasks that were born."),
    OF_RUNTIME("tasks_completed_total", "counter", COUNT, completed, "Tasks that have ended, in whatever way."),
    OF_RUNTIME("tasks_aborted_total", "counter", COUNT, aborted, "Tasks that ended because they were aborted."),
    OF_RUNTIME("tasks_panicked_total", "counter", COUNT, panicked, "Tasks that ended by a panic."),
    OF_RUNTIME("tasks_failed_total", "counter", COUNT, failed, "Tasks that ended with a failure as their result."),
    OF_RUNTIME("tasks_alive", "gauge", COUNT, active, "Tasks that have not ended."),
    OF_RUNTIME("tasks_peak", "gauge", COUNT, peak, "Most tasks alive at once so far."),
    OF_RUNTIME("tasks_queued", "gauge", COUNT, queued, "Tasks that wait for a worker, in all queues."),
    OF_RUNTIME("workers", "gauge", WORD, workers, "Workers."),
    OF_RUNTIME("workers_parked", "gauge", WORD, workers_parked, "Workers that sleep."),
    OF_RUNTIME("wakes_sent_total", "counter", COUNT, wakes_sent, "Times a sleeping worker was rung, each a system call."),
    OF_RUNTIME("wakes_saved_total", "counter", COUNT, wakes_saved, "Times nobody had to be rung, as a worker was looking for work."),
    OF_RUNTIME("timers_armed", "gauge", COUNT, timers, "Timers that are armed."),
    OF_RUNTIME("sources_open", "gauge", COUNT, sources, "Sockets, pipes, listeners and the like that are open."),
    OF_RUNTIME("stacks_live", "gauge", COUNT, stacks_live, "Stacks in use, of all runtimes of the process."),
    OF_RUNTIME("stacks_cached", "gauge", COUNT, stacks_cached, "Stacks kept for reuse, of all runtimes of the process."),
};

static const metric of_worker[] = {
    OF_WORKER("spawned_total", "counter", COUNT, spawned, "Tasks that it spawned."),
    OF_WORKER("completed_total", "counter", COUNT, completed, "Tasks that ended on it."),
    OF_WORKER("polls_total", "counter", COUNT, polls, "Polls of tasks."),
    OF_WORKER("steals_total", "counter", COUNT, steals, "Tasks that it took from queues of other workers."),
    OF_WORKER("parks_total", "counter", COUNT, parks, "Times it went to sleep."),
    OF_WORKER("rescues_total", "counter", COUNT, rescues, "Times it turned the reactor of a worker that was stuck in a task."),
    OF_WORKER("spills_total", "counter", COUNT, spills, "Tasks that its full queues moved to where all workers look."),
    OF_WORKER("rings_total", "counter", COUNT, wakes_sent, "Times it was rung in its sleep."),
    OF_WORKER("mailed_total", "counter", COUNT, mailed, "Pinned tasks that other threads woke or spawned."),
    OF_WORKER("busy_seconds_total", "counter", SECONDS, busy, "Time awake."),
    OF_WORKER("idle_seconds_total", "counter", SECONDS, idle, "Time asleep."),
    OF_WORKER("queue_depth", "gauge", COUNT, queued, "Tasks that wait in its queues."),
    OF_WORKER("timers_armed", "gauge", COUNT, timers, "Timers that are armed with it."),
    OF_WORKER("parked", "gauge", WORD, parked, "1 while it sleeps."),
    OF_WORKER("poll_age_seconds", "gauge", SECONDS, polling_ns, "For how long it has been polling the task that it polls now."),
    OF_WORKER("seen_age_seconds", "gauge", SECONDS, seen_ns, "How long ago it last looked around."),
};
/* clang-format on */

static const char *const guards[] = {
    [WEFT_GUARD_NONE] = "none", [WEFT_GUARD_INSTALL] = "install", [WEFT_GUARD_MPROTECT] = "mprotect", [WEFT_GUARD_CANARY] = "canary"};

/* ---- writing ------------------------------------------------------------------------------------------------- */

static void explain(page *p, const char *name, const char *type, const char *help)
{
    put(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_seconds(page *p, uint64_t ns)
{
    const uint64_t second = WEFT_SEC;
    put(p, " %" PRIu64 ".%09" PRIu64 "\n", ns / second, ns % second);
}

static void put_value(page *p, const metric *m, const void *all)
{
    const char *field = (const char *)all + m->offset;
    uint64_t number = 0;
    unsigned word;
    memcpy(m->unit == WORD ? (void *)&word : &number, field, m->unit == WORD ? sizeof word : sizeof number);
    if (m->unit == SECONDS)
        put_seconds(p, number);
    else
        put(p, " %" PRIu64 "\n", m->unit == WORD ? word : number);
}

static void put_runtime(page *p, const weft_metrics_t *all)
{
    for (const metric *m = of_runtime; m < of_runtime + sizeof of_runtime / sizeof *m; m++) {
        explain(p, m->name, m->type, m->help);
        put(p, "%s{runtime=\"%s\"}", m->name, p->name);
        put_value(p, m, all);
    }
}

/* Lines of one name stand together, so each worker is read anew for each: there may be 256, and this allocates nothing. */
static void put_workers(page *p)
{
    weft_worker_metrics_t all;
    for (const metric *m = of_worker; m < of_worker + sizeof of_worker / sizeof *m; m++) {
        explain(p, m->name, m->type, m->help);
        for (unsigned i = 0; i < p->rt->count; i++) {
            wf_metrics_read_worker(p->rt->workers[i], &all);
            put(p, "%s{runtime=\"%s\",worker=\"%u\"}", m->name, p->name, i);
            put_value(p, m, &all);
        }
    }
}

static void put_guard(page *p, weft_guard_kind kind)
{
    const char *name = "weft_stack_guard";
    explain(p, name, "gauge", "1 for the kind of guard that the newest stack has.");
    put(p, "%s{runtime=\"%s\",kind=\"%s\"} 1\n", name, p->name, guards[kind]);
}

static void put_latency(page *p, const weft_latency *l)
{
    const char *name = "weft_wake_to_poll_seconds";
    uint64_t so_far = 0;
    explain(p, name, "histogram", "How long woken tasks waited for their poll.");
    for (int i = 0; i < WEFT_LATENCY_BUCKETS - 1; i++) {
        const uint64_t below = UINT64_C(1) << (i + 7), second = WEFT_SEC;
        so_far += l->buckets[i];
        put(p, "%s_bucket{runtime=\"%s\",le=\"%" PRIu64 ".%09" PRIu64 "\"}", name, p->name, below / second, below % second);
        put(p, " %" PRIu64 "\n", so_far);
    }
    put(p, "%s_bucket{runtime=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, p->name, l->count);
    put(p, "%s_sum{runtime=\"%s\"}", name, p->name);
    put_seconds(p, l->sum);
    put(p, "%s_count{runtime=\"%s\"} %" PRIu64 "\n", name, p->name, l->count);
}

/* Many files say only now that they are full. */
static void flush(page *p)
{
    if (p->err == 0 && fflush(p->to) != 0)
        p->err = errno ? -errno : -EIO;
}

int weft_metrics_print(weft_runtime *rt, FILE *to)
{
    weft_metrics_t all;
    page p = {.rt = rt ? rt : weft_runtime_current(), .to = to};
    if (!to)
        return WEFT_EINVAL;
    if (!p.rt)
        return WEFT_ENORUNTIME;
    label_value(p.name, p.rt->name);
    wf_metrics_read(p.rt, &all);
    put_runtime(&p, &all);
    put_guard(&p, all.guard);
    put_workers(&p);
    if (p.rt->options.flags & WEFT_MEASURE)
        put_latency(&p, &all.wake_to_poll);
    flush(&p);
    return p.err;
}
