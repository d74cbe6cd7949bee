/* connect_test.c - connecting as a user sees it: to names with several addresses, some of them dead, with deadlines and aborts at every stage.
 *
 * The name server is the test's own (names.h). Dead are: ports that nobody listens on, which refuse; multicast groups, to which the kernel knows
 * no way; and holes, listeners whose queue is full, which never answer. Everything is on this machine. */
#include <arpa/inet.h>
#include <netinet/in.h>
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

#define STAGGER (250 * WEFT_MS)

/* ---- helpers -------------------------------------------------------------------------------------------------- */

/* The portable reactor closes a little later. Real time: the clock may be paused. */
static void await_fds(unsigned n)
{
    for (int tries = 0; open_fds() != n; tries++) {
        cr_assert_lt(tries, 60000, "there are %u descriptors, there should be %u", open_fds(), n);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        weft_yield();
    }
}

/* As run(), with virtual time: who waits for a dead address waits for no time at all. */
static void run_paused(unsigned workers, weft_fn fn, void *arg)
{
    weft_options o = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    run(workers, fn, arg);
    unsigned before = open_fds();
    cr_assert_eq(weft_run_with(&o, fn, arg, NULL), 0);
    await_fds(before);
}

static void *nothing(void *arg) { return arg; }

static void run_only_paused(unsigned workers, weft_fn fn, void *arg)
{
    weft_options o = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&o, nothing, NULL, NULL), 0);
    unsigned before = open_fds();
    cr_assert_eq(weft_run_with(&o, fn, arg, NULL), 0);
    await_fds(before);
}

enum { FILL = 4 };

/* A bound socket that nobody listens on, or whose queue is full so that a handshake never ends. */
typedef struct dead_end {
    int fd, fill[FILL];
    char text[WEFT_ADDR_TEXT];
} dead_end;

static void dead_end_open(dead_end *d, struct sockaddr_in *sa)
{
    socklen_t length = sizeof *sa;
    *sa = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    d->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(d->fd, (struct sockaddr *)sa, sizeof *sa), 0);
    cr_assert_eq(getsockname(d->fd, (struct sockaddr *)sa, &length), 0);
    snprintf(d->text, sizeof d->text, "127.0.0.1:%u", (unsigned)ntohs(sa->sin_port));
    for (int i = 0; i < FILL; i++)
        d->fill[i] = -1;
}

static void refuser_open(dead_end *d)
{
    struct sockaddr_in sa;
    dead_end_open(d, &sa);
}

static void hole_open(dead_end *d)
{
    struct sockaddr_in sa;
    dead_end_open(d, &sa);
    cr_assert_eq(listen(d->fd, 0), 0);
    for (int i = 0; i < FILL; i++) {
        d->fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(d->fill[i], (struct sockaddr *)&sa, sizeof sa);
    }
}

static void stop_filling(dead_end *d)
{
    for (int i = 0; i < FILL; i++)
        if (d->fill[i] >= 0)
            close(d->fill[i]);
}

static void dead_end_close(dead_end *d)
{
    stop_filling(d);
    close(d->fd);
}

static void expect_peer(weft_stream *s, const char *text)
{
    weft_addr addr;
    char buf[WEFT_ADDR_TEXT];
    cr_assert_eq(weft_stream_peer(s, &addr), 0);
    cr_assert_str_eq(weft_addr_format(&addr, buf, sizeof buf), text);
}

static void drop(weft_stream *s)
{
    reset_on_close(s);
    weft_close(s);
}

/* One task that connects. */
typedef struct connector {
    const char *text;
    weft_tcp_options options;
    weft_stream *stream;
    int result;
    char detail[256];
} connector;

static void *connect_it(void *arg)
{
    connector *c = arg;
    c->result = weft_tcp_connect(&c->stream, c->text, &c->options);
    snprintf(c->detail, sizeof c->detail, "%s", weft_error_detail());
    return NULL;
}

/* ---- who is tried, and when ------------------------------------------------------------------------------------- */

typedef struct scene {
    weft_listener *good;
    dead_end refuser, hole;
    char text[WEFT_ADDR_TEXT];
    name name;
} scene;

static void scene_open(scene *sc)
{
    memset(sc, 0, sizeof *sc);
    sc->good = listen_any(sc->text);
    refuser_open(&sc->refuser);
    hole_open(&sc->hole);
    sc->name.host = "it";
    names_set(&sc->name, 1);
}

static void scene_close(scene *sc)
{
    weft_listener_close(sc->good);
    dead_end_close(&sc->refuser);
    dead_end_close(&sc->hole);
}

/* The good one, whoever was before it; returns the time that it took. */
static int64_t reaches_good(const scene *sc)
{
    weft_stream *s;
    unsigned before = open_fds();
    int64_t begun = weft_now();
    cr_assert_eq(weft_tcp_connect(&s, "it:80", NULL), 0, "%s", weft_error_detail());
    int64_t took = weft_now() - begun;
    await_fds(before + 1); /* who lost is closed */
    expect_peer(s, sc->text);
    drop(s);
    return took;
}

