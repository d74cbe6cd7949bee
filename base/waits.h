/* waits.h - what a task waits for, in one word that the leaf operation writes before it suspends: for people who look, and for the deadlock detector.
 *
 *   bits 56 to 63   the kind, one of wf_wait
 *   bits  0 to 55   of what, by the kind: an address, a descriptor, an id, a time
 *
 * It is written when there is something to wait for and not taken back: it says something only of a task that is idle. Where several things are waited
 * for, the one who combines them writes last. */
#ifndef WF_WAITS_H
#define WF_WAITS_H

#include <base/exec.h>

/* What the low bits are. */
typedef enum wf_wait_object {
    WF_OBJECT_NONE,
    WF_OBJECT_ADDRESS,
    WF_OBJECT_DESCRIPTOR,
    WF_OBJECT_TASK,
    WF_OBJECT_TIME,
    WF_OBJECT_NUMBER
} wf_wait_object;

/* INSIDE: only another task, or a thread that has the object, ends it: see the deadlock detector. Else the world does, or nobody can tell.
 *
 *   X(name, text, object, inside) */
#define WF_WAITS(X)                                                              \
    X(NOTHING, "", NONE, 0)                                                      \
    X(FUTURE, "?", NONE, 0) /* nobody has said for what */                       \
    X(READ, "read", DESCRIPTOR, 0)                                               \
    X(WRITE, "write", DESCRIPTOR, 0)                                             \
    X(ACCEPT, "accept", DESCRIPTOR, 0)                                           \
    X(CONNECT, "connect", DESCRIPTOR, 0)                                         \
    X(RESOLVE, "resolve", NONE, 0)                                               \
    X(SLEEP, "sleep", TIME, 0)                                                   \
    X(JOIN, "join", TASK, 1)                                                     \
    X(GROUP, "group", ADDRESS, 1)                                                \
    X(CHAN_SEND, "chan send", ADDRESS, 1)                                        \
    X(CHAN_RECV, "chan recv", ADDRESS, 1)                                        \
    X(SELECT, "select", NUMBER, 1) /* of so many cases */                        \
    X(MUTEX, "mutex", ADDRESS, 1)                                                \
    X(RWLOCK_READ, "rwlock read", ADDRESS, 1)                                    \
    X(RWLOCK_WRITE, "rwlock write", ADDRESS, 1)                                  \
    X(SEMAPHORE, "semaphore", ADDRESS, 1)                                        \
    X(NOTIFY, "notify", ADDRESS, 1)                                              \
    X(COND, "cond", ADDRESS, 1)                                                  \
    X(BARRIER, "barrier", ADDRESS, 1)                                            \
    X(ONESHOT, "oneshot", ADDRESS, 1)                                            \
    X(WATCH, "watch", ADDRESS, 1)                                                \
    X(BROADCAST, "broadcast", ADDRESS, 1)                                        \
    X(TOKEN, "token", ADDRESS, 1)                                                \
    X(LOCK, "lock", ADDRESS, 1) /* a queue of some other kind */                 \
    X(ROOM, "room", NONE, 1)    /* serve: as many connections as there may be */ \
    X(BLOCKING, "blocking", NONE, 0)                                             \
    X(SIGNAL, "signal", NUMBER, 0)                                               \
    X(PROCESS, "process", NUMBER, 0)                                             \
    X(COMPLETION, "completion", ADDRESS, 0)                                      \
    X(MEASURED, "", NONE, 0) /* no wait: when it was woken, in wf_cycles(): see runtime/watch.h */

#define WF_WAIT_ENUM_(name, text, object, inside) WF_WAIT_##name,
typedef enum wf_wait { WF_WAITS(WF_WAIT_ENUM_) WF_WAIT_KINDS } wf_wait;
#undef WF_WAIT_ENUM_

enum { WF_WAIT_SHIFT = 56 };
#define WF_WAIT_OBJECT ((UINT64_C(1) << WF_WAIT_SHIFT) - 1)

static inline uint64_t wf_wait_word(wf_wait kind, uint64_t object)
{
    return (uint64_t)kind << WF_WAIT_SHIFT | (object & WF_WAIT_OBJECT);
}

/* Who runs in @exec is about to wait for @kind of @object. */
static inline void wf_exec_waits(wf_exec *exec, wf_wait kind, uint64_t object)
{
    wf_note(exec->waits, wf_wait_word(kind, object));
}

/* … of the thing at @object, whose address has no more bits than that. */
static inline void wf_exec_waits_at(wf_exec *exec, wf_wait kind, const void *object)
{
    wf_note(exec->waits, (uint64_t)kind << WF_WAIT_SHIFT | (uintptr_t)object);
}

/* … for the clock. What is further off than the word goes is all the same. */
static inline void wf_exec_waits_until(wf_exec *exec, int64_t when)
{
    wf_note(exec->waits, (uint64_t)WF_WAIT_SLEEP << WF_WAIT_SHIFT | WF_MIN((uint64_t)when, WF_WAIT_OBJECT));
}

#endif
