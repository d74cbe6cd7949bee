/* scarce.h - a machine that has run out: of memory, maps, descriptors, threads.
 *
 * scarce.c takes the place of the functions by which weft asks the system for something (malloc(), mmap(), pthread_create(), socket(), uv_loop_init()
 * …: SCARCE_FUNCTIONS in tests/CMakeLists.txt), by the linker's --wrap. So it sees weft's own requests, and those of the test, but none that a shared
 * library makes inside; and it stands in front of a sanitizer's functions instead of taking their place.
 *
 * A scene is played again and again, each time on a runtime (or a thread) of its own: without faults; with the first request refused, the second …,
 * until one is not reached any more; and the same with all from the n-th on refused. What counts are the requests of all threads between the call's
 * begin and its end, when the calls of a scene stand in the macros below. Each that fails is made again at once, and must then succeed. So must the
 * whole scene, at the same place. At the end there are as many blocks, maps, descriptors and threads as before. */
#ifndef SCARCE_H
#define SCARCE_H

#include <stddef.h>
#include <support/test.h>

/* ---- scenes ---------------------------------------------------------------------------------------------------- */

typedef struct scarce_scene {
    void (*play)(void);
    const char *name;
    unsigned least; /* so many requests it makes at least where everything is new */
    bool on_thread; /* in an ordinary thread without a runtime; else in the root strand of one */
} scarce_scene;

#define SCARCE_STRAND(scene, least) \
    {                               \
        scene, #scene, least, false \
    }
#define SCARCE_THREAD(scene, least) \
    {                               \
        scene, #scene, least, true  \
    }

/* Skips the test where a verdict would say nothing: under the thread sanitizer, from which the bookkeeping here hides races, and under valgrind, which
 * has another malloc(). */
void scarce_play(const scarce_scene *scenes, size_t n, unsigned workers);

/* ---- calls in a scene ------------------------------------------------------------------------------------------- */

/* @call gives @expected, or one of the codes of a lack; then again, which gives it. */
#define SCARCE_TRY(expected, ...)                                                        \
    do {                                                                                 \
        scarce_arm();                                                                    \
        int64_t scarce_got_ = (__VA_ARGS__);                                             \
        if (scarce_lacked(__FILE__, __LINE__, scarce_got_, (expected)))                  \
            cr_assert_eq((__VA_ARGS__), (expected), "the second time, %s", scarce_at()); \
    } while (0)

/* The same for a call that makes @out: NULL after a failure. */
#define SCARCE_MAKE(out, ...)                                                   \
    do {                                                                        \
        (out) = scarce_nothing();                                               \
        scarce_arm();                                                           \
        int64_t scarce_got_ = (__VA_ARGS__);                                    \
        if (scarce_lacked(__FILE__, __LINE__, scarce_got_, 0)) {                \
            cr_assert_null(out, "%s", scarce_at());                             \
            cr_assert_eq((__VA_ARGS__), 0, "the second time, %s", scarce_at()); \
        }                                                                       \
        cr_assert_neq((void *)(out), scarce_nothing(), "%s", scarce_at());      \
    } while (0)

/* One that cannot be made again: true in @lacked if it failed for want of something. */
#define SCARCE_ONCE(lacked, expected, ...)                                     \
    do {                                                                       \
        scarce_arm();                                                          \
        int64_t scarce_got_ = (__VA_ARGS__);                                   \
        (lacked) = scarce_lacked(__FILE__, __LINE__, scarce_got_, (expected)); \
    } while (0)

/* One that asks for nothing, ever, and does not wait. */
#define SCARCE_NONE(...)                                  \
    do {                                                  \
        scarce_watch();                                   \
        __VA_ARGS__;                                      \
        scarce_watched(__FILE__, __LINE__, #__VA_ARGS__); \
    } while (0)

/* For a call in a function or a task of the scene that one of the above stands around. */
#define SCARCE_WITHIN(...) (scarce_is_armed(__FILE__, __LINE__), __VA_ARGS__)

/* Something has been refused since the window was opened that is open: for who would wait in vain. */
bool scarce_refusing(void);

/* ---- for the macros ---------------------------------------------------------------------------------------------- */

void scarce_arm(void);
/* Ends the window. False if @got is @expected; anything else is a code that a refusal accounts for: in this window, or of a task begun in an earlier one. */
bool scarce_lacked(const char *file, int line, int64_t got, int64_t expected);
/* Fails the test if no window is open, but for the second time without faults. */
void scarce_is_armed(const char *file, int line);
void scarce_watch(void);
void scarce_watched(const char *file, int line, const char *what);
/* "scene, request 3". */
const char *scarce_at(void);
/* What no call returns. */
void *scarce_nothing(void);

#endif
