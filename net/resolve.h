/* resolve.h - what connecting needs of names: one address text taken apart, and all the addresses behind it. */
#ifndef WF_RESOLVE_H
#define WF_RESOLVE_H

#include <base/common.h>
#include <weft/net.h>

enum { WF_HOST_SIZE = 256, WF_SERVICE_SIZE = 64 };

/* "host:port" in two. */
typedef struct wf_host_port {
    char host[WF_HOST_SIZE];    /* a name, a.b.c.d, or what was between brackets; "" is "0.0.0.0" */
    char port[WF_SERVICE_SIZE]; /* a number or a service's name, not looked at */
} wf_host_port;

/* False: @text is neither "host:port" nor "[v6]:port". */
bool wf_host_port_split(wf_host_port *out, const char *text);

/* 1 and *@out: both are numbers, there is nothing to ask. 0: somebody has to be asked. WEFT_EINVAL: no name, no number, or no port. */
int wf_resolve_numeric(weft_addr *out, const char *host, const char *port);

/* How the answers are wanted. */
typedef struct wf_resolve_wish {
    int family; /* AF_UNSPEC: any */
    bool in_turn; /* families alternate, that of the first answer first (RFC 8305, 4), before any is left out for want of room */
    int64_t deadline; /* of the whole */
} wf_resolve_wish;

/* **awaits** as weft_resolve(), for what is not numeric. WEFT_ETIMEDOUT also at the wish's deadline. */
int wf_resolve_name(weft_addr *addrs, int n, const char *host, const char *port, const wf_resolve_wish *wish);

#endif
