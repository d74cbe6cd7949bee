/* random_test.c - random programs of fixed seeds; the same program twice; and that the model sees what is wrong. For ever: random_programs. */
#include <random/explore.h>
#include <signal.h>
#include <string.h>
#include <support/test.h>
#include <sys/wait.h>
#include <unistd.h>

/* What fails is on standard error. */
static void explore(unsigned workers, uint64_t seed, bool pure)
{
    random_plan plan = {.seed = seed, .count = wf_test_scale(150), .seconds = 4, .workers = workers, .pure = pure};
    cr_assert_gt(random_explore(&plan), 0);
}

WF_TEST_WORKERS(random, fixed_seeds_do_what_they_may) { explore(workers, 1000 * workers, false); }

/* ---- the same again ---------------------------------------------------------------------------------------------------- */

static void run_traced(uint64_t seed, random_trace *trace)
{
    uint8_t bytes[RANDOM_BYTES];
    random_options o = {.workers = 1, .pure = true, .seed = seed + 1, .trace = trace};
    memset(trace, 0, sizeof *trace);
    cr_assert_eq(random_program_run(bytes, random_program_make(bytes, seed), &o), 0);
}

Test(random, one_worker_with_a_seed_takes_the_same_steps_again)
{
    static random_trace first, second;
    unsigned steps = 0;
    for (uint64_t seed = 0; seed < wf_test_scale(200); seed++) {
        run_traced(seed, &first);
        run_traced(seed, &second);
        cr_assert_arr_eq(&first, &second, sizeof first, "seed %llu", (unsigned long long)seed);
        steps += first.n;
    }
    cr_assert_gt(steps, 100);
}
