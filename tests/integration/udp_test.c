/* udp_test.c - datagrams as a user sees them: to and fro, cut, refused, closed; any number of senders in turn; batches; what travels beside them.
 *
 * UDP over loopback never makes a sender wait. A pair of Unix datagram sockets does, and loses nothing, so those stand in where senders queue. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <support/names.h>
#include <support/net_support.h>
#include <support/process.h>
#include <support/test.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

/* ---- helpers -------------------------------------------------------------------------------------------------- */

static weft_udp *bind_at(const char *address, const weft_udp_options *o, weft_addr *home)
{
    weft_udp *u;
    weft_addr ignored;
    cr_assert_eq(weft_udp_bind(&u, address, o), 0, "%s: %s", address, weft_error_detail());
    cr_assert_eq(weft_udp_local(u, home ? home : &ignored), 0);
    return u;
}

static weft_udp *bind_any(weft_addr *home) { return bind_at("127.0.0.1:0", NULL, home); }

/* Not every machine has IPv6. */
static bool has_v6(void)
{
    weft_udp *u;
    int err = weft_udp_bind(&u, "[::1]:0", NULL);
    weft_udp_close(u);
    return err == 0;
}

static weft_udp *connect_at(const weft_addr *to, const weft_udp_options *o)
{
    char text[WEFT_ADDR_TEXT];
    weft_udp *u;
    cr_assert_eq(weft_udp_connect(&u, weft_addr_format(to, text, sizeof text), o), 0, "%s", weft_error_detail());
    return u;
}

/* Two that are each other's peers and whose senders wait when a few datagrams are under way. */
static void narrow_pair(weft_udp *ends[2])
{
    int fds[2], size = 1;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
        cr_assert_eq(weft_udp_from_fd(&ends[i], fds[i]), 0);
    }
}

/* With no more room; returns how many it holds. Their first byte is 'f'. */
static int fill(weft_udp *u)
{
    int n = 0;
    while (send(weft_udp_fd(u), "fff", 3, MSG_DONTWAIT) == 3)
        n++;
    cr_assert_gt(n, 0);
    return n;
}

static void discard(weft_udp *u, int n)
{
    char c;
    for (int i = 0; i < n; i++) {
        ssize_t got = weft_udp_recv(u, &c, 1, NULL);
        cr_assert(got == WEFT_EMSGSIZE && c == 'f', "got %zd of %c", got, c);
    }
}

static void expect(weft_udp *u, const char *text)
{
    char buf[64];
    ssize_t n = weft_udp_recv(u, buf, sizeof buf, NULL);
    cr_assert_eq(n, (ssize_t)strlen(text), "waiting for %s", text);
    cr_assert_arr_eq(buf, text, (size_t)n);
}

typedef struct user {
    weft_udp *udp;
    const char *text;
    ssize_t result;
    char got[16];
} user;

static void *wait_recv(void *arg)
{
    user *w = arg;
    w->result = weft_udp_recv(w->udp, w->got, sizeof w->got, NULL);
    return NULL;
}

static void *wait_send(void *arg)
{
    user *w = arg;
    w->result = weft_udp_send(w->udp, w->text, strlen(w->text), NULL);
    return NULL;
}

static weft_task *start_idle(weft_fn fn, void *arg)
{
    weft_task *task = start(fn, arg);
    await_idle(task);
    return task;
}

/* ---- one at a time -------------------------------------------------------------------------------------------- */

static void *echo_back(void *arg)
{
    weft_addr from;
    char buf[64];
    ssize_t n;
    while ((n = weft_udp_recv(arg, buf, sizeof buf, &from)) >= 0)
        cr_assert_eq(weft_udp_send(arg, buf, (size_t)n, &from), n);
    cr_assert_eq(n, WEFT_ECLOSED);
    return NULL;
}

static void *talk(void *arg)
{
    static const char *const hosts[] = {"127.0.0.1:0", "[::1]:0"};
    (void)arg;
    for (int i = 0; i < (has_v6() ? 2 : 1); i++) {
        weft_addr server_name, client_name, from, peer;
        char buf[64];
        weft_udp *server = bind_at(hosts[i], NULL, &server_name), *client = bind_at(hosts[i], NULL, &client_name);
        weft_task *echo = start(echo_back, server);
        for (int round = 0; round < 100; round++) {
            cr_assert_eq(weft_udp_send(client, "hello", 5, &server_name), 5);
            cr_assert_eq(weft_udp_recv(client, buf, sizeof buf, &from), 5);
            cr_assert_arr_eq(buf, "hello", 5);
            cr_assert(weft_addr_equal(&from, &server_name));
        }
        cr_assert_eq(weft_udp_peer(client, &peer), WEFT_ENOTCONN);
        cr_assert_eq(weft_udp_send(client, "x", 1, NULL), -EDESTADDRREQ);
        weft_udp_close(client);

        client = connect_at(&server_name, NULL);
        cr_assert_eq(weft_udp_send(client, "again", 5, NULL), 5);
        cr_assert_eq(weft_udp_recv(client, buf, sizeof buf, NULL), 5);
        cr_assert_eq(weft_udp_peer(client, &peer), 0);
        cr_assert(weft_addr_equal(&peer, &server_name));
        weft_udp_close(client);
        weft_udp_close(server);
        join(echo);
    }
    return NULL;
}

WF_TEST_WORKERS(udp, datagrams_go_both_ways_and_tell_who_sent_them) { run(workers, talk, NULL); }

static void *sizes(void *arg)
{
    weft_addr home, from;
    char buf[8];
    static char huge[70000];
    weft_udp *a = bind_any(&home), *b = bind_any(NULL);
    (void)arg;
    cr_assert_eq(weft_udp_send(b, NULL, 0, &home), 0);
    cr_assert_eq(weft_udp_send(b, "longer than that", 16, &home), 16);
    cr_assert_eq(weft_udp_send(b, "short", 5, &home), 5);
    cr_assert_eq(weft_udp_send(b, huge, sizeof huge, &home), WEFT_EMSGSIZE);
    cr_assert_eq(weft_udp_recv(a, buf, sizeof buf, &from), 0);
    memset(&from, 0, sizeof from);
    cr_assert_eq(weft_udp_recv(a, buf, 6, &from), WEFT_EMSGSIZE);
    cr_assert_arr_eq(buf, "longer", 6);
    cr_assert_neq(weft_addr_port(&from), 0);
    expect(a, "short");
    weft_udp_close(a);
    weft_udp_close(b);
    weft_udp_close(NULL);
    weft_udp_abort(NULL);
    return NULL;
}

