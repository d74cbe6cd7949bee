/* segv.h - turn a fault in a guard into one clear line.
 *
 * Owns the process's SIGSEGV and SIGBUS handler and the alternate signal stack of each worker thread. It asks the
 * runtime whose guard was hit (the describer) and passes every other fault on to whoever handled it before. Knows no
 * stacks and no tasks. */
#ifndef WF_SEGV_H
#define WF_SEGV_H

#include <base/common.h>

/* A thread's alternate signal stack. Touched by its thread only. */
typedef struct wf_segv_thread {
    void *map;    /* NULL: the thread had an alternate stack already, which is left alone */
    size_t bytes; /* of map */
} wf_segv_thread;

/**
 * Say whether @address lies in the guard of the strand that runs on this thread.
 *
 * Fills: *name (NULL or "" if it has none; valid until the process ends), *id, *stack_size in bytes.
 * Runs in a signal handler: async-signal-safe things only.
 */
typedef bool (*wf_segv_describer)(const void *address, const char **name, uint64_t *id, size_t *stack_size);

/**
 * Install the handler, or count one more user of it. Each success wants a wf_segv_uninstall; the last one restores the
 * old actions, unless somebody has put his own handler on top meanwhile.
 *
 * Returns: 0, or the system's negative code.
 * Threads: any.
 * Source:  runtime/segv.c
 */
int wf_segv_install(void);
void wf_segv_uninstall(void);

/**
 * Give the calling thread an alternate signal stack (64 KiB) unless it has one; without it a handler has no stack to
 * run on after an overflow. wf_segv_thread_leave takes it away.
 *
 * Returns: 0, or the system's negative code.
 * Threads: the calling one; leave on the same one.
 */
int wf_segv_thread_enter(wf_segv_thread *thread);
void wf_segv_thread_leave(wf_segv_thread *thread);

/** Set who describes faults; NULL for nobody. Any thread. */
void wf_segv_set_describer(wf_segv_describer describer);

/* Around fork(): nobody is in the midst of changing what the child gets a copy of. */
void wf_segv_fork_lock(void);
void wf_segv_fork_unlock(void);

#endif