static void *refused_first(void *arg)
{
    scene sc;
    scene_open(&sc);
    sc.name.answers[0] = sc.refuser.text;
    sc.name.answers[1] = "[ff02::1]:1";
    sc.name.answers[2] = sc.text;
    cr_assert_lt(reaches_good(&sc), 20 * WEFT_SEC);
    sc.name.answers[0] = "224.0.0.1:1";
    reaches_good(&sc);
    scene_close(&sc);
    return arg;
}

WF_TEST_WORKERS(connect, after_one_that_fails_the_next_is_tried) { run_paused(workers, refused_first, NULL); }

/* Nothing else in the scene has to do with time. */
static void *hole_first(void *arg)
{
    scene sc;
    scene_open(&sc);
    sc.name.answers[0] = sc.hole.text;
    sc.name.answers[1] = sc.text;
    cr_assert_eq(reaches_good(&sc), STAGGER);
    sc.name.answers[1] = "[ff02::1]:1"; /* fails, and its turn is over at once */
    sc.name.answers[2] = sc.text;
    cr_assert_eq(reaches_good(&sc), STAGGER);
    sc.name.answers[1] = sc.hole.text; /* the same once more counts once */
    cr_assert_eq(reaches_good(&sc), STAGGER);
    sc.name.answers[1] = sc.refuser.text; /* fails too, but the kernel may take its time to say so */
    int64_t took = reaches_good(&sc);
    cr_assert(took >= STAGGER && took <= 2 * STAGGER, "it took %lld", (long long)took);
    scene_close(&sc);
    return arg;
}

WF_TEST_WORKERS(connect, a_quarter_of_a_second_after_one_that_does_not_answer_the_next_sets_out)
{
    run_only_paused(workers, hole_first, NULL);
}

static void *hole_first_in_real_time(void *arg)
{
    scene sc;
    scene_open(&sc);
    sc.name.answers[0] = sc.hole.text;
    sc.name.answers[1] = sc.text;
    cr_assert_geq(reaches_good(&sc), STAGGER);
    scene_close(&sc);
    return arg;
}

WF_TEST_WORKERS(connect, so_it_is_in_real_time) { run(workers, hole_first_in_real_time, NULL); }

static void *slow_first(void *arg)
{
    scene sc;
    scene_open(&sc);
    sc.name.answers[0] = sc.hole.text;
    sc.name.answers[1] = sc.refuser.text;
    connector c = {.text = "it:80"};
    weft_task *task = start(connect_it, &c);
    cr_assert_eq(weft_sleep(STAGGER + 50 * WEFT_MS), 0);
    stop_filling(&sc.hole); /* the hole is one no longer: the handshake is tried again after a second */
    for (int i = 0; i < FILL; i++)
        sc.hole.fill[i] = -1;
    close(accept(sc.hole.fd, NULL, NULL));
    join(task);
    cr_assert_eq(c.result, 0, "%s", c.detail);
    expect_peer(c.stream, sc.hole.text);
    drop(c.stream);
    scene_close(&sc);
    return arg;
}

Test(connect, one_that_answers_late_wins_if_the_later_ones_have_failed) { run(2, slow_first, NULL); }

static void *crowd(void *arg)
{
    static char texts[20][32];
    scene sc;
    scene_open(&sc);
    for (int i = 0; i < 20; i++) {
        snprintf(texts[i], sizeof texts[i], "[ff02::%d]:1", i + 1);
        sc.name.answers[i] = texts[i];
    }
    sc.name.answers[20] = sc.text;
    reaches_good(&sc);
    scene_close(&sc);
    return arg;
}

Test(connect, many_addresses_of_one_family_do_not_crowd_out_the_other) { run(1, crowd, NULL); }

/* What a kernel with or without IPv6 says of it. */
static int code_of_group6(void)
{
    weft_stream *s;
    int err = weft_tcp_connect(&s, "[ff02::1]:1", NULL);
    cr_assert_lt(err, 0);
    return err;
}

static void *all_fail(void *arg)
{
    name all[] = {{.host = "it", .answers = {"[ff02::1]:1", "[ff02::2]:1", "224.0.0.1:1", "224.0.0.2:1"}},
                  {.host = "one", .answers = {"224.0.0.1:0"}},
                  {.host = "none", .error = EAI_NONAME}};
    const char *sentence6 = weft_strerror(code_of_group6()), *sentence = weft_strerror(WEFT_ENETUNREACH);
    char expected[512];
    weft_stream *s = arg;
    unsigned before = open_fds();
    names_set(all, 3);
    cr_assert_eq(weft_tcp_connect(&s, "it:80", NULL), WEFT_ENETUNREACH);
    cr_assert_null(s);
    snprintf(expected, sizeof expected, "connect it:80: [ff02::1]:1: %s; 224.0.0.1:1: %s; [ff02::2]:1: %s; 224.0.0.2:1: %s",
             sentence6, sentence, sentence6, sentence);
    expected[strnlen(expected, 191)] = '\0';
    cr_assert_str_eq(weft_error_detail(), expected); /* and so the families took turns */

    cr_assert_eq(weft_tcp_connect(&s, "one:http", NULL), WEFT_ENETUNREACH);
    snprintf(expected, sizeof expected, "connect one:http: 224.0.0.1:80: %s", sentence);
    cr_assert_str_eq(weft_error_detail(), expected);
    cr_assert_eq(weft_tcp_connect(&s, "224.0.0.1:1", NULL), WEFT_ENETUNREACH);
    snprintf(expected, sizeof expected, "connect 224.0.0.1:1: %s", sentence);
    cr_assert_str_eq(weft_error_detail(), expected);
    cr_assert_eq(weft_tcp_connect(&s, "none:80", NULL), WEFT_EAI_NONAME);
    snprintf(expected, sizeof expected, "connect none:80: %s", weft_strerror(WEFT_EAI_NONAME));
    cr_assert_str_eq(weft_error_detail(), expected);
    await_fds(before);
    return NULL;
}

