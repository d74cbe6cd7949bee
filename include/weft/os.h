/* weft/os.h - the system around the process. */
#ifndef WEFT_OS_H
#define WEFT_OS_H

#include <weft/base.h>
#include <weft/future.h>

WEFT_BEGIN_DECLS

/* ---- files -------------------------------------------------------------------------------------------------- */

/* All of these **await** a thread of the pool that makes the blocking call. Interrupted before it has begun they have done nothing;
 * once begun they complete, and the interruption waits for the next await. */

typedef struct weft_file_info {
    uint64_t size, device, inode, links;
    int64_t modified, accessed, changed; /* nanoseconds since 1970 */
    uint32_t mode, uid, gid;             /* as in stat(2) */
    uint32_t reserved_[5];
} weft_file_info;

/** @flags, @mode: as for open(2); close-on-exec in any case. Returns 0 or the system's code. */
WEFT_API int weft_file_open(weft_file **file, const char *path, int flags, unsigned mode);
/** A new file of its own in @directory (NULL: TMPDIR or /tmp), gone when closed unless @path (PATH_MAX bytes) is given: then it has that name. */
WEFT_API int weft_file_temporary(weft_file **file, const char *directory, char *path);
/** At the file's position, which is shared: one task at a time. Returns how many, 0 at the end. */
WEFT_API ssize_t weft_file_read(weft_file *file, void *buf, size_t size);
/** All of it. Returns @size, or a negative code (part of it may be written). */
WEFT_API ssize_t weft_file_write(weft_file *file, const void *buf, size_t size);
/** At @offset; the position stays. Any number of tasks at once. weft_file_pwrite() writes all. */
WEFT_API ssize_t weft_file_pread(weft_file *file, void *buf, size_t size, int64_t offset);
WEFT_API ssize_t weft_file_pwrite(weft_file *file, const void *buf, size_t size, int64_t offset);
/** As lseek(2). Never waits. */
WEFT_API int64_t weft_file_seek(weft_file *file, int64_t offset, int whence);
WEFT_API int weft_file_stat(weft_file *file, weft_file_info *info);
WEFT_API int weft_file_truncate(weft_file *file, int64_t size);
/** Data and metadata; with @data_only just the data. */
WEFT_API int weft_file_sync(weft_file *file, int data_only);
WEFT_API int weft_file_fd(weft_file *file);
/** Free and close; completes even when its caller is cancelled. NULL: nothing. */
WEFT_API void weft_file_close(weft_file *file);

/** The whole of a file, in memory from malloc() that is the caller's, with a zero byte after it that is not counted. */
WEFT_API int weft_file_load(const char *path, void **data, size_t *size);
/** Replace a file's contents, or make it: through a temporary file beside it and a rename, so that nobody ever sees a part. */
WEFT_API int weft_file_store(const char *path, const void *data, size_t size, unsigned mode);

WEFT_API int weft_stat(const char *path, weft_file_info *info);
WEFT_API int weft_rename(const char *from, const char *to);
WEFT_API int weft_unlink(const char *path);
WEFT_API int weft_mkdir(const char *path, unsigned mode);
WEFT_API int weft_rmdir(const char *path);

/** The names in a directory, without "." and "..", sorted; freed by weft_names_free(). Returns how many. */
WEFT_API int weft_directory(const char *path, char ***names);
WEFT_API void weft_names_free(char **names, int n);

/* ---- processes ------------------------------------------------------------------------------------------------ */

typedef struct weft_process weft_process;

typedef enum weft_stdio { WEFT_STDIO_NULL, WEFT_STDIO_INHERIT, WEFT_STDIO_PIPE } weft_stdio;

/** Zero is the default of every field. */
typedef struct weft_process_options {
    const char *const *argv; /* NULL-terminated; argv[0] is looked for in PATH. Needed */
    const char *const *env;  /* NULL: this process's */
    const char *directory;   /* NULL: this one's */
    weft_stdio in, out, err;
    unsigned leave_running; /* nonzero: weft_process_close() does not kill it */
    const void *input;      /* weft_process_run(): what it reads */
    size_t input_size;
    size_t output_limit; /* weft_process_run(): more than this is WEFT_EMSGSIZE; 0: 64 MiB */
} weft_process_options;

#define WEFT_PROCESS_OPTIONS_INIT \
    {                             \
        0                         \
    }

