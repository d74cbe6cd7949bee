/* group_test.c - random trees of groups with failures, aborts, panics and timeouts: whoever began has ended before its group's
 * close returns and before its owner is joined, and each argument and result is dropped exactly once.
 *
 * A node of the tree is a child that may own groups of further nodes. What it does follows from the seed and its place in the tree;
 * the seed is printed when something is wrong. Children count themselves in and out at their parent, whose frame they point into. */
#include <stdatomic.h>
#include <support/task_support.h>
#include <support/test.h>
#include <time.h>
#include <weft/group.h>
#include <weft/scope.h>
#include <weft/token.h>

static uint64_t seed;

#define EXPECT(condition) cr_assert(condition, "seed %llu", (unsigned long long)seed)

/* Of the whole tree. What is made is dropped or taken, each once: a block that is freed twice or never is the sanitizers' to find. */
static struct {
    atomic_long began, ended;
    atomic_long arguments, arguments_gone;
    atomic_long results, results_gone;
} total;

/* ---- chance -------------------------------------------------------------------------------------------------- */

static unsigned draw(uint64_t *state, unsigned n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*state >> 33) % n;
}

static bool chance(uint64_t *state, unsigned percent) { return draw(state, 100) < percent; }

/* ---- arguments and results ------------------------------------------------------------------------------------ */

/* Of the children of one group. */
typedef struct family {
    atomic_int began, ended;
} family;

typedef struct node {
    family *family;
    uint64_t chance;
    int depth;
} node;

static node *make_node(family *f, uint64_t *state, int depth)
{
    node *n = malloc(sizeof *n);
    EXPECT(n != NULL);
    *n = (node){.family = f, .chance = *state ^ ((uint64_t)draw(state, 1u << 30) << 20), .depth = depth};
    total.arguments++;
    return n;
}

static void drop_node(void *arg)
{
    total.arguments_gone++;
    free(arg);
}

static void *make_result(void)
{
    total.results++;
    void *result = malloc(1);
    EXPECT(result != NULL);
    return result;
}

static void drop_result(void *result)
{
    total.results_gone++;
    free(result);
}

/* ---- what a node does ----------------------------------------------------------------------------------------- */

static void *run_node(void *arg);

/* As a deferred call: the argument goes and the child counts itself out, however it ends. */
static void leave_family(void *arg)
{
    node *n = arg;
    n->family->ended++;
    total.ended++;
    drop_node(n);
}

static void dawdle(uint64_t *chances)
{
    switch (draw(chances, 5)) {
    case 0:
        weft_yield();
        break;
    case 1:
        weft_sleep((int64_t)draw(chances, 3) * WEFT_MS);
        break;
    case 2: /* deaf for a while */
        weft_shield_enter();
        weft_yield();
        weft_shield_leave();
        break;
    default:
        break;
    }
}

static void spawn_child(weft_group *g, family *f, uint64_t *chances, int depth)
{
    node *n = make_node(f, chances, depth);
    weft_spawn_options options = {.group = g, .drop_arg = drop_node, .pinned = chance(chances, 10)};
    if (chance(chances, 30))
        options.drop_result = drop_result;
    if (weft_spawn_with(NULL, &options, run_node, n) < 0)
        drop_node(n);
}

/* May take from @g while its owner or its siblings do. */
static void take_some(weft_group *g, uint64_t *chances)
{
    for (unsigned i = draw(chances, 4); i > 0; i--) {
        void *result;
        bool thrown = chance(chances, 30);
        int code = weft_group_next(g, thrown ? NULL : &result);
        if (code == 0 && !thrown && result)
            drop_result(result);
        if (code == WEFT_EOF || code == WEFT_ECANCELED || code == WEFT_ETIMEDOUT)
            return;
    }
}

static void *take_and_go(void *arg)
{
    uint64_t chances = seed ^ (uint64_t)(uintptr_t)arg;
    take_some(arg, &chances);
    weft_group_wait(arg);
    return NULL;
}

static void *cancel_it(void *arg)
{
    weft_yield();
    weft_group_cancel(arg);
    return NULL;
}

static weft_group *open_group(uint64_t *chances)
{
    weft_group *g;
    weft_group_options options = {.limit = chance(chances, 30) ? 1 + draw(chances, 3) : 0,
                                  .fail_fast = chance(chances, 40),
                                  .discard = chance(chances, 30),
                                  .drop_result = drop_result};
    EXPECT(weft_group_create_with(&g, &options) == 0);
    return g;
}

static void use_group(weft_group *g, uint64_t *chances)
{
    if (chance(chances, 40))
        take_some(g, chances);
    if (chance(chances, 20))
        weft_group_cancel(g);
    if (chance(chances, 40))
        weft_group_wait(g);
}

static void close_group(weft_group *g, family *f)
{
    EXPECT(weft_group_close(g) == 0);
    EXPECT(f->began == f->ended);
}

static void check_family(void *arg)
{
    family *f = arg;
    bool alone = f->began == f->ended;
    free(f);
    EXPECT(alone);
}