WF_TEST_WORKERS(connect, when_all_fail_it_is_said_which_one_failed_how) { run_paused(workers, all_fail, NULL); }

static void *long_story(void *arg)
{
    static char texts[MOST_ANSWERS][32];
    scene sc;
    weft_stream *s;
    scene_open(&sc);
    for (int i = 0; i < MOST_ANSWERS; i++) {
        snprintf(texts[i], sizeof texts[i], "224.0.0.%d:1", i + 1);
        sc.name.answers[i] = texts[i];
    }
    cr_assert_eq(weft_tcp_connect(&s, "it:80", NULL), WEFT_ENETUNREACH);
    cr_assert_eq(strlen(weft_error_detail()), 191); /* cut, not overrun */
    scene_close(&sc);
    return arg;
}

Test(connect, a_story_that_is_too_long_is_cut) { run(1, long_story, NULL); }

/* ---- time is up ------------------------------------------------------------------------------------------------- */

static void *timeouts(void *arg)
{
    scene sc;
    dead_end second;
    scene_open(&sc);
    hole_open(&second);
    sc.name.answers[0] = sc.hole.text;
    sc.name.answers[1] = "224.0.0.1:1";
    sc.name.answers[2] = second.text;
    weft_tcp_options o = {.timeout = 600 * WEFT_MS};
    weft_stream *s = arg;
    unsigned before = open_fds();

    int64_t begun = weft_now();
    cr_assert_eq(weft_tcp_connect(&s, "it:80", &o), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now(), begun + o.timeout);
    cr_assert_null(s);
    await_fds(before);
    cr_assert_not_null(strstr(weft_error_detail(), "224.0.0.1:1: network is unreachable"), "%s", weft_error_detail());
    cr_assert_not_null(strstr(weft_error_detail(), second.text), "%s", weft_error_detail());
    cr_assert_not_null(strstr(weft_error_detail(), weft_strerror(WEFT_ETIMEDOUT)), "%s", weft_error_detail());

    o.timeout = STAGGER; /* no turn comes at the end of all */
    begun = weft_now();
    cr_assert_eq(weft_tcp_connect(&s, "it:80", &o), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now(), begun + o.timeout);
    cr_assert_null(strstr(weft_error_detail(), "224.0.0.1"), "%s", weft_error_detail());

    begun = weft_now();
    cr_assert_eq(weft_tcp_connect(&s, sc.hole.text, &o), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now(), begun + o.timeout);
    await_fds(before);

    o.timeout = WEFT_FOREVER;
    cr_assert_eq(weft_tcp_connect(&s, sc.text, &o), 0);
    drop(s);
    o.timeout = -1;
    cr_assert_eq(weft_tcp_connect(&s, sc.text, &o), WEFT_EINVAL);
    cr_assert_null(s);
    dead_end_close(&second);
    scene_close(&sc);
    return NULL;
}

WF_TEST_WORKERS(connect, the_timeout_is_that_of_the_whole) { run_only_paused(workers, timeouts, NULL); }

/* The code is the same: only the scope tells whose time was up. */
static void *scopes(void *arg)
{
    scene sc;
    dead_end second;
    weft_scope scope;
    scene_open(&sc);
    hole_open(&second);
    sc.name.answers[0] = sc.hole.text;
    sc.name.answers[1] = sc.text;
    weft_stream *s = arg;
    unsigned before = open_fds();
    int64_t begun = weft_now();
    cr_assert_eq(weft_scope_enter(&scope, 100 * WEFT_MS), 0);
    cr_assert_eq(weft_tcp_connect(&s, "it:80", NULL), WEFT_ETIMEDOUT);
    cr_assert_null(s);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now(), begun + 100 * WEFT_MS);

    sc.name.answers[1] = second.text;
    begun = weft_now(); /* at the very moment when the next one has its turn */
    cr_assert_eq(weft_scope_enter(&scope, STAGGER), 0);
    cr_assert_eq(weft_tcp_connect(&s, "it:80", NULL), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_now(), begun + STAGGER);
    await_fds(before);

    sc.name.answers[1] = sc.text;
    weft_tcp_options o = {.timeout = 50 * WEFT_MS};
    cr_assert_eq(weft_scope_enter(&scope, 10 * WEFT_SEC), 0);
    cr_assert_eq(weft_tcp_connect(&s, "it:80", &o), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_tcp_connect(&s, "it:80", NULL), 0); /* the turns are no interruption of anything */
    cr_assert_eq(weft_scope_leave(&scope), 0);
    drop(s);
    dead_end_close(&second);
    scene_close(&sc);
    return NULL;
}

WF_TEST_WORKERS(connect, a_scopes_deadline_ends_it_and_turns_do_not_end_the_scope)
{
    run_only_paused(workers, scopes, NULL);
}

