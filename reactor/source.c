/* source.c - see source.h.
 *
 * No lost wake: a waiter registers its waker and then looks at the word; a delivery changes the word and then takes the waker. */
#include <reactor/set.h>
#include <reactor/source.h>
#include <sys/socket.h>
#include <unistd.h>

#if WF_STRESS
enum { CHUNK_PLACES = 2 };
#else
enum { CHUNK_PLACES = 64 };
#endif

struct wf_source_chunk {
    struct wf_source_chunk *older;
    wf_source *places; /* in the same block, each on cache lines of its own */
};

void wf_sources_init(wf_sources *all, const weft_allocator *allocator) { *all = (wf_sources){.allocator = allocator}; }

static bool grow_locked(wf_sources *all)
{
    struct wf_source_chunk *c =
        wf_alloc(all->allocator, sizeof *c + CHUNK_PLACES * sizeof(wf_source) + alignof(wf_source) - 1);
    if (!c)
        return false;
    c->places = (wf_source *)(((uintptr_t)(c + 1) + alignof(wf_source) - 1) & ~(uintptr_t)(alignof(wf_source) - 1));
    c->older = all->chunks;
    all->chunks = c;
    for (int i = CHUNK_PLACES - 1; i >= 0; i--) {
        c->places[i].sources = all;
        c->places[i].fd.v = -1;
        c->places[i].word.v = WF_SRC_CLOSING;
        for (int d = 0; d < 2; d++) { /* once: a late event may wake them in a later life */
            c->places[i].cells[d].word.v = NULL;
            weft_atomic_waker_init(&c->places[i].others[d]);
        }
        c->places[i].next_free = all->free;
        all->free = &c->places[i];
    }
    return true;
}

bool wf_sources_have_room(wf_sources *all)
{
    wf_spin_lock(&all->lock);
    bool room = all->free || grow_locked(all);
    wf_spin_unlock(&all->lock);
    return room;
}

static bool is_awaited(wf_source *s)
{
    return wf_load_acq(&s->cells[WF_READ].word) || wf_load_acq(&s->cells[WF_WRITE].word);
}

/* Chunks stay, and new ones come first. */
bool wf_sources_awaited(wf_sources *all)
{
    wf_spin_lock(&all->lock);
    struct wf_source_chunk *c = all->chunks;
    wf_spin_unlock(&all->lock);
    for (; c; c = c->older)
        for (int i = 0; i < CHUNK_PLACES; i++)
            if (is_awaited(&c->places[i]))
                return true;
    return false;
}

static wf_source *place_take(wf_sources *all)
{
    wf_spin_lock(&all->lock);
    wf_source *s = all->free || grow_locked(all) ? all->free : NULL;
    if (s)
        all->free = s->next_free;
    wf_spin_unlock(&all->lock);
    return s;
}

static void place_free(wf_source *s)
{
    wf_sources *all = s->sources;
    if (s->kind->gone)
        s->kind->gone(s);
    wf_src_retire(&s->word);
    wf_add_rlx(&all->open, (uint64_t)-1);
    wf_spin_lock(&all->lock);
    s->next_free = all->free;
    all->free = s;
    wf_spin_unlock(&all->lock);
}

wf_source *wf_source_open(wf_sources *all, int fd, const wf_source_kind *kind, bool ready)
{
    wf_source *s = place_take(all);
    if (!s)
        return NULL;
    wf_add_rlx(&all->open, 1);
    wf_store_rlx(&s->home, NULL);
    wf_store_rlx(&s->asks, 0);
    wf_store_rlx(&s->fd, fd);
    s->kind = kind;
    for (size_t i = 0; i < sizeof s->user / sizeof *s->user; i++)
        s->user[i] = 0;
    wf_src_open(&s->word, (ready ? WF_SRC_RRDY | WF_SRC_WRDY : 0) | (fd < 0 ? WF_SRC_ARMED : 0));
    return s;
}

/* ---- closing ------------------------------------------------------------------------------------------------- */

static void forget_both(wf_source *s)
{
    for (int d = 0; d < 2; d++)
        wf_source_forget(s, d);
}

void wf_source_closed(wf_source *s)
{
    if (wf_load_rlx(&s->fd) >= 0)
        close(wf_load_rlx(&s->fd));
    wf_store_rlx(&s->fd, -1);
    forget_both(s);
    if (wf_src_finalized(&s->word) & WF_SRC_FREE)
        place_free(s);
}

/* Deregister before closing, always: a forked child may keep the description, and with it the registration, alive. Who
 * deregisters later closes later; until then FINAL keeps the place. */
static void finalize(wf_source *s)
{
    struct wf_reactor *home = wf_load_acq(&s->home);
    if (!home || wf_load_rlx(&s->sources->forked) || wf_set_remove(home, s))
        wf_source_closed(s);
}

