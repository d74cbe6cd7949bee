/* serve_test.c - weft_serve as a user sees it. The clients are plain sockets on the test's own thread: what they find is the
 * server's doing. Every server ends without a descriptor left. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <support/load_client.h>
#include <support/process.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

#define PATIENCE (60 * WEFT_SEC)

/* ---- the server under test ------------------------------------------------------------------------------------ */

typedef struct server {
    weft_runtime *rt;
    weft_listener *listener;
    weft_task *task;
    weft_handler handler;
    weft_serve_options options;
    weft_tcp_options tcp;
    weft_fn body;     /* of the server's task; NULL: serve */
    weft_token *stop; /* for that one's use */
    uint16_t port;
    int result;                                         /* weft_serve()'s, once the task has ended */
    atomic_uint began, ended, now, most, met, panicked; /* handlers; met: were told ECANCELED */
    atomic_uint left;                                   /* handlers that the draining token told */
    int fds, own; /* descriptors before it began; the test's own that are still open when it ends */
} server;

static void *serve(void *arg)
{
    server *sv = arg;
    sv->result = weft_serve(sv->listener, sv->handler, sv, &sv->options);
    return NULL;
}

static uint16_t port_of(weft_listener *l)
{
    weft_addr addr;
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    return (uint16_t)weft_addr_port(&addr);
}

static void begin(server *sv, unsigned workers)
{
    weft_options o = WEFT_OPTIONS_INIT;
    o.workers = workers;
    cr_assert_eq(weft_runtime_create(&sv->rt, &o), 0); /* the first runtime of a process makes what stays */
    cr_assert_eq(weft_runtime_destroy(sv->rt), 0);
    sv->fds = open_fds();
    cr_assert_eq(weft_runtime_create(&sv->rt, &o), 0);
    cr_assert_eq(weft_runtime_enter(sv->rt), 0);
    cr_assert_eq(weft_tcp_listen(&sv->listener, "127.0.0.1:0", &sv->tcp), 0);
    sv->port = port_of(sv->listener);
    cr_assert_eq(weft_spawn(&sv->task, sv->body ? sv->body : serve, sv), 0);
}

static void end(server *sv)
{
    weft_listener_close(sv->listener);
    cr_assert_eq(weft_runtime_leave(), 0);
    cr_assert_eq(weft_runtime_destroy(sv->rt), 0);
    cr_assert_eq(atomic_load(&sv->now), 0);
    cr_assert_eq(open_fds(), sv->fds + sv->own);
}

/* Abort it and wait: no handler outlives it. */
static void stop(server *sv)
{
    weft_abort(sv->task);
    cr_assert_eq(weft_join(sv->task, NULL), WEFT_EABORTED);
    cr_assert_eq(sv->result, WEFT_ECANCELED);
    cr_assert_eq(atomic_load(&sv->now), 0);
    end(sv);
}

static void await_count(atomic_uint *counter, unsigned at_least)
{
    int64_t deadline = weft_now() + PATIENCE;
    while (atomic_load(counter) < at_least) {
        cr_assert_lt(weft_now(), deadline, "%u of %u", atomic_load(counter), at_least);
        weft_yield();
    }
}

/* ---- handlers ------------------------------------------------------------------------------------------------- */

static void left(void *arg)
{
    server *sv = arg;
    atomic_fetch_add(&sv->ended, 1);
    atomic_fetch_sub(&sv->now, 1);
}

static void entered(server *sv)
{
    atomic_fetch_add(&sv->began, 1);
    unsigned now = atomic_fetch_add(&sv->now, 1) + 1, most = atomic_load(&sv->most);
    while (now > most && !atomic_compare_exchange_weak(&sv->most, &most, now))
        ;
    cr_assert_eq(weft_defer(left, sv), 0);
}

static void *echo(weft_stream *peer, void *arg)
{
    server *sv = arg;
    char buf[4096];
    ssize_t n;
    entered(sv);
    while ((n = weft_read(peer, buf, sizeof buf)) > 0)
        if ((n = weft_write(peer, buf, (size_t)n)) < 0)
            break;
    if (n == WEFT_ECANCELED)
        atomic_fetch_add(&sv->met, 1);
    return NULL;
}

/* As echo; who begins with a 'p' makes it panic. */
static void *fragile(weft_stream *peer, void *arg)
{
    server *sv = arg;
    char c;
    entered(sv);
    while (weft_read(peer, &c, 1) == 1) {
        if (c == 'p') {
            atomic_fetch_add(&sv->panicked, 1);
            weft_panic("asked to");
        }
        if (weft_write(peer, &c, 1) < 0)
            break;
    }
    return NULL;
}

/* As echo, but leaves when the server drains. */
static void *polite(weft_stream *peer, void *arg)
{
    server *sv = arg;
    weft_scope scope;
    char c;
    entered(sv);
    cr_assert_eq(weft_scope_enter(&scope, WEFT_FOREVER), 0);
    cr_assert_eq(weft_scope_bind(&scope, sv->options.draining), 0);
    while (weft_read(peer, &c, 1) == 1 && weft_write(peer, &c, 1) == 1)
        ;
    if (weft_scope_leave(&scope) == WEFT_ECANCELED)
        atomic_fetch_add(&sv->left, 1);
    return NULL;
}

/* Polite, unless its peer begins with a 'r'. */
static void *polite_or_rude(weft_stream *peer, void *arg)
{
    char c;
    if (weft_read(peer, &c, 1) != 1 || weft_write(peer, &c, 1) != 1)
        return NULL;
    return c == 'r' ? echo(peer, arg) : polite(peer, arg);
}

