/* console_alloc_test.c - jansson out of memory at every place of every answer: the client is told, the next one is answered, and nothing is left behind. */
#include <stdatomic.h>
#include <support/console_support.h>
#include <support/net_support.h>

/* jansson's memory comes from here. The countdown is armed while a test wants one of its requests to fail. */
static atomic_long countdown, live;

static void *counted_alloc(size_t size)
{
    if (atomic_load(&countdown) > 0 && atomic_fetch_sub(&countdown, 1) == 1)
        return NULL;
    atomic_fetch_add(&live, 1);
    return malloc(size);
}

static void counted_free(void *block)
{
    atomic_fetch_sub(&live, block != NULL);
    free(block);
}

/* Returns the answer's status, with the request @n of jansson's refused; *@hit: there was one. */
static int ask_with_failure(int port, const char *path, long n, bool *hit)
{
    reply r = {.status = 429};
    for (int64_t until = weft_now() + PATIENCE; r.status == 429; usleep(r.status == 429 ? 20000 : 0)) {
        atomic_store(&countdown, n);
        r = get(port, path);
        *hit = atomic_exchange(&countdown, 0) <= 0;
        reply_free(&r);
        cr_assert_lt(weft_now(), until);
    }
    return r.status;
}

/* As many as there are; of the later ones, which are all of the same kind, some. Lists are made anew for each path. */
static void refuse_each(int port, const char *path, long step, long most)
{
    bool hit = true;
    char fresh[64];
    for (long n = 1; hit && n < most; n += n < 8 ? 1 : step) {
        snprintf(fresh, sizeof fresh, "%s?id=%ld", path, n);
        int status = ask_with_failure(port, fresh, n, &hit);
        cr_assert_eq(status, hit ? 503 : 200, "%s without request %ld", fresh, n);
        cr_assert_eq(atomic_load(&live), 0, "%s without request %ld", fresh, n);
        cr_assert(hit || n > 8, "%s asks for nothing", path);
    }
}

Test(console_alloc, without_memory_the_client_is_told_and_nothing_is_lost)
{
    json_set_alloc_funcs(counted_alloc, counted_free);
    weft_runtime *rt = runtime(2);
    int port = start_console(rt);
    refuse_each(port, "/workers.json", WF_TEST_SANITIZED ? 7 : 1, 2000);
    refuse_each(port, "/tasks.json", 3, 60); /* one in a quarter of a second */
    refuse_each(port, "/groups.json", 3, 60);
    cr_assert_eq(weft_runtime_destroy(rt), 0);
    json_set_alloc_funcs(malloc, free);
}