/* In real time: the clock would stand while the name server thinks. A lookup that is left behind may begin later than this function ends, but before its
 * runtime does: so the names are static. */
static void *slow_name(void *arg)
{
    static latch l;
    static name slow;
    weft_tcp_options o = {.timeout = 20 * WEFT_MS};
    weft_stream *s = arg;
    l = (latch)LATCH_INIT;
    slow = (name){.host = "slow", .answers = {"127.0.0.1:0"}, .latch = &l};
    names_set(&slow, 1);
    unsigned before = open_fds();
    cr_assert_eq(weft_tcp_connect(&s, "slow:80", &o), WEFT_ETIMEDOUT);
    cr_assert_null(s);
    cr_assert_not_null(strstr(weft_error_detail(), "connect slow:80: "), "%s", weft_error_detail());
    await_fds(before);
    latch_open(&l);
    return NULL;
}

WF_TEST_WORKERS(connect, the_timeout_also_ends_the_asking)
{
    run(workers, slow_name, NULL);
    cr_assert_eq(names_held, 0);
}

/* ---- aborted ---------------------------------------------------------------------------------------------------- */

static void *abort_asking(void *arg)
{
    static latch l;
    static name slow;
    connector c = {.text = "slow:80"};
    (void)arg;
    l = (latch)LATCH_INIT;
    slow = (name){.host = "slow", .answers = {"127.0.0.1:0"}, .latch = &l};
    names_set(&slow, 1);
    unsigned before = open_fds();
    weft_task *task = start(connect_it, &c);
    await_idle(task);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(c.result, WEFT_ECANCELED);
    cr_assert_null(c.stream);
    await_fds(before);
    latch_open(&l);
    return NULL;
}

WF_TEST_WORKERS(connect, aborted_while_it_asks_it_returns_at_once)
{
    run(workers, abort_asking, NULL);
    cr_assert_eq(names_held, 0);
}

static void *abort_racing(void *arg)
{
    scene sc;
    dead_end second;
    scene_open(&sc);
    hole_open(&second);
    sc.name.answers[0] = sc.hole.text;
    sc.name.answers[1] = second.text;
    sc.name.answers[2] = sc.text;
    connector c = {.text = "it:80"};
    unsigned before = open_fds();
    weft_task *task = start(connect_it, &c);
    cr_assert_eq(weft_sleep(STAGGER + 100 * WEFT_MS), 0);
    await_fds(before + 2);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(c.result, WEFT_ECANCELED);
    cr_assert_null(c.stream);
    await_fds(before);
    dead_end_close(&second);
    scene_close(&sc);
    return arg;
}

WF_TEST_WORKERS(connect, aborted_in_the_race_all_are_closed) { run_only_paused(workers, abort_racing, NULL); }

static void *accept_all(void *arg)
{
    weft_stream *s;
    while (weft_accept(&s, arg) == 0)
        drop(s);
    return NULL;
}

static void *abort_soon(void *arg)
{
    static scene sc;
    scene_open(&sc);
    sc.name.answers[0] = sc.refuser.text;
    sc.name.answers[1] = sc.text;
    weft_task *accepter = start(accept_all, sc.good);
    for (size_t i = 0; i < wf_test_scale(500); i++) {
        connector c = {.text = i % 2 ? "it:80" : sc.text};
        weft_task *task = start(connect_it, &c);
        for (size_t k = 0; k < i % 32; k++)
            weft_yield();
        weft_abort(task);
        int err = weft_join(task, NULL);
        cr_assert(err == 0 || err == WEFT_EABORTED);
        cr_assert_eq(!c.stream, c.result < 0 || err == WEFT_EABORTED, "%d, %d", c.result, err);
        if (c.stream)
            drop(c.stream);
    }
    weft_abort(accepter);
    cr_assert_eq(weft_join(accepter, NULL), WEFT_EABORTED);
    scene_close(&sc);
    return arg;
}

WF_TEST_WORKERS(connect, an_answer_and_an_abort_at_the_same_time_leave_nothing)
{
    run(workers, abort_soon, NULL);
    cr_assert_eq(names_held, 0);
}

static void *end_while_racing(void *arg)
{
    scene *sc = arg;
    static connector c;
    scene_open(sc);
    sc->name.answers[0] = sc->hole.text;
    c = (connector){.text = "it:80"};
    weft_task *task = start(connect_it, &c);
    await_idle(task);
    weft_detach(task);
    return NULL;
}

WF_TEST_WORKERS(connect, the_runtimes_end_ends_it)
{
    static scene sc;
    weft_options o = {.workers = workers};
    cr_assert_eq(weft_run_with(&o, nothing, NULL, NULL), 0);
    unsigned before = open_fds();
    cr_assert_eq(weft_run_with(&o, end_while_racing, &sc, NULL), 0); /* the listener goes with its runtime */
    dead_end_close(&sc.hole);
    dead_end_close(&sc.refuser);
    await_fds(before);
}

/* ---- want ------------------------------------------------------------------------------------------------------- */

enum { HOARD = 1024 };

typedef struct hoard {
    struct rlimit before;
    int fds[HOARD], n;
} hoard;

