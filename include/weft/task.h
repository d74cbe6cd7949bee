/* weft/task.h - tasks: spawn, join, abort, and what a task can say about itself. */
#ifndef WEFT_TASK_H
#define WEFT_TASK_H

#include <stdarg.h>
#include <weft/base.h>
#include <weft/future.h>

WEFT_BEGIN_DECLS

/* ---- spawning ----------------------------------------------------------------------------------------------- */

/** Zero is the default of every field. */
typedef struct weft_spawn_options {
    const char *name;            /* copied */
    size_t stack_size;           /* bytes; 0: the runtime's; at least 16 KiB, at most 1 GiB */
    unsigned pinned;             /* nonzero: always polled by the worker that spawned it, or WEFT_PIN_TO(n) */
    void (*drop_arg)(void *);    /* called with the argument once, if the task never started */
    void (*drop_result)(void *); /* called with the result once, if nobody takes it */
    size_t copy_arg;             /* that many bytes at arg are copied into the task, which gets the copy's address */
    weft_runtime *runtime;       /* NULL: the current one */
    unsigned blocking; /* nonzero: fn runs on a thread of the pool and may block: see weft_spawn_blocking(). Not with pinned, nor for futures */
    weft_group *group; /* a child of that group, which then has its handle: see weft/group.h */
} weft_spawn_options;

/** weft_spawn_options.pinned: always polled by worker @n, below weft_runtime_workers() (WEFT_EINVAL). */
#define WEFT_PIN_TO(n) ((unsigned)(n) + 2u)

#define WEFT_SPAWN_OPTIONS_INIT \
    {                           \
        0                       \
    }

WEFT_API int weft_spawn_sized(weft_task **task, const weft_spawn_options *options, size_t size, weft_fn fn, void *arg);
WEFT_API int weft_spawn_future_sized(weft_task **task, const weft_spawn_options *options, size_t size, weft_future *f);

/**
 * Start a strand. It is queued, never run on the spot.
 * @task: gets the handle, to be joined, detached or closed exactly once; NULL: detached from birth.
 * Returns: 0; WEFT_EINVAL, WEFT_ENOMEM, WEFT_ENORUNTIME, WEFT_ECANCELED (the runtime is stopping), WEFT_ENOTSUP (a forked child),
 *          with *@task NULL and @arg left to the caller.
 * Threads: any that has a runtime; never suspends.
 */
static inline int weft_spawn_with(weft_task **task, const weft_spawn_options *options, weft_fn fn, void *arg)
{
    return weft_spawn_sized(task, options, sizeof *options, fn, arg);
}

/** weft_spawn_with() and the defaults. */
WEFT_API int weft_spawn(weft_task **task, weft_fn fn, void *arg);

/** The same on a runtime of your choice, from any thread. */
WEFT_API int weft_spawn_on(weft_runtime *rt, weft_task **task, weft_fn fn, void *arg);

/** Start a stackless task. On success @f belongs to the task and is dropped the moment it ends; on failure it stays the caller's. */
WEFT_API int weft_spawn_future(weft_task **task, weft_future *f);

static inline int weft_spawn_future_with(weft_task **task, const weft_spawn_options *options, weft_future *f)
{
    return weft_spawn_future_sized(task, options, sizeof *options, f);
}

/* ---- blocking work ------------------------------------------------------------------------------------------- */

/**
 * Start a job on a thread that may block. It is an ordinary thread as far as waiting goes, with the job as its task: names, ids, locals and
 * weft_panic() work. Aborted before it has begun it never begins; later weft_is_cancelled() tells it, and it completes.
 * Threads are started as needed, up to weft_options.blocking_threads, and leave after 10 s without work. Jobs beyond that queue, in order.
 */
WEFT_API int weft_spawn_blocking(weft_task **task, weft_fn fn, void *arg);

