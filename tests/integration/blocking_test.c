/* blocking_test.c - work that blocks its thread: tasks of its own, and calls as part of the calling task.
 *
 * Where a job has to be queued, one thread is all there is (blocking_threads = 1) and a latch keeps it. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/latch.h>
#include <support/process.h>
#include <support/task_support.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void run_with_threads(unsigned workers, unsigned blocking, weft_fn root, void *arg)
{
    weft_options options = {.workers = workers, .blocking_threads = blocking};
    cr_assert_eq(weft_run_with(&options, root, arg, NULL), 0);
}

static weft_task *start_blocking(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn_blocking(&task, fn, arg), 0);
    return task;
}

/* The pool's only thread is taken until the latch opens. */
static weft_task *occupy(latch *l)
{
    int before = l->entered;
    weft_task *task = start_blocking(latch_pass, l);
    EVENTUALLY(l->entered > before);
    return task;
}

static void count(void *counter) { atomic_fetch_add((atomic_int *)counter, 1); }

static void *count_up(void *counter)
{
    count(counter);
    return counter;
}

static void join(weft_task *task) { cr_assert_eq(weft_join(task, NULL), 0); }

static void real_sleep(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / WEFT_SEC, .tv_nsec = ns % WEFT_SEC};
    nanosleep(&t, NULL);
}

/* ---- a task of its own --------------------------------------------------------------------------------------- */

static const weft_local inherited = WEFT_LOCAL_INIT(NULL, 1), own = WEFT_LOCAL_INIT(NULL, 0);

typedef struct facts {
    weft_runtime *rt;
    uint64_t id;
    long thread;
    void *local, *not_inherited;
} facts;

static void *note_facts(void *arg)
{
    facts *f = arg;
    sigset_t mask;
    *f = (facts){weft_runtime_current(), weft_self_id(), thread_id(), weft_local_get(&inherited), weft_local_get(&own)};
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    cr_assert(sigismember(&mask, SIGINT) && sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGCHLD));
    cr_assert_eq(weft_set_name("worker bee"), 0);
    cr_assert_eq(weft_local_set(&own, f), 0);
    cr_assert_eq(weft_local_get(&own), f);
    cr_assert_eq(weft_is_cancelled(), 0);
    return f;
}

static void *facts_root(void *arg)
{
    facts f = {0};
    void *result;
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_local_set(&inherited, &f), 0);
    cr_assert_eq(weft_local_set(&own, &result), 0);
    weft_spawn_options options = {.name = "bee", .blocking = 1};
    cr_assert_eq(weft_spawn_with(&task, &options, note_facts, &f), 0);
    uint64_t id = weft_task_id(task);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_str_eq(weft_task_name(task), "worker bee");
    cr_assert_eq(weft_task_state(task), WEFT_TASK_COMPLETED);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq(result, &f);
    cr_assert_eq(f.rt, weft_runtime_current());
    cr_assert_eq(f.id, id);
    cr_assert_neq(f.id, weft_self_id());
    cr_assert_eq(f.local, &f);
    cr_assert_null(f.not_inherited);
    cr_assert_eq(weft_local_get(&own), &result);
    return NULL;
}

WF_TEST_WORKERS(blocking, a_job_is_a_task_on_a_thread_of_the_pool) { run(workers, facts_root, NULL); }

static void *fail(void *arg)
{
    (void)arg;
    return weft_fail(WEFT_EPIPE);
}

static void *panic(void *arg)
{
    weft_panic("job %d", *(int *)arg);
    return arg;
}

static void *forget_a_scope(void *arg)
{
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, WEFT_SEC), 0);
    return arg;
}

static void expect_panic(weft_task *task, const char *text)
{
    void *result = task;
    cr_assert_eq(weft_wait(task), 0);
    cr_assert_str_eq(weft_task_error(task), text);
    cr_assert_eq(weft_join(task, &result), WEFT_EPANIC);
    cr_assert_null(result);
}

static void *ends_root(void *arg)
{
    int number = 7;
    void *result;
    (void)arg;
    cr_assert_eq(weft_join(start_blocking(fail, NULL), &result), WEFT_EFAILED);
    cr_assert_eq((intptr_t)result, WEFT_EPIPE);
    expect_panic(start_blocking(panic, &number), "job 7");
    atomic_int dropped = 0;
    weft_spawn_options options = {.blocking = 1, .drop_result = count};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, forget_a_scope, &dropped), 0);
    expect_panic(task, "it ended with a scope that it had not left");
    cr_assert_eq(dropped, 1);
    join(start_blocking(echo, NULL)); /* the thread is none the worse for it */
    return NULL;
}

