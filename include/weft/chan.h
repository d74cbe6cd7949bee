/* weft/chan.h - channels: values handed from task to task, in order. All of it works between strands, stackless tasks and ordinary
 * threads in any mixture. */
#ifndef WEFT_CHAN_H
#define WEFT_CHAN_H

#include <weft/base.h>
#include <weft/future.h>

WEFT_BEGIN_DECLS

/* ---- many to many ------------------------------------------------------------------------------------------- */

typedef struct weft_chan weft_chan;

#define WEFT_UNBOUNDED SIZE_MAX

/** Zero is the default of every field. */
typedef struct weft_chan_options {
    void (*drop)(void *item); /* called with the address of each item that nobody received, when the channel is freed */
    void (*copy)(void *item); /* called with the address of an item before it is sent: takes a reference for the channel (which drop gives
                                 back if the sending fails), so that the sender keeps its own */
} weft_chan_options;

#define WEFT_CHAN_OPTIONS_INIT \
    {                          \
        0                      \
    }

WEFT_API int weft_chan_create_sized(weft_chan **ch, size_t item_size, size_t capacity, const weft_chan_options *options,
                                    size_t size);

/**
 * @capacity: items that wait in the channel while nobody receives; 0: rendezvous, each send waits for its receiver;
 *            WEFT_UNBOUNDED: sending never waits.
 * Returns: 0, WEFT_EINVAL (an item of no bytes, or more than fits into memory) or WEFT_ENOMEM.
 */
static inline int weft_chan_create_with(weft_chan **ch, size_t item_size, size_t capacity, const weft_chan_options *options)
{
    return weft_chan_create_sized(ch, item_size, capacity, options, sizeof *options);
}

/** weft_chan_create_with() and the defaults. */
static inline int weft_chan_create(weft_chan **ch, size_t item_size, size_t capacity)
{
    return weft_chan_create_sized(ch, item_size, capacity, NULL, 0);
}

/**
 * **awaits** a place for the item at @item and puts a copy there; senders get places in the order in which they came.
 * Returns: 0; WEFT_ECLOSED; WEFT_ENOMEM (unbounded); an interruption: nothing was sent. Cancel-safe.
 */
WEFT_API int weft_chan_send(weft_chan *ch, const void *item);

/** **awaits** the next item; receivers get items in the order in which they came. Returns 0; WEFT_ECLOSED when it is closed and
 *  empty; an interruption: nothing was taken. Cancel-safe. */
WEFT_API int weft_chan_recv(weft_chan *ch, void *item);

/** The same without waiting: WEFT_EAGAIN. Any context; cost no budget. */
WEFT_API int weft_chan_try_send(weft_chan *ch, const void *item);
WEFT_API int weft_chan_try_recv(weft_chan *ch, void *item);

/** Nothing more is sent: senders, also those that wait, get WEFT_ECLOSED; receivers take what is left first. Idempotent. Any
 *  context. NULL: nothing. */
WEFT_API void weft_chan_close(weft_chan *ch);

/** Items in it now. */
WEFT_API size_t weft_chan_len(weft_chan *ch);

/** Free it and drop what is left. NULL: nothing. Returns 0, or WEFT_EBUSY: somebody waits in it (close it, and wait for them). */
WEFT_API int weft_chan_free(weft_chan *ch);

/** Poll twins: 0, WEFT_PENDING (the place in the queue is @op's: see weft_op), WEFT_ECLOSED, WEFT_ENOMEM. @item stays valid until then. */
WEFT_API weft_poll weft_poll_chan_send(weft_context *cx, weft_op *op, weft_chan *ch, const void *item);
WEFT_API weft_poll weft_poll_chan_recv(weft_context *cx, weft_op *op, weft_chan *ch, void *item);

/* `WEFT_CHAN_TYPE(struct job *, jobs)` defines jobs_create(&ch, capacity), jobs_send(ch, job), jobs_recv(ch, &job) and the try_ variants. */
#define WEFT_CHAN_TYPE(type, name)                                                                                     \
    static inline WEFT_UNUSED_ int name##_create(weft_chan **ch, size_t capacity)                                      \
    {                                                                                                                  \
        return weft_chan_create(ch, sizeof(type), capacity);                                                           \
    }                                                                                                                  \
    static inline WEFT_UNUSED_ int name##_send(weft_chan *ch, type item) { return weft_chan_send(ch, &item); }         \
    static inline WEFT_UNUSED_ int name##_recv(weft_chan *ch, type *item) { return weft_chan_recv(ch, item); }         \
    static inline WEFT_UNUSED_ int name##_try_send(weft_chan *ch, type item) { return weft_chan_try_send(ch, &item); } \
    static inline WEFT_UNUSED_ int name##_try_recv(weft_chan *ch, type *item) { return weft_chan_try_recv(ch, item); } \
    typedef type name##_item

