/* metrics.c - counters, read without stopping anybody. */
#include <runtime/runtime.h>
#include <weft/diag.h>

static void sample_peak(weft_runtime *rt, uint64_t active)
{
    uint64_t peak = wf_load_rlx(&rt->peak);
    while (active > peak && !wf_cas_rlx(&rt->peak, &peak, active))
        ;
}

int weft_metrics(weft_runtime *rt, weft_metrics_t *out)
{
    rt = rt ? rt : weft_runtime_current();
    if (!out)
        return WEFT_EINVAL;
    *out = (weft_metrics_t){0};
    if (!rt)
        return WEFT_ENORUNTIME;
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
    return 0;
}