/* ---- clients -------------------------------------------------------------------------------------------------- */

static int client_socket(void)
{
    struct timeval patience = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
    return fd;
}

static void client_connect(int fd, uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_eq(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
}

static int client(uint16_t port)
{
    int fd = client_socket();
    client_connect(fd, port);
    return fd;
}

static void say(int fd, char c) { cr_assert_eq(send(fd, &c, 1, MSG_NOSIGNAL), 1); }

/* One byte there and back. */
static void ask(int fd, char c)
{
    char back = (char)(c + 1);
    say(fd, c);
    cr_assert_eq(recv(fd, &back, 1, 0), 1);
    cr_assert_eq(back, c);
}

static bool answered(int fd)
{
    char c;
    return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void reset(int fd)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
    close(fd);
}

static void load(uint16_t port, unsigned connections, unsigned messages, size_t size)
{
    struct load_client_plan plan = {
        .port = port, .connections = connections, .messages = messages, .size = size, .timeout_ms = 100000};
    struct load_client_result r = load_client_run(&plan);
    cr_assert_eq(r.ok, connections, "%u failed: %s", r.failed, r.problem);
}

/* ---- serving -------------------------------------------------------------------------------------------------- */

WF_TEST_WORKERS(serve, many_connections_are_echoed)
{
    server sv = {.handler = echo};
    unsigned n = 20 + (unsigned)wf_test_scale(500);
    begin(&sv, workers);
    load(sv.port, n, 10, 3000);
    await_count(&sv.ended, n); /* handlers end when their peers do */
    cr_assert_eq(atomic_load(&sv.began), n);
    load(sv.port, 4, 2, wf_test_scale(1 << 20));
    stop(&sv);
}

WF_TEST_WORKERS(serve, at_max_connections_the_next_waits_until_one_ends)
{
    enum { LIMIT = 3, CLIENTS = 6 };
    server sv = {.handler = echo, .options.max_connections = LIMIT};
    int fds[CLIENTS];
    begin(&sv, workers);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(sv.port);
    for (int i = 0; i < LIMIT; i++)
        ask(fds[i], 'a');
    for (int i = LIMIT; i < CLIENTS; i++)
        say(fds[i], 'b');
    for (int i = 0; i < 20; i++)
        ask(fds[i % LIMIT], 'c'); /* the server is alive, and could have answered them */
    for (int i = LIMIT; i < CLIENTS; i++)
        cr_assert(!answered(fds[i]));
    for (int i = LIMIT; i < CLIENTS; i++) {
        char c = 0;
        close(fds[i - LIMIT]);
        cr_assert_eq(recv(fds[i], &c, 1, 0), 1);
        cr_assert_eq(c, 'b');
        for (int k = i + 1; k < CLIENTS; k++)
            cr_assert(!answered(fds[k]));
    }
    for (int i = LIMIT; i < CLIENTS; i++)
        close(fds[i]);
    load(sv.port, 40, 3, 100);
    cr_assert_eq(atomic_load(&sv.most), LIMIT);
    stop(&sv);
}

WF_TEST_WORKERS(serve, interrupted_at_max_connections_it_ends)
{
    server sv = {.handler = echo, .options.max_connections = 1};
    begin(&sv, workers);
    int a = client(sv.port), b = client(sv.port);
    ask(a, 'a');
    sv.own = 2;
    stop(&sv);
    close(a);
    close(b);
}

/* ---- the end -------------------------------------------------------------------------------------------------- */

WF_TEST_WORKERS(serve, draining_lets_handlers_finish)
{
    server sv = {.handler = echo, .options.drain_timeout = PATIENCE};
    begin(&sv, workers);
    int a = client(sv.port), b = client(sv.port);
    ask(a, 'a');
    ask(b, 'a');
    weft_abort(sv.task);
    ask(a, 'b'); /* still served */
    close(a);
    ask(b, 'c');
    cr_assert(!weft_is_finished(sv.task));
    int64_t before = weft_now();
    close(b);
    cr_assert_eq(weft_join(sv.task, NULL), WEFT_EABORTED);
    cr_assert_lt(weft_now() - before, PATIENCE / 2); /* the last handler ended it, not the timeout */
    cr_assert_eq(sv.result, WEFT_ECANCELED);
    cr_assert_eq(atomic_load(&sv.met), 0);
    cr_assert_eq(atomic_load(&sv.ended), 2);
    end(&sv);
}

WF_TEST_WORKERS(serve, handlers_that_outlast_the_drain_are_aborted)
{
    server sv = {.handler = echo, .options.drain_timeout = 100 * WEFT_MS};
    char c;
    begin(&sv, workers);
    int a = client(sv.port), b = client(sv.port);
    ask(a, 'a');
    ask(b, 'a');
    int64_t before = weft_now();
    weft_abort(sv.task);
    cr_assert_eq(weft_join(sv.task, NULL), WEFT_EABORTED);
    int64_t took = weft_now() - before;
    cr_assert_geq(took, 100 * WEFT_MS);
    cr_assert_lt(took, PATIENCE / 2);
    cr_assert_eq(sv.result, WEFT_ECANCELED);
    cr_assert_eq(atomic_load(&sv.met), 2);
    cr_assert_eq(recv(a, &c, 1, 0), 0); /* the peers were told */
    cr_assert_eq(recv(b, &c, 1, 0), 0);
    close(a);
    close(b);
    end(&sv);
}

WF_TEST_WORKERS(serve, draining_tells_idle_handlers_to_leave)
{
    enum { CLIENTS = 20 };
    server sv = {.handler = polite, .options.drain_timeout = PATIENCE};
    int fds[CLIENTS];
    char c;
    cr_assert_eq(weft_token_create(&sv.options.draining, NULL), 0);
    begin(&sv, workers);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client(sv.port);
        ask(fds[i], 'a');
    }
    int64_t before = weft_now();
    weft_abort(sv.task);
    cr_assert_eq(weft_join(sv.task, NULL), WEFT_EABORTED);
    cr_assert_lt(weft_now() - before, PATIENCE / 2);
    cr_assert_eq(sv.result, WEFT_ECANCELED);
    cr_assert_eq(atomic_load(&sv.left), CLIENTS);
    cr_assert_eq(weft_token_is_cancelled(sv.options.draining), 1);
    for (int i = 0; i < CLIENTS; i++) {
        cr_assert_eq(recv(fds[i], &c, 1, 0), 0);
        close(fds[i]);
    }
    cr_assert_eq(weft_token_free(sv.options.draining), 0);
    end(&sv);
}

