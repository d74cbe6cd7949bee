/* waker.c - wakers: two words, and the four things one can do with them.
 *
 * {NULL, NULL} wakes nobody and costs nothing. A waker is emptied before its ops run: they may free the memory it
 * stands in. Nothing here knows who is woken. */
#include <base/common.h>
#include <weft/future.h>

static weft_waker take(weft_waker *waker)
{
    weft_waker taken = *waker;
    *waker = (weft_waker){NULL, NULL};
    return taken;
}

int weft_waker_clone(const weft_waker *waker, weft_waker *out)
{
    weft_waker copy = {NULL, NULL};
    int rc = waker->ops ? waker->ops->clone(waker, &copy) : 0;
    if (rc < 0)
        copy = (weft_waker){NULL, NULL};
    *out = copy;
    return rc < 0 ? rc : 0;
}

void weft_waker_wake(weft_waker *waker)
{
    weft_waker self = take(waker);
    if (self.ops)
        self.ops->wake(&self);
}

void weft_waker_wake_by_ref(const weft_waker *waker)
{
    if (waker->ops)
        waker->ops->wake_by_ref(waker);
}

void weft_waker_drop(weft_waker *waker)
{
    weft_waker self = take(waker);
    if (self.ops)
        self.ops->drop(&self);
}

int weft_waker_will_wake(const weft_waker *a, const weft_waker *b) { return a->ops == b->ops && a->data == b->data; }
