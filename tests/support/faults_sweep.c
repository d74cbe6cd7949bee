/* faults_sweep.c - see faults_sweep.h. */
#include "faults_sweep.h"

#include <stdatomic.h>
#include <support/process.h>

enum { MOST_CALLS = 5000, MOST_PLAYS = 50 };

/* Of a scene: it takes milliseconds. */
#define SCENE_PATIENCE ((WF_TEST_SANITIZED ? 100 : 40) * WEFT_SEC)

void faults_need(void)
{
    if (!faults_available())
        cr_skip_test("the sanitizer has the place of the system calls");
}

static ssize_t expected; /* the code of the fault that is under way */

ssize_t faults_first(ssize_t a, ssize_t b)
{
    if (a == expected || b == expected)
        return expected;
    return a < 0 && a != WEFT_ECLOSED ? a : b;
}

/* ---- somebody else ---------------------------------------------------------------------------------------------- */

enum { ROUNDS = 3 };

/* They talk while the scene is played, and no more than that. */
typedef struct company {
    weft_stream *ends[2];
    weft_task *tasks[2];
    weft_semaphore wanted;
    atomic_uint rounds;
} company;

static void *answer(void *arg)
{
    company *c = arg;
    char byte;
    while (weft_read(c->ends[1], &byte, 1) == 1) {
        byte++;
        cr_assert_eq(weft_write(c->ends[1], &byte, 1), 1);
    }
    return NULL;
}

static void *talk(void *arg)
{
    company *c = arg;
    char byte = 0, back = 0;
    while (weft_semaphore_acquire(&c->wanted, 1) == 0 && weft_write(c->ends[0], &byte, 1) == 1) {
        cr_assert_eq(weft_read(c->ends[0], &back, 1), 1);
        cr_assert_eq(back, (char)(byte + 1));
        byte = back;
        atomic_fetch_add(&c->rounds, 1);
    }
    return NULL;
}

static void company_begin(company *c)
{
    weft_semaphore_init(&c->wanted, 0);
    pair(&c->ends[0], &c->ends[1]);
    c->tasks[0] = start(talk, c);
    c->tasks[1] = start(answer, c);
}

static void company_goes_on(company *c, unsigned until)
{
    int64_t deadline = weft_now() + PATIENCE;
    while (atomic_load(&c->rounds) < until) {
        cr_assert_lt(weft_now(), deadline, "somebody else's conversation has stopped");
        weft_yield();
    }
}

static void company_end(company *c)
{
    weft_stream_abort(c->ends[0]);
    weft_semaphore_release(&c->wanted, 1);
    for (int i = 0; i < 2; i++)
        join(c->tasks[i]);
    for (int i = 0; i < 2; i++)
        weft_close(c->ends[i]);
}

/* ---- one fault ---------------------------------------------------------------------------------------------------- */

static void check_result(const fault *f, unsigned nth, unsigned hits, ssize_t result)
{
    const faults_plan *p = &f->plan;
    bool right = f->effect == FAULTS_ANYHOW || (f->effect == FAULTS_SOMETIMES && result == 0);
    if (hits == 0 || f->effect == FAULTS_UNNOTICED)
        right = result == 0;
    else
        right |= result == f->code;
    cr_assert(right, "%s, error %d, at most %zu, %u times from %u on (%u hit): it came to %zd, for %d",
              faults_name(p->call), p->error, p->at_most, p->times, nth, hits, result, f->code);
}

static unsigned before; /* so many descriptors are open between two plays */

/* The portable reactor closes a little later: what is still there when others have come and gone for a while stays. */
static void count_descriptors(void)
{
    before = open_fds();
    for (int same = 0; same < 20; same++) {
        weft_sleep(WEFT_MS);
        if (open_fds() != before)
            same = 0;
        before = open_fds();
    }
}

