/* watchdog_test.c - tasks that hold their worker are reported, and only they. What must not be said is told from what must by the task that it names, never
 * by how long nothing was said. */
#include <dirent.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <support/latch.h>
#include <support/said.h>
#include <support/task_support.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>
#include <weft/uv.h>

/* ThreadSanitizer keeps signals until a system call; elsewhere frames are not unwound. */
#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(__SANITIZE_THREAD__)
#define BACKTRACES 1
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#undef BACKTRACES
#endif
#endif
#endif
#ifndef BACKTRACES
#define BACKTRACES 0
#endif

static bool libdw_is_there(void)
{
    void *library = dlopen("libdw.so.1", RTLD_LAZY);
    if (library)
        dlclose(library);
    return library != NULL;
}

/* Longer than an honest poll takes here. */
static int64_t limit(void) { return WF_TEST_SANITIZED ? 200 * WEFT_MS : 50 * WEFT_MS; }

static weft_options watched(unsigned workers, log_text *s)
{
    return (weft_options){.workers = workers, .watchdog = limit(), .log = say, .log_arg = s};
}

static const char *held_by(uint64_t id, char *out, size_t size)
{
    snprintf(out, size, "(#%" PRIu64 ") has held worker", id);
    return out;
}

static unsigned reports_of(log_text *s, uint64_t id)
{
    char text[64];
    return said(s, held_by(id, text, sizeof text));
}

/* Reports, of whomever. */
static unsigned reports(log_text *s) { return said(s, "has held worker"); }

/* As long as the monitor, too, can be seen to have looked: so long that it has had many chances. */
static void spin(int64_t ns)
{
    for (int64_t until = weft_now() + ns; weft_now() < until;)
        ;
}

/* ---- who loops, and who does not ----------------------------------------------------------------------------- */

__attribute__((noinline)) static void loop_until_reported(log_text *s)
{
    uint64_t me = weft_self_id();
    SPIN_UNTIL(reports_of(s, me) > 0);
    spin(4 * limit());
    __asm__ volatile("");
}

static void *loop(void *arg)
{
    loop_until_reported(arg);
    return NULL;
}

static weft_task *start(const char *name, weft_fn fn, void *arg)
{
    weft_spawn_options options = {.name = name};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    return task;
}

/* It loops, is reported once by its name, and then it is said that it is over. Nobody else was reported before or meanwhile, but @others times. */
static void expect_only_the_loop(log_text *s, unsigned others)
{
    char text[64];
    weft_task *task = start("looper", loop, s);
    uint64_t id = weft_task_id(task);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(reports_of(s, id), 1, "%s", s->text);
    cr_assert_eq(reports(s), others + 1, "%s", s->text);
    snprintf(text, sizeof text, "task \"looper\" (#%" PRIu64 ") has held", id);
    cr_assert_eq(said(s, text), 1, "%s", s->text);
    snprintf(text, sizeof text, "task \"looper\" (#%" PRIu64 ") has let go", id);
    EVENTUALLY(said(s, text) == 1);
    if (BACKTRACES && !WF_TEST_EMULATED && libdw_is_there())
        cr_assert_eq(said(s, "loop_until_reported at watchdog_test.c:"), 1, "%s", s->text);
}

/* ---- d30 ----------------------------------------------------------------------------------------------------- */

enum { SERVERS = 60 };

typedef struct idlers {
    log_text *said;
    weft_chan *chan;
    weft_task *tasks[SERVERS];
} idlers;

static void *receive_all(void *chan)
{
    int item;
    while (weft_chan_recv(chan, &item) == 0)
        ;
    return NULL;
}

typedef struct receiver {
    weft_future future;
    weft_chan *chan;
    weft_op op;
    int item;
} receiver;

static weft_poll poll_receiver(weft_future *f, weft_context *cx, void **result)
{
    receiver *r = WEFT_CONTAINER_OF(f, receiver, future);
    (void)result;
    weft_poll p;
    while ((p = weft_poll_chan_recv(cx, &r->op, r->chan, &r->item)) == WEFT_READY)
        ;
    return p == WEFT_PENDING ? WEFT_PENDING : WEFT_READY;
}

