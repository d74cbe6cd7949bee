/* dump_test.c - weft_dump(): whatever lives is in it, by its state, what it waits for and where; and nobody is the worse for being looked at. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <support/latch.h>
#include <support/process.h>
#include <support/test.h>
#include <support/until.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>
#include <weft/diag.h>

#if defined(__SANITIZE_THREAD__)
#define SIGNALS_COME_LATE 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SIGNALS_COME_LATE 1
#endif
#endif
#ifndef SIGNALS_COME_LATE
#define SIGNALS_COME_LATE 0
#endif

/* ---- help ---------------------------------------------------------------------------------------------------- */

/* In no frame of the program's own: which no compiler inlines, nor leaves by a jump. */
#define VISIBLE __attribute__((noinline))
#define STAY __asm__ volatile("" ::: "memory")

static bool names_are_known(void)
{
#if defined(__has_include)
#if __has_include(<elfutils/libdwfl.h>)
    return dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL) && sizeof(void *) == 8;
#endif
#endif
    return false;
}

static void want_names(void)
{
    if (!names_are_known())
        cr_skip_test("no libdw here, or a machine that it is not used for");
}

static weft_runtime *create(unsigned workers)
{
    weft_options options = {.workers = workers, .watchdog = 600 * WEFT_SEC, .name = "dumped"};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    return rt;
}

static weft_task *spawn_named(weft_runtime *rt, const char *name, weft_fn fn, void *arg)
{
    weft_spawn_options options = {.name = name, .runtime = rt};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    return task;
}

/* To be freed. */
static char *dump_of(weft_runtime *rt, uint64_t id)
{
    char *text;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    cr_assert_not_null(to);
    cr_assert_eq(id ? weft_dump_task(rt, id, to) : weft_dump(rt, to), 0);
    cr_assert_eq(fclose(to), 0);
    return text;
}

static void has(const char *text, const char *part)
{
    cr_assert_not_null(strstr(text, part), "\"%s\" is not in:\n%s", part, text);
}
static void has_not(const char *text, const char *part)
{
    cr_assert_null(strstr(text, part), "\"%s\" is in:\n%s", part, text);
}

/* @part stands after @head and before @next. */
static void has_between(const char *text, const char *head, const char *next, const char *part)
{
    const char *from = strstr(text, head), *to = from ? strstr(from, next) : NULL, *at = from ? strstr(from, part) : NULL;
    cr_assert(from && to && at && at < to, "\"%s\" is not between \"%s\" and \"%s\" in:\n%s", part, head, next, text);
}

static size_t lines_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void join(weft_task *task) { cr_assert_eq(weft_join(task, NULL), 0); }

static void destroy(weft_runtime *rt) { cr_assert_eq(weft_runtime_destroy(rt), 0); }

/* ---- each state, each wait ----------------------------------------------------------------------------------- */

static weft_mutex gate = WEFT_MUTEX_INIT;
static atomic_bool enough;
static atomic_int spinning;
static atomic_int line_of_lock;

static void *spins(void *arg)
{
    spinning++;
    while (!enough)
        STAY;
    return arg;
}

VISIBLE static void pass_the_gate(void)
{
    line_of_lock = __LINE__ + 1;
    weft_mutex_lock(&gate);
    STAY;
    weft_mutex_unlock(&gate);
    STAY;
}

static void *passes_the_gate(void *arg)
{
    pass_the_gate();
    STAY;
    return arg;
}

