/* process.h - what the kernel says of this process and this thread. */
#ifndef PROCESS_H
#define PROCESS_H

/* Counts, to compare with each other only: they include what reading them takes. */
unsigned open_fds(void);
unsigned threads(void);

/* Of the thread that runs this now; a strand may ask again after a switch. */
long thread_id(void);

#endif
