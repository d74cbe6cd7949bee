/* test.h - one spelling of tests for two runners.
 *
 * Criterion runs each test in a process of its own and is what one uses every day; it cannot run under ThreadSanitizer, and
 * the leak verdict of AddressSanitizer does not reach its exit code. So the sanitizers, and valgrind, get the plain runner of
 * runner.c. Both know Test(suite, name) { ... }, with .init and .fini, and the assertions below.
 *
 * An assertion may fail on any thread and on any stack. CMake finds tests by reading the source: each starts a line, and is
 * not inside an #if; what cannot run somewhere says cr_skip_test(). */
#ifndef WEFT_TEST_H
#define WEFT_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- for tests ---------------------------------------------------------------------------------------------- */

/* A body `(unsigned workers)` that runs as three tests: name_1_worker, name_2_workers and name_8_workers. */
#define WF_TEST_WORKERS(suite, name)                  \
    static void name##_body(unsigned workers);        \
    Test(suite, name##_1_worker) { name##_body(1); }  \
    Test(suite, name##_2_workers) { name##_body(2); } \
    Test(suite, name##_8_workers) { name##_body(8); } \
    static void name##_body(unsigned workers)

/* Nonzero when everything is much slower than usual: under a sanitizer or valgrind. */
#define WF_TEST_SANITIZED wf_test_sanitized()
int wf_test_sanitized(void);

/* The program that runs this one for another machine (qemu-user), or NULL: what it does differently from a kernel is none of the
 * library's business. It runs programs of its own machine too, but the others only by its name. */
#define WF_TEST_EMULATED (wf_test_emulator() != NULL)
const char *wf_test_emulator(void);
/* Cut off what the emulator adds to the last words of a child that a signal ended. */
void wf_test_own_words(char *text);

/* Addresses have 32 bits: a process cannot have 100,000 stacks, nor 512 threads. */
#define WF_TEST_NARROW (sizeof(void *) < 8)

/* @n repetitions, or fewer (at least 1) where everything is slow. */
size_t wf_test_scale(size_t n);

/* ---- how a test fails --------------------------------------------------------------------------------------- */

/* Print where and what, and end the test at once, from any thread and any stack. @fmt and what follows may add to @what. */
void wf_test_fail(const char *file, int line, const char *what, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
/* End the test, which is neither passed nor failed. On the test's own thread, outside any strand. */
void wf_test_skip(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* An operand, for the message. */
typedef struct wf_test_value {
    char text[64];
} wf_test_value;

wf_test_value wf_test_signed(long long v);
wf_test_value wf_test_unsigned(unsigned long long v);
wf_test_value wf_test_real(double v);
wf_test_value wf_test_pointer(const volatile void *v);
/* "a == b, but a is 1 and b is 2" in a buffer of the calling thread. */
const char *wf_test_compared(const char *expression, wf_test_value a, wf_test_value b);
const char *wf_test_strings(const char *expression, const char *a, const char *b);
/* strcmp() that has a place for NULL: before everything. */
int wf_test_strcmp(const char *a, const char *b);

/* clang-format off */
#define WF_TEST_VALUE(x)                                                                                        \
    _Generic((x), _Bool: wf_test_unsigned, char: wf_test_signed, signed char: wf_test_signed,                   \
             unsigned char: wf_test_unsigned, short: wf_test_signed, unsigned short: wf_test_unsigned,          \
             int: wf_test_signed, unsigned: wf_test_unsigned, long: wf_test_signed,                             \
             unsigned long: wf_test_unsigned, long long: wf_test_signed, unsigned long long: wf_test_unsigned,  \
             float: wf_test_real, double: wf_test_real, default: wf_test_pointer)(x)
/* clang-format on */

/* The message is optional: a format and its arguments. The space keeps compilers from minding an empty format. */
#define WF_TEST_FAIL(what, ...) wf_test_fail(__FILE__, __LINE__, what, " " __VA_ARGS__)

#define WF_TEST_TRUE(what, condition, ...)     \
    do {                                       \
        if (!(condition))                      \
            WF_TEST_FAIL(what, ##__VA_ARGS__); \
    } while (0)

#define WF_TEST_OP(what, a, op, b, ...)                                                                      \
    do {                                                                                                     \
        __auto_type wf_a_ = (a);                                                                             \
        __auto_type wf_b_ = (b);                                                                             \
        if (!(wf_a_ op wf_b_))                                                                               \
            WF_TEST_FAIL(wf_test_compared(what, WF_TEST_VALUE(wf_a_), WF_TEST_VALUE(wf_b_)), ##__VA_ARGS__); \
    } while (0)

#define WF_TEST_STR(what, a, op, b, ...)                                      \
    do {                                                                      \
        const char *wf_a_ = (a), *wf_b_ = (b);                                \
        if (!(wf_test_strcmp(wf_a_, wf_b_) op 0))                             \
            WF_TEST_FAIL(wf_test_strings(what, wf_a_, wf_b_), ##__VA_ARGS__); \
    } while (0)

/* ---- the runners -------------------------------------------------------------------------------------------- */

#if defined(WEFT_TEST_CRITERION)

#include <criterion/criterion.h>

#undef cr_assert
#undef cr_assert_not
#undef cr_assert_eq
#undef cr_assert_neq
#undef cr_assert_lt
#undef cr_assert_leq
#undef cr_assert_gt
#undef cr_assert_geq
#undef cr_assert_null
#undef cr_assert_not_null
#undef cr_assert_str_eq
#undef cr_assert_str_neq
#undef cr_assert_arr_eq
#undef cr_assert_arr_neq
#undef cr_assert_float_eq
#undef cr_assert_fail
#undef cr_fail
#undef cr_skip_test

#else

typedef struct wf_test {
    const char *suite, *name;
    void (*body)(void);
    void (*init)(void), (*fini)(void); /* before and after the body; NULL: nothing */
    double timeout;                    /* CTest's holds here */
    const char *description;
    struct wf_test *next; /* the runner's list, in the order of the source */
} wf_test;

/* Called before main() for each test. */
void wf_test_register(wf_test *test);

#define Test(...) WF_TEST_DEFINE(__VA_ARGS__, .next = NULL)
#define WF_TEST_DEFINE(suite_, name_, ...)                                                                                     \
    static void suite_##_##name_##_impl(void);                                                                                 \
    static wf_test suite_##_##name_##_test = {.suite = #suite_, .name = #name_, .body = suite_##_##name_##_impl, __VA_ARGS__}; \
    __attribute__((constructor)) static void suite_##_##name_##_register(void)                                                 \
    {                                                                                                                          \
        wf_test_register(&suite_##_##name_##_test);                                                                            \
    }                                                                                                                          \
    static void suite_##_##name_##_impl(void)

#endif

/* ---- assertions: Criterion's names, each with an optional message -------------------------------------------- */

#define cr_assert(condition, ...) WF_TEST_TRUE(#condition, condition, ##__VA_ARGS__)
#define cr_assert_not(condition, ...) WF_TEST_TRUE("!(" #condition ")", !(condition), ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...) WF_TEST_OP(#a " == " #b, a, ==, b, ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...) WF_TEST_OP(#a " != " #b, a, !=, b, ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...) WF_TEST_OP(#a " < " #b, a, <, b, ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...) WF_TEST_OP(#a " <= " #b, a, <=, b, ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...) WF_TEST_OP(#a " > " #b, a, >, b, ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...) WF_TEST_OP(#a " >= " #b, a, >=, b, ##__VA_ARGS__)
#define cr_assert_null(p, ...) WF_TEST_TRUE(#p " is NULL", (p) == NULL, ##__VA_ARGS__)
#define cr_assert_not_null(p, ...) WF_TEST_TRUE(#p " is not NULL", (p) != NULL, ##__VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) WF_TEST_STR(#a " == " #b, a, ==, b, ##__VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) WF_TEST_STR(#a " != " #b, a, !=, b, ##__VA_ARGS__)
/* @size: bytes. */
#define cr_assert_arr_eq(a, b, size, ...) \
    WF_TEST_TRUE(#a " and " #b " hold the same bytes", memcmp(a, b, size) == 0, ##__VA_ARGS__)
#define cr_assert_arr_neq(a, b, size, ...) \
    WF_TEST_TRUE(#a " and " #b " hold different bytes", memcmp(a, b, size) != 0, ##__VA_ARGS__)
#define cr_assert_float_eq(a, b, epsilon, ...) \
    WF_TEST_TRUE(#a " is " #b " within " #epsilon, fabs((double)(a) - (double)(b)) <= (epsilon), ##__VA_ARGS__)
/* A message, or nothing. */
#define cr_fail(...) WF_TEST_FAIL("cr_fail()", __VA_ARGS__)
#define cr_assert_fail(...) WF_TEST_FAIL("cr_assert_fail()", __VA_ARGS__)
#define cr_skip_test(...) wf_test_skip(" " __VA_ARGS__)

#endif
