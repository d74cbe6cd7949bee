/* idle.c - resident memory per idle task.   idle [strand | small | task [count]]
 *
 * strand: asleep in weft_sleep(). small: the same with the smallest stack. task: stackless, its waker registered in a cell that
 * nobody wakes; its own 48 bytes, allocated singly, are included. Each kind in processes of its own, as what one round freed would
 * make the next look free: without arguments each kind is measured BENCH_ROUNDS times, or three. */
#include "bench_weft.h"

#include <stdatomic.h>

enum { COUNT = 100000, WARM_UP = 200, REPEATS = 3 };

static const char *kind;
static int count = COUNT;
static atomic_int started;

struct sleeper {
    weft_future future;
    weft_atomic_waker waker;
};

static weft_poll sleeper_poll(weft_future *self, weft_context *cx, void **result)
{
    struct sleeper *s = WEFT_CONTAINER_OF(self, struct sleeper, future);
    (void)result;
    int err = weft_atomic_waker_register(&s->waker, weft_context_waker(cx));
    atomic_fetch_add_explicit(&started, 1, memory_order_relaxed);
    return err < 0 ? err : WEFT_PENDING;
}

static void sleeper_drop(weft_future *self)
{
    struct sleeper *s = WEFT_CONTAINER_OF(self, struct sleeper, future);
    weft_waker waker;
    if (weft_atomic_waker_take(&s->waker, &waker))
        weft_waker_drop(&waker);
    free(s);
}

static const weft_future_ops sleeper_ops = {.poll = sleeper_poll, .drop = sleeper_drop};

static void *sleep_long(void *arg)
{
    atomic_fetch_add_explicit(&started, 1, memory_order_relaxed);
    weft_sleep(3600 * WEFT_SEC);
    return arg;
}

static void spawn_task(void)
{
    struct sleeper *s = malloc(sizeof *s);
    BENCH_CHECK(s);
    s->future.ops = &sleeper_ops;
    weft_atomic_waker_init(&s->waker);
    BENCH_CHECK(weft_spawn_future(NULL, &s->future) == 0);
}

static void spawn_strand(size_t stack_size)
{
    weft_spawn_options options = WEFT_SPAWN_OPTIONS_INIT;
    options.stack_size = stack_size;
    BENCH_CHECK(weft_spawn_with(NULL, &options, sleep_long, NULL) == 0);
}

/* Start @n more and wait until all are asleep. */
static void fill(int n)
{
    int all = atomic_load(&started) + n;
    for (int i = 0; i < n; i++) {
        if (strcmp(kind, "task") == 0)
            spawn_task();
        else
            spawn_strand(strcmp(kind, "small") == 0 ? 16384 : 0);
    }
    while (atomic_load(&started) < all)
        weft_sleep(WEFT_MS);
    weft_sleep(20 * WEFT_MS); /* the last to count itself still has to fall asleep */
}

static void *app(void *arg)
{
    fill(WARM_UP);
    double before = bench_memory("VmRSS");
    fill(count);
    printf("idle_%-23s %12.0f bytes\n", kind, (bench_memory("VmRSS") - before) / count);
    fflush(stdout);
    return arg; /* the runtime cancels the sleepers */
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"strand", "small", "task"};
    int failed = 0;
    int repeats = bench_rounds(REPEATS);

    for (int i = 0; argc < 2 && i < 3 * repeats; i++)
        failed |= bench_again(argv[0], kinds[i / repeats]);
    if (argc < 2)
        return failed;
    for (int i = 0; i < 3; i++)
        if (strcmp(argv[1], kinds[i]) == 0)
            kind = kinds[i];
    if (!kind)
        return 2;
    count = argc > 2 ? bench_count(argv[2]) : COUNT;
    bench_run(1, app);
    return 0;
}
