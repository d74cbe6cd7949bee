/* echo_test.c - ten thousand connections at once: each is echoed, and SIGTERM in the midst of them leaves nothing behind.
 *
 * The server is a process of its own, forked before the test has any thread, so that both sides have all their descriptors to
 * themselves. What it saw is in memory that both share. Server side: listen → serve → signal → drain → count what is left → exit. */
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/load_client.h>
#include <support/test.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

#define PATIENCE (100 * WEFT_SEC)
enum { WANTED = 10000, SPARE = 200 };

/* What the server tells; its exit code says what went wrong, if anything did. */
typedef struct report {
    atomic_uint port, began, ended, now, most;
    atomic_uint crowd;               /* the test's wish: nobody is echoed until so many are there */
    atomic_int served;               /* weft_serve()'s result */
    atomic_int slept, read, written; /* what these returned last that they should not have */
    atomic_int left_open, ran, signal;
} report;

enum { WELL = 0, NO_RUNTIME = 10, NO_LISTENER, NO_TASK, LEAKED };

/* LeakSanitizer's, when there is one: _exit() would not ask it. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* ---- the server ----------------------------------------------------------------------------------------------- */

typedef struct app {
    report *report;
    weft_listener *listener;
} app;

static int open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void left(void *arg)
{
    report *r = arg;
    atomic_fetch_add(&r->ended, 1);
    atomic_fetch_sub(&r->now, 1);
}

static void *echo(weft_stream *peer, void *arg)
{
    report *r = arg;
    char buf[2048];
    ssize_t n;
    atomic_fetch_add(&r->began, 1);
    unsigned now = atomic_fetch_add(&r->now, 1) + 1, most = atomic_load(&r->most);
    while (now > most && !atomic_compare_exchange_weak(&r->most, &most, now))
        ;
    weft_defer(left, r);
    while (atomic_load(&r->began) < atomic_load(&r->crowd)) {
        int err = weft_sleep(10 * WEFT_MS);
        if (err < 0) {
            atomic_store(&r->slept, err);
            return NULL;
        }
    }
    while ((n = weft_read(peer, buf, sizeof buf)) > 0) {
        ssize_t sent = weft_write(peer, buf, (size_t)n);
        if (sent != n) {
            atomic_store(&r->written, (int)sent);
            return NULL;
        }
    }
    if (n < 0)
        atomic_store(&r->read, (int)n);
    return NULL;
}

static void *serve(void *arg)
{
    app *a = arg;
    weft_serve_options o = WEFT_SERVE_OPTIONS_INIT;
    o.max_connections = 20000;
    o.drain_timeout = 200 * WEFT_MS;
    atomic_store(&a->report->served, weft_serve(a->listener, echo, a->report, &o));
    return NULL;
}

static void *run_app(void *arg)
{
    app *a = arg;
    weft_task *server;
    weft_addr addr;
    if (weft_tcp_listen(&a->listener, "127.0.0.1:0", NULL) < 0 || weft_listener_addr(a->listener, &addr) < 0)
        return (void *)(intptr_t)NO_LISTENER;
    if (weft_spawn(&server, serve, a) < 0)
        return (void *)(intptr_t)NO_TASK;
    atomic_store(&a->report->port, weft_addr_port(&addr));
    atomic_store(&a->report->signal, weft_shutdown_signal());
    weft_task_close(server);
    weft_listener_close(a->listener);
    return NULL;
}

static void *nothing(void *arg) { return arg; }

static int be_server(report *r)
{
    app a = {.report = r};
    void *failed = NULL;
    if (weft_run(nothing, NULL, NULL) < 0) /* the first runtime of a process makes what stays */
        return NO_RUNTIME;
    int before = open_fds();
    atomic_store(&r->ran, weft_run(run_app, &a, &failed));
    atomic_store(&r->left_open, open_fds() - before);
    if (failed)
        return (int)(intptr_t)failed;
    return __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check() ? LEAKED : WELL;
}

/* ---- the test's side ------------------------------------------------------------------------------------------ */

/* As many connections as there can be: the soft limit is raised to the hard one, for the server as well. */
static unsigned connections(void)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    unsigned n = (unsigned)wf_test_scale(WANTED);
    return limit.rlim_cur > n + SPARE ? n : (unsigned)limit.rlim_cur - SPARE;
}

