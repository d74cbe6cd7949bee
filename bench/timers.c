/* timers.c - 1,000,000 timers, beside what their bare lists cost; and 1,000,000 stackless tasks asleep.
 *
 *   timers [WORKERS [SPREAD]]   timers tasks [SPREAD]
 *
 * One task starts a million, drops 90 % of them (in random order, and for comparison in that of their memory), and waits for the rest.
 * Deadlines are random within SPREAD milliseconds (2,000). A fire's cost is the CPU time of the whole process, sleeping and waking, the
 * task's poll and the drop included: the more timers a millisecond, the less of the former for each. The limit is what unlinking alone
 * costs, which is misses of the cache: the node's line, and those of its two neighbours.
 * tasks: each sleeps once. Their memory is all that the process has grown by. */
#include "bench_weft.h"

#include <stdbool.h>

enum { COUNT = 1000000, KEPT = COUNT / 10, ROUNDS = 5, SPREAD_MS = 2000, LEAD_MS = 2000, LINE = 64 };

static int64_t spread_ms = SPREAD_MS;
static uint32_t delay_ms[COUNT], order[COUNT]; /* the last KEPT of the order stay; they are sorted by delay */
static bool shuffled;

struct outcome {
    struct bench_series start, cancel, in_order, fire;
};

static int64_t cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- the work ------------------------------------------------------------------------------------------------ */

