/* exec.c - which execution runs on this thread, and the one loop around every operation that waits.
 *
 * Owns the execution of ordinary threads: a parker (mutex, condition variable, one flag), reference-counted because wakers may
 * outlive the thread. Strands bring their own (runtime/strand.c).
 *
 * It also counts the quiet ones: threads that do nothing until somebody wakes them, because they wait here without a deadline, and those that have said
 * that they never wake anybody. Who wakes one counts it out, before that one has run: so from outside it is never quiet while it is about to act. */
#include <base/alloc.h>
#include <base/clock.h>
#include <base/exec.h>
#include <base/scope.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- ordinary threads --------------------------------------------------------------------------------------- */

typedef struct parker {
    wf_exec exec;
    wf_body body;
    wf_a32 refs; /* the thread's and each waker's */
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool notified; /* under lock */
    bool quiet;    /* under lock: it waits, and is counted as quiet for that */
    bool ignored;  /* its thread's: that one is counted as quiet as long as it lives */
} parker;

static pthread_key_t parker_key;
static pthread_once_t parker_once = PTHREAD_ONCE_INIT;
static bool parker_key_made;

/* ---- quiet threads ------------------------------------------------------------------------------------------- */

/* Low half: how many; high half: how often that has changed. [QUIET] acq_rel: who sees a thread quiet sees what it did before. */
static wf_a64 quiet;
#define ONE_CHANGE (UINT64_C(1) << 32)

uint64_t wf_exec_quiet(void) { return wf_load_acq(&quiet); }

static void count_quiet(bool more)
{
    if (!WF_MODEL)
        wf_add_acqrel(&quiet, more ? ONE_CHANGE + 1 : ONE_CHANGE - 1);
}

static void quiet_begin_locked(parker *p)
{
    p->quiet = !p->ignored;
    if (p->quiet)
        count_quiet(true);
}

static void quiet_end_locked(parker *p)
{
    if (p->quiet)
        count_quiet(false);
    p->quiet = false;
}

static void parker_unref(parker *p)
{
    if (wf_sub_acqrel(&p->refs, 1) != 1)
        return;
    pthread_cond_destroy(&p->woken);
    pthread_mutex_destroy(&p->lock);
    free(p->exec.detail);
    free(p);
}

static int parker_clone(const weft_waker *self, weft_waker *out)
{
    wf_add_rlx(&((parker *)self->data)->refs, 1);
    *out = *self;
    return 0;
}

static void parker_wake_by_ref(const weft_waker *self)
{
    parker *p = self->data;
    pthread_mutex_lock(&p->lock);
    p->notified = true;
    quiet_end_locked(p);
    pthread_cond_signal(&p->woken);
    pthread_mutex_unlock(&p->lock);
}

static void parker_drop(weft_waker *self) { parker_unref(self->data); }

static void parker_wake(weft_waker *self)
{
    parker_wake_by_ref(self);
    parker_drop(self);
}

static const weft_waker_ops parker_waker_ops = {
    .clone = parker_clone, .wake = parker_wake, .wake_by_ref = parker_wake_by_ref, .drop = parker_drop};

/* An ordinary thread's wait is not a pthread cancellation point: cancelling it there would leave wakers behind. */
static void parker_suspend(wf_exec *self, int64_t deadline)
{
    parker *p = wf_container(self, parker, exec);
    deadline = wf_scopes_nearest(self->body, WF_MIN(deadline, self->wake_by));
    self->wake_by = WEFT_FOREVER;
    struct timespec until = {.tv_sec = deadline / WEFT_SEC, .tv_nsec = deadline % WEFT_SEC};
    int cancel_state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    pthread_mutex_lock(&p->lock);
    if (!p->notified && deadline == WEFT_FOREVER)
        quiet_begin_locked(p);
    while (!p->notified) {
        if (deadline == WEFT_FOREVER)
            pthread_cond_wait(&p->woken, &p->lock);
        else if (deadline <= 0 || pthread_cond_timedwait(&p->woken, &p->lock, &until) != 0)
            break;
    }
    p->notified = false;
    self->budget = WF_BUDGET;
    pthread_mutex_unlock(&p->lock);
    pthread_setcancelstate(cancel_state, NULL);
}

static int parker_interruption(wf_exec *self)
{
    bool any;
    return wf_scopes_entered(self->body) ? wf_scopes_look(self, &any) : 0;
}

static int parker_yield(wf_exec *self)
{
    (void)self;
    return sched_yield();
}

static const wf_exec_ops parker_ops = {.suspend = parker_suspend, .interruption = parker_interruption, .yield = parker_yield};

static void parker_thread_ends(void *arg)
{
    parker *p = arg;
    if (p->ignored)
        count_quiet(false);
    wf_scopes_detach(&p->body);
    wf_dependents_forget(&p->body);
    wf_here_set(NULL);
    parker_unref(p);
}

/* Its only thread is the one that forked, and runs. */
static void in_forked_child(void)
{
    parker *p = pthread_getspecific(parker_key);
    wf_store_rlx(&quiet, p && p->ignored);
}

