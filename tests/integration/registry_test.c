/* registry_test.c - the list of live tasks: who is in it, what it says of them, and that it can be read at any time. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/latch.h>
#include <support/task_support.h>
#include <support/waits.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct things {
    THINGS_COMMON;
    weft_chan *ch;
    weft_stream *stream;
    weft_listener *listener;
    latch latch;
    char byte;
    atomic_bool shielded;
} things;

static weft_task_info info_of(const weft_task *task)
{
    sight s = look_at(task);
    cr_assert(s.seen);
    cr_assert_eq(s.info.id, weft_task_id(task));
    return s.info;
}

/* ---- what it says ---------------------------------------------------------------------------------------------- */

POLLED_CALL(receive, weft_poll_chan_recv(cx, &s->op, s->ch, &s->byte))
CALL(receive, weft_chan_recv(s->ch, &s->byte))

static void *receive_shielded(void *arg)
{
    weft_shield_enter();
    in_receive(arg);
    weft_shield_leave();
    return NULL;
}

static void let_all_end(things *s, weft_task *const *tasks, size_t n)
{
    weft_chan_close(s->ch);
    for (size_t i = 0; i < n; i++)
        let_end(tasks[i], "a task");
    cr_assert_eq(weft_chan_free(s->ch), 0);
}

static void *kinds(void *arg)
{
    enum { N = 5 };
    things s[N] = {{.latch = LATCH_INIT}};
    weft_task_storage storage = {.release = NULL};
    weft_spawn_options named = {.name = "a strand"}, pinned = {.name = "pinned", .pinned = WEFT_PIN_TO(1)},
                       job = {.name = "a job", .blocking = 1};
    weft_task *tasks[N];
    (void)arg;
    cr_assert_eq(weft_chan_create(&s[0].ch, 1, 0), 0);
    for (int i = 1; i < N; i++)
        s[i].ch = s[0].ch;
    s[1].base.ops = s[2].base.ops = &ops_receive;
    cr_assert_eq(weft_spawn_with(&tasks[0], &named, in_receive, &s[0]), 0);
    cr_assert_eq(weft_spawn_future(&tasks[1], &s[1].base), 0);
    cr_assert_eq(weft_spawn_future_in(&tasks[2], &storage, &s[2].base), 0);
    cr_assert_eq(weft_spawn_with(&tasks[3], &job, latch_pass, &s[0].latch), 0);
    cr_assert_eq(weft_spawn_with(&tasks[4], &pinned, in_receive, &s[4]), 0);
    for (int i = 0; i < N; i++)
        if (i != 3)
            expect(tasks[i], "a task", "chan recv", at(s[0].ch));
    EVENTUALLY(atomic_load(&s[0].latch.entered) == 1);
    const char *const names[] = {"a strand", "", "", "a job", "pinned"};
    const weft_task_kind of[] = {WEFT_KIND_STRAND, WEFT_KIND_FUTURE, WEFT_KIND_FUTURE, WEFT_KIND_BLOCKING, WEFT_KIND_STRAND};
    for (int i = 0; i < N; i++) {
        weft_task_info info = info_of(tasks[i]);
        cr_assert_str_eq(info.name, names[i]);
        cr_assert_eq(info.kind, of[i]);
        cr_assert_eq(info.state, i == 3 ? WEFT_TASK_RUNNING : WEFT_TASK_IDLE);
        cr_assert_eq(info.pinned, i == 4);
        cr_assert_eq(info.aborted, 0);
        cr_assert_eq(info.worker, i == 3 ? -1 : i == 4 ? 1 : info.worker);
        cr_assert(i == 3 || (info.worker >= 0 && info.worker < 2));
    }
    latch_open(&s[0].latch);
    let_all_end(&s[0], tasks, N);
    return NULL;
}

Test(registry, every_kind_of_task_with_its_name_and_place) { run(2, kinds, NULL); }