WF_TEST_WORKERS(udp, an_empty_one_is_one_and_a_long_one_is_cut_and_the_next_is_whole) { run(workers, sizes, NULL); }

static void *one_receiver(void *arg)
{
    weft_addr home;
    char c;
    weft_datagram d = {.data = &c, .size = 1};
    weft_udp *u = bind_any(&home);
    user w = {.udp = u};
    (void)arg;
    weft_task *task = start_idle(wait_recv, &w);
    cr_assert_eq(weft_udp_recv(u, &c, 1, NULL), WEFT_EBUSY);
    cr_assert_eq(weft_udp_recv_batch(u, &d, 1), WEFT_EBUSY);
    cr_assert_eq(weft_udp_send(u, "self", 4, &home), 4); /* sending is another direction */
    join(task);
    cr_assert_eq(w.result, 4);

    task = start_idle(wait_recv, &w);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(weft_udp_send(u, "still", 5, &home), 5);
    expect(u, "still");
    weft_udp_close(u);
    return NULL;
}

WF_TEST_WORKERS(udp, one_receives_and_a_second_is_busy_and_one_aborted_took_nothing)
{
    run(workers, one_receiver, NULL);
}

/* So that nothing reaches @u but from @peer, and its port stays its own: another program's would be taken for it. */
static void hear_only(weft_udp *u, const weft_addr *peer)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(peer, &length);
    cr_assert_eq(connect(weft_udp_fd(u), sa, (socklen_t)length), 0);
}

static void hear_nobody(weft_udp *u)
{
    weft_addr nobody_there;
    cr_assert_eq(weft_addr_parse(&nobody_there, "127.0.0.1:9"), 0);
    hear_only(u, &nobody_there);
}

/* A refusal may take a moment, on a system that is busy. */
static void await_refusal(weft_udp *u)
{
    struct pollfd fd = {.fd = weft_udp_fd(u)};
    cr_assert_eq(poll(&fd, 1, (int)(PATIENCE / WEFT_MS)), 1);
}

static void *refused(void *arg)
{
    weft_addr home, client_name;
    char c;
    weft_datagram d = {.data = &c, .size = 1};
    weft_udp *server = bind_any(&home), *client = connect_at(&home, NULL);
    user w = {.udp = client};
    (void)arg;
    cr_assert_eq(weft_udp_local(client, &client_name), 0);
    hear_nobody(server);

    weft_task *task = start_idle(wait_recv, &w);
    cr_assert_eq(weft_udp_send(client, "x", 1, NULL), 1);
    join(task);
    cr_assert_eq(w.result, WEFT_ECONNREFUSED); /* who waits is told */

    cr_assert_eq(weft_udp_send(client, "x", 1, NULL), 1);
    await_refusal(client);
    cr_assert_eq(weft_udp_send(client, "x", 1, NULL), WEFT_ECONNREFUSED); /* or who sends next, */
    cr_assert_eq(weft_udp_send(client, "x", 1, NULL), 1);                 /* once */
    await_refusal(client);
    cr_assert_eq(weft_udp_recv_batch(client, &d, 1), WEFT_ECONNREFUSED);

    hear_only(server, &client_name);
    task = start_idle(wait_recv, &w); /* the socket goes on */
    cr_assert_eq(weft_udp_send(client, "ping", 4, NULL), 4);
    expect(server, "ping");
    cr_assert_eq(weft_udp_send(server, "pong", 4, &client_name), 4);
    join(task);
    cr_assert_eq(w.result, 4);
    weft_udp_close(client);
    weft_udp_close(server);
    return NULL;
}

WF_TEST_WORKERS(udp, a_refusal_is_told_once_and_the_socket_goes_on) { run(workers, refused, NULL); }

static void *closed(void *arg)
{
    weft_udp *ends[2];
    char c;
    (void)arg;
    for (int abort_first = 0; abort_first < 2; abort_first++) {
        narrow_pair(ends);
        fill(ends[0]);
        user r = {.udp = ends[0]},
             s[3] = {{.udp = ends[0], .text = "a"}, {.udp = ends[0], .text = "b"}, {.udp = ends[0], .text = "c"}};
        weft_task *tasks[4] = {start_idle(wait_recv, &r)};
        for (int i = 0; i < 3; i++)
            tasks[i + 1] = start_idle(wait_send, &s[i]);
        if (abort_first) {
            weft_udp_abort(ends[0]);
            weft_udp_abort(ends[0]);
            cr_assert_eq(weft_udp_recv(ends[0], &c, 1, NULL), WEFT_ECLOSED);
            cr_assert_eq(weft_udp_send(ends[0], "x", 1, NULL), WEFT_ECLOSED);
            cr_assert_eq(weft_udp_fd(ends[0]), -1);
            cr_assert_eq(weft_udp_set_ttl(ends[0], 3), WEFT_ECLOSED);
        }
        weft_udp_close(ends[0]);
        for (int i = 0; i < 4; i++)
            join(tasks[i]);
        cr_assert_eq(r.result, WEFT_ECLOSED);
        for (int i = 0; i < 3; i++)
            cr_assert_eq(s[i].result, WEFT_ECLOSED);
        weft_udp_close(ends[1]);
    }
    return NULL;
}

WF_TEST_WORKERS(udp, a_close_ends_who_receives_and_who_sends_and_who_queues) { run(workers, closed, NULL); }

/* ---- any number of senders ------------------------------------------------------------------------------------ */

enum { SENDERS = 5 };

static void *in_turn(void *arg)
{
    static const char *const texts[SENDERS] = {"0", "1", "2", "3", "4"};
    const char *aborted = arg; /* which of them are */
    weft_udp *ends[2];
    weft_task *tasks[SENDERS];
    user s[SENDERS];
    narrow_pair(ends);
    int held = fill(ends[0]);
    for (int i = 0; i < SENDERS; i++) {
        s[i] = (user){.udp = ends[0], .text = texts[i]};
        tasks[i] = start_idle(wait_send, &s[i]);
    }
    for (int i = 0; i < SENDERS; i++)
        if (strchr(aborted, '0' + i)) {
            weft_abort(tasks[i]);
            cr_assert_eq(weft_join(tasks[i], NULL), WEFT_EABORTED);
        }
    discard(ends[1], held);
    for (int i = 0; i < SENDERS; i++)
        if (!strchr(aborted, '0' + i)) {
            expect(ends[1], texts[i]);
            join(tasks[i]);
            cr_assert_eq(s[i].result, 1);
        }
    weft_udp_close(ends[0]);
    weft_udp_close(ends[1]);
    return NULL;
}

static char nobody[] = "", first[] = "0", middle[] = "2", most[] = "0134", all[] = "01234";

