/* watchdog.h - finds workers that one poll, or one callback, holds for too long. By one thread, the monitor's. */
#ifndef WF_WATCHDOG_H
#define WF_WATCHDOG_H

#include <runtime/runtime.h>

typedef struct wf_watchdog {
    weft_runtime *rt;
    int64_t limit;
    struct wf_held *workers; /* what is known of each */
} wf_watchdog;

/* 0 or WEFT_ENOMEM. */
int wf_watchdog_open(wf_watchdog *dog, weft_runtime *rt, int64_t limit);
void wf_watchdog_close(wf_watchdog *dog);

/* Look at every worker, report what is found. @late: for how long the looker itself did not get to look, as the whole machine perhaps. */
void wf_watchdog_look(wf_watchdog *dog, int64_t now, int64_t late);

#endif
