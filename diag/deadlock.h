/* deadlock.h - finds out that all tasks of a runtime wait for each other, and that nothing in the process could ever wake one. By one thread, the monitor's. */
#ifndef WF_DEADLOCK_H
#define WF_DEADLOCK_H

#include <runtime/runtime.h>

typedef struct wf_deadlock {
    weft_runtime *rt;
    int own_signals; /* of those who take part in the runtime's watching of signals: the monitor's */
    uint64_t polls;  /* at the last look */
    uint64_t quiet;  /* … see wf_exec_quiet() */
    bool suspected;  /* everything was as in a deadlock then */
    bool settled;    /* with so many polls it is known: none, or one that was reported */
} wf_deadlock;

/* Look, and report. At least a millisecond apart. */
void wf_deadlock_look(wf_deadlock *d);

#endif