/* The tasks that meddle with the group live in another, closed first: none comes to a group that is gone. */
static void meddle(weft_group *g, uint64_t *chances)
{
    weft_group *meddlers = open_group(chances);
    for (unsigned i = draw(chances, 3); i > 0; i--)
        weft_group_spawn(meddlers, chance(chances, 70) ? take_and_go : cancel_it, g);
    use_group(g, chances);
    if (chance(chances, 50))
        weft_group_wait(meddlers);
    EXPECT(weft_group_close(meddlers) == 0);
}

/* A group of children; its family outlives this body's end if the group is left open. Returns the family to be checked, or NULL. */
static family *have_children(uint64_t *chances, int depth)
{
    family *f = calloc(1, sizeof *f);
    EXPECT(f != NULL);
    weft_group *g = open_group(chances);
    for (unsigned i = draw(chances, 6); i > 0; i--)
        spawn_child(g, f, chances, depth - 1);
    if (chance(chances, 30))
        meddle(g, chances);
    else
        use_group(g, chances);
    if (chance(chances, 40))
        return f; /* its owner's end closes it */
    close_group(g, f);
    free(f);
    return NULL;
}

static void have_children_under_scope(uint64_t *chances, int depth, family **open)
{
    weft_scope scope;
    EXPECT(weft_scope_enter(&scope, chance(chances, 50) ? (int64_t)draw(chances, 3) * WEFT_MS : WEFT_FOREVER) == 0);
    *open = have_children(chances, depth);
    if (chance(chances, 30))
        EXPECT(weft_scope_cancel(&scope) == 0);
    dawdle(chances);
    weft_scope_leave(&scope);
}

/* An owner in the middle: it is a task of its own, so that its end can be joined and its families be looked at afterwards. */
typedef struct household {
    uint64_t chance;
    int depth;
    family *open[2];
} household;

static void *run_household(void *arg)
{
    household *h = arg;
    for (int i = 0; i < 2; i++) {
        if (chance(&h->chance, 50))
            have_children_under_scope(&h->chance, h->depth, &h->open[i]);
        else
            h->open[i] = have_children(&h->chance, h->depth);
        dawdle(&h->chance);
    }
    if (chance(&h->chance, 20))
        weft_panic("by chance");
    return chance(&h->chance, 20) ? weft_fail(WEFT_EPIPE) : NULL;
}

static void keep_house(uint64_t *chances, int depth)
{
    household h = {.chance = *chances ^ draw(chances, 1u << 30), .depth = depth};
    weft_task *task;
    if (weft_spawn(&task, run_household, &h) < 0)
        return;
    if (chance(chances, 30))
        dawdle(chances);
    int err = chance(chances, 50) ? weft_join(task, NULL) : WEFT_ECANCELED;
    if (err == WEFT_ECANCELED || err == WEFT_ETIMEDOUT)
        EXPECT(weft_task_close(task) == 0);
    for (int i = 0; i < 2; i++)
        if (h.open[i])
            check_family(h.open[i]);
}

static void *run_node(void *arg)
{
    node *n = arg;
    uint64_t chances = n->chance;
    int depth = n->depth;
    n->family->began++;
    total.began++;
    EXPECT(weft_defer(leave_family, n) == 0);
    dawdle(&chances);
    if (depth > 0)
        keep_house(&chances, depth);
    dawdle(&chances);
    switch (draw(&chances, 8)) {
    case 0:
        weft_panic("by chance");
    case 1:
        return weft_fail(WEFT_ECONNRESET);
    case 2:
        return NULL;
    case 3:
        weft_sleep(5 * WEFT_MS); /* or until it is aborted */
        return make_result();
    default:
        return make_result();
    }
}

/* ---- the test ------------------------------------------------------------------------------------------------- */

static void *tree_root(void *arg)
{
    uint64_t chances = seed;
    family f = {0};
    weft_group *g = open_group(&chances);
    for (int i = 0; i < 8; i++)
        spawn_child(g, &f, &chances, 4);
    if (arg) { /* end in the midst of it, and leave the rest to the end */
        dawdle(&chances);
        close_group(g, &f);
        return NULL;
    }
    weft_group_wait(g);
    close_group(g, &f);
    return NULL;
}

static void quiet(void *arg, weft_log_level level, const char *task, const char *text)
{
    (void)arg, (void)level, (void)task, (void)text;
}

static void run_tree(unsigned workers, bool paused, bool hasty)
{
    weft_options options = {.workers = workers, .clock = paused ? WEFT_CLOCK_PAUSED : WEFT_CLOCK_REAL, .log = quiet};
    memset(&total, 0, sizeof total);
    EXPECT(weft_run_with(&options, tree_root, hasty ? &options : NULL, NULL) == 0);
    EXPECT(total.began == total.ended);
    cr_assert_eq(total.arguments, total.arguments_gone, "seed %llu", (unsigned long long)seed);
    cr_assert_eq(total.results, total.results_gone, "seed %llu", (unsigned long long)seed);
}

static uint64_t first_seed(void)
{
    const char *given = getenv("WEFT_TEST_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return given ? strtoull(given, NULL, 0) : (uint64_t)now.tv_nsec * 1000003u ^ (uint64_t)now.tv_sec;
}

WF_TEST_WORKERS(stress_group, random_trees_end_to_the_last_leaf)
{
    uint64_t first = first_seed();
    for (size_t i = 0; i < wf_test_scale(100); i++) {
        seed = first + i;
        run_tree(workers, i % 2, i / 2 % 2);
    }
}