static void drop_receiver(weft_future *f)
{
    receiver *r = WEFT_CONTAINER_OF(f, receiver, future);
    weft_op_drop(&r->op);
    free(r);
}

static const weft_future_ops receiver_ops = {poll_receiver, drop_receiver};

static weft_task *start_receiver(weft_chan *chan)
{
    weft_task *task;
    receiver *r = calloc(1, sizeof *r);
    cr_assert_not_null(r);
    *r = (receiver){.future = {&receiver_ops}, .chan = chan};
    cr_assert_eq(weft_spawn_future(&task, &r->future), 0);
    return task;
}

/* Each is woken a few times, and waits for many times the limit. */
static void *idle_root(void *arg)
{
    idlers *i = arg;
    cr_assert_eq(weft_chan_create(&i->chan, sizeof(int), 1), 0);
    for (int n = 0; n < SERVERS; n++)
        i->tasks[n] = n % 2 ? start("idler", receive_all, i->chan) : start_receiver(i->chan);
    for (int n = 0; n < 4 * SERVERS; n++)
        cr_assert_eq(weft_chan_send(i->chan, &n), 0);
    cr_assert_eq(weft_sleep(6 * limit()), 0);
    expect_only_the_loop(i->said, 0);
    weft_chan_close(i->chan);
    for (int n = 0; n < SERVERS; n++)
        cr_assert_eq(weft_join(i->tasks[n], NULL), 0);
    cr_assert_eq(weft_chan_free(i->chan), 0);
    return NULL;
}

WF_TEST_WORKERS(watchdog, d30_idle_tasks_are_never_called_stuck)
{
    log_text s = LOG_TEXT_INIT;
    idlers i = {.said = &s};
    weft_options options = watched(workers, &s);
    cr_assert_eq(weft_run_with(&options, idle_root, &i, NULL), 0);
}

/* ---- short polls --------------------------------------------------------------------------------------------- */

static void *yield_for_long(void *arg)
{
    for (int64_t until = weft_now() + 6 * limit(); weft_now() < until;)
        cr_assert_eq(weft_yield(), 0);
    return arg;
}

static void *queue_root(void *arg)
{
    weft_task *tasks[200];
    for (int i = 0; i < 200; i++)
        tasks[i] = start("short", yield_for_long, NULL);
    for (int i = 0; i < 200; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    expect_only_the_loop(arg, 0);
    return NULL;
}

WF_TEST_WORKERS(watchdog, a_long_queue_of_short_tasks_is_not_reported)
{
    log_text s = LOG_TEXT_INIT;
    weft_options options = watched(workers, &s);
    cr_assert_eq(weft_run_with(&options, queue_root, &s, NULL), 0);
}

/* ---- names --------------------------------------------------------------------------------------------------- */

static void *loop_by_a_bad_name(void *arg)
{
    SPIN_UNTIL(said(arg, "bad") > 0);
    return NULL;
}

static void *bad_root(void *arg)
{
    cr_assert_eq(weft_join(start("bad\n\x1b[2Jname", loop_by_a_bad_name, arg), NULL), 0);
    return NULL;
}

/* Broken: what a client had himself called was written to the terminal as it was. */
WF_TEST_WORKERS(watchdog, a_name_breaks_no_line_of_the_log)
{
    static log_text s = LOG_TEXT_INIT;
    weft_options options = watched(workers, &s);
    cr_assert_eq(weft_run_with(&options, bad_root, &s, NULL), 0);
    cr_assert_geq(said(&s, "task \"bad??[2Jname\" (#"), 1, "%s", s.text);
    cr_assert_eq(said(&s, "\x1b"), 0);
    cr_assert_eq(said(&s, "bad\n"), 0);
}

/* ---- blocking ------------------------------------------------------------------------------------------------ */

typedef struct blocker {
    log_text *said;
    latch latch;
} blocker;

static void *block(void *arg) { return latch_pass(&((blocker *)arg)->latch); }

/* An ordinary thread, as with one worker no task could. */
static void *open_when_reported(void *arg)
{
    blocker *b = arg;
    SPIN_UNTIL(b->latch.entered > 0 && said(b->said, "task \"blocker\" (#") > 0);
    latch_open(&b->latch);
    return NULL;
}

static void *blocking_root(void *arg)
{
    cr_assert_eq(weft_join(start("blocker", block, arg), NULL), 0);
    return NULL;
}

/* What it has computed is told from how long it took. */
WF_TEST_WORKERS(watchdog, a_task_that_blocks_its_worker_is_reported_and_has_not_computed)
{
    static log_text s = LOG_TEXT_INIT;
    blocker b = {.said = &s, .latch = LATCH_INIT};
    weft_options options = watched(workers, &s);
    pthread_t opener;
    cr_assert_eq(pthread_create(&opener, NULL, open_when_reported, &b), 0);
    cr_assert_eq(weft_run_with(&options, blocking_root, &b, NULL), 0);
    pthread_join(opener, NULL);
    cr_assert_eq(reports(&s), 1, "%s", s.text);
    int wall, cpu;
    const char *at = strstr(s.text, "has held worker ");
    cr_assert_eq(sscanf(at, "has held worker %*u for %d ms (CPU %d ms)", &wall, &cpu), 2, "%s", s.text);
    cr_assert_geq(wall, (int)(limit() / WEFT_MS));
    cr_assert_lt(cpu, wall / 2);
}

/* ---- callbacks ----------------------------------------------------------------------------------------------- */

static void hold_in_drop(void *s) { SPIN_UNTIL(said(s, "task \"dropped\" (#") > 0); }

static void *give(void *arg) { return arg; }

static void *drop_root(void *s)
{
    weft_spawn_options options = {.name = "dropped", .drop_result = hold_in_drop};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, give, s), 0);
    weft_detach(task);
    EVENTUALLY(said(s, "task \"dropped\" (#") > 0);
    return NULL;
}