void wf_source_settle(wf_source *s, unsigned verdict)
{
    if (verdict & WF_SRC_FINALIZE)
        finalize(s);
    else if (verdict & WF_SRC_FREE)
        place_free(s);
}

/* A socket in use is shut at once, so that the peer learns of it (and a listener's port is free) before the last operation has left. */
static void close_with(wf_source *s, uint64_t refs)
{
    weft_waker wakers[2] = {{NULL, NULL}, {NULL, NULL}};
    bool first = wf_src_close_begin(&s->word);
    if (first) {
        bool ours = !wf_load_rlx(&s->sources->forked);
        if (ours && s->kind->closing)
            s->kind->closing(s);
        if (ours && s->kind->socket && wf_load_acq(&s->word) & WF_SRC_BUSY)
            shutdown(wf_load_rlx(&s->fd), SHUT_RDWR);
        for (int d = 0; d < 2; d++)
            wf_wake_cell_take(&s->cells[d], &s->others[d], &wakers[d]);
    }
    wf_source_settle(s, wf_src_close_end(&s->word, first, refs)); /* the place may be somebody else's from here on */
    for (int d = 0; d < 2; d++)
        weft_waker_wake(&wakers[d]);
}

void wf_source_close(wf_source *s) { close_with(s, 1); }

void wf_source_abort(wf_source *s) { close_with(s, 0); }

bool wf_source_ref(wf_source *s)
{
    uint64_t old = wf_load_rlx(&s->word);
    do {
        if ((old & WF_SRC_REFS) == WF_SRC_REFS)
            return false;
    } while (!wf_cas_acqrel(&s->word, &old, old + WF_SRC_REF));
    return true;
}

void wf_source_leave(wf_source *s)
{
    unsigned verdict = wf_src_leave(&s->word);
    if (wf_unlikely(verdict))
        wf_source_settle(s, verdict);
}

void wf_source_unref(wf_source *s) { wf_source_settle(s, wf_src_close_end(&s->word, false, 1)); }

unsigned wf_sources_destroy(wf_sources *all)
{
    unsigned left = 0;
    for (struct wf_source_chunk *c = all->chunks, *older; c; c = older) {
        older = c->older;
        for (int i = 0; i < CHUNK_PLACES; i++) {
            wf_source *s = &c->places[i];
            bool held = s->word.v & (WF_SRC_REFS | WF_SRC_BUSY);
            if (!held && s->fd.v < 0)
                continue;
            if (s->fd.v >= 0)
                finalize(s);
            forget_both(s); /* of one without a descriptor, too */
            if (held && s->kind->gone)
                s->kind->gone(s);
            left++;
        }
        wf_free(all->allocator, c);
    }
    all->chunks = NULL;
    all->free = NULL;
    return left;
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

static void wake(wf_source *s, wf_direction d) { wf_wake_cell_wake(&s->cells[d], &s->others[d]); }

/* Who arms publishes the home first: whoever finalizes later must find it. */
static int arm(wf_source *s, struct wf_reactor *here)
{
    wf_store_rel(&s->home, here);
    int err = here ? wf_set_add(here, s, wf_src_generation(wf_load_rlx(&s->word))) : WEFT_ENORUNTIME;
    if (err == 0)
        return 0;
    wf_store_rel(&s->home, NULL);
    wf_and_acqrel(&s->word, ~WF_SRC_ARMED);
    for (int d = 0; d < 2; d++) /* the other direction may count on this registration: let it try for itself */
        wake(s, d);
    return err;
}

int wf_source_wait(wf_source *s, wf_direction d, uint64_t *word, struct wf_reactor *here, weft_context *cx)
{
    if (*word & wf_src_ready_bit(d)) {
        *word = wf_src_would_block(&s->word, d, *word);
        if (*word & wf_src_ready_bit(d))
            return 0;
    }
    int err = wf_source_register(s, d, cx);
    if (wf_unlikely(err < 0))
        return err;
    if (wf_unlikely(wf_src_arm(&s->word)) && (err = arm(s, here)) < 0)
        return err;
    if (wf_unlikely(wf_load_rlx(&s->fd) >= 0 && (err = wf_set_want(s, d)) < 0))
        return err;
    *word = wf_load_acq(&s->word); /* [SRC-WAIT] after the waker was stored */
    if (wf_unlikely(*word & WF_SRC_CLOSING))
        return WEFT_ECLOSED;
    return *word & wf_src_ready_bit(d) ? 0 : WEFT_PENDING;
}

void wf_source_deliver(wf_source *s, uint16_t generation, uint64_t bits)
{
    uint64_t fresh = wf_src_deliver(&s->word, generation, bits);
    if (fresh & (WF_SRC_RRDY | WF_SRC_REOF))
        wake(s, WF_READ);
    if (fresh & WF_SRC_WRDY)
        wake(s, WF_WRITE);
}