static void hoard_begin(hoard *h)
{
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &h->before), 0);
    struct rlimit less = {.rlim_cur = HOARD, .rlim_max = h->before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &less), 0);
    for (h->n = 0; h->n < HOARD && (h->fds[h->n] = dup(0)) >= 0;)
        h->n++;
}

static void hoard_end(hoard *h)
{
    while (h->n > 0)
        close(h->fds[--h->n]);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &h->before), 0);
}

static void *without_descriptors(void *arg)
{
    scene sc;
    static hoard h;
    scene_open(&sc);
    sc.name.answers[0] = "127.0.0.1:1";
    sc.name.answers[1] = sc.text;
    weft_stream *s = arg;
    hoard_begin(&h);
    int err = weft_tcp_connect(&s, "it:80", NULL);
    hoard_end(&h);
    cr_assert_eq(err, WEFT_EMFILE);
    cr_assert_null(s);
    cr_assert_str_eq(weft_error_detail(), "connect it:80: 127.0.0.1:1: too many open files"); /* and nobody else was tried */

    sc.name.answers[0] = sc.hole.text; /* this one has its descriptor, and keeps it */
    connector c = {.text = "it:80", .options.timeout = WEFT_SEC};
    int64_t begun = weft_now();
    weft_task *task = start(connect_it, &c);
    while (sc.name.asked < 2 || weft_task_state(task) != WEFT_TASK_IDLE || names_busy > 0 || names_held > 0)
        weft_yield();
    await_idle(task);
    hoard_begin(&h);
    err = weft_sleep(STAGGER + 10 * WEFT_MS);
    hoard_end(&h);
    cr_assert_eq(err, 0);
    join(task);
    cr_assert_eq(weft_now(), begun + WEFT_SEC);
    cr_assert_eq(c.result, WEFT_ETIMEDOUT);
    cr_assert_not_null(strstr(c.detail, "too many open files"), "%s", c.detail);
    scene_close(&sc);
    return NULL;
}

Test(connect, without_descriptors_nobody_else_sets_out) { run_only_paused(1, without_descriptors, NULL); }

static atomic_int out_of_memory, blocks;

static void *scarce_alloc(size_t size, void *arg)
{
    void *block = arg || out_of_memory ? NULL : malloc(size);
    blocks += block != NULL;
    return block;
}

static void scarce_free(void *block, void *arg)
{
    (void)arg;
    blocks--;
    free(block);
}

static void *without_memory(void *arg)
{
    dead_end refuser;
    weft_stream *s = arg;
    refuser_open(&refuser);
    unsigned before = open_fds();
    out_of_memory = 1;
    cr_assert_eq(weft_tcp_connect(&s, refuser.text, NULL), WEFT_ENOMEM);
    cr_assert_null(s);
    cr_assert_eq(weft_tcp_connect(&s, "it:80", NULL), WEFT_ENOMEM);
    out_of_memory = 0;
    await_fds(before);
    cr_assert_eq(weft_tcp_connect(&s, refuser.text, NULL), WEFT_ECONNREFUSED);
    dead_end_close(&refuser);
    return NULL;
}

Test(connect, without_memory_it_fails_and_nothing_is_left)
{
    weft_options options = {.workers = 1, .allocator = {.alloc = scarce_alloc, .free = scarce_free}};
    cr_assert_eq(weft_run_with(&options, without_memory, NULL, NULL), 0);
    cr_assert_eq(blocks, 0);
}

/* ---- many, and from elsewhere ------------------------------------------------------------------------------------- */

enum { CROWD = 64 };

static void *connect_often(void *arg)
{
    connector *c = arg;
    for (size_t i = 0; i < wf_test_scale(10); i++) {
        weft_stream *s;
        char byte;
        cr_assert_eq(weft_tcp_connect(&s, c->text, NULL), 0, "%s", weft_error_detail());
        cr_assert_eq(weft_write(s, "x", 1), 1);
        cr_assert_eq(weft_read(s, &byte, 1), 1);
        drop(s);
    }
    return NULL;
}

static void *echo_byte(weft_stream *s, void *arg)
{
    char byte;
    (void)arg;
    if (weft_read(s, &byte, 1) == 1)
        weft_write(s, &byte, 1);
    return NULL;
}

static void *serve_bytes(void *arg)
{
    cr_assert_eq(weft_serve(arg, echo_byte, NULL, NULL), WEFT_ECANCELED);
    return NULL;
}

static void *many(void *arg)
{
    scene sc;
    weft_task *tasks[CROWD];
    static connector c[CROWD];
    scene_open(&sc);
    sc.name.answers[0] = "[ff02::1]:1";
    sc.name.answers[1] = sc.refuser.text;
    sc.name.answers[2] = "[ff02::2]:1";
    sc.name.answers[3] = sc.text;
    weft_task *server = start(serve_bytes, sc.good);
    for (int i = 0; i < CROWD; i++) {
        c[i].text = i % 2 ? "it:80" : sc.text;
        tasks[i] = start(connect_often, &c[i]);
    }
    for (int i = 0; i < CROWD; i++)
        join(tasks[i]);
    weft_abort(server);
    cr_assert_eq(weft_join(server, NULL), WEFT_EABORTED);
    scene_close(&sc);
    return arg;
}

