/* suspicion.c - what one would want to know of a task at first sight: does it hold up others, of what kind is it, was it asked for. */
#include <console/console.h>
#include <ctype.h>
#include <string.h>

wf_console_suspicion wf_console_suspect(const weft_task_info *t)
{
    if (t->kind == WEFT_KIND_BLOCKING)
        return WF_CONSOLE_FINE; /* on a thread of its own it may take as long as it likes */
    if (t->state == WEFT_TASK_RUNNING && t->since > 100 * WEFT_MS)
        return WF_CONSOLE_RUNS_LONG;
    if (t->state == WEFT_TASK_SCHEDULED && t->since > WEFT_SEC)
        return WF_CONSOLE_QUEUES_LONG;
    bool locked = strncmp(t->waits_for, "mutex", 5) == 0 || strncmp(t->waits_for, "rwlock", 6) == 0;
    return t->state == WEFT_TASK_IDLE && locked && t->since > WEFT_SEC ? WF_CONSOLE_LOCKED_LONG : WF_CONSOLE_FINE;
}

const char *wf_console_suspicion_text(wf_console_suspicion s)
{
    static const char *const texts[] = {"", "has been queued for long", "has waited long for a lock",
                                        "has held its worker for long"};
    return texts[s];
}

const char *wf_console_kind_name(weft_task_kind kind)
{
    static const char *const names[] = {"strand", "future", "blocking"};
    return (unsigned)kind < 3 ? names[kind] : "?";
}

void wf_console_pattern(char out[64], const char *name)
{
    size_t n = 0;
    for (; *name; name++) {
        bool number = isdigit((unsigned char)*name);
        if (!number || n == 0 || out[n - 1] != '#')
            out[n++] = number ? '#' : *name;
    }
    out[n] = '\0';
}

bool wf_console_matches(const wf_console_query *q, const weft_task_info *t)
{
    char pattern[64], mended[WF_CONSOLE_WORD];
    if ((q->state && strcmp(q->state, weft_task_state_name(t->state)) != 0) ||
        (q->wait && strcmp(q->wait, t->waits_for) != 0) ||
        (q->kind && strcmp(q->kind, wf_console_kind_name(t->kind)) != 0) || (q->name && !strcasestr(t->name, q->name)))
        return false;
    if (!q->pattern)
        return true;
    wf_console_pattern(pattern, t->name);
    wf_console_mend(mended, sizeof mended, pattern); /* as it was told */
    return strcmp(q->pattern, mended) == 0;
}

void wf_console_running_note(wf_console_running *r, const weft_task_info *t)
{
    if (t->state == WEFT_TASK_RUNNING && t->kind != WEFT_KIND_BLOCKING && r->n < WF_CONSOLE_RUNNING)
        r->list[r->n++] = *t;
}
