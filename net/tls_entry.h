/* tls_entry.h - what libweft knows of a TLS context: how it accepts. TLS is a library of its own, which libweft does not link with, so weft_serve()
 * goes through the context that it is given. */
#ifndef WF_TLS_ENTRY_H
#define WF_TLS_ENTRY_H

#include <weft/base.h>

/* A weft_tls_context begins with it. */
typedef struct wf_tls_entry {
    /* weft_tls_accept() that takes no longer than @timeout, ns; 0: as the context says. */
    int (*accept)(weft_stream *s, weft_tls_context *ctx, int64_t timeout);
} wf_tls_entry;

static inline int wf_tls_accept_with(weft_stream *s, weft_tls_context *ctx, int64_t timeout)
{
    return ((const wf_tls_entry *)(const void *)ctx)->accept(s, ctx, timeout);
}

#endif
