/* model.c - what may happen: every result is judged by what is known when it comes, and the whole when it has ended. */
#include "world.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAILED = -7000 }; /* the code of task 0 */

unsigned random_step_index(const actor *a, const step *s) { return (unsigned)(s - a->w->program->step); }

/* ---- what is wrong ------------------------------------------------------------------------------------------------- */

static void print_tasks(world *w)
{
    for (unsigned i = 0; i < w->program->tasks; i++) {
        task_state *t = &w->task[i];
        if (!t->spawned)
            continue;
        fprintf(stderr, "  task %u: begun %d, in step %d, gone %d; aborted %d (sure %d), met %d/%d, panics %d, fails %d\n",
                i, t->begun, t->at, t->gone, t->aborted, t->sure, t->met, t->may_have_met, t->panics, t->fails);
    }
}

static void print_trace(const random_trace *trace, const program *p)
{
    unsigned n = trace->n < RANDOM_TRACE ? trace->n : RANDOM_TRACE;
    for (unsigned i = n > 100 ? n - 100 : 0; i < n; i++)
        fprintf(stderr, "  task %d, step %d (%s): %d\n", trace->entry[i].task, trace->entry[i].step,
                random_op_name(p->step[trace->entry[i].step].op), trace->entry[i].result);
}

/* The first one speaks; the others wait for the end. */
void random_wrong(world *w, const char *format, ...)
{
    static atomic_flag spoken = ATOMIC_FLAG_INIT;
    va_list args;
    if (atomic_flag_test_and_set(&spoken))
        for (;;)
            pause();
    if (!w->options->quiet) {
        va_start(args, format);
        fputs("random program: ", stderr);
        vfprintf(stderr, format, args);
        va_end(args);
        fprintf(stderr, "\nworkers %u, pure %d, real %d, seed of the scheduler %llu\n", w->options->workers,
                w->options->pure, w->options->real, (unsigned long long)w->options->seed);
        random_program_print(stderr, w->bytes, w->size, w->options);
        print_tasks(w);
        if (w->options->trace)
            print_trace(w->options->trace, w->program);
    }
    abort();
}

void random_trace_add(world *w, unsigned task, const step *s, int result)
{
    unsigned at = (unsigned)(s - w->program->step);
    unsigned i = w->events++;
    if (w->options->forbidden && strcmp(w->options->forbidden, random_op_name(s->op)) == 0)
        random_wrong(w, "step %u is forbidden", at);
    random_trace *trace = w->options->trace;
    if (w->options->verbose)
        fprintf(stderr, "task %u, step %u (%s): %d\n", task, at, random_op_name(s->op), result);
    if (!trace || i >= RANDOM_TRACE)
        return;
    trace->entry[i].task = (int16_t)task;
    trace->entry[i].step = (int16_t)at;
    trace->entry[i].result = result;
    trace->n = i + 1;
}

/* ---- interruptions ------------------------------------------------------------------------------------------------- */

bool random_abortable(world *w, unsigned task)
{
    for (;;) {
        const task_state *t = &w->task[task];
        if (t->aborted)
            return true;
        if (t->group < 0)
            return false;
        if (w->group[t->group].cancelled)
            return true;
        task = w->group[t->group].owner;
    }
}

static bool token_among(const atomic_int *flags, unsigned tokens)
{
    for (unsigned i = 0; i < TOKENS; i++)
        if ((tokens & 1u << i) && flags[i])
            return true;
    return false;
}

typedef enum question { CANCELLED_SURELY, CANCELLED_MAYBE, LATE } question;

static bool frame_says(const world *w, const frame *f, question q)
{
    if (q == LATE)
        return f->deadline <= weft_now();
    return f->cancelled || token_among(q == CANCELLED_SURELY ? w->token_sure : w->token_cancelled, f->tokens);
}

/* *@hidden: a shield hides what is outside of all. */
static bool frames_say(actor *a, question q, bool *hidden)
{
    *hidden = false;
    for (const body *b = a->body; b; b = b->outer) {
        for (const frame *f = b->frames; f; f = f->outer)
            if (!*hidden && f->shields >= b->shields && frame_says(a->w, f, q))
                return true;
        *hidden = *hidden || b->shields > 0;
    }
    return false;
}

before random_before(actor *a)
{
    bool hidden, cancelled = frames_say(a, CANCELLED_SURELY, &hidden);
    return (before){.interrupted = cancelled || (!hidden && a->kind == STRAND && a->w->task[a->task].sure)};
}

