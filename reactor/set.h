/* set.h - how a reactor learns which descriptors are ready. One of two backends is compiled in:
 *
 *   set_epoll.c    one edge-triggered epoll set, hung into the libuv loop by one uv_poll_t
 *   set_uvpoll.c   one uv_poll_t per descriptor, for systems whose sets do not nest */
#ifndef WF_SET_H
#define WF_SET_H

#include <reactor/reactor.h>
#include <reactor/source.h>

#ifndef WF_REACTOR_UVPOLL
#if defined(__linux__)
#define WF_REACTOR_UVPOLL 0
#else
#define WF_REACTOR_UVPOLL 1
#endif
#endif

/* With the loop initialized. Returns 0 or a negative code with nothing left behind. */
int wf_set_open(wf_reactor *r);
/* Before the loop is closed: closes its handles (the caller turns the loop afterwards). */
void wf_set_close(wf_reactor *r);
/* After the loop was closed: gives back the descriptors. */
void wf_set_free(wf_reactor *r);

/* Watch @s for both directions. Any thread. Returns 0 or a negative code. */
int wf_set_add(wf_reactor *r, wf_source *s, uint16_t generation);
/* Watch it no longer; its descriptor is closed next. Any thread. */
void wf_set_remove(wf_reactor *r, wf_source *s);

/* Deliver what is ready now, without waiting. Holding the reactor. Returns how many events there were. */
unsigned wf_set_poll(wf_reactor *r);

/* Make a wf_reactor_park() return. Any thread. */
void wf_set_ring(wf_reactor *r);

#endif
