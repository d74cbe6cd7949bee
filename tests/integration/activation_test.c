/* activation_test.c - listeners that a service manager has opened. Each scene is a process of its own, for such descriptors have fixed numbers:
 * 3 and 5 listen on TCP, 4 on a Unix socket, 6 is for datagrams. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <support/net_support.h>
#include <support/test.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

enum { WEB = 3, CONTROL, WEB_TOO, DATAGRAMS };

/* ---- the service manager ---------------------------------------------------------------------------------------- */

/* At @to, and inherited by whoever is started. What fails shows in what the scene finds. */
static void put(int fd, int to)
{
    int high = fcntl(fd, F_DUPFD, 100);
    close(fd);
    dup2(high, to);
    close(high);
}

static void open_tcp(int to)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(fd, 8) == 0)
        put(fd, to);
}

static void open_unix(int to)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX}; /* the kernel finds a name */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa_family_t)) == 0 && listen(fd, 8) == 0)
        put(fd, to);
}

static void set(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

typedef struct service {
    weft_fn scene;
    unsigned workers;
    const char *pid, *fds, *names; /* NULL: not set; @pid "": as it should be */
    bool forks;                    /* the scene is played by a child of it */
} service;

static int play(const service *s)
{
    weft_options o = {.workers = s->workers};
    return weft_run_with(&o, s->scene, NULL, NULL) == 0 ? 0 : 1;
}

static void be_service(const service *s)
{
    char own[32];
    int status;
    open_tcp(WEB);
    open_unix(CONTROL);
    open_tcp(WEB_TOO);
    put(socket(AF_INET, SOCK_DGRAM, 0), DATAGRAMS);
    snprintf(own, sizeof own, "%d", (int)getpid());
    set("LISTEN_PID", s->pid && !*s->pid ? own : s->pid);
    set("LISTEN_FDS", s->fds);
    set("LISTEN_FDNAMES", s->names);
    pid_t child = s->forks ? fork() : 0;
    if (child == 0)
        _exit(play(s));
    _exit(waitpid(child, &status, 0) == child && status == 0 ? 0 : 1);
}

/* An assertion that fails in a scene ends its process. */
static void run_service(service s)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        be_service(&s);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0, "the scene failed: %x", (unsigned)status);
}

/* ---- helpers of the scenes -------------------------------------------------------------------------------------- */

static weft_listener *take(const char *name, int index)
{
    weft_listener *l;
    cr_assert_eq(weft_listener_activated(&l, name, index), 0, "%s, %d", name ? name : "(index)", index);
    return l;
}

static void expect_none(const char *name, int index, int code)
{
    weft_listener *l = (weft_listener *)(void *)&l;
    int err = weft_listener_activated(&l, name, index);
    cr_assert_eq(err, code, "%s, %d: %s", name ? name : "(index)", index, weft_err_name(err));
    cr_assert_null(l);
}

static unsigned port_of(int fd)
{
    struct sockaddr_in sa;
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &(socklen_t){sizeof sa}), 0);
    return ntohs(sa.sin_port);
}

static void expect_to_be(weft_listener *l, int fd)
{
    weft_addr addr;
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    cr_assert_eq(weft_addr_port(&addr), port_of(fd));
    cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void talk(weft_listener *l)
{
    weft_stream *a, *b;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT], c;
    waiter w = {.listener = l};
    weft_task *accepter = start(wait_accept, &w);
    await_idle(accepter);
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    weft_addr_format(&addr, text, sizeof text);
    int err = strncmp(text, "unix:", 5) == 0 ? weft_unix_connect(&a, text) : weft_tcp_connect(&a, text, NULL);
    cr_assert_eq(err, 0);
    join(accepter);
    b = w.stream;
    cr_assert_eq(weft_write(a, "x", 1), 1);
    cr_assert_eq(weft_read(b, &c, 1), 1);
    weft_close(a);
    weft_close(b);
}

/* ---- the scenes ------------------------------------------------------------------------------------------------- */

#define NAMES "web:control:web:datagrams"

static void *by_index(void *arg)
{
    weft_listener *l[3];
    (void)arg;
    cr_assert_eq(fcntl(DATAGRAMS, F_GETFD) & FD_CLOEXEC, 0);
    for (int i = 2; i >= 0; i--)
        l[i] = take(NULL, i);
    for (int i = 0; i < 3; i++)
        talk(l[i]);
    expect_to_be(l[0], WEB);
    expect_to_be(l[2], WEB_TOO);
    for (int i = 0; i < 3; i++)
        expect_none(NULL, i, WEFT_EBUSY);
    for (int i = 0; i < 2; i++)
        expect_none(NULL, 3, WEFT_EINVAL); /* not for streams, and so never taken */
    expect_none(NULL, 4, WEFT_ENOENT);
    expect_none(NULL, -1, WEFT_ENOENT);
    cr_assert_eq(weft_listener_activated(NULL, NULL, 0), WEFT_EINVAL);
    cr_assert(fcntl(DATAGRAMS, F_GETFD) & FD_CLOEXEC); /* nobody inherits those either that nobody has asked for */
    for (int i = 0; i < 3; i++)
        weft_listener_close(l[i]);
    expect_none(NULL, 0, WEFT_EBUSY); /* had once is had once: its number may be another's by now */
    return NULL;
}

WF_TEST_WORKERS(activation, each_listener_is_had_once_by_its_number)
{
    run_service((service){.scene = by_index, .workers = workers, .pid = "", .fds = "4", .names = NAMES});
}

