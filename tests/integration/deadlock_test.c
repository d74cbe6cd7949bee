/* deadlock_test.c - tasks that wait for each other are reported, and nobody else.
 *
 * A near miss is a deadlock of two tasks, and a reason why it may be none yet. While the reason stands there must be no report; once it is gone the same
 * runtime must report: so it is known that the detector was there to look. Where the reason leaves something behind that the detector will not judge,
 * there is no report at all. */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <support/latch.h>
#include <support/said.h>
#include <support/signal_support.h>
#include <support/task_support.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>
#include <weft/uv.h>

enum { LIMIT = 10 * 1000 * 1000 };

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#define DEADLOCK "deadlock: all "

static void real_sleep(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / WEFT_SEC, .tv_nsec = ns % WEFT_SEC};
    nanosleep(&t, NULL);
}

/* ---- a process of one's own ----------------------------------------------------------------------------------- */

typedef struct alone {
    void (*body)(unsigned workers);
    unsigned workers;
} alone;

static void *be_alone(void *arg)
{
    alone *a = arg;
    a->body(a->workers);
    return NULL;
}

/* Whatever other threads there are may wake a task, for all that the library knows: a runner has some. What fails in a thread of the child ends that. */
static void in_child(void (*body)(unsigned workers), unsigned workers)
{
    alone a = {body, workers};
    pthread_t thread;
    int status;
    if (UNDER_TSAN)
        cr_skip_test("ThreadSanitizer has a thread of its own");
    if (WF_TEST_EMULATED)
        cr_skip_test("the emulator has threads of its own");
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        alarm(100);
        int err = weft_watchdog_ignore_thread() | pthread_create(&thread, NULL, be_alone, &a);
        _exit(err || pthread_join(thread, NULL) ? 1 : 0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
}

/* ---- a deadlock of two --------------------------------------------------------------------------------------- */

typedef struct scene {
    log_text said;
    weft_semaphore first, second; /* nobody has a permit for the other's */
    weft_aborter *aborters[2];
    weft_task *tasks[2];
    atomic_int ready;
    atomic_int judged;              /* from now on a report is right */
    atomic_int early;               /* there was one before */
    void (*begin)(struct scene *s); /* in the root: the reason stands */
    void (*end)(struct scene *s);   /* in a thread that is ignored: it goes. NULL: by itself */
    bool silent;                    /* no report afterwards, either */
    weft_task *reason;
    latch latch;
    pthread_t thread;
    int fds[2];
} scene;

static void listen_for_reports(void *arg, weft_log_level level, const char *task, const char *text)
{
    scene *s = arg;
    if (strncmp(text, DEADLOCK, strlen(DEADLOCK)) == 0 && !s->judged)
        s->early = 1;
    say(&s->said, level, task, text);
}

static void *take(void *semaphore) { return (void *)(intptr_t)weft_semaphore_acquire(semaphore, 1); }

static weft_task *start(const char *name, weft_fn fn, void *arg)
{
    weft_spawn_options options = {.name = name};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, fn, arg), 0);
    return task;
}

/* The root joins them, so it is a third that waits. */
static void *scene_root(void *arg)
{
    scene *s = arg;
    weft_semaphore_init(&s->first, 0);
    weft_semaphore_init(&s->second, 0);
    s->tasks[0] = start("one", take, &s->first);
    s->tasks[1] = start("other", take, &s->second);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(weft_aborter_create(&s->aborters[i], s->tasks[i]), 0);
    if (s->begin)
        s->begin(s);
    s->ready = 1;
    for (int i = 0; i < 2; i++)
        cr_assert_eq(weft_join(s->tasks[i], NULL), WEFT_EABORTED);
    if (s->reason)
        cr_assert_eq(weft_join(s->reason, NULL), 0);
    return NULL;
}