WF_TEST_WORKERS(udp, senders_take_turns_in_the_order_in_which_they_came) { run(workers, in_turn, nobody); }
WF_TEST_WORKERS(udp, the_sender_whose_turn_it_is_is_aborted_and_the_next_goes_on) { run(workers, in_turn, first); }
WF_TEST_WORKERS(udp, senders_in_the_queue_are_aborted_and_the_others_go_on)
{
    run(workers, in_turn, middle);
    run(workers, in_turn, most);
    run(workers, in_turn, all);
}

typedef struct crowd {
    weft_udp *udp;
    unsigned char id;
    int count;
    weft_runtime *rt;
} crowd;

static void *send_many(void *arg)
{
    crowd *c = arg;
    for (int i = 0; i < c->count; i++) {
        unsigned char bytes[3] = {c->id, (unsigned char)(i & 0xff), (unsigned char)(i >> 8)};
        if (i % 3 == 2) {
            weft_datagram d = {.data = bytes, .size = 3};
            cr_assert_eq(weft_udp_send_batch(c->udp, &d, 1), 1);
        } else {
            cr_assert_eq(weft_udp_send(c->udp, bytes, 3, NULL), 3);
        }
    }
    return NULL;
}

static void *send_many_thread(void *arg)
{
    crowd *c = arg;
    cr_assert_eq(weft_runtime_enter(c->rt), 0);
    send_many(arg);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

/* Sends its datagrams without a stack. */
typedef struct send_future {
    weft_future future;
    crowd crowd;
    int sent;
    atomic_int polls;
    ssize_t result;
} send_future;

static weft_poll send_poll(weft_future *self, weft_context *cx, void **result)
{
    send_future *f = WEFT_CONTAINER_OF(self, send_future, future);
    *result = NULL;
    atomic_fetch_add(&f->polls, 1);
    while (f->sent < f->crowd.count) {
        unsigned char bytes[3] = {f->crowd.id, (unsigned char)(f->sent & 0xff), (unsigned char)(f->sent >> 8)};
        f->result = weft_poll_udp_send(cx, f->crowd.udp, bytes, 3, NULL);
        if (f->result == WEFT_PENDING)
            return WEFT_PENDING;
        if (f->result < 0)
            return (weft_poll)f->result;
        f->sent++;
    }
    return WEFT_READY;
}

static const weft_future_ops send_ops = {.poll = send_poll};

static weft_task *start_sender(send_future *f)
{
    weft_task *task;
    f->future.ops = &send_ops;
    cr_assert_eq(weft_spawn_future(&task, &f->future), 0);
    return task;
}

enum { STRANDS = 6, THREADS = 2, STACKLESS = 4, CROWD = STRANDS + THREADS + STACKLESS };

static void *crowded(void *arg)
{
    weft_udp *ends[2];
    pthread_t threads[THREADS];
    weft_task *tasks[STRANDS + STACKLESS];
    static send_future futures[STACKLESS];
    crowd c[CROWD];
    int next[CROWD] = {0}, count = (int)wf_test_scale(300), n = 0;
    (void)arg;
    narrow_pair(ends);
    for (int i = 0; i < CROWD; i++)
        c[i] = (crowd){.udp = ends[0], .id = (unsigned char)i, .count = count, .rt = weft_runtime_current()};
    for (int i = 0; i < STRANDS; i++)
        tasks[n++] = start(send_many, &c[i]);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, send_many_thread, &c[STRANDS + i]), 0);
    for (int i = 0; i < STACKLESS; i++) {
        futures[i] = (send_future){.crowd = c[STRANDS + THREADS + i]};
        tasks[n++] = start_sender(&futures[i]);
    }
    for (int left = CROWD * count; left > 0; left--) {
        unsigned char got[4];
        cr_assert_eq(weft_udp_recv(ends[1], got, sizeof got, NULL), 3);
        cr_assert_lt(got[0], CROWD);
        cr_assert_eq(got[1] | got[2] << 8, next[got[0]]++, "sender %d", got[0]);
    }
    for (int i = 0; i < n; i++)
        join(tasks[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    weft_udp_close(ends[0]);
    weft_udp_close(ends[1]);
    return NULL;
}

WF_TEST_WORKERS(udp, strands_and_threads_and_stackless_tasks_send_and_all_of_it_arrives_in_order)
{
    run(workers, crowded, NULL);
}

static void *stackless_senders(void *arg)
{
    weft_udp *ends[2];
    weft_task *tasks[3];
    send_future f[3];
    unsigned char got[4];
    bool seen[3] = {false};
    (void)arg;
    narrow_pair(ends);
    int held = fill(ends[0]);
    for (int i = 0; i < 3; i++) {
        f[i] = (send_future){.crowd = {.udp = ends[0], .id = (unsigned char)i, .count = 1}};
        tasks[i] = start_sender(&f[i]);
        await_idle(tasks[i]);
    }
    weft_abort(tasks[2]); /* the one that the source would have woken, were there only one waker */
    cr_assert_eq(weft_join(tasks[2], NULL), WEFT_EABORTED);
    discard(ends[1], held);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(weft_udp_recv(ends[1], got, sizeof got, NULL), 3);
        seen[got[0]] = true;
    }
    cr_assert(seen[0] && seen[1]);
    join(tasks[0]);
    join(tasks[1]);

    held = fill(ends[0]); /* behind a strand that has the turn */
    user w = {.udp = ends[0], .text = "w"};
    weft_task *strand = start_idle(wait_send, &w);
    for (int i = 0; i < 3; i++) {
        f[i] = (send_future){.crowd = {.udp = ends[0], .id = (unsigned char)i, .count = 1}};
        tasks[i] = start_sender(&f[i]);
        await_idle(tasks[i]);
        cr_assert_eq(atomic_load(&f[i].polls), 1); /* nobody is woken while nothing has changed */
    }
    weft_abort(strand);
    cr_assert_eq(weft_join(strand, NULL), WEFT_EABORTED);
    discard(ends[1], held);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(weft_udp_recv(ends[1], got, sizeof got, NULL), 3);
    for (int i = 0; i < 3; i++)
        join(tasks[i]);

    fill(ends[0]);
    for (int i = 0; i < 3; i++) {
        f[i] = (send_future){.crowd = {.udp = ends[0], .id = (unsigned char)i, .count = 1}};
        tasks[i] = start_sender(&f[i]);
        await_idle(tasks[i]);
    }
    weft_udp_abort(ends[0]);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(weft_join(tasks[i], NULL), WEFT_EFAILED);
        cr_assert_eq(f[i].result, WEFT_ECLOSED);
    }
    weft_udp_close(ends[0]);
    weft_udp_close(ends[1]);
    return NULL;
}

