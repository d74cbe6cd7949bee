/* process.h - what the kernel says of this process and this thread. */
#ifndef PROCESS_H
#define PROCESS_H

#include <stddef.h>

/* Counts, to compare with each other only: they include what reading them takes, and a thread that was joined is there a little longer. */
unsigned open_fds(void);
unsigned threads(void);

/* Bytes of addresses that are mapped. The headers of a runtime's tasks (1 MiB at a time) stay mapped for as long as somebody has one. With
 * steady_address_space() before, malloc() reserves none for threads, and what else comes and goes with these is less than 64 MiB. */
void steady_address_space(void);
size_t address_space(void);

/* Of the thread that runs this now; a strand may ask again after a switch. */
long thread_id(void);

#endif
