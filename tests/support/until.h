/* until.h - waiting until something comes true, with a limit. */
#ifndef TESTS_UNTIL_H
#define TESTS_UNTIL_H

#include <sched.h>
#include <support/test.h>
#include <weft.h>

#define PATIENCE (60 * WEFT_SEC)

#define WAIT_UNTIL_(condition, text, pause)                         \
    do {                                                            \
        int64_t until_ = weft_now() + PATIENCE;                     \
        while (!(condition)) {                                      \
            cr_assert(weft_now() < until_, "it never came: " text); \
            pause;                                                  \
        }                                                           \
    } while (0)

#define EVENTUALLY(condition) WAIT_UNTIL_(condition, #condition, weft_sleep(WEFT_MS / 4))

/* For ordinary threads, and for strands that must keep their worker. */
#define SPIN_UNTIL(condition) WAIT_UNTIL_(condition, #condition, sched_yield())

#endif