WF_TEST_WORKERS(udp, stackless_senders_are_woken_also_when_one_of_them_is_dropped_or_the_socket_closed)
{
    run(workers, stackless_senders, NULL);
}

/* ---- stackless receivers -------------------------------------------------------------------------------------- */

typedef struct recv_future {
    weft_future future;
    weft_udp *udp;
    ssize_t result, awaited;
    char got[16];
} recv_future;

static weft_poll recv_poll(weft_future *self, weft_context *cx, void **result)
{
    recv_future *f = WEFT_CONTAINER_OF(self, recv_future, future);
    *result = NULL;
    f->awaited = weft_udp_recv(f->udp, f->got, sizeof f->got, NULL);
    f->result = weft_poll_udp_recv(cx, f->udp, f->got, sizeof f->got, NULL);
    return f->result == WEFT_PENDING ? WEFT_PENDING : WEFT_READY;
}

static const weft_future_ops recv_ops = {.poll = recv_poll};

static void *stackless_receiver(void *arg)
{
    weft_addr home;
    weft_task *task;
    weft_udp *u = bind_any(&home);
    recv_future f = {.future = {&recv_ops}, .udp = u};
    char c;
    (void)arg;
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    await_idle(task);
    cr_assert_eq(weft_udp_send(u, "one", 3, &home), 3);
    join(task);
    cr_assert_eq(f.result, 3);
    cr_assert_eq(f.awaited, WEFT_EDEADLK);
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    await_idle(task);
    weft_udp_abort(u);
    join(task);
    cr_assert_eq(f.result, WEFT_ECLOSED);
    cr_assert_eq(weft_poll_udp_recv(NULL, u, &c, 1, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_poll_udp_send(NULL, u, &c, 1, NULL), WEFT_EINVAL);
    weft_udp_close(u);
    return NULL;
}

WF_TEST_WORKERS(udp, a_stackless_receiver_is_woken_by_a_datagram_and_by_an_abort)
{
    run(workers, stackless_receiver, NULL);
}

/* ---- batches -------------------------------------------------------------------------------------------------- */

enum { MANY = 70 };

/* All of them, in as many batches as they come in. */
static void gather(weft_udp *u, weft_datagram *list, int n)
{
    for (int got = 0, now; got < n; got += now) {
        now = weft_udp_recv_batch(u, list + got, n - got);
        cr_assert(now > 0 && now <= 64, "it is %d", now);
    }
}

static void *batches(void *arg)
{
    weft_addr home, sender;
    char bytes[MANY], got[MANY][2];
    weft_datagram out[MANY], in[MANY];
    weft_udp *a = bind_any(&home), *b = bind_any(&sender);
    (void)arg;
    for (int i = 0; i < MANY; i++) {
        bytes[i] = (char)i;
        out[i] = (weft_datagram){.data = &bytes[i], .size = i == 1 ? 0 : 1, .address = home};
        in[i] = (weft_datagram){.data = got[i], .size = 2};
    }
    cr_assert_eq(weft_udp_send_batch(b, out, MANY), MANY);
    gather(a, in, MANY);
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(in[i].length, out[i].size);
        cr_assert(i == 1 || got[i][0] == (char)i);
        cr_assert_eq(in[i].truncated, 0);
        cr_assert(weft_addr_equal(&in[i].address, &sender));
    }
    cr_assert_eq(weft_udp_send(b, "abc", 3, &home), 3);
    cr_assert_eq(weft_udp_send(b, "d", 1, &home), 1);
    gather(a, in, 2);
    cr_assert_eq(in[0].truncated, 1);
    cr_assert_eq(in[0].length, 2);
    cr_assert_eq(in[1].truncated, 0);
    cr_assert_eq(in[1].length, 1);

    cr_assert_eq(weft_udp_send(b, "e", 1, &home), 1);
    cr_assert_eq(weft_udp_recv_batch(a, in, 5), 1); /* fewer than there is room for: those that are there */
    user w = {.udp = a};
    weft_task *task = start_idle(wait_recv, &w); /* and then a wait is a wait */
    cr_assert_eq(weft_udp_send(b, "f", 1, &home), 1);
    join(task);
    cr_assert_eq(w.result, 1);

    cr_assert_eq(weft_udp_recv_batch(a, in, 0), WEFT_EINVAL);
    cr_assert_eq(weft_udp_recv_batch(a, NULL, 1), WEFT_EINVAL);
    cr_assert_eq(weft_udp_send_batch(b, out, -1), WEFT_EINVAL);
    out[0].ecn = 4;
    cr_assert_eq(weft_udp_send_batch(b, out, 1), WEFT_EINVAL);
    weft_udp_close(a);
    weft_udp_close(b);
    return NULL;
}

WF_TEST_WORKERS(udp, a_batch_goes_and_what_is_there_comes_in_batches) { run(workers, batches, NULL); }

typedef struct batch_user {
    weft_udp *udp;
    int n, result;
} batch_user;

static void *wait_send_batch(void *arg)
{
    batch_user *b = arg;
    weft_datagram list[MANY];
    char two[2] = {'f', 'f'};
    for (int i = 0; i < MANY; i++)
        list[i] = (weft_datagram){.data = two, .size = 2};
    b->result = weft_udp_send_batch(b->udp, list, b->n);
    return NULL;
}

static void *partial(void *arg)
{
    weft_addr home;
    static char huge[70000];
    weft_udp *ends[2], *u = bind_any(&home);
    weft_datagram list[3] = {{.data = huge, .size = 1, .address = home},
                             {.data = huge, .size = 2, .address = home},
                             {.data = huge, .size = sizeof huge, .address = home}};
    (void)arg;
    cr_assert_eq(weft_udp_send_batch(u, list, 3), 2); /* up to what failed */
    cr_assert_eq(weft_udp_send_batch(u, list + 2, 1), WEFT_EMSGSIZE);
    cr_assert_eq(weft_udp_recv(u, huge, 9, NULL), 1);
    cr_assert_eq(weft_udp_recv(u, huge, 9, NULL), 2);
    weft_udp_close(u);

    narrow_pair(ends);
    batch_user b = {.udp = ends[0], .n = MANY}, c = {.udp = ends[0], .n = MANY};
    weft_task *task = start_idle(wait_send_batch, &b), *queued = start_idle(wait_send_batch, &c);
    weft_abort(queued);
    cr_assert_eq(weft_join(queued, NULL), WEFT_EABORTED);
    cr_assert_eq(c.result, WEFT_ECANCELED); /* it has not sent any */
    weft_abort(task);
    weft_join(task, NULL);
    cr_assert_gt(b.result, 0);
    cr_assert_lt(b.result, MANY);
    discard(ends[1], b.result);

    task = start_idle(wait_send_batch, &b);
    discard(ends[1], MANY);
    join(task);
    cr_assert_eq(b.result, MANY);
    weft_udp_close(ends[0]);
    weft_udp_close(ends[1]);
    return NULL;
}