static void *sleeps(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

static void *receives(void *ch)
{
    int item;
    cr_assert_eq(weft_chan_recv(ch, &item), WEFT_ECLOSED);
    return NULL;
}

static void *reads(void *stream)
{
    char c;
    cr_assert_eq(weft_read(stream, &c, 1), 0);
    weft_close(stream);
    return NULL;
}

static void *joins(void *task)
{
    cr_assert_eq(weft_join(task, NULL), 0);
    return NULL;
}

/* A future of the program's own. */
typedef struct pending {
    weft_future future;
    weft_atomic_waker waker;
    atomic_bool ready;
} pending;

static weft_poll poll_pending(weft_future *self, weft_context *cx, void **result)
{
    pending *p = WEFT_CONTAINER_OF(self, pending, future);
    *result = NULL;
    weft_atomic_waker_register(&p->waker, weft_context_waker(cx));
    return p->ready ? WEFT_READY : WEFT_PENDING;
}

static void drop_pending(weft_future *self)
{
    weft_waker waker;
    if (weft_atomic_waker_take(&WEFT_CONTAINER_OF(self, pending, future)->waker, &waker))
        weft_waker_drop(&waker);
}

static const weft_future_ops pending_ops = {.poll = poll_pending, .drop = drop_pending};

static void end_pending(pending *p)
{
    p->ready = true;
    weft_atomic_waker_wake(&p->waker);
}

static bool is_idle(const weft_task *task) { return weft_task_state(task) == WEFT_TASK_IDLE; }

typedef struct everything {
    weft_task *locked, *sleeper, *receiver, *reader, *joiner, *future, *stored, *job;
    weft_chan *chan;
    weft_stream *near, *far;
    pending in_heap, in_storage;
    weft_task_storage storage;
    latch latch;
} everything;

static void *make_streams(void *arg)
{
    everything *e = arg;
    cr_assert_eq(weft_stream_pair(&e->near, &e->far), 0);
    return NULL;
}

static void *spawn_stored(void *arg)
{
    everything *e = arg;
    e->in_storage = (pending){.future.ops = &pending_ops};
    e->storage.release = NULL;
    cr_assert_eq(weft_spawn_future_in(&e->stored, &e->storage, &e->in_storage.future), 0);
    return NULL;
}

static void begin_everything(weft_runtime *rt, everything *e)
{
    weft_spawn_options future = {.runtime = rt, .name = "the future"},
                       job = {.runtime = rt, .name = "the job", .blocking = 1};
    *e = (everything){.latch = LATCH_INIT, .in_heap = {.future.ops = &pending_ops}};
    cr_assert_eq(weft_chan_create(&e->chan, sizeof(int), 1), 0);
    cr_assert_eq(weft_block_on(rt, make_streams, e, NULL), 0);
    cr_assert_eq(weft_block_on(rt, spawn_stored, e, NULL), 0);
    e->locked = spawn_named(rt, "at the gate", passes_the_gate, NULL);
    e->sleeper = spawn_named(rt, "the sleeper", sleeps, NULL);
    e->receiver = spawn_named(rt, "the receiver", receives, e->chan);
    e->reader = spawn_named(rt, "the reader", reads, e->near);
    e->joiner = spawn_named(rt, "the joiner", joins, e->locked);
    cr_assert_eq(weft_spawn_future_with(&e->future, &future, &e->in_heap.future), 0);
    cr_assert_eq(weft_spawn_with(&e->job, &job, latch_pass, &e->latch), 0);
    SPIN_UNTIL(is_idle(e->locked) && is_idle(e->sleeper) && is_idle(e->receiver) && is_idle(e->reader));
    SPIN_UNTIL(is_idle(e->joiner) && is_idle(e->future) && is_idle(e->stored) && e->latch.inside == 1);
}

static void *close_far(void *stream)
{
    weft_close(stream);
    return NULL;
}

static void end_everything(weft_runtime *rt, everything *e)
{
    weft_abort(e->sleeper);
    weft_chan_close(e->chan);
    end_pending(&e->in_heap);
    end_pending(&e->in_storage);
    latch_open(&e->latch);
    cr_assert_eq(weft_block_on(rt, close_far, e->far, NULL), 0);
    join(e->joiner);
    join(e->receiver);
    join(e->reader);
    join(e->future);
    join(e->stored);
    join(e->job);
    cr_assert_eq(weft_join(e->sleeper, NULL), WEFT_EABORTED);
    cr_assert_eq(weft_chan_free(e->chan), 0);
}

/* What the list of tasks says that each waits for, the dump says, too. */
static int is_said(void *text, const weft_task_info *info)
{
    char part[128];
    if (info->state != WEFT_TASK_IDLE || !info->waits_for[0] || strcmp(info->waits_for, "?") == 0)
        return 0;
    snprintf(part, sizeof part, " for %s", info->waits_for);
    has(text, part);
    return 0;
}

static void expect_everything(weft_runtime *rt, const char *text)
{
    static const char *const waiting[] = {"\"at the gate\"", "\"the sleeper\"", "\"the receiver\"",
                                          "\"the reader\"",  "\"the joiner\"",  "\"the future\""};
    has(text, "weft \"dumped\": ");
    has_between(text, " running\n", " queued\n", "\"the job\"");
    for (size_t i = 0; i < sizeof waiting / sizeof *waiting; i++)
        has(strstr(text, " waiting, in "), waiting[i]);
    has(text, "\n7 waiting, in 7 groups\n"); /* and the stored one, which has no name */
    cr_assert_eq(weft_tasks_visit(rt, is_said, (void *)(uintptr_t)text), 0);
}

WF_TEST_WORKERS(dump, every_state_and_every_wait_is_in_it)
{
    static everything e;
    weft_runtime *rt = create(workers);
    weft_task *spinners[8], *queued;
    weft_mutex_lock(&gate);
    begin_everything(rt, &e);
    for (unsigned i = 0; i < workers; i++)
        spinners[i] = spawn_named(rt, "the spinner", spins, NULL);
    SPIN_UNTIL(spinning == (int)workers);
    queued = spawn_named(rt, "in the queue", spins, NULL);
    char *text = dump_of(rt, 0);
    expect_everything(rt, text);
    has_between(text, " running\n", " queued\n", "\"the spinner\"");
    has_between(text, " queued\n", " waiting, in ", "\"in the queue\"");
    has_between(text, "weft \"dumped\"", " running\n", "polling #");
    free(text);
    enough = true;
    weft_mutex_unlock(&gate);
    for (unsigned i = 0; i < workers; i++)
        join(spinners[i]);
    join(queued);
    end_everything(rt, &e);
    destroy(rt);
}

/* A line of its own for each would bury the one that matters. */
WF_TEST_WORKERS(dump, those_at_the_same_place_are_one_group)
{
    enum { MANY = 1000 };
    static weft_task *tasks[MANY];
    weft_runtime *rt = create(workers);
    weft_mutex_lock(&gate);
    for (int i = 0; i < MANY; i++)
        tasks[i] = spawn_named(rt, i == 500 ? "the odd one" : "one of many", i == 500 ? sleeps : passes_the_gate, NULL);
    for (int i = 0; i < MANY; i++)
        SPIN_UNTIL(is_idle(tasks[i]));
    char *text = dump_of(rt, 0);
    has(text, "1000 waiting, in 2 groups\n");
    has(text, "  999 strands wait for ");
    has(text, "  1 strand waits for ");
    has(text, "\"the odd one\"");
    has(text, "    ... and 996 more\n");
    cr_assert_lt(lines_of(text), 40, "%s", text);
    free(text);
    weft_mutex_unlock(&gate);
    weft_abort(tasks[500]);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), i == 500 ? WEFT_EABORTED : 0);
    destroy(rt);
}

