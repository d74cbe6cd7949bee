/* sync_test.c - locks, permits and meeting points, between strands, stackless tasks and ordinary threads.
 *
 * Where an order matters, each waiter is seen to wait before the next one comes; or one worker makes it certain what has not run yet. */
#include <stdatomic.h>
#include <support/task_support.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/coro.h>
#include <weft/scope.h>
#include <weft/select.h>
#include <weft/sync.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static weft_task *start(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    return task;
}

static weft_task *start_named(const char *name, weft_fn fn, void *arg)
{
    weft_spawn_options options = {.name = name};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    return task;
}

/* It has come to wait. */
static weft_task *start_waiting(weft_fn fn, void *arg)
{
    weft_task *task = start(fn, arg);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    return task;
}

static intptr_t join(weft_task *task)
{
    void *result;
    cr_assert_eq(weft_join(task, &result), 0);
    return (intptr_t)result;
}

static void *code(int err) { return (void *)(intptr_t)err; }

static void expect_panic(weft_task *task, const char *a, const char *b)
{
    cr_assert_eq(weft_wait(task), 0);
    const char *text = weft_task_error(task);
    cr_assert(strstr(text, a) && strstr(text, b), "\"%s\" should name %s and %s", text, a, b);
    cr_assert_eq(weft_join(task, NULL), WEFT_EPANIC);
}

/* In which order waiters were served. */
static atomic_int served;
static int order[64];

static void note(int who) { order[served++] = who; }

static void expect_order(int n)
{
    cr_assert_eq(served, n);
    for (int i = 0; i < n; i++)
        cr_assert_eq(order[i], i, "place %d", i);
}

/* ---- mutex: exclusion ---------------------------------------------------------------------------------------- */

enum { ROUNDS = 300 };

typedef struct guarded {
    weft_mutex mutex;
    int inside; /* under mutex, and so below; not atomic, for ThreadSanitizer's sake */
    int count;
    int rounds;
    weft_runtime *rt;
} guarded;

static void be_inside(guarded *g, int i)
{
    cr_assert_eq(g->inside++, 0, "two at once");
    g->count++;
    if (i % 16 == 0)
        weft_yield();
    cr_assert_eq(g->inside--, 1);
}

static void *lock_often(void *arg)
{
    guarded *g = arg;
    for (int i = 0; i < g->rounds; i++) {
        weft_mutex_lock(&g->mutex);
        be_inside(g, i);
        weft_mutex_unlock(&g->mutex);
    }
    return NULL;
}

/* A stackless task that tries until it has had it often enough. */
typedef struct trier {
    weft_future future;
    guarded *g;
    int done;
} trier;

static weft_poll try_often(weft_future *f, weft_context *cx, void **result)
{
    trier *t = WEFT_CONTAINER_OF(f, trier, future);
    if (weft_mutex_try_lock(&t->g->mutex) == 0) {
        cr_assert_eq(t->g->inside, 0);
        t->g->count++;
        t->done++;
        weft_mutex_unlock(&t->g->mutex);
    }
    *result = NULL;
    if (t->done == t->g->rounds)
        return WEFT_READY;
    weft_waker_wake_by_ref(weft_context_waker(cx));
    return WEFT_PENDING;
}

static void *exclusion_root(void *arg)
{
    static const weft_future_ops ops = {try_often, NULL};
    enum { STRANDS = 6 };
    guarded *g = arg;
    trier t = {.future = {&ops}, .g = g};
    weft_task *tasks[STRANDS], *stackless;
    for (int i = 0; i < STRANDS; i++)
        tasks[i] = start(lock_often, g);
    cr_assert_eq(weft_spawn_future(&stackless, &t.future), 0);
    for (int i = 0; i < STRANDS; i++)
        join(tasks[i]);
    join(stackless);
    return NULL;
}

/* Of four threads two bring tasks, and two lock for themselves. */
static void *inside_or_outside(void *arg)
{
    static atomic_int turn;
    guarded *g = arg;
    if (turn++ % 2)
        return lock_often(g);
    cr_assert_eq(weft_block_on(g->rt, exclusion_root, g, NULL), 0);
    return NULL;
}