WF_TEST_WORKERS(watchdog, the_drop_of_a_result_is_its_tasks)
{
    log_text s = LOG_TEXT_INIT;
    weft_options options = watched(workers, &s);
    cr_assert_eq(weft_run_with(&options, drop_root, &s, NULL), 0);
    cr_assert_eq(reports(&s), 1, "%s", s.text);
}

/* Its worker never sleeps: so the callback comes between two tasks. */
static void hold_in_timer(uv_timer_t *timer) { SPIN_UNTIL(said(timer->data, "a callback has held worker") > 0); }

static void close_completes(uv_handle_t *handle) { weft_completion_set(handle->data, 0); }

static void *timer_root(void *s)
{
    weft_completion closed = WEFT_COMPLETION_INIT;
    uv_timer_t timer = {.data = s};
    cr_assert_eq(uv_timer_init(weft_uv_loop(), &timer), 0);
    cr_assert_eq(uv_timer_start(&timer, hold_in_timer, 1, 0), 0);
    while (said(s, "a callback has held worker") == 0)
        cr_assert_eq(weft_yield(), 0);
    timer.data = &closed;
    uv_close((uv_handle_t *)&timer, close_completes);
    cr_assert_eq(weft_completion_wait(&closed), 0);
    return NULL;
}

static void *pin_timer_root(void *s)
{
    weft_spawn_options options = {.pinned = 1};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, timer_root, s), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    return NULL;
}

WF_TEST_WORKERS(watchdog, a_callback_that_holds_a_worker_is_reported)
{
    log_text s = LOG_TEXT_INIT;
    weft_options options = watched(workers, &s);
    cr_assert_eq(weft_run_with(&options, pin_timer_root, &s, NULL), 0);
    cr_assert_eq(reports(&s), 1, "%s", s.text);
}

/* ---- how it is switched on ----------------------------------------------------------------------------------- */

static unsigned threads_called(const char *name)
{
    unsigned n = 0;
    char path[300], text[32];
    DIR *dir = opendir("/proc/self/task");
    cr_assert_not_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
        FILE *file = fopen(path, "r");
        n += file && fgets(text, sizeof text, file) && strncmp(text, name, strlen(name)) == 0;
        if (file)
            fclose(file);
    }
    closedir(dir);
    return n;
}

static void *count_watchers(void *arg)
{
    *(unsigned *)arg = threads_called("dog/watch");
    return NULL;
}

