/* set_epoll.c - readiness by one edge-triggered epoll set per reactor.
 *
 * Every descriptor is added once, for both directions; from then on neither waiting nor migrating tasks cost a system call. The
 * set hangs in the libuv loop by one uv_poll_t, so that a loop that was handed out notices it; workers ask it, and wait for it, directly. The bell is an
 * eventfd in the set: edge-triggered, so that each ring is an event and nobody has to read it.
 *
 * For datagram sockets each datagram that leaves would be an event. They are added for reading alone, and changed once, by the first who has to wait.
 *
 * An event's data is a source's place and the generation in which it was added (user addresses have 48 bits). */
#include <reactor/set.h>

#if !WF_REACTOR_UVPOLL

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { GENERATION_SHIFT = 48 };

static uint64_t deliverable(uint32_t events)
{
    uint64_t bits = 0;
    if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        bits |= WF_SRC_RRDY;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        bits |= WF_SRC_WRDY;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLPRI)) /* urgent data: a read ends before it, and is short */
        bits |= WF_SRC_REOF;
    return bits;
}

static wf_source *source_of(const struct epoll_event *event)
{
    return (wf_source *)(uintptr_t)(event->data.u64 & ((UINT64_C(1) << GENERATION_SHIFT) - 1));
}

/* Of thousands of connections none has its source in the caches, nor who reads it: each is fetched while those before it are delivered. */
static void expect(const struct epoll_event *events, int i, int n)
{
    enum { TASK_AHEAD = 4, SOURCE_AHEAD = 8 };
    const wf_source *s;
    if (i + SOURCE_AHEAD < n && (s = source_of(&events[i + SOURCE_AHEAD]))) {
        __builtin_prefetch(s, 1);
        __builtin_prefetch((const char *)s + WF_CACHE_LINE);
    }
    if (i + TASK_AHEAD < n && (s = source_of(&events[i + TASK_AHEAD])))
        wf_wake_cell_expect(&s->cells[WF_READ]);
}

static void deliver(wf_reactor *r, const struct epoll_event *event)
{
    uint64_t data = event->data.u64;
    wf_source *s = source_of(event);
    if (!s)
        return; /* the bell: waking up was all it wanted */
    uint64_t bits = deliverable(event->events);
    uint16_t generation = (uint16_t)(data >> GENERATION_SHIFT);
    wf_reactor_tell(r, s, generation, bits);
    wf_source_deliver(s, generation, bits);
}

/* One batch a turn: with more than that ready, the tasks of the first come to run before the next is fetched. */
unsigned wf_set_wait(wf_reactor *r, int timeout)
{
    struct epoll_event events[WF_BATCH];
    if (r->room == 0)
        return 0;
    int n = epoll_wait(r->set, events, (int)WF_MIN(r->room, WF_BATCH), timeout);
    for (int i = 0; i < n; i++) {
        expect(events, i, n);
        deliver(r, &events[i]);
    }
    if (n <= 0)
        return 0;
    r->room -= (unsigned)n;
    wf_count(&r->events, (uint64_t)n);
    return (unsigned)n;
}

unsigned wf_set_poll(wf_reactor *r) { return wf_set_wait(r, 0); }

static void on_set_readable(uv_poll_t *watch, int status, int events)
{
    (void)status, (void)events;
    wf_set_poll(watch->data);
}

static int control(wf_reactor *r, int what, wf_source *s, uint16_t generation, uint32_t more)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET | more,
        .data.u64 = (uint64_t)(uintptr_t)s | (uint64_t)generation << GENERATION_SHIFT,
    };
    return epoll_ctl(r->set, what, wf_load_rlx(&s->fd), &event) == 0 ? 0 : -errno;
}

/* The other direction may have asked already, before it was added. */
int wf_set_add(wf_reactor *r, wf_source *s, uint16_t generation)
{
    if (!s->kind->seldom_full)
        return control(r, EPOLL_CTL_ADD, s, generation, EPOLLOUT);
    int err = control(r, EPOLL_CTL_ADD, s, generation, 0);
    if (err < 0)
        return err;
    uint32_t before = wf_or_acqrel(&s->asks, WF_ASK_ADDED); /* [SET-ADD] release: the home, and that it is in the set */
    err = before & WF_ASK_WRITE ? control(r, EPOLL_CTL_MOD, s, generation, EPOLLOUT) : 0;
    if (err < 0) { /* as if it had never been added: whoever waits next adds it */
        wf_and_acqrel(&s->asks, ~WF_ASK_ADDED);
        wf_set_remove(r, s);
    }
    return err;
}

/* From now on for good, unless it fails. Whoever changes what is watched is told what is ready, so no edge is lost. */
int wf_set_want_write(wf_source *s)
{
    uint32_t before = wf_or_acqrel(&s->asks, WF_ASK_WRITE); /* [SET-ADD] acquire */
    if ((before & (WF_ASK_ADDED | WF_ASK_WRITE)) != WF_ASK_ADDED)
        return 0; /* it is watched, or will be by who adds it */
    int err = control(wf_load_acq(&s->home), EPOLL_CTL_MOD, s, wf_src_generation(wf_load_rlx(&s->word)), EPOLLOUT);
    if (err < 0)
        wf_and_acqrel(&s->asks, ~WF_ASK_WRITE); /* who waits next asks anew */
    return err;
}

bool wf_set_remove(wf_reactor *r, wf_source *s)
{
    epoll_ctl(r->set, EPOLL_CTL_DEL, wf_load_rlx(&s->fd), NULL);
    return true;
}

void wf_set_ring(wf_reactor *r)
{
    uint64_t one = 1;
    while (write(r->bell, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static int open_descriptors(wf_reactor *r)
{
    r->set = epoll_create1(EPOLL_CLOEXEC);
    if (r->set < 0)
        return -errno;
    r->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->bell < 0)
        return -errno;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0};
    return epoll_ctl(r->set, EPOLL_CTL_ADD, r->bell, &event) == 0 ? 0 : -errno;
}

int wf_set_open(wf_reactor *r)
{
    int err = open_descriptors(r);
    if (err == 0)
        err = uv_poll_init(&r->loop, &r->watch, r->set);
    if (err < 0) {
        wf_set_free(r);
        return err;
    }
    r->watch.data = r;
    err = uv_poll_start(&r->watch, UV_READABLE, on_set_readable);
    if (err < 0) {
        uv_close((uv_handle_t *)&r->watch, NULL); /* the caller turns the loop for it */
        wf_set_free(r);
    }
    return err;
}

void wf_set_close(wf_reactor *r) { uv_close((uv_handle_t *)&r->watch, NULL); }

void wf_set_free(wf_reactor *r)
{
    if (r->bell >= 0)
        close(r->bell);
    if (r->set >= 0)
        close(r->set);
    r->bell = r->set = -1;
}

#endif
