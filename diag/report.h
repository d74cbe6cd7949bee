/* report.h - what the watchdog, the deadlock detector and a shutdown that fails say about tasks. */
#ifndef WF_REPORT_H
#define WF_REPORT_H

#include <diag/backtrace.h>
#include <diag/holders.h>

enum { WF_REPORT_MOST = 20, WF_REPORT_LINE = 256 };

/* A task as it was when it was met. */
typedef struct wf_found {
    weft_task *task; /* to compare with only */
    weft_task_info info;
    wf_frames frames; /* of a strand that waits */
} wf_found;

/* The first so many of those that were met, and how many there were. */
typedef struct wf_findings {
    wf_found *found; /* WF_REPORT_MOST places */
    unsigned count;  /* … in use */
    uint64_t total;
    wf_holders holders; /* of the mutexes that they wait for */
} wf_findings;

/* False: out of memory. */
bool wf_findings_open(wf_findings *f);
void wf_findings_close(wf_findings *f);
/* Called in a walk over the registry: @task was read as @info. */
void wf_findings_add(wf_findings *f, weft_task *task, const weft_task_info *info);
/* After the walk. */
void wf_findings_complete(wf_findings *f, weft_runtime *rt);

/* Log one line and, below it, a backtrace (NULL, or an empty one: none), as one text. Without memory it is the line alone. */
void wf_say(weft_runtime *rt, weft_log_level level, const char *task, const wf_frames *frames, const char *fmt, ...)
    WEFT_PRINTF(5, 6);

/* "132 ms", "1.2 s": of @size bytes at the most. Returns @out. */
const char *wf_duration(int64_t ns, char *out, size_t size);
/* "waits 1.2 s for mutex 0x7f…, held by #3 "writer"", or "is scheduled for 3 ms". */
const char *wf_what_it_does(const wf_findings *f, const weft_task_info *info, char *out, size_t size);

#endif
