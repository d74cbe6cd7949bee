/* weft/scoped.h - handles that are given back wherever their block ends, by the compiler's cleanup attribute (gcc, clang).
 *
 *     WEFT_SCOPED(weft_stream) s = NULL;
 *     if (weft_tcp_connect(&s, "127.0.0.1:80", NULL) < 0) return ...
 *
 * Also on an early return; not on a panic (nothing is unwound: use weft_defer() for what must happen then). */
#ifndef WEFT_SCOPED_H
#define WEFT_SCOPED_H

#include <weft/group.h>
#include <weft/io.h>
#include <weft/net.h>
#include <weft/os.h>
#include <weft/task.h>
#include <weft/token.h>

#define WEFT_SCOPED(type) __attribute__((cleanup(type##_cleanup_))) type *

/* A token is cancelled before it is freed: what hangs on it ends with the block. */
static inline void weft_token_cleanup_(weft_token **t)
{
    weft_token_cancel(*t);
    (void)weft_token_free(*t);
}
static inline void weft_group_cleanup_(weft_group **g) { (void)weft_group_close(*g); }
static inline void weft_task_cleanup_(weft_task **t) { (void)weft_task_close(*t); }
static inline void weft_stream_cleanup_(weft_stream **s) { weft_close(*s); }
static inline void weft_listener_cleanup_(weft_listener **l) { weft_listener_close(*l); }
static inline void weft_signal_cleanup_(weft_signal **s) { weft_signal_close(*s); }

#endif
