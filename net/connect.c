/* connect.c - connecting: to one address, or to all that a name has, the first that answers winning (RFC 8305).
 *
 *   text → addresses, families in turn → the first sets out → a quarter of a second later, or as soon as it has failed, the next →
 *   one is connected: the others are closed
 *
 * Early ends: the text makes no sense, the name has no address, every address has failed, time is up, the caller is interrupted. Each leaves no
 * socket behind, because only the coordinators below (connect_in_time, begin) give one away. */
#include <base/case.h>
#include <errno.h>
#include <net/resolve.h>
#include <net/socket.h>
#include <net/stream.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <runtime/runtime.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

enum { MOST_ADDRESSES = 16 };

#define STAGGER (250 * WEFT_MS)

/* ---- how ------------------------------------------------------------------------------------------------------- */

typedef struct plan {
    wf_sources *all;
    weft_tcp_options options;
    weft_addr bind;
    int family; /* the only one that will do, or AF_UNSPEC */
} plan;

static int family_of(const weft_addr *addr) { return weft_addr_sockaddr(addr, NULL)->sa_family; }

static bool is_internet(int family) { return family == AF_INET || family == AF_INET6; }

static bool suits(const plan *p, const weft_addr *addr)
{
    int family = family_of(addr);
    return is_internet(family) && (p->family == AF_UNSPEC || p->family == family);
}

static int make_plan(plan *p, const weft_tcp_options *options, size_t size)
{
    *p = (plan){.all = wf_sources_here(), .options = wf_tcp_options(options, size), .family = AF_UNSPEC};
    if (!p->all)
        return WEFT_ENORUNTIME;
    if (p->options.timeout < 0)
        return WEFT_EINVAL;
    if (!p->options.bind)
        return 0;
    int err = weft_addr_parse(&p->bind, p->options.bind);
    p->family = family_of(&p->bind);
    return err < 0 || !is_internet(p->family) ? WEFT_EINVAL : 0;
}

/* ---- one socket ------------------------------------------------------------------------------------------------ */

/* A port of one's own may still be that of a connection that has ended, or of another runner; any other is chosen when the peer is known. */
WF_NOINLINE static int bind_to(int fd, const weft_addr *addr)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    if (weft_addr_port(addr) != 0)
        wf_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
#ifdef IP_BIND_ADDRESS_NO_PORT
    else
        wf_set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
#endif
    return bind(fd, sa, (socklen_t)length) == 0 ? 0 : -errno;
}

static int prepare(int fd, const plan *p)
{
    int err = wf_tcp_apply(fd, &p->options);
    if (err < 0)
        return err;
#ifdef TCP_FASTOPEN_CONNECT
    if (p->options.fast_open)
        wf_set_option(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
#endif
    return p->family == AF_UNSPEC ? 0 : bind_to(fd, &p->bind);
}

/* EAGAIN is not "later" here: there is no way to it just now. */
WF_NOINLINE static int start_connect(int fd, const weft_addr *addr)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    if (connect(fd, sa, (socklen_t)length) == 0)
        return 0;
    return errno == EINTR ? -EINPROGRESS : errno == EAGAIN ? WEFT_EADDRNOTAVAIL : -errno;
}

/* The handshake begins before the source is watched: an unconnected socket reports a hang-up. Returns 0, -EINPROGRESS, or a negative code
 * with *@out NULL. */
static int set_out(weft_stream **out, const plan *p, const weft_addr *addr)
{
    *out = NULL;
    int fd = wf_socket(family_of(addr), SOCK_STREAM);
    if (fd < 0)
        return fd;
    int err = prepare(fd, p);
    if (err == 0)
        err = start_connect(fd, addr);
    if (err == 0 || err == -EINPROGRESS)
        *out = wf_stream_open(p->all, fd, err == 0);
    if (*out)
        return err;
    close(fd);
    return err == 0 || err == -EINPROGRESS ? WEFT_ENOMEM : err;
}

/* The socket is writable: connected, or failed. */
WF_NOINLINE static ssize_t attempt_connect(wf_source_op *op, bool *drained)
{
    int error = 0;
    (void)drained;
    if (getsockopt(wf_load_rlx(&op->source->fd), SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error}) < 0)
        return -errno;
    return -error;
}

static wf_source_op connecting(weft_stream *s)
{
    return (wf_source_op){.source = &s->source, .direction = WF_WRITE, .connects = true, .attempt = attempt_connect};
}

static weft_stream *stream_of(const wf_source_op *op) { return (weft_stream *)(void *)op->source; }

/* Pending, and nobody waits for it any more. */
static void give_up(wf_source_op *op)
{
    wf_source_op_cancel(op);
    weft_close(stream_of(op));
}

/* ---- the race -------------------------------------------------------------------------------------------------- */

