/* coro_test.c - coroutines without a scheduler: who runs, who waits, what crosses, and every way it ends. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/process.h>
#include <support/task_support.h>
#include <support/test.h>
#include <weft/coro.h>
#include <weft/diag.h>
#include <weft/future.h>
#include <weft/runtime.h>
#include <weft/task.h>
#include <weft/time.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static weft_coro *make(weft_fn fn, void *arg)
{
    weft_coro *c;
    cr_assert_eq(weft_coro_create(&c, fn, arg, 0), 0);
    cr_assert_not_null(c);
    return c;
}

static void count(void *counter) { ++*(int *)counter; }

/* A story told as the root strand of runtimes with 1, 2 and 8 workers, and elsewhere on a plain thread. */
static void in_strands(weft_fn story)
{
    run(1, story, NULL);
    run(2, story, NULL);
    run(8, story, NULL);
}

/* ---- what crosses -------------------------------------------------------------------------------------------- */

static void *squares(void *arg)
{
    for (uintptr_t i = 1; i <= (uintptr_t)arg; i++)
        weft_coro_yield((void *)(i * i));
    return (void *)(uintptr_t)1000000;
}

static void *generator(void *arg)
{
    weft_coro *c = make(squares, (void *)(uintptr_t)100);
    void *out = arg;
    for (uintptr_t i = 1; i <= 100; i++) {
        cr_assert_eq(weft_coro_resume(c, NULL, &out), 1);
        cr_assert_eq((uintptr_t)out, i * i);
    }
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 0);
    cr_assert_eq((uintptr_t)out, 1000000);
    for (int i = 0; i < 3; i++) {
        out = c;
        cr_assert_eq(weft_coro_resume(c, c, &out), 0, "finished for ever");
        cr_assert_null(out);
    }
    cr_assert_eq(weft_coro_stop(c), 0);
    cr_assert_str_eq(weft_coro_error(c), "");
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

static void *add_up(void *arg)
{
    uintptr_t sum = (uintptr_t)arg;
    for (;;) {
        uintptr_t next = (uintptr_t)weft_coro_yield((void *)sum);
        if (next == 0)
            return (void *)sum;
        sum += next;
    }
}

static void *values_in_and_out(void *arg)
{
    weft_coro *c = make(add_up, (void *)(uintptr_t)5);
    void *out = arg;
    cr_assert_eq(weft_coro_resume(c, (void *)(uintptr_t)777, &out), 1, "the first value is ignored");
    cr_assert_eq((uintptr_t)out, 5);
    cr_assert_eq(weft_coro_resume(c, (void *)(uintptr_t)10, &out), 1);
    cr_assert_eq((uintptr_t)out, 15);
    cr_assert_eq(weft_coro_resume(c, (void *)(uintptr_t)20, NULL), 1, "out may be NULL");
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 0);
    cr_assert_eq((uintptr_t)out, 35);
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

static void *nothing_at_all(void *arg) { return arg; }

static void *create_and_refuse(void *arg)
{
    weft_coro *c = arg;
    void *out = &c;
    cr_assert_eq(weft_coro_create(NULL, nothing_at_all, NULL, 0), WEFT_EINVAL);
    cr_assert_eq(weft_coro_create(&c, NULL, NULL, 0), WEFT_EINVAL);
    cr_assert_null(c);
    cr_assert_eq(weft_coro_create(&c, nothing_at_all, NULL, 1), WEFT_EINVAL);
    cr_assert_lt(weft_coro_create(&c, nothing_at_all, NULL, SIZE_MAX), 0);
    cr_assert_null(c);
    cr_assert_eq(weft_coro_resume(NULL, NULL, &out), WEFT_EINVAL);
    cr_assert_null(out);
    cr_assert_eq(weft_coro_stop(NULL), WEFT_EINVAL);
    cr_assert_eq(weft_coro_free(NULL), 0);
    cr_assert_eq(weft_coro_bind_thread(NULL), WEFT_EINVAL);
    cr_assert_null(weft_coro_yield(&c), "outside a body");
    cr_assert_eq(weft_coro_stopping(), 0);
    cr_assert_null(weft_coro_self());
    cr_assert_eq(weft_coro_create(&c, nothing_at_all, &c, 16 * 1024), 0, "a small stack");
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 0);
    cr_assert_eq(out, &c);
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

