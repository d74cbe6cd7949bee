/* dump.c - all of a runtime as text: what its workers do, and where its tasks are.
 *
 * The text is made in memory, one dump at a time in the process, and written when it is complete: nobody waits for a slow reader. A strand that dumps does so on a
 * stack of its own, because unwinding takes more than the smallest strand has. */
#include <base/clock.h>
#include <base/lock.h>
#include <ctype.h>
#include <diag/census.h>
#include <diag/holders.h>
#include <diag/sample.h>
#include <errno.h>
#include <inttypes.h>
#include <runtime/strand.h>
#include <stdlib.h>
#include <string.h>

typedef struct dump {
    weft_runtime *rt;
    uint64_t id; /* of the one task, or 0 */
    FILE *to;    /* in memory */
    unsigned unanswered;
    wf_census *census;
    wf_holders holders;
    wf_frames frames;
    int err;
} dump;

/* ---- parts of lines ------------------------------------------------------------------------------------------ */

static double seconds(int64_t ns) { return (double)WF_MAX(ns, 0) / (double)WEFT_SEC; }

/* A name is the program's: it must not break the lines, nor speak to a terminal. */
static void print_name(FILE *to, const char *name)
{
    if (!name[0])
        return;
    fputs(" \"", to);
    for (; *name; name++)
        fputc(iscntrl((unsigned char)*name) ? '?' : *name, to);
    fputc('"', to);
}

static void print_id(FILE *to, const weft_task_info *info)
{
    fprintf(to, "#%" PRIu64, info->id);
    print_name(to, info->name);
}

static const char *kind_text(weft_task_kind kind, uint64_t count)
{
    static const char *const one[] = {"strand", "future", "blocking job"}, *const more[] = {"strands", "futures",
                                                                                            "blocking jobs"};
    return count == 1 ? one[kind] : more[kind];
}

static void print_details(FILE *to, const weft_task_info *info)
{
    fprintf(to, " (%s, ", kind_text(info->kind, 1));
    if (info->pinned)
        fprintf(to, "pinned to worker %d, ", info->worker);
    if (info->aborted)
        fputs("aborted, ", to);
    fprintf(to, "age %.1f s)", seconds(info->age));
}

static void print_object(dump *d, const weft_task_info *info)
{
    char object[256], holder[128];
    bool any = weft_task_info_object(info, object, sizeof object) > 0;
    wf_holders_text(&d->holders, info, holder, sizeof holder);
    wf_one_line(object); /* it may be the path of a socket */
    wf_one_line(holder);
    fprintf(d->to, "%s%s%s", any ? ", " : "", object, holder);
}

/* ---- workers ------------------------------------------------------------------------------------------------- */

static unsigned busy_percent(const weft_worker_metrics_t *m)
{
    return m->busy + m->idle > 0 ? (unsigned)(m->busy * 100 / (m->busy + m->idle)) : 0;
}

static const wf_census_task *polled_by(const dump *d, wf_worker *w)
{
    const void *polling = wf_noted(&w->polling);
    for (uint64_t i = 0; polling && i < WF_MIN(d->census->running, WF_CENSUS_RUNNING); i++)
        if (d->census->run[i].task == polling && d->census->run[i].info.worker == (int)w->index)
            return &d->census->run[i];
    return NULL;
}

static void print_worker(dump *d, wf_worker *w)
{
    weft_worker_metrics_t m;
    const wf_census_task *polled = polled_by(d, w);
    if (weft_worker_metrics(d->rt, w->index, &m) < 0)
        return;
    fprintf(d->to, "  worker %u: ", w->index);
    if (m.parked) {
        fputs("parked", d->to);
    } else if (polled) {
        fputs("polling ", d->to);
        print_id(d->to, &polled->info);
        fprintf(d->to, " for %.1f s", seconds(polled->info.since));
    } else {
        fputs("looking for work", d->to);
    }
    fprintf(d->to, "; thread %d, %" PRIu64 " queued, %" PRIu64 " polls, busy %u %%\n", m.thread, m.queued, m.polls,
            busy_percent(&m));
}

static void print_head(dump *d)
{
    uint64_t spawned, completed, active = wf_runtime_active(d->rt, &spawned, &completed);
    fprintf(d->to, "weft \"%s\": %u workers, %" PRIu64 " tasks of %" PRIu64 " spawned, up %.1f s\n", d->rt->name,
            d->rt->count, active, spawned, seconds(d->census->now - d->rt->born_at));
    for (unsigned i = 0; i < d->rt->count; i++)
        print_worker(d, d->rt->workers[i]);
}

/* ---- those that run, and those that soon will ---------------------------------------------------------------- */