static void check_descriptors(const fault *f, unsigned nth)
{
    int64_t deadline = weft_now() + PATIENCE;
    while (open_fds() != before) {
        cr_assert_lt(weft_now(), deadline, "%s, error %d, from %u on: %u descriptors, there were %u",
                     faults_name(f->plan.call), f->plan.error, nth, open_fds(), before);
        weft_sleep(WEFT_MS);
    }
}

/* Instead of a test that never ends. */
static ssize_t play_in_time(const faults_sweep *s)
{
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, SCENE_PATIENCE), 0);
    ssize_t result = s->scene(s->arg);
    return faults_first(result, weft_scope_leave(&scope));
}

/* Returns how many calls were hit. */
static unsigned play(const faults_sweep *s, const fault *f, unsigned nth, bool *told)
{
    faults_plan plan = f->plan;
    plan.port = s->port;
    plan.nth = nth;
    expected = f->effect == FAULTS_UNNOTICED ? 1 : f->code;
    faults_begin(&plan);
    ssize_t result = play_in_time(s);
    unsigned hits = faults_end();
    check_result(f, nth, hits, result);
    *told |= result < 0;
    if (!s->keeps)
        check_descriptors(f, nth);
    return hits;
}

/* The first ones each, later ones now and then; fewer where it is slow. */
static unsigned next_after(unsigned nth)
{
#if defined(__SANITIZE_THREAD__)
    return nth < 2 ? 2 : 3 * nth;
#else
    unsigned each = WF_TEST_SANITIZED ? 4 : 32;
    return nth + (nth < each ? 1 : nth / 4);
#endif
}

/* The scene, while somebody else's conversation goes on. Returns how many calls were hit. */
static unsigned play_in_company(const faults_sweep *s, const fault *f, unsigned nth, bool *told, company *c)
{
    unsigned rounds = c ? atomic_load(&c->rounds) + ROUNDS : 0;
    if (c)
        weft_semaphore_release(&c->wanted, ROUNDS);
    unsigned hits = play(s, f, nth, told);
    if (c)
        company_goes_on(c, rounds);
    return hits;
}

/* Some calls are made only by who has to wait, and who that is depends on who is faster: so the scene is played until the first call is met. */
static void first_call(const faults_sweep *s, const fault *f, bool *told, company *c)
{
    for (int i = 0; i < MOST_PLAYS; i++)
        if (play_in_company(s, f, 1, told, c) > 0)
            return;
    cr_assert_fail("%s, error %d: it is never called", faults_name(f->plan.call), f->plan.error);
}

static void one_fault(const faults_sweep *s, const fault *f, company *c)
{
    bool told = false;
    if (!faults_sees(f->plan.call))
        return;
    first_call(s, f, &told, c);
    for (unsigned nth = next_after(1); play_in_company(s, f, nth, &told, c) > 0; nth = next_after(nth))
        cr_assert_lt(nth, MOST_CALLS);
    bool tells = f->effect == FAULTS_TOLD || (f->effect == FAULTS_SOMETIMES && !WF_TEST_SANITIZED);
    cr_assert(told || !tells, "%s, error %d: it is never told", faults_name(f->plan.call), f->plan.error);
}

static void all_faults(const faults_sweep *s, company *c)
{
    cr_assert_eq(s->scene(s->arg), 0); /* what stays for the next time is made now */
    count_descriptors();
    for (size_t i = 0; i < s->n; i++)
        one_fault(s, &s->faults[i], c);
}

void faults_sweep_here(const faults_sweep *s) { all_faults(s, NULL); }

static void *in_company(void *arg)
{
    company c = {.rounds = 0};
    company_begin(&c);
    weft_semaphore_release(&c.wanted, ROUNDS); /* what it needs to talk it has before the first fault */
    company_goes_on(&c, ROUNDS);
    all_faults(arg, &c);
    company_end(&c);
    return NULL;
}

void faults_sweep_with(unsigned workers, const faults_sweep *s)
{
    faults_sweep copy = *s;
    faults_need();
    run(workers, in_company, &copy);
}