/* ---- where --------------------------------------------------------------------------------------------------- */

/* The dump of @fn's task, which comes to the gate. */
static char *at_the_gate(weft_fn fn)
{
    weft_runtime *rt = create(1);
    weft_mutex_lock(&gate);
    weft_task *task = spawn_named(rt, "walker", fn, NULL);
    SPIN_UNTIL(is_idle(task));
    char *text = dump_of(rt, weft_task_id(task));
    has(text, "\"walker\" is idle for ");
    weft_mutex_unlock(&gate);
    join(task);
    destroy(rt);
    return text;
}

Test(dump, one_that_waits_is_seen_with_function_and_line)
{
    char line[64];
    want_names();
    char *text = at_the_gate(passes_the_gate);
    snprintf(line, sizeof line, " pass_the_gate at dump_test.c:%d\n", (int)line_of_lock);
    has(text, "    #0 weft_mutex_lock");
    has(text, line);
    has(text, " passes_the_gate at dump_test.c:");
    has_not(text, "wf_");
    free(text);
}

static void *resumes(void *arg)
{
    weft_coro *c;
    cr_assert_eq(weft_coro_create(&c, passes_the_gate, NULL, 0), 0);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 0);
    cr_assert_eq(weft_coro_free(c), 0);
    return arg;
}

