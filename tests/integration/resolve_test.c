/* resolve_test.c - names to addresses as a user sees it. The name server is the test's own: see names.h. */
#include <pthread.h>
#include <sched.h>
#include <support/names.h>
#include <support/net_support.h>
#include <support/process.h>
#include <support/test.h>
#include <support/until.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

/* ---- helpers -------------------------------------------------------------------------------------------------- */

static void expect(const weft_addr *addr, const char *text)
{
    char buf[WEFT_ADDR_TEXT];
    cr_assert_str_eq(weft_addr_format(addr, buf, sizeof buf), text);
}

/* One task that asks, and what it was told. */
typedef struct asker {
    const char *host;
    weft_addr addrs[4];
    atomic_int result;
    atomic_int ended;
} asker;

static void *ask(void *arg)
{
    asker *a = arg;
    a->result = weft_resolve(a->addrs, 4, a->host, "80");
    a->ended = 1;
    return NULL;
}

/* ---- answers -------------------------------------------------------------------------------------------------- */

static void numeric_ones(void)
{
    weft_addr a[2];
    names_set(NULL, 0);
    cr_assert_eq(weft_resolve(a, 2, "10.0.0.1", "80"), 1);
    expect(&a[0], "10.0.0.1:80");
    cr_assert_eq(weft_resolve(a, 1, "::1", "000443"), 1);
    expect(&a[0], "[::1]:443");
    cr_assert_eq(weft_resolve(a, 2, "fe80::1%lo", "0"), 1);
    expect(&a[0], "[fe80::1%lo]:0");
    cr_assert_eq(names_asked, 0);
}

static void *numeric_root(void *arg)
{
    numeric_ones();
    return arg;
}

WF_TEST_WORKERS(resolve, numeric_ones_are_answered_without_asking) { run(workers, numeric_root, NULL); }

Test(resolve, numeric_ones_need_no_runtime) { numeric_ones(); }

static name many[] = {
    {.host = "mixed",
     .answers = {"[2001:db8::1]:0", "10.0.0.1:0", "[2001:db8::1]:0", "10.0.0.2:0", "10.0.0.1:0", "[2001:db8::2]:0"}},
    {.host = "one", .answers = {"10.0.0.9:0"}},
    {.host = "local", .answers = {"unix:/tmp/x"}},
    {.host = "10.1.2.3", .answers = {"10.1.2.3:0"}},
};

static void *ordered(void *arg)
{
    weft_addr a[8];
    names_set(many, 4);
    cr_assert_eq(weft_resolve(a, 8, "mixed", "81"), 4);
    expect(&a[0], "[2001:db8::1]:81");
    expect(&a[1], "10.0.0.1:81");
    expect(&a[2], "10.0.0.2:81");
    expect(&a[3], "[2001:db8::2]:81");
    cr_assert_eq(weft_resolve(a, 2, "mixed", "81"), 2);
    expect(&a[1], "10.0.0.1:81");
    cr_assert_eq(weft_resolve(a, 8, "one", "http"), 1);
    expect(&a[0], "10.0.0.9:80");
    cr_assert_eq(weft_resolve(a, 8, "10.1.2.3", "http"), 1); /* of this only the service is asked for */
    expect(&a[0], "10.1.2.3:80");
    cr_assert_eq(weft_resolve(a, 8, "local", "80"), WEFT_EAI_NONAME); /* no internet address */
    return arg;
}

WF_TEST_WORKERS(resolve, a_name_has_its_addresses_in_order_and_each_once)
{
    run(workers, ordered, NULL);
    cr_assert_eq(names_held, 0);
}

/* ---- what is refused ------------------------------------------------------------------------------------------- */

