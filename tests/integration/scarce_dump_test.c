/* scarce_dump_test.c - dumps on a machine that has run out of everything. See support/scarce.h. */
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

static const scarce_scene scenes[] = {
    SCARCE_STRAND(dump_in_a_task, 2),
    SCARCE_THREAD(dump_in_a_thread, 2),
};

Test(scarce_dump, whatever_is_refused_is_reported_and_leaves_nothing_1_worker)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 1);
}

Test(scarce_dump, whatever_is_refused_is_reported_and_leaves_nothing_2_workers)
{
    scarce_play(scenes, sizeof scenes / sizeof scenes[0], 2);
}
