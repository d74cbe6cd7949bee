/* sample.h - interrupt a worker, to copy where it is.
 *
 * Owns the process's handler of SIGURG, which others may have, too: theirs is called for what is not ours. */
#ifndef WF_SAMPLE_H
#define WF_SAMPLE_H

#include <diag/frozen.h>

/* Count a user of the handler. Returns 0 or the system's negative code. */
int wf_sample_install(void);
/* The last one puts back what was there before. True: that was the last. */
bool wf_sample_uninstall(void);

/* Interrupt @w's thread. One caller at a time. NULL: it did not answer in time. *@task: what it polled, not to be looked into; NULL: nothing. What is
 * returned stays as it is until the next call. */
const wf_frozen *wf_sample(wf_worker *w, const weft_task **task);

/* Around fork(): nobody is in the midst of changing what the child gets a copy of. In the @child nobody is about to answer. */
void wf_sample_fork_lock(void);
void wf_sample_fork_unlock(bool child);

#endif
