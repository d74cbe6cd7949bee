/* watchdog.c - see watchdog.h.
 *
 * A *stay* is what a worker is in while it does not come back to its loop: one poll, known by the number of polls so far; or a callback, a hook or a
 * drop, where it polls nothing and has not looked around. One that is met again at the next look begins to be measured: what counts is the time from then
 * on, without what its thread waited for a CPU, or may have, and what the looker was late. So it is never called longer than it was, whatever the load. A worker that sleeps, and one
 * without a thread, is in none.
 *
 *   stay            at a look                             it becomes
 *   none, another   the worker is in this one             SEEN
 *   SEEN            still                                 MEASURED, from now on
 *   MEASURED        still, and for longer than the limit  REPORTED: once
 *   REPORTED        no more                               it is said how long it was in all */
#include <base/clock.h>
#include <diag/report.h>
#include <diag/watchdog.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct stay {
    int thread; /* 0: none */
    uint64_t polls;
    const void *task; /* to compare with only; NULL: a callback */
    int64_t seen_at;  /* … since when */
} stay;

typedef struct wf_held {
    stay stay;
    enum { SEEN, MEASURED, REPORTED } progress;
    int64_t since;         /* when it was first seen, and the looker's lateness later than that */
    int64_t measured_from; /* … met again */
    int64_t cpu, queued;   /* … and what its thread had computed by then, and waited for a CPU */
    int64_t cpu_seen;      /* … had computed at the last look, … */
    int64_t looked_at;     /* … which was then */
    char subject[96];      /* REPORTED: who */
    char name[64];
} wf_held;

int wf_watchdog_open(wf_watchdog *dog, weft_runtime *rt, int64_t limit)
{
    *dog = (wf_watchdog){.rt = rt, .limit = limit, .workers = calloc(rt->count, sizeof *dog->workers)};
    return dog->workers ? 0 : WEFT_ENOMEM;
}

void wf_watchdog_close(wf_watchdog *dog) { free(dog->workers); }

/* ---- where a worker is --------------------------------------------------------------------------------------- */

static stay stay_of(wf_worker *w)
{
    int thread = wf_load_acq(&w->thread_id);
    if (thread == 0 || wf_reactor_is_parked(&w->reactor))
        return (stay){0};
    const void *task = wf_load_acq(&w->polling);
    return (stay){
        .thread = thread, .polls = wf_load_acq(&w->polls), .task = task, .seen_at = task ? 0 : wf_load_acq(&w->seen_at)};
}

static bool is_same(const stay *a, const stay *b)
{
    return a->thread == b->thread && a->polls == b->polls && a->task == b->task && a->seen_at == b->seen_at;
}

static bool is_still_in(wf_worker *w, const stay *s)
{
    stay now = stay_of(w);
    return is_same(&now, s);
}

/* ---- what its thread did ------------------------------------------------------------------------------------- */

/* As pthread_getcpuclockid() makes it, of a thread that may have ended; 0 if it has. */
static int64_t cpu_time(int thread)
{
    enum { OF_A_THREAD = 4, SCHEDULED = 2 };
    clockid_t clock = (clockid_t)(~(unsigned)thread << 3 | OF_A_THREAD | SCHEDULED);
    struct timespec t;
    return clock_gettime(clock, &t) == 0 ? (int64_t)t.tv_sec * WEFT_SEC + t.tv_nsec : 0;
}

