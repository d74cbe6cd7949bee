/* fairness_test.c - with more connections ready than a run queue holds, each gets its turn. */
#include <stdatomic.h>
#include <pthread.h>
#include <support/test.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

enum { PAIRS = 450, TURNS = 40 }; /* enough turns for all to have begun, also the ones that were spawned first */

static int ours[PAIRS];
static unsigned turns[PAIRS];
static atomic_int ready;

static void *echo(void *arg)
{
    char byte;
    while (weft_read(arg, &byte, 1) == 1)
        if (weft_write(arg, &byte, 1) < 0)
            break;
    weft_close(arg);
    return NULL;
}

/* Always asks again at once, so that every connection always wants its turn. */
static void *ask_all(void *arg)
{
    size_t total = 0, enough = (size_t)PAIRS * TURNS;
    char byte = 'x';
    int64_t until = weft_now() + 60 * WEFT_SEC;
    for (int i = 0; i < PAIRS; i++)
        send(ours[i], &byte, 1, MSG_NOSIGNAL);
    while (total < enough && weft_now() < until) {
        for (int i = 0; i < PAIRS; i++) {
            if (recv(ours[i], &byte, 1, MSG_DONTWAIT) != 1)
                continue;
            turns[i]++;
            total++;
            send(ours[i], &byte, 1, MSG_NOSIGNAL);
        }
    }
    for (int i = 0; i < PAIRS; i++)
        shutdown(ours[i], SHUT_RDWR);
    atomic_store(&ready, 1);
    return arg;
}

static void *root(void *arg)
{
    pthread_t asker;
    weft_task *tasks[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        int fds[2];
        weft_stream *s;
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        ours[i] = fds[0];
        turns[i] = 0;
        cr_assert_eq(weft_stream_from_fd(&s, fds[1]), 0);
        cr_assert_eq(weft_spawn(&tasks[i], echo, s), 0);
    }
    cr_assert_eq(pthread_create(&asker, NULL, ask_all, arg), 0);
    for (int i = 0; i < PAIRS; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    pthread_join(asker, NULL);
    return NULL;
}

/* What broke: what did not fit into the run queue went to the inject queue, which gave one task in 122 polls: a few connections got
 * hundreds of turns while others had none. */
WF_TEST_WORKERS(fairness, more_ready_connections_than_the_run_queue_holds_all_get_their_turns)
{
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_run_with(&options, root, NULL, NULL), 0);
    unsigned least = UINT32_MAX;
    for (int i = 0; i < PAIRS; i++) {
        least = turns[i] < least ? turns[i] : least;
        close(ours[i]);
    }
    cr_assert_geq(least * 4, TURNS, "one had %u turns while %d were fair", least, TURNS);
}

/* ---- one that never has to wait ---------------------------------------------------------------------------------- */

/* Takes what it is given at once, a byte at a time. */
static ssize_t devour(weft_layer *self, const void *buf, size_t size)
{
    (void)self, (void)buf;
    return size > 0;
}

static ssize_t nothing(weft_layer *self, void *buf, size_t size)
{
    (void)self, (void)buf, (void)size;
    return WEFT_EAGAIN;
}

static void keep(weft_layer *self) { (void)self; }

static void *note_turn(void *count)
{
    for (;;) {
        ++*(int *)count;
        if (weft_yield() < 0)
            return NULL;
    }
}

static void *write_for_long(void *arg)
{
    static const weft_layer_ops ops = {.read = nothing, .write = devour, .drop = keep};
    static const char text[10000];
    weft_layer layer = {.ops = &ops};
    weft_stream *a, *b;
    weft_task *other;
    int count = 0;
    (void)arg;
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    cr_assert_eq(weft_stream_push_layer(a, &layer), 0);
    cr_assert_eq(weft_spawn(&other, note_turn, &count), 0);
    cr_assert_eq(weft_write(a, text, sizeof text), sizeof text);
    cr_assert_geq(count, 100, "the other had %d turns in 10,000 steps", count);
    weft_task_close(other);
    weft_close(a);
    weft_close(b);
    return NULL;
}

/* What broke: one poll went on for as long as something moved. */
Test(fairness, a_long_write_that_never_waits_lets_others_have_their_turns)
{
    weft_options options = {.workers = 1};
    cr_assert_eq(weft_run_with(&options, write_for_long, NULL, NULL), 0);
}

