/* tokens.c - scenes of token.c and scope.c: what is below a token is cancelled when a cancel returns, whoever waits is woken, and nobody uses what another
 * has freed; of lock.h's spin lock beside it. */
#include "../under_token.h"

static struct {
    weft_token *root, *child, *grandchild, *other;
    wf_dependent dependent;
    wf_spin spin;
    int count; /* plain */
    int closed;
    wf_a32 there;
    int born; /* plain: what came before the cancel is seen by those who were cancelled */
} s;

#define TOKEN_SCENE(name, ...) MODEL_SCENE(name, .state = &s, .state_size = sizeof s, __VA_ARGS__)

static weft_token *make(weft_token *parent)
{
    weft_token *token;
    model_check(weft_token_create(&token, parent) == 0);
    return token;
}

static void release(weft_token **token)
{
    model_check(weft_token_free(*token) == 0);
    *token = NULL;
}

static void begin(void)
{
    ordinary_begin();
    s.root = make(NULL);
    s.child = make(s.root);
    s.grandchild = make(s.child);
    model_name(s.root->lock, "token");
    model_name(&s.root->cancelled, "root");
    model_name(&s.child->cancelled, "child");
    model_name(&s.grandchild->cancelled, "grandchild");
}

static void nothing_left(void)
{
    weft_token_free(s.grandchild);
    weft_token_free(s.child);
    weft_token_free(s.root);
    model_check(model_blocks() == 0);
}

