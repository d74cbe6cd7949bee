/* token_test.c - tokens as their user sees them: trees of them, waits for them, and the scopes that they cancel.
 *
 * Where an order of events matters, one worker makes it certain, or an idle task: it stays idle while nobody gives it a reason.
 * That nothing is left behind is what weft_token_free() says: it refuses while anybody waits or is bound. */
#include <pthread.h>
#include <stdatomic.h>
#include <support/task_support.h>
#include <support/test.h>
#include <weft/coro.h>
#include <weft/group.h>
#include <weft/scope.h>
#include <weft/scoped.h>
#include <weft/token.h>

/* ---- help ---------------------------------------------------------------------------------------------------- */

static weft_token *plant(weft_token *parent)
{
    weft_token *t;
    cr_assert_eq(weft_token_create(&t, parent), 0);
    cr_assert_not_null(t);
    return t;
}

static void fell(weft_token *t) { cr_assert_eq(weft_token_free(t), 0, "something still hangs on it"); }

static weft_task *start(weft_fn fn, void *arg)
{
    weft_task *task;
    cr_assert_eq(weft_spawn(&task, fn, arg), 0);
    return task;
}

/* Strands here return codes. */
static void *code(int value) { return (void *)(intptr_t)value; }

static int join(weft_task *task)
{
    void *result;
    int err = weft_join(task, &result);
    return err < 0 ? err : (int)(intptr_t)result;
}

static void await_idle(weft_task *task) { EVENTUALLY(weft_task_state(task) == WEFT_TASK_IDLE); }

static weft_task *start_and_await_idle(weft_fn fn, void *arg)
{
    weft_task *task = start(fn, arg);
    await_idle(task);
    return task;
}

static void *wait_for(void *token) { return code(weft_token_wait(token)); }

static void enter_bound(weft_scope *scope, weft_token *token)
{
    cr_assert_eq(weft_scope_enter(scope, WEFT_FOREVER), 0);
    cr_assert_eq(weft_scope_bind(scope, token), 0);
}

/* With time that jumps: what needs an hour takes none. */
static void run_paused(weft_fn root, void *arg)
{
    weft_options options = {.workers = 1, .clock = WEFT_CLOCK_PAUSED};
    cr_assert_eq(weft_run_with(&options, root, arg, NULL), 0);
}

/* ---- trees --------------------------------------------------------------------------------------------------- */

Test(token, a_parent_cancels_what_is_below_it_and_never_the_reverse)
{
    weft_token *root = plant(NULL), *left = plant(root), *right = plant(root), *leaf = plant(left);
    weft_token_cancel(leaf);
    cr_assert_eq(weft_token_is_cancelled(leaf), 1);
    cr_assert_eq(weft_token_is_cancelled(left), 0);
    cr_assert_eq(weft_token_is_cancelled(root), 0);
    weft_token_cancel(left);
    cr_assert_eq(weft_token_is_cancelled(left), 1);
    cr_assert_eq(weft_token_is_cancelled(right), 0);
    cr_assert_eq(weft_token_is_cancelled(root), 0);
    weft_token_cancel(root);
    cr_assert_eq(weft_token_is_cancelled(right), 1);
    fell(root);
    fell(right);
    fell(left);
    fell(leaf);
}

Test(token, cancelled_reaches_every_generation_whatever_was_freed_in_between)
{
    enum { DEPTH = 50, WIDTH = 3 };
    weft_token *spine[DEPTH], *twigs[DEPTH][WIDTH];
    for (int i = 0; i < DEPTH; i++) {
        spine[i] = plant(i ? spine[i - 1] : NULL);
        for (int j = 0; j < WIDTH; j++)
            twigs[i][j] = plant(spine[i]);
        fell(twigs[i][1]); /* the middle one of a list */
    }
    weft_token_cancel(spine[0]);
    for (int i = 0; i < DEPTH; i++) {
        cr_assert_eq(weft_token_is_cancelled(spine[i]), 1);
        for (int j = 0; j < WIDTH; j += 2) {
            cr_assert_eq(weft_token_is_cancelled(twigs[i][j]), 1);
            fell(twigs[i][j]);
        }
        fell(spine[i]);
    }
}

Test(token, a_child_of_a_cancelled_one_is_born_cancelled_and_on_its_own)
{
    weft_token *parent = plant(NULL);
    weft_token_cancel(parent);
    weft_token *child = plant(parent), *grandchild = plant(child);
    cr_assert_eq(weft_token_is_cancelled(child), 1);
    cr_assert_eq(weft_token_is_cancelled(grandchild), 1);
    fell(parent);
    cr_assert_eq(weft_token_wait(child), 0);
    fell(child);
    fell(grandchild);
}

Test(token, cancel_is_idempotent)
{
    weft_token *parent = plant(NULL), *child = plant(parent);
    for (int i = 0; i < 3; i++) {
        weft_token_cancel(child);
        weft_token_cancel(parent);
    }
    cr_assert_eq(weft_token_is_cancelled(parent), 1);
    cr_assert_eq(weft_token_is_cancelled(child), 1);
    fell(child);
    weft_token_cancel(parent);
    fell(parent);
}

Test(token, one_with_children_is_not_freed_and_still_works)
{
    weft_token *parent = plant(NULL), *first = plant(parent), *second = plant(parent);
    cr_assert_eq(weft_token_free(parent), WEFT_EBUSY);
    fell(first);
    cr_assert_eq(weft_token_free(parent), WEFT_EBUSY);
    weft_token_cancel(parent);
    cr_assert_eq(weft_token_is_cancelled(second), 1);
    fell(parent);
    fell(second);
    parent = plant(NULL);
    fell(plant(parent));
    fell(parent);
}