WF_TEST_WORKERS(blocking, failures_and_panics_reach_the_joiner) { run(workers, ends_root, NULL); }

static void *wait_for_ever(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

static void *leave_group_behind(void *arg)
{
    weft_group *group;
    cr_assert_eq(weft_group_create(&group), 0);
    cr_assert_eq(weft_group_spawn(group, wait_for_ever, NULL), 0);
    if (*(int *)arg)
        weft_panic("with a group");
    return NULL;
}

static void *left_groups_root(void *arg)
{
    int panics = 0;
    (void)arg;
    join(start_blocking(leave_group_behind, &panics));
    panics = 1;
    expect_panic(start_blocking(leave_group_behind, &panics), "with a group");
    weft_metrics_t m;
    cr_assert_eq(weft_metrics(NULL, &m), 0);
    cr_assert_eq(m.active, 1, "nobody but this one is left");
    return NULL;
}

WF_TEST_WORKERS(blocking, groups_made_in_a_job_end_with_it) { run(workers, left_groups_root, NULL); }

static weft_poll never_poll(weft_future *f, weft_context *cx, void **result)
{
    (void)f, (void)cx, (void)result;
    return WEFT_PENDING;
}

static void *add_bytes(void *arg)
{
    const unsigned char *bytes = arg;
    uintptr_t sum = 0;
    for (int i = 0; i < 10; i++)
        sum += bytes[i];
    return (void *)sum;
}

static void *options_root(void *arg)
{
    static const weft_future_ops never_ops = {.poll = never_poll};
    weft_future never = {.ops = &never_ops};
    atomic_int dropped = 0;
    weft_task *task = arg;
    void *result;
    weft_spawn_options options = {.blocking = 1, .pinned = 1};
    cr_assert_eq(weft_spawn_with(&task, &options, echo, NULL), WEFT_EINVAL, "there is no worker to be pinned to");
    cr_assert_null(task);
    options.pinned = 0;
    cr_assert_eq(weft_spawn_future_with(&task, &options, &never), WEFT_EINVAL);
    cr_assert_eq(weft_spawn_blocking(&task, NULL, NULL), WEFT_EINVAL);
    options.copy_arg = 10;
    options.drop_arg = count;
    {
        unsigned char bytes[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
        cr_assert_eq(weft_spawn_with(&task, &options, add_bytes, bytes), 0);
        memset(bytes, 0, sizeof bytes);
    }
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq((uintptr_t)result, 55);
    options = (weft_spawn_options){.blocking = 1, .drop_result = count};
    cr_assert_eq(weft_spawn_with(NULL, &options, echo, &dropped), 0);
    EVENTUALLY(dropped == 1);
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &dropped), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(dropped, 2);
    cr_assert_eq(weft_spawn_with(&task, &options, echo, &dropped), 0);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq(dropped, 2);
    return NULL;
}

WF_TEST_WORKERS(blocking, options_mean_what_they_mean_for_strands) { run(workers, options_root, NULL); }

/* ---- what a job can do --------------------------------------------------------------------------------------- */

static void *serve_one(void *arg)
{
    weft_listener *l = arg;
    weft_stream *s;
    char c;
    cr_assert_eq(weft_accept(&s, l), 0);
    cr_assert_eq(weft_read(s, &c, 1), 1);
    cr_assert_eq(weft_write(s, &c, 1), 1);
    weft_close(s);
    return NULL;
}

static void *talk(void *arg)
{
    weft_stream *s;
    char c = 'x';
    cr_assert_eq(weft_tcp_connect(&s, arg, 0), 0);
    cr_assert_eq(weft_write(s, &c, 1), 1);
    cr_assert_eq(weft_read(s, &c, 1), 1);
    weft_close(s);
    return NULL;
}

static void *do_everything(void *arg)
{
    weft_task *task;
    weft_listener *l;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    void *result;
    cr_assert_eq(weft_spawn(&task, echo, arg), 0);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq(result, arg);
    cr_assert_eq(weft_sleep(WEFT_MS), 0);
    cr_assert_eq(weft_yield(), 0);
    cr_assert_eq(weft_blocking(echo, arg, &result), 0, "on such a thread it is simply called");
    cr_assert_eq(result, arg);
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, WEFT_MS), 0);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ETIMEDOUT);
    cr_assert_neq(weft_is_cancelled(), 0);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_is_cancelled(), 0);
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    weft_addr_format(&addr, text, sizeof text);
    cr_assert_eq(weft_spawn(&task, talk, text), 0);
    serve_one(l);
    join(task);
    weft_listener_close(l);
    return arg;
}