static unsigned watchers_of(weft_options options)
{
    unsigned n = 99;
    options.name = "dog";
    cr_assert_eq(weft_run_with(&options, count_watchers, &n, NULL), 0);
    return n;
}

Test(watchdog, who_asks_for_none_gets_no_thread)
{
    if (WF_TEST_EMULATED)
        cr_skip_test("the emulator names no threads");
    cr_assert_eq(watchers_of((weft_options){.workers = 2, .watchdog = WEFT_SEC}), 1);
    cr_assert_eq(watchers_of((weft_options){.workers = 2, .watchdog = WEFT_FOREVER}), 0);
    cr_assert_eq(watchers_of((weft_options){.flags = WEFT_CURRENT_THREAD}), 0, "nor one that it has not asked for");
    cr_assert_eq(watchers_of((weft_options){.flags = WEFT_CURRENT_THREAD, .watchdog = WEFT_SEC}), 1);
    cr_assert_eq(watchers_of((weft_options){.workers = 1, .clock = WEFT_CLOCK_PAUSED}), 0);
}

Test(watchdog, a_limit_below_zero_is_invalid)
{
    weft_options options = {.watchdog = -1};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), WEFT_EINVAL);
    cr_assert_null(rt);
}

/* Between two calls nobody is the worker: what it polled last is over. */
Test(watchdog, a_worker_without_a_thread_holds_nothing)
{
    log_text s = LOG_TEXT_INIT;
    weft_runtime *rt;
    weft_options options = watched(1, &s);
    options.flags = WEFT_CURRENT_THREAD;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_block_on(rt, give, NULL, NULL), 0);
    spin(6 * limit());
    cr_assert_eq(weft_block_on(rt, loop, &s, NULL), 0);
    cr_assert_eq(reports(&s), 1, "%s", s.text);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- d30, the other half: the list of tasks ------------------------------------------------------------------ */

enum { CHURNERS = 8 };

typedef struct churn {
    atomic_int stop;
    atomic_int born;
} churn;

/* Its name is its id, or nothing yet. */
static void *be_somebody(void *arg)
{
    cr_assert_eq(weft_set_name("%" PRIu64, weft_self_id()), 0);
    cr_assert_eq(weft_yield(), 0);
    atomic_fetch_add(&((churn *)arg)->born, 1);
    return NULL;
}

static void *churn_on(void *arg)
{
    churn *c = arg;
    while (!c->stop) {
        weft_task *task;
        cr_assert_eq(weft_spawn(&task, be_somebody, c), 0);
        cr_assert_eq(weft_join(task, NULL), 0);
    }
    return NULL;
}

typedef struct roll {
    uint64_t ids[1000];
    unsigned count;
} roll;

static int enter(void *arg, const weft_task_info *info)
{
    roll *r = arg;
    char name[64];
    for (unsigned i = 0; i < r->count; i++)
        cr_assert_neq(r->ids[i], info->id, "met twice");
    if (r->count < 1000)
        r->ids[r->count++] = info->id;
    snprintf(name, sizeof name, "%" PRIu64, info->id);
    cr_assert(!info->name[0] || strcmp(info->name, "churner") == 0 || strcmp(info->name, name) == 0,
              "#%" PRIu64 " is called %s", info->id, info->name);
    return 0;
}

static void *churn_root(void *arg)
{
    churn c = {0};
    weft_task *tasks[CHURNERS];
    (void)arg;
    for (int i = 0; i < CHURNERS; i++)
        tasks[i] = start("churner", churn_on, &c);
    for (size_t i = 0; i < wf_test_scale(2000) || c.born < 100; i++) {
        roll r = {.count = 0};
        cr_assert_eq(weft_tasks_visit(NULL, enter, &r), 0);
        cr_assert_eq(weft_yield(), 0);
    }
    c.stop = 1;
    for (int i = 0; i < CHURNERS; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    return NULL;
}

WF_TEST_WORKERS(watchdog, d30_each_task_is_listed_once_and_with_its_own_name_however_places_are_reused)
{
    weft_options options = {.workers = workers, .stack_size = 64 * 1024};
    cr_assert_eq(weft_run_with(&options, churn_root, NULL, NULL), 0);
}