static void *aborted(void *arg)
{
    things s = {.byte = 0};
    weft_task *task;
    cr_assert_eq(weft_chan_create(&s.ch, 1, 0), 0);
    cr_assert_eq(weft_spawn(&task, receive_shielded, &s), 0);
    expect(task, "shielded", "chan recv", at(s.ch));
    cr_assert_eq(info_of(task).aborted, 0);
    weft_abort(task);
    EVENTUALLY(info_of(task).aborted == 1);
    let_all_end(&s, &task, 1);
    return arg;
}

Test(registry, one_that_was_asked_to_stop_and_does_not) { run(2, aborted, NULL); }

static void *renamed_self(void *arg)
{
    cr_assert_eq(weft_set_name("%s", "another"), 0);
    return in_receive(arg);
}

/* The task that looks is one of them. */
static void *oneself(void *arg)
{
    things s = {.byte = 0};
    sight me = {.id = weft_self_id()};
    weft_spawn_options named = {.name = "one"};
    weft_task *task;
    cr_assert_eq(weft_tasks_visit(NULL, find_sight, &me), 1);
    cr_assert_eq(me.info.state, WEFT_TASK_RUNNING);
    cr_assert_str_eq(me.info.waits_for, "");
    cr_assert_eq(weft_chan_create(&s.ch, 1, 0), 0);
    cr_assert_eq(weft_spawn_with(&task, &named, renamed_self, &s), 0);
    expect(task, "renamed", "chan recv", at(s.ch));
    cr_assert_str_eq(info_of(task).name, "another");
    uint64_t id = weft_task_id(task);
    let_all_end(&s, &task, 1);
    sight gone = {.id = id};
    cr_assert_eq(weft_tasks_visit(NULL, find_sight, &gone), 0, "it has ended");
    return arg;
}

Test(registry, oneself_a_new_name_and_nobody_who_has_ended) { run(2, oneself, NULL); }

/* ---- ages ------------------------------------------------------------------------------------------------------ */

/* They are exact to about 10 ms: never younger than that. They may be older by as long as a thread did not get its CPU. */
#define ABOUT (20 * WEFT_MS)

static int64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * WEFT_SEC + t.tv_nsec;
}

static void spin_for(int64_t ns)
{
    for (int64_t until = real_now() + ns; real_now() < until;)
        sched_yield();
}

static void *ages(void *arg)
{
    things s = {.byte = 0};
    weft_task *task;
    cr_assert_eq(weft_chan_create(&s.ch, 1, 0), 0);
    int64_t before = real_now();
    cr_assert_eq(weft_spawn(&task, in_receive, &s), 0);
    int64_t born = real_now();
    expect(task, "it", "chan recv", at(s.ch));
    int64_t waits = real_now();
    weft_sleep(3600 * WEFT_SEC * (arg != NULL)); /* the paused clock's */
    spin_for(100 * WEFT_MS);
    int64_t look = real_now();
    weft_task_info info = info_of(task);
    cr_assert_geq(info.age, look - born - ABOUT);
    cr_assert_geq(info.since, look - waits - ABOUT);
    cr_assert_leq(info.age, real_now() - before + PATIENCE);
    cr_assert_leq(info.since, info.age + PATIENCE);
    let_all_end(&s, &task, 1);
    return NULL;
}

Test(registry, ages_are_real) { run(2, ages, NULL); }

Test(registry, ages_are_real_where_the_clock_is_paused)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, ages, &options, NULL), 0);
}

/* Two that wait for the same socket, in both its directions; when that is hung up, the first to run keeps the only worker. */
typedef struct both_ways {
    int fds[2];
    weft_stream *stream;
    weft_task *tasks[2];
    atomic_int back;
    atomic_bool go;
    char lots[1 << 20];
} both_ways;

static void *read_and_stay(void *arg)
{
    both_ways *b = arg;
    char byte;
    cr_assert_leq(weft_read(b->stream, &byte, 1), 0);
    b->back++;
    SPIN_UNTIL(b->go);
    return NULL;
}

static void *write_and_stay(void *arg)
{
    both_ways *b = arg;
    while (weft_write(b->stream, b->lots, sizeof b->lots) > 0)
        ;
    b->back++;
    SPIN_UNTIL(b->go);
    return NULL;
}