/* ---- what overflowed ----------------------------------------------------------------------------------------------- */

#ifdef WF_STRESS
enum { CROWD = 50, YIELDS = 500000 }; /* the queue holds four, so that each look around lets in one or two */
#else
enum { CROWD = 1000, YIELDS = 20000 };
#endif
enum { ROUNDS = 20 };

static weft_future crowd[CROWD];
static int met;

static weft_poll is_met(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)cx, (void)result;
    met++;
    return WEFT_READY;
}

static void *meet_all(void *arg)
{
    static const weft_future_ops ops = {.poll = is_met};
    for (int round = 0; round < ROUNDS; round++) {
        int yields = 0;
        met = 0;
        for (int i = 0; i < CROWD; i++) {
            crowd[i].ops = &ops;
            cr_assert_eq(weft_spawn_future(NULL, &crowd[i]), 0);
        }
        for (; met < CROWD && yields < YIELDS; yields++)
            cr_assert_eq(weft_yield(), 0);
        cr_assert_eq(met, CROWD, "in round %d", round);
    }
    return arg;
}

/* Their turn came with every second multiple of a count, and the worker looked only at some multiples: at none but the others, for milliseconds. */
Test(fairness, what_overflowed_the_queue_has_its_turn_beside_a_task_that_yields)
{
    weft_options options = WEFT_OPTIONS_INIT;
    options.workers = 1;
    cr_assert_eq(weft_run_with(&options, meet_all, NULL, NULL), 0);
}

/* ---- a queue that is just full ------------------------------------------------------------------------------------- */

#ifdef WF_STRESS
enum { QUEUE = 4 };
#else
enum { QUEUE = 256 };
#endif
enum { MOST_WORKERS = 8, AS_MANY = QUEUE * MOST_WORKERS };

static atomic_int heard, running;

static void *yield_until_heard(void *arg)
{
    int64_t until = weft_now() + 60 * WEFT_SEC;
    atomic_fetch_add(&running, 1);
    while (!atomic_load(&heard) && weft_now() < until)
        weft_yield();
    return arg;
}

static void *hear(void *arg)
{
    char byte;
    ssize_t n = weft_read(arg, &byte, 1);
    atomic_store(&heard, n == 1);
    weft_close(arg);
    return NULL;
}

/* Not a task: these have no time for others. */
static void *say_it_when_all_run(void *arg)
{
    char byte = 'x';
    while (atomic_load(&running) < *(int *)arg)
        usleep(1000);
    usleep(50000);
    return send(ours[0], &byte, 1, MSG_NOSIGNAL) == 1 ? arg : NULL;
}

static void *fill_the_queues(void *arg)
{
    static weft_task *tasks[AS_MANY];
    int count = *(int *)arg, fds[2];
    weft_stream *s;
    weft_task *hearer;
    pthread_t sayer;
    void *said;

    atomic_store(&heard, 0);
    atomic_store(&running, 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ours[0] = fds[0];
    cr_assert_eq(weft_stream_from_fd(&s, fds[1]), 0);
    cr_assert_eq(weft_spawn(&hearer, hear, s), 0);
    cr_assert_eq(weft_sleep(10 * WEFT_MS), 0); /* it waits: no event is new to it */
    cr_assert_eq(pthread_create(&sayer, NULL, say_it_when_all_run, arg), 0);
    for (int i = 0; i < count; i++)
        cr_assert_eq(weft_spawn(&tasks[i], yield_until_heard, NULL), 0);
    for (int i = 0; i < count; i++)
        cr_assert_eq(weft_join(tasks[i], NULL), 0);
    cr_assert(atomic_load(&heard), "it never was");
    cr_assert_eq(weft_join(hearer, NULL), 0);
    pthread_join(sayer, &said);
    cr_assert_not_null(said);
    close(fds[0]);
    return NULL;
}

/* What broke: without a place in the queue no event was fetched, and tasks that go back to it at once never made one. */
WF_TEST_WORKERS(fairness, events_come_in_where_tasks_keep_the_queue_just_full)
{
    int count = (int)(QUEUE * workers);
    weft_options options = {.workers = workers};
    cr_assert_eq(weft_run_with(&options, fill_the_queues, &count, NULL), 0);
}
