/* defects_signals_test.c - d16: signals that nobody asked for piled up and were replayed, and each reached one waiter only. */
#include <signal.h>
#include <support/signal_support.h>
#include <support/task_support.h>
#include <support/test.h>

enum { HANDLES = 5, SIGNALS = 20 };

/* ---- every waiter sees every signal ---------------------------------------------------------------------------- */

static void *see_all(void *arg)
{
    weft_signal *handles[HANDLES], *other = watch(SIGUSR2);
    (void)arg;
    for (int i = 0; i < HANDLES; i++)
        handles[i] = watch(SIGUSR1);
    for (int n = 0; n < SIGNALS; n++) {
        weft_task *tasks[HANDLES];
        for (int i = 0; i < HANDLES; i++)
            tasks[i] = ask_for_next(handles[i]);
        send_signal(SIGUSR1);
        for (int i = 0; i < HANDLES; i++)
            cr_assert_eq(told(tasks[i]), 1, "signal %d, handle %d", n, i);
    }
    expect_none(other);
    for (int i = 0; i < HANDLES; i++)
        weft_signal_close(handles[i]);
    weft_signal_close(other);
    return NULL;
}

WF_TEST_WORKERS(defects, d16_every_waiter_sees_every_signal) { run(workers, see_all, NULL); }

typedef struct elsewhere {
    weft_signal *s;
    int got;
} elsewhere;

static void *open_elsewhere(void *arg)
{
    ((elsewhere *)arg)->s = watch(SIGUSR1);
    return NULL;
}

static void *next_elsewhere(void *arg)
{
    elsewhere *e = arg;
    e->got = weft_signal_next(e->s);
    return NULL;
}

static void signal_reaches(weft_runtime **rts, elsewhere *at, int n)
{
    send_signal(SIGUSR1);
    for (int i = 0; i < n; i++) {
        cr_assert_eq(weft_block_on(rts[i], next_elsewhere, &at[i], NULL), 0);
        cr_assert_eq(at[i].got, 1, "runtime %d of %d", i, n);
    }
}

WF_TEST_WORKERS(defects, d16_every_runtime_sees_every_signal)
{
    enum { RUNTIMES = 3 };
    weft_runtime *rts[RUNTIMES];
    elsewhere at[RUNTIMES];
    weft_options options = {.workers = workers};
    for (int i = 0; i < RUNTIMES; i++) {
        cr_assert_eq(weft_runtime_create(&rts[i], &options), 0);
        cr_assert_eq(weft_block_on(rts[i], open_elsewhere, &at[i], NULL), 0);
    }
    for (int n = 0; n < SIGNALS; n++)
        signal_reaches(rts, at, RUNTIMES);
    for (int left = RUNTIMES - 1; left >= 0; left--) { /* one after the other goes, and the others see it all the same */
        weft_signal_close(at[left].s);
        cr_assert_eq(weft_runtime_destroy(rts[left]), 0);
        if (left > 0)
            signal_reaches(rts, at, left);
    }
    cr_assert(is_default(SIGUSR1));
}

/* ---- nothing is replayed --------------------------------------------------------------------------------------- */

static void *ask_late(void *arg)
{
    weft_signal *asking = watch(SIGUSR1), *silent = watch(SIGUSR1);
    (void)arg;
    for (int n = 0; n < SIGNALS; n++) {
        send_signal(SIGUSR1);
        cr_assert_eq(weft_signal_next(asking), 1);
    }
    cr_assert_eq(weft_signal_next(silent), SIGNALS, "all of them, told at once");
    expect_none(silent);
    expect_none(asking);
    weft_signal *late = watch(SIGUSR1);
    expect_none(late);
    weft_signal_close(asking);
    weft_signal_close(silent);
    weft_signal_close(late);
    return NULL;
}

WF_TEST_WORKERS(defects, d16_nothing_is_replayed) { run(workers, ask_late, NULL); }

/* What a closed handle left unread in libuv's pipe is none of its successor's business. Its former action ignores it. */
static void *reopen(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(200); i++) {
        weft_signal *s = watch(SIGWINCH);
        send_signal(SIGWINCH);
        weft_signal_close(s);
        EVENTUALLY(is_default(SIGWINCH));
        s = watch(SIGWINCH);
        expect_none(s);
        weft_signal_close(s);
    }
    return NULL;
}

WF_TEST_WORKERS(defects, d16_nothing_is_replayed_to_who_opens_again)
{
    if (WF_TEST_EMULATED)
        cr_skip_test("qemu delivers by an action that another thread may be changing, and calls SIG_DFL");
    weft_options options = {.workers = workers, .watchdog = WEFT_FOREVER}; /* which takes that very signal */
    cr_assert_eq(weft_run_with(&options, reopen, NULL, NULL), 0);
}