static void *go_both_ways(void *arg)
{
    both_ways *b = arg;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b->fds), 0);
    cr_assert_eq(weft_stream_from_fd(&b->stream, b->fds[0]), 0);
    cr_assert_eq(weft_spawn(&b->tasks[0], read_and_stay, b), 0);
    cr_assert_eq(weft_spawn(&b->tasks[1], write_and_stay, b), 0);
    expect(b->tasks[0], "the reader", "read", "*");
    expect(b->tasks[1], "the writer", "write", "*");
    return NULL;
}

static void *come_back(void *arg)
{
    both_ways *b = arg;
    for (int i = 0; i < 2; i++)
        let_end(b->tasks[i], "one of both");
    weft_close(b->stream);
    return NULL;
}

static int64_t unseen_for(weft_runtime *rt)
{
    weft_worker_metrics_t m;
    cr_assert_eq(weft_worker_metrics(rt, 0, &m), 0);
    return m.parked ? m.seen_ns : 0;
}

Test(registry, what_wakes_a_sleeping_worker_is_queued_since_then)
{
    weft_options options = {.workers = 1};
    both_ways *b = calloc(1, sizeof *b);
    weft_runtime *rt;
    int queued = 0;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_block_on(rt, go_both_ways, b, NULL), 0);
    SPIN_UNTIL(unseen_for(rt) > 400 * WEFT_MS);
    int64_t before = real_now();
    close(b->fds[1]);
    SPIN_UNTIL(b->back == 1);
    for (int i = 0; i < 2; i++) {
        sight s = {.id = weft_task_id(b->tasks[i])};
        cr_assert_eq(weft_tasks_visit(rt, find_sight, &s), 1);
        cr_assert_leq(s.info.since, real_now() - before + ABOUT, "%s", weft_task_state_name(s.info.state));
        queued += s.info.state == WEFT_TASK_SCHEDULED;
    }
    cr_assert_eq(queued, 1);
    b->go = true;
    cr_assert_eq(weft_block_on(rt, come_back, b, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    free(b);
}

/* A task that has its result, and is on its way out: what it drops takes its time. */
typedef struct last_words {
    weft_future base;
    _Atomic uint64_t id;
    atomic_bool speaks, heard;
} last_words;

static void drop_slowly(void *result)
{
    last_words *l = result;
    l->speaks = true;
    SPIN_UNTIL(l->heard);
}

static void drop_future_slowly(weft_future *self) { drop_slowly(WEFT_CONTAINER_OF(self, last_words, base)); }

static weft_poll finish_at_once(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)cx, (void)result;
    return WEFT_EPIPE;
}

static void *say_who_it_is(void *arg)
{
    last_words *l = arg;
    l->id = weft_self_id();
    return l;
}

static void hear(last_words *l, int64_t before)
{
    EVENTUALLY(l->speaks);
    sight s = {.id = l->id};
    cr_assert_eq(weft_tasks_visit(NULL, find_sight, &s), 1);
    cr_assert_eq(s.info.state, WEFT_TASK_RUNNING);
    cr_assert_leq(s.info.age, real_now() - before + ABOUT);
    l->heard = true;
}

static void *ends_take_their_time(void *arg)
{
    static const weft_future_ops ops = {finish_at_once, drop_future_slowly};
    const weft_spawn_options strand = {.drop_result = drop_slowly}, job = {.drop_result = drop_slowly, .blocking = 1};
    static last_words words[3];
    weft_task *task;
    int64_t before = real_now();
    cr_assert_eq(weft_spawn_with(NULL, &strand, say_who_it_is, &words[0]), 0);
    hear(&words[0], before);
    before = real_now();
    cr_assert_eq(weft_spawn_with(NULL, &job, say_who_it_is, &words[1]), 0);
    hear(&words[1], before);
    before = real_now();
    words[2].base.ops = &ops;
    cr_assert_eq(weft_spawn_future(&task, &words[2].base), 0);
    words[2].id = weft_task_id(task);
    hear(&words[2], before);
    cr_assert_eq(weft_join(task, NULL), WEFT_EFAILED);
    return arg;
}

