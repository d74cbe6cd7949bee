/* skynet.c - the tree of 1,000,000 leaves on stacks that are switched by hand, newest first, by one thread.
 *
 * A node is malloc'd when it is spawned and gets a stack when it runs; a stack that is left runs the next one, so a few are enough. One whose children
 * have all ended goes on before anything new begins. */
#include "limits.h"

#include "swap.h"

enum { FAN_OUT = 10, LEVELS = 6, STACK = 16384, STACKS = LEVELS + 2, ROUNDS = 9 };

struct node {
    struct node *parent, *below; /* @below: in the pile of those that have not begun */
    int place, levels, pending;
    uint64_t first, sum;
};

static struct node *fresh, *ready, *current;
static struct stack scheduler, stacks[STACKS];
static char memory[STACKS][STACK] __attribute__((aligned(16)));
static int idle[STACKS], idles;

static void spawn(struct node *parent, uint64_t first, int levels)
{
    struct node *n = malloc(sizeof *n);
    BENCH_CHECK(n);
    *n = (struct node){.parent = parent, .below = fresh, .levels = levels, .first = first};
    fresh = n;
}

static void spawn_children(struct node *n)
{
    uint64_t leaves = 1;
    for (int i = 1; i < n->levels; i++)
        leaves *= FAN_OUT;
    n->pending = FAN_OUT;
    for (uint64_t i = 0; i < FAN_OUT; i++)
        spawn(n, n->first + i * leaves, n->levels - 1);
}

/* A node's whole life, on the stack that it was given. */
static void live(void *unused)
{
    (void)unused;
    struct node *n = current;
    if (n->levels == 0)
        n->sum = n->first;
    else
        spawn_children(n);
    if (n->pending > 0)
        swap(&stacks[n->place], &scheduler);
    n->parent->sum += n->sum;
    if (--n->parent->pending == 0)
        ready = n->parent;
    int place = idle[idles++] = n->place;
    free(n);
    swap(&stacks[place], &scheduler);
}

static void begin_newest(void)
{
    current = fresh;
    fresh = fresh->below;
    BENCH_CHECK(idles > 0);
    current->place = idle[--idles];
    swap_prepare(&stacks[current->place], memory[current->place], STACK, live);
    swap(&scheduler, &stacks[current->place]);
}

/* Milliseconds. */
static double skynet_round(void *arg)
{
    struct node root = {.pending = 1};
    (void)arg;
    for (idles = 0; idles < STACKS; idles++)
        idle[idles] = idles;
    int64_t start = bench_now();
    spawn(&root, 0, LEVELS);
    while (root.pending > 0) {
        struct node *next = ready;
        ready = NULL;
        if (next)
            swap(&scheduler, &stacks[next->place]);
        else
            begin_newest();
    }
    BENCH_CHECK(root.sum == UINT64_C(499999500000));
    ready = NULL;
    return (double)(bench_now() - start) / 1e6;
}

void limit_skynet(void) { bench_measure("skynet", "ms", ROUNDS, skynet_round, NULL); }
