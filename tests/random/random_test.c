/* random_test.c - random programs of fixed seeds; the same program twice; and that the model sees what is wrong. For ever: random_programs. */
#include <random/explore.h>
#include <string.h>
#include <support/test.h>
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

/* ---- what is wrong ------------------------------------------------------------------------------------------------------ */

/* Explore, and return what was said. */
static char *overhear(const random_plan *plan, int64_t *ran)
{
    static char said[1 << 16];
    FILE *file = tmpfile();
    int own = dup(STDERR_FILENO);
    cr_assert(file && own >= 0);
    cr_assert_geq(dup2(fileno(file), STDERR_FILENO), 0);
    *ran = random_explore(plan);
    cr_assert_geq(dup2(own, STDERR_FILENO), 0);
    close(own);
    rewind(file);
    said[fread(said, 1, sizeof said - 1, file)] = 0;
    fclose(file);
    return said;
}

Test(random, what_is_wrong_is_told_and_made_smaller)
{
    random_plan plan = {.count = 100, .workers = 1, .pure = true, .forbidden = "SLEEP"};
    int64_t ran;
    const char *said = overhear(&plan, &ran);
    cr_assert_eq(ran, -1);
    cr_assert_not_null(strstr(said, "is forbidden\nworkers 1, pure 1"));
    const char *smaller = strstr(said, "made smaller:\n");
    cr_assert_not_null(smaller, "%s", said);
    cr_assert_not_null(strstr(smaller, " 1 steps, 1 tasks\n   0 SLEEP "), "%s", smaller);
}