/**
 * **awaits** one blocking call on such a thread, as part of the calling task: its locals and its name are the caller's. Once it has begun this
 * returns only after it has ended, so @arg may be on the stack. On an ordinary thread @fn is simply called.
 * Returns: 0 with *@result what @fn returned; WEFT_EFAILED (its code in *@result); an interruption: @fn was not called. A panic in @fn is one of
 *          the caller. WEFT_EDEADLK where nothing can wait; WEFT_ENOMEM.
 */
WEFT_API int weft_blocking(weft_fn fn, void *arg, void **result);

/* ---- tasks in the caller's memory --------------------------------------------------------------------------- */

enum { WEFT_TASK_SPACE = 128 };

/** Room for one task, provided by the caller: spawning into it allocates nothing. */
typedef struct weft_task_storage weft_task_storage;
struct weft_task_storage {
    void (*release)(weft_task_storage *self); /* called once, when the last reference to the task has gone; any thread. May be NULL */
    uint64_t space_[WEFT_TASK_SPACE / 8];
};

/** weft_spawn_future() into @storage, which belongs to the task until its release is called. On failure both stay the caller's. */
WEFT_API int weft_spawn_future_in(weft_task **task, weft_task_storage *storage, weft_future *f);

/** A fixed number of places for stackless tasks, allocated beforehand. */
typedef struct weft_task_pool weft_task_pool;

/** @places tasks, each with @body_size bytes for its future. Returns 0, WEFT_EINVAL or WEFT_ENOMEM. */
WEFT_API int weft_task_pool_create(weft_task_pool **pool, size_t places, size_t body_size);

/** Claim a place. Returns 0, or WEFT_EEXHAUSTED when all are taken. Any thread; never waits, never allocates. */
WEFT_API int weft_task_pool_claim(weft_task_pool *pool, weft_task_storage **storage);

/** The bytes for the future in a claimed place, aligned for any type. */
WEFT_API void *weft_task_pool_body(weft_task_storage *storage);

/** Give back a claim that was not spawned. Spawned ones return by themselves. Any thread. */
WEFT_API void weft_task_pool_unclaim(weft_task_storage *storage);

/** How many places are free at this moment. */
WEFT_API size_t weft_task_pool_available(weft_task_pool *pool);

/** Returns 0, or WEFT_EBUSY while a place is claimed. NULL: nothing. */
WEFT_API int weft_task_pool_free(weft_task_pool *pool);

/* ---- waiting ------------------------------------------------------------------------------------------------ */

/**
 * **awaits** the end of @task and frees the handle.
 * Returns: 0 with *@result its value; WEFT_EABORTED, WEFT_EPANIC (*@result NULL); WEFT_EFAILED (its code in *@result).
 *          The handle stays valid on WEFT_ECANCELED and WEFT_ETIMEDOUT (the caller was interrupted), WEFT_EBUSY (somebody waits
 *          for it already), WEFT_EDEADLK (oneself, or where nothing can wait), WEFT_EINVAL.
 *          A task that has ended is joined whatever the caller's state. @result may be NULL: then drop_result gets the value.
 */
WEFT_API int weft_join(weft_task *task, void **result);

/** **awaits** the end of @task and keeps the handle. Returns 0 or one of weft_join()'s interruptions. */
WEFT_API int weft_wait(weft_task *task);

/** weft_join() if the task has ended, else WEFT_EAGAIN. Any context. */
WEFT_API int weft_try_join(weft_task *task, void **result);

/** Give up the handle; the task runs on and its result goes to drop_result. NULL: nothing. Any context. */
WEFT_API void weft_detach(weft_task *task);

/** Abort, **await** the end even when the caller is cancelled, and free. NULL: nothing. Returns 0; WEFT_EDEADLK or WEFT_EBUSY: aborted, the handle still the caller's. */
WEFT_API int weft_task_close(weft_task *task);

/**
 * Ask @task to stop. Not started: it never starts. Waiting: its await returns WEFT_ECANCELED at once, as does every later one
 * outside a shield. Running: at its next await. Ended: nothing. A stackless task is dropped, never during its poll.
 * Idempotent; any thread; never suspends.
 */
WEFT_API void weft_abort(weft_task *task);

