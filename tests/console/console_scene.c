/* console_scene.c - a server in trouble, to look at: many connections that wait, one task that is stuck in a loop, one that waits for a mutex for ever, and one
 * with a name that would like to be markup. scripts/console-check looks at it through a browser.
 *
 *   console_scene WORKERS STRANDS FUTURES [quiet]   prints the port of its console, and ends when its input does; quiet: no trouble, and as many turns a second
 *                                                   of a channel's two ends as there can be are printed in the end */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft.h>
#include <weft/console.h>

static atomic_bool over;
static atomic_ulong turns;
static weft_token *never;
static weft_mutex door = WEFT_MUTEX_INIT;

static void *end_with_input(void *arg)
{
    char c;
    while (read(STDIN_FILENO, &c, 1) > 0)
        ;
    atomic_store(&over, true);
    return arg;
}

static void *wait_for_ever(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;
    weft_set_name("conn 10.0.%zu.%zu:%zu", i / 250, i % 250, 5000 + i % 1000);
    weft_token_wait(never);
    return NULL;
}

static void *hold_the_door(void *arg)
{
    weft_set_name("holds the door");
    weft_mutex_lock(&door);
    weft_token_wait(never);
    weft_mutex_unlock(&door);
    return arg;
}

static void *stand_before_it(void *arg)
{
    weft_set_name("handler 17, stuck in a mutex");
    weft_mutex_lock(&door);
    weft_mutex_unlock(&door);
    return arg;
}

static void *spin(void *arg)
{
    weft_set_name("handler 42, stuck in a loop");
    while (!atomic_load(&over))
        ;
    return arg;
}

static void *be_markup(void *arg)
{
    weft_set_name("</script><img src=x onerror=alert(1)><b id=evil>\"&");
    weft_token_wait(never);
    return arg;
}

/* ---- stackless tasks, which only wait ------------------------------------------------------------------------------ */

static weft_poll stay(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)cx, (void)result;
    return WEFT_PENDING;
}

static void drop(weft_future *self) { (void)self; }

/* They have no state: one is enough for all. */
static void add_futures(size_t n)
{
    static const weft_future_ops ops = {.poll = stay, .drop = drop};
    static weft_future idle = {.ops = &ops};
    for (size_t i = 0; i < n; i++)
        if (weft_spawn_future(NULL, &idle) < 0)
            abort();
}

/* ---- a load to measure by ------------------------------------------------------------------------------------------- */

static void *take_turns(void *arg)
{
    (void)arg;
    while (!atomic_load(&over) && weft_yield() == 0)
        atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
    return NULL;
}

static void begin(weft_fn fn)
{
    if (weft_spawn(NULL, fn, NULL) < 0)
        abort();
}

static void make_trouble(void)
{
    begin(hold_the_door);
    while (weft_mutex_try_lock(&door) == 0) {
        weft_mutex_unlock(&door);
        weft_yield();
    }
    begin(stand_before_it);
    begin(be_markup);
    begin(spin);
}

static void *run(void *arg)
{
    char **words = arg;
    int port, quiet = words[4] != NULL;
    weft_console_options o = {.address = "127.0.0.1:0", .port = &port};
    if (weft_token_create(&never, NULL) < 0 || weft_console_start_with(&o) < 0)
        return weft_fail(WEFT_EINVAL);
    for (size_t i = 0, n = strtoul(words[2], NULL, 10); i < n; i++)
        if (weft_spawn(NULL, wait_for_ever, (void *)(uintptr_t)i) < 0)
            abort();
    add_futures(strtoul(words[3], NULL, 10));
    if (!quiet)
        make_trouble();
    printf("%d\n", port);
    fflush(stdout);
    int64_t began = weft_now();
    for (int i = 0; quiet && i < 4; i++)
        begin(take_turns);
    while (!atomic_load(&over))
        weft_sleep(10 * WEFT_MS);
    if (quiet)
        printf("%.0f turns a second\n", (double)atomic_load(&turns) * 1e9 / (double)(weft_now() - began));
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    if (argc < 4 || pthread_create(&thread, NULL, end_with_input, NULL) != 0)
        return 2;
    weft_options o = {.workers = (unsigned)atoi(argv[1])};
    int err = weft_run_with(&o, run, argv, NULL);
    pthread_join(thread, NULL);
    weft_token_free(never);
    return err < 0;
}