WF_TEST_WORKERS(sync, a_mutex_admits_one_of_strands_threads_and_stackless_tasks)
{
    guarded g = {.mutex = WEFT_MUTEX_INIT, .rounds = (int)wf_test_scale(ROUNDS)};
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_runtime_create(&g.rt, &options), 0);
    in_threads(4, inside_or_outside, &g);
    cr_assert_eq(weft_runtime_destroy(g.rt), 0);
    cr_assert_eq(g.count, g.rounds * (2 + 2 * 7));
}

typedef struct numbered {
    void *lock;
    int number;
    size_t want;
} numbered;

static void *lock_in_turn(void *arg)
{
    numbered *n = arg;
    weft_mutex_lock(n->lock);
    note(n->number);
    weft_mutex_unlock(n->lock);
    return NULL;
}

static void *fifo_root(void *arg)
{
    enum { N = 20 };
    weft_mutex m;
    numbered n[N];
    weft_task *tasks[N];
    weft_mutex_init(&m);
    weft_mutex_lock(&m);
    for (int i = 0; i < N; i++) {
        n[i] = (numbered){&m, i, 0};
        tasks[i] = start_waiting(lock_in_turn, &n[i]);
    }
    weft_mutex_unlock(&m);
    cr_assert(served > 0 || weft_mutex_try_lock(&m) == WEFT_EBUSY, "it was handed over, not free");
    for (int i = 0; i < N; i++)
        join(tasks[i]);
    expect_order(N);
    return arg;
}

WF_TEST_WORKERS(sync, a_mutex_is_handed_over_in_the_order_of_those_who_came) { run(workers, fifo_root, NULL); }

static void *lock_though_aborted(void *arg)
{
    weft_mutex_lock(arg);
    int err = weft_yield();
    weft_mutex_unlock(arg);
    return err == WEFT_ECANCELED ? NULL : arg;
}

static void *shielded_root(void *arg)
{
    weft_mutex m = WEFT_MUTEX_INIT;
    weft_mutex_lock(&m);
    weft_task *task = start_waiting(lock_though_aborted, &m);
    weft_abort(task);
    weft_yield();
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE);
    weft_mutex_unlock(&m);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED, "it had the lock, and met its abort afterwards");
    cr_assert_eq(weft_mutex_try_lock(&m), 0);
    weft_mutex_unlock(&m);
    return arg;
}

WF_TEST_WORKERS(sync, a_mutex_is_locked_in_spite_of_an_abort) { run(workers, shielded_root, NULL); }

/* ---- mutex: misuse ------------------------------------------------------------------------------------------- */

static weft_mutex common;

static void unlock_common(void *unused)
{
    (void)unused;
    weft_mutex_unlock(&common);
}

/* The panic looks for held mutexes first: so this one is not the strand's own, but its coroutine's resumer's. */
static void *relock(void *arg)
{
    weft_mutex_lock(&common);
    return arg;
}

static void *relock_in_coroutine(void *arg)
{
    weft_coro *c;
    weft_mutex_lock(&common);
    cr_assert_eq(weft_coro_create(&c, relock, NULL, 0), 0);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), WEFT_EPANIC);
    cr_assert(strstr(weft_coro_error(c), "\"twice\"") && strstr(weft_coro_error(c), "common"), "%s", weft_coro_error(c));
    weft_coro_free(c);
    unlock_common(NULL);
    return arg;
}

static void *unlock_anothers(void *arg)
{
    unlock_common(arg);
    return NULL;
}

static void *wait_without(void *arg)
{
    (void)weft_cond_wait(arg, &common);
    return NULL;
}

static weft_poll lock_in_poll(weft_future *f, weft_context *cx, void **result)
{
    (void)f;
    (void)cx;
    *result = NULL;
    weft_mutex_lock(&common);
    return WEFT_READY;
}

