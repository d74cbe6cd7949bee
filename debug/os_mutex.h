/* os_mutex.h - what libweft_debug.so tells weft, which looks for it by name: neither needs the other. */
#ifndef WF_OS_MUTEX_H
#define WF_OS_MUTEX_H

#define WF_OS_MUTEXES_HELD "weft_debug_os_mutexes_held_"

/**
 * The newest mutex that the calling thread holds and locked after its lock number @since.
 * @mutex: gets its address; NULL: there is none. @where: gets who locked it, valid until the thread asks again.
 * Returns: the number of the thread's last lock.
 */
typedef unsigned long wf_os_mutexes_held(unsigned long since, const void **mutex, const char **where);

#endif