WF_TEST_WORKERS(connect, many_connect_at_once)
{
    run(workers, many, NULL);
    cr_assert_eq(names_held, 0);
}

static void *thread_connects(void *arg)
{
    scene *sc = arg;
    weft_scope scope;
    weft_stream *s;
    connector c = {.text = "it:80"};
    connect_it(&c);
    cr_assert_eq(c.result, 0, "%s", c.detail);
    expect_peer(c.stream, sc->text);
    drop(c.stream);
    cr_assert_eq(weft_scope_enter(&scope, 50 * WEFT_MS), 0);
    cr_assert_eq(weft_tcp_connect(&s, sc->hole.text, NULL), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    weft_tcp_options o = {.timeout = 20 * WEFT_MS};
    cr_assert_eq(weft_tcp_connect(&s, "it:80", &o), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_tcp_connect(&s, sc->refuser.text, NULL), WEFT_ECONNREFUSED);
    return NULL;
}

static void *job_connects(void *arg)
{
    static scene sc;
    weft_task *job;
    scene_open(&sc);
    sc.name.answers[0] = sc.hole.text;
    sc.name.answers[1] = sc.text;
    cr_assert_eq(weft_spawn_blocking(&job, thread_connects, &sc), 0);
    join(job);
    scene_close(&sc);
    return arg;
}

static void *enter_and_connect(void *arg)
{
    static scene sc;
    cr_assert_eq(weft_runtime_enter(arg), 0);
    scene_open(&sc);
    sc.name.answers[0] = sc.hole.text;
    sc.name.answers[1] = sc.text;
    thread_connects(&sc);
    scene_close(&sc);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

WF_TEST_WORKERS(connect, an_ordinary_thread_connects)
{
    weft_runtime *rt = runtime(workers);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, enter_and_connect, rt), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(names_held, 0);
}

WF_TEST_WORKERS(connect, a_blocking_job_connects)
{
    run(workers, job_connects, NULL);
    cr_assert_eq(names_held, 0);
}

/* ---- options ------------------------------------------------------------------------------------------------------ */

static void expect_local(weft_stream *s, const char *prefix)
{
    weft_addr addr;
    char buf[WEFT_ADDR_TEXT];
    cr_assert_eq(weft_stream_local(s, &addr), 0);
    weft_addr_format(&addr, buf, sizeof buf);
    cr_assert_eq(strncmp(buf, prefix, strlen(prefix)), 0, "it is %s", buf);
}

static void *bound(void *arg)
{
    static const char *const bad[] = {"", "127.0.0.1", "here:0", "unix:/tmp/x", "127.0.0.1:65536", "[::1]:0"};
    scene sc;
    scene_open(&sc);
    sc.name.answers[0] = "[ff02::1]:1";
    sc.name.answers[1] = sc.text;
    weft_tcp_options o = {.bind = "127.0.0.5:0"};
    weft_stream *s = arg;
    unsigned before = open_fds();
    cr_assert_eq(weft_tcp_connect(&s, sc.text, &o), 0);
    expect_local(s, "127.0.0.5:");
    drop(s);
    cr_assert_eq(weft_tcp_connect(&s, "it:80", &o), 0, "%s", weft_error_detail());
    expect_local(s, "127.0.0.5:");
    drop(s);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o.bind = bad[i];
        cr_assert_eq(weft_tcp_connect(&s, sc.text, &o), WEFT_EINVAL, "\"%s\"", bad[i]);
        cr_assert_null(s);
    }
    o.bind = "203.0.113.77:0"; /* nobody's */
    cr_assert_eq(weft_tcp_connect(&s, "it:80", &o), WEFT_EADDRNOTAVAIL);
    cr_assert_null(strstr(weft_error_detail(), "ff02"), "%s", weft_error_detail());
    sc.name.answers[1] = NULL;
    cr_assert_eq(weft_tcp_connect(&s, "it:80", &o), -3000 /* UV_EAI_ADDRFAMILY */);
    await_fds(before);
    scene_close(&sc);
    return NULL;
}

WF_TEST_WORKERS(connect, bound_to_an_address_only_its_family_is_tried) { run(workers, bound, NULL); }

/* A port of 127.0.0.77, which nobody else on this machine is likely to want. */
static void *own_port(void *arg)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f00004d)};
    socklen_t length = sizeof sa;
    char own[WEFT_ADDR_TEXT];
    scene sc;
    weft_stream *a, *b;
    weft_tcp_options o = {.bind = own};
    int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(probe, (struct sockaddr *)&sa, sizeof sa), 0);
    cr_assert_eq(getsockname(probe, (struct sockaddr *)&sa, &length), 0);
    close(probe);
    snprintf(own, sizeof own, "127.0.0.77:%u", (unsigned)ntohs(sa.sin_port));
    scene_open(&sc);
    char text[WEFT_ADDR_TEXT];
    weft_listener *other = listen_any(text);
    sc.name.answers[0] = sc.hole.text;
    sc.name.answers[1] = text;
    cr_assert_eq(weft_tcp_connect(&a, sc.text, &o), 0);
    cr_assert_eq(weft_tcp_connect(&b, "it:80", &o), 0, "%s", weft_error_detail());
    expect_local(a, own);
    expect_local(b, own);
    drop(a);
    drop(b);
    weft_listener_close(other);
    scene_close(&sc);
    return arg;
}