static void *misuse_root(void *arg)
{
    static const weft_future_ops ops = {lock_in_poll, NULL};
    weft_future f = {&ops};
    weft_spawn_options named = {.name = "stackless"};
    weft_task *task;
    weft_cond c = WEFT_COND_INIT;
    weft_mutex_init_named(&common, "common");
    join(start_named("twice", relock_in_coroutine, NULL));
    weft_mutex_lock(&common);
    expect_panic(start_named("thief", unlock_anothers, NULL), "\"thief\"", "common");
    expect_panic(start_named("waiter", wait_without, &c), "\"waiter\"", "common");
    cr_assert_eq(weft_spawn_future_with(&task, &named, &f), 0);
    expect_panic(task, "\"stackless\"", "common");
    cr_assert_eq(weft_mutex_try_lock(&common), WEFT_EBUSY);
    weft_cond_broadcast(&c);
    weft_mutex_unlock(&common);
    expect_panic(start_named("early", unlock_anothers, NULL), "\"early\"", "common");
    return arg;
}

WF_TEST_WORKERS(sync, misuse_of_a_mutex_is_a_panic_that_names_both) { run(workers, misuse_root, NULL); }

static void *panic_with_it(void *arg)
{
    weft_set_name("holder");
    weft_mutex_lock(&common);
    weft_panic("while it holds it");
    return arg;
}

static void *end_with_it(void *arg)
{
    weft_set_name("holder");
    weft_mutex_lock(&common);
    return arg;
}

static void *relock_with_it(void *arg)
{
    weft_set_name("holder");
    weft_mutex_lock(&common);
    weft_mutex_lock(&common);
    return arg;
}

/* Those around it in the holder's list have gone. */
static void *end_with_the_middle_one(void *arg)
{
    weft_mutex first = WEFT_MUTEX_INIT, last = WEFT_MUTEX_INIT;
    weft_set_name("holder");
    weft_mutex_lock(&first);
    weft_mutex_lock(&common);
    weft_mutex_lock(&last);
    weft_mutex_unlock(&first);
    weft_mutex_unlock(&last);
    return arg;
}

static void expect_last_words(weft_fn fn, const char *how)
{
    char text[1000];
    int ends[2], status;
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(ends[1], STDERR_FILENO);
        weft_mutex_init_named(&common, "common");
        weft_run(fn, NULL, NULL);
        _exit(0);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    cr_assert_gt(n, 0);
    text[n] = '\0';
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    close(ends[0]);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%#x: %s", status, text);
    cr_assert(strstr(text, "\"holder\"") && strstr(text, "common") && strstr(text, how), "%s", text);
}

Test(sync, a_task_that_ends_with_a_mutex_stops_the_process_and_both_are_named)
{
    if (WF_TEST_SANITIZED)
        cr_skip_test("a sanitizer has a word of its own to say of abort()");
    expect_last_words(panic_with_it, "panicked");
    expect_last_words(end_with_it, "ended");
    expect_last_words(relock_with_it, "panicked");
    expect_last_words(end_with_the_middle_one, "ended");
}

static void *unlock_in_all_orders(void *arg)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    weft_mutex held[3] = {WEFT_MUTEX_INIT, WEFT_MUTEX_INIT, WEFT_MUTEX_INIT};
    for (int i = 0; i < 6; i++) {
        for (int k = 0; k < 3; k++)
            weft_mutex_lock(&held[k]);
        for (int k = 0; k < 3; k++)
            weft_mutex_unlock(&held[orders[i][k]]);
    }
    return arg;
}

/* And ends without a word, for it holds none any more. */
WF_TEST_WORKERS(sync, several_mutexes_are_unlocked_in_any_order) { run(workers, unlock_in_all_orders, NULL); }

/* ---- rwlock -------------------------------------------------------------------------------------------------- */

static void *read_in_turn(void *arg)
{
    numbered *n = arg;
    weft_rwlock_read_lock(n->lock);
    note(n->number);
    weft_rwlock_read_unlock(n->lock);
    return NULL;
}

static void *write_in_turn(void *arg)
{
    numbered *n = arg;
    weft_rwlock_write_lock(n->lock);
    note(n->number);
    weft_rwlock_write_unlock(n->lock);
    return NULL;
}

