/* token_test.c - random trees of tokens, made, cancelled, freed, waited for and bound by everybody at once.
 *
 * No wait is lost: everything that was begun below a cancelled token ends, or the test does not. Nobody is told of a cancel that was not:
 * whoever is told finds the token cancelled. Nothing is left: in the end each token is free to go. The seed is printed with each failure. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <support/task_support.h>
#include <support/test.h>
#include <time.h>
#include <weft/coro.h>
#include <weft/scope.h>
#include <weft/token.h>

static uint64_t seed;

#define SAYS(condition) cr_assert(condition, "seed %llu", (unsigned long long)seed)

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static unsigned below(uint64_t *state, unsigned n) { return (unsigned)(next_random(state) % n); }

/* WEFT_TEST_SEED repeats a run, as far as threads let it. */
static void choose_seed(void)
{
    struct timespec now;
    const char *given = getenv("WEFT_TEST_SEED");
    clock_gettime(CLOCK_REALTIME, &now);
    seed = given ? strtoull(given, NULL, 0) : (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20;
}

/* ---- a forest -------------------------------------------------------------------------------------------------- */

enum { NODES = 40 };

/* Each node's parent comes before it. Tokens are freed in the end only, so everybody may use any. */
typedef struct forest {
    weft_token *nodes[NODES];
    int parents[NODES];      /* -1: none */
    atomic_int asked[NODES]; /* set before it is cancelled */
    uint64_t random;
} forest;

static weft_token *plant(weft_token *parent)
{
    weft_token *t;
    SAYS(weft_token_create(&t, parent) == 0);
    return t;
}

static void grow(forest *f, uint64_t random)
{
    memset(f, 0, sizeof *f);
    f->random = random;
    for (int i = 0; i < NODES; i++) {
        f->parents[i] = i == 0 || below(&f->random, 8) == 0 ? -1 : (int)below(&f->random, (unsigned)i);
        f->nodes[i] = plant(f->parents[i] < 0 ? NULL : f->nodes[f->parents[i]]);
    }
}

/* May @i be cancelled? Somebody asked for it, or for one above it. */
static bool was_asked(forest *f, int i)
{
    for (; i >= 0; i = f->parents[i])
        if (f->asked[i])
            return true;
    return false;
}

static void cancel_node(forest *f, int i)
{
    f->asked[i] = 1;
    weft_token_cancel(f->nodes[i]);
    SAYS(weft_token_is_cancelled(f->nodes[i]));
    for (int j = i + 1; j < NODES; j++)
        if (f->parents[j] == i)
            SAYS(weft_token_is_cancelled(f->nodes[j]));
}

/* ---- what everybody does --------------------------------------------------------------------------------------- */

/* Waits, perhaps not for long. */
static void wait_for_one(forest *f, uint64_t *random)
{
    int i = (int)below(random, NODES);
    weft_scope scope;
    SAYS(weft_scope_enter(&scope, below(random, 2) ? WEFT_FOREVER : (int64_t)below(random, 3000) * 1000) == 0);
    int err = weft_token_wait(f->nodes[i]);
    int left = weft_scope_leave(&scope);
    SAYS(err == 0 ? left == 0 && weft_token_is_cancelled(f->nodes[i]) && was_asked(f, i)
                  : err == WEFT_ETIMEDOUT && left == err);
}

/* In a scope of one or two tokens. */
static void work_in_scope(forest *f, uint64_t *random)
{
    int i = (int)below(random, NODES), j = (int)below(random, NODES), err = 0;
    weft_scope scope, inner;
    SAYS(weft_scope_enter(&scope, WEFT_FOREVER) == 0);
    SAYS(weft_scope_bind(&scope, f->nodes[i]) == 0);
    SAYS(weft_scope_enter(&inner, WEFT_FOREVER) == 0);
    SAYS(weft_scope_bind(&inner, f->nodes[j]) == 0);
    switch (below(random, 3)) {
    case 0:
        err = weft_sleep(WEFT_FOREVER); /* all are cancelled in the end */
        SAYS(err == WEFT_ECANCELED);
        break;
    case 1:
        for (unsigned n = below(random, 30); n > 0 && err == 0; n--)
            err = weft_yield();
        break;
    default:
        err = weft_sleep(below(random, 1000) * 1000);
        break;
    }
    SAYS(err == 0 || err == WEFT_ECANCELED);
    int from_inner = weft_scope_leave(&inner), from_outer = weft_scope_leave(&scope);
    SAYS(err == 0 ? from_inner == 0 && from_outer == 0 : (from_inner < 0) + (from_outer < 0) == 1);
    SAYS(from_outer == 0 || (from_outer == WEFT_ECANCELED && weft_token_is_cancelled(f->nodes[i]) && was_asked(f, i)));
    SAYS(from_inner == 0 || (from_inner == WEFT_ECANCELED && weft_token_is_cancelled(f->nodes[j]) && was_asked(f, j)));
}

/* A twig of its own that comes and goes while the branch may be cancelled. */
static void grow_twig(forest *f, uint64_t *random)
{
    int i = (int)below(random, NODES);
    weft_token *twig = plant(f->nodes[i]), *leaf = plant(twig);
    weft_scope scope;
    SAYS(weft_scope_enter(&scope, WEFT_FOREVER) == 0);
    SAYS(weft_scope_bind(&scope, leaf) == 0);
    int err = weft_yield();
    if (below(random, 4) == 0) {
        weft_token_cancel(twig);
        err = weft_yield();
        SAYS(err == WEFT_ECANCELED);
    } else {
        SAYS(err == 0 || was_asked(f, i));
    }
    SAYS(weft_scope_leave(&scope) == err);
    bool dead = weft_token_is_cancelled(twig);
    int first = weft_token_free(twig); /* refused, unless it is cancelled and leaves its leaf alone */
    SAYS(first == 0 || (first == WEFT_EBUSY && !dead));
    SAYS(weft_token_free(leaf) == 0);
    SAYS(first == 0 || weft_token_free(twig) == 0);
}

static void cancel_some(forest *f, uint64_t *random)
{
    cancel_node(f, NODES - 1 - (int)below(random, NODES / 2)); /* rather what is far from the root */
}

/* ---- a coroutine that one after the other resumes ----------------------------------------------------------------- */

typedef struct relay {
    forest *forest;
    weft_coro *coro;
    int node;
    atomic_flag busy;
    bool ended;
} relay;

static void *relay_body(void *arg)
{
    relay *r = arg;
    weft_scope scope;
    int err = 0;
    SAYS(weft_scope_enter(&scope, WEFT_FOREVER) == 0);
    SAYS(weft_scope_bind(&scope, r->forest->nodes[r->node]) == 0);
    while (err == 0) {
        weft_coro_yield(NULL);
        err = weft_yield();
    }
    SAYS(err == WEFT_ECANCELED && was_asked(r->forest, r->node));
    SAYS(weft_scope_leave(&scope) == WEFT_ECANCELED);
    SAYS(weft_yield() == 0);
    return NULL;
}

static void pass_relay(relay *r)
{
    if (atomic_flag_test_and_set(&r->busy))
        return;
    if (!r->ended) {
        int rc = weft_coro_resume(r->coro, NULL, NULL);
        SAYS(rc == 0 || rc == 1);
        r->ended = rc == 0;
    }
    atomic_flag_clear(&r->busy);
}

/* ---- everybody ------------------------------------------------------------------------------------------------- */

enum { STRANDS = 24, THREADS = 3, RELAYS = 4, STEPS = 12 };

typedef struct actor {
    forest *forest;
    relay *relays;
    uint64_t random;
} actor;

static void *act(void *arg)
{
    actor *a = arg;
    for (int step = 0; step < STEPS; step++)
        switch (below(&a->random, 6)) {
        case 0:
            wait_for_one(a->forest, &a->random);
            break;
        case 1:
        case 2:
            work_in_scope(a->forest, &a->random);
            break;
        case 3:
            grow_twig(a->forest, &a->random);
            break;
        case 4:
            cancel_some(a->forest, &a->random);
            break;
        default:
            pass_relay(&a->relays[below(&a->random, RELAYS)]);
            SAYS(weft_yield() == 0);
            break;
        }
    return NULL;
}

/* Cancels one after the other, until all are: nobody waits for ever. */
static void *cancel_all(void *arg)
{
    actor *a = arg;
    for (int i = NODES; i-- > 0;) {
        for (unsigned n = below(&a->random, 4); n > 0; n--)
            weft_yield();
        if (below(&a->random, 3) == 0)
            SAYS(weft_sleep(below(&a->random, 300) * 1000) == 0);
        cancel_node(a->forest, i);
    }
    return NULL;
}

typedef struct scene {
    forest forest;
    relay relays[RELAYS];
    actor actors[STRANDS + THREADS + 2];
} scene;

static void raise_curtain(scene *s, uint64_t random)
{
    grow(&s->forest, random);
    for (int i = 0; i < RELAYS; i++) {
        relay *r = &s->relays[i];
        *r = (relay){.forest = &s->forest, .node = (int)below(&random, NODES), .busy = ATOMIC_FLAG_INIT};
        SAYS(weft_coro_create(&r->coro, relay_body, r, 0) == 0);
    }
    for (size_t i = 0; i < sizeof s->actors / sizeof *s->actors; i++)
        s->actors[i] = (actor){.forest = &s->forest, .relays = s->relays, .random = next_random(&random)};
}

/* All are cancelled: each relay ends, and nothing hangs on any token. */
static void drop_curtain(scene *s)
{
    for (int i = 0; i < RELAYS; i++) {
        while (!s->relays[i].ended)
            pass_relay(&s->relays[i]);
        SAYS(weft_coro_free(s->relays[i].coro) == 0);
    }
    for (int i = 0; i < NODES; i++)
        SAYS(weft_token_free(s->forest.nodes[i]) == 0);
}

/* Some are aborted amid what they do, so that waits are given up and scopes left at any moment. */
static void *aborted_act(void *arg)
{
    actor *a = arg;
    int i = (int)below(&a->random, NODES);
    weft_scope scope;
    SAYS(weft_scope_enter(&scope, WEFT_FOREVER) == 0);
    SAYS(weft_scope_bind(&scope, a->forest->nodes[(int)below(&a->random, NODES)]) == 0);
    int err = weft_token_wait(a->forest->nodes[i]);
    SAYS(err == WEFT_ECANCELED || (err == 0 && was_asked(a->forest, i)));
    (void)weft_scope_leave(&scope);
    return NULL;
}

static void *scene_root(void *arg)
{
    scene *s = arg;
    weft_task *tasks[STRANDS], *canceller;
    for (int i = 0; i < STRANDS; i++)
        SAYS(weft_spawn(&tasks[i], i % 4 ? act : aborted_act, &s->actors[i]) == 0);
    SAYS(weft_spawn(&canceller, cancel_all, &s->actors[STRANDS]) == 0);
    for (int i = 0; i < STRANDS; i += 4) {
        weft_yield();
        weft_abort(tasks[i]);
    }
    for (int i = 0; i < STRANDS; i++) {
        int err = weft_join(tasks[i], NULL);
        SAYS(err == 0 || (err == WEFT_EABORTED && i % 4 == 0));
    }
    SAYS(weft_join(canceller, NULL) == 0);
    return NULL;
}

WF_TEST_WORKERS(stress_token, random_trees_lose_no_wait_and_tell_nobody_of_a_cancel_that_was_not)
{
    choose_seed();
    weft_options options = {.workers = workers};
    weft_runtime *rt;
    static scene s;
    SAYS(weft_runtime_create(&rt, &options) == 0);
    uint64_t random = seed;
    for (size_t round = 0; round < wf_test_scale(150); round++) {
        pthread_t threads[THREADS];
        raise_curtain(&s, next_random(&random));
        for (int i = 0; i < THREADS; i++)
            SAYS(pthread_create(&threads[i], NULL, act, &s.actors[STRANDS + 1 + i]) == 0);
        SAYS(weft_block_on(rt, scene_root, &s, NULL) == 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        drop_curtain(&s);
    }
    SAYS(weft_runtime_destroy(rt) == 0);
}

/* ---- born while their parent is cancelled ------------------------------------------------------------------------- */

/* A child is either born cancelled or reached: there is no moment in between. */
typedef struct nursery {
    weft_token *parent;
    atomic_int ready;
} nursery;

static void *bear(void *arg)
{
    enum { MOST = 200 };
    nursery *n = arg;
    weft_token *children[MOST];
    int born = 0;
    n->ready++;
    do {
        children[born++] = plant(n->parent);
    } while (born < MOST && !weft_token_is_cancelled(n->parent));
    for (int i = 0; i < born; i++)
        SAYS(weft_token_wait(children[i]) == 0);
    for (int i = 0; i < born; i++)
        SAYS(weft_token_free(children[i]) == 0);
    return NULL;
}

Test(stress_token, children_born_while_the_parent_is_cancelled_are_cancelled)
{
    enum { MOTHERS = 3 };
    choose_seed();
    for (size_t round = 0; round < wf_test_scale(1000); round++) {
        nursery n = {.parent = plant(NULL)};
        pthread_t threads[MOTHERS];
        for (int i = 0; i < MOTHERS; i++)
            SAYS(pthread_create(&threads[i], NULL, bear, &n) == 0);
        int enough = (int)round % MOTHERS + 1;
        SPIN_UNTIL(n.ready >= enough);
        weft_token_cancel(n.parent);
        for (int i = 0; i < MOTHERS; i++)
            pthread_join(threads[i], NULL);
        SAYS(weft_token_free(n.parent) == 0);
    }
}
