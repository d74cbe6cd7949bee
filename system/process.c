/* process.c - other programs: started, watched and killed on the loop thread, by libuv.
 *
 * The record has two holders: the handle, and the loop thread until libuv has closed what it has of it. Everything that touches the process
 * id is done on that thread, which also reaps: so no signal ever goes to somebody who got the number afterwards. */
#include <base/case.h>
#include <errno.h>
#include <fcntl.h>
#include <net/stream.h>
#include <runtime/runtime.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sync/waiters.h>
#include <sys/socket.h>
#include <system/loop_thread.h>
#include <unistd.h>
#include <weft/os.h>

enum { NOT_STARTED, RUNNING, ENDED };

struct weft_process {
    wf_loop_resident resident;
    wf_loop_call start, kill;
    uv_process_t handle; /* the loop thread's, like all that has no other rule */
    uv_process_options_t options;
    uv_stdio_container_t stdio[3];
    weft_runtime *rt;
    wf_a32 holders;
    wf_a64 signals; /* to be sent, bit n - 1: number n. Whoever finds none posts the call, and it is not posted again before it took them */
    bool leave_running;
    bool piped[3];           /* stdio's descriptor is the child's end */
    weft_stream *streams[3]; /* the handle's: our ends of the pipes, until they are taken */
    wf_spin lock;
    int state;  /* under lock, and so below */
    int error;  /* that starting failed with */
    int status; /* that it ended with */
    int pid;
    weft_waiters_ waiters; /* for the next state */
};

/* ---- holders ------------------------------------------------------------------------------------------------- */

static void let_go(weft_process *p)
{
    if (wf_sub_acqrel(&p->holders, 1) == 1)
        free(p);
}

static void on_closed(uv_handle_t *handle) { let_go(wf_container(handle, weft_process, handle)); }

static void change_state(weft_process *p, int state)
{
    wf_spin_lock(&p->lock);
    p->state = state;
    wf_waiters_serve_all(&p->lock, &p->waiters);
}

/* ---- on the loop thread --------------------------------------------------------------------------------------- */

static void ended(uv_process_t *handle, int64_t status, int signal)
{
    weft_process *p = wf_container(handle, weft_process, handle);
    p->status = signal ? 256 + signal : (int)status;
    change_state(p, ENDED);
    uv_close((uv_handle_t *)handle, on_closed);
}

/* Not to outlive the runtime unless it was meant to. What is killed is reaped, too: ended() closes the handle. */
static void evict(wf_loop_resident *resident)
{
    weft_process *p = wf_container(resident, weft_process, resident);
    if (p->state == RUNNING && !p->leave_running && uv_process_kill(&p->handle, SIGKILL) == 0)
        return;
    uv_close((uv_handle_t *)&p->handle, on_closed);
}

static void close_child_ends(weft_process *p)
{
    for (int i = 0; i < 3; i++)
        if (p->piped[i])
            close(p->stdio[i].data.fd);
}

static void start(wf_loop_call *call, uv_loop_t *loop)
{
    weft_process *p = wf_container(call, weft_process, start);
    p->handle.data = &p->resident;
    p->error = uv_spawn(loop, &p->handle, &p->options);
    p->pid = p->handle.pid;
    close_child_ends(p);
    if (p->error < 0)
        uv_close((uv_handle_t *)&p->handle, on_closed);
    change_state(p, p->error < 0 ? ENDED : RUNNING);
}

static void send_signal(wf_loop_call *call, uv_loop_t *loop)
{
    weft_process *p = wf_container(call, weft_process, kill);
    (void)loop;
    for (uint64_t set = wf_swap_acqrel(&p->signals, 0); set; set &= set - 1)
        if (p->state == RUNNING)
            uv_process_kill(&p->handle, __builtin_ctzll(set) + 1);
    let_go(p);
}

/* ---- starting ------------------------------------------------------------------------------------------------ */

/* Ours, then the child's. What it writes comes through a pipe: one can be opened again by its name, such as /dev/stdout. What it reads comes
 * through a pair of sockets, of which ours can say that nothing more comes and yet stay open. */
WF_NOINLINE static int make_ends(int which, int ends[2])
{
    int err = which == 0 ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) : pipe2(ends, O_CLOEXEC);
    return err == 0 ? 0 : -errno;
}