WF_TEST_WORKERS(serve, who_does_not_leave_when_it_drains_is_aborted)
{
    server sv = {.handler = polite_or_rude, .options.drain_timeout = 100 * WEFT_MS};
    char c;
    cr_assert_eq(weft_token_create(&sv.options.draining, NULL), 0);
    begin(&sv, workers);
    int a = client(sv.port), b = client(sv.port);
    ask(a, 'p');
    ask(b, 'r');
    ask(a, 'x');
    ask(b, 'x');
    int64_t before = weft_now();
    weft_abort(sv.task);
    cr_assert_eq(recv(a, &c, 1, 0), 0); /* the polite one goes first */
    ask(b, 'y');                        /* the other is still served */
    cr_assert_eq(weft_join(sv.task, NULL), WEFT_EABORTED);
    cr_assert_geq(weft_now() - before, 100 * WEFT_MS);
    cr_assert_eq(atomic_load(&sv.left), 1);
    cr_assert_eq(atomic_load(&sv.met), 1);
    close(a);
    close(b);
    cr_assert_eq(weft_token_free(sv.options.draining), 0);
    end(&sv);
}

static void *serve_in_scope(void *arg)
{
    server *sv = arg;
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, WEFT_FOREVER), 0);
    cr_assert_eq(weft_scope_bind(&scope, sv->stop), 0);
    sv->result = weft_serve(sv->listener, sv->handler, sv, &sv->options);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    return NULL;
}

/* What broke: the scope that interrupted serve cancelled its connections as well, and nothing was drained. */
WF_TEST_WORKERS(serve, a_scope_that_interrupts_it_lets_handlers_finish)
{
    server sv = {.handler = echo, .body = serve_in_scope, .options.drain_timeout = PATIENCE};
    cr_assert_eq(weft_token_create(&sv.stop, NULL), 0);
    cr_assert_eq(weft_token_create(&sv.options.draining, NULL), 0);
    begin(&sv, workers);
    int a = client(sv.port);
    ask(a, 'a');
    weft_token_cancel(sv.stop);
    while (!weft_token_is_cancelled(sv.options.draining))
        weft_yield();
    ask(a, 'b'); /* still served */
    close(a);
    cr_assert_eq(weft_join(sv.task, NULL), 0);
    cr_assert_eq(sv.result, WEFT_ECANCELED);
    cr_assert_eq(atomic_load(&sv.met), 0);
    cr_assert_eq(atomic_load(&sv.ended), 1);
    cr_assert_eq(weft_token_free(sv.options.draining), 0);
    cr_assert_eq(weft_token_free(sv.stop), 0);
    end(&sv);
}

/* Behind a shield, in a scope that has fired before; what ends it is a scope in there. */
static void *serve_shielded(void *arg)
{
    server *sv = arg;
    weft_scope fired, scope;
    cr_assert_eq(weft_scope_enter(&fired, WEFT_FOREVER), 0);
    cr_assert_eq(weft_scope_cancel(&fired), 0);
    cr_assert_eq(weft_shield_enter(), 0);
    cr_assert_eq(weft_scope_enter(&scope, WEFT_FOREVER), 0);
    cr_assert_eq(weft_scope_bind(&scope, sv->stop), 0);
    sv->result = weft_serve(sv->listener, sv->handler, sv, &sv->options);
    weft_scope_leave(&scope);
    weft_shield_leave();
    weft_scope_leave(&fired);
    return NULL;
}

static void serve_one_shielded(unsigned workers, unsigned shards)
{
    server sv = {.handler = echo, .body = serve_shielded, .tcp = {.reuse_port = 1}, .options.shards = shards};
    cr_assert_eq(weft_token_create(&sv.stop, NULL), 0);
    begin(&sv, workers);
    int a = client(sv.port);
    ask(a, 'a');
    weft_token_cancel(sv.stop);
    cr_assert_eq(weft_join(sv.task, NULL), 0);
    cr_assert_eq(sv.result, WEFT_ECANCELED);
    sv.own = 1;
    cr_assert_eq(weft_token_free(sv.stop), 0);
    end(&sv);
    close(a);
}

/* What broke: its group was born cancelled by the scope that the shield hides, and so the first connection ended it. */
WF_TEST_WORKERS(serve, a_shield_hides_what_has_fired_outside_of_it)
{
    serve_one_shielded(workers, 0);
    serve_one_shielded(workers, 1);
}

