/* net_support.h - what the tests of TCP share. Everything is on 127.0.0.1; what fails ends the test. */
#ifndef NET_SUPPORT_H
#define NET_SUPPORT_H

#include <support/until.h>
#include <weft.h>

/* ---- runtimes and tasks --------------------------------------------------------------------------------------- */

/* As the root strand of a runtime that leaves no descriptor behind. The first runtime of a process makes what stays. */
void run(unsigned workers, weft_fn fn, void *arg);

/* One that the test enters and destroys by itself. */
weft_runtime *runtime(unsigned workers);

weft_task *start(weft_fn fn, void *arg);
void join(weft_task *task);

/* Until @task waits for something: it is idle and stays so while nobody gives it a reason. */
void await_idle(weft_task *task);

/* ---- connections ---------------------------------------------------------------------------------------------- */

/* At a port of the kernel's choice; @text: its address, to connect to. */
weft_listener *listen_any(char text[WEFT_ADDR_TEXT]);

/* Two ends of one connection. */
void pair(weft_stream **a, weft_stream **b);

/* So that little is enough to make a writer wait. */
void shrink(weft_stream *s);

/* Closing it then resets the connection, which also leaves no port in TIME_WAIT. */
void reset_on_close(weft_stream *s);

/* ---- waiters -------------------------------------------------------------------------------------------------- */

/* Bodies of tasks that wait in one operation, and what it returned to them. */
typedef struct waiter {
    weft_stream *stream;
    weft_listener *listener;
    ssize_t result;
    char got[8];
} waiter;

void *wait_read(void *arg);
/* 16 MiB: more than the buffers of both ends together, which were shrunk. */
void *wait_write(void *arg);
void *wait_accept(void *arg);

#endif
