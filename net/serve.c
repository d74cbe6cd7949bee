/* serve.c - a server's beginning, and its end.
 *
 *   happy path     accept → a task per connection → its handler returns → the stream is closed
 *   too many       at max_connections, and without a slot, accepting waits until a handler ends
 *   shards         each worker has an acceptor on a socket of its own; the first that ends ends them all
 *   interrupted    accepting stops; handlers may go on for drain_timeout; the rest is aborted; return when the last has ended */
#include <errno.h>
#include <limits.h>
#include <net/server.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <runtime/group.h>
#include <runtime/runtime.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft/scope.h>

/* ---- shards ---------------------------------------------------------------------------------------------------- */

WF_NOINLINE static int get_option(int fd, int level, int name, int *value)
{
    return getsockopt(fd, level, name, value, &(socklen_t){sizeof *value}) == 0 ? 0 : -errno;
}

/* One that nobody has asked for adapts itself, and would no longer: what is as in a new socket stays so. */
static void copy_buffer(int from, int to, int name)
{
    int value, fresh;
    if (get_option(from, SOL_SOCKET, name, &value) < 0 || get_option(to, SOL_SOCKET, name, &fresh) < 0 || value == fresh)
        return;
#ifdef __linux__
    value /= 2; /* it tells twice what was asked for */
#endif
    wf_set_option(to, SOL_SOCKET, name, value);
}

/* What connections inherit from their listener. */
static void copy_options(int from, int to)
{
    static const int names[][2] = {
        {SOL_SOCKET, SO_KEEPALIVE},
        {IPPROTO_TCP, TCP_NODELAY},
#if defined(TCP_KEEPIDLE)
        {IPPROTO_TCP, TCP_KEEPIDLE},
        {IPPROTO_TCP, TCP_KEEPINTVL},
        {IPPROTO_TCP, TCP_KEEPCNT},
#endif
#if defined(TCP_FASTOPEN)
        {IPPROTO_TCP, TCP_FASTOPEN},
#endif
        {IPPROTO_IPV6, IPV6_V6ONLY}
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int value;
        if (get_option(from, names[i][0], names[i][1], &value) == 0)
            wf_set_option(to, names[i][0], names[i][1], value);
    }
    copy_buffer(from, to, SO_SNDBUF);
    copy_buffer(from, to, SO_RCVBUF);
    struct linger linger;
    socklen_t length = sizeof linger;
    if (getsockopt(from, SOL_SOCKET, SO_LINGER, &linger, &length) == 0)
        setsockopt(to, SOL_SOCKET, SO_LINGER, &linger, length);
}

/* As long as the original's, where the system tells: Linux does where a connection would have what was acknowledged. */
static int backlog_of(int original)
{
#ifdef __linux__
    struct tcp_info info = {0};
    if (getsockopt(original, IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}) == 0 && info.tcpi_sacked > 0)
        return (int)WF_MIN(info.tcpi_sacked, (uint32_t)INT_MAX);
#else
    (void)original;
#endif
    return SOMAXCONN;
}

WF_NOINLINE static int bind_beside(int fd, int original, const weft_addr *address)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(address, &length);
    int err = wf_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (err == 0)
        err = wf_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (err < 0)
        return err;
    copy_options(original, fd);
    return bind(fd, sa, (socklen_t)length) == 0 && listen(fd, backlog_of(original)) == 0 ? 0 : -errno;
}

/* Another socket on the same address. */
static int open_beside_fd(weft_listener **out, weft_listener *l, int original)
{
    weft_addr address;
    int err = wf_socket_name(original, getsockname, &address), shared = 0;
    if (err == 0)
        err = get_option(original, SOL_SOCKET, SO_REUSEPORT, &shared);
    if (err < 0 || !shared)
        return err < 0 ? err : weft_error_set(WEFT_EINVAL, "serve: shards need a listener with reuse_port");
    int fd = wf_socket(weft_addr_sockaddr(&address, NULL)->sa_family, SOCK_STREAM);
    if (fd < 0)
        return fd;
    err = bind_beside(fd, original, &address);
    *out = err == 0 ? wf_listener_open(l->source.sources, fd) : NULL;
    if (*out)
        return 0;
    close(fd);
    return err < 0 ? err : WEFT_ENOMEM;
}

static int open_beside(weft_listener **out, weft_listener *l)
{
    int err, original = wf_source_visit(&l->source, &err);
    if (err < 0)
        return err;
    err = open_beside_fd(out, l, original);
    wf_source_leave(&l->source);
    return err;
}

static void *accept_shard(void *arg)
{
    int err = wf_accept_until_stopped(arg);
    return weft_fail(err);
}

