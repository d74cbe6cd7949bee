/* local.c - values that belong to tasks.
 *
 * A task has a short list of cells, one per variable that it has set or inherited. A value is shared by reference between
 * parent and child when the variable says so; the last holder drops it. */
#include <runtime/runtime.h>
#include <stdlib.h>

typedef struct value {
    wf_a32 holders;
    void *data;
    void (*drop)(void *data);
} value;

struct wf_cells {
    const weft_local *local;
    value *value;
    struct wf_cells *next;
};

static void value_unref(value *v)
{
    if (wf_sub_acqrel(&v->holders, 1) != 1)
        return;
    wf_call_back(v->drop, v->data);
    free(v);
}

static struct wf_cells *cell_new(const weft_local *local, value *v, struct wf_cells *next)
{
    struct wf_cells *cell = malloc(sizeof *cell);
    if (cell)
        *cell = (struct wf_cells){.local = local, .value = v, .next = next};
    return cell;
}

void wf_cells_free(struct wf_cells *cells)
{
    for (struct wf_cells *next; cells; cells = next) {
        next = cells->next;
        value_unref(cells->value);
        free(cells);
    }
}

struct wf_cells *wf_cells_inherit(const struct wf_cells *parent, bool *out_of_memory)
{
    struct wf_cells *cells = NULL;
    for (; parent; parent = parent->next) {
        if (!parent->local->inherit)
            continue;
        struct wf_cells *cell = cell_new(parent->local, parent->value, cells);
        if (!cell) {
            wf_cells_free(cells);
            *out_of_memory = true;
            return NULL;
        }
        wf_add_rlx(&cell->value->holders, 1);
        cells = cell;
    }
    return cells;
}

static weft_task *holder(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec && exec->callbacks == 0 ? exec->task : NULL;
}

static struct wf_cells *find(const weft_task *task, const weft_local *local)
{
    struct wf_cells *cell = task->extra ? task->extra->cells : NULL;
    while (cell && cell->local != local)
        cell = cell->next;
    return cell;
}

void *weft_local_get(const weft_local *local)
{
    weft_task *task = holder();
    struct wf_cells *cell = task && local ? find(task, local) : NULL;
    return cell ? cell->value->data : NULL;
}

static value *value_new(const weft_local *local, void *data)
{
    value *v = malloc(sizeof *v);
    if (v)
        *v = (value){.holders = {1}, .data = data, .drop = local->drop};
    return v;
}

int weft_local_set(const weft_local *local, void *data)
{
    weft_task *task = holder();
    if (!task || !local)
        return WEFT_EINVAL;
    value *v = value_new(local, data);
    if (!v)
        return WEFT_ENOMEM;
    struct wf_cells *cell = find(task, local);
    if (cell) {
        value *old = cell->value;
        cell->value = v;
        value_unref(old);
        return 0;
    }
    wf_extra *extra = wf_task_extra(task);
    cell = extra ? cell_new(local, v, extra->cells) : NULL;
    if (!cell) {
        free(v);
        return WEFT_ENOMEM;
    }
    extra->cells = cell;
    return 0;
}
