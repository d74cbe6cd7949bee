/* backtrace.c - see backtrace.h. The one lock, who may be interrupted, and how frames are printed. */
#include <base/lock.h>
#include <diag/sample.h>
#include <diag/unwind.h>
#include <inttypes.h>
#include <runtime/strand.h>
#include <string.h>

/* ---- the lock ------------------------------------------------------------------------------------------------ */

static wf_mutex lock = WF_MUTEX_INIT;
static unsigned prepared WF_GUARDED_BY(lock); /* runtimes that are: while there is one, the session stays */

static void before_fork(void) WF_NO_THREAD_SAFETY
{
    wf_mutex_lock(&lock);
    wf_sample_fork_lock();
}

static void in_parent(void) WF_NO_THREAD_SAFETY
{
    wf_sample_fork_unlock(false);
    wf_mutex_unlock(&lock);
}

static void in_child(void) WF_NO_THREAD_SAFETY
{
    wf_sample_fork_unlock(true);
    wf_mutex_unlock(&lock);
}

static void init_once(void) { pthread_atfork(before_fork, in_parent, in_child); }

static void enter(void) WF_ACQUIRE(lock)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_once);
    wf_mutex_lock(&lock);
}

/* What a session keeps is not left behind where nobody watches. */
static void leave(void) WF_RELEASE(lock)
{
    if (prepared == 0)
        wf_libdw_close();
    wf_mutex_unlock(&lock);
}

void wf_backtrace_hold(void)
{
    enter();
    prepared++;
    leave();
}

void wf_backtrace_let_go(void)
{
    enter();
    prepared--;
    leave();
}

/* ---- who may be interrupted ---------------------------------------------------------------------------------- */

int wf_backtrace_prepare(weft_runtime *rt)
{
    int code = rt->sampled ? wf_sample_install() : 0;
    if (rt->sampled && code == 0)
        wf_backtrace_hold();
    return code;
}

void wf_backtrace_unprepare(weft_runtime *rt)
{
    if (!rt->sampled)
        return;
    wf_backtrace_let_go();
    wf_sample_uninstall();
}

/* ---- where they are ------------------------------------------------------------------------------------------ */

void wf_backtrace_strand(const weft_task *task, wf_frames *out)
{
    static wf_frozen frozen WF_GUARDED_BY(lock);
    const wf_strand *s = wf_task_strand(task);
    out->count = 0;
    out->cut = false;
    if (!s)
        return;
    enter();
    wf_frozen_parked(&frozen, s->exec.body);
    wf_unwind(&frozen, out);
    leave();
}

void wf_backtrace_frozen(const wf_frozen *frozen, wf_frames *out)
{
    enter();
    wf_unwind(frozen, out);
    leave();
}

bool wf_backtrace_worker_of(wf_worker *w, wf_frames *out, const weft_task **task)
{
    out->count = 0;
    out->cut = false;
    enter();
    const wf_frozen *frozen = wf_sample(w, task);
    if (frozen)
        wf_unwind(frozen, out);
    leave();
    return out->count > 0;
}

bool wf_backtrace_worker(wf_worker *w, wf_frames *out)
{
    const weft_task *task;
    return wf_backtrace_worker_of(w, out, &task);
}

bool wf_frames_equal(const wf_frames *a, const wf_frames *b)
{
    return a->count == b->count && a->cut == b->cut && memcmp(a->pc, b->pc, a->count * sizeof *a->pc) == 0;
}

/* ---- printing ------------------------------------------------------------------------------------------------ */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

enum { LINE_SIZE = 512 };

static void describe(bool dw, const wf_frames *frames, unsigned i, char *line)
{
    wf_place place;
    wf_place_of(dw, wf_frame_address(frames, i), &place);
    char name[LINE_SIZE / 2], where[LINE_SIZE / 2] = "";
    snprintf(name, sizeof name, "0x%" PRIxPTR, frames->pc[i]);
    if (place.name)
        snprintf(name, sizeof name, "%s", place.name);
    if (place.file)
        snprintf(where, sizeof where, " at %.200s:%d", base_name(place.file), place.line);
    else if (place.object && place.object[0])
        snprintf(where, sizeof where, " in %.200s", base_name(place.object));
    snprintf(line, LINE_SIZE, "%s%s", name, where);
}

/* Not under the lock, as nobody knows what a stream does. */
static void print_one(const wf_frames *frames, unsigned i, FILE *to)
{
    char line[LINE_SIZE];
    enter();
    describe(wf_libdw_open(), frames, i, line);
    leave();
    fprintf(to, "    #%u %s\n", i, line);
}

void wf_backtrace_print(const wf_frames *frames, FILE *to)
{
    wf_backtrace_hold();
    for (unsigned i = 0; i < frames->count; i++)
        print_one(frames, i, to);
    wf_backtrace_let_go();
    if (frames->cut)
        fprintf(to, "    ... and more\n");
}
