/* set_uvpoll.c - readiness by one uv_poll_t per descriptor, inside the libuv loop.
 *
 * For kqueue, event ports and wherever a set of descriptors cannot hang in another. It costs more than set_epoll.c: libuv is
 * level-triggered, and each change of what it watches is two system calls. Three rules keep that bearable:
 *
 *   - A descriptor is watched only in the directions somebody waited for: for writing only after EAGAIN.
 *   - It stays watched while its events are consumed. What is reported again although nobody took it is ignored once, and no longer
 *     watched the second time; who waits next asks again. So an end of file, which is readable for ever, dies down by itself.
 *   - The loop gets no turn while the last batch is unpolled (or it would report that batch again), for at most WF_LOOP_EVERY.
 *
 * The loop is touched by who holds the reactor, and by nobody else. Others leave a letter, the source itself, and ring:
 *
 *   asker     asks bit on, letter posted, then tries the lock; failing that, rings the owner if it is parked
 *   holder    answers letters before it unlocks, looks once more afterwards; an owner also between "parked" and the wait
 *
 * so a letter is seen by the holder, or its poster becomes the holder. Closing goes the same way when the loop is taken: libuv
 * aborts if a descriptor is closed before its watcher is stopped, so then the holder stops and closes.
 *
 * One watch per descriptor number, kept until the loop closes: uv_close() of a stopped watcher would deregister the number's next
 * owner. Which source it serves changes. UV_DISCONNECT is never asked for; the end of a stream is a read of 0. Callbacks set bits
 * and wake, and poll nothing. Those of polls run after the wait, which an event ends anyway; what wakes before it calls uv_stop(). */
#include <reactor/set.h>

#if WF_REACTOR_UVPOLL

#include <base/alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/epoll.h>
#endif

/* The bell: uv_async_t of libuv 1.44 spins when its reader is pre-empted while it rings, so an eventfd where there is one. */
#if !defined(WF_BELL_EVENTFD) && defined(__has_include)
#if __has_include(<sys/eventfd.h>)
#define WF_BELL_EVENTFD 1
#endif
#endif
#ifndef WF_BELL_EVENTFD
#define WF_BELL_EVENTFD 0
#endif
#if WF_BELL_EVENTFD
#include <sys/eventfd.h>
#endif

enum { RESERVED_FD = 16000, PATIENCE = 2 /* unconsumed events until a direction is watched no longer */ };

/* All fields: whoever holds the reactor. */
typedef struct watch {
    uv_poll_t poll;
    wf_source *source; /* whom it serves; NULL: nobody, and it is stopped */
    uint16_t generation;
    int watching;        /* UV_READABLE | UV_WRITABLE, as told to libuv */
    unsigned ignored[2]; /* by direction: turns with an event that nobody has consumed, since the last that was new */
    uint64_t turn[2];    /* … and the last of those turns */
} watch;

typedef struct backend {
    wf_mailbox mail; /* anybody posts sources, whoever holds the reactor answers */
#if !WF_BELL_EVENTFD
    uv_async_t bell; /* anybody rings */
#endif
    /* The rest: whoever holds the reactor. */
    uv_prepare_t before_wait;
    uv_poll_t reserve;    /* closed at once: see reserve_table() */
    uint64_t turns;       /* of the loop, by whoever */
    watch *last;          /* the last one with news in the last batch, or NULL */
    uint64_t last_bit;    /* … and what was new: still set until it is consumed */
    watch **watches;      /* by descriptor number */
    size_t watches_count; /* room in it */
} backend;

static backend *of(wf_reactor *r) { return r->backend; }

static int uv_bit(wf_direction d) { return d == WF_READ ? UV_READABLE : UV_WRITABLE; }

