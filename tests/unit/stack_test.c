/* stack_test.c - the stack pool, its guards, and the handler that names whoever ran into one.
 *
 * Each test leaves the pool empty, so that forced guards concern its own stacks only. Overflows happen in forked
 * children. */
#include <base/spare.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <runtime/context.h>
#include <runtime/segv.h>
#include <runtime/stack.h>
#include <signal.h>
#include <support/test.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define DEFAULT_SIZE (256 * KIB)

static size_t page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static wf_stack *get(wf_stack_cache *cache, size_t size)
{
    int err = 0;
    wf_stack *stack = wf_stack_get(cache, size, &err);
    cr_assert_not_null(stack, "wf_stack_get(%zu): %d", size, err);
    return stack;
}

static uint64_t live(void)
{
    uint64_t n;
    wf_stack_stats(&n, NULL, NULL);
    return n;
}

static uint64_t cached(void)
{
    uint64_t n;
    wf_stack_stats(NULL, &n, NULL);
    return n;
}

/* Pages of the stack that are in memory; -1: not mapped. */
static long resident(const char *base, size_t size)
{
    unsigned char *vec = malloc(size / page());
    long n = 0;
    if (mincore((void *)(uintptr_t)base, size, vec) != 0)
        n = -1;
    for (size_t i = 0; n >= 0 && i < size / page(); i++)
        n += vec[i] & 1;
    free(vec);
    return n;
}

/* Others in the process map something now and then, sanitizers more of it. */
#define OF_OTHERS (WF_TEST_SANITIZED ? 100u : 4u)

static size_t count_maps(void)
{
    char block[4096];
    size_t lines = 0;
    int fd = open("/proc/self/maps", O_RDONLY);
    for (ssize_t n; (n = read(fd, block, sizeof(block))) > 0;)
        for (ssize_t i = 0; i < n; i++)
            lines += block[i] == '\n';
    close(fd);
    return lines;
}

/* --- sizes --- */

Test(stack, sizes_round_up_to_a_power_of_two_less_the_guard)
{
    static const size_t want[][2] = {{0, 16 * KIB},
                                     {1, 16 * KIB},
                                     {16 * KIB, 16 * KIB},
                                     {16 * KIB + 1, 32 * KIB},
                                     {100000, 128 * KIB},
                                     {256 * KIB, 256 * KIB},
                                     {(size_t)1 << 30, (size_t)1 << 30}};
    if (page() > 4096)
        cr_skip_test("sizes are for 4 KiB pages");
    wf_stacks_acquire();
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        if (WF_TEST_SANITIZED && want[i][1] > 1024 * KIB)
            continue;
        wf_stack *stack = get(NULL, want[i][0]);
        cr_assert_eq(stack->size, want[i][1] - page());
        cr_assert_eq((uintptr_t)stack->base % page(), 0u);
        stack->base[0] = wf_stack_top(stack)[-1] = 1;
        cr_assert(wf_stack_in_guard(stack, stack->base - 1) && wf_stack_in_guard(stack, stack->base - page()));
        cr_assert(!wf_stack_in_guard(stack, stack->base) && !wf_stack_in_guard(stack, stack->base - page() - 1));
        wf_stack_put(NULL, stack);
    }
    wf_stacks_release();
}

Test(stack, more_than_a_gigabyte_is_refused)
{
    int err = 0;
    wf_stack_cache cache;
    wf_stacks_acquire();
    cr_assert_null(wf_stack_get(NULL, ((size_t)1 << 30) + 1, &err));
    cr_assert_eq(err, WEFT_EINVAL);
    cr_assert_null(wf_stack_get(NULL, SIZE_MAX, &err));
    cr_assert_eq(wf_stack_cache_init(&cache, SIZE_MAX), WEFT_EINVAL);
    wf_stacks_release();
}