Test(dump, one_that_waits_in_a_coroutine_is_seen_with_its_resumer)
{
    want_names();
    char *text = at_the_gate(resumes);
    has_between(text, " pass_the_gate at dump_test.c:", " resumes at dump_test.c:", " passes_the_gate ");
    free(text);
}

static void at_the_end(void *arg)
{
    (void)arg;
    pass_the_gate();
    STAY;
}

static void *defers(void *arg)
{
    cr_assert_eq(weft_defer(at_the_end, NULL), 0);
    return arg;
}

Test(dump, one_that_waits_in_a_deferred_call_is_seen)
{
    want_names();
    char *text = at_the_gate(defers);
    has_between(text, " pass_the_gate at dump_test.c:", " at_the_end at dump_test.c:", "\n");
    free(text);
}

VISIBLE static void descend(int levels)
{
    if (levels > 0)
        descend(levels - 1);
    else
        pass_the_gate();
    STAY;
}

static void *descends(void *arg)
{
    descend(200);
    return arg;
}

Test(dump, one_deep_down_is_cut)
{
    want_names();
    char *text = at_the_gate(descends);
    has(text, " pass_the_gate at dump_test.c:");
    has(text, "    #63 descend at dump_test.c:");
    has(text, "    ... and more\n");
    free(text);
}

static void *turns(void *arg)
{
    spinning++;
    while (!enough)
        STAY;
    return arg;
}

/* Under load it may not answer in time: then it is asked again. */
Test(dump, one_that_runs_is_seen_too)
{
    want_names();
    if (SIGNALS_COME_LATE)
        cr_skip_test("ThreadSanitizer calls signal handlers late");
    weft_runtime *rt = create(1);
    weft_task *task = spawn_named(rt, "turner", turns, NULL);
    char *text = NULL;
    bool seen = false;
    SPIN_UNTIL(spinning == 1);
    for (int64_t until = weft_now() + PATIENCE; !seen && weft_now() < until; free(text)) {
        text = dump_of(rt, weft_task_id(task));
        has(text, "\"turner\" is running for ");
        seen = strstr(text, "    #0 turns at dump_test.c:");
    }
    cr_assert(seen);
    text = dump_of(rt, 0);
    has_between(text, " running\n", " queued\n", "\"turner\" on worker 0 for ");
    free(text);
    enough = true;
    join(task);
    destroy(rt);
}

/* ---- from where ---------------------------------------------------------------------------------------------- */

static void *dumps_itself(void *arg)
{
    char *text = dump_of(NULL, 0), *own = dump_of(NULL, weft_self_id());
    has_between(text, " running\n", " queued\n", "\"the smallest\"");
    has(own, "\"the smallest\" is running");
    free(text);
    free(own);
    return arg;
}

/* On the smallest stack there is, and behind one that waits: unwinding takes more than that. */
WF_TEST_WORKERS(dump, a_task_may_ask_on_the_smallest_stack)
{
    weft_runtime *rt = create(workers);
    weft_task *task, *sleeper = spawn_named(rt, "the sleeper", sleeps, NULL);
    SPIN_UNTIL(is_idle(sleeper));
    weft_spawn_options options = {.name = "the smallest", .stack_size = 16 * 1024, .runtime = rt};
    cr_assert_eq(weft_spawn_with(&task, &options, dumps_itself, NULL), 0);
    join(task);
    weft_abort(sleeper);
    cr_assert_eq(weft_join(sleeper, NULL), WEFT_EABORTED);
    destroy(rt);
}