Test(registry, one_that_is_about_to_end_is_no_older_than_it_is) { run(2, ends_take_their_time, NULL); }

/* ---- visiting -------------------------------------------------------------------------------------------------- */

static int count(void *arg, const weft_task_info *info)
{
    cr_assert_gt(info->id, 0u);
    ++*(int *)arg;
    return 0;
}

static int stop_at_3(void *arg, const weft_task_info *info)
{
    (void)info;
    return ++*(int *)arg == 3 ? -7 : 0;
}

static weft_runtime *seen_runtime;

static void *count_from_outside(void *arg)
{
    cr_assert_eq(weft_tasks_visit(NULL, count, arg), WEFT_ENORUNTIME);
    cr_assert_eq(weft_tasks_visit(seen_runtime, NULL, arg), WEFT_EINVAL);
    cr_assert_eq(*(int *)arg, 0);
    cr_assert_eq(weft_tasks_visit(seen_runtime, count, arg), 0);
    return NULL;
}

static void *visits(void *arg)
{
    enum { N = 10 };
    things s[N] = {{.byte = 0}};
    weft_task_storage storages[N / 2] = {{.release = NULL}};
    weft_task *tasks[N];
    pthread_t thread;
    int inside = 0, outside = 0, stopped = 0;
    cr_assert_eq(weft_chan_create(&s[0].ch, 1, 0), 0);
    for (int i = 0; i < N; i++) {
        s[i].ch = s[0].ch;
        s[i].base.ops = &ops_receive;
        if (i < N / 2)
            cr_assert_eq(weft_spawn_future(&tasks[i], &s[i].base), 0);
        else
            cr_assert_eq(weft_spawn_future_in(&tasks[i], &storages[i - N / 2], &s[i].base), 0);
    }
    cr_assert_eq(weft_tasks_visit(NULL, count, &inside), 0);
    cr_assert_eq(inside, N + 1, "with the root");
    seen_runtime = weft_runtime_current();
    cr_assert_eq(pthread_create(&thread, NULL, count_from_outside, &outside), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(outside, N + 1);
    cr_assert_eq(weft_tasks_visit(NULL, stop_at_3, &stopped), -7);
    cr_assert_eq(stopped, 3);
    for (int i = 0; i < N; i++)
        expect(tasks[i], "one of ten", "chan recv", at(s[0].ch));
    let_all_end(&s[0], tasks, N);
    return arg;
}

WF_TEST_WORKERS(registry, from_tasks_and_threads_and_no_further_than_asked_for) { run(workers, visits, NULL); }

/* ---- who does not come back ------------------------------------------------------------------------------------ */

static uint64_t dreaded; /* 0: any */

static int panic_at_it(void *arg, const weft_task_info *info)
{
    if (dreaded && info->id != dreaded)
        return 0;
    weft_panic("%s sees #%llu", (const char *)arg, (unsigned long long)info->id);
}

static void *visit_and_panic(void *who)
{
    weft_tasks_visit(seen_runtime, panic_at_it, who);
    return NULL;
}

static weft_poll poll_and_panic(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)cx, (void)result;
    visit_and_panic("a future");
    return WEFT_READY;
}

static void *visit_in_coroutine(void *arg)
{
    weft_coro *coro;
    cr_assert_eq(weft_coro_create(&coro, visit_and_panic, arg, 0), 0);
    cr_assert_eq(weft_coro_resume(coro, NULL, NULL), WEFT_EPANIC);
    weft_coro_free(coro);
    return NULL;
}

