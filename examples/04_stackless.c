/* Futures by hand: tasks without a stack, wakers from anywhere, and tasks in memory set aside beforehand.
 *
 *   ./04_stackless
 *
 * A future is polled. It finishes, or keeps a waker and says "pending". The rule against lost wakes has two halves: the one who
 * waits registers its waker and then looks; the one who produces makes the thing true and then wakes. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

/* ---- a flag that can be waited for ------------------------------------------------------------------------------ */

typedef struct flag {
    atomic_int up;
    weft_atomic_waker waker; /* of the one who waits */
} flag;

static void flag_raise(flag *f) /* any thread */
{
    atomic_store(&f->up, 1);
    weft_atomic_waker_wake(&f->waker);
}

static weft_poll flag_poll(flag *f, weft_context *cx)
{
    int err = weft_atomic_waker_register(&f->waker, weft_context_waker(cx));
    if (err < 0)
        return err;
    return atomic_exchange(&f->up, 0) ? WEFT_READY : WEFT_PENDING;
}

static void flag_forget(flag *f) /* the waker is a reference to the task: give it back */
{
    weft_waker waker;
    weft_atomic_waker_take(&f->waker, &waker);
    weft_waker_drop(&waker);
}

/* ---- a future: run laps, hand the baton on ------------------------------------------------------------------------ */

enum { RUNNERS = 3, LAPS = 2 };

typedef struct runner {
    weft_future future; /* embedded: poll and drop find the struct around it */
    flag *mine, *next;
    int number, lap;
} runner;

static weft_poll runner_poll(weft_future *self, weft_context *cx, void **result)
{
    runner *r = WEFT_CONTAINER_OF(self, runner, future);
    while (r->lap < LAPS) {
        weft_poll polled = flag_poll(r->mine, cx);
        if (polled != WEFT_READY)
            return polled; /* r remembers how far it got: that is all the stack it needs */
        printf("  runner %d, lap %d\n", r->number, ++r->lap);
        flag_raise(r->next);
    }
    *result = (void *)(intptr_t)r->lap;
    return WEFT_READY;
}

static void runner_drop(weft_future *self) /* called once, also when the task is aborted */
{
    flag_forget(WEFT_CONTAINER_OF(self, runner, future)->mine);
}

static const weft_future_ops runner_ops = {.poll = runner_poll, .drop = runner_drop};

/* ---- an ordinary thread, two ways to be a task, and the one who waits ----------------------------------------------- */

static flag flags[RUNNERS + 1]; /* the last one: the baton is back */
static weft_task_pool *pool;

static void *starter(void *arg) /* no strand, no runtime: a wake comes from anywhere */
{
    flag_raise(arg);
    return NULL;
}

/* A task in the pool's memory: spawning it allocates nothing, and the place goes back by itself. */
static int spawn_runner(weft_task **task, int n)
{
    weft_task_storage *place;
    int err = weft_task_pool_claim(pool, &place);
    if (err < 0)
        return err;
    runner *r = weft_task_pool_body(place);
    *r = (runner){{&runner_ops}, &flags[n], &flags[(n + 1) % RUNNERS], n + 1, 0};
    if ((err = weft_spawn_future_in(task, place, &r->future)) < 0)
        weft_task_pool_unclaim(place);
    return err;
}

static void *app(void *arg)
{
    weft_task *tasks[RUNNERS], *one_more = NULL;
    weft_task_storage *place;
    pthread_t thread;
    void *laps;
    (void)arg;

    puts("in the pool:");
    for (int n = 0; n < RUNNERS; n++)
        if (spawn_runner(&tasks[n], n) < 0)
            return NULL;
    printf("  one more: %s\n", weft_err_name(weft_task_pool_claim(pool, &place)));
    if (pthread_create(&thread, NULL, starter, &flags[0]) != 0)
        return NULL;
    for (int n = 0; n < RUNNERS; n++)
        if (weft_join(tasks[n], &laps) < 0)
            return NULL;
    pthread_join(thread, NULL); /* it has ended long ago; else this would block a worker */

    puts("on its own:"); /* the same future, in memory of ours */
    runner alone = {{&runner_ops}, &flags[1], &flags[RUNNERS], 4, LAPS - 1};
    if (weft_spawn_future(&one_more, &alone.future) < 0)
        return NULL;
    flag_raise(&flags[1]);
    weft_join(one_more, &laps);

    puts("inside a strand:"); /* weft_await() polls it here and suspends in between */
    runner here = {{&runner_ops}, &flags[RUNNERS], &flags[1], 5, LAPS - 1};
    int err = weft_await(&here.future, &laps);
    printf("  %s, %d laps\n", weft_err_name(err), (int)(intptr_t)laps);
    return NULL;
}

int main(void)
{
    for (int n = 0; n <= RUNNERS; n++)
        weft_atomic_waker_init(&flags[n].waker);
    if (weft_task_pool_create(&pool, RUNNERS, sizeof(runner)) < 0)
        return 1;
    int err = weft_run(app, NULL, NULL);
    printf("free places: %zu of %d\n", weft_task_pool_available(pool), RUNNERS);
    return err < 0 || weft_task_pool_free(pool) < 0;
}