static void await_at_least(atomic_uint *counter, unsigned n, pid_t server)
{
    int64_t deadline = weft_now() + PATIENCE;
    while (atomic_load(counter) < n) {
        struct timespec pause = {.tv_nsec = 1000000};
        cr_assert_eq(waitpid(server, NULL, WNOHANG), 0, "the server died");
        cr_assert_lt(weft_now(), deadline, "%u of %u", atomic_load(counter), n);
        nanosleep(&pause, NULL);
    }
}

static pid_t start_server(report **out, unsigned crowd)
{
    report *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(r != MAP_FAILED);
    atomic_store(&r->crowd, crowd);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that failed leaves nobody behind */
        _exit(be_server(r));
    }
    await_at_least(&r->port, 1, pid);
    *out = r;
    return pid;
}

/* Ask it to stop, as an init system would. Everything that it had must be gone, and the port refuses. */
static void terminate(pid_t pid, report *r)
{
    int status = 0;
    pid_t gone = 0;
    cr_assert_eq(kill(pid, SIGTERM), 0);
    for (int64_t deadline = weft_now() + PATIENCE; gone == 0 && weft_now() < deadline;) {
        struct timespec pause = {.tv_nsec = 1000000};
        gone = waitpid(pid, &status, WNOHANG);
        nanosleep(&pause, NULL);
    }
    if (gone == 0)
        kill(pid, SIGKILL);
    cr_assert_eq(gone, pid, "it would not stop; %u handlers are left", atomic_load(&r->now));
    cr_assert(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
    cr_assert_eq(WEXITSTATUS(status), WELL);
    cr_assert_eq(atomic_load(&r->signal), SIGTERM);
    cr_assert_eq(atomic_load(&r->ran), 0);
    cr_assert_eq(atomic_load(&r->served), WEFT_ECANCELED);
    cr_assert_eq(atomic_load(&r->left_open), 0);
    cr_assert_eq(atomic_load(&r->now), 0);
    cr_assert_eq(atomic_load(&r->began), atomic_load(&r->ended));

    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)r->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&sa, sizeof sa), -1);
    close(fd);
}

Test(stress_echo, ten_thousand_connections_at_once_are_each_echoed)
{
    report *r;
    unsigned n = connections();
    pid_t pid = start_server(&r, n);
    struct load_client_plan plan = {
        .port = (uint16_t)r->port, .connections = n, .messages = 3, .size = 1000, .timeout_ms = (int)(PATIENCE / WEFT_MS)};
    struct load_client_result result = load_client_run(&plan);
    cr_assert_eq(result.ok, n, "%u of %u failed: %s (server: %u ended; sleep %d, read %d, write %d, serve %d)",
                 result.failed, n, result.problem, r->ended, r->slept, r->read, r->written, r->served);
    await_at_least(&r->ended, n, pid);
    cr_assert_eq(atomic_load(&r->began), n);
    cr_assert_eq(atomic_load(&r->most), n);
    terminate(pid, r);
    munmap(r, sizeof *r);
}

typedef struct loading {
    struct load_client_plan plan;
    struct load_client_result result;
} loading;

static void *load(void *arg)
{
    loading *l = arg;
    l->result = load_client_run(&l->plan);
    return NULL;
}

Test(stress_echo, a_signal_in_the_midst_of_ten_thousand_connections_leaves_nothing)
{
    report *r;
    pthread_t thread;
    unsigned n = connections();
    pid_t pid = start_server(&r, 0);
    loading l = {.plan = {.port = (uint16_t)r->port,
                          .connections = n,
                          .messages = 1000000, /* they would go on for hours */
                          .size = 100,
                          .timeout_ms = 2 * (int)(PATIENCE / WEFT_MS)}};
    cr_assert_eq(pthread_create(&thread, NULL, load, &l), 0);
    await_at_least(&r->now, n / 2 + 1, pid);
    terminate(pid, r);
    pthread_join(thread, NULL);
    cr_assert_eq(l.result.ok, 0);
    cr_assert_eq(l.result.failed, n);
    munmap(r, sizeof *r);
}