WF_TEST_WORKERS(serve, without_a_drain_handlers_are_aborted_at_once)
{
    enum { CLIENTS = 20 };
    server sv = {.handler = echo};
    int fds[CLIENTS];
    char c;
    begin(&sv, workers);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client(sv.port);
        ask(fds[i], 'a');
    }
    weft_abort(sv.task);
    cr_assert_eq(weft_join(sv.task, NULL), WEFT_EABORTED);
    cr_assert_eq(atomic_load(&sv.met), CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        cr_assert_eq(recv(fds[i], &c, 1, 0), 0);
        close(fds[i]);
    }
    end(&sv);
}

WF_TEST_WORKERS(serve, a_listener_closed_meanwhile_ends_it)
{
    server sv = {.handler = echo, .options.drain_timeout = PATIENCE};
    begin(&sv, workers);
    int a = client(sv.port);
    ask(a, 'a');
    weft_listener_close(sv.listener);
    sv.listener = NULL;
    ask(a, 'b'); /* drained too */
    close(a);
    cr_assert_eq(weft_join(sv.task, NULL), 0);
    cr_assert_eq(sv.result, WEFT_ECLOSED);
    end(&sv);
}

/* What broke: at max_connections serve is not inside accept, so the listener was freed under it, and it went on with whatever lived in
 * that place next: here, another listener. */
WF_TEST_WORKERS(serve, a_listener_closed_at_max_connections_is_not_mistaken_for_the_next_one)
{
    enum { OTHERS = 8 };
    server sv = {.handler = echo, .options = {.max_connections = 1, .drain_timeout = PATIENCE}};
    weft_listener *others[OTHERS];
    int fds[OTHERS];
    begin(&sv, workers);
    int a = client(sv.port);
    ask(a, 'a');
    await_count(&sv.began, 1);
    weft_listener_close(sv.listener);
    sv.listener = NULL;
    for (int i = 0; i < OTHERS; i++) {
        cr_assert_eq(weft_tcp_listen(&others[i], "127.0.0.1:0", NULL), 0);
        fds[i] = client(port_of(others[i]));
    }
    close(a);
    int64_t deadline = weft_now() + 10 * WEFT_SEC;
    while (!weft_is_finished(sv.task)) {
        cr_assert_lt(weft_now(), deadline, "it goes on serving a listener that was closed; it began %u",
                     atomic_load(&sv.began));
        weft_yield();
    }
    cr_assert_eq(weft_join(sv.task, NULL), 0);
    cr_assert_eq(sv.result, WEFT_ECLOSED);
    cr_assert_eq(atomic_load(&sv.began), 1);
    for (int i = 0; i < OTHERS; i++) { /* nobody took their connections */
        weft_stream *s;
        cr_assert_eq(weft_accept(&s, others[i]), 0);
        weft_close(s);
        close(fds[i]);
        weft_listener_close(others[i]);
    }
    end(&sv);
}

static void close_at_max_connections(unsigned workers)
{
    server sv = {.handler = echo, .options = {.max_connections = 1, .drain_timeout = PATIENCE}};
    begin(&sv, workers);
    int fd = client(sv.port);
    ask(fd, 'a');
    while (weft_task_state(sv.task) != WEFT_TASK_IDLE)
        weft_yield();
    weft_listener_close(sv.listener);
    sv.listener = NULL;
    close(fd);
    cr_assert_eq(weft_join(sv.task, NULL), 0);
    cr_assert_eq(sv.result, WEFT_ECLOSED);
    end(&sv);
}

/* What broke: told of the close, it left its waker with the listener that nobody had any more, and so its header was never free. */
WF_TEST_WORKERS(serve, closed_at_max_connections_it_leaves_no_waker_behind)
{
    const size_t rounds = wf_test_scale(200);
    steady_address_space();
    for (int i = 0; i < 3; i++)
        close_at_max_connections(workers);
    size_t before = address_space();
    for (size_t i = 0; i < rounds; i++)
        close_at_max_connections(workers);
    if (!WF_TEST_SANITIZED)
        cr_assert_lt(address_space(), before + (rounds / 2 << 20));
}

static void *abort_server(void *arg)
{
    weft_abort(((server *)arg)->task);
    return NULL;
}

WF_TEST_WORKERS(serve, aborted_in_the_midst_of_traffic_it_leaves_nothing)
{
    for (size_t round = 0; round < 1 + wf_test_scale(10); round++) {
        enum { CLIENTS = 30 };
        server sv = {.handler = echo, .own = CLIENTS};
        pthread_t aborter;
        int fds[CLIENTS];
        begin(&sv, workers);
        for (int i = 0; i < CLIENTS; i++) {
            fds[i] = client(sv.port);
            say(fds[i], 'x');
            if (i == CLIENTS / 2)
                cr_assert_eq(pthread_create(&aborter, NULL, abort_server, &sv), 0);
        }
        pthread_join(aborter, NULL);
        cr_assert_eq(weft_join(sv.task, NULL), WEFT_EABORTED);
        cr_assert_eq(atomic_load(&sv.now), 0);
        cr_assert_eq(atomic_load(&sv.began), atomic_load(&sv.ended));
        end(&sv);
        for (int i = 0; i < CLIENTS; i++)
            reset(fds[i]);
    }
}

