/* model.h - a world in which every interleaving can be tried: for scenes, which play the library's real code in it.
 *
 * A scene is a few logical threads, at most MODEL_THREADS. All of them run on one system thread, as contexts of runtime/context.h, and only at
 * scheduling points does another one go on: at each atomic operation, each lock, each park. The compiler marks those for us: a scene includes the
 * sources it plays and is compiled with -fsanitize=thread, but what that calls is tsan.c. So the code that is played is the code that ships.
 *
 * Atomics follow C11 (memory.c): a load may see any store that its thread is not yet bound to know better than; release and acquire bind; the
 * sequentially consistent ones agree with each other, and with nothing else. Plain accesses that no order separates are a data race, and what was
 * freed may not be touched: both are failures, like a check that fails, an assertion, a crash, a deadlock, a thread that spins for ever.
 *
 * What is not modelled: loads that see stores which come later (load buffering); stores to one place that change their order; a compare-and-swap that
 * fails and sees an old value. Time does not pass, except that timed waits end when nothing else can go on.
 *
 * The driver (engine.c) either tries all executions with at most so many preemptions and so many loads of old values (Musuvathi and Qadeer, "Iterative
 * context bounding", 2007), or draws them by random priorities (Burckhardt et al., "A randomized scheduler with probabilistic guarantees of finding
 * bugs", 2010). A failure prints what the threads did, and a word that plays it again: scene_NAME --replay WORD. */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_THREADS = 6 };

typedef struct model_scene {
    const char *name;
    void (*setup)(void);                  /* the world before; by the thread that becomes the first */
    void (*threads[MODEL_THREADS])(void); /* until NULL */
    void (*finish)(void);                 /* when all have ended: what must be true now; by nobody else's leave */
    void *state;                          /* the scene's static data, zero at the start of each execution */
    size_t state_size;
    uint8_t preemptions, stale; /* how many of each, when all executions are tried; 0 preemptions: they are not */
    uint32_t random;            /* how many executions are drawn besides */
    bool may_block;             /* threads that wait for ever when nobody can wake them any more have ended, too */
} model_scene;

/* One per scene, in any file. */
#define MODEL_SCENE(id, ...)                                                                      \
    static const model_scene id##_scene = {.name = #id, __VA_ARGS__};                             \
    __attribute__((constructor)) static void id##_register(void) { model_register(&id##_scene); } \
    _Static_assert(1, "")

void model_register(const model_scene *scene);

/* ---- for scenes ---------------------------------------------------------------------------------------------------- */

/* Must be true in every execution. */
#define model_check(condition) ((condition) ? (void)0 : model_fail("%s:%d: not so: %s", __FILE__, __LINE__, #condition))
void model_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Which thread runs: 0 … */
unsigned model_self(void);

/* Until model_unpark(), or at once if there was one since the last park. As an event counter of one bit. */
void model_park(void);
void model_unpark(unsigned thread);

/* Let others run, until one of them has done something that others can see. In loops that wait for that. */
void model_yield(void);

/* One of 0 … n - 1: all of them are tried. */
unsigned model_choose(unsigned n);

/* Another value for each thread: saved and restored at each switch. */
void model_thread_local(void *variable, size_t size);

/* Memory of this execution; what is freed is not used again in it. */
void *model_alloc(size_t size);
void *model_calloc(size_t n, size_t size);
void model_free(void *block);
/* Not freed so far. */
size_t model_blocks(void);

/* A name for an address, for the report. */
void model_name(const void *address, const char *name);

#endif
