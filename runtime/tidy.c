/* tidy.c - what a worker gives back to the system when it is not needed any more.
 *
 * Now and then it asks the stacks and the headers for what nobody has needed for a while (base/spare.h). A worker that has polled nothing
 * since it last asked also gives up what it keeps at hand for itself: a burst is followed by rest, and then takes no memory. Once all is
 * given back it sleeps without an end again. */
#include <base/spare.h>
#include <runtime/runtime.h>

/* Where much is to go, it goes a little at a time. */
static int64_t trim(weft_runtime *rt, int64_t now)
{
    int64_t stacks = wf_stacks_trim(now), headers = wf_heap_trim(rt->heap, now);
    return WF_MIN(stacks, headers);
}

void wf_worker_tidy(wf_worker *w, int64_t now)
{
    uint64_t polls = wf_load_rlx(&w->polls);
    bool rests = polls == w->tidied_polls;
    if (rests) {
        wf_stack_cache_flush(&w->stacks);
        wf_header_flush(w->rt->heap, &w->headers);
    }
    int64_t next = trim(w->rt, now);
    w->tidied_polls = polls;
    w->tidy = rests && next == WEFT_FOREVER;
    w->tidy_at = WF_MAX(WF_MIN(next, now + WF_SPARE_PERIOD), now + WEFT_MS);
}

int64_t wf_worker_tidy_next(const wf_worker *w)
{
    return w->rt->clock || (w->tidy && w->tidied_polls == w->polls.v) ? WEFT_FOREVER : w->tidy_at;
}