WF_TEST_WORKERS(udp, a_batch_that_fails_or_is_interrupted_tells_how_many_went) { run(workers, partial, NULL); }

/* ---- one buffer, several datagrams ---------------------------------------------------------------------------- */

enum { BIG = 200000 };

static void expect_segments(weft_udp *u, const char *bytes, size_t size, size_t segment)
{
    char buf[4096];
    for (size_t pos = 0; pos < size; pos += segment) {
        size_t length = size - pos < segment ? size - pos : segment;
        cr_assert_eq(weft_udp_recv(u, buf, sizeof buf, NULL), (ssize_t)length, "at %zu", pos);
        cr_assert_arr_eq(buf, bytes + pos, length);
    }
}

static char *noise(size_t size)
{
    char *bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 31 + (i >> 8));
    return bytes;
}

/* Neighbours may travel together: nobody can tell. */
static void expect_neighbours(weft_udp *a, weft_udp *b, const weft_addr *home, char *bytes)
{
    static const size_t sizes[] = {100, 100, 100, 99, 99, 100, 0, 0, 7, 7, 3000, 3000, 5, 5, 5, 5};
    enum { N = sizeof sizes / sizeof *sizes };
    weft_datagram d[N];
    size_t pos = 0;
    for (int i = 0; i < N; i++) {
        d[i] = (weft_datagram){.data = bytes + pos, .size = sizes[i], .address = home ? *home : (weft_addr){0}};
        pos += sizes[i];
    }
    d[13].ecn = 1;
    d[14].segment = 2; /* 2, 2, 1 */
    cr_assert_eq(weft_udp_send_batch(b, d, N), N);
    for (int i = 0; i < N; i++)
        if (sizes[i] > 0)
            expect_segments(a, d[i].data, sizes[i], i == 14 ? 2 : sizes[i]);
        else
            cr_assert_eq(weft_udp_recv(a, &(char){0}, 1, NULL), 0);
}

/* As large as those that travel together may be: more than one buffer's worth. */
static void expect_large_neighbours(weft_udp *a, weft_udp *b, char *bytes)
{
    weft_datagram d[MANY];
    for (int i = 0; i < MANY; i++)
        d[i] = (weft_datagram){.data = bytes + i * 1232, .size = 1232};
    cr_assert_eq(weft_udp_send_batch(b, d, MANY), MANY);
    expect_segments(a, bytes, MANY * 1232, 1232);
}

static void *segments(void *arg)
{
    static const size_t sizes[][2] = {{3500, 1000}, {1000, 1000}, {999, 1000},   {64, 1},
                                      {65, 1},      {BIG, 4000},  {65507, 1400}, {4096, 2048}};
    bool *kernel_refuses = arg;
    weft_udp_options o = {.receive_buffer = 4 << 20};
    weft_addr home;
    char *bytes = noise(BIG);
    weft_udp *a = bind_at("127.0.0.1:0", &o, &home), *b = bind_any(NULL), *c = connect_at(&home, NULL);
    int one = 1;
    if (*kernel_refuses) /* it does not cut without computing checksums */
        for (int i = 0; i < 2; i++)
            cr_assert_eq(setsockopt(weft_udp_fd(i ? b : c), SOL_SOCKET, SO_NO_CHECK, &one, sizeof one), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i][0] == BIG ? BIG / 2 : sizes[i][0], segment = sizes[i][1];
        weft_datagram d[2] = {{.data = bytes, .size = size, .segment = (unsigned)segment, .address = home},
                              {.data = bytes, .size = 7, .address = home}};
        cr_assert_eq(weft_udp_send_batch(b, d, 2), 2);
        expect_segments(a, bytes, size, segment);
        expect_segments(a, bytes, 7, 7);
        d[0].address = d[1].address = (weft_addr){0};
        cr_assert_eq(weft_udp_send_batch(c, d, 2), 2);
        expect_segments(a, bytes, size, segment);
        expect_segments(a, bytes, 7, 7);
        expect_neighbours(a, b, &home, bytes);
        expect_neighbours(a, c, NULL, bytes);
        expect_large_neighbours(a, c, bytes);
    }
    free(bytes);
    weft_udp_close(a);
    weft_udp_close(b);
    weft_udp_close(c);
    return NULL;
}

WF_TEST_WORKERS(udp, segments_of_a_buffer_arrive_as_datagrams) { run(workers, segments, &(bool){false}); }
WF_TEST_WORKERS(udp, the_kernel_refuses_to_cut_and_weft_does) { run(workers, segments, &(bool){true}); }

static void *send_segments(void *arg)
{
    batch_user *b = arg;
    char *bytes = noise(BIG);
    weft_datagram d[2] = {{.data = bytes, .size = BIG, .segment = 1000}, {.data = bytes, .size = 3}};
    b->result = weft_udp_send_batch(b->udp, d, 2);
    free(bytes);
    return NULL;
}

static void *segments_in_steps(void *arg)
{
    weft_udp *ends[2];
    char *bytes = noise(BIG);
    (void)arg;
    narrow_pair(ends);
    batch_user b = {.udp = ends[0]};
    weft_task *task = start_idle(send_segments, &b);
    expect_segments(ends[1], bytes, BIG, 1000);
    expect_segments(ends[1], bytes, 3, 3);
    join(task);
    cr_assert_eq(b.result, 2);
    free(bytes);
    weft_udp_close(ends[0]);
    weft_udp_close(ends[1]);
    return NULL;
}

WF_TEST_WORKERS(udp, a_system_that_cannot_cut_and_a_socket_that_is_full_and_all_of_it_arrives)
{
    run(workers, segments_in_steps, NULL);
}

