/* run.c - a process from start to end: what it reads is fed to it, what it writes is collected, all at the same time. */
#include <base/common.h>
#include <stdlib.h>
#include <string.h>
#include <weft/group.h>
#include <weft/io.h>
#include <weft/os.h>
#include <weft/time.h>

typedef struct sink {
    weft_stream *from;
    char *data;
    size_t size, room, limit;
} sink;

typedef struct feed {
    weft_stream *to;
    const void *data;
    size_t size;
} feed;

static int grow(sink *s)
{
    enum { FIRST = 4096 };
    size_t room = s->room ? s->room * 2 : FIRST;
    char *data = realloc(s->data, room + 1);
    if (!data)
        return WEFT_ENOMEM;
    s->data = data;
    s->room = room;
    return 0;
}

static void *collect(void *arg)
{
    sink *s = arg;
    for (;;) {
        if (s->size == s->room && grow(s) < 0)
            return weft_fail(WEFT_ENOMEM);
        ssize_t n = weft_read(s->from, s->data + s->size, s->room - s->size);
        if (n <= 0)
            return n < 0 ? weft_fail((int)n) : NULL;
        s->size += (size_t)n;
        if (s->size > s->limit)
            return weft_fail(WEFT_EMSGSIZE);
    }
}

/* A process that does not read all of it is no failure. Anything else is: it would take what it got for all. */
static void *write_input(void *arg)
{
    feed *f = arg;
    ssize_t n = weft_write(f->to, f->data, f->size);
    if (n < 0 && n != WEFT_EPIPE && n != WEFT_ECONNRESET)
        return weft_fail((int)n);
    weft_close_write(f->to);
    return NULL;
}

/* Of the code that starting one ended with, and of what the group says. One that was cancelled says no more than that: why the caller is
 * interrupted, the next await knows; and a start that failed by itself was the reason for cancelling. */
static int reason(int code, int why)
{
    if (code < 0 && code != WEFT_ECANCELED)
        return code;
    if (why < 0)
        code = why;
    why = code == WEFT_ECANCELED || code == WEFT_EABORTED ? weft_sleep(0) : 0;
    return why < 0 ? why : code;
}

/* All three at once: it may not read before somebody takes what it writes. One may have failed before the last was there. */
static int converse(feed *in, sink *out, sink *err)
{
    weft_group *group;
    weft_group_options options = {.fail_fast = 1};
    int code = weft_group_create_with(&group, &options);
    if (code < 0)
        return code;
    if (in->to)
        code = weft_group_spawn(group, write_input, in);
    if (code == 0)
        code = weft_group_spawn(group, collect, out);
    if (code == 0)
        code = weft_group_spawn(group, collect, err);
    if (code < 0)
        weft_group_cancel(group); /* else the process may wait for ever for one who takes what it writes */
    int why = weft_group_wait(group);
    weft_group_close(group);
    return reason(code, why);
}

static void hand_out(weft_output *output, sink *out, sink *err)
{
    if (out->data)
        out->data[out->size] = 0;
    if (err->data)
        err->data[err->size] = 0;
    output->out = out->data;
    output->out_size = out->size;
    output->err = err->data;
    output->err_size = err->size;
}

static int run(weft_output *output, weft_process *process, const weft_process_options *o)
{
    enum { LIMIT = 64 * 1024 * 1024 };
    size_t limit = o->output_limit ? o->output_limit : LIMIT;
    feed in = {.to = weft_process_stdin(process), .data = o->input, .size = o->input_size};
    sink out = {.from = weft_process_stdout(process), .limit = limit};
    sink err = {.from = weft_process_stderr(process), .limit = limit};
    int code = converse(&in, &out, &err);
    int status = code < 0 ? code : weft_process_wait(process);
    weft_close(in.to);
    weft_close(out.from);
    weft_close(err.from);
    hand_out(output, &out, &err);
    output->status = status < 0 ? 0 : status;
    return status < 0 ? status : 0;
}

void weft_output_free(weft_output *output)
{
    if (!output)
        return;
    free(output->out);
    free(output->err);
    *output = (weft_output){0};
}

int weft_process_run_sized(weft_output *output, const weft_process_options *options, size_t size)
{
    weft_process_options o = WEFT_PROCESS_OPTIONS_INIT;
    weft_process *process;
    if (!output)
        return WEFT_EINVAL;
    *output = (weft_output){0};
    if (options)
        memcpy(&o, options, WF_MIN(size, sizeof o));
    if (!o.input && o.input_size > 0)
        return WEFT_EINVAL;
    o.in = o.input ? WEFT_STDIO_PIPE : o.in;
    o.out = o.err = WEFT_STDIO_PIPE;
    int err = weft_process_spawn(&process, &o);
    if (err < 0)
        return err;
    err = run(output, process, &o);
    weft_process_close(process); /* kills it if it still runs */
    if (err < 0)
        weft_output_free(output);
    return err;
}
