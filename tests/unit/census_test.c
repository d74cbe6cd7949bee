/* census_test.c - groups of those that wait: their order, their limits, and who holds what they wait for. */
#include <base/clock.h>
#include <diag/census.h>
#include <diag/holders.h>
#include <support/test.h>
#include <support/until.h>
#include <weft/diag.h>

static weft_runtime *create(void)
{
    weft_options options = {.workers = 1, .watchdog = WEFT_FOREVER};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    return rt;
}

static weft_task *spawn_named(weft_runtime *rt, const char *name, weft_fn fn, void *arg)
{
    weft_spawn_options options = {.name = name, .runtime = rt};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    SPIN_UNTIL(weft_task_state(task) == WEFT_TASK_IDLE);
    return task;
}

/* Nobody else writes it while the task waits. */
static void say(weft_task *task, wf_wait wait, const void *object)
{
    wf_note(&task->waits, wf_wait_word(wait, (uintptr_t)object));
}

static char *dump_of(weft_runtime *rt)
{
    char *text;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    cr_assert_not_null(to);
    cr_assert_eq(weft_dump(rt, to), 0);
    cr_assert_eq(fclose(to), 0);
    return text;
}

static const char *find(const char *text, const char *part)
{
    const char *at = strstr(text, part);
    cr_assert_not_null(at, "\"%s\" is not in:\n%s", part, text);
    return at;
}

static void end(weft_task *task)
{
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
}

/* ---- who holds it -------------------------------------------------------------------------------------------- */

static weft_mutex m = WEFT_MUTEX_INIT;

static void *holds(void *arg)
{
    weft_mutex_lock(&m);
    weft_sleep(WEFT_FOREVER);
    weft_mutex_unlock(&m);
    return arg;
}

static void *locks(void *arg)
{
    weft_mutex_lock(&m);
    weft_mutex_unlock(&m);
    return arg;
}

