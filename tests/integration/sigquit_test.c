/* sigquit_test.c - a dump on each SIGQUIT, beside whatever the program does with it. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/signal_support.h>
#include <support/task_support.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- standard error, elsewhere ------------------------------------------------------------------------------- */

static int kept = -1;

static void give_stderr(int fd)
{
    fflush(stderr);
    kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    cr_assert_geq(kept, 0);
    cr_assert_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
}

/* Before anything is asserted that would be told there. */
static void take_stderr_back(void)
{
    dup2(kept, STDERR_FILENO);
    close(kept);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

/* What has been written to @file so far. */
static unsigned dumps_of(int file, const char *name)
{
    static _Thread_local char text[1 << 16];
    ssize_t n = pread(file, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    return count(text, name);
}

static int new_file(void)
{
    int fd = memfd_create("stderr", MFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    return fd;
}

static bool comes_to(int file, const char *name, unsigned n)
{
    for (int64_t until = weft_now() + PATIENCE; weft_now() < until; weft_sleep(WEFT_MS / 4))
        if (dumps_of(file, name) >= n)
            return true;
    return false;
}

/* ---- one runtime --------------------------------------------------------------------------------------------- */

/* As the first line of a dump says it. */
#define HEAD(name) "weft \"" name "\":"

static weft_options dumping(unsigned workers, const char *name)
{
    return (weft_options){.workers = workers, .flags = WEFT_DUMP_ON_SIGQUIT, .watchdog = WEFT_FOREVER, .name = name};
}

static void *quit_twice(void *arg)
{
    int file = *(int *)arg;
    for (unsigned n = 1; n <= 2; n++) {
        kill(getpid(), SIGQUIT);
        if (!comes_to(file, HEAD("quitter"), n))
            return weft_fail(WEFT_ETIMEDOUT);
    }
    return NULL;
}

WF_TEST_WORKERS(sigquit, each_dumps_the_runtime_and_the_program_goes_on)
{
    int file = new_file();
    weft_options options = dumping(workers, "quitter");
    give_stderr(file);
    int err = weft_run_with(&options, quit_twice, &file, NULL);
    take_stderr_back();
    cr_assert_eq(err, 0);
    cr_assert(is_default(SIGQUIT));
    close(file);
}

/* Nobody polls, and the only worker is stuck. */
static void *hold_and_quit(void *arg)
{
    int file = *(int *)arg;
    kill(getpid(), SIGQUIT);
    for (int64_t until = weft_now() + PATIENCE; weft_now() < until;)
        if (dumps_of(file, HEAD("stuck")) > 0)
            return NULL;
    return weft_fail(WEFT_ETIMEDOUT);
}

Test(sigquit, also_when_every_worker_is_stuck)
{
    int file = new_file();
    weft_options options = dumping(1, "stuck");
    give_stderr(file);
    int err = weft_run_with(&options, hold_and_quit, &file, NULL);
    take_stderr_back();
    cr_assert_eq(err, 0);
    close(file);
}

/* ---- several ------------------------------------------------------------------------------------------------- */

static weft_runtime *create(const char *name)
{
    weft_options options = dumping(2, name);
    weft_runtime *rt;
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    return rt;
}

Test(sigquit, each_runtime_that_asked_dumps_and_the_last_one_restores)
{
    int file = new_file();
    weft_runtime *a = create("first"), *b = create("second");
    give_stderr(file);
    send_signal(SIGQUIT);
    bool both = comes_to(file, HEAD("first"), 1) && comes_to(file, HEAD("second"), 1);
    weft_runtime_destroy(a);
    bool still = !is_default(SIGQUIT);
    send_signal(SIGQUIT);
    bool one = comes_to(file, HEAD("second"), 2);
    unsigned first = dumps_of(file, HEAD("first"));
    weft_runtime_destroy(b);
    take_stderr_back();
    cr_assert(both && still && one);
    cr_assert_eq(first, 1);
    cr_assert(is_default(SIGQUIT));
    close(file);
}

/* ---- what the program has for it ----------------------------------------------------------------------------- */

static atomic_int handled;

static void count_one(int number)
{
    (void)number;
    atomic_fetch_add(&handled, 1);
}

static void set_handler(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    cr_assert_eq(sigaction(number, &action, NULL), 0);
}

static void (*handler_of(int number))(int)
{
    struct sigaction now;
    cr_assert_eq(sigaction(number, NULL, &now), 0);
    return now.sa_handler;
}

Test(sigquit, the_programs_handler_is_back_afterwards_and_was_not_called)
{
    int file = new_file();
    set_handler(SIGQUIT, count_one);
    weft_options options = dumping(2, "quitter");
    give_stderr(file);
    int err = weft_run_with(&options, quit_twice, &file, NULL);
    take_stderr_back();
    cr_assert_eq(err, 0);
    cr_assert_eq(handled, 0);
    cr_assert_eq(handler_of(SIGQUIT), count_one);
    send_signal(SIGQUIT);
    SPIN_UNTIL(handled == 1);
    set_handler(SIGQUIT, SIG_DFL);
    close(file);
}

/* Its last word. */
Test(sigquit, a_handler_that_was_put_on_top_meanwhile_stays)
{
    weft_runtime *rt = create("overruled");
    set_handler(SIGQUIT, count_one);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(handler_of(SIGQUIT), count_one);
    rt = create("overruled");
    set_handler(SIGQUIT, SIG_IGN);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    cr_assert_eq(handler_of(SIGQUIT), SIG_IGN);
    set_handler(SIGQUIT, SIG_DFL);
}

/* Broken: a forked child had the action from before the runtime. */
Test(sigquit, a_handler_that_was_put_on_top_stays_in_a_forked_child)
{
    int status;
    weft_runtime *rt = create("overruled");
    set_handler(SIGQUIT, count_one);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(handler_of(SIGQUIT) == count_one ? 0 : 1);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    set_handler(SIGQUIT, SIG_DFL);
}

/* ---- beside weft_signal_open() ------------------------------------------------------------------------------- */

static void *watch_it_too(void *arg)
{
    int file = *(int *)arg;
    weft_signal *s = watch(SIGQUIT);
    kill(getpid(), SIGQUIT);
    bool both = weft_signal_next(s) == 1 && comes_to(file, HEAD("both"), 1);
    kill(getpid(), SIGQUIT);
    both = both && weft_signal_next(s) == 1 && comes_to(file, HEAD("both"), 2);
    weft_signal_close(s);
    kill(getpid(), SIGQUIT);
    return both && comes_to(file, HEAD("both"), 3) ? NULL : weft_fail(WEFT_ETIMEDOUT);
}

WF_TEST_WORKERS(sigquit, whoever_watches_for_it_hears_of_it_too)
{
    int file = new_file();
    weft_options options = dumping(workers, "both");
    give_stderr(file);
    int err = weft_run_with(&options, watch_it_too, &file, NULL);
    take_stderr_back();
    cr_assert_eq(err, 0);
    cr_assert(is_default(SIGQUIT));
    close(file);
}

static void *next_arrival(void *s)
{
    int count = weft_signal_next(s);
    return count == 1 ? NULL : weft_fail(WEFT_EINVAL);
}

static void *open_watch(void *out)
{
    *(weft_signal **)out = watch(SIGQUIT);
    return NULL;
}

static void *close_watch(void *s)
{
    weft_signal_close(s);
    return NULL;
}

/* The watch was there first, in another runtime, and is there afterwards. */
Test(sigquit, a_watch_goes_on_when_a_runtime_that_dumps_has_come_and_gone)
{
    int file = new_file();
    weft_runtime *outer, *inner;
    weft_options plain = {.workers = 2};
    weft_signal *s;
    cr_assert_eq(weft_runtime_create(&outer, &plain), 0);
    cr_assert_eq(weft_block_on(outer, open_watch, &s, NULL), 0);
    inner = create("inner");
    give_stderr(file);
    send_signal(SIGQUIT);
    bool good = comes_to(file, HEAD("inner"), 1) && weft_block_on(outer, next_arrival, s, NULL) == 0;
    weft_runtime_destroy(inner);
    send_signal(SIGQUIT);
    good = good && weft_block_on(outer, next_arrival, s, NULL) == 0;
    unsigned dumps = dumps_of(file, HEAD("inner"));
    weft_block_on(outer, close_watch, s, NULL);
    weft_runtime_destroy(outer);
    take_stderr_back();
    cr_assert(good);
    cr_assert_eq(dumps, 1);
    cr_assert(is_default(SIGQUIT));
    close(file);
}

/* ---- many ---------------------------------------------------------------------------------------------------- */

enum { STORM = 6 };

/* A pipe that takes no more. */
static void fill(int fd)
{
    char byte = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (write(fd, &byte, 1) == 1)
        ;
    fcntl(fd, F_SETFL, 0);
}

/* Each has arrived before the next is sent: the program's own watch, which hears of it in the same moment, tells. */
static void *storm_root(void *arg)
{
    (void)arg;
    weft_signal *s = watch(SIGQUIT);
    for (int heard = 0, n = 0; n < STORM; n++) {
        kill(getpid(), SIGQUIT);
        heard = weft_signal_next(s);
        if (heard != 1)
            return weft_fail(heard < 0 ? heard : WEFT_EINVAL);
    }
    weft_signal_close(s);
    return NULL;
}

typedef struct drain {
    int fd;
    atomic_bool begun; /* the head of a dump has come */
    size_t length;
    char text[1 << 18];
} drain;

static void *read_all(void *arg)
{
    drain *d = arg;
    for (ssize_t n; (n = read(d->fd, d->text + d->length, sizeof d->text - 1 - d->length)) > 0;) {
        d->length += (size_t)n;
        atomic_store(&d->begun, memmem(d->text, d->length, HEAD("storm"), strlen(HEAD("storm"))) != NULL);
    }
    return NULL;
}

/* The first dump cannot end before all have come. */
Test(sigquit, those_that_come_during_a_dump_cause_one_more)
{
    static drain d;
    int ends[2];
    pthread_t reader;
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    fill(ends[1]);
    weft_runtime *rt = create("storm");
    give_stderr(ends[1]);
    close(ends[1]);
    int err = weft_block_on(rt, storm_root, NULL, NULL);
    d.fd = ends[0];
    pthread_create(&reader, NULL, read_all, &d);
    SPIN_UNTIL(atomic_load(&d.begun));
    weft_runtime_destroy(rt); /* the monitor ends what it has begun; the rest may be too late */
    take_stderr_back();
    pthread_join(reader, NULL);
    for (size_t i = 0; i < d.length; i++)
        d.text[i] = d.text[i] ? d.text[i] : ' ';
    unsigned dumps = count(d.text, HEAD("storm"));
    cr_assert_eq(err, 0);
    cr_assert(dumps == 1 || dumps == 2, "%u dumps", dumps);
    close(ends[0]);
}
