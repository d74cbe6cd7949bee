/* bio.c - OpenSSL's way to what is below its layer, and what it wrote that is not there yet.
 *
 * OpenSSL never hears of a failure from here: what cannot be read is "not yet", what cannot be written was written. Why, is kept in the connection,
 * and whoever called OpenSSL looks there afterwards. So one direction that is at its end leaves the other alone, and a write always takes its record
 * as a whole. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <tls/tls.h>

/* ---- bytes ----------------------------------------------------------------------------------------------------- */

size_t wf_tls_bytes_left(const wf_tls_bytes *b) { return b->end - b->start; }

void wf_tls_bytes_free(wf_tls_bytes *b)
{
    free(b->bytes);
    *b = (wf_tls_bytes){0};
}

bool wf_tls_bytes_add(wf_tls_bytes *b, const void *bytes, size_t size)
{
    if (size > b->room - b->end) {
        size_t room = b->end + size;
        char *more = realloc(b->bytes, room);
        if (!more)
            return false;
        b->bytes = more;
        b->room = room;
    }
    memcpy(b->bytes + b->end, bytes, size);
    b->end += size;
    return true;
}

static void taken(wf_tls_bytes *b, size_t size)
{
    b->start += size;
    if (b->start == b->end)
        wf_tls_bytes_free(b);
}

/* ---- down ------------------------------------------------------------------------------------------------------ */

static ssize_t write_below(wf_tls *t, const char *bytes, size_t size)
{
    ssize_t n;
    do
        n = weft_layer_write_below(&t->layer, bytes, size);
    while (n == -EINTR);
    return n;
}

/* Part of a record is lost, so nothing that came after it would make sense. */
static int give_up_output(wf_tls *t, int code)
{
    wf_tls_bytes_free(&t->out);
    return t->no_output = code;
}

int wf_tls_flush(wf_tls *t)
{
    while (t->no_output == 0 && wf_tls_bytes_left(&t->out) > 0) {
        ssize_t n = write_below(t, t->out.bytes + t->out.start, wf_tls_bytes_left(&t->out));
        if (n == WEFT_EAGAIN)
            return WEFT_EAGAIN;
        if (n < 0)
            return give_up_output(t, (int)n);
        taken(&t->out, (size_t)n);
    }
    return t->no_output;
}

static void put(wf_tls *t, const char *bytes, size_t size)
{
    while (size > 0 && t->no_output == 0 && wf_tls_bytes_left(&t->out) == 0) {
        ssize_t n = write_below(t, bytes, size);
        if (n == WEFT_EAGAIN)
            break;
        if (n < 0) {
            give_up_output(t, (int)n);
            return;
        }
        bytes += n;
        size -= (size_t)n;
    }
    if (size > 0 && t->no_output == 0 && !wf_tls_bytes_add(&t->out, bytes, size))
        give_up_output(t, WEFT_ENOMEM);
}

static int bio_write(BIO *bio, const char *bytes, size_t size, size_t *written)
{
    BIO_clear_retry_flags(bio);
    put(BIO_get_data(bio), bytes, size);
    *written = size;
    return 1;
}

/* ---- up -------------------------------------------------------------------------------------------------------- */

static ssize_t get(wf_tls *t, char *buf, size_t size)
{
    size_t early = wf_tls_bytes_left(&t->early);
    ssize_t n;
    if (early > 0) {
        size = size < early ? size : early;
        memcpy(buf, t->early.bytes + t->early.start, size);
        taken(&t->early, size);
        return (ssize_t)size;
    }
    if (t->no_input < 0)
        return t->no_input;
    do
        n = weft_layer_read_below(&t->layer, buf, size);
    while (n == -EINTR);
    if (n <= 0 && n != WEFT_EAGAIN)
        t->no_input = n == 0 ? WEFT_EOF : (int)n;
    return n;
}

static int bio_read(BIO *bio, char *buf, size_t size, size_t *count)
{
    BIO_clear_retry_flags(bio);
    ssize_t n = get(BIO_get_data(bio), buf, size);
    *count = n > 0 ? (size_t)n : 0;
    if (n > 0)
        return 1;
    BIO_set_retry_read(bio);
    return 0;
}

/* There is nothing between OpenSSL and the layer below that could be flushed. */
static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *wf_tls_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "weft layer");
    if (m && BIO_meth_set_write_ex(m, bio_write) && BIO_meth_set_read_ex(m, bio_read) && BIO_meth_set_ctrl(m, bio_control))
        return m;
    BIO_meth_free(m);
    return NULL;
}

int wf_tls_bio_attach(wf_tls *t)
{
    BIO *bio = BIO_new(t->ctx->bio);
    if (!bio)
        return WEFT_ENOMEM;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    return 0;
}