/* A thread that only watches, and for which nobody has to wait; but for what it is asked to do here. */
static void *conduct(void *arg)
{
    scene *s = arg;
    cr_assert_eq(weft_watchdog_ignore_thread(), 0);
    cr_assert_eq(weft_watchdog_ignore_thread(), 0, "once more changes nothing");
    while (!s->ready)
        real_sleep(WEFT_MS);
    if (s->begin)
        real_sleep(15 * LIMIT);
    if (s->end) {
        s->judged = 1;
        s->end(s);
    }
    if (s->silent)
        real_sleep(15 * LIMIT);
    for (int64_t until = weft_now() + PATIENCE; !s->silent && said(&s->said, "\"other\"") == 0 && weft_now() < until;)
        real_sleep(WEFT_MS);
    for (int i = 0; i < 2; i++)
        weft_aborter_abort(s->aborters[i]);
    return NULL;
}

static void play(scene *s, weft_options options)
{
    pthread_t conductor;
    options.watchdog = LIMIT;
    options.log = listen_for_reports;
    options.log_arg = s;
    s->judged = s->judged || (!s->begin && !s->silent);
    cr_assert_eq(pthread_create(&conductor, NULL, conduct, s), 0);
    cr_assert_eq(weft_run_with(&options, scene_root, s, NULL), 0);
    pthread_join(conductor, NULL);
    for (int i = 0; i < 2; i++)
        weft_aborter_free(s->aborters[i]);
    cr_assert(!s->early, "%s", s->said.text);
    cr_assert_eq(said(&s->said, DEADLOCK), s->silent ? 0 : 1, "%s", s->said.text);
}

/* ---- what is one --------------------------------------------------------------------------------------------- */

static void play_tasks_that_wait_for_each_other_are_reported_once_each_with_what_it_waits_for(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT};
    char line[100];
    play(&s, (weft_options){.workers = workers});
    cr_assert_eq(said(&s.said, DEADLOCK "3 tasks wait for each other, and nothing can wake them"), 1, "%s", s.said.text);
    cr_assert_eq(said(&s.said, "  task \"one\" (#"), 1, "%s", s.said.text);
    cr_assert_eq(said(&s.said, "  task \"other\" (#"), 1, "%s", s.said.text);
    snprintf(line, sizeof line, "for semaphore %p", (void *)&s.first);
    cr_assert_eq(said(&s.said, line), 1, "%s", s.said.text);
    cr_assert_eq(said(&s.said, "for join #"), 1, "%s", s.said.text);
}

WF_TEST_WORKERS(deadlock, tasks_that_wait_for_each_other_are_reported_once_each_with_what_it_waits_for)
{
    in_child(play_tasks_that_wait_for_each_other_are_reported_once_each_with_what_it_waits_for, workers);
}

/* As above, but the thread that called is none of the workers: it waits for the root. */
static void play_one_behind_block_on_is_reported(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .judged = 1};
    weft_options options = {.workers = workers, .watchdog = LIMIT, .log = listen_for_reports, .log_arg = &s};
    weft_runtime *rt;
    pthread_t conductor;
    cr_assert_eq(pthread_create(&conductor, NULL, conduct, &s), 0);
    cr_assert_eq(weft_runtime_create(&rt, &options), 0);
    cr_assert_eq(weft_block_on(rt, scene_root, &s, NULL), 0);
    pthread_join(conductor, NULL);
    for (int i = 0; i < 2; i++)
        weft_aborter_free(s.aborters[i]);
    cr_assert_eq(said(&s.said, DEADLOCK), 1, "%s", s.said.text);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
}

/* Who is ignored is known twice: as such, and as a worker. */
static void play_one_that_who_is_ignored_drives(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT};
    cr_assert_eq(weft_watchdog_ignore_thread(), 0);
    play(&s, (weft_options){.workers = workers});
}

WF_TEST_WORKERS(deadlock, one_that_is_driven_by_who_is_ignored_is_reported)
{
    in_child(play_one_that_who_is_ignored_drives, workers);
}

WF_TEST_WORKERS(deadlock, one_behind_block_on_is_reported) { in_child(play_one_behind_block_on_is_reported, workers); }

/* Each joins the other. The root waits for both in another way, because a task has one joiner. */
typedef struct ring {
    scene *scene;
    weft_task *tasks[2];
    atomic_int made;
} ring;