static void all_cancelled(void)
{
    model_check(weft_token_is_cancelled(s.root) && weft_token_is_cancelled(s.child) && weft_token_is_cancelled(s.grandchild));
    nothing_left();
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------- */

static void cancel_root(void)
{
    s.born = 42;
    weft_token_cancel(s.root);
}

static void wait_for_grandchild(void)
{
    model_check(weft_token_wait(s.grandchild) == 0);
    model_check(s.born == 42 && weft_token_is_cancelled(s.grandchild));
    ordinary_end();
}

/* Cancelled, it is on its own, and whoever waited alone may free it. */
static void wait_and_free(void)
{
    wait_for_grandchild();
    release(&s.grandchild);
}

static void rest_cancelled(void)
{
    model_check(weft_token_is_cancelled(s.root) && weft_token_is_cancelled(s.child));
    nothing_left();
}

TOKEN_SCENE(token_wakes_who_waits, .setup = begin, .threads = {cancel_root, wait_for_grandchild, wait_for_grandchild},
            .finish = all_cancelled, .preemptions = 1, .stale = 0, .random = 200);
TOKEN_SCENE(token_freed_by_who_waited, .setup = begin, .threads = {cancel_root, wait_and_free},
            .finish = rest_cancelled, .preemptions = 2, .stale = 0, .random = 200);

/* ---- cancelling twice --------------------------------------------------------------------------------------------------- */

/* Whoever comes second finds everything below cancelled, too. */
static void cancel_and_look(void)
{
    weft_token_cancel(s.root);
    model_check(weft_token_is_cancelled(s.child) && weft_token_is_cancelled(s.grandchild));
}

static void cancel_child_and_look(void)
{
    weft_token_cancel(s.child);
    model_check(weft_token_is_cancelled(s.grandchild));
}

TOKEN_SCENE(token_cancelled_twice, .setup = begin, .threads = {cancel_and_look, cancel_and_look},
            .finish = all_cancelled, .preemptions = 2, .stale = 0, .random = 300);
TOKEN_SCENE(token_cancelled_above_and_below, .setup = begin, .threads = {cancel_and_look, cancel_child_and_look},
            .finish = all_cancelled, .preemptions = 2, .stale = 1, .random = 100);

/* ---- birth and death beside it ------------------------------------------------------------------------------------------- */

/* A child is born cancelled, or is cancelled. */
static void bear_a_child(void) { s.other = make(s.child); }

static void other_cancelled(void)
{
    model_check(weft_token_is_cancelled(s.other));
    release(&s.other);
    all_cancelled();
}

/* Freed before, it is not touched (d26). */
static void bear_and_free(void)
{
    weft_token *other = make(s.child);
    release(&other);
    release(&s.grandchild);
}

TOKEN_SCENE(token_born_meanwhile, .setup = begin, .threads = {cancel_and_look, bear_a_child}, .finish = other_cancelled,
            .preemptions = 2, .stale = 1, .random = 100);
TOKEN_SCENE(token_freed_meanwhile, .setup = begin, .threads = {cancel_root, bear_and_free}, .finish = rest_cancelled,
            .preemptions = 2, .stale = 0, .random = 200);

/* ---- scopes ----------------------------------------------------------------------------------------------------------------- */

/* Left while it is being cancelled: nobody comes back to the binding. */
static void bind_and_leave(void)
{
    weft_scope scope;
    model_check(weft_scope_enter(&scope, WEFT_FOREVER) == 0);
    model_check(weft_scope_bind(&scope, s.grandchild) == 0);
    model_check(weft_scope_leave(&scope) == 0);
    release(&s.grandchild);
    ordinary_end();
}

TOKEN_SCENE(scope_left_when_cancelled, .setup = begin, .threads = {cancel_root, bind_and_leave},
            .finish = rest_cancelled, .preemptions = 2, .stale = 0, .random = 300);

/* A wait for something else in a scope of two tokens ends, whichever is cancelled. */
static void wait_in_scope(void)
{
    weft_scope scope;
    model_check(weft_scope_enter(&scope, WEFT_FOREVER) == 0);
    model_check(weft_scope_bind(&scope, s.root) == 0);
    model_check(weft_scope_bind(&scope, s.child) == 0);
    model_check(weft_token_wait(s.other) == WEFT_ECANCELED);
    model_check(s.born == 42);
    model_check(weft_scope_leave(&scope) == WEFT_ECANCELED);
    release(&s.other);
    ordinary_end();
}

static void begin_with_other(void)
{
    begin();
    s.other = make(NULL);
}

TOKEN_SCENE(scope_ends_a_wait, .setup = begin_with_other, .threads = {cancel_root, wait_in_scope},
            .finish = all_cancelled, .preemptions = 1, .stale = 0, .random = 300);

/* The wait is over and interrupted at once: it says one of the two, and has left. */
static void wait_in_scope_of_its_own(void)
{
    weft_scope scope;
    model_check(weft_scope_enter(&scope, WEFT_FOREVER) == 0);
    model_check(weft_scope_bind(&scope, s.child) == 0);
    int err = weft_token_wait(s.grandchild);
    model_check(err == 0 || err == WEFT_ECANCELED);
    model_check(weft_scope_leave(&scope) == err);
    release(&s.grandchild);
    ordinary_end();
}

TOKEN_SCENE(scope_and_wait_at_once, .setup = begin, .threads = {cancel_root, wait_in_scope_of_its_own},
            .finish = rest_cancelled, .preemptions = 1, .stale = 0, .random = 500);

/* ---- what depends on a scope ------------------------------------------------------------------------------------------------- */

/* Made by a thread that ends, and taken out by another. */
static void make_dependent(void)
{
    wf_exec *self = wf_exec_current();
    wf_dependent_add(&s.dependent, self, self->body->scopes);
    wf_store_rel(&s.there, 1);
    parker_thread_ends(wf_container(current, parker, exec));
}

static void remove_dependent(void)
{
    if (wf_load_acq(&s.there))
        s.closed = wf_dependent_remove(&s.dependent);
}

/* Nobody else would close it. */
static void removed_by_its_closer(void)
{
    model_check(s.dependent.body == NULL || s.closed);
    model_check(model_blocks() == 0);
}

TOKEN_SCENE(dependent_of_a_thread_that_ends, .setup = ordinary_begin, .threads = {make_dependent, remove_dependent},
            .finish = removed_by_its_closer, .preemptions = 3, .stale = 1, .random = 200);

/* ---- the spin lock -------------------------------------------------------------------------------------------------------------- */

static void count(void)
{
    wf_spin_lock(&s.spin);
    s.count++;
    wf_spin_unlock(&s.spin);
}

static void try_to_count(void)
{
    if (!wf_spin_try(&s.spin))
        return;
    s.count++;
    wf_spin_unlock(&s.spin);
}

static void counted(void) { model_check(s.count == 2 || s.count == 3); }

TOKEN_SCENE(spin_lock_three, .threads = {count, count, try_to_count}, .finish = counted, .preemptions = 3, .stale = 2,
            .random = 200);