static void *visitors_that_panic(void *arg)
{
    static const weft_future_ops ops = {poll_and_panic, NULL};
    weft_future future = {&ops};
    things s = {.base.ops = &ops_receive};
    weft_task_storage storage = {.release = NULL};
    weft_spawn_options job = {.blocking = 1};
    weft_task *task, *stored;
    cr_assert_eq(weft_chan_create(&s.ch, 1, 0), 0);
    cr_assert_eq(weft_spawn_future_in(&stored, &storage, &s.base), 0);
    dreaded = weft_task_id(stored); /* met as a copy */
    cr_assert_eq(weft_spawn(&task, visit_and_panic, "a strand"), 0);
    cr_assert_eq(weft_join(task, NULL), WEFT_EPANIC);
    cr_assert_eq(weft_spawn_with(&task, &job, visit_and_panic, "a job"), 0);
    cr_assert_eq(weft_join(task, NULL), WEFT_EPANIC);
    visit_in_coroutine("a coroutine");
    dreaded = 0;
    cr_assert_eq(weft_spawn_future(&task, &future), 0);
    cr_assert_eq(weft_join(task, NULL), WEFT_EPANIC);
    let_all_end(&s, &stored, 1);
    return arg;
}

/* They are not waited for: else the runtime would never end. */
WF_TEST_WORKERS(registry, a_visitor_that_panics_looks_no_more)
{
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_runtime_create(&seen_runtime, &options), 0);
    cr_assert_eq(weft_block_on(seen_runtime, visitors_that_panic, NULL, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(seen_runtime), 0);
}

/* ---- spawning meanwhile ---------------------------------------------------------------------------------------- */

enum { MORE = 300 };

typedef struct spawning {
    things common;
    weft_group *group;
    weft_task_storage storages[MORE];
    things children[MORE];
    int born, visited;
} spawning;

/* The young ones, too, are told as young: they were born after the visit had begun. */
static int spawn_more(void *arg, const weft_task_info *info)
{
    spawning *w = arg;
    w->visited++;
    cr_assert_lt(info->age, PATIENCE);
    cr_assert_lt(info->since, PATIENCE);
    if (w->born == 0)
        spin_for(50 * WEFT_MS);
    for (int i = 0; i < 10 && w->born < MORE; i++) {
        things *child = &w->children[w->born];
        child->ch = w->common.ch;
        child->base.ops = &ops_receive;
        if (w->born % 2)
            cr_assert_eq(weft_spawn_future_in(NULL, &w->storages[w->born], &child->base), 0);
        else
            cr_assert_eq(weft_group_spawn(w->group, in_receive, child), 0);
        w->born++;
    }
    return 0;
}

static void *spawns_while_it_visits(void *arg)
{
    spawning *w = calloc(1, sizeof *w);
    int all = 0;
    cr_assert_eq(weft_chan_create(&w->common.ch, 1, 0), 0);
    cr_assert_eq(weft_group_create(&w->group), 0);
    for (int i = 0; i < MORE && w->born < MORE; i++)
        cr_assert_eq(weft_tasks_visit(NULL, spawn_more, w), 0);
    cr_assert_eq(w->born, MORE);
    cr_assert_eq(weft_tasks_visit(NULL, count, &all), 0);
    cr_assert_eq(all, MORE + 1);
    weft_chan_close(w->common.ch);
    cr_assert_eq(weft_group_close(w->group), 0);
    for (all = 0; all != 1; weft_yield()) {
        all = 0;
        cr_assert_eq(weft_tasks_visit(NULL, count, &all), 0);
    }
    cr_assert_eq(weft_chan_free(w->common.ch), 0);
    free(w);
    return arg;
}

WF_TEST_WORKERS(registry, a_visit_may_spawn_and_tells_how_young_they_are)
{
    run(workers, spawns_while_it_visits, NULL);
}

/* ---- many ------------------------------------------------------------------------------------------------------ */

typedef struct ids {
    uint64_t *list;
    size_t n, room, wrong;
} ids;

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Of a job "job", of others nothing or its own id: see churn below. */
static bool has_name_of_another(const weft_task_info *info)
{
    char own[24];
    snprintf(own, sizeof own, "%llu", (unsigned long long)info->id);
    const char *expected = info->kind == WEFT_KIND_BLOCKING ? "job" : own;
    return info->name[0] && strcmp(info->name, expected) != 0;
}

static int note_id(void *arg, const weft_task_info *info)
{
    ids *all = arg;
    if (all->n == all->room) {
        all->room = 2 * all->room + 64;
        all->list = realloc(all->list, all->room * sizeof *all->list);
        cr_assert_not_null(all->list);
    }
    all->list[all->n++] = info->id;
    all->wrong += has_name_of_another(info);
    return 0;
}