static void *rwlock_fifo_root(void *arg)
{
    enum { N = 6 };
    weft_rwlock l = WEFT_RWLOCK_INIT;
    numbered n[N];
    weft_task *tasks[N];
    weft_rwlock_read_lock(&l);
    cr_assert_eq(weft_rwlock_try_read_lock(&l), 0, "another reader");
    cr_assert_eq(weft_rwlock_try_write_lock(&l), WEFT_EBUSY);
    weft_rwlock_read_unlock(&l);
    for (int i = 0; i < N; i++) {
        n[i] = (numbered){&l, i, 0};
        tasks[i] = start_waiting(i % 2 ? read_in_turn : write_in_turn, &n[i]);
    }
    cr_assert_eq(weft_rwlock_try_read_lock(&l), WEFT_EBUSY, "a writer waits: later readers do not starve it");
    weft_rwlock_read_unlock(&l);
    for (int i = 0; i < N; i++)
        join(tasks[i]);
    expect_order(N);
    cr_assert_eq(weft_rwlock_try_write_lock(&l), 0);
    cr_assert_eq(weft_rwlock_try_read_lock(&l), WEFT_EBUSY);
    weft_rwlock_write_unlock(&l);
    return arg;
}

WF_TEST_WORKERS(sync, an_rwlock_serves_in_order_and_writers_do_not_starve) { run(workers, rwlock_fifo_root, NULL); }

typedef struct library {
    weft_rwlock lock;
    weft_barrier all_read;
    atomic_int readers, writers;
    int pages; /* under lock */
} library;

static void *read_together(void *arg)
{
    library *l = arg;
    weft_rwlock_read_lock(&l->lock);
    cr_assert_geq(weft_barrier_wait(&l->all_read), 0, "all read at once");
    weft_rwlock_read_unlock(&l->lock);
    return NULL;
}

static void *read_and_write(void *arg)
{
    library *l = arg;
    for (size_t i = 0; i < wf_test_scale(ROUNDS); i++) {
        weft_rwlock_read_lock(&l->lock);
        l->readers++;
        cr_assert_eq(l->writers, 0);
        weft_yield();
        l->readers--;
        weft_rwlock_read_unlock(&l->lock);
        weft_rwlock_write_lock(&l->lock);
        cr_assert_eq(l->writers++, 0);
        cr_assert_eq(l->readers, 0);
        l->pages++;
        l->writers--;
        weft_rwlock_write_unlock(&l->lock);
    }
    return NULL;
}

static void *readers_root(void *arg)
{
    enum { READERS = 40 };
    library l = {.lock = WEFT_RWLOCK_INIT, .all_read = WEFT_BARRIER_INIT(READERS)};
    weft_task *tasks[READERS];
    weft_rwlock_write_lock(&l.lock);
    for (int i = 0; i < READERS; i++)
        tasks[i] = start_waiting(read_together, &l);
    weft_rwlock_write_unlock(&l.lock);
    for (int i = 0; i < READERS; i++)
        join(tasks[i]);
    for (int i = 0; i < 6; i++)
        tasks[i] = start(read_and_write, &l);
    for (int i = 0; i < 6; i++)
        join(tasks[i]);
    cr_assert_eq(l.pages, 6 * (int)wf_test_scale(ROUNDS));
    return arg;
}

WF_TEST_WORKERS(sync, an_rwlock_admits_many_readers_or_one_writer) { run(workers, readers_root, NULL); }

/* ---- semaphore ----------------------------------------------------------------------------------------------- */

static void *acquire_in_turn(void *arg)
{
    numbered *n = arg;
    int err = weft_semaphore_acquire(n->lock, n->want);
    if (err == 0)
        note(n->number);
    return code(err);
}

static void *semaphore_fifo_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(2);
    numbered big = {&s, 0, 3}, small = {&s, 1, 1};
    weft_task *first = start_waiting(acquire_in_turn, &big), *second = start_waiting(acquire_in_turn, &small);
    cr_assert_eq(weft_semaphore_available(&s), 2);
    cr_assert_eq(weft_semaphore_try_acquire(&s, 1), WEFT_EAGAIN, "no overtaking");
    weft_semaphore_release(&s, 1);
    cr_assert_eq(join(first), 0);
    cr_assert_eq(weft_task_state(second), WEFT_TASK_IDLE);
    weft_semaphore_release(&s, 2);
    cr_assert_eq(join(second), 0);
    expect_order(2);
    cr_assert_eq(weft_semaphore_available(&s), 1);
    cr_assert_eq(weft_semaphore_try_acquire(&s, 1), 0);
    return arg;
}