static void *bad_calls(void *arg)
{
    weft_listener *l;
    (void)arg;
    cr_assert_eq(weft_tcp_listen(&l, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_serve(NULL, echo, NULL, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_serve(l, NULL, NULL, NULL), WEFT_EINVAL);
    weft_listener_close(l);
    return NULL;
}

Test(serve, arguments_without_sense_are_refused) { cr_assert_eq(weft_run(bad_calls, NULL, NULL), 0); }

/* ---- trouble -------------------------------------------------------------------------------------------------- */

WF_TEST_WORKERS(serve, handlers_that_panic_hurt_nobody_else)
{
    enum { CLIENTS = 30 };
    server sv = {.handler = fragile};
    int fds[CLIENTS];
    char c;
    begin(&sv, workers);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client(sv.port);
        ask(fds[i], 'a');
    }
    for (int i = 0; i < CLIENTS; i += 3)
        say(fds[i], 'p');
    for (int i = 0; i < CLIENTS; i++) {
        if (i % 3 == 0)
            cr_assert_eq(recv(fds[i], &c, 1, 0), 0); /* hung up */
        else
            ask(fds[i], 'b');
        close(fds[i]);
    }
    await_count(&sv.ended, CLIENTS);
    cr_assert_eq(atomic_load(&sv.panicked), CLIENTS / 3);
    int again = client(sv.port);
    ask(again, 'c');
    close(again);
    stop(&sv);
}

/* Peers that do what peers must not. None of them waits for an answer. */
static void garbage(uint16_t port, unsigned seed)
{
    char bytes[1000];
    int fd = client(port);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(seed = seed * 1103515245 + 12345);
    send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
    close(fd);
}

static void half_close(uint16_t port)
{
    char c;
    int fd = client(port);
    say(fd, 'h');
    shutdown(fd, SHUT_WR);
    cr_assert_eq(recv(fd, &c, 1, 0), 1);
    cr_assert_eq(recv(fd, &c, 1, 0), 0);
    close(fd);
}

static void resetting(uint16_t port, bool talks)
{
    int fd = client(port);
    if (talks)
        say(fd, 'r');
    reset(fd);
}

/* Sends until neither side can take more: its handler is stuck in a write. */
static int never_reading(uint16_t port)
{
    static char bytes[65536];
    int fd = client_socket(), size = 16384, idle = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    client_connect(fd, port);
    for (int64_t deadline = weft_now() + PATIENCE; idle < 50 && weft_now() < deadline;) {
        if (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
            idle = 0;
        } else {
            idle++;
            usleep(1000);
        }
    }
    return fd;
}

WF_TEST_WORKERS(serve, hostile_peers_touch_only_their_own_task)
{
    enum { DEAF = 3 };
    server sv = {.handler = echo};
    int deaf[DEAF], silent, honest;
    begin(&sv, workers);
    honest = client(sv.port);
    silent = client(sv.port);
    for (int i = 0; i < DEAF; i++)
        deaf[i] = never_reading(sv.port);
    ask(honest, '1');
    for (unsigned i = 0; i < 5 + wf_test_scale(50); i++) {
        garbage(sv.port, i);
        half_close(sv.port);
        resetting(sv.port, false);
        resetting(sv.port, true);
        close(client(sv.port));
        ask(honest, '2');
    }
    load(sv.port, 20, 5, 2000);
    ask(honest, '3');
    ask(silent, '4');
    cr_assert_geq(atomic_load(&sv.now), DEAF + 2);
    reset(deaf[0]);
    await_count(&sv.ended, 1);
    close(honest);
    close(silent);
    sv.own = DEAF - 1;
    stop(&sv); /* the other deaf ones are aborted in their writes */
    for (int i = 1; i < DEAF; i++)
        close(deaf[i]);
}

/* ---- no descriptors left -------------------------------------------------------------------------------------- */

/* So few may still be opened that the peers in the queue cannot all be accepted; and then enough again. */
WF_TEST_WORKERS(serve, running_out_of_descriptors_is_ridden_out)
{
    enum { CLIENTS = 40, FREE = 5 };
    server sv = {.handler = echo};
    struct rlimit before, low;
    int fds[CLIENTS], highest = 0;
    unsigned served = 0, turned_away = 0;
    begin(&sv, workers);
    int first = client(sv.port);
    ask(first, 'd'); /* it has begun, and has what it needs for itself */
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client_socket();
        highest = fds[i] > highest ? fds[i] : highest;
    }
    int extra = client_socket(); /* for later, and it keeps the numbers up to here taken */
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)(extra > highest ? extra : highest) + 1 + FREE;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int i = 0; i < CLIENTS; i++)
        client_connect(fds[i], sv.port);
    await_count(&sv.began, 1 + FREE); /* every free number is taken now */
    for (int i = 0; i < CLIENTS; i++) {
        char c = 'e';
        ssize_t n = send(fds[i], &c, 1, MSG_NOSIGNAL) == 1 ? recv(fds[i], &c, 1, 0) : -1;
        served += n == 1;
        turned_away += n != 1; /* hung up on instead of being left in the queue; the socket is closed below */
        if (n != 1) {
            cr_assert(n == 0 || errno == ECONNRESET || errno == EPIPE, "no answer and no hang-up: errno %d", errno);
        }
    }
    cr_assert_gt(served, 0);
    cr_assert_gt(turned_away, 0, "the descriptors did not run out");
    cr_assert(!weft_is_finished(sv.task));
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    client_connect(extra, sv.port);
    ask(extra, 'f');
    load(sv.port, 20, 2, 100);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    close(extra);
    ask(first, 'g');
    close(first);
    stop(&sv);
}

