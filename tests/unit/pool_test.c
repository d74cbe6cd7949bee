/* pool_test.c - lanes and threads of the pool, all three lanes of it; d40 is here too, because it needs to look inside. */
#include <runtime/runtime.h>
#include <support/latch.h>
#include <support/process.h>
#include <support/task_support.h>
#include <support/test.h>

enum { USERS = 4, FILES = 32, NAMES = 32 };

static const int caps[WF_LANES] = {USERS, FILES, NAMES};

static weft_runtime *create(void)
{
    weft_options options = {.workers = 1, .blocking_threads = USERS, .watchdog = WEFT_FOREVER}; /* threads are counted */
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    return rt;
}

typedef struct slow_job {
    wf_job job;
    latch *latch;
    atomic_int *done;
} slow_job;

static void run_slow(wf_job *self)
{
    slow_job *j = wf_container(self, slow_job, job);
    latch_pass(j->latch);
    ++*j->done;
}

static void submit(weft_runtime *rt, wf_lane lane, slow_job *j, latch *l, atomic_int *done)
{
    *j = (slow_job){.job.run = run_slow, .latch = l, .done = done};
    cr_assert_eq(wf_pool_submit(rt, lane, &j->job), 0);
}

/* With all other lanes full and backed up, one still gets everything done. */
static void others_are_slow(wf_lane quick)
{
    enum { MORE = 5 };
    static slow_job jobs[WF_LANES][FILES + MORE];
    weft_runtime *rt = create();
    latch closed = LATCH_INIT, open = LATCH_INIT;
    atomic_int slow = 0, done = 0;
    int begun = 0, all = 0;
    latch_open(&open);
    for (int lane = 0; lane < WF_LANES; lane++) {
        if (lane == (int)quick)
            continue;
        begun += caps[lane];
        all += caps[lane] + MORE;
        for (int i = 0; i < caps[lane] + MORE; i++)
            submit(rt, (wf_lane)lane, &jobs[lane][i], &closed, &slow);
    }
    SPIN_UNTIL(closed.inside == begun);
    for (int i = 0; i < caps[quick] + MORE; i++)
        submit(rt, quick, &jobs[quick][i], &open, &done);
    SPIN_UNTIL(done == caps[quick] + MORE);
    cr_assert_eq(slow, 0);
    cr_assert_eq(closed.entered, begun);
    latch_open(&closed);
    SPIN_UNTIL(slow == all);
    cr_assert_eq(closed.most, begun);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

Test(pool, d40_no_lane_starves_another)
{
    for (int lane = 0; lane < WF_LANES; lane++)
        others_are_slow((wf_lane)lane);
}

Test(pool, a_job_is_taken_back_until_it_begins)
{
    weft_runtime *rt = create();
    latch l = LATCH_INIT;
    atomic_int done = 0;
    slow_job jobs[USERS], queued;
    cr_assert_not(wf_pool_retract(rt, WF_LANE_USER, &(wf_job){0}), "there is no pool yet");
    for (int i = 0; i < USERS; i++)
        submit(rt, WF_LANE_USER, &jobs[i], &l, &done);
    SPIN_UNTIL(l.inside == USERS);
    for (int i = 0; i < 3; i++) {
        submit(rt, WF_LANE_USER, &queued, &l, &done);
        cr_assert(wf_pool_retract(rt, WF_LANE_USER, &queued.job));
        cr_assert_not(wf_pool_retract(rt, WF_LANE_USER, &queued.job));
        cr_assert_not(wf_pool_retract(rt, WF_LANE_USER, &jobs[i].job), "it runs");
    }
    latch_open(&l);
    SPIN_UNTIL(done == USERS);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(done, USERS);
}

Test(pool, threads_come_with_jobs_and_leave_without)
{
    weft_runtime *rt = create();
    unsigned before = threads();
    wf_pool_set_patience(20 * WEFT_MS);
    for (int round = 0; round < 3; round++) {
        latch l = LATCH_INIT;
        atomic_int done = 0;
        slow_job jobs[WF_LANES][FILES];
        for (int lane = 0; lane < WF_LANES; lane++)
            for (int i = 0; i < caps[lane]; i++)
                submit(rt, (wf_lane)lane, &jobs[lane][i], &l, &done);
        SPIN_UNTIL(l.inside == USERS + FILES + NAMES);
        cr_assert_eq(threads(), before + USERS + FILES + NAMES);
        latch_open(&l);
        SPIN_UNTIL(threads() == before);
        cr_assert_eq(done, USERS + FILES + NAMES);
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* One thread is enough for jobs that come one after the other, whatever their lanes. */
Test(pool, an_idle_thread_serves_any_lane)
{
    weft_runtime *rt = create();
    unsigned before = threads();
    latch l = LATCH_INIT;
    wf_pool_set_patience(PATIENCE);
    latch_open(&l);
    for (int i = 0; i < 60; i++) {
        atomic_int done = 0;
        slow_job job;
        submit(rt, (wf_lane)(i % WF_LANES), &job, &l, &done);
        SPIN_UNTIL(done == 1);
        cr_assert_leq(threads(), before + 2, "the first may not have come back yet when the second job came");
    }
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    SPIN_UNTIL(threads() == before - 1);
}
