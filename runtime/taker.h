/* taker.h - a thread that takes signals for a program whose own thread has become a worker.
 *
 * Workers block all asynchronous signals, and so does the thread that calls weft_run(). Were that all, nobody would be left to
 * take a SIGTERM, and the program could not be ended politely. So while a calling thread is a worker, this one sleeps with every
 * signal open: default actions act, and handlers run on its big stack. */
#ifndef WF_TAKER_H
#define WF_TAKER_H

/* Count a user in; the first starts the thread. Returns 0 or a negative code. Any thread. */
int wf_taker_acquire(void);
void wf_taker_release(void);

/* Around fork(): nobody is in the midst of changing what the child gets a copy of. */
void wf_taker_fork_lock(void);
void wf_taker_fork_unlock(void);

#endif