/* Joined by the kernel or not: the same bytes in the same pieces, and sent back as they are. */
static void *joined(void *arg)
{
    weft_udp_options o = {.gro = 1, .receive_buffer = 1 << 20};
    weft_addr home, back;
    static char space[64][65536];
    char *bytes = noise(BIG);
    weft_udp *a = bind_at("127.0.0.1:0", &o, &home), *b = bind_any(&back);
    weft_datagram in[64], out = {.data = bytes, .size = 30500, .segment = 1000, .address = home};
    (void)arg;
    cr_assert_eq(weft_udp_send_batch(b, &out, 1), 1);
    for (size_t pos = 0; pos < out.size;) {
        for (int i = 0; i < 64; i++)
            in[i] = (weft_datagram){.data = space[i], .size = sizeof space[i]};
        int n = weft_udp_recv_batch(a, in, 64);
        cr_assert_gt(n, 0);
        for (int i = 0; i < n; i++) {
            cr_assert(in[i].segment == 1000 || (in[i].segment == 0 && in[i].length <= 1000), "%u of %zu", in[i].segment,
                      in[i].length);
            cr_assert_arr_eq(in[i].data, bytes + pos, in[i].length);
            pos += in[i].length;
            in[i].size = in[i].length;
        }
        cr_assert_eq(weft_udp_send_batch(a, in, n), n);
    }
    expect_segments(b, bytes, out.size, 1000);
    free(bytes);
    weft_udp_close(a);
    weft_udp_close(b);
    return NULL;
}

WF_TEST_WORKERS(udp, what_the_kernel_joins_tells_its_pieces_and_goes_back_in_them) { run(workers, joined, NULL); }

static void *marked(void *arg)
{
    static const char *const pairs[][2] = {{"127.0.0.1:0", "127.0.0.1:0"}, {"[::1]:0", "[::1]:0"}, {"[::]:0", "127.0.0.1:0"}};
    (void)arg;
    for (int i = 0; i < (has_v6() ? 3 : 1); i++) {
        weft_udp_options o = {.ecn = 1};
        weft_addr home, sender;
        char c = 'x', got[4];
        weft_udp *a = bind_at(pairs[i][0], &o, &home), *b = bind_at(pairs[i][1], &o, &sender);
        if (i == 2) { /* IPv4 to an IPv6 socket */
            char text[WEFT_ADDR_TEXT];
            snprintf(text, sizeof text, "127.0.0.1:%u", weft_addr_port(&home));
            cr_assert_eq(weft_addr_parse(&home, text), 0);
        }
        weft_datagram out[4], in[4];
        for (unsigned e = 0; e < 4; e++) {
            out[e] = (weft_datagram){.data = &c, .size = 1, .ecn = e, .address = home};
            in[e] = (weft_datagram){.data = &got[e], .size = 1};
        }
        cr_assert_eq(weft_udp_send_batch(b, out, 4), 4);
        gather(a, in, 4);
        for (unsigned e = 0; e < 4; e++) {
            cr_assert_eq(in[e].ecn, e, "pair %d", i);
            in[e].size = 1;
        }
        cr_assert_eq(weft_udp_send_batch(a, in, 4), 4); /* and back, as they are */
        gather(b, in, 4);
        for (unsigned e = 0; e < 4; e++)
            cr_assert_eq(in[e].ecn, e, "pair %d, back", i);
        weft_udp_close(a);
        weft_udp_close(b);
    }
    return NULL;
}

WF_TEST_WORKERS(udp, marks_of_congestion_are_sent_and_told) { run(workers, marked, NULL); }

/* ---- options -------------------------------------------------------------------------------------------------- */

static int option(weft_udp *u, int level, int home)
{
    int value = -1;
    cr_assert_eq(getsockopt(weft_udp_fd(u), level, home, &value, &(socklen_t){sizeof value}), 0);
    return value;
}

static void *options(void *arg)
{
    weft_udp_options o = {.reuse_port = 1, .broadcast = 1, .ttl = 7, .send_buffer = 65536, .receive_buffer = 65536};
    weft_addr home;
    char text[WEFT_ADDR_TEXT];
    weft_udp *a = bind_at("127.0.0.1:0", &o, &home), *b = bind_at(weft_addr_format(&home, text, sizeof text), &o, NULL),
             *none;
    (void)arg;
    cr_assert_eq(option(a, IPPROTO_IP, IP_TTL), 7);
    cr_assert_eq(option(a, SOL_SOCKET, SO_BROADCAST), 1);
    cr_assert_geq(option(a, SOL_SOCKET, SO_SNDBUF), 65536);
    cr_assert_geq(option(a, SOL_SOCKET, SO_RCVBUF), 65536);
    cr_assert_eq(weft_udp_set_ttl(a, 9), 0);
    cr_assert_eq(option(a, IPPROTO_IP, IP_TTL), 9);
    cr_assert_eq(weft_udp_set_ttl(a, 256), WEFT_EINVAL);
    cr_assert_eq(weft_udp_set_ttl(a, 0), 0);
    cr_assert_gt(option(a, IPPROTO_IP, IP_TTL), 9);
    cr_assert_eq(weft_udp_set_broadcast(a, 0), 0);
    cr_assert_eq(option(a, SOL_SOCKET, SO_BROADCAST), 0);
    cr_assert_eq(weft_udp_bind(&none, text, NULL), WEFT_EADDRINUSE);
    cr_assert_null(none);
    weft_udp_close(a);
    weft_udp_close(b);

    if (has_v6()) {
        a = bind_at("[::1]:0", &(weft_udp_options){.v6only = 1, .ttl = 7}, NULL);
        cr_assert_eq(option(a, IPPROTO_IPV6, IPV6_V6ONLY), 1);
        cr_assert_eq(option(a, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 7);
        weft_udp_close(a);
    }

    cr_assert_eq(weft_udp_bind(&none, "127.0.0.1:0", &(weft_udp_options){.ttl = 300}), WEFT_EINVAL);
    cr_assert_eq(weft_udp_bind(&none, "127.0.0.1", NULL), WEFT_EINVAL);
    cr_assert_eq(weft_udp_bind(&none, "unix:/nowhere", NULL), WEFT_EINVAL);
    cr_assert_eq(weft_udp_bind(&none, "192.0.2.1:0", NULL), WEFT_EADDRNOTAVAIL);
    cr_assert_str_eq(weft_error_detail(), "bind 192.0.2.1:0: address not available");
    cr_assert_eq(weft_udp_connect(&none, "[::1", NULL), WEFT_EINVAL);
    cr_assert_eq(weft_udp_connect(&none, "portless", NULL), WEFT_EINVAL);
    cr_assert_null(none);

    o = (weft_udp_options){.bind = "127.0.0.1:0"};
    a = bind_any(&home);
    b = connect_at(&home, &o);
    o.bind = "[::1]:0";
    cr_assert_eq(weft_udp_connect(&none, weft_addr_format(&home, text, sizeof text), &o), WEFT_EINVAL);
    weft_udp_close(a);
    weft_udp_close(b);
    return NULL;
}

WF_TEST_WORKERS(udp, options_are_set_and_what_makes_no_sense_leaves_nothing) { run(workers, options, NULL); }

/* ---- names ---------------------------------------------------------------------------------------------------- */

/* Static, because a thread of the pool may still look at them when its caller has left. */
static latch slow;
static name known_names[] = {{.host = "here", .answers = {"127.0.0.1:0"}},
                             {.host = "second", .answers = {"unix:/nowhere", "127.0.0.1:0"}},
                             {.host = "slow", .answers = {"127.0.0.1:0"}, .latch = &slow}};

static void *connect_slow(void *arg)
{
    weft_udp *u;
    user *w = arg;
    w->result = weft_udp_connect(&u, "slow:9", NULL);
    cr_assert_null(u);
    return NULL;
}

static void *to_names(void *arg)
{
    static const char *const hosts[] = {"here", "second"};
    weft_addr home, peer;
    char text[WEFT_ADDR_TEXT];
    weft_udp *server = bind_any(&home), *u;
    user w = {.result = 0};
    (void)arg;
    slow = (latch)LATCH_INIT;
    names_set(known_names, 3);
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, "%s:%u", hosts[i], weft_addr_port(&home));
        cr_assert_eq(weft_udp_connect(&u, text, NULL), 0, "%s", weft_error_detail());
        cr_assert_eq(weft_udp_peer(u, &peer), 0);
        cr_assert(weft_addr_equal(&peer, &home));
        cr_assert_eq(weft_udp_send(u, "by name", 7, NULL), 7);
        expect(server, "by name");
        weft_udp_close(u);
    }
    cr_assert_eq(weft_udp_connect(&u, "nobody:9", NULL), WEFT_EAI_NONAME);
    cr_assert_null(u);
    weft_task *task = start(connect_slow, &w);
    while (atomic_load(&slow.inside) == 0)
        weft_yield();
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(w.result, WEFT_ECANCELED);
    latch_open(&slow);
    weft_udp_close(server);
    return NULL;
}