Test(dump, what_cannot_be_done_is_said)
{
    weft_runtime *rt = create(1);
    FILE *to = fopen("/dev/full", "w");
    cr_assert_not_null(to);
    cr_assert_eq(weft_dump(rt, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_dump(NULL, to), WEFT_ENORUNTIME);
    cr_assert_eq(weft_dump_task(rt, 0, to), WEFT_ENOENT);
    cr_assert_eq(weft_dump_task(rt, UINT64_MAX, to), WEFT_ENOENT);
    cr_assert_eq(weft_dump(rt, to), -ENOSPC);
    fclose(to);
    destroy(rt);
}

static void *renames_itself(void *name)
{
    weft_set_name("%s", (const char *)name);
    weft_sleep(WEFT_FOREVER);
    return NULL;
}

/* It may go to a terminal. */
Test(dump, a_name_stays_on_its_line)
{
    char name[] = "two\nlines\033[2J";
    weft_runtime *rt = create(1);
    weft_task *task = spawn_named(rt, "", renames_itself, name);
    SPIN_UNTIL(is_idle(task));
    char *text = dump_of(rt, 0);
    has(text, "\"two?lines?[2J\"");
    free(text);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    destroy(rt);
}

static void *holds_under_a_bad_name(void *mutex)
{
    weft_set_name("who\n\033[2Jholds");
    weft_mutex_lock(mutex);
    weft_sleep(WEFT_FOREVER);
    weft_mutex_unlock(mutex);
    return NULL;
}

static void *waits_for_it(void *mutex)
{
    weft_mutex_lock(mutex);
    weft_mutex_unlock(mutex);
    return NULL;
}

/* Broken: with the one who waits it was printed as it was. */
Test(dump, the_name_of_a_holder_stays_on_its_line)
{
    weft_mutex mutex = WEFT_MUTEX_INIT;
    weft_runtime *rt = create(1);
    weft_task *holds = spawn_named(rt, "", holds_under_a_bad_name, &mutex);
    SPIN_UNTIL(is_idle(holds));
    weft_task *waits = spawn_named(rt, "", waits_for_it, &mutex);
    SPIN_UNTIL(is_idle(waits));
    char *text = dump_of(rt, 0);
    has(text, "\"who??[2Jholds\"");
    cr_assert_null(strstr(text, "\033"), "%s", text);
    free(text);
    weft_abort(holds);
    cr_assert_eq(weft_join(holds, NULL), WEFT_EABORTED);
    cr_assert_eq(weft_join(waits, NULL), 0);
    destroy(rt);
}

/* ---- meanwhile ----------------------------------------------------------------------------------------------- */

static weft_runtime *looked_at;
static atomic_bool done;

static void *dumps_all_the_time(void *arg)
{
    atomic_int *dumps = arg;
    while (!done) {
        free(dump_of(looked_at, 0));
        ++*dumps;
    }
    return NULL;
}

static void *plays(void *arg)
{
    weft_chan *ch = arg;
    for (int item = 0, i = 0; i < 200; i++) {
        cr_assert_eq(weft_chan_send(ch, &item), 0);
        cr_assert_eq(weft_yield(), 0);
        cr_assert_eq(weft_chan_recv(ch, &item), 0);
    }
    return arg;
}

static void *waits_to_be_aborted(void *arg)
{
    weft_mutex_lock(&gate);
    weft_mutex_unlock(&gate);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED);
    return arg;
}