static void *everything_root(void *arg)
{
    weft_task *task = start_blocking(do_everything, arg);
    join(task);
    return NULL;
}

WF_TEST_WORKERS(blocking, a_job_waits_spawns_and_opens_sockets) { run(workers, everything_root, NULL); }

static void *try_what_is_forbidden(void *arg)
{
    weft_task *me = *(weft_task **)arg;
    weft_runtime *rt = weft_runtime_current(), *other;
    cr_assert_eq(weft_run(echo, NULL, NULL), WEFT_EDEADLK);
    cr_assert_eq(weft_block_on(rt, echo, NULL, NULL), WEFT_EDEADLK);
    cr_assert_eq(weft_runtime_create(&other, NULL), WEFT_EDEADLK);
    cr_assert_eq(weft_runtime_shutdown(rt, 0), WEFT_EDEADLK);
    cr_assert_eq(weft_runtime_destroy(rt), WEFT_EDEADLK);
    cr_assert_eq(weft_runtime_enter(rt), WEFT_EBUSY);
    cr_assert_eq(weft_runtime_leave(), WEFT_EINVAL);
    cr_assert_eq(weft_join(me, NULL), WEFT_EDEADLK);
    cr_assert_eq(weft_task_close(me), WEFT_EDEADLK);
    return NULL;
}

static void *forbidden_root(void *arg)
{
    latch l = LATCH_INIT;
    weft_task *task, *first = occupy(&l);
    (void)arg;
    cr_assert_eq(weft_spawn_blocking(&task, try_what_is_forbidden, &task), 0);
    latch_open(&l);
    join(first);
    join(task);
    return NULL;
}

Test(blocking, a_job_cannot_stop_its_runtime_nor_join_itself) { run_with_threads(1, 1, forbidden_root, NULL); }

/* ---- threads ------------------------------------------------------------------------------------------------- */

typedef struct order {
    atomic_int next;
    int seen[100];
} order;

typedef struct place {
    order *all;
    int number;
} place;

static void *take_place(void *arg)
{
    place *p = arg;
    p->all->seen[p->all->next++] = p->number;
    return NULL;
}

static void *order_root(void *arg)
{
    enum { MANY = 100 };
    static order o;
    static place places[MANY];
    weft_task *tasks[MANY];
    latch l = LATCH_INIT;
    weft_task *first = occupy(&l);
    (void)arg;
    for (int i = 0; i < MANY; i++) {
        places[i] = (place){&o, i};
        tasks[i] = start_blocking(take_place, &places[i]);
        cr_assert_eq(weft_task_state(tasks[i]), WEFT_TASK_SCHEDULED);
    }
    cr_assert_eq(weft_task_state(first), WEFT_TASK_RUNNING);
    latch_open(&l);
    join(first);
    for (int i = 0; i < MANY; i++)
        join(tasks[i]);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(o.seen[i], i);
    return NULL;
}

WF_TEST_WORKERS(blocking, jobs_beyond_the_cap_queue_in_order) { run_with_threads(workers, 1, order_root, NULL); }

static void *cap_root(void *arg)
{
    enum { MORE = 50 };
    int cap = *(int *)arg;
    latch l = LATCH_INIT;
    weft_group *group;
    cr_assert_eq(weft_group_create(&group), 0);
    weft_spawn_options options = {.blocking = 1, .group = group};
    for (int i = 0; i < cap + MORE; i++)
        cr_assert_eq(weft_spawn_with(NULL, &options, latch_pass, &l), 0);
    EVENTUALLY(l.inside == cap);
    latch_open(&l);
    cr_assert_eq(weft_group_wait(group), 0);
    cr_assert_eq(l.entered, cap + MORE);
    cr_assert_eq(l.most, cap);
    cr_assert_eq(weft_group_close(group), 0);
    return NULL;
}

Test(blocking, as_many_threads_as_jobs_and_never_more_than_512)
{
    int cap = WF_TEST_SANITIZED || WF_TEST_NARROW ? 40 : 512;
    run_with_threads(2, WF_TEST_SANITIZED || WF_TEST_NARROW ? 40 : 0, cap_root, &cap);
}

static void *reuse_root(void *arg)
{
    (void)arg;
    long thread = 0;
    unsigned running = 0;
    for (int i = 0; i < 50; i++) {
        facts f = {0};
        join(start_blocking(note_facts, &f));
        if (i == 0)
            running = threads();
        EVENTUALLY(threads() <= running + 1); /* it ends its job a moment after that was joined */
        thread = f.thread;
    }
    cr_assert_neq(thread, thread_id());
    return NULL;
}