Test(token, what_makes_no_sense_is_refused)
{
    weft_token *token = plant(NULL);
    weft_scope scope;
    memset(&scope, 0, sizeof scope);
    cr_assert_eq(weft_token_create(NULL, token), WEFT_EINVAL);
    cr_assert_eq(weft_token_wait(NULL), WEFT_EINVAL);
    cr_assert_eq(weft_token_free(NULL), 0);
    cr_assert_eq(weft_token_is_cancelled(NULL), 0);
    weft_token_cancel(NULL);
    cr_assert_eq(weft_scope_bind(NULL, token), WEFT_EINVAL);
    cr_assert_eq(weft_scope_bind(&scope, token), WEFT_EINVAL, "not entered");
    cr_assert_eq(weft_scope_enter(&scope, WEFT_FOREVER), 0);
    cr_assert_eq(weft_scope_bind(&scope, NULL), WEFT_EINVAL);
    cr_assert_eq(weft_scope_leave(&scope), 0);
    cr_assert_eq(weft_scope_bind(&scope, token), WEFT_EINVAL, "left");
    fell(token);
}

/* ---- waits --------------------------------------------------------------------------------------------------- */

static void *waiters_root(void *arg)
{
    enum { MANY = 150 }; /* some batches */
    weft_token *root = plant(NULL), *middle = plant(root), *leaf = plant(middle), *other = plant(root);
    weft_task *tasks[MANY], *bystander = start(wait_for, other);
    (void)arg;
    for (int i = 0; i < MANY; i++)
        tasks[i] = start(wait_for, i % 2 ? middle : leaf);
    for (int i = 0; i < MANY / 2; i++)
        await_idle(tasks[i]);
    weft_token_cancel(middle);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(join(tasks[i]), 0);
    fell(leaf);
    fell(middle);
    await_idle(bystander);
    cr_assert_eq(weft_token_free(other), WEFT_EBUSY, "somebody waits for it");
    weft_token_cancel(root);
    cr_assert_eq(join(bystander), 0);
    fell(other);
    fell(root);
    return NULL;
}

WF_TEST_WORKERS(token, all_who_wait_below_a_cancelled_one_go_on_and_nobody_else) { run(workers, waiters_root, NULL); }

typedef struct meeting {
    weft_token *token;
    atomic_int there;
} meeting;

static void *thread_waits(void *arg)
{
    meeting *m = arg;
    m->there++;
    cr_assert_eq(weft_token_wait(m->token), 0);
    cr_assert_eq(weft_token_is_cancelled(m->token), 1);
    cr_assert_eq(weft_token_wait(m->token), 0, "from then on at once");
    return NULL;
}

Test(token, ordinary_threads_wait_too)
{
    enum { THREADS = 4 };
    for (size_t round = 0; round < wf_test_scale(500); round++) {
        weft_token *root = plant(NULL);
        meeting m = {.token = plant(root)};
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, thread_waits, &m), 0);
        int enough = (int)round % THREADS + 1;
        SPIN_UNTIL(m.there >= enough); /* those that have come may wait, or be about to */
        weft_token_cancel(root);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        fell(m.token);
        fell(root);
    }
}

static void *wait_a_second(void *token)
{
    weft_scope scope;
    cr_assert_eq(weft_scope_enter(&scope, WEFT_SEC), 0);
    int err = weft_token_wait(token);
    cr_assert_eq(weft_scope_leave(&scope), err);
    return code(err);
}

static void *interrupted_root(void *arg)
{
    weft_token *token = plant(NULL), *other = plant(NULL);
    weft_scope scope;
    (void)arg;
    for (int i = 0; i < 10; i++) {
        weft_task *task = start_and_await_idle(wait_for, token);
        cr_assert_eq(weft_token_free(token), WEFT_EBUSY);
        weft_abort(task);
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        cr_assert_eq(join(start(wait_a_second, token)), WEFT_ETIMEDOUT);
    }
    enter_bound(&scope, other);
    weft_token_cancel(other);
    cr_assert_eq(weft_token_wait(token), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    fell(token);
    fell(other);
    return NULL;
}

Test(token, an_interrupted_wait_leaves_nothing_behind) { run_paused(interrupted_root, NULL); }

static void *wait_inside_its_scope(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    cr_assert_eq(weft_token_wait(token), 0, "completion wins");
    cr_assert_eq(weft_token_wait(token), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    return NULL;
}

static void *completion_wins_root(void *arg)
{
    weft_token *token = plant(NULL);
    weft_task *task = start_and_await_idle(wait_inside_its_scope, token);
    (void)arg;
    weft_token_cancel(token);
    cr_assert_eq(join(task), 0);
    fell(token);
    return NULL;
}

WF_TEST_WORKERS(token, a_wait_for_the_token_that_interrupts_it_has_succeeded)
{
    run(workers, completion_wins_root, NULL);
}

/* ---- cancelled from anywhere --------------------------------------------------------------------------------- */

typedef struct canceller {
    weft_future future;
    weft_token *token;
    bool when_dropped;
} canceller;

static void cancel_here(canceller *c)
{
    weft_token *child;
    weft_token_cancel(c->token);
    cr_assert_eq(weft_token_is_cancelled(c->token), 1);
    cr_assert_eq(weft_token_wait(c->token), WEFT_EDEADLK);
    cr_assert_eq(weft_token_create(&child, c->token), 0);
    cr_assert_eq(weft_token_is_cancelled(child), 1);
    fell(child);
}

static weft_poll canceller_poll(weft_future *f, weft_context *cx, void **result)
{
    canceller *c = WEFT_CONTAINER_OF(f, canceller, future);
    weft_scope scope;
    (void)cx, (void)result;
    cr_assert_eq(weft_scope_enter(&scope, WEFT_FOREVER), WEFT_EDEADLK);
    cr_assert_eq(weft_scope_bind(&scope, c->token), WEFT_EINVAL);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_EINVAL);
    if (c->when_dropped)
        return WEFT_PENDING;
    cancel_here(c);
    return WEFT_READY;
}

static void canceller_drop(weft_future *f)
{
    canceller *c = WEFT_CONTAINER_OF(f, canceller, future);
    if (c->when_dropped)
        cancel_here(c);
}

static const weft_future_ops canceller_ops = {canceller_poll, canceller_drop};

static void cancel_in_poll(weft_token *token)
{
    canceller c = {.future = {&canceller_ops}, .token = token};
    weft_task *task;
    cr_assert_eq(weft_spawn_future(&task, &c.future), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
}

static void cancel_in_drop(weft_token *token)
{
    canceller c = {.future = {&canceller_ops}, .token = token, .when_dropped = true};
    weft_task *task;
    cr_assert_eq(weft_spawn_future(&task, &c.future), 0);
    await_idle(task);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
}

static void cancel_callback(void *token) { weft_token_cancel(token); }

static void cancel_in_drop_arg(weft_token *token)
{
    weft_spawn_options options = {.drop_arg = cancel_callback, .pinned = 1};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, echo, token), 0);
    weft_abort(task);
    cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
}