static void *nonsense(void *arg)
{
    static const char *const hosts[] = {"",         "127.1",        "1",        "256.0.0.1", "1.2.3.4.5",
                                        "1.2.3.4.", "[::1]",        "::1::",    "fe80::1%x", "a:b",
                                        "unix:/x",  "::ffff:1.2.3", "name.127", "0300.1.1"};
    static const char *const ports[] = {"",    " 80",   "80 ",  "-1", "+80", "65536", "99999999999999999999",
                                        "8 0", "_http", "ht/tp"};
    static char longest[257], port[80];
    weft_addr a[2];
    names_set(NULL, 0);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        cr_assert_eq(weft_resolve(a, 2, hosts[i], "80"), WEFT_EINVAL, "\"%s\"", hosts[i]);
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        cr_assert_eq(weft_resolve(a, 2, "mixed", ports[i]), WEFT_EINVAL, "\"%s\"", ports[i]);
        cr_assert_eq(weft_resolve(a, 2, "10.0.0.1", ports[i]), WEFT_EINVAL, "\"%s\"", ports[i]);
    }
    memset(longest, 'a', 256);
    cr_assert_eq(weft_resolve(a, 2, longest, "80"), WEFT_EINVAL);
    memset(port, 'p', 64);
    cr_assert_eq(weft_resolve(a, 2, "mixed", port), WEFT_EINVAL);
    memset(port, '0', 64);
    cr_assert_eq(weft_resolve(a, 2, "mixed", port), WEFT_EINVAL);
    cr_assert_eq(weft_resolve(NULL, 2, "mixed", "80"), WEFT_EINVAL);
    cr_assert_eq(weft_resolve(a, 0, "mixed", "80"), WEFT_EINVAL);
    cr_assert_eq(weft_resolve(a, -1, "mixed", "80"), WEFT_EINVAL);
    cr_assert_eq(weft_resolve(a, 2, NULL, "80"), WEFT_EINVAL);
    cr_assert_eq(weft_resolve(a, 2, "mixed", NULL), WEFT_EINVAL);
    cr_assert_eq(names_asked, 0);
    longest[255] = '\0';
    cr_assert_eq(weft_resolve(a, 2, longest, "80"), WEFT_EAI_NONAME); /* this long it may be */
    cr_assert_eq(names_asked, 1);
    return arg;
}

Test(resolve, what_can_be_no_name_and_no_port_is_refused_without_asking) { run(1, nonsense, NULL); }

typedef struct failure {
    int error, number, code;
} failure;

static void *failures(void *arg)
{
    static const failure all[] = {
        {EAI_NONAME, 0, WEFT_EAI_NONAME},
        {EAI_AGAIN, 0, WEFT_EAI_AGAIN},
        {EAI_FAIL, 0, -3004},
        {EAI_BADFLAGS, 0, -3002},
        {EAI_FAMILY, 0, -3005},
        {EAI_MEMORY, 0, WEFT_ENOMEM},
        {EAI_OVERFLOW, 0, -3009},
        {EAI_SERVICE, 0, -3010},
        {EAI_SOCKTYPE, 0, -3011},
        {EAI_NODATA, 0, -3007},
        {EAI_ADDRFAMILY, 0, -3000},
        {EAI_SYSTEM, EMFILE, WEFT_EMFILE},
        {EAI_SYSTEM, EAGAIN, WEFT_EAI_AGAIN},
        {EAI_SYSTEM, EINTR, WEFT_EAI_AGAIN},
        {EAI_SYSTEM, 0, -3004},
        {-12345, 0, -3004},
    };
    name broken = {.host = "broken"};
    weft_addr a[2];
    names_set(&broken, 1);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        broken.error = all[i].error;
        broken.number = all[i].number;
        cr_assert_eq(weft_resolve(a, 2, "broken", "80"), all[i].code, "for %d", all[i].error);
        cr_assert_not_null(strstr(weft_error_detail(), "resolve broken: "), "it says \"%s\"", weft_error_detail());
        cr_assert_not_null(strstr(weft_error_detail(), weft_strerror(all[i].code)));
    }
    cr_assert_eq(weft_resolve(a, 2, "nobody", "80"), WEFT_EAI_NONAME);
    cr_assert_eq(weft_resolve(a, 2, "broken", "no-such"), -3004);
    return arg;
}

Test(resolve, every_failure_has_libuvs_code) { run(1, failures, NULL); }

/* ---- interrupted ----------------------------------------------------------------------------------------------- */

