/* random_test.c - random programs of fixed seeds; each twice; and that what is wrong is seen. For ever: random_programs. */
#include <random/explore.h>
#include <string.h>
#include <support/test.h>
#include <unistd.h>

/* What fails is on standard error. */
static void explore(unsigned workers, uint64_t seed, bool pure)
{
    random_plan plan = {.seed = seed, .count = WF_TEST_SANITIZED ? 50 : 150, .seconds = 2, .workers = workers, .pure = pure};
    cr_assert_gt(random_explore(&plan), 0);
}

WF_TEST_WORKERS(random, fixed_seeds_do_what_they_may) { explore(workers, 1000 * workers, false); }

Test(random, one_worker_with_a_seed_takes_the_same_steps_again)
{
    random_plan plan = {.count = WF_TEST_SANITIZED ? 50 : 200, .seconds = 2, .workers = 1, .pure = true, .twice = true};
    cr_assert_gt(random_explore(&plan), 0);
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