WF_TEST_WORKERS(sync, a_semaphore_does_not_let_small_requests_overtake_a_large_one)
{
    run(workers, semaphore_fifo_root, NULL);
}

typedef struct permit_future {
    weft_future future;
    weft_op op;
    weft_semaphore *from;
    size_t want;
    atomic_int polls, drops;
} permit_future;

static weft_poll permit_poll(weft_future *f, weft_context *cx, void **result)
{
    permit_future *p = WEFT_CONTAINER_OF(f, permit_future, future);
    *result = NULL;
    weft_poll verdict = weft_poll_semaphore_acquire(cx, &p->op, p->from, p->want);
    p->polls++;
    return verdict;
}

static void permit_drop(weft_future *f)
{
    permit_future *p = WEFT_CONTAINER_OF(f, permit_future, future);
    weft_op_drop(&p->op);
    p->drops++;
}

static const weft_future_ops permit_ops = {permit_poll, permit_drop};

static weft_task *start_permit(permit_future *p)
{
    weft_task *task;
    cr_assert_eq(weft_spawn_future(&task, &p->future), 0);
    EVENTUALLY(p->polls == 1 && weft_task_state(task) == WEFT_TASK_IDLE);
    return task;
}

static void *poll_twin_root(void *arg)
{
    weft_semaphore s = WEFT_SEMAPHORE_INIT(0);
    permit_future gone = {.future = {&permit_ops}, .from = &s, .want = 2}, stays = gone;
    weft_task *first = start_permit(&gone), *second = start_permit(&stays);
    weft_semaphore_release(&s, 2); /* it is the first one's now, which has not run since: there is one worker */
    weft_abort(first);
    cr_assert_eq(weft_join(first, NULL), WEFT_EABORTED);
    cr_assert_eq(gone.polls, 1, "it was served, and dropped");
    cr_assert_eq(weft_join(second, NULL), 0);
    cr_assert_eq(weft_semaphore_available(&s), 0);
    permit_future early = {.future = {&permit_ops}, .from = &s, .want = 9}, later = early;
    later.want = 1;
    first = start_permit(&early);
    second = start_permit(&later);
    weft_semaphore_release(&s, 1);
    cr_assert_eq(weft_task_close(first), 0);
    cr_assert_eq(weft_join(second, NULL), 0, "the one before it has left the queue");
    cr_assert_eq(gone.drops + stays.drops + early.drops + later.drops, 4);
    return arg;
}

Test(sync, a_stackless_acquire_that_is_dropped_passes_on_what_it_was_given) { run(1, poll_twin_root, NULL); }

/* ---- notify -------------------------------------------------------------------------------------------------- */

static void *wait_notified(void *n) { return code(weft_notify_wait(n)); }

static void *notify_root(void *arg)
{
    enum { MANY = 40 };
    weft_notify n = WEFT_NOTIFY_INIT;
    weft_task *tasks[MANY];
    weft_notify_one(&n);
    weft_notify_one(&n);
    cr_assert_eq(weft_notify_wait(&n), 0, "it was kept");
    tasks[0] = start_waiting(wait_notified, &n); /* … once */
    tasks[1] = start_waiting(wait_notified, &n);
    weft_notify_one(&n);
    cr_assert_eq(join(tasks[0]), 0);
    cr_assert_eq(weft_task_state(tasks[1]), WEFT_TASK_IDLE);
    weft_notify_one(&n);
    cr_assert_eq(join(tasks[1]), 0);
    for (int i = 0; i < MANY; i++)
        tasks[i] = start_waiting(wait_notified, &n);
    weft_notify_all(&n);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(join(tasks[i]), 0);
    weft_notify_all(&n); /* keeps nothing */
    weft_task *last = start_waiting(wait_notified, &n);
    weft_abort(last);
    cr_assert_eq(weft_join(last, NULL), WEFT_EABORTED);
    return arg;
}

WF_TEST_WORKERS(sync, a_notification_is_for_one_or_all_and_one_is_kept) { run(workers, notify_root, NULL); }

static void *select_both(void *arg)
{
    weft_notify *n = arg;
    weft_case cases[] = {WEFT_NOTIFIED(&n[0]), WEFT_NOTIFIED(&n[1])};
    return code(weft_select(cases, 2));
}

