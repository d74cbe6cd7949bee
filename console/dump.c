/* dump.c - "/dump" and "/task": on a thread of the pool, as finding the names of functions may take a second, in which the page goes on. */
#include <console/console.h>

typedef struct job {
    wf_console *c;
    uint64_t id; /* 0: all */
    FILE *file;
    int err;
} job;

static void *dump(void *arg)
{
    job *j = arg;
    weft_watchdog_ignore_thread(); /* without memory for that a deadlock is found later, no more */
    j->err = j->id ? weft_dump_task(j->c->shown, j->id, j->file) : weft_dump(j->c->shown, j->file);
    return NULL;
}

static int dump_to(wf_console *c, uint64_t id, wf_console_text *out)
{
    job j = {.c = c, .id = id, .file = wf_console_text_file(out)};
    if (!j.file)
        return WEFT_ENOMEM;
    c->dumping = true;
    int err = weft_blocking(dump, &j, NULL);
    c->dumping = false;
    return wf_console_text_close(out, j.file, err < 0 ? err : j.err);
}

int wf_console_dump(wf_console *c, const wf_console_query *q, wf_console_text *out)
{
    (void)q;
    return dump_to(c, 0, out);
}

int wf_console_dump_task(wf_console *c, const wf_console_query *q, wf_console_text *out)
{
    return q->id ? dump_to(c, q->id, out) : WEFT_ENOENT;
}