static void cancel_in_drop_result(weft_token *token)
{
    weft_spawn_options options = {.drop_result = cancel_callback};
    weft_task *task;
    cr_assert_eq(weft_spawn_with(&task, &options, echo, token), 0);
    cr_assert_eq(weft_join(task, NULL), 0);
}

static void *defer_cancel(void *token)
{
    cr_assert_eq(weft_defer(cancel_callback, token), 0);
    return NULL;
}

static void cancel_in_deferred_call(weft_token *token) { cr_assert_eq(join(start(defer_cancel, token)), 0); }

static void *cancel_it(void *token)
{
    weft_token_cancel(token);
    return NULL;
}

static void cancel_in_thread(weft_token *token) { in_threads(1, cancel_it, token); }

static void cancel_in_threads(weft_token *token) { in_threads(8, cancel_it, token); }

static void *bound_sleeper(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED, "and so do all that follow");
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    cr_assert_eq(weft_yield(), 0);
    return NULL;
}

static void *from_anywhere_root(void *arg)
{
    static void (*const ways[])(weft_token *) = {weft_token_cancel,  cancel_in_poll,        cancel_in_drop,
                                                 cancel_in_drop_arg, cancel_in_drop_result, cancel_in_deferred_call,
                                                 cancel_in_thread,   cancel_in_threads};
    (void)arg;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        weft_token *token = plant(NULL), *child = plant(token);
        weft_task *tasks[] = {start(wait_for, token), start(bound_sleeper, token), start(wait_for, child),
                              start(bound_sleeper, child)};
        for (int j = 0; j < 4; j++)
            await_idle(tasks[j]);
        ways[i](token);
        for (int j = 0; j < 4; j++)
            cr_assert_eq(join(tasks[j]), 0);
        fell(token);
        fell(child);
    }
    return NULL;
}

WF_TEST_WORKERS(token, it_is_cancelled_from_any_thread_and_context) { run(workers, from_anywhere_root, NULL); }

/* Two who cancel the same tree: whoever comes second must not return before all of it is cancelled. */
enum { LEAVES = 3000 };

typedef struct grove {
    weft_token *root, *leaves[LEAVES];
} grove;

static void *cancel_second(void *arg)
{
    grove *g = arg;
    SPIN_UNTIL(weft_token_is_cancelled(g->root));
    weft_token_cancel(g->root);
    for (int i = LEAVES; i-- > 0;) {
        cr_assert_eq(weft_token_is_cancelled(g->leaves[i]), 1, "leaf %d", i);
        fell(g->leaves[i]);
    }
    return NULL;
}

Test(token, whoever_cancels_second_finds_everything_below_cancelled_too)
{
    static grove g;
    for (size_t round = 0; round < wf_test_scale(200); round++) {
        pthread_t second;
        g.root = plant(NULL);
        for (int i = 0; i < LEAVES; i++)
            g.leaves[i] = plant(g.root);
        cr_assert_eq(pthread_create(&second, NULL, cancel_second, &g), 0);
        weft_token_cancel(g.root);
        pthread_join(second, NULL);
        fell(g.root);
    }
}

/* ---- scopes -------------------------------------------------------------------------------------------------- */

static void *bound_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        weft_token *token = plant(NULL);
        weft_task *task = start(bound_sleeper, token);
        if (i % 2)
            await_idle(task);
        weft_token_cancel(token);
        cr_assert_eq(join(task), 0);
        fell(token);
    }
    return NULL;
}

WF_TEST_WORKERS(token, an_await_in_a_bound_scope_is_cancelled_and_leave_says_so) { run(workers, bound_root, NULL); }

static void *unmet_root(void *arg)
{
    weft_token *token = plant(NULL);
    weft_scope scope;
    (void)arg;
    enter_bound(&scope, token);
    weft_token_cancel(token);
    cr_assert_eq(weft_scope_leave(&scope), 0, "nobody in it was told");
    cr_assert_eq(weft_yield(), 0);
    enter_bound(&scope, token);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED, "bound to one that is cancelled already");
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    enter_bound(&scope, token);
    cr_assert_eq(weft_is_cancelled(), 1);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    cr_assert_eq(weft_is_cancelled(), 0);
    fell(token);
    return NULL;
}

