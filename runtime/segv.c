/* segv.c - see segv.h.
 *
 * A fault's way: the kernel enters on_fault on the alternate stack; the describer knows the address: one line, abort.
 * Otherwise the old action: its handler is called; for SIG_DFL it is restored and the faulting instruction runs once
 * more, so that the core dump shows the fault itself and not this file.
 *
 * Everything down to on_fault is async-signal-safe. */
#include <base/lock.h>
#include <errno.h>
#include <runtime/segv.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SIGNALS = 2, LINE_SIZE = 320, NAME_MAX_SHOWN = 128, ALTERNATE_BYTES = 64 * 1024, ROOM_FOR_US = 16 * 1024 };

static const int signals[SIGNALS] = {SIGSEGV, SIGBUS};

static wf_mutex lock = WF_MUTEX_INIT;
static unsigned users WF_GUARDED_BY(lock);
static bool buried WF_GUARDED_BY(lock); /* somebody's handler lies on top of ours and may still call it */
static struct sigaction old[SIGNALS];   /* written while on_fault is not installed, read by on_fault */
static wf_aptr describer;               /* wf_segv_describer */

typedef struct line {
    char text[LINE_SIZE];
    size_t length;
} line;

static void add_text(line *l, const char *text, size_t limit)
{
    for (size_t i = 0; i < limit && text[i] && l->length < LINE_SIZE; i++)
        l->text[l->length++] = text[i];
}

static void add_number(line *l, uint64_t number)
{
    char digits[21] = {0};
    char *first = &digits[20];
    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    add_text(l, first, sizeof(digits));
}

static void format_overflow(line *l, const char *name, uint64_t id, size_t stack_size)
{
    add_text(l, "weft: stack overflow in task ", LINE_SIZE);
    if (name && name[0]) {
        add_text(l, "\"", 1);
        add_text(l, name, NAME_MAX_SHOWN);
        add_text(l, "\" ", 2);
    }
    add_text(l, "(#", 2);
    add_number(l, id);
    add_text(l, "): its stack has ", LINE_SIZE);
    add_number(l, stack_size / 1024);
    add_text(l, " KiB; see weft_spawn_options.stack_size\n", LINE_SIZE);
}

WEFT_NORETURN static void die_of_overflow(const char *name, uint64_t id, size_t stack_size)
{
    line l = {.length = 0};
    format_overflow(&l, name, id, stack_size);
    ssize_t written = write(STDERR_FILENO, l.text, l.length);
    (void)written; /* there is nobody else to tell */
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    sigaction(SIGABRT, &fallback, NULL);
    abort();
}

/* A fault comes again when the handler returns; a signal that somebody sent (si_code <= 0) does not, and is sent once
 * more. */
static void default_action(int signal_number, const siginfo_t *info)
{
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    sigaction(signal_number, &fallback, NULL);
    if (info->si_code <= 0)
        raise(signal_number);
}

static void chain(int signal_number, siginfo_t *info, void *context)
{
    const struct sigaction *before = &old[signal_number == signals[0] ? 0 : 1];
    bool sent = info->si_code <= 0;
    if (before->sa_flags & SA_SIGINFO)
        before->sa_sigaction(signal_number, info, context);
    else if (before->sa_handler == SIG_DFL || (before->sa_handler == SIG_IGN && !sent))
        default_action(signal_number, info);
    else if (before->sa_handler != SIG_IGN)
        before->sa_handler(signal_number);
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    const char *name = NULL;
    uint64_t id = 0;
    size_t stack_size = 0;
    /* [DESCRIBER] acquire: pairs with the release in wf_segv_set_describer; what the describer reads is set up. */
    wf_segv_describer describe = (wf_segv_describer)(uintptr_t)wf_load_acq(&describer);
    if (info->si_code > 0 && describe && describe(info->si_addr, &name, &id, &stack_size))
        die_of_overflow(name, id, stack_size);
    chain(signal_number, info, context);
    errno = saved_errno;
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == on_fault;
}

/* Put @count of the old actions back where ours is still the current one. Returns whether one of ours had to stay. */
static bool restore(int count)
{
    bool stays = false;
    for (int i = 0; i < count; i++) {
        struct sigaction now;
        if (sigaction(signals[i], NULL, &now) != 0 || !is_ours(&now))
            stays = true;
        else
            sigaction(signals[i], &old[i], NULL);
    }
    return stays;
}

static int install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_ONSTACK | SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < SIGNALS; i++) {
        /* The old action is known before a fault can want it. */
        if (sigaction(signals[i], NULL, &old[i]) == 0 && sigaction(signals[i], &action, NULL) == 0)
            continue;
        int code = -errno;
        restore(i);
        return code;
    }
    return 0;
}

/* On top of somebody who lies on top of us we do not install a second time: each would pass faults on to the other for
 * ever. He is expected to pass them on to us. */
int wf_segv_install(void)
{
    wf_mutex_lock(&lock);
    int code = users == 0 && !buried ? install() : 0;
    if (code == 0)
        users++;
    wf_mutex_unlock(&lock);
    return code;
}

void wf_segv_uninstall(void)
{
    wf_mutex_lock(&lock);
    assert(users > 0);
    if (--users == 0)
        buried = restore(SIGNALS);
    wf_mutex_unlock(&lock);
}

static size_t alternate_bytes(void)
{
    long least = -1;
#ifdef _SC_MINSIGSTKSZ
    least = sysconf(_SC_MINSIGSTKSZ); /* with AVX-512 or AMX registers more than MINSIGSTKSZ says */
#endif
    return WF_MAX((size_t)ALTERNATE_BYTES, (size_t)WF_MAX(least, 0) + ROOM_FOR_US);
}

int wf_segv_thread_enter(wf_segv_thread *thread)
{
    *thread = (wf_segv_thread){0};
    stack_t now;
    if (sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE))
        return 0;
    size_t bytes = alternate_bytes();
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return -errno;
    stack_t ours = {.ss_sp = map, .ss_size = bytes};
    if (sigaltstack(&ours, NULL) != 0) {
        int code = -errno;
        munmap(map, bytes);
        return code;
    }
    *thread = (wf_segv_thread){.map = map, .bytes = bytes};
    return 0;
}

void wf_segv_thread_leave(wf_segv_thread *thread)
{
    if (!thread->map)
        return;
    stack_t now;
    stack_t none = {.ss_flags = SS_DISABLE};
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == thread->map)
        sigaltstack(&none, NULL);
    munmap(thread->map, thread->bytes);
    *thread = (wf_segv_thread){0};
}

void wf_segv_set_describer(wf_segv_describer fn)
{
    wf_store_rel(&describer, (void *)(uintptr_t)fn); /* [DESCRIBER] release */
}

void wf_segv_fork_lock(void) WF_NO_THREAD_SAFETY { wf_mutex_lock(&lock); }

void wf_segv_fork_unlock(void) WF_NO_THREAD_SAFETY { wf_mutex_unlock(&lock); }