/* Woken, aborted, pinned, stackless, stored and blocking ones, spawned and joined again and again. */
static void *round_of_all_kinds(void *arg)
{
    weft_task *players[4], *aborted, *pinned, *blocking;
    weft_chan *ch;
    everything *e = arg;
    cr_assert_eq(weft_chan_create(&ch, sizeof(int), 2), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(weft_spawn(&players[i], plays, ch), 0);
    cr_assert_eq(weft_spawn(&aborted, waits_to_be_aborted, NULL), 0);
    cr_assert_eq(weft_spawn_with(&pinned, &(weft_spawn_options){.pinned = 1}, passes_the_gate, NULL), 0);
    cr_assert_eq(weft_spawn_blocking(&blocking, passes_the_gate, NULL), 0);
    spawn_stored(e);
    for (int i = 0; i < 4; i++)
        join(players[i]);
    end_pending(&e->in_storage);
    join(e->stored);
    join(pinned);
    join(blocking);
    weft_abort(aborted);
    cr_assert_eq(weft_join(aborted, NULL), WEFT_EABORTED);
    cr_assert_eq(weft_chan_free(ch), 0);
    return NULL;
}

/* If a wake were lost while somebody is held still, one of these would never end. */
WF_TEST_WORKERS(dump, nothing_is_lost_while_it_looks)
{
    static everything rounds[2];
    atomic_int dumps = 0;
    pthread_t dumper;
    size_t least = wf_test_scale(20);
    looked_at = create(workers);
    cr_assert_eq(pthread_create(&dumper, NULL, dumps_all_the_time, &dumps), 0);
    for (size_t i = 0; i < least || dumps < 3; i++) {
        weft_task *other = spawn_named(looked_at, "round", round_of_all_kinds, &rounds[0]);
        cr_assert_eq(weft_block_on(looked_at, round_of_all_kinds, &rounds[1], NULL), 0);
        join(other);
    }
    done = true;
    pthread_join(dumper, NULL);
    destroy(looked_at);
}

/* Two who wait for each other with a timeout that virtual time would bring about, if it did not know that one is only held still. */
static void *answers(void *arg)
{
    weft_chan **ch = arg;
    int item;
    while (weft_chan_recv(ch[0], &item) == 0)
        cr_assert_eq(weft_chan_send(ch[1], &item), 0);
    return NULL;
}

static void *asks(void *arg)
{
    weft_chan *ch[2];
    weft_task *other;
    weft_scope scope;
    int64_t began = weft_now();
    cr_assert_eq(weft_chan_create(&ch[0], sizeof(int), 0), 0);
    cr_assert_eq(weft_chan_create(&ch[1], sizeof(int), 0), 0);
    cr_assert_eq(weft_spawn(&other, answers, ch), 0);
    cr_assert_eq(weft_scope_enter(&scope, WEFT_SEC), 0);
    for (int item = 0; !done; item++) {
        cr_assert_eq(weft_chan_send(ch[0], &item), 0);
        cr_assert_eq(weft_chan_recv(ch[1], &item), 0);
    }
    cr_assert_eq(weft_scope_leave(&scope), 0);
    cr_assert_eq(weft_now(), began);
    weft_chan_close(ch[0]);
    join(other);
    cr_assert_eq(weft_chan_free(ch[0]), 0);
    cr_assert_eq(weft_chan_free(ch[1]), 0);
    return arg;
}

static void *dumps_some_times(void *arg)
{
    for (size_t i = 0; i < wf_test_scale(200); i++)
        free(dump_of(looked_at, 0));
    done = true;
    return arg;
}

WF_TEST_WORKERS(dump, a_paused_clock_stands_for_it)
{
    weft_options options = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    pthread_t dumper;
    cr_assert_eq(weft_runtime_create(&looked_at, &options), 0);
    cr_assert_eq(pthread_create(&dumper, NULL, dumps_some_times, NULL), 0);
    cr_assert_eq(weft_block_on(looked_at, asks, NULL, NULL), 0);
    pthread_join(dumper, NULL);
    destroy(looked_at);
}

/* ---- at the end ---------------------------------------------------------------------------------------------- */

static atomic_bool destroyed, visited;

static int stays_until_it_closes(void *arg, const weft_task_info *info)
{
    weft_task *task;
    int *visits = arg;
    visited = true;
    while (weft_spawn_on(looked_at, &task, sleeps, NULL) == 0)
        weft_detach(task);
    cr_assert_eq(weft_spawn_on(looked_at, &task, sleeps, NULL), WEFT_ECANCELED);
    for (int i = 0; i < 1000; i++)
        sched_yield();
    cr_assert_not(destroyed);
    ++*visits;
    return info->id == 0;
}

static void *visits_until_it_closes(void *visits)
{
    cr_assert_eq(weft_tasks_visit(looked_at, stays_until_it_closes, visits), 0);
    return NULL;
}

/* Who looks keeps it from being freed, and nothing else. */
WF_TEST_WORKERS(dump, who_looks_is_waited_for)
{
    int visits = 0;
    pthread_t visitor;
    looked_at = create(workers);
    weft_task *sleeper = spawn_named(looked_at, "sleeper", sleeps, NULL);
    SPIN_UNTIL(is_idle(sleeper));
    weft_detach(sleeper);
    cr_assert_eq(pthread_create(&visitor, NULL, visits_until_it_closes, &visits), 0);
    SPIN_UNTIL(visited);
    cr_assert_eq(weft_runtime_destroy(looked_at), 0);
    destroyed = true;
    pthread_join(visitor, NULL);
    cr_assert_geq(visits, 1);
}

WF_TEST_WORKERS(dump, it_may_be_made_while_all_ends)
{
    enum { MANY = 200 };
    atomic_int dumps = 0;
    pthread_t dumper;
    looked_at = create(workers);
    for (int i = 0; i < MANY; i++)
        weft_detach(spawn_named(looked_at, "one of many", sleeps, NULL));
    cr_assert_eq(pthread_create(&dumper, NULL, dumps_all_the_time, &dumps), 0);
    SPIN_UNTIL(dumps > 0);
    cr_assert_eq(weft_runtime_shutdown(looked_at, PATIENCE), 0);
    int before = dumps;
    SPIN_UNTIL(dumps > before + 1); /* of one that has ended */
    done = true;
    pthread_join(dumper, NULL);
    destroy(looked_at);
}

/* ---- in a child ---------------------------------------------------------------------------------------------- */

static void *dumps_in_the_child(void *arg)
{
    char *text = dump_of(NULL, 0);
    bool found = strstr(text, " running\n");
    free(text);
    return found ? arg : NULL;
}

/* Its copy of the runtime is dead; one of its own is not. ThreadSanitizer lets it have no threads. */
static int child(void)
{
    weft_options options = {.flags = WEFT_CURRENT_THREAD, .watchdog = WEFT_FOREVER};
    char *text = NULL;
    size_t size;
    void *found = NULL;
    FILE *to = open_memstream(&text, &size);
    if (weft_dump(looked_at, to) != WEFT_ENOTSUP || weft_dump_task(looked_at, 1, to) != WEFT_ENOTSUP)
        return 1;
    return weft_run_with(&options, dumps_in_the_child, looked_at, &found) == 0 && found == looked_at ? 0 : 2;
}

static void fork_one(void)
{
    int status = 0;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(child());
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
}

/* While another thread dumps, at whichever point that is. */
Test(dump, a_forked_child_has_its_own)
{
    atomic_int dumps = 0;
    pthread_t dumper;
    if (WF_TEST_SANITIZED)
        cr_skip_test("a sanitizer's malloc() may be locked for ever in the child of a process with threads");
    looked_at = create(2);
    cr_assert_eq(pthread_create(&dumper, NULL, dumps_all_the_time, &dumps), 0);
    SPIN_UNTIL(dumps > 0);
    for (size_t i = 0; i < wf_test_scale(20); i++)
        fork_one();
    done = true;
    pthread_join(dumper, NULL);
    destroy(looked_at);
}
