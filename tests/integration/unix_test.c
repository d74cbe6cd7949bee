/* unix_test.c - Unix sockets as a user sees them: paths that come and go, names without a path, full backlogs, who is at the other end. */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <support/net_support.h>
#include <support/process.h>
#include <support/test.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

/* ---- helpers -------------------------------------------------------------------------------------------------- */

/* A folder, and a path in it where nothing is. */
typedef struct place {
    char folder[32], path[64], text[WEFT_ADDR_TEXT];
} place;

static place place_make(void)
{
    place p = {.folder = "/tmp/weft-unix-XXXXXX"};
    cr_assert_not_null(mkdtemp(p.folder));
    snprintf(p.path, sizeof p.path, "%s/socket", p.folder);
    snprintf(p.text, sizeof p.text, "unix:%s", p.path);
    return p;
}

/* Nothing is left in it. */
static void place_drop(const place *p) { cr_assert_eq(rmdir(p->folder), 0, "something is left in %s", p->folder); }

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    cr_assert_eq(lstat(path, &st), 0);
    cr_assert(S_ISSOCK(st.st_mode));
    return st.st_mode & 07777;
}

static struct sockaddr_un name_of(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, path, strlen(path));
    return sa;
}

static int bound(const char *path, int type)
{
    struct sockaddr_un sa = name_of(path);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

/* What a server leaves that was killed. */
static void leave_stale(const char *path)
{
    int fd = bound(path, SOCK_STREAM);
    cr_assert_eq(listen(fd, 1), 0);
    close(fd);
}

static weft_listener *listen_on(const char *path, const weft_unix_options *o)
{
    weft_listener *l;
    int err = weft_unix_listen(&l, path, o);
    cr_assert_eq(err, 0, "listening on %s: %s", path, weft_error_detail());
    return l;
}

/* A byte goes from one who connects to @path to one whom @l accepts. */
static void talk(weft_listener *l, const char *path)
{
    weft_stream *a, *b;
    char c;
    int err = weft_unix_connect(&a, path);
    cr_assert_eq(err, 0, "%s", weft_error_detail());
    cr_assert_eq(weft_write(a, "x", 1), 1);
    cr_assert_eq(weft_accept(&b, l), 0);
    cr_assert_eq(weft_read(b, &c, 1), 1);
    cr_assert_eq(weft_write(b, "y", 1), 1);
    cr_assert_eq(weft_read(a, &c, 1), 1);
    cr_assert_eq(c, 'y');
    weft_close(b);
    cr_assert_eq(weft_read(a, &c, 1), 0);
    weft_close(a);
}

static void expect_name(weft_listener *l, const char *text)
{
    char buf[WEFT_ADDR_TEXT];
    weft_addr addr;
    cr_assert_eq(weft_listener_addr(l, &addr), 0);
    cr_assert_str_eq(weft_addr_format(&addr, buf, sizeof buf), text);
}

/* ---- listening ------------------------------------------------------------------------------------------------ */

static void *path_comes_and_goes(void *arg)
{
    place p = place_make();
    (void)arg;
    for (int i = 0; i < 10; i++) {
        weft_listener *l = listen_on(i % 2 ? p.path : p.text, NULL);
        expect_name(l, p.text);
        for (int k = 0; k < 3; k++)
            talk(l, i % 3 ? p.path : p.text);
        cr_assert(is_there(p.path));
        weft_listener_close(l);
        cr_assert(!is_there(p.path));
    }
    place_drop(&p);
    return NULL;
}

WF_TEST_WORKERS(unix_sockets, a_path_is_there_from_listen_to_close) { run(workers, path_comes_and_goes, NULL); }

static void *names_of_both(void *arg)
{
    place p = place_make();
    weft_listener *l = listen_on(p.path, NULL);
    weft_stream *a, *b;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    (void)arg;
    cr_assert_eq(weft_unix_connect(&a, p.path), 0);
    cr_assert_eq(weft_accept(&b, l), 0);
    cr_assert_eq(weft_stream_peer(a, &addr), 0);
    cr_assert_str_eq(weft_addr_format(&addr, text, sizeof text), p.text);
    cr_assert_eq(weft_stream_local(b, &addr), 0);
    cr_assert_str_eq(weft_addr_format(&addr, text, sizeof text), p.text);
    cr_assert_eq(weft_stream_peer(b, &addr), 0); /* who connects has no name */
    cr_assert_str_eq(weft_addr_format(&addr, text, sizeof text), "unix:");
    cr_assert_eq(weft_addr_port(&addr), 0);
    weft_close(a);
    weft_close(b);
    weft_listener_close(l);
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, both_ends_know_the_path) { run(1, names_of_both, NULL); }

static void *abstract(void *arg)
{
    char name[64], text[WEFT_ADDR_TEXT];
    weft_listener *second = arg;
    snprintf(name, sizeof name, "@weft-unix-test-%d", (int)getpid());
    snprintf(text, sizeof text, "unix:%s", name);
    for (int i = 0; i < 3; i++) {
        weft_listener *l = listen_on(i % 2 ? name : text, &(weft_unix_options){.mode = 0600, .keep = (unsigned)i % 2});
        expect_name(l, text);
        talk(l, name);
        talk(l, text);
        cr_assert_eq(weft_unix_listen(&second, name, NULL), WEFT_EADDRINUSE);
        cr_assert_null(second);
        weft_listener_close(l); /* leaves nothing that could be stale */
        cr_assert_eq(weft_unix_connect((weft_stream **)&second, name), WEFT_ECONNREFUSED);
    }
    return NULL;
}

WF_TEST_WORKERS(unix_sockets, an_abstract_name_lives_as_long_as_its_listener) { run(workers, abstract, NULL); }

static void *relative(void *arg)
{
    place p = place_make();
    char before[1024];
    (void)arg;
    cr_assert_not_null(getcwd(before, sizeof before));
    cr_assert_eq(chdir(p.folder), 0);
    weft_listener *l = listen_on("socket", NULL);
    expect_name(l, "unix:socket");
    talk(l, "./socket");
    cr_assert_eq(chdir(before), 0); /* where it is does not depend on where we are */
    weft_listener_close(l);
    cr_assert(!is_there(p.path));
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, a_relative_path_is_removed_from_where_it_was_made) { run(1, relative, NULL); }

static void *keep(void *arg)
{
    place p = place_make();
    weft_stream *s = arg;
    weft_listener *l = listen_on(p.path, &(weft_unix_options){.keep = 1});
    talk(l, p.path);
    weft_listener_close(l);
    cr_assert(is_there(p.path));
    cr_assert_eq(weft_unix_connect(&s, p.path), WEFT_ECONNREFUSED);
    l = listen_on(p.path, NULL); /* and is stale then */
    talk(l, p.path);
    weft_listener_close(l);
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, a_path_that_is_kept_stays_and_is_replaced_by_the_next) { run(1, keep, NULL); }

static void *modes(void *arg)
{
    static const unsigned wanted[] = {0600, 0660, 0666, 0777, 0400, 0711};
    static const mode_t masks[] = {0, 022, 077, 0777};
    place p = place_make();
    mode_t before = umask(0);
    (void)arg;
    for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
        umask(masks[m]);
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            weft_listener *l = listen_on(p.path, &(weft_unix_options){.mode = wanted[i]});
            cr_assert_eq(mode_of(p.path), wanted[i]);
            weft_listener_close(l);
        }
        weft_listener *l = listen_on(p.path, NULL);
        cr_assert_eq(mode_of(p.path), 0777 & ~masks[m]);
        weft_listener_close(l);
        cr_assert_eq(umask(masks[m]), masks[m]); /* it is the process's, and nobody changed it */
    }
    umask(before);
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, a_path_has_the_mode_asked_for_whatever_the_umask) { run(1, modes, NULL); }