/* A thread that does not answer costs a fifth of a second: of many, the rest is not asked. */
static void print_where_it_runs(dump *d, const wf_census_task *t)
{
    enum { PATIENCE = 5 };
    const weft_task *task = NULL;
    if (t->info.worker < 0 || t->info.worker >= (int)d->rt->count || d->unanswered >= PATIENCE)
        return;
    bool answered = wf_backtrace_worker_of(d->rt->workers[t->info.worker], &d->frames, &task);
    d->unanswered += !answered;
    if (answered && task == t->task)
        wf_backtrace_print(&d->frames, d->to);
    else if (answered)
        fputs("    (by now its worker is elsewhere)\n", d->to);
}

static void print_running(dump *d)
{
    uint64_t count = d->census->running, listed = WF_MIN(count, WF_CENSUS_RUNNING);
    fprintf(d->to, "\n%" PRIu64 " running\n", count);
    for (uint64_t i = 0; i < listed; i++) {
        const wf_census_task *t = &d->census->run[i];
        fputs("  task ", d->to);
        print_id(d->to, &t->info);
        if (t->info.worker >= 0)
            fprintf(d->to, " on worker %d", t->info.worker);
        fprintf(d->to, " for %.1f s", seconds(t->info.since));
        print_details(d->to, &t->info);
        fputc('\n', d->to);
        print_where_it_runs(d, t);
    }
    if (count > listed)
        fprintf(d->to, "  ... and %" PRIu64 " more\n", count - listed);
}

static void print_queued(dump *d)
{
    uint64_t count = d->census->queued, listed = WF_MIN(count, WF_CENSUS_QUEUED);
    fprintf(d->to, "\n%" PRIu64 " queued\n", count);
    for (uint64_t i = 0; i < listed; i++) {
        fputs("  task ", d->to);
        print_id(d->to, &d->census->queue[i]);
        fprintf(d->to, " for %.1f s", seconds(d->census->queue[i].since));
        print_details(d->to, &d->census->queue[i]);
        fputc('\n', d->to);
    }
    if (count > listed)
        fprintf(d->to, "  ... and %" PRIu64 " more\n", count - listed);
}

/* ---- those that wait ----------------------------------------------------------------------------------------- */

static const char *wait_text(wf_wait wait)
{
    if (wait == WF_WAIT_FUTURE)
        return "a future of the program's";
    return wf_wait_text(wait)[0] ? wf_wait_text(wait) : "something";
}

static void print_example(dump *d, const weft_task_info *info)
{
    fputs("    task ", d->to);
    print_id(d->to, info);
    fprintf(d->to, " for %.1f s", seconds(info->since));
    print_object(d, info);
    print_details(d->to, info);
    fputc('\n', d->to);
}

static void print_group(dump *d, const wf_group *g)
{
    fprintf(d->to, "  %" PRIu64 " %s %s for %s, oldest %.1f s%s\n", g->count, kind_text(g->kind, g->count),
            g->count == 1 ? "waits" : "wait", wait_text(g->wait), seconds(g->oldest),
            g->lumped ? ", at various places" : "");
    for (unsigned i = 0; i < g->examples; i++)
        print_example(d, &g->example[i]);
    if (g->count > g->examples)
        fprintf(d->to, "    ... and %" PRIu64 " more\n", g->count - g->examples);
    wf_backtrace_print(&g->frames, d->to);
}

static void print_waiting(dump *d)
{
    const wf_census *c = d->census;
    for (size_t i = 0; i < c->group_count; i++)
        for (unsigned j = 0; j < c->groups[i].examples; j++)
            wf_holders_ask(&d->holders, &c->groups[i].example[j]);
    wf_holders_find(&d->holders, d->rt);
    fprintf(d->to, "\n%" PRIu64 " waiting, in %zu groups\n", c->waiting, c->group_count);
    for (size_t i = 0; i < c->group_count; i++)
        print_group(d, &c->groups[i]);
    if (c->moving > 0)
        fprintf(d->to, "  %" PRIu64 " that were woken or ended just then\n", c->moving);
}

static int print_all(dump *d)
{
    d->census = wf_census_take(d->rt);
    if (!d->census)
        return WEFT_ENOMEM;
    print_head(d);
    print_running(d);
    print_queued(d);
    print_waiting(d);
    wf_census_free(d->census);
    return 0;
}

/* ---- one ----------------------------------------------------------------------------------------------------- */

typedef struct search {
    uint64_t id;
    wf_frozen *frozen;
    wf_census_task found;
    bool waits; /* frozen is its */
} search;

static void look_for(weft_task *task, void *arg)
{
    search *s = arg;
    weft_task_info info;
    if (s->found.task || wf_load_acq(&task->id) != s->id || !wf_registry_read(task, wf_now(), &info) || info.id != s->id)
        return;
    s->found = (wf_census_task){task, info};
    if (info.kind == WEFT_KIND_STRAND && info.state == WEFT_TASK_IDLE)
        s->waits = wf_census_read_strand(task, s->frozen, &s->found.info);
}

