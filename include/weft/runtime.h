/* weft/runtime.h - worker threads that run tasks: start, stop, and the doors in from ordinary threads. */
#ifndef WEFT_RUNTIME_H
#define WEFT_RUNTIME_H

#include <weft/base.h>
#include <weft/hooks.h>

WEFT_BEGIN_DECLS

/** Where a runtime gets the memory of streams, options and the like. All or none of the functions; any thread calls them. */
typedef struct weft_allocator {
    void *(*alloc)(size_t size, void *arg); /* aligned like malloc's, or NULL */
    void (*free)(void *block, void *arg);   /* NULL is not passed */
    void *arg;
} weft_allocator;

typedef enum weft_log_level { WEFT_LOG_ERROR = 1, WEFT_LOG_WARNING = 2, WEFT_LOG_INFO = 3 } weft_log_level;

enum {
    WEFT_CURRENT_THREAD = 1u << 0, /* no threads (but for blocking work): whoever calls weft_block_on() is the one worker meanwhile, with his own signal mask */
    WEFT_NO_SEGV_HANDLER = 1u << 1, /* leave SIGSEGV alone: a stack overflow is then a plain crash */
    WEFT_DUMP_ON_SIGQUIT = 1u << 2, /* weft_dump() to standard error on each SIGQUIT (Ctrl-\\, kill -QUIT), and go on; what the program had for it is kept for afterwards */
    WEFT_MEASURE = 1u << 3, /* time each wake, for weft_metrics_t.wake_to_poll: costs some 5 % of a channel's round trip */
};

/** What weft_now() and all waiting go by in a runtime's tasks. */
typedef enum weft_clock {
    WEFT_CLOCK_REAL,
    WEFT_CLOCK_PAUSED, /* virtual time: it stands still while anything can run, and jumps to the next deadline when nothing can */
} weft_clock;

/** Zero is the default of every field. */
typedef struct weft_options {
    unsigned workers;       /* 0: the CPUs that affinity and the cgroup's quota allow */
    unsigned flags;         /* WEFT_CURRENT_THREAD, WEFT_NO_SEGV_HANDLER … */
    size_t stack_size;      /* bytes reserved for a strand's stack; 0: 256 KiB; touched as used */
    int64_t shutdown_grace; /* how long weft_run waits for tasks that were cancelled; 0: 10 s */
    const char *name;       /* of the runtime and its threads; NULL: "weft" */
    uint64_t seed; /* nonzero: repeatable with one worker: scheduling, and the chance of weft_select() and weft_backoff_wait() */
    void (*log)(void *arg, weft_log_level level, const char *task, const char *text); /* NULL: standard error */
    void *log_arg;
    weft_allocator allocator; /* zero: malloc */
    unsigned blocking_threads; /* most threads for blocking jobs; 0: 512. Files and names have some of their own beside */
    weft_clock clock;          /* for tests: see weft_clock_advance() */
    int64_t watchdog; /* ns: log each task that holds its worker for longer, with its backtrace, and a deadlock of all tasks. 0: 100 ms in debug builds of weft, else none; WEFT_FOREVER: none.
                         A thread of its own looks; to see where the task is it interrupts the worker by SIGURG, which system calls that are not restarted report as EINTR */
    weft_hooks hooks;
} weft_options;

#define WEFT_OPTIONS_INIT \
    {                     \
        0                 \
    }

WEFT_API int weft_run_sized(const weft_options *options, size_t size, weft_fn fn, void *arg, void **result);
WEFT_API int weft_runtime_create_sized(weft_runtime **rt, const weft_options *options, size_t size);

/**
 * Start a runtime whose worker 0 is the calling thread, run @fn as its root strand, and when that ends cancel what is left,
 * wait for it up to the grace, and take everything down.
 * Returns: 0 with *@result what @fn returned; WEFT_EFAILED (its code in *@result) or WEFT_EPANIC if the root ended so;
 *          WEFT_ETIMEDOUT when tasks would not stop within the grace (*@result is still set, the runtime is abandoned);
 *          WEFT_EINVAL, WEFT_ENOMEM, WEFT_EMFILE …: nothing was run; WEFT_EDEADLK inside a task or a callback.
 * Threads: an ordinary thread; its signal mask is full while this runs and restored afterwards.
 */
static inline int weft_run_with(const weft_options *options, weft_fn fn, void *arg, void **result)
{
    return weft_run_sized(options, sizeof *options, fn, arg, result);
}

/** weft_run_with() and the defaults. */
static inline int weft_run(weft_fn fn, void *arg, void **result) { return weft_run_sized(NULL, 0, fn, arg, result); }

/** Start a runtime with threads of its own (or, with WEFT_CURRENT_THREAD, none). Returns 0 or a negative code with *@rt NULL. */
static inline int weft_runtime_create(weft_runtime **rt, const weft_options *options)
{
    return weft_runtime_create_sized(rt, options, sizeof *options);
}

/**
 * Run @fn as a strand of @rt and block the calling ordinary thread until it ends. Any number of times, from any number of threads
 * (one at a time with WEFT_CURRENT_THREAD: WEFT_EBUSY). Other tasks live on after it returns.
 * Returns: as weft_join(); WEFT_EDEADLK inside a task or callback; WEFT_ECANCELED after shutdown began; WEFT_ENOMEM.
 */
WEFT_API int weft_block_on(weft_runtime *rt, weft_fn fn, void *arg, void **result);

/**
 * Cancel every task, wait up to @grace nanoseconds (WEFT_FOREVER: as long as it takes) and stop the threads.
 * Returns: 0, also when it was stopped before; WEFT_ETIMEDOUT: abandoned, with what would not stop named in the log; WEFT_EDEADLK.
 */
WEFT_API int weft_runtime_shutdown(weft_runtime *rt, int64_t grace);

/** Shut down with the options' grace if that has not been done, close every loop and free. NULL: nothing. Returns 0; WEFT_EBUSY: abandoned, memory kept; WEFT_EDEADLK. */
WEFT_API int weft_runtime_destroy(weft_runtime *rt);

/** The runtime of the calling task, callback or entered thread; NULL without one. */
WEFT_API weft_runtime *weft_runtime_current(void);

/** Make @rt the one where the calling ordinary thread creates sockets and spawns. Returns 0, WEFT_EINVAL, WEFT_EBUSY (inside one already), WEFT_ECANCELED (stopping). */
WEFT_API int weft_runtime_enter(weft_runtime *rt);

/** Undo weft_runtime_enter(). Returns 0 or WEFT_EINVAL. */
WEFT_API int weft_runtime_leave(void);

/**
 * Move the paused clock of the current runtime forward by @ns and wake whoever waited for less, in the order of their deadlines. By itself
 * it jumps only when every task waits, no blocking job runs, and the kernel holds no event ready. Ordinary threads always see real time.
 * Repeatable with one worker.
 * Returns: 0; WEFT_EINVAL for less than zero, or when the clock is not paused; WEFT_ENORUNTIME.
 */
WEFT_API int weft_clock_advance(int64_t ns);

/** How many workers @rt has (NULL: the current one); 0 without a runtime. */
WEFT_API unsigned weft_runtime_workers(weft_runtime *rt);

WEFT_END_DECLS

#endif
