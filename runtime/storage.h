/* storage.h - tasks whose header lies in memory that the caller provided. */
#ifndef WF_STORAGE_H
#define WF_STORAGE_H

#include <base/list.h>
#include <runtime/task.h>

typedef struct wf_stored_task {
    weft_task task;
    wf_node node; /* in the runtime's list, under its lock, from the spawn to the end */
} wf_stored_task;

_Static_assert(sizeof(wf_stored_task) <= WEFT_TASK_SPACE, "WEFT_TASK_SPACE holds a stored task");

/* The task has ended: out of the runtime's list. */
void wf_storage_unlink(weft_task *task);

/* The last reference has gone: back to the owner. */
void wf_storage_release(weft_task *task);

#endif
