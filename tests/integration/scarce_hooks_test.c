/* scarce_hooks_test.c - what hooks are told on a machine that has run out of everything: of whatever is born an end, of each poll too. See support/scarce.h. */
#include <stdatomic.h>
#include <support/scarce.h>
#include <weft.h>

static atomic_int born, ended, begun, left, stackless, refused;

static void on_spawn(void *arg, int worker, const weft_task *task)
{
    (void)arg, (void)worker, (void)task;
    born++;
}

static void on_poll_begin(void *arg, int worker, const weft_task *task)
{
    (void)arg, (void)worker, (void)task;
    begun++;
}

static void on_poll_end(void *arg, int worker, const weft_task *task, weft_left how)
{
    (void)arg, (void)worker, (void)task, (void)how;
    left++;
}

static void on_end(void *arg, int worker, const weft_task *task, int status)
{
    (void)arg, (void)worker, (void)task;
    ended++;
    stackless += status == WEFT_EFAILED;
    refused += status == WEFT_EABORTED;
}

static void *echo(void *arg) { return arg; }

static int code_of(int err, void *const *result)
{
    return err == WEFT_EFAILED && (intptr_t)*result == WEFT_ENOMEM ? WEFT_ENOMEM : err;
}

static void tell(void)
{
    weft_options options = {
        .workers = 1, .hooks = {.spawn = on_spawn, .poll_begin = on_poll_begin, .poll_end = on_poll_end, .end = on_end}};
    weft_runtime *rt;
    weft_task *job;
    void *result;
    bool lacked;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    SCARCE_TRY(0, code_of(weft_block_on(rt, echo, rt, &result), &result));
    cr_assert_eq(weft_runtime_enter(rt), 0);
    SCARCE_MAKE(job, weft_spawn_blocking(&job, echo, rt));
    SCARCE_ONCE(lacked, 0, code_of(weft_join(job, &result), &result));
    cr_assert(lacked || result == rt);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(born, ended, "%s", scarce_at());
    cr_assert_eq(begun, left, "%s", scarce_at());
}

static const scarce_scene scenes[] = {SCARCE_THREAD(tell, 3)};

/* Broken: a strand that got no stack was polled, and never left. */
Test(scarce_hooks, what_is_refused_has_an_end_that_is_told_of)
{
    scarce_play(scenes, 1, 1);
    cr_assert_gt(stackless, 0, "a strand got no stack");
    cr_assert_gt(refused, 0, "a job got no thread");
}