/* A file about it, as text: "" if there is none. */
static const char *read_about(int thread, const char *what, char *text, size_t size)
{
    snprintf(text, size, "/proc/self/task/%d/%s", thread, what);
    int fd = open(text, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

/* How long it could have run but had no CPU: the second number. 0 where the kernel does not say. Not the time since it last had one. */
static int64_t queued_time(int thread)
{
    char text[100];
    const char *second = strchr(read_about(thread, "schedstat", text, sizeof text), ' ');
    return second ? strtoll(second, NULL, 10) : 0;
}

/* It runs, or would if it had a CPU: R follows the name, which is in parentheses. */
static bool is_runnable(int thread)
{
    char text[100];
    const char *name_end = strrchr(read_about(thread, "stat", text, sizeof text), ')');
    return name_end && strncmp(name_end, ") R", 3) == 0;
}

/* ---- what is said -------------------------------------------------------------------------------------------- */

typedef struct search {
    const stay *stay;
    unsigned worker;
    int64_t now;
    weft_task_info found; /* id 0: nothing */
} search;

static void look_at(weft_task *task, void *arg)
{
    search *s = arg;
    weft_task_info info;
    if (task != s->stay->task || !wf_registry_read(task, s->now, &info))
        return;
    if (info.state == WEFT_TASK_RUNNING && info.worker == (int)s->worker)
        s->found = info;
}

/* By a walk, because the task may be gone, with its memory. A task that has ended is none any more: what goes on is its drop. */
static void name_subject(wf_worker *w, wf_held *h, int64_t now)
{
    search s = {.stay = &h->stay, .worker = w->index, .now = now};
    if (h->stay.task)
        wf_registry_walk(w->rt, look_at, &s);
    snprintf(h->name, sizeof h->name, "%s", s.found.name);
    if (s.found.id)
        snprintf(h->subject, sizeof h->subject, "task \"%s\" (#%" PRIu64 ")", s.found.name, s.found.id);
    else
        snprintf(h->subject, sizeof h->subject, "a callback");
}

/* The worker may go on at any line: then nothing was found, or the backtrace is of something else. */
static bool report(wf_worker *w, wf_held *h, int64_t now)
{
    char wall[32], cpu[32];
    wf_frames frames = {0};
    name_subject(w, h, now);
    if (!is_still_in(w, &h->stay))
        return false;
    wf_duration(now - h->measured_from, wall, sizeof wall);
    wf_duration(cpu_time(h->stay.thread) - h->cpu, cpu, sizeof cpu);
    if (!wf_backtrace_worker(w, &frames) || !is_still_in(w, &h->stay))
        frames.count = 0;
    wf_say(w->rt, WEFT_LOG_WARNING, h->name, &frames, "%s has held worker %u for %s (CPU %s)", h->subject, w->index,
           wall, cpu);
    return true;
}

static void say_it_is_over(wf_worker *w, const wf_held *h, int64_t now)
{
    char wall[32];
    wf_log(w->rt, WEFT_LOG_INFO, h->name, "%s has let go of worker %u, after some %s", h->subject, w->index,
           wf_duration(now - h->since, wall, sizeof wall));
}

/* ---- looking ------------------------------------------------------------------------------------------------- */

static void begin(wf_held *h, const stay *s, int64_t now)
{
    h->stay = *s;
    h->progress = SEEN;
    h->since = now;
}

static void measure(wf_held *h, int64_t now)
{
    h->progress = MEASURED;
    h->measured_from = h->looked_at = now;
    h->cpu = h->cpu_seen = cpu_time(h->stay.thread);
    h->queued = queued_time(h->stay.thread);
}

/* How long it may have waited for a CPU until now, without having got one since: a runnable thread at most since the last look, if it has computed anything since then; else
 * nobody knows. */
static int64_t may_be_queued_for(const wf_held *h, int64_t cpu, int64_t now)
{
    if (!is_runnable(h->stay.thread))
        return 0;
    return cpu > h->cpu_seen ? now - h->looked_at : INT64_MAX;
}

static bool is_too_long(const wf_watchdog *dog, wf_held *h, int64_t now)
{
    int64_t cpu = cpu_time(h->stay.thread), held = now - h->measured_from, waits = may_be_queued_for(h, cpu, now);
    h->cpu_seen = cpu;
    h->looked_at = now;
    return held >= dog->limit && held - (queued_time(h->stay.thread) - h->queued) - dog->limit >= waits;
}

static void look_at_worker(wf_watchdog *dog, wf_worker *w, wf_held *h, int64_t now)
{
    stay s = stay_of(w);
    if (!is_same(&s, &h->stay)) {
        if (h->progress == REPORTED)
            say_it_is_over(w, h, now);
        begin(h, &s, now);
    } else if (s.thread == 0 || h->progress == REPORTED) {
        return;
    } else if (h->progress == SEEN) {
        measure(h, now);
    } else if (is_too_long(dog, h, now) && report(w, h, now)) {
        h->progress = REPORTED;
    }
}

/* A little late: that much less. So late that nobody can have been on time: begin anew. */
static void allow_for(wf_watchdog *dog, wf_held *h, int64_t late)
{
    if (h->progress == REPORTED)
        return;
    if (late > dog->limit)
        h->stay = (stay){0};
    h->since += late;
    h->measured_from += late;
    h->looked_at += late;
}

void wf_watchdog_look(wf_watchdog *dog, int64_t now, int64_t late)
{
    for (unsigned i = 0; i < dog->rt->count; i++) {
        allow_for(dog, &dog->workers[i], late);
        look_at_worker(dog, dog->rt->workers[i], &dog->workers[i], now);
    }
}