static void *sleeps(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

Test(census, what_only_others_end_comes_first_and_the_holder_is_named)
{
    char held[64];
    weft_runtime *rt = create();
    weft_task *holder = spawn_named(rt, "holder", holds, NULL), *waiter = spawn_named(rt, "waiter", locks, NULL);
    say(holder, WF_WAIT_SLEEP, NULL);
    say(waiter, WF_WAIT_MUTEX, &m);
    char *text = dump_of(rt);
    snprintf(held, sizeof held, ", held by #%llu \"holder\"", (unsigned long long)weft_task_id(holder));
    cr_assert_lt(find(text, "1 strand waits for mutex"), find(text, "1 strand waits for sleep"));
    cr_assert_gt(find(text, held), find(text, "\"waiter\""));
    free(text);
    end(holder);
    cr_assert_eq(weft_join(waiter, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

Test(census, a_holder_that_is_no_task_is_not_taken_for_one)
{
    weft_runtime *rt = create();
    weft_mutex_lock(&m);
    weft_task *waiter = spawn_named(rt, "waiter", locks, NULL);
    say(waiter, WF_WAIT_MUTEX, &m);
    char *text = dump_of(rt);
    find(text, ", held by a thread or in a coroutine");
    free(text);
    weft_mutex_unlock(&m);
    cr_assert_eq(weft_join(waiter, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* What a task says may be old: its mutex may be gone, and its memory, too. */
Test(census, a_mutex_that_is_gone_is_no_fault)
{
    weft_runtime *rt = create();
    weft_task *waiter = spawn_named(rt, "waiter", sleeps, NULL);
    say(waiter, WF_WAIT_MUTEX, (void *)16);
    char *text = dump_of(rt);
    find(text, "1 strand waits for mutex");
    cr_assert_null(strstr(text, "held by"), "%s", text);
    free(text);
    end(waiter);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- held still ---------------------------------------------------------------------------------------------- */

static bool is_owed(weft_task *task) { return wf_load_acq(&task->state) & WF_S_NOTIFIED; }

/* Whatever wakes it while it is looked at is made good. */
WF_TEST_WORKERS(census, a_wake_that_comes_while_it_is_held_still_comes_afterwards)
{
    weft_options options = {.workers = workers, .watchdog = WEFT_FOREVER};
    weft_spawn_options pinned = {.pinned = 1};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    pinned.runtime = rt;
    for (int i = 0; i < 20; i++) {
        weft_task *task;
        weft_mutex_lock(&m);
        cr_assert_eq(weft_spawn_with(&task, i % 2 ? &pinned : &(weft_spawn_options){.runtime = rt}, locks, NULL), 0);
        SPIN_UNTIL(weft_task_state(task) == WEFT_TASK_IDLE);
        cr_assert(wf_registry_seize(task));
        cr_assert_not(wf_registry_seize(task));
        weft_mutex_unlock(&m);
        cr_assert(is_owed(task));
        wf_registry_release(task);
        cr_assert_eq(weft_join(task, NULL), 0);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

WF_TEST_WORKERS(census, an_abort_that_comes_while_it_is_held_still_comes_afterwards)
{
    weft_options options = {.workers = workers, .watchdog = WEFT_FOREVER};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    for (int i = 0; i < 20; i++) {
        weft_task *task = spawn_named(rt, "sleeper", sleeps, NULL);
        SPIN_UNTIL(wf_registry_seize(task));
        weft_abort(task);
        cr_assert(is_owed(task));
        wf_registry_release(task);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static void *dump_and_forget(void *rt)
{
    free(dump_of(rt));
    return NULL;
}

/* Else it could jump while the wake of one that is held still is owed. The dump comes no further than to the shelf that is locked. */
Test(census, a_paused_clock_stands_while_tasks_are_held_still)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    weft_runtime *rt;
    pthread_t dumper;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    wf_mutex_lock(&rt->shelves[0].lock);
    cr_assert_eq(pthread_create(&dumper, NULL, dump_and_forget, rt), 0);
    SPIN_UNTIL(wf_load_seq(&rt->pauses_off) == 1);
    wf_mutex_unlock(&rt->shelves[0].lock);
    pthread_join(dumper, NULL);
    cr_assert_eq(wf_load_seq(&rt->pauses_off), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- groups -------------------------------------------------------------------------------------------------- */

static weft_poll poll_never(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)cx, (void)result;
    return WEFT_PENDING;
}

static const weft_future_ops never_ops = {.poll = poll_never};
static weft_future never = {&never_ops};

static weft_task *spawn_future_named(weft_runtime *rt, const char *name)
{
    weft_spawn_options options = {.name = name, .runtime = rt};
    weft_task *task;
    cr_assert_eq(weft_spawn_future_with(&task, &options, &never), 0);
    return task;
}

Test(census, the_longest_waiting_are_the_examples)
{
    enum { N = 7 };
    static const uint32_t waited[N] = {40, 70, 10, 60, 20, 50, 30};
    weft_task *tasks[N];
    weft_runtime *rt = create();
    for (int i = 0; i < N; i++) {
        tasks[i] = spawn_future_named(rt, "alike");
        SPIN_UNTIL(weft_task_state(tasks[i]) == WEFT_TASK_IDLE);
        wf_note(&tasks[i]->track, wf_track(wf_ticks(wf_now()) - waited[i] * 1000, 0));
    }
    wf_census *c = wf_census_take(rt);
    cr_assert_not_null(c);
    cr_assert_eq(c->group_count, 1);
    cr_assert_eq(c->groups[0].count, N);
    cr_assert_eq(c->groups[0].examples, WF_CENSUS_EXAMPLES);
    cr_assert_eq(c->groups[0].example[0].id, weft_task_id(tasks[1]));
    cr_assert_eq(c->groups[0].example[1].id, weft_task_id(tasks[3]));
    cr_assert_eq(c->groups[0].example[2].id, weft_task_id(tasks[5]));
    cr_assert_eq(c->groups[0].oldest, c->groups[0].example[0].since);
    wf_census_free(c);
    for (int i = 0; i < N; i++)
        end(tasks[i]);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* Beyond the limits they are counted together. */
Test(census, of_a_million_names_not_each_has_a_group)
{
    enum { N = WF_CENSUS_PRINTS + 500 };
    static weft_task *tasks[N];
    char name[16];
    uint64_t sum = 0, lumped = 0;
    weft_runtime *rt = create();
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "n%d", i);
        tasks[i] = spawn_future_named(rt, name);
    }
    for (int i = 0; i < N; i++)
        SPIN_UNTIL(weft_task_state(tasks[i]) == WEFT_TASK_IDLE);
    wf_census *c = wf_census_take(rt);
    cr_assert_not_null(c);
    cr_assert_eq(c->group_count, WF_CENSUS_GROUPS + 1);
    for (size_t i = 0; i < c->group_count; i++) {
        sum += c->groups[i].count;
        lumped += c->groups[i].lumped ? c->groups[i].count : 0;
    }
    cr_assert_eq(sum, N);
    cr_assert_eq(c->waiting, N);
    cr_assert_eq(lumped, N - WF_CENSUS_GROUPS);
    wf_census_free(c);
    for (int i = 0; i < N; i++)
        end(tasks[i]);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* What was noted after the clock was read is no 417 days old. */
Test(census, what_has_just_begun_is_not_old)
{
    weft_task_info info;
    weft_runtime *rt = create();
    weft_task *task = spawn_future_named(rt, "young");
    SPIN_UNTIL(weft_task_state(task) == WEFT_TASK_IDLE);
    cr_assert(wf_registry_read(task, wf_now() - WEFT_SEC, &info));
    cr_assert_eq(info.since, 0);
    cr_assert_eq(info.age, 0);
    end(task);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- fingerprints -------------------------------------------------------------------------------------------- */

static void test_code(void) {}

static uint64_t print_of(uint64_t first, uint64_t second, const wf_code *code)
{
    static wf_frozen f;
    uint64_t words[2] = {first, second};
    f = (wf_frozen){.count = 1, .stacks = {{.low = 4096, .high = 4096 + sizeof words}}};
    memcpy(f.bytes, words, sizeof words);
    return wf_fingerprint(&f, code);
}

Test(census, only_code_makes_a_fingerprint_and_so_does_its_place)
{
    static wf_code code;
    uint64_t a = (uintptr_t)test_code, b = (uintptr_t)test_code + 1;
    wf_code_find(&code);
    cr_assert_gt(code.count, 0);
    cr_assert_eq(print_of(1, a, &code), print_of(2, a, &code));
    cr_assert_neq(print_of(1, a, &code), print_of(1, b, &code));
    cr_assert_neq(print_of(1, a, &code), print_of(a, 1, &code));
    cr_assert_neq(print_of(a, b, &code), print_of(b, a, &code));
}
