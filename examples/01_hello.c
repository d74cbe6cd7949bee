/* Spawn three strands, let them sleep at the same time, and join them in order.
 *
 *   ./01_hello
 *
 * A strand is a C function with a stack of its own. weft_run() turns the calling thread into a worker, starts the other
 * workers, and runs the first strand. When that one returns, the rest is cancelled and everything is taken down. */
#include <stdint.h>
#include <stdio.h>
#include <weft.h>

static void *greet(void *arg)
{
    intptr_t n = (intptr_t)arg;
    weft_sleep((4 - n) * 10 * WEFT_MS); /* suspends this strand only: no thread is blocked */
    return (void *)(n * n);
}

static void *app(void *arg)
{
    weft_task *tasks[3];
    (void)arg;

    for (intptr_t n = 0; n < 3; n++) {
        int err = weft_spawn(&tasks[n], greet, (void *)(n + 1));
        if (err < 0)
            return weft_fail(err); /* what was spawned is cancelled when the root ends */
    }
    for (int n = 0; n < 3; n++) {
        void *result;
        int err = weft_join(tasks[n], &result); /* awaits the end, and frees the handle */
        if (err < 0)
            return weft_fail(err);
        printf("hello from strand %d, which says %d\n", n + 1, (int)(intptr_t)result);
    }
    return NULL;
}

int main(void)
{
    int err = weft_run(app, NULL, NULL);
    if (err < 0)
        fprintf(stderr, "hello: %s\n", weft_strerror(err));
    return err < 0;
}
