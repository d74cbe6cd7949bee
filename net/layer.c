/* layer.c - layers on streams, and attempts of whoever builds them. */
#include <errno.h>
#include <net/stream.h>
#include <sys/socket.h>

static ssize_t attempt_users(wf_source_op *op, bool *drained);

typedef struct users_op {
    wf_source_op op; /* first */
    ssize_t (*attempt)(weft_stream *s, void *arg);
    void *arg;
} users_op;

static ssize_t attempt_users(wf_source_op *op, bool *drained)
{
    users_op *u = wf_container(op, users_op, op);
    (void)drained;
    return u->attempt((weft_stream *)(void *)op->source, u->arg);
}

ssize_t weft_stream_attempt(weft_stream *s, int direction, ssize_t (*attempt)(weft_stream *s, void *arg), void *arg)
{
    if (!s || !attempt || (direction != WEFT_READING && direction != WEFT_WRITING))
        return WEFT_EINVAL;
    wf_direction d = direction == WEFT_READING ? WF_READ : WF_WRITE;
    users_op u = {.op = {.source = &s->source, .direction = d, .always = true, .attempt = attempt_users},
                  .attempt = attempt,
                  .arg = arg};
    return wf_await(&wf_source_op_ops, &u.op, wf_stream_deadline(s, d));
}

static int push_claimed(weft_stream *s, weft_layer *layer)
{
    wf_stream_extra *extra = wf_stream_extra_of(s);
    if (extra->reader && wf_reader_held(extra->reader) > 0)
        return WEFT_EBUSY;
    layer->stream_ = s;
    layer->below_ = wf_load_rlx(&extra->layer);
    wf_store_rel(&extra->layer, layer); /* [LAYER] release: who closes looks at it without a claim */
    return 0;
}

/* As if the set had said so. */
static void assume_ready(weft_stream *s, uint64_t bits)
{
    wf_source_deliver(&s->source, wf_src_generation(wf_load_rlx(&s->source.word)), bits);
}

void weft_layer_wake(weft_layer *self, int direction)
{
    assume_ready(self->stream_, direction == WEFT_READING ? WF_SRC_RRDY : WF_SRC_WRDY);
}

int weft_stream_push_layer(weft_stream *s, weft_layer *layer)
{
    uint64_t word;
    if (!s || !layer || !layer->ops || !layer->ops->read || !layer->ops->write || !layer->ops->drop)
        return WEFT_EINVAL;
    int err = wf_source_claim(&s->source, WF_READ, &word);
    if (err < 0)
        return err;
    err = wf_source_claim(&s->source, WF_WRITE, &word);
    if (err == 0) {
        err = push_claimed(s, layer);
        if (err == 0) /* what the layer has read ahead is no event of the descriptor: so the first calls are tried */
            assume_ready(s, WF_SRC_RRDY | WF_SRC_WRDY);
        wf_source_release(&s->source, WF_WRITE, false, word);
    }
    wf_source_release(&s->source, WF_READ, false, word);
    return err;
}

weft_layer *weft_stream_layer(weft_stream *s) { return s ? wf_load_acq(&wf_stream_extra_of(s)->layer) : NULL; }

/* ---- nothing more is written ----------------------------------------------------------------------------------- */

WF_NOINLINE static int shut_write(int fd) { return shutdown(fd, SHUT_WR) == 0 ? 0 : -errno; }

/* By @layer; NULL: by the descriptor. */
static int shut_by(weft_stream *s, weft_layer *layer)
{
    if (layer)
        return layer->ops->close_write ? layer->ops->close_write(layer) : WEFT_ENOTSUP;
    return s->source.kind->socket ? shut_write(wf_load_rlx(&s->source.fd)) : WEFT_ENOTSUP;
}

int wf_stream_shut_now(weft_stream *s) { return shut_by(s, wf_stream_top(s)); }

int weft_layer_close_write_below(weft_layer *self) { return shut_by(self->stream_, self->below_); }
