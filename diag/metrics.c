/* metrics.c - counters, read without stopping anybody. */
#include <runtime/runtime.h>
#include <string.h>
#include <weft/diag.h>

static void sample_peak(weft_runtime *rt, uint64_t active)
{
    uint64_t peak = wf_load_rlx(&rt->peak);
    while (active > peak && !wf_cas_rlx(&rt->peak, &peak, active))
        ;
}

static void read_all(weft_runtime *rt, weft_metrics_t *out)
{
    out->active = wf_runtime_active(rt, &out->spawned, &out->completed);
    sample_peak(rt, out->active);
    out->peak = wf_load_rlx(&rt->peak);
    for (unsigned i = 0; i < rt->count; i++) {
        wf_worker *w = rt->workers[i];
        out->polls += wf_load_rlx(&w->polls);
        out->steals += wf_load_rlx(&w->steals);
        out->parks += wf_load_rlx(&w->parks);
        out->rescues += wf_load_rlx(&w->rescues);
    }
    wf_stack_stats(&out->stacks_live, &out->stacks_cached, &out->guard);
}

/* A caller built against another version of the struct gets as much of it as he knows. */
int weft_metrics_sized(weft_runtime *rt, weft_metrics_t *out, size_t size)
{
    weft_metrics_t all = {0};
    rt = rt ? rt : weft_runtime_current();
    if (!out)
        return WEFT_EINVAL;
    if (rt)
        read_all(rt, &all);
    memset(out, 0, size);
    memcpy(out, &all, WF_MIN(size, sizeof all));
    return rt ? 0 : WEFT_ENORUNTIME;
}