Test(blocking, idle_threads_are_used_again) { run(1, reuse_root, NULL); }

static void *many_jobs_root(void *arg)
{
    weft_task *tasks[40];
    (void)arg;
    for (int i = 0; i < 40; i++)
        tasks[i] = start_blocking(echo, NULL);
    for (int i = 0; i < 40; i++)
        join(tasks[i]);
    return NULL;
}

WF_TEST_WORKERS(blocking, no_thread_and_no_descriptor_is_left_behind)
{
    run(workers, echo, NULL);
    unsigned fds = open_fds(), running = threads();
    for (int i = 0; i < 5; i++) {
        run(workers, many_jobs_root, NULL);
        cr_assert_eq(open_fds(), fds);
        SPIN_UNTIL(threads() <= running);
    }
}

static void *no_thread_root(void *arg)
{
    struct rlimit before, little;
    weft_task *task = arg;
    atomic_int dropped = 0;
    void *result;
    weft_spawn_options options = {.blocking = 1, .drop_arg = count};
    cr_assert_eq(getrlimit(RLIMIT_AS, &before), 0);
    little = before;
    little.rlim_cur = 1 << 20;
    cr_assert_eq(setrlimit(RLIMIT_AS, &little), 0);
    int spawned = weft_spawn_with(&task, &options, echo, &dropped);
    int called = weft_blocking(echo, NULL, &result);
    cr_assert_eq(setrlimit(RLIMIT_AS, &before), 0);
    cr_assert_eq(spawned, WEFT_ENOMEM);
    cr_assert_eq(called, WEFT_ENOMEM);
    cr_assert_null(task);
    cr_assert_eq(dropped, 0);
    weft_metrics_t m;
    cr_assert_eq(weft_metrics(NULL, &m), 0);
    cr_assert_eq(m.active, 1);
    cr_assert_eq(m.spawned, 2, "no counter goes back");
    cr_assert_eq(m.aborted, 1);
    join(start_blocking(echo, NULL));
    return NULL;
}

Test(blocking, without_a_thread_to_be_had_it_fails_and_nothing_is_left)
{
    if (WF_TEST_SANITIZED)
        cr_skip_test("needs its address space");
    if (WF_TEST_EMULATED)
        cr_skip_test("qemu ignores RLIMIT_AS");
    run(1, no_thread_root, NULL);
}

/* ---- abort --------------------------------------------------------------------------------------------------- */

static void *abort_queued_root(void *arg)
{
    latch l = LATCH_INIT;
    atomic_int ran = 0, dropped = 0;
    weft_task *first = occupy(&l), *tasks[20];
    void *result = arg;
    weft_spawn_options options = {.blocking = 1, .drop_arg = count};
    for (int i = 0; i < 20; i++)
        cr_assert_eq(weft_spawn_with(&tasks[i], &options, count_up, i % 2 ? &ran : &dropped), 0);
    for (int i = 0; i < 20; i += 2) {
        weft_abort(tasks[i]);
        weft_abort(tasks[i]);
        cr_assert_eq(weft_join(tasks[i], &result), WEFT_EABORTED, "while the long one holds the thread");
        cr_assert_null(result);
    }
    cr_assert_eq(dropped, 10);
    cr_assert_eq(weft_task_state(first), WEFT_TASK_RUNNING);
    latch_open(&l);
    join(first);
    for (int i = 1; i < 20; i += 2)
        join(tasks[i]);
    cr_assert_eq(ran, 10);
    cr_assert_eq(dropped, 10);
    return NULL;
}

WF_TEST_WORKERS(blocking, aborted_while_queued_it_never_starts)
{
    run_with_threads(workers, 1, abort_queued_root, NULL);
}

typedef struct patient {
    atomic_int begun, told, shielded;
} patient;

static void *go_on_until_told(void *arg)
{
    patient *p = arg;
    cr_assert_eq(weft_is_cancelled(), 0);
    p->begun = 1;
    while (!weft_is_cancelled())
        sched_yield();
    cr_assert_eq(weft_sleep(WEFT_MS), 0, "it waits as any thread does");
    cr_assert_eq(weft_shield_enter(), 0);
    cr_assert_eq(weft_is_cancelled(), 0);
    cr_assert_eq(weft_shield_leave(), 0);
    cr_assert_neq(weft_is_cancelled(), 0);
    p->told = 1;
    return p;
}