Test(coro, generator_on_a_plain_thread) { generator(NULL); }
Test(coro, generator_in_a_strand) { in_strands(generator); }
Test(coro, values_in_and_out_on_a_plain_thread) { values_in_and_out(NULL); }
Test(coro, values_in_and_out_in_a_strand) { in_strands(values_in_and_out); }
Test(coro, create_and_refuse_on_a_plain_thread) { create_and_refuse(NULL); }
Test(coro, create_and_refuse_in_a_strand) { in_strands(create_and_refuse); }

/* ---- stop ---------------------------------------------------------------------------------------------------- */

static void *count_me(void *arg)
{
    count(arg);
    return NULL;
}

static void *stop_before_the_first_resume(void *arg)
{
    int ran = 0;
    weft_coro *c = make(count_me, &ran);
    void *out = arg;
    cr_assert_eq(weft_coro_stop(c), 0);
    cr_assert_eq(weft_coro_stop(c), 0);
    cr_assert_eq(weft_coro_resume(c, &ran, &out), 0);
    cr_assert_null(out);
    cr_assert_eq(weft_coro_free(c), 0);
    c = make(count_me, &ran);
    cr_assert_eq(weft_coro_free(c), 0, "freeing stops");
    cr_assert_eq(ran, 0);
    return NULL;
}

typedef struct stops {
    int told, after, deferred;
} stops;

static void *note_the_stop(void *arg)
{
    stops *s = arg;
    weft_defer(count, &s->deferred);
    cr_assert_eq(weft_coro_stopping(), 0);
    void *in = weft_coro_yield(s);
    if (!in && weft_coro_stopping())
        s->told++;
    return s;
}

static void *yield_when_stopped(void *arg)
{
    stops *s = arg;
    weft_defer(count, &s->deferred);
    while (weft_coro_yield(s))
        ;
    s->told += weft_coro_stopping() != 0;
    weft_coro_yield(s); /* this is where it ends */
    s->after++;
    return s;
}

static void *stop_at_the_pending_yield(void *arg)
{
    stops s = {0};
    weft_coro *c = make(note_the_stop, &s);
    void *out = arg;
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 1);
    cr_assert_eq(weft_coro_stop(c), 0);
    cr_assert_eq(s.told, 1);
    cr_assert_eq(s.deferred, 1);
    cr_assert_eq(weft_coro_stop(c), 0);
    cr_assert_eq(weft_coro_resume(c, &s, &out), 0);
    cr_assert_null(out);
    cr_assert_eq(s.told, 1);
    cr_assert_eq(weft_coro_free(c), 0);
    c = make(note_the_stop, &s);
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 1);
    cr_assert_eq(weft_coro_free(c), 0, "freeing stops");
    cr_assert_eq(s.told, 2);
    cr_assert_eq(s.deferred, 2);
    return NULL;
}

static void *a_further_yield_ends_it(void *arg)
{
    stops s = {0};
    weft_coro *c = make(yield_when_stopped, &s);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    cr_assert_eq(weft_coro_resume(c, &s, NULL), 1);
    cr_assert_eq(weft_coro_stop(c), 0);
    cr_assert_eq(s.told, 1);
    cr_assert_eq(s.after, 0, "nothing after that yield");
    cr_assert_eq(s.deferred, 1);
    cr_assert_eq(weft_coro_resume(c, &s, NULL), 0);
    cr_assert_eq(s.after, 0);
    cr_assert_eq(weft_coro_free(c), 0);
    return arg;
}

Test(coro, stop_before_the_first_resume_on_a_plain_thread) { stop_before_the_first_resume(NULL); }
Test(coro, stop_before_the_first_resume_in_a_strand) { in_strands(stop_before_the_first_resume); }
Test(coro, stop_at_the_pending_yield_on_a_plain_thread) { stop_at_the_pending_yield(NULL); }
Test(coro, stop_at_the_pending_yield_in_a_strand) { in_strands(stop_at_the_pending_yield); }
Test(coro, a_further_yield_ends_it_on_a_plain_thread) { a_further_yield_ends_it(NULL); }
Test(coro, a_further_yield_ends_it_in_a_strand) { in_strands(a_further_yield_ends_it); }

/* ---- d33: misuse is reported, and no exit strands the peer ----------------------------------------------------- */

static void *misuse_myself(void *arg)
{
    weft_coro **me = arg;
    void *out = arg;
    cr_assert_eq(weft_coro_self(), *me);
    cr_assert_eq(weft_coro_resume(*me, NULL, &out), WEFT_EBUSY);
    cr_assert_null(out);
    cr_assert_eq(weft_coro_stop(*me), WEFT_EBUSY);
    cr_assert_eq(weft_coro_free(*me), WEFT_EBUSY);
    cr_assert_eq(weft_coro_stopping(), 0, "a refused stop is none");
    weft_coro_yield(NULL);
    return *me;
}