static void expect_each_once(ids *all)
{
    qsort(all->list, all->n, sizeof *all->list, by_number);
    for (size_t i = 1; i < all->n; i++)
        cr_assert_lt(all->list[i - 1], all->list[i], "task #%llu was met twice", (unsigned long long)all->list[i]);
    cr_assert_eq(all->wrong, 0u, "the name of another");
}

static weft_poll never(weft_future *f, weft_context *cx, void **result)
{
    (void)f, (void)cx, (void)result;
    return WEFT_PENDING;
}

static const weft_future_ops never_ops = {never, NULL};

static void *many(void *arg)
{
    size_t n = wf_test_scale(100000);
    weft_future *futures = calloc(n, sizeof *futures);
    weft_group *group;
    ids all = {.n = 0};
    cr_assert_eq(weft_group_create(&group), 0);
    weft_spawn_options options = {.group = group};
    for (size_t i = 0; i < n; i++) {
        futures[i].ops = &never_ops;
        cr_assert_eq(weft_spawn_future_with(NULL, &options, &futures[i]), 0);
    }
    cr_assert_eq(weft_tasks_visit(NULL, note_id, &all), 0);
    cr_assert_eq(all.n, n + 1);
    expect_each_once(&all);
    cr_assert_eq(weft_group_close(group), 0);
    all.n = 0;
    cr_assert_eq(weft_tasks_visit(NULL, note_id, &all), 0);
    cr_assert_eq(all.n, 1u);
    free(all.list);
    free(futures);
    return arg;
}

Test(registry, a_hundred_thousand_tasks_each_once) { run(2, many, NULL); }

/* ---- coming and going ------------------------------------------------------------------------------------------ */

typedef struct churning {
    weft_runtime *rt;
    weft_task_pool *pool;
    atomic_int spawners; /* that have not ended */
    atomic_size_t met;   /* tasks with a name */
    size_t rounds;
} churning;

static void call_myself_by_my_id(void) { cr_assert_eq(weft_set_name("%llu", (unsigned long long)weft_self_id()), 0); }

static void *short_life(void *arg)
{
    call_myself_by_my_id();
    weft_yield();
    return arg;
}

typedef struct short_future {
    weft_future base;
    bool again;
} short_future;

static weft_poll short_poll(weft_future *f, weft_context *cx, void **result)
{
    short_future *own = WEFT_CONTAINER_OF(f, short_future, base);
    (void)result;
    call_myself_by_my_id();
    own->again = !own->again;
    if (own->again)
        weft_waker_wake_by_ref(weft_context_waker(cx));
    return own->again ? WEFT_PENDING : WEFT_READY;
}

static const weft_future_ops short_ops = {short_poll, NULL};

/* False: no place is free. */
static bool spawn_stored(churning *c)
{
    weft_task_storage *storage;
    if (weft_task_pool_claim(c->pool, &storage) < 0)
        return false;
    short_future *f = weft_task_pool_body(storage);
    *f = (short_future){.base.ops = &short_ops};
    cr_assert_eq(weft_spawn_future_in(NULL, storage, &f->base), 0);
    return true;
}

static void *churn(void *arg)
{
    churning *c = arg;
    weft_group *group;
    cr_assert_eq(weft_group_create_with(&group, &(weft_group_options){.limit = 32, .discard = 1}), 0);
    weft_spawn_options job = {.name = "job", .group = group, .blocking = 1};
    for (size_t i = 0; i < c->rounds; i++) {
        cr_assert_eq(weft_group_spawn(group, short_life, NULL), 0);
        if (i % 2 && !spawn_stored(c))
            weft_yield();
        if (i % 16 == 0)
            cr_assert_eq(weft_spawn_with(NULL, &job, echo, NULL), 0);
    }
    cr_assert_eq(weft_group_wait(group), 0);
    cr_assert_eq(weft_group_close(group), 0);
    atomic_fetch_sub(&c->spawners, 1);
    return NULL;
}