WEFT_API int weft_process_spawn_sized(weft_process **process, const weft_process_options *options, size_t size);

/** **awaits** the start. Returns 0; WEFT_ENOENT, WEFT_EACCES …: it could not be started; WEFT_EINVAL, WEFT_ENOMEM, WEFT_EMFILE, WEFT_ENORUNTIME; an interruption. */
static inline int weft_process_spawn(weft_process **process, const weft_process_options *options)
{
    return weft_process_spawn_sized(process, options, sizeof *options);
}

/** The other end of a WEFT_STDIO_PIPE, which belongs to the process's handle until it is taken: a second call, or no pipe: NULL. */
WEFT_API weft_stream *weft_process_stdin(weft_process *process);
WEFT_API weft_stream *weft_process_stdout(weft_process *process);
WEFT_API weft_stream *weft_process_stderr(weft_process *process);
WEFT_API int weft_process_id(weft_process *process);
/** **awaits** its end; again as often as you like, any number of tasks. Returns its exit status, or 256 + the signal that killed it; an
 *  interruption. Cancel-safe. */
WEFT_API int weft_process_wait(weft_process *process);
/** Have a signal sent to it. Returns 0, -ESRCH (it has ended), WEFT_EINVAL, WEFT_ENOMEM. Never waits. Of several at once each number goes once. */
WEFT_API int weft_process_kill(weft_process *process, int signal);
/** Kill it (SIGKILL) if it runs, unless it was to be left running; **await** its end, also when the caller is cancelled; free. NULL: nothing. Before the runtime ends. */
WEFT_API void weft_process_close(weft_process *process);

typedef struct weft_output {
    int status;      /* as from weft_process_wait() */
    char *out, *err; /* from malloc(), with a zero byte after it */
    size_t out_size, err_size;
} weft_output;

WEFT_API int weft_process_run_sized(weft_output *output, const weft_process_options *options, size_t size);

/** **awaits** a process from its start to its end, with what it wrote. Interrupted: it is killed. Free the output with weft_output_free(). */
static inline int weft_process_run(weft_output *output, const weft_process_options *options)
{
    return weft_process_run_sized(output, options, sizeof *options);
}
WEFT_API void weft_output_free(weft_output *output);

/** This process's standard input and output as streams, whatever they are (terminal, pipe, file). Closing one does not close the
 *  descriptor; what was written is written out first (when the runtime ends: for two seconds), while some of the input may have been read
 *  ahead. Input that cannot be read is WEFT_ECONNRESET. One of each at a time: WEFT_EBUSY, also for the moment that closing takes. */
WEFT_API int weft_stdin(weft_stream **s);
WEFT_API int weft_stdout(weft_stream **s);

/* ---- signals ------------------------------------------------------------------------------------------------- */

typedef struct weft_signal weft_signal;

/**
 * **awaits** until signal @number is watched. From then on until weft_signal_close() it no longer does what it did before, and every
 * open handle sees each arrival. Arrivals that nobody has asked for are counted, never replayed one by one. A handle that is still open
 * when its runtime ends is freed with it, and must not be touched any more. When interrupted, nothing was opened.
 * Returns: 0; WEFT_EINVAL (no such signal, or one that cannot be caught), WEFT_ENOMEM, WEFT_EMFILE, WEFT_ENORUNTIME, an interruption.
 */
WEFT_API int weft_signal_open(weft_signal **signal, int number);

/**
 * **awaits** an arrival since the last call (or since the opening). One task at a time per handle (WEFT_EBUSY). Cancel-safe.
 * Returns: how many there were, at least 1 (the kernel itself joins those that come close together); an interruption; WEFT_EINVAL.
 */
WEFT_API int weft_signal_next(weft_signal *signal);

/**
 * With the last handle of its number the signal does again what it did before: a moment later, as this never awaits; what arrives in
 * between is lost. NULL: nothing. Nobody may wait in it, and its runtime must still be there.
 */
WEFT_API void weft_signal_close(weft_signal *signal);

/**
 * **awaits** the first SIGINT or SIGTERM that arrives after the call; the one after that kills the process as usual (or does what else it
 * did before), even if the first has not been returned yet because tasks are stuck.
 * Returns: the signal's number; an interruption; WEFT_ENOMEM, WEFT_EMFILE, WEFT_ENORUNTIME.
 */
WEFT_API int weft_shutdown_signal(void);

WEFT_END_DECLS

#endif