static void *d33_resuming_oneself_is_refused(void *arg)
{
    weft_coro *c;
    void *out = arg;
    c = make(misuse_myself, &c);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 0);
    cr_assert_eq(out, c);
    cr_assert_null(weft_coro_self());
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

typedef struct pair {
    weft_coro *outer, *inner;
    int steps;
} pair;

static void *resume_my_resumer(void *arg)
{
    pair *p = arg;
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(weft_coro_self(), p->inner);
        cr_assert_eq(weft_coro_resume(p->outer, NULL, NULL), WEFT_EBUSY, "it waits for us");
        cr_assert_eq(weft_coro_stop(p->outer), WEFT_EBUSY);
        p->steps++;
        weft_coro_yield(NULL);
    }
    return NULL;
}

static void *resume_the_inner(void *arg)
{
    pair *p = arg;
    while (weft_coro_resume(p->inner, NULL, NULL) == 1) {
        cr_assert_eq(weft_coro_self(), p->outer);
        weft_coro_yield(NULL);
    }
    return NULL;
}

static void *d33_resuming_the_resumer_is_refused(void *arg)
{
    pair p = {.steps = 0};
    p.outer = make(resume_the_inner, &p);
    p.inner = make(resume_my_resumer, &p);
    while (weft_coro_resume(p.outer, NULL, NULL) == 1)
        cr_assert_null(weft_coro_self());
    cr_assert_eq(p.steps, 3);
    cr_assert_eq(weft_coro_free(p.outer), 0);
    cr_assert_eq(weft_coro_free(p.inner), 0);
    return arg;
}

static void *panic_at_step(void *arg)
{
    stops *s = arg;
    weft_defer(count, &s->deferred);
    weft_shield_enter();
    weft_coro_yield(s);
    weft_panic("step %d", 2);
    return NULL;
}

static void *panic_when_stopped(void *arg)
{
    stops *s = arg;
    weft_defer(count, &s->deferred);
    weft_coro_yield(s);
    weft_panic("no time to stop");
    return NULL;
}

static void panic_in_defer(void *arg)
{
    count(arg);
    weft_panic("in a defer");
}

static void *panic_in_defers(void *arg)
{
    stops *s = arg;
    weft_defer(count, &s->deferred);
    weft_defer(panic_in_defer, &s->deferred);
    if (s->told)
        weft_panic("first");
    return s;
}

static void *d33_a_panic_in_the_body_reaches_the_resumer(void *arg)
{
    stops s = {0};
    void *out = arg;
    weft_coro *c = make(panic_at_step, &s);
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 1);
    out = c;
    cr_assert_eq(weft_coro_resume(c, NULL, &out), WEFT_EPANIC);
    cr_assert_null(out);
    cr_assert_eq(s.deferred, 1);
    cr_assert_str_eq(weft_coro_error(c), "step 2");
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 0, "once");
    cr_assert_str_eq(weft_coro_error(c), "step 2");
    cr_assert_null(weft_coro_self());
    cr_assert_eq(weft_coro_free(c), 0);
    c = make(panic_when_stopped, &s);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    cr_assert_eq(weft_coro_stop(c), WEFT_EPANIC);
    cr_assert_eq(weft_coro_stop(c), 0);
    cr_assert_str_eq(weft_coro_error(c), "no time to stop");
    cr_assert_eq(s.deferred, 2);
    cr_assert_eq(weft_coro_free(c), 0);
    c = make(panic_when_stopped, &s);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    cr_assert_eq(weft_coro_free(c), 0, "freed all the same");
    cr_assert_eq(s.deferred, 3);
    s.deferred = 0;
    c = make(panic_in_defers, &s);
    cr_assert_eq(weft_coro_resume(c, NULL, &out), WEFT_EPANIC);
    cr_assert_str_eq(weft_coro_error(c), "in a defer");
    cr_assert_eq(s.deferred, 2, "the rest ran too");
    cr_assert_eq(weft_coro_free(c), 0);
    s = (stops){.told = 1};
    c = make(panic_in_defers, &s);
    cr_assert_eq(weft_coro_resume(c, NULL, &out), WEFT_EPANIC);
    cr_assert_str_eq(weft_coro_error(c), "first");
    cr_assert_eq(s.deferred, 2);
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

static void *panic_deep_inside(void *arg)
{
    weft_panic("%s", (const char *)arg);
    return NULL;
}