static int uv_bits(uint32_t asks)
{
    return (asks & WF_ASK_READ ? UV_READABLE : 0) | (asks & WF_ASK_WRITE ? UV_WRITABLE : 0);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void on_event(uv_poll_t *poll, int status, int events);

static int watch_for(watch *w, int directions)
{
    int err = directions ? uv_poll_start(&w->poll, directions, on_event) : uv_poll_stop(&w->poll);
    w->watching = err < 0 ? 0 : directions;
    return err;
}

static void deliver(watch *w, uint64_t bits)
{
    wf_reactor *r = w->poll.loop->data;
    of(r)->last = w;
    of(r)->last_bit = bits;
    wf_count(&r->events, 1);
    wf_reactor_tell(r, w->source, w->generation, bits);
    wf_source_deliver(w->source, w->generation, bits);
}

/* Nobody consumes what is reported in direction @d. Returns false if it need not be watched any longer.
 *
 * [SET-WANT] A waiter first clears the ready bit and then sets its ask bit, always by a read-modify-write; here it is the other way
 * round. If the waiter was first, its clearing is seen below; if not, it finds its ask bit clear and asks anew. */
static bool disarm(watch *w, wf_direction d)
{
    wf_source *s = w->source;
    wf_and_acqrel(&s->asks, ~wf_ask_bit(d));
    if (wf_load_acq(&s->word) & wf_src_ready_bit(d))
        return false;
    wf_or_acqrel(&s->asks, wf_ask_bit(d));
    return true;
}

/* The ready bit is still set: nobody has come to take what was delivered before. A turn can report a descriptor many times (libuv
 * asks again after a full batch), so turns are counted. Nothing is lost without a new tick: as long as it is watched, it is
 * reported again. */
static bool still_watched(watch *w, wf_direction d)
{
    uint64_t turn = of(w->poll.loop->data)->turns;
    if (w->turn[d] == turn)
        return true;
    w->turn[d] = turn;
    return ++w->ignored[d] < PATIENCE || disarm(w, d);
}

/* Returns false if it need not be watched any longer. */
static bool on_direction(watch *w, wf_direction d)
{
    if (wf_load_acq(&w->source->word) & wf_src_ready_bit(d) && !still_watched(w, d))
        return false;
    if (!(wf_load_acq(&w->source->word) & wf_src_ready_bit(d))) {
        w->ignored[d] = 0;
        deliver(w, wf_src_ready_bit(d));
    }
    return true;
}

/* UV_EBADF is the kernel's "error": libuv has stopped watching. The system call will name it; who then waits once more asks anew. */
static void on_error(watch *w)
{
    w->watching = 0;
    wf_and_acqrel(&w->source->asks, ~(WF_ASK_READ | WF_ASK_WRITE));
    deliver(w, WF_SRC_RRDY | WF_SRC_WRDY);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    watch *w = wf_container(poll, watch, poll);
    if (status < 0) {
        on_error(w);
        return;
    }
    int keep = w->watching;
    for (int d = 0; d < 2; d++)
        if (events & uv_bit(d) && !on_direction(w, d))
            keep &= ~uv_bit(d);
    if (keep != w->watching)
        watch_for(w, keep); /* fewer than before: cannot fail */
}

/* ---- watches ----------------------------------------------------------------------------------------------------- */

static int make_room(backend *b, size_t count)
{
    if (count <= b->watches_count)
        return 0;
    count = WF_MAX(count, WF_MAX(64, 2 * b->watches_count));
    watch **more = wf_alloc(&wf_malloc_allocator, count * sizeof *more);
    if (!more)
        return WEFT_ENOMEM;
    if (b->watches)
        memcpy(more, b->watches, b->watches_count * sizeof *more);
    wf_free(&wf_malloc_allocator, b->watches);
    b->watches = more;
    b->watches_count = count;
    return 0;
}

static int make_watch(wf_reactor *r, int fd)
{
    watch *w = wf_alloc(&wf_malloc_allocator, sizeof *w);
    if (!w)
        return WEFT_ENOMEM;
    int err = uv_poll_init(&r->loop, &w->poll, fd);
    if (err < 0)
        wf_free(&wf_malloc_allocator, w);
    else
        of(r)->watches[fd] = w;
    return err;
}

/* uv_poll_init() has looked at the number's first owner only, and libuv aborts when the kernel refuses a later one. */
static int check_pollable(wf_reactor *r, wf_source *s)
{
#if defined(__linux__)
    struct epoll_event none = {.events = 0};
    int set = uv_backend_fd(&r->loop), fd = wf_load_rlx(&s->fd);
    if (!s->kind->socket && epoll_ctl(set, EPOLL_CTL_ADD, fd, &none) < 0)
        return -errno;
    if (!s->kind->socket)
        epoll_ctl(set, EPOLL_CTL_DEL, fd, &none);
#else
    (void)r, (void)s;
#endif
    return 0;
}

static int bind_watch(wf_reactor *r, wf_source *s)
{
    backend *b = of(r);
    int fd = wf_load_rlx(&s->fd), err = make_room(b, (size_t)fd + 1);
    if (err < 0)
        return err;
    if (b->watches[fd] && b->watches[fd]->source)
        return UV_EEXIST; /* as a set would say: two sources for one descriptor */
    err = b->watches[fd] ? check_pollable(r, s) : make_watch(r, fd);
    if (err < 0)
        return err;
    b->watches[fd]->source = s;
    b->watches[fd]->generation = wf_src_generation(wf_load_rlx(&s->word));
    s->watch = b->watches[fd];
    return 0;
}

/* Both sides try their system call, wait once more, and then ask anew: each gets an error of its own. */
static void fail(wf_source *s)
{
    wf_and_acqrel(&s->asks, ~(WF_ASK_READ | WF_ASK_WRITE));
    wf_source_deliver(s, wf_src_generation(wf_load_rlx(&s->word)), WF_SRC_RRDY | WF_SRC_WRDY);
}

/* Bring the loop in line with what is asked. Holding the reactor. */
static int watch_as_asked(wf_reactor *r, wf_source *s)
{
    int directions = uv_bits(wf_load_acq(&s->asks)), err = s->watch || !directions ? 0 : bind_watch(r, s);
    watch *w = s->watch;
    if (err == 0 && w && directions != w->watching) {
        w->ignored[WF_READ] = w->ignored[WF_WRITE] = 0;
        err = watch_for(w, directions);
    }
    return err;
}

/* Stopped, and its place as in the beginning. Holding the reactor. */
static void unbind(wf_reactor *r, wf_source *s)
{
    watch *w = s->watch;
    if (w) {
        if (w->watching)
            watch_for(w, 0);
        w->source = NULL;
        if (of(r)->last == w)
            of(r)->last = NULL;
    }
    s->watch = NULL;
    wf_store_rlx(&s->error, 0);
    wf_store_rlx(&s->asks, 0);
}

/* ---- letters ----------------------------------------------------------------------------------------------------- */

static void answer(wf_reactor *r, wf_source *s)
{
    /* [SET-LETTER] acquire: what was asked; from here on it may be posted again. */
    uint32_t asks = wf_and_acqrel(&s->asks, ~WF_ASK_POSTED);
    if (asks & WF_ASK_REMOVE) {
        unbind(r, s);
        wf_source_closed(s); /* the place may be somebody else's from here on */
        return;
    }
    int err = watch_as_asked(r, s);
    if (err < 0) {
        wf_store_rel(&s->error, err); /* nobody here to tell */
        fail(s);
    }
}

/* Returns whether there was any. Holding the reactor. */
static bool answer_all(wf_reactor *r)
{
    bool any = false;
    while (!wf_mailbox_empty(&of(r)->mail)) {
        any = true;
        for (wf_letter *l = wf_mailbox_take(&of(r)->mail), *next; l; l = next) {
            next = l->next;
            answer(r, wf_container(l, wf_source, letter));
        }
    }
    return any;
}

/* [SET-LETTER] A read-modify-write also when the box is empty: a post that comes after it sees the lock open, one that came before
 * it is seen here. */
static bool mail_came_late(wf_reactor *r)
{
    void *none = NULL;
    return !wf_cas_strong_seq(&of(r)->mail.top, &none, NULL);
}

void wf_set_release(wf_reactor *r) WF_NO_THREAD_SAFETY
{
    do {
        answer_all(r);
        wf_spin_unlock(&r->held);
    } while (mail_came_late(r) && wf_reactor_try(r)); /* not to be had: whoever has it looks, too */
}

/* Somebody else holds it, perhaps in its sleep. @s must not be touched afterwards if it is to be removed. */
static void post(wf_reactor *r, wf_source *s, uint32_t ask) WF_NO_THREAD_SAFETY
{
    if (!(wf_or_acqrel(&s->asks, ask | WF_ASK_POSTED) & WF_ASK_POSTED))
        wf_mailbox_post(&of(r)->mail, &s->letter);
    if (wf_reactor_try(r))
        wf_set_release(r);
    else
        wf_reactor_ring(r, WF_RUNG);
}

/* Between "I am parked" and the wait: posters before it saw an owner that was awake, and did not ring. */
static void on_before_wait(uv_prepare_t *before_wait)
{
    wf_reactor *r = before_wait->loop->data;
    of(r)->turns++;
    of(r)->last = NULL;
    if (answer_all(r))
        uv_stop(before_wait->loop); /* it may have woken somebody: do not wait */
}

/* ---- sources ----------------------------------------------------------------------------------------------------- */

static int watch_or_post(wf_reactor *r, wf_source *s) WF_NO_THREAD_SAFETY
{
    if (!wf_reactor_try(r)) {
        post(r, s, 0);
        return 0;
    }
    int err = watch_as_asked(r, s);
    if (err < 0)
        fail(s);
    wf_set_release(r);
    return err;
}

/* Nothing is watched before somebody asks. The other direction may have asked already, without knowing the home. */
int wf_set_add(wf_reactor *r, wf_source *s, uint16_t generation)
{
    (void)generation;
    uint32_t before = wf_or_acqrel(&s->asks, WF_ASK_ADDED); /* [SET-ADD] release: the home */
    if (before & (WF_ASK_READ | WF_ASK_WRITE))
        watch_or_post(r, s); /* if it fails, the others are told, and who calls asks for himself */
    return 0;
}

int wf_set_want_watched(wf_source *s, wf_direction d)
{
    int err = wf_load_acq(&s->error);
    if (wf_unlikely(err < 0)) {
        wf_store_rlx(&s->error, 0);
        wf_and_acqrel(&s->asks, ~wf_ask_bit(d));
        return err;
    }
    if (!(wf_load_acq(&s->asks) & WF_ASK_ADDED)) /* [SET-ADD] acquire */
        return 0;                                /* who is adding it looks at what is asked */
    return watch_or_post(wf_load_acq(&s->home), s);
}

/* A listener's address is free when the call returns, even if the descriptor is closed a little later. */
static void shut_listener(wf_source *s)
{
    int listening = 0, fd = wf_load_rlx(&s->fd);
    if (s->kind->socket && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &(socklen_t){sizeof listening}) == 0 &&
        listening)
        shutdown(fd, SHUT_RDWR);
}

