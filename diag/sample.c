/* sample.c - see sample.h.
 *
 * One request for the process, for ever: so a handler that comes late finds memory that is there, and a request that is not its own, or none. The request's
 * state:
 *
 *   IDLE ─ (asked) → ASKED ─ (the handler begins) → COPYING ─ (… and ends) → DONE ─ (read) → IDLE
 *                      └─ (it took too long) → IDLE
 *
 * Who asked waits for as long as PATIENCE, and finds it COPYING after that only if that thread got no CPU: then the request is the handler's, and whoever asks
 * next is refused until it has ended. */
#include <base/clock.h>
#include <base/lock.h>
#include <diag/sample.h>
#include <errno.h>
#include <runtime/runtime.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { IDLE, ASKED, COPYING, DONE };
enum { PATIENCE_MS = 200 };

static struct {
    wf_a32 state;
    int thread; /* whom it is for: the system's id, … */
    wf_worker *worker;
    const weft_task *task; /* the answer */
    wf_frozen frozen;
} request;

static wf_mutex lock = WF_MUTEX_INIT;
static unsigned users WF_GUARDED_BY(lock);
static bool buried WF_GUARDED_BY(lock); /* somebody's handler lies on top of ours and may still call it */
static struct sigaction old;            /* written while ours is not installed, read by it */

/* ---- in the thread that is interrupted: async-signal-safe ----------------------------------------------------- */

static void copy(const void *context)
{
    const wf_exec *exec = wf_exec_peek();
    request.frozen.count = 0;
    request.task = NULL;
    if (!exec || exec->worker != request.worker)
        return; /* its thread has left, and this one got its number */
    request.task = exec->task;
    wf_frozen_running(&request.frozen, request.worker, exec, context);
}

static void answer(const void *context)
{
    uint32_t state = ASKED;
    /* [SAMPLE] acquire: what is asked for is set. It may be another's: then this came late. */
    if (wf_load_acq(&request.state) != ASKED || request.thread != (int)syscall(SYS_gettid))
        return;
    while (!wf_cas_acqrel(&request.state, &state, COPYING))
        if (state != ASKED)
            return;
    copy(context);
    wf_store_rel(&request.state, DONE); /* [SAMPLE] release: the copy */
}

static void chain(int number, siginfo_t *info, void *context)
{
    if (old.sa_flags & SA_SIGINFO)
        old.sa_sigaction(number, info, context);
    else if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) /* by default it is ignored */
        old.sa_handler(number);
}

static void on_urgent(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == (void *)&request && info->si_pid == getpid())
        answer(context);
    else
        chain(number, info, context);
    errno = saved_errno;
}

/* ---- the handler --------------------------------------------------------------------------------------------- */

static int install(void)
{
    struct sigaction action = {.sa_sigaction = on_urgent, .sa_flags = SA_ONSTACK | SA_RESTART | SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    /* The old action is known before a signal can want it. */
    if (sigaction(SIGURG, NULL, &old) != 0 || sigaction(SIGURG, &action, NULL) != 0)
        return -errno;
    return 0;
}

static bool is_on_top(void)
{
    struct sigaction now;
    return sigaction(SIGURG, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_urgent;
}

/* Returns whether ours had to stay. */
static bool restore(void)
{
    if (!is_on_top())
        return true;
    sigaction(SIGURG, &old, NULL);
    return false;
}

int wf_sample_install(void)
{
    wf_mutex_lock(&lock);
    int code = users == 0 && !buried ? install() : 0;
    users += code == 0;
    wf_mutex_unlock(&lock);
    return code;
}

bool wf_sample_uninstall(void)
{
    wf_mutex_lock(&lock);
    bool last = --users == 0;
    if (last)
        buried = restore();
    wf_mutex_unlock(&lock);
    return last;
}

/* ---- asking -------------------------------------------------------------------------------------------------- */

static bool interrupt(int thread)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = SIGURG;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = &request;
    return syscall(SYS_rt_tgsigqueueinfo, info.si_pid, thread, SIGURG, &info) == 0;
}

/* A handler takes some microseconds; to be told by it would take a way to tell that is safe in handlers, and goes by the monotonic clock. */
static void wait_for_answer(void)
{
    const struct timespec moment = {.tv_nsec = 50 * 1000};
    int64_t until = wf_now() + PATIENCE_MS * WEFT_MS;
    while (wf_load_acq(&request.state) != DONE && wf_now() < until)
        nanosleep(&moment, NULL);
}

/* True: nobody answers any more. */
static bool withdraw(void)
{
    uint32_t state = ASKED;
    while (!wf_cas_acqrel(&request.state, &state, IDLE))
        if (state != ASKED)
            return false;
    return true;
}

static bool may_ask(void)
{
    uint32_t state = wf_load_acq(&request.state);
    return state == IDLE || state == DONE; /* not while a handler that came late still copies */
}

/* While the program has a handler of its own on top, it would take the interruption for somebody's message.
 * ThreadSanitizer calls handlers later, when the thread is somewhere else. */
const wf_frozen *wf_sample(wf_worker *w, const weft_task **task)
{
    int thread = wf_noted(&w->thread_id);
    *task = NULL;
    if (WF_TSAN || !w->rt->sampled || thread == 0 || !may_ask() || !is_on_top())
        return NULL;
    request.thread = thread;
    request.worker = w;
    wf_store_rel(&request.state, ASKED); /* [SAMPLE] release */
    if (interrupt(thread))
        wait_for_answer();
    if (withdraw() || wf_load_acq(&request.state) != DONE) /* [SAMPLE] acquire */
        return NULL;
    *task = request.task;
    return request.frozen.count > 0 ? &request.frozen : NULL;
}

void wf_sample_fork_lock(void) WF_NO_THREAD_SAFETY { wf_mutex_lock(&lock); }

void wf_sample_fork_unlock(bool child) WF_NO_THREAD_SAFETY
{
    if (child)
        wf_store_rlx(&request.state, IDLE);
    wf_mutex_unlock(&lock);
}