static void *abort_running_root(void *arg)
{
    patient p = {0};
    weft_task *task = start_blocking(go_on_until_told, &p);
    void *result = arg;
    EVENTUALLY(p.begun);
    weft_abort(task);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq(result, &p);
    cr_assert_eq(p.told, 1);
    return NULL;
}

WF_TEST_WORKERS(blocking, aborted_while_running_it_is_told_and_completes) { run(workers, abort_running_root, NULL); }

typedef struct fate {
    atomic_int begun, dropped;
} fate;

static void *note_begun(void *arg)
{
    ((fate *)arg)->begun++;
    return arg;
}

static void note_dropped(void *arg) { ((fate *)arg)->dropped++; }

/* Each has begun or was dropped, never both, whoever is faster. */
static void *abort_race_root(void *arg)
{
    size_t rounds = wf_test_scale(3000);
    (void)arg;
    for (size_t i = 0; i < rounds; i++) {
        weft_task *task;
        fate f = {0};
        weft_spawn_options options = {.blocking = 1, .drop_arg = note_dropped};
        cr_assert_eq(weft_spawn_with(&task, &options, note_begun, &f), 0);
        if (i % 3 == 0)
            weft_yield();
        weft_abort(task);
        int code = weft_join(task, NULL);
        cr_assert(code == 0 || code == WEFT_EABORTED);
        cr_assert_eq(f.begun, code == 0);
        cr_assert_eq(f.dropped, code == WEFT_EABORTED);
    }
    weft_metrics_t m;
    cr_assert_eq(weft_metrics(NULL, &m), 0);
    cr_assert_eq(m.active, 1);
    cr_assert_eq(m.spawned, m.completed + m.active);
    return NULL;
}

WF_TEST_WORKERS(blocking, abort_while_it_begins_is_one_or_the_other) { run(workers, abort_race_root, NULL); }

/* ---- groups -------------------------------------------------------------------------------------------------- */

static void *group_root(void *arg)
{
    enum { MANY = 30 };
    weft_group *group;
    uintptr_t sum = 0;
    void *result = arg;
    cr_assert_eq(weft_group_create(&group), 0);
    weft_spawn_options options = {.blocking = 1, .group = group};
    for (uintptr_t i = 1; i <= MANY; i++)
        cr_assert_eq(weft_spawn_with(NULL, &options, echo, (void *)i), 0);
    while (weft_group_next(group, &result) == 0)
        sum += (uintptr_t)result;
    cr_assert_eq(sum, MANY * (MANY + 1) / 2);
    cr_assert_eq(weft_group_close(group), 0);
    return NULL;
}

WF_TEST_WORKERS(blocking, a_group_of_jobs) { run(workers, group_root, NULL); }

static void *fail_test(void *arg)
{
    cr_assert_fail("it was cancelled before it began");
    return arg;
}

static void *cancelled_group_root(void *arg)
{
    patient p = {0};
    atomic_int dropped = 0;
    weft_group *group;
    (void)arg;
    cr_assert_eq(weft_group_create(&group), 0);
    weft_spawn_options options = {.blocking = 1, .group = group, .drop_arg = count};
    cr_assert_eq(weft_spawn_with(NULL, &options, go_on_until_told, &p), 0);
    EVENTUALLY(p.begun);
    for (int i = 0; i < 40; i++)
        cr_assert_eq(weft_spawn_with(NULL, &options, fail_test, &dropped), 0);
    cr_assert_eq(weft_group_close(group), 0);
    cr_assert_eq(p.told, 1);
    cr_assert_eq(dropped, 40);
    return NULL;
}

WF_TEST_WORKERS(blocking, closing_a_group_cancels_those_queued_and_waits_for_the_rest)
{
    run_with_threads(workers, 1, cancelled_group_root, NULL);
}

/* ---- a call as part of a task -------------------------------------------------------------------------------- */

typedef struct visit {
    uint64_t id;
    long thread;
    void *local;
} visit;

static void *look_around(void *arg)
{
    visit *v = arg;
    *v = (visit){weft_self_id(), thread_id(), weft_local_get(&own)};
    cr_assert_eq(weft_local_set(&inherited, v), 0);
    cr_assert_eq(weft_set_name("on a visit"), 0);
    return v;
}

static void *call_root(void *arg)
{
    int code = 5;
    void *result = arg;
    for (int i = 0; i < 20; i++) {
        visit v = {0};
        cr_assert_eq(weft_local_set(&own, &code), 0);
        cr_assert_eq(weft_blocking(look_around, &v, &result), 0);
        cr_assert_eq(result, &v);
        cr_assert_eq(v.id, weft_self_id());
        cr_assert_neq(v.thread, thread_id());
        cr_assert_eq(v.local, &code);
        cr_assert_eq(weft_local_get(&inherited), &v);
    }
    cr_assert_eq(weft_blocking(fail, NULL, &result), WEFT_EFAILED);
    cr_assert_eq((intptr_t)result, WEFT_EPIPE);
    cr_assert_eq(weft_blocking(echo, NULL, NULL), 0);
    cr_assert_eq(weft_blocking(NULL, NULL, &result), WEFT_EINVAL);
    return NULL;
}

