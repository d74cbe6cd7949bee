/* layer.c - reading and writing an encrypted stream.
 *
 *   write   what is left of the records before goes down first; then a record is taken, and the write has been done once that is down too:
 *           "not yet" keeps its length, and the same bytes, asked again, find it done
 *   read    what OpenSSL writes meanwhile (an answer to a change of keys, an alert) goes down with the next write, or the close
 *   stall   between the pieces of a message that the peer sends after the handshake OpenSSL writes nothing: the write waits until the reader has the rest
 *
 * One lock is around it all, for a reader and a writer may be two tasks; nothing waits under it. */
#include <openssl/err.h>
#include <string.h>
#include <tls/tls.h>

enum { RECORD = 16 * 1024 };

static wf_tls *tls_of(weft_layer *layer) { return WEFT_CONTAINER_OF(layer, wf_tls, layer); }

static int least(size_t a, size_t b) { return (int)(a < b ? a : b); }

/* Nothing can go on before, and after a failure. */
static int entry(const wf_tls *t)
{
    if (t->failed < 0)
        return wf_tls_tell(t);
    return t->established ? 0 : WEFT_EBUSY;
}

static int failed_now(wf_tls *t)
{
    wf_tls_fail(t);
    return wf_tls_tell(t);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* The message that a write waits for is complete. */
static void end_stall(wf_tls *t)
{
    if (!t->stalled || SSL_in_init(t->ssl))
        return;
    t->stalled = false;
    weft_layer_wake(&t->layer, WEFT_WRITING);
}

/* SSL_read() or SSL_peek(). */
static ssize_t read_locked(wf_tls *t, int (*call)(SSL *, void *, int), void *buf, size_t size)
{
    int err = entry(t);
    if (err < 0)
        return err;
    ERR_clear_error();
    int n = call(t->ssl, buf, least(size, RECORD));
    int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, n);
    end_stall(t);
    switch (why) {
    case SSL_ERROR_NONE:
        return n;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_WANT_READ:
        return t->no_input < 0 ? t->no_input : WEFT_EAGAIN;
    default:
        return failed_now(t);
    }
}

static ssize_t tls_read(weft_layer *self, void *buf, size_t size)
{
    wf_tls *t = tls_of(self);
    pthread_mutex_lock(&t->lock);
    ssize_t n = read_locked(t, SSL_read, buf, size);
    pthread_mutex_unlock(&t->lock);
    return n;
}

static int tls_readable(weft_layer *self)
{
    wf_tls *t = tls_of(self);
    char byte;
    pthread_mutex_lock(&t->lock);
    ssize_t n = read_locked(t, SSL_peek, &byte, 1);
    pthread_mutex_unlock(&t->lock);
    return n != WEFT_EAGAIN;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

/* To tell the bytes of a write from those of another that came in its place. FNV-1a. */
static uint64_t mark_of(const unsigned char *bytes, size_t size)
{
    uint64_t mark = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++)
        mark = (mark ^ bytes[i]) * UINT64_C(0x100000001b3);
    return mark;
}

/* All is down: so is what was accepted before, if this is it once more. */
static size_t done_before(wf_tls *t, const void *buf, size_t size)
{
    size_t n = t->accepted;
    t->accepted = 0;
    return n > 0 && n <= size && mark_of(buf, n) == t->accepted_mark ? n : 0;
}

/* A record is encrypted as a whole or not at all. */
static int encrypt(wf_tls *t, const void *buf, size_t size)
{
    ERR_clear_error();
    int n = SSL_write(t->ssl, buf, least(size, RECORD));
    if (n > 0)
        return n;
    if (SSL_get_error(t->ssl, n) != SSL_ERROR_WANT_READ)
        return failed_now(t);
    if (t->no_input < 0)
        return t->no_input;
    t->stalled = true;
    return WEFT_EAGAIN;
}

static ssize_t write_record(wf_tls *t, const void *buf, size_t size)
{
    int n = encrypt(t, buf, size);
    if (n < 0)
        return n;
    int err = wf_tls_flush(t);
    if (err == WEFT_EAGAIN) {
        t->accepted = (size_t)n;
        t->accepted_mark = mark_of(buf, (size_t)n);
    }
    return err < 0 ? err : n;
}

static ssize_t write_locked(wf_tls *t, const void *buf, size_t size)
{
    int err = entry(t);
    if (err == 0)
        err = wf_tls_flush(t);
    if (err < 0 || size == 0)
        return err;
    size_t before = done_before(t, buf, size);
    if (before > 0)
        return (ssize_t)before;
    return SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN ? WEFT_EPIPE : write_record(t, buf, size);
}

static ssize_t tls_write(weft_layer *self, const void *buf, size_t size)
{
    wf_tls *t = tls_of(self);
    pthread_mutex_lock(&t->lock);
    ssize_t n = write_locked(t, buf, size);
    pthread_mutex_unlock(&t->lock);
    return n;
}

static size_t tls_give_up(weft_layer *self)
{
    wf_tls *t = tls_of(self);
    pthread_mutex_lock(&t->lock);
    size_t taken = t->accepted;
    t->accepted = 0;
    pthread_mutex_unlock(&t->lock);
    return taken;
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

/* close_notify is part of what was written from here on. 0, WEFT_EAGAIN: in a stall, or a negative code. */
static int say_goodbye(wf_tls *t)
{
    if (SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)
        return 0;
    if (SSL_in_init(t->ssl)) {
        t->stalled = true;
        return WEFT_EAGAIN;
    }
    ERR_clear_error();
    int n = SSL_shutdown(t->ssl);
    return n >= 0 ? 0 : wf_tls_fail(t);
}

static int close_write_locked(wf_tls *t)
{
    int err = entry(t);
    if (err == 0)
        err = say_goodbye(t);
    return err < 0 ? err : wf_tls_flush(t);
}

static int tls_close_write(weft_layer *self)
{
    wf_tls *t = tls_of(self);
    pthread_mutex_lock(&t->lock);
    int err = close_write_locked(t);
    pthread_mutex_unlock(&t->lock);
    return err;
}

/* In anybody's name, so nobody is told how it went. */
static void tls_close(weft_layer *self)
{
    wf_tls *t = tls_of(self);
    pthread_mutex_lock(&t->lock);
    if (t->established && t->failed == 0 && say_goodbye(t) == 0)
        wf_tls_flush(t);
    ERR_clear_error();
    pthread_mutex_unlock(&t->lock);
}

static void tls_drop(weft_layer *self) { wf_tls_unuse(tls_of(self)); }

const weft_layer_ops wf_tls_layer = {.read = tls_read,
                                     .write = tls_write,
                                     .give_up = tls_give_up,
                                     .readable = tls_readable,
                                     .close_write = tls_close_write,
                                     .close = tls_close,
                                     .drop = tls_drop};