Test(stack, without_memory_nothing_is_half_done)
{
    if (WF_TEST_SANITIZED)
        cr_skip_test("limits the address space");
    if (WF_TEST_EMULATED)
        cr_skip_test("qemu ignores RLIMIT_AS");
    pid_t child = fork();
    if (child == 0) {
        int err = 0;
        size_t got = 0;
        wf_stack *stacks = NULL;
        struct rlimit limit = {.rlim_cur = (size_t)1 << 30, .rlim_max = (size_t)1 << 30};
        wf_stacks_acquire();
        setrlimit(RLIMIT_AS, &limit);
        for (wf_stack *s; (s = wf_stack_get(NULL, 1024 * KIB, &err)); stacks = s, got++)
            s->next = stacks;
        bool fine = err == WEFT_ENOMEM && got > 500 && live() == got;
        for (wf_stack *next; stacks; stacks = next) {
            next = stacks->next;
            wf_stack_put(NULL, stacks);
        }
        fine = fine && live() == 0 && cached() == got;
        wf_stacks_release();
        _exit(fine ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
}

/* --- magazines and depot --- */

Test(stack, a_magazine_gives_the_hottest_first)
{
    wf_stack_cache cache;
    wf_stacks_acquire();
    cr_assert_eq(wf_stack_cache_init(&cache, DEFAULT_SIZE), 0);
    wf_stack *a = get(&cache, DEFAULT_SIZE), *b = get(&cache, 200 * KIB);
    cr_assert_eq(live(), 2u);
    wf_stack_put(&cache, a);
    wf_stack_put(&cache, b);
    cr_assert(live() == 0 && cached() == 2);
    cr_assert_eq(get(&cache, 129 * KIB), b);
    cr_assert_eq(get(&cache, DEFAULT_SIZE), a);
    cr_assert(live() == 2 && cached() == 0);
    wf_stack_put(&cache, a);
    wf_stack_put(NULL, b);
    cr_assert(live() == 0 && cached() == 2);
    wf_stack_cache_flush(&cache);
    cr_assert(live() == 0 && cached() == 2);
    wf_stacks_release();
}

Test(stack, other_sizes_pass_the_magazine_by)
{
    wf_stack_cache cache;
    wf_stacks_acquire();
    wf_stack_cache_init(&cache, DEFAULT_SIZE);
    wf_stack *small = get(&cache, 128 * KIB), *large = get(&cache, 256 * KIB + 1);
    cr_assert_lt(small->size, 128 * KIB);
    cr_assert_gt(large->size, 256 * KIB);
    wf_stack_put(&cache, small);
    wf_stack_put(&cache, large);
    cr_assert_eq(wf_load_rlx(&cache.count), 0u);
    cr_assert_eq(get(&cache, 128 * KIB), small, "from the depot");
    wf_stack_put(&cache, small);
    wf_stack_cache_flush(&cache);
    wf_stacks_release();
}

Test(stack, a_full_magazine_spills_and_another_one_refills)
{
    enum { MANY = 3 * WF_STACK_CACHE_SLOTS };
    static wf_stack *stacks[MANY];
    wf_stack_cache full, empty;
    wf_stacks_acquire();
    wf_stack_cache_init(&full, 16 * KIB);
    wf_stack_cache_init(&empty, 16 * KIB);
    for (size_t i = 0; i < MANY; i++)
        stacks[i] = get(&full, 16 * KIB);
    for (size_t i = 0; i < MANY; i++)
        wf_stack_put(&full, stacks[i]);
    cr_assert_leq(wf_load_rlx(&full.count), (uint32_t)WF_STACK_CACHE_SLOTS);
    cr_assert(live() == 0 && cached() == MANY);
    for (size_t i = 0; i < MANY / 2; i++)
        stacks[i] = get(&empty, 16 * KIB);
    cr_assert(live() + cached() == MANY, "the depot came before new stacks");
    for (size_t i = 0; i < MANY / 2; i++)
        wf_stack_put(&empty, stacks[i]);
    wf_stack_cache_flush(&full);
    wf_stack_cache_flush(&empty);
    cr_assert(live() == 0 && cached() == MANY);
    wf_stacks_release();
}

/* --- back to the system --- */

enum { SOME = 1 + 8 + 64 + 64 }; /* four slabs */

static wf_stack *some[SOME];

static void get_some(void)
{
    for (size_t i = 0; i < SOME; i++) {
        some[i] = get(NULL, DEFAULT_SIZE);
        some[i]->base[0] = wf_stack_top(some[i])[-1] = 1;
    }
}

/* As a worker does that then rests. */
static void put_some(void)
{
    wf_stack_cache cache;
    wf_stack_cache_init(&cache, DEFAULT_SIZE);
    for (size_t i = 0; i < SOME; i++)
        wf_stack_put(&cache, some[i]);
    wf_stack_cache_flush(&cache);
}

/* What lay unused from one trim to the next goes. */
static void trim_twice(int64_t at)
{
    wf_stacks_trim(at);
    wf_stacks_trim(at + WF_SPARE_PERIOD);
}

/* The first slabs have 1, 8 and 64: as long as one stack of each is in use they stay. */
static bool keeps_its_slab(size_t i) { return i == 0 || i == 8 || i == 9; }

static void stacks_at_rest_are_cooled(weft_guard_kind kind)
{
    enum { MANY = 40 };
    wf_stack *stacks[MANY];
    wf_stack_cache cache;
    wf_stack_force_guard(kind);
    wf_stacks_acquire();
    wf_stack_cache_init(&cache, DEFAULT_SIZE);
    for (size_t i = 0; i < MANY; i++) {
        stacks[i] = get(&cache, DEFAULT_SIZE);
        memset(stacks[i]->base, 1, stacks[i]->size);
        cr_assert_eq(resident(stacks[i]->base, stacks[i]->size), (long)(stacks[i]->size / page()));
    }
    for (size_t i = 0; i < MANY; i++)
        if (!keeps_its_slab(i))
            wf_stack_put(&cache, stacks[i]);
    wf_stack_cache_flush(&cache);
    trim_twice(0);
    for (size_t i = 0; i < MANY; i++)
        cr_assert_eq(resident(stacks[i]->base, stacks[i]->size), keeps_its_slab(i) ? (long)(stacks[i]->size / page()) : 0);
    for (size_t i = 0; i < MANY; i++)
        if (!keeps_its_slab(i))
            stacks[i] = get(&cache, DEFAULT_SIZE);
    cr_assert_eq(cached(), 0u, "the cold ones came before new ones");
    for (size_t i = 0; i < MANY; i++)
        wf_stack_put(NULL, stacks[i]); /* a canary is still whole */
    wf_stack_cache_flush(&cache);
    wf_stacks_release();
    wf_stack_force_guard(WEFT_GUARD_NONE);
}

Test(stack, stacks_at_rest_are_cooled_with_installed_guards) { stacks_at_rest_are_cooled(WEFT_GUARD_INSTALL); }
Test(stack, stacks_at_rest_are_cooled_with_mprotect) { stacks_at_rest_are_cooled(WEFT_GUARD_MPROTECT); }
Test(stack, stacks_at_rest_are_cooled_with_canaries) { stacks_at_rest_are_cooled(WEFT_GUARD_CANARY); }

Test(stack, slabs_at_rest_for_a_period_are_unmapped_and_more_are_made_when_needed)
{
    wf_stacks_acquire();
    cr_assert_eq(wf_stacks_trim(1), WEFT_FOREVER);
    for (int round = 0; round < 3; round++) {
        size_t maps = count_maps();
        get_some();
        char *base = some[SOME - 1]->base;
        put_some();
        cr_assert_eq(cached(), (uint64_t)SOME);
        int64_t next = wf_stacks_trim((round + 1) * 10 * WF_SPARE_PERIOD);
        cr_assert_eq(cached(), (uint64_t)SOME, "they have only just come to rest");
        cr_assert_eq(wf_stacks_trim(next), WEFT_FOREVER);
        cr_assert(cached() == 0 && live() == 0);
        cr_assert_eq(resident(base, page()), -1);
        cr_assert_leq(count_maps(), maps + OF_OTHERS);
    }
    wf_stacks_release();
}

Test(stack, who_has_no_magazine_gives_the_memory_back_at_once)
{
    wf_stacks_acquire();
    get_some();
    for (size_t i = 0; i < SOME; i++)
        wf_stack_put(NULL, some[i]);
    for (size_t i = 0; i < SOME; i++)
        cr_assert_eq(resident(some[i]->base, some[i]->size), 0);
    wf_stacks_release();
}

Test(stack, a_slab_with_one_stack_in_use_stays)
{
    wf_stacks_acquire();
    get_some();
    wf_stack *kept = some[SOME - 1];
    for (size_t i = 0; i + 1 < SOME; i++)
        wf_stack_put(NULL, some[i]);
    trim_twice(0);
    cr_assert_eq(live(), 1u);
    cr_assert_eq(cached(), 63u, "its neighbours");
    memset(kept->base, 1, kept->size);
    wf_stack_put(NULL, kept);
    trim_twice(5 * WF_SPARE_PERIOD);
    cr_assert(live() == 0 && cached() == 0);
    wf_stacks_release();
}

Test(stack, slabs_that_are_used_again_within_a_period_stay)
{
    wf_stacks_acquire();
    for (int64_t now = 0; now < 5 * WF_SPARE_PERIOD; now += WF_SPARE_PERIOD) {
        get_some();
        put_some();
        wf_stacks_trim(now);
        cr_assert_eq(cached(), (uint64_t)SOME);
        cr_assert_eq(resident(some[SOME - 1]->base, page()), 1, "nor does one give its memory back");
    }
    wf_stacks_release();
}

Test(stack, guards_of_slabs_that_went_are_given_back_and_new_ones_are_made)
{
    wf_stack_force_guard(WEFT_GUARD_MPROTECT);
    wf_stacks_acquire();
    size_t maps = count_maps();
    get_some();
    cr_assert_geq(count_maps(), maps + 2 * SOME - 8);
    put_some();
    trim_twice(0);
    cr_assert_leq(count_maps(), maps + OF_OTHERS);
    get_some();
    cr_assert_eq(some[0]->guard, WEFT_GUARD_MPROTECT);
    cr_assert_geq(count_maps(), maps + 2 * SOME - 8);
    put_some();
    wf_stacks_release();
    wf_stack_force_guard(WEFT_GUARD_NONE);
}

Test(stack, the_last_release_unmaps_everything)
{
    wf_stacks_acquire();
    wf_stacks_acquire();
    wf_stack *a = get(NULL, DEFAULT_SIZE), *b = get(NULL, 1024 * KIB);
    char *base[2] = {a->base, b->base};
    wf_stack_put(NULL, a);
    wf_stack_put(NULL, b);
    wf_stacks_release();
    cr_assert_eq(resident(base[0], DEFAULT_SIZE - page()), 0);
    wf_stacks_release();
    cr_assert_eq(resident(base[0], DEFAULT_SIZE - page()), -1);
    cr_assert_eq(resident(base[1], 1024 * KIB - page()), -1);
    cr_assert(live() == 0 && cached() == 0);
}

/* --- threads --- */

enum { TRADERS = 8, TABLE = 32 };

static struct {
    wf_aptr slot[TABLE];
    size_t rounds;
} table;

/* Puts stacks that it wrote on where others find them, and gives those of others back. */
static void *trade(void *arg)
{
    uint64_t random = (uintptr_t)arg * 2654435761u + 1;
    wf_stack_cache cache;
    wf_stacks_acquire();
    wf_stack_cache_init(&cache, 16 * KIB);
    for (size_t i = 0; i < table.rounds; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        wf_stack *mine = get(random & 1 << 20 ? &cache : NULL, 16 * KIB);
        memset(wf_stack_top(mine) - 64, (int)i, 64);
        wf_stack *other = wf_swap_acqrel(&table.slot[random >> 40 & (TABLE - 1)], mine);
        if (other)
            wf_stack_put(random & 1 << 21 ? &cache : NULL, other);
    }
    wf_stack_cache_flush(&cache);
    wf_stacks_release();
    return NULL;
}

Test(stack, eight_threads_trade_stacks)
{
    pthread_t thread[TRADERS];
    table.rounds = wf_test_scale(20000);
    wf_stacks_acquire();
    for (size_t i = 0; i < TRADERS; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, trade, (void *)i), 0);
    for (size_t i = 0; i < TRADERS; i++)
        pthread_join(thread[i], NULL);
    for (size_t i = 0; i < TABLE; i++)
        if (table.slot[i].v)
            wf_stack_put(NULL, table.slot[i].v);
    cr_assert_eq(live(), 0u);
    wf_stacks_release();
}

/* --- many --- */

static wf_stack **get_many(size_t count, size_t size)
{
    wf_stack **stacks = calloc(count, sizeof(*stacks));
    for (size_t i = 0; i < count; i++)
        stacks[i] = get(NULL, size);
    return stacks;
}

static void put_many(wf_stack **stacks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        wf_stack_put(NULL, stacks[i]);
    free(stacks);
}

static bool has_guard_install(void)
{
    weft_guard_kind kind;
    wf_stack_force_guard(WEFT_GUARD_INSTALL);
    wf_stack_put(NULL, get(NULL, 0));
    wf_stack_stats(NULL, NULL, &kind);
    return kind == WEFT_GUARD_INSTALL;
}

Test(stack, a_hundred_thousand_with_installed_guards_use_few_maps)
{
    if (WF_TEST_NARROW)
        cr_skip_test("not in 32 bits");
    size_t count = wf_test_scale(100000), before = count_maps();
    wf_stacks_acquire();
    bool can = has_guard_install();
    if (can) {
        wf_stack **stacks = get_many(count, DEFAULT_SIZE);
        cr_assert_eq(live(), count);
        for (size_t i = 0; i < count; i++)
            cr_assert_eq(stacks[i]->guard, WEFT_GUARD_INSTALL);
        cr_assert_lt(count_maps(), before + 3000);
        put_many(stacks, count);
    }
    wf_stacks_release();
    wf_stack_force_guard(WEFT_GUARD_NONE);
    if (!can)
        cr_skip_test("no MADV_GUARD_INSTALL");
}

/* With the usual map count 30,717 have their page; what comes then gets canaries, and malloc still works. */
Test(stack, thirty_thousand_with_mprotect_then_canaries)
{
    if (WF_TEST_NARROW)
        cr_skip_test("not in 32 bits");
    size_t count = wf_test_scale(30000), more = wf_test_scale(2000);
    wf_stack_force_guard(WEFT_GUARD_MPROTECT);
    wf_stacks_acquire();
    wf_stack **stacks = get_many(count, DEFAULT_SIZE);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(stacks[i]->guard, WEFT_GUARD_MPROTECT);
    wf_stack **rest = get_many(more, DEFAULT_SIZE);
    if (count == 30000)
        cr_assert_eq(rest[more - 1]->guard, WEFT_GUARD_CANARY);
    put_many(rest, more);
    put_many(stacks, count);
    wf_stacks_release();
    wf_stack_force_guard(WEFT_GUARD_NONE);
}

/* --- overflows, in children --- */

typedef struct outcome {
    int status;
    char text[1024]; /* of stderr */
} outcome;

static outcome run_child(void (*body)(void))
{
    int ends[2];
    outcome result = {0};
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit no_core = {0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        body();
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t n; length < sizeof(result.text) - 1 &&
                    (n = read(ends[0], result.text + length, sizeof(result.text) - 1 - length)) > 0;)
        length += (size_t)n;
    close(ends[0]);
    cr_assert_eq(waitpid(child, &result.status, 0), child);
    wf_test_own_words(result.text);
    return result;
}

static int killed_by(outcome o) { return WIFSIGNALED(o.status) ? WTERMSIG(o.status) : 0; }

static wf_ctx child_main, child_ctx;
static wf_stack *child_stack;
static uintptr_t dive_limit; /* dive() turns back here */

/* Too little per frame to jump over a page, and nothing that a compiler could turn into a loop. */
static WF_NOINLINE int dive(int depth)
{
    volatile char frame[200];
    frame[depth % 200] = (char)depth;
    if ((uintptr_t)frame < dive_limit)
        return depth;
    return dive(depth + 1) + frame[depth % 200];
}

static void dive_entry(void *arg)
{
    (void)arg;
    wf_ctx_entered(&child_ctx);
    dive(0);
    wf_ctx_switch_final(&child_ctx, &child_main, NULL);
}

/* Run into the guard of a stack, or with a @limit below its base into what is there, and give it back. */
static void overflow(weft_guard_kind kind, size_t below)
{
    wf_stack_force_guard(kind);
    wf_stacks_acquire();
    wf_stack_put(NULL, get(NULL, 64 * KIB));
    child_stack = get(NULL, 64 * KIB); /* has been through the depot: the guard must have survived */
    if (child_stack->guard != kind)
        _exit(77);
    dive_limit = below ? (uintptr_t)child_stack->base - below : 0;
    wf_ctx_init_thread(&child_main);
    wf_ctx_init(&child_ctx, child_stack->base, child_stack->size, wf_stack_top(child_stack), dive_entry, NULL);
    wf_ctx_switch(&child_main, &child_ctx, NULL);
    wf_ctx_destroy(&child_ctx);
    wf_stack_put(NULL, child_stack);
    wf_stacks_release();
}

static void overflow_install(void) { overflow(WEFT_GUARD_INSTALL, 0); }
static void overflow_mprotect(void) { overflow(WEFT_GUARD_MPROTECT, 0); }
static void overflow_canary(void) { overflow(WEFT_GUARD_CANARY, 600); }
static void just_not_overflow(void) { overflow(WEFT_GUARD_CANARY, (size_t)-1024); }

static void skip_where_faults_are_taken(void)
{
    if (WF_TEST_SANITIZED)
        cr_skip_test("the sanitizer wants the fault for itself");
}

Test(stack, an_installed_guard_catches_an_overflow)
{
    skip_where_faults_are_taken();
    outcome o = run_child(overflow_install);
    if (WIFEXITED(o.status) && WEXITSTATUS(o.status) == 77)
        cr_skip_test("no MADV_GUARD_INSTALL");
    cr_assert_eq(killed_by(o), SIGSEGV);
}

Test(stack, a_protected_page_catches_an_overflow)
{
    skip_where_faults_are_taken();
    cr_assert_eq(killed_by(run_child(overflow_mprotect)), SIGSEGV);
}

Test(stack, a_canary_reports_an_overflow_when_the_stack_comes_back)
{
    skip_where_faults_are_taken();
    outcome o = run_child(overflow_canary);
    cr_assert_eq(killed_by(o), SIGABRT);
    cr_assert_str_eq(o.text, "weft: stack overflow in a task that has ended: its stack has 60 KiB; "
                             "see weft_spawn_options.stack_size\n");
    o = run_child(just_not_overflow);
    cr_assert_eq(o.status, 0);
    cr_assert_str_eq(o.text, "");
}

static const wf_stack *broken_one;
static void note_broken(const wf_stack *stack) { broken_one = stack; }

Test(stack, a_broken_canary_is_reported_once_to_whoever_asked)
{
    wf_stack_force_guard(WEFT_GUARD_CANARY);
    wf_stack_on_broken_canary(note_broken);
    wf_stacks_acquire();
    wf_stack *stack = get(NULL, 0);
    stack->base[-1] ^= 1;
    wf_stack_put(NULL, stack);
    cr_assert_eq(broken_one, stack);
    broken_one = NULL;
    cr_assert_eq(get(NULL, 0), stack);
    wf_stack_put(NULL, stack);
    cr_assert_null(broken_one);
    wf_stacks_release();
    wf_stack_on_broken_canary(NULL);
    wf_stack_force_guard(WEFT_GUARD_NONE);
}

/* --- the handler --- */

static const char *task_name;

static bool describe(const void *address, const char **name, uint64_t *id, size_t *stack_size)
{
    if (!child_stack || !wf_stack_in_guard(child_stack, address))
        return false;
    *name = task_name;
    *id = 18446744073709551615u;
    *stack_size = child_stack->size;
    return true;
}

static void install_handler(void)
{
    wf_segv_thread *thread = calloc(1, sizeof(*thread));
    wf_segv_set_describer(describe);
    if (wf_segv_thread_enter(thread) != 0 || wf_segv_install() != 0)
        _exit(1);
}

static void handled_overflow_install(void)
{
    install_handler();
    task_name = "deep";
    overflow(WEFT_GUARD_INSTALL, 0);
}

static void handled_overflow_mprotect(void)
{
    install_handler();
    overflow(WEFT_GUARD_MPROTECT, 0);
}

Test(segv, an_overflow_is_named)
{
    skip_where_faults_are_taken();
    outcome o = run_child(handled_overflow_install);
    if (!(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 77)) {
        cr_assert_eq(killed_by(o), SIGABRT);
        cr_assert_str_eq(o.text, "weft: stack overflow in task \"deep\" (#18446744073709551615): its stack has 60 KiB; "
                                 "see weft_spawn_options.stack_size\n");
    }
    o = run_child(handled_overflow_mprotect);
    cr_assert_eq(killed_by(o), SIGABRT);
    cr_assert_str_eq(o.text, "weft: stack overflow in task (#18446744073709551615): its stack has 60 KiB; "
                             "see weft_spawn_options.stack_size\n");
}

static volatile uintptr_t nowhere = 16;
static void touch_nothing(void) { *(volatile char *)nowhere = 1; }

static void wild_write(void)
{
    install_handler();
    touch_nothing();
}

static void sent_signal(void)
{
    install_handler();
    raise(SIGSEGV);
}

static void say_and_exit(int signal_number) { _exit(write(STDERR_FILENO, "mine", 4) == 4 ? signal_number : 1); }

static void say_more_and_exit(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    if ((uintptr_t)info->si_addr == nowhere)
        say_and_exit(signal_number);
}

static void wild_write_with_old_handler(void)
{
    signal(SIGSEGV, say_and_exit);
    wild_write();
}

static void wild_write_with_old_siginfo_handler(void)
{
    struct sigaction mine = {.sa_sigaction = say_more_and_exit, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &mine, NULL);
    wild_write();
}

static void ignored_signal(void)
{
    signal(SIGSEGV, SIG_IGN);
    sent_signal();
}

static void ignored_fault(void)
{
    signal(SIGSEGV, SIG_IGN);
    wild_write();
}

Test(segv, other_faults_go_where_they_went_before)
{
    skip_where_faults_are_taken();
    cr_assert_eq(killed_by(run_child(wild_write)), SIGSEGV);
    cr_assert_eq(killed_by(run_child(sent_signal)), SIGSEGV);
    cr_assert_eq(killed_by(run_child(ignored_fault)), SIGSEGV);
    cr_assert_eq(run_child(ignored_signal).status, 0);
    outcome o = run_child(wild_write_with_old_handler);
    cr_assert(WIFEXITED(o.status) && WEXITSTATUS(o.status) == SIGSEGV);
    cr_assert_str_eq(o.text, "mine");
    o = run_child(wild_write_with_old_siginfo_handler);
    cr_assert(WIFEXITED(o.status) && WEXITSTATUS(o.status) == SIGSEGV);
    cr_assert_str_eq(o.text, "mine");
}

static struct sigaction theirs_old;

static void theirs(int signal_number, siginfo_t *info, void *context)
{
    if (theirs_old.sa_flags & SA_SIGINFO)
        theirs_old.sa_sigaction(signal_number, info, context);
}

/* Somebody installs on top of us and passes faults on; we leave and come back. A fault must not run in circles. */
static void buried_handler(void)
{
    struct sigaction on_top = {.sa_sigaction = theirs, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    install_handler();
    sigaction(SIGSEGV, &on_top, &theirs_old);
    wf_segv_uninstall();
    install_handler();
    overflow(WEFT_GUARD_MPROTECT, 0);
}

Test(segv, a_handler_on_top_of_ours_still_reaches_it)
{
    skip_where_faults_are_taken();
    outcome o = run_child(buried_handler);
    cr_assert_eq(killed_by(o), SIGABRT);
    cr_assert_str_eq(o.text, "weft: stack overflow in task (#18446744073709551615): its stack has 60 KiB; "
                             "see weft_spawn_options.stack_size\n");
}

Test(segv, the_last_uninstall_restores_the_old_action)
{
    struct sigaction before, during, after;
    sigaction(SIGSEGV, NULL, &before);
    cr_assert_eq(wf_segv_install(), 0);
    cr_assert_eq(wf_segv_install(), 0);
    wf_segv_uninstall();
    sigaction(SIGSEGV, NULL, &during);
    cr_assert(during.sa_sigaction != before.sa_sigaction);
    wf_segv_uninstall();
    sigaction(SIGSEGV, NULL, &after);
    cr_assert(after.sa_handler == before.sa_handler); /* the flags may have got libc's SA_RESTORER */
}

static void *alternate_stacks(void *arg)
{
    (void)arg;
    stack_t before, during, after;
    wf_segv_thread thread, again;
    sigaltstack(NULL, &before);
    cr_assert_eq(wf_segv_thread_enter(&thread), 0);
    sigaltstack(NULL, &during);
    cr_assert(!(during.ss_flags & SS_DISABLE));
    cr_assert(thread.map == NULL || (during.ss_sp == thread.map && during.ss_size >= 64 * KIB));
    cr_assert_eq(wf_segv_thread_enter(&again), 0);
    cr_assert_null(again.map, "one that exists is left alone");
    wf_segv_thread_leave(&again);
    wf_segv_thread_leave(&thread);
    sigaltstack(NULL, &after);
    cr_assert(after.ss_flags == before.ss_flags);
    return NULL;
}

Test(segv, a_thread_gets_an_alternate_stack_once)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, alternate_stacks, NULL), 0);
    pthread_join(thread, NULL);
}