WF_TEST_WORKERS(blocking, a_call_is_part_of_the_calling_task) { run(workers, call_root, NULL); }

static void *call_and_panic(void *arg)
{
    atomic_int *deferred = arg;
    int number = 3;
    weft_defer(count, deferred);
    weft_blocking(panic, &number, NULL);
    cr_assert_fail("it went on");
    return NULL;
}

static void *call_and_forget_scope(void *arg)
{
    weft_blocking(forget_a_scope, arg, NULL);
    cr_assert_fail("it went on");
    return NULL;
}

static void *call_panic_root(void *arg)
{
    atomic_int deferred = 0;
    weft_task *task;
    weft_coro *coro;
    (void)arg;
    cr_assert_eq(weft_spawn(&task, call_and_panic, &deferred), 0);
    expect_panic(task, "job 3");
    cr_assert_eq(deferred, 1);
    cr_assert_eq(weft_spawn(&task, call_and_forget_scope, NULL), 0);
    expect_panic(task, "it ended with a scope that it had not left");
    cr_assert_eq(weft_coro_create(&coro, call_and_panic, &deferred, 0), 0);
    cr_assert_eq(weft_coro_resume(coro, NULL, NULL), WEFT_EPANIC, "the coroutine's, not the task's");
    cr_assert_str_eq(weft_coro_error(coro), "job 3");
    cr_assert_eq(weft_coro_free(coro), 0);
    cr_assert_eq(deferred, 2);
    return NULL;
}

WF_TEST_WORKERS(blocking, a_panic_in_a_call_is_the_callers) { run(workers, call_panic_root, NULL); }

typedef struct attempt {
    atomic_int calling, ran;
    int64_t timeout;
    int code, after;
} attempt;

static void *call_in_scope(void *arg)
{
    attempt *a = arg;
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, a->timeout), 0);
    a->calling = 1;
    a->code = weft_blocking(count_up, &a->ran, NULL);
    weft_scope_leave(&scope);
    return NULL;
}

static void *retract_root(void *arg)
{
    latch l = LATCH_INIT;
    weft_task *task, *first = occupy(&l);
    (void)arg;
    attempt timed = {.timeout = WEFT_MS}, aborted = {.timeout = WEFT_FOREVER}, at_once = {.timeout = 0};
    cr_assert_eq(weft_spawn(&task, call_in_scope, &timed), 0);
    join(task);
    cr_assert_eq(timed.code, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_spawn(&task, call_in_scope, &at_once), 0);
    join(task);
    cr_assert_eq(at_once.code, WEFT_ETIMEDOUT);
    cr_assert_eq(weft_spawn(&task, call_in_scope, &aborted), 0);
    EVENTUALLY(aborted.calling && weft_task_state(task) == WEFT_TASK_IDLE);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(aborted.code, WEFT_ECANCELED);
    latch_open(&l);
    join(first);
    join(start_blocking(echo, NULL)); /* whatever was queued has run by now */
    cr_assert_eq(timed.ran + aborted.ran + at_once.ran, 0);
    return NULL;
}

WF_TEST_WORKERS(blocking, a_call_interrupted_while_queued_is_taken_back)
{
    run_with_threads(workers, 1, retract_root, NULL);
}

typedef struct stay {
    latch latch;
    atomic_int told, ended;
    int code, after;
} stay;

static void *stay_until_open(void *arg)
{
    stay *s = arg;
    latch_pass(&s->latch);
    s->told = weft_is_cancelled();
    return NULL;
}

static void *call_and_sleep(void *arg)
{
    stay *s = arg;
    s->code = weft_blocking(stay_until_open, s, NULL);
    s->after = weft_sleep(0);
    s->ended = 1;
    return NULL;
}

static void *call_shielded(void *arg)
{
    weft_shield_enter();
    call_and_sleep(arg);
    weft_shield_leave();
    return NULL;
}