WF_TEST_WORKERS(token, leave_says_so_only_if_somebody_inside_was_told) { run(workers, unmet_root, NULL); }

static void *several_root(void *arg)
{
    enum { MANY = 5 };
    weft_token *tokens[MANY];
    weft_scope scope;
    (void)arg;
    for (int cancelled = 0; cancelled < MANY; cancelled++) {
        cr_assert_eq(weft_scope_enter(&scope, WEFT_FOREVER), 0);
        for (int i = 0; i < MANY; i++) {
            tokens[i] = plant(NULL);
            cr_assert_eq(weft_scope_bind(&scope, tokens[i]), 0);
            cr_assert_eq(weft_scope_bind(&scope, tokens[i]), 0, "twice is no harm");
        }
        cr_assert_eq(weft_yield(), 0);
        weft_token_cancel(tokens[cancelled]);
        cr_assert_eq(weft_yield(), WEFT_ECANCELED);
        weft_token_cancel(tokens[MANY - 1]);
        cr_assert_eq(weft_yield(), WEFT_ECANCELED);
        cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
        for (int i = 0; i < MANY; i++)
            fell(tokens[i]);
    }
    return NULL;
}

WF_TEST_WORKERS(token, a_scope_is_bound_to_several_and_any_of_them_cancels_it) { run(workers, several_root, NULL); }

static void *unbinds_root(void *arg)
{
    weft_token *token = plant(NULL);
    weft_scope outer, inner;
    (void)arg;
    enter_bound(&outer, token);
    enter_bound(&inner, token);
    cr_assert_eq(weft_token_free(token), WEFT_EBUSY);
    cr_assert_eq(weft_scope_leave(&inner), 0);
    cr_assert_eq(weft_token_free(token), WEFT_EBUSY, "the outer one is bound");
    cr_assert_eq(weft_scope_leave(&outer), 0);
    fell(token);
    token = plant(NULL);
    enter_bound(&outer, token);
    weft_token_cancel(token);
    fell(token); /* who was told needs it no more */
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&outer), WEFT_ECANCELED);
    return NULL;
}

WF_TEST_WORKERS(token, leave_unbinds_and_the_token_is_free_to_go) { run(workers, unbinds_root, NULL); }

static void *out_of_order_root(void *arg)
{
    weft_token *token = plant(NULL);
    weft_scope outer, inner;
    (void)arg;
    enter_bound(&outer, token);
    cr_assert_eq(weft_scope_enter(&inner, WEFT_FOREVER), 0);
    cr_assert_eq(weft_scope_leave(&outer), WEFT_EINVAL);
    cr_assert_eq(weft_token_free(token), WEFT_EBUSY, "nothing was left, nothing unbound");
    weft_token_cancel(token);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&outer), WEFT_EINVAL);
    cr_assert_eq(weft_scope_leave(&inner), 0, "it was not this one");
    cr_assert_eq(weft_scope_leave(&outer), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&outer), WEFT_EINVAL);
    cr_assert_eq(weft_yield(), 0);
    fell(token);
    return NULL;
}

WF_TEST_WORKERS(token, leaving_out_of_order_leaves_nothing) { run(workers, out_of_order_root, NULL); }

static void *nested_root(void *arg)
{
    weft_token *token = plant(NULL);
    weft_scope outer, inner;
    (void)arg;
    cr_assert_eq(weft_scope_enter(&outer, WEFT_SEC), 0);
    enter_bound(&inner, token);
    weft_token_cancel(token);
    cr_assert_eq(weft_sleep(60 * WEFT_SEC), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&inner), WEFT_ECANCELED);
    cr_assert_eq(weft_sleep(60 * WEFT_SEC), WEFT_ETIMEDOUT);
    enter_bound(&inner, token);
    cr_assert_eq(weft_sleep(60 * WEFT_SEC), WEFT_ETIMEDOUT, "the outermost is what counts");
    cr_assert_eq(weft_scope_leave(&inner), 0);
    cr_assert_eq(weft_scope_leave(&outer), WEFT_ETIMEDOUT);
    fell(token);
    return NULL;
}

Test(token, of_scopes_that_have_fired_the_outermost_is_reported) { run_paused(nested_root, NULL); }

static void *shielded_sleeper(void *token)
{
    weft_scope outer, inner;
    enter_bound(&outer, token);
    cr_assert_eq(weft_shield_enter(), 0);
    cr_assert_eq(weft_sleep(60 * WEFT_SEC), 0, "hidden");
    cr_assert_eq(weft_is_cancelled(), 0);
    enter_bound(&inner, token);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED, "this one was entered inside the shield");
    cr_assert_eq(weft_scope_leave(&inner), WEFT_ECANCELED);
    cr_assert_eq(weft_yield(), 0);
    cr_assert_eq(weft_shield_leave(), 0);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&outer), WEFT_ECANCELED);
    return NULL;
}

static void *shield_root(void *arg)
{
    weft_token *token = plant(NULL);
    weft_task *task = start(shielded_sleeper, token);
    (void)arg;
    cr_assert_eq(weft_sleep(WEFT_SEC), 0);
    weft_token_cancel(token);
    cr_assert_eq(join(task), 0);
    fell(token);
    return NULL;
}

Test(token, a_shield_hides_bound_scopes_outside_it) { run_paused(shield_root, NULL); }