/* ---- one value, once ----------------------------------------------------------------------------------------- */

typedef struct weft_oneshot weft_oneshot;

/** @drop: for a value that nobody received, with its address; or NULL. Returns 0, WEFT_EINVAL or WEFT_ENOMEM. */
WEFT_API int weft_oneshot_create(weft_oneshot **o, size_t item_size, void (*drop)(void *item));
/** Never waits. Returns 0; WEFT_ECLOSED: sent before, or closed. */
WEFT_API int weft_oneshot_send(weft_oneshot *o, const void *item);
/** **awaits** the value. Returns 0; WEFT_ECLOSED: taken before, or closed without one; an interruption. Cancel-safe. */
WEFT_API int weft_oneshot_recv(weft_oneshot *o, void *item);
WEFT_API int weft_oneshot_try_recv(weft_oneshot *o, void *item);
/** Either side gives up. A value that was sent can still be received. NULL: nothing. */
WEFT_API void weft_oneshot_close(weft_oneshot *o);
/** Returns 0, or WEFT_EBUSY: somebody waits in it. NULL: nothing. */
WEFT_API int weft_oneshot_free(weft_oneshot *o);

/* ---- each value to everybody ---------------------------------------------------------------------------------- */

typedef struct weft_broadcast weft_broadcast;
typedef struct weft_subscription weft_subscription;

/** The last @capacity (at least 1) values are kept for slow receivers. Returns 0, WEFT_EINVAL or WEFT_ENOMEM. */
WEFT_API int weft_broadcast_create(weft_broadcast **b, size_t item_size, size_t capacity);
/** Never waits: the oldest value makes room. Returns how many subscriptions there are, or WEFT_ECLOSED. Any context. */
WEFT_API int weft_broadcast_send(weft_broadcast *b, const void *item);
/** Receivers take what is left, then get WEFT_ECLOSED. NULL: nothing. */
WEFT_API void weft_broadcast_close(weft_broadcast *b);
/** Not while a send or a close is running. Returns 0, or WEFT_EBUSY while there are subscriptions. NULL: nothing. */
WEFT_API int weft_broadcast_free(weft_broadcast *b);

/** Receive what is sent from now on. Returns 0, WEFT_EINVAL or WEFT_ENOMEM. */
WEFT_API int weft_subscribe(weft_subscription **sub, weft_broadcast *b);
/** **awaits** the next value. *@missed (may be NULL): how many were lost before it because this receiver was too slow. Returns 0,
 *  WEFT_ECLOSED, WEFT_EBUSY (one task at a time), an interruption. Cancel-safe. */
WEFT_API int weft_subscription_recv(weft_subscription *sub, void *item, uint64_t *missed);
WEFT_API int weft_subscription_try_recv(weft_subscription *sub, void *item, uint64_t *missed);
/** Nobody waits in it. NULL: nothing. */
WEFT_API void weft_unsubscribe(weft_subscription *sub);

/* ---- the latest value ----------------------------------------------------------------------------------------- */

typedef struct weft_watch weft_watch;

/** @initial: the first value, version 1. Returns 0, WEFT_EINVAL or WEFT_ENOMEM. */
WEFT_API int weft_watch_create(weft_watch **w, size_t item_size, const void *initial);
/** Replace the value. Never waits. Returns 0 or WEFT_ECLOSED. Any context. */
WEFT_API int weft_watch_set(weft_watch *w, const void *item);
/** The value now. *@version (may be NULL): which it is. Never waits. */
WEFT_API int weft_watch_get(weft_watch *w, void *item, uint64_t *version);
/** **awaits** a value newer than *@version (0: none was seen), and stores both. Returns 0; WEFT_ECLOSED when it is closed and the last value was
 *  seen; an interruption. Any number of tasks. Cancel-safe. */
WEFT_API int weft_watch_next(weft_watch *w, void *item, uint64_t *version);
WEFT_API void weft_watch_close(weft_watch *w);
/** Not while a set or a close is running. Returns 0, or WEFT_EBUSY: somebody waits in it. NULL: nothing. */
WEFT_API int weft_watch_free(weft_watch *w);

WEFT_END_DECLS

#endif