/* A lookup that is left behind may begin later than this function ends, but before its runtime does: so the names are static. */
static void *abort_it(void *arg)
{
    static latch l;
    static name slow;
    asker a = {.host = "slow"};
    (void)arg;
    l = (latch)LATCH_INIT;
    slow = (name){.host = "slow", .answers = {"10.0.0.1:0"}, .latch = &l};
    names_set(&slow, 1);
    weft_task *task = start(ask, &a);
    EVENTUALLY(l.inside == 1);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED); /* while the name server is still thinking */
    cr_assert_eq(a.result, WEFT_ECANCELED);
    cr_assert_eq(l.inside, 1);
    latch_open(&l);
    EVENTUALLY(names_busy == 0 && names_held == 0);
    return NULL;
}

WF_TEST_WORKERS(resolve, aborted_it_returns_at_once_and_the_late_answer_is_freed)
{
    run(workers, abort_it, NULL);
    cr_assert_eq(names_held, 0);
}

static void *too_slow(void *arg)
{
    static latch l;
    static name slow;
    weft_addr a[2];
    weft_scope scope;
    (void)arg;
    l = (latch)LATCH_INIT;
    slow = (name){.host = "slow", .answers = {"10.0.0.1:0"}, .latch = &l};
    names_set(&slow, 1);
    cr_assert_eq(weft_scope_enter(&scope, 20 * WEFT_MS), 0);
    cr_assert_eq(weft_resolve(a, 2, "slow", "80"), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    latch_open(&l);
    cr_assert_eq(weft_resolve(a, 2, "slow", "80"), 1); /* the next one is asked anew */
    return NULL;
}

WF_TEST_WORKERS(resolve, a_scopes_deadline_ends_it)
{
    run(workers, too_slow, NULL);
    cr_assert_eq(names_held, 0);
}

/* The pool asks for 32 names at once. */
static void *queued(void *arg)
{
    enum { LANE = 32 };
    latch l = LATCH_INIT;
    name slow[] = {{.host = "slow", .answers = {"10.0.0.1:0"}, .latch = &l}, {.host = "late", .answers = {"10.0.0.2:0"}}};
    static asker first[LANE];
    asker late = {.host = "late"}, lucky = {.host = "late"};
    weft_task *tasks[LANE];
    (void)arg;
    names_set(slow, 2);
    for (int i = 0; i < LANE; i++) {
        first[i] = (asker){.host = "slow"};
        tasks[i] = start(ask, &first[i]);
    }
    EVENTUALLY(slow[0].asked == LANE);
    weft_task *task = start(ask, &late), *other = start(ask, &lucky);
    await_idle(task);
    await_idle(other);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    latch_open(&l);
    join(other);
    for (int i = 0; i < LANE; i++) {
        join(tasks[i]);
        cr_assert_eq(first[i].result, 1);
        expect(&first[i].addrs[0], "10.0.0.1:80");
    }
    cr_assert_eq(lucky.result, 1);
    cr_assert_eq(slow[1].asked, 1); /* the lucky one's */
    return NULL;
}

WF_TEST_WORKERS(resolve, aborted_before_its_turn_came_it_is_never_asked)
{
    run(workers, queued, NULL);
    cr_assert_eq(names_held, 0);
}

static void *abort_soon(void *arg)
{
    static name quick;
    (void)arg;
    quick = (name){.host = "quick", .answers = {"10.0.0.1:0", "[::1]:0"}};
    names_set(&quick, 1);
    for (size_t i = 0; i < wf_test_scale(2000); i++) {
        asker a = {.host = "quick"};
        weft_task *task = start(ask, &a);
        for (size_t k = 0; k < i % 16; k++)
            weft_yield();
        weft_abort(task);
        int err = weft_join(task, NULL);
        cr_assert(err == 0 || err == WEFT_EABORTED);
        cr_assert(!a.ended || a.result == 2 || a.result == WEFT_ECANCELED, "it is %d", a.result);
    }
    return NULL;
}

WF_TEST_WORKERS(resolve, an_answer_and_an_abort_at_the_same_time_leave_nothing)
{
    run(workers, abort_soon, NULL);
    cr_assert_eq(names_held, 0);
}

/* ---- who asks -------------------------------------------------------------------------------------------------- */

static void *many_askers(void *arg)
{
    enum { ASKERS = 200 };
    name all[] = {{.host = "a", .answers = {"10.0.0.1:0"}}, {.host = "b", .answers = {"10.0.0.2:0", "10.0.0.3:0"}}};
    static asker askers[ASKERS];
    weft_task *tasks[ASKERS];
    (void)arg;
    names_set(all, 2);
    for (int i = 0; i < ASKERS; i++) {
        askers[i] = (asker){.host = i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "c"};
        tasks[i] = start(ask, &askers[i]);
    }
    for (int i = 0; i < ASKERS; i++) {
        join(tasks[i]);
        cr_assert_eq(askers[i].result, i % 3 == 0 ? 1 : i % 3 == 1 ? 2 : WEFT_EAI_NONAME);
    }
    cr_assert_eq(names_asked, ASKERS);
    return NULL;
}

WF_TEST_WORKERS(resolve, many_ask_at_once)
{
    run(workers, many_askers, NULL);
    cr_assert_eq(names_held, 0);
}

typedef struct outsider {
    weft_runtime *rt;
    latch *latch;
} outsider;

/* Also with a deadline, which an answer that never comes does not hold up. */
static void *thread_asks(void *arg)
{
    outsider *o = arg;
    weft_addr a[2];
    weft_scope scope;
    cr_assert_eq(weft_resolve(a, 2, "quick", "80"), WEFT_ENORUNTIME);
    cr_assert_eq(weft_runtime_enter(o->rt), 0);
    cr_assert_eq(weft_resolve(a, 2, "quick", "80"), 1);
    expect(&a[0], "10.0.0.1:80");
    cr_assert_eq(weft_scope_enter(&scope, 20 * WEFT_MS), 0);
    cr_assert_eq(weft_resolve(a, 2, "slow", "80"), WEFT_ETIMEDOUT);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ETIMEDOUT);
    latch_open(o->latch);
    cr_assert_eq(weft_resolve(a, 2, "slow", "80"), 1);
    cr_assert_eq(weft_runtime_leave(), 0);
    return NULL;
}

