/* workers.c - "/workers.json" and "/metrics": the counters, of all workers together and of each. */
#include <console/console.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef struct field {
    const char *name;
    size_t at; /* of 8 bytes */
} field;

#define TOTAL(name)                           \
    {                                         \
#name, offsetof(weft_metrics_t, name) \
    }
#define OF_ONE(name)                                 \
    {                                                \
#name, offsetof(weft_worker_metrics_t, name) \
    }
#define COUNT(fields) (sizeof(fields) / sizeof *(fields))

static const field totals[] = {
    TOTAL(spawned), TOTAL(completed), TOTAL(active),      TOTAL(peak),          TOTAL(polls),   TOTAL(steals),
    TOTAL(parks),   TOTAL(rescues),   TOTAL(stacks_live), TOTAL(stacks_cached), TOTAL(aborted), TOTAL(panicked),
    TOTAL(failed),  TOTAL(spills),    TOTAL(wakes_sent),  TOTAL(mailed),        TOTAL(busy),    TOTAL(idle),
    TOTAL(queued),  TOTAL(timers),    TOTAL(sources)};
static const field of_one[] = {OF_ONE(spawned), OF_ONE(completed), OF_ONE(polls),      OF_ONE(steals),
                               OF_ONE(parks),   OF_ONE(rescues),   OF_ONE(spills),     OF_ONE(wakes_sent),
                               OF_ONE(mailed),  OF_ONE(busy),      OF_ONE(idle),       OF_ONE(queued),
                               OF_ONE(timers),  OF_ONE(polling),   OF_ONE(polling_ns), OF_ONE(seen_ns)};

/* False without memory; @object may be NULL. */
static bool put(json_t *object, const field *fields, size_t n, const void *from)
{
    int err = object ? 0 : -1;
    for (size_t i = 0; i < n; i++) {
        uint64_t value;
        memcpy(&value, (const char *)from + fields[i].at, sizeof value);
        err |= json_object_set_new(object, fields[i].name, json_integer((json_int_t)value));
    }
    return err == 0;
}

static json_t *one_worker(weft_runtime *rt, unsigned worker)
{
    weft_worker_metrics_t m = {0};
    if (weft_worker_metrics(rt, worker, &m) < 0)
        return NULL;
    json_t *one = json_pack("{s:b, s:i}", "parked", m.parked != 0, "thread", m.thread);
    if (put(one, of_one, COUNT(of_one), &m))
        return one;
    json_decref(one);
    return NULL;
}

static json_t *each_worker(weft_runtime *rt, unsigned n)
{
    json_t *all = json_array();
    for (unsigned i = 0; all && i < n; i++)
        if (json_array_append_new(all, one_worker(rt, i)) < 0) {
            json_decref(all);
            all = NULL;
        }
    return all;
}

static json_t *latency(const weft_latency *l)
{
    json_t *all = json_array();
    int err = all ? 0 : -1;
    for (int i = 0; i < WEFT_LATENCY_BUCKETS; i++)
        err |= json_array_append_new(all, json_integer((json_int_t)l->buckets[i]));
    if (err == 0)
        return all;
    json_decref(all);
    return NULL;
}

/* What the runtime is, for the head of the page. Workers are awake or asleep from its beginning on. */
static json_t *about(const weft_metrics_t *m)
{
    char program[WF_CONSOLE_WORD];
    wf_console_mend(program, sizeof program, program_invocation_short_name);
    return json_pack("{s:s, s:i, s:s, s:I, s:i}", "program", program, "pid", (int)getpid(), "version",
                     WEFT_VERSION_STRING, "uptime_ns", (json_int_t)((m->busy + m->idle) / (m->workers ? m->workers : 1)),
                     "workers_parked", (int)m->workers_parked);
}

int wf_console_workers(wf_console *c, const wf_console_query *q, wf_console_text *out)
{
    weft_metrics_t m = {0};
    (void)q;
    int err = weft_metrics(c->shown, &m);
    if (err < 0)
        return err;
    json_t *root = about(&m), *all = json_object();
    bool complete = put(all, totals, COUNT(totals), &m);
    if (json_object_set_new(root, "totals", all) < 0 || !complete ||
        json_object_set_new(root, "wake_to_poll", latency(&m.wake_to_poll)) < 0 ||
        json_object_set_new(root, "workers", each_worker(c->shown, weft_runtime_workers(c->shown))) < 0 ||
        json_object_set_new(root, "now_ns", json_integer(weft_now())) < 0) {
        json_decref(root);
        return WEFT_ENOMEM;
    }
    return wf_console_json_write(root, out);
}

int wf_console_metrics(wf_console *c, const wf_console_query *q, wf_console_text *out)
{
    FILE *file = wf_console_text_file(out);
    (void)q;
    return file ? wf_console_text_close(out, file, weft_metrics_print(c->shown, file)) : WEFT_ENOMEM;
}
