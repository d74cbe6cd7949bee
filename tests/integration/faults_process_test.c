/* faults_process_test.c - other programs and the end of what is fed to them when the kernel fails, at every call in turn. */
#include <errno.h>
#include <signal.h>
#include <support/faults_sweep.h>
#include <weft/os.h>

enum { BYTES = 9000 };

static ssize_t run_cat(void *arg)
{
    const char *const argv[] = {"/bin/cat", NULL};
    weft_process_options o = {.argv = argv, .input = arg, .input_size = BYTES};
    weft_output out;
    int err = weft_process_run(&out, &o);
    if (err < 0) {
        cr_assert(!out.out && !out.err);
        return err;
    }
    cr_assert_eq(out.status, 0);
    cr_assert_eq(out.out_size, BYTES);
    cr_assert_arr_eq(out.out, arg, BYTES);
    weft_output_free(&out);
    return 0;
}

#define ANYBODYS(call_, times_, error_, effect_)                                                             \
    {                                                                                                        \
        {.call = FAULTS_##call_, .times = (times_), .error = (error_), .anybodys = true}, effect_, -(error_) \
    }

static const fault in_running[] = {
    TOLD(SOCKETPAIR, UNIX, EMFILE),
    TOLD(SOCKETPAIR, UNIX, ENFILE),
    TOLD(PIPE2, PIPE, EMFILE),
    TOLD(PIPE2, PIPE, ENFILE),
    TOLD(FSTAT, ANY, ENOMEM),
    TOLD(FCNTL, ANY, EPERM),
    TOLD(GETSOCKOPT, UNIX, ENOBUFS),
    ANYBODYS(FORK, 1, EAGAIN, FAULTS_TOLD),
    ANYBODYS(FORK, 1, ENOMEM, FAULTS_TOLD),
    ANYBODYS(WAITPID, 3, EINTR, FAULTS_UNNOTICED),
    UNNOTICED(READ, PIPE, 3, EINTR),
    UNNOTICED(READ, PIPE, 3, EAGAIN),
    SHORT(READ, PIPE, 3, 1),
    TOLD(READ, PIPE, EIO),
    UNNOTICED(SEND, UNIX, 3, EINTR),
    UNNOTICED(SEND, UNIX, 3, EAGAIN),
    SHORT(SEND, UNIX, 3, 1),
    TOLD(SEND, UNIX, ENOBUFS),
    TOLD(SEND, UNIX, ENOMEM),
    UNNOTICED(CLOSE, PIPE, 1, EINTR),
    UNNOTICED(CLOSE, UNIX, 1, EINTR),
    UNNOTICED(CLOSE, PIPE, 1, EIO),
#if !WF_REACTOR_UVPOLL
    TOLD(EPOLL_CTL, PIPE, ENOMEM),
    UNNOTICED(EPOLL_DEL, PIPE, 1, ENOENT),
#endif
};

/* What broke: when its input could not be written, the process ended well with the half of it. */
WF_TEST_WORKERS(faults_process, a_program_gets_all_and_gives_all_or_it_is_told_what_it_met)
{
    static char input[BYTES];
    for (int i = 0; i < BYTES; i++)
        input[i] = (char)(i * 7 + i / 256);
    faults_sweep_with(workers, &FAULTS_SWEEP(in_running, run_cat, .arg = input));
}

/* ---- runtimes that begin to look after the system ----------------------------------------------------------------------- */

/* The code, as a pointer. */
static void *first_use(void *arg)
{
    const char *const argv[] = {"/bin/true", NULL};
    weft_process_options o = {.argv = argv};
    weft_process *process;
    weft_signal *usr1;
    (void)arg;
    int err = weft_signal_open(&usr1, SIGUSR1);
    if (err < 0)
        return weft_fail(err);
    weft_signal_close(usr1);
    err = weft_process_spawn(&process, &o);
    if (err < 0)
        return weft_fail(err);
    int status = weft_process_wait(process);
    cr_assert_eq(status, 0, "it is %d", status);
    weft_process_close(process);
    return NULL;
}

static ssize_t begin_and_end(void *arg)
{
    weft_options o = {.workers = 2};
    void *result = NULL;
    (void)arg;
    int err = weft_run_with(&o, first_use, NULL, &result);
    return err == WEFT_EFAILED ? (int)(intptr_t)result : err;
}

/* Of eventfd() only weft's own: see net_faults_test.c. */
static const fault in_beginning[] = {
    ANYBODYS(EPOLL_CREATE1, 1, EMFILE, FAULTS_TOLD),
    ANYBODYS(EPOLL_WAIT, 3, EINTR, FAULTS_UNNOTICED),
    TOLD(EVENTFD, ANY, EMFILE),
    UNNOTICED(WRITE, OTHER, 1, EINTR),
#if WF_REACTOR_UVPOLL
    UNNOTICED(READ, OTHER, 1, EINTR),
#else
    UNNOTICED(EPOLL_WAIT, ANY, 1, EINTR),
    UNNOTICED(EPOLL_WAIT, ANY, 20, EINTR),
    TOLD(EPOLL_CTL, OTHER, ENOMEM),
    TOLD(EPOLL_CTL, OTHER, ENOSPC),
#endif
};

/* Libuv 1.44 leaves its epoll set open then. */
static const fault without_pipes[] = {
    ANYBODYS(PIPE2, 1, EMFILE, FAULTS_TOLD),
    ANYBODYS(PIPE2, 1, ENFILE, FAULTS_TOLD),
};

Test(faults_process, a_runtime_begins_or_tells_why_not_and_so_do_its_threads)
{
    faults_need();
    faults_sweep_here(&FAULTS_SWEEP(in_beginning, begin_and_end));
    faults_sweep_here(&FAULTS_SWEEP(without_pipes, begin_and_end, .keeps = true));
}
