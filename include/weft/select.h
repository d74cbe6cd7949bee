/* weft/select.h - wait for the first of several things. */
#ifndef WEFT_SELECT_H
#define WEFT_SELECT_H

#include <weft/base.h>
#include <weft/future.h>

WEFT_BEGIN_DECLS

struct weft_case_ops;

/** One thing to wait for, made by the macros below. It has the room that waiting needs, so that selecting allocates nothing. */
typedef struct weft_case {
    int status; /* of the case that was chosen: what the call that it stands for would have returned */
    unsigned index_;
    const struct weft_case_ops *ops_;
    void *object_, *value_;
    int64_t when_;
    void *select_;
    uint64_t state_[12];
} weft_case;

/**
 * **awaits** the first case that is ready, and does what it stands for. The others have neither taken nor lost anything when it returns.
 * Of several that are ready one is chosen by chance; weft_select_biased() takes the first in order.
 * Returns: the index of the case, its result in its status; an interruption; WEFT_EINVAL. With no case that can fire it waits for
 *          an interruption. Cancel-safe. Cases can be used again.
 */
WEFT_API int weft_select(weft_case *cases, int n);
WEFT_API int weft_select_biased(weft_case *cases, int n);

/**
 * The poll twin of weft_select(), and with one case that of whatever the case stands for: so a stackless task waits for anything.
 * @cases are read from the first poll to the last, and lie where they are until then.
 * Returns: the index of the case that was chosen; WEFT_PENDING: the place in the queues is @op's, see weft_op; WEFT_EINVAL.
 *          weft_op_drop() gives back what it had been given and nobody has looked at.
 */
WEFT_API weft_poll weft_poll_select(weft_context *cx, weft_op *op, weft_case *cases, int n);

extern WEFT_API const struct weft_case_ops weft_case_default_, weft_case_recv_, weft_case_send_, weft_case_join_,
    weft_case_group_next_, weft_case_after_, weft_case_at_, weft_case_tick_, weft_case_readable_, weft_case_writable_,
    weft_case_accept_, weft_case_udp_readable_, weft_case_token_, weft_case_signal_, weft_case_exited_, weft_case_oneshot_,
    weft_case_subscription_, weft_case_watch_, weft_case_notify_, weft_case_future_, weft_case_completion_;

#define WEFT_CASE_(ops, object, value, when)                                 \
    {                                                                        \
        0, 0, &(ops), (void *)(object), (void *)(value), (when), NULL, { 0 } \
    }

/* A NULL object never fires. */
#define WEFT_RECV(ch, item) WEFT_CASE_(weft_case_recv_, ch, item, 0)
#define WEFT_SEND(ch, item) WEFT_CASE_(weft_case_send_, ch, item, 0)
#define WEFT_JOIN(task, result) WEFT_CASE_(weft_case_join_, task, result, 0) /* frees the handle, as weft_join() */
#define WEFT_GROUP_NEXT(group, result) WEFT_CASE_(weft_case_group_next_, group, result, 0)
#define WEFT_AFTER(ns) WEFT_CASE_(weft_case_after_, &weft_case_after_, NULL, ns) /* from the call on */
#define WEFT_AT(when) WEFT_CASE_(weft_case_at_, &weft_case_at_, NULL, when)      /* on weft_now()'s clock */
#define WEFT_TICK(interval) WEFT_CASE_(weft_case_tick_, interval, NULL, 0)
#define WEFT_READABLE(stream) WEFT_CASE_(weft_case_readable_, stream, NULL, 0) /* a read would not wait */
#define WEFT_WRITABLE(stream) WEFT_CASE_(weft_case_writable_, stream, NULL, 0)
#define WEFT_ACCEPT(listener, stream) WEFT_CASE_(weft_case_accept_, listener, stream, 0)
#define WEFT_UDP_READABLE(udp) WEFT_CASE_(weft_case_udp_readable_, udp, NULL, 0) /* a weft_udp_recv() would not wait */
#define WEFT_TOKEN(token) WEFT_CASE_(weft_case_token_, token, NULL, 0)
#define WEFT_SIGNAL(signal) WEFT_CASE_(weft_case_signal_, signal, NULL, 0)   /* status: how many arrived */
#define WEFT_EXITED(process) WEFT_CASE_(weft_case_exited_, process, NULL, 0) /* status: as weft_process_wait() */
#define WEFT_ONESHOT(oneshot, item) WEFT_CASE_(weft_case_oneshot_, oneshot, item, 0)
#define WEFT_SUBSCRIPTION(sub, item) \
    WEFT_CASE_(weft_case_subscription_, sub, item, 0) /* status: how many were missed before it */
#define WEFT_WATCH(watch, version) \
    WEFT_CASE_(weft_case_watch_, watch, version, 0) /* a value newer than *version is there: weft_watch_next() would not wait */
#define WEFT_NOTIFIED(notify) WEFT_CASE_(weft_case_notify_, notify, NULL, 0)
#define WEFT_COMPLETION(completion) WEFT_CASE_(weft_case_completion_, completion, NULL, 0)
#define WEFT_FUTURE(future, result) \
    WEFT_CASE_(weft_case_future_, future, result, 0) /* polled, never dropped; one that was chosen is not polled again */
#define WEFT_DEFAULT WEFT_CASE_(weft_case_default_, NULL, NULL, 0) /* if nothing else is ready: do not wait */

WEFT_END_DECLS

#endif
