/* task_support.h - what the tests of tasks, coroutines and runtimes share. */
#ifndef TASK_SUPPORT_H
#define TASK_SUPPORT_H

#include <sched.h>
#include <support/test.h>
#include <weft/runtime.h>
#include <weft/task.h>
#include <weft/time.h>

/* ---- until it comes true -------------------------------------------------------------------------------------- */

#define PATIENCE (60 * WEFT_SEC)

#define WAIT_UNTIL_(condition, text, pause)                         \
    do {                                                            \
        int64_t until_ = weft_now() + PATIENCE;                     \
        while (!(condition)) {                                      \
            cr_assert(weft_now() < until_, "it never came: " text); \
            pause;                                                  \
        }                                                           \
    } while (0)

#define EVENTUALLY(condition) WAIT_UNTIL_(condition, #condition, weft_sleep(WEFT_MS / 4))

/* For ordinary threads, and for strands that must keep their worker. */
#define SPIN_UNTIL(condition) WAIT_UNTIL_(condition, #condition, sched_yield())

/* ---- bodies and runtimes -------------------------------------------------------------------------------------- */

/* Static, as net_support.c has another. */
static inline __attribute__((unused)) void run(unsigned workers, weft_fn root, void *arg)
{
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_run_with(&options, root, arg, NULL), 0);
}

static inline __attribute__((unused)) void *echo(void *arg) { return arg; }

/* Run @fn in @n ordinary threads at once, at most 8; all have ended when it returns. */
void in_threads(int n, void *(*fn)(void *), void *arg);

#endif
