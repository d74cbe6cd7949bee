/* watch.c - the latest value, and who waits for a later one. */
#include <base/case.h>
#include <stdlib.h>
#include <string.h>
#include <sync/waiters.h>
#include <weft/chan.h>

struct weft_watch {
    wf_spin lock;
    bool closed; /* under lock, and so all below */
    size_t item_size;
    uint64_t version; /* of the value: 1, 2, … */
    weft_waiters_ waiters;
    char value[];
};

int weft_watch_create(weft_watch **out, size_t item_size, const void *initial)
{
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (item_size == 0 || item_size > SIZE_MAX / 2 || !initial)
        return WEFT_EINVAL;
    weft_watch *w = calloc(1, sizeof *w + item_size);
    if (!w)
        return WEFT_ENOMEM;
    w->item_size = item_size;
    w->version = 1;
    memcpy(w->value, initial, item_size);
    *out = w;
    return 0;
}

int weft_watch_set(weft_watch *w, const void *item)
{
    if (!w || !item)
        return WEFT_EINVAL;
    wf_spin_lock(&w->lock);
    if (w->closed) {
        wf_spin_unlock(&w->lock);
        return WEFT_ECLOSED;
    }
    memcpy(w->value, item, w->item_size);
    w->version++;
    wf_waiters_serve_all(&w->lock, &w->waiters);
    return 0;
}

void weft_watch_close(weft_watch *w)
{
    if (!w)
        return;
    wf_spin_lock(&w->lock);
    w->closed = true;
    wf_waiters_serve_all(&w->lock, &w->waiters);
}

int weft_watch_free(weft_watch *w)
{
    if (!w)
        return 0;
    wf_spin_lock(&w->lock);
    bool busy = !wf_waiters_empty(&w->waiters);
    wf_spin_unlock(&w->lock);
    if (busy)
        return WEFT_EBUSY;
    free(w);
    return 0;
}

int weft_watch_get(weft_watch *w, void *item, uint64_t *version)
{
    if (!w || !item)
        return WEFT_EINVAL;
    wf_spin_lock(&w->lock);
    memcpy(item, w->value, w->item_size);
    if (version)
        *version = w->version;
    wf_spin_unlock(&w->lock);
    return 0;
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

static bool is_newer(wf_waiter *waiter)
{
    const weft_watch *w = waiter->object;
    return w->version > waiter->want || w->closed;
}

static wf_waiter wait_for(weft_watch *w, uint64_t seen)
{
    return (wf_waiter){
        .lock = &w->lock, .queue = &w->waiters, .take = is_newer, .object = w, .want = (size_t)seen, .kind = WF_WAIT_WATCH};
}

static int take_newer(weft_watch *w, void *item, uint64_t *version)
{
    wf_spin_lock(&w->lock);
    bool newer = w->version > *version;
    if (newer) {
        memcpy(item, w->value, w->item_size);
        *version = w->version;
    }
    wf_spin_unlock(&w->lock);
    return newer ? 0 : WEFT_ECLOSED;
}

int weft_watch_next(weft_watch *w, void *item, uint64_t *version)
{
    if (!w || !item || !version)
        return WEFT_EINVAL;
    wf_waiter waiter = wait_for(w, *version);
    int err = (int)wf_await_inline(&wf_waiter_ops, &waiter, WEFT_FOREVER);
    return err < 0 ? err : take_newer(w, item, version);
}

WF_CASE_FITS(wf_waiter);

static ssize_t poll_case(weft_case *c, weft_context *cx)
{
    weft_watch *w = c->object_;
    wf_waiter *waiter = WF_CASE_STATE(c, wf_waiter);
    if (!waiter->object)
        *waiter = wait_for(w, *(uint64_t *)c->value_);
    ssize_t err = wf_waiter_poll(waiter, cx);
    if (err < 0)
        return err;
    wf_spin_lock(&w->lock);
    bool newer = w->version > waiter->want;
    wf_spin_unlock(&w->lock);
    return newer ? 0 : WEFT_ECLOSED;
}

static void leave_case(weft_case *c)
{
    if (WF_CASE_STATE(c, wf_waiter)->object)
        wf_waiter_cancel(WF_CASE_STATE(c, wf_waiter));
}

const struct weft_case_ops weft_case_watch_ = {.poll = poll_case, .leave = leave_case};