static void *join_other(void *arg)
{
    ring *r = arg;
    while (!r->made)
        weft_yield();
    int me = weft_task_id(r->tasks[1]) == weft_self_id();
    weft_wait(r->tasks[1 - me]); /* one is aborted first, and then the other may hear of its end */
    weft_semaphore_release(&r->scene->first, 1);
    return NULL;
}

static void *ring_root(void *arg)
{
    scene *s = arg;
    ring r = {.scene = s};
    weft_semaphore_init(&s->first, 0);
    for (int i = 0; i < 2; i++)
        r.tasks[i] = start("link", join_other, &r);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(weft_aborter_create(&s->aborters[i], r.tasks[i]), 0);
    r.made = 1;
    s->ready = 1;
    cr_assert_eq(weft_semaphore_acquire(&s->first, 2), 0);
    for (int i = 0; i < 2; i++)
        weft_detach(r.tasks[i]);
    return NULL;
}

static void *abort_when_reported(void *arg)
{
    scene *s = arg;
    cr_assert_eq(weft_watchdog_ignore_thread(), 0);
    while (!s->ready)
        real_sleep(WEFT_MS);
    for (int64_t until = weft_now() + PATIENCE; said(&s->said, "for join #") < 2 && weft_now() < until;)
        real_sleep(WEFT_MS);
    for (int i = 0; i < 2; i++)
        weft_aborter_abort(s->aborters[i]);
    return NULL;
}

static void play_tasks_that_join_each_other_are_reported(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .judged = 1};
    weft_options options = {.workers = workers, .watchdog = LIMIT, .log = listen_for_reports, .log_arg = &s};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, abort_when_reported, &s), 0);
    cr_assert_eq(weft_run_with(&options, ring_root, &s, NULL), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 2; i++)
        weft_aborter_free(s.aborters[i]);
    cr_assert_eq(said(&s.said, DEADLOCK "3 tasks"), 1, "%s", s.said.text);
    cr_assert_eq(said(&s.said, "for join #"), 2, "%s", s.said.text);
}

WF_TEST_WORKERS(deadlock, tasks_that_join_each_other_are_reported)
{
    in_child(play_tasks_that_join_each_other_are_reported, workers);
}

/* Reported again only when something has been polled in between: and then the same channel is another deadlock. */
typedef struct deaf {
    log_text said;
    weft_chan *chan;
    atomic_int round;
} deaf;

static void *receive(void *arg)
{
    deaf *d = arg;
    int item;
    for (int err; (err = weft_chan_recv(d->chan, &item)) == 0;)
        d->round++;
    return NULL;
}

static void *send_when_reported(void *arg)
{
    deaf *d = arg;
    cr_assert_eq(weft_watchdog_ignore_thread(), 0);
    for (unsigned n = 1; n <= 3; n++) {
        for (int64_t until = weft_now() + PATIENCE; said(&d->said, "for chan recv") < n && weft_now() < until;)
            real_sleep(WEFT_MS);
        real_sleep(5 * LIMIT);
        if (n < 3)
            cr_assert_eq(weft_chan_try_send(d->chan, &n), 0);
    }
    weft_chan_close(d->chan);
    return NULL;
}

static void play_a_channel_that_nobody_sends_to_is_reported_once_until_something_happens(unsigned workers)
{
    static deaf d = {.said = LOG_TEXT_INIT};
    weft_options options = {.workers = workers, .watchdog = LIMIT, .log = say, .log_arg = &d.said};
    pthread_t sender;
    cr_assert_eq(weft_chan_create(&d.chan, sizeof(unsigned), 1), 0);
    cr_assert_eq(pthread_create(&sender, NULL, send_when_reported, &d), 0);
    cr_assert_eq(weft_run_with(&options, receive, &d, NULL), 0);
    pthread_join(sender, NULL);
    cr_assert_eq(d.round, 2);
    cr_assert_eq(said(&d.said, DEADLOCK "1 tasks"), 3, "%s", d.said.text);
    cr_assert_eq(weft_chan_free(d.chan), 0);
}

