/* runner.c - what both runners share: how a test fails; and the plain runner's main().
 *
 * Plain: all tests in one process, `runner suite/name` runs one, `runner` all of them, `runner --list` names them. A failure
 * ends the process: threads and strands of the failed test may be anywhere, so nothing can go on after it. */
#include "test.h"
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef RUNNING_ON_VALGRIND
#define RUNNING_ON_VALGRIND 0
#endif

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define COMPILED_WITH_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define COMPILED_WITH_SANITIZER 1
#endif
#endif
#ifndef COMPILED_WITH_SANITIZER
#define COMPILED_WITH_SANITIZER 0
#endif

/* ---- how slow it is here ------------------------------------------------------------------------------------ */

int wf_test_sanitized(void) { return COMPILED_WITH_SANITIZER || RUNNING_ON_VALGRIND; }

/* Set by CTest, see tests/CMakeLists.txt. */
const char *wf_test_emulator(void) { return getenv("WEFT_TEST_EMULATOR"); }

void wf_test_own_words(char *text)
{
    char *line = WF_TEST_EMULATED ? strstr(text, "qemu: uncaught target signal") : NULL;
    if (line)
        *line = '\0';
}

size_t wf_test_scale(size_t n)
{
    size_t slower = RUNNING_ON_VALGRIND ? 50 : COMPILED_WITH_SANITIZER ? 10 : 1;
    return n / slower ? n / slower : 1;
}

/* ---- what a message shows ----------------------------------------------------------------------------------- */

wf_test_value wf_test_signed(long long v)
{
    wf_test_value value;
    snprintf(value.text, sizeof value.text, "%lld", v);
    return value;
}

wf_test_value wf_test_unsigned(unsigned long long v)
{
    wf_test_value value;
    snprintf(value.text, sizeof value.text, "%llu", v);
    return value;
}

wf_test_value wf_test_real(double v)
{
    wf_test_value value;
    snprintf(value.text, sizeof value.text, "%.17g", v);
    return value;
}

wf_test_value wf_test_pointer(const volatile void *v)
{
    wf_test_value value;
    snprintf(value.text, sizeof value.text, "0x%" PRIxPTR, (uintptr_t)v);
    return value;
}

static _Thread_local char explanation[1024];

const char *wf_test_compared(const char *expression, wf_test_value a, wf_test_value b)
{
    snprintf(explanation, sizeof explanation, "%s: left is %s, right is %s", expression, a.text, b.text);
    return explanation;
}

const char *wf_test_strings(const char *expression, const char *a, const char *b)
{
    snprintf(explanation, sizeof explanation, "%s: left is \"%.400s\", right is \"%.400s\"", expression,
             a ? a : "(null)", b ? b : "(null)");
    return explanation;
}

int wf_test_strcmp(const char *a, const char *b)
{
    if (!a || !b)
        return (a != NULL) - (b != NULL);
    return strcmp(a, b);
}

#if defined(WEFT_TEST_CRITERION)

/* ---- Criterion ---------------------------------------------------------------------------------------------- */

static pthread_t main_thread;
static uintptr_t main_stack;

__attribute__((constructor)) static void remember_main_thread(void)
{
    main_thread = pthread_self();
    main_stack = (uintptr_t)__builtin_frame_address(0);
}

/* Criterion leaves a test by longjmp(), which works on the main thread's own stack only. */
static bool on_test_stack(void)
{
    intptr_t distance = (intptr_t)((uintptr_t)__builtin_frame_address(0) - main_stack);
    return pthread_equal(pthread_self(), main_thread) && distance > -(8 << 20) && distance < 8 << 20;
}

void wf_test_fail(const char *file, int line, const char *what, const char *fmt, ...)
{
    char more[1024], message[2200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(more, sizeof more, fmt, args);
    va_end(args);
    snprintf(message, sizeof message, "%s%s%s", what, more[1] ? ":" : "", more[1] ? more : "");
    if (!on_test_stack()) {
        fprintf(stderr, "%s:%d: %s\n", file, line, message);
        abort();
    }
    struct criterion_assert_stats stats = {.message = message, .passed = false, .line = (unsigned)line, .file = file};
    criterion_send_assert(&stats);
    criterion_abort_test();
    abort();
}

void wf_test_skip(const char *fmt, ...)
{
    char reason[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    fprintf(stderr, "[SKIPPED]%s\n", reason); /* CTest looks for it: Criterion says so only when asked */
    criterion_skip_test("%s", reason + 1);
    abort();
}

#else

/* ---- plain -------------------------------------------------------------------------------------------------- */

static wf_test *first, **last = &first;
static const wf_test *running;
static unsigned passed;
static bool alone;
static jmp_buf skipped; /* where a skip goes when other tests follow */

void wf_test_register(wf_test *test)
{
    *last = test;
    last = &test->next;
}

/* Not stdio, whose locks the test may hold for ever. */
static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    char text[2400];
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (length > (int)sizeof text - 1)
        length = (int)sizeof text - 1;
    for (int at = 0; at < length;) {
        ssize_t n = write(STDERR_FILENO, text + at, (size_t)(length - at));
        if (n <= 0)
            return;
        at += (int)n;
    }
}

void wf_test_fail(const char *file, int line, const char *what, const char *fmt, ...)
{
    char more[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(more, sizeof more, fmt, args);
    va_end(args);
    say("not ok %s/%s\n%s:%d: %s%s%s\n", running->suite, running->name, file, line, what, more[1] ? ":" : "",
        more[1] ? more : "");
    if (!alone)
        say("%u passed, 1 failed\n", passed);
    _exit(1);
}

void wf_test_skip(const char *fmt, ...)
{
    char reason[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    say("skipped %s/%s:%s\n", running->suite, running->name, reason);
    if (alone)
        _exit(77);
    longjmp(skipped, 1);
}

static bool named(const wf_test *test, const char *name)
{
    size_t length = strlen(test->suite);
    return strncmp(name, test->suite, length) == 0 && name[length] == '/' && strcmp(name + length + 1, test->name) == 0;
}

static void run(const wf_test *test)
{
    running = test;
    if (setjmp(skipped) != 0)
        return;
    if (test->init)
        test->init();
    test->body();
    if (test->fini)
        test->fini();
    passed++;
    say("ok %s/%s\n", test->suite, test->name);
}

static int run_named(const char *name)
{
    alone = true;
    for (const wf_test *test = first; test; test = test->next) {
        if (named(test, name)) {
            run(test);
            return 0;
        }
    }
    say("no test is named %s\n", name);
    return 2;
}

static int list(void)
{
    for (const wf_test *test = first; test; test = test->next)
        printf("%s/%s\n", test->suite, test->name);
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 2) {
        say("usage: %s [--list | suite/name]\n", argv[0]);
        return 2;
    }
    if (argc == 2)
        return strcmp(argv[1], "--list") == 0 ? list() : run_named(argv[1]);
    for (const wf_test *test = first; test; test = test->next)
        run(test);
    say("%u passed, 0 failed\n", passed);
    return 0;
}

#endif