static void *notify_select_root(void *arg)
{
    for (int i = 0; i < 50; i++) {
        weft_notify n[2] = {WEFT_NOTIFY_INIT, WEFT_NOTIFY_INIT};
        weft_task *task = start_waiting(select_both, n);
        weft_notify_one(&n[0]); /* served, both */
        weft_notify_one(&n[1]);
        intptr_t won = join(task);
        cr_assert(won == 0 || won == 1);
        cr_assert_eq(weft_notify_wait(&n[1 - won]), 0, "what the loser was given is the next one's");
        task = start_waiting(select_both, n);
        weft_abort(task);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        weft_notify_one(&n[0]);
        cr_assert_eq(weft_notify_wait(&n[0]), 0, "nobody is left in the queue");
    }
    return arg;
}

WF_TEST_WORKERS(sync, a_select_that_loses_a_notification_passes_it_on) { run(workers, notify_select_root, NULL); }

/* ---- cond ---------------------------------------------------------------------------------------------------- */

typedef struct box {
    weft_mutex mutex;
    weft_cond changed;
    int items, waiting; /* under mutex */
} box;

static void *take_item(void *arg)
{
    box *b = arg;
    int err = 0;
    weft_mutex_lock(&b->mutex);
    b->waiting++;
    while (b->items == 0 && err == 0)
        err = weft_cond_wait(&b->changed, &b->mutex);
    b->items -= err == 0;
    b->waiting--;
    weft_mutex_unlock(&b->mutex); /* panics if it is not held */
    return code(err);
}

static void put_items(box *b, int n)
{
    weft_mutex_lock(&b->mutex);
    b->items += n;
    weft_mutex_unlock(&b->mutex);
}

static void *cond_root(void *arg)
{
    enum { MANY = 40 };
    box b = {.mutex = WEFT_MUTEX_INIT, .changed = WEFT_COND_INIT};
    weft_task *tasks[MANY];
    for (int i = 0; i < MANY; i++)
        tasks[i] = start_waiting(take_item, &b);
    cr_assert_eq(b.waiting, MANY);
    put_items(&b, 1);
    weft_cond_signal(&b.changed);
    cr_assert_eq(join(tasks[0]), 0);
    weft_abort(tasks[1]);
    cr_assert_eq(weft_join(tasks[1], NULL), WEFT_EABORTED);
    put_items(&b, MANY - 2);
    weft_cond_broadcast(&b.changed);
    for (int i = 2; i < MANY; i++)
        cr_assert_eq(join(tasks[i]), 0);
    cr_assert_eq(b.items + b.waiting, 0);
    return arg;
}

WF_TEST_WORKERS(sync, a_condition_wakes_one_or_all_with_the_mutex_held) { run(workers, cond_root, NULL); }

static void *cond_interrupted_root(void *arg)
{
    box b = {.mutex = WEFT_MUTEX_INIT, .changed = WEFT_COND_INIT};
    weft_scope scope;
    weft_mutex_lock(&b.mutex);
    cr_assert_eq(weft_scope_enter(&scope, WEFT_SEC), 0);
    cr_assert_eq(weft_cond_wait(&b.changed, &b.mutex), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_mutex_try_lock(&b.mutex), WEFT_EBUSY, "held");
    cr_assert_eq(weft_cond_wait(&b.changed, &b.mutex), WEFT_ETIMEDOUT, "before it begins");
    cr_assert_eq(weft_mutex_try_lock(&b.mutex), WEFT_EBUSY, "held");
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    weft_mutex_unlock(&b.mutex);
    weft_task *task = start_waiting(take_item, &b);
    weft_mutex_lock(&b.mutex);
    weft_abort(task); /* has to wait for the mutex before it can return */
    weft_sleep(WEFT_SEC);
    cr_assert_eq(weft_task_state(task), WEFT_TASK_IDLE);
    cr_assert_eq(b.waiting, 1);
    weft_mutex_unlock(&b.mutex);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    return arg;
}

Test(sync, a_condition_that_is_interrupted_holds_the_mutex)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, cond_interrupted_root, NULL, NULL), 0);
}

/* ---- barrier ------------------------------------------------------------------------------------------------- */

enum { PARTIES = 40, MEETINGS = 20 };

static weft_barrier barrier;
static atomic_int arrived, last_ones;

