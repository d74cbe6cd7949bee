/* scope.c - what a deadline around code costs when it does not pass.   scope [workers]
 *
 * Where the code awaits and suspends, the same without a scope stands beside it; and the one reading of the clock that a deadline needs. */
#include "bench_weft.h"

#include <stdbool.h>

enum { COUNT = 1000000, ROUNDS = 11 };

static weft_token *token;

/* ---- without waiting ----------------------------------------------------------------------------------------- */

static double clock_reading(void *arg)
{
    int64_t start = bench_now();
    (void)arg;
    for (int i = 0; i < COUNT; i++)
        bench_now();
    return (double)(bench_now() - start) / COUNT;
}

static double now_reading(void *arg)
{
    int64_t start = bench_now();
    (void)arg;
    for (int i = 0; i < COUNT; i++)
        weft_now();
    return (double)(bench_now() - start) / COUNT;
}

static double enter_leave(void *arg)
{
    const int64_t *timeout = arg;
    int64_t start = bench_now();
    for (int i = 0; i < COUNT; i++) {
        weft_scope scope;
        weft_scope_enter(&scope, *timeout);
        BENCH_CHECK(weft_scope_leave(&scope) == 0);
    }
    return (double)(bench_now() - start) / COUNT;
}

/* For all three. */
static double nested(void *arg)
{
    const int64_t *timeout = arg;
    int64_t start = bench_now();
    for (int i = 0; i < COUNT; i++) {
        weft_scope a, b, c;
        weft_scope_enter(&a, *timeout);
        weft_scope_enter(&b, *timeout);
        weft_scope_enter(&c, *timeout);
        BENCH_CHECK((weft_scope_leave(&c) | weft_scope_leave(&b) | weft_scope_leave(&a)) == 0);
    }
    return (double)(bench_now() - start) / COUNT;
}

static double bound(void *arg)
{
    int64_t start = bench_now();
    for (int i = 0; i < COUNT; i++) {
        weft_scope scope;
        weft_scope_enter(&scope, WEFT_FOREVER);
        BENCH_CHECK(weft_scope_bind(&scope, token) == 0);
        BENCH_CHECK(weft_scope_leave(&scope) == 0);
    }
    (void)arg;
    return (double)(bench_now() - start) / COUNT;
}

/* ---- with an await that suspends ----------------------------------------------------------------------------- */

/* Pending once: it wakes its own task. */
struct bounce {
    weft_future future;
    bool polled;
};

static weft_poll bounce_poll(weft_future *self, weft_context *cx, void **result)
{
    struct bounce *b = WEFT_CONTAINER_OF(self, struct bounce, future);
    (void)result;
    if (b->polled)
        return WEFT_READY;
    b->polled = true;
    weft_waker_wake_by_ref(weft_context_waker(cx));
    return WEFT_PENDING;
}

static const weft_future_ops bounce_ops = {.poll = bounce_poll};

static void await_bounce(void)
{
    struct bounce b = {.future.ops = &bounce_ops};
    BENCH_CHECK(weft_await(&b.future, NULL) == 0);
}

static double bare_await(void *arg)
{
    int64_t start = bench_now();
    for (int i = 0; i < COUNT; i++)
        await_bounce();
    (void)arg;
    return (double)(bench_now() - start) / COUNT;
}

static double scoped_await(void *arg)
{
    const int64_t *timeout = arg;
    int64_t start = bench_now();
    for (int i = 0; i < COUNT; i++) {
        weft_scope scope;
        weft_scope_enter(&scope, *timeout);
        await_bounce();
        BENCH_CHECK(weft_scope_leave(&scope) == 0);
    }
    return (double)(bench_now() - start) / COUNT;
}

static void *app(void *arg)
{
    static int64_t forever = WEFT_FOREVER, seconds = 30 * WEFT_SEC;
    BENCH_CHECK(weft_token_create(&token, NULL) == 0);
    bench_measure_w("scope_clock_gettime", "ns", ROUNDS, clock_reading, arg);
    bench_measure_w("scope_weft_now", "ns", ROUNDS, now_reading, arg);
    bench_measure_w("scope_forever", "ns/scope", ROUNDS, enter_leave, &forever);
    bench_measure_w("scope_deadline", "ns/scope", ROUNDS, enter_leave, &seconds);
    bench_measure_w("scope_nested_3", "ns/3 scopes", ROUNDS, nested, &seconds);
    bench_measure_w("scope_token", "ns/scope", ROUNDS, bound, arg);
    bench_measure_w("scope_await_bare", "ns/await", ROUNDS, bare_await, arg);
    bench_measure_w("scope_await_forever", "ns/scope", ROUNDS, scoped_await, &forever);
    bench_measure_w("scope_await_deadline", "ns/scope", ROUNDS, scoped_await, &seconds);
    BENCH_CHECK(weft_token_free(token) == 0);
    return arg;
}

int main(int argc, char **argv) { return bench_main(argc, argv, app); }