WF_TEST_WORKERS(deadlock, a_channel_that_nobody_sends_to_is_reported_once_until_something_happens)
{
    in_child(play_a_channel_that_nobody_sends_to_is_reported_once_until_something_happens, workers);
}

/* Nobody can end that one, so the process ends. */
typedef struct crossed {
    weft_mutex *mine, *others;
    atomic_int *locked;
} crossed;

static void *cross(void *arg)
{
    crossed *c = arg;
    weft_mutex_lock(c->mine);
    atomic_fetch_add(c->locked, 1);
    while (*c->locked < 2)
        weft_yield();
    weft_mutex_lock(c->others);
    return NULL;
}

static void *cross_root(void *arg)
{
    static weft_mutex a, b;
    static atomic_int locked;
    crossed one = {&a, &b, &locked}, other = {&b, &a, &locked};
    weft_task *tasks[2];
    (void)arg;
    weft_mutex_init(&a);
    weft_mutex_init(&b);
    tasks[0] = start("left", cross, &one);
    tasks[1] = start("right", cross, &other);
    for (int i = 0; i < 2; i++)
        weft_join(tasks[i], NULL);
    return NULL;
}

static void end_when_told(void *log, weft_log_level level, const char *task, const char *text)
{
    say(log, level, task, text);
    if (said(log, DEADLOCK "3 tasks") == 1 && said(log, "task \"left\"") == 1 && said(log, "task \"right\"") == 1 &&
        said(log, "for mutex 0x") == 2 && said(log, ", held by #") == 2)
        _exit(0);
}

static void play_two_mutexes(unsigned workers)
{
    static log_text said = LOG_TEXT_INIT;
    weft_options options = {.workers = workers, .watchdog = LIMIT, .log = end_when_told, .log_arg = &said};
    weft_run_with(&options, cross_root, NULL, NULL);
    cr_assert_fail("it ended");
}

WF_TEST_WORKERS(deadlock, two_mutexes_that_are_taken_crosswise_are_reported) { in_child(play_two_mutexes, workers); }

/* ---- what is none yet ---------------------------------------------------------------------------------------- */

static void *sleep_then_judge(void *arg)
{
    scene *s = arg;
    cr_assert_eq(weft_sleep(20 * LIMIT), 0);
    s->judged = 1;
    return NULL;
}

static void begin_timer(scene *s) { s->reason = start("sleeper", sleep_then_judge, s); }

static void play_none_while_a_timer_is_armed(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_timer};
    play(&s, (weft_options){.workers = workers});
}

WF_TEST_WORKERS(deadlock, none_while_a_timer_is_armed) { in_child(play_none_while_a_timer_is_armed, workers); }

/* The clock jumps there at once. */
static void play_none_before_the_paused_clock_has_jumped(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_timer};
    play(&s, (weft_options){.workers = workers, .clock = WEFT_CLOCK_PAUSED});
}

WF_TEST_WORKERS(deadlock, none_before_the_paused_clock_has_jumped)
{
    in_child(play_none_before_the_paused_clock_has_jumped, workers);
}

static void *read_a_byte(void *arg)
{
    char byte;
    cr_assert_eq(weft_read(arg, &byte, 1), 1);
    weft_close(arg);
    return NULL;
}

static void begin_socket(scene *s)
{
    weft_stream *stream;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->fds), 0);
    cr_assert_eq(weft_stream_from_fd(&stream, s->fds[0]), 0);
    s->reason = start("reader", read_a_byte, stream);
}

static void end_socket(scene *s)
{
    char byte = 'x';
    cr_assert_eq(write(s->fds[1], &byte, 1), 1);
    close(s->fds[1]);
}

static void play_none_while_a_descriptor_is_waited_for(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_socket, .end = end_socket};
    play(&s, (weft_options){.workers = workers});
}

WF_TEST_WORKERS(deadlock, none_while_a_descriptor_is_waited_for)
{
    in_child(play_none_while_a_descriptor_is_waited_for, workers);
}

