/* tasks.c - "/tasks.json": the rows that come first in an order, of however many tasks.
 *
 * All are visited once. Those that come first so far are in a heap, the last of them on top: it goes when a better one comes. So a million tasks take the
 * memory of one page of them, and only what is shown is formatted. */
#include <console/console.h>
#include <stdlib.h>
#include <string.h>

typedef struct list {
    wf_console *c;
    const wf_console_query *q;
    size_t visited, matched, n, room;
    unsigned *heap; /* places in rows */
    weft_task_info *rows;
    wf_console_running running;
} list;

/* ---- which comes first -------------------------------------------------------------------------------------------- */

static int descending(int64_t a, int64_t b) { return (a < b) - (a > b); }

static int by_suspicion(const weft_task_info *a, const weft_task_info *b)
{
    int by = descending((int64_t)wf_console_suspect(a), (int64_t)wf_console_suspect(b));
    return by ? by : descending(a->since, b->since);
}

static int compare(wf_console_sort sort, const weft_task_info *a, const weft_task_info *b)
{
    switch (sort) {
    case WF_CONSOLE_BY_SUSPICION:
        return by_suspicion(a, b);
    case WF_CONSOLE_BY_AGE:
        return descending(a->age, b->age);
    case WF_CONSOLE_BY_SINCE:
        return descending(a->since, b->since);
    case WF_CONSOLE_BY_NAME:
        return strcmp(a->name, b->name);
    case WF_CONSOLE_BY_STATE:
        return descending((int64_t)a->state, (int64_t)b->state);
    case WF_CONSOLE_BY_WAIT:
        return strcmp(a->waits_for, b->waits_for);
    case WF_CONSOLE_BY_ID:
        break;
    }
    return 0;
}

/* Of equals the older one. */
static bool is_before(const list *l, const weft_task_info *a, const weft_task_info *b)
{
    int by = compare(l->q->sort, a, b);
    return by != 0 ? by < 0 : a->id < b->id;
}

/* ---- the heap ------------------------------------------------------------------------------------------------------ */

static bool above(const list *l, size_t i, size_t j)
{
    return is_before(l, &l->rows[l->heap[j]], &l->rows[l->heap[i]]);
}

static void swap(list *l, size_t i, size_t j)
{
    unsigned was = l->heap[i];
    l->heap[i] = l->heap[j];
    l->heap[j] = was;
}

static void rise(list *l, size_t i)
{
    for (; i > 0 && above(l, i, (i - 1) / 2); i = (i - 1) / 2)
        swap(l, i, (i - 1) / 2);
}

static void sink(list *l, size_t n)
{
    for (size_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && above(l, child + 1, child);
        if (!above(l, child, i))
            return;
        swap(l, i, child);
    }
}

static void keep(list *l, const weft_task_info *info)
{
    if (l->n < l->room) {
        l->rows[l->n] = *info;
        l->heap[l->n] = (unsigned)l->n;
        rise(l, l->n++);
    } else if (l->room > 0 && is_before(l, info, &l->rows[l->heap[0]])) {
        l->rows[l->heap[0]] = *info;
        sink(l, l->n);
    }
}

/* The last ones go to the end, one after the other. */
static void sort(list *l)
{
    for (size_t n = l->n; n > 1; n--) {
        swap(l, 0, n - 1);
        sink(l, n - 1);
    }
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

static int visit(void *arg, const weft_task_info *info)
{
    list *l = arg;
    if (l->visited++ % WF_CONSOLE_STOP_EVERY == 0 && weft_token_is_cancelled(l->c->stop))
        return 1;
    wf_console_running_note(&l->running, info);
    if (!wf_console_matches(l->q, info))
        return 0;
    l->matched++;
    keep(l, info);
    return 0;
}

static json_t *row(const weft_task_info *t)
{
    char name[WF_CONSOLE_WORD], object[WF_CONSOLE_WORD], raw[128] = "";
    wf_console_mend(name, sizeof name, t->name);
    weft_task_info_object(t, raw, sizeof raw);
    wf_console_mend(object, sizeof object, raw);
    return json_pack("{s:I, s:s, s:s, s:s, s:i, s:b, s:b, s:I, s:I, s:s, s:s, s:s}", "id", (json_int_t)t->id, "name",
                     name, "kind", wf_console_kind_name(t->kind), "state", weft_task_state_name(t->state), "worker",
                     t->worker, "pinned", t->pinned != 0, "aborted", t->aborted != 0, "age_ns", (json_int_t)t->age,
                     "since_ns", (json_int_t)t->since, "waits_for", t->waits_for, "object", object, "suspicious",
                     wf_console_suspicion_text(wf_console_suspect(t)));
}

static json_t *rows(const list *l)
{
    json_t *all = json_array();
    for (size_t i = l->q->offset; all && i < l->n; i++)
        if (json_array_append_new(all, row(&l->rows[l->heap[i]])) < 0) {
            json_decref(all);
            all = NULL;
        }
    return all;
}

static int write_list(const list *l, int64_t took, wf_console_text *out)
{
    json_int_t last_page = (json_int_t)l->c->most_tasks * WF_CONSOLE_PAGES;
    json_t *root = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "tasks", (json_int_t)l->visited, "matched",
                             (json_int_t)l->matched, "offset", (json_int_t)l->q->offset, "limit",
                             (json_int_t)l->q->limit, "most_offset", last_page, "took_ns", (json_int_t)took);
    if (json_object_set_new(root, "rows", rows(l)) < 0 ||
        json_object_set_new(root, "running", wf_console_running_json(&l->running)) < 0) {
        json_decref(root);
        return WEFT_ENOMEM;
    }
    return wf_console_json_write(root, out);
}

int wf_console_tasks(wf_console *c, const wf_console_query *q, wf_console_text *out)
{
    list *l = calloc(1, sizeof *l);
    if (!l)
        return WEFT_ENOMEM;
    *l = (list){.c = c, .q = q, .room = q->limit ? q->offset + q->limit : 0};
    l->rows = malloc((l->room + 1) * sizeof *l->rows);
    l->heap = malloc((l->room + 1) * sizeof *l->heap);
    int64_t began = weft_now();
    int err = l->rows && l->heap ? weft_tasks_visit(c->shown, visit, l) : WEFT_ENOMEM;
    sort(l);
    if (err >= 0)
        err = err > 0 ? WEFT_ECANCELED : write_list(l, weft_now() - began, out);
    free(l->heap);
    free(l->rows);
    free(l);
    return err;
}