/* The same, and interrupted while there is none. */
WF_TEST_WORKERS(serve, interrupted_while_out_of_descriptors_it_ends)
{
    server sv = {.handler = echo};
    struct rlimit before, low;
    int fds[10];
    begin(&sv, workers);
    int first = client(sv.port);
    ask(first, 'd');
    for (int i = 0; i < 10; i++)
        fds[i] = client_socket();
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)fds[9] + 1;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int i = 0; i < 10; i++)
        client_connect(fds[i], sv.port);
    char c;
    cr_assert_eq(recv(fds[0], &c, 1, 0), 0); /* turned away: it is in the midst of it */
    weft_abort(sv.task);
    cr_assert_eq(weft_join(sv.task, NULL), WEFT_EABORTED);
    cr_assert_eq(sv.result, WEFT_ECANCELED);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < 10; i++)
        close(fds[i]);
    close(first);
    end(&sv);
}

static weft_serve_counters counted(const server *sv)
{
    weft_serve_counters c;
    weft_serve_counters_get(sv->options.counters, &c);
    return c;
}

static void limit_descriptors(rlim_t n)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = n;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Its descriptor in reserve can be lost to somebody else while it is used; it was lost for good then, and the next time nobody was hung up on. */
WF_TEST_WORKERS(serve, the_reserve_lost_when_descriptors_ran_out_is_there_when_they_do_again)
{
    enum { CLIENTS = 3, MOST = 4096 };
    static int filled[MOST];
    struct timeval patience = {.tv_sec = 5};
    weft_serve_counters counters = {0};
    server sv = {.handler = echo, .options = {.counters = &counters}};
    struct rlimit before;
    int fds[CLIENTS], n = 0;
    begin(&sv, workers);
    int first = client(sv.port);
    ask(first, 'd');
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client_socket();
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);

    limit_descriptors(3); /* whatever it closes, it gets nothing again */
    client_connect(fds[0], sv.port);
    while (counted(&sv).pauses == 0)
        usleep(100);
    limit_descriptors(before.rlim_max < MOST ? before.rlim_max : MOST);
    ask(fds[0], 'e');
    client_connect(fds[1], sv.port);
    ask(fds[1], 'f'); /* it is done with the one before */

    while (n < MOST && (filled[n] = dup(first)) >= 0)
        n++;
    cr_assert_lt(n, MOST);
    cr_assert_eq(setsockopt(fds[2], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    client_connect(fds[2], sv.port);
    char c;
    ssize_t got = recv(fds[2], &c, 1, 0);
    cr_assert(got == 0 || errno == ECONNRESET, "left in the queue: errno %d", errno);
    while (n > 0)
        close(filled[--n]);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    close(first);
    stop(&sv);
}

/* ---- counters, slots, stackless handlers, shards ---------------------------------------------------------------- */

WF_TEST_WORKERS(serve, what_it_does_is_counted)
{
    weft_serve_counters counters = {0};
    server sv = {.handler = echo, .options = {.counters = &counters}};
    begin(&sv, workers);
    int a = client(sv.port), b = client(sv.port);
    ask(a, 'x');
    ask(b, 'x');
    cr_assert_eq(counted(&sv).accepted, 2);
    cr_assert_eq(counted(&sv).active, 2);
    close(a);
    await_count(&sv.ended, 1);
    while (counted(&sv).active != 1)
        weft_yield();
    sv.own++;
    stop(&sv);
    cr_assert_eq(counted(&sv).active, 0);
    cr_assert_eq(counted(&sv).aborted, 1);
    cr_assert_eq(counted(&sv).refused + counted(&sv).failed + counted(&sv).pauses, 0);
    close(b);
}

/* Two servers share two permits: an idle one holds none. */
WF_TEST_WORKERS(serve, slots_are_shared_and_an_idle_server_holds_none)
{
    weft_semaphore slots = WEFT_SEMAPHORE_INIT(2);
    server sv = {.handler = echo, .options = {.slots = &slots}};
    server other = {.handler = echo, .options = {.slots = &slots}};
    begin(&sv, workers);
    cr_assert_eq(weft_tcp_listen(&other.listener, "127.0.0.1:0", NULL), 0);
    other.port = port_of(other.listener);
    cr_assert_eq(weft_spawn(&other.task, serve, &other), 0);
    int a = client(sv.port), b = client(sv.port);
    ask(a, 'x');
    ask(b, 'x');
    int c = client(other.port), d = client(other.port);
    say(c, 'y');
    say(d, 'y');
    for (int i = 0; i < 100; i++)
        weft_yield();
    cr_assert(!answered(c) && !answered(d));
    cr_assert_eq(atomic_load(&other.began), 0);
    close(a);
    await_count(&other.began, 1);
    close(b);
    await_count(&other.began, 2);
    weft_abort(other.task);
    cr_assert_eq(weft_join(other.task, NULL), WEFT_EABORTED);
    weft_listener_close(other.listener);
    cr_assert_eq(weft_semaphore_available(&slots), 2);
    sv.own = 2;
    stop(&sv);
    cr_assert_eq(weft_semaphore_available(&slots), 2);
    close(c);
    close(d);
}

WF_TEST_WORKERS(serve, without_a_slot_it_ends_when_interrupted_or_closed)
{
    weft_semaphore slots = WEFT_SEMAPHORE_INIT(1);
    for (int how = 0; how < 2; how++) {
        server sv = {.handler = echo, .options = {.slots = &slots}};
        begin(&sv, workers);
        int served = client(sv.port), fd = client(sv.port);
        ask(served, 'x');
        say(fd, 'y');
        for (int i = 0; i < 50; i++)
            weft_yield();
        sv.own = 2;
        if (how == 0) {
            stop(&sv);
        } else {
            weft_listener_close(sv.listener);
            sv.listener = NULL;
            cr_assert_eq(weft_join(sv.task, NULL), 0);
            cr_assert_eq(sv.result, WEFT_ECLOSED);
            end(&sv);
        }
        cr_assert_eq(weft_semaphore_available(&slots), 1);
        close(fd);
        close(served);
    }
}

static void *close_listener(void *arg)
{
    server *sv = arg;
    weft_listener_close(sv->listener);
    return NULL;
}

/* What broke: closed just when it accepted, it ended with what the socket said of having been shut. */
WF_TEST_WORKERS(serve, closed_in_the_midst_of_accepting_for_a_slot_it_says_so)
{
    enum { CLIENTS = 12 };
    weft_semaphore slots = WEFT_SEMAPHORE_INIT(1000);
    for (size_t round = 0; round < wf_test_scale(200); round++) {
        server sv = {.handler = echo, .options = {.slots = &slots}};
        pthread_t closer;
        int fds[CLIENTS];
        begin(&sv, workers);
        for (int i = 0; i < CLIENTS; i++) {
            fds[i] = client(sv.port);
            if (i == 0)
                ask(fds[i], 'x');
        }
        cr_assert_eq(pthread_create(&closer, NULL, close_listener, &sv), 0);
        pthread_join(closer, NULL);
        sv.listener = NULL;
        cr_assert_eq(weft_join(sv.task, NULL), 0);
        cr_assert_eq(sv.result, WEFT_ECLOSED);
        for (int i = 0; i < CLIENTS; i++)
            reset(fds[i]);
        end(&sv);
    }
    cr_assert_eq(weft_semaphore_available(&slots), 1000);
}

/* A byte at a time, without a stack. */
typedef struct stackless_echo {
    weft_future future;
    weft_stream *peer;
    server *sv;
    char byte;
    bool full;
} stackless_echo;

static weft_poll stackless_poll(weft_future *self, weft_context *cx, void **result)
{
    stackless_echo *e = WEFT_CONTAINER_OF(self, stackless_echo, future);
    *result = NULL;
    for (;;) {
        ssize_t n = e->full ? weft_poll_write_some(cx, e->peer, &e->byte, 1) : weft_poll_read(cx, e->peer, &e->byte, 1);
        if (n == WEFT_PENDING)
            return WEFT_PENDING;
        if (n <= 0)
            return WEFT_READY;
        e->full = !e->full;
    }
}

static void stackless_drop(weft_future *self)
{
    stackless_echo *e = WEFT_CONTAINER_OF(self, stackless_echo, future);
    atomic_fetch_add(&e->sv->ended, 1);
    atomic_fetch_sub(&e->sv->now, 1);
    free(e);
}

static weft_future *stackless(weft_stream *peer, void *arg)
{
    static const weft_future_ops ops = {.poll = stackless_poll, .drop = stackless_drop};
    stackless_echo *e = calloc(1, sizeof *e);
    server *sv = arg;
    if (!e)
        return NULL;
    *e = (stackless_echo){.future.ops = &ops, .peer = peer, .sv = arg};
    atomic_fetch_add(&sv->began, 1);
    atomic_fetch_add(&sv->now, 1);
    return &e->future;
}

WF_TEST_WORKERS(serve, stackless_handlers_serve_and_are_dropped_once)
{
    server sv = {.options = {.future = stackless, .max_connections = 40}};
    begin(&sv, workers);
    load(sv.port, (unsigned)wf_test_scale(200), 5, 10);
    int fd = client(sv.port);
    ask(fd, 'x');
    sv.own = 1;
    stop(&sv);
    cr_assert_eq(atomic_load(&sv.began), atomic_load(&sv.ended));
    cr_assert_leq(atomic_load(&sv.most), 40);
    close(fd);
}

static weft_future *refuses(weft_stream *peer, void *arg)
{
    (void)peer;
    atomic_fetch_add(&((server *)arg)->began, 1);
    return NULL;
}

WF_TEST_WORKERS(serve, a_stackless_handler_that_cannot_be_made_hangs_up)
{
    server sv = {.options = {.future = refuses}};
    char c;
    begin(&sv, workers);
    int fd = client(sv.port);
    cr_assert_eq(recv(fd, &c, 1, 0), 0);
    sv.own = 1;
    stop(&sv);
    close(fd);
}

/* The kernel chooses the socket: each of them must be served. */
WF_TEST_WORKERS(serve, with_shards_every_connection_is_served)
{
    weft_serve_counters counters = {0};
    server sv = {
        .handler = echo, .tcp = {.reuse_port = 1}, .options = {.shards = 1, .counters = &counters, .max_connections = 50}};
    begin(&sv, workers);
    load(sv.port, (unsigned)wf_test_scale(400), 5, 100);
    int fd = client(sv.port);
    ask(fd, 'x');
    sv.own = 1;
    stop(&sv);
    cr_assert_eq(counted(&sv).accepted, wf_test_scale(400) + 1);
    close(fd);
}

static int option(int fd, int name)
{
    int value = -1;
    cr_assert_eq(getsockopt(fd, SOL_SOCKET, name, &value, &(socklen_t){sizeof value}), 0);
    return value;
}

/* What the system makes of a size that was asked for. */
static int granted(int name, size_t size)
{
    int asked = (int)size, fd = client_socket();
    if (size > 0)
        cr_assert_eq(setsockopt(fd, SOL_SOCKET, name, &asked, sizeof asked), 0);
    int value = option(fd, name);
    close(fd);
    return value;
}

static void *with_small_buffers(weft_stream *peer, void *arg)
{
    server *sv = arg;
    cr_assert_eq(option(weft_stream_fd(peer), SO_SNDBUF), granted(SO_SNDBUF, sv->tcp.send_buffer));
    cr_assert_eq(option(weft_stream_fd(peer), SO_RCVBUF), granted(SO_RCVBUF, sv->tcp.receive_buffer));
    return echo(peer, arg);
}

/* What broke: only those on the listener's own socket had its buffers. */
WF_TEST_WORKERS(serve, with_shards_every_connection_has_the_listeners_buffers)
{
    enum { CLIENTS = 60 };
    server sv = {.handler = with_small_buffers,
                 .tcp = {.reuse_port = 1, .send_buffer = 20000, .receive_buffer = 30000},
                 .options = {.shards = 1}};
    begin(&sv, workers);
    for (int i = 0; i < CLIENTS; i++) {
        int fd = client(sv.port);
        ask(fd, 'x');
        reset(fd);
    }
    stop(&sv);
}

#ifdef __linux__
/* Of all listening sockets of this process: how many say that so many may wait. */
static int with_backlog(unsigned backlog)
{
    int found = 0;
    for (int fd = 0; fd < 200; fd++) {
        int listens = 0;
        struct tcp_info info = {0};
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &(socklen_t){sizeof listens}) == 0 && listens &&
            getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}) == 0)
            found += info.tcpi_sacked == backlog;
    }
    return found;
}