static int make_pipe(weft_process *p, int which)
{
    int ends[2];
    int err = make_ends(which, ends);
    if (err < 0)
        return err;
    err = weft_stream_from_fd(&p->streams[which], ends[0]);
    if (err < 0) {
        close(ends[0]);
        close(ends[1]);
        return err;
    }
    p->piped[which] = true;
    p->stdio[which] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = ends[1]};
    return 0;
}

static int arrange_stdio(weft_process *p, int which, weft_stdio kind)
{
    switch (kind) {
    case WEFT_STDIO_NULL:
        p->stdio[which].flags = UV_IGNORE;
        return 0;
    case WEFT_STDIO_INHERIT:
        p->stdio[which] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = which};
        return 0;
    case WEFT_STDIO_PIPE:
        return make_pipe(p, which);
    default:
        return WEFT_EINVAL;
    }
}

static void close_streams(weft_process *p)
{
    for (int i = 0; i < 3; i++)
        weft_close(p->streams[i]);
}

static int prepare(weft_process *p, const weft_process_options *o)
{
    const weft_stdio kinds[3] = {o->in, o->out, o->err};
    p->options = (uv_process_options_t){.file = o->argv[0],
                                        .args = (char **)(void *)o->argv,
                                        .env = (char **)(void *)o->env,
                                        .cwd = o->directory,
                                        .exit_cb = ended,
                                        .stdio_count = 3,
                                        .stdio = p->stdio};
    p->leave_running = o->leave_running;
    int err = 0;
    for (int i = 0; i < 3 && err == 0; i++)
        err = arrange_stdio(p, i, kinds[i]);
    return err;
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

static bool has_got_on(wf_waiter *w)
{
    const weft_process *p = w->object;
    return p->state >= (int)w->want;
}

static wf_waiter wait_for(weft_process *p, int state)
{
    return (wf_waiter){.lock = &p->lock, .queue = &p->waiters, .take = has_got_on, .object = p, .want = (size_t)state};
}

/* Served at each change: is it the one that is wanted? */
static ssize_t poll_state(wf_waiter *w, weft_context *cx)
{
    ssize_t result = wf_waiter_poll(w, cx);
    if (result != 0)
        return result;
    wf_spin_lock(w->lock);
    bool there = has_got_on(w);
    w->state = there ? w->state : WF_WAITER_NEW;
    wf_spin_unlock(w->lock);
    return there ? 0 : wf_waiter_poll(w, cx);
}

/* One that is being started has no number yet. */
static ssize_t state_poll(void *arg, weft_context *cx)
{
    wf_waiter *w = arg;
    const weft_process *p = w->object;
    ssize_t result = poll_state(w, cx);
    if (result == WEFT_PENDING && w->want == ENDED)
        wf_exec_waits(cx->exec, WF_WAIT_PROCESS, (unsigned)p->pid);
    else if (result == WEFT_PENDING)
        wf_exec_waits(cx->exec, WF_WAIT_BLOCKING, 0);
    return result;
}

static ssize_t state_cancel(void *arg)
{
    wf_waiter *w = arg;
    wf_waiter_cancel(w);
    wf_spin_lock(w->lock);
    bool there = has_got_on(w);
    wf_spin_unlock(w->lock);
    return there ? 0 : WEFT_PENDING;
}

static const wf_op_ops state_ops = {.poll = state_poll, .cancel = state_cancel};

static ssize_t await_until_interrupted(const wf_op_ops *ops, void *op) { return wf_await(ops, op, WEFT_FOREVER); }

/* What goes on elsewhere is waited for in real time. */
static int await_state(weft_process *p, int state, ssize_t (*await)(const wf_op_ops *ops, void *op))
{
    wf_waiter w = wait_for(p, state);
    wf_paused_clock_hold(p->rt);
    ssize_t err = await(&state_ops, &w);
    wf_paused_clock_release(p->rt);
    return (int)err;
}

static int exit_status(weft_process *p)
{
    wf_spin_lock(&p->lock);
    int status = p->error < 0 ? p->error : p->status;
    wf_spin_unlock(&p->lock);
    return status;
}

static bool has_ended(weft_process *p)
{
    wf_spin_lock(&p->lock);
    bool ended = p->state == ENDED;
    wf_spin_unlock(&p->lock);
    return ended;
}

int weft_process_wait(weft_process *p)
{
    if (!p)
        return WEFT_EINVAL;
    wf_exec *exec;
    int err = has_ended(p) ? 0 : wf_await_entry(&exec); /* before the clock is held: it may panic */
    if (err == 0 && !has_ended(p))
        err = await_state(p, ENDED, await_until_interrupted);
    return err < 0 ? err : exit_status(p);
}

WF_CASE_FITS(wf_waiter);

static ssize_t poll_case(weft_case *c, weft_context *cx)
{
    weft_process *p = c->object_;
    wf_waiter *w = WF_CASE_STATE(c, wf_waiter);
    if (!w->object) {
        *w = wait_for(p, ENDED);
        wf_paused_clock_hold(p->rt);
    }
    ssize_t err = state_poll(w, cx);
    return err < 0 ? err : exit_status(p);
}

static void leave_case(weft_case *c)
{
    weft_process *p = c->object_;
    wf_waiter_cancel(WF_CASE_STATE(c, wf_waiter));
    wf_paused_clock_release(p->rt);
}

const struct weft_case_ops weft_case_exited_ = {.poll = poll_case, .leave = leave_case};

/* ---- public -------------------------------------------------------------------------------------------------- */

/* Starting takes a moment and is waited for in any case: then there is no process that nobody knows of. */
static int start_and_wait(weft_process *p)
{
    wf_store_rlx(&p->holders, 2);
    int err = wf_loop_thread_post(p->rt, &p->start);
    if (err == 0)
        return await_state(p, RUNNING, wf_await_shielded) < 0 ? WEFT_EDEADLK : p->error;
    wf_store_rlx(&p->holders, 1);
    close_child_ends(p);
    return err;
}

static void discard(weft_process *p)
{
    close_streams(p);
    let_go(p);
}

int weft_process_spawn_sized(weft_process **out, const weft_process_options *options, size_t size)
{
    wf_exec *exec;
    weft_process_options o = WEFT_PROCESS_OPTIONS_INIT;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (options)
        memcpy(&o, options, WF_MIN(size, sizeof o));
    if (!o.argv || !o.argv[0])
        return WEFT_EINVAL;
    int err = wf_await_entry(&exec);
    if (err < 0)
        return err;
    if (!exec->rt)
        return WEFT_ENORUNTIME;
    weft_process *p = calloc(1, sizeof *p);
    if (!p)
        return WEFT_ENOMEM;
    p->rt = exec->rt;
    p->resident.evict = evict;
    p->start.run = start;
    p->kill.run = send_signal;
    wf_store_rlx(&p->holders, 1);
    err = prepare(p, &o);
    if (err < 0)
        close_child_ends(p);
    else if ((err = start_and_wait(p)) == 0)
        *out = p;
    if (err < 0)
        discard(p);
    return err < 0 ? weft_error_set(err, "process %s: %s", o.argv[0], weft_strerror(err)) : 0;
}

static weft_stream *take_stream(weft_process *p, int which)
{
    weft_stream *s = p ? p->streams[which] : NULL;
    if (p)
        p->streams[which] = NULL;
    return s;
}

weft_stream *weft_process_stdin(weft_process *p) { return take_stream(p, 0); }
weft_stream *weft_process_stdout(weft_process *p) { return take_stream(p, 1); }
weft_stream *weft_process_stderr(weft_process *p) { return take_stream(p, 2); }

int weft_process_id(weft_process *p) { return p ? p->pid : 0; }

int weft_process_kill(weft_process *p, int signal)
{
    if (!p || signal < 1 || signal > 64)
        return WEFT_EINVAL;
    if (has_ended(p))
        return -ESRCH;
    uint64_t bit = UINT64_C(1) << (signal - 1);
    if (wf_or_acqrel(&p->signals, bit) != 0)
        return 0; /* goes with those on their way */
    wf_add_rlx(&p->holders, 1);
    int err = wf_loop_thread_post(p->rt, &p->kill);
    if (err < 0) {
        wf_swap_acqrel(&p->signals, 0);
        let_go(p);
    }
    return err;
}

void weft_process_close(weft_process *p)
{
    if (!p)
        return;
    close_streams(p);
    if (!p->leave_running) {
        weft_process_kill(p, SIGKILL);
        wf_exec_insist(); /* nobody could be told that there was no memory for waiting */
        await_state(p, ENDED, wf_await_shielded);
    }
    let_go(p);
}