static void *bind_anothers(void *arg)
{
    void **args = arg;
    cr_assert_eq(weft_scope_bind(args[0], args[1]), WEFT_EINVAL);
    return NULL;
}

static void *anothers_root(void *arg)
{
    weft_token *token = plant(NULL);
    weft_scope scope;
    void *args[] = {&scope, token};
    (void)arg;
    cr_assert_eq(weft_scope_enter(&scope, WEFT_FOREVER), 0);
    cr_assert_eq(join(start(bind_anothers, args)), 0);
    in_threads(1, bind_anothers, args);
    cr_assert_eq(weft_scope_leave(&scope), 0);
    fell(token);
    return NULL;
}

WF_TEST_WORKERS(token, only_who_has_entered_a_scope_binds_it) { run(workers, anothers_root, NULL); }

static void *thread_in_scope(void *arg)
{
    meeting *m = arg;
    weft_scope scope;
    enter_bound(&scope, m->token);
    m->there++;
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED);
    cr_assert_eq(weft_is_cancelled(), 1);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    cr_assert_eq(weft_yield(), 0);
    return NULL;
}

Test(token, a_scope_on_an_ordinary_thread_is_cancelled_too)
{
    for (size_t round = 0; round < wf_test_scale(500); round++) {
        meeting m = {.token = plant(NULL)};
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, thread_in_scope, &m), 0);
        int enough = (int)round % 3;
        SPIN_UNTIL(m.there >= enough);
        weft_token_cancel(m.token);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        fell(m.token);
    }
}

static void *thread_forgets(void *arg)
{
    static _Thread_local weft_scope scope; /* not on the stack, so that forgetting it is not more than that */
    enter_bound(&scope, ((meeting *)arg)->token);
    return NULL;
}

Test(token, a_thread_that_ends_in_a_bound_scope_leaves_nothing)
{
    meeting m = {.token = plant(NULL)};
    in_threads(4, thread_forgets, &m);
    weft_token_cancel(m.token);
    fell(m.token);
    m.token = plant(NULL);
    in_threads(4, thread_forgets, &m);
    fell(m.token);
}

static void *busy_root(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    cr_assert_eq(weft_sleep(WEFT_SEC), 0);
    cr_assert_eq(weft_token_free(token), WEFT_EBUSY);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED, "refusing has not unbound it");
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    return NULL;
}

static void *busy_while_bound_root(void *arg)
{
    weft_token *token = plant(NULL);
    weft_task *task = start(busy_root, token), *waiter = start(wait_for, token);
    (void)arg;
    cr_assert_eq(weft_sleep(60 * WEFT_SEC), 0);
    cr_assert_eq(weft_token_free(token), WEFT_EBUSY);
    weft_token_cancel(token);
    fell(token); /* at once: who was told has not even run */
    cr_assert_eq(join(task), 0);
    cr_assert_eq(join(waiter), 0);
    return NULL;
}

Test(token, one_that_somebody_hangs_on_is_not_freed_and_still_works) { run_paused(busy_while_bound_root, NULL); }

/* ---- scopes and groups ----------------------------------------------------------------------------------------- */

static void *sleep_for_ever(void *arg)
{
    weft_sleep(WEFT_FOREVER);
    return arg;
}

static void *group_inside(void *token)
{
    weft_scope scope;
    weft_group *group;
    enter_bound(&scope, token);
    cr_assert_eq(weft_group_create(&group), 0);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(weft_group_spawn(group, sleep_for_ever, NULL), 0);
    cr_assert_eq(weft_group_wait(group), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    cr_assert_eq(weft_group_spawn(group, echo, NULL), WEFT_ECANCELED, "the scope around its creation has fired");
    cr_assert_eq(weft_group_close(group), 0);
    return NULL;
}

static void *group_root(void *arg)
{
    weft_token *token = plant(NULL), *parent = plant(NULL), *child = plant(parent);
    weft_task *tasks[] = {start_and_await_idle(group_inside, child), start_and_await_idle(group_inside, child)};
    (void)arg;
    weft_token_cancel(token);
    weft_token_cancel(parent);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(weft_wait(tasks[i]), 0);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(join(tasks[i]), 0);
    fell(token);
    fell(parent);
    fell(child);
    return NULL;
}

WF_TEST_WORKERS(token, a_group_made_in_a_bound_scope_is_cancelled_with_it) { run(workers, group_root, NULL); }

/* ---- coroutines ------------------------------------------------------------------------------------------------ */

static weft_coro *corout(weft_fn fn, void *arg)
{
    weft_coro *c;
    cr_assert_eq(weft_coro_create(&c, fn, arg, 0), 0);
    return c;
}

/* Yields the code of its await each time that it is resumed, until it is told to stop. */
static void *bound_coro(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    int err = 0;
    while (weft_coro_yield(code(err)) != NULL)
        err = weft_yield();
    return code(weft_scope_leave(&scope));
}

/* What its await says now. */
static int ask(weft_coro *c)
{
    void *out;
    cr_assert_eq(weft_coro_resume(c, c, &out), 1);
    return (int)(intptr_t)out;
}

/* What its leave says. */
static int finish(weft_coro *c)
{
    void *out;
    cr_assert_eq(weft_coro_resume(c, NULL, &out), 0);
    cr_assert_eq(weft_coro_free(c), 0);
    return (int)(intptr_t)out;
}

static void *ask_elsewhere(void *coro) { return code(ask(coro)); }

static void *resting_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        weft_token *token = plant(NULL);
        weft_coro *c = corout(bound_coro, token);
        cr_assert_eq(ask(c), 0);
        cr_assert_eq(ask(c), 0);
        cr_assert_eq(weft_token_free(token), WEFT_EBUSY);
        weft_token_cancel(token);
        cr_assert_eq(weft_is_cancelled(), 0, "it is the coroutine's scope");
        cr_assert_eq(weft_yield(), 0);
        fell(token);
        cr_assert_eq(i % 2 ? join(start(ask_elsewhere, c)) : ask(c), WEFT_ECANCELED);
        cr_assert_eq(weft_yield(), 0);
        cr_assert_eq(finish(c), WEFT_ECANCELED);
    }
    return NULL;
}