bool wf_set_remove(wf_reactor *r, wf_source *s) WF_NO_THREAD_SAFETY
{
    if (!wf_reactor_try(r)) {
        shut_listener(s);
        post(r, s, WF_ASK_REMOVE);
        return false;
    }
    answer_all(r); /* its own letter may be among them; nobody operates, so no other follows */
    unbind(r, s);
    wf_set_release(r);
    return true;
}

/* ---- turning ----------------------------------------------------------------------------------------------------- */

/* Woken tasks run in the order of their wakes: with the last one's news consumed, the batch is polled. */
static bool batch_unpolled(backend *b)
{
    return b->last && b->last->source && wf_load_rlx(&b->last->source->word) & b->last_bit;
}

/* While it is, wf_reactor_turn() gives the loop its turn after WF_LOOP_EVERY. */
unsigned wf_set_poll(wf_reactor *r)
{
    uint64_t before = wf_load_rlx(&r->events);
    if (batch_unpolled(of(r)))
        return 0;
    r->loop_turned = wf_load_rlx(&r->last_turn);
    uv_run(&r->loop, UV_RUN_NOWAIT);
    return (unsigned)(wf_load_rlx(&r->events) - before);
}

/* ---- the bell ---------------------------------------------------------------------------------------------------- */

#if WF_BELL_EVENTFD

