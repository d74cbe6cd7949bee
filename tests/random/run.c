/* run.c - one program from its first step to its last: the root that starts it, ends it and judges it; steps in their order; and who notices a hang. */
#include "world.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static random_step_fn *const steps[] = {
#define OP(name, kind) random_do_##name,
    RANDOM_OPS(OP)
#undef OP
};

/* It is never decoded. */
int random_do_END(actor *a, const step *s)
{
    (void)s;
    random_wrong(a->w, "a step that is none");
}

/* ---- steps ---------------------------------------------------------------------------------------------------------- */

/* A thread cannot be aborted: each of its steps has two milliseconds. Others may be as impatient. */
static int run_bounded(actor *a, const step *s)
{
    frame f;
    random_frame_enter(a, &f, 2 * WEFT_MS);
    int result = steps[s->op](a, s);
    random_frame_leave(a, &f);
    return result;
}

/* Not around what is meant for the scope itself. */
static bool is_bounded(const actor *a, const step *s)
{
    if ((random_op_kind(s->op) & BLOCK) || s->op == OP_BIND || s->op == OP_SCOPE_CANCEL)
        return false;
    return a->kind != STRAND || (s->c & 128);
}

static void run_step(actor *a, const step *s)
{
    a->w->task[a->task].at = (int)random_step_index(a, s);
    a->at = s;
    int result = is_bounded(a, s) ? run_bounded(a, s) : steps[s->op](a, s);
    a->at = s;
    random_trace_add(a->w, a->task, s, result);
}

void random_run_steps(actor *a, unsigned from, unsigned to)
{
    const program *p = a->w->program;
    for (unsigned i = from, next; i < to && !a->leaving; i = next) {
        next = random_op_kind(p->step[i].op) & BLOCK ? p->step[i].end : i + 1;
        run_step(a, &p->step[i]);
        if (a->body->coro && !a->leaving)
            random_coro_pause(a, &p->step[i]);
    }
}

/* ---- who notices a hang --------------------------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    world *world; /* that runs; under lock, as what follows */
    struct timespec due;
    bool started;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static bool is_late(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec > watch.due.tv_sec;
}

static void *watch_programs(void *arg)
{
    pthread_mutex_lock(&watch.lock);
    for (;;) {
        struct timespec due = watch.due;
        if (!watch.world)
            pthread_cond_wait(&watch.changed, &watch.lock);
        else if (is_late())
            random_wrong(watch.world, "it hangs: %d tasks live", watch.world->live);
        else
            pthread_cond_timedwait(&watch.changed, &watch.lock, &due);
    }
    return arg;
}

/* NULL: nobody. The thread stays for all programs of the process. */
static void watch_over(world *w)
{
    pthread_t thread;
    pthread_mutex_lock(&watch.lock);
    watch.world = w;
    clock_gettime(CLOCK_REALTIME, &watch.due);
    watch.due.tv_sec += w && w->options->patience ? (int)w->options->patience : 60;
    if (!watch.started && pthread_create(&thread, NULL, watch_programs, NULL) == 0) {
        pthread_detach(thread);
        watch.started = true;
    }
    pthread_cond_signal(&watch.changed);
    pthread_mutex_unlock(&watch.lock);
}

/* ---- the root ------------------------------------------------------------------------------------------------------- */

static void start_program(world *w)
{
    start *first = malloc(sizeof *first);
    weft_task *t;
    weft_aborter *aborter;
    weft_spawn_options o = {.drop_arg = random_start_drop, .drop_result = random_result_drop};
    EXPECT(w, first);
    *first = (start){.w = w, .to = w->program->steps, .group_id = -1};
    random_task_spawning(w, 0, STRAND, -1);
    EXPECT(w, weft_spawn_with(&t, &o, random_task, first) == 0);
    EXPECT(w, weft_aborter_create(&aborter, t) == 0);
    w->task[0].aborter = aborter;
    w->task[0].handle = t;
}

/* From now on the runtime may stop whom it likes. */
static void let_it_stop(world *w)
{
    for (unsigned i = 0; i < w->program->tasks; i++)
        w->task[i].aborted = 1;
    w->stopping = true;
}