WF_TEST_WORKERS(udp, connecting_to_a_name_takes_the_first_address_that_works_and_can_be_aborted)
{
    run(workers, to_names, NULL);
    cr_assert_eq(names_held, 0);
}

/* ---- groups --------------------------------------------------------------------------------------------------- */

/* The loopback interface has members too, if the system lets it. */
static void *multicast_over(const char *address, const char *to)
{
    weft_addr group, home, target;
    char text[WEFT_ADDR_TEXT];
    weft_udp *a = bind_at(address, &(weft_udp_options){.reuse_port = 1}, &home), *b = bind_at(address, NULL, NULL);
    cr_assert_eq(weft_addr_parse(&group, to), 0);
    snprintf(text, sizeof text, "%.*s:%u", (int)(strrchr(to, ':') - to), to, weft_addr_port(&home));
    cr_assert_eq(weft_addr_parse(&target, text), 0);
    cr_assert_eq(weft_udp_join(a, &group, "lo"), 0);
    cr_assert_eq(weft_udp_join(a, &group, "lo"), WEFT_EADDRINUSE);
    cr_assert_eq(weft_udp_set_multicast(b, 2, 1, "lo"), 0);
    ssize_t n = weft_udp_send(b, "all", 3, &target);
    if (n == 3)
        expect(a, "all");
    cr_assert(n == 3 || n == WEFT_ENETUNREACH || n == WEFT_EADDRNOTAVAIL, "it is %zd", n);
    cr_assert_eq(weft_udp_set_multicast(b, -1, 0, NULL), 0);
    n = weft_udp_send(b, "not here", 8, &target);
    cr_assert_eq(weft_udp_leave(a, &group, "lo"), 0);
    cr_assert_eq(weft_udp_leave(a, &group, "lo"), WEFT_EADDRNOTAVAIL);
    cr_assert_eq(weft_udp_join(a, &group, "no such thing"), -ENODEV);
    cr_assert_eq(weft_udp_set_multicast(b, 256, -1, NULL), WEFT_EINVAL);
    weft_udp_close(a);
    weft_udp_close(b);
    return NULL;
}

static void *multicast(void *arg)
{
    (void)arg;
    multicast_over("0.0.0.0:0", "239.255.77.3:0");
    return has_v6() ? multicast_over("[::]:0", "[ff01::77]:0") : NULL;
}

WF_TEST_WORKERS(udp, members_of_a_group_get_what_is_sent_to_it)
{
    if (WF_TEST_EMULATED)
        cr_skip_test("qemu loses the interface of a group");
    run(workers, multicast, NULL);
}

/* ---- select, adopting, running out ---------------------------------------------------------------------------- */

static void *selected(void *arg)
{
    weft_addr home;
    weft_udp *a = bind_any(&home);
    weft_case cases[2] = {WEFT_UDP_READABLE(a), WEFT_AFTER(WEFT_MS)};
    (void)arg;
    cr_assert_eq(weft_select(cases, 2), 1);
    cr_assert_eq(weft_udp_send(a, "x", 1, &home), 1);
    cases[1] = (weft_case)WEFT_AFTER(PATIENCE);
    cr_assert_eq(weft_select(cases, 2), 0);
    cr_assert_eq(cases[0].status, 0);
    expect(a, "x"); /* it was only looked at */
    user w = {.udp = a};
    weft_task *task = start_idle(wait_recv, &w);
    cr_assert_eq(weft_select(cases, 2), 0);
    cr_assert_eq(cases[0].status, WEFT_EBUSY);
    weft_udp_abort(a);
    join(task);
    cr_assert_eq(weft_select(cases, 2), 0);
    cr_assert_eq(cases[0].status, WEFT_ECLOSED);
    weft_udp_close(a);

    a = bind_any(&home);
    weft_udp *b = connect_at(&home, NULL);
    char c;
    hear_nobody(a);
    cr_assert_eq(weft_udp_send(b, "x", 1, NULL), 1);
    cases[0] = (weft_case)WEFT_UDP_READABLE(b);
    cr_assert_eq(weft_select(cases, 2), 0); /* a receive would not wait */
    cr_assert_eq(weft_udp_recv(b, &c, 1, NULL), WEFT_ECONNREFUSED);
    weft_udp_close(a);
    weft_udp_close(b);
    return NULL;
}

WF_TEST_WORKERS(udp, a_select_waits_for_a_datagram_and_takes_none) { run(workers, selected, NULL); }

/* Who waits for room is woken, whichever direction waited first, and again. */
static void *room(void *arg)
{
    (void)arg;
    for (int reader_first = 0; reader_first < 2; reader_first++) {
        weft_udp *ends[2];
        narrow_pair(ends);
        user r = {.udp = ends[0]}, w = {.udp = ends[0], .text = "x"};
        weft_task *reader = reader_first ? start_idle(wait_recv, &r) : NULL;
        for (int i = 0; i < 3; i++) {
            int held = fill(ends[0]);
            weft_task *sender = start_idle(wait_send, &w);
            if (!reader)
                reader = start_idle(wait_recv, &r);
            discard(ends[1], held);
            expect(ends[1], "x");
            join(sender);
            cr_assert_eq(w.result, 1);
        }
        cr_assert_eq(weft_udp_send(ends[1], "end", 3, NULL), 3);
        join(reader);
        cr_assert_eq(r.result, 3);
        weft_udp_close(ends[0]);
        weft_udp_close(ends[1]);
    }
    return NULL;
}