WF_TEST_WORKERS(token, fired_while_its_coroutine_rests_it_is_met_by_whoever_resumes_it)
{
    run(workers, resting_root, NULL);
}

static void *sleep_in_coro(void *coro)
{
    void *out;
    cr_assert_eq(weft_coro_resume(coro, NULL, &out), 0);
    cr_assert_null(out);
    cr_assert_eq(weft_yield(), 0);
    return NULL;
}

static void *running_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        weft_token *token = plant(NULL);
        weft_coro *c = corout(bound_sleeper, token);
        weft_task *task = start_and_await_idle(sleep_in_coro, c);
        weft_token_cancel(token);
        cr_assert_eq(join(task), 0);
        cr_assert_eq(weft_coro_free(c), 0);
        fell(token);
    }
    return NULL;
}

WF_TEST_WORKERS(token, fired_while_its_coroutine_waits_it_cancels_that_wait) { run(workers, running_root, NULL); }

static void *yield_then_sleep(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    weft_coro_yield(NULL);
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    return NULL;
}

static void *moved_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        weft_token *token = plant(NULL);
        weft_coro *c = corout(yield_then_sleep, token);
        cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
        weft_task *task = start_and_await_idle(sleep_in_coro, c);
        weft_token_cancel(token); /* wakes whoever runs it now, not whoever entered it */
        cr_assert_eq(join(task), 0);
        cr_assert_eq(weft_coro_free(c), 0);
        fell(token);
    }
    return NULL;
}

WF_TEST_WORKERS(token, a_bound_scope_goes_with_its_coroutine_to_another_task) { run(workers, moved_root, NULL); }

/* The scope of the one who resumes is around what the coroutine does. */
static void *sleep_inside(void *arg)
{
    (void)arg;
    cr_assert_eq(weft_sleep(WEFT_FOREVER), WEFT_ECANCELED);
    return NULL;
}

static void *resume_in_scope(void *token)
{
    weft_coro *c = corout(sleep_inside, NULL);
    weft_scope scope;
    enter_bound(&scope, token);
    cr_assert_eq(weft_coro_resume(c, NULL, NULL), 0);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    cr_assert_eq(weft_coro_free(c), 0);
    return NULL;
}

static void *around_root(void *arg)
{
    weft_token *token = plant(NULL);
    weft_task *task = start_and_await_idle(resume_in_scope, token);
    (void)arg;
    weft_token_cancel(token);
    cr_assert_eq(join(task), 0);
    fell(token);
    return NULL;
}

WF_TEST_WORKERS(token, a_bound_scope_is_around_the_coroutine_that_is_resumed_in_it) { run(workers, around_root, NULL); }

Test(token, a_coroutine_on_an_ordinary_thread_is_cancelled_too)
{
    weft_token *token = plant(NULL);
    weft_coro *c = corout(bound_coro, token);
    cr_assert_eq(ask(c), 0);
    weft_token_cancel(token);
    cr_assert_eq(weft_yield(), 0);
    cr_assert_eq(ask(c), WEFT_ECANCELED);
    cr_assert_eq(finish(c), WEFT_ECANCELED);
    fell(token);
}

static void *forgetful_coro(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    weft_coro_yield(NULL);
    return NULL;
}

static void *forgetful_coro_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 4; i++) {
        weft_token *token = plant(NULL);
        weft_coro *c = corout(forgetful_coro, token);
        cr_assert_eq(weft_coro_resume(c, NULL, NULL), 1);
        if (i % 2)
            weft_token_cancel(token);
        if (i < 2) {
            cr_assert_eq(weft_coro_resume(c, NULL, NULL), WEFT_EPANIC);
            cr_assert(strstr(weft_coro_error(c), "scope") != NULL);
        }
        cr_assert_eq(weft_coro_free(c), 0);
        weft_token_cancel(token);
        fell(token);
        cr_assert_eq(weft_yield(), 0);
    }
    return NULL;
}

WF_TEST_WORKERS(token, a_coroutine_that_ends_in_a_bound_scope_panics_and_unbinds)
{
    run(workers, forgetful_coro_root, NULL);
}

/* A stackless task's drop runs where nobody can be woken for it, even if one that panicked was there before. */
static weft_poll panicking_poll(weft_future *f, weft_context *cx, void **result)
{
    (void)f, (void)cx, (void)result;
    weft_panic("on purpose");
    return WEFT_READY;
}

static const weft_future_ops panicking_ops = {panicking_poll, NULL};

typedef struct resumer {
    weft_future future;
    weft_coro *coro;
} resumer;

static weft_poll resumer_poll(weft_future *f, weft_context *cx, void **result)
{
    (void)f, (void)cx, (void)result;
    return WEFT_PENDING;
}

static void resumer_drop(weft_future *f)
{
    cr_assert_eq(weft_coro_resume(WEFT_CONTAINER_OF(f, resumer, future)->coro, NULL, NULL), 1);
}

static const weft_future_ops resumer_ops = {resumer_poll, resumer_drop};

