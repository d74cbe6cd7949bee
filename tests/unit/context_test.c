/* context_test.c - the machine switch, and what the sanitizers and unwinders make of it. */
#include <base/lock.h>
#include <pthread.h>
#include <runtime/context.h>
#include <runtime/stack.h>
#include <support/test.h>
#include <unwind.h>

enum { STACK_BYTES = 64 * 1024 };

/* An execution that runs body(arg) and switches to and from whoever resumed it. */
typedef struct routine {
    wf_ctx self;
    wf_ctx *back; /* who resumed it; written by resume() before each switch */
    void (*body)(struct routine *r);
    wf_stack *stack;
    size_t result;
    bool done;
} routine;

static void routine_entry(void *arg)
{
    routine *r = arg;
    wf_ctx_entered(&r->self);
    r->body(r);
    r->done = true;
    wf_ctx_switch_final(&r->self, r->back, NULL);
}

static wf_stack *new_stack(void)
{
    int err;
    wf_stacks_acquire();
    wf_stack *stack = wf_stack_get(NULL, STACK_BYTES, &err);
    cr_assert_not_null(stack);
    return stack;
}

static void free_stack(wf_stack *stack)
{
    wf_stack_put(NULL, stack);
    wf_stacks_release();
}

static void routine_init_at(routine *r, wf_stack *stack, char *top, void (*body)(routine *))
{
    *r = (routine){.body = body, .stack = stack};
    wf_ctx_init(&r->self, stack->base, stack->size, top, routine_entry, r);
}

static void routine_init(routine *r, void (*body)(routine *))
{
    wf_stack *stack = new_stack();
    routine_init_at(r, stack, wf_stack_top(stack), body);
}

static void resume(routine *r, wf_ctx *from)
{
    r->back = from;
    wf_ctx_switch(from, &r->self, NULL);
}

static void suspend(routine *r) { wf_ctx_switch(&r->self, r->back, NULL); }

static void routine_fini(routine *r)
{
    wf_ctx_destroy(&r->self);
    free_stack(r->stack);
}

/* More integers and doubles, live across each switch, than there are callee-saved registers. */
#define KEEP(seed, rounds, leave)                                                                         \
    do {                                                                                                  \
        uint64_t a = (seed), b = a + 1, c = a + 2, d = a + 3, e = a + 4, f = a + 5, g = a + 6, h = a + 7; \
        double p = (seed), q = p + 1, s = p + 2, t = p + 3, u = p + 4, v = p + 5, w = p + 6, x = p + 7;   \
        for (size_t i = 0; i < (rounds); i++) {                                                           \
            leave;                                                                                        \
            a++, b += 2, c += 3, d += 4, e += 5, f += 6, g += 7, h += 8;                                  \
            p += 1, q += 2, s += 3, t += 4, u += 5, v += 6, w += 7, x += 8;                               \
        }                                                                                                 \
        cr_assert_eq(a + b + c + d + e + f + g + h, 8 * (uint64_t)(seed) + 28 + 36 * (uint64_t)(rounds)); \
        cr_assert_eq(p + q + s + t + u + v + w + x, 8.0 * (seed) + 28 + 36.0 * (double)(rounds));         \
    } while (0)

static size_t keep_rounds;

static void keep_body(routine *r) { KEEP(1000003, keep_rounds, suspend(r)); }

Test(context, a_million_switches_keep_registers_and_doubles)
{
    wf_ctx here;
    routine r;
    keep_rounds = wf_test_scale(1000000);
    wf_ctx_init_thread(&here);
    routine_init(&r, keep_body);
    KEEP(77, keep_rounds, resume(&r, &here));
    resume(&r, &here);
    cr_assert(r.done);
    routine_fini(&r);
}

/* Whether a variable that wants 16 bytes gets them, and whether varargs with doubles (movaps) work. */
static void align_body(routine *r)
{
    alignas(16) char block[32];
    char *volatile escaped = block;
    volatile double value = 1.5;
    snprintf(escaped, sizeof(block), "%.2f %.2f", value, value * 2);
    r->result = (uintptr_t)escaped % 16 == 0 && strcmp(escaped, "1.50 3.00") == 0;
}

Test(context, entry_is_aligned_below_any_top)
{
    wf_ctx here;
    wf_ctx_init_thread(&here);
    wf_stack *stack = new_stack();
    for (size_t below = 0; below < 128; below++) {
        routine r;
        routine_init_at(&r, stack, wf_stack_top(stack) - below, align_body);
        resume(&r, &here);
        cr_assert(r.done && r.result == 1, "top %zu bytes below the end", below);
        wf_ctx_destroy(&r.self);
    }
    free_stack(stack);
}

static void where_body(routine *r) { r->result = (uintptr_t)__builtin_frame_address(0); }

Test(context, frames_start_at_the_given_top)
{
    wf_ctx here;
    routine r;
    wf_stack *stack = new_stack();
    char *top = wf_stack_top(stack) - 4096;
    memset(top, 'x', 4096);
    wf_ctx_init_thread(&here);
    routine_init_at(&r, stack, top, where_body);
    resume(&r, &here);
    cr_assert_lt(r.result, (uintptr_t)top);
    cr_assert_gt(r.result, (uintptr_t)top - 8192, "a ucontext_t takes up to 5 KiB");
    for (size_t i = 0; i < 4096; i++)
        cr_assert_eq(top[i], 'x', "what lies above the top is not ours");
    routine_fini(&r);
}

