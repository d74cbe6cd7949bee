/* labour.c - what soak_server does between a frame and its echo: one of each kind of thing that a handler may do. */
#include "server.h"
#include <string.h>

typedef struct work {
    const frame *f;
    unsigned char *bytes;
    weft_stream *reader, *writer;
} work;

static int is_interruption(int code) { return code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT; }

static void *sum_up(void *arg)
{
    work *w = arg;
    if (frame_sum(w->bytes, w->f->size) != w->f->sum)
        atomic_fetch_add(&counted.wrong, 1);
    return NULL;
}

static int wait_in_scopes(const frame *f)
{
    weft_scope outer, inner;
    weft_scope_enter(&outer, (1 + f->argument) * WEFT_MS);
    weft_scope_enter(&inner, (1 + f->argument % 5) * 3 * WEFT_MS);
    int woken = weft_sleep(10 * WEFT_SEC);
    int inside = weft_scope_leave(&inner), outside = weft_scope_leave(&outer);
    if (!is_interruption(woken))
        atomic_fetch_add(&counted.wrong, 1);
    atomic_fetch_add(&counted.scopes, (unsigned long)((inside != 0) + (outside != 0)));
    return weft_is_cancelled() ? WEFT_ECANCELED : 0;
}

static void *child(void *arg)
{
    const frame *f = arg;
    weft_sleep(f->argument * WEFT_MS);
    return NULL;
}

/* Until one is done, all, or none. */
static int raise_children(const frame *f)
{
    weft_group *group;
    int err = weft_group_create(&group);
    for (int i = 0; err == 0 && i < 4; i++)
        err = weft_group_spawn(group, child, (void *)f);
    if (err == 0 && f->argument % 3 > 0)
        err = f->argument % 3 == 1 ? weft_group_next(group, NULL) : weft_group_wait(group);
    atomic_fetch_add(&counted.groups, weft_group_running(group) > 0);
    weft_group_close(group);
    return is_interruption(err) ? err : 0;
}

/* One that has begun, one that has perhaps not, and a job. */
static int abort_own(work *w)
{
    weft_task *tasks[3] = {NULL, NULL, NULL};
    frame forever = {.argument = 60000};
    (void)weft_spawn(&tasks[0], child, &forever);
    int err = weft_yield();
    (void)weft_spawn(&tasks[1], child, &forever);
    (void)weft_spawn_blocking(&tasks[2], sum_up, w);
    for (int i = 0; i < 3; i++)
        weft_task_close(tasks[i]);
    atomic_fetch_add(&counted.aborts, 3);
    return err;
}

static void *feed(void *arg)
{
    work *w = arg;
    weft_write(w->writer, w->bytes, w->f->size);
    return NULL;
}

/* 0, or an interruption. */
static int compare_all(work *w)
{
    unsigned char buf[4096];
    uint32_t got = 0;
    ssize_t n;
    while (got < w->f->size && (n = weft_read(w->reader, buf, sizeof buf)) != 0) {
        if (n < 0)
            return (int)n;
        if (got + (uint32_t)n > w->f->size || memcmp(buf, w->bytes + got, (size_t)n) != 0)
            break;
        got += (uint32_t)n;
    }
    atomic_fetch_add(&counted.wrong, got != w->f->size);
    return 0;
}

static int send_through_pipe(work *w)
{
    weft_task *feeder;
    int err = weft_pipe(&w->reader, &w->writer);
    if (err < 0)
        return err;
    if ((err = weft_spawn(&feeder, feed, w)) == 0) {
        err = compare_all(w);
        weft_task_close(feeder); /* after an interruption it may still be writing, or not have begun */
    }
    weft_close(w->reader);
    weft_close(w->writer);
    return err;
}

int labour(const frame *f, unsigned char *bytes)
{
    work w = {.f = f, .bytes = bytes};
    switch (f->op) {
    case OP_BLOCKING:
        return weft_blocking(sum_up, &w, NULL);
    case OP_SLEEP:
        return weft_sleep(f->argument * WEFT_MS);
    case OP_DEADLINE:
        return wait_in_scopes(f);
    case OP_GROUP:
        return raise_children(f);
    case OP_ABORT:
        return abort_own(&w);
    case OP_PIPE:
        return send_through_pipe(&w);
    default:
        sum_up(&w);
        return 0;
    }
}