static void begin_thread(scene *s) { cr_assert_eq(pthread_create(&s->thread, NULL, latch_pass, &s->latch), 0); }

static void end_thread(scene *s)
{
    latch_open(&s->latch);
    pthread_join(s->thread, NULL);
}

/* It will send, for all that anybody knows. */
static void play_none_while_there_is_a_thread_of_the_program(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_thread, .end = end_thread, .latch = LATCH_INIT};
    play(&s, (weft_options){.workers = workers});
}

WF_TEST_WORKERS(deadlock, none_while_there_is_a_thread_of_the_program)
{
    in_child(play_none_while_there_is_a_thread_of_the_program, workers);
}

static void *enter_and_pass(void *arg)
{
    scene *s = arg;
    weft_runtime *rt = (weft_runtime *)(void *)s->reason;
    cr_assert_eq(weft_runtime_enter(rt), 0);
    latch_pass(&s->latch);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

static void begin_entered(scene *s)
{
    s->reason = (weft_task *)(void *)weft_runtime_current();
    cr_assert_eq(pthread_create(&s->thread, NULL, enter_and_pass, s), 0);
    while (s->latch.entered == 0)
        weft_yield();
    s->reason = NULL;
}

static void play_none_while_a_thread_has_entered(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_entered, .end = end_thread, .latch = LATCH_INIT};
    play(&s, (weft_options){.workers = workers});
}

WF_TEST_WORKERS(deadlock, none_while_a_thread_has_entered) { in_child(play_none_while_a_thread_has_entered, workers); }

/* A thread that waits in weft wakes nobody; until its deadline, when it goes on to do what it likes. */
static void *wait_in_weft(void *arg)
{
    scene *s = arg;
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, 20 * LIMIT), 0);
    cr_assert_eq(weft_semaphore_acquire(&s->first, 1), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    s->judged = 1;
    cr_assert_eq(weft_semaphore_acquire(&s->second, 1), 0);
    return NULL;
}

static void begin_waiting_thread(scene *s) { cr_assert_eq(pthread_create(&s->thread, NULL, wait_in_weft, s), 0); }

static void *waiting_root(void *arg)
{
    scene *s = arg;
    scene_root(s);
    weft_semaphore_release(&s->second, 1);
    pthread_join(s->thread, NULL);
    return NULL;
}

static void play_none_while_a_thread_waits_with_a_deadline(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_waiting_thread};
    weft_options options = {.workers = workers, .watchdog = LIMIT, .log = listen_for_reports, .log_arg = &s};
    pthread_t conductor;
    cr_assert_eq(pthread_create(&conductor, NULL, conduct, &s), 0);
    cr_assert_eq(weft_run_with(&options, waiting_root, &s, NULL), 0);
    pthread_join(conductor, NULL);
    for (int i = 0; i < 2; i++)
        weft_aborter_free(s.aborters[i]);
    cr_assert(!s.early, "%s", s.said.text);
    cr_assert_eq(said(&s.said, DEADLOCK), 1, "%s", s.said.text);
}

WF_TEST_WORKERS(deadlock, none_while_a_thread_waits_with_a_deadline)
{
    in_child(play_none_while_a_thread_waits_with_a_deadline, workers);
}

static void begin_job(scene *s) { cr_assert_eq(weft_spawn_blocking(&s->reason, latch_pass, &s->latch), 0); }
static void end_job(scene *s) { latch_open(&s->latch); }

/* Afterwards its thread is idle, and none that could wake anybody. */
static void play_none_while_a_blocking_job_runs(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_job, .end = end_job, .latch = LATCH_INIT};
    play(&s, (weft_options){.workers = workers});
}

WF_TEST_WORKERS(deadlock, none_while_a_blocking_job_runs) { in_child(play_none_while_a_blocking_job_runs, workers); }

/* ---- what leaves something behind that is not judged ---------------------------------------------------------- */

static void *hear(void *arg)
{
    weft_signal *s = watch(SIGUSR1);
    (void)arg;
    cr_assert_eq(weft_signal_next(s), 1);
    weft_signal_close(s);
    return NULL;
}