static void *survive_the_inner_panic(void *arg)
{
    weft_coro *inner = make(panic_deep_inside, "inner");
    cr_assert_eq(weft_coro_resume(inner, NULL, NULL), WEFT_EPANIC);
    cr_assert_str_eq(weft_coro_error(inner), "inner");
    cr_assert_eq(weft_coro_free(inner), 0);
    weft_coro_yield(arg);
    weft_panic("outer");
    return NULL;
}

static void *d33_a_panic_ends_the_innermost_body_only(void *arg)
{
    weft_coro *c = make(survive_the_inner_panic, &arg);
    void *out;
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 1);
    cr_assert_eq(out, &arg);
    cr_assert_eq(weft_coro_resume(c, NULL, &out), WEFT_EPANIC);
    cr_assert_str_eq(weft_coro_error(c), "outer");
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

Test(coro, d33_resuming_oneself_is_refused_on_a_plain_thread) { d33_resuming_oneself_is_refused(NULL); }
Test(coro, d33_resuming_oneself_is_refused_in_a_strand) { in_strands(d33_resuming_oneself_is_refused); }
Test(coro, d33_resuming_the_resumer_is_refused_on_a_plain_thread) { d33_resuming_the_resumer_is_refused(NULL); }
Test(coro, d33_resuming_the_resumer_is_refused_in_a_strand) { in_strands(d33_resuming_the_resumer_is_refused); }
Test(coro, d33_a_panic_in_the_body_reaches_the_resumer_on_a_plain_thread)
{
    d33_a_panic_in_the_body_reaches_the_resumer(NULL);
}
Test(coro, d33_a_panic_in_the_body_reaches_the_resumer_in_a_strand)
{
    in_strands(d33_a_panic_in_the_body_reaches_the_resumer);
}
Test(coro, d33_a_panic_ends_the_innermost_body_only_on_a_plain_thread)
{
    d33_a_panic_ends_the_innermost_body_only(NULL);
}
Test(coro, d33_a_panic_ends_the_innermost_body_only_in_a_strand)
{
    in_strands(d33_a_panic_ends_the_innermost_body_only);
}

typedef struct foreign {
    weft_coro *c;
    int resumed, stopped, freed, bound;
} foreign;

static void *misuse_from_another_thread(void *arg)
{
    foreign *f = arg;
    f->resumed = weft_coro_resume(f->c, NULL, NULL);
    f->bound = weft_coro_bind_thread(f->c);
    f->stopped = weft_coro_stop(f->c);
    f->freed = weft_coro_free(f->c);
    return NULL;
}