static atomic_bool watching;
static atomic_uint wider;

/* Sees the path, again and again, while others make it. */
static void *watch_mode(void *arg)
{
    struct stat st;
    while (atomic_load(&watching))
        if (lstat(arg, &st) == 0 && (st.st_mode & 0777 & ~0600))
            atomic_fetch_add(&wider, 1);
    return NULL;
}

static void *modes_watched(void *arg)
{
    place p = place_make();
    mode_t before = umask(0);
    pthread_t watcher;
    (void)arg;
    atomic_store(&watching, true);
    cr_assert_eq(pthread_create(&watcher, NULL, watch_mode, p.path), 0);
    for (size_t i = 0; i < wf_test_scale(3000); i++)
        weft_listener_close(listen_on(p.path, &(weft_unix_options){.mode = 0600}));
    atomic_store(&watching, false);
    pthread_join(watcher, NULL);
    umask(before);
    cr_assert_eq(atomic_load(&wider), 0);
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, a_path_is_at_no_moment_wider_than_its_mode) { run(1, modes_watched, NULL); }

/* ---- what is there already -------------------------------------------------------------------------------------- */

static void *stale(void *arg)
{
    place p = place_make();
    (void)arg;
    leave_stale(p.path);
    weft_listener *l = listen_on(p.path, &(weft_unix_options){.mode = 0640});
    cr_assert_eq(mode_of(p.path), 0640);
    talk(l, p.path);
    weft_listener_close(l);
    cr_assert(!is_there(p.path));
    place_drop(&p);
    return NULL;
}