static void *meet_often(void *arg)
{
    for (int i = 1; i <= MEETINGS; i++) {
        arrived++;
        int last = weft_barrier_wait(&barrier);
        cr_assert(last == 0 || last == 1, "%d", last);
        last_ones += last;
        cr_assert_geq(arrived, i * PARTIES, "nobody goes on before all are there");
    }
    return arg;
}

static void *barrier_root(void *arg)
{
    weft_task *tasks[PARTIES];
    cr_assert_eq(weft_barrier_init(&barrier, 0), WEFT_EINVAL);
    cr_assert_eq(weft_barrier_init(&barrier, PARTIES), 0);
    for (int i = 0; i < PARTIES; i++)
        tasks[i] = start(meet_often, NULL);
    for (int i = 0; i < PARTIES; i++)
        join(tasks[i]);
    cr_assert_eq(last_ones, MEETINGS, "one is the last, each time");
    return arg;
}

WF_TEST_WORKERS(sync, a_barrier_holds_all_until_the_last_and_can_be_used_again) { run(workers, barrier_root, NULL); }

static void *meet_once(void *b) { return code(weft_barrier_wait(b)); }

static void *barrier_abort_root(void *arg)
{
    weft_barrier b = WEFT_BARRIER_INIT(2);
    weft_task *gone = start_waiting(meet_once, &b);
    weft_abort(gone);
    cr_assert_eq(weft_join(gone, NULL), WEFT_EABORTED);
    weft_task *first = start_waiting(meet_once, &b); /* still one too few */
    cr_assert_eq(weft_barrier_wait(&b), 1);
    cr_assert_eq(join(first), 0);
    return arg;
}

WF_TEST_WORKERS(sync, whoever_is_interrupted_at_a_barrier_has_not_arrived) { run(workers, barrier_abort_root, NULL); }

/* Aborts that come while the last one wakes the others: those have met, whether they know it yet or not. */
static void *barrier_race_root(void *arg)
{
    weft_barrier b = WEFT_BARRIER_INIT(PARTIES);
    for (size_t round = 0; round < wf_test_scale(200); round++) {
        weft_task *tasks[PARTIES];
        for (int i = 0; i < PARTIES - 1; i++)
            tasks[i] = start(meet_once, &b);
        for (int i = 0; i < PARTIES - 1; i++)
            EVENTUALLY(weft_task_state(tasks[i]) == WEFT_TASK_IDLE);
        tasks[PARTIES - 1] = start(meet_once, &b);
        EVENTUALLY(weft_is_finished(tasks[0]));
        for (int i = PARTIES - 2; i > 0; i--)
            weft_abort(tasks[i]);
        for (int i = 0; i < PARTIES; i++)
            cr_assert_eq(weft_join(tasks[i], NULL), 0, "it had met the others");
        cr_assert_eq(b.arrived_, 0);
    }
    return arg;
}

WF_TEST_WORKERS(sync, a_barrier_that_is_passed_is_passed_by_all) { run(workers, barrier_race_root, NULL); }

/* ---- once ---------------------------------------------------------------------------------------------------- */

static weft_once once = WEFT_ONCE_INIT;
static atomic_int tries;
static int made; /* by once */

static void fail_first(void *arg)
{
    (void)arg;
    weft_yield();
    if (tries++ < 3)
        weft_panic("not yet");
    made++;
}

static void *do_once(void *arg)
{
    cr_assert_eq(weft_once_do(&once, fail_first, NULL), 0);
    cr_assert_eq(made, 1);
    return arg;
}

static void *once_root(void *arg)
{
    enum { MANY = 40 };
    weft_task *tasks[MANY];
    int panics = 0;
    for (int i = 0; i < MANY; i++)
        tasks[i] = start(do_once, NULL);
    for (int i = 0; i < MANY; i++)
        panics += weft_join(tasks[i], NULL) == WEFT_EPANIC;
    cr_assert_eq(panics, 3);
    cr_assert_eq(tries, 4);
    cr_assert_eq(weft_once_do(&once, fail_first, NULL), 0);
    return arg;
}

WF_TEST_WORKERS(sync, once_is_done_by_one_and_tried_again_after_a_panic) { run(workers, once_root, NULL); }
