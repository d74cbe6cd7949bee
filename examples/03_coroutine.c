/* Coroutines without a scheduler: the caller pulls, the body yields.
 *
 *   ./03_coroutine
 *
 * A coroutine has a stack of its own, so it can yield from deep inside a recursion. It needs no runtime, and each switch goes
 * straight from one side to the other. */
#include <stdint.h>
#include <stdio.h>
#include <weft.h>

/* ---- pulling values out: a walk over a tree --------------------------------------------------------------------- */

struct tree {
    struct tree *left, *right;
    int key;
};

static void walk(struct tree *t)
{
    if (!t || weft_coro_stopping())
        return;
    walk(t->left);
    weft_coro_yield(&t->key);
    walk(t->right);
}

static void *in_order(void *root)
{
    walk(root);
    return NULL;
}

static void say(void *text) { printf("  %s\n", (const char *)text); }

/* ---- passing values in: a running mean ---------------------------------------------------------------------------- */

static void *mean(void *arg)
{
    double sum = 0, now = 0;
    int n = 0;
    (void)arg;
    weft_defer(say, "the mean is put away"); /* runs when the body ends, stopped or not */
    for (double *next = weft_coro_yield(&now); !weft_coro_stopping(); next = weft_coro_yield(&now)) {
        sum += *next;
        now = sum / ++n;
    }
    return NULL;
}

int main(void)
{
    struct tree one = {NULL, NULL, 1}, three = {NULL, NULL, 3}, two = {&one, &three, 2}, five = {NULL, NULL, 5};
    struct tree root = {&two, &five, 4};
    weft_coro *keys, *average;
    void *out;

    if (weft_coro_create(&keys, in_order, &root, 0) < 0)
        return 1;
    printf("keys:");
    while (weft_coro_resume(keys, NULL, &out) == 1)
        printf(" %d", *(int *)out);
    printf(", and once more: %d\n", weft_coro_resume(keys, NULL, &out)); /* finished, for ever after */
    weft_coro_free(keys);

    if (weft_coro_create(&average, mean, NULL, 0) < 0)
        return 1;
    double values[] = {3, 4, 8};
    weft_coro_resume(average, NULL, NULL); /* up to its first yield */
    printf("means:");
    for (int i = 0; i < 3; i++) {
        weft_coro_resume(average, &values[i], &out);
        printf(" %g", *(double *)out);
    }
    puts("\nfreed in the middle:");
    return weft_coro_free(average); /* stops it first: its yield returns, and it leaves by its own path */
}