static void *cancel_own(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    weft_coro_yield(NULL);
    weft_token_cancel(token);
    weft_coro_yield(NULL);
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
    return NULL;
}

static void *stale_root(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        weft_token *token = plant(NULL);
        weft_future panicking = {&panicking_ops};
        resumer r = {.future = {&resumer_ops}, .coro = corout(cancel_own, token)};
        weft_spawn_options pinned = {.pinned = 1};
        weft_task *task;
        cr_assert_eq(weft_coro_resume(r.coro, NULL, NULL), 1);
        cr_assert_eq(weft_spawn_future_with(NULL, &pinned, &panicking), 0); /* gone as soon as it has panicked */
        cr_assert_eq(weft_spawn_future_with(&task, &pinned, &r.future), 0);
        weft_abort(task); /* before its first poll, which is after the other's */
        EVENTUALLY(weft_is_finished(task));
        cr_assert_eq(weft_join(task, NULL), WEFT_EABORTED);
        cr_assert_eq(weft_coro_resume(r.coro, NULL, NULL), 0);
        cr_assert_eq(weft_coro_free(r.coro), 0);
        fell(token);
        for (int j = 0; j < 20; j++)
            cr_assert_eq(join(start(echo, NULL)), 0);
    }
    return NULL;
}

WF_TEST_WORKERS(token, fired_in_a_drop_it_wakes_nobody_that_was_polled_there_before) { run(workers, stale_root, NULL); }

/* ---- panics, and scopes that nobody left ------------------------------------------------------------------------- */

static void *panics_inside(void *token)
{
    weft_scope outer, inner;
    enter_bound(&outer, token);
    enter_bound(&inner, token);
    weft_panic("inside");
    return NULL;
}

static void *ends_inside(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    return NULL;
}

static void *ends_inside_cancelled(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    weft_token_cancel(token);
    return NULL;
}

static void scribble_and_wait(void *arg)
{
    volatile unsigned char frame[2048];
    (void)arg;
    for (size_t i = 0; i < sizeof frame; i++)
        frame[i] = 0x5a;
    cr_assert_eq(weft_sleep(WEFT_MS), 0, "no scope is around what is deferred");
    cr_assert_eq(frame[7], 0x5a);
}

static void *ends_inside_with_deferred_call(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    cr_assert_eq(weft_defer(scribble_and_wait, NULL), 0);
    weft_token_cancel(token);
    return NULL;
}

static void *panics_with_deferred_call(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    cr_assert_eq(weft_defer(scribble_and_wait, NULL), 0);
    weft_token_cancel(token);
    weft_panic("inside");
    return NULL;
}

static void *aborted_inside(void *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
    weft_sleep(WEFT_FOREVER);
    weft_panic("inside");
    return NULL;
}

/* Returns without leaving it: not deep, so that the frames of whatever is called next lie where it was. */
static __attribute__((noinline)) void forget_scope(weft_token *token)
{
    weft_scope scope;
    enter_bound(&scope, token);
}

static __attribute__((noinline)) int clutter(void)
{
    volatile unsigned char frame[1024];
    for (size_t i = 0; i < sizeof frame; i++)
        frame[i] = 0x5a;
    return frame[7];
}

static void *forgets_once(void *token)
{
    forget_scope(token);
    cr_assert_eq(clutter(), 0x5a);
    weft_token_cancel(token);
    weft_sleep(WEFT_MS);
    return NULL;
}

static __attribute__((noinline)) void forget_unbound(void)
{
    weft_scope scope;
    (void)weft_scope_enter(&scope, WEFT_FOREVER);
    __asm__ volatile("" ::"r"(&scope) : "memory");
}

/* The second one lies where the first did. */
static void *forgets_twice(void *token)
{
    for (int i = 0; i < 2; i++)
        forget_unbound();
    weft_sleep(WEFT_MS);
    return token;
}

/* And one that is properly entered after it. */
static void *forgets_before_another(void *token)
{
    weft_scope scope;
    forget_scope(token);
    cr_assert_eq(clutter(), 0x5a);
    cr_assert_eq(weft_scope_enter(&scope, WEFT_FOREVER), 0);
    weft_token_cancel(token);
    weft_sleep(WEFT_MS);
    return NULL;
}

static __attribute__((noinline)) void forget_scope_with_group(weft_token *token)
{
    weft_scope scope;
    weft_group *group;
    enter_bound(&scope, token);
    cr_assert_eq(weft_group_create(&group), 0);
    cr_assert_eq(weft_group_spawn(group, sleep_for_ever, NULL), 0);
}

static void deferred_scope(void *token)
{
    weft_scope scope;
    (void)token;
    cr_assert_eq(clutter(), 0x5a);
    cr_assert_eq(weft_scope_enter(&scope, WEFT_FOREVER), 0);
    cr_assert_eq(weft_scope_cancel(&scope), 0); /* asks what was made in it */
    cr_assert_eq(weft_yield(), WEFT_ECANCELED);
    cr_assert_eq(weft_scope_leave(&scope), WEFT_ECANCELED);
}

static void *forgets_around_a_group(void *token)
{
    cr_assert_eq(weft_defer(deferred_scope, token), 0);
    forget_scope_with_group(token);
    return NULL;
}

static void *resume_after_forgetting(void *token)
{
    weft_coro *c = corout(sleep_for_ever, NULL);
    forget_unbound();
    cr_assert_eq(clutter(), 0x5a);
    cr_assert_leq(weft_coro_resume(c, NULL, NULL), 0, "it does not sleep for ever");
    cr_assert_eq(weft_coro_free(c), 0);
    cr_assert_eq(weft_yield(), WEFT_EINVAL, "never reached");
    return token;
}