/** A second handle that can only abort, valid for ever. Returns 0, WEFT_EINVAL or WEFT_ENOMEM. */
WEFT_API int weft_aborter_create(weft_aborter **aborter, weft_task *task);
WEFT_API void weft_aborter_abort(weft_aborter *aborter);
WEFT_API void weft_aborter_free(weft_aborter *aborter);

/* ---- looking ------------------------------------------------------------------------------------------------ */

typedef enum weft_task_state_t {
    WEFT_TASK_IDLE,
    WEFT_TASK_SCHEDULED,
    WEFT_TASK_RUNNING,
    WEFT_TASK_COMPLETED,
    WEFT_TASK_CANCELLED,
} weft_task_state_t;

WEFT_API int weft_is_finished(const weft_task *task);
/** Positive, and never used again in this process. */
WEFT_API uint64_t weft_task_id(const weft_task *task);
/** "" if it has none. Valid as long as the handle is, and until the task renames itself. */
WEFT_API const char *weft_task_name(const weft_task *task);
WEFT_API weft_task_state_t weft_task_state(const weft_task *task);
/** "idle", "scheduled", "running", "completed", "cancelled". */
WEFT_API const char *weft_task_state_name(weft_task_state_t state);
/** What it panicked with; "" otherwise. Valid until the join. */
WEFT_API const char *weft_task_error(const weft_task *task);

/* ---- inside a task ------------------------------------------------------------------------------------------ */

/** Return this from a strand (or store it as a future's result) to end it as failed with @code. */
WEFT_API void *weft_fail(int code);

/** **awaits** one turn of everybody else. Returns 0 or an interruption. On an ordinary thread: sched_yield(). */
WEFT_API int weft_yield(void);

/** The id of the calling task; 0 outside one. */
WEFT_API uint64_t weft_self_id(void);

/** Name the calling task (cut at 63 bytes). Returns 0, WEFT_ENOMEM, or WEFT_EINVAL outside a task. */
WEFT_API int weft_set_name(const char *fmt, ...) WEFT_PRINTF(1, 2);

/** What the next await would do: nonzero when it would be interrupted, by an abort or by a scope. For loops that never wait. */
WEFT_API int weft_is_cancelled(void);

/** Until the matching leave, awaits do not see an abort, nor the scopes entered before. Nests. Returns 0, or WEFT_EINVAL where nothing can wait, or for a leave too many. */
WEFT_API int weft_shield_enter(void);
WEFT_API int weft_shield_leave(void);

/**
 * Call @fn(@arg) when the calling strand (or coroutine, or blocking job) ends: last in, first out, also on a panic.
 * Returns: 0, WEFT_ENOMEM, or WEFT_EINVAL outside of these.
 */
WEFT_API int weft_defer(void (*fn)(void *arg), void *arg);

/** Take back the newest deferred call, and make it now if @run. Returns 0, or WEFT_EINVAL when there is none. */
WEFT_API int weft_defer_pop(int run);

/** End the calling task (or coroutine body) with a message for the one who joins it. Outside of them: ends the process. */
WEFT_API void weft_panic(const char *fmt, ...) WEFT_PRINTF(1, 2) WEFT_NORETURN;

/* ---- values that belong to a task --------------------------------------------------------------------------- */

/** A variable with a value per task. Define it static, with WEFT_LOCAL_INIT. */
typedef struct weft_local {
    void (*drop)(void *value); /* called when the last task that holds a value ends or replaces it; may be NULL */
    int inherit;               /* nonzero: tasks spawned later share the spawner's value */
} weft_local;

#define WEFT_LOCAL_INIT(drop, inherit) \
    {                                  \
        (drop), (inherit)              \
    }

/** The calling task's value; NULL if it has none. Outside a task: NULL. */
WEFT_API void *weft_local_get(const weft_local *local);

/** Returns 0, WEFT_ENOMEM, or WEFT_EINVAL outside a task; on failure @value stays the caller's. */
WEFT_API int weft_local_set(const weft_local *local, void *value);

WEFT_END_DECLS

#endif