/* What broke: only the first let no more wait than it was told. */
WF_TEST_WORKERS(serve, with_shards_each_has_the_listeners_backlog)
{
    server sv = {.handler = echo, .tcp = {.reuse_port = 1, .backlog = 37}, .options = {.shards = 1}};
    if (WF_TEST_EMULATED)
        cr_skip_test("qemu does not tell how many may wait");
    begin(&sv, workers);
    int fd = client(sv.port);
    ask(fd, 'x');
    for (int tries = 0; with_backlog(37) < (int)workers && tries < 5000; tries++)
        usleep(1000);
    cr_assert_eq(with_backlog(37), (int)workers);
    sv.own = 1;
    stop(&sv);
    close(fd);
}
#endif

/* Computes for a while between two bytes, so that other workers have reason to take over what waits behind it. */
static void *at_home(weft_stream *peer, void *arg)
{
    long home = thread_id();
    char c;
    entered(arg);
    while (weft_read(peer, &c, 1) == 1) {
        for (int64_t until = weft_now() + 3 * WEFT_MS; weft_now() < until;)
            ;
        if (weft_write(peer, &c, 1) != 1)
            break;
        cr_assert_eq(thread_id(), home, "it has moved to another worker");
    }
    return NULL;
}

/* What broke: only the acceptors stayed on their workers. */
WF_TEST_WORKERS(serve, with_shards_connections_stay_where_they_came)
{
    enum { CLIENTS = 20, MESSAGES = 10 };
    server sv = {.handler = at_home, .tcp = {.reuse_port = 1}, .options = {.shards = 1}};
    int fds[CLIENTS];
    begin(&sv, workers);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(sv.port);
    for (int k = 0; k < MESSAGES; k++) {
        char c;
        for (int i = 0; i < CLIENTS; i++)
            say(fds[i], 'x');
        for (int i = 0; i < CLIENTS; i++)
            cr_assert_eq(recv(fds[i], &c, 1, 0), 1);
    }
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    await_count(&sv.ended, CLIENTS);
    stop(&sv);
}

