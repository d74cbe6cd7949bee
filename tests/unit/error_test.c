/* error_test.c - every code has a name and a sentence, whichever thread asks. */
#include <limits.h>
#include <pthread.h>
#include <support/test.h>
#include <uv.h>
#include <weft/base.h>

Test(error, codes_shared_with_libuv_have_its_names)
{
    cr_assert_str_eq(weft_err_name(WEFT_ECANCELED), "ECANCELED");
    cr_assert_str_eq(weft_err_name(WEFT_ETIMEDOUT), "ETIMEDOUT");
    cr_assert_str_eq(weft_err_name(WEFT_EAGAIN), "EAGAIN");
    cr_assert_str_eq(weft_err_name(WEFT_EOF), "EOF");
    cr_assert_str_eq(weft_err_name(UV_EAI_NONAME), "EAI_NONAME");
    cr_assert_str_eq(weft_strerror(WEFT_ECONNREFUSED), "connection refused");
}

Test(error, codes_of_weft_have_their_own_names)
{
    cr_assert_str_eq(weft_err_name(WEFT_EABORTED), "WEFT_EABORTED");
    cr_assert_str_eq(weft_err_name(WEFT_EPANIC), "WEFT_EPANIC");
    cr_assert_str_eq(weft_err_name(WEFT_EFAILED), "WEFT_EFAILED");
    cr_assert_str_eq(weft_err_name(WEFT_ECLOSED), "WEFT_ECLOSED");
    cr_assert_str_eq(weft_err_name(WEFT_EEXHAUSTED), "WEFT_EEXHAUSTED");
    cr_assert_str_eq(weft_err_name(WEFT_ENORUNTIME), "WEFT_ENORUNTIME");
    cr_assert_str_eq(weft_strerror(WEFT_EPANIC), "the task panicked");
}

Test(error, a_code_that_libuv_does_not_know_still_has_a_name)
{
    cr_assert_str_eq(weft_err_name(WEFT_EDEADLK), "EDEADLK");
    cr_assert_str_eq(weft_strerror(WEFT_EDEADLK), "waiting here could never end");
}

Test(error, zero_and_counts_are_ok)
{
    cr_assert_str_eq(weft_err_name(0), "OK");
    cr_assert_str_eq(weft_err_name(INT_MAX), "OK");
    cr_assert_str_eq(weft_strerror(42), "success");
}

Test(error, unknown_codes_share_one_string_and_none_is_null)
{
    static const int unknown[] = {-999, -4090, -5000, -6000, -6009, -123456, INT_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        cr_assert_str_eq(weft_err_name(unknown[i]), "unknown", "code %d", unknown[i]);
        cr_assert_str_eq(weft_strerror(unknown[i]), "unknown error", "code %d", unknown[i]);
    }
    for (int code = -8000; code < 10; code++) {
        cr_assert_not_null(weft_err_name(code), "code %d", code);
        cr_assert_not_null(weft_strerror(code), "code %d", code);
    }
}

/* Returns NULL when every code said what libuv says of it. */
static void *compare_with_libuv(void *arg)
{
    char name[64], sentence[128];
    (void)arg;
#define XX(code, text)                                   \
    uv_err_name_r(UV_##code, name, sizeof name);         \
    uv_strerror_r(UV_##code, sentence, sizeof sentence); \
    if (strcmp(weft_err_name(UV_##code), name) != 0)     \
        return "the name of " #code;                     \
    if (strcmp(weft_strerror(UV_##code), sentence) != 0) \
        return "the sentence of " #code;
    UV_ERRNO_MAP(XX)
#undef XX
    return NULL;
}

Test(error, all_of_libuvs_codes_asked_from_four_threads_say_what_libuv_says)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, compare_with_libuv, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        cr_assert_null(wrong, "%s", (const char *)wrong);
    }
}

Test(error, the_library_has_the_version_of_its_header) { cr_assert_eq(weft_version(), WEFT_VERSION_NUMBER); }