Test(coro, d33_a_body_bound_to_a_thread_keeps_to_it)
{
    foreign f = {.c = make(squares, (void *)(uintptr_t)3)};
    pthread_t thread;
    void *out;
    cr_assert_eq(weft_coro_resume(f.c, NULL, NULL), 1);
    cr_assert_eq(weft_coro_bind_thread(f.c), 0);
    cr_assert_eq(weft_coro_bind_thread(f.c), 0);
    cr_assert_eq(pthread_create(&thread, NULL, misuse_from_another_thread, &f), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(f.resumed, WEFT_EBUSY);
    cr_assert_eq(f.bound, WEFT_EBUSY);
    cr_assert_eq(f.stopped, WEFT_EBUSY);
    cr_assert_eq(f.freed, WEFT_EBUSY);
    cr_assert_eq(weft_coro_resume(f.c, NULL, &out), 1, "nothing happened to it");
    cr_assert_eq((uintptr_t)out, 4);
    cr_assert_eq(weft_coro_free(f.c), 0);
}

static void *hold_until_told(void *arg)
{
    atomic_int *phase = arg;
    *phase = 1;
    EVENTUALLY(*phase == 2); /* the whole thread waits, inside the body */
    return arg;
}

typedef struct running {
    atomic_int phase;
    weft_coro *c;
    int code;
} running;

static void *resume_it(void *arg)
{
    running *r = arg;
    r->code = weft_coro_resume(r->c, NULL, NULL);
    return NULL;
}

static void *panic_inside_a_task(void *arg)
{
    weft_coro *c = make(panic_deep_inside, arg);
    int code = weft_coro_resume(c, NULL, NULL);
    cr_assert_eq(weft_coro_free(c), 0);
    cr_assert_eq(weft_yield(), 0, "the task itself goes on");
    return (void *)(intptr_t)code;
}

static void *panic_with_a_coro_asleep(void *arg)
{
    weft_coro **c = arg;
    *c = make(add_up, NULL);
    cr_assert_eq(weft_coro_resume(*c, NULL, NULL), 1);
    weft_panic("the task, not the coro");
    return NULL;
}

static void *task_and_coro_panics(void *arg)
{
    weft_task *task;
    weft_coro *c;
    void *result;
    (void)arg;
    cr_assert_eq(weft_spawn(&task, panic_inside_a_task, "x"), 0);
    cr_assert_eq(weft_join(task, &result), 0);
    cr_assert_eq((intptr_t)result, WEFT_EPANIC);
    cr_assert_eq(weft_spawn(&task, panic_with_a_coro_asleep, &c), 0);
    cr_assert_eq(weft_join(task, NULL), WEFT_EPANIC);
    cr_assert_eq(weft_coro_resume(c, (void *)(uintptr_t)4, &result), 1, "the sleeping one outlives its resumer");
    cr_assert_eq((uintptr_t)result, 4);
    cr_assert_str_eq(weft_coro_error(c), "");
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

WF_TEST_WORKERS(coro, d33_a_panic_belongs_to_the_body_it_happens_in) { run(workers, task_and_coro_panics, NULL); }

/* ---- between threads, between tasks ---------------------------------------------------------------------------- */

typedef struct relay {
    weft_coro *c;
    uintptr_t sum;
} relay;

static void *resume_once(void *arg)
{
    relay *r = arg;
    void *out;
    cr_assert_eq(weft_coro_resume(r->c, (void *)(uintptr_t)1, &out), 1);
    r->sum = (uintptr_t)out;
    return NULL;
}

Test(coro, one_thread_after_the_other_resumes_it)
{
    relay r = {.c = make(add_up, NULL)};
    cr_assert_eq(weft_coro_resume(r.c, NULL, NULL), 1);
    for (uintptr_t i = 1; i <= 20; i++) {
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, resume_once, &r), 0);
        pthread_join(thread, NULL);
        cr_assert_eq(r.sum, i);
    }
    cr_assert_eq(weft_coro_free(r.c), 0);
}

static void *relay_root(void *arg)
{
    relay r = {.c = make(add_up, NULL)};
    (void)arg;
    cr_assert_eq(weft_coro_resume(r.c, NULL, NULL), 1);
    for (uintptr_t i = 1; i <= 100; i++) {
        weft_task *task;
        cr_assert_eq(weft_spawn(&task, resume_once, &r), 0);
        cr_assert_eq(weft_join(task, NULL), 0);
        cr_assert_eq(r.sum, i);
    }
    cr_assert_eq(weft_coro_free(r.c), 0);
    return NULL;
}

WF_TEST_WORKERS(coro, one_task_after_the_other_resumes_it) { run(workers, relay_root, NULL); }

Test(coro, an_await_in_a_body_blocks_a_plain_thread)
{
    running r = {.phase = 0};
    pthread_t thread;
    r.c = make(hold_until_told, &r.phase);
    cr_assert_eq(pthread_create(&thread, NULL, resume_it, &r), 0);
    EVENTUALLY(r.phase == 1);
    r.phase = 2;
    pthread_join(thread, NULL);
    cr_assert_eq(r.code, 0);
    cr_assert_eq(weft_coro_free(r.c), 0);
}

/* ---- nested ----------------------------------------------------------------------------------------------------- */

static void *walk(void *arg)
{
    uintptr_t depth = (uintptr_t)arg;
    weft_coro *below = depth > 1 ? make(walk, (void *)(depth - 1)) : NULL;
    void *out;
    while (below && weft_coro_resume(below, NULL, &out) == 1)
        weft_coro_yield(out);
    if (below)
        cr_assert_eq(weft_coro_free(below), 0);
    weft_coro_yield((void *)depth);
    weft_coro_yield((void *)depth);
    return NULL;
}

static void *nested(void *arg)
{
    weft_coro *c = make(walk, (void *)(uintptr_t)20);
    void *out;
    for (uintptr_t depth = 1; depth <= 20; depth++)
        for (int i = 0; i < 2; i++) {
            cr_assert_eq(weft_coro_resume(c, NULL, &out), 1);
            cr_assert_eq((uintptr_t)out, depth);
        }
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 0);
    cr_assert_eq(weft_coro_free(c), 0);
    c = make(walk, (void *)(uintptr_t)1);
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 1);
    cr_assert_eq(weft_coro_free(c), 0);
    return arg;
}