static void meet(actor *a)
{
    bool hidden, scope = frames_say(a, CANCELLED_MAYBE, &hidden);
    bool abort = !hidden && a->kind == STRAND && random_abortable(a->w, a->task);
    if (!scope && !abort)
        random_wrong(a->w, "task %u, step %u: WEFT_ECANCELED, but nobody has cancelled", a->task,
                     random_step_index(a, a->at));
    if (abort && !scope)
        a->w->task[a->task].met = 1;
    else if (abort)
        a->w->task[a->task].may_have_met = 1;
}

int random_after_any(actor *a, int result)
{
    bool hidden;
    if (result == WEFT_ECANCELED)
        meet(a);
    if (result == WEFT_ETIMEDOUT && !frames_say(a, LATE, &hidden))
        random_wrong(a->w, "task %u, step %u: WEFT_ETIMEDOUT, but no deadline has passed", a->task,
                     random_step_index(a, a->at));
    return result;
}

int random_after(actor *a, const before *b, int result)
{
    if (b->interrupted && result != WEFT_ECANCELED && result != WEFT_ETIMEDOUT)
        random_wrong(a->w, "task %u, step %u: %d, but it was interrupted before it began", a->task,
                     random_step_index(a, a->at), result);
    return random_after_any(a, result);
}

void random_told(actor *a, const before *b, bool told)
{
    world *w = a->w;
    bool hidden, scope = frames_say(a, CANCELLED_MAYBE, &hidden) || frames_say(a, LATE, &hidden);
    bool abort = !hidden && a->kind != THREAD && random_abortable(w, a->task);
    EXPECT(w, told || !b->interrupted);
    EXPECT(w, !told || scope || abort);
    if (told && a->kind == STRAND && abort && !scope)
        w->task[a->task].met = 1;
    else if (told && abort)
        w->task[a->task].may_have_met = 1;
}

bool random_group_cancelled(world *w, int group)
{
    return w->group[group].cancelled || random_abortable(w, w->group[group].owner);
}

/* ---- arguments ----------------------------------------------------------------------------------------------------- */

void random_task_spawning(world *w, unsigned task, task_kind kind, int group)
{
    task_state *t = &w->task[task];
    t->kind = kind;
    t->group = group;
    t->spawned = 1;
    w->live++;
    if (group >= 0)
        w->group[group].alive++;
}

static void count_out(world *w, const task_state *t)
{
    if (t->group >= 0)
        w->group[t->group].alive--;
    if (--w->live == 0)
        weft_notify_one(&w->quiet);
}

void random_task_not_spawned(world *w, unsigned task)
{
    EXPECT(w, !w->task[task].begun && !w->task[task].gone);
    w->task[task].spawned = 0;
    count_out(w, &w->task[task]);
}

void random_task_begins(world *w, unsigned task)
{
    EXPECT(w, w->task[task].begun++ == 0);
    EXPECT(w, !w->task[task].gone);
}

void random_task_gone(world *w, unsigned task)
{
    EXPECT(w, w->task[task].gone++ == 0);
    for (unsigned i = 0; i < w->program->steps; i++)
        if (w->program->step[i].op == OP_GROUP && w->group[i].owner == task)
            w->group[i].cancelled = 1;
    count_out(w, &w->task[task]);
}

int random_task_fails(world *w, unsigned task)
{
    int group = w->task[task].group;
    if (group >= 0 && w->group[group].fail_fast)
        w->group[group].cancelled = 1;
    return FAILED - (int)task;
}

/* ---- results ------------------------------------------------------------------------------------------------------- */

void *random_result_make(world *w, unsigned task)
{
    returned *r = malloc(sizeof *r);
    EXPECT(w, r);
    *r = (returned){.w = w, .task = task};
    EXPECT(w, w->task[task].results++ == 0);
    w->task[task].returns = 1;
    return r;
}

void random_result_drop(void *value)
{
    returned *r = value;
    EXPECT(r->w, r->w->task[r->task].results_gone++ == 0);
    free(r);
}

/* Codes tell whose they are. */
static unsigned whose(world *w, int task, int code, void *value)
{
    if (task >= 0)
        return (unsigned)task;
    unsigned who = code == 0 ? ((returned *)value)->task : (unsigned)(FAILED - (int)(intptr_t)value);
    EXPECT(w, who < w->program->tasks);
    return who;
}

/* Whoever ended has nobody left in the groups that it made. */
static void judge_groups_of(world *w, unsigned task)
{
    for (unsigned i = 0; i < w->program->steps; i++)
        if (w->program->step[i].op == OP_GROUP && w->group[i].owner == task)
            EXPECT(w, w->group[i].alive == 0);
}

