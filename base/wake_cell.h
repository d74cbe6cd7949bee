/* wake_cell.h - a cell that holds one waker, as weft_atomic_waker does, and is one word while it is a task that waits.
 *
 *   the word      who is registered
 *   0             nobody
 *   OTHER         somebody who is no task: in the cell beside it, perhaps
 *   a task        that one; the cell has a reference to it
 *
 * To register is to swap the task in, to wake is to swap nobody in: whoever swaps something out has it alone. One registrant at a time, any
 * number of wakers.
 *
 * [CELL-WORD] Always read-modify-writes, also of who finds nobody. So if a wake comes before a register, the look that follows the register sees what was
 * produced before that wake; and if it comes after it, it takes the waker. */
#ifndef WF_WAKE_CELL_H
#define WF_WAKE_CELL_H

#include <base/exec.h>

typedef struct wf_wake_cell {
    wf_aptr word;
} wf_wake_cell;

/* No task has this address. */
#define WF_WAKE_CELL_OTHER ((void *)(uintptr_t)1)

/* It is woken soon: begin to fetch the task that is registered, if one is. Any thread. */
static inline void wf_wake_cell_expect(const wf_wake_cell *cell) { __builtin_prefetch(wf_load_rlx(&cell->word), 1); }

/* Take what is registered, @other beside it. False: nobody, and *@out is empty. Any thread. */
static inline bool wf_wake_cell_take(wf_wake_cell *cell, weft_atomic_waker *other, weft_waker *out)
{
    void *had = wf_swap_acqrel(&cell->word, NULL); /* [CELL-WORD] */
    if (wf_unlikely(had == WF_WAKE_CELL_OTHER))
        return weft_atomic_waker_take(other, out);
    *out = had ? (weft_waker){&wf_task_waker_ops, had} : (weft_waker){NULL, NULL};
    return had != NULL;
}

static inline void wf_wake_cell_wake(wf_wake_cell *cell, weft_atomic_waker *other)
{
    weft_waker taken;
    if (wf_wake_cell_take(cell, other, &taken))
        taken.ops->wake(&taken);
}

static inline void wf_wake_cell_forget(wf_wake_cell *cell, weft_atomic_waker *other)
{
    weft_waker taken;
    if (wf_wake_cell_take(cell, other, &taken))
        taken.ops->drop(&taken);
}

/* Who is no task registers in the cell beside it, and then says so. A wake that finds OTHER wakes whoever is there: who has come since is woken for no
 * reason, and registers again. */
static inline int wf_wake_cell_register_other(wf_wake_cell *cell, weft_atomic_waker *other, weft_context *cx)
{
    int err = weft_atomic_waker_register(other, &cx->waker);
    void *had = wf_swap_acqrel(&cell->word, WF_WAKE_CELL_OTHER); /* [CELL-WORD] */
    if (had && had != WF_WAKE_CELL_OTHER)
        wf_task_waker_ops.drop(&(weft_waker){&wf_task_waker_ops, had});
    return err;
}

/* Of what was registered before the reference goes. */
static inline void wf_wake_cell_drop_old(void *had, weft_atomic_waker *other)
{
    weft_waker old = {&wf_task_waker_ops, had};
    if (had != WF_WAKE_CELL_OTHER || weft_atomic_waker_take(other, &old))
        old.ops->drop(&old);
}

/* Store a clone of @cx's waker. 0, or what the clone failed with; then it has been woken, so that it tries again. One at a time. */
static inline int wf_wake_cell_register(wf_wake_cell *cell, weft_atomic_waker *other, weft_context *cx)
{
    weft_waker mine;
    if (wf_unlikely(!wf_context_is_tasks(cx)))
        return wf_wake_cell_register_other(cell, other, cx);
    wf_context_clone_waker(cx, &mine);                  /* a task's never fails */
    void *had = wf_swap_acqrel(&cell->word, mine.data); /* [CELL-WORD] */
    if (wf_unlikely(had != NULL))
        wf_wake_cell_drop_old(had, other);
    return 0;
}

#endif