static uint64_t random_next(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

static int by_delay(const void *a, const void *b)
{
    uint32_t x = delay_ms[*(const uint32_t *)a], y = delay_ms[*(const uint32_t *)b];
    return (x > y) - (x < y);
}

static int by_index(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Another one for each round. */
static void make_plan(bool random_order)
{
    shuffled = random_order;
    for (uint32_t i = 0; i < COUNT; i++) {
        delay_ms[i] = (uint32_t)(LEAD_MS + random_next() % (uint64_t)spread_ms);
        order[i] = i;
    }
    for (uint32_t i = COUNT - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(random_next() % (i + 1)), index = order[i];
        order[i] = order[j];
        order[j] = index;
    }
    if (!shuffled)
        qsort(order, COUNT - KEPT, sizeof order[0], by_index);
    qsort(order + COUNT - KEPT, KEPT, sizeof order[0], by_delay);
}

static void add_outcome(struct outcome *o, int64_t began, int64_t started, int64_t cancelled, int64_t cpu)
{
    bench_add(shuffled ? &o->cancel : &o->in_order, (double)(cancelled - started) / (COUNT - KEPT));
    if (!shuffled)
        return;
    bench_add(&o->start, (double)(started - began) / COUNT);
    bench_add(&o->fire, (double)cpu / KEPT);
}

/* ---- weft ---------------------------------------------------------------------------------------------------- */

static _Alignas(LINE) weft_timer timers[COUNT];
static struct outcome of_weft;

struct driver {
    weft_future future;
    uint32_t fired;
    int64_t began, started, cancelled, cpu;
};

static void start_and_cancel(struct driver *d, weft_context *cx)
{
    int64_t base = weft_now();
    d->began = bench_now();
    for (uint32_t i = 0; i < COUNT; i++) {
        weft_timer_init(&timers[i], base + delay_ms[i] * WEFT_MS);
        BENCH_CHECK(weft_timer_poll(cx, &timers[i]) == WEFT_PENDING);
    }
    d->started = bench_now();
    for (uint32_t i = 0; i < COUNT - KEPT; i++)
        weft_timer_drop(&timers[order[i]]);
    d->cancelled = bench_now();
    d->cpu = cpu_now();
}

static weft_poll driver_poll(weft_future *self, weft_context *cx, void **result)
{
    struct driver *d = WEFT_CONTAINER_OF(self, struct driver, future);
    (void)result;
    if (d->began == 0)
        start_and_cancel(d, cx);
    for (; d->fired < KEPT; d->fired++) {
        weft_timer *next = &timers[order[COUNT - KEPT + d->fired]];
        if (weft_timer_poll(cx, next) == WEFT_PENDING)
            return WEFT_PENDING;
        weft_timer_drop(next);
    }
    d->cpu = cpu_now() - d->cpu;
    return WEFT_READY;
}

static const weft_future_ops driver_ops = {.poll = driver_poll};

/* Only the random order is followed to its end. */
static weft_poll canceller_poll(weft_future *self, weft_context *cx, void **result)
{
    struct driver *d = WEFT_CONTAINER_OF(self, struct driver, future);
    (void)result;
    start_and_cancel(d, cx);
    for (uint32_t i = COUNT - KEPT; i < COUNT; i++)
        weft_timer_drop(&timers[order[i]]);
    return WEFT_READY;
}

static const weft_future_ops canceller_ops = {.poll = canceller_poll};

static void *weft_round(void *arg)
{
    struct driver d = {.future.ops = shuffled ? &driver_ops : &canceller_ops};
    weft_task *task;
    BENCH_CHECK(weft_spawn_future(&task, &d.future) == 0);
    bench_join(task);
    add_outcome(&of_weft, d.began, d.started, d.cancelled, d.cpu);
    return arg;
}

/* ---- the limit ----------------------------------------------------------------------------------------------- */

/* What any wheel of linked nodes pays for the same cancels: as many nodes of the same size in lists as long, and nothing but the unlinking. */
struct bare {
    struct bare *next, *prev;
    uint64_t rest[6];
};

_Static_assert(sizeof(struct bare) == sizeof(weft_timer), "the same lines are touched");

enum { SLOT_MS = 64, SLOTS = 4096 };

static _Alignas(LINE) struct bare bare[COUNT];
static struct bare slots[SLOTS];
static struct bench_series limit, limit_in_order;

static void bare_link(struct bare *n, struct bare *slot)
{
    n->next = slot;
    n->prev = slot->prev;
    slot->prev->next = n;
    slot->prev = n;
}

static void bare_unlink(struct bare *n)
{
    n->next->prev = n->prev;
    n->prev->next = n->next;
}

static void limit_round(void)
{
    for (int i = 0; i < SLOTS; i++)
        slots[i].next = slots[i].prev = &slots[i];
    for (uint32_t i = 0; i < COUNT; i++)
        bare_link(&bare[i], &slots[delay_ms[i] / SLOT_MS % SLOTS]);
    int64_t began = bench_now();
    for (uint32_t i = 0; i < COUNT - KEPT; i++)
        bare_unlink(&bare[order[i]]);
    bench_add(shuffled ? &limit : &limit_in_order, (double)(bench_now() - began) / (COUNT - KEPT));
}

/* ---- both ---------------------------------------------------------------------------------------------------- */

static unsigned workers = 1;

static void both(bool random_order)
{
    make_plan(random_order);
    limit_round();
    bench_run(workers, weft_round);
}

static void rounds(void)
{
    both(true); /* the memory's first touch */
    of_weft = (struct outcome){0};
    limit = limit_in_order = (struct bench_series){0};
    for (int i = 0; i < ROUNDS; i++) {
        both(true);
        both(false);
    }
    bench_print("timers_start", &of_weft.start, "ns/timer");
    bench_print("timers_cancel", &of_weft.cancel, "ns/timer");
    bench_print("timers_cancel_in_order", &of_weft.in_order, "ns/timer");
    bench_print("timers_fire", &of_weft.fire, "ns/timer");
    bench_print("timers_cancel_limit", &limit, "ns/timer");
    bench_print("timers_cancel_in_order_limit", &limit_in_order, "ns/timer");
}

/* ---- a million asleep ---------------------------------------------------------------------------------------- */

struct nap {
    weft_future future;
    weft_timer timer;
};

static uint32_t asleep, woken;
static int64_t naps_begin;

static weft_poll nap_poll(weft_future *self, weft_context *cx, void **result)
{
    struct nap *nap = WEFT_CONTAINER_OF(self, struct nap, future);
    (void)result;
    if (weft_timer_poll(cx, &nap->timer) == WEFT_READY)
        return WEFT_READY;
    asleep++;
    return WEFT_PENDING;
}

static void nap_drop(weft_future *self)
{
    struct nap *nap = WEFT_CONTAINER_OF(self, struct nap, future);
    weft_timer_drop(&nap->timer);
    woken++;
    free(nap);
}

static const weft_future_ops nap_ops = {.poll = nap_poll, .drop = nap_drop};

static void spawn_naps(void)
{
    for (uint32_t i = 0; i < COUNT; i++) {
        struct nap *nap = malloc(sizeof *nap);
        BENCH_CHECK(nap);
        nap->future.ops = &nap_ops;
        weft_timer_init(&nap->timer, naps_begin + (int64_t)(random_next() % (uint64_t)(spread_ms * WEFT_MS)));
        BENCH_CHECK(weft_spawn_future(NULL, &nap->future) == 0);
    }
}

/* One worker: the counters need no lock. */
static void *sleep_all(void *arg)
{
    double before = bench_memory("VmRSS");
    int64_t cpu = cpu_now();
    naps_begin = weft_now() + 5 * WEFT_SEC;
    spawn_naps();
    while (asleep < COUNT)
        weft_sleep(WEFT_MS);
    printf("%-28s %12.2f ns CPU/task\n", "timers_task_spawn_sleep", (double)(cpu_now() - cpu) / COUNT);
    printf("%-28s %12.2f bytes\n", "timers_task_memory", (bench_memory("VmRSS") - before) / COUNT);
    BENCH_CHECK(woken == 0);
    cpu = cpu_now();
    while (woken < COUNT)
        weft_sleep(20 * WEFT_MS);
    printf("%-28s %12.2f ns CPU/task\n", "timers_task_fire_end", (double)(cpu_now() - cpu) / COUNT);
    return arg;
}

int main(int argc, char **argv)
{
    bool tasks = argc > 1 && strcmp(argv[1], "tasks") == 0;
    if (argc > 1 && !tasks)
        workers = (unsigned)atoi(argv[1]);
    if (argc > 2)
        spread_ms = atoi(argv[2]);
    BENCH_CHECK(spread_ms > 0 && workers > 0);
    if (tasks)
        bench_run(1, sleep_all);
    else
        rounds();
    return 0;
}
