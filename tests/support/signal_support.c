/* signal_support.c - signals to oneself, and those who wait for them. */
#include "signal_support.h"

#include <signal.h>
#include <support/task_support.h>
#include <support/test.h>
#include <unistd.h>

void send_signal(int number) { cr_assert_eq(kill(getpid(), number), 0); }

weft_signal *watch(int number)
{
    weft_signal *s;
    cr_assert_eq(weft_signal_open(&s, number), 0);
    cr_assert_not_null(s);
    return s;
}

static void *next(void *s) { return (void *)(intptr_t)weft_signal_next(s); }

weft_task *ask_for_next(weft_signal *s)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, next, s), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE || weft_is_finished(task));
    return task;
}

int told(weft_task *task)
{
    void *result;
    cr_assert_eq(weft_join(task, &result), 0);
    return (int)(intptr_t)result;
}

void expect_none(weft_signal *s)
{
    weft_task *task = ask_for_next(s);
    cr_assert_eq(weft_task_state(task), WEFT_TASK_IDLE);
    cr_assert_eq(weft_task_close(task), 0);
}

int is_default(int number)
{
    struct sigaction now;
    cr_assert_eq(sigaction(number, NULL, &now), 0);
    return now.sa_handler == SIG_DFL;
}
