/* cache.c - how often the tasks are walked over and dumped, however many ask.
 *
 * A walk reads every task of the runtime that is shown, and a dump holds strands still: that is what watching costs it. So one answer is good for a second for all
 * who ask the same, and of all walks together there are a few in a second. */
#include <console/console.h>
#include <string.h>

static bool is_fresh(const wf_console_cached *e, int64_t now) { return e->text && now - e->made < WEFT_SEC; }

static void drop(wf_console_cached *e)
{
    wf_console_text_unref(e->text);
    e->text = NULL;
}

wf_console_text *wf_console_recall(wf_console *c, const char *target)
{
    int64_t now = weft_now();
    wf_console_text *found = NULL;
    for (size_t i = 0; i < WF_CONSOLE_CACHE; i++) {
        wf_console_cached *e = &c->cache[i];
        if (!is_fresh(e, now))
            drop(e);
        else if (strcmp(e->target, target) == 0)
            found = wf_console_text_ref(e->text);
    }
    return found;
}

void wf_console_remember(wf_console *c, const char *target, wf_console_text *text)
{
    wf_console_cached *oldest = &c->cache[0];
    for (size_t i = 1; i < WF_CONSOLE_CACHE && oldest->text; i++)
        if (!c->cache[i].text || c->cache[i].made < oldest->made)
            oldest = &c->cache[i];
    drop(oldest);
    memcpy(oldest->target, target, strlen(target) + 1);
    oldest->made = weft_now();
    oldest->text = wf_console_text_ref(text);
}

void wf_console_forget_all(wf_console *c)
{
    for (size_t i = 0; i < WF_CONSOLE_CACHE; i++)
        drop(&c->cache[i]);
}

bool wf_console_may_walk(wf_console *c)
{
    int64_t now = weft_now(), *oldest = &c->walks[c->next_walk];
    if (*oldest && now - *oldest < WEFT_SEC)
        return false;
    *oldest = now;
    c->next_walk = (c->next_walk + 1) % WF_CONSOLE_WALKS;
    return true;
}

bool wf_console_may_dump(wf_console *c)
{
    int64_t now = weft_now();
    if (c->dumping || (c->dumped && now - c->dumped < WEFT_SEC))
        return false;
    c->dumped = now;
    return true;
}
