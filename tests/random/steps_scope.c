/* steps_scope.c - steps that make others end early, and that wait for the clock: scopes, shields, timeouts, tokens, sleep. */
#include "world.h"

int64_t random_ns(unsigned byte)
{
    static const int64_t some[] = {0,           -1,          1,           500 * WEFT_US, WEFT_MS,      1500 * WEFT_US,
                                   2 * WEFT_MS, 3 * WEFT_MS, 5 * WEFT_MS, 7 * WEFT_MS,   10 * WEFT_MS, 20 * WEFT_MS};
    return some[byte % (sizeof some / sizeof *some)];
}

static int64_t timeout_of(unsigned byte) { return byte % 4 == 0 ? WEFT_FOREVER : random_ns(byte / 4); }

static int64_t later(int64_t ns) { return ns == WEFT_FOREVER ? WEFT_FOREVER : weft_now() + ns; }

/* ---- scopes --------------------------------------------------------------------------------------------------------- */

static void push(actor *a, frame *f, int64_t ns)
{
    *f = (frame){.outer = a->body->frames, .deadline = later(ns), .shields = a->body->shields};
    a->body->frames = f;
}

void random_frame_enter(actor *a, frame *f, int64_t ns)
{
    push(a, f, ns);
    f->entered = true;
    EXPECT(a->w, weft_scope_enter(&f->scope, ns) == 0);
}

static bool cancelled(const world *w, const frame *f)
{
    for (unsigned i = 0; i < TOKENS; i++)
        if ((f->tokens & 1u << i) && w->token_cancelled[i])
            return true;
    return f->cancelled;
}

void random_frame_leave(actor *a, frame *f)
{
    int code = weft_scope_leave(&f->scope);
    JUDGE(a->w, code, code == 0 || code == WEFT_ETIMEDOUT || code == WEFT_ECANCELED);
    JUDGE(a->w, code, code != WEFT_ETIMEDOUT || f->deadline <= weft_now());
    JUDGE(a->w, code, code != WEFT_ECANCELED || cancelled(a->w, f));
    a->body->frames = f->outer;
}

int random_do_SCOPE(actor *a, const step *s)
{
    frame f;
    random_frame_enter(a, &f, timeout_of(s->a));
    random_run_steps(a, random_step_index(a, s) + 1, s->end);
    random_frame_leave(a, &f);
    return 0;
}

/* With a deadline inside, or nothing would end what waits here. */
int random_do_SHIELD(actor *a, const step *s)
{
    frame f;
    EXPECT(a->w, weft_shield_enter() == 0);
    a->body->shields++;
    random_frame_enter(a, &f, 20 * WEFT_MS);
    random_run_steps(a, random_step_index(a, s) + 1, s->end);
    random_frame_leave(a, &f);
    a->body->shields--;
    EXPECT(a->w, weft_shield_leave() == 0);
    return 0;
}

typedef struct timed {
    actor *actor;
    const step *step;
    int64_t ns;
    bool called;
} timed;

static void *timed_body(void *arg)
{
    timed *t = arg;
    actor *a = t->actor;
    a->body->frames->deadline = later(t->ns);
    t->called = true;
    random_run_steps(a, random_step_index(a, t->step) + 1, t->step->end);
    return t;
}

int random_do_TIMEOUT(actor *a, const step *s)
{
    timed t = {.actor = a, .step = s, .ns = timeout_of(s->a)};
    frame f = {0};
    void *value;
    int64_t from = weft_now();
    push(a, &f, t.ns);
    int64_t due = f.deadline;
    int code = weft_timeout(t.ns, timed_body, &t, &value);
    a->body->frames = f.outer;
    EXPECT(a->w, value == (t.called ? &t : NULL) && t.called == (t.ns > 0));
    JUDGE(a->w, code, code == 0 || code == WEFT_ETIMEDOUT);
    JUDGE(a->w, code, code == 0 || (due >= from ? due : from) <= weft_now());
    return code;
}

int random_do_SCOPE_CANCEL(actor *a, const step *s)
{
    frame *f = a->body->frames;
    (void)s;
    if (!f || !f->entered)
        return NOTHING;
    f->cancelled = true;
    EXPECT(a->w, weft_scope_cancel(&f->scope) == 0);
    return 0;
}

/* ---- tokens --------------------------------------------------------------------------------------------------------- */

/* 0 above 1 above 2; 3 is alone. */
static unsigned below(unsigned token) { return token == 3 ? 8u : 7u & ~((1u << token) - 1); }

static void flag_all(atomic_int *flags, unsigned tokens)
{
    for (unsigned i = 0; i < TOKENS; i++)
        if (tokens & 1u << i)
            flags[i] = 1;
}