/* One address that has been tried. */
typedef struct runner {
    wf_source_op op; /* while it runs; its source is NULL otherwise */
    int err;         /* what it failed with */
} runner;

typedef struct race {
    const plan *plan;
    const weft_addr *addrs;
    runner *runners; /* as many as have begun are set */
    int n, begun, running;
    int err; /* of the one that failed last */
    weft_stream *won;
} race;

/* No other address would do better. Those that run have what they need. */
static bool is_final(int err)
{
    return err == WEFT_EMFILE || err == WEFT_ENFILE || err == WEFT_ENOMEM || err == -ENOBUFS;
}

static void fail(race *r, runner *x, int err)
{
    x->err = r->err = err;
    if (is_final(err))
        r->n = r->begun;
}

/* The next one that gets as far as to be waited for. */
static void begin_next(race *r)
{
    while (r->begun < r->n && !r->won) {
        weft_stream *s;
        runner *x = &r->runners[r->begun];
        int err = set_out(&s, r->plan, &r->addrs[r->begun++]);
        *x = (runner){.err = 0};
        if (err == -EINPROGRESS) {
            x->op = connecting(s);
            r->running++;
            return;
        }
        if (err == 0)
            r->won = s;
        else
            fail(r, x, err);
    }
}

static void poll_runner(race *r, runner *x, weft_context *cx)
{
    weft_stream *s = stream_of(&x->op);
    int err = (int)wf_source_op_poll(&x->op, cx, true);
    if (err == WEFT_PENDING)
        return;
    x->op.source = NULL;
    r->running--;
    if (err == 0) {
        r->won = s;
        return;
    }
    weft_close(s);
    fail(r, x, err);
}

/* 0: something has to be done. Never a failure, so that it is told from an interruption. */
static ssize_t race_poll(void *arg, weft_context *cx)
{
    race *r = arg;
    for (int i = 0; i < r->begun && !r->won; i++)
        if (r->runners[i].op.source)
            poll_runner(r, &r->runners[i], cx);
    bool last_failed = r->begun < r->n && r->runners[r->begun - 1].err < 0;
    return r->won || r->running == 0 || last_failed ? 0 : WEFT_PENDING;
}

/* They run on; nobody waits for them meanwhile. */
static ssize_t race_cancel(void *arg)
{
    race *r = arg;
    for (int i = 0; i < r->begun; i++)
        if (r->runners[i].op.source)
            wf_source_op_cancel(&r->runners[i].op);
    return WEFT_PENDING;
}

static const wf_op_ops race_ops = {.poll = race_poll, .cancel = race_cancel};

/* 0: look who has won or failed, or let the next one begin. */
static int await_turn(race *r, int64_t deadline)
{
    int64_t turn = r->begun < r->n ? wf_add_saturating(weft_now(), STAGGER) : WEFT_FOREVER;
    int err = (int)wf_await(&race_ops, r, WF_MIN(turn, deadline));
    bool ours = err == WEFT_ETIMEDOUT && wf_exec_current()->cause == NULL;
    return ours && turn < deadline ? 0 : err;
}

static int run(race *r, int64_t deadline)
{
    int err = 0;
    do {
        begin_next(r);
        if (r->won || r->running == 0)
            return r->won ? 0 : r->err;
        err = await_turn(r, deadline);
    } while (err == 0 && !r->won);
    return err;
}

static void close_losers(race *r)
{
    for (int i = 0; i < r->begun; i++)
        if (r->runners[i].op.source)
            give_up(&r->runners[i].op);
}

/* ---- what went wrong ------------------------------------------------------------------------------------------- */

typedef struct sentence {
    char text[WF_DETAIL_SIZE];
    size_t length;
} sentence;

static void add(sentence *s, const char *format, ...) WEFT_PRINTF(2, 3);
static void add(sentence *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(s->text + s->length, sizeof s->text - s->length, format, args);
    va_end(args);
    s->length = WF_MIN(s->length + (size_t)WF_MAX(n, 0), sizeof s->text - 1);
}

static int complain(const char *address, int err)
{
    return weft_error_set(err, "connect %s: %s", address, weft_strerror(err));
}

/* Each address with what it failed with; one that was still under way, with what has ended them all. An address that was
 * given as such is not said twice. */
WF_NOINLINE static int explain(const race *r, const char *address, int err)
{
    char text[WEFT_ADDR_TEXT];
    sentence s = {.length = 0};
    if (r->begun == 0 || (r->begun == 1 && strcmp(weft_addr_format(&r->addrs[0], text, sizeof text), address) == 0))
        return complain(address, err);
    add(&s, "connect %s:", address);
    for (int i = 0; i < r->begun; i++) {
        int why = r->runners[i].err < 0 ? r->runners[i].err : err;
        add(&s, "%s %s: %s", i > 0 ? ";" : "", weft_addr_format(&r->addrs[i], text, sizeof text), weft_strerror(why));
    }
    return weft_error_set(err, "%s", s.text);
}