static void interrupt_running(weft_fn fn, int told, int after, int joined)
{
    stay s = {.latch = LATCH_INIT};
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, &s), 0);
    EVENTUALLY(s.latch.entered == 1);
    weft_abort(task);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(weft_yield(), 0);
    cr_assert_eq(weft_is_finished(task), 0, "what it calls uses its stack");
    latch_open(&s.latch);
    cr_assert_eq(weft_join(task, NULL), joined);
    cr_assert_eq(s.code, 0);
    cr_assert_eq(s.told, told);
    cr_assert_eq(s.after, after);
}

static void *interrupt_running_root(void *arg)
{
    (void)arg;
    interrupt_running(call_and_sleep, 1, WEFT_ECANCELED, WEFT_EABORTED);
    interrupt_running(call_shielded, 0, 0, 0);
    return NULL;
}

WF_TEST_WORKERS(blocking, a_call_interrupted_while_it_runs_is_waited_for)
{
    run(workers, interrupt_running_root, NULL);
}

static weft_poll call_in_poll(weft_future *f, weft_context *cx, void **result)
{
    (void)f, (void)cx;
    *result = (void *)(intptr_t)weft_blocking(echo, NULL, NULL);
    return WEFT_READY;
}

static void *stackless_root(void *arg)
{
    static const weft_future_ops ops = {.poll = call_in_poll};
    weft_future f = {.ops = &ops};
    weft_task *task;
    void *result = arg;
    cr_assert_eq(weft_spawn_future(&task, &f), 0);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq((intptr_t)result, WEFT_EDEADLK);
    return NULL;
}

Test(blocking, where_nothing_can_wait_a_call_is_refused) { run(1, stackless_root, NULL); }

Test(blocking, on_an_ordinary_thread_a_call_is_simply_made)
{
    facts f;
    void *result;
    cr_assert_eq(weft_blocking(echo, &f, &result), 0);
    cr_assert_eq(result, &f);
    cr_assert_eq(weft_blocking(fail, NULL, &result), WEFT_EFAILED);
    cr_assert_eq((intptr_t)result, WEFT_EPIPE);
    weft_task *task;
    cr_assert_eq(weft_spawn_blocking(&task, echo, NULL), WEFT_ENORUNTIME);
    cr_assert_null(task);
}

/* ---- from outside, and without workers ------------------------------------------------------------------------ */

static void *spawn_some(void *arg)
{
    weft_spawn_options options = {.blocking = 1, .runtime = arg};
    for (size_t i = 0; i < wf_test_scale(300); i++) {
        weft_task *task;
        cr_assert_eq(weft_spawn_with(&task, &options, echo, NULL), 0);
        if (i % 3 == 0)
            weft_abort(task);
        int code = weft_join(task, NULL);
        cr_assert(code == 0 || (i % 3 == 0 && code == WEFT_EABORTED));
    }
    return NULL;
}

