/* burst_test.c - what many tasks took at once is the system's again a while after they have ended. */
#include <stdatomic.h>
#include <support/test.h>
#include <weft/diag.h>
#include <weft/runtime.h>
#include <weft/sync.h>
#include <weft/task.h>
#include <weft/time.h>

enum { LIMIT_S = 20 };

static void run(unsigned workers, weft_fn body)
{
    weft_options options = WEFT_OPTIONS_INIT;
    options.workers = workers;
    cr_assert_eq(weft_run_with(&options, body, NULL, NULL), 0);
}

/* KiB of this process in memory. */
static size_t resident(void)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file) && sscanf(line, "VmRSS: %zu", &kib) != 1)
        ;
    fclose(file);
    cr_assert_gt(kib, 0u);
    return kib;
}

/* Wait until @low() says so, for a limited time. */
static bool comes(bool (*low)(void))
{
    int64_t until = weft_now() + LIMIT_S * WEFT_SEC;
    while (!low() && weft_now() < until)
        weft_sleep(20 * WEFT_MS);
    return low();
}

/* ---- strands ----------------------------------------------------------------------------------------------------- */

static weft_semaphore gate;
static atomic_size_t inside;
static size_t most, before, peak;

static void *wait_at_gate(void *arg)
{
    inside++;
    cr_assert_eq(weft_semaphore_acquire(&gate, 1), 0);
    inside--;
    return arg;
}

static uint64_t stacks_kept(void)
{
    weft_metrics_t m;
    cr_assert_eq(weft_metrics(NULL, &m), 0);
    return m.stacks_live + m.stacks_cached;
}

static bool stacks_have_gone(void) { return stacks_kept() < most / 2; }

static void *burst_of_strands(void *arg)
{
    most = WF_TEST_SANITIZED ? 2000 : 4000;
    weft_semaphore_init(&gate, 0);
    for (size_t i = 0; i < most; i++)
        cr_assert_eq(weft_spawn(NULL, wait_at_gate, NULL), 0);
    while (inside < most)
        weft_sleep(WEFT_MS);
    cr_assert_geq(stacks_kept(), (uint64_t)most);
    weft_semaphore_release(&gate, most);
    while (inside > 0)
        weft_sleep(WEFT_MS);
    cr_assert(comes(stacks_have_gone), "%llu of %zu stacks", (unsigned long long)stacks_kept(), most);
    cr_assert_eq(weft_spawn(NULL, wait_at_gate, NULL), 0);
    weft_semaphore_release(&gate, 1);
    return arg;
}

/* Their slabs stayed mapped: an eighth of a page table for each stack, and the descriptors, until the runtime ended. */
WF_TEST_WORKERS(burst, stacks_of_strands_that_have_ended_are_unmapped) { run(workers, burst_of_strands); }

/* ---- stackless tasks --------------------------------------------------------------------------------------------- */

enum { TASKS = 100000 };

static weft_future futures[TASKS];

static weft_poll pends(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)cx, (void)result;
    inside++;
    return WEFT_PENDING;
}

static void leaves(weft_future *self)
{
    (void)self;
    inside--;
}

static const weft_future_ops waits_for_nobody = {.poll = pends, .drop = leaves};

static bool memory_has_gone(void) { return resident() < before + (peak - before) / 3; }

static void *burst_of_tasks(void *arg)
{
    weft_task **tasks = calloc(TASKS, sizeof *tasks);
    cr_assert_not_null(tasks);
    for (size_t i = 0; i < TASKS; i++) {
        futures[i].ops = &waits_for_nobody;
        tasks[i] = (weft_task *)1; /* touched */
    }
    before = resident();
    for (size_t i = 0; i < TASKS; i++)
        cr_assert_eq(weft_spawn_future(&tasks[i], &futures[i]), 0);
    while (inside < TASKS)
        weft_sleep(WEFT_MS);
    peak = resident();
    cr_assert_gt(peak, before + TASKS * 90 / 1024, "headers have 96 bytes");
    for (size_t i = 0; i < TASKS; i++)
        cr_assert_eq(weft_task_close(tasks[i]), 0);
    cr_assert_eq(inside, 0u);
    cr_assert(comes(memory_has_gone), "%zu KiB, then %zu, now %zu", before, peak, resident());
    free(tasks);
    return arg;
}

/* What had been a header stayed one: 96 bytes for each task of the largest burst, until the runtime ended. */
WF_TEST_WORKERS(burst, headers_of_tasks_that_have_ended_are_given_back)
{
    if (WF_TEST_SANITIZED || WF_TEST_EMULATED)
        cr_skip_test("resident memory is not the program's alone");
    run(workers, burst_of_tasks);
}