static void *by_name(void *arg)
{
    (void)arg;
    expect_none("none", 0, WEFT_ENOENT);
    expect_none("we", 0, WEFT_ENOENT);
    expect_none("webs", 0, WEFT_ENOENT);
    expect_none("", 0, WEFT_ENOENT);
    weft_listener *control = take("control", 0), *web = take("web", 0);
    expect_to_be(web, WEB);
    expect_none(NULL, 0, WEFT_EBUSY);
    expect_none("control", 0, WEFT_EBUSY);
    weft_listener *other = take("web", 0); /* several have that name */
    expect_to_be(other, WEB_TOO);
    expect_none("web", 0, WEFT_EBUSY);
    expect_none("datagrams", 0, WEFT_EINVAL);
    talk(control);
    talk(web);
    talk(other);
    weft_listener_close(control);
    weft_listener_close(web);
    weft_listener_close(other);
    return NULL;
}

WF_TEST_WORKERS(activation, each_listener_is_had_once_by_its_name)
{
    run_service((service){.scene = by_name, .workers = workers, .pid = "", .fds = "4", .names = NAMES});
}

static void *number_then_name(void *arg)
{
    (void)arg;
    weft_listener *first = take(NULL, 0), *second = take("web", 0);
    expect_to_be(second, WEB_TOO);
    weft_listener_close(first);
    weft_listener_close(second);
    return NULL;
}

Test(activation, a_name_passes_over_what_was_had_by_its_number)
{
    run_service((service){.scene = number_then_name, .workers = 1, .pid = "", .fds = "4", .names = NAMES});
}

static void *nameless(void *arg)
{
    (void)arg;
    expect_none("web", 0, WEFT_ENOENT);
    weft_listener_close(take(NULL, 0));
    return NULL;
}

Test(activation, without_names_the_numbers_still_count)
{
    run_service((service){.scene = nameless, .workers = 1, .pid = "", .fds = "4"});
}

static void *few_names(void *arg)
{
    (void)arg;
    weft_listener_close(take("web", 0));
    expect_none("web", 0, WEFT_EBUSY);
    expect_none("control", 0, WEFT_ENOENT);
    weft_listener_close(take(NULL, 1));
    return NULL;
}

Test(activation, names_may_be_fewer_than_listeners)
{
    run_service((service){.scene = few_names, .workers = 1, .pid = "", .fds = "3", .names = "web"});
}

static void *more_than_there_are(void *arg)
{
    (void)arg;
    expect_none(NULL, 90, WEFT_EBADF);
    expect_none(NULL, 100000, WEFT_ENOENT);
    weft_listener_close(take(NULL, 0));
    return NULL;
}

Test(activation, a_number_that_is_no_descriptor_is_told)
{
    run_service((service){.scene = more_than_there_are, .workers = 1, .pid = "", .fds = "100"});
}

static void *nothing(void *arg)
{
    (void)arg;
    expect_none(NULL, 0, WEFT_ENOENT);
    expect_none("web", 0, WEFT_ENOENT);
    cr_assert_eq(fcntl(WEB, F_GETFD) & FD_CLOEXEC, 0); /* whosever it is */
    return NULL;
}

Test(activation, what_is_for_another_process_is_not_ours)
{
    run_service((service){.scene = nothing, .workers = 1, .pid = "1", .fds = "4", .names = NAMES});
    run_service((service){.scene = nothing, .workers = 1, .fds = "4", .names = NAMES});
    run_service((service){.scene = nothing, .workers = 1, .pid = "", .fds = "4", .names = NAMES, .forks = true});
}

Test(activation, an_environment_that_makes_no_sense_has_no_listeners)
{
    static const char *const bad[] = {NULL, "", "0", "-1", "x", "4x", " 4", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        run_service((service){.scene = nothing, .workers = 1, .pid = "", .fds = bad[i], .names = NAMES});
    run_service((service){.scene = nothing, .workers = 1, .pid = "0x10", .fds = "4", .names = NAMES});
}

typedef struct takers {
    atomic_int had, busy;
} takers;

static void *taker(void *arg)
{
    takers *t = arg;
    weft_listener *l;
    for (int i = 0; i < 3; i++) {
        int err = weft_listener_activated(&l, i == 1 ? "control" : NULL, i);
        cr_assert(err == 0 || err == WEFT_EBUSY, "it is %s", weft_err_name(err));
        atomic_fetch_add(err == 0 ? &t->had : &t->busy, 1);
        weft_listener_close(l);
    }
    return NULL;
}

static void *all_at_once(void *arg)
{
    enum { TAKERS = 16 };
    weft_task *tasks[TAKERS];
    takers t = {0};
    (void)arg;
    for (int i = 0; i < TAKERS; i++)
        tasks[i] = start(taker, &t);
    for (int i = 0; i < TAKERS; i++)
        join(tasks[i]);
    cr_assert_eq(atomic_load(&t.had), 3);
    cr_assert_eq(atomic_load(&t.busy), 3 * TAKERS - 3);
    return NULL;
}

WF_TEST_WORKERS(activation, of_many_that_ask_at_once_one_has_each)
{
    run_service((service){.scene = all_at_once, .workers = workers, .pid = "", .fds = "4", .names = NAMES});
}

Test(activation, without_a_runtime_nothing_is_taken)
{
    weft_listener *l = (weft_listener *)(void *)&l;
    cr_assert_eq(weft_listener_activated(&l, NULL, 0), WEFT_ENORUNTIME);
    cr_assert_null(l);
}