WF_TEST_WORKERS(resolve, an_ordinary_thread_asks_and_has_its_deadlines)
{
    latch l = LATCH_INIT;
    name all[] = {{.host = "quick", .answers = {"10.0.0.1:0"}}, {.host = "slow", .answers = {"10.0.0.1:0"}, .latch = &l}};
    outsider o = {.rt = runtime(workers), .latch = &l};
    pthread_t thread;
    names_set(all, 2);
    cr_assert_eq(pthread_create(&thread, NULL, thread_asks, &o), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(weft_runtime_destroy(o.rt), 0);
    cr_assert_eq(names_held, 0);
}

static void *ask_in_job(void *arg)
{
    ask(arg);
    return NULL;
}

static void *from_jobs(void *arg)
{
    name quick = {.host = "quick", .answers = {"10.0.0.1:0"}};
    asker a = {.host = "quick"};
    weft_task *job;
    (void)arg;
    names_set(&quick, 1);
    cr_assert_eq(weft_spawn_blocking(&job, ask_in_job, &a), 0);
    join(job);
    cr_assert_eq(a.result, 1);
    return NULL;
}

WF_TEST_WORKERS(resolve, a_blocking_job_asks_too) { run(workers, from_jobs, NULL); }

typedef struct hasty {
    weft_future future;
    int numeric, name;
} hasty;

static weft_poll hasty_poll(weft_future *self, weft_context *cx, void **result)
{
    hasty *h = WEFT_CONTAINER_OF(self, hasty, future);
    weft_addr a[2];
    (void)cx;
    (void)result;
    h->numeric = weft_resolve(a, 2, "10.0.0.1", "80");
    h->name = weft_resolve(a, 2, "quick", "80");
    return WEFT_READY;
}

static const weft_future_ops hasty_ops = {.poll = hasty_poll};

static void *in_a_poll(void *arg)
{
    hasty h = {.future.ops = &hasty_ops};
    weft_task *task;
    names_set(NULL, 0);
    cr_assert_eq(weft_spawn_future(&task, &h.future), 0);
    join(task);
    cr_assert_eq(h.numeric, WEFT_EDEADLK);
    cr_assert_eq(h.name, WEFT_EDEADLK);
    cr_assert_eq(names_asked, 0);
    return arg;
}

Test(resolve, in_a_stackless_poll_nothing_can_wait) { run(1, in_a_poll, NULL); }

/* ---- time, ends and want ---------------------------------------------------------------------------------------- */

static void *open_when_asked(void *arg)
{
    name *slow = arg;
    SPIN_UNTIL(slow->asked > 0);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); /* room for a clock that does not stand to jump */
    latch_open(slow->latch);
    return NULL;
}