/* The user's own listener is the first worker's. */
static int open_shards(wf_acceptor *shards, unsigned n)
{
    int err = 0;
    for (unsigned i = 1; i < n && err == 0; i++)
        err = open_beside(&shards[i].listener, shards[0].listener);
    return err;
}

static int start_shards(wf_acceptor *shards, unsigned n, weft_group *group)
{
    int err = 0;
    for (unsigned i = 0; i < n && err == 0; i++) {
        weft_spawn_options o = {.name = "weft_serve", .pinned = WEFT_PIN_TO(i), .group = group};
        err = weft_spawn_with(NULL, &o, accept_shard, &shards[i]);
    }
    return err;
}

/* What the first shard that ended ended with, or an interruption. */
static int await_shards(weft_group *group)
{
    void *result = NULL;
    int err = weft_group_next(group, &result);
    return err == WEFT_EFAILED ? (int)(intptr_t)result : err == WEFT_EABORTED ? WEFT_ECANCELED : err;
}

static int accept_on_shards(wf_server *sv, weft_listener *l, unsigned n)
{
    weft_group *group;
    wf_acceptor *shards = calloc(n, sizeof *shards);
    int err = shards ? wf_group_create_lasting(&group, NULL) : WEFT_ENOMEM; /* an interruption is the caller's to meet */
    if (err < 0) {
        free(shards);
        return err;
    }
    for (unsigned i = 0; i < n; i++)
        shards[i] = (wf_acceptor){.server = sv, .listener = i == 0 ? l : NULL};
    err = open_shards(shards, n); /* all of them before the first accepts: nobody is served by a server that does not begin */
    if (err == 0)
        err = start_shards(shards, n, group);
    if (err == 0)
        err = await_shards(group);
    weft_group_close(group);
    for (unsigned i = 1; i < n; i++)
        weft_listener_close(shards[i].listener);
    free(shards);
    return err;
}

static int accept_all(wf_server *sv, weft_listener *l)
{
    unsigned workers = weft_runtime_workers(weft_runtime_current());
    if (sv->options.shards && workers > 1)
        return accept_on_shards(sv, l, workers);
    wf_acceptor only = {.server = sv, .listener = l};
    return wf_accept_until_stopped(&only);
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

static uint64_t read_counter(const uint64_t *counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }

/* Shielded from what interrupted the caller: no handler may outlive the call. */
static void drain(wf_server *sv)
{
    weft_scope patience;
    weft_token_cancel(sv->options.draining);
    if (sv->options.drain_timeout > 0) {
        weft_shield_enter();
        weft_scope_enter(&patience, sv->options.drain_timeout);
        weft_group_wait(sv->connections);
        weft_scope_leave(&patience);
        weft_shield_leave();
    }
    wf_tally(&sv->counters->aborted, read_counter(&sv->handlers)); /* the group's children end a moment after their handlers */
    weft_group_close(sv->connections);
}

/* ---- public ---------------------------------------------------------------------------------------------------- */

static int serve(wf_server *sv, weft_listener *l)
{
    weft_group_options group = {.limit = sv->by_places ? 0 : sv->options.max_connections, .discard = 1};
    int err = wf_group_create_lasting(&sv->connections, &group); /* an interruption drains before it aborts */
    if (err < 0)
        return err;
    err = accept_all(sv, l);
    drain(sv);
    return err;
}

int weft_serve_sized(weft_listener *l, weft_handler handler, void *arg, const weft_serve_options *options, size_t size)
{
    wf_server sv = {.handler = handler, .arg = arg};
    if (options)
        memcpy(&sv.options, options, WF_MIN(size, sizeof sv.options));
    if (!l || !handler == !sv.options.future || sv.options.handshake_timeout < 0)
        return WEFT_EINVAL;
    wf_exec *exec;
    int err = wf_await_entry(&exec);
    if (err < 0)
        return err;
    if (!wf_source_ref(&l->source)) /* it may be closed while nobody waits in it */
        return WEFT_EBUSY;
    sv.by_places = sv.options.shards && sv.options.max_connections > 0;
    weft_semaphore_init(&sv.places, sv.options.max_connections);
    sv.counters = sv.options.counters ? sv.options.counters : &sv.own;
    err = serve(&sv, l);
    wf_source_unref(&l->source);
    return err;
}

void weft_serve_counters_get(const weft_serve_counters *c, weft_serve_counters *out)
{
    if (!out)
        return;
    *out = (weft_serve_counters){0};
    if (!c)
        return;
    out->accepted = read_counter(&c->accepted);
    out->active = read_counter(&c->active);
    out->refused = read_counter(&c->refused);
    out->failed = read_counter(&c->failed);
    out->pauses = read_counter(&c->pauses);
    out->aborted = read_counter(&c->aborted);
}