WF_TEST_WORKERS(unix_sockets, a_socket_that_a_dead_server_left_is_replaced) { run(workers, stale, NULL); }

static void refused(const place *p, const char *what)
{
    struct stat before, after;
    weft_listener *l = (weft_listener *)(void *)&l;
    cr_assert_eq(lstat(p->path, &before), 0);
    int fds = open_fds();
    cr_assert_eq(weft_unix_listen(&l, p->path, &(weft_unix_options){.mode = 0600}), WEFT_EADDRINUSE, "%s", what);
    cr_assert_null(l);
    cr_assert_not_null(strstr(weft_error_detail(), p->path), "it says \"%s\"", weft_error_detail());
    cr_assert_eq(open_fds(), fds);
    cr_assert_eq(lstat(p->path, &after), 0, "%s", what);
    cr_assert_eq(after.st_ino, before.st_ino, "%s", what);
    cr_assert_eq(after.st_mode, before.st_mode, "%s", what);
}

static void *taken(void *arg)
{
    place p = place_make();
    char other[80];
    (void)arg;
    weft_listener *l = listen_on(p.path, NULL);
    waiter w = {.listener = l};
    weft_task *accepter = start(wait_accept, &w);
    await_idle(accepter);
    refused(&p, "one that listens");
    cr_assert_eq(weft_task_state(accepter), WEFT_TASK_IDLE); /* it was not even bothered */
    weft_stream *s;
    cr_assert_eq(weft_unix_connect(&s, p.path), 0);
    join(accepter);
    weft_close(w.stream);
    weft_close(s);
    weft_listener_close(l);

    int fd = bound(p.path, SOCK_STREAM);
    refused(&p, "one that is about to listen");
    close(fd);
    unlink(p.path);
    fd = bound(p.path, SOCK_DGRAM);
    refused(&p, "one for datagrams");
    close(fd);
    unlink(p.path);
    fd = open(p.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    refused(&p, "a file");
    close(fd);
    unlink(p.path);
    cr_assert_eq(mkdir(p.path, 0700), 0);
    refused(&p, "a folder");
    rmdir(p.path);
    snprintf(other, sizeof other, "%s-2", p.path);
    leave_stale(other);
    cr_assert_eq(symlink(other, p.path), 0);
    refused(&p, "a link to a stale one");
    unlink(p.path);
    unlink(other);
    place_drop(&p);
    return NULL;
}

WF_TEST_WORKERS(unix_sockets, anything_but_a_stale_socket_is_left_alone) { run(workers, taken, NULL); }

typedef struct rivals {
    const char *path;
    atomic_int won, lost;
    weft_listener *winner;
} rivals;

static void *rival(void *arg)
{
    rivals *r = arg;
    weft_listener *l;
    int err = weft_unix_listen(&l, r->path, NULL);
    cr_assert(err == 0 || err == WEFT_EADDRINUSE, "%s", weft_error_detail());
    atomic_fetch_add(err == 0 ? &r->won : &r->lost, 1);
    if (l)
        r->winner = l;
    return NULL;
}

static void *race(void *arg)
{
    enum { RIVALS = 8 };
    place p = place_make();
    weft_task *tasks[RIVALS];
    (void)arg;
    for (size_t round = 0; round < wf_test_scale(300); round++) {
        rivals r = {.path = p.path};
        if (round % 4)
            leave_stale(p.path);
        for (int i = 0; i < RIVALS; i++)
            tasks[i] = start(rival, &r);
        for (int i = 0; i < RIVALS; i++)
            join(tasks[i]);
        cr_assert_eq(atomic_load(&r.won), 1, "%d have won", atomic_load(&r.won));
        talk(r.winner, p.path);
        weft_listener_close(r.winner);
        cr_assert(!is_there(p.path));
    }
    place_drop(&p);
    return NULL;
}

WF_TEST_WORKERS(unix_sockets, of_several_that_replace_a_stale_one_at_once_one_wins) { run(workers, race, NULL); }

static void *replaced(void *arg)
{
    place p = place_make();
    (void)arg;
    weft_listener *l = listen_on(p.path, NULL), *other;
    cr_assert_eq(unlink(p.path), 0); /* somebody else's now */
    other = listen_on(p.path, NULL);
    weft_listener_close(l);
    talk(other, p.path);
    cr_assert_eq(unlink(p.path), 0);
    close(open(p.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    weft_listener_close(other);
    cr_assert_eq(unlink(p.path), 0);

    l = listen_on(p.path, NULL); /* or nobody's */
    cr_assert_eq(unlink(p.path), 0);
    weft_listener_close(l);
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, a_path_that_has_become_another_is_not_removed) { run(1, replaced, NULL); }

static void *left_open(void *path) { return listen_on(path, NULL); }

Test(unix_sockets, a_listener_left_to_the_end_of_its_runtime_leaves_no_path)
{
    place p = place_make();
    weft_options o = {.workers = 2};
    cr_assert_eq(weft_run_with(&o, left_open, p.path, NULL), 0);
    cr_assert(!is_there(p.path));
    place_drop(&p);
}

static void *forked(void *arg)
{
    place p = place_make();
    weft_listener *l = listen_on(p.path, NULL);
    int status;
    (void)arg;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        weft_listener_close(l);
        _exit(is_there(p.path) ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
    talk(l, p.path); /* the parent's is as before */
    weft_listener_close(l);
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, a_forked_child_does_not_remove_its_parents_path) { run(1, forked, NULL); }

static void *bad_paths(void *arg)
{
    place p = place_make();
    char longest[150], too_long[200], missing[100];
    weft_listener *l = arg;
    weft_stream *s = arg;
    int before = open_fds();
    size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
    memset(longest, 0, sizeof longest);
    memset(longest, 'x', most);
    memcpy(longest, p.folder, strlen(p.folder));
    longest[strlen(p.folder)] = '/';
    snprintf(too_long, sizeof too_long, "%sx", longest);
    const char *const bad[] = {NULL, "", "unix:", "@", "unix:@", too_long};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        l = (weft_listener *)(void *)&l;
        s = (weft_stream *)(void *)&s;
        cr_assert_eq(weft_unix_listen(&l, bad[i], NULL), WEFT_EINVAL, "path %zu", i);
        cr_assert_null(l);
        cr_assert_not_null(strstr(weft_error_detail(), "listen"));
        cr_assert_eq(weft_unix_connect(&s, bad[i]), WEFT_EINVAL, "path %zu", i);
        cr_assert_null(s);
        cr_assert_not_null(strstr(weft_error_detail(), "connect"));
    }
    l = listen_on(longest, NULL);
    talk(l, longest);
    weft_listener_close(l);
    cr_assert_eq(weft_unix_listen(&l, p.path, &(weft_unix_options){.mode = 01777}), WEFT_EINVAL);
    cr_assert_eq(weft_unix_listen(&l, p.path, &(weft_unix_options){.backlog = -1}), WEFT_EINVAL);
    cr_assert_eq(weft_unix_listen(NULL, p.path, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_unix_connect(NULL, p.path), WEFT_EINVAL);
    snprintf(missing, sizeof missing, "%s/none/socket", p.folder);
    cr_assert_eq(weft_unix_listen(&l, missing, NULL), WEFT_ENOENT);
    cr_assert_null(l);
    cr_assert_eq(open_fds(), before);
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, paths_and_options_without_sense_are_refused) { run(1, bad_paths, NULL); }

Test(unix_sockets, without_a_runtime_nothing_is_opened)
{
    place p = place_make();
    weft_listener *l;
    weft_stream *s;
    cr_assert_eq(weft_unix_listen(&l, p.path, NULL), WEFT_ENORUNTIME);
    cr_assert_null(l);
    cr_assert_eq(weft_unix_connect(&s, p.path), WEFT_ENORUNTIME);
    cr_assert_null(s);
    place_drop(&p);
}

/* ---- connecting ----------------------------------------------------------------------------------------------- */

static void *nobody_there(void *arg)
{
    place p = place_make();
    weft_stream *s = arg;
    char under[80];
    int before = open_fds();
    cr_assert_eq(weft_unix_connect(&s, p.path), WEFT_ENOENT);
    cr_assert_null(s);
    cr_assert_not_null(strstr(weft_error_detail(), p.path), "it says \"%s\"", weft_error_detail());
    leave_stale(p.path);
    cr_assert_eq(weft_unix_connect(&s, p.path), WEFT_ECONNREFUSED);
    cr_assert_null(s);
    cr_assert_not_null(strstr(weft_error_detail(), p.path), "it says \"%s\"", weft_error_detail());
    snprintf(under, sizeof under, "%s/deeper", p.path);
    cr_assert_eq(weft_unix_connect(&s, under), -ENOTDIR);
    if (geteuid() != 0) {
        cr_assert_eq(chmod(p.path, 0), 0);
        cr_assert_eq(weft_unix_connect(&s, p.path), WEFT_EACCES);
    }
    cr_assert_eq(unlink(p.path), 0);
    cr_assert_eq(open_fds(), before);
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, a_connect_to_nobody_says_why_and_leaves_nothing) { run(1, nobody_there, NULL); }

/* A listener whose queue is full, and those in it. */
typedef struct full {
    place place;
    weft_listener *listener;
    int fds[16], n;
} full;

static void full_make(full *f)
{
    f->place = place_make();
    struct sockaddr_un sa = name_of(f->place.path);
    f->listener = listen_on(f->place.path, &(weft_unix_options){.backlog = 1});
    for (f->n = 0; f->n < 16; f->n++) {
        f->fds[f->n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(f->fds[f->n], (struct sockaddr *)&sa, sizeof sa) < 0)
            break;
    }
    cr_assert_lt(f->n, 16);
    close(f->fds[f->n]);
}

static void full_drop(full *f)
{
    weft_listener_close(f->listener);
    for (int i = 0; i < f->n; i++)
        close(f->fds[i]);
    place_drop(&f->place);
}

typedef struct connecting {
    const char *path;
    weft_runtime *rt;
    weft_stream *stream;
    int result;
    atomic_int began;
} connecting;

static void *connect_it(void *arg)
{
    connecting *c = arg;
    atomic_store(&c->began, 1);
    c->result = weft_unix_connect(&c->stream, c->path);
    return NULL;
}

static void accept_and_drop(weft_listener *l, int n)
{
    weft_stream *s;
    for (int i = 0; i < n; i++) {
        cr_assert_eq(weft_accept(&s, l), 0);
        weft_close(s);
    }
}

static void *full_backlog(void *arg)
{
    enum { WAITING = 6 };
    connecting c[WAITING] = {{NULL}};
    weft_task *tasks[WAITING];
    full f;
    char byte;
    (void)arg;
    full_make(&f);
    for (int i = 0; i < WAITING; i++) {
        c[i].path = f.place.path;
        tasks[i] = start(connect_it, &c[i]);
    }
    for (int i = 0; i < WAITING; i++)
        await_idle(tasks[i]);
    accept_and_drop(f.listener, f.n + WAITING);
    for (int i = 0; i < WAITING; i++) {
        join(tasks[i]);
        cr_assert_eq(c[i].result, 0);
        cr_assert_eq(weft_read(c[i].stream, &byte, 1), 0);
        weft_close(c[i].stream);
    }
    full_drop(&f);
    return NULL;
}

WF_TEST_WORKERS(unix_sockets, a_full_backlog_is_waited_for) { run(workers, full_backlog, NULL); }

static void *full_and_interrupted(void *arg)
{
    weft_scope scope;
    full f;
    (void)arg;
    full_make(&f);
    int before = open_fds();
    connecting c = {.path = f.place.path};
    weft_task *task = start(connect_it, &c);
    await_idle(task);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(c.result, WEFT_ECANCELED);
    cr_assert_null(c.stream);
    cr_assert_eq(open_fds(), before);

    weft_scope_enter(&scope, 20 * WEFT_MS);
    connect_it(&c);
    weft_scope_leave(&scope);
    cr_assert_eq(c.result, WEFT_ETIMEDOUT);
    cr_assert_null(c.stream);
    cr_assert_eq(open_fds(), before);

    task = start(connect_it, &c); /* the listener goes while it waits */
    await_idle(task);
    weft_listener_close(f.listener);
    join(task);
    cr_assert(c.result == WEFT_ECONNREFUSED || c.result == WEFT_ENOENT, "it is %s", weft_err_name(c.result));
    cr_assert_null(c.stream);
    f.listener = NULL;
    full_drop(&f);
    return NULL;
}

WF_TEST_WORKERS(unix_sockets, waiting_for_a_backlog_is_interrupted_and_leaves_nothing)
{
    run(workers, full_and_interrupted, NULL);
}

static void *connect_in_thread(void *arg)
{
    connecting *c = arg;
    cr_assert_eq(weft_runtime_enter(c->rt), 0);
    connect_it(c);
    weft_close(c->stream);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

static void *full_for_a_thread(void *arg)
{
    pthread_t thread;
    full f;
    full_make(&f);
    connecting c = {.path = f.place.path, .rt = arg};
    cr_assert_eq(pthread_create(&thread, NULL, connect_in_thread, &c), 0);
    while (!atomic_load(&c.began))
        weft_yield();
    accept_and_drop(f.listener, f.n + 1);
    pthread_join(thread, NULL);
    cr_assert_eq(c.result, 0);
    full_drop(&f);
    return NULL;
}

Test(unix_sockets, an_ordinary_thread_waits_for_a_full_backlog)
{
    weft_runtime *rt = runtime(2);
    weft_task *task;
    cr_assert_eq(weft_spawn_on(rt, &task, full_for_a_thread, rt), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

typedef struct connect_future {
    weft_future future;
    const char *path;
    int result;
} connect_future;

static weft_poll connect_poll(weft_future *self, weft_context *cx, void **result)
{
    connect_future *f = WEFT_CONTAINER_OF(self, connect_future, future);
    weft_stream *s;
    (void)cx;
    *result = NULL;
    f->result = weft_unix_connect(&s, f->path);
    return WEFT_READY;
}

static const weft_future_ops connect_ops = {.poll = connect_poll};

static void *stackless(void *arg)
{
    place p = place_make();
    weft_listener *l = listen_on(p.path, NULL);
    connect_future f = {.future = {&connect_ops}, .path = p.path};
    weft_task *task;
    (void)arg;
    cr_assert_eq(weft_spawn_future(&task, &f.future), 0);
    join(task);
    cr_assert_eq(f.result, WEFT_EDEADLK);
    weft_listener_close(l);
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, a_stackless_poll_may_not_connect) { run(1, stackless, NULL); }

/* ---- serving, and whom ------------------------------------------------------------------------------------------ */

static void *echo_all(weft_stream *s, void *arg)
{
    char buf[100];
    ssize_t n;
    (void)arg;
    while ((n = weft_read(s, buf, sizeof buf)) > 0)
        cr_assert_eq(weft_write(s, buf, (size_t)n), n);
    return NULL;
}

static void *serve(void *l)
{
    cr_assert_eq(weft_serve(l, echo_all, NULL, NULL), WEFT_ECLOSED);
    return NULL;
}

static void *served(void *arg)
{
    enum { MANY = 50 };
    place p = place_make();
    weft_listener *l = listen_on(p.path, NULL);
    weft_task *server = start(serve, l);
    weft_stream *s[MANY];
    char c;
    (void)arg;
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(weft_unix_connect(&s[i], p.path), 0);
        cr_assert_eq(weft_write(s[i], "x", 1), 1);
    }
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(weft_read(s[i], &c, 1), 1);
        cr_assert_eq(weft_close_write(s[i]), 0);
        cr_assert_eq(weft_read(s[i], &c, 1), 0);
        weft_close(s[i]);
    }
    weft_listener_close(l);
    cr_assert(!is_there(p.path)); /* at once, also while somebody accepts */
    join(server);
    place_drop(&p);
    return NULL;
}

WF_TEST_WORKERS(unix_sockets, a_path_is_served) { run(workers, served, NULL); }

static void expect_us(weft_stream *s)
{
    weft_credentials who;
    cr_assert_eq(weft_stream_peer_credentials(s, &who), 0);
    cr_assert_eq(who.pid, getpid());
    cr_assert_eq(who.uid, geteuid());
    cr_assert_eq(who.gid, getegid());
}

static void *credentials(void *arg)
{
    place p = place_make();
    weft_listener *l = listen_on(p.path, NULL);
    struct sockaddr_un sa = name_of(p.path);
    weft_stream *a, *b;
    weft_credentials who;
    (void)arg;
    cr_assert_eq(weft_unix_connect(&a, p.path), 0);
    cr_assert_eq(weft_accept(&b, l), 0);
    expect_us(a);
    expect_us(b);
    cr_assert_eq(weft_stream_peer_credentials(NULL, &who), WEFT_EINVAL);
    cr_assert_eq(weft_stream_peer_credentials(a, NULL), WEFT_EINVAL);
    weft_stream_abort(a);
    cr_assert_eq(weft_stream_peer_credentials(a, &who), WEFT_ECLOSED);
    weft_close(a);
    weft_close(b);

    pid_t child = fork();
    if (child == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        _exit(connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 ? 0 : 1);
    }
    cr_assert_eq(weft_accept(&b, l), 0);
    cr_assert_eq(weft_stream_peer_credentials(b, &who), 0);
    cr_assert_eq(who.pid, child);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_assert_eq(weft_stream_peer_credentials(b, &who), 0); /* as they were when it connected */
    cr_assert_eq(who.pid, child);
    weft_close(b);
    weft_listener_close(l);
    place_drop(&p);
    return NULL;
}

Test(unix_sockets, the_peers_credentials_are_those_of_who_connected) { run(1, credentials, NULL); }

static void *no_credentials(void *arg)
{
    weft_stream *a[3], *b[3];
    weft_credentials who;
    (void)arg;
    pair(&a[0], &b[0]);
    cr_assert_eq(weft_pipe(&a[1], &b[1]), 0);
    cr_assert_eq(weft_stream_pair(&a[2], &b[2]), 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(weft_stream_peer_credentials(a[i], &who), WEFT_EINVAL, "kind %d", i);
        weft_close(a[i]);
        weft_close(b[i]);
    }
    return NULL;
}

Test(unix_sockets, other_streams_have_no_credentials) { run(1, no_credentials, NULL); }