static int note_named(void *arg, const weft_task_info *info)
{
    churning *c = ((void **)arg)[0];
    atomic_fetch_add(&c->met, info->name[0] != 0);
    return note_id(((void **)arg)[1], info);
}

static void *visit_again_and_again(void *arg)
{
    churning *c = arg;
    ids all = {.n = 0};
    void *both[] = {c, &all};
    while (atomic_load(&c->spawners) > 0) {
        all.n = 0;
        cr_assert_eq(weft_tasks_visit(c->rt, note_named, both), 0);
        expect_each_once(&all);
        weft_yield();
    }
    free(all.list);
    return NULL;
}

static void *churn_and_visit(void *arg)
{
    enum { N = 4, THREADS = 2 };
    churning c = {.rt = weft_runtime_current(), .rounds = wf_test_scale(4000), .spawners = N};
    weft_task *tasks[N], *visitor;
    pthread_t threads[THREADS];
    cr_assert_eq(weft_task_pool_create(&c.pool, 64, sizeof(short_future)), 0);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, visit_again_and_again, &c), 0);
    cr_assert_eq(weft_spawn(&visitor, visit_again_and_again, &c), 0);
    for (int i = 0; i < N; i++)
        cr_assert_eq(weft_spawn(&tasks[i], churn, &c), 0);
    for (int i = 0; i < N; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    cr_assert_eq(weft_join(visitor, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_assert_gt(atomic_load(&c.met), 0u);
    EVENTUALLY(weft_task_pool_available(c.pool) == 64);
    cr_assert_eq(weft_task_pool_free(c.pool), 0);
    return arg;
}

/* A place may be another task's by the time that it is met again: then that is another id. */
WF_TEST_WORKERS(registry, tasks_come_and_go_while_others_look) { run(workers, churn_and_visit, NULL); }

/* ---- what they wait on, as text -------------------------------------------------------------------------------- */

CALL(read, weft_read(s->stream, &s->byte, 1))
CALL(accept, weft_accept(&s->stream, s->listener))

static weft_task_info info_of_reader(things *s, int fds[2])
{
    weft_task *task;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(weft_stream_from_fd(&s->stream, fds[0]), 0);
    cr_assert_eq(weft_spawn(&task, in_read, s), 0);
    expect(task, "the reader", "read", text("fd %d", fds[0]));
    weft_task_info info = info_of(task);
    close(fds[1]);
    let_end(task, "the reader");
    weft_close(s->stream);
    return info;
}

/* A path is told, a name without one is not. */
static void expect_path(things *s, const char *path, const char *expected)
{
    weft_task *task;
    cr_assert_eq(weft_unix_listen(&s->listener, path, &(weft_unix_options){.backlog = 1}), 0);
    cr_assert_eq(weft_spawn(&task, in_accept, s), 0);
    expect(task, path, "accept", expected);
    weft_listener_close(s->listener);
    let_end(task, path);
}

static void *odd_sockets(void *arg)
{
    things s = {.byte = 0};
    int fds[2];
    char found[64] = "before", folder[] = "/tmp/weft-registry-XXXXXX";
    weft_task_info info = info_of_reader(&s, fds);
    int length = (int)strlen(text("fd %d", fds[0]));
    cr_assert_eq(weft_task_info_object(&info, found, sizeof found), length, "it is closed by now");
    cr_assert_str_eq(found, text("fd %d", fds[0]));
    cr_assert_eq(weft_task_info_object(&info, NULL, 0), length);
    cr_assert_eq(weft_task_info_object(&info, found, 3), length);
    cr_assert_str_eq(found, "fd");
    cr_assert_eq(weft_task_info_object(NULL, found, sizeof found), 0);
    cr_assert_str_eq(found, "");
    cr_assert_not_null(mkdtemp(folder));
    expect_path(&s, text("%s/s", folder), text("%s/s", folder));
    cr_assert_eq(rmdir(folder), 0);
    expect_path(&s, text("@weft-registry-%d", (int)getpid()), "fd *");
    return arg;
}

Test(registry, text_of_sockets_that_are_closed_or_have_no_name) { run(2, odd_sockets, NULL); }
