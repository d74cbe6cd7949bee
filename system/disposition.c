/* disposition.c - see disposition.h.
 *
 * The first watch of a number remembers its action, the last one puts it back. libuv shares its handler between all of its
 * loops, also those that are not weft's: while one of these still watches, libuv's handler is what is put back. Between libuv's
 * "default" and the former action there are two system calls; libuv offers no way around them. What the program has put on top of the watches
 * meanwhile is its last word, and stays.
 *
 * A handler may have begun on another thread, and come to libuv's tree only when the watch has left it: then nobody would have seen
 * that signal. So weft's handler stands before libuv's and has a gate per number:
 *
 *                      OPEN                     CLOSING         PASS_ON                DROP
 *   a handler begins   + ENTERED, libuv's       | LATE          raises it again        nothing
 *   ... and ends       - ENTERED
 *   the last unwatch   -> CLOSING, and waits    -> PASS_ON or DROP, when the former
 *                      till nobody is inside    action is back; raises it if LATE
 *   the first watch    impossible               impossible      -> OPEN                -> OPEN */
#include <base/lock.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <system/disposition.h>
#include <unistd.h>

enum { DROP = 0, OPEN = 1, CLOSING = 2, PASS_ON = 3, STATE = 3, LATE = 4, ENTERED = 8 };

static wf_mutex lock = WF_MUTEX_INIT;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sigaction libuvs; /* written before the first gate opens */
static struct {
    wf_a32 gate;             /* handlers; and, under lock, the first watch and the last unwatch */
    wf_list watches;         /* under lock */
    struct sigaction before; /* under lock: valid while there are watches */
} numbers[WF_LAST_SIGNAL + 1];