/* They have a tenth of a second; then those that still wait are aborted. */
static void await_the_last(world *w)
{
    weft_scope scope;
    EXPECT(w, weft_scope_enter(&scope, w->options->real ? 10 * WEFT_MS : 100 * WEFT_MS) == 0);
    while (w->live > 0 && weft_notify_wait(&w->quiet) == 0)
        ;
    weft_scope_leave(&scope);
    w->ending = true;
    for (unsigned i = 0; i < w->program->tasks; i++)
        random_abort(w, i);
    while (w->live > 0)
        EXPECT(w, weft_notify_wait(&w->quiet) == 0);
}

static void join_the_rest(world *w)
{
    for (unsigned i = 0; i < w->program->tasks; i++) {
        void *value = NULL;
        weft_task *t = w->task[i].handle;
        int code = !t ? 0 : w->abrupt ? weft_try_join(t, &value) : weft_join(t, &value);
        if (t)
            random_joined(w, (int)i, -1, code, value);
        weft_aborter_free(w->task[i].aborter);
    }
}

static void close_all(world *w)
{
    join_the_rest(w);
    random_world_close(w);
}

static void *run_root(void *arg)
{
    world *w = arg;
    w->runtime = weft_runtime_current();
    random_world_open(w);
    start_program(w);
    if (w->abrupt) {
        (void)weft_sleep(w->program->header[1] % 4 * WEFT_MS);
        let_it_stop(w);
        return w;
    }
    await_the_last(w);
    close_all(w);
    return w;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

static void *count_alloc(size_t size, void *arg)
{
    world *w = arg;
    void *block = malloc(size);
    w->blocks += block != NULL;
    return block;
}

static void count_free(void *block, void *arg)
{
    world *w = arg;
    w->blocks--;
    free(block);
}

/* What is said of tasks that are stopped is no news here. */
static void say_nothing(void *arg, weft_log_level level, const char *task, const char *text)
{
    (void)arg, (void)level, (void)task, (void)text;
}

static weft_options runtime_options(world *w)
{
    return (weft_options){.workers = w->options->workers ? w->options->workers : 1,
                          .seed = w->options->seed,
                          .clock = w->options->real ? WEFT_CLOCK_REAL : WEFT_CLOCK_PAUSED,
                          .shutdown_grace = WEFT_FOREVER,
                          .log = say_nothing,
                          .allocator = {count_alloc, count_free, w}};
}

/* The one that it takes to look included; 0: there is no telling here. */
static unsigned open_fds(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* The first runtime of a process makes descriptors that stay. */
static void *do_nothing(void *arg) { return arg; }

static unsigned open_before(void)
{
    static atomic_bool ran;
    if (!atomic_exchange(&ran, true))
        (void)weft_run(do_nothing, NULL, NULL);
    return open_fds();
}

static void join_threads(world *w)
{
    for (unsigned i = 0; i < w->program->tasks; i++)
        if (w->task[i].spawned && w->task[i].kind == THREAD)
            pthread_join(w->thread[i], NULL);
}

static int run_world(world *w)
{
    weft_options o = runtime_options(w);
    void *result = NULL;
    unsigned fds = open_before();
    watch_over(w);
    int code = weft_run_with(&o, run_root, w, &result);
    watch_over(NULL);
    if (code < 0 && !w->runtime)
        return code;
    if (code < 0 || result != w)
        random_wrong(w, "the root ended with %d", code);
    join_threads(w);
    if (w->abrupt)
        close_all(w);
    random_judge_end(w);
    EXPECT(w, open_fds() == fds);
    return 0;
}

int random_program_run(const uint8_t *bytes, size_t n, const random_options *o)
{
    program *p = malloc(sizeof *p);
    world *w = calloc(1, sizeof *w);
    int code = WEFT_ENOMEM;
    if (p && w) {
        random_decode(p, bytes, n, o->pure);
        *w = (world){.program = p, .options = o, .bytes = bytes, .size = n, .quiet = WEFT_NOTIFY_INIT};
        w->abrupt = o->pure && p->header[3] % 2; /* threads would be without a runtime, and streams without one to close them */
        if (o->trace)
            o->trace->n = 0;
        code = run_world(w);
        if (o->trace)
            o->trace->n = w->events;
    }
    free(w);
    free(p);
    return code;
}