Test(coro, nested_on_a_plain_thread) { nested(NULL); }
Test(coro, nested_in_a_strand) { in_strands(nested); }

/* ---- what belongs to a body -------------------------------------------------------------------------------------- */

static char order[32];

static void note(void *letter)
{
    size_t length = strlen(order);
    order[length] = *(const char *)letter;
    order[length + 1] = '\0';
}

static void *defer_in_body(void *arg)
{
    cr_assert_eq(weft_defer_pop(1), WEFT_EINVAL, "the resumer's are not ours");
    cr_assert_eq(weft_defer(note, "c"), 0);
    cr_assert_eq(weft_defer(note, "b"), 0);
    weft_coro_yield(NULL);
    cr_assert_eq(weft_defer(note, "a"), 0);
    note("-");
    return arg;
}

static void *defers_of_a_body_run_at_its_end(void *arg)
{
    weft_coro *c = make(defer_in_body, arg);
    order[0] = '\0';
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    if (weft_self_id()) {
        cr_assert_eq(weft_defer(note, "z"), 0);
        cr_assert_eq(weft_defer_pop(0), 0);
        cr_assert_eq(weft_defer_pop(1), WEFT_EINVAL, "nor are its ours");
    }
    cr_assert_str_eq(order, "");
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 0);
    cr_assert_str_eq(order, "-abc");
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

Test(coro, defers_of_a_body_run_at_its_end_on_a_plain_thread) { defers_of_a_body_run_at_its_end(NULL); }
Test(coro, defers_of_a_body_run_at_its_end_in_a_strand) { in_strands(defers_of_a_body_run_at_its_end); }

static weft_task *myself;

static void *shield_in_body(void *arg)
{
    cr_assert_eq(weft_shield_leave(), WEFT_EINVAL, "the resumer's is not ours");
    cr_assert_eq(weft_shield_enter(), 0);
    weft_coro_yield(arg);
    cr_assert_eq(weft_is_cancelled(), 0, "back under our shield");
    cr_assert_eq(weft_yield(), 0);
    cr_assert_eq(weft_shield_leave(), 0);
    cr_assert_eq(weft_is_cancelled(), 1);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    weft_coro_yield(arg);
    cr_assert_eq(weft_is_cancelled(), 0, "the resumer's shield covers us");
    cr_assert_eq(weft_yield(), 0);
    weft_shield_enter();
    return arg;
}

static void *shields_of_both(void *arg)
{
    weft_coro *c = make(shield_in_body, arg);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    cr_assert_eq(weft_shield_leave(), WEFT_EINVAL, "the body's is not ours");
    weft_abort(myself);
    cr_assert_eq(weft_is_cancelled(), 1, "the body's shield covers only the body");
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    cr_assert_eq(weft_shield_enter(), 0);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 0);
    cr_assert_eq(weft_yield(), 0);
    cr_assert_eq(weft_shield_leave(), 0);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED, "the one it did not leave went with it");
    cr_assert_eq(weft_coro_free(c), 0);
    count(arg);
    return NULL;
}

static void *shields_root(void *arg)
{
    weft_spawn_options options = {.pinned = 1};
    int done = 0;
    (void)arg;
    cr_assert_eq(weft_spawn_with(&myself, &options, shields_of_both, &done), 0);
    cr_assert_eq(weft_join(myself, NULL), WEFT_EABORTED);
    cr_assert_eq(done, 1);
    return NULL;
}

WF_TEST_WORKERS(coro, shields_of_a_body_count_while_it_runs) { run(workers, shields_root, NULL); }

static const weft_local local = WEFT_LOCAL_INIT(NULL, 0);

static void *use_the_tasks_own(void *arg)
{
    uint64_t id = (uintptr_t)weft_coro_yield(NULL);
    cr_assert_eq(weft_self_id(), id);
    cr_assert_eq(weft_local_get(&local), arg);
    id = (uintptr_t)weft_coro_yield(NULL);
    cr_assert_eq(weft_self_id(), id, "whoever resumes it is who it is");
    cr_assert_null(weft_local_get(&local));
    return NULL;
}

static void *finish_it(void *c)
{
    cr_assert_eq(weft_coro_resume(c, (void *)(uintptr_t)weft_self_id(), NULL), 0);
    return NULL;
}