static void judge_value(world *w, unsigned task, int code, void *value)
{
    const task_state *t = &w->task[task];
    EXPECT(w, t->begun && t->gone && !t->met && !t->panics);
    if (code == 0) {
        EXPECT(w, t->returns && !t->fails && t->stored == !value);
        EXPECT(w, !value || ((returned *)value)->task == task);
        if (value)
            random_result_drop(value);
    } else {
        EXPECT(w, t->fails && t->fails == (int)(intptr_t)value);
    }
}

void random_joined(world *w, int task, int group, int code, void *value)
{
    if (code == 0 || code == WEFT_EFAILED) {
        unsigned who = whose(w, task, code, value);
        EXPECT(w, group < 0 || w->task[who].group == group);
        judge_value(w, who, code, value);
        judge_groups_of(w, who);
        return;
    }
    JUDGE(w, code, code == WEFT_EPANIC || code == WEFT_EABORTED);
    EXPECT(w, !value);
    if (task < 0)
        return;
    const task_state *t = &w->task[task];
    EXPECT(w, t->gone);
    JUDGE(w, code, code == WEFT_EABORTED || t->panics);
    JUDGE(w, code, code == WEFT_EPANIC || random_abortable(w, (unsigned)task));
    JUDGE(w, code, code == WEFT_EPANIC || t->kind == FUTURE || !t->begun || t->met || t->may_have_met);
    judge_groups_of(w, (unsigned)task);
}

/* ---- items --------------------------------------------------------------------------------------------------------- */

enum { CHECK = 0x77656674 };

item random_item(actor *a, const step *s, unsigned chan)
{
    return (item){a->w, (uint16_t)random_step_index(a, s), (uint8_t)a->task, (uint8_t)chan, CHECK};
}

/* Returns what it was; @from to @to, or @from2 to @to2, or it is wrong. */
static void move_item(world *w, const item *i, int from, int to, int from2, int to2)
{
    int was = from;
    atomic_int *state = &w->item[i->step];
    if (atomic_compare_exchange_strong(state, &was, to))
        return;
    was = from2;
    if (atomic_compare_exchange_strong(state, &was, to2))
        return;
    random_wrong(w, "the item of step %u was %d, and should become %d or %d", i->step, was, to, to2);
}

void random_item_sending(world *w, const item *i) { move_item(w, i, UNSENT, SENDING, UNSENT, SENDING); }

void random_item_result(world *w, const item *i, int code, bool sure_closed)
{
    if (code == 0) {
        EXPECT(w, !sure_closed);
        move_item(w, i, SENDING, SENT, TAKEN, SENT_AND_TAKEN);
        return;
    }
    JUDGE(w, code, code != WEFT_ECLOSED || w->chan_closed[i->chan]);
    move_item(w, i, SENDING, REFUSED, SENDING, REFUSED);
}

void random_item_dropped(void *dropped)
{
    const item *i = dropped;
    move_item(i->world, i, SENDING, TAKEN, SENT, SENT_AND_TAKEN);
}

void random_item_received(actor *a, unsigned chan, const item *i)
{
    world *w = a->w;
    EXPECT(w, i->world == w && i->check == CHECK && i->chan == chan && i->step < w->program->steps);
    move_item(w, i, SENDING, TAKEN, SENT, SENT_AND_TAKEN);
    if (a->last[chan][i->task] > i->step && !w->chan_returned[chan])
        random_wrong(w, "task %u got the items of task %u out of order: %u, then %u", a->task, i->task,
                     a->last[chan][i->task] - 1u, i->step);
    a->last[chan][i->task] = (uint16_t)(i->step + 1);
}

/* ---- the end ------------------------------------------------------------------------------------------------------- */

static void judge_task(world *w, unsigned i)
{
    const task_state *t = &w->task[i];
    if (!t->spawned)
        return;
    if (t->gone != 1)
        random_wrong(w, "task %u: its argument has gone %d times", i, t->gone);
    if (t->results != t->results_gone)
        random_wrong(w, "task %u: %d results made, %d gone", i, t->results, t->results_gone);
}

void random_judge_end(world *w)
{
    for (unsigned i = 0; i < w->program->tasks; i++)
        judge_task(w, i);
    for (unsigned i = 0; i < w->program->steps; i++) {
        if (w->item[i] == SENT)
            random_wrong(w, "the item of step %u is lost", i);
        if (w->deferred[i].waits)
            random_wrong(w, "the deferred call of step %u was not made", i);
    }
    for (unsigned i = 0; i < SEMAPHORES; i++)
        EXPECT(w, weft_semaphore_available(&w->semaphore[i]) == w->permits[i]);
    EXPECT(w, w->met_all == w->met_first * (int)w->barrier.parties_);
    EXPECT(w, w->locals == w->locals_gone);
    EXPECT(w, w->storages == w->storages_gone);
    EXPECT(w, w->blocks == 0);
}