/* ---- connecting ------------------------------------------------------------------------------------------------ */

static int connect_in_time(weft_stream **out, race *r, const char *address, int64_t deadline)
{
    int err = run(r, deadline);
    close_losers(r);
    if (err < 0)
        return explain(r, address, err);
    *out = r->won;
    return 0;
}

/* Without the room that a name needs: many who connect have small stacks. */
WF_NOINLINE static int connect_one(weft_stream **out, const plan *p, const weft_addr *addr, const char *address,
                                   int64_t deadline)
{
    runner only;
    race r = {.plan = p, .addrs = addr, .runners = &only, .n = 1};
    return connect_in_time(out, &r, address, deadline);
}

WF_NOINLINE static int connect_name(weft_stream **out, const plan *p, const wf_host_port *to, const char *address,
                                    int64_t deadline)
{
    weft_addr addrs[MOST_ADDRESSES];
    runner runners[MOST_ADDRESSES];
    wf_resolve_wish wish = {.family = p->family, .in_turn = true, .deadline = deadline};
    int n = wf_resolve_name(addrs, MOST_ADDRESSES, to->host, to->port, &wish);
    if (n < 0) {
        complain(address, n);
        return n == UV_EAI_SERVICE ? WEFT_EINVAL : n;
    }
    race r = {.plan = p, .addrs = addrs, .runners = runners, .n = n};
    return connect_in_time(out, &r, address, deadline);
}

int weft_tcp_connect_sized(weft_stream **out, const char *address, const weft_tcp_options *options, size_t size)
{
    wf_host_port to;
    weft_addr addr;
    wf_exec *exec;
    plan p;
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    int numeric = address && wf_host_port_split(&to, address) ? wf_resolve_numeric(&addr, to.host, to.port) : WEFT_EINVAL;
    if (numeric < 0)
        return weft_error_set(WEFT_EINVAL, "connect: \"%s\" is no address", address ? address : "");
    int err = wf_await_entry(&exec);
    if (err == 0)
        err = make_plan(&p, options, size);
    if (err < 0)
        return err;
    int64_t deadline = p.options.timeout > 0 ? wf_add_saturating(weft_now(), p.options.timeout) : WEFT_FOREVER;
    if (numeric && !suits(&p, &addr))
        return weft_error_set(WEFT_EINVAL, "connect %s: not from %s", address, p.options.bind);
    return numeric ? connect_one(out, &p, &addr, address, deadline) : connect_name(out, &p, &to, address, deadline);
}

/* ---- for stackless tasks --------------------------------------------------------------------------------------- */

WF_OP_FITS(wf_source_op);

static void leave_op(weft_op *op) { give_up(WF_OP_STATE(op, wf_source_op)); }

static const struct weft_op_ops connect_op_ops = {.leave = leave_op};

/* Idle: 0 with *@out, WEFT_PENDING with the operation begun, or a negative code. */
WF_NOINLINE static int begin(weft_op *op, weft_stream **out, const weft_addr *addr, const weft_tcp_options *options,
                             size_t size)
{
    weft_stream *s;
    plan p;
    int err = make_plan(&p, options, size);
    if (err < 0)
        return err;
    if (!suits(&p, addr))
        return WEFT_EINVAL;
    err = set_out(&s, &p, addr);
    if (err == 0)
        *out = s;
    if (err != -EINPROGRESS)
        return err;
    *WF_OP_STATE(op, wf_source_op) = connecting(s);
    op->ops_ = &connect_op_ops;
    return WEFT_PENDING;
}

/* Begun before: the same. */
static int go_on(weft_op *op, weft_context *cx, weft_stream **out)
{
    wf_source_op *own = WF_OP_STATE(op, wf_source_op);
    int err = (int)wf_source_op_poll(own, cx, true);
    if (err == WEFT_PENDING)
        return err;
    op->ops_ = NULL;
    if (err == 0)
        *out = stream_of(own);
    else
        weft_close(stream_of(own));
    return err;
}

int weft_poll_tcp_connect_sized(weft_context *cx, weft_op *op, weft_stream **out, const weft_addr *address,
                                const weft_tcp_options *options, size_t size)
{
    char text[WEFT_ADDR_TEXT];
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (!cx || !op || !address)
        return WEFT_EINVAL;
    if (cx->exec->budget == 0) {
        weft_waker_wake_by_ref(weft_context_waker(cx));
        return WEFT_PENDING;
    }
    int err = op->ops_ ? WEFT_PENDING : begin(op, out, address, options, size);
    if (op->ops_)
        err = go_on(op, cx, out);
    if (err == WEFT_PENDING)
        return err;
    cx->exec->budget--;
    return err < 0 ? complain(weft_addr_format(address, text, sizeof text), err) : 0;
}
