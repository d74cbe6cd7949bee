/* waits.h - a task is brought to wait in a call; what is said of it is compared; then it is let go.
 *
 * waits_names_test.c reads which calls stand in WAITS() and POLLS(). */
#ifndef TESTS_WAITS_H
#define TESTS_WAITS_H

#include <fnmatch.h>
#include <stdarg.h>
#include <support/until.h>
#include <support/test.h>
#include <weft.h>

/* ---- what is said of a task ----------------------------------------------------------------------------------- */

typedef struct sight {
    uint64_t id;
    bool seen;
    weft_task_info info;
} sight;

static inline int find_sight(void *arg, const weft_task_info *info)
{
    sight *s = arg;
    if (info->id != s->id)
        return 0;
    s->seen = true;
    s->info = *info;
    return 1;
}

static inline sight look_at(const weft_task *task)
{
    sight s = {.id = weft_task_id(task)};
    cr_assert_eq(weft_tasks_visit(NULL, find_sight, &s), s.seen);
    return s;
}

/* Text that is good until four more were made. */
static inline const char *text(const char *format, ...) WEFT_PRINTF(1, 2);
static inline const char *text(const char *format, ...)
{
    static char texts[4][WEFT_ADDR_TEXT];
    static int turn;
    char *out = texts[turn = (turn + 1) % 4];
    va_list args;
    va_start(args, format);
    vsnprintf(out, sizeof texts[0], format, args);
    va_end(args);
    return out;
}

static inline const char *at(const void *object) { return text("0x%llx", (unsigned long long)(uintptr_t)object); }

/* @object: a pattern. */
static inline void expect(weft_task *task, const char *call, const char *waits_for, const char *object)
{
    char found[256] = "";
    int64_t until = weft_now() + PATIENCE;
    for (;;) {
        sight s = look_at(task);
        weft_task_info_object(&s.info, found, sizeof found);
        if (s.seen && s.info.state == WEFT_TASK_IDLE && strcmp(s.info.waits_for, waits_for) == 0 &&
            fnmatch(object, found, 0) == 0)
            return;
        cr_assert(weft_now() < until, "%s: it is %s and waits for \"%s\" \"%s\", not \"%s\" \"%s\"", call,
                  s.seen ? weft_task_state_name(s.info.state) : "gone", s.seen ? s.info.waits_for : "", found,
                  waits_for, object);
        weft_sleep(WEFT_MS / 4);
    }
}

/* ---- calls ---------------------------------------------------------------------------------------------------- */

/* Each file of scenes has a struct things with what its calls need, and these: base is a stackless task's future. */
#define THINGS_COMMON \
    weft_future base; \
    weft_op op;       \
    weft_timer timer; \
    ssize_t result

/* In a call's expression, s is the struct things. */
#define CALL(name, ...)               \
    static void *in_##name(void *arg) \
    {                                 \
        things *s = arg;              \
        s->result = (__VA_ARGS__);    \
        return NULL;                  \
    }

/* … and cx the context. */
#define POLLED_CALL(name, ...)                                                         \
    static weft_poll poll_##name(weft_future *self, weft_context *cx, void **unwanted) \
    {                                                                                  \
        things *s = WEFT_CONTAINER_OF(self, things, base);                             \
        (void)unwanted;                                                                \
        s->result = (__VA_ARGS__);                                                     \
        return s->result == WEFT_PENDING ? WEFT_PENDING : WEFT_READY;                  \
    }                                                                                  \
    static void drop_##name(weft_future *self)                                         \
    {                                                                                  \
        things *s = WEFT_CONTAINER_OF(self, things, base);                             \
        weft_op_drop(&s->op);                                                          \
        if (s->timer.fire_)                                                            \
            weft_timer_drop(&s->timer);                                                \
    }                                                                                  \
    static const weft_future_ops ops_##name = {poll_##name, drop_##name};

/* A task that was aborted has ended, too. */
static inline void let_end(weft_task *task, const char *call)
{
    int status = weft_join(task, NULL);
    cr_assert(status == 0 || status == WEFT_EABORTED, "%s: %s", call, weft_strerror(status));
}

/* A strand in @call waits for that, until it is let go by what follows, where `who` is its task. */
#define WAITS(s, call, waits_for, object, ...)           \
    do {                                                 \
        weft_task *who;                                  \
        cr_assert_eq(weft_spawn(&who, in_##call, s), 0); \
        expect(who, #call, waits_for, object);           \
        __VA_ARGS__;                                     \
        let_end(who, #call);                             \
    } while (0)

/* The same of a stackless task. */
#define POLLS(s, call, waits_for, object, ...)                \
    do {                                                      \
        weft_task *who;                                       \
        (s)->base.ops = &ops_##call;                          \
        cr_assert_eq(weft_spawn_future(&who, &(s)->base), 0); \
        expect(who, #call " (polled)", waits_for, object);    \
        __VA_ARGS__;                                          \
        let_end(who, #call);                                  \
    } while (0)

#endif