static void on_bell(uv_poll_t *bell, int status, int events)
{
    uint64_t rings;
    (void)status, (void)events;
    while (read(((wf_reactor *)bell->loop->data)->bell, &rings, sizeof rings) < 0 && errno == EINTR)
        ;
}

void wf_set_ring(wf_reactor *r)
{
    uint64_t one = 1;
    while (write(r->bell, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static int open_bell(wf_reactor *r)
{
    r->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->bell < 0)
        return -errno;
    int err = uv_poll_init(&r->loop, &r->watch, r->bell);
    return err < 0 ? err : uv_poll_start(&r->watch, UV_READABLE, on_bell); /* the second cannot fail */
}

static void close_bell(wf_reactor *r) { uv_close((uv_handle_t *)&r->watch, NULL); }

#else

static void on_bell(uv_async_t *bell) { (void)bell; } /* waking up was all it wanted */

void wf_set_ring(wf_reactor *r) { uv_async_send(&of(r)->bell); }

static int open_bell(wf_reactor *r) { return uv_async_init(&r->loop, &of(r)->bell, on_bell); }

static void close_bell(wf_reactor *r) { uv_close((uv_handle_t *)&of(r)->bell, NULL); }

#endif

/* ---- coming and going -------------------------------------------------------------------------------------------- */

static void never(uv_poll_t *poll, int status, int events) { (void)poll, (void)status, (void)events; }

/* libuv's table of descriptors grows with the highest number, and libuv aborts when that fails: let it grow now. No harm if the
 * process may not have so many. */
static void reserve_table(wf_reactor *r)
{
    uv_poll_t *reserve = &of(r)->reserve;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    int high = limit.rlim_cur > RESERVED_FD ? RESERVED_FD : (int)limit.rlim_cur - 1;
    int any = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd = fcntl(any, F_DUPFD_CLOEXEC, high);
    if (any >= 0)
        close(any);
    if (fd < 0)
        return;
    if (uv_poll_init(&r->loop, reserve, fd) == 0) {
        uv_poll_start(reserve, UV_READABLE, never);
        uv_close((uv_handle_t *)reserve, NULL); /* stopped before the descriptor goes; the loop forgets it in its next turn */
    }
    close(fd);
}

int wf_set_open(wf_reactor *r)
{
    r->backend = wf_alloc(&wf_malloc_allocator, sizeof(backend));
    int err = r->backend ? open_bell(r) : WEFT_ENOMEM;
    if (err < 0) {
        wf_set_free(r);
        return err;
    }
    uv_prepare_init(&r->loop, &of(r)->before_wait); /* neither can fail */
    uv_prepare_start(&of(r)->before_wait, on_before_wait);
    reserve_table(r);
    return 0;
}

void wf_set_close(wf_reactor *r)
{
    backend *b = of(r);
    close_bell(r);
    uv_close((uv_handle_t *)&b->before_wait, NULL);
    for (size_t i = 0; i < b->watches_count; i++)
        if (b->watches[i])
            uv_close((uv_handle_t *)&b->watches[i]->poll, NULL);
}

void wf_set_free(wf_reactor *r)
{
    backend *b = of(r);
    for (size_t i = 0; b && i < b->watches_count; i++)
        wf_free(&wf_malloc_allocator, b->watches[i]);
    if (b)
        wf_free(&wf_malloc_allocator, b->watches);
    wf_free(&wf_malloc_allocator, b);
    r->backend = NULL;
    if (r->bell >= 0)
        close(r->bell);
    r->bell = -1;
}

#endif