static void parker_key_create(void)
{
    parker_key_made = pthread_key_create(&parker_key, parker_thread_ends) == 0;
    if (!WF_MODEL && parker_key_made)
        pthread_atfork(NULL, NULL, in_forked_child);
}

static wf_exec *parker_create(void)
{
    pthread_once(&parker_once, parker_key_create);
    parker *p = parker_key_made ? calloc(1, sizeof *p) : NULL;
    if (!p)
        return NULL;
    wf_store_rlx(&p->refs, 1);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->woken, &attributes);
    pthread_condattr_destroy(&attributes);
    p->exec.ops = &parker_ops;
    p->exec.budget = WF_BUDGET;
    p->exec.body = &p->body;
    p->exec.waits = &p->exec.unread;
    p->exec.wake_by = WEFT_FOREVER;
    p->exec.cx = (weft_context){.waker = {&parker_waker_ops, p}, .exec = &p->exec};
    if (pthread_setspecific(parker_key, p) != 0) {
        parker_unref(p);
        return NULL;
    }
    return &p->exec;
}

static bool is_ordinary(const wf_exec *exec) { return exec && exec->ops == &parker_ops; }

int wf_exec_ignore_thread(void)
{
    wf_exec *exec = wf_exec_current();
    if (!exec)
        return WEFT_ENOMEM;
    parker *p = is_ordinary(exec) ? wf_container(exec, parker, exec) : NULL;
    if (!p || p->ignored) /* a runtime knows its own threads */
        return 0;
    p->ignored = true;
    count_quiet(true);
    return 0;
}

bool wf_exec_is_ignored(const wf_exec *exec) { return is_ordinary(exec) && wf_container(exec, parker, exec)->ignored; }

void wf_exec_count_apart(wf_exec *exec, bool apart)
{
    if (wf_exec_is_ignored(exec))
        count_quiet(!apart);
}

/* ---- the accessors ------------------------------------------------------------------------------------------ */

/* Strands have theirs already: making one is out of line, and its registers need not be saved for them. */
WF_NOINLINE wf_exec *wf_exec_make(void)
{
    wf_exec *exec = parker_create();
    wf_here_set(exec);
    return exec;
}

wf_exec *wf_exec_insist(void)
{
    const struct timespec pause = {.tv_nsec = WEFT_MS};
    wf_exec *exec;
    int cancel_state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state); /* as every wait here: see parker_suspend() */
    while (!(exec = wf_exec_current()) && parker_key_made)
        nanosleep(&pause, NULL);
    pthread_setcancelstate(cancel_state, NULL);
    return exec;
}

/* ---- the time ----------------------------------------------------------------------------------------------- */

int64_t weft_now(void)
{
    const wf_exec *exec = wf_exec_peek();
    return wf_likely(!exec || !exec->clock) ? wf_now() : wf_load_rlx(exec->clock);
}

/* ---- awaiting ----------------------------------------------------------------------------------------------- */

int wf_await_entry_any(wf_exec **out)
{
    wf_exec *exec = wf_exec_current();
    *out = exec;
    if (wf_unlikely(!exec))
        return WEFT_ENOMEM;
    if (wf_unlikely(!wf_exec_can_wait(exec)))
        return WEFT_EDEADLK;
    int why = exec->ops->interruption(exec);
    if (wf_unlikely(why == WEFT_EPANIC))
        exec->ops->panic(exec, "a scope was not left: the function that entered it has returned");
    return wf_meet(exec, why);
}

ssize_t wf_await(const wf_op_ops *ops, void *op, int64_t deadline) { return wf_await_inline(ops, op, deadline); }

ssize_t wf_await_shielded(const wf_op_ops *ops, void *op)
{
    wf_exec *exec = wf_exec_current();
    if (!exec)
        return WEFT_ENOMEM;
    if (!wf_exec_can_wait(exec))
        return WEFT_EDEADLK;
    for (;;) {
        ssize_t result = ops->poll(op, &exec->cx);
        if (result != WEFT_PENDING)
            return result;
        exec->ops->interruption(exec); /* for what depends on a scope that fires meanwhile */
        exec->ops->suspend(exec, WEFT_FOREVER);
    }
}

void wf_call_back(void (*fn)(void *), void *value)
{
    wf_exec *exec = wf_exec_peek();
    if (!fn)
        return;
    if (exec)
        exec->callbacks++;
    fn(value);
    if (exec)
        exec->callbacks--;
}

/* ---- what weft_error_detail() says --------------------------------------------------------------------------- */

int weft_error_set(int code, const char *fmt, ...)
{
    wf_exec *exec = wf_exec_current();
    if (!exec)
        return code;
    if (!exec->detail)
        exec->detail = malloc(WF_DETAIL_SIZE);
    if (!exec->detail)
        return code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(exec->detail, WF_DETAIL_SIZE, fmt, args);
    va_end(args);
    return code;
}

const char *weft_error_detail(void)
{
    wf_exec *exec = wf_exec_peek();
    return exec && exec->detail ? exec->detail : "";
}
