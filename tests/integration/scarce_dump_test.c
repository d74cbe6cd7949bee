/* scarce_dump_test.c - dumps, and what else tells of a runtime, on a machine that has run out of everything. See support/scarce.h. */
#include <stdlib.h>
#include <support/scarce.h>
#include <support/until.h>
#include <weft.h>
#include <weft/diag.h>

static void *wait_for_ever(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

static weft_task *spawn_one(weft_runtime *rt)
{
    weft_spawn_options options = {.name = "waits", .runtime = rt};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, wait_for_ever, NULL), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE); /* its stack is none of the dump's requests */
    return task;
}

/* Whatever it was given before, nothing of a dump that failed is in there. */
static void write_both(weft_runtime *rt, weft_task *task)
{
    char *text;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    cr_assert_not_null(to);
    SCARCE_TRY(0, weft_dump(rt, to));
    cr_assert_eq(fflush(to), 0);
    cr_assert_eq(strncmp(text, "weft \"", 6), 0, "%s", scarce_at());
    SCARCE_TRY(0, weft_dump_task(rt, weft_task_id(task), to));
    cr_assert_eq(fclose(to), 0);
    free(text);
}

static void dump_in_a_task(void)
{
    weft_task *task = spawn_one(NULL);
    write_both(NULL, task);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
}

static void dump_in_a_thread(void)
{
    weft_options options = {.workers = 1};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    weft_task *task = spawn_one(rt);
    write_both(rt, task);
    weft_detach(task);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* ---- counters, and the list of the tasks -------------------------------------------------------------------------- */

static void count(weft_runtime *rt)
{
    weft_worker_metrics_t one;
    char page[64 * 1024];
    FILE *to = fmemopen(page, sizeof page, "w");
    cr_assert_not_null(to);
    SCARCE_NONE(cr_assert_eq(weft_worker_metrics(rt, 0, &one), 0));
    SCARCE_NONE(cr_assert_eq(weft_metrics_print(rt, to), 0));
    cr_assert_eq(fclose(to), 0);
    cr_assert_not_null(strstr(page, "weft_tasks_alive"), "%s", scarce_at());
}

static void count_in_a_task(void) { count(NULL); }

static void count_in_a_thread(void)
{
    weft_options options = {.workers = 1};
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    count(rt);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

static weft_poll wait_in_place(weft_future *self, weft_context *cx, void **out)
{
    (void)self, (void)cx, (void)out;
    return WEFT_PENDING;
}

static void drop_nothing(weft_future *self) { (void)self; }

static const weft_future_ops ops_in_place = {.poll = wait_in_place, .drop = drop_nothing};

typedef struct search {
    uint64_t id;
    weft_task_info found;
} search;

static int find(void *arg, const weft_task_info *info)
{
    search *s = arg;
    if (info->id == s->id)
        s->found = *info;
    return 0;
}

/* Those in the program's memory stand on a shelf, from which they are copied. */
static void visit_tasks(void)
{
    weft_task_pool *pool;
    weft_task_storage *place;
    weft_task *sleeper = spawn_one(NULL), *stored;
    char object[64];
    cr_assert_eq(weft_task_pool_create(&pool, 1, sizeof(weft_future)), 0);
    cr_assert_eq(weft_task_pool_claim(pool, &place), 0);
    weft_future *body = weft_task_pool_body(place);
    *body = (weft_future){.ops = &ops_in_place};
    cr_assert_eq(weft_spawn_future_in(&stored, place, body), 0);
    search s = {.id = weft_task_id(stored)};
    SCARCE_TRY(0, weft_tasks_visit(NULL, find, &s));
    cr_assert_eq(s.found.id, s.id, "%s", scarce_at());
    s = (search){.id = weft_task_id(sleeper)};
    cr_assert_eq(weft_tasks_visit(NULL, find, &s), 0);
    cr_assert_str_eq(s.found.waits_for, "sleep");
    SCARCE_NONE(weft_task_info_object(&s.found, object, sizeof object));
    weft_abort(stored);
    cr_assert_eq(weft_join(stored, NULL), WEFT_EABORTED);
    weft_abort(sleeper);
    cr_assert_eq(weft_join(sleeper, NULL), WEFT_EABORTED);
    while (weft_task_pool_free(pool) < 0)
        weft_yield();
}

static const scarce_scene scenes[] = {
    SCARCE_STRAND(dump_in_a_task, 2),    SCARCE_THREAD(dump_in_a_thread, 2), SCARCE_STRAND(count_in_a_task, 0),
    SCARCE_THREAD(count_in_a_thread, 0), SCARCE_STRAND(visit_tasks, 1),
};

Test(scarce_dump, whatever_is_refused_is_reported_and_leaves_nothing_1_worker)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 1);
}

Test(scarce_dump, whatever_is_refused_is_reported_and_leaves_nothing_2_workers)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 2);
}
