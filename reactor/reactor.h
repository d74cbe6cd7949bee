/* reactor.h - one libuv loop and whoever holds it.
 *
 * A loop wants one thread at a time, not one thread for ever. Its worker parks in it, and turns it now and then while busy; when
 * that worker is stuck in a long task, another one turns it. Nobody ever blocks for a foreign reactor: others try, or leave a
 * letter in a mailbox and ring. */
#ifndef WF_REACTOR_H
#define WF_REACTOR_H

#include <base/atomic.h>
#include <base/lock.h>
#include <base/probe.h>
#include <pthread.h>
#include <reactor/source.h>
#include <uv.h>

enum { WF_BATCH = 256 }; /* most events fetched at once */

enum {
    WF_AWAKE,
    WF_WATCHING,       /* going to sleep, or watching this word for a ring before it does: no bell is needed */
    WF_PARKED,         /* asleep, or about to be whatever happens */
    WF_RUNG,           /* woken: look at everything */
    WF_RUNG_TO_SEARCH, /* woken, and already counted as one who looks for work */
};

typedef struct wf_reactor {
    wf_spin held;      /* around turns and libuv calls; never while a task is polled */
    wf_a32 parked;     /* WF_WATCHING, WF_PARKED: its owner sleeps in it, or is about to; who else changes that rings */
    wf_a64 rung_at;    /* wf_cycles() when it was last rung … */
    wf_aint rung_from; /* … and the ringer's CPU */
    wf_a64 bells;      /* how often its bell was rung, by whoever: for people */
    bool handed_out;   /* held: its loop is used by its worker's tasks: nobody else touches that */
    pthread_t owner;   /* held: … and this is its thread */
    wf_ai64 last_turn; /* wf_now() of the last turn, by whoever */
    wf_a64 events;     /* delivered so far; written while held */
    uv_loop_t loop;    /* held */
    uv_timer_t alarm;  /* held: bounds a park */
    uv_prepare_t last_look;       /* held: once handed out */
    bool (*has_work)(void *user); /* held: … asks its owner before each wait */
    void *user;
    int64_t loop_turned;                               /* held: wf_now() when libuv itself last had a turn */
    unsigned room;                                     /* held: how many events may still be fetched in this turn */
    int set;                                           /* the backend's descriptor, or -1 */
    int bell;                                          /* eventfd, or -1 */
    uv_poll_t watch;                                   /* held: the set (or the bell) within the loop */
    void *backend;                                     /* held: the backend's own */
    void (*told)(void *teller, int fd, uint64_t bits); /* constant: hears of each event before those who wait for it do; or NULL */
    void *teller;
    void (*awake)(void *teller); /* constant: hears that a sleep is over before those who wait do; or NULL */
    bool sleeps;                 /* held: … and is still to hear that */
} wf_reactor;

/* An event of an earlier life, which nobody waits for any more, is not told: the descriptor that is there now may be another. */
static inline void wf_reactor_tell_hook(const wf_reactor *r, wf_source *s, uint16_t generation, uint64_t bits)
{
    int fd = wf_load_acq(&s->fd);
    if (fd >= 0 && wf_src_generation(wf_load_acq(&s->word)) == generation)
        r->told(r->teller, fd, bits);
}

static inline void wf_reactor_tell(wf_reactor *r, wf_source *s, uint16_t generation, uint64_t bits)
{
    if (wf_unlikely(r->sleeps)) {
        r->sleeps = false;
        r->awake(r->teller);
    }
    WF_PROBE2(ready, wf_load_rlx(&s->fd), bits);
    if (wf_unlikely(r->told != NULL))
        wf_reactor_tell_hook(r, s, generation, bits);
}

/* Returns 0 or a negative code with nothing left behind. */
int wf_reactor_open(wf_reactor *r);

/* Close all handles and the loop. Nobody else uses it any more. Returns what uv_loop_close() said: 0. */
int wf_reactor_close(wf_reactor *r);

/* Deliver what is ready, without waiting. @now: wf_now(). @room: how many tasks the caller's queue has room for: what is not
 * fetched waits in the kernel, in order, while what overflows a queue would not. Returns false if somebody else holds it. */
bool wf_reactor_turn(wf_reactor *r, int64_t now, unsigned room);

/* Hold it, if that is to be had at once, in order to use its loop. */
bool wf_reactor_try(wf_reactor *r);

/* Its owner: from now on nobody else touches the loop. Foreign callbacks may wake before a park waits: then @has_work(@user) says so,
 * and it does not. */
void wf_reactor_hand_out(wf_reactor *r, bool (*has_work)(void *user), void *user);

/* The same, and libuv has its turn in any case. */
bool wf_reactor_turn_all(wf_reactor *r, int64_t now, unsigned room);

/* "I am going to sleep." Look at every queue after this and before the park. */
void wf_reactor_park_begin(wf_reactor *r);

/* Watch for a ring, @cycles of wf_cycles() at the most. Owner only, after wf_reactor_park_begin(). True if there was one. */
bool wf_reactor_watch(wf_reactor *r, uint64_t cycles);

/* Wait for events, a ring, or @until on wf_now()'s clock. Owner only, after wf_reactor_park_begin(). May return early. */
void wf_reactor_park(wf_reactor *r, int64_t until);

/* "I am awake." Also instead of the park. Returns with what it was rung: WF_RUNG…, or WF_AWAKE if nobody rang. */
uint32_t wf_reactor_park_end(wf_reactor *r);

static inline bool wf_reactor_says_parked(uint32_t word) { return word == WF_WATCHING || word == WF_PARKED; }
static inline bool wf_reactor_is_parked(wf_reactor *r) { return wf_reactor_says_parked(wf_load_seq(&r->parked)); }
/* … and would need no bell. */
static inline bool wf_reactor_is_watching(wf_reactor *r) { return wf_load_rlx(&r->parked) == WF_WATCHING; }

/* Wake its owner if it is parked, telling it @ring; what was published before is seen by it. Any thread. True if this call woke it. */
bool wf_reactor_ring(wf_reactor *r, uint32_t ring);

#endif