/* All places are taken, others wait; the handlers leave only when they are told to. */
WF_TEST_WORKERS(serve, with_shards_a_listener_closed_at_max_connections_ends_it)
{
    enum { CLIENTS = 12 };
    weft_token *draining;
    cr_assert_eq(weft_token_create(&draining, NULL), 0);
    server sv = {.handler = polite,
                 .tcp = {.reuse_port = 1},
                 .options = {.shards = 1, .max_connections = 1, .drain_timeout = PATIENCE, .draining = draining}};
    int fds[CLIENTS];
    begin(&sv, workers);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client(sv.port);
        say(fds[i], 'x');
    }
    await_count(&sv.began, 1);
    for (int i = 0; i < 100; i++)
        weft_yield();
    cr_assert_eq(atomic_load(&sv.most), 1);
    weft_listener_close(sv.listener);
    sv.listener = NULL;
    cr_assert_eq(weft_join(sv.task, NULL), 0);
    cr_assert_eq(sv.result, WEFT_ECLOSED);
    sv.own = CLIENTS;
    end(&sv);
    weft_token_free(draining);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}

WF_TEST_WORKERS(serve, with_shards_a_listener_closed_ends_it_and_handlers_drain)
{
    server sv = {.handler = echo, .tcp = {.reuse_port = 1}, .options = {.shards = 1, .drain_timeout = PATIENCE}};
    begin(&sv, workers);
    int fd = client(sv.port);
    ask(fd, 'x');
    weft_listener_close(sv.listener);
    sv.listener = NULL;
    ask(fd, 'y');
    close(fd);
    cr_assert_eq(weft_join(sv.task, NULL), 0);
    cr_assert_eq(sv.result, WEFT_ECLOSED);
    end(&sv);
}

WF_TEST_WORKERS(serve, shards_without_reuse_port_are_refused)
{
    server sv = {.handler = echo, .options = {.shards = 1}};
    begin(&sv, workers);
    if (workers == 1) {
        int fd = client(sv.port);
        ask(fd, 'x');
        sv.own = 1;
        stop(&sv); /* one worker is one shard */
        close(fd);
        return;
    }
    cr_assert_eq(weft_join(sv.task, NULL), 0);
    cr_assert_eq(sv.result, WEFT_EINVAL);
    end(&sv);
}