WF_TEST_WORKERS(udp, who_waits_for_room_is_woken_whoever_waited_before) { run(workers, room, NULL); }

/* Both directions wait for the first time, at once. */
static void *first_waits(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < wf_test_scale(300); i++) {
        weft_udp *ends[2];
        narrow_pair(ends);
        int held = fill(ends[0]);
        user r = {.udp = ends[0]}, w = {.udp = ends[0], .text = "x"};
        weft_task *reader = start(wait_recv, &r), *sender = start(wait_send, &w);
        if (i % 2)
            await_idle(sender);
        discard(ends[1], held);
        expect(ends[1], "x");
        cr_assert_eq(weft_udp_send(ends[1], "y", 1, NULL), 1);
        join(sender);
        join(reader);
        cr_assert(r.result == 1 && w.result == 1);
        weft_udp_close(ends[0]);
        weft_udp_close(ends[1]);
    }
    return NULL;
}

WF_TEST_WORKERS(udp, both_directions_may_wait_for_the_first_time_at_once) { run(workers, first_waits, NULL); }

static void *adopted(void *arg)
{
    weft_udp *u;
    int pipes[2], fds[2];
    weft_addr from;
    char c;
    (void)arg;
    cr_assert_eq(pipe(pipes), 0);
    cr_assert_eq(weft_udp_from_fd(&u, pipes[0]), WEFT_ENOTSOCK);
    cr_assert_null(u);
    close(pipes[0]);
    close(pipes[1]);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    cr_assert_eq(weft_udp_from_fd(&u, fds[0]), WEFT_EINVAL);
    cr_assert_eq(fcntl(fds[0], F_GETFD), 0); /* still ours */
    close(fds[0]);
    close(fds[1]);
    cr_assert_eq(weft_udp_from_fd(&u, -1), WEFT_EBADF);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    cr_assert_eq(weft_udp_from_fd(&u, fds[0]), 0);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    cr_assert_eq(weft_udp_recv(u, &c, 1, &from), 1);
    cr_assert_eq(write(fds[1], "xy", 2), 2);
    cr_assert_eq(weft_udp_recv(u, &c, 1, &from), WEFT_EMSGSIZE);
    weft_udp_close(u);
    close(fds[1]);
    return NULL;
}

WF_TEST_WORKERS(udp, datagram_sockets_are_adopted_and_others_are_not) { run(workers, adopted, NULL); }

/* Whoever sends to a Unix socket may send descriptors along. */
static void send_descriptor(int socket)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } beside = {.bytes = {0}};
    struct iovec piece = {"x", 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = beside.bytes, .msg_controllen = sizeof beside.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &socket, sizeof socket);
    cr_assert_eq(sendmsg(socket, &message, MSG_NOSIGNAL), 1);
}

static void *given_descriptors(void *arg)
{
    char c[2];
    weft_datagram list[2] = {{.data = &c[0], .size = 1}, {.data = &c[1], .size = 1}};
    weft_udp *u;
    int fds[2];
    (void)arg;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(weft_udp_from_fd(&u, fds[0]), 0);
    unsigned before = open_fds();
    send_descriptor(fds[1]);
    send_descriptor(fds[1]);
    cr_assert_eq(weft_udp_recv_batch(u, list, 2), 2);
    send_descriptor(fds[1]);
    cr_assert_eq(weft_udp_recv(u, c, 1, NULL), 1);
    cr_assert_eq(open_fds(), before);
    weft_udp_close(u);
    close(fds[1]);
    return NULL;
}

WF_TEST_WORKERS(udp, descriptors_that_a_peer_sends_along_are_not_taken) { run(workers, given_descriptors, NULL); }

static void *without_descriptors(void *arg)
{
    struct rlimit old, none;
    weft_udp *u;
    (void)arg;
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    int err = weft_udp_bind(&u, "127.0.0.1:0", NULL), second = weft_udp_connect(&u, "127.0.0.1:9", NULL);
    setrlimit(RLIMIT_NOFILE, &old);
    cr_assert_eq(err, WEFT_EMFILE);
    cr_assert_eq(second, WEFT_EMFILE);
    cr_assert_null(u);
    u = bind_any(NULL);
    weft_udp_close(u);
    return NULL;
}

Test(udp, out_of_descriptors_it_says_so) { run(1, without_descriptors, NULL); }

Test(udp, without_a_runtime_there_is_none)
{
    weft_udp *u;
    cr_assert_eq(weft_udp_bind(&u, "127.0.0.1:0", NULL), WEFT_ENORUNTIME);
    cr_assert_eq(weft_udp_connect(&u, "127.0.0.1:9", NULL), WEFT_ENORUNTIME);
    cr_assert_eq(weft_udp_from_fd(&u, 0), WEFT_ENORUNTIME);
    cr_assert_null(u);
}

/* ---- many, opened and closed while they are used --------------------------------------------------------------- */

static void *churn_one(void *arg)
{
    int rounds = (int)wf_test_scale(200);
    (void)arg;
    for (int i = 0; i < rounds; i++) {
        weft_udp *ends[2];
        narrow_pair(ends);
        fill(ends[0]);
        user r = {.udp = ends[0]}, s[3];
        weft_task *tasks[4] = {start(wait_recv, &r)};
        for (int k = 0; k < 3; k++) {
            s[k] = (user){.udp = ends[0], .text = "s"};
            tasks[k + 1] = start(wait_send, &s[k]);
        }
        if (i % 2)
            weft_yield();
        if (i % 3 == 0)
            weft_abort(tasks[1 + i % 2]);
        weft_udp_abort(ends[0]);
        for (int k = 0; k < 4; k++)
            weft_join(tasks[k], NULL);
        weft_udp_close(ends[0]);
        weft_udp_close(ends[1]);
    }
    return NULL;
}

static void *churn(void *arg)
{
    weft_task *tasks[4];
    (void)arg;
    for (int i = 0; i < 4; i++)
        tasks[i] = start(churn_one, NULL);
    for (int i = 0; i < 4; i++)
        join(tasks[i]);
    return NULL;
}

WF_TEST_WORKERS(udp, sockets_are_aborted_while_they_are_used_and_nothing_is_left) { run(workers, churn, NULL); }