Test(connect, a_port_of_ones_own_serves_several_peers_and_attempts) { run_only_paused(1, own_port, NULL); }

static void *fast(void *arg)
{
    scene sc;
    weft_tcp_options o = {.fast_open = 1};
    scene_open(&sc);
    sc.name.answers[0] = sc.text;
    weft_task *server = start(serve_bytes, sc.good);
    for (int i = 0; i < 3; i++) {
        weft_stream *s;
        char byte = 0;
        cr_assert_eq(weft_tcp_connect(&s, i ? "it:80" : sc.text, &o), 0);
        cr_assert_eq(weft_write(s, "f", 1), 1);
        cr_assert_eq(weft_read(s, &byte, 1), 1);
        cr_assert_eq(byte, 'f');
        drop(s);
    }
    weft_abort(server);
    cr_assert_eq(weft_join(server, NULL), WEFT_EABORTED);
    scene_close(&sc);
    return arg;
}

WF_TEST_WORKERS(connect, with_fast_open_the_first_write_gets_there) { run(workers, fast, NULL); }

/* ---- texts -------------------------------------------------------------------------------------------------------- */

static void *texts(void *arg)
{
    scene sc;
    weft_stream *s;
    weft_listener *l;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT + 8];
    scene_open(&sc);
    sc.name.host = "127.0.0.1";
    sc.name.answers[0] = sc.text;
    snprintf(text, sizeof text, ":%s", strchr(sc.text, ':') + 1);
    cr_assert_eq(weft_tcp_connect(&s, text, NULL), 0);
    drop(s);
    cr_assert_eq(names_asked, 0);
    cr_assert_eq(weft_tcp_connect(&s, "127.0.0.1:http", NULL), 0);
    expect_peer(s, sc.text);
    drop(s);
    sc.name.host = "0.0.0.0";
    cr_assert_eq(weft_tcp_connect(&s, ":http", NULL), 0);
    drop(s);
    if (weft_tcp_listen(&l, "[::1]:0", NULL) == 0) {
        cr_assert_eq(weft_listener_addr(l, &addr), 0);
        weft_addr_format(&addr, text, sizeof text);
        cr_assert_eq(weft_tcp_connect(&s, text, NULL), 0);
        expect_peer(s, text);
        drop(s);
        weft_listener_close(l);
    }
    scene_close(&sc);
    return arg;
}

WF_TEST_WORKERS(connect, every_kind_of_text_gets_there) { run(workers, texts, NULL); }