/* The task panics, and its token is nobody's business any more. */
static void panics(weft_fn fn, const char *says)
{
    for (int i = 0; i < 5; i++) {
        weft_token *token = plant(NULL);
        weft_task *task = start(fn, token);
        if (fn == aborted_inside) {
            await_idle(task);
            weft_abort(task);
        }
        cr_assert_eq(weft_wait(task), 0);
        cr_assert(strstr(weft_task_error(task), says) != NULL, "it says: %s", weft_task_error(task));
        if (i % 2)
            weft_token_cancel(token);
        fell(token);
        cr_assert_eq(weft_join(task, NULL), WEFT_EPANIC);
    }
}

static void *panics_root(void *arg)
{
    (void)arg;
    panics(panics_inside, "inside");
    panics(ends_inside, "not left");
    panics(ends_inside_cancelled, "not left");
    panics(ends_inside_with_deferred_call, "not left");
    panics(panics_with_deferred_call, "inside");
    panics(aborted_inside, "inside");
    return NULL;
}

WF_TEST_WORKERS(token, whoever_ends_in_a_bound_scope_panics_and_unbinds) { run(workers, panics_root, NULL); }

static void *forgets_root(void *arg)
{
    (void)arg;
    panics(forgets_once, "not left");
    panics(forgets_twice, "not left");
    panics(forgets_before_another, "not left");
    panics(forgets_around_a_group, "not left");
    weft_task *task = start(resume_after_forgetting, NULL);
    cr_assert_eq(weft_wait(task), 0);
    cr_assert(strstr(weft_task_error(task), "not left") != NULL);
    cr_assert_eq(weft_join(task, NULL), WEFT_EPANIC);
    return NULL;
}

/* What broke: the scope lies where the library's own frames lie at the next await, which walked over what it found there. */
WF_TEST_WORKERS(token, a_scope_whose_function_has_returned_is_a_panic_however_shallow_it_was)
{
    run(workers, forgets_root, NULL);
}

/* ---- handles that go with their block ------------------------------------------------------------------------------ */

static void *scoped_token_root(void *arg)
{
    weft_task *tasks[3];
    (void)arg;
    {
        WEFT_SCOPED(weft_token) token = plant(NULL);
        WEFT_SCOPED(weft_token) child = plant(token); /* goes first */
        WEFT_SCOPED(weft_token) none = NULL;
        tasks[0] = start_and_await_idle(wait_for, token);
        tasks[1] = start_and_await_idle(wait_for, child);
        tasks[2] = start_and_await_idle(bound_sleeper, child);
        cr_assert_null(none);
    }
    for (int i = 0; i < 3; i++)
        cr_assert_eq(join(tasks[i]), 0);
    return NULL;
}

WF_TEST_WORKERS(token, scoped_it_is_cancelled_and_freed_with_its_block) { run(workers, scoped_token_root, NULL); }

static void note_end(void *ended) { (*(atomic_int *)ended)++; }

static void *until_aborted(void *ended)
{
    cr_assert_eq(weft_defer(note_end, ended), 0);
    return code(weft_sleep(WEFT_FOREVER));
}

static void scoped_children(atomic_int *ended)
{
    WEFT_SCOPED(weft_task) task = start_and_await_idle(until_aborted, ended);
    WEFT_SCOPED(weft_task) no_task = NULL;
    WEFT_SCOPED(weft_group) group = NULL;
    WEFT_SCOPED(weft_group) no_group = NULL;
    cr_assert(task && !no_task);
    cr_assert_null(no_group);
    cr_assert_eq(weft_group_create(&group), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(weft_group_spawn(group, until_aborted, ended), 0);
    SPIN_UNTIL((weft_yield(), weft_group_running(group) == 3));
}

static void *reads_the_end(void *arg)
{
    weft_stream *s = arg;
    char byte;
    cr_assert_eq(weft_read(s, &byte, 1), 0);
    weft_close(s);
    return NULL;
}

static weft_task *scoped_sockets(char text[WEFT_ADDR_TEXT])
{
    WEFT_SCOPED(weft_listener) listener = NULL;
    WEFT_SCOPED(weft_listener) no_listener = NULL;
    WEFT_SCOPED(weft_stream) ours = NULL;
    WEFT_SCOPED(weft_stream) no_stream = NULL;
    weft_stream *theirs;
    weft_addr addr;
    cr_assert(!no_listener && !no_stream);
    cr_assert_eq(weft_tcp_listen(&listener, "127.0.0.1:0", NULL), 0);
    cr_assert_eq(weft_listener_addr(listener, &addr), 0);
    weft_addr_format(&addr, text, WEFT_ADDR_TEXT);
    cr_assert_eq(weft_tcp_connect(&ours, text, NULL), 0);
    cr_assert_eq(weft_accept(&theirs, listener), 0);
    return start(reads_the_end, theirs);
}

static void *scoped_root(void *arg)
{
    atomic_int ended = 0;
    char text[WEFT_ADDR_TEXT];
    weft_stream *s;
    (void)arg;
    scoped_children(&ended);
    cr_assert_geq(ended, 1, "none runs any more"); /* those of the group may not have begun */
    cr_assert_eq(join(scoped_sockets(text)), 0);
    cr_assert_eq(weft_tcp_connect(&s, text, NULL), WEFT_ECONNREFUSED);
    cr_assert_null(s);
    return NULL;
}

WF_TEST_WORKERS(token, scoped_tasks_groups_and_sockets_end_with_their_block) { run(workers, scoped_root, NULL); }
