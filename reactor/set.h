/* set.h - how a reactor learns which descriptors are ready. One of two backends is compiled in:
 *
 *   set_epoll.c    one edge-triggered epoll set, hung into the libuv loop by one uv_poll_t
 *   set_uvpoll.c   one uv_poll_t per descriptor, for systems whose sets do not nest */
#ifndef WF_SET_H
#define WF_SET_H

#include <reactor/reactor.h>
#include <reactor/source.h>

/* With the loop initialized. Returns 0 or a negative code with nothing left behind. */
int wf_set_open(wf_reactor *r);
/* Before the loop is closed: closes its handles (the caller turns the loop afterwards). */
void wf_set_close(wf_reactor *r);
/* After the loop was closed: gives back the descriptors. */
void wf_set_free(wf_reactor *r);

/* Watch @s for both directions. Any thread. Returns 0 or a negative code. */
int wf_set_add(wf_reactor *r, wf_source *s, uint16_t generation);
/* Watch it no longer; its descriptor is closed next. Any thread. True: by the caller, now. False: the backend calls
 * wf_source_closed() as soon as it may, perhaps before this returns, so @s must not be touched. */
bool wf_set_remove(wf_reactor *r, wf_source *s);

/* Deliver what is ready now, without waiting. Holding the reactor. Returns how many events there were. */
unsigned wf_set_poll(wf_reactor *r);

/* Make a wf_reactor_park() return. Any thread. */
void wf_set_ring(wf_reactor *r);

#if WF_REACTOR_UVPOLL

/* ns: how long the loop may go without a turn while the last batch is unpolled. */
enum { WF_LOOP_EVERY = 10 * 1000 * 1000, WF_SET_NEEDS_LOOP = 1 };

/* Never called: a park is a turn of the loop. */
static inline unsigned wf_set_wait(wf_reactor *r, int timeout) { return (void)r, (void)timeout, 0; }

int wf_set_want_watched(wf_source *s, wf_direction d);
void wf_set_release(wf_reactor *r) WF_RELEASE(&r->held);

/* Somebody is about to wait: his waker is registered and the source was added. Returns 0, or what watching it failed with. */
static inline int wf_set_want(wf_source *s, wf_direction d)
{
    /* [SET-WANT] always a read-modify-write: see disarm() in set_uvpoll.c. */
    uint32_t watched = WF_ASK_ADDED | wf_ask_bit(d);
    return wf_likely((wf_or_acqrel(&s->asks, wf_ask_bit(d)) & watched) == watched) ? 0 : wf_set_want_watched(s, d);
}

#else

/* ns: how long the loop itself may go without a turn while its set is asked directly. */
enum { WF_LOOP_EVERY = 1000 * 1000, WF_SET_NEEDS_LOOP = 0 };

/* Deliver what is ready, after at most @timeout ms (-1: any time). May return early. Holding the reactor. Returns how many events there were. */
unsigned wf_set_wait(wf_reactor *r, int timeout);

int wf_set_want_write(wf_source *s);

/* Everything is reported, wanted or not; save that what is seldom full can be written. */
static inline int wf_set_want(wf_source *s, wf_direction d)
{
    return wf_likely(d == WF_READ || !s->kind->seldom_full) ? 0 : wf_set_want_write(s);
}

/* Let go of the reactor: nobody leaves letters. */
static inline void wf_set_release(wf_reactor *r) WF_RELEASE(&r->held) WF_NO_THREAD_SAFETY { wf_spin_unlock(&r->held); }

#endif

#endif
