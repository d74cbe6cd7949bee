/* groups.c - "/groups.json": tasks of the same kind that wait at the same thing are one row, so 10,000 connections are one.
 *
 * A group is a kind, a name without its numbers, what is waited for, and a state. There are at most MOST of them; tasks that would begin another are only counted. */
#include <console/console.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256, PLACES = 1024 };

typedef struct group {
    char name[64];
    weft_task_kind kind;
    weft_task_state_t state;
    const char *waits_for;
    wf_console_suspicion worst;
    size_t count, suspicious, aborted;
    int64_t longest, oldest;
    uint64_t sample; /* the one to look at: the worst, and of these the one that is so for longest */
    int64_t sample_since;
    char sample_name[64];
} group;

typedef struct table {
    wf_console *c;
    const wf_console_query *q;
    size_t visited, n, others;
    unsigned places[PLACES]; /* the number of a group, from 1; 0: free */
    group groups[MOST];
    wf_console_running running;
} table;

static uint64_t hash(uint64_t seed, const char *text)
{
    for (; *text; text++)
        seed = (seed ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return seed;
}

static bool is_of(const group *g, const char *name, const weft_task_info *t)
{
    return g->kind == t->kind && g->state == t->state && strcmp(g->name, name) == 0 &&
           strcmp(g->waits_for, t->waits_for) == 0;
}

/* NULL: there are too many. */
static group *find(table *all, const weft_task_info *t)
{
    char name[64];
    wf_console_pattern(name, t->name);
    uint64_t seed = UINT64_C(0xcbf29ce484222325) + (uint64_t)t->kind * 8 + (uint64_t)t->state;
    size_t at = (size_t)(hash(hash(seed, name), t->waits_for) % PLACES);
    for (; all->places[at]; at = (at + 1) % PLACES)
        if (is_of(&all->groups[all->places[at] - 1], name, t))
            return &all->groups[all->places[at] - 1];
    if (all->n == MOST)
        return NULL;
    group *g = &all->groups[all->n++];
    all->places[at] = (unsigned)all->n;
    memcpy(g->name, name, sizeof name);
    g->kind = t->kind;
    g->state = t->state;
    g->waits_for = t->waits_for;
    return g;
}

static void count(group *g, const weft_task_info *t)
{
    wf_console_suspicion s = wf_console_suspect(t);
    if (g->count++ == 0 || s > g->worst || (s == g->worst && t->since > g->sample_since)) {
        g->sample = t->id;
        g->sample_since = t->since;
        memcpy(g->sample_name, t->name, sizeof g->sample_name);
        g->worst = s;
    }
    g->suspicious += s != WF_CONSOLE_FINE;
    g->aborted += t->aborted != 0;
    g->longest = t->since > g->longest ? t->since : g->longest;
    g->oldest = t->age > g->oldest ? t->age : g->oldest;
}

static int visit(void *arg, const weft_task_info *info)
{
    table *all = arg;
    if (all->visited++ % WF_CONSOLE_STOP_EVERY == 0 && weft_token_is_cancelled(all->c->stop))
        return 1;
    wf_console_running_note(&all->running, info);
    if (!wf_console_matches(all->q, info))
        return 0;
    group *g = find(all, info);
    if (g)
        count(g, info);
    else
        all->others++;
    return 0;
}

/* What is suspicious comes first, then what is many. */
static int compare(const void *left, const void *right)
{
    const group *a = left, *b = right;
    if (a->worst != b->worst)
        return a->worst > b->worst ? -1 : 1;
    if (a->worst != WF_CONSOLE_FINE && a->sample_since != b->sample_since)
        return a->sample_since > b->sample_since ? -1 : 1;
    return a->count != b->count ? (a->count > b->count ? -1 : 1) : strcmp(a->name, b->name);
}

static json_t *row(const group *g)
{
    char name[WF_CONSOLE_WORD], sample[WF_CONSOLE_WORD];
    wf_console_mend(name, sizeof name, g->name);
    wf_console_mend(sample, sizeof sample, g->sample_name);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "name", name, "kind",
                     wf_console_kind_name(g->kind), "state", weft_task_state_name(g->state), "waits_for", g->waits_for,
                     "count", (json_int_t)g->count, "suspects", (json_int_t)g->suspicious, "aborted",
                     (json_int_t)g->aborted, "longest_ns", (json_int_t)g->longest, "oldest_ns", (json_int_t)g->oldest,
                     "sample", (json_int_t)g->sample, "sample_ns", (json_int_t)g->sample_since, "sample_name", sample,
                     "suspicious", wf_console_suspicion_text(g->worst));
}

static json_t *rows(const table *all)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < all->n; i++)
        if (json_array_append_new(list, row(&all->groups[i])) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static int write_table(const table *all, int64_t took, wf_console_text *out)
{
    json_t *root = json_pack("{s:I, s:I, s:I}", "tasks", (json_int_t)all->visited, "others", (json_int_t)all->others,
                             "took_ns", (json_int_t)took);
    if (json_object_set_new(root, "groups", rows(all)) < 0 ||
        json_object_set_new(root, "running", wf_console_running_json(&all->running)) < 0) {
        json_decref(root);
        return WEFT_ENOMEM;
    }
    return wf_console_json_write(root, out);
}

int wf_console_groups(wf_console *c, const wf_console_query *q, wf_console_text *out)
{
    table *all = calloc(1, sizeof *all);
    if (!all)
        return WEFT_ENOMEM;
    all->c = c;
    all->q = q;
    int64_t began = weft_now();
    int err = weft_tasks_visit(c->shown, visit, all);
    if (err == 0) {
        qsort(all->groups, all->n, sizeof all->groups[0], compare);
        err = write_table(all, weft_now() - began, out);
    } else if (err > 0) {
        err = WEFT_ECANCELED;
    }
    free(all);
    return err;
}
