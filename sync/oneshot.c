/* oneshot.c - a channel with one place, closed by its first send. */
#include <sync/chan.h>

static weft_chan *inside(weft_oneshot *o) { return (weft_chan *)(void *)o; }

int weft_oneshot_create(weft_oneshot **o, size_t item_size, void (*drop)(void *item))
{
    weft_chan_options options = {.drop = drop};
    return o ? weft_chan_create_with((weft_chan **)(void *)o, item_size, 1, &options) : WEFT_EINVAL;
}

int weft_oneshot_send(weft_oneshot *o, const void *item)
{
    return o && item ? wf_chan_send_last(inside(o), item) : WEFT_EINVAL;
}

int weft_oneshot_recv(weft_oneshot *o, void *item) { return wf_chan_recv_only(inside(o), item); }

int weft_oneshot_try_recv(weft_oneshot *o, void *item) { return weft_chan_try_recv(inside(o), item); }

void weft_oneshot_close(weft_oneshot *o) { weft_chan_close(inside(o)); }

int weft_oneshot_free(weft_oneshot *o) { return weft_chan_free(inside(o)); }