static void *own_root(void *arg)
{
    weft_coro *c = make(use_the_tasks_own, &arg);
    weft_task *task;
    cr_assert_eq(weft_local_set(&local, &arg), 0);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
    cr_assert_eq(weft_coro_resume(c, (void *)(uintptr_t)weft_self_id(), NULL), 1);
    cr_assert_eq(weft_spawn(&task, finish_it, c), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

WF_TEST_WORKERS(coro, a_body_is_part_of_the_task_that_resumes_it) { run(workers, own_root, NULL); }

/* ---- awaits in a body --------------------------------------------------------------------------------------------- */

static atomic_int migrations;

static void *await_often(void *arg)
{
    uint64_t id = weft_self_id();
    weft_coro *me = weft_coro_self();
    for (int i = 0; i < 100; i++) {
        long before = thread_id();
        cr_assert_eq(i % 8 ? weft_yield() : weft_sleep(WEFT_MS / 20), 0);
        migrations += thread_id() != before;
        cr_assert_eq(weft_self_id(), id);
        cr_assert_eq(weft_coro_self(), me);
        if (i % 10 == 0)
            weft_coro_yield(arg);
        cr_assert_eq(weft_self_id(), id);
    }
    return NULL;
}

static void *await_in_the_inner(void *arg)
{
    weft_coro *inner = make(await_often, arg), *me = weft_coro_self();
    while (weft_coro_resume(inner, NULL, NULL) == 1) {
        cr_assert_eq(weft_coro_self(), me);
        cr_assert_eq(weft_yield(), 0);
        weft_coro_yield(arg);
    }
    cr_assert_eq(weft_coro_free(inner), 0);
    return NULL;
}

static void *drive_a_coro(void *arg)
{
    weft_coro *c = make(arg ? await_in_the_inner : await_often, arg);
    uint64_t id = weft_self_id();
    int n = 0;
    while (weft_coro_resume(c, NULL, NULL) == 1) {
        cr_assert_eq(weft_self_id(), id);
        cr_assert_null(weft_coro_self());
        cr_assert_eq(weft_yield(), 0);
        n++;
    }
    cr_assert_eq(n, 10);
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

static void *migrating_root(void *arg)
{
    enum { MANY = 40 };
    weft_task *tasks[MANY];
    int64_t until = weft_now() + PATIENCE;
    migrations = 0;
    do {
        for (int i = 0; i < MANY; i++)
            cr_assert_eq(weft_spawn(&tasks[i], drive_a_coro, i % 2 ? &migrations : NULL), 0);
        for (int i = 0; i < MANY; i++)
            cr_assert_eq(weft_join(tasks[i], NULL), 0);
        cr_assert(weft_now() < until, "none ever migrates");
    } while (*(unsigned *)arg > 1 && migrations == 0);
    return NULL;
}

WF_TEST_WORKERS(coro, an_await_in_a_body_suspends_the_whole_task_which_may_migrate)
{
    run(workers, migrating_root, &workers);
}

static void *sleep_in_body(void *arg)
{
    *(int *)arg = weft_sleep(WEFT_FOREVER);
    weft_coro_yield(NULL);
    return NULL;
}

static void *sleep_in_coro(void *arg)
{
    weft_coro *c = make(sleep_in_body, arg);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1, "the body was told, not the resumer");
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

static void *abort_in_body_root(void *arg)
{
    int code = 0, other = 0;
    weft_task *task, *bystander;
    (void)arg;
    cr_assert_eq(weft_spawn(&task, sleep_in_coro, &code), 0);
    cr_assert_eq(weft_spawn(&bystander, sleep_in_coro, &other), 0);
    EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE && weft_task_state(bystander) == WEFT_TASK_IDLE);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
    cr_assert_eq(code, WEFT_ECANCELED);
    cr_assert_eq(other, 0);
    cr_assert_eq(weft_task_close(bystander), 0);
    return NULL;
}

WF_TEST_WORKERS(coro, an_abort_reaches_the_await_in_a_body) { run(workers, abort_in_body_root, NULL); }

/* In a stackless poll a body may run, but not wait. */
typedef struct polled {
    weft_future future;
    int code, resumed;
} polled;

static void *wait_in_vain(void *arg)
{
    *(int *)arg = weft_yield();
    weft_coro_yield(arg);
    return arg;
}

static weft_poll resume_in_poll(weft_future *f, weft_context *cx, void **result)
{
    polled *p = WEFT_CONTAINER_OF(f, polled, future);
    weft_coro *c = make(wait_in_vain, &p->code);
    (void)cx, (void)result;
    p->resumed = weft_coro_resume(c, NULL, NULL);
    cr_assert_eq(weft_coro_free(c), 0);
    return WEFT_READY;
}

static const weft_future_ops polled_ops = {.poll = resume_in_poll};

static void *poll_root(void *arg)
{
    for (int i = 0; i < 10; i++) {
        polled p = {.future = {&polled_ops}};
        weft_task *task;
        cr_assert_eq(weft_spawn_future(&task, &p.future), 0);
        cr_assert_eq(weft_join(task, NULL), 0);
        cr_assert_eq(p.resumed, 1);
        cr_assert_eq(p.code, WEFT_EDEADLK);
    }
    return arg;
}

WF_TEST_WORKERS(coro, a_body_resumed_in_a_stackless_poll_cannot_wait) { run(workers, poll_root, NULL); }

static weft_poll panic_in_poll(weft_future *f, weft_context *cx, void **result)
{
    polled *p = WEFT_CONTAINER_OF(f, polled, future);
    weft_coro *c = make(panic_deep_inside, "in a coro in a poll");
    (void)cx, (void)result;
    p->resumed = weft_coro_resume(c, NULL, NULL);
    p->code = strcmp(weft_coro_error(c), "in a coro in a poll");
    cr_assert_eq(weft_coro_free(c), 0);
    return WEFT_READY;
}

static const weft_future_ops panicking_ops = {.poll = panic_in_poll};

static void *poll_panic_root(void *arg)
{
    polled p = {.future = {&panicking_ops}, .code = 1};
    weft_task *task;
    cr_assert_eq(weft_spawn_future(&task, &p.future), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
    cr_assert_eq(p.resumed, WEFT_EPANIC);
    cr_assert_eq(p.code, 0);
    return arg;
}

WF_TEST_WORKERS(coro, a_panic_of_a_body_resumed_in_a_stackless_poll_ends_the_body_only)
{
    run(workers, poll_panic_root, NULL);
}

/* ---- many ---------------------------------------------------------------------------------------------------------- */

static void *many_at_once(void *arg)
{
    size_t many = wf_test_scale(10000);
    weft_coro **all = calloc(many, sizeof *all);
    void *out;
    (void)arg;
    for (size_t i = 0; i < many; i++) {
        cr_assert_eq(weft_coro_create(&all[i], add_up, (void *)i, 16 * 1024), 0);
        cr_assert_eq(weft_coro_resume(all[i], NULL, &out), 1);
        cr_assert_eq((size_t)out, i);
    }
    for (int round = 1; round <= 3; round++)
        for (size_t i = 0; i < many; i++) {
            cr_assert_eq(weft_coro_resume(all[i], (void *)(uintptr_t)1, &out), 1);
            cr_assert_eq((size_t)out, i + (size_t)round);
        }
    for (size_t i = 0; i < many; i++)
        cr_assert_eq(weft_coro_free(all[i]), 0);
    free(all);
    return NULL;
}

Test(coro, ten_thousand_live_on_a_plain_thread) { many_at_once(NULL); }
Test(coro, ten_thousand_live_in_a_strand) { run(2, many_at_once, NULL); }

static void *generate_on_my_thread(void *arg)
{
    for (int i = 0; i < 20; i++)
        generator(arg);
    return NULL;
}

Test(coro, many_threads_without_a_runtime) { in_threads(6, generate_on_my_thread, NULL); }

static void *stacks_root(void *arg)
{
    weft_metrics_t before, now;
    weft_coro *c;
    cr_assert_eq(weft_metrics(NULL, &before), 0);
    for (int i = 0; i < 100; i++) {
        c = make(add_up, NULL);
        if (i % 3)
            cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
        cr_assert_eq(weft_coro_free(c), 0);
    }
    cr_assert_eq(weft_metrics(NULL, &now), 0);
    cr_assert_eq(now.stacks_live, before.stacks_live, "a stack stayed behind");
    return arg;
}

Test(coro, every_stack_is_given_back) { run(1, stacks_root, NULL); }

/* Resumed in a strand first, at home on a thread later, and freed where there is no runtime any more. */
static void *leave_it_behind(void *arg)
{
    weft_coro **c = arg;
    *c = make(add_up, NULL);
    cr_assert_eq(weft_coro_resume(*c, NULL, NULL), 1);
    return NULL;
}

Test(coro, it_outlives_the_runtime_that_resumed_it)
{
    weft_coro *c;
    void *out;
    run(2, leave_it_behind, &c);
    cr_assert_eq(weft_coro_resume(c, (void *)(uintptr_t)9, &out), 1);
    cr_assert_eq((uintptr_t)out, 9);
    cr_assert_eq(weft_coro_free(c), 0);
}
