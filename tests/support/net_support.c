/* net_support.c - a runtime that must come out even, connections over loopback, tasks that wait on them. */
#include "net_support.h"

#include <stdlib.h>
#include <support/process.h>
#include <support/test.h>
#include <sys/socket.h>

/* ---- runtimes and tasks --------------------------------------------------------------------------------------- */

static void *nothing(void *arg) { return arg; }

weft_runtime *runtime(unsigned workers)
{
    weft_options o = WEFT_OPTIONS_INIT;
    weft_runtime *rt;
    o.workers = workers;
    cr_assert_eq(weft_runtime_create(&rt, &o), 0);
    return rt;
}

void run(unsigned workers, weft_fn fn, void *arg)
{
    weft_options o = WEFT_OPTIONS_INIT;
    o.workers = workers;
    cr_assert_eq(weft_run_with(&o, nothing, NULL, NULL), 0);
    int before = open_fds();
    cr_assert_eq(weft_run_with(&o, fn, arg, NULL), 0);
    cr_assert_eq(open_fds(), before);
}

void await_idle(weft_task *task)
{
    int64_t deadline = weft_now() + PATIENCE;
    while (weft_task_state(task) != WEFT_TASK_IDLE) {
        cr_assert_lt(weft_now(), deadline, "it never waits; it is %s", weft_task_state_name(weft_task_state(task)));
        weft_yield();
    }
}

weft_task *start(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    return task;
}

void join(weft_task *task) { cr_assert_eq(weft_join(task, NULL), 0); }

/* ---- connections ---------------------------------------------------------------------------------------------- */

weft_listener *listen_any(char text[WEFT_ADDR_TEXT])
{
    weft_listener *l;
    weft_addr addr;
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    cr_assert_neq(weft_addr_port(&addr), 0);
    weft_addr_format(&addr, text, WEFT_ADDR_TEXT);
    return l;
}

void pair(weft_stream **a, weft_stream **b)
{
    char text[WEFT_ADDR_TEXT];
    weft_listener *l = listen_any(text);
    cr_assert_eq(weft_tcp_connect(a, text, NULL), 0);
    cr_assert_eq(weft_accept(b, l), 0);
    weft_listener_close(l);
}

void shrink(weft_stream *s)
{
    int size = 16 * 1024;
    cr_assert_eq(setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    cr_assert_eq(setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
}

void reset_on_close(weft_stream *s)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    cr_assert_eq(setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
}

/* ---- waiters -------------------------------------------------------------------------------------------------- */

void *wait_read(void *arg)
{
    waiter *w = arg;
    w->result = weft_read(w->stream, w->got, sizeof w->got);
    return NULL;
}

void *wait_write(void *arg)
{
    waiter *w = arg;
    size_t size = 16 << 20;
    char *bytes = calloc(1, size);
    w->result = weft_write(w->stream, bytes, size);
    free(bytes);
    return NULL;
}

void *wait_accept(void *arg)
{
    waiter *w = arg;
    w->result = weft_accept(&w->stream, w->listener);
    return NULL;
}