WF_TEST_WORKERS(blocking, jobs_from_several_threads_at_once)
{
    weft_options options = {.workers = workers, .blocking_threads = 3};
    weft_runtime *rt;
    weft_metrics_t m;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    in_threads(4, spawn_some, rt);
    cr_assert_eq(weft_metrics(rt, &m), 0);
    cr_assert_eq(m.active, 0);
    cr_assert_eq(m.spawned, 4 * wf_test_scale(300));
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

Test(blocking, a_runtime_without_threads_has_jobs_too)
{
    weft_options options = {.flags = WEFT_CURRENT_THREAD};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_block_on(rt, facts_root, NULL, NULL), 0);
    cr_assert_eq(weft_block_on(rt, call_root, NULL, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

typedef struct leftover {
    latch latch;
    weft_task *first, *queued;
    atomic_int dropped;
} leftover;

static void *leave_jobs(void *arg)
{
    leftover *o = arg;
    weft_spawn_options options = {.blocking = 1, .drop_arg = count};
    o->first = occupy(&o->latch);
    cr_assert_eq(weft_spawn_with(&o->queued, &options, count_up, &o->dropped), 0);
    return NULL;
}

static void *open_when_cancelled(void *arg)
{
    leftover *o = arg;
    SPIN_UNTIL(o->dropped == 1);
    latch_open(&o->latch);
    return NULL;
}

WF_TEST_WORKERS(blocking, shutdown_cancels_those_queued_and_waits_for_those_that_run)
{
    leftover o = {.latch = LATCH_INIT};
    pthread_t opener;
    cr_assert_eq(pthread_create(&opener, NULL, open_when_cancelled, &o), 0);
    run_with_threads(workers, 1, leave_jobs, &o);
    pthread_join(opener, NULL);
    cr_assert_eq(o.dropped, 1);
    cr_assert_eq(weft_join(o.queued, NULL), WEFT_EABORTED);
    cr_assert_eq(weft_join(o.first, NULL), 0);
}

typedef struct report {
    pthread_mutex_t lock;
    int named, threads;
} report;

static void read_log(void *arg, weft_log_level level, const char *task, const char *text)
{
    report *r = arg;
    (void)level;
    pthread_mutex_lock(&r->lock);
    r->named += strcmp(task ? task : "", "mule") == 0;
    r->threads += strstr(text, "2 threads would not return: 2 in jobs") != NULL;
    pthread_mutex_unlock(&r->lock);
}

static void *call_latch(void *arg)
{
    weft_blocking(latch_pass, arg, NULL);
    return NULL;
}

static void *leave_mules(void *arg)
{
    latch *l = arg;
    weft_spawn_options job = {.name = "mule", .blocking = 1}, caller = {.name = "mule"};
    cr_assert_eq(weft_spawn_with(NULL, &job, latch_pass, l), 0);
    cr_assert_eq(weft_spawn_with(NULL, &caller, call_latch, l), 0);
    cr_assert_eq(weft_spawn_blocking(NULL, echo, NULL), 0);
    EVENTUALLY(l->entered == 2);
    return arg;
}

static bool abandon(unsigned workers)
{
    static latch l = LATCH_INIT;
    report r = {.lock = PTHREAD_MUTEX_INITIALIZER};
    weft_options options = {
        .workers = workers, .log = read_log, .log_arg = &r, .shutdown_grace = 50 * WEFT_MS, .blocking_threads = 2};
    unsigned running = threads();
    int64_t began = weft_now();
    void *result = NULL;
    if (weft_run_with(&options, leave_mules, &l, &result) != WEFT_ETIMEDOUT || result != &l)
        return false;
    bool good = weft_now() - began >= 50 * WEFT_MS && r.named == 2 && r.threads == 1;
    latch_open(&l);
    while (threads() > running + 1) /* the taker of signals stays with an abandoned runtime */
        real_sleep(WEFT_MS);
    return good;
}

/* The runtime is abandoned, so the process must be one that ends. */
WF_TEST_WORKERS(blocking, jobs_that_would_not_return_are_named_and_their_runtime_abandoned)
{
    if (WF_TEST_SANITIZED)
        cr_skip_test("threads in a forked child, and memory kept on purpose");
    int status;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(abandon(workers) ? 0 : 1);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
}

static void *fork_root(void *arg)
{
    weft_task *task = start_blocking(echo, arg);
    join(task);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        bool dead = weft_spawn_blocking(NULL, echo, NULL) == WEFT_ENOTSUP && weft_blocking(echo, NULL, NULL) == WEFT_ENOTSUP;
        _exit(dead ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
    return NULL;
}

Test(blocking, a_forked_child_finds_the_pool_dead)
{
    if (WF_TEST_SANITIZED)
        cr_skip_test("threads in a forked child");
    run(2, fork_root, NULL);
}

/* ---- the paused clock ---------------------------------------------------------------------------------------- */

static void *take_20_ms(void *arg)
{
    real_sleep(20 * WEFT_MS);
    return arg;
}

static void *sleep_an_hour(void *arg)
{
    (void)arg;
    cr_assert_eq(weft_sleep(3600 * WEFT_SEC), 0);
    return NULL;
}

static void *paused_root(void *arg)
{
    weft_scope scope;
    weft_task *sleeper, *task;
    int64_t began = weft_now();
    (void)arg;
    cr_assert_eq(weft_spawn(&sleeper, sleep_an_hour, NULL), 0);
    cr_assert_eq(weft_scope_enter(&scope, 1800 * WEFT_SEC), 0);
    cr_assert_eq(weft_blocking(take_20_ms, NULL, NULL), 0);
    cr_assert_eq(weft_join(start_blocking(take_20_ms, NULL), NULL), 0);
    task = start_blocking(take_20_ms, NULL);
    cr_assert_eq(weft_blocking(echo, NULL, NULL), 0, "queued behind it");
    cr_assert_eq(weft_now(), began);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_now(), began);
    cr_assert_eq(weft_scope_leave(&scope), 0);
    cr_assert_eq(weft_join(sleeper, NULL), 0);
    cr_assert_eq(weft_now(), began + 3600 * WEFT_SEC, "and goes on when none is left");
    return NULL;
}

WF_TEST_WORKERS(blocking, the_paused_clock_stands_while_a_job_runs)
{
    weft_options options = {.workers = workers, .clock = WEFT_CLOCK_PAUSED, .blocking_threads = 1};
    cr_assert_eq(weft_run_with(&options, paused_root, NULL, NULL), 0);
}
