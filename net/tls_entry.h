/* tls_entry.h - how weft_serve() calls the handshake of a library that it does not link with. */
#ifndef WF_TLS_ENTRY_H
#define WF_TLS_ENTRY_H

#include <weft/base.h>

/* What a weft_tls_context begins with. **awaits** the handshake as a server; @timeout: ns, 0: the context's own. As weft_tls_accept(). */
typedef struct wf_tls_entry {
    int (*accept)(weft_stream *s, weft_tls_context *ctx, int64_t timeout);
} wf_tls_entry;

#endif