bool wf_disposition_can_watch(int number)
{
    static const int refused[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction now;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (number == refused[i])
            return false;
    return number >= 1 && number <= WF_LAST_SIGNAL && sigaction(number, NULL, &now) == 0; /* libc keeps some to itself */
}

/* ---- the gate ------------------------------------------------------------------------------------------------ */

static void raise_again(int number)
{
    int before = errno;
    kill(getpid(), number);
    errno = before;
}

/* Returns the state that was met; what that asks for in the word is done. */
static uint32_t begin(wf_a32 *gate)
{
    uint32_t seen = wf_load_acq(gate), next;
    do {
        next = seen;
        if ((seen & STATE) == OPEN)
            next += ENTERED;
        else if ((seen & STATE) == CLOSING)
            next |= LATE;
        /* [GATE] acquire: libuvs, which was written before any gate opened. */
    } while (!wf_cas_acqrel(gate, &seen, next));
    return seen & STATE;
}

/* On any thread that has the signal open, at any time. */
static void on_arrival(int number)
{
    wf_a32 *gate = &numbers[number].gate;
    switch (begin(gate)) {
    case OPEN:
        libuvs.sa_handler(number);
        wf_sub_rel(gate, ENTERED); /* [GATE] release: libuv's counts, for who waits till nobody is inside */
        break;
    case PASS_ON:
        raise_again(number);
        break;
    }
}

/* Keeps LATE and who is inside. */
static void set_gate(wf_a32 *gate, uint32_t state)
{
    uint32_t seen = wf_load_rlx(gate);
    while (!wf_cas_acqrel(gate, &seen, (seen & ~(uint32_t)STATE) | state))
        ;
}

/* Nobody inside waits for anything that this thread holds. */
static void close_gate(wf_a32 *gate)
{
    set_gate(gate, CLOSING);
    while (wf_load_acq(gate) >= ENTERED)
        sched_yield();
}

/* True: a signal came while it was closing. */
static bool end_closing(wf_a32 *gate, bool pass_on) { return wf_swap_acqrel(gate, pass_on ? PASS_ON : DROP) & LATE; }

/* ---- putting back -------------------------------------------------------------------------------------------- */

/* True: what was before weft's watches. Not while somebody else watches it with libuv. */
static bool put_back_locked(int number)
{
    struct sigaction now;
    sigaction(number, NULL, &now);
    if (now.sa_handler == on_arrival)
        sigaction(number, &libuvs, NULL);
    else if (now.sa_handler == SIG_DFL)
        sigaction(number, &numbers[number].before, NULL);
    return now.sa_handler == SIG_DFL;
}

/* True: the action is neither weft's nor libuv's, but a later one of the program's. */
static bool is_overruled(int number, struct sigaction *now)
{
    sigaction(number, NULL, now);
    return now->sa_handler != on_arrival && now->sa_handler != libuvs.sa_handler;
}

/* The last watch ends. True: libuv has it no more. */
static bool stop_last_locked(wf_watch *watch, int number)
{
    struct sigaction on_top;
    bool overruled = is_overruled(number, &on_top);
    uv_signal_stop(&watch->handle); /* this sets the default */
    if (overruled)
        sigaction(number, &on_top, NULL);
    return overruled || put_back_locked(number);
}

/* True: it was the last. */
static bool unlink_locked(wf_watch *watch, int number)
{
    wf_node_unlink(&watch->node);
    return wf_list_empty(&numbers[number].watches);
}

static bool unwatch_locked(wf_watch *watch, int number, bool pass_on)
{
    wf_a32 *gate = &numbers[number].gate;
    if (!unlink_locked(watch, number)) {
        uv_signal_stop(&watch->handle);
        return false;
    }
    close_gate(gate);
    bool is_back = stop_last_locked(watch, number);
    pass_on |= !is_back; /* somebody else's loop waits for it */
    if (end_closing(gate, pass_on) && pass_on)
        raise_again(number);
    return is_back;
}

/* ---- fork ---------------------------------------------------------------------------------------------------- */

static void before_fork(void) WF_NO_THREAD_SAFETY { wf_mutex_lock(&lock); }
static void in_parent(void) WF_NO_THREAD_SAFETY { wf_mutex_unlock(&lock); }

/* The parent's watches are in the child's copy of libuv, and their pipes lead to the parent. libuv's own child handler, which
 * makes its lock anew, was registered by uv_loop_init() and so has run. */
static void in_child(void) WF_NO_THREAD_SAFETY
{
    for (int number = 1; number <= WF_LAST_SIGNAL; number++) {
        wf_list *watches = &numbers[number].watches;
        while (!wf_list_empty(watches)) {
            wf_watch *watch = wf_container(watches->head.next, wf_watch, node);
            if (unlink_locked(watch, number))
                stop_last_locked(watch, number);
            else
                uv_signal_stop(&watch->handle);
        }
        wf_store_rlx(&numbers[number].gate, DROP); /* who was inside is in the parent */
    }
    wf_mutex_unlock(&lock);
}

static void process_init(void)
{
    for (int number = 0; number <= WF_LAST_SIGNAL; number++)
        wf_list_init(&numbers[number].watches);
    pthread_atfork(before_fork, in_parent, in_child);
}

/* ---- watching ------------------------------------------------------------------------------------------------ */

/* Weft's handler goes before libuv's. If libuv's was there already it serves a loop of somebody else, and nobody knows what was before
 * that. */
static void stand_before_libuv_locked(int number, const struct sigaction *before)
{
    struct sigaction *remembered = &numbers[number].before, mine;
    sigaction(number, NULL, &mine);
    if (!libuvs.sa_handler)
        libuvs = mine;
    *remembered = *before;
    if (before->sa_handler == libuvs.sa_handler) {
        memset(remembered, 0, sizeof *remembered);
        remembered->sa_handler = SIG_DFL;
    }
    set_gate(&numbers[number].gate, OPEN);
    mine.sa_handler = on_arrival;
    sigaction(number, &mine, NULL);
}

static int watch_locked(wf_watch *watch, uv_signal_cb fn, int number)
{
    wf_list *watches = &numbers[number].watches;
    struct sigaction before;
    if (sigaction(number, NULL, &before) < 0)
        return UV_EINVAL;
    int err = uv_signal_start(&watch->handle, fn, number);
    if (err < 0)
        return err;
    if (wf_list_empty(watches))
        stand_before_libuv_locked(number, &before);
    wf_list_push_back(watches, &watch->node);
    return 0;
}

int wf_disposition_watch(wf_watch *watch, uv_signal_cb fn, int number)
{
    pthread_once(&once, process_init);
    wf_mutex_lock(&lock);
    int err = watch_locked(watch, fn, number);
    wf_mutex_unlock(&lock);
    return err;
}

bool wf_disposition_unwatch(wf_watch *watch, int number, bool pass_on)
{
    wf_mutex_lock(&lock);
    bool is_back = unwatch_locked(watch, number, pass_on);
    wf_mutex_unlock(&lock);
    return is_back;
}
