/* task_support.h - what the tests of tasks, coroutines and runtimes share. */
#ifndef TASK_SUPPORT_H
#define TASK_SUPPORT_H

#include <support/until.h>
#include <sched.h>
#include <support/test.h>
#include <weft/runtime.h>
#include <weft/task.h>
#include <weft/time.h>

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
