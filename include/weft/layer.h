/* weft/layer.h - what lies between a stream and its descriptor: TLS, or something of your own. */
#ifndef WEFT_LAYER_H
#define WEFT_LAYER_H

#include <weft/base.h>
#include <weft/io.h>

WEFT_BEGIN_DECLS

typedef struct weft_layer weft_layer;

/**
 * What a layer does for its stream. None of these may await: what cannot go on says WEFT_EAGAIN, and the stream waits.
 * read and write are called by one task at a time each, but both at once, and close at any time: a layer with one state has a lock.
 */
typedef struct weft_layer_ops {
    /* A count, 0 at the end, WEFT_EAGAIN (only once weft_layer_read_below() has said so: the stream waits for more), or a negative code. */
    ssize_t (*read)(weft_layer *self, void *buf, size_t size);
    /* A count, WEFT_EAGAIN (once weft_layer_write_below() has said so), or a negative code. After WEFT_EAGAIN it is called with the same bytes again, unless
       given up. With size 0 it only says whether it could begin: 0 or WEFT_EAGAIN. */
    ssize_t (*write)(weft_layer *self, const void *buf, size_t size);
    /* A write that had said WEFT_EAGAIN is not called again. How many of its bytes are under way all the same. NULL: none ever are. */
    size_t (*give_up)(weft_layer *self);
    /* Nonzero: read would say something other than WEFT_EAGAIN. Called in the reader's place, so it may read ahead to find out: once it has said no, only
       more from below is a reason to ask again. NULL: as what is below. */
    int (*readable)(weft_layer *self);
    /* Nothing more will be written: tell the peer. 0, WEFT_EAGAIN (called again), or a negative code. NULL: not to be had. */
    int (*close_write)(weft_layer *self);
    /* The stream is closed or aborted, its descriptor still open: say goodbye if that is possible without waiting. NULL: nothing to say. */
    void (*close)(weft_layer *self);
    /* Nobody uses it any more. Give back all that it holds, itself included. */
    void (*drop)(weft_layer *self);
} weft_layer_ops;

/** Embed one, and find your struct again with WEFT_CONTAINER_OF. */
struct weft_layer {
    const weft_layer_ops *ops;
    weft_stream *stream_; /* from the push on */
    weft_layer *below_;   /* or NULL: the descriptor */
};

/**
 * Put @layer on top of what @s has: from now on the stream's reads and writes go through it. It stays until the stream is gone, and is dropped then.
 * Returns: 0; WEFT_EBUSY: somebody reads or writes, or a reader holds bytes that came before (take them first: weft_reader_peek(), _consume());
 *          WEFT_ECLOSED, WEFT_EINVAL. Then the layer is still the caller's. Never awaits.
 */
WEFT_API int weft_stream_push_layer(weft_stream *s, weft_layer *layer);

/** The layer on top; NULL: none. For whoever pushed it. */
WEFT_API weft_layer *weft_stream_layer(weft_stream *s);

/**
 * For a layer's functions: read from, and write to, what is below it. A count, 0, WEFT_EAGAIN or a negative code. Never awaits, never SIGPIPE.
 * On another layer a write that has said WEFT_EAGAIN is to be offered again, the same bytes: it may have begun with them.
 */
WEFT_API ssize_t weft_layer_read_below(weft_layer *self, void *buf, size_t size);
WEFT_API ssize_t weft_layer_write_below(weft_layer *self, const void *buf, size_t size);

/** The same, for close_write: tell the peer that nothing more comes, by the layer below or by the descriptor. 0, WEFT_EAGAIN (only a layer: ask again), or a
 *  negative code (WEFT_ENOTSUP: a pipe, or a layer that cannot). Never awaits. */
WEFT_API int weft_layer_close_write_below(weft_layer *self);

enum { WEFT_READING = 0, WEFT_WRITING = 1 };

/** For a layer's functions: what @direction said WEFT_EAGAIN for is there by other means than the descriptor, so whoever waits tries again. Never awaits. */
WEFT_API void weft_layer_wake(weft_layer *self, int direction);

/**
 * **awaits** whatever @attempt tries: it is called at once, and again whenever the stream may be ready in @direction, until it says something other than
 * WEFT_EAGAIN, which is the result. For a layer's handshake, or a system call on weft_stream_fd() that weft does not have. @attempt must not wait.
 * Counts as the one reader, or writer: WEFT_EBUSY. Returns also an interruption, or WEFT_ECLOSED. Cancel-safe if @attempt is.
 */
WEFT_API ssize_t weft_stream_attempt(weft_stream *s, int direction, ssize_t (*attempt)(weft_stream *s, void *arg), void *arg);

WEFT_END_DECLS

#endif