static void print_found(dump *d, const search *s)
{
    const weft_task_info *info = &s->found.info;
    fputs("task ", d->to);
    print_id(d->to, info);
    fprintf(d->to, " is %s for %.1f s", weft_task_state_name(info->state), seconds(info->since));
    if (info->state == WEFT_TASK_RUNNING && info->worker >= 0)
        fprintf(d->to, " on worker %d", info->worker);
    if (info->state == WEFT_TASK_IDLE)
        fprintf(d->to, ", waits for %s", wait_text((wf_wait)info->wait_));
    wf_holders_ask(&d->holders, info);
    wf_holders_find(&d->holders, d->rt);
    print_object(d, info);
    print_details(d->to, info);
    fputc('\n', d->to);
    if (info->state == WEFT_TASK_RUNNING)
        print_where_it_runs(d, &s->found);
    if (!s->waits)
        return;
    wf_backtrace_frozen(s->frozen, &d->frames);
    wf_backtrace_print(&d->frames, d->to);
}

static int print_one(dump *d)
{
    search s = {.id = d->id, .frozen = malloc(sizeof *s.frozen)};
    if (!s.frozen)
        return WEFT_ENOMEM;
    wf_registry_walk(d->rt, look_for, &s);
    if (s.found.task)
        print_found(d, &s);
    free(s.frozen);
    return s.found.task ? 0 : WEFT_ENOENT;
}

/* ---- one at a time ------------------------------------------------------------------------------------------- */

static wf_mutex lock = WF_MUTEX_INIT;

static void before_fork(void) WF_NO_THREAD_SAFETY { wf_mutex_lock(&lock); }
static void after_fork(void) WF_NO_THREAD_SAFETY { wf_mutex_unlock(&lock); }

/* What is registered last is called first, and this lock is taken before that of the backtraces. */
static void init_once(void)
{
    wf_backtrace_hold();
    wf_backtrace_let_go();
    pthread_atfork(before_fork, after_fork, after_fork);
}

/* A paused clock must not jump while the one who could run next is held still. */
static void *print(void *arg)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    dump *d = arg;
    pthread_once(&once, init_once);
    wf_mutex_lock(&lock);
    wf_backtrace_hold();
    wf_paused_clock_hold(d->rt);
    d->err = d->id ? print_one(d) : print_all(d);
    wf_paused_clock_release(d->rt);
    wf_backtrace_let_go();
    wf_mutex_unlock(&lock);
    return NULL;
}

/* A worker's loop, and ordinary threads, have room enough. */
static int print_with_room(dump *d)
{
    const wf_exec *exec = wf_exec_peek();
    weft_coro *coro;
    if (!exec || !exec->body || !exec->body->stack) {
        print(d);
        return d->err;
    }
    int err = weft_coro_create(&coro, print, d, WF_DEFAULT_STACK);
    if (err < 0)
        return err;
    weft_coro_resume(coro, NULL, NULL);
    weft_coro_free(coro);
    return d->err;
}

static int write_all(FILE *to, const char *text, size_t size)
{
    errno = 0;
    if (fwrite(text, 1, size, to) == size && fflush(to) == 0)
        return 0;
    return errno ? -errno : WEFT_EINVAL;
}

static int make_text(dump *d, char **text, size_t *size)
{
    d->to = open_memstream(text, size);
    if (!d->to)
        return WEFT_ENOMEM;
    int err = print_with_room(d);
    bool complete = !ferror(d->to);
    return fclose(d->to) != 0 || !complete ? WEFT_ENOMEM : err;
}

static int dump_to(weft_runtime *rt, uint64_t id, FILE *to)
{
    char *text = NULL;
    size_t size = 0;
    rt = rt ? rt : weft_runtime_current();
    if (!to)
        return WEFT_EINVAL;
    if (!rt)
        return WEFT_ENORUNTIME;
    if (!wf_runtime_look_begin(rt))
        return WEFT_ENOTSUP;
    dump *d = calloc(1, sizeof *d);
    int err = WEFT_ENOMEM;
    if (d) {
        d->rt = rt;
        d->id = id;
        err = make_text(d, &text, &size);
    }
    wf_runtime_look_end(rt);
    if (err == 0)
        err = write_all(to, text, size);
    free(text);
    free(d);
    return err;
}

int weft_dump(weft_runtime *rt, FILE *to) { return dump_to(rt, 0, to); }

int weft_dump_task(weft_runtime *rt, uint64_t id, FILE *to) { return id ? dump_to(rt, id, to) : WEFT_ENOENT; }