static void begin_signal(scene *s)
{
    s->reason = start("listener", hear, NULL);
    EVENTUALLY(!is_default(SIGUSR1));
}

static void end_signal(scene *s)
{
    (void)s;
    send_signal(SIGUSR1);
}

static void play_none_where_a_signal_was_waited_for(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_signal, .end = end_signal, .silent = true};
    play(&s, (weft_options){.workers = workers});
}

WF_TEST_WORKERS(deadlock, none_where_a_signal_was_waited_for)
{
    in_child(play_none_where_a_signal_was_waited_for, workers);
}

static void *await_process(void *arg)
{
    const char *const argv[] = {"sleep", "0.3", NULL};
    weft_process_options options = {.argv = argv};
    weft_process *process;
    cr_assert_eq(weft_process_spawn(&process, &options), 0);
    cr_assert_eq(weft_process_wait(process), 0);
    weft_process_close(process);
    return arg;
}

static void begin_process(scene *s) { s->reason = start("parent", await_process, NULL); }

static void play_none_where_a_process_was_waited_for(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_process, .silent = true};
    play(&s, (weft_options){.workers = workers});
}

WF_TEST_WORKERS(deadlock, none_where_a_process_was_waited_for)
{
    in_child(play_none_where_a_process_was_waited_for, workers);
}

static void complete(uv_timer_t *timer) { weft_completion_set(timer->data, 0); }
static void completed(uv_handle_t *handle) { weft_completion_set(handle->data, 0); }

static void *await_loop(void *arg)
{
    weft_completion fired = WEFT_COMPLETION_INIT, closed = WEFT_COMPLETION_INIT;
    uv_timer_t timer = {.data = &fired};
    cr_assert_eq(uv_timer_init(weft_uv_loop(), &timer), 0);
    cr_assert_eq(uv_timer_start(&timer, complete, 300, 0), 0);
    cr_assert_eq(weft_completion_wait(&fired), 0);
    timer.data = &closed;
    uv_close((uv_handle_t *)&timer, completed);
    cr_assert_eq(weft_completion_wait(&closed), 0);
    return arg;
}

static void begin_loop(scene *s)
{
    weft_spawn_options options = {.pinned = 1};
    cr_assert_eq(weft_spawn_with(&s->reason, &options, await_loop, NULL), 0);
}

static void play_none_where_a_loop_was_handed_out(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_loop, .silent = true};
    play(&s, (weft_options){.workers = workers});
}

WF_TEST_WORKERS(deadlock, none_where_a_loop_was_handed_out)
{
    in_child(play_none_where_a_loop_was_handed_out, workers);
}

/* What a future of the program's own waits for nobody knows. */
typedef struct unknown {
    weft_future future;
    weft_atomic_waker waker;
    atomic_int done;
} unknown;

static unknown something;

static weft_poll poll_unknown(weft_future *f, weft_context *cx, void **result)
{
    unknown *u = WEFT_CONTAINER_OF(f, unknown, future);
    (void)result;
    cr_assert_eq(weft_atomic_waker_register(&u->waker, weft_context_waker(cx)), 0);
    return u->done ? WEFT_READY : WEFT_PENDING;
}

static const weft_future_ops unknown_ops = {.poll = poll_unknown};

static void begin_unknown(scene *s)
{
    something.future.ops = &unknown_ops;
    weft_atomic_waker_init(&something.waker);
    cr_assert_eq(weft_spawn_future(&s->reason, &something.future), 0);
}

static void end_unknown(scene *s)
{
    (void)s;
    something.done = 1;
    weft_atomic_waker_wake(&something.waker);
}

static void play_none_while_somebody_waits_for_nobody_knows_what(unsigned workers)
{
    static scene s = {.said = LOG_TEXT_INIT, .begin = begin_unknown, .end = end_unknown};
    play(&s, (weft_options){.workers = workers});
}

WF_TEST_WORKERS(deadlock, none_while_somebody_waits_for_nobody_knows_what)
{
    in_child(play_none_while_somebody_waits_for_nobody_knows_what, workers);
}
