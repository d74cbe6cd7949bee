/* signal_support.h - what the tests of signals share. What fails ends the test. */
#ifndef SIGNAL_SUPPORT_H
#define SIGNAL_SUPPORT_H

#include <sys/types.h>
#include <weft.h>

/* To this process, whoever takes it. */
void send_signal(int number);

weft_signal *watch(int number);

/* A task that asks for the next arrival, and waits or has ended. told() joins it: what weft_signal_next() returned. */
weft_task *ask_for_next(weft_signal *s);
int told(weft_task *task);

/* Nothing is there to be told: a task that asks comes to wait, and is aborted. */
void expect_none(weft_signal *s);

/* Neither watched nor handled by anybody. */
int is_default(int number);

#endif
