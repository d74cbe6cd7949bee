/* engine.c - who runs: logical threads, the choices between them, the search through all of them, and the report of what failed.
 *
 * An execution is determined by its choices. Each has a number of alternatives, of which 0 is what a simple machine would do: the running thread goes on,
 * a load sees the newest. Searching is to play an execution, then to raise the last choice that can be raised, and to play again up to there. */
#include "inside.h"

#include <runtime/context.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { STACK = 128 * 1024, MOST_CHOICES = 4000, MOST_STEPS = 20000, SCENES = 100 };

static const model_scene *scenes[SCENES];
static unsigned scene_count;
static const model_scene *scene; /* the one that is played */

void model_register(const model_scene *s)
{
    if (scene_count == SCENES)
        abort();
    scenes[scene_count++] = s;
}

/* ---- choices ----------------------------------------------------------------------------------------------------------- */

static struct {
    uint8_t chosen, alternatives;
} choices[MOST_CHOICES];
static unsigned decided; /* choices that are given */
static unsigned taken;   /* … in this execution, so far */

static enum { ALL, DRAWN, REPLAYED } mode;
static uint64_t chance; /* of the execution that is drawn */

static uint64_t draw(void)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance;
}

static uint64_t seed(uint64_t n)
{
    n = (n + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9;
    return (n ^ n >> 31) | 1;
}

/* @tried: how many of the @n alternatives a search tries. @otherwise: what is drawn, when executions are drawn. */
static unsigned choose(unsigned n, unsigned tried, unsigned otherwise)
{
    if (n <= 1)
        return 0;
    if (taken == MOST_CHOICES)
        model_fail("more than %d choices", MOST_CHOICES);
    if (taken == decided) {
        choices[taken].chosen = (uint8_t)(mode == DRAWN ? otherwise : 0);
        choices[taken].alternatives = (uint8_t)tried;
        decided++;
    }
    if (choices[taken].chosen >= n)
        model_fail("the word to replay is for another scene");
    return choices[taken++].chosen;
}

/* The next execution; false: that was the last. */
static bool raise_last_choice(void)
{
    while (decided > 0 && choices[decided - 1].chosen + 1 >= choices[decided - 1].alternatives)
        decided--;
    if (decided == 0)
        return false;
    choices[decided - 1].chosen++;
    return true;
}

unsigned model_choose(unsigned n) { return choose(n, n, n > 1 ? (unsigned)(draw() % n) : 0); }

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

typedef struct thread {
    wf_ctx ctx;
    enum { READY, YIELDED, BLOCKED, ENDED } is;
    const void *on; /* what it is blocked on */
    bool timed, timed_out, unparked;
    uint64_t yielded_at; /* progress by then */
    int64_t priority;    /* when executions are drawn: the highest goes on */
    char *stack;
} thread;

static thread threads[MODEL_THREADS];
static unsigned count; /* threads of the scene */
static unsigned running;
static wf_ctx driver;
static uint64_t progress, steps;
static unsigned preemptions_left, stale_left;
static int64_t lowest;              /* priority so far */
static uint64_t change_at[3];       /* steps at which the running thread's priority falls */
static uint64_t steps_of_one = 200; /* about so many has an execution */

static struct {
    void *variable;
    size_t size;
    char saved[MODEL_THREADS][64];
} locals[8];
static unsigned local_count;

unsigned model_self(void) { return running; }
void model_progress(void) { progress++; }

void model_thread_local(void *variable, size_t size)
{
    if (local_count == sizeof locals / sizeof *locals || size > sizeof locals[0].saved[0])
        abort();
    locals[local_count].variable = variable;
    locals[local_count++].size = size;
}

bool model_is_local(const void *p)
{
    for (unsigned i = 0; i < local_count; i++)
        if ((const char *)p >= (const char *)locals[i].variable &&
            (const char *)p < (const char *)locals[i].variable + locals[i].size)
            return true;
    return false;
}

static void swap_locals(unsigned from, unsigned to)
{
    for (unsigned i = 0; i < local_count; i++) {
        memcpy(locals[i].saved[from], locals[i].variable, locals[i].size);
        memcpy(locals[i].variable, locals[i].saved[to], locals[i].size);
    }
}

static void go_on_with(unsigned next)
{
    unsigned self = running;
    if (next == self)
        return;
    swap_locals(self, next);
    running = next;
    wf_ctx_switch(&threads[self].ctx, &threads[next].ctx, NULL);
}

static bool can_run(unsigned i)
{
    return threads[i].is == READY || (threads[i].is == YIELDED && threads[i].yielded_at != progress);
}

/* Nobody can: time passes for those that wait with a deadline, or for those that have seen something old. */
static bool let_time_pass(void)
{
    for (unsigned i = 0; i < count; i++)
        if (threads[i].is == BLOCKED && threads[i].timed) {
            threads[i].is = READY;
            threads[i].timed_out = true;
            return true;
        }
    bool any = false;
    for (unsigned i = 0; i < count; i++)
        if (threads[i].is == YIELDED && threads[i].yielded_at == progress && threads[i].timed) {
            threads[i].timed = false;
            threads[i].is = READY;
            any = true;
        }
    return any;
}

static unsigned highest_priority(const unsigned *candidates, unsigned n)
{
    unsigned best = 0;
    for (unsigned i = 1; i < n; i++)
        if (threads[candidates[i]].priority > threads[candidates[best]].priority)
            best = i;
    return best;
}

static void end_execution(void);

/* Choose who goes on, and let him. Returns when the running thread goes on again. */
static void schedule(void)
{
    unsigned candidates[MODEL_THREADS], n = 0;
    bool stays = can_run(running);
    if (++steps > MOST_STEPS)
        model_fail("it does not end within %d steps", MOST_STEPS);
    for (unsigned k = 0; k < sizeof change_at / sizeof *change_at; k++)
        if (mode == DRAWN && steps == change_at[k])
            threads[running].priority = --lowest;
    if (stays)
        candidates[n++] = running;
    for (unsigned i = 0; i < count; i++)
        if (i != running && can_run(i))
            candidates[n++] = i;
    if (n == 0) {
        if (let_time_pass()) {
            schedule();
            return;
        }
        end_execution();
    }
    unsigned chosen = choose(n, stays && preemptions_left == 0 ? 1 : n, highest_priority(candidates, n));
    if (stays && chosen > 0)
        preemptions_left--;
    threads[candidates[chosen]].is = READY;
    go_on_with(candidates[chosen]);
}

/* ---- the report ------------------------------------------------------------------------------------------------------------ */

static bool tracing; /* the execution is played for its report */

static struct {
    const void *address;
    const char *name;
} names[64];
static unsigned name_count;

void model_name(const void *address, const char *name)
{
    if (name_count < sizeof names / sizeof *names) {
        names[name_count].address = address;
        names[name_count++].name = name;
    }
}

/* "function at file:line", if binutils are there. */
static const char *place(const void *pc)
{
    static char text[300];
    char command[300], self[200];
    text[0] = 0;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (!pc || n < 0)
        return text;
    self[n] = 0;
    snprintf(command, sizeof command, "addr2line -s -e %s %p 2>/dev/null", self, (void *)((uintptr_t)pc - 1));
    FILE *f = popen(command, "r");
    if (f && fgets(text, sizeof text, f))
        text[strcspn(text, " \n")] = 0;
    if (f)
        pclose(f);
    return text;
}

static void trace(const char *what, const void *address, const void *pc)
{
    const char *name = NULL;
    for (unsigned i = 0; i < name_count; i++)
        if (names[i].address == address)
            name = names[i].name;
    fprintf(stderr, "\n  %*s%u: %-6s ", (int)running * 4, "", running, what);
    if (name)
        fprintf(stderr, "%-14s", name);
    else
        fprintf(stderr, "%-14p", address);
    fprintf(stderr, " %s ", place(pc));
}

void model_note(const char *fmt, ...)
{
    va_list args;
    if (!tracing)
        return;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
}

static void print_word(void)
{
    fprintf(stderr, "%s ", scene->name);
    unsigned last = taken;
    while (last > 0 && choices[last - 1].chosen == 0)
        last--;
    for (unsigned i = 0; i < last; i++)
        fputc("0123456789abcdefghijklmnopqrstuvwxyz"[choices[i].chosen], stderr);
    if (last == 0)
        fputc('0', stderr);
    fputc('\n', stderr);
}

static char reason[500];

/* A search stops at its first failure, and shows it by playing the execution once more. */
static void fail(void)
{
    if (tracing) {
        fprintf(stderr, "\n%s\n", reason);
        _exit(1);
    }
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", scene->name, reason);
    fprintf(stderr, "to see it: --replay ");
    print_word();
    fflush(stderr);
    _exit(1);
}

void model_fail(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    size_t n = strlen(reason);
    snprintf(reason + n, sizeof reason - n, " (thread %u)", running);
    fail();
    abort();
}

static void crashed(int number)
{
    snprintf(reason, sizeof reason, "%s in thread %u", number == SIGABRT ? "an assertion failed" : strsignal(number), running);
    fail();
}

static void catch_crashes(void)
{
    static char stack[64 * 1024];
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK};
    sigaltstack(&alternative, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

/* ---- what threads do ---------------------------------------------------------------------------------------------------------- */

void model_point(const char *what, const void *address, const void *pc)
{
    if (count == 0)
        return; /* the world is being made, or looked at: there is nobody else */
    schedule();
    if (tracing)
        trace(what, address, pc);
}

void model_yield(void)
{
    thread *self = &threads[running];
    if (count == 0)
        model_fail("waits for what nobody will do");
    self->is = YIELDED;
    self->yielded_at = progress;
    self->timed = memory_was_stale();
    self->priority = --lowest;
    schedule();
    memory_see_all();
}

bool model_block(const void *on, bool timed)
{
    thread *self = &threads[running];
    if (count == 0)
        model_fail("waits for what nobody will do");
    self->is = BLOCKED;
    self->on = on;
    self->timed = timed;
    self->timed_out = false;
    schedule();
    self->timed = false;
    return !self->timed_out;
}

void model_wake(const void *on, bool all)
{
    unsigned waiting[MODEL_THREADS], n = 0;
    for (unsigned i = 0; i < count; i++)
        if (threads[i].is == BLOCKED && threads[i].on == on)
            waiting[n++] = i;
    if (n > 0 && !all) {
        waiting[0] = waiting[model_choose(n)];
        n = 1;
    }
    for (unsigned i = 0; i < n; i++)
        threads[waiting[i]].is = READY;
    progress++;
}

unsigned model_choose_stale(unsigned n)
{
    unsigned chosen = choose(n, stale_left == 0 ? 1 : n, draw() % 6 == 0 ? (unsigned)(draw() % n) : 0);
    stale_left -= chosen > 0;
    return chosen;
}

void model_park(void)
{
    model_point("park", &threads[running], __builtin_return_address(0));
    while (!threads[running].unparked)
        model_block(&threads[running], false);
    threads[running].unparked = false;
    memory_acquire_at(&threads[running]);
}

void model_unpark(unsigned i)
{
    model_point("unpark", &threads[i], __builtin_return_address(0));
    memory_release_at(&threads[i]);
    threads[i].unparked = true;
    model_wake(&threads[i], true);
}

/* ---- an execution ---------------------------------------------------------------------------------------------------------------- */

static void end_execution(void)
{
    for (unsigned i = 0; i < count; i++)
        if (threads[i].is != ENDED && !(scene->may_block && threads[i].is == BLOCKED))
            model_fail("deadlock: thread %u waits %s", i, threads[i].is == YIELDED ? "for a change" : "to be woken");
    wf_ctx_switch(&threads[running].ctx, &driver, NULL);
}

static void enter(void *arg)
{
    thread *self = arg;
    scene->threads[self - threads]();
    self->is = ENDED;
    progress++;
    schedule();
    abort();
}

static void prepare_threads(void)
{
    for (unsigned i = 0; i < MODEL_THREADS && scene->threads[i]; i++) {
        thread *t = &threads[i];
        char *stack = t->stack;
        *t = (thread){.stack = stack, .is = READY, .priority = (int64_t)(draw() % 1000)};
        wf_ctx_init(&t->ctx, stack, STACK, stack + STACK, enter, t);
        for (unsigned k = 0; k < local_count; k++)
            memset(locals[k].saved[i], 0, sizeof locals[k].saved[i]);
        if (i > 0)
            memory_fork(i);
        count = i + 1;
    }
    memory_forked();
}

static void free_all(void);

static void play(void)
{
    taken = 0, steps = 0, progress = 0, lowest = 0, name_count = 0;
    preemptions_left = scene->preemptions, stale_left = scene->stale;
    for (unsigned k = 0; k < sizeof change_at / sizeof *change_at; k++)
        change_at[k] = 1 + draw() % steps_of_one;
    free_all();
    memory_begin(MODEL_THREADS);
    if (scene->state)
        memset(scene->state, 0, scene->state_size);
    running = 0, count = 0;
    for (unsigned k = 0; k < local_count; k++)
        memset(locals[k].variable, 0, locals[k].size);
    if (scene->setup)
        scene->setup();
    prepare_threads();
    unsigned n = count, first = choose(n, n, highest_priority((unsigned[]){0, 1, 2, 3, 4, 5}, n));
    running = first;
    wf_ctx_switch(&driver, &threads[first].ctx, NULL);
    count = 0;
    running = 0;
    steps_of_one = steps + 1;
    for (unsigned i = 1; i < n; i++)
        memory_join(i);
    if (scene->finish)
        scene->finish();
}

/* ---- memory ------------------------------------------------------------------------------------------------------------------------ */

typedef struct block {
    size_t size;
    bool freed;
    char bytes[] __attribute__((aligned(64)));
} block;

static block *blocks[2000];
static unsigned block_count;

static void free_all(void)
{
    while (block_count > 0)
        free(blocks[--block_count]);
}

void *model_alloc(size_t size)
{
    block *b = aligned_alloc(64, (sizeof *b + size + 63) & ~(size_t)63);
    if (!b || block_count == sizeof blocks / sizeof *blocks)
        abort();
    memset(b, 0xa5, sizeof *b + size);
    b->size = size, b->freed = false;
    blocks[block_count++] = b;
    return b->bytes;
}

void *model_calloc(size_t n, size_t size)
{
    void *bytes = model_alloc(n * size);
    memset(bytes, 0, n * size);
    return bytes;
}

void model_free(void *bytes)
{
    if (!bytes)
        return;
    block *b = (block *)(void *)((char *)bytes - offsetof(block, bytes));
    if (b->freed)
        model_fail("freed twice");
    model_point("free", bytes, __builtin_return_address(0));
    memory_free(bytes, b->size);
    b->freed = true;
}

size_t model_blocks(void)
{
    size_t n = 0;
    for (unsigned i = 0; i < block_count; i++)
        n += !blocks[i]->freed;
    return n;
}

bool model_is_freed(const void *p)
{
    for (unsigned i = 0; i < block_count; i++)
        if (blocks[i]->freed && (const char *)p >= blocks[i]->bytes && (const char *)p < blocks[i]->bytes + blocks[i]->size)
            return true;
    return false;
}

/* ---- the driver ------------------------------------------------------------------------------------------------------------------------ */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t search(void)
{
    uint64_t n = 0;
    mode = ALL;
    decided = 0;
    if (scene->preemptions == 0)
        return 0;
    do {
        play();
        n++;
    } while (raise_last_choice());
    return n;
}

static uint64_t draw_some(uint64_t n, uint64_t from)
{
    mode = DRAWN;
    for (uint64_t i = 0; i < n; i++) {
        chance = seed(from + i);
        decided = 0;
        play();
    }
    return n;
}

static void explore(const model_scene *s, uint64_t random)
{
    scene = s;
    double start = now();
    chance = 1;
    uint64_t all = search(), drawn = draw_some(random ? random : s->random, random ? (uint64_t)time(NULL) : 1);
    printf("%-36s", s->name);
    if (all > 0)
        printf(" all %8llu executions with %u preemptions, %u old values", (unsigned long long)all, s->preemptions, s->stale);
    if (drawn > 0)
        printf("%s %llu drawn", all > 0 ? ";" : "", (unsigned long long)drawn);
    printf("  %.1f s\n", now() - start);
    fflush(stdout);
}

static int replay(const char *name, const char *word)
{
    for (unsigned i = 0; i < scene_count; i++)
        if (strcmp(scenes[i]->name, name) == 0)
            scene = scenes[i];
    if (!scene)
        return 2;
    mode = REPLAYED;
    tracing = true;
    chance = 1;
    for (decided = 0; word[decided] && decided < MOST_CHOICES; decided++) {
        choices[decided].chosen = (uint8_t)(word[decided] <= '9' ? word[decided] - '0' : word[decided] - 'a' + 10);
        choices[decided].alternatives = 255;
    }
    play();
    fprintf(stderr, "\nnothing failed\n");
    return 0;
}

static int usage(const char *name)
{
    fprintf(stderr, "usage: %s [SCENE [RANDOM]] | --list | --replay SCENE WORD\n", name);
    return 2;
}

int main(int argc, char **argv)
{
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        threads[i].stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (threads[i].stack == MAP_FAILED)
            return 2;
    }
    catch_crashes();
    wf_ctx_init_thread(&driver);
    if (argc == 4 && strcmp(argv[1], "--replay") == 0)
        return replay(argv[2], argv[3]);
    if (argc > 3 || (argc > 1 && argv[1][0] == '-' && strcmp(argv[1], "--list") != 0))
        return usage(argv[0]);
    bool any = false;
    for (unsigned i = 0; i < scene_count; i++) {
        if (argc > 1 && strcmp(argv[1], "--list") == 0)
            puts(scenes[i]->name);
        else if (argc == 1 || strcmp(argv[1], scenes[i]->name) == 0)
            explore(scenes[i], argc == 3 ? strtoull(argv[2], NULL, 10) : 0);
        else
            continue;
        any = true;
    }
    return any ? 0 : usage(argv[0]);
}