static void count_body(routine *r)
{
    for (;; suspend(r))
        if (++r->result == 50)
            return;
}

Test(context, many_contexts_take_turns)
{
    enum { MANY = 200 };
    static routine r[MANY];
    wf_ctx here;
    wf_ctx_init_thread(&here);
    for (size_t i = 0; i < MANY; i++)
        routine_init(&r[i], count_body);
    for (size_t turn = 0; turn < 50; turn++)
        for (size_t i = 0; i < MANY; i++)
            resume(&r[i], &here);
    for (size_t i = 0; i < MANY; i++) {
        cr_assert(r[i].done && r[i].result == 50);
        routine_fini(&r[i]);
    }
}

static void nest_body(routine *r)
{
    routine inner;
    routine_init(&inner, count_body);
    while (!inner.done) {
        resume(&inner, &r->self);
        suspend(r);
    }
    r->result = inner.result;
    routine_fini(&inner);
}

Test(context, a_context_resumes_another_from_inside)
{
    wf_ctx here;
    routine r;
    wf_ctx_init_thread(&here);
    routine_init(&r, nest_body);
    while (!r.done)
        resume(&r, &here);
    cr_assert_eq(r.result, 50u);
    routine_fini(&r);
}

static void nothing_body(routine *r) { r->result = 1; }

Test(context, one_stack_runs_many_contexts_in_a_row)
{
    wf_ctx here;
    wf_ctx_init_thread(&here);
    wf_stack *stack = new_stack();
    for (size_t i = 0; i < wf_test_scale(20000); i++) {
        routine r;
        routine_init_at(&r, stack, wf_stack_top(stack), nothing_body);
        resume(&r, &here);
        cr_assert(r.done && r.result == 1);
        wf_ctx_destroy(&r.self);
    }
    free_stack(stack);
}

Test(context, one_that_never_ran_can_be_destroyed)
{
    routine r;
    routine_init(&r, nothing_body);
    routine_fini(&r);
}

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *arg)
{
    (void)context;
    return ++*(size_t *)arg < 100 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

static void unwind_body(routine *r)
{
    suspend(r);
    if (_Unwind_Backtrace(count_frame, &r->result) != _URC_END_OF_STACK)
        r->result = 1000;
}

Test(context, unwinding_ends_at_the_entry)
{
    wf_ctx here;
    routine r;
    wf_ctx_init_thread(&here);
    routine_init(&r, unwind_body);
    resume(&r, &here);
    resume(&r, &here);
    cr_assert_gt(r.result, 0u);
    cr_assert_leq(r.result, 6u, "unwind_body, routine_entry and the trampoline; got %zu", r.result);
    routine_fini(&r);
}

/* --- threads --- */

enum { RELAY_THREADS = 8, RELAY_ROUTINES = 64 };

static struct {
    wf_mutex lock;
    routine *waiting[RELAY_ROUTINES];
    size_t count, left;
    size_t laps;
} relay;

static void relay_body(routine *r)
{
    pthread_t last = pthread_self();
    KEEP(5, relay.laps, suspend(r));
    r->result = relay.laps + (last == pthread_self());
}

/* Takes one, lets it run to its next suspension, and only then lets others see it. */
static void *relay_thread(void *arg)
{
    (void)arg;
    wf_ctx here;
    wf_ctx_init_thread(&here);
    for (;;) {
        wf_mutex_lock(&relay.lock);
        routine *r = relay.count > 0 ? relay.waiting[--relay.count] : NULL;
        size_t left = relay.left;
        wf_mutex_unlock(&relay.lock);
        if (left == 0)
            return NULL;
        if (!r) {
            sched_yield();
            continue;
        }
        resume(r, &here);
        wf_mutex_lock(&relay.lock);
        if (r->done)
            relay.left--;
        else
            relay.waiting[relay.count++] = r;
        wf_mutex_unlock(&relay.lock);
    }
}

Test(context, eight_threads_pass_contexts_around)
{
    static routine r[RELAY_ROUTINES];
    pthread_t thread[RELAY_THREADS];
    wf_mutex_init(&relay.lock);
    relay.laps = wf_test_scale(5000);
    relay.left = RELAY_ROUTINES;
    relay.count = 0;
    for (size_t i = 0; i < RELAY_ROUTINES; i++) {
        routine_init(&r[i], relay_body);
        relay.waiting[relay.count++] = &r[i];
    }
    for (size_t i = 0; i < RELAY_THREADS; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, relay_thread, NULL), 0);
    for (size_t i = 0; i < RELAY_THREADS; i++)
        pthread_join(thread[i], NULL);
    for (size_t i = 0; i < RELAY_ROUTINES; i++) {
        cr_assert_geq(r[i].result, relay.laps);
        routine_fini(&r[i]);
    }
}
