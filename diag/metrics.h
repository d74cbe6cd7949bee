/* metrics.h - readings for those in diag/ who show them. */
#ifndef WF_METRICS_H
#define WF_METRICS_H

#include <runtime/runtime.h>
#include <weft/diag.h>

void wf_metrics_read(weft_runtime *rt, weft_metrics_t *out);
void wf_metrics_read_worker(wf_worker *w, weft_worker_metrics_t *out);

#endif