static void *bad_texts(void *arg)
{
    static const char *const bad[] = {
        "",
        ":",
        "::",
        "it",
        "it:",
        "it: 80",
        "it:80 ",
        "it:-1",
        "it:65536",
        "it:8 0",
        "it:80:80",
        ":80:",
        "::1:80",
        "::1",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "[::1]:",
        "[::1]:x y",
        "[]:80",
        "[it]:80",
        "[1.2.3.4]:80",
        "[::1]]:80",
        "[[::1]]:80",
        "[::1%x]:80",
        "[::g]:80",
        "::1]:80",
        "127.1:80",
        "1:80",
        "1.2.3.4.5:80",
        "256.1.1.1:80",
        "1.2.3.4.:80",
        "it.1:80",
        "unix:/tmp/x",
        "unix:80",
        "unix:@x",
        "unix:",
        "it:99999999999999999999",
        "it:_x",
        "it:#",
    };
    static char host[300], port[100];
    weft_stream *s;
    unsigned before = open_fds();
    name it = {.host = "it", .answers = {"127.0.0.1:0"}};
    names_set(&it, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        s = (weft_stream *)(void *)&s;
        cr_assert_eq(weft_tcp_connect(&s, bad[i], NULL), WEFT_EINVAL, "\"%s\"", bad[i]);
        cr_assert_null(s);
        cr_assert_not_null(strstr(weft_error_detail(), bad[i]), "for \"%s\": \"%s\"", bad[i], weft_error_detail());
        cr_assert_not_null(strstr(weft_error_detail(), "is no address"));
    }
    memset(host, 'a', 256);
    strcpy(host + 256, ":80");
    cr_assert_eq(weft_tcp_connect(&s, host, NULL), WEFT_EINVAL);
    strcpy(port, "it:");
    memset(port + 3, 'a', 64);
    cr_assert_eq(weft_tcp_connect(&s, port, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_tcp_connect(&s, NULL, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_tcp_connect(NULL, "it:80", NULL), WEFT_EINVAL);
    cr_assert_eq(names_asked, 0);
    cr_assert_eq(weft_tcp_connect(&s, "it:no-such", NULL), WEFT_EINVAL); /* of this one, somebody has to be asked */
    cr_assert_str_eq(weft_error_detail(), "connect it:no-such: service not available for socket type");
    cr_assert_eq(weft_tcp_connect(&s, host + 1, NULL), WEFT_EAI_NONAME);
    cr_assert_eq(names_asked, 2);
    await_fds(before);
    return arg;
}

Test(connect, texts_without_sense_are_refused_and_nobody_is_asked) { run(1, bad_texts, NULL); }

/* ---- stackless ---------------------------------------------------------------------------------------------------- */

typedef struct future {
    weft_future base;
    weft_op op;
    weft_addr addr;
    weft_tcp_options options;
    weft_stream *stream;
    int result, awaited;
    atomic_int polls, dropped;
} future;

static weft_poll future_poll(weft_future *self, weft_context *cx, void **result)
{
    future *f = WEFT_CONTAINER_OF(self, future, base);
    (void)result;
    f->polls++;
    f->awaited = weft_tcp_connect(&f->stream, "127.0.0.1:1", NULL);
    f->stream = (weft_stream *)(void *)f;
    f->result = weft_poll_tcp_connect(cx, &f->op, &f->stream, &f->addr, &f->options);
    return f->result == WEFT_PENDING ? WEFT_PENDING : WEFT_READY;
}

static void future_drop(weft_future *self)
{
    future *f = WEFT_CONTAINER_OF(self, future, base);
    weft_op_drop(&f->op);
    f->dropped++;
}

static const weft_future_ops future_ops = {.poll = future_poll, .drop = future_drop};

static weft_task *start_future(future *f, const char *text)
{
    weft_task *task;
    *f = (future){.base.ops = &future_ops, .op = WEFT_OP_INIT, .options = f->options};
    cr_assert_eq(weft_addr_parse(&f->addr, text), 0);
    cr_assert_eq(weft_spawn_future(&task, &f->base), 0);
    return task;
}

static int polled(future *f, const char *text)
{
    join(start_future(f, text));
    cr_assert_eq(f->dropped, 1);
    cr_assert_eq(f->awaited, WEFT_EDEADLK);
    cr_assert(!f->stream == (f->result != 0));
    return f->result;
}

static void *stackless(void *arg)
{
    scene sc;
    future f = {.options.bind = NULL};
    scene_open(&sc);
    unsigned before = open_fds();
    cr_assert_eq(polled(&f, sc.text), 0);
    expect_peer(f.stream, sc.text);
    drop(f.stream);
    cr_assert_eq(polled(&f, sc.refuser.text), WEFT_ECONNREFUSED);
    cr_assert_eq(polled(&f, "224.0.0.1:1"), WEFT_ENETUNREACH);
    cr_assert_eq(polled(&f, "unix:/tmp/x"), WEFT_EINVAL);
    f.options.bind = "127.0.0.5:0";
    cr_assert_eq(polled(&f, sc.text), 0);
    expect_local(f.stream, "127.0.0.5:");
    drop(f.stream);
    f.options.bind = "[::1]:0";
    cr_assert_eq(polled(&f, sc.text), WEFT_EINVAL);
    f.options.bind = NULL;
    await_fds(before);

    weft_task *task = start_future(&f, sc.hole.text);
    while (f.polls == 0 || weft_task_state(task) != WEFT_TASK_IDLE)
        weft_yield();
    await_fds(before + 1);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(f.dropped, 1);
    await_fds(before); /* what was half open is closed */
    scene_close(&sc);
    return arg;
}

WF_TEST_WORKERS(connect, a_stackless_task_connects_and_its_drop_closes_what_is_half_open)
{
    run(workers, stackless, NULL);
}

/* Each attempt fails at once; the task lets the other one run all the same. */
typedef struct busy {
    weft_future base;
    atomic_int *stop;
    size_t failures;
} busy;

static weft_poll busy_poll(weft_future *self, weft_context *cx, void **result)
{
    busy *b = WEFT_CONTAINER_OF(self, busy, base);
    weft_op op = WEFT_OP_INIT;
    weft_addr addr;
    weft_stream *s;
    (void)result;
    weft_addr_parse(&addr, "224.0.0.1:1");
    while (!*b->stop) {
        int err = weft_poll_tcp_connect(cx, &op, &s, &addr, NULL);
        if (err == WEFT_PENDING)
            return err;
        cr_assert_eq(err, WEFT_ENETUNREACH);
        b->failures++;
    }
    return WEFT_READY;
}

static const weft_future_ops busy_ops = {.poll = busy_poll};

static void *share(void *arg)
{
    atomic_int stop = 0;
    busy b = {.base.ops = &busy_ops, .stop = &stop};
    weft_task *task;
    cr_assert_eq(weft_spawn_future(&task, &b.base), 0);
    for (int i = 0; i < 10; i++)
        weft_yield();
    stop = 1;
    join(task);
    cr_assert_gt(b.failures, 0);
    return arg;
}

Test(connect, a_poll_twin_that_never_waits_lets_others_run) { run(1, share, NULL); }

static void *poll_nonsense(void *arg)
{
    weft_op op = WEFT_OP_INIT;
    weft_addr addr;
    weft_stream *s = (weft_stream *)(void *)&s;
    cr_assert_eq(weft_addr_parse(&addr, "127.0.0.1:1"), 0);
    cr_assert_eq(weft_poll_tcp_connect(NULL, &op, &s, &addr, NULL), WEFT_EINVAL);
    cr_assert_null(s);
    cr_assert_eq(weft_poll_tcp_connect(NULL, &op, NULL, &addr, NULL), WEFT_EINVAL);
    weft_op_drop(&op);
    return arg;
}

Test(connect, a_poll_twin_without_sense_is_refused) { run(1, poll_nonsense, NULL); }
