/* storage.h - tasks whose header lies in memory that the caller provided. */
#ifndef WF_STORAGE_H
#define WF_STORAGE_H

#include <base/list.h>
#include <base/lock.h>
#include <runtime/task.h>

typedef struct wf_stored_task {
    weft_task task;
    uint32_t shelf; /* constant while it is on it */
    wf_node node;   /* in one of its runtime's shelves, under the lock of that, from the spawn to the end */
} wf_stored_task;

/* Onto a shelf: the worker's that spawns it, or, from outside, any. */
void wf_storage_link(weft_task *task, unsigned shelf);

_Static_assert(sizeof(wf_stored_task) <= WEFT_TASK_SPACE, "WEFT_TASK_SPACE holds a stored task");

/* The task has ended: off its shelf. */
void wf_storage_unlink(weft_task *task);

/* The last reference has gone: back to the owner. */
void wf_storage_release(weft_task *task);

#endif