int random_do_BIND(actor *a, const step *s)
{
    frame *f = a->body->frames;
    if (!f || !f->entered)
        return NOTHING;
    f->tokens |= 1u << s->a % TOKENS;
    EXPECT(a->w, weft_scope_bind(&f->scope, a->w->token[s->a % TOKENS]) == 0);
    return 0;
}

int random_do_TOKEN_CANCEL(actor *a, const step *s)
{
    unsigned token = s->a % TOKENS;
    flag_all(a->w->token_cancelled, below(token));
    weft_token_cancel(a->w->token[token]);
    flag_all(a->w->token_sure, below(token));
    EXPECT(a->w, weft_token_is_cancelled(a->w->token[token]));
    return 0;
}

int random_do_TOKEN_WAIT(actor *a, const step *s)
{
    unsigned token = s->a % TOKENS;
    before b = random_before(a);
    int code = random_after(a, &b, weft_token_wait(a->w->token[token]));
    JUDGE(a->w, code, code == 0 || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    JUDGE(a->w, code, code != 0 || a->w->token_cancelled[token]);
    return code;
}

/* A child of its own, in a scope of its own, for a moment. */
int random_do_TOKEN_CHILD(actor *a, const step *s)
{
    weft_token *child;
    frame f;
    unsigned token = s->a % TOKENS;
    bool sure = a->w->token_sure[token];
    EXPECT(a->w, weft_token_create(&child, a->w->token[token]) == 0);
    random_frame_enter(a, &f, timeout_of(s->b));
    EXPECT(a->w, weft_scope_bind(&f.scope, child) == 0);
    f.tokens = 1u << token;
    EXPECT(a->w, !sure || weft_token_is_cancelled(child));
    if (weft_token_free(child) == 0) {
        EXPECT(a->w, a->w->token_cancelled[token]); /* a binding would have kept it */
        child = NULL;
    }
    before b = random_before(a);
    int code = random_after(a, &b, weft_sleep(random_ns(s->c)));
    random_frame_leave(a, &f);
    EXPECT(a->w, weft_token_free(child) == 0);
    return code;
}

/* ---- the clock ------------------------------------------------------------------------------------------------------ */

int random_do_YIELD(actor *a, const step *s)
{
    before b = random_before(a);
    (void)s;
    int code = weft_yield();
    JUDGE(a->w, code, code == 0 || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    return a->kind == STRAND ? random_after(a, &b, code) : code;
}

/* The paused clock jumps only when nothing can run: nobody oversleeps, save by an advance. */
static void judge_sleep(actor *a, int64_t from, int64_t ns)
{
    int64_t slept = weft_now() - from;
    EXPECT(a->w, slept >= ns);
    if (a->kind == STRAND && !a->w->options->real && !a->w->advanced && slept > (ns > 0 ? ns : 0) + WEFT_MS)
        random_wrong(a->w, "task %u slept %lld ns instead of %lld", a->task, (long long)slept, (long long)ns);
}

int random_do_SLEEP(actor *a, const step *s)
{
    before b = random_before(a);
    int64_t from = weft_now(), ns = random_ns(s->a);
    int code = random_after(a, &b, s->b & 1 ? weft_sleep(ns) : weft_sleep_until(from + ns));
    JUDGE(a->w, code, code == 0 || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    if (code == 0)
        judge_sleep(a, from, ns);
    return code;
}

int random_do_TICKS(actor *a, const step *s)
{
    weft_interval iv;
    int64_t due = 0, last = INT64_MIN;
    int code = 0;
    EXPECT(a->w, weft_interval_init(&iv, (s->a % 5 + 1) * WEFT_MS / 2, s->b % 3) == 0);
    for (unsigned i = s->c % 5; i > 0 && code == 0; i--) {
        before b = random_before(a);
        code = random_after(a, &b, weft_interval_tick(&iv, &due));
        JUDGE(a->w, code, code != 0 || (due > last && due <= weft_now()));
        last = due;
    }
    return code;
}

int random_do_BACKOFF(actor *a, const step *s)
{
    weft_backoff backoff = {.initial = WEFT_MS, .max = 4 * WEFT_MS, .jitter = -1, .retries = 1 + s->a % 3};
    int code = 0;
    while (code == 0) {
        before b = random_before(a);
        code = weft_backoff_wait(&backoff);
        if (code != WEFT_EEXHAUSTED)
            random_after(a, &b, code);
    }
    JUDGE(a->w, code, code == WEFT_EEXHAUSTED || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT);
    return code;
}

int random_do_ADVANCE(actor *a, const step *s)
{
    a->w->advanced = true;
    int code = weft_clock_advance(random_ns(s->a));
    JUDGE(a->w, code, code == (a->w->options->real || random_ns(s->a) < 0 ? WEFT_EINVAL : 0));
    return code;
}