static void *sleep_long(void *arg)
{
    weft_sleep(3600 * WEFT_SEC);
    return arg;
}

static void *ask_paused(void *arg)
{
    latch l = LATCH_INIT;
    name slow = {.host = "slow", .answers = {"10.0.0.1:0"}, .latch = &l};
    weft_addr a[2];
    weft_scope scope;
    pthread_t thread;
    (void)arg;
    names_set(&slow, 1);
    weft_task *sleeper = start(sleep_long, NULL);
    int64_t begun = weft_now();
    cr_assert_eq(pthread_create(&thread, NULL, open_when_asked, &slow), 0);
    cr_assert_eq(weft_scope_enter(&scope, 60 * WEFT_SEC), 0);
    cr_assert_eq(weft_resolve(a, 2, "slow", "80"), 1);
    cr_assert_eq(weft_scope_leave(&scope), 0);
    cr_assert_eq(weft_now(), begun);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    join(sleeper); /* and then it goes on */
    cr_assert_eq(weft_now(), begun + 3600 * WEFT_SEC);
    return NULL;
}

WF_TEST_WORKERS(resolve, the_paused_clock_stands_while_a_name_is_asked_for)
{
    weft_options options = {.workers = workers, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, ask_paused, NULL, NULL), 0);
}

typedef struct ending {
    latch latch;
    name slow;
    asker asker;
} ending;

static void *end_while_asked(void *arg)
{
    ending *e = arg;
    weft_detach(start(ask, &e->asker));
    EVENTUALLY(e->slow.asked == 1);
    return NULL;
}

static void *open_when_ended(void *arg)
{
    ending *e = arg;
    SPIN_UNTIL(e->asker.ended);
    latch_open(&e->latch);
    return NULL;
}

WF_TEST_WORKERS(resolve, the_runtime_ends_its_asker_at_once_and_then_waits_for_the_answer)
{
    ending e = {.latch = LATCH_INIT, .slow = {.host = "slow", .answers = {"10.0.0.1:0"}}, .asker.host = "slow"};
    pthread_t thread;
    e.slow.latch = &e.latch;
    names_set(&e.slow, 1);
    cr_assert_eq(pthread_create(&thread, NULL, open_when_ended, &e), 0);
    run(workers, end_while_asked, &e);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(e.asker.result, WEFT_ECANCELED);
    cr_assert_eq(e.latch.inside, 0);
    cr_assert_eq(names_held, 0);
}

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
    name quick = {.host = "quick", .answers = {"10.0.0.1:0"}};
    weft_addr a[2];
    names_set(&quick, 1);
    out_of_memory = 1;
    cr_assert_eq(weft_resolve(a, 2, "quick", "80"), WEFT_ENOMEM);
    out_of_memory = 0;
    cr_assert_eq(quick.asked, 0);
    cr_assert_eq(weft_resolve(a, 2, "quick", "80"), 1);
    return arg;
}

Test(resolve, without_memory_nobody_is_asked)
{
    weft_options options = {.workers = 1, .allocator = {.alloc = scarce_alloc, .free = scarce_free}};
    cr_assert_eq(weft_run_with(&options, without_memory, NULL, NULL), 0);
    cr_assert_eq(blocks, 0);
    cr_assert_eq(names_held, 0);
}
